"""From pictures to tars and a report, with stages that look up the truth."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_people import SIZE, detect
from PIL import Image
from scipy.spatial.transform import Rotation

from fourd_humans.config import Config, default_config
from fourd_humans.errors import UsageError
from fourd_humans.people import Frame
from fourd_humans.training.hmr2.annotations import COCO_TO_44
from fourd_humans.training.hmr2.tars import read_tar
from fourd_humans.training.pose_histogram import PoseHistogram
from fourd_humans.training.pseudo_gt import making
from fourd_humans.training.pseudo_gt.filters import FEW_KEYPOINTS, IMPROBABLE, FilterSettings
from fourd_humans.training.pseudo_gt.making import PeopleFinder, Tally, fit_data_set, sampled
from fourd_humans.training.pseudo_gt.report import ExamplePictures, write_page
from fourd_humans.video.frames import Source


@pytest.fixture
def finder(body, scene, monkeypatch):
    """Person i is in picture i, but for picture 1, where hardly anything is seen of the person."""
    found = [detect(truth) for truth in scene.truth[:3]]
    found[1].keypoints[0, 3:, 2] = 0.1
    monkeypatch.setattr(making.stages, "make_detector", lambda *_: lambda frames: [found[f.index] for f in frames])

    def recover(frames, detections):
        return [(each, scene.truth[f.index][range(len(each))]) for f, each in zip(frames, detections, strict=True)]

    monkeypatch.setattr(making.stages, "make_recovery", lambda *_: recover)
    return lambda **options: PeopleFinder(Config(), filters=FilterSettings(), **options)


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "my.pictures").mkdir()
    for i in range(3):
        Image.new("RGB", SIZE[::-1], (90, 120, 60)).save(tmp_path / "my.pictures" / f"{i}.v1.png")
    return tmp_path / "my.pictures"


def test_tars_hold_the_fits(finder, pictures, scene, tmp_path):
    tally = fit_data_set([("my.pictures", pictures)], tmp_path / "out", finder())
    assert (tally.frames, tally.pictures, tally.kept) == (3, 2, 2)
    assert tally.rejected == {FEW_KEYPOINTS: 1}
    samples = list(read_tar(tmp_path / "out" / "000000.tar"))
    assert [sample.key for sample in samples] == ["my_pictures_0_v1", "my_pictures_2_v1"]
    for sample, truth in zip(samples, (scene.truth[0], scene.truth[2]), strict=True):
        (person,) = sample.people
        assert sample.decode_image().shape == (*SIZE, 3)
        assert person.has_body_pose
        assert person.has_betas
        assert person.shape_space == "open_body"
        assert person.reprojection_loss < 2000
        rotations = Rotation.from_rotvec(person.body_pose.reshape(24, 3)).as_matrix()
        expected = np.concatenate([truth.global_orient, truth.body_pose], 1)[0]
        off = Rotation.from_matrix(rotations[[0, 1, 2, 4, 5]] @ expected[[0, 1, 2, 4, 5]].swapaxes(1, 2)).magnitude()
        assert np.degrees(off).max() < 25
        np.testing.assert_allclose(person.keypoints_2d[list(COCO_TO_44), :2], detect(truth).keypoints[0, :, :2])
        assert not person.keypoints_3d.any()
    with pytest.raises(UsageError, match="already holds tars"):
        fit_data_set([("my.pictures", pictures)], tmp_path / "out", finder())


def test_improbable_poses_may_leave_their_keypoints(finder, pictures, tmp_path):
    never = PoseHistogram(np.zeros((21, 4, 4, 4), np.float32))
    tally = fit_data_set([("a", pictures)], tmp_path / "out", finder(histogram=never), keep_keypoints=True)
    assert (tally.kept, tally.keypoints_only, tally.rejected[IMPROBABLE]) == (0, 2, 2)
    (person,) = next(read_tar(tmp_path / "out" / "000000.tar")).people
    assert not person.has_body_pose
    assert not person.has_betas
    assert (person.keypoints_2d[:, 2] > 0).sum() == 17
    assert fit_data_set([("a", pictures)], tmp_path / "none", finder(histogram=never)).pictures == 0


def test_equal_names_get_keys_of_their_own(finder, pictures, tmp_path):
    fit_data_set([("a", pictures), ("a", pictures)], tmp_path / "out", finder())
    keys = [sample.key for sample in read_tar(tmp_path / "out" / "000000.tar")]
    assert keys == ["a_0_v1", "a_2_v1", "a_0_v1_2", "a_2_v1_2"]


def test_report_shows_everybody(body, finder, pictures, tmp_path):
    examples = ExamplePictures(body, count=1)
    tally = fit_data_set([("a", pictures)], tmp_path / "out", finder(), on_frame=examples.add)
    names = examples.save(tmp_path / "examples")
    assert {reason: len(files) for reason, files in names.items()} == {"kept": 1, FEW_KEYPOINTS: 1}
    kept = np.array(Image.open(tmp_path / "examples" / names["kept"][0]))
    assert kept.shape == (256, 512, 3)
    assert np.abs(kept[:, 256:].astype(int) - kept[:, :256]).max(2).astype(bool).mean() > 0.05  # the body is drawn
    write_page(tmp_path / "report.html", tally, names, "examples")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for expected in ("<td>kept</td><td>2</td>", f"<td>{FEW_KEYPOINTS}</td><td>1</td>", names["kept"][0]):
        assert expected in page


def test_frames_of_videos_are_sampled(tmp_path):
    file = tmp_path / "v.mp4"
    file.touch()
    frames = [Frame(i, i / 24, str(i), np.zeros((2, 2, 3), np.uint8)) for i in range(60)]
    video = Source(file, "v", (2, 2), 24.0, 60, False, False, lambda *first: iter(frames))
    assert [frame.index for frame in sampled(video, 1)] == [0, 24, 48]
    assert [frame.index for frame in sampled(video, 5)] == [0, 5, 10, 15, 20, 24, 29, 34, 39, 44, 48, 53, 58]
    assert len(list(sampled(video, None))) == 60
    assert len(list(sampled(replace(video, path=tmp_path), 1))) == 60  # a folder of images


def test_a_detector_without_keypoints_needs_a_file_of_them():
    with pytest.raises(UsageError, match="--keypoints"):
        PeopleFinder(default_config("paper"), filters=FilterSettings())
    assert Tally().rejected == {}
