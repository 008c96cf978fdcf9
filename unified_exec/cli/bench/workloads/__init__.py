"""The workloads: each has a function, a list of items, and a check of the results."""

from __future__ import annotations

from . import cpu, files, libraries, network
from .workload import Group, Setting, Workload

__all__ = ["WORKLOADS", "Group", "Setting", "Workload", "by_key"]

WORKLOADS: tuple[Workload, ...] = (
    *cpu.WORKLOADS,
    *network.WORKLOADS,
    *files.WORKLOADS,
    *libraries.WORKLOADS,
)


def by_key(key: str) -> Workload:
    return next(workload for workload in WORKLOADS if workload.key == key)
