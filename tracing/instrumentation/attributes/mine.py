"""The receivers that are *mine*, by their modules or ``TRACING["MINE"]``.

Decided here, in the process that records, and kept with the receiver's label: another host, which
reads the store or the log, may have its packages elsewhere.
"""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.attributes.callsites import is_foreign

if TYPE_CHECKING:
    from collections.abc import Iterable

_PARTIAL: Final = "functools.partial("

_patterns: tuple[str, ...] = ()


def choose(patterns: Iterable[str]) -> bool:
    """Have receivers be mine whose dotted path fits one of *patterns*.

    Return whether that is something else than before.
    """
    global _patterns
    before, _patterns = _patterns, tuple(patterns)
    return before != _patterns


def is_mine(name: str, module: str, file: str) -> bool:
    """Return whether the receiver *name* is mine.

    Args:
        name: Its dotted path, as its label has it.
        module: The module that it is named after: a method that a class of the project inherits from
            a package is the project's.
        file: Where its code is from, for modules that are not there or have no file; may be empty.
    """
    if _patterns:
        while name.startswith(_PARTIAL) and name.endswith(")"):
            name = name[len(_PARTIAL) : -1]
        return any(fnmatchcase(name, pattern) for pattern in _patterns)
    path = _file_of_module(module) or file
    return bool(path) and not is_foreign(path)


def _file_of_module(module: str) -> str:
    """Return the absolute path of an imported module; empty without one."""
    try:
        # Not asked by its attribute: a module may answer for what it does not have.
        held: Any = object.__getattribute__(sys.modules[module], "__dict__")
    except (KeyError, AttributeError):
        return ""
    path = held.get("__file__") if type(held) is dict else None
    return os.path.abspath(path) if type(path) is str and path else ""
