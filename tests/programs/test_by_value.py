"""Law 4: what a script defines has one home in each worker, whichever way the script is started."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.programs.script import run_script
from tests.this_python import needs_usual_references

PROGRAM = """
import dataclasses, os, pickle, random, threading, typing
from unified_exec import ProcessPool, SyncTaskScope

model = None
SETTING = 5
ITEMS = [1]
alias = ITEMS
lock = threading.Lock()
count = 0

@dataclasses.dataclass
class Item:
    part: "Part"

@dataclasses.dataclass
class Part:
    n: int = 1

class Plugin:
    made = []
    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        Plugin.made.append(cls)

class Own(Plugin): pass

class Finer(Own):
    def plugins(self):
        return [cls.__name__ for cls in Plugin.made], Plugin.made == [Own, type(self)]

class Mine(Exception): pass

def init(value):
    global model
    model = value
    ITEMS.append("init")

def look():
    return model, SETTING, alias is ITEMS, len(ITEMS)

def hints():
    return sorted(typing.get_type_hints(Item)), typing.get_type_hints(Item)["part"] is Part

def pickled(data):
    return pickle.loads(data), pickle.loads(pickle.dumps(Item(Part(2))))

def main_module():
    import __main__
    return __main__.SETTING, __main__.Item is Item, __main__.__dict__ is globals(), __name__

def bump():
    global count
    with lock:
        count += 1
    return count

def fail():
    raise Mine("own")

async def coroutine():
    return model, bump()

def nested(item):
    with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
        return scope.spawn(lambda: (item, SETTING, os.getpid()), on="process").result()

with ProcessPool(1, initializer=init, initargs=("loaded",), max_tasks_per_worker=4) as pool:
    with SyncTaskScope(processes=pool) as scope:
        def run(fn, *args):
            return scope.spawn(fn, *args, on="process").result()
        assert run(look) == ("loaded", 5, True, 2), run(look)
        assert run(hints) == (["part"], True)
        assert run(pickled, pickle.dumps(Own)) == (Own, Item(Part(2)))
        assert run(main_module) == (5, True, True, "__main__")
        assert run(Finer().plugins) == (["Own", "Finer"], True)  # a new worker, which knows nothing
        assert [run(bump), run(bump)] == [1, 2]
        count = 10
        assert run(bump) == 11
        SETTING = 6
        assert run(look) == ("loaded", 6, True, 2), run(look)
        assert run(coroutine)[0] == "loaded"
        item, setting, pid = run(nested, Item(Part(3)))
        assert (item, setting) == (Item(Part(3)), 6) and pid != os.getpid()
        tasks = []
        for SETTING in range(12):
            tasks.append(scope.spawn(look, on="process"))
        assert all(task.result()[1] >= at for at, task in enumerate(tasks))
        model = "of the program"
        assert run(look)[0] == "of the program"
try:
    with SyncTaskScope() as scope:
        scope.spawn(fail, on="process")
except* Mine as group:
    assert type(group.exceptions[0]) is Mine
print("fine")
"""


def run(folder: Path, *command: str, text: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        input=text or "",
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("start", ["script", "-c", "pipe", "-m", "zipapp", "exec"])
def test_a_program_finds_in_its_workers_what_it_defines(start: str, tmp_path: Path) -> None:
    commands = {"-c": ("-c", PROGRAM), "pipe": ("-",), "-m": ("-m", "program"), "script": ("program.py",)}
    command = commands.get(start, ("program.py",))
    if start == "exec":
        by_main = ("run(pickled", "run(main_module")  # in the program itself, these names are not those of __main__
        lines = PROGRAM.splitlines()
        body = ["        run(look)" if any(text in line for text in by_main) else line for line in lines]
        (tmp_path / "body.txt").write_text("\n".join(body))
        program = "exec(compile(open('body.txt').read(), 'body', 'exec'), {'__name__': '__main__'})"
    else:
        program = PROGRAM
    (tmp_path / "program.py").write_text(program)
    if start == "zipapp":
        source = tmp_path / "source"
        source.mkdir()
        (source / "__main__.py").write_text(PROGRAM)
        zipapp.create_archive(source, tmp_path / "program.pyz")
        command = ("program.pyz",)
    assert run(tmp_path, *command, text=PROGRAM if start == "pipe" else None) == "fine\n"


PLUGIN = """
import threading
lock, loaded = threading.Lock(), 1
class Item:
    def __init__(self): self.n = loaded
def init():
    global loaded
    loaded = 5
def f(*items):
    with lock: return [Item().n, *(type(item) is Item for item in items)]
def make(): return Item()
"""
UNREGISTERED = """
import importlib.util, runpy
from unified_exec import ProcessPool, SyncTaskScope
def loaded():
    spec = importlib.util.spec_from_file_location("plugin", "plugin.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)
for names in (loaded(), runpy.run_path("plugin.py"), runpy.run_path("plugin.py", run_name="plugin.part")):
    with ProcessPool(1, initializer=names["init"]) as pool, SyncTaskScope(processes=pool) as scope:
        run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
        assert run(names["f"], names["Item"]()) == [5, True], run(names["f"], names["Item"]())
        assert type(run(names["make"])) is names["Item"]
print("fine")
"""


def test_a_file_that_was_run_or_loaded_without_an_entry_in_sys_modules_has_a_home(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    assert run_script(tmp_path, UNREGISTERED) == "fine\n"


def test_a_module_that_no_worker_can_import_goes_by_value(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "plugin.py").write_text(
        "import enum\nN = 3\nclass Kind(enum.Enum):\n  A = 1\ndef f(x): return N + x, Kind.A, __name__\n"
    )
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "came_later.py").write_text("def f(): return __name__\n")
    out = run_script(
        tmp_path,
        """
import importlib.util, os, sys
from unified_exec import ProcessPool, SyncTaskScope
spec = importlib.util.spec_from_file_location("plugin", "plugins/plugin.py")
plugin = importlib.util.module_from_spec(spec)
sys.modules["plugin"] = plugin
spec.loader.exec_module(plugin)
def place(): return os.getcwd(), os.environ.get("LATER"), os.environ.get("FIXED")
with ProcessPool(1, env={"FIXED": "pool"}) as pool, SyncTaskScope(processes=pool) as scope:
    run = lambda fn, *args: scope.spawn(fn, *args, on="process").result()
    assert run(plugin.f, 1) == (4, plugin.Kind.A, "plugin")
    plugin.N = 10
    assert run(plugin.f, 1)[0] == 11
    folder = os.getcwd()
    assert run(place) == (folder, None, "pool")
    sys.path.append(os.path.join(folder, "late"))
    import came_later
    assert run(came_later.f) == "came_later"
    os.chdir("late")
    os.environ["LATER"] = "yes"
    os.environ["FIXED"] = "program"
    assert run(place) == (os.path.join(folder, "late"), "yes", "pool"), run(place)
    del os.environ["LATER"]
    assert run(place)[1] is None
print("fine")
""",
    )
    assert out == "fine\n"


KINDS = """
from __future__ import annotations
import dataclasses, datetime, enum, functools
from unified_exec import SyncTaskScope

@functools.singledispatch
def describe(value): return "object"

@describe.register
def _(value: int): return "int"

class Formatter:
    @functools.singledispatchmethod
    def format(self, value): return "object"
    @format.register
    def _(self, value: str): return "text"

class Coordinate(bytes, enum.Enum):
    def __new__(cls, value, label):
        obj = bytes.__new__(cls, [value])
        obj._value_ = value
        obj.label = label
        return obj
    PX = (0, "P.X")
    PY = (1, "P.Y")

@dataclasses.dataclass
class Size:
    width: int
class Shape(Size, enum.Enum):
    SMALL = 1
    LARGE = 2

class Period(datetime.timedelta, enum.Enum):
    DAY = 1
    WEEK = 7

class Planet(enum.Enum):
    EARTH = (5.9, 6.3)
    def __init__(self, mass, radius): self.mass, self.radius = mass, radius
    @property
    def ratio(self): return self.mass / self.radius

class Access(enum.Flag):
    R = enum.auto()
    W = enum.auto()
    RW = R | W

class Outer:
    class Inner:
        class Innermost: pass
        def method(self): return Outer.Inner.Innermost.__qualname__

class Bare: __slots__ = ()
class StillBare(Bare): __slots__ = ()

class Adder:
    def add(self, one, two=0): return one + two
    add_to_two = functools.partialmethod(add, 2)

def all_kinds():
    return [describe(1), describe(""), Formatter().format("x"), Formatter().format(1), Coordinate.PY.label,
        Coordinate(1) is Coordinate.PY, bytes(Coordinate.PY), Shape.SMALL.width, Period.WEEK.days, Planet.EARTH.ratio,
        Access(3) is Access.RW, Outer.Inner().method(), Outer.Inner.__qualname__,
        hasattr(StillBare(), "__dict__"), Adder().add_to_two(two=3)]

def back(value): return value

MEMBERS = [Coordinate.PX, Shape.LARGE, Period.DAY, Planet.EARTH, Access.RW, Access.R | Access.W, Outer.Inner]
with SyncTaskScope() as scope:
    assert scope.spawn(all_kinds, on="process").result() == all_kinds(), scope.spawn(all_kinds, on="process").result()
    for member in MEMBERS:
        assert scope.spawn(back, member, on="process").result() is member, member
    describe.register(str, lambda value: "str")
    assert scope.spawn(describe, "", on="process").result() == "str"
print("fine")
"""


def test_generic_functions_enumerations_and_nested_classes_travel(tmp_path: Path) -> None:
    assert run_script(tmp_path, KINDS) == "fine\n"


LAZY = """
import dataclasses, typing
from unified_exec import SyncTaskScope
if typing.TYPE_CHECKING:
    from elsewhere import Only

@dataclasses.dataclass
class Order:
    number: int
    of: Only = None

class Known:
    x: int
    y: Order

def number(order: Only) -> int: return order.number

def annotations():
    fields = [(field.name, getattr(field.type, "__forward_arg__", field.type)) for field in dataclasses.fields(Order)]
    return Order.__annotations__, Known.__annotations__["y"] is Order, [*Known.__annotations__], fields

with SyncTaskScope() as scope:
    print(scope.spawn(number, Order(3), on="process").result())
    print(scope.spawn(annotations, on="process").result())
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 annotations are evaluated at once")
def test_annotations_that_only_type_checkers_can_evaluate_do_no_harm(tmp_path: Path) -> None:
    expected = {"number": "int", "of": "Only"}, True, ["x", "y"], [("number", int), ("of", "Only")]
    assert run_script(tmp_path, LAZY) == f"3\n{expected}\n"


@pytest.mark.parametrize("library", ["ctypes", "pydantic", "msgspec"])
def test_classes_of_libraries_travel(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    texts = {
        "ctypes": """
import ctypes as c
class Word(c.Union): _fields_ = [("whole", c.c_int), ("parts", c.c_ubyte * 4)]
class Row(c.Structure):
    _pack_, _anonymous_ = 1, ("word",)
    _fields_ = [("tag", c.c_char), ("word", Word), ("bits", c.c_int, 3)]
    def double(self): return Row(self.tag, Word(2 * self.whole))
class Wire(c.BigEndianStructure): _fields_ = [("number", c.c_int)]
class Node(c.Structure): pass
Node._fields_ = [("next", c.POINTER(Node)), ("number", c.c_int)]
Callback = c.CFUNCTYPE(c.c_int, c.c_int)
def make(row): return row.double(), bytes(Wire(1)), Node(c.pointer(Node(number=5))).next[0].number, Callback(abs)(-6)
with SyncTaskScope() as scope:
    for _ in range(2):  # the second time in a worker that has the classes
        row, *more = scope.spawn(make, Row(b"x", Word(4), 1), on="process").result()
        assert type(row) is Row and row.whole == 8 and row.tag == b"x" and c.sizeof(row) == 9
        assert more == [bytes([0, 0, 0, 1]), 5, 6], more
""",
        "pydantic": """
from typing import Generic, TypeVar
from pydantic import VERSION, BaseModel, dataclasses
class Later(BaseModel): item: "Item"
@dataclasses.dataclass
class Pair: item: "Item"
def later(): return Later(item=Item(n=1)), Pair(item=Item(n=2))
class Unfinished(BaseModel): item: "Missing | None" = None
def unfinished():
    try: Unfinished()
    except Exception as error: return str(error)
T = TypeVar("T")
class Item(BaseModel): n: int
class Page(BaseModel, Generic[T]): items: list[T]
def make(page): return Page[Item](items=[{"n": page.items[0].n + 1}])
with SyncTaskScope() as scope:
    got = scope.spawn(make, Page[Item](items=[{"n": 1}]), on="process").result()
    assert scope.spawn(later, on="process").result() == later()
    if int(VERSION.split(".")[1]) >= 14:
        assert "should define `Missing`" in scope.spawn(unfinished, on="process").result()
assert type(got) is Page[Item] and got == Page[Item](items=[Item(n=2)])
""",
        "msgspec": """
import msgspec
class Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    my_n: int
    more: "list[Item]" = []
    def double(self): return self.my_n * 2
class Sub(Item, tag="sub"):
    other: str = "x"
def make(item): return Sub(my_n=item.double()), msgspec.json.decode(b'{"myN": 4}', type=Item), msgspec.json.encode(item)
with SyncTaskScope() as scope:
    got = scope.spawn(make, Item(my_n=2), on="process").result()
assert got == make(Item(my_n=2)), got
""",
    }
    assert run_script(tmp_path, "from unified_exec import SyncTaskScope" + texts[library] + "print('fine')") == "fine\n"


SPAWNS = """
import multiprocessing as mp
from concurrent.futures import ProcessPoolExecutor
from unified_exec import Collect, SyncTaskScope
def double(x): return 2 * x
def inner(method):
    with ProcessPoolExecutor(1, mp_context=mp.get_context(method)) as pool:
        return pool.submit(double, 21).result(timeout=60)
def process(method):
    process = mp.get_context(method).Process(target=double, args=(1,))
    process.start()
    process.join(60)
    return process.exitcode
def run(fn, method):
    with SyncTaskScope(policy=Collect()) as scope:
        task = scope.spawn(fn, method, on="process")
    return task.result()
"""


def test_multiprocessing_inside_a_task_finds_the_script_or_says_what_is_missing(tmp_path: Path) -> None:
    guarded = SPAWNS + (
        "if __name__ == '__main__':\n"
        "  assert [run(inner, method) for method in ('fork', 'spawn', 'forkserver')] == [42] * 3\n"
        "  print('fine')\n"
    )
    assert run_script(tmp_path, guarded) == "fine\n"
    without = SPAWNS + (
        "assert run(process, 'fork') == 0\n"
        "for method in ('spawn', 'forkserver'):\n"
        "  try: run(process, method)\n"
        "  except RuntimeError as error: assert 'add the guard' in str(error)\n"
        "  else: raise SystemExit('started again')\n"
        "print('fine')\n"
    )
    assert run_script(tmp_path, without) == "fine\n"


IMPORTED = """
import multiprocessing.connection, os, sys, weakref
from unified_exec import Collect, ProcessPool, SyncTaskScope
class Mine(Exception): pass
class Item:
    def __init__(self, x): self.x = x
class Registering(type):
    def __init__(cls, *made): cls.ref = weakref.ref(cls)
class Registered(metaclass=Registering): pass
N = 3
SOCKETS = open(os.devnull)
def same(one): return one
def f(item): return Item(item.x + N), __name__, __import__("__main__").N
def fail(): raise Mine("a")
def init(value):
    global N
    N = value
def main():
    with ProcessPool(1, main="import", initializer=init, initargs=(10,)) as pool:
        with SyncTaskScope(processes=pool, policy=Collect()) as scope:
            tasks = [scope.spawn(fn, *args, on="process") for fn, args in
                ((f, (Item(1),)), (fail, ()), (lambda: (N, bool(SOCKETS)), ()), (same, (Registered(),)))]
    item, name, n = tasks[0].result()
    assert type(item) is Item and (item.x, name, n) == (11, "__mp_main__", 10)
    assert tasks[2].result() == (10, True)
    assert type(tasks[3].result()) is Registered
    try: tasks[1].result()
    except Mine: print("fine")
"""


def test_workers_that_import_the_main_file_get_all_of_it_by_name(tmp_path: Path) -> None:
    guard = "if __name__ == '__main__':\n    main()\n"
    assert run_script(tmp_path, IMPORTED + guard) == "fine\n"
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(IMPORTED + guard)
    assert run(tmp_path, "-m", "package") == "fine\n"
    without = IMPORTED + "try: main()\nexcept ValueError as error: print(error)\n"
    assert "would start the program again" in run_script(tmp_path, without)
    assert "typed in or piped" in run(tmp_path, "-", text=without)


REGISTERED = """
from base import Base
from unified_exec import Collect, SerializationError, SyncTaskScope
class User(Base): pass
class Late(Base, here_only=True): pass
def take(user): pass
def touch(): return User
def touch_late(): return Late
with SyncTaskScope(policy=Collect()) as scope:
    told = []
    for fn, *args in ((take, [User()]), (touch,), (touch_late,)):
        try: scope.spawn(fn, *args, on="process").result()
        except (NameError, SerializationError) as error:
            told.append(" ".join([str(error), *getattr(error, "__notes__", [])]))
assert all("define it in a module of its own, or let the workers import" in text for text in told), told
assert [text.count("ProcessPool(main=") for text in told] == [1, 1, 1], told
assert told[0].startswith("argument 1 ('user') of take() cannot travel"), told
assert "a class made by base.Maker" in told[0], told
assert "rebuilding it raised LookupError" in told[2], told
print("fine")
"""
BASE = """
import os, weakref
HERE = os.getpid()
class Maker(type):
    def __new__(meta, name, bases, names, here_only=False):
        return super().__new__(meta, name, bases, names)
    def __init__(cls, name, bases, names, here_only=False):
        if name == "User": cls.registry = weakref.ref(cls)
        if name == "Late" and os.environ.get("PROGRAM") != str(HERE): raise LookupError(name)
class Base(metaclass=Maker): pass
os.environ.setdefault("PROGRAM", str(HERE))
"""


def test_a_class_that_a_library_registers_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(BASE)
    assert run_script(tmp_path, REGISTERED) == "fine\n"


MAINS = """
import functools, gc, sys, types, weakref
from unified_exec import ProcessPool, SyncTaskScope
CODE = '''
N = {n}
class Item: v = {n}
def f(*classes):
    import __main__
    return N, Item.v, __main__.N, *[cls.v for cls in classes]
class Caller:
    def __init__(self):
        import __main__
        self.seen = __main__.N
    def __call__(self):
        return f()
def bump():
    global N
    N += 100
    return N
'''
def script(n):
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(CODE.format(n=n), module.__dict__)
    return module
def homes():
    from unified_exec._wire.pickling import homes
    return len(homes._homes)
def kept(): return int(open("/proc/self/statm").read().split()[1]) * 4
with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
    run = lambda fn: scope.spawn(fn, on="process").result()
    run_map = lambda fn, items: list(scope.map(fn, items, on="process", chunk=2))
    first = script(1)
    old, bump = first.f, first.bump
    assert (run(old), run(bump)) == ((1, 1, 1), 101)
    second = script(2)
    one = run_map(old, [second.Item, first.Item, second.Item, first.Item])
    assert one == [(101, 1, 101, cls) for cls in (2, 1, 2, 1)], one
    assert run_map(second.f, [first.Item, second.Item]) == [(2, 2, 2, 1), (2, 2, 2, 2)]
    assert run_map(functools.partial(old), [second.Item] * 2) == [(101, 1, 101, 2)] * 2
    for fn in (functools.lru_cache(old), first.Caller(), first.Caller().__call__, old):
        assert run(second.f) == (2, 2, 2) and run(fn) == (101, 1, 101), fn
    assert run(first.Caller).seen == 101
    assert (run(second.f), run(old), run(second.f)) == ((2, 2, 2), (101, 1, 101), (2, 2, 2))
    refs = []
    for n in range(30):
        module = script(n)
        refs.append(weakref.ref(module))
        assert run(module.f) == (n, n, n)
    del module, first, second, old, bump, fn
    sys.modules["__main__"] = types.ModuleType("__main__")
    gc.collect()
    assert not any(ref() for ref in refs)
    last = script(5)
    run(last.f), run(last.bump)
    sizes = []
    for n in range(400):
        exec("TABLE = {{i: str(i) for i in range(1000)}}\\n".format() + CODE.format(n=n), last.__dict__)
        assert run(last.f)[1] == n
        if n in (50, 399):
            gc.collect()
            sizes.append((kept(), run(kept)))
    grown = [late - early for early, late in zip(*sizes)]
    assert max(grown) < 4096, grown
    last.homes = types.FunctionType(homes.__code__, last.__dict__)
    last.homes.__module__ = "__main__"
    assert run(last.homes) < 6, run(last.homes)
print("fine")
"""


@needs_usual_references
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the memory in /proc")
def test_each_main_module_has_a_home_of_its_own_and_dies_with_it(tmp_path: Path) -> None:
    assert run_script(tmp_path, MAINS) == "fine\n"


REDEFINED = """
import gc, os, sys, time
from unified_exec import ProcessPool, SyncTaskScope

def helper(): return 1
class K:
    v = 1
    def method(self): return self.v
    def __call__(self): return self.v
def of_type(k): return type(k).v
def now():
    gc.collect()
    return helper(), K.v, K().method()
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.005)

if __name__ == "__main__":
    with ProcessPool(1) as pool, SyncTaskScope(processes=pool) as scope:
        assert scope.spawn(now, on="process").result() == (1, 1, 1)
        scope.spawn(wait, "go", on="process")
        calls = (helper,), (K().method,), (of_type, K()), (K.method, K()), (K(),)
        old = [scope.spawn(*call, on="process", priority=-1) for call in calls]
        exec("def helper(): return 2\\nclass K(K):\\n    v = 2")
        new = scope.spawn(now, on="process", priority=1)
        del calls
        open("go", "w").close()
        assert new.result() == (2, 2, 2)
        print([task.result() for task in old], scope.spawn(now, on="process").result())
"""


def test_a_task_that_waits_while_its_function_or_class_is_defined_anew_runs_the_old_one(tmp_path: Path) -> None:
    assert run_script(tmp_path, REDEFINED) == "[1, 1, 1, 1, 1] (2, 2, 2)\n"


LARGE = """
import gc, os, sys
import numpy as np
from unified_exec import ProcessPool, SyncTaskScope

TABLE = np.ones(100_000)
alias = TABLE
BLOB = b"x" * 300_000
ROWS = {"a": np.arange(50_000), "name": "rows"}
FROZEN = np.ones(100_000)
FROZEN.flags.writeable = False
loaded = None

def init(): global loaded; loaded = float(TABLE.sum())
def bump(): TABLE[0] += 1; return float(TABLE[0]), alias is TABLE, loaded, os.getpid()
def blob(): return type(BLOB), len(BLOB), BLOB[-1:]
def rows(): ROWS["a"][0] = 7; return int(ROWS["a"].sum()), ROWS["name"]
def frozen(): FROZEN[0] += 1; return float(FROZEN[0])
def is_mapped():
    at = TABLE.__array_interface__["data"][0]
    with open("/proc/self/maps") as maps:
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps if "memfd" in line]
    return any(start <= at < end for start, end in ranges)
def descriptors(): gc.collect(); return len(os.listdir("/proc/self/fd"))

if __name__ == "__main__":
    with ProcessPool(2, initializer=init) as pool, SyncTaskScope(processes=pool) as scope:
        run = lambda fn: scope.spawn(fn, on="process").result()
        tasks = [scope.spawn(bump, on="process") for _ in range(20)]
        seen = {}
        for task in tasks:
            value, same, at_start, pid = task.result()
            assert (same, at_start) == (True, 100_000), (same, at_start)
            seen.setdefault(pid, set()).add(value)
        assert all(values == set(range(2, len(values) + 2)) for values in seen.values()), seen  # each has its own
        assert TABLE[0] == 1
        assert run(blob) == (bytes, 300_000, b"x")
        assert run(rows) == (sum(range(50_000)) + 7, "rows") and ROWS["a"][0] == 0
        assert run(frozen) >= 2
        assert run(is_mapped)
        TABLE[0] = 10
        assert run(bump)[0] >= 11
        TABLE = TABLE * 2
        assert run(bump)[0] == 21
        before = descriptors()
        for n in range(30):
            TABLE = np.full(100_000, n)
            assert run(bump)[0] == n + 1
        assert descriptors() <= before, (descriptors(), before)
        assert max(run(descriptors) for _ in range(8)) < 40
    print("fine")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for mappings and descriptors in /proc")
def test_large_globals_are_mapped_in_each_worker_which_may_write_to_its_own(tmp_path: Path) -> None:
    assert run_script(tmp_path, LARGE) == "fine\n"


SOCKETS = """
import gc, multiprocessing, os, socket
from unified_exec import Collect, ProcessPool, SerializationError, SyncTaskScope
def kind(one): return type(one).__name__, one.fileno() > 2
def a_socket(): return {"x": [socket.socketpair()[0]]}
def a_connection(): return multiprocessing.Pipe()[0]
def back(one): return one
def descriptors(): gc.collect(); return len(os.listdir("/proc/self/fd"))
if __name__ == "__main__":
    items = [*socket.socketpair(), *multiprocessing.Pipe()]
    counts = []
    with ProcessPool(1) as pool:
        for _ in range(4):
            with SyncTaskScope(processes=pool) as scope:
                found = list(scope.map(kind, items, on="process", chunk=2))
                assert found == [("socket", True)] * 2 + [("Connection", True)] * 2, found
            with SyncTaskScope(processes=pool, policy=Collect()) as scope:
                calls = (a_socket,), (a_connection,), (back, items[0]), (back, items[2])
                tasks = [scope.spawn(*call, on="process") for call in calls]
            assert all(type(task.exception()) is SerializationError for task in tasks)
            del tasks
            with SyncTaskScope(processes=pool) as scope:
                counts.append((descriptors(), scope.spawn(descriptors, on="process").result()))
    assert counts[1] == counts[-1], counts
    print("fine")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_sockets_travel_as_items_and_are_refused_as_results_and_no_descriptor_is_left(tmp_path: Path) -> None:
    assert run_script(tmp_path, SOCKETS) == "fine\n"


PACKAGE = """'''The package.'''
from unified_exec import SyncTaskScope
def f():
    from .part import N
    return N, __package__, __doc__
with SyncTaskScope() as scope:
    print(scope.spawn(f, on="process").result())
"""


def test_a_task_of_a_package_that_is_run_as_a_program_imports_relatively(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("N = 3\n")
    (package / "__main__.py").write_text(PACKAGE)
    assert run(tmp_path, "-m", "package") == "(3, 'package', 'The package.')\n"
