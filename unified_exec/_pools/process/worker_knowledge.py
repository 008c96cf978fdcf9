"""What a worker knows of the program beyond its functions: values of globals, and the program's surroundings."""

from __future__ import annotations

from typing import Any

from ..._wire import frames
from ..._wire.pickling.carried import Carried
from ..._wire.pickling.functions import EncodedCall
from ..._wire.pickling.issuer import next_number
from ..._wire.pickling.surroundings import Snapshot, snapshot
from ..._wire.protocol import ParentConnection

KNOWN_MAX = 2000
"""Functions and values that a worker remembers; then it is told to forget all functions."""
CONTEXTS = 1 << 62
"""Numbers of contexts begin here: those of functions may be another program's, see `relay`."""
New = tuple[int, bytes, int | tuple[int, ...] | None]
"""What goes along with a task: flags, the bytes in the function's place, the numbers that the worker learns."""
NOTHING_NEW: New = (0, b"", None)


class WorkerKnowledge:
    """Decides what has to travel with a task so that the worker has the values of its spawn, or newer ones.

    What was sent is known for certain only when its task is answered (`ParentConnection.known`); until then it goes
    along with each task that needs it.

    Attributes:
        surroundings: those that the worker has for certain.
    """

    def __init__(self, connection: ParentConnection) -> None:
        self._connection = connection
        self._homes: set[str] = set()  # tokens of the modules it was sent
        self._variables: set[Any] = set()  # the environment variables it was told of since its start
        # The context that it was sent last, and the number of that sending. While this is not among the known ones, the
        # context may have been taken back with its task; when it is sent again it has another number.
        self._carried = 0
        self._carried_number = 0
        self.started_from(snapshot(), frozenset())

    def started_from(self, start: Snapshot, fixed: frozenset[Any]) -> None:
        """Note the surroundings in which the worker was started, and the environment variables that its pool sets."""
        self.surroundings = self._start = start
        self._fixed = fixed

    def lacks(self, carried: Carried) -> bool:
        """Tell whether the context that the worker has for certain is another one than `carried`."""
        return carried.number != self._carried or self._carried_number not in self._connection.known

    def complete(self, call: EncodedCall, surroundings: Snapshot) -> New:
        """Return what the worker lacks for a call, in the program's present surroundings."""
        entry, known = call.entry, self._connection.known
        flags = 0
        function: bytes = b""
        id = None
        if entry.id and entry.id not in known:
            function = entry.payload
            flags = frames.NEW_FUNCTION
            id = entry.id
            if len(known) >= KNOWN_MAX:  # a new lambda for each task must not fill the worker
                self._connection.forget_functions()
                known = self._connection.known
                flags |= frames.FORGET_FUNCTIONS
        carried = call.carried
        context = None
        all_needed = (*entry.needs, *call.needs)
        if carried is not None:
            if carried.number != self._carried:
                known.discard(self._carried_number)
                self._carried, self._carried_number = carried.number, CONTEXTS + next_number()
            if self.lacks(carried):
                context = carried.data
                all_needed += carried.needs
        needed = [one for one in all_needed if one.id not in known or (one.is_replaced and one.is_definition)]
        changes = None
        if surroundings is not self.surroundings:
            if -surroundings.number in known:
                self.surroundings = surroundings
            else:
                changes = surroundings.changes_since(self._start, self._variables, self._fixed)
        if not needed and changes is None and context is None:
            return flags, function, id
        from ..._wire.pickling import globals_sent

        learns = [needed.id for needed in needed]
        if id is not None:
            learns.append(id)
        if changes is not None:
            learns.append(-surroundings.number)
        if context is not None:
            learns.append(self._carried_number)
        data = globals_sent.message(needed, function, changes, self._homes, context)
        return flags | frames.WITH_GLOBALS, data, tuple(learns)
