"""The files of weights that a configuration loads: which it needs, and which it uses where they are installed."""

from __future__ import annotations

from pathlib import Path

from fourd_humans import checkpoints
from fourd_humans.body.loading import OPEN_BODY, SMPL
from fourd_humans.body.model import OPEN_BODY_FILE
from fourd_humans.config import Config
from fourd_humans.detection.movenet import WEIGHTS as MOVENET
from fourd_humans.errors import UsageError
from fourd_humans.motion.checkpoint import BUILT_IN
from fourd_humans.recovery.landmarks.network import WEIGHTS as BLAZEPOSE
from fourd_humans.settings import short

FILE_SETTINGS = (
    ("detection", "checkpoint"),
    ("detection", "boxes"),
    ("recovery", "checkpoint"),
    ("recovery", "bodies"),
    ("appearance", "encoder"),
    ("motion", "checkpoint"),
)


def require_models(config: Config) -> None:
    """Check that the files exist that the configuration names or needs, before any work.

    Raises: UsageError for a file in the settings that does not exist, or listing all model files that are missing.
    """
    missing = []
    detection, recovery = config.detection, config.recovery
    for group, name in FILE_SETTINGS:
        file = getattr(getattr(config, group), name, None)
        if file is not None and not Path(file).is_file():
            raise UsageError(f"'{group}.{name}': there is no file {short(file)}")
    needs_vitdet = detection.backend in ("vitdet", "detectron2") and not detection.checkpoint
    if needs_vitdet and not checkpoints.installed("vitdet-h"):
        missing.append("ViTDet-H (4dhumans models download vitdet-h, or --set detection.checkpoint=FILE, or --boxes)")
    needs_hmr2 = recovery.backend == "hmr2" and not recovery.checkpoint
    if needs_hmr2 and not (checkpoints.installed("hmr2b") or checkpoints.installed("hmr2a")):
        missing.append("HMR 2.0 (4dhumans models download hmr2b, or --set recovery.checkpoint=FILE)")
    if missing:
        raise UsageError(f"the {config.model} model needs weights that are not installed: {'; '.join(missing)}")


def texture_encoder(config: Config, shape_space: str) -> tuple[Path | str | None, str]:
    """The file of the texture encoder to use, or None to compare colours; and what it lacks to be used, or "".

    The encoder was trained on the released layout of SMPL's texture: without SMPL and that layout it means nothing.

    shape_space: of the body model.
    """
    encoder = config.appearance.encoder
    if config.model != "paper":
        return None, "--model paper" if encoder is not None else ""
    needed = {
        "texture-encoder": encoder is not None or checkpoints.installed("texture-encoder"),
        "smpl-texture": checkpoints.installed("smpl-texture"),
    }
    missing = [f"{name} (4dhumans models download {name})" for name, is_there in needed.items() if not is_there]
    missing += [] if shape_space == SMPL else ["SMPL (4dhumans models add-smpl FILE)"]
    return (None if missing else encoder or checkpoints.find("texture-encoder")), ", ".join(missing)


def weight_files(config: Config) -> dict[str, Path]:
    """The files of weights that the configuration's stages load, by what they are for."""
    paper = config.model == "paper"
    smpl = checkpoints.find("smpl") if paper else None
    hmr2 = checkpoints.find("hmr2b") or checkpoints.find("hmr2a")
    by_backend = {
        "movenet": MOVENET, "precomputed": None, "vitdet": checkpoints.find("vitdet-h"),
        "detectron2": checkpoints.find("vitdet-h"), "landmarks": BLAZEPOSE, "hmr2": hmr2,
    }  # fmt: skip
    files: dict[str, Path | str | None] = {
        stage: getattr(settings, "checkpoint", None) or by_backend[settings.backend]
        for stage, settings in (("detection", config.detection), ("recovery", config.recovery))
    }
    files["appearance"], _ = texture_encoder(config, SMPL if smpl else OPEN_BODY)
    if config.motion.predictor != "hold":
        released = checkpoints.find("pose-predictor") if paper else None
        files["motion"] = config.motion.checkpoint or released or BUILT_IN
    files["body"] = smpl or OPEN_BODY_FILE
    return {name: Path(file) for name, file in files.items() if file is not None}
