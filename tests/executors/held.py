"""Calls that are held up, fail or die, for the tests of the executors."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.contract import tasks
from tests.waiting import until
from unified_exec import (
    Cancelled,
    ProcessPool,
    ThreadPool,
)
from unified_exec.executor import ProcessExecutor, ThreadExecutor

NEVER = 600.0
PATIENT = 60.0
EXECUTORS = [ProcessExecutor, ThreadExecutor]
POOLS = {ProcessExecutor: ProcessPool, ThreadExecutor: ThreadPool}


class Held:
    """Calls that run until they are let go."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, executor: Any, name: str) -> Any:
        future = executor.submit(tasks.hold, self.path, name)
        self.wait_for_start(name)
        return future

    def wait_for_start(self, name: str) -> None:
        assert until((self.path / f"{name}.started").exists, PATIENT)

    def wait_for_end(self, name: str) -> None:
        assert until((self.path / f"{name}.ended").exists, PATIENT)

    def started(self, name: str) -> bool:
        return (self.path / f"{name}.started").exists()

    def release(self, *names: str) -> None:
        for name in names:
            (self.path / f"{name}.go").touch()


def capture(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def fail(text: str) -> None:
    raise ValueError(text)


def die(how: int) -> None:
    os.kill(os.getpid(), how)


def spin_deaf(path: Path) -> None:
    while True:
        try:
            (path / "deaf.started").touch()  # in here: it may be asked to stop at once
            while True:
                time.sleep(0.001)
        except Cancelled:
            pass
