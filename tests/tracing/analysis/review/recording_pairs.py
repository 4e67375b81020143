"""Records pairs of projects: imports once what all of them need, and forks for each run of tests.

Started with the folder to write to and the names of the pairs, all unless given. What each run said is
in ``BASE.txt`` or ``HEAD.txt`` beside its record.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from pathlib import Path

import pytest

from tests.tracing.analysis.review.pairs import PAIRS, Pair, project

SHARED = (
    *("django.test", "django.db.backends.sqlite3.base", "django.db.migrations.executor"),
    *("django.core.management.commands.migrate", "django.contrib.contenttypes.apps"),
    *("pytest_django.plugin", "_pytest.junitxml", "_pytest.unittest", "_pytest.warnings"),
    *("tracing.pytest_plugin", "tracing.testing.recording", "tracing.setup", "tracing.api"),
    *("tracing.instrumentation.patching", "tracing.analysis.review"),
)
"""Without xdist, which keeps the path as it is when it is imported, for its workers."""
PLUGINS = ("pytest_django.plugin", "tracing.pytest_plugin")
OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", "ignore", "--tracing-record", "record")


def folder_of(out: Path, pair: Pair, side: str) -> Path:
    """Return where a side of a pair is."""
    return out / pair.name.replace(" ", "-").replace(",", "") / side


def record(folder: Path, pair: Pair, side: str) -> None:
    """Write a project down and run its tests in a process that ends."""
    for name, text in project(getattr(pair, side)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    code = 1
    try:
        os.chdir(folder)
        output = os.open(f"{side}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.path.insert(0, str(folder))
        # For the workers of xdist, which begin anew.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        wanted = pair.head_arguments if side == "head" else ()
        plugins = [*PLUGINS, *(["xdist.plugin"] if "-n" in wanted else [])]
        arguments = [*wanted, *(argument for plugin in plugins for argument in ("-p", plugin))]
        code = pytest.main([*arguments, *OPTIONS])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - told in the output; the parent goes on.
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    out, *names = sys.argv[1:]
    for module in SHARED:
        importlib.import_module(module)
    # Each run asks for collections, which need not look at what all of them share.
    gc.freeze()
    for pair in PAIRS:
        if not names or pair.name in names:
            for side in ("base", "head"):
                record(folder_of(Path(out), pair, side), pair, side)


if __name__ == "__main__":
    main()
