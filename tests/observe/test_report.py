"""The report: what the page holds, and when each piece of advice is given."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.observe import workloads
from tests.observe.patience import until_async
from unified_exec import Collect, ProcessPool, TaskScope, observe
from unified_exec.observe.output import advice
from unified_exec.observe.output.advice import Facts, Function, WaitedFor, advise
from unified_exec.observe.output.figures import covered, growth, idle_seconds, straggler, thread_seconds
from unified_exec.observe.output.recorder import Recording, Sample
from unified_exec.observe.output.report_page import page
from unified_exec.observe.output.threads import Used

pytestmark = pytest.mark.anyio


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="text/plain">([A-Za-z0-9+/=]+)</script>', text)
    assert found is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return data


async def test_a_report_holds_what_happened_and_asks_for_nothing(tmp_path: Path) -> None:
    with observe.report(tmp_path / "run.html"):
        async with ProcessPool(1) as pool, TaskScope(name="outer", policy=Collect(), processes=pool) as scope:
            for number in range(5):
                scope.spawn(workloads.value, number, on="process", name="</script><img src=x>")
                scope.spawn(workloads.value, number, on="thread")
                scope.spawn(workloads.coroutine, number)
            scope.spawn(workloads.fails, on="process")
    text = (tmp_path / "run.html").read_text("utf-8")
    assert "<img" not in text
    assert not re.findall(r"https?://|src=|@import|<link", text)
    data = data_of(text)
    assert data["tasks"] == 16
    assert data["outcomes"] == {"value": 15, "error": 1}
    counts = {(each["name"].partition(":")[2], each["backend"]): each["tasks"] for each in data["functions"]}
    assert counts == {
        ("value", "process"): 5,
        ("value", "thread"): 5,
        ("coroutine", "loop"): 5,
        ("fails", "process"): 1,
    }
    assert [(each["name"], each["tasks"], each["errors"]) for each in data["scopes"]] == [("outer", 16, 1)]
    [failure] = data["failures"]
    assert (failure["error"], failure["count"]) == ("ValueError", 1)
    assert "ValueError: wrong" in failure["traceback"]
    [worker] = data["workers"]
    assert (worker["tasks"], worker["end"]) == (6, "ended")
    assert len(data["begin"]) == 11  # coroutines are a load, not boxes
    assert data["slowest"]


async def test_a_report_of_a_program_that_hangs_shows_what_its_tasks_wait_for(tmp_path: Path) -> None:
    event = anyio.Event()
    async with TaskScope(name="hangs") as scope:
        scope.spawn(event.wait, name="waits")
        with observe.report(tmp_path / "run.html"):
            await until_async(lambda: event.statistics().tasks_waiting == 1)
        event.set()
    data = data_of((tmp_path / "run.html").read_text("utf-8"))
    [task] = data["open"]
    assert (task["name"], task["backend"], data["openTasks"], data["tasks"]) == ("waits", "loop", 1, 0)
    assert task["why"].startswith("waits for anyio Event.wait")


def test_a_hundred_thousand_tasks_are_a_small_page() -> None:
    recording = Recording(began=1000.0, ended=2000.0)
    for n in range(20_000):
        at = 1000.0 + n * 0.009
        times = (at - 0.001, at - 0.0005, 4711 + n % 2, 1, "value", "", at, at + 0.0085, 100, 50, "")
        recording.rows.append((n, "task.settled", at + 0.009, n, f"t{n}", f"m:f{n % 9}", "process", 1, 0, 1, *times))
    assert len(page(recording)) < 3_000_000 / 5


FACTS = Facts(
    seconds=100.0,
    cores=4,
    cpu=380.0,
    idle=20.0,
    thread_cpu=20.0,
    functions=[],
    starved={},
    waits=[],
    busy=0.95,
    threads=0.0,
    deaths=0,
    starts=4,
    start_seconds=1.0,
    growth={},
    straggler=(0.0, ""),
)
LIMIT = WaitedFor("limit", "Limit(2)", 40.0, 9, "")
SHORT = Function("m:f", "process", 2000, 2000, 1.0, 0.0, 5.0, 5.0, 0.0001, 0.0001, 0, 0)
LONG = SHORT._replace(run_p50=0.001)
BIG = Function("m:g", "process", 100, 100, 1.0, 0.0, 5.0, 5.0, 0.01, 0.1, 100 << 21, 0)
COMPUTES = Function("m:h", "thread", 100, 100, 300.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0, 0)


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({}, None),
        ({"functions": [SHORT]}, "The tasks of f are short for processes"),
        ({"functions": [LONG]}, None),
        ({"functions": [SHORT._replace(tasks=900, items=900)]}, None),
        ({"functions": [SHORT._replace(items=90_000)]}, None),
        ({"starved": {"the pool": ("process", 0.6)}, "idle": 300.0}, "the pool starves while cores idle"),
        ({"starved": {"the pool": ("process", 0.6)}}, None),
        ({"starved": {"the pool": ("process", 0.4)}, "idle": 300.0}, None),
        ({"starved": {"threads": ("thread", 0.9)}, "idle": 300.0}, "threads starves while cores idle"),
        (
            {
                "starved": {"threads": ("thread", 0.9)},
                "idle": 300.0,
                "functions": [COMPUTES],
                "threads": 3.0,
                "thread_cpu": 99.0,
            },
            "Threads that run h share one core",
        ),
        ({"waits": [LIMIT], "busy": 0.5}, "Much waits for Limit(2)"),
        ({"waits": [LIMIT._replace(seconds=20.0)], "busy": 0.5}, None),
        ({"waits": [LIMIT]}, None),
        ({"functions": [COMPUTES], "threads": 3.0, "thread_cpu": 99.0}, "Threads that run h share one core"),
        ({"functions": [COMPUTES], "threads": 3.0, "thread_cpu": 20.0}, None),
        ({"functions": [COMPUTES], "threads": 1.2, "thread_cpu": 99.0}, None),
        ({"functions": [BIG]}, "The data of g takes longer to travel than to process"),
        ({"functions": [BIG._replace(run=50.0)]}, None),
        ({"functions": [BIG._replace(sent=100 << 10)]}, None),
        ({"deaths": 5}, "Workers die often"),
        ({"deaths": 1}, None),
        ({"start_seconds": 60.0}, "The start of workers takes a good part of the run"),
        ({"growth": {4711: 0.5}}, "The memory of workers grows"),
        ({"growth": {4711: 0.1}}, None),
        ({"straggler": (30.0, "last")}, "last runs alone at the end"),
        ({"straggler": (5.0, "last")}, None),
    ],
)
def test_each_advice_has_a_threshold(change: dict[str, Any], title: str | None) -> None:
    given = advise(FACTS._replace(**change))
    assert [each.title for each in given] == ([] if title is None else [title])
    assert all(each.figures and each.text for each in given)


def test_what_is_small_is_not_worth_advice_and_five_are_enough() -> None:
    assert advise(FACTS._replace(seconds=5.0, straggler=(0.9, "last"))) == []
    many = FACTS._replace(waits=[LIMIT._replace(name=f"Limit({n})", seconds=40.0 + n) for n in range(9)], busy=0.1)
    assert len(advise(many)) == advice.ADVICE_MAX
    assert advise(many)[0].title == "Much waits for Limit(8)"


class Ran:
    def __init__(self, started: float, finished: float, name: str = "", backend: str = "process") -> None:
        self.started, self.finished, self.name, self.backend = started, finished, name, backend


def test_the_processor_time_of_threads_is_not_that_of_the_event_loop() -> None:
    used = [{1: Used(0.0, 0.0), 2: Used(5.0, 0.0)}, {1: Used(9.0, 0.0), 2: Used(5.5, 0.0), 3: Used(0.25, 0.0)}]
    run = Recording(samples=[Sample(float(n), [], seconds=10.0 * n, threads=each) for n, each in enumerate(used)])
    ran = [SimpleNamespace(worker=ident) for ident in (2, 3)]
    assert thread_seconds(run, ran) == 0.75


@pytest.mark.parametrize(("idle", "told"), [(None, 15.0), (4.0, 4.0), (90.0, 15.0)])
def test_cores_that_other_programs_use_do_not_idle(
    monkeypatch: pytest.MonkeyPatch, idle: float | None, told: float
) -> None:
    monkeypatch.setattr("unified_exec.observe.output.figures.cpu_count", lambda: 2)
    samples = [Sample(0.0, [], idle=None if idle is None else 0.0), Sample(10.0, [], seconds=5.0, idle=idle)]
    assert idle_seconds(Recording(began=0.0, ended=10.0, samples=samples)) == told


def test_the_figures_behind_the_advice() -> None:
    tasks = [Ran(0.0, 2.0), Ran(1.0, 3.0), Ran(5.0, 6.0)]
    assert covered(tasks) == 4.0
    assert straggler([Ran(0.0, 2.0), Ran(1.0, 9.0, "last")]) == (7.0, "last")
    recording = Recording()
    for n in range(20):
        workers = [
            {"pid": 1, "memory": 100 + 10 * n, "state": "up"},
            {"pid": 2, "memory": 100 + n % 2, "state": "up"},
        ]
        recording.samples.append(Sample(float(n), [{"name": "p", "queued": 0, "workers": workers}]))
    grown = growth(recording)
    assert grown.keys() == {1}
    assert grown[1] > 0.2
