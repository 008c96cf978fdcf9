"""The tree and the progress of scopes in a notebook. HTML with inline styles and without scripts, so that it is shown
in a notebook that is not trusted, too; whatever comes from the program is text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from html import escape
from typing import TYPE_CHECKING, Any

from .._handles.open_scopes import OpenScope, open_scopes
from .live.dump import look
from .live.text import busy_count, busy_text, duration, plain, render

if TYPE_CHECKING:
    from .._rules.policies import Tally

UPDATE_SECONDS = 0.5
_TASKS_SHOWN = 100
_FONT = "font:13px/1.5 system-ui,sans-serif;overflow-wrap:anywhere"
_RUNS, _WAITS, _FAILED, _DONE = "#2a7d4f", "#b35900", "#b3261e", "#2f6fb5"


class Tree:
    """What `observe.tree` returns: text where it is printed, and HTML as the value of a cell of a notebook.

    Attributes:
        data: the tree, as `observe.look` returns it.
    """

    def __init__(self, data: dict[str, Any], tallies: dict[int, Tally], scope: int = 0) -> None:
        self.data = data
        self._tallies = {number: (each.values, each.errors, each.cancelled) for number, each in tallies.items()}
        self._scope = scope
        self._tasks: dict[int, dict[str, Any]] = {int(id): task for id, task in data["tasks"].items()}

    def __repr__(self) -> str:
        return render(self.data)

    def _repr_html_(self) -> str:
        scopes = self.data["scopes"]
        known = {scope["id"] for scope in scopes if scope["opener"] in self._tasks}
        if self._scope:
            top = [scope for scope in scopes if scope["id"] == self._scope]
        else:
            top = [scope for scope in scopes if scope["id"] not in known]
        lines = [part for scope in top for part in self._scope_lines(scope)]
        if not top:
            lines.append("<p>no scope is open</p>")
        if not self._scope:
            lines += [
                f'<p style="margin:2px 0;opacity:.75">{_text(_pool_line(pool))}</p>' for pool in self.data["pools"]
            ]
        for ring in self.data["rings"]:
            lines.insert(0, f'<p style="color:{_FAILED}"><b>DEADLOCK</b> {_text(", ".join(map(self._name, ring)))}</p>')
        return f'<div style="{_FONT}">{"".join(lines)}</div>'

    def _name(self, id: int) -> str:
        task = self._tasks.get(id)
        return f"the block of scope {-id}" if id < 0 else f"#{id} {task['name'] if task else ''}"

    def _scope_lines(self, scope: dict[str, Any]) -> Iterator[str]:
        open_tasks = len(scope["tasks"]) + sum(scope["queued"].values()) + scope["more"]
        yield f'<details open style="margin:2px 0"><summary><b>scope {_text(scope["name"] or scope["id"])}</b>'
        yield f" {_text(scope['policy'])}, {duration(scope['age'])}"
        yield f"{progress_html(self._tallies.get(scope['id'], (0, 0, 0)), open_tasks)}</summary>"
        yield '<ul style="list-style:none;margin:0;padding-left:20px">'
        for id in scope["tasks"][:_TASKS_SHOWN]:
            task = self._tasks.get(id)
            if task is not None:
                yield f"<li>{_task_line(task)}"
                for inner in self.data["scopes"]:
                    if inner["opener"] == id:
                        yield from self._scope_lines(inner)
                yield "</li>"
        hidden = max(0, len(scope["tasks"]) - _TASKS_SHOWN) + scope["more"]
        for name, count in scope["queued"].items():
            yield f'<li style="opacity:.75">and {count:,} more queued: {_text(name)}</li>'
        if hidden:
            yield f'<li style="opacity:.75">and {hidden:,} more tasks</li>'
        yield "</ul></details>"


def tree() -> Tree:
    """Look at this program: its scopes and tasks, where each is and why it waits.

    Returns:
        an object that prints as `observe.dump` does, and that a notebook shows with colours and progress.
    """
    tallies = {scope.number: scope.tally for scope in open_scopes()}
    return Tree(look(stacks="none"), tallies)


def show(scope: Any) -> None:
    """Show the tree and the progress of a scope below the cell of a notebook, twice a second until it has ended.

    Args:
        scope: an open `TaskScope` or `SyncTaskScope`.

    Raises:
        RuntimeError: the scope is not open.
        TypeError: it is not a scope.
        ImportError: this is not a notebook: IPython is not installed.

    In a cell of a notebook::

        async with TaskScope() as scope:
            observe.show(scope)
            async for result in scope.map(crunch, range(100), on="cpu"):
                ...
    """
    if not hasattr(scope, "_repr_mimebundle_"):
        raise TypeError(f"show() takes a scope, got {scope!r}")
    from IPython.display import display

    engine = getattr(scope, "_repr_mimebundle_")(include=("text/plain",)).engine  # noqa: B009
    if engine is None or engine.host is None:
        raise RuntimeError("this scope is not open: call observe.show(scope) inside its block")
    handle = display(scope, display_id=True)  # type: ignore[no-untyped-call, unused-ignore]
    if handle is not None:
        target = copy_context().run  # in this context the kernel finds the cell
        args = _update, handle, scope, engine
        threading.Thread(target=target, args=args, name="unified_exec notebook", daemon=True).start()


def _update(handle: Any, scope: Any, engine: OpenScope) -> None:
    pause = threading.Event()
    ended = False
    while not ended:
        pause.wait(UPDATE_SECONDS)
        ended = engine.host is None  # read before: the last update shows how it has ended
        handle.update(scope)


class Bundle(dict[str, str]):
    """What a scope shows in a notebook: the text of its `repr`, and `html` once its block has been entered."""

    def __init__(self, text: str, engine: OpenScope | None, html: bool) -> None:
        super().__init__({"text/plain": text})
        self.engine = engine
        if engine is not None and html:
            self["text/html"] = scope_html(engine)


def scope_html(engine: OpenScope) -> str:
    """The tree of one scope, or how its tasks have ended if it is closed."""
    if engine.host is not None:
        found = Tree(look(stacks="none"), {scope.number: scope.tally for scope in open_scopes()}, engine.number)
        return found._repr_html_()
    tally = engine.tally
    bar = progress_html((tally.values, tally.errors, tally.cancelled), 0)
    return f'<div style="{_FONT}"><b>scope {_text(engine.name or engine.number)}</b> closed{bar}</div>'


def progress_html(ended: tuple[int, int, int], open_tasks: int) -> str:
    """A bar of how tasks have ended, with its numbers."""
    parts = [*zip(ended, ("returned", "failed", "cancelled"), (_DONE, _FAILED, _WAITS), strict=True)]
    total = sum(ended) + open_tasks
    bar = "".join(
        f'<span style="width:{100 * count / total:.2f}%;background:{colour}"></span>'
        for count, _, colour in parts
        if count
    )
    told = ", ".join(f"{count:,} {word}" for count, word, _ in parts if count)
    return (
        '<span style="display:inline-flex;width:140px;height:9px;margin:0 8px;border-radius:3px;overflow:hidden;'
        f'background:rgba(128,128,128,.35)">{bar}</span>{open_tasks:,} open{", " if told else ""}{told}'
    )


def _task_line(task: dict[str, Any]) -> str:
    why = task["why"]
    colour = _RUNS if task["state"] == "runs" else _WAITS
    at = task.get("at")
    file = "cell" if at and "/ipykernel_" in at[0] else at[0].rpartition("/")[2] if at else ""
    place = f"  {file}:{at[1]}" if at else ""
    waits = "" if task["state"] == "runs" else "waits for "
    kind = f"{task['backend']}, {duration(task['age'])}"
    return (
        f'<span style="color:{colour}">●</span> #{task["id"]} {_text(task["name"])} <span style="opacity:.75">{kind}: '
        f"{_text(waits + why['text'])}{_text(place)}</span>"
    )


def _pool_line(pool: dict[str, Any]) -> str:
    return f"{pool['name']}: {busy_text(busy_count(pool), pool['max'])}, {pool['queued']:,} queued"


def _text(value: object) -> str:
    return escape(plain(value, 200))
