"""What sales do when orders are placed, when a sale is deleted and when one is complete."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models.signals import post_save, pre_delete

from core.orders.models import Order

from .exceptions import RegistryUnavailableError
from .models import Sale
from .signals import sale_completed

logger = logging.getLogger(__name__)


def make_sale(sender: type[Order], instance: Order, **named: Any) -> None:
    """Make the sale of an order that was saved as active."""
    if instance.status == Order.Status.ACTIVE and not named["raw"]:
        Sale.objects.make_for(instance)


def reopen_order(sender: type[Sale], instance: Sale, **named: Any) -> None:
    """Put the cars of a sale that is about to be deleted up for sale and reopen its order."""
    instance.undo()


def issue_receipt(sender: type[Sale], sale: Sale, **named: Any) -> None:
    """Give the sale its receipt number."""
    sale.issue_receipt()


async def congratulate(sender: type[Sale], sale: Sale, **named: Any) -> None:
    """Tell the buyer that the cars are ready to be fetched."""
    await sale.buyer.anotify(f"{sale} is complete: your cars can be fetched.")
    logger.info("sale %s is complete", sale.pk)


def report_to_registry(sender: type[Sale], sale: Sale, **named: Any) -> None:
    """Report the new owner to the vehicle registry, which is never there.

    CarSales has no registry to talk to, and this receiver fails with every sale on purpose: it
    shows that `send_robust()` calls the other receivers all the same, and what a failed receiver
    looks like in a trace.
    """
    raise RegistryUnavailableError(f"The vehicle registry did not answer about sale {sale.pk}.")


def connect() -> None:
    """Connect the receivers of sales."""
    post_save.connect(make_sale, sender=Order, dispatch_uid="sales.make_sale")
    pre_delete.connect(reopen_order, sender=Sale, dispatch_uid="sales.reopen_order")
    sale_completed.connect(issue_receipt, sender=Sale, dispatch_uid="sales.issue_receipt")
    sale_completed.connect(report_to_registry, sender=Sale, dispatch_uid="sales.report_to_registry")
    sale_completed.connect(congratulate, sender=Sale, dispatch_uid="sales.congratulate")
