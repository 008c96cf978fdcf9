"""What a call would carry to a process and back, and whether it changes what it was given."""

from __future__ import annotations

from time import perf_counter
from zlib import crc32

from .._wire.pickling import codec
from . import captured_state

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Weight = tuple[int, int, float, str, str]
"""Bytes of the arguments, bytes of the result, seconds of pickling there and back, what the call changed that it was
given or refers to ("" for nothing), and why it cannot travel ("" if it can)."""


class Pickled:
    """One pickling: its size, its time, checksums, and why it was refused."""

    __slots__ = ("refusal", "seconds", "size", "sums")

    def __init__(self, size: int, seconds: float, sums: tuple[int, ...] | None, refusal: str) -> None:
        self.size = size
        self.seconds = seconds
        self.sums = sums
        self.refusal = refusal


class Before:
    """A call's arguments and surroundings as they were before it."""

    __slots__ = ("args", "most", "pickled", "prints", "things")

    def __init__(self, args: tuple[Any, ...], things: dict[str, Any], most: int) -> None:
        self.args = args
        self.things = things
        self.most = most
        self.pickled = pickled(args, True, most)
        self.prints = captured_state.fingerprints(things)


def weigh_call(fn: Callable[..., Any], args: tuple[Any, ...], look_around: bool, most: int) -> Before:
    """Pickle the arguments of a call that is about to begin, to compare them behind it if they have at most `most`
    bytes; with `look_around` note what else it might change."""
    return Before(args, captured_state.around(fn) if look_around else {}, most)


def pickled(value: Any, arguments: bool, most: int = 0) -> Pickled:
    """Pickle a tuple of arguments, or a result, and forget the bytes; up to `most` of them get checksums."""
    began = perf_counter()
    try:
        packed = codec.encode_args(value) if arguments else codec.encode_value(value)
    except Exception as error:
        return Pickled(0, perf_counter() - began, None, str(error))
    seconds = perf_counter() - began
    size = len(packed.data) + sum(view.nbytes for view in packed.buffers)
    if size > most:
        return Pickled(size, seconds, None, "")
    return Pickled(size, seconds, (crc32(packed.data), *map(crc32, packed.buffers)), "")


def compare(before: Before, result: Any) -> Weight:
    """Weigh the result of a call, and look whether what it was given and refers to is what it was."""
    there = before.pickled
    if there.refusal:
        return 0, 0, there.seconds, "", there.refusal
    changes = captured_state.changed(before.prints, captured_state.fingerprints(before.things))
    if there.sums is not None and pickled(before.args, True, before.most).sums != there.sums:
        changes.append("its arguments")
    back = pickled(result, False)
    # Unpickling takes about as long as pickling.
    return there.size, back.size, 2 * (there.seconds + back.seconds), " and ".join(changes), back.refusal
