"""The agent's end of one program's connection: frames in, frames out, a gate with worker processes in between.

It runs in the engine's worker process and knows no engine. Everything happens in the thread of its event loop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .._loops.adapter import Timer
from .._loops.current import current_adapter
from .._platform.cpu_count import worker_environment
from .._pools.process.filled_block import SIZE_MIN, FilledBlock
from .._pools.process.relay import Gate, GateOptions
from .._pools.process.relayed import RelayAnswer
from .._wire import frames
from ..observe.live.samples import usage
from . import wire
from .keeper import Keeper

LOOK = 0.05
"""Seconds between two checks which calls have begun."""
HOLD = 0.005
"""Seconds an answer may wait for the next ones while its slot has more than twice as much to do: a message costs more
than a task."""


class Connection:
    """One event loop of a program, at this node.

    Nothing of the program runs on here after its lease: the agent's clock, as the program last echoed it, plus the
    lease. A PING that waited in a socket extends nothing.

    Args:
        send: takes a batch for the program.
        hello: what the program sent first: its name, versions and options.
        keeper: kills the workers if this process is stopped.
        where: this node, for messages.
        threads: how many threads the engine has here.
        environment: environment variables of this process.

    Attributes:
        slots: how many calls run at the same time.
        on_over: called when the connection is given up here.
        on_ended: called when nothing of the program runs here any more.
    """

    def __init__(
        self,
        send: Callable[[list[wire.Frame]], object],
        hello: dict[str, Any],
        keeper: Keeper,
        where: str,
        threads: int,
        environment: dict[str, str],
    ) -> None:
        self._send = send
        self._keeper = keeper
        self._where = where
        self._adapter = current_adapter()
        options = dict(hello["options"])
        computed = worker_environment(environment, threads, threads)
        options["env"] = {**computed, **(options.get("env") or {})}
        self._options = GateOptions(**options)
        self.grace = self._options.grace
        self.drain_time: float = hello["drain"]
        self._lease_seconds: float = hello["lease"]
        self.on_over: Callable[[], object] = int
        self.on_ended: Callable[[], object] = int
        self.slots = 0
        self._gate: Gate | None = None
        self._told: set[int] = set()
        self._out: list[wire.Frame] = []
        self._flushing = self._looking = self._over = self._closing = False
        self._later: Timer | None = None
        now = time.monotonic()
        self._lease = now  # nothing begins before the program has echoed this clock
        self._lease_timer = self._adapter.call_later(self._lease_seconds, self._check_lease)
        ours, theirs = wire.versions(), list(hello["versions"])
        if ours != theirs:
            self._closing = True
            why = f"{where} has {', '.join(ours)}; this program has {', '.join(theirs)}"
            self._say(wire.pack_text(wire.REFUSED, why))
        else:
            self._say(wire.pack_times(wire.WELCOME, 0.0, now, where))

    def __len__(self) -> int:
        return len(self._gate) if self._gate is not None else 0

    def set_slots(self, slots: int) -> None:
        """Note how many seats the engine has given to this program here."""
        if self._closing or self._over:
            return
        self.slots = slots
        if self._gate is not None:
            self._gate.resize(slots)
        else:
            self._gate = Gate(self._adapter, max(1, slots), self, self._options, self._where, self._keeper.watch)
        self._say(wire.pack_numbers(wire.SLOTS, [slots]))
        if not slots and self._gate is not None:
            self._gate.take_back(self._gate.ids())

    # -- to the program

    def _say(self, head: bytes, buffers: Sequence[memoryview] = (), hold: bool = False) -> None:
        """Send a frame at the end of this turn of the loop, or a little later."""
        self._out.append((head, buffers))
        if self._flushing:
            return
        if hold:
            if self._later is None:
                self._later = self._adapter.call_later(HOLD, self.flush)
            return
        self._flushing = True
        self._adapter.call_soon(self.flush)

    def flush(self) -> None:
        """Send what has gathered."""
        self._flushing = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        batch, self._out = self._out, []
        if batch and not self._over:
            self._send(batch)

    def answered(self, answer: RelayAnswer) -> None:
        """A call has ended; see `Sink`."""
        self._told.discard(answer.id)
        waiting = len(self) - self.slots
        took = answer.finished - answer.started if answer.started else 0.0
        hold = bool(self.slots) and took * waiting / self.slots > 2 * HOLD
        self._say(*wire.pack_answer(answer), hold=hold)

    def returned(self, id: int) -> None:
        """A call has not begun, and will not begin here; see `Sink`."""
        self._told.discard(id)
        self._say(wire.pack_numbers(wire.RETURNED, [id]))

    def reported(self, id: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> None:
        """A running call has sent a message; see `Sink`."""
        self._say(wire.pack_report(id, data), buffers)

    def asked(self, id: int, number: int, flags: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> None:
        """A running call asks its scope for something; see `Sink`."""
        self._say(wire.pack_asked(id, number, flags, data), buffers)

    def logged(self, pid: int, data: bytes) -> None:
        """A worker has sent a log record or a warning; see `Sink`."""
        self._say(wire.pack_logged(pid, data), hold=True)

    # -- from the program

    def room(self, head: bytes, sizes: Sequence[int]) -> Sequence[memoryview] | None:
        """Return memory in which the large buffers of a frame need no further copy; ``None`` if any will do."""
        kind = wire.kind_of(head)
        try:
            if sum(sizes) < SIZE_MIN or self._gate is None:
                return None
            if kind == wire.TASK:
                return self._gate.room(sizes, wire.payload_of(head))
            return FilledBlock(sizes, None) if kind == wire.SHARE else None
        except OSError:
            return None  # no memory is left: told when the call is sent to a worker

    def receive(self, batch: Iterable[wire.Frame]) -> None:
        """Take in what the program has sent."""
        for head, buffers in batch:
            kind = wire.kind_of(head)
            if kind == wire.TASK:
                self._submit(head, buffers)
            elif kind == wire.PING:
                theirs, echo, _ = wire.unpack_times(head)
                self._say(self.pong(theirs, echo))
            elif self._gate is not None:
                self._on_other(self._gate, kind, head, buffers)

    def _submit(self, head: bytes, buffers: Sequence[memoryview]) -> None:
        call = wire.unpack_call(head, buffers)
        if isinstance(buffers, FilledBlock):
            call = call._replace(block=buffers)
        if not self.slots or self._gate is None or self._over or self._closing or time.monotonic() > self._lease:
            self.returned(call.id)  # its seat may have been given back meanwhile
            return
        self._gate.submit(call)
        if not self._looking:
            self._looking = True
            self._adapter.call_later(LOOK, self._look)

    def _on_other(self, gate: Gate, kind: int, head: bytes, buffers: Sequence[memoryview]) -> None:
        if kind == wire.CANCEL:
            id, reason = wire.unpack_id(head)
            gate.cancel([id], reason)
        elif kind == wire.CREDIT:
            gate.give_credit(*wire.unpack_numbers(head))
        elif kind == wire.TAKE_BACK:
            gate.take_back(wire.unpack_numbers(head))
        elif kind == wire.FUNCTION:
            gate.learn_function(*wire.unpack_function(head))
        elif kind == wire.GLOBAL:
            gate.learn_global(wire.unpack_global(head))
        elif kind == wire.FORGET:
            gate.forget()
        elif kind == wire.CONTEXT:
            gate.learn_context(*wire.unpack_context(head))
        elif kind == wire.LEVELS:
            gate.set_levels(wire.unpack_levels(head))
        elif kind == wire.REPLY:
            gate.reply(*wire.unpack_reply(head, buffers))
        elif kind == wire.WITHDRAWN:
            gate.withdrawn(*wire.unpack_numbers(head))
        elif kind == wire.SHARE:
            gate.place(*wire.unpack_share(head), buffers if isinstance(buffers, FilledBlock) else buffers[0])
        elif kind == wire.DROP:
            gate.drop(head[1:])
        elif kind == wire.WHERE:
            gate.ask_where(wire.WHERE_SECONDS, self._here)

    def _here(self, in_c: list[int], answers: dict[int, dict[str, Any]]) -> None:
        """Tell what the workers are doing; of one that is in C code and does not answer, whether it computes."""
        told = {**{pid: {"state": usage(pid).state} for pid in in_c}, **answers}
        self._say(wire.pack_text(wire.HERE, json.dumps(told)))

    def _look(self) -> None:
        """Tell which calls have begun: for the state of a handle, and for what is said if this machine is lost."""
        gate = self._gate
        self._looking = gate is not None and len(gate) > 0 and not self._over
        if gate is None or not self._looking:
            return
        begun = [(id, pid) for id, pid in gate.running() if id not in self._told]
        if begun:
            self._told.update(id for id, _ in begun)
            self._say(wire.pack_numbers(wire.STARTED, [number for pair in begun for number in pair]))
        self._adapter.call_later(LOOK, self._look)

    # -- the lease

    def pong(self, theirs: float, echo: float) -> bytes:
        """Extend the lease with the reading of this clock that the program has sent back; return the PONG."""
        self._lease = max(self._lease, echo + self._lease_seconds)
        return wire.pack_times(wire.PONG, theirs, time.monotonic())

    def _check_lease(self) -> None:
        left = self._lease - time.monotonic()
        if left > 0:
            self._lease_timer = self._adapter.call_later(left, self._check_lease)
        else:
            self.end(f"nothing was heard of its program for {self._lease_seconds:g} s")

    # -- the end

    def drain(self) -> None:
        """Return what has not begun: this place closes soon."""
        self._say(wire.pack_numbers(wire.SLOTS, [0]))
        self._closing = True
        if self._gate is not None:
            self._gate.take_back(self._gate.ids())
        self.flush()

    def stop(self, reason: str) -> None:
        """Request all calls to stop, and kill them after the grace; their ends are still sent."""
        self._closing = True
        if self._gate is not None:
            self._gate.cancel(self._gate.ids(), reason)

    def end(self, reason: str = "its program is gone") -> None:
        """Stop everything of the program, which is gone or cut off."""
        if self._over:
            return
        self._over = True
        self._lease_timer.cancel()
        self.on_over()
        gate, self._gate = self._gate, None
        if gate is None:
            self._adapter.call_soon(self.on_ended)
        else:
            gate.end(reason, self.on_ended)

    def kill(self) -> None:
        """Kill all workers at once."""
        if self._gate is not None:
            self._gate.kill()
