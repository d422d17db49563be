"""How many people a second HMR 2.0 recovers, by batch size and precision, against attention written out plainly.

Both run in turns in the same process, so that their ratio holds on a machine that does other things, too. Weights are
random: speed does not depend on them.

    python benchmarks/hmr2.py --blocks 4
    python benchmarks/hmr2.py --device cuda --batch-sizes 1,8,32,64 --precisions float32,bfloat16,float16 --compile
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from unittest import mock

import click
import torch
from torch import Tensor, nn

from fourd_humans.recovery.hmr2.model import HMR2


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What `scaled_dot_product_attention` computes, step by step, with the whole matrix of scores in memory."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(dim=-1) @ v


def with_plain_attention(model: nn.Module) -> Callable[[Tensor], object]:
    def run(crops: Tensor) -> object:
        with mock.patch("torch.nn.functional.scaled_dot_product_attention", plain_attention):
            return model(crops)

    return run


@torch.inference_mode()
def seconds(model: Callable[[Tensor], object], crops: Tensor, dtype: torch.dtype) -> float:
    """Time of one forward pass."""
    start = time.perf_counter()
    with torch.autocast(crops.device.type, dtype, enabled=dtype != torch.float32):
        model(crops)
    if crops.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@click.command(help=__doc__)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--batch-sizes", default="1,4,8", show_default=True)
@click.option("--precisions", default="float32,bfloat16", show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Measurements of each, of which the median counts.")
@click.option("--blocks", default=32, show_default=True, help="Of the encoder: fewer give the ratios in less time.")
@click.option("--compile", "compiled", is_flag=True, help="Also with torch.compile.")
def main(device: str, batch_sizes: str, precisions: str, rounds: int, blocks: int, compiled: bool) -> None:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    click.echo(
        f"HMR 2.0, {blocks} blocks, on {device} ({name}), torch {torch.__version__}: people a second (over plain)"
    )
    model = HMR2(encoder_depth=blocks).eval().to(device)
    variants: dict[str, Callable[[Tensor], object]] = {"plain": with_plain_attention(model), "ours": model}
    if compiled:
        variants["compiled"] = torch.compile(model)
    click.echo(f"{'precision':<10} {'batch':>5}" + "".join(f"{variant:>18}" for variant in variants))
    for precision in precisions.split(","):
        for batch_size in map(int, batch_sizes.split(",")):
            crops = torch.randn(batch_size, 3, 256, 256, device=device)
            times: dict[str, list[float]] = {variant: [] for variant in variants}
            for turn in range(rounds + 1):
                for variant, run in variants.items():
                    taken = seconds(run, crops, getattr(torch, precision))
                    if turn:  # the first warms up
                        times[variant].append(taken)
            rates = {variant: batch_size / statistics.median(taken) for variant, taken in times.items()}
            cells = "".join(f"{rate:>10.2f} ({rate / rates['plain']:.2f}x)" for rate in rates.values())
            click.echo(f"{precision:<10} {batch_size:>5}{cells}")
    if device.startswith("cuda"):
        click.echo(f"most memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
