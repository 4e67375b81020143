"""URLs of cars."""

from __future__ import annotations

from django.urls import path, register_converter

from . import views
from .converters import BodyStyleConverter, ColourConverter

register_converter(BodyStyleConverter, "body_style")
register_converter(ColourConverter, "colour")

app_name = "cars"

urlpatterns = [
    path("", views.car_list, name="list"),
    path("pictures/<body_style:body_style>-<colour:colour>.svg", views.car_picture, name="picture"),
    path("<slug:code>/", views.car_detail, name="detail"),
]
