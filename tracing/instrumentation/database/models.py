"""Facts about all models of the project, read anew when there are others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model

_T = TypeVar("_T")


def of_models(read: Callable[[list[type[Model]]], _T]) -> Callable[[], _T]:
    """Return what *read* says of the models, asked once for each state.

    Tests define models and take them back. Django keeps its list of them until it clears its caches, and
    makes another then: whose identity is all that is asked. Only when models are ready.
    """
    known: tuple[Any, Any] = (None, None)

    def current() -> _T:
        nonlocal known
        models = apps.get_models()
        held, found = known
        if held is not models:
            found = read(models)
            known = models, found
        return found  # type: ignore[no-any-return]

    return current
