"""The answer's own views: by frame, by person, by time, as arrays."""

import numpy as np
import pytest
from same import assert_same
from scipy.spatial.transform import Rotation

from fourd_humans.errors import UsageError
from fourd_humans.people import select
from fourd_humans.results import load_tracklets
from fourd_humans.tracklets import Tracklets


@pytest.fixture
def tracklets(make_frame):
    """Person 1 in frames 1, 2, 3, 5; 2 in 2, 3, 5; 3 in 3 and 5; nobody in 0 and 4."""
    return Tracklets([make_frame(index, count) for index, count in enumerate([0, 1, 2, 3, 0, 3])], folder="folder")


def test_a_sequence_of_frames(tracklets):
    assert len(tracklets) == 6
    assert tracklets[3].index == 3
    assert [frame.index for frame in tracklets] == list(range(6))
    part = tracklets[2:4]
    assert [frame.index for frame in part] == [2, 3]
    assert part.folder == "folder"
    assert [frame.index for frame in tracklets.between(2 / 24, 4 / 24)] == [2, 3]
    assert tracklets.ids.tolist() == [1, 2, 3]
    assert Tracklets([]).ids.tolist() == []


def test_one_person_over_time(tracklets):
    person = tracklets.person(2)
    assert len(person) == 3
    assert person.frames.tolist() == [2, 3, 5]
    np.testing.assert_allclose(person.times, [2 / 24, 3 / 24, 5 / 24])
    assert person.time_since_seen.tolist() == [4, 4, 4]
    assert not person.seen.any()
    assert tracklets.person(1).seen.all()
    assert person.boxes.shape == (3, 4)
    assert person.scores.shape == (3,)
    assert_same(person.bodies[1], select(tracklets[3].bodies, 1))
    with pytest.raises(KeyError):
        tracklets.person(9)


def test_status_of_every_frame(tracklets):
    assert tracklets.status(3) == ["missing", "missing", "missing", "predicted", "missing", "predicted"]
    assert tracklets.status(1) == ["missing", "seen", "seen", "seen", "missing", "seen"]


def test_only_some_people(tracklets):
    some = tracklets.only([1, 3])
    assert len(some) == 6
    assert some[3].ids.tolist() == [1, 3]
    assert_same(some[3].bodies, select(tracklets[3].bodies, [0, 2]))
    np.testing.assert_array_equal(some[3].predicted_pose, tracklets[3].predicted_pose[[0, 2]])


def test_flat_arrays(tracklets):
    columns = tracklets.to_numpy()
    assert columns["frame"].tolist() == [1, 2, 2, 3, 3, 3, 5, 5, 5]
    assert columns["id"].tolist() == [1, 1, 2, 1, 2, 3, 1, 2, 3]
    assert {len(column) for column in columns.values()} == {9}
    assert columns["joints_3d"].shape == (9, 45, 3)
    assert columns["focal_length"].tolist() == [1234.5] * 9
    assert columns["principal_point"][0].tolist() == [60.5, 40.25]
    assert "texture" not in columns
    np.testing.assert_array_equal(columns["camera"][4], tracklets[3].bodies.camera[1])
    assert columns["confidence"][4] == tracklets[3].bodies.confidence[1]
    empty = Tracklets([]).to_numpy()
    assert empty.keys() == columns.keys()
    assert empty["body_pose"].shape == (0, 23, 3, 3)


def test_axis_angle(tracklets):
    columns = tracklets.to_axis_angle()
    assert columns["body_pose"].shape == (9, 69)
    back = Rotation.from_rotvec(columns["body_pose"][4].reshape(23, 3)).as_matrix()
    np.testing.assert_allclose(back, tracklets[3].bodies.body_pose[1], atol=1e-5)
    back = Rotation.from_rotvec(columns["global_orient"]).as_matrix()
    np.testing.assert_allclose(back, tracklets.to_numpy()["global_orient"][:, 0], atol=1e-5)
    np.testing.assert_array_equal(columns["transl"], tracklets.to_numpy()["camera"])
    assert Tracklets([]).to_axis_angle()["global_orient"].shape == (0, 3)


def test_saving_and_loading(tracklets, tmp_path):
    tracklets.save(tmp_path / "a.pkl")
    back = load_tracklets(tmp_path / "a.pkl")
    assert back.folder == "folder"
    assert_same(tracklets[3], back[3], tolerance=1e-4)
    assert list(tracklets.to_released()) == [f"folder/{index:06d}" for index in range(6)]
    with pytest.raises(UsageError):
        tracklets.save(tmp_path / "a.pkl")
    back.save(tmp_path / "a.pkl", overwrite=True)
    assert_same(back[3], load_tracklets(tmp_path / "a.pkl")[3], tolerance=1e-4)
