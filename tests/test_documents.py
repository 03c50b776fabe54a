"""The archive: every question has one paper or none, and editions differ in facts and metadata only."""

import re
import string
from collections import Counter
from itertools import combinations

import pytest

from course_lib.world.archive import FORMS
from course_lib.world.documents import (
    STYLES,
    UNKNOWN,
    document_questions,
    documents,
    fact_strings,
)
from course_lib.world.harbour import harbour_log, harbour_questions, pages
from course_lib.world.reviews import reviews
from course_lib.world.skew import possible_texts
from tests.processes import said_by_processes

PAPERS, QUESTIONS = documents(), document_questions()
BY_ID = {paper.id: paper for paper in PAPERS}
ANSWERED = [question for question in QUESTIONS if question.document]
UNANSWERED = [question for question in QUESTIONS if not question.document]
SMALL = (
    "a an the of in on at by to for from with and or is was were be been do does did"
    " has have had it its that which what who whom when where how much many may can"
    " must i my me you we they one into up rules today"
)
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2, 3])


def words(text):
    return re.findall(r"[\w'-]+", text.lower())


def content(text):
    return {*words(text)} - {*SMALL.split()}


def times_told(value, text):
    return len(re.findall(rf"(?<!\w){re.escape(value)}(?!\w)", text))


def shared(question):
    """Which part of a question's content words stands in the paper that answers it."""
    asked = content(question.text) - {str(question.year)}
    return len(asked & content(BY_ID[question.document].text)) / len(asked)


def of_style(style):
    return [question for question in QUESTIONS if question.style == style]


def test_at_least_sixty_papers_of_sixty_to_250_words_with_whole_metadata():
    assert len(PAPERS) >= 60
    assert len(BY_ID) == len(PAPERS)
    for paper in PAPERS:
        assert 60 <= len(paper.body.split()) <= len(paper.text.split()) <= 250, paper.id
        assert paper.kind
        assert paper.office
        assert 1880 <= paper.year < 1960
        assert str(paper.year) not in paper.text


@SEEDS
def test_every_answer_stands_in_its_paper_exactly_once(seed):
    papers = {paper.id: paper for paper in documents(seed)}
    for question in document_questions(seed):
        if question.document:
            told = times_told(question.answer, papers[question.document].text)
            assert told == 1, (question, told)


def test_every_paper_tells_three_facts_or_more_and_each_is_asked_for_in_both_styles():
    asked = Counter((q.document, q.attribute, q.answer, q.style) for q in ANSWERED)
    expected = Counter(
        (paper.id, fact.attribute, fact.value, style)
        for paper in PAPERS
        for fact in paper.facts
        for style in STYLES[:2]
    )
    assert asked == expected
    assert all(len(paper.facts) >= 3 for paper in PAPERS)
    assert len(of_style("lexical")) == len(of_style("paraphrased")) >= 100


@SEEDS
def test_no_question_is_asked_twice(seed):
    texts = [question.text for question in document_questions(seed)]
    assert len({*texts}) == len(texts) >= 200


@SEEDS
def test_two_papers_tell_the_same_thing_of_one_subject_only_as_editions_that_disagree(
    seed,
):
    for first, second in combinations(documents(seed), 2):
        if first.facts[0].subject == second.facts[0].subject:
            assert (first.kind, first.title) == (second.kind, second.title)
            assert first.year < second.year
            for older, newer in zip(first.facts, second.facts, strict=True):
                assert older.attribute == newer.attribute
                assert older.value != newer.value


def test_nothing_in_the_text_of_two_editions_but_the_facts_tells_them_apart():
    editions = Counter(paper.facts[0].subject for paper in PAPERS)
    assert set(editions.values()) == {1, 2}

    def blanked(paper):
        text = paper.text
        for fact in paper.facts:
            text = text.replace(fact.value, "...")
        return text

    for first, second in combinations(PAPERS, 2):
        same = first.facts[0].subject == second.facts[0].subject
        assert same == (blanked(first) == blanked(second))


def test_kind_subject_and_year_of_a_question_leave_one_paper():
    for question in ANSWERED:
        gold = BY_ID[question.document]
        left = [
            paper
            for paper in PAPERS
            if paper.facts[0].subject == gold.facts[0].subject
            and question.year in (None, paper.year)
        ]
        assert left == [gold], question


def test_a_question_about_today_means_the_newest_edition():
    current = [question for question in ANSWERED if "today" in question.text]
    assert current
    for question in current:
        subject = BY_ID[question.document].facts[0].subject
        years = [p.year for p in PAPERS if p.facts[0].subject == subject]
        assert question.year == max(years) > min(years)


def test_lexical_questions_speak_in_the_words_of_their_paper():
    parts = [shared(question) for question in of_style("lexical")]
    assert min(parts) >= 0.6
    assert sum(parts) / len(parts) > 0.9


def test_paraphrased_questions_share_few_words_with_their_paper_and_never_its_name():
    parts = [shared(question) for question in of_style("paraphrased")]
    assert max(parts) <= 0.4
    assert sum(parts) / len(parts) < 0.1
    for question in of_style("paraphrased"):
        subject = BY_ID[question.document].facts[0].subject
        assert not content(subject) & content(question.text), question.text


def test_shared_words_find_the_paper_of_lexical_questions_and_not_of_paraphrased_ones():
    contents = {paper.id: content(paper.text) for paper in PAPERS}
    spread = Counter(word for found in contents.values() for word in found)

    def found(question):  # rare words count more; editions cannot be told apart
        asked = content(question.text)
        points = {
            name: sum(1 / spread[word] for word in asked & found)
            for name, found in contents.items()
        }
        best = BY_ID[max(points, key=points.get)]
        return best.facts[0].subject == BY_ID[question.document].facts[0].subject

    lexical, paraphrased = (of_style(style) for style in STYLES[:2])
    assert sum(map(found, lexical)) == len(lexical)
    assert sum(map(found, paraphrased)) < 0.2 * len(paraphrased)


def test_an_unanswerable_question_always_asks_with_a_word_that_no_paper_holds():
    known = set().union(*(words(paper.text) for paper in PAPERS))
    assert len(UNANSWERED) >= 40
    for question in UNANSWERED:
        assert question.answer == UNKNOWN
        assert question.style == "unanswerable"
        assert content(question.text) - known, question.text
    assert not any(UNKNOWN in paper.text for paper in PAPERS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.kind)
def test_what_is_never_told_is_not_merely_told_in_other_words_of_the_same_root(form):
    archive = " ".join(paper.text.lower() for paper in PAPERS)
    for wording in form.never:  # without the slot for the subject
        new = [w for w in content(wording) - {"name", "alias"} if w[:5] not in archive]
        assert new, wording
    assert form.ghost.lower() not in archive


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.kind)
def test_every_slot_of_a_form_is_filled_and_every_value_is_told(form):
    slots = {slot for _, slot, _, _ in string.Formatter().parse(form.body)} - {None}
    assert slots - {"name", "remark"} == {*form.values}
    assert {what for what, _, _ in form.asks} <= {*form.values}
    for first, second in combinations(form.values.values(), 2):
        assert not {*first} & {*second}, "two slots of one paper may not agree"


def test_names_and_their_other_words_are_all_different():
    rows = [row for form in FORMS for row in form.rows()]
    for column in range(3):
        assert len({row[column] for row in rows}) == len(rows)


def test_minutes_and_programmes_are_longer_and_have_headings_and_lists():
    structured = [paper for paper in PAPERS if "\n# " in paper.text]
    assert {paper.kind for paper in structured} == {"minutes", "programme"}
    for paper in structured:
        assert len(re.findall(r"^# ", paper.text, re.M)) == 5
        assert len(re.findall(r"^(?:-|\d\.) ", paper.text, re.M)) >= 4
        assert len(paper.text.split()) > 120


def test_every_fact_is_about_a_name_that_stands_in_its_paper_and_in_no_other_corner():
    names = fact_strings()
    assert names == sorted(set(names))
    for paper in PAPERS:
        for fact in paper.facts:
            assert fact.subject in names
            assert fact.subject in paper.text
    elsewhere = "\n".join(
        [text for text, _ in reviews() + reviews(held_out=True)]
        + pages(harbour_log())
        + [question.text for question in harbour_questions()]
        + [text for cell in possible_texts().values() for text in cell]
    )
    assert not [name for name in names if name.lower() in elsewhere.lower()]


def test_no_paper_is_named_after_another_and_no_subject_stands_in_the_paper_of_another():
    for paper in PAPERS:
        named = {name for name in fact_strings() if name in paper.text}
        assert named == {paper.facts[0].subject}


def test_another_seed_tells_other_facts_about_the_same_things():
    other = documents(seed=1)
    assert [paper.title for paper in other] == [paper.title for paper in PAPERS]
    changed = [a.facts != b.facts for a, b in zip(PAPERS, other, strict=True)]
    assert sum(changed) > 0.9 * len(PAPERS)


def test_printing_a_paper_loses_no_word():
    for paper in PAPERS:
        head, _, shown = str(paper).partition("\n")
        assert shown.split() == paper.text.split()
        assert head == f"[{paper.id} | {paper.office} | {paper.year}]"
        assert max(map(len, shown.split("\n"))) <= 76


def test_the_archive_is_the_same_in_every_process():
    code = (
        "from course_lib.world.documents import *; import hashlib;"
        "text = repr((documents(), document_questions(), fact_strings()));"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    assert len(said_by_processes(code)) == 1
