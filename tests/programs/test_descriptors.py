"""Programs without standard streams, and with few descriptors left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.programs import run_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for descriptors in /proc")


@pytest.mark.parametrize("closed", [(0,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_no_descriptor_of_ours_takes_the_number_of_a_closed_stream(closed: tuple[int, ...], tmp_path: Path) -> None:
    """A daemon closes them. In its workers they are there and lead nowhere."""
    code = f"""
import os
for fd in {closed}:
    os.close(fd)
from unified_exec import ProcessPool, SyncTaskScope, share
from unified_exec.executor import ProcessExecutor
def low():
    return {{fd: os.readlink(f"/proc/self/fd/{{fd}}") for fd in range(3) if os.path.exists(f"/proc/self/fd/{{fd}}")}}
def low_with(data):
    return low(), data
async def low_in_a_loop():
    return low()
def check(found, closed):
    assert not any(found.get(fd, "/dev/null") != "/dev/null" for fd in closed), found
    return found
seen = []
with ProcessPool(2) as pool, SyncTaskScope(processes=pool) as scope:
    shared = share(bytes(3_000_000))
    for fn, *args in (low,), (low_in_a_loop,), (low_with, bytes(3_000_000)), (low_with, shared):
        seen.append(scope.spawn(fn, *args, on="process").result())
        assert not any(fd in low() for fd in {closed}), low()
with ProcessExecutor(1) as processes:
    seen.append(processes.submit(low).result())
    assert not any(fd in low() for fd in {closed}), low()
for found in seen:
    found = found[0] if type(found) is tuple else found
    assert all(found[fd] == "/dev/null" for fd in {closed}), found
with open({str(tmp_path / "fine")!r}, "w") as file:
    file.write("fine")
"""
    ended = run_script(tmp_path, code)
    assert ended.code == 0, ended
    assert (tmp_path / "fine").read_text() == "fine"


def test_a_closed_stream_is_kept_free_until_the_last_thread_has_opened_its_descriptors(tmp_path: Path) -> None:
    code = """
import os
from unified_exec._platform.posix import StandardTaken, above_standard
os.close(0)
first, second = StandardTaken(), StandardTaken()
first.__enter__()
second.__enter__()
first.release()
assert os.open("/dev/null", os.O_RDONLY) > 2
second.release()
transient = os.open("/dev/null", os.O_RDONLY)
with StandardTaken():
    assert transient == 0 and above_standard(transient) > 2
    assert os.open("/dev/null", os.O_RDONLY) > 2
assert not os.path.exists("/proc/self/fd/0")
"""
    ended = run_script(tmp_path, code)
    assert ended.code == 0, ended


def test_a_start_that_fails_for_want_of_descriptors_leaves_none_open(tmp_path: Path) -> None:
    code = """
import asyncio, gc, os, resource
from unified_exec import Collect, ProcessPool, TaskScope, WorkerStartError
def descriptors():
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in map(int, os.listdir("/proc/self/fd"))
                  if os.path.exists(f"/proc/self/fd/{fd}"))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
async def use():
    async with ProcessPool(1) as pool, TaskScope(processes=pool, policy=Collect()) as scope:
        handle = scope.spawn(abs, -1, on="process")
    return handle.exception()
async def main():
    await use()  # whatever is imported is there
    before, failed = descriptors(), 0
    for limit in range(len(before), len(before) + 20):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        error = await use()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        failed += error is not None
        assert descriptors() == before, (limit, error, before, descriptors())
    print(failed > 5)
asyncio.run(main())
"""
    assert run_script(tmp_path, code).check().out == "True\n"
