"""What the `_nowait` forms of a channel raise. A module of its own: only who meets these errors imports anyio."""

from __future__ import annotations

from anyio import WouldBlock

from ...errors import UnifiedExecError

__all__ = ["ChannelEmpty", "ChannelFull"]


class ChannelEmpty(UnifiedExecError, WouldBlock):
    """`Channel.receive_nowait` found no item.

    Args:
        channel: the channel, as its ``repr`` names it.
    """

    def __init__(self, channel: str) -> None:
        super().__init__(channel)
        self.channel = channel

    def __str__(self) -> str:
        return f"{self.channel} is empty; wait with `await channel.receive()` or, in a thread, channel.receive_sync()"


class ChannelFull(UnifiedExecError, WouldBlock):
    """`Channel.send_nowait` found no room.

    Args:
        channel: the channel, as its ``repr`` names it.
    """

    def __init__(self, channel: str) -> None:
        super().__init__(channel)
        self.channel = channel

    def __str__(self) -> str:
        return f"{self.channel} is full; wait with `await channel.send(item)` or, in a thread, channel.send_sync(item)"
