"""Law 4: what a script defines is found in its workers by name, although no function that was sent names it."""

from __future__ import annotations

from pathlib import Path

from tests.programs.script import run_script

NAMES = """
import asyncio, dataclasses, os, pickle, sys, threading, typing
from unified_exec import Channel, ProcessPool, SyncTaskScope
LIMIT = 3
class Base:
    def limit(self): return LIMIT + helper()
class Item(Base):
    part: "Part"
class Part: pass
class Sent(Base): pass
class Only(Base): pass
def helper(): return 4
def double(x): return 2 * x
def pools(method, data):
    import multiprocessing
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.apply(pickle.loads, (data,)).limit(), pool.apply(pickle.loads, (pickle.dumps(double),))(4)
def lazy(name):
    if name == "made": return [name]
    raise AttributeError(name)
globals()["__getattr__"] = lazy
def of_main(name): return getattr(sys.modules["__main__"], name, "none")
def initialize(data):
    global at_start
    at_start = pickle.loads(data).limit()
    assert of_main("nothing") == "none"
def begun(): return at_start
def load(data): return pickle.loads(data).limit()
def hints(data): return typing.get_type_hints(type(pickle.loads(data)))
def in_thread(data):
    found = []
    thread = threading.Thread(target=lambda: found.append(load(data)))
    thread.start()
    thread.join()
    return found
def in_fork():
    pid = os.fork()
    if pid == 0: os._exit(of_main("never_sent") == "none" and of_main("Only")().limit())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
async def in_coroutine(data): return load(data)
def nested(data, on):
    with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
        return scope.spawn(load, data, on=on).result()
def consume(channel): return [item.limit() for item in channel]
def raises(fn, *args):
    try: fn(*args)
    except AttributeError as error: return str(error)
"""

ALL = (
    NAMES
    + """
if __name__ == "__main__":
    data = pickle.dumps(Item())
    with ProcessPool(1, initializer=initialize, initargs=(data,)) as pool, SyncTaskScope(processes=pool) as scope:
        run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
        # before anything of the script has arrived, through functions that are none of its own
        assert type(run(pickle.loads, data)) is Item
        assert run(pickle.loads, pickle.dumps(helper)) is helper
        assert run(of_main, "nothing") == "none"
        assert run(of_main, "made") == ["made"]
        assert (run(load, data), run(in_thread, data), run(in_coroutine, data)) == (7, [7], 7)
        assert run(hints, data) == {"part": Part}
        assert run(begun) == 7
        assert run(in_fork) == 7
        assert [run(pools, method, data) for method in ("fork", "spawn")] == [(7, 8)] * 2
        channel = Channel(1)
        task = scope.spawn(consume, channel, on="process")
        channel.send_sync(Sent())
        channel.close()
        assert task.result() == [7]
        assert "none" in run(raises, pickle.loads, b"c__main__\\nnone\\n.")
        assert [run(nested, data, "thread"), run(nested, data, "process")] == [7, 7]
    print("fine")
"""
)


def test_a_task_finds_what_it_looks_up_in_its_script_in_threads_coroutines_and_nested_tasks_too(tmp_path: Path) -> None:
    assert run_script(tmp_path, ALL) == "fine\n"


NEWER = """
import pickle, sys
from unified_exec import ProcessPool, SyncTaskScope
class Thing: v = 1
def load(data): return pickle.loads(data).v
def closure(seen):
    def f(data):
        seen.append(1)
        return load(data)
    return f
with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
    def run(fn=load): return scope.spawn(fn, pickle.dumps(Thing()), on="process").result()
    assert run() == 1
    class Thing: v = 2
    assert run() == 2
    Thing.v = 3
    assert run() == 3
    Thing.v = 4
    assert run(closure([])) == 4
print("fine")
"""


def test_what_was_looked_up_once_is_never_older_than_a_later_task(tmp_path: Path) -> None:
    assert run_script(tmp_path, NEWER) == "fine\n"


WHILE_READ = """
import pickle, sys, threading
from unified_exec import ProcessPool, SyncTaskScope
class Counter: limit = 4
class Locked:
    def __init__(self): self.lock = threading.Lock()
    def __getstate__(self): return {"limit": 1}
    def __setstate__(self, state):
        self.lock, self.limit = threading.Lock(), state["limit"] + Counter.limit
def rebuilt(limit):
    made = Made()
    made.limit = limit + Counter.limit
    return made
class Made:
    def __reduce__(self): return rebuilt, (1,)
kept = Locked()
def limit_of(item): return item.limit
def limit_of_kept(item): return kept.limit
def in_threads(data):
    start, found = threading.Barrier(8), []
    def load():
        start.wait()
        found.append(pickle.loads(data).limit)
    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return found
if __name__ == "__main__":
    for fn in (limit_of, limit_of_kept):
        for item in (Locked(), Made()):
            with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
                assert scope.spawn(fn, item, on="process").result() == 5
    with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
        assert scope.spawn(limit_of, Made(), on="process").result() == 5
        Counter = type("Counter", (), {"limit": 6})
        assert scope.spawn(limit_of, Made(), on="process").result() == 7
        kind = type("Slow" + "Made", (Counter,), {"__module__": "__main__"})
        globals()[kind.__name__] = kind
        assert scope.spawn(in_threads, pickle.dumps(kind()), on="process").result() == [6] * 8
    print("fine")
"""


def test_what_rebuilds_an_argument_may_use_globals_and_threads_may_look_up_at_once(tmp_path: Path) -> None:
    assert run_script(tmp_path, WHILE_READ) == "fine\n"
