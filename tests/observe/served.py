"""`examples/web_app.py` behind a small HTTP server on a Unix socket: ``python -m tests.observe.served PATH``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


async def main(path: str) -> None:
    from web_app import App, running  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        app = App(folder)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, url, _ = (await reader.readline()).split()
            while (await reader.readline()).strip():
                pass

            async def receive() -> dict[str, Any]:
                await reader.read()
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                start = message["type"] == "http.response.start"
                writer.write(f"HTTP/1.0 {message['status']}\r\n\r\n".encode() if start else message["body"])

            await app({"type": "http", "path": url.decode()}, receive, send)
            writer.close()

        async with running(app):
            async with await asyncio.start_unix_server(handle, path) as server:
                print("ready", flush=True)
                await server.serve_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
