"""A ClickHouse that answers as it is told to: down, slow, old, without rights, in half."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import lz4.frame

SETTINGS = (
    "async_insert",
    "insert_distributed_sync",
    "insert_deduplicate",
    "insert_deduplication_token",
    "deduplicate_blocks_in_dependent_materialized_views",
    "input_format_skip_unknown_fields",
)


class _Block:
    """Reads what is in the format RowBinaryWithNamesAndTypes."""

    def __init__(self, block):
        self.data = BytesIO(block)

    def size(self):
        number = shift = 0
        while True:
            (byte,) = self.data.read(1)
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def number(self, kind):
        size = 1 if kind == "Bool" else 4 if kind.endswith("32") else 8
        return int.from_bytes(self.data.read(size), "little", signed=kind[0] == "I")

    def text(self):
        return self.data.read(self.size()).decode()

    def value(self, kind):
        outer, _bracket, inner = kind.removesuffix(")").partition("(")
        if outer == "Array":
            return [self.value(inner) for _ in range(self.size())]
        if outer == "Map":
            return {self.text(): self.text() for _ in range(self.size())}
        is_number = outer in {"Bool", "DateTime64", "Int32", "Int64", "UInt32", "UInt64"}
        return self.number(outer) if is_number else self.text()


def rows_in(block):
    """Return the rows of a block by column, without what is empty."""
    read = _Block(block)
    count = read.size()
    names, kinds = ([read.text() for _ in range(count)] for _ in range(2))
    rows = []
    while read.data.tell() < len(block):
        row = {name: read.value(kind) for name, kind in zip(names, kinds, strict=True)}
        rows.append({name: value for name, value in row.items() if value not in ("", [])})
    return rows


def _native(columns):
    """Return a block in the format Native: (name, type, values as bytes) for each column."""
    count = len(columns[0][2])
    block = bytes([len(columns), count])
    for name, kind, values in columns:
        block += b"".join(bytes([len(text)]) + text.encode() for text in (name, kind))
        block += b"".join(values)
    return block


_OF_SETTINGS = _native(
    [
        ("name", "String", [bytes([len(name)]) + name.encode() for name in SETTINGS]),
        ("value", "String", [b"\x010"] * len(SETTINGS)),
        ("readonly", "UInt8", [b"\0"] * len(SETTINGS)),
    ]
)


_OF_1816 = b"Code: 47, e.displayText() = DB::Exception: Unknown identifier: readonly"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        parameters = {
            name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()
        }
        if parameters.get("query", "").startswith("INSERT"):
            self.server.fake.take(self, parameters, lz4.frame.decompress(body))
        elif b"version()" in body:
            self.answer(f"{self.server.fake.version}\tUTC\n".encode())
        elif b"system.settings" in body and self.server.fake.has_settings:
            self.answer(_OF_SETTINGS)
        elif b"system.settings" in body:
            self.answer(_OF_1816, status=404)
        elif body.startswith(b"DESCRIBE"):
            self.answer(self.server.fake.columns)
        else:
            self.server.fake.tell(self)

    def answer(self, body, *, status=200, code=None, length=None):
        self.send_response(status)
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def log_message(self, *_args):
        pass


class FakeClickHouse:
    """The server, and what it was sent."""

    def __init__(self):
        self.version = "26.9.2.1"
        self.has_settings = True
        """It knows what the driver asks of its settings; 18.16 does not."""
        self.refuses = None
        """(code, words) that the next inserts are answered with."""
        self.loses_answers = False
        """It stores, and only half of its answer arrives."""
        self.columns = b""
        """What comes to the question which columns the table has."""
        self.answers = b""
        """What comes to any question."""
        self.stands_still = threading.Event()
        self.stands_still.set()
        self.inserts = []
        """(parameters, rows) of each insert, also of those that were refused."""
        self.stored = {}
        """Rows by token: what comes again is there already."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.fake = self
        # Clients that have given up.
        self._server.handle_error = lambda *_request: None
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self):
        return self._server.server_port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def rows(self):
        return [row for rows in self.stored.values() for row in rows]

    def take(self, handler, parameters, block):
        rows = rows_in(block)
        self.inserts.append((parameters, rows))
        self.stands_still.wait(60)
        if self.refuses is not None:
            code, words = self.refuses
            handler.answer(f"Code: {code}. {words}".encode(), status=500, code=code)
            return
        self.stored.setdefault(parameters["insert_deduplication_token"], rows)
        if self.loses_answers:
            handler.answer(b"", length=100)
        else:
            handler.answer(b"")

    def tell(self, handler):
        """Answer a question as it was said to."""
        self.stands_still.wait(60)
        if self.refuses is not None:
            code, words = self.refuses
            handler.answer(f"Code: {code}. {words}".encode(), status=500, code=code)
        elif self.loses_answers:
            handler.answer(b"[", length=100)
        else:
            handler.answer(self.answers)

    def stop(self):
        self.stands_still.set()
        self._server.shutdown()
        self._server.server_close()
