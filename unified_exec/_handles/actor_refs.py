"""Actors outside of their event loop: calls go over the way back of the calling task. Light: workers import it."""

from __future__ import annotations

import secrets
from weakref import WeakValueDictionary

from .._tasks.current import current
from .._tasks.requests import CALL, CANCEL, WAIT, Pending
from .spawned import SpawnedTask, start, wait_async

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .._tasks.current import CurrentTask

_known: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""By token: the actors of this process that have travelled, and the references to those of others."""


class ActorRef:
    """An actor of another process.

    Attributes:
        name: of the actor.
        cls: its class.
        state: always ``"up"``: what became of the actor, a call tells.
        pending: always 0.
    """

    state = "up"
    pending = 0

    def __init__(self, token: str, name: str, cls: Callable[..., Any] | None) -> None:
        self.token = token
        self.name = name
        self.cls = cls

    def call(
        self, method: Callable[..., Any], /, *args: Any, timeout: float | None = None, name: str | None = None
    ) -> SpawnedTask[Any]:
        """Call a method and return at once; see `Actor.call`. It is a call of the actor's scope, which waits for it."""
        if timeout is not None:
            from .._rules.arguments import check_seconds

            check_seconds("timeout", timeout)
        return ask((self.token, self.name), self.name, method_name(self.cls, method), args, timeout, name)

    def stream(self, method: Callable[..., Any], /, *args: Any) -> Any:
        raise no_stream(self.name)

    def __reduce__(self) -> Any:
        return arrived, (self.token, self.name, self.cls)

    def __repr__(self) -> str:
        return f"<Actor {self.name!r} of another process>"


class GroupRef(ActorRef):
    """A group of actors of another process, which chooses the one for each call.

    Attributes:
        members: the actors.
    """

    def __init__(self, token: str, members: list[Any]) -> None:
        super().__init__(token, members[0].name, members[0].cls)
        self.members = members

    def broadcast(self, method: Callable[..., Any], /, *args: Any) -> list[SpawnedTask[Any]]:
        """Call a method of every actor."""
        return [actor.call(method, *args) for actor in self.members]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __reduce__(self) -> Any:
        return arrived_group, (self.token, self.members)

    def __repr__(self) -> str:
        return f"<ActorGroup {self.members!r}>"


def no_stream(name: str) -> TypeError:
    return TypeError(
        f"actor {name!r} streams on the event loop of its scope only: in a task pass the method a Channel to send into"
    )


def method_name(cls: Any, method: Any) -> str:
    """Return the name of a method of an actor's class.

    Raises:
        TypeError: it is none.
    """
    name: str = getattr(method, "__name__", "")
    if not name or (isinstance(cls, type) and not hasattr(cls, name)):
        of = getattr(cls, "__qualname__", repr(cls))
        raise TypeError(f"{method!r} is not a method of {of}: write actor.call({of}.method, ...)")
    return name


def token_of(actor: Any) -> str:
    """Name an actor of this process, or a group, which travels from now on."""
    token: str | None = actor.token
    if token is None:
        token = actor.token = secrets.token_hex(8)
        _known[token] = actor
    return token


def arrived(token: str, name: str, cls: Callable[..., Any] | None = None) -> Any:
    """Return the actor of this token, or a reference if it is not one of this process."""
    found = _known.get(token)
    if found is None:
        found = ActorRef(token, name, cls)
        if cls is not None:
            _known[token] = found
    return found


def arrived_group(token: str, members: list[Any]) -> Any:
    """Return the group of this token, or a reference if it is not one of this process."""
    found = _known.get(token)
    if found is None:
        found = _known[token] = GroupRef(token, members)
    return found


def itself(actor: Any) -> Any:
    """What an actor of a blocking scope becomes elsewhere."""
    return actor


def ask(
    actor: object, of: str, method: str, args: tuple[Any, ...], timeout: float | None, name: str | None
) -> SpawnedTask[Any]:
    """Ask the scope of the calling task for a call of an actor.

    Args:
        actor: an actor of this process, or token and name of one.
        of: the actor's name.
        method, args, timeout, name: of the call.
    """
    task = current.get()
    if task is None:
        raise RuntimeError(
            f"actor {of!r} is called on the event loop of its scope, or in a task of a scope: "
            "start this function with scope.spawn(...)"
        )
    name = None if name is None else str(name)
    options = {"timeout": timeout, "name": name}
    return start(task, CALL, None, (actor, method, args), options, name or f"{of}.{method}")


async def forward(task: CurrentTask, actor: object, method: str, args: tuple[Any, ...], options: Any) -> Any:
    """Pass a call on to the scope of a task, and wait for it."""
    pending = Pending(CALL, None, (actor, method, args), options, int)
    task.send_request(pending)
    try:
        return await wait_async(task, WAIT, None, (pending.number,))
    except BaseException:
        task.send_request(Pending(CANCEL, None, (pending.number,)))
        raise
