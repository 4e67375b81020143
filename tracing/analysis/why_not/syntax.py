"""The syntax of a file: what it defines, imports and connects."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from collections.abc import Set as AbstractSet

Function = ast.FunctionDef | ast.AsyncFunctionDef
_MOST_ERRORS: Final = 5
"""Statements of a file that are passed over since they cannot be parsed."""
_HEADER_OF_BODY: Final = re.compile(r"expected an indented block after .* on line (\d+)")


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, method or class as the source has it."""

    name: str
    """Dotted path, module first."""
    file: str
    line: int
    """Of the first decorator, if there is one, as code objects have it."""
    connect_line: int = 0
    """Of the decorator that connects it; 0 without one."""
    is_receiver: bool = False
    """It takes what a receiver is given."""


@dataclass(frozen=True, slots=True)
class ImportSite:
    """A place that imports a module."""

    file: str
    line: int
    scope: tuple[str, ...] = ()
    """Names of the classes and functions around it, the outermost first."""
    is_in_function: bool = False
    is_guarded: bool = False
    """An exception is swallowed around it."""
    guard_line: int = 0
    condition_line: int = 0
    """Line of the innermost ``if`` around it."""
    function_line: int = 0
    return_line: int = 0
    """Line of a ``return`` of the same function that may come before it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the source, and in what function it stands."""

    file: str
    line: int
    scope: tuple[str, ...] = ()


@dataclass(slots=True)
class ConfigClass:
    """A class of the source that may configure an application."""

    name: str
    file: str
    line: int
    app: str
    """The value of its ``name``."""
    bases: tuple[str, ...]
    has_ready: bool
    """It has one of its own, which does not call that of its bases."""
    ready_line: int = 0
    default: bool | None = None
    default_line: int = 0


@dataclass
class Module:
    """One parsed file."""

    path: str
    folders: tuple[str, ...]
    """Those that modules are imported from."""
    content: bytes

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the dotted names under which it can be imported."""
        return names_below(self.path, self.folders)

    @cached_property
    def text(self) -> str:
        """Return its source."""
        text = self.content.decode(errors="replace")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    @cached_property
    def tree(self) -> ast.Module:
        """Return its tree, without the statements that cannot be parsed."""
        text = self.text
        for _ in range(_MOST_ERRORS):
            try:
                return ast.parse(text)
            except SyntaxError as error:
                text = _without_error(text, error)
            except (ValueError, RecursionError):
                break
        return ast.Module([], [])


def _without_error(text: str, error: SyntaxError) -> str:
    """Return *text* without the body or the statement that has an error."""
    lines = text.split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    header = _HEADER_OF_BODY.search(error.msg)
    if header is not None and not lines[int(header[1]) - 1].endswith("pass"):
        lines[int(header[1]) - 1] += " pass"
        return "\n".join(lines)
    first = line - 1
    while first > 0 and _is_inside(lines[first]):
        first -= 1
    end = max(first + 1, line)
    while end < len(lines) and _is_inside(lines[end]):
        end += 1
    if first < line - 1 and lines[first].startswith(("def ", "async def ", "class ")):
        lines[first] += " pass"
        first += 1
    else:
        while first > 0 and lines[first - 1].startswith("@"):
            first -= 1
    return "\n".join([*lines[:first], *[""] * (end - first), *lines[end:]])


def _is_inside(line: str) -> bool:
    return not line.strip() or line[0].isspace()


def names_below(path: str, folders: Iterable[str]) -> tuple[str, ...]:
    """Return the dotted names of a file below *folders*, the likeliest first.

    The one whose package is loaded, then one of packages that all have an ``__init__.py``, as below
    ``src``; then the longest.
    """
    found = set()
    for folder in folders:
        if path.startswith(folder):
            parts = list(Path(path[len(folder) :].removesuffix(".py")).parts)
            if parts[-1] == "__init__":
                parts.pop()
            if parts and all(part.isidentifier() for part in parts):
                found.add(".".join(parts))
    names = sorted(found, key=len, reverse=True)
    if len(names) > 1:
        names.sort(key=lambda name: (not _is_below_loaded(name), not _is_in_packages(path, name)))
    return tuple(names)


def _is_below_loaded(name: str) -> bool:
    return name.rpartition(".")[0] in sys.modules


def _is_in_packages(path: str, name: str) -> bool:
    """Return whether all packages above *name* have an ``__init__.py``."""
    folder = Path(path).parent
    if Path(path).name == "__init__.py":
        folder = folder.parent
    for _ in range(name.count(".")):
        if not (folder / "__init__.py").is_file():
            return False
        folder = folder.parent
    return True


def ends_with(path: str, name: str) -> bool:
    """Return whether *name* is the dotted *path* or its end."""
    return path == name or path.endswith(f".{name}")


def defined_in(module: Module) -> Iterator[Definition]:
    """Yield the functions and classes of a module, those inside others too."""
    base = module.names[0] if module.names else Path(module.path).stem
    for node, chain in walk(module.tree):
        if isinstance(node, Function | ast.ClassDef):
            scope = [item.name for item in chain if isinstance(item, Function | ast.ClassDef)]
            decorators = node.decorator_list
            yield Definition(
                ".".join([base, *scope, node.name]),
                module.path,
                first_line(node),
                connect_line=next(
                    (each.lineno for each in decorators if last_name(each) == "receiver"), 0
                ),
                is_receiver=isinstance(node, Function) and _takes_a_signal(node),
            )


def first_line(node: Function | ast.ClassDef) -> int:
    """Return the line of the first decorator, or else of the definition."""
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _takes_a_signal(node: Function) -> bool:
    names = [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
    return node.args.kwarg is not None and ("sender" in names or len(names) > 0)


def walk(tree: ast.AST) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    """Yield each node with what is around it, the outermost first."""
    waiting: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(tree, ())]
    while waiting:
        node, chain = waiting.pop()
        if chain or not isinstance(node, ast.Module):
            yield node, chain
        inner = chain if isinstance(node, ast.Module) else (*chain, node)
        waiting.extend((child, inner) for child in reversed(list(ast.iter_child_nodes(node))))


def _scope(chain: tuple[ast.AST, ...]) -> tuple[str, ...]:
    return tuple(
        getattr(node, "name", "<lambda>")
        for node in chain
        if isinstance(node, Function | ast.ClassDef | ast.Lambda)
    )


def place(module: Module, node: ast.expr | ast.stmt | ast.AST, chain: tuple[ast.AST, ...]) -> Place:
    """Return where a node stands."""
    line = getattr(node, "lineno", 0)
    return Place(module.path, line, _scope(chain))


def last_name(node: ast.AST) -> str:
    """Return the last name of ``a.b.c``, perhaps called; else empty."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def method_called(node: ast.AST) -> str:
    """Return the method that a node calls, as ``connect``; else empty."""
    called = node.func if isinstance(node, ast.Call) else None
    return called.attr if isinstance(called, ast.Attribute) else ""


def is_sent(node: ast.AST, signal: str, methods: Container[str]) -> bool:
    """Return whether a node sends *signal* by one of *methods*."""
    return method_called(node) in methods and last_name(node.func.value) == signal  # type: ignore[attr-defined]


def receivers_in(call: ast.Call) -> list[ast.expr]:
    """Return what a call is given first, or as its receiver."""
    return [
        *call.args[:1],
        *(each.value for each in call.keywords if each.arg == "receiver"),
    ]


def mentions(node: ast.AST, leaf: str) -> bool:
    """Return whether an expression names *leaf*."""
    return any(last_name(each) == leaf for each in ast.walk(node))


def touches_receivers(node: ast.AST) -> bool:
    """Return whether a statement changes receivers by hand, or mutes."""
    if isinstance(node, ast.Call):
        if last_name(node.func) in {"mute_signals", "mute"}:
            return True
        if last_name(node.func) in {"setattr", "object"}:
            return any(isinstance(a, ast.Constant) and a.value == "receivers" for a in node.args)
        changes = {"append", "clear", "pop", "remove", "extend", "insert"}
        return is_sent(node, "receivers", changes)
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    return any(
        isinstance(each, ast.Attribute) and each.attr == "receivers"
        for target in targets
        for each in ast.walk(target)
    )


# --- imports -----------------------------------------------------------------------------------


def _packages(module: Module) -> list[str]:
    """Return the packages in which imports of *module* are relative."""
    if Path(module.path).name == "__init__.py":
        return list(module.names)
    return [name.rpartition(".")[0] for name in module.names]


def _is_wanted(name: str, wanted: AbstractSet[str]) -> bool:
    return name in wanted or any(name.startswith(f"{each}.") for each in wanted)


def imports(node: ast.AST, module: Module, wanted: AbstractSet[str]) -> bool:
    """Return whether a node imports one of the modules *wanted*."""
    if isinstance(node, ast.Import):
        return any(_is_wanted(alias.name, wanted) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return any(
            _is_wanted(base, wanted)
            or any(_is_wanted(f"{base}.{alias.name}", wanted) for alias in node.names)
            for base in import_bases(node, module)
        )
    if isinstance(node, ast.Call) and last_name(node.func) in {"import_module", "__import__"}:
        return _imports_by_name(node, module, wanted)
    if isinstance(node, ast.Call) and last_name(node.func) == "autodiscover_modules":
        leaves = {name.rpartition(".")[2] for name in wanted}
        return any(isinstance(each, ast.Constant) and each.value in leaves for each in node.args)
    return False


def imported_names(node: ast.AST, module: Module) -> list[str]:
    """Return the dotted names that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        bases = import_bases(node, module)
        return [*bases, *(f"{base}.{alias.name}" for base in bases for alias in node.names)]
    if isinstance(node, ast.Call) and last_name(node.func) in {"import_module", "__import__"}:
        return [
            str(each.value)
            for each in node.args[:1]
            if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
    return []


def import_bases(node: ast.ImportFrom, module: Module) -> list[str]:
    """Return the modules from which *node* imports, by names of *module*."""
    if not node.level:
        return [node.module or ""]
    bases = []
    for package in _packages(module):
        parts = package.split(".") if package else []
        parts = parts[: len(parts) - node.level + 1]
        bases.append(".".join([*parts, *([node.module] if node.module else [])]))
    return bases


def _imports_by_name(node: ast.Call, module: Module, wanted: AbstractSet[str]) -> bool:
    for argument in node.args[:1]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            name = argument.value
            if name.startswith("."):
                return any(
                    _is_wanted(f"{package}{name}" if package else name[1:], wanted)
                    for package in _packages(module)
                )
            return _is_wanted(name, wanted)
        # As f"{app}.receivers", "%s.receivers" % app or app + ".receivers", or f"{app}.{name}" in a loop.
        texts = _texts(argument)
        ends = [end for each in texts if (end := each.rpartition(".")[2])] or _texts(module.tree)
        return any(ends_with(name, end) for end in ends for name in wanted)
    return False


def _texts(node: ast.AST) -> list[str]:
    """Return the strings in a node."""
    constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
    return [each for each in constants if isinstance(each, str)]


def import_site(path: str, node: ast.AST, chain: tuple[ast.AST, ...]) -> ImportSite | None:
    """Return where a node imports; None if that is for type checking alone."""
    guard = condition = 0
    for outer, inner in zip(chain, (*chain, node)[1:], strict=True):
        if isinstance(outer, ast.If):
            if last_name(outer.test) == "TYPE_CHECKING" and inner not in outer.orelse:
                return None
            condition = outer.lineno
        elif (isinstance(outer, ast.Try) and inner in outer.body and _swallows(outer)) or (
            isinstance(outer, ast.With | ast.AsyncWith)
            and any(last_name(item.context_expr) == "suppress" for item in outer.items)
        ):
            guard = outer.lineno
    line = getattr(node, "lineno", 0)
    inside = any(isinstance(each, Function | ast.Lambda) for each in chain)
    found = ImportSite(path, line, _scope(chain), inside, bool(guard), guard, condition)
    function = next((each for each in reversed(chain) if isinstance(each, Function)), None)
    if function is not None:
        before = [each.lineno for each in ast.walk(function) if isinstance(each, ast.Return)]
        last = max((at for at in before if at < line), default=0)
        return replace(found, function_line=function.lineno, return_line=last)
    return found


def _swallows(node: ast.Try) -> bool:
    """Return whether an error of an import may end here."""
    return any(not isinstance(each.body[-1], ast.Raise) for each in node.handlers)


# --- applications ------------------------------------------------------------------------------


def config_of(node: ast.ClassDef, path: str) -> ConfigClass:
    """Return what a class says that configures an application."""
    values: dict[str, tuple[object, int]] = {}
    for statement in node.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            for target in statement.targets:
                values[last_name(target)] = statement.value.value, statement.lineno
    default, default_line = values.get("default", (None, 0))
    ready = next((n for n in node.body if isinstance(n, Function) and n.name == "ready"), None)
    return ConfigClass(
        node.name,
        path,
        node.lineno,
        app=str(values.get("name", ("", 0))[0]),
        bases=tuple(last_name(base) for base in node.bases),
        has_ready=ready is not None and not _calls_super(ready),
        ready_line=ready.lineno if ready is not None else 0,
        default=default if isinstance(default, bool) else None,
        default_line=default_line,
    )


def is_config(node: ast.ClassDef) -> bool:
    """Return whether a class is meant to configure an application."""
    names = {
        last_name(target)
        for each in node.body
        if isinstance(each, ast.Assign)
        for target in each.targets
    }
    has_ready = any(isinstance(each, Function) and each.name == "ready" for each in node.body)
    return any(last_name(base).endswith("Config") for base in node.bases) or (
        has_ready and "name" in names
    )


def _calls_super(node: Function) -> bool:
    return any(
        isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and each.func.attr == node.name
        for each in ast.walk(node)
    )
