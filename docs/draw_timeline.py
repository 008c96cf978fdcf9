"""Run the README's first example and draw what ran where: docs/images/timeline.svg.

python docs/draw_timeline.py

The example runs twice, and the second run is drawn: the pools are warm by then. A task
that only spawns others and awaits them (`work`) is left out.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import NamedTuple

import unified_exec

HERE = Path(__file__).parent
PICTURE = HERE / "images" / "timeline.svg"
LEFT, WIDTH, ROW, BAR, TOP = 118, 760, 30, 22, 44
LEFT_OUT = {"work"}
PLACES = {"loop": "event loop", "thread": "thread", "process": "process"}

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif }
  .head { font-weight: 600 } .name { fill: #ffffff } .queued { opacity: 0.28 }
  .card { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d8dee4 }
  .text { fill: #1f2328 } .quiet { fill: #59636e }
  .loop { fill: #2f6fde } .thread { fill: #1a7f4b } .process { fill: #b4540a }
  @media (prefers-color-scheme: dark) {
    .card { fill: #161b22; stroke: #30363d } .grid { stroke: #2a313a }
    .text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .loop { fill: #3b7bea } .thread { fill: #23915a } .process { fill: #c96a1b }
  }"""


class Bar(NamedTuple):
    """One task, in milliseconds from the start of the scope."""

    name: str
    place: str
    worker: object
    queued: float
    started: float
    finished: float


def record(code: str) -> list[Bar]:
    """Run the example; what each of its tasks did."""
    handles: list[unified_exec.TaskHandle[object]] = []
    plain = unified_exec.TaskScope.spawn

    def spawn(scope, fn, *args, **options):  # type: ignore[no-untyped-def]
        handle = plain(scope, fn, *args, name=fn.__name__, **options)
        handles.append(handle)
        return handle

    unified_exec.TaskScope.spawn = spawn  # type: ignore[method-assign]
    try:
        exec(code, {"__name__": "__main__"})
    finally:
        unified_exec.TaskScope.spawn = plain  # type: ignore[method-assign]
    start = min(handle.timing.queued for handle in handles)
    bars = []
    for handle in handles:
        queued, started, finished = ((at - start) * 1000 for at in handle.timing)  # type: ignore[operator]
        if handle.name not in LEFT_OUT:
            bars.append(
                Bar(
                    handle.name,
                    handle.backend,
                    handle.worker,
                    queued,
                    started,
                    finished,
                )
            )
    return bars


def rows(bars: list[Bar]) -> list[tuple[str, str, list[Bar]]]:
    """One row for each worker; the event loop, which runs many tasks at once, has as many as it needs."""
    found: list[tuple[str, str, list[Bar]]] = []
    for place, title in PLACES.items():
        here = sorted(
            (bar for bar in bars if bar.place == place), key=lambda bar: bar.started
        )
        lanes: list[list[Bar]] = []
        for bar in here:
            free = (
                lane
                for lane in lanes
                if lane[-1].finished <= bar.started
                and (place == "loop" or lane[-1].worker == bar.worker)
            )
            lane = next(free, None)
            if lane is None:
                lanes.append(lane := [])
            lane.append(bar)
        for number, lane in enumerate(lanes, 1):
            label = title if place == "loop" else f"{title} {number}"
            found.append((label if place != "loop" or number == 1 else "", place, lane))
    return found


def draw(bars: list[Bar]) -> str:
    """The picture, as SVG."""
    lines = rows(bars)
    end = max(bar.finished for bar in bars)
    scale = (WIDTH - LEFT - 40) / end
    height = TOP + len(lines) * ROW + 40
    bottom = TOP + len(lines) * ROW
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="What ran where: coroutines on the event loop, functions in threads and in processes">',
        f"<style>{STYLE}\n</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        '<text class="text head" x="16" y="26">What ran where</text>',
        f'<text class="quiet" x="{WIDTH - 16}" y="26" text-anchor="end">pale: waiting for a free worker</text>',
    ]
    for at in range(0, int(end) + 1, 50):
        x = LEFT + at * scale
        svg.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom + 4}"/>'
        )
        svg.append(
            f'<text class="quiet" x="{x:.1f}" y="{bottom + 22}" text-anchor="middle">{at} ms</text>'
        )
    for number, (label, place, lane) in enumerate(lines):
        y = TOP + number * ROW
        svg.append(f'<text class="text" x="16" y="{y + 16}">{label}</text>')
        last = 0.0
        for bar in lane:
            waiting = max(bar.queued, last)
            if place != "loop" and bar.started - waiting > 1:
                svg.append(
                    _box(
                        f"{place} queued",
                        LEFT + waiting * scale,
                        y,
                        (bar.started - waiting) * scale,
                    )
                )
            x, width = LEFT + bar.started * scale, (bar.finished - bar.started) * scale
            svg.append(_box(place, x, y, width))
            svg.append(
                f'<text class="name" x="{x + 6:.1f}" y="{y + 15}">{escape(bar.name)}</text>'
            )
            last = bar.finished
    return "\n".join([*svg, "</svg>"]) + "\n"


def _box(classes: str, x: float, y: float, width: float) -> str:
    return f'<rect class="{classes}" x="{x:.1f}" y="{y}" width="{max(width, 1):.1f}" height="{BAR}" rx="3"/>'


def main() -> None:
    readme = (HERE.parent / "README.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert code is not None
    record(code[1])
    PICTURE.write_text(draw(record(code[1])), encoding="utf-8")
    print(PICTURE)


main()
