"""A page that shows how many people were kept and why the others were not, with examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_humans.body.model import BodyModel
from fourd_humans.people import TrackedFrame
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.training.pseudo_gt.making import FittedFrame, Tally

Pixels = NDArray[np.uint8]

KEPT = "kept"
SIDE = 256  # pixels of an example
MARGIN = 1.5  # of the part of the picture that is shown, over the box
JPEG_QUALITY = 88
KEYPOINT, JOINT, BOX = (255, 220, 0), (0, 200, 255), (255, 60, 60)  # colours


@dataclass
class _Examples:
    pictures: list[Pixels]
    seen: int = 0


class ExamplePictures:
    """Keeps pictures of a few people for each reason, drawn by lot among all.

    count: of each reason. Left the person with the keypoints, right the fit with its joints; of people who were not
    fitted the left alone.
    """

    def __init__(self, body_model: BodyModel, count: int = 8, seed: int = 0) -> None:
        self.count = count
        self._renderer = Renderer(body_model, alpha=0.75)
        self._rng = np.random.default_rng(seed)
        self._examples: defaultdict[str, _Examples] = defaultdict(lambda: _Examples([]))

    def add(self, fitted: FittedFrame) -> None:
        """Consider everybody in a picture."""
        for row, reason in enumerate(fitted.reasons):
            if (place := self._place(reason or KEPT)) is not None:
                self._keep(reason or KEPT, place, self._draw_fit(fitted, row))
        for rejected in fitted.detections.rejected:
            if (place := self._place(rejected.reason)) is not None:
                image, to_example = _cut(fitted.frame.image, np.array(rejected.box))
                _draw_box(image, np.array(rejected.box), to_example)
                self._keep(rejected.reason, place, image)

    def save(self, folder: Path) -> dict[str, list[str]]:
        """Write the pictures into `folder`; their file names for each reason."""
        folder.mkdir(parents=True, exist_ok=True)
        names: dict[str, list[str]] = {}
        for number, (reason, examples) in enumerate(self._examples.items()):
            names[reason] = [f"{number:02d}_{i:02d}.jpg" for i in range(len(examples.pictures))]
            for name, picture in zip(names[reason], examples.pictures, strict=True):
                Image.fromarray(picture).save(folder / name, quality=JPEG_QUALITY)
        return names

    def _place(self, reason: str) -> int | None:
        """Where the next person goes; None if the lot falls on others. Every person has the same chance."""
        examples = self._examples[reason]
        examples.seen += 1
        if len(examples.pictures) < self.count:
            return len(examples.pictures)
        place = int(self._rng.integers(examples.seen))
        return place if place < self.count else None

    def _keep(self, reason: str, place: int, picture: Pixels) -> None:
        self._examples[reason].pictures[place : place + 1] = [picture]

    def _draw_fit(self, fitted: FittedFrame, row: int) -> Pixels:
        box = fitted.detections.boxes[row]
        left, to_example = _cut(fitted.frame.image, box)
        right = left.copy()
        bodies = fitted.fits.bodies[row]
        if np.isfinite(bodies.camera).all() and np.isfinite(bodies.global_orient).all() and bodies.camera[0, 2] > 0:
            scale = to_example[0, 0]
            x, y = scale * np.array(bodies.principal_point) + to_example[:, 2]
            seen = replace(bodies, focal_length=bodies.focal_length * scale, principal_point=(float(x), float(y)))
            one = TrackedFrame(
                0, 0.0, "0", (SIDE, SIDE), np.ones(1, np.int64), np.zeros(1, np.int64), fitted.detections[row], seen
            )
            right = self._renderer.draw(right, one, {1: f"{100 * fitted.fits.errors[row]:.1f} %"})
        keypoints = fitted.detections.keypoints
        assert keypoints is not None
        _draw_box(left, box, to_example)
        for x, y, score in keypoints[row]:
            _draw_point(left, (x, y), to_example, KEYPOINT, filled=score >= 0.3)
        for x, y in fitted.fits.joints_2d[row]:
            _draw_point(right, (x, y), to_example, JOINT, filled=True)
        return np.hstack([left, right])


def _cut(image: Pixels, box: NDArray[np.floating]) -> tuple[Pixels, NDArray[np.float64]]:
    """The square around a box at the size of an example, and the map (2, 3) from the image to it."""
    center, side = (box[:2] + box[2:]) / 2, MARGIN * max(float((box[2:] - box[:2]).max()), 1.0)
    scale = SIDE / side
    to_example = np.array([[scale, 0, SIDE / 2 - scale * center[0]], [0, scale, SIDE / 2 - scale * center[1]]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(image, to_example, (SIDE, SIDE), flags=flags), np.uint8), to_example


def _draw_box(image: Pixels, box: NDArray[np.floating], to_example: NDArray[np.float64]) -> None:
    (x0, x1), (y0, y1) = to_example @ np.array([[box[0], box[2]], [box[1], box[3]], [1, 1]])
    cv2.rectangle(image, (round(x0), round(y0)), (round(x1), round(y1)), BOX, 1, cv2.LINE_AA)


def _draw_point(
    image: Pixels, point: tuple[float, float], to_example: NDArray[np.float64], colour: tuple[int, ...], *, filled: bool
) -> None:
    if np.isfinite(point).all():
        x, y = np.clip(to_example @ np.array([*point, 1.0]), -SIDE, 2 * SIDE)
        cv2.circle(image, (round(x), round(y)), 3, colour, -1 if filled else 1, cv2.LINE_AA)


def write_page(path: Path, tally: Tally, pictures: Mapping[str, list[str]], folder: str) -> None:
    """An HTML page of the counts and the example pictures, which lie in `folder` beside it."""
    rows = [(KEPT, tally.kept), *tally.rejected.most_common()]
    if tally.keypoints_only:
        rows.insert(1, ("of the rejected, written with their keypoints alone", tally.keypoints_only))
    table = "\n".join(f"<tr><td>{escape(name)}</td><td>{count}</td></tr>" for name, count in rows)
    shown = "\n".join(
        f"<h2>{escape(reason)}</h2>\n" + "\n".join(f'<img src="{escape(folder)}/{escape(name)}">' for name in names)
        for reason, names in sorted(pictures.items(), key=lambda item: item[0] != KEPT)
        if names
    )
    path.write_text(
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Pseudo ground truth</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em }}
td {{ padding: 0.1em 1.5em 0.1em 0 }} td + td {{ text-align: right }}
h2 {{ font-size: 1em; margin: 1.5em 0 0.3em }} img {{ height: {SIDE}px; margin: 0 4px 4px 0 }}
</style>
<h1>Pseudo ground truth</h1>
<p>{tally.frames} pictures read ({tally.unreadable} could not be);
{tally.pictures} written, with {tally.kept} people.</p>
<table>
<tr><th align="left">people</th><th></th></tr>
{table}
</table>
<p>Left the detection and its keypoints (hollow where they do not count), right the fit, its joints, and its error over
the box's longer side.</p>
{shown}
</html>
""",
        encoding="utf-8",
    )
