"""A small Celery project: its tasks send Django signals, fail, retry and send other tasks."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from django.dispatch import Signal

car_washed = Signal()


def admire(**_kwargs: Any) -> None:
    """Receive without doing anything."""


car_washed.connect(admire)


def configured(app: Celery) -> Celery:
    """Have *app* talk to the servers and the queue that the environment names."""
    prefix = os.environ.get("WORKER_PREFIX", "")
    app.conf.update(
        broker_url=os.environ.get("WORKER_BROKER", "memory://"),
        result_backend=os.environ.get("WORKER_BACKEND", "cache+memory://"),
        task_default_queue=f"{prefix}cars",
        broker_connection_retry_on_startup=True,
        broker_transport_options={"global_keyprefix": prefix},
        result_backend_transport_options={"global_keyprefix": prefix},
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_publish_retry=False,
    )
    return app


app = configured(Celery("worker_project", set_as_current=False))


def seen_by(task: Any) -> dict[str, Any]:
    """Return what a task sees of its message's headers."""
    return {
        "headers": task.request.headers,
        "has_traceparent": hasattr(task.request, "traceparent"),
    }


@app.task(name="wash", bind=True)
def wash(self: Any) -> dict[str, Any]:
    """Send a signal."""
    car_washed.send("car")
    return seen_by(self)


@app.task(name="crash")
def crash() -> None:
    """Raise."""
    car_washed.send("car")
    raise ValueError("no brakes")


@app.task(name="leave")
def leave() -> None:
    """End the process, as it seems."""
    raise SystemExit(3)


@app.task(name="try_twice", bind=True, max_retries=1)
def try_twice(self: Any) -> dict[str, Any]:
    """Succeed the second time."""
    if self.request.retries == 0:
        raise self.retry(exc=LookupError("no water"), countdown=0)
    return seen_by(self)


@app.task(name="wash_another")
def wash_another() -> str:
    """Send another task and return its id."""
    return str(wash.delay().id)


@app.task(name="count")
def count(washed: list[Any]) -> int:
    """Return how many tasks ran before it."""
    return len(washed)


@app.task(name="wash_here")
def wash_here() -> None:
    """Run another task in this one."""
    wash.apply()
