"""Reading cars from CSV files, and loading them so that a second time changes nothing.

Three shapes of file are recognised by their header:

- *plain*: the columns `make`, `model`, `year` and `price` (US dollars), and optionally `trim`,
  `body_style`, `colour`, `drivetrain`, `horsepower`, `mpg_city`, `mpg_highway` and `origin`;
- *gtcars*: the file of that name, with `mfr`, `bdy_style`, `msrp` and others;
- *cars93*: the file of that name, with `manufacturer`, `type`, `min_price` and others; its prices
  are in thousands of dollars and its year is 1993.

The order of the columns does not matter, nor does the case of the header; other columns are
ignored. Columns are separated by commas, semicolons or tabs: whichever of them the header has most of.
"""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.db import transaction
from django.template.defaultfilters import pluralize
from django.utils import timezone

from core.cars.models import Car

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DATA = Path(__file__).parent / "data"
BUNDLED = (DATA / "gtcars.csv", DATA / "cars93.csv")
"""The files that come with the app; where they are from is written beside them."""

YEAR_OF_CARS93 = 1993


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with a line of a file."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class InventoryError(Exception):
    """A file cannot be loaded.

    Attributes:
        problems: Every problem in it, in the order of its lines; at least one.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


@dataclass(frozen=True, slots=True)
class Shape:
    """A known kind of file.

    Attributes:
        columns: The columns by which its header is recognised.
        read: Turns a row into the texts of a car's fields; raises ValueError with the reason.
    """

    columns: frozenset[str]
    read: Callable[[Mapping[str, str]], dict[str, str]]


@dataclass(slots=True)
class Loaded:
    """The result of loading: counts of new and of known cars."""

    created: int = 0
    present: int = 0


@dataclass(slots=True)
class _Reading:
    """The part of a file that has been read."""

    cars: list[Car] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_cars(lines: Iterable[str]) -> list[Car]:
    """Return the unsaved cars of a CSV file.

    Args:
        lines: The lines of the file, the header first.

    Raises:
        InventoryError: The header is of no known shape, or rows are bad: all of them are named.
    """
    lines = iter(lines)
    first = next(lines, "")
    rows = csv.reader(chain([first], lines), delimiter=_separator(first), strict=True)
    reading = _Reading()
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        shape = _recognise(header)
        for row in rows:
            if any(cell.strip() for cell in row):
                _read_row(shape, header, row, rows.line_num, reading)
    except csv.Error as error:
        reading.problems.append(Problem(rows.line_num, f"not valid CSV: {error}"))
    if not reading.problems and not reading.cars:
        reading.problems.append(Problem(rows.line_num, "there is no car in the file"))
    if reading.problems:
        raise InventoryError(reading.problems)
    return reading.cars


def read_file(path: Path) -> list[Car]:
    """Return the unsaved cars of the CSV file at *path*, which must be UTF-8 text.

    Raises:
        InventoryError: As ``read_cars``, or the file is in another encoding.
        OSError: It cannot be read.
    """
    content = path.read_bytes()
    try:
        # utf-8-sig: spreadsheets like to begin a file with a byte order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        reason = "not UTF-8 text; save the file as “CSV UTF-8”"
        raise InventoryError([Problem(line, reason)]) from None
    return read_cars(io.StringIO(text, newline=""))


def load_cars(cars: Iterable[Car]) -> Loaded:
    """Save those of *cars* that are not there yet: all of them or none.

    A car is the same when make, model, year and trim are. Of equal cars, a file may hold several:
    with two of them in the file and one in the database, one more is saved.
    """
    loaded = Loaded()
    met: Counter[tuple[str, str, int, str]] = Counter()
    with transaction.atomic():
        there = Counter(Car.objects.values_list("make", "model", "year", "trim"))
        for car in cars:
            identity = (car.make, car.model, car.year, car.trim)
            met[identity] += 1
            if met[identity] <= there[identity]:
                loaded.present += 1
            else:
                car.save()
                loaded.created += 1
    return loaded


def _separator(header: str) -> str:
    """Return what separates the columns of a file with that *header*."""
    return max(SEPARATORS, key=header.count)


def _recognise(header: list[str]) -> Shape:
    """Return the shape of a file with that *header*."""
    if not any(header):
        raise InventoryError([Problem(1, "there is no header")])
    for shape in SHAPES:
        if shape.columns <= set(header):
            return shape
    lacking = ", ".join(name for name in NEEDED if name not in header)
    raise InventoryError([Problem(1, f"the header lacks {lacking}; it needs {', '.join(NEEDED)}")])


def _read_row(
    shape: Shape, header: list[str], row: list[str], line: int, reading: _Reading
) -> None:
    """Add the car of a *row*, or what is wrong with it, to *reading*."""
    if len(row) != len(header):
        reason = f"{len(row)} column{pluralize(len(row))} where the header has {len(header)}"
        reading.problems.append(Problem(line, reason))
        return
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    if controlled := [name for name, cell in cells.items() if CONTROL.search(cell)]:
        # Not only a typing error: PostgreSQL stores no NUL.
        reading.problems.append(Problem(line, f"control characters in {', '.join(controlled)}"))
        return
    try:
        reading.cars.append(_checked_car(shape.read(cells)))
    except ValueError as error:
        reading.problems.append(Problem(line, str(error)))


def _checked_car(texts: dict[str, str]) -> Car:
    """Return the unsaved car with these *texts* as its fields.

    Raises:
        ValueError: A field is wrong; the message says which and why, for all such fields.
    """
    values = {name: text for name, text in texts.items() if text}
    values.setdefault("body_style", Car.BodyStyle.SEDAN.value)
    values.setdefault("colour", _likely_colour(values))
    car = Car(**values)
    try:
        car.clean_fields(exclude={"code", "buyer"})
    except ValidationError as error:
        reasons = [
            f"{name} {values[name]!r}: {message}" if name in values else f"{name} is missing"
            for name, messages in error.message_dict.items()
            for message in messages
        ]
        raise ValueError("; ".join(reasons)) from None
    if car.year > timezone.now().year + 1:
        raise ValueError(f"year '{car.year}': that is in the future")
    return car


def _likely_colour(values: Mapping[str, str]) -> str:
    """Return a colour for a car that names none; the same car always gets the same."""
    name = f"{values.get('make')} {values.get('model')} {values.get('trim')}"
    return Car.Colour.values[zlib.crc32(name.encode()) % len(Car.Colour.values)]


def _read_plain(row: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a car in a plain file."""
    texts = {name: row.get(name, "") for name in PLAIN_COLUMNS}
    for name in ("body_style", "colour", "drivetrain"):
        texts[name] = texts[name].lower()
    texts["price"] = _without_grouping(texts["price"].removeprefix("$"))
    return texts


def _without_grouping(price: str) -> str:
    """Return *price* without the commas that group its thousands.

    Raises:
        ValueError: A comma stands elsewhere. Where it is the decimal point, leaving it out would
            make the car a hundred times as dear.
    """
    if "," not in price:
        return price
    if not GROUPED.fullmatch(price):
        raise ValueError(f"price {price!r}: write 1234.50 or 1,234.50")
    return price.replace(",", "")


def _read_gtcars(row: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a car in gtcars.csv."""
    return {
        "make": row["mfr"],
        "model": row["model"],
        "year": row["year"],
        "trim": row["trim"],
        "price": row["msrp"],
        "body_style": row["bdy_style"],
        "drivetrain": row.get("drivetrain", ""),
        "horsepower": row.get("hp", ""),
        "mpg_city": row.get("mpg_c", ""),
        "mpg_highway": row.get("mpg_h", ""),
        "origin": row.get("ctry_origin", ""),
    }


def _read_cars93(row: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a car in cars93.csv, whose prices are in thousands of dollars."""
    try:
        price = str(Decimal(row["price"]) * 1000)
    except InvalidOperation:
        raise ValueError(f"price {row['price']!r}: not a number") from None
    body_styles = {
        "Small": Car.BodyStyle.HATCHBACK,
        "Compact": Car.BodyStyle.SEDAN,
        "Midsize": Car.BodyStyle.SEDAN,
        "Large": Car.BodyStyle.SEDAN,
        "Sporty": Car.BodyStyle.COUPE,
        "Van": Car.BodyStyle.VAN,
    }
    drivetrains = {
        "Front": Car.Drivetrain.FRONT,
        "Rear": Car.Drivetrain.REAR,
        "4WD": Car.Drivetrain.ALL,
    }
    return {
        "make": row["manufacturer"],
        "model": row["model"],
        "year": str(YEAR_OF_CARS93),
        "price": price,
        "body_style": _translated("type", row["type"], body_styles),
        "drivetrain": _translated("drive_train", row.get("drive_train", ""), drivetrains),
        "horsepower": row.get("horsepower", ""),
        "mpg_city": row.get("mpg_city", ""),
        "mpg_highway": row.get("mpg_highway", ""),
        "origin": "United States" if row.get("origin") == "USA" else "",
    }


def _translated(column: str, text: str, words: Mapping[str, str]) -> str:
    """Return what the word *text* of a file means here; "" for an empty one."""
    if text and text not in words:
        raise ValueError(f"{column} {text!r}: not one of {', '.join(words)}")
    return str(words[text]) if text else ""


SEPARATORS = (",", ";", "\t")

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

GROUPED = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")

NEEDED = ("make", "model", "year", "price")

PLAIN_COLUMNS = (
    *NEEDED,
    "trim",
    "body_style",
    "colour",
    "drivetrain",
    "horsepower",
    "mpg_city",
    "mpg_highway",
    "origin",
)

# cars93.csv has columns called make, model and price as well, so the special shapes come first.
SHAPES = (
    Shape(frozenset({"mfr", "model", "year", "trim", "bdy_style", "msrp"}), _read_gtcars),
    Shape(frozenset({"manufacturer", "model", "type", "min_price", "price"}), _read_cars93),
    Shape(frozenset(NEEDED), _read_plain),
)
