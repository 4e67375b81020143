"""Receivers that the lab connects while an experiment runs, and disconnects after it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import Model
    from django.dispatch import Signal

    from core.cars.models import Car


@contextmanager
def connected(signal: Signal, receiver: Callable[..., Any], sender: Any) -> Iterator[None]:
    """Connect *receiver* for the length of a block."""
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


class Watcher:
    """Looks at one instance whenever a signal about it is sent.

    Other visitors save cars while an experiment runs, in other threads, and the receivers of a
    signal are the same for all of them. A watcher minds its own instance only.
    """

    def __init__(self, instance: Model, look: Callable[[dict[str, Any]], None]) -> None:
        self.instance = instance
        self.look = look

    def notice(self, sender: Any, instance: Model, **named: Any) -> None:  # noqa: ARG002
        """Look at the instance, if it is the one that is watched."""
        if instance is self.instance:
            self.look(named)


def refuse_sale(sender: type[Car], instance: Car, **named: Any) -> None:
    """Refuse to let a certain car be saved as sold, as a broken receiver might."""
    if instance.is_sold and instance.model == "Lemon":
        raise RuntimeError("this receiver does not like lemons")


def open_door(sender: Any, **named: Any) -> str:
    """Answer the bell."""
    return "opens the door"


def bark(sender: Any, *, loudly: bool, **named: Any) -> str:
    """Answer the bell as a dog does."""
    return "barks loudly" if loudly else "barks"


def wake_up(sender: Any, **named: Any) -> str:
    """Fail to answer the bell."""
    raise TimeoutError("still asleep")
