"""Environments: which interpreters are here, and a throw-away virtual environment for each.

Each Python gets the Django release that stands beside it in ``PAIRS``, so one run covers all that
are supported. The environments live under ``.cache/benchmarks`` and hold nothing else than what is
measured; the peers, which nobody needs otherwise, get one of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "benchmarks"

PAIRS = {"3.11": "5.2", "3.12": "6.0", "3.13": "6.1", "3.14": "6.1"}
"""Django release by Python version."""

NEEDED = ("msgspec", "structlog")
"""What the tracer and its exporters use, pinned in requirements.txt."""

_DESCRIBE = """
import json, platform, sys, sysconfig
import django
flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
print(json.dumps({
    "python": platform.python_version(),
    "django": django.get_version(),
    "optimised": "--enable-optimizations" in flags,
    "compiler": platform.python_compiler(),
}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter to measure with."""

    interpreter: Path
    python: str
    django: str
    optimised: bool
    """Whether the interpreter was built with profile-guided optimisation."""
    compiler: str

    def __str__(self) -> str:
        return f"Python {self.python}, Django {self.django}"


def describe(interpreter: Path) -> Environment:
    """Return what *interpreter* is.

    Raises:
        RuntimeError: It does not run, or has no Django.
    """
    done = subprocess.run(
        [str(interpreter), "-c", _DESCRIBE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{interpreter} cannot be measured: {done.stderr.strip()[-300:]}")
    return Environment(interpreter=interpreter, **json.loads(done.stdout))


def _answers(interpreter: str | Path, version: str) -> bool:
    """Return whether *interpreter* runs and is of that version; a version manager's shim may not."""
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [str(interpreter), "-c", code], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def _candidates(version: str) -> Iterator[str | Path]:
    yield sys._base_executable  # type: ignore[attr-defined]  # noqa: SLF001 - sys.executable is a venv's.
    yield from (name for name in (f"python{version}", "python3") if shutil.which(name))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"))


def find_interpreters() -> dict[str, str | Path]:
    """Return an interpreter by version, for each version in ``PAIRS`` that is on this machine."""
    found = {}
    for version in PAIRS:
        chosen = next((item for item in _candidates(version) if _answers(item, version)), None)
        if chosen is not None:
            found[version] = chosen
    return found


def _pins(file: str, names: tuple[str, ...] = ()) -> list[str]:
    """Return the requirement lines of *file*, only those of *names* if any are given."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return [
        line
        for line in lines
        if line and not line.startswith("-") and (not names or line.split("==")[0] in names)
    ]


def make_environment(version: str, interpreter: str | Path, *, peers: bool = False) -> Environment:
    """Return an environment for Python *version*, made or refreshed if it is not as it should be.

    Raises:
        subprocess.CalledProcessError: pip could not install what is needed.
    """
    folder = CACHE / f"python{version}-django{PAIRS[version]}{'-peers' if peers else ''}"
    wanted = [f"Django~={PAIRS[version]}.0", *_pins("requirements.txt", NEEDED)]
    if peers:
        wanted += _pins("requirements-bench.txt")
    python = folder / "bin" / "python"
    stamp = folder / ".installed"
    text = "\n".join(wanted)
    if not (stamp.exists() and stamp.read_text() == text and _answers(python, version)):
        subprocess.run([str(interpreter), "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True)
        stamp.write_text(text)
    return describe(python)
