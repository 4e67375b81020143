"""Reactions of sales to placed orders, to deleted and complete sales."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models.signals import post_save, pre_delete
from django.dispatch import receiver

from core.orders.models import Order

from .exceptions import RegistryUnavailableError
from .models import Sale
from .signals import sale_completed

logger = logging.getLogger(__name__)


@receiver(post_save, sender=Order, dispatch_uid="sales.make_sale")
def make_sale(sender: type[Order], instance: Order, **named: Any) -> None:
    """Make the sale of an order that was saved as active."""
    if instance.status == Order.Status.ACTIVE and not named["raw"]:
        Sale.objects.make_for(instance)


@receiver(pre_delete, sender=Sale, dispatch_uid="sales.reopen_order")
def reopen_order(sender: type[Sale], instance: Sale, **named: Any) -> None:
    """Put the cars of a sale that is about to be deleted up for sale and reopen its order."""
    instance.undo()


@receiver(sale_completed, sender=Sale, dispatch_uid="sales.issue_receipt")
def issue_receipt(sender: type[Sale], sale: Sale, **named: Any) -> None:
    """Give the sale its receipt number."""
    sale.issue_receipt()


@receiver(sale_completed, sender=Sale, dispatch_uid="sales.congratulate")
async def congratulate(sender: type[Sale], sale: Sale, **named: Any) -> None:
    """Tell the buyer that the cars are ready to be fetched."""
    await sale.buyer.anotify(f"{sale} is complete: your cars can be fetched.")
    logger.info("sale %s is complete", sale.pk)


@receiver(sale_completed, sender=Sale, dispatch_uid="sales.report_to_registry")
def report_to_registry(sender: type[Sale], sale: Sale, **named: Any) -> None:
    """Report the new owner to the vehicle registry, which is never there.

    CarSales has no registry to talk to, and this receiver fails with every sale on purpose: it
    shows that `send_robust()` calls the other receivers all the same, and what a failed receiver
    looks like in a trace.
    """
    raise RegistryUnavailableError(f"The vehicle registry did not answer about sale {sale.pk}.")
