"""What the pictures show: who is where, in which colour, in front of whom, and how strongly."""

from dataclasses import replace

import numpy as np
import pytest

from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import rasterise
from fourd_humans.rendering.palette import track_colour
from fourd_humans.rendering.renderer import Renderer

SIZE = (120, 160)
GREY = np.full((*SIZE, 3), 100, np.uint8)
ONE = [(0.0, 0.0, 3.0)]


def changed(picture, background=GREY):
    return (picture[: background.shape[0], : background.shape[1]] != background).any(-1)


def without_tag(renderer, monkeypatch):
    monkeypatch.setattr(renderer, "_draw_tags", lambda *arguments: None)
    return renderer


def silhouette(body_model, frame):
    points = (body_model.v_template.numpy() * [1, -1, -1])[None] + frame.bodies.camera[:, None]
    # The body turns about its pelvis, which is not its origin.
    pelvis = (body_model.J_template[0].numpy()) * [1, -1, -1]
    points = points - pelvis + body_model.J_template[0].numpy()
    intrinsics = Intrinsics(frame.bodies.focal_length, frame.bodies.principal_point)
    return rasterise(points, body_model.faces, intrinsics, frame.size)[1]


def test_a_body_covers_just_its_silhouette(body_model, tracked, monkeypatch):
    renderer = without_tag(Renderer(body_model, alpha=1.0), monkeypatch)
    inside = silhouette(body_model, tracked(ONE)) >= 0
    drawn = changed(renderer.draw(GREY, tracked(ONE)))
    assert inside.sum() > 600
    assert (inside & ~drawn).sum() == 0
    assert (drawn & ~inside).sum() < 0.25 * inside.sum()  # partly covered edge pixels


def test_edges_are_mixed_by_coverage(body_model, tracked, monkeypatch):
    """The sum over the picture grows with the area, so supersampled and plain pictures have about the same."""
    sums = []
    for samples in (1, 2, 4):
        renderer = without_tag(Renderer(body_model, supersample=samples, alpha=1.0), monkeypatch)
        picture = renderer.draw(np.zeros_like(GREY), tracked(ONE))
        sums.append(picture.astype(float).sum())
    np.testing.assert_allclose(sums, sums[-1], rtol=0.04)
    assert (picture.max(-1) > 0).sum() > (silhouette(body_model, tracked(ONE)) >= 0).sum()


@pytest.mark.parametrize("places", [[(0, 0, 3), (0.1, 0, 4)], [(0.1, 0, 4), (0, 0, 3)]])
def test_the_nearer_person_is_in_front(body_model, tracked, monkeypatch, places):
    renderer = without_tag(Renderer(body_model, supersample=1, alpha=1.0), monkeypatch)
    frame = tracked(places)
    picture = renderer.draw(GREY, frame).astype(float)
    owner = silhouette(body_model, frame) // len(body_model.faces)
    for person in range(2):
        colour = np.array(track_colour(person + 1), float)
        pixels = picture[owner == person]
        assert len(pixels) > 50
        brightness = (pixels @ colour) / (colour @ colour)
        assert np.median(np.abs(pixels - brightness[:, None] * colour)) < 6  # shades of one colour, but for highlights


def test_predicted_people_are_faint_and_hide_nobody(body_model, tracked, monkeypatch):
    renderer = without_tag(Renderer(body_model, alpha=0.8), monkeypatch)
    behind = tracked([(0.0, 0, 4.0)])
    with_ghost = tracked([(0.0, 0, 4.0), (0.05, 0, 3.0)], time_since_seen=[0, 3])
    solid = tracked([(0.05, 0, 3.0)])
    alone = renderer.draw(GREY, behind).astype(float)
    both = renderer.draw(GREY, with_ghost).astype(float)
    drawn_alone = changed(alone.astype(np.uint8))
    ghost = changed(both.astype(np.uint8)) & ~drawn_alone
    strong = np.abs(renderer.draw(GREY, solid).astype(float) - GREY)[ghost].mean()
    assert ghost.sum() > 100
    assert np.abs(both - GREY)[ghost].mean() < 0.75 * strong
    torso = (slice(60, 70), slice(76, 84))
    assert np.abs(both[torso] - alone[torso]).max() < 100  # still there under the ghost
    assert not np.array_equal(both[torso], alone[torso])


def test_a_predicted_person_behind_a_seen_one_is_not_seen(body_model, tracked, monkeypatch):
    renderer = without_tag(Renderer(body_model, alpha=1.0, supersample=1), monkeypatch)
    alone = renderer.draw(GREY, tracked(ONE))
    both = renderer.draw(GREY, tracked([*ONE, (0.0, 0.0, 3.3)], time_since_seen=[0, 5]))
    inside = silhouette(body_model, tracked(ONE)) >= 0
    np.testing.assert_array_equal(both[inside], alone[inside])


def test_predicted_people_have_dashed_boxes(body_model, tracked):
    frame = tracked([(0.0, 0, 3.0)], time_since_seen=[-1])
    picture = Renderer(body_model, alpha=0.0).draw(GREY, frame)
    x1, y1, x2, _ = frame.detections.boxes[0].astype(int)
    top_edge = changed(picture)[y1, max(x1, 0) : x2]
    assert 0.3 < top_edge.mean() < 0.8
    assert not changed(Renderer(body_model, alpha=0.0).draw(GREY, tracked(ONE)))[40:].any()  # seen: only the tag


def test_the_picture_given_is_not_written_into(body_model, tracked):
    image = GREY.copy()
    Renderer(body_model).draw(image, tracked(ONE))
    np.testing.assert_array_equal(image, GREY)


@pytest.mark.parametrize("size", [(120, 160), (121, 161), (160, 91), (2, 2), (1, 1), (7, 300)])
@pytest.mark.parametrize("views", [("overlay",), ("overlay", "side"), ("overlay", "side", "top"), ("top",)])
def test_sizes_are_even_and_as_announced(body_model, tracked, size, views):
    renderer = Renderer(body_model, views=views)
    picture = renderer.draw(np.zeros((*size, 3), np.uint8), tracked(ONE, size=size))
    assert picture.dtype == np.uint8
    assert picture.shape == (*renderer.output_size(size), 3)
    assert not any(length % 2 for length in picture.shape[:2])


@pytest.mark.parametrize("views", [("overlay",), ("overlay", "side", "top")])
def test_nobody_leaves_the_picture_as_it_is(body_model, tracked, views):
    assert not changed(Renderer(body_model, views=views).draw(GREY, tracked([]))).any()


def test_broken_bodies_do_no_harm(body_model, tracked):
    frame = tracked([(0.0, 0, 3.0), (np.nan, 0, 3.0), (0, 0, -2.0), (0, 0, 0.0)], time_since_seen=[0, 0, 1, 0])
    picture = Renderer(body_model, views=("overlay", "side", "top")).draw(GREY, frame)
    assert changed(picture)[60, 80]


def test_threads_do_not_change_the_picture(body_model, tracked):
    frame = tracked([(0.0, 0, 3.0), (0.5, 0, 4.0)])
    pictures = [Renderer(body_model, threads=threads).draw(GREY, frame) for threads in (1, 2, 5)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_bodies_of_another_shape_space_get_the_mean_shape(body_model, tracked):
    frame = tracked(ONE)
    other = replace(frame, bodies=replace(frame.bodies, betas=frame.bodies.betas + 3, shape_space="another"))
    renderer = Renderer(body_model)
    np.testing.assert_array_equal(renderer.draw(GREY, other), renderer.draw(GREY, frame))


@pytest.mark.parametrize(
    "settings",
    [
        {"views": ("front",)},
        {"views": ()},
        {"views": ("top", "top")},
        {"supersample": 0},
        {"alpha": 1.5},
        {"depth_scale": 0.0},
    ],
)
def test_wrong_settings_are_refused(body_model, settings):
    with pytest.raises(UsageError):
        Renderer(body_model, **settings)


def test_colours_differ_between_people():
    colours = np.array([track_colour(identity) for identity in range(12)], float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)[~np.eye(12, dtype=bool)]
    assert apart.min() > 25
    assert track_colour(10**6 + 7) == track_colour(10**6 + 7)
