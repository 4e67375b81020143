"""What is said of code, distributions and dependencies: nothing passes that was not looked at."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def script(name):
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def audit(monkeypatch):
    """Return the script; ``audit.answers`` are what pip-audit says of each file, in order."""
    module = script("audit")
    module.answers = []
    monkeypatch.setattr(module, "built", lambda: ["a.tar.gz", "a.whl"])
    monkeypatch.setattr(module, "run", lambda name, *arguments: name != module.failing)
    module.failing = ""

    def answered(command, **options):
        said = module.answers.pop(0) if "-f" in command else ""
        return subprocess.CompletedProcess(command, 0, said, "no route")

    monkeypatch.setattr(module.subprocess, "run", answered)
    return module


def said(*packages):
    return json.dumps({"dependencies": list(packages)})


SAFE = {"name": "django", "version": "6.1.3", "vulns": []}
WEAK = {"name": "rich", "version": "15", "vulns": [{"id": "X-1", "fix_versions": ["15.1"]}]}
UNKNOWN = {"name": "httpx", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "failing", "said_and_status"),
    [
        ([said(SAFE)] * 3, "", ("No weakness was told.", 0)),
        ([said(SAFE)] * 3, "bandit", ("No weakness was told.", 1)),
        ([said(SAFE), said(WEAK), said(SAFE)], "", ("rich 15: X-1, mended in 15.1", 1)),
        ([said(SAFE, UNKNOWN)] * 3, "", ("out of reach or unknown there: httpx.", 75)),
        ([said(SAFE), "", said(SAFE)], "", ("requirements-dev.txt (no route)", 75)),
    ],
)
def test_what_was_not_looked_at_has_not_passed(audit, capsys, answers, failing, said_and_status):
    audit.answers, audit.failing = list(answers), failing
    line, status = said_and_status

    assert audit.main() == status
    assert line in capsys.readouterr().out


def test_tools_that_cannot_be_installed_have_looked_at_nothing(audit, monkeypatch, capsys):
    monkeypatch.setattr(
        audit.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1)
    )

    assert audit.main() == 75
    assert capsys.readouterr().out.startswith("NOT LOOKED AT")


def test_page_of_licences_is_what_the_packages_say():
    licences = script("licences")

    assert licences.PAGE.read_text(encoding="utf-8") == licences.page()


def test_licence_of_every_vendored_folder_is_told():
    folders = {
        path.relative_to(REPOSITORY).as_posix()
        for path in REPOSITORY.glob("t*/**/vendor/*")
        if path.is_dir()
    }

    assert {place for place, _ in script("licences").vendored()} == folders


def test_a_package_without_a_row_is_named(monkeypatch):
    licences = script("licences")
    monkeypatch.setattr(licences, "scripts", lambda: [("nobody", "MIT")])

    with pytest.raises(ValueError, match="lacks nobody"):
        licences.page()
