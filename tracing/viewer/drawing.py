"""The lines and boxes of the map as SVG: too many for a template."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from django.utils.safestring import SafeString

from tracing.templatetags.tracing_tags import clean, cut
from tracing.units import format_count
from tracing.viewer.graph import NODE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracing.viewer.graph import Box, Graph

_LONGEST_TITLE: Final = 400


def drawn(graph: Graph) -> SafeString:
    """Return the lines of *graph*, and its boxes above them."""
    keys = {id(box): escape(clean(box.key)) for box in graph.nodes}
    return SafeString("".join([*_lines(graph, keys), *_boxes(graph, keys)]))


def _lines(graph: Graph, keys: dict[int, str]) -> Iterable[str]:
    for line in graph.edges:
        yield (
            f'<path class="{line.classes}" d="{line.path}" stroke-width="{line.width}"'
            f' data-from="{keys[id(line.source)]}" data-to="{keys[id(line.target)]}">'
            f"{_title(line.title)}</path>"
        )


def _boxes(graph: Graph, keys: dict[int, str]) -> Iterable[str]:
    for box in graph.nodes:
        marks = f"{' is-focus' * box.is_focus}{' never' * (not box.was_seen)}"
        yield (
            f'<a transform="translate({box.x} {box.y})" class="map-node{marks}"'
            f' href="{escape(box.address)}" data-node="{keys[id(box)]}">{_title(box.hint)}'
            f'<rect width="{box.width}" height="{NODE}" rx="3"/>'
            f'<text x="9" y="14">{escape(clean(box.shown_text))}</text>{_count(box)}</a>'
        )


def _count(box: Box) -> str:
    if not box.count:
        return ""
    text = f"{'✕ ' if box.error_count else ''}{format_count(box.count)}"
    return f'<text class="map-count" x="{box.width}" y="14" dx="-6">{text}</text>'


def _title(text: str) -> str:
    return f"<title>{escape(cut(text, _LONGEST_TITLE))}</title>"
