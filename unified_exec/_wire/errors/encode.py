"""Packing the error of a task. Nothing here raises, whatever the exception does."""

from __future__ import annotations

import io
from types import MemberDescriptorType

from ..pickling import identity
from ..pickling.c_pickle import PROTOCOL, Pickler, dumps
from ..pickling.module_names import in_pickle
from . import tracebacks
from .nodes import HEAP_TYPE, Node, text_of, type_name_of

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_MAX_NODES = 1000
_MAX_OBJ = 64 * 1024

# The C slots themselves: a class of the user's may define attributes of the same names.
_slot = {name: slot.__get__ for name, slot in vars(BaseException).items() if hasattr(slot, "__set__")}
_group_slot = {name: vars(BaseExceptionGroup)[name].__get__ for name in ("message", "exceptions")}


def encode_error(exc: BaseException, skip_frames: int = 0) -> bytes:
    """Pack `exc` and every exception it refers to. Never raises.

    The first `skip_frames` frames of its traceback are left out, as are this package's own at the outer end.
    """
    try:
        return _Graph(exc, skip_frames).encoded()
    except BaseException as error:
        try:
            return dumps([_bare(exc, f"(it could not be packed: {type_name_of(type(error))})")], PROTOCOL)
        except BaseException:
            return b""


class _Graph:
    """The exceptions reached so far; grows while its nodes are pickled."""

    def __init__(self, exc: BaseException, skip_frames: int) -> None:
        self._found: list[BaseException] = []
        self._numbers: dict[int, int] = {}
        self._skip_frames = skip_frames
        self.number(exc)

    def number(self, exc: BaseException | None) -> int | None:
        """Return the node number of `exc`; None if there is none, or there are too many."""
        if exc is None:
            return None
        number = self._numbers.get(id(exc))
        if number is None and len(self._found) < _MAX_NODES:
            number = self._numbers[id(exc)] = len(self._found)
            self._found.append(exc)
        return number

    def encoded(self) -> bytes:
        nodes: list[Node] = []
        for exc in self._found:  # the list grows meanwhile
            try:
                nodes.append(self._node(exc, self._skip_frames if not nodes else 0))
            except BaseException:
                nodes.append(_bare(exc))
        return dumps(nodes, PROTOCOL)

    def _node(self, exc: BaseException, skip: int) -> Node:
        cause, context = self.number(_slot["__cause__"](exc)), self.number(_slot["__context__"](exc))
        group = None
        if isinstance(exc, BaseExceptionGroup):
            numbers = tuple([self.number(member) for member in _group_slot["exceptions"](exc)])
            group = "".join(_group_slot["message"](exc)), numbers
        try:
            cls, (state, reduced) = self._pickled(type(exc)), self._state(exc)
        except BaseException:
            cls = state = b""
            reduced = False
        frames = tracebacks.frames_of(_slot["__traceback__"](exc), skip)
        links = (cause, context, bool(_slot["__suppress_context__"](exc)))
        return Node(type_name_of(type(exc)), text_of(exc), _notes(exc), cls, state, reduced, group, *links, frames)

    def _state(self, exc: BaseException) -> tuple[bytes, bool]:
        if _has_own_reduce(type(exc)):
            try:
                reduced = exc.__reduce_ex__(PROTOCOL)
                if isinstance(reduced, tuple):
                    return self._pickled(reduced), True
            except Exception:  # then as if it had none
                pass
        return self._pickled((_slot["args"](exc), dict(_slot["__dict__"](exc)), self._members(exc))), False

    def _members(self, exc: BaseException) -> dict[str, Any]:
        """The state kept in C structures and slots: errno and filename, name and path, start and end, ..."""
        values: dict[str, Any] = {}
        for base in type(exc).__mro__:
            if base is BaseException or base is BaseExceptionGroup:
                break
            static = not base.__flags__ & HEAP_TYPE
            for name, descriptor in vars(base).items():
                if isinstance(descriptor, MemberDescriptorType) and name not in values:
                    try:
                        value = descriptor.__get__(exc)
                    except AttributeError:  # an empty slot
                        continue
                    if value is not None or not static:
                        values[name] = value
        if isinstance(exc, BlockingIOError) and hasattr(exc, "characters_written"):
            values["characters_written"] = exc.characters_written
        if isinstance(exc, AttributeError) and "obj" in values and not self._is_small(values["obj"]):
            del values["obj"]
        return values

    def _is_small(self, obj: object) -> bool:
        """Tell whether ``AttributeError.obj`` can be sent along: it may be anything of any size."""
        try:
            return len(self._pickled(obj)) <= _MAX_OBJ
        except Exception:
            return False

    def _pickled(self, value: object) -> bytes:
        with io.BytesIO() as file:
            try:
                pickler = _NodePickler(file, PROTOCOL)
                pickler.graph = self
                pickler.dump(value)
                data = file.getvalue()
                if not in_pickle(data):
                    return data
            except (MemoryError, RecursionError):
                raise
            except Exception:  # by value, then
                pass
        from ..pickling import by_value

        return by_value.dumps_node(value, self.number)


class _NodePickler(Pickler):
    graph: _Graph
    reducer_override = staticmethod(identity.reduce_known_above)

    def persistent_id(self, obj: Any) -> int | None:
        return self.graph.number(obj) if issubclass(type(obj), BaseException) else None


def _has_own_reduce(cls: type) -> bool:
    """Tell whether the class, or a base that is not built in, defines how it is pickled."""
    for base in cls.__mro__:
        if base is BaseException or base is BaseExceptionGroup:
            return False
        if base.__module__ != "builtins" and ("__reduce__" in vars(base) or "__reduce_ex__" in vars(base)):
            return True
    return False


def _bare(exc: BaseException, remark: str = "") -> Node:
    message = " ".join(filter(None, (text_of(exc), remark)))
    return Node(type_name_of(type(exc)), message)


def _notes(exc: BaseException) -> tuple[str, ...]:
    try:
        return tuple([str(note) for note in getattr(exc, "__notes__", ())])
    except BaseException:
        return ()
