"""Labels: names that rows share, written once, referred to by number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from tracing.instrumentation.assembly.repair import clean_text
from tracing.store.backends import KEYS_AT_ONCE, marks
from tracing.store.columns import encode_shared, label_key, shared_of
from tracing.store.ranges import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from tracing.spans import records
    from tracing.store.backends import Database

NAME_LIMIT: Final = 255
"""Characters of a name."""
_LARGEST_CACHE = 50_000


class LabelsPrunedError(Exception):
    """Labels that a writer knows by heart may be gone."""


class Labels:
    """The ids of names, kept from batch to batch."""

    def __init__(self) -> None:
        self.signals: dict[str, int] = {}
        self.senders: dict[str, int] = {}
        self.traces: dict[str, int] = {}
        self.shared: dict[tuple[Any, ...], int] = {}
        self.receivers: dict[records.ReceiverLabel, int] = {}
        self.callsites: dict[records.Callsite, int] = {}
        self.statements: dict[str, int] = {}
        # Capture hands out the same label object again and again, and hashing its seven fields in
        # Python takes longer than the rest of a row. The object is kept, so its id stays its own.
        self.same: dict[int, tuple[Any, int]] = {}

    def receiver(self, label: records.ReceiverLabel) -> int:
        """Return the id of *label*."""
        same = self.same.get(id(label))
        if same is not None:
            return same[1]
        return self._learn(label, self.receivers)

    def known_receiver(self, label: records.ReceiverLabel) -> int:
        """Return the id of *label*; 0 if none of its calls was stored."""
        same = self.same.get(id(label))
        return same[1] if same is not None else self.receivers.get(label, 0)

    def callsite(self, site: records.Callsite) -> int:
        """Return the id of *site*."""
        same = self.same.get(id(site))
        if same is not None:
            return same[1]
        return self._learn(site, self.callsites)

    def _learn(self, label: Any, ids: dict[Any, int]) -> int:
        row = ids[label]
        if len(self.same) < _LARGEST_CACHE:
            self.same[id(label)] = (label, row)
        return row

    def resolve(
        self, database: Database, batch: Sequence[records.Trace], *, decides: bool = False
    ) -> None:
        """Learn the ids of all labels in *batch*, giving new ones a row.

        If it *decides*, receivers that have a row are mine from now on as *batch* says.
        """
        if any(len(ids) >= _LARGEST_CACHE for ids in vars(self).values()):
            self.__init__()  # type: ignore[misc]
        wanted = _Names(batch, self.same)
        fresh = [label for label in wanted.receivers if label not in self.receivers]
        for table, ids, labels, columns in (
            ("tracing_signallabel", self.signals, wanted.signals, name_columns),
            ("tracing_senderlabel", self.senders, wanted.senders, name_columns),
            ("tracing_tracelabel", self.traces, wanted.traces, name_columns),
            ("tracing_sharedattributes", self.shared, wanted.shared, _shared_columns),
            ("tracing_receiverlabel", self.receivers, wanted.receivers, receiver_columns),
            ("tracing_callsitelabel", self.callsites, wanted.callsites, _callsite_columns),
            ("tracing_statementlabel", self.statements, wanted.statements, _statement_columns),
        ):
            new = [label for label in labels if label not in ids]
            if new:
                add_labels(database, table, ids, new, columns)
        if decides and fresh:
            _decide(database, self.receivers, fresh)


class _Names:
    """The names in a batch that get labels.

    Args:
        batch: The traces.
        same: By identity, receivers and callsites that need not be looked at.
    """

    def __init__(self, batch: Sequence[records.Trace], same: Container[int]) -> None:
        self.traces = {trace.name for trace in batch}
        self.signals: set[str] = set()
        self.senders: set[str] = set()
        self.shared: set[tuple[Any, ...]] = set()
        self.receivers: set[records.ReceiverLabel] = set()
        self.callsites: set[records.Callsite] = set()
        self.statements: set[str] = set()
        for trace in batch:
            self._add(trace.dispatches, same)
            for signal, sender, _ in trace.orphans:
                self.signals.add(signal)
                self.senders.add(sender)
            for bypass in trace.bypasses:
                self.receivers.update(bypass.receivers)
                if bypass.callsite is not None:
                    self.callsites.add(bypass.callsite)

    def _add(self, dispatches: Sequence[records.Dispatch], same: Container[int]) -> None:
        for dispatch in dispatches:
            self.signals.add(dispatch.signal)
            self.senders.add(dispatch.sender)
            self.shared.add(shared_of(dispatch))
            site = dispatch.callsite
            if site is not None and id(site) not in same:
                self.callsites.add(site)
            for call in dispatch.receiver_calls:
                if id(call.receiver) not in same:
                    self.receivers.add(call.receiver)
                for statement, _, _ in call.statements:
                    self.statements.add(statement)


def _decide(
    database: Database, ids: dict[Any, int], receivers: Sequence[records.ReceiverLabel]
) -> None:
    """Have the rows of *receivers* say whether they are mine."""
    table = database.quote("tracing_receiverlabel")
    for mine in (True, False):
        rows = [ids[label] for label in receivers if label.mine is mine]
        for chunk in chunks(rows, KEYS_AT_ONCE):
            where = f"WHERE mine <> %s AND id IN {marks(chunk)}"
            # Most say so already, and a writer of SQLite keeps all others out.
            if database.rows(f"SELECT id FROM {table} {where}", (mine, *chunk)):
                with database.transaction():
                    database.execute(f"UPDATE {table} SET mine = %s {where}", (mine, mine, *chunk))


def add_labels(
    database: Database,
    table: str,
    ids: dict[Any, int],
    new: Sequence[Any],
    columns_of: Callable[[Any], dict[str, Any]],
) -> None:
    """Put the ids of *new*, found or made in *table*, into *ids*."""
    keyed: dict[str, Any] = {}
    rows = []
    for label in new:
        values = columns_of(label)
        keyed[values["key"]] = label
        rows.append(tuple(map(_clean, values.values())))
    names = tuple(columns_of(new[0]))
    # In a fixed order, so that two processes never wait for one another in a circle.
    rows.sort(key=lambda row: row[0])
    keys = sorted(keyed)
    _find_labels(database, table, keyed, keys, ids)
    missing = [row for row in rows if keyed[row[0]] not in ids]
    if missing:
        with database.transaction():
            database.insert_new(table, names, missing)
        _find_labels(database, table, keyed, [row[0] for row in missing], ids)


def _find_labels(
    database: Database, table: str, keyed: dict[str, Any], keys: Sequence[str], ids: dict[Any, int]
) -> None:
    for chunk in chunks(keys, KEYS_AT_ONCE):
        for key, row in database.rows(
            f"SELECT {database.quote('key')}, id FROM {database.quote(table)} "
            f"WHERE {database.quote('key')} IN {marks(chunk)}",
            chunk,
        ):
            ids[keyed[key]] = row


def name_columns(name: str) -> dict[str, Any]:
    """Return the columns of the label of a name."""
    return {"key": label_key(name), "name": name[:NAME_LIMIT]}


def _shared_columns(shared: tuple[Any, ...]) -> dict[str, Any]:
    text = encode_shared(shared)
    return {"key": label_key(text), "shared": text}


def _statement_columns(statement: str) -> dict[str, Any]:
    return {"key": label_key(statement), "statement": statement}


def receiver_columns(label: records.ReceiverLabel) -> dict[str, Any]:
    """Return the columns of the label of a receiver."""
    return {
        "key": label_key(
            *(value for name, value in structs.asdict(label).items() if name != "mine")
        ),
        "name": label.name[:NAME_LIMIT],
        "file": label.file[:500],
        "line": label.line,
        "dispatch_uid": label.dispatch_uid[:NAME_LIMIT],
        "weak": label.weak,
        "is_async": label.is_async,
        "app": label.app[:100],
        "any_sender": label.any_sender,
        "mine": label.mine,
    }


def _callsite_columns(site: records.Callsite) -> dict[str, Any]:
    return {
        "key": label_key(site.file, site.line, site.function),
        "name": site.function[:NAME_LIMIT],
        "file": site.file[:500],
        "line": site.line,
    }


def _clean(value: Any) -> Any:
    return clean_text(value) if isinstance(value, str) else value
