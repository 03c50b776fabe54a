"""What a reader sees of a web page: text without scripts, styles and tags.

A page is read from its beginning to its end by the standard library's parser, which
takes broken pages as they are. Headings come out as lines with #, entries of lists
with -, so that a splitter still finds the structure. Left out: tables as tables,
forms, what a script would draw, encodings other than the one that is given.
"""

import re
from html.parser import HTMLParser

UNSEEN = {"script", "style", "template", "noscript", "svg", "title"}
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt",
    "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tr",
    "ul",
}  # fmt: skip
HEADING = re.compile(r"h([1-6])")


def html_text(markup: str) -> tuple[str, str]:
    """The visible text of a page and its title.

    Blocks are set apart by an empty line; white space within them is one space,
    except in <pre>.

    >>> html_text("<title>Bees</title><h2>Why</h2><script>x = 1</script><p>A&amp;B")
    ('## Why\\n\\nA&B', 'Bees')
    """
    reader = Reader()
    reader.feed(markup)
    reader.close()
    reader.end_block()
    return "\n\n".join(reader.blocks), " ".join(reader.title.split())


class Reader(HTMLParser):
    """Collects blocks of text while tags go by."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self.title = ""
        self.line: list[str] = []  # pieces of the block that is being read
        self.mark = ""  # what is written before it: "## ", "- "
        self.unseen: list[str] = []  # open tags whose content nobody sees
        self.kept = 0  # open <pre>: white space counts

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in UNSEEN:
            self.unseen.append(tag)
        if tag in BLOCKS:
            self.end_block()
        if tag == "br":
            self.line.append("\n")
        elif heading := HEADING.fullmatch(tag):
            self.mark = "#" * int(heading[1]) + " "
        elif tag == "li":
            self.mark = "- "
        self.kept += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        if tag not in UNSEEN:  # <svg/> has no content to hide
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.unseen:
            del self.unseen[self.unseen.index(tag) :]
        if tag in BLOCKS:
            self.end_block()
        if tag == "pre":
            self.kept = max(0, self.kept - 1)

    def handle_data(self, data: str) -> None:
        if self.unseen[:1] == ["title"]:
            self.title += data
        elif not self.unseen:
            self.line.append(data if self.kept else re.sub(r"\s+", " ", data))

    def end_block(self) -> None:
        """Put the block that was read to the others, unless it is empty."""
        text = "".join(self.line)
        text = text.strip("\n") if self.kept else tidy(text)
        if text.strip():
            self.blocks.append(self.mark + text)
            self.mark = ""
        self.line = []


def tidy(text: str) -> str:
    """Lines of a block without white space at their ends, and one space within.

    >>> tidy("  a  b \\n c ")
    'a b\\nc'
    """
    return "\n".join(" ".join(line.split()) for line in text.strip().split("\n"))
