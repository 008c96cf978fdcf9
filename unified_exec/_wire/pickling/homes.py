"""Modules that came by value: one module object each, in which classes, functions and values stand under their names.

The receiver's side. What arrives waits as a pickle until it is wanted: by a function that names it, by an unpickler
that looks it up, by ``import __main__; __main__.name``. What is looked up and has not arrived is asked for. A number
says which value a name has; an older or equal one changes nothing, so what a task or the initializer has set stays
until the sender's own value changes.
"""

from __future__ import annotations

import builtins
import sys
from io import BytesIO
from types import FunctionType, ModuleType

from . import identity, module_names, rebuilding
from .c_pickle import Unpickler
from .main_guard import GuardedModule
from .rebuilding import Rebuilding, count, is_definition, of_definitions, of_nothing

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Bytes = bytes | bytearray | memoryview
    Names = tuple[str, ...]
    Needs = tuple[tuple[str, str, str], ...]

wanted: list[tuple[Home, str]] = []
"""What is wanted and not rebuilt yet."""
several = False
"""Whether two homes have the same name: then each call puts its own into `sys.modules`."""
issued: dict[str, Callable[[], dict[str, Any] | None]] = {}
"""By token, how this process finds the globals of a module of its own; filled by the sender's side."""
ask_sender: Callable[[str, str], object] | None = None
"""In a worker: has the sender's global of a name brought here, if there is one. The other argument is the token of its
home, or the name of a module of which nothing has arrived. Set once, in `main`."""

ALL = "*"
"""In place of a name: all classes and functions of a module."""

_for_now: list[tuple[Home, str]] = []
_homes: dict[str, Home] = {}
_by_globals: dict[int, Home] = {}
_NEEDS = "needs"
_replaced: list[Any] = []  # modules whose functions may still run


class Home:
    """One module.

    Attributes:
        token: its name on both sides.
        module: the module object.
        names: the module's globals.
        versions: of each name that has arrived, the number of its value.
        pending: what has arrived and was not wanted so far: its pickle, what that wants, the names that share the
            pickle, and its number.
        wanted: names that functions here will look up; what comes later under one of them is rebuilt at once.
        missing: why a name is undefined.
    """

    __slots__ = ("missing", "module", "names", "pending", "token", "versions", "wanted")

    def __init__(self, token: str, name: str) -> None:
        self.token = token
        is_imported = name in module_names.MAINS and module_names.main_is_imported
        self.module = sys.modules[name] if is_imported else HomeModule(name)
        self.names = self.module.__dict__
        self.names.setdefault("__builtins__", builtins)
        self.versions: dict[str, int] = {}
        self.pending: dict[str, tuple[bytes, Needs, Names, int]] = {}
        self.wanted: set[str] = set()
        self.missing: dict[str, str] = {}

    def learn(self, name: str, version: int, data: bytes | None, needs: Needs, why: str, group: Names) -> None:
        """Note a value. The newest wins; what was set here before the first one arrived stays."""
        known = self.versions.get(name, 0)
        if known >= version:
            if known > version:
                rebuilding.note_older(self.token, name, version, data, needs)
            return
        self.versions[name] = version
        if not known and name in self.names:
            return
        if data is None:
            self.names.pop(name, None)
            self.pending.pop(name, None)
            if why:
                self.missing[name] = why
            return
        self.missing.pop(name, None)
        self.pending[name] = (data, needs, group, version)
        if name in self.names or name in self.wanted:
            wanted.append((self, name))

    def want(self, name: str) -> None:
        """Have `settle` rebuild the name, now or as soon as it arrives."""
        self.wanted.add(name)
        if name in self.pending:
            wanted.append((self, name))

    def look_up(self, name: str) -> bool:
        """Have the name here if it has arrived or the sender has it; ``False`` if it is undefined."""
        known = name in self.names or name in self.pending or name in self.missing or self.token in issued
        if ask_sender is not None and not known:
            ask_sender(self.token, name)
        if name in self.pending:
            self.wanted.add(name)
            self.load(name)
        return name in self.names

    def load(self, name: str) -> None:
        """Rebuild what is pending under `name`. If that fails, the name is undefined; if it is interrupted, pending."""
        if (waiting := self.pending.get(name)) is None:
            return
        data, needs, group, version = waiting
        definition, inside = is_definition(data), count(self, name)
        # A class is made inside of its own rebuilding if a base has a registry of subclasses: by then, the base exists.
        if inside and (inside > 1 or name in self.names or not definition):
            return
        if not definition:
            self._prepare(name, needs)
            if self.pending.get(name) is not waiting:
                return
        try:
            with Rebuilding(self, name, definition=definition):
                value = rebuild(data, place=None if group else (self.names, name))
        except Exception as error:
            if self.pending.get(name) is not waiting:
                return  # another thread has rebuilt it, or a newer value has come
            self.names.pop(name, None)
            why = f"rebuilding it raised {type(error).__name__}: {error}"
            self.missing[name] = f"{why}; {module_names.WAYS_OUT}" if definition else why
        else:
            if name in self.names and name not in self.pending:
                return  # another thread was faster: all keep the first value
            for other in group:
                if other != name and other in self.pending and self.pending[other][3] == version:
                    self.names[other] = value[other]
                    del self.pending[other]
            self.names[name] = value[name] if group else value
        if self.pending.get(name) is waiting:
            self.pending.pop(name, None)
        for token, module_name, needed in needs:
            home_for(token, module_name).want(needed)

    def _prepare(self, name: str, needs: Needs) -> None:
        """Rebuild the classes of a value, which may be what they hold, and what its ``__setstate__`` may use."""
        above = len(wanted)
        for token, module_name, needed in needs:
            other = home_for(token, module_name)
            if needed in other.pending and is_definition(other.pending[needed][0]):
                other.load(needed)
        if not of_definitions():
            with Rebuilding(self, name, _NEEDS):
                settle(above)


class _Loader(Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return find(*pid)


def rebuild(data: Bytes, buffers: Iterable[memoryview] = (), place: tuple[dict[str, Any], str] | None = None) -> Any:
    """Unpickle the value of a global, which may refer to other globals by their names.

    A definition is put in its `place` before it gets what the program evaluates lazily, which may lead back to it.
    """
    file = BytesIO(data)
    loader = _Loader(file, buffers=buffers)
    value = loader.load()
    while file.tell() < len(data):
        if place is not None and hasattr(value, "__type_params__"):
            place[0][place[1]] = value
        loader.load()
    return value


class HomeModule(GuardedModule):
    """A module that rebuilds what it is asked for."""

    def __getattr__(self, name: str) -> Any:
        why = ""
        home = _by_globals.get(id(self.__dict__))
        if name[:2] != "__":
            if home is None and ask_sender is not None:  # the worker's own module, before anything has arrived
                ask_sender(self.__name__, name)
                home = _by_globals.get(id(sys.modules[self.__name__].__dict__))
            if home is not None:
                found = home.look_up(name)
                hook = "__getattr__" in home.pending and home.look_up("__getattr__")  # it comes in the name's place
                settle()
                if found:
                    return home.names[name]
                if hook:
                    return home.names["__getattr__"](name)
                why = f" here: {home.missing[name]}" if name in home.missing else ""
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}{why}")


def home_for(token: str, name: str) -> Home:
    """Return the home of this token; it is made at the first arrival, and becomes the module of its name."""
    global several
    home = _homes.get(token)
    if home is None:
        home = _homes[token] = Home(token, name)
        _by_globals[id(home.names)] = home
        if token not in issued:  # a module of this process that is gone comes back under nobody's name
            old = sys.modules.get(name)
            if old is not None and id(vars(old)) not in _by_globals:
                _replaced.append(old)
            sys.modules[name] = home.module
        several = several or sum(other.module.__name__ == name for other in _homes.values()) > 1
        if name not in module_names.MAINS:
            module_names.by_value.add(name)
    return home


def home_of(globals_: Any) -> Home | None:
    return _by_globals.get(id(globals_))


def receive(parts: Any, for_now: bool = False) -> None:
    """Learn what came with a task or with the initializer; `for_now`, what is not wanted until `forget_unused`."""
    for token, name, facts, entries in parts:
        if token in issued and issued[token]() is not None:
            continue
        home = home_for(token, name)
        for key, value in facts.items():
            if home.names.get(key) is None:  # a new module has some of them, as None
                home.names[key] = value
        for entry in entries:
            if for_now and entry[0] not in home.versions:
                _for_now.append((home, entry[0]))
            home.learn(*entry)


def forget_unused() -> None:
    """Forget what was received for a while and was not wanted: when it is, the sender may have a newer value."""
    while _for_now:
        home, name = _for_now.pop()
        if home.pending.pop(name, None) is not None:
            del home.versions[name]


def tokens() -> list[str]:
    """Return the tokens of the modules that came by value."""
    return list(_homes)


def drop(token: str) -> None:
    """Forget a module that the program no longer has; its functions that still run keep their globals."""
    if (home := _homes.pop(token, None)) is not None:
        _by_globals.pop(id(home.names), None)
        rebuilding.older.pop(token, None)


def settle(above: int = 0) -> None:
    """Rebuild all that is wanted, from this index on, and what that wants in its turn; the latest first."""
    while item := next((each for each in reversed(wanted[above:]) if not (count(*each) or count(*each, _NEEDS))), None):
        item[0].load(item[1])  # if this is interrupted, it stays wanted
        try:
            wanted.remove(item)
        except ValueError:  # another thread, or what was rebuilt, has settled it
            pass


# -- what pickles call


def _globals(token: str, name: str) -> dict[str, Any]:
    found = own() if (own := issued.get(token)) is not None else None
    return found if found is not None else home_for(token, name).names


def look_up(token: str, name: str) -> dict[str, Any] | None:
    """Return the globals of a module of this process, with `name` in them if it is defined; see `ask_sender`."""
    if (own := issued.get(token)) is not None and (found := own()) is not None:
        return found
    home = _homes.get(token)
    module = sys.modules.get(token) if home is None else home.module
    if isinstance(module, HomeModule) and name != ALL:
        getattr(module, name, None)  # it may be this process's own sender that has it
        module = sys.modules.get(token, module)
    return vars(module) if module is not None else None


def module(token: str, name: str) -> ModuleType:
    found = _globals(token, name)
    there = sys.modules.get(name)
    return there if there is not None and vars(there) is found else home_for(token, name).module


def find(token: str, name: str, path: str, known: str | None = None) -> Any:
    """Return the stand-in of the identity `known` if there is one, else what stands under `path` in a home."""
    if wanted and of_nothing():
        settle()
    if known is not None and (obj := identity.living(known)) is not None:
        return obj
    names = _globals(token, name)
    root, _, rest = path.partition(".")
    if (home := _homes.get(token)) is not None:
        if known is not None and token in rebuilding.older:
            obj, needs = rebuilding.older_one(home, root, known, rebuild)
            for other, module_name, needed in needs:
                home_for(other, module_name).want(needed)
            if obj is not None:
                if wanted and of_nothing():
                    settle()
                return obj
        home.look_up(root)
    if root not in names:
        why = home.missing.get(root) if home is not None else None
        raise AttributeError(f"{name}.{root} is not defined here" + (f": {why}" if why else ""))
    obj = names[root]
    for part in filter(None, rest.split(".")):
        obj = getattr(obj, part)
    if wanted and of_nothing():
        settle()  # before the pickle is read on: it may call what uses that
    return obj


def place(token: str, name: str, path: str, known: str, make: Any, args: Any) -> Any:
    """Make a class or function, or find the one that is here, and put it in its place before it gets its state.

    What it refers to may refer to it.
    """
    obj = identity.adopt(known, False, make, args, in_place=True)
    if (home := _homes.get(token)) is not None and "." not in path and not rebuilding.is_older(home, path):
        home.names[path] = obj
    return obj


def make_function(code: Any, token: str, home_name: str, name: str, closure: Any, names: Names) -> Any:
    """Make a function whose globals are those of its home, where it will look up `names`."""
    globals_ = _globals(token, home_name)
    if (home := _homes.get(token)) is not None:
        for needed in names:
            home.want(needed)
    return FunctionType(code, globals_, name, None, closure)
