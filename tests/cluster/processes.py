"""Clusters of separate processes: Dask's scheduler, and workers each with its nanny, started with Dask's own commands;
and Ray's processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import psutil
import pytest

from tests import process_tree
from tests.waiting import until, until_async

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def listens(host: str, port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((host, port)) == 0


class DaskCluster:
    """Starts in the background: a pool waits for the nodes.

    Args:
        workers: how many Dask workers.
        options: of ``dask worker``.
        security: options of both commands, for TLS.

    Attributes:
        address: of the scheduler.
        scheduler, workers: process ids.
    """

    def __init__(self, workers: int = 2, options: tuple[str, ...] = (), security: tuple[str, ...] = ()) -> None:
        self._log: Any = tempfile.NamedTemporaryFile()
        env = {name: value for name, value in os.environ.items() if name != process_tree.MARK}
        env["PYTHONPATH"] = str(ROOT)  # the nodes import the tests
        self._launcher: Any = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.launcher", self._log.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            cwd=ROOT,
            text=True,
        )
        self._launcher.wait()
        scheme, port = "tls" if security else "tcp", free_port()
        self.address = f"{scheme}://127.0.0.1:{port}"
        self._security = security
        self._options = ("--nthreads", "1", "--memory-limit", "0", *options)
        self.scheduler = self._start("scheduler", "--host", f"{scheme}://127.0.0.1", "--port", str(port), "--no-show")
        self.workers = [self.add_worker() for _ in range(workers)]

    def add_worker(self, *options: str) -> int:
        """Start one more worker; its process id, or that of its nanny."""
        return self._start("worker", self.address, *self._options, *options)

    def _start(self, what: str, *args: str) -> int:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *args, *self._security, "--no-dashboard"]
        print(json.dumps(command), file=self._launcher.stdin, flush=True)
        return int(self._launcher.stdout.readline())

    def wait_until_up(self) -> None:
        """Wait until the scheduler listens."""
        host, _, port = self.address.partition("://")[2].partition(":")
        assert until(lambda: listens(host, int(port)), 60), self.printed()

    def printed(self) -> str:
        """What its processes have printed."""
        return Path(self._log.name).read_text(errors="replace")

    def close(self) -> None:
        """End all its processes."""
        self._launcher.stdin.close()
        self._launcher.stdout.read()
        self._launcher.stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def ray_cluster(home: Path, **options: Any) -> Iterator[None]:
    """Start Ray with two CPUs. It writes a token into the home folder, so it gets one of its own."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PYTHONPATH", str(ROOT))  # the nodes import the tests
        options = {"num_cpus": 2, "object_store_memory": 80 << 20, **options}
        ray.init(include_dashboard=False, log_to_driver=False, **options)
        try:
            yield
        finally:
            ray.shutdown()


def agent_of(pid: int) -> int:
    """The process of the engine in whose process tree a worker of ours runs: not Dask's nanny."""
    parent = psutil.Process(pid).parent()
    assert parent is not None
    return parent.pid


async def started(folder: Path, name: str) -> int:
    """Wait until a task of `tests.cluster.tasks` has begun; its process id."""
    file = folder / f"{name}.pid"
    assert await until_async(lambda: (folder / f"{name}.begun").exists(), 60)
    return int(file.read_text())


def in_main(code: str) -> Any:
    """Functions of a program's `__main__`, which travel by value."""
    module = ModuleType("__main__")
    exec(code, module.__dict__)
    return module
