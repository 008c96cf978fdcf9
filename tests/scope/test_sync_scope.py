"""`SyncTaskScope`: the same verbs without async."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scope import many
from tests.scope.many import Gone, Place, Source
from tests.waiting import until
from unified_exec import (
    Collect,
    Race,
    Retry,
    SyncTaskScope,
    TaskCancelled,
    TaskState,
    TaskTimeout,
    ThreadPool,
    check_cancelled,
)


def test_tasks_run_everywhere(place: Place, tmp_path: Path) -> None:
    with SyncTaskScope("name", timeout=100) as scope:
        handle = scope.spawn(place.fn(many.double), 21, on=place.on, name="it")
        assert handle.result() == 42
        assert handle.exception() is None
        assert (handle.name, handle.state, handle.done()) == ("it", TaskState.DONE, True)
        again = scope.spawn(place.fn(many.needs), tmp_path, "x", 2, on=place.on, retry=Retry(1))
        assert again.result() == "x"
        assert again.attempts == 2


def test_result_waits_as_long_as_it_is_told(place: Place, tmp_path: Path) -> None:
    with SyncTaskScope() as scope:
        handle = scope.spawn(place.fn(many.hold), tmp_path, "x", on=place.on)
        assert not handle.wait(0.01)
        for verb in (handle.result, handle.exception):
            with pytest.raises(TimeoutError, match="goes on"):
                verb(0.01)
        (tmp_path / "x.go").touch()
        assert handle.result(60) == "x"


def test_leaving_waits_for_every_task(place: Place, tmp_path: Path) -> None:
    with SyncTaskScope() as scope:
        handle = scope.spawn(place.fn(many.hold), tmp_path, "x", on=place.on)
        assert until((tmp_path / "x.started").exists, 60)
        threading.Timer(0.05, (tmp_path / "x.go").touch).start()
    assert handle.done()
    assert handle.result() == "x"


def test_failures_are_raised_as_in_the_async_form(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        with SyncTaskScope() as scope:
            held = scope.spawn(place.fn(many.hold), tmp_path, "x", on=place.on)
            scope.spawn(place.fn(many.fail_odd), 1, on=place.on)
            held.wait()
    assert [each.args for each in raised.value.exceptions] == [(1,)]
    assert held.cancelled()


def test_an_exception_of_the_block_cancels_its_tasks(place: Place, tmp_path: Path) -> None:
    with pytest.raises((Gone, ExceptionGroup)):
        with SyncTaskScope() as scope:
            held = scope.spawn(place.fn(many.hold), tmp_path, "x", on=place.on)
            assert until((tmp_path / "x.started").exists, 60)
            raise Gone
    assert held.cancelled()
    assert (tmp_path / "x.ended").exists()


def test_cancel_and_timeout(place: Place, tmp_path: Path) -> None:
    with SyncTaskScope() as scope:
        one = scope.spawn(place.fn(many.hold), tmp_path, "one", on=place.on)
        one.cancel("enough")
        with pytest.raises(TaskCancelled, match="enough"):
            one.result()
        one.cancel()  # does nothing
        two = scope.spawn(place.fn(many.hold), tmp_path, "two", on=place.on)
        scope.cancel()
    assert two.cancelled()
    one.cancel()  # nor does it now
    with pytest.raises(TaskTimeout):
        with SyncTaskScope(timeout=0.01) as scope:
            scope.spawn(place.fn(many.hold), tmp_path, "three", on=place.on)


def test_policies(tmp_path: Path) -> None:
    with SyncTaskScope(policy=Race()) as scope:
        held = scope.spawn(many.hold, tmp_path, "x")
        assert scope.spawn(many.double, 1).result() == 2
    assert held.cancelled()
    with SyncTaskScope(policy=Collect()) as scope:
        bad = scope.spawn(many.fail_odd, 1, on="process")
    assert isinstance(bad.exception(), ValueError)


def test_map(place: Place) -> None:
    with SyncTaskScope() as scope:
        assert list(scope.map(place.fn(many.double), range(1000), on=place.on)) == [2 * x for x in range(1000)]
        source = Source()
        for x in scope.map(place.fn(many.double), source, on=place.on, limit=2):
            assert x == 0
            break
        assert source.read < 300
        with pytest.raises(ValueError, match="3"):
            list(scope.map(place.fn(many.fail_at_three), range(9), on=place.on))


def test_stream_gather_and_as_completed(tmp_path: Path) -> None:
    with SyncTaskScope() as scope:
        for on in ("thread", "process"):
            assert list(scope.stream(many.count_to, tmp_path, 1000, on=on)) == list(range(1000))
        assert list(scope.stream(many.a_count_to, tmp_path, 10)) == list(range(10))
        handles = [scope.spawn(many.hold, tmp_path, name) for name in "ab"]
        (tmp_path / "b.go").touch()
        ended = scope.as_completed([*handles, handles[0]])
        assert next(ended).result() == "b"
        (tmp_path / "a.go").touch()
        assert next(ended).result() == "a"
        assert list(ended) == []
        assert scope.gather(*handles) == ["a", "b"]


def test_scopes_nest_and_run_in_any_thread() -> None:
    def inner() -> int:
        with SyncTaskScope() as scope:
            return scope.spawn(many.double, 1, on="process").result()

    with SyncTaskScope() as scope:
        assert scope.spawn(inner).result() == 2
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(inner()))
    thread.start()
    thread.join()
    assert found == [2]


def test_its_pool_may_be_given() -> None:
    with ThreadPool(1) as pool, SyncTaskScope(threads=pool) as scope:
        assert scope.spawn(many.double, 1).result() == 2


async def test_inside_an_event_loop_it_is_refused_with_the_async_form() -> None:
    with pytest.raises(RuntimeError, match="async with TaskScope"):
        SyncTaskScope().__enter__()


def test_outside_of_its_block_it_is_refused() -> None:
    scope = SyncTaskScope()
    for verb in (lambda: scope.spawn(many.double, 1), lambda: scope.map(many.double, []), scope.cancel):
        with pytest.raises(RuntimeError, match="with SyncTaskScope"):
            verb()
    with scope:
        pass
    with pytest.raises(RuntimeError, match="with SyncTaskScope"):
        scope.spawn(many.double, 1)


PROGRAM = """
import sys
from pathlib import Path
from tests.scope import many
from unified_exec import SyncTaskScope
folder = Path(sys.argv[1])
try:
    with SyncTaskScope() as scope:
        handles = [scope.spawn(many.hold, folder, on, on=on) for on in ("thread", "process")]
        handles.append(scope.spawn(many.a_hold, folder, "loop"))
        if sys.argv[2] == "result":
            handles[0].result()
        else:
            for _ in scope.map(many.a_hold_first.__get__(folder), ["map"]):
                pass
except KeyboardInterrupt:
    print(*sorted(handle.cancelled() for handle in handles))
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")
@pytest.mark.parametrize("where", ["result", "map"])
def test_ctrl_c_cancels_everything_and_comes_out_bare(where: str, tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "many.a_hold_first.__get__(folder)", "__import__('functools').partial(many.a_hold, folder)"
    )
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", program, str(tmp_path), where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        names = ["thread", "process", "loop", *(["map"] if where == "map" else [])]
        for name in names:
            assert until((tmp_path / f"{name}.started").exists, 60)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert (out, err) == ("True True True\n", "")
    for name in names:
        assert (tmp_path / f"{name}.ended").exists()


STUBBORN = """
import sys, time
from pathlib import Path
from tests.scope import many
from unified_exec import SyncTaskScope
folder = Path(sys.argv[1])
try:
    with SyncTaskScope() as scope:
        scope.spawn(many.hold, folder, "asked")
        scope.spawn(time.sleep, 1000).result()
except KeyboardInterrupt:
    print("out")
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no such signals")
def test_a_second_ctrl_c_waits_no_more_for_a_thread_that_does_not_listen(tmp_path: Path) -> None:
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", STUBBORN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert until((tmp_path / "asked.started").exists, 60)
        run.send_signal(signal.SIGINT)
        assert until((tmp_path / "asked.ended").exists, 60)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    assert out == "out\n"


def test_the_loop_is_gone_afterwards() -> None:
    before = threading.active_count()
    with SyncTaskScope() as scope:
        scope.spawn(anyio.sleep, 0).result()
    assert until(lambda: threading.active_count() <= before)


def test_a_cancelled_scope_lets_its_block_go_on(place: Place, tmp_path: Path) -> None:
    after = []
    with SyncTaskScope() as scope:
        held = scope.spawn(place.fn(many.hold), tmp_path, "x", on=place.on)
        scope.cancel("enough")
        assert held.wait(60)
        with pytest.raises(TaskCancelled):
            next(scope.map(partial(place.fn(many.hold), tmp_path), ["y"], on=place.on))
        after.append(held.cancelled())
    assert after == [True]


def test_the_cancellation_of_its_own_scope_ends_with_the_block(tmp_path: Path) -> None:
    with SyncTaskScope() as scope:
        held = scope.spawn(many.hold, tmp_path, "x")
        scope.cancel()
        held.result()
        raise AssertionError("unreachable")
    assert held.cancelled()


def test_a_timeout_cuts_short_what_the_block_waits_for(tmp_path: Path) -> None:
    with pytest.raises(TaskTimeout, match="'slow'"):
        with SyncTaskScope("slow", timeout=0.05) as scope:
            scope.spawn(many.hold, tmp_path, "x").result()


def test_sys_exit_comes_out_bare_and_cancels_the_rest(place: Place, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        with SyncTaskScope() as scope:
            held = scope.spawn(place.fn(many.hold), tmp_path, "x", on=place.on)
            sys.exit(3)
    assert held.cancelled()


def test_what_fails_while_sys_exit_ends_the_block_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        with SyncTaskScope() as scope:
            scope.spawn(many.hold_and_fail, tmp_path, "x")
            assert until((tmp_path / "x.started").exists, 60)
            sys.exit(3)
    assert [type(each) for each in raised.value.exceptions] == [SystemExit, Gone]


def test_a_handle_may_be_cancelled_in_any_thread_and_at_any_time(tmp_path: Path) -> None:
    with SyncTaskScope(policy=Collect()) as scope:
        held = scope.spawn(many.hold, tmp_path, "x")
        thread = threading.Thread(target=held.cancel, args=("from afar",))
        thread.start()
        thread.join()
        assert held.wait(60)
        with pytest.raises(TaskCancelled, match="from afar"):
            held.result()
    held.cancel()


def test_what_failed_is_freed_with_the_last_reference_to_it(place: Place) -> None:
    """Its traceback shows the loop and the scope, which must not lead back to it."""
    gc.collect()
    gc.disable()
    try:
        try:
            with SyncTaskScope() as scope:
                scope.spawn(place.fn(many.fail_odd), 1, on=place.on)
        except ExceptionGroup as group:
            failed = weakref.ref(group)
        assert failed() is None
    finally:
        gc.enable()


def test_what_a_signal_handler_raises_while_the_scope_waits_gets_the_clean_up() -> None:
    cleaned: list[str] = []
    started = threading.Event()

    def task() -> None:
        started.set()
        try:
            while True:
                check_cancelled()
                time.sleep(0.001)
        finally:
            cleaned.append("task")

    def stop(signum: int, frame: object) -> None:
        raise SystemExit(3)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(SystemExit) as caught, SyncTaskScope() as scope:
            scope.spawn(task)
            threading.Thread(target=lambda: (started.wait(), os.kill(os.getpid(), signal.SIGTERM))).start()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 3
    assert cleaned == ["task"]


def test_what_a_signal_handler_raises_while_the_scope_opens_leaves_no_loop_behind() -> None:
    def stop(signum: int, frame: object) -> None:
        raise InterruptedError

    def interrupt(frame: object, event: str, arg: object) -> None:  # in the thread of the loop, as it starts
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

    threads = threading.active_count()
    before = signal.signal(signal.SIGTERM, stop)
    threading.setprofile(interrupt)
    try:
        with pytest.raises(InterruptedError), SyncTaskScope():
            pass
    finally:
        threading.setprofile(None)
        signal.signal(signal.SIGTERM, before)
    assert until(lambda: threading.active_count() <= threads)
