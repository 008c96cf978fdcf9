"""A worker process that is started while the program still imports.

Its interpreter starts on another core meanwhile: the first process task finds it up. It knows nothing of the program
until a pool takes it, and a pool takes it only if a worker started at that moment would inherit the same.
"""

from __future__ import annotations

import atexit
import os
import sys
from importlib.util import find_spec

from ..._loops import current
from ..._loops.adapter import LoopAdapter
from ..._platform import cpu_count
from ...errors import WorkerStartError
from .child import Child
from .start_worker import start_process

UNCLAIMED_SECONDS = 5.0
"""After so many seconds of its first event loop a program that has not used the process gets rid of it."""

_STATUS = "/proc/thread-self/status"
_LIMITS = "/proc/thread-self/limits"
_INHERITED = (b"Umask", b"Uid", b"Gid", b"Groups", b"SigIgn", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_", b"Mems_")

_waiting: list[tuple[Child, object]] = []  # one or none; taken with `pop`, which no two threads can do at once


def begin() -> None:
    """Start the process, for the first pool that wants a worker like it. Does nothing where it cannot be compared."""
    inherited = _inherited()
    if inherited is None or _waiting:
        return
    cores = cpu_count.cpu_count()
    environment = {**os.environ, **cpu_count.worker_environment(dict(os.environ), cores, cores)}
    try:
        child = start_process(environment, _folder_of_cloudpickle())
    except WorkerStartError:
        return  # whoever needs a worker will be told
    _waiting.append((child, (environment, inherited)))
    atexit.register(discard)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
    current.at_first_port = _give_notice


def take(environment: dict[str, str]) -> Child | None:
    """The process, if there still is one and a new one with this environment would be no different."""
    try:
        child, birth = _waiting.pop()
    except IndexError:
        return None
    if birth == (environment, _inherited()):
        return child
    _waiting.append((child, birth))
    return None


def discard() -> None:
    """End the process if nobody has taken it."""
    try:
        child, _ = _waiting.pop()
    except IndexError:
        return
    child.reap()
    child.close()


def _give_notice(port: LoopAdapter) -> None:
    port.call_later(UNCLAIMED_SECONDS, discard)


def _after_fork() -> None:
    while _waiting:
        _waiting.pop()[0].close()


def _inherited() -> tuple[object, ...] | None:
    """What a process gets from its parent besides the environment: folder, user, limits, masks, priority."""
    try:
        with open(_STATUS, "rb") as file:
            status = [line for line in file if line.startswith(_INHERITED)]
        with open(_LIMITS, "rb") as file:
            limits = file.read()
        return sys.executable, os.getcwd(), os.getpriority(os.PRIO_PROCESS, 0), status, limits
    except OSError:
        return None


def _folder_of_cloudpickle() -> str:
    """Where the worker finds what it needs for functions without an importable name, such as those of a script."""
    spec = find_spec("cloudpickle")
    return os.path.dirname(os.path.dirname(spec.origin)) if spec is not None and spec.origin else ""
