"""The form in which exceptions travel: a graph of nodes, so that one that cannot travel costs only its own node.

Each exception that is reached through ``__cause__``, ``__context__``, group members, arguments or attributes is one
node, pickled on its own. Exceptions inside a node are references to other nodes, so cycles are allowed.
"""

from __future__ import annotations

from ...errors import RemoteError
from .tracebacks import Frame

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from ..._tasks.light_typing import NamedTuple

HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_MAX_MESSAGE = 100_000


class Node(NamedTuple):
    """One exception. Other exceptions are given by their number in the list of all nodes.

    Attributes:
        type_name: qualified name of its type.
        text: its ``str()``.
        notes: its ``__notes__``.
        cls: its class, pickled; empty if that was not possible.
        state: its state, pickled: args, attributes and members of C structures, or what its ``__reduce__`` returned.
        reduced: the state is what its ``__reduce__`` returned.
        group: message and members of an exception group.
        cause: its ``__cause__``.
        context: its ``__context__``.
        suppress_context: its ``__suppress_context__``.
        frames: its traceback.
    """

    type_name: str
    text: str
    notes: tuple[str, ...] = ()
    cls: bytes = b""
    state: bytes = b""
    reduced: bool = False
    group: tuple[str, tuple[int | None, ...]] | None = None
    cause: int | None = None
    context: int | None = None
    suppress_context: bool = True
    frames: tuple[Frame, ...] = ()


def as_outcome_error(exc: BaseException) -> BaseException:
    """Return `exc` if it is an `Exception`, else a `RemoteError` with `exc` as its cause.

    A task in a thread or a process must not end the program by accident.
    """
    if isinstance(exc, Exception):
        return exc
    stand_in = RemoteError(type_name_of(type(exc)), text_of(exc))
    stand_in.__cause__ = exc
    return stand_in


def text_of(exc: BaseException) -> str:
    """Return ``str(exc)``, cut if it is very long. Never raises."""
    try:
        return "".join(str(exc))[:_MAX_MESSAGE]
    except BaseException as error:
        return f"<its str() raised {type_name_of(type(error))}>"


def type_name_of(cls: type) -> str:
    """Return the qualified name of a class, with its module unless it is a builtin. Never raises."""
    try:
        module, name = type.__dict__["__module__"].__get__(cls), type.__dict__["__qualname__"].__get__(cls)
        return str(name) if module == "builtins" else f"{module}.{name}"
    except BaseException:
        return "an exception"
