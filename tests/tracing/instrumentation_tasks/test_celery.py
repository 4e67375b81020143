"""Celery tasks: run at once in the test's process, and by real workers behind real brokers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from celery import Celery, chain, chord, group, signals

import tracing.celery
from tests.services import require_service
from tests.tracing.instrumentation_tasks import worker_project
from tests.tracing.instrumentation_tasks.keeping import Keeper, keeping
from tests.tracing.viewer.traces import store
from tracing.instrumentation import context, patching, sampling
from tracing.instrumentation.sampling import Sampler
from tracing.spans.codec import Reader
from tracing.spans.records import Kind, Status
from tracing.store.task_links import task_links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.spans.records import Trace

REPOSITORY = Path(__file__).resolve().parents[3]
UNLOCK = "celery.chord_unlock"
WASHED = f"{worker_project.__name__}.car_washed"


def roots(trace: Trace) -> list[str]:
    """Return the signals sent at the root of *trace*, in order of time."""
    return [dispatch.signal for dispatch in sorted(trace.roots, key=lambda sent: sent.start_ns)]


@pytest.fixture
def connected(keeper: Keeper) -> Iterator[Keeper]:
    """Trace the tasks of this process."""
    undo = tracing.celery.connect()
    yield keeper
    undo()
    assert tracing.celery._runs == {}


# -- in this process ------------------------------------------------------------------------------


def test_eager_task_is_a_trace_under_its_caller(connected):
    with connected.block() as live:
        result = worker_project.wash.apply()
    trace, block = connected.traces()

    assert (trace.kind, trace.name, trace.status) == (Kind.TASK, "wash", Status.OK)
    assert (trace.parent_trace_id, trace.parent_span_id) == (
        live.trace_id,
        live.root_span_id,
    )
    assert roots(trace) == [WASHED]
    assert trace.attributes == {
        "task_id": result.id,
        "backend": "celery",
        "queue": "",
        "attempt": "1",
        "eager": "True",
        "state": "SUCCESS",
    }
    assert block.dispatches == []
    assert [(effect.target, effect.backend, effect.task_id) for effect in block.side_effects] == [
        ("wash", "celery.eager", result.id)
    ]


def test_eager_task_outside_any_trace(connected):
    worker_project.wash.apply()
    [trace] = connected.traces()

    assert (trace.name, trace.parent_trace_id, trace.parent_span_id) == ("wash", "", "")


def test_eager_task_in_a_task(connected):
    worker_project.wash_here.apply()
    inner, outer = connected.traces()

    assert (inner.name, outer.name) == ("wash", "wash_here")
    assert inner.parent_trace_id == outer.trace_id


def test_id_of_a_task_is_kept_where_it_is_enqueued(connected, published):
    with connected.block():
        sent = worker_project.wash.apply_async()
        by_name = worker_project.app.send_task("crash")
        at_once = worker_project.wash.apply_async(task_id="order:42")
    [block] = connected.traces()

    assert [(effect.target, effect.task_id) for effect in block.side_effects] == [
        ("wash", sent.id),
        ("crash", by_name.id),
        ("wash", "order:42"),
    ]
    assert at_once.id == "order:42"


def test_ids_of_a_group_are_kept(connected, published):
    with connected.block():
        result = group(worker_project.wash.s(), worker_project.wash.s()).apply_async()
    [block] = connected.traces()

    assert [effect.task_id for effect in block.side_effects] == [each.id for each in result.results]


def a_chord(body: Any) -> Any:
    """Return a chord of two tasks and a chain, and of *body*."""
    wash = worker_project.wash.si()
    return chord([wash, wash, chain(wash, wash)], body)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (worker_project.count.s(), ["count"]),
        (chain(worker_project.count.s(), worker_project.wash.si()), ["count"]),
        (group(worker_project.count.s(), worker_project.wash.si()), ["count", "wash"]),
        (group([worker_project.count.s()] * 9), ["count"] * 5),
        (chord([worker_project.wash.si()] * 2, worker_project.count.s()), ["wash"] * 2),
    ],
    ids=["task", "chain", "group", "large-group", "chord"],
)
def test_body_of_a_chord_is_kept_once_where_the_chord_is_enqueued(
    connected, published, monkeypatch, body, names
):
    # As backends do that count the runs of a header; the others enqueue a task that waits.
    monkeypatch.setattr(worker_project.app.backend, "apply_chord", lambda *_args, **_named: None)
    with connected.block():
        a_chord(body).apply_async()
    [block] = connected.traces()

    header = [message.headers["id"] for message in published]
    targets = [(effect.target, effect.task_id) for effect in block.side_effects]
    assert len(header) == 3
    assert [name for name, task_id in targets if task_id not in header] == names
    assert len({task_id for _, task_id in targets}) == len(targets)


def test_task_that_cannot_be_enqueued_has_no_id(connected):
    with connected.block(), pytest.raises(TypeError):
        worker_project.wash.apply_async(args="no arguments are these")
    [block] = connected.traces()

    assert [(effect.kind, effect.task_id) for effect in block.side_effects] == [("task", "")]


def test_always_eager_task_has_the_id_of_its_run(connected):
    worker_project.app.conf.task_always_eager = True
    try:
        with connected.block():
            worker_project.wash.delay()
    finally:
        worker_project.app.conf.task_always_eager = False
    run, block = connected.traces()

    assert [effect.task_id for effect in block.side_effects] == [run.task_id]
    assert run.parent_trace_id == block.trace_id


def test_always_eager_chain_is_joined_to_its_caller(connected):
    wash = worker_project.wash.si()
    worker_project.app.conf.task_always_eager = True
    try:
        with connected.block():
            chain(wash, group(wash, wash)).apply_async()
    finally:
        worker_project.app.conf.task_always_eager = False
    *runs, block = connected.traces()

    assert len(runs) == 3
    assert [effect.task_id for effect in block.side_effects] == [run.task_id for run in runs]


def test_failed_eager_task_keeps_its_error(connected):
    result = worker_project.crash.apply()
    [trace] = connected.traces()

    assert result.state == "FAILURE"
    assert (trace.status, trace.error, trace.attributes["state"]) == (
        Status.ERROR,
        "ValueError: no brakes",
        "FAILURE",
    )


def test_eager_task_that_is_retried_has_a_trace_per_attempt(connected):
    result = worker_project.try_twice.apply()
    traces = connected.traces()

    assert result.state == "SUCCESS"
    assert [
        (trace.attributes["attempt"], trace.attributes["state"], trace.status) for trace in traces
    ] == [("1", "RETRY", Status.OK), ("2", "SUCCESS", Status.OK)]
    assert traces[0].attributes["retry"] == "LookupError: no water"


def test_task_that_ends_the_process_ends_its_trace(connected):
    with pytest.raises(SystemExit):
        worker_project.leave.apply()
    [trace] = connected.traces()

    assert (trace.name, trace.error) == ("leave", "SystemExit: 3")
    assert context.current() is None


def test_eager_task_that_is_not_sampled(connected):
    sampling.switch.sampler = Sampler(by_kind={"task": 0.0})
    worker_project.wash.apply()

    assert connected.traces() == []
    assert context.current() is None


def test_revoked_task_is_given_up(connected):
    def revoke(**_kwargs: Any) -> None:
        request = worker_project.wash.request
        signals.task_revoked.send(
            worker_project.wash, request=request, terminated=True, signum=None, expired=False
        )

    worker_project.car_washed.connect(revoke)
    try:
        worker_project.wash.apply()
    finally:
        worker_project.car_washed.disconnect(revoke)
    [trace] = connected.traces()

    assert (trace.status, trace.error, trace.attributes["state"]) == (
        Status.ERROR,
        "Revoked while it was running.",
        "REVOKED",
    )


def test_task_that_never_ends_is_given_up(connected, monkeypatch):
    monkeypatch.setattr(tracing.celery, "OPEN_LIMIT", 1)
    worker_project.wash_here.apply()
    outer, inner = connected.traces()

    assert (outer.name, outer.error) == ("wash_here", "It never said that it has finished.")
    assert (inner.name, inner.error) == ("wash", "")


@dataclass
class Message:
    """What was published."""

    headers: dict[str, Any]


@pytest.fixture
def published() -> Iterator[list[Message]]:
    """Return the messages that would go to the broker."""
    messages: list[Message] = []

    def note(headers: Any = None, **_kwargs: Any) -> None:
        messages.append(Message(dict(headers)))

    signals.after_task_publish.connect(note, weak=False)
    yield messages
    signals.after_task_publish.disconnect(note)


def test_message_carries_the_trace(connected, published):
    with connected.block() as live:
        worker_project.wash.apply_async(headers={"shop": "north"})

    [message] = published
    assert message.headers["traceparent"] == f"00-{live.trace_id}-{live.root_span_id}-01"
    assert message.headers["shop"] == "north"


def test_message_sent_outside_a_trace_carries_none(connected, published):
    worker_project.wash.apply_async()

    assert "traceparent" not in published[0].headers


def test_header_of_the_application_stays(connected, published):
    own = f"00-{'a' * 32}-{'b' * 16}-00"
    with connected.block():
        worker_project.wash.apply_async(headers={"traceparent": own})

    assert published[0].headers["traceparent"] == own


def test_connecting_twice_is_connecting_once(keeper):
    # In this process it may be done already, since Celery was imported.
    tracing.celery.connect()()
    before = len(signals.task_prerun.receivers)
    undo = tracing.celery.connect()
    assert tracing.celery.connect() is undo
    assert len(signals.task_prerun.receivers) == before + 1
    undo()

    assert len(signals.task_prerun.receivers) == before


def test_nothing_is_recorded_without_instrumentation(connected, published):
    patching.uninstrument()
    with connected.block():
        worker_project.wash.apply_async()
    worker_project.wash.apply()
    patching.instrument()

    assert "traceparent" not in published[0].headers
    assert [trace.kind for trace in connected.traces()] == [Kind.BLOCK]


def test_own_failure_does_not_reach_celery(keeper, monkeypatch):
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("ours")

    noted = []
    monkeypatch.setattr(tracing.celery, "begin_run", broken)
    monkeypatch.setattr(tracing.celery, "failed", lambda place, _error: noted.append(place))
    undo = tracing.celery.connect()
    try:
        result = worker_project.wash.apply()
    finally:
        undo()

    assert result.state == "SUCCESS"
    assert noted == ["celery: starting"]


WITHOUT_CELERY = """
import sys
sys.modules["celery"] = None
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["tracing"], TRACING={"EXPORTERS": []})
django.setup()
import tracing, tracing.celery
tracing.celery.connect()()
assert tracing.is_instrumented()
from tracing.instrumentation.failures import counts
assert not counts, counts
print("fine")
"""


@pytest.mark.process
def test_tracing_without_celery():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_CELERY],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


# -- real workers ---------------------------------------------------------------------------------


@dataclass
class Worked:
    """What senders and worker recorded of one round of tasks."""

    sent: dict[str, Trace]
    """The sender's traces by name."""
    run: list[Trace]
    """The worker's."""
    results: dict[str, Any]

    def of(self, name: str) -> list[Trace]:
        """Return the worker's traces of the task *name*, in order of time."""
        traces = [trace for trace in self.run if trace.name == name]
        return sorted(traces, key=lambda trace: trace.started_ns)


def broker_url(name: str) -> str:
    """Return the URL of the broker *name*."""
    server = require_service(name)
    if name == "redis":
        return f"redis://{server.host}:{server.port}/9"
    return f"amqp://{quote(server.user)}:{quote(server.password)}@{server.host}:{server.port}//"


@pytest.fixture(
    scope="module",
    params=[
        ("redis", "solo"),
        ("redis", "prefork"),
        ("redis", "threads"),
        ("rabbitmq", "solo"),
        ("rabbitmq", "threads"),
        # Which cannot count the runs of a chord's header: a task waits for them.
        ("redis", "solo", "files"),
    ],
    ids="-".join,
)
def worked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Worked:
    """Send tasks from traces to a worker in another process, and return what both recorded."""
    broker, pool, *other = request.param
    log = tmp_path_factory.mktemp("worker") / "tracing.jsonl"
    prefix = f"tracing-{uuid.uuid4().hex[:12]}-"
    backend = tmp_path_factory.mktemp("results").as_uri() if other else broker_url("redis")
    environment = {
        "WORKER_BROKER": broker_url(broker),
        "WORKER_BACKEND": backend,
        "WORKER_PREFIX": prefix,
        "WORKER_LOG": str(log),
        "DJANGO_SETTINGS_MODULE": "tests.tracing.instrumentation_tasks.worker_settings",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            if name != "DJANGO_SETTINGS_MODULE":
                patch.setenv(name, value)
        app = worker_project.configured(Celery("sender", set_as_current=False))
    output = (log.parent / "output.txt").open("w+")
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", worker_project.__name__, "worker"),
            *(
                "-P",
                pool,
                "-c",
                "3" if pool == "threads" else "1",
                "--without-gossip",
                "--without-mingle",
            ),
            *("-n", f"{prefix}@localhost", "-l", "INFO"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, **environment, "C_FORCE_ROOT": "1"},
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    try:
        sent, results = send_tasks(app)
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(120)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        clean_up(app, prefix)
        output.seek(0)
        text = output.read()
        output.close()
    assert worker.returncode == 0, text
    assert log.exists(), text
    reader = Reader()
    read = [reader.feed(line) for line in log.read_text().splitlines()]
    return Worked(sent, [trace for trace in read if trace is not None], results)


def send_tasks(app: Celery) -> tuple[dict[str, Trace], dict[str, Any]]:
    """Send each task from a trace of its name and wait for its result."""
    results: dict[str, Any] = {}
    sent: dict[str, Trace] = {}
    with keeping() as keeper:
        undo = tracing.celery.connect()
        try:
            for name in ("wash", "crash", "try_twice", "wash_another"):
                with keeper.block(name):
                    result = app.send_task(name, headers={"shop": "north"})
                results[name] = result.get(timeout=180, propagate=False)
            with keeper.block("bare"):
                result = app.send_task("wash")
            results["bare"] = result.get(timeout=180)
            with keeper.block("chain"):
                wash = app.signature("wash", immutable=True)
                result = chain(wash, wash, app=app).apply_async()
            results["chain"] = result.get(timeout=180)
            with keeper.block("chord"):
                header = [wash, chain(wash, wash)]
                result = chord(header, app.signature("count"), app=app).apply_async()
            results["chord"] = result.get(timeout=180)
            results["chord_id"] = result.id
            results["another"] = app.AsyncResult(results["wash_another"]).get(timeout=180)
            results["outside"] = app.send_task("wash").get(timeout=180)
        finally:
            undo()
            sent = {trace.name: trace for trace in keeper.traces()}
    return sent, results


def clean_up(app: Celery, prefix: str) -> None:
    """Take what the round has left out of the servers."""
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(f"{prefix}cars")
        connection.default_channel.exchange_delete(f"{prefix}cars")
    if client := getattr(app.backend, "client", None):
        for key in client.scan_iter(f"*{prefix}*"):
            client.delete(key)
        client.close()
    app.close()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.services
class TestWorker:
    """A worker in another process."""

    def test_trace_of_a_run_knows_its_sender(self, worked: Worked) -> None:
        sender = worked.sent["wash"]
        trace = worked.of("wash")[0]

        assert (trace.kind, trace.status, roots(trace)) == (Kind.TASK, Status.OK, [WASHED])
        assert (trace.parent_trace_id, trace.parent_span_id) == (
            sender.trace_id,
            sender.root_span_id,
        )
        assert trace.trace_id != sender.trace_id
        assert trace.process != sender.process

    def test_task_sees_the_headers_that_were_given(self, worked: Worked) -> None:
        assert worked.results["wash"] == {"headers": {"shop": "north"}, "has_traceparent": False}
        # As Celery has it for a message without headers of the application's.
        assert worked.results["bare"] == {"headers": None, "has_traceparent": False}

    def test_failed_task_keeps_its_error(self, worked: Worked) -> None:
        [trace] = worked.of("crash")

        assert isinstance(worked.results["crash"], ValueError)
        assert (trace.status, trace.error) == (Status.ERROR, "ValueError: no brakes")
        assert trace.attributes["state"] == "FAILURE"

    def test_retry_is_the_child_of_the_attempt_that_asked_for_it(self, worked: Worked) -> None:
        first, second = worked.of("try_twice")

        assert (first.attributes["attempt"], first.attributes["state"]) == ("1", "RETRY")
        assert first.attributes["retry"] == "LookupError: no water"
        assert (second.attributes["attempt"], second.attributes["state"]) == ("2", "SUCCESS")
        assert first.parent_trace_id == worked.sent["try_twice"].trace_id
        assert second.parent_trace_id == first.trace_id
        assert worked.results["try_twice"] == {
            "headers": {"shop": "north"},
            "has_traceparent": False,
        }

    def test_task_sent_by_a_task_is_its_child(self, worked: Worked) -> None:
        [outer] = worked.of("wash_another")
        [inner] = [trace for trace in worked.of("wash") if trace.parent_trace_id == outer.trace_id]

        assert inner.attributes["task_id"] == worked.results["wash_another"]
        assert outer.parent_trace_id == worked.sent["wash_another"].trace_id

    def test_second_task_of_a_chain_is_the_child_of_the_first(self, worked: Worked) -> None:
        [first] = [
            trace
            for trace in worked.of("wash")
            if trace.parent_trace_id == worked.sent["chain"].trace_id
        ]
        [second] = [trace for trace in worked.of("wash") if trace.parent_trace_id == first.trace_id]

        assert second.started_ns > first.started_ns

    def test_task_sent_outside_any_trace_has_no_parent(self, worked: Worked) -> None:
        orphans = [trace for trace in worked.run if trace.kind is Kind.TASK]
        orphans = [trace for trace in orphans if not trace.parent_trace_id]

        assert [(trace.name, trace.parent_span_id) for trace in orphans] == [("wash", "")]

    def test_every_run_is_recorded(self, worked: Worked) -> None:
        tasks = [trace for trace in worked.run if trace.kind is Kind.TASK]
        tasks = [trace for trace in tasks if trace.name != UNLOCK]

        assert sorted(trace.name for trace in tasks) == sorted(
            ["wash"] * 9 + ["count", "crash", "try_twice", "try_twice", "wash_another"]
        )

    @pytest.mark.django_db(databases="__all__")
    def test_traces_of_both_processes_are_joined_by_the_id_of_the_task(
        self, worked: Worked
    ) -> None:
        # The runs are stored first, as where a task ends before the trace of its sender does.
        store(*worked.run)
        store(*worked.sent.values())

        for name, runs in {"wash": 1, "crash": 1, "try_twice": 2, "wash_another": 1}.items():
            sender = worked.sent[name]
            [task] = task_links(sender).enqueued
            assert [run.summary.address for run in task.runs] == [
                run.address for run in worked.of(name) if run.task_id == task.task_id
            ]
            assert [run.attempt for run in task.runs] == [*range(1, runs + 1)]
            for run in worked.of(name):
                if run.task_id == task.task_id:
                    assert task_links(run).enqueued_by[0].summary.address == sender.address

    @pytest.mark.django_db(databases="__all__")
    def test_second_task_of_a_chain_is_joined_to_the_run_of_the_first(self, worked: Worked) -> None:
        store(*worked.run, *worked.sent.values())

        [task] = task_links(worked.sent["chain"]).enqueued
        [first] = [run for run in worked.of("wash") if run.task_id == task.task_id]
        [following] = task_links(first).enqueued
        [second] = [run for run in worked.of("wash") if run.task_id == following.task_id]
        [sender] = task_links(second).enqueued_by
        assert sender.summary.address == first.address

    @pytest.mark.django_db(databases="__all__")
    def test_body_of_a_chord_is_joined_to_its_sender_and_to_its_header(
        self, worked: Worked
    ) -> None:
        store(*worked.run, *worked.sent.values())
        sender = worked.sent["chord"]
        [body] = worked.of("count")
        header = [run for run in worked.of("wash") if run.chord_ids == [body.task_id]]
        # Of a backend that does not count: the last attempt of the task that waits sends the body.
        sent_by = worked.of(UNLOCK)[-1:] or header

        assert (worked.results["chord"], worked.results["chord_id"]) == (2, body.task_id)
        assert len(header) == 3
        assert body.parent_trace_id in {run.trace_id for run in sent_by}
        found = task_links(body).enqueued_by
        assert {linked.summary.address for linked in found} == {
            each.address for each in [sender, *header, *sent_by]
        }
        for trace in [sender, *header]:
            by_id = {task.task_id: task for task in task_links(trace).enqueued}
            [run] = by_id[body.task_id].runs
            assert (by_id[body.task_id].name, run.summary.address) == ("count", body.address)
