"""Classes of every kind, made by functions: they have no importable name, and travel by value."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


def instances(cls: Any, *args: Any) -> Any:
    made = cls(*args)
    return cls, made, type(made) is cls


def plain_class() -> Any:
    class Plain:
        def __init__(self, x: int) -> None:
            self.x = x

        def twin(self) -> Any:
            return type(self)(self.x), __class__  # type: ignore[name-defined]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Plain) and other.x == self.x

        __hash__ = None  # type: ignore[assignment]

    return Plain


def slots_class() -> Any:
    class Slotted:
        __slots__ = ("__hidden", "x")

        def __init__(self, x: int) -> None:
            self.x = x
            self.__hidden = -x

        def hidden(self) -> int:
            return self.__hidden

    return Slotted


def data_class() -> Any:
    @dataclass(frozen=True, slots=True)
    class Data:
        x: int
        items: list[int] = field(default_factory=list)

    return Data


def abstract_class() -> Any:
    class Base(abc.ABC):
        def __init__(self, x: int) -> None:
            self.x = x

        @abc.abstractmethod
        def area(self) -> int: ...

    class Square(Base):
        def area(self) -> int:
            return self.x * self.x

    return Square


def generic_class() -> Any:
    class Box(Generic[T]):
        def __init__(self, x: T) -> None:
            self.x = x

    return Box


def named_tuple() -> Any:
    class Point(NamedTuple):
        x: int
        y: int = 2

    return Point


def generic_named_tuple() -> Any:
    class Pair(NamedTuple, Generic[T]):
        x: T
        y: int = 2

    return Pair


def own_metaclass() -> Any:
    class Meta(type):
        def __call__(cls, *args: Any) -> Any:
            made = super().__call__(*args)
            made.registered = cls.kind
            return made

    class Registered(metaclass=Meta):
        kind = "k"

        def __init__(self, x: int) -> None:
            self.x = x

    return Registered


def exception_class() -> Any:
    class Custom(Exception):
        def __init__(self, x: int) -> None:
            super().__init__(x)
            self.x = x

    return Custom


MAKERS = [
    plain_class, slots_class, data_class, abstract_class, generic_class, named_tuple, generic_named_tuple,
    own_metaclass, exception_class,
]  # fmt: skip
