"""What a notebook shows: the tree and the progress of scopes, in a real kernel; and that its cells reach workers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html import escape
from typing import Any

import anyio
import pytest

from tests.observe import workloads
from tests.observe.patience import until_async
from unified_exec import Collect, SyncTaskScope, TaskScope, observe
from unified_exec.observe import notebook

pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

CELLS = [
    """
import anyio
from unified_exec import TaskScope, observe

def double(x):
    return 2 * x
""",
    """
async with TaskScope(name="<b>shop") as scope:
    observe.show(scope)
    sleeper = scope.spawn(anyio.sleep, 100, name="<img src=x>")
    values = await scope.gather(*[scope.spawn(double, n, on="thread") for n in range(3)])
    display(observe.tree())
    sleeper.cancel()
values
""",
    "scope",
    """
import pickle, threading
from unified_exec import Channel, ProcessPool
RATE, LOCK, model = 2, threading.Lock(), None
class Item:
    def __init__(self, n): self.n = n
    def cost(self): return self.n * RATE
class Counter:
    def __init__(self): self.n = 0
    def add(self, k):
        self.n += k
        return self.n * RATE
def load(name):
    global model
    model = name
def cost(item):
    with LOCK: return model, item.cost(), type(pickle.loads(pickle.dumps(item))) is Item
def produce(channel):
    for n in range(3): channel.send_sync(Item(n))
pool = ProcessPool(1, initializer=load, initargs=("model-1",))
async with TaskScope(processes=pool) as scope:
    first = await scope.spawn(cost, Item(3), on="process")
first
""",
    """
class Item:
    def __init__(self, n): self.n = n
    def cost(self): return -self.n * RATE
RATE = 10
progress = []
async with TaskScope(processes=pool) as scope:
    again = await scope.spawn(cost, Item(3), on="process")
    counter = scope.actor(Counter, on=pool)
    counted = [await counter.call(Counter.add, k) for k in (1, 2)]
    channel = Channel(2)
    scope.spawn(produce, channel, on="thread")
    items = [(await channel.receive()) for _ in range(3)]
    async for pair in scope.map(cost, items, on="process", progress=progress.append): pass
pool.close()
again, counted, type(items[0]) is Item, progress[-1].done
""",
]

EXECUTE = """
import json, sys
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)]
book = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(book, timeout=250, kernel_name="python3").execute()
print(json.dumps([cell["outputs"] for cell in book["cells"]]))
"""


@pytest.mark.timeout(300)
def test_a_kernel_shows_scopes_and_has_workers_that_follow_its_cells() -> None:
    for module in ("nbclient", "ipykernel"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    # In a process of its own: nbclient leaves an event loop open.
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE], input=json.dumps(CELLS), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    _, running, closed, defined, redefined = json.loads(done.stdout)
    shown, tree, values = running
    assert values["data"]["text/plain"] == "[0, 2, 4]"
    assert "&lt;b&gt;shop" in shown["data"]["text/html"]
    assert "&lt;img src=x&gt;" in tree["data"]["text/html"]
    assert "a sleep of 100 s" in tree["data"]["text/html"]
    assert "#1 <img src=x> (loop, " in tree["data"]["text/plain"]
    assert "<img" not in str([output["data"]["text/html"] for output in (shown, tree)])
    [scope] = closed
    assert "3 returned, 1 cancelled" in scope["data"]["text/html"]
    assert scope["data"]["text/plain"] == "<TaskScope '<b>shop' closed, 0 tasks running>"
    assert defined[-1]["data"]["text/plain"] == "('model-1', 6, True)"
    assert redefined[-1]["data"]["text/plain"] == "(('model-1', -30, True), [10, 30], True, 3.0)"


async def test_the_tree_of_a_scope_shows_its_progress_and_what_is_nested() -> None:
    async def opens(opened: anyio.Event) -> None:
        async with TaskScope(name="inner") as inner:
            inner.spawn(anyio.sleep_forever, name="deep")
            opened.set()

    async with TaskScope(name="outer", policy=Collect()) as scope:
        await scope.spawn(workloads.value, on="thread")
        await scope.spawn(workloads.fails, on="thread").wait()
        opened = anyio.Event()
        task = scope.spawn(opens, opened)
        await opened.wait()
        html = scope._repr_mimebundle_()["text/html"]
        assert "1 open, 1 returned, 1 failed" in html
        assert html.index("outer") < html.index("inner") < html.index("deep")
        assert f"#{task.id} {escape(task.name)}" in html  # as the reasons of other tasks name it
        task.cancel()
    assert "1 returned, 1 failed, 1 cancelled" in scope._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize(
    ("file", "shown"), [("/tmp/ipykernel_12/34567.py", "cell:8"), ("/home/me/shop.py", "shop.py:8")]
)
def test_the_line_of_a_task_is_that_of_a_cell_or_a_file(file: str, shown: str) -> None:
    task = {"id": 1, "name": "store", "state": "waits", "backend": "loop", "age": 1.0, "at": (file, 8, "store")}
    scope = {"id": 1, "name": "shop", "policy": "FailFast", "age": 1.0, "opener": 0, "tasks": [1], "queued": {}}
    tasks = {"1": {**task, "why": {"text": "a sleep"}}}
    html = notebook.Tree({"scopes": [{**scope, "more": 0}], "tasks": tasks, "pools": [], "rings": []}, {})._repr_html_()
    assert f"a sleep  {shown}<" in html


async def test_text_alone_needs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "look", None)
    async with TaskScope() as scope:
        assert list(scope._repr_mimebundle_(include=("text/plain",))) == ["text/plain"]


async def test_every_scope_is_in_the_tree_once() -> None:
    async with TaskScope(name="first"), TaskScope(name="second"):
        made = observe.tree()
        html = made._repr_html_()
        assert (html.count("scope first"), html.count("scope second")) == (1, 1)
        assert "scope 1" in repr(made) or "first" in repr(made)


def test_a_scope_without_async_shows_the_same() -> None:
    scope = SyncTaskScope(name="sync")
    assert list(scope._repr_mimebundle_()) == ["text/plain"]
    with scope:
        assert scope.spawn(workloads.value, 3, on="thread").result() == 3
        assert "1 returned" in scope._repr_mimebundle_()["text/html"]


async def test_show_updates_until_the_scope_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display", reason="IPython is not installed")
    shown: list[Any] = []

    class Handle:
        def update(self, view: Any) -> None:
            shown.append(view._repr_mimebundle_()["text/html"])

    monkeypatch.setattr(display, "display", lambda view, display_id: Handle())
    monkeypatch.setattr(notebook, "UPDATE_SECONDS", 0.01)
    with pytest.raises(RuntimeError, match="not open"):
        observe.show(TaskScope())
    async with TaskScope(name="shop") as scope:
        observe.show(scope)
        await scope.spawn(workloads.value)
        await until_async(lambda: any("1 returned" in each for each in shown))
    await until_async(lambda: re.search("closed.*1 returned", shown[-1]))
