"""Points of the body in PyTorch equal those in NumPy, with their derivatives."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.body.points import LEFT_HAND, BodyPoints
from fourd_humans.body.tensor_points import TensorBodyPoints


def test_same_as_in_numpy():
    body, rng = BodyModel.open_body(), np.random.default_rng(0)
    indices = np.array([*COCO_17, 38, LEFT_HAND])
    rotations = Rotation.random(3 * 24, rng).as_matrix().reshape(3, 24, 3, 3)
    betas = rng.normal(size=(3, 10))
    expected = BodyPoints(body, indices).pose(rotations, betas)
    points = TensorBodyPoints(body, indices, torch.device("cpu"), torch.float64)
    posed = points.pose(torch.from_numpy(rotations), torch.from_numpy(betas))
    for name in ("points", "by_rotation", "by_betas"):
        np.testing.assert_allclose(getattr(posed, name).numpy(), getattr(expected, name), atol=1e-13)
    np.testing.assert_allclose(points.pelvis(torch.from_numpy(betas)), BodyPoints(body, indices).pelvis(betas))
