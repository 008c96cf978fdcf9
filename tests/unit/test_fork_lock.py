"""The locks of pickling by value in a forked child."""

from __future__ import annotations

import os
import threading
import warnings

import pytest

from unified_exec._tasks.fork_lock import fork_lock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def _in_child(lock: threading.Lock) -> bool:
    """Tell whether a forked child can take the lock and release all it has of it."""
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=30) else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_lock_that_another_thread_held_is_free_in_a_forked_child() -> None:
    lock, held, done = fork_lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert _in_child(lock)
    finally:
        done.set()
        thread.join()


def test_a_lock_that_the_forking_thread_holds_is_still_its_own_in_the_child() -> None:
    lock = fork_lock()
    with warnings.catch_warnings(action="ignore"):
        with lock:
            child = os.fork()
            if child == 0:
                try:
                    lock.release()
                    lock.acquire()
                    os._exit(0)
                finally:
                    os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
