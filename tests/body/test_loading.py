"""Body files are read, checked and stored cleanly."""

import pickle

import numpy as np
import pytest
import torch
from python2_pickles import Ch, MatVecMult, dumps
from scipy.sparse import csc_matrix

from fourd_humans.body import loading
from fourd_humans.body.joints import EXTRA_19, LIMB_12, SMPL_PARENTS
from fourd_humans.body.loading import OPEN_BODY, SMPL, import_smpl, read_body, read_extra_joints
from fourd_humans.body.model import DATA, BodyModel
from fourd_humans.errors import FourDHumansError


@pytest.fixture(scope="module")
def arrays():
    """The open body under SMPL's keys, with thirty more shape coefficients as newer files have."""
    body = BodyModel.open_body()
    surface = (body.v_template, body.shapedirs, body.posedirs, body.J_regressor, body.weights)
    v_template, shapedirs, posedirs, regressor, weights = (a.numpy() for a in surface)
    tree = np.array([SMPL_PARENTS, range(24)]).astype(np.uint32)  # the root's parent is 2³² − 1
    return {
        "v_template": v_template, "shapedirs": np.concatenate([shapedirs, np.zeros((6890, 3, 30), np.float32)], 2),
        "posedirs": posedirs, "J_regressor": regressor, "weights": weights, "f": body.faces.astype(np.uint32),
        "kintree_table": tree,
    }  # fmt: skip


@pytest.fixture(scope="module")
def smpl_pickle(arrays, tmp_path_factory):
    """A file like the one SMPL's users have."""
    contents = {
        **{name: Ch(arrays[name]) for name in ("v_template", "shapedirs", "posedirs")},
        "J_regressor": csc_matrix(arrays["J_regressor"]),
        "J_regressor_prior": csc_matrix(arrays["J_regressor"]),
        **{name: arrays[name] for name in ("weights", "f", "kintree_table")},
        "J": MatVecMult(Ch(np.eye(3)), Ch(np.ones(3))),
        "pose_training_info": {"gender": "neutral", "num_poses": 207},
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    path = tmp_path_factory.mktemp("smpl") / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"
    path.write_bytes(dumps(contents))
    return path


def j19_regressor():
    regressor = np.zeros((19, 6890), np.float32)
    regressor[np.arange(19), np.arange(100, 2000, 100)] = 1
    return regressor


def test_import_from_the_original_pickle(smpl_pickle, arrays, tmp_path):
    stored = import_smpl(smpl_pickle, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == [stored.name]
    with np.load(stored, allow_pickle=False) as clean:
        assert set(clean) == set(arrays)
    body, original = read_body(stored), read_body(smpl_pickle)
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor"):
        np.testing.assert_array_equal(getattr(body, name), getattr(original, name))
        np.testing.assert_array_equal(
            getattr(body, name), arrays[name][..., :10] if name == "shapedirs" else arrays[name]
        )
    assert body.parents == SMPL_PARENTS


def test_import_from_npz_and_python_3_pickle(arrays, tmp_path):
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **arrays, bs_type="lrotmin")
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays))
    for name in ("SMPL_NEUTRAL.npz", "SMPL_NEUTRAL.pkl"):
        body = read_body(import_smpl(tmp_path / name, tmp_path / "models"))
        np.testing.assert_array_equal(body.v_template, arrays["v_template"])


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_extra_joints_are_used_when_installed(smpl_pickle, tmp_path, as_dictionary):
    regressor = j19_regressor()
    contents = {"joint_regressor_extra": regressor} if as_dictionary else regressor
    (tmp_path / "SMPL_to_J19.pkl").write_bytes(dumps(contents))
    stored = import_smpl(tmp_path / "SMPL_to_J19.pkl", tmp_path / "models")
    assert stored.name == "SMPL_to_J19.npz"
    body = BodyModel.from_file(import_smpl(smpl_pickle, tmp_path / "models"))
    assert body.shape_space == SMPL
    pose = torch.eye(3).expand(1, 24, 3, 3)
    output = body(pose[:, :1], pose[:, 1:], torch.zeros(1, 10))
    torch.testing.assert_close(output.joints[0, list(EXTRA_19)], output.vertices[0, 100:2000:100])


def test_without_extra_joints_limbs_are_smpl_joints(smpl_pickle):
    assert read_extra_joints(smpl_pickle.parent) == {}
    body = BodyModel.from_file(smpl_pickle)
    pose = torch.eye(3).expand(1, 24, 3, 3)
    output = body(pose[:, :1], pose[:, 1:], torch.zeros(1, 10))
    expected = output.skeleton[0, [8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20]]
    torch.testing.assert_close(output.joints[0, list(LIMB_12)], expected)


def test_the_open_body_says_whose_betas_it_takes():
    assert read_body(DATA / "open_body_neutral.npz").shape_space == OPEN_BODY


WRONG = {
    "no weights": ({"weights": None}, "no weights"),
    "SMPL-X": ({"v_template": np.zeros((10475, 3))}, r"v_template is \(10475, 3\), not \(6890, 3\)"),
    "few betas": ({"shapedirs": np.zeros((6890, 3, 5))}, "shapedirs"),
    "another tree": ({"kintree_table": np.array([[0] * 24, range(24)])}, "joints hang together"),
    "not finite": ({"v_template": np.full((6890, 3), np.nan)}, "not finite"),
    "weights": ({"weights": np.full((6890, 24), 0.1)}, "skinning weights"),
    "negative weights": ({"weights": np.tile([2.0, -1.0] + [0] * 22, (6890, 1))}, "skinning weights"),
    "joints": ({"J_regressor": np.zeros((24, 6890))}, "J_regressor"),
    "faces": ({"f": np.full((13776, 3), 6890)}, "faces"),
    "text": ({"v_template": np.full((6890, 3), "a")}, "v_template"),
    "not an array": ({"v_template": "none"}, "v_template"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_smpl_is_refused(name, arrays, tmp_path):
    changes, message = WRONG[name]
    contents = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
    path = tmp_path / "wrong.pkl"
    path.write_bytes(pickle.dumps(contents))
    with pytest.raises(FourDHumansError, match=rf"wrong\.pkl.*{message}") as error:
        import_smpl(path, tmp_path / "models")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "models").exists()


def test_malicious_smpl_is_refused(arrays, tmp_path):
    class Attack:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'witness')!r}, 'w')",)

    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps({**arrays, "J": Attack()}))
    with pytest.raises(FourDHumansError, match=r"SMPL_NEUTRAL\.pkl refused.*builtins\.exec"):
        import_smpl(path, tmp_path)
    assert not (tmp_path / "witness").exists()


def test_object_arrays_in_npz_are_not_unpickled(arrays, tmp_path):
    np.savez(tmp_path / "objects.npz", **{**arrays, "weights": np.array([{}], dtype=object)})
    with pytest.raises(FourDHumansError, match=r"objects\.npz"):
        read_body(tmp_path / "objects.npz")


def test_wrong_files(tmp_path):
    cut = tmp_path / "cut.npz"
    np.savez(cut, v_template=np.zeros((6890, 3)))
    cut.write_bytes(cut.read_bytes()[:5000])
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "short.pkl").write_bytes(pickle.dumps(np.zeros((17, 6890))))
    for name in ("cut.npz", "list.pkl", "short.pkl", "none.pkl"):
        with pytest.raises(FourDHumansError, match=name):
            import_smpl(tmp_path / name, tmp_path)


def test_a_failed_write_keeps_what_was_there(smpl_pickle, tmp_path, monkeypatch):
    stored = import_smpl(smpl_pickle, tmp_path)
    before = stored.read_bytes()

    def full_disk(path, **arrays):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loading.np, "savez", full_disk)
    with pytest.raises(FourDHumansError, match=r"cannot write .*SMPL_NEUTRAL\.npz: No space left"):
        import_smpl(smpl_pickle, tmp_path)
    assert stored.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [stored.name]
