"""Many videos and killed runs, on this machine (Linux): what docs/batch.md reports.

    python benchmarks/batch.py kill demo_videos/walk.mp4 --times 50     # kill -9 at random moments, then go on
    python benchmarks/batch.py many demo_videos --seconds 300           # 40 videos, a worker killed every 20 s
    python benchmarks/batch.py speed demo_videos/walk.mp4               # 2 workers, one video split, Ray
    python benchmarks/batch.py soak demo_videos/walk.mp4 --frames 36000 # memory over an hour of video; --plot FILE

Videos are cut and reduced to 320x180 first. Each prints its figures as JSON, and writes them to --output.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import av
import cv2
import joblib
import numpy as np
from numpy.typing import NDArray

from fourd_humans.batch.records import Record, find_records
from fourd_humans.config import default_config
from fourd_humans.people import Frame
from fourd_humans.video.source import open_source

SIZE = (320, 180)
COMMAND = [sys.executable, "-m", "fourd_humans"]


def pictures(video: Path, start: int = 0) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a video from a frame on, forwards and backwards and so on for ever, 320x180."""
    small = _small(video)
    small = small[start % len(small) :]
    return cycle([*small, *small[-2:0:-1]])


@cache
def _small(video: Path) -> list[NDArray[np.uint8]]:
    frames = (frame for frame in open_source(video) if isinstance(frame, Frame))
    return [np.asarray(cv2.resize(f.image, SIZE, interpolation=cv2.INTER_AREA), np.uint8) for f in frames]


def write(path: Path, images: Iterator[NDArray[np.uint8]], frames: int, rate: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for image in islice(images, frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def same(one: Path, other: Path) -> bool:
    """Whether two result files hold the same frames, number by number."""
    return first_difference(joblib.load(one), joblib.load(other)) is None


def first_difference(a: Any, b: Any, where: str = "") -> str | None:
    """Where two values, of dicts, lists, arrays, numbers and text, are not the same, or None."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        return next((found for key in a if (found := first_difference(a[key], b[key], f"{where}/{key}"))), None)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return next((found for i, (x, y) in pairs if (found := first_difference(x, y, f"{where}/{i}"))), None)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return None if np.array_equal(a, b, equal_nan=a.dtype.kind == "f") else f"{where}: {a} is not {b}"
    return None if type(a) is type(b) and a == b else f"{where}: {a} is not {b}"


def difference(one: Path, other: Path) -> dict[str, Any]:
    """Whether identities are the same, and the largest difference of boxes, SMPL parameters, cameras and joints."""
    a, b = joblib.load(one), joblib.load(other)
    identities = list(a) == list(b) and all(a[key]["tid"] == b[key]["tid"] for key in a)
    largest, people = 0.0, 0
    for key in a if identities else ():
        people += len(a[key]["tid"])
        for x, y in zip(a[key]["smpl"], b[key]["smpl"], strict=True):
            largest = max(largest, *(float(np.abs(x[name] - y[name]).max()) for name in x))
        for field in ("pose", "camera", "3d_joints", "2d_joints", "bbox"):
            for x, y in zip(a[key][field], b[key][field], strict=True):
                largest = max(largest, float(np.abs(np.asarray(x, float) - y).max() / max(np.abs(x).max(), 1)))
    return {"identities": identities, "people": people, "difference": largest}


def kill(video: Path, work: Path, times: int, frames: int) -> dict[str, Any]:
    """Runs of the real chain, killed at random moments and gone on with, each in a process of its own.

    A moment is a share of the processor time of a whole run, so that other load on the machine changes nothing.
    """
    source = write(work / "clip.mp4", pictures(video), frames, 30)

    def run(output: Path, seconds: float = math.inf) -> float:
        """A run, killed after so much processor time; how much it took, from when its models were loaded."""
        command = [sys.executable, __file__, "run", str(source), "--output", str(output)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        begin = spent = _processor_time(process.pid)
        while process.poll() is None:
            spent = max(spent, _processor_time(process.pid))
            if spent - begin >= seconds:
                process.kill()
            time.sleep(0.01)
        if process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit(f"the run into {output} failed")
        return spent - begin

    run(work / "warm")  # kernels
    longest = run(work / "whole")
    whole = joblib.load(work / "whole" / "clip.pkl")
    figures: dict[str, Any] = dict.fromkeys(
        ("times", "equal", "state saved", "loadable", "with frames", "video begun", "playable", "video whole"), 0
    )
    rng = random.Random(times)
    while figures["times"] < times:
        output = work / f"killed{figures['times']}"
        run(output, rng.uniform(0.02, 0.98) * longest)
        if not (output / "clip.pkl.state").exists() and (output / "clip.pkl").exists():  # it was done
            shutil.rmtree(output)
            continue
        partial, drawn = output / "clip.pkl.partial", output / "clip.mp4.partial"
        figures["times"] += 1
        figures["state saved"] += (output / "clip.pkl.state").exists()
        so_far = joblib.load(partial) if partial.exists() else {}  # an error ends the benchmark
        figures["loadable"] += partial.exists()
        figures["with frames"] += bool(so_far)
        figures["video begun"] += drawn.exists() and drawn.stat().st_size > 0
        figures["playable"] += _playable(drawn) > 0
        run(output)
        equal = same(output / "clip.pkl", work / "whole" / "clip.pkl")
        figures["equal"] += equal
        if not equal:
            print(first_difference(joblib.load(output / "clip.pkl"), whole), file=sys.stderr)
            shutil.copytree(output, Path(f"unequal{figures['times']}"))
        figures["video whole"] += _playable(output / "clip.mp4") == frames
        shutil.rmtree(output)
        print(json.dumps(figures), file=sys.stderr, flush=True)
    return figures


def run(source: Path, output: Path) -> None:
    """What `kill` kills: a run that is saved every 0.4 seconds, and so are the fragments of its video."""
    from fourd_humans import saved_run
    from fourd_humans.pipeline import Pipeline
    from fourd_humans.run import track
    from fourd_humans.video import writer

    saved_run.VIDEO_INTERVAL = 0.4
    writer.FRAGMENT = 0.4
    pipeline = Pipeline(default_config())
    print("begins", flush=True)
    track(source, output, pipeline=pipeline, render=True, resume=True)


def _processor_time(pid: int) -> float:
    """Seconds that a process has worked, of all its threads; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _playable(video: Path) -> int:
    """How many pictures of a video can be decoded."""
    try:
        with av.open(str(video)) as opened:
            return sum(1 for _ in opened.decode(video=0))
    except (OSError, av.error.FFmpegError):
        return 0


def many(folder: Path, work: Path, videos: int, frames: int, seconds: float, every: float) -> dict[str, Any]:
    """`videos` short videos, a few of them damaged, through two workers, of which one is killed every few seconds.

    Of ten, one is cut off and can be read up to there, one is no video; and one of all is empty. A job whose worker has
    died three times has failed, so a second run with --retry-failed follows, in which nobody is killed.
    """
    sources = sorted(folder.glob("*.mp4"))
    rng = random.Random(0)
    broken = 0
    for number in range(videos):
        images = pictures(sources[number % len(sources)], 30 * (number % 3))
        suffix = ".mkv" if number % 10 == 3 else ".mp4"  # the former can be read from the beginning on
        path = write(work / "in" / f"part{number % 4}" / f"{number:02}{suffix}", images, frames, 30)
        data = path.read_bytes()
        if number % 10 == 3:
            path.write_bytes(data[: len(data) * 3 // 4])
        elif number % 10 == 7 or number == 18:
            path.write_bytes(b"" if number == 18 else b"no video" * 100)
            broken += 1
    out = work / "out"
    command = [*COMMAND, "track", str(work / "in"), "--recursive", "--jobs", "2", "--output", str(out)]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    kills: Counter[Path] = Counter()
    while process.poll() is None:
        time.sleep(every)
        running = [(path, record) for path, record in find_records(out).items() if _is_at_work(record)]
        if running and time.monotonic() - begin < seconds:
            path, record = rng.choice(running)
            kills[path] += _kill(record)
            print(f"{kills.total()} kills, {len(find_records(out))} records", file=sys.stderr, flush=True)
    ended = time.monotonic()
    first = find_records(out)
    code = subprocess.run([*command, "--retry-failed"], stdout=subprocess.DEVNULL, check=False).returncode
    last = find_records(out)
    done = [path for path, record in first.items() if record.state == "done"]
    cut = [record for path, record in last.items() if int(path.stem) % 10 == 3]
    return {
        "videos": videos, "cannot be read": broken, "kills": kills.total(), "seconds": round(ended - begin, 1),
        "states": Counter(record.state for record in first.values()), "code": process.returncode,
        "workers died too often": sum("died" in (record.error or "") for record in first.values()),
        "attempts without a kill": sum(max(first[path].attempts - 1 - kills[path], 0) for path in done),
        "done again": sum(last[path].ended != first[path].ended for path in done),
        "states after --retry-failed": Counter(record.state for record in last.values()), "then code": code,
        "whole": sum(record.state == "done" and record.frames >= frames for record in last.values()),
        "cut off ones": [record.frames for record in cut],
    }  # fmt: skip


def _is_at_work(record: Record) -> bool:
    """Whether a worker does a job; the record of one whose worker was killed says so, too, until it is begun again."""
    return record.state == "running" and Path(f"/proc/{record.pid}").exists()


def _kill(record: Record) -> bool:
    try:
        os.kill(record.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def speed(video: Path, work: Path, frames: int, ray: bool) -> dict[str, Any]:
    """Seconds of the whole command, from the first job's beginning to the last one's end, and of processor time.

    The processor time is that of all processes but Ray's own.
    """
    for number in range(4):
        write(work / "in" / f"{number}.mp4", pictures(video, 20 * number), frames, 30)
    one = str(work / "in" / "0.mp4")
    ways = {
        "1 video, 1 process": [one],
        "1 video, 2 workers": [one, "--jobs", "2"],
        "4 videos, 1 worker": [str(work / "in"), "--jobs", "1"],
        "4 videos, 2 workers": [str(work / "in"), "--jobs", "2"],
    }
    if ray:
        ways["4 videos, Ray, 2 workers"] = [str(work / "in"), "--ray", "local", "--jobs", "2"]
        ways["1 video, Ray, 2 workers"] = [one, "--ray", "local", "--jobs", "2"]
    figures: dict[str, Any] = {}
    for number, (way, options) in enumerate(ways.items()):
        begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        output = work / f"out{number}"
        subprocess.run([*COMMAND, "track", *options, "--output", str(output), "--quiet"], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        records = list(find_records(output).values())
        ended = max(record.ended or 0 for record in records)
        figures[way] = {
            "seconds": round(time.monotonic() - begin, 1),
            "at work": round(ended - min(record.began for record in records), 1),
            "processor": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        }
        if way.startswith("1 video, ") and number:
            figures[way] |= difference(work / "out0" / "0.pkl", output / "0.pkl")
        print(json.dumps({way: figures[way]}), file=sys.stderr, flush=True)
    return figures


def soak(video: Path, work: Path, frames: int, render: bool) -> dict[str, Any]:
    """An hour of people coming and going before one camera, 10 frames a second, and the memory that tracking takes.

    Stretches of the video, forwards and backwards, of 4 to 20 seconds, and between them its last picture, in which
    nobody is, for 3 to 24 seconds.
    """
    images = pictures(video)
    nobody = _small(video)[-1]

    def scenes() -> Iterator[NDArray[np.uint8]]:
        rng = random.Random(0)
        for _ in count():
            yield from islice(images, rng.randint(40, 200))
            yield from islice(cycle([nobody]), rng.randint(30, 240))

    source = write(work / "hour.mp4", scenes(), frames, 10)
    options = ["--render"] if render else []
    command = [*COMMAND, "track", str(source), "--output", str(work / "out"), "--quiet", *options]
    process = subprocess.Popen(command)
    samples: list[tuple[float, int, float]] = []
    begin = time.monotonic()
    while process.poll() is None:
        time.sleep(5)
        records = list(find_records(work / "out").values())
        try:
            resident = _resident(process.pid)
        except (OSError, StopIteration):  # it has just ended
            break
        samples.append((round(time.monotonic() - begin, 1), records[0].frames if records else 0, resident))
        if len(samples) % 24 == 0:
            print(*samples[-1], file=sys.stderr, flush=True)
    process.wait()
    record = next(iter(find_records(work / "out").values()))
    tenth = [resident for _, done, resident in samples if 0.1 <= done / frames < 0.15]
    last = [resident for _, done, resident in samples if done >= 0.95 * frames]
    return {
        "frames": record.frames, "people": record.people, "state": record.state,
        "after a tenth": tenth[0] if tenth else None, "at the end": last[-1] if last else None,
        "growth": round(last[-1] - tenth[0], 1) if tenth and last else None,
        "largest": max(resident for *_, resident in samples), "samples": samples,
    }  # fmt: skip


def plot(figures: dict[str, Any], path: Path) -> None:
    """The memory of `soak` over the frames."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    frames, resident = np.array([(done, size) for _, done, size in figures["samples"] if done]).T
    tenth = figures["after a tenth"]
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(frames, resident, linewidth=1, label="resident memory")
    axes.axhspan(tenth, tenth + 50, alpha=0.15, label="50 MB above that after a tenth")
    axes.set(xlabel="frames", ylabel="MB", ylim=(0, 1.2 * max(resident)), xlim=(0, figures["frames"]))
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=100)


def _resident(pid: int) -> float:
    """Megabytes of memory that a process takes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return round(next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "many", "speed", "soak", "run"])
    parser.add_argument("video", type=Path, help="a video, or for 'many' a folder of them")
    parser.add_argument("--output", type=Path, help="a file for the figures")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--seconds", type=float, default=300, help="how long workers are killed for")
    parser.add_argument("--every", type=float, default=20)
    parser.add_argument("--ray", action="store_true", help="speed: of a Ray cluster, too")
    parser.add_argument("--plot", type=Path, help="soak: a picture of the memory")
    parser.add_argument("--render", action="store_true", help="soak: draw the video, too")
    a = parser.parse_args()
    if a.what == "run":
        run(a.video, a.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if a.what == "kill":
            figures = kill(a.video, work, a.times, a.frames or 150)
        elif a.what == "many":
            figures = many(a.video, work, a.videos, a.frames or 60, a.seconds, a.every)
        elif a.what == "speed":
            figures = speed(a.video, work, a.frames or 150, a.ray)
        else:
            figures = soak(a.video, work, a.frames or 36_000, a.render)
            if a.plot:
                plot(figures, a.plot)
    print(json.dumps(figures, indent=1))
    if a.output:
        a.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
