"""The matrix: every Python found here, every Django that runs on it, every database.

    nox                                 the tests on SQLite with every Python and Django found
    nox -s tests                        the same
    nox -s databases                    the tests on PostgreSQL and MariaDB
    nox -s coverage                     the tests without a browser, and what they cover
    nox -s conformance                  Django's own tests with tracing on, all modules
    nox -s lint types contracts         the checks
    nox -s docs                         the site of the documents, strictly
    nox -s benchmarks                   what tracing costs
    nox -s tests -- -m "not browser"    what follows -- goes to pytest

Interpreters are looked for on PATH and among pyenv's; those that are absent are named and left
out of the matrix.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
DJANGOS = ["5.2", "6.0", "6.1"]
DATABASES = ["postgresql", "mariadb"]

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests"]
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "venv"


def answers(interpreter: str, version: str) -> bool:
    """Return whether the interpreter runs and is of that version.

    A version manager's shim of a version that is not selected is on PATH and does not run.
    """
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [interpreter, "-c", code], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return done.stdout.strip() == version


def pyenv_versions() -> Path | None:
    """Return the folder of pyenv's interpreters, or None without pyenv."""
    if not (pyenv := shutil.which("pyenv")):
        return None
    done = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip(), "versions") if done.returncode == 0 else None


def find_interpreter(version: str) -> str | None:
    """Return an interpreter of that version, or None."""
    candidates = [sys.executable, f"python{version}", "python3"]
    if versions := pyenv_versions():
        candidates += [str(path) for path in sorted(versions.glob(f"{version}*/bin/python"))]
    return next((candidate for candidate in candidates if answers(candidate, version)), None)


def offer_interpreters() -> list[str]:
    """Put every interpreter found where nox looks, and return their versions."""
    found = {version: find_interpreter(version) for version in PYTHONS}
    offered = Path(__file__).with_name(".nox") / "interpreters"
    offered.mkdir(parents=True, exist_ok=True)
    for version, interpreter in found.items():
        name = offered / f"python{version}"
        if interpreter and not answers(f"python{version}", version):
            code = "import sys; print(sys._base_executable)"
            base = subprocess.run(
                [interpreter, "-c", code], capture_output=True, text=True, check=True
            )
            # A script, not a link: an interpreter finds its library from its own place.
            name.write_text(f'#!/bin/sh\nexec "{base.stdout.strip()}" "$@"\n')
            name.chmod(0o755)
    os.environ["PATH"] = f"{offered}{os.pathsep}{os.environ['PATH']}"
    return [version for version, interpreter in found.items() if interpreter]


# Compiled once, even where a container says never: the tests start hundreds of processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

FOUND = offer_interpreters()
if absent := [version for version in PYTHONS if version not in FOUND]:
    print(f"Not found here, so not in the matrix: Python {', '.join(absent)}", file=sys.stderr)

# Django 6 needs Python 3.12; the oldest Django runs on them all.
PAIRS = [
    (python, django)
    for python in FOUND
    for django in DJANGOS
    if django == "5.2" or python != "3.11"
]
OUTER_PAIRS = sorted({PAIRS[0], PAIRS[-1]})
PYTEST = ["python", "-m", "pytest", "-n", "auto", "--maxprocesses=8", "--dist=worksteal"]
PYTEST += [f"--reruns={os.environ['RERUNS']}"] if os.environ.get("RERUNS") else []


def install(session: nox.Session, django: str | None = None) -> None:
    """Install what a developer has, with one Django release where it is given."""
    session.install("--quiet", "-r", "requirements-dev.txt")
    if django:
        session.install("--quiet", f"Django~={django}.0")
    session.install("--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")


@nox.session
@nox.parametrize("python,django", PAIRS)
def tests(session: nox.Session, django: str) -> None:
    """Run the tests on SQLite."""
    install(session, django)
    session.run(*PYTEST, *session.posargs, env={"PYTHONDEVMODE": "1"})


@nox.session
@nox.parametrize("python,django", PAIRS)
def coverage(session: nox.Session, django: str) -> None:
    """Run the tests that need no browser and judge what they cover."""
    install(session, django)
    session.run("coverage", "erase")
    run = ["coverage", "run", *PYTEST[1:], "--ignore=tests/browser", *session.posargs]
    environment = {"PYTHONDEVMODE": "1"}
    if session.python != "3.11":
        environment["COVERAGE_CORE"] = "sysmon"  # Quicker, and leaves sys.settrace() to the tests.
    session.run(*run, env=environment)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
@nox.parametrize("python,django", OUTER_PAIRS)
@nox.parametrize("database", DATABASES)
def databases(session: nox.Session, django: str, database: str) -> None:
    """Run the tests on a database server, with the oldest and the newest pair."""
    install(session, django)
    environment = {"TEST_DATABASE": database, "REQUIRE_SERVICES": "1", "PYTHONDEVMODE": "1"}
    session.run(*PYTEST, *session.posargs, env=environment)


@nox.session
@nox.parametrize("python,django", PAIRS)
def conformance(session: nox.Session, django: str) -> None:
    """Run Django's own tests stock and traced."""
    install(session, django)
    session.run("python", "tests/conformance/run.py", *(session.posargs or ["--all"]))


@nox.session
@nox.parametrize("python,django", PAIRS)
def benchmarks(session: nox.Session, django: str) -> None:
    """Measure what tracing costs."""
    install(session, django)
    session.run("python", "-m", "benchmarks", "--here", *session.posargs)


@nox.session(python=FOUND[:1])
def lint(session: nox.Session) -> None:
    """Check style and templates."""
    install(session)
    session.run("make", "lint", f"VENV={session.virtualenv.location}", external=True)


@nox.session(python=FOUND[:1])
def types(session: nox.Session) -> None:
    """Check types."""
    install(session)
    session.run("make", "types", f"VENV={session.virtualenv.location}", external=True)


@nox.session(python=FOUND[:1])
def contracts(session: nox.Session) -> None:
    """Check which package may import which."""
    install(session)
    session.run("lint-imports")


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """Build the site of the documents and check its links."""
    session.run("make", "docs", external=True)
