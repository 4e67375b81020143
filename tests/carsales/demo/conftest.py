"""The cars and buyers of the tests of the domain, for those of the demo."""

from __future__ import annotations

from tests.core.conftest import make_buyer, make_car

__all__ = ["make_buyer", "make_car"]
