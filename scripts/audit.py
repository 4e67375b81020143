"""Look at the package, the code and the dependencies for what is unsafe or ill-made: make audit.

Builds the wheel and the sdist and has twine and check-wheel-contents look at them, bandit at the code, and
pip-audit ask for known weaknesses of what is pinned. Ends with 75 where something could not be looked at,
which is neither passed nor failed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".cache" / "audit"
BIN = PLACE / "venv" / "bin"
NOT_LOOKED = 75
"""EX_TEMPFAIL: the same may go well another time."""
PINNED = ("requirements.txt", "requirements-dev.txt", "requirements-audit.txt")


def run(name: str, *arguments: str) -> bool:
    """Run a tool and return whether it found nothing."""
    print(f"--- {name}", flush=True)
    return subprocess.run([BIN / name, *arguments], cwd=ROOT, check=False).returncode == 0


def built() -> list[str]:
    """Build the distributions and return their paths."""
    folder = PLACE / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    command = [BIN / "python", "-m", "hatchling", "build", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True)
    return sorted(str(path) for path in folder.iterdir())


def known_weaknesses(file: str) -> tuple[list[str], list[str]]:
    """Return what is known of the packages pinned in *file*, and those that nothing is known of."""
    command = [BIN / "pip-audit", "-r", file, "--no-deps", "--disable-pip", "-f", "json"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return [], [f"{file} ({reason})"]
    weak = [
        f"{package['name']} {package['version']}: {weakness['id']}, mended in "
        f"{', '.join(weakness['fix_versions']) or 'no release'}"
        for package in packages
        for weakness in package.get("vulns", [])
    ]
    # pip-audit ends with 0 for a package that its service does not know.
    return weak, [package["name"] for package in packages if "skip_reason" in package]


def main() -> int:
    """Look at everything and return the exit status."""
    environment = ["sh", "scripts/environment.sh", str(PLACE / "venv"), "requirements-audit.txt"]
    if subprocess.run(environment, cwd=ROOT, check=False).returncode:
        print("NOT LOOKED AT: the tools could not be installed (requirements-audit.txt).")
        return NOT_LOOKED
    files = built()
    fine = [
        run("twine", "check", "--strict", *files),
        run("check-wheel-contents", *(path for path in files if path.endswith(".whl"))),
        run("bandit", "-q", "-c", "pyproject.toml", "-r", "tracing", "core", "carsales"),
    ]
    print("--- pip-audit", flush=True)
    weak, unknown = [], []
    for file in PINNED:
        found, missing = known_weaknesses(file)
        weak += found
        unknown += missing
    print("\n".join(weak) or "No weakness was told.")
    if unknown:
        print(f"NOT LOOKED AT, out of reach or unknown there: {', '.join(sorted(set(unknown)))}.")
    if weak or not all(fine):
        return 1
    return NOT_LOOKED if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
