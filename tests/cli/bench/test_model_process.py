"""Processes of models, and servers: failures are reported, nothing is waited for forever, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.waiting import until
from unified_exec.cli.bench import io_servers
from unified_exec.cli.bench.io_servers import serving
from unified_exec.cli.bench.model_process import ModelProcess, ModelProcessError
from unified_exec.cli.measuring.clocks import Stopwatch, work_between

PATIENCE = 60.0


def test_a_process_that_dies_is_reported_and_started_anew() -> None:
    process = ModelProcess("sequential")
    try:
        process.ask(PATIENCE, do="ready")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ModelProcessError, match="died"):
            process.ask(PATIENCE, do="ready")
        assert process.ask(PATIENCE, do="ready")["lines"] == 1
    finally:
        process.close()


def test_a_process_that_does_not_answer_in_time_is_killed_with_all_it_started() -> None:
    process = ModelProcess("mp-pool")
    setting = {"workers": 2, "http": 1}
    try:
        process.ask(PATIENCE, do="turn", workload="tiny", workers=2, setting=setting)
        assert process.pid is not None
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        with pytest.raises(ModelProcessError, match="no answer within"):
            process.ask(0.01, do="profile", workers=2, quick=False)
        until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
    finally:
        process.close()


def test_an_error_in_a_process_is_reported_by_its_name() -> None:
    process = ModelProcess("thread-pool")
    try:
        with pytest.raises(ModelProcessError, match="ConnectionRefusedError"):
            process.ask(PATIENCE, do="turn", workload="http-100", workers=2, setting={"http": 1, "scale": 0.02})
    finally:
        process.close()


def test_the_servers_end_with_their_parents_pipe() -> None:
    with serving() as ports:
        (child,) = [child for child in psutil.Process().children() if io_servers.__file__ in child.cmdline()]
        assert len({*ports}) == 2
    assert not child.is_running()


def test_cpu_seconds_count_children_that_live_and_children_that_died() -> None:
    spin = "import time\nwhile time.process_time() < 0.2: pass\n"
    watch = Stopwatch()
    watch.start()
    subprocess.run([sys.executable, "-c", spin], check=True)
    with subprocess.Popen(
        [sys.executable, "-c", f"{spin}print(flush=True)\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as living:
        assert living.stdout is not None
        assert living.stdin is not None
        living.stdout.readline()
        _, cpu = watch.stop()
        living.stdin.close()
    assert cpu >= 0.4


def test_work_of_a_child_that_died_meanwhile_is_counted_from_the_start_of_the_watch() -> None:
    assert work_between({1: 5.0, 2: 1.0}, {2: 1.5, 3: 0.25}, dead=5.5) == pytest.approx(0.5 + 0.25 + 0.5)
