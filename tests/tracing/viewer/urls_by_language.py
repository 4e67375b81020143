"""Addresses of a site whose every page begins with a language."""

from __future__ import annotations

from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path

urlpatterns = i18n_patterns(path("traces-of/", include("tracing.viewer.urls")))
