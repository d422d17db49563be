"""Data sets as WebDataset tars in the released layout: pictures with the people in them.

Of each sample a tar holds ``KEY.jpg`` (or jpeg, png), ``KEY.data.pyd``, a pickle of a list with an entry for each
person (see `annotations`), and maybe ``KEY.detection.npz`` with the people's masks. Files are read with the safe
readers of `fourd_humans.files`: nothing in a pickle is run.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray
from PIL import Image
from webdataset.tariterators import group_by_keys

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.archives import read_members
from fourd_humans.files.arrays import RefusedError
from fourd_humans.files.budget import damaged, one_line
from fourd_humans.files.npz import npz_in
from fourd_humans.files.pickles import pickle_in, refusal
from fourd_humans.training.hmr2.annotations import PersonAnnotation, from_entry, to_entry

SAMPLES_OF_A_TAR = 1000
IMAGES = ("jpg", "jpeg", "png")
PEOPLE, MASKS = "data.pyd", "detection.npz"
JPEG_QUALITY = 95

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One picture of a data set with the people in it.

    key: its name. image: as a JPEG or PNG file has it. people: those that are annotated. masks: npz with ``masks``
    (n, H, W) bool, or None. source: the file that it comes from, for messages.
    """

    key: str
    image: bytes
    people: Sequence[PersonAnnotation]
    masks: bytes | None = None
    source: Path | None = None

    def decode_image(self) -> Pixels:
        """(H, W, 3) RGB; the orientation in EXIF tags is not applied, as the layout demands.

        Raises: FourDHumansError naming the file and key where it cannot be read.
        """
        try:
            with Image.open(io.BytesIO(self.image), formats=("JPEG", "PNG")) as image:
                return np.array(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise FourDHumansError(
                f"{self.source}: the picture {self.key} cannot be read ({one_line(error)})"
            ) from error

    def decode_mask(self, person: PersonAnnotation) -> NDArray[np.bool_] | None:
        """(H, W) of one of the people; None where there is none.

        Raises: FourDHumansError naming the file where it cannot be read.
        """
        if self.masks is None or person.mask is None:
            return None
        masks = npz_in(self.masks, f"{self.source}: {self.key}.{MASKS}", ("masks",)).get("masks")
        if masks is None or masks.ndim != 3 or not 0 <= person.mask < len(masks):
            return None
        return np.asarray(masks[person.mask] != 0)


class TarWriter:
    """Writes samples into ``000000.tar``, ``000001.tar``, … of a folder, each of a thousand pictures.

    >>> with TarWriter("my_data") as writer:
    ...     writer.write("picture", image, [from_box(box, keypoints_2d=coco_keypoints(keypoints))])

    A tar has its name when it is whole. per_tar: pictures of each.
    Raises: UsageError where the folder already holds tars.
    """

    def __init__(self, folder: Path | str, per_tar: int = SAMPLES_OF_A_TAR) -> None:
        self.folder, self.per_tar = Path(folder), per_tar
        self.tars: list[Path] = []
        self._count, self._file, self._writer = 0, None, None  # type: tuple[int, Any, Any]
        self._keys: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.glob("*.tar")):
            raise UsageError(f"{self.folder} already holds tars; choose another folder")

    def write(
        self,
        key: str,
        image: Pixels | bytes | Path,
        people: Sequence[PersonAnnotation],
        masks: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add a picture. key: without dots; one that was there before gets a number, as in ``picture_2``. image:
        (H, W, 3) RGB, which becomes a JPEG, or a JPEG or PNG file or its bytes, which are kept. masks: (n, H, W), of
        which the people's `mask` is the index."""
        if not key or "." in key or key.startswith(("/", "_")) or "\\" in key:
            raise ValueError(f"'{key}' is no key: it must have no dot, and begin with a letter or digit")
        data, suffix = _encoded(image)
        key = self._unique(key)
        sample: dict[str, Any] = {"__key__": key, suffix: data, PEOPLE: _pickled([to_entry(p) for p in people])}
        if masks is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, masks=masks)
            sample[MASKS] = buffer.getvalue()
        if self._writer is None:
            self._file = self._partial().open("wb")
            self._writer = webdataset.TarWriter(self._file, encoder=False, mtime=0)
        self._writer.write(sample)
        self._count += 1
        if self._count == self.per_tar:
            self.close()

    def close(self) -> None:
        """Finish the tar that is being written."""
        if self._writer is None:
            return
        self._writer.close()
        self._file.close()
        path = self.folder / f"{len(self.tars):06d}.tar"
        os.replace(self._partial(), path)
        self.tars.append(path)
        self._count, self._file, self._writer = 0, None, None

    def __enter__(self) -> TarWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._writer.close()
            self._file.close()
            self._partial().unlink(missing_ok=True)

    def _unique(self, key: str) -> str:
        found, number = key, 1
        while found in self._keys:
            number += 1
            found = f"{key}_{number}"
        self._keys.add(found)
        return found

    def _partial(self) -> Path:
        return self.folder / f"{len(self.tars):06d}.tar.partial"


def read_tar(path: Path, *, masks: bool = False) -> Iterator[Sample]:
    """The samples of a tar in their order. masks: whether to keep the people's masks.

    Raises: FourDHumansError naming the file where it is damaged, or a person or pickle in it is not of the layout.
    """
    wanted = (*IMAGES, PEOPLE, MASKS) if masks else (*IMAGES, PEOPLE)
    members = ({"fname": name, "data": data, "__url__": str(path)} for name, data in read_members(path))
    try:
        for entry in group_by_keys(members, suffixes=set(wanted)):
            image = next((entry[suffix] for suffix in IMAGES if suffix in entry), None)
            if image is not None and PEOPLE in entry:
                people = _read_people(entry[PEOPLE], path, entry["__key__"])
                yield Sample(entry["__key__"], image, people, entry.get(MASKS), path)
    except ValueError as error:  # of webdataset: a file twice under the same name
        raise damaged(path, "a tar of samples", error) from error


def _read_people(data: bytes, path: Path, key: str) -> list[PersonAnnotation]:
    where = f"{path}: {one_line(key, 60)}.{PEOPLE}"
    try:
        content = pickle_in(data)
        if not isinstance(content, list | tuple):
            raise ValueError("it holds no list of people")
        return [from_entry(entry) for entry in content]
    except RefusedError as error:
        raise refusal(where, error, "a data set") from error
    except (ValueError, EOFError) as error:
        raise damaged(where, "a list of people", error) from error


def _encoded(image: Pixels | bytes | Path) -> tuple[bytes, str]:
    """The picture as a file has it, and the suffix that belongs to it."""
    if isinstance(image, Path):
        image = image.read_bytes()
    if isinstance(image, bytes):
        if image.startswith(b"\xff\xd8"):
            return image, "jpg"
        if image.startswith(b"\x89PNG"):
            return image, "png"
        raise ValueError("the picture is neither JPEG nor PNG; give its pixels")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), "jpg"


def _pickled(people: list[dict[str, Any]]) -> bytes:
    """Readable by old versions of numpy too, which do not know the module that numpy 2 names.

    Protocol 3 has names as lines of text and arrays as bytes with their length before them.
    """
    return pickle.dumps(people, protocol=3).replace(
        b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\n_reconstruct\n"
    )
