"""The buffers against exact ray casting, and the borders of what a camera can see."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.rasteriser import barycentric, camera_row, fill, rasterise, to_screen

CAMERA = Intrinsics(100.0, (32.0, 24.0))
SIZE = (48, 64)


@pytest.fixture(scope="module")
def body():
    model = BodyModel.open_body()
    return model.v_template.double().numpy() * [1, -1, -1], model.faces


def cast(vertices, faces, intrinsics, size):
    """Depth and face by intersecting every pixel's ray with every triangle (Möller and Trumbore 1997)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    u, v = b - a, c - a
    q = np.cross(-a, u)
    depths, numbers = [], []
    x = (np.arange(size[1]) + 0.5 - intrinsics.principal_point[0]) / intrinsics.focal_length
    for row in range(size[0]):
        y = np.full_like(x, (row + 0.5 - intrinsics.principal_point[1]) / intrinsics.focal_length)
        rays = np.stack([x, y, np.ones_like(x)], -1)[:, None]
        p = np.cross(rays, v)
        determinant = (p * u).sum(-1)
        s = (p * -a).sum(-1) / determinant
        t = (rays * q).sum(-1) / determinant
        depth = (v * q).sum(-1) / determinant
        depth[(s < 0) | (t < 0) | (s + t > 1) | (depth <= 0)] = np.inf
        depths.append(depth.min(1))
        numbers.append(depth.argmin(1))
    return np.stack(depths), np.stack(numbers)


def triangle(z=2.0, reach=0.2):
    return np.array([[[-reach, -reach, z], [reach, -reach, z], [0, reach, z]]]), np.array([[0, 1, 2]])


def test_agrees_with_ray_casting_on_a_body(body):
    vertices, faces = body[0] + [0.1, -0.3, 2.0], body[1]
    some = faces[np.random.default_rng(0).choice(len(faces), 3000, replace=False)]  # with holes, to see both sides
    camera, size = Intrinsics(110.0, (30.0, 25.5)), (60, 61)
    depth, face = rasterise(vertices[None], some, camera, size)
    expected, expected_face = cast(vertices, some, camera, size)
    both = np.isfinite(depth) & np.isfinite(expected)
    assert both.sum() > 300
    assert (np.isfinite(depth) != np.isfinite(expected)).sum() < 0.02 * both.sum()  # centres within 1/512 of an edge
    same = both & (face == expected_face)
    assert same.sum() > 0.97 * both.sum()
    np.testing.assert_allclose(depth[same], expected[same], atol=2e-3)


def test_a_mesh_has_no_holes():
    square = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    rng = np.random.default_rng(1)
    inner = rng.uniform(-1, 1, (200, 3)) * [1, 1, 0]
    points = np.concatenate([square, inner])
    _, face = rasterise((points + np.array([0, 0, 1.0]))[None], Delaunay(points[:, :2]).simplices, CAMERA, SIZE)
    assert (face >= 0).all()


def test_every_visible_vertex_is_at_the_depth_of_its_pixel(body):
    vertices = body[0] + [0.0, 0.3, 4.0]
    camera = Intrinsics(900.0, (320.0, 240.0))
    depth, _ = rasterise(vertices[None], body[1], camera, (480, 640))
    pixels = project(vertices[None], np.zeros((1, 3)), camera)[0]
    columns, rows = np.floor(pixels).astype(int).T
    inside = (columns >= 0) & (columns < 640) & (rows >= 0) & (rows < 480)
    behind = vertices[inside, 2] - depth[rows[inside], columns[inside]]
    assert inside.sum() > 5000
    assert np.isfinite(behind).mean() > 0.9  # the others lie on the outline
    assert behind[np.isfinite(behind)].min() > -0.12  # steep skin within a pixel, never a whole body
    assert 0.3 < (np.abs(behind) < 0.01).mean() < 0.6  # about half faces the camera


def test_the_nearer_person_hides_the_other_whatever_the_order():
    (near, faces), (far, _) = triangle(2.0), triangle(3.0, 0.6)
    for order in ([near, far], [far, near]):
        depth, face = rasterise(np.concatenate(order), faces, CAMERA, SIZE)
        assert depth[22, 32] == pytest.approx(2.0)
        assert order[face[22, 32] // len(faces)] is near
        assert depth[10, 20] == pytest.approx(3.0)


def test_pixel_centres_lie_at_one_half():
    """A square from (10, 8) to (20, 18) in pixels covers exactly its 100 pixels."""
    corners = np.array([[10.0, 8], [20, 8], [20, 18], [10, 18]])
    points = np.concatenate([(corners - [32, 24]) / 100 * 2, np.full((4, 1), 2.0)], 1)
    _, face = rasterise(points[None], np.array([[0, 1, 2], [0, 2, 3]]), CAMERA, SIZE)
    expected = np.zeros(SIZE, bool)
    expected[8:18, 10:20] = True
    np.testing.assert_array_equal(face >= 0, expected)


def test_both_sides_are_drawn_unless_told_otherwise():
    points, faces = triangle()
    for order, drawn in (([0, 1, 2], False), ([0, 2, 1], True)):
        assert (rasterise(points, faces[:, order], CAMERA, SIZE)[1] >= 0).any()
        camera = camera_row(CAMERA)
        inverse_depth, numbers = np.zeros(SIZE, np.float32), np.full(SIZE, -1, np.int32)
        screen = to_screen(points, camera, 0.05)
        fill(points, screen, faces[:, order].copy(), camera, 0.05, 0, 0, inverse_depth, numbers, True)
        assert (numbers >= 0).any() == drawn


def test_front_faces_alone_look_the_same_on_a_closed_body(body):
    points = (body[0] + [0, 0.3, 3.0])[None]
    camera = camera_row(CAMERA)
    results = []
    for front_only in (False, True):
        inverse_depth, numbers = np.zeros(SIZE, np.float32), np.full(SIZE, -1, np.int32)
        fill(points, to_screen(points, camera, 0.05), body[1], camera, 0.05, 0, 0, inverse_depth, numbers, front_only)
        results.append(inverse_depth)
    assert (results[0] > 0).sum() > 200
    assert (np.abs(results[0] - results[1]) > 1e-3).mean() < 0.002


def test_a_window_holds_the_same_as_the_whole(body):
    points = (body[0] + [0, 0.3, 3.0])[None]
    camera = camera_row(CAMERA)
    inverse_depth, numbers = np.zeros((20, 30), np.float32), np.full((20, 30), -1, np.int32)
    fill(points, to_screen(points, camera, 0.05), body[1], camera, 0.05, 11, 17, inverse_depth, numbers)
    np.testing.assert_array_equal(numbers, rasterise(points, body[1], CAMERA, SIZE)[1][11:31, 17:47])


def test_what_is_nearer_than_the_near_plane_is_cut_off():
    """A floor from behind the camera to 10 m: seen from the near plane on, at the right depths."""
    floor = np.array([[[-50.0, 0.2, -1], [50, 0.2, -1], [50, 0.2, 10], [-50, 0.2, 10]]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    depth, _ = rasterise(floor, faces, CAMERA, SIZE, near=1.0)
    rows = np.arange(SIZE[0]) + 0.5
    expected = np.where(rows > 24, 0.2 * 100 / np.maximum(rows - 24, 1e-9), np.inf)
    expected[(expected < 1.0) | (expected > 10)] = np.inf
    np.testing.assert_allclose(depth, np.broadcast_to(expected[:, None], SIZE), rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_coordinates_that_are_not_finite_hurt_only_their_faces(bad):
    points, faces = triangle()
    points = np.concatenate([points, points - np.array([0, 0, 0.5])])
    points[1, 0] = bad
    _, face = rasterise(points, faces, CAMERA, SIZE)
    assert face.max() <= 0  # of the first person only
    assert (face == 0).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (333, 2)])
def test_any_size_and_a_principal_point_far_outside(size):
    points, faces = triangle(reach=0.5)
    camera = Intrinsics(100.0, (-1000.0, 2000.0))
    points += [(size[1] / 2 + 1000) / 100 * 2, (size[0] / 2 - 2000) / 100 * 2, 0]
    depth, face = rasterise(points, faces, camera, size)
    assert depth.shape == face.shape == size
    assert (face >= 0).any()


def test_nobody_is_an_empty_picture(body):
    depth, face = rasterise(np.zeros((0, 6890, 3)), body[1], CAMERA, SIZE)
    assert depth.dtype == np.float32
    assert face.dtype == np.int32
    assert np.isinf(depth).all()
    assert (face == -1).all()


def test_barycentric_weights_give_the_point_back():
    a, b, c = np.array([0.1, 0.2, 2.0]), np.array([1.0, -0.3, 3.0]), np.array([-0.2, 0.9, -1.0])  # one is behind
    weights = np.array([0.5, 0.3, 0.2])
    point = weights @ np.stack([a, b, c])
    np.testing.assert_allclose(barycentric(a, b, c, point[0] / point[2], point[1] / point[2]), weights, atol=1e-12)
