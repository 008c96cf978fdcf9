"""Pickling the values of globals: what cannot be sent is made anew, and what is another global is referred to."""

from __future__ import annotations

import io
import types
import typing
from collections import ChainMap
from collections.abc import Callable

from . import descriptors, lazy_annotations, made_anew
from .by_value import ByValuePickler, reduce_module
from .kinds import DEFINITIONS
from .plain_functions import Part
from .sent_home import Entry, SentHome, words_of_annotations


class EntryPickler(ByValuePickler):
    """Pickles the value of a global: what coordinates threads or is local to one process is made anew.

    Args:
        file: for the pickle.
        value: the value.
        home: its home; ``None`` to see only what the pickle would be.
        name: the global.
        buffer_callback: takes the buffers that stay outside the pickle.
    """

    def __init__(
        self,
        file: io.BytesIO,
        value: object,
        home: SentHome | None,
        name: str,
        buffer_callback: Callable[[typing.Any], bool] | None = None,
    ) -> None:
        super().__init__(file, upward=False, buffer_callback=buffer_callback)
        self._root = value
        self._home = home
        self._name = name
        self._later: list[Part] = []
        if home is not None and home.facts.module is None:
            self._namespaces.append(home)
        if home is not None and isinstance(value, type):
            self._need_annotations(value, home)

    def is_inside(self, obj: object, home: SentHome, root: str) -> bool:
        return home is self._home and root == self._name

    def is_root(self, obj: object) -> bool:
        return obj is self._root

    def check_descriptor(self, obj: object) -> None:
        raise descriptors.cannot_pickle(obj)

    def dump(self, obj: object) -> None:
        """Pickle it, and after it, for `homes.rebuild`, what may lead back to it."""
        super().dump(obj)
        for part in self._later:  # which grows meanwhile
            super().dump(part)

    def in_two_steps(self, obj: object, reduced: tuple[typing.Any, ...]) -> tuple[typing.Any, ...]:
        if len(reduced) != 6:
            return reduced
        make, args, state, _, _, setter = reduced
        self._later.append(Part(setter, (obj, state)))
        return make, args

    def _need_annotations(self, cls: type, home: SentHome) -> None:
        known = home.globals() or {}
        queue: list[type] = [cls]
        while queue:
            one = queue.pop()
            words = words_of_annotations(lazy_annotations.in_words(one))
            self.needs.update(((home, word), None) for word in words if word in known)
            queue += [inner for inner in vars(one).values() if isinstance(inner, type) and _is_nested(inner, one)]

    dispatch_table: typing.ClassVar = ChainMap(
        {**made_anew.REDUCERS, types.ModuleType: lambda module: reduce_module(module, inside_home=True)},
        *ByValuePickler.dispatch_table.maps,
    )


class SharingPickler(EntryPickler):
    """Refers by name to what is another global of the same module.

    Args:
        others: names of other globals, by the id of their value.
        entry_for: returns the current entry of a global.

    Attributes:
        held: the other globals whose objects the value holds and that could not be referred to.
    """

    def __init__(
        self,
        file: io.BytesIO,
        value: object,
        home: SentHome,
        name: str,
        others: dict[int, str],
        entry_for: Callable[[SentHome, dict[str, typing.Any], str], Entry | None],
        buffer_callback: Callable[[typing.Any], bool] | None = None,
    ) -> None:
        super().__init__(file, value, home, name, buffer_callback)
        self.held: set[str] = set()
        self._sender = home
        self._others = others
        self._entry_for = entry_for
        self._is_definition = isinstance(value, DEFINITIONS)

    def persistent_id(self, obj: typing.Any) -> typing.Any:
        name = self._others.get(id(obj))
        if name is None:
            return None
        home = self._sender
        globals_ = home.globals() or {}
        if globals_.get(name) is not obj:
            return None
        entry = home.entries.get(name)
        if entry is None or not entry.same(obj):
            if not self._is_definition:
                self.held.add(name)
                return None
            entry = self._entry_for(home, globals_, name)  # a definition always refers to it
        if entry is None or entry.data is None:
            return None
        self.needs[home, name] = None
        return home.facts.token, home.facts.name, name


def _is_nested(inner: type, cls: type) -> bool:
    return inner.__module__ == cls.__module__ and inner.__qualname__.startswith(f"{cls.__qualname__}.")
