"""Beyond one machine: pools whose workers run on the nodes of a cluster. Imported on request only.

A name is loaded when it is first used, so that an engine is needed only for its own pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import NodeLost as NodeLost
    from .dask import DaskPool as DaskPool
    from .node import ClusterNode as ClusterNode
    from .node import WorkerRef as WorkerRef
    from .ray import RayPool as RayPool

__all__ = ["ClusterNode", "DaskPool", "NodeLost", "RayPool", "WorkerRef"]


def __getattr__(name: str) -> Any:
    if name == "DaskPool":
        from .dask import DaskPool

        return DaskPool
    if name == "RayPool":
        from .ray import RayPool

        return RayPool
    if name in ("ClusterNode", "WorkerRef"):
        from . import node

        return getattr(node, name)
    if name == "NodeLost":
        from ..errors import NodeLost

        return NodeLost
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
