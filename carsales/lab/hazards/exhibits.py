"""The exhibits: one for each built-in rule, with an experiment that provokes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from carsales.lab.lessons import source_of
from tracing.analysis.hazards import BUILT_IN

from . import experiments, receivers

if TYPE_CHECKING:
    from collections.abc import Callable

    from carsales.lab.lessons import Source
    from tracing.analysis.hazards import Rule

RULES: Final = {rule.id: rule for rule in BUILT_IN}


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A hazard: what happens in its experiment, and the code of it.

    Attributes:
        slug: The id of the rule that finds it.
        text: What the experiment does and what is wrong with that.
        button: What the button says.
        experiment: Provokes the hazard.
        receivers: The receivers it is about.
        commits: The experiment writes nothing and needs its transaction to commit, so there is no
            other around it that is rolled back.
    """

    slug: str
    text: str
    button: str
    experiment: Callable[[], None]
    receivers: tuple[Callable[..., Any], ...]
    commits: bool = False

    @property
    def rule(self) -> Rule:
        """Return the rule."""
        return RULES[self.slug]

    @property
    def page(self) -> str:
        """Return the path of the rule's documentation in the checkout."""
        return f"docs/hazards/{self.slug}.md"

    def sources(self) -> list[Source]:
        """Return the source of the receivers, then that of the experiment."""
        return [source_of(function) for function in (*self.receivers, self.experiment)]


EXHIBITS: Final = (
    Exhibit(
        "duplicate-receiver",
        "The same function is connected twice, under two uids, as happens when two apps connect "
        "it in their ready(). For the dispatcher these are two receivers.",
        "Let the hammer fall",
        experiments.connect_twice,
        (receivers.write_contract,),
    ),
    Exhibit(
        "recursion",
        "A receiver sends the very signal that it receives, with the same sender. A counter ends "
        "it after five rounds here; without one it would end at Python's recursion limit.",
        "Spread a rumour",
        experiments.spread_a_rumour,
        (receivers.pass_on,),
    ),
    Exhibit(
        "repeated-save",
        "A receiver of post_save changes the car and saves it once more. Its guard keeps it from "
        "doing so for ever, and still every update is two, with all receivers of both.",
        "Save a car",
        experiments.save_what_is_saved,
        (receivers.polish,),
    ),
    Exhibit(
        "repeated-receiver",
        "Six cars are saved in a loop, and every receiver of a car's save runs six times: the "
        "one of this experiment, and those that cars have anyway.",
        "Save six cars",
        experiments.save_one_by_one,
        (receivers.count_stock,),
    ),
    Exhibit(
        "n-plus-one",
        "The signal is sent once, for six cars. The receiver asks the database about each of them "
        "by itself.",
        "Sell six cars",
        experiments.ask_one_by_one,
        (receivers.look_up_each,),
    ),
    Exhibit(
        "slow-receiver",
        "The receiver takes 150 ms. Whoever sent the signal waits for it, and so does the page.",
        "Wait for the report",
        experiments.wait_for_a_report,
        (receivers.build_report,),
    ),
    Exhibit(
        "swallowed-error",
        "The receiver raises, send_robust() returns the exception among the responses, and nobody "
        "looks at them.",
        "Let the hammer fall",
        experiments.look_away,
        (receivers.break_down,),
    ),
    Exhibit(
        "skipped-receivers",
        "Of two receivers the first raises. send() passes the exception on, and the second is "
        "never called.",
        "Let the hammer fall",
        experiments.stop_at_the_first,
        (receivers.break_down, receivers.take_note),
    ),
    Exhibit(
        "side-effect-in-transaction",
        "The receiver calls a vehicle registry while a transaction is open. It goes well this "
        "time: the transaction commits. It is the only one of the hall that does, and nothing is "
        "written in it; the registry is a port of this machine, open for the experiment only.",
        "Call the registry",
        experiments.call_too_early,
        (receivers.call_registry,),
        commits=True,
    ),
    Exhibit(
        "rolled-back-side-effect",
        "The same receiver makes the same call, and then the transaction is rolled back. The call "
        "cannot be. (Who is called is a port of this machine, open for the experiment only.)",
        "Call the registry, then think better of it",
        experiments.call_for_nothing,
        (receivers.call_registry,),
    ),
    Exhibit(
        "bypassed-receivers",
        "update() writes rows without making instances of them, so it sends neither pre_save nor "
        "post_save. The receivers that keep baskets in line with the prices of cars hear nothing.",
        "Raise the prices",
        experiments.write_past_the_receivers,
        (),
    ),
    Exhibit(
        "lost-receiver",
        "A method of an object is connected, and nothing but the signal knows the object. The "
        "signal holds it weakly: it is gone before the signal is sent for the first time.",
        "Hire a clerk and forget him",
        experiments.forget_the_clerk,
        (receivers.Clerk.file_papers,),
    ),
    Exhibit(
        "raw-query",
        "A car is loaded from a fixture, and a receiver queries although raw is true. Of the rows "
        "it asks for, some may not be loaded yet.",
        "Load a fixture",
        experiments.load_a_fixture,
        (receivers.compare_prices,),
    ),
    Exhibit(
        "unfiltered-receiver",
        "A receiver is connected to post_save without a sender, so it hears of every model: users, "
        "buyers, groups, cars and orders here.",
        "Save one of each",
        experiments.save_every_model,
        (receivers.log_everything,),
    ),
    Exhibit(
        "init-receiver-cost",
        "Four cars are fetched in one query. post_init is sent for each of them, and its receiver "
        "makes it five queries.",
        "Fetch four cars",
        experiments.fetch_a_list,
        (receivers.count_alike,),
    ),
    Exhibit(
        "sync-send-in-loop",
        "Async code sends the sync way, and one of the receivers is async. The loop is busy "
        "running the sender, so it cannot run the receiver: Django raises RuntimeError.",
        "Send from a coroutine",
        experiments.send_inside_a_loop,
        (receivers.notify_later,),
    ),
    Exhibit(
        "async-hop",
        "asend() hands a sync receiver to a thread. That thread is shared by all sync code of the "
        "request and is at work for 30 ms here, so the receiver, and whoever awaits it, wait.",
        "Await a sync receiver",
        experiments.hop_into_a_busy_thread,
        (receivers.take_note,),
    ),
    Exhibit(
        "never-awaited",
        "The receiver is an object with an async __call__. Django asks whether the object is a "
        "coroutine function, which it is not, calls it as sync and drops the coroutine.",
        "Send a messenger",
        experiments.call_without_awaiting,
        (receivers.Messenger.__call__,),
    ),
    Exhibit(
        "budget-exceeded",
        "The settings of CarSales allow the trace of this experiment two dispatches. It sends "
        "three: one, and two more from inside the receiver.",
        "Spend too much",
        experiments.exceed_the_budget,
        (receivers.ring_twice,),
    ),
)
"""The exhibits, in the order of the rules. All nineteen can be provoked safely."""
