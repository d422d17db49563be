"""A whole video of tracked people: images and people are matched by frame number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Frame, TrackedFrame
from fourd_humans.video.frames import Source
from fourd_humans.video.images import WRITTEN_SUFFIXES, ImageWriter
from fourd_humans.video.read_ahead import read_ahead
from fourd_humans.video.writer import VideoWriter

AHEAD = 2  # images that may wait between reading and drawing, and between drawing and writing


# a frame's picture, and who is in it -> the picture with them drawn
Draw = Callable[[NDArray[np.uint8], TrackedFrame], NDArray[np.uint8]]


def rendered_suffix(source: Source) -> str:
    """What a source is rendered into: a video, or for one image a picture."""
    return ".jpg" if source.is_image else ".mp4"


def open_writer(
    source: Source, path: Path, size: tuple[int, int], quality: int, *, resume: bool = False
) -> VideoWriter | ImageWriter:
    """What writes the pictures of `source`, (height, width) each, into `path`; see `VideoWriter`.

    resume: keep what there is of a video of the same source that was begun.
    Raises: UsageError where `path` names a picture and the source is more than one.
    """
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        audio = source.path if source.has_audio else None
        first = next((frame.time for frame in source if isinstance(frame, Frame)), None) if resume else None
        return VideoWriter(path, source.frame_rate, size, audio_from=audio, quality=quality, resume_at=first)
    if not source.is_image:
        raise UsageError(f"{path} would be a picture, but {source.path} has many frames; give a name that ends in .mp4")
    return ImageWriter(path)


def render_video(source: Source, frames: Iterable[TrackedFrame], writer: VideoWriter | ImageWriter, draw: Draw) -> int:
    """Draw `frames`, which are in order, over their images from `source` into `writer`; returns how many were drawn.

    Reading, drawing and writing each have a thread, with a few pictures between them, however long the video is.
    `frames` is asked for the next one only when there is room for it, so it may come from work that is still going on.
    A frame whose picture cannot be read is left out: the one before stays in view for its time. So are frames that the
    writer has kept of an earlier run.

    Raises: FourDHumansError where the source has no frame with such a number, or one of another size.
    """
    kept = writer.last_time
    if kept is not None:
        rest = (frame for frame in frames if frame.time > kept)
        first = next(rest, None)
        if first is None:
            return 0
        source, frames = replace(source, read=partial(source.read, first.index)), chain([first], rest)
    count = 0
    drawn = read_ahead(_drawn(source, frames, draw), AHEAD)
    try:
        for image, time in drawn:
            writer.write(image, time)
            count += 1
    finally:
        drawn.close()
    return count


def _drawn(source: Source, frames: Iterable[TrackedFrame], draw: Draw) -> Iterator[tuple[NDArray[np.uint8], float]]:
    pictures = read_ahead(source, AHEAD)
    try:
        picture = next(pictures, None)
        for frame in frames:
            while picture is not None and picture.index < frame.index:
                picture = next(pictures, None)
            if picture is None or picture.index > frame.index:
                raise FourDHumansError(f"{source.path} has no frame {frame.index}, which the results contain")
            if not isinstance(picture, Frame):
                continue
            if picture.size != frame.size:
                raise FourDHumansError(
                    f"frame {frame.index} of {source.path} is {_text(picture.size)}, "
                    f"but the results are for {_text(frame.size)}: they belong to another video"
                )
            yield draw(picture.image, frame), picture.time
    finally:
        pictures.close()


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]} pixels"
