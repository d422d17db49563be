"""Counts how often some work waits for the GPU."""

import warnings

import torch


def waits_for_the_gpu(work):
    """What `work` returns, and how many of its operations waited, as torch reports them."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            result = work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return result, sum("called a synchronizing" in str(warning.message) for warning in caught)
