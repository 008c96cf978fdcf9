"""What is done: one workload is one function, a list of items and the check that all came back."""

from __future__ import annotations

from . import counting, cpu, files, mixed, network
from .base import Group, Setting, Workload

__all__ = ["WORKLOADS", "Group", "Setting", "Workload", "by_key"]

WORKLOADS: tuple[Workload, ...] = (
    *cpu.WORKLOADS,
    *network.WORKLOADS,
    *files.WORKLOADS,
    *mixed.WORKLOADS,
    *counting.WORKLOADS,
)


def by_key(key: str) -> Workload:
    """Return the workload of that key."""
    return next(workload for workload in WORKLOADS if workload.key == key)
