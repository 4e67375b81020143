"""The management commands of the tracer: there is one, ``tracing``."""

from __future__ import annotations
