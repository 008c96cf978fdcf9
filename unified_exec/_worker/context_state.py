"""The context variables of each task: those of the worker itself, with what the task carries of its spawner's context.

Each task runs in a context of its own, so what it sets is gone with it. A variable is found by its name once its module
has been imported, which the task may do itself: nothing is imported for it.
"""

from __future__ import annotations

import sys
from _contextvars import Context, ContextVar, copy_context

from .._tasks.on_import import when_imported
from .._wire.errors.nodes import text_of
from .._wire.pickling.c_pickle import loads
from .._wire.pickling.context_vars import Names, find, variable
from ..errors import SerializationError

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

    Ref = tuple[Names, str, str, bytes]


class _Carried:
    """One spawner's context.

    Attributes:
        absent: the variables whose values could not travel, each with the reason.
        decimal: the pickled decimal context, if it is not the default one.
    """

    __slots__ = ("_context", "_moving", "_waiting", "absent", "decimal")

    def __init__(self, base: Context, data: bytes) -> None:
        fixed, values, self.absent, self.decimal = loads(data)
        self._context = base.copy()
        self._context.run(_here.set, self)
        self._moving: list[tuple[ContextVar[Any], bytes, list[bytes]]] = []
        self._waiting: list[tuple[Ref, bool, Any]] = [(ref, True, value) for ref, value in fixed]
        self._waiting += [(ref, False, (data, buffers)) for ref, data, buffers in values]
        self._settle(False)
        for ref, _, _ in self._waiting:
            for module_name, _ in ref[0]:
                _wait_for(module_name)

    def new_context(self) -> Context:
        """Return the context for one task. Mutable values are rebuilt each time: no task sees what another changed."""
        if self._waiting:
            self._settle(False)
        context = self._context.copy()
        for var, data, buffers in self._moving:
            context.run(self._set, var, data, buffers)
        if self.decimal is not None:
            if "decimal" in sys.modules:
                context.run(self._set_decimal)
            else:
                _wait_for("decimal")
        return context

    def on_import(self, name: str) -> None:
        """Set in the current context what waits for a module that has just been imported."""
        if name == "decimal":
            if self.decimal is not None:
                self._set_decimal()
        else:
            self._settle(True)

    def _settle(self, in_current: bool) -> None:
        """Find the variables whose modules have been imported since."""
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            ref, is_fixed, value = item
            var = _variable(ref)
            if var is None:
                self._waiting.append(item)
            elif is_fixed:
                self._context.run(var.set, value)
                if in_current:
                    var.set(value)
            else:
                self._moving.append((var, *value))
                if in_current:
                    self._set(var, *value)

    def _set(self, var: ContextVar[Any], data: bytes, buffers: list[bytes]) -> None:
        try:
            var.set(loads(data, buffers=buffers))
        except Exception as exc:
            if all(var not in known for known in self.absent):
                why = f"rebuilding it raised {type(exc).__name__}: {text_of(exc)}"
                self.absent.append((((), "", var.name, b""), why, var))

    def _set_decimal(self) -> None:
        sys.modules["decimal"].setcontext(loads(self.decimal))


_here: ContextVar[_Carried | None] = ContextVar("unified_exec_carried", default=None)
_hooked: set[str] = set()


def _variable(ref: Ref) -> ContextVar[Any] | None:
    names, token, name, default = ref
    found = find(names, token)
    if found is None and token:
        try:
            found = variable(token, name, loads(default))
        except Exception:
            found = variable(token, name, ())
    return found


def _wait_for(module_name: str) -> None:
    if module_name not in _hooked and module_name not in sys.modules:
        _hooked.add(module_name)

        def imported() -> None:
            carried = _here.get()
            if carried is not None:
                carried.on_import(module_name)

        when_imported(module_name, imported)


class ContextState:
    """Makes the context of each task.

    Attributes:
        base: the context of the worker, as its initializer left it.
        decimal: the decimal context in it, if there is one: it is mutable, so each task gets its own.
    """

    __slots__ = ("_carried", "base", "decimal")

    def __init__(self) -> None:
        self.base = Context()
        self.decimal: Any = None
        self._carried: _Carried | None = None

    def take(self) -> None:
        """Take the variables as they are now for what every task sees."""
        self.base = copy_context()
        decimal = sys.modules.get("decimal")
        if decimal is not None and any(var.name == "decimal_context" for var in self.base):
            self.decimal = decimal.getcontext().copy()

    def learn(self, data: bytes) -> None:
        """Take over what came of a spawner's context; b"" if that could not be read."""
        self._carried = _Carried(self.base, data) if data else None

    def new_context(self, carries: bool) -> Context:
        """Return the context for the next task, which carries what came last or nothing.

        Raises:
            SerializationError: what it carries could not be read.
        """
        carried = self._carried if carries else None
        if carries and carried is None:
            raise SerializationError("the context variables of the task", "the worker had no memory left to read them")
        context = self.base.copy() if carried is None else carried.new_context()
        if self.decimal is not None and (carried is None or carried.decimal is None):
            context.run(sys.modules["decimal"].setcontext, self.decimal.copy())
        return context


def note_absent(error: BaseException) -> None:
    """Say, on each `LookupError` of a variable whose value could not travel, why it is unset here."""
    carried = _here.get()
    if carried is None or not carried.absent:
        return
    from .._wire.related_errors import with_related  # loaded with the first error that may need a note

    for exc in with_related(error):
        if isinstance(exc, LookupError) and exc.args and isinstance(exc.args[0], ContextVar):
            note = _note_for(exc.args[0], carried)
            if note is not None and note not in getattr(exc, "__notes__", ()):
                exc.add_note(note)


def _note_for(var: ContextVar[Any], carried: _Carried) -> str | None:
    for ref, why, *rebuilt in carried.absent:
        if var in (*rebuilt, find(ref[0], ref[1])):
            return (
                f"the context variable {var.name!r} was set where the task was spawned, but its value cannot travel to "
                f"another process: {why}. Pass what the task needs as an argument."
            )
    return None
