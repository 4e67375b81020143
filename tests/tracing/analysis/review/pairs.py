"""Pairs of small projects that differ in one thing, or two, and what a review has to say of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
APPS = """
from django.apps import AppConfig

class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from . import receivers
"""
MODELS = """
from django.db import models

class Order(models.Model):
    name = models.CharField(max_length=20, default="")
    tags = models.ManyToManyField("Tag")

class Invoice(models.Model):
    number = models.IntegerField(default=0)

class Log(models.Model):
    text = models.CharField(max_length=20, default="")

class Tag(models.Model):
    text = models.CharField(max_length=20, default="")

class RushOrder(Order):
    class Meta:
        proxy = True
"""
SIGNALS = """
from django.dispatch import Signal

order_placed = Signal()
order_shipped = Signal()
"""
SERVICES = """
from django.db import transaction
from shop.models import Invoice, Log, Order
from shop.signals import order_placed, order_shipped

def place(name="x"):
    order = Order.objects.create(name=name)
    order_placed.send(Order, order=order)
    return order
"""
HEAD_OF_RECEIVERS = """
from django.db import transaction
from django.db.models.signals import *
from django.dispatch import receiver
from shop.models import Invoice, Log, Order, RushOrder, Tag
from shop.signals import order_placed, order_shipped
"""
RECEIVERS = """
@receiver(post_save, sender=Order)
def notify(sender, **kwargs):
    Invoice.objects.count()

@receiver(order_placed)
def audit(sender, **kwargs):
    pass
"""
HEAD_OF_TESTS = """
import pytest
from django.test import TestCase, TransactionTestCase
from shop.models import Invoice, Log, Order, RushOrder, Tag
from shop.signals import order_placed, order_shipped
from shop import services
"""
TESTS = """
@pytest.mark.django_db
def test_place():
    services.place()
    Invoice.objects.create()
"""
PLACE = "test_shop.py::test_place"


@dataclass
class Pair:
    """Two versions of the files of a project, and the changes between them."""

    name: str
    base: dict[str, str]
    head: dict[str, str]
    expected: list[tuple[Any, ...]]
    """(kind, receiver, signal, sender, before, after), names in short; ``...`` for whatever."""
    tests: list[str] = field(default_factory=lambda: [PLACE])
    head_arguments: tuple[str, ...] = ()


def project(files: dict[str, str]) -> dict[str, str]:
    """Return all files of a project of which *files* are given, by short names."""
    found = {
        "settings.py": SETTINGS,
        "shop/__init__.py": "",
        "shop/apps.py": APPS,
        "shop/models.py": MODELS,
        "shop/signals.py": SIGNALS,
        "shop/services.py": SERVICES,
        "shop/receivers.py": RECEIVERS,
        "test_shop.py": TESTS,
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\n",
    } | {_PATHS.get(name, name): text for name, text in files.items()}
    found["shop/receivers.py"] = HEAD_OF_RECEIVERS + dedent(found["shop/receivers.py"])
    found["test_shop.py"] = HEAD_OF_TESTS + dedent(found["test_shop.py"])
    return {name: dedent(text).lstrip("\n") for name, text in found.items()}


_PATHS = {
    "receivers": "shop/receivers.py",
    "signals": "shop/signals.py",
    "services": "shop/services.py",
    "models": "shop/models.py",
    "apps": "shop/apps.py",
    "tests": "test_shop.py",
}
PAIRS: list[Pair] = []


def pair(name, expected, *, base=None, head=None, tests=None, head_arguments=()):
    """Add a pair; what *base* and *head* do not say is as everywhere."""
    PAIRS.append(
        Pair(
            name,
            base or {},
            {**(base or {}), **(head or {})},
            expected,
            [PLACE] if tests is None else tests,
            head_arguments,
        )
    )


RENAMED_TO_TELL = (
    *("receiver-renamed", "tell", "post_save", "shop.Order"),
    *("shop.receivers.notify", "shop.receivers.tell"),
)
AUDIT = """
@receiver(order_placed)
def audit(sender, **kwargs):
    pass
"""
NOTIFY = """
@receiver(post_save, sender=Order)
def notify(sender, **kwargs):
    Invoice.objects.count()
"""

# --- receivers ---------------------------------------------------------------------------------

pair(
    "receiver added",
    [("receiver-added", "index", "post_save", "shop.Order", None, "called")],
    head={"receivers": RECEIVERS + "@receiver(post_save, sender=Order)\ndef index(**kwargs): pass"},
)
pair(
    "receiver added where nobody was",
    [("receiver-added", "index", "pre_save", "shop.Order", None, "called")],
    head={"receivers": RECEIVERS + "@receiver(pre_save, sender=Order)\ndef index(**kwargs): pass"},
)
pair(
    "receiver of any sender added",
    [("receiver-added", "index", "post_save", None, None, "called")],
    head={"receivers": RECEIVERS + "@receiver(post_save)\ndef index(**kwargs): pass"},
)
pair(
    "receiver of a delete added, which nobody heard",
    [("receiver-added", "forget", "post_delete", "shop.Order", None, "called")],
    base={"tests": TESTS + "    Order.objects.all().delete()\n    Log.objects.create().delete()"},
    head={
        "receivers": RECEIVERS + "@receiver(post_delete, sender=Order)\ndef forget(**kwargs): pass"
    },
)
pair(
    "receiver removed",
    [("receiver-removed", "audit", "order_placed", "shop.Order", "called", None)],
    head={"receivers": NOTIFY},
)
pair(
    "receiver removed that sent what others hear",
    [("receiver-removed", "notify", "post_save", "shop.Order", "called", None)],
    base={
        "receivers": """
        @receiver(post_save, sender=Order)
        def notify(**kwargs): Log.objects.create()
        @receiver(post_save, sender=Log)
        def logged(**kwargs): pass
        @receiver(order_placed)
        def audit(**kwargs): pass
        """
    },
    head={
        "receivers": """
        def notify(**kwargs): Log.objects.create()
        @receiver(post_save, sender=Log)
        def logged(**kwargs): pass
        @receiver(order_placed)
        def audit(**kwargs): pass
        """
    },
)
pair(
    "receiver renamed",
    [RENAMED_TO_TELL],
    head={"receivers": RECEIVERS.replace("notify", "tell")},
)
pair(
    "receiver renamed among others",
    [RENAMED_TO_TELL],
    base={
        "receivers": "@receiver(post_save)\ndef first(**kwargs): pass\n"
        + RECEIVERS
        + "@receiver(post_save)\ndef last(**kwargs): pass\n"
    },
    head={
        "receivers": "@receiver(post_save)\ndef first(**kwargs): pass\n"
        + RECEIVERS.replace("notify", "tell")
        + "@receiver(post_save)\ndef last(**kwargs): pass\n"
    },
)
pair(
    "receiver renamed and asks more",
    [
        RENAMED_TO_TELL,
        ("queries-changed", "tell", "post_save", "shop.Order", 1, 2),
    ],
    head={
        "receivers": RECEIVERS.replace("notify", "tell").replace(
            "Invoice.objects.count()", "Invoice.objects.count(); Log.objects.count()"
        )
    },
)
pair(
    "receiver renamed and moved",
    [
        (
            "receiver-renamed",
            "tell",
            "post_save",
            "shop.Order",
            "shop.receivers.notify",
            "shop.handlers.tell",
        )
    ],
    head={
        "receivers": AUDIT + "from . import handlers",
        "shop/handlers.py": HEAD_OF_RECEIVERS + NOTIFY.replace("notify", "tell"),
    },
)
pair(
    "receiver renamed, one added",
    [
        ("receiver-added", "index", "pre_save", "shop.Order", None, "called"),
        RENAMED_TO_TELL,
    ],
    head={
        "receivers": RECEIVERS.replace("notify", "tell")
        + "@receiver(pre_save, sender=Order)\ndef index(**kwargs): pass"
    },
)
pair(
    "one removed, another added elsewhere",
    [
        ("receiver-added", "index", "pre_save", "shop.Invoice", None, "called"),
        ("receiver-removed", "notify", "post_save", "shop.Order", "called", None),
    ],
    head={"receivers": AUDIT + "@receiver(pre_save, sender=Invoice)\ndef index(**kwargs): pass"},
)
TWO = """
@receiver(post_save, sender=Order)
def first(**kwargs): pass
@receiver(post_save, sender=Order)
def second(**kwargs): pass
"""
pair(
    "receivers reordered",
    [("receiver-reordered", ..., "post_save", "shop.Order", ..., ...)],
    base={"receivers": TWO},
    head={"receivers": TWO.replace("first", "x").replace("second", "first").replace("x", "second")},
)
THREE = TWO + "@receiver(post_save, sender=Order)\ndef third(**kwargs): pass\n"
pair(
    "last receiver is first",
    [("receiver-reordered", "third", "post_save", "shop.Order", ..., ...)],
    base={"receivers": THREE},
    head={"receivers": "@receiver(post_save, sender=Order)\ndef third(**kwargs): pass\n" + TWO},
)
pair(
    "receivers reordered and one more",
    [
        ("receiver-added", "third", "post_save", "shop.Order", None, "called"),
        ("receiver-reordered", ..., "post_save", "shop.Order", ..., ...),
    ],
    base={"receivers": TWO},
    head={
        "receivers": THREE.replace("first", "x").replace("second", "first").replace("x", "second")
    },
)
pair(
    "another sender",
    [("sender-changed", "notify", "post_save", "shop.Invoice", "shop.Order", "shop.Invoice")],
    head={"receivers": RECEIVERS.replace("sender=Order", "sender=Invoice")},
)
pair(
    "another sender that no test sends",
    [("sender-changed", "notify", "post_save", "shop.Log", "shop.Order", "shop.Log")],
    head={"receivers": RECEIVERS.replace("sender=Order", "sender=Log")},
)
pair(
    "any sender",
    [("sender-changed", "notify", "post_save", ..., "shop.Order", "any sender")],
    head={"receivers": RECEIVERS.replace("post_save, sender=Order", "post_save")},
)
pair(
    "one sender in the place of any, and no other sends",
    [("sender-changed", "audit", "order_placed", "shop.Order", "any sender", "shop.Order")],
    head={"receivers": RECEIVERS.replace("order_placed", "order_placed, sender=Order")},
)
pair(
    "sent by another sender",
    [("sender-changed", "audit", "order_placed", "shop.Invoice", "shop.Order", "shop.Invoice")],
    head={"services": SERVICES.replace("send(Order", "send(Invoice")},
)
pair(
    "another signal",
    [("signal-changed", "notify", "pre_save", "shop.Order", "post_save", "pre_save")],
    head={"receivers": RECEIVERS.replace("post_save", "pre_save")},
)
pair(
    "another signal of the project",
    [("signal-changed", "audit", "order_shipped", "shop.Order", "order_placed", "order_shipped")],
    base={"services": SERVICES.replace("return", "order_shipped.send(Order)\n    return")},
    head={"receivers": RECEIVERS.replace("order_placed", "order_shipped")},
)
pair(
    "signal renamed",
    [("signal-changed", "audit", "order_made", "shop.Order", "order_placed", "order_made")],
    base={"tests": TESTS + "# no signals here"},
    head={
        "signals": SIGNALS.replace("order_placed", "order_made")
        + "def __getattr__(name): return order_made\n",
    },
)

# --- calls -------------------------------------------------------------------------------------

pair(
    "saved twice",
    [("calls-changed", "notify", "post_save", "shop.Order", 1, 2)],
    head={"services": SERVICES.replace("return", "order.save()\n    return")},
)
pair(
    "connected twice",
    [("calls-changed", "notify", "post_save", "shop.Order", 1, 2)],
    head={"receivers": RECEIVERS + "post_save.connect(notify, sender=Order, dispatch_uid='again')"},
)
pair(
    "saved twice, with what follows",
    [("calls-changed", "notify", "post_save", "shop.Order", 1, 2)],
    base={
        "receivers": """
        @receiver(post_save, sender=Order)
        def notify(**kwargs): Log.objects.create()
        @receiver(post_save, sender=Log)
        def logged(**kwargs): pass
        """
    },
    head={"services": SERVICES.replace("return", "order.save()\n    return")},
)
pair(
    "asks more",
    [("queries-changed", "notify", "post_save", "shop.Order", 1, 3)],
    head={
        "receivers": RECEIVERS.replace(
            "Invoice.objects.count()", "[Invoice.objects.count() for _ in range(3)]"
        )
    },
)
pair(
    "asks less",
    [("queries-changed", "notify", "post_save", "shop.Order", 1, 0)],
    head={"receivers": RECEIVERS.replace("Invoice.objects.count()", "pass")},
)
pair(
    "asks more for every sender",
    [("queries-changed", "notify", "post_save", None, 1, 2)],
    base={"receivers": RECEIVERS.replace("post_save, sender=Order", "post_save")},
    head={
        "receivers": RECEIVERS.replace("post_save, sender=Order", "post_save").replace(
            "Invoice.objects.count()", "Invoice.objects.count(); Log.objects.count()"
        )
    },
)
pair(
    "saved twice and asks more",
    [
        ("calls-changed", "notify", "post_save", "shop.Order", 1, 2),
        ("queries-changed", "notify", "post_save", "shop.Order", 1, 2),
    ],
    head={
        "services": SERVICES.replace("return", "order.save()\n    return"),
        "receivers": RECEIVERS.replace(
            "Invoice.objects.count()", "Invoice.objects.count(); Log.objects.count()"
        ),
    },
)
ROBUST = SERVICES.replace("order_placed.send(", "order_placed.send_robust(")
pair(
    "raises",
    [("outcome-changed", "audit", "order_placed", "shop.Order", "returned", "raised")],
    base={"services": ROBUST},
    head={"receivers": NOTIFY + AUDIT.replace("pass", "raise ValueError('no')")},
)
RAISING_TEST = """
@pytest.mark.django_db
def test_place():
    try:
        services.place()
    except ValueError:
        pass
"""
pair(
    "raises, and later ones are skipped",
    [("outcome-changed", "audit", "order_placed", "shop.Order", "returned", "raised")],
    base={
        "tests": RAISING_TEST,
        "receivers": RECEIVERS
        + "@receiver(order_placed)\ndef later(**kwargs): Log.objects.create()",
        "services": SERVICES.replace(
            "return", "order_shipped.send(Order)\n    order.save()\n    return"
        ),
    },
    head={
        "receivers": RECEIVERS.replace("pass", "raise ValueError('no')")
        + "@receiver(order_placed)\ndef later(**kwargs): Log.objects.create()"
    },
)
pair(
    "raises no more",
    [("outcome-changed", "audit", "order_placed", "shop.Order", "raised", "returned")],
    base={
        "tests": RAISING_TEST,
        "receivers": RECEIVERS.replace("pass", "raise ValueError('no')")
        + "@receiver(order_placed)\ndef later(**kwargs): Log.objects.create()",
        "services": SERVICES.replace(
            "return", "order_shipped.send(Order)\n    order.save()\n    return"
        ),
    },
    head={
        "receivers": RECEIVERS
        + "@receiver(order_placed)\ndef later(**kwargs): Log.objects.create()"
    },
)
pair(
    "raises before it asks",
    [("outcome-changed", "notify", "post_save", "shop.Order", "returned", "raised")],
    base={"tests": RAISING_TEST},
    head={"receivers": RECEIVERS.replace("Invoice.objects.count()", "raise ValueError('no')")},
)
pair(
    "a test that fails on one side",
    [("outcome-changed", "notify", "post_save", "shop.Order", "returned", "raised")],
    head={"receivers": RECEIVERS.replace("Invoice.objects.count()", "raise ValueError('no')")},
)
pair(
    "a test that fails since a receiver is gone",
    [("receiver-removed", "notify", "post_save", "shop.Order", "called", None)],
    base={
        "receivers": RECEIVERS.replace("Invoice.objects.count()", "Log.objects.create()"),
        "tests": TESTS.replace("    Invoice", "    assert Log.objects.count() == 1\n    Invoice")
        + "    services.place()\n    order_shipped.send(None)\n",
    },
    head={"receivers": AUDIT},
)

# --- dispatches --------------------------------------------------------------------------------

pair(
    "robust",
    [("method-changed", None, "order_placed", "shop.Order", "send", "send_robust")],
    head={"services": ROBUST},
)
pair(
    "robust, with a receiver that raises",
    [("method-changed", None, "order_placed", "shop.Order", "send", "send_robust")],
    base={
        "tests": RAISING_TEST,
        "receivers": NOTIFY
        + AUDIT.replace("pass", "raise ValueError('no')")
        + "@receiver(order_placed)\ndef later(**kwargs): Log.objects.create()",
    },
    head={"services": ROBUST},
)
pair(
    "async receiver",
    [("async-changed", "audit", "order_placed", "shop.Order", "sync", "async")],
    head={"receivers": RECEIVERS.replace("def audit", "async def audit")},
)
pair(
    "async receiver, of two",
    [("async-changed", "first", "post_save", "shop.Order", "sync", "async")],
    base={"receivers": TWO},
    head={"receivers": TWO.replace("def first", "async def first")},
)
pair(
    "sync receiver",
    [("async-changed", "audit", "order_placed", "shop.Order", "async", "sync")],
    base={"receivers": RECEIVERS.replace("def audit", "async def audit")},
    head={"receivers": RECEIVERS},
)
ON_COMMIT = SERVICES.replace(
    "order_placed.send(Order, order=order)",
    "transaction.on_commit(lambda: order_placed.send(Order, order=order))",
)
DEFERRED = ("dispatch-deferred", None, "order_placed", "shop.Order", "at once", "on commit")
RESENT = ("dispatch-deferred", None, "order_placed", "shop.Order", "on commit", "at once")
pair("on commit, in a test that never commits", [DEFERRED], head={"services": ON_COMMIT})
pair(
    "on commit, in a test that commits",
    [DEFERRED],
    base={"tests": TESTS.replace("django_db", "django_db(transaction=True)")},
    head={"services": ON_COMMIT},
)
pair(
    "on commit, in a transaction",
    [DEFERRED],
    base={
        "tests": TESTS.replace("django_db", "django_db(transaction=True)").replace(
            "services.place()",
            "from django.db import transaction\n    with transaction.atomic(): services.place()",
        )
    },
    head={"services": ON_COMMIT},
)
CAPTURING = TESTS.replace(
    "    services.place()",
    "    with TestCase.captureOnCommitCallbacks(execute=True): services.place()",
)
pair(
    "on commit, in a test that runs the callbacks",
    [DEFERRED],
    base={"tests": CAPTURING},
    head={"services": ON_COMMIT},
)
pair(
    "no longer on commit",
    [RESENT],
    base={"tests": CAPTURING, "services": ON_COMMIT},
    head={"services": SERVICES},
)
pair(
    "no longer on commit, in a test that never committed",
    [RESENT],
    base={"services": ON_COMMIT},
    head={"services": SERVICES},
)
SENDING = """
@receiver(post_save, sender=Order)
def notify(instance, **kwargs):
    order_shipped.send(Order)
@receiver(order_shipped)
def shipped(**kwargs): Log.objects.count()
"""
pair(
    "a receiver sends on commit",
    [("dispatch-deferred", None, "order_shipped", "shop.Order", "at once", "on commit")],
    base={"tests": CAPTURING, "receivers": SENDING},
    head={
        "receivers": SENDING.replace(
            "order_shipped.send(Order)",
            "transaction.on_commit(lambda: order_shipped.send(Order))",
        )
    },
)
pair(
    "sent newly",
    [("dispatch-added", None, "order_shipped", "shop.Order", 0, 1)],
    base={
        "receivers": RECEIVERS
        + "@receiver(order_shipped)\ndef shipped(**kwargs): Log.objects.create()"
    },
    head={"services": SERVICES.replace("return", "order_shipped.send(Order)\n    return")},
)
pair(
    "sent newly, to nobody",
    [("dispatch-added", None, "order_shipped", "shop.Order", 0, 1)],
    head={"services": SERVICES.replace("return", "order_shipped.send(Order)\n    return")},
)
pair(
    "sent newly by a receiver",
    [("dispatch-added", None, "post_save", "shop.Log", 0, 1)],
    base={"receivers": RECEIVERS + "@receiver(post_save, sender=Log)\ndef logged(**kwargs): pass"},
    head={
        "receivers": RECEIVERS.replace("pass", "Log.objects.create()", 1)
        + "@receiver(post_save, sender=Log)\ndef logged(**kwargs): pass"
    },
)
# The new dispatch is what a new query of the receiver sends.
PAIRS[-1].expected.append(("queries-changed", "audit", "order_placed", "shop.Order", 0, 1))
pair(
    "sent no more",
    [("dispatch-removed", None, "order_placed", "shop.Order", 1, 0)],
    head={"services": SERVICES.replace("    order_placed.send(Order, order=order)\n", "")},
)
pair(
    "sent no more, to nobody",
    [("dispatch-removed", None, "order_placed", "shop.Order", 1, 0)],
    base={"receivers": NOTIFY},
    head={"services": SERVICES.replace("    order_placed.send(Order, order=order)\n", "")},
)
MANY = """
@pytest.mark.django_db
def test_place():
    services.many()
"""
SAVING = (
    SERVICES
    + """
def many():
    for _ in range(3):
        Order(name="y").save()
"""
)
BULK = (
    SERVICES
    + """
def many():
    Order.objects.bulk_create([Order(name="y") for _ in range(3)])
"""
)
pair(
    "bulk_create",
    [("receivers-bypassed", "notify", "post_save", "shop.Order", "called", "bulk_create")],
    base={"tests": MANY, "services": SAVING},
    head={"services": BULK},
)
pair(
    "bulk_create, several receivers",
    [
        ("receivers-bypassed", "early", "pre_save", "shop.Order", "called", "bulk_create"),
        ("receivers-bypassed", "first", "post_save", "shop.Order", "called", "bulk_create"),
        ("receivers-bypassed", "second", "post_save", "shop.Order", "called", "bulk_create"),
    ],
    base={
        "tests": MANY,
        "services": SAVING,
        "receivers": TWO + "@receiver(pre_save)\ndef early(**kwargs): pass",
    },
    head={"services": BULK},
)
pair(
    "update",
    [("receivers-bypassed", "notify", "post_save", "shop.Order", "called", "update")],
    base={"services": SERVICES.replace("return", "order.name = 'z'\n    order.save()\n    return")},
    head={
        "services": SERVICES.replace(
            "return", "Order.objects.filter(pk=order.pk).update(name='z')\n    return"
        )
    },
)
pair(
    "bulk_update, beside a bulk_create that was there",
    [("receivers-bypassed", "notify", "post_save", "shop.Order", "called", "bulk_update")],
    base={
        "services": """
        from shop.models import *
        def place():
            orders = Order.objects.bulk_create([Order()])
            orders[0].save()
        """
    },
    head={
        "services": """
        from shop.models import *
        def place():
            orders = Order.objects.bulk_create([Order()])
            Order.objects.bulk_update(orders, ["name"])
        """
    },
)
pair(
    "bulk_create no more",
    [("dispatch-added", None, "post_save", "shop.Order", 0, 3)],
    base={"tests": MANY, "services": BULK},
    head={"services": SAVING},
)

# --- two at once -------------------------------------------------------------------------------

pair(
    "async and robust",
    [
        ("method-changed", None, "order_placed", "shop.Order", "send", "send_robust"),
        ("async-changed", "audit", "order_placed", "shop.Order", "sync", "async"),
    ],
    head={"services": ROBUST, "receivers": RECEIVERS.replace("def audit", "async def audit")},
)
pair(
    "removed and asks more",
    [
        ("receiver-removed", "audit", "order_placed", "shop.Order", "called", None),
        ("queries-changed", "notify", "post_save", "shop.Order", 1, 2),
    ],
    head={
        "receivers": NOTIFY.replace(
            "Invoice.objects.count()", "Invoice.objects.count(); Log.objects.count()"
        )
    },
)
pair(
    "another sender, and asks more",
    [
        ("sender-changed", "notify", "post_save", "shop.Invoice", "shop.Order", "shop.Invoice"),
    ],
    head={
        "receivers": RECEIVERS.replace("sender=Order", "sender=Invoice").replace(
            "Invoice.objects.count()", "Invoice.objects.count(); Log.objects.count()"
        )
    },
)
PAIRS[-1].expected.append(("queries-changed", "notify", "post_save", "shop.Invoice", 1, 2))
PARAMETRIZED = """
@pytest.mark.django_db
@pytest.mark.parametrize("count", [1, 2])
def test_place(count):
    for _ in range(count): services.place()
"""
pair(
    "parametrized tests",
    [("queries-changed", "notify", "post_save", "shop.Order", 1, 2)],
    base={"tests": PARAMETRIZED},
    head={
        "receivers": RECEIVERS.replace(
            "Invoice.objects.count()", "Invoice.objects.count(); Log.objects.count()"
        )
    },
    tests=[f"{PLACE}[1]", f"{PLACE}[2]"],
)
CLASSES = """
class OrderTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.order = Order.objects.create()

    def test_save(self):
        self.order.save()

    def test_place(self):
        services.place()

    def test_nothing(self):
        pass
"""
pair(
    "tests of a class, with shared data",
    [("queries-changed", "notify", "post_save", "shop.Order", 1, 0)],
    base={"tests": CLASSES},
    head={"receivers": RECEIVERS.replace("Invoice.objects.count()", "pass")},
    tests=[
        "test_shop.py::OrderTests",
        "test_shop.py::OrderTests::test_place",
        "test_shop.py::OrderTests::test_save",
    ],
)
pair(
    "fixtures",
    [("queries-changed", "notify", "post_save", "shop.Order", 1, 0)],
    base={
        "tests": """
        @pytest.fixture
        def order(db):
            return Order.objects.create()

        def test_place(order):
            Invoice.objects.create()
        """
    },
    head={"receivers": RECEIVERS.replace("Invoice.objects.count()", "pass")},
)

# --- silent ------------------------------------------------------------------------------------

pair("nothing", [])
pair(
    "another module",
    [],
    head={
        "receivers": AUDIT + "from . import handlers",
        "shop/handlers.py": HEAD_OF_RECEIVERS + NOTIFY,
    },
)
pair("another line", [], head={"receivers": "\n\n# Moved down.\n\nX = 1\n" + RECEIVERS})
pair(
    "another layout",
    [],
    head={
        "receivers": """
        @receiver(
            post_save,
            sender=Order,
        )
        def notify(
            sender, **kwargs
        ):
            '''Count invoices.'''
            (
                Invoice
                .objects
                .count()
            )


        @receiver(order_placed)
        def audit(sender, **kwargs): pass
        """
    },
)
pair(
    "a partial of it",
    [],
    head={
        "receivers": "from functools import partial"
        + RECEIVERS.replace("@receiver(post_save, sender=Order)", "").replace("sender,", "x=0, *a,")
        + "held = partial(notify, x=1)\npost_save.connect(held, sender=Order)\n"
    },
)
pair(
    "connected in ready()",
    [],
    head={
        "receivers": "def notify(**kwargs): Invoice.objects.count()\ndef audit(**kwargs): pass",
        "apps": APPS
        + """
        from django.db.models.signals import post_save
        from .models import Order
        from .signals import order_placed
        post_save.connect(receivers.notify, sender=Order)
        order_placed.connect(receivers.audit)
""",
    },
)
pair(
    "the same queries from a helper",
    [],
    head={
        "receivers": RECEIVERS.replace("Invoice.objects.count()", "helped()")
        + "def helped(): return Invoice.objects.count()"
    },
)
pair(
    "saves in another order",
    [],
    base={
        "tests": TESTS
        + "    Order.objects.create()\n    Log.objects.create()\n    services.place()"
    },
    head={
        "tests": TESTS.replace("    services.place()\n", "")
        + "    Log.objects.create()\n    services.place()\n    services.place()\n    Order.objects.create()"
    },
)
pair(
    "times and keys",
    [],
    base={"tests": TESTS},
    head={
        "tests": TESTS.replace("    services.place()", "    services.place('a longer name')")
        + "    import time; time.sleep(0.01)\n",
        "models": MODELS.replace(
            "class Order(models.Model):",
            "class Order(models.Model):\n    id = models.BigAutoField(primary_key=True)",
        ),
    },
)
SEVERAL = (
    TESTS
    + """
@pytest.mark.django_db
def test_kinds():
    from django.contrib.contenttypes.models import ContentType
    services.place()

@pytest.mark.django_db
def test_kinds_again():
    services.place()
"""
)
KINDS = """
from django.contrib.contenttypes.models import ContentType
from functools import lru_cache

@lru_cache
def looked_up():
    return list(Tag.objects.all())

@receiver(post_save, sender=Order)
def notify(sender, **kwargs):
    ContentType.objects.get_for_model(sender)
    looked_up()
"""
REVERSED = {
    "conftest.py": "def pytest_collection_modifyitems(items): items.reverse()\n",
}
pair(
    "tests in another order",
    [],
    base={"tests": SEVERAL, "receivers": KINDS},
    head=REVERSED,
)
pair(
    "tests in two processes",
    [],
    base={"tests": SEVERAL, "receivers": KINDS},
    head_arguments=("-n", "2"),
)
pair(
    "a change, in two processes",
    [("receiver-removed", "audit", "order_placed", "shop.Order", "called", None)],
    base={"tests": SEVERAL},
    head={"receivers": NOTIFY},
    tests=["test_shop.py::test_kinds", "test_shop.py::test_kinds_again", PLACE],
    head_arguments=("-n", "2"),
)
pair(
    "tests of one side",
    [],
    base={"tests": TESTS + "@pytest.mark.django_db\ndef test_old(): services.place()"},
    head={
        "tests": TESTS
        + "@pytest.mark.django_db\ndef test_new(): services.place(); Log.objects.create()",
        "receivers": RECEIVERS + "@receiver(post_save, sender=Log)\ndef logged(**kwargs): pass",
    },
)
pair(
    "a dispatch in a helper",
    [],
    head={
        "services": SERVICES.replace("order_placed.send(Order, order=order)", "_tell(order)")
        + "def _tell(order):\n    order_placed.send(Order, order=order)\n"
    },
)
pair(
    "the signals in another module",
    [],
    head={
        "signals": "from shop.events import *",
        "shop/events.py": SIGNALS,
    },
)

# --- odds and ends -----------------------------------------------------------------------------

pair(
    "receiver of m2m added, which nobody heard",
    [("receiver-added", "tagged", "m2m_changed", "shop.Order_tags", None, "called")],
    base={"tests": TESTS + "    services.place().tags.add(Tag.objects.create())"},
    head={
        "receivers": RECEIVERS
        + "@receiver(m2m_changed, sender=Order.tags.through)\ndef tagged(**kwargs): pass"
    },
)
pair(
    "async receiver that asks",
    [("async-changed", "notify", "post_save", "shop.Order", "sync", "async")],
    head={
        "receivers": RECEIVERS.replace("def notify", "async def notify").replace(
            "Invoice.objects.count()", "await Invoice.objects.acount()"
        )
    },
)
ASYNC_SERVICES = SERVICES.replace(
    "order_placed.send(Order, order=order)",
    "async_to_sync(order_placed.asend)(Order, order=order)",
).replace(
    "from django.db import", "from asgiref.sync import async_to_sync\nfrom django.db import", 1
)
pair(
    "sent async",
    [("method-changed", None, "order_placed", "shop.Order", "send", "asend")],
    base={"receivers": RECEIVERS.replace("pass", "Log.objects.count()")},
    head={"services": ASYNC_SERVICES},
)
ANY_TWO = TWO.replace("post_save, sender=Order", "post_save")
pair(
    "receivers of any sender reordered",
    [("receiver-reordered", ..., "post_save", None, ..., ...)],
    base={"receivers": ANY_TWO},
    head={
        "receivers": ANY_TWO.replace("first", "x").replace("second", "first").replace("x", "second")
    },
)
pair(
    "a uid, and held strongly",
    [],
    head={
        "receivers": RECEIVERS.replace(
            "post_save, sender=Order", "post_save, sender=Order, dispatch_uid='n', weak=False"
        )
    },
)
METHODS = """
class Handler:
    def on_save(self, **kwargs): Invoice.objects.count()

handler = Handler()
post_save.connect(handler.on_save, sender=Order)
post_save.connect(lambda **kwargs: None, sender=Order, weak=False)
"""
pair(
    "a class renamed",
    [
        (
            *("receiver-renamed", "on_save", "post_save", "shop.Order"),
            *("shop.receivers.Handler.on_save", "shop.receivers.Listener.on_save"),
        )
    ],
    base={"receivers": METHODS},
    head={"receivers": METHODS.replace("Handler", "Listener")},
)
pair(
    "methods and lambdas in another module",
    [],
    base={"receivers": METHODS},
    head={"receivers": "from . import handlers", "shop/handlers.py": HEAD_OF_RECEIVERS + METHODS},
)
pair(
    "for one more sender",
    [("receiver-added", "notify", "post_save", "shop.Invoice", None, "called")],
    head={"receivers": RECEIVERS + "post_save.connect(notify, sender=Invoice)"},
)
pair(
    "what a test does moves into a receiver",
    [
        ("receiver-added", "log", "post_save", "shop.Order", None, "called"),
    ],
    base={
        "services": SERVICES.replace("return", "Log.objects.create()\n    return"),
        "receivers": RECEIVERS + "@receiver(post_save, sender=Log)\ndef logged(**kwargs): pass",
    },
    head={
        "services": SERVICES,
        "receivers": RECEIVERS
        + "@receiver(post_save, sender=Log)\ndef logged(**kwargs): pass\n"
        + "@receiver(post_save, sender=Order)\ndef log(**kwargs): Log.objects.create()",
    },
)
pair(
    "a signal that is removed with all that heard it",
    [
        ("receiver-removed", "audit", "order_placed", "shop.Order", "called", None),
        ("dispatch-removed", None, "order_placed", "shop.Order", 1, 0),
    ],
    head={
        "receivers": NOTIFY,
        "services": SERVICES.replace("    order_placed.send(Order, order=order)\n", ""),
    },
)

TAGGED = {
    "receivers": RECEIVERS
    + "@receiver(m2m_changed, sender=Order.tags.through)\ndef tagged(**kwargs): pass\n",
    "tests": TESTS + "    services.tag(Order.objects.get(), Tag.objects.create())\n",
}
pair(
    "rows of a relation are made in bulk",
    [("receivers-bypassed", "tagged", "m2m_changed", "shop.Order_tags", "called", "bulk_create")],
    base={**TAGGED, "services": SERVICES + "\ndef tag(order, tag): order.tags.add(tag)\n"},
    head={
        "services": SERVICES
        + """
def tag(order, tag):
    rows = Order.tags.through
    rows.objects.bulk_create([rows(order=order, tag=tag)])
"""
    },
)
