"""Why-not on small projects: each way to miss a call, asked in the process itself and in another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracing.analysis.why_not.projects import Zygote, answer_of, answers
from tests.tracing.analysis.why_not.scenarios import SCENARIOS
from tracing.analysis.why_not.words import RAN, VERDICTS

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def zygote():
    process = Zygote()
    yield process
    process.close()


def _cases():
    """Yield each scenario and its control; the first of each verdict is not slow."""
    seen = set()
    for scenario in SCENARIOS:
        for control in (False, True)[: 1 + scenario.has_control]:
            verdict = scenario.control_verdict if control else scenario.verdict
            name = f"{scenario.name}, control" if control else scenario.name
            marks = [pytest.mark.slow] if verdict in seen or control else []
            seen.add(verdict)
            yield pytest.param(scenario, control, id=name, marks=marks)


@pytest.mark.parametrize(("scenario", "control"), list(_cases()))
def test_scenario(scenario, control, zygote, tmp_path):
    inside, outside = answers(zygote, tmp_path, scenario, control=control)

    verdict = scenario.control_verdict if control else scenario.verdict
    for ran in (inside, outside) if scenario.is_told_there else (outside,):
        answer = answer_of(ran)
        assert answer["verdict"] == verdict, answer
        if scenario.line is not None and not control:
            assert _names(answer, tmp_path, *scenario.line), answer
    code = 0 if verdict in RAN else 5 if verdict == "not-recorded" else 1
    assert outside["code"] == code


def _names(answer, folder, file, text):
    """Return whether the evidence names a line of *file* that has *text*."""
    lines = Path(folder, file).read_text().splitlines()
    wanted = {(str(Path(folder, file)), n) for n, line in enumerate(lines, 1) if text in line}
    return any((each["file"], each["line"]) in wanted for each in answer["evidence"])


def test_every_verdict_has_a_scenario():
    assert {scenario.verdict for scenario in SCENARIOS} == set(VERDICTS)
