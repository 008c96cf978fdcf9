"""The advisor on functions of every kind: what is expected of each stands beside it."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.profiles import examples
from tests.this_python import HAS_GIL, needs_interpreters
from unified_exec import shutdown_default_pools
from unified_exec.cli.advise import measure_function
from unified_exec.cli.advise.facts import Advice, Facts, InInterpreter, Machine, Transfer
from unified_exec.cli.advise.in_interpreter import has_interpreters
from unified_exec.cli.advise.run_plan import plan
from unified_exec.cli.advise.target_function import load
from unified_exec.cli.advise.verdict import advise

MODULE = "tests.cli.advise.functions"
pytestmark = pytest.mark.skipif(not HAS_GIL, reason="without a GIL everything goes to threads")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_function, "cpu_count", lambda: 2)


class Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(0.1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield "127.0.0.1", serving.server_port
        finally:
            serving.shutdown()
            thread.join()


TRIES = 6


def advised(
    name: str,
    *args: object,
    setup: str | None = None,
    runs: int = 10,
    expected: Callable[[Advice], bool] = lambda advice: True,
) -> tuple[Facts, Advice]:
    """Measure and advise; again where the advice is not as expected, since a busy machine distorts what is measured."""
    for _ in range(TRIES):
        call = load(f"{MODULE}:{name}", map(repr, args), (), setup and f"{MODULE}:{setup}")
        session = measure_function.FunctionMeasurement(call, runs, 60)
        try:
            facts = anyio.run(session.run, plan(call.is_async, runs, 2, has_interpreters()))
        finally:
            shutdown_default_pools()
        advice = advise(facts)
        if expected(advice):
            break
    return facts, advice


def goes_to(backend: str, *reasons: str, more_than: int = 0) -> Callable[[Advice], bool]:
    """The advice is this backend, for one of these reasons, with more than so many workers."""
    return lambda advice: (
        advice.backend == backend
        and advice.workers > more_than
        and (not reasons or any(reason in advice.reason for reason in reasons))
    )


def kinds(advice: Advice) -> set[str]:
    return {warned.kind for warned in advice.warnings}


COMPUTES = "holds the GIL"
RELEASES = ("releases the GIL", "waits most of the time", "not enough for a move")  # the last on a busy machine
WAITS = "waits"


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("primes", (30_000,)),
        ("through_json", (40_000,)),
        ("sort", (300_000,)),
        ("fetch_and_parse", (0.001, 30_000)),
        *examples([], nightly=[("fibonacci", (22,)), ("orbit", (250_000,)), ("backtrack", (18,))]),
    ],
)
def test_what_computes_and_holds_the_gil_goes_to_as_many_processes_as_there_are_cores(
    name: str, args: tuple[object, ...]
) -> None:
    facts, advice = advised(name, *args, expected=goes_to("process", COMPUTES))
    assert advice.backend == "process", advice
    assert advice.workers == 2
    assert COMPUTES in advice.reason
    assert 'on="process"' in advice.code
    assert facts.made == 9 + has_interpreters()
    assert ("interpreters as well" in advice.reason) == has_interpreters()


@pytest.mark.parametrize(
    ("name", "args"), [("digest", (64 << 20,)), ("compress", (8_000_000,)), ("matrix", (1_000,)), ("query", ("{db}",))]
)
def test_what_computes_without_the_gil_goes_to_threads(name: str, args: tuple[Any, ...], tmp_path: Path) -> None:
    path = str(tmp_path / "t.db")
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (n)")
        connection.executemany("insert into t values (?)", [(n,) for n in range(1000)])
    connection.close()
    given = (path if arg == "{db}" else arg for arg in args)
    facts, advice = advised(name, *given, expected=goes_to("thread", *RELEASES))
    assert advice.backend == "thread", (advice, facts)
    assert any(text in advice.reason for text in RELEASES), (advice, facts)


def test_what_sleeps_goes_to_many_threads() -> None:
    _, advice = advised("pause", 0.02, expected=goes_to("thread", WAITS, more_than=39))
    assert (advice.backend, advice.workers) == ("thread", 40)
    assert "waits most of the time" in advice.reason


def test_a_request_to_a_server_goes_to_threads(server: tuple[str, int]) -> None:
    _, advice = advised("request", "http://{}:{}/".format(*server), expected=goes_to("thread", WAITS, more_than=5))
    assert advice.backend == "thread"
    assert advice.workers > 5
    assert "waits" in advice.reason


def test_a_program_that_is_waited_for_goes_to_threads() -> None:
    _, advice = advised("run_program", expected=goes_to("thread", WAITS))
    assert advice.backend == "thread"
    assert "waits" in advice.reason


def test_a_function_that_waits_and_then_computes_a_little_goes_to_threads() -> None:
    _, advice = advised("fetch_and_parse", 0.05, 2_000, expected=goes_to("thread", more_than=5))
    assert advice.backend == "thread"
    assert advice.workers > 5


def test_an_async_client_stays_on_the_loop(server: tuple[str, int]) -> None:
    on_the_loop = goes_to("loop", more_than=5)
    calm = lambda advice: on_the_loop(advice) and "loop" not in kinds(advice)  # noqa: E731
    facts, advice = advised("request_async", *server, expected=calm)
    assert advice.backend == "loop"
    assert advice.workers > 5
    assert "loop" not in kinds(advice)
    assert facts.made == 8


def test_a_coroutine_that_blocks_the_loop_is_told_so_with_the_line() -> None:
    facts, advice = advised("naps_on_the_loop", 0.2)
    assert advice.backend == "loop"
    assert "loop" in kinds(advice)
    assert 0.15 < facts.blocked < 10.0
    assert "naps_on_the_loop" in facts.blocked_at


def test_a_coroutine_that_computes_goes_to_processes_and_is_told_so() -> None:
    _, advice = advised("computes_on_the_loop", 60_000, expected=goes_to("process"))
    assert advice.backend == "process"
    assert "loop" in kinds(advice)


def test_a_short_function_goes_to_processes_in_chunks() -> None:
    _, advice = advised("primes", 400, expected=goes_to("process"))
    assert advice.backend == "process"
    assert advice.chunk > 1
    assert "scope.map" in advice.code


def test_a_call_that_is_too_short_alone_is_told_so() -> None:
    facts = Facts("m:f", Machine("3.13", True, 2), False, 7, 7, cpu=0.0003, gil=0.0003, transfer=Transfer(True))
    assert "in chunks of 10, a single call is too short" in advise(facts).reason


@pytest.mark.parametrize(
    ("wall", "interpreter", "named"),
    [
        (0.1, InInterpreter(True), True),
        (0.1, InInterpreter(False, "ImportError: module numpy does not support loading in subinterpreters"), False),
        (0.1, None, False),
        (0.0009, InInterpreter(True), False),
    ],
)
def test_interpreters_are_named_only_where_the_function_runs_in_one_and_is_long_enough(
    wall: float, interpreter: InInterpreter | None, named: bool
) -> None:
    facts = Facts("m:f", Machine("3.14", True, 2), False, 8, 8, cpu=wall, gil=wall, transfer=Transfer(True))
    facts.interpreter = interpreter
    advice = advise(facts)
    assert advice.backend == "process"
    assert ('on="interpreter"' in advice.reason) is named


@needs_interpreters
def test_a_function_with_a_module_that_does_not_load_in_an_interpreter_is_told_so() -> None:
    facts, advice = advised("uses_a_module_that_refuses", 30_000, expected=goes_to("process"))
    assert advice.backend == "process"
    assert "interpreter" not in advice.reason
    assert facts.interpreter is not None
    assert "faulthandler does not support loading" in facts.interpreter.why


@pytest.mark.parametrize(("wall", "chunk"), [(0.00006, 50), (0.0003, 10), (0.001, 3), (0.1, 1)])
def test_a_chunk_is_about_three_milliseconds_of_work(wall: float, chunk: int) -> None:
    facts = Facts("m:f", Machine("3.13", True, 2), False, 7, 7, cpu=wall, gil=wall, transfer=Transfer(True))
    advice = advise(facts)
    assert (advice.backend, advice.chunk) == ("process", chunk)


def test_without_a_gil_what_computes_goes_to_threads() -> None:
    facts = Facts("m:f", Machine("3.13", False, 2), False, 7, 7, cpu=0.01, gil=0.01, transfer=Transfer(True))
    advice = advise(facts)
    assert advice.backend == "thread"
    assert "no GIL: threads run in parallel" in advice.reason


def test_a_tiny_function_is_called_where_one_is() -> None:
    _, advice = advised("add", 1, 2, expected=goes_to("direct"))
    assert advice.backend == "direct"
    assert "less than handing it" in advice.reason


def test_an_argument_that_cannot_travel_keeps_it_in_threads_and_is_named() -> None:
    facts, advice = advised("with_lock", setup="lock_and_limit")
    assert advice.backend == "thread"
    assert "travel" in kinds(advice)
    assert "'lock'" in facts.transfer.why
    assert "cannot be sent" in advice.reason
    assert not [measured for measured in facts.measured if measured.place == "process"]


def test_a_function_that_raises_in_processes_alone_is_kept_in_threads_with_the_reason() -> None:
    facts, advice = advised("fails_elsewhere", os.getpid())
    assert advice.backend == "thread"
    assert facts.transfer.why == "in a process it raised ValueError: not at home"
    assert not [measured for measured in facts.measured if measured.place == "process"]


@pytest.mark.parametrize(("name", "what"), [("remembers", "the global 'seen'"), ("counts", "count")])
def test_hidden_global_state_keeps_it_in_threads_and_is_named(name: str, what: str) -> None:
    facts, advice = advised(name, 8_000, expected=goes_to("thread", "but it changes"))
    assert advice.backend == "thread"
    assert "state" in kinds(advice)
    assert what in [*facts.changed, *facts.rebound]
    assert "but it changes" in advice.reason


def test_changed_arguments_keep_it_in_threads_and_are_named() -> None:
    facts, advice = advised("fills", [], 8_000, expected=goes_to("thread"))
    assert advice.backend == "thread"
    assert "arguments" in kinds(advice)
    assert facts.changed == ["its arguments"]


def test_heavy_arguments_for_little_work_keep_it_in_threads() -> None:
    facts, advice = advised("first_of_many", setup="many_rows", expected=goes_to("thread", "transfer"))
    assert advice.backend == "thread"
    assert "transfer" in advice.reason
    assert facts.transfer.arguments > 500_000


@pytest.mark.parametrize(("runs", "made"), [(1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (8, 7), (9, 9), (100, 9)])
def test_it_never_calls_more_often_than_allowed(runs: int, made: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    facts, advice = advised("logs_itself", str(log), runs=runs)
    assert facts.made == len(log.read_text().splitlines()) == made
    assert ("runs" in kinds(advice)) == (made < 4)
