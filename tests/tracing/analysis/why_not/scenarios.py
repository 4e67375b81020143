"""How people miss a call, as they tell it in forums and tickets; each with what the answer must be."""

from __future__ import annotations

from tests.tracing.analysis.why_not.projects import APPS, MODELS, RECEIVERS, SETTINGS, Scenario

SAVE = """
with tracing.trace("block"):
    models.Order.objects.create()
"""

RAN = [
    Scenario("it ran", "ran", SAVE, line=("run.py", "create()")),
    Scenario(
        "it raised",
        "ran-raised",
        """
        with tracing.trace("block"):
            try:
                models.Order.objects.create()
            except ValueError:
                pass
        """,
        {"shop/receivers.py": ("    pass", "    raise ValueError('no')")},
        line=("run.py", "create()"),
    ),
    Scenario(
        "the transaction was rolled back",
        "ran-undone",
        """
        with tracing.trace("block"):
            try:
                with transaction.atomic():
                    models.Order.objects.create()
                    raise ValueError
            except ValueError:
                pass
        """,
    ),
    Scenario(
        "a savepoint was rolled back",
        "ran-undone",
        """
        with tracing.trace("block"), transaction.atomic():
            try:
                with transaction.atomic():
                    models.Order.objects.create()
                    raise ValueError
            except ValueError:
                pass
        """,
    ),
    Scenario(
        "a method is named by its class",
        "ran",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            class Indexer:
                def on_save(self, sender, **kwargs):
                    pass

            indexer = Indexer()
            post_save.connect(indexer.on_save, sender=Order)
            """
        },
        ask=("Indexer.on_save",),
    ),
    Scenario(
        "a partial is named by the inner function",
        "ran",
        SAVE,
        {
            "shop/receivers.py": """
            from functools import partial
            from django.db.models.signals import post_save
            from shop.models import Order

            def notify(channel, sender, **kwargs):
                pass

            by_mail = partial(notify, "mail")
            post_save.connect(by_mail, sender=Order)
            """
        },
        ask=("receivers.notify",),
    ),
    Scenario(
        "a callable object is named by its class",
        "ran",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            class Notifier:
                def __call__(self, sender, **kwargs):
                    pass

            notifier = Notifier()
            post_save.connect(notifier, sender=Order)
            """
        },
        ask=("Notifier",),
    ),
    Scenario(
        "a lambda that is held",
        "ran",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            on_save = lambda sender, **kwargs: None
            post_save.connect(on_save, sender=Order)
            """
        },
        ask=("receivers.<lambda>",),
    ),
]

NOT_CALLED = [
    Scenario(
        "an earlier receiver raised",
        "skipped",
        """
        with tracing.trace("block"):
            try:
                models.Order.objects.create()
            except ValueError:
                pass
        """,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from django.dispatch import receiver
            from shop.models import Order

            @receiver(post_save, sender=Order)
            def first(sender, **kwargs):
                raise ValueError("no")

            @receiver(post_save, sender=Order)
            def on_order(sender, **kwargs):
                pass
            """
        },
        line=("shop/receivers.py", "@receiver"),
        control_files={
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from django.dispatch import receiver
            from shop.models import Order

            @receiver(post_save, sender=Order)
            def on_order(sender, **kwargs):
                pass

            @receiver(post_save, sender=Order)
            def first(sender, **kwargs):
                raise ValueError("no")
            """
        },
    ),
    Scenario(
        "send_robust does not skip",
        "ran",
        """
        from shop.signals import order_done
        with tracing.trace("block"):
            order_done.send_robust(sender=models.Order)
        """,
        {
            "shop/receivers.py": """
            from shop.signals import order_done

            def first(sender, **kwargs):
                raise ValueError("no")

            def on_order(sender, **kwargs):
                pass

            order_done.connect(first)
            order_done.connect(on_order)
            """
        },
    ),
    Scenario(
        "an async receiver and send() in a running loop",
        "send-failed",
        """
        import asyncio
        from shop.signals import order_done

        async def view():
            with tracing.trace("block"):
                try:
                    order_done.send(sender=models.Order)
                except RuntimeError:
                    pass

        asyncio.run(view())
        """,
        {
            "shop/receivers.py": """
            from shop.signals import order_done

            async def on_order(sender, **kwargs):
                pass

            order_done.connect(on_order)
            """
        },
        line=("run.py", "order_done.send("),
        control_run="""
        import asyncio
        from shop.signals import order_done

        async def view():
            with tracing.trace("block"):
                await order_done.asend(sender=models.Order)

        asyncio.run(view())
        """,
    ),
    Scenario(
        "an async callable object that Django takes for sync",
        "never-awaited",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            class OnOrder:
                async def __call__(self, sender, **kwargs):
                    pass

            on_order = OnOrder()
            post_save.connect(on_order, sender=Order)
            """
        },
        ask=("OnOrder",),
        line=("shop/receivers.py", "async def"),
    ),
    Scenario(
        "a lambda that calls a coroutine function",
        "never-awaited",
        SAVE,
        {
            "shop/receivers.py": """
            import functools
            from django.db.models.signals import post_save
            from shop.models import Order

            async def work(sender):
                pass

            def on_order(sender, **kwargs):
                return work(sender)

            post_save.connect(on_order, sender=Order)
            """
        },
    ),
    Scenario(
        "asend() without await",
        "never-awaited",
        """
        from shop import services
        with tracing.trace("block"):
            services.finish()
        """,
        {
            "shop/receivers.py": """
            from shop.signals import order_done

            def on_order(sender, **kwargs):
                pass

            order_done.connect(on_order)
            """,
            "shop/services.py": """
            from shop.signals import order_done

            def finish():
                order_done.asend(sender=None)
            """,
        },
        line=("shop/services.py", "asend"),
    ),
]

IMPORTS = [
    Scenario(
        "signals.py is never imported",
        "never-imported",
        SAVE,
        {"shop/apps.py": ("        from shop import receivers", "        pass")},
        line=("shop/apps.py", "class ShopConfig"),
        control_files={"shop/apps.py": APPS},
    ),
    Scenario(
        "there is no apps.py at all",
        "never-imported",
        SAVE,
        {"shop/apps.py": ""},
    ),
    Scenario(
        "the import stands in a function that nobody calls",
        "never-imported",
        SAVE,
        {"shop/apps.py": ("def ready", "def on_ready")},
        line=("shop/apps.py", "from shop import receivers"),
        control_files={"shop/apps.py": APPS},
    ),
    Scenario(
        "imported for type checking only",
        "never-imported",
        SAVE,
        {
            "shop/apps.py": """
            from typing import TYPE_CHECKING
            from django.apps import AppConfig

            if TYPE_CHECKING:
                from shop import receivers

            class ShopConfig(AppConfig):
                name = "shop"
            """
        },
    ),
    Scenario(
        "imported by a module that is not imported",
        "never-imported",
        SAVE,
        {
            "shop/apps.py": ("        from shop import receivers", "        pass"),
            "shop/views.py": "from shop import receivers\n",
        },
        line=("shop/views.py", "receivers"),
        control_run="from shop import views\n" + SAVE,
    ),
    Scenario(
        "the application is not installed",
        "app-not-installed",
        SAVE,
        {
            "billing/__init__.py": "",
            "billing/apps.py": APPS.replace("Shop", "Billing").replace("shop", "billing"),
            "billing/receivers.py": RECEIVERS.replace("on_order", "bill"),
        },
        ask=("bill",),
        line=("project/settings.py", "INSTALLED_APPS"),
        control_files={"project/settings.py": ('"shop",', '"shop",\n    "billing",')},
    ),
    Scenario(
        "receivers in models.py of an application that is not installed",
        "app-not-installed",
        SAVE,
        {
            "billing/__init__.py": "",
            "billing/models.py": RECEIVERS.replace("on_order", "bill"),
        },
        ask=("billing.models.bill",),
        line=("project/settings.py", "INSTALLED_APPS"),
        control_files={"project/settings.py": ('"shop",', '"shop",\n    "billing",')},
    ),
    Scenario(
        "default = False",
        "app-config-not-used",
        SAVE,
        {"shop/apps.py": ('    name = "shop"', '    name = "shop"\n    default = False')},
        line=("shop/apps.py", "default = False"),
        control_files={"shop/apps.py": APPS},
    ),
    Scenario(
        "two classes and no default",
        "app-config-not-used",
        SAVE,
        {"shop/apps.py": APPS + '\n\nclass OtherConfig(AppConfig):\n    name = "shop"\n'},
        line=("shop/apps.py", "class ShopConfig"),
        control_files={
            "shop/apps.py": APPS.replace(
                '    name = "shop"', '    name = "shop"\n    default = True'
            )
            + '\n\nclass OtherConfig(AppConfig):\n    name = "shop"\n'
        },
    ),
    Scenario(
        "INSTALLED_APPS names another class",
        "app-config-not-used",
        SAVE,
        {
            "shop/apps.py": APPS + '\n\nclass OtherConfig(AppConfig):\n    name = "shop"\n',
            "project/settings.py": ('    "shop",', '    "shop.apps.OtherConfig",'),
        },
        line=("project/settings.py", "OtherConfig"),
        control_files={"project/settings.py": ('    "shop",', '    "shop.apps.ShopConfig",')},
    ),
    Scenario(
        "default_app_config, which Django reads no more",
        "app-config-not-used",
        SAVE,
        {
            "shop/__init__.py": "default_app_config = 'shop.config.ShopConfig'\n",
            "shop/config.py": APPS,
            "shop/apps.py": "",
        },
        line=("shop/config.py", "class ShopConfig"),
        control_files={"project/settings.py": ('    "shop",', '    "shop.config.ShopConfig",')},
    ),
    Scenario(
        "an import error is swallowed",
        "import-failed",
        SAVE,
        {
            "shop/apps.py": (
                "        from shop import receivers",
                (
                    "        try:\n            from shop import receivers\n"
                    "        except ImportError:\n            pass"
                ),
            ),
            "shop/receivers.py": (
                "from shop.models import Order",
                "from shop.models import Order, Ordre",
            ),
        },
        line=("shop/receivers.py", "Ordre"),
        control_files={"shop/receivers.py": RECEIVERS},
    ),
    Scenario(
        "an import error is suppressed",
        "import-failed",
        SAVE,
        {
            "shop/apps.py": (
                "        from shop import receivers",
                (
                    "        import contextlib\n        with contextlib.suppress(ImportError):\n"
                    "            import shop.receivers"
                ),
            ),
            "shop/receivers.py": "import no_such_package\n" + RECEIVERS,
        },
        line=("shop/receivers.py", "no_such_package"),
        control_files={"shop/receivers.py": RECEIVERS},
    ),
    Scenario(
        "any error while importing is swallowed",
        "import-failed",
        # What a module leaves that could not be imported dies when it is collected.
        "import gc\ngc.collect()\n" + SAVE,
        {
            "shop/apps.py": (
                "        from shop import receivers",
                (
                    "        try:\n            __import__('shop.receivers')\n"
                    "        except Exception:\n            pass"
                ),
            ),
            "shop/receivers.py": RECEIVERS + "\n\n1 / 0\n",
        },
        line=("shop/apps.py", "__import__("),
    ),
]

CONNECTIONS = [
    Scenario(
        "the decorator was forgotten",
        "never-connected",
        SAVE,
        {"shop/receivers.py": ("@receiver(post_save, sender=Order)\n", "")},
        line=("shop/receivers.py", "def on_order"),
        control_files={"shop/receivers.py": RECEIVERS},
    ),
    Scenario(
        "connect() in a function that nobody calls",
        "never-connected",
        SAVE,
        {
            "shop/receivers.py": RECEIVERS.replace("@receiver(post_save, sender=Order)\n", "")
            + "\n\ndef register():\n    post_save.connect(on_order, sender=Order)\n"
        },
        line=("shop/receivers.py", "post_save.connect"),
        control_run="from shop import receivers\nreceivers.register()\n" + SAVE,
    ),
    Scenario(
        "a lazy sender that never comes",
        "never-connected",
        SAVE,
        {"shop/receivers.py": ("sender=Order", 'sender="shop.Ordre"')},
        line=("shop/receivers.py", "shop.Ordre"),
        control_files={
            "shop/receivers.py": RECEIVERS.replace("sender=Order", 'sender="shop.Order"')
        },
    ),
    Scenario(
        "connected after the model was saved",
        "connected-later",
        """
        from django.db.models.signals import post_save
        from shop import receivers
        with tracing.trace("block"):
            models.Order.objects.create()
            receivers.register()
        """,
        {
            "shop/receivers.py": RECEIVERS.replace("@receiver(post_save, sender=Order)\n", "")
            + "\n\ndef register():\n    post_save.connect(on_order, sender=Order)\n"
        },
        line=("shop/receivers.py", "post_save.connect"),
        control_run="""
        from shop import receivers
        with tracing.trace("block"):
            receivers.register()
            models.Order.objects.create()
        """,
    ),
    Scenario(
        "its module was imported by the second request only",
        "connected-later",
        """
        with tracing.trace("first"):
            models.Order.objects.create()
        with tracing.trace("second"):
            from shop import late
        """,
        {"shop/late.py": RECEIVERS.replace("on_order", "late")},
        ask=("late.late",),
        line=("shop/late.py", "@receiver"),
        control_run="""
        from shop import late
        with tracing.trace("first"):
            models.Order.objects.create()
        """,
    ),
    Scenario(
        "two receivers with one dispatch_uid",
        "duplicate-uid",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from django.dispatch import receiver
            from shop.models import Order

            @receiver(post_save, sender=Order, dispatch_uid="order")
            def first(sender, **kwargs):
                pass

            @receiver(post_save, sender=Order, dispatch_uid="order")
            def on_order(sender, **kwargs):
                pass
            """
        },
        line=("shop/receivers.py", "@receiver"),
        control_files={
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from django.dispatch import receiver
            from shop.models import Order

            @receiver(post_save, sender=Order, dispatch_uid="first")
            def first(sender, **kwargs):
                pass

            @receiver(post_save, sender=Order, dispatch_uid="order")
            def on_order(sender, **kwargs):
                pass
            """
        },
    ),
    Scenario(
        "one dispatch_uid in a loop",
        "duplicate-uid",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            def index(sender, **kwargs):
                pass

            def on_order(sender, **kwargs):
                pass

            for handler in (index, on_order):
                post_save.connect(handler, sender=Order, dispatch_uid="shop.handlers")
            """
        },
        line=("shop/receivers.py", "post_save.connect"),
    ),
    Scenario(
        "a local function was collected",
        "collected",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            def register():
                def on_order(sender, **kwargs):
                    pass
                post_save.connect(on_order, sender=Order)

            register()
            """
        },
        line=("shop/receivers.py", "post_save.connect"),
        control_files={
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            def register():
                def on_order(sender, **kwargs):
                    pass
                post_save.connect(on_order, sender=Order, weak=False)

            register()
            """
        },
    ),
    Scenario(
        "a lambda was collected",
        "collected",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            post_save.connect(lambda sender, **kwargs: None, sender=Order)
            """
        },
        ask=("receivers.<lambda>",),
        line=("shop/receivers.py", "lambda"),
    ),
    Scenario(
        "the object of a bound method was collected",
        "collected",
        SAVE,
        {
            "shop/receivers.py": """
            from django.db.models.signals import post_save
            from shop.models import Order

            class Indexer:
                def __init__(self):
                    post_save.connect(self.on_save, sender=Order)

                def on_save(self, sender, **kwargs):
                    pass

            Indexer()
            """
        },
        ask=("Indexer.on_save",),
        line=("shop/receivers.py", "post_save.connect"),
    ),
    Scenario(
        "a partial was collected",
        "collected",
        SAVE,
        {
            "shop/receivers.py": """
            from functools import partial
            from django.db.models.signals import post_save
            from shop.models import Order

            def notify(channel, sender, **kwargs):
                pass

            post_save.connect(partial(notify, "mail"), sender=Order)
            """
        },
        ask=("notify",),
    ),
    Scenario(
        "disconnected and not connected again",
        "disconnected",
        """
        from django.db.models.signals import post_save
        from shop.receivers import on_order
        post_save.disconnect(on_order, sender=models.Order)
        with tracing.trace("block"):
            models.Order.objects.create()
        """,
        line=("run.py", "post_save.disconnect"),
        control_run="""
        from django.db.models.signals import post_save
        from shop.receivers import on_order
        post_save.disconnect(on_order, sender=models.Order)
        post_save.connect(on_order, sender=models.Order)
        with tracing.trace("block"):
            models.Order.objects.create()
        """,
    ),
    Scenario(
        "disconnected by its dispatch_uid",
        "disconnected",
        """
        from django.db.models.signals import post_save
        with tracing.trace("block"):
            post_save.disconnect(sender=models.Order, dispatch_uid="order")
            models.Order.objects.create()
        """,
        {"shop/receivers.py": ("sender=Order", 'sender=Order, dispatch_uid="order"')},
        line=("run.py", "post_save.disconnect"),
    ),
    Scenario(
        "muted as factory_boy does",
        "muted",
        """
        from django.db.models.signals import post_save
        with tracing.trace("block"):
            held, post_save.receivers = post_save.receivers, []
            models.Order.objects.create()
            post_save.receivers = held
        """,
    ),
    Scenario(
        "muted by a helper of the project",
        "muted",
        """
        from shop.muting import muted
        from django.db.models.signals import post_save
        with tracing.trace("block"), muted(post_save):
            models.Order.objects.create()
        """,
        {
            "shop/muting.py": """
            from contextlib import contextmanager

            @contextmanager
            def muted(signal):
                held = signal.receivers
                signal.receivers = []
                signal.sender_receivers_cache.clear()
                yield
                signal.receivers = held
                signal.sender_receivers_cache.clear()
            """
        },
        line=("shop/muting.py", "signal.receivers = []"),
        control_run="""
        from shop.muting import muted
        from django.db.models.signals import post_save
        with tracing.trace("block"):
            with muted(post_save):
                pass
            models.Order.objects.create()
        """,
    ),
    Scenario(
        "emptied for good",
        "muted",
        """
        from django.db.models.signals import post_save
        post_save.receivers = []
        with tracing.trace("block"):
            models.Order.objects.create()
        """,
    ),
    Scenario(
        "muted by the tracer's own helper",
        "muted",
        """
        from shop.receivers import on_order
        from tracing.testing import mute
        with tracing.trace("block"):
            with mute(on_order):
                models.Order.objects.create()
        """,
        line=("run.py", "with mute"),
        control_run="""
        from shop.receivers import on_order
        from tracing.testing import mute
        with tracing.trace("block"):
            with mute(on_order):
                pass
            models.Order.objects.create()
        """,
    ),
    Scenario(
        "put among the receivers by hand",
        "stale-cache",
        """
        import weakref
        from django.db.models.signals import post_save
        from shop.receivers import on_order
        with tracing.trace("block"):
            models.Order.objects.create()
            post_save.receivers.append(((id(on_order), id(models.Order)), weakref.ref(on_order), False))
            models.Order.objects.create()
        """,
        {
            "shop/receivers.py": (
                "@receiver(post_save, sender=Order)\n",
                "@receiver(post_save, sender='shop.Tag')\ndef other(sender, **kwargs):\n    pass\n\n\n",
            )
        },
        line=("run.py", "receivers.append"),
    ),
    Scenario(
        "swapped for other receivers, which the cache remembers",
        "stale-cache",
        """
        from django.db.models.signals import post_save
        with tracing.trace("first"):
            held = post_save.receivers
            post_save.receivers = [entry for entry in held if "on_order" not in repr(entry)]
            models.Order.objects.create()
            post_save.receivers = held
        with tracing.trace("second"):
            models.Order.objects.create()
        """,
        {
            "shop/receivers.py": (
                "    pass",
                "    pass\n\n\n@receiver(post_save)\ndef all_of_them(sender, **kwargs):\n    pass",
            )
        },
    ),
]

FOR = "@receiver(post_save, sender=Order)"


def waiting_for(decorator, imports=""):
    """Return receivers.py with another decorator."""
    return imports + RECEIVERS.replace(FOR, decorator)


def custom(sender=""):
    """Return receivers.py of a receiver of a signal of the project."""
    return f"""
from shop.signals import order_done
from shop import models


def on_order(sender, **kwargs):
    pass


order_done.connect(on_order{sender})
"""


def done(arguments):
    """Return a program that sends the project's signal."""
    return f"""
from shop.signals import order_done
with tracing.trace("block"):
    order_done.send({arguments})
"""


SENDERS = [
    Scenario(
        "a proxy sends",
        "other-sender",
        """
        with tracing.trace("block"):
            models.RushOrder.objects.create()
        """,
        line=("shop/receivers.py", FOR),
        control_run=SAVE,
    ),
    Scenario(
        "connected for a proxy",
        "other-sender",
        SAVE,
        {"shop/receivers.py": waiting_for("@receiver(post_save, sender='shop.RushOrder')")},
        line=("shop/receivers.py", "RushOrder"),
    ),
    Scenario(
        "a child sends, connected for its parent",
        "other-sender",
        """
        with tracing.trace("block"):
            models.GiftOrder.objects.create()
        """,
    ),
    Scenario(
        "connected for a child",
        "other-sender",
        SAVE,
        {"shop/receivers.py": waiting_for("@receiver(post_save, sender='shop.GiftOrder')")},
    ),
    Scenario(
        "connected for an abstract model",
        "other-sender",
        """
        with tracing.trace("block"):
            models.Invoice.objects.create()
        """,
        {
            "shop/receivers.py": waiting_for(
                "@receiver(post_save, sender=Base)", "from shop.models import Base\n"
            )
        },
        line=("shop/receivers.py", "sender=Base"),
    ),
    Scenario(
        "AUTH_USER_MODEL",
        "other-sender",
        """
        with tracing.trace("block"):
            models.Person.objects.create(username="x")
        """,
        {
            "project/settings.py": (
                "DEBUG = False",
                "DEBUG = False\nAUTH_USER_MODEL = 'shop.Person'",
            ),
            "shop/models.py": """
            from django.contrib.auth.models import AbstractUser
            from django.db import models

            class Person(AbstractUser):
                pass

            class Order(models.Model):
                pass
            """,
            "shop/receivers.py": waiting_for(
                "@receiver(post_save, sender=User)", "from django.contrib.auth.models import User\n"
            ),
        },
        line=("shop/receivers.py", "sender=User"),
        control_files={
            "shop/receivers.py": waiting_for(
                "@receiver(post_save, sender=settings.AUTH_USER_MODEL)",
                "from django.conf import settings\n",
            )
        },
    ),
    Scenario(
        "the historical model sends",
        "other-sender",
        """
        with tracing.trace("block"):
            models.HistoricalOrder.objects.create()
        """,
    ),
    Scenario(
        "the profile instead of the user",
        "other-sender",
        """
        from django.contrib.auth.models import User
        with tracing.trace("block"):
            User.objects.create(username="x")
        """,
        {"shop/receivers.py": waiting_for("@receiver(post_save, sender='shop.Profile')")},
    ),
    Scenario(
        "m2m_changed for the model instead of the through model",
        "other-sender",
        """
        order, tag = models.Order.objects.create(), models.Tag.objects.create()
        with tracing.trace("block"):
            order.tags.add(tag)
        """,
        {
            "shop/receivers.py": waiting_for(
                "@receiver(m2m_changed, sender=Order)",
                "from django.db.models.signals import m2m_changed\n",
            )
        },
        line=("shop/receivers.py", "m2m_changed, sender=Order"),
        control_files={
            "shop/receivers.py": waiting_for(
                "@receiver(m2m_changed, sender=Order.tags.through)",
                "from django.db.models.signals import m2m_changed\n",
            )
        },
    ),
    Scenario(
        "m2m_changed where others listen for the through model",
        "other-sender",
        """
        order, tag = models.Order.objects.create(), models.Tag.objects.create()
        with tracing.trace("block"):
            order.tags.add(tag)
        """,
        {
            "shop/receivers.py": """
            from django.db.models.signals import m2m_changed
            from shop.models import Order, Tag

            def other(sender, **kwargs):
                pass

            def on_order(sender, **kwargs):
                pass

            m2m_changed.connect(other, sender=Order.tags.through)
            m2m_changed.connect(on_order, sender=Tag)
            """
        },
    ),
    Scenario(
        "a fast delete, connected for a proxy",
        "other-sender",
        """
        models.Tag.objects.create()
        order = models.HistoricalOrder.objects.create()
        with tracing.trace("block"):
            models.HistoricalOrder.objects.all().delete()
        """,
        {
            "shop/receivers.py": waiting_for(
                "@receiver(post_delete, sender=Order)",
                "from django.db.models.signals import post_delete\n",
            )
        },
    ),
    Scenario(
        "an instance is the sender",
        "other-sender",
        done("sender=models.Order(pk=1)"),
        {"shop/receivers.py": custom(", sender=models.Order")},
        line=("run.py", "order_done.send"),
        control_run=done("sender=models.Order"),
    ),
    Scenario(
        "connected for an instance",
        "other-sender",
        done("sender=models.Order"),
        {
            "shop/receivers.py": custom(", sender=ONE").replace(
                "def on", "ONE = models.Order(pk=1)\n\n\ndef on"
            )
        },
    ),
    Scenario(
        "connected for a string, with a signal that knows no models",
        "other-sender",
        done("sender=models.Order"),
        {"shop/receivers.py": custom(", sender='shop.Order'")},
        line=("shop/receivers.py", "sender='shop.Order'"),
        control_run=done("sender=__import__('shop.receivers').receivers.NAME"),
        control_files={
            "shop/receivers.py": custom(", sender=NAME").replace(
                "def on", "NAME = 'shop.Order'\n\n\ndef on"
            )
        },
    ),
    Scenario(
        "sent by a string",
        "other-sender",
        done("sender='shop.Order'"),
        {"shop/receivers.py": custom(", sender=models.Order")},
    ),
    Scenario(
        "sent without a sender",
        "other-sender",
        done("sender=None"),
        {"shop/receivers.py": custom(", sender=models.Order")},
    ),
    Scenario(
        "a subclass of the service sends",
        "other-sender",
        """
        from shop import services
        with tracing.trace("block"):
            services.Express().run()
        """,
        {
            "shop/services.py": """
            from shop.signals import order_done

            class Checkout:
                def run(self):
                    order_done.send(sender=type(self))

            class Express(Checkout):
                pass
            """,
            "shop/receivers.py": custom(", sender=Checkout").replace(
                "from shop import models", "from shop.services import Checkout"
            ),
        },
        line=("shop/services.py", "order_done.send"),
        control_run="""
        from shop import services
        with tracing.trace("block"):
            services.Checkout().run()
        """,
    ),
    Scenario(
        "asked for a sender",
        "other-sender",
        """
        with tracing.trace("block"):
            models.Tag.objects.create()
        """,
        ask=("on_order", "--sender", "shop.Tag"),
    ),
]

SIGNALS = [
    Scenario(
        "post_delete, while it was saved",
        "other-signal",
        SAVE,
        {
            "shop/receivers.py": waiting_for(
                "@receiver(post_delete, sender=Order)",
                "from django.db.models.signals import post_delete\n",
            )
        },
        line=("shop/receivers.py", "post_delete"),
        control_run="""
        with tracing.trace("block"):
            models.Order.objects.create().delete()
        """,
    ),
    Scenario(
        "m2m_changed, while the order was saved",
        "other-signal",
        SAVE,
        {
            "shop/receivers.py": waiting_for(
                "@receiver(m2m_changed, sender=Order)",
                "from django.db.models.signals import m2m_changed\n",
            )
        },
    ),
    Scenario(
        "nothing was saved",
        "not-sent",
        """
        with tracing.trace("block"):
            list(models.Order.objects.all())
            models.Order(name="x")
        """,
        line=("shop/receivers.py", FOR),
        control_run=SAVE,
    ),
    Scenario(
        "only sessions and logins were written",
        "not-sent",
        """
        from django.contrib.auth.models import User
        from django.test import Client
        user = User.objects.create(username="x")
        with tracing.trace("block"):
            Client().force_login(user)
        """,
    ),
    Scenario(
        "the view returns before it sends",
        "not-sent",
        """
        from shop import services
        with tracing.trace("block"):
            services.finish(None)
        """,
        {
            "shop/services.py": """
            from shop.signals import order_done

            def finish(order):
                if order is None:
                    return
                order_done.send(sender=None)
            """,
            "shop/receivers.py": custom(),
        },
        line=("shop/services.py", "order_done.send"),
        control_run="""
        from shop import services
        with tracing.trace("block"):
            services.finish(1)
        """,
    ),
    Scenario(
        "the module was imported under two names",
        "other-signal-object",
        """
        import sys
        sys.path.insert(0, str(tracing_root / "shop"))
        import signals
        with tracing.trace("block"):
            signals.order_done.send(sender=None)
        """.replace("tracing_root", "__import__('pathlib').Path.cwd()"),
        {"shop/receivers.py": custom()},
        line=("run.py", "send("),
    ),
    Scenario(
        "a namesake of another module",
        "other-signal-object",
        """
        from shop import events
        with tracing.trace("block"):
            events.order_done.send(sender=None)
        """,
        {
            "shop/receivers.py": custom(),
            "shop/events.py": "from django.dispatch import Signal\n\norder_done = Signal()\n",
        },
        control_run=done("sender=None"),
    ),
    Scenario(
        "the module of the signal was loaded again",
        "other-signal-object",
        """
        import importlib
        from shop import signals
        importlib.reload(signals)
        with tracing.trace("block"):
            signals.order_done.send(sender=None)
        """,
        {"shop/receivers.py": custom()},
    ),
]

WRITES = [
    Scenario(
        "bulk_create",
        "bypassed",
        """
        with tracing.trace("block"):
            models.Order.objects.bulk_create([models.Order()])
        """,
        line=("run.py", "bulk_create"),
        control_run=SAVE,
    ),
    Scenario(
        "update()",
        "bypassed",
        """
        models.Order.objects.bulk_create([models.Order()])
        with tracing.trace("block"):
            models.Order.objects.update(name="x")
        """,
        line=("run.py", "update("),
    ),
    Scenario(
        "bulk_update",
        "bypassed",
        """
        models.Order.objects.bulk_create([models.Order()])
        with tracing.trace("block"):
            order = models.Order.objects.get()
            models.Order.objects.bulk_update([order], ["name"])
        """,
    ),
    Scenario(
        "raw SQL",
        "bypassed",
        """
        models.Order.objects.bulk_create([models.Order()])
        with tracing.trace("block"), connection.cursor() as cursor:
            cursor.execute("UPDATE shop_order SET name = 'x'")
        """,
    ),
    Scenario(
        "bulk_create of a receiver for any sender",
        "bypassed",
        """
        with tracing.trace("block"):
            models.Order.objects.bulk_create([models.Order()])
        """,
        {"shop/receivers.py": waiting_for("@receiver(post_save)")},
    ),
    Scenario(
        "sent by a callback of a transaction that was rolled back",
        "on-commit-discarded",
        """
        from shop import services
        with tracing.trace("block"):
            try:
                with transaction.atomic():
                    services.finish()
                    raise ValueError
            except ValueError:
                pass
        """,
        {
            "shop/receivers.py": custom(),
            "shop/services.py": """
            from django.db import transaction
            from shop.signals import order_done

            def finish():
                transaction.on_commit(lambda: order_done.send(sender=None))
            """,
        },
        line=("shop/services.py", "on_commit("),
        control_run="""
        from shop import services
        with tracing.trace("block"):
            with transaction.atomic():
                services.finish()
        """,
    ),
    Scenario(
        "sent by a callback in a TestCase",
        "on-commit-discarded",
        """
        import unittest
        from django.test import TestCase
        from shop import services

        class Test(TestCase):
            def test(self):
                with tracing.trace("block"):
                    services.finish()

        unittest.TestSuite([Test("test")]).run(unittest.TestResult())
        """,
        {
            "shop/receivers.py": custom(),
            "shop/services.py": """
            from functools import partial
            from django.db import transaction
            from shop.signals import order_done

            def tell(order):
                order_done.send(sender=None)

            def finish():
                transaction.on_commit(partial(tell, 1))
            """,
        },
        line=("shop/services.py", "on_commit("),
        control_run="""
        import unittest
        from django.test import TestCase
        from shop import services

        class Test(TestCase):
            def test(self):
                with tracing.trace("block"), self.captureOnCommitCallbacks(execute=True):
                    services.finish()

        unittest.TestSuite([Test("test")]).run(unittest.TestResult())
        """,
    ),
    Scenario(
        "saved by a callback of a savepoint that was rolled back",
        "on-commit-discarded",
        """
        def later():
            models.Order.objects.create()

        with tracing.trace("block"), transaction.atomic():
            try:
                with transaction.atomic():
                    transaction.on_commit(later)
                    raise ValueError
            except ValueError:
                pass
        """,
    ),
]

ELSEWHERE = [
    Scenario(
        "connected in ready() of the web process alone",
        "other-process",
        SAVE,
        {
            "shop/apps.py": (
                "        from shop import receivers",
                (
                    "        import sys\n        if sys.argv[0] == 'manage.py':\n"
                    "            from shop import receivers"
                ),
            )
        },
        line=("shop/receivers.py", FOR),
        control_files={"shop/apps.py": APPS},
        is_told_there=False,
    ),
]

RECORDS = [
    Scenario(
        "the receiver is excluded",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "EXCLUDE_RECEIVERS": ["*on_order"]',
            )
        },
        line=("project/settings.py", "EXCLUDE_RECEIVERS"),
    ),
    Scenario(
        "the signal is excluded",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "EXCLUDE_SIGNALS": ["*post_save"]',
            )
        },
        line=("project/settings.py", "EXCLUDE_SIGNALS"),
    ),
    Scenario(
        "the sender is excluded",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "EXCLUDE_SENDERS": ["shop.*"]',
            )
        },
    ),
    Scenario(
        "not sampled",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "SAMPLE_RATIO": 0.0',
            )
        },
        line=("project/settings.py", "SAMPLE_RATIO"),
    ),
    Scenario(
        "blocks are not sampled",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "SAMPLE_BY_KIND": {"block": 0.0}',
            )
        },
    ),
    Scenario(
        "thrown away at the end",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "KEEP": {"else": 0.0}',
            )
        },
        line=("project/settings.py", "KEEP"),
    ),
    Scenario(
        "suppressed",
        "not-recorded",
        """
        with tracing.trace("block"):
            with tracing.suppress():
                models.Order.objects.create()
        """,
        control_run=SAVE,
    ),
    Scenario(
        "recording is off",
        "not-recorded",
        SAVE,
        {
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "ENABLED": False',
            )
        },
        line=("project/settings.py", "ENABLED"),
    ),
    Scenario(
        "the traces were pruned",
        "not-recorded",
        SAVE
        + """
from django.core.management import call_command
tracing.flush()
call_command("tracing", "prune", "--older-than", "0s", "--yes")
""",
    ),
    Scenario(
        "a limit of the trace was reached",
        "not-recorded",
        """
        from tracing.instrumentation import buffer
        with tracing.trace("block") as block:
            block.active.dropped = 3
        """,
    ),
    Scenario(
        "the journal has forgotten the disconnect()",
        "not-recorded",
        """
        from django.db.models.signals import post_save, pre_save
        from shop.receivers import on_order
        post_save.disconnect(on_order, sender=models.Order)
        for _ in range(1_001):
            pre_save.connect(print, sender=models.Tag, weak=False)
            pre_save.disconnect(print, sender=models.Tag)
        """
        + SAVE.replace("\n", "\n        "),
    ),
    Scenario(
        "an excluded receiver that was never imported",
        "never-imported",
        SAVE,
        {
            "shop/apps.py": ("        from shop import receivers", "        pass"),
            "project/settings.py": (
                '"EXPORTERS": ["database"]',
                '"EXPORTERS": ["database"], "EXCLUDE_RECEIVERS": ["*on_order"]',
            ),
        },
    ),
]

SIGNALS_OF_MODELS = "from django.db.models.signals import *\nfrom django.dispatch import receiver\n"
MODELS_OF_SHOP = "from shop.models import *\n"


def of_models(text):
    """Return receivers.py with the names of models and their signals at hand."""
    return {"shop/receivers.py": SIGNALS_OF_MODELS + MODELS_OF_SHOP + text}


def swallowing(statement, error="ImportError"):
    """Return apps.py whose ``ready()`` swallows what *statement* raises."""
    text = f"        try:\n            {statement}\n        except {error}:\n            pass"
    return ("        from shop import receivers", text)


LOADING = [
    Scenario(
        "misspelled, and the error is swallowed",
        "import-failed",
        SAVE,
        {"shop/apps.py": swallowing("import shop.recievers")},
        line=("shop/apps.py", "recievers"),
        control_files={"shop/apps.py": swallowing("import shop.receivers")},
    ),
    *(
        Scenario(
            f"a TypeError of {line.partition('(')[0]}() is swallowed",
            "import-failed",
            "import gc\ngc.collect()\n" + SAVE,
            {
                "shop/apps.py": (
                    "        from shop import receivers",
                    (
                        "        try:\n            from shop import receivers\n"
                        "        except Exception:\n            pass"
                    ),
                ),
                "shop/receivers.py": text,
            },
            line=("shop/receivers.py", line),
            control_files={"shop/receivers.py": RECEIVERS},
        )
        for line, text in (
            ("@receiver(post_save, sendr=", RECEIVERS.replace("sender=Order", "sendr=Order")),
            (
                "post_save.connect(print, model=",
                RECEIVERS + "\n\npost_save.connect(print, model=Order)\n",
            ),
            (
                "Signal(providing_args=",
                "from django.dispatch import Signal\nsold = Signal(providing_args=[])\n"
                + RECEIVERS,
            ),
            ("raise TypeError(", RECEIVERS + "\n\nraise TypeError('no')\n"),
        )
    ),
    Scenario(
        "two modules import one another",
        "import-failed",
        SAVE,
        {
            "shop/apps.py": swallowing("from shop import services"),
            "shop/services.py": "from shop.receivers import on_order\nHELPER = 1\n",
            "shop/receivers.py": "from shop.services import HELPER\n" + RECEIVERS,
        },
        line=("shop/receivers.py", "HELPER"),
    ),
    Scenario(
        "what it imports cannot be imported, in a loop over applications",
        "import-failed",
        SAVE,
        {
            "shop/apps.py": (
                "from shop import receivers",
                "from project.loading import load; load()",
            ),
            "project/loading.py": """
            from importlib import import_module

            def load():
                for app in ("shop",):
                    try:
                        import_module("%s.receivers" % app)
                    except ValueError:
                        pass
                    except ImportError:
                        return
            """,
            "shop/receivers.py": "from shop import work\n" + RECEIVERS,
            "shop/work.py": "import no_such_package\n",
        },
        line=("shop/work.py", "no_such_package"),
        control_files={"shop/work.py": ""},
    ),
    Scenario(
        "ready() returns before it imports",
        "never-imported",
        SAVE,
        {
            "shop/apps.py": (
                "        from shop import receivers",
                "        if self.name:\n            return\n        from shop import receivers",
            )
        },
        line=("shop/apps.py", "return"),
    ),
    Scenario(
        "super().ready() is not called",
        "app-config-not-used",
        SAVE,
        {
            "shop/apps.py": APPS.replace('    name = "shop"', "    default = False")
            + "\n\nclass OwnConfig(ShopConfig):\n    name = 'shop'\n    default = True\n\n"
            + "    def ready(self):\n        self.done = True\n"
        },
        line=("shop/apps.py", "ready(self)"),
        control_files={
            "shop/apps.py": APPS.replace('    name = "shop"', "    default = False")
            + "\n\nclass OwnConfig(ShopConfig):\n    name = 'shop'\n    default = True\n"
        },
    ),
    Scenario(
        "apps.py imports the base of its class",
        "app-config-not-used",
        SAVE,
        {
            "project/base.py": "from django.apps import AppConfig\n\nclass Base(AppConfig):\n    pass\n",
            "shop/apps.py": "from project.base import Base\n"
            + APPS.replace("(AppConfig)", "(Base)"),
        },
        line=("shop/apps.py", "class ShopConfig"),
    ),
    Scenario(
        "the @ was forgotten",
        "never-connected",
        SAVE,
        {"shop/receivers.py": (FOR, FOR[1:])},
        line=("shop/receivers.py", FOR[1:]),
    ),
    Scenario(
        "class_prepared, connected when all are",
        "connected-later",
        SAVE,
        of_models("@receiver(class_prepared)\ndef on_order(sender, **kwargs):\n    pass\n"),
        line=("shop/receivers.py", "@receiver"),
    ),
]

SENDINGS = [
    Scenario(
        "the model of a migration",
        "other-sender",
        """
        from django.db.migrations.state import ProjectState
        old = ProjectState.from_apps(apps).apps.get_model("shop", "Order")
        with tracing.trace("block"):
            old.objects.create()
        """,
        line=("shop/receivers.py", FOR),
        control_run=SAVE,
    ),
    Scenario(
        "user_logged_in for the profile",
        "other-sender",
        """
        from django.contrib.auth.models import User
        from django.test import Client
        user = User.objects.create(username="x")
        with tracing.trace("block"):
            Client().force_login(user)
        """,
        of_models(
            "from django.contrib.auth.signals import user_logged_in\n"
            "@receiver(user_logged_in, sender=Profile)\ndef on_order(sender, **kwargs):\n    pass\n"
        ),
        line=("shop/receivers.py", "@receiver"),
    ),
    Scenario(
        "a string and a proxy send, the proxy is told",
        "other-sender",
        done("sender='x'") + "    order_done.send(sender=models.RushOrder)\n",
        {"shop/receivers.py": custom(", sender=models.Order")},
        line=("run.py", "RushOrder"),
    ),
    Scenario(
        "connected for two models, a proxy of one sends, then others do",
        "other-sender",
        """
        with tracing.trace("block"):
            models.RushOrder.objects.create()
        with tracing.trace("later"):
            models.Line.objects.create()
        """,
        of_models(
            "@receiver(post_save, sender=Order)\n@receiver(post_save, sender=Tag)\n"
            "def on_order(sender, **kwargs):\n    pass\n"
        ),
        line=("shop/receivers.py", "sender=Order"),
    ),
    Scenario(
        "m2m_changed of another relation",
        "other-sender",
        """
        order, tag = models.Order.objects.create(), models.Tag.objects.create()
        with tracing.trace("block"):
            order.tags.add(tag)
        """,
        {
            "shop/models.py": (
                "tags = models.ManyToManyField(Tag)",
                (
                    "tags = models.ManyToManyField(Tag)\n"
                    "    others = models.ManyToManyField(Tag, related_name='others')"
                ),
            ),
            **of_models(
                "@receiver(m2m_changed, sender=Order.others.through)\n"
                "def on_order(sender, **kwargs):\n    pass\n"
            ),
        },
        line=("shop/receivers.py", "Order.others"),
    ),
    Scenario(
        "its tags were removed, and it was not saved",
        "other-signal",
        """
        order = models.Order(pk=1)
        models.Order.objects.bulk_create([order])
        with tracing.trace("block"):
            order.tags.clear()
        """,
        ask=("on_order", "--trace", "last"),
        line=("shop/receivers.py", FOR),
    ),
    Scenario(
        "rows of the through model are made by add()",
        "bypassed",
        """
        order, tag = models.Order.objects.create(), models.Tag.objects.create()
        with tracing.trace("block"):
            order.tags.add(tag)
        """,
        of_models(
            "@receiver(post_save, sender=Order.tags.through)\n"
            "def on_order(sender, **kwargs):\n    pass\n"
        ),
        line=("run.py", "tags.add"),
    ),
    Scenario(
        "abulk_create, run in another thread",
        "bypassed",
        """
        import asyncio

        async def view():
            await models.Order.objects.abulk_create([models.Order()])

        with tracing.trace("block"):
            asyncio.run(view())
        """,
        line=("run.py", "abulk_create"),
    ),
    Scenario(
        "an async function that sends, called without await where the order is saved",
        "never-awaited",
        """
        from shop import services
        with tracing.trace("block"):
            models.Order.objects.create()
            services.finish()
        """,
        {
            "shop/receivers.py": custom(", sender=models.Order"),
            "shop/services.py": """
            from shop import models
            from shop.signals import order_done

            async def tell():
                await order_done.asend(sender=models.Order)

            def finish():
                done = tell()
            """,
        },
        line=("shop/services.py", "done = tell()"),
    ),
    Scenario(
        "a callback that sends by way of others, where the order is saved",
        "on-commit-discarded",
        """
        from shop import services
        with tracing.trace("block"):
            try:
                with transaction.atomic():
                    models.Order.objects.create()
                    services.finish()
                    raise ValueError
            except ValueError:
                pass
        """,
        {
            "shop/receivers.py": custom(", sender=models.Order"),
            "shop/services.py": """
            from django.db import transaction
            from shop import models
            from shop.signals import order_done

            def emit():
                order_done.send(sender=models.Order)

            def after():
                emit()

            def finish():
                transaction.on_commit(lambda: after())
            """,
        },
        line=("shop/services.py", "on_commit("),
    ),
]
CACHING = {
    "shop/signals.py": "from django.dispatch import Signal\n\norder_done = Signal(use_caching=True)\n"
}


def refused(arguments):
    """Return a program that sends what a caching signal cannot look up."""
    return f"""
from shop.signals import order_done
with tracing.trace("block"):
    try:
        order_done.send({arguments})
    except TypeError:
        pass
"""


def of_tags(program):
    """Return a program that does something to an order that has a tag."""
    return f"""
order, tag = models.Order.objects.create(), models.Tag.objects.create()
order.tags.add(tag)
with tracing.trace("block"):
    {program}
"""


FOR_ROWS_OF_TAGS = of_models(
    "@receiver(post_delete, sender=Order.tags.through)\ndef on_order(sender, **kwargs):\n    pass\n"
)
DROPPED = {
    "shop/receivers.py": custom(),
    "shop/services.py": """
from shop.signals import order_done

def finish():
    order_done.asend(sender=None)
""",
}


def awaited(statement):
    """Return a program that awaits *statement* beside others that never run."""
    return f"""
import asyncio

async def view():
    order = models.Order()
    {statement}

async def never():
    await models.Order.objects.acreate()
    await models.Order().asave()
    await models.Order.objects.abulk_create([])

with tracing.trace("block"):
    asyncio.run(view())
"""


UNSEEN = [
    Scenario(
        "a caching signal cannot look a string up",
        "send-failed",
        refused("sender='shop.Order'"),
        {**CACHING, "shop/receivers.py": custom()},
        line=("run.py", "order_done.send("),
        control_run=refused("sender=models.Order"),
    ),
    Scenario(
        "a caching signal cannot look the name of the model up",
        "other-sender",
        refused("sender='shop.Order'"),
        {**CACHING, "shop/receivers.py": custom(", sender=models.Order")},
        line=("run.py", "order_done.send("),
        control_run=refused("sender=models.Order"),
    ),
    Scenario(
        "asend() of a caching signal cannot look a string up",
        "send-failed",
        """
        import asyncio
        from shop.signals import order_done

        async def view():
            with tracing.trace("block"):
                try:
                    await order_done.asend(sender="shop.Order")
                except TypeError:
                    pass

        asyncio.run(view())
        """,
        {**CACHING, "shop/receivers.py": custom()},
        line=("run.py", "order_done.asend("),
    ),
    *(
        Scenario(
            f"rows of the through model, deleted by {program}",
            "bypassed",
            of_tags(program),
            FOR_ROWS_OF_TAGS,
            line=("run.py", program),
        )
        for program in ("order.tags.clear()", "order.tags.remove(tag)", "order.delete()")
    ),
    Scenario(
        "a mock sends instead",
        "muted",
        """
        from unittest import mock
        from django.db.models.signals import post_save
        with tracing.trace("block"):
            with mock.patch.object(post_save, "send"):
                models.Order.objects.create()
        """,
        line=("run.py", "mock.patch"),
        control_run=SAVE,
    ),
    Scenario(
        "a mock sends instead of all signals",
        "muted",
        """
        from unittest import mock
        with tracing.trace("block"):
            with mock.patch("django.dispatch.Signal.send"):
                models.Order.objects.create()
        """,
        line=("run.py", "mock.patch"),
    ),
    Scenario(
        "a mock of another test",
        "not-sent",
        """
        with tracing.trace("shop/tests.py::test_other", kind="test"):
            pass
        """,
        {
            "shop/tests.py": """
            from unittest import mock

            def test_muted():
                with mock.patch("django.db.models.signals.post_save.send"):
                    pass
            """
        },
    ),
    Scenario(
        "a mock of a module that is not loaded",
        "not-sent",
        'with tracing.trace("block"):\n    pass\n',
        {
            "shop/modes.py": """
            from typing import TYPE_CHECKING

            from django.dispatch import Signal

            if TYPE_CHECKING:
                from pathlib import Path

            class Mode:
                def set_up(self):
                    Signal.send = print
            """
        },
    ),
    Scenario(
        "asend() without await, in a function that nobody calls",
        "not-sent",
        "from shop import services\n" + 'with tracing.trace("block"):\n    pass\n',
        DROPPED,
        control_run=(
            'from shop import services\nwith tracing.trace("block"):\n    services.finish()\n'
        ),
        control_verdict="never-awaited",
    ),
    Scenario(
        "asend() without await, after what always returns",
        "not-sent",
        'from shop import services\nwith tracing.trace("block"):\n    services.finish()\n',
        {
            **DROPPED,
            "shop/services.py": DROPPED["shop/services.py"].replace(
                "    order_done.asend", "    return\n    order_done.asend"
            ),
        },
    ),
    Scenario(
        "asend() without await, after what may return",
        "never-awaited",
        'from shop import services\nwith tracing.trace("block"):\n    services.finish()\n',
        {
            **DROPPED,
            "shop/services.py": DROPPED["shop/services.py"].replace(
                "    order_done.asend",
                "    if order_done is None:\n        return  # early\n    order_done.asend",
            ),
        },
        line=("shop/services.py", "return  # early"),
    ),
    Scenario(
        "asend() without await, in a module that nobody imports",
        "not-sent",
        'with tracing.trace("block"):\n    pass\n',
        DROPPED,
    ),
    *(
        Scenario(
            f"the line that awaits {statement.partition('.a')[2].partition('(')[0]}",
            verdict,
            awaited(f"{statement}  # this one"),
            ask=("on_order", "--trace", "last"),
            line=("run.py", "# this one"),
        )
        for statement, verdict in (
            ("await order.asave()", "ran"),
            ("await models.Order.objects.abulk_create([order])", "bypassed"),
        )
    ),
]
IN_PACKAGE = {
    "shop/receivers.py": "",
    "shop/apps.py": ("from shop import receivers", "import shop.handlers"),
    "shop/handlers/__init__.py": "",
    "shop/handlers/orders.py": RECEIVERS,
}
WITH_SRC = SETTINGS.replace(
    "SECRET_KEY", "__import__('sys').path.insert(0, str(BASE_DIR / 'src'))\nSECRET_KEY", 1
)
OTHER_FOLDER = {
    "project/settings.py": WITH_SRC,
    "src/post/__init__.py": "",
    "src/post/apps.py": APPS.replace("Shop", "Post").replace("shop", "post"),
    "src/post/receivers.py": RECEIVERS.replace("on_order", "mail"),
}
SWALLOWING = {
    "shop/apps.py": (
        "        from shop import receivers",
        (
            "        try:\n            from shop import receivers\n"
            "        except Exception:\n            pass"
        ),
    )
}


def of_rows(program):
    """Return a program that writes rows of a relation by itself."""
    return f"""
order, tag = models.Order.objects.create(), models.Tag.objects.create()
through = models.Order.tags.through
order.tags.add(tag)
with tracing.trace("block"):
    {program}
"""


def of_order(method):
    """Return models.py whose order has a method of its own."""
    return {
        "shop/models.py": (
            "    tags = models.ManyToManyField(Tag)\n",
            f"    tags = models.ManyToManyField(Tag)\n\n{method}",
        )
    }


FOR_TAGS = of_models(
    "@receiver(m2m_changed, sender=Order.tags.through)\ndef on_order(sender, **kwargs):\n    pass\n"
)
FROM_THREADS = [
    Scenario(
        "the package of its module is imported, not the module",
        "never-imported",
        SAVE,
        IN_PACKAGE,
        line=("shop/apps.py", "import shop.handlers"),
        control_files={"shop/handlers/__init__.py": "from . import orders\n"},
    ),
    Scenario(
        "an application below src",
        "app-not-installed",
        SAVE,
        OTHER_FOLDER,
        ask=("post.receivers.mail",),
        line=("project/settings.py", "INSTALLED_APPS"),
        control_files={"project/settings.py": WITH_SRC.replace('"shop",', '"shop",\n    "post",')},
    ),
    *(
        Scenario(
            f"a syntax error {where}",
            "import-failed",
            SAVE,
            {**SWALLOWING, "shop/receivers.py": text},
            line=("shop/receivers.py", line),
        )
        for where, text, line in (
            ("above it", "def broken(:\n    pass\n\n" + RECEIVERS, "def broken(:"),
            ("in it", RECEIVERS.replace("    pass", "    x = = 1"), "x = = 1"),
            ("behind it", RECEIVERS.replace("    pass", "pass"), "pass"),
        )
    ),
    Scenario(
        "a loop over modules that passes over what cannot be imported",
        "import-failed",
        SAVE,
        {
            "shop/apps.py": (
                "        from shop import receivers",
                (
                    "        for name in ('receivers', 'handlers'):\n            try:\n"
                    "                __import__(f'{self.name}.{name}')\n"
                    "            except ImportError:\n                pass"
                ),
            ),
            "shop/receivers.py": "import no_such_package\n" + RECEIVERS,
        },
        line=("shop/receivers.py", "no_such_package"),
        control_files={"shop/receivers.py": RECEIVERS},
    ),
    Scenario(
        "receiver() below it, without @",
        "never-connected",
        SAVE,
        {"shop/receivers.py": RECEIVERS.replace(FOR + "\n", "") + "\n\n" + FOR[1:] + "\n"},
        line=("shop/receivers.py", FOR[1:]),
    ),
    Scenario(
        "another object's signal, which has no name",
        "other-signal-object",
        """
        from shop.signals import Cart
        cart = Cart()
        with tracing.trace("block"):
            cart.changed.send(sender=cart)
        """,
        {
            "shop/signals.py": """
            from django.dispatch import Signal

            class Cart:
                def __init__(self):
                    self.changed = Signal()

            first = Cart()
            """,
            "shop/receivers.py": """
            from shop.signals import first

            def on_order(sender, **kwargs):
                pass

            first.changed.connect(on_order)
            """,
        },
        line=("shop/receivers.py", "first.changed"),
        control_run="""
        from shop.signals import first
        with tracing.trace("block"):
            first.changed.send(sender=first)
        """,
    ),
    *(
        Scenario(
            f"m2m_changed, and rows written by {program}",
            "bypassed",
            of_rows(program),
            FOR_TAGS,
            ask=("on_order", "--trace", "last"),
            line=("run.py", program),
        )
        for program in (
            "through.objects.bulk_create([through(order=order, tag=models.Tag.objects.create())])",
            "through.objects.all().delete()",
            "through.objects.create(order=order, tag=models.Tag.objects.create())",
            "order.delete()",
        )
    ),
    Scenario(
        "a child is saved, and rows of its parent are updated",
        "bypassed",
        """
        with tracing.trace("block"):
            models.GiftOrder.objects.create()
            models.Order.objects.update(name="x")
        """,
        of_models(
            "@receiver(post_save, sender=Order)\ndef on_order(sender, **kwargs):\n    pass\n\n"
            "@receiver(post_save, sender=GiftOrder)\ndef other(sender, **kwargs):\n    pass\n"
        ),
        line=("run.py", "GiftOrder.objects.create"),
    ),
    Scenario(
        "save() without super()",
        "not-sent",
        """
        with tracing.trace("block"):
            models.Order().save()
        """,
        of_order("    def save(self, *args, **kwargs):\n        self.name = 'x'\n"),
        line=("shop/models.py", "def save"),
    ),
    Scenario(
        "delete() that returns before super()",
        "not-sent",
        """
        models.Order.objects.bulk_create([models.Order()])
        order = models.Order.objects.get()
        with tracing.trace("block"):
            order.delete()
        """,
        {
            **of_order(
                "    def delete(self, *args, **kwargs):\n        if not self.name:\n"
                "            return  # early\n        super().delete(*args, **kwargs)\n"
            ),
            **of_models(
                "@receiver(post_delete, sender=Order)\ndef on_order(sender, **kwargs):\n    pass\n"
            ),
        },
        line=("shop/models.py", "# early"),
    ),
]


def in_block(statement, before=""):
    """Return a program that runs *statement* in a trace, and *before* outside of it."""
    lines = "".join(f"    {line}\n" for line in statement.split("\n"))
    return f'{before}\nwith tracing.trace("block"):\n{lines}'


def connected(signal, sender, imported=""):
    """Return receivers.py with one receiver of a signal and a sender."""
    return of_models(
        f"from shop.signals import order_done\n{imported}\n\ndef on_order(sender, **kwargs):\n    pass\n"
        f"\n\n{signal}.connect(on_order, sender={sender})\n"
    )


TEAM = {
    "shop/models.py": MODELS
    + """

class Team(models.Model):
    tags = models.ManyToManyField(Tag, through="Member")


class Member(models.Model):
    team = models.ForeignKey(Team, models.CASCADE)
    tag = models.ForeignKey(Tag, models.CASCADE)
""",
    **connected("m2m_changed", "Team.tags.through", "from shop.models import Team"),
}
OF_A_TEAM = "team, tag = models.Team.objects.create(), models.Tag.objects.create()\n"
ORDER = "models.Order.objects.bulk_create([models.Order()])\norder = models.Order.objects.get()\n"
MARKING = {
    **connected("post_delete", "Order"),
    "shop/models.py": MODELS.replace(
        "class Order(models.Model):\n",
        "class Kept(models.QuerySet):\n"
        "    def delete(self):\n        return self.update(name='gone')\n\n\n"
        "class Order(models.Model):\n    objects = Kept.as_manager()\n"
        "    def delete(self):\n        type(self).objects.filter(pk=self.pk).update(name='gone')\n\n",
        1,
    ),
}
SEND_NONE = "from shop.signals import order_done\norder_done.send(sender=None)\n"
FROM_FORUMS = [
    Scenario(
        "sent without a sender, asked for the right one",
        "other-sender",
        in_block("order_done.send(sender=None)", "from shop.signals import order_done"),
        connected("order_done", "Order"),
        ask=("on_order", "--sender", "shop.Order"),
        line=("run.py", "order_done.send"),
    ),
    Scenario(
        "a proxy sends, asked for the model",
        "other-sender",
        in_block("models.RushOrder.objects.create()"),
        ask=("on_order", "--sender", "shop.Order"),
    ),
    Scenario(
        "another model is saved, asked for the right one",
        "not-sent",
        in_block("models.Tag.objects.create()"),
        ask=("on_order", "--sender", "shop.Order"),
    ),
    Scenario(
        "sent without a sender, outside of any trace",
        "other-sender",
        SEND_NONE,
        connected("order_done", "Order"),
        line=("run.py", "order_done.send"),
        control_run=SEND_NONE.replace("None", "models.Order"),
    ),
    Scenario(
        "a caching signal is sent without a sender",
        "other-sender",
        in_block(
            "try:\n    post_save.send(None, instance=1)\nexcept TypeError:\n    pass",
            "from django.db.models.signals import post_save",
        ),
    ),
    Scenario(
        "the class that sends is made anew for each call",
        "other-sender",
        in_block(
            "order_done.send(made())",
            "from shop.signals import order_done\nfrom shop.services import made",
        ),
        {
            # Each is kept: Django takes a new class for a dead one that had its id.
            "shop/services.py": (
                "classes = []\n\ndef made():\n    class Service:\n        pass\n\n"
                "    classes.append(Service)\n    return Service\n"
            ),
            **connected("order_done", "made()", "from shop.services import made"),
        },
        line=("run.py", "order_done.send"),
    ),
    *(
        Scenario(
            f"rows of a through model of the project, written by {write}",
            "bypassed",
            in_block(write, OF_A_TEAM + before),
            TEAM,
            ask=("on_order", "--trace", "last"),
            line=line,
            control_run=in_block("team.tags.add(tag)", OF_A_TEAM),
        )
        for write, before, line in (
            (
                "models.Member.objects.create(team=team, tag=tag)",
                "",
                ("run.py", "objects.create(team=team"),
            ),
            (
                "models.Member.objects.bulk_create([models.Member(team=team, tag=tag)])",
                "",
                ("run.py", "bulk_create"),
            ),
            ("team.delete()", "team.tags.add(tag)\nteam = models.Team.objects.get()", None),
        )
    ),
    Scenario(
        "one row of a through model of the project is deleted",
        "bypassed",
        in_block(
            "row.delete()", OF_A_TEAM + "row = models.Member.objects.create(team=team, tag=tag)"
        ),
        TEAM,
        ask=("on_order", "--trace", "last"),
        line=("run.py", "row.delete()"),
    ),
    Scenario(
        "a form is saved without its relations",
        "other-signal",
        in_block(
            "form = Form({'name': 'x', 'tags': [tag.pk]})\nform.is_valid()\nform.save(commit=False).save()",
            "from django.forms import modelform_factory\ntag = models.Tag.objects.create()\n"
            "Form = modelform_factory(models.Order, fields=['name', 'tags'])",
        ),
        connected("m2m_changed", "Order.tags.through"),
    ),
    *(
        Scenario(
            f"{delete} marks the rows as deleted",
            "bypassed",
            in_block(delete, ORDER),
            MARKING,
            line=("shop/models.py", ".update("),
        )
        for delete in ("models.Order.objects.all().delete()", "order.delete()")
    ),
    Scenario(
        "an update, while a deletion is waited for",
        "not-sent",
        in_block("models.Order.objects.update(name='y')", ORDER),
        connected("post_delete", "Order"),
    ),
    Scenario(
        "the database has other rows point to a default",
        "bypassed",
        in_block(
            "order.delete()", ORDER + "models.Line.objects.bulk_create([models.Line(order=order)])"
        ),
        {
            "shop/models.py": MODELS.replace(
                "Order, models.CASCADE", "Order, models.SET_DEFAULT, default=None"
            ),
            **connected("post_save", "Line"),
        },
        line=("run.py", "order.delete()"),
    ),
    Scenario(
        "save() that raises before super()",
        "not-sent",
        in_block("try:\n    models.Order().save()\nexcept ValueError:\n    pass"),
        of_order(
            "    def save(self, *args, **kwargs):\n        if not self.name:\n"
            "            raise ValueError  # early\n        super().save(*args, **kwargs)\n"
        ),
        line=("shop/models.py", "# early"),
    ),
    Scenario(
        "a signal is called as if it were the decorator",
        "import-failed",
        SAVE,
        {
            "shop/apps.py": swallowing("from shop import receivers", "TypeError"),
            **of_models("@post_save(sender=Order)\ndef on_order(sender, **kwargs):\n    pass\n"),
        },
        line=("shop/receivers.py", "@post_save"),
    ),
    Scenario(
        "another object's signal, which is gone by now",
        "other-signal-object",
        in_block("Cart().changed.send(Cart)", "from shop.services import Cart"),
        {
            "shop/services.py": "from django.dispatch import Signal\n\n\nclass Cart:\n"
            "    def __init__(self):\n        self.changed = Signal()\n\n\nfirst = Cart()\n",
            **connected("first.changed", "None", "from shop.services import first"),
        },
        line=("shop/receivers.py", "first.changed"),
    ),
    Scenario(
        "a decorator made an object of it",
        "ran",
        SAVE,
        of_models(
            "class Task:\n    def __init__(self, run):\n        self.run = run\n\n"
            "    def __call__(self, **kwargs):\n        self.run(**kwargs)\n\n\n"
            "@receiver(post_save, sender=Order)\n@Task\ndef on_order(sender, **kwargs):\n    pass\n"
        ),
        ask=("receivers.on_order",),
    ),
    Scenario(
        "a later function of the file has its name",
        "collected",
        SAVE,
        of_models(
            "@receiver(post_save, sender=Order)\ndef on_order(sender, **kwargs):\n    pass\n\n\n"
            "@receiver(post_delete, sender=Order)\ndef on_order(sender, **kwargs):\n    pass\n"
        ),
        ask=("on_order", "--signal", "post_save"),
        line=("shop/receivers.py", "@receiver(post_save"),
    ),
]
WITHOUT = """
from contextlib import contextmanager
from shop import receivers

@contextmanager
def without():
    receivers.post_save.disconnect(receivers.on_order, sender=models.Order)
    yield
    receivers.post_save.connect(receivers.on_order, sender=models.Order)
"""
WITH_CONFIG = """from django.apps import AppConfig
from django.db.models.signals import post_migrate


def on_order(sender, **kwargs):
    pass


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        post_migrate.connect(on_order, sender=SENDER)
"""
OTHER_DATABASE = (
    "from django.db import connections\nwith connections['other'].schema_editor() as editor:\n"
    "    editor.create_model(models.Order)\n"
)
ROLLED_BACK = (
    "try:\n    with transaction.atomic(using={!r}):\n        models.Order.objects.using('other').create()\n"
    "        raise ValueError\nexcept ValueError:\n    pass"
)
LINES = ORDER + "line = models.Line.objects.create()\n"
NEWEST = ("on_order", "--trace", "last")
FROM_PRACTICE = [
    Scenario(
        "ready() is misspelled",
        "never-imported",
        SAVE,
        {"shop/apps.py": ("def ready", "def raedy")},
        line=("shop/apps.py", "def raedy"),
    ),
    Scenario(
        "ready() is no method",
        "never-imported",
        SAVE,
        {"shop/apps.py": APPS.replace("    def", "def").replace("        from", "    from")},
        line=("shop/apps.py", "def ready"),
    ),
    Scenario(
        "a package shadows its module",
        "never-imported",
        SAVE,
        {"shop/receivers/__init__.py": "# a package\n"},
        line=("shop/receivers/__init__.py", "# a package"),
    ),
    Scenario(
        "the setting it asks for is overridden after the import",
        "never-connected",
        in_block(
            "with override_settings(NOTIFY=True):\n    models.Order.objects.create()",
            "from django.test import override_settings",
        ),
        of_models(
            "from django.conf import settings\n\n\ndef on_order(sender, **kwargs):\n    pass\n\n\n"
            "if getattr(settings, 'NOTIFY', False):\n    post_save.connect(on_order, sender=Order)\n"
        ),
        line=("shop/receivers.py", "post_save.connect"),
    ),
    Scenario(
        "connected for the subclasses of a base that has none yet",
        "never-connected",
        in_block("models.Invoice.objects.create()"),
        {
            "shop/models.py": (
                "class Invoice(Base):",
                (
                    "from django.db.models.signals import post_save\n\n\ndef on_base(sender, **kwargs):\n"
                    "    pass\n\n\nfor model in Base.__subclasses__():\n"
                    "    post_save.connect(on_base, sender=model)\n\n\nclass Invoice(Base):"
                ),
            )
        },
        ask=("on_base",),
        line=("shop/models.py", "post_save.connect"),
    ),
    Scenario(
        "one dispatch_uid for one sender",
        "duplicate-uid",
        SAVE,
        of_models(
            "def on_order(sender, **kwargs):\n    pass\n\n\ndef first(sender, **kwargs):\n    pass\n\n\n"
            "post_save.connect(first, sender=Order, dispatch_uid='save')\n"
            "post_save.connect(on_order, sender=Order, dispatch_uid='save')\n"
        ),
        line=("shop/receivers.py", "connect(on_order"),
        control_files=of_models(
            "def on_order(sender, **kwargs):\n    pass\n\n\ndef first(sender, **kwargs):\n    pass\n\n\n"
            "post_save.connect(first, sender=Line, dispatch_uid='save')\n"
            "post_save.connect(on_order, sender=Order, dispatch_uid='save')\n"
        ),
    ),
    Scenario(
        "disconnected for a block",
        "disconnected",
        in_block("with without():\n    models.Order.objects.create()", WITHOUT),
        line=("run.py", "post_save.disconnect"),
    ),
    Scenario(
        "its name is patched, after it was connected",
        "ran",
        in_block(
            "with mock.patch('shop.receivers.on_order'):\n    models.Order.objects.create()",
            "from unittest import mock",
        ),
    ),
    Scenario(
        "connected for a list of models",
        "other-sender",
        SAVE,
        {"shop/receivers.py": ("sender=Order", "sender=[Order]")},
        line=("shop/receivers.py", "sender=[Order]"),
    ),
    Scenario(
        "setuptools built a copy of the project",
        "ran",
        SAVE,
        {"build/lib/shop/receivers.py": RECEIVERS},
        ask=("on_order",),
    ),
    Scenario(
        "a child is saved, connected for the deletion of its parent",
        "other-signal",
        in_block("models.GiftOrder.objects.create()"),
        {"shop/receivers.py": RECEIVERS.replace("post_save", "post_delete")},
        control_run=in_block(
            "models.GiftOrder.objects.get().delete()", "models.GiftOrder.objects.create()\n"
        ),
    ),
    Scenario(
        "a receiver of pre_save raises",
        "other-signal",
        in_block("try:\n    models.Order.objects.create()\nexcept ValueError:\n    pass"),
        of_models(
            "@receiver(pre_save)\ndef check(sender, **kwargs):\n    raise ValueError\n\n\n"
            f"{FOR}\ndef on_order(sender, **kwargs):\n    pass\n"
        ),
    ),
    Scenario(
        "post_migrate for the class of the configuration",
        "other-sender",
        in_block(
            "emit_post_migrate_signal(0, False, 'default')",
            "from django.core.management.sql import emit_post_migrate_signal",
        ),
        {"shop/apps.py": WITH_CONFIG.replace("SENDER", "ShopConfig")},
        line=("shop/apps.py", "post_migrate.connect"),
        control_files={"shop/apps.py": WITH_CONFIG.replace("SENDER", "self")},
        ask=("apps.on_order",),
    ),
    Scenario(
        "a login that failed, for the user",
        "other-sender",
        in_block("authenticate(username='a')", "from django.contrib.auth import authenticate"),
        connected(
            "user_login_failed",
            "User",
            "from django.contrib.auth.models import User\n"
            "from django.contrib.auth.signals import user_login_failed",
        ),
    ),
    Scenario(
        "the transaction of its database was rolled back",
        "ran-undone",
        in_block(ROLLED_BACK.format("other"), OTHER_DATABASE),
        {
            "project/settings.py": (
                '"NAME": BASE_DIR / "db.sqlite3"}',
                (
                    '"NAME": BASE_DIR / "db.sqlite3"}, "other": {"ENGINE": '
                    '"django.db.backends.sqlite3", "NAME": BASE_DIR / "other.sqlite3"}'
                ),
            )
        },
        control_run=in_block(ROLLED_BACK.format("default"), OTHER_DATABASE),
    ),
    Scenario(
        "add() of a reverse relation updates",
        "bypassed",
        in_block("order.line_set.add(line)", LINES),
        {"shop/receivers.py": RECEIVERS.replace("Order", "Line")},
        ask=NEWEST,
        line=("run.py", "line_set.add"),
        control_run=in_block("order.line_set.add(line, bulk=False)", LINES),
    ),
    *(
        Scenario(
            f"the module of {what} was loaded again",
            "other-sender",
            in_block(send, f"import importlib\n{before}"),
            files,
            line=line,
        )
        for what, send, before, files, line in (
            (
                "a service that sends",
                "order_done.send(services.Checkout)",
                (
                    "from shop import services\nfrom shop.signals import order_done\n"
                    "importlib.reload(services)"
                ),
                {
                    "shop/services.py": "class Checkout:\n    pass\n",
                    **connected("order_done", "Checkout", "from shop.services import Checkout"),
                },
                ("run.py", "order_done.send"),
            ),
            (
                "its model",
                "models.Order.objects.create()",
                "importlib.reload(models)",
                {},
                ("shop/receivers.py", "@receiver"),
            ),
        )
    ),
]
OTHERS = [
    *SENDERS,
    *SIGNALS,
    *WRITES,
    *ELSEWHERE,
    *RECORDS,
    *LOADING,
    *SENDINGS,
    *UNSEEN,
    *FROM_THREADS,
    *FROM_FORUMS,
    *FROM_PRACTICE,
]
SCENARIOS = [*RAN, *NOT_CALLED, *IMPORTS, *CONNECTIONS, *OTHERS]
