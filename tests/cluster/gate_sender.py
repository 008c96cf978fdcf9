"""A program's side of a gate, with neither a network nor an engine."""

from __future__ import annotations

import os
from typing import Any

import anyio

from tests.waiting import until_async
from unified_exec._pools.process.decode_result import message_of, outcome_of
from unified_exec._pools.process.relay import Gate
from unified_exec._pools.process.relayed import RelayAnswer, RelayCall, RelayedFunction, RelayedGlobal, RelayedHome
from unified_exec._wire.pickling import codec
from unified_exec._wire.pickling.functions import EncodedCall, encode_call


class Ends:
    """A sink that notes everything in order."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int]] = []
        self.answers: dict[int, RelayAnswer] = {}
        self.messages: list[object] = []
        self.requests: list[tuple[int, int, Any]] = []
        self.logs: list[tuple[int, bytes]] = []

    def answered(self, answer: RelayAnswer) -> None:
        self.notes.append(("answered", answer.id))
        self.answers[answer.id] = answer

    def returned(self, id: int) -> None:
        self.notes.append(("returned", id))

    def reported(self, id: int, data: Any, buffers: Any) -> None:
        self.notes.append(("reported", id))
        self.messages.append(message_of(data, list(buffers)))

    def asked(self, id: int, number: int, flags: int, data: Any, buffers: Any) -> None:
        self.requests.append((id, number, codec.decode(data, list(buffers))))

    def logged(self, pid: int, data: bytes) -> None:
        self.logs.append((pid, data))

    def ended(self) -> list[int]:
        return [id for kind, id in self.notes if kind != "reported"]

    async def end_of(self, *ids: int) -> list[Any]:
        assert await until_async(lambda: set(ids) <= set(self.ended()), 60)
        return [self.outcome(id) for id in ids if id in self.answers]

    def outcome(self, id: int) -> Any:
        answer = self.answers[id]
        return outcome_of("f", answer.kind, answer.data, answer.buffers)


class Sender:
    """What a program does with a gate."""

    def __init__(self, gate: Gate, ends: Ends) -> None:
        self.gate = gate
        self.ends = ends
        self.keep: list[Any] = []
        self.known: set[int] = set()

    def submit(self, id: int, fn: Any, *args: Any, coroutine: bool = False, left: float | None = None) -> None:
        self.keep.append(fn)
        self.submit_encoded(id, encode_call(fn, args), coroutine, left)

    def submit_encoded(self, id: int, call: EncodedCall, coroutine: bool = False, left: float | None = None) -> None:
        self.keep.append(call)
        entry = call.entry
        for value in (*entry.needs, *call.needs):
            if value.id not in self.known:
                home = RelayedHome(value.home.token, value.home.name, value.home.attributes())
                parts = (value.name, value.id, value.data, value.wire_needs, value.why, value.group)
                self.gate.learn_global(RelayedGlobal(home, *parts))
                self.known.add(value.id)
        if entry.id and entry.id not in self.known:
            function = RelayedFunction(entry.id, entry.name, entry.payload, coroutine)
            self.gate.learn_function(function, [value.id for value in entry.needs])
            self.known.add(entry.id)
        for shared in call.shared:
            size = os.fstat(shared.fileno()).st_size
            self.gate.place(shared.token, shared.size, shared.table, memoryview(os.pread(shared.fileno(), size, 0)))
        needs, tokens = [value.id for value in call.needs], [shared.token for shared in call.shared]
        self.gate.submit(RelayCall(id, "f", entry.id, call.data, call.buffers, needs, tokens, coroutine, left))


async def end(gate: Gate) -> None:
    gone = anyio.Event()
    gate.end("the test ends", gone.set)
    with anyio.fail_after(60):
        await gone.wait()
