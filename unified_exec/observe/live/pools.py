"""The pools of this program: what is queued, and what each worker does and uses."""

from __future__ import annotations

from typing import Any

from ..._pools.process.shutdown import registries
from ..._pools.process.worker import Worker
from ..._pools.thread.pool import thread_pools
from .samples import processors, usage
from .whereabouts import running


def describe_pools(answers: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Describe every pool that has workers, threads or queued tasks."""
    told: list[dict[str, Any]] = []
    for registry in registries():
        here = sorted(registry.workers, key=lambda worker: worker.pid)  # copied first: the set changes
        workers = [_worker(worker, answers.get(worker.pid, {})) for worker in here if not worker.reaped]
        lanes = list(registry.lanes.values())
        queued = sum(group.queue.length for lane in lanes for group in lane.groups)
        if workers or queued:
            told.append(
                {
                    "kind": here[0].child.place if here else "process",
                    "name": registry.pool[:200],
                    "max": registry.spec.max_workers,
                    "queued": queued,
                    "workers": workers,
                }
            )
    for pool in thread_pools():
        busy, threads, queued = pool.counts()
        if threads or queued:
            one: dict[str, Any] = {"kind": "thread", "name": pool.name[:200], "max": pool.max_workers}
            told.append({**one, "queued": queued, "busy": busy, "threads": threads})
    return told


def _worker(worker: Worker, answer: dict[str, Any]) -> dict[str, Any]:
    used = usage(worker.pid)
    return {
        "pid": worker.pid,
        "state": worker.connection.state,
        "tasks": len(worker.tasks),
        "running": running(worker),
        "coroutines": worker.kind.concurrent,
        "memory": used.memory or answer.get("rss", 0),
        "cpu": processors.share(worker.pid, used.seconds),
        "seconds": used.seconds,
    }
