"""The block of a `TaskScope`: what entering and leaving it does. `TaskScope` adds the verbs that start tasks."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Container
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .lazy_group import LazyTaskGroup

if TYPE_CHECKING:
    from .._rules.policies import Policy
    from .engine import ScopeEngine


class ScopeBlock(LazyTaskGroup):
    """Has an engine while its block is open.

    Args:
        name, policy, timeout: see `TaskScope`.
        options: its other arguments, as `ScopeEngine` takes them.
    """

    def __init__(self, name: str | None, policy: Policy, timeout: float | None, options: tuple[Any, ...]) -> None:
        super().__init__()
        self.name = name if name is None else str(name)
        self.policy = policy
        self.timeout = timeout
        self._options = options
        self._engine: ScopeEngine | None = None
        self._cancelled_early: list[str | None] = []  # the reason, if it was cancelled before its block was entered

    async def __aenter__(self) -> Self:
        from unified_exec._loops.current import current_adapter  # absolute names are quicker in a function
        from unified_exec._scope.engine import KEPT_WHOLE, ScopeEngine

        adapter = current_adapter()
        classes = type(self).__mro__
        base = classes.index(ScopeBlock)
        adapter.guard(classes[base - 1], ScopeBlock, *KEPT_WHOLE)  # not a class of the user's
        group = self._task_group()
        await group.__aenter__()
        try:
            self._engine = ScopeEngine(group, adapter, self.name, self.policy, self.timeout, *self._options)
        except BaseException:  # no thread can be started, for example
            await group.__aexit__(None, None, None)
            raise
        for reason in self._cancelled_early:
            self._engine.ending.note_cancelled(reason)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        try:
            return await engine_of(self).close(self, kind, exc, tb)
        finally:
            del kind, exc, tb  # no cycle from an error over its traceback to this frame

    if not TYPE_CHECKING:  # a type checker tells it by itself

        def __enter__(self):
            raise TypeError(
                "write `async with TaskScope() as scope:`, or in code that is not async "
                "`with SyncTaskScope() as scope:`"
            )

        def __exit__(self, *_):
            pass  # without it, `with` would not come to the error above

    def cancel(self, reason: str | None = None) -> None:
        """Cancel everything in the scope, its body included; `reason` is shown to the tasks."""
        from unified_exec._rules.arguments import text

        reason = text(reason)
        engine = self._engine
        if engine is not None:
            if engine.is_open and engine.thread != get_ident():
                from unified_exec._handles.validation import wrong_thread_to_cancel

                raise RuntimeError(wrong_thread_to_cancel(self, "scope"))
            engine.cancel(reason)
        elif not self.cancel_scope.cancel_called:
            self._cancelled_early.append(reason)
            self.cancel_scope.cancel(reason)

    def _repr_mimebundle_(self, include: Container[str] | None = None, **_: Any) -> dict[str, str]:
        from unified_exec.observe.notebook import Bundle

        return Bundle(repr(self), self._engine, html=include is None or "text/html" in include)

    def __repr__(self) -> str:
        name, engine = f" {self.name!r}" if self.name else "", self._engine
        state = "open" if engine is not None and engine.is_open else "closed"
        return f"<TaskScope{name} {state}, {len(engine.tasks()) if engine is not None else 0} tasks running>"


def engine_of(scope: ScopeBlock, fn: object = None) -> ScopeEngine:
    """Return the engine of an open scope.

    Args:
        scope: the scope.
        fn: what is to be started in it, if anything.

    Raises:
        RuntimeError: it is not open, or `fn` cannot be started in this thread.
    """
    engine = scope._engine
    if engine is None or not engine.is_open:
        from unified_exec._handles.validation import not_open

        raise RuntimeError(not_open(fn, engine is not None))
    if fn is not None and engine.thread != get_ident():
        from unified_exec._handles.validation import wrong_thread_to_start

        raise RuntimeError(wrong_thread_to_start(fn))
    return engine
