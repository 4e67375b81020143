"""Signals that sales send."""

from __future__ import annotations

from django.dispatch import Signal

sale_completed = Signal()
"""Sent robustly by `Sale.announce()`, sender `Sale`, after the sale's transaction has committed.

Named arguments: `sale`, the new sale.
"""
