"""The examples of docs/guides/testing.md, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "guides" / "testing.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.django_db
@pytest.mark.parametrize("example", [code for code in EXAMPLES if "\nwith " in code])
def test_an_example_that_is_a_block_runs(example):
    exec(compile(example, "docs/guides/testing.md", "exec"), {})


@pytest.mark.process
def test_the_examples_that_are_tests_pass(tmp_path):
    tests = [code for code in EXAMPLES if "\nwith " not in code]
    for number, code in enumerate(tests):
        (tmp_path / f"test_example_{number}.py").write_text(code)

    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:tracing",
        "-p",
        "tracing.pytest_plugin",
    ]
    result = subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", f"--rootdir={tmp_path}", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "TRACING_UPDATE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "4 passed" in result.stdout, result.stdout
    (tree,) = tmp_path.glob("__dispatch_trees__/*/placed.txt")
    assert f"```text\n{tree.read_text()}```" in DOCUMENT
