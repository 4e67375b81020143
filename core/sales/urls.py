"""URLs of sales."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "sales"

urlpatterns = [
    path("", views.sale_list, name="list"),
    path("<int:pk>/", views.sale_detail, name="detail"),
    path("<int:pk>/cancel/", views.cancel_sale, name="cancel"),
]
