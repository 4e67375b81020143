"""Workloads: what is done again and again while it is measured."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.modes import UNIT, Mode

Run = Callable[[int], None]
"""Does its work so many times."""


def _receivers(number: int) -> list[Any]:
    """Return distinct functions that do nothing."""

    def make() -> Any:
        def receiver(sender: Any, **_named: Any) -> None:
            pass

        return receiver

    return [make() for _ in range(number)]


_kept: list[Any] = []
"""Receivers are held weakly by their signals: somebody has to keep them."""


def loop(mode: Mode) -> Run:
    """Return the bare loop of the others, to be subtracted from them."""

    def run(number: int) -> None:
        for _ in range(number // UNIT):
            for _ in range(UNIT):
                pass
            mode.rest()

    return run


def nobody(mode: Mode) -> Run:
    """Return sends of a signal that has no receiver at all."""
    from django.db.models.signals import ModelSignal

    from benchmarks.models import Orphan

    signal = ModelSignal(use_caching=True)
    instance = Orphan(id=5)

    def run(number: int) -> None:
        for _ in range(number // UNIT):
            for _ in range(UNIT):
                signal.send(
                    sender=Orphan,
                    instance=instance,
                    created=False,
                    update_fields=None,
                    raw=False,
                    using="default",
                )
            mode.rest()

    return run


def outside(mode: Mode) -> Run:
    """Return the same sends outside any trace."""
    within = nobody(mode)

    def run(number: int) -> None:
        contextvars.Context().run(within, number)

    return run


def init(mode: Mode) -> Run:
    """Return sends of ``pre_init`` with the arguments of ``Model.__init__``, to no receiver."""
    from django.db.models.signals import pre_init

    from benchmarks.models import Orphan

    def run(number: int) -> None:
        for _ in range(number // UNIT):
            for _ in range(UNIT):
                pre_init.send(sender=Orphan, args=(), kwargs={})
            mode.rest()

    return run


def caching(mode: Mode, receivers: int) -> Run:
    """Return sends of ``post_save`` with the arguments of ``Model.save_base``."""
    from django.db.models.signals import post_save

    from benchmarks import models

    model: Any = {0: models.Orphan, 1: models.One, 3: models.Three, 10: models.Ten}[receivers]
    # Model signals have receivers of some sender in every real project.
    for receiver in _receivers(receivers):
        _kept.append(receiver)
        post_save.connect(receiver, sender=model)
    if not receivers:
        _kept.append(_receivers(1)[0])
        post_save.connect(_kept[-1], sender=models.Item)
    instance = model(id=5)

    def run(number: int) -> None:
        for _ in range(number // UNIT):
            for _ in range(UNIT):
                post_save.send(
                    sender=model,
                    instance=instance,
                    created=False,
                    update_fields=None,
                    raw=False,
                    using="default",
                )
            mode.rest()

    return run


def plain(mode: Mode, receivers: int) -> Run:
    """Return sends of a custom ``Signal()`` with two named arguments."""
    from django.dispatch import Signal

    from benchmarks.models import Item

    signal = Signal()
    for receiver in _receivers(receivers):
        _kept.append(receiver)
        signal.connect(receiver)
    item = Item(id=5)

    def run(number: int) -> None:
        for _ in range(number // UNIT):
            for _ in range(UNIT):
                signal.send(sender=Item, item=item, stock=3)
            mode.rest()

    return run


def plain_five(mode: Mode, receivers: int) -> Run:
    """Return sends of a custom ``Signal()`` with the five named arguments of a save."""
    from django.dispatch import Signal

    from benchmarks.models import Item

    signal = Signal()
    for receiver in _receivers(receivers):
        _kept.append(receiver)
        signal.connect(receiver)
    item = Item(id=5)

    def run(number: int) -> None:
        for _ in range(number // UNIT):
            for _ in range(UNIT):
                signal.send(
                    sender=Item,
                    instance=item,
                    created=False,
                    update_fields=None,
                    raw=False,
                    using="default",
                )
            mode.rest()

    return run


def first(mode: Mode, receivers: int) -> Run:
    """Return first dispatches of senders, each of which reaches all receivers of the signal."""
    from django.db.models.signals import ModelSignal

    signal = ModelSignal(use_caching=True)
    for receiver in _receivers(receivers):
        _kept.append(receiver)
        signal.connect(receiver)
    senders = [type(f"Sender{number}", (), {}) for number in range(50)]

    def run(number: int) -> None:
        for _ in range(number // len(senders)):
            signal.sender_receivers_cache.clear()  # type: ignore[attr-defined]
            for sender in senders:
                signal.send(sender=sender, stock=3)
            mode.rest()

    return run


class _Document:
    """Listens to a signal as long as it lives."""

    def changed(self, sender: Any, **_named: Any) -> None:
        pass


def connect(mode: Mode) -> Run:
    """Return connections of a method of each object; a hundred of the objects live, older ones die."""
    from django.dispatch import Signal

    signal = Signal()
    documents: deque[_Document] = deque(maxlen=100)
    for _ in range(110):
        documents.append(_Document())
        signal.connect(documents[-1].changed)

    def run(number: int) -> None:
        for _ in range(number // 10):
            for _ in range(10):
                document = _Document()
                documents.append(document)
                signal.connect(document.changed)
            mode.rest()

    return run


def instances(_mode: Mode) -> Run:
    """Return the loading of 10,000 instances from a queryset."""
    from benchmarks.models import Car

    def run(number: int) -> None:
        for _ in range(number):
            list(Car.objects.all())

    return run


def save(mode: Mode) -> Run:
    """Return the saving of one instance, which one receiver hears of."""
    from django.db.models.signals import post_save

    from benchmarks.models import One

    instance = One.objects.create(name="one")
    _kept.extend(_receivers(1))
    post_save.connect(_kept[-1], sender=One)

    def run(number: int) -> None:
        for _ in range(number // 10):
            for _ in range(10):
                instance.save()
            mode.rest()

    return run


def asend(mode: Mode) -> Run:
    """Return ``asend`` to three async receivers."""
    from django.dispatch import Signal

    from benchmarks.models import Item

    signal = Signal()

    def make() -> Any:
        async def receiver(sender: Any, **_named: Any) -> None:
            pass

        return receiver

    for _ in range(3):
        _kept.append(make())
        signal.connect(_kept[-1])
    item = Item(id=5)

    async def main(number: int) -> None:
        for _ in range(number // 20):
            for _ in range(20):
                await signal.asend(sender=Item, item=item, stock=3)
            await mode.rest_async()

    def run(number: int) -> None:
        asyncio.run(main(number))

    return run


def request(mode: Mode) -> Run:
    """Return requests through the WSGI handler, as a server makes them."""
    from django.core.handlers.wsgi import WSGIHandler

    application = mode.wrap(WSGIHandler())

    def start_response(status: str, _headers: Any, _exc_info: Any = None) -> None:
        if not status.startswith("200"):
            raise RuntimeError(f"the request was answered {status}")

    def run(number: int) -> None:
        for _ in range(number):
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/restock/",
                "QUERY_STRING": "",
                "SCRIPT_NAME": "",
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "wsgi.version": (1, 0),
                "wsgi.url_scheme": "http",
                "wsgi.input": io.BytesIO(),
                "wsgi.errors": io.StringIO(),
                "wsgi.multithread": True,
                "wsgi.multiprocess": False,
                "wsgi.run_once": False,
            }
            response = application(environ, start_response)
            b"".join(response)
            response.close()

    return run


WORKLOADS: dict[str, Callable[[Mode], Run]] = {
    "loop": loop,
    "nobody": nobody,
    "outside": outside,
    "init": init,
    **{f"caching-{n}": lambda mode, n=n: caching(mode, n) for n in (0, 1, 3, 10)},
    **{f"plain-{n}": lambda mode, n=n: plain(mode, n) for n in (0, 1, 3, 10)},
    "plain-five-1": lambda mode: plain_five(mode, 1),
    "first-160": lambda mode: first(mode, 160),
    "connect": connect,
    "instances": instances,
    "save": save,
    "asend": asend,
    "request": request,
}


# -- Memory and the garbage collector ---------------------------------------------------------


def held_bytes(run: Run, mode: Any, dispatches: int = 10_000) -> float:
    """Return the bytes held for each dispatch while nobody drains the trace.

    *mode* is one that records. Fewer dispatches than fill a stream (50,000 items).
    """
    rest, mode.rest = mode.rest, lambda: None
    try:
        run(1_000)
        mode.trace.root.events.clear()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        run(dispatches)
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        mode.trace.root.events.clear()
    finally:
        mode.rest = rest
    return held / dispatches


def pauses(run: Run, mode: Any, *, drained: bool, dispatches: int = 40_000) -> dict[str, float]:
    """Return what the garbage collector did during so many dispatches.

    The longest pause and the sum of all in ms, the number of collections, and the time of the whole.
    Without *drained*, traces of 20,000 dispatches pile up as if the worker did not get to them.
    """
    taken: list[int] = []
    began = 0

    def watch(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter_ns()
        else:
            taken.append(time.perf_counter_ns() - began)

    rest = mode.rest
    piled = []
    run(1_000)
    mode.flush()
    gc.collect()
    gc.callbacks.append(watch)
    try:
        start = time.perf_counter_ns()
        if drained:
            run(dispatches)
        else:
            mode.rest = lambda: None
            for _ in range(2):
                run(dispatches // 2)
                if hasattr(mode, "trace"):
                    piled.append(mode.trace.root.events)
                    mode.trace.root.events = []
        elapsed = time.perf_counter_ns() - start
    finally:
        gc.callbacks.remove(watch)
        mode.rest = rest
    mode.flush()
    return {
        "longest_ms": max(taken, default=0) / 1e6,
        "sum_ms": sum(taken) / 1e6,
        "collections": len(taken),
        "elapsed_ms": elapsed / 1e6,
    }
