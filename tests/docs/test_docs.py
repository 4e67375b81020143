"""The documents against the repository: links, commands and dependencies are real."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.core.management import get_commands

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "core" / "README.md",
]
LINK = re.compile(r"(?<!`)!?\[(?:[^\]\n]|\n(?!\n))*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(
    r"^(?:```|~~~)[^\n]*\n(.*?)^(?:```|~~~)\s*$|`([^`\n]+)`", re.MULTILINE | re.DOTALL
)
MAKE = re.compile(r"(?:^|[\s;&|$])make((?:[ ]+(?:[A-Z]+=(?:\"[^\"]*\"|'[^']*'|\S*)|[a-z][\w-]*))+)")
PIN = re.compile(r"^([\w-]+)(?:\[\w+\])?==[\w.]+(?:; python_version .*)?$", re.MULTILINE)
MANAGE = re.compile(r"manage\.py\s+([a-z]\w*)")
ROOMS = ("benchmarks", "carsales", "core", "docs", "scripts", "tests", "tracing")
PLACE = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})/[\w./-]*\w/?")
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:cfg|css|html|ini|js|md|py|sh|toml|txt))`")
FROM = ("", "tracing", "tracing/instrumentation")
"""Where a path in a document may begin, besides beside the document."""
MADE = (".cache/", "tests/artifacts/")
"""What programs make, and a checkout lacks."""
OF_A_READER = {
    "core/cars/prices.py",
    "shop/receivers.py",
    "tests/test_sign_up.py",
    "test_checkout.py",
    "test_place.py",
    "__dispatch_trees__/TESTFILE/NAME.txt",
    "__dispatch_trees__/test_place/placed.txt",
    "tests/__dispatch_trees__/test_place/placed.txt",
}
"""What a reader's project is made up to have."""

each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(path.relative_to(REPOSITORY)) for path in DOCUMENTS]
)


def code_of(text):
    """Return the code in a document: blocks and spans, one after the other."""
    return "\n".join(block or span for block, span in CODE.findall(text))


def anchors_of(path):
    """Return the anchors of a document's headings, formed as code hosts form them."""
    anchors = set()
    for heading in HEADING.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchors.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return anchors


def make_targets():
    """Return the targets that the Makefile declares as its commands."""
    (line,) = re.findall(r"^\.PHONY:(.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    return set(line.split())


def makes_in(text):
    """Return the targets of every ``make`` in a document's code."""
    words = [word for found in MAKE.findall(code_of(text)) for word in shlex.split(found)]
    return {word for word in words if "=" not in word}


def managed_in(text):
    """Return the command of every ``manage.py`` in a document's code."""
    return set(MANAGE.findall(code_of(text)))


@each_document
def test_links_of_a_document(document):
    broken = []
    for target in LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, anchor = unquote(target).partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in anchors_of(path)):
            broken.append(target)

    assert broken == []


def test_each_picture_is_shown():
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)

    assert "viewer-trace-light.png" in shown
    pictures = (REPOSITORY / "docs" / "screenshots").glob("*")
    assert [each.name for each in pictures if f"/{each.name})" not in shown] == []


def files_in(text):
    """Return the files and folders that a document names."""
    return {*PLACE.findall(text), *NAMED_FILE.findall(text)}


@each_document
def test_files_named_in_a_document(document):
    folders = [document.parent, *(REPOSITORY / folder for folder in FROM)]
    missing = [
        name
        for name in files_in(document.read_text(encoding="utf-8")) - OF_A_READER
        if not name.startswith(MADE) and not any((folder / name).exists() for folder in folders)
    ]

    assert missing == []


def test_links_that_break_over_a_line_and_pictures():
    text = "It is [sent\n  on](storage.md#keys) as ![a tree](tree.png), [not\n\nthis](gone.md)."

    assert LINK.findall(text) == ["storage.md#keys", "tree.png"]


def test_files_in_a_sentence_and_a_block():
    text = (
        "See `search/language.py` and core/cars.\n```\nmake_sale core/sales/receivers.py:19\n```\n"
    )

    assert files_in(text) == {"search/language.py", "core/cars", "core/sales/receivers.py"}


@pytest.mark.thorough
def test_pages_named_in_code():
    code = [
        path.read_text(encoding="utf-8")
        for room in set(ROOMS) - {"docs"}
        for path in (REPOSITORY / room).rglob("*.py")
    ]
    named = {page for text in code for page in re.findall(r"\bdocs/[\w/-]+\.md", text)}

    assert [page for page in named if not (REPOSITORY / page).exists()] == []
    assert "docs/reference/settings.md" in named


@each_document
def test_make_targets_named_in_a_document(document):
    assert makes_in(document.read_text(encoding="utf-8")) - make_targets() == set()


@each_document
def test_management_commands_named_in_a_document(document):
    assert managed_in(document.read_text(encoding="utf-8")) - set(get_commands()) == set()


def test_documents_name_what_is_looked_for():
    everything = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)

    assert len(LINK.findall(everything)) > 1
    assert {"demo", "test", "lint", "types"} <= makes_in(everything)


def test_managed_in_a_span_and_a_block():
    text = "Run `./manage.py migrate` or\n```\npython manage.py load_cars x.csv\n```\n"

    assert managed_in(text) == {"migrate", "load_cars"}


def test_makes_in_a_command_with_variables():
    text = '`make test ARGS="-k order -x"` and `make PYTHON=python3 demo PORT=1`, not make believe'

    assert makes_in(text) == {"test", "demo"}


@pytest.mark.process
def test_every_make_target_is_listed_by_help():
    listed = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    targets = set(re.findall(r"^  make ([\w-]+)", listed.stdout, re.MULTILINE))
    assert targets == make_targets() - {"env", "env-dev"}


def test_dependencies_are_all_explained():
    pinned = {
        package
        for name in ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt")
        for package in PIN.findall((REPOSITORY / name).read_text(encoding="utf-8"))
    }
    page = (REPOSITORY / "docs" / "project" / "dependencies.md").read_text(encoding="utf-8")
    scripts = json.loads((REPOSITORY / "package.json").read_text(encoding="utf-8"))
    explained = set(re.findall(r"^\| ([\w@/-]+) \|", page, re.MULTILINE)) - {"folder", "package"}

    assert explained == pinned | set(scripts["devDependencies"])


def test_packages_for_scripts_are_pinned_exactly_and_for_development_alone():
    package = json.loads((REPOSITORY / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((REPOSITORY / "package-lock.json").read_text(encoding="utf-8"))
    versions = package["devDependencies"]
    vendored = {path.name for path in (REPOSITORY / "tracing/static/tracing/vendor").iterdir()}

    assert "dependencies" not in package
    assert [version for version in versions.values() if not re.fullmatch(r"[\d.]+", version)] == []
    assert lock["packages"][""]["devDependencies"] == versions
    # Where a package lies is the installing machine's business.
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
    assert f"uPlot-{versions['uplot']}" in vendored


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-docs.txt"]
)
def test_requirements_are_pinned_exactly(name):
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    loose = [line for line in lines if line and not line.startswith("#") and not PIN.match(line)]

    assert loose == (["-r requirements.txt"] if name == "requirements-dev.txt" else [])
