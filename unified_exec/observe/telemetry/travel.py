"""How OpenTelemetry's context goes to another process: as the headers that its propagators write.

A process task carries the context variables of its spawner. OpenTelemetry keeps its context in one, and that does not
pickle: it holds the span. While `observe.instrument` is in force it pickles as headers (``traceparent``,
``tracestate``, ``baggage``), and a worker makes a context of them once it has imported OpenTelemetry.
"""

from __future__ import annotations

import copyreg
from typing import Any

from opentelemetry.context.context import Context


def begin() -> None:
    """Let contexts travel from now on."""
    copyreg.pickle(Context, _reduce)  # type: ignore[arg-type]


def end() -> None:
    """Let contexts travel no more."""
    copyreg.dispatch_table.pop(Context, None)


def _reduce(context: Context) -> tuple[object, tuple[dict[str, str]]]:
    from opentelemetry import propagate

    headers: dict[str, str] = {}
    propagate.inject(headers, context)
    return Arrived, (headers,)


class Arrived(Context):
    """A context in a worker. The headers are read when something is first looked up: a worker may set it while
    OpenTelemetry is being imported, when nothing of that can be used yet.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__()
        self._headers = headers

    def _read(self) -> None:
        headers, self._headers = self._headers, {}
        if headers:
            from opentelemetry import propagate

            dict.update(self, propagate.extract(headers, Context()))

    def __getitem__(self, key: str) -> object:
        self._read()
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._read()
        return super().__contains__(key)

    def __iter__(self) -> Any:
        self._read()
        return super().__iter__()

    def __len__(self) -> int:
        self._read()
        return super().__len__()

    def get(self, key: str, default: Any = None) -> Any:
        self._read()
        return super().get(key, default)

    def copy(self) -> dict[str, object]:
        self._read()
        return dict(super().items())

    def items(self) -> Any:
        self._read()
        return super().items()

    def __reduce__(self) -> Any:  # a nested pool
        return _reduce(self)
