"""The messages between parent and worker as bytes: fixed headers, nothing that runs code.

One message is one datagram. All integers are little-endian. The layout is private to one version of this
package: parent and worker are always the same code.
"""

from __future__ import annotations

from _struct import Struct
from _struct import error as struct_error  # type: ignore[attr-defined]

from ..errors import UnifiedExecError

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from .._tasks.light_typing import NamedTuple

# Kinds of messages.
TASK = 1  # header, name, function (if the worker has not seen it), arguments
DONE = 2  # header, result or error
READY = 3  # the worker is up
SETUP = 4  # pickled settings of the worker
CANCEL = 5  # task id and reason
FAILED = 6  # the worker cannot start; encoded error
AGAIN = 7  # a cancellation was swallowed (in a ``__del__``): send the signal again
RETIRED = 8  # the worker takes no more tasks and exits
STOP = 9  # the parent wants the worker to exit when it is done
REPORT = 10  # a message of a running task to its handle
CREDIT = 11  # the handle allows a task this many more messages
SHARE = 12  # a shared object, with the descriptor of its block; without a table: the bare descriptor of an argument
DROP = 13  # the parent needs that shared object no more; a worker has dropped one that it had offered
CHANNEL = 14  # a channel, with its descriptors
LOGS = 15  # the pipe of the worker's log records, with its descriptor
RECALL = 16  # the parent asks for the end of a channel or lock in the worker unless something there refers to it
REQUEST = 17  # a running task asks for something on the event loop of its scope
REPLY = 18  # the answer to a request
OFFER = 21  # to the parent: a shared object or channel that goes up inside a value, with its descriptors
ASK = 22  # to the parent: the descriptors of a token that came inside an item
FOUND = 23  # the answer to an OFFER or an ASK
WHERE = 24  # the parent asks what the worker is doing
HERE = 25  # the answer, as JSON
WAITS = 26  # a task of the worker has waited for long for a channel, an event or the like
TELL = 27  # the parent asks what the worker's tasks wait for and who has what is shared; the answer goes to the board
NO_END = 28  # the parent has found that a wait can never end

# Outcome kinds of DONE.
VALUE, ERROR, STOPPED, UNSTARTED = range(4)

# Flags.
IN_SHARED = 1  # the payload lies in the shared memory whose descriptor comes with the message
NEW_FUNCTION = 2  # the function's bytes are included; learn them
RETIRING = 4  # DONE: the worker exits after this answer
FUNCTION_IN_SHARED = 8  # the function's bytes are the first buffer of the shared block
HANDED_OVER = 8  # TASK without IN_SHARED: the buffers are handed over in memory, see `handed_over`
FORGET_FUNCTIONS = 16  # TASK: forget every function learnt before this one
AFTER_STREAM = 32  # DONE, REPORT, REQUEST in the mailbox: this task has sent reports on the other socket before
LOGGED = 16  # DONE, REPORT, READY: there are log records in the pipe that came before
IN_CONTEXT = 4  # TASK: it runs in the spawner's context that came last
WATCHED = 32  # TASK: somebody listens to the parent's events; waits for locks and channels are reported
LINGER = 64  # TASK: cores are idle; look for the next task for a moment before going to sleep

WITH_GLOBALS = 128  # TASK: the function's bytes are those of `globals_sent.message`; REPLY: `codec.decode_alone`

# Flags of REQUEST.
BLOCKS = 4  # the worker runs nothing else until the reply
RING = 8  # send the signal with the reply: nobody waits at the mailbox
AT_LOOP = 16  # a coroutine waits, which is cancelled without a reply

INLINE_MAX = 32 * 1024
"""A payload above this many bytes travels in shared memory instead of in the message."""
MESSAGE_MAX = 2 * INLINE_MAX + 4096
"""No message is longer; receive buffers have this size."""
NAME_MAX = 512

# kind, flags, name bytes, function bytes, function id, task id, payload bytes, deadline (0: none)
_TASK = Struct("<BBHIIQQd")
DONE_HEADER = Struct("<BBBxQdd")  # kind, flags, outcome, task id, started, finished
_ID = Struct("<BQ")
_REPORT = Struct("<BBQ")
_REQUEST = Struct("<BBQQ")  # kind, flags, task id, number
_REPLY = Struct("<BBBQ")  # kind, flags, outcome, number
_COUNT = Struct("<I")
_SIZE = Struct("<Q")

Bytes = bytes | bytearray | memoryview


class ProtocolError(UnifiedExecError):
    """The other side sent what no correct peer sends. That worker is lost, the parent never."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"a worker broke the protocol: {self.what}"


class TaskMessage(NamedTuple):
    """One task as the worker receives it; `payload` and `function` are views of the received message."""

    flags: int
    id: int
    name: str
    function_id: int
    function: Bytes
    payload: Bytes
    deadline: float


_new_tuple = tuple.__new__  # what `TaskMessage(...)` does, without the call in between


def pack_task(
    id: int, name: bytes, function_id: int, function: bytes, payload: bytes, deadline: float | None, flags: int = 0
) -> bytes:
    """Pack one task; `name` is cut to `NAME_MAX` bytes."""
    if len(name) > NAME_MAX:
        name = name[:NAME_MAX].decode("utf-8", "ignore").encode()
    header = _TASK.pack(TASK, flags, len(name), len(function), function_id, id, len(payload), deadline or 0.0)
    return b"".join((header, name, function, payload))


def unpack_task(message: memoryview) -> TaskMessage:
    """Read a TASK message.

    Raises:
        ProtocolError: it is not a TASK message, or its lengths do not fit.
    """
    try:
        kind, flags, name_n, function_n, function_id, id, payload_n, deadline = _TASK.unpack_from(message)
    except struct_error:
        raise ProtocolError(f"a message of {len(message)} bytes is too short for a task") from None
    start = _TASK.size
    function_at, payload_at = start + name_n, start + name_n + function_n
    if kind != TASK or payload_at + payload_n != len(message):
        raise ProtocolError(f"kind {kind}, {len(message)} bytes is not a task")
    name = str(message[start:function_at], "utf-8", "replace")
    function = message[function_at:payload_at] if function_n else b""
    payload = message[payload_at:]
    return _new_tuple(TaskMessage, (flags, id, name, function_id, function, payload, deadline))


def pack_done(id: int, outcome: int, started: float, finished: float, payload: Bytes = b"", flags: int = 0) -> bytes:
    return DONE_HEADER.pack(DONE, flags, outcome, id, started, finished) + payload


def after_stream(message: bytes) -> bytes:
    """Return the DONE, REPORT or REQUEST with the note that what its task sent on the other socket came before it."""
    return bytes((message[0], message[1] | AFTER_STREAM)) + message[2:]


def is_after_stream(message: Bytes) -> bool:
    """Tell whether a message in the mailbox carries that note."""
    return len(message) > 1 and message[0] in (DONE, REPORT, REQUEST) and message[1] & AFTER_STREAM != 0


def is_logged(message: Bytes) -> bool:
    """Tell whether a message carries the note that log records came before it."""
    return len(message) > 1 and message[1] & LOGGED != 0 and message[0] in (DONE, REPORT, READY, FAILED)


def unpack_done(message: memoryview) -> tuple[int, int, int, float, float, memoryview]:
    """Read a DONE message: flags, outcome kind, task id, started, finished, payload.

    Raises:
        ProtocolError: too short, or an unknown outcome.
    """
    try:
        _, flags, outcome, id, started, finished = DONE_HEADER.unpack_from(message)
    except struct_error:
        raise ProtocolError(f"a message of {len(message)} bytes is too short for an answer") from None
    if outcome > UNSTARTED:
        raise ProtocolError(f"outcome {outcome} is unknown")
    return flags, outcome, id, started, finished, message[DONE_HEADER.size :]


def pack_id(kind: int, id: int, text: str | None = None) -> bytes:
    """Pack CANCEL or AGAIN: a task id and, for CANCEL, a reason."""
    head = _ID.pack(kind, id)
    return head if not text else head + text.encode("utf-8", "replace")[:NAME_MAX]


def unpack_id(message: memoryview) -> tuple[int, str | None]:
    """Read what `pack_id` wrote.

    Raises:
        ProtocolError: too short.
    """
    try:
        _, id = _ID.unpack_from(message)
    except struct_error:
        raise ProtocolError(f"a message of {len(message)} bytes is too short for an id") from None
    rest = message[_ID.size :]
    return id, (str(rest, "utf-8", "replace") or None)


def pack_report(id: int, payload: Bytes, flags: int = 0) -> bytes:
    return _REPORT.pack(REPORT, flags, id) + payload


def unpack_report(message: memoryview) -> tuple[int, int, memoryview]:
    """Read a REPORT: flags, task id, payload.

    Raises:
        ProtocolError: too short.
    """
    try:
        _, flags, id = _REPORT.unpack_from(message)
    except struct_error:
        raise ProtocolError(f"a message of {len(message)} bytes is too short for a report") from None
    return flags, id, message[_REPORT.size :]


def pack_request(id: int, number: int, payload: Bytes, flags: int) -> bytes:
    return _REQUEST.pack(REQUEST, flags, id, number) + payload


def unpack_request(message: memoryview) -> tuple[int, int, int, memoryview]:
    """Read a REQUEST: flags, task id, number, payload.

    Raises:
        ProtocolError: too short.
    """
    try:
        _, flags, id, number = _REQUEST.unpack_from(message)
    except struct_error:
        raise ProtocolError(f"a message of {len(message)} bytes is too short for a request") from None
    return flags, id, number, message[_REQUEST.size :]


def pack_reply(number: int, outcome: int, payload: Bytes = b"", flags: int = 0) -> bytes:
    return _REPLY.pack(REPLY, flags, outcome, number) + payload


def unpack_reply(message: memoryview) -> tuple[int, int, int, memoryview]:
    """Read a REPLY: flags, outcome kind, number, payload.

    Raises:
        ProtocolError: too short.
    """
    try:
        _, flags, outcome, number = _REPLY.unpack_from(message)
    except struct_error:
        raise ProtocolError(f"a message of {len(message)} bytes is too short for a reply") from None
    return flags, outcome, number, message[_REPLY.size :]


def pack_share(token: bytes, size: int, table: bytes) -> bytes:
    return pack_payload(SHARE, token + _SIZE.pack(size) + table)


def unpack_share(message: memoryview) -> tuple[bytes, int, bytes]:
    """Read a SHARE: token, size, table.

    Raises:
        ProtocolError: too short.
    """
    _, rest = unpack_payload(message)
    if len(rest) < 16 + _SIZE.size:
        raise ProtocolError("a shared object without its table")
    return bytes(rest[:16]), _SIZE.unpack_from(rest, 16)[0], bytes(rest[16 + _SIZE.size :])


def pack_channel(token: bytes, name: bytes) -> bytes:
    return pack_payload(CHANNEL, token + name)


def unpack_channel(message: memoryview) -> tuple[bytes, bytes]:
    """Read a CHANNEL: token, name.

    Raises:
        ProtocolError: too short.
    """
    _, rest = unpack_payload(message)
    if len(rest) < 16:
        raise ProtocolError("a channel without its token")
    return bytes(rest[:16]), bytes(rest[16:])


def pack_offer(id: int, pin: bool, token: bytes, message: bytes, pickled: bytes) -> bytes:
    """Pack an OFFER.

    Args:
        id: of the request; its answer carries it.
        pin: keep the object until the parent has unpickled a value with it.
        token: of the object.
        message: the SHARE or CHANNEL that would bring it to a worker.
        pickled: the object as a pickle, which holds its token only.
    """
    return _REPORT.pack(OFFER, pin, id) + token + _COUNT.pack(len(message)) + message + pickled


def unpack_offer(message: memoryview) -> tuple[int, bool, bytes, bytes, bytes]:
    """Read an OFFER: id, pin, token, message, pickle.

    Raises:
        ProtocolError: too short.
    """
    pin, id, rest = unpack_report(message)
    if len(rest) < 16 + _COUNT.size or len(rest) < (end := 16 + _COUNT.size + _COUNT.unpack_from(rest, 16)[0]):
        raise ProtocolError("an offer that is cut off")
    return id, bool(pin), bytes(rest[:16]), bytes(rest[16 + _COUNT.size : end]), bytes(rest[end:])


def pack_ask(id: int, token: bytes) -> bytes:
    return _REPORT.pack(ASK, 0, id) + token


def pack_found(id: int, known: bool, message: bytes = b"") -> bytes:
    """Pack a FOUND; `message` is the CHANNEL that goes with the descriptors of an object that was asked for."""
    return _REPORT.pack(FOUND, known, id) + message


def pack_credit(id: int, count: int) -> bytes:
    return pack_id(CREDIT, id, str(count))


def pack_payload(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Pack SETUP, READY, FAILED, RETIRED or STOP."""
    return bytes((kind, flags)) + payload


def unpack_payload(message: memoryview) -> tuple[int, memoryview]:
    """Read what `pack_payload` wrote: flags and the rest.

    Raises:
        ProtocolError: too short.
    """
    if len(message) < 2:
        raise ProtocolError("an empty message")
    return message[1], message[2:]
