"""Data sets on disk: tars, or an npz with its pictures; which there are in a folder, and how often each is drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.npz import read_npz
from fourd_humans.files.text import read_yaml
from fourd_humans.training.hmr2.annotations import PersonAnnotation, checked, without_duplicates
from fourd_humans.training.hmr2.tars import SAMPLES_OF_A_TAR, Sample, read_tar

DESCRIPTION = "datasets.yaml"
TARS = "dataset_tars"  # the folder of data sets in the released training data
MOCAP = ("cmu_mocap.npz", "mocap.npz")  # may lie beside the data sets
BESIDE = {
    "mocap": MOCAP, "encoder": ("vitpose_backbone.pth",), "mean_params": ("smpl_mean_params.npz",),
    "pose_histogram": ("amass_poses_hist100_SMPL+H_G.npy",),
}  # fmt: skip
HELD_OUT = ("-val", "_val")  # how the names of data sets to validate on end
Shard = Path | Sequence[tuple[str, Sequence[PersonAnnotation]]]


@dataclass(frozen=True)
class DataSet:
    """Pictures with annotated people, in parts that are read one after the other.

    weight: how often a person of it is drawn, relative to other data sets. tars: of the released layout; or npz: a file
    of the layout that is used for evaluation, and images: the folder that its ``imgname`` start from.
    """

    name: str
    weight: float = 1.0
    tars: tuple[Path, ...] = ()
    npz: Path | None = None
    images: Path | None = None

    @cached_property
    def shards(self) -> Sequence[Shard]:
        """The tars, or the pictures of the npz in parts. Raises: FourDHumansError where the npz cannot be read."""
        if self.npz is None:
            return self.tars
        pictures = list(read_npz_people(self.npz).items())
        return [pictures[i : i + SAMPLES_OF_A_TAR] for i in range(0, len(pictures), SAMPLES_OF_A_TAR)]

    def read(self, shard: Shard, *, masks: bool = False) -> Iterator[Sample]:
        """The samples of one of the shards. Raises: FourDHumansError naming the file that cannot be read."""
        if isinstance(shard, Path):
            yield from read_tar(shard, masks=masks)
            return
        assert self.npz is not None
        for name, people in shard:
            path = (self.images or self.npz.parent) / name
            try:
                image = path.read_bytes()
            except OSError as error:
                raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
            yield Sample(name, image, people, source=self.npz)

    def samples(self, *, masks: bool = False) -> Iterator[Sample]:
        """All of them, in order."""
        for shard in self.shards:
            yield from self.read(shard, masks=masks)


def find_data_sets(path: Path) -> list[DataSet]:
    """The data sets at a path: a tar, an npz, a folder of tars, a folder of such folders, or what a YAML file lists.

    A folder with one called `TARS`, as the released training data, stands for that.

    The YAML file, `DESCRIPTION` where a folder is given, has for each name a `path`, relative to the file, a `weight`,
    and for an npz `images`. Without one all data sets are drawn equally often.
    Raises: UsageError where there is nothing of the kind.
    """
    if path.suffix in (".yaml", ".yml"):
        return _described(path)
    if (path / DESCRIPTION).is_file():
        return _described(path / DESCRIPTION)
    found = _data_set(path, path.stem)
    if found is None and (path / TARS).is_dir():
        return find_data_sets(path / TARS)
    if found is None and path.is_dir():
        parts = sorted(part for part in path.iterdir() if part.is_dir() or part.suffix == ".npz")
        several = [part for part in (_data_set(p, p.stem) for p in parts) if part is not None]
        if several:
            return several
    if found is None:
        raise UsageError(f"{path} holds no data set: it has no tars, no folders with tars, and no {DESCRIPTION}")
    return [found]


def files_beside(path: Path) -> dict[str, Path]:
    """What else of the released training data lies in a folder of data sets: motion capture, weights, a histogram."""
    files = [(what, path / name) for what, names in BESIDE.items() for name in reversed(names)]
    return {what: file for what, file in files if file.is_file()}


def split_held_out(data_sets: Sequence[DataSet]) -> tuple[list[DataSet], list[DataSet]]:
    """Those to train on, and those whose names say that they are for validation."""
    held_out = [data_set for data_set in data_sets if data_set.name.lower().endswith(HELD_OUT)]
    return [data_set for data_set in data_sets if data_set not in held_out], held_out


def _data_set(path: Path, name: str, weight: float = 1.0, images: Path | None = None) -> DataSet | None:
    if path.is_dir() and (tars := tuple(sorted(path.glob("*.tar")))):
        return DataSet(name, weight, tars)
    if path.is_file() and path.suffix == ".tar":
        return DataSet(name, weight, (path,))
    if path.is_file() and path.suffix == ".npz" and path.name not in (*MOCAP, *BESIDE["mean_params"]):
        return DataSet(name, weight, npz=path, images=images)
    return None


def _described(path: Path) -> list[DataSet]:
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"{path} lists no data sets")
    found = []
    for name, entry in content.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
            raise UsageError(f"{path}: '{name}' has no path")
        if unknown := set(entry) - {"path", "weight", "images"}:
            raise UsageError(f"{path}: '{name}' has an unknown {', '.join(map(str, sorted(unknown)))}")
        weight, images = entry.get("weight", 1.0), entry.get("images")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise UsageError(f"{path}: the weight of '{name}' must be a positive number, not {weight!r}")
        folder = None if images is None else path.parent / str(images)
        data_set = _data_set(path.parent / entry["path"], str(name), float(weight), folder)
        if data_set is None:
            raise UsageError(f"{path}: there are no tars, and no npz, at {path.parent / entry['path']}")
        found.append(data_set)
    return found


_ROWS = {
    "body_pose": (72,), "betas": (10,), "has_body_pose": (), "has_betas": (), "body_keypoints_2d": (25, 3),
    "extra_keypoints_2d": (19, 3), "body_keypoints_3d": (25, 4), "extra_keypoints_3d": (19, 4),
}  # fmt: skip


def read_npz_people(path: Path) -> dict[str, list[PersonAnnotation]]:
    """The people in each picture of an npz file of the layout of the released evaluation, whose boxes are in pixels.

    Raises: FourDHumansError naming the file and what is wrong with it.
    """
    arrays = read_npz(path, ("imgname", "center", "scale", *_ROWS))
    if missing := {"imgname", "center", "scale"} - set(arrays):
        raise FourDHumansError(f"{path} lacks {', '.join(sorted(missing))}, which files of this layout have")
    names = [text.decode() if isinstance(text, bytes) else str(text) for text in arrays["imgname"].ravel()]
    count = len(names)
    rows = {name: _rows(arrays.get(name), name, (count, *shape), path) for name, shape in _ROWS.items()}
    scale = np.asarray(arrays["scale"], np.float32).reshape(count, -1) if arrays["scale"].size else np.zeros((0, 1))
    center = _rows(arrays["center"], "center", (count, 2), path)
    sizes = _rows(np.broadcast_to(scale, (count, 2)) if scale.shape[1] in (1, 2) else scale, "scale", (count, 2), path)
    people: dict[str, list[PersonAnnotation]] = defaultdict(list)
    for i, name in enumerate(names):
        person = PersonAnnotation(
            center=center[i],
            box_size=sizes[i],
            keypoints_2d=np.concatenate([rows["body_keypoints_2d"][i], rows["extra_keypoints_2d"][i]]),
            keypoints_3d=without_duplicates(
                np.concatenate([rows["body_keypoints_3d"][i], rows["extra_keypoints_3d"][i]])
            ),
            body_pose=rows["body_pose"][i],
            betas=rows["betas"][i],
            has_body_pose=bool(rows["has_body_pose"][i]),
            has_betas=bool(rows["has_betas"][i]),
        )
        try:
            people[name].append(checked(person))
        except ValueError as error:
            raise FourDHumansError(f"{path}, person {i}: {error}") from error
    return dict(people)


def _rows(values: Any, name: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float32]:
    """Of an array of the file; zeros where it has none."""
    if values is None:
        return np.zeros(shape, np.float32)
    if values.size != np.prod(shape) or len(values) != shape[0] or values.dtype.kind not in "fiub":
        raise FourDHumansError(f"{path}: its {name} {values.shape} is not {shape}")
    return np.array(values, np.float32).reshape(shape)
