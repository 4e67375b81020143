"""What a project's own tests cost: a hundred of them, with the two lines and without.

A project as ``startproject`` makes it with one application, whose tests are half of the ORM and half of the
test client. Each run is a process of its own, stock and traced in turns; the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
MANAGE: Final = ("manage.py", "test", "-v", "0")
PYTEST: Final = ("-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider")
RUNS: Final = {
    "check": ("manage.py", "check"),
    "manage.py test": MANAGE,
    "manage.py test --parallel 2": (*MANAGE, "--parallel", "2"),
    "pytest": PYTEST,
    "pytest -n 2": (*PYTEST, "-n", "2"),
}
MODELS: Final = """\
from django.db import models


class Thing(models.Model):
    name = models.CharField(max_length=30)
"""
VIEW: Final = """
from django.http import HttpResponse
from django.urls import path
from things.models import Thing


def things(request):
    return HttpResponse(", ".join(Thing.objects.values_list("name", flat=True)))


urlpatterns += [path("things/", things)]
"""
TESTS: Final = """\
from django.test import TestCase

from things.models import Thing


class ThingTests(TestCase):
    pass


def stored(number):
    def test(self):
        thing = Thing.objects.create(name=f"Thing {number}")
        thing.name = "changed"
        thing.save()
        self.assertEqual(Thing.objects.get().name, "changed")
        thing.delete()

    return test


def shown(number):
    def test(self):
        Thing.objects.create(name=f"Thing {number}")
        answer = self.client.get("/things/")
        self.assertContains(answer, f"Thing {number}")

    return test


for number in range(50):
    setattr(ThingTests, f"test_stored_{number}", stored(number))
    setattr(ThingTests, f"test_shown_{number}", shown(number))
"""
SETTINGS: Final = """
INSTALLED_APPS.append("things")
ALLOWED_HOSTS = ["testserver"]
"""
TWO_LINES: Final = """
import tracing

tracing.install(globals())
"""
ROUTES: Final = """
from tracing import tracing_urls

urlpatterns = [*tracing_urls(), *urlpatterns]
"""


def make_project(folder: Path, *, is_traced: bool) -> None:
    """Make the project in *folder*."""
    folder.mkdir()
    for command in (["startproject", "site0", "."], ["startapp", "things"]):
        subprocess.run([sys.executable, "-m", "django", *command], cwd=folder, check=True)
    texts = {
        "site0/settings.py": SETTINGS + TWO_LINES * is_traced,
        "site0/urls.py": VIEW + ROUTES * is_traced,
    }
    for name, more in texts.items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(more)
    shutil.rmtree(folder / "things" / "migrations")
    (folder / "things" / "models.py").write_text(MODELS, encoding="utf-8")
    (folder / "things" / "tests.py").write_text(TESTS, encoding="utf-8")
    ini = "[pytest]\nDJANGO_SETTINGS_MODULE = site0.settings\npython_files = tests.py\n"
    (folder / "pytest.ini").write_text(ini, encoding="utf-8")


def cpu_of(folder: Path, arguments: tuple[str, ...]) -> float:
    """Return the CPU seconds of a run in *folder*, its processes included."""
    variables = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
    variables["PYTHONPYCACHEPREFIX"] = str(folder.parent / "compiled")
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print for each way to run the tests the seconds, and the traced ones' ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", action="append", choices=list(RUNS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        stock, traced = (Path(name) / each for each in ("stock", "traced"))
        make_project(stock, is_traced=False)
        make_project(traced, is_traced=True)
        for label in given.only or RUNS:
            pairs = [
                (cpu_of(stock, RUNS[label]), cpu_of(traced, RUNS[label]))
                for _ in range(given.rounds + 1)
            ][1:]  # The first one compiles.
            ratios = sorted(b / a for a, b in pairs)
            before, after = (statistics.median(each) for each in zip(*pairs, strict=True))
            print(
                f"{label}: {before:.3f} s stock, {after:.3f} s traced, ratio "
                f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
