"""Make the pictures of README and gallery from the demo videos with the command, as a user would.

    python bin/make_pictures.py [WORK_FOLDER]

Needs the package installed. Writes docs/demo.webp and docs/gallery/.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_humans.people import Frame
from fourd_humans.video.source import open_source

ROOT = Path(__file__).parents[1]
VIDEOS = ROOT / "demo_videos"
GALLERY = ROOT / "docs" / "gallery"

# Frames that show something: people close together; one person hidden; an action.
PICTURES = {
    "overlay.jpg": ("two_people", ["--views", "overlay"], [10, 50, 90]),
    "views.jpg": ("two_people", ["--views", "overlay,side,top"], [30]),
    "hidden.jpg": ("walk", ["--views", "overlay"], [60, 138]),
    "actions.jpg": ("walk", ["--actions", "outputs/walk_actions.csv"], [90]),
}


def main() -> None:
    """Run the command and cut its videos into pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        outputs = work / "outputs"
        outputs.mkdir(parents=True, exist_ok=True)
        for name in ("two_people", "walk"):
            run(work, "track", str(VIDEOS / f"{name}.mp4"), "--overwrite", "--actions", "--output", str(outputs))
        GALLERY.mkdir(exist_ok=True)
        for picture, (name, options, frames) in PICTURES.items():
            drawn = work / "drawn.mp4"
            source, results = VIDEOS / f"{name}.mp4", outputs / f"{name}.pkl"
            run(work, "render", str(results), str(source), *options, "--output", str(drawn), "--overwrite")
            images = [frame.image for frame in read(drawn) if frame.index in frames]
            side_by_side(images, height=540).save(GALLERY / picture, quality=85)
            if picture == "views.jpg":
                save_animation(source, drawn, ROOT / "docs" / "demo.webp")


def run(work: Path, *arguments: str) -> None:
    """Run ``4dhumans``."""
    subprocess.run([sys.executable, "-m", "fourd_humans", *arguments], check=True, cwd=work)


def read(video: Path) -> Iterator[Frame]:
    """The frames that can be decoded."""
    return (frame for frame in open_source(video) if isinstance(frame, Frame))


def side_by_side(images: list[NDArray[np.uint8]], height: int) -> Image.Image:
    """Pictures beside each other, each of this height."""
    shrunk = [
        Image.fromarray(image).resize(
            (round(image.shape[1] * height / image.shape[0]), height), Image.Resampling.LANCZOS
        )
        for image in images
    ]
    row = Image.new("RGB", (sum(image.width for image in shrunk), height))
    left = 0
    for image in shrunk:
        row.paste(image, (left, 0))
        left += image.width
    return row


def save_animation(source: Path, drawn: Path, path: Path, *, every: int = 3, height: int = 480) -> None:
    """The video, and what was drawn, side by side at a third of the frame rate."""
    rows = [
        side_by_side([frame.image, picture.image], height)
        for frame, picture in zip(read(source), read(drawn), strict=True)
        if frame.index % every == 0
    ]
    rate = open_source(source).frame_rate / every
    rows[0].save(path, save_all=True, append_images=rows[1:], duration=round(1000 / rate), loop=0, quality=60, method=6)


if __name__ == "__main__":
    main()
