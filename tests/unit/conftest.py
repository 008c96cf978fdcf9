"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.wire_child import Child


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Child() as child:
        yield child
