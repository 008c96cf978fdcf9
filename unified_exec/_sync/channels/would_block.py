"""What the `_nowait` forms of a channel raise. A module of its own: only who meets these errors imports anyio."""

from __future__ import annotations

from anyio import WouldBlock

from ...errors import UnifiedExecError


class _ChannelNotReady(UnifiedExecError, WouldBlock):
    """A `_nowait` form would have had to wait.

    Args:
        channel: the channel, as its ``repr`` names it.
    """

    _text = ""

    def __init__(self, channel: str) -> None:
        super().__init__(channel)
        self.channel = channel

    def __str__(self) -> str:
        return f"{self.channel} {self._text}"


class ChannelEmpty(_ChannelNotReady):
    """`Channel.receive_nowait` found no item.

    Args:
        channel: the channel, as its ``repr`` names it.
    """

    _text = "is empty; wait with `await channel.receive()` or, in a thread, channel.receive_sync()"


class ChannelFull(_ChannelNotReady):
    """`Channel.send_nowait` found no room.

    Args:
        channel: the channel, as its ``repr`` names it.
    """

    _text = "is full; wait with `await channel.send(item)` or, in a thread, channel.send_sync(item)"
