"""Ray on this machine, started when a row needs it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache

from .dask_cluster import ROOT


@cache
def start() -> None:
    """Start Ray with two CPUs, once; it ends with this process. Its token goes into a home folder of its own."""
    import ray

    home = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ.update(HOME=home, PYTHONPATH=str(ROOT))
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "CRITICAL"}
    ray.init(num_cpus=2, object_store_memory=80 << 20, **options)
