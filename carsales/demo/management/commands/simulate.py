"""The command that lets simulated buyers loose on the site."""

from __future__ import annotations

import argparse
import random
import time
from typing import TYPE_CHECKING, Any

import httpx
from django.core.handlers.wsgi import WSGIHandler
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from carsales.demo.simulation import USER_PREFIX, Simulation, SimulationError
from core.sales.exceptions import SaleCancelledError
from core.sales.models import Sale

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

    from carsales.demo.simulation import Tally

# An address set aside for documentation. From an internal one the debug toolbar would be on.
VISITORS_ADDRESS = "192.0.2.1"

TIMEOUT = 60.0
"""Seconds to wait for an answer of the site."""


def positive(text: str) -> int:
    """Return the whole number in *text*, which must be at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


class Command(BaseCommand):
    """Run a simulation and print what happened."""

    help = (
        "Let simulated buyers sign up, browse, order and cancel, until the wanted number of sales "
        "is made. When no car is left, earlier sales are cancelled to free some."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how many sales, how many at once, the seed and the site."""
        parser.add_argument("--sales", type=positive, required=True, metavar="N")
        parser.add_argument(
            "--concurrency", type=positive, default=1, metavar="K", help="buyers at once; default 1"
        )
        parser.add_argument(
            "--seed", type=int, metavar="S", help="makes the buyers choose the same again"
        )
        parser.add_argument(
            "--url", metavar="URL", help="a running site; without it, this process is the site"
        )

    def handle(
        self,
        *_args: Any,
        sales: int,
        concurrency: int,
        seed: int | None,
        url: str | None,
        verbosity: int,
        **_options: Any,
    ) -> None:
        """Simulate, with a progress bar where there is a terminal."""
        console = Console(stderr=True)
        progress = Progress(
            TextColumn("Simulating sales"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=verbosity == 0 or not console.is_terminal,
        )
        task = progress.add_task("sales", total=sales)
        simulation = Simulation(
            new_client=client_of_site(url) if url else client_in_process(),
            sales=sales,
            concurrency=concurrency,
            seed=random.randrange(2**32) if seed is None else seed,  # noqa: S311 - not a secret
            on_sale=lambda: progress.advance(task),
        )
        if not url:
            simulation.free_car = cancel_earlier_sale
        started = time.perf_counter()
        try:
            with progress:
                simulation.run()
        except SimulationError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was sold stays sold.", returncode=130) from None
        finally:
            if verbosity > 0 and simulation.tally.signups:
                seconds = time.perf_counter() - started
                self.stdout.write(summary(simulation.tally, simulation.seed, seconds))


def client_of_site(url: str) -> Callable[[], httpx.Client]:
    """Return a maker of clients for the site that runs at *url*."""
    return lambda: httpx.Client(base_url=url, follow_redirects=True, timeout=TIMEOUT)


def client_in_process() -> Callable[[], httpx.Client]:
    """Return a maker of clients whose requests this process answers, through all of Django."""
    site = WSGIHandler()
    return lambda: httpx.Client(
        base_url="http://localhost",
        follow_redirects=True,
        transport=httpx.WSGITransport(
            app=site, raise_app_exceptions=False, remote_addr=VISITORS_ADDRESS
        ),
    )


def cancel_earlier_sale() -> bool:
    """Cancel the oldest sale to a simulated buyer of an earlier run; False without one."""
    try:
        sale = Sale.objects.filter(buyer__user__username__startswith=USER_PREFIX).last()
        if sale is None:
            return False
        sale.cancel()
    except SaleCancelledError:
        pass  # Another thread was faster; a car is free either way.
    finally:
        # This runs in a thread of the simulation, whose connection nobody else would close.
        connections.close_all()
    return True


def summary(tally: Tally, seed: int, seconds: float) -> str:
    """Return the table of what happened, as text."""
    table = Table("what", "count", title="Simulation")
    table.columns[1].justify = "right"
    for name in ("signups", "sales", "cancellations", "conflicts", "errors", "requests"):
        table.add_row(name, f"{getattr(tally, name):,}")
    table.add_section()
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("requests per second", f"{tally.requests / seconds:.1f}")
    table.add_row("seed", str(seed))
    console = Console(width=60, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()
