"""Why a task with ``on="auto"`` runs where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Decision(NamedTuple):
    """Where a call with ``on="auto"`` went, and why.

    Attributes:
        place: ``"loop"``, ``"thread"`` or ``"process"``.
        reason: one sentence.
        figures: what had been measured by then, in seconds per call: ``cpu``, ``wait``, ``gil`` (CPU time while holding
            the GIL), ``transfer`` (what a process adds), ``thread`` and ``process`` (the time of a call when many are
            in flight); and ``calls``, the number of measured calls. Empty before the first.

    Example::

        import anyio
        from unified_exec import TaskScope

        async def main():
            async with TaskScope() as scope:
                handle = scope.spawn(sum, range(1000), on="auto")
                await handle
                print(handle.decision.place, "because", handle.decision.reason)

        anyio.run(main)
    """

    place: str
    reason: str
    figures: Mapping[str, float] = MappingProxyType({})
