"""Links that open a file in the developer's editor."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import quote

from tracing.conf import get_settings

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
    """Return the address that opens *file* in the editor of the settings; empty without one.

    ``TRACING["VIEWER"]["EDITOR"]`` and ``TRACING["PANEL"]["EDITOR"]`` are a name of ``EDITORS`` or
    an address with ``{file}`` and ``{line}``; each stands for both where the other is not set.
    """
    settings = get_settings()
    both = [settings.viewer.get("EDITOR"), settings.panel.get("EDITOR")]
    own, other = both if of == "viewer" else reversed(both)
    chosen = own or other
    if not file or not isinstance(chosen, str) or not chosen:
        return ""
    address = EDITORS.get(chosen.lower(), chosen)
    if "{file}" not in address or address.lower().lstrip().startswith(("javascript:", "data:")):
        return ""
    return address.replace("{file}", quote(file)).replace("{line}", str(line))
