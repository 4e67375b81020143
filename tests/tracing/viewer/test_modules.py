"""The viewer's ES modules: found by addresses in the page, whatever the storage calls the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from django.test import Client
from django.urls import resolve

import tracing

pytestmark = pytest.mark.django_db(databases="__all__")

STATIC = Path(tracing.__file__).parent / "static" / "tracing"
SCRIPTS = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)
LINK = re.compile(r'<link rel="modulepreload" href="([^"]+)" data-module="(\w+)">')
IMPORT = re.compile(
    r"""^\s*(?:import|export)\b[^(;]*?\bfrom\s*["'] | ^\s*import\s*["']""",
    re.MULTILINE | re.VERBOSE,
)


class AggregatingStorage(ManifestStaticFilesStorage):
    """A storage that also rewrites what looks like an import in a script."""

    support_js_module_import_aggregation = True


@pytest.fixture
def links(db):
    """Return ``links(path)``: the addresses of the modules by which a page names them."""
    resolve(
        "/tracing/"
    )  # The URLs of CarSales name static files: they are read before the storage changes.
    client = Client()
    client.force_login(User.objects.create_superuser("root"))

    def links(path):
        return {name: address for address, name in LINK.findall(client.get(path).text)}

    return links


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_file_imports_another_by_a_name_that_the_storage_changes(path):
    assert IMPORT.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line", ['import { one } from "./page.js";', "import './page.js'", 'export * from "./page.js"']
)
def test_imports_are_recognized(line):
    assert IMPORT.search(f"// A comment.\n{line}\n")


@pytest.mark.thorough
def test_page_names_every_module_by_its_file(links):
    files = {path.stem for path in (STATIC / "js").iterdir()} - {"viewer"}

    found = links("/tracing/")

    assert found == {name: f"/static/tracing/js/{name}.js" for name in files}
    assert set(links("/tracing/map/")) == files - {"charts"}


def test_modules_are_typed_by_the_names_that_the_page_has(links):
    viewer = (STATIC / "js" / "viewer.js").read_text(encoding="utf-8")
    typed = dict(re.findall(r'@property \{typeof import\("\./(\w+)\.js"\)\} \[?(\w+)', viewer))

    assert typed == {name: name for name in links("/tracing/")}


@pytest.mark.thorough
@pytest.mark.parametrize("storage", [ManifestStaticFilesStorage, AggregatingStorage])
def test_addresses_are_those_of_the_storage(links, settings, tmp_path, storage):
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [("tracing", STATIC)]
    settings.STATIC_ROOT = tmp_path
    backend = f"{storage.__module__}.{storage.__qualname__}"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    call_command("collectstatic", interactive=False, verbosity=0)

    for name, address in links("/tracing/").items():
        assert re.fullmatch(rf"/static/tracing/js/{name}\.[0-9a-f]{{12}}\.js", address)
        assert (tmp_path / address.removeprefix("/static/")).is_file()
