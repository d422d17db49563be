"""Video files as a source of frames, through FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import heapq
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Frame
from fourd_humans.video.frames import BadFrame, Position, Source, is_past

DECODER_THREADS = 4  # each holds a frame back, and those held back when a damaged end is reached are lost
REORDERING = 64  # packets: no codec stores a frame that far from its place in the order of display
READ_ERRORS = 100  # in a row, before the rest of a file is given up
DAMAGED = "the picture is damaged"


@dataclass(frozen=True)
class _Keyframe:
    """Where decoding begins. Timestamps are in the stream's unit; None is the beginning of the file.

    index: its number in the video. timestamp: its own. origin: that of the video's first frame.
    """

    index: int = 0
    timestamp: int | None = None
    origin: int | None = None


@dataclass(frozen=True)
class _Lost:
    """A frame that the decoder did not give, or not whole."""

    pts: int | None
    reason: str


def open_video(path: Path, start: Position | None = None, end: Position | None = None) -> Source:
    """A video file: upright, in square pixels, with the timestamps of its frames.

    A frame that is damaged or cannot be decoded comes as a `BadFrame`, and so does what a truncated file lacks. Reading
    starts at the last keyframe before `start`; frame numbers are those of the whole video all the same.

    Raises: UsageError where the part asked for lies outside; FourDHumansError where there is no video to read.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        frame_rate = _frame_rate(stream)
        keyframe = _find_keyframe(container, stream, start) if start else _Keyframe()
        total = stream.frames or (round(container.duration / av.time_base * frame_rate) if container.duration else None)
        has_audio = bool(container.streams.audio)

    def read(first: int = 0) -> Iterator[Frame | BadFrame]:
        nearest = keyframe
        if first:
            with _open(path) as container:
                found = _find_keyframe(container, _video_stream(container, path), first)
            nearest = max(keyframe, found, key=lambda each: each.index)
        return (frame for frame in _read(path, nearest, start, end) if frame.index >= first)

    first = next((frame for frame in read() if isinstance(frame, Frame)), None)
    if first is None and (start or end):
        has = f"; it has about {total} frames" if total else ""
        raise UsageError(f"{path} has no readable frame between {start or 0} and {end or 'its end'}{has}")
    if first is None:
        raise FourDHumansError(f"no frame of {path} can be decoded; is it complete?")
    begins, ends = (_as_frames(position, frame_rate) for position in (start or 0, end))
    last = min((count for count in (total, ends) if count is not None), default=None)
    return Source(
        path=path,
        name=path.stem,
        size=first.size,
        frame_rate=frame_rate,
        frame_count=None if last is None else max(last - (begins or 0), 1),
        has_audio=has_audio,
        is_image=False,
        read=read,
    )


def _read(path: Path, keyframe: _Keyframe, start: Position | None, end: Position | None) -> Iterator[Frame | BadFrame]:
    with _open(path) as container:
        stream = _video_stream(container, path)
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = min(DECODER_THREADS, os.cpu_count() or 1)
        if keyframe.timestamp is not None and not _seek(container, stream, keyframe.timestamp):
            yield from _read(path, _Keyframe(), start, end)
            return
        frame_rate = _frame_rate(stream)
        index, origin, time = keyframe.index, keyframe.origin, 0.0
        for picture in _pictures(container, stream):
            if picture.pts is None or stream.time_base is None:
                time = index / frame_rate
            else:
                if keyframe.timestamp is not None and picture.pts < keyframe.timestamp:
                    continue
                origin = picture.pts if origin is None else origin
                time = float((picture.pts - origin) * stream.time_base)
            if is_past(end, index, time):
                return
            if start is None or is_past(start, index, time):
                yield _convert(picture, stream, index, time)
            index += 1
        if announced := _missing(container, stream, index, time):
            reason = f"the file ends at {time:.1f} s of the {announced:.1f} s it announces: it seems to be truncated"
            yield BadFrame(index, time + 1 / frame_rate, _name(index), reason)


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | _Lost]:
    """What the decoder gives, in the order of display, and in their places the frames that it failed on.

    A failing decoder does not say on which frame it failed, and may say so later; but frames come out in the order of
    their timestamps, so a packet's timestamp that is passed over tells. Without a failure such a packet is one that
    holds no picture to show (as VP8 has them), which is no loss.
    """
    waiting: list[int] = []  # a heap of timestamps that went in and have not come out
    failure: str | None = None
    for packet in chain(_packets(container, stream), [None]):
        if packet is not None and packet.pts is not None and not packet.is_discard:
            heapq.heappush(waiting, packet.pts)
        try:
            pictures = stream.decode(packet)
        except FFmpegError as error:
            failure = f"it cannot be decoded: {error.strerror}"
            if packet is not None and packet.pts is None:
                yield _Lost(None, failure)
            continue
        for picture in pictures:
            while waiting and picture.pts is not None and waiting[0] <= picture.pts:
                timestamp = heapq.heappop(waiting)
                if timestamp == picture.pts:
                    break
                if failure:
                    yield _Lost(timestamp, failure)
                    if not waiting or waiting[0] >= picture.pts:
                        failure = None
            yield _Lost(picture.pts, DAMAGED) if picture.is_corrupt else picture
    for timestamp in sorted(waiting):
        yield _Lost(timestamp, failure or DAMAGED)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The stream's packets, going on behind a place that cannot be read."""
    errors = 0
    while errors <= READ_ERRORS:
        try:
            for packet in container.demux(stream):
                errors = 0
                if packet.size:
                    yield packet
            return
        except FFmpegError:
            errors += 1


def _find_keyframe(container: InputContainer, stream: VideoStream, start: Position) -> _Keyframe:
    """The last keyframe from which the frame at `start` can be decoded, found without decoding any.

    Timestamps are counted instead of computed from the frame rate, so that its number is right where the rate varies.
    """
    timestamps: list[int] = []
    keyframes: list[int] = []
    beyond = 0
    for packet in _packets(container, stream):
        if packet.is_discard:
            continue
        if packet.pts is None or stream.time_base is None:
            return _Keyframe()
        unit = stream.time_base
        timestamps.append(packet.pts)
        if packet.is_keyframe:
            keyframes.append(packet.pts)
        beyond += is_past(start, len(timestamps) - 1, float((packet.pts - timestamps[0]) * unit))
        if beyond > REORDERING:
            break
    timestamps.sort()
    for index, timestamp in enumerate(timestamps):
        if is_past(start, index, float((timestamp - timestamps[0]) * unit)):
            keyframe = max((k for k in keyframes if k <= timestamp), default=timestamps[0])
            return _Keyframe(bisect_left(timestamps, keyframe), keyframe, timestamps[0])
    return _Keyframe()


def _seek(container: InputContainer, stream: VideoStream, timestamp: int) -> bool:
    """Go to a keyframe; whether that led to one from which decoding reaches it, which not all formats promise."""
    container.seek(timestamp, stream=stream)
    packet = next(_packets(container, stream), None)
    container.seek(timestamp, stream=stream)
    return packet is not None and packet.is_keyframe and packet.pts is not None and packet.pts <= timestamp


def _convert(picture: VideoFrame | _Lost, stream: VideoStream, index: int, time: float) -> Frame | BadFrame:
    if isinstance(picture, _Lost):
        return BadFrame(index, time, _name(index), picture.reason)
    width = max(round(picture.width * (stream.sample_aspect_ratio or 1)), 1)
    try:
        image = picture.to_ndarray(format="rgb24", width=width, height=picture.height).astype(np.uint8, copy=False)
    except (FFmpegError, ValueError) as error:
        return BadFrame(index, time, _name(index), f"its pixels cannot be converted: {error}")
    matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        image = _upright(image, np.frombuffer(bytes(matrix), np.int32))
    return Frame(index, time, _name(index), image)


def _upright(image: NDArray[np.uint8], display_matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Turn and mirror as the matrix's first two columns [a b; c d] say, which take (x, y) to (ax + cy, bx + dy).

    Of its nine numbers (row by row, 3x3) only their signs and which of them dominate matter here.
    """
    a, b, _, c, d = (int(number) for number in display_matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _missing(container: InputContainer, stream: VideoStream, count: int, time: float) -> float | None:
    """The duration in seconds that the file announces, where it ends well before that."""
    if stream.duration and stream.time_base and stream.frames:
        announced, tolerance = float(stream.duration * stream.time_base), 1.5 / _frame_rate(stream)
        return announced if count < stream.frames and time + tolerance < announced else None
    announced = (container.duration or 0) / av.time_base  # of all its streams, which seldom end together
    return announced if time + 1 < announced else None


def _open(path: Path) -> InputContainer:
    try:
        container = av.open(f"file:{path}")  # the prefix keeps a name with a colon from being taken for a protocol
    except (FFmpegError, OSError) as error:
        if path.is_file() and not path.stat().st_size:
            raise FourDHumansError(f"{path} is empty") from error
        raise FourDHumansError(f"cannot read {path} as a video; is it one, and complete? {error.strerror}") from error
    if container.format.name == "tty":  # FFmpeg shows any text file as a film of a terminal
        container.close()
        raise FourDHumansError(f"{path} is a text file, not a video")
    return container


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise FourDHumansError(f"{path} holds no video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise FourDHumansError(f"{path} is in a video format that this FFmpeg cannot decode")
    return stream


def _frame_rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 30)


def _as_frames(position: Position | None, frame_rate: float) -> int | None:
    return position if position is None or isinstance(position, int) else round(position * frame_rate)


def _name(index: int) -> str:
    return f"{index:06d}"
