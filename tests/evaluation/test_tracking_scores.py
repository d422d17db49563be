"""Against the field's two programs, on sequences one of them ships and on random ones; and by hand."""

from pathlib import Path

import numpy as np
import pytest

from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.tracking import ALPHAS, FrameBoxes, evaluate_tracking, scores
from fourd_humans.geometry.boxes import intersection_over_union


def frame(*people, ignored=()):
    """people: (id, x) with boxes of 10x10 pixels at x."""
    boxes = np.array([[x, 0, x + 10, 10] for _, x in people], float).reshape(-1, 4)
    return FrameBoxes(np.array([id for id, _ in people], int), boxes, np.array(ignored, float).reshape(-1, 4))


def random_sequence(seed, frames=60, people=6):
    """Walks with misses, false boxes and identities that are swapped now and then."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 100, people)
    names = np.arange(people) + 100
    truth, results = [], []
    for t in range(frames):
        x += rng.normal(0, 2, people)
        if t % 13 == 12:
            names[rng.permutation(people)[:2]] = names[rng.permutation(people)[:2]] + 1000 * (t % 26 == 25)
            names = np.array([n if list(names).count(n) == 1 else n + 5000 + i for i, n in enumerate(names)])
        present = rng.random(people) < 0.9
        found = rng.random(people) < 0.8
        truth.append(frame(*[(i, x[i]) for i in range(people) if present[i]]))
        noise = x + rng.normal(0, 1.5, people)
        results.append(frame(*[(names[i], noise[i]) for i in range(people) if found[i]], (9999, 500.0 + t)))
    return truth, results


def trackeval_data(truth, results):
    known_truth = {id: n for n, id in enumerate(sorted({int(i) for f in truth for i in f.ids}))}
    known_results = {id: n for n, id in enumerate(sorted({int(i) for f in results for i in f.ids}))}
    return {
        "num_timesteps": len(truth),
        "num_gt_ids": len(known_truth),
        "num_tracker_ids": len(known_results),
        "num_gt_dets": sum(len(f.ids) for f in truth),
        "num_tracker_dets": sum(len(f.ids) for f in results),
        "gt_ids": [np.array([known_truth[int(i)] for i in f.ids], int) for f in truth],
        "tracker_ids": [np.array([known_results[int(i)] for i in f.ids], int) for f in results],
        "similarity_scores": [intersection_over_union(t.boxes, r.boxes) for t, r in zip(truth, results, strict=True)],
    }


def read_mot(path):
    rows = np.loadtxt(path, delimiter=",")
    frames = {}
    for t in range(1, int(rows[:, 0].max()) + 1):
        of = rows[rows[:, 0] == t]
        frames[t] = FrameBoxes(of[:, 1].astype(int), np.concatenate([of[:, 2:4], of[:, 2:4] + of[:, 4:6]], 1))
    return frames


@pytest.mark.parametrize("seed", range(4))
def test_every_figure_equals_trackevals(seed):
    trackeval = pytest.importorskip("trackeval", exc_type=ImportError)
    truth, results = random_sequence(seed)
    data = trackeval_data(truth, results)
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    clear = trackeval.metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = trackeval.metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    counts = evaluate_tracking(truth, results)
    ours = scores(counts)
    assert ours.hota == pytest.approx(hota["HOTA"].mean())
    assert ours.deta == pytest.approx(hota["DetA"].mean())
    assert ours.assa == pytest.approx(hota["AssA"].mean())
    np.testing.assert_allclose(counts.localisation / counts.alpha_matched, hota["LocA"])
    assert ours.mota == pytest.approx(clear["MOTA"])
    assert (ours.switches, ours.fragments) == (clear["IDSW"], clear["Frag"])
    assert (ours.missed, ours.false) == (clear["CLR_FN"], clear["CLR_FP"])
    assert ours.idf1 == pytest.approx(identity["IDF1"])


@pytest.mark.parametrize("sequence", ["TUD-Campus", "TUD-Stadtmitte"])
def test_mota_and_idf1_equal_motmetrics(sequence):
    motmetrics = pytest.importorskip("motmetrics")
    folder = Path(motmetrics.__file__).parent / "data" / sequence
    truth, results = read_mot(folder / "gt.txt"), read_mot(folder / "test.txt")
    times = range(1, max(*truth, *results) + 1)
    nobody = frame()
    both = [(truth.get(t, nobody), results.get(t, nobody)) for t in times]
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for annotated, found in both:
        overlap = intersection_over_union(annotated.boxes, found.boxes)
        accumulator.update(annotated.ids, found.ids, np.where(overlap >= 0.5, 1 - overlap, np.nan))
    theirs = motmetrics.metrics.create().compute(accumulator, metrics=["mota", "idf1", "num_switches"], name="s")
    ours = scores(evaluate_tracking([a for a, _ in both], [b for _, b in both]))
    assert ours.idf1 == pytest.approx(theirs["idf1"]["s"], abs=1e-9)
    assert ours.mota == pytest.approx(theirs["mota"]["s"], abs=0.01), "they differ in which matches are kept"


def test_perfect_results_score_one():
    truth = [frame((1, t), (2, 50 - t)) for t in range(20)]
    results = [frame((7, t), (8, 50 - t)) for t in range(20)]
    found = scores(evaluate_tracking(truth, results))
    assert (found.hota, found.mota, found.idf1, found.switches) == (1, 1, 1, 0)


def test_a_swap_costs_two_switches_and_half_the_identities():
    truth = [frame((1, 0), (2, 50)) for _ in range(20)]
    results = [frame((1, 0), (2, 50)) if t < 10 else frame((2, 0), (1, 50)) for t in range(20)]
    found = scores(evaluate_tracking(truth, results))
    assert found.switches == 2
    assert found.idf1 == 0.5
    assert found.deta == 1.0
    assert found.assa == pytest.approx(1 / 3)


def test_empty_results_are_zero_and_not_an_error():
    found = scores(evaluate_tracking([frame((1, 0))] * 3, [frame()] * 3))
    assert (found.hota, found.mota, found.idf1, found.missed) == (0, 0, 0, 3)


def test_results_where_nothing_is_annotated_do_not_count():
    truth = [frame((1, 0), ignored=[[100, 0, 200, 50]])] * 3
    results = [frame((1, 0), (2, 120), (3, 60))] * 3
    counts = evaluate_tracking(truth, results)
    assert (counts.false, counts.ignored) == (3, 3)


def test_sequences_add_up():
    sequences = [random_sequence(seed) for seed in (1, 2)]
    a, b = (evaluate_tracking(*sequence) for sequence in sequences)
    together = scores(a + b)
    assert together.switches == scores(a).switches + scores(b).switches
    assert min(scores(a).hota, scores(b).hota) < together.hota < max(scores(a).hota, scores(b).hota)
    assert (a + b).alpha_matched.shape == ALPHAS.shape


@pytest.mark.parametrize(
    ("truth", "results", "message"),
    [
        ([frame((1, 0))] * 2, [frame((1, 0))], "2 frames"),
        ([frame((1, 0))], [frame((1, 0), (1, 20))], "frame 0 of the results has several boxes for id 1"),
        ([frame((1, np.nan))], [frame((1, 0))], "not finite"),
    ],
)
def test_what_cannot_be_compared_is_said(truth, results, message):
    with pytest.raises(FourDHumansError, match=message):
        evaluate_tracking(truth, results)
