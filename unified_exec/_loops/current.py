"""The adapter of the running event loop.

asyncio and trio are imported when one of them runs: importing this package must not import them.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from typing import Any

from .adapter import LoopAdapter

_asyncio_ports: dict[Any, LoopAdapter] = {}
_lock = allocate_lock()
_trio_ports: Any = None  # a trio.lowlevel.RunVar[Port]


def current_adapter() -> LoopAdapter:
    """Return the port of the running event loop; the same one each time for the same run.

    Raises:
        RuntimeError: no asyncio or trio event loop runs in this thread.
    """
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        return _current_trio_port()
    port = _asyncio_ports.get(loop)
    if port is None:
        from .asyncio_loop import AsyncioAdapter

        with _lock:
            for other in [known for known in _asyncio_ports if known.is_closed()]:
                del _asyncio_ports[other]
            port = _asyncio_ports[loop] = AsyncioAdapter(loop)
    return port


def _current_trio_port() -> LoopAdapter:
    global _trio_ports
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        raise RuntimeError("no event loop is running: call this from inside anyio.run(...) or asyncio.run(...)")
    if _trio_ports is None:
        _trio_ports = trio.lowlevel.RunVar("unified_exec_port")
    port: LoopAdapter | None = _trio_ports.get(None)
    if port is None:
        from .trio_loop import TrioAdapter

        port = TrioAdapter()
        _trio_ports.set(port)
    return port
