"""Sections and functions: whole, named, nothing lost, and what no parser takes falls back to lines."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag.loading import course_source, python_reference, town_archive
from course_lib.rag.splitting import split_documents
from course_lib.rag.structure import headings, split_headings, split_python

PAGE = """Before.

# Birds

## Geese
Eat grass.

```python
# no heading
```

## Ducks ##
Swim.

Money
=====
Coins.

Notes
-----
Paper.
#hashtag
"""

MODULE = '''"""A module."""
import os

# about one
# in two lines
@cache
@other(
    1
)
def one():
    """Doc with
def two(): inside
"""
    return 1


LIMIT = 3
class Thing:
    """A thing."""

    size = 1

    def get(self):
        return self.size

    # set it
    async def put(self):
        self.size = 2


if True:
    def hidden(): pass
'''


def named(text, size=2_000):
    return [(text[a:b], facts) for a, b, facts in split_python(text, size)]


def contiguous(text, spans):
    borders = [(a, b) for a, b, _ in spans]
    return [0, *(b for _, b in borders)] == [*(a for a, _ in borders), len(text)]


# ---- headings


def test_every_section_begins_with_its_heading_and_names_those_above():
    spans = split_headings(PAGE)
    assert contiguous(PAGE, spans)
    assert [facts["section"] for _, _, facts in spans] == [
        "", "Birds", "Birds > Geese", "Birds > Ducks", "Money", "Money > Notes",
    ]  # fmt: skip
    texts = [PAGE[a:b] for a, b, _ in spans]
    assert texts[0] == "Before.\n\n"
    assert texts[2].startswith("## Geese\nEat grass.")
    assert "# no heading" in texts[2]
    assert texts[5] == "Notes\n-----\nPaper.\n#hashtag\n"


def test_a_line_across_the_page_is_no_heading():
    assert headings("Some long words\n---\nmore\n\n***\n") == []
    assert [h.title for h in headings("Short\n-----\n")] == ["Short"]


def test_a_fence_that_never_closes_hides_the_rest():
    assert [h.title for h in headings("# One\n```\n# Two\n")] == ["One"]
    assert [h.title for h in headings("~~~\n# In\n~~~\n# Out\n")] == ["Out"]


def test_a_lower_level_may_be_left_out_and_a_higher_one_ends_it():
    spans = split_headings("# A\n### C\n## B\n# D\n")
    found = [facts["section"] for *_, facts in spans]
    assert found == ["A", "A > C", "A > B", "D"]


@given(some.lists(some.sampled_from(["# A\n", "## B\n", "text\n", "```\n", "T\n===\n", "\n", "\r\n"])).map("".join))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_sections_add_up_to_the_text(text):
    assert contiguous(text, split_headings(text))


def test_a_long_section_is_cut_and_every_part_keeps_its_name():
    text = "# A\n" + "Some words. " * 50 + "\n# B\nend"
    spans = split_headings(text, size=100)
    assert contiguous(text, spans)
    assert {facts["section"] for *_, facts in spans} == {"A", "B"}
    assert all(b - a <= 100 for a, b, _ in spans)


def test_the_corpora_at_hand_have_sections():
    minutes = next(p for p in town_archive() if p.metadata["kind"] == "minutes")
    chunks = split_documents([minutes], split_headings)
    assert "What was decided" in {chunk.metadata["section"] for chunk in chunks}
    assert all(chunk.metadata["year"] == minutes.metadata["year"] for chunk in chunks)
    found = split_documents(python_reference(), split_headings)
    sections = {chunk.metadata["section"] for chunk in found}
    assert 'The "assert" statement' in sections
    assert len(found) > 300


# ---- programs


def test_functions_and_classes_stay_whole_and_say_their_names():
    parts = named(MODULE)
    assert "".join(text for text, _ in parts) == MODULE
    assert [facts["name"] for _, facts in parts] == ["", "one", "", "Thing", ""]
    one = parts[1][0]
    assert one.startswith("# about one\n# in two lines\n@cache\n@other(")
    assert one.endswith("return 1\n")
    assert parts[3][0].startswith("class Thing:")
    assert "hidden" in parts[4][0]


def test_a_class_that_is_too_long_falls_into_its_methods():
    parts = named(MODULE, size=140)
    assert "".join(text for text, _ in parts) == MODULE
    names = [facts["name"] for _, facts in parts]
    assert names == ["", "one", "", "Thing", "Thing.get", "Thing", "Thing.put", ""]
    assert parts[6][0].strip().startswith("# set it\n    async def put")


@pytest.mark.parametrize("source", ["def f(:\n  1\n" * 30, "\0x = 1", "(" * 5_000])
def test_what_is_no_python_falls_back_to_lines(source):
    parts = named(source, size=50)
    assert "".join(text for text, _ in parts) == source
    assert {facts["name"] for _, facts in parts} == {""}
    assert all(len(text) <= 50 for text, _ in parts)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_kind_are_counted_as_python_counts_them(end):
    source = MODULE.replace("\n", end).replace("= 3", "= '\u2028 \x0c'")
    parts = named(source)
    assert "".join(text for text, _ in parts) == source
    assert [facts["name"] for _, facts in parts][1::2] == ["one", "Thing"]
    assert parts[3][0].startswith("class Thing")


def test_empty_sources_have_no_chunks():
    assert split_python("") == []
    assert split_headings("") == []
    assert split_documents([], split_python) == []


def test_every_function_of_the_course_is_found_whole_or_as_lines_that_add_up():
    for page in course_source()[::3]:
        spans = split_python(page.text, size=10**6)
        assert contiguous(page.text, spans)
        wanted = {
            node.name: ast.dump(node)
            for node in ast.parse(page.text).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        found = {f["name"]: page.text[a:b] for a, b, f in spans if f["name"]}
        parsed = {
            name: ast.dump(ast.parse(text).body[0]) for name, text in found.items()
        }
        assert parsed == wanted, page.source
