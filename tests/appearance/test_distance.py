from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_gpu import fake_gpu
from gpu_waits import waits_for_the_gpu

from fourd_humans.appearance.distance import PRIOR, ColourDistance, EncoderDistance, texel_areas
from fourd_humans.appearance.encoder import TextureEncoder
from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError

ALL = np.ones((256, 256), bool)
TOP = np.arange(256)[:, None] < 128 * np.ones(256)


@pytest.fixture(scope="module")
def areas() -> np.ndarray:
    body = BodyModel.open_body()
    return texel_areas(TextureAtlas.open_body(), body.v_template.numpy(), body.faces)


@pytest.fixture(scope="module")
def distance(areas: np.ndarray) -> ColourDistance:
    return ColourDistance(areas)


def skin(colour: np.ndarray, seen: np.ndarray = ALL) -> np.ndarray:
    """A texture of colours broadcast from (3,) or (3, 256, 256), as far as seen."""
    texture = np.zeros((4, 256, 256), np.float32)
    texture[:3] = colour.reshape(3, *(colour.shape[1:] or (1, 1)))
    texture[3] = 1
    texture[:3, ~seen], texture[3, ~seen] = 0, -1
    return texture


def clothes(seed: int) -> np.ndarray:
    """Colours in blocks of 32x32 texels."""
    return np.kron(np.random.default_rng(seed).uniform(-0.4, 0.4, (3, 8, 8)), np.ones((32, 32)))


def one(distance: ColourDistance, a: np.ndarray, b: np.ndarray) -> float:
    return float(distance([a], [b], np.array([[0, 0]]))[0])


def test_areas_are_the_skins(areas: np.ndarray) -> None:
    atlas = TextureAtlas.open_body()
    assert areas.sum() == pytest.approx(1.6, abs=0.15)
    np.testing.assert_array_equal(areas > 0, atlas.faces_of_texels >= 0)
    assert areas.min() >= 0


def test_the_same_appearance_is_nearer_than_another(distance: ColourDistance) -> None:
    mine, noise = clothes(0), np.random.default_rng(9).normal(0, 0.05, (3, 256, 256))
    same, other = (
        one(distance, skin(mine), skin(mine + noise)),
        one(distance, skin(mine), skin(clothes(1))),
    )
    assert 0 <= same < 0.05 * other


def test_only_what_is_seen_in_both_counts(distance: ColourDistance) -> None:
    mine, painted = clothes(0), clothes(0)
    painted[:, ~TOP] = 0.9
    assert one(distance, skin(mine, TOP), skin(painted)) == pytest.approx(one(distance, skin(mine, TOP), skin(mine)))
    assert one(distance, skin(mine), skin(painted)) > 5 * one(distance, skin(mine), skin(mine))


def test_is_neutral_where_nothing_is_seen_in_both(distance: ColourDistance) -> None:
    assert one(distance, skin(clothes(0), TOP), skin(clothes(1), ~TOP)) == pytest.approx(PRIOR, rel=0.01)
    assert one(distance, skin(clothes(0), ~ALL), skin(clothes(1))) == pytest.approx(PRIOR, rel=0.01)
    speck = np.zeros_like(ALL)
    speck[100:102, 100:102] = True
    assert one(distance, skin(clothes(0), speck), skin(clothes(1))) == pytest.approx(PRIOR, rel=0.3)


def test_brightness_counts_less_than_colour(distance: ColourDistance) -> None:
    mine = clothes(0)
    brighter = one(distance, skin(mine), skin(mine + 0.2))
    redder = one(distance, skin(mine), skin(mine + np.array([0.2, -0.2, 0.2]).reshape(3, 1, 1)))
    assert brighter < 0.6 * redder


def test_counts_skin_not_texels(distance: ColourDistance, areas: np.ndarray) -> None:
    """Of two changes over as many texels, the one over more skin counts more."""
    order = np.argsort(areas.reshape(-1))
    shown = order[areas.reshape(-1)[order] > 0]
    mine, dense, sparse = clothes(0), clothes(0).reshape(3, -1), clothes(0).reshape(3, -1)
    dense[:, shown[:5000]] += np.array([[0.5], [-0.5], [0]])
    sparse[:, shown[-5000:]] += np.array([[0.5], [-0.5], [0]])
    fine, coarse = (one(distance, skin(mine), skin(painted.reshape(3, 256, 256))) for painted in (dense, sparse))
    assert fine < 0.5 * coarse


def test_chosen_pairs_are_those_of_all(distance: ColourDistance) -> None:
    tracks = [skin(clothes(i)) for i in range(4)]
    detections = [skin(clothes(i), TOP) for i in (2, 3, 0)]
    every = np.array([[i, j] for i in range(4) for j in range(3)])
    whole = distance(tracks, detections, every).reshape(4, 3)
    np.testing.assert_array_equal(whole.argmin(0), [2, 3, 0])
    np.testing.assert_allclose(distance(tracks, detections, every[[7, 2, 2]]), whole.reshape(-1)[[7, 2, 2]])


def test_encoder_distance_ignores_what_is_not_seen_in_both() -> None:
    torch.manual_seed(0)
    distance = EncoderDistance(TextureEncoder(), batch_size=1)
    painted = clothes(1)
    painted[:, TOP] = clothes(0)[:, TOP]
    tracks, detections = [skin(clothes(0), TOP)], [skin(painted), skin(clothes(1)), skin(clothes(0))]
    same, other, again = distance(tracks, detections, np.array([[0, 0], [0, 1], [0, 2]]))
    assert same == again == 0
    assert other > 0
    assert distance(tracks, detections, np.zeros((0, 2), int)).shape == (0,)


def test_the_encoder_waits_once_for_a_fake_gpu() -> None:
    looks = [skin(clothes(seed)) for seed in range(2)]
    encoder = TextureEncoder()
    with fake_gpu() as gpu:
        distance = EncoderDistance(encoder, "cuda", batch_size=2)
        gpu.waits.clear()
        found = distance(looks, looks, np.array([[0, 1], [1, 0], [1, 1]]))
    assert found.shape == (3,)
    assert gpu.waits == []
    assert distance._stream is not None
    assert distance._stream.waits == 1


def test_textures_that_memory_does_not_hold_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("fourd_humans.appearance.distance.upload", full)
    looks = [skin(clothes(0))]
    with pytest.raises(FourDHumansError, match="even one of the pairs of people to compare: try --device cpu"):
        EncoderDistance(TextureEncoder())(looks, looks, np.array([[0, 0]]))


@pytest.mark.gpu
def test_the_encoders_distances_on_a_gpu() -> None:
    torch.manual_seed(0)
    encoder = TextureEncoder().eval()
    looks = [skin(clothes(seed)) for seed in range(3)]
    pairs = np.array([[0, 1], [1, 2], [2, 2]])
    expected = EncoderDistance(encoder)(looks, looks, pairs)
    on_gpu = EncoderDistance(encoder, "cuda")
    on_gpu(looks, looks, pairs)  # which also sets up cuDNN
    found, waits = waits_for_the_gpu(lambda: on_gpu(looks, looks, pairs))
    assert waits <= 1
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert isinstance(found, np.ndarray)
