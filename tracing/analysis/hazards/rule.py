"""Rules: id, starting point, options, and the wording of findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from tracing.analysis.names import place, short_receiver
from tracing.spans.records import Hazard, ReceiverLabel

if TYPE_CHECKING:
    from tracing.analysis.hazards.facts import Facts
    from tracing.spans.records import Callsite, Dispatch, ReceiverCall

T = TypeVar("T")
Options: TypeAlias = Mapping[str, Any]
Find: TypeAlias = "Callable[[Facts, Options], Iterable[Hazard]]"
Pair: TypeAlias = "tuple[ReceiverCall, Dispatch]"

SEVERITIES: Final = ("error", "warning", "info")

MAX_NUMBERS: Final = 50
"""Span numbers kept as the evidence of one finding."""
MAX_EVIDENCE: Final = 12
"""Lines of evidence kept of one finding."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: a function from the facts of a trace to findings."""

    id: str
    """As it is marked known, configured and documented: lower case with hyphens."""
    severity: str
    """error, warning or info; ``HAZARDS`` may say otherwise."""
    summary: str
    """When it finds something, in one sentence."""
    why: str
    """Why that matters, in one or two sentences."""
    remedy: str
    """What to do about it."""
    find: Find
    wants: str = "always"
    """The attribute of ``Facts`` without which the rule has nothing to look at."""
    options: Options = field(default_factory=dict)
    """Thresholds by name, with their defaults; the name ends in its unit."""


def rule(
    id: str,  # noqa: A002 - it is the rule's id, as everywhere else.
    *,
    severity: str,
    summary: str,
    why: str,
    remedy: str,
    wants: str = "always",
    **options: Any,
) -> Callable[[Find], Rule]:
    """Return a decorator that makes a rule of a function.

    The function takes the ``Facts`` of a trace and the options (these defaults, overridden by
    ``TRACING["HAZARDS"]``) and yields a ``Hazard`` for each finding; ``finding`` words it.
    """

    def decorate(find: Find) -> Rule:
        return Rule(id, severity, summary, why, remedy, find, wants, options)

    return decorate


def finding(
    message: str,
    *,
    dispatch: Dispatch | None = None,
    receiver: ReceiverLabel | None = None,
    callsite: Callsite | None = None,
    spans: Iterable[Dispatch | ReceiverCall] = (),
    evidence: Iterable[str] = (),
) -> Hazard:
    """Return a finding; its rule fills in id, severity and remedy.

    Args:
        message: One sentence that names functions with file and line.
        dispatch: The dispatch it is about: gives signal and sender.
        receiver: The receiver it is about: gives name, file and line.
        callsite: The place it is about, where that is not the receiver.
        spans: The evidence, what is to be kept of many first.
        evidence: The same for a reader, a line per fact; ``lines`` words only as many as are kept.
    """
    numbers: set[int] = set()
    for span in spans:
        numbers.add(span.number)
        if len(numbers) == MAX_NUMBERS:
            break
    lines = list(evidence)
    if len(lines) > MAX_EVIDENCE and not lines[MAX_EVIDENCE].startswith(_AND):
        lines[MAX_EVIDENCE:] = [_and_more(len(lines) - MAX_EVIDENCE)]
    hazard = Hazard("", "", message, numbers=sorted(numbers), evidence=lines)
    if dispatch is not None:
        hazard.signal, hazard.sender = dispatch.signal, dispatch.sender
    if receiver is not None:
        hazard.receiver, hazard.file, hazard.line = receiver.name, receiver.file, receiver.line
    if callsite is not None:
        hazard.file, hazard.line = callsite.file, callsite.line
    return hazard


def of_calls(
    message: str, pairs: Sequence[Pair], text: Callable[[Pair], str], shown: Pair | None = None
) -> Hazard:
    """Return a finding about calls of one receiver.

    Args:
        message: As that of ``finding``.
        pairs: The calls, each with its dispatch.
        text: Words one of them as evidence.
        shown: The one that it names; the first unless given.
    """
    call, dispatch = shown or pairs[0]
    return finding(
        message,
        dispatch=dispatch,
        receiver=call.receiver,
        spans=(call for call, _ in pairs),
        evidence=lines(pairs, text),
    )


def by_receiver(
    facts: Facts, pairs: Iterable[Pair], key: Callable[[ReceiverCall, Dispatch], tuple[str, ...]]
) -> Iterable[list[Pair]]:
    """Return *pairs* in groups, by receiver and by what *key* says of each."""
    found: dict[tuple[object, ...], list[Pair]] = {}
    for call, dispatch in pairs:
        of = (facts.labels[id(call.receiver)], *key(call, dispatch))
        found.setdefault(of, []).append((call, dispatch))
    return found.values()


_AND: Final = "and "


def _and_more(count: int) -> str:
    return f"{_AND}{count} more"


def lines(facts: Sequence[T], text: Callable[[T], str]) -> list[str]:
    """Return the first evidence of *facts*, and how many more there are."""
    worded = [text(fact) for fact in facts[:MAX_EVIDENCE]]
    return [*worded, _and_more(len(facts) - MAX_EVIDENCE)] if len(facts) > MAX_EVIDENCE else worded


def who(label: ReceiverLabel) -> str:
    """Return a receiver with its place, as ``make_sale (orders/models.py:3)``."""
    where = place(label.file, label.line)
    return f"{short_receiver(label.name)} ({where})" if where else short_receiver(label.name)


def site(dispatch: Dispatch) -> str:
    """Return the place that sent *dispatch*, as ``orders/models.py:88``."""
    found = dispatch.callsite
    return place(found.file, found.line) if found is not None else ""


def sites(dispatches: Iterable[Dispatch]) -> list[str]:
    """Return the places that sent *dispatches*, each once."""
    # They are shared by their dispatches, and hashing one is dearer than its identity.
    found = {id(each.callsite): each for each in dispatches if each.callsite is not None}
    return list(dict.fromkeys(map(site, found.values())))


def names(labels: Iterable[ReceiverLabel]) -> str:
    """Return several receivers as findings name them, in a list with "and"."""
    texts = list(dict.fromkeys(who(label) for label in labels))
    if len(texts) < 2:  # noqa: PLR2004 - a list of one needs no "and".
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
