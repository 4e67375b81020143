"""URLs of the demo."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "demo"

urlpatterns = [path("<int:number>/", views.question, name="question")]
