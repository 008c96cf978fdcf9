"""What is Dask's alone: files that are sent to the nodes, and clusters that are not there."""

from __future__ import annotations

import gc
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import installed
from tests.cluster.conftest import OpenPool
from tests.cluster.processes import DaskCluster
from tests.cluster.tasks import get_loaded, load, seats, slow_square
from tests.cluster.tcp_relay import TcpRelay
from tests.cluster.test_dask_law import in_main
from tests.contract.actor_classes import Counter
from tests.waiting import until_async
from unified_exec import (
    Channel,
    Collect,
    SerializationError,
    SyncTaskScope,
    TaskScope,
    WorkerCrashed,
    WorkerStartError,
    call,
    share,
)
from unified_exec.cluster import DaskPool, NodeLost

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")


def test_a_file_that_the_nodes_lack_can_be_uploaded(dask_cluster: DaskCluster, tmp_path: Path) -> None:
    file = tmp_path / "uploaded_to_nodes.py"
    file.write_text("def answer():\n    return 42\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import uploaded_to_nodes  # type: ignore[import-not-found]

        with DaskPool(dask_cluster.address, upload=[str(file)]) as pool:
            with SyncTaskScope(processes=pool) as scope:
                assert scope.spawn(uploaded_to_nodes.answer, on="process").result() == 42
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("uploaded_to_nodes", None)


@pytest.mark.asyncio
async def test_an_initializer_gets_shared_objects_and_large_globals(open_pool: OpenPool) -> None:
    numpy = pytest.importorskip("numpy")
    table: Any = share(numpy.arange(100_000))
    main = in_main("import numpy\nBIG = numpy.ones(100_000)\ndef load(n): return int(n * BIG.sum())\n")
    async with open_pool(initializer=load, initargs=(table, main.load), start_timeout=None) as pool:
        async with TaskScope() as scope:
            assert await scope.spawn(get_loaded, on=pool) == (sum(range(100_000)), 200_000)


@pytest.mark.asyncio
async def test_an_idle_pool_takes_no_seat_again_that_it_gives_back_for_an_actor(open_pool: OpenPool) -> None:
    async with open_pool(min_workers=2, grace=30) as pool, TaskScope(processes=pool) as scope:
        await scope.gather(*[scope.spawn(slow_square, n, on="process") for n in range(40)])
        (lane,) = pool._lanes.values()
        assert await until_async(lambda: lane.slots() == 2, 60)
        starts: list[str] = []
        engine = pool._hub.engine
        on_seat = engine._on_seat
        engine._on_seat = lambda name, address: (starts.append(name), on_seat(name, address))
        untyped: Any = scope
        actors = [untyped.actor(Counter, n, on=pool) for n in range(2)]
        assert await scope.gather(*[actor.call(Counter.add, 1) for actor in actors]) == [1, 2]
        assert lane.name not in starts


@pytest.mark.asyncio
async def test_a_seat_that_starts_after_its_lane_has_ended_is_given_back_at_once(open_pool: OpenPool) -> None:
    from unified_exec.cluster.dask_agent import unified_exec_seat

    async with open_pool(grace=30) as pool:
        engine = pool._hub.engine
        late = await engine._on_client(start_seat(engine, unified_exec_seat))
        assert await until_async(lambda: late.status == "finished", 20)  # it waits for 30 s for its program


async def start_seat(engine: Any, seat: Any) -> Any:
    return engine._client.submit(seat, engine._pool, "ended", "key", pure=False)


@pytest.mark.asyncio
async def test_a_seat_that_is_cancelled_as_it_starts_keeps_no_thread_from_the_next_pool(
    open_pool: OpenPool, dask_cluster: DaskCluster
) -> None:
    from distributed import Client

    from unified_exec.cluster.dask_agent import unified_exec_seat

    async with open_pool():
        pass  # the agents are there, and nobody is told of the seat
    async with Client(dask_cluster.address, asynchronous=True, set_as_default=False) as client:

        async def taken() -> int:
            return sum((await client.run(seats)).values())

        async def are(number: int) -> None:
            while await taken() != number:
                await anyio.sleep(0.02)

        late = client.submit(unified_exec_seat, "pool", "lane", "late", key="late", pure=False)
        with anyio.fail_after(20):  # without a program, a seat ends after 30 s
            await are(1)
            await client.cancel([late])
            await are(0)


@pytest.mark.asyncio
async def test_seats_that_no_node_has_fail_with_what_they_need(open_pool: OpenPool) -> None:
    async with open_pool(resources={"gadget": 1}) as pool:
        pool._hub._options = pool._hub._options._replace(start_timeout=0.1)  # it would limit connecting, too
        with pytest.raises(WorkerStartError, match=r"no node took work .*the resources {'gadget': 1}\?"):
            await call(int, on=pool)


@pytest.mark.asyncio
async def test_a_node_over_a_slow_line_that_is_cut_for_a_moment_answers_all(
    dask_cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unified_exec.cluster.dask_engine import DaskEngine

    relays: dict[str, TcpRelay] = {}
    straight = DaskEngine.open

    async def open_far(engine: DaskEngine, address: str, first: dict[str, Any]) -> Any:
        if address not in relays:
            relays[address] = TcpRelay(int(address.rpartition(":")[2]), 0.01)
        return await straight(engine, f"tcp://127.0.0.1:{relays[address].port}", first)

    monkeypatch.setattr(DaskEngine, "open", open_far)
    untyped: Any = TaskScope(policy=Collect())
    try:
        async with DaskPool(dask_cluster.address, max_workers=1) as pool, untyped as scope:
            assert await scope.spawn(abs, -3, on=pool) == 3
            for relay in relays.values():
                relay.cut()
            handles = [scope.spawn(slow_square, n, on=pool) for n in range(20)]
            for relay in relays.values():
                relay.heal()
            assert await scope.gather(*handles) == [n * n for n in range(20)]
    finally:
        for relay in relays.values():
            relay.close()


def test_a_cluster_that_is_not_there_fails_in_with_and_in_the_scope() -> None:
    with pytest.raises(OSError, match=r"'tcp://127.0.0.1:9' .*is `dask scheduler` running there"):
        with DaskPool("tcp://127.0.0.1:9", start_timeout=0.1):
            pass  # pragma: no cover


@pytest.mark.parametrize("address", ["scheduler", "http://127.0.0.1:8787"])
def test_an_address_that_is_none_is_told_with_one_that_is(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=f"'{address}' .*such as \"tcp://10.0.0.1:8786\""), DaskPool(address):
        pass  # pragma: no cover
    gc.collect()
    assert "Traceback" not in capfd.readouterr().err  # Dask's client has nothing to add


def test_closing_a_pool_that_still_connects_closes_its_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pool: Any = DaskPool(f"tcp://127.0.0.1:{silent.getsockname()[1]}", start_timeout=60)
        pool._hub.start()
        connection, _ = silent.accept()
        with connection:
            pool.close()
    assert pool._hub.engine._opening.status == "closed"


WRONG = [
    ({"max_workers": 0}, "ValueError: max_workers must be at least 1 or None, got 0"),
    ({"min_workers": -1}, "ValueError: min_workers must be at least 0, got -1"),
    ({"min_workers": "a"}, "TypeError: min_workers must be a whole number, got 'a'"),
    ({"min_workers": 3, "max_workers": 2}, "ValueError: min_workers=3 is more than max_workers=2"),
    ({"grace": -1}, "ValueError: grace must not be negative, got -1"),
    ({"lease": 1}, "ValueError: lease must be at least 3 s, three heartbeats, got 1.0"),
    ({"lease": float("nan")}, "ValueError: lease must be a number of seconds, got nan"),
    ({"drain": None}, "TypeError: drain must be a number of seconds, got None"),
    ({"start_timeout": 0}, "ValueError: start_timeout must be positive, got 0; use None for no limit"),
    ({"upload": "file.py"}, "ValueError: upload must be a list of paths, got 'file.py': write upload=['file.py']"),
    ({"upload": ["no.py"]}, "ValueError: upload: there is no file or folder 'no.py' (from "),
    ({"upload": 5}, 'TypeError: upload must be a list of paths, got 5: write upload=["simulation.py"]'),
    ({"initializer": 5}, "TypeError: initializer must be a callable, got 5: write initializer=f"),
    ({"initargs": 5}, "TypeError: initargs must be a tuple, got 5: write initargs=(5,)"),
    ({"env": {"a": 1}}, "TypeError: env must be a dict of strings, got 'a': 1"),
    ({"priority": "high"}, "TypeError: priority must be a whole number, got 'high'"),
    ({"resources": "GPU"}, "TypeError: resources must be a dict of names and numbers, got 'GPU': write resources="),
    ({"resources": {"GPU": "a"}}, "TypeError: resources must be a dict of names and numbers, got {'GPU': 'a'}"),
    ({"resources": {"GPU": -1}}, "ValueError: resources must not be negative, got 'GPU': -1"),
]


def test_options_are_checked_before_anything_starts() -> None:
    for options, message in WRONG:
        with pytest.raises((TypeError, ValueError)) as caught:
            DaskPool("tcp://127.0.0.1:9", **options)  # type: ignore[arg-type]
        assert f"{type(caught.value).__name__}: {caught.value}".startswith(message)
    with pytest.raises(SerializationError, match=r"Channel.*, which the initializer uses,.* ends at this machine"):
        DaskPool("tcp://127.0.0.1:9", initializer=print, initargs=(Channel[int](1),))
    with pytest.raises(ValueError, match=r"must be an address, a distributed.Client or a cluster object, got 8786"):
        DaskPool(8786)
    error = NodeLost("crunch", "tcp://node:1", None, "it is gone")
    assert isinstance(error, WorkerCrashed)
    assert "may have begun there" in str(error)
