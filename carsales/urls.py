"""URLs of CarSales."""

from __future__ import annotations

from debug_toolbar.toolbar import debug_toolbar_urls
from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from core.cars.views import home

admin.site.site_header = admin.site.site_title = "CarSales"

urlpatterns = [
    path("", home, name="home"),
    path("accounts/", include("core.buyers.urls")),
    path("cars/", include("core.cars.urls")),
    path("orders/", include("core.orders.urls")),
    path("sales/", include("core.sales.urls")),
    path("questions/", include("carsales.demo.urls")),
    path("lab/", include("carsales.lab.urls")),
    path("tracing/", include("tracing.viewer.urls")),
    path("admin/", admin.site.urls),
    # The admin names no icon, and browsers ask for this one.
    path("favicon.ico", RedirectView.as_view(url=static("carsales/icon.svg"))),
    *debug_toolbar_urls(),
]
