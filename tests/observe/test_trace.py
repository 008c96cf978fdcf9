"""Recordings: everything that happened is in the trace, and nothing else."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.observe import workloads
from tests.observe.protobuf import Trace
from tests.observe.test_tree import program
from unified_exec import Collect, Limit, ProcessPool, TaskScope, observe
from unified_exec._tasks import events
from unified_exec.cli.main import main as command
from unified_exec.observe.output.perfetto import Writer
from unified_exec.observe.output.recorder import Recording, Sample
from unified_exec.observe.output.trace_file import lanes, perfetto
from unified_exec.observe.recording.schema import TaskSettled

pytestmark = pytest.mark.anyio

PROGRAM = """if True:
    import anyio, sys
    from unified_exec import TaskScope

    async def ticks():
        await anyio.sleep(0.01)

    async def main():
        async with TaskScope(name="outer") as scope:
            print("ready", flush=True)
            for _ in range(int(sys.argv[1])):
                await scope.spawn(ticks)

    anyio.run(main)
"""


async def test_a_trace_has_every_task_on_the_track_of_its_worker(tmp_path: Path) -> None:
    limit = Limit(1)

    async def waits() -> None:
        async with limit:
            await anyio.sleep(0.001)

    with observe.trace(tmp_path / "run.pftrace"):
        async with ProcessPool(1) as pool, TaskScope(name="outer", policy=Collect(), processes=pool) as scope:
            for _ in range(3):
                scope.spawn(waits)
                scope.spawn(workloads.value, on="process")
                scope.spawn(workloads.value, on="thread")
            failing = scope.spawn(workloads.fails, on="process")
            await failing.wait()
    assert events.rows is None
    trace = Trace((tmp_path / "run.pftrace").read_bytes())
    names = Counter(name for name, *_ in trace.slices if not name.startswith("generation"))
    waiting = names.pop("Limit(1)")
    local = "test_a_trace_has_every_task_on_the_track_of_its_worker.<locals>.waits"
    assert names == {local: 3, "value": 6, "failed: fails": 1, "outer": 1, "start": 1}
    assert waiting == 2
    by_process = Counter(trace.parent(track) for name, track, *_ in trace.slices if name == "value")
    worker = f"worker of {pool!r}".replace(" closed", "")
    assert by_process[worker] == 3
    [notes] = [notes for name, _, _, _, notes in trace.slices if name == "failed: fails"]
    assert (notes["task"], notes["outcome"], notes["error"]) == (failing.id, b"error", b"ValueError")
    assert notes["bytes_sent"] > 0
    assert trace.instants["died"] == 1
    assert trace.instants["spawn value"] == 6
    assert Counter(trace.flows.values()) == {2: 8, 3: 2}  # from the spawn to the run, and to the wait of two
    assert "memory, MiB" in trace.counters


async def test_what_has_not_ended_is_drawn_until_the_end(tmp_path: Path) -> None:
    async with TaskScope() as scope:
        with observe.trace(tmp_path / "run.pftrace"):
            handle = scope.spawn(workloads.until_cancelled, on="thread")
            while handle.state.value == "queued":
                await anyio.sleep(0.001)
        handle.cancel()
    trace = Trace((tmp_path / "run.pftrace").read_bytes())
    [notes] = [notes for name, _, _, _, notes in trace.slices if name == "until_cancelled"]
    assert notes["outcome"] == b"still running"


def test_interpreters_are_tracks_of_the_program_and_have_no_memory_of_their_own() -> None:
    recording = Recording(began=0.0, ended=2.0)
    times = {"at": 1.0, "spawned": 0.1, "sent": 0.2, "started": 0.3, "finished": 0.9}
    for number, worker in enumerate((1 << 47, 1 << 46), 1):
        told: dict[str, Any] = dict.fromkeys(TaskSettled._fields, 0) | times
        told |= {"n": number, "kind": "task.settled", "task": number, "fn": "m:f", "outcome": "value", "error": ""}
        told |= {"backend": "interpreter", "worker": worker}
        recording.rows.append(tuple(told.values()))
    workers = [{"pid": worker, "memory": 0, "seconds": 0.0} for worker in (1 << 47, 1 << 46)]
    recording.samples.append(Sample(0.5, [{"name": "the pool", "queued": 0, "workers": workers}]))
    trace = Trace(perfetto(recording))
    [program] = [name for name, parent in trace.tracks.values() if not parent]
    assert [(name, trace.parent(track)) for name, track, *_ in trace.slices] == [("f", program)] * 2
    assert {"interpreters", "interpreter 1", "interpreter 2"} <= {name for name, _ in trace.tracks.values()}
    assert [len(values) for name, values in trace.counters.items() if "memory" in name] == [1]


def test_an_empty_trace_is_a_trace(tmp_path: Path) -> None:
    gc.disable()  # a collection would be in it
    try:
        with observe.trace(tmp_path / "run.pftrace"):
            pass
    finally:
        gc.enable()
    assert Trace((tmp_path / "run.pftrace").read_bytes()).slices == []


def test_a_file_that_cannot_be_written_is_refused_before_the_block(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), observe.trace(tmp_path / "nowhere" / "run.pftrace"):
        pytest.fail("the block must not run")
    assert events.rows is None


def test_numbers_texts_and_times_of_every_length_are_read_back() -> None:
    writer, begin = Writer(), 10**12
    track = writer.process(1, "p")
    values = [edge + step for edge in (0, 1 << 7, 1 << 14, 1 << 21, 1 << 28, 1 << 40) for step in (-1, 0, 1)]
    expected: list[Any] = []
    for value in values:
        begin += abs(value)
        text = "x" * min(abs(value), 1 << 15)
        writer.slice(track, begin, begin, "s", {"number": value, "text": text})
        expected.append(("s", track, begin, begin + 1, {"number": value % (1 << 64), "text": text.encode()}))
        begin += 1
    assert Trace(writer.finish()).slices == expected


def test_what_overlaps_lies_in_different_lanes() -> None:
    placed = lanes([(0, 10, "a"), (5, 8, "b"), (8, 9, "c"), (10, 12, "d"), (10, 10, "e")])
    assert [(lane, interval[2]) for lane, interval in placed] == [(0, "a"), (1, "b"), (1, "c"), (0, "e"), (1, "d")]


def test_an_environment_variable_records_the_whole_program(tmp_path: Path) -> None:
    file = tmp_path / "run.pftrace"
    environment = {**os.environ, "UNIFIED_EXEC_TRACE": str(file), "UNIFIED_EXEC_OBSERVE": "0"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, "5"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert Counter(name for name, *_ in Trace(file.read_bytes()).slices)["ticks"] == 5


@pytest.mark.skipif(sys.platform != "linux", reason="sockets without a name are Linux's")
def test_a_running_program_is_recorded_from_outside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.pftrace"
    with program("-c", PROGRAM, "100000") as process:
        assert command(["trace", str(process.pid), "--seconds", "2", "-o", str(file)]) == 0
    assert "open it at https://ui.perfetto.dev" in capsys.readouterr().out
    assert Counter(name for name, *_ in Trace(file.read_bytes()).slices)["ticks"] > 2
