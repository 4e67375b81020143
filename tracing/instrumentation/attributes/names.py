"""Names: from signals, senders and receivers to dotted strings.

Nothing here calls a receiver, evaluates a value or trusts ``__class__``: what is named may be
hostile. A name is resolved once per object and remembered under its identity; the memory holds
only a weak reference, whose death forgets the name before the id can be given out again.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import types
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import ref  # By its own name: a test of the application may watch ``weakref.ref``.

from django.apps import apps
from django.db.models import Model

from tracing.instrumentation.attributes.mine import is_mine
from tracing.instrumentation.attributes.redaction import redact_text
from tracing.instrumentation.failures import is_own
from tracing.instrumentation.recent import Recent
from tracing.spans.records import ReceiverLabel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MAX_NAME = 255
"""Characters kept of a name."""

qualname_of = type.__dict__["__qualname__"].__get__
"""Return a class's qualified name without asking its metaclass; it may be of a subclass of ``str``."""


def exact(text: object) -> str:
    """Return *text* as an exact string, without a class of its own."""
    if type(text) is str:
        return text
    return str.__str__(text) if issubclass(type(text), str) else ""


def module_of(cls: type) -> str:
    """Return the module of *cls* as a string, empty if it has none."""
    return exact(type.__getattribute__(cls, "__module__"))


def popping(held: dict[Any, Any], key: object) -> Callable[[object], object]:
    """Return what a weak reference calls to take *key* out of *held*.

    No function of Python's own: what a timer or a signal handler raised in it would be lost, since
    Python passes on nothing that is raised while an object dies.
    """
    return functools.partial(held.pop, key)


_weak_offset = type.__dict__["__weakrefoffset__"].__get__


def is_referable(target: object) -> bool:
    """Return whether *target* can be referred to weakly."""
    return bool(_weak_offset(type(target)))


class IdentityMemory(Generic[T]):
    """Remember values by the identity of objects, which may die.

    Objects that cannot be weakly referenced are not remembered.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[int, tuple[ref[Any], T]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, target: object) -> T | None:
        """Return what is remembered for this very object, None if nothing is."""
        entry = self._values.get(id(target))
        if entry is not None and entry[0]() is target:
            return entry[1]
        return None

    def put(self, target: object, value: T) -> None:
        """Remember *value* for *target* as long as *target* lives."""
        key = id(target)
        if is_referable(target):
            self._values[key] = (ref(target, popping(self._values, key)), value)

    def values(self) -> list[tuple[ref[Any], T]]:
        """Return (weak reference, value) of every object remembered."""
        return list(self._values.values())

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()


def dotted(cls: type) -> str:
    """Return ``module.qualname`` of a class; builtins without their module."""
    module = module_of(cls)
    name = exact(qualname_of(cls))[:MAX_NAME]
    return name if module in {"", "builtins"} else f"{module[:MAX_NAME]}.{name}"


# --- what modules hold -------------------------------------------------------------------------


def held_by_modules(wanted: type) -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of each *wanted* in loaded modules."""
    # Of the kinds there are far fewer than of values.
    kinds: dict[type, bool] = {}
    for module_name, module in list(sys.modules.items()):
        if type(module) is not types.ModuleType:
            continue
        for name, value in list(module.__dict__.items()):
            kind = type(value)
            # The class is asked, not isinstance(): a lazy object would wake up.
            if (is_wanted := kinds.get(kind)) is None:
                is_wanted = kinds[kind] = issubclass(kind, wanted)
            if is_wanted:
                yield f"{module_name}.{name}", value
            elif kind is type and module_of(value) == module_name:
                for inner, attribute in list(vars(value).items()):
                    kind = type(attribute)
                    if (is_wanted := kinds.get(kind)) is None:
                        is_wanted = kinds[kind] = issubclass(kind, wanted)
                    if is_wanted:
                        yield f"{module_name}.{exact(qualname_of(value))}.{inner}", attribute


# --- senders ---------------------------------------------------------------------------------


OF_MIGRATION = " (migration)"
"""What follows the label of a model as a migration makes it, which is another class than the model."""
_MIGRATION_MODULE = "__fake__"


def is_class(target: object) -> bool:
    """Return whether *target* is a class, without asking it."""
    return issubclass(type(target), type)


def sender_name(sender: object) -> str:
    """Return a model's label, or the dotted path of anything else."""
    if sender is None:
        return "None"
    kind = type(sender)
    if is_class(sender):
        if issubclass(sender, Model):  # type: ignore[arg-type]
            meta = getattr(sender, "_meta", None)
            if meta is not None:
                label = exact(meta.label)[:MAX_NAME]
                is_of_migration = module_of(sender) == _MIGRATION_MODULE  # type: ignore[arg-type]
                return label + OF_MIGRATION if is_of_migration else label
        return dotted(sender)[:MAX_NAME]  # type: ignore[arg-type]
    if kind is str:
        return redact_text(f"'{sender[:MAX_NAME]}'")[:MAX_NAME]  # type: ignore[index]
    if kind is types.ModuleType:
        # A module may have a class and attributes of its own making.
        return exact(object.__getattribute__(sender, "__dict__").get("__name__"))[:MAX_NAME]
    if kind is types.FunctionType:
        return _function_name(sender)[:MAX_NAME]  # type: ignore[arg-type]
    return f"{dotted(kind)} instance"[:MAX_NAME]


# --- receivers -------------------------------------------------------------------------------


_MOST_WRAPPERS = 20
"""Wrappers around one function that are followed; a chain that bites its tail ends there."""


def wrapped_by(receiver: object) -> object | None:
    """Return the function that *receiver* wraps as a decorator, or None.

    ``functools.wraps`` leaves a reference. A wrapper made without it shows itself by its closure:
    it takes what it is given and holds one function that could itself be a receiver.
    """
    kind = type(receiver)
    if kind is types.FunctionType:
        inner = receiver.__dict__.get("__wrapped__")
        return inner if type(inner) in _WRAPPED else _wrapped_in_closure(receiver)  # type: ignore[arg-type]
    if kind in _LIBRARY_FUNCTIONS or is_class(receiver):
        return None
    held = instance_attributes(receiver)
    name = _WRAPPERS_OF_LIBRARIES.get((module_of(kind), exact(qualname_of(kind))), "__wrapped__")
    inner = held.get(name)
    slot = _class_attribute(kind, "__wrapped__")
    if inner is None and type(slot) in SLOTS:
        try:
            inner = slot.__get__(receiver)  # type: ignore[attr-defined]
        except (AttributeError, ValueError):  # A proxy that was never given anything.
            return None
    return inner if type(inner) in _WRAPPED else None


_WRAPPED = {types.FunctionType, types.MethodType, functools.partial}
"""What a wrapper may hold and be named after."""
SLOTS = {types.GetSetDescriptorType, types.MemberDescriptorType}
"""How proxies that are made in C, those of wrapt, hold what they stand for."""
_LIBRARY_FUNCTIONS = {
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    functools.partial,
}
_WRAPPERS_OF_LIBRARIES = {
    ("asgiref.sync", "SyncToAsync"): "func",
    ("asgiref.sync", "AsyncToSync"): "awaitable",
}
"""The attribute in which wrappers that leave no ``__wrapped__`` hold what they wrap."""


def instance_attributes(target: object) -> dict[str, Any]:
    """Return the ``__dict__`` of *target*, past its class; empty without."""
    try:
        held = object.__getattribute__(target, "__dict__")
    except AttributeError as error:
        if not is_own(error):
            raise
        return {}
    return held if type(held) is dict else {}


def _takes_any(code: types.CodeType) -> bool:
    """Return whether *code* takes ``(sender, **kwargs)``, or more."""
    return bool(code.co_flags & inspect.CO_VARKEYWORDS) and (
        code.co_argcount > 0 or bool(code.co_flags & inspect.CO_VARARGS)
    )


def _wrapped_in_closure(function: types.FunctionType) -> types.FunctionType | None:
    """Return the one function in a closure that could be a receiver."""
    cells = function.__closure__
    code = function.__code__
    if not cells or code.co_argcount > 1 or code.co_kwonlyargcount or not _takes_any(code):
        return None
    found = None
    for cell in cells:
        try:
            held = cell.cell_contents
        except ValueError:  # Its variable was never set.
            continue
        if type(held) is types.FunctionType and held is not function and _takes_any(held.__code__):
            if found is not None:
                return None
            found = held
    return found


def _unwrapped(function: types.FunctionType) -> types.FunctionType:
    """Return the innermost plain function in *function*, or itself."""
    for _ in range(_MOST_WRAPPERS):
        inner = wrapped_by(function)
        if type(inner) is not types.FunctionType:
            break
        function = inner
    return function


def _code_of(function: object) -> types.CodeType | None:
    """Return the code that a plain function wraps; None for anything else."""
    return _unwrapped(function).__code__ if type(function) is types.FunctionType else None


def _function_name(function: types.FunctionType) -> str:
    """Return ``module.qualname`` of a function, whatever they are set to."""
    return f"{exact(function.__module__)}.{exact(function.__qualname__)}"


def _describe(receiver: object, depth: int = 0) -> tuple[str, types.CodeType | None, str]:
    """Return (name, code or None, module) of a receiver of any kind."""
    if depth > _MOST_WRAPPERS:
        return dotted(type(receiver)), None, module_of(type(receiver))
    kind = type(receiver)
    if kind is types.FunctionType:
        inner = _unwrapped(receiver)  # type: ignore[arg-type]
        bound = wrapped_by(inner)
        if bound is not None:
            # A wrapper of a method or of a partial, which no plain function is behind.
            return _describe(bound, depth + 1)
        # A wrapper that took over the name of what it wraps may have been given another since.
        named = receiver if "__wrapped__" in receiver.__dict__ else inner
        return _function_name(named), inner.__code__, exact(named.__module__)  # type: ignore[arg-type]
    if kind is types.MethodType:
        owner = receiver.__self__  # type: ignore[attr-defined]
        function = receiver.__func__  # type: ignore[attr-defined]
        cls = owner if is_class(owner) else type(owner)
        if type(function) is types.FunctionType:
            return f"{dotted(cls)}.{exact(function.__name__)}", _code_of(function), module_of(cls)
        name, code, _module = _describe(function, depth + 1)
        return f"{dotted(cls)}.{name}", code, module_of(cls)
    if issubclass(kind, functools.partial):
        name, code, module = _describe(functools.partial.func.__get__(receiver), depth + 1)
        return f"functools.partial({name})", code, module
    if kind in {types.BuiltinFunctionType, types.MethodWrapperType}:
        module = exact(getattr(receiver, "__module__", None)) or "builtins"
        return f"{module}.{exact(receiver.__qualname__)}", None, module  # type: ignore[attr-defined]
    if is_class(receiver):
        made = _class_attribute(receiver, "__init__")  # type: ignore[arg-type]
        return dotted(receiver), _code_of(made), module_of(receiver)  # type: ignore[arg-type]
    wrapped = wrapped_by(receiver)
    if wrapped is not None:
        return _describe(wrapped, depth + 1)
    call = _class_attribute(kind, "__call__")
    return f"{dotted(kind)}()", _code_of(call), module_of(kind)


def _class_attribute(cls: type, name: str) -> object:
    """Return what *cls* or a base holds under *name*, unbound."""
    for base in type.__dict__["__mro__"].__get__(cls):
        if name in base.__dict__:
            return base.__dict__[name]
    return None


_app_of_module: Recent[str, str] = Recent(2_000)


def app_of(module: str) -> str:
    """Return the label of the application of *module*; empty without one."""
    known = _app_of_module.get(module)
    if known is None:
        if not apps.apps_ready:
            return ""
        config = apps.get_containing_app_config(module)
        known = config.label if config is not None else ""
        _app_of_module.put(module, known)
    return known


_files: Recent[str, str] = Recent(5_000)
_labels: Recent[tuple[Any, ...], ReceiverLabel] = Recent(10_000)


def forget_labels() -> None:
    """Make the labels of receivers anew from now on."""
    _labels.clear()


def _file_of(code: types.CodeType) -> str:
    """Return the absolute path of the file of *code*; empty without one."""
    filename = code.co_filename
    if filename[:1] == "<":
        return ""
    path = _files.get(filename)
    if path is None:
        path = os.path.abspath(filename)
        _files.put(filename, path)
    return path


def receiver_label(
    receiver: object,
    *,
    dispatch_uid: object = None,
    weak: bool = True,
    is_async: bool = False,
    any_sender: bool = False,
) -> ReceiverLabel:
    """Return the label of *receiver*, one for all that look alike.

    A dispatch_uid that is not a string is shown as its type's name, since its repr is not ours to call.
    """
    name, code, module = _describe(receiver)
    uid = ""
    if type(dispatch_uid) is str:
        uid = redact_text(dispatch_uid[:MAX_NAME])
    elif dispatch_uid is not None:
        uid = f"<{exact(qualname_of(type(dispatch_uid)))}>"
    parts = (
        name[:MAX_NAME],
        _file_of(code) if code is not None else "",
        code.co_firstlineno if code is not None else 0,
        uid[:MAX_NAME],
        weak,
        is_async,
        app_of(module),
        any_sender,
    )
    label = _labels.get(parts)
    if label is None:
        label = ReceiverLabel(*parts, mine=is_mine(parts[0], module, parts[1]))
        _labels.put(parts, label)
    return label
