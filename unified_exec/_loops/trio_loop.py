"""The adapter of trio: each reader and each timer is a small system task, which ends with the run."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from types import FunctionType
from typing import TYPE_CHECKING, Any

import trio

from .adapter import LoopAdapter, Timer, Waiter
from .trio_ctrl_c import CtrlCCounter

if TYPE_CHECKING:
    from anyio import CancelScope

_guarded: set[type] = set()


class _TrioWaiter(Waiter):
    __slots__ = ("_event",)

    def __init__(self, event: trio.Event) -> None:
        self._event = event

    def wake(self) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._event.wait().__await__()


class _TrioTimer(Timer):
    __slots__ = ("scope",)

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope

    def cancel(self) -> None:
        self.scope.cancel()


class TrioAdapter(LoopAdapter):
    """Adapts one trio run."""

    kind = "trio"

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._root = trio.lowlevel.current_root_task()
        self._readers: dict[int, trio.CancelScope] = {}
        self._at_end: list[weakref.WeakMethod[Callable[[], object]]] = []
        self._ended = False
        self._ctrl_c: CtrlCCounter | None = None
        trio.lowlevel.spawn_system_task(self._watch_end)

    async def _watch_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._ended = True
            for hook in self._at_end:
                fn = hook()
                if fn is not None:
                    fn()

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        self._token.run_sync_soon(fn, *args)

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        try:
            self._token.run_sync_soon(fn, *args)
        except trio.RunFinishedError:
            return False
        return not self._ended

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                # A number of another kind would end trio's loop with an error.
                await trio.sleep(float(delay))
                fn(*args)

        trio.lowlevel.spawn_system_task(wait)
        return _TrioTimer(scope)

    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        scope = self._readers[fd] = trio.CancelScope()

        async def read() -> None:
            with scope:
                # Checked before each wait: once it is removed, the descriptor may be closed or belong to another file.
                while not scope.cancel_called:
                    try:
                        await trio.lowlevel.wait_readable(fd)
                    except trio.ClosedResourceError:
                        return
                    if not scope.cancel_called:
                        fn()

        trio.lowlevel.spawn_system_task(read)

    def remove_reader(self, fd: int) -> None:
        scope = self._readers.pop(fd, None)
        if scope is not None and not self._ended:
            scope.cancel()
            trio.lowlevel.notify_closing(fd)

    def is_cancelled(self, scope: CancelScope) -> bool:
        # There is no public way from a scope to the one around it. Trio itself keeps this flag for all scopes below.
        status = getattr(getattr(scope, "_CancelScope__original", None), "_cancel_status", None)
        if status is not None and status.effectively_cancelled:
            return True
        return not self.elsewhere() and scope.cancel_called  # looks at its deadline, too: for the loop's thread

    def ended(self) -> bool:
        return self._ended

    def elsewhere(self) -> bool:
        if self._ended:
            return False
        return not trio.lowlevel.in_trio_run() or trio.lowlevel.current_trio_token() is not self._token

    def guard(self, *classes: type) -> None:
        """Mark every method: trio then raises `KeyboardInterrupt` at the next checkpoint, or outside of them."""
        for cls in classes:
            if cls in _guarded:
                continue
            _guarded.add(cls)
            for member in vars(cls).values():
                method = member.fget if isinstance(member, property) else member
                if isinstance(method, FunctionType):
                    trio.lowlevel.enable_ki_protection(method)

    def on_second_ctrl_c(self, fn: Callable[[], object]) -> Callable[[], object]:
        if self._ctrl_c is None:
            self._ctrl_c = CtrlCCounter(self._token)
        return self._ctrl_c.add(fn)

    def on_end(self, fn: Callable[[], object]) -> None:
        self._at_end = [*(kept for kept in self._at_end if kept() is not None), weakref.WeakMethod(fn)]

    def current_task(self) -> object:
        return trio.lowlevel.current_task()

    def tasks(self) -> list[Any]:
        found: list[Any] = [self._root]
        for task in found:
            for nursery in list(getattr(task, "child_nurseries", ())):
                found += list(nursery.child_tasks)
        return found[1:]

    def waiter(self) -> Waiter:
        return _TrioWaiter(trio.Event())
