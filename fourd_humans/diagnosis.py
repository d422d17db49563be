"""Checks of an installation: what works, what is missing, and what to do about it. Used by ``4dhumans doctor``."""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from fourd_humans import checkpoints
from fourd_humans.checkpoints.catalogue import ENTRIES, PAPER
from fourd_humans.checkpoints.store import SMPL, home, problems

MOVENET = "detection/data/movenet_multipose_lightning.onnx"
BLAZEPOSE = "recovery/landmarks/data/blazepose_landmark_full.onnx"
BUILT_IN = {  # checksums of the networks that come with the package
    MOVENET: "56275edf8014fc3eaf76217c70108571062d29fc9254ae08b444260efd601c42",
    BLAZEPOSE: "35837b9c7e472dfc23b32754d61f84f47bafcbf4b0bd181c45c1189fd7fc382c",
}
REINSTALL = "install the package again, with its dependencies: pip install --force-reinstall"
GIGABYTES = 8  # of free disk that the paper model's files need while they are installed


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    status: ``ok``; ``missing``: needed for something optional; or ``broken``: needed by the built-in model.
    found: what was detected. advice: what to do about it, if anything.
    """

    name: str
    status: Literal["ok", "missing", "broken"]
    found: str
    advice: str | None = None


def diagnose() -> Iterator[Finding]:
    """Run all checks, one finding after another. Nothing is raised: an exception in a check is a finding."""
    for name, check in _CHECKS.items():
        try:
            yield from check()
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            yield Finding(name, "broken", f"{type(error).__name__}: {text}", REINSTALL)


def _python() -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _libraries() -> Iterator[Finding]:
    import torch

    yield Finding("PyTorch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    import onnxruntime

    yield Finding("onnxruntime", "ok", f"{onnxruntime.__version__}, {', '.join(onnxruntime.get_available_providers())}")
    import cv2

    both = [name for name in ("opencv-python", "opencv-python-headless") if _has(name)]
    advice = "keep one: pip uninstall opencv-python opencv-python-headless; pip install opencv-python-headless"
    yield Finding("OpenCV", "ok", f"{cv2.__version__} ({' and '.join(both)})", advice if len(both) > 1 else None)


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            free, total = torch.cuda.mem_get_info(number)
            found = f"{properties.name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, CUDA {torch.version.cuda}"
            yield Finding("GPU", "ok", found)
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple's, through MPS")
    else:
        why = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no usable NVIDIA driver"
        advice = "the built-in model needs none; the paper model takes several seconds per person on the CPU"
        yield Finding("GPU", "missing", why, advice)


def _codecs() -> Iterator[Finding]:
    """Whether H.264, the format of every video written here, can be written and read."""
    import av

    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in (0, 80, 160):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r") as container:
        shades = [int(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    good = len(shades) == 3 and np.allclose(shades, (0, 80, 160), atol=8)
    status: Literal["ok", "broken"] = "ok" if good else "broken"
    yield Finding("Video", status, f"PyAV {av.__version__}, H.264 written and read", None if good else REINSTALL)


def _built_in() -> Iterator[Finding]:
    package = Path(str(files("fourd_humans")))
    for name, checksum in BUILT_IN.items():
        path = package / name
        if not path.is_file():
            yield Finding("Built-in model", "broken", f"{path} is missing", REINSTALL)
        elif hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            yield Finding("Built-in model", "broken", f"{path} has changed", REINSTALL)
        else:
            yield Finding("Built-in model", "ok", path.name)


def _bodies() -> Iterator[Finding]:
    import torch

    from fourd_humans.body.model import BodyModel

    def check(body: BodyModel) -> str:
        identity = torch.eye(3).expand(1, 24, 3, 3)
        joints = body.joints(identity[:, :1], identity[:, 1:], torch.zeros(1, 10))
        if not torch.isfinite(joints).all():
            raise ValueError("its joints are not finite")
        return f"{len(body.v_template)} vertices, {joints.shape[1]} joints"

    yield Finding("Open body", "ok", check(BodyModel.open_body()))
    path = checkpoints.find(SMPL)
    if path is None:
        advice = "for --model paper: register with its licensor, then: 4dhumans models add-smpl FILE"
        yield Finding("SMPL", "missing", "not installed", advice)
        return
    try:
        yield Finding("SMPL", "ok", f"{path}, {check(BodyModel.from_file(path))}")
    except Exception as error:
        yield Finding("SMPL", "missing", str(error), "add it again: 4dhumans models add-smpl FILE")


def _downloads() -> Iterator[Finding]:
    for name, entry in ENTRIES.items():
        advice = f"4dhumans models download {name}"
        if not checkpoints.installed(name):
            if name in PAPER:
                yield Finding(name, "missing", f"not installed ({entry.title})", f"for --model paper: {advice}")
            continue
        wrong = problems(name)
        if wrong:
            yield Finding(name, "missing", "; ".join(wrong), f"{advice} --force")
        else:
            yield Finding(name, "ok", f"as it was installed ({entry.title})")


def _disk() -> Iterator[Finding]:
    folder = next(path for path in (home(), *home().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    advice = f"the paper model's files need about {GIGABYTES} GB; set FOURD_HUMANS_HOME to a folder on a larger disk"
    yield Finding("Disk", "ok", f"{free:.0f} GB free for {home()}", advice if free < GIGABYTES else None)


def _self_test() -> Iterator[Finding]:
    """The built-in model on a random image."""
    import torch

    from fourd_humans.config import default_config
    from fourd_humans.people import Detections, Frame
    from fourd_humans.stages import make_body_model, make_detector, make_recovery

    config, cpu = default_config("lite"), torch.device("cpu")
    detect = make_detector(config, cpu)
    recover = make_recovery(config, make_body_model(config, cpu), cpu)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    frame = Frame(0, 0.0, "000000", image)
    start = time.perf_counter()
    detect([frame])
    person = Detections(np.array([[80, 20, 240, 230]], np.float32), np.ones(1, np.float32))
    recover([frame], [person])
    seconds = time.perf_counter() - start
    yield Finding("Self test", "ok", f"detection and recovery ran in {seconds:.1f} s")


def _has(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


_CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "Python": _python,
    "Libraries": _libraries,
    "GPU": _gpu,
    "Video": _codecs,
    "Built-in model": _built_in,
    "Bodies": _bodies,
    "Downloads": _downloads,
    "Disk": _disk,
    "Self test": _self_test,
}
