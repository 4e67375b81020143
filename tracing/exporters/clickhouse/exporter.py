"""The exporter that writes spans into ClickHouse."""

from __future__ import annotations

import os
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from tracing import __version__
from tracing.exporters.clickhouse.binary import FORMAT
from tracing.exporters.clickhouse.rows import Encoder
from tracing.pipeline import Gathering, TemporaryError
from tracing.pipeline.suppression import unrecorded
from tracing.spans.codec import OF_SEGMENTS
from tracing.store.clickhouse.connection import Address, load_driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

    from tracing.spans import records

_SETTINGS: Final[dict[str, Any]] = {
    # The answer comes when all is stored, also behind a Distributed table.
    "async_insert": 0,
    "insert_distributed_sync": 1,
    # What comes again, because the answer was lost, is stored once: in the views, too.
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Collectors of some years ago made tables with fewer columns.
    "input_format_skip_unknown_fields": 1,
}


_NOTES: Final = ("hazards", "known_hazards", *OF_SEGMENTS)
_MOST_RUNNING: Final = 1_000
"""Running traces whose notes are kept."""


class ClickHouseExporter:
    """Write spans into the table of the OpenTelemetry collector's exporter.

    Args:
        url: As ``http://localhost:8123``.
        user: The user.
        password: The user's.
        database: The database of the table.
        table: Its name.
        service: ``service.name``; None for what OTEL_SERVICE_NAME says, else ``django``.
        timeout: Seconds that one attempt may take.
        rows: Rows that are written at once, if so many come in time.
        seconds: How long the first of them waits.
    """

    def __init__(
        self,
        url: str = "http://localhost:8123",
        *,
        user: str = "default",
        password: str = "",
        database: str = "default",
        table: str = "otel_traces",
        service: str | None = None,
        timeout: float = 10,
        rows: int = 50_000,
        seconds: float = 5,
    ) -> None:
        load_driver()
        self.name = "clickhouse"
        self.address = Address(url, user, password, database, table, timeout)
        self.service = service or os.environ.get("OTEL_SERVICE_NAME") or "django"
        self._encoder = Encoder(self.service, __version__)
        self.gathers = Gathering(rows, seconds)
        self._earlier: OrderedDict[str, dict[int, records.Trace]] = OrderedDict()
        """What segments told beside their spans, until the row of the trace can tell it."""
        self._client: Client | None = None
        self._leaked: list[Client] = []

    def export(self, batch: Sequence[records.Trace]) -> None:
        """Send the rows of *batch* and wait until they are stored.

        The same batch again is the same rows with the same token, which ClickHouse stores once.

        Raises:
            TemporaryError: ClickHouse does not take them now.
            BadValueError: It cannot read a value among them.
        """
        whole = [self._with_earlier(trace) for trace in batch]
        with unrecorded():
            if self._client is None:
                self._client = self._connect()
            spans, calls = self._encoder.blocks(whole)
            try:
                # Calls come behind spans: those are the ones with values that may be refused.
                self._insert(self._client, spans, "")
                self._insert(self._client, calls, "_calls")
            except Exception:
                # A server that was replaced, or has other settings by now, is asked anew.
                self._close()
                raise
        for trace in batch:
            if trace.final:
                self._earlier.pop(trace.root_span_id, None)

    def _insert(self, client: Client, block: bytes, suffix: str) -> None:
        if block:
            token = blake2b(block, digest_size=16).hexdigest()
            settings = {**_SETTINGS, "insert_deduplication_token": token}
            self.address.insert(client, block, FORMAT, settings, suffix)

    def _with_earlier(self, trace: records.Trace) -> records.Trace:
        """Return a trace that has ended with the notes of earlier segments."""
        if not trace.final:
            notes = {name: getattr(trace, name) for name in _NOTES}
            if any(notes.values()):
                alone = replace(trace, dispatches=[], diagnosis_context=None)
                self._earlier.setdefault(trace.root_span_id, {})[trace.segment] = alone
                while len(self._earlier) > _MOST_RUNNING:
                    self._earlier.popitem(last=False)
            return trace
        segments = self._earlier.get(trace.root_span_id)
        if not segments:
            return trace
        parts = [segments[number] for number in sorted(segments)] + [trace]
        told = {name: [each for part in parts for each in getattr(part, name)] for name in _NOTES}
        return replace(trace, **told)

    def force_flush(self) -> None:
        """Do nothing: what was exported is stored."""

    def shutdown(self) -> None:
        """Close the connection."""
        self._close()

    def after_fork(self) -> None:
        """Leave the connection to the parent."""
        if self._client is not None:
            self._leaked.append(self._client)
            self._client = None

    def _connect(self) -> Client:
        """Return a connection, and see what the columns are of."""
        client = self.address.connect()
        try:
            self._encoder.write_for(self.address.columns(client))
        except TypeError as error:
            client.close()
            where = f"ClickHouse at {self.address.place}: {self.address.quoted()}"
            raise TemporaryError(f"{where} is no table of the collector's: {error}") from None
        except Exception:
            client.close()
            raise
        return client

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
