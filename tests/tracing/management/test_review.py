"""Tests of ``manage.py tracing review``: its formats, its exit codes, what it says of bad records."""

from __future__ import annotations

import json

import pytest

from tests.tracing.analysis.review.building import behaviour, calls, group, write_record
from tests.tracing.command_line import code_of, error_of, run, run_json
from tracing.analysis.review import KINDS
from tracing.analysis.review.records import file_name

PLACED = "shop.signals.order_placed"


@pytest.fixture
def records(tmp_path):
    """Two records: a receiver asks more, and a signal that nobody receives is sent newly."""
    base = write_record(tmp_path / "base", behaviour(group(calls(queries=1))))
    head = write_record(
        tmp_path / "head", behaviour(group(calls(queries=3)), orphans=[(PLACED, "None", 2)])
    )
    return base, head


@pytest.fixture
def same(tmp_path):
    return write_record(tmp_path / "same", behaviour(group(calls())))


def test_json_has_an_entry_for_each_change(records):
    assert run_json("review", *records) == [
        {
            "kind": "queries-changed",
            "signal": "django.db.models.signals.post_save",
            "receiver": "shop.receivers.notify",
            "sender": "shop.Order",
            "tests": ["test_shop.py::test_place"],
            "before": 1,
            "after": 3,
        }
    ]


def test_orphans_of_the_project_are_told_where_nothing_else_explains_them(tmp_path, same):
    head = write_record(tmp_path / "head", behaviour(group(calls()), orphans=[(PLACED, "None", 2)]))

    (found,) = run_json("review", same, head)

    assert (found["kind"], found["receiver"], found["after"]) == ("dispatch-added", None, 2)


def test_text_says_what_changed_where_and_in_which_tests(records):
    assert run("review", *records).splitlines() == [
        "queries-changed     notify on post_save of shop.Order: 1 → 3 queries a call  shop/receivers.py:7",
        "                    test_shop.py::test_place",
        "1 change in 1 test.",
    ]


def test_no_change_is_said_in_every_format_for_people(same):
    assert run("review", same, same) == "No change in 1 test.\n"
    assert "No change" in run("review", same, same, "--format", "markdown")
    assert run("review", same, same, "--format", "github") == ""


def test_markdown_is_a_table_and_the_tests(records):
    text = run("review", *records, "--format", "markdown")

    assert text.startswith("### Signals: 1 change\n\n| change |")
    assert (
        "| queries-changed | `notify on post_save of shop.Order` | 1 → 3 queries a call"
        " | `shop/receivers.py:7` | 1 |" in text
    )
    assert "`test_shop.py::test_place`" in text


def test_github_has_file_and_line(records):
    assert run("review", *records, "--format", "github") == (
        "::warning file=shop/receivers.py,line=7,title=queries-changed::queries-changed: notify on"
        " post_save of shop.Order: 1 → 3 queries a call (test_shop.py::test_place)\n"
    )


def test_github_takes_no_text_for_a_command(tmp_path, same):
    odd = {"receiver": "shop.receivers.notify\n::error::100%", "file": "a,b:c.py"}
    head = write_record(
        tmp_path / "head", behaviour(group(calls(), calls(**odd, name=odd["receiver"])))
    )

    (line,) = run("review", same, head, "--format", "github").splitlines()

    assert "file=a%2Cb%3Ac.py" in line
    assert "%0A::error::100%25" in line


def test_sarif_has_a_rule_for_each_kind_and_a_place_for_each_result(records, tmp_path, same):
    log = json.loads(run("review", *records, "--format", "sarif"))

    assert log["version"] == "2.1.0"
    (done,) = log["runs"]
    rules = [rule["id"] for rule in done["tool"]["driver"]["rules"]]
    assert rules == list(KINDS)
    (result,) = done["results"]
    assert result["ruleId"] == "queries-changed" == rules[result["ruleIndex"]]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "shop/receivers.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 7},
    }


def test_what_has_no_place_is_shown_at_the_test(tmp_path, same):
    head = write_record(tmp_path / "head", behaviour(group(calls()), orphans=[(PLACED, "None", 2)]))

    text = run("review", same, head, "--format", "github")

    assert text.startswith("::warning file=test_shop.py,line=1,title=dispatch-added::")


def test_exit_code_says_whether_there_is_a_change_if_asked(records, same):
    assert run("review", *records)
    assert run("review", same, same, "--fail-on-change")
    assert code_of("review", *records, "--fail-on-change")[0] == 1


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_a_folder_without_a_record_is_exit_code_2(tmp_path, same, name):
    (tmp_path / "empty").mkdir()

    code, message = error_of("review", same, tmp_path / name)

    assert code == 2
    assert f"pytest --tracing-record {tmp_path / name}" in message


def test_another_version_is_refused_by_name(tmp_path, same):
    other = write_record(tmp_path / "other", version=99)

    code, message = error_of("review", same, other)

    assert code == 2
    assert "has format 99" in message


def test_a_line_that_was_cut_off_is_left_out(tmp_path, same):
    write_record(tmp_path / "cut", behaviour(group(calls())))
    path = tmp_path / "cut" / file_name("main")
    path.write_bytes(path.read_bytes() + b'{"record":"test","te')

    assert run("review", same, tmp_path / "cut").endswith("No change in 1 test.\n")


def test_records_without_a_common_test_say_so(tmp_path, same, capsys):
    other = write_record(tmp_path / "other", behaviour(group(calls()), test="test_other.py::test"))

    assert run("review", same, other).endswith("No change in 0 tests.\n")


def test_files_of_several_processes_are_one_record(tmp_path, same):
    write_record(tmp_path / "two", process="gw0")
    write_record(tmp_path / "two", behaviour(group(calls())), process="gw1")

    assert run("review", same, tmp_path / "two") == "No change in 1 test.\n"
