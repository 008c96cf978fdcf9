"""Law 1.8: the application may fork while a pool is up; parent and child each keep what is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import programs

HEAD = """
    import os, sys, threading, warnings
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    import anyio
    from unified_exec import ProcessPool, TaskScope, call, shutdown_default_pools

    BACKEND = {backend!r}

    async def where():
        return await call(os.getpid, on="process")

    def in_child(fn):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                fn()
                code = 0
            except BaseException:
                import traceback
                traceback.print_exc()
                code = 1
            finally:
                sys.stdout.flush()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
BACKENDS = ["asyncio", "trio"]


def run(folder: Path, backend: str, body: str) -> list[str]:
    return programs.run_script(folder, HEAD.replace("{backend!r}", repr(backend)) + body).check().lines


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_has_workers_of_its_own_and_leaves_the_parents_alone(backend: str, tmp_path: Path) -> None:
    body = """
    first = anyio.run(where, backend=BACKEND)

    def child():
        mine = anyio.run(where, backend=BACKEND)
        assert mine != first
        assert anyio.run(where, backend=BACKEND) == mine
        assert os.path.exists(f"/proc/{first}")
        shutdown_default_pools()

    print(in_child(child), in_child(child))
    print(anyio.run(where, backend=BACKEND) == first)
    """
    assert run(tmp_path, backend, body) == ["0 0", "True"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fork_inside_a_running_loop_with_tasks_at_work_disturbs_nothing(backend: str, tmp_path: Path) -> None:
    body = """
    def nothing():
        pass

    def close():
        shutdown_default_pools()

    async def main():
        async with TaskScope() as scope:
            handles = [scope.spawn(pow, n, 2, on="process") for n in range(100)]
            await handles[0]
            print(in_child(nothing), in_child(close))
            handles += [scope.spawn(pow, n, 2, on="process") for n in range(100)]
            print(sum([await handle for handle in handles]))

    anyio.run(main, backend=BACKEND)
    """
    assert run(tmp_path, backend, body) == ["0 0", str(2 * sum(n * n for n in range(100)))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_child_forked_while_tasks_are_being_cancelled_works(backend: str, tmp_path: Path) -> None:
    body = """
    def loop():
        while True:
            pass

    def child():
        # anyio knows, in this thread, that a loop is running.
        thread = threading.Thread(target=anyio.run, args=(where,), kwargs={"backend": BACKEND})
        thread.start()
        thread.join()
        shutdown_default_pools()

    async def main():
        async with TaskScope() as scope:
            handle = scope.spawn(loop, on="process")
            await call(os.getpid, on="process")
            handle.cancel()
            print(in_child(child))
            await handle.wait()
            print(handle.cancelled())

    anyio.run(main, backend=BACKEND)
    """
    assert run(tmp_path, backend, body) == ["0", "True"]


def test_a_child_that_ends_normally_leaves_the_parents_workers_alone(tmp_path: Path) -> None:
    body = """
    first = anyio.run(where, backend=BACKEND)
    pid = os.fork()
    if pid == 0:
        sys.exit(3)  # atexit functions and all
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    print(anyio.run(where, backend=BACKEND) == first)
    """
    assert run(tmp_path, "asyncio", body) == ["3", "True"]


def test_a_closed_pool_is_closed_in_a_forked_child(tmp_path: Path) -> None:
    body = """
    pool = ProcessPool(1)
    pool.close()

    def child():
        assert pool.closed
        try:
            anyio.run(spawned)
        except Exception as exc:
            print(type(exc).__name__)

    async def spawned():
        await call(os.getpid, on=pool)

    print(in_child(child))
    """
    assert run(tmp_path, "asyncio", body) == ["PoolClosed", "0"]


def test_multiprocessing_by_fork_works_beside_a_pool(tmp_path: Path) -> None:
    body = """
    import multiprocessing

    def remote(n):
        return n + 1 if anyio.run(where, backend=BACKEND) != first else None

    first = anyio.run(where, backend=BACKEND)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(remote, range(4)))
    print(anyio.run(where, backend=BACKEND) == first)
    """
    assert run(tmp_path, "asyncio", body) == ["[1, 2, 3, 4]", "True"]


def test_a_fork_in_the_midst_of_a_start_does_not_keep_that_worker_alive(tmp_path: Path) -> None:
    body = """
    from unified_exec._platform import process_control
    from unified_exec._pools.process import start_worker as start

    spawn, forked = process_control.spawn, []

    def fork_then_spawn(*args):
        pid = os.fork()
        if pid == 0:
            os.read(gate, 1)
            os._exit(0)
        forked.append(pid)
        return spawn(*args)

    gate, opener = os.pipe()
    process_control.spawn = fork_then_spawn
    child = start.start_process(dict(os.environ))
    child.lifeline.close()
    print(os.waitpid(child.pid, 0)[1])
    os.close(opener)
    os.waitpid(forked[0], 0)
    for sock in (child.tasks, child.claims, child.control):
        sock.close()
    """
    body = body.replace("os.read(gate, 1)", "os.close(opener); os.read(gate, 1)")
    assert run(tmp_path, "asyncio", body) in (["9"], ["256"])
