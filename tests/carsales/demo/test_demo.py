"""Tests of what `make demo` runs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.process
def test_demo_says_what_to_open_when_it_answers_and_how_long_that_took(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"""if True:
        import sys
        sys.path.insert(0, "scripts")
        import demo
        is_answered = demo.is_answered
        def watched(port):
            answers = is_answered(port)
            print("answers:", answers, flush=True)
            return answers
        demo.is_answered = watched
        sys.exit(demo.serve({port}, "admin / secret"))"""
    environment = {
        **os.environ,
        "STARTED": str(time.time() - 3600),
        "DJANGO_SETTINGS_MODULE": "carsales.settings",
        "CARSALES_DATA_DIR": str(tmp_path),
    }
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C ends it." in line:
                demo.terminate()
    told = "".join(lines)

    assert re.search(r"answers: True\n(.*\n)*CarSales is ready after 36\d\d s\.", told), told
    assert "admin / secret" in told
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "The server outlived the demo."
