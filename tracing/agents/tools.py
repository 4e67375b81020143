"""The tools that are offered, and the command that answers each."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AT_ONCE: Final = 50
"""Entries of a list that are asked for beyond those that were read."""


class ArgumentsError(Exception):
    """Arguments that a tool cannot take; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a tool, and of the command that answers.

    Args:
        option: Of the command, as ``--signal``; "" for what follows the verb.
        is_switch: It is true or false and has no value.
    """

    text: str = ""
    option: str = ""
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    is_required: bool = False

    def schema(self) -> dict[str, Any]:
        """Return what JSON Schema says of it."""
        found: dict[str, Any] = {"type": "boolean" if self.is_switch else "string"}
        if self.choices:
            found["enum"] = list(self.choices)
        if self.text:
            found["description"] = self.text
        return found


@dataclass(frozen=True, slots=True)
class Tool:
    """A question to the command."""

    name: str
    text: str
    verb: str
    arguments: Mapping[str, Argument]
    entries: str = ""
    """The key of the list that is given in parts; "" if the answer is that list."""
    below: str = ""
    """The key of what hangs below an entry: each becomes an entry with its ``level``."""
    leave_out: frozenset[str] = frozenset()
    """Keys that tell an agent nothing which the others do not."""
    fixed: tuple[str, ...] = ()
    has_limit: bool = False
    has_period: bool = False

    def schema(self) -> dict[str, Any]:
        """Return what JSON Schema says of the arguments."""
        properties = {name: each.schema() for name, each in self.arguments.items()}
        properties["cursor"] = {"type": "string"}
        required = [name for name, each in self.arguments.items() if each.is_required]
        return {"type": "object", "properties": properties, "required": required}

    def command_line(
        self, arguments: Mapping[str, Any], *, start: int = 0, until_ms: int = 0
    ) -> list[str]:
        """Return the arguments of ``manage.py tracing``.

        Args:
            arguments: By name, as the agent gave them.
            start: How many entries it has read.
            until_ms: Milliseconds since the epoch; what was recorded later is no part of the answer,
                so that what was read stays where it was.

        Raises:
            ArgumentsError: One is unknown, missing or of the wrong type.
        """
        self._verify(arguments)
        line = [self.verb, "--format=json", *self.fixed]
        if self.has_limit:
            line.append(f"--limit={start + AT_ONCE}")
        if self.has_period and until_ms:
            line.append(f"--until={until_ms}")
        operands: list[str] = []
        for name, each in self.arguments.items():
            value = arguments.get(name)
            if value in (None, "", False):
                continue
            if not each.option:
                operands.append(value)
            else:
                line.append(each.option if each.is_switch else f"{each.option}={value}")
        # What comes from outside is no option, whatever it begins with.
        return [*line, "--", *operands] if operands else line

    def _verify(self, arguments: Mapping[str, Any]) -> None:
        for name, value in arguments.items():
            if name == "cursor":
                continue
            taken = self.arguments.get(name)
            if taken is None:
                names = [*self.arguments, "cursor"]
                near = get_close_matches(name, names, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise ArgumentsError(
                    f"{self.name} takes no {name!r}.{hint} It takes: {', '.join(names)}."
                )
            if value is not None and not isinstance(value, bool if taken.is_switch else str):
                kind = "true or false" if taken.is_switch else "a string"
                raise ArgumentsError(f"{name} has to be {kind}, not {value!r}.")
            if value and taken.choices and value not in taken.choices:
                raise ArgumentsError(f"{name} is one of {', '.join(taken.choices)}; not {value!r}.")
        for name, each in self.arguments.items():
            if each.is_required and not arguments.get(name):
                raise ArgumentsError(f"{self.name} needs {name}: {each.text}.")


def _period() -> dict[str, Argument]:
    return {"since": Argument("as 2h, 3d or 2026-11-22T14:30", "--since")}


_OF_TRACES: Final = frozenset(
    {
        *("root_span_id", "started_ns", "host", "process", "thread", "final", "mine", "pinned"),
        *("overhead_ns", "signal_ns", "schema"),
    }
)
_OF_SPANS: Final = _OF_TRACES | {
    *("trace_id", "trace_started_ns", "span_id", "parent_span_id", "weak", "dispatch_uid"),
    *("span_ids", "lost_receivers", "missed_receivers", "connection_changes", "any_sender"),
}

TOOLS: Final = (
    Tool(
        "find_traces",
        "Newest requests, commands, tasks and tests, and what they sent.",
        "list",
        {
            "search": Argument(
                "a word of any name, or terms: receiver:make_sale signal:post_save "
                "sender:orders.Order instance:orders.Order:42 took>250ms queries>20 has:hazard"
            ),
            "kind": Argument(
                option="--kind",
                choices=("request", "command", "task", "test", "block", "dispatch"),
            ),
            "failed": Argument("only with an error", "--failed", is_switch=True),
            **_period(),
        },
        leave_out=_OF_TRACES,
        has_limit=True,
        has_period=True,
    ),
    Tool(
        "show_trace",
        "One trace: its dispatches, their receivers in order, places, outcomes, hazards. A "
        "dispatch's parent_number is the receiver that sent it.",
        "show",
        {"trace": Argument("a trace_id, its beginning, or last", is_required=True)},
        entries="dispatches",
        below="receivers",
        leave_out=_OF_SPANS - {"trace_id"},
    ),
    Tool(
        "why_not",
        "Why a receiver was not called: verdict, the line to change, the remedy.",
        "why-not",
        {
            "receiver": Argument("dotted path or its end", is_required=True),
            "signal": Argument(option="--signal"),
            "sender": Argument("as orders.Order", "--sender"),
            "trace": Argument("only in this one", "--trace"),
        },
        entries="evidence",
    ),
    Tool(
        "explain",
        "What follows a signal, a receiver or a request, merged from the newest traces.",
        "explain",
        {
            "what": Argument(
                "a sender (orders.Order), signal, receiver, route, command or task",
                is_required=True,
            ),
            "signal": Argument("of that sender"),
            **_period(),
        },
        entries="steps",
        below="steps",
        has_period=True,
    ),
    Tool(
        "statistics",
        "Counts, times and SQL of receivers, by what they cost.",
        "stats",
        {
            "by": Argument(option="--by", choices=("receiver", "dispatch", "call")),
            "order": Argument(
                option="--order",
                choices=("total_ns", "count", "error_count", "query_count", "query_ns"),
            ),
            **_period(),
        },
        has_limit=True,
        has_period=True,
    ),
    Tool(
        "hazards",
        "What is wrong with receivers: place, evidence, remedy.",
        "hazards",
        {
            "trace": Argument("only in this one", "--trace"),
            "severity": Argument(
                "and worse", option="--severity", choices=("error", "warning", "info")
            ),
            "hazard": Argument("only this one, as n-plus-one", "--hazard"),
            **_period(),
        },
        leave_out=frozenset({"trace_id", "root_span_id", "span_ids"}),
        fixed=("--grouped",),
        has_period=True,
    ),
)


def tool_named(name: str, tools: Sequence[Tool] = TOOLS) -> Tool:
    """Return the tool of that name.

    Raises:
        ArgumentsError: There is none; the message names those there are.
    """
    for tool in tools:
        if tool.name == name:
            return tool
    names = ", ".join(tool.name for tool in tools)
    raise ArgumentsError(f"There is no tool {name!r}. There are: {names}.")
