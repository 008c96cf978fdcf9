"""A model server: two actors in worker processes hold a model each, behind Starlette.

The scope in the application's lifespan holds the actors. A request goes to the one that has less to do. An error of the
model is an answer to one client; if a worker dies, that client gets a 503, and the model is loaded anew.

    python examples/model_server.py
"""

import contextlib
import json
import os
import signal
import tempfile
from pathlib import Path

import anyio
import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from unified_exec import Supervise, TaskScope, TaskTimeout, WorkerCrashed


class Model:
    """Says how glad a text is."""

    def __init__(self, path):
        self.weights = json.loads(Path(path).read_text())  # slow, for a real one

    def predict(self, text):
        words = text.split()
        if not words:
            raise ValueError("there is no text")
        if "crash" in words:
            os.kill(os.getpid(), signal.SIGKILL)  # stands for a crash in C code
        return sum(self.weights.get(word, 0) for word in words) / len(words)


def make_app(path):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        policy = Supervise(10, within=60)
        async with TaskScope("models", policy=policy) as scope:
            app.state.models = scope.actors(Model, path, count=2)
            yield

    async def predict(request):
        text = (await request.body()).decode()
        models = request.app.state.models
        try:
            score = await models.call(Model.predict, text, timeout=30)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        except WorkerCrashed:
            return JSONResponse({"error": "the model has crashed"}, 503)
        except TaskTimeout:
            return JSONResponse({"error": "too slow"}, 504)
        return JSONResponse({"score": score})

    return Starlette(
        routes=[Route("/predict", predict, methods=["POST"])], lifespan=lifespan
    )


async def serve(path):
    app = make_app(path)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://models") as client,
    ):
        for text in ("good and fine", "", "crash", "bad"):
            answer = await client.post("/predict", content=text)
            print(answer.status_code, answer.text)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.json")
        path.write_text(json.dumps({"good": 1, "fine": 0.5, "bad": -1}))
        anyio.run(serve, str(path))


if __name__ == "__main__":
    main()
