"""Reactions of cars to the saving of one."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save, pre_save
from django.dispatch import receiver

from .models import Car


@receiver(pre_save, sender=Car, dispatch_uid="cars.give_code")
def give_code(sender: type[Car], instance: Car, **named: Any) -> None:
    """Compose the code of a car that has none, before its row is written."""
    if not instance.code:
        instance.code = instance.compose_code()


@receiver(post_save, sender=Car, dispatch_uid="cars.update_buyer")
def update_buyer(sender: type[Car], instance: Car, **named: Any) -> None:
    """Count the purchases of a bought car's buyer anew, after the car's row is written."""
    # While a fixture loads, the buyer's row may not be there yet.
    if instance.buyer is not None and not named["raw"]:
        instance.buyer.count_purchases()
