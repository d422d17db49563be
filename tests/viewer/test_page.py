"""The page holds the scene, the data and the video, and nothing of them can become HTML or a script."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fourd_humans.errors import UsageError
from fourd_humans.exports.glb import to_glb
from fourd_humans.exports.world import Y_UP, make_scene
from fourd_humans.people import Shot, concatenate
from fourd_humans.viewer import page as page_module
from fourd_humans.viewer.page import make_page, to_script_json
from fourd_humans.viewer.video import BrowserVideo

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script><!-- & ]]> \u2028 <img src=x onerror=alert(2)> %GLB% \\u003c"


class Elements(HTMLParser):
    """The elements of a page as (tag, attributes, text)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), ""))

    def handle_endtag(self, tag):
        self.found.append((f"/{tag}", {}, ""))

    def handle_data(self, data):
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def by_id(self, id):
        (found,) = [text for _, attributes, text in self.found if attributes.get("id") == id]
        return found


@pytest.fixture(scope="module")
def page(short, body_model):
    return make_page(short, body_model, "walk")


def data_of(page):
    return json.loads(Elements(page).by_id("data"))


def test_it_holds_the_scene(page, short, body_model):
    packed = base64.b64decode(Elements(page).by_id("glb"))
    assert gzip.decompress(packed) == to_glb(make_scene(short, body_model, Y_UP, level="auto"))


def test_times_and_frames_are_those_of_the_video(page, short):
    data = data_of(page)
    assert data["frames"] == [frame.index for frame in short]
    assert data["start"] == pytest.approx(short[0].time, abs=1e-4)
    np.testing.assert_allclose(data["times"], [frame.time - short[0].time for frame in short], atol=2e-5)
    assert data["cuts"] == [5]


def test_cuts_are_those_of_the_shots_too(short, body_model):
    numbers = [frame.index for frame in short]
    frames = [replace(frame, is_cut=False) for frame in short.frames]
    shots = [Shot(numbers[0], numbers[7]), Shot(numbers[8], numbers[-1])]
    assert data_of(make_page(replace(short, frames=frames, shots=shots), body_model, ""))["cuts"] == [8]


def test_boxes_are_those_of_the_people(page, short):
    for person in data_of(page)["people"]:
        boxes = np.frombuffer(base64.b64decode(person["boxes"]), "<i2").reshape(-1, 4)
        np.testing.assert_allclose(boxes, short.person(person["id"]).boxes, atol=0.5)


def test_labels_are_joined_while_they_stay_the_same(short, body_model):
    numbers = [frame.index for frame in short]
    said = ["walk", "walk", "", "walk", "turn", "turn"]
    texts = {number: {1: text} for number, text in zip(numbers, said, strict=False)}
    first, second = data_of(make_page(short, body_model, "", texts=texts))["people"]
    assert first["labels"] == [[0, 1, "walk"], [3, 3, "walk"], [4, 5, "turn"]]
    assert second["labels"] == []


def test_nothing_from_outside_becomes_html(short, body_model):
    texts = {short[0].index: {1: HOSTILE}}
    video = BrowserVideo(Path("absent.mp4"), "video/mp4", HOSTILE, 30)
    ordinary = Elements(make_page(short, body_model, "walk"))
    page = make_page(short, body_model, HOSTILE, video=video, video_link=HOSTILE, texts=texts)
    hostile = Elements(page)
    assert [each[:2] for each in hostile.found] == [each[:2] for each in ordinary.found]
    data = json.loads(hostile.by_id("data"))
    assert data["title"] == data["video"]["name"] == data["video"]["source"] == HOSTILE
    assert data["people"][0]["labels"][0][2] == HOSTILE
    (title,) = [text for tag, _, text in hostile.found if tag == "title"]
    assert title.strip() == HOSTILE


def test_json_for_scripts_has_no_html():
    text = to_script_json({"<!--": ["</script>", "&lt;"]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"<!--": ["</script>", "&lt;"]}


def test_the_policy_allows_the_script_and_no_connection(page):
    elements = Elements(page)
    (policy,) = [a["content"] for _, a, _ in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy
    (script,) = [text for tag, attributes, text in elements.found if tag == "script" and not attributes]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_no_element_loads_anything(page):
    for _, attributes, _ in Elements(page).found:
        for name in ("src", "href"):
            assert attributes.get(name, "#")[:1] == "#" or attributes[name] == "data:,"


def test_licences_travel_with_the_page(page):
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in ("three", "meshoptimizer"):
        version = re.search(rf"This page contains {name} ([\d.]+)", page).group(1)
        assert re.search(rf"{name}(\.js)? {re.escape(version)}", notice)
    assert page.count("Permission is hereby granted, free of charge") == 2
    assert "MakeHuman" in data_of(page)["notice"]


def test_the_video_is_part_of_the_page(short, body_model):
    path = ROOT / "demo_videos" / "two_people.mp4"
    page = make_page(short, body_model, "", video=BrowserVideo(path, "video/mp4", path.name, 60, offset=0.5))
    assert base64.b64decode(Elements(page).by_id("video-file")) == path.read_bytes()
    video = data_of(page)["video"]
    assert video["embedded"] is True
    assert video["offset"] == 0.5


def test_a_linked_video_is_not(short, body_model):
    video = BrowserVideo(Path("absent.mp4"), "video/mp4", "absent.mp4", 60)
    page = make_page(short, body_model, "", video=video, video_link="./absent.mp4")
    assert Elements(page).by_id("video-file") == ""
    assert data_of(page)["video"] == {
        "source": "./absent.mp4", "name": "absent.mp4", "type": "video/mp4", "offset": 0.0, "frame_rate": 60,
        "embedded": False,
    }  # fmt: skip


def test_a_video_too_large_is_refused(short, body_model, monkeypatch):
    path = ROOT / "demo_videos" / "two_people.mp4"
    monkeypatch.setattr(page_module, "LARGEST_EMBEDDED", path.stat().st_size - 1)
    with pytest.raises(UsageError, match="--link-video, or use --serve"):
        make_page(short, body_model, "", video=BrowserVideo(path, "video/mp4", path.name, 60))


def test_without_level_the_floor_is_at_the_feet(short, body_model):
    scene = make_scene(short, body_model, Y_UP, level="none")
    lowest = np.concatenate([scene.joints(motion)[1][..., 1].min(1) for motion in scene.people])
    assert data_of(make_page(short, body_model, "", level="none"))["floor"] == pytest.approx(
        np.median(lowest), abs=1e-4
    )
    assert data_of(make_page(short, body_model, ""))["floor"] == 0


@pytest.mark.slow
def test_five_people_over_600_frames_take_less_than_6_mb(walk, body_model):
    """Poses in random order, which compress worse than movements do."""
    two = [frame for frame in walk if len(frame) == 2]
    rng = np.random.default_rng(0)
    frames = []
    for number in range(600):
        parts = [two[int(i)] for i in rng.integers(len(two), size=3)]
        bodies = concatenate([part.bodies for part in parts])[:5]
        detections = concatenate([part.detections for part in parts])[:5]
        ids, since = np.arange(1, 6), np.zeros(5, np.int64)
        frames.append(
            replace(
                two[0], index=number, time=number / 30, name=f"{number:06d}", ids=ids, time_since_seen=since,
                bodies=bodies, detections=detections, predicted_pose=None, predicted_location=None,
            )
        )  # fmt: skip
    page = make_page(replace(walk, frames=frames, shots=[]), body_model, "five")
    assert len(page.encode()) < 6e6
