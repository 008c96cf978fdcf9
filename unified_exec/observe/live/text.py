"""A tree as text. Whatever comes from the program is text and nothing else: no escape sequence of a name survives."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from typing import Any

NAME_MAX = 60


def busy_count(pool: dict[str, Any]) -> int:
    """Count the threads or workers of a pool that run something."""
    if "busy" in pool:
        return int(pool["busy"])
    return sum(1 for worker in pool["workers"] if worker["running"] or (worker["coroutines"] and worker["tasks"]))


def busy_text(busy: int, most: int) -> str:
    """Say how many of `most` are busy. There may be more: each event loop with work has at least one worker."""
    extra = f" and {busy - most} extra" if busy > most else ""
    return f"{min(busy, most)} of {most}{extra} busy"


def plain(text: object, most: int = 400) -> str:
    """Return `text` without anything that a terminal could obey: controls, escapes, marks that change direction."""
    return "".join(
        char if char.isprintable() and unicodedata.category(char) != "Cf" else "\N{REPLACEMENT CHARACTER}"
        for char in str(text)[:most]
    )


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {rest:02} s"


class Painter:
    """Colours, where there is a terminal that shows them."""

    def __init__(self, colours: bool) -> None:
        self._on = colours

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._on else text


def render(
    tree: dict[str, Any], *, stacks: bool = False, colours: bool = False, ascii_only: bool = False, why: str = ""
) -> str:
    """Return a tree as text.

    Args:
        tree: what `observe.look` returns.
        stacks: show the stack of each task below it.
        colours: use the colours of a terminal.
        ascii_only: draw the branches with ASCII characters.
        why: show only the tasks that wait for this kind of thing.
    """
    return "\n".join(_Renderer(tree, stacks, Painter(colours), ascii_only, why).lines())


class _Renderer:
    def __init__(self, tree: dict[str, Any], stacks: bool, paint: Painter, ascii_only: bool, why: str) -> None:
        self._tree = tree
        self._stacks = stacks
        self._paint = paint
        self._why = why
        self._branch, self._last, self._line = ("|- ", "`- ", "|  ") if ascii_only else ("├─ ", "└─ ", "│  ")
        self._tasks: dict[int, dict[str, Any]] = {int(key): task for key, task in tree.get("tasks", {}).items()}
        self._below: dict[int, list[dict[str, Any]]] = {}
        for scope in tree.get("scopes", ()):
            opener = scope["opener"] if scope["opener"] in self._tasks else 0
            self._below.setdefault(opener, []).append(scope)
        self._stuck = {id for ring in tree.get("rings", ()) for id in ring}

    def lines(self) -> Iterator[str]:
        tree = self._tree
        argv = plain(" ".join(map(str, tree.get("argv", ()))) or "python", 120)
        took = f"looked at in {tree.get('took', 0) * 1000:.1f} ms"
        yield f"{argv}  pid {tree.get('pid')}, Python {plain(tree.get('python'), 20)}, {took}"
        for loop in tree.get("loops", ()):
            if loop.get("held"):
                yield self._paint("31", f"EVENT LOOP HELD UP ({plain(loop['kind'], 20)}){_place(loop)}")
        for ring in tree.get("rings", ()):
            names = " -> ".join(self._name(id) for id in [*ring, ring[0]])
            yield self._paint("1;31", f"DEADLOCK: {names}")
        top = self._below.get(0, [])
        if not top:
            yield "no scope is open"
        for scope in top:
            yield from self._scope(scope, "", "", "")
        for pool in tree.get("pools", ()):
            yield from self._pool(pool)
        for node in tree.get("nodes", ()):
            head = f"node {plain(node['name'] or node['address'], 100)}: {node['running']} run, {node['waiting']} wait"
            yield head + f", {node['slots']} slots, heard of {duration(node['seen'])} ago"

    def _name(self, id: int) -> str:
        if id < 0:
            return f"the block of scope {-id}"
        task = self._tasks.get(id)
        return f"#{id}" + (f" {plain(task['name'], NAME_MAX)}" if task else "")

    def _scope(self, scope: dict[str, Any], first: str, rest: str, of: str) -> Iterator[str]:
        name = f" {plain(scope['name'], NAME_MAX)}" if scope["name"] else ""
        kind = f"[{plain(scope['policy'], 30)}, {plain(scope['loop'], 20)}]"
        head = f"scope {scope['id']}{name} {kind} {duration(scope['age'])}"
        why = scope.get("why")
        if why is not None:
            verb = "" if why["kind"] == "runs" else "waits for "
            head += f", block {verb}{plain(why['text'])}{_place(scope)}"
        if scope.get("torn"):
            head += "  (moved while it was read)"
        yield first + (self._paint("1;31", head) if -scope["id"] in self._stuck else self._paint("1", head)) + of
        parts: list[Iterator[str]] = []
        for id in scope["tasks"]:
            task = self._tasks.get(id)
            if task is not None and self._shown(task):
                parts.append(self._task(task))
        for key, count in scope["queued"].items():
            parts.append(iter([f"... and {count:,} more queued: {plain(key, 120)}"]))
        if scope.get("more"):
            parts.append(iter([f"... and {scope['more']:,} more tasks"]))
        yield from self._branches(parts, rest)

    def _branches(self, parts: list[Iterator[str]], indent: str) -> Iterator[str]:
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            for at, line in enumerate(part):
                yield (
                    indent
                    + ((self._last if last else self._branch) if at == 0 else ("   " if last else self._line))
                    + line
                )

    def _shown(self, task: dict[str, Any]) -> bool:
        return not self._why or task["why"]["kind"] == self._why or task["id"] in self._below

    def _task(self, task: dict[str, Any]) -> Iterator[str]:
        why = task["why"]
        waits = "" if why["kind"] == "runs" or task["state"] == "?" else "waits for "
        head = f"#{task['id']} {plain(task['name'], NAME_MAX)} ({plain(task['backend'], 20)}, {duration(task['age'])})"
        if task["attempt"] > 1:
            head += f" attempt {task['attempt']}"
        if task.get("items", 1) > 1:
            head += f" {task['items']} items"
        text = f"{head}: {waits}{plain(why['text'])}"
        if task.get("asked") and "asked to stop" not in why["text"]:
            text += ", was asked to stop"
        text += _place(task)
        code = "1;31" if task["id"] in self._stuck else "32" if why["kind"] == "runs" else ""
        yield self._paint(code, text) if code else text
        if self._stacks:
            for file, number, name in reversed(task.get("stack", ())):
                yield self._paint("2", f"    {plain(file, 200)}:{number}, in {plain(name, 100)}")
        parts = [self._scope(scope, "", "", "") for scope in self._below.get(task["id"], ())]
        look = task.get("look")
        if look is not None:
            parts += _Renderer(look, self._stacks, self._paint, self._branch[0] == "|", self._why).scopes()
        yield from self._branches(parts, "")

    def scopes(self) -> list[Iterator[str]]:
        """The outermost scopes of a nested tree."""
        return [self._scope(scope, "", "", " (in the worker)") for scope in self._below.get(0, ())]

    def _pool(self, pool: dict[str, Any]) -> Iterator[str]:
        head = f"{plain(pool['name'], 100)}: "
        if "workers" not in pool:
            yield (
                head
                + f"{busy_text(busy_count(pool), pool['max'])}, {pool['threads']} started, {pool['queued']:,} queued"
            )
            return
        yield head + f"{busy_text(busy_count(pool), pool['max'])}, {pool['queued']:,} queued"
        for worker in pool["workers"]:
            text = f"   worker {worker['pid']} {plain(worker['state'], 20)}"
            text += f", runs {self._name(worker['running'])}" if worker["running"] else ""
            text += f", {worker['tasks']} tasks sent" if worker["tasks"] > 1 else ""
            text += f", {worker['memory'] / (1 << 20):.0f} MiB" if worker["memory"] else ""
            yield text + (f", {100 * worker['cpu']:.0f} % of a core" if worker["cpu"] is not None else "")


def _place(told: dict[str, Any]) -> str:
    at = told.get("at")
    return f"  @ {plain(os.path.basename(at[0]), 80)}:{at[1]} in {plain(at[2], 80)}" if at else ""
