"""The models, for the querysets and walks that they import themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models

if TYPE_CHECKING:
    from tracing.store.models import Dispatch, ReceiverCall, Rollup, Trace
else:
    # Querysets are generic over their models for the type checker alone.
    Dispatch = ReceiverCall = Rollup = Trace = models.Model

__all__ = ["Dispatch", "ReceiverCall", "Rollup", "Trace", "all_of"]


def all_of(model: str, using: str) -> Any:
    """Return all rows of *model*, its name, in the database *using*."""
    return apps.get_model("tracing", model).objects.using(using)
