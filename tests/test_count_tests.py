"""The last lines of CI: which tests failed in which run, and how many there were."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PASSED = '<testcase classname="tests.core.test_a" name="test_it" />'
SKIPPED = '<testcase classname="tests.core.test_a" name="test_no"><skipped message="no server"/></testcase>'
FAILED = (
    '<testcase classname="tests.core.test_b" name="test_it[1-x]">'
    '<failure message="assert 1 == 2&#10;  where 1 = f()">the whole story</failure></testcase>'
)
BROKEN = (
    '<testcase classname="" name="tests.core.test_c"><error>collection failure</error></testcase>'
)


@pytest.fixture(scope="module")
def count_tests():
    """Return the script as a module."""
    path = Path(__file__).resolve().parents[1] / "scripts" / "count_tests.py"
    spec = importlib.util.spec_from_file_location("count_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path, *cases, reruns=0):
    """Write the report of a run; a test that is run again stands there twice, and counts once."""
    counts = [
        f'{name}="{sum(mark in case for case in cases)}"'
        for name, mark in (("failures", "<failure"), ("errors", "<error"), ("skipped", "<skipped"))
    ]
    path.write_text(
        f'<testsuites><testsuite name="pytest" tests="{len(cases) - reruns}" {" ".join(counts)}>'
        f"{''.join(cases)}</testsuite></testsuites>"
    )
    return str(path)


def test_tests_of_all_reports_are_counted_in_one_line(count_tests, tmp_path, capsys):
    first = write(tmp_path / "main.xml", PASSED, PASSED.replace("it", "more"), SKIPPED)
    second = write(tmp_path / "python3.13.xml", PASSED)

    assert count_tests.main([first, second]) == 0
    assert capsys.readouterr().out == "3 passed, 0 failed, 1 skipped\n"


def test_failed_tests_are_named_with_their_run_before_the_last_line(count_tests, tmp_path, capsys):
    first = write(tmp_path / "main.xml", PASSED, FAILED)
    second = write(tmp_path / "python3.13.xml", BROKEN, PASSED)

    assert count_tests.main([first, second]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "failed in main: tests.core.test_b::test_it[1-x]: assert 1 == 2 where 1 = f()",
        "failed in python3.13: tests.core.test_c: collection failure",
        "2 passed, 2 failed, 0 skipped",
    ]


def test_test_that_passes_when_run_again_is_named(count_tests, tmp_path, capsys):
    other = PASSED.replace("test_it", "test_other")
    report = write(tmp_path / "main.xml", PASSED, other, PASSED, reruns=1)

    assert count_tests.main([report]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "passed only when run again in main: tests.core.test_a::test_it",
        "2 passed, 0 failed, 0 skipped",
    ]


def test_test_that_fails_again_has_failed(count_tests, tmp_path, capsys):
    again = FAILED.partition("<failure")[0] + "</testcase>"
    assert count_tests.main([write(tmp_path / "main.xml", again, FAILED, reruns=1)]) == 1
    assert "again" not in capsys.readouterr().out


def test_a_run_without_tests_has_not_passed(count_tests, tmp_path, capsys):
    assert count_tests.main([write(tmp_path / "a.xml", PASSED), write(tmp_path / "b.xml")]) == 1
    assert "b.xml holds no test\n1 passed" in capsys.readouterr().out
    assert count_tests.main([]) == 1
