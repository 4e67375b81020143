"""What querysets are generic over: the models for the type checker, any model when running.

The models have managers of querysets, which therefore cannot import them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from tracing.store.models import Dispatch, ReceiverCall, Rollup, Trace
else:
    Dispatch = ReceiverCall = Rollup = Trace = models.Model

__all__ = ["Dispatch", "ReceiverCall", "Rollup", "Trace"]
