"""Data sets on disk, their mixing into streams, and the commands that make and check them."""

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch.utils.data import DataLoader

from fourd_humans.body.model import BodyModel
from fourd_humans.cli import main
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.results.store import ResultWriter
from fourd_humans.training.hmr2.annotations import from_box
from fourd_humans.training.hmr2.augmentation import Augmentation
from fourd_humans.training.hmr2.datasets import DataSet, files_beside, find_data_sets, read_npz_people, split_held_out
from fourd_humans.training.hmr2.filters import Filters
from fourd_humans.training.hmr2.streams import TrainingCrops, ValidationCrops, mixed, people_of
from fourd_humans.training.hmr2.tars import TarWriter, read_tar

PLAIN = Augmentation(translation=0, scale=0, rotation_rate=-1, flip_rate=-1, extreme_crop_rate=-1, colour=0)


def write(folder, first, count, keypoints=10, per_tar=4):
    """Pictures, each with one person whose number is its first beta times 1000."""
    points = np.zeros((44, 3), np.float32)
    points[:keypoints] = (20, 25, 1)
    with TarWriter(folder, per_tar) as writer:
        for number in range(first, first + count):
            betas = np.array([number / 1000] + [0] * 9, np.float32)
            person = from_box(
                np.array([10.0, 10, 40, 50]), keypoints_2d=points, betas=betas, has_betas=True, has_body_pose=True
            )
            writer.write(f"{number}", np.full((60, 50, 3), number % 256, np.uint8), [person])
    return folder


def numbers(crops):
    return [round(1000 * float(crop["betas"][0])) for crop in crops]


@pytest.fixture
def data(tmp_path):
    write(tmp_path / "one", 0, 10)
    write(tmp_path / "two", 100, 6)
    return tmp_path


def crops(data_sets, **options):
    return TrainingCrops(data_sets, Filters(), PLAIN, seed=1, buffer=4, **options)


def test_folders_and_descriptions(data):
    assert [(s.name, s.weight, len(s.tars)) for s in find_data_sets(data)] == [("one", 1, 3), ("two", 1, 2)]
    assert [s.name for s in find_data_sets(data / "one")] == ["one"]
    assert len(find_data_sets(data / "one" / "000000.tar")[0].tars) == 1
    (data / "datasets.yaml").write_text("first: {path: one, weight: 0.25}\nsecond: {path: two/000001.tar, weight: 2}")
    assert [(s.name, s.weight, len(s.tars)) for s in find_data_sets(data)] == [("first", 0.25, 3), ("second", 2, 1)]


def test_the_folder_of_the_released_training_data(tmp_path):
    for name in ("coco-train", "coco-val"):
        write(tmp_path / "dataset_tars" / name, 0, 2)
    for name in ("cmu_mocap.npz", "mocap.npz", "vitpose_backbone.pth"):
        (tmp_path / name).touch()
    to_train, held_out = split_held_out(find_data_sets(tmp_path))
    assert ([s.name for s in to_train], [s.name for s in held_out]) == (["coco-train"], ["coco-val"])
    expected = {"mocap": tmp_path / "cmu_mocap.npz", "encoder": tmp_path / "vitpose_backbone.pth"}
    assert files_beside(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {weight: 1}", "'a' has no path"),
        ("a: {path: one, weight: -1}", "positive number"),
        ("a: {path: one, weight: true}", "positive number"),
        ("a: {path: none}", "there are no tars"),
        ("a: {path: one, wieght: 1}", "unknown wieght"),
        ("[]", "lists no data sets"),
    ],
)
def test_descriptions_that_are_wrong(data, text, message):
    (data / "datasets.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        find_data_sets(data)
    (data / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no data set"):
        find_data_sets(data / "empty")


def test_shares_follow_the_weights_and_everybody_comes(data):
    one, two = find_data_sets(data)
    sets = [DataSet("one", 3, one.tars), DataSet("two", 1, two.tars)]
    people = [person for _, person in islice(mixed(sets, Filters(), np.random.default_rng(0)), 800)]
    found = [round(1000 * float(person.betas[0])) for person in people]
    assert np.mean([number >= 100 for number in found]) == pytest.approx(0.25, abs=0.05)
    assert set(found) == {*range(10), *range(100, 106)}


def test_filters_do_not_change_the_shares(data):
    write(data / "three", 200, 4, keypoints=4)
    write(data / "three" / "more", 300, 1)
    (data / "three" / "more" / "000000.tar").rename(data / "three" / "000001.tar")
    sets = find_data_sets(data)
    found = numbers(islice(iter(crops(sets)), 300))
    assert Counter(number // 100 for number in found)[3] == pytest.approx(100, abs=25)
    assert not any(200 <= number < 300 for number in found)


def test_a_data_set_without_anybody_to_use(data):
    write(data / "none", 0, 3, keypoints=3)
    data_set = find_data_sets(data / "none")[0]
    with pytest.raises(FourDHumansError, match="nobody of the data set 'none' passes"):
        next(people_of(data_set, Filters(), np.random.default_rng(0)))
    with pytest.raises(FourDHumansError, match="nobody"):
        ValidationCrops([data_set], Filters(), 10)


def test_streams_are_repeatable_and_epochs_differ(data):
    sets = find_data_sets(data)
    first = numbers(islice(iter(crops(sets)), 30))
    assert first == numbers(islice(iter(crops(sets)), 30))
    assert first != numbers(islice(iter(crops(sets, epoch=1)), 30))
    assert len(set(first)) > 8


def test_processes_share_out_the_streams(data):
    """Two processes draw, batch by batch, the people that one draws with the same streams and twice the batch."""
    sets = find_data_sets(data)
    together = numbers(islice(iter(crops(sets, streams=4)), 40))
    apart = [numbers(islice(iter(crops(sets, streams=4, rank=rank, processes=2)), 20)) for rank in range(2)]
    for start in range(0, 40, 8):
        half = slice(start // 2, start // 2 + 4)
        assert sorted(together[start : start + 8]) == sorted(apart[0][half] + apart[1][half])
    with pytest.raises(UsageError, match="cannot be shared out"):
        next(iter(crops(sets, streams=3, processes=2)))


def test_workers_have_streams_of_their_own(data):
    sets = find_data_sets(data)
    batches = list(islice(DataLoader(crops(sets), 5, num_workers=2), 4))
    found = [numbers({"betas": betas} for betas in batch["betas"]) for batch in batches]
    alone = [list(islice(crops(sets).stream(number), 10)) for number in range(2)]
    assert found == [numbers(alone[k % 2][5 * (k // 2) : 5 * (k // 2) + 5]) for k in range(4)]


def test_pictures_that_cannot_be_read_are_left_out(data, caplog):
    folder = write(data / "bad", 0, 2)
    tar = (folder / "000000.tar").read_bytes()
    start = tar.index(b"\xff\xd8")
    (folder / "000000.tar").write_bytes(tar[:start] + b"\xff\xd8" + bytes(300) + tar[start + 302 :])
    found = numbers(islice(iter(crops(find_data_sets(folder))), 5))
    assert found == [1] * 5
    assert "left out" in caplog.text


def test_validation_takes_people_in_order(data):
    held_out = ValidationCrops(find_data_sets(data), Filters(), 6)
    assert numbers(held_out[i] for i in range(len(held_out))) == [0, 1, 2, 100, 101, 102]
    assert held_out[4]["index"] == 4
    assert held_out[0]["side"] == pytest.approx(48)  # 1.2 times 40, which is higher than 4/3 of the width


def npz_layout(folder, **changes):
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.zeros((60, 50, 3), np.uint8)).save(folder / name)
    arrays = {
        "imgname": np.array(["a.jpg", "b.jpg", "a.jpg"]), "center": np.full((3, 2), 30.0),
        "scale": np.array([40, 50, 60.0]),
        "body_keypoints_2d": np.ones((3, 25, 3)), "extra_keypoints_3d": np.ones((3, 19, 4)), "betas": np.ones((3, 10)),
        "has_betas": np.array([1, 0, 1]),
    }  # fmt: skip
    np.savez(folder / "people.npz", **(arrays | changes))
    return folder / "people.npz"


def test_the_npz_layout(tmp_path):
    path = npz_layout(tmp_path)
    people = read_npz_people(path)
    assert {name: len(of) for name, of in people.items()} == {"a.jpg": 2, "b.jpg": 1}
    second = people["a.jpg"][1]
    assert second.box_size.tolist() == [60, 60]
    assert (second.has_betas, second.has_body_pose, people["b.jpg"][0].has_betas) == (True, False, False)
    assert (second.keypoints_2d[:, 2] > 0).sum() == 25
    assert (second.keypoints_3d[:, 3] > 0).sum() == 19
    (data_set,) = find_data_sets(path)
    assert [len(sample.people) for sample in data_set.samples()] == [2, 1]
    assert len(list(islice(iter(crops([data_set])), 3))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": np.ones((3, 3))}, "its scale"),
        ({"betas": np.ones((2, 10))}, "its betas"),
        ({"center": np.full((3, 2), np.nan)}, "person 0: a person's box"),
    ],
)
def test_npz_files_that_are_wrong(tmp_path, changes, message):
    with pytest.raises(FourDHumansError, match=message):
        read_npz_people(npz_layout(tmp_path, **changes))


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_data_set_of_coco_annotations(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("p.jpg", "p.png", "q.jpg"):
        Image.fromarray(np.zeros((60, 50, 3), np.uint8)).save(tmp_path / "images" / name)
    keypoints = [20, 30, 2] * 16 + [0, 0, 0]
    person = {"bbox": [10, 10, 20, 30], "keypoints": keypoints, "category_id": 1}
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(("p.jpg", "p.png", "q.jpg"))],
        "annotations": [person | {"image_id": 0}, person | {"image_id": 1}, person | {"image_id": 1, "keypoints": []}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    result = run("data", "make", tmp_path / "images", tmp_path / "coco.json", "-o", tmp_path / "tars")
    assert result.exit_code == 0, result.output
    assert "wrote 2 people in 2 pictures" in result.output
    assert "left out: 1 people without keypoints" in result.output
    first, second = read_tar(tmp_path / "tars" / "000000.tar")
    assert (first.key, second.key) == ("p", "p_2")
    assert (first.image, second.image) == tuple((tmp_path / "images" / f).read_bytes() for f in ("p.jpg", "p.png"))
    (found,) = first.people
    np.testing.assert_allclose([*found.center, *found.box_size], [20, 25, 24, 36])
    assert (found.keypoints_2d[:, 2] > 0).sum() == 16
    assert not found.has_body_pose
    assert run("data", "make", tmp_path / "images", tmp_path / "coco.json", "-o", tmp_path / "tars").exit_code == 2


def test_a_data_set_of_our_own_results(tmp_path):
    """The body's pose, and its joints as 3D keypoints, come back from the tar."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((60, 50, 3), np.uint8)).save(tmp_path / "images" / "p0.jpg")
    body = BodyModel.open_body()
    rotations = np.repeat(np.eye(3, dtype=np.float32)[None, None], 24, 1)
    rotations[0, 5] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    betas = np.full((1, 10), 0.3, np.float32)
    joints = body.joints_of_arrays(rotations[:, :1], rotations[:, 1:], betas)
    bodies = Bodies(
        rotations[:, :1], rotations[:, 1:], betas, np.array([[0, 0, 5]], np.float32), joints,
        np.full((1, 45, 2), 20, np.float32), 100.0, (25.0, 30.0), body.shape_space,
    )  # fmt: skip
    detections = Detections(np.array([[10, 10, 30, 40]], np.float32), np.array([0.9], np.float32))
    frame = TrackedFrame(0, 0.0, "p0.jpg", (60, 50), np.ones(1, int), np.zeros(1, int), detections, bodies)
    with ResultWriter(tmp_path / "results.pkl") as writer:
        writer.write(frame)
    result = run("data", "make", tmp_path / "images", tmp_path / "results.pkl", "-o", tmp_path / "tars")
    assert result.exit_code == 0, result.output
    (sample,) = read_tar(tmp_path / "tars" / "000000.tar")
    (found,) = sample.people
    np.testing.assert_allclose(found.keypoints_3d[:, :3], joints[0, :44], atol=1e-5)
    np.testing.assert_allclose(found.body_pose[15:18], [np.pi / 2, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found.betas, 0.3, atol=1e-6)
    assert (found.has_body_pose, found.has_betas, found.shape_space) == (True, True, body.shape_space)
    result = run(
        "data", "make", tmp_path / "images", tmp_path / "results.pkl", "-o", tmp_path / "t", "--least-score", 0.95
    )
    assert result.exit_code == 1
    assert "nobody" in result.output


def test_check_describes_a_data_set(data):
    result = run("data", "check", data, "--picture", data / "sheet.png")
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if line.startswith("one"))
    assert row.split()[1:6] == ["50", "%", "3", "10", "10"]
    assert Image.open(data / "sheet.png").size == (6 * 256, (2 + 1) * 256)


def test_check_names_what_is_wrong(data):
    with TarWriter(data / "wrong") as writer:
        person = from_box(np.array([500.0, 10, 540, 50]))
        writer.write("a", np.zeros((60, 50, 3), np.uint8), [person])
        writer.write("b", b"\xff\xd8", [person])
    (data / "two" / "000001.tar").write_bytes((data / "two" / "000001.tar").read_bytes()[:1500])
    result = run("data", "check", data)
    assert result.exit_code == 1
    for text in ("lies outside the picture", "the picture b cannot be read", "damaged", "3 problems"):
        assert text in result.output


def test_items_of_a_batch(data):
    batch = next(iter(DataLoader(crops(find_data_sets(data)), 3)))
    assert batch["image"].shape == (3, 256, 256, 3)
    assert batch["image"].dtype == torch.uint8
    assert {name: tuple(values.shape[1:]) for name, values in batch.items() if name != "image"} == {
        "colour": (3,), "keypoints_2d": (44, 3), "keypoints_3d": (44, 4), "global_orient": (1, 3, 3),
        "body_pose": (23, 3, 3), "betas": (10,), "has_body_pose": (), "has_betas": (), "center": (2,), "side": (),
        "box_size": (),
    }  # fmt: skip
    assert all(v.dtype == torch.float32 for n, v in batch.items() if n != "image")
