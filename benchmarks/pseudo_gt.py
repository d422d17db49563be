"""How good the fits of `4dhumans fit` are, and how many good and bad ones its filters reject.

    python benchmarks/pseudo_gt.py disturbed [--people N]
    python benchmarks/pseudo_gt.py drawn FOLDER [--people N]
    python benchmarks/pseudo_gt.py planted FOLDER [--people N]
    python benchmarks/pseudo_gt.py views VIDEO TRUTH.npz --camera C [--person K]

disturbed: made-up people 500 pixels tall with keypoints that err by 3 pixels an axis; the fits start from the truth
with every joint rotated by 15 degrees. drawn: the same people drawn in front of a wall, recovered by `lite`, whose
bodies the fits start from; with the same keypoints, and with those of lite's detector. What lite finds is kept in
FOLDER. planted: of these people, how many are rejected as they are, and with what is wrong planted. views: every fourth
frame of a real video with triangulated joints (see `pose_accuracy.py`), from lite's keypoints. All figures are PA-MPJPE
in mm.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pose_accuracy
import torch
from demo_scene.drawing import Skin, backdrop, develop, draw_people
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.config import Config, apply_settings
from fourd_humans.evaluation.datasets.people import COMMON_14
from fourd_humans.evaluation.pose import pa_mpjpe
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.geometry.camera import Intrinsics, project, released_intrinsics
from fourd_humans.people import Bodies, Detections, Frame, TrackedFrame
from fourd_humans.results import ResultWriter, load_tracklets
from fourd_humans.stages import make_detector, make_recovery
from fourd_humans.tracking.buffer import empty_frame
from fourd_humans.tracklets import Tracklets
from fourd_humans.training.actions.movements import ACTIONS, movement_clip
from fourd_humans.training.pseudo_gt.filters import FilterSettings, Reasons, counted, judge_detections, judge_fits
from fourd_humans.training.pseudo_gt.people import PeopleFitter
from fourd_humans.video import open_source

SIZE = (720, 960)
STANDING = 500 / 1.7  # pixels a metre: a person who stands upright is 500 pixels tall
NOISE = 3.0  # pixels an axis
DISTURBED = 15.0  # degrees
SEED = 2  # constants were chosen on seed 1
EXCHANGED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """One made-up person in a picture of their own.

    bodies: the truth, in the camera that took it. joints: (17, 2) of COCO, pixels. box: (4,) xyxy around the mesh.
    vertices: (V, 3) in the camera frame.
    """

    bodies: Bodies
    joints: NDArray[np.float32]
    box: NDArray[np.float32]
    vertices: NDArray[np.float32]


def make_people(count: int, seed: int, body: BodyModel) -> list[Person]:
    """People in the midst of fifteen actions, each before a camera of another focal length than the fits assume."""
    people = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        clip = movement_clip(ACTIONS[number % len(ACTIONS)], 90, seed * 1000 + number, body).poses
        rotations = clip[rng.integers(len(clip)), :216].reshape(1, 24, 3, 3).astype(np.float32)
        betas = np.clip(rng.normal(0, 1, (1, 10)), -2, 2).astype(np.float32)
        camera = Intrinsics(float(np.hypot(*SIZE) * rng.uniform(0.8, 1.35)), (SIZE[1] / 2, SIZE[0] / 2))
        parameters = (rotations[:, :1], rotations[:, 1:], betas)
        with torch.inference_mode():
            posed = body(*(torch.from_numpy(np.ascontiguousarray(p)) for p in parameters))
        joints, vertices = posed.joints.numpy(), posed.vertices.numpy()
        aside = [rng.uniform(-0.5, 0.5), rng.uniform(-0.1, 0.1), camera.focal_length / STANDING]
        place = (np.array(aside) - (vertices.min(1) + vertices.max(1)) / 2).astype(np.float32)
        pixels, joints_2d = project(vertices, place, camera)[0], project(joints, place, camera)
        bodies = Bodies(
            *parameters, place, joints, joints_2d, camera.focal_length, camera.principal_point, body.shape_space
        )
        box = np.concatenate([pixels.min(0), pixels.max(0)])
        people.append(Person(bodies, joints_2d[0, list(COCO_17)], box, vertices[0] + place))
    return people


def with_noise(person: Person, rng: np.random.Generator) -> NDArray[np.float32]:
    """(1, 17, 3) keypoints as a good detector finds them."""
    points = person.joints + rng.normal(0, NOISE, (17, 2))
    return np.concatenate([points, rng.uniform(0.7, 1, (17, 1))], 1)[None].astype(np.float32)


def disturb(bodies: Bodies, body: BodyModel, rng: np.random.Generator) -> Bodies:
    """Every joint, the root too, rotated about a random axis; the mean shape; in the released camera."""
    axes = rng.normal(size=(24, 3))
    axes *= np.radians(DISTURBED) / np.linalg.norm(axes, axis=1, keepdims=True)
    rotations = np.concatenate([bodies.global_orient, bodies.body_pose], 1)
    rotations = (Rotation.from_rotvec(axes).as_matrix() @ rotations).astype(np.float32)
    camera, betas = released_intrinsics(SIZE), np.zeros_like(bodies.betas)
    place = (bodies.camera * [1, 1, camera.focal_length / bodies.focal_length]).astype(np.float32)
    joints = body.joints_of_arrays(rotations[:, :1], rotations[:, 1:], betas)
    return replace(
        bodies, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=betas, joints_3d=joints,
        camera=place, joints_2d=project(joints, place, camera), focal_length=camera.focal_length,
    )  # fmt: skip


def blank(size: tuple[int, int] = SIZE) -> Frame:
    return Frame(0, 0.0, "0", np.zeros((*size, 0), np.uint8))


def errors(found: Sequence[Bodies], people: Sequence[Person]) -> Array:
    """(N,) mm."""
    truth = np.concatenate([person.bodies.joints_3d for person in people])[:, COMMON_14]
    return np.asarray(pa_mpjpe(np.concatenate([bodies.joints_3d for bodies in found])[:, COMMON_14], truth))


def show(name: str, values: Array) -> None:
    print(
        f"{name:36} median {np.median(values):5.1f}  mean {values.mean():5.1f}  90 % {np.quantile(values, 0.9):5.1f}",
        flush=True,
    )


def measure_disturbed(count: int) -> None:
    body, rng = BodyModel.open_body(), np.random.default_rng(SEED)
    people = make_people(count, SEED, body)
    ones = np.ones(1, np.float32)
    found = [Detections(person.box[None], ones, keypoints=with_noise(person, rng)) for person in people]
    starts = [disturb(person.bodies, body, rng) for person in people]
    show(f"truth disturbed by {DISTURBED:g} degrees", errors(starts, people))
    fits = PeopleFitter(body)([blank()] * count, found, starts)
    show("fitted", errors([fit.bodies for fit in fits], people))


@dataclass(frozen=True)
class Recovered:
    """Drawn people that lite found: the truth, and what lite found of each."""

    people: list[Person]
    detections: list[Detections]
    bodies: list[Bodies]


def draw_and_recover(folder: Path, count: int, body: BodyModel) -> Recovered:
    """Draw the people and recover them, or take what is in `folder`."""
    people = make_people(count, SEED, body)
    path = folder / f"drawn_{SEED}_{count}.pkl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with ResultWriter(path) as writer:
            for frame in _drawn_frames(people, body):
                writer.write(frame)
    frames = [frame for frame in load_tracklets(path) if len(frame)]
    return Recovered(
        [people[frame.index] for frame in frames],
        [replace(frame.detections, masks=None) for frame in frames],
        [frame.bodies for frame in frames],
    )


def _drawn_frames(people: Sequence[Person], body: BodyModel) -> list[TrackedFrame]:
    skin, faces = Skin.open_body(), np.ascontiguousarray(body.faces, np.int64)
    config = Config()
    detect, recover = make_detector(config, torch.device("cpu")), make_recovery(config, body, torch.device("cpu"))
    tilt = Rotation.from_euler("x", 8, degrees=True).as_matrix()
    lens = Intrinsics(float(np.hypot(*SIZE)), (SIZE[1] / 2, SIZE[0] / 2))
    walls = [backdrop(SIZE, lens, tilt, 1.5, i) for i in range(3)]
    frames = []
    for number, person in enumerate(people):
        rng = np.random.default_rng([SEED, number, 1])
        image = walls[number % 3].astype(np.float32)
        texture = skin.dress(int(rng.integers(25)), rng)[None].astype(np.float32)
        camera = Intrinsics(person.bodies.focal_length, person.bodies.principal_point)
        draw_people(image, person.vertices[None].astype(float), faces, skin, texture, np.eye(3), camera)
        frame = Frame(number, float(number), f"{number:06d}", develop(image, rng))
        ((found, bodies),) = recover([frame], detect([frame]))
        overlap = intersection_over_union(person.box[None], found.boxes)[0]
        rows = [int(overlap.argmax())] if overlap.max(initial=0) > 0.3 else []
        ids = np.ones(len(rows), np.int64)
        frames.append(
            TrackedFrame(number, float(number), frame.name, SIZE, ids, 0 * ids, found[rows], bodies[rows])
        )  # fmt: skip
    return frames


def measure_drawn(folder: Path, count: int) -> None:
    body, rng = BodyModel.open_body(), np.random.default_rng(SEED)
    drawn = draw_and_recover(folder, count, body)
    given = [replace(d, keypoints=with_noise(p, rng)) for d, p in zip(drawn.detections, drawn.people, strict=True)]
    print(f"{len(drawn.people)} of {count} people detected")
    show("lite", errors(drawn.bodies, drawn.people))
    for name, found in (("fitted to good keypoints", given), ("fitted to lite's keypoints", drawn.detections)):
        fits = PeopleFitter(body)([blank()] * len(found), found, drawn.bodies)
        show(name, errors([fit.bodies for fit in fits], drawn.people))


def measure_planted(folder: Path, count: int) -> None:
    """Shares that are rejected. Scores are set to 0.9: how sure the detector is of drawn people says little."""
    body, rng = BodyModel.open_body(), np.random.default_rng(SEED)
    drawn = draw_and_recover(folder, count, body)
    sure = [replace(found, scores=np.full(1, 0.9, np.float32)) for found in drawn.detections]
    good = [replace(found, keypoints=with_noise(p, rng)) for found, p in zip(sure, drawn.people, strict=True)]
    others = [*good[1:], good[0]]
    fitter, settings = PeopleFitter(body), FilterSettings()

    def rejected(name: str, found: Sequence[Detections], starts: Sequence[Bodies], heights: Sequence[int]) -> None:
        frames = [blank((height, SIZE[1])) for height in heights]
        fits = fitter(frames, found, starts)
        reasons: Reasons = []
        for frame, each, start, fit in zip(frames, found, starts, fits, strict=True):
            reasons.append(judge_detections(each, frame.size, settings)[0] or judge_fits(fit, start, settings)[0])
        share = 1 - reasons.count(None) / len(reasons)
        print(f"{name:36} rejected {share:5.1%}  {counted(reasons)}", flush=True)

    def plant(change: Callable[[Detections, Detections], Detections]) -> list[Detections]:
        return [change(own, other) for own, other in zip(good, others, strict=True)]

    whole = [SIZE[0]] * len(good)
    rejected("good keypoints", good, drawn.bodies, whole)
    rejected("lite's keypoints", sure, drawn.bodies, whole)
    rejected("somebody else's keypoints", plant(lambda own, other: replace(own, keypoints=other.keypoints)),
             drawn.bodies, whole)  # fmt: skip
    rejected("the same, moved into the box", plant(_into_box), drawn.bodies, whole)
    rejected("fewer than five keypoints", plant(lambda own, other: _few(own, rng)), drawn.bodies, whole)
    cut = [_cut(own, rng) for own in good]
    rejected("cut off, keypoints beyond", [found for found, _ in cut], drawn.bodies, [height for _, height in cut])
    clamped = [(_clamped(found, height), height) for found, height in cut]
    rejected("cut off, keypoints at the edge", [found for found, _ in clamped], drawn.bodies, [h for _, h in clamped])
    rejected("impossible betas", good, [_large_betas(bodies, rng) for bodies in drawn.bodies], whole)
    rejected("left and right exchanged", plant(lambda own, other: _exchanged(own)), drawn.bodies, whole)


def _keypoints(found: Detections) -> NDArray[np.float32]:
    assert found.keypoints is not None
    return found.keypoints.copy()


def _into_box(own: Detections, other: Detections) -> Detections:
    keypoints, (box,), (others,) = _keypoints(other), own.boxes, other.boxes
    scale = (box[2:] - box[:2]).max() / (others[2:] - others[:2]).max()
    keypoints[..., :2] = (keypoints[..., :2] - (others[:2] + others[2:]) / 2) * scale + (box[:2] + box[2:]) / 2
    return replace(own, keypoints=keypoints)


def _few(own: Detections, rng: np.random.Generator) -> Detections:
    keypoints = _keypoints(own)
    keypoints[0, rng.permutation(17)[rng.integers(0, 5) :], 2] *= 0.25
    return replace(own, keypoints=keypoints)


def _cut(own: Detections, rng: np.random.Generator) -> tuple[Detections, int]:
    """The picture ends above 7 to 11 of the keypoints. With the picture's height."""
    height = int(np.sort(_keypoints(own)[0, :, 1])[rng.integers(6, 11)])
    boxes = own.boxes.copy()
    boxes[:, 3] = np.minimum(boxes[:, 3], height)
    return replace(own, boxes=boxes), height


def _clamped(own: Detections, height: int) -> Detections:
    keypoints = _keypoints(own)
    keypoints[..., 1] = np.minimum(keypoints[..., 1], height - 1)
    return replace(own, keypoints=keypoints)


def _large_betas(bodies: Bodies, rng: np.random.Generator) -> Bodies:
    betas = bodies.betas.copy()
    betas[0, rng.integers(10)] = rng.choice([-1, 1]) * rng.uniform(3.5, 8)
    return replace(bodies, betas=betas)


def _exchanged(own: Detections) -> Detections:
    keypoints = _keypoints(own)
    return replace(own, keypoints=keypoints[:, EXCHANGED])


def measure_view(video: Path, truth_file: Path, camera: int, person: int) -> None:
    with np.load(truth_file, allow_pickle=False) as stored:
        truth = {name: stored[name] for name in ("joints", "rotation", "translation", "intrinsics", "distortion")}
    body, config = BodyModel.open_body(), apply_settings(Config(), ["detection.interpolate=false"])
    detect, recover = make_detector(config, torch.device("cpu")), make_recovery(config, body, torch.device("cpu"))
    fitter = PeopleFitter(body)
    before, after = [], []
    for frame in open_source(video):
        if not isinstance(frame, Frame):
            continue
        seen = empty_frame(frame, body.shape_space)
        fitted = seen
        if frame.index % 4 == 0:
            ((found, bodies),) = recover([frame], detect([frame]))
            (fit,) = fitter([frame], [found], [bodies])
            ids = np.arange(1, 1 + len(found))
            seen = replace(seen, ids=ids, time_since_seen=0 * ids, detections=found, bodies=bodies)
            fitted = replace(seen, bodies=fit.bodies)
        before.append(seen)
        after.append(fitted)
    for name, frames in (("lite", before), ("fitted", after)):
        show(
            f"{video.stem}, person {person}, {name}", pose_accuracy.measure(Tracklets(frames), truth, camera, person).pa
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("disturbed", "drawn", "planted", "views"):
        command = commands.add_parser(name)
        if name == "views":
            command.add_argument("video", type=Path)
            command.add_argument("truth", type=Path)
            command.add_argument("--camera", type=int, required=True)
            command.add_argument("--person", type=int, default=0)
            continue
        if name != "disturbed":
            command.add_argument("folder", type=Path)
        command.add_argument("--people", type=int, default=120)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "disturbed":
        measure_disturbed(arguments.people)
    elif arguments.command == "views":
        measure_view(arguments.video, arguments.truth, arguments.camera, arguments.person)
    else:
        measure = measure_drawn if arguments.command == "drawn" else measure_planted
        measure(arguments.folder, arguments.people)


if __name__ == "__main__":
    main()
