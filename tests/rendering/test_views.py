"""The side and top views: to scale, in the right direction, steady over time."""

import numpy as np
import pytest

from fourd_humans.geometry.camera import project
from fourd_humans.rendering.views import FROM_ABOVE, FROM_THE_SIDE, SteadyRange, View, ordinary_depth_scale

BOX = np.array([[-2.0, -1, 3], [2, 1, 9]])


def pixels(view, points):
    return project(view.points(np.array(points, float))[None], np.zeros((1, 3)), view.intrinsics)[0]


@pytest.mark.parametrize(("rotation", "size"), [(FROM_THE_SIDE, (100, 300)), (FROM_ABOVE, (300, 100))])
def test_all_of_the_range_is_in_view(rotation, size):
    corners = np.stack(np.meshgrid(*BOX.T), -1).reshape(-1, 3)
    places = pixels(View.of(rotation, BOX, size), corners)
    assert (places > -2).all()
    assert (places < np.array(size[::-1]) + 2).all()


def test_from_the_side_far_is_right_and_up_is_up():
    view = View.of(FROM_THE_SIDE, BOX, (200, 300))
    near, far, high = pixels(view, [[0, 0, 4], [0, 0, 8], [0, -1, 4]])
    assert far[0] > near[0] + 50
    assert high[1] < near[1] - 10


def test_from_above_far_is_up_and_right_is_right():
    view = View.of(FROM_ABOVE, BOX, (200, 300))
    near, far, right = pixels(view, [[0, 0, 4], [0, 0, 8], [1, 0, 4]])
    assert far[1] < near[1] - 50
    assert right[0] > near[0] + 10


def test_views_are_to_scale():
    view = View.of(FROM_ABOVE, BOX, (200, 300))
    a, b, c = pixels(view, [[0, -1, 4], [1, -1, 4], [0, 1, 4]])
    assert np.linalg.norm(b - a) == pytest.approx(view.pixels_per_metre, rel=0.01)
    assert np.linalg.norm(c - a) < 2  # no perspective


def test_the_range_holds_still_while_people_move_within_it():
    steady = SteadyRange()
    first = steady.update(np.array([[-3.0, 0, 5], [3, 0, 9]]))
    inside = [steady.update(np.array([[x, 0.0, 6], [3, 0, 9]])) for x in np.linspace(-3, 0, 10)]
    assert np.abs(inside[-1] - first).max() < 0.2


def test_the_range_glides_to_people_who_leave_it_and_jumps_at_a_new_shot():
    steady = SteadyRange()
    before = steady.update(np.array([[0.0, 0, 5]]))
    steps = [before] + [steady.update(np.array([[4.0, 0, 5]])) for _ in range(30)]
    moves = np.diff([step[1, 0] for step in steps])
    assert moves.max() < 1.0
    assert steps[-1][1, 0] > 4.9
    np.testing.assert_allclose(steady.update(np.array([[-20.0, 0, 5]]), restart=True)[1, 0], -18.9)


def test_nobody_gives_a_range_too():
    steady = SteadyRange()
    assert np.isfinite(steady.update(np.zeros((0, 3)))).all()
    shown = steady.update(np.array([[1.0, 0, 5]]))
    np.testing.assert_array_equal(steady.update(np.zeros((0, 3))), shown)


def test_depths_of_a_telephoto_lens_become_ordinary():
    size = (720, 1280)
    assert ordinary_depth_scale(25000.0, size) == pytest.approx(0.049, abs=0.001)
    assert ordinary_depth_scale(600.0, size) == 1.0
