"""The search language as the faces use it: what is said of it in ``query``, ``parser``, ``completion``."""

from __future__ import annotations

from tracing.search.completion import Problem, place_at, problem_of
from tracing.search.parser import parse, quoted
from tracing.search.query import EVERYTHING, KEYS, Both, Query, QueryError, Term, Words, terms

__all__ = [
    "EVERYTHING",
    "KEYS",
    "Both",
    "Problem",
    "Query",
    "QueryError",
    "Term",
    "Words",
    "parse",
    "place_at",
    "problem_of",
    "quoted",
    "terms",
]
