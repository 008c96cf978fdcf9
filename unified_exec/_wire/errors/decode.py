"""Rebuilding the error of a task from its nodes. Nothing here raises."""

from __future__ import annotations

import io
from types import MemberDescriptorType
from typing import Any

from ...errors import RemoteError
from ..pickling.c_pickle import Unpickler, loads
from . import tracebacks
from .nodes import HEAP_TYPE, Node, text_of, type_name_of

_MAX_PASSES = 5

# The C slots themselves: a class of the user's may define attributes of the same names.
_slot = vars(BaseException)
_ARGS, _DICT = _slot["args"], _slot["__dict__"]
_CAUSE, _CONTEXT, _SUPPRESS = _slot["__cause__"], _slot["__context__"], _slot["__suppress_context__"]


def decode_error(data: bytes | bytearray | memoryview) -> BaseException:
    """Rebuild what `encode_error` packed. Never raises.

    The constructors of the user's classes do not run, only a ``__reduce__`` or ``__setstate__`` of their own. What
    cannot be rebuilt is replaced by a `RemoteError`.
    """
    try:
        return _build(loads(data))
    except BaseException as error:
        why = f"{type_name_of(type(error))}: {text_of(error)}"
        return RemoteError("unknown", f"the error of the task could not be read ({why})")


def _build(nodes: list[Node]) -> BaseException:
    """Build the exception of the first node, with all that it refers to."""
    broken: set[int] = set()
    for _ in range(_MAX_PASSES):
        built = _Building(nodes, broken)
        exception = built.first()
        if built.broken <= broken:
            return exception
        # Others already refer to what turned out broken, so all is built again around its stand-in.
        broken = broken | built.broken
    return _Building(nodes, set(range(len(nodes)))).first()


class _Building:
    """One pass: make all exceptions empty, fill them, then link them; so cycles need no care."""

    def __init__(self, nodes: list[Node], broken: set[int]) -> None:
        self._nodes = nodes
        self.broken = set(broken)
        self._made: list[BaseException | None] = [None] * len(nodes)
        self._begun: set[int] = set()

    def first(self) -> BaseException:
        for number in range(len(self._nodes)):
            self._make_with_members(number)
        for number, node in enumerate(self._nodes):
            if number not in self.broken and not node.reduced:
                try:
                    self._fill(self.at(number), node.state)
                except BaseException:  # whatever a __setstate__ of the user's does
                    self.broken.add(number)
        for number in range(len(self._nodes)):
            self._link(number)
        return self.at(0)

    def at(self, number: int) -> BaseException:
        """Return exception `number`, made if it is not yet; it may still be empty."""
        made = self._made[number]
        if made is None:
            if number in self._begun:
                raise RecursionError("an exception whose own __reduce__ refers to itself")
            self._make_with_members(number)
            made = self._made[number]
            assert made is not None
        return made

    def _make_with_members(self, number: int) -> None:
        """Members first, without recursion: groups may be nested to any depth."""
        waiting = [number]
        opened: set[int] = set()
        while waiting:
            top = waiting[-1]
            group = self._nodes[top].group
            if self._made[top] is None and group is not None and top not in opened:
                opened.add(top)
                waiting.extend([member for member in group[1] if member is not None])
                continue
            waiting.pop()
            if self._made[top] is None:
                self._made[top] = self._make(top)

    def _make(self, number: int) -> BaseException:
        self._begun.add(number)
        node = self._nodes[number]
        if number not in self.broken:
            try:
                cls = self._loaded(node.cls)
                if not (isinstance(cls, type) and issubclass(cls, BaseException)):
                    raise TypeError("not an exception class")
                if node.reduced:
                    return self._reduced(node.state)
                if node.group is not None:
                    return self._group(cls, *node.group)
                return _empty(cls)
            except BaseException:  # whatever a __reduce__ of the user's does
                self.broken.add(number)
        return self._stand_in(node)

    def _loaded(self, data: bytes) -> Any:
        return _NodeUnpickler(io.BytesIO(data), self).load()

    def _reduced(self, data: bytes) -> BaseException:
        make, args, state = (*self._loaded(data), None)[:3]
        made = make(*args)
        if not isinstance(made, BaseException):
            raise TypeError("its __reduce__ makes something else")
        if state is not None:
            made.__setstate__(state)
        return made

    def _group(self, cls: Any, message: str, members: tuple[int | None, ...]) -> BaseException:
        exceptions = [self.at(member) for member in members if member is not None]
        missing = len(members) - len(exceptions)
        if missing:
            exceptions.append(RemoteError("ExceptionGroup", f"{missing} more exceptions were left out"))
        made: BaseException = BaseExceptionGroup.__new__(cls, message, exceptions)
        return made

    def _fill(self, exception: BaseException, data: bytes) -> None:
        args, attributes, members = self._loaded(data)
        _ARGS.__set__(exception, args)
        for name, value in members.items():
            _set_member(exception, name, value)
        if _has_own_setstate(type(exception)):
            exception.__setstate__(attributes)
        else:
            _DICT.__get__(exception).update(attributes)

    def _link(self, number: int) -> None:
        node = self._nodes[number]
        exception = self.at(number)
        _CAUSE.__set__(exception, None if node.cause is None else self.at(node.cause))
        _CONTEXT.__set__(exception, None if node.context is None else self.at(node.context))
        _SUPPRESS.__set__(exception, node.suppress_context)
        if number not in self.broken:
            BaseException.with_traceback(exception, tracebacks.traceback_of(node.frames))

    @staticmethod
    def _stand_in(node: Node) -> RemoteError:
        text = tracebacks.formatted(node.frames, node.type_name, node.text) if node.frames else ""
        stand_in = RemoteError(node.type_name, node.text, text)
        for note in node.notes:
            stand_in.add_note(note)
        return stand_in


class _NodeUnpickler(Unpickler):
    def __init__(self, file: io.BytesIO, building: _Building) -> None:
        super().__init__(file)
        self._building = building

    def persistent_load(self, number: Any) -> BaseException:
        return self._building.at(number)


def _empty(cls: Any) -> BaseException:
    """An exception of type `cls` on which no code of the user's ran."""
    base = next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)
    made: BaseException = base.__new__(cls)
    return made


def _set_member(exception: BaseException, name: str, value: object) -> None:
    if name == "characters_written":
        exception.characters_written = value  # type: ignore[attr-defined]
        return
    for base in type(exception).__mro__:
        descriptor = vars(base).get(name)
        if isinstance(descriptor, MemberDescriptorType):
            descriptor.__set__(exception, value)
            return
    raise AttributeError(name)


def _has_own_setstate(cls: type) -> bool:
    for base in cls.__mro__:
        if base is BaseException:
            return False
        if "__setstate__" in vars(base):
            return True
    return False
