"""The packages whose tests ``make foreign`` runs: where each has them, and what they need."""

from __future__ import annotations

from dataclasses import dataclass

SQLITE_ONLY = """
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in DATABASES}
"""
PYTEST = ("pytest>=8,<9", "pytest-django>=4.11,<5")


@dataclass(frozen=True)
class Suite:
    """Where a package has its tests, and what they need.

    Attributes:
        package: Its name on the index.
        settings: Python that defines the settings of its tests.
        runner: ``django`` or ``pytest``.
        labels: What the runner is given.
        folder: Where it starts, below the sdist.
        extras: Extras of the package.
        needs: Further packages.
    """

    package: str
    settings: str
    runner: str
    labels: tuple[str, ...]
    folder: str = "."
    extras: str = ""
    needs: tuple[str, ...] = ()


SUITES = {
    "guardian": Suite(
        "django-guardian",
        "from guardian.testapp.testsettings import *",
        "pytest",
        ("guardian/testapp/tests",),
        needs=("django-environ", *PYTEST),
    ),
    "reversion": Suite(
        "django-reversion",
        f"from test_project.settings import *\n{SQLITE_ONLY}",
        "django",
        ("test_app",),
        folder="tests",
    ),
    "simple-history": Suite(
        "django-simple-history",
        "from runtests import get_default_settings\n\nglobals().update(get_default_settings())",
        "django",
        ("simple_history.tests", "simple_history.registry_tests"),
    ),
    "axes": Suite(
        "django-axes",
        "from tests.settings import *",
        "pytest",
        ("tests",),
        extras="[ipware]",
        needs=("pytest-subtests", *PYTEST),
    ),
    "auditlog": Suite(
        "django-auditlog",
        "from test_settings import *",
        "django",
        (),
        folder="auditlog_tests",
        needs=("freezegun", "psycopg[binary]"),
    ),
    "import-export": Suite(
        "django-import-export",
        "from settings import *",
        "django",
        ("core",),
        folder="tests",
        extras="[all]",
        needs=("chardet", "pytz", "psycopg[binary]"),
    ),
    "debug-toolbar": Suite(
        "django-debug-toolbar",
        "from tests.settings import *",
        "django",
        ("tests",),
        needs=("django-csp", "django-template-partials", "html5lib", "jinja2", "pygments"),
    ),
    "allauth": Suite(
        "django-allauth",
        "from tests.projects.regular.settings import *",
        "pytest",
        ("allauth", "tests"),
        extras="[headless,headless-spec,idp-oidc,mfa,openid,saml,socialaccount,steam]",
        needs=(
            "django-ninja",
            "djangorestframework",
            "Pillow",
            "psycopg[binary]",
            "pytest-asyncio",
            *PYTEST,
        ),
    ),
}
