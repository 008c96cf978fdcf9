"""How the workers of a pool are started: most of many are forked of a template."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ...errors import WorkerStartError
from . import prestart
from .child import Child
from .frozen import is_frozen
from .start_worker import start_process

if TYPE_CHECKING:
    from .template import Template

SEVERAL = 3
"""Workers that are started as processes of their own, before a template is: it costs as much as one of them."""


class Templates:
    """Starts the workers of a pool, and has a template for them while that pays.

    Args:
        workers: of the pool.
        most: how many there may be.

    Attributes:
        coming: the pool waits for a template.
    """

    def __init__(self, workers: Collection[object], most: int) -> None:
        self._workers, self._most = workers, most
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: start afresh."""
        self._lock = threading.Lock()
        self._now: Template | None = None
        self._total = self._alone = 0  # workers started, and those without a template since there was one
        self._several = SEVERAL
        self.coming = False

    def start(self, environment: dict[str, str]) -> Child:
        """Start what is to be a worker.

        Raises:
            WorkerStartError: it could not be started.
        """
        self._total += 1
        child = prestart.take(environment) or self._forked(environment)
        if child is None:
            child = start_process(environment)
            self._alone += child.pidfd is not None  # where there is none, no worker is forked
        return child

    def _forked(self, environment: dict[str, str]) -> Child | None:
        template = self._now
        if template is None or (up := template.is_up()) is False:
            return None
        if up and template.serves(environment):
            try:
                child = template.fork()
            except OSError as exc:
                raise WorkerStartError(f"a worker could not be forked: {exc}") from exc
            if child is not None:
                return child
        self._several *= 2  # it was killed, has not come up, or is not what the program is now: maybe soon again
        self.discard()
        return None

    def should_wait(self, environment: Callable[[], dict[str, str]]) -> bool:
        """Tell whether a worker had better wait for a moment until it can be forked. Starts a template if that pays.

        Args:
            environment: returns the environment variables of the worker.
        """
        with self._lock:
            if self._now is None and self._pays():
                try:
                    from .template import Template

                    self._now = Template(environment())
                except Exception:  # descriptors are short, or the program's state is strange: a worker will tell
                    self._alone = 0
            self.coming = self._now is not None and self._now.is_up() is False
        return self.coming

    def _pays(self) -> bool:
        """Tell whether some workers will probably be forked: the pool grows, or loses workers again and again."""
        grows = len(self._workers) + 2 <= self._most
        return self._alone >= self._several and (grows or self._total >= self._most + SEVERAL) and not is_frozen()

    def discard(self) -> None:
        """Let the template end with its last worker."""
        with self._lock:
            template, self._now = self._now, None
            self._alone = 0
            self.coming = False
        if template is not None:
            template.discard()
