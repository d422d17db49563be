"""The bodies of people whose boxes are given, in images without an order: jobs of some images each.

There is nothing to detect and nobody to track, so a job is done by the recovery alone; all else is as with videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans import stages
from fourd_humans.batch.jobs import Job
from fourd_humans.batch.records import Record
from fourd_humans.batch.scheduling import Progress, run_jobs
from fourd_humans.batch.work import Outcome, Request, check_unchanged, loaded
from fourd_humans.batch.workers import Worker
from fourd_humans.config import Config
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.text import read_json
from fourd_humans.people import Detections, Frame, TrackedFrame
from fourd_humans.results import ResultWriter, load_tracklets
from fourd_humans.tracking.buffer import empty_frame
from fourd_humans.video.images import read_image

IMAGES_OF_A_JOB = 32

# Images with the (N, 4) boxes of their people, xyxy pixels.
Boxes = Sequence[NDArray[np.floating]]


def recover_boxes(
    images: Sequence[Path],
    boxes: Boxes,
    output: Path,
    config: Config,
    *,
    workers: Sequence[Worker] = (),
    on_tick: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[TrackedFrame]:
    """The bodies of people whose boxes are given, image by image, without tracking.

    boxes: for each image the (N, 4) xyxy pixels of its people. A person's id is the number of the box in its image,
    from 1; people whom the recovery rejects are missing.
    output: a folder for the jobs: their images and boxes, their records and their results. A run that was interrupted
    goes on where it was, and several runs share the work.
    workers: who does the jobs; by default this process.
    Raises: UsageError where `output` has jobs of another run; FourDHumansError where a job fails, as where an image
    cannot be read.
    """
    jobs = _make_jobs(images, boxes, output)
    request = Request(config, retry_failed=True)
    try:
        check_unchanged(jobs, request)
    except UsageError as error:
        raise UsageError(f"{output} holds a run with other settings or data; choose another --output folder") from error
    outcomes = run_jobs(jobs, request, workers, make_pipeline=make_recovery, perform=recover_job, on_tick=on_tick)
    _check(outcomes)
    for job in jobs:
        yield from load_tracklets(job.file(".pkl"))


def make_recovery(config: Config) -> stages.Recovery:
    """The recovery alone of a configuration."""
    device = stages.choose_device(config)
    return stages.make_recovery(config, stages.make_body_model(config, device), device)


def recover_job(job: Job, request: Request, make: Callable[[Config], Any], record: Record, *, resume: bool) -> None:
    """Do one job, whose source names images and boxes; `work.perform` for these jobs."""
    recover = loaded(make, request.config)
    document = read_json(job.source)
    paths, boxes = document["images"], document["boxes"]
    numbers = range(document["first"], document["first"] + len(paths))
    record.total = len(paths)
    frames = [Frame(i, 0.0, f"{i:08d}", read_image(Path(path))) for i, path in zip(numbers, paths, strict=True)]
    with ResultWriter(job.file(".pkl"), overwrite=True) as writer:
        for frame in _recovered(recover, frames, [np.reshape(each, (-1, 4)) for each in boxes]):
            writer.write(frame)
            record.frames, record.people = record.frames + 1, record.people + len(frame)


def _make_jobs(images: Sequence[Path], boxes: Boxes, output: Path) -> list[Job]:
    """Jobs whose sources are files that say which images and boxes they are of; those of an earlier run stay."""
    folder = output / "boxes"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for first in range(0, len(images), IMAGES_OF_A_JOB):
        chosen = slice(first, first + IMAGES_OF_A_JOB)
        document = {
            "first": first,
            "images": [str(image.resolve()) for image in images[chosen]],
            "boxes": [np.asarray(each, np.float32).tolist() for each in boxes[chosen]],
        }
        name = f"part_{first // IMAGES_OF_A_JOB:05d}"
        source, text = folder / f"{name}.boxes", json.dumps(document)
        if not source.exists() or source.read_text(encoding="utf-8") != text:
            source.write_text(text, encoding="utf-8")
        jobs.append(Job(source, output, name))
    return jobs


def _check(outcomes: Sequence[Outcome]) -> None:
    if failed := [outcome for outcome in outcomes if outcome.state not in ("done", "skipped")]:
        raise FourDHumansError(f"{len(failed)} of {len(outcomes)} jobs failed: {failed[0].error}")


def _recovered(recover: stages.Recovery, frames: Sequence[Frame], boxes: Boxes) -> Iterator[TrackedFrame]:
    given = [
        Detections(np.asarray(each, np.float32), np.ones(len(each), np.float32), annotations=list(range(len(each))))
        for each in boxes
    ]
    for frame, (kept, bodies) in zip(frames, recover(frames, given), strict=True):
        ids = 1 + np.array(kept.annotations, np.int64)
        empty, seen = empty_frame(frame, bodies.shape_space), np.zeros_like(ids)
        yield replace(empty, ids=ids, time_since_seen=seen, detections=kept, bodies=bodies, detected=len(ids))
