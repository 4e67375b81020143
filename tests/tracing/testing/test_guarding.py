"""Tests of ``pytest --tracing-guard``."""

from __future__ import annotations

import re

import pytest

pytest_plugins = ["pytester"]

HEAD = "The test leaves signals otherwise than it found them:"


@pytest.fixture
def guarded(run):
    """Return a function that runs tests with the guard."""

    def guarded(tests: str, *arguments: str, **named: str) -> pytest.RunResult:
        return run(tests, "--tracing-guard", *arguments, **named)

    return guarded


def found(result):
    """Return the lines of what was left, without their dash."""
    return [
        # Where pytest has made the folder, no root of the project stands above.
        re.sub(r"/\S+/", "", line[2:])
        for line in result.stdout.lines
        if line.startswith("- ")
    ]


@pytest.mark.thorough
def test_a_connected_receiver_fails_the_test_that_left_it_and_no_other(guarded):
    result = guarded("""
        import parcels

        def test_before():
            parcels.sent.send(None)

        def test_connects():
            parcels.sent.connect(parcels.weigh)

        def test_after():
            assert [entry[1]() for entry in parcels.sent.receivers] == [parcels.pack]
    """)

    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_connects*", HEAD])
    assert found(result) == ["parcels.weigh is still connected to sent: test_it.py:7"]


def test_a_disconnected_receiver_is_named_and_connected_again(guarded):
    result = guarded("""
        import parcels

        def test_disconnects():
            parcels.sent.disconnect(
                parcels.pack,
            )

        def test_after():
            assert [entry[1]() for entry in parcels.sent.receivers] == [parcels.pack]
    """)

    result.assert_outcomes(passed=2, errors=1)
    assert found(result) == ["parcels.pack is disconnected from sent: test_it.py:4"]


def test_of_what_is_disconnected_the_line_that_connected_it_is_told_if_it_was_seen(guarded):
    result = guarded("""
        import parcels
        import pytest

        @pytest.fixture(scope="module", autouse=True)
        def weighed():
            parcels.lost.connect(parcels.weigh)
            yield
            parcels.lost.disconnect(parcels.weigh)

        def test_disconnects():
            parcels.lost.disconnect(parcels.weigh)

        def test_last():
            pass
    """)

    assert found(result) == [
        "parcels.weigh is disconnected from lost: test_it.py:11 (connected: test_it.py:6)"
    ]


@pytest.mark.thorough
def test_a_list_that_is_emptied_or_replaced_is_a_mute(guarded):
    result = guarded("""
        import parcels

        def test_replaces():
            parcels.sent.receivers = []

        def test_empties():
            parcels.sent.receivers.clear()

        def test_after():
            assert [entry[1]() for entry in parcels.sent.receivers] == [parcels.pack]
    """)

    result.assert_outcomes(passed=3, errors=2)
    left = (
        "parcels.pack is still muted on sent: its list of receivers was emptied or replaced by hand"
    )
    assert found(result) == [left, left]


@pytest.mark.thorough
def test_a_mute_that_is_left_open_is_named_with_its_line(guarded):
    result = guarded("""
        import parcels
        from tracing.testing import mute

        muted = mute(parcels.pack)

        def test_mutes():
            muted.__enter__()

        def test_after():
            assert [entry[1]() for entry in parcels.sent.receivers] == [parcels.pack]
    """)

    result.assert_outcomes(passed=2, errors=1)
    assert found(result) == ["parcels.pack is still muted on sent: test_it.py:7"]


@pytest.mark.thorough
def test_a_method_that_is_left_replaced_is_found_on_a_signal_and_on_the_class(guarded):
    result = guarded("""
        import parcels
        import pytest
        from django.dispatch import Signal
        from unittest import mock
        from tracing.testing import capture_dispatches

        @pytest.fixture(scope="module")
        def quiet():
            with mock.patch.object(parcels.lost, "send"):
                yield

        @pytest.fixture(scope="class")
        def careless():
            parcels.lost.send_robust = print

        def test_of_a_module(quiet):
            with capture_dispatches():
                pass

        class TestCareless:
            def test_of_a_class(self, careless):
                pass

        def test_on_a_signal():
            parcels.sent.send = print

        def test_on_the_class():
            mock.patch.object(Signal, "send").start()

        def test_after():
            assert "send" not in vars(parcels.sent)
            parcels.sent.send(None)
    """)

    result.assert_outcomes(passed=5, errors=3)
    assert found(result) == [
        "lost.send_robust() is still replaced, left by the fixture test_it.py::careless",
        "sent.send() is still replaced",
        "Signal.send() is still replaced",
    ]


@pytest.mark.thorough
def test_what_a_test_cleans_up_is_no_fault_of_it(guarded):
    result = guarded("""
        import parcels
        import pytest
        from tracing.testing import mute

        @pytest.fixture
        def weighed():
            parcels.sent.connect(parcels.weigh)
            yield
            parcels.sent.disconnect(parcels.weigh)

        class Scale:
            def __init__(self):
                self.self = self
                parcels.sent.connect(self.weigh)

            def weigh(self, **named):
                pass

        @pytest.fixture
        def scale():
            return Scale()

        def test_by_a_fixture(weighed):
            pass

        def test_by_dying():
            def weigh(**named):
                pass
            parcels.sent.connect(weigh)

        def test_by_dying_in_a_circle():
            Scale()

        def test_with_what_pytest_holds_longer(scale):
            pass

        def test_again():
            parcels.sent.disconnect(parcels.pack)
            parcels.sent.connect(parcels.pack)

        def test_by_a_block():
            with mute(parcels.sent):
                pass

        def test_in_a_signal_of_its_own():
            from django.dispatch import Signal
            test_in_a_signal_of_its_own.own = Signal()
            test_in_a_signal_of_its_own.own.connect(parcels.weigh)
    """)

    result.assert_outcomes(passed=7)


@pytest.mark.thorough
def test_what_a_module_connects_when_it_is_imported_is_no_leak(guarded):
    result = guarded(
        """
        import parcels

        def test_imports():
            import lazy

        def test_the_connection_stays():
            assert len(parcels.sent.receivers) == 2

        def test_calls():
            import lazy
            lazy.connect(parcels.lost)

        def test_calls_what_it_is_first_to_import():
            import lazier
            lazier.connect()
        """,
        lazy="""
        import parcels

        def receive(**named):
            pass

        def connect(signal):
            signal.connect(receive)

        connect(parcels.sent)
        """,
        lazier="""
        import parcels

        def receive(**named):
            pass

        def connect():
            parcels.lost.connect(receive)
        """,
    )

    result.assert_outcomes(passed=4, errors=2)
    assert found(result) == [
        "lazy.receive is still connected to lost: lazy.py:7",
        "lazier.receive is still connected to lost: lazier.py:7",
    ]


@pytest.mark.thorough
def test_what_fixtures_of_several_tests_connect_is_no_leak_of_the_first(guarded):
    result = guarded("""
        import unittest
        import parcels
        import pytest
        from tracing.testing import mute

        @pytest.fixture(scope="session")
        def session():
            parcels.sent.connect(parcels.weigh)
            yield
            parcels.sent.disconnect(parcels.weigh)

        @pytest.fixture(scope="module", autouse=True)
        def module(request):
            parcels.sent.disconnect(parcels.pack)
            request.getfixturevalue("session")
            yield
            parcels.sent.connect(parcels.pack)

        @pytest.fixture(scope="class")
        def muted():
            with mute(parcels.weigh):
                yield

        @pytest.mark.usefixtures("muted")
        class TestMuted:
            def test_first(self):
                assert len(parcels.sent.receivers) == 1

            def test_second(self):
                pass

        class Case(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                parcels.lost.connect(parcels.weigh)
                cls.addClassCleanup(parcels.lost.disconnect, parcels.weigh)

            def test_first(self):
                assert len(parcels.lost.receivers) == 1

            def test_second(self):
                pass
    """)

    result.assert_outcomes(passed=4)


@pytest.mark.thorough
def test_a_fixture_of_several_tests_that_leaves_something_is_named(guarded):
    result = guarded("""
        import parcels
        import pytest

        @pytest.fixture(scope="module")
        def careless():
            parcels.sent.connect(parcels.weigh)

        def test_first(careless):
            pass

        def test_second(careless):
            parcels.lost.connect(parcels.pack)
    """)

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_second*"])
    assert found(result) == [
        "parcels.pack is still connected to lost: test_it.py:12",
        "parcels.weigh is still connected to sent: test_it.py:6, left by the fixture test_it.py::careless",
    ]


@pytest.mark.thorough
def test_a_test_that_fails_by_itself_is_put_right_and_not_blamed_again(guarded):
    result = guarded("""
        import parcels

        def test_fails():
            parcels.sent.connect(parcels.weigh)
            raise ValueError

        def test_after():
            assert len(parcels.sent.receivers) == 1
    """)

    result.assert_outcomes(passed=1, failed=1)


def test_a_marker_allows_and_a_pattern_ignores(guarded):
    result = guarded(
        """
        import parcels
        import pytest

        @pytest.mark.tracing_guard(False)
        def test_allowed():
            parcels.sent.connect(parcels.weigh)

        def test_keeps_what_was_allowed():
            assert len(parcels.sent.receivers) == 2
            parcels.lost.connect(parcels.pack)
        """,
        ini="tracing_guard_ignore = parcels.pa*\n",
    )

    result.assert_outcomes(passed=2)


@pytest.mark.thorough
def test_the_marker_and_the_fixture_guard_single_tests(run):
    result = run("""
        import parcels
        import pytest

        @pytest.mark.tracing_guard
        def test_marked():
            parcels.sent.connect(parcels.weigh)

        def test_with_the_fixture(signal_guard):
            assert signal_guard.left() == []
            parcels.sent.connect(parcels.weigh)
            (left,) = signal_guard.left()
            assert (left.change, left.receiver, left.line) == ("connected", "parcels.weigh", 10)

        def test_free():
            parcels.sent.connect(parcels.weigh)
    """)

    result.assert_outcomes(passed=3, errors=2)


@pytest.mark.thorough
def test_the_setting_guards_all_and_leaves_nothing_in_django(run):
    from django.dispatch import Signal

    before = Signal.connect.__code__

    result = run(
        """
        import parcels
        from tracing.testing import capture_dispatches

        def test_captured():
            with capture_dispatches():
                parcels.sent.send(None)
            parcels.sent.connect(parcels.weigh)
        """,
        ini="tracing_guard = true\n",
    )

    result.assert_outcomes(passed=1, errors=1)
    assert found(result) == ["parcels.weigh is still connected to sent: test_it.py:7"]
    assert Signal.connect.__code__ is before


def test_a_marker_with_something_else_is_a_mistake_of_the_project(run):
    result = run("""
        import pytest

        @pytest.mark.tracing_guard("no")
        def test_typo():
            pass
    """)

    result.stderr.fnmatch_lines(["*tracing_guard takes True or False: test_it.py::test_typo"])
