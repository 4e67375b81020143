from __future__ import annotations

import pytest
from django.test import override_settings

from tracing.conf import FIELDS, Settings, get_settings, read, store_alias


def test_nothing_given_means_the_defaults_and_no_problem():
    assert read({}) == (Settings(), [])
    assert set(FIELDS) == {name.upper() for name in vars(Settings())}


def test_what_is_not_a_dictionary_is_a_problem_and_means_the_defaults():
    settings, problems = read(["ENABLED"])

    assert settings == Settings()
    assert [(check, message) for check, message, _hint in problems] == [
        ("tracing.W001", "TRACING is a list; it must be a dictionary.")
    ]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("ENABELD", "Did you mean 'ENABLED'?"),
        ("sample_ratio", "Did you mean 'SAMPLE_RATIO'?"),
        ("NOTHING LIKE IT", "The keys are listed in docs/reference/settings.md."),
        (5, "The keys are listed in docs/reference/settings.md."),
    ],
)
def test_unknown_key_is_named_with_what_was_meant(key, hint):
    settings, problems = read({key: True})

    assert settings == Settings()
    assert problems == [("tracing.W001", f"TRACING has an unknown key {key!r}.", hint)]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ENABLED", 1, "True or False"),
        ("SAMPLE_RATIO", 1.5, "a number from 0.0 to 1.0"),
        ("SAMPLE_RATIO", True, "a number from 0.0 to 1.0"),
        ("SAMPLE_RATIO", float("nan"), "a number from 0.0 to 1.0"),
        ("RELEASE", None, "a string"),
        ("EXPORTERS", "database", "a list"),
        ("LOG", [], "a dictionary"),
        ("MINE", "shop.*", "a list"),
    ],
)
def test_wrong_value_is_named_and_its_default_is_used(key, value, expected):
    settings, problems = read({key: value})

    assert settings == Settings()
    assert problems == [
        (
            "tracing.W002",
            f"TRACING[{key!r}] is {value!r}; it must be {expected}.",
            "Until then its default is used: docs/reference/settings.md.",
        )
    ]


def test_values_that_fit_are_taken():
    settings, problems = read(
        {"ENABLED": False, "SAMPLE_RATIO": 1, "EXPORTERS": ("memory",), "LOG": {"PATH": "x"}}
    )

    assert problems == []
    assert (settings.enabled, settings.sample_ratio, settings.exporters, settings.log.path) == (
        False,
        1,
        ["memory"],
        "x",
    )


def test_settings_are_read_anew_when_they_are_overridden():
    before = get_settings()

    with override_settings(TRACING={"RELEASE": "1.2"}):
        inside = get_settings()

    assert inside.release == "1.2"
    assert get_settings() == before


@override_settings(TRACING={"DATABASE": "elsewhere"})
def test_store_is_the_alias_that_is_named():
    assert store_alias() == "elsewhere"


def test_store_is_tracing_where_there_is_such_an_alias_and_else_default(settings):
    settings.TRACING = {}

    with_alias = store_alias()
    databases = {"default": settings.DATABASES["default"]}
    with override_settings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("tracing.conf.django_settings", type("S", (), {"DATABASES": databases}))
        without = store_alias()

    assert (with_alias, without) == ("tracing", "default")


def test_key_that_was_renamed_names_the_new_one():
    _, problems = read({"SENDERS_DENY": ["shop.*"]})

    assert [(found[0], found[2]) for found in problems] == [
        ("tracing.W001", "It is 'EXCLUDE_SENDERS' now: see docs/reference/settings.md.")
    ]


def test_wrong_key_of_a_part_leaves_the_others_in_force_and_no_limit_is_guessed():
    given = {
        "LOG": {"EVERY": "fortnight", "KEEP": 3},
        "PRUNE": {"OLDER_THAN": "7d", "KEEP_FAILED": "yes"},
        "KEEP": {"slow_ms": "5", "else": 0.1},
    }

    settings, problems = read(given)

    assert (settings.log.every_seconds, settings.log.keep) == (0, 3)
    assert settings.prune.older_than is None
    assert settings.keep.rules == {}
    assert [(found.check_id, found.hint) for found in problems] == [
        ("tracing.W017", "See docs/reference/settings.md."),
        ("tracing.W017", "See docs/reference/settings.md."),
        ("tracing.W017", "See docs/reference/settings.md."),
    ]


def test_what_is_no_pattern_is_left_out_of_the_patterns():
    settings, problems = read({"EXCLUDE_SENDERS": ["shop.*", Settings, None]})

    assert settings.exclude_senders == ["shop.*"]
    assert len(problems) == 2


def test_secret_is_not_shown_with_what_is_wrong_with_it():
    settings, [headers, password] = read(
        {"OTLP": {"headers": "Authorization=hunter2"}, "CLICKHOUSE": {"password": b"hunter2"}}
    )

    assert (settings.otlp.headers, settings.clickhouse.password) == (None, "")
    assert [headers.message, password.message] == [
        "TRACING['OTLP'] has a wrong headers: it must be a dictionary of strings.",
        "TRACING['CLICKHOUSE'] has a wrong password: it must be a string.",
    ]
