"""Pickling by value. Imported only when something cannot be looked up by name on the other side."""

from __future__ import annotations

import functools
import io
import sys
import types
import typing
from collections import ChainMap
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum

import cloudpickle

from . import (
    c_types,
    class_parts,
    context_vars,
    descriptors,
    enums,
    function_parts,
    homes,
    identity,
    kinds,
    lazy_annotations,
    module_names,
    type_aliases,
    type_parameters,
)
from .c_pickle import reduce_view
from .closure_state import contents_of
from .code_facts import facts_of
from .kinds import DEFINITIONS, CachedFunction
from .sent_home import (
    SentHome,
    home_of,
    home_of_function,
    importable,
    names_wanted,
    path_in,
    place_of,
    reduce_by_name,
)
from .writable import is_read_only_array, reduce_writable

_Reduced = tuple[typing.Any, ...]
# A module in a child of multiprocessing, the same as __main__; in no worker, and elsewhere another name of __main__.
if getattr(sys.modules.get("__mp_main__"), "__name__", "") == "__mp_main__" and not module_names.main_is_imported:
    cloudpickle.register_pickle_by_value(sys.modules["__mp_main__"])


def dumps_node(value: object, number: Callable[[BaseException], int | None]) -> bytes:
    """Pickle `value`, on its way up, with a persistent id for each exception that `number` knows."""
    with io.BytesIO() as file:
        _NodePickler(file, number).dump(value)
        return file.getvalue()


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's pickler, with a token on all that goes by value (see `identity`).

    Attributes:
        upward: towards the parent.
        sent: the objects that went by value: while one of them may still come back as a token, keep it alive.
        needs: the globals that what was pickled refers to; the receiver must have them first.
        looked_up: those of them that are looked up while the pickle is read.
        homes: the homes of the functions in it.
    """

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
        self.needs: dict[tuple[SentHome, str], None] = {}
        self.looked_up: set[tuple[SentHome, str]] = set()
        self.homes: dict[SentHome, None] = {}
        self._namespaces: list[SentHome] = []  # those met that are no modules: a class does not say that it is of one

    def dump(self, obj: object) -> None:
        try:
            super().dump(obj)
        except BaseException:
            self.clear_memo()  # an error's frames keep the pickler, and so views with exports: see `without_export`
            raise

    def is_inside(self, obj: object, home: SentHome, root: str) -> bool:
        """Tell whether `obj` is part of the definition `root` that is being pickled as an entry of `home`."""
        return False

    def is_root(self, obj: object) -> bool:
        """Tell whether `obj` is the value that is being pickled as an entry."""
        return False

    def check_descriptor(self, obj: object) -> None:
        """Check that the descriptor of this socket or connection can go along.

        Raises:
            TypeError: the value is on its way up, or a global's, and no descriptor goes along with that.
        """
        if self.upward:
            raise descriptors.cannot_pickle(obj)

    def in_two_steps(self, obj: object, reduced: _Reduced) -> _Reduced:
        """Return how an object is reduced whose state is evaluated lazily in the program."""
        return reduced

    def reducer_override(self, obj: typing.Any) -> typing.Any:
        if not isinstance(obj, DEFINITIONS):
            if isinstance(obj, Enum) and not importable(type(obj)) and type(obj)._member_map_.get(obj._name_) is obj:
                return enums.member, (type(obj), obj._name_)
            if type(obj) is type_aliases.KIND:
                return self._alias(obj)
            if isinstance(obj, type_parameters.KINDS):
                self.sent.append(obj)
                if importable(obj):
                    return obj.__name__
                return self.in_two_steps(obj, type_parameters.reduce(obj, self.upward))
            if descriptors.has_descriptor(obj):
                self.check_descriptor(obj)
                return descriptors.reduce(obj)
            kinds.check_registered(obj)
            return reduce_writable(obj) if is_read_only_array(obj) else NotImplemented
        if self.upward:
            token = identity.token_known_above(obj)
            if token is not None:
                return identity.parents_own, (token,)
        reduced: typing.Any = None
        place = None if self.upward else self._place_of(obj)
        if place is not None:
            root = place[1].partition(".")[0]
            if not self.is_inside(obj, place[0], root):
                return kinds.reduce_parametrized(obj) or self._by_name(obj, *place, root)
            if not self.is_root(obj):
                place = None
        if isinstance(obj, CachedFunction):
            if importable(obj):
                return NotImplemented
        else:
            reduced = self._reduced(obj)
            if type(reduced) is not tuple or len(reduced) != 6:
                return reduced
        generic = kinds.reduce_parametrized(obj)
        if generic is not None:
            return generic
        if reduced is None:
            return self._cached_function(obj, place)
        return self._with_token(obj, reduced, place)

    def _reduced(self, obj: typing.Any) -> typing.Any:
        if isinstance(obj, types.FunctionType) and not importable(obj):
            obj = lazy_annotations.with_annotations(obj)
            if home_of_function(obj) is not None:
                return _reduce_function_of_home(obj)
        kinds.complete_model(obj)
        reduced = super().reducer_override(obj)
        if type(reduced) is tuple and reduced[0] is cloudpickle.cloudpickle._builtin_type:
            return getattr, (types, *reduced[1])
        if reduced is NotImplemented and obj.__module__ != "builtins" and not importable(obj):
            if isinstance(obj, types.FunctionType):
                return self._dynamic_function_reduce(obj)
            return cloudpickle.cloudpickle._dynamic_class_reduce(obj)
        return reduced

    def _place_of(self, obj: typing.Any) -> tuple[SentHome, str] | None:
        place = place_of(obj)
        if place is None and self._namespaces and isinstance(obj, type):
            for home in self._namespaces:
                path = path_in(home.globals() or {}, obj) if obj.__module__ == home.facts.name else None
                if path is not None:
                    return home, path
        return place

    def _by_name(self, obj: object, home: SentHome, path: str, root: str) -> _Reduced:
        self.needs[home, root] = None
        if isinstance(obj, types.FunctionType):
            self.homes[home] = None
        self.looked_up.add((home, root))
        self.sent.append(obj)
        return reduce_by_name(obj, home, path)

    def _alias(self, alias: typing.Any) -> _Reduced | str:
        if importable(alias):
            return str(alias.__name__)
        home = None if self.is_root(alias) else type_aliases.home_of(alias, self.upward)
        if home is None:
            return self.in_two_steps(alias, type_aliases.reduce(alias, self.upward))
        name = alias.__name__
        if isinstance(home, SentHome):
            self.needs[home, name] = None
            self.looked_up.add((home, name))
            token = home.facts.token
        else:
            token = home.token
        return homes.find, (token, alias.__module__, name, None)

    def _adopted(
        self, obj: object, make: typing.Any, args: typing.Any, place: tuple[SentHome, str] | None
    ) -> tuple[typing.Any, typing.Any]:
        self.sent.append(obj)
        token = identity.issue(obj)
        if place is not None:
            return homes.place, (place[0].facts.token, place[0].facts.name, place[1], token, make, args)
        return identity.adopt, (token, self.upward, make, args)

    def _with_token(self, obj: typing.Any, reduced: _Reduced, place: tuple[SentHome, str] | None) -> _Reduced:
        make, args, state, _, _, setter = reduced
        members: dict[str, dict[str, object]] | None = None
        if isinstance(obj, types.FunctionType):
            if obj.__code__ is kinds.SINGLE_DISPATCH:
                make, args, state, setter = kinds.reduce_single_dispatch(obj)
                return *self._adopted(obj, make, args, place), state, None, None, setter
            if obj.__code__ is kinds.SINGLE_DISPATCH_METHOD:
                return kinds.reduce_bound_dispatch(obj)
            make, args = self._function(obj, args, state[1], place)
            setter = function_parts.set_state
        elif issubclass(obj, Enum):
            members = {m.name: {k: v for k, v in vars(m).items() if k[:1] != "_"} for m in obj}
            members = {name: found for name, found in members.items() if found}
            make, setter = enums.make, class_parts.set_state
            args, later = enums.reduce(obj, state[0])
            state = (later, state[1])
        elif kinds.is_struct(obj):
            make, setter = kinds.make_struct, kinds.set_attributes
            args, later = kinds.reduce_struct(obj)
            state = (later, None)
        else:
            args = kinds.with_real_bases(obj, args)
            make, setter = class_parts.make_class, class_parts.set_state
            args = args[:5]
            args[3]["__qualname__"] = obj.__qualname__
            lazy_annotations.keep(obj, state[0])
            kinds.keep_slots(obj, args[3], state[0])
            kinds.keep_incomplete(obj, state[0])
            if c_types.has_fields(obj):
                c_types.keep_fields(state[0])
                setter = c_types.set_with_fields
            owner = kinds.init_subclass_by_value(obj)
            if owner is not None:
                make, args = kinds.made_quietly, (owner, make, args)
        return *self._adopted(obj, make, args, place), (setter, state, members), None, None, identity.refresh

    def _function(
        self, obj: types.FunctionType, args: _Reduced, state: dict[str, typing.Any], place: object
    ) -> tuple[typing.Any, _Reduced]:
        home = home_of_function(obj)
        if home is None:
            _complete_globals(obj, state["__globals__"])
            state["submodules"] = state.pop("_cloudpickle_submodules")
            return function_parts.make_function, (args[0], args[1], args[4])
        names: tuple[str, ...] = ()
        if not self.upward:
            if home.facts.module is None and home not in self._namespaces:
                self._namespaces.append(home)
            self.homes[home] = None
            names = names_wanted(obj)
            self.needs.update(((home, name), None) for name in names)
        if place is not None:  # one that is updated in its place
            state["__code__"] = obj.__code__
        facts = home.facts
        return homes.make_function, (obj.__code__, facts.token, facts.name, obj.__name__, args[4], names)

    def _cached_function(self, obj: typing.Any, place: tuple[SentHome, str] | None) -> _Reduced:
        args = (obj.__wrapped__, obj.cache_parameters())
        extra = {name: value for name, value in vars(obj).items() if name not in kinds.SET_BY_LRU_CACHE}
        return *self._adopted(obj, kinds.cached, args, place), extra or None

    dispatch_table: typing.ClassVar = ChainMap(
        {
            memoryview: reduce_view,
            ContextVar: context_vars.reduce,
            io.TextIOWrapper: kinds.reduce_standard_stream,
            types.ModuleType: lambda module: reduce_module(module, inside_home=False),
            types.CodeType: function_parts.reduce_code,
            types.CellType: function_parts.reduce_cell,
            functools.cached_property: kinds.reduce_cached_property,
            functools.partialmethod: kinds.reduce_partial_method,
            **lazy_annotations.REDUCERS,
            **dict.fromkeys(kinds.OF_BOUND_DISPATCH, kinds.reduce_bound_dispatch),
        },
        *cloudpickle.Pickler.dispatch_table.maps,
    )


class _NodePickler(ByValuePickler):
    def __init__(self, file: io.BytesIO, number: Callable[[BaseException], int | None]) -> None:
        super().__init__(file, upward=True)
        self._number = number

    def persistent_id(self, obj: typing.Any) -> int | None:
        return self._number(obj) if issubclass(type(obj), BaseException) else None


def _reduce_function_of_home(function: types.FunctionType) -> _Reduced:
    """Reduce as cloudpickle does, without looking for the globals in the code, which travel as entries."""
    known = function.__globals__
    cells, contents = function.__closure__, contents_of(function)
    modules = [
        known[name] for name in facts_of(function.__code__).names if isinstance(known.get(name), types.ModuleType)
    ]
    slots = {
        "__name__": "".join(function.__name__),  # as there: an interned string would make other bytes
        "__qualname__": "".join(function.__qualname__),
        "__annotations__": function.__annotations__,
        "__kwdefaults__": function.__kwdefaults__,
        "__defaults__": function.__defaults__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__closure__": cells,
        **({"__type_params__": parameters} if (parameters := getattr(function, "__type_params__", ())) else {}),
        "submodules": cloudpickle.cloudpickle._find_imported_submodules(function.__code__, [*modules, *contents])
        if modules or contents
        else [],
    }
    state = {"".join(name): value for name, value in vars(function).items()}
    empty = None if cells is None else tuple([types.CellType() for _ in cells])
    args: _Reduced = (function.__code__, {}, None, None, empty)
    return None, args, (state, slots), None, None, None


def _complete_globals(function: types.FunctionType, sent: dict[str, object]) -> None:
    """Add the globals that only a class body inside the function reads, which cloudpickle does not see."""
    known = function.__globals__
    for name in facts_of(function.__code__).names:
        if name not in sent and name in known:
            sent[name] = known[name]


def reduce_module(module: types.ModuleType, *, inside_home: bool) -> typing.Any:
    """Reduce a module: to its name, or to its home."""
    if module.__name__ in module_names.MAINS and not inside_home:
        raise TypeError("cannot pickle the module __main__ itself, only what is in it")
    home = home_of(vars(module))
    if home is not None:
        return homes.module, (home.facts.token, home.facts.name)
    make, *rest = cloudpickle.Pickler.dispatch_table[types.ModuleType](module)
    return (function_parts.imported if make is cloudpickle.cloudpickle.subimport else make), *rest
