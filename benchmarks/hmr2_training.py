"""How a training of HMR 2.0 went: its curve, against always answering with the mean pose.

    python benchmarks/hmr2_training.py RUN TRAINED HELD_OUT [--picture PNG]

RUN: the output of `4dhumans train hmr2 --logger csv`. TRAINED, HELD_OUT: folders of `render_people.py`; the mean pose
is that of TRAINED's ``mocap.npz``. --picture needs matplotlib.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from fourd_humans.body.model import BodyModel
from fourd_humans.evaluation.datasets.people import COMMON_14
from fourd_humans.evaluation.pose import pa_mpjpe
from fourd_humans.geometry.rotations import axis_angle_to_matrix, nearest_rotation
from fourd_humans.training.hmr2.datasets import find_data_sets
from fourd_humans.training.hmr2.mocap import read_mocap

TARGET = 0.6  # of the mean pose's error
FIGURE = "validation/PA-MPJPE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("trained", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    mean = error_of_the_mean_pose(options.trained, options.held_out)
    rows = read_figures(options.run)
    print(f"mean pose: PA-MPJPE {mean:.1f} mm; {100 * TARGET:.0f} % of it: {TARGET * mean:.1f} mm")
    for row in rows:
        if FIGURE in row:
            print(f"step {row['step']:5.0f}: PA-MPJPE {row[FIGURE]:6.1f} mm, {100 * row[FIGURE] / mean:.0f} %")
    if options.picture:
        draw(rows, mean, options.picture)


def error_of_the_mean_pose(trained: Path, held_out: Path) -> float:
    """PA-MPJPE in mm on the common 14 joints of all held-out people, of the same mean pose and shape for each."""
    body = BodyModel.open_body()
    poses = torch.from_numpy(read_mocap(trained / "mocap.npz").body_pose).unflatten(1, (23, 3))
    mean = nearest_rotation(axis_angle_to_matrix(poses).mean(0))
    joints = body.joints(torch.eye(3)[None, None], mean[None], torch.zeros(1, 10)).numpy()[:, COMMON_14]
    people = [p for data_set in find_data_sets(held_out) for sample in data_set.samples() for p in sample.people]
    truth = np.stack([person.keypoints_3d[list(COMMON_14), :3] for person in people])
    return float(pa_mpjpe(np.repeat(joints, len(truth), 0), truth).mean())


def read_figures(run: Path) -> list[dict[str, float]]:
    """The rows of the newest log that have a step."""
    path = max(run.glob("logs/*/metrics.csv"), key=lambda file: file.stat().st_mtime)
    with path.open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if "step" in row]


def draw(rows: list[dict[str, float]], mean: float, path: Path) -> None:
    from matplotlib.figure import Figure

    def plot(axes, name: str, label: str) -> None:  # type: ignore[no-untyped-def]
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else "", label=label)

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot(left, FIGURE, "network")
    left.axhline(mean, color="grey", linestyle="--", label="mean pose")
    left.axhline(TARGET * mean, color="tab:green", linestyle=":", label=f"{100 * TARGET:.0f} % of it")
    left.set(xlabel="step", ylabel="PA-MPJPE of the validated people, mm", ylim=(0, None))
    plot(right, "train/discriminator", "discriminator's loss")
    plot(right, "train/adversarial", "adversarial loss of the network")
    right.set(xlabel="step", ylabel="sum over 25 scores, mean over people", ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"drew {path}")


if __name__ == "__main__":
    main()
