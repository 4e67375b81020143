"""Every value of ``TRACING`` that a document shows is read without a complaint."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from tracing.analysis.hazards import current
from tracing.conf import read

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```|`(TRACING[^`\n]* = [^`\n]*)`", re.MULTILINE | re.DOTALL)
INSTALLED = re.compile(r"tracing\.install\(globals\(\)[^)]*\)")


def shown(text):
    """Yield each dictionary of settings in a document."""
    for code in filter(lambda found: "TRACING" in found, map("".join, CODE.findall(text))):
        for node in ast.walk(ast.parse(code)):
            match node:
                case ast.Assign(targets=[ast.Name(id="TRACING")], value=value):
                    yield ast.literal_eval(value)
                case ast.Assign(
                    targets=[ast.Subscript(ast.Name(id="TRACING"), ast.Constant(value=key))]
                ):
                    yield {key: ast.literal_eval(node.value)}
    for call in INSTALLED.findall(text):
        keywords = ast.parse(call, mode="eval").body.keywords
        yield {word.arg: ast.literal_eval(word.value) for word in keywords}


EXAMPLES = [
    pytest.param(value, id=f"{page.relative_to(REPOSITORY)}-{number}")
    for page in PAGES
    for number, value in enumerate(shown(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("value", EXAMPLES)
def test_settings_shown_are_right(value):
    assert read(value)[1] == []


@pytest.mark.parametrize("value", EXAMPLES)
def test_hazards_named_in_settings_are_there(value):
    # The rules of a project are in its own modules.
    value = {key: item for key, item in value.items() if key != "HAZARD_RULES"}

    with override_settings(TRACING={**django_settings.TRACING, **value}):
        assert current().problems == []


def test_settings_in_blocks_spans_and_calls_are_found():
    text = (
        '```python\nTRACING = {"A": 1}\nTRACING["B"] = [2]\n```\n`TRACING = {"C": 3}` and '
        '`TRACING["D"] = {}`, `tracing.install(globals(), E=0.1)`\n'
    )

    assert list(shown(text)) == [{"A": 1}, {"B": [2]}, {"C": 3}, {"D": {}}, {"E": 0.1}]
    assert len(EXAMPLES) > 15
