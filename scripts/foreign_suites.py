"""The packages whose tests ``make foreign`` runs: where each has them, and what they need.

The releases of what they need are in ``foreign_constraints.txt``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SQLITE_ONLY = """
DATABASES = {alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for alias in DATABASES}
"""
PYTEST = ("pytest", "pytest-django")
PANELS = "the panels of the toolbar"


@dataclass(frozen=True)
class Suite:
    """The tests of a package, and their needs.

    Attributes:
        package: Its name on the index.
        version: The release whose tests are run.
        settings: Python that defines the settings of its tests.
        runner: ``django`` or ``pytest``.
        labels: What the runner is given.
        folder: Where it starts, below the sdist.
        extras: Extras of the package.
        needs: Further packages.
        listing: Tests that list what is installed, and therefore find the tracer, with what they
            find. They must differ; whatever else differs is a fault.
    """

    package: str
    version: str
    settings: str
    runner: str
    labels: tuple[str, ...]
    folder: str = "."
    extras: str = ""
    needs: tuple[str, ...] = ()
    listing: Mapping[str, str] = field(default_factory=dict)


SUITES = {
    "guardian": Suite(
        "django-guardian",
        "3.5.2",
        "from guardian.testapp.testsettings import *",
        "pytest",
        ("guardian/testapp/tests",),
        needs=("django-environ", *PYTEST),
    ),
    "reversion": Suite(
        "django-reversion",
        "6.4.0",
        f"from test_project.settings import *\n{SQLITE_ONLY}",
        "django",
        ("test_app",),
        folder="tests",
    ),
    "simple-history": Suite(
        "django-simple-history",
        "3.13.0",
        "from runtests import get_default_settings\n\nglobals().update(get_default_settings())",
        "django",
        ("simple_history.tests", "simple_history.registry_tests"),
    ),
    "axes": Suite(
        "django-axes",
        "8.3.1",
        "from tests.settings import *",
        "pytest",
        ("tests",),
        extras="[ipware]",
        needs=("pytest-subtests", *PYTEST),
    ),
    "auditlog": Suite(
        "django-auditlog",
        "3.4.1",
        "from test_settings import *",
        "django",
        (),
        folder="auditlog_tests",
        needs=("freezegun", "psycopg[binary]"),
    ),
    "import-export": Suite(
        "django-import-export",
        "4.4.3",
        "from settings import *",
        "django",
        ("core",),
        folder="tests",
        extras="[all]",
        needs=("chardet", "pytz", "psycopg[binary]"),
        listing={
            "core.tests.test_model_resource_fields_generate_widgets.TestFieldWidgetMapping"
            ".test_all_db_fields_has_widgets": "the classes of all model fields",
        },
    ),
    "debug-toolbar": Suite(
        "django-debug-toolbar",
        "8.0.0",
        "from tests.settings import *",
        "django",
        ("tests",),
        needs=("django-csp", "django-template-partials", "html5lib", "jinja2", "pygments"),
        listing={
            "tests.panels.test_history.HistoryViewsTestCase.test_history_sidebar": PANELS,
            "tests.panels.test_history.HistoryViewsTestCase"
            ".test_history_sidebar_expired_request_id": PANELS,
            "tests.panels.test_history.HistoryViewsTestCase"
            ".test_history_sidebar_includes_history": PANELS,
            "tests.panels.test_staticfiles.StaticFilesPanelTestCase"
            ".test_default_case": "the applications that have static files",
        },
    ),
    "allauth": Suite(
        "django-allauth",
        "65.21.1",
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
