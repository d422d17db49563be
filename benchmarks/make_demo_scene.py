#!/usr/bin/env python
"""Render a short video of walking bodies with exact ground truth: scene.mp4, truth.npz, gt.txt (MOT) and masks.json."""

from pathlib import Path

import click
from demo_scene.scene import LENGTH, make_demo_scene


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--width", default=960, show_default=True, help="Pixels.")
@click.option("--height", default=540, show_default=True, help="Pixels.")
@click.option("--seconds", default=LENGTH, show_default=True, help="Length; people walk faster in a shorter one.")
@click.option("--frame-rate", default=25.0, show_default=True, help="Frames per second.")
@click.option("--seed", default=0, show_default=True, help="Of shapes, gaits, textures and grain.")
def main(folder: Path, width: int, height: int, seconds: float, frame_rate: float, seed: int) -> None:
    scene = make_demo_scene(folder, (height, width), seconds, frame_rate, seed)
    for path in (scene.video, scene.truth, scene.boxes, scene.masks):
        click.echo(path)


if __name__ == "__main__":
    main()
