"""Identity on both sides: what was sent by value comes back as the sender's own object.

A class or function that travels by value carries a token. The receiver notes which object the copy stands for;
when the copy travels back up, only the token is sent, and the sender looks up its own object. "Up" is towards
the parent (results, errors), "down" towards the workers (functions, arguments). A process in the middle keeps
the token of the top, so the answer of a grandchild becomes the middle's object there and the top's own at the top.
"""

from __future__ import annotations

from _weakref import ref as weak
from types import FunctionType

from ..._tasks.fork_lock import fork_lock
from ...errors import SerializationError
from .issuer import new_token

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OWN, _ABOVE, _BELOW = "own", "above", "below"


class _Record:
    __slots__ = ("names", "ref", "side", "token")

    def __init__(self, ref: weak[object], token: str, side: str) -> None:
        self.ref = ref
        self.token = token
        self.side = side
        self.names: frozenset[str] = frozenset()


# By id, because a metaclass may make its classes unhashable or equal.
_records: dict[int, _Record] = {}
# A function has one copy per arrival; the newest that lives stands for its token.
_by_token: dict[str, tuple[weak[object], ...]] = {}
# Reentrant: the collector may run a weakref callback while the lock is held.
_lock = fork_lock()


def issue(obj: object) -> str:
    """Return the token under which `obj` travels by value, the same one each time."""
    with _lock:
        record = _record_of(obj)
        if record is None:
            record = _register(obj, new_token(), _OWN)
        else:  # the copy that was sent last is the one to give back
            others = tuple([ref for ref in _by_token.get(record.token, ()) if ref is not record.ref])
            _by_token[record.token] = (*others, record.ref)
        return record.token


def token_known_above(obj: object) -> str | None:
    """Return the token of `obj` if the process above has the original, so that the token alone can go up."""
    record = _record_of(obj)
    return record.token if record is not None and record.side is _ABOVE else None


def reduce_known_above(obj: Any) -> Any:
    """Reduce a class or function that the process above has to its token. For a `reducer_override`.

    Raises:
        TypeError: it is a member of such an enumeration, which would be looked up by its value, in code of the user.
    """
    if not isinstance(obj, (type, FunctionType)):
        if token_known_above(type(obj)) is not None and hasattr(type(obj), "_member_map_"):
            raise TypeError("a member of an enumeration goes by its name")
        return NotImplemented
    token = token_known_above(obj)
    return NotImplemented if token is None else (parents_own, (token,))


def parents_own(token: str) -> object:
    """Return this process's own object for `token`.

    Raises:
        SerializationError: the object is gone.
    """
    obj = living(token)
    if obj is None:
        raise SerializationError(
            "a class or function that was sent by value",
            "it came back from a worker, but the original no longer exists here",
            hint="keep a reference to it until the task is done",
        )
    return obj


def adopt(
    token: str, upward: bool, make: Callable[..., object], args: tuple[object, ...], in_place: bool = False
) -> object:
    """Make the local stand-in for an object that arrived by value, or find the one that is here already.

    A class is made once, and so is a function that stands in its module under a name (`in_place`). Any other function
    is made anew at each arrival, so that no call sees what another one changed in its captured variables; what this
    process issued itself is returned as it is.
    """
    obj = living(token)
    with _lock:
        record = _record_of(obj) if obj is not None else None
        if record is not None and (record.side is _OWN or in_place or isinstance(obj, type)):
            if not upward and record.side is _BELOW:
                record.side = _ABOVE
            return obj
    fresh = make(*args)
    with _lock:
        if _record_of(fresh) is None:
            _register(fresh, token, _BELOW if upward else _ABOVE)
    return fresh


def refresh(
    obj: object, state: tuple[Callable[[object, object], object], tuple[dict[str, object], object], object]
) -> None:
    """Bring a stand-in up to date with the state that arrived; the issuer's own object is left alone."""
    record = _record_of(obj)
    if record is not None and record.side is _OWN:
        return
    setter, inner, members = state
    if isinstance(obj, type) and record is not None:
        names = frozenset(inner[0])
        for name in record.names - names:
            if name in obj.__dict__:
                delattr(obj, name)
        record.names = names
    setter(obj, inner)
    if members:
        for name, attributes in members.items():  # type: ignore[attr-defined]
            obj[name].__dict__.update(attributes)  # type: ignore[index]


def _register(obj: object, token: str, side: str) -> _Record:
    key = id(obj)

    def forget(dead: weak[object]) -> None:
        with _lock:
            record = _records.get(key)
            if record is not None and record.ref is dead:
                del _records[key]
            others = tuple([ref for ref in _by_token.get(token, ()) if ref is not dead])
            if others:
                _by_token[token] = others
            else:
                _by_token.pop(token, None)

    with _lock:
        record = _records[key] = _Record(weak(obj, forget), token, side)
        _by_token[token] = (*_by_token.get(token, ()), record.ref)
    return record


def _record_of(obj: object) -> _Record | None:
    record = _records.get(id(obj))
    return record if record is not None and record.ref() is obj else None


def living(token: str) -> object | None:
    """Return what stands for `token` in this process, the newest if there are several."""
    for ref in reversed(_by_token.get(token, ())):
        obj = ref()
        if obj is not None:
            return obj
    return None
