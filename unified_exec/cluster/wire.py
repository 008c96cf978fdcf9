"""What a program and an agent send each other: frames, in batches.

A frame is a head, which is bytes, and large buffers. A batch is a list of frames; the engine carries it as one message,
in order. Nothing in a head is a pickle for the agent to load.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import cloudpickle

from .._pools.process.relayed import RelayAnswer, RelayCall, RelayedFunction, RelayedGlobal, RelayedHome
from .._pools.process.task_requests import EncodedReply
from .._wire import frames
from .._wire.frames import ProtocolError

Frame = tuple[bytes, Sequence[memoryview]]

# Kinds of frames. → are sent by the program, ← by the agent.
WELCOME = 1  # ← the agent's clock and name
REFUSED = 2  # ← why this program is not served
SLOTS = 3  # ← how many calls run here at the same time; 0: this place closes
GLOBAL = 4  # → the value of a global of the program
FUNCTION = 5  # → a function
FORGET = 6  # → forget all functions and globals
SHARE = 7  # → a shared object, with its block
DROP = 8  # → forget a shared object
CONTEXT = 9  # → the context variables of the calls that follow
LEVELS = 10  # → the levels of the program's loggers
TASK = 11  # → a call, with the seconds left to its deadline
CANCEL = 12  # → stop a call
CREDIT = 13  # → allow a call some more messages
TAKE_BACK = 14  # → return these calls unless they have begun
RELEASE = 15  # → give seats back to the engine
STARTED = 16  # ← these calls have begun, in these processes
REPORT = 17  # ← a message of a running call
ASKED = 18  # ← a running call asks for something on the event loop of its scope
REPLY = 19  # → the answer to that
WITHDRAWN = 20  # → the call does not wait for that answer any more
LOGGED = 21  # ← a log record or a warning of a worker
DONE = 22  # ← the end of a call
RETURNED = 23  # ← these calls have not begun, and will not
PING = 24  # → the program's clock, and the newest reading of the agent's that it has
PONG = 25  # ← the clock of that PING, and the agent's
WHERE = 26  # → what are the workers doing?
HERE = 27  # ← the answer, as JSON: what each busy worker has told, by process id

HEARTBEAT = 1.0
"""Seconds between two PINGs, and between two beats of an agent to its keeper."""
WHERE_SECONDS = 0.15
"""Seconds an agent waits for what its workers tell: less than a look waits for the agent."""
MARGIN = 1.0
"""Seconds a program waits longer for a silent node than its tasks can run there."""
LARGE = 64 * 1024
"""A pickle of more bytes travels as a buffer."""

_PACKAGE = __name__.partition(".")[0]
_DATA_IS_BUFFER, _COROUTINE, _HAS_DEADLINE, _IN_CONTEXT = 1, 2, 4, 8
_TASK = struct.Struct("<BBHHHQQd")  # kind, flags, bytes of name, globals, shared objects, id, function, seconds left
_DONE = struct.Struct("<BBBxQddI")  # kind, flags, outcome, id, started, finished, pid
_ASKED = struct.Struct("<BBQQ")  # kind, flags, id, number
_REPLY = struct.Struct("<BBBBHQQ")  # kind, flags, those of the reply, outcome, shared objects, id, number
_ID = struct.Struct("<BQ")
_COUNT = struct.Struct("<BI")
_TIMES = struct.Struct("<Bdd")
_NUMBER = struct.Struct("<Q")


def silence_max(lease: float, grace: float) -> float:
    """Return after how many seconds of silence nothing of a program can still run at a node."""
    return lease + max(grace, HEARTBEAT) + MARGIN  # a keeper counts from the last beat


def versions() -> list[str]:
    """Return what must be equal on both sides: bytecode, pickles and frames depend on it."""
    return [
        f"Python {sys.version_info[0]}.{sys.version_info[1]}",
        f"unified_exec {sys.modules[_PACKAGE].__version__}",
        f"cloudpickle {cloudpickle.__version__}",
    ]


def kind_of(head: bytes) -> int:
    return head[0]


def pack_numbers(kind: int, numbers: Iterable[int]) -> bytes:
    numbers = list(numbers)
    return _COUNT.pack(kind, len(numbers)) + struct.pack(f"<{len(numbers)}Q", *numbers)


def unpack_numbers(head: bytes) -> list[int]:
    return list(struct.unpack_from(f"<{_COUNT.unpack_from(head)[1]}Q", head, _COUNT.size))


def pack_id(kind: int, id: int, text: str | None = None) -> bytes:
    return _ID.pack(kind, id) + (text or "").encode("utf-8", "replace")


def unpack_id(head: bytes) -> tuple[int, str | None]:
    return _ID.unpack_from(head)[1], head[_ID.size :].decode() or None


def pack_times(kind: int, one: float, other: float, text: str = "") -> bytes:
    return _TIMES.pack(kind, one, other) + text.encode()


def unpack_times(head: bytes) -> tuple[float, float, str]:
    _, one, other = _TIMES.unpack_from(head)
    return one, other, head[_TIMES.size :].decode()


def pack_text(kind: int, text: str) -> bytes:
    return bytes((kind,)) + text.encode()


def unpack_text(head: bytes) -> str:
    return head[1:].decode()


def pack_call(call: RelayCall) -> Frame:
    name = call.name.encode("utf-8", "replace")[: frames.NAME_MAX]
    flags = _COROUTINE * call.coroutine | _IN_CONTEXT * call.in_context
    left = 0.0
    if call.left is not None:
        flags |= _HAS_DEADLINE
        left = call.left
    data, buffers = call.data, call.buffers
    if len(data) > LARGE:
        flags |= _DATA_IS_BUFFER
        data, buffers = b"", (memoryview(data), *buffers)
    head = _TASK.pack(TASK, flags, len(name), len(call.globals), len(call.shared), call.id, call.function, left)
    if call.globals:
        name += struct.pack(f"<{len(call.globals)}Q", *call.globals)
    return b"".join((head, name, *call.shared, data)), buffers


def unpack_call(head: bytes, buffers: Sequence[memoryview]) -> RelayCall:
    """Read a TASK."""
    _, flags, name_n, globals_n, shared_n, id, function, left = _TASK.unpack_from(head)
    at = _TASK.size + name_n
    name = head[_TASK.size : at].decode("utf-8", "replace")
    globals_ = struct.unpack_from(f"<{globals_n}Q", head, at) if globals_n else ()
    at += 8 * globals_n
    shared = _tokens(head, at, shared_n)
    data: Any = head[at + 16 * shared_n :]
    if flags & _DATA_IS_BUFFER:
        data, buffers = buffers[0], buffers[1:]
    coroutine, timed = bool(flags & _COROUTINE), bool(flags & _HAS_DEADLINE)
    in_context = bool(flags & _IN_CONTEXT)
    return RelayCall(
        id, name, function, data, buffers, globals_, shared, coroutine, left if timed else None, in_context
    )


def payload_of(head: bytes) -> bytes | None:
    """Return the pickled arguments in a TASK; ``None`` if they are its first buffer."""
    _, flags, name_n, globals_n, shared_n, *_ = _TASK.unpack_from(head)
    return None if flags & _DATA_IS_BUFFER else head[_TASK.size + name_n + 8 * globals_n + 16 * shared_n :]


def _tokens(head: bytes, at: int, n: int) -> list[bytes]:
    return [head[at + 16 * i : at + 16 * i + 16] for i in range(n)]


def pack_answer(answer: RelayAnswer) -> Frame:
    id, kind, data, buffers, started, finished, pid = answer
    if type(data) is bytes and len(data) <= LARGE:
        return _DONE.pack(DONE, 0, kind, id, started, finished, pid) + data, buffers
    return _DONE.pack(DONE, _DATA_IS_BUFFER, kind, id, started, finished, pid), (memoryview(data), *buffers)


def unpack_answer(head: bytes, buffers: Sequence[memoryview]) -> RelayAnswer:
    """Read a DONE."""
    _, flags, kind, id, started, finished, pid = _DONE.unpack_from(head)
    data: frames.Bytes = memoryview(head)[_DONE.size :]
    if flags & _DATA_IS_BUFFER:
        data, buffers = buffers[0], buffers[1:]
    return RelayAnswer(id, kind, data, buffers, started, finished, pid)


def pack_report(id: int, data: frames.Bytes) -> bytes:
    return _ID.pack(REPORT, id) + data


def unpack_report(head: bytes) -> tuple[int, memoryview]:
    return _ID.unpack_from(head)[1], memoryview(head)[_ID.size :]


def pack_asked(id: int, number: int, flags: int, data: frames.Bytes) -> bytes:
    return _ASKED.pack(ASKED, flags, id, number) + data


def unpack_asked(head: bytes) -> tuple[int, int, int, memoryview]:
    """Read an ASKED: the call, the number of the request, its flags, and its pickle."""
    _, flags, id, number = _ASKED.unpack_from(head)
    return id, number, flags, memoryview(head)[_ASKED.size :]


def pack_reply(id: int, number: int, reply: EncodedReply) -> Frame:
    """Pack a REPLY; `reply.shared` are tokens."""
    kind, data, buffers, reply_flags, tokens = reply
    flags = 0
    if len(data) > LARGE:
        flags, buffers, data = _DATA_IS_BUFFER, (memoryview(data), *buffers), b""
    head = _REPLY.pack(REPLY, flags, reply_flags, kind, len(tokens), id, number)
    return b"".join((head, *tokens, data)), buffers


def unpack_reply(head: bytes, buffers: Sequence[memoryview]) -> tuple[int, int, EncodedReply]:
    """Read a REPLY: the call, the number of the request, and the answer."""
    _, flags, reply_flags, kind, n, id, number = _REPLY.unpack_from(head)
    at = _REPLY.size + 16 * n
    data: Any = head[at:]
    if flags & _DATA_IS_BUFFER:
        data, buffers = buffers[0], buffers[1:]
    return id, number, EncodedReply(kind, data, buffers, reply_flags, _tokens(head, _REPLY.size, n))


def pack_logged(pid: int, data: bytes) -> bytes:
    return _ID.pack(LOGGED, pid) + data


def unpack_logged(head: bytes) -> tuple[int, bytes]:
    return _ID.unpack_from(head)[1], head[_ID.size :]


def pack_context(data: bytes, needs: Iterable[int]) -> bytes:
    return _with_facts(CONTEXT, list(needs), data)


def unpack_context(head: bytes) -> tuple[bytes, list[int]]:
    needs, data = _facts_of(head)
    return data, needs


def pack_levels(levels: dict[str, Any] | None) -> bytes:
    return _with_facts(LEVELS, [levels], b"")


def unpack_levels(head: bytes) -> dict[str, Any] | None:
    """Read LEVELS: as `log_levels.levels_now` returns them."""
    (levels,), _ = _facts_of(head)
    if levels is not None:
        levels["loggers"] = {name: tuple(pair) for name, pair in levels["loggers"].items()}
    return levels  # type: ignore[no-any-return]


def pack_function(function: int, name: str, coroutine: bool, needs: Iterable[int], payload: bytes) -> bytes:
    return _with_facts(FUNCTION, [function, name, coroutine, list(needs)], payload)


def unpack_function(head: bytes) -> tuple[RelayedFunction, list[int]]:
    """Read a FUNCTION: it, and the numbers of the globals it needs."""
    (id, name, coroutine, needs), payload = _facts_of(head)
    return RelayedFunction(id, name, payload, coroutine), needs


def pack_global(value: Any) -> bytes:
    """Pack a GLOBAL; `value` is a `sent_home.Entry`."""
    home = value.home
    facts = [home.token, home.name, home.attributes(), value.name, value.id, value.data is not None]
    return _with_facts(GLOBAL, [*facts, value.wire_needs, value.why, value.group], value.data or b"")


def unpack_global(head: bytes) -> RelayedGlobal:
    (token, module, attributes, name, id, there, needs, why, group), data = _facts_of(head)
    home = RelayedHome(token, module, attributes)
    needs = tuple([tuple(need) for need in needs])
    return RelayedGlobal(home, name, id, data if there else None, needs, why, tuple(group))


def pack_share(token: bytes, size: int, table: bytes) -> bytes:
    return bytes((SHARE,)) + token + _NUMBER.pack(size) + table


def unpack_share(head: bytes) -> tuple[bytes, int, bytes]:
    return head[1:17], _NUMBER.unpack_from(head, 17)[0], head[17 + _NUMBER.size :]


def _with_facts(kind: int, facts: list[Any], data: bytes) -> bytes:
    text = json.dumps(facts).encode()
    return _COUNT.pack(kind, len(text)) + text + data


def _facts_of(head: bytes) -> tuple[Any, bytes]:
    _, size = _COUNT.unpack_from(head)
    at = _COUNT.size + size
    try:
        return json.loads(head[_COUNT.size : at]), head[at:]
    except ValueError as exc:
        raise ProtocolError(f"a frame of kind {head[0]} without its facts") from exc
