"""Where a socket without a name cannot be reached, it has one: nobody else gets in, and nothing is left for long.

Linux tries it with ``UNIFIED_EXEC_PLAIN_POSIX=1``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.observe.patience import until
from tests.observe.programs import found, program
from unified_exec.observe.live import named
from unified_exec.observe.live.client import CannotLook, Connection, find, programs

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")

CODE = """if True:
    import sys
    import anyio
    from unified_exec import TaskScope

    async def main():
        async with TaskScope(name="named"):
            print("ready", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)

    anyio.run(main)
"""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="uxe-", dir="/tmp")  # pytest's own have too long paths for a socket
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.setattr(named, "USED", True)
    yield Path(folder)
    shutil.rmtree(folder)


@contextmanager
def looked_at() -> Iterator[subprocess.Popen[str]]:
    with program("-c", CODE, UNIFIED_EXEC_PLAIN_POSIX="1") as process:
        yield process


def test_it_is_of_this_user_alone_and_gone_with_its_program(runtime: Path) -> None:
    with looked_at() as process:
        with Connection(found(process.pid)) as connection:
            assert connection.tree()["scopes"][0]["name"] == "named"
        path = runtime / "unified_exec" / f"{process.pid}.sock"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert [each.pid for each in programs()] == [process.pid]
        assert path.exists()  # who lists the programs removes no living one's
        process.communicate("\n")
        assert process.returncode == 0
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("how", ["the next list of programs", "the next first scope"])
def test_what_a_killed_program_left_is_removed_by(how: str, runtime: Path) -> None:
    with looked_at() as process:
        found(process.pid)
        process.kill()
        process.wait()
        path = runtime / "unified_exec" / f"{process.pid}.sock"
        assert path.exists()
        if how == "the next list of programs":
            assert programs() == []
        else:
            with looked_at() as other:
                found(other.pid)
        assert not path.exists()
        with pytest.raises(CannotLook, match="there is no process"):
            find(process.pid)


@pytest.mark.parametrize("planted", ["a link", "a folder open to others", "a file"])
def test_a_planted_folder_is_refused_and_the_program_goes_on(
    planted: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unified_exec.observe.live.client.JUST_BEGUN", 0.5)
    elsewhere = runtime / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    place = runtime / "unified_exec"
    if planted == "a link":
        place.symlink_to(elsewhere)
    elif planted == "a file":
        place.write_text("")
    else:
        place.mkdir()
        place.chmod(0o777)
    with looked_at() as process:
        with pytest.raises(CannotLook, match="has no socket"):
            find(process.pid)
        assert process.communicate("\n")[1] == ""
        assert process.returncode == 0
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("suffix", [".sock", ".new"])
@pytest.mark.parametrize("planted", ["a file", "a link", "a socket"])
def test_a_path_that_exists_is_replaced_and_not_followed(planted: str, suffix: str, runtime: Path) -> None:
    folder = runtime / "unified_exec"
    folder.mkdir(mode=0o700)
    place, target = folder / f"{os.getpid()}{suffix}", runtime / "target"
    target.write_text("kept")
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as mine:
        if planted == "a file":
            place.write_text("")
        elif planted == "a link":
            place.symlink_to(target)
        else:
            other.bind(os.fspath(place))
        path = named.Name().listen(mine, 1)
        assert path == os.fspath(place.with_suffix(".sock"))
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.connect(path)
    assert target.read_text() == "kept"


def test_it_is_found_only_once_it_listens(runtime: Path) -> None:
    found: list[list[tuple[int, str]]] = []

    class Watched(socket.socket):
        def listen(self, backlog: int = 1, /) -> None:
            found.append(list(named.sockets()))
            super().listen(backlog)

    with Watched(socket.AF_UNIX) as sock:
        place = named.Name().listen(sock, 1)
        found.append(list(named.sockets()))
    assert found == [[], [(os.getpid(), place)]]


def test_a_program_that_ends_while_its_socket_gets_a_name_leaves_none(runtime: Path) -> None:
    code = """if True:
        import atexit, socket, threading
        from unified_exec.observe.live import named

        bound, ends = threading.Event(), threading.Event()

        class Slow(socket.socket):
            def listen(self, backlog=1, /):
                bound.set()
                ends.wait()
                super().listen(backlog)

        def late():
            try:
                name.listen(socket.socket(socket.AF_UNIX), 1)
            except OSError as error:
                print(error)

        atexit.register(late)
        name = named.Name()
        atexit.register(ends.set)
        threading.Thread(target=name.listen, args=(Slow(socket.AF_UNIX), 1), daemon=True).start()
        bound.wait()
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("the program ends\n", "")
    assert list(runtime.iterdir()) == []


def test_a_path_that_is_too_long_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/" + "x" * 100)
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="too long"):
        named.Name().listen(sock, 1)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(runtime: Path) -> None:
    os.chmod(runtime, 0o755)
    with looked_at() as process:
        path = found(process.pid).path
        code = (
            "import os, socket; viewer = socket.socket(socket.AF_UNIX); "
            f"os.setgroups([]); os.setgid(65534); os.setuid(65534); viewer.connect({path!r})"
        )
        refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "PermissionError" in refused.stderr


def test_a_fork_leaves_the_socket_to_its_parent(runtime: Path) -> None:
    line = "await anyio.to_thread.run_sync(sys.stdin.readline)"
    child = f'{line}; pid = os.fork(); pid or sys.exit(0); os.waitpid(pid, 0); print("forked", flush=True); {line}'
    code = CODE.replace(line, child).replace("import sys", "import os, sys")
    with program("-c", code, UNIFIED_EXEC_PLAIN_POSIX="1", PYTHONWARNINGS="ignore") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found(process.pid)  # it has its socket
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "forked\n"  # and the child has ended as programs do

        def answers() -> bool:
            with Connection(found(process.pid)) as connection:
                return bool(connection.tree()["scopes"])

        until(answers)
