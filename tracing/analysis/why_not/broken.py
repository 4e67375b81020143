"""Imports of a module that cannot succeed, as far as its source says."""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Final

from django.dispatch import Signal

from tracing.analysis.why_not.syntax import Function, import_bases, last_name
from tracing.analysis.why_not.words import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracing.analysis.why_not.source import Project
    from tracing.analysis.why_not.syntax import Module


_CONNECTING: Final = frozenset({"receiver", "sender", "weak", "dispatch_uid"})
_TAKES: Final = {
    "connect": _CONNECTING,
    "receiver": _CONNECTING,
    "Signal": frozenset({"use_caching"}),
}
"""The named arguments of what modules with receivers call while they are imported."""
_DEEP: Final = 6
"""Modules that import one another that are followed."""


def broken_import(
    module: Module, project: Project, importing: tuple[tuple[Module, int], ...] = ()
) -> Evidence | None:
    """Return the first import that cannot succeed, from *module* on.

    Args:
        module: What is imported.
        project: Its source.
        importing: The modules that are importing it, the outermost first, and the line of each.
    """
    try:
        ast.parse(module.text)
    except SyntaxError as error:
        return Evidence(f"it has a syntax error ({error.msg})", module.path, error.lineno or 0)
    for node in module.tree.body:
        problem = _problem_at(node, module, project, importing)
        if problem is not None:
            return problem
    return None


def _problem_at(
    node: ast.stmt, module: Module, project: Project, importing: tuple[tuple[Module, int], ...]
) -> Evidence | None:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
        missing = next((name for name in names if not _can_be_found(name, project)), "")
        if missing:
            return Evidence(f"there is no module {missing}", module.path, node.lineno)
    elif isinstance(node, ast.ImportFrom):
        names = [base for base in import_bases(node, module) if base]
        problem = _problem_of(node, module, project) or _circle(node, names, project, importing)
        if problem:
            return Evidence(problem, module.path, node.lineno)
        names += [f"{base}.{alias.name}" for base in names for alias in node.names]
    else:
        return _wrong_call(node, module) or _raising(node, module)
    around = (*importing, (module, node.lineno))
    for name in names if len(around) < _DEEP else ():
        path = project.file_of(name)
        if (
            path in project.files
            and name not in sys.modules
            and all(path != each.path for each, _ in around)
        ):
            found = broken_import(project.module(path), project, around)
            if found is not None:
                return found
    return None


def _raising(node: ast.stmt, module: Module) -> Evidence | None:
    """Return a statement of a module that always raises."""
    if not isinstance(node, ast.Raise):
        return None
    return Evidence("it raises", module.path, node.lineno)


def _wrong_call(node: ast.stmt, module: Module) -> Evidence | None:
    """Return a call with an argument that it does not take."""
    # What stands in a function is not called yet; its decorators are.
    parts = getattr(node, "decorator_list", [node])
    if isinstance(node, ast.ClassDef):
        parts = [*parts, *node.body]
    for call in (each for part in parts for each in _called(part)):
        if isinstance(call.func, ast.Name) and _is_signal(call.func.id, module):
            text = f"{call.func.id} is a signal, which cannot be called"
            return Evidence(text, module.path, call.lineno)
        known = _TAKES.get(last_name(call.func))
        wrong = [each.arg for each in call.keywords if known and each.arg and each.arg not in known]
        if wrong:
            text = f"{last_name(call.func)}() takes no argument {wrong[0]}"
            return Evidence(text, module.path, call.lineno)
    return None


def _is_signal(name: str, module: Module) -> bool:
    """Return whether *module* imports a signal as *name*."""
    return any(
        isinstance(getattr(sys.modules.get(base), original, None), Signal)
        for node in module.tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (original := name if alias.name == "*" else alias.name) == name or alias.asname == name
        for base in import_bases(node, module)
    )


def _called(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of a statement, but for those in a function."""
    waiting = [node]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.Call):
            yield inner
        if not isinstance(inner, Function | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(inner))


def _circle(
    node: ast.ImportFrom,
    bases: list[str],
    project: Project,
    importing: tuple[tuple[Module, int], ...],
) -> str:
    """Return what *node* takes from a module that is still being imported."""
    for outer, line in importing:
        if not any(project.file_of(base) == outer.path for base in bases):
            continue
        early = ast.Module([each for each in outer.tree.body if each.lineno < line], [])
        known = _names_in(early)
        late = [each.name for each in node.names if known is not None and each.name not in known]
        if late:
            return (
                f"{outer.names[0]}, which is importing it at line {line}, has no {late[0]} yet: "
                "they import one another"
            )
    return ""


def _problem_of(node: ast.ImportFrom, module: Module, project: Project) -> str:
    bases = [base for base in import_bases(node, module) if base]
    if not bases:
        return ""
    if not any(_can_be_found(base, project) for base in bases):
        return f"there is no module {bases[0]}"
    for base in bases:
        path = project.file_of(base)
        if not path or path not in project.files:
            held = sys.modules.get(base)
            if held is not None:
                missing = [
                    a.name
                    for a in node.names
                    if a.name != "*"
                    and not hasattr(held, a.name)
                    and f"{base}.{a.name}" not in sys.modules
                    and not _can_be_found(f"{base}.{a.name}", project)
                ]
                if missing:
                    return f"{base} has no {missing[0]}"
            continue
        known = _names_in(project.module(path).tree)
        for alias in node.names:
            if (
                alias.name != "*"
                and known is not None
                and alias.name not in known
                and not project.file_of(f"{base}.{alias.name}")
            ):
                return f"{base} has no {alias.name}"
    return ""


def _names_in(tree: ast.Module) -> set[str] | None:
    """Return what a module defines at its top; None if unreadable."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == "__getattr__":
                return None
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    return found


def _can_be_found(name: str, project: Project) -> bool:
    """Return whether there is a module *name*, without importing any."""
    return name in sys.modules or bool(project.file_of(name)) or _finds(name)


@cache
def _finds(name: str) -> bool:
    parts, folders = name.split("."), None
    for number in range(1, len(parts) + 1):
        try:
            spec = PathFinder.find_spec(".".join(parts[:number]), folders)
        except (ImportError, ValueError):
            return False
        if spec is None:
            return name in sys.builtin_module_names
        folders = spec.submodule_search_locations or []
    return True
