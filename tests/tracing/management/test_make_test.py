"""Tests of ``manage.py tracing make-test``."""

from __future__ import annotations

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path

import tracing
from tests.tracing.analysis.building import label
from tests.tracing.command_line import checkout, error_of, run, store

greeted = Signal()
answered = Signal()


def greet(request):
    greeted.send(None)
    return HttpResponse("hello", status=202)


def answer(**named):
    answered.send(None)


def note(**named):
    pass


urlpatterns = [path("greet/", greet)]


@pytest.fixture
def greeting(settings):
    """Serve a page that sends signals with receivers."""
    settings.ROOT_URLCONF = __name__
    greeted.connect(answer)
    answered.connect(note)
    # Sent by the server's handler when it is recorded, by the client's in the test.
    request_finished.connect(note)
    yield
    request_finished.disconnect(note)
    greeted.disconnect(answer)
    answered.disconnect(note)


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.thorough
def test_the_test_of_a_get_request_passes_as_it_is(recording, greeting, client):
    request = RequestFactory().get("/greet/")
    WSGIHandler()(request.environ, lambda *_args: None).close()
    tracing.flush(30)

    source = run("make-test", "last", "--method", "GET")

    assert 'response = client.get("/greet/")' in source
    assert "assert response.status_code == 202" in source
    assert f"request_finished\n              → {note.__module__}.note" in source
    module: dict = {}
    exec(compile(source, "test_made.py", "exec"), module)
    module["test_get_greet"](client)
    answered.disconnect(note)
    with pytest.raises(AssertionError, match="Another dispatch tree"):
        module["test_get_greet"](client)


@pytest.mark.django_db(databases="__all__")
def test_it_is_written_into_a_new_file_only(tmp_path):
    store(checkout())
    file = tmp_path / "test_checkout.py"

    said = run("make-test", "last", "-o", file)

    assert said == f"{file}: fill in what it marks, then run it: pytest {file}\n"
    assert file.read_text() == run("make-test", "last")
    assert error_of("make-test", "last", "-o", file) == (
        2,
        f"{file} is there already: name a new file.",
    )
    nowhere = tmp_path / "nowhere" / "test_it.py"
    assert error_of("make-test", "last", "-o", nowhere) == (
        2,
        f"{nowhere} cannot be written: No such file or directory",
    )


@pytest.mark.django_db(databases="__all__")
def test_one_span_is_chosen_by_its_number_and_an_unknown_one_is_told():
    (trace,) = store(checkout())

    assert "order_placed" in run("make-test", "last", "--span", trace.dispatches[1].number)
    code, message = error_of("make-test", "last", "--span", 99)
    assert code == 3
    assert message.startswith("The trace has no span 99; its numbers are in: show ")


@pytest.mark.django_db(databases="__all__")
def test_a_trace_that_lost_something_is_told_on_stderr(capsys):
    trace = checkout()
    trace.dropped_count = 3
    store(trace)

    run("make-test", "last")

    _which, said = capsys.readouterr().err.splitlines(keepends=True)
    assert said == "3 items of the trace were not recorded: its tree is not whole.\n"


def foreign(number):
    """Return a trace in which no receiver of mine ran."""
    trace = checkout(number)
    for dispatch in trace.dispatches:
        for call in dispatch.receiver_calls:
            call.receiver = label(call.receiver.name)
    return trace


@pytest.mark.django_db(databases="__all__")
def test_last_is_the_newest_with_a_receiver_of_mine_and_is_named(capsys):
    store(mine := checkout(1), foreign(2), foreign(3))

    source = run("make-test", "last")

    assert capsys.readouterr().err == (
        f"Made of request orders:checkout, {mine.address}; 2 newer traces have no receiver of yours.\n"
    )
    assert source == run("make-test", mine.trace_id)
    assert not capsys.readouterr().err


@pytest.mark.django_db(databases="__all__")
def test_last_is_the_newest_where_none_is_mine(capsys):
    _, newest = store(foreign(1), foreign(2))

    assert run("make-test", "last") == run("make-test", newest.trace_id)
    assert f"{newest.address}: no receiver of yours ran in it." in capsys.readouterr().err
