"""Tests of the verb that times the lines of a receiver."""

from __future__ import annotations

import sys

import pytest
from django.core import management
from django.core.management import BaseCommand, CommandError
from django.dispatch import Signal

from tests.tracing.command_line import code_of, error_of, run
from tracing.instrumentation import line_times
from tracing.management.verbs import profile as verb

needs_monitoring = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring came with Python 3.12"
)
rung = Signal()


def answer(sender, **kwargs):
    return len(str(sender))


class Ring(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--times", type=int, default=1)
        parser.add_argument("--ends", default="")

    def handle(self, *args, **options):
        for _ in range(options["times"]):
            rung.send("bell")
        self.stdout.write("rung")
        if options["ends"] == "error":
            raise CommandError("The rope broke.")
        if options["ends"] == "interrupt":
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def ring(monkeypatch):
    """Have a command that calls a receiver."""
    rung.connect(answer)
    known = management.get_commands()

    def commands():
        return {**known, "ring": Ring()}

    monkeypatch.setattr(verb, "get_commands", commands)
    monkeypatch.setattr(management, "get_commands", commands)
    yield
    rung.disconnect(answer)


@needs_monitoring
def test_lines_are_shown_after_what_the_command_prints(capsys):
    shown = run("profile", "test_profile.answer", "--run", "ring --times 3")

    assert capsys.readouterr().out == "rung\n"
    assert "3 calls, " in shown
    assert "def answer(sender, **kwargs):" in shown
    assert "return len(str(sender))" in shown


@needs_monitoring
def test_json_is_alone_on_stdout(capsys):
    shown = run("profile", "test_profile.answer", "--run", "ring", "--format", "json")

    assert shown.startswith("{")
    assert '"calls": 1' in shown
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "rung\n")


@needs_monitoring
def test_command_that_is_interrupted_is_reported():
    assert "2 calls, " in run(
        "profile", "test_profile.answer", "--run", "ring --times 2 --ends interrupt"
    )


@needs_monitoring
def test_command_that_fails_fails():
    code, message = error_of("profile", "test_profile.answer", "--run", "ring --ends error")

    assert (code, message) == (1, "The rope broke.")


@needs_monitoring
def test_receiver_that_was_not_called_is_said_to_be_so():
    code, shown = code_of("profile", "test_profile.answer", "--run", "ring --times 0")

    assert code == 1
    assert "answer was not called. Why: manage.py tracing why-not" in shown


@needs_monitoring
def test_unknown_receiver_is_answered_with_near_ones():
    code, message = error_of("profile", "test_profile.answr", "--run", "ring")

    assert code == 2
    assert "test_profile.answer" in message


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("", "There is no management command '' to run."),
        ("no_such --flag", "There is no management command 'no_such' to run."),
        ("ring 'half", "--run cannot be read: No closing quotation."),
    ],
)
def test_what_is_to_be_run_must_be_a_command(command, told):
    assert error_of("profile", "test_profile.answer", "--run", command) == (2, told)


@pytest.mark.thorough
def test_python_before_3_12_is_told(monkeypatch):
    monkeypatch.setattr(line_times, "_monitoring", None)
    code, message = error_of("profile", "test_profile.answer", "--run", "ring")

    assert code == 2
    assert message.startswith("Timing lines needs Python 3.12 or newer; this is 3.")
