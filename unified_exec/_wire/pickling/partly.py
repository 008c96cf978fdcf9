"""Rebuilding what can be rebuilt of a list whose pickle raises. Loaded with the first one that does: it is slow."""

from __future__ import annotations

import gc
import io
import pickle
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any, ClassVar

from .identity import refresh

_BUDGET = 10_000_000
"""How many objects are looked at before nothing more is rebuilt."""
_NOT_ENTERED = (type, FunctionType, BuiltinFunctionType, ModuleType, FrameType)
_POPPED = {pickle.REDUCE: 2, pickle.BUILD: 2, pickle.STACK_GLOBAL: 2, pickle.NEWOBJ: 2, pickle.NEWOBJ_EX: 3}
"""What each of these takes off the stack; in its place it leaves one object."""
_MARKED = {pickle.APPENDS: 1, pickle.SETITEMS: 1, pickle.ADDITEMS: 1, pickle.FROZENSET: 0}
"""The same for those that take all down to a mark, and this many objects below it."""


class Lost:
    """In the place of what cannot be rebuilt.

    Attributes:
        error: what was raised there.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error


def _without_frames(error: Exception) -> Exception:
    """Return it with a note of the line that raised it: its frames would keep all that is rebuilt."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is not None:
        code = tb.tb_frame.f_code
        error.add_note(f'raised in {code.co_qualname}, file "{code.co_filename}", line {tb.tb_lineno}')
    told: BaseException | None = error
    for _ in range(100):  # a hostile one may lead back to itself
        if told is not None:
            told.__traceback__, told = None, told.__context__
    return error


_Plain: Any = vars(pickle)["_Unpickler"]  # the one written in Python


class _Unpickler(_Plain):  # type: ignore[misc]
    """Goes on after an error, and hands nothing that is lost to code of the user's.

    Args:
        data, buffers: a pickle of an instance of `wrapper` with a list.
    """

    dispatch: ClassVar[dict[int, Callable[[_Unpickler], None]]] = dict(_Plain.dispatch)
    stack: list[Any]
    metastack: list[list[Any]]

    def __init__(self, data: bytes, buffers: Iterable[memoryview], wrapper: type) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self.wrapper = wrapper
        self.lost: dict[int, tuple[object, Exception]] = {}  # by id, with the object: what may be half built
        self._left = _BUDGET

    def error_in(self, value: object) -> Exception | None:
        """Return the error of something lost that can be reached from `value`."""
        waiting, seen = [value] if self.lost else [], set()
        while waiting:
            each = waiting.pop()
            if id(each) in self.lost:
                return self.lost[id(each)][1]
            if id(each) not in seen and not isinstance(each, _NOT_ENTERED):
                seen.add(id(each))
                waiting += gc.get_referents(each)
                self._left -= 1
                if self._left < 0:
                    raise MemoryError("too much is left to be looked through")
        return None

    def lose(self, depth: int, error: Exception, half: list[Any]) -> None:
        """Put something lost in the place of all that is on the stack above `depth`; those in `half` are half built."""
        lost = Lost(error)
        self.lost.update({id(each): (each, error) for each in (lost, *half)})
        self.stack[depth:] = [lost]

    def run(self, load: Callable[[Any], None], code: bytes, popped: int) -> None:
        depth = len(self.stack) - popped
        taken = self.stack[depth:]
        error = None if taken[0] is self.wrapper else self.error_in(taken)
        try:
            if error is None:
                load(self)
                return
        except Exception as raised:
            error = _without_frames(raised)
        self.lose(depth, error, taken[:1] if code == pickle.BUILD else taken[1][:1] if taken[0] is refresh else [])

    def run_marked(self, load: Callable[[Any], None], below: int) -> None:
        under = self.metastack[-1]
        depth = len(under) - below
        taken = under[depth:]
        error = self.error_in(self.stack) if taken and type(taken[0]) not in (list, dict, set) else None
        try:
            if error is None:
                load(self)
                return
            self.pop_mark()
        except Exception as raised:
            error = _without_frames(raised)
        self.lose(depth, error, taken)


def _guard(code: bytes, popped: int) -> None:
    load = _Plain.dispatch[code[0]]
    _Unpickler.dispatch[code[0]] = lambda self: self.run(load, code, popped)


def _guard_marked(code: bytes, below: int) -> None:
    load = _Plain.dispatch[code[0]]
    _Unpickler.dispatch[code[0]] = lambda self: self.run_marked(load, below)


for _code, _popped in _POPPED.items():
    _guard(_code, _popped)
for _code, _below in _MARKED.items():
    _guard_marked(_code, _below)


def rebuild(data: bytes, buffers: Iterable[memoryview], wrapper: type, attribute: str) -> Any:
    """Rebuild an instance of `wrapper` with a list as that attribute; the items that cannot be rebuilt are `Lost`.

    Returns:
        ``None`` if that does not help.
    """
    unpickler = _Unpickler(data, buffers, wrapper)
    try:
        whole = unpickler.load()
        if type(whole) is not wrapper:
            return None
        items: list[Any] = getattr(whole, attribute)
        errors = [unpickler.error_in(item) for item in items]
    except Exception:
        return None
    items[:] = [item if error is None else Lost(error) for item, error in zip(items, errors, strict=True)]
    return whole
