"""The reasons for which an order cannot be changed or placed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.cars.models import Car


class OrderError(Exception):
    """An order cannot do what was asked; the message is fit to be shown to its buyer."""


class OrderNotOpenError(OrderError):
    """The order was placed or cancelled already."""

    def __init__(self) -> None:
        super().__init__("This order is not open any more.")


class OrderEmptyError(OrderError):
    """There is no car in the order."""

    def __init__(self) -> None:
        super().__init__("There is no car in this order.")


class CarsAlreadySoldError(OrderError):
    """Somebody else bought cars of this order first.

    Attributes:
        cars: The cars in question; at least one.
    """

    def __init__(self, cars: Sequence[Car]) -> None:
        self.cars = list(cars)
        names = ", ".join(str(car) for car in self.cars)
        super().__init__(f"Somebody else was faster: {names} has just been sold.")
