"""Looking at programs that nobody has prepared: what waits for what, who may look, and that it harms nobody."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.faults.programs import run_script
from tests.observe import workloads
from tests.observe.patience import until, until_async
from tests.observe.programs import found, program
from tests.profiles import examples
from unified_exec import Limit, Lock, TaskHandle, TaskScope, observe
from unified_exec.cli.live import run_ps
from unified_exec.cli.main import main as command
from unified_exec.observe.live import client, keeper, rings, talk
from unified_exec.observe.live.client import CannotLook, Connection, Program, find, programs
from unified_exec.observe.live.look import Look
from unified_exec.observe.live.protocol import LENGTH, pack
from unified_exec.observe.live.text import plain, render

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="sockets without a name are Linux's"),
]


def tree_of(pid: int) -> dict[str, Any]:
    with Connection(find(pid)) as connection:
        return connection.tree()


def kinds(tree: dict[str, Any]) -> dict[str, str]:
    return {task["name"]: task["why"]["kind"] for task in tree["tasks"].values()}


async def test_pools_with_workers_of_any_kind_are_shown_with_them() -> None:
    async with TaskScope() as scope:
        await scope.spawn(abs, -1, on="process")
        tree = await anyio.to_thread.run_sync(observe.look)
    (pool,) = [pool for pool in tree["pools"] if pool["kind"] == "process" and pool["workers"]]
    pool["kind"] = "interpreter"  # which some Pythons do not have
    assert f"   worker {pool['workers'][0]['pid']} up" in render(tree)


@pytest.mark.parametrize("loop", examples(["trio"], nightly=["asyncio", "trio"]))
def test_the_tree_of_an_unprepared_program_tells_why_each_task_waits(
    loop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with program("-m", "tests.observe.sick", loop) as process:
        tree: dict[str, Any] = {}

        def everything_has_begun_and_both_workers_answer() -> bool:  # a busy machine may need more than one look
            tree.update(tree_of(process.pid))
            looks = [task["look"] for task in tree["tasks"].values() if task.get("look")]
            computing = [task for task in tree["tasks"].values() if task["name"] == "computes" and task["worker"]]
            nested = bool(looks) and "sleep" in kinds(looks[0]).values()
            answered = any(task["at"] and task["at"][2] == "computes" for task in computing)
            return nested and answered and kinds(tree)["opens"] == "scope" and kinds(tree)["sleeps"] == "runs"

        until(everything_has_begun_and_both_workers_answer)
        found = kinds(tree)
        expected = {
            "holds": "sleep",
            "wants": "limit",
            "limited": "limit",
            "awaits": "task",
            "event": "foreign",
            "sleeps": "runs",
            "fails": "retry",
            "opens": "scope",
        }
        assert {name: found[name] for name in expected} == expected
        tasks = {task["name"]: task for task in tree["tasks"].values()}
        assert tasks["wants"]["why"]["enders"] == [tasks["holds"]["id"]]
        assert tasks["wants"]["at"][2] == "wants"
        assert Path(tasks["wants"]["at"][0]).name == "sick.py"
        assert {scope["name"] for scope in tree["scopes"]} == {"<b>outer\x1b[31m\u202e", "inner"}
        assert tree["rings"] == []
        outer = tree["scopes"][0]
        assert outer["why"]["kind"] == "scope"
        assert outer["loop"] == loop
        assert sum(outer["queued"].values()) > 0
        look = next(task["look"] for task in tree["tasks"].values() if task.get("look"))
        assert kinds(look) == {"deep sleeper": "sleep"}

        assert command(["tree", str(process.pid), "--stacks"]) == 0
        text = capsys.readouterr().out
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "wants (loop, " in text
        assert command(["tree", str(process.pid), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["pid"] == process.pid
        assert command(["ps", "--json"]) == 0
        [one] = [one for one in json.loads(capsys.readouterr().out) if one["pid"] == process.pid]
        assert (one["scopes"], one["workers"]) == (2, 2)
    assert process.pid not in [each.pid for each in programs()]
    assert not list(Path(tempfile.gettempdir()).glob(f"unified_exec-{process.pid}-*"))


async def test_dump_shows_this_program_from_inside() -> None:
    async with TaskScope(name="mine") as scope:
        scope.spawn(anyio.sleep_forever, name="for ever")
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        text = observe.dump()
        scope.cancel()
    assert "scope " in text
    assert "mine" in text
    assert "for ever (loop, " in text
    assert "block runs" in text


async def test_a_ring_over_a_limit_and_a_handle_is_a_deadlock() -> None:
    limit, ready = Limit(1), anyio.Event()
    handles: list[TaskHandle[None]] = []

    async def holds() -> None:
        async with limit:
            await ready.wait()
            await handles[1]

    async def wants() -> None:
        async with limit:
            pass

    async with TaskScope() as scope:
        handles.append(scope.spawn(holds))
        await anyio.wait_all_tasks_blocked()
        handles.append(scope.spawn(wants))
        ready.set()
        await anyio.wait_all_tasks_blocked()
        tree = await anyio.to_thread.run_sync(observe.look)
        scope.cancel()
    assert tree["rings"] == [[handle.id for handle in handles]]
    assert "DEADLOCK: #" in render(tree)


async def test_the_wait_for_a_lock_names_its_holder_and_its_line() -> None:
    lock = Lock(name="accounts")

    async def holds() -> None:
        async with lock:
            await anyio.sleep_forever()

    async def wants() -> None:
        async with lock:
            pass

    def wants_in_a_thread() -> None:
        with lock:
            pass

    async with TaskScope() as scope:
        scope.spawn(holds)
        await anyio.wait_all_tasks_blocked()
        scope.spawn(wants)
        scope.spawn(wants_in_a_thread)
        await until_async(lambda: len(lock.waits()) == 2)
        tree = await anyio.to_thread.run_sync(observe.look)
        scope.cancel()
    waits = [task["why"] for task in tree["tasks"].values() if "wants" in task["name"]]
    assert [each["kind"] for each in waits] == ["lock", "lock"]
    for each in waits:
        assert each["text"].startswith("Lock(name='accounts'), held by task ")
        assert f"({__file__}:" in each["text"]


async def test_slow_holders_of_a_limit_are_no_deadlock() -> None:
    limit = Limit(2)

    async def slow() -> None:
        async with limit:
            await anyio.sleep_forever()

    async def waits_for(handle: TaskHandle[None]) -> None:
        async with limit:
            await handle

    async def wants() -> None:
        async with limit:
            pass

    async with TaskScope() as scope:
        scope.spawn(slow)
        handles: list[TaskHandle[None]] = []

        async def holds() -> None:
            async with limit:
                await handles[0]

        scope.spawn(holds)
        handles.append(scope.spawn(wants))
        await anyio.wait_all_tasks_blocked()
        tree = await anyio.to_thread.run_sync(observe.look)
        scope.cancel()
    assert tree["rings"] == []


@pytest.mark.parametrize(
    ("waits", "found"),
    [
        ({1: ((2,), False), 2: ((1,), False)}, [[1, 2]]),
        ({1: ((2, 3), False), 2: ((1,), False)}, []),  # 3 runs, and may release
        ({1: ((2, 3), True), 2: ((1,), False)}, [[1, 2]]),  # 1 waits for both
        ({1: ((2,), False), 2: ((1,), False), 5: ((1,), False)}, [[1, 2]]),  # 5 only waits for the ring
        ({1: ((1,), False)}, [[1]]),
        ({1: ((2,), False)}, []),
        ({1: ((), True)}, []),
    ],
)
def test_a_ring_is_what_nobody_outside_can_end(waits: rings.Waits, found: list[list[int]]) -> None:
    assert rings.rings(waits) == found


def test_a_loop_that_is_held_up_is_told_with_its_line() -> None:
    code = """if True:
        import anyio, time
        from unified_exec import TaskScope

        def holds_up():
            print("ready", flush=True)
            time.sleep(1000)

        async def main():
            async with TaskScope() as scope:
                scope.spawn(anyio.sleep, 0, name="ready task")
                holds_up()

        anyio.run(main)
    """
    with program("-c", code) as process:
        tree = tree_of(process.pid)
    [loop] = tree["loops"]
    assert loop["held"]
    assert loop["at"][2] == "holds_up"
    assert "EVENT LOOP HELD UP" in render(tree)


async def test_a_worker_that_answers_slowly_is_not_said_to_be_in_c_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with TaskScope() as scope:
        task = scope.spawn(workloads.asks_for_ever, tmp_path / "begun", on="process")
        await until_async((tmp_path / "begun").exists)
        await anyio.to_thread.run_sync(Look("mine", workers=30.0).make)  # it has read its mailbox
        monkeypatch.setattr("unified_exec.observe.live.look.ask_workers", lambda seconds: {})
        told = await anyio.to_thread.run_sync(observe.look)
        scope.cancel()
    assert told["tasks"][str(task.id)]["why"]["text"].endswith(", which has not answered yet")


@pytest.mark.parametrize(
    ("work", "after", "told"),
    [
        ("sum(iter(int, 1))", "await anyio.sleep_forever()", ", in C code: computes"),
        ("time.sleep(1000)", "await anyio.sleep_forever()", "runs"),
        ("loops()", "time.sleep(1000)", "cannot be asked: its event loop is held up"),
    ],
    ids=["computes in C", "sleeps", "its loop is held up"],
)
def test_a_worker_that_is_in_c_code_is_told_as_such_and_no_other(work: str, after: str, told: str) -> None:
    code = f"""if True:
        import anyio, time
        from unified_exec import ProcessPool, TaskScope

        def loops():
            while True:
                pass

        def work():
            {work}

        async def main():
            async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
                await scope.spawn(int, on="process")  # the worker is there
                handle = scope.spawn(work, on="process")
                while not handle.worker:
                    await anyio.sleep(0.01)
                print("ready", flush=True)
                {after}

        anyio.run(main)
    """
    with program("-c", code) as process:
        texts: list[str] = []

        def is_told() -> bool:
            [task] = tree_of(process.pid)["tasks"].values()
            texts.append(task["why"]["text"])
            return told in texts[-1] and texts[-1].startswith("runs")

        until(is_told)
    assert "held up" not in told or not any("in C code" in text for text in texts)


# -- who may look


def door() -> Program:
    """The door of this process."""
    return find(os.getpid())


@pytest.fixture
async def opened() -> None:
    async with TaskScope():
        pass


async def test_the_socket_is_of_this_user_alone_and_has_no_name(opened: None) -> None:
    assert os.stat(door().path).st_mode & 0o777 == 0o600
    assert not list(Path(tempfile.gettempdir()).glob(f"unified_exec-{os.getpid()}-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("python3") is None, reason="needs a python3 that another user can run")
async def test_another_user_is_refused_by_the_kernel(opened: None) -> None:
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({door().path!r})"
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", code], user=65534, group=65534, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode != 0
    assert "Permission" in done.stderr or "not found" in done.stderr


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell who has connected")
def test_who_has_connected_is_this_user_or_root() -> None:
    class Peer(socket.socket):
        uid = 0

        def getsockopt(self, *_: object) -> Any:
            return talk.CREDENTIALS.pack(1, self.uid, 1)

    with Peer(socket.AF_UNIX) as peer:
        for peer.uid, is_allowed in ((os.geteuid(), True), (0, True), (os.geteuid() + 1, False)):
            assert talk.allowed(peer) is is_allowed


async def test_one_who_is_not_allowed_is_told_nothing(opened: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "allowed", lambda sock: False)

    def told() -> bytes:
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.connect(door().path)
            return viewer.recv(1)

    assert await anyio.to_thread.run_sync(told) == b""


def test_a_program_can_hide_itself() -> None:
    code = """if True:
        import anyio
        from unified_exec import TaskScope

        async def main():
            async with TaskScope():
                print("ready", flush=True)
                await anyio.sleep(1000)

        anyio.run(main)
    """
    with program("-c", code, UNIFIED_EXEC_OBSERVE="0") as process:
        with pytest.raises(CannotLook, match="UNIFIED_EXEC_OBSERVE=0"):
            find(process.pid)
        assert command(["tree", str(process.pid)]) == 1


def test_a_program_that_may_have_few_descriptors_keeps_them_for_itself(tmp_path: Path) -> None:
    text = """
        import os, resource, sys
        import anyio
        from unified_exec import TaskScope

        async def main():
            before = os.listdir("/proc/self/fd")
            async with TaskScope() as scope:
                await scope.spawn(len, "ab", on="thread")
            print(len(os.listdir("/proc/self/fd")) - len(before))

        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        anyio.run(main)
    """
    assert run_script(tmp_path, text, "64").check().lines == ["0"]
    assert int(run_script(tmp_path, text, "65").check().lines[0]) >= 2


SLEEPER = """
import anyio
from unified_exec import TaskScope

async def main():
    async with TaskScope() as scope:
        scope.spawn(anyio.sleep_forever)
        await anyio.sleep(0)
        print("ready", flush=True)

anyio.run(main)
"""


def test_a_program_can_be_named_by_its_command_line_and_one_that_was_stopped_is_told_as_such(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with program("-c", SLEEPER, f"pear-{os.getpid()}") as process:
        [pid, opened] = process.pid, found(process.pid)
        monkeypatch.setattr(client, "programs", lambda: [opened])  # no other program of this machine
        assert command(["tree", f"pear-{os.getpid()}", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["pid"] == pid
        with pytest.raises(SystemExit):
            command(["tree", "no such program"])
        assert "no program that can be looked at has 'no such program'" in capsys.readouterr().err
        monkeypatch.setattr(client, "programs", lambda: [opened, opened])
        with pytest.raises(SystemExit):
            command(["tree", "pear"])
        assert f"several programs have 'pear' in their command lines: {pid}" in capsys.readouterr().err
        process.send_signal(signal.SIGSTOP)
        until(lambda: client.is_stopped(pid))
        monkeypatch.setattr(client, "SECONDS", 0.2)
        assert command(["tree", str(pid)]) == 1
        assert f"`kill -CONT {pid}` lets it go on" in capsys.readouterr().err
        monkeypatch.setattr(run_ps, "programs", lambda: [opened])
        monkeypatch.setattr(run_ps, "ANSWER_SECONDS", 0.2)
        assert command(["ps"]) == 0
        assert "(stopped)" in capsys.readouterr().out
        process.kill()
        process.wait()
        assert command(["ps"]) == 0  # it has ended since it was found
        assert str(pid) not in capsys.readouterr().out


async def test_a_task_that_waits_again_and_again_is_not_told_to_have_waited_all_its_life() -> None:
    ticked: list[int] = []

    async def ticks() -> None:
        while True:
            ticked.append(1)
            await anyio.sleep(0.01)

    async with TaskScope() as scope:
        scope.spawn(ticks, name="ticks")
        await until_async(lambda: len(ticked) > 3)
        text = observe.dump()
        scope.cancel()
    assert re.search(r"ticks \(loop, [\d.]+ s\): ", text), text
    assert not re.search(r"waits \d", text), text


def test_a_process_that_is_not_there_is_told() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(CannotLook, match="there is no process"):
        find(process.pid)


# -- viewers that misbehave


def connect() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(30)
    sock.connect(door().path)
    return sock


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 10,
        LENGTH.pack(1 << 31),
        LENGTH.pack(4) + b"null",
        LENGTH.pack(5) + b'{"a":',
        LENGTH.pack(8000) + b"[" * 8000,
        LENGTH.pack(2) + b"\xff\xfe",
    ],
    ids=["http", "huge", "null", "half", "deep", "bytes"],
)
async def test_garbage_ends_that_connection_only(opened: None, garbage: bytes) -> None:
    with connect() as bad, Connection(door()) as good:
        bad.sendall(garbage)
        while bad.recv(4096):
            pass
        assert good.tree("none")["pid"] == os.getpid()


async def test_an_unknown_request_is_refused_and_nothing_is_executed(opened: None) -> None:
    with Connection(door()) as connection:
        connection.send(type="eval", task=1)
        with pytest.raises(CannotLook, match="there is no request 'eval'"):
            connection.receive()
        assert connection.tree("none")["pid"] == os.getpid()


async def test_half_a_request_and_a_viewer_that_goes_harm_nobody(opened: None) -> None:
    with connect() as sock:
        sock.sendall(pack({"type": "tree"})[:7])
    with connect() as sock:
        sock.sendall(pack({"type": "tree"}))
    with Connection(door()) as connection:
        assert connection.tree("none")["pid"] == os.getpid()


async def test_a_fifth_viewer_is_told_to_wait(opened: None) -> None:
    others: list[Connection] = []
    for _ in range(4):
        others.append(Connection(door()))
    with pytest.raises(CannotLook, match="4 others look"):
        Connection(door())
    for each in others:
        each.__exit__(None, None, None)

    def there_is_room() -> bool:
        try:
            Connection(door()).__exit__(None, None, None)
        except CannotLook:
            return False
        return True

    until(there_is_room)


async def test_a_viewer_that_stops_reading_is_let_go_and_delays_no_task(
    opened: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "STUCK_SECONDS", 0.3)
    with connect() as stuck, Connection(door()) as other:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(pack({"type": "events", "moves": True}))
        until(lambda: observe_is_on())
        async with TaskScope() as scope:
            for number in range(3000):
                scope.spawn(workloads.coroutine, number)
        other.send(type="hello")
        assert other.receive()["pid"] == os.getpid()
        until(lambda: not observe_is_on())


def observe_is_on() -> bool:
    from unified_exec._tasks import events

    return events.rows is not None


async def test_events_reach_a_viewer(opened: None) -> None:
    with Connection(door()) as connection:
        connection.send(type="events", kinds=["task.settled"])
        until(observe_is_on)
        async with TaskScope() as scope:
            handle = scope.spawn(workloads.coroutine)
        message = await anyio.to_thread.run_sync(connection.receive)
        assert [row[1:4:2] for row in message["rows"]] == [["task.settled", handle.id]]
    until(lambda: not observe_is_on())


# -- forks, signals, pytest


def test_a_fork_causes_no_warning_and_the_door_opens_again() -> None:
    code = """if True:
        import anyio, os, sys, warnings
        warnings.simplefilter("error")
        from unified_exec import TaskScope

        async def main():
            async with TaskScope():
                if not (pid := os.fork()):
                    os._exit(0)
                os.waitpid(pid, 0)
                print("ready", flush=True)
                await anyio.sleep(1000)

        anyio.run(main)
    """
    with program("-c", code) as process:
        assert tree_of(process.pid)["scopes"]


def test_a_signal_writes_the_tree() -> None:
    code = """if True:
        import anyio, signal
        from unified_exec import TaskScope, observe

        async def ready():
            print("ready", flush=True)

        async def main():
            observe.dump_on(signal.SIGUSR1)
            async with TaskScope(name="outer") as scope:
                scope.spawn(ready)
                await anyio.sleep(1000)

        anyio.run(main)
    """
    with program("-c", code) as process:
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(2)]
    assert "scope 1 outer" in lines[1]
    assert "waits for a sleep of 1000 s" in lines[1]


def test_a_signal_that_has_a_handler_is_refused() -> None:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with pytest.raises(ValueError, match="has a handler already"):
            observe.dump_on(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_report_of_a_test_that_times_out_has_the_tree(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(
        "import anyio\nfrom unified_exec import TaskScope\n\n"
        "def test_hangs():\n"
        "    async def main():\n"
        "        async with TaskScope(name='stuck') as scope:\n"
        "            scope.spawn(anyio.sleep_forever)\n"
        "    anyio.run(main)\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "unified_exec.observe.plugin", "--unified-exec-tree=0.5"),
            *("-p", "no:cacheprovider", "-o", "timeout=6", "test_hangs.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "what waited for what" in done.stdout
    assert "sleep_forever (loop, " in done.stdout
    assert "has run for 0.5 s" in done.stderr


def test_hostile_text_is_made_plain() -> None:
    assert plain("\x1b[2J\u202eevil\n\x00\u200b") == "\ufffd[2J\ufffdevil\ufffd\ufffd\ufffd"
    assert len(plain("x" * 10**6)) == 400


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # 3.15: of the test runner
def test_the_door_takes_its_thread_away_for_a_fork_only() -> None:
    before = time.monotonic()
    pid = os.fork()
    if not pid:
        os._exit(1 if keeper.current_door() is not None else 0)
    assert os.waitpid(pid, 0)[1] == 0
    assert time.monotonic() - before < 30
