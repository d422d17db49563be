"""How well the stages of `lite` recover bodies, frame by frame, before any tracking.

    python benchmarks/pose_accuracy.py [--truth TRUTH.npz] [--set KEY=VALUE]... VIDEO...

Prints for each video the share of frames with anybody in them, people per frame, the mean distance between projected
joints and the detector's keypoints (those that it is sure of) as a share of the box's height, and with --truth, an npz
with `joints` (T, 12, 3) in metres, the PA-MPJPE of the person nearest to it. The video and the truth start together.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from fourd_humans.body.joints import COCO_17, LIMB_12, LIMB_NAMES
from fourd_humans.config import Config, apply_settings
from fourd_humans.evaluation.pose import pa_mpjpe
from fourd_humans.people import Bodies, Detections, Float, Frame
from fourd_humans.stages import make_body_model, make_detector, make_recovery
from fourd_humans.video import open_source

SURE = 0.3  # keypoints that are compared
SIDES = ("left", "right")
TRUTH_NAMES = [f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in SIDES]
TRUTH_JOINTS = [LIMB_12[LIMB_NAMES.index(name)] for name in TRUTH_NAMES]


@dataclass
class Scores:
    """people: of each frame. distances: of each person, as a share of the box's height. errors: mm, of each frame."""

    people: list[int] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def add(self, detections: Detections, bodies: Bodies, truth: Float | None) -> None:
        self.people.append(len(bodies))
        self.distances += keypoint_distances(detections, bodies)
        if truth is not None and len(bodies):
            self.errors.append(float(pa_mpjpe(bodies.joints_3d[:, TRUTH_JOINTS], truth).min()))

    def __str__(self) -> str:
        people = np.array(self.people)
        line = f"frames with a person {(people > 0).mean():.0%}, people {people.mean():.2f}"
        if self.distances:
            worst = np.percentile(self.distances, 95)
            line += f", keypoints {np.mean(self.distances):.2%} of the box's height (95th percentile {worst:.2%})"
        if self.errors:
            line += f", PA-MPJPE median {np.median(self.errors):.1f} mm, mean {np.mean(self.errors):.1f} mm"
        return line


def keypoint_distances(detections: Detections, bodies: Bodies) -> list[float]:
    """For each person with keypoints that are sure, their mean distance to the projected joints over the height."""
    if detections.keypoints is None:
        return []
    distance = np.linalg.norm(bodies.joints_2d[:, COCO_17] - detections.keypoints[..., :2], axis=2)
    sure = detections.keypoints[..., 2] > SURE
    height = detections.boxes[:, 3] - detections.boxes[:, 1]
    share = (distance * sure).sum(1) / np.maximum(sure.sum(1), 1) / height
    return [float(value) for value in share[sure.any(1)]]


def measure(video: Path, truth: Float | None, config: Config) -> Scores:
    device = torch.device("cpu")
    body_model = make_body_model(config, device)
    detect, recover = make_detector(config, device), make_recovery(config, body_model, device)
    frames = (frame for frame in open_source(video) if isinstance(frame, Frame))
    scores = Scores()
    while batch := list(islice(frames, config.detection.batch_size)):
        for frame, (detections, bodies) in zip(batch, recover(batch, detect(batch)), strict=True):
            inside = truth is not None and frame.index < len(truth)
            scores.add(detections, bodies, truth[frame.index] if truth is not None and inside else None)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    truth = None
    if arguments.truth:
        with np.load(arguments.truth, allow_pickle=False) as stored:
            truth = stored["joints"]
    config = apply_settings(Config(), arguments.settings)
    for video in arguments.videos:
        print(f"{video.name}: {measure(video, truth, config)}", flush=True)


if __name__ == "__main__":
    main()
