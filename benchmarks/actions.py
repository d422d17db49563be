"""Action recognition: what it costs, how good the built-in network is, and how the lite chain errs.

    python benchmarks/actions.py cost
    python benchmarks/actions.py synthetic [--checkpoint FILE]
    python benchmarks/actions.py clips RESULTS_FOLDER [--checkpoint FILE]
    python benchmarks/actions.py errors FOLDER [--people N] [--seed N]
    python benchmarks/actions.py drawn FOLDER [--checkpoint FILE]

cost: seconds and memory of the released networks and the built-in one, on one thread. synthetic: held-out synthetic
people. clips: `action_clips.csv`, the seconds of real clips labelled by hand, on the results of `4dhumans track`.
errors: draws synthetic people, detects and recovers them with the lite chain, and keeps the results in FOLDER and the
errors in FOLDER/recovery_errors.npz. drawn: accuracy on the results of such a folder.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from demo_scene.drawing import Skin, backdrop, develop, draw_people
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.actions.action_transformer import ActionTransformer, SceneBatch
from fourd_humans.actions.checkpoint import BUILT_IN, ActionModel, load_action_model
from fourd_humans.actions.inference import average, score_tracks
from fourd_humans.actions.tracks import RATE, ActionTrack, tracks_of
from fourd_humans.body.model import BodyModel
from fourd_humans.config import Config
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.people import Detections, Frame, TrackedFrame
from fourd_humans.pose_features import DEPTH_SCALE
from fourd_humans.results import load_tracklets
from fourd_humans.results.store import ResultWriter
from fourd_humans.stages import make_body_model, make_detector, make_recovery
from fourd_humans.training.actions.data import read_annotated_results, read_annotations, synthetic_examples
from fourd_humans.training.actions.movements import ACTIONS, movement_clip
from fourd_humans.training.actions.recovery_errors import ERRORS_RATE, errors_between

CLIPS = Path(__file__).with_name("action_clips.csv")
HELD_OUT = 900_000  # seed
SIZE = (540, 960)
DRAWN_FRAMES = 90  # at 30 a second, of which every third is drawn
LEAST_OVERLAP = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["cost", "synthetic", "clips", "errors", "drawn"])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--checkpoint", type=Path, default=BUILT_IN)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--seed", type=int, default=960_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "cost":
        cost()
        return
    if arguments.part == "errors":
        draw_and_recover(arguments.folder, arguments.people, arguments.seed)
        return
    model = load_action_model(arguments.checkpoint)
    if arguments.part == "synthetic":
        tracks = [example.track for example in synthetic_examples(arguments.people * 15, 150, HELD_OUT)]
    elif arguments.part == "clips":
        annotations, _ = read_annotations(CLIPS, model.classes)
        tracks = [e.track for e in read_annotated_results([arguments.folder], annotations, len(model.classes))]
    else:
        files = sorted(arguments.folder.glob("*.pkl"))
        tracks = [track for file in files for track in _labelled(file, len(model.classes))]
    report(model, tracks)


def report(model: ActionModel, tracks: Sequence[ActionTrack]) -> None:
    """Accuracy on labelled, detected frames, and what each action is taken for."""
    confusion = np.zeros((len(model.classes), len(model.classes)), int)
    for scored in score_tracks(model.network, tracks):
        labels, source = scored.track.labels, scored.track.label_source
        assert labels is not None
        assert source is not None
        shown = scored.track.detected & (source > 0)
        predicted = average(scored.scores, 12)[shown].argmax(1)
        np.add.at(confusion, (labels[shown].argmax(1), predicted), 1)
    total = confusion.sum()
    names, counts = model.classes.names, confusion.sum(1)
    print(f"accuracy {np.trace(confusion) / total:.1%} of {total / RATE:.1f} s; chance {1 / len(names):.1%}; "
          f"always '{names[counts.argmax()]}' {counts.max() / total:.1%}")  # fmt: skip
    recalls = [confusion[i, i] / counts[i] for i in np.flatnonzero(counts)]
    print(f"mean over the {len(recalls)} actions that occur {np.mean(recalls):.1%}")
    for i in np.flatnonzero(counts):
        order = confusion[i].argsort()[::-1]
        taken = ", ".join(f"{names[j]} {confusion[i, j] / counts[i]:.0%}" for j in order[:4] if confusion[i, j])
        print(f"  {names[i]:16s} {counts[i] / RATE:6.1f} s: {taken}")


def cost() -> None:
    networks = {"pose-only, 128 wide": ActionTransformer(kinetics=0), "pose-only, 512 wide":
                ActionTransformer(width=512, kinetics=0), "actions-lite": load_action_model().network}  # fmt: skip
    with torch.inference_mode():
        for name, network in networks.items():
            network.eval()
            for people in (1, 5) if network.people >= 5 else (1,):
                scene = SceneBatch(torch.randn(1, 125, people, 229), torch.ones(1, 125, people, dtype=torch.bool))
                seconds = []
                for _ in range(4):
                    start = time.process_time()
                    network(scene)
                    seconds.append(time.process_time() - start)
                print(f"{name}, 125 frames, {people} people: {min(seconds):.3f} s of one core")
    rng = np.random.default_rng(0)
    minute = [
        ActionTrack(id, 0, rng.normal(size=(1800, 229)).astype(np.float32), np.zeros((1800, 135), np.float32),
                    np.ones(1800, bool))
        for id in range(10)
    ]  # fmt: skip
    for name in ("actions-lite", "pose-only, 128 wide"):
        start = time.process_time()
        score_tracks(networks[name], minute)
        print(f"{name}, ten people for a minute, each alone: {time.process_time() - start:.1f} s of one core")
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def draw_and_recover(folder: Path, people: int, seed: int) -> None:
    """Draw so many people, each action in turn, ten frames a second; recover them, and keep results and errors."""
    folder.mkdir(parents=True, exist_ok=True)
    body, skin = BodyModel.open_body(), Skin.open_body()
    config, device = Config(), torch.device("cpu")
    detect, recover = make_detector(config, device), make_recovery(config, make_body_model(config, device), device)
    intrinsics = Intrinsics(5000 / 256 * max(SIZE), (SIZE[1] / 2, SIZE[0] / 2))
    lens = Intrinsics(0.9 * SIZE[1], (SIZE[1] / 2, SIZE[0] / 2))
    tilt = Rotation.from_euler("x", 8, degrees=True).as_matrix()
    images = [backdrop(SIZE, lens, tilt, 1.8, i) for i in range(3)]
    rotations, actions = [], []
    for number in range(people):
        action = ACTIONS[number % len(ACTIONS)]
        person_seed = seed + number // len(ACTIONS)
        rng = np.random.default_rng([person_seed, ACTIONS.index(action), 9])
        clip = movement_clip(action, DRAWN_FRAMES, person_seed, body)
        poses = clip.poses[:: round(RATE / ERRORS_RATE)]
        true = poses[:, :216].reshape(-1, 24, 3, 3)
        parameters = (true[:, :1], true[:, 1:], poses[:, 216:226])
        with torch.inference_mode():
            vertices = body(*(torch.from_numpy(np.ascontiguousarray(p)) for p in parameters)).vertices.numpy()
        place = poses[:, 226:].astype(float) * [1, 1, DEPTH_SCALE]
        place = (place - place.mean(0)) * [1, 1, 0] + [0, 0, rng.uniform(90, 150)]
        vertices = vertices.astype(float) + place[:, None]
        vertices[..., 1] -= vertices[..., 1].mean()
        texture = skin.dress(int(rng.integers(25)), rng)[None].astype(np.float32)
        frames = []
        for i, shape in enumerate(vertices):
            image = images[number % 3].astype(np.float32)
            faces = np.ascontiguousarray(body.faces, np.int64)
            draw_people(image, shape[None], faces, skin, texture, np.eye(3), intrinsics)
            frames.append(Frame(i, i / ERRORS_RATE, f"{i:06d}", develop(image, rng)))
        errors = np.full((len(frames), 24, 3), np.nan, np.float32)
        with ResultWriter(folder / f"{person_seed}_{ACTIONS.index(action):02d}.pkl", overwrite=True) as writer:
            for first in range(0, len(frames), 8):
                part = frames[first : first + 8]
                for frame, (detections, bodies) in zip(part, recover(part, detect(part)), strict=True):
                    found = _drawn(detections, vertices[frame.index], intrinsics)
                    one = [] if found is None else [found]
                    tracked = TrackedFrame(
                        frame.index, frame.time, frame.name, SIZE, np.ones(len(one), np.int64),
                        np.zeros(len(one), np.int64), detections[one], bodies[one],
                    )  # fmt: skip
                    writer.write(tracked)
                    if one:
                        recovered = np.concatenate([bodies.global_orient, bodies.body_pose], 1)[one]
                        errors[frame.index] = errors_between(true[frame.index][None], recovered)[0]
        seen = np.flatnonzero(~np.isnan(errors[:, 0, 0]))
        if len(seen) > len(frames) // 3:
            nearest = seen[np.abs(np.arange(len(frames))[:, None] - seen).argmin(1)]
            rotations.append(errors[nearest].astype(np.float16))
            actions.append(ACTIONS.index(action))
        print(f"{number + 1} of {people}: {action}, detected in {len(seen)} of {len(frames)} frames", flush=True)
    np.savez_compressed(
        folder / "recovery_errors.npz", rotations=np.stack(rotations), actions=np.array(actions, np.int8)
    )


def _drawn(detections: Detections, vertices: NDArray[np.float64], intrinsics: Intrinsics) -> int | None:
    """Which detection is the drawn person."""
    pixels = vertices[:, :2] / vertices[:, 2:] * intrinsics.focal_length + intrinsics.principal_point
    box = np.concatenate([pixels.min(0), pixels.max(0)])[None]
    if not len(detections):
        return None
    overlap = intersection_over_union(box, detections.boxes.astype(float))[0]
    return int(overlap.argmax()) if overlap.max() > LEAST_OVERLAP else None


def _labelled(file: Path, count: int) -> list[ActionTrack]:
    """The track of a drawn person, if detected at all, labelled by what was drawn."""
    seed, number = map(int, file.stem.split("_"))
    clip = movement_clip(ACTIONS[number], DRAWN_FRAMES, seed, BodyModel.open_body())
    found = []
    for track in tracks_of(load_tracklets(file).frames):
        actions = clip.actions[track.start : track.stop]
        labels = np.zeros((len(track), count), np.float32)
        labels[actions >= 0, actions[actions >= 0]] = 1
        found.append(replace(track, labels=labels, label_source=np.where(actions >= 0, 2, 0)))
    return found


if __name__ == "__main__":
    main()
