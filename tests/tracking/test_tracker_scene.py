"""The whole tracker against what the released one does with a scripted scene (tests/data/tracker)."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fourd_humans.appearance.distance import EncoderDistance
from fourd_humans.appearance.encoder import TextureEncoder
from fourd_humans.motion.checkpoint import BUILT_IN, load_pose_transformer
from fourd_humans.motion.hold import hold_pose
from fourd_humans.motion.predictor import PosePredictor
from fourd_humans.tracking.track import Observation
from fourd_humans.tracking.tracker import Tracker

DATA = Path(__file__).parents[1] / "data"
SCENE = runpy.run_path(str(DATA / "tracker" / "tracker_scene.py"))


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(DATA / "tracker" / "tracker_scene.npz", allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def encoder() -> TextureEncoder:
    encoder = TextureEncoder().eval()
    fill_weights = runpy.run_path(str(DATA / "fill_weights.py"))["fill_weights"]
    encoder.load_state_dict(fill_weights(encoder.state_dict(), scale=0.08))
    return encoder


def scene() -> Iterator[list[Observation]]:
    for time, people in enumerate(SCENE["frames"]()):
        yield [Observation(time, p["pose"], p["loca"], p["uv"], p["conf"]) for p in people]


class StoredDistances:
    """The encoder's distances of the pairs that the tracker asks for, frame by frame, computed once and stored."""

    def __init__(self) -> None:
        with np.load(DATA / "tracker" / "encoder_distances.npz", allow_pickle=False) as stored:
            self.pairs, self.values = stored["pairs"], stored["values"]
        self.used = 0

    def __call__(self, tracks: Any, detections: Any, pairs: np.ndarray) -> np.ndarray:
        chosen = slice(self.used, self.used + len(pairs))
        np.testing.assert_array_equal(pairs, self.pairs[chosen])
        self.used += len(pairs)
        return self.values[chosen]


class AlikeTextures:
    """Stands in for the comparison of textures: all are alike."""

    def __call__(self, tracks: Any, detections: Any, pairs: np.ndarray) -> np.ndarray:
        return np.zeros(len(pairs))


def follow(texture_distance: Any, arrays: dict[str, np.ndarray]) -> None:
    """Track the scene, comparing ids, states, costs and predictions with the released tracker's in every frame."""
    expected = json.loads((DATA / "tracker" / "tracker_scene.json").read_text())
    tracker = Tracker(texture_distance=texture_distance, predict_poses=hold_pose)
    for time, (observations, frame) in enumerate(zip(scene(), expected, strict=True)):
        assert [track.id for track in tracker.tracks] == frame["tracks_before"]
        association = tracker.associate(observations, is_cut=time == SCENE["SHOT"])

        assert [track.id for track in association.tracks] == frame["assigned"]
        assert frame["alive"] == {
            str(track.id): {
                "state": track.state.value,
                "time_since_update": track.time_since_seen,
                "hits": track.hits,
            }
            for track in tracker.tracks
        }
        if f"cost_{time}" in arrays:
            np.testing.assert_allclose(association.cost, arrays[f"cost_{time}"], rtol=1e-3)
        locations = np.stack([track.next.location for track in tracker.tracks])
        np.testing.assert_allclose(locations, arrays[f"loca_{time}"], rtol=5e-6, atol=2e-6)
    assert time == 71


def test_tracks_the_scene_like_the_released_tracker(arrays: dict[str, np.ndarray]) -> None:
    follow(StoredDistances(), arrays)


def test_a_cut_in_the_scene_replaces_the_history_of_those_who_are_matched() -> None:
    """A cut where people stay where they are, so that they are matched across it, which nobody is in the reference."""
    trackers = [Tracker(texture_distance=AlikeTextures(), predict_poses=hold_pose) for _ in range(2)]
    for time, observations in enumerate(scene()):
        cut, plain = (t.associate(observations, is_cut=time == 20 and t is trackers[0]) for t in trackers)
        if time == 20:
            break
    matched = 0
    for track, other, observation in zip(cut.tracks, plain.tracks, observations, strict=True):
        assert track.id == other.id
        if track.hits == 1:
            continue
        matched += 1
        np.testing.assert_array_equal(track.locations, np.tile(observation.location, (7, 1)))
        np.testing.assert_allclose(track.next.location[88:93], observation.location[88:93], rtol=1e-5)
        np.testing.assert_allclose(track.next.location[93:96], [0, 0, 1], atol=1e-6)
        assert abs(track.next.location[88:90] - other.next.location[88:90]).max() > 1e-3
        np.testing.assert_array_equal(track.times, other.times)
        np.testing.assert_array_equal(track.poses, other.poses)
    assert matched >= 3


@pytest.mark.slow
def test_tracks_the_scene_with_the_encoder(arrays: dict[str, np.ndarray], encoder: TextureEncoder) -> None:
    follow(EncoderDistance(encoder), arrays)


def test_embeds_a_texture_like_the_released_encoder(arrays: dict[str, np.ndarray], encoder: TextureEncoder) -> None:
    texture = torch.from_numpy(next(scene())[0].texture)[None]
    with torch.no_grad():
        torch.testing.assert_close(encoder(texture).numpy(), arrays["uv0_embedding"], rtol=1e-4, atol=1e-4)


def test_stored_distances_are_the_encoders(encoder: TextureEncoder) -> None:
    frames = scene()
    first, second = ([o.texture for o in next(frames)] for _ in range(2))
    stored = StoredDistances()
    pairs = stored.pairs[:2]  # of the second frame, where tracks are the first frame's people
    np.testing.assert_allclose(EncoderDistance(encoder)(first, second, pairs), stored.values[:2], rtol=1e-4)


@pytest.mark.gpu
def test_tracks_the_scene_with_the_encoder_on_a_gpu(arrays: dict[str, np.ndarray], encoder: TextureEncoder) -> None:
    """Identities and states as on the CPU, and costs within the same tolerance."""
    follow(EncoderDistance(encoder, "cuda"), arrays)


@pytest.mark.gpu
def test_poses_predicted_on_a_gpu_track_the_scene_like_those_of_the_cpu() -> None:
    def ids(device: str) -> list[list[int]]:
        predict = PosePredictor(load_pose_transformer(BUILT_IN, torch.device(device)))
        tracker = Tracker(texture_distance=AlikeTextures(), predict_poses=predict)
        return [[track.id for track in tracker.associate(people).tracks] for people in scene()]

    assert ids("cuda") == ids("cpu")
