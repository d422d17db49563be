import numpy as np

from fourd_humans.training.motion.masks import distance_to_seen, draw_mask


def test_only_masked_frames_are_asked_for_and_something_is_left_to_see():
    rng = np.random.default_rng(0)
    drawn = [draw_mask(rng, 96) for _ in range(300)]
    assert all((masked | ~queried).all() for masked, queried in drawn)
    shares = np.array([masked.mean() for masked, _ in drawn])
    assert shares.max() < 1
    assert (shares > 0.9).mean() > 0.2  # a tracker's memory
    assert (shares < 0.6).mean() > 0.2


def test_masks_fit_short_sequences():
    rng = np.random.default_rng(0)
    for frames in (2, 3, 8):
        for _ in range(50):
            masked, queried = draw_mask(rng, frames)
            assert masked.shape == queried.shape == (frames,)


def test_distance_to_the_nearest_seen_frame():
    masked = np.array([True, False, True, True, True, False])
    assert distance_to_seen(masked).tolist() == [1, 0, 1, 2, 1, 0]
    assert distance_to_seen(np.ones(3, bool)).tolist() == [3, 3, 3]
