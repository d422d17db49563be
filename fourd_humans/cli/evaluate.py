"""``4dhumans evaluate``: measures results, or a model, against ground truth."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fourd_humans.cli.track import MODEL_HELP, configuration
from fourd_humans.errors import FourDHumansError, UsageError

if TYPE_CHECKING:
    from fourd_humans.config import Config
    from fourd_humans.evaluation.datasets.people import AnnotatedPeople
    from fourd_humans.evaluation.datasets.sequences import TrackingSequence
    from fourd_humans.evaluation.tracking import TrackingScores
    from fourd_humans.evaluation.tracks import SequenceScores

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_EXISTING = click.Path(exists=True, path_type=Path)
ELSEWHERE = ("motion", "recoveries")  # commands in modules of their own
POSE_DATASETS = ("3dpw", "3dpw-npz", "h36m-p2")
KEYPOINT_DATASETS = ("lsp-extended", "coco", "posetrack", "coco-json", "posetrack-json")


class _Group(click.Group):
    """Knows some commands by name; their modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *ELSEWHERE]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in ELSEWHERE:
            module = importlib.import_module(f"fourd_humans.cli.evaluate_{name}")
            command: click.Command = getattr(module, f"{name}_command")
            return command
        return super().get_command(ctx, name)


@click.group(cls=_Group)
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def evaluate(ctx: click.Context, verbose: bool) -> None:
    """Measure results, or a model, against ground truth.

    Every command prints a table, and writes it to OUTPUT/NAME.json and .csv with the settings, the revision and the
    versions it was made with. Definitions, published figures and layouts of datasets: docs/evaluation.md.
    """
    ctx.meta["verbose"] = verbose


def _outputs(command: _Command) -> _Command:
    command = click.option("-o", "--output", type=_PATH, default=Path("outputs/evaluation"), show_default=True,
                           metavar="DIR", help="Folder for the reports, and what a model finds.")(command)  # fmt: skip
    return click.option("--name", metavar="NAME", help="What to call the report.  [default: task and dataset]")(command)


def _models(command: _Command) -> _Command:
    """Options of the model to run where no predictions are given."""
    options = (
        click.option("--model", type=click.Choice(["lite", "paper", "auto"]), help=MODEL_HELP),
        click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]"),
        click.option("--config", "config_file", type=_PATH, metavar="FILE", help="Settings as YAML."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting. Repeat for more."),
        click.option("--predictions", type=_EXISTING, metavar="PATH", help="What to measure.  [default: run a model]"),
        click.option("--jobs", type=click.IntRange(min=1), metavar="N",
                     help="Worker processes of the model.  [default: none but this]"),
    )  # fmt: skip
    for option in options:
        command = option(command)
    return command


@evaluate.command()
@click.argument("dataset", type=click.Choice(POSE_DATASETS))
@click.argument("folder", type=_EXISTING)
@_models
@click.option("--joints", type=click.Choice(["14", "24"]), help="The 14 common joints, or SMPL's 24.  [default: 14]")
@click.option("--root", type=click.Choice(["pelvis", "hips"]), default="pelvis", show_default=True,
              help="What MPJPE aligns: the pelvis joint, or the middle of the hips.")  # fmt: skip
@click.option("--split", default="test", show_default=True, help="Of 3DPW's sequences.")
@click.option("--smpl", nargs=2, type=_EXISTING, metavar="MALE FEMALE",
              help="SMPL's male and female files, for the 14 joints and the meshes of 3DPW's sequences.")  # fmt: skip
@click.option("--images", type=_EXISTING, metavar="DIR", help="Where the images lie.  [default: with the dataset]")
@click.option("--completed", is_flag=True, help="In result files, hidden people who were filled in count too.")
@click.option("--allow-missing", is_flag=True, help="Measure what is there where people have no prediction.")
@_outputs
def pose(dataset: str, folder: Path, predictions: Path | None, joints: str | None, root: Any, split: str,
         smpl: tuple[Path, Path] | None, images: Path | None, completed: bool, allow_missing: bool, jobs: int | None,
         output: Path, name: str | None, **model: Any) -> None:  # fmt: skip
    """MPJPE and PA-MPJPE (and PVE and acceleration, where the data has them) in mm.

    \b
    DATASET is 3dpw (FOLDER has sequenceFiles and imageFiles), or 3dpw-npz or h36m-p2 (FOLDER has
    the released evaluation's 3dpw_test.npz or h36m_val_p2.npz).
    --predictions is an npz with joints_3d (N, 14, 24, 44 or 45, 3) metres in the dataset's order,
    or for 3dpw a folder of result files, SEQUENCE.pkl.
    """
    from fourd_humans.evaluation.datasets.hmr2_npz import FILES
    from fourd_humans.evaluation.datasets.three_dpw import read_3dpw
    from fourd_humans.evaluation.joint_errors import pose_errors

    if dataset == "3dpw":
        bodies = _gendered(smpl) if smpl else None
        needs_meshes = predictions is not None and predictions.suffix == ".npz" and _has_vertices(predictions)
        people = read_3dpw(folder, split, bodies, vertices=needs_meshes and bodies is not None)
        count = int(joints or (24 if smpl is None else 14))
        if images is not None:
            people = _with_folder(people, images)
    else:
        people = _released(folder, FILES[dataset.removesuffix("-npz")], dataset, images)
        count = int(joints or 14)
    found, config = _predictions(people, predictions, completed, output / dataset, jobs, model)
    figures = pose_errors(people, found, joints=count, root=root, partial=allow_missing)
    settings = {
        "dataset": dataset, "folder": folder, "predictions": predictions, "split": split, "joints": count, "root": root,
        "completed": completed, "allow_missing": allow_missing, "configuration": config,
    }  # fmt: skip
    row = {"dataset": dataset, "joints": count, **_whole_counts(figures)}
    _finish(
        f"3D pose on {dataset}, mm", [row], settings, _left_out(people.left_out), output / (name or f"pose-{dataset}")
    )


@evaluate.command()
@click.argument("dataset", type=click.Choice(KEYPOINT_DATASETS))
@click.argument("folder", type=_EXISTING)
@_models
@click.option("--threshold", "thresholds", type=click.FloatRange(min=0, min_open=True), multiple=True,
              default=(0.05, 0.1), show_default=True, help="Of the size. Repeat for more.")  # fmt: skip
@click.option("--size", type=click.Choice(["box", "crop", "image"]), default="box", show_default=True,
              help="The annotated box's longer side, the square crop's side, or the image's longer side.")  # fmt: skip
@click.option("--split", default=None, help="[default: val2017 of COCO, val of PoseTrack]")
@click.option("--images", type=_EXISTING, metavar="DIR", help="Where the images lie.  [default: with the dataset]")
@click.option("--allow-missing", is_flag=True, help="People without a prediction count as wrong instead of stopping.")
@_outputs
def keypoints(dataset: str, folder: Path, predictions: Path | None, thresholds: tuple[float, ...], size: Any,
              split: str | None, images: Path | None, allow_missing: bool, jobs: int | None, output: Path,
              name: str | None, **model: Any) -> None:  # fmt: skip
    """PCK of 2D keypoints: the share that lies near enough to where it is.

    \b
    DATASET is lsp-extended, coco or posetrack (FOLDER has the released evaluation's npz), or
    coco-json or posetrack-json (FOLDER has the dataset's own annotations).
    --predictions is an npz with keypoints_2d (N, joints, 2) pixels in the dataset's order.
    """
    from fourd_humans.evaluation.datasets.coco import read_coco_keypoints
    from fourd_humans.evaluation.datasets.hmr2_npz import FILES
    from fourd_humans.evaluation.datasets.posetrack import read_posetrack_people
    from fourd_humans.evaluation.joint_errors import keypoint_figures

    if dataset == "coco-json":
        people = read_coco_keypoints(folder, split or "val2017")
    elif dataset == "posetrack-json":
        people = read_posetrack_people(folder, split or "val")
    else:
        people = _released(folder, FILES[dataset], dataset, images)
    people = _with_folder(people, images) if images is not None else people
    found, config = _predictions(people, predictions, False, output / dataset, jobs, model)
    figures, results = keypoint_figures(people, found, thresholds=thresholds, size=size, partial=allow_missing)
    settings = {
        "dataset": dataset, "folder": folder, "predictions": predictions, "size": size, "thresholds": thresholds,
        "allow_missing": allow_missing, "configuration": config,
        "joints": {f"{r.threshold:g}": r.joints.tolist() for r in results},
    }  # fmt: skip
    report = output / (name or f"keypoints-{dataset}")
    row = {"dataset": dataset, **_whole_counts(figures)}
    _finish(f"2D keypoints on {dataset}", [row], settings, _left_out(people.left_out), report)


@evaluate.command()
@click.argument("dataset", type=click.Choice(["mot", "posetrack"]))
@click.argument("folder", type=_EXISTING)
@_models
@click.option("--split", default="val", show_default=True, help="Of PoseTrack.")
@click.option("--sequence", "chosen", multiple=True, metavar="NAME", help="Only this sequence. Repeat for more.")
@click.option("--completed", is_flag=True, help="In result files, hidden people who were filled in count too.")
@click.option("--protocol", type=click.Choice(["motchallenge", "phalp"]), default="motchallenge", show_default=True,
              help="phalp: as the published figures of PHALP and 4DHumans were made.")  # fmt: skip
@click.option("--recovery", "recoveries", multiple=True, nargs=2, metavar="NAME DIR",
              help="Compare recoveries: track with the bodies in DIR/SEQUENCE.pkl or .npz, and everything else as "
                   "configured. Repeat for each recovery.")  # fmt: skip
@_outputs
def tracking(dataset: str, folder: Path, predictions: Path | None, split: str, chosen: tuple[str, ...],
             completed: bool, protocol: Any, jobs: int | None, recoveries: tuple[tuple[str, str], ...], output: Path,
             name: str | None, **model: Any) -> None:  # fmt: skip
    """HOTA, MOTA, IDF1 and identity switches, in percent but for the counts.

    \b
    DATASET is mot (FOLDER has SEQUENCE/gt/gt.txt) or posetrack (FOLDER has annotations/SPLIT/*.json,
    18 or 21). --predictions is a folder with SEQUENCE.pkl (our results), .txt (MOT) or .json
    (PoseTrack), or one such file. Without it a model is run over the images; sequences that are
    done in OUTPUT are not done again. With --recovery the table has a row for each recovery.
    """
    from fourd_humans.evaluation.datasets.mot import read_mot_sequences
    from fourd_humans.evaluation.datasets.posetrack import read_posetrack_sequences
    from fourd_humans.evaluation.tracks import read_results, results_file, score_sequence, total

    sequences = read_mot_sequences(folder) if dataset == "mot" else read_posetrack_sequences(folder, split)
    if unknown := set(chosen) - {sequence.name for sequence in sequences}:
        raise UsageError(f"{folder} has no sequence {', '.join(sorted(unknown))}")
    sequences = [sequence for sequence in sequences if not chosen or sequence.name in chosen]
    if predictions is not None and predictions.is_file() and len(sequences) > 1:
        raise UsageError(f"{folder} has {len(sequences)} sequences: give a folder of results, or --sequence")
    if recoveries and predictions is not None:
        raise UsageError("--recovery runs the tracker, and --predictions are tracked already: give one of them")
    if len(dict(recoveries)) < len(recoveries):
        raise UsageError("each recovery needs a name of its own")

    def score(results: Path) -> tuple[list[SequenceScores], SequenceScores]:
        files = [(sequence, results_file(results, sequence)) for sequence in sequences]
        scored = [score_sequence(s, read_results(file, s, completed=completed), protocol) for s, file in files]
        return scored, total(scored, protocol)

    config = None
    results = output / f"tracking-{dataset}"
    if predictions is None:
        from fourd_humans.config import to_yaml

        used = configuration(**model)
        config = to_yaml(used)
        for recovery, bodies in recoveries:
            _same_run(results / recovery, f"{config}# {recovery}: {bodies}\n")
            _track_sequences(sequences, used, results / recovery, jobs, Path(bodies))
        if not recoveries:
            _same_run(results, config)
            _track_sequences(sequences, used, results, jobs)
    else:
        _refuse_model_options(model)
        results = predictions
    if recoveries:
        overalls = [(recovery, score(results / recovery)[1]) for recovery, _ in recoveries]
        rows, overall = [_tracking_row("recovery", recovery, one.scores) for recovery, one in overalls], overalls[0][1]
    else:
        scored, overall = score(results)
        parts = [*scored, overall] if len(scored) > 1 else scored
        rows = [_tracking_row("sequence", part.name, part.scores) for part in parts]
    settings = {
        "dataset": dataset, "folder": folder, "predictions": results, "sequences": [s.name for s in sequences],
        "completed": completed, "protocol": protocol, "configuration": config,
        "recoveries": [list(recovery) for recovery in recoveries],
    }  # fmt: skip
    notes = _left_out(overall.left_out)
    if overall.scores.ignored:
        notes.append(f"{overall.scores.ignored} results lie in parts that are not annotated and do not count")
    if overall.no_size:
        notes.append(f"{overall.no_size} results have a box without size and count as false")
    _finish(f"Tracking on {dataset}", rows, settings, notes, output / (name or f"tracking-{dataset}"))


@evaluate.command()
@click.argument("folder", type=_EXISTING)
@click.option("--predictions", type=_EXISTING, required=True, metavar="CSV",
              help="Rows of video, timestamp, x1, y1, x2, y2, action, score.")  # fmt: skip
@click.option("--split", default="val", show_default=True)
@click.option("--truth", type=_EXISTING, metavar="CSV", help="Ground truth.  [default: ava_SPLIT_v2.2.csv in FOLDER]")
@click.option("--labels", type=_EXISTING, metavar="PBTXT",
              help="The classes that count.  [default: FOLDER's list of actions, or our list of AVA's 60]")  # fmt: skip
@click.option("--exclude", type=_EXISTING, metavar="CSV", help="Timestamps that do not count.  [default: FOLDER's]")
@_outputs
def actions(folder: Path, predictions: Path, split: str, truth: Path | None, labels: Path | None, exclude: Path | None,
            output: Path, name: str | None) -> None:  # fmt: skip
    """AVA's frame mAP at IoU 0.5, over all classes, for each group of them and for each class."""
    from fourd_humans.evaluation.actions import evaluate_actions, read_boxes
    from fourd_humans.evaluation.datasets.ava import read_ava

    data = read_ava(folder, split, truth=truth, labels=labels, exclude=exclude)
    names = data.classes.by_number
    detections, ignored = read_boxes(predictions, names, scored=True)
    kept = {key: boxes for key, boxes in detections.items() if key not in data.excluded}
    found = evaluate_actions(data.truth, kept, names, data.classes.groups)
    rows: list[dict[str, str | float | int]] = [{"group": "all", "class": "", "AP": found.mean}]
    rows += [{"group": group, "class": "", "AP": value} for group, value in found.groups.items()]
    group_of = {number: group for group, members in data.classes.groups.items() for number in members}
    rows += [
        {"group": group_of.get(number, ""), "class": names[number], "AP": value}
        for number, value in found.average_precision.items()
    ]
    notes = [
        f"{count} {what}"
        for count, what in (
            (len(found.missing), f"classes never occur in the ground truth and have no AP: "
                                 f"{', '.join(names[c] for c in found.missing)}"),
            (found.unannotated, "frames with predictions have no ground truth and do not count"),
            (len(detections) - len(kept), "frames with predictions are excluded by the dataset"),
            (data.ignored, "rows of the ground truth are of classes that are not evaluated"),
            (ignored, "predictions are of classes that are not evaluated"),
        )
        if count
    ]  # fmt: skip
    settings = {"folder": folder, "predictions": predictions, "truth": truth, "labels": labels, "exclude": exclude}
    _finish("Actions on AVA: average precision at IoU 0.5", rows, settings, notes, output / (name or "actions-ava"))


def _gendered(files: tuple[Path, Path]) -> dict[str, Any]:
    """SMPL's male and female models, with the joints that the evaluation is defined on."""
    from fourd_humans.body.loading import EXTRA_JOINTS_FILE, read_extra_joints
    from fourd_humans.body.model import BodyModel

    for file in files:
        if not read_extra_joints(file.parent):
            raise UsageError(f"the 14 joints are defined by {EXTRA_JOINTS_FILE}, which is not beside {file}")
    return {gender: BodyModel.from_file(file) for gender, file in zip("mf", files, strict=True)}


def _released(folder: Path, files: tuple[str, ...], name: str, images: Path | None) -> AnnotatedPeople:
    from fourd_humans.evaluation.datasets.files import first_existing
    from fourd_humans.evaluation.datasets.hmr2_npz import read_released

    path = folder if folder.is_file() else first_existing(folder, files, "the released evaluation's annotations")
    return read_released(path, name, images)


def _with_folder(people: AnnotatedPeople, images: Path) -> AnnotatedPeople:
    return replace(people, folder=images)


def _has_vertices(path: Path) -> bool:
    import zipfile

    return zipfile.is_zipfile(path) and "vertices.npy" in zipfile.ZipFile(path).namelist()


def _predictions(
    people: AnnotatedPeople,
    path: Path | None,
    completed: bool,
    work: Path,
    jobs: int | None,
    model: Mapping[str, Any],
) -> tuple[Any, str | None]:
    """From the file or folder given, or else by running the model; with the configuration that this took."""
    from fourd_humans import stages, weights
    from fourd_humans.batch.boxes import IMAGES_OF_A_JOB, recover_boxes
    from fourd_humans.batch.workers import local_workers
    from fourd_humans.cli.batch import Board
    from fourd_humans.config import apply_settings, to_yaml
    from fourd_humans.evaluation.predictions import from_given_boxes, images_of, match_results, read_arrays

    if path is not None and path.suffix == ".npz":
        _refuse_model_options(model)
        return read_arrays(path, people), None
    config: Config = configuration(**model)
    if path is None:
        config = apply_settings(config, ["detection.backend=precomputed"])  # the dataset's boxes
        weights.require_models(config)
    body_model = stages.make_body_model(config, stages.choose_device(config))
    if path is not None:
        return match_results(path, people, body_model, completed=completed), to_yaml(config)
    indices = images_of(people)
    images, boxes = [people.folder / image for image in indices], [people.boxes[rows] for rows in indices.values()]
    with Board(-(-len(images) // IMAGES_OF_A_JOB)) as board:
        workers = local_workers(jobs) if jobs else []
        frames = recover_boxes(images, boxes, work, config, workers=workers, on_tick=board)
        return from_given_boxes(people, frames, body_model), to_yaml(config)


def _tracking_row(what: str, name: str, scores: TrackingScores) -> dict[str, str | float | int]:
    return {
        what: name, "HOTA": 100 * scores.hota, "DetA": 100 * scores.deta, "AssA": 100 * scores.assa,
        "MOTA": 100 * scores.mota, "IDF1": 100 * scores.idf1, "switches": scores.switches, "missed": scores.missed,
        "false": scores.false, "people": scores.people, "frames": scores.frames,
    }  # fmt: skip


def _track_sequences(
    sequences: Sequence[TrackingSequence], config: Config, output: Path, workers: int | None, bodies: Path | None = None
) -> None:
    """Track the sequences' images into ``output/NAME.pkl`` as `track` does many sources.

    bodies: a folder with the bodies of each sequence, NAME.pkl or NAME.npz, to use instead of a recovery's.
    """
    from fourd_humans.batch.jobs import Job
    from fourd_humans.batch.scheduling import run_jobs
    from fourd_humans.batch.work import Request, work
    from fourd_humans.batch.workers import local_workers
    from fourd_humans.cli.batch import Board
    from fourd_humans.config import merge

    if missing := [sequence.name for sequence in sequences if sequence.images is None]:
        raise UsageError(f"the images of {len(missing)} sequences are not there, such as {missing[0]}'s")
    jobs = [Job(sequence.images, output, sequence.name) for sequence in sequences if sequence.images is not None]
    request = Request(config, retry_failed=True)
    if bodies is not None:
        files = [_bodies_file(bodies, job.name) for job in jobs]  # all are there before the first is worked on
        chosen = [{"recovery": {"backend": "precomputed", "bodies": str(file)}} for file in files]
        outcomes = [work(job, replace(request, config=merge(config, c))) for job, c in zip(jobs, chosen, strict=True)]
    else:
        with Board(len(jobs)) as board:
            outcomes = run_jobs(jobs, request, local_workers(workers) if workers else [], on_tick=board)
    if failed := [outcome for outcome in outcomes if outcome.state not in ("done", "skipped")]:
        raise FourDHumansError(f"{len(failed)} of {len(jobs)} sequences failed: {failed[0].error}")


def _bodies_file(folder: Path, name: str) -> Path:
    for file in (folder / f"{name}.pkl", folder / f"{name}.npz"):
        if file.is_file():
            return file
    raise UsageError(f"{folder} has neither {name}.pkl nor {name}.npz with the bodies of that sequence")


def _refuse_model_options(model: Mapping[str, Any]) -> None:
    if any(model.values()):
        raise UsageError("--predictions are evaluated as they are: --model, --device, --config and --set do not apply")


def _same_run(folder: Path, config: str) -> None:
    """Make the folder of a run over sequences, or check that it is one with the same settings."""
    kept = folder / "configuration.yaml"
    if kept.exists() and kept.read_text(encoding="utf-8") != config:
        raise UsageError(f"{folder} holds a run with other settings; choose another --output folder")
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(config, encoding="utf-8")


def _whole_counts(figures: Mapping[str, float]) -> dict[str, float | int]:
    counts = ("people", "without annotation", "not predicted")
    return {key: int(value) if key in counts else value for key, value in figures.items()}


def _left_out(reasons: Mapping[str, int]) -> list[str]:
    return [f"left out by the dataset's rules: {count} {reason}" for reason, count in reasons.items() if count]


def _finish(title: str, rows: Any, settings: Mapping[str, Any], notes: list[str], path: Path) -> None:
    from fourd_humans.evaluation.report import Report

    report = Report(title, rows, settings, notes)
    report.show()
    files = report.save(path)
    click.echo(f"written to {files[0]} and {files[1].name}")
