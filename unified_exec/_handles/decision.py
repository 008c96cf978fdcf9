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
        figures: what was measured by then, in seconds a call: ``cpu``, ``wait``, ``gil`` (CPU time that held the
            interpreter's lock), ``journey`` (what a process adds), ``thread`` and ``process`` (the time a call takes
            when many are under way), and ``calls``, how many calls were measured. Empty before the first.

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
