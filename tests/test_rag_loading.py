"""Loading: what is text comes in as it is, what is none is refused in a sentence, the corpora are there."""

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from course_lib.rag import loading
from course_lib.rag.loading import (
    Document,
    course_source,
    load_file,
    load_folder,
    load_html,
    load_pdf,
    load_text,
    python_reference,
    town_archive,
)
from course_lib.rag.markup import html_text
from course_lib.world.documents import document_questions, documents

PAGE = """<!doctype html><html><head><title> The  Pond
</title><style>p { color: red }</style><script>if (a < b) { alert("<p>no</p>") }</script>
</head><body><nav><a href="/">Home</a></nav><h1>Birds <em>of</em> the pond</h1>
<p>Geese &amp; ducks<br>eat grass.</p><!-- a remark --><ul><li>one<li>two</ul>
<pre>x = 1
  y = 2</pre><noscript>Turn it on</noscript><template><p>later</p></template>
<p>The end&#33;</body></html>"""


def pdf(*pages):
    """A PDF by hand: one line of text on each page."""
    kids = " ".join(f"{3 + 2 * i} 0 R" for i in range(len(pages)))
    font = "/Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
    ]
    for i, text in enumerate(pages):
        drawn = f"BT /F 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {font} /Contents {4 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    data, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return (data + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}").encode()


# ---- text


def test_a_text_comes_in_as_it_is_and_names_its_source(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffNaïve 日本\r\nline\n".encode())
    assert load_text(path) == Document("Naïve 日本\nline\n", str(path))
    path.write_bytes("naïve".encode("latin-1"))
    assert load_text(path, encoding="latin-1").text == "naïve"


def test_an_empty_file_is_an_empty_text_and_no_document_of_a_folder(tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.md").write_text(" \n\n")
    assert load_text(tmp_path / "empty.txt").text == ""
    assert load_file(tmp_path / "empty.txt") == []
    assert load_folder(tmp_path) == []


def test_what_is_no_text_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc\xff\xfe")
    with pytest.raises(ValueError, match="byte 0xff at place 3"):
        load_text(path)
    path.write_bytes(b"abc\0def")
    with pytest.raises(ValueError, match="zero byte"):
        load_text(path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_text(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="load_folder reads those"):
        load_text(tmp_path)
    with pytest.raises(ValueError, match="is a string, not bytes"):
        Document(b"abc")


def test_a_huge_single_line_comes_in_whole(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("word " * 1_000_000)
    begun = time.process_time()
    assert len(load_text(path).text) == 5_000_000
    assert time.process_time() - begun < 5


# ---- web pages


def test_a_reader_sees_no_scripts_no_styles_and_no_tags():
    text, title = html_text(PAGE)
    assert title == "The Pond"
    assert text.split("\n\n") == [
        "Home",
        "# Birds of the pond",
        "Geese & ducks\neat grass.",
        "- one",
        "- two",
        "x = 1\n  y = 2",
        "The end!",
    ]


def test_a_page_from_a_file_has_its_title_as_metadata(tmp_path):
    path = tmp_path / "pond.html"
    path.write_text(PAGE)
    page = load_html(path)
    assert (page.source, page.metadata) == (str(path), {"title": "The Pond"})
    path.write_text("<p>No title")
    assert load_html(path) == Document("No title", str(path))


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("plain, 1 < 2", "plain, 1 < 2"),
        ("<p>one<p>two</div></p>", "one\n\ntwo"),
        ("<b><i>x</b></i>", "x"),
        ("a<script>1", "a"),
        ("<svg><title>pic</title><text>no</text></svg>yes", "yes"),
        ("<br/>a<hr/>b", "a\n\nb"),
        ("</p></ul>a", "a"),
        ("<td>1</td><td>2</td>", "12"),
        ("&lt;p&gt; &nosuch; &#x1F44B;", "<p> &nosuch; 👋"),
    ],
)
def test_broken_pages_are_read_as_they_are(markup, text):
    assert html_text(markup)[0] == text


def test_a_huge_page_takes_a_moment():
    begun = time.process_time()
    text, _ = html_text("<div>" * 5_000 + "<b>word</b> " * 20_000)
    assert text.count("word") == 20_000
    assert time.process_time() - begun < 10  # 0.5 s measured


@given(some.text(alphabet="<>/pbr !&;-scriptx\n\"'=", max_size=80))
@settings(max_examples=60, deadline=None)
def test_nothing_breaks_the_reader(markup):
    text, _ = html_text(markup)
    assert text == text.strip() or "<pre" in markup


# ---- PDF


def test_every_page_with_text_is_a_document_with_its_number(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("The geese are loud.", "", "The end."))
    found = load_pdf(path)
    assert [(page.text.strip(), page.metadata) for page in found] == [
        ("The geese are loud.", {"page": 1}),
        ("The end.", {"page": 3}),
    ]
    assert load_file(path) == found


def test_damaged_and_silent_pdfs_are_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("", ""))
    with pytest.raises(ValueError, match="may be pictures"):
        load_pdf(path)
    for data in (b"", b"no pdf at all", pdf("text")[:60]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.pdf"):
            load_pdf(path)


def test_without_pypdf_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf("text"))
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(ImportError, match="pip install pypdf"):
        load_pdf(path)


# ---- folders


def test_a_folder_is_read_in_order_and_hidden_things_are_left_out(tmp_path):
    for name in ("b.md", "a.txt", "sub/c.py", "sub/d.HTML", "x.png", ".git/e.txt",
                 "__pycache__/f.py", ".hidden.md"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<p>{name}")
    (tmp_path / "folder.md").mkdir()
    found = load_folder(tmp_path)
    assert [page.source for page in found] == [
        "a.txt",
        "b.md",
        "sub/c.py",
        "sub/d.HTML",
    ]
    assert found[0].text == "<p>a.txt"
    assert found[3].text == "sub/d.HTML"
    assert [page.source for page in load_folder(tmp_path, [".py"])] == ["sub/c.py"]


def test_a_folder_names_the_file_that_cannot_be_read(tmp_path):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"bad\.txt is no text"):
        load_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load_folder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"Nothing here reads \.docx"):
        load_folder(tmp_path, [".docx"])
    with pytest.raises(ValueError, match=r"ends in none of \.txt"):
        load_file(tmp_path / "a.docx")


# ---- what is always there


def test_the_archive_has_all_papers_and_every_answer_is_in_the_text():
    papers = {page.source: page for page in town_archive()}
    assert len(papers) == len(documents())
    for question in document_questions():
        if question.document:
            page = papers[question.document]
            assert question.answer in page.text
            assert question.year in (None, page.metadata["year"])
    assert {"kind", "office", "year", "title"} == page.metadata.keys()
    assert town_archive(1) != town_archive(0)


def test_the_reference_of_python_is_large_and_english():
    pages = python_reference()
    assert len(pages) > 50
    assert sum(len(page.text) for page in pages) > 300_000
    assert "raise" in next(p for p in pages if p.source == "try").text


def test_the_course_reads_its_own_source():
    pages = {page.source: page for page in course_source()}
    assert pages["course_lib.rag.loading"].text == Path(loading.__file__).read_text()
    part = course_source("rag")
    assert {page.source for page in part} == {
        n for n in pages if n.startswith("course_lib.rag")
    }
    assert course_source("sampling.beam")[0].source == "course_lib.sampling.beam"
    with pytest.raises(ValueError, match="no part 'nothing'"):
        course_source("nothing")
