"""The contract of every backend, on a cluster of a real scheduler and real Dask workers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import installed
from tests.cluster.processes import DaskCluster
from tests.contract.test_backends import *  # noqa: F403  its tests run here with the `pool` below
from unified_exec.cluster import DaskPool

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = pytest.mark.one_loop


@pytest.fixture
async def pool(dask_cluster: DaskCluster) -> AsyncIterator[DaskPool]:
    async with DaskPool(dask_cluster.address) as pool:
        yield pool
