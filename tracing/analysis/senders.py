"""The senders behind the keys of connections."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps

from tracing.instrumentation.attributes import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNKNOWN_SENDER: Final = "(unknown sender)"


class Senders:
    """Names of senders by what a lookup key holds of them: an id."""

    def __init__(self) -> None:
        models = apps.get_models(include_auto_created=True, include_swapped=True)
        self._names: dict[int, str] = {id(model): names.sender_name(model) for model in models}
        for config in apps.get_app_configs():
            self._names[id(config)] = f"{names.sender_name(config)} ({config.label})"
        self._searched = False

    def name(self, key: Any, entries: Sequence[Any]) -> str:
        """Return the name of the sender with this key in a lookup key."""
        for entry in entries:
            # From Django 6.0 on, the entry itself refers to the sender.
            if entry[0][1] == key and len(entry) > 3 and entry[2] is not None:  # noqa: PLR2004
                sender = entry[2]()
                if sender is not None:
                    return self._named(sender)
        if not isinstance(key, int):
            return UNKNOWN_SENDER
        if key not in self._names and not self._searched:
            self._search()
        return self._names.get(key, UNKNOWN_SENDER)

    def _named(self, sender: object) -> str:
        return self._names.get(id(sender)) or names.sender_name(sender)

    def _search(self) -> None:
        """Add all classes and functions of modules: Django 5.2 keeps an id alone."""
        self._searched = True
        functions = [function for _path, function in names.held_by_modules(FunctionType)]
        for thing in (*_all_classes(), *functions):
            self._names.setdefault(id(thing), names.sender_name(thing))


def _all_classes() -> Iterator[type]:
    """Yield every class alive."""
    waiting: list[type] = [object]
    seen = {id(object)}
    while waiting:
        cls = waiting.pop()
        yield cls
        # Of ``type`` itself the method would ask for its argument.
        found: list[type] = type.__subclasses__(cls)
        for inner in found:
            if id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
