"""Neighbours: other tools with a hand in Django's signals.

Error trackers replace ``Signal._live_receivers`` and hand out wrappers of the receivers; others wrap the
send methods. What Django itself defined is looked for behind them, as are the receivers in wrappers.
"""

from __future__ import annotations

import functools
import sys
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from django.dispatch import Signal, dispatcher

from tracing.instrumentation.attributes.equality import is_same_function
from tracing.instrumentation.attributes.names import (
    SLOTS,
    _class_attribute,
    dotted,
    instance_attributes,
    is_class,
)
from tracing.instrumentation.attributes.signal_names import signal_name
from tracing.instrumentation.connections.receivers import (
    PLAIN_LIMIT,
    UncachedReceivers,
    uncached_receivers,
)
from tracing.instrumentation.connections.registry import living_signals
from tracing.instrumentation.failures import is_own
from tracing.spans.records import Method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEPTH: Final = 8
"""Wrappers around one function that are looked into."""
_MOST: Final = 300
"""Objects that are looked at for one function."""


def _held_by(target: object) -> Iterator[object]:
    """Yield what a wrapper may hold of what it wraps, unasked."""
    kind = type(target)
    if kind is FunctionType:
        yield target.__dict__.get("__wrapped__")
        for cell in target.__closure__ or ():  # type: ignore[attr-defined]
            try:
                yield cell.cell_contents
            except ValueError:  # Its variable was never set.
                continue
        yield from target.__defaults__ or ()  # type: ignore[attr-defined]
        yield from (target.__kwdefaults__ or {}).values()  # type: ignore[attr-defined]
    elif kind is MethodType:
        yield target.__func__  # type: ignore[attr-defined]
        yield target.__self__  # type: ignore[attr-defined]
    elif issubclass(kind, functools.partial):
        yield functools.partial.func.__get__(target)
        yield from functools.partial.args.__get__(target)
    elif not is_class(target) and kind is not ModuleType:
        try:
            yield object.__getattribute__(target, "__wrapped__")  # Of a proxy made in C, too.
        except AttributeError as error:
            if not is_own(error):
                raise
        yield from instance_attributes(target).values()


def _named_by(target: object) -> Iterator[object]:
    """Yield the functions that a foreign function names as globals."""
    if type(target) is FunctionType and target.__globals__ is not vars(dispatcher):
        for name in target.__code__.co_names:
            found = target.__globals__.get(name)
            if type(found) is FunctionType:
                yield found


def _behind(target: object, more: Callable[[object], Iterator[object]] | None) -> Iterator[object]:
    """Yield *target* and what is behind it, nearest first."""
    seen: set[int] = set()
    level = [target]
    for _ in range(_DEPTH):
        inner: list[object] = []
        for each in level:
            if id(each) in seen or len(seen) >= _MOST:
                continue
            seen.add(id(each))
            yield each
            inner.extend(_held_by(each))
            if more is not None:
                inner.extend(more(each))
        level = [each for each in inner if callable(each)]


def _is_django_s(function: object, name: str) -> bool:
    return (
        type(function) is FunctionType
        and function.__globals__ is vars(dispatcher)
        and function.__code__.co_qualname == f"Signal.{name}"
    )


def stock(name: str) -> Any:
    """Return Django's own method of ``Signal``; None if it is lost."""
    for each in _behind(Signal.__dict__.get(name), _named_by):
        if _is_django_s(each, name):
            return each
    return None


def copied(function: Any) -> Any:
    """Return a copy of a function, safe from new code in the first."""
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__qualname__ = function.__qualname__
    return copy


STOCK_SENDS: Final[dict[Method, Any]] = {method: stock(method.value) for method in Method}
"""Django's own send methods."""
PRISTINE_SENDS: Final[dict[Method, Any]] = {
    method: copied(function) for method, function in STOCK_SENDS.items() if function is not None
}
"""The same as they were, since code of ours may be put into them."""
STOCK_LIVE_RECEIVERS: Final = stock("_live_receivers") or object()


# --- receivers ---------------------------------------------------------------------------------


def _is_same(first: object, second: object) -> bool:
    return first is second or (
        type(first) is MethodType
        and type(second) is MethodType
        and first.__self__ is second.__self__
        and first.__func__ is second.__func__
    )


def stands_for(outer: object, receiver: object) -> bool:
    """Return whether *outer* is *receiver*, or wraps it at any depth."""
    if _is_same(outer, receiver):
        return True
    if type(outer) is FunctionType and _is_same(outer.__dict__.get("__wrapped__"), receiver):
        return True
    # A partial of a partial is made of the parts of that one.
    return any(_is_same(each, receiver) for each in _behind(outer, None)) or is_same_function(
        outer, receiver
    )


_BESIDE: Final = "_tracing_receiver_sets"
"""Attribute of such a signal. A memory of ours would keep receivers alive that hold their signal."""


def own_receivers(signal: Signal, sender: Any) -> UncachedReceivers | None:
    """Return what Django would resolve where others do; None without.

    Django's cache is left alone: who overrides ``_live_receivers`` may keep there what it likes.
    """
    if not signal.receivers:
        return None
    known: dict[int, UncachedReceivers] = vars(signal).setdefault(_BESIDE, {})
    cached = known.get(id(sender))
    if (
        cached is None
        or cached.sender() is not sender
        or cached.connections != signal.receivers
        or signal._dead_receivers  # type: ignore[attr-defined]
    ):
        cached = uncached_receivers(signal, sender)[0]
        if cached is None:
            known.pop(id(sender), None)
            return None
        if len(known) >= PLAIN_LIMIT:
            known.clear()
        known[id(sender)] = cached
    return cached


def represent(handed_out: list[Any], derefs: tuple[Callable[[], Any], ...]) -> bool:
    """Return whether *handed_out* are those receivers, perhaps wrapped."""
    return len(handed_out) == len(derefs) and all(
        stands_for(outer, deref()) for outer, deref in zip(handed_out, derefs, strict=True)
    )


# --- who they are ------------------------------------------------------------------------------


def replaced() -> list[tuple[str, str]]:
    """Return (method of Signal, what stands there) of each foreign one."""
    found = []
    for name in (*(method.value for method in Method), "_live_receivers"):
        current = Signal.__dict__.get(name)
        if _is_django_s(current, name) or _module_of(current).partition(".")[0] == "tracing":
            continue
        found.append((name, describe(current)))
    return found


def _module_of(target: object) -> str:
    if type(target) is FunctionType:
        return str(target.__globals__.get("__name__", ""))
    return str(getattr(type(target), "__module__", ""))


def describe(target: object) -> str:
    """Return the dotted name of a function or wrapper, by whose code it is."""
    # By its code: functools.wraps has given it the name of what it wraps.
    if type(target) is FunctionType:
        return f"{_module_of(target)}.{target.__code__.co_qualname}"
    wrapper = _called_by_proxy(target)
    return describe(wrapper) if type(wrapper) is FunctionType else dotted(type(target))


def _called_by_proxy(target: object) -> object:
    """Return what a wrapt proxy calls with what it stands for, or None."""
    slot = _class_attribute(type(target), "_self_wrapper")
    return slot.__get__(target) if type(slot) in SLOTS else None  # type: ignore[attr-defined]


def getframe_beyond(wrapper: object) -> Callable[[int], FrameType]:
    """Return a ``sys._getframe`` that passes over frames of *wrapper*."""
    functions = list(_behind(wrapper, None))
    functions += [_called_by_proxy(each) for each in functions]
    codes = [each.__code__ for each in functions if type(each) is FunctionType]
    identities = {id(code) for code in codes}

    def getframe(depth: int, _kept_alive: object = codes) -> FrameType:
        frame = sys._getframe(depth + 1)
        while id(frame.f_code) in identities and frame.f_back is not None:
            frame = frame.f_back
        return frame

    return getframe


def own_sends(cls: type) -> list[str]:
    """Return the methods of a signal class that never reach ``Signal``."""
    return [
        method.value
        for method in Method
        if any(method.value in vars(base) for base in cls.__mro__[: cls.__mro__.index(Signal)])
        and not _reaches_django(cls, method)
    ]


def _reaches_django(cls: type, method: Method) -> bool:
    """Return whether the override in *cls* calls ``super()`` or Signal."""
    function = next(vars(base)[method.value] for base in cls.__mro__ if method.value in vars(base))
    if type(function) is not FunctionType:
        return True  # Not known; nothing is claimed.
    names: set[str] = set()
    codes = [function.__code__]
    for code in codes:
        names |= set(code.co_names)
        codes += [each for each in code.co_consts if hasattr(each, "co_names")]
    return bool(names & {each.value for each in Method})


def signals_with_own_send() -> list[tuple[str, str, list[str]]]:
    """Return (signal, class, methods) of signals with their own send."""
    # The classes first: there are few, and only where one has a method of its own is it worth
    # walking through all that the loaded modules hold.
    methods_of = {cls: methods for cls in _kinds_of(Signal) if (methods := own_sends(cls))}
    if not methods_of:
        return []
    return sorted(
        (signal_name(signal), dotted(type(signal)), methods_of[type(signal)])
        for signal in living_signals()
        if signal.receivers and type(signal) in methods_of
    )


def _kinds_of(cls: type) -> Iterator[type]:
    """Yield *cls* and all classes made from it, some perhaps twice."""
    yield cls
    made: list[type] = type.__subclasses__(cls)
    for derived in made:
        yield from _kinds_of(derived)
