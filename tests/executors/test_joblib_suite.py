"""joblib's own `test_parallel.py`, with our backend next to loky in its list of process backends.

A part of it runs in the suite, all of it with ``-m soak``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAILING = (
    # They name our backend in workers of another one, or in programs, where nobody has registered it.
    "test_nested_loop[loky-",
    "test_nested_loop[back_compat_backend-",
    "test_backend_nesting_level[parallel_config-unified_exec-loky]",
    "test_backend_nesting_level[parallel_backend-unified_exec-loky]",
    "test_parallel_with_interactively_defined_functions",
    "test_parallel_with_unpicklable_functions_in_args",
    # They look for the memory maps of loky: our arrays travel in shared memory.
    "test_auto_memmap_on_arrays_from_generator",
    "test_memmapping_leaks",
    # It reads loky's private list of workers.
    "test_error_capture",
    # Without `n_jobs` this backend uses all cores, as joblib's backends for Dask and Ray do.
    "test_nested_backend_in_sequential[parallel_config-unified_exec-None]",
    "test_nested_backend_in_sequential[parallel_backend-unified_exec-None]",
)
SELECTED = (
    "test_simple_parallel[2-2",
    "test_simple_parallel[100--1",
    "test_parallel_pretty_print[2",
    "test_parallel_timeout_success",
    "test_parallel_timeout_fail[",
    "test_dispatch_one_job",
    "test_batching_auto_subprocesses",
    "test_backend_context_manager",
)
ALL = ("test_",)

HOOKS = """
from unified_exec.executor import register_joblib

register_joblib()
SELECTED, FAILING = {}


def pytest_collection_modifyitems(items):
    items[:] = [
        item
        for item in items
        if item.name.startswith(SELECTED) and not item.name.startswith(FAILING) and "unified_exec" in item.name
    ]
"""


def test_joblibs_own_tests_pass_with_our_backend(tmp_path: Path) -> None:
    assert "10 passed" in run(tmp_path, SELECTED, within=110)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_all_of_joblibs_own_tests_pass_with_our_backend_but_those_that_cannot(tmp_path: Path) -> None:
    run(tmp_path, ALL, within=880)


def run(folder: Path, selected: tuple[str, ...], within: float) -> str:
    """Run those of joblib's tests that take our backend, and whose names begin so; return what pytest printed."""
    joblib = pytest.importorskip("joblib")
    text = (Path(joblib.__file__).parent / "test" / "test_parallel.py").read_text(encoding="utf-8")
    listed = 'PROCESS_BACKENDS = ["multiprocessing", "loky"'
    assert listed in text
    (folder / "test_parallel.py").write_text(text.replace(listed, f'{listed}, "unified_exec"'), encoding="utf-8")
    hooks = HOOKS.replace("{}", repr((selected, FAILING)))
    (folder / "conftest.py").write_text(hooks, encoding="utf-8")
    plain = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plain, "test_parallel.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout
