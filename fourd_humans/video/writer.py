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
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.video.sound import add_sound

BT709 = 1  # the code of its matrix, primaries and transfer alike (ITU-T H.273)
FINEST_TICK = 10_000  # ticks per second at least, for videos whose frame rate varies


class VideoWriter:
    """Writes RGB pictures with their times into an MP4 file.

    The file grows as ``NAME.mp4.partial`` and gets its name when it is closed, so under that name it is always whole.
    Also after an error or an interruption, `close` (or leaving a ``with`` block) makes a valid video of what there is.

    path: of the file; one that exists is replaced. frame_rate: frames per second, what players are told.
    size: (height, width) of the pictures; odd ones get one more row or column, which H.264 needs. A picture of another
    size is scaled into it, between black bars.
    audio_from: a video whose sound to copy, for the part of it that the times of the pictures cover.
    quality: constant rate factor of x264, 0 (lossless) to 51.

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
    ) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f"{self.path.name}.partial")
        self._size = size
        self._closed = False
        self._audio_from = None if audio_from is None else Path(audio_from)
        self._first_time: float | None = None
        self._last_tick = -1
        self._sound: Iterator[tuple[float, Packet]] = iter(())
        self._next_sound: tuple[float, Packet] | None = None
        self._reformatter = VideoReformatter()
        rate = Fraction(frame_rate).limit_denominator(1001)  # 29.97… is 30000/1001
        self._frame_duration = 1 / rate
        self._tick = Fraction(1, rate.numerator * -(-FINEST_TICK // rate.numerator))  # divides 1/rate without a rest
        self._container: Any = None
        try:
            self._partial.touch()  # FFmpeg opens it only with the first picture
            self._container = av.open(f"file:{self._partial}", "w", format="mp4", options={"movflags": "faststart"})
            self._stream: Any = self._container.add_stream("libx264", rate=rate)
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error
        self._stream.height, self._stream.width = (length + length % 2 for length in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(quality), "preset": "veryfast"}
        context = self._stream.codec_context
        context.time_base = self._tick
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = BT709

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add a picture: (H, W, 3) RGB, `time` in seconds in the source. Times must not go back."""
        try:
            if self._first_time is None:
                self._first_time = time
                if self._audio_from is not None:
                    self._sound = add_sound(self._container, self._audio_from, time)
                    self._next_sound = next(self._sound, None)
            tick = max(round((time - self._first_time) / self._tick), self._last_tick + 1)
            self._last_tick = tick
            self._container.mux(self._stream.encode(self._frame(image, tick)))
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
            self._closed = True
            if self._first_time is None:
                self._partial.unlink()
            else:
                os.replace(self._partial, self.path)
        except (FFmpegError, OSError) as error:
            raise self._failure(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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
            self._partial.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, FFmpegError | OSError) else None
        return FourDHumansError(f"cannot write the video {self.path}: {reason or error}")


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
