"""What a worker knows of the program beyond its functions: values of globals, and the program's surroundings."""

from __future__ import annotations

from typing import Any

from ..._wire import frames
from ..._wire.pickling.functions import EncodedCall
from ..._wire.pickling.surroundings import Snapshot
from ..._wire.protocol import ParentConnection


class WorkerKnowledge:
    """Decides what has to travel with a task so that the worker has the values of its spawn, or newer ones.

    What was sent is known for certain only when its task is answered (`ParentConnection.known`); until then it goes
    along with each task that needs it.

    Args:
        connection: the conversation.
        start: the surroundings from which the worker was started.
        fixed: environment variables that the pool sets in it.

    Attributes:
        surroundings: those that the worker has for certain.
    """

    __slots__ = ("_connection", "_fixed", "_homes", "_start", "_variables", "surroundings")

    def __init__(self, connection: ParentConnection, start: Snapshot, fixed: frozenset[Any]) -> None:
        self._connection = connection
        self._fixed = fixed
        self._homes: set[str] = set()  # tokens of the modules it was sent
        self._variables: set[Any] = set()  # the environment variables it was told of since its start
        self.surroundings = self._start = start

    def complete(
        self, call: EncodedCall, surroundings: Snapshot, function: bytes, flags: int
    ) -> tuple[bytes, int, int | tuple[int, ...] | None]:
        """Add what the worker lacks to a task.

        Args:
            call: the task's call.
            surroundings: the program's, now.
            function: the function's pickle, if the worker lacks it.
            flags: the flags of the message.

        Returns:
            what goes in the function's place, the flags, and the numbers that the worker learns with the task.
        """
        known = self._connection.known
        id = call.entry.id if flags & frames.NEW_FUNCTION else None
        needed = [needed for needed in (*call.entry.needs, *call.needs) if needed.id not in known]
        changes = None
        if surroundings is not self.surroundings:
            if -surroundings.number in known:
                self.surroundings = surroundings
            else:
                changes = surroundings.changes_since(self._start, self._variables, self._fixed)
        if not needed and changes is None:
            return function, flags, id
        from ..._wire.pickling import globals_sent

        learns = [needed.id for needed in needed]
        if id is not None:
            learns.append(id)
        if changes is not None:
            learns.append(-surroundings.number)
        data = globals_sent.message(needed, function, changes, self._homes)
        return data, flags | frames.WITH_GLOBALS, tuple(learns)
