"""`unified-exec dashboard PID`: a page in the browser that shows a running program, live."""

from __future__ import annotations

import argparse
import asyncio
import sys
import webbrowser

from ...observe.live.client import CannotLook
from ...observe.viewer.board import Board
from ...observe.viewer.feed import Feed
from ...observe.viewer.server import Dashboard

FAILED = 1


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    feed = Feed(arguments.pid, Board())
    try:
        feed.start()
        asyncio.run(_serve(Dashboard(feed), arguments))
    except (CannotLook, OSError) as error:
        print(f"unified-exec dashboard: {error}", file=sys.stderr)
        return FAILED
    return 0


async def _serve(dashboard: Dashboard, arguments: argparse.Namespace) -> None:
    runner, address = await dashboard.start(arguments.port)
    try:
        print(address, flush=True)
        print("open it in a browser on this machine; Ctrl-C ends it", file=sys.stderr)
        if arguments.open:
            webbrowser.open(address)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
