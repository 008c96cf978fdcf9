"""Classes and functions that need a hand of their own to travel by value."""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import sys
import threading
import types
import typing
from collections.abc import Callable
from typing import Any

from . import c_types, lazy_annotations
from .module_names import WAYS_OUT, goes_by_value
from .sent_home import SentHome, importable, place_of

_Reduced = tuple[Any, ...]
CachedFunction = type(functools.lru_cache(maxsize=1)(len))
DEFINITIONS = (type, types.FunctionType, CachedFunction)
"""The types of what a module defines."""
SET_BY_LRU_CACHE = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__annotations__", "__wrapped__", "cache_parameters"})
_quiet = threading.RLock()


def place_in_module(obj: object) -> tuple[SentHome, str] | None:
    """Return where this stands in its module, if it goes by value under a name of that."""
    return place_of(obj) if isinstance(obj, DEFINITIONS) else None


# -- functools

SINGLE_DISPATCH = functools.singledispatch(lambda value: None).__code__  # type: ignore[attr-defined]
_bound: Any = functools.singledispatchmethod(lambda value: None).__get__(None, object)
SINGLE_DISPATCH_METHOD = getattr(_bound, "__code__", None)
"""The code of what `singledispatchmethod` returns; ``None`` where that is no function (CPython 3.14 on)."""
OF_BOUND_DISPATCH = () if SINGLE_DISPATCH_METHOD is not None else (type(_bound),)
"""The class of it, where it has one."""
_SET_BY_SINGLE_DISPATCH = frozenset(
    {*functools.WRAPPER_ASSIGNMENTS, "__wrapped__", "register", "dispatch", "registry", "_clear_cache"}
)


def reduce_single_dispatch(function: Any) -> tuple[Any, _Reduced, Any, Any]:
    """Reduce a generic function, whose closure holds a weak dictionary: how to make it, its state and the setter."""
    registry = dict(function.registry)
    extra = {name: value for name, value in vars(function).items() if name not in _SET_BY_SINGLE_DISPATCH}
    return functools.singledispatch, (registry.pop(object),), (registry, extra), _register_all


def _register_all(function: typing.Any, state: typing.Any) -> None:
    registry, extra = state
    for cls, implementation in registry.items():
        if function.registry.get(cls) is not implementation:
            function.register(cls, implementation)
    function.__dict__.update(extra)


def reduce_bound_dispatch(method: Any) -> _Reduced:
    """Reduce what `singledispatchmethod` returns, which holds the weak dictionary too: fetched again from its class."""
    if isinstance(method, types.FunctionType):
        held = dict(zip(method.__code__.co_freevars, method.__closure__ or (), strict=True))
        obj, cls = held["obj"].cell_contents, held["cls"].cell_contents
    else:
        obj, cls = vars(method)["_obj"], vars(method)["_cls"]
    return _bound_dispatch, (method.register.__self__, obj, cls)


def _bound_dispatch(descriptor: Any, obj: object, cls: type) -> Any:
    for base in cls.__mro__:
        for found in vars(base).values():
            if isinstance(found, functools.singledispatchmethod) and found.func is descriptor.func:
                return found.__get__(obj, cls)
    return descriptor.__get__(obj, cls)


def cached(function: Callable[..., object], parameters: dict[str, Any]) -> object:
    return functools.lru_cache(**parameters)(function)


def reduce_partial_method(method: Any) -> _Reduced:
    """Reduce a method with some of its arguments, of which CPython 3.14 makes no copy."""
    return _partial_method, (method.func, method.args, method.keywords)


def _partial_method(function: Any, args: _Reduced, keywords: dict[str, Any]) -> object:
    return functools.partialmethod(function, *args, **keywords)


def reduce_cached_property(lazy: Any) -> _Reduced:
    return _cached_property, (lazy.func, lazy.attrname)


def _cached_property(function: Callable[[Any], object], name: str | None) -> object:
    lazy = functools.cached_property(function)
    if name is not None:
        lazy.__set_name__(object, name)
    return lazy


# -- classes


def with_real_bases(cls: type, args: _Reduced) -> _Reduced:
    """`typing.NamedTuple` is a function among the bases, and would build another class in place of this one.

    The base of a `TypedDict` is `dict`, and it must be made of `TypedDict`.
    """
    if typing.is_typeddict(cls) and dict in args[2]:
        return (*args[:2], (typing.TypedDict,), *args[3:])
    if typing.NamedTuple not in args[2]:
        return args
    creation = {**args[3], "__orig_bases__": args[2]}
    return (*args[:2], cls.__bases__, creation, *args[4:])


def keep_slots(cls: type, creation: dict[str, object], state: dict[str, object]) -> None:
    """Slots exist only if the class is created with them; setting the attribute later makes none."""
    for name, value in list(state.items()):
        if isinstance(value, types.MemberDescriptorType) and value.__objclass__ is cls:
            del state[name]
    if "__slots__" in vars(cls):  # in the state it is missing if a base has the same empty tuple
        creation["__slots__"] = vars(cls)["__slots__"]
        state.pop("__slots__", None)


def init_subclass_by_value(cls: type) -> type | None:
    """The base whose ``__init_subclass__`` ran when the original was made, if that base itself goes by value."""
    owner = next(base for base in cls.__mro__[1:] if "__init_subclass__" in vars(base))
    return None if importable(owner) else owner


def made_quietly(owner: Any, make: Callable[..., object], args: _Reduced) -> object:
    """Make a class that has no attributes yet; the ``__init_subclass__`` of `owner` must not see it so.

    `owner` itself may have none yet: a registry among its attributes holds its subclasses.
    """
    with _quiet:
        hook = vars(owner).get("__init_subclass__")
        owner.__init_subclass__ = classmethod(lambda cls, **_: None)
        try:
            return make(*args)
        finally:
            if hook is None:
                del owner.__init_subclass__
            else:
                owner.__init_subclass__ = hook


def reduce_parametrized(obj: Any) -> _Reduced | None:
    """``Page[Item]`` of pydantic is made by subscripting and cached there: the same class on both sides. So are arrays
    and pointers of ctypes."""
    if not isinstance(obj, type):
        return None
    made = vars(obj).get("__pydantic_generic_metadata__")
    if type(made) is not dict or made.get("origin") is None or not made.get("args"):
        return c_types.reduce_made(obj)
    args = made["args"]
    return operator.getitem, (made["origin"], args if len(args) > 1 else args[0])


def complete_model(obj: Any) -> None:
    """Have pydantic finish a class whose annotations name later ones, as its first use would."""
    if isinstance(obj, type) and vars(obj).get("__pydantic_complete__") is False:
        rebuild = getattr(obj, "model_rebuild", None)
        if rebuild is None:
            rebuild = functools.partial(sys.modules["pydantic.dataclasses"].rebuild_dataclass, obj)
        with contextlib.suppress(Exception):
            rebuild(raise_errors=False, _parent_namespace_depth=0)


def keep_incomplete(cls: type, state: dict[str, Any]) -> None:
    """Keep the mark of a class that pydantic could not finish. cloudpickle leaves it out, as its base has the same, and
    the empty class that is made in its place is a finished one."""
    if vars(cls).get("__pydantic_complete__") is False:
        state["__pydantic_complete__"] = False


def is_struct(cls: type) -> bool:
    """Tell whether this is a class of `msgspec`, whose metaclass wants the fields at the creation."""
    msgspec = sys.modules.get("msgspec")
    struct = getattr(msgspec, "Struct", None)
    return struct is not None and isinstance(cls, type(struct)) and cls is not struct


_STRUCT_OPTIONS = (
    "tag_field", "tag", "omit_defaults", "forbid_unknown_fields", "frozen", "eq", "order", "repr_omit_defaults",
    "array_like", "gc", "weakref", "dict", "cache_hash",
)  # fmt: skip
_SET_BY_STRUCT = (
    "__annotations__", lazy_annotations.CACHE, "__annotate_func__", "__dict__", "__weakref__", "__slots__",
    "__module__", "__qualname__", "__match_args__",
)  # fmt: skip


def reduce_struct(cls: Any) -> tuple[_Reduced, dict[str, Any]]:
    """Return the arguments for `make_struct`, and the attributes to be set afterwards."""
    import inspect

    own = lazy_annotations.in_words(cls)
    defaults = (None,) * (len(cls.__struct_fields__) - len(cls.__struct_defaults__)) + cls.__struct_defaults__
    no_default: Any = sys.modules["msgspec"].NODEFAULT
    fields = []
    for index, (field, encoded, default) in enumerate(
        zip(cls.__struct_fields__, cls.__struct_encode_fields__, defaults, strict=True)
    ):
        if field in own:
            has_default = index >= len(defaults) - len(cls.__struct_defaults__) and default is not no_default
            factory = getattr(default, "factory", None) if type(default).__name__ == "Factory" else None
            given = {} if not has_default else {"default": default} if factory is None else {"default_factory": factory}
            fields.append((field, encoded, own[field], given))
    fields.sort(key=lambda field: list(own).index(field[0]))
    config = cls.__struct_config__
    options = {name: getattr(config, name) for name in _STRUCT_OPTIONS if hasattr(config, name)}
    parameters = inspect.signature(cls).parameters
    options["kw_only"] = any(parameters[field].kind is inspect.Parameter.KEYWORD_ONLY for field, *_ in fields)
    state = {
        name: value
        for name, value in vars(cls).items()
        if name not in _SET_BY_STRUCT
        and not name.startswith("__struct_")
        and not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))
    }
    return (cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__, fields, options), state


def make_struct(name: str, qualname: str, module: str, bases: Any, fields: Any, options: dict[str, Any]) -> Any:
    """Make the class from what `reduce_struct` returned."""
    import msgspec  # type: ignore[import-not-found, unused-ignore]

    annotated: dict[str, Any] = {}
    namespace: dict[str, Any] = {"__module__": module, "__qualname__": qualname}
    for field, encoded, annotation, given in fields:
        annotated[field] = annotation
        renamed = {} if encoded == field else {"name": encoded}
        if given or renamed:
            namespace[field] = msgspec.field(**given, **renamed)
    namespace["__annotations__"] = annotated
    return type(bases[0])(name, bases, namespace, **options)


def set_attributes(cls: Any, state: tuple[dict[str, Any], Any]) -> None:
    """Set what a class has besides what made it."""
    for name, value in state[0].items():
        type.__setattr__(cls, name, value)


# -- other values


def check_registered(obj: object) -> None:
    """Refuse an instance of a Django model that goes by value: Django would look the model up in its registry.

    Raises:
        TypeError: it is such an instance, and the receiver has no such model.
    """
    base = sys.modules.get("django.db.models.base")
    if base is not None and isinstance(obj, base.Model) and goes_by_value(type(obj).__module__):
        raise TypeError(f"Django looks up its model in a registry that has none of {type(obj).__module__}; {WAYS_OUT}")


def reduce_standard_stream(file: io.TextIOWrapper) -> _Reduced:
    """Reduce a standard stream; each process has its own.

    Raises:
        TypeError: it is another file.
    """
    for name in ("stdin", "stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError(f"cannot pickle an open file ({getattr(file, 'name', '?')!r})")
