"""Writing a video that browsers play: H.264 with 4:2:0 colours in an MP4 file, with the sound of its source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.video.sound import add_sound

BT709 = 1  # the code of its matrix, primaries and transfer alike (ITU-T H.273)
FRAGMENT: float = 2  # seconds between two key frames
FINEST_TICK = 10_000  # ticks per second at least, for videos whose frame rate varies


def partial_of(path: Path) -> Path:
    """Where a video grows until it is closed."""
    return path.with_name(f"{path.name}.partial")


class VideoWriter:
    """Writes RGB pictures with their times into an MP4 file.

    The file grows as ``NAME.mp4.partial`` and gets its name when it is closed. It grows in fragments of two seconds, so
    that it can be played up to there at any time, also when the process is killed; closing makes one with a table of
    contents at its beginning of them. Also after an error or an interruption, `close` (or leaving a ``with`` block)
    makes a valid video of what there is.

    path: of the file; one that exists is replaced. frame_rate: frames per second, as players see it.
    size: (height, width) of the pictures; odd ones get one more row or column, which H.264 needs. A picture of another
    size is scaled into it, between black bars.
    audio_from: a video whose sound to copy, for the part of it that the times of the pictures cover.
    quality: constant rate factor of x264, 0 (lossless) to 51.
    resume_at: time of the first picture of a video that was begun with the same arguments and not closed, to go on with
    what there is of it. last_time: that of its last picture which could be kept, or None.

    Raises: FourDHumansError where the file cannot be written, now or later (a full disk).

    >>> with VideoWriter("out.mp4", 30, (720, 1280)) as writer:  # doctest: +SKIP
    ...     writer.write(image, time=0.0)
    """

    def __init__(
        self,
        path: Path | str,
        frame_rate: float,
        size: tuple[int, int],
        audio_from: Path | str | None = None,
        quality: int = 23,
        resume_at: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.last_time: float | None = None
        self._partial = partial_of(self.path)
        self._earlier = self.path.with_name(f"{self.path.name}.earlier")
        self._size = size
        self._closed = False
        self._audio_from = None if audio_from is None else Path(audio_from)
        self._first_time: float | None = None
        self._last_tick = -1
        self._last_dts: int | None = None  # of what an earlier writer has left, then of what follows it
        self._sound: Iterator[tuple[float, Packet]] = iter(())
        self._next_sound: tuple[float, Packet] | None = None
        self._reformatter = VideoReformatter()
        rate = Fraction(frame_rate).limit_denominator(1001)  # 29.97… is 30000/1001
        self._frame_duration = 1 / rate
        self._tick = Fraction(1, rate.numerator * -(-FINEST_TICK // rate.numerator))  # divides 1/rate without a rest
        self._container: Any = None
        self._file: Any = None
        try:
            if resume_at is not None and self._partial.exists():
                os.replace(self._partial, self._earlier)
            self._file = self._partial.open("wb", buffering=0)  # of Python, whose write errors are not lost
            self._container = av.open(self._file, "w", format="mp4", options={"movflags": "frag_keyframe+delay_moov"})
            self._stream: Any = self._container.add_stream("libx264", rate=rate)
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error
        self._stream.height, self._stream.width = (length + length % 2 for length in size)
        self._stream.pix_fmt = "yuv420p"
        group = max(round(FRAGMENT / self._frame_duration), 1)
        self._stream.options = {"crf": str(quality), "preset": "superfast", "g": str(group)}
        context = self._stream.codec_context
        context.time_base = self._tick
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = BT709
        if resume_at is not None and self._earlier.exists():
            try:
                self._keep_earlier(resume_at)
                self._earlier.unlink()
            except (FFmpegError, OSError) as error:
                raise self._failure(error) from error

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add a picture: (H, W, 3) RGB, `time` in seconds in the source. Times must not go back."""
        try:
            first_time = self._begin(time) if self._first_time is None else self._first_time
            tick = max(round((time - first_time) / self._tick), self._last_tick + 1)
            self._last_tick = tick
            for packet in self._stream.encode(self._frame(image, tick)):
                if self._last_dts is not None and packet.dts is not None:
                    packet.dts = max(packet.dts, self._last_dts + 1)
                    self._last_dts = packet.dts
                self._container.mux(packet)
            self._mux_sound(until=tick * self._tick)
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Finish the file and give it its name. Without any picture there is no file. Closing twice does nothing."""
        if self._closed:
            return
        try:
            if self._first_time is not None:
                self._container.mux(self._stream.encode(None))
                self._mux_sound(until=self._last_tick * self._tick + self._frame_duration)
            self._container.close()
            self._file.close()
            self._closed = True
            if self._first_time is not None:
                _join_fragments(self._partial, self.path)
            self._partial.unlink()
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self, time: float) -> float:
        """The first picture's time is known: it is 0 in the file, and where the sound begins."""
        self._first_time = time
        if self._audio_from is not None:
            self._sound = add_sound(self._container, self._audio_from, time)
            self._next_sound = next(self._sound, None)
        return time

    def _keep_earlier(self, first_time: float) -> None:
        """Copy what an earlier writer has left, but for its last fragment, which may not be whole."""
        try:
            with av.open(f"file:{self._earlier}") as earlier:
                packets = _readable(earlier)
                # as the encoder gives them, and not as MP4 has them
                unpack = BitStreamFilterContext("h264_mp4toannexb", earlier.streams.video[0])
                packets = [packet for each in packets for packet in unpack.filter(each)]
        except (FFmpegError, OSError):  # it had hardly begun
            return
        keyframes = [number for number, packet in enumerate(packets) if packet.is_keyframe]
        if len(keyframes) < 2:
            return
        self._begin(first_time)
        begin = packets[0].pts or 0
        for packet in packets[: keyframes[-1]]:
            tick, decoded = (
                round(((stamp or 0) - begin) * packet.time_base / self._tick) for stamp in (packet.pts, packet.dts)
            )
            packet.time_base = self._tick
            packet.pts, packet.dts = tick, decoded
            self._last_tick, self._last_dts = max(self._last_tick, tick), decoded
            packet.stream = self._stream
            self._mux_sound(until=tick * self._tick)
            self._container.mux(packet)
        self.last_time = first_time + float((self._last_tick + self._frame_duration / self._tick / 2) * self._tick)

    def _mux_sound(self, until: float | Fraction) -> None:
        """Sound goes in beside the pictures of its time, so that players need not jump about in the file."""
        while self._next_sound is not None and self._next_sound[0] < until:
            self._container.mux(self._next_sound[1])
            self._next_sound = next(self._sound, None)

    def _frame(self, image: NDArray[np.uint8], tick: int) -> VideoFrame:
        image = _even(_fitted(image, self._size))
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = tick, self._tick
        return frame

    def _failure(self, error: Exception) -> FourDHumansError:
        """Give the file up: what was written of it cannot be played, and its place may be what is missing."""
        self._closed = True
        if self._container is not None:
            with suppress(FFmpegError, OSError):
                self._container.close()
            self._file.close()
            self._partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, FFmpegError | OSError) else None
        return FourDHumansError(f"cannot write the video {self.path}: {reason or error}")


def _readable(container: Any) -> list[Packet]:
    """The packets of the pictures, as far as they can be read."""
    packets = []
    with suppress(FFmpegError):
        for packet in container.demux(container.streams.video[0]):
            if packet.pts is None or packet.dts is None or packet.is_corrupt:
                break
            packets.append(packet)
    return packets


def _join_fragments(fragments: Path, path: Path) -> None:
    """The same pictures and sound in a file whose table of contents comes first, which is how players like it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with (
            av.open(f"file:{fragments}") as source,
            av.open(f"file:{unfinished}", "w", format="mp4", options={"movflags": "faststart"}) as target,
        ):
            streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _fitted(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture as large as fits into `size`, in the middle of it."""
    if image.shape[:2] == size:
        return image
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(round(length * scale), 1) for length in image.shape[:2])
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    fitted = np.zeros((*size, 3), np.uint8)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=interpolation)
    return fitted


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return image
