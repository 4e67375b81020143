"""The report: results as tables, for the terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks import goals

if TYPE_CHECKING:
    from collections.abc import Iterator

Results = dict[str, Any]
"""What a run has found; the keys are those that ``__main__`` puts in."""


def verdict(ratio: float | None, goal: float | None) -> str:
    """Return a ratio with its goal: ``0.92 (≤ 1.00)``, or ``**1.12, not ≤ 1.05**``."""
    if ratio is None:
        return "–"
    if goal is None:
        return f"{ratio:.2f}"
    if round(ratio, 2) <= goal:
        return f"{ratio:.2f} (≤ {goal:.2f})"
    return f"**{ratio:.2f}, not ≤ {goal:.2f}**"


def verdict_at_least(ratio: float, goal: float | None) -> str:
    """Return the same for what is to be large: ``0.92 (≥ 0.90)``, or ``**0.62, not ≥ 0.75**``."""
    if goal is None:
        return f"{ratio:.2f}"
    if round(ratio, 2) >= goal:
        return f"{ratio:.2f} (≥ {goal:.2f})"
    return f"**{ratio:.2f}, not ≥ {goal:.2f}**"


def _ratio(by_mode: dict[str, float], mode: str) -> float | None:
    return by_mode[mode] / by_mode["stock"] if mode in by_mode and by_mode.get("stock") else None


def gunicorn_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row about gunicorn."""
    return _traffic_rows(result, "gunicorn")


def uvicorn_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row about uvicorn."""
    return _traffic_rows(result, "uvicorn")


def _traffic_rows(result: Results, server: str) -> Iterator[list[str]]:
    by_mode = result.get("traffic", {}).get(server)
    if not by_mode:
        return
    stock = by_mode["stock"]
    yield [
        "stock",
        f"{stock['throughput']:,.0f}/s",
        f"{stock['cpu_ms']:.2f} ms",
        *(f"{stock[key]:.1f} ms" for key in ("saturated_p99", "p50", "p99")),
        "–",
    ]
    for mode, title in goals.TRAFFIC_MODES.items():
        found = by_mode.get(mode)
        if found:
            goal = goals.TRAFFIC[server].get(mode, goals.TrafficGoal())
            yield [
                title,
                verdict_at_least(found["throughput_ratio"], goal.throughput),
                f"{found['cpu_ratio']:.2f}",
                verdict(found["saturated_p99"] / stock["saturated_p99"], goal.p99),
                *(f"{found[key] / stock[key]:.2f}" for key in ("p50", "p99")),
                _lost(found["lost"]) if "lost" in found else "–",
            ]


def _lost(number: float) -> str:
    return "0 (≤ 0)" if not number else f"**{number:,.0f}, not ≤ 0**"


def four_workers_rows(result: Results) -> Iterator[list[str]]:
    """Yield the row about four workers that record into one store."""
    found = result.get("traffic", {}).get("four workers")
    if found:
        yield [
            "database and log file",
            f"{found['stock']:,.0f}/s",
            f"{found['complete'] / found['stock']:.2f}",
            f"{found['stored']:,.0f} of {found['answered']:,.0f}",
            _lost(found["answered"] - found["stored"]),
        ]


def instruction_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row of instruction counts of one environment."""
    for row in goals.ROWS:
        by_mode = result.get("instructions", {}).get(row.workload)
        if by_mode:
            yield [
                row.title,
                f"{by_mode['stock']:,.0f}",
                *(verdict(_ratio(by_mode, mode), row.goals.get(mode)) for mode in goals.MODES),
            ]


def clock_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row of CPU times of one environment."""
    for row in goals.ROWS:
        by_mode = result.get("clock", {}).get(row.workload)
        if by_mode:
            cells = [by_mode.get(mode) for mode in (*goals.MODES, "again")]
            yield [
                row.title,
                f"{by_mode['stock']['thread_us']:,.2f} µs",
                *(f"{cell['thread']:.2f}" if cell else "–" for cell in cells),
            ]


def request_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row about requests of one environment."""
    clock = result.get("clock", {}).get("request", {})
    counts = result.get("instructions", {}).get("request", {})
    counts_of_all = result.get("instructions", {}).get("request-process", {})
    for mode, title in goals.REQUEST_MODES.items():
        if mode in clock or mode in counts:
            thread = goals.REQUEST_THREAD if mode != "complete-unsampled" else None
            process = {"complete": goals.REQUEST_PROCESS, "spool": goals.REQUEST_SPOOL}.get(mode)
            count = {"complete": goals.REQUEST_COUNT, "spool": goals.REQUEST_SPOOL}.get(mode)
            cell = clock.get(mode, {})
            yield [
                title,
                verdict(_ratio(counts, mode), thread),
                verdict(_ratio(counts_of_all, mode), count),
                verdict(cell.get("thread"), thread),
                verdict(cell.get("process"), process),
            ]


def memory_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row about memory and the garbage collector of one environment."""
    memory = result.get("memory", {})
    for key, title in (
        ("held-1", "bytes held per undrained dispatch, 1 receiver"),
        ("held-3", "bytes held per undrained dispatch, 3 receivers"),
    ):
        if key in memory:
            held = memory[key]
            text = f"{held['structure']:.0f} structure only, {held['default']:.0f} default settings"
            if key == "held-1":
                reached = held["default"] <= goals.HELD_BYTES
                text += f" ({'≤' if reached else '**not ≤**'} {goals.HELD_BYTES})"
            yield [title, text]
    for key, title in (
        ("stock", "stock"),
        ("complete", "traced, a trace per 100 dispatches, drained by the worker"),
        ("undrained", "traced, two traces of 20,000 dispatches that nobody drains"),
    ):
        if key in memory.get("pauses", {}):
            found = memory["pauses"][key]
            yield [
                f"garbage collection during 40,000 dispatches, {title}",
                (
                    f"longest pause {found['longest_ms']:.2f} ms, all {found['collections']:.0f} together "
                    f"{found['sum_ms']:.1f} ms of {found['elapsed_ms']:.0f} ms"
                ),
            ]


def start_rows(result: Results) -> Iterator[list[str]]:
    """Yield the cells of each row about starting of one environment."""
    start = result.get("start")
    if not start:
        return
    stock, traced = start["stock"], start["complete"]
    yield [
        "`django.setup()` of a bare project, CPU",
        f"{stock['ms']:.0f} ms",
        f"{traced['ms'] - stock['ms']:+.0f} ms",
        verdict(traced["ms"] / stock["ms"], goals.START_TIME),
    ]
    for key, title, most in (
        ("kb", "memory after `django.setup()`", goals.START_MB),
        ("loaded_kb", "memory after 200 requests", goals.LOADED_MB),
    ):
        more = (traced[key] - stock[key]) / 1024
        reached = more <= most
        text = (
            f"{more:+.1f} MB (≤ {most:.0f})" if reached else f"**{more:+.1f} MB, not ≤ {most:.0f}**"
        )
        yield [title, f"{stock[key] / 1024:.1f} MB", text, f"{traced[key] / stock[key]:.2f}"]


def peer_rows(peers: Results) -> Iterator[list[str]]:
    """Yield the cells of each row about peers: CPU of the sending thread / of the whole process."""
    for mode, title in goals.PEERS.items():
        cells = []
        for workload in goals.PEER_WORKLOADS:
            cell = peers["clock"].get(workload, {}).get(mode)
            cells.append(f"{cell['thread']:.2f} / {cell['process']:.2f}" if cell else "–")
        yield [title, *cells]


TRAFFIC_COLUMNS = ("requests/s", "CPU", "p99", "p50 at 60 %", "p99 at 60 %", "traces lost")
"""Of a saturated server, but for the two at 60 % of stock's requests; CPU is that of a request."""
GUNICORN_HEAD = ["gunicorn, five saves", *TRAFFIC_COLUMNS]
UVICORN_HEAD = ["uvicorn, five `asend()`", *TRAFFIC_COLUMNS]
FOUR_WORKERS_HEAD = ["four workers, one store", "stock", "requests/s", "stored", "traces lost"]
INSTRUCTION_HEAD = ["instructions, sending thread", "stock", *goals.MODES.values()]
CLOCK_HEAD = ["CPU time, sending thread", "stock", *goals.MODES.values(), "stock again"]
REQUEST_HEAD = [
    "request",
    "instructions, thread",
    "instructions, whole process",
    "CPU, thread",
    "CPU, whole process",
]
MEMORY_HEAD = ["memory", "found"]
START_HEAD = ["start", "stock", "traced: more", "ratio"]
PEER_HEAD = [
    "CPU, sending thread / whole process",
    *(title for _, title in goals.PEER_WORKLOADS.values()),
]

SECTIONS = (
    (GUNICORN_HEAD, gunicorn_rows),
    (UVICORN_HEAD, uvicorn_rows),
    (FOUR_WORKERS_HEAD, four_workers_rows),
    (INSTRUCTION_HEAD, instruction_rows),
    (CLOCK_HEAD, clock_rows),
    (REQUEST_HEAD, request_rows),
    (START_HEAD, start_rows),
    (MEMORY_HEAD, memory_rows),
)


def tables(result: Results, title: str) -> Iterator[Table]:
    """Yield the tables of one environment for the terminal."""
    for head, cells in SECTIONS:
        rows = list(cells(result))
        if rows:
            yield table(head, rows, title)


def table(head: list[str], rows: list[list[str]], title: str) -> Table:
    """Return one table for the terminal."""
    made = Table(title=title, title_justify="left")
    for number, name in enumerate(head):
        made.add_column(name, justify="left" if number == 0 else "right")
    for row in rows:
        made.add_row(*(f"[red]{cell.strip('*')}[/red]" if "**" in cell else cell for cell in row))
    return made


def _markdown_table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' if number == 0 else '---:' for number in range(len(head)))}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def missed(results: Results) -> list[str]:
    """Return a sentence for each goal that a run did not reach."""
    found = []
    for result in results["environments"]:
        name = f"Python {result['python']}, Django {result['django']}"
        for head, cells in SECTIONS:
            if head is CLOCK_HEAD:
                continue
            for row in cells(result):
                for column, cell in zip(head[1:], row[1:], strict=True):
                    if "**" in cell:
                        found.append(f"{name}: {row[0]}, {column}: {cell.replace('**', '')}")
    return found


def goals_judged(results: Results) -> int:
    """Return how many goals a run has judged."""
    return sum(
        "≤" in cell or "≥" in cell
        for result in results["environments"]
        for head, cells in SECTIONS
        if head is not CLOCK_HEAD
        for row in cells(result)
        for cell in row
    )


def published(results: Results) -> str:
    """Return what stands in the documents: what a user decides by, of each environment a column."""
    environments = results["environments"]
    names = [f"Python {each['python']}, Django {each['django']}" for each in environments]
    lines = [
        *_heading(results),
        "Ratios of instructions to stock Django, by the default settings:",
        "",
    ]
    rows = []
    for row in goals.ROWS:
        counts = [each.get("instructions", {}).get(row.workload, {}) for each in environments]
        if any(counts):
            goal = row.goals.get("default")
            rows.append([row.title, *(verdict(_ratio(each, "default"), goal) for each in counts)])
    thread = (
        _ratio(each.get("instructions", {}).get("request", {}), "complete") for each in environments
    )
    process = (
        _ratio(each.get("instructions", {}).get("request-process", {}), "complete")
        for each in environments
    )
    rows += [
        ["a request, its thread", *(verdict(ratio, goals.REQUEST_THREAD) for ratio in thread)],
        [
            "a request, whole process: worker, database, log file",
            *(verdict(ratio, goals.REQUEST_COUNT) for ratio in process),
        ],
    ]
    lines += _markdown_table(["instructions", *names], rows)
    for head, cells in ((GUNICORN_HEAD, gunicorn_rows), (UVICORN_HEAD, uvicorn_rows)):
        for result in environments:
            if found := list(cells(result)):
                lines += _markdown_table(head, found)
    if peers := results.get("peers"):
        lines += _peers(peers)
    return "\n".join(lines).rstrip() + "\n"


def _heading(results: Results) -> list[str]:
    machine = results["machine"]
    failed, judged = missed(results), goals_judged(results)
    return [
        (
            f"Run on {results['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['system']}. "
            f"Load average at the start {machine['load']:.1f}. Commit {results['commit']}."
        ),
        "",
        f"{judged - len(failed)} of {judged} goals reached.",
        "",
    ]


def _peers(peers: Results) -> Iterator[str]:
    """Yield the section about other tools."""
    versions = ", ".join(f"{name} {version}" for name, version in peers["versions"].items())
    yield f"### Peers, on Python {peers['python']} and Django {peers['django']}"
    yield from ("", f"{versions}.", "")
    yield from _markdown_table(PEER_HEAD, list(peer_rows(peers)))
    for name, error in peers["errors"].items():
        yield f"{name} could not be measured: {error}."


def markdown(results: Results) -> str:
    """Return the report."""
    lines = _heading(results)
    for result in results["environments"]:
        built = "" if result["optimised"] else ", built without profile-guided optimisation"
        lines += [f"### Python {result['python']}{built}, Django {result['django']}", ""]
        for head, cells in SECTIONS:
            rows = list(cells(result))
            if rows:
                lines += _markdown_table(head, rows)
        for name, error in result.get("traffic", {}).get("errors", {}).items():
            lines += [f"{name} could not be measured: {error}", ""]
        if reason := result.get("not_counted"):
            lines += [f"Instructions were not counted: {reason}.", ""]
    if peers := results.get("peers"):
        lines += _peers(peers)
    if failed := missed(results):
        lines += ["### Goals not reached", "", *(f"- {sentence}" for sentence in failed), ""]
    return "\n".join(lines).rstrip() + "\n"
