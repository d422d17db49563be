"""Opens whatever a user names: a video file, a folder of images, or one image."""

from __future__ import annotations

from pathlib import Path

from fourd_humans.errors import UsageError
from fourd_humans.video.frames import Position, Source, check_range
from fourd_humans.video.images import IMAGE_SUFFIXES, open_images


def open_source(
    path: Path | str, start: Position | None = None, end: Position | None = None, *, hwaccel: str | None = None
) -> Source:
    """Open a video file, a folder of images (in natural order of their names) or one image.

    start, end: the part to read, `end` itself left out; ints count frames and floats seconds. Frame numbers and times
    stay those of the whole source. hwaccel: of videos, see `video_file.open_video`.

    Raises: UsageError where nothing is there, or no such part; FourDHumansError where the file cannot be read.

    >>> for frame in open_source("demo_videos/walk.mp4", start=10, end=2.5):  # doctest: +SKIP
    ...     print(frame.index, frame.time)
    """
    path = Path(path)
    check_range(start, end)
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}")
    if not (path.is_dir() or path.is_file()):  # a pipe would be waited for
        raise UsageError(f"{path} is neither a file nor a folder")
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return open_images(path, start, end)
    from fourd_humans.video.video_file import open_video  # FFmpeg, which folders of images do without

    return open_video(path, start, end, hwaccel)
