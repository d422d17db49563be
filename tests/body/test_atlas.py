"""The texture atlas lies on the body's surface."""

import numpy as np
import pytest

from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError


def test_texels_are_points_of_the_surface():
    atlas, body = TextureAtlas.open_body(), BodyModel.open_body()
    shown = atlas.faces_of_texels >= 0
    assert atlas.faces_of_texels.shape == (256, 256)
    assert atlas.faces_of_texels.max() < len(body.faces)
    assert 0.5 < shown.mean() < 0.7
    np.testing.assert_allclose(atlas.barycentric.sum(-1), shown, atol=1e-6)
    assert atlas.barycentric.min() > -0.01
    vertices = body.v_template.numpy()
    points = atlas.points(vertices, body.faces)
    assert points.shape == (shown.sum(), 3)
    corners = vertices[body.faces[atlas.faces_of_texels[shown]]]
    expected = np.einsum("tc,tcx->tx", atlas.barycentric[shown], corners)
    np.testing.assert_allclose(points, expected, atol=1e-6)
    assert atlas.points(np.stack([vertices, 2 * vertices]), body.faces).shape == (2, shown.sum(), 3)


def test_neighbouring_texels_are_neighbours_on_the_body():
    atlas, body = TextureAtlas.open_body(), BodyModel.open_body()
    shown = atlas.faces_of_texels >= 0
    place = np.full((256, 256, 3), np.nan, np.float32)
    place[shown] = atlas.points(body.v_template.numpy(), body.faces)
    steps = np.linalg.norm(np.diff(place, axis=1), axis=-1)
    assert np.nanpercentile(steps, 95) < 0.02
    covered = np.isin(np.arange(len(body.faces)), atlas.faces_of_texels)
    assert covered.mean() > 0.8


def test_it_cannot_be_changed_by_one_caller_for_all():
    with pytest.raises(ValueError, match="read-only"):
        TextureAtlas.open_body().faces_of_texels[0, 0] = 1


def test_the_released_atlas_is_read_from_its_two_files(tmp_path):
    ours = TextureAtlas.open_body()
    np.save(tmp_path / "fmap_256.npy", ours.faces_of_texels.astype(np.int64))
    np.save(tmp_path / "bmap_256.npy", ours.barycentric.astype(np.float64))
    read = TextureAtlas.from_folder(tmp_path)
    assert (read.faces_of_texels == ours.faces_of_texels).all()
    np.testing.assert_allclose(read.barycentric, ours.barycentric, atol=1e-6)


@pytest.mark.parametrize("content", [None, np.zeros((3, 3)), np.array([{}], dtype=object)])
def test_what_is_no_atlas_is_told(tmp_path, content):
    if content is not None:
        for name in ("fmap_256.npy", "bmap_256.npy"):
            np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(FourDHumansError, match=str(tmp_path)):
        TextureAtlas.from_folder(tmp_path)


def test_a_mesh_without_an_atlas_gets_texels_inside_every_face():
    atlas = TextureAtlas.of_faces(13776)
    numbers, counts = np.unique(atlas.faces_of_texels[atlas.faces_of_texels >= 0], return_counts=True)
    assert len(numbers) == 13776
    assert set(counts) == {4}
    assert (atlas.barycentric[atlas.faces_of_texels >= 0] > 0).all()
