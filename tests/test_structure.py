"""Imports between the package's folders run one way: down this list. What two folders share lies below both."""

import ast
import subprocess
import sys
from pathlib import Path

import fourd_humans

PACKAGE = Path(fourd_humans.__file__).parent
# Folders on one line do not import one another.
LAYERS = [
    ["__init__", "__main__"],
    ["cli"],
    ["diagnosis", "batch"],
    ["run"],
    ["saved_run"],
    ["training"],
    ["evaluation"],
    ["viewer"],
    ["exports"],
    ["pipeline"],
    ["stages"],
    ["weights"],
    ["actions"],
    ["config"],
    ["detection", "recovery", "appearance", "tracking"],
    ["motion"],
    ["results"],
    ["rendering"],
    ["tracklets"],
    ["pose_features"],
    ["body"],
    ["checkpoints"],
    ["files"],
    ["geometry", "video"],
    ["people"],
    ["devices"],
    ["settings"],
    ["errors"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Convenience methods of Tracklets import what they call when they are called; the package's public names likewise.
LAZY = {"tracklets", "__init__"}


def imports(path: Path, *, lazy: bool) -> set[str]:
    """Modules of the package that a file imports; with `lazy`, also those imported inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fourd_humans":
            parts = node.module.split(".")[1:]
            found |= {".".join([*parts, alias.name]) for alias in node.names} if not parts else {".".join(parts)}
            if parts:
                found |= {".".join([*parts, a.name]) for a in node.names if module_file([*parts, a.name])}
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("fourd_humans.")}
    return found


def module_file(parts: list[str]) -> Path | None:
    base = PACKAGE.joinpath(*parts)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def test_every_folder_has_its_place():
    assert {name.split(".")[0] for name in modules()} <= LEVEL.keys()


def test_imports_between_folders_run_down():
    upward = []
    for name, path in modules().items():
        room = name.split(".")[0]
        for target in imports(path, lazy=room not in LAZY):
            other = target.split(".")[0]
            if other in LEVEL and other != room and LEVEL[other] <= LEVEL[room]:
                upward.append(f"{name} -> {target}")
    assert not sorted(upward)


def test_no_module_imports_itself_through_others():
    known = modules()
    graph = {name: {t for t in imports(path, lazy=False) if t in known} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_reading_results_needs_no_torch():
    """Reading results takes a second less without it."""
    code = "import sys, fourd_humans.results; print('torch' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
