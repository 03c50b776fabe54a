"""A page of the town: eight pieces, each from its own part of the world, and never too wide."""

import os
import random
import subprocess
import sys
import textwrap
from functools import cache

import pytest

from course_lib.world import arithmetic, chat, corpus, documents, harbour, skew
from course_lib.world.page import WIDTH, page
from course_lib.world.people import named_in, town

NUMBERS = (0, 7, -1)
TITLES = {
    "Somebody", "A story", "The town guide is asked", "Read and answer",
    "From the archive", "From the harbour's log", "From the newspaper",
}  # fmt: skip


@cache
def pieces(number):
    """The pieces of a page: title and the lines below it, joined."""
    found = {}
    for piece in page(number).split("\n\n"):
        title, _, below = piece.partition("\n")
        if title not in TITLES and not title.endswith(" = ?") and found:
            below = f"{found.popitem()[1]}\n\n{piece}"  # the archive has paragraphs
            title = "From the archive"
        found[title] = below
    return found


def in_one_line(text):
    return " ".join(text.split())


def test_the_same_number_gives_the_same_page_and_another_number_another():
    pages = [page(number) for number in NUMBERS]
    assert pages == [page(number) for number in NUMBERS]
    assert len({text.split("\n", 1)[1] for text in pages}) == len(NUMBERS)
    assert page() == page(0)


def test_a_page_uses_no_random_numbers_but_its_own():
    random.seed(1)
    before = random.getstate()
    first = page(3)
    assert random.getstate() == before
    random.seed(2)
    assert page(3) == first


def test_no_line_is_wider_than_promised():
    assert WIDTH == 76
    for number in (*NUMBERS, 1, 2, 3):
        lines = page(number).splitlines()
        assert max(map(len, lines)) <= 76, max(lines, key=len)


@pytest.mark.parametrize("number", NUMBERS)
def test_all_eight_pieces_are_on_every_page_below_its_number(number):
    assert page(number).splitlines()[0] == f"MILLBROOK, page {number}"
    found = [title for title in pieces(number) if not title.startswith("MILLBROOK")]
    (problem,) = [title for title in found if title.endswith(" = ?")]
    assert len(found) == 8
    assert {*found} == TITLES | {problem}
    assert all(pieces(number)[title] for title in found)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_problem_is_solved_and_the_hasty_answer_is_wrong(number):
    (title,) = [title for title in pieces(number) if title.endswith(" = ?")]
    problem = arithmetic.parse(title.removesuffix(" = ?"))
    worked, hasty = pieces(number)[title].split("\n(in haste) ")
    assert arithmetic.operations(problem) == 3
    assert arithmetic.steps_hold(problem, worked)
    assert arithmetic.final_answer(hasty) not in (None, problem.value)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_guide_answers_rightly_in_all_five_manners(number):
    told = in_one_line(pieces(number)["The town guide is asked"])
    for manner in chat.MANNERS:
        assert told.count(f"({manner}) ") == 1
    asked, said = told.split(" (plain) ")
    (person,) = [p for p in town() if named_in(asked, [p.name])]
    assert any(value in said for value in vars(person).values() if value != person.name)
    assert said.count(person.name) == 4  # all but the short answer


@pytest.mark.parametrize("number", NUMBERS)
def test_every_piece_comes_from_its_part_of_the_world(number):
    found = {title: in_one_line(text) for title, text in pieces(number).items()}
    for title in ("Somebody", "A story"):
        assert named_in(found[title], [p.name for p in corpus.inhabitants()])
    papers = [in_one_line(str(paper)) for paper in documents.documents()]
    assert found["From the archive"] in papers
    log = in_one_line(" ".join(harbour.harbour_log()))
    assert found["From the harbour's log"] in log
    printed = {in_one_line(textwrap.fill(text)) for text in skew.skewed_texts()}
    assert sum(text in found["From the newspaper"] for text in printed) >= 3
    assert found["Read and answer"].count("?") == 1


def test_the_page_is_printed_by_a_command():
    for words, number in (([], 0), (["7"], 7)):
        command = [sys.executable, "-m", "course_lib.world.page", *words]
        said = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", check=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        assert said.stdout == page(number) + "\n"
        assert not said.stderr
