"""One cluster of separate processes for all modules that leave it whole, and a pool for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.cluster.processes import DaskCluster

if TYPE_CHECKING:
    from tests.cluster.gate_sender import Sender
    from unified_exec.cluster.pool import ClusterPool

OpenPool = Callable[..., Any]
"""Makes a pool of the engine under test, with the given options."""


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskCluster]:
    with DaskCluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def open_pool(dask_cluster: DaskCluster) -> OpenPool:
    from unified_exec.cluster import DaskPool

    return partial(DaskPool, dask_cluster.address)


@pytest_asyncio.fixture
async def pool(open_pool: OpenPool) -> AsyncIterator[ClusterPool]:
    """For tests that are marked `asyncio`."""
    async with open_pool(grace=30) as pool:
        yield pool


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    """A gate of two slots."""
    from tests.cluster.gate_sender import Ends, Sender, end
    from unified_exec._loops.current import current_adapter
    from unified_exec._pools.process.relay import Gate, GateOptions

    ends = Ends()
    gate = Gate(current_adapter(), 2, ends, GateOptions(grace=30), "node 7")
    sender = Sender(gate, ends)
    yield sender
    await end(gate)
    ends.answers.clear()  # large ones hold their block
    sender.keep.clear()
