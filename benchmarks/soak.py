"""Four processes that write for a while, with rotations and kills: is everything there afterwards?

    python benchmarks/soak.py [SECONDS] [sqlite|postgresql]

Every line must parse; what a process flushed must be in store and log; those that were not killed
must have lost nothing; application, store and log must count the same. With ``postgresql`` the
connection to the server is cut for a third of the time, by a proxy that stands between.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmarks import soak
soak.write(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5])
"""


def configure(folder: Path, alias: str, port: str) -> None:
    """Set Django up with the store of this run."""
    import django
    from django.conf import settings

    from tests.services import service

    if alias == "sqlite":
        store: dict[str, Any] = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(folder / "traces.sqlite3"),
        }
    else:
        server = service("postgresql")
        store = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": f"soak_{folder.name.replace('-', '_').lower()}",
            "HOST": "127.0.0.1",
            "PORT": port,
            "USER": server.user,
            "PASSWORD": server.password,
        }
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=["tracing"],
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "a.sqlite3")},
            "tracing": store,
        },
        DATABASE_ROUTERS=["tracing.routers.TracingRouter"],
        TRACING={"ENABLED": False, "EXPORTERS": []},
    )
    django.setup()


def write(folder: Path, alias: str, number: int, seconds: float, port: str) -> None:
    """Be one of the writers: submit traces, flush now and then, and say what was flushed."""
    configure(folder, alias, port)
    from tests.tracing.samples import plain_trace
    from tracing.conf.parts import PipelineOptions
    from tracing.exporters.database import DatabaseExporter
    from tracing.exporters.log import LogExporter
    from tracing.pipeline import Pipeline, flush_on_sigterm

    pipeline = Pipeline(PipelineOptions(queue_limit=10**7, retry_seconds=600, exit_seconds=60))
    pipeline.add_exporter(LogExporter(folder / "t.jsonl", max_bytes=2_000_000, keep=10**6))
    pipeline.add_exporter(DatabaseExporter("tracing"))
    flush_on_sigterm(pipeline)
    sent, end = 0, time.monotonic() + seconds
    slowest = 0.0
    while time.monotonic() < end:
        for _ in range(50):
            sent += 1
            trace = plain_trace(number * 10**9 + sent, dispatches=3)
            began = time.perf_counter()
            pipeline.submit(trace)
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.0005)
        if sent % 500 == 0 and pipeline.force_flush(0.5):
            print(f"flushed {sent}", flush=True)
        # Said before a kill can come between, so that nothing more was sent than this.
        print(f"sent {sent}", flush=True)
    pipeline.shutdown()
    dropped = pipeline.statistics().dropped
    print(f"flushed {sent}", flush=True)
    print(f"slowest {slowest * 1000:.1f} dropped {dropped}", flush=True)


class Proxy:
    """Pass connections on to a server, until they are cut."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.open = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        self.open = False
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _close(end)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if not self.open:
                _close(client)
                continue
            try:
                server = socket.create_connection(self.target)
            except OSError:
                _close(client)
                continue
            self._pairs.append((client, server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    _close(source)
    _close(target)


def main() -> int:
    """Run the writers, kill two of them, count."""
    seconds = float(sys.argv[1]) if sys.argv[1:] else 60.0
    alias = sys.argv[2] if sys.argv[2:] else "sqlite"
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    proxy, port = None, ""
    if alias == "postgresql":
        from tests.services import service

        server = service("postgresql")
        proxy = Proxy(server.host, int(server.port))
        port = str(proxy.port)
        name = f"soak_{folder.name.replace('-', '_').lower()}"
        sql(server, f'CREATE DATABASE "{name}"')
    configure(folder, alias, port)
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", "tracing", database="tracing", verbosity=0)
    connections.close_all()
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER.format(root=str(ROOT)),
                str(folder),
                alias,
                str(number),
                str(seconds),
                port,
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(4)
    ]
    outputs: list[list[str]] = [[] for _ in writers]
    readers = [
        threading.Thread(target=lambda w=w, o=o: o.extend(w.stdout), daemon=True)  # type: ignore[misc]
        for w, o in zip(writers, outputs, strict=True)
    ]
    for reader in readers:
        reader.start()
    began = time.monotonic()
    kill_at = sorted(random.uniform(0.4, 0.9) * seconds for _ in range(2))  # noqa: S311
    if proxy is not None:
        time.sleep(seconds / 4)
        print("cutting the connection to PostgreSQL")
        proxy.cut()
        time.sleep(seconds / 3)
        print("and letting it through again")
        proxy.open = True
    for at, victim, number in zip(kill_at, writers, (signal.SIGKILL, signal.SIGTERM), strict=False):
        time.sleep(max(began + at - time.monotonic(), 0))
        victim.send_signal(number)
    for writer, reader in zip(writers, readers, strict=True):
        writer.wait(seconds + 120)
        reader.join(5)
    good = check(folder, writers, outputs)
    connections.close_all()
    if proxy is not None:
        proxy.cut()
        sql(server, f'DROP DATABASE "{name}" WITH (FORCE)')
    shutil.rmtree(folder)
    return 0 if good else 1


def sql(server: Any, statement: str) -> None:
    """Run a statement that no transaction takes."""
    import psycopg

    with psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        dbname="postgres",
        autocommit=True,
    ) as connection:
        connection.execute(statement)


def check(folder: Path, writers: list[Any], outputs: list[list[str]]) -> bool:
    """Print what came of it; return whether all is well."""
    from tracing.exporters.log_file import log_files, open_log
    from tracing.models import Trace

    stored = {int(text, 16) for text in Trace.objects.values_list("trace_id", flat=True)}
    logged: list[int] = []
    lines = 0
    for path in log_files(folder / "t.jsonl"):
        with open_log(path) as file:
            for line in file:
                lines += 1
                record = json.loads(line)
                if record["event"] == "trace_finished":
                    logged.append(int(record["trace_id"], 16))
    print(f"{lines} lines in {len(log_files(folder / 't.jsonl'))} files, {len(stored)} stored")
    good = len(logged) == len(set(logged))
    for number, (writer, output) in enumerate(zip(writers, outputs, strict=True)):
        said = [line.split() for line in output]
        flushed = max((int(w[1]) for w in said if w[0] == "flushed"), default=0)
        sent = max((int(w[1]) for w in said if w[0] == "sent"), default=0)
        slowest = next((" ".join(w) for w in said if w[0] == "slowest"), "")
        base = number * 10**9
        of_log = {n - base for n in logged if n // 10**9 == number}
        of_store = {n - base for n in stored if n // 10**9 == number}
        wanted = set(range(1, flushed + 1))
        fine = wanted <= of_log and wanted <= of_store
        if writer.returncode == -signal.SIGTERM:
            fine = fine and of_log == of_store and set(range(1, sent + 1)) <= of_log
        elif writer.returncode == 0:
            fine = fine and of_log == of_store == set(range(1, sent + 1))
        good = good and fine
        print(
            f"  writer {number}: exit {writer.returncode:4}  sent {sent}  flushed {flushed}  "
            f"logged {len(of_log)}  stored {len(of_store)}  {slowest}  {'ok' if fine else 'BAD'}"
        )
    return good


if __name__ == "__main__":
    sys.exit(main())
