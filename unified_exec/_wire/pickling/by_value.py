"""Pickling by value. Imported only when something cannot be looked up by name on the other side."""

from __future__ import annotations

import functools
import io
import sys
import threading
import types
import typing
from collections import ChainMap
from collections.abc import Callable
from enum import Enum

import cloudpickle

from . import identity
from .c_pickle import reduce_view
from .code_facts import facts_of
from .writable import is_read_only_array, reduce_writable

__all__ = ["SET_BY_LRU_CACHE", "ByValuePickler", "CachedFunction", "dumps", "dumps_node", "importable"]

_Reduced = tuple[typing.Any, ...]
CachedFunction = type(functools.lru_cache(maxsize=1)(len))
SET_BY_LRU_CACHE = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__annotations__", "__wrapped__", "cache_parameters"})
_quiet = threading.RLock()
_MAINS = ("__main__", "__mp_main__")

if "__mp_main__" in sys.modules:  # the same module as __main__ in a child of multiprocessing, and in no worker
    cloudpickle.register_pickle_by_value(sys.modules["__mp_main__"])


def dumps(
    value: object, *, upward: bool, buffer_callback: Callable[[typing.Any], typing.Any] | None = None
) -> tuple[bytes, tuple[object, ...]]:
    """Pickle `value`, with all classes and functions that have no importable name by value.

    Returns the pickle and the objects that went by value: while one of them may still come back as a token,
    the sender has to keep it alive.
    """
    with io.BytesIO() as file:
        pickler = ByValuePickler(file, upward=upward, buffer_callback=buffer_callback)
        pickler.dump(value)
        return file.getvalue(), tuple(pickler.sent)


def dumps_node(value: object, number: Callable[[BaseException], int | None]) -> bytes:
    """Pickle `value`, on its way up, with a persistent id for each exception that `number` knows."""
    with io.BytesIO() as file:
        _NodePickler(file, number).dump(value)
        return file.getvalue()


def importable(obj: typing.Any) -> bool:
    """Tell whether another process finds this very object under its module and qualified name."""
    module_name = getattr(obj, "__module__", None)
    qualname = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if not isinstance(module_name, str) or not isinstance(qualname, str) or module_name in _MAINS:
        return False
    registered = cloudpickle.list_registry_pickle_by_value()
    if any(module_name == name or module_name.startswith(name + ".") for name in registered):
        return False
    found: typing.Any = sys.modules.get(module_name)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found is obj


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, with a token on all that goes by value (see `identity`)."""

    def __init__(
        self,
        file: io.BytesIO,
        *,
        upward: bool,
        buffer_callback: Callable[[typing.Any], typing.Any] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self.upward = upward
        self.sent: list[object] = []

    def reducer_override(self, obj: typing.Any) -> typing.Any:
        if not isinstance(obj, (type, types.FunctionType, CachedFunction)):
            return reduce_writable(obj) if is_read_only_array(obj) else NotImplemented
        if self.upward:
            token = identity.token_known_above(obj)
            if token is not None:
                return identity.parents_own, (token,)
        if isinstance(obj, CachedFunction):
            return NotImplemented if importable(obj) else self._cached_function(obj)
        reduced = super().reducer_override(obj)
        if type(reduced) is not tuple or len(reduced) != 6:
            return reduced
        return self._with_token(obj, reduced)

    def _with_token(self, obj: typing.Any, reduced: _Reduced) -> _Reduced:
        make, args, state, _, _, setter = reduced
        members: dict[str, dict[str, object]] | None = None
        if isinstance(obj, types.FunctionType):
            _complete_globals(obj, state[1]["__globals__"])
        elif issubclass(obj, Enum):
            args, members = _complete_enum(obj, args, state[0])
        else:
            args = _with_real_bases(obj, args)
            _keep_slots(obj, args[3], state[0])
            owner = _init_subclass_by_value(obj)
            if owner is not None:
                make, args = _made_quietly, (owner, make, args)
        self.sent.append(obj)
        token = identity.issue(obj)
        return identity.adopt, (token, self.upward, make, args), (setter, state, members), None, None, identity.refresh

    def _cached_function(self, obj: typing.Any) -> _Reduced:
        self.sent.append(obj)
        args = (obj.__wrapped__, obj.cache_parameters())
        extra = {name: value for name, value in vars(obj).items() if name not in SET_BY_LRU_CACHE}
        return identity.adopt, (identity.issue(obj), self.upward, _cached, args), extra or None

    dispatch_table: typing.ClassVar = ChainMap(
        {
            memoryview: reduce_view,
            io.TextIOWrapper: lambda file: _standard_stream(file),
            types.ModuleType: lambda module: _module(module),
            types.CodeType: lambda code: _code(code),
            functools.cached_property: lambda lazy: (_cached_property, (lazy.func, lazy.attrname)),
            typing.NewType: lambda new: _by_name(new) or (_new_type, (new.__name__, new.__supertype__, new.__module__)),
            typing.ParamSpec: lambda spec: _by_name(spec) or (typing.ParamSpec, (spec.__name__,)),
            typing.TypeVarTuple: lambda many: _by_name(many) or (typing.TypeVarTuple, (many.__name__,)),
        },
        *cloudpickle.Pickler.dispatch_table.maps,
    )


class _NodePickler(ByValuePickler):
    def __init__(self, file: io.BytesIO, number: Callable[[BaseException], int | None]) -> None:
        super().__init__(file, upward=True)
        self._number = number

    def persistent_id(self, obj: typing.Any) -> int | None:
        return self._number(obj) if issubclass(type(obj), BaseException) else None


def _complete_globals(function: types.FunctionType, sent: dict[str, object]) -> None:
    """Add the globals that only a class body inside the function reads, which cloudpickle does not see."""
    known = function.__globals__
    for name in facts_of(function.__code__).names:
        if name not in sent and name in known:
            sent[name] = known[name]


def _complete_enum(
    enum: type[Enum], args: _Reduced, state: dict[str, object]
) -> tuple[_Reduced, dict[str, dict[str, object]]]:
    """Add the aliases, and what the members' own ``__init__`` left on them."""
    values = {name: member.value for name, member in enum.__members__.items()}
    for name in values:
        state.pop(name, None)
    extra = {member.name: {key: value for key, value in vars(member).items() if key[:1] != "_"} for member in enum}
    return (*args[:3], values, *args[4:]), {name: found for name, found in extra.items() if found}


def _with_real_bases(cls: type, args: _Reduced) -> _Reduced:
    """`typing.NamedTuple` is a function among the bases, and would build another class in place of this one."""
    if typing.NamedTuple not in args[2]:
        return args
    creation = {**args[3], "__orig_bases__": args[2]}
    return (*args[:2], cls.__bases__, creation, *args[4:])


def _keep_slots(cls: type, creation: dict[str, object], state: dict[str, object]) -> None:
    """Slots exist only if the class is created with them; setting the attribute later makes none."""
    for name, value in list(state.items()):
        if isinstance(value, types.MemberDescriptorType) and value.__objclass__ is cls:
            del state[name]
    if "__slots__" in state:
        creation["__slots__"] = state.pop("__slots__")


def _init_subclass_by_value(cls: type) -> type | None:
    """The base whose ``__init_subclass__`` ran when the original was made, if that base itself goes by value."""
    owner = next(base for base in cls.__mro__[1:] if "__init_subclass__" in vars(base))
    return None if importable(owner) else owner


def _made_quietly(owner: typing.Any, make: Callable[..., object], args: _Reduced) -> object:
    """Make a class that has no attributes yet; the ``__init_subclass__`` of `owner` must not see it so."""
    with _quiet:
        hook = vars(owner)["__init_subclass__"]
        owner.__init_subclass__ = classmethod(lambda cls, **_: None)
        try:
            return make(*args)
        finally:
            owner.__init_subclass__ = hook


def _by_name(obj: typing.Any) -> str | None:
    return obj.__name__ if importable(obj) else None


def _standard_stream(file: io.TextIOWrapper) -> _Reduced:
    for name in ("stdin", "stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError(f"cannot pickle an open file ({getattr(file, 'name', '?')!r})")


def _module(module: types.ModuleType) -> typing.Any:
    if module.__name__ in _MAINS:
        raise TypeError("cannot pickle the module __main__ itself, only what is in it")
    return cloudpickle.Pickler.dispatch_table[types.ModuleType](module)


def _code(code: types.CodeType) -> _Reduced:
    """With the name of its file, which cloudpickle leaves out from 3.1.3 on: tracebacks show the line in it."""
    make, args = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return _code_of_file, (code.co_filename, make, args)


def _code_of_file(name: str, make: Callable[..., types.CodeType], args: _Reduced) -> types.CodeType:
    return make(*args).replace(co_filename=name)


def _cached(function: Callable[..., object], parameters: dict[str, typing.Any]) -> object:
    return functools.lru_cache(**parameters)(function)


def _cached_property(function: Callable[[typing.Any], object], name: str | None) -> object:
    lazy = functools.cached_property(function)
    if name is not None:
        lazy.__set_name__(object, name)
    return lazy


def _new_type(name: str, supertype: typing.Any, module: str) -> object:
    new = typing.NewType(name, supertype)  # type: ignore[misc]
    new.__module__ = module
    return new
