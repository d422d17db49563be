"""What every format's writer is given: whom to export, where to, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fourd_humans.body.model import BodyModel
from fourd_humans.exports.world import Motion, Scene, World, make_scene
from fourd_humans.motion.level import LevelMode
from fourd_humans.tracklets import Tracklets
from fourd_humans.video.frames import Source


@dataclass(frozen=True)
class ExportOptions:
    """What single formats can do beside their defaults.

    weights: joints a vertex may follow (glb). pose_shapes: SMPL's pose-dependent shapes as blend shapes (glb, usd).
    layout: of the poses (npz). frames: numbers of the frames to write (obj, ply, glb-static); by default the one with
    the most people. pictures: the video whose frames are to be written beside the pickle and named in it (phalp).
    openpose: 2D keypoints in ``extra_data``, as SLAHMR reads them (phalp).
    """

    weights: Literal[4, 8] = 4
    pose_shapes: bool = False
    layout: Literal["smpl", "smplh", "smplx"] = "smpl"
    frames: tuple[int, ...] = ()
    pictures: Source | None = None
    openpose: bool = False


@dataclass
class ExportJob:
    """One export. written: the files made so far. notes: what the user should know of them, each once."""

    tracklets: Tracklets
    body_model: BodyModel
    folder: Path
    name: str
    frame_rate: float | None = None
    depth_scale: float | None = None
    level: LevelMode = "none"
    options: ExportOptions = field(default_factory=ExportOptions)
    written: list[Path] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def scene(self, world: World) -> Scene:
        scene = make_scene(self.tracklets, self.body_model, world, self.frame_rate, self.depth_scale, self.level)
        self.notes.update(dict.fromkeys(scene.notes))
        return scene

    def new_file(self, ending: str, motion: Motion | None = None) -> Path:
        """A file to write: ``NAME_person_1.bvh`` for a person and ".bvh", ``NAME_joints.csv`` for "_joints.csv"."""
        path = self.folder / f"{self.name}{'' if motion is None else f'_{motion.name}'}{ending}"
        self.written.append(path)
        return path
