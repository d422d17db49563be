"""Programs that read our files and are too heavy, or too particular, for the environment of the tests.

Each is skipped where it is missing. BLENDER_PYTHON: a Python with `bpy` (or Blender's own). OPENSIM_PYTHON: a Python
with `opensim`. NODE_PATH: a folder node_modules with `gltf-validator`.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent

VALIDATE = """
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
const validator = createRequire(process.env.NODE_PATH + '/')('gltf-validator');
const report = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])));
console.log(JSON.stringify(report.issues.messages));
"""


def blender(folder, path, frame_rate, frames):
    """What Blender makes of a file at some frames: see blender_reader.py."""
    output = Path(folder) / "blender.npz"
    run_blender(HERE / "blender_reader.py", path, output, frame_rate, *frames)
    with np.load(output) as stored:
        return dict(stored)


def run_blender(script, *arguments):
    run(python("BLENDER_PYTHON", "bpy"), script, *arguments)


def opensim(folder, path):
    """The times (F,) and the markers {name: (F, 3)} that OpenSim reads from a TRC file."""
    output = Path(folder) / "opensim.npz"
    run(python("OPENSIM_PYTHON", "opensim"), HERE / "opensim_reader.py", path, output)
    with np.load(output) as stored:
        markers = dict(stored)
    return markers.pop("time"), markers


def gltf_issues(folder, data):
    """All that the Khronos validator has to say of a GLB file, hints included."""
    modules = os.environ.get("NODE_PATH", "")
    if not shutil.which("node") or not modules or not (Path(modules) / "gltf-validator").is_dir():
        pytest.skip("needs gltf-validator from npm, in the folder NODE_PATH")
    script, file = Path(folder) / "validate.mjs", Path(folder) / "scene.glb"
    script.write_text(VALIDATE)
    file.write_bytes(data)
    return json.loads(run("node", script, file))


def python(variable, module):
    interpreter = os.environ.get(variable)
    if not interpreter:
        pytest.skip(f"needs a Python with {module}, in {variable}")
    return interpreter


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
