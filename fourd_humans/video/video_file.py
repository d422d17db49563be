"""Video files as a source of frames, through FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import heapq
import logging
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Frame
from fourd_humans.video.frames import BadFrame, Position, Source, focal_length_of, is_past, with_focal_length

MAX_PIXEL_ASPECT = 8  # ratios of a pixel's width to its height beyond this, or its inverse, are taken for a mistake
REORDERING = 64  # packets: no codec stores a frame that far from its place in the order of display
READ_ERRORS = 100  # in a row, before the rest of a file is given up
FOCAL_TAGS = (  # of a 35 mm camera with the same view, in millimetres
    "com.apple.quicktime.camera.focal_length.35mm_equivalent",
    "com.android.camera.focal_length.35mm_equivalent",
)
DAMAGED = "the picture is damaged"

log = logging.getLogger(__name__)


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


def open_video(
    path: Path, start: Position | None = None, end: Position | None = None, hwaccel: str | None = None
) -> Source:
    """A video file: upright, in square pixels, with the timestamps of its frames.

    A frame that is damaged or cannot be decoded comes as a `BadFrame`, and one more marks where a truncated file ends.
    Reading starts at the last keyframe before `start`; frame numbers are those of the whole video all the same.
    hwaccel: kind of device that decodes, as "cuda" or "vaapi"; the CPU does where it does not know the codec.

    Raises: UsageError where the part asked for lies outside, or there is no such device; FourDHumansError where there
    is no video to read.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        frame_rate = _frame_rate(stream)
        keyframe = _find_keyframe(container, stream, start) if start else _Keyframe()
        total = stream.frames or (round(container.duration / av.time_base * frame_rate) if container.duration else None)
        has_audio = bool(container.streams.audio)
        tagged = next(
            (tags[key] for tags in (stream.metadata, container.metadata) for key in FOCAL_TAGS if key in tags), None
        )

    if hwaccel is not None:
        _check_accelerator(hwaccel, path)

    def read(first: int = 0) -> Iterator[Frame | BadFrame]:
        nearest = keyframe
        if first:
            with _open(path) as container:
                found = _find_keyframe(container, _video_stream(container, path), first)
            nearest = max(keyframe, found, key=lambda each: each.index)
        return (frame for frame in _read(path, nearest, start, end, hwaccel) if frame.index >= first)

    first = next((frame for frame in read() if isinstance(frame, Frame)), None)
    if first is None and (start or end):
        has = f"; it has about {total} frames" if total else ""
        raise UsageError(f"{path} has no readable frame between {start or 0} and {end or 'its end'}{has}")
    if first is None:
        raise FourDHumansError(f"no frame of {path} can be decoded; is it complete?")
    begins, ends = (_as_frames(position, frame_rate) for position in (start or 0, end))
    last = min((count for count in (total, ends) if count is not None), default=None)
    focal_length = focal_length_of(tagged, first.size)
    return Source(
        path=path,
        name=path.stem,
        size=first.size,
        frame_rate=frame_rate,
        frame_count=None if last is None else max(last - (begins or 0), 1),
        has_audio=has_audio,
        is_image=False,
        read=with_focal_length(read, focal_length),
        focal_length=focal_length,
    )


def _read(
    path: Path, keyframe: _Keyframe, start: Position | None, end: Position | None, hwaccel: str | None = None
) -> Iterator[Frame | BadFrame]:
    with _open(path, hwaccel) as container:
        stream = _video_stream(container, path)
        # One thread: more would lose the frames that they hold back when they reach a damaged end, and what they make
        # of damaged frames changes from run to run. One decodes several times as fast as the chain takes frames.
        stream.codec_context.thread_count = 1
        if keyframe.timestamp is not None and not _seek(container, stream, keyframe.timestamp):
            yield from _read(path, _Keyframe(), start, end, hwaccel)
            return
        frame_rate = _frame_rate(stream)
        index, origin, time = keyframe.index, keyframe.origin, 0.0
        pixel_aspect = _pixel_aspect(stream, path)
        packets = _Packets(container, stream)
        for picture in _pictures(packets, stream):
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
                yield _convert(picture, pixel_aspect, index, time)
            index += 1
        if announced := _missing(container, stream, keyframe.index + packets.count, packets.end):
            reason = f"the file ends at {time:.1f} s of the {announced:.1f} s it announces: it seems to be truncated"
            yield BadFrame(index, time + 1 / frame_rate, _name(index), reason)


def _pictures(packets: _Packets, stream: VideoStream) -> Iterator[VideoFrame | _Lost]:
    """The decoded frames in the order of display, with the frames that the decoder failed on in their positions.

    A failing decoder does not say on which frame it failed, and may say so later; but frames come out in the order of
    their timestamps, so a packet's timestamp that is passed over tells. Without a failure such a packet is one that
    holds no picture to show (as VP8 has them), which is no loss.
    """
    waiting: list[int] = []  # a heap of timestamps that went in and have not come out
    failure: str | None = None
    for packet in chain(packets, [None]):
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


class _Packets:
    """The packets of one stream, going on behind a place that cannot be read.

    count: how many there were so far. end: seconds at which the last packet of any stream ended, in the file's time.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.container, self.stream = container, stream
        self.count, self.end = 0, 0.0

    def __iter__(self) -> Iterator[Packet]:
        errors = 0
        while errors <= READ_ERRORS:
            try:
                for packet in self.container.demux():
                    errors = 0
                    if not packet.size:
                        continue
                    self._note_end(packet)
                    if packet.stream_index == self.stream.index:
                        self.count += 1
                        yield packet
                return
            except FFmpegError:
                errors += 1

    def _note_end(self, packet: Packet) -> None:
        if packet.pts is not None and packet.time_base is not None:
            self.end = max(self.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))


def _find_keyframe(container: InputContainer, stream: VideoStream, start: Position) -> _Keyframe:
    """The last keyframe from which the frame at `start` can be decoded, found without decoding any.

    Timestamps are counted instead of computed from the frame rate, so that its number is right where the rate varies.
    """
    timestamps: list[int] = []
    keyframes: list[int] = []
    beyond = 0
    for packet in _Packets(container, stream):
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
    packet = next(iter(_Packets(container, stream)), None)
    container.seek(timestamp, stream=stream)
    return packet is not None and packet.is_keyframe and packet.pts is not None and packet.pts <= timestamp


def _convert(picture: VideoFrame | _Lost, pixel_aspect: float, index: int, time: float) -> Frame | BadFrame:
    if isinstance(picture, _Lost):
        return BadFrame(index, time, _name(index), picture.reason)
    width = max(round(picture.width * pixel_aspect), 1)
    try:
        image = picture.to_ndarray(format="rgb24", width=width, height=picture.height).astype(np.uint8, copy=False)
    except (FFmpegError, ValueError) as error:
        return BadFrame(index, time, _name(index), f"its pixels cannot be converted: {error}")
    return Frame(index, time, _name(index), _upright(image, picture))


def _upright(image: NDArray[np.uint8], picture: VideoFrame) -> NDArray[np.uint8]:
    """The image rotated, and mirrored, as the picture's display matrix says."""
    try:
        matrix: Any = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV gives no access to any of it beside a kind that it does not know, as EXIF
        return np.ascontiguousarray(np.rot90(image, round(picture.rotation / 90)))
    return image if matrix is None else _displayed(image, np.frombuffer(bytes(matrix), np.int32))


def _displayed(image: NDArray[np.uint8], display_matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Rotate and mirror as the matrix's first two columns [a b; c d] say, which take (x, y) to (ax + cy, bx + dy).

    Of its nine numbers (row by row, 3x3) only their signs and which of them dominate matter here.
    """
    a, b, _, c, d = (int(number) for number in display_matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _pixel_aspect(stream: VideoStream, path: Path) -> float:
    """Width of a pixel over its height."""
    ratio = float(stream.sample_aspect_ratio or 1)
    if 1 / MAX_PIXEL_ASPECT <= ratio <= MAX_PIXEL_ASPECT:
        return ratio
    log.warning("%s says that its pixels are %g times as wide as high; they are taken to be square", path, ratio)
    return 1.0


def _missing(container: InputContainer, stream: VideoStream, count: int, end: float) -> float | None:
    """The duration in seconds that the file announces, where it ends well before that.

    count: packets of the stream. end: seconds at which the last packet of any stream ended, in the file's time.
    """
    if stream.frames:  # AVI may announce one more than there are
        return stream.frames / _frame_rate(stream) if count + 1 < stream.frames else None
    # Of all streams: the sound may be longer than the pictures.
    announced, start = (container.duration or 0) / av.time_base, (container.start_time or 0) / av.time_base
    tolerance = 1 + 1 / _frame_rate(stream)  # the last frame's own duration is not always said
    return announced if end - start + tolerance < announced else None


def _open(path: Path, hwaccel: str | None = None) -> InputContainer:
    try:
        # The prefix keeps a name with a colon from being taken for a protocol. Metadata may be in any encoding.
        accelerator = None if hwaccel is None else HWAccel(hwaccel, allow_software_fallback=True)
        container = av.open(f"file:{path}", metadata_errors="replace", hwaccel=accelerator)
    except (FFmpegError, OSError) as error:
        if path.is_file() and not path.stat().st_size:
            raise FourDHumansError(f"{path} is empty") from error
        raise FourDHumansError(f"cannot read {path} as a video; is it one, and complete? {error.strerror}") from error
    if container.format.name == "tty":  # FFmpeg shows any text file as a film of a terminal
        container.close()
        raise FourDHumansError(f"{path} is a text file, not a video")
    return container


def _check_accelerator(name: str, path: Path) -> None:
    """Of a video that can be read. Warns where the CPU decodes it all the same.

    Raises: UsageError where this machine has no such device, or PyAV no such kind.
    """
    try:
        with av.open(f"file:{path}", metadata_errors="replace", hwaccel=HWAccel(name)) as container:
            decoder = _video_stream(container, path).codec_context
            if not decoder.is_hwaccel:
                log.warning("%s is decoded by the CPU: '%s' does not decode %s here", path, name, decoder.name)
    except (FFmpegError, OSError, ValueError) as error:
        raise UsageError(
            f"video.hwaccel: {path} cannot be decoded by '{name}' here; PyAV knows {', '.join(hwdevices_available())}"
        ) from error


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
