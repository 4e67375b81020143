"""No addresses at all."""

from __future__ import annotations

urlpatterns: list[object] = []
