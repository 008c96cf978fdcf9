"""What running tasks ask of their scope from a node, and what they log there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from .._pools.process.task_requests import EncodedReply, WorkerRequest, encode_global, encode_reply
from .._tasks.requests import LOOK_UP, STOP
from .._tasks.task import Task
from .._tasks.types import Outcome
from .._wire import frames
from .._wire.errors.encode import encode_error
from .._wire.pickling import codec
from .._worker.shared_object import Shared
from ..errors import SerializationError
from . import wire
from .node import Node, WorkerRef


class NodeWorker(NamedTuple):
    """A worker on a node, as the source of log records.

    Attributes:
        pid: the worker.
        tasks: those of its node.
    """

    pid: WorkerRef
    tasks: dict[int, Task]


class NodeRequests:
    """Hands the requests of tasks to their scopes, and sends the answers.

    Args:
        on_unblock: called when a task goes on: there may be more at the node than it has slots.
    """

    def __init__(self, on_unblock: Callable[[], object]) -> None:
        self._on_unblock = on_unblock

    def read(self, node: Node, id: int, number: int, flags: int, data: frames.Bytes, buffers: list[memoryview]) -> None:
        """Take in a request of a task that runs on `node`."""
        task = node.tasks.get(id)
        if task is None:
            return
        if flags & frames.BLOCKS:
            node.blocked[id] = number
        reply = partial(self._reply, node, id, number)
        try:
            call: Any = codec.decode(data, buffers, "what the task asks of its scope")
            request = WorkerRequest(number, flags, call, reply)
            if request.verb == LOOK_UP:  # not for the scope
                self._send(node, id, number, "what it has looked up", encode_global(*request.args))
                return
            if request.verb == STOP:
                node.link.send((wire.pack_numbers(wire.WITHDRAWN, [id, request.args[0]]), ()))
                self._unblock(node, id, request.args[0])
        except Exception as error:
            reply("", Outcome(error=error))
        else:
            task.on_request(request)

    def _reply(self, node: Node, id: int, number: int, name: str, outcome: Outcome[Any]) -> None:
        if not node.gone and id in node.tasks:
            self._send(node, id, number, f"the result of {name}()", encode_reply(name, outcome))

    def _send(self, node: Node, id: int, number: int, what: str, reply: EncodedReply) -> None:
        try:
            refuse_local(reply.shared, f"in {what}")
        except SerializationError as error:
            reply = EncodedReply(frames.ERROR, encode_error(error))
        node.place(reply.shared)
        node.link.send(wire.pack_reply(id, number, reply._replace(shared=[one.token for one in reply.shared])))
        self._unblock(node, id, number)

    def _unblock(self, node: Node, id: int, number: int) -> None:
        if node.blocked.get(id) == number:
            del node.blocked[id]
            if node.is_overfull():
                self._on_unblock()


def refuse_local(objects: Iterable[object], where: str) -> None:
    """Refuse what shares memory or descriptors with this process, such as channels, locks and sockets.

    Raises:
        SerializationError: one of them is not a shared object, which is copied to each node.
    """
    for one in objects:
        if not isinstance(one, Shared):
            raise SerializationError(
                f"{one!r}, {where},",
                "it shares memory or a descriptor with this process, and that ends at this machine",
                "pass values; send items back by report() or scope.stream(); have this program use it by "
                "from_task.run(fn), which runs fn on its event loop; or use a pool of this machine",
            )
