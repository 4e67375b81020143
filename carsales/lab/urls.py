"""URLs of the lab."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "lab"

urlpatterns = [
    path("", views.index, name="index"),
    path("hazards/", views.hall, name="hall"),
    path("hazards/<slug:slug>/", views.exhibit, name="exhibit"),
    path("<slug:slug>/", views.lesson, name="lesson"),
]
