"""Coroutines of ``asend()`` that nobody awaits, as the source has it."""

from __future__ import annotations

import ast
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Final

from tracing.analysis.why_not.syntax import Function, is_sent, last_name, place, walk

if TYPE_CHECKING:
    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Module, Place

_SENDING: Final = frozenset({"asend", "asend_robust"})
_DEEP: Final = 3
"""Functions that give a coroutine to one another which are followed."""


def unawaited(signal: str, project: Project) -> list[Place]:
    """Return where a coroutine that would send *signal* is dropped."""
    found: list[Place] = []
    waiting: set[tuple[str, str]] = set()
    for module, node, chain in project.nodes("asend", signal):
        if is_sent(node, signal, _SENDING):
            _sort(module, node, chain, found, waiting)
    seen: set[tuple[str, str]] = set()
    for _ in range(_DEEP):
        new = waiting - seen
        seen |= new
        for name, path in sorted(new):
            home = project.module(path)
            for module, node, chain in project.nodes(name):
                if _calls(node, name, module, home):
                    _sort(module, node, chain, found, waiting)
    return found


def _calls(node: ast.AST, name: str, module: Module, home: Module) -> bool:
    """Return whether *node* calls the function *name* of *home* itself."""
    if not isinstance(node, ast.Call) or last_name(node.func) != name:
        return False
    stem = home.names[0].rpartition(".")[2] if home.names else ""
    if isinstance(node.func, ast.Name):
        return module is home or stem in module.text
    return last_name(node.func.value) in ({"self", "cls"} if module is home else {stem})  # type: ignore[attr-defined]


def _sort(
    module: Module,
    call: ast.AST,
    chain: tuple[ast.AST, ...],
    found: list[Place],
    waiting: set[tuple[str, str]],
) -> None:
    """Enter *call*, a coroutine, as dropped or as given on."""
    if not _can_be_reached(call, chain):
        return
    outer = chain[-1] if chain else None
    function = next((each for each in reversed(chain) if isinstance(each, Function)), None)
    if isinstance(outer, ast.Expr) or (
        isinstance(outer, ast.Assign) and function is not None and not _is_used(outer, function)
    ):
        found.append(place(module, call, chain))
    elif function is not None and (
        isinstance(outer, ast.Return)
        or (isinstance(outer, ast.Await) and isinstance(function, ast.AsyncFunctionDef))
    ):
        waiting.add((function.name, module.path))


def returns_before(dropped: Place, project: Project) -> Place | None:
    """Return the first line that may leave the function before *dropped*."""
    module = project.module(dropped.file)
    leaving = [
        place(module, node, chain)
        for node, chain in walk(module.tree)
        if isinstance(node, ast.Return | ast.Raise) and node.lineno < dropped.line
    ]
    return next((found for found in leaving if found.scope == dropped.scope), None)


def _can_be_reached(node: ast.AST, chain: tuple[ast.AST, ...]) -> bool:
    """Return whether no statement before *node* always leaves its block."""
    for outer, inner in pairwise((*chain, node)):
        for block in (block for _, block in ast.iter_fields(outer) if isinstance(block, list)):
            if any(each is inner for each in block):
                before = takewhile(lambda each, inner=inner: each is not inner, block)  # type: ignore[misc]
                if any(map(_leaves, before)):
                    return False
    return True


def _leaves(statement: ast.AST) -> bool:
    """Return whether nothing that comes after a statement is reached."""
    if isinstance(statement, ast.If):
        ways = (statement.body, statement.orelse)
        return all(any(map(_leaves, way)) for way in ways)
    return isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break)


def _is_used(assignment: ast.Assign, function: ast.AST) -> bool:
    """Return whether what is assigned is looked at anywhere in its function."""
    names = {each.id for each in assignment.targets if isinstance(each, ast.Name)}
    if len(names) < len(assignment.targets):
        return True
    return any(
        isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load) and each.id in names
        for each in ast.walk(function)
    )
