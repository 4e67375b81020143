"""The records of a trace, without what records or stores them."""

from __future__ import annotations

from tracing.spans.records import *  # noqa: F403 - the records are the room's public names.
