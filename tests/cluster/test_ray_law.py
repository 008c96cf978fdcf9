"""The law where a task runs on a Ray cluster: the same tests as for Dask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import OpenPool
from tests.cluster.processes import ray_cluster
from tests.cluster.test_carried import *  # noqa: F403  its tests run here with the `open_pool` below
from tests.cluster.test_dask_law import *  # noqa: F403

pytest.importorskip("ray", reason="RayPool needs Ray, which is heavy: pip install ray")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def open_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenPool]:
    from unified_exec.cluster import RayPool

    with ray_cluster(tmp_path_factory.mktemp("home")):
        yield RayPool


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Ray's threads and sockets come and go as it likes."""


@pytest.fixture(autouse=True)
def no_pool_left_behind() -> None:
    """As above."""
