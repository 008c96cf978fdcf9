"""The demonstration's web server: real files, nothing else, and gone with its parent."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import has_ended, until
from unified_exec.cli.demo.source_server import POLL, SourceServer, serving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "package").mkdir(parents=True)
    (root / "folder.py").mkdir()
    (root / "top.py").write_bytes(b"top = 1\n")
    (root / "package" / "inner.py").write_bytes("größe = 2\n".encode() * 10_000)
    (root / "odd name%.py").write_bytes(b"odd = 3\n")
    (root / "secret.txt").write_bytes(b"secret\n")
    (tmp_path / "outside.py").write_bytes(b"secret = 1\n")
    (tmp_path / "root-too.py").write_bytes(b"secret = 1\n")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "way_out").symlink_to(tmp_path)
    return root


@pytest.fixture
def connection(root: Path) -> Iterator[http.client.HTTPConnection]:
    with SourceServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,))
        thread.start()
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        yield client
        client.close()
        server.shutdown()
        thread.join()


def get(connection: http.client.HTTPConnection, target: str) -> tuple[int, bytes]:
    connection.request("GET", target)
    response = connection.getresponse()
    return response.status, response.read()


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("/top.py", "top.py"),
        ("/package/inner.py", "package/inner.py"),
        ("/package/../top.py", "top.py"),
        ("/odd%20name%25.py", "odd name%.py"),
        ("/top.py?query=1", "top.py"),
    ],
)
def test_it_serves_the_real_files(connection: http.client.HTTPConnection, root: Path, target: str, file: str) -> None:
    assert get(connection, target) == (200, (root / file).read_bytes())


@pytest.mark.parametrize(
    "target",
    [
        "/../outside.py",
        "/%2e%2e/outside.py",
        "/..%2foutside.py",
        "/package/../../outside.py",
        "/../root-too.py",
        "/link.py",
        "/way_out/outside.py",
        "/{outside}",
        "/%2f{outside}",
        "/secret.txt",
        "/top.py%00.txt",
        "/secret.txt%00.py",
        "/folder.py",
        "/missing.py",
        "/",
        "/" + "a" * 10_000 + ".py",
    ],
)
def test_it_gives_away_nothing_but_source_below_its_root(
    connection: http.client.HTTPConnection, tmp_path: Path, target: str
) -> None:
    status, body = get(connection, target.format(outside=tmp_path / "outside.py"))
    assert status == 404
    assert b"secret = 1" not in body
    connection.close()
    assert get(connection, "/top.py")[0] == 200  # it is still well


def test_one_connection_serves_many_requests(connection: http.client.HTTPConnection) -> None:
    get(connection, "/top.py")
    socket = connection.sock
    assert [get(connection, "/package/inner.py")[0] for _ in range(20)] == [200] * 20
    assert connection.sock is socket


def test_its_process_lives_as_long_as_the_block(root: Path) -> None:
    with serving(root) as site:
        process = psutil.Process(site.pid)
        address = site.url.removeprefix("http://")
        client = http.client.HTTPConnection(address)
        assert get(client, "/top.py") == (200, b"top = 1\n")
        assert address.startswith("127.0.0.1:")
    client.close()
    assert not process.is_running()


def test_its_process_ends_when_the_block_fails(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), serving(root) as site:
        process = psutil.Process(site.pid)
        raise ZeroDivisionError
    assert not process.is_running()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_its_process_ends_when_its_parent_is_killed(root: Path) -> None:
    program = (
        "import sys, pathlib; from unified_exec.cli.demo.source_server import serving\n"
        "with serving(pathlib.Path(sys.argv[1])) as site: print(site.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    assert until(lambda: has_ended(process))


def test_a_server_that_cannot_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unified_exec.cli.demo.source_server.__file__", str(tmp_path / "missing.py"))
    with pytest.raises(RuntimeError, match="did not start"), serving(tmp_path):
        pass
