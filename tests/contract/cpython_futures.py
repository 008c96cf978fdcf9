"""Runs CPython's own tests of `concurrent.futures` on this package's executors.

    python -m tests.contract.cpython_futures [test_wait ...]

The tests are those of the running interpreter's `test` package; none of them is copied here. `LEFT_OUT` names each test
that is not run, and why.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import importlib.util
import os
import sys
import unittest
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from unified_exec import executor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODULES = (
    "test_wait",
    "test_as_completed",
    "test_future",
    "test_thread_pool",
    "test_process_pool",
    "test_init",
    "test_shutdown",
    "test_deadlock",
    *(("test_interpreter_pool",) if sys.version_info >= (3, 14) else ()),
)
PACKAGE = "test.test_concurrent_futures"
"""A package of modules since 3.12; before that one module."""

FORK = "the fork start method: workers are fresh interpreters, and mp_context says so"
BREAKS = "wants one crash to break the whole pool; here it costs one future"
THREADS = "reads the private `_threads`"
BY_VALUE = "wants a closure, a local class or its method refused; here they travel by value"
PROCESSES = "reads the private `_processes`"
MANAGER = "reads or replaces the private manager thread"
FORCED = "reads or replaces the private `_force_shutdown`"
EXIT = f"sys.exit() while unpickling {BREAKS}, and raises the SystemExit itself"

LEFT_OUT = {
    "*.ProcessPoolFork[!s]*": FORK,
    "*.test_killed_child": f"{PROCESSES}; {BREAKS}",
    "*ProcessPool*.test_saturation": PROCESSES,
    "*ThreadPool*.test_saturation": THREADS,
    "*InterpreterPool*.test_saturation": THREADS,
    "*.test_idle_process_reuse_*": PROCESSES,
    "*.test_idle_thread_reuse": THREADS,
    "*.test_max_tasks_per_child": PROCESSES,
    "*.test_max_tasks_per_child_defaults_to_spawn_context": "reads the private `_mp_context`",
    "*.test_traceback": "wants the private `_RemoteTraceback` as the cause; here the traceback has the frames",
    "*.test_python_finalization_error": "replaces private threading functions to starve the private queue threads",
    "*.test_hang_global_shutdown_lock": "asks for fork",
    "*.test_threads_terminate": THREADS,
    "*.test_processes_terminate": PROCESSES,
    "*ThreadPoolShutdownTest.test_context_manager_shutdown": THREADS,
    "*ProcessPool*ShutdownTest.test_context_manager_shutdown": PROCESSES,
    "*ThreadPoolShutdownTest.test_del_shutdown": THREADS,
    "*ProcessPool*ShutdownTest.test_del_shutdown": f"{PROCESSES}; {MANAGER}",
    "*ThreadPoolShutdownTest.test_shutdown_no_wait": THREADS,
    "*ProcessPool*ShutdownTest.test_shutdown_no_wait": f"{PROCESSES}; {MANAGER}",
    "*.test_thread_names_*": THREADS,
    "*.test_shutdown_deadlock_pickle": MANAGER,
    "*.test_gh105829_should_not_deadlock_if_wakeup_pipe_full": MANAGER,
    "*.test_exit_at_task_unpickle": EXIT,
    "*.test_exit_during_result_unpickle_in_result_handler": EXIT,
    "*.test_broken_process_pool_traceback": f"{PROCESSES}; {BREAKS}",
    "*.test_gc_during_max_tasks_worker_exit_gh152967": MANAGER,
    "*.test_shutdown_no_wait_max_tasks_gh119592": MANAGER,
    "*.test_force_shutdown_during_max_tasks_worker_exit": MANAGER,
    "*.test_failed_worker_replacement_breaks_pool": MANAGER,
    "*.test_shutdown_gh_132969_case_?": MANAGER,
    "*.test_terminate_workers": FORCED,
    "*.test_kill_workers": FORCED,
    "*.test_force_shutdown_workers_invalid_op": FORCED,
    "*.test_force_shutdown_workers": PROCESSES,
    "*.test_force_shutdown_workers_stops_pool": PROCESSES,
    "*ProcessPool*.test_traceback_when_child_process_terminates_abruptly": (
        "wants the private `_RemoteTraceback` as the cause; here the message has the exit code"
    ),
    "*FailingInitializer*": "reads the private `_broken` and wants a failed initializer to break the pool for good",
    "*.test_max_workers_too_large": "Windows only",
    "*InterpreterPool*.test_init_closure": BY_VALUE,
    "*InterpreterPool*.test_init_instance_method": BY_VALUE,
    "*InterpreterPool*.test_submit_closure": BY_VALUE,
    "*InterpreterPool*.test_submit_instance_method": BY_VALUE,
    "*InterpreterPool*.test_submit_local_instance": BY_VALUE,
    "*InterpreterPool*.test_init_exception_in_func": "wants the error on stderr as well; here it is the future's",
    "*InterpreterPool*.test_submit_exception_in_func": (
        "wants an `ExecutionFailed` as the cause; here the traceback has the frames"
    ),
    "*InterpreterPool*.test_pickle_errors_propagate": (
        "wants a `NotShareableError` for an argument that cannot be rebuilt; here it is a `SerializationError`"
    ),
    "*InterpreterPool*.test_thread_name_prefix": "reads the private `_thread_name_prefix`",
    "*InterpreterPool*.test_thread_name_prefix_with_thread_get_name": (
        "wants threads named after the standard executor's class"
    ),
    "*test_interpreter_pool.AsyncioTest.test_default_executor": (
        "`set_default_executor` accepts the standard library's thread pool only"
    ),
}


class ThreadPoolExecutor(executor.ThreadExecutor):
    """Under the name that the tests write into the programs they start."""


class ProcessPoolExecutor(executor.ProcessExecutor):
    """Under the name that the tests write into the programs they start."""


class InterpreterPoolExecutor(executor.InterpreterExecutor):
    """Under the name that the tests write into the programs they start."""


def put_in_place() -> None:
    """Let `concurrent.futures` offer our executors as its own."""
    for ours in (ThreadPoolExecutor, ProcessPoolExecutor, InterpreterPoolExecutor):
        setattr(concurrent.futures, ours.__name__, ours)


IN_CHILD = f"""\
import sys
sys.path.insert(0, {ROOT!r})
sys.path.extend(entry for entry in {sys.path!r} if entry and entry not in sys.path)
from tests.contract.cpython_futures import put_in_place
put_in_place()
"""


def patch_programs(module: Any) -> None:
    """Let the programs that the tests start do the same."""
    from test.support import script_helper

    def assert_python_ok(*args: str, **env: str) -> Any:
        option, *rest = args
        code = rest.pop(0) if option == "-c" else Path(option).read_text()
        return script_helper.assert_python_ok("-c", IN_CHILD + code, *rest, **env)

    if hasattr(module, "assert_python_ok"):
        module.assert_python_ok = assert_python_ok
    if hasattr(module, "script_helper"):
        module.script_helper = SimpleNamespace(**{**vars(script_helper), "assert_python_ok": assert_python_ok})


def has_tests() -> bool:
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ImportError:
        return False


def is_package() -> bool:
    """Whether there is a module for each subject, or one for all."""
    spec = importlib.util.find_spec(PACKAGE)
    return spec is not None and spec.submodule_search_locations is not None


def load(names: tuple[str, ...]) -> unittest.TestSuite:
    put_in_place()
    package = importlib.import_module(PACKAGE)
    suite = unittest.TestSuite()
    if not hasattr(package, "__path__"):
        patch_programs(package)
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(package))
        return suite
    for name in names:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        patch_programs(module)
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
    return suite


def each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        elif isinstance(test, unittest.TestCase):
            yield test


def reason(test: unittest.TestCase) -> str | None:
    """Why a test is left out, if it is."""
    return next((why for pattern, why in LEFT_OUT.items() if fnmatchcase(test.id(), pattern)), None)


def main(names: tuple[str, ...]) -> int:
    if not has_tests():
        print(f"this interpreter has no {PACKAGE}: {sys.executable}")
        return 77
    kept, left_out = unittest.TestSuite(), []
    for test in each(load(names)):
        why = reason(test)
        if why is None:
            kept.addTest(test)
        else:
            left_out.append((test.id(), why))
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout, warnings="default").run(kept)
    for id, why in left_out:
        print(f"left out: {id}: {why}")
    from test import support

    altered = getattr(support, "environment_altered", False)
    print(f"ran {result.testsRun}, skipped {len(result.skipped)}, left out {len(left_out)}, left behind: {altered}")
    return 0 if result.wasSuccessful() and result.testsRun and not altered else 1


if __name__ == "__main__":
    # Under its importable name: what the tests hand to a worker must not be of `__main__`.
    from tests.contract import cpython_futures

    sys.exit(cpython_futures.main(tuple(sys.argv[1:]) or MODULES))
