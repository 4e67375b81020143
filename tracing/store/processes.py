"""Recording processes, and what they wrote of their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from tracing.analysis.process_kinds import UNCOMPARED
from tracing.analysis.process_wiring import (
    TOLD_NS,
    Difference,
    ProcessKind,
    differences,
    fingerprint_of,
    kinds_of,
)
from tracing.clocks import time
from tracing.spans.fields import LARGEST
from tracing.spans.processes import Connected, ProcessWiring, WiringVersion
from tracing.store import models
from tracing.store.backends.base import delete_rows
from tracing.store.models import RecorderState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tracing.spans.records import Trace
    from tracing.store.backends import Database

Process: TypeAlias = tuple[str, int, int]
"""Host, process id, and when its worker began."""

MOST_PROCESSES: Final = 50
"""Processes that are asked, the newest."""

MOST_VERSIONS: Final = 20
"""Versions of the wiring that are kept of one kind of process; the oldest go."""
_TABLE: Final = "tracing_wiringversion"
_KEYS: Final = ("kind", "release", "fingerprint")
_COLUMNS: Final = ("first_seen_ns", "last_seen_ns", "started_ns", "connections")

_decoder: Final = msgspec.json.Decoder(ProcessWiring)
_connections: Final = msgspec.json.Decoder(list[Connected])


def encode(wiring: ProcessWiring) -> str:
    """Return *wiring* as JSON."""
    return msgspec.json.encode(wiring).decode()


def stored_processes() -> list[ProcessWiring]:
    """Return what processes have written down, the newest first."""
    rows = RecorderState.objects.exclude(wiring=None).order_by("-seen_ns")
    texts = rows.values_list("wiring", flat=True)[:MOST_PROCESSES]
    return [wiring for text in texts if (wiring := decode(text or "")) is not None]


def decode(text: str) -> ProcessWiring | None:
    """Return what a process wrote; None if another release of ours did."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return None


def processes_of(
    traces: Sequence[Trace], known: Sequence[ProcessWiring]
) -> list[ProcessWiring | None]:
    """Return which of the *known* processes recorded each trace, or None."""
    return [_process_of(trace, known) for trace in traces]


def _process_of(trace: Trace, known: Sequence[ProcessWiring]) -> ProcessWiring | None:
    """Return the process of that number that began last before the end."""
    fitting = [
        process
        for process in known
        if (process.host, process.process) == (trace.host, trace.process)
        and process.started_ns <= trace.started_ns + trace.duration_ns
    ]
    return max(fitting, key=lambda process: process.started_ns, default=None)


# --- kinds of processes --------------------------------------------------------------------------


def versions() -> list[WiringVersion]:
    """Return what each kind of process had connected, as far as it is kept."""
    found = []
    for row in models.WiringVersion.objects.all():
        try:
            connections = _connections.decode(row.connections)
        except msgspec.DecodeError:
            continue  # Of another release of the tracer.
        found.append(
            WiringVersion(
                row.kind,
                row.release,
                row.fingerprint,
                row.first_seen_ns,
                row.last_seen_ns,
                row.started_ns,
                connections,
            )
        )
    return found


def compared(now_ns: int = 0) -> tuple[list[ProcessKind], list[Difference]]:
    """Return the kinds of processes, and what not all have connected.

    Args:
        now_ns: The wall clock; 0 for now.
    """
    now_ns = now_ns or time.time_ns()
    kinds = kinds_of(versions(), now_ns)
    return kinds, differences(kinds, now_ns)


class WiringReports:
    """The reports of processes: their wiring when new, else that it stands."""

    def __init__(self) -> None:
        self._told: dict[Process, tuple[tuple[str, str, str], int, int]] = {}
        """Key of the row, when the process began, and when it is due again (ns, monotonic)."""

    def tell(self, database: Database, process: Process, wiring: ProcessWiring) -> None:
        """Write down what *process* has connected, if the application runs there."""
        if wiring.kind in UNCOMPARED:
            self._told[process] = (("", "", ""), 0, LARGEST)
            return
        connections = [
            replace(each, at_ns=0, is_stale=False) for each in wiring.connections if each.is_alive
        ]
        key = (wiring.kind, wiring.release, fingerprint_of(connections))
        if not self._touch(database, process, key, wiring.started_ns):
            now_ns = time.time_ns()
            text = msgspec.json.encode(connections).decode()
            row = (*key, now_ns, now_ns, wiring.started_ns, text)
            database.insert_new(_TABLE, (*_KEYS, *_COLUMNS), [row])
            self._drop_surplus(database, wiring.kind)

    def refresh(self, database: Database, processes: Collection[Process]) -> None:
        """Write down now and then that *processes* live; forget all others."""
        self._told = {each: self._told[each] for each in processes if each in self._told}
        for process, (key, started_ns, due_ns) in list(self._told.items()):
            if time.monotonic_ns() >= due_ns and not self._touch(
                database, process, key, started_ns
            ):
                del self._told[process]

    def knows(self, process: Process) -> bool:
        """Return whether what *process* has connected is written down."""
        return process in self._told

    def forget(self) -> None:
        """Forget what was told: it may be another database, or another process."""
        self._told.clear()

    def _touch(
        self, database: Database, process: Process, key: tuple[str, str, str], started_ns: int
    ) -> bool:
        """Write down that *process* lives; return whether its wiring was known."""
        self._told[process] = (key, started_ns, time.monotonic_ns() + TOLD_NS)
        cursor = database.execute(
            "UPDATE tracing_wiringversion SET last_seen_ns = %s, started_ns = %s "
            # "release" is a word of MariaDB's own.
            f"WHERE kind = %s AND {database.quote('release')} = %s AND fingerprint = %s",
            (time.time_ns(), started_ns, *key),
        )
        changed: Any = cursor.rowcount
        cursor.close()
        return bool(changed)

    @staticmethod
    def _drop_surplus(database: Database, kind: str) -> None:
        rows = database.rows(
            "SELECT id FROM tracing_wiringversion WHERE kind = %s ORDER BY last_seen_ns DESC",
            (kind,),
        )
        if surplus := [key for (key,) in rows[MOST_VERSIONS:]]:
            delete_rows(database, _TABLE, surplus)
