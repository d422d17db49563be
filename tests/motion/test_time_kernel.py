import torch

from fourd_humans.motion.time_kernel import TimeKernel


def blend(kernel, values, known):
    features = torch.zeros(1, len(values), 229) + torch.tensor(values)[None, :, None]
    return kernel(features, torch.tensor(known)[None], torch.arange(len(values))[None]).features[0]


@torch.no_grad()
def test_a_gap_is_bridged_between_its_ends():
    known = [True] * 10 + [False] * 9 + [True] * 10
    bridged = blend(TimeKernel(), [0.0] * 10 + [99.0] * 9 + [1.0] * 10, known)[10:19, 0]
    assert (bridged.diff() > 0).all()
    torch.testing.assert_close(bridged[4], torch.tensor(0.5), rtol=0, atol=0.02)


@torch.no_grad()
def test_with_nothing_seen_it_gives_the_mean():
    assert (blend(TimeKernel(), [3.0] * 5, [False] * 5) == 0).all()


@torch.no_grad()
def test_what_does_not_move_stays():
    ahead = blend(TimeKernel(), [2.0] * 60, [True] * 7 + [False] * 53)
    torch.testing.assert_close(ahead, torch.full_like(ahead, 2.0), rtol=0.2, atol=0)  # a little nearer the mean


@torch.no_grad()
def test_people_seen_in_other_frames_have_their_own_weights():
    kernel = TimeKernel()
    torch.manual_seed(0)
    features, known = torch.randn(4, 12, 229), torch.rand(4, 12) < 0.5
    times = torch.arange(12).expand(4, 12)
    together = kernel(features, known, times).features
    for i in range(4):
        torch.testing.assert_close(kernel(features[i : i + 1], known[i : i + 1], times[:1]).features[0], together[i])


@torch.no_grad()
def test_the_farther_from_what_was_seen_the_larger_the_expected_deviation():
    known = torch.zeros(1, 40, dtype=torch.bool)
    known[:, :7] = True
    std = TimeKernel()(torch.zeros(1, 40, 229), known, torch.arange(40)[None]).std[0]
    assert (std[7:].diff(dim=0) > 0).all()
