"""Makes small videos whose frames show their own number."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import SOUND_RATE, numbered, sine


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    def make(
        name: str = "video.mp4",
        count: int = 60,
        size: tuple[int, int] = (48, 128),
        codec: str = "libx264",
        rate: Fraction | int = 30,
        ticks: Sequence[int] | None = None,  # of each frame, in 1/rate
        rotation: int = 0,
        sound: str | None = None,  # a codec
        gop: int = 12,
        faststart: bool = True,
        sound_seconds: float | None = None,  # as long as the picture, where None
        pixel_aspect: Fraction | None = None,
        title: str | None = None,
    ) -> Path:
        path = tmp_path / name
        options = {"g": str(gop), "bf": "2"} if codec == "libx264" else {}
        with av.open(
            path, "w", options={"movflags": "faststart"} if faststart and path.suffix in (".mp4", ".mov") else {}
        ) as file:
            video = file.add_stream(codec, rate=rate, options=options)
            video.height, video.width = size
            if pixel_aspect is not None:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if title is not None:
                file.metadata["title"] = title
            video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if rotation:
                video.set_display_rotation(rotation)
            audio = file.add_stream(sound, rate=SOUND_RATE, layout="mono") if sound else None
            for index in range(count):
                frame = av.VideoFrame.from_ndarray(numbered(index, size), format="rgb24")
                frame.pts, frame.time_base = index if ticks is None else ticks[index], 1 / Fraction(rate)
                file.mux(video.encode(frame))
            file.mux(video.encode(None))
            if audio is not None:
                samples = sine(sound_seconds or count / float(rate), [400, 1600])
                for start in range(0, samples.shape[1], 1024):
                    part = np.ascontiguousarray(samples[:, start : start + 1024])
                    chunk = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                    chunk.sample_rate, chunk.pts, chunk.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
                    file.mux(audio.encode(chunk))
                file.mux(audio.encode(None))
        return path

    return make
