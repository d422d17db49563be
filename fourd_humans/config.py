"""All settings as one object: those of every stage, read from YAML and from ``key=value``.

`default_config` gives the settings of a model; ``configs/*.yaml`` are the same written out. Each stage's folder has its
own settings (``detection/settings.py`` and so on); here are those of the chain itself. Stages get their settings from
`stages` and never see the whole.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from fourd_humans.appearance.settings import AppearanceSettings
from fourd_humans.detection.settings import AnyDetectorSettings, MoveNetSettings, ViTDetSettings
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.text import parse_yaml, read_yaml
from fourd_humans.motion.settings import MotionSettings
from fourd_humans.recovery.settings import AnyRecoverySettings, HMR2Settings, LandmarkSettings
from fourd_humans.rendering.settings import RenderSettings
from fourd_humans.settings import DEVICE, Number, Settings, deep_update, explain, nested, short, split_list
from fourd_humans.tracking.settings import TrackingSettings


class CameraSettings(Settings):
    """The camera that filmed: at most one of the three; with none, the released code's 5000/256·max(H, W) pixels."""

    focal_length: Annotated[Number, Field(ge=1, le=1e7)] | None = None
    """Pixels of the full frame."""
    field_of_view: Annotated[Number, Field(ge=0.01, le=179.9)] | None = None
    """Degrees across the longer side."""
    intrinsics: Annotated[tuple[Number, ...], BeforeValidator(split_list), Field(min_length=9, max_length=9)] | None = (
        None
    )
    """The 3x3 intrinsic matrix, row by row: 9 numbers."""
    use_metadata: bool = True
    """With none of these, use the focal length in the file's EXIF or QuickTime tags, where there is one."""
    motion: bool = True
    """Tell from the background whether the camera stands still, rotates or moves."""

    @model_validator(mode="after")
    def _one_camera(self) -> CameraSettings:
        given = [n for n in ("focal_length", "field_of_view", "intrinsics") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"takes one of {', '.join(given)}, not several")
        if self.intrinsics is not None:
            from fourd_humans.geometry.camera import intrinsics_from

            try:
                intrinsics_from((1, 1), matrix=self.intrinsics)
            except UsageError as error:
                raise ValueError(f"is wrong: {error}") from error
        return self


class VideoSettings(Settings):
    """How videos are read, see `video.video_file.open_video`."""

    hwaccel: Annotated[str, Field(pattern=r"^[a-z0-9]{2,20}$")] | None = None
    """Device that decodes videos where PyAV and the machine offer it: cuda, vaapi, videotoolbox; null: the CPU."""


class ShotSettings(Settings):
    """Where one shot ends and the next begins, see `video.cuts.CutDetector`."""

    detect: bool = True
    """Look for cuts."""
    threshold: Annotated[Number, Field(ge=0, le=255)] = 27.0
    """Mean change of a pixel, 0 to 255, from which on it is a cut."""


class ResultsSettings(Settings):
    """What the result file holds in addition, see `results.store`."""

    textures: bool = False
    """Every person's texture map, a megabyte each."""


class Config(Settings):
    """Everything that can be set."""

    model: Literal["lite", "paper"] = "lite"
    """lite or paper: whose defaults these are, and whether installed files of the published system are used."""
    device: Annotated[str, Field(pattern=DEVICE)] = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    video: VideoSettings = VideoSettings()
    camera: CameraSettings = CameraSettings()
    detection: AnyDetectorSettings = MoveNetSettings()
    recovery: AnyRecoverySettings = LandmarkSettings()
    appearance: AppearanceSettings = AppearanceSettings()
    motion: MotionSettings = MotionSettings()
    tracking: TrackingSettings = TrackingSettings()
    shots: ShotSettings = ShotSettings()
    render: RenderSettings = RenderSettings()
    results: ResultsSettings = ResultsSettings()


def default_config(model: Literal["lite", "paper"] = "lite") -> Config:
    """The settings of a model: `lite` needs no download, `paper` is the published system."""
    if model == "lite":
        return Config()
    return Config(
        model="paper", detection=ViTDetSettings(), recovery=HMR2Settings(), motion=MotionSettings(refine=False)
    )


def read_settings(path: Path | str) -> dict[str, Any]:
    """The nested settings in a YAML file, not checked yet.

    Raises: UsageError naming the file, for what is too large, not YAML, or not a mapping.
    """
    try:
        loaded = read_yaml(path)
    except FourDHumansError as error:
        raise UsageError(f"the configuration cannot be read: {error}") from error
    if not isinstance(loaded or {}, dict):
        raise UsageError(f"the configuration {path} must be a mapping such as 'tracking: {{max_age: 60}}'")
    return loaded or {}


def load_config(path: Path | str, base: Config | None = None) -> Config:
    """`base` with what the YAML file says on top; without a base, the defaults of the model that the file names.

    Raises: UsageError naming the file, for what cannot be read, unknown settings and wrong values.
    """
    changes = read_settings(path)
    try:
        return merge(base or default_config("paper" if changes.get("model") == "paper" else "lite"), changes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Each ``section.key=value`` in one nested mapping, the later ones winning; values are read as YAML.

    Raises: UsageError for what is not of that form.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, as in tracking.max_age=60, not '{short(setting)}'")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise UsageError(f"--set {short(key)}: '{short(text)}' cannot be read as a value") from error
        changes = deep_update(changes, nested(key.strip().split("."), value))
    return changes


def apply_settings(config: Config, settings: Iterable[str]) -> Config:
    """`config` with each ``section.key=value`` applied; values are read as YAML, so ``[a, b]`` and ``null`` work.

    Raises: UsageError for an unknown key (with the nearest known one) or a wrong value.
    """
    return merge(config, parse_settings(settings))


def merge(base: Config, changes: Mapping[str, Any]) -> Config:
    """`base` with the nested mapping `changes` on top. Where another backend is chosen, its own defaults apply.

    Raises: UsageError for an unknown setting, one that the chosen backend does not have, and a wrong value.
    """
    data = base.model_dump()
    if changes.get("model", base.model) != base.model:
        _validated(changes)  # which says if it is no model at all
        raise UsageError(
            f"'model' is {base.model} here and cannot be changed to {short(changes['model'])}: "
            f"choose it with --model, or default_config in Python"
        )
    for key, value in changes.items():
        group = data.get(str(key))
        if not isinstance(group, dict):
            data[str(key)] = value
        elif not isinstance(value, Mapping):
            first = next(iter(group))
            raise UsageError(f"'{key}' is a group of settings: give one of them, as in {key}.{first}=…")
        else:
            another = "backend" in group and value.get("backend", group["backend"]) != group["backend"]
            data[key] = dict(value) if another else deep_update(group, value)
    return _validated(data)


def to_yaml(config: Config, *, comments: bool = False) -> str:
    """The whole configuration as YAML text that `load_config` reads back; with `comments`, each setting's meaning."""
    if not comments:
        return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return "".join(f"{line}\n" for line in _commented(config))


def keys(config: Settings | type[Settings], prefix: str = "") -> list[str]:
    """Every setting of this configuration, dotted."""
    found = []
    for name in config.model_fields if isinstance(config, type) else type(config).model_fields:
        value = getattr(config, name, None)
        found += keys(value, f"{prefix}{name}.") if isinstance(value, Settings) else [f"{prefix}{name}"]
    return found


def _commented(settings: Settings, indent: str = "") -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield f"{indent}{name}:"
            yield from _commented(value, f"{indent}  ")
        else:
            plain = settings.model_dump(mode="json")[name]
            text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
            yield f"{indent}{name}: {text}  # {field.description}"


def _validated(data: Mapping[str, Any]) -> Config:
    try:
        return Config.model_validate(dict(data))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first, location = errors[0], list(errors[0]["loc"])
        backend = None
        if len(location) > 1 and location[1] in _backends().get(str(location[0]), {}):
            backend = str(location.pop(1))
        if first["type"] in ("extra_forbidden", "invalid_key"):
            raise UsageError(_unknown(".".join(map(str, location)), backend)) from error
        known, names = set(_known()), [".".join(map(str, location[: i + 1])) for i in range(len(location))]
        name = next((name for name in names if name in known), names[-1])
        if name != names[-1] and isinstance(location[-1], str):  # a setting with several kinds of values
            errors = [e for e in errors if e["loc"][:-1] == first["loc"][:-1]]
        else:
            errors = [first]
        raise UsageError(explain(errors, name)) from error


def _backends() -> dict[str, dict[str, type[Settings]]]:
    """For each group that has them, the settings of each backend."""
    unions = {"detection": AnyDetectorSettings, "recovery": AnyRecoverySettings}
    return {
        group: {kind.model_fields["backend"].default: kind for kind in get_args(get_args(union)[0])}
        for group, union in unions.items()
    }


def _known() -> list[str]:
    """Every setting of every backend, dotted."""
    known = [key for key in keys(Config()) if key.partition(".")[0] not in _backends()]
    known += [f"{group}.{key}" for group, kinds in _backends().items() for kind in kinds.values() for key in keys(kind)]
    return list(dict.fromkeys(known))


def _unknown(name: str, backend: str | None) -> str:
    """What to say of a setting that does not exist: whose it is, which one is like it, or which ones there are."""
    name = name[:100]
    group = name.partition(".")[0]
    of_group = {
        other: [f"{group}.{key}" for key in kind.model_fields] for other, kind in _backends().get(group, {}).items()
    }
    owners = [other for other, known in of_group.items() if name in known]
    if backend and owners:
        return f"'{name}' is a setting of {' and '.join(owners)}, and {group}.backend is {backend}"
    known = [key for key in _known() if not backend or not key.startswith(f"{group}.")]
    known += of_group.get(backend or "", [])
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not close or group in Config.model_fields:  # compare without the group, which alone makes them alike
        last = name.rsplit(".", 1)[-1]
        like = {key: difflib.SequenceMatcher(None, key.rsplit(".", 1)[-1], last).ratio() for key in known}
        near = [key for key in close if like[key] > 0.5]
        close = near or [key for key in known if like[key] > 0.7]
    here = [key for key in known if key.startswith(f"{group}.")] or list(Config.model_fields)
    return f"there is no setting '{short(name)}'; " + (
        f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(here)}"
    )
