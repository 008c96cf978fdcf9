"""Stand-ins for what modules that a worker loads would need of `typing` at run time; it takes long to import.

From CPython 3.14 on `typing.NamedTuple` loads `annotationlib`, `ast` and `enum` for annotations that are text.
"""

from __future__ import annotations

from _collections_abc import Iterable
from collections import namedtuple


class Generic:
    __slots__ = ()

    def __class_getitem__(cls, item: object) -> type:
        return cls


def overload(fn: object) -> object:
    return fn


class _NamedTupleMaker(type):
    def __new__(maker, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
        if not bases:
            return super().__new__(maker, name, bases, body)
        fields: Iterable[str] = body.get("__annotations__", ())  # type: ignore[assignment]
        defaults = [body.pop(field) for field in fields if field in body]
        made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # type: ignore[arg-type, misc]
        for key, value in body.items():
            if key not in ("__module__", "__qualname__", "__dict__", "__weakref__"):
                setattr(made, key, value)
        return made


class NamedTuple(metaclass=_NamedTupleMaker):
    """The body's annotations are the fields, its values their defaults."""
