"""anyio's own tests of task groups and threads: `TaskScope` is its task group, and `call` its `to_thread.run_sync`.

anyio's wheel has no tests: pip fetches the source of the installed version. With ``-m soak``.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest

SUITES = ("test_taskgroups", "test_to_thread", "test_from_thread")
FAILING = (
    # A call whose scope is cancelled before its thread has begun never begins; these expect that it has.
    "test_thread_cancelled[",
    "test_cancel_wait_on_thread[",
    # `check_cancelled` raises our `Cancelled` in the thread, not the exception of the event loop.
    "test_thread_cancelled_and_abandoned[",
    # What an abandoned task runs on the loop is cancelled with the task; here it is expected to go on.
    "test_cancelscope_propagation_when_abandoned[",
    # They look into anyio's threads: how many there are, their queues, and how they report to the loop.
    "test_run_sync_from_thread_pooling",
    "test_asyncio_worker_reused_after_cancelled_call[",
    "test_asyncio_worker_thread_loop_closed_during_result_report",
    # It counts all threads, also that in which a call sleeps which an earlier test has abandoned.
    "test_single_thread[",
    # The message has other words, and the name of the task.
    "test_stopiteration[",
)

PLUGIN = """
import sys
import warnings

import anyio.to_thread

from unified_exec import TaskScope, call

FAILING = {}


async def run_sync(fn, *args, abandon_on_cancel=False, cancellable=None, limiter=None):
    if cancellable is not None:
        warnings.warn("The `cancellable=` keyword argument is deprecated", DeprecationWarning, stacklevel=2)
        abandon_on_cancel = cancellable
    options = {"on": "thread", "abandon": True} if abandon_on_cancel else {"on": "thread"}
    if limiter is None:
        return await call(fn, *args, **options)
    async with limiter:
        return await call(fn, *args, **options)


anyio.to_thread.run_sync = run_sync


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if not item.name.startswith(FAILING)]
    for name in ("test_taskgroups", "test_to_thread", "test_from_thread"):
        if (module := sys.modules.get(f"tests.{name}")) is not None:
            module.create_task_group = TaskScope
"""


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("suite", SUITES)
def test_anyios_own_tests_pass_with_our_scopes_and_calls(suite: str, tmp_path: Path) -> None:
    pytest.importorskip("pytest_mock", reason="anyio's tests need it")
    pytest.importorskip("trustme", reason="anyio's tests need it")
    source = fetch_source(tmp_path) / "tests"
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in ("__init__", "conftest", suite):
        (tests / f"{name}.py").write_text((source / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "ours.py").write_text(PLUGIN.replace("{}", repr(FAILING)), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\nfilterwarnings = error\n", encoding="utf-8")
    without = [part for name in ("asyncio", "xdist", "cacheprovider") for part in ("-p", f"no:{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *without, "-p", "ours", "--timeout", "60", "tests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def fetch_source(folder: Path) -> Path:
    """Fetch and unpack the source of the installed anyio."""
    name = f"anyio-{version('anyio')}"
    options = ["--quiet", "--no-deps", "--no-binary", "anyio", "--dest", str(folder)]
    asked = [sys.executable, "-m", "pip", "download", *options, name.replace("-", "==")]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"the source of {name} cannot be had here: {done.stderr[-500:]}")
    with tarfile.open(folder / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name
