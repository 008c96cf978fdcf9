"""Names in code spans become links: `TaskScope`, `asyncio.TaskGroup`.

The pages stay plain Markdown, which also reads well in the repository. Each name is
linked once per section.

The build must work without a network, so the inventories of other projects are written
here, with only the names that our pages and docstrings mention. To mention a new one,
add it below.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

import unified_exec
from unified_exec import executor

HEAD = """\
# Sphinx inventory version 2
# Project: {project}
# Version: stable
# The remainder of this file is compressed using zlib.
"""

ADDRESSES = {
    "python": "https://docs.python.org/3",
    "anyio": "https://anyio.readthedocs.io/en/stable",
    "trio": "https://trio.readthedocs.io/en/stable",
}

# Project -> page -> role -> names.
OBJECTS: dict[str, dict[str, dict[str, str]]] = {
    "python": {
        "library/asyncio-task.html": {
            "class": "asyncio.TaskGroup asyncio.Task",
            "method": "asyncio.Task.cancel",
            "function": "asyncio.gather asyncio.to_thread asyncio.timeout asyncio.wait",
        },
        "library/asyncio-runner.html": {"function": "asyncio.run"},
        "library/asyncio-eventloop.html": {"method": "asyncio.loop.run_in_executor"},
        "library/asyncio-sync.html": {"class": "asyncio.Semaphore"},
        "library/asyncio-exceptions.html": {"exception": "asyncio.CancelledError"},
        "library/concurrent.futures.html": {
            "class": "concurrent.futures.Executor concurrent.futures.Future "
            "concurrent.futures.ProcessPoolExecutor concurrent.futures.ThreadPoolExecutor",
            "exception": "concurrent.futures.process.BrokenProcessPool",
        },
        "library/contextvars.html": {"module": "contextvars"},
        "library/exceptions.html": {
            "exception": "BaseException Exception ExceptionGroup GeneratorExit KeyboardInterrupt OSError "
            "RuntimeError SystemExit TimeoutError TypeError ValueError"
        },
        "library/collections.abc.html": {
            "class": "collections.abc.Callable collections.abc.Iterable collections.abc.AsyncIterable "
            "collections.abc.AsyncIterator collections.abc.Iterator collections.abc.Awaitable "
            "collections.abc.Coroutine collections.abc.Generator collections.abc.Mapping collections.abc.Sequence"
        },
        "library/functools.html": {"function": "functools.partial"},
        "library/functions.html": {"class": "bool bytearray float int memoryview"},
        "library/stdtypes.html": {"class": "bytes dict list str tuple"},
        "library/importlib.html": {"function": "importlib.reload"},
        "library/multiprocessing.html": {
            "module": "multiprocessing",
            "class": "multiprocessing.pool.Pool",
        },
        "library/os.html": {"function": "os._exit os.execv os.fork os.posix_spawn"},
        "library/signal.html": {"data": "signal.SIGKILL"},
        "library/subprocess.html": {"module": "subprocess"},
        "library/sys.html": {"data": "sys.executable"},
        "library/sys.monitoring.html": {"module": "sys.monitoring"},
        "library/time.html": {"function": "time.monotonic time.sleep"},
        "library/threading.html": {"class": "threading.Thread threading.Lock"},
        "library/typing.html": {
            "class": "typing.Generic",
            "data": "typing.Any typing.Literal",
        },
    },
    "anyio": {
        "api.html": {
            "class": "anyio.CancelScope anyio.CapacityLimiter anyio.abc.TaskGroup anyio.TaskHandle",
            "method": "anyio.abc.TaskGroup.create_task anyio.abc.TaskGroup.start "
            "anyio.abc.TaskGroup.start_soon",
            "exception": "anyio.TaskCancelled anyio.TaskNotFinished",
            "function": "anyio.as_completed anyio.create_task_group anyio.fail_after "
            "anyio.from_thread.run anyio.from_thread.run_sync anyio.gather "
            "anyio.lowlevel.checkpoint anyio.move_on_after anyio.run anyio.sleep "
            "anyio.sleep_forever anyio.to_process.run_sync anyio.to_thread.run_sync",
        }
    },
    "trio": {
        "reference-core.html": {
            "function": "trio.run trio.open_nursery trio.to_thread.run_sync",
            "class": "trio.Nursery",
        }
    },
}

# What a page calls it -> its full name.
SHORT = {
    "BrokenProcessPool": "concurrent.futures.process.BrokenProcessPool",
    "CancelScope": "anyio.CancelScope",
    "concurrent.futures.Executor": "concurrent.futures.Executor",
    "create_task_group": "anyio.create_task_group",
    "fail_after": "anyio.fail_after",
    "loop.run_in_executor": "asyncio.loop.run_in_executor",
    "move_on_after": "anyio.move_on_after",
    "multiprocessing.Pool": "multiprocessing.pool.Pool",
    "to_process.run_sync": "anyio.to_process.run_sync",
    "to_thread.run_sync": "anyio.to_thread.run_sync",
    "ProcessExecutor": "unified_exec.executor.ProcessExecutor",
    "ThreadExecutor": "unified_exec.executor.ThreadExecutor",
    "ExceptionGroup": "ExceptionGroup",
    "TimeoutError": "TimeoutError",
}
SHORT |= {
    name: f"unified_exec.{name}"
    for name in unified_exec.__all__
    if name != "__version__"
}
SHORT |= {
    f"scope.{verb}": f"unified_exec.TaskScope.{verb}"
    for verb in ("spawn", "map", "stream", "gather", "as_completed", "cancel")
}
SHORT |= {
    f"handle.{verb}": f"unified_exec.TaskHandle.{verb}"
    for verb in ("wait", "cancel", "result", "exception")
}
SHORT |= {name: f"unified_exec.executor.{name}" for name in executor.__all__}
FOREIGN = {
    name
    for pages in OBJECTS.values()
    for roles in pages.values()
    for names in roles.values()
    for name in names.split()
    if "." in name
}


def write_inventories(folder: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory (Sphinx's format, version 2) for each project; returns what `intersphinx_mapping` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    for project, pages in OBJECTS.items():
        lines = [
            f"{name} py:{role} 1 {page}#{'module-' if role == 'module' else ''}{name} -\n"
            for page, roles in pages.items()
            for role, names in roles.items()
            for name in names.split()
        ]
        (folder / f"{project}.inv").write_bytes(
            HEAD.format(project=project).encode()
            + zlib.compress("".join(lines).encode(), 9)
        )
    return {
        project: (address, str(folder / f"{project}.inv"))
        for project, address in ADDRESSES.items()
    }


class LinkKnownNames(SphinxPostTransform):
    """Wrap code spans that are known names in a reference."""

    default_priority = 5  # before references are resolved

    def run(self, **options: object) -> None:
        seen: set[tuple[int, str]] = set()
        for span in list(self.document.findall(nodes.literal)):
            if isinstance(
                span.parent, nodes.reference | addnodes.pending_xref | nodes.title
            ):
                continue
            target = full_name(span.astext())
            section = next(
                (
                    id(above)
                    for above in _ancestors(span)
                    if isinstance(above, nodes.section)
                ),
                0,
            )
            if target is None or (section, target) in seen:
                continue
            seen.add((section, target))
            self._link(span, target)

    def _link(self, span: nodes.literal, target: str) -> None:
        reference = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refwarn=False,
            refdoc=self.env.current_document.docname,
        )  # fmt: skip
        reference.source, reference.line = span.source, span.line
        span.replace_self(reference)
        reference += span


def full_name(text: str) -> str | None:
    """The full name of what a code span names, with or without its call; None for anything else."""
    name = re.sub(r"\(.*\)$", "", text.removeprefix("@").removeprefix("await "))
    return SHORT.get(name) or (name if name in FOREIGN else None)


def _ancestors(node: nodes.Node) -> list[nodes.Node]:
    above = []
    while node.parent is not None:
        node = node.parent
        above.append(node)
    return above


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(LinkKnownNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
