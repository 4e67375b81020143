"""Imports that are waited for: actions once a module has been loaded.

The import system says itself when it is through: it sets ``_initializing`` of the module's spec. While
the module runs there is no frame of ours on the stack, and its loader is its own; afterwards its spec is
what it would have been.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

from tracing.instrumentation.failures import failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

_waiting: Final[dict[str, list[Callable[[], object]]]] = {}
"""What is to be called, by the name of the module."""


def _call(name: str) -> None:
    for call in _waiting.pop(name, ()):
        try:
            call()
        except Exception as error:
            failed(f"import of {name}", error)
    if not _waiting:
        _leave()


class _WaitedFor(ModuleSpec):
    """The spec of a module that is being loaded and waited for."""

    @property
    def _initializing(self) -> bool:
        return bool(self.__dict__.get("_initializing"))

    @_initializing.setter
    def _initializing(self, value: bool) -> None:
        self.__dict__["_initializing"] = value
        if not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            # A module that could not be loaded is there no more.
            if self.name in sys.modules:
                _call(self.name)


class _Finder:
    """Finds no module by itself: marks the specs of those that are waited for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:
        """Return what other finders find of a name that is waited for."""
        if name not in _waiting:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                if type(spec) is ModuleSpec:
                    spec.__class__ = _WaitedFor
                return spec
        return None


_finder: Final = _Finder()


def _leave() -> None:
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def when_imported(name: str, call: Callable[[], object]) -> Callable[[], None]:
    """Have *call* called when a module is loaded; return what undoes it."""
    if name in sys.modules:
        try:
            call()
        except Exception as error:
            failed(f"import of {name}", error)
        return lambda: None
    calls = _waiting.setdefault(name, [])
    calls.append(call)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)

    def undo() -> None:
        if call in calls:
            calls.remove(call)
        if not calls:
            _waiting.pop(name, None)
        if not _waiting:
            _leave()

    return undo
