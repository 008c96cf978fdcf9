"""Items from one sender to one receiver: between processes, threads and coroutines."""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import threading
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import anyio

from unified_exec import Channel, ProcessPool, TaskScope

from ..engines.engine import on_loop
from ..row import OURS, Bar, Contender, Row, Settings

ITEM = {"id": 7, "name": "abc", "xs": [1, 2, 3]}
ITEMS = 20_000
CAPACITY = 1000


def _put_all(put: Callable[[Any], object], count: int) -> None:
    for _ in range(count):
        put(ITEM)


def _get_all(get: Callable[[], Any], count: int) -> float:
    """Return the seconds for each item after the first."""
    get()
    began = perf_counter()
    for _ in range(count - 1):
        get()
    return (perf_counter() - began) / (count - 1)


async def _a_put_all(put: Callable[[Any], Awaitable[object]], count: int) -> None:
    for _ in range(count):
        await put(ITEM)


async def _a_get_all(get: Callable[[], Awaitable[Any]], count: int) -> float:
    await get()
    began = perf_counter()
    for _ in range(count - 1):
        await get()
    return (perf_counter() - began) / (count - 1)


# -- between processes


def _send(channel: Channel[Any], count: int) -> None:
    _put_all(channel.send_sync, count)


def _receive(channel: Channel[Any], count: int) -> float:
    return _get_all(channel.receive_sync, count)


def _our_processes(settings: Settings) -> float:
    async def main() -> float:
        channel, count = Channel[Any](CAPACITY), settings.calls(ITEMS)
        async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
            scope.spawn(_send, channel, count, on="process")
            return await scope.spawn(_receive, channel, count, on="process")

    return on_loop(settings.loop, main)


def _our_process_to_loop(settings: Settings) -> float:
    async def main() -> float:
        channel, count = Channel[Any](CAPACITY), settings.calls(ITEMS)
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
            scope.spawn(_send, channel, count, on="process")
            return await _a_get_all(channel.receive, count)

    return on_loop(settings.loop, main)


def _fill_queue(items: Any, count: int) -> None:
    _put_all(items.put, count)
    items.close()
    items.join_thread()


def _drain_queue(items: Any, count: int, answer: Any) -> None:
    answer.put(_get_all(items.get, count))


def _queue_of_multiprocessing(settings: Settings) -> float:
    context, count = multiprocessing.get_context("forkserver"), settings.calls(ITEMS)
    items, answer = context.Queue(CAPACITY), context.SimpleQueue()
    processes = [
        context.Process(target=_fill_queue, args=(items, count)),
        context.Process(target=_drain_queue, args=(items, count, answer)),
    ]
    for process in processes:
        process.start()
    seconds: float = answer.get()
    for process in processes:
        process.join()
    return seconds


def _queue_to_loop(settings: Settings) -> float:
    context, count = multiprocessing.get_context("forkserver"), settings.calls(ITEMS // 4)
    items = context.Queue(CAPACITY)
    process = context.Process(target=_fill_queue, args=(items, count))
    process.start()

    async def main() -> float:
        return await _a_get_all(lambda: asyncio.to_thread(items.get), count)

    seconds = asyncio.run(main())
    process.join()
    return seconds


# -- in one process


def _two_threads(put: Callable[[Any], object], get: Callable[[], Any], count: int) -> float:
    thread = threading.Thread(target=_put_all, args=(put, count))
    thread.start()
    seconds = _get_all(get, count)
    thread.join()
    return seconds


def _our_threads(settings: Settings) -> float:
    channel = Channel[Any](CAPACITY)
    return _two_threads(channel.send_sync, channel.receive_sync, settings.calls(ITEMS))


def _queue_of_threads(settings: Settings) -> float:
    items: queue.Queue[Any] = queue.Queue(CAPACITY)
    return _two_threads(items.put, items.get, settings.calls(ITEMS))


async def _two_coroutines(put: Any, get: Any, count: int) -> float:
    """Return the seconds for each of all items: a sender that gives no turn has sent many before one is received."""
    began = perf_counter()
    async with anyio.create_task_group() as group:
        group.start_soon(_a_put_all, put, count)
        await _a_get_all(get, count)
    return (perf_counter() - began) / count


def _our_coroutines(settings: Settings) -> float:
    channel = Channel[Any](CAPACITY)
    return on_loop(settings.loop, _two_coroutines, channel.send, channel.receive, settings.calls(ITEMS))


def _queue_of_asyncio(settings: Settings) -> float:
    async def main() -> float:
        items: asyncio.Queue[Any] = asyncio.Queue(CAPACITY)
        return await _two_coroutines(items.put, items.get, settings.calls(ITEMS))

    return on_loop(settings.loop, main)


def _stream_of_anyio(settings: Settings) -> float:
    async def main() -> float:
        send, receive = anyio.create_memory_object_stream[Any](CAPACITY)
        async with send, receive:
            return await _two_coroutines(send.send, receive.receive, settings.calls(ITEMS))

    return on_loop(settings.loop, main)


def _our_thread_to_loop(settings: Settings) -> float:
    async def main() -> float:
        channel, count = Channel[Any](CAPACITY), settings.calls(ITEMS)
        thread = threading.Thread(target=_put_all, args=(channel.send_sync, count))
        thread.start()
        seconds = await _a_get_all(channel.receive, count)
        thread.join()
        return seconds

    return on_loop(settings.loop, main)


def _janus(settings: Settings) -> float:
    import janus  # type: ignore[import-not-found, unused-ignore]

    async def main() -> float:
        items, count = janus.Queue(CAPACITY), settings.calls(ITEMS)
        thread = threading.Thread(target=_put_all, args=(items.sync_q.put, count))
        thread.start()
        seconds = await _a_get_all(items.async_q.get, count)
        thread.join()
        items.close()
        await items.wait_closed()
        return seconds

    return on_loop(settings.loop, main)


def _our_loop_to_thread(settings: Settings) -> float:
    channel, count = Channel[Any](CAPACITY), settings.calls(ITEMS)
    return on_loop(settings.loop, _to_thread, channel.send, channel.receive_sync, count)


async def _to_thread(put: Callable[[Any], Awaitable[object]], get: Callable[[], Any], count: int) -> float:
    seconds: list[float] = []
    thread = threading.Thread(target=lambda: seconds.append(_get_all(get, count)))
    thread.start()
    await _a_put_all(put, count)
    await anyio.to_thread.run_sync(thread.join)
    return seconds[0]


def _janus_to_thread(settings: Settings) -> float:
    import janus  # type: ignore[import-not-found, unused-ignore]

    async def main() -> float:
        items = janus.Queue(CAPACITY)
        seconds = await _to_thread(items.async_q.put, items.sync_q.get, settings.calls(ITEMS))
        await items.aclose()
        return seconds

    return on_loop(settings.loop, main)


_ASYNCIO = ("asyncio", "uvloop")

ROWS = [
    Row(
        "channel-processes",
        "Channel: process to process",
        "s",
        "20,000 small dicts from one process task to another; seconds for each item. Judge it on a quiet machine.",
        (Contender(OURS, _our_processes), Contender("multiprocessing.Queue", _queue_of_multiprocessing)),
        (Bar(0.5, "multiprocessing.Queue"),),
    ),
    Row(
        "channel-process-loop",
        "Channel: process to coroutine",
        "s",
        "the same from a process task to a coroutine; the peer reads its queue in a thread.",
        (
            Contender(OURS, _our_process_to_loop),
            Contender("multiprocessing.Queue", _queue_to_loop, loops=("asyncio",)),
        ),
        (Bar(0.1, "multiprocessing.Queue"),),
    ),
    Row(
        "channel-threads",
        "Channel: thread to thread",
        "s",
        "the same from one thread to another.",
        (Contender(OURS, _our_threads), Contender("queue.Queue", _queue_of_threads)),
        (Bar(0.5, "queue.Queue"),),
    ),
    Row(
        "channel-thread-loop",
        "Channel: thread to coroutine",
        "s",
        "the same from a thread to a coroutine.",
        (Contender(OURS, _our_thread_to_loop), Contender("janus", _janus, needs=("janus",), loops=_ASYNCIO)),
        (Bar(0.25, "janus"),),
    ),
    Row(
        "channel-loop-thread",
        "Channel: coroutine to thread",
        "s",
        "the same from a coroutine to a thread.",
        (
            Contender(OURS, _our_loop_to_thread),
            Contender("janus", _janus_to_thread, needs=("janus",), loops=_ASYNCIO),
        ),
        (Bar(0.25, "janus"),),
    ),
    Row(
        "channel-coroutines",
        "Channel: coroutine to coroutine",
        "s",
        "the same between two coroutines of one event loop.",
        (
            Contender(OURS, _our_coroutines),
            Contender("asyncio.Queue", _queue_of_asyncio, loops=_ASYNCIO),
            Contender("anyio memory stream", _stream_of_anyio),
        ),
        (Bar(1.3, "asyncio.Queue"), Bar(0.3, "anyio memory stream")),
    ),
]
