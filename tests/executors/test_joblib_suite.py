"""A part of joblib's own `test_parallel.py`, with our backend next to loky in its list of process backends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Not selected, as they cannot pass: `test_backend_nesting_level`, `test_parallel_with_interactively_defined_functions`
# and `..._unpicklable_functions_in_args` name our backend in workers or programs in which nobody has registered it.
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

HOOKS = f"""
from unified_exec.executor import register_joblib

register_joblib()


def pytest_collection_modifyitems(items):
    names = {SELECTED!r}
    items[:] = [item for item in items if item.name.startswith(names) and "unified_exec" in item.name]
"""


def test_joblibs_own_tests_pass_with_our_backend(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    text = (Path(joblib.__file__).parent / "test" / "test_parallel.py").read_text(encoding="utf-8")
    listed = 'PROCESS_BACKENDS = ["multiprocessing", "loky"'
    assert listed in text
    (tmp_path / "test_parallel.py").write_text(text.replace(listed, f'{listed}, "unified_exec"'), encoding="utf-8")
    (tmp_path / "conftest.py").write_text(HOOKS, encoding="utf-8")
    plain = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plain, "test_parallel.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "10 passed" in done.stdout
