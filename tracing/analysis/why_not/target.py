"""The receiver that is asked about: its names and its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tracing.analysis.why_not.syntax import ends_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Definition
    from tracing.spans.labels import ReceiverLabel

_PARTIAL: Final = "functools.partial("
_MOST: Final = 10
"""Candidates that a message names."""


class UnknownNameError(LookupError):
    """Nothing has that name, or several things have."""


def require_known(what: str, name: str, known: Iterable[str], project: Project) -> None:
    """Refuse the *name* of a signal or sender that nobody knows.

    Args:
        what: ``signal`` or ``sender``.
        name: What was asked for; empty for none.
        known: The names of those that this process, the records and the models have.
        project: Where else there may be one.

    Raises:
        UnknownNameError: There is none; the message names candidates.
    """
    leaf = name.rpartition(".")[2]
    names = set(known)
    if not leaf.isidentifier() or leaf.lower() in {
        each.rpartition(".")[2].lower() for each in names
    }:
        return
    if any(re.search(rf"\b{leaf}\b", module.text) for module in project.containing(leaf)):
        return
    by_leaf = {each.rpartition(".")[2]: each for each in sorted(names)}
    near = [by_leaf[each] for each in get_close_matches(leaf, by_leaf, n=3, cutoff=0.5)]
    raise UnknownNameError(f"No {what} is called {name}.{hint_of(near)}")


def hint_of(names: Iterable[str]) -> str:
    """Return a question that names what is like what was asked for."""
    listed = "".join(f"\n  {name}" for name in names)
    return f" Do you mean one of these?{listed}" if listed else ""


def several(what: str, name: str, texts: Iterable[str], remedy: str) -> UnknownNameError:
    """Return that *what* of one name there are several of."""
    found = sorted(texts)
    more = len(found) - _MOST
    lines = [f"  {text}" for text in found[:_MOST]]
    lines += [f"  and {more} more"] if more > 0 else []
    return UnknownNameError("\n".join([f"Several {what} are called {name}:", *lines, remedy]))


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver."""

    name: str
    """As the tracer names it, or would."""
    names: frozenset[str]
    """All its names without what ``plain_name`` takes away."""
    file: str
    line: int

    def is_of(self, label: ReceiverLabel) -> bool:
        """Return whether *label* is of this receiver, perhaps moved."""
        is_there = bool(label.line) and (label.file, label.line) == (self.file, self.line)
        return is_there or (plain_name(label.name) in self.names and not is_nameless(label.name))

    @property
    def leaf(self) -> str:
        """Return the last part of its name: of the function or class."""
        return plain_name(self.name).rpartition(".")[2]


def is_nameless(name: str) -> bool:
    """Return whether a receiver is a lambda, known by its place alone."""
    return name.endswith("<lambda>")


@lru_cache(maxsize=8192)
def plain_name(name: str) -> str:
    """Return the dotted path behind the name of a receiver.

    A partial is named by the inner function, a callable object by its class, a local function
    without the word for its place.
    """
    while name.startswith(_PARTIAL) and name.endswith(")"):
        name = name[len(_PARTIAL) : -1]
    return name.removesuffix("()").replace(".<locals>", "")


def find_target(
    name: str,
    labels: Iterable[ReceiverLabel],
    project: Project,
    sites: Mapping[tuple[str, int], ReceiverLabel],
) -> Target:
    """Return the receiver that *name*, a dotted path or its end, means.

    Args:
        name: What was asked for.
        labels: Receivers that are or were connected somewhere.
        project: Where to look for those that never were.
        sites: What stands connected, by the place of its ``connect()``.

    Raises:
        UnknownNameError: There is none, or there are several; the message names candidates.
    """
    wanted = plain_name(name.strip())
    known = list(labels)
    found = _grouped(label for label in known if ends_with(plain_name(label.name), wanted))
    defined = project.definitions(wanted)
    connected = [each for each in defined if each.connect_line or _is_given(each, project)]
    for each in connected if found else connected or _likely(defined):
        if not any(each.name in map(plain_name, names) for names in found.values()):
            found.setdefault((each.file, each.line), []).append(each.name)
    if len(found) > 1:
        exact = {
            key: names for key, names in found.items() if wanted in {plain_name(n) for n in names}
        }
        found = exact if len(exact) == 1 else found
    if not found:
        raise UnknownNameError(_no_such(name, known, project))
    if len(found) > 1:
        texts = [f"{names[0]}  {file}:{line}" for (file, line), names in found.items()]
        raise several("receivers", name, texts, "Write more of its path.")
    (file, line), names = next(iter(found.items()))
    plain = {plain_name(each) for each in names}
    # A file that was imported under two names has two names for one receiver.
    plain |= {each.name for each in defined if (each.file, each.line) == (file, line)}
    plain |= {_made_of(each, sites) for each in connected if (each.file, each.line) == (file, line)}
    return Target(names[0], frozenset(plain - {""}), str(file) if line else "", int(line))


def _grouped(labels: Iterable[ReceiverLabel]) -> dict[tuple[str, int], list[str]]:
    """Return the names of receivers by place, or by name without one.

    One name is one receiver, whose lines may have moved; those that are there now come first.
    """
    found: dict[tuple[str, int], list[str]] = {}
    places: dict[str, tuple[str, int]] = {}
    for label in sorted(labels, key=lambda label: not label.line):
        plain = plain_name(label.name)
        key = (label.file, label.line) if label.line else (plain, 0)
        if not is_nameless(plain):
            key = places.setdefault(plain, key)
        names = found.setdefault(key, [])
        if label.name not in names:
            names.append(label.name)
    return found


def _is_given(definition: Definition, project: Project) -> bool:
    """Return whether the source gives a function to ``connect()``."""
    if not definition.is_receiver:
        return False
    leaf = definition.name.rpartition(".")[2]
    places = project.connects(leaf)
    module = project.module(definition.file)
    # Where several modules have a function of the name, the one of the same file or an import of it.
    return any(
        place.file == definition.file
        or any(name.rpartition(".")[2] in project.module(place.file).text for name in module.names)
        for place in places
    )


def _made_of(definition: Definition, sites: Mapping[tuple[str, int], ReceiverLabel]) -> str:
    """Return what decorators below ``@receiver`` made of a function.

    Empty if that is not known, or if others are called so, too.
    """
    label = sites.get((definition.file, definition.connect_line))
    if label is None:
        return ""
    name = plain_name(label.name)
    is_alone = sum(plain_name(each.name) == name for each in sites.values()) == 1
    return name if is_alone and not is_nameless(name) else ""


def _likely(defined: list[Definition]) -> list[Definition]:
    return [each for each in defined if each.is_receiver] or defined


def _no_such(name: str, known: list[ReceiverLabel], project: Project) -> str:
    leaf = plain_name(name).rpartition(".")[2]
    paths = {
        plain_name(label.name): None
        for label in known
        if not label.name.startswith(("(", "tracing."))
    }
    by_leaf = {path.rpartition(".")[2]: path for path in paths}
    near = [by_leaf[each] for each in get_close_matches(leaf, by_leaf, n=3, cutoff=0.5)]
    if not near:
        near = [each.name for each in project.definitions(leaf)[:3]]
    what = f"No receiver is called {name}, neither in the records nor in the project's source."
    return f"{what}{hint_of(near)}"
