"""The details of dispatches, from kept arguments to fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.attributes.arguments import (
    CREATED,
    HAS_CREATED,
    HAS_RAW,
    HAS_REVERSE,
    M2M,
    RAW,
    REVERSE,
    SAVE,
)
from tracing.instrumentation.attributes.names import MAX_NAME, exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracing.spans.records import Dispatch


MOST_NAMES: Final = 200
"""Names that are kept of fields and arguments."""


def plain_name(text: str) -> str:
    """Return *text* as a plain string of bearable length."""
    return exact(text)[:MAX_NAME]


def _names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return *texts*, bounded in number and length."""
    if len(texts) > MOST_NAMES or sum(map(len, texts)) > MOST_NAMES * MAX_NAME:
        return tuple([text[:MAX_NAME] for text in texts[:MOST_NAMES]])
    return texts


def instance_name(label: str, pk: object, key_text: Callable[[str, object], str]) -> str:
    """Return the name of an instance: the *label* of its model, and its key."""
    if type(pk) is int:
        # Most are small, and this runs for each dispatch.
        key = str(pk) if -MAX_PLAIN_KEY < pk < MAX_PLAIN_KEY else key_text(label, pk)
    elif type(pk) is tuple and len(pk) == 1:
        # No key: none yet, or none that could be read.
        key = "None" if pk[0] > 0 else ""
    else:
        key = key_text(label, pk)
    return (f"{label}:{key}" if key else label)[:MAX_NAME]


def put_details(
    dispatch: Dispatch, fields: list[Any], at: int, key_text: Callable[[str, object], str]
) -> None:
    """Put the arguments that were kept into the fields of *dispatch*.

    Args:
        dispatch: The dispatch.
        fields: Those of its opening, which end with the details of ``attributes.arguments``.
        at: Where these begin.
        key_text: Returns the primary key of an instance, by the label of its model, as it is kept.
    """
    # By place, not sliced: this runs for each dispatch.
    shape, label, pk = fields[at], fields[at + 1], fields[at + 2]
    if label:
        dispatch.instance = instance_name(label, pk, key_text)
    if shape == SAVE:
        flags, using, update_fields = fields[at + 3], fields[at + 4], fields[at + 5]
        dispatch.using = using[:MAX_NAME]
        if flags & HAS_CREATED:
            dispatch.created = bool(flags & CREATED)
        if flags & HAS_RAW:
            dispatch.raw = bool(flags & RAW)
        dispatch.update_fields = None if update_fields is None else _names(update_fields)
    elif shape == M2M:
        action, flags, dispatch.pk_count, using = fields[at + 3 :]
        dispatch.action, dispatch.using = action[:MAX_NAME], using[:MAX_NAME]
        if flags & HAS_REVERSE:
            dispatch.reverse = bool(flags & REVERSE)
    else:
        names = fields[at + 3]
        if "instance" in names:
            names = tuple([name for name in names if name != "instance"])
        dispatch.named = _names(names)


MAX_PLAIN_KEY: Final = 2**63
