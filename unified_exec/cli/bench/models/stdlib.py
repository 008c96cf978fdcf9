"""The standard library's models. Each recipe is what its documentation shows, and nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from .model import Kind, Model, Perform, PerformAsync

Fn = Callable[[Any], Any]


def sequential(workers: int) -> Iterator[Perform]:
    yield lambda fn, items: [fn(item) for item in items]


def bare_threads(workers: int) -> Iterator[Perform]:
    import queue
    import threading

    def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        todo: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        results: list[Any] = [None] * len(items)
        errors: list[BaseException] = []

        def work() -> None:
            while True:
                try:
                    index, item = todo.get_nowait()
                    results[index] = fn(item)
                except queue.Empty:
                    return
                except Exception as error:
                    errors.append(error)

        for pair in enumerate(items):
            todo.put(pair)
        threads = [threading.Thread(target=work) for _ in range(min(workers, len(items)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results

    yield perform


def thread_pool(workers: int) -> Iterator[Perform]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        yield lambda fn, items: list(pool.map(fn, items))


def process_queue(workers: int) -> Iterator[Perform]:
    import multiprocessing

    todo: Any = multiprocessing.Queue()
    done: Any = multiprocessing.Queue()
    processes = [multiprocessing.Process(target=serve_queue, args=(todo, done)) for _ in range(workers)]
    for process in processes:
        process.start()

    def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        for index, item in enumerate(items):
            todo.put((index, fn, item))
        results: list[Any] = [None] * len(items)
        for _ in items:
            index, value, error = done.get()
            if error:
                raise error
            results[index] = value
        return results

    yield perform
    for _ in processes:
        todo.put(None)
    for process in processes:
        process.join()


def serve_queue(todo: Any, done: Any) -> None:
    while (task := todo.get()) is not None:
        index, fn, item = task
        try:
            done.put((index, fn(item), None))
        except Exception as error:
            done.put((index, None, error))


def process_pipe(workers: int) -> Iterator[Perform]:
    import multiprocessing
    from multiprocessing.connection import wait

    pairs = [multiprocessing.Pipe() for _ in range(workers)]
    processes = [multiprocessing.Process(target=serve_pipe, args=(theirs,)) for _, theirs in pairs]
    for process in processes:
        process.start()
    ours: list[Any] = [mine for mine, _ in pairs]

    def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        todo = iter(enumerate(items))
        results: list[Any] = [None] * len(items)
        busy: dict[Any, int] = {}
        for pipe, (index, item) in zip(ours, todo, strict=False):
            pipe.send((fn, item))
            busy[pipe] = index
        while busy:
            ready: list[Any] = wait(list(busy))
            for pipe in ready:
                value, error = pipe.recv()
                if error:
                    raise error
                results[busy.pop(pipe)] = value
                if task := next(todo, None):
                    busy[pipe] = task[0]
                    pipe.send((fn, task[1]))
        return results

    yield perform
    for pipe in ours:
        pipe.send(None)
    for process in processes:
        process.join()


def serve_pipe(pipe: Any) -> None:
    while (task := pipe.recv()) is not None:
        fn, item = task
        try:
            pipe.send((fn(item), None))
        except Exception as error:
            pipe.send((None, error))


def process_pool(workers: int) -> Iterator[Perform]:
    import multiprocessing

    with multiprocessing.Pool(workers) as pool:
        yield lambda fn, items: pool.map(fn, items)


def process_executor(workers: int) -> Iterator[Perform]:
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as pool:
        yield lambda fn, items: list(pool.map(fn, items))


async def gather(workers: int) -> AsyncIterator[PerformAsync]:
    async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        return await asyncio.gather(*(fn(item) for item in items))

    yield perform


async def to_thread(workers: int) -> AsyncIterator[PerformAsync]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        asyncio.get_running_loop().set_default_executor(pool)

        async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
            return await asyncio.gather(*(asyncio.to_thread(fn, item) for item in items))

        yield perform


def interpreter_pool(workers: int) -> Iterator[Perform]:
    from concurrent.futures import InterpreterPoolExecutor  # type: ignore[attr-defined, unused-ignore]

    with InterpreterPoolExecutor(workers) as pool:
        # A bare function is copied, possibly without globals that only a generator inside it uses; a partial is
        # pickled, and its function imported in the interpreter.
        yield lambda fn, items: list(pool.map(partial(fn), items))


async def executors(workers: int) -> AsyncIterator[PerformAsync]:
    """Fetch on the loop, parse in a process, store in a thread; `stages` holds the three functions."""
    from concurrent.futures import ProcessPoolExecutor

    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(workers) as pool:

        async def perform(stages: Any, items: Sequence[Any]) -> list[Any]:
            fetch, parse, store = stages

            async def one(item: Any) -> Any:
                parsed = await loop.run_in_executor(pool, parse, await fetch(item))
                return await asyncio.to_thread(store, (item, parsed))

            return await asyncio.gather(*map(one, items))

        yield perform


STDLIB = (
    Model("sequential", "sequential", Kind.SEQUENTIAL, sequential),
    Model("threading", "threading.Thread", Kind.THREAD, bare_threads),
    Model("thread-pool", "ThreadPoolExecutor", Kind.THREAD, thread_pool),
    Model("mp-queue", "Process and Queue", Kind.PROCESS, process_queue),
    Model("mp-pipe", "Process and Pipe", Kind.PROCESS, process_pipe),
    Model("mp-pool", "multiprocessing.Pool", Kind.PROCESS, process_pool),
    Model("process-pool", "ProcessPoolExecutor", Kind.PROCESS, process_executor),
    Model("asyncio", "asyncio.gather", Kind.LOOP, gather, takes_coroutines=True),
    Model("to-thread", "asyncio.to_thread", Kind.THREAD, to_thread),
    Model("executors", "asyncio, run_in_executor", Kind.HYBRID, executors),
    Model("interpreters", "InterpreterPoolExecutor", Kind.INTERPRETER, interpreter_pool, python=(3, 14)),
)
