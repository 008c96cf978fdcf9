"""The modules of this process that travel by value, as their sender keeps them."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary
from weakref import ref as weak

from ..._tasks.fork_lock import fork_lock
from . import homes, identity
from .code_facts import facts_of, words_in
from .issuer import new_token
from .lazy_annotations import in_words
from .module_names import MAINS, goes_by_value
from .rebuilding import is_definition

MISSING: Any = object()
dead: set[str] = set()
"""Tokens of homes that are gone, for the workers to drop."""

_ATTRIBUTES = ("__package__", "__file__", "__path__", "__doc__")


class HomeFacts:
    """What an entry says of its home. Not the home itself, which holds the entries: no cycle for the collector."""

    __slots__ = ("module", "name", "token")

    def __init__(self, token: str, name: str, module: weak[types.ModuleType] | None) -> None:
        self.token = token
        self.name = name
        self.module = module

    def attributes(self) -> dict[str, Any]:
        """Return what the module says of itself: its package, file and documentation."""
        module = self.module() if self.module is not None else None
        known = vars(module) if module is not None else {}
        return {key: known[key] for key in _ATTRIBUTES if type(known.get(key)) in (str, list)}


class Entry:
    """One value of one global.

    Attributes:
        home: of its home, the facts.
        name: the global.
        id: its number.
        same: tells whether a value is still this one.
        value: for `HomeSnapshot`, which asks without a call: the immutable value, a weak reference to an object that
            identity tells, or `MISSING` if there is neither.
        is_reference: `value` is a weak reference.
        code: of a function of which only code and defaults can change; then `value` is a weak reference to it.
        defaults: of that function.
        data: its pickle; ``None`` if it is deleted or cannot travel.
        why: why it cannot travel.
        group: the globals that share its pickle, because they hold the same objects.
        is_replaced: the global has a newer entry.
        needs: the globals it names; the home is ``None`` where it is the entry's own.
        looked_up: those of them that rebuilding it looks up.
        wire_needs: the needs as they travel.
        shared: the objects in its pickle that travel by descriptors.
    """

    __slots__ = (
        "code", "data", "defaults", "group", "home", "id", "is_reference", "is_replaced", "looked_up", "name", "needs",
        "same", "shared", "value", "why", "wire_needs",
    )  # fmt: skip

    def __init__(self, home: SentHome, name: str, id: int, same: Callable[[Any], bool]) -> None:
        self.home = home.facts
        self.name = name
        self.id = id
        self.same = same
        self.value: Any = MISSING
        self.is_reference = False
        self.code: types.CodeType | None = None
        self.defaults: tuple[object, ...] | None = None
        self.data: bytes | None = None
        self.why = ""
        self.group: tuple[str, ...] = ()
        self.needs: tuple[tuple[SentHome | None, str], ...] = ()
        self.looked_up: tuple[tuple[SentHome | None, str], ...] = ()
        self.wire_needs: tuple[tuple[str, str, str], ...] = ()
        self.shared: tuple[Any, ...] = ()
        self.is_replaced = False
        if (older := home.entries.get(name)) is not None:
            older.is_replaced = older.id < id

    @property
    def is_definition(self) -> bool:
        """Whether it is a class or function: a worker with a newer one under this name may have it no more."""
        return self.data is not None and is_definition(self.data)


class SentHome:
    """One module's globals, as this process sends them.

    It is held by its module, or by the functions of a namespace that is no module, and never holds the globals: a
    ``__main__`` that was replaced can die, with everything in it.

    Attributes:
        facts: its token, its name and its module.
        entries: the latest entry of each global that was ever needed.
        looked_up: globals that a worker has looked up by their names. They go along with every function from then on:
            what stands there must not be older than a task's spawn.
        logged: globals whose size was logged.
    """

    __slots__ = ("__weakref__", "_functions", "entries", "facts", "logged", "looked_up")

    def __init__(self, token: str, name: str, module: types.ModuleType | None) -> None:
        self.facts = HomeFacts(token, name, weak(module) if module is not None else None)
        self.entries: dict[str, Entry] = {}
        self.looked_up: dict[str, None] = {}
        self.logged: set[str] = set()
        self._functions: list[weak[types.FunctionType]] = []  # without a module: through these the globals are found

    def globals(self) -> dict[str, Any] | None:
        """Return the globals; ``None`` if they are gone."""
        ref = self.facts.module
        if ref is not None:
            module = ref()
            return None if module is None else vars(module)
        for function_ref in self._functions:
            function = function_ref()
            if function is not None:
                return function.__globals__
        return None

    def seen(self, function: types.FunctionType) -> None:
        """Note a function of these globals, which are not those of a module."""
        if _of_function.get(function) is not self:
            _of_function[function] = self
            self._functions = [ref for ref in self._functions if ref() is not None]
            self._functions.append(weak(function))


# By the id of the globals: a dict has no weak reference. A reused id is noticed by `SentHome.globals`.
_by_globals: WeakValueDictionary[int, SentHome] = WeakValueDictionary()
_of_module: WeakKeyDictionary[types.ModuleType, SentHome] = WeakKeyDictionary()
_of_function: WeakKeyDictionary[types.FunctionType, SentHome] = WeakKeyDictionary()
_living: dict[str, weak[SentHome]] = {}
_making = fork_lock()
"""Held while a home is made: threads that pickle their first calls at once must find the same one."""


def home_of(globals_: dict[str, Any]) -> SentHome | None:
    """Return the home of these globals; ``None`` if workers import their module."""
    found = _by_globals.get(id(globals_))
    if found is not None and found.globals() is globals_:
        return found
    name = globals_.get("__name__")
    if type(name) is not str:
        return None
    module = sys.modules.get(name)
    is_unlisted = module is None and "__spec__" in globals_  # a file that was run, or loaded without an entry there
    if not is_unlisted and not goes_by_value(name):
        return None
    if not isinstance(module, types.ModuleType) or vars(module) is not globals_:
        module = None
        if not is_unlisted and name not in MAINS:
            return None
    with _making:
        found = _by_globals.get(id(globals_))
        return found if found is not None and found.globals() is globals_ else _make_home(globals_, name, module)


def _make_home(globals_: dict[str, Any], name: str, module: types.ModuleType | None) -> SentHome:
    received = homes.home_of(globals_)
    token = received.token if received is not None else new_token()
    home = SentHome(token, name, module)
    _by_globals[id(globals_)] = home
    ref = weak(home)
    if received is None:
        homes.issued[token] = lambda: home.globals() if (home := ref()) is not None else None

        def forget(_: weak[SentHome]) -> None:
            _living.pop(token, None)
            dead.add(token)

        _living[token] = weak(home, forget)
    if module is not None:
        _of_module[module] = home
    return home


def home_of_function(function: types.FunctionType) -> SentHome | None:
    """Return the home of the function's globals; ``None`` if workers import their module."""
    home = home_of(function.__globals__)
    if home is not None and home.facts.module is None:
        home.seen(function)
    return home


def place_of(obj: Any) -> tuple[SentHome, str] | None:
    """Return where a class or function stands in a module that goes by value: its home and the path to it."""
    globals_: dict[str, Any]
    if isinstance(obj, types.FunctionType):
        home = home_of_function(obj)
        globals_ = obj.__globals__
    else:
        home = None
    if home is None:
        name = getattr(obj, "__module__", None)
        if type(name) is not str or not goes_by_value(name):
            return None
        module = sys.modules.get(name)
        if not isinstance(module, types.ModuleType):
            return None
        globals_ = vars(module)
        home = home_of(globals_)
        if home is None:
            return None
    path = path_in(globals_, obj)
    return None if path is None else (home, path)


def reduce_by_name(obj: object, home: SentHome, path: str) -> tuple[Any, ...]:
    """Reduce a class or function to where it stands, which the receiver must have."""
    return homes.find, (home.facts.token, home.facts.name, path, identity.issue(obj))


def path_in(globals_: dict[str, Any], obj: Any) -> str | None:
    """Return where a class or function stands in these globals: under its own name, or under any other."""
    path = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if type(path) is str and _stands_under(globals_, path) is obj:
        return path
    for name, value in list(globals_.items()):
        if value is obj:
            return name
    return None


def _stands_under(globals_: dict[str, Any], path: str) -> Any:
    root, *rest = path.split(".")
    found = globals_.get(root, MISSING)
    for part in rest:
        if found is MISSING:
            break
        found = getattr(found, part, MISSING)
    return found


def importable(obj: Any) -> bool:
    """Tell whether another process finds this very object under its module and qualified name."""
    module_name = getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if not isinstance(module_name, str) or not isinstance(qualname, str) or goes_by_value(module_name):
        return False
    found: Any = sys.modules.get(module_name)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is obj


def names_wanted(function: types.FunctionType) -> tuple[str, ...]:
    """Return the globals that a function may look up, also by their text."""
    known = function.__globals__
    facts = facts_of(function.__code__)
    names = dict.fromkeys(facts.names)
    names.update((word, None) for word in facts.words if word in known)
    names.update((word, None) for word in words_of_annotations(in_words(function)) if word in known)
    return tuple(names)


def words_of_annotations(annotations: Any) -> list[str]:
    """Return what may be names of globals in string annotations."""
    return [word for text in _texts(list(annotations.values())) for word in words_in(text)]


def _texts(annotation: Any) -> Iterator[str]:
    """Yield the texts in an annotation: what is not evaluated yet, as in ``Optional["Other"]``."""
    text = annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation
    if isinstance(text, str):
        yield text
    else:
        for part in annotation if type(annotation) is list else typing.get_args(annotation):
            yield from _texts(part)
