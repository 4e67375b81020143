"""System checks: what is set up wrongly, said before it is missed.

Registered when the project starts, and asked seldom: what one needs it imports when it is asked.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Info, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import DatabaseError, connections
from django.urls import (
    NoReverseMatch,
    Resolver404,
    get_resolver,
    get_script_prefix,
    resolve,
    reverse,
)

from tracing.conf import get_problems, get_settings, retention_in_force, store_alias
from tracing.conf.parts import HAZARD_RULES
from tracing.exporters.build import spool_path
from tracing.instrumentation.connections.neighbours import replaced, signals_with_own_send
from tracing.instrumentation.in_tests import is_test_run
from tracing.instrumentation.patching import sends_are_verified
from tracing.project import MIDDLEWARE, is_overridden
from tracing.routers import NO_ENGINE, astray
from tracing.setup import log_path
from tracing.store.embedded import makes_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OPENTELEMETRY = "opentelemetry.instrumentation.django."
"""How middleware is called that its instrumentation puts first, by itself."""
UNSEEN = ("django_prometheus.middleware.PrometheusBeforeMiddleware", OPENTELEMETRY)
"""How middleware is called that answers nothing by itself and puts itself, or must be, first."""
STORE_TABLE = "tracing_trace"
STORE_SUFFIX = ".sqlite3"
STRANGER = "203.0.113.7"
"""An address that is set aside for documentation: nobody's."""
BUSY_BYTES = 500_000_000


def register_check(
    *tags: str, of: tuple[str, ...], **options: Any
) -> Callable[[Callable[..., list[CheckMessage]]], Callable[..., list[CheckMessage]]]:
    """Register a check of the settings *of*, unless a test overrides one.

    A test that overrides MIDDLEWARE, say, and compares all messages does not mean ours. The function
    itself stays what it is.
    """

    def decorate(check: Callable[..., list[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
        @wraps(check)
        def registered(**kwargs: Any) -> list[CheckMessage]:
            return [] if is_overridden(*of) else check(**kwargs)

        register(registered, *tags, **options)
        return check

    return decorate


@register(Tags.compatibility)
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Check the dictionary TRACING (tracing.W001, tracing.W002, tracing.W017)."""
    return [
        CheckWarning(message, hint=hint, id=check_id) for check_id, message, hint in get_problems()
    ]


@register(Tags.compatibility)
def check_parts(**_kwargs: Any) -> list[CheckMessage]:
    """Check what the values of TRACING name (tracing.W017)."""
    from tracing.checks.values import wrong_values

    chosen = get_settings()
    return [
        CheckWarning(
            f"TRACING[{key!r}] {problem.rstrip('.')}.", hint=f"See {page}.", id="tracing.W017"
        )
        for key, problem, page in wrong_values(chosen)
    ]


@register(Tags.compatibility)
def check_hazards(**_kwargs: Any) -> list[CheckMessage]:
    """Check the settings of the hazard rules (tracing.W008)."""
    chosen = get_settings()
    told = (chosen.hazards, chosen.hazard_rules, chosen.known_hazards, chosen.budgets)
    # The rules are much to import for nothing, and the packages much to look through before each test run.
    if not any(told) and (is_test_run() or not _have_rules()):
        return []
    from tracing.analysis.hazards import current

    return [
        CheckWarning(
            f"TRACING: {problem}.",
            hint="What is wrong is left out, the defaults are used: docs/hazards/index.md.",
            id="tracing.W008",
        )
        for problem in current().problems
    ]


def _have_rules() -> bool:
    """Return whether an installed package brings rules."""
    from importlib.metadata import entry_points

    return bool(entry_points(group=HAZARD_RULES))


@register_check(Tags.compatibility, of=("DATABASES", "DATABASE_ROUTERS"))
def check_store(**_kwargs: Any) -> list[CheckMessage]:
    """Check the store's alias and router (tracing.W003, tracing.W004)."""
    if "database" not in get_settings().exporters:
        return []
    alias, check_id = store_alias(), "tracing.W003"
    if alias not in django_settings.DATABASES:
        message = f"TRACING['DATABASE'] names {alias!r}, which is not in DATABASES."
        named = ", ".join(django_settings.DATABASES)
        hint = f"Add a database {alias!r} or name one of: {named}."
    elif connections[alias].settings_dict["ENGINE"] == NO_ENGINE:
        message = f"The traces are to be in the database {alias!r}, which has no ENGINE."
        hint = "Give it one in DATABASES, or add a database 'tracing' for them."
    elif wrong := astray():
        (message, hint), check_id = wrong, "tracing.W004"
    else:
        return []
    return [CheckWarning(message, hint=hint, id=check_id)]


@register_check(Tags.compatibility, of=("MIDDLEWARE",))
def check_middleware(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the middleware is there, first (tracing.W005, tracing.I031)."""
    middleware = list(django_settings.MIDDLEWARE)
    hint = f"Put {MIDDLEWARE!r} first in MIDDLEWARE."
    if MIDDLEWARE not in middleware:
        missing = "Request traces will have no route, status or user: the middleware is missing."
        return [CheckWarning(missing, hint=hint, id="tracing.W005")]
    before = [
        name for name in middleware[: middleware.index(MIDDLEWARE)] if not name.startswith(UNSEEN)
    ]
    if not before:
        return []
    message = f"A request that {before[0]!r} answers has no route, status or user in its trace."
    return [Info(message, hint=hint, id="tracing.I031")]


@register(Tags.compatibility)
def check_django(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the dispatcher of this Django was verified (tracing.W006)."""
    if sends_are_verified():
        return []
    import django

    return [
        CheckWarning(
            f"The dispatcher of Django {django.get_version()} was not verified: dispatches are recorded"
            " without the times of their receivers.",
            hint="Upgrade tracing, or run its conformance tests against this release.",
            id="tracing.W006",
        )
    ]


@register(Tags.compatibility)
def check_neighbours(**_kwargs: Any) -> list[CheckMessage]:
    """Tell which other tools change what is recorded (tracing.I019)."""
    from tracing.checks.neighbours import wrapped_places

    told = [(f"Signal.{name} is replaced by {who}", "a receiver") for name, who in replaced()]
    foreign = [name for name in django_settings.MIDDLEWARE if name.startswith(OPENTELEMETRY)]
    places = wrapped_places(foreign).items()
    told += [(f"{who} is around {', '.join(at)}", "each") for who, at in places]
    return [
        Info(
            f"{text}.",
            hint=f"Recorded all the same; the time of {what} contains what is done around it there.",
            id="tracing.I019",
        )
        for text, what in told
    ]


@register(Tags.compatibility)
def check_own_sends(**_kwargs: Any) -> list[CheckMessage]:
    """Tell which signals are sent past the methods of Signal (tracing.I020)."""
    return [
        Info(
            f"Dispatches of {name} are not recorded: {cls} calls receivers in its own"
            f" {', '.join(f'{each}()' for each in methods)}.",
            hint="Let it call super(), or record a block with tracing.trace() there.",
            id="tracing.I020",
        )
        for name, cls, methods in signals_with_own_send()
    ]


@register_check(Tags.compatibility, of=("INSTALLED_APPS", "DEBUG_TOOLBAR_PANELS"))
def check_panel(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the toolbar, if it is there, has the panel (tracing.I007)."""
    if not apps.is_installed("debug_toolbar"):
        return []
    panels = getattr(django_settings, "DEBUG_TOOLBAR_PANELS", None)
    if panels is not None and "tracing.panels.SignalTracePanel" in panels:
        return []
    return [
        Info(
            "The debug toolbar is installed without the signal trace panel.",
            hint="Add 'tracing.panels.SignalTracePanel' to DEBUG_TOOLBAR_PANELS.",
            id="tracing.I007",
        )
    ]


_VIEWER = "tracing.viewer.urls"


@register_check(Tags.urls, of=("ROOT_URLCONF",))
def check_viewer(**_kwargs: Any) -> list[CheckMessage]:
    """Check the addresses of the viewer (tracing.I032, tracing.I033)."""
    hint = "urlpatterns = [*tracing_urls(), *urlpatterns]  # from tracing import tracing_urls"
    try:
        for first in get_resolver().url_patterns[:1]:
            if getattr(getattr(first, "urlconf_name", None), "__name__", "") == _VIEWER:
                return []  # Nothing comes before it, and to reverse() is to compile all routes.
        address = reverse("tracing:traces")
    except NoReverseMatch:
        message = "The viewer has no address: traces are recorded, and no page shows them."
        return [Info(message, hint=f"In your URLs: {hint}", id="tracing.I032")]
    except Exception:
        return []
    try:
        match = resolve(f"/{address.removeprefix(get_script_prefix())}")
    except Resolver404:
        return []
    if match.app_names[:1] == ["tracing"] or "tracing" in match.app_names:
        return []
    message = f"{address} does not lead to the viewer but to {match._func_path}."  # noqa: SLF001
    return [Info(message, hint=f"The viewer's routes belong first: {hint}", id="tracing.I033")]


@register_check(Tags.database, of=("DATABASES",))
def check_tables(databases: Iterable[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """Check on demand that a shared store has tables (tracing.W034)."""
    alias = store_alias()
    if "database" not in get_settings().exporters or alias not in (databases or ()):
        return []
    if makes_tables(alias) or alias not in connections or sys.argv[1:2] == ["migrate"]:
        return []  # Before it makes the tables, migrate asks as well.
    try:
        tables = connections[alias].introspection.table_names()
    except DatabaseError:
        return []  # Django tells of a database that cannot be reached.
    if STORE_TABLE in tables:
        return []
    which = "" if alias == "default" else f" --database {alias}"
    return [
        CheckWarning(
            f"The database {alias!r} has no tables for traces: they are not stored.",
            hint=f"Run: python manage.py migrate{which}",
            id="tracing.W034",
        )
    ]


@register_check(Tags.compatibility, of=("DATABASES",))
def check_embedded(**_kwargs: Any) -> list[CheckMessage]:
    """Check that the file of the embedded store can be used (tracing.W035)."""
    alias = store_alias()
    if not makes_tables(alias):
        return []
    from tracing.store import embedded

    path = Path(django_settings.DATABASES[alias]["NAME"])
    if problem := embedded.problem_of(path):
        hint = f"Until it is mended traces are counted and dropped. The file is {path}."
        return [CheckWarning(f"{problem}.", hint=hint, id="tracing.W035")]
    return []


@register(Tags.compatibility)
def check_clickhouse(**_kwargs: Any) -> list[CheckMessage]:
    """Check that ClickHouse can be asked where it is to be (tracing.W037)."""
    chosen = get_settings()
    if chosen.store != "clickhouse" and "clickhouse" not in chosen.exporters:
        return []
    from importlib.util import find_spec

    from tracing.store.clickhouse.connection import Address

    told = []
    if find_spec("clickhouse_connect") is None:
        told.append(("its driver is not installed",
                     "Run: pip install 'django-signal-tracing[clickhouse]'"))  # fmt: skip
    if not Address.is_url(chosen.clickhouse.url):
        told.append(("TRACING['CLICKHOUSE'] has no url of a server",
                     'Set "url" as "https://clickhouse.internal:8443".'))  # fmt: skip
    return [
        CheckWarning(f"Traces are to be in ClickHouse, but {text}.", hint=hint, id="tracing.W037")
        for text, hint in told
    ]


@register_check(Tags.compatibility, of=("DATABASES", "DEBUG"))
def check_ignored(**_kwargs: Any) -> list[CheckMessage]:
    """Check that git ignores what tracing writes (tracing.I036)."""
    if not django_settings.DEBUG:
        return []
    alias, paths = store_alias(), []
    if makes_tables(alias):
        name = str(django_settings.DATABASES[alias]["NAME"])
        paths = [f"{name}{ending}" for ending in ("", "-wal", "-shm")]
    if "log" in get_settings().exporters:
        paths.append(str(log_path()))
    if get_settings().collector != "thread":
        paths.append(str(spool_path(get_settings()) / "any.spool"))
    found = _not_ignored(paths)
    if not found:
        return []
    return [
        Info(
            "Git does not ignore what is recorded here, and traces hold data of your users.",
            hint=f"Run: printf '%s\\n' {shlex.join(sorted(found))} >> .gitignore",
            id="tracing.I036",
        )
    ]


def _not_ignored(paths: list[str]) -> set[str]:
    """Return the patterns that .gitignore lacks for *paths*, if git is used."""
    import shutil
    import subprocess

    git = shutil.which("git")
    patterns = set()
    for path in map(Path, paths):
        folder = next((parent for parent in path.parents if parent.is_dir()), None)
        if (
            git is None
            or folder is None
            or not any((up / ".git").exists() for up in (folder, *folder.parents))
        ):
            continue
        command = [git, "-C", str(folder), "check-ignore", "--quiet", str(path)]
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, check=False, capture_output=True, timeout=5)  # noqa: S603
            if done.returncode == 1:  # 0: it is ignored; 128: git has its own objections.
                patterns.add(
                    f"{path.parent.name}/"
                    if path.suffix in {".jsonl", ".spool"}
                    else f"*{STORE_SUFFIX}*"
                )
    return patterns


@register_check(Tags.security, deploy=True, of=("DATABASES", "DEBUG", "INTERNAL_IPS"))
def check_deployment(**_kwargs: Any) -> list[CheckMessage]:
    """Check what a public site should not have (tracing.W040 to tracing.W043)."""
    chosen, alias = get_settings(), store_alias()
    told = []
    if django_settings.DEBUG and STRANGER in django_settings.INTERNAL_IPS:
        told.append((40, "DEBUG is on and INTERNAL_IPS holds every address: anybody may see traces",
                     "Set DEBUG = False."))  # fmt: skip
    if "database" in chosen.exporters and retention_in_force(chosen) is None:
        told.append((41, "The store grows without end: no retention is set",
                     'Set TRACING["PRUNE"] = {"OLDER_THAN": "30d"}.'))  # fmt: skip
    if chosen.capture_statements or chosen.capture_values:
        told.append((42, "Statements or values of arguments are kept",
                     "Leave CAPTURE_STATEMENTS and CAPTURE_VALUES off where users' data is."))  # fmt: skip
    if (
        makes_tables(alias)
        and chosen.sample_ratio >= 1
        and not chosen.keep.rules
        and _is_busy(alias)
    ):
        told.append((43, f"Every trace is recorded, and the store has more than {BUSY_BYTES // 10**6} MB",
                     'Set TRACING["SAMPLE_RATIO"] = 0.1, or KEEP what matters.'))  # fmt: skip
    return [
        CheckWarning(f"{text}.", hint=hint, id=f"tracing.W{number:03}")
        for number, text, hint in told
    ]


def _is_busy(alias: str) -> bool:
    try:
        return Path(django_settings.DATABASES[alias]["NAME"]).stat().st_size > BUSY_BYTES
    except OSError:
        return False


@register_check(Tags.templates, of=("INSTALLED_APPS", "TEMPLATES"))
def check_templates(**_kwargs: Any) -> list[CheckMessage]:
    """Tell where the project's own pages cannot show a trace (tracing.I018)."""
    from tracing.presentation.templating import ENGINE_HINT, missing_engine

    problem = missing_engine()
    return [Info(problem, hint=ENGINE_HINT, id="tracing.I018")] if problem else []
