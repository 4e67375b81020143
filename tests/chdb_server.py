"""A ClickHouse over HTTP for tests: the engine of ``chdb``, served as the server serves it.

Run by a Python that has chdb: ``python chdb_server.py FOLDER``. Prints its port. Takes what
clickhouse-connect sends: statements in the body or the address, data compressed or not,
settings as parameters. GET has the seconds that statements took, and the rows that they read.
A user other than ``default``, whose password is empty, is refused as the server refuses one.
"""

from __future__ import annotations

import re
import sys
import threading
import zlib
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import chdb.session
import lz4.frame

TRANSPORT = {
    "query",
    "database",
    "client_protocol_version",
    "compress",
    "query_id",
    "wait_end_of_query",
}
"""Parameters that are no settings of the statement."""
UNPACK = {
    "lz4": lz4.frame.decompress,
    "gzip": lambda data: zlib.decompress(data, 31),
    "deflate": zlib.decompress,
}
ONE_AT_A_TIME = threading.Lock()
UNKNOWN_USER = b"Code: 516. DB::Exception: default: Authentication failed. (AUTHENTICATION_FAILED)"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, b"%f %d" % (self.server.seconds, self.server.rows))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = UNPACK.get(self.headers["Content-Encoding"], bytes)(body)
        parameters = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        user, _colon, password = self.account()
        if user != "default" or password:
            self.answer(403, UNKNOWN_USER)
            return
        settings = ", ".join(
            f"{name} = '{value}'"
            for name, value in parameters.items()
            if name not in TRANSPORT and not name.startswith("param_")
        )
        bound = {
            name.removeprefix("param_"): value
            for name, value in parameters.items()
            if name.startswith("param_")
        }
        try:
            self.answer(200, self.run(parameters.get("query", ""), body, settings, bound))
        except Exception as error:  # noqa: BLE001 - the engine's answer.
            self.answer(500, str(error).encode())

    def run(self, statement, body, settings, bound):
        if statement:
            # INSERT INTO t FORMAT f, and its data in the body: binary data the engine takes from files.
            head, separator, form = statement.rpartition(" FORMAT ")
            chosen = f" SETTINGS {settings}" if settings else ""
            data = f"{sys.argv[1]}-{threading.get_ident()}.block"
            statement = f"{head} FROM INFILE '{data}'{chosen}{separator}{form}"
            Path(data).write_bytes(body)
        else:
            head, separator, form = body.decode().rpartition("\n FORMAT ")
            chosen = f"\nSETTINGS {settings}" if settings and separator else ""
            statement = f"{head}{chosen}{separator}{form}"
        with ONE_AT_A_TIME:
            found = self.server.session.query(statement, "TabSeparated", params=bound)
            self.server.seconds += found.elapsed()
            self.server.rows += found.storage_rows_read()
            return found.bytes() or b""

    def account(self):
        kind, _space, given = (self.headers["Authorization"] or "").partition(" ")
        return b64decode(given).decode().partition(":") if kind == "Basic" else ("default", "", "")

    def answer(self, status, body):
        self.send_response(status)
        if status != 200:
            code = re.search(rb"Code: (\d+)", body)
            self.send_header("X-ClickHouse-Exception-Code", code[1].decode() if code else "1001")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *args):
        if "-v" in sys.argv:
            print(form % args, file=sys.stderr)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seconds, server.rows = 0.0, 0
    server.session = chdb.session.Session(sys.argv[1])
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
