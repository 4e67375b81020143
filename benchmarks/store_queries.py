"""Times of the viewer's questions and pages, over any store.

    python benchmarks/store_queries.py [DISPATCHES] [sqlite|postgresql] [--store NAME]

Fills a store of its own with made-up traces, then asks each question and fetches each
page several times. With ``--store`` a file, or a database of the server, is filled once, kept, and
asked again the next time. Ten million dispatches take 2.5 GB on SQLite and 9 GB on PostgreSQL.

Beside the clock stands the CPU time: of this process, in which SQLite works too, and of the server.
On a machine that is busy with other work, that is what an idle one would show.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import store

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 20
HOUR_NS = 3_600_000_000_000
GOAL_MS = 150


def fill(alias: str, dispatches: int) -> None:
    """Have at least *dispatches* made-up dispatches of thirty days in the store."""
    from benchmarks import synthetic
    from tracing.models import Trace

    if not Trace.objects.using(alias).exists():
        synthetic.fill(alias, dispatches, days=30)
        store.analyze(alias)


def questions() -> dict[str, Callable[[], object]]:
    """Return what the viewer asks the store, by name."""
    from tracing.models import Rollup, Trace
    from tracing.store.pages import TraceSearch

    now = time.time_ns()
    traces = Trace.objects
    middle = str(traces.last_row_id() // 2)
    some = traces.filter(pk__gte=int(middle)).order_by("pk").values_list("trace_id", flat=True)[0]
    instance = "shop3.Order:123456"
    searches = {
        "list": TraceSearch(),
        "kind": TraceSearch(kind="task"),
        "failed": TraceSearch(failed=True),
        "signal": TraceSearch(signal="post_save"),
        "signal and sender": TraceSearch(signal="post_save", sender="shop3.Order"),
        "receiver": TraceSearch(receiver="notify_7"),
        "receiver that raised": TraceSearch(receiver="notify_7", outcome="raised"),
        "slow, many": TraceSearch(slower_than_ns=10_000_000),
        "slow, few": TraceSearch(slower_than_ns=400_000_000),
        "text": TraceSearch(text="shop7"),
        "text, nowhere": TraceSearch(text="nowhere"),
        "user": TraceSearch(user_id="77"),
        "instance, hardly any": TraceSearch(instance=instance),
        "hour a week ago": TraceSearch(since_ns=now - 169 * HOUR_NS, until_ns=now - 168 * HOUR_NS),
    }
    asked: dict[str, Callable[[], object]] = {
        name: lambda wanted=wanted: traces.search(wanted) for name, wanted in searches.items()
    }
    asked["list, in the middle"] = lambda: traces.search(TraceSearch(), before=middle)
    asked["signal, in the middle"] = lambda: traces.search(
        TraceSearch(signal="post_save"), before=str(int(middle) * 60)
    )
    asked["one trace"] = lambda: traces.load(some)
    day, month = Rollup.objects.between(now - 24 * HOUR_NS), Rollup.objects.all()
    asked["statistics of a day by signal"] = lambda: day.by("dispatch", limit=50)
    asked["statistics of a day by receiver"] = lambda: day.by("receiver", limit=50)
    asked["statistics of a month by signal"] = lambda: month.by("dispatch", limit=50)
    asked["statistics of a month by receiver"] = lambda: month.by("receiver", limit=50)
    return asked


def pages() -> dict[str, str]:
    """Return the addresses of the viewer's pages, by name."""
    from tracing.models import Hazard, Trace

    newest = Trace.objects.order_by("-pk")
    row = newest[1_000]
    other = newest[2_000]
    receivers = "receiver:shop3.receivers.index_0 >> receiver:shop3.receivers.*"
    searches = {
        "kind": "kind:task",
        "name": "name:shop7:save",
        "path": "path:/shop7/detail/1*",
        "status": "status:5xx",
        "user": "user:77",
        "trace": f"trace:{row.trace_id[:12]}",
        "errors": "errors>0",
        "hazards": "hazards>0",
        "hazard": "hazard:repeated-receiver",
        "duration": "duration>50ms",
        "duration, few": "duration>120ms",
        "queries": "queries>100",
        "queries, none": "queries>10000",
        "since": "since:2h",
        "since and until": "since:200h until:190h",
        "words": "shop7",
        "words, nowhere": "nowhere",
        "word, a receiver": "notify_7",
        "word, many receivers": "index_",
        "word, callers": "create_view",
        "words, two": "notify_7 shop3.Order",
        "word or a user": "notify_7 OR user:77",
        "signal": "signal:post_save",
        "sender": "sender:shop3.Order",
        "signal, sender, receiver": "signal:post_save sender:shop3.Order receiver:index_1",
        "receiver": "receiver:notify_7",
        "receiver, wildcard": "receiver:shop3.receivers.*",
        "outcome": "outcome:raised",
        "outcome of a receiver": "outcome:raised receiver:notify_7",
        "instance": "instance:shop3.Order:123456",
        "app": "app:shop3",
        "exception": "exception:stock",
        "took": "took>20ms",
        "sql": "sql>2",
        "or": "receiver:notify_7 OR user:77",
        "not": "NOT kind:request signal:post_save",
        "structure": receivers,
    }
    found = {"list": "", "list, as JSON": "traces.json", "live": f"live/?row={row.pk}"}
    found |= {f"search {name}": f"?{urlencode({'q': q})}" for name, q in searches.items()}
    found |= {
        "search sorted": "?q=notify_7&order=-duration",
        "search sorted, rare": "?q=user%3A77&order=-duration",
        "charts": "charts/",
        "charts of a day": "charts/?q=since:24h",
        "charts of failures": "charts/?q=errors%3E0",
        "trace": f"traces/{row.address}/",
        "trace, flame graph": f"traces/{row.address}/flame/",
        "trace, SQL": f"traces/{row.address}/sql/",
        "span": f"traces/{row.address}/spans/1/",
        "compare": f"compare/?a={row.trace_id}&b={other.trace_id}",
        "periods": "compare/periods/",
        "periods, two days": (
            "compare/periods/?before_since=3d&before_until=2d&after_since=2d&after_until=1d"
        ),
        "why not": "why-not/?receiver=shop3.receivers.index_1",
        "map": "map/",
        "map of all time": "map/?since=",
        "explain a signal and sender": "explain/?what=shop3.Order&signal=post_save",
        "explain a receiver": "explain/?what=shop3.receivers.index_1",
        "explain a request": "explain/?what=name:shop7:save",
        "story": "story/?object=shop3.Order:123456",
        "heat map": "statistics/heat/",
        "hazards": "hazards/",
        "recorder": "recorder/",
        "complete": "complete.json?q=receiver:noti&at=13",
    }
    for since in ("24h", "7d", "30d", ""):
        for by in ("receiver", "signal", "sender", "dispatch"):
            found[f"statistics {since or 'all'} by {by}"] = f"statistics/?since={since}&by={by}"
    if hazard := Hazard.objects.first():
        found["hazard"] = f"hazards/{hazard.fingerprint}/"
    return found


def fetcher() -> Callable[[str], object]:
    """Return what fetches a page of the viewer as somebody who may see everything."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", database="default", verbosity=0)
    user = get_user_model().objects.create_superuser("viewer", password="viewer")
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)

    def fetch(address: str) -> object:
        response = client.get(f"/tracing/{address}")
        if response.status_code != 200:  # noqa: PLR2004 - OK.
            raise SystemExit(f"{address}: {response.status_code}")
        return response.content

    return fetch


def with_pages(server: Callable[[], float], alias: str) -> Callable[[], float]:
    """Return *server* with the CPU of the connections that pages open and close."""
    from django.db import connections

    used = 0.0
    kind: Any = type(connections[alias])
    close = kind._close  # noqa: SLF001 - close() is the one of each wrapper.

    def counting(self: Any) -> Any:
        nonlocal used
        info = getattr(self.connection, "info", None)
        if info is not None:
            # In nanoseconds; the hundredths of a second of stat are more than a page takes.
            path = Path(f"/proc/{info.backend_pid}/schedstat")
            with suppress(OSError):
                used += int(path.read_text().split()[0]) / 1e9
        return close(self)

    kind._close = counting  # noqa: SLF001
    return lambda: server() + used


def measure(name: str, ask: Callable[[], object], server: Callable[[], float]) -> dict[str, Any]:
    """Ask *ask* several times, and print and return what that took, in ms."""
    walls, cpus = [], []
    ask()
    began_server = server()
    for _ in range(TIMES):
        wall, cpu = time.perf_counter(), time.process_time()
        ask()
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    of_server = (server() - began_server) * 1000 / TIMES
    walls.sort()
    cpus.sort()
    place = int(0.95 * (TIMES - 1))
    found = {
        "name": name,
        "median": statistics.median(walls),
        "p95": walls[place],
        "cpu": statistics.median(cpus),
        "cpu_p95": cpus[place],
        "server": of_server,
    }
    mark = " !" if found["cpu_p95"] + of_server > GOAL_MS else ""
    print(
        f"  {name:40} median {found['median']:7.1f}  p95 {found['p95']:7.1f}   "
        f"CPU {found['cpu']:6.1f}  p95 {found['cpu_p95']:6.1f}  server {of_server:6.1f}{mark}",
        flush=True,
    )
    return found


def main() -> None:
    """Fill and ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dispatches", nargs="?", default="1000000")
    parser.add_argument("alias", nargs="?", default="sqlite", choices=["sqlite", "postgresql"])
    parser.add_argument("--store", help="a file or a database to keep")
    parser.add_argument("--only", default="", help="questions and pages whose name has this")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    options = parser.parse_args()
    alias = options.alias
    with tempfile.TemporaryDirectory() as folder:
        store.configure(Path(folder), {alias}, database=alias, name=options.store, pages=True)
        with nullcontext() if options.store else store.made(alias):
            from django.core.management import call_command

            from tracing.store.backends import open_database
            from tracing.store.retention import store_size

            call_command("migrate", "tracing", database=alias, verbosity=0)
            fill(alias, int(options.dispatches.replace("_", "")))
            print(f"{store_size() / 1e6:,.0f} MB on {alias}")
            server = store.server_seconds(open_database(alias), of_django=True)
            server = with_pages(server, alias)
            fetch = fetcher()
            asked = dict(questions())
            asked |= {
                f"page: {name}": lambda address=address: fetch(address)
                for name, address in pages().items()
            }
            found = [
                measure(name, ask, server) for name, ask in asked.items() if options.only in name
            ]
            for what in ("p95", "cpu_p95"):
                worst = max(found, key=lambda one: one[what])
                print(f"  worst {what}: {worst[what]:.1f} ms, {worst['name']}")
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
