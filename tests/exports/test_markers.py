"""TRC and C3D files: markers are our joints, as OpenSim, ezc3d and a plain reader find them."""

import numpy as np
import pytest
from readers import opensim
from truth import farthest, posed

from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.markers import MARKERS, to_trc, write_c3d, write_trc
from fourd_humans.exports.world import Y_UP, Z_UP, make_scene
from fourd_humans.tracklets import Tracklets


@pytest.fixture
def with_gap(walk):
    """The second person is away in three frames."""
    frames = list(walk.frames)
    for place in range(25, 28):
        frames[place] = Tracklets([frames[place]]).only([1])[0]
    return Tracklets(frames)


@pytest.fixture
def job(with_gap, body_model, tmp_path):
    return ExportJob(with_gap, body_model, tmp_path, "walk")


def test_markers_have_pose2sims_names():
    assert MARKERS[:9] == (
        "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "CHip"
    )  # fmt: skip
    assert MARKERS[19:25] == ("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel")
    assert len(set(MARKERS)) == len(MARKERS) == 44


def test_trc_is_read_back(with_gap, body_model):
    scene = make_scene(with_gap, body_model, Y_UP)
    lines = to_trc(scene, scene.people[1], "walk.trc").split("\n")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    assert (header["DataRate"], header["NumMarkers"], header["Units"]) == ("10", "44", "m")
    rows = [line.split("\t") for line in lines[6:] if line]
    assert len(rows) == int(header["NumFrames"]) == 53
    assert {len(row) for row in rows} == {2 + 3 * 44, 2 + 3 * 44 + 1}  # one more where the markers are blank
    assert rows[0][:2] == ["14", "1.300000"]  # frame 39 of the video, of which every third is here
    values = np.array([[float(cell or "nan") for cell in row[2:134]] for row in rows]).reshape(-1, 44, 3)
    there = ~np.isnan(values).any((1, 2))
    assert np.flatnonzero(~there).tolist() == [12, 13, 14]
    assert farthest(values[there], posed(with_gap, body_model, 2, Y_UP.rotation)[1]) < 0.05


def test_opensim_reads_trc(job, with_gap, body_model, tmp_path):
    write_trc(job)
    times, markers = opensim(tmp_path, tmp_path / "walk_person_2.trc")
    np.testing.assert_allclose(times, np.arange(13, 66) / 10, atol=1e-5)
    assert set(markers) == set(MARKERS)
    values = np.stack([markers[name] for name in MARKERS], axis=1)
    there = ~np.isnan(values).any((1, 2))
    assert np.flatnonzero(~there).tolist() == [12, 13, 14]
    assert farthest(values[there], posed(with_gap, body_model, 2, Y_UP.rotation)[1]) < 0.05


def test_ezc3d_reads_c3d(job, with_gap, body_model, tmp_path):
    ezc3d = pytest.importorskip("ezc3d")
    write_c3d(job)
    file = ezc3d.c3d(str(tmp_path / "walk_person_2.c3d"))
    point = file["parameters"]["POINT"]
    assert point["LABELS"]["value"] == list(MARKERS)
    assert point["UNITS"]["value"] == ["mm"]
    assert point["RATE"]["value"] == [10]
    assert (point["X_SCREEN"]["value"], point["Y_SCREEN"]["value"]) == (["+X"], ["+Z"])
    assert file["header"]["points"]["first_frame"] == 13
    points = file["data"]["points"][:3].transpose(2, 1, 0)
    there = ~np.isnan(points).any((1, 2))
    assert np.flatnonzero(~there).tolist() == [12, 13, 14]
    assert (file["data"]["meta_points"]["residuals"][0].T[~there] == -1).all()
    assert farthest(points[there] / 1000, posed(with_gap, body_model, 2, Z_UP.rotation)[1]) < 0.05
