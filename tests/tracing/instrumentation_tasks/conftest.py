"""Fixtures for traces of tasks and of changing connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tracing.instrumentation_tasks.keeping import Keeper, keeping

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    """Instrument, and receive all live traces in place of the pipeline; no failure of our own."""
    with keeping() as keeper:
        yield keeper
