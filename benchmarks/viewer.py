"""How fast the page of ``4dhumans view`` is in headless Chromium without a GPU: size, loading, drawing and playing.

    python benchmarks/viewer.py RESULTS.pkl [--canvas 1280x720]

CPU seconds are those of all of the browser's processes. Needs Chromium, and the extra ``test`` for playwright.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import click
from playwright.sync_api import Page, sync_playwright

from fourd_humans.exports import body_model_of
from fourd_humans.results import load_tracklets
from fourd_humans.viewer.page import make_page

ARGUMENTS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
]
ENLARGE = """async ([width, height]) => {
  document.querySelector("#scene").style.cssText = `position: fixed; inset: 0; width: ${width}px; height: ${height}px`;
  await new Promise((resolve) => setTimeout(resolve, 1000));
}"""
DRAW = """([count, detail]) => {
  const { stage, player } = viewer;
  const gl = stage.renderer.getContext();
  const draw = (frame) => {
    player.seek(frame);
    stage.drawNow(detail);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits until it is drawn
  };
  draw(0);
  const start = performance.now();
  for (let i = 1; i <= count; i++) draw((i * 7) % player.times.length);
  return (performance.now() - start) / count;
}"""
PLAY = """async (seconds) => {
  const { stage, player } = viewer;
  player.seek(0);
  const before = stage.drawn;
  player.play();
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  player.pause();
  return (stage.drawn - before) / seconds;
}"""


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True))
@click.option("--canvas", default="1280x720", show_default=True, help="Size of the drawn picture.")
@click.option("--count", default=30, show_default=True, help="How many frames to draw.")
@click.option("--seconds", default=6, show_default=True, help="How long to play.")
def main(results: Path, canvas: str, count: int, seconds: int) -> None:
    tracklets = load_tracklets(results)
    page = make_page(tracklets, body_model_of(tracklets), results.stem)
    click.echo(f"{len(tracklets.ids)} people, {len(tracklets)} frames: {len(page.encode()) / 1e6:.2f} MB")
    size = [int(length) for length in canvas.split("x")]
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": 1280, "height": 720})
        before = cpu_seconds()
        opened.goto(path.as_uri())
        ready = ready_after(opened)
        time.sleep(2)
        click.echo(f"ready after {ready:.2f} s; {cpu_seconds() - before:.2f} s of CPU")
        while not opened.evaluate("Boolean(viewer.stage.details)"):  # fewer triangles are made after loading
            time.sleep(0.1)
        opened.evaluate(ENLARGE, size)
        for detail in ("simplified", "full"):
            before = cpu_seconds()
            milliseconds = opened.evaluate(DRAW, [count, detail])
            cpu = 1000 * (cpu_seconds() - before) / count
            click.echo(f"a {detail} frame at {canvas}: {milliseconds:.0f} ms, {cpu:.0f} ms of CPU")
        before = cpu_seconds()
        rate = opened.evaluate(PLAY, seconds)
        cpu = (cpu_seconds() - before) / seconds
        click.echo(f"playing at {canvas}: {rate:.1f} frames/s with {cpu:.2f} CPUs")
        browser.close()
    click.echo(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


def ready_after(page: Page) -> float:
    """Seconds from the beginning of loading until the first picture was drawn."""
    while True:
        marks = page.evaluate("performance.getEntriesByName('ready').map((mark) => mark.startTime)")
        if marks:
            return float(marks[0]) / 1000
        time.sleep(0.1)


def cpu_seconds() -> float:
    """Of this process's descendants (Linux)."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        used[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    total, waiting = 0, [os.getpid()]
    while waiting:
        for child in children.get(waiting.pop(), []):
            total += used[child]
            waiting.append(child)
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
