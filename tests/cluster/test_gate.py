"""The gate: calls of another program in worker processes here, with neither a network nor an engine."""

from __future__ import annotations

import os
import pickle
import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.cluster.gate_sender import Ends, Sender, end
from tests.cluster.processes import in_main
from tests.waiting import until_async
from unified_exec import Cancelled, WorkerCrashed, check_cancelled, from_task, report, share
from unified_exec._loops.current import current_adapter
from unified_exec._pools.process.relay import Gate, GateOptions
from unified_exec._pools.process.relayed import RelayCall, RelayedFunction, RelayedGlobal, RelayedHome
from unified_exec._pools.process.task_requests import encode_reply
from unified_exec._tasks.types import Outcome
from unified_exec._wire import frames
from unified_exec._wire.pickling.functions import encode_call

pytestmark = pytest.mark.one_loop


def telling(n: int) -> int:
    for i in range(n):
        report(i)
    return n


def wait_for(path: str) -> str:
    try:
        with open(f"{path}-begun", "w"):
            pass
        while not os.path.exists(path):
            check_cancelled()
            time.sleep(0.005)
    except Cancelled:
        with open(f"{path}-cancelled", "w"):
            pass
        raise
    return path


async def a_double(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * n


BASE = 40


async def test_a_gate_runs_calls_and_passes_on_what_comes_back_unread(sender: Sender) -> None:
    table = share([5, 6])
    sender.submit(1, divmod, 7, 2)
    sender.submit(2, divmod, 7, 0)
    sender.submit(3, a_double, 4, coroutine=True)
    sender.submit(4, telling, 5)
    sender.submit(5, lambda: table.value[1])
    sender.submit(6, bytes, bytearray(3_000_000))
    sender.submit(7, os._exit, 7)
    results = await sender.ends.end_of(*range(1, 8))
    assert [outcome.unwrap() for outcome in results[2:5]] == [8, 5, 6]
    assert results[0].unwrap() == (3, 1)
    assert type(results[1].error) is ZeroDivisionError
    assert results[5].unwrap() == bytes(3_000_000)
    assert type(results[6].error) is WorkerCrashed
    assert results[6].error.exitcode == 7
    assert "on node 7" in str(results[6].error)
    assert [message.done for message in sender.ends.messages] == list(range(5))
    assert sender.ends.notes.index(("answered", 4)) > max(
        at for at, note in enumerate(sender.ends.notes) if note == ("reported", 4)
    )
    assert sorted(sender.ends.ended()) == list(range(1, 8))
    assert all(sender.ends.answers[id].pid for id in (1, 2, 3))


LOADED: list[int] = []
TESTS = os.getpid()
"""In the process of the tests, its process id."""


def note_where(pid: int) -> Any:
    """In this process, note that it was called; elsewhere, exit."""
    if os.getpid() != pid:
        os._exit(7)
    LOADED.append(pid)


class Poison:
    def __reduce__(self) -> Any:
        return note_where, (TESTS,)


async def test_a_gate_never_unpickles_what_passes_through(sender: Sender) -> None:
    poison = pickle.dumps(Poison())
    sender.gate.learn_global(RelayedGlobal(RelayedHome("token", "__main__", {}), "name", 3, poison, (), "", ()))
    sender.gate.learn_function(RelayedFunction(1, "f", poison, False), [3])
    sender.gate.submit(RelayCall(1, "f", 1, poison))
    sender.gate.submit(RelayCall(2, "f", 0, poison))
    assert [outcome.error.exitcode for outcome in await sender.ends.end_of(1, 2)] == [7, 7]
    assert not LOADED
    pickle.loads(poison)
    assert LOADED.pop()


class LoudPoison(Poison, Warning):
    pass


def warn_with_poison(pid: int) -> None:
    import logging
    import warnings

    logging.getLogger("node").error("%s", Poison(), extra={"more": Poison()})
    warnings.simplefilter("always")
    warnings.warn(LoudPoison(), stacklevel=1)


async def test_log_records_and_warnings_are_not_unpickled_either(sender: Sender) -> None:
    sender.submit(1, warn_with_poison, os.getpid())
    (outcome,) = await sender.ends.end_of(1)
    assert outcome.error is None
    assert not LOADED
    assert [pid for pid, _ in sender.ends.logs] == [sender.ends.answers[1].pid] * 2


def ask() -> Any:
    return from_task.run_sync(divmod, 7, 2)


async def test_a_request_is_passed_on_unread_and_answered_by_the_program(sender: Sender) -> None:
    sender.submit(1, ask)
    assert await until_async(lambda: sender.ends.requests, 60)
    ((id, number, (_, fn, args, _)),) = sender.ends.requests
    assert (id, fn, args) == (1, divmod, (7, 2))
    sender.gate.reply(1, number + 1, encode_reply("another", Outcome(0)))  # nobody has asked for it
    sender.gate.reply(1, number, encode_reply("divmod", Outcome((3, 1))))
    assert [outcome.unwrap() for outcome in await sender.ends.end_of(1)] == [(3, 1)]


async def test_values_of_globals_reach_every_worker_and_the_newest_one_wins(sender: Sender) -> None:
    main = in_main("N = 1\ndef f(x):\n    import time; time.sleep(0.01)\n    return x + N")
    for id in range(10):
        sender.submit(id, main.f, id)
    main.N = 100
    for id in range(10, 20):
        sender.submit(id, main.f, id)
    results = [outcome.unwrap() for outcome in await sender.ends.end_of(*range(20))]
    assert all(result in (x + 1, x + 100) for x, result in enumerate(results[:10]))
    assert results[10:] == list(range(110, 120))


async def test_a_call_that_waited_runs_the_function_it_was_made_of(sender: Sender) -> None:
    main = in_main("def helper(): return 1\ndef f(): return helper()")
    for id in range(4):
        sender.submit(id, main.f)
    await sender.ends.end_of(*range(4))
    queued, _kept = encode_call(main.helper, ()), main.helper
    exec("def helper(): return 2", main.__dict__)
    for id in range(4, 8):
        sender.submit(id, main.f)
    assert [outcome.unwrap() for outcome in await sender.ends.end_of(*range(4, 8))] == [2] * 4
    for id in range(8, 12):
        sender.submit_encoded(id, queued)
    assert [outcome.unwrap() for outcome in await sender.ends.end_of(*range(8, 12))] == [1] * 4


async def test_what_has_not_begun_is_returned_and_never_runs(sender: Sender, tmp_path: Any) -> None:
    go = str(tmp_path / "go")
    for id in (1, 2):
        sender.submit(id, wait_for, go)
    assert await until_async(lambda: len(sender.gate.running()) == 2, 60)
    for id in range(3, 30):
        sender.submit(id, os.mkdir, str(tmp_path / f"made-{id}"))
    sender.gate.take_back(range(1, 30))
    assert set(sender.ends.notes) == {("returned", id) for id in range(3, 30)}
    open(go, "w").close()
    assert [outcome.unwrap() for outcome in await sender.ends.end_of(1, 2)] == [go, go]
    assert not [name for name in os.listdir(tmp_path) if name.startswith("made")]
    assert len(sender.gate) == 0


async def test_a_cancelled_call_is_requested_to_stop(sender: Sender, tmp_path: Any) -> None:
    never = str(tmp_path / "never")
    sender.submit(1, wait_for, never)
    assert await until_async(lambda: os.path.exists(f"{never}-begun"), 60)
    assert [id for id, _ in sender.gate.running()] == [1]
    sender.gate.cancel([1], "enough")
    await sender.ends.end_of(1)
    assert sender.ends.answers[1].kind == frames.STOPPED
    assert os.path.exists(f"{never}-cancelled")


async def test_a_call_that_does_not_stop_is_killed_after_the_grace() -> None:
    ends = Ends()
    gate = Gate(current_adapter(), 1, ends, GateOptions(grace=0.1), "node 7")
    Sender(gate, ends).submit(1, pow, 7, 10**8)
    assert await until_async(gate.running, 60)
    gate.cancel([1], "enough")
    await ends.end_of(1)
    assert ends.answers[1].kind == frames.STOPPED
    await end(gate)


async def test_a_worker_that_cannot_start_fails_its_call_with_the_initializers_error() -> None:
    from unified_exec._wire.pickling import globals_sent

    ends = Ends()
    options = GateOptions(initializer=globals_sent.encode_alone((divmod, (1, 0))))
    gate = Gate(current_adapter(), 1, ends, options, "node 7")
    Sender(gate, ends).submit(1, int)
    (outcome,) = await ends.end_of(1)
    assert "ZeroDivisionError" in str(outcome.error)
    await end(gate)


async def test_each_worker_is_handed_out_with_a_lifeline_that_kills_it(tmp_path: Any) -> None:
    lifelines: list[Any] = []
    ends = Ends()
    gate = Gate(
        current_adapter(), 1, ends, GateOptions(), "node 7", lambda worker: lifelines.append(worker.lifeline.dup())
    )
    Sender(gate, ends).submit(1, wait_for, str(tmp_path / "never"))
    assert await until_async(gate.running, 60)
    for lifeline in lifelines:
        lifeline.send(b"x")
        lifeline.close()
    (outcome,) = await ends.end_of(1)
    assert type(outcome.error) is WorkerCrashed
    await end(gate)


async def test_a_call_that_was_never_learnt_is_refused(sender: Sender) -> None:
    with pytest.raises(LookupError):
        sender.gate.submit(RelayCall(1, "f", 77, pickle.dumps(())))
    assert len(sender.gate) == 0
    sender.submit(2, bytes, 3)
    assert (await sender.ends.end_of(2))[0].unwrap() == bytes(3)
