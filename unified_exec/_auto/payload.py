"""What a call would transfer to a process and back, and whether it changes what it was given."""

from __future__ import annotations

from time import perf_counter
from zlib import crc32

from .._wire.pickling import codec
from . import captured_state

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Payload = tuple[int, int, float, str, str]
"""Bytes of the arguments, bytes of the result, seconds of pickling and unpickling both, which of its arguments and
captured objects the call changed ("" for none), and why it cannot be pickled ("" if it can)."""


class PickleResult:
    """One pickling: its size, its time, checksums, and the error if it failed."""

    __slots__ = ("error", "seconds", "size", "sums")

    def __init__(self, size: int, seconds: float, sums: tuple[int, ...] | None, error: str) -> None:
        self.size = size
        self.seconds = seconds
        self.sums = sums
        self.error = error


class CallSnapshot:
    """The arguments and the captured objects of a call, as they were before it."""

    __slots__ = ("args", "max_bytes", "pickled", "prints", "state")

    def __init__(self, args: tuple[Any, ...], state: dict[str, Any], max_bytes: int) -> None:
        self.args = args
        self.state = state
        self.max_bytes = max_bytes
        self.pickled = try_pickle(args, True, max_bytes)
        self.prints = captured_state.fingerprints(state)


def snapshot_call(fn: Callable[..., Any], args: tuple[Any, ...], with_state: bool, max_bytes: int) -> CallSnapshot:
    """Pickle the arguments of a call that is about to start.

    Args:
        fn: the function.
        args: its arguments.
        with_state: also note what else the call might change.
        max_bytes: arguments up to this size are compared after the call.
    """
    return CallSnapshot(args, captured_state.mutable_state(fn) if with_state else {}, max_bytes)


def try_pickle(value: Any, arguments: bool, max_bytes: int = 0) -> PickleResult:
    """Pickle a tuple of arguments, or a result, and drop the bytes; up to `max_bytes` of them get checksums."""
    began = perf_counter()
    try:
        packed = codec.encode_args(value) if arguments else codec.encode_value(value)
    except Exception as error:
        return PickleResult(0, perf_counter() - began, None, str(error))
    seconds = perf_counter() - began
    size = len(packed.data) + sum(view.nbytes for view in packed.buffers)
    if size > max_bytes:
        return PickleResult(size, seconds, None, "")
    return PickleResult(size, seconds, (crc32(packed.data), *map(crc32, packed.buffers)), "")


def measure_payload(before: CallSnapshot, result: Any) -> Payload:
    """Pickle the result of a call, and compare its arguments and captured objects with the snapshot."""
    sent = before.pickled
    if sent.error:
        return 0, 0, sent.seconds, "", sent.error
    changes = captured_state.changed(before.prints, captured_state.fingerprints(before.state))
    if sent.sums is not None and try_pickle(before.args, True, before.max_bytes).sums != sent.sums:
        changes.append("its arguments")
    returned = try_pickle(result, False)
    # Unpickling takes about as long as pickling.
    return sent.size, returned.size, 2 * (sent.seconds + returned.seconds), " and ".join(changes), returned.error
