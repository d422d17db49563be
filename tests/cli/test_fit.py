"""`4dhumans fit` on keypoints and bodies from files, and the histogram it may use."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from made_up_people import SIZE, detect, make_scene
from PIL import Image

from fourd_humans.body.model import BodyModel
from fourd_humans.cli import main
from fourd_humans.people import concatenate
from fourd_humans.training.hmr2.tars import read_tar
from fourd_humans.training.pose_histogram import read_pose_histogram


@pytest.fixture
def source(tmp_path):
    """Two pictures, ViTPose's json of them, and the bodies that a regressor found."""
    scene = make_scene(BodyModel.open_body())
    people = concatenate(scene.truth[:2])
    found = detect(people)
    (tmp_path / "pictures").mkdir()
    names = [f"{i}.png" for i in range(2)]
    for name in names:
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "pictures" / name)
    results = [
        {"image_id": name, "category_id": 1, "score": 0.9, "keypoints": found.keypoints[i].ravel().tolist()}
        for i, name in enumerate(names)
    ]
    (tmp_path / "keypoints.json").write_text(json.dumps(results))
    fields = ("global_orient", "body_pose", "betas", "camera")
    np.savez(
        tmp_path / "bodies.npz", image=np.array(names), boxes=found.boxes, shape_space=people.shape_space,
        focal_length=np.full(2, people.focal_length), principal_point=np.tile(people.principal_point, (2, 1)),
        **{name: getattr(people, name) for name in fields},
    )  # fmt: skip
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_fit(source):
    files = ["--keypoints", source / "keypoints.json", "--bodies", source / "bodies.npz"]
    result = run("fit", source / "pictures", "-o", source / "out", *files)
    assert result.exit_code == 0, result.output
    samples = list(read_tar(source / "out" / "000000.tar"))
    assert [(sample.key, len(sample.people)) for sample in samples] == [("pictures_0", 1), ("pictures_1", 1)]
    report = json.loads((source / "out" / "report.json").read_text())
    assert report["rows"] == [{"people": "kept", "count": 2}]
    assert report["settings"]["shape_space"] == "open_body"
    assert "kept" in (source / "out" / "report.html").read_text()
    again = run("fit", source / "pictures", "-o", source / "out", *files)
    assert again.exit_code == 2
    assert "already holds tars" in again.output
    two = run("fit", source / "pictures" / "0.png", source / "pictures" / "1.png", "-o", source / "b", *files)
    assert two.exit_code == 2
    assert "of one source" in two.output


def test_histogram(tmp_path):
    np.savez(tmp_path / "a.npz", poses=np.random.default_rng(0).normal(0, 0.2, (50, 156)))
    result = run("data", "histogram", tmp_path, "-o", tmp_path / "poses.npy", "--bins", 10)
    assert result.exit_code == 0, result.output
    assert "50 poses of 1 files" in result.output
    assert read_pose_histogram(tmp_path / "poses.npy").density.shape == (21, 10, 10, 10)
