"""Shapes of settings: the reading of values, and words on wrong ones."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    NamedTuple,
    TypeVar,
    cast,
    dataclass_transform,
)

from tracing.spans.records import Kind
from tracing.units import DURATION_UNITS, SECOND_NS, parse_age, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")
OptionsT = TypeVar("OptionsT", bound="Options")
Say = Callable[[str], None]
"""Takes what is wrong inside of a value, of which the rest is taken."""


class Shape(NamedTuple):
    """A kind of value: what is said of any other, and how it is read."""

    expected: str
    read: Callable[[Any, Say], Any]
    """Return the value; raises ValueError or TypeError, with a text if it has more to say."""
    is_secret: bool = False
    """A value is not shown with what is wrong with it."""


class Option(NamedTuple):
    """A value that may be set: its default, its shape and its keys."""

    default: Any
    shape: Shape | None
    """None for what only the tracer sets."""
    names: tuple[str, ...]
    """Keys that it is written as; empty for its own name."""


def option(default: T, shape: Shape | None = None, *names: str) -> T:
    """Return what a class of ``Options`` has in the place of *default*."""
    return cast("T", Option(default, shape, names))


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Options:
    """Values that stay, each an attribute of an ``option``.

    What a frozen dataclass is, without the methods that it compiles for each class when that is
    loaded. Two are equal if the same was set; what the tracer sets does not count.
    """

    options: ClassVar[dict[str, Option]]

    def __init_subclass__(cls) -> None:
        cls.options = {name: each for name, each in vars(cls).items() if type(each) is Option}

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - self.options.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, (default, _shape, _names) in self.options.items():
            kept = type(default)(default) if isinstance(default, list | dict) else default
            vars(self)[name] = values.get(name, kept)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} stays as it is")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} stays")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._set() == self._set()

    __hash__ = None  # type: ignore[assignment]  # lists are among the values.

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"

    def _set(self) -> list[Any]:
        return [getattr(self, name) for name, each in self.options.items() if each.shape]


def _if(fits: Callable[[Any], bool]) -> Callable[[Any, Say], Any]:
    def read(value: object, _say: Say) -> object:
        if not fits(value):
            raise ValueError
        return value

    return read


def _is_number(value: object, low: float = 0.0, high: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_ratio(value: object) -> bool:
    return _is_number(value, 0.0, 1.0)


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _is_of_strings(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def _texts(value: object, say: Say) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError
    for item in value:
        if not isinstance(item, str):
            say(f"has {item!r}, which is no string and is left out")
    return [item for item in value if isinstance(item, str)]


def _period(value: object, _say: Say) -> object:
    if isinstance(value, str):
        return parse_duration(value) / SECOND_NS
    return NUMBER.read(value, _say)


def _age(value: object, _say: Say) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_age(value)
    raise TypeError


def _size(value: object, _say: Say) -> object:
    return parse_size(value) if isinstance(value, str) else NUMBER.read(value, _say)


def _by_kind(value: object, say: Say) -> dict[str, float]:
    if not isinstance(value, dict):
        raise TypeError
    kinds = [str(kind) for kind in Kind]
    for kind, ratio in value.items():
        if kind not in kinds:
            say(f"has an unknown kind {kind!r}{near(str(kind), kinds)}")
        elif not _is_ratio(ratio):
            say(f"has {ratio!r} for {kind!r}, no number from 0 to 1")
    return {kind: share for kind, share in value.items() if kind in kinds and _is_ratio(share)}


def _by_path(value: object, say: Say) -> list[tuple[str, float]]:
    if not isinstance(value, list | tuple):
        raise TypeError
    pairs = []
    for pair in value:
        match pair:
            case [str(pattern), ratio] if _is_ratio(ratio):
                pairs.append((pattern, ratio))
            case _:
                say(f"has {pair!r}, no pair of a pattern and a ratio")
    return pairs


BY_KIND: Final = Shape("a dictionary", _by_kind)
BY_PATH: Final = Shape("a list", _by_path)
FLAG: Final = Shape("True or False", _if(lambda value: isinstance(value, bool)))
NUMBER: Final = Shape("a number from 0 up", _if(_is_number))
POSITIVE: Final = Shape("a number above 0", _if(lambda value: _is_number(value) and value > 0))
RATIO: Final = Shape("a number from 0.0 to 1.0", _if(_is_ratio))
TEXT: Final = Shape("a string", _if(lambda value: isinstance(value, str)))
PATH: Final = Shape("a path", _if(lambda value: isinstance(value, str | os.PathLike)))
LIST: Final = Shape("a list", lambda value, _say: list(_if(_is_list)(value, _say)))
TEXTS: Final = Shape("a list", _texts)
PATHS: Final = Shape(
    "a list of paths",
    _if(
        lambda value: _is_list(value) and all(isinstance(each, str | os.PathLike) for each in value)
    ),
)
DICT: Final = Shape("a dictionary", _if(lambda value: isinstance(value, dict)))
STRINGS: Final = Shape("a dictionary of strings", _if(_is_of_strings))
PERIOD: Final = Shape(f"a number of seconds or a duration ({DURATION_UNITS})", _period)
AGE: Final = Shape('a duration, written as "7d"', _age)
SIZE: Final = Shape('a number of bytes or a size, written as "500MB"', _size)
TRUST: Final = Shape(
    "a list of networks, a function or its dotted path",
    _if(lambda value: _is_list(value) or callable(value) or isinstance(value, str)),
)


def choice(*words: str) -> Shape:
    """Return the shape of a word that is one of *words*, in either case."""

    def read(value: object, _say: Say) -> str:
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError
        return value.lower()

    return Shape(f"one of {', '.join(words)}", read)


def part(kind: type[OptionsT], *, whole: bool = False) -> Shape:
    """Return the shape of a dictionary with the fields of *kind* as keys.

    One wrong value leaves the others in force; of one that counts only as a *whole*, the plain defaults.
    """
    named = {
        written: (name, each.shape)
        for name, each in kind.options.items()
        if each.shape
        for written in each.names or (name,)
    }

    def read(given: object, say: Say) -> OptionsT:
        if not isinstance(given, dict):
            raise TypeError
        values: dict[str, Any] = {}
        said: list[str] = []
        for key, value in given.items():
            name, shape = named.get(str(key).lower(), ("", None))
            if shape is None:
                known = [name.upper() if str(key).isupper() else name for name in named]
                said.append(f"has an unknown key {key!r}{near(str(key), known)}")
            elif value is not None:
                shown = f"a wrong {key}" if shape.is_secret else f"{key} = {value!r}"
                try:
                    values[name] = shape.read(value, said.append)
                except (ValueError, TypeError) as error:
                    said.append(f"has {shown}: {str(error) or f'it must be {shape.expected}'}")
        for text in said:
            say(text)
        return kind() if whole and said else kind(**values)

    return Shape("a dictionary", read)


def near(name: str, known: Iterable[str]) -> str:
    """Return which of *known* was meant by *name*, or all of them."""
    options = {option.lower(): option for option in known}
    for found in get_close_matches(name.lower(), options, n=1):
        return f" (did you mean {options[found]!r}?)"
    return f" (known are {', '.join(sorted(options.values()))})"
