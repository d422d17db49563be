"""Reading videos, folders of images and single images as a stream of frames; writing videos; detecting cuts."""

from fourd_humans.video.frames import BadFrame, Position, Source, parse_position
from fourd_humans.video.read_ahead import read_ahead
from fourd_humans.video.source import open_source
from fourd_humans.video.writer import VideoWriter

__all__ = ["BadFrame", "Position", "Source", "VideoWriter", "open_source", "parse_position", "read_ahead"]
