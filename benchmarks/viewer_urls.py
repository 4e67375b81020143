"""The viewer at /tracing/, for measuring its pages."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("tracing/", include("tracing.viewer.urls"))]
