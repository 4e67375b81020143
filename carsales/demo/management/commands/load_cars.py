"""The command that loads cars from CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import track

from carsales.demo.inventory import BUNDLED, InventoryError, load_cars, read_file

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from core.cars.models import Car

EXAMPLE = """\
Columns: make, model, year and price in US dollars; if there are any, also trim, body_style (coupe,
convertible, hatchback, sedan, van), colour, drivetrain (fwd, rwd, awd), horsepower, mpg_city,
mpg_highway and origin. The headers of gtcars.csv and cars93.csv are recognised as well. A file
with a bad row is refused as a whole. Cars that are there already, by make, model, year and trim,
are left as they are; a row that stands twice in a file is two cars. Columns are separated by commas,
semicolons or tabs.
"""


class Command(BaseCommand):
    """Load cars, or say line by line why that is impossible."""

    help = f"Load cars from a CSV file, or those that come with CarSales. {EXAMPLE}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file."""
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="default: the bundled cars"
        )

    def handle(self, *_args: Any, file: Path | None, verbosity: int, **_options: Any) -> None:
        """Read every file before the first car is saved."""
        cars: list[Car] = []
        for path in [file] if file else BUNDLED:
            cars += self._read(path)
        console = Console(stderr=True)
        quiet = verbosity == 0 or not console.is_terminal
        try:
            loaded = load_cars(track(cars, "Loading cars", console=console, disable=quiet))
        except KeyboardInterrupt:
            raise CommandError("Stopped. Nothing was loaded.", returncode=130) from None
        if verbosity == 0:
            return
        present = f"{loaded.present} already here"
        if loaded.created:
            self.stdout.write(self.style.SUCCESS(f"Cars: {loaded.created} loaded, {present}."))
        else:
            self.stdout.write(f"Cars: nothing to load, {present}.")

    def _read(self, path: Path) -> list[Car]:
        """Return the cars of the file at *path*."""
        try:
            return read_file(path)
        except InventoryError as error:
            problems = "\n".join(f"  {problem}" for problem in error.problems)
            raise CommandError(f"Nothing was loaded. {path}:\n{problems}") from None
        except OSError as error:
            raise CommandError(f"Nothing was loaded. {path}: {error.strerror}") from None
