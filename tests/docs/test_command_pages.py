"""The pages of the command against the command: verbs, options and JSON fields are real."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest

from tests.tracing.analysis.building import TraceBuilder
from tracing.analysis.comparison import Change
from tracing.analysis.regression import Sample
from tracing.management.commands.tracing import Command
from tracing.management.verbs import VERBS
from tracing.presentation import documents

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [
    DOCS / "reference" / "commands.md",
    DOCS / "guides" / "wiring.md",
    DOCS / "hazards" / "index.md",
]
SHOWN = re.compile(r"^manage\.py (tracing [^\n#]*)", re.MULTILINE)


def parser() -> ArgumentParser:
    return Command().create_parser("manage.py", "tracing")


def lines():
    return [
        pytest.param(line.strip(), id=line.strip())
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for line in SHOWN.findall(block)
    ]


@pytest.mark.parametrize("line", lines())
def test_command_shown_is_understood(line):
    words = shlex.split(line)[1:]

    assert parser().parse_args(words).verb == words[0]


def test_every_verb_has_its_section_and_its_line_in_the_table():
    text = PAGES[0].read_text()
    table = re.findall(r"\[`([a-z-]+)`\]\(#[a-z-]+\)", text.partition("\n## ")[0])
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)

    assert sorted(table) == sorted(verb.name for verb in VERBS)
    for verb in VERBS:
        assert any(verb.name in section.split() for section in sections), verb.name


def test_every_option_is_named_on_the_pages_or_explained_by_help():
    for verb in VERBS:
        sub = ArgumentParser()
        verb.add_arguments(sub)
        for action in sub._actions:
            documented = action.help or action.choices or action.dest in {"after", "format"}
            assert documented, f"{verb.name} {action.option_strings}"


def test_json_fields_are_those_of_the_pages():
    text = PAGES[0].read_text()
    fields = [
        *documents.statistics_document(_Statistics()),
        *documents.regression_document(_Regression()),
        *documents.change_document(Change("a", 1, (), None, None)),
        *(documents._sample(Sample("a")) or {}),
        *(documents._node(_node()) or {}),
    ]

    assert [field for field in fields if f"`{field}`" not in text] == []


class _Statistics:
    def __getattr__(self, name):
        return 0


class _Regression:
    receiver, verdicts, before, after = "a", [], None, None
    p_time = p_queries = p_errors = None


def _node():
    from tracing.analysis.tree import fold

    build = TraceBuilder()
    build.dispatch()
    return fold(build.build())[0]
