"""What the tasks and threads of this process wait for, at one instant."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextvars import Context
from typing import Any, Protocol

from ..._loops.current import running_adapters
from ..._loops.deadlines import has_deadline
from ..._tasks.current import INF
from ..._tasks.holders import ThreadHolder, describe, has_ended
from ..._worker import context, received
from ..shared.place import line_of
from ..shared.travel import shared_here
from ..waiters import Permit, TaskPermit, TaskWaiter, newest_permit
from .agents import Agent, agents_of_loops, agents_of_threads, agents_of_workers
from .frames import Awaited, awaits, coroutine_of, key_of, key_of_caller
from .graph import ANY_TASK, HAS, PART, PERMIT, REACH, TASKS, Key, Node
from .known import waited_for
from .reach import Reach
from .remote import of_own_workers


class Lock(Protocol):
    """A lock or semaphore, as far as it is looked at here."""

    token: bytes
    total: int

    def waiters(self) -> list[Any]: ...

    def holds(self) -> list[tuple[object, str]]: ...


class Snapshot:
    """The nodes of this process.

    Args:
        locks: those that somebody here waits for or holds.
        oldest: who began to wait after this instant is left out.
        looker: the waiter that looks: it is awake, and waits all the same; ``None`` for none.
        everybody: add those who wait for what is in `waited_for`, and whom they may wait for.

    Attributes:
        nodes: who waits.
        waiters: who can be told, by key.
        remote: the keys of those that wait in workers.
        open: waits for what other processes have, too: node, id of the object, name of the wait.
        reach: who has what in this process; ``None`` if that was not looked for.
        relied_on: see `remote.Look`.
    """

    def __init__(self, locks: Iterable[Lock], oldest: float, looker: Any, everybody: bool) -> None:
        self.nodes: list[Node] = []
        self.waiters: dict[Key, Any] = {}
        self.remote: set[Key] = set()
        self.open: list[tuple[Node, int, int]] = []
        self.reach: Reach | None = None
        self.relied_on: dict[Key, set[int]] = {}
        self._agents: dict[Key, list[Agent]] = {}  # a task, and the thread that runs its loop
        self._scopes: dict[Key, Node] = {}  # by task
        self._pid = os.getpid()
        self._oldest = oldest
        self._contexts: dict[Key, Context] = {}
        self._attempts: dict[Key, Key] = {}
        self._keys: dict[int, Key] = {}  # by the id of the holder
        self._threads: dict[int, Key] = {}  # by ident
        self._held: dict[Key, list[tuple[Lock, str]]] = {}
        self._todo: list[tuple[Key, Any]] = []  # who may await tasks
        if looker is not None:
            self._keys[id(looker.holder)] = key_of_caller(looker.holder)
        known = list(locks)
        for lock in known:
            for holder, line in lock.holds():
                if not has_ended(holder):
                    self._held.setdefault(self._key(holder), []).append((lock, line))
                    self._todo.append((self._key(holder), holder))
        for lock in known:
            for each in lock.waiters():
                waits = each is looker or not each.woken
                if waits and each.since <= oldest and not each.may_time_out:
                    self._add_waiter(lock, each)
        self._limits: dict[int, Any] = {}
        self._roots: set[Key] = set()  # threads of no task, and the main tasks that they run
        self._nested: dict[Key, Key | None] = {}  # main tasks that a thread runs until they end, with its own task
        self._seen = set(self.waiters)
        agents = self._find_agents() if everybody else []
        self._follow()
        if everybody:
            self._add_reached(agents, oldest)
        self._add_holds_of_limits()

    def _key(self, holder: Any) -> Key:
        found = self._keys.get(id(holder))
        if found is None:
            found = self._keys[id(holder)] = key_of(holder)
            if type(holder) is ThreadHolder:
                self._threads[holder.thread] = found
        return found

    def _name(self, lock: Lock) -> Any:
        return lock.token or (self._pid, id(lock))

    def _add_waiter(self, lock: Lock, each: Any) -> None:
        key = self._key(each.holder)
        words = f"{self._words(key, describe(each.holder))} waits for {lock!r} at {line_of(each.code, each.at)}"
        self.waiters[key] = each
        self.nodes.append(
            Node(key, each.since, id(each), PERMIT, (self._name(lock), lock.total), self._holds(key), words)
        )

    def _holds(self, key: Key) -> tuple[Any, ...]:
        return tuple([self._name(lock) for lock, _ in self._held.get(key, ())])

    def _words(self, key: Key, name: str) -> str:
        held = ", ".join(f"{lock!r} acquired at {line}" for lock, line in self._held.get(key, ()))
        where = f"{name} in process {self._pid}"
        return f"{where} holds {held} and" if held else where

    def _follow(self) -> None:
        """Add those that hold something, or that such a one awaits, and that await tasks themselves."""
        while self._todo:
            key, holder = self._todo.pop()
            if key not in self._seen:
                self._seen.add(key)
                awaited = awaits(holder)
                if awaited is not None and not has_deadline(holder):
                    self._add_awaiting(key, describe(holder), awaited)

    def _add_awaiting(self, key: Key, name: str, awaited: Awaited) -> None:
        if awaited.limit is not None:
            self._add_limit(key, name, awaited.limit, awaited.sleeper)
        if awaited.kind not in (TASKS, ANY_TASK):
            return
        handles = [handle for handle in awaited.handles if not handle.done()]
        wants = tuple([(self._pid, handle.id) for handle in handles])
        names = ", ".join(repr(handle.name) for handle in handles)
        words = f"{self._words(key, name)} waits for task{'s' * (len(handles) != 1)} {names}"
        self.nodes.append(Node(key, 0.0, awaited.mark, awaited.kind, wants, self._holds(key), words))
        self._todo += [
            ((self._pid, handle.id), handle.backend_data)
            for handle in handles
            if getattr(handle, "backend", None) == "loop" and coroutine_of(handle.backend_data) is not None
        ]

    def _has(self, permit: Permit) -> bool:
        """Tell whether a permit is the task's own, and not that of another coroutine which the task has started."""
        context = self._contexts.get((self._pid, permit.task))
        at = None if context is None else context.get(newest_permit)
        while at is not None and at is not permit:
            at = at.outer
        return context is None or at is permit or type(permit) is TaskPermit

    def _find_agents(self) -> list[Agent]:
        """Find those who wait, and add those that await tasks."""
        agents = list(agents_of_loops(running_adapters()))
        runs = {number: agent.key for agent in agents for number in agent.runs}
        threads = list(agents_of_threads(runs, self._threads))
        self._roots = {agent.key for agent in threads}
        agents += threads
        for agent in agents:
            if agent.context is not None:
                self._contexts[agent.key] = agent.context
            if agent.awaited is not None and agent.key not in self._seen:
                self._add_awaiting(agent.key, agent.name, agent.awaited)
            self._seen.add(agent.key)  # `_follow` has nothing to add
            if agent.thread_of is not None and agent.thread_of != agent.key:
                self._add_nested(agent, agent.thread_of)
            if agent.asker is not None:
                self._add_asker(agent)
        self._add_queued()
        return agents

    def _add_nested(self, agent: Agent, main: Key) -> None:
        self._nested[main] = agent.key if agent.is_task else None
        if agent.is_task:
            words = f"{self._words(agent.key, agent.name)} waits for an event loop that it runs"
            self.nodes.append(Node(agent.key, 0.0, main[1], TASKS, (main,), self._holds(agent.key), words))

    def _add_asker(self, agent: Agent) -> None:
        key = self._pid, agent.asker.event_id  # of an attempt: the id of its task, which has the limit
        self._attempts[self._pid, agent.asker.id] = key
        words = f"{self._words(key, f'task {agent.asker.name!r}')} waits for {agent.name}, which it has asked for"
        self._seen.add(key)
        self.nodes.append(Node(key, 0.0, id(agent.asker), TASKS, (agent.key,), self._holds(key), words))

    def _add_reached(self, agents: list[Agent], oldest: float) -> None:
        """Add those that wait for an object, if it is known who else has it."""
        waiting = {
            agent.key: agent
            for agent in agents
            if agent.awaited is not None and agent.awaited.kind == REACH and agent.awaited.sleeper.since <= oldest
        }
        stuck = {*waiting, *[node.key for node in self.nodes]}
        reach = self.reach = Reach()
        for agent in agents:
            if agent.key in stuck or agent.is_internal:
                agent.add_to(reach)
            agent.variables.clear()  # these references are not to be counted
            self._agents.setdefault(agent.key, []).append(agent)
        for agent in agents_of_workers():
            agent.add_to(reach)
            self._agents.setdefault(agent.key, []).append(agent)
        if context.worker is not None:
            reach.add_root(received.channels, None)
        reach.explore()
        self._scopes = {task: node for node in self.nodes if node.kind == ANY_TASK for task in node.wants}
        for key, agent in waiting.items():
            awaited = agent.awaited
            if awaited is None or key in self.waiters or (live := self.could_cancel(key)) is None:
                continue
            holders = reach.holders_of(awaited.target)
            if holders is not None:
                words = f"{self._words(key, agent.name)} {awaited.words}"
                wants = tuple(sorted((holders | live[0]) - {key}))
                node = Node(key, awaited.sleeper.since, awaited.mark, REACH, wants, self._holds(key), words)
                self._add_waiting(node, live, awaited, reach.object_of(awaited.target).token)
        if context.worker is not None:
            numbers = {each.token: id(each) for each in shared_here}
            for token, number in numbers.items():
                holders = reach.holders_of(number)
                if holders is not None:
                    self.nodes.append(Node((self._pid, 0), 0.0, 0, HAS, (token, *sorted(holders)), (), ""))
            self.nodes += of_own_workers(self)

    def _add_waiting(self, node: Node, live: tuple[set[Key], Key | None], awaited: Awaited, token: bytes) -> None:
        assert self.reach is not None
        if live[1] is not None:
            if token:
                self.nodes.append(node._replace(kind=PART, wants=(token, awaited.wait, live[1], *sorted(live[0]))))
        elif context.worker is None and self.reach.object_of(awaited.target).used_by(awaited.wait) == ({}, set()):
            self.nodes.append(node)
            self.waiters[node.key] = awaited.sleeper
        elif token:
            self.open.append((node, awaited.target, awaited.wait))
            self.waiters[node.key] = awaited.sleeper

    def could_cancel(self, key: Key) -> tuple[set[Key], Key | None] | None:
        """Return whose code could end a wait by a cancellation; ``None`` if anybody else's could.

        Those are the other tasks of the scope and its host, if that waits for its end, and who else has the scope or a
        cancel scope around the wait; and so on, outwards. In a worker this ends at the task of its parent, which is
        returned, too: the rest is for the parent to find out.
        """
        reach = self.reach
        assert reach is not None
        found: set[Key] = set()
        while True:
            parts = self._agents.get(key, ())
            host = self._scopes.get(key)
            if not parts or any(part.may_be_cancelled for part in parts) or (host is not None and host.key in found):
                return None
            around = [number for part in parts for number in part.around]
            for number in (*around, *([] if host is None else [host.mark])):
                holders = reach.holders_of(number)
                if holders is None:
                    return None
                found |= holders - {key}
            outer = self._nested.get(key) if host is None else host.key
            if outer is None:
                break
            found |= {outer, *(() if host is None else host.wants)}
            key = outer
        if context.worker is not None and key[0] != self._pid:
            return found, key
        is_task = key[0] != self._pid or key[1] > 0  # of a scope whose body goes on
        return None if is_task or key in self._nested or not (found or key in self._roots) else (found, None)

    def _add_limit(self, key: Key, name: str, limit: Any, waiter: Any) -> None:
        self._limits[id(limit)] = limit
        wants = (self._pid, id(limit)), max(limit.n, len(limit.permits()))
        words = f"{self._words(key, name)} waits for {limit!r}"
        since = getattr(waiter, "since", INF)
        if since <= self._oldest:
            self.waiters.setdefault(key, waiter)
        self.nodes.append(
            Node(key, since if since <= self._oldest else 0.0, id(waiter), PERMIT, wants, self._holds(key), words)
        )

    def _add_queued(self) -> None:
        """Add the tasks that wait for a limit before they start."""
        for limit in waited_for:
            for waiter in limit.asleep():
                if type(waiter) is TaskWaiter and not waiter.has_deadline:
                    self._add_limit((self._pid, waiter.task), f"task {waiter.name!r}", limit, waiter)

    def _add_holds_of_limits(self) -> None:
        """Note who holds the limits that were met. Code outside of tasks is not a node: such a limit may come free."""
        for limit in self._limits.values():
            tasks = [(self._pid, permit.task) for permit in limit.permits() if self._has(permit)]
            holders = [self._attempts.get(key, key) for key in tasks]
            for at, node in enumerate(self.nodes):
                if node.key in holders:
                    name = self._pid, id(limit)
                    words = node.words.replace(" waits for ", f", holds {limit!r}, waits for ", 1)
                    self.nodes[at] = node._replace(holds=node.holds + (name,) * holders.count(node.key), words=words)
