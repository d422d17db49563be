"""Reading videos, folders of images and single images as a stream of frames; writing videos; detecting cuts."""

from typing import TYPE_CHECKING, Any

from fourd_humans.video.frames import BadFrame, Position, Source, parse_position
from fourd_humans.video.read_ahead import read_ahead
from fourd_humans.video.source import open_source

if TYPE_CHECKING:
    from fourd_humans.video.writer import VideoWriter

__all__ = ["BadFrame", "Position", "Source", "VideoWriter", "open_source", "parse_position", "read_ahead"]


def __getattr__(name: str) -> Any:
    """The writer, imported when it is first asked for: frames from elsewhere need no FFmpeg."""
    if name != "VideoWriter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fourd_humans.video.writer import VideoWriter

    return VideoWriter
