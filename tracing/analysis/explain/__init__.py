"""Explanations: all that follows a signal, merged from many traces.

Pure: over the spans of traces, the names that are known and what this process has connected.
"""

from __future__ import annotations

from tracing.analysis.explain.merging import Merging
from tracing.analysis.explain.question import Known, Question, resolve
from tracing.analysis.explain.steps import Explanation, Step
from tracing.analysis.explain.wired import add_connected
from tracing.analysis.why_not.target import UnknownNameError

__all__ = [
    "Explanation",
    "Known",
    "Merging",
    "Question",
    "Step",
    "UnknownNameError",
    "add_connected",
    "resolve",
]
