"""The README against the project: its length, its questions, its steps, its links."""

from __future__ import annotations

import re
from pathlib import Path

from carsales.demo.questions import QUESTIONS

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
STEPS = (
    "python3 -m venv",
    "pip install -r requirements.txt",
    "manage.py migrate",
    "manage.py createsuperuser",
    "manage.py runserver",
)
"""How a Django project is started where nothing is known of it, in this order."""


def test_it_is_read_in_one_go():
    assert len(README.splitlines()) <= 100


def test_its_questions_are_those_of_the_start_page_each_with_both_answers():
    table = README.partition("| question |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]

    assert [row[0] for row in rows] == [question.text for question in QUESTIONS]
    assert [row for row in rows if len(row) != 3 or not all(row)] == []


def test_the_classic_steps_are_there_in_their_order():
    places = [README.find(step) for step in STEPS]

    assert -1 not in places
    assert places == sorted(places)


def test_each_page_of_the_docs_is_linked_by_their_index_and_in_the_side_bar():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    listed = {
        page for block in re.findall(r"\n\n([\w/\n-]+)\n```", index) for page in block.split()
    }
    below = {page for page in pages - listed if f"{page.partition('/')[0]}/index" in listed}

    assert pages - below - {"index"} == listed
    assert listed <= set(re.findall(r"\(([\w/-]+)\.md\)", index))
    assert "(docs/index.md)" in README


def test_the_tutorial_asks_the_same_questions():
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")

    assert re.findall(r"^## (.+\?)$", tutorial, re.MULTILINE) == [
        question.text for question in QUESTIONS
    ]
