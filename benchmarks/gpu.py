"""Everything that is to be measured of the paper model on a GPU, in one command that takes less than 8 minutes.

    python benchmarks/gpu.py --output gpu.json              # on a machine with a CUDA GPU
    python benchmarks/gpu.py --small --output small.json    # small networks, to try this program on a CPU
    python benchmarks/gpu.py --compile --no-tests           # also with torch.compile, which takes minutes more
    python benchmarks/gpu.py --table gpu.json               # the tables again

1. All tests that need a GPU. 2. The whole chain on synthetic 1080p frames, with rendering and results, for 1, 3 and 10
people: frames a second, of each stage as well, how much of the time the GPU computes, operations a second and their
share of what the card reaches in one large matrix product, and memory. 3. Beside it, in the same process, a
straightforward chain: float32, one frame and one person at a time, attention written out, masks pasted over the whole
frame, one step after the other. 4. The chain again with the detector's heads in float16. 5. How bfloat16 and float32 on
the GPU differ from float32 on the CPU.

Weights are random: the networks run at full size on what they are given, and boxes of people who move about take the
place of the detections. Needs no video library, so frames are not decoded, and the rendered ones not encoded.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
from hmr2 import plain_attention
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from vitdet import PlainAttention, backbone_operations, matrix_throughput, set_form

from fourd_humans import stages
from fourd_humans.appearance.distance import EncoderDistance
from fourd_humans.appearance.encoder import TextureEncoder
from fourd_humans.body.model import BodyModel
from fourd_humans.config import Config, default_config
from fourd_humans.detection.settings import PrecomputedSettings
from fourd_humans.detection.vitdet.model import ViTDet
from fourd_humans.detection.vitdet.stage import ViTDetDetector, deferred_mask
from fourd_humans.devices import float32_convolutions
from fourd_humans.geometry.crops import crop_squares
from fourd_humans.motion.settings import MotionSettings
from fourd_humans.people import Bodies, Detections, Frame, Mask, TrackedFrame
from fourd_humans.pipeline import ObservedFrame, Pipeline
from fourd_humans.recovery.hmr2.crops import crop_people
from fourd_humans.recovery.hmr2.model import HMR2
from fourd_humans.recovery.hmr2.stage import HMR2Recovery
from fourd_humans.recovery.settings import LandmarkSettings
from fourd_humans.results import ResultWriter
from fourd_humans.video.frames import Source

ROOT = Path(__file__).parents[1]
PEOPLE = (1, 3, 10)
SECONDS = 420  # after which nothing new is begun
SMALL_DETECTOR = {
    "width": 32, "depth": 2, "heads": 2, "window_blocks": (0,), "image_size": 128, "channels": 8,
    "box_convolutions": (8,), "box_hidden": 16, "mask_convolutions": (8,),
}  # fmt: skip
SMALL_RECOVERY = {"encoder_dim": 64, "encoder_depth": 2, "encoder_heads": 4, "decoder_dim": 64, "decoder_depth": 1}


class Scene:
    """People who walk from side to side in front of noise, as a source and as what a detector finds there."""

    def __init__(self, people: int, size: tuple[int, int], count: int) -> None:
        self.people, self.size, self.count = people, size, count
        self.image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        rows, columns = np.ogrid[-1:1:28j, -1:1:28j]
        self.grid = (1.2 - rows**2 - columns**2).clip(0, 1).astype(np.float32)

    def boxes(self, index: int) -> NDArray[np.float32]:
        height, width = self.size
        h, w = 0.5 * height, 0.16 * height
        x = (np.arange(self.people) + 0.5) / self.people * (width - w) + 20 * np.sin(index / 20)
        y = 0.3 * height + 0.02 * height * np.cos(np.arange(self.people))
        return np.stack([x, y, x + w, y + h], 1).astype(np.float32)

    def detections(self, frame: Frame) -> Detections:
        boxes = self.boxes(frame.index)
        masks: list[Mask | None] = [deferred_mask(self.grid, box, frame.size) for box in boxes]
        return Detections(boxes, np.full(len(boxes), 0.95, np.float32), masks)

    def source(self) -> Source:
        def read(first: int = 0) -> Iterator[Frame]:
            for index in range(first, self.count):
                yield Frame(index, index / 30, f"{index:06d}", self.image)

        return Source(Path("synthetic"), "synthetic", self.size, 30.0, self.count, False, False, read)


class Networks:
    """ViTDet and HMR 2.0 with random weights, at full size from checkpoints that are made for it."""

    def __init__(self, small: bool, folder: Path) -> None:
        self.small, self.image_size = small, 128 if small else 1024
        self.frame_size = (180, 320) if small else (1080, 1920)
        torch.manual_seed(0)
        if small:
            self.vitdet, self.hmr2 = ViTDet(**SMALL_DETECTOR), HMR2(**SMALL_RECOVERY)  # type: ignore[arg-type]
            return
        write = runpy.run_path(str(ROOT / "bin" / "make_random_checkpoint.py"))["write"]
        write("vitdet-h", folder / "vitdet.pkl")
        write("hmr2", folder / "hmr2.ckpt")
        self.vitdet = ViTDetDetector.from_checkpoint(folder / "vitdet.pkl", "cpu").model  # type: ignore[assignment]
        self.hmr2 = HMR2.from_checkpoint(folder / "hmr2.ckpt")

    def operations(self, people: int) -> float:
        """Of a frame: in the encoders' matrix products, attention written out."""
        if self.small:
            return 0.0
        with torch.device("meta"):
            model, crop = HMR2(), torch.empty(1, 3, 256, 256)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(crop)
        return backbone_operations(32, self.image_size) + people * counter.get_total_flops()


def configuration(device: str) -> Config:
    """That of `paper`, with backends that need no files: the stages are made here."""
    return Config(
        model="paper",
        device=device,
        detection=PrecomputedSettings(batch_size=default_config("paper").detection.batch_size),
        recovery=LandmarkSettings(),
        motion=MotionSettings(refine=False),
    )


def our_chain(
    networks: Networks,
    scene: Scene,
    device: str,
    folder: Path,
    *,
    head_precision: Literal["float32", "float16"] = "float32",
    compile: bool = False,
) -> Callable[[Scene], dict[str, float]]:
    """What runs the chain on a scene, as `4dhumans track --render` does, and returns working seconds by stage."""
    config = configuration(device)
    vitdet, hmr2 = copy.deepcopy((networks.vitdet, networks.hmr2)) if compile else (networks.vitdet, networks.hmr2)
    detector = ViTDetDetector(
        vitdet, device, image_size=networks.image_size, head_precision=head_precision, compile=compile
    )
    current = [scene]

    def detect(frames: Sequence[Frame]) -> list[Detections]:
        detector(frames)
        return [current[0].detections(frame) for frame in frames]

    body_model = BodyModel.open_body()
    recovery = HMR2Recovery(hmr2, body_model, device, stages.make_intrinsics(config.camera), compile=compile)
    pipeline = Pipeline(config, detector=detect, recovery=recovery)
    pipeline.share_on = torch.device(device) if device.startswith("cuda") else None
    pipeline.appearance = stages.make_appearance(config, pipeline.body_model, torch.device(device))
    if not networks.small:
        pipeline.texture_distance = EncoderDistance(TextureEncoder(), device)
    renderer = stages.make_renderer(config, pipeline.body_model)

    def run(scene: Scene) -> dict[str, float]:
        current[0] = scene
        drawing = [0.0]

        def draw(frame: TrackedFrame) -> None:
            start = time.perf_counter()
            renderer.draw(scene.image, frame)
            drawing[0] += time.perf_counter() - start

        with (
            ResultWriter(folder / "ours.pkl", overwrite=True) as results,
            ThreadPoolExecutor(1) as writer,
            ThreadPoolExecutor(1) as drawer,
        ):
            begun = []
            for frame in pipeline.run(scene.source()):
                begun += [writer.submit(results.write, frame), drawer.submit(draw, frame)]
            for work in begun:
                work.result()
        return {**pipeline.seconds, "rendering": drawing[0]}

    return run


def straightforward_chain(
    networks: Networks, scene: Scene, device: str, folder: Path
) -> Callable[[Scene], dict[str, float]]:
    """The same results, one step after the other."""
    config = configuration(device)
    vitdet = copy.deepcopy(networks.vitdet)
    set_form(vitdet, PlainAttention)
    body_model = BodyModel.open_body()
    detect = ViTDetDetector(vitdet, device, image_size=networks.image_size, precision="float32", batch_size=1)
    recover = HMR2Recovery(
        networks.hmr2, body_model, device, stages.make_intrinsics(config.camera), precision="float32", batch_size=1
    )
    recover.sizes = ()
    pipeline = Pipeline(config, observing=False)
    if not networks.small:
        pipeline.texture_distance = EncoderDistance(TextureEncoder(), device, batch_size=1)
    appearance = stages.make_appearance(config, pipeline.body_model, torch.device("cpu"))
    renderer = stages.make_renderer(config, pipeline.body_model)

    def run(scene: Scene) -> dict[str, float]:
        seconds = dict.fromkeys(("detection", "recovery", "appearance", "tracking", "rendering"), 0.0)

        def timed(stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
            start = time.perf_counter()
            result = work(*arguments)
            seconds[stage] += time.perf_counter() - start
            return result

        def detected(frame: Frame) -> Detections:
            detect([frame])
            found = scene.detections(frame)
            return replace(found, masks=[over_the_frame(scene.grid, box, frame.size, device) for box in found.boxes])

        def recovered(frame: Frame, found: Detections) -> Bodies:
            with mock.patch("torch.nn.functional.scaled_dot_product_attention", plain_attention):
                ((_, bodies),) = recover([frame], [found])
            with torch.inference_mode():  # the whole mesh, as the released code has it made
                parameters = (bodies.global_orient, bodies.body_pose, bodies.betas)
                recover.body_model(*(torch.from_numpy(p).to(device) for p in parameters)).vertices.cpu()
            return bodies

        def finish(final: Sequence[TrackedFrame]) -> None:
            for frame in final:
                results.write(frame)
                timed("rendering", renderer.draw, scene.image, frame)

        source = scene.source()
        tracking = pipeline.tracking(source)
        with ResultWriter(folder / "straightforward.pkl", overwrite=True) as results:
            for frame in source:
                assert isinstance(frame, Frame)
                found = timed("detection", detected, frame)
                bodies = timed("recovery", recovered, frame, found)
                (bodies,) = timed("appearance", appearance, [frame], [found], [bodies])
                finish(timed("tracking", tracking.update, ObservedFrame(frame, detections=found, bodies=bodies)))
            finish(timed("tracking", tracking.finish))
        return seconds

    return run


def over_the_frame(grid: NDArray[np.float32], box: NDArray[np.float32], size: tuple[int, int], device: str) -> Mask:
    """A mask sampled at every pixel of the frame."""
    y, x = torch.meshgrid(*(torch.arange(n, device=device) + 0.5 for n in size), indexing="ij")
    x1, y1, x2, y2 = box.tolist()
    places = torch.stack([(x - x1) / (x2 - x1) * 2 - 1, (y - y1) / (y2 - y1) * 2 - 1], -1)
    sampled = functional.grid_sample(torch.from_numpy(grid).to(device)[None, None], places[None], align_corners=False)
    return Mask.from_full((sampled[0, 0] >= 0.5).cpu().numpy())


def measure(run: Callable[[Scene], dict[str, float]], scene: Scene, device: str) -> dict[str, Any]:
    """Frames a second of a run, and of each stage by its own working time; memory in GiB."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    seconds = run(scene)
    wall = time.perf_counter() - start
    result: dict[str, Any] = {
        "frames": scene.count,
        "frames_per_second": scene.count / wall,
        "stages": {stage: scene.count / max(taken, 1e-9) for stage, taken in seconds.items()},
    }
    if device.startswith("cuda"):
        result["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        result["reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
    return result


def busy_share(run: Callable[[Scene], dict[str, float]], scene: Scene) -> float:
    """The share of a run's time in which the GPU computes or copies anything."""
    start = time.perf_counter()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run(scene)
        torch.cuda.synchronize()
        wall = time.perf_counter() - start
    events = [e for e in profile.events() or () if e.device_type == torch.autograd.DeviceType.CUDA]
    return union([(e.time_range.start, e.time_range.end) for e in events]) * 1e-6 / wall


def union(spans: Sequence[tuple[float, float]]) -> float:
    """The length that spans cover together."""
    covered, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


@torch.inference_mode()
def differences(networks: Networks, device: str) -> dict[str, dict[str, float]]:
    """Of the device's answers from those of the CPU in float32, by precision.

    features: of ViTDet, mean difference over mean size; boxes, in pixels, and scores: after its cascade in float32 from
    a hundred given proposals. Of HMR 2.0, whose readout is scaled so that 6D numbers vary by 0.3: rotations in degrees,
    joints in mm, camera without a unit. The mean and the largest.
    """
    size, scene = networks.image_size, Scene(3, networks.frame_size, 1)
    corners = torch.rand(1, 100, 2, generator=torch.Generator().manual_seed(0)) * size * 0.7
    proposals = torch.cat([corners, corners + size * 0.3], -1)
    picture = torch.from_numpy(scene.image[:size, :size]).permute(2, 0, 1).float()
    crops = crop_people(scene.image, *crop_squares(scene.boxes(0)))
    hmr2, body_model = copy.deepcopy(networks.hmr2).cpu(), BodyModel.open_body()
    readout = hmr2.smpl_head.decpose
    token = hmr2.smpl_head.transformer(hmr2.backbone(crops[..., 32:-32]))
    readout.weight.mul_(0.3 / (token @ readout.weight.T).std())

    def answers(device: str, dtype: torch.dtype) -> tuple[list[torch.Tensor], list[torch.Tensor], Any]:
        vitdet, recovery = copy.deepcopy(networks.vitdet).to(device), copy.deepcopy(hmr2).to(device)
        with float32_convolutions(), torch.autocast(device, dtype, enabled=dtype != torch.float32):
            features = [level.float() for level in vitdet.features([picture.to(device)], size)]
            bodies = recovery(crops.to(device), copy.deepcopy(body_model).to(device))
        with float32_convolutions():
            sizes = torch.full((1, 2), float(size), device=device)
            found = vitdet.roi_heads(features, proposals.to(device), sizes)
        return [level.cpu() for level in features], [values.cpu() for values in found], bodies

    features, (boxes, scores), exact = answers("cpu", torch.float32)
    result = {}
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for name, dtype in kinds.items():
        ours, (our_boxes, our_scores), found = answers(torch.device(device).type, dtype)
        relative = [((a - b).abs().mean() / b.abs().mean()).item() for a, b in zip(ours, features, strict=True)]
        distance = (exact.body_pose - found.body_pose.cpu()).flatten(-2).norm(dim=-1)  # 2 √2 sin(angle / 2)
        angle = torch.rad2deg(2 * torch.arcsin((distance / 8**0.5).clamp(max=1)))
        joints = 1000 * (found.joints.cpu() - exact.joints).norm(dim=-1)
        camera = (found.camera_crop.cpu() - exact.camera_crop).abs()
        differing = {
            "box": (our_boxes - boxes).abs(), "score": (our_scores - scores).abs(),
            "rotation": angle, "joint": joints, "camera": camera,
        }  # fmt: skip
        result[name] = {"features": max(relative)} | {
            f"{what} {kind}": getattr(values, kind)().item()
            for what, values in differing.items()
            for kind in ("mean", "max")
        }
    return result


def run_tests() -> dict[str, Any]:
    """The counts of the tests that need a GPU. Test files that need what is not installed here count as errors.

    Raises: RuntimeError where no test was run, as without pytest.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--continue-on-collection-errors", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|errors?|skipped)", done.stdout)}
    if not counts:
        raise RuntimeError((done.stderr or done.stdout).strip() or f"pytest ended with {done.returncode}")
    return {**counts, "failures": re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.M)[:20]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, help="json file of everything")
    parser.add_argument("--table", type=Path, metavar="JSON", help="only print the tables of an earlier run")
    parser.add_argument("--small", action="store_true", help="small networks and frames, which measure nothing")
    parser.add_argument("--frames", type=int, help="of a run of the chain")
    parser.add_argument("--people", type=int, nargs="+", default=list(PEOPLE))
    parser.add_argument("--compile", action="store_true", help="measure the chain with torch.compile, too")
    parser.add_argument("--no-tests", action="store_true")
    options = parser.parse_args(arguments)
    if options.table:
        print(tables(json.loads(options.table.read_text())))
        return
    results = measure_all(options)
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(tables(results))


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    began, device = time.perf_counter(), options.device
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads"
    results: dict[str, Any] = {
        "device": f"{device} ({name})",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "small": options.small,
        "errors": {},
    }

    def section(what: str, work: Callable[[], Any]) -> Any:
        """The result, or None where it fails or the time is up: the other sections are measured all the same."""
        if time.perf_counter() - began > SECONDS:
            results["errors"][what] = "left out: the time was up"
            return None
        print(f"{time.perf_counter() - began:5.0f} s  {what}", file=sys.stderr, flush=True)
        try:
            return work()
        except Exception:
            results["errors"][what] = traceback.format_exc(limit=-4)
            return None

    if on_gpu and not options.no_tests:
        results["tests"] = section("tests", run_tests)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        networks = section("random weights", lambda: Networks(options.small, place))
        if networks is None:
            return results
        count = options.frames or (10 if options.small else 120)
        first = Scene(1, networks.frame_size, 8)
        dtype = torch.bfloat16 if on_gpu else torch.float32
        peak = section("matrix product", lambda: matrix_throughput(torch.device(device), dtype, 3)) or np.inf
        results["matrix_tflops"] = peak / 1e12
        ours = section("our chain: loading", lambda: our_chain(networks, first, device, place))
        if ours is not None:
            results["ours"] = measure_chain(networks, ours, options, count, section, peak)
        plain = section("straightforward chain: loading", lambda: straightforward_chain(networks, first, device, place))
        if plain is not None:
            shorter = max(count // 10, 6)
            results["straightforward"] = measure_chain(networks, plain, options, shorter, section, None)
        for name, changes in variants(options.compile).items():
            found = section(f"ours with {name}", partial(measure_variant, networks, options, count, place, changes))
            if found is not None:
                results.setdefault("variants", {})[name] = found
        results["differences"] = section("differences", lambda: differences(networks, device))
    results["seconds"] = time.perf_counter() - began
    return results


def variants(compile: bool) -> dict[str, dict[str, Any]]:
    """Settings that differ from the default, as arguments of `our_chain`."""
    heads: dict[str, dict[str, Any]] = {"head_precision=float16": {"head_precision": "float16"}}
    return heads | ({"compile=true": {"compile": True}} if compile else {})


def measure_variant(
    networks: Networks, options: argparse.Namespace, count: int, folder: Path, changes: dict[str, Any]
) -> dict[str, Any]:
    """Our chain with other settings, with three people."""
    scene = Scene(3, networks.frame_size, count)
    run = our_chain(networks, scene, options.device, folder, **changes)
    run(scene)  # once to warm up, so that all sizes of batches are compiled
    return measure(run, scene, options.device)


def measure_chain(
    networks: Networks,
    run: Callable[[Scene], dict[str, float]],
    options: argparse.Namespace,
    count: int,
    section: Callable[[str, Callable[[], Any]], Any],
    peak: float | None,
) -> dict[str, Any]:
    """By number of people; where `peak` is given, with the share of it that is used and how busy the GPU is."""
    what = "straightforward chain" if peak is None else "our chain"
    section(f"{what}: first run", lambda: run(Scene(3, networks.frame_size, 2 if options.small or not peak else 12)))
    results = {}
    for people in options.people:
        scene = Scene(people, networks.frame_size, count)
        found = section(f"{what}: {people} people", partial(measure, run, scene, options.device))
        if found is None:
            continue
        results[str(people)] = found
        if peak is not None:
            rate = networks.operations(people) * found["frames_per_second"]
            found["tflops"], found["share_of_matrix_product"] = rate / 1e12, rate / peak
        if peak is not None and options.device.startswith("cuda"):
            short = Scene(people, networks.frame_size, min(count, 40))
            found["busy"] = section(f"GPU busy: {people} people", partial(busy_share, run, short))
    return results


def tables(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{results['device']}, torch {results['torch']}, {results['cores']} cores"
        + (", small networks (these figures measure nothing)" if results["small"] else ""),
        "",
        "| people | frames/s | straightforward | times | GPU busy | TFLOP/s | of a matrix product | GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    plain = results.get("straightforward") or {}
    for people, ours in (results.get("ours") or {}).items():
        theirs = plain.get(people, {}).get("frames_per_second")
        times = ours["frames_per_second"] / theirs if theirs else None
        cells = [
            people, _text(ours["frames_per_second"], ".2f"), _text(theirs, ".2f"), _text(times, ".1f"),
            _text(ours.get("busy"), ".0%"), _text(ours.get("tflops"), ".1f"),
            _text(ours.get("share_of_matrix_product"), ".0%"), _text(ours.get("memory_gib"), ".1f"),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    for title, chain in (("ours", results.get("ours") or {}), ("straightforward", plain)):
        if not chain:
            continue
        stages_of = list(next(iter(chain.values()))["stages"])
        lines += [
            "",
            f"| {title}: frames/s of each stage | {' | '.join(stages_of)} |",
            f"|---{'|---' * len(stages_of)}|",
        ]
        for people, found in chain.items():
            rates = (_text(found["stages"].get(stage), ".1f") for stage in stages_of)
            lines.append(f"| {people} people | {' | '.join(rates)} |")
    others = results.get("variants") or {}
    if others:
        default = ((results.get("ours") or {}).get("3") or {}).get("frames_per_second")
        lines += ["", "| 3 people | frames/s | GiB |", "|---|---|---|", f"| default | {_text(default, '.2f')} | |"]
        lines += [
            f"| {name} | {_text(found['frames_per_second'], '.2f')} | {_text(found.get('memory_gib'), '.1f')} |"
            for name, found in others.items()
        ]
    found = results.get("differences") or {}
    if found:
        names = list(next(iter(found.values())))
        lines += ["", f"| from float32 on the CPU | {' | '.join(names)} |", f"|---{'|---' * len(names)}|"]
        lines += [f"| {kind} | {' | '.join(f'{row[name]:.2g}' for name in names)} |" for kind, row in found.items()]
    if results.get("tests"):
        lines += ["", f"Tests: {results['tests']}"]
    lines += [f"\nFailed: {what}: {error.strip().splitlines()[-1]}" for what, error in results["errors"].items()]
    return "\n".join(lines)


def _text(value: float | None, form: str) -> str:
    return "–" if value is None or not np.isfinite(value) else format(value, form)


if __name__ == "__main__":
    main()
