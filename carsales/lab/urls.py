"""URLs of the lab."""
from __future__ import annotations
from django.http import HttpResponse
from django.urls import path
app_name = "lab"
urlpatterns = [path("", lambda r: HttpResponse("x"), name="index"), path("<slug:slug>/", lambda r, slug: HttpResponse("x"), name="lesson")]
