"""MOT and COCO files, as TrackEval and pycocotools read them."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fourd_humans.exports.boxes import write_coco, write_mot
from fourd_humans.exports.job import ExportJob


@pytest.fixture
def job(tracklets, body_model, tmp_path):
    return ExportJob(tracklets, body_model, tmp_path, "video")


def test_mot_rows_are_the_boxes(job, tracklets):
    write_mot(job)
    rows = np.loadtxt(job.folder / "video_mot.txt", delimiter=",")
    assert rows.shape == (sum(len(frame) for frame in tracklets), 10)
    expected = np.concatenate([
        np.column_stack([np.full(len(f), f.index + 1), f.ids, f.detections.boxes[:, :2],
                         f.detections.boxes[:, 2:] - f.detections.boxes[:, :2], f.detections.scores])
        for f in tracklets if len(f)
    ])  # fmt: skip
    np.testing.assert_allclose(rows[:, :7], expected, atol=0.011)


def test_trackeval_reads_mot(job, tracklets, tmp_path):
    """Our file is its own ground truth: everything is found, nobody is confused."""
    trackeval = pytest.importorskip("trackeval")
    write_mot(job)
    length = tracklets[-1].index + 1
    truth = tmp_path / "gt" / "MOT17-train" / "video" / "gt"
    answers = tmp_path / "trackers" / "MOT17-train" / "ours" / "data"
    for folder in (truth, answers):
        folder.mkdir(parents=True)
    rows = (tmp_path / "video_mot.txt").read_text()
    (answers / "video.txt").write_text(rows)
    fields = [row.split(",") for row in rows.splitlines()]
    (truth / "gt.txt").write_text("".join(",".join([*row[:6], "1,1,1"]) + "\n" for row in fields))
    (truth.parent / "seqinfo.ini").write_text(f"[Sequence]\nname=video\nseqLength={length}\n")
    quiet = {"PRINT_CONFIG": False}
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = trackeval.datasets.MotChallenge2DBox({
            "GT_FOLDER": str(tmp_path / "gt"), "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "SEQ_INFO": {"video": length}, "SKIP_SPLIT_FOL": False, **quiet,
        })  # fmt: skip
        data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("ours", "video"), "pedestrian")
        scores = trackeval.metrics.HOTA().eval_sequence(data)
    assert data["num_gt_ids"] == len(tracklets.ids)
    np.testing.assert_allclose(scores["HOTA"], 1)


def test_pycocotools_reads_coco(job, tracklets):
    write_coco(job)
    path = job.folder / "video_coco.json"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        results = truth.loadRes(json.loads(path.read_text())["annotations"])
        evaluation = COCOeval(truth, results, "keypoints")
        evaluation.params.maxDets = [20]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    assert len(truth.imgs) == len(tracklets)
    frame = next(frame for frame in tracklets if len(frame) > 1 and frame.detections.masks)
    annotations = truth.imgToAnns[frame.index]
    assert [each["track_id"] for each in annotations] == frame.ids.tolist()
    names = truth.cats[1]["keypoints"]
    for row, annotation in enumerate(annotations):
        points = np.reshape(annotation["keypoints"], (17, 3))
        np.testing.assert_allclose(points[names.index("left_knee"), :2], frame.bodies.joints_2d[row, 29], atol=0.01)
        np.testing.assert_array_equal(truth.annToMask(annotation), frame.detections.masks[row].full())
