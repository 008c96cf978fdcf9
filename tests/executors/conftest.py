"""Each test runs with both executors where it asks for `executor` or `kind`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executors.held import EXECUTORS, Held


@pytest.fixture(params=EXECUTORS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def executor(kind: Any) -> Iterator[Any]:
    with kind(2) as made:
        yield made


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)
