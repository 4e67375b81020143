"""Lines of the source that can have run while a trace was recorded."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracing.analysis.why_not.syntax import Function, first_line, walk
from tracing.spans.records import Kind

if TYPE_CHECKING:
    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Module, Place
    from tracing.spans.records import Trace

_DECLARING: Final = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.Assign, ast.AnnAssign),
)
"""Statements of a module that somebody imports; with others it may be a program."""


@dataclass(frozen=True, slots=True)
class Running:
    """The process that recorded a trace, as far as it is known."""

    project: Project
    trace: Trace | None
    modules: frozenset[str] | None
    """Those of the project that it had loaded; None if that is not known."""

    def may_have(self, found: Place) -> bool:
        """Return whether nothing speaks against the line *found* having run.

        Its module was loaded, its function is named somewhere else or called by a framework, and is not
        another test.
        """
        module = self.project.module(found.file)
        if not self._is_loaded(module):
            return False
        function = function_at(module, found.line)
        if function is None:
            return True
        name, trace = function.name, self.trace
        if name.startswith("test") and trace is not None and trace.kind is Kind.TEST:
            return re.search(rf"\b{name}\b", trace.name) is not None
        is_called_by_others = len(found.scope) > 1 or bool(function.decorator_list)
        return is_called_by_others or name.startswith("test") or self._is_named(name)

    def _is_loaded(self, module: Module) -> bool:
        if self.modules is None or not self.modules.isdisjoint(module.names):
            return True
        return not all(_declares(each) for each in module.tree.body)

    def _is_named(self, name: str) -> bool:
        """Return whether a loaded module names a function beside defining it."""
        word = re.compile(rf"(?<!def )\b{name}\b")
        return any(
            self._is_loaded(module) and word.search(module.text)
            for module in self.project.containing(name)
        )


def _declares(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return all(map(_declares, [*node.body, *node.orelse]))
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_docstring or isinstance(node, _DECLARING)


def function_at(module: Module, line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the innermost function whose decorators or body have a line."""
    found = None
    for node, _ in walk(module.tree):
        if isinstance(node, Function) and first_line(node) <= line <= (node.end_lineno or 0):
            found = node
    return found
