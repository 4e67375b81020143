"""Tests of the tools for agents: what they take, and the command line that answers."""

from __future__ import annotations

import pytest

from tracing.agents.tools import TOOLS, ArgumentsError, tool_named
from tracing.management.commands.tracing import Command


def line(name, **arguments):
    return tool_named(name).command_line(arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("find_traces", {}, ["list", "--format=json", "--limit=50"]),
        ("find_traces", {"failed": False}, ["list", "--format=json", "--limit=50"]),
        (
            "find_traces",
            {"failed": True, "kind": "task", "search": "make_sale"},
            ["list", "--format=json", "--limit=50", "--kind=task", "--failed", "--", "make_sale"],
        ),
        ("show_trace", {"trace": "last"}, ["show", "--format=json", "--", "last"]),
        (
            "why_not",
            {"receiver": "make_sale", "sender": "orders.Order"},
            ["why-not", "--format=json", "--sender=orders.Order", "--", "make_sale"],
        ),
        (
            "explain",
            {"what": "orders.Order", "signal": "post_save"},
            ["explain", "--format=json", "--", "orders.Order", "post_save"],
        ),
    ],
)
def test_arguments_become_a_command_line(name, arguments, expected):
    assert line(name, **arguments) == expected


def test_text_of_an_agent_is_never_an_option():
    assert line("show_trace", trace="--traceback")[-2:] == ["--", "--traceback"]
    assert line("hazards", since="--fail-on=info")[-1] == "--since=--fail-on=info"


def test_later_parts_ask_for_as_much_more_up_to_the_same_moment():
    later = tool_named("find_traces").command_line({}, start=40, until_ms=1_700_000_000_000)

    assert later == ["list", "--format=json", "--limit=90", "--until=1700000000000"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("why_not", {"reciever": "x"}, "takes no 'reciever'. Did you mean receiver?"),
        ("why_not", {}, "why_not needs receiver: dotted path or its end."),
        ("why_not", {"receiver": 3}, "receiver has to be a string, not 3."),
        ("find_traces", {"failed": "yes"}, "failed has to be true or false, not 'yes'."),
        ("hazards", {"severity": "bad"}, "severity is one of error, warning, info; not 'bad'."),
    ],
)
def test_wrong_arguments_are_told_with_the_right_ones(name, arguments, message):
    with pytest.raises(ArgumentsError) as told:
        line(name, **arguments)

    assert message in str(told.value)


def test_an_unknown_tool_is_told_with_those_there_are():
    with pytest.raises(ArgumentsError, match=r"There is no tool 'traces'\. There are: find_traces"):
        tool_named("traces")


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
def test_the_command_knows_every_option_of_a_tool(tool):
    values = {
        name: True if each.is_switch else (each.choices or ("2h",))[0]
        for name, each in tool.arguments.items()
    }
    parser = Command().create_parser("manage.py", "tracing")

    options = parser.parse_args(tool.command_line(values, until_ms=1_700_000_000_000))

    assert (options.verb, options.format) == (tool.verb, "json")
