"""Twins: connected receivers that are one function, bound alike.

One function reaches a dispatch twice when its module was imported under two names, when a factory
made it twice, or when it was connected under two uids. Nothing here calls a receiver or compares
values by asking them: values of builtin types are compared, everything else by identity.

Receivers are compared in pairs only where their labels name one place and their outlines, hashes of
what lies on the surface, are equal: what it costs grows with their number, not with its square.
"""

from __future__ import annotations

import functools
from types import CellType, CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.attributes.names import wrapped_by
from tracing.instrumentation.failures import is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracing.spans.records import ReceiverLabel

_SIMPLE: Final = frozenset({str, bytes, int, float, bool, complex, type(None)})
_DEPTH: Final = 10
"""Levels of functions, objects and containers that are looked into; a loop ends there."""
_MOST_ITEMS: Final = 100
"""Items of a container that are compared; a longer one is its own twin only."""
_MOST_COMPARED: Final = 4
"""Receivers of one outline that another of it is compared with: they differ where nobody looks."""


def twins_among(
    labels: Sequence[ReceiverLabel],
    outline_at: Callable[[int], int],
    receiver_at: Callable[[int], object],
) -> tuple[int | None, ...]:
    """Return the position of each receiver's earlier twin; empty if none."""
    if len({label.line for label in labels}) == len(labels):
        return ()  # The usual case.
    places: dict[tuple[str, int], list[int]] = {}
    for position, label in enumerate(labels):
        places.setdefault((label.file, label.line), []).append(position)
    duplicate_of: list[int | None] = [None] * len(labels)
    for positions in places.values():
        if len(positions) > 1:
            _compare(positions, outline_at, receiver_at, duplicate_of)
    return tuple(duplicate_of) if any(other is not None for other in duplicate_of) else ()


def _compare(
    positions: list[int],
    outline_at: Callable[[int], int],
    receiver_at: Callable[[int], object],
    duplicate_of: list[int | None],
) -> None:
    """Enter the twins among *positions*, which name one place."""
    different: dict[int, list[int]] = {}
    for position in positions:
        others = different.setdefault(outline_at(position), [])
        receiver = receiver_at(position)
        for other in others:
            if receiver is not None and is_same_function(receiver_at(other), receiver):
                duplicate_of[position] = other
                break
        else:
            if len(others) < _MOST_COMPARED:
                others.append(position)


def outline(receiver: object) -> int:
    """Return a number that is the same for receivers that are the same."""
    for _ in range(_DEPTH):
        receiver = _without_empty_partials(receiver)
        inner = wrapped_by(receiver)
        if inner is None:
            break
        receiver = inner
    kind = type(receiver)
    if kind is FunctionType:
        return _outline_of_function(receiver)  # type: ignore[arg-type]
    if kind is MethodType:
        bound_to = receiver.__self__  # type: ignore[attr-defined]
        return hash((outline(receiver.__func__), _outline_of_object(bound_to)))  # type: ignore[attr-defined]
    if kind is functools.partial:
        return hash((_surface(receiver.args), _surface(receiver.keywords)))  # type: ignore[attr-defined]
    return _outline_of_object(receiver)


def _outline_of_function(function: FunctionType) -> int:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(_surface(cell.cell_contents))
        except ValueError:  # Its variable was never set.
            cells.append(0)
    code = function.__code__
    defaults = tuple([_surface(value) for value in function.__defaults__ or ()])
    return hash((code.co_filename, code.co_firstlineno, defaults, tuple(cells)))


def _outline_of_object(target: object) -> int:
    held = _attributes(target)
    if held is None:
        return _surface(target)
    if len(held) > _MOST_ITEMS or not all(type(name) is str for name in held):
        return id(target)
    # In any order: a dictionary has that in which it was filled.
    return hash((id(type(target)), frozenset([(name, _surface(held[name])) for name in held])))


def _surface(value: object) -> int:
    """Return a number that is the same for values that are the same."""
    kind = type(value)
    if kind in _SIMPLE:
        return hash((kind, value))
    if kind in {tuple, list, dict}:
        return hash((kind, len(value)))  # type: ignore[arg-type]
    if kind in _HOLD_FUNCTIONS:
        return 0
    return id(value) if issubclass(kind, type) or not _is_made_by_class_statement(kind) else 0


def is_same_function(first: object, second: object, depth: int = _DEPTH) -> bool:
    """Return whether two receivers have the same code and bound values.

    Args:
        first: A receiver, alive.
        second: Another one, or the same.
        depth: How many levels of wrapped functions and containers are looked into.
    """
    first, second = _without_empty_partials(first), _without_empty_partials(second)
    if first is second:
        return True
    if depth <= 0:
        return False
    if _wraps(first, second, depth) or _wraps(second, first, depth):
        return True
    kind = type(first)
    if kind is not type(second):
        return False
    if kind is FunctionType:
        return _same_plain(first, second, depth)  # type: ignore[arg-type]
    if kind is MethodType:
        return is_same_function(first.__func__, second.__func__, depth - 1) and _same_value(  # type: ignore[attr-defined]
            first.__self__,  # type: ignore[attr-defined]
            second.__self__,  # type: ignore[attr-defined]
            depth - 1,
        )
    if kind is functools.partial:
        return (
            is_same_function(first.func, second.func, depth - 1)  # type: ignore[attr-defined]
            and _same_value(first.args, second.args, depth - 1)  # type: ignore[attr-defined]
            and _same_value(first.keywords, second.keywords, depth - 1)  # type: ignore[attr-defined]
        )
    return _same_object(first, second, depth)


def _without_empty_partials(receiver: object) -> object:
    """Return what a partial without arguments calls; else *function*."""
    for _ in range(_DEPTH):
        if type(receiver) is not functools.partial or receiver.args or receiver.keywords:
            break
        receiver = receiver.func
    return receiver


def _wraps(outer: object, inner: object, depth: int) -> bool:
    """Return whether *outer* wraps the plain function *inner*."""
    if type(inner) is not FunctionType:
        return False
    for _ in range(depth):
        wrapped = wrapped_by(outer)
        if wrapped is None:
            return False
        if wrapped is inner or (
            type(wrapped) is FunctionType and _same_plain(wrapped, inner, depth - 1)
        ):
            return True
        outer = wrapped
    return False


def _same_plain(first: FunctionType, second: FunctionType, depth: int) -> bool:
    return (
        _same_code(first.__code__, second.__code__)
        and _same_value(first.__defaults__, second.__defaults__, depth - 1)
        and _same_value(first.__kwdefaults__, second.__kwdefaults__, depth - 1)
        and _same_cells(first.__closure__ or (), second.__closure__ or (), depth - 1)
    )


def _same_code(first: CodeType, second: CodeType) -> bool:
    """Return whether two code objects are of the same lines of a file."""
    return first is second or (
        first.co_filename == second.co_filename
        and first.co_firstlineno == second.co_firstlineno
        and first == second
    )


def _same_cells(first: tuple[CellType, ...], second: tuple[CellType, ...], depth: int) -> bool:
    if len(first) != len(second):
        return False
    for mine, other in zip(first, second, strict=True):
        try:
            contents = mine.cell_contents, other.cell_contents
        except ValueError:  # An empty cell: its variable was never set.
            return False
        if not _same_value(*contents, depth):
            return False
    return True


def _same_value(first: object, second: object, depth: int) -> bool:
    """Return whether two bound values are the same, by no foreign ``__eq__``."""
    if first is second:
        return True
    kind = type(first)
    if kind is not type(second) or depth <= 0:
        return False
    if kind in _SIMPLE:
        return bool(first == second)
    if kind in {tuple, list}:
        return _same_items(first, second, depth)  # type: ignore[arg-type]
    if kind is dict:
        return _same_dict(first, second, depth)  # type: ignore[arg-type]
    return is_same_function(first, second, depth - 1)


def _same_items(first: Sequence[Any], second: Sequence[Any], depth: int) -> bool:
    return len(first) == len(second) <= _MOST_ITEMS and all(
        _same_value(mine, other, depth - 1) for mine, other in zip(first, second, strict=True)
    )


def _same_dict(first: dict[Any, Any], second: dict[Any, Any], depth: int) -> bool:
    if not len(first) == len(second) <= _MOST_ITEMS or not all(
        type(key) is str for key in (*first, *second)
    ):
        return False
    return all(
        key in second and _same_value(value, second[key], depth - 1) for key, value in first.items()
    )


def _same_object(first: object, second: object, depth: int) -> bool:
    """Return whether two objects of one class hold the same attributes.

    An object of a class made in C hides what it holds: it is its own twin only.
    """
    mine, other = _attributes(first), _attributes(second)
    return mine is not None and other is not None and _same_dict(mine, other, depth - 1)


def _attributes(target: object) -> dict[str, Any] | None:
    """Return all that *target* holds; None if that cannot be told."""
    held: dict[str, Any] = {}
    if type(target) is object:
        return None
    for base in type.__dict__["__mro__"].__get__(type(target))[:-1]:
        if not _is_made_by_class_statement(base):
            return None
        for name, slot in base.__dict__.items():
            if type(slot) is MemberDescriptorType:
                try:
                    held[name] = slot.__get__(target)
                except AttributeError as error:  # Nothing was put into it.
                    if not is_own(error):
                        raise
    try:
        attributes = object.__getattribute__(target, "__dict__")
    except AttributeError as error:
        if not is_own(error):
            raise
        return held
    if type(attributes) is not dict:
        return None
    return held | attributes


_HOLD_FUNCTIONS: Final = frozenset({FunctionType, MethodType, functools.partial})
_FLAGS: Final = type.__dict__["__flags__"].__get__
_HEAPTYPE: Final = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``."""


def _is_made_by_class_statement(cls: type) -> bool:
    return bool(_FLAGS(cls) & _HEAPTYPE)
