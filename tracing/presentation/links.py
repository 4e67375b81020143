"""Links from a trace: to pages of the viewer, and to an editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote, urlencode

from django.urls import NoReverseMatch, reverse

from tracing.conf import get_settings
from tracing.instrumentation.attributes.arguments import instance_key

if TYPE_CHECKING:
    from collections.abc import Mapping

EDITORS: Final = {
    "vscode": "vscode://file{file}:{line}",
    "vscodium": "vscodium://file{file}:{line}",
    "cursor": "cursor://file{file}:{line}",
    "windsurf": "windsurf://file{file}:{line}",
    "pycharm": "pycharm://open?file={file}&line={line}",
    "idea": "idea://open?file={file}&line={line}",
    "sublime": "subl://open?url=file://{file}&line={line}",
    "textmate": "txmt://open?url=file://{file}&line={line}",
    "emacs": "emacs://open?url=file://{file}&line={line}",
    "zed": "zed://file{file}:{line}",
    "nova": "nova://open?path={file}&line={line}",
}
"""Addresses that open a file in an editor, by the editor's name."""


def editor_link(file: str, line: int, *, of: Literal["viewer", "panel"]) -> str:
    """Return the address that opens *file* in the editor; empty without one.

    ``TRACING["VIEWER"]["EDITOR"]`` and ``TRACING["PANEL"]["EDITOR"]`` are a name of ``EDITORS`` or
    an address with ``{file}`` and ``{line}``; each stands for both where the other is not set.
    """
    settings = get_settings()
    both = [settings.viewer.editor, settings.panel.editor]
    own, other = both if of == "viewer" else reversed(both)
    chosen = own or other
    if not file or not chosen:
        return ""
    address = EDITORS.get(chosen.lower(), chosen)
    if "{file}" not in address or address.lower().lstrip().startswith(("javascript:", "data:")):
        return ""
    return address.replace("{file}", quote(file)).replace("{line}", str(line))


def viewer_address(name: str, *parts: object) -> str:
    """Return the address of the viewer's page *name*; empty without one."""
    try:
        return reverse(f"tracing:{name}", args=parts)
    except NoReverseMatch:
        return ""


def object_name(thing: object) -> str:
    """Return an instance as ``orders.Order:42``; empty without a key."""
    label, key = instance_key(thing)
    return "" if key is None else f"{label}:{key}"


class Links:
    """The links of one trace.

    Args:
        trace: The address of the trace; empty if the store does not have it.
        of: The face that shows it, whose editor opens its files.
        has_spans: Its spans have there the numbers that they have here.
    """

    def __init__(
        self,
        trace: str,
        *,
        of: Literal["viewer", "panel"] = "viewer",
        has_spans: bool = True,
    ) -> None:
        self.trace = viewer_address("trace", trace) if trace else ""
        self.rows: Mapping[int, int] | None = None
        """In the panel: the number of the row that shows each span."""
        self._of: Literal["viewer", "panel"] = of
        # A tree has hundreds of rows, and looking an address up takes as long as drawing one.
        span = viewer_address("span", trace, 0) if trace and has_spans else ""
        self._before_number, _, self._after_number = span.rpartition("0")

    def span(self, number: int) -> str:
        """Return the address of a span; empty if the viewer does not have it."""
        if not self._before_number:
            return ""
        return f"{self._before_number}{number}{self._after_number}"

    def search(self, query: str) -> str:
        """Return the address of the traces that fit *query*; may be empty."""
        listed = viewer_address("traces") if self._of == "viewer" else ""
        return f"{listed}?{urlencode({'q': query})}" if listed else ""

    def editor(self, file: str, line: int) -> str:
        """Return the address that opens *file* in the editor; may be empty."""
        return editor_link(file, line or 1, of=self._of)
