"""Stand-ins for what modules that a worker loads would need of `typing` at run time; it takes long to import."""

from __future__ import annotations

__all__ = ["Generic", "overload"]


class Generic:
    __slots__ = ()

    def __class_getitem__(cls, item: object) -> type:
        return cls


def overload(fn: object) -> object:
    return fn
