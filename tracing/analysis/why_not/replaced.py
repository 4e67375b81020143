"""Places that put something else where a signal is sent, as mocks do."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from tracing.analysis.why_not.syntax import last_name, place, walk
from tracing.spans.records import Method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Place

_METHODS: Final = frozenset(method.value for method in Method)
_CLASSES: Final = frozenset({"Signal", "ModelSignal"})
_PATCHING: Final = frozenset({"patch", "object", "setattr"})
"""``mock.patch("...")``, ``mock.patch.object(...)``, ``monkeypatch.setattr(...)``, ``setattr(...)``."""


def replaced(signal: str, project: Project) -> Iterator[Place]:
    """Yield where *signal*, or what sends it, is replaced by something else."""
    for word in (signal, "Signal"):
        for module in project.containing(word):
            # A file is parsed where it can hold what is looked for; and once.
            if word != signal and signal in module.text:
                continue
            if (
                f"{word}.send" in module.text
                or f"{word}.asend" in module.text
                or _patches(module.text)
            ):
                for node, chain in walk(module.tree):
                    if _replaces(node, signal):
                        yield place(module, node, chain)


def _patches(text: str) -> bool:
    # Not every dispatch.
    return "setattr" in text or re.search(r"\bpatch\b", text) is not None


def _replaces(node: ast.AST, signal: str) -> bool:
    if isinstance(node, ast.Assign):
        return any(
            isinstance(target, ast.Attribute)
            and target.attr in _METHODS
            and last_name(target.value) in {signal, *_CLASSES}
            for target in node.targets
        )
    if not isinstance(node, ast.Call) or last_name(node.func) not in _PATCHING or not node.args:
        return False
    first = node.args[0]
    path = _text(first)
    if not path and len(node.args) > 1:
        path = f".{last_name(first)}.{_text(node.args[1])}"
    above, _, last = path.rpartition(".")
    if last in _METHODS:
        return above.rpartition(".")[2] in {signal, *_CLASSES}
    return bool(above) and last == signal


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
