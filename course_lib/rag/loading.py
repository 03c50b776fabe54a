"""Texts with their origin: files, folders, web pages, PDFs, three corpora at hand.

Whatever is searched later begins here as a `Document`: its text, where it came from,
and facts about it that are not in the text (*metadata*). A file that is no text is
refused in one sentence and never read as something else. Three corpora are always
there: the archive of the toy town, the reference of the Python language, and the
source of this course. Left out: fetching from the web, layout of pages, pictures.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from pydoc_data.topics import topics

from course_lib.rag.markup import html_text
from course_lib.world import documents


@dataclass(frozen=True)
class Document:
    text: str
    source: str = ""  # a path, a title, an id: what an answer cites
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            kind = type(self.text).__name__
            raise ValueError(f"The text of a document is a string, not {kind}.")


# ---- one file


def load_text(path: str | Path, encoding: str = "utf-8") -> Document:
    """A file of plain text as it stands; line ends become \\n, an empty file "".

    Raises FileNotFoundError if it is not there, ValueError if its bytes are no text
    in this encoding or hold a zero byte, as files of programs do.
    """
    path = existing(path)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding  # without its mark
    try:
        text = path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(
            f"{path} is no text in {error.encoding}: byte 0x{byte:02x} at place "
            f"{error.start}. Give its encoding, or leave it out."
        ) from None
    if "\0" in text:
        raise ValueError(f"{path} is no text: it holds a zero byte.")
    return Document(text, str(path))


def load_html(path: str | Path, encoding: str = "utf-8") -> Document:
    """What a reader sees of a web page that was saved; its title as metadata."""
    page = load_text(path, encoding)
    text, title = html_text(page.text)
    return Document(text, page.source, {"title": title} if title else {})


def load_pdf(path: str | Path) -> list[Document]:
    """The text of a PDF: a document for each page that has any, `page` from 1.

    A page that is only a picture has no text: such a file is refused if there is no
    other page. Needs pypdf.
    """
    path = existing(path)
    try:
        pypdf = import_module("pypdf")
    except ImportError:
        raise ImportError("To read a PDF, install pypdf: pip install pypdf") from None
    try:
        texts = [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as error:  # a damaged file fails in many ways
        raise ValueError(f"{path} is no PDF that pypdf can read: {error}.") from None
    pages = [
        Document(text, str(path), {"page": number})
        for number, text in enumerate(texts, 1)
        if text.strip()
    ]
    if not pages:
        raise ValueError(f"{path} holds no text: its pages may be pictures.")
    return pages


def existing(path: str | Path) -> Path:
    """The path, if there is a file."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: load_folder reads those.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return path


# ---- many files

LOADERS: dict[str, Callable[[Path], Document | list[Document]]] = {
    ".txt": load_text,
    ".md": load_text,
    ".rst": load_text,
    ".py": load_text,
    ".html": load_html,
    ".htm": load_html,
    ".pdf": load_pdf,
}


def load_file(path: str | Path) -> list[Document]:
    """The documents of one file, by what its name ends in; none if it is empty."""
    kind = Path(path).suffix.lower()
    if kind not in LOADERS:
        known = ", ".join(LOADERS)
        raise ValueError(f"{path} ends in none of {known}: try load_text.")
    loaded = LOADERS[kind](path)
    found = loaded if isinstance(loaded, list) else [loaded]
    return [document for document in found if document.text.strip()]


def load_folder(
    folder: str | Path, kinds: Iterable[str] = tuple(LOADERS)
) -> list[Document]:
    """Every file of these kinds in a folder and below it, in the order of names.

    kinds: what names end in. Other files, empty ones, and whatever lies behind a
    name that begins with a dot or is __pycache__, are left out. `source` is the path
    from the folder on. One file that cannot be read stops it, with its name.
    """
    folder, kinds = Path(folder), {kind.lower() for kind in kinds}
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if not kinds <= LOADERS.keys():
        unknown = ", ".join(sorted(kinds - LOADERS.keys()))
        raise ValueError(f"Nothing here reads {unknown}, only {', '.join(LOADERS)}.")
    return [
        Document(found.text, path.relative_to(folder).as_posix(), found.metadata)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in kinds and path.is_file()
        if not any(map(hidden, path.relative_to(folder).parts))
        for found in load_file(path)
    ]


def hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


# ---- what is always there


def town_archive(seed: int = 0) -> list[Document]:
    """The papers of Millbrook; kind, office, year and title are metadata.

    >>> paper = town_archive()[0]
    >>> paper.source, paper.metadata["office"], paper.metadata["year"]
    ('notice-01', "Clerk's Office", 1900)
    """
    return [
        Document(
            paper.text,
            paper.id,
            {
                "kind": paper.kind,
                "office": paper.office,
                "year": paper.year,
                "title": paper.title,
            },
        )
        for paper in documents.documents(seed)
    ]


def python_reference() -> list[Document]:
    """The chapters behind Python's own `help("assert")`, by their names.

    >>> [page.source for page in python_reference() if "async" in page.source]
    ['async']
    """
    return [Document(text, name) for name, text in sorted(topics.items())]


def course_source(part: str = "") -> list[Document]:
    """The modules of course_lib, or of one part of it, with their dotted names.

    >>> [page.source for page in course_source("masks")]
    ['course_lib.masks']
    """
    root = Path(str(resources.files("course_lib")))
    below = root / part.replace(".", "/")
    paths = sorted(below.rglob("*.py")) or [below.with_suffix(".py")]
    if not paths[0].is_file():
        raise ValueError(f"course_lib has no part {part!r}.")
    pages = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [
        Document(text, dotted(path.relative_to(root)), {"module": path.stem})
        for path, text in pages
        if text.strip()
    ]


def dotted(path: Path) -> str:
    """How Python calls a module of the library.

    >>> dotted(Path("rag/loading.py"))
    'course_lib.rag.loading'
    """
    names = path.with_suffix("").parts
    return ".".join(["course_lib", *(name for name in names if name != "__init__")])
