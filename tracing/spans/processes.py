"""Processes: what each had connected, and what became of it."""

from __future__ import annotations

from tracing.spans.fields import Count, Nanoseconds, Record
from tracing.spans.labels import ReceiverLabel

CONNECTED = "connected"
IGNORED = "ignored"
"""connect() did nothing: another receiver had the dispatch_uid."""
DISCONNECTED = "disconnected"
DIED = "died"
MUTED = "muted"
UNMUTED = "unmuted"


class WiringEvent(Record):
    """A change that a process made to one connection."""

    change: str
    """connected, ignored, disconnected, died, muted or unmuted."""
    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: ReceiverLabel
    at_ns: Nanoseconds = 0
    """Wall clock, nanoseconds since the epoch."""
    file: str = ""
    """Where it was done; empty if nobody saw it."""
    line: Count = 0
    holder: ReceiverLabel | None = None
    """Of a connect() that was ignored: the receiver that was connected already."""
    holder_file: str = ""
    """Where that one was connected."""
    holder_line: Count = 0


class Connected(Record):
    """A receiver as a process has it connected."""

    signal: str
    sender: str
    """As it was connected: ``None`` for any sender."""
    receiver: ReceiverLabel
    at_ns: Nanoseconds = 0
    """When it was connected, on the wall clock; 0 for before anybody watched."""
    file: str = ""
    """Where connect() was called; empty if nobody saw it."""
    line: Count = 0
    is_late: bool = False
    """It was connected after the process had started, as by an import in a function."""
    is_alive: bool = True
    """False if its weak reference has died and it was not cleared away yet."""
    is_replaced: bool = False
    """Its signal is not the one that stands under that name any more: the module was loaded again."""
    is_sender_replaced: bool = False
    """Its sender is not the class of that name any more, for the same reason."""
    is_stale: bool = False
    """The cache of its signal knows nothing of it."""


class Waiting(Record):
    """A connect() with the name of a model that has not come yet."""

    signal: str
    sender: str
    """The name of the model, as it was given."""
    receiver: ReceiverLabel
    file: str = ""
    line: Count = 0


class ProcessWiring(Record):
    """All that one process had connected, and what happened before."""

    host: str = ""
    process: Count = 0
    started_ns: Nanoseconds = 0
    """When it began to record, on the wall clock."""
    kind: str = ""
    """What it is, as ``web``, ``worker celery`` or ``command migrate``."""
    release: str = ""
    """Of the application, as the settings say; empty if they do not."""
    connections: list[Connected] = []
    events: list[WiringEvent] = []
    """Oldest first, without the connections of the start that still stand."""
    waiting: list[Waiting] = []
    modules: list[str] = []
    """Names of the loaded modules that belong to no installed package."""
    apps: dict[str, str] = {}
    """Dotted path of the configuration class of each installed application, by its name."""
    left_out: dict[str, Count] = {}
    """How many units of work were not recorded, by the reason."""
    forgotten_count: Count = 0
    """Events for which the journal had no room."""


class WiringVersion(Record):
    """The connections of one kind and release, while they were the same."""

    kind: str
    release: str
    fingerprint: str
    """32 hex digits of what was connected, wherever and whenever that was done."""
    first_seen_ns: Nanoseconds = 0
    """When a process told of it first, on the wall clock."""
    last_seen_ns: Nanoseconds = 0
    started_ns: Nanoseconds = 0
    """When the process began that told of it last."""
    connections: list[Connected] = []
