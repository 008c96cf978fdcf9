"""The keeper alone: it kills the workers of an agent that has stopped, and never keeps those of a killed one alive."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.cluster.processes import ROOT
from tests.waiting import has_ended, until
from unified_exec.cluster.keeper import Keeper

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="the keeper needs process groups"),
]
FOREVER = 3600.0

AGENT = """
import asyncio, os, signal, sys
from tests.cluster.tasks import tick
from tests.cluster.gate_sender import Ends, Sender
from unified_exec._loops.current import current_adapter
from unified_exec._pools.process.relay import Gate, GateOptions
from unified_exec.cluster.keeper import Keeper

async def main(folder):
    keeper = Keeper(3600.0)
    os.kill(keeper.pid, signal.SIGSTOP)  # it has not read what it is sent, as while it still starts
    print(keeper.pid, flush=True)
    ends = Ends()
    gate = Gate(current_adapter(), 1, ends, GateOptions(), "a node", keeper.watch)
    Sender(gate, ends).submit(1, tick, folder, "task", 600.0)
    await asyncio.sleep(600)

asyncio.run(main(sys.argv[1]))
"""


def worker(pid: int = 0, pidfd: int | None = None, lifeline: Any = None) -> Any:
    """As much of a worker's process as the keeper needs."""
    return SimpleNamespace(pid=pid, pidfd=pidfd, lifeline=lifeline)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_killed_agent_takes_its_workers_along_before_its_keeper_does_anything(tmp_path: Path) -> None:
    """The order in which a job once ran on for a second after its node was told to be lost."""
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert agent.stdout is not None
    keeper = psutil.Process(int(agent.stdout.readline()))
    try:
        assert until(lambda: (tmp_path / "task.begun").exists(), 60)
        runs = psutil.Process(int((tmp_path / "task.pid").read_text()))
        agent.kill()
        agent.wait()
        assert until(lambda: has_ended(runs), 30)
        assert keeper.status() == psutil.STATUS_STOPPED
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()
        keeper.send_signal(signal.SIGCONT)
    assert until(lambda: has_ended(keeper), 60)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="there are no pidfds")
def test_without_beats_a_worker_is_killed_with_its_group(sleeper: subprocess.Popen[bytes]) -> None:
    keeper, lifelines = Keeper(0.1), socket.socketpair()
    pidfd = os.pidfd_open(sleeper.pid)
    try:
        keeper.watch(worker(sleeper.pid, pidfd, lifelines[0]))
        assert sleeper.wait(60) == -signal.SIGKILL
    finally:
        keeper.close()
        os.close(pidfd)
        for end in lifelines:
            end.close()


def test_without_pidfds_the_lifeline_tells_a_worker_that_there_are_no_beats() -> None:
    keeper, (ours, its) = Keeper(0.1), socket.socketpair()
    try:
        keeper.watch(worker(lifeline=ours))
        its.settimeout(60)
        assert its.recv(1) == b"x"
    finally:
        keeper.close()
        ours.close()
        its.close()


def test_a_keeper_that_is_stopped_is_replaced_and_the_next_one_has_the_workers() -> None:
    keeper, (ours, its) = Keeper(FOREVER), socket.socketpair()
    first = keeper.pid
    try:
        keeper.watch(worker(lifeline=ours))
        os.kill(first, signal.SIGSTOP)
        for _ in range(100_000):
            keeper.beat()
            if keeper.pid != first:
                break
        assert keeper.pid != first
        ours.close()  # from now on only the next keeper holds that end
        with pytest.raises(BlockingIOError):
            its.recv(1, socket.MSG_DONTWAIT)
        os.kill(keeper.pid, signal.SIGKILL)
        its.settimeout(60)
        assert its.recv(1) == b""
    finally:
        keeper.close()
        ours.close()
        its.close()


def test_a_worker_that_a_busy_keeper_could_not_be_told_of_is_told_with_the_next_beat() -> None:
    keeper, (ours, its) = Keeper(FOREVER), socket.socketpair()
    first = keeper.pid
    try:
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(BlockingIOError):
            while True:
                keeper._beats.send(b".")
        keeper.watch(worker(lifeline=ours))
        os.kill(first, signal.SIGCONT)
        assert select.select([], [keeper._beats], [], 60)[1]
        keeper.beat()
        assert keeper.pid == first
        ours.close()  # from now on only the keeper holds that end
        with pytest.raises(BlockingIOError):
            its.recv(1, socket.MSG_DONTWAIT)
    finally:
        keeper.close()
        ours.close()
        its.close()


def test_a_keeper_that_cannot_be_replaced_now_is_replaced_with_a_later_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(FOREVER)
    first = keeper.pid
    try:
        os.kill(first, signal.SIGKILL)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_memory)
            assert until(lambda: keeper.beat() or keeper._process.returncode is not None, 60)
            keeper.beat()
        keeper.beat()
        assert keeper.pid != first
    finally:
        keeper.close()


def no_memory(*_: Any, **__: Any) -> None:
    raise BlockingIOError("no process is left")


def test_closing_does_not_wait_for_a_keeper_that_is_stopped() -> None:
    keeper = Keeper(FOREVER)
    os.kill(keeper.pid, signal.SIGSTOP)
    keeper.close()
    assert not psutil.pid_exists(keeper.pid)
