"""The lessons of the lab: what each is about, and the receivers and the experiment it shows."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from core.buyers import receivers as buyers
from core.cars import receivers as cars
from core.cars.models import Car
from core.orders import receivers as orders
from core.sales import receivers as sales

from . import experiments, receivers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .findings import Findings


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a function, ready to be shown.

    Attributes:
        name: Its qualified name.
        place: File and line, relative to the checkout.
        html: The code, escaped, with the classes of Pygments.
    """

    name: str
    place: str
    html: SafeString


@dataclass(frozen=True, slots=True)
class Lesson:
    """A page of the lab; its text is the template `lab/lessons/<slug>.html`."""

    slug: str
    title: str
    summary: str
    button: str
    experiment: Callable[[], Findings]
    receivers: tuple[Callable[..., Any], ...]

    @property
    def template(self) -> str:
        """Return the name of the template with the lesson's text."""
        return f"lab/lessons/{self.slug}.html"

    def sources(self) -> list[Source]:
        """Return the source of the receivers, then that of the experiment."""
        return [source_of(function) for function in (*self.receivers, self.experiment)]


def source_of(function: Callable[..., Any]) -> Source:
    """Return the source of *function*."""
    lines, first = inspect.getsourcelines(function)
    path = Path(inspect.getfile(function)).relative_to(settings.BASE_DIR)
    # Pygments escapes the code; nothing else is in it.
    html = mark_safe(  # noqa: S308
        highlight(
            inspect.cleandoc("\n" + "".join(lines)), PythonLexer(), HtmlFormatter(nowrap=True)
        )
    )
    return Source(function.__qualname__, f"{path.as_posix()}:{first}", html)


LESSONS = (
    Lesson(
        slug="sender-receiver-dispatcher",
        title="Sender, receiver, dispatcher",
        summary="Who calls whom, who decides, and what becomes of an exception.",
        button="Ring some bells",
        experiment=experiments.ring_bells,
        receivers=(receivers.open_door, receivers.bark, receivers.wake_up),
    ),
    Lesson(
        slug="pre-save-and-post-save",
        title="pre_save and post_save",
        summary="What is known, and what can still be changed, on either side of the row.",
        button="Save a car",
        experiment=experiments.compare_pre_and_post_save,
        receivers=(cars.give_code, cars.update_buyer),
    ),
    Lesson(
        slug="pre-save-and-save",
        title="pre_save and save()",
        summary="Two places for the same work, and the writes that pass by one or both.",
        button="Write cars in five ways",
        experiment=experiments.compare_pre_save_and_save,
        receivers=(cars.give_code, Car.save),
    ),
    Lesson(
        slug="m2m-changed",
        title="m2m_changed",
        summary="Six actions and two sides, and how an order's total stays right in all of them.",
        button="Change an order's cars",
        experiment=experiments.follow_m2m_changed,
        receivers=(orders.count_cars,),
    ),
    Lesson(
        slug="pre-delete",
        title="pre_delete",
        summary="The last moment at which what is about to go can still be asked.",
        button="Cancel a sale",
        experiment=experiments.follow_pre_delete,
        receivers=(sales.reopen_order,),
    ),
    Lesson(
        slug="user-and-buyer",
        title="From user to buyer",
        summary="How one app adds its own row to another app's model, and when it does not.",
        button="Make users",
        experiment=experiments.make_users,
        receivers=(buyers.create_buyer,),
    ),
    Lesson(
        slug="when-to-use-signals",
        title="When to use signals, and when not",
        summary="What decoupling buys and what it costs, on the example of one order.",
        button="Place three orders",
        experiment=experiments.weigh_signals,
        receivers=(sales.make_sale, orders.thank_buyer, orders.warn_rivals, receivers.refuse_sale),
    ),
)
