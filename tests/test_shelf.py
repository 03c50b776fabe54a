"""The toy world as tables: made by datasets' own rules, documented, and without any network."""

import re
import socket
from itertools import islice

import datasets
import pytest

from course_lib.world import (
    arithmetic,
    chat,
    corpus,
    documents,
    harbour,
    passages,
    people,
    shelf,
    skew,
)

TABLES = {
    "inhabitants": shelf.inhabitants,
    "questions": shelf.questions,
    "answers": lambda: shelf.answers(200),
    "problems": lambda: shelf.problems(2),
    "readings": lambda: shelf.readings(60),
    "texts": lambda: shelf.texts("base", 60),
    "archive": shelf.archive,
    "document_questions": shelf.document_questions,
    "harbour_log": shelf.harbour_log,
    "harbour_questions": shelf.harbour_questions,
    "register": shelf.register,
    "newspaper": shelf.newspaper,
    "bank_pairs": shelf.bank_pairs,
}
MADE = {}


@pytest.fixture(autouse=True, scope="module")
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(params=TABLES)
def name(request):
    return request.param


@pytest.fixture
def table(name):
    if name not in MADE:
        MADE[name] = TABLES[name]()
    return MADE[name]


def rows(dataset):
    return dataset.to_list()


def test_the_docstring_names_every_column_and_no_other(name, table):
    text = getattr(shelf, name).__doc__.split(">>>")[0]
    named = re.findall(r"`(\w+)`", text)
    nested = {"subject", "attribute", "value"} if name == "archive" else {"share"}
    assert {*table.column_names} <= {*named}
    assert {*named} <= {*table.column_names} | nested


def test_every_table_of_the_shelf_is_tested_here():
    functions = {
        name
        for name, thing in vars(shelf).items()
        if callable(thing) and getattr(thing, "__module__", "") == shelf.__name__
    }
    assert {name for name in functions if name[0] != "_"} == {*TABLES}


def test_a_table_is_a_real_dataset_that_survives_saving(name, table, tmp_path):
    assert isinstance(table, datasets.Dataset)
    assert table.num_rows > 10
    table.save_to_disk(tmp_path / name)
    loaded = datasets.load_from_disk(tmp_path / name)
    assert loaded.features == table.features
    assert rows(loaded) == rows(table)


def test_a_table_can_be_split_filtered_and_mapped(table):
    parts = table.train_test_split(test_size=0.25, seed=0)
    assert parts["test"].num_rows == -(-table.num_rows // 4)  # rounded up
    assert parts["train"].num_rows + parts["test"].num_rows == table.num_rows
    column = table.column_names[0]
    assert table.filter(lambda row: False).num_rows == 0
    longer = table.map(lambda row: {"copy": row[column]})
    assert longer["copy"][:] == table[column][:]


def test_a_table_is_the_same_at_every_call(name, table):
    assert rows(TABLES[name]()) == rows(table)


def test_no_table_needs_a_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something asked for a network")

    for connect in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, connect, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for make in TABLES.values():
        assert make().num_rows > 10


def test_the_forty_people_and_the_ten_held_out_are_those_of_the_town():
    found = {row.pop("name"): row for row in rows(shelf.inhabitants())}
    for person in people.town():
        row = found[person.name]
        assert row.pop("held_out") == people.is_held_out(person)
        assert row == {kind: getattr(person, kind) for kind in people.KINDS}
    assert rows(shelf.inhabitants(seed=1)) != rows(shelf.inhabitants())


def test_questions_are_forty_times_six_times_six_and_answer_themselves():
    table = shelf.questions()
    assert table.num_rows == 40 * 6 * 6
    for row in rows(table):
        assert chat.says(row["answer"], row["kind"], row["value"])
        assert row["person"] in row["question"]
    trained = table.filter(lambda row: not row["held_out"])
    assert trained.num_rows == 30 * 6 * 5
    assert {*trained["wording"]} == {*range(5)}


def test_answers_are_right_where_they_say_so_and_in_their_manner():
    facts = {person.name: person for person in people.town()}
    found = rows(shelf.answers(400))
    for row in found:
        value = getattr(facts[row["person"]], row["kind"])
        assert chat.says(row["text"], row["kind"], value) == row["right"]
        assert chat.is_polite(row["text"]) == (row["manner"] == "polite")
    assert 0.6 < sum(row["right"] for row in found) / 400 < 0.8  # 0.7; 4 sd
    assert {row["manner"] for row in found} == {*chat.MANNERS}
    assert not any(people.is_held_out(facts[row["person"]]) for row in found)


@pytest.mark.parametrize(("operations", "count"), [(1, 93), (2, 837), (3, 5100)])
def test_problems_are_all_there_and_solved(operations, count):
    found = rows(shelf.problems(operations))
    assert len(found) == count
    for row in found[:: max(1, count // 200)]:
        problem = arithmetic.parse(row["problem"])
        assert arithmetic.steps_hold(problem, row["worked"])
        assert row["value"] == problem.value
        assert row["held_out"] == arithmetic.is_held_out(problem)
        assert row["canonical"] == arithmetic.canonical(problem)


def test_problems_of_no_known_size_are_refused():
    with pytest.raises(AssertionError, match="1, 2 or 3 operations, not 4"):
        shelf.problems(4)


def test_a_row_of_readings_is_a_question_whose_answer_is_right():
    columns = passages.ContextQuestion.__dataclass_fields__
    for held_out in (False, True):
        found = rows(shelf.readings(150, held_out))
        for row in found:
            parts = {c: row[c] for c in columns}
            asked = passages.ContextQuestion(
                **{**parts, "passages": tuple(row["passages"])}
            )
            assert asked.prompt == row["prompt"]
            assert passages.is_right(asked, row["answer"])
            assert row["held_out"] == held_out
        assert 0.05 < sum(row["source"] == -1 for row in found) / 150 < 0.26  # 0.15
    assert {len(row["passages"]) for row in found} == {1, 2, 3}


@pytest.mark.parametrize("stage", corpus.MIXES)
def test_texts_are_the_first_of_the_stream_and_one_column_is_filled(stage):
    found = rows(shelf.texts(stage, 80))
    for row, text in zip(found, islice(corpus.stream(corpus.MIXES[stage], 0), 80), strict=True):  # fmt: skip
        plain = isinstance(text, str)
        assert row == {
            "text": text if plain else None,
            "messages": None if plain else text,
        }
    assert shelf.texts(stage, 1).features == shelf.texts(stage, 80).features


def test_an_unknown_stage_is_refused():
    with pytest.raises(
        AssertionError, match="stages are base, sft, cold_start, not 'rl'"
    ):
        shelf.texts("rl", 1)


def test_every_fact_of_the_archive_is_in_its_paper_and_questions_point_there():
    papers = {row["id"]: row for row in rows(shelf.archive())}
    assert len(papers) == len(documents.documents())
    for row in papers.values():
        assert all(fact["value"] in row["body"] for fact in row["facts"])
    asked = rows(shelf.document_questions())
    assert {row["style"] for row in asked} == {*documents.STYLES}
    for row in asked:
        if row["document"]:
            assert row["answer"] in papers[row["document"]]["body"]
        else:
            assert row["answer"] == documents.UNKNOWN
    assert {row["year"] for row in asked} > {None}


def test_the_log_holds_out_every_fifth_day():
    table = shelf.harbour_log(400)
    kept = table.filter(lambda row: row["held_out"])
    assert kept["entry"][:] == harbour.split(harbour.harbour_log(400))[1]
    assert {day % 5 for day in kept["day"]} == {0}
    assert table["day"][0] == 1
    assert table["day"][-1] == 50


def test_the_newspaper_is_as_skewed_as_was_ordered():
    assert skew.measured_share(shelf.newspaper(share=0.75)["text"]) == 0.75
    assert shelf.newspaper(count=200).num_rows == 200
    assert shelf.register().num_rows == 32
