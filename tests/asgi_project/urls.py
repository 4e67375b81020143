"""URLs of the project."""

from __future__ import annotations

from debug_toolbar.toolbar import debug_toolbar_urls
from django.urls import include, path

from tests.asgi_project import views

urlpatterns = [
    path("", views.quiet),
    path("parcel/<str:customer>/", views.parcel),
    path("pair/<str:meeting>/<str:customer>/", views.pair),
    path("many/<int:count>/", views.many),
    path("answer/<str:customer>/", views.answer),
    path("failing/", views.failing),
    path("hostile/", views.hostile),
    path("tracing/", include("tracing.viewer.urls")),
    *debug_toolbar_urls(),
]
