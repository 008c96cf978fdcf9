"""What holds for every test: the event loops it runs on, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import inspect
import signal
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Container, Generator, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import covered, hangs, leaks, process_tree, profiles, warm_pools
from tests import interpreters as other_interpreters
from unified_exec import ProcessPool

profiles.load()


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    return loop


ROOT = Path(__file__).parent.parent

LOOPS: dict[str, tuple[str, dict[str, Any]]] = {"asyncio": ("asyncio", {"use_uvloop": False})}
MISSING: list[str] = []

if importlib.util.find_spec("uvloop"):
    LOOPS["asyncio+uvloop"] = ("asyncio", {"use_uvloop": True})
else:
    MISSING.append("asyncio+uvloop (not installed)")
if sys.version_info >= (3, 12):
    LOOPS["asyncio+eager"] = ("asyncio", {"loop_factory": _eager_loop})
else:
    MISSING.append("asyncio+eager (needs Python 3.12)")
LOOPS["trio"] = ("trio", {})
USUAL = [name for name in ("asyncio", "trio") if name in LOOPS]
"""Where an async test runs that is not marked `every_loop`."""

LONGEST = (
    "contract/test_cpython_futures.py",
    "faults/test_platforms.py",
    "docs/test_examples.py",
    "cli/bench/test_models.py",
    "faults/test_interpreters.py",
    "cli/bench/test_command.py",
    "contract/test_8_parent_death.py",
    "cluster/test_dask_law.py",
    "cluster/test_dask_faults.py",
    "contract/test_3_process_tasks.py",
    "programs/test_first_use.py",
    "contract/test_8_main_module.py",
    "scope/test_retry.py",
    "cli/test_demo.py",
    "scope/test_streams.py",
    "programs/test_by_value.py",
    "cli/advise/test_advice.py",
    "programs/test_frameworks.py",
    "faults/test_nonsense.py",
)
"""The files that take longest, in the order in which they are begun; after them those with most tests."""

ON_ONE_CLUSTER = (
    "cluster/test_actors.py",
    "cluster/test_carried.py",
    "cluster/test_dask_contract.py",
    "cluster/test_dask_engine.py",
    "cluster/test_dask_law.py",
    "cluster/test_pool_ends.py",
    "cluster/test_seen.py",
)
"""Files whose tests use the same cluster: they run in one process, one after another."""

_failed = pytest.StashKey[bool]()
_seen = leaks.Seen()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-loop", action="store_true", help="run every async test on every event loop")
    parser.addoption(
        "--usual-loops", action="store_true", help="run tests marked `one_loop` or `loops_in_turn` on each loop"
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # it would begin with the files that have most tests
    process_tree.mark_this_run()
    covered.cover_workers()
    # No worker is killed because the machine is slow: a test about the grace gives one.
    ProcessPool.__init__.__kwdefaults__["grace"] = 20.0
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it puts into the background so; the programs that the tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if importlib.util.find_spec("uvloop"):
        # The first loop opens a pipe that libuv keeps for the life of the process: no leak of the first test.
        import uvloop

        uvloop.new_event_loop().close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    loops = ", ".join(LOOPS)
    if not config.getoption("every_loop"):
        loops = f"{', '.join(USUAL)}; where marked every_loop, or with --every-loop: {loops}"
    missing = f"; left out: {', '.join(MISSING)}" if MISSING else ""
    return [f"event loops: {loops}{missing}", f"watched for leaks: {leaks.WATCHED}"]


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Run every async test on every event loop, but for those that are asyncio's alone (`@pytest.mark.asyncio`)."""
    if not collector.istestfunction(obj, name):
        return
    test = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
    marks = {mark.name for mark in getattr(obj, "pytestmark", ())}
    if inspect.iscoroutinefunction(test) and "asyncio" not in marks and not collector.get_closest_marker("asyncio"):
        pytest.mark.anyio(obj)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the loop of `one_loop` tests. Where files run at the same time, begin with those that take longest."""
    options = config.option
    all_loops = options.every_loop or options.usual_loops or any("[" in path for path in config.args)
    chosen = items if all_loops else _on_its_loop(items)
    if len(chosen) < len(items):
        kept = set(chosen)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = chosen
    if hasattr(config, "workerinput"):
        tests = Counter(item.path for item in items)
        turns = {path: _turn(path) for path in tests}
        items.sort(key=lambda item: (turns[item.path], -tests[item.path], str(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file run in one process, and so do those of all files that use the same cluster."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "the cluster" if file.endswith(ON_ONE_CLUSTER) else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Where several processes collect the same modules, each begins to compile and import them at another place: what
    one has compiled, the others find."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or sys.flags.dont_write_bytecode:
        return
    folders = [Path(argument) for argument in session.config.args if Path(argument).is_dir()]
    modules = sorted({path.relative_to(ROOT) for folder in folders for path in folder.resolve().rglob("test_*.py")})
    begin = len(modules) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for path in modules[begin:] + modules[:begin]:
        # What fails, or asks to be skipped, does so again when it is collected. As there, a warning is an error.
        with contextlib.suppress(Exception, pytest.skip.Exception), warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.import_module(".".join(path.with_suffix("").parts))


def _turn(path: Path) -> int:
    return next((turn for turn, name in enumerate(LONGEST) if str(path).endswith(name)), len(LONGEST))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the garbage collector need not go through it after each test."""
    _keep_what_is_there()


def _keep_what_is_there() -> None:
    gc.collect()
    gc.freeze()


def _on_its_loop(items: list[pytest.Item]) -> list[pytest.Item]:
    """Without the cases that another loop takes of tests marked `one_loop` or `loops_in_turn`."""
    cases: dict[str, set[str]] = {}
    named = []
    for item in items:
        test, _, case = item.nodeid.partition("[")
        parts = case.removesuffix("]").split("-")
        loop = next((part for part in parts if part in LOOPS), "")
        if loop:
            parts.remove(loop)
        rest = "-".join(parts)
        cases.setdefault(test, set()).add(rest)
        named.append((item, test, loop, rest))
    # In an order that follows no parameter, so that no loop takes all cases of one.
    places = {
        test: {rest: place for place, rest in enumerate(sorted(rests, key=lambda rest: zlib.crc32(rest.encode())))}
        for test, rests in cases.items()
    }
    return [item for item, test, loop, rest in named if not loop or _is_taken(item, test, loop, rest, places)]


def _is_taken(item: pytest.Item, test: str, loop: str, rest: str, places: dict[str, dict[str, int]]) -> bool:
    every_loop = item.get_closest_marker("every_loop")
    in_turn = item.get_closest_marker("loops_in_turn")
    if in_turn and (not in_turn.args or not set(in_turn.args).isdisjoint(rest.split("-"))):
        loops = list(LOOPS) if every_loop else USUAL
        place = places[test][rest] if len(places[test]) > 1 else zlib.crc32(test.encode())
        return loop == loops[place % len(loops)]
    if item.get_closest_marker("one_loop") and not every_loop:
        return loop == USUAL[zlib.crc32(f"{test}[{rest}]".encode()) % len(USUAL)]
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Cancel an async test that hangs; see tests/hangs.py."""
    backend: Any = pyfuncitem.funcargs.get("anyio_backend")
    seconds = hangs.limit(pyfuncitem)
    if (
        backend
        and seconds
        and inspect.iscoroutinefunction(pyfuncitem.obj)
        and not hasattr(pyfuncitem.obj, "hypothesis")
    ):
        pyfuncitem.obj = hangs.guarded(pyfuncitem.obj, seconds, backend[0])


@pytest.hookimpl(tryfirst=True)  # the loop comes first in the names of tests
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        every = metafunc.config.getoption("every_loop") or metafunc.definition.get_closest_marker("every_loop")
        names = list(LOOPS) if every else USUAL
        loops = [LOOPS[name] for name in names]
        metafunc.parametrize("anyio_backend", loops, ids=names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The event loop a test runs on, as anyio's pytest plugin wants it."""
    backend: tuple[str, dict[str, Any]] = request.param
    return backend


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def _forget_after_shared_fixtures(fixturedef: pytest.FixtureDef[Any]) -> None:
    if fixturedef.scope != "function":
        _seen.forget()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> None:
    _forget_after_shared_fixtures(fixturedef)


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[Any]) -> None:
    _forget_after_shared_fixtures(fixturedef)


@pytest.fixture(autouse=True, scope="module")
def no_pool_left_behind() -> Iterator[None]:
    """After the last test of a module: end the shared pools, then fail if anything at all outlived the module."""

    def end_pools() -> None:
        leaks.forget_others()
        leaks.shared_files()
        warm_pools.shut_down()

    yield from _watched(end_pools, leaks.nothing, None)
    _keep_what_is_there()  # such as the reports of the module's tests


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: fail if anything outlived it but the idle workers of the shared pools.

    Those end too after a test that failed, and before and after one that is marked `fresh_pool`.
    """
    fresh = request.node.get_closest_marker("fresh_pool") is not None
    if fresh:
        warm_pools.shut_down()
        _seen.forget()

    def end_pools() -> None:
        if fresh or request.node.stash.get(_failed, False):
            leaks.shared_files()  # what the workers hold is known as theirs only while they live
            warm_pools.shut_down()
        else:
            warm_pools.rest()

    yield from _watched(end_pools, warm_pools.holdings, _seen)


def _watched(
    end_pools: Callable[[], None], spared: Callable[[], Container[Hashable]], since: leaks.Seen | None
) -> Iterator[None]:
    left = ""
    try:
        with leaks.watch(spared=spared, since=since):
            yield
            end_pools()
    except leaks.LeakError as error:
        left = str(error)
    if left:
        pytest.fail(left, pytrace=False)


@pytest.fixture(scope="session")
def interpreters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, other_interpreters.Interpreter]:
    """The other interpreters on this machine, by version ("3.12", "3.14t")."""
    lent = other_interpreters.lend(tmp_path_factory.mktemp("lent"))
    return other_interpreters.find(lent)


@pytest.fixture(params=other_interpreters.others())
def interpreter(
    request: pytest.FixtureRequest, interpreters: dict[str, other_interpreters.Interpreter]
) -> other_interpreters.Interpreter:
    """Each other interpreter in turn; a version that is not there skips the test and says where it was looked for."""
    if request.param not in interpreters:
        where = f"on PATH, in pyenv's and uv's folders, in ${other_interpreters.VARIABLE}"
        pytest.skip(f"no CPython {request.param} found ({where})")
    return interpreters[request.param]


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are looked at from their beginning on, and often."""
    from unified_exec._sync.deadlocks import look, patrol  # workers import this file, too

    monkeypatch.setattr(look, "AFTER", 0.0)
    monkeypatch.setattr(look, "PERIOD", 0.05)
    monkeypatch.setattr(patrol, "SHARE", 0)
