"""A real aiohttp server, stopped by SIGTERM while a scope of its clean-up context and a request are under way."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from threading import Thread

from tests import installed
from tests.waiting import until

installed.needed("aiohttp", "aiohttp is not installed")

SERVER = """
import asyncio, sys, time
from aiohttp import web
from unified_exec import Collect, TaskScope, check_cancelled

def note(text):
    print(text, flush=True)

def in_process():
    while True:
        time.sleep(0.01)

def in_thread():
    while True:
        check_cancelled()
        time.sleep(0.01)

async def background(app):
    async with TaskScope(policy=Collect()) as scope:
        scope.spawn(in_process, on="process")
        scope.spawn(in_thread)
        scope.spawn(asyncio.sleep, 600)
        yield
        scope.cancel()
    await asyncio.sleep(0)
    note("cleaned up")

async def started(app):
    note("started")
    yield
    await asyncio.sleep(0)
    note("the first context, too")

async def handle(request):
    async with TaskScope() as scope:
        scope.spawn(in_process, on="process")
        note("request")

app = web.Application()
app.cleanup_ctx.extend([started, background])
app.router.add_get("/", handle)
web.run_app(app, port=int(sys.argv[1]), print=None, shutdown_timeout=0.5)
note("bye")
"""


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


def ask(port: int) -> None:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60)
    except (OSError, HTTPException):
        pass  # the server ends in the middle of it


def test_a_clean_up_context_runs_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(tmp_path / "server.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "started\n"
            assert until(lambda: is_open(port), 30)
            Thread(target=ask, args=(port,), daemon=True).start()
            assert server.stdout.readline() == "request\n"
            server.send_signal(signal.SIGTERM)
            out, _ = server.communicate(timeout=30)
            assert out.splitlines() == ["cleaned up", "the first context, too", "bye"]
            assert server.returncode == 0
        finally:
            server.kill()
