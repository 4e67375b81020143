"""URLs of CarSales."""

from __future__ import annotations

from debug_toolbar.toolbar import debug_toolbar_urls
from django.contrib import admin
from django.urls import include, path

from core.cars.views import home

urlpatterns = [
    path("", home, name="home"),
    path("accounts/", include("core.buyers.urls")),
    path("cars/", include("core.cars.urls")),
    path("orders/", include("core.orders.urls")),
    path("sales/", include("core.sales.urls")),
    path("lab/", include("carsales.lab.urls")),
    path("admin/", admin.site.urls),
    *debug_toolbar_urls(),
]
