"""Connections of `multiprocessing`: their pickle holds the bare number of a descriptor, another file elsewhere."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cloudpickle

from ...errors import SerializationError

_MODULE = "multiprocessing.connection"


class _Search(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        if type(obj).__module__ == _MODULE:
            raise SerializationError(
                f"a {type(obj).__name__} of multiprocessing",
                "its descriptor has a meaning in this process only",
                "pass a queue of multiprocessing.Manager(), or open a connection to an address in the task",
            )
        return super().reducer_override(obj)


def refuse(value: object) -> None:
    """Check that a value, which can be pickled, holds no connection.

    Raises:
        SerializationError: it does.
    """
    try:
        _Search(BytesIO(), protocol=5).dump(value)
    except SerializationError:
        raise
    except Exception:
        pass  # our own pickler can carry more than this one
