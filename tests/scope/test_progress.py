"""``progress=``: what tasks tell reaches who watches, from every place; bars on terminals, nothing elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.scope import many
from tests.scope.many import Place
from unified_exec import Pipeline, Progress, SyncTaskScope, TaskScope, report
from unified_exec.observe.progress import tracker as module
from unified_exec.observe.progress.rate import RateEstimator, format_number, format_seconds


async def test_reports_of_a_task_reach_the_function(place: Place) -> None:
    got: list[Progress] = []
    async with TaskScope() as scope:
        await scope.spawn(place.fn(many.told), 3, on=place.on, name="it", progress=got.append)
    assert [(each.name, each.done, each.total, each.text, each.ended) for each in got] == [
        ("it", 0, 3, "step 0", False),
        ("it", 1, 3, "step 1", False),
        ("it", 2, 3, "step 2", False),
        ("it", 2, 3, "step 2", True),
    ]


async def test_reports_to_nobody_cost_nothing(place: Place) -> None:
    async with TaskScope() as scope:
        assert await scope.spawn(place.fn(many.told), 3, on=place.on) == 3
    report(1, 2)  # and outside of tasks


async def test_what_cannot_be_counted_or_shown_is_refused_by_name_where_it_is_reported(place: Place) -> None:
    got: list[Progress] = []
    async with TaskScope() as scope:
        said = await scope.spawn(place.fn(many.report_nonsense), on=place.on, progress=got.append)
    assert said == many.report_nonsense()  # and outside of tasks
    assert said[0] == "done of report() must be a number, got 'a': write report(done, total, text)"
    assert all(" of report() must be " in each for each in said)
    assert [each.split()[0] for each in said] == ["done"] * 8 + ["total"] * 3 + ["text"] * 2
    assert [(each.done, each.ended) for each in got] == [(0, True)]


def report_other_numbers() -> None:
    report(Fraction(1, 2), Decimal(2), "half")  # type: ignore[arg-type]


async def test_numbers_of_all_kinds_can_be_reported() -> None:
    got: list[Progress] = []
    async with TaskScope() as scope:
        await scope.spawn(report_other_numbers, on="thread", progress=got.append)
    assert [repr(each.done) for each in got] == ["0.5", "0.5"]
    assert repr(got[0]) == "<Progress 'report_other_numbers': 0.5 of 2>"


async def test_a_map_counts_its_items(place: Place) -> None:
    got: list[Progress] = []
    async with TaskScope() as scope:
        stream = scope.map(place.fn(many.double), range(100), on=place.on, progress=got.append)
        assert len([x async for x in stream]) == 100
    done = [each.done for each in got]
    assert done == sorted(done)
    assert (got[-1].done, got[-1].total, got[-1].ended) == (100, 100, True)
    assert [each.ended for each in got].count(True) == 1


async def test_failed_items_are_done_and_unknown_totals_are_unknown(place: Place) -> None:
    got: list[Progress] = []
    async with TaskScope() as scope:
        items = iter(range(10))
        fn = place.fn(many.fail_odd)
        async for _ in scope.map(fn, items, on=place.on, return_exceptions=True, progress=got.append):
            pass
    assert (got[-1].done, got[-1].total, got[-1].left) == (10, None, None)


async def test_the_text_of_an_item_is_shown() -> None:
    got: list[Progress] = []
    async with TaskScope() as scope:
        async for _ in scope.map(many.told, [2, 2], on="process", progress=got.append):
            pass
    assert "step 1" in {each.text for each in got}
    assert got[-1].done == 2


async def test_a_map_that_is_left_or_outlived_ends_its_progress() -> None:
    for leave in (True, False):
        got: list[Progress] = []
        async with TaskScope() as scope:
            stream = scope.map(many.double, range(1000), limit=2, progress=got.append)
            await anext(stream)
            if leave:
                await stream.aclose()
        assert got[-1].ended


async def test_each_stage_of_a_pipeline_is_shown() -> None:
    got: list[Progress] = []
    pipeline = Pipeline(range(50)).map(many.a_double).map(many.double, on="process", name="second").batch(7).map(len)
    assert await pipeline.run(progress=got.append) == 8
    last = {each.name: (each.done, each.total, each.ended) for each in got}
    assert last == {
        "map(a_double)": (50, 50, True),
        "map(second)": (50, 50, True),
        "map(len)": (8, None, True),
    }


def test_it_works_without_async_too() -> None:
    got: list[Progress] = []
    with SyncTaskScope() as scope:
        assert scope.spawn(many.told, 2, on="process", progress=got.append).result() == 2
        assert list(scope.map(many.double, range(3), progress=got.append)) == [0, 2, 4]
    assert [each.done for each in got if each.ended] == [1, 3]


async def test_a_function_that_fails_is_dropped_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Progress) -> None:
        raise LookupError

    async with TaskScope() as scope:
        assert await scope.spawn(many.told, 3, progress=broken) == 3
    assert "is dropped" in caplog.text
    assert len(caplog.records) == 1


async def test_what_is_no_progress_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with TaskScope() as scope:
        with pytest.raises(TypeError, match="progress must be"):
            scope.spawn(many.double, 1, progress="yes")  # type: ignore[call-overload]
        monkeypatch.setattr(module, "_installed", lambda name: False)
        with pytest.raises(ImportError, match=r"unified-exec\[rich\]"):
            scope.spawn(many.double, 1, progress=True)
        with pytest.raises(ImportError, match="rich"):
            scope.map(many.double, [1], progress=True)


# --- what is seen

PROGRAM = """
import time
from unified_exec import SyncTaskScope, report
def work(n):
    for done in range(n):
        report(done + 1, n, f"part {done}")
        time.sleep(0.05)
with SyncTaskScope() as scope:
    handle = scope.spawn(work, 8, name="the work", progress=True)
    for _ in scope.map(abs, range(500), on="process", progress=True):
        pass
    handle.result()
print("over")
"""


def test_nothing_is_printed_where_there_is_no_terminal() -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": os.getcwd()}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=100, check=True
    )
    assert (run.stdout, run.stderr) == ("over\n", "")


@pytest.mark.skipif(os.name != "posix", reason="this system has no such terminals")
def test_a_terminal_shows_a_bar_for_each_and_gets_its_cursor_back() -> None:
    pytest.importorskip("rich")
    import pty

    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "150", "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=its, stdout=its, env=environment) as process:
        os.close(its)
        drawn = b""
        while block := _read(mine):
            drawn += block
        os.close(mine)
    assert process.returncode == 0
    for word in (b"the work", b"map of abs", b"8/8", b"500/500", b"part 7", b"over"):
        assert word in drawn, drawn
    assert drawn.count(b"\x1b[?25l") == drawn.count(b"\x1b[?25h") >= 1


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def test_a_notebook_gets_tqdms_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import tqdm

    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # its own thread and semaphore are not what is tested
    tqdm.tqdm.set_lock(threading.RLock())
    monkeypatch.setattr(module, "_in_notebook", lambda: True)
    with SyncTaskScope() as scope:
        scope.spawn(many.told, 2, name="in a notebook", progress=True).result()
    assert "in a notebook" in capsys.readouterr().err


# --- honesty, with a clock of our own


def test_there_is_no_rate_before_something_is_known() -> None:
    pace = RateEstimator(100.0)
    assert pace.rate(100.1) is pace.left(100.1, 10) is None
    pace.note(101.0, 0.0)
    assert pace.rate(101.0) is None
    pace.note(102.0, 4.0)
    assert pace.rate(102.0) == 2.0
    assert pace.left(102.0, 10) == 3.0
    assert pace.left(102.0, None) is None


def test_the_rate_sinks_while_nothing_is_done() -> None:
    pace = RateEstimator(0.0)
    pace.note(10.0, 100.0)
    assert pace.rate(10.0) == 10.0
    assert pace.rate(100.0) == 1.0
    assert pace.left(100.0, 200.0) == 100.0


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    pace = RateEstimator(0.0)
    done = 0.0
    for second in range(1, 200):
        done += 100.0 if second < 100 else 1.0
        pace.note(float(second), done)
    assert pace.rate(199.0) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.25, "0.25"), (7, "7"), (1234.4, "1234"), (12_345, "12.3k"), (9_900_000, "9.9M"), (2e9, "2G")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert format_number(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "-:--"), (0.4, "0:00"), (42, "0:42"), (3723, "1:02:03")])
def test_times_are_words(seconds: Any, text: str) -> None:
    assert format_seconds(seconds) == text
