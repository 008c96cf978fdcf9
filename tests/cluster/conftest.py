"""One cluster of separate processes, and one pool, for each module that asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.cluster.processes import DaskCluster

if TYPE_CHECKING:
    from unified_exec.cluster import DaskPool


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[DaskCluster]:
    pytest.importorskip("distributed", reason="DaskPool needs Dask: pip install distributed")
    with DaskCluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pool(dask_cluster: DaskCluster) -> Iterator[DaskPool]:
    from unified_exec.cluster import DaskPool

    with DaskPool(dask_cluster.address, grace=30) as pool:
        yield pool
