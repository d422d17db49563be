"""The page in headless Chromium: it shows our people where they are, in step with the video, and can be operated."""

import base64
import shutil
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourd_humans.body.joints import SMPL_NAMES
from fourd_humans.exports.tables import ANGLE_COLUMNS, angles
from fourd_humans.exports.world import Y_UP, make_scene
from fourd_humans.rendering.palette import track_colour
from fourd_humans.video import open_source
from fourd_humans.viewer.page import make_page
from fourd_humans.viewer.server import VIDEO_URL, serve
from fourd_humans.viewer.video import playable

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
VIDEO = ROOT / "demo_videos" / "walk.mp4"
READY = "document.documentElement.dataset.state != 'loading'"
SOUGHT = "!viewer.player.video.seeking && viewer.player.video.readyState >= 2"
PATIENCE = 60  # seconds
DRAWN = """([frame, view]) => {
  if (view) viewer.actions.setView(view);
  viewer.player.seek(frame);
  viewer.stage.drawNow("full");
  const gl = viewer.stage.renderer.getContext();
  const [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
  const pixels = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  let text = "";
  for (let i = 0; i < pixels.length; i += 8192) text += String.fromCharCode(...pixels.subarray(i, i + 8192));
  return [width, height, btoa(text)];
}"""


@pytest.fixture(scope="module")
def source():
    return open_source(VIDEO)


@pytest.fixture(scope="module")
def path(walk, body_model, source, tmp_path_factory):
    """The page with its video, which has a cut, an action and a hostile label."""
    frames = [replace(frame, is_cut=i == 50) for i, frame in enumerate(walk.frames)]
    texts = {frame.index: {1: "<b>jump</b> 92%", 2: "walk"} for frame in walk.frames[10:40]}
    changed = replace(walk, frames=frames, shots=[])
    page = make_page(changed, body_model, "<i>walk</i>", video=playable(source), texts=texts)
    path = tmp_path_factory.mktemp("page") / "walk.html"
    path.write_text(page, encoding="utf-8", newline="\n")
    return path


@pytest.fixture(scope="module")
def open_page(browser):
    """Opens an address; errors in the page, and requests for anything but itself, fail the test at its end."""
    contexts = []

    def open_page(url, width=1280, height=720, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda said: page.problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("request", lambda sent: page.problems.append(sent.url) if sent.url.startswith("http") else None)
        page.goto(url)
        until(page, READY)
        contexts.append(context)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(shared, path):
    """The page as it is after loading."""
    shared.evaluate("""() => {
      viewer.player.pause();
      viewer.player.setRate(1);
      Object.assign(viewer.state, { hidden: new Set(), follow: false, selected: 1 });
      Object.assign(viewer.state.show, { labels: true, grid: true, frustum: true, path: true, boxes: true });
      viewer.actions.setView("overview");
      viewer.player.seek(0);
    }""")
    yield shared
    assert shared.problems == []


@pytest.fixture(scope="module")
def shared(open_page, path):
    return open_page(path.as_uri())


def until(page, expression):
    """Wait until an expression is true. (Playwright's own way evaluates text, which the page's policy forbids.)"""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def picture(page, frame, view=None):
    """What is drawn of the scene at a frame: (H, W, 4) RGBA."""
    width, height, pixels = page.evaluate(DRAWN, [frame, view])
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)[::-1]


def share_of(image, person):
    """The share of a picture that has about the hue of a person."""
    hsv = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2HSV_FULL).astype(int)
    hue = cv2.cvtColor(np.array([[track_colour(person)]], np.uint8), cv2.COLOR_RGB2HSV_FULL)[0, 0, 0]
    near = np.abs((hsv[..., 0] - int(hue) + 128) % 256 - 128) < 8
    return (near & (hsv[..., 1] > 60) & (image[..., 3] > 200)).mean()


def test_it_loads_without_errors_or_requests(page):
    assert page.evaluate("document.documentElement.dataset.state") == "ready"
    assert page.title() == page.text_content("h1") == "<i>walk</i>"
    assert page.locator(".row").count() == 2


def test_the_picture_shows_people_and_changes_with_time(page):
    pictures = [picture(page, frame) for frame in (20, 24, 28)]
    for image in pictures:
        assert min(share_of(image, 1), share_of(image, 2)) > 0.002
    for one, other in pairwise(pictures):
        assert (np.abs(one.astype(int) - other).max(2) > 30).mean() > 0.002
    np.testing.assert_array_equal(picture(page, 20), pictures[0])


@pytest.mark.parametrize("frame", [0, 31, 52, 76])
def test_joints_are_where_the_filming_camera_has_them(page, walk, body_model, frame):
    """Points projected here, by the scene's camera, against the page's view through its camera."""
    scene = make_scene(walk, body_model, Y_UP, level="auto")
    image = picture(page, frame, "camera")
    box = page.evaluate("[viewer.stage.width, viewer.stage.height]")
    height, width = scene.camera.size
    scale = min(box[0] / width, box[1] / height)
    for motion in scene.people:
        rows = np.flatnonzero(motion.indices == frame)
        there = page.evaluate(
            "([id, frame]) => viewer.people.find((p) => p.id === id).isThere(frame)", [motion.id, frame]
        )
        assert there == bool(len(rows))
        if not len(rows):
            continue
        skeleton = scene.joints(motion)[1][rows[0]]
        points = (skeleton - scene.camera.position[frame]) @ scene.camera.rotation[frame]
        pixels = points[:, :2] / points[:, 2:] * scene.camera.focal_length + scene.camera.principal_point
        expected = (pixels - np.array([width, height]) / 2) * scale + np.array(box) / 2
        shown = page.evaluate(
            "(id) => { const p = viewer.people.find((p) => p.id === id);"
            " return p.bones.map((_, joint) => viewer.stage.project(p, joint)); }",
            motion.id,
        )
        np.testing.assert_allclose(shown, expected, atol=0.05)
        x, y = expected[SMPL_NAMES.index("spine2")].round().astype(int)
        assert share_of(image[y - 2 : y + 3, x - 2 : x + 3], motion.id) > 0.3  # a hidden person's every other pixel


def test_dragging_on_the_timeline_goes_to_the_frame_below(page):
    lane = page.locator(".lane").bounding_box()
    page.mouse.move(lane["x"] + 5, lane["y"] + 8)
    page.mouse.down()
    page.mouse.move(lane["x"] + lane["width"] * 40.5 / 77, lane["y"] + 8, steps=5)
    assert page.evaluate("viewer.player.frame") == 40
    page.mouse.up()
    assert page.text_content("#frame") == "frame 120"
    assert page.text_content("#time") == "0:04.00"


@pytest.mark.parametrize("frame", [3, 40, 75])
def test_the_video_shows_the_frame_of_the_scene(page, source, walk, frame):
    page.evaluate("(frame) => viewer.player.seek(frame)", frame)
    until(page, SOUGHT)
    page.wait_for_timeout(300)
    shown = page.evaluate("""() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 192, height: 108 });
      const context = canvas.getContext("2d");
      context.drawImage(viewer.player.video, 0, 0, 192, 108);
      return Array.from(context.getImageData(0, 0, 192, 108).data);
    }""")
    shown = np.array(shown, float).reshape(108, 192, 4)[..., :3]
    number = walk[frame].index
    first = max(number - 2, 0)
    reading = (each for each in source.read(first))
    errors = {}
    for decoded, _ in zip(reading, range(5), strict=False):
        small = cv2.resize(decoded.image, (192, 108), interpolation=cv2.INTER_AREA)
        errors[decoded.index] = np.abs(small - shown).mean()
    assert min(errors, key=errors.get) == number, errors


def test_scene_and_video_play_together(page):
    page.keyboard.press("Space")
    until(page, "viewer.player.frame >= 8")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press("Space")
    until(page, SOUGHT)
    frame, video_time = page.evaluate("[viewer.player.frame, viewer.player.video.currentTime]")
    assert page.evaluate("viewer.player.playing") is False
    assert video_time == pytest.approx(frame * 0.1 + 0.5 / 30, abs=0.01)


def test_people_are_shown_and_hidden(page):
    assert share_of(picture(page, 30), 2) > 0.002
    switch = page.get_by_role("switch", name="Show Person 2")
    switch.click()
    assert switch.get_attribute("aria-checked") == "false"
    hidden = picture(page, 30)
    assert share_of(hidden, 2) == 0
    assert share_of(hidden, 1) > 0.002
    switch.click()
    assert share_of(picture(page, 30), 2) > 0.002


def test_people_who_are_away_are_not_drawn(page):
    assert share_of(picture(page, 0), 2) == 0
    assert page.locator(".label:visible").count() == 1


def test_bars_tell_where_people_are_seen_and_hidden(page, walk):
    for row, person in enumerate((1, 2)):
        bars = page.locator(".row").nth(row).locator(".bar")
        found = ["missing"] * len(walk)
        for bar in bars.all():
            left, width = bar.evaluate("(bar) => [parseFloat(bar.style.left), parseFloat(bar.style.width)]")
            status = "predicted" if "hidden-stretch" in bar.get_attribute("class") else "seen"
            first, count = round(left * len(walk) / 100), round(width * len(walk) / 100)
            found[first : first + count] = [status] * count
        assert found == walk.status(person)
    assert page.locator(".row").first.locator(".cut").count() == 1


def test_plotted_angles_are_those_of_the_exported_tables(page, walk, body_model):
    scene = make_scene(walk, body_model, Y_UP, level="auto")
    first = angles(scene, scene.people[0])
    for curve, columns in {
        "knees": ["left_knee_flexion", "right_knee_flexion"],
        "elbows": ["left_elbow_flexion", "right_elbow_flexion"],
        "rotation-spine1": ["spine1_x", "spine1_y", "spine1_z"],
    }.items():
        page.select_option("#plot select", curve)
        lines = page.evaluate("viewer.plot.lines().map(({ values }) => Array.from(values))")
        expected = first[:, [ANGLE_COLUMNS.index(column) for column in columns]].T
        np.testing.assert_allclose(lines, expected, atol=0.01)
    page.select_option("#plot select", "knees")


def test_plotted_speed_is_that_of_the_pelvis(page, walk, body_model):
    motion = make_scene(walk, body_model, Y_UP, level="auto").people[0]
    page.select_option("#plot select", "speed")
    (speed,) = page.evaluate("viewer.plot.lines().map(({ values }) => Array.from(values))")
    expected = np.linalg.norm(motion.pelvis[2:] - motion.pelvis[:-2], axis=1) / 0.2
    np.testing.assert_allclose(speed[1:49], expected[:48], rtol=1e-3)
    before_cut = np.linalg.norm(motion.pelvis[49] - motion.pelvis[48]) / 0.1  # nothing is measured across the cut
    assert speed[49] == pytest.approx(before_cut, rel=1e-3)
    page.select_option("#plot select", "knees")


def test_labels_are_text(page):
    page.evaluate("viewer.player.seek(15); viewer.stage.drawNow()")
    assert page.locator(".label").first.text_content() == "1 · <b>jump</b> 92%"
    assert page.locator(".action").first.text_content() == "<b>jump</b> 92%"
    assert page.locator(".label b, .action b, h1 i").count() == 0


def test_a_followed_person_stays_in_place(page):
    page.evaluate("viewer.player.seek(25)")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    place = "viewer.stage.drawNow(); viewer.stage.project(viewer.people[1], 0)"
    before = page.evaluate(place)
    page.evaluate("viewer.player.seek(45)")
    np.testing.assert_allclose(page.evaluate(place), before, atol=0.5)
    page.keyboard.press("f")
    page.evaluate("viewer.player.seek(25)")
    assert np.abs(np.subtract(page.evaluate(place), before)).max() > 5


def test_a_click_chooses_a_person(page):
    page.evaluate("viewer.player.seek(30); viewer.stage.drawNow()")
    box = page.locator("canvas.scene").bounding_box()
    x, y = page.evaluate("viewer.stage.project(viewer.people[1], 6)")
    page.mouse.click(box["x"] + x, box["y"] + y)
    assert page.evaluate("viewer.state.selected") == 2
    assert "chosen" in page.locator(".row").nth(1).get_attribute("class")


def test_dragging_orbits_and_leaves_the_camera(page):
    page.keyboard.press("5")
    assert page.get_attribute("[data-view=camera]", "aria-pressed") == "true"
    before = page.evaluate("viewer.stage.drawNow(); viewer.stage.camera.position.toArray()")
    page.mouse.move(500, 300)
    page.mouse.down()
    page.mouse.move(560, 320, steps=4)
    page.mouse.up()
    assert page.get_attribute("[data-view=camera]", "aria-pressed") == "false"
    after = page.evaluate("viewer.stage.camera.position.toArray()")
    assert np.linalg.norm(np.subtract(after, before)) > 0.1


def test_keys(page):
    frame = "viewer.player.frame"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(frame) == 1
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate(frame) == 11
    page.keyboard.press("End")
    assert page.evaluate(frame) == 76
    page.keyboard.press("Home")
    assert page.evaluate(frame) == 0
    page.keyboard.press(",")
    assert page.evaluate("viewer.player.rate") == 0.5
    page.keyboard.press("h")
    assert page.evaluate("[...viewer.state.hidden]") == [1]
    page.keyboard.press("a")
    page.keyboard.press("o")
    assert page.evaluate("[...viewer.state.hidden]") == [2]
    theme = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != theme
    page.keyboard.press("t")
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    assert page.locator("kbd").count() > 20
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_the_theme_is_the_systems(open_page, path):
    for scheme in ("light", "dark"):
        page = open_page(path.as_uri(), color_scheme=scheme)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        brightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
        assert (brightness > 128) == (scheme == "light")


def test_it_fits_a_phone(open_page, path):
    page = open_page(path.as_uri(), width=360, height=740, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for element in ("#scene", "#timeline", "#video", "#plot"):
        box = page.locator(element).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["height"] > 80
    page.locator("#play").tap()
    until(page, "viewer.player.frame > 0")


def test_without_a_video_it_plays_by_its_own_clock(open_page, walk, body_model, tmp_path):
    (tmp_path / "a.html").write_text(make_page(walk, body_model, "a"), encoding="utf-8")
    page = open_page((tmp_path / "a.html").as_uri())
    assert not page.locator("#video").is_visible()
    start = page.evaluate("viewer.player.play(); performance.now()")
    until(page, "viewer.player.frame >= 10")
    frame, seconds = page.evaluate(f"[viewer.player.frame, (performance.now() - {start}) / 1000]")
    assert frame / 10 <= seconds + 0.1
    assert frame / 10 >= seconds - 1.5  # a late drawing must not slow the clock
    page.evaluate("viewer.player.seek(75)")
    until(page, "!viewer.player.playing")
    assert page.evaluate("viewer.player.frame") == 76
    assert page.problems == []


def test_a_linked_video_plays_from_beside_the_page(open_page, walk, body_model, source, tmp_path):
    shutil.copy(VIDEO, tmp_path / "a b.mp4")
    page = make_page(walk, body_model, "a", video=playable(source), video_link="./a%20b.mp4")
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    page = open_page((tmp_path / "a.html").as_uri())
    page.evaluate("viewer.player.seek(60)")
    until(page, SOUGHT)
    assert page.evaluate("viewer.player.video.currentTime") == pytest.approx(6 + 0.5 / 30, abs=0.01)
    assert page.problems == []


def test_a_linked_video_that_is_not_there(open_page, walk, body_model, source, tmp_path):
    page = make_page(walk, body_model, "a", video=playable(source), video_link="./gone%20away.mp4")
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    page = open_page((tmp_path / "a.html").as_uri())
    page.wait_for_selector("#video .message")
    assert "./gone away.mp4" in page.text_content("#video .message")
    page.keyboard.press("Space")
    until(page, "viewer.player.frame >= 3")


def test_it_is_served_with_its_video(open_page, walk, body_model, source):
    video = playable(source)
    with serve(make_page(walk, body_model, "a", video=video, video_link=VIDEO_URL), video) as url:
        page = open_page(url)
        page.evaluate("viewer.player.seek(60)")
        until(page, SOUGHT)
        assert page.evaluate("viewer.player.video.currentTime") == pytest.approx(6 + 0.5 / 30, abs=0.01)
        assert {problem.removeprefix(url) for problem in page.problems} == {"", "video"}  # its requests
        page.close()
