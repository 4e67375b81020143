"""Costs of starting: time and memory of ``django.setup()``, bare and under load.

Each measurement is a process of its own, stock and traced in turns; the least of several counts. Unlike
the other benchmarks these read compiled modules, as a deployed site does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.environments import Environment
    from benchmarks.measuring import Progress

ROUNDS = 7
REQUESTS = 200
ROOT = Path(__file__).resolve().parent.parent


def resident_kb() -> int:
    """Return the memory of this process, in KB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def start_all(environment: Environment, tell: Progress) -> dict[str, Any]:
    """Return CPU ms and KB of starting, and KB after requests, by mode."""
    from benchmarks.measuring import Worker

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for number in range(ROUNDS + 1):
            for mode in ("stock", "complete"):
                tell(f"start: {mode}")
                measured = _start(environment, mode, folder)
                if number:  # The first one compiles.
                    least = found.setdefault(mode, measured)
                    found[mode] = {key: min(least[key], measured[key]) for key in measured}
    for mode in ("stock", "complete"):
        tell(f"memory under load: {mode}")
        with Worker(environment, mode, ["request"]) as worker:
            worker.ask("run", "request", number=REQUESTS)
            found[mode]["loaded_kb"] = worker.ask("resident", "request")
    return found


def _start(environment: Environment, mode: str, folder: str) -> dict[str, Any]:
    variables = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": folder}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [str(environment.interpreter), "-m", "benchmarks.start", mode, folder],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Set a bare project up in this process; print what that took."""
    mode, folder = sys.argv[1:]
    import django
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/site.sqlite3"}
    configured: dict[str, Any] = {
        "DATABASES": {"default": database},
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes"],
        "SECRET_KEY": "of no use outside the benchmark",
        "USE_TZ": True,
    }
    if mode != "stock":
        configured["INSTALLED_APPS"].append("tracing")
        configured["DATABASES"]["tracing"] = {**database, "NAME": f"{folder}/traces.sqlite3"}
        configured["DATABASE_ROUTERS"] = ["tracing.routers.TracingRouter"]
    settings.configure(**configured)
    began = time.process_time()
    django.setup()
    print(json.dumps({"ms": (time.process_time() - began) * 1000, "kb": resident_kb()}))


if __name__ == "__main__":
    main()
