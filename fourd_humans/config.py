"""All settings as one nested dataclass: typed, with its defaults here, read from YAML and from ``key=value``.

`default_config` gives the settings of a model; ``configs/*.yaml`` are the same written out.
Modules never see this object: `pipeline` hands each stage the arguments it needs.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from fourd_humans.errors import UsageError


@dataclass(frozen=True)
class CameraConfig:
    """The camera that filmed. At most one of the three; with none, the released code's 5000/256·max(H, W) pixels."""

    focal_length: float | None = None  # pixels of the full frame
    field_of_view: float | None = None  # degrees, across the longer side
    intrinsics: tuple[float, ...] | None = None  # the 3x3 matrix, row by row: 9 numbers


@dataclass(frozen=True)
class DetectionConfig:
    """Which people are looked for."""

    backend: str = "movenet"  # movenet (lite), vitdet (paper), detectron2, given
    batch_size: int = 4
    checkpoint: str | None = None
    boxes: str | None = None  # file for `given`
    score_threshold: float = 0.15
    nms_threshold: float = 0.6
    min_width: float = 0.0  # pixels of the full frame
    min_height: float = 0.0
    image_size: int = 448  # longer side that the detector sees
    category: int = 0  # COCO class looked for, 0..79, 0 being people (vitdet, detectron2)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # (vitdet)
    compile: bool = False  # (vitdet)


@dataclass(frozen=True)
class RecoveryConfig:
    """How bodies are recovered from the boxes."""

    backend: str = "landmarks"  # landmarks (lite), hmr2 (paper)
    batch_size: int | None = None  # people at once; null: what fits into the GPU's free memory (hmr2)
    checkpoint: str | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    antialias: bool = False


@dataclass(frozen=True)
class AppearanceConfig:
    """How two people's looks are compared."""

    encoder: str | None = None  # checkpoint of the released texture encoder; None compares texels directly


@dataclass(frozen=True)
class MotionConfig:
    """How poses are predicted ahead and filled in."""

    predictor: Literal["transformer", "hold"] = "transformer"
    checkpoint: str | None = None  # of the transformer; None: the released one where `paper` has it, else the built-in
    complete: bool = True


@dataclass(frozen=True)
class TrackingConfig:
    """PHALP' settings; the numbers are the released tracker's."""

    history: int = 7  # observations that a track remembers
    max_age: int = 50  # frames that a person may be hidden before the track ends
    min_hits: int = 5  # frames in a row before a new person is believed
    threshold: float = 100.0  # cost above which a detection is never given to a track
    texture_mixing: float = 0.1  # how much a new look changes a track's texture, times the score squared
    pose_distance_limit: float = 1.5  # the largest squared pose distance that counts


@dataclass(frozen=True)
class ShotsConfig:
    """Where a cut is seen."""

    detect: bool = True
    threshold: float = 27.0


@dataclass(frozen=True)
class RenderConfig:
    """What the rendered video shows."""

    views: tuple[str, ...] = ("overlay",)  # overlay, side, top
    supersample: int = 2  # samples per pixel and direction
    alpha: float = 0.85  # opacity of the bodies
    depth_scale: float | None = None  # factor on depths in the side and top views; None: an ordinary lens's depths
    quality: int = 23  # H.264 constant rate factor: lower is better and larger


@dataclass(frozen=True)
class ResultsConfig:
    """What the result file holds beside the usual."""

    textures: bool = False  # every person's texture map: a megabyte each


@dataclass(frozen=True)
class Config:
    """Everything that can be set."""

    model: Literal["lite", "paper"] = "lite"
    device: str = "auto"
    camera: CameraConfig = field(default_factory=CameraConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    appearance: AppearanceConfig = field(default_factory=AppearanceConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    results: ResultsConfig = field(default_factory=ResultsConfig)


def default_config(model: Literal["lite", "paper"] = "lite") -> Config:
    """The settings of a model: `lite` needs no download, `paper` is the published system."""
    if model == "lite":
        return Config()
    return Config(
        model="paper",
        detection=DetectionConfig(
            backend="vitdet", score_threshold=0.8, nms_threshold=0.5, min_width=50, min_height=100, image_size=1024
        ),
        recovery=RecoveryConfig(backend="hmr2"),
    )


def load_config(path: Path | str, base: Config) -> Config:
    """`base` with what the YAML file says on top.

    Raises: UsageError naming the file, for what is not YAML, not a mapping, or has unknown keys or wrong types.
    """
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the configuration {path}: {' '.join(str(error).split())}") from error
    if not isinstance(loaded or {}, dict):
        raise UsageError(f"the configuration {path} must be a mapping such as 'tracking: {{max_age: 60}}'")
    try:
        return merge(base, loaded or {})
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def apply_settings(config: Config, settings: Iterable[str]) -> Config:
    """`config` with each ``section.key=value`` applied; values are read as YAML, so ``[a, b]`` and ``null`` work.

    Raises: UsageError for an unknown key (with the nearest known one) or a value of the wrong type.
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, as in tracking.max_age=60, not '{setting}'")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {key}: '{text}' cannot be read as a value") from error
        nested: Any = value
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        config = merge(config, nested)
    return config


def merge(config: Any, changes: Mapping[str, Any], _path: str = "") -> Any:
    """A copy of the dataclass `config` with the nested mapping `changes` applied, checked against the fields' types."""
    hints = get_type_hints(type(config))
    new: dict[str, Any] = {}
    for key, value in changes.items():
        where = f"{_path}{key}"
        if key not in hints:
            raise UsageError(f"there is no setting '{where}'{_nearest(where, config, _path)}")
        current = getattr(config, key)
        if is_dataclass(current):
            if not isinstance(value, Mapping):
                raise UsageError(
                    f"'{where}' is a group of settings: give one of them, as in {where}.{_first(current)}=…"
                )
            new[key] = merge(current, value, f"{where}.")
        else:
            new[key] = _convert(value, hints[key], where)
    return replace(config, **new)


def to_yaml(config: Config) -> str:
    """The whole configuration as YAML text that `load_config` reads back."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def keys(config: Any, prefix: str = "") -> list[str]:
    """Every settable key, dotted."""
    found = []
    for f in fields(config):
        value = getattr(config, f.name)
        found += keys(value, f"{prefix}{f.name}.") if is_dataclass(value) else [f"{prefix}{f.name}"]
    return found


def _nearest(where: str, config: Any, prefix: str) -> str:
    known = keys(Config())
    close = difflib.get_close_matches(where, known, n=1, cutoff=0.5)
    if not close:  # a right name in the wrong or no group
        name = where.rsplit(".", 1)[-1]
        close = [key for key in known if difflib.SequenceMatcher(None, key.rsplit(".", 1)[-1], name).ratio() > 0.7][:1]
    return f"; did you mean '{close[0]}'?" if close else f"; known here: {', '.join(keys(config, prefix))}"


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the annotated type; numbers may widen, nothing else is guessed."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), where)
    if origin is Literal:
        if value in arguments:
            return value
        raise UsageError(f"'{where}' must be one of {', '.join(map(str, arguments))}, not '{value}'")
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else str(value).split(",")
        return tuple(_convert(item, arguments[0], where) for item in items)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    if type(value) is hint:
        return value
    raise UsageError(f"'{where}' takes a value of type {hint.__name__}, not '{value}'")


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML's safe form knows."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _first(config: Any) -> str:
    return fields(config)[0].name
