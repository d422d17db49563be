"""Results for other programs: a module per format, all from people in a stated world (`exports.world`)."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fourd_humans import checkpoints
from fourd_humans.body.loading import SMPL
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.exports.job import ExportJob, ExportOptions
from fourd_humans.exports.notices import notice
from fourd_humans.motion.level import LevelMode
from fourd_humans.tracklets import Tracklets
from fourd_humans.video.frames import Position, check_range, is_past

__all__ = ["FORMATS", "ExportOptions", "Format", "body_model_of", "check_formats", "choose_part", "export"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Format:
    """writer: ``module:function`` of this package, which takes an `ExportJob`. files: patterns of what it writes.

    use: what for. package: what it needs beside this package's own requirements, as (module, extra that installs it).
    has_body: whether the files hold the shape of the body, and so fall under the body's licence.
    """

    writer: str
    files: tuple[str, ...]
    use: str
    package: tuple[str, str] | None = None
    has_body: bool = True


TRIMESH = ("trimesh", "mesh")
FORMATS = {
    "glb": Format("glb:write", ("NAME.glb",), "everybody, skinned and animated: Blender, Unity, Unreal, browsers"),
    "usd": Format("usd:write", ("NAME.usd",), "the same: Omniverse, Houdini, Blender", ("pxr", "usd")),
    "bvh": Format("bvh:write", ("NAME_person_*.bvh",), "skeleton and motion: Blender, Maya, MotionBuilder"),
    "npz": Format("amass:write", ("NAME_person_*.npz",), "SMPL parameters in AMASS's layout"),
    "trc": Format("markers:write_trc", ("NAME_person_*.trc",), "markers: OpenSim"),
    "c3d": Format("markers:write_c3d", ("NAME_person_*.c3d",), "markers: biomechanics programs", ("ezc3d", "c3d")),
    "mot": Format("boxes:write_mot", ("NAME_mot.txt",), "boxes and identities as in MOTChallenge", has_body=False),
    "coco": Format("boxes:write_coco", ("NAME_coco.json",), "boxes, masks and 17 keypoints as in COCO", has_body=False),
    "csv": Format(
        "tables:write",
        ("NAME_joints.csv", "NAME_angles.csv", "NAME_positions.csv"),
        "tables: places of joints, their angles, places of people",
    ),
    "obj": Format("meshes:write_obj", ("NAME_[0-9]*.obj",), "meshes of single frames", TRIMESH),
    "ply": Format("meshes:write_ply", ("NAME_[0-9]*.ply",), "meshes of single frames", TRIMESH),
    "glb-static": Format("meshes:write_glb", ("NAME_[0-9]*.glb",), "meshes of single frames", TRIMESH),
    "phalp": Format("phalp:write", ("NAME_phalp.pkl", "NAME_frames"), "the released tracker's keys and no other"),
}


def check_formats(formats: Sequence[str], folder: Path | None = None, name: str = "", overwrite: bool = True) -> None:
    """Find out before any work whether formats can be written.

    folder, name: where to, and what the files' names begin with. overwrite: whether files may be replaced.
    Raises: UsageError for an unknown format, a package that is not installed, or a file that may not be replaced.
    """
    for format_ in formats:
        if format_ not in FORMATS:
            raise UsageError(f"there is no format '{format_}'; there are {', '.join(FORMATS)}")
        package = FORMATS[format_].package
        if package is not None and importlib.util.find_spec(package[0]) is None:
            raise UsageError(f"'{format_}' needs another package: pip install 'fourd-humans[{package[1]}]'")
        if folder is not None and not overwrite:
            for pattern in FORMATS[format_].files:
                for path in folder.glob(pattern.replace("NAME", glob.escape(name))):
                    raise UsageError(f"{path} exists; use --overwrite to replace it, or another --output folder")


def export(
    tracklets: Tracklets,
    formats: Sequence[str],
    output: Path | str,
    name: str,
    *,
    people: Sequence[int] | None = None,
    start: Position | None = None,
    end: Position | None = None,
    seen_only: bool = False,
    frame_rate: float | None = None,
    depth_scale: float | None = None,
    level: LevelMode = "auto",
    body_model: BodyModel | None = None,
    overwrite: bool = False,
    options: ExportOptions | None = None,
) -> list[Path]:
    """Write tracked people in some of `FORMATS`; returns the files.

    output: the folder, made where it is missing. name: what the files' names begin with.
    people: their ids; all by default. start, end: the part, ints counting the video's frames, floats its seconds, `end`
    itself left out. seen_only: leave out the frames in which a person was hidden and only predicted.
    frame_rate: to resample to, in formats with motion.
    level: "auto" puts people upright on a floor where the direction of gravity is certain enough, a number takes that
        pitch of the camera in degrees, "none" leaves the camera's frame (see `motion.level`).
    depth_scale: factor on people's distances from the camera, which leaves the camera's frame, too; by default as an
        ordinary lens would have them.
    body_model: that of the results; by default found by their `shape_space`.

    Raises: UsageError for an unknown format or person, where nobody is left, where a file exists, or where a package is
    missing that a format needs; FourDHumansError where the pictures asked for cannot be read.

    >>> tracklets = load_tracklets("outputs/walk.pkl")  # doctest: +SKIP
    >>> export(tracklets, ["glb", "bvh"], "outputs", "walk")  # doctest: +SKIP
    """
    folder = Path(output)
    check_formats(formats, folder, name, overwrite)
    chosen = choose_part(tracklets, people, start, end, seen_only)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another --output folder") from error
    job = ExportJob(
        tracklets=chosen,
        body_model=body_model or body_model_of(chosen),
        folder=folder,
        name=name,
        frame_rate=frame_rate,
        depth_scale=depth_scale,
        level=level,
        options=options or ExportOptions(),
    )
    for format_ in formats:
        module, _, function = FORMATS[format_].writer.partition(":")
        getattr(importlib.import_module(f"{__name__}.{module}"), function)(job)
    for note in job.notes:
        log.warning("%s", note)
    if job.body_model.shape_space == SMPL and any(FORMATS[format_].has_body for format_ in formats):
        path = folder / f"{name}_SMPL_NOTICE.txt"
        path.write_text(f"{notice(SMPL)}\n", encoding="utf-8")
        job.written.append(path)
    return job.written


def choose_part(
    tracklets: Tracklets,
    people: Sequence[int] | None,
    start: Position | None,
    end: Position | None,
    seen_only: bool = False,
) -> Tracklets:
    """These people in the part of the video from `start` to before `end`; see `export`.

    Raises: UsageError for a person or part that is not there, or where nobody is left.
    """
    check_range(start, end)
    if not len(tracklets.ids):
        raise UsageError(f"these results have nobody in their {len(tracklets)} frames: there is nothing to export")
    for id in people or ():
        if id not in tracklets.ids:
            raise UsageError(f"there is no person {id}; there are {', '.join(map(str, tracklets.ids))}")
    frames = [
        frame
        for frame in tracklets
        if (start is None or is_past(start, frame.index, frame.time)) and not is_past(end, frame.index, frame.time)
    ]
    if not frames:
        first, last = tracklets[0], tracklets[-1]
        raise UsageError(
            f"the part asked for has no frame: these results have frames {first.index} to {last.index}, "
            f"{first.time:.2f} to {last.time:.2f} seconds"
        )
    chosen = replace(tracklets, frames=frames)
    if people is not None:
        chosen = chosen.only(people)
    if seen_only:
        chosen = chosen.seen_only()
    if not len(chosen.ids):
        raise UsageError("none of the people asked for is in that part of the video: there is nothing to export")
    return chosen


def body_model_of(tracklets: Tracklets) -> BodyModel:
    """The body that the results are of, or where SMPL is not installed the open one, in its mean shape."""
    shape_spaces = {frame.bodies.shape_space for frame in tracklets if len(frame)}
    smpl = checkpoints.find("smpl") if SMPL in shape_spaces else None
    body_model = BodyModel.open_body() if smpl is None else BodyModel.from_file(smpl)
    if not shape_spaces <= {body_model.shape_space}:
        log.warning(
            "the body model of these results is not installed: poses are exported on the open body, in its mean shape"
        )
    return body_model
