"""The choice of people, part and formats, and what is said of requests that cannot be met."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fourd_humans.errors import UsageError
from fourd_humans.exports import FORMATS, ExportOptions, export
from fourd_humans.tracklets import Tracklets


def test_people_and_part_are_chosen(walk, tmp_path):
    written = walk.export("mot", tmp_path, "walk", people=[2], start=60, end=3.0)
    assert written == [tmp_path / "walk_mot.txt"]
    rows = np.loadtxt(written[0], delimiter=",")
    assert set(rows[:, 1]) == {2}
    assert (rows[:, 0].min(), rows[:, 0].max()) == (61, 88)  # frames 60 to 87, counted from 1


def test_only_who_was_seen(walk, tmp_path):
    (path,) = walk.export(["mot"], tmp_path, "walk", seen_only=True)
    seen = sum(int(frame.seen.sum()) for frame in walk)
    assert seen < sum(len(frame) for frame in walk)
    assert len(path.read_text().splitlines()) == seen


def test_motion_is_resampled(walk, tmp_path):
    bvh, _ = walk.export(["bvh"], tmp_path, "walk", frame_rate=20)
    assert "Frame Time: 0.05000000" in bvh.read_text()


def test_bad_requests_are_told_in_a_line(walk, tmp_path):
    def refusal(results=walk, formats=("mot",), **options):
        with pytest.raises(UsageError) as caught:
            export(results, formats, tmp_path / "out", "x", **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert refusal(formats=["glb", "fbx"]) == f"there is no format 'fbx'; there are {', '.join(FORMATS)}"
    assert refusal(people=[1, 7]) == "there is no person 7; there are 1, 2"
    assert refusal(walk.only([])) == "these results have nobody in their 77 frames: there is nothing to export"
    assert "no frame: these results have frames 0 to 228, 0.00 to 7.60 seconds" in refusal(start=4000)
    assert "none of the people asked for" in refusal(people=[2], end=10)
    assert "must come after" in refusal(start=10, end=5)
    assert "must not be negative" in refusal(start=-1)
    assert not (tmp_path / "out").exists()


def test_files_are_not_replaced_unasked(walk, tmp_path):
    walk.export("mot", tmp_path, "walk")
    with pytest.raises(UsageError, match=r"walk_mot\.txt exists; use --overwrite"):
        walk.export("mot", tmp_path, "walk")
    walk.export("mot", tmp_path, "walk", overwrite=True)
    walk.export("mot", tmp_path, "wal")  # whose name the other begins with
    (tmp_path / "walk_person_7.bvh").touch()
    with pytest.raises(UsageError, match=r"walk_person_7\.bvh exists"):
        walk.export("bvh", tmp_path, "walk")


@pytest.mark.parametrize(("format_", "module", "extra"), [("usd", "pxr", "usd"), ("c3d", "ezc3d", "c3d"),
                                                          ("obj", "trimesh", "mesh")])  # fmt: skip
def test_a_missing_package_is_named(walk, tmp_path, monkeypatch, format_, module, extra):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(UsageError, match=rf"pip install 'fourd-humans\[{extra}\]'"):
        walk.export(format_, tmp_path, "walk")


def test_smpls_notice_travels(walk, body_model, tmp_path):
    smpl = type(body_model).open_body()
    smpl.shape_space = "smpl"
    frames = [replace(frame, bodies=replace(frame.bodies, shape_space="smpl")) for frame in walk.frames]
    results = replace(walk, frames=frames)
    glb, notice = export(results, ["glb"], tmp_path, "walk", body_model=smpl)
    assert notice.name == "walk_SMPL_NOTICE.txt"
    assert "non-commercial" in notice.read_text()
    assert notice.read_text().strip() in glb.read_bytes().decode(errors="replace")
    assert export(results, ["mot"], tmp_path, "boxes", body_model=smpl) == [tmp_path / "boxes_mot.txt"]


def test_results_of_a_body_that_is_not_installed(walk, tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path))
    frames = [replace(frame, bodies=replace(frame.bodies, shape_space="smpl")) for frame in walk.frames]
    replace(walk, frames=frames).export("bvh", tmp_path, "walk")
    assert "is not installed" in caplog.text


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "csv"] + ["csv"])
def test_one_frame_can_be_exported(walk, tmp_path, format_):
    pytest.importorskip({"usd": "pxr", "c3d": "ezc3d"}.get(format_, "numpy"))
    written = Tracklets(walk.frames[:1]).export(format_, tmp_path, "one", options=ExportOptions(pose_shapes=True))
    assert all(path.stat().st_size for path in written)


MANUAL = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")


def test_the_manuals_example_runs(walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    walk.save("outputs/walk.pkl")
    (example,) = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    exec(compile(example, "docs/exports.md", "exec"), {})
    assert (tmp_path / "outputs" / "walk.glb").is_file()


def test_the_manual_has_every_format():
    assert [name for name in FORMATS if f"`{name}`" not in MANUAL] == []
