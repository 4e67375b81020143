"""Sampling: a decision when a trace begins whether it is recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tracing.spans.records import Kind

_random = Random()

left_out: Final[Counter[str]] = Counter()
"""Units of work that were not recorded since the process began, by the reason."""


class Sampler:
    """Decide at the head of a trace.

    Args:
        ratio: Share of the traces to record, 0.0 to 1.0.
        by_kind: The same for single kinds.
        by_path: (pattern, ratio) pairs for requests and commands; the first that matches decides.
        parent_based: Whether a sampled or unsampled ``traceparent`` decides instead.
    """

    __slots__ = ("by_kind", "by_path", "parent_based", "ratio")

    def __init__(
        self,
        ratio: float = 1.0,
        *,
        by_kind: dict[str, float] | None = None,
        by_path: list[tuple[str, float]] | None = None,
        parent_based: bool = True,
    ) -> None:
        self.ratio = ratio
        self.by_kind = by_kind or {}
        self.by_path = by_path or []
        self.parent_based = parent_based

    def decide(self, kind: Kind, name: str, parent_sampled: bool | None = None) -> bool:
        """Return whether to record a trace of *kind* called *name*."""
        ratio = self.ratio
        for pattern, share in self.by_path:
            if fnmatchcase(name, pattern):
                ratio = share
                break
        else:
            ratio = self.by_kind.get(kind, ratio)
            if parent_sampled is not None and self.parent_based:
                return parent_sampled
        return ratio >= 1.0 or (ratio > 0.0 and _random.random() < ratio)


class Switch:
    """The sampler in force, and whether recording is paused."""

    __slots__ = ("installed", "paused", "sampler")

    def __init__(self) -> None:
        self.sampler = Sampler()
        self.paused = False
        self.installed = False
        """Whether dispatches are recorded; a loop of ours that others still hold does so no more."""


switch: Final = Switch()


def decide(kind: Kind, name: str, parent_sampled: bool | None = None) -> bool:
    """Return whether a trace that begins now is recorded."""
    return not switch.paused and switch.sampler.decide(kind, name, parent_sampled)


Rule = Callable[..., bool]
