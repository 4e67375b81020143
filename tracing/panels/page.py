"""The panel's page: from what was stored of a trace to the words and shapes of its template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.urls import NoReverseMatch, get_script_prefix, reverse

from tracing.analysis.mine import NONE_OF_MINE, hidden_text
from tracing.analysis.names import short_receiver, short_signal, shorten_middle
from tracing.analysis.tree import TIMES
from tracing.analysis.wiring import ANY
from tracing.panels.facts import place_of
from tracing.presentation.links import editor_link
from tracing.presentation.templating import SHOW_COOKIE
from tracing.units import format_count, format_ns, format_percent, format_spent, plural, query_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.analysis.wiring import Connection, Route
    from tracing.panels.facts import Json

MAX_GUIDES: Final = 24
"""Levels that are indented; deeper ones stand as far in and say how deep they are."""
TICKS: Final = 4
"""Stretches into which the axis is divided."""
OUTCOMES: Final = {
    "returned": ("ok", "returned"),
    "raised": ("bad", "raised"),
    "cancelled": ("bad", "cancelled"),
    "skipped": ("bad", "skipped"),
    "running": ("open", "running"),
    "unknown": ("open", "end unknown"),
}
"""Outcome to (class, word); the sign beside the word comes from the class."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where the rows of a panel lead to."""

    address: str
    is_stored: bool
    is_numbered: bool
    """Spans have the same numbers in the store."""

    def trace(self) -> str:
        """Return the address of the trace in the viewer; empty if it has none."""
        return self._reverse("tracing:trace", self.address) if self.is_stored else ""

    def span(self, number: int | None) -> str:
        """Return the address of one span in the viewer; empty if it has none."""
        if not (self.is_stored and self.is_numbered and number):
            return ""
        return self._reverse("tracing:span", self.address, number)

    def own_page(self, request_id: str) -> str:
        """Return the address of this panel as a page of its own; empty if it has none."""
        return self._reverse("djdt:signal_trace", request_id) if request_id else ""

    @staticmethod
    def _reverse(name: str, *arguments: object) -> str:
        try:
            return reverse(name, args=arguments)
        except NoReverseMatch:
            # The project includes neither, or not both, of the viewer and the toolbar's addresses.
            return ""


def editor_url(place: Json | None) -> str:
    """Return what opens *place* in the editor of the settings; empty without either."""
    if place is None:
        return ""
    return editor_link(place["file"], place["line"] or 1, of="panel")


def mark(stats: Json) -> str:
    """Return the sign beside the title: whether a hazard was found or a receiver raised."""
    if stats.get("hazard_count"):
        return "⚠"
    return "✕" if stats.get("error_count") else ""


def subtitle(stats: Json) -> str:
    """Return the line of the side bar: what is wrong, how much was dispatched, what was worst."""
    if "rows" not in stats:
        return str(stats.get("note", ""))
    dispatches = plural(stats["dispatch_count"], "dispatch", "dispatches")
    receivers = plural(stats["receiver_call_count"], "receiver")
    parts = [f"{dispatches}, {receivers} in {format_ns(stats['signal_ns'])}"]
    if stats["error_count"]:
        parts.insert(0, f"{stats['error_count']} raised")
    if stats["hazard_count"]:
        parts.insert(0, plural(stats["hazard_count"], "hazard"))
    worst = stats["worst"]
    if worst:
        parts.append(f"worst {shorten_middle(worst['label'], 28)} {format_ns(worst['self_ns'])}")
    return " · ".join(parts)


def context(stats: Json, wiring: Iterable[Route] = (), show: str = "") -> dict[str, Any]:
    """Return the template's context for what was stored as *stats*.

    Args:
        stats: What ``tracing.panels.stats.describe`` returned, perhaps a while ago.
        wiring: What is connected now.
        show: Whether the address asks for *mine* or *everything*; empty for what the cookie says.
    """
    # A panel that was stored by an earlier release has one id.
    address = "/".join(filter(None, (stats["trace_id"], stats.get("root_span_id"))))
    links = Links(address, stats.get("stored", False), stats.get("numbered", False))
    receivers = _receivers(stats, links)
    idle = _not_called(stats, wiring)
    hazards = [_hazard(hazard, links) for hazard in stats["hazards"]]
    is_mine = any(row.get("mine", True) for row in stats["rows"])
    return {
        "show": show,
        "show_cookie": SHOW_COOKIE,
        "cookie_path": get_script_prefix(),
        "is_mine": is_mine,
        "none_of_mine": NONE_OF_MINE if stats["rows"] and not is_mine else "",
        "hidden": {
            "rows": _hidden(stats.get("hidden", 0), "span", stats.get("hidden_failures", 0)),
            "receivers": _hidden(_others(receivers), "receiver"),
            "idle": _hidden(_others(idle), "receiver"),
            "slowest": _hidden(_others(stats["slowest"]), "call"),
        },
        "called_of_mine": len(receivers) - _others(receivers) if is_mine else "",
        "idle_of_mine": len(idle) - _others(idle),
        "trace_id": stats["trace_id"],
        "trace_url": links.trace(),
        "request_id": stats.get("request_id", ""),
        "own_url": links.own_page(stats.get("request_id", "")),
        "note": stats.get("note", ""),
        "summary": _summary(stats),
        "dropped": stats["dropped_count"] and plural(stats["dropped_count"], "item"),
        "unreadable": stats.get("unreadable", ""),
        "ticks": _ticks(stats["extent_ns"]),
        "rows": _rows(stats, links),
        "left_out": stats["rows_left_out"] and plural(stats["rows_left_out"], "span"),
        "receivers": receivers,
        "receivers_left_out": stats["receivers_left_out"],
        "idle": idle,
        "notes": stats.get("notes", []),
        "unheard": [
            {**entry, "short": short_signal(entry["signal"]), "count": format_count(entry["count"])}
            for entry in stats["unheard"]
        ],
        "unheard_left_out": stats["unheard_left_out"]
        and plural(stats["unheard_left_out"], "more pair"),
        "unheard_count": format_count(stats["unheard_count"]),
        "slowest": _slowest(stats, links),
        "hazards": hazards,
        "hazard_count": stats["hazard_count"],
        "hazards_left_out": stats["hazard_count"] - len(hazards),
        "bypasses": [_bypass(bypass, links) for bypass in stats["bypasses"]],
        "bypass_count": stats["bypass_count"],
        "bypasses_left_out": stats["bypass_count"] - len(stats["bypasses"]),
        "called_count": stats["receivers_left_out"] + len(receivers),
    }


def _others(entries: Iterable[Json]) -> int:
    """Return how many of *entries* are not mine; what an earlier release stored is."""
    return sum(not entry.get("mine", True) for entry in entries)


def _hidden(count: int, one: str, failures: int = 0) -> str:
    return hidden_text(count, one, failures=failures) if count else ""


def _summary(stats: Json) -> list[dict[str, str]]:
    duration = stats["duration_ns"] or 1
    share = format_percent(min(stats["signal_ns"] / duration, 1.0))
    share_of = f"{share} of {format_ns(stats['duration_ns'])}"
    facts = [
        (format_count(stats["dispatch_count"]), "dispatches", ""),
        (format_count(stats["receiver_call_count"]), "receiver calls", ""),
        (
            format_ns(stats["signal_ns"]),
            "in signals",
            share_of,
        ),
        (
            format_count(stats["receiver_query_count"]),
            "queries in receivers",
            f"of {format_count(stats['query_count'])}",
        ),
        (format_count(stats["error_count"]), "raised", ""),
        (format_count(stats["unheard_count"]), "without receivers", ""),
    ]
    # What recording costs here is measured in the worker, once the first trace has come there.
    if stats["overhead_ns"]:
        facts.append((format_ns(stats["overhead_ns"]), "cost of tracing", "estimated"))
    return [{"value": value, "name": name, "note": note} for value, name, note in facts]


def _ticks(extent_ns: int) -> list[str]:
    return [format_ns(extent_ns * step / TICKS) if step else "0" for step in range(TICKS)]


# --- the tree ------------------------------------------------------------------------------------


def _rows(stats: Json, links: Links) -> list[dict[str, Any]]:
    return [
        _rest(position, row) if row["is"] == "rest" else _row(position, row, links, stats)
        for position, row in enumerate(stats["rows"])
    ]


def _indent(row: Json) -> dict[str, Any]:
    depth = row["depth"]
    return {
        "guides": range(min(depth, MAX_GUIDES)),
        "level": depth + 1,
        "deep": depth if depth > MAX_GUIDES else 0,
        "parent": "" if row["parent"] is None else row["parent"],
    }


def _rest(position: int, row: Json) -> dict[str, Any]:
    spans = plural(row["count"], "more span")
    return {
        "id": position,
        "is_rest": True,
        "mine": row.get("mine", True),
        "text": f"{spans} not shown, {format_ns(row['total_ns'])} in all",
        **_indent(row),
    }


def _beside(label: str, instance: str) -> str:
    """Return an instance as it stands after a label: its model only if that is not the sender."""
    sender = label.rpartition(" ")[2]
    return instance.removeprefix(sender) if instance.startswith(f"{sender}:") else instance


def _row(position: int, row: Json, links: Links, stats: Json) -> dict[str, Any]:
    outcome, word = OUTCOMES.get(row["outcome"], ("open", row["outcome"]))
    if row["count"] > 1 and row["error_count"]:
        word = f"{word} {row['error_count']} {TIMES}"
    place = row["place"] or {}
    texts = [row["label"], row.get("instance", ""), place.get("text", ""), word]
    texts += [fact["text"] for fact in row["facts"]]
    return {
        "id": position,
        "is_rest": False,
        "mine": row.get("mine", True),
        "is_dispatch": row["is"] == "dispatch",
        "label": row["label"],
        "instance": _beside(row["label"], row.get("instance", "")),
        "whole_instance": row.get("instance", ""),
        "times": format_count(row["count"]) if row["count"] > 1 else "",
        "is_async": row.get("async", False) or str(row.get("method", "")).startswith("a"),
        "later": row.get("later", False),
        "critical": row["critical"],
        "total": format_spent(row["total_ns"]),
        "self": format_spent(row["total_ns"], row["self_ns"]) if row["is"] == "call" else "",
        "total_ns": row["total_ns"],
        "self_ns": row["self_ns"],
        "max": format_ns(row["max_ns"]) if row["count"] > 1 else "",
        "query_count": row["query_count"],
        "queries": format_count(row["query_count"]) if row["query_count"] else "",
        "outcome": outcome,
        "word": word,
        "failed": outcome == "bad",
        "bars": [{"left": left, "width": width} for left, width in row["bars"]],
        "facts": [_with_editor(fact) for fact in [*_time_facts(row, stats), *row["facts"]]],
        "occurrences": [
            {
                "text": occurrence["text"],
                "time": format_spent(occurrence["duration_ns"]),
                "at": format_ns(occurrence["start_ns"]),
                "url": links.span(occurrence["number"]),
            }
            for occurrence in row["occurrences"]
        ],
        "occurrences_left_out": max(row["count"] - len(row["occurrences"]), 0),
        "url": links.span(row["number"]),
        "place": row["place"],
        "editor": editor_url(row["place"]),
        "search": " ".join(texts).lower(),
        **_indent(row),
    }


def _time_facts(row: Json, stats: Json) -> list[Json]:
    share = format_percent(min(row["total_ns"] / (stats["duration_ns"] or 1), 1.0))
    times = [
        f"{format_ns(row['total_ns'])} ({share} of the trace)",
        f"{format_ns(row['self_ns'])} own",
    ]
    if not row["total_ns"]:
        times = ["not seen"]
    elif row["count"] > 1:
        mean = format_ns(row.get("mean_ns", row["total_ns"] / row["count"]))
        times += [f"{mean} on average", f"{format_ns(row['max_ns'])} the longest"]
    facts: list[Json] = [{"name": "Time", "text": ", ".join(times), "place": None}]
    if row["query_count"]:
        text = f"{query_text(row['query_count'])}, {format_ns(row['query_ns'])}"
        facts.append({"name": "Queries", "text": text, "place": None})
    return facts


def _with_editor(fact: Json) -> dict[str, Any]:
    return {**fact, "editor": editor_url(fact["place"])}


# --- the other tabs ------------------------------------------------------------------------------


def _receivers(stats: Json, links: Links) -> list[dict[str, Any]]:
    return [
        {
            "mine": True,
            **receiver,
            "short": short_receiver(receiver["name"]),
            "total": format_spent(receiver["total_ns"]),
            "self": format_spent(receiver["total_ns"], receiver["self_ns"]),
            "max": format_spent(receiver["max_ns"]),
            "share_text": format_percent(receiver["share"]),
            "share_width": round(receiver["share"] * 100, 2),
            "signal": ", ".join(map(short_signal, receiver["signals"])),
            "sender": ", ".join(receiver["senders"]),
            "editor": editor_url(receiver["place"]),
            "url": links.span(receiver["number"]),
            "search": f"{receiver['name']} {' '.join(receiver['signals'])} "
            f"{' '.join(receiver['senders'])} {receiver['app']}".lower(),
        }
        for receiver in stats["receivers"]
    ]


def _not_called(stats: Json, wiring: Iterable[Route]) -> list[dict[str, Any]]:
    """Return the connected receivers that this trace did not call, with the reason."""
    called = {tuple(receiver["key"]) for receiver in stats["receivers"]}
    sent = set(stats["signals"])
    found = []
    for route in wiring:
        for connection in route.connections:
            label = connection.receiver
            # Those for any sender stand in the routes of all senders, too.
            elsewhere = label.any_sender and route.sender != ANY
            if elsewhere or (label.name, label.file, label.line) in called:
                continue
            where = place_of(label.file, label.line)
            found.append(
                {
                    "name": label.name,
                    "mine": label.mine,
                    "short": short_receiver(label.name),
                    "signal": route.signal,
                    "short_signal": short_signal(route.signal),
                    "sender": "any sender" if label.any_sender else route.sender,
                    "reason": _reason(connection, was_sent=route.signal in sent),
                    "place": where,
                    "editor": editor_url(where),
                    "search": f"{label.name} {route.signal} {route.sender}".lower(),
                }
            )
    return found


def _reason(connection: Connection, *, was_sent: bool) -> str:
    if not connection.alive:
        return "dead: connected weakly, and nothing else held it"
    return "sent, but by other senders" if was_sent else "signal not sent"


def _slowest(stats: Json, links: Links) -> list[dict[str, Any]]:
    longest = max((entry["self_ns"] for entry in stats["slowest"]), default=0) or 1
    found = []
    for entry in stats["slowest"]:
        outcome, word = OUTCOMES.get(entry["outcome"], ("open", entry["outcome"]))
        found.append(
            {
                "mine": True,
                **entry,
                "self": format_spent(entry["total_ns"], entry["self_ns"]),
                "total": format_spent(entry["total_ns"]),
                "width": round(entry["self_ns"] / longest * 100, 2),
                "queries": format_count(entry["query_count"]) if entry["query_count"] else "",
                "query_time": format_ns(entry["query_ns"]) if entry["query_count"] else "",
                "outcome": outcome,
                "word": word,
                "editor": editor_url(entry["place"]),
                "url": links.span(entry["number"]),
                "search": f"{entry['name']} {entry['of']} {entry['instance']}".lower(),
            }
        )
    return found


def _hazard(hazard: Json, links: Links) -> dict[str, Any]:
    return {
        **hazard,
        "url": links.span(hazard["number"]),
        "editor": editor_url(hazard["place"]),
        "search": f"{hazard['hazard']} {hazard['message']}".lower(),
    }


def _bypass(bypass: Json, links: Links) -> dict[str, Any]:
    rows = "an unknown number of rows" if bypass["rows"] is None else plural(bypass["rows"], "row")
    return {
        **bypass,
        "rows_text": rows,
        "signal_text": ", ".join(map(short_signal, bypass["signals"])),
        "editor": editor_url(bypass["place"]),
        "receivers": [
            {
                **receiver,
                "short": short_receiver(receiver["name"]),
                "editor": editor_url(receiver["place"]),
            }
            for receiver in bypass["receivers"]
        ],
        "receivers_left_out": bypass["receiver_count"] - len(bypass["receivers"]),
        "url": links.span(bypass["number"]),
        "search": f"{bypass['operation']} {bypass['model']} {bypass['by']}".lower(),
    }
