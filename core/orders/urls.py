"""URLs of orders."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "orders"

urlpatterns = [
    path("", views.order_list, name="list"),
    path("basket/", views.basket, name="basket"),
    path("basket/add/<slug:code>/", views.add_to_basket, name="add"),
    path("<int:pk>/", views.order_detail, name="detail"),
    path("<int:pk>/remove/<slug:code>/", views.remove_car, name="remove"),
    path("<int:pk>/check-out/", views.check_out, name="check_out"),
    path("<int:pk>/cancel/", views.cancel_order, name="cancel"),
]
