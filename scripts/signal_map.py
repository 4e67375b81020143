"""Draw who signals whom in CarSales, into core/README.md: python scripts/signal_map.py.

What is connected is read from the signals. Who sends, and what a receiver sends in turn, is
recorded from a life of the site in small, in a database that is thrown away. ``--check`` writes
nothing and fails where the page is not what would be drawn.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracing.spans.records import Dispatch, Trace

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "core" / "README.md"
BEGIN, END = "<!-- map: begin -->\n", "<!-- map: end -->\n"
APPS = ("buyers", "cars", "orders", "sales")

Sending = tuple[str, str]
"""A signal and its sender, as `post_save` and `orders.Order`."""


def connected() -> dict[Sending, list[str]]:
    """Return the receivers of `core` for each signal and sender, in calling order."""
    from tracing.analysis.wiring import read_wiring

    found = {}
    for route in read_wiring(with_holders=False):
        names = [connection.receiver.name for connection in route.connections]
        if ours := [name for name in names if name.startswith("core.")]:
            found[sending(route)] = ours
    return found


def sending(of: Any) -> Sending:
    """Return signal and sender of a dispatch or a route."""
    return of.signal.rpartition(".")[2], of.sender


def live() -> Trace:
    """Return what was sent while somebody signed up, bought two cars and changed their mind."""
    from django.contrib.auth.models import User

    from core.cars.models import Car
    from core.orders.models import Order
    from core.sales.models import Sale
    from tracing.testing import capture_dispatches

    with capture_dispatches(name="a life in small") as captured:
        ada, rival = (User.objects.create_user(name).buyer for name in ("ada", "rival"))
        car, other = (
            Car.objects.create(make="Ford", model=model, year=2017, price=9) for model in "TA"
        )
        order = Order.objects.create(buyer=ada)
        order.add(car)
        order.add(other)
        order.remove(other)
        car.price = 8
        car.save()
        Order.objects.create(buyer=rival).add(car)
        order.place()
        Sale.objects.get().cancel()
        car.delete()
    return captured.trace


class Map:
    """The map of senders, signals, receivers, and what these send."""

    def __init__(self, heard: dict[Sending, list[str]], trace: Trace) -> None:
        self.heard = heard
        names = {
            call.number: call.receiver.name
            for dispatch in trace.dispatches
            for call in dispatch.receiver_calls
        }
        self.senders: dict[Sending, set[str]] = {known: set() for known in heard}
        self.sent_on: dict[str, set[Sending]] = {name: set() for name in names.values()}
        for dispatch in trace.dispatches:
            what = sending(dispatch)
            if what not in heard:
                continue
            if function := sent_by(dispatch):
                self.senders[what].add(function)
            if dispatch.parent_number is not None:
                self.sent_on[names[dispatch.parent_number]].add(what)
        if quiet := {name for ours in heard.values() for name in ours} - self.sent_on.keys():
            sys.exit(f"Never called, so the life in small is too small: {sorted(quiet)}")

    def lines(self) -> list[str]:
        """Return the map: a picture, then a table."""
        return [*self._picture(), "", *self._table()]

    def _picture(self) -> list[str]:
        lines = ["```mermaid", "flowchart LR"]
        nodes = {what: f"s{number}" for number, what in enumerate(self.heard, start=1)}
        lines += [f'    {node}(["{" ".join(what)}"])' for what, node in nodes.items()]
        receivers = dict.fromkeys(name for ours in self.heard.values() for name in ours)
        for app in APPS:
            lines += [f"    subgraph {app}"]
            lines += [f"        {short(name)}" for name in receivers if name.split(".")[1] == app]
            lines += ["    end"]
        for what, ours in self.heard.items():
            lines += [f"    {nodes[what]} --> {short(name)}" for name in ours]
        for name in receivers:
            lines += [
                f"    {short(name)} -.-> {nodes[what]}" for what in sorted(self.sent_on[name])
            ]
        return [*lines, "```"]

    def _table(self) -> list[str]:
        lines = [
            "| signal and sender | sent in `core` by | receiver | what it does | sends in turn |",
            "|---|---|---|---|---|",
        ]
        for what, ours in self.heard.items():
            by = ", ".join(f"`{function}()`" for function in sorted(self.senders[what]))
            for name in ours:
                then = ", ".join(f"`{' '.join(each)}`" for each in sorted(self.sent_on[name]))
                cells = [
                    f"`{' '.join(what)}`",
                    by,
                    f"`{app_of(name)}.{short(name)}`",
                    first_line(name),
                ]
                lines.append(f"| {' | '.join([*cells, then])} |")
        return lines


def sent_by(dispatch: Dispatch) -> str:
    """Return the function of `core` that sent; empty for one elsewhere."""
    place = dispatch.callsite
    if place is None or not Path(place.file).resolve().is_relative_to(REPOSITORY / "core"):
        return ""
    return place.function


def app_of(name: str) -> str:
    """Return the app of a receiver of `core`."""
    return name.split(".")[1]


def short(name: str) -> str:
    """Return the name of a receiver without its module."""
    return name.rpartition(".")[2]


def first_line(name: str) -> str:
    """Return what the docstring of a receiver begins with."""
    from django.utils.module_loading import import_string

    return str(import_string(name).__doc__).partition("\n")[0]


def page(text: str, drawn: list[str]) -> str:
    """Return *text* with what stands between the two marks drawn anew."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + BEGIN + "\n".join(["", *drawn, "", ""]) + END + after


def draw() -> list[str]:
    """Return the lines of the map, from a database that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="carsales-map-") as folder:
        os.environ["CARSALES_DATA_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "carsales.settings"
        os.environ["CARSALES_RELEASE"] = "1.0"  # Without the receivers that a later one brings.

        import django

        django.setup()
        from django.core.management import call_command

        import tracing

        call_command("migrate", verbosity=0)
        drawn = Map(connected(), live()).lines()
        tracing.flush()
    return drawn


def main() -> int:
    sys.path.insert(0, str(REPOSITORY))
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text, draw())
    if text == wanted:
        return 0
    print(PAGE.relative_to(REPOSITORY))
    if "--check" in sys.argv:
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
