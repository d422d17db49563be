"""The chain on a scene in which everything is known: whoever walks behind another comes out as the same person."""

import json
from dataclasses import replace

import numpy as np
import pytest
from demo_scene import scene as demo_scene
from demo_scene.measures import GroundTruthStages, measure, read_truth

from fourd_humans.config import default_config, merge
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.mot import read_mot_sequences
from fourd_humans.pipeline import Pipeline

FRAME_RATE = 12.5
STANDS_NEAR = ((0.0, 0.0, 2.6), (5.0, 0.01, 2.6))
PASSES_BEHIND = ((0.0, 1.35, 10.5), (5.0, -1.35, 10.5))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Five seconds of one person who stands, and another who walks past behind at an even pace."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo_scene, "WALKS", (STANDS_NEAR, PASSES_BEHIND))
        patched.setattr(demo_scene, "STANDING", ((0.0, -1.0), (-1.0, 0.0)))
        patched.setattr(demo_scene, "LENGTH", 5.0)
        return demo_scene.make_demo_scene(
            tmp_path_factory.mktemp("scene"), (144, 256), seconds=5.0, frame_rate=FRAME_RATE
        )


@pytest.fixture(scope="module")
def truth(scene):
    return read_truth(scene.truth)


def run(truth, scene):
    given = GroundTruthStages(truth)
    camera = {"focal_length": truth.intrinsics.focal_length}
    # The true bodies need no refinement.
    config = merge(default_config(), {"device": "cpu", "camera": camera, "motion": {"refine": False}})
    return list(Pipeline(config, detector=given.detect, recovery=given.recover).run(scene.video))


@pytest.fixture(scope="module")
def frames(truth, scene):
    return run(truth, scene)


def test_identity_survives_a_full_occlusion_of_a_second(truth, frames):
    out_of_sight = truth.arrays["visibility"][:, 1] == 0
    assert out_of_sight.sum() >= FRAME_RATE  # a second in which nothing at all is seen of the person behind
    found = measure(frames, truth)
    assert found.tracking.switches == 0
    assert [len(ids) for ids in found.identities.values()] == [1, 1]
    assert found.tracking.hota == pytest.approx(1)
    assert found.tracking.idf1 == pytest.approx(1)


def test_hidden_frames_are_filled_in_better_than_by_holding_the_last_pose(truth, frames):
    found = measure(frames, truth)
    assert found.completed == found.hidden == truth.hidden[:, 1].sum() > 0
    assert found.completion_error < found.held_error
    assert found.completion_place < 0.2
    assert found.pose_error == pytest.approx(0, abs=1e-3)


def test_each_fault_lowers_its_own_figure(truth, frames):
    """Other identities after the occlusion, wrong poses, lost people: each lowers its own figure."""
    again = int(np.flatnonzero(truth.hidden[:, 1])[-1]) + 1
    renamed = [replace(f, ids=np.where(f.ids == 2, 9, f.ids)) if f.index >= again else f for f in frames]
    if not (np.concatenate([f.ids for f in renamed]) == 9).any():  # the person behind has the first number
        renamed = [replace(f, ids=np.where(f.ids == 1, 9, f.ids)) if f.index >= again else f for f in frames]
    found = measure(renamed, truth)
    assert found.tracking.switches == 1
    assert found.tracking.idf1 < 0.95

    moved = [replace(f, bodies=replace(f.bodies, joints_3d=f.bodies.joints_3d * 1.1)) for f in frames]
    found = measure(moved, truth)
    assert found.pose_error > 10
    assert found.pose_error_aligned == pytest.approx(0, abs=1e-2)

    nobody = [replace(f, ids=f.ids[:0], time_since_seen=f.ids[:0], detections=f.detections[[]]) for f in frames]
    found = measure(nobody, truth)
    assert (found.tracking.hota, found.completed) == (0, 0)
    assert np.isnan(found.pose_error)
    with pytest.raises(FourDHumansError, match="the run 3"):
        measure(frames[:3], truth)


def test_the_scenes_boxes_are_ground_truth_of_motchallenge(scene, truth, tmp_path):
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "gt.txt").write_text(scene.boxes.read_text())
    (sequence,) = read_mot_sequences(tmp_path)
    assert len(sequence.frames) == len(truth.in_sight)
    np.testing.assert_allclose(
        sequence.frames[0].boxes, truth.arrays["boxes"][0][truth.arrays["present"][0]], atol=0.02
    )


def test_what_is_no_scene_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        read_truth(tmp_path / "none.npz")
    (tmp_path / "x.npz").write_text(json.dumps({}))
    with pytest.raises(FourDHumansError, match="no ground truth"):
        read_truth(tmp_path / "x.npz")


@pytest.mark.slow
def test_the_full_scene(tmp_path):
    """With the truth given everybody in sight is tracked; only who leaves and comes back may get another number."""
    scene = demo_scene.make_demo_scene(tmp_path, (270, 480))
    truth = read_truth(scene.truth)
    found = measure(run(truth, scene), truth)
    assert truth.longest_hidden()[1] > truth.arrays["frame_rate"]  # over a second out of sight
    assert found.tracking.deta > 0.99
    assert [len(ids) for person, ids in found.identities.items() if person != 3] == [1, 1, 1, 1]
    assert found.completion_error < found.held_error
