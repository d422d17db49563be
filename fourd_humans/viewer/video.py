"""Videos as browsers play them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from fourd_humans.people import Frame
from fourd_humans.video.frames import Source
from fourd_humans.video.images import IMAGE_SUFFIXES
from fourd_humans.video.writer import VideoWriter

TALLEST = 720  # pixels: what is converted is made no taller
CODECS = {"h264", "vp8", "vp9", "av1"}
PIXELS = {"yuv420p", "yuvj420p"}  # 8 bits, 4:2:0
TYPES = {"mp4": "video/mp4", "webm": "video/webm"}


@dataclass(frozen=True)
class BrowserVideo:
    """A video file that browsers play.

    type: its media type. name: to call it. frame_rate: frames a second, the average where it varies.
    offset: seconds in the browser's time at which the first frame is shown.
    """

    path: Path
    type: str
    name: str
    frame_rate: float
    offset: float = 0.0


def playable(source: Source) -> BrowserVideo | None:
    """A file as it is, if it is H.264, VP8, VP9 or AV1 in MP4 or WebM; None if it must be converted.

    Browsers count time from the earliest beginning of any stream, the program from the first picture.
    """
    path = source.path
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            streams = container.streams.video
            names = set(container.format.name.split(",")) | {path.suffix.lower().lstrip(".")}
            # WebM is the part of Matroska that all browsers read, and has the same name here
            kind = "webm" if {"webm", "matroska"} <= names and path.suffix.lower() == ".webm" else "mp4"
            if kind not in names or not streams or streams[0].codec_context is None:
                return None
            context = streams[0].codec_context
            if context.codec.canonical_name not in CODECS or context.pix_fmt not in PIXELS:
                return None
            first = next((frame for frame in container.decode(streams[0]) if frame.time is not None), None)
            start = (container.start_time or 0) / av.time_base
            if first is None or first.time is None:
                return None
            offset = max(round(first.time - start, 6), 0.0)
            return BrowserVideo(path, TYPES[kind], path.name, source.frame_rate, offset)
    except FFmpegError:
        return None


def convert(source: Source, path: Path) -> BrowserVideo:
    """Write a video or images as H.264 in MP4, at most 720 pixels tall, to `path`.

    Raises: FourDHumansError where it cannot be read or written.
    """
    scale = min(TALLEST / source.size[0], 1.0)
    height, width = (max(round(length * scale / 2) * 2, 2) for length in source.size)
    audio = source.path if source.has_audio else None
    offset = 0.0
    with VideoWriter(path, source.frame_rate, (height, width), audio) as writer:
        first = True
        for frame in source:
            if isinstance(frame, Frame):
                if first:
                    offset, first = -frame.time, False
                writer.write(frame.image, frame.time)
    return BrowserVideo(path, TYPES["mp4"], source.path.name, source.frame_rate, offset)
