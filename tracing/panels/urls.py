"""Addresses of the panel's own pages, in the toolbar's namespace."""

from __future__ import annotations

from django.urls import path

from tracing.panels import views

urlpatterns = [
    path("signal-trace/", views.recent, name="signal_trace_recent"),
    path("signal-trace/<slug:key>/", views.one, name="signal_trace"),
]
