"""The models of the store, where Django looks for them."""

from __future__ import annotations

from tracing.store.models import *  # noqa: F403 - Django finds its models by this name.
from tracing.store.unmigrated import hide_models

hide_models()
