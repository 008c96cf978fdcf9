"""The functions that a worker has learnt, and how it rebuilds a call."""

from __future__ import annotations

from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from sys import modules
from types import FunctionType

from ...errors import SerializationError
from . import homes, taken_over
from .c_pickle import loads
from .codec import decode
from .rebuilding import older

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class FunctionTable:
    """The functions a worker has learnt. They are unpickled at first use, so an error fails that task only.

    Attributes:
        loaded: those that have been unpickled, by number.
        on_move: called when the current folder and the import path have been taken over from the program.
        on_context: called with what came of a spawner's context.
        in_process: the worker is a process, with a current folder and an environment of its own.
    """

    __slots__ = ("_payloads", "in_process", "loaded", "on_context", "on_move")

    def __init__(self) -> None:
        self._payloads: dict[int, bytes] = {}
        self.loaded: dict[int, Callable[..., object]] = {}
        self.in_process = True
        self.on_move: Callable[[], object] | None = None
        self.on_context: Callable[[bytes], object] | None = None

    def learn(self, id: int, payload: bytes | bytearray | memoryview) -> None:
        """Note the pickle of function `id`; nothing is imported yet."""
        if id not in self.loaded:
            self._payloads[id] = bytes(payload)

    def learn_globals(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take over what came in the function's place; return the function's pickle, which may be empty."""
        parts, function, changes, drops, context = loads(data)
        for token in drops:
            homes.drop(token)
        if changes is not None:
            taken_over.take_over(changes, self.in_process)
            if self.on_move is not None:
                self.on_move()
        homes.receive(parts)
        if context is not None and self.on_context is not None:
            self.on_context(context)
        return function  # type: ignore[no-any-return]

    def get(self, id: int) -> Callable[..., object]:
        """Return function `id`.

        Raises:
            SerializationError: it cannot be rebuilt in this process, or it was never learnt.
        """
        fn = self.loaded.get(id)
        if fn is None:
            payload = self._payloads.get(id)
            if payload is None:
                raise SerializationError("the function", f"this worker has not learnt function {id}")
            fn = self.loaded[id] = decode(payload, (), "the function")  # type: ignore[assignment]
            del self._payloads[id]
        return fn  # type: ignore[return-value]

    def clear(self) -> None:
        """Forget every function."""
        self._payloads.clear()
        self.loaded.clear()
        older.clear()


def decode_call(
    table: FunctionTable,
    function_id: int,
    data: bytes | bytearray | memoryview,
    buffers: Iterable[memoryview] = (),
    name: str = "",
) -> tuple[Callable[..., object], tuple[object, ...]]:
    """Rebuild in the worker what `encode_call` packed.

    Args:
        table: the functions this worker has learnt.
        function_id: the entry's; 0 if it was volatile.
        data: the pickle.
        buffers: its buffers.
        name: the call's, for the error.

    Raises:
        SerializationError: the function or the arguments cannot be rebuilt in this process.
    """
    fn = None
    if function_id:
        fn = table.loaded.get(function_id) or table.get(function_id)
    try:
        value: Any = loads(data, buffers=buffers) if buffers else loads(data)
    except SerializationError:
        raise
    except Exception as error:
        from . import pickle_errors

        what = "an argument of" if function_id else "the function or an argument of"
        raise pickle_errors.not_rebuilt(f"{what} {name}()" if name else f"{what} the call", error) from error
    if homes.wanted:
        homes.settle()
    if homes.several:
        _enter(value[0] if fn is None else fn)
    return value if fn is None else (fn, value)


def _enter(fn: Any) -> None:
    """Put the home of `fn` into `sys.modules`, where several have its name; that of a map is inside a partial one."""
    queue = [fn]
    while queue:
        found = queue.pop(0)
        if isinstance(found, partial):
            queue += [found.func, *filter(callable, found.args)]
            continue
        if type(found) is not FunctionType:  # a cached function, a class, an object that can be called, a method
            found = getattr(found, "__wrapped__", found)
            known = getattr(found, "__init__" if isinstance(found, type) else "__call__", None)
            found = found if hasattr(found, "__globals__") else known
        home = homes.home_of(getattr(found, "__globals__", None))
        if home is not None:
            modules[home.module.__name__] = home.module
            return
