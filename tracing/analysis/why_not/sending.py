"""Sendings of a trace, and why they did not reach a receiver."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings

from tracing.analysis.names import place, short_signal, signal_of, write_text
from tracing.analysis.why_not.connecting import CLASS_PREPARED
from tracing.analysis.why_not.history import is_of_many
from tracing.analysis.why_not.relations import (
    RELATED,
    THROUGH,
    is_close,
    is_model,
    is_of_relation,
    is_of_rows,
    relation,
)
from tracing.analysis.why_not.syntax import ends_with
from tracing.analysis.why_not.unsent import (
    connected_at,
    never_awaited,
    overridden,
    send_replaced,
    senderless,
    sending_lines,
)
from tracing.analysis.why_not.words import Answer, Evidence
from tracing.instrumentation.attributes.names import OF_MIGRATION
from tracing.spans.records import TransactionOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.why_not.history import Link
    from tracing.analysis.why_not.running import Running
    from tracing.analysis.why_not.target import Target
    from tracing.spans.records import Callsite, Dispatch, Trace

_IGNORED: Final = frozenset(
    {
        "django.db.models.signals.pre_init",
        "django.db.models.signals.post_init",
        CLASS_PREPARED,
    }
)
"""Sent for each instance and each model: nobody who waits for another signal waits for these."""
_MODEL_SIGNALS: Final = "django.db.models.signals."
_M2M_CHANGED: Final = "django.db.models.signals.m2m_changed"
_LOGGED_IN: Final = "django.contrib.auth.signals.user_logged_in"
_HOUSEKEEPING: Final = frozenset({"sessions", "admin", "contenttypes", "migrations"})
"""Applications whose models are written beside what a project does."""


_LOADING: Final = frozenset({"models", "__init__", "settings"})
"""Modules that are loaded before or while models are."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One sending, or all of a trace that had no receiver."""

    signal: str
    sender: str
    begin_ns: int
    end_ns: int
    """Wall clock; of orphans, when the trace began and ended."""
    site: Callsite | None = None
    dispatch: Dispatch | None = None

    @property
    def evidence(self) -> Evidence:
        """Return where it was sent."""
        what = f"{signal_of(self.signal, self.sender)} was sent"
        if self.site is None:
            return Evidence(f"{what}, and had no receivers")
        return Evidence(what, self.site.file, self.site.line)


def sent_in(trace: Trace) -> list[Sent]:
    """Return what *trace* sent, dispatches first."""
    begin, end = trace.started_ns, trace.started_ns + trace.duration_ns
    found = []
    for dispatch in (*trace.dispatches, *trace.unfinished):
        moment = begin + dispatch.start_ns
        found.append(
            Sent(dispatch.signal, dispatch.sender, moment, moment, dispatch.callsite, dispatch)
        )
    found += [Sent(name, of, begin, end) for name, of, _count in trace.orphans]
    return [each for each in found if each.signal not in _IGNORED]


def was_prepared_before(link: Link) -> bool:
    """Return whether *link* waits for a class from before it was prepared.

    Each model is prepared once, as its module is loaded: who names the class, or connects when all
    are loaded, comes too late.
    """
    stem = Path(link.file).stem
    return link.signal == CLASS_PREPARED and (
        is_model(link.sender) or (link.sender == "None" and bool(stem) and stem not in _LOADING)
    )


def same_sender(sender: str, wanted: str) -> bool:
    """Return whether *sender* is *wanted*, in any case, or ends so."""
    sender, wanted = sender.lower(), wanted.lower()
    application, is_path, name = wanted.partition(".models.")
    label = f"{application.rpartition('.')[2]}.{name.rpartition('.')[2]}" if is_path else wanted
    return sender in {wanted, label} or ends_with(sender, wanted)


def _remedy(waited: str, sent: str, kind: str) -> str:
    """Return what to do where *sent* sends and *waited* is connected."""
    if sent.endswith(OF_MIGRATION):
        return (
            "Do in the migration what the receiver does: nothing can be connected for its models."
        )
    if is_of_many(sent) or is_of_many(waited) or sent in {"None", waited}:
        return "Connect and send with one and the same class, or connect it without a sender."
    if not is_close(kind):
        return f"Connect it with sender={sent} if it is to hear that; else find out why no {waited} sent."
    return f"Connect it with sender={sent}, or for both."


class Sending:
    """The sendings of one trace that did not reach one receiver."""

    def __init__(self, target: Target, sent: list[Sent], running: Running, sender: str) -> None:
        self.sender = sender
        self.target = target
        self.trace = running.trace
        self.sent = sent
        self.project = running.project
        self.running = running

    def answers(self, link: Link) -> Iterator[Answer]:
        """Yield why *link* was not reached, the strongest reason first."""
        yield from self._discarded(link)
        for answer in self._bypassed(link):
            # What wrote may be the least of it: a library keeps its tree so.
            related = next((each for each in self._other_sender(link) if each.is_close), None)
            yield answer if related is None else answer.beside(related)
        yield from self._other_object(link)
        yield from self._other_sender(link)
        for find in (send_replaced, never_awaited):
            yield from find(self.target, link, self.running)
        yield from self._other_signal(link)
        yield from self._unrelated_sender(link)
        yield from self._discarded(link, certain=False)
        if link.sender != "None" and senderless(link, self.running):
            # Outside of a trace what nobody hears is not recorded.
            yield self._wrong_sender(
                link, Sent(link.signal, "None", 0, 0), relation(link.sender, "None")
            )
        yield self._not_sent(link)

    # -- writes and callbacks ------------------------------------------------------------------

    def _discarded(self, link: Link, *, certain: bool = True) -> Iterator[Answer]:
        """Yield that an on_commit callback that might send never ran."""
        for callback in self.trace.discarded_callbacks if self.trace is not None else ():
            if certain and not self._speaks_of(
                callback.file, callback.line, callback.callsite, link
            ):
                continue
            site = callback.callsite
            in_test = callback.reason is TransactionOutcome.TEST
            why = {
                TransactionOutcome.TEST: "the transaction of a TestCase is never committed",
                TransactionOutcome.COMMITTED: "an earlier callback raised",
                TransactionOutcome.SAVEPOINT_ROLLED_BACK: "its savepoint was rolled back",
            }.get(callback.reason, "the transaction was rolled back")
            evidence = (
                [Evidence(f"on_commit() registered it here; {why}", site.file, site.line)]
                if site is not None
                else []
            )
            if callback.file:
                evidence.append(
                    Evidence(f"{callback.function} never ran", callback.file, callback.line)
                )
            yield Answer(
                "on-commit-discarded",
                f"{signal_of(link.signal, link.sender)} was to be sent by an on_commit callback, "
                f"which never ran: {why}.",
                evidence,
                "Run the callbacks in the test with captureOnCommitCallbacks(execute=True), or use "
                "a TransactionTestCase."
                if in_test
                else "Find what rolled the transaction back, or send outside of on_commit().",
            )
            return

    def _speaks_of(self, file: str, line: int, site: Callsite | None, link: Link) -> bool:
        text = ""
        if file and line:
            text += self._source_at(file, line)
        if site is not None:
            text += self._source_at(site.file, site.line)
        signal, model = short_signal(link.signal), link.sender.rpartition(".")[2]
        reached = list(self.project.reached_from(text))
        if not link.signal.startswith(_MODEL_SIGNALS):
            return any(signal in each for each in reached)
        return any(word in text for word in (".save", ".delete", ".create(", ".add(")) or any(
            word in each for each in reached for word in (f"{model}.", f"{model}(", signal)
        )

    def _source_at(self, file: str, line: int) -> str:
        """Return the source of the function or statement that begins at a line."""
        module = self.project.module(file)
        lines = module.text.splitlines()
        for node in ast.walk(module.tree):
            if getattr(node, "lineno", 0) == line and isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.stmt
            ):
                return "\n".join(lines[line - 1 : node.end_lineno])
        return lines[line - 1] if 0 < line <= len(lines) else ""

    def _bypassed(self, link: Link) -> Iterator[Answer]:
        for bypass in self.trace.bypasses if self.trace is not None else ():
            if link.signal not in bypass.signals or not any(
                self.target.is_of(each) for each in bypass.receivers
            ):
                continue
            yield self._past(link, bypass.operation, bypass.model, bypass.callsite)
            return
        # Rows of a relation that were written without its manager; and what a delete() updates.
        for write in self.trace.silent_writes if self.trace is not None else ():
            if (
                link.signal in write.signals
                and write.operation != "m2m"
                and link.sender in {write.model, "None"}
            ):
                yield self._past(link, write.operation, write.model, write.callsite)
                return

    def _past(self, link: Link, operation: str, model: str, site: Callsite | None) -> Answer:
        """Return that *model* was written past the receiver."""
        write = write_text(operation)
        at = f" at {place(site.file, site.line)}" if site is not None else ""
        where = (site.file, site.line) if site is not None else ("", 0)
        return Answer(
            "bypassed",
            f"{model} was written by {write}{at}, which sends no {short_signal(link.signal)}.",
            [Evidence(f"{write} of {model}: no signals", *where), self._connected(link)],
            "Write with add(), remove(), set() or clear() of the relation, or call what the receiver "
            "does after it."
            if link.signal == _M2M_CHANGED
            else "Connect it to m2m_changed: of the rows of a relation Django sends nothing else."
            if is_of_relation(model)
            else "Save or delete the objects one by one, or call what the receiver does after it.",
            signal=link.signal,
            sender=model,
        )

    # -- other signals and senders -------------------------------------------------------------

    def _other_object(self, link: Link) -> Iterator[Answer]:
        name = link.signal.rpartition(".")[2]
        is_unnamed = name.endswith(")")
        for each in self.sent:
            is_namesake = each.signal != link.signal and each.signal.rpartition(".")[2] == name
            # Of one that nobody names, or that is gone by now, its class alone is known.
            is_same = (
                each.signal.rpartition(" (")[0] == link.signal.rpartition(" (")[0]
                if is_unnamed
                else each.signal == link.signal and link.is_replaced
            )
            if not is_same and (not is_namesake or is_unnamed):
                continue
            if link.sender not in {"None", each.sender} and not relation(link.sender, each.sender):
                continue
            why = self._twice(link.signal, each.signal)
            sentence = (
                f"{each.signal} was sent, and {self.target.leaf} is connected to {link.signal}: "
                f"{why}."
                if not is_same
                else f"A signal without a name was sent, and {self.target.leaf} is connected to another."
                if is_unnamed
                else f"{link.signal} was made anew after {self.target.leaf} was connected to it: "
                "its module was loaded again."
            )
            yield Answer(
                "other-signal-object",
                sentence,
                [self._connected(link, f"connected to {link.signal}"), *self._sent_at(each)],
                "Import the signal from one module under one name everywhere.",
                signal=each.signal,
                sender=each.sender,
            )
            return

    def _twice(self, one: str, other: str) -> str:
        files = {self.project.file_of(name.rpartition(".")[0]) for name in (one, other)}
        if len(files) == 1 and "" not in files:
            return "the same module, imported under two names, has two signals"
        return "two signals of one name"

    def _other_sender(self, link: Link) -> Iterator[Answer]:
        """Yield that related senders sent, or would have."""
        if link.sender == "None":
            return
        is_model = link.signal.startswith(_MODEL_SIGNALS)
        found = [
            (relation(link.sender, each.sender), each)
            for each in self.sent
            if each.signal == link.signal
        ]
        # Of models many are saved beside one another: those that have nothing to do with it come last.
        found = [(kind, each) for kind, each in found if is_close(kind) or not is_model]
        if found:
            kind, each = max(found, key=lambda item: (is_close(item[0]), bool(item[0])))
            yield self._wrong_sender(link, each, kind or "another sender")
            return
        for missed in self._would_have_sent(link):
            yield missed
            return

    def _would_have_sent(self, link: Link) -> Iterator[Answer]:
        """Yield writes of related models that nobody listens for.

        What adds to a relation and what deletes a queryset sends if somebody does; bulk writes never.
        """
        for write in self.trace.silent_writes if self.trace is not None else ():
            if link.signal not in write.signals or write.model == link.sender:
                continue
            kind = relation(link.sender, write.model)
            if (
                not kind
                or kind == RELATED
                or (self.sender and not same_sender(write.model, self.sender))
            ):
                continue
            if write.operation in {"m2m", "delete"}:
                sent = Sent(link.signal, write.model, 0, 0, write.callsite)
                yield self._wrong_sender(link, sent, kind)
            else:
                yield self._past(link, write.operation, write.model, write.callsite)

    def _wrong_sender(self, link: Link, each: Sent, kind: str) -> Answer:
        return Answer(
            "other-sender",
            f"{short_signal(each.signal)} comes from {each.sender}, {kind}; {self.target.leaf} is "
            f"connected for {link.sender} alone.",
            [
                self._connected(link, f"connected with sender={link.sender}"),
                Evidence(f"the sender was {each.sender}, {kind}"),
                *self._sent_at(each),
            ],
            _remedy(link.sender, each.sender, kind),
            signal=each.signal,
            sender=each.sender,
            is_close=is_close(kind),
        )

    def _sent_at(self, sent: Sent) -> list[Evidence]:
        """Return where it was sent, or where the source would send it."""
        if sent.site is not None:
            return [sent.evidence]
        found = (
            [] if sent.signal.startswith("django.") else sending_lines(sent.signal, self.project)
        )
        return found or [sent.evidence]

    def _other_signal(self, link: Link) -> Iterator[Answer]:
        if link.sender == "None":
            return
        others = [
            each for each in self.sent if each.signal != link.signal and self._is_about(each, link)
        ]
        if not others:
            return
        # One that has receivers says where it was sent.
        first = next((each for each in others if each.site is not None), others[0])
        names = ", ".join(dict.fromkeys(short_signal(each.signal) for each in others))
        yield Answer(
            "other-signal",
            f"For {first.sender} only {names} was sent; {self.target.leaf} is connected to "
            f"{short_signal(link.signal)}.",
            [self._connected(link, f"connected to {short_signal(link.signal)}"), first.evidence],
            f"Connect it to {short_signal(first.signal)}, or do what sends {short_signal(link.signal)}.",
            signal=first.signal,
            sender=first.sender,
        )

    def _is_about(self, sent: Sent, link: Link) -> bool:
        """Return whether what was sent is about objects that *link* waits for."""
        if sent.signal == _M2M_CHANGED:
            return relation(link.sender, sent.sender).startswith(THROUGH)
        if sent.sender == link.sender or is_of_rows(link.sender, sent.sender):
            return True
        through = relation(sent.sender, link.sender) if link.signal == _M2M_CHANGED else ""
        return through.startswith(f"{THROUGH} {sent.sender}.")

    def _unrelated_sender(self, link: Link) -> Iterator[Answer]:
        """Yield that other models of the project sent."""
        if link.sender == "None" or not link.signal.startswith(_MODEL_SIGNALS):
            return
        found = [
            (relation(link.sender, each.sender), each)
            for each in self.sent
            if each.signal == link.signal
            and each.sender.partition(".")[0] not in _HOUSEKEEPING
            and not self._is_login(each)
        ]
        if found:
            kind, each = max(found, key=lambda item: bool(item[0]))
            yield self._wrong_sender(link, each, kind or "another model")

    def _not_sent(self, link: Link) -> Answer:
        signal = short_signal(link.signal)
        evidence = [self._connected(link, f"connected to {signal_of(link.signal, link.sender)}")]
        if not link.signal.startswith("django."):
            evidence += sending_lines(link.signal, self.project)
        own = overridden(link, self.project)
        evidence = [own, *evidence] if own is not None else evidence
        where = f"trace {self.trace.trace_id}" if self.trace is not None else "the records"
        is_other = self.sender and not same_sender(link.sender, self.sender)
        sender = self.sender if is_other else link.sender
        return Answer(
            "not-sent",
            f"Nothing sent {signal_of(link.signal, sender)} in {where}.",
            evidence,
            f"Find out why the code that sends {signal} did not run"
            + (", or call super() in each case." if own is not None else "."),
            signal=link.signal,
            sender=sender,
        )

    def _connected(self, link: Link, text: str = "it is connected here") -> Evidence:
        return connected_at(self.target, link, text)

    def _is_login(self, sent: Sent) -> bool:
        """Return whether a login saved the user's time of last login."""
        if sent.sender != settings.AUTH_USER_MODEL:
            return False
        if sent.dispatch is not None:
            return sent.dispatch.update_fields == ("last_login",)
        return any(each.signal == _LOGGED_IN for each in self.sent)
