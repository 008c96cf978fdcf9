"""A web application without a framework: a bare ASGI application and a client.

The application's lifespan opens and closes the pools; handlers open scopes; when a client disconnects, its work is
cancelled. In FastAPI or Starlette the same lines go into `lifespan=` and the route functions.

    python examples/web_app.py
"""

import contextlib
import json
import tempfile
from pathlib import Path

import anyio

from unified_exec import ProcessPool, TaskCancelled, TaskScope, TaskTimeout, call


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def endless(folder):
    try:
        Path(folder, "begun").touch()
        while True:
            pass
    finally:
        Path(folder, "ended").touch()


class App:
    def __init__(self, folder):
        self.folder = folder

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        else:
            await self.answer(scope["path"], receive, send)

    async def lifespan(self, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        # Separate pools: reports cannot take the worker of the quick requests.
        async with (
            ProcessPool(1, name="quick") as self.quick,
            ProcessPool(1, name="reports", grace=0.5) as self.reports,
        ):
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, path, receive, send):
        status, body = 200, None
        try:
            if path == "/fibonacci":
                body = await call(fibonacci, 20, on=self.quick, timeout=10)
            elif path == "/too-slow":
                body = await call(endless, self.folder, on=self.reports, timeout=0.3)
            elif path == "/report":
                body = await self.until_client_leaves(receive, endless, self.folder)
            else:
                status = 404
        except TaskTimeout as timeout:
            status, body = 504, str(timeout)
        except TaskCancelled:
            return  # the client is gone
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async def until_client_leaves(self, receive, fn, *args):
        async with TaskScope() as scope:
            work = scope.spawn(fn, *args, on=self.reports)

            async def watch():
                while (await receive())["type"] != "http.disconnect":
                    pass
                work.cancel("the client has left")

            watcher = scope.spawn(watch)
            await work.wait()
            watcher.cancel()
        return work.result()


# --- the client: calls the application as a server would


@contextlib.asynccontextmanager
async def running(app):
    to_app, from_client = anyio.create_memory_object_stream(10)
    to_client, from_app = anyio.create_memory_object_stream(10)
    with to_app, from_client, to_client, from_app:
        async with TaskScope("server") as scope:
            scope.spawn(app, {"type": "lifespan"}, from_client.receive, to_client.send)
            await to_app.send({"type": "lifespan.startup"})
            assert (await from_app.receive())["type"] == "lifespan.startup.complete"
            yield
            await to_app.send({"type": "lifespan.shutdown"})


async def get(app, path, leave_when=None):
    answer = []

    async def receive():
        if leave_when is not None:
            while not leave_when():  # noqa: ASYNC110 - another process makes it true
                await anyio.sleep(0.01)
            return {"type": "http.disconnect"}
        await anyio.sleep_forever()

    async def send(message):
        answer.append(message)

    await app({"type": "http", "path": path}, receive, send)
    if not answer:
        return "no answer"
    return answer[0]["status"], json.loads(answer[1]["body"])


async def main():
    with tempfile.TemporaryDirectory() as folder:
        app = App(folder)
        async with running(app):
            print("/fibonacci", await get(app, "/fibonacci"))
            print("/nothing", await get(app, "/nothing"))
            print("/too-slow", await get(app, "/too-slow"))
            begun, ended = Path(folder, "begun"), Path(folder, "ended")
            await call(begun.unlink, True)
            await call(ended.unlink, True)
            print("/report", await get(app, "/report", leave_when=begun.exists))
            print("its work has ended:", await call(ended.exists))


if __name__ == "__main__":
    anyio.run(main)
