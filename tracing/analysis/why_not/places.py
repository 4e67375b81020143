"""Lines of the settings: where a value is set that explains something."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path


def settings_files() -> list[str]:
    """Return the files of the settings in force."""
    name = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not name:
        return []
    package = name.rpartition(".")[0]
    found = []
    for known, module in [(name, sys.modules.get(name)), *sorted(sys.modules.items())]:
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and (
            known == name or (package and known.startswith(f"{package}."))
        ):
            found.append(path)
    return list(dict.fromkeys(found))


def setting_place(setting: str, value: str = "") -> tuple[str, int]:
    """Return where *setting* is assigned, or has *value*."""
    for path in settings_files():
        try:
            tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not any(isinstance(each, ast.Name) and each.id == setting for each in targets):
                continue
            if not value:
                return path, node.lineno
            for inner in ast.walk(node):
                if isinstance(inner, ast.Constant) and inner.value == value:
                    return path, inner.lineno
    return "", 0


def installed_apps_place(value: str = "") -> tuple[str, int]:
    """Return where INSTALLED_APPS is assigned, or where *value* stands in it."""
    return setting_place("INSTALLED_APPS", value)
