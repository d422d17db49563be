"""The sound of a video, for another video made of its pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet

COPIED_CODECS = frozenset({"aac", "flac", "mp3", "opus"})  # what browsers play in an MP4; the rest becomes AAC

log = logging.getLogger(__name__)


def add_sound(output: OutputContainer, path: Path, begin: float) -> Iterator[tuple[float, Packet]]:
    """Add the first sound track of `path` to `output`, which must not have any packet yet.

    begin: seconds since the first frame of `path` where the output begins.
    Returns: the packets to mux, each with its time in seconds since `begin`. Where they cannot be read they end, with a
        warning.
    """
    try:
        source = av.open(f"file:{path}", metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        log.warning("the sound of %s is left out: %s", path, error.strerror)
        return iter(())
    if not source.streams.audio:
        source.close()
        return iter(())
    audio = source.streams.audio[0]
    copied = audio.codec_context is not None and audio.codec_context.codec.canonical_name in COPIED_CODECS
    target: Any
    if copied:
        target = output.add_stream_from_template(audio)
    else:
        target = output.add_stream("aac", rate=audio.codec_context.sample_rate or 48000, layout="stereo")
    packets = _copied(source, audio, target, begin) if copied else _encoded(source, audio, target, begin)
    return _until_it_fails(packets, path)


def _copied(source: InputContainer, audio: AudioStream, target: Any, begin: float) -> Iterator[tuple[float, Packet]]:
    offset = _seek(source, begin)
    for packet in source.demux(audio):
        if packet.pts is None or packet.dts is None or packet.is_discard:
            continue
        time = float(packet.pts * packet.time_base) - offset
        if time >= 0:
            shift = round(offset / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = target
            yield time, packet


def _encoded(source: InputContainer, audio: AudioStream, target: Any, begin: float) -> Iterator[tuple[float, Packet]]:
    offset = _seek(source, begin)
    time = 0.0
    for frame in source.decode(audio):
        if frame.pts is None or frame.time_base is None:
            continue
        time = float(frame.pts * frame.time_base) - offset
        if time >= 0:
            frame.pts -= round(offset / frame.time_base)
            for packet in target.encode(frame):
                yield time, packet
    for packet in target.encode(None):
        yield time, packet


def _seek(source: InputContainer, begin: float) -> float:
    """Go to just before `begin`; returns the file's own time for it, in seconds."""
    video = source.streams.video[0]
    start = float((video.start_time or 0) * (video.time_base or 0))
    if begin > 0:
        source.seek(round((start + begin) * av.time_base))
    return start + begin


def _until_it_fails(packets: Iterator[tuple[float, Packet]], path: Path) -> Iterator[tuple[float, Packet]]:
    try:
        yield from packets
    except FFmpegError as error:
        log.warning("the rest of the sound of %s is left out: %s", path, error.strerror)
