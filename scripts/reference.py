"""Write the tables and entries of the reference that the code itself holds: python scripts/reference.py.

Settings come from their declarations, options from the parsers of the verbs, keys of the search from the
language, the Python API from docstrings. ``--check`` writes nothing and fails where a page is not what
would be written. A page has ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` around what is put there.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import sys
import textwrap
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tracing.conf.shapes import Options

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "reference" / f"{name}.md" for name in ("settings", "commands", "search", "python")]
BLOCK = re.compile(
    r"(<!-- (\w+)(?: ([\w., -]+))?: begin -->\n).*?(<!-- \2(?: \3)?: end -->\n)", re.DOTALL
)
PAGE_NAMED = re.compile(r"docs/([\w/-]+\.md)(#[\w-]+)?")
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Attributes", "Example")
PUBLIC = {
    "tracing": (),
    "tracing.testing": (),
    "tracing.log": ("add_trace_ids",),
    "tracing.celery": ("connect",),
    "tracing.pipeline": ("Exporter", "TemporaryError"),
    "tracing.analysis.hazards": ("rule", "finding"),
}
"""Modules, and the public names of those whose other names are not for projects."""


# -- words ---------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Return a docstring as Markdown on one line for each paragraph."""
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n")]
    return PAGE_NAMED.sub(_link, "\n\n".join(paragraphs).replace("``", "`"))


def _link(match: re.Match[str]) -> str:
    page, anchor = DOCS / match[1], match[2] or ""
    title = re.findall(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[0]
    return f"[{title}]({os.path.relpath(page, PAGES[0].parent)}{anchor})"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


# -- settings ------------------------------------------------------------------------------------


def declared(kind: type) -> dict[str, str]:
    """Return the texts below the fields of a class, by their names, as Markdown."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            found[field.target.id] = prose(text.value.value)
    return found


def group(name: str) -> list[str]:
    """Return the names of the settings below the comment ``# -- NAME``."""
    from tracing.conf import Settings

    source = inspect.getsource(Settings)
    part = source.split(f"# -- {name}\n", 1)[1].split("# -- ", 1)[0]
    return re.findall(r"^    (\w+): ", part, re.MULTILINE)


def settings(name: str) -> str:
    """Return the table of a group of settings, or of the keys of one that is a dictionary."""
    from tracing import conf

    if name.isupper():
        kind = type(getattr(conf.Settings(), name.lower()))
        return _settings_of(kind, kind(), list(kind.options))
    found = _settings_of(conf.Settings, conf.Settings(), group(name))
    return found.replace("[Settings](settings.md#", "[below](#")


def _settings_of(kind: type[Options], defaults: object, names: list[str]) -> str:
    texts = declared(kind)
    rows = []
    for field, option in kind.options.items():
        if field not in names or option.shape is None:
            continue
        written = [field.upper()] if kind.__name__ == "Settings" else option.names or (field,)
        keys = ", ".join(f"`{key}`" for key in written)
        rows.append([keys, _default(getattr(defaults, field)), texts[field]])
    return table(["key", "default", ""], rows)


def _default(value: Any) -> str:
    from tracing.conf.shapes import Options

    if isinstance(value, Options):
        value = vars(value).get("written", {})
    if value is None:
        return ""
    shown = repr(value).replace("'", '"')
    return f"`{shown}`"


# -- the command ---------------------------------------------------------------------------------


def options(name: str) -> str:
    """Return the table of a verb's arguments and options, without what most verbs or ``list`` have."""
    rows = _options_of(name)
    told = _options_of("list") if name != "list" else []
    return table(["option", ""], (row for row in rows if row not in told))


def _options_of(name: str) -> list[list[str]]:
    from tracing.management.verbs import VERBS
    from tracing.management.verbs.base import NAMES_OF_TRACES

    parser = argparse.ArgumentParser(prog="manage.py tracing", add_help=False)
    next(verb for verb in VERBS if verb.name == name).add_arguments(parser)
    rows = []
    for action in parser._actions:  # noqa: SLF001 - argparse tells nobody else what it was given.
        if action.help == argparse.SUPPRESS or action.dest == "everything":
            continue
        if action.dest == "format":
            action.help = ""
            if list(action.choices) == ["text", "json"]:
                continue
        text = action.help % vars(action) if action.help else ""
        text = text.replace(NAMES_OF_TRACES, "[a trace](#what-is-common)")
        if action.choices:
            choices = ", ".join(f"`{choice}`" for choice in action.choices if choice)
            text = f"{text}: {choices}" if text else choices
        rows.append([_spelled(action), text])
    return rows


def _spelled(action: argparse.Action) -> str:
    """Return how an argument is written."""
    if not action.option_strings:
        names = action.metavar or action.dest
        return f"`{names if isinstance(names, str) else ' '.join(names)}`"
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings)


# -- the search ----------------------------------------------------------------------------------


def keys(_name: str) -> str:
    """Return the table of the keys of the search."""
    from tracing.search.query import KEYS

    rows = []
    for key in KEYS.values():
        choices = ", ".join(f"`{choice}`" for choice in key.choices)
        compared = " ".join(f"`{operator}`" for operator in key.operators if operator != "=")
        what = f"{key.hint}: {choices}" if choices and key.name != "hazard" else key.hint
        rows.append([f"`{key.name}`", prose(what), HOW[key.match.name].format(compared=compared)])
    return table(["key", "", "compared"], rows)


HOW = {
    "PART": "any part",
    "EXACT": "exactly",
    "DOTTED": "whole, or its end after a dot",
    "CHOICE": "",
    "FLAG": "",
    "NUMBER": "{compared}",
    "DURATION": "{compared}, with a duration",
    "TIME": "a time",
}
"""What is said of the value of a key, by the name of its kind of comparison."""


# -- the API -------------------------------------------------------------------------------------


def api(name: str) -> str:
    """Return the public names of a module with what their docstrings say."""
    from importlib import import_module

    module = import_module(name)
    return "\n".join(
        text
        for public in PUBLIC[name] or module.__all__
        for text in entry(public, getattr(module, public))
    )


def entry(name: str, thing: Any) -> Iterator[str]:
    """Yield the entry of a function or a class, then those of its public methods."""
    yield f"### `{name}`\n"
    yield f"```python\n{signature(name, thing)}\n```\n"
    yield described(inspect.getdoc(thing) or "")
    if not inspect.isclass(thing) or name == "DispatchAssertions":
        return
    rows = []
    for method, value in vars(thing).items():
        text = inspect.getdoc(value)
        if (
            method.startswith("_")
            or not text
            or not (callable(value) or isinstance(value, property))
        ):
            continue
        shown = method if isinstance(value, property) else signature(method, value, is_method=True)
        rows.append([f"`{shown}`", described(text).replace("\n\n", " ").replace("\n", " ").strip()])
    if rows:
        yield table(["of it", ""], rows)


def signature(name: str, thing: Callable[..., Any], *, is_method: bool = False) -> str:
    """Return how *thing* is called, and the type of what it returns."""
    if inspect.isclass(thing) and (issubclass(thing, Exception) or name in OF_THE_LIBRARY):
        return f"class {name}"
    parameters = list(inspect.signature(thing).parameters.values())[is_method:]
    shown, has_star = [], False
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and not has_star:
            shown.append("*")
        has_star = has_star or each.kind in {each.KEYWORD_ONLY, each.VAR_POSITIONAL}
        default = each.default.value if isinstance(each.default, Enum) else each.default
        prefix = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        text = f"{prefix}{each.name}: {each.annotation}"
        shown.append(text if default is each.empty else f"{text} = {default!r}")
        if each.kind is each.POSITIONAL_ONLY:
            shown.append("/")
    call = f"{name}({', '.join(shown)})"
    if inspect.isgeneratorfunction(inspect.unwrap(thing)):
        return f"with {call}"
    returned = inspect.signature(thing).return_annotation
    return call if inspect.isclass(thing) or is_method else f"{call} -> {returned}"


OF_EVERY_ASSERTION = ("captured: ", "AssertionError: ")
"""What every assertion takes and raises, which is told once."""
OF_THE_LIBRARY = {"Captured", "DispatchAssertions", "Exporter"}
"""Classes that projects are given, mix in or write: how they are made is nobody's business."""


def described(text: str) -> str:
    """Return a docstring of Google's style as Markdown."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", inspect.cleandoc(text), flags=re.MULTILINE)
    lines = [prose(parts[0]) + "\n"]
    for head, body in zip(parts[1::2], parts[2::2], strict=True):
        if head == "Example":
            lines.append(f"```python\n{textwrap.dedent(body).strip()}\n```\n")
        elif head in {"Returns", "Yields"}:
            lines.append(f"{head}: {prose(body)}\n")
        else:
            items = [
                item
                for item in re.split(r"\n(?=\S)", textwrap.dedent(body).strip())
                if not item.startswith(OF_EVERY_ASSERTION)
            ]
            if not items:
                continue
            shown = [re.sub(r"^([\w*.]+(?:, [\w.]+)*): ", r"`\1`: ", prose(item)) for item in items]
            lines.append(
                f"{head}:\n\n" * (head != "Args") + "".join(f"- {item}\n" for item in shown)
            )
    return "\n".join(lines)


# -- the pages -----------------------------------------------------------------------------------

MAKERS = {"settings": settings, "options": options, "keys": keys, "api": api}


def page(text: str) -> str:
    """Return the text of a page with its blocks written anew."""
    return BLOCK.sub(
        lambda found: f"{found[1]}\n{MAKERS[found[2]](found[3] or '')}\n{found[4]}", text
    )


def main() -> int:
    """Write the pages, or compare them; return the exit status."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "carsales.settings")
    import django

    django.setup()
    stale = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if (written := page(text)) != text:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv[1:]:
                path.write_text(written, encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        print(
            f"{', '.join(stale)}: not what the code says: python scripts/reference.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
