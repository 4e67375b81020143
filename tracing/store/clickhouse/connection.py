"""The connection to ClickHouse, and its errors in our words."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from tracing.pipeline import TemporaryError
from tracing.pipeline.suppression import OnlyOthers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clickhouse_connect.driver.client import Client

OLDEST: Final = (23, 8)
"""The release that has the functions of the views; a server before it is refused by name."""

_NO_TABLE: Final = {60, 81}
_NO_RIGHTS: Final = {164, 194, 497, 516}
_NO_COLUMN: Final = {10, 16, 47, 80}
_TOO_SLOW: Final = {159, 160}
_BAD_DATA: Final = {6, 25, 26, 27, 38, 41, 53, 72, 117, 190, 259, 321}
"""Codes of values that cannot be read: who sent the block is to find them."""


_read_column: Final = msgspec.json.Decoder(list[Any]).decode

_NOISY: Final = (
    "urllib3.connectionpool",
    "clickhouse_connect.driver._backend.http_sync",
    "clickhouse_connect.driver._backend.httpcommon",
)


def load_driver() -> Any:
    """Return the package of the driver, which changes no logging.

    Raises:
        ImportError: It is not installed.
    """
    pool = logging.getLogger("urllib3")
    level = pool.level
    try:
        import clickhouse_connect  # noqa: PLC0415 - an extra.
    except ImportError as error:
        raise ImportError(
            f"{error}: pip install 'django-signal-tracing[clickhouse]'", name=error.name
        ) from None
    finally:
        # The driver chooses for everybody what urllib3 logs.
        pool.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).addFilter(_only_others)
    return clickhouse_connect


_only_others: Final = OnlyOthers()


class TooSlowError(TemporaryError):
    """ClickHouse stopped a statement because its time was up."""


class BadValueError(ValueError):
    """ClickHouse cannot read a value of the block."""


@dataclass(frozen=True, slots=True)
class Address:
    """A ClickHouse and a table in it."""

    url: str
    """As ``http://localhost:8123`` or ``https://host:8443``."""
    user: str
    password: str = field(repr=False)
    database: str
    table: str
    timeout: float
    """Seconds that an answer may take."""

    @staticmethod
    def is_url(text: str) -> bool:
        """Return whether *text* is the address of an HTTP interface."""
        try:
            parts = urlsplit(text)
            return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False

    @property
    def place(self) -> str:
        """Return the URL without an account that may stand in it."""
        scheme, slashes, rest = self.url.rpartition("://")
        return f"{scheme}{slashes}{rest.rpartition('@')[2]}"

    def connect(self) -> Client:
        """Return a connection with a pool of its own.

        Raises:
            TemporaryError: It is down, slow, too old, or does not let this user in.
            ImportError: The driver is not installed.
        """
        driver = load_driver()
        try:
            client: Client = driver.get_client(
                dsn=self.url,
                username=self.user,
                password=self.password,
                # The table is named in full: a database that is not there yet is told with it.
                database="",
                connect_timeout=max(int(self.timeout), 1),
                send_receive_timeout=max(int(self.timeout), 1),
                client_name="django-signal-tracing",
                autogenerate_session_id=False,
                dedicated_pool=True,
            )
        except Exception as error:  # noqa: BLE001 - the driver raises what it likes.
            if _code(error) in _NO_COLUMN:
                # One of what the driver asks about, which releases of long ago do not have.
                raise self._too_old("too old") from None
            raise self.translate(error) from None
        if _version(client.server_version or "") < OLDEST:
            client.close()
            raise self._too_old(client.server_version or "nameless")
        return client

    def _too_old(self, found: str) -> TemporaryError:
        oldest = ".".join(map(str, OLDEST))
        return TemporaryError(f"ClickHouse at {self.place} is {found}; {oldest} or later is needed")

    def insert(
        self,
        client: Client,
        block: bytes,
        form: str,
        settings: Mapping[str, Any],
        suffix: str = "",
    ) -> None:
        """Send *block*, which is of the format *form*; wait until it is stored.

        Raises:
            TemporaryError: It is not taken now.
            BadValueError: A value in it cannot be read.
        """
        import lz4.frame  # noqa: PLC0415 - comes with the driver.

        try:
            client.raw_insert(
                self.quoted(suffix),
                insert_block=lz4.frame.compress(block),
                settings=dict(settings),
                fmt=form,
                compression="lz4",
            )
        except Exception as error:  # noqa: BLE001 - the driver raises what it likes.
            raise self.translate(error) from None

    def ask(
        self, client: Client, sql: str, parameters: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> bytes:
        """Return the answer to *sql*, a JSON array for each row.

        Raises:
            TemporaryError, BadValueError: There is none.
        """
        try:
            return client.raw_query(
                sql, dict(parameters), settings=dict(settings), fmt="JSONCompactEachRow"
            )
        except Exception as error:  # noqa: BLE001 - the driver raises what it likes.
            raise self.translate(error) from None

    def columns(self, client: Client) -> dict[str, str]:
        """Return the types of the table's columns by name.

        Raises:
            TemporaryError: There is no answer, or no such table.
        """
        answer = self.ask(client, f"DESCRIBE TABLE {self.quoted()}", {}, {})
        try:
            found = [_read_column(line) for line in answer.splitlines() if line]
        except ValueError as error:
            raise TemporaryError(
                f"ClickHouse at {self.place} answers what is none: {error}"
            ) from None
        return {str(name): str(kind) for name, kind, *_rest in found}

    def run(self, statements: Iterable[str]) -> None:
        """Run *statements* one after the other.

        Raises:
            TemporaryError, BadValueError: One of them was not run, and none behind it.
            ImportError: The driver is not installed.
        """
        client = self.connect()
        try:
            for statement in statements:
                client.command(statement)
        except Exception as error:  # noqa: BLE001 - the driver raises what it likes.
            raise self.translate(error) from None
        finally:
            client.close()

    def quoted(self, suffix: str = "") -> str:
        """Return the name of the table, or of one beside it, for a statement."""
        return f"{quote(self.database)}.{quote(self.table + suffix)}"

    def translate(self, error: Exception) -> Exception:
        """Return what *error* of the driver means here, without the password."""
        if isinstance(error, ImportError):
            return error
        code = _code(error)
        told = _reason(error)
        account = self.url.rpartition("@")[0].rpartition("://")[2]
        for secret in filter(None, (self.password, account)):
            told = told.replace(secret, "…")
        if code in _BAD_DATA:
            return BadValueError(told)
        where = f"ClickHouse at {self.place}"
        if code in _NO_TABLE:
            told = (
                f"it has no {self.quoted()}; manage.py tracing clickhouse-schema --apply makes it"
            )
        elif code in _NO_COLUMN:
            told = f"{self.quoted()} is no table of the collector's: {told}"
        elif code in _NO_RIGHTS:
            told = f"it does not let {self.user!r} in, or not do this: {told}"
        kind = TooSlowError if code in _TOO_SLOW else TemporaryError
        return kind(f"{where}: {told}")


def quote(name: str) -> str:
    """Return *name* as an identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


_REASON: Final = re.compile(r"DB::Exception: (?:Code: \d+\. DB::Exception: )?(.*?\([A-Z_]+\))")

_NETWORK: Final = re.compile(
    r"(\[Errno -?\d+\] [^'\")]+|Read timed out|Connection broken|Remote end closed [^'\")]+)"
)


def _reason(error: Exception) -> str:
    """Return the part of the driver's words that says what is wrong."""
    told = " ".join(str(error).split())
    found = _REASON.search(told) or _NETWORK.search(told)
    return (found[1] if found else told)[:300] or type(error).__name__


def _code(error: Exception) -> int | None:
    """Return the number of a server's error; old ones have it in words alone."""
    code = getattr(error, "code", None)
    if code is None and (found := _CODE.search(str(error))):
        code = int(found[1])
    return code


_CODE: Final = re.compile(r"Code: (\d+)")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
