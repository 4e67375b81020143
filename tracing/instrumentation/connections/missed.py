"""Receivers that did not run: answers to "why was mine not called?".

A receiver of the very signal may be connected for a sender that is related to the one which sends: the
model instead of its manager or its proxy, or a string. Or an earlier unit of work has disconnected it
and not connected it again. What is noted on the traced thread is who was disconnected; all else is
found in the worker, from the names of what a trace sent.
"""

from __future__ import annotations

from functools import cache
from operator import is_
from typing import TYPE_CHECKING, Any, Final

# By its own name: a test of the application may watch ``weakref.ref``, as one of Django's does.
from weakref import ref

from django.apps import apps
from django.db.models import Model

from tracing.instrumentation.attributes import names
from tracing.instrumentation.attributes.callsites import callsite, classify, is_library
from tracing.instrumentation.attributes.signal_names import is_path, signal_named
from tracing.instrumentation.connections import registry
from tracing.instrumentation.connections.registry import SignalReference
from tracing.instrumentation.failures import failed
from tracing.spans.records import MissedReceiver, ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from django.dispatch import Signal

DISCONNECTED: Final = "disconnected"
PARENT: Final = "its parent model"
_DELETES: Final = {f"django.db.models.signals.{name}" for name in ("pre_delete", "post_delete")}
MOST: Final = 50
"""Receivers told of one trace."""
MAX_LEFT: Final = 1_000
"""Disconnected receivers remembered; of more than that the oldest are forgotten."""

_Key = tuple[int, str, str, str, int]


class _Left:
    """A receiver that was disconnected while a trace ran."""

    __slots__ = ("at", "code", "instruction", "label", "sender", "signal")

    def __init__(
        self,
        signal: SignalReference,
        sender: str,
        label: ReceiverLabel,
        at: int,
        frame: FrameType | None,
    ) -> None:
        self.signal = signal
        self.sender = sender
        self.label = label
        self.at = at
        """When, on the monotonic clock."""
        self.code = frame.f_code if frame is not None else None
        self.instruction = frame.f_lasti if frame is not None else 0


left: Final[dict[_Key, _Left]] = {}
"""Receivers that were disconnected while a trace ran and have not been connected again."""


def _key(signal: Signal, sender: str, label: ReceiverLabel) -> _Key:
    return id(signal), sender, label.name, label.file, label.line


def note_disconnected(
    signal: Signal, sender: str, label: ReceiverLabel, at: int, frame: FrameType | None
) -> None:
    """Remember that *label* was disconnected from *signal*, by *frame*."""
    if len(left) >= MAX_LEFT:
        left.pop(next(iter(left)), None)
    left[_key(signal, sender, label)] = _Left(SignalReference(signal), sender, label, at, frame)


def note_connected(signal: Signal, sender: str, label: ReceiverLabel) -> None:
    """Forget that *label* was disconnected."""
    left.pop(_key(signal, sender, label), None)


def find(sent: Iterable[tuple[str, str]], began: int) -> list[MissedReceiver]:
    """Return the receivers that did not run in a trace. Never raises.

    Args:
        sent: (signal, sender) of its dispatches, with and without receivers.
        began: When it began, on the monotonic clock.
    """
    try:
        pairs = dict.fromkeys(sent)
        found = [*_left_disconnected(pairs, began)] if left else []
        for signal, sender in pairs:
            found += _related(signal, sender)
        return found[:MOST]
    except Exception as error:
        failed("missed receivers", error)
        return []


def _left_disconnected(pairs: Iterable[tuple[str, str]], began: int) -> Iterator[MissedReceiver]:
    for each in list(left.values()):
        if each.at >= began or is_librarys(each.label) or not is_path(each.signal.name):
            continue
        site = callsite(each.code, each.instruction) if each.code is not None else None
        for signal, sender in pairs:
            if signal == each.signal.name and each.sender in {sender, "None"}:
                yield MissedReceiver(signal, sender, each.label, each.sender, DISCONNECTED, site)


def is_librarys(label: ReceiverLabel) -> bool:
    """Return whether a receiver is Django's own, or of what it stands on."""
    library = is_library.get(label.file)
    return classify(label.file) if library is None else library


# --- related senders ---------------------------------------------------------------------------

_known: Final[dict[tuple[str, str], tuple[list[Any], list[MissedReceiver]]]] = {}
"""(lookup keys of the signal's connections, what was found) by signal and sender.

The keys themselves: the identity of one that is kept is given out to no other."""
_MOST_KNOWN: Final = 10_000
_signals: Final[dict[str, ref[Signal]]] = {}
"""Signals by their names."""


def _related(signal_name: str, sender: str) -> list[MissedReceiver]:
    """Return a signal's receivers that wait for a relative of *sender*."""
    reference = _signals.get(signal_name)
    signal = reference() if reference is not None else None
    if signal is None:
        signal = signal_named(signal_name)
        if signal is not None and len(_signals) < _MOST_KNOWN:
            _signals[signal_name] = ref(signal)
    if signal is None or not signal.receivers:
        return []
    entries = list(signal.receivers)
    keys = [entry[0] for entry in entries]
    known = _known.get((signal_name, sender))
    if known is not None and len(known[0]) == len(keys) and all(map(is_, known[0], keys)):
        return known[1]
    found = list(_waiting_for_another(signal, signal_name, sender, entries))
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    if all(map(registry.is_plain, keys)):
        _known[signal_name, sender] = keys, found
    return found


def _waiting_for_another(
    signal: Signal, signal_name: str, sender: str, entries: list[Any]
) -> Iterator[MissedReceiver]:
    model = _model_named(sender)
    possible = cache(registry.possible_senders)
    waiting: list[tuple[ReceiverLabel, str, str]] = []
    running = set()
    for entry in entries:
        if registry.receiver_of(entry) is None:
            continue
        label = registry.entry_label(entry)
        other = registry.sender_of(entry, possible)
        text = names.sender_name(other) if other is not None else _text_of(signal, entry)
        if label.any_sender or other is model is not None or text == sender:
            running.add((label.name, label.file, label.line))
        elif (
            not is_librarys(label)
            and (reason := relation(sender, model, text, _as_model(other)))
            # The parents of what is deleted are deleted with it, and each sends its own.
            and not (reason == PARENT and signal_name in _DELETES)
        ):
            waiting.append((label, text, reason))
    for label, text, reason in waiting:
        # One that is connected for both has run.
        if (label.name, label.file, label.line) not in running:
            yield MissedReceiver(signal_name, sender, label, text, reason)


def _text_of(signal: Signal, entry: Any) -> str:
    connection = registry.get(signal, entry)
    return connection.sender if connection is not None else registry.UNKNOWN


def _as_model(sender: object) -> type[Model] | None:
    is_model = names.is_class(sender) and issubclass(sender, Model)  # type: ignore[arg-type]
    return sender if is_model else None  # type: ignore[return-value]


def _model_named(sender: str) -> type[Model] | None:
    application, dot, name = sender.partition(".")
    if not dot or "." in name:
        return None
    try:
        return apps.get_model(application, name)
    except (LookupError, ValueError):
        return None


_INSTANCE: Final = " instance"


def relation(
    sender: str, model: type[Model] | None, other: str, other_model: type[Model] | None
) -> str:
    """Return what the sender *other* is to *sender*; empty if unrelated.

    Args:
        sender: As it is named, ``shop.Order`` or ``shop.managers.OrderManager instance``.
        model: The model of that name, if it is one.
        other: The sender that a receiver waits for, as it is named.
        other_model: The model of that name, if it is one.
    """
    if model is not None and other_model is not None:
        return _between_models(model, other_model)
    if other_model is not None:
        if sender.startswith("'") and _is_name_of(sender, other_model):
            return "the model, not its name as a string"
        if _is_manager_of(sender, other_model):
            return "the model of the manager that sent it"
        if sender == names.dotted(other_model) + _INSTANCE:
            return "the class of the instance that sent it"
    elif model is not None:
        if other.startswith("'") and _is_name_of(other, model):
            return "a string, which is not the model"
        if _is_manager_of(other, model):
            return "a manager of the model that sent it"
    return ""


def _is_name_of(quoted: str, model: type[Model]) -> bool:
    meta = model._meta
    known = (meta.label, meta.label_lower, model.__name__, names.dotted(model))
    return quoted[1:-1] in known


def _is_manager_of(sender: str, model: type[Model]) -> bool:
    kind = sender.removesuffix(_INSTANCE)
    return any(names.dotted(type(manager)) == kind for manager in model._meta.managers)


def _between_models(model: type[Model], other: type[Model]) -> str:
    mine, its = model._meta, other._meta
    if its.swapped:
        return "which was swapped for another model" if its.swapped == mine.label else ""
    if model is other:
        return ""
    if issubclass(model, other):
        if its.abstract:
            return "its abstract base, which never sends"
        is_proxy = mine.proxy and mine.concrete_model is its.concrete_model
        return "the model of that proxy" if is_proxy else PARENT
    if its.proxy and its.concrete_model is mine.concrete_model:
        return "another proxy of its model" if mine.proxy else "a proxy of that model"
    return ""
