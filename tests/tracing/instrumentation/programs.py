"""Programs of signals: drawn by hypothesis, run on a world of their own, written down as a log.

A program is plain data, so the same one can be run on stock Django and on instrumented Django. Its
log holds all that the program could see: calls, arguments and their order, responses, exceptions with
their tracebacks, warnings, log records, context variables and what was still alive at the end.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
import threading
import traceback
import warnings
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import django
from asgiref.sync import markcoroutinefunction
from django.dispatch import Signal
from hypothesis import strategies as st

RUNS_TOGETHER = django.VERSION < (6, 1)
"""Sync and async receivers of one asend overlap in two threads: their order is anybody's guess."""


class Heap:
    """Whether the test keeps its heap out of collections. To ask the collector costs 10 ms."""

    is_frozen = False


heap = Heap()

MAX_SENDS = 40
MAX_DEPTH = 3

# -- What a program is made of -----------------------------------------------------------------


class Stop(BaseException):
    """Not an Exception: ``send_robust`` lets it through."""


class Odd(Exception):
    """Takes two arguments and says nothing of them."""

    def __str__(self):
        return "odd"


ERRORS = {
    "value": lambda: ValueError("a value", 3),
    "key": lambda: KeyError("key"),
    "odd": lambda: Odd(1, [2]),
    "stop": lambda: Stop("stop"),
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "generator": lambda: GeneratorExit("closed"),
    "cancelled": lambda: asyncio.CancelledError("cancelled"),
    "stop_iteration": lambda: StopIteration(7),
    "recursion": lambda: RecursionError("too deep"),
}
ASYNC_ERRORS = ["value", "key", "odd", "stop", "cancelled", "recursion"]
"""Those that do not tear down the event loop itself."""

SYNC_KINDS = [
    "function",
    "lambda",
    "method",
    "classmethod",
    "static",
    "partial",
    "object",
    "class",
    "wrapped",
    "no_kwargs",
]
ASYNC_KINDS = ["async_function", "async_method", "async_partial", "async_object"]
NAMELESS = {"partial", "async_partial", "object", "async_object"}
"""Where these fail under a robust send, Django's report of it fails, too: it asks for a name."""
SIGNAL_KINDS = [
    "plain",
    "caching",
    "reversed",
    "own_send",
    "own_asend",
    "own_plain_live",
    "patched",
    "patched_caching",
]
SENDERS = [
    "class",
    "subclass",
    "instance",
    "other",
    "none",
    "string",
    "unhashable",
    "id_hash",
    "hostile_eq",
    "hostile_hash",
    "slotted",
]
NAMED = ["nothing", "two", "instance", "signal_self", "signal_other", "many", "self_named"]


@dataclass(frozen=True)
class ReceiverSpec:
    kind: str
    actions: tuple[tuple[Any, ...], ...]

    @property
    def is_async(self) -> bool:
        return self.kind in ASYNC_KINDS


@dataclass(frozen=True)
class Program:
    signals: tuple[str, ...]
    receivers: tuple[ReceiverSpec, ...]
    steps: tuple[tuple[Any, ...], ...]


def _actions(*, is_async: bool, effects: bool) -> st.SearchStrategy[tuple[Any, ...]]:
    index = st.integers(0, 5)
    sender = st.integers(0, len(SENDERS) - 1)
    choices = [
        st.tuples(st.just("return"), st.sampled_from(["none", "int", "list", "self"])),
        st.tuples(st.just("raise"), st.sampled_from(ASYNC_ERRORS if is_async else list(ERRORS))),
        st.tuples(st.just("raise_from"), st.sampled_from(["value", "key"])),
        st.tuples(st.just("set"), st.integers(1, 9)),
        st.tuples(st.just("warn"), st.integers(1, 5)),
        st.tuples(st.just("send"), st.sampled_from(["send", "send_robust"]), index, sender),
    ]
    if is_async:
        choices += [
            st.tuples(st.just("sleep"), st.integers(1, 3)),
            st.tuples(st.just("asend"), st.sampled_from(["asend", "asend_robust"]), index, sender),
            st.tuples(st.just("catch"), index, sender),
        ]
    if effects:
        choices += [
            st.tuples(st.just("connect"), index, index, sender, st.booleans()),
            st.tuples(st.just("disconnect"), index, index, sender),
            st.tuples(st.just("kill"), index),
        ]
    return st.one_of(choices)


def _calm_actions(*, is_async: bool, raising: bool) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return actions that do not care which of two threads is first."""
    choices = [
        st.tuples(st.just("return"), st.sampled_from(["none", "int", "list", "self"])),
        st.tuples(st.just("warn"), st.integers(1, 5)),
    ]
    if raising:
        errors = st.sampled_from(["value", "key", "odd", "recursion"])
        choices.append(st.tuples(st.just("raise"), errors))
    if is_async:
        choices.append(st.tuples(st.just("sleep"), st.integers(1, 3)))
    return st.one_of(choices)


@st.composite
def mixed_programs(draw: Any) -> Program:
    """Draw a program in which sync and async receivers of one asend may overlap in two threads.

    What they do there does not depend on who is first; the order of the log does.
    """
    raising = draw(st.booleans())
    receivers = tuple(
        ReceiverSpec(
            kind,
            tuple(
                draw(
                    st.lists(
                        _calm_actions(
                            is_async=kind in ASYNC_KINDS, raising=raising and kind not in NAMELESS
                        ),
                        max_size=3,
                    )
                )
            ),
        )
        for kind in [
            *draw(st.lists(st.sampled_from(SYNC_KINDS), min_size=1, max_size=3)),
            *draw(st.lists(st.sampled_from(ASYNC_KINDS), min_size=1, max_size=3)),
        ]
    )
    index, sender = st.integers(0, 7), st.integers(0, len(SENDERS) - 1)
    connect = st.tuples(
        st.just("connect"), index, index, st.none() | sender, st.booleans(), st.none()
    )
    methods = ["asend_robust", "send_robust"] if raising else ["asend", "asend_robust", "send"]
    # Without a second ``signal``: with it receivers fail that have no name.
    named = st.sampled_from([kind for kind in NAMED if not kind.startswith("signal")])
    send = st.tuples(st.just("send"), st.sampled_from(methods), index, sender, named)
    # Every receiver once, in any order, so that most sends reach both kinds; then some more.
    steps = [
        ("connect", 0, number, None, draw(st.booleans()), None)
        for number in draw(st.permutations(range(len(receivers))))
    ]
    steps += draw(st.lists(connect, max_size=4))
    steps += draw(st.lists(st.one_of(send, send, connect), min_size=1, max_size=6))
    signals = draw(st.lists(st.sampled_from(SIGNAL_KINDS), min_size=1, max_size=3))
    return Program(tuple(signals), receivers, tuple(steps))


@st.composite
def programs(draw: Any, *, asynchronous: bool) -> Program:
    """Draw a program that uses send and send_robust or, *asynchronous*, also the other two."""
    kinds, effects = SYNC_KINDS + ASYNC_KINDS, True
    if asynchronous and RUNS_TOGETHER:
        kinds = draw(st.sampled_from([SYNC_KINDS, ASYNC_KINDS]))
    receivers = tuple(
        ReceiverSpec(
            kind,
            tuple(
                draw(st.lists(_actions(is_async=kind in ASYNC_KINDS, effects=effects), max_size=3))
            ),
        )
        for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    )
    index = st.integers(0, 7)
    sender = st.integers(0, len(SENDERS) - 1)
    methods = ["send", "send_robust"] + (["asend", "asend_robust"] * 2 if asynchronous else [])
    connect = st.tuples(
        st.just("connect"),
        index,
        index,
        st.none() | sender,
        st.booleans(),
        st.sampled_from([None, None, "uid", "other", 5, ("a", 1)]),
    )
    send = st.tuples(
        st.just("send"), st.sampled_from(methods), index, sender, st.sampled_from(NAMED)
    )
    steps = draw(st.lists(connect, min_size=1, max_size=6)) + draw(
        st.lists(
            st.one_of(
                send,
                send,
                send,
                connect,
                st.tuples(
                    st.just("disconnect"),
                    index,
                    index,
                    st.none() | sender,
                    st.none() | st.sampled_from(["uid", "other", 5, ("a", 1)]),
                ),
                st.tuples(st.just("kill"), index),
                st.tuples(st.just("kill_sender"), sender),
                st.just(("gc",)),
            ),
            min_size=1,
            max_size=8,
        )
    )
    signals = draw(st.lists(st.sampled_from(SIGNAL_KINDS), min_size=1, max_size=3))
    return Program(tuple(signals), receivers, tuple(steps))


# -- The world in which it runs ----------------------------------------------------------------


class Sender:
    pass


class SubSender(Sender):
    pass


class Unhashable:
    __hash__ = None  # type: ignore[assignment]


class IdHash:
    """Hashes like the key under which Django knows it, and is equal to nothing but its kind."""

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self.__dict__ == other.__dict__


class HostileEq:
    """May not be compared."""

    def __eq__(self, other):
        raise ZeroDivisionError("compared")

    def __hash__(self):
        return 7


class HostileHash:
    """May not be hashed, and says so in its own way."""

    def __hash__(self):
        raise ZeroDivisionError("hashed")


class Slotted:
    """Cannot be weakly referenced."""

    __slots__ = ()


class Argument:
    """A named argument whose death is watched."""


class Holder:
    """Holds the methods that are connected."""

    def __init__(self, world, number):
        self.world = world
        self.number = number

    def method(self, **kwargs):
        return self.world.act(self.number, kwargs)

    async def async_method(self, **kwargs):
        return await self.world.async_act(self.number, kwargs)

    def __call__(self, **kwargs):
        return self.world.act(self.number, kwargs)


class AsyncHolder(Holder):
    """Its call is a coroutine function, which Django sees only where the object is marked as one."""

    async def __call__(self, **kwargs):
        return await self.world.async_act(self.number, kwargs)


class Reversed(Signal):
    def _live_receivers(self, sender):
        live, live_async = super()._live_receivers(sender)
        return live[::-1], live_async[::-1]


class OwnSend(Signal):
    def send(self, sender, **named):
        return super().send(sender, added="by the subclass", **named)


class OwnAsend(Signal):
    async def asend(self, sender, **named):
        return await super().asend(sender, added="by the subclass", **named)

    def send_robust(self, sender, **named):
        return super().send_robust(sender, added="by the subclass", **named)


class OwnPlainLive(Signal):
    def _live_receivers(self, sender):
        live, live_async = super()._live_receivers(sender)
        return live + live, live_async[:1]


_STAND_INS = {
    "async_phase": "asend",
    "call_batch": "sync_send",
    "call_robust": "asend_and_wrap_exception",
    "awaitables": "<genexpr>",
    "in_parallel": "<genexpr>",
}
"""The recording's functions by the name of those of Django that they stand in for."""

_ADDRESS = re.compile(r"0x[0-9a-f]+|Task-\d+|[\w/.-]+\.py:\d+")
_DISPATCHERS = (
    "django/dispatch/dispatcher.py",
    "tracing/instrumentation/dispatch/synchronous.py",
    "tracing/instrumentation/dispatch/asynchronous.py",
    "tracing/instrumentation/dispatch/coroutines.py",
)


class World:
    """The signals, senders and receivers of one run, and its log."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.log: list[Any] = []
        self.variable: ContextVar[int] = ContextVar("world", default=0)
        self.sends = 0
        self.depth = 0
        self.awaiting = 0
        self.watched: dict[str, weakref.ref[Any]] = {}
        self.signals = [self.make_signal(kind) for kind in program.signals]
        self.senders: list[Any] = [self.make_sender(kind) for kind in SENDERS]
        self.addresses: set[int] = set()
        """Where senders have been that are dead."""
        self.receivers: list[Any] = [
            self.make_receiver(number, spec.kind) for number, spec in enumerate(program.receivers)
        ]

    # -- Making

    def watch(self, name: str, target: Any) -> Any:
        self.watched[name] = weakref.ref(target)
        return target

    def make_signal(self, kind: str) -> Signal:
        signal: Signal
        if kind == "reversed":
            signal = Reversed(use_caching=True)
        elif kind in {"own_send", "own_asend", "own_plain_live"}:
            signal = {
                "own_send": OwnSend,
                "own_asend": OwnAsend,
                "own_plain_live": OwnPlainLive,
            }[kind]()
        else:
            signal = Signal(use_caching="caching" in kind)
        if kind.startswith("patched"):
            stock = Signal._live_receivers

            def first_only(sender, signal=weakref.ref(signal)):
                live, live_async = stock(signal(), sender)
                return live[:1], live_async[:1]

            signal._live_receivers = first_only
        return signal

    def make_sender(self, kind: str) -> Any:
        if kind == "class":
            return Sender
        if kind == "subclass":
            return SubSender
        if kind == "none":
            return None
        if kind == "string":
            return "a sender"
        if kind == "slotted":
            return Slotted()
        made = {
            "unhashable": Unhashable,
            "id_hash": IdHash,
            "hostile_eq": HostileEq,
            "hostile_hash": HostileHash,
        }.get(kind, Sender)()
        return self.watch(f"sender {kind}", made)

    def make_new_sender(self, kind: str) -> Any:
        """Return a sender at an address where none has been.

        Django 5 knows a sender by its address alone, so one in the place of a dead one hears what
        was meant for that: sometimes, as memory is given out.
        """
        passed = []
        while id(sender := self.make_sender(kind)) in self.addresses:
            passed.append(sender)
        return sender

    def make_receiver(self, number: int, kind: str) -> Any:
        act, async_act = self.act, self.async_act

        if kind in {"class", "wrapped", "no_kwargs"}:
            made = self.make_odd_receiver(number, kind)
            self.watch(f"receiver {number}", made)
            return made

        def function(**kwargs):
            return act(number, kwargs)

        async def async_function(**kwargs):
            return await async_act(number, kwargs)

        def for_partial(number, **kwargs):
            return act(number, kwargs)

        async def async_for_partial(number, **kwargs):
            return await async_act(number, kwargs)

        world = self

        class Owner:
            @classmethod
            def class_method(cls, **kwargs):
                return world.act(number, kwargs)

            @staticmethod
            def static_method(**kwargs):
                return world.act(number, kwargs)

        if kind == "function":
            made: Any = function
        elif kind == "async_function":
            made = async_function
        elif kind == "lambda":
            made = lambda **kwargs: act(number, kwargs)  # noqa: E731
        elif kind == "partial":
            made = partial(for_partial, number)
        elif kind == "async_partial":
            made = partial(async_for_partial, number)
        elif kind == "classmethod":
            made = Owner.class_method
        elif kind == "static":
            made = Owner.static_method
        elif kind == "object":
            made = Holder(self, number)
        elif kind == "async_object":
            made = markcoroutinefunction(AsyncHolder(self, number))
        else:
            holder = Holder(self, number)
            made = holder.method if kind == "method" else holder.async_method
        self.watch(f"receiver {number}", getattr(made, "__self__", made))
        return made

    def make_odd_receiver(self, number: int, kind: str) -> Any:
        act = self.act

        class Receiving:
            def __init__(self, **kwargs):
                act(number, kwargs)

        def function(**kwargs):
            return act(number, kwargs)

        @wraps(function)
        def wrapped(*args, **kwargs):
            return function(*args, **kwargs)

        def no_kwargs(signal, sender):
            return act(number, {"signal": signal, "sender": sender})

        return {"class": Receiving, "wrapped": wrapped, "no_kwargs": no_kwargs}[kind]

    # -- Naming

    def number_of(self, receiver: Any) -> Any:
        for number, known in enumerate(self.receivers):
            if known is not None and (receiver is known or receiver == known):
                return number
        return "killed"

    def sender_of(self, sender: Any) -> str:
        for kind, known in zip(SENDERS, self.senders, strict=True):
            if sender is known:
                return kind
        return type(sender).__name__

    def response(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return self.error(value)
        if asyncio.iscoroutine(value):
            value.close()
            return "coroutine"
        return value if isinstance(value, int | list | str | type(None)) else type(value).__name__

    def error(self, error: BaseException | None, depth: int = 0) -> Any:
        if error is None or depth > 6:
            return None
        frames = []
        for frame, line in traceback.walk_tb(error.__traceback__):
            name = frame.f_code.co_name
            file = frame.f_code.co_filename
            if file.endswith(_DISPATCHERS):
                line = 0
                name = _STAND_INS.get(name, name)
            if not line and frames[-1:] == [(name, line)]:
                # What only Django's own method can answer is handed to it: one frame more.
                continue
            frames.append((name, line))
        return (
            type(error).__qualname__,
            # Python puts the name of the calling function into a few of its own messages.
            [_ADDRESS.sub("", repr(argument)) for argument in error.args],
            frames,
            self.error(error.__cause__, depth + 1),
            self.error(error.__context__, depth + 1),
            error.__suppress_context__,
            [self.error(inner, depth + 1) for inner in getattr(error, "exceptions", ())],
        )

    # -- Receiving

    def called(self, number: int, kwargs: dict[str, Any]) -> None:
        signal = next(
            (n for n, known in enumerate(self.signals) if known is kwargs["signal"]), "unknown"
        )
        self.log.append(
            (
                "call",
                number,
                signal,
                self.sender_of(kwargs["sender"]),
                list(kwargs),
                self.variable.get(),
            )
        )

    def act(self, number: int, kwargs: dict[str, Any]) -> Any:
        self.called(number, kwargs)
        for action in self.program.receivers[number].actions:
            if action[0] == "return":
                return self.value(action[1])
            self.do(action)
        return None

    async def async_act(self, number: int, kwargs: dict[str, Any]) -> Any:
        self.called(number, kwargs)
        for action in self.program.receivers[number].actions:
            if action[0] == "return":
                return self.value(action[1])
            if action[0] == "sleep":
                for _ in range(action[1]):
                    await asyncio.sleep(0)
                    self.log.append(("awake", number, self.variable.get()))
            elif action[0] == "asend":
                if self.may_send():
                    try:
                        self.depth += 1
                        self.awaiting += 1
                        responses = await self.bound(action[1], action[2])(self.sender(action[3]))
                    finally:
                        self.depth -= 1
                        self.awaiting -= 1
                    self.log.append(("nested", self.pairs(responses)))
            elif action[0] == "catch":
                if self.may_send():
                    self.awaiting += 1
                    try:
                        await self.bound("asend", action[1])(self.sender(action[2]))
                    except Exception as error:  # noqa: BLE001
                        self.log.append(("caught", self.error(error)))
                    finally:
                        self.awaiting -= 1
            else:
                self.do(action)
        return None

    def value(self, name: str) -> Any:
        return {"none": None, "int": 5, "list": [1], "self": Argument}[name]

    def may_send(self) -> bool:
        self.sends += 1
        return self.sends < MAX_SENDS and self.depth < MAX_DEPTH

    def new_error(self, name: str) -> BaseException:
        if name == "stop_iteration" and self.awaiting and sys.version_info < (3, 12):
            # A future cannot hold one; before Python 3.12 who waits for it waits for ever.
            name = "value"
        return ERRORS[name]()

    def do(self, action: tuple[Any, ...]) -> None:
        word = action[0]
        if word == "raise":
            raise self.new_error(action[1])
        if word == "raise_from":
            try:
                raise LookupError("first")
            except LookupError as first:
                raise self.new_error(action[1]) from first
        elif word == "set":
            self.variable.set(action[1])
        elif word == "warn":
            warnings.warn("from a receiver", UserWarning, stacklevel=action[1] + 2)
        elif word == "send":
            if self.may_send():
                try:
                    self.depth += 1
                    responses = self.bound(action[1], action[2])(
                        self.sender(action[3]), nested=True
                    )
                finally:
                    self.depth -= 1
                self.log.append(("nested", self.pairs(responses)))
        elif word == "connect":
            self.connect(action[1], action[2], action[3], action[4], None)
        elif word == "disconnect":
            self.disconnect(action[1], action[2], action[3], None)
        elif word == "kill":
            self.kill(action[1])

    # -- Sending

    def bound(self, method: str, signal: int) -> Any:
        return getattr(self.signals[signal % len(self.signals)], method)

    def sender(self, index: int) -> Any:
        return self.senders[index % len(self.senders)]

    def pairs(self, responses: Any) -> Any:
        return [(self.number_of(receiver), self.response(value)) for receiver, value in responses]

    def connect(self, signal, receiver, sender, weak, uid) -> None:
        target = self.receivers[receiver % len(self.receivers)]
        if target is not None:
            chosen = None if sender is None else self.sender(sender)
            try:
                self.signals[signal % len(self.signals)].connect(
                    target, sender=chosen, weak=weak, dispatch_uid=uid
                )
            except TypeError as error:
                self.log.append(("connect", str(error)))

    def disconnect(self, signal, receiver, sender, uid) -> None:
        target = self.receivers[receiver % len(self.receivers)]
        chosen = None if sender is None else self.sender(sender)
        done = self.signals[signal % len(self.signals)].disconnect(
            target, sender=chosen, dispatch_uid=uid
        )
        self.log.append(("disconnected", done))

    def kill(self, receiver: int) -> None:
        self.receivers[receiver % len(self.receivers)] = None

    def named(self, kind: str, signal: int) -> dict[str, Any]:
        if kind == "two":
            return {"b": 2, "a": 1}
        if kind == "instance":
            return {"z": 0, "instance": self.watch(f"argument {len(self.watched)}", Argument())}
        if kind == "signal_self":
            return {"signal": self.signals[signal % len(self.signals)]}
        if kind == "signal_other":
            return {"a": 1, "signal": Signal()}
        if kind == "many":
            return {f"name{number}": number for number in range(12)}
        if kind == "self_named":
            return {"kwargs": 1, "receiver": 2, "merged": 3}
        return {}

    def step(self, step: tuple[Any, ...]) -> None:
        word = step[0]
        if word == "connect":
            self.connect(*step[1:])
        elif word == "disconnect":
            self.disconnect(*step[1:])
        elif word == "kill":
            self.kill(step[1])
        elif word == "kill_sender":
            number = step[1] % len(self.senders)
            if SENDERS[number] not in {"class", "subclass", "none", "string"}:
                self.addresses.add(id(self.senders[number]))
                self.senders[number] = self.make_new_sender(SENDERS[number])
        elif word == "gc":
            gc.collect()
        else:
            self.send(*step[1:])

    def send(self, method: str, signal: int, sender: int, named: str) -> None:
        before = self.variable.set(0)
        try:
            send = self.bound(method, signal)
            arguments = self.named(named, signal)
            if method.startswith("asend"):
                responses = asyncio.run(self.awaited(send, self.sender(sender), arguments))
            else:
                responses = send(self.sender(sender), **arguments)
            self.log.append(("responses", self.pairs(responses), self.variable.get()))
        except BaseException as error:  # noqa: BLE001
            self.log.append(("raised", self.error(error), self.variable.get()))
        finally:
            self.variable.reset(before)

    async def awaited(self, send: Any, sender: Any, arguments: dict[str, Any]) -> Any:
        self.awaiting += 1
        try:
            return await send(sender, **arguments)
        finally:
            self.awaiting -= 1
            self.log.append(("in the loop", self.variable.get()))

    def alive(self, tries: int) -> list[str]:
        """Forget everything and return the names of what is still alive."""
        for number in range(len(self.signals)):
            self.watch(f"signal {number}", self.signals[number])
        watched = self.watched
        self.receivers = self.senders = self.signals = ()  # type: ignore[assignment]
        for _ in range(tries):
            gc.collect()
            alive = sorted(name for name, reference in watched.items() if reference() is not None)
            if not alive:
                break
            # A thread that ran receivers may not be through with its last frame yet.
            threading.Event().wait(0.005)
        return alive


class Records(logging.Handler):
    """Keeps the records of a logger in the log of a world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "asyncio" and record.msg == "Executing %s took %.3f seconds":
            return  # In development mode, of a step that took 100 ms: of a busy machine.
        error = record.exc_info[1] if record.exc_info else None
        text = _ADDRESS.sub("", record.getMessage().partition("\n")[0])
        self.world.log.append((record.name, record.levelname, text, self.world.error(error)))


def warned(record: warnings.WarningMessage) -> tuple[Any, ...]:
    """Return where a warning points; a frame of the dispatcher is one wherever it is written."""
    file, line = record.filename, record.lineno
    if file.endswith(_DISPATCHERS):
        file, line = "dispatcher", 0
    # Its first line: in development mode asyncio adds where a coroutine was created, frame by frame.
    text = _ADDRESS.sub("", str(record.message).partition("\n")[0])
    return (record.category.__name__, text, file, line)


def run(program: Program, tries: int = 1) -> list[Any]:
    """Run *program* on the installed ``Signal`` and return its log.

    *tries* is how often it is looked whether what is alive at the end dies.
    """
    if heap.is_frozen:
        # What the test has made since goes there, too.
        gc.freeze()
    world = World(program)
    records = Records(world)
    loggers = [logging.getLogger("django.dispatch"), logging.getLogger("asyncio")]
    kept = [(logger.propagate, logger.level) for logger in loggers]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for logger in loggers:
            logger.addHandler(records)
            logger.propagate = False
        unraisable, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for step in program.steps:
                world.step(step)
        finally:
            alive = world.alive(tries)
            sys.unraisablehook = unraisable
            for logger, (propagate, level) in zip(loggers, kept, strict=True):
                logger.removeHandler(records)
                logger.propagate = propagate
                logger.setLevel(level)
    log = world.log
    log.append(("warnings", sorted(warned(record) for record in caught)))
    log.append(("alive", alive))
    return log
