"""Work that people have, done with the libraries they do it with: data frames, pictures, cross-validation."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..models.model import Kind
from .workload import Group, Setting, Workload

ROWS = 40_000
CITIES = 97
WIDTH, HEIGHT = 1_000, 750
THUMBNAIL = 128
SAMPLES, FEATURES, FOLDS = 300, 12, 5
_NO_INTERPRETERS = frozenset({Kind.INTERPRETER})
"""The libraries can be imported only in the main interpreter."""


def summarize(frame: Any) -> Any:
    """Sends a pandas frame of 40,000 rows to a worker, which filters, joins, groups, sorts it and sends one back."""
    import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

    frame = frame[frame["amount"] >= 0].assign(day=frame["second"] // 86_400)
    regions = pandas.DataFrame({"city": range(CITIES), "region": [city % 7 for city in range(CITIES)]})
    joined = frame.merge(regions, on="city")
    sums = joined.groupby(["region", "day"], as_index=False)["amount"].agg(["sum", "mean", "count"])
    return sums.sort_values("sum", ascending=False)


def _frames(setting: Setting) -> Sequence[Any]:
    import numpy
    import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

    numbers = numpy.random.default_rng(7)
    rows = max(500, int(ROWS * setting.scale))

    def frame() -> Any:
        return pandas.DataFrame(
            {
                "second": numbers.integers(0, 30 * 86_400, rows),
                "city": numbers.integers(0, CITIES, rows),
                "amount": numbers.normal(10.0, 5.0, rows),
            }
        )

    return [frame() for _ in range(setting.count(32, 8))]


def _all_rows_counted(frames: Sequence[Any], results: Sequence[Any]) -> bool:
    counted = [int(result["count"].sum()) for result in results]
    return counted == [int((frame["amount"] >= 0).sum()) for frame in frames]


def thumbnail(path: str) -> int:
    """Opens a JPEG of 1,000 × 750 pixels with Pillow, reduces it to 128 pixels and compresses it again."""
    from PIL import Image  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with Image.open(path) as picture:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        reduced = io.BytesIO()
        picture.save(reduced, "JPEG")
    return len(reduced.getvalue())


def _pictures(setting: Setting) -> Sequence[str]:
    from PIL import Image  # type: ignore[import-not-found, import-untyped, unused-ignore]

    path = os.path.join(setting.folder, f"picture-{os.getpid()}.jpg")
    if not Path(path).exists():
        picture = Image.radial_gradient("L").resize((WIDTH, HEIGHT))
        noise = Image.effect_noise((WIDTH, HEIGHT), 40)
        Image.merge("RGB", (picture, noise, picture)).save(path, "JPEG")
    return [path] * setting.count(100, 25)


@functools.cache
def _samples() -> tuple[Any, Any]:
    from sklearn.datasets import make_classification  # type: ignore[import-not-found, import-untyped, unused-ignore]

    samples: tuple[Any, Any] = make_classification(SAMPLES, FEATURES, flip_y=0.05, random_state=7)
    return samples


def validate(item: tuple[float, int]) -> float:
    """Fits a support vector machine of scikit-learn on all folds but one, and returns its score on that one."""
    from sklearn.model_selection import StratifiedKFold  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from sklearn.svm import SVC  # type: ignore[import-not-found, import-untyped, unused-ignore]

    penalty, fold = item
    values, labels = _samples()
    train, test = list(StratifiedKFold(FOLDS).split(values, labels))[fold]
    return float(SVC(C=penalty).fit(values[train], labels[train]).score(values[test], labels[test]))


def _folds(setting: Setting) -> Sequence[tuple[float, int]]:
    return [(0.5 + number // FOLDS, number % FOLDS) for number in range(setting.count(200, 40))]


WORKLOADS = (
    Workload(
        "frames",
        "data frames",
        Group.LIBRARIES,
        str(summarize.__doc__),
        summarize,
        _frames,
        _all_rows_counted,
        needs=("pandas",),
        left_out_of=_NO_INTERPRETERS,
    ),
    Workload(
        "thumbnails",
        "thumbnails",
        Group.LIBRARIES,
        str(thumbnail.__doc__),
        thumbnail,
        _pictures,
        lambda items, results: len(results) == len(items) and len(set(results)) == 1 and results[0] > THUMBNAIL,
        needs=("PIL",),
        left_out_of=_NO_INTERPRETERS,
    ),
    Workload(
        "validation",
        "cross-validation",
        Group.LIBRARIES,
        str(validate.__doc__),
        validate,
        _folds,
        lambda items, results: len(results) == len(items) and all(0.5 < score <= 1 for score in results),
        needs=("sklearn",),
        left_out_of=_NO_INTERPRETERS,
    ),
)
