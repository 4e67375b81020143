"""Reactions of buyers to a saved user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models.signals import post_save
from django.dispatch import receiver

from .models import Buyer

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@receiver(post_save, sender=settings.AUTH_USER_MODEL, dispatch_uid="buyers.create_buyer")
def create_buyer(sender: type[User], instance: User, **named: Any) -> None:
    """Give a new user a buyer, marked as made by this signal."""
    # A fixture brings its own buyers along.
    if named["created"] and not named["raw"]:
        Buyer.objects.create(user=instance, created_by_signal=True)
