"""What is Ray's alone: its errors, its faults, resources and runtime environments."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.cluster.processes import ROOT, agent_of, ray_cluster, started
from tests.cluster.tasks import spin, tick
from tests.cluster.test_ray_agent import through_ray
from tests.waiting import is_alive, until, until_async
from unified_exec import Collect, Retry, SyncTaskScope, TaskScope
from unified_exec.cluster import NodeLost, RayPool
from unified_exec.cluster.ray_agent import Call, pack, unpack_call

ray = pytest.importorskip("ray", reason="RayPool needs Ray, which is heavy: pip install ray")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with ray_cluster(tmp_path_factory.mktemp("home"), resources={"gadget": 1}):
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Ray's threads and sockets come and go as it likes."""


@pytest.fixture(autouse=True)
def no_pool_left_behind() -> None:
    """As above."""


class Lane:
    """As much of a lane as an engine needs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seats = 0


def break_connections(agent: int) -> int:
    """Shut down what this program has to the agent's process; return how many connections these were."""
    ports = {each.laddr.port for each in psutil.Process(agent).net_connections() if each.status == psutil.CONN_LISTEN}
    broken = [each.fd for each in psutil.Process().net_connections() if each.raddr and each.raddr.port in ports]
    for fd in broken:
        with socket.socket(fileno=os.dup(fd)) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    return len(broken)


@pytest.mark.asyncio
async def test_seats_are_counted_although_the_request_for_them_took_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from unified_exec.cluster import ray_engine

    seats: list[str] = []
    lane: Any = Lane("slow")
    engine = ray_engine.RayEngine(None, None, None)
    await engine.start(lambda name, address: seats.append(name))
    try:
        goes_on, made = threading.Event(), ray_engine.placement_group

        def slow(*args: Any) -> Any:
            goes_on.wait(60)
            return made(*args)

        monkeypatch.setattr(ray_engine, "placement_group", slow)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await engine.request_seats(lane, 1)
        goes_on.set()
        assert await until_async(lambda: seats == ["slow"], 60)
        await engine.check([lane])
        assert lane.seats == 1
    finally:
        await engine.stop()


@pytest.mark.asyncio
async def test_a_seat_is_found_although_ray_failed_to_answer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from unified_exec.cluster import ray_engine

    seats: list[str] = []
    failed: list[Any] = []
    lane: Any = Lane("failing")
    engine = ray_engine.RayEngine(None, None, None)
    await engine.start(lambda name, address: seats.append(name))
    try:
        table = ray_engine.placement_group_table

        def fails_first(group: Any) -> Any:
            if not failed:
                failed.append(group)
                raise ray.exceptions.RaySystemError("no answer")
            return table(group)

        monkeypatch.setattr(ray_engine, "placement_group_table", fails_first)
        await engine.request_seats(lane, 1)
        assert await until_async(lambda: seats == ["failing"], 60)
        assert failed
        assert "no answer" in engine.status()
    finally:
        await engine.stop()


class Deliver:
    """An agent's method `deliver`: the test gives its answers."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[Future[Any]] = []

    def options(self, **options: Any) -> Deliver:
        assert options == {"max_task_retries": -1}
        return self

    def remote(self, data: bytes, buffers: Any = ()) -> Any:
        self.calls.append(unpack_call(data, buffers)[0])
        answer: Future[Any] = Future()
        self.answers.append(answer)
        return SimpleNamespace(future=lambda: answer)


@pytest.fixture
def deliver() -> Deliver:
    return Deliver()


@pytest_asyncio.fixture
async def comm(deliver: Deliver) -> Any:
    from unified_exec.cluster.ray_comm import RayComm

    engine: Any = SimpleNamespace(note_error=lambda exc: None, leaving=lambda comm: None)
    return RayComm(engine, SimpleNamespace(deliver=deliver), "lane", "address")


@pytest.mark.asyncio
async def test_answers_are_read_in_the_order_of_the_calls_and_one_call_always_waits(
    deliver: Deliver, comm: Any
) -> None:
    for head in (b"one", b"two"):
        comm.write([(head, ())])
    deliver.answers[1].set_result(pack([(b"second", ())])[0])
    first = asyncio.create_task(comm.read())
    await asyncio.sleep(0)
    deliver.answers[0].set_result(pack([(b"first", ())])[0])
    assert await first == [(b"first", [])]
    assert await comm.read() == [(b"second", [])]
    third = asyncio.create_task(comm.read())
    await asyncio.sleep(0)
    assert [(call.number, call.read) for call in deliver.calls] == [(0, 0), (1, 0), (2, 2)]
    deliver.answers[2].set_result(None)
    with pytest.raises(ConnectionError, match="given it up"):
        await third


@pytest.mark.asyncio
async def test_a_large_result_is_writable_and_the_agent_is_told_that_it_has_come(deliver: Deliver, comm: Any) -> None:
    for _ in range(2):
        comm.write([])
    deliver.answers[0].set_result(through_ray(*pack([(b"done", [memoryview(b"large")])])))
    ((_, (buffer,)),) = await comm.read()
    assert (bytes(buffer), buffer.readonly) == (b"large", False)
    assert [call.read for call in deliver.calls] == [0, 0, 1]


@pytest.mark.asyncio
async def test_a_call_that_fails_for_good_is_told_while_another_one_waits(deliver: Deliver, comm: Any) -> None:
    """Nothing after it would be taken in."""
    for _ in range(2):
        comm.write([])
    read = asyncio.create_task(comm.read())
    await asyncio.sleep(0)
    deliver.answers[1].set_exception(OSError("no memory is left"))
    with pytest.raises(ConnectionError, match="no memory is left"):
        await read


@pytest.mark.asyncio
async def test_what_is_heard_late_of_an_agent_that_died_does_not_concern_the_next_one() -> None:
    from unified_exec.cluster import ray_engine

    engine: Any = ray_engine.RayEngine(None, None, None)
    await engine.start(lambda name, address: None)
    try:
        (address,) = engine._nodes
        first = engine._agent(address)
        ray.kill(first)
        engine.agent_died(address, first)
        assert await engine.has_exited(address)
        second = engine._agent(address)
        engine.agent_died(address, first)
        assert not await engine.has_exited(address)
        assert engine._agent(address) is second
    finally:
        await engine.stop()


@pytest.mark.asyncio
async def test_what_a_killed_agent_had_is_lost_and_the_rest_runs_once(tmp_path: Path) -> None:
    async with RayPool() as pool, TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        victim = untyped.spawn(tick, str(tmp_path), "victim", 60, on=pool)
        pid = await started(tmp_path, "victim")
        again = untyped.spawn(tick, str(tmp_path), "again", 0.02, on=pool, retry=Retry(3, on=NodeLost))
        os.kill(agent_of(pid), signal.SIGKILL)
        await victim.wait()
        assert not is_alive(pid)
        assert await again == "again"
    assert type(victim.exception()) is NodeLost
    assert "ray://" in str(victim.exception())
    assert (tmp_path / "starts").read_text().split().count("victim") == 1


@pytest.mark.asyncio
async def test_a_connection_that_breaks_for_a_moment_loses_no_task_and_none_runs_twice(tmp_path: Path) -> None:
    async with RayPool() as pool, TaskScope() as scope:
        untyped: Any = scope
        agent = agent_of(await untyped.spawn(os.getpid, on=pool))
        names = [str(n) for n in range(4)]
        handles = [untyped.spawn(tick, str(tmp_path), name, 0.02, on=pool) for name in names]
        await started(tmp_path, "0")
        assert break_connections(agent)
        assert await scope.gather(*handles) == names
    assert sorted((tmp_path / "starts").read_text().split()) == names


@pytest.mark.asyncio
async def test_a_stopped_agent_is_lost_after_its_tasks_were_killed(tmp_path: Path) -> None:
    async with RayPool(lease=3, grace=0.5) as pool, TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        victim = untyped.spawn(tick, str(tmp_path), "victim", 60, on=pool)
        pid = await started(tmp_path, "victim")
        agent = agent_of(pid)
        os.kill(agent, signal.SIGSTOP)
        try:
            await victim.wait()
            settled = time.monotonic()
            assert float((tmp_path / "victim.tick").read_text() or 0) < settled
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        finally:
            os.kill(agent, signal.SIGCONT)
        assert type(victim.exception()) is NodeLost
        assert await untyped.spawn(int, on=pool) == 0


PROGRAM = """
import sys
import anyio
from tests.cluster.tasks import spin
from unified_exec import TaskScope
from unified_exec.cluster import RayPool

async def main(folder):
    async with RayPool("auto") as pool, TaskScope() as scope:
        scope.spawn(spin, folder, "orphan", on=pool)

anyio.run(main, *sys.argv[1:])
"""


def test_when_the_program_dies_its_workers_die(tmp_path: Path) -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT)
    try:
        assert until(lambda: (tmp_path / "orphan.begun").exists(), 120)
    finally:
        program.kill()
        program.wait()
    pid = int((tmp_path / "orphan.pid").read_text())
    assert until(lambda: not is_alive(pid), 60)


@pytest.mark.asyncio
async def test_resources_of_ray_say_how_many_tasks_run_at_the_same_time(tmp_path: Path) -> None:
    """There are two CPUs, but one gadget."""
    async with RayPool(resources={"gadget": 1}, grace=30) as pool, TaskScope(policy=Collect()) as scope:
        untyped: Any = scope
        first = untyped.spawn(spin, str(tmp_path), "first", on=pool)
        await started(tmp_path, "first")
        second = untyped.spawn(tick, str(tmp_path), "second", 0.02, on=pool)
        assert sum(node.slots for node in pool.nodes()) == 1
        assert not second.done()
        first.cancel()
        assert await second == "second"
        assert sum(node.slots for node in pool.nodes()) == 1


def test_a_runtime_environment_sets_variables() -> None:
    runtime_env = {"env_vars": {"BROUGHT": "yes", "PYTHONPATH": str(ROOT)}}
    with RayPool(runtime_env=runtime_env) as pool, SyncTaskScope(processes=pool) as scope:
        assert scope.spawn(os.getenv, "BROUGHT", on="process").result() == "yes"


def test_a_folder_cannot_be_sent_over_a_connection_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ray\.init"), RayPool(runtime_env={"working_dir": str(tmp_path)}):
        pass  # pragma: no cover


WITH_FOLDER = """
import sys
from unified_exec import SyncTaskScope
from unified_exec.cluster import RayPool

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import brought_by_ray
    with RayPool("auto", runtime_env={"working_dir": sys.argv[1]}) as pool, SyncTaskScope(processes=pool) as scope:
        print(scope.spawn(brought_by_ray.answer, on="process").result())
"""


def test_a_runtime_environment_brings_the_modules_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "brought_by_ray.py").write_text("def answer():\n    return 42\n")
    command = [sys.executable, "-c", WITH_FOLDER, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ["42"], done.stderr
