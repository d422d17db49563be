"""Data sets as tars: written, read back, read as the released code reads them, and refused where they are hostile."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import webdataset
from PIL import Image

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.training.hmr2.annotations import PersonAnnotation, coco_keypoints, from_box
from fourd_humans.training.hmr2.tars import TarWriter, read_tar


def a_person(rng, **changes):
    known = {
        "keypoints_2d": rng.normal(size=(44, 3)).astype(np.float32),
        "keypoints_3d": rng.normal(size=(44, 4)).astype(np.float32),
        "body_pose": rng.normal(size=72).astype(np.float32),
        "betas": rng.normal(size=10).astype(np.float32),
        "has_body_pose": True,
        "has_betas": True,
        "reprojection_loss": 123.5,
        "mask": 1,
    }
    return from_box(np.array([10.0, 20.0, 40.0, 90.0]), **(known | changes))


def an_image(rng):
    """Smooth, so that JPEG keeps it."""
    return (np.linspace(0, 200, 48)[None, :, None] + rng.uniform(0, 50, 3) * np.ones((64, 1, 1))).astype(np.uint8)


def test_what_is_written_is_read(tmp_path):
    rng = np.random.default_rng(0)
    image, person, masks = an_image(rng), a_person(rng), rng.random((2, 64, 48)) < 0.5
    with TarWriter(tmp_path, per_tar=2) as writer:
        writer.write("a", image, [person, a_person(rng, has_betas=False, reprojection_loss=None, mask=None)], masks)
        writer.write("b", image, [])
        writer.write("folder/c", image, [person])
    assert [tar.name for tar in writer.tars] == ["000000.tar", "000001.tar"]
    assert sorted(tmp_path.iterdir()) == writer.tars
    first, second = read_tar(writer.tars[0], masks=True)
    (third,) = read_tar(writer.tars[1])
    assert (first.key, second.key, third.key) == ("a", "b", "folder/c")
    assert len(second.people) == 0
    found = first.people[0]
    np.testing.assert_allclose(found.center, (25, 55))
    np.testing.assert_allclose(found.box_size, (36, 84), rtol=1e-6)
    for name in ("keypoints_2d", "body_pose", "betas"):
        np.testing.assert_array_equal(getattr(found, name), getattr(person, name))
    np.testing.assert_array_equal(found.keypoints_3d[..., :3], person.keypoints_3d[..., :3])
    assert (found.keypoints_3d[1:15, 3] == 0).all(), "OpenPose's joints that are among the 19 too"
    np.testing.assert_array_equal(found.keypoints_3d[15:, 3], person.keypoints_3d[15:, 3])
    assert (found.has_body_pose, found.has_betas, found.reprojection_loss, found.mask) == (True, True, 123.5, 1)
    other = first.people[1]
    assert (other.has_betas, other.reprojection_loss, other.mask) == (False, None, None)
    np.testing.assert_array_equal(first.decode_mask(found), masks[1])
    assert first.decode_mask(other) is None
    assert np.abs(first.decode_image().astype(int) - image).max() < 12


def test_the_released_loader_can_read_it(tmp_path):
    """WebDataset's own decoder, which runs pickles, and the fields as the released code takes them."""
    rng = np.random.default_rng(0)
    with TarWriter(tmp_path) as writer:
        writer.write("a", an_image(rng), [a_person(rng)], np.ones((2, 64, 48), bool))
    (sample,) = webdataset.WebDataset(str(writer.tars[0]), shardshuffle=False).decode("rgb8")
    assert sample["jpg"].shape == (64, 48, 3)
    assert sample["detection.npz"]["masks"].shape == (2, 64, 48)
    (person,) = sample["data.pyd"]
    np.testing.assert_allclose(person["scale"], np.array([36, 84]) / 200, rtol=1e-6)
    assert person["has_body_pose"] == 1
    assert person["extra_info"]["fitting_loss"].item()["reprojection_loss"] == 123.5
    assert person["extra_info"]["detection_npz_idx"] == 1


def test_files_are_kept_as_they_are(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    (tmp_path / "picture.png").write_bytes(buffer.getvalue())
    with TarWriter(tmp_path / "tars") as writer:
        writer.write("a", tmp_path / "picture.png", [])
        with pytest.raises(ValueError, match="neither JPEG nor PNG"):
            writer.write("b", b"GIF89a", [])
        with pytest.raises(ValueError, match="no key"):
            writer.write("b.c", buffer.getvalue(), [])
    (sample,) = read_tar(writer.tars[0])
    assert sample.image == buffer.getvalue()


def test_equal_keys_get_numbers_over_all_tars(tmp_path):
    with TarWriter(tmp_path, per_tar=2) as writer:
        for key in ("a", "a_2", "a", "a", "b"):
            writer.write(key, np.zeros((8, 8, 3), np.uint8), [])
    assert [sample.key for tar in writer.tars for sample in read_tar(tar)] == ["a", "a_2", "a_3", "a_4", "b"]


def test_an_error_leaves_no_half_tar_and_nothing_is_overwritten(tmp_path):
    def fail():
        with TarWriter(tmp_path / "tars") as writer:
            writer.write("a", np.zeros((8, 8, 3), np.uint8), [])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list((tmp_path / "tars").iterdir())
    with TarWriter(tmp_path / "tars") as writer:
        writer.write("a", np.zeros((8, 8, 3), np.uint8), [])
    with pytest.raises(UsageError, match="already holds tars"):
        TarWriter(tmp_path / "tars")


def test_coco_keypoints_go_to_openpose_joints():
    keypoints = np.array([[i, 2 * i, 0.5] for i in range(17)], np.float32)
    keypoints[3, 2] = 0
    placed = coco_keypoints(keypoints)
    assert placed[0].tolist() == [0, 0, 0.5]  # nose
    assert placed[11].tolist() == [16, 32, 0.5]  # right ankle
    assert placed[18].tolist() == [0, 0, 0]  # left ear, absent
    assert (placed[:, 2] > 0).sum() == 16


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def tar_of(path, **files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo("a." + name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (pickle.dumps([Evil()]), "refused: it asks for 'builtins.print'"),
        (pickle.dumps({"a": 1}), "no list of people"),
        (pickle.dumps([{"center": np.zeros(2)}]), "a person lacks 'scale'"),
        (b"\x80\x04", "damaged"),
    ],
)
def test_hostile_and_wrong_people(tmp_path, people, message, capsys):
    path = tar_of(tmp_path / "a.tar", jpg=b"\xff\xd8", data_pyd=people)
    with pytest.raises(FourDHumansError, match=message):
        list(read_tar(path))
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["center", "scale", "body_pose"])
def test_numbers_that_are_not_finite(tmp_path, name):
    from fourd_humans.training.hmr2.annotations import to_entry

    entry = to_entry(a_person(np.random.default_rng(0)))
    entry[name] = entry[name] * np.nan
    path = tar_of(tmp_path / "a.tar", jpg=b"\xff\xd8", data_pyd=pickle.dumps([entry]))
    with pytest.raises(FourDHumansError, match="finite"):
        list(read_tar(path))


def test_damaged_tars_and_pictures(tmp_path):
    with TarWriter(tmp_path) as writer:
        writer.write("a", np.zeros((64, 64, 3), np.uint8), [])
    data = writer.tars[0].read_bytes()
    writer.tars[0].write_bytes(data[:700])
    with pytest.raises(FourDHumansError, match="damaged"):
        list(read_tar(writer.tars[0]))
    with pytest.raises(FourDHumansError, match="cannot read"):
        list(read_tar(tmp_path / "none.tar"))
    path = tar_of(tmp_path / "b.tar", jpg=b"\xff\xd8nothing", data_pyd=pickle.dumps([]))
    (sample,) = read_tar(path)
    with pytest.raises(FourDHumansError, match="the picture a cannot be read"):
        sample.decode_image()


def test_sparse_files_take_no_memory(tmp_path):
    """A header may claim any size for a file of holes."""
    info = tarfile.TarInfo("a.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    info.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(FourDHumansError, match="damaged"):
        list(read_tar(tmp_path / "a.tar"))


def test_defaults_are_of_one_person_each():
    one, other = (PersonAnnotation(np.zeros(2), np.ones(2)) for _ in range(2))
    one.betas[0] = 1
    assert other.betas[0] == 0
