"""Small projects, made of a template and what a scenario changes, and run in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

REPOSITORY = Path(__file__).resolve().parents[4]

SETTINGS = """
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "no secret"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "project.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
TRACING = {"EXPORTERS": ["database"]}
# more
import tracing

tracing.install(globals())
"""

MODELS = """
from django.db import models


class Tag(models.Model):
    name = models.CharField(max_length=20, default="")


class Order(models.Model):
    name = models.CharField(max_length=20, default="")
    tags = models.ManyToManyField(Tag)


class RushOrder(Order):
    class Meta:
        proxy = True


class GiftOrder(Order):
    card = models.CharField(max_length=20, default="")


class Line(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, null=True)


class Profile(models.Model):
    user = models.OneToOneField("auth.User", models.CASCADE)


class Base(models.Model):
    class Meta:
        abstract = True


class Invoice(Base):
    pass


class HistoricalOrder(models.Model):
    name = models.CharField(max_length=20, default="")
"""

RECEIVERS = """
from django.db.models.signals import post_save
from django.dispatch import receiver

from shop.models import Order


@receiver(post_save, sender=Order)
def on_order(sender, **kwargs):
    pass
"""

APPS = """
from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from shop import receivers
"""

TEMPLATE = {
    "project/__init__.py": "",
    "project/settings.py": SETTINGS,
    "project/urls.py": "urlpatterns = []\n",
    "shop/__init__.py": "",
    "shop/apps.py": APPS,
    "shop/models.py": MODELS,
    "shop/receivers.py": RECEIVERS,
    "shop/signals.py": "from django.dispatch import Signal\n\norder_done = Signal()\n",
}

PRELUDE = """
import django
django.setup()
from django.apps import apps
from django.db import connection, transaction
with connection.schema_editor() as editor:
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label != "tracing" and not model._meta.proxy and model._meta.managed:
            if not model._meta.auto_created:
                editor.create_model(model)
import tracing
from shop import models
"""


MARK = "-- the answer"


def answer_of(ran):
    """Return the JSON that a process wrote last; fail with what it wrote instead."""
    text = ran["out"].rpartition(MARK)[2]
    assert text.strip().startswith("{"), ran
    return json.loads(text)


@dataclass(frozen=True)
class Scenario:
    """A way in which people miss a call, and the same where the receiver runs.

    Attributes:
        name: What it is about.
        verdict: What is to be answered.
        run: What the recording process does.
        files: What differs from the template; a text of the template and its replacement, or a whole file.
        ask: The receiver that is asked about, and options.
        line: (file, text): a line that the evidence names.
        control: What makes it run: files, or what the process does instead.
        control_verdict: What is answered then.
        is_told_there: The recording process can tell, too; else only another one.
    """

    name: str
    verdict: str
    run: str
    files: dict[str, str | tuple[str, str]] = field(default_factory=dict)
    ask: tuple[str, ...] = ("on_order",)
    line: tuple[str, str] | None = None
    control_run: str | None = None
    control_files: dict[str, str | tuple[str, str]] | None = None
    control_verdict: str = "ran"
    control_ask: tuple[str, ...] | None = None
    is_told_there: bool = True

    @property
    def has_control(self) -> bool:
        """Return whether there is a control."""
        return self.control_run is not None or self.control_files is not None


def write(folder, files):
    """Write the template with *files* into *folder*."""
    made = dict(TEMPLATE)
    for path, text in files.items():
        if isinstance(text, tuple):
            old, new = text
            assert old in made[path], (path, old)
            made[path] = made[path].replace(old, new)
        else:
            made[path] = dedent(text)
    for path, text in made.items():
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def measured():
    """Return the variables by which coverage measures a process, where this one is measured."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


class Zygote:
    """The process that runs all of them."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), **measured()},
        )

    def ask(self, folder, *argv):
        """Run a program or a command in *folder*; return its exit code, output and errors."""
        self.process.stdin.write(json.dumps({"folder": str(folder), "argv": list(argv)}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        """End the process."""
        self.process.communicate(timeout=10)


def answers(zygote, folder, scenario, *, control=False):
    """Return what is answered in the recording process and in another one."""
    files = dict(scenario.files)
    run = scenario.run
    ask = scenario.ask
    if control:
        if scenario.control_files is not None:
            files |= scenario.control_files
        run = run if scenario.control_run is None else scenario.control_run
        ask = scenario.control_ask or ask
    write(folder, files)
    question = ["why-not", *ask, "--format", "json"]
    program = [
        PRELUDE,
        dedent(run),
        "from django.core.management import call_command",
        "tracing.flush(10)",
        f"print({MARK!r})",
        "try:",
        f"    call_command('tracing', *{question!r})",
        "except SystemExit:",
        "    pass",
    ]
    Path(folder, "run.py").write_text("\n".join(program))
    inside = zygote.ask(folder, "run.py")
    outside = zygote.ask(folder, "manage.py", "tracing", *question)
    return inside, outside
