"""The project's source, parsed and never imported."""

from __future__ import annotations

import ast
import os
import re
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, wraps
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from tracing.analysis.why_not.syntax import (
    ConfigClass,
    Definition,
    Function,
    ImportSite,
    Module,
    Place,
    config_of,
    defined_in,
    ends_with,
    first_line,
    import_site,
    imported_names,
    imports,
    is_config,
    is_sent,
    last_name,
    mentions,
    method_called,
    names_below,
    place,
    receivers_in,
    touches_receivers,
    walk,
)
from tracing.instrumentation.attributes.callsites import is_foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MOST_FILES: Final = 5_000
LARGEST_FILE: Final = 1_000_000
"""Bytes; what is larger was written by no person."""
_MOST_FUNCTIONS: Final = 20
"""Functions that call one another which are followed."""
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_FUNCTION: Final = re.compile(
    r"^(?=(?P<source>(?P<indent>[ \t]*)(?:async )?def (?P<name>\w+).*\n"
    r"(?:(?:[ \t]*|(?P=indent)(?:[ \t].*|[)\]}].*))\n)*))",
    re.MULTILINE,
)
"""A function up to the first line that is indented no further, but for closing brackets."""
_P = ParamSpec("_P")
_T = TypeVar("_T")
_PASSED_OVER: Final = frozenset(
    {"node_modules", "__pycache__", "site-packages", "dist-packages", "venv", "env", "migrations"}
)


def _once(method: Callable[Concatenate[Project, _P], _T]) -> Callable[Concatenate[Project, _P], _T]:
    """Have *method* of a project search once: each trace asks again."""

    @wraps(method)
    def answer(self: Project, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = (method, *args)
        if key not in self._found:
            self._found[key] = method(self, *args, **kwargs)
        found: _T = self._found[key]
        return found

    return answer


@dataclass
class Project:
    """The files of a project.

    Attributes:
        roots: Folders that are searched.
        paths: Folders from which modules are imported.
    """

    roots: tuple[str, ...]
    paths: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    _modules: dict[str, Module] = field(default_factory=dict)
    _found: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def files(self) -> list[str]:
        """Return the Python files of the project, each once."""
        found: dict[str, None] = {}
        for root in self.roots:
            for folder, folders, names in os.walk(root):
                if "pyvenv.cfg" in names and folder != root:
                    folders.clear()
                    continue
                # What setuptools builds is a copy of the project.
                built = "lib" if os.path.basename(folder) == "build" else ""
                folders[:] = sorted(
                    name
                    for name in folders
                    if name not in {*_PASSED_OVER, built} and name[0] != "."
                )
                # All files of a folder are foreign, or none is.
                if not is_foreign(os.path.join(folder, "")):
                    paths = [f"{folder}{os.sep}{name}" for name in sorted(names)]
                    found |= dict.fromkeys([path for path in paths if path.endswith(".py")])
                if len(found) >= MOST_FILES:
                    return list(found)
        return list(found)

    def module(self, path: str) -> Module:
        """Return a file, with no text if it cannot be read."""
        known = self._modules.get(path)
        if known is None:
            content = b""
            try:
                with open(path, "rb") as file:
                    content = file.read(LARGEST_FILE + 1)
            except OSError:
                pass
            content = content if len(content) <= LARGEST_FILE else b""
            known = self._modules[path] = Module(path, self._folders, content)
        return known

    def names_of(self, path: str) -> tuple[str, ...]:
        """Return the names under which a file can be imported, longest first."""
        return names_below(path, self._folders)

    @cached_property
    def _folders(self) -> tuple[str, ...]:
        """Return the folders of modules, each with a separator at its end."""
        folders = (*self.paths, *self.roots)
        return tuple(os.path.join(os.path.abspath(folder or os.curdir), "") for folder in folders)

    def containing(self, word: str) -> Iterator[Module]:
        """Yield the modules whose text contains *word*."""
        sought = word.encode()
        for path in self.files:
            module = self.module(path)
            if sought in module.content:
                yield module

    def nodes(self, *words: str) -> Iterator[tuple[Module, ast.AST, tuple[ast.AST, ...]]]:
        """Yield the nodes of modules with all *words*, and what is around each."""
        for module in self.containing(words[0]):
            if all(word in module.text for word in words[1:]):
                for node, chain in walk(module.tree):
                    yield module, node, chain

    @_once
    def search(self, how: Callable[[str, Project], Iterable[Place]], name: str) -> list[Place]:
        """Return the places that *how* finds of *name*."""
        return list(how(name, self))

    def file_of(self, name: str) -> str:
        """Return the file of a module, also a foreign one; empty without."""
        parts = name.split(".")
        for folder in (*self.roots, *self.paths):
            stem = Path(os.path.abspath(folder or os.curdir), *parts)
            for path in (stem / "__init__.py", stem.with_suffix(".py")):
                if path.is_file():
                    return str(path)
        return ""

    # -- definitions ---------------------------------------------------------------------------

    def definitions(self, name: str) -> list[Definition]:
        """Return what *name*, a dotted path or its end, may mean in the source."""
        leaf = name.rpartition(".")[2]
        # Most files that have the word call it: to parse them all takes longer than all else.
        defines = re.compile(rb"\b(?:def|class)\s+%b(?![0-9A-Za-z_])" % re.escape(leaf.encode()))
        modules = [each for each in self.containing(leaf) if defines.search(each.content)]
        stem = name.rpartition(".")[0]
        while stem:
            # A whole path may name what lies outside the project, as an installed package does.
            path = self.file_of(stem)
            if path and path not in self.files:
                modules.append(self.module(path))
                break
            stem = stem.rpartition(".")[0]
        found: dict[tuple[str, int], Definition] = {}
        for module in modules:
            for definition in defined_in(module):
                if ends_with(definition.name, name):
                    found.setdefault((definition.file, definition.line), definition)
        return list(found.values())

    # -- imports -------------------------------------------------------------------------------

    @_once
    def imports_of(self, names: frozenset[str]) -> list[ImportSite]:
        """Return the places that import a module known as *names*."""
        found: dict[tuple[str, int], ImportSite] = {}
        for leaf in {name.rpartition(".")[2] for name in names}:
            for module, node, chain in self.nodes(leaf):
                if imports(node, module, names) and not names & set(module.names):
                    site = import_site(module.path, node, chain)
                    if site is not None:
                        found.setdefault((site.file, site.line), site)
        return list(found.values())

    @_once
    def near_imports(self, name: str) -> list[tuple[ImportSite, str]]:
        """Return guarded imports of a name like *name* that does not exist."""
        package, _, leaf = name.rpartition(".")
        found = []
        for module, node, chain in self.nodes("import"):
            for said in imported_names(node, module):
                above, _, last = said.rpartition(".")
                if above == package and last != leaf and get_close_matches(last, [leaf]):
                    site = import_site(module.path, node, chain)
                    if site is not None and site.is_guarded and not self.file_of(said):
                        found.append((site, said))
        return found

    # -- connections ---------------------------------------------------------------------------

    @_once
    def connects(self, leaf: str) -> list[Place]:
        """Return where a receiver *leaf* is given to ``connect()``."""
        return [
            place(module, node, chain)
            for module, node, chain in self.nodes(".connect", leaf)
            if isinstance(node, ast.Call)
            and method_called(node) == "connect"
            and any(mentions(value, leaf) for value in receivers_in(node)[:1])
        ]

    def undecorating(self, file: str, line: int) -> int:
        """Return the line of a ``receiver()`` that lacks its @; 0 for none.

        The one before the function at *line*, or else one somewhere in its file.
        """
        found = 0
        body = self.module(file).tree.body
        for node, after in pairwise([*body, None]):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Call)
                and last_name(node.value) == "receiver"
                and not isinstance(node.value.func, ast.Call)
            ):
                if after is not None and after.lineno == line:
                    return node.lineno
                found = node.lineno
        return found

    def uid_of(self, file: str, line: int, leaf: str) -> tuple[str, tuple[str, int]]:
        """Return a receiver's dispatch_uid in the source, and where."""
        calls = [
            (decorator, file)
            for node, _ in walk(self.module(file).tree)
            if isinstance(node, Function) and line in {node.lineno, first_line(node)}
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call) and last_name(decorator) == "receiver"
        ]
        for found in self.connects(leaf):
            calls += [
                (node, found.file)
                for node, _ in walk(self.module(found.file).tree)
                if isinstance(node, ast.Call)
                and node.lineno == found.line
                and last_name(node.func) == "connect"
            ]
        for call, path in calls:
            for each in call.keywords:
                if each.arg == "dispatch_uid" and isinstance(each.value, ast.Constant):
                    return str(each.value.value), (path, call.lineno)
        return "", ("", 0)

    @_once
    def calls(self, name: str) -> list[Place]:
        """Return where a function or method called *name* is called."""
        return [
            place(module, node, chain)
            for module, node, chain in self.nodes(f"{name}(")
            if isinstance(node, ast.Call) and last_name(node.func) == name
        ]

    def reached_from(self, text: str) -> Iterator[str]:
        """Yield *text*, and the source of the functions it leads to."""
        waiting, seen = [text], {""}
        for _ in range(_MOST_FUNCTIONS):
            if not waiting:
                return
            text = waiting.pop(0)
            yield text
            names = set(_NAME.findall(text)) - seen
            seen |= names
            waiting += [
                source for name in sorted(names) for source in self._functions.get(name, ())
            ]

    @cached_property
    def _functions(self) -> dict[str, list[str]]:
        """Return the source of each function of the project by name.

        By its indentation: to parse all files takes seconds.
        """
        found: dict[str, list[str]] = {}
        for module in map(self.module, self.files):
            for match in _FUNCTION.finditer(f"{module.text}\n"):
                found.setdefault(match["name"], []).append(match["source"])
        return found

    @_once
    def sends(self, signal: str, *methods: str) -> list[Place]:
        """Return where a signal is sent by one of *methods*."""
        return [
            place(module, node, chain)
            for module, node, chain in self.nodes(signal)
            if is_sent(node, signal, methods)
        ]

    @_once
    def touching_receivers(self) -> list[Place]:
        """Return where receivers are changed by hand, or muted."""
        return [
            place(module, node, chain)
            for word in ("receivers", "mute_signals")
            for module, node, chain in self.nodes(word)
            if touches_receivers(node)
        ]

    # -- applications --------------------------------------------------------------------------

    def configs(self, path: str) -> list[ConfigClass]:
        """Return the classes of a file that are meant to configure an application."""
        return [
            config_of(node, path)
            for node in self.module(path).tree.body
            if isinstance(node, ast.ClassDef) and is_config(node)
        ]
