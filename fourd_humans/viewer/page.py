"""The page as one HTML file: the built bundle (viewer_page/) with the scene as GLB, its data, and the video.

What comes from results, names of files and labels is data in the page, never HTML or a script: JSON with ``<``, ``>``
and ``&`` escaped, which the scripts show as text only. The page's policy allows no other script and no connection.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans import __version__
from fourd_humans.body.joints import SMPL_NAMES
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.exports.glb import to_glb
from fourd_humans.exports.notices import notice
from fourd_humans.exports.world import Y_UP, Motion, Scene, make_scene
from fourd_humans.motion.level import LevelMode
from fourd_humans.rendering.palette import text_colour, track_colour
from fourd_humans.tracklets import Tracklets
from fourd_humans.viewer.video import BrowserVideo

LARGEST_EMBEDDED = 100 * 2**20  # bytes of a video: the file is a third larger, and browsers hold it in memory

Texts = Mapping[int, Mapping[int, str]]


def make_page(
    tracklets: Tracklets,
    body_model: BodyModel,
    title: str,
    *,
    video: BrowserVideo | None = None,
    video_link: str | None = None,
    texts: Texts | None = None,
    level: LevelMode = "auto",
) -> str:
    """An HTML page that shows `tracklets`.

    video: to show beside the scene. It is embedded, unless `video_link` is a URL that the page is to load it from.
    texts: what to write at each person, by frame and id.
    level: as for `exports.world.make_scene`.

    Raises: UsageError where there is nobody, or the video is too large to be embedded.
    """
    scene = make_scene(tracklets, body_model, Y_UP, level=level)
    data = _data(scene, tracklets, title, texts or {}, level)
    embedded = b""
    if video is not None:
        data["video"] = {
            "source": video_link,
            "name": video.name,
            "type": video.type,
            "offset": video.offset,
            "frame_rate": video.frame_rate,
            "embedded": video_link is None,
        }
        embedded = _read(video.path) if video_link is None else b""
    parts = {
        "TITLE": html.escape(title),
        "DATA": to_script_json(data),
        "GLB": base64.b64encode(gzip.compress(to_glb(scene), mtime=0)).decode(),
        "VIDEO": base64.b64encode(embedded).decode(),
    }
    template = resources.files(__package__).joinpath("data", "page.html").read_text(encoding="utf-8")
    pieces = re.split(r"%(TITLE|DATA|GLB|VIDEO)%", template)
    pieces[1::2] = (parts[name] for name in pieces[1::2])
    return "".join(pieces)


def to_script_json(data: Any) -> str:
    """JSON that can stand in a script element of an HTML page: nothing in it ends the element or begins another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data(scene: Scene, tracklets: Tracklets, title: str, texts: Texts, level: LevelMode) -> dict[str, Any]:
    """What the page knows beside the GLB. Frames count from the first; `frames` has their numbers in the video."""
    boxes = {
        (frame.index, int(id)): box
        for frame in tracklets
        for id, box in zip(frame.ids, frame.detections.boxes, strict=True)
    }
    starts = {shot.first_frame for shot in tracklets.shots} | {frame.index for frame in tracklets if frame.is_cut}
    return {
        "title": title,
        "generator": f"4dhumans {__version__}",
        "notice": notice(scene.body_model.shape_space),
        "notes": [*scene.notes, *([] if tracklets.complete else ["These results end early."])],
        "joints": SMPL_NAMES,
        "frame_rate": round(scene.frame_rate, 4),
        "start": round(scene.start, 4),
        "times": np.round(scene.times, 5).tolist(),
        "frames": scene.frames.tolist(),
        "cuts": [i for i, frame in enumerate(scene.frames.tolist()) if i and frame in starts],
        "floor": _floor(scene) if level == "none" else 0.0,
        "people": [_person(scene, motion, boxes, texts) for motion in scene.people],
        "video": None,
    }


def _person(
    scene: Scene, motion: Motion, boxes: Mapping[tuple[int, int], NDArray[np.floating]], texts: Texts
) -> dict[str, Any]:
    colour = track_colour(motion.id)
    own_boxes = np.array([boxes[scene.frames[index], motion.id] for index in motion.indices])
    pixels = np.nan_to_num(own_boxes).clip(-(2**15), 2**15 - 1).round().astype("<i2")
    return {
        "id": motion.id,
        "colour": _hex(colour),
        "text": _hex(text_colour(colour)),
        "boxes": base64.b64encode(pixels.tobytes()).decode(),
        "labels": list(_labels(scene, motion, texts)),
    }


def _labels(scene: Scene, motion: Motion, texts: Texts) -> Iterator[tuple[int, int, str]]:
    """First and last frame, and text, of each run of frames with the same text."""
    for first, last in motion.spans:
        said = ((index, texts.get(int(scene.frames[index]), {}).get(motion.id, "")) for index in range(first, last + 1))
        for text, run in groupby(said, key=lambda each: each[1]):
            indices = [index for index, _ in run]
            if text:
                yield indices[0], indices[-1], text


def _floor(scene: Scene) -> float:
    """Height at which to draw the floor where people are not levelled: that of the lowest joints, as a rule."""
    lowest: Sequence[NDArray[np.floating]] = [scene.joints(motion)[1][..., 1].min(1) for motion in scene.people]
    return round(float(np.median(np.concatenate(lowest))), 4)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_EMBEDDED:
            raise UsageError(
                f"{path} is too large to be part of the page ({size / 2**20:.0f} MB): "
                "leave it beside the page with --link-video, or use --serve"
            )
        return path.read_bytes()
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
