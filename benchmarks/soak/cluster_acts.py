"""What is done to the processes of a cluster, and of the program that uses it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterable
from typing import NamedTuple

import psutil

from tests.cluster.processes import DaskCluster

WORKER_MAIN = "unified_exec._worker.main"
WORKERS = 3
NEXT_KEEPER = 3.0
"""Seconds until a Dask worker certainly has another keeper."""


class Act(NamedTuple):
    """A signal for one process, and perhaps another one later.

    Attributes:
        victim: which process.
        sign: the first signal.
        after: seconds until the second one, if there is one.
        then: the second one.
        weight: how often it is chosen.
        last: the program or its cluster does not go on after it.
    """

    victim: str
    sign: signal.Signals
    after: tuple[float, float] | None = None
    then: signal.Signals | None = None
    weight: int = 5
    last: bool = False

    def __str__(self) -> str:
        then = f", {self.then.name} after {self.after[0]:g} to {self.after[1]:g} s" if self.after and self.then else ""
        return f"{self.sign.name} of {self.victim}{then}"


KILL, STOP, CONT, TERM = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM
ACTS = (
    Act("inner worker", KILL, weight=30),
    Act("inner worker", STOP, (0.05, 3.0), CONT, 8),
    Act("inner worker", STOP, weight=4),
    Act("dask worker", KILL, weight=10),
    Act("dask worker", TERM, weight=5),
    Act("dask worker", STOP, (0.1, 2.0), CONT, 6),
    Act("dask worker", STOP, (4.0, 9.0), CONT, 6),
    Act("dask worker", STOP, (0.1, 9.0), KILL, 4),
    Act("keeper", KILL, weight=6),
    Act("nanny", KILL, weight=4),
    Act("nanny", STOP, (0.1, 5.0), CONT, 3),
    Act("scheduler", STOP, (0.1, 6.0), CONT, 4),
    Act("scheduler", KILL, weight=2, last=True),
    Act("program", STOP, (0.1, 2.0), CONT, 4),
    Act("program", STOP, (4.0, 9.0), CONT, 4),
    Act("program", KILL, weight=3, last=True),
    Act("program", STOP, (9.0, 9.0), KILL, 2, last=True),
)


class Victims:
    """Finds the processes of a cluster and a program, and sends them signals."""

    def __init__(self, cluster: DaskCluster, program: int, rng: random.Random) -> None:
        self._cluster = cluster
        self._program = program
        self._rng = rng
        self._later: list[tuple[float, psutil.Process, signal.Signals]] = []
        self._stopped: list[psutil.Process] = []
        self._keeper_at = 0.0

    def find(self, what: str) -> list[psutil.Process]:
        """Return the processes of one kind."""
        if what == "program":
            return existing([self._program])
        if what == "scheduler":
            return existing([self._cluster.scheduler])
        nannies = existing(self._cluster.workers)
        if what == "nanny":
            return nannies
        dask = [child for nanny in nannies for child in children(nanny) if "spawn_main" in command(child)]
        if what == "dask worker":
            return dask
        inner = [child for process in dask for child in children(process)]
        return [each for each in inner if (WORKER_MAIN in command(each)) == (what == "inner worker")]

    def do(self, act: Act) -> bool:
        """Send a signal to one of the processes of the kind; ``False`` if there is none."""
        found = self.find(act.victim)
        if not found:
            return False
        process = self._rng.choice(found)
        if self._leaves_nobody(act):
            return False
        send(process, act.sign)
        if act.sign == STOP:
            self._stopped.append(process)
        if act.victim == "keeper":
            self._keeper_at = time.monotonic()
        if act.after is not None and act.then is not None:
            self._later.append((time.monotonic() + self._rng.uniform(*act.after), process, act.then))
        return True

    def _leaves_nobody(self, act: Act) -> bool:
        """Tell whether nobody could end the jobs of a Dask worker in time: it and its keeper would be out at once."""
        if act.victim == "keeper":
            return any(process.is_running() and process.status() == psutil.STATUS_STOPPED for process in self._stopped)
        return act.victim == "dask worker" and act.sign == STOP and time.monotonic() - self._keeper_at < NEXT_KEEPER

    def follow(self) -> None:
        """Send the second signals that are due."""
        for entry in list(self._later):
            at, process, sign = entry
            if time.monotonic() >= at:
                self._later.remove(entry)
                send(process, sign)

    def pending(self) -> bool:
        return bool(self._later)

    def resume(self) -> None:
        """Let everything go on that was stopped, and replace the nannies that are gone."""
        for process in self._stopped:
            send(process, CONT)
        self._stopped.clear()
        self._cluster.workers[:] = [process.pid for process in existing(self._cluster.workers)]
        while len(self._cluster.workers) < WORKERS:
            self._cluster.workers.append(self._cluster.add_worker())


def existing(pids: Iterable[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def send(process: psutil.Process, sign: signal.Signals) -> None:
    try:
        process.send_signal(sign)
    except psutil.NoSuchProcess:
        pass
