"""The project's source, parsed and never imported."""

from __future__ import annotations

import ast
import os
import re
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracing.analysis.why_not.syntax import (
    ConfigClass,
    Definition,
    Function,
    ImportSite,
    Module,
    Place,
    config_of,
    decorator_lines,
    defined_in,
    ends_with,
    import_site,
    imported_names,
    imports,
    is_config,
    last_name,
    mentions,
    place,
    receivers_in,
    touches_receivers,
    walk,
)
from tracing.instrumentation.attributes.callsites import is_foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_FILES: Final = 5_000
LARGEST_FILE: Final = 1_000_000
"""Bytes; what is larger was written by no person."""
_MOST_FUNCTIONS: Final = 20
"""Functions that call one another which are followed."""
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_PASSED_OVER: Final = frozenset(
    {"node_modules", "__pycache__", "site-packages", "dist-packages", "venv", "env", "migrations"}
)


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

    @cached_property
    def files(self) -> list[str]:
        """Return the Python files of the project, each once."""
        found: dict[str, None] = {}
        for root in self.roots:
            for folder, folders, names in os.walk(root):
                folders[:] = sorted(
                    name
                    for name in folders
                    if name not in _PASSED_OVER
                    and not name.startswith(".")
                    and not Path(folder, name, "pyvenv.cfg").exists()
                )
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    if name.endswith(".py") and not is_foreign(path):
                        found[path] = None
                if len(found) >= MOST_FILES:
                    return list(found)
        return list(found)

    def module(self, path: str) -> Module:
        """Return a file, with no text if it cannot be read."""
        known = self._modules.get(path)
        if known is None:
            text = ""
            try:
                if os.path.getsize(path) <= LARGEST_FILE:
                    text = Path(path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                pass
            known = self._modules[path] = Module(path, self.names_of(path), text)
        return known

    def names_of(self, path: str) -> tuple[str, ...]:
        """Return the names under which a file can be imported, longest first."""
        found = set()
        for folder in (*self.paths, *self.roots):
            root = os.path.abspath(folder or os.curdir).rstrip(os.sep) + os.sep
            if path.startswith(root):
                parts = path[len(root) :].removesuffix(".py").split(os.sep)
                if parts[-1] == "__init__":
                    parts.pop()
                if parts and all(part.isidentifier() for part in parts):
                    found.add(".".join(parts))
        return tuple(sorted(found, key=len, reverse=True))

    def containing(self, word: str) -> Iterator[Module]:
        """Yield the modules whose text contains *word*."""
        for path in self.files:
            module = self.module(path)
            if word in module.text:
                yield module

    def file_of(self, name: str) -> str:
        """Return the file of a module, also a foreign one; empty without."""
        parts = name.split(".")
        for folder in (*self.roots, *self.paths):
            stem = Path(os.path.abspath(folder or os.curdir), *parts)
            for path in (stem.with_suffix(".py"), stem / "__init__.py"):
                if path.is_file():
                    return str(path)
        return ""

    # -- definitions ---------------------------------------------------------------------------

    def definitions(self, name: str) -> list[Definition]:
        """Return what *name*, a dotted path or its end, may mean in the source."""
        leaf = name.rpartition(".")[2]
        modules = list(self.containing(leaf))
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

    def imports_of(self, names: Iterable[str]) -> list[ImportSite]:
        """Return the places that import a module known as *names*."""
        wanted = set(names)
        found: dict[tuple[str, int], ImportSite] = {}
        for leaf in {name.rpartition(".")[2] for name in wanted}:
            for module in self.containing(leaf):
                if wanted & set(module.names):
                    continue
                for node, chain in walk(module.tree):
                    if imports(node, module, wanted):
                        site = import_site(module.path, node, chain)
                        if site is not None:
                            found.setdefault((site.file, site.line), site)
        return list(found.values())

    def near_imports(self, name: str) -> list[tuple[ImportSite, str]]:
        """Return guarded imports of a name like *name* that does not exist."""
        package, _, leaf = name.rpartition(".")
        found = []
        for module in self.containing("import"):
            for node, chain in walk(module.tree):
                for said in imported_names(node, module):
                    above, _, last = said.rpartition(".")
                    if above == package and last != leaf and get_close_matches(last, [leaf]):
                        site = import_site(module.path, node, chain)
                        if site is not None and site.is_guarded and not self.file_of(said):
                            found.append((site, said))
        return found

    # -- connections ---------------------------------------------------------------------------

    def connects(self, leaf: str, method: str = "connect") -> list[Place]:
        """Return where a receiver *leaf* is given to ``connect()`` or *method*."""
        found = []
        for module in self.containing(f".{method}"):
            if leaf not in module.text:
                continue
            for node, chain in walk(module.tree):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == method
                    and any(mentions(value, leaf) for value in receivers_in(node)[:1])
                ):
                    found.append(place(module, node, chain))
        return found

    def undecorating(self, file: str, line: int) -> int:
        """Return the line of a ``receiver()`` that lacks its @; 0 for none."""
        body = self.module(file).tree.body
        for before, after in pairwise(body):
            if (
                after.lineno == line
                and isinstance(before, ast.Expr)
                and isinstance(before.value, ast.Call)
                and last_name(before.value) == "receiver"
            ):
                return before.lineno
        return 0

    def uid_of(self, file: str, line: int, leaf: str) -> tuple[str, tuple[str, int]]:
        """Return a receiver's dispatch_uid in the source, and where."""
        calls = [
            (decorator, file)
            for node, _ in walk(self.module(file).tree)
            if isinstance(node, Function) and line in {node.lineno, *decorator_lines(node)}
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

    def calls(self, name: str) -> list[Place]:
        """Return where a function or method called *name* is called."""
        return [
            place(module, node, chain)
            for module in self.containing(f"{name}(")
            for node, chain in walk(module.tree)
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
        """Return the source of each function of the project by name."""
        found: dict[str, list[str]] = {}
        for module in map(self.module, self.files):
            lines = module.text.splitlines()
            for node, _ in walk(module.tree):
                if isinstance(node, Function):
                    source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                    found.setdefault(node.name, []).append(source)
        return found

    def sends(self, signal: str, *methods: str) -> list[Place]:
        """Return where a signal is sent by one of *methods*."""
        found = []
        for module in self.containing(signal):
            for node, chain in walk(module.tree):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in methods
                    and last_name(node.func.value) == signal
                ):
                    found.append(place(module, node, chain))
        return found

    def touching_receivers(self) -> list[Place]:
        """Return where receivers are changed by hand, or muted."""
        found = []
        for word in ("receivers", "mute_signals"):
            for module in self.containing(word):
                for node, chain in walk(module.tree):
                    if touches_receivers(node):
                        found.append(place(module, node, chain))
        return found

    # -- applications --------------------------------------------------------------------------

    def configs(self, path: str) -> list[ConfigClass]:
        """Return the classes of a file that are meant to configure an application."""
        return [
            config_of(node, path)
            for node in self.module(path).tree.body
            if isinstance(node, ast.ClassDef) and is_config(node)
        ]
