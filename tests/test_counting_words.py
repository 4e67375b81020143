"""Whatever counts in a log message, on a page or in the terminal says "1 trace", not "1 traces"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "tracing"
NOUNS = (
    "attempts|bypasses|bytes|calls|callbacks|columns|connections|dispatches|errors|files|hazards|"
    "instances|items|keys|levels|lines|lists|mails|messages|models|occurrences|pairs|places|processes|"
    "queries|receivers|recipients|rows|searches|segments|senders|signals|spans|times|traces|values|writes"
)
MANY = rf" (?!in |calls receivers)(?:[a-z]+ )?(?:{NOUNS})\b(?! its)"
AFTER_A_NUMBER = re.compile(rf"\A{MANY}")
IN_A_LOG_MESSAGE = re.compile(rf"%d{MANY}")
ON_A_PAGE = re.compile(rf"\}}\}}{MANY}")
IN_A_SCRIPT = re.compile(rf"\$\{{[^{{}}]+\}}{MANY}")
NEVER_ONE = (
    "{{ rows|length }} traces have one id",
    "one of {{ parents }} traces",
    " === 1 ?",
    "the lines {{ first_line",
)
"""What is shown only where there are several, or has another text for one."""


def numbers_before_nouns(source):
    """Yield each number that stands before a noun in the plural, without another case for one."""
    tree = ast.parse(source)
    decided = {
        id(inner)
        for choice in ast.walk(tree)
        if isinstance(choice, ast.IfExp)
        for inner in ast.walk(choice)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and id(node) not in decided:
            for value, text in zip(node.values, node.values[1:], strict=False):
                if (
                    isinstance(value, ast.FormattedValue)
                    and isinstance(text, ast.Constant)
                    and AFTER_A_NUMBER.match(text.value)
                ):
                    yield f"{{{ast.unparse(value.value)}}}{text.value}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from IN_A_LOG_MESSAGE.findall(node.value)


def files(ending):
    return sorted(
        path for path in ROOT.rglob(f"*.{ending}") if not {"vendor", "migrations"} & set(path.parts)
    )


@pytest.mark.thorough
def test_code_counts_by_plural():
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in files("py")
        for text in numbers_before_nouns(path.read_text())
    }

    assert found == set()


def test_pages_and_scripts_count_by_plural():
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for ending, expression in (("html", ON_A_PAGE), ("js", IN_A_SCRIPT))
        for path in files(ending)
        for line in path.read_text().splitlines()
        if expression.search(line) and not any(text in line for text in NEVER_ONE)
    }

    assert found == set()


def test_what_is_looked_for_is_found():
    source = 'f"{n} traces went"; f"{n} other lines"; "%d traces were lost"; f"{n} is enough"'

    assert len(list(numbers_before_nouns(source))) == 3
    assert list(numbers_before_nouns('"one trace" if n == 1 else f"{n} traces"')) == []
    assert ON_A_PAGE.search("{{ count }} traces")
    assert IN_A_SCRIPT.search("`${n} rows`")
