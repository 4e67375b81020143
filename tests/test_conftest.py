"""What the suite's own safety net catches."""

from __future__ import annotations

import gc

import pytest
from django.db.models.signals import post_save
from django.dispatch import Signal
from django.template import engines

import tests.conftest

pytest_plugins = ["pytester"]

CONFTEST = """
from tests.conftest import clean_process, known_processes
"""


@pytest.fixture
def inner(pytester):
    """Return a function that runs one test file under the safety net, in this process."""
    pytester.makeconftest(CONFTEST)

    def run(source):
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:django")

    return run


def test_clean_process_with_a_receiver_left_connected(inner):
    before = tests.conftest.live_receivers(post_save)

    result = inner(
        """
        from django.db.models.signals import post_save

        def careless(**named): ...

        def test_careless():
            post_save.connect(careless)

        def test_innocent():
            assert careless not in [entry[1]() for entry in post_save.receivers]
        """
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*did not clean up: *post_save still has the receiver*careless*"])
    assert tests.conftest.live_receivers(post_save) == before


def test_clean_process_with_a_replaced_send(inner):
    original = Signal.__dict__["send"]

    result = inner(
        """
        from django.dispatch import Signal

        def test_careless():
            Signal.send = lambda self, sender, **named: []
        """
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*did not clean up: Signal.send is another function*"])
    assert Signal.__dict__["send"] is original


@pytest.mark.thorough
def test_clean_process_with_receivers_disconnected_or_dead(inner):
    result = inner(
        """
        from django.db.models.signals import post_save

        def test_disconnected():
            def receiver(**named): ...

            post_save.connect(receiver)
            post_save.disconnect(receiver)

        def test_dead():
            post_save.connect(lambda **named: None)
        """
    )
    gc.collect()

    result.assert_outcomes(passed=2)


@pytest.mark.process
def test_known_processes_with_one_that_the_test_does_not_announce(inner, pytester):
    pytester.makeini("[pytest]\nmarkers = process")

    result = inner(
        """
        import subprocess, sys
        import pytest

        def test_silent():
            subprocess.run([sys.executable, "-c", ""])

        @pytest.mark.process
        def test_announced():
            subprocess.run([sys.executable, "-c", ""])

        def test_alone():
            pass
        """
    )

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*It needs the marker `process`: it started *"])


def test_engines_of_templates_are_taken_up_again_under_the_same_settings(settings):
    before = engines["django"]
    settings.DEBUG = True
    debugging = engines["django"]
    settings.DEBUG = False

    assert engines["django"] is before
    assert (debugging is before, debugging.engine.debug, before.engine.debug) == (
        False,
        True,
        False,
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": ["/elsewhere"]}]
    assert engines["django"].engine.dirs == ["/elsewhere"]
