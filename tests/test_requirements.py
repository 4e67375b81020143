"""What the code imports is what the project asks for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = {"tracing", "core", "carsales"}


def distributions_imported_by(package):
    """Return the distributions that a package's modules import, by their normal names."""
    known = packages_distributions()
    names = set()
    for path in (REPOSITORY / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition(".")[0])
    foreign = names - OURS - set(sys.stdlib_module_names)
    return {normal(known.get(name, [name])[0]) for name in foreign}


def normal(name):
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required_in(lines):
    """Return the names of the distributions in requirement lines."""
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines if re.match(r"\w", line)}


@pytest.mark.parametrize("package", ["core", "carsales"])
@pytest.mark.thorough
def test_requirements_of_the_site(package):
    required = required_in((REPOSITORY / "requirements.txt").read_text().splitlines())
    # asgiref comes with Django, and is its public interface to async code.
    assert distributions_imported_by(package) - required - {"asgiref"} == set()


@pytest.mark.thorough
def test_requirements_of_the_tracer():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    required = required_in([*project["dependencies"], *extras])
    # pytest is there wherever its plugin is loaded; Celery and django-tasks where they are traced.
    supported = {"asgiref", "pytest", "celery", "opentelemetry-api"}

    assert distributions_imported_by("tracing") - required - supported == set()
