"""Questions: names as people write them, among those that are known."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from tracing.analysis.names import signal_of
from tracing.analysis.why_not.syntax import ends_with
from tracing.analysis.why_not.target import Target, UnknownNameError, hint_of, plain_name, several

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracing.spans.labels import ReceiverLabel
    from tracing.spans.records import Dispatch

KINDS: Final = ("sender", "signal", "receiver", "name")
"""Kinds of names, as keys of the search language call them; ``name`` is of a trace."""


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
    if found == "sender":
        return Question(sender=name)
    return Question(signal=name) if found == "signal" else Question(name=name)


def _only(wanted: str, kinds: Sequence[str], known: Known) -> tuple[str, str]:
    """Return the kind and the name that alone *wanted* means."""
    for fits, fitting in (
        (_is_same, KINDS),
        (ends_with, KINDS),
        (_ends_so, ("sender",)),
        (_is_part, ("name",)),
    ):
        found = [
            (kind, name)
            for kind in kinds
            if kind in fitting
            if (looked_for := plain_name(wanted) if kind == "receiver" else wanted)
            for name in known.of(kind)
            if fits(name, looked_for)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            texts = [f"{kind}:{name}" for kind, name in found]
            raise several("things", wanted, texts, "Write one of these.")
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


def _no_such(wanted: str, kinds: Sequence[str], known: Known) -> str:
    near: list[str] = []
    for kind in kinds:
        names = list(known.of(kind))
        ends = {name.rpartition(".")[2]: name for name in reversed(names)}
        close = get_close_matches(wanted.rpartition(".")[2], ends, n=2, cutoff=0.6)
        close = [ends[each] for each in close] or get_close_matches(wanted, names, n=2, cutoff=0.6)
        near += [f"{kind}:{name}" for name in close]
    words = ["trace" if kind == "name" else kind for kind in kinds]
    either = f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0]
    what = f"No {either} is called {wanted}, neither in the records nor in this process."
    return f"{what}{hint_of(near)}"
