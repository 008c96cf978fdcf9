"""What a process task carries of its spawner's context: the variables that are set and pickle, and the decimal context.

Sent only when it differs from what the worker was sent last; see `worker_knowledge`. Users' values are never compared:
immutable ones by identity, the others by their pickle.
"""

from __future__ import annotations

import sys
from _weakref import ref as weak
from contextvars import Context, ContextVar

from . import module_names
from .c_pickle import PROTOCOL, dumps
from .codec import ATOMS, Packed, pack
from .context_vars import Names, default_of, names_of, token_of
from .issuer import next_number
from .shared_refs import pickled_here, shared_of

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

private: set[ContextVar[Any]] = set()
"""Variables of the machinery, which do not travel: our own, and those of event loops. Found out at first sight."""
_PRIVATE_PACKAGES = frozenset(
    {"unified_exec", "anyio", "sniffio", "trio", "asyncio", "uvloop", "warnings", "_py_warnings"}
)
_MISSING: Any = object()


class Carried:
    """What travels of one context; the same object while nothing of it has changed.

    Attributes:
        number: names it. Who has sent it keeps this, and not the shared objects in it.
        data: its pickle, for `context_state.ContextState`.
        needs: entries of the globals that the worker must have first.
        shared: the objects in it that travel by descriptors.
        keep: the classes and functions that went by value; see `codec.Packed`.
    """

    __slots__ = ("data", "keep", "needs", "number", "shared")

    def __init__(self, data: bytes, needs: tuple[Any, ...], shared: tuple[Any, ...], keep: tuple[object, ...]) -> None:
        self.number = next_number()
        self.data = data
        self.needs = needs
        self.shared = shared
        self.keep = keep


class _Latest:
    """The context that was looked at last. Holds immutable values alone: a request must be able to die."""

    __slots__ = ("carried", "decimal", "fixed", "private", "size")

    def __init__(
        self,
        size: int,
        fixed: tuple[tuple[ContextVar[Any], object], ...],
        private: tuple[ContextVar[Any], ...],
        carried: Carried | None,
        decimal: ContextVar[Any] | None,
    ) -> None:
        self.size = size  # -1: it has mutable values, which are pickled each time
        self.fixed = fixed
        self.private = private
        self.carried = carried
        self.decimal = decimal  # the variable of the decimal context, which was the default one


_latest = _Latest(0, (), (), None, None)
_refs: dict[ContextVar[Any], tuple[Names, str, str, bytes]] = {}
_refused: dict[ContextVar[Any], tuple[weak[Any], str]] = {}
"""Why the value that a variable had last cannot travel: pickling a large one in vain for each task would be slow."""


def carried_of(context: Context) -> Carried | None:
    """Return what travels of a context, ``None`` if nothing does."""
    latest = _latest
    if len(context) == latest.size:
        get = context.get
        for var, value in latest.fixed:
            if get(var, _MISSING) is not value:
                break
        else:
            if all(map(context.__contains__, latest.private)) and (
                latest.decimal is None
                or (latest.decimal in context and _packed_decimal(context[latest.decimal]) is None)
            ):
                return latest.carried
    return _look(context)


def _look(context: Context) -> Carried | None:
    global _latest
    fixed: list[tuple[ContextVar[Any], Any]] = []
    own: list[ContextVar[Any]] = []
    moving: list[tuple[ContextVar[Any], Any]] = []
    decimal: bytes | None = None
    decimal_var: ContextVar[Any] | None = None
    size = len(context)
    for var, value in context.items():
        if var in private:
            own.append(var)
        elif var.name == "decimal_context" and _is_decimal(value):
            decimal, decimal_var = _packed_decimal(value), var
            if decimal is not None:
                size = -1
        elif var not in _refs and not _travels(var):
            own.append(var)
        elif _is_atom(value):
            fixed.append((var, value))
        else:
            moving.append((var, value))
            size = -1
    latest = _latest
    if not fixed and not moving and decimal is None:
        carried = None
    else:
        carried = _pack(fixed, moving, decimal)
        if latest.carried is not None and latest.carried.data == carried.data and not carried.needs:
            carried = latest.carried
    kept = carried if carried is None or not (carried.keep or carried.shared or carried.needs) else None
    _latest = _Latest(size if kept is carried else -1, tuple(fixed), tuple(own), kept, decimal_var)
    return carried


def _is_atom(value: Any) -> bool:
    kind = type(value)
    return kind in ATOMS or kind is bytes or (kind in (tuple, frozenset) and all(map(_is_atom, value)))


def _travels(var: ContextVar[Any]) -> bool:
    """Note how a variable is found in a worker; ``False`` if it belongs to the machinery."""
    names = names_of(var)
    if any(module_name.partition(".")[0] in _PRIVATE_PACKAGES for module_name, _ in names):
        private.add(var)
        return False
    token = token_of(var)
    default = b""
    if token:
        try:
            default = pack(default_of(var), False).data
        except Exception:
            default = dumps((), PROTOCOL)  # it has none there
    _refs[var] = (names, token, var.name, default)
    return True


def _pack(fixed: list[tuple[ContextVar[Any], Any]], moving: list[tuple[ContextVar[Any], Any]], decimal: Any) -> Carried:
    needs: dict[Any, None] = {}
    keep: tuple[object, ...] = ()
    values: list[Any] = []
    absent: list[Any] = []
    met = pickled_here()
    before = len(met)
    for var, value in moving:
        packed = _packed(var, value)
        if isinstance(packed, str):
            absent.append((_refs[var], packed))
        else:
            values.append((_refs[var], packed.data, [bytes(view) for view in packed.buffers]))
            needs.update(dict.fromkeys(packed.needs))
            keep += packed.keep
    shared = (*met.taken(before), *shared_of(needs))
    data = dumps(([(_refs[var], value) for var, value in fixed], values, absent, decimal), PROTOCOL)
    return Carried(data, tuple(needs), shared, keep)


def _packed(var: ContextVar[Any], value: Any) -> Packed | str:
    """Pickle a value; returns why it cannot travel if that fails."""
    refused = _refused.get(var)
    if refused is not None and refused[0]() is value:
        return refused[1]
    try:
        try:
            data = dumps(value, PROTOCOL)
        except TypeError:
            raise  # such as a lock inside
        except Exception:
            return pack(value, False, plainly=False)  # what has no name goes by value
        if module_names.in_pickle(data):
            return pack(value, False, plainly=False)
        return pack(value, False) if data.find(b"multiprocessing.connection") >= 0 else Packed(data)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        try:
            _refused[var] = (weak(value), why)
        except TypeError:
            pass
        return why


# -- the decimal context


def _is_decimal(value: Any) -> bool:
    module = sys.modules.get("decimal")
    return module is not None and isinstance(value, module.Context)


def _packed_decimal(value: Any) -> bytes | None:
    """Pickle a decimal context; ``None`` if it is the default one, with or without flags that were raised."""
    if _settings(value) == _settings(sys.modules["decimal"].DefaultContext):
        return None
    return dumps(value, PROTOCOL)


def _settings(context: Any) -> tuple[Any, ...]:
    prec, rounding, low, high, capitals, clamp, _, traps = context.__reduce__()[1]
    return prec, rounding, low, high, capitals, clamp, traps
