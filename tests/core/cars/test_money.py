"""Tests of how amounts are written."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.cars.templatetags.money import money


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal(0), "$0"),
        (Decimal("12500.00"), "$12,500"),
        (Decimal("12500.5"), "$12,500.50"),
        (None, ""),
        ("", ""),
    ],
)
def test_money_is_written(amount, text):
    assert money(amount) == text
