"""Run as a program: gives every hostile file to its reader under limits, and prints a line of JSON for each.

Arguments: a folder to write in, the number of the case to begin with, and whether the large ones are wanted (0 or 1).
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from hostile_files import Case, cases

from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.loading import read_body
from fourd_humans.checkpoints.loading import load_state_dict
from fourd_humans.config import load_config
from fourd_humans.detection.precomputed import PrecomputedDetections
from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.actions import read_boxes
from fourd_humans.evaluation.datasets.coco import read_coco_keypoints
from fourd_humans.evaluation.datasets.hmr2_npz import read_released
from fourd_humans.evaluation.datasets.mot import read_mot_sequences
from fourd_humans.evaluation.datasets.three_dpw import read_3dpw
from fourd_humans.files.archives import unpack
from fourd_humans.motion.checkpoint import load_pose_transformer, released_statistics
from fourd_humans.results import load_tracklets

MEMORY_PER_BYTE, SPARE_MEMORY, SECONDS = 20, 256 << 20, 10.0

# The reader of each kind of file, and where in a folder it is looked for.
READERS: dict[str, tuple[tuple[str, ...], Callable[[Path, Path], object]]] = {
    "results": ((), lambda path, folder: load_tracklets(path)),
    "body": ((), lambda path, folder: read_body(path)),
    "weights": ((), lambda path, folder: load_state_dict(path)),
    "motion": ((), lambda path, folder: load_pose_transformer(path)),
    "statistics": ((), lambda path, folder: released_statistics(path)),
    "pickle": (("sequenceFiles/test/a.pkl",), lambda path, folder: read_3dpw(folder)),
    "npz": ((), lambda path, folder: read_released(path, "a")),
    "atlas": (("fmap_256.npy", "bmap_256.npy"), lambda path, folder: TextureAtlas.from_folder(folder)),
    "yaml": ((), lambda path, folder: load_config(path)),
    "boxes": ((), lambda path, folder: PrecomputedDetections(path)),
    "coco": (("annotations/person_keypoints_val2017.json",), lambda path, folder: read_coco_keypoints(folder)),
    "mot": (("gt/gt.txt",), lambda path, folder: read_mot_sequences(folder)),
    "ava": ((), lambda path, folder: read_boxes(path, {1}, scored=True)),
    "tar": ((), lambda path, folder: unpack(path, ("model.ckpt",), folder)),
}


def memory(what: str) -> int:
    """Bytes of this process: VmSize or VmHWM."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def read(case: Case, folder: Path) -> dict[str, object]:
    """What became of it: whether it was read or refused, with what message, and the seconds of the processor."""
    places, reader = READERS[case.reader]
    paths = [folder / place for place in places or (f"file{case.suffix}",)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.data)
    start = time.process_time()
    resource.setrlimit(
        resource.RLIMIT_AS, (memory("VmSize") + MEMORY_PER_BYTE * len(case.data) + SPARE_MEMORY, resource.RLIM_INFINITY)
    )
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader(paths[0], folder)
        outcome, message = "read", ""
    except FourDHumansError as error:
        outcome, message = "refused", str(error)
    except Exception as error:
        outcome, message = type(error).__name__, str(error)[:200]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for path in paths:
            path.unlink()
    return {"outcome": outcome, "message": message, "seconds": time.process_time() - start}


def main(folder: Path, first: int, large: bool) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process: nothing in it can put that off
    for number, case in enumerate(cases(large)):
        if number < first:
            continue
        print(json.dumps({"number": number, "name": case.name}), flush=True)
        print(json.dumps({"number": number, "refused": case.refused} | read(case, folder / case.reader)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
