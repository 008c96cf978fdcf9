"""One cluster of separate processes for each module that asks for it, and a pool for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.cluster.processes import DaskCluster

if TYPE_CHECKING:
    from unified_exec.cluster import DaskPool


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[DaskCluster]:
    with DaskCluster(2) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def pool(dask_cluster: DaskCluster) -> AsyncIterator[DaskPool]:
    """For tests that are marked `asyncio`."""
    from unified_exec.cluster import DaskPool

    async with DaskPool(dask_cluster.address, grace=30) as pool:
        yield pool
