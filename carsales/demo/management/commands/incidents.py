"""The command that has the incidents of the demo happen."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from carsales.demo.incidents import PaymentRefusedError, sell_by_phone, write_price_list


class Command(BaseCommand):
    """Let happen what the tracer is then asked about."""

    help = (
        "Place an order whose payment is refused, and write the price list past its receivers. "
        "Nothing is left behind but the traces."
    )

    def handle(self, *_args: Any, verbosity: int, **_options: Any) -> None:
        """Let both happen and say what it was."""
        write_price_list()
        told = ["A price list was written with update(), past the receivers that follow prices."]
        # Last, so that `tracing show last` has something to tell.
        try:
            sell_by_phone()
        except PaymentRefusedError as error:
            told.append(f"A sale by telephone was rolled back: {error}")
        if verbosity > 0:
            self.stdout.write("\n".join(told))
