"""Template engines that are made once for the same settings.

Django forgets its engines whenever a test sets DEBUG, TEMPLATES or INSTALLED_APPS, and again when that is put
back: what a test draws would be compiled anew for each.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.template import engines
from django.template.utils import EngineHandler


class KeptEngines(EngineHandler):
    """Django's engines, which are taken up again where it would make others like them."""

    kept: ClassVar[dict[str, dict[str, Any]]] = {}
    """The engines by alias, for all settings that they are made of."""

    @property
    def _engines(self) -> dict[str, Any]:
        return self.__dict__["_engines"]

    @_engines.setter
    def _engines(self, made: dict[str, Any]) -> None:
        # Django sets it, to nothing, once the settings have changed.
        made_of = repr((settings.TEMPLATES, settings.DEBUG, settings.INSTALLED_APPS))
        self.__dict__["_engines"] = self.kept.setdefault(made_of, made)


def keep_engines() -> None:
    """Have the process keep the engines that it makes from now on."""
    engines.__class__ = KeptEngines
    engines._engines = {}
