"""Synthetic human motion, for training and for evaluation where no recordings can be shipped.

Every person is a mixture of simple movements within the limits of SMPL's joints: smooth random articulation that speeds
up and rests, point-to-point moves of all joints with bell-shaped speed (reaching, looking, bending), gait cycles,
crouching, turning on the spot and along the way, now and then a tumble. The root walks where it faces, before a
camera at some height and tilt. All of it is vectorised over people and follows from the seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.joint_limits import STANDING_POSE, USUAL_MAX, USUAL_MIN
from fourd_humans.body.joints import MIRRORED_SMPL
from fourd_humans.geometry.rotations import axis_angle_to_matrix

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

# How far the recovery of each of the 24 rotations errs, relative to one another: from frame to frame, and slowly about
# each axis (arms lie along x, legs along y).
JITTER = np.array(
    [0.9, 1.2, 1.2, 0.5, 1.2, 1.2, 0.5, 0.9, 0.9, 0.5, 0, 0, 0.6, 0.4, 0.4, 0.6, 1.6, 1.6, 1, 1, 0.2, 0.2, 0, 0]
)
DRIFT = np.zeros((24, 3))
DRIFT[[0, 1, 2, 4, 5]], DRIFT[[3, 6, 9, 7, 8, 12, 15]], DRIFT[[16, 17, 18, 19]] = 1.0, 0.4, 1.5
DRIFT[[1, 2, 4, 5], 1], DRIFT[[16, 17], 0], DRIFT[[18, 19], 0] = 2.5, 6.0, 2.5


@dataclass(frozen=True)
class SyntheticMotion:
    """Motion of N people over T frames. poses: (N, T, 229) raw features. frame_rates: (N,) frames a second."""

    poses: Floats
    frame_rates: Array


def synthesise(people: int, frames: int, seed: int) -> SyntheticMotion:
    """Motion of as many people as requested, each at a frame rate of its own between 12 and 60 a second.

    The camera features are the full-image translation with its depth divided by 200, for the default long focal length.
    """
    rng = np.random.default_rng([seed, 229])
    rates = np.exp(rng.uniform(np.log(12), np.log(60), people))
    time = np.arange(frames) / rates[:, None]

    def some(probability: float) -> Array:
        return (rng.random(people) < probability).astype(float)

    low, high, rest = USUAL_MIN, USUAL_MAX, STANDING_POSE
    middle, half = (low + high) / 2, (high - low) / 2
    # Habit: where each person's joints hover, near standing or anywhere within the middle of the limits.
    loose = rng.uniform(0, 0.7, (people, 1))
    habit = rest + loose * rng.uniform(-1, 1, (people, 69)) * half * 0.6
    pace = _activity(rng, time)
    angles = habit[:, None] + _wander(rng, pace, 69) * (half * rng.uniform(0.02, 0.3, (people, 1)))[:, None]
    reach = _keyframes(rng, time, 69, every=rng.uniform(0.5, 2.5, people))
    angles += reach * (half * rng.uniform(0.0, 0.6, (people, 1)) * some(0.7)[:, None])[:, None]

    walking = _gate(rng, time) * some(0.55)[:, None]
    gait, stride = _gait(rng, time, walking)
    angles = angles * (1 - 0.6 * walking[..., None]) + 0.6 * walking[..., None] * rest + gait
    crouching = _gate(rng, time) * (some(0.3) * rng.uniform(0.3, 1, people))[:, None] * (1 - walking)
    angles += crouching[..., None] * _crouch()
    angles = middle + half * _soft_clip((angles - middle) / np.maximum(half, 1e-6)) * (half > 0)

    heading = rng.uniform(-np.pi, np.pi, (people, 1)) + _turning(rng, time)
    lean = np.radians(12) * _wander(rng, pace, 2) * rng.uniform(0.2, 1, (people, 1, 1))
    tumble = 2 * np.pi * _keyframes(rng, time, 1, every=rng.uniform(1, 3, people))[..., 0] * some(0.1)[:, None]
    lean[..., 0] += tumble * rng.choice([-1, 1, 0.3], (people, 1)) + 0.5 * crouching
    upright = np.zeros((people, frames, 3))
    upright[..., 0], upright[..., 2] = lean[..., 0], lean[..., 1]
    camera = look_at_people(rng, people)
    world = _matrices(np.stack([0 * heading, heading, 0 * heading], -1)) @ _matrices(upright)
    orient = camera[:, None] @ world

    walked = np.stack([np.sin(heading), 0 * heading, np.cos(heading)], -1) * (stride / rates[:, None])[..., None]
    height = -0.45 * crouching + 0.02 * walking * np.sin(2 * np.pi * time * 1.8)
    position = np.cumsum(walked, 1)
    position[..., 1] += height
    position = np.einsum("nij,ntj->nti", camera, position)
    depth = np.exp(rng.uniform(np.log(15), np.log(120), (people, 1)))
    start = np.concatenate([rng.uniform(-0.035, 0.035, (people, 2)) * depth, depth], 1)
    translation = start[:, None] + position - position[:, :1]
    translation[..., 2] = np.maximum(translation[..., 2], 2.0) / 200
    betas = np.repeat(rng.normal(0, 1, (people, 1, 10)), frames, 1)
    body = _matrices(np.radians(angles).reshape(people, frames, 23, 3))
    features = [orient.reshape(people, frames, 9), body.reshape(people, frames, 207), betas, translation]
    return SyntheticMotion(np.concatenate(features, -1).astype(np.float32), rates)


def add_noise(poses: Floats, rng: np.random.Generator) -> Floats:
    """Raw features (N, T, 229) as a recovery from pictures would give them: jitter, drift and short blunders.

    Rotations err by a few degrees, partly alike from frame to frame, and for some frames several times as much. What a
    picture shows least, how far limbs are turned about their own axis, drifts slowly and further. Sizes are those seen
    in the lite model's results. Betas and camera err as well.
    """
    people, frames = poses.shape[:2]
    jitter = np.radians(np.exp(rng.normal(np.log(1.5), 0.7, (people, 1, 1, 1)))) * JITTER[:, None]
    error = _correlated(rng, people, frames, 72, rng.uniform(0.0, 0.9, (people, 1))).reshape(people, frames, 24, 3)
    blunder = 1 + 3 * (rng.random((people, frames, 1, 1)) < 0.02)
    drift = np.radians(np.exp(rng.normal(np.log(4.0), 0.7, (people, 1, 1, 1)))) * DRIFT
    pace = np.arange(frames) / np.exp(rng.uniform(np.log(12), np.log(60), (people, 1)))
    slow = _wander(rng, pace, 72).reshape(people, frames, 24, 3)
    noise = _matrices(error * jitter * blunder + slow * drift)
    rotations = poses[..., :216].reshape(people, frames, 24, 3, 3) @ noise
    betas = poses[..., 216:226] + 0.15 * _correlated(rng, people, frames, 10, rng.uniform(0.0, 0.95, (people, 1)))
    shake = 0.01 * rng.normal(size=(people, frames, 3)) * poses[..., 228:] * [1, 1, 2]
    camera = poses[..., 226:] + shake
    return np.concatenate([rotations.reshape(people, frames, 216), betas, camera], -1).astype(np.float32)


def mirror(poses: Floats) -> Floats:
    """The same motion (..., 229) seen in a mirror: left and right change places."""
    rotations = poses[..., :216].reshape(*poses.shape[:-1], 24, 3, 3)[..., MIRRORED_SMPL, :, :]
    flipped = rotations * np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]], np.float32)
    camera = poses[..., 226:] * np.array([-1, 1, 1], np.float32)
    return np.concatenate([flipped.reshape(*poses.shape[:-1], 216), poses[..., 216:226], camera], -1)


def _soft_clip(x: Array) -> Array:
    """Nearly x for |x| < 0.8, and never beyond 1: joints slow down towards their limits."""
    return np.tanh(x * (1 + 0.2 * x**2))


def _wander(rng: np.random.Generator, time: Array, channels: int, waves: int = 6) -> Array:
    """(N, T, channels) smooth random processes of unit variance: waves of 0.1 to 1.5 Hz, the slow ones larger."""
    people = len(time)
    frequency = np.exp(rng.uniform(np.log(0.1), np.log(1.5), (people, 1, channels, waves)))
    amplitude = rng.normal(size=(people, channels, waves)) / (0.3 + frequency[:, 0])
    amplitude /= np.sqrt((amplitude**2).sum(-1, keepdims=True) / 2)
    phase = rng.uniform(0, 2 * np.pi, (people, 1, channels, waves))
    cycles = np.sin((2 * np.pi) * frequency * time[..., None, None] + phase)
    return np.einsum("ntcw,ncw->ntc", cycles, amplitude)


def _activity(rng: np.random.Generator, time: Array) -> Array:
    """(N, T) time that runs faster and slower, and nearly stands still at times, so that movements pause."""
    speed = 1 / (1 + np.exp(-2.5 * _wander(rng, time, 1)[..., 0] - rng.normal(0.5, 1, (len(time), 1))))
    speed *= np.exp(rng.normal(0, 0.4, (len(time), 1)))
    step = np.diff(time, axis=1, prepend=time[:, :1])
    return rng.uniform(0, 100, (len(time), 1)) + np.cumsum(speed * step, 1)


def _keyframes(rng: np.random.Generator, time: Array, channels: int, every: Array) -> Array:
    """(N, T, channels) in -1..1: moves between random targets with bell-shaped (minimum-jerk) speed, and rests between.

    every: (N,) seconds from target to target.
    """
    clock = time / every[:, None] + rng.uniform(0, 1, (len(time), 1))
    count = int(clock.max()) + 2
    targets = rng.uniform(-1, 1, (len(time), count, channels)) * (rng.random((len(time), count, channels)) < 0.6)
    number = clock.astype(int)
    moving = rng.uniform(0.3, 1.0, (len(time), count))
    rows = np.arange(len(time))[:, None]
    x = np.clip((clock - number) / moving[rows, number], 0, 1)[..., None]
    done = x**3 * (10 - 15 * x + 6 * x**2)
    return targets[rows, number] * (1 - done) + targets[rows, number + 1] * done


def _gate(rng: np.random.Generator, time: Array) -> Array:
    """(N, T) in 0..1, mostly at the ends: when a person does something, with smooth beginnings and ends."""
    slow = _wander(rng, 0.4 * time + rng.uniform(0, 100, (len(time), 1)), 1)[..., 0]
    return 1 / (1 + np.exp(-5 * (slow + rng.normal(0.3, 0.8, (len(time), 1)))))


def _gait(rng: np.random.Generator, time: Array, walking: Array) -> tuple[Array, Array]:
    """Angles (N, T, 69) in degrees of a gait cycle where `walking` (N, T), and the forward speed (N, T) in m/s."""
    people = len(time)

    def vary(centre: float, spread: float) -> Array:
        return np.abs(rng.normal(centre, spread, (people, 1)))

    run = (rng.random((people, 1)) < 0.2).astype(float)
    cadence = vary(0.9, 0.12) + 0.5 * run
    phase = 2 * np.pi * cadence * time + 0.15 * np.sin(time) + rng.uniform(0, 2 * np.pi, (people, 1))
    angles = np.zeros((people, len(time[0]), 23, 3))
    hip, knee, arm = vary(24, 5) + 12 * run, vary(32, 7) + 35 * run, vary(18, 9) + 15 * run
    elbow, lift = vary(12, 6) + 55 * run, vary(8, 4)
    twist, sway = vary(5, 2), vary(3, 1.5)
    for side, sign, shift in ((0, 1, 0.0), (1, -1, np.pi)):
        p = phase + shift
        angles[..., 0 + side, 0] = -hip * np.sin(p) - 6
        angles[..., 3 + side, 0] = knee * np.maximum(0, np.cos(p + 0.4)) ** 2 + lift * np.maximum(0, np.sin(p)) ** 2 + 4
        angles[..., 6 + side, 0] = 10 * np.sin(p + 1.2)
        angles[..., 15 + side, 1] = sign * arm * np.sin(p)
        angles[..., 17 + side, 1] = -sign * (elbow + 0.4 * arm * np.maximum(0, -np.sin(p)))
    angles[..., 2, 1] = twist * np.sin(phase)
    angles[..., 5, 1] = -twist * np.sin(phase + 0.2)
    angles[..., 2, 2] = sway * np.cos(phase)
    speed = hip * cadence / 17
    return angles.reshape(people, -1, 69) * walking[..., None], speed * walking


def _crouch() -> Array:
    """Angles (69,) in degrees that a full crouch adds."""
    angles = np.zeros((23, 3))
    angles[[0, 1], 0], angles[[3, 4], 0], angles[[6, 7], 0] = -85, 110, -20
    angles[[2, 5], 0] = 20, 10
    return angles.ravel()


def _turning(rng: np.random.Generator, time: Array) -> Array:
    """(N, T) change of heading in radians: drifting, turning to new directions, or circling all the time."""
    people = len(time)
    kind = rng.random((people, 1))
    drift = np.radians(15) * _wander(rng, time, 1)[..., 0]
    turns = np.radians(120) * _keyframes(rng, time, 1, every=rng.uniform(1, 4, people))[..., 0] * (kind < 0.5)
    circle = np.radians(rng.normal(0, 70, (people, 1))) * time * (kind > 0.8)
    return drift + turns + circle


def look_at_people(rng: np.random.Generator, people: int, pitch_degrees: tuple[float, float] = (8, 12)) -> Array:
    """(N, 3, 3) rotations from the world (y up) to a camera (y down, z away) that looks at the people, tilted.

    pitch_degrees: mean and standard deviation of how far cameras look down.
    """
    pitch = np.radians(rng.normal(*pitch_degrees, people))
    roll = np.radians(rng.normal(0, 4, people))
    zero = np.zeros(people)
    look = _matrices(np.stack([np.pi + pitch, zero, zero], -1))
    return _matrices(np.stack([zero, zero, roll], -1)) @ look


def _correlated(rng: np.random.Generator, people: int, frames: int, channels: int, memory: Array) -> Array:
    """(N, T, channels) noise of unit variance whose neighbours in time are correlated by `memory` (N, 1)."""
    noise = rng.normal(size=(people, frames, channels))
    for t in range(1, frames):
        noise[:, t] = memory * noise[:, t - 1] + np.sqrt(1 - memory**2) * noise[:, t]
    return noise


def _matrices(axis_angle: Array) -> Array:
    return axis_angle_to_matrix(torch.from_numpy(np.ascontiguousarray(axis_angle))).numpy()
