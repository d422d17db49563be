"""Folders of images, and single images, as a source of frames."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Frame
from fourd_humans.video.frames import BadFrame, Position, Source, focal_length_of, is_past, with_focal_length

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)  # also some that Pillow may not read: FFmpeg would take a phone's picture for a video of its tiles
TIFF_BITS = 258  # the tag that tells the bits of a sample
WRITTEN_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})
FOLDER_FRAME_RATE = 30.0
"""Frames per second of a folder of images, which says nothing about time."""


def open_images(path: Path, start: Position | None = None, end: Position | None = None) -> Source:
    """The images of a folder in natural order of their names (2 before 10), or the one image `path`.

    Images of different sizes keep their own size. What cannot be read comes as a `BadFrame`.

    Raises: UsageError where there is no image or no image in the part asked for; FourDHumansError where none can be
    read.
    """
    is_image = not path.is_dir()
    paths = [path] if is_image else _images_in(path)
    frames = [(index, index / FOLDER_FRAME_RATE, image) for index, image in enumerate(paths)]
    if start is not None:
        begins_after = len(frames) if isinstance(start, int) else frames[-1][1] + 1 / FOLDER_FRAME_RATE
        if start >= begins_after:
            raise UsageError(f"{path} has only {len(frames)} images, so it cannot start at {start}")
        frames = [frame for frame in frames if is_past(start, frame[0], frame[1])]
    frames = [frame for frame in frames if not is_past(end, frame[0], frame[1])]
    if not frames:
        raise UsageError(f"no image of {path} lies between {start or 0} and {end}")

    def read(first: int = 0) -> Iterator[Frame | BadFrame]:
        for index, time, image in frames:
            if index < first:
                continue
            try:
                yield Frame(index, time, image.name, read_image(image))
            except FourDHumansError as error:
                yield BadFrame(index, time, image.name, str(error))

    first = next((frame for frame in read() if isinstance(frame, Frame)), None)
    if first is None:
        reason = next(frame.reason for frame in read() if isinstance(frame, BadFrame))
        raise FourDHumansError(reason if is_image else f"none of the {len(frames)} images can be read: {reason}")
    focal_length = tagged_focal_length(path if is_image else path / first.name, first.size)
    return Source(
        path=path,
        name=path.stem if is_image else path.resolve().name,
        size=first.size,
        frame_rate=FOLDER_FRAME_RATE,
        frame_count=len(frames),
        has_audio=False,
        is_image=is_image,
        read=with_focal_length(read, focal_length),
        focal_length=focal_length,
    )


def tagged_focal_length(path: Path, size: tuple[int, int]) -> float | None:
    """The focal length in pixels of a picture of `size` (height, width) that its EXIF tags tell, or None.

    From the focal length of a 35 mm camera with the same view, which tags refer to the diagonal.
    """
    try:
        with Image.open(path) as image:
            millimetres = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
            return focal_length_of(millimetres, size)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error, Image.DecompressionBombError):
        return None


def read_image(path: Path) -> NDArray[np.uint8]:
    """One image as (H, W, 3) RGB uint8, turned upright as its EXIF orientation says; alpha is rejected.

    Raises: FourDHumansError naming the file where it cannot be read, also when only its end is missing.
    """
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I"):  # one channel of integers, which Pillow would clip instead of scaling
                return np.repeat(_as_bytes(np.asarray(image), image)[..., None], 3, axis=2)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except Image.UnidentifiedImageError as error:
        raise FourDHumansError(f"{path} is no image that can be read; convert it to JPEG or PNG") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FourDHumansError(f"cannot read the image {path}: {reason}") from error


class ImageWriter:
    """Writes one picture where `VideoWriter` writes many: the file has its name once it is whole.

    path: ending in one of `WRITTEN_SUFFIXES`; one that exists is replaced.

    Raises: FourDHumansError where the file cannot be written.
    """

    last_time: float | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Write the picture: (H, W, 3) RGB."""
        partial = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        try:
            Image.fromarray(image).save(partial, quality=95)
            os.replace(partial, self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise FourDHumansError(f"cannot write the image {self.path}: {error.strerror or error}") from error

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def _as_bytes(grey: NDArray[np.integer], image: Image.Image) -> NDArray[np.uint8]:
    """Integers of 16 bits as bytes; those of 32 bits are of 8 bits where none is larger, and otherwise of 16."""
    stored_bits = getattr(image, "tag_v2", {}).get(TIFF_BITS, (16,))[0]
    shift = 0 if stored_bits == 32 and grey.max(initial=0) <= 255 else 8
    return (np.clip(grey, 0, 65535) >> shift).astype(np.uint8)


def _images_in(folder: Path) -> list[Path]:
    try:
        images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        found = [p for p in images if p.is_file()]
    except OSError as error:
        raise FourDHumansError(f"cannot read the folder {folder}: {error.strerror}") from error
    if not found:
        raise UsageError(f"there are no images in the folder {folder}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts runs of digits by their value; the name itself decides between 1 and 01."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts if part], path.name
