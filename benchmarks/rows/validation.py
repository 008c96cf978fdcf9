"""scikit-learn's cross-validation, through joblib on its own backend and on this package's."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from unified_exec.executor import register_joblib

from ..row import OURS, Bar, Contender, Measure, Row, Settings

JOBS = 2
FOLDS = 40
REPEATS = 3
LOKY = "joblib, loky"


def _on(backend: str) -> Measure:
    def measure(settings: Settings) -> dict[str, float]:
        import joblib
        from joblib.externals.loky import get_reusable_executor
        from sklearn.datasets import make_classification
        from sklearn.model_selection import cross_val_score
        from sklearn.svm import SVC

        register_joblib()
        values, labels = make_classification(settings.calls(600, 300), 20, random_state=7)

        def validate(jobs: Any) -> float:
            began = perf_counter()
            scores = cross_val_score(SVC(), values, labels, cv=FOLDS, n_jobs=jobs)
            assert len(scores) == FOLDS
            return perf_counter() - began

        if backend == "sequential":
            return {"": min(validate(None) for _ in range(REPEATS))}
        get_reusable_executor().shutdown(wait=True)
        from unified_exec.executor import joblib_backend

        joblib_backend.shut_down()
        with joblib.parallel_config(backend):
            cold = validate(JOBS)
            warm = min(validate(JOBS) for _ in range(REPEATS))
        return {"cold": cold, "": warm}

    return measure


_NEEDS = ("joblib", "sklearn")

ROWS = [
    Row(
        "validation",
        f"cross_val_score of scikit-learn, {FOLDS} folds, {JOBS} processes",
        "s",
        "A support vector machine of 600 samples. Cold: the first one, which starts the workers and has them import "
        f"scikit-learn; then the fastest of {REPEATS}.",
        (
            Contender(OURS, _on("unified_exec"), _NEEDS),
            Contender(LOKY, _on("loky"), _NEEDS),
            Contender("one process", _on("sequential"), _NEEDS, peer=False),
        ),
        (Bar(1.0, LOKY), Bar(1.0, f"{LOKY}: cold", f"{OURS}: cold")),
        rounds_most=5,
    )
]
