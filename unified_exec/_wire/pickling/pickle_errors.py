"""The slow path of an error: which argument cannot travel, which part of it, and what to do about it."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...errors import SerializationError
from . import globals_sent
from .c_pickle import marked
from .module_names import WAYS_OUT
from .refusal_words import reason, short, why_not_by_value

_MAX_DEPTH = 30
_MAX_TRIALS = 500
_MAX_BYTES = 64 * 1024 * 1024

_OPEN_THERE = "open it in the worker, or spawn with on='thread'"
_MATERIALIZE = (
    "pass a list of its items, run the generator function with scope.stream(f, ...), or spawn with on='thread'"
)
_THREAD_ONLY = "pass what the task needs from it, or spawn with on='thread'"
_HINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("socket.socket", "ssl.SSLSocket", "ssl.SSLContext", "_ssl._SSLContext"), _OPEN_THERE),
    (("_io.", "io.", "tempfile.", "mmap.mmap", "select.", "selectors."), _OPEN_THERE),
    (("sqlite3.", "_sqlite3.", "psycopg.", "psycopg2.", "asyncpg.", "pymysql.", "MySQLdb."), _OPEN_THERE),
    (("redis.", "sqlalchemy.", "pymongo.", "cassandra.", "duckdb."), _OPEN_THERE),
    (("httpx.", "requests.", "aiohttp.", "urllib3.", "http.client."), _OPEN_THERE),
    (
        ("_thread.lock", "_thread.RLock", "threading.", "_thread._local", "queue.", "_queue."),
        "leave it out of the pickled state (__getstate__), make it in the worker, or spawn with on='thread'",
    ),
    (("builtins.generator",), _MATERIALIZE),
    (
        ("builtins.coroutine",),
        "pass the async function and its arguments, not the coroutine object",
    ),
    (("builtins.async_generator",), "run the async generator function with scope.stream(f, ...)"),
    (("asyncio.", "_asyncio.", "trio.", "anyio.", "concurrent.futures."), "await it here and pass the value"),
    (("builtins.traceback",), "pass the exception, or traceback.format_exception() of it"),
    (("builtins.frame",), _THREAD_ONLY),
    (("builtins.module",), "import it inside the function"),
    (("weakref.", "_weakref."), "pass the object itself"),
    (("multiprocessing.queues.",), "pass a queue of multiprocessing.Manager(), or return the values"),
    (
        ("multiprocessing.synchronize.", "multiprocessing.sharedctypes."),
        "pass the Lock, Event or Value of a multiprocessing.Manager(); these can only be inherited by a child process",
    ),
    (
        ("multiprocessing.connection.",),
        "pass a Connection as an argument, or pass a queue of multiprocessing.Manager()",
    ),
    (("multiprocessing.",), "pass plain data, or spawn with on='thread'"),
)


class _Culprit(NamedTuple):
    path: str
    obj: Any
    error: Exception


def hint_for(obj: object) -> str | None:
    """Return what the user can do instead of sending `obj`, or None if nothing is known about its type."""
    for cls in type(obj).__mro__:
        name = f"{cls.__module__}.{cls.__qualname__}"
        for prefixes, hint in _HINTS:
            if any(name.startswith(prefix) if prefix.endswith(".") else name == prefix for prefix in prefixes):
                return hint
    return None


def refused(what: str, obj: object, error: Exception, upward: bool = False) -> SerializationError:
    """Make the error that says why `obj`, known to the user as `what`, cannot travel (`upward`: to the parent)."""
    if isinstance(error, SerializationError):
        return error
    if isinstance(error, (MemoryError, RecursionError)):
        return SerializationError(what, f"pickling it raised {short(error)}")
    culprit = _search(obj, error, upward)
    if isinstance(culprit.obj, type) and _has_maker(culprit.obj):
        told = str(culprit.error)  # by its entry, if it is a global
        words = (
            told if WAYS_OUT in told else f"{culprit.obj.__qualname__}: {why_not_by_value(culprit.obj, culprit.error)}"
        )
        return SerializationError(what, words)
    words = reason(culprit.obj, culprit.error)
    joint = " is " if words.startswith(("a '", "an '")) else ": "
    why = f"{culprit.path}{joint}{words}" if culprit.path else words
    return SerializationError(what, why, hint_for(culprit.obj))


def refused_args(fn: Callable[..., object] | None, args: tuple[object, ...], error: Exception) -> SerializationError:
    """Make the error that names the argument of `fn` that cannot travel."""
    if isinstance(error, SerializationError):
        return error
    for index, arg in enumerate(args):
        _, found = _trial(arg, top_level=True)
        if found is not None:
            exhausted = isinstance(error, (MemoryError, RecursionError))
            return refused(_argument(fn, args, index), arg, error if exhausted else found)
    return refused("the arguments" + (f" of {_callee(fn)}" if fn is not None else ""), args, error)


def refused_call(fn: Callable[..., object], args: tuple[object, ...], error: Exception) -> SerializationError:
    """Make the error that names the function itself, or the argument, that cannot travel."""
    _, found = _trial(fn)
    if found is not None:
        return refused(f"the function {_callee(fn)}", fn, found)
    return refused_args(fn, args, error)


def not_rebuilt(what: str, error: Exception) -> SerializationError:
    """Make the error for a value that was sent but could not be rebuilt in this process."""
    hint = None
    if isinstance(error, ImportError):
        hint = "make the module importable in both processes"
    return SerializationError(what, f"it was sent, but rebuilding it raised {short(error)}", hint, sent=True)


def _trial(obj: object, top_level: bool = False, upward: bool = False) -> tuple[int, Exception | None]:
    """Pickle `obj` to see whether it can be done: how many bytes it took, or what was raised."""
    try:
        sent = globals_sent.encode(
            marked(obj) if top_level else obj, upward=upward, buffer_callback=lambda buffer: False
        )
    except Exception as error:
        told: BaseException | None = error
        for _ in range(100):  # no ring from it over its frames to the parts: some export views, see `without_export`
            if told is None:
                break
            told.__traceback__, told = None, told.__context__
        return 0, error
    return len(sent.data), None


def _search(obj: object, error: Exception, upward: bool = False) -> _Culprit:
    """Go down to a part that cannot travel although all its own parts can; a cycle only leads back up."""
    first = _Culprit("", obj, error)
    seen = {id(obj): obj}
    way = [(first, _children(obj))]
    in_cycle: set[int] = set()
    trials = taken = 0
    while way:
        culprit, parts = way[-1]
        for step, child in parts:
            if id(child) in seen:
                in_cycle.add(id(culprit.obj))
                continue
            trials += 1
            if trials > _MAX_TRIALS or taken > _MAX_BYTES or len(way) > _MAX_DEPTH:
                return culprit
            seen[id(child)] = child
            size, found = _trial(child, upward=upward)
            taken += size
            if found is not None:
                way.append((_Culprit(culprit.path + step, child, found), _children(child)))
                if _has_maker(child):
                    return way[-1][0]
                break
        else:
            if id(culprit.obj) not in in_cycle:
                return culprit
            way.pop()
    return first


def _has_maker(obj: object) -> bool:
    """Tell whether this is a class of a library's metaclass, whose parts say nothing to its user."""
    return isinstance(obj, type) and type(obj).__module__ not in ("builtins", "abc", "enum", "typing", "__main__")


def _children(obj: Any) -> Iterator[tuple[str, object]]:
    try:
        for step, part in _parts(obj):
            if not isinstance(part, (str, bytes, int, float, type(None))):
                yield step, part
    except Exception:  # a hostile attribute ends the search here, not the report
        return


def _parts(obj: Any) -> Iterator[tuple[str, object]]:
    if isinstance(obj, Mapping):
        for key, value in list(obj.items()):
            yield f"[{key!r:.60}]", value
            yield f"<key {key!r:.60}>", key
    elif isinstance(obj, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(obj))
    elif isinstance(obj, (set, frozenset)):
        yield from (("<item>", item) for item in list(obj))
    elif isinstance(obj, types.FunctionType):
        yield from _captured(obj)
    elif isinstance(obj, types.MethodType):
        yield ".__self__", obj.__self__
        yield ".__func__", obj.__func__
    elif isinstance(obj, functools.partial):
        yield ".func", obj.func
        yield from ((f".args[{index}]", item) for index, item in enumerate(obj.args))
        yield from ((f".keywords[{key!r}]", item) for key, item in obj.keywords.items())
    elif isinstance(obj, type):
        yield from (
            (f".{name}", value) for name, value in list(vars(obj).items()) if name not in ("__dict__", "__weakref__")
        )
    elif isinstance(obj, (staticmethod, classmethod)):
        yield ".__func__", obj.__func__
    elif isinstance(obj, property):
        yield from ((f".{name}", getattr(obj, name)) for name in ("fget", "fset", "fdel"))
    if not isinstance(obj, (type, types.FunctionType, types.ModuleType)):
        yield from _state(obj)


def _captured(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f".<closure>.{name}", cell.cell_contents
        except ValueError:
            continue
    from .code_facts import facts_of

    for name in facts_of(function.__code__).names:
        if name in function.__globals__:
            yield f".<global>.{name}", function.__globals__[name]
    for index, value in enumerate(function.__defaults__ or ()):
        yield f".__defaults__[{index}]", value
    for name, value in (function.__kwdefaults__ or {}).items():
        yield f".__kwdefaults__[{name!r}]", value
    yield from ((f".{name}", value) for name, value in vars(function).items())


def _state(obj: Any) -> Iterator[tuple[str, object]]:
    """The attributes that would really be pickled: what ``__getstate__`` leaves out is not to blame."""
    reduced = obj.__reduce_ex__(5)
    if not isinstance(reduced, tuple):
        return
    for state in reduced[2:3]:
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if isinstance(part, dict):
                yield from ((f".{name}", value) for name, value in part.items())
            elif part is not None:
                yield ".<state>", part
    if not isinstance(obj, (list, tuple, set, frozenset, Mapping, functools.partial)):
        yield from ((f".<constructor argument {index}>", item) for index, item in enumerate(reduced[1]))


def _argument(fn: Callable[..., object] | None, args: tuple[object, ...], index: int) -> str:
    text = f"argument {index + 1}"
    if fn is None:
        return text
    import inspect

    try:
        names = list(inspect.signature(fn).bind(*args).signature.parameters.values())
        named = names[min(index, len(names) - 1)]
        text += f" ({'*' if named.kind is inspect.Parameter.VAR_POSITIONAL else ''}{named.name!r})"
    except (TypeError, ValueError, IndexError):
        pass
    return f"{text} of {_callee(fn)}"


def _callee(fn: Any) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return f"{str(name).rpartition('<locals>.')[2]}()"
