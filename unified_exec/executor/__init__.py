"""`concurrent.futures` executors over the pools of this package, for code that is written for executors.

    with ProcessExecutor() as executor:
        future = executor.submit(crunch, data)
        future.cancel()                             # stops it even if it is running

They work wherever an executor does: `loop.run_in_executor`, `concurrent.futures.wait`, Dask's local scheduler. joblib
takes a backend by name, see `register_joblib`.
"""

from __future__ import annotations

from .interpreters import InterpreterExecutor
from .processes import ProcessExecutor
from .threads import ThreadExecutor

__all__ = ["InterpreterExecutor", "ProcessExecutor", "ThreadExecutor", "register_joblib"]


def register_joblib() -> None:
    """Register the joblib backend ``"unified_exec"``.

    Raises:
        ImportError: joblib is not installed.

    Example:
        register_joblib()
        with joblib.parallel_config(backend="unified_exec"):
            joblib.Parallel(n_jobs=2)(joblib.delayed(crunch)(part) for part in parts)
    """
    import joblib  # type: ignore[import-untyped, unused-ignore]

    from .joblib_backend import UnifiedExecBackend

    joblib.register_parallel_backend("unified_exec", UnifiedExecBackend)
