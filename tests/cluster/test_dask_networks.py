"""Networks: certificates, partitions, clusters that grow and shrink by themselves. For the weekly run: they take long.

The partitions need root, for a network of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import installed
from tests.cluster.partition import TASKS
from tests.cluster.processes import ROOT, DaskCluster
from tests.cluster.tasks import spin
from tests.waiting import until_async
from unified_exec import TaskScope
from unified_exec.cluster import DaskPool

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


def has_network_namespaces() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    command = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True).returncode == 0


def partition(folder: Path, seconds: float) -> dict[str, Any]:
    if not has_network_namespaces():
        pytest.skip("no network of its own can be made: that needs root, unshare and ip")
    command = ["unshare", "--net", sys.executable, "-m", "tests.cluster.partition", str(folder), str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_partition_of_three_seconds_costs_nothing(tmp_path: Path) -> None:
    found = partition(tmp_path, 3)
    for number in range(TASKS):
        assert found[f"task-{number}"]["value"] == f"task-{number}"
    assert found["again"] == [f"again-{n}" for n in range(10)]
    assert sorted(found["starts"]) == sorted([f"task-{n}" for n in range(TASKS)] + found["again"])


def test_a_partition_of_fifteen_seconds_loses_the_nodes_after_their_tasks_have_ended(tmp_path: Path) -> None:
    found = partition(tmp_path, 15)
    for number in range(TASKS):
        end = found[f"task-{number}"]
        assert end["error"] == "NodeLost"
        assert end["last"] < end["at"]
    assert found["again"] == [f"again-{n}" for n in range(10)]
    assert len(set(found["starts"])) == len(found["starts"])


def certificate(folder: Path, name: str, by: str | None = None) -> tuple[str, str]:
    """Make a key and a certificate with openssl, signed by another or by itself; return their paths."""
    key, cert = str(folder / f"{name}.key"), str(folder / f"{name}.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert]
    command += ["-days", "2", "-subj", f"/CN={name}"]
    if by is not None:
        command += ["-CA", str(folder / f"{by}.pem"), "-CAkey", str(folder / f"{by}.key")]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return key, cert


@pytest.mark.asyncio
async def test_with_tls_the_agents_serve_holders_of_a_certificate_only(tmp_path: Path) -> None:
    from distributed import Client
    from distributed.comm import connect
    from distributed.security import Security

    if shutil.which("openssl") is None:
        pytest.skip("the certificates are made with openssl, which is not installed")
    certificate(tmp_path, "authority")
    key, cert = certificate(tmp_path, "node", "authority")
    other_key, other_cert = certificate(tmp_path, "stranger")
    authority = str(tmp_path / "authority.pem")
    options = ("--tls-ca-file", authority, "--tls-key", key, "--tls-cert", cert)
    ours: dict[str, Any] = {"tls_ca_file": authority, "tls_client_key": key, "tls_client_cert": cert}
    strange: dict[str, Any] = {"tls_ca_file": authority, "tls_client_key": other_key, "tls_client_cert": other_cert}
    with DaskCluster(1, security=options) as cluster:
        cluster.wait_until_up()
        security = Security(**ours, require_encryption=True)
        async with Client(cluster.address, security=security, asynchronous=True, set_as_default=False) as client:
            async with DaskPool(client, grace=30) as pool, TaskScope(processes=pool) as scope:
                untyped: Any = scope
                assert await untyped.spawn(len, b"x" * (1 << 20), on=pool) == 1 << 20
                handle = untyped.spawn(spin, str(tmp_path), "task", on=pool)
                assert await until_async(lambda: (tmp_path / "task.begun").exists(), 60)
                handle.cancel()
                await handle.wait()
                (node,) = pool.nodes()
                assert node.address.startswith("tls://")
                stranger = Security(**strange, require_encryption=True).get_connection_args("client")
                with pytest.raises(OSError):
                    comm = await connect(node.address, timeout=5, **stranger)
                    await comm.write({"op": "unified_exec", "heart": "lane"})
                    await comm.read()


ADAPTIVE = """
import os
import time
from distributed import LocalCluster
from unified_exec import SyncTaskScope
from unified_exec.cluster import DaskPool

def where():
    time.sleep(3.0)
    return os.getppid()

if __name__ == "__main__":
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="200ms", wait_count=2)
        with DaskPool(cluster, idle_timeout=1.0) as pool, SyncTaskScope(processes=pool) as scope:
            handles = [scope.spawn(where, on="process") for _ in range(4)]
            print(len({handle.result() for handle in handles}))
            while cluster.workers:
                time.sleep(0.1)
            print(scope.spawn(abs, -3, on="process").result())
"""


def test_an_adaptive_cluster_grows_for_what_waits_and_shrinks_when_idle(tmp_path: Path) -> None:
    program = tmp_path / "adaptive.py"
    program.write_text(ADAPTIVE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "3"], done.stderr
