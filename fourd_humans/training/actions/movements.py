"""Synthetic movements of fifteen everyday actions with labels, for the built-in weights and for tests.

A movement is a curve of joint angles; a clip is a sequence of movements with smooth transitions, seen by a camera at
some height. Some actions are transitions themselves: sitting down, getting up, falling. Everything follows from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.actions.tracks import RATE, ActionTrack
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.rotations import axis_angle_to_matrix
from fourd_humans.motion.synthetic import add_noise, look_at_people, mirror
from fourd_humans.people import NUM_JOINTS
from fourd_humans.pose_features import DEPTH_SCALE
from fourd_humans.training.actions.recovery_errors import RecoveryErrors

Array = NDArray[np.float64]
Generator = np.random.Generator

# What each action is, as the model card states it.
DEFINITIONS = {
    "stand": "upright on both feet, not travelling, both hands below the shoulders",
    "walk": "travelling upright by steps, one foot always on the ground",
    "run": "travelling by steps with a flight between them",
    "sit": "seated, on a chair or on the floor",
    "sit down": "going from standing to sitting",
    "get up": "going from sitting, lying or crouching to standing",
    "crouch": "squatting: on the feet, hips about as low as the knees or lower",
    "bend": "standing with the trunk inclined forward by more than about 45 degrees",
    "jump": "hops, jumping jacks and leaps, from one landing to the next",
    "kick": "standing on one leg, the other swung or held up to the front or side",
    "raise/wave hand": "standing with a hand at the height of the head or above, held or waved",
    "reach": "standing with an arm stretched out to the front, hand well away from the trunk",
    "turn": "turning by more than a quarter on the spot",
    "fall": "going down out of control, from upright to lying",
    "lie": "lying on the back, front or side",
}
ACTIONS = tuple(DEFINITIONS)

# Channels of a movement: degrees, but for the last four.
CHANNELS = (
    *(f"{side} {joint}" for side in ("left", "right") for joint in (
        "hip flexion", "hip abduction", "hip rotation", "knee", "ankle",
        "shoulder flexion", "shoulder abduction", "shoulder turn", "shoulder rotation", "elbow")),
    "spine flexion", "spine twist", "spine side", "neck flexion", "neck turn", "pitch", "roll",
    "turning",  # degrees a second
    "speed",  # forward, metres a second
    "air",  # metres above the ground
)  # fmt: skip
_C = {name: i for i, name in enumerate(CHANNELS)}
HANGING = 78.0  # degrees from the T pose to an arm that hangs down

WITH_ERRORS = 0.7  # share of the people who get the lite chain's errors
AMBIGUOUS = 0.15  # seconds around a change of action that are not labelled


@dataclass(frozen=True)
class Movement:
    """Values of the channels over n frames. values: (n, C)."""

    values: Array

    @staticmethod
    def standing(rng: Generator, count: int) -> Movement:
        values = np.zeros((count, len(CHANNELS)))
        movement = Movement(values)
        for side in ("left", "right"):
            movement[side, "elbow"] = rng.uniform(3, 30)
            movement[side, "shoulder flexion"] = rng.normal(0, 6)
            movement[side, "shoulder abduction"] = rng.uniform(0, 14)
            movement[side, "hip abduction"] = rng.uniform(0, 9)
            movement[side, "knee"] = rng.uniform(0, 10)
        movement["spine flexion"], movement["neck flexion"] = rng.normal(3, 5), rng.normal(3, 8)
        movement["neck turn"], movement["spine side"] = rng.normal(0, 15), rng.normal(0, 3)
        return movement

    def __setitem__(self, key: str | tuple[str, str], value: float | Array) -> None:
        self.values[:, _C[key if isinstance(key, str) else " ".join(key)]] = value

    def __getitem__(self, key: str | tuple[str, str]) -> Array:
        return self.values[:, _C[key if isinstance(key, str) else " ".join(key)]]

    def lean(self, degrees: float | Array) -> None:
        """Incline the trunk forward about the hips, with the legs as they are."""
        self["pitch"] += degrees
        for side in ("left", "right"):
            self[side, "hip flexion"] += degrees


def _sides(rng: Generator) -> tuple[str, str]:
    return ("left", "right") if rng.random() < 0.5 else ("right", "left")


def _ease(x: Array) -> Array:
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _swell(t: Array, period: float, phase: float, hold: float = 0.3) -> Array:
    """(n,) between 0 and 1 and back each `period`, resting at 1 for the share `hold`."""
    x = np.mod(t / period + phase, 1)
    rise = (1 - hold) / 2
    return _ease(np.minimum(x / rise, (1 - x) / rise))


def stand(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    kind = rng.integers(6)
    first, second = _sides(rng)
    if kind == 0:  # hands on the hips
        for side in (first, second)[: rng.integers(1, 3)]:
            m[side, "shoulder abduction"], m[side, "elbow"] = rng.uniform(30, 50), rng.uniform(80, 110)
            m[side, "shoulder rotation"] = rng.uniform(-60, -20)
    elif kind == 1:  # arms crossed, or hands folded
        for side in (first, second):
            m[side, "shoulder flexion"], m[side, "elbow"] = rng.uniform(5, 35), rng.uniform(70, 120)
            m[side, "shoulder rotation"] = rng.uniform(-70, -30)
    elif kind == 2:  # a hand at the chin, or holding something to look at
        m[first, "shoulder flexion"], m[first, "elbow"] = rng.uniform(15, 45), rng.uniform(100, 145)
        m[first, "shoulder rotation"] = rng.uniform(-50, 0)
    if rng.random() < 0.4:  # weight on one leg
        m[first, "knee"], m[first, "hip flexion"] = rng.uniform(10, 30), rng.uniform(5, 20)
        m["roll"] = rng.normal(0, 3)
    m["turning"] = rng.normal(0, 4)
    return m


def _gait(rng: Generator, t: Array, cadence: float, hip: float, knee: float, lift: float, arm: float) -> Movement:
    m = Movement.standing(rng, len(t))
    phase = 2 * np.pi * cadence * t + rng.uniform(0, 2 * np.pi)
    quiet_arm = rng.choice(["left", "right", "none", "none", "none", "none"])
    for side, shift in (("left", 0.0), ("right", np.pi)):
        p = phase + shift
        m[side, "hip flexion"] = hip * np.sin(p) + 6
        m[side, "knee"] = knee * np.maximum(0, np.cos(p + 0.4)) ** 2 + lift * np.maximum(0, np.sin(p)) ** 2 + 4
        m[side, "ankle"] = 10 * np.sin(p + 1.2)
        if side != quiet_arm:
            m[side, "shoulder flexion"] += -arm * np.sin(p)
            m[side, "elbow"] += 0.4 * arm * np.maximum(0, -np.sin(p))
    m["spine twist"] = 5 * np.sin(phase)
    m["spine side"] = 3 * np.cos(phase)
    return m


def walk(rng: Generator, t: Array) -> Movement:
    cadence = rng.uniform(0.6, 1.15)
    hip = rng.uniform(14, 30)
    m = _gait(rng, t, cadence, hip, rng.uniform(25, 50), rng.uniform(3, 14), rng.uniform(0, 32))
    m.lean(rng.normal(2, 3))
    m["speed"] = hip * cadence / 17 * rng.uniform(0.8, 1.2)
    m["turning"] = rng.normal(0, 15)
    return m


def run(rng: Generator, t: Array) -> Movement:
    cadence, hip = rng.uniform(1.15, 1.7), rng.uniform(28, 48)
    m = _gait(rng, t, cadence, hip, rng.uniform(60, 110), rng.uniform(5, 25), rng.uniform(20, 45))
    for side in ("left", "right"):
        m[side, "elbow"] += rng.uniform(45, 85)
    m.lean(rng.uniform(4, 22))
    m["air"] = rng.uniform(0.02, 0.08) * np.abs(np.sin(2 * np.pi * cadence * t))
    m["speed"] = hip * cadence / 14 * rng.uniform(0.85, 1.25)
    m["turning"] = rng.normal(0, 15)
    return m


def sit(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    on_floor = rng.random() < 0.2
    for side in ("left", "right"):
        m[side, "hip flexion"] = rng.uniform(75, 100)
        m[side, "knee"] = rng.uniform(0, 110) if on_floor else rng.uniform(60, 105)
        m[side, "hip abduction"] = rng.uniform(0, 22)
        m[side, "hip rotation"] = rng.normal(0, 8)
        kind = rng.integers(3)
        if kind < 2:  # hands in the lap or on the table
            m[side, "shoulder flexion"], m[side, "elbow"] = rng.uniform(10, 55), rng.uniform(25, 100)
    m.lean(rng.uniform(-20, 20))
    m["spine flexion"] = rng.uniform(0, 25)
    m["turning"] = rng.normal(0, 2)
    return m


def crouch(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    deep = rng.uniform(85, 125)
    kneeling = rng.random() < 0.2
    first, second = _sides(rng)
    for side in (first, second):
        m[side, "hip flexion"], m[side, "knee"] = deep + rng.normal(0, 5), deep + rng.uniform(0, 30)
        m[side, "ankle"], m[side, "hip abduction"] = -20, rng.uniform(0, 25)
    if kneeling:
        m[first, "hip flexion"], m[first, "knee"] = rng.uniform(0, 20), rng.uniform(85, 110)
    lean = rng.uniform(5, 50)
    m.lean(lean)
    m["spine flexion"] = rng.uniform(5, 40)
    for side in (first, second):
        m[side, "shoulder flexion"] = lean + rng.uniform(0, 60)
        m[side, "elbow"] = rng.uniform(5, 80)
    if rng.random() < 0.3:  # up and down
        m.values[:] *= (1 - 0.35 * _swell(t, rng.uniform(1.2, 2.5), rng.random()))[:, None]
    return m


def bend(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    amount = rng.uniform(50, 95) * (
        _swell(t, rng.uniform(2.0, 4.0), rng.uniform(0.2, 0.6), 0.7) * 0.4 + 0.6 if rng.random() < 0.4 else 1.0
    )
    amount = amount * np.ones(len(t))
    m.lean(0.75 * amount)
    m["spine flexion"] = 0.45 * amount
    bent = rng.uniform(0, 30)
    for side in ("left", "right"):
        m[side, "knee"] += bent
        m[side, "hip flexion"] += 0.5 * bent
        m[side, "shoulder flexion"] = amount * rng.uniform(0.7, 1.25)
        m[side, "elbow"] = rng.uniform(5, 50)
    m["spine twist"] = rng.normal(0, 8)
    return m


def jump(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    period = rng.uniform(0.55, 1.3)
    x = np.mod(t / period + rng.random(), 1)
    flight = np.where(x > 0.5, (x - 0.5) * 2, 0)
    up = 4 * flight * (1 - flight)
    down = np.where(x < 0.5, np.sin(np.pi * x * 2), 0)
    m["air"] = rng.uniform(0.08, 0.4) * up
    kind = rng.integers(4)
    squat = rng.uniform(15, 65) * down
    for side in ("left", "right"):
        m[side, "knee"] += 1.6 * squat
        m[side, "hip flexion"] += squat
        m[side, "ankle"] -= 0.5 * squat
    m.lean(0.5 * squat)
    if kind == 0:  # jumping jack
        slow = np.sin(np.pi * np.mod(t / (2 * period), 1)) ** 2
        for side in ("left", "right"):
            m[side, "hip abduction"] = rng.uniform(25, 40) * slow
            m[side, "shoulder abduction"] = rng.uniform(120, 165) * slow
            m[side, "elbow"] = rng.uniform(5, 35)
    else:
        swing = rng.uniform(20, 170)
        for side in ("left", "right"):
            m[side, "shoulder flexion"] = swing * (up + 0.3) - 0.5 * swing * down
            m[side, "elbow"] = rng.uniform(10, 60)
    if kind == 1:
        m["speed"] = rng.uniform(0.5, 2.5)
    if kind == 2:  # knees drawn up
        for side in ("left", "right"):
            m[side, "hip flexion"] += rng.uniform(30, 90) * up
            m[side, "knee"] += rng.uniform(30, 100) * up
    if kind == 2 and rng.random() < 0.4:  # somersaults
        m["pitch"] += rng.choice([-1, 1]) * 360 * flight
    return m


def kick(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    leg, other = _sides(rng)
    up = _swell(t, rng.uniform(1.0, 2.6), rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.6))
    up = 0.25 + 0.75 * up
    sideways = rng.random() < 0.5
    height = rng.uniform(55, 100)
    if sideways:
        m[leg, "hip abduction"], m[leg, "hip flexion"] = height * up, rng.uniform(0, 40) * up
        tilt = rng.uniform(5, 40) * up
        m["roll"] = tilt if leg == "left" else -tilt
        m[other, "hip abduction"] += tilt
    else:
        m[leg, "hip flexion"] = height * up
        m["pitch"] -= rng.uniform(0, 25) * up
        m[other, "hip flexion"] += m["pitch"]
    m[leg, "knee"] = rng.uniform(0, 80) * (1 - up) + rng.uniform(0, 35)
    for side in (leg, other):
        m[side, "shoulder abduction"] += rng.uniform(0, 110) * up
        m[side, "elbow"] = rng.uniform(5, 90)
    m["turning"] = rng.normal(0, 10)
    return m


def raise_hand(rng: Generator, t: Array) -> Movement:
    m = stand(rng, t)
    first, second = _sides(rng)
    for side in (first, second)[: 2 if rng.random() < 0.25 else 1]:
        waving = rng.uniform(8, 35) * np.sin(2 * np.pi * rng.uniform(0.8, 2.5) * t) * (rng.random() < 0.7)
        if rng.random() < 0.6:  # upper arm to the side, forearm up
            m[side, "shoulder abduction"] = rng.uniform(45, 120)
            m[side, "shoulder rotation"] = rng.uniform(70, 100) + waving
            m[side, "elbow"], m[side, "shoulder flexion"] = rng.uniform(60, 125), rng.uniform(0, 40)
        else:  # the whole arm up
            m[side, "shoulder flexion"], m[side, "elbow"] = rng.uniform(120, 175), rng.uniform(0, 60)
            m[side, "shoulder abduction"], m[side, "shoulder rotation"] = rng.uniform(0, 30) + waving, 0
    return m


def reach(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    first, second = _sides(rng)
    out = 1.0 if rng.random() < 0.6 else 0.55 + 0.45 * _swell(t, rng.uniform(1.5, 3), rng.random(), 0.5)
    for side in (first, second)[: 2 if rng.random() < 0.3 else 1]:
        m[side, "shoulder flexion"] = rng.uniform(45, 100) * out
        m[side, "shoulder turn"] = rng.uniform(-25, 25)
        m[side, "shoulder abduction"], m[side, "elbow"] = rng.uniform(0, 15), rng.uniform(0, 50)
        m[side, "shoulder rotation"] = rng.uniform(-30, 30)
    m.lean(rng.uniform(0, 22) * out)
    m["spine flexion"] = rng.uniform(0, 15)
    if rng.random() < 0.4:
        m[second, "hip flexion"] += rng.uniform(5, 30)
        m[second, "knee"] += rng.uniform(5, 30)
    return m


def turn(rng: Generator, t: Array) -> Movement:
    cadence = rng.uniform(0.6, 1.1)
    m = _gait(rng, t, cadence, rng.uniform(4, 14), rng.uniform(8, 30), rng.uniform(0, 8), rng.uniform(0, 12))
    m["turning"] = rng.choice([-1, 1]) * rng.uniform(70, 220)
    m["spine twist"] = np.sign(m["turning"]) * rng.uniform(0, 15)
    m["neck turn"] = np.sign(m["turning"]) * rng.uniform(0, 30)
    return m


def lie(rng: Generator, t: Array) -> Movement:
    m = Movement.standing(rng, len(t))
    kind = rng.integers(3)
    if kind < 2:
        m["pitch"] = rng.choice([-90, 90]) + rng.normal(0, 6)
    else:
        m["roll"] = rng.choice([-90, 90]) + rng.normal(0, 8)
    for side in ("left", "right"):
        raised = rng.uniform(0, 70) * (rng.random() < 0.5)
        m[side, "hip flexion"], m[side, "knee"] = raised, 1.4 * raised
        m[side, "hip abduction"] = rng.uniform(0, 20)
        m[side, "shoulder abduction"] = rng.uniform(0, 120)
        m[side, "shoulder flexion"], m[side, "elbow"] = rng.normal(0, 20), rng.uniform(0, 100)
    return m


MOVEMENTS: dict[str, Callable[[Generator, Array], Movement]] = {
    "stand": stand, "walk": walk, "run": run, "sit": sit, "crouch": crouch, "bend": bend, "jump": jump, "kick": kick,
    "raise/wave hand": raise_hand, "reach": reach, "turn": turn, "lie": lie,
}  # fmt: skip
# Actions that are transitions: what may come before and after, and how many seconds they take.
TRANSITIONS = {
    "sit down": (("stand", "walk"), ("sit",), (0.8, 1.8)),
    "get up": (("sit", "lie", "crouch"), ("stand", "walk"), (0.8, 2.0)),
    "fall": (("stand", "walk", "run"), ("lie",), (0.5, 1.1)),
}
UPRIGHT = ("stand", "walk", "run", "raise/wave hand", "reach", "turn", "bend", "jump", "kick", "crouch")
SECONDS = {"turn": (0.7, 1.6), "run": (1.2, 4.0), "kick": (1.0, 3.0), "jump": (1.0, 4.0)}


@dataclass(frozen=True)
class MovementClip:
    """One person's movement, as it is. poses: (n, 229) at `RATE`. actions: (n,) index into `ACTIONS`, -1 unlabelled."""

    poses: NDArray[np.float32]
    actions: NDArray[np.int64]


def movement_clip(action: str, frames: int, seed: int, body: BodyModel) -> MovementClip:
    """A person who at some time does `action`, before and after something that goes with it."""
    rng = np.random.default_rng([seed, ACTIONS.index(action)])
    plan = _plan(action, rng)
    values, actions = _perform(plan, rng)
    offset = _offset(actions, ACTIONS.index(action), frames, rng)
    values, actions = values[offset : offset + frames], actions[offset : offset + frames]
    if len(values) < frames:
        values = np.pad(values, ((0, frames - len(values)), (0, 0)), mode="edge")
        actions = np.pad(actions, (0, frames - len(actions)), constant_values=-1)
    return MovementClip(_poses(values, rng, body), actions)


def synthetic_track(
    action: str, frames: int, seed: int, body: BodyModel, id: int = 0, errors: RecoveryErrors | None = None
) -> ActionTrack:
    """A labelled track with the errors of a recovery from pictures and some frames undetected; see `observed`."""
    return observed(movement_clip(action, frames, seed, body), action, seed, id, errors)


def observed(
    clip: MovementClip, action: str, seed: int, id: int = 0, errors: RecoveryErrors | None = None
) -> ActionTrack:
    """A clip as it would be tracked.

    All get the noise of `motion.synthetic.add_noise`. errors: those of the lite chain, which most clips get as well.
    """
    frames, number = len(clip.poses), ACTIONS.index(action)
    rng = np.random.default_rng([seed, number, 1])
    poses = add_noise(clip.poses[None], rng)[0]
    if errors is not None and rng.random() < WITH_ERRORS:
        poses = errors.apply(poses, number, rng)
    if rng.random() < 0.5:
        poses = mirror(poses)
    detected = np.ones(frames, bool)
    for _ in range(rng.poisson(0.6)):
        first = rng.integers(frames)
        detected[first : first + rng.integers(1, 15)] = False
    labels = np.zeros((frames, len(ACTIONS)), np.float32)
    labelled = clip.actions >= 0
    labels[labelled, clip.actions[labelled]] = 1
    joints = np.zeros((frames, 3 * NUM_JOINTS), np.float32)  # not used by the built-in network
    return ActionTrack(id, 0, poses, joints, detected, None, labels, np.where(labelled, 2, 0))


def _plan(action: str, rng: Generator) -> list[tuple[str, float]]:
    """Actions and their seconds."""

    def seconds(name: str) -> float:
        return float(rng.uniform(*SECONDS.get(name, (1.5, 5.0))))

    if action in TRANSITIONS:
        before, after, duration = TRANSITIONS[action]
        names = [str(rng.choice(before)), action, str(rng.choice(after))]
        return [(name, float(rng.uniform(*duration)) if name == action else seconds(name)) for name in names]
    if action in ("sit", "lie"):
        way = {"sit": "sit down", "lie": "fall"}[action]
        plan = [(action, float(rng.uniform(3, 6)))]
        if rng.random() < 0.3:
            plan = [*_plan(way, rng)[:2], *plan]
        if rng.random() < 0.3:
            plan += [("get up", float(rng.uniform(*TRANSITIONS["get up"][2]))), ("stand", 2.0)]
        return plan
    names = [str(rng.choice(UPRIGHT)) if rng.random() < 0.4 else "stand", action, str(rng.choice(UPRIGHT))]
    if rng.random() < 0.35:
        return [(action, 6.0)]
    return [(name, seconds(name)) for i, name in enumerate(names) if i == 0 or name != names[i - 1]]


def _perform(plan: list[tuple[str, float]], rng: Generator) -> tuple[Array, NDArray[np.int64]]:
    """Values of the channels (n, C) and actions (n,) of a plan."""
    total = round(RATE * sum(seconds for _, seconds in plan))
    t = np.arange(total) / RATE
    ends = np.cumsum([seconds for _, seconds in plan])
    actions = np.searchsorted(ends, t, side="right").clip(0, len(plan) - 1)
    held = [(i, name) for i, (name, _) in enumerate(plan) if name in MOVEMENTS]
    weights, parts = np.zeros((len(held), total)), []
    for k, (i, name) in enumerate(held):
        parts.append(MOVEMENTS[name](rng, t).values)
        weights[k] = _crossing(plan, i - 1, ends[i - 1], t, rng) if k else 1.0
        if k:
            weights[k - 1] *= 1 - weights[k]
    weights /= weights.sum(0)
    values = np.einsum("kn,knc->nc", weights, np.stack(parts))
    for i, (name, seconds) in enumerate(plan):
        if name in ("sit down", "get up"):  # the trunk goes forward over the feet
            x = np.clip((t - (ends[i] - seconds)) / seconds, 0, 1)
            movement = Movement(values)
            movement.lean(rng.uniform(10, 40) * np.sin(np.pi * x) ** 2)
    named = np.array([ACTIONS.index(name) for name, _ in plan])[actions]
    change = np.flatnonzero(np.diff(named)) + 1
    near = np.abs(np.arange(total)[:, None] - change[None]).min(1, initial=total) < AMBIGUOUS * RATE
    return values, np.where(near, -1, named)


def _crossing(plan: list[tuple[str, float]], i: int, moment: float, t: Array, rng: Generator) -> Array:
    """(n,) from 0 to 1: how far the change after part `i` of the plan has gone; transitions take all their time."""
    name, seconds = plan[i]
    if name in TRANSITIONS:
        x = (t - (moment - seconds)) / seconds
        return np.clip(x, 0, 1) ** 2 if name == "fall" else _ease(x)
    seconds = rng.uniform(0.2, 0.5)
    return _ease((t - moment) / seconds + 0.5)


def _offset(actions: NDArray[np.int64], wanted: int, frames: int, rng: Generator) -> int:
    """Where to begin so that as much as possible of the action is in view, give or take."""
    spare = len(actions) - frames
    if spare <= 0:
        return 0
    counts = np.convolve(actions == wanted, np.ones(frames), "valid")
    good = np.flatnonzero(counts >= 0.6 * counts.max())
    return int(rng.choice(good))


def _poses(values: Array, rng: Generator, body: BodyModel) -> NDArray[np.float32]:
    """Pose features (n, 229) of channels (n, C), of a random person before a random camera."""
    count = len(values)
    t = np.arange(count) / RATE
    sway = np.zeros_like(values)
    for channel in range(len(CHANNELS) - 3):
        for frequency in rng.uniform(0.1, 1.2, 2):
            sway[:, channel] += (
                rng.normal(0, 1) * np.sin(2 * np.pi * frequency * t + rng.uniform(0, 6.3)) / (0.4 + frequency)
            )
    sway[:, [_C["pitch"], _C["roll"]]] *= 0.4
    m = Movement(values + rng.uniform(0.5, 3.0) * sway)
    rotations = np.tile(np.eye(3), (count, 24, 1, 1))
    for side, hip, knee, ankle, shoulder, elbow, sign in (("left", 1, 4, 7, 16, 18, 1), ("right", 2, 5, 8, 17, 19, -1)):
        rotations[:, hip] = (
            _about(0, -m[side, "hip flexion"]) @ _about(2, sign * m[side, "hip abduction"])
            @ _about(1, sign * m[side, "hip rotation"])
        )  # fmt: skip
        rotations[:, knee] = _about(0, np.maximum(m[side, "knee"], 0))
        rotations[:, ankle] = _about(0, m[side, "ankle"])
        rotations[:, shoulder] = (
            _about(1, sign * m[side, "shoulder turn"]) @ _about(0, -m[side, "shoulder flexion"])
            @ _about(2, sign * (m[side, "shoulder abduction"] - HANGING)) @ _about(0, -m[side, "shoulder rotation"])
        )  # fmt: skip
        rotations[:, elbow] = _about(1, -sign * np.maximum(m[side, "elbow"], 0))
    for joint, share in ((3, 0.4), (6, 0.35), (9, 0.25)):
        rotations[:, joint] = (
            _about(0, share * m["spine flexion"]) @ _about(1, share * m["spine twist"])
            @ _about(2, share * m["spine side"])
        )  # fmt: skip
    for joint in (12, 15):
        rotations[:, joint] = _about(0, 0.5 * m["neck flexion"]) @ _about(1, 0.5 * m["neck turn"])
    heading = rng.uniform(-180, 180) + np.cumsum(m["turning"]) / RATE
    rotations[:, 0] = _about(1, heading) @ _about(0, m["pitch"]) @ _about(2, m["roll"])
    betas = np.repeat(rng.normal(0, 1, (1, 10)), count, 0)
    joints = body.joints_of_arrays(
        rotations[:, :1].astype(np.float32), rotations[:, 1:].astype(np.float32), betas.astype(np.float32)
    )
    radians = np.radians(heading)
    step = np.stack([np.sin(radians), 0 * radians, np.cos(radians)], -1) * (m["speed"] / RATE)[:, None]
    position = np.cumsum(step, 0)
    position[:, 1] = np.maximum(m["air"], 0) - joints[..., 1].min(1)
    camera = look_at_people(rng, 1, (10, 14))[0]
    depth = np.exp(rng.uniform(np.log(15), np.log(170)))
    start = np.array([*rng.uniform(-0.035, 0.035, 2) * depth, depth])
    translation = start + (position - position[:1]) @ camera.T
    translation[:, 2] = np.maximum(translation[:, 2], 2.0) / DEPTH_SCALE
    rotations[:, 0] = camera @ rotations[:, 0]
    return np.concatenate([rotations.reshape(count, 216), betas, translation], 1).astype(np.float32)


def _about(axis: int, degrees: Array) -> Array:
    """(n, 3, 3) rotations about x, y or z."""
    vectors = np.zeros((len(degrees), 3))
    vectors[:, axis] = np.radians(degrees)
    return axis_angle_to_matrix(torch.from_numpy(vectors)).numpy()
