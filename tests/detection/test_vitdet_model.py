"""ViTDet against what detectron2 computes with the same small weights, and its parts against plain definitions."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional
from torchvision.ops import roi_align
from vitdet import PlainAttention, StoredBiasAttention, set_form

from fourd_humans.detection.vitdet.backbone import Attention, position_table
from fourd_humans.detection.vitdet.boxes import anchors, apply_deltas, clip, pool
from fourd_humans.detection.vitdet.masks import paste
from fourd_humans.detection.vitdet.model import vitdet_h
from fourd_humans.detection.vitdet.rpn import RegionProposals

SIZE = (200, 240)
SIZES = torch.tensor([SIZE], dtype=torch.float32)
THRESHOLD = 0.012
BOX_TOLERANCE, SCORE_TOLERANCE = 0.05, 1e-4  # pixels and probability


@pytest.fixture(scope="module")
def image(vitdet_reference):
    return torch.from_numpy(vitdet_reference["image"]).permute(2, 0, 1)


@pytest.fixture(scope="module")
def reference_features(vitdet_reference):
    return [torch.from_numpy(vitdet_reference[f"feat_p{level}"]) for level in range(2, 7)]


@pytest.fixture(scope="module")
def features(small_vitdet, image):
    with torch.inference_mode():
        return small_vitdet.features([image])


def picture(found, index: int = 0) -> SimpleNamespace:
    """The detections of one picture, without those that only fill up the tensors, as arrays."""
    there = found.scores[index] > 0
    return SimpleNamespace(
        **{name: getattr(found, name)[index][there].numpy() for name in ("boxes", "scores", "classes")}
    )


def masks_of(model, features, found) -> np.ndarray:
    boxes, classes = torch.from_numpy(found.boxes), torch.from_numpy(found.classes)
    return model.masks(features, boxes, torch.zeros(len(boxes), dtype=torch.long), classes).numpy()


def frame_boxes(found, reference) -> np.ndarray:
    height, width = reference["output_size"]
    return found.boxes * np.array([width / SIZE[1], height / SIZE[0]] * 2, np.float32)


def match(found, reference) -> tuple[np.ndarray, np.ndarray]:
    """Of our detections, the indices that correspond to the reference's, and the largest difference of each box (100,).

    Scores that are equal to six digits change places from CPU to CPU, so detections are matched one to one by box and
    class, and not by rank.
    """
    distance = np.abs(frame_boxes(found, reference)[:, None] - reference["boxes"]).max(-1)
    distance[found.classes[:, None] != reference["classes"]] = 1e6
    ours, theirs = linear_sum_assignment(distance)
    assert len(ours) == len(found.scores) == len(reference["scores"])
    indices = ours[np.argsort(theirs)]
    return indices, distance[indices, np.arange(len(indices))]


def test_names_and_shapes(small_vitdet, vitdet_manifests):
    def shapes(model):
        return {name: list(value.shape) for name, value in model.state_dict().items()}

    assert shapes(small_vitdet) == vitdet_manifests["small"]
    with torch.device("meta"):
        assert shapes(vitdet_h()) == vitdet_manifests["released"]


def test_features(features, reference_features):
    for ours, theirs in zip(features, reference_features, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_proposals(small_vitdet, features, vitdet_reference):
    with torch.inference_mode():
        boxes, logits, certain = small_vitdet.proposal_generator(features, SIZES)
    assert certain.all()
    boxes, logits = boxes[0], logits[0]
    np.testing.assert_allclose(boxes, vitdet_reference["proposal_boxes"], atol=1e-4 * max(SIZE))
    np.testing.assert_allclose(logits, vitdet_reference["proposal_logits"], rtol=1e-4, atol=1e-5)


def test_detections_and_masks_from_the_same_features(small_vitdet, reference_features, vitdet_reference):
    with torch.inference_mode():
        found = picture(small_vitdet.detect(reference_features, SIZES, score_threshold=THRESHOLD))
        probabilities = masks_of(small_vitdet, reference_features, found)
    indices, difference = match(found, vitdet_reference)
    assert difference.max() <= BOX_TOLERANCE
    np.testing.assert_allclose(found.scores[indices], vitdet_reference["scores"], atol=SCORE_TOLERANCE)
    assert (np.diff(found.scores) <= 0).all()

    boxes = frame_boxes(found, vitdet_reference)[indices]
    size = tuple(vitdet_reference["output_size"])
    width = int(vitdet_reference["mask_width"])
    expected = np.unpackbits(vitdet_reference["masks"], axis=-1)[..., :width].astype(bool)
    pairs = zip(probabilities[indices], boxes, strict=True)
    ours = np.stack([paste(over_box, box, size).full() for over_box, box in pairs])
    agreement = (ours == expected).mean((1, 2))
    assert agreement.min() >= 0.999
    assert expected.any((1, 2)).sum() > 90  # they are not equal for being empty


def test_detections_from_the_image(small_vitdet, features, vitdet_reference):
    """The random weights of the heads magnify rounding: an attention that sums in another order moves a few boxes by
    up to 0.2 pixel. The reference itself is no nearer to the same computed in double precision."""
    with torch.inference_mode():
        found = picture(small_vitdet.detect(features, SIZES, score_threshold=THRESHOLD))
    indices, difference = match(found, vitdet_reference)
    assert (difference <= 0.05).sum() >= 97
    assert difference.max() <= 0.5
    np.testing.assert_allclose(found.scores[indices], vitdet_reference["scores"], atol=5e-4)


def test_proposals_are_suppressed_from_an_overlap_of_0_7_on():
    """Three boxes of one level, the best first: the second overlaps it by 0.695 (kept), the third by 0.705."""
    proposals = RegionProposals(1)
    features = [torch.zeros(1, 1, 1, 1)] * 5
    level_anchors = anchors(features)[0]
    down, right = (100 * (1 - overlap) / (1 + overlap) for overlap in (0.695, 0.705))
    boxes = torch.tensor([[0, 0, 100, 100], [0, down, 100, 100 + down], [right, 0, 100 + right, 100]])
    sizes = level_anchors[:, 2:] - level_anchors[:, :2]
    centers = (level_anchors[:, :2] + level_anchors[:, 2:]) / 2
    moves = ((boxes[:, :2] + boxes[:, 2:]) / 2 - centers) / sizes
    deltas = torch.cat([moves, ((boxes[:, 2:] - boxes[:, :2]) / sizes).log()], 1)
    nothing = (torch.full((1, 3), -torch.inf), torch.zeros(1, 3, 4))
    of_levels = iter([(torch.tensor([[3.0, 2.0, 1.0]]), deltas[None]), *[nothing] * 4])
    proposals.rpn_head.forward = lambda feature: next(of_levels)
    kept, logits, _ = proposals(features, torch.full((1, 2), 200.0))
    assert logits[0, :2].tolist() == [3, 2]
    assert (logits[0, 2:] == -torch.inf).all()
    torch.testing.assert_close(kept[0, :2], boxes[:2], rtol=0, atol=1e-3)


def test_only_the_wanted_classes(small_vitdet, reference_features, vitdet_reference):
    with torch.inference_mode():
        found = picture(small_vitdet.detect(reference_features, SIZES, score_threshold=THRESHOLD, classes=[65]))
    assert set(found.classes.tolist()) == {65}
    expected = vitdet_reference["scores"][vitdet_reference["classes"] == 65]
    np.testing.assert_allclose(found.scores[: len(expected)], expected, atol=SCORE_TOLERANCE)


def test_a_batch_is_its_pictures_one_by_one(small_vitdet, image):
    pictures = [image, image[:, 20:190, 10:100].flip(2)]
    sizes = torch.tensor([each.shape[1:] for each in pictures], dtype=torch.float32)
    with torch.inference_mode():
        together = small_vitdet.detect(small_vitdet.features(pictures), sizes, score_threshold=0.05)
        for i, each in enumerate(pictures):
            alone = small_vitdet.detect(small_vitdet.features([each]), sizes[i : i + 1], score_threshold=0.05)
            assert len(picture(alone).scores) == len(picture(together, i).scores)
            np.testing.assert_allclose(picture(alone).scores, picture(together, i).scores, atol=1e-3, rtol=0)


def test_nothing_found_gives_empty_boxes_and_masks(small_vitdet, reference_features):
    with torch.inference_mode():
        found = picture(small_vitdet.detect(reference_features, SIZES, score_threshold=0.99))
        probabilities = masks_of(small_vitdet, reference_features, found)
    assert found.boxes.shape == (0, 4)
    assert probabilities.shape == (0, 28, 28)


def test_reduced_precision_stays_near(small_vitdet, image, reference_features):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        features = small_vitdet.features([image])
        found = picture(small_vitdet.detect(features, SIZES, score_threshold=THRESHOLD))
    for ours, theirs in zip(features, reference_features, strict=True):
        assert (ours - theirs).abs().mean() < 0.05 * theirs.abs().mean()
    assert found.boxes.dtype == np.float32


@torch.inference_mode()
def test_heads_in_float16_are_nearer_than_in_bfloat16(small_vitdet, reference_features):
    """From the same proposals: boxes move by 0.03 pixel on average, in bfloat16 by 0.3."""
    proposals = small_vitdet.proposal_generator(reference_features, SIZES)[0][:, :200]
    exact, _ = small_vitdet.roi_heads(reference_features, proposals, SIZES)
    moved = {}
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype):
            boxes, scores = small_vitdet.roi_heads(reference_features, proposals, SIZES)
        assert boxes.dtype == scores.dtype == torch.float32
        moved[dtype] = (boxes - exact).abs().amax(-1).mean()
    assert 0 < moved[torch.float16] < 0.2
    assert moved[torch.float16] < 0.5 * moved[torch.bfloat16]


def plain_attention(attention: Attention, x: torch.Tensor) -> torch.Tensor:
    """One window, written out: softmax of q·k / √d plus q · R_h plus q · R_w."""
    h, w, channels = x.shape
    q, k, v = attention.qkv(x).view(h * w, 3, attention.heads, -1).permute(1, 2, 0, 3)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    for query in range(h * w):
        for key in range(h * w):
            (y, x_), (key_y, key_x) = divmod(query, w), divmod(key, w)
            scores[:, query, key] += q[:, query] @ attention.rel_pos_h[y - key_y + h - 1]
            scores[:, query, key] += q[:, query] @ attention.rel_pos_w[x_ - key_x + w - 1]
    return attention.proj((scores.softmax(-1) @ v).permute(1, 0, 2).reshape(h, w, channels))


@torch.no_grad()
def test_windowed_attention_is_plain_attention_in_each_window():
    torch.manual_seed(0)
    attention = Attention(8, heads=2, grid_size=7, window_size=3)
    for parameter in attention.parameters():
        parameter.normal_()
    x = torch.randn(1, 4, 5, 8)
    padded = functional.pad(x, (0, 0, 0, 1, 0, 2))  # zeros to 6x6, which take part
    expected = torch.zeros(6, 6, 8)
    for top in (0, 3):
        for left in (0, 3):
            window = padded[0, top : top + 3, left : left + 3]
            expected[top : top + 3, left : left + 3] = plain_attention(attention, window)
    torch.testing.assert_close(attention(x)[0], expected[:4, :5], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("form", [PlainAttention, StoredBiasAttention])
def test_features_are_those_of_other_forms_of_attention(small_vitdet, image, form):
    """They differ by rounding alone: in float64 by 1e-15 of the largest feature, in float32 by 1e-6."""
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        ours = copy.deepcopy(small_vitdet).to(dtype)
        other = copy.deepcopy(ours)
        set_form(other, form)
        picture = image.to(dtype)
        for one, expected in zip(ours.features([picture]), other.features([picture]), strict=True):
            assert (one - expected).abs().max() <= tolerance * expected.abs().max()


def test_the_attention_asks_for_the_width_that_the_fastest_kernels_take(monkeypatch):
    widths = []

    def kernel(q, k, v, scale):
        widths.append((q.shape[-1], k.shape[-1], v.shape[-1]))
        return v

    monkeypatch.setattr(functional, "scaled_dot_product_attention", kernel)
    for window in (14, None):  # of ViT-H in windows, 80 + 2·14 channels a head, and in global blocks, 80 + 2·64
        Attention(160, heads=2, grid_size=64, window_size=window)(torch.zeros(1, 64, 64, 160))
    assert widths == [(112, 112, 112), (208, 208, 208)]


def test_positions_are_resampled_for_other_sizes():
    relative = torch.arange(7.0)[:, None]  # distances -3..3
    table = position_table(relative, 4)
    assert table[2, 0] == relative[2 - 0 + 3]
    assert position_table(relative, 2).shape == (2, 2, 1)
    assert position_table(relative, 2)[0, 0] == 3  # distance 0 stays in the middle


def test_anchors_are_centred_on_the_corners_of_cells():
    features = [torch.zeros(1, 1, side, side) for side in (8, 4, 2, 1, 1)]
    p2 = anchors(features)[0].view(8, 8, 3, 4)
    np.testing.assert_allclose(p2[2, 5, 1], [20 - 16, 8 - 16, 20 + 16, 8 + 16])
    size = p2[0, 0, :, 2:] - p2[0, 0, :, :2]
    np.testing.assert_allclose(size[:, 1] / size[:, 0], [0.5, 1, 2], rtol=1e-6)
    np.testing.assert_allclose(size.prod(1), 32**2, rtol=1e-6)


def test_deltas_move_stretch_and_are_bounded():
    box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    moved = apply_deltas(torch.tensor([[1.0, -1.0, 5 * np.log(2.0), 100.0]]), box, (10.0, 5.0))
    np.testing.assert_allclose(moved, [[22 - 20, 36 - 1250, 22 + 20, 36 + 1250]], rtol=1e-5)
    np.testing.assert_allclose(clip(moved[None], torch.tensor([[50.0, 40.0]]))[0], [[2, 0, 40, 50]], rtol=1e-5)


def test_boxes_are_read_from_the_level_of_their_size():
    torch.manual_seed(0)
    features = [torch.randn(1, 2, side, side) for side in (256, 128, 64, 32, 16)]
    sides = [40.0, 111.9, 112.1, 224.0, 447.0, 900.0]
    boxes = torch.tensor([[3.0, 5.0, 3 + side, 5 + side] for side in sides])
    pooled = pool(features, boxes, torch.zeros(len(boxes), dtype=torch.long), 7)
    for row, level in enumerate([0, 0, 1, 2, 2, 3]):
        expected = roi_align(features[level], [boxes[row : row + 1]], 7, 1 / (4 * 2**level), aligned=True)
        torch.testing.assert_close(pooled[row], expected[0])


@pytest.mark.parametrize(
    "box",
    [
        (10.3, 5.2, 60.7, 44.1),
        (-20.0, -3.0, 30.0, 20.0),
        (50.0, 30.0, 90.0, 70.0),
        (0.0, 0.0, 80.0, 60.0),
        (5, 5, 5.4, 9),
    ],
)
def test_paste_is_bilinear_sampling_of_the_whole_frame(box):
    probabilities = np.random.default_rng(1).random((28, 28), dtype=np.float32)
    x1, y1, x2, y2 = box
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    places = torch.stack([(x - x1) / (x2 - x1) * 2 - 1, (y - y1) / (y2 - y1) * 2 - 1], -1).float()
    sampled = functional.grid_sample(torch.from_numpy(probabilities)[None, None], places[None], align_corners=False)
    full = paste(probabilities, np.array(box, np.float32), (60, 80)).full()
    near_threshold = (sampled[0, 0] - 0.5).abs().numpy() < 1e-4
    assert ((full == (sampled[0, 0] >= 0.5).numpy()) | near_threshold).all()


def test_paste_of_a_box_outside_the_frame_is_empty():
    mask = paste(np.ones((28, 28), np.float32), np.array([100, 10, 120, 30], np.float32), (60, 80))
    assert mask.full().shape == (60, 80)
    assert not mask.full().any()
