"""Questions: names as people write them, among those that are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import signal_of
from tracing.analysis.why_not.syntax import ends_with
from tracing.analysis.why_not.target import MOST_CANDIDATES, Target, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracing.spans.labels import ReceiverLabel
    from tracing.spans.records import Dispatch

KINDS: Final = ("sender", "signal", "receiver", "name")
"""Kinds of names, as keys of the search language call them; ``name`` is of a trace."""


class UnknownNameError(LookupError):
    """Nothing has that name, or several things have."""


@dataclass(slots=True)
class Known:
    """The names that a question may mean: recorded, connected, or of a model."""

    senders: Sequence[str] = ()
    signals: Sequence[str] = ()
    """Dotted paths."""
    receivers: Sequence[ReceiverLabel] = ()
    names: Sequence[str] = ()
    """Of traces: routes, commands, tasks, blocks."""

    def of(self, kind: str) -> Iterable[str]:
        """Return the names of one of ``KINDS``, receivers by ``plain_name``."""
        if kind == "receiver":
            return dict.fromkeys(plain_name(label.name) for label in self.receivers)
        named = {"sender": self.senders, "signal": self.signals, "name": self.names}
        return dict.fromkeys(named[kind])


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a receiver, the traces of a name, or dispatches."""

    signal: str = ""
    """Dotted path; empty for every signal of the sender."""
    sender: str = ""
    """Empty for every sender of the signal."""
    receiver: Target | None = None
    name: str = ""
    """Of traces."""

    @property
    def text(self) -> str:
        """Return what is asked about, for people."""
        if self.receiver is not None:
            return self.receiver.name
        if self.name or not self.signal:
            return self.name or self.sender
        return signal_of(self.signal, self.sender or "None")

    def is_about(self, dispatch: Dispatch) -> bool:
        """Return whether *dispatch* is one of those that are asked about."""
        return (
            bool(self.signal or self.sender)
            and self.signal in {"", dispatch.signal}
            and self.sender in {"", dispatch.sender}
        )


@dataclass(slots=True)
class _Candidates:
    """The names that fit, by kind."""

    found: dict[str, list[str]] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        return [f"{kind}:{name}" for kind, names in self.found.items() for name in names]


def resolve(what: str, signal: str, known: Known) -> Question:
    """Return the question that *what* and *signal* ask.

    Args:
        what: A sender, a signal, a receiver, or the name of traces; in full, or the end of a dotted
            path, or a part of the name of traces. One of ``KINDS`` and a colon before it says which.
        signal: A signal of the sender *what*, in full or its end; empty for any.
        known: What it may mean.

    Raises:
        UnknownNameError: It means nothing, or several things; the message names candidates.
    """
    kind, colon, rest = what.strip().partition(":")
    wanted, kinds = (rest, (kind,)) if colon and kind in KINDS else (what.strip(), KINDS)
    if signal:
        sender = _only(wanted, ("sender",), known)[1]
        return Question(_only(signal.strip(), ("signal",), known)[1], sender)
    found, name = _only(wanted, kinds, known)
    if found == "receiver":
        return Question(receiver=_target(name, known))
    by_kind = {
        "sender": Question(sender=name),
        "signal": Question(signal=name),
        "name": Question(name=name),
    }
    return by_kind[found]


def _only(wanted: str, kinds: Sequence[str], known: Known) -> tuple[str, str]:
    """Return the kind and the name that alone *wanted* means."""
    for fits, fitting in (
        (_is_same, KINDS),
        (ends_with, KINDS),
        (_ends_so, ("sender",)),
        (_is_part, ("name",)),
    ):
        candidates = _Candidates()
        for kind in kinds:
            if kind not in fitting:
                continue
            looked_for = plain_name(wanted) if kind == "receiver" else wanted
            if names := [name for name in known.of(kind) if looked_for and fits(name, looked_for)]:
                candidates.found[kind] = names
        texts = candidates.texts
        if len(texts) == 1:
            return next((kind, names[0]) for kind, names in candidates.found.items())
        if texts:
            raise UnknownNameError(_several(wanted, texts))
    raise UnknownNameError(_no_such(wanted, kinds, known))


def _is_same(name: str, wanted: str) -> bool:
    # Labels of models are the same in any case, as Django's are.
    return name == wanted or (name.count(".") == 1 and name.lower() == wanted.lower())


def _ends_so(name: str, wanted: str) -> bool:
    return ends_with(name.lower(), wanted.lower())


def _is_part(name: str, wanted: str) -> bool:
    return wanted.lower() in name.lower()


def _target(name: str, known: Known) -> Target:
    labels = [label for label in known.receivers if plain_name(label.name) == name]
    # Those that this process has connected come first: their lines are of today.
    first = next((label for label in labels if label.line), labels[0])
    return Target(first.name, frozenset({name}), first.file if first.line else "", first.line)


def _several(wanted: str, texts: list[str]) -> str:
    listed = "\n".join(f"  {text}" for text in sorted(texts)[:MOST_CANDIDATES])
    left = len(texts) - MOST_CANDIDATES
    more = f"\n  and {left} more" if left > 0 else ""
    return f"Several things are called {wanted}:\n{listed}{more}\nWrite one of these."


def _no_such(wanted: str, kinds: Sequence[str], known: Known) -> str:
    near: list[str] = []
    for kind in kinds:
        names = list(known.of(kind))
        ends = {name.rpartition(".")[2]: name for name in reversed(names)}
        close = get_close_matches(wanted.rpartition(".")[2], ends, n=2, cutoff=0.6)
        close = [ends[each] for each in close] or get_close_matches(wanted, names, n=2, cutoff=0.6)
        near += [f"\n  {kind}:{name}" for name in close]
    words = ["trace" if kind == "name" else kind for kind in kinds]
    several = f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0]
    hint = f" Do you mean one of these?{''.join(near)}" if near else ""
    return f"No {several} is called {wanted}, neither in the records nor in this process.{hint}"
