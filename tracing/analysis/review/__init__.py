"""The effects of a change on signals, from records of both sides' tests.

Works on recorded behaviour alone: nothing of either project is imported, and no database is asked.
"""

from __future__ import annotations

from tracing.analysis.review.changes import KINDS, Change
from tracing.analysis.review.records import RecordError, Recording, read

__all__ = ["KINDS", "Change", "RecordError", "Recording", "read", "review"]


def review(before: Recording, after: Recording) -> list[Change]:
    """Return what changed in the tests that both sides have."""
    from tracing.analysis.review import reviewing  # noqa: PLC0415 - whoever records needs none of it.

    return reviewing.review(before, after)
