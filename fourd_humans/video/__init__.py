"""Pictures in and out: videos, folders of images and single images as one stream of frames; writing; shot changes."""

from fourd_humans.video.frames import BadFrame, Position, Source, parse_position
from fourd_humans.video.read_ahead import read_ahead
from fourd_humans.video.source import open_source
from fourd_humans.video.writer import VideoWriter

__all__ = ["BadFrame", "Position", "Source", "VideoWriter", "open_source", "parse_position", "read_ahead"]
