"""URLs of buyers."""

from __future__ import annotations

app_name = "buyers"
urlpatterns: list = []
