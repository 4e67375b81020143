"""Tests of the wiring of kinds of processes compared."""

from __future__ import annotations

from functools import partial

import pytest

from tests.tracing.wirings import DAY, HOUR, MINUTE, connected
from tests.tracing.wirings import version as version_at
from tracing.analysis.process_wiring import (
    as_dict,
    differences,
    fingerprint_of,
    kinds_of,
)

NOW = 1_800_000_000_000_000_000
version = partial(version_at, now_ns=NOW)


def compare(*versions):
    return differences(kinds_of(versions, NOW), NOW)


def missing(*versions):
    """Return (receiver, kinds in which it is missing) of each hazard."""
    return [
        (each.receiver.name.rpartition(".")[2], [place.kind for place in each.missing])
        for each in compare(*versions)
        if each.is_hazard
    ]


def excuses(*versions):
    """Return the reasons why what is not connected need not be."""
    assert missing(*versions) == []
    return [place.excuse for each in compare(*versions) for place in each.excused]


def test_receiver_of_the_web_is_missing_in_the_worker():
    (found,) = compare(version("web", "count", "index"), version("worker celery", "count"))

    assert found.receiver.name == "shop.receivers.index"
    assert [(each.kind, each.file, each.line) for each in found.connected] == [
        ("web", "/srv/shop/apps.py", 9)
    ]
    assert [each.kind for each in found.missing] == ["worker celery"]
    assert found.is_hazard


def test_same_receiver_for_another_sender_is_another_connection():
    web = version("web", connected("index", sender="shop.Order"))
    worker = version("worker rq", connected("index", sender="shop.Sale"))

    assert missing(web, worker) == [("index", ["worker rq"]), ("index", ["web"])]


def test_processes_that_agree_have_no_difference():
    moved = connected("index", file="/srv/shop/signals.py", line=40, is_late=True)

    assert compare(version("web", "index"), version("command nightly", moved)) == []
    assert compare(version("web", "index")) == []
    assert compare() == []


def test_receiver_of_a_package_is_no_hazard():
    (found,) = compare(version("web", connected("index", mine=False)), version("worker celery"))

    assert [place.kind for place in found.missing] == ["worker celery"]
    assert not found.is_hazard


def test_dead_receiver_is_not_connected():
    assert compare(version("web", connected("index", is_alive=False)), version("worker rq")) == []


# -- since when


def test_difference_began_when_the_receiver_came():
    (found,) = compare(
        version("web", release="1.0", first=3 * DAY, last=2 * DAY),
        version("web", "index", release="1.1", first=2 * DAY),
        version("worker rq", release="1.0", first=3 * DAY, last=2 * DAY),
        version("worker rq", release="1.1", first=2 * DAY - MINUTE),
    )

    assert (found.since.kind, found.since.release) == ("web", "1.1")
    (worker,) = found.missing
    assert (worker.release, worker.was_connected) == ("1.0", False)


def test_difference_began_when_the_receiver_went():
    (found,) = compare(
        version("web", "index", release="1.0", first=3 * DAY),
        version("web", "index", "count", release="1.1", first=DAY),
        version("worker rq", "index", "count", release="1.0", first=3 * DAY, last=2 * DAY),
        version("worker rq", "count", release="1.1", first=DAY),
    )

    assert (found.since.kind, found.since.release) == ("worker rq", "1.1")
    assert found.since.since_ns == NOW - DAY
    assert found.missing[0].was_connected


# -- what counts


def test_newest_processes_of_a_kind_count():
    old = version("web", "index", first=2 * DAY, last=DAY + MINUTE)
    new = version("web", first=DAY)

    assert compare(old, new, version("worker rq", first=2 * DAY)) == []


def test_processes_of_a_kind_that_live_side_by_side_count_together():
    one = version("web", "index", first=2 * HOUR)
    other = version("web", first=2 * HOUR, last=2 * MINUTE)

    assert missing(one, other, version("worker rq")) == [("index", ["worker rq"])]
    assert missing(one, other, version("worker rq", "index")) == []


def test_release_that_was_taken_back_does_not_count():
    taken_back = version("web", "index", release="1.1", first=2 * HOUR, last=HOUR)
    again = version("web", release="1.0", first=3 * DAY, started=HOUR)

    assert compare(taken_back, again, version("worker rq", release="1.0")) == []


def test_kind_that_was_not_heard_of_for_a_week_is_not_compared():
    old = version("command yearly", first=30 * DAY, last=8 * DAY)

    assert compare(version("web", "index"), old) == []
    assert [kind.name for kind in kinds_of([version("web"), old], NOW)] == ["web"]


def test_web_and_workers_are_named_first():
    told = [version(kind) for kind in ("tests", "command a", "worker rq", "shell", "web")]

    assert [kind.name for kind in kinds_of(told, NOW)] == [
        "web", "worker rq", "command a", "shell", "tests",
    ]  # fmt: skip


# -- what is rightly different


def test_parent_that_reloads_and_collector_are_not_compared():
    web = version("web", "index")

    assert compare(web, version("autoreloader"), version("collector")) == []


@pytest.mark.parametrize("name", ["migrate", "collectstatic", "celery beat"])
def test_command_that_sends_nothing_of_the_project_is_not_compared(name):
    assert compare(version("web", "index"), version(f"command {name}")) == []


def test_process_that_has_just_begun_may_yet_import_what_connects_later():
    lazy = connected("index", is_late=True)
    young = version("worker rq", first=MINUTE)

    assert excuses(version("web", lazy), young) == [
        "not yet: it has just begun, and an import connects this later"
    ]
    assert missing(version("web", "index"), young) == [("index", ["worker rq"])]
    assert missing(version("web", lazy), version("worker rq")) == [("index", ["worker rq"])]
    # A command is over by now: nothing is imported in it any more.
    assert missing(version("web", lazy), version("command nightly", first=MINUTE)) == [
        ("index", ["command nightly"])
    ]


def test_command_that_has_not_run_since_is_not_judged():
    command = version("command nightly", first=DAY, last=DAY - MINUTE)

    assert excuses(version("web", "index", first=HOUR), command) == [
        "not yet: it has not run since this was connected"
    ]
    assert missing(version("web", "index", first=2 * DAY), command) == [
        ("index", ["command nightly"])
    ]


def test_worker_of_an_older_release_is_not_judged_by_a_newer_one():
    web = version("web", "index", release="1.1", first=HOUR)
    worker = version("worker rq", release="1.0", first=DAY)

    assert excuses(web, worker) == ["it ran last with release 1.0, which connects it nowhere"]
    assert missing(web, version("web", "index", release="1.0", first=DAY, last=HOUR), worker) == [
        ("index", ["worker rq"])
    ]


def test_receiver_that_was_taken_out_is_not_missing_where_it_was_taken_out_first():
    before = version("web", "index", first=2 * DAY, last=2 * HOUR)
    after = version("web", first=HOUR)
    command = version("command nightly", "index", first=2 * DAY, last=3 * HOUR)

    assert excuses(before, after, command) == ["it was taken out; the others have not run since"]


@pytest.mark.parametrize(
    "signal",
    [
        "django.core.signals.request_finished",
        "django.db.models.signals.post_migrate",
        "django.test.signals.setting_changed",
        "celery.signals.task_prerun",
    ],
)
def test_signal_that_is_not_sent_in_a_kind_of_process_need_not_be_heard_there(signal):
    others = [version("web", connected("index", signal=signal)), version("command nightly")]

    assert excuses(*others) == ["this signal is not sent there"]


def test_signal_of_celery_is_missed_in_its_worker():
    web = version("web", connected("index", signal="celery.signals.task_prerun"))

    assert missing(web, version("worker celery"), version("worker rq")) == [
        ("index", ["worker celery"])
    ]


@pytest.mark.parametrize("kind", ["tests", "shell"])
def test_what_only_tests_or_a_shell_connect_is_missing_nowhere(kind):
    assert excuses(version(kind, "index"), version("web")) == [
        "only tests, a shell or a command for itself connect it"
    ]


def test_what_a_command_connects_for_itself_is_missing_nowhere():
    own = connected("watch", file="/srv/shop/management/commands/nightly.py", line=3)
    late = connected("watch", file="/srv/shop/imports.py", line=3)

    assert excuses(version("command nightly", own), version("web")) == [
        "only tests, a shell or a command for itself connect it"
    ]
    assert missing(version("command nightly", late), version("web")) == [("watch", ["web"])]


def test_tests_import_what_they_test():
    assert excuses(version("web", "index"), version("tests")) == ["tests import what they test"]


# -- fingerprints and JSON


def test_fingerprint_is_of_what_is_connected_wherever_that_is_done():
    here = [connected("count"), connected("index", line=1, at_ns=5)]
    there = [connected("index", file="/other.py", is_late=True), connected("count")]

    assert fingerprint_of(here) == fingerprint_of(there)
    assert fingerprint_of(here) != fingerprint_of(here[:1])
    assert fingerprint_of([*here, connected("gone", is_alive=False)]) == fingerprint_of(here)


def test_json_names_kinds_and_both_sides():
    kinds = kinds_of(
        [version("web", "index", release="1.1"), version("worker rq", release="1.1")], NOW
    )
    found = as_dict(kinds, differences(kinds, NOW))

    assert [(each["kind"], each["release"], each["connections"]) for each in found["kinds"]] == [
        ("web", "1.1", 1),
        ("worker rq", "1.1", 0),
    ]
    (difference,) = found["differences"]
    assert difference["receiver"] == "shop.receivers.index"
    assert (difference["hazard"], difference["since_release"]) == (True, "1.1")
    assert difference["connected"] == [
        {
            "kind": "web",
            "since_release": "1.1",
            "since_ns": NOW - 2 * HOUR,
            "file": "/srv/shop/apps.py",
            "line": 9,
        }
    ]
    assert difference["missing"] == [
        {
            "kind": "worker rq",
            "since_release": "1.1",
            "since_ns": NOW - 2 * HOUR,
            "was_connected": False,
        }
    ]
    assert difference["not_judged"] == []
