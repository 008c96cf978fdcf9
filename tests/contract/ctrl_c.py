"""Ctrl-C at one of the instants at which CPython runs signal handlers: in each, one after another."""

from __future__ import annotations

import dis
import sys
from os.path import dirname
from types import CodeType, FrameType
from typing import Any, Self

import unified_exec

PACKAGE = dirname(unified_exec.__file__)


class CtrlC:
    """Raises `KeyboardInterrupt` in the block, where the main thread looks for signals for the `at`-th time.

    That is in this package's code: after a call of a function written in C, at the start of a function, and at a jump
    backwards.

    Attributes:
        place: where it was raised, "" if the block had ended before.
    """

    def __init__(self, at: int) -> None:
        self._left = at
        self.place = ""
        self._before: dict[FrameType, int] = {}  # the instruction that each frame runs
        self._opcodes: dict[CodeType, bytes] = {}

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._before.clear()

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            if frame.f_back is not None:
                self._before.pop(frame.f_back, None)
            return None
        frame.f_trace_opcodes = True  # each time: CPython 3.13 does not take notice of the first
        if event == "call":
            if frame.f_back is not None:
                self._before.pop(frame.f_back, None)  # it called no function written in C
            if not frame.f_code.co_name.startswith("__exit__"):  # nobody can help an exit that does not begin
                self._look(frame, event)
        elif event == "exception":
            self._before.pop(frame, None)  # no signal is looked for after a call that has failed
        elif event == "opcode":
            before = self._before.get(frame)
            codes = self._opcodes.setdefault(frame.f_code, frame.f_code.co_code)
            self._before[frame] = codes[frame.f_lasti]
            if before is not None and dis.opname[before].startswith(("CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")):
                self._look(frame, dis.opname[before])
        return self._trace

    def _look(self, frame: FrameType, event: str) -> None:
        self._left -= 1
        if self._left < 0:
            self.place = f"{frame.f_code.co_qualname}:{frame.f_lineno} {event}"
            self._before.clear()
            raise KeyboardInterrupt
