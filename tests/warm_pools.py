"""The default pools between tests: worker processes stay warm for the tests of one module.

A worker takes a tenth of a second of a core to start, a warm one a few milliseconds to be used again. Tests about
starting, ending or inheriting ask for new ones with `@pytest.mark.fresh_pool`. Threads cost next to nothing and are
ended after each test.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Hashable, Iterator
from mmap import mmap
from pathlib import Path
from typing import Any

import psutil

POOLS = "unified_exec._pools.default_pools"


def rest() -> None:
    """End the threads and interpreters of the default pools; the worker processes must be idle, and stay.

    Raises:
        RuntimeError: a scope still runs tasks in one of the pools.
    """
    module = sys.modules.get(POOLS)
    if module is None:
        return
    for pool in (module._threads, module._cores, module._interpreters):
        if pool is not None:
            pool.close()
    if module._processes is not None and module._processes.is_busy():
        shut_down()


def shut_down() -> None:
    """End the default pools and wait for their workers.

    Raises:
        RuntimeError: a scope still runs tasks in one of them.
    """
    module = sys.modules.get(POOLS)
    if module is not None:
        module.shutdown_default_pools()


def holdings() -> set[Hashable]:
    """What the warm workers need in this process, by the keys of `leaks.KINDS`: each worker itself, the descriptors
    and the memory that connect it. What a worker has started is not among it."""
    module = sys.modules.get(POOLS)
    pool: Any = module and module._processes
    found: set[Hashable] = set()
    addresses: set[str] = set()
    descriptors: set[int] = set()
    workers = list(pool._registry.workers) if pool is not None else []
    template = pool and pool._registry.templates._now
    for child in (*(worker.child for worker in workers), *([template._child] if template else ())):
        try:
            found.add((child.pid, psutil.Process(child.pid).create_time()))
        except psutil.NoSuchProcess:
            pass
        for part in child:
            if isinstance(part, mmap):
                addresses.update(_address(part))
            elif hasattr(part, "fileno"):
                descriptors.add(part.fileno())
        if child.pidfd is not None:
            descriptors.add(child.pidfd)
    descriptors.update(worker.inbox.logs.fd for worker in workers if worker.inbox.logs is not None)
    mapped = [line for line in _maps() if line.partition("-")[0] in addresses] if addresses else []
    found.update(mapped)
    found.update(_descriptors(descriptors, {_file(line) for line in mapped}))
    return found


def _address(memory: mmap) -> Iterator[str]:
    try:
        yield f"{ctypes.addressof(ctypes.c_char.from_buffer(memory)):x}"
    except ValueError:  # closed
        pass


def _maps() -> list[str]:
    try:
        return Path("/proc/self/maps").read_text(errors="replace").splitlines()
    except OSError:  # no such file on this system
        return []


def _file(line: str) -> tuple[int, str]:
    """Inode and path of a mapping."""
    *_, inode, path = line.split(maxsplit=5)
    return int(inode), path


def _descriptors(numbers: set[int], files: set[tuple[int, str]]) -> Iterator[Hashable]:
    """The descriptors with these numbers, and those that mappings keep of their files."""
    paths = {path for _, path in files}
    for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else ():
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            if int(name) in numbers or (target in paths and (os.stat(int(name)).st_ino, target) in files):
                yield int(name), target
        except OSError:  # the descriptor that listed the folder
            pass
