"""How fast ViTDet detects, at full size with random weights, by batch, precision and form of attention.

    python -m benchmarks.vitdet --device cuda --batch 1 2 4 8 16 --precision float32 bfloat16 --compile
    python -m benchmarks.vitdet --device cpu --depth 2

The straightforward form is run in the same process: windows cut by copies, scores and relative positions as whole
matrices, masks pasted over the whole frame. Everything is measured after one run to warm up, best of `--repeat`.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fourd_humans.detection.vitdet.backbone import Attention, Block, position_table
from fourd_humans.detection.vitdet.masks import paste
from fourd_humans.detection.vitdet.model import ViTDet, vitdet_h
from fourd_humans.detection.vitdet.stage import ViTDetDetector
from fourd_humans.people import Frame


class PlainAttention(Attention):
    """Attention as one would write it first: pad, cut windows, whole score matrices, put together, cut off."""

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        h, w = (self.window_size, self.window_size) if self.window_size else (H, W)
        x = functional.pad(x, (0, 0, 0, -W % w, 0, -H % h))
        rows, columns = x.shape[1] // h, x.shape[2] // w
        windows = x.view(B, rows, h, columns, w, C).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, C)
        y = self.proj(self.attend(windows))
        y = y.view(B, rows, columns, h, w, C).permute(0, 1, 3, 2, 4, 5).contiguous().view(B, rows * h, columns * w, C)
        return y[:, :H, :W].contiguous()

    def attend(self, x: Tensor) -> Tensor:
        N, h, w, C = x.shape
        qkv = self.qkv(x).view(N, h * w, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, N * self.heads, h * w, C // self.heads)
        y = self.weighted(q, k, v, h, w)
        return y.view(N, self.heads, h, w, -1).permute(0, 2, 3, 1, 4).reshape(N, h, w, C)

    def weighted(self, q: Tensor, k: Tensor, v: Tensor, h: int, w: int) -> Tensor:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        bias_h, bias_w = self.position_terms(q, h, w)
        scores = scores.view(-1, h, w, h, w) + bias_h[..., :, None] + bias_w[..., None, :]
        return scores.view(-1, h * w, h * w).softmax(-1) @ v

    def position_terms(self, q: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
        grid = q.view(-1, h, w, q.shape[-1])
        bias_h = torch.einsum("nyxc,ykc->nyxk", grid, position_table(self.rel_pos_h, h).to(q.dtype))
        bias_w = torch.einsum("nyxc,xkc->nyxk", grid, position_table(self.rel_pos_w, w).to(q.dtype))
        return bias_h, bias_w


class StoredBiasAttention(PlainAttention):
    """Relative positions as a bias on the scores, stored for all pairs of tokens."""

    def weighted(self, q: Tensor, k: Tensor, v: Tensor, h: int, w: int) -> Tensor:
        bias_h, bias_w = self.position_terms(q, h, w)
        bias = (bias_h[..., :, None] + bias_w[..., None, :]).reshape(-1, 1, h * w, h * w)
        return functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], attn_mask=bias)[:, 0]


FORMS: dict[str, type[Attention]] = {"plain": PlainAttention, "stored": StoredBiasAttention, "ours": Attention}


def build(depth: int) -> ViTDet:
    """ViTDet-H; of another depth than 32 with all blocks but the last in windows. On the meta device."""
    with torch.device("meta"):
        if depth == 32:
            return vitdet_h()
        return ViTDet(width=1280, depth=depth, heads=16, window_blocks=tuple(range(depth - 1)))


def random_model(depth: int, device: torch.device) -> ViTDet:
    """Without the time that a careful initialisation takes."""
    model = build(depth).to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    return model.eval()


def set_form(model: ViTDet, form: type[Attention]) -> None:
    for block in model.backbone.net.blocks:
        assert isinstance(block, Block)
        block.attn.__class__ = form


def best_time(work: Callable[[], object], repeat: int, device: torch.device) -> float:
    """Seconds, after one run to warm up; on a CPU processor time by thread, which other processes disturb less."""
    times = []
    for _ in range(repeat + 1):
        start = _clock(device)
        work()
        times.append(_clock(device) - start)
    return min(times[1:] or times)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def peak_memory(device: torch.device) -> float:
    """GiB since the last reset on a GPU; of the process so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def backbone_operations(depth: int, size: int) -> int:
    """Floating-point operations of the backbone's matrix products on one picture."""
    model, picture = build(depth), torch.empty(1, 3, size, size, device="meta")
    set_form(model, PlainAttention)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.backbone(picture)
    return int(counter.get_total_flops())


def matrix_throughput(device: torch.device, dtype: torch.dtype, repeat: int) -> float:
    """Operations a second in a large matrix product: what the device reaches at best."""
    n = 8192 if device.type == "cuda" else 2048
    a = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / best_time(lambda: a @ a, repeat, device)


def measure_detection(options: argparse.Namespace, device: torch.device) -> None:
    height, width = options.frame
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    model = random_model(options.depth, device)
    operations = backbone_operations(options.depth, options.size)
    print(f"ViTDet-H, {options.depth} blocks, at {options.size}: {operations / 1e12:.2f} T operations in the backbone")
    print(f"frames of {width}x{height}")
    print("precision  batch  attention  images/s  backbone/s  of matrix throughput  peak GiB")
    for precision in options.precision:
        dtype = getattr(torch, precision)
        peak = matrix_throughput(device, dtype, 2)
        for batch in options.batch:
            frames = [Frame(i, 0.0, f"{i:06d}", image) for i in range(batch)]
            pictures = torch.zeros(batch, 3, options.size, options.size, device=device)
            for name in options.attention:
                set_form(model, FORMS[name])
                gc.collect()
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                detector = ViTDetDetector(
                    model,
                    device,
                    batch_size=batch,
                    image_size=options.size,
                    precision=precision,
                    compile=options.compile,
                )

                @torch.inference_mode()
                def backbone(pictures: Tensor = pictures, dtype: torch.dtype = dtype) -> Sequence[Tensor]:
                    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                        return model.backbone(pictures)

                try:
                    part = best_time(backbone, options.repeat, device)
                    whole = np.inf
                    if not options.backbone_only:
                        whole = best_time(lambda d=detector, f=frames: d(f), options.repeat, device)  # type: ignore[misc]
                except torch.OutOfMemoryError:
                    print(f"{precision:9}  {batch:5}  {name:9}  out of memory")
                    continue
                print(
                    f"{precision:9}  {batch:5}  {name:9}  {batch / whole:8.3f}  {batch / part:10.3f}"
                    f"  {operations * batch / part / peak:20.0%}  {peak_memory(device):8.1f}",
                    flush=True,
                )


def measure_masks(options: argparse.Namespace) -> None:
    """Pasting people's masks into the frame: in their boxes, against over the whole frame."""
    height, width = options.frame
    rng = np.random.default_rng(0)
    print("people  masks ms  over the whole frame ms")
    for people in (1, 10, 100, 300):
        corner = rng.uniform(0, [width * 0.8, height * 0.6], (people, 2))
        boxes = np.concatenate([corner, corner + np.array([width * 0.1, height * 0.4])], 1).astype(np.float32)
        grids = rng.random((people, 28, 28), dtype=np.float32)

        def in_boxes(boxes: np.ndarray = boxes, grids: np.ndarray = grids) -> None:
            for grid, box in zip(grids, boxes, strict=True):
                paste(grid, box, (height, width))

        def over_frame(boxes: np.ndarray = boxes, grids: np.ndarray = grids) -> None:
            y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            for grid, (x1, y1, x2, y2) in zip(torch.from_numpy(grids), boxes.tolist(), strict=True):
                places = torch.stack([(x - x1) / (x2 - x1) * 2 - 1, (y - y1) / (y2 - y1) * 2 - 1], -1)
                _ = functional.grid_sample(grid[None, None], places[None], align_corners=False) >= 0.5

        cpu = torch.device("cpu")
        print(f"{people:6}  {best_time(in_boxes, 2, cpu) * 1e3:8.1f}  {best_time(over_frame, 1, cpu) * 1e3:23.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=1024, help="side of the square that the network sees")
    parser.add_argument("--depth", type=int, default=32, help="blocks; fewer for a slow machine, the last one global")
    parser.add_argument("--frame", type=int, nargs=2, default=(1080, 1920), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--attention", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--backbone-only", action="store_true", help="leave out proposals and heads")
    parser.add_argument("--no-masks", action="store_true")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    measure_detection(options, torch.device(options.device))
    if not options.no_masks:
        measure_masks(options)


if __name__ == "__main__":
    main()
