"""The whole command on a video: frames per second with and without rendering, memory, and how long --help takes.

    python benchmarks/track.py demo_videos/two_people.mp4 [--repeat 3]

Each run is a process of its own, as a user starts it. Frames per second are the command's own figure, from the first
frame read to the last file closed; memory is what the process holds, sampled twice a second.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "fourd_humans"]


def run(video: Path, *options: str) -> tuple[float, list[float]]:
    """Frames per second, and the memory in MB over time (Linux only)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, "track", str(video), "--output", folder, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        memory = []
        while process.poll() is None:
            memory.append(resident(process.pid))
            time.sleep(0.5)
        output = process.stdout.read() if process.stdout else ""
    found = re.search(r"([\d.]+) frames/s", output)
    if process.returncode or not found:
        raise SystemExit(f"{' '.join(command)} failed:\n{output}")
    return float(found[1]), memory


def resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    start = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    print(f"--help: {time.perf_counter() - start:.2f} s")
    for options in ((), ("--render",)):
        for _ in range(arguments.repeat):
            rate, memory = run(arguments.video, *options)
            half, end = memory[len(memory) // 2], max(memory)
            name = " ".join(("track", *options))
            print(f"{name}: {rate:.1f} frames/s, {half:.0f} MB half way, {end:.0f} MB at most", flush=True)


if __name__ == "__main__":
    main()
