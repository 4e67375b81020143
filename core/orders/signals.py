"""Signals that orders send."""

from __future__ import annotations

from django.dispatch import Signal

order_placed = Signal()
"""Sent by `Order.place()`, sender `Order`, inside its transaction, once the sale is made.

Named arguments: `order`, the order that was placed.
"""
