import torch

from fourd_humans.body.model import BodyModel
from fourd_humans.training.motion.losses import lever_arms, motion_loss

STD = torch.full((229,), 2.0)


def test_only_frames_asked_for_count():
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 5, 229), torch.randn(2, 5, 229)
    queried = torch.zeros(2, 5, dtype=torch.bool)
    queried[0, 2] = True
    whole = motion_loss(predicted, target, queried, STD, torch.ones(24)).total
    alone = motion_loss(predicted[:1, 2:3], target[:1, 2:3], queried[:1, 2:3], STD, torch.ones(24)).total
    torch.testing.assert_close(whole, alone)
    predicted[1] = 100
    torch.testing.assert_close(motion_loss(predicted, target, queried, STD, torch.ones(24)).total, whole)


def test_terms_in_their_units():
    target = torch.zeros(1, 1, 229)
    predicted = target.clone()
    predicted[..., 9 + 3] = 0.5  # in the first body joint's matrix
    predicted[..., 216:226] = 1.0
    predicted[..., 226:] = 4.0
    arms = torch.zeros(24)
    arms[1] = 1.0
    loss = motion_loss(predicted, target, torch.ones(1, 1, dtype=torch.bool), STD, arms)
    torch.testing.assert_close(loss.rotations, torch.tensor(0.5), rtol=1e-3, atol=0.01)
    torch.testing.assert_close(loss.betas, torch.tensor(0.5))
    torch.testing.assert_close(loss.location, torch.tensor(2.0))


def test_nothing_asked_for_is_no_loss():
    poses = torch.randn(1, 3, 229)
    assert motion_loss(poses, -poses, torch.zeros(1, 3, dtype=torch.bool), STD, torch.ones(24)).total == 0


def test_lever_arms_shrink_along_the_limbs():
    arms = lever_arms(BodyModel.open_body())
    assert arms.shape == (24,)
    assert arms[0] == arms.max()
    assert arms[1] > arms[4] > arms[7]
    assert arms[16] > arms[18] > arms[20]
