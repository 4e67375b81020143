"""The page of each hazard against its rule: the example is found, the remedy is not."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.mail import send_mail
from django.core.serializers.base import DeserializedObject
from django.db import connection, models, transaction
from django.db.models import signals
from django.dispatch import Signal, receiver
from django.test.utils import isolate_apps
from django.utils.functional import cached_property

from tests.conftest import UNHURRIED
from tracing.analysis.hazards import BUILT_IN, OF_PROCESSES, SEVERITIES
from tracing.testing import capture_dispatches

HAZARDS = Path(__file__).resolve().parents[2] / "docs" / "hazards"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DURATION = re.compile(r"[\d.,]+ (?:ns|µs|ms|s)\b")

# What an example takes for granted, as the pages say.
SETTINGS = {
    "async-hop": {"HAZARDS": {**UNHURRIED, "async-hop": {"total_ms": 0}}},
    # What is slow sleeps longer here than on the page, so that nothing else takes as long.
    "slow-receiver": {"HAZARDS": {**UNHURRIED, "slow-receiver": {"threshold_ms": 2_000}}},
    "budget-exceeded": {"BUDGETS": [{"name": "docs", "dispatches": 2}]},
}

order_placed = Signal()
"""The signal of all examples: for the name of each new one the loaded modules would be searched."""

with isolate_apps("tests"):

    class Order(models.Model):
        name = models.CharField(max_length=50)

        class Meta:
            app_label = "shop"

        def __str__(self):
            return self.name

    class Sale(models.Model):
        name = models.CharField(max_length=50)

        class Meta:
            app_label = "shop"

        def __str__(self):
            return self.name


def section(text, heading):
    """Return what stands under a heading."""
    return re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], flags=re.MULTILINE)[0]


def page_of(rule):
    return (HAZARDS / f"{rule.id}.md").read_text(encoding="utf-8")


def block_of(text, language):
    return next(code for name, code in BLOCK.findall(text) if name == language)


@pytest.fixture
def shop(transactional_db):
    """Give the models of the examples their tables."""
    with connection.schema_editor() as editor:
        editor.create_model(Order)
        editor.create_model(Sale)
    yield
    with connection.schema_editor() as editor:
        editor.delete_model(Order)
        editor.delete_model(Sale)


@pytest.fixture
def restored_signals():
    """Disconnect what an example connects."""
    kept = {
        signal: list(signal.receivers)
        for signal in (signals.pre_save, signals.post_save, signals.post_init, order_placed)
    }
    yield
    for signal, receivers in kept.items():
        with signal.lock:
            signal.receivers[:] = receivers
            signal.sender_receivers_cache.clear()


def load_fixture(record):
    """Save one record of a fixture, as ``loaddata`` does."""
    DeserializedObject(Order(pk=record["pk"], **record["fields"])).save()


def save_one_of_each(*models_to_save):
    kind = ContentType.objects.create(app_label="shop", model="thing")
    made = {
        Order: lambda: Order(name="first"),
        Group: lambda: Group(name="buyers"),
        Permission: lambda: Permission(name="buy", codename="buy", content_type=kind),
        ContentType: lambda: kind,
        Session: lambda: Session(session_key="s", expire_date="2030-01-01T00:00Z"),
    }
    for model in models_to_save:
        made[model]().save()


def run(code, folder):
    """Run an example as a module of its own; return what was captured."""
    path = folder / "shop" / "receivers.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(code, encoding="utf-8")
    names = {
        "ContentType": ContentType,
        "Group": Group,
        "Order": Order,
        "Permission": Permission,
        "Sale": Sale,
        "Session": Session,
        "__name__": "shop.receivers",
        "asyncio": asyncio,
        "cached_property": cached_property,
        "load_fixture": load_fixture,
        "order_placed": order_placed,
        "partial": functools.partial,
        "post_init": signals.post_init,
        "post_save": signals.post_save,
        "pre_save": signals.pre_save,
        "queue": [],
        "receiver": receiver,
        "save_one_of_each": save_one_of_each,
        "send_mail": send_mail,
        "suppress": contextlib.suppress,
        "time": SimpleNamespace(sleep=lambda seconds: time.sleep(seconds * 20)),
        "transaction": transaction,
    }
    with capture_dispatches("docs") as captured:
        exec(compile(code, str(path), "exec"), names)
    # The signal is named after the place where a project would define it.
    for dispatch in captured.trace.dispatches:
        if dispatch.signal.endswith("order_placed"):
            dispatch.signal = "shop.signals.order_placed"
    for lost in captured.trace.lost_receivers:
        lost.signal = "shop.signals.order_placed"
    return captured


def messages(captured, folder):
    """Return the findings as the command words them, places relative, times left out."""
    return [
        f"{hazard.severity.upper()} {hazard.hazard}\n  {hazard.message}".replace(f"{folder}/", "")
        for hazard in captured.hazards
    ]


def timeless(text):
    """Return *text* on one line, its durations left out."""
    return DURATION.sub("TIME", " ".join(text.split()))


# From Django 6.1 on, mail without MAILERS warns; what is shown is when it is sent.
pytestmark = pytest.mark.filterwarnings("ignore:.*MAILERS")
ALL = (*BUILT_IN, *OF_PROCESSES)
each_rule = pytest.mark.parametrize("rule", BUILT_IN, ids=[rule.id for rule in BUILT_IN])


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.usefixtures("shop", "restored_signals", "unhurried")
@pytest.mark.slow
@pytest.mark.parametrize("rule", BUILT_IN, ids=lambda rule: rule.id)
def test_hazard_page_shows_what_is_found(rule, tmp_path, settings):
    settings.DEBUG = False
    settings.TRACING = {**settings.TRACING, **SETTINGS.get(rule.id, {})}
    text = page_of(rule)
    found = run(block_of(text, "python"), tmp_path)
    gc.collect()

    (shown,) = [text for text in messages(found, tmp_path) if rule.id in text.split()]
    printed = block_of(text, "text")
    assert timeless(shown) == timeless(printed)


@pytest.mark.usefixtures("shop", "restored_signals", "unhurried")
@each_rule
def test_hazard_page_shows_a_remedy_that_helps(rule, tmp_path, settings):
    settings.DEBUG = False
    settings.TRACING = {**settings.TRACING, **SETTINGS.get(rule.id, {})}
    code = block_of(section(page_of(rule), "Remedy"), "python")

    assert messages(run(code, tmp_path), tmp_path) == []


@pytest.mark.parametrize("rule", ALL, ids=[rule.id for rule in ALL])
def test_hazard_page_says_what_the_rule_says(rule):
    text = page_of(rule)
    first = " ".join(text.split("\n\n")[1].replace("`", "").split())

    assert text.startswith(f"# {rule.id}\n\n")
    assert first == f"{rule.severity.capitalize()}. {rule.summary} {rule.why}"
    for name, default in rule.options.items():
        if name != "budgets":
            assert f"- `{name}` (`{default!r}`): " in text


def test_hazard_index_names_every_rule_and_no_other():
    index = (HAZARDS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"\[([a-z-]+)\]\(\1\.md\)", index)

    assert sorted(listed) == sorted(rule.id for rule in ALL)
    assert {path.stem for path in HAZARDS.glob("*.md")} == {"index", *listed}
    assert {rule.severity for rule in ALL} <= set(SEVERITIES)
    assert "Twenty rules" in index
    assert len(ALL) == 20
