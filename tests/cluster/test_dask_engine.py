"""What is Dask's alone: files that are sent to the nodes, and clusters that are not there."""

from __future__ import annotations

import gc
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import installed
from tests.cluster.processes import DaskCluster
from unified_exec import SyncTaskScope, WorkerCrashed
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
    assert pool._hub._engine._opening.status == "closed"


def test_options_are_checked_before_anything_starts() -> None:
    for options in (
        {"max_workers": 0},
        {"grace": -1},
        {"lease": 1},
        {"upload": "file.py"},
        {"min_workers": -1},
        {"lease": float("nan")},
    ):
        with pytest.raises(ValueError):
            DaskPool("tcp://127.0.0.1:9", **options)
    with pytest.raises(ValueError, match=r"no file or folder 'no-such-file.py'"):
        DaskPool("tcp://127.0.0.1:9", upload=["no-such-file.py"])
    with pytest.raises(ValueError, match=r"must be an address, a distributed.Client or a cluster object, got 8786"):
        DaskPool(8786)
    error = NodeLost("crunch", "tcp://node:1", None, "it is gone")
    assert isinstance(error, WorkerCrashed)
    assert "may have begun there" in str(error)
