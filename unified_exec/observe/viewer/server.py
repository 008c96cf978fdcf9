"""The dashboard: a page and its data over HTTP on 127.0.0.1, for who has the key. Runs in the viewer's process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ..live.client import CannotLook
from .board import Board
from .feed import Feed
from .frames import Frames

FRAME_SECONDS = 0.09
"""From one frame to the next; ten a second come through if some are a little late."""
IDS_MAX = 200
WHY_SECONDS = 1.0
ANSWER_SECONDS = 5.0
STREAMS_MAX = 8
PAGE = Path(__file__).with_name("dashboard.html")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    """Serves one program.

    Args:
        feed: the conversation with the program.

    Attributes:
        key: what a page must send; made anew for each dashboard.
    """

    def __init__(self, feed: Feed) -> None:
        self.key = secrets.token_urlsafe(32)
        self._feed = feed
        self._board: Board = feed.board
        self._port = 0
        self._streams = 0
        self._page = PAGE.read_bytes()
        self._policy = policy(self._page.decode())

    async def start(self, port: int = 0) -> tuple[web.AppRunner, str]:
        """Listen on 127.0.0.1.

        Returns:
            what stops it, by ``cleanup()``, and the address with the key.
        """
        application = web.Application(middlewares=[self._guard], client_max_size=4096)
        application.router.add_get("/", self._index)
        application.router.add_get("/stream", self._stream)
        application.router.add_get("/tasks", self._tasks)
        application.router.add_post("/cancel", self._cancel)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self._port = int(runner.addresses[0][1])
        return runner, f"http://127.0.0.1:{self._port}/#{self.key}"

    # -- who may come in

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.text)
        self._protect(response)
        return response

    def _check(self, request: web.Request) -> None:
        hosts = f"127.0.0.1:{self._port}", f"localhost:{self._port}"
        if request.headers.get("Host") not in hosts:  # a name that somebody made to lead here
            raise web.HTTPForbidden(text="wrong Host")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in hosts]:
            raise web.HTTPForbidden(text="wrong Origin")
        # A link to the page may stand anywhere: it shows nothing without the key.
        if request.path != "/" and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise web.HTTPForbidden(text="from another site")
        if request.method == "POST" and origin is None:
            raise web.HTTPForbidden(text="no Origin")
        given = request.headers.get("Authorization", "").encode()
        if request.path != "/" and not hmac.compare_digest(given, f"Bearer {self.key}".encode()):
            raise web.HTTPUnauthorized(text="the key is missing or wrong")

    def _protect(self, response: web.StreamResponse) -> None:
        if response.prepared:
            return
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"

    # -- what there is

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._page, content_type="text/html", charset="utf-8")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Lines of JSON, some ten a second, until the page goes or the program has ended."""
        if self._streams >= STREAMS_MAX:
            raise web.HTTPServiceUnavailable(text=f"{STREAMS_MAX} pages are open already")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        self._protect(response)
        self._streams += 1
        try:
            await response.prepare(request)
            frames, clock = Frames(self._board), asyncio.get_running_loop().time
            due = clock()
            while True:
                ended = self._board.ended
                frame = await asyncio.to_thread(_line, frames)
                await response.write(frame)  # a page that is slow is waited for here, and nowhere else
                if ended:
                    break
                due = max(due + FRAME_SECONDS, clock())  # what was late by less than a frame is made up for
                await asyncio.sleep(due - clock())
            await response.write_eof()
        except ConnectionResetError:
            pass
        finally:
            self._streams -= 1
        return response

    async def _tasks(self, request: web.Request) -> web.StreamResponse:
        """Where the tasks are that the page shows, and why they wait."""
        text = request.query.get("ids", "")
        if not re.fullmatch(r"\d{1,18}(,\d{1,18})*", text, re.ASCII):
            raise web.HTTPBadRequest(text="wrong ids")
        ids = [int(each) for each in text.split(",")[:IDS_MAX]]
        try:
            tasks = (await self._ask(WHY_SECONDS, type="tasks", ids=ids)).get("tasks", {})
        except (web.HTTPGone, web.HTTPGatewayTimeout):
            tasks = {}  # the stream tells that the program does not answer
        with self._board.lock:
            known = self._board.tree.get("tasks", {})
            for id in map(str, ids):
                task, earlier = tasks.get(id), known.get(id)
                if task is None and earlier is not None and int(id) in self._board.tasks:
                    tasks[id] = earlier
                elif task is not None and earlier is not None and _knows_more(earlier, task):
                    tasks[id] = {**task, "why": earlier["why"], "at": earlier["at"], "stack": earlier["stack"]}
        return web.json_response(tasks)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = json.loads(await request.text())
            task, scope = wanted.get("task"), wanted.get("scope")
        except (ValueError, AttributeError):
            raise web.HTTPBadRequest(text="not JSON") from None
        if not isinstance(task or scope, int):
            raise web.HTTPBadRequest(text="no task and no scope")
        answer = await self._ask(
            ANSWER_SECONDS, type="cancel", task=task, scope=scope, reason="cancelled in the dashboard"
        )
        if answer.get("type") != "done":
            raise web.HTTPForbidden(text=str(answer.get("what"))[:200])
        return web.json_response({"done": True})

    async def _ask(self, seconds: float, **request: Any) -> dict[str, Any]:
        if self._board.ended:
            raise web.HTTPGone(text=self._board.note)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._feed.ask(**request)), seconds)
        except CannotLook as error:
            raise web.HTTPGone(text=str(error)) from None
        except TimeoutError:
            raise web.HTTPGatewayTimeout(text="the program does not answer") from None


def _line(frames: Frames) -> bytes:
    return json.dumps(frames.next(), separators=(",", ":")).encode() + b"\n"


def _knows_more(tree: dict[str, Any], task: dict[str, Any]) -> bool:
    """Tell whether the last tree, which has asked the workers, knows where a task is and a short look does not."""
    same = tree["worker"] == task["worker"] and tree["why"]["kind"] not in ("behind", "worker")
    return same and bool(tree.get("stack")) and not task.get("stack")


def policy(page: str) -> str:
    """The content security policy of a page: its own script and style, by their hashes, and its own server."""

    def hashes(tag: str) -> str:
        found = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in found]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
