"""The viewer's documents against its code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.tracing.samples import full_trace
from tracing.presentation.links import EDITORS
from tracing.search.parser import parse
from tracing.search.query import KEYS
from tracing.spans.codec import document as document_of
from tracing.spans.records import Hazard
from tracing.spans.summary import summary_document, summary_of
from tracing.viewer.access import Permission
from tracing.viewer.urls import urlpatterns

DOCS = Path(__file__).parents[3] / "docs"
VIEWER = (DOCS / "guides" / "viewer.md").read_text(encoding="utf-8")
SEARCH = (DOCS / "reference" / "search.md").read_text(encoding="utf-8")
API = (DOCS / "reference" / "json.md").read_text(encoding="utf-8")


def plain(pattern):
    """Return a URL pattern as the documents write it."""
    return re.sub(r"<\w+:(\w+)>", r"<\1>", str(pattern))


def test_every_key_of_the_search_is_described():
    (section,) = re.findall(r"^## Keys\n(.*?)^## ", SEARCH, re.MULTILINE | re.DOTALL)
    described = re.findall(r"^\| `(\w+)` \| ", section, re.MULTILINE)

    assert sorted(described) == sorted(KEYS)


def test_every_example_of_a_search_is_one():
    (block,) = re.findall(r"```text\n(.*?)```", SEARCH, re.DOTALL)

    assert [parse(line, now_ns=10**18) for line in block.splitlines()]


def test_every_permission_and_editor_is_described():
    missing = [f"tracing.{one}" for one in Permission if f"`tracing.{one}`" not in VIEWER]
    missing += [editor for editor in EDITORS if f"`{editor}`" not in VIEWER]

    assert missing == []


def test_every_json_address_is_described():
    addresses = {plain(url.pattern) for url in urlpatterns if plain(url.pattern).endswith(".json")}
    described = set(re.findall(r"^\| `([^`]+\.json)`", API, re.MULTILINE))

    tabs = {
        address for address in described if re.fullmatch(r"traces/<address>/\w+\.json", address)
    }
    assert described - tabs == addresses - {"traces/<address>/<tab>.json"}
    assert len(tabs) == 7


def test_every_page_has_a_json_form():
    pages = {plain(url.pattern) for url in urlpatterns}
    changing = {"traces/<address>/note/", "recorder/switch/"}
    expected = {
        f"{page.rstrip('/') or 'traces'}.json" for page in pages if page.endswith("/") or not page
    }

    assert expected - pages - {f"{page.rstrip('/')}.json" for page in changing} == set()


def test_every_field_of_a_listed_trace_is_described():
    fields = summary_document(summary_of(full_trace()))

    assert [name for name in fields if f"`{name}`" not in API] == []


def test_document_of_a_trace_is_json_whatever_the_trace_holds():
    trace = full_trace()
    known = Hazard(hazard="n-plus-one", severity="warning", message="known")
    trace.known_hazards = [known]

    document = json.loads(json.dumps(document_of(trace)))

    assert document["known_hazards"][0]["message"] == "known"
    assert len(document["dispatches"]) == len(trace.dispatches)
