"""Sessions for the small networks that run through onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def load_session(path: Path, device: str = "cpu", threads: int = 0) -> onnxruntime.InferenceSession:
    """A session for an ONNX file.

    device: "cpu" or "cuda[:n]"; the latter needs onnxruntime's own CUDA build and falls back to the CPU without it, as
    these networks are small enough to run there. threads: for one operator; 0 takes every core.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: its warnings are about graph details that no user can act on
    providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        number = int(device.partition(":")[2] or 0)
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
