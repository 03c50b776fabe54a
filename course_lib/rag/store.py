"""A store of chunks: embedded once, found by meaning, filtered, saved and loaded.

What products call a vector database is these few things around an index: the
chunks beside their vectors, an embedding of the question by the *same* embedder, a
filter on metadata, a threshold, two files. A filter is applied before the search
(`index`), a threshold is a cosine (`thresholds`). Left out: a server, many writers
at a time, chunks that change.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from course_lib.rag.dense import Embed
from course_lib.rag.index import FlatIndex, read_index
from course_lib.rag.splitting import Chunk

Where = Mapping[str, object]  # values that metadata must have, or functions of them
VECTORS, CHUNKS = "vectors.safetensors", "chunks.json"
PROBE = "The same embedder says the same of this sentence."


class Hit(NamedTuple):
    chunk: Chunk
    score: float


class Store:
    """Chunks with their vectors; empty at first.

    embed: from texts to vectors (N, D), such as `minilm().embed` or a sentence-
    transformer's `encode`. metric: as of `FlatIndex`.
    """

    def __init__(self, embed: Embed, metric: str = "cosine") -> None:
        self.embed, self.metric = embed, metric
        self.chunks: list[Chunk] = []
        self.index: FlatIndex | None = None  # its width is that of the first vectors

    def __len__(self) -> int:
        return len(self.chunks)

    def add(self, chunks: Iterable[Chunk]) -> int:
        """Embed and keep these chunks behind the others; returns how many there are."""
        chunks = list(chunks)
        if chunks:
            vectors = np.asarray(self.embed([chunk.text for chunk in chunks]))
            if len(vectors) != len(chunks):
                raise ValueError(f"{len(vectors)} vectors for {len(chunks)} chunks.")
            self.index = self.index or FlatIndex(vectors.shape[1], self.metric)
            self.index.add(vectors)
            self.chunks += chunks
        return len(self)

    def search(
        self,
        question: str,
        k: int = 4,
        where: Where | None = None,
        threshold: float | None = None,
    ) -> list[Hit]:
        """The k chunks nearest to a question, best first, or all if there are fewer.

        where: facts that a chunk's metadata must hold, {"year": 1900}; a function
        says which values will do, {"year": lambda year: year > 1900}. threshold: a
        cosine that must be reached. An empty store has no hits.
        """
        if threshold is not None and self.metric != "cosine":
            raise ValueError(f"A threshold is a cosine, not a {self.metric}.")
        if not self.index:
            return []
        query = np.asarray(self.embed([question]))[0]
        scores, places = self.index.search(query, k, kept(self.chunks, where))
        found = zip(places.tolist(), scores.tolist(), strict=True)
        return [
            Hit(self.chunks[place], score)
            for place, score in found
            if threshold is None or score >= threshold
        ]

    # ---- files

    def save(self, folder: str | Path) -> None:
        """Write chunks and vectors into a new folder, or over an older store.

        Metadata must be what JSON can hold: text, numbers, True, False, None, lists.
        """
        folder = Path(folder)
        if self.index is None:
            raise ValueError("An empty store has nothing to save.")
        check_own(folder)
        text = as_json(self.chunks)
        folder.mkdir(parents=True, exist_ok=True)
        probe = np.asarray(self.embed([PROBE]))[0]
        about = {"chunks": digest(text), "probe": json.dumps(probe.tolist())}
        partial = folder / f"{CHUNKS}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, folder / CHUNKS)
        self.index.save(folder / VECTORS, about)

    @classmethod
    def load(cls, folder: str | Path, embed: Embed) -> "Store":
        """Read what `save` wrote; damage and another embedder are refused."""
        folder = Path(folder)
        index, about = read_index(folder / VECTORS)
        if not (folder / CHUNKS).is_file():
            raise FileNotFoundError(f"{folder} lacks its {CHUNKS}.")
        data = (folder / CHUNKS).read_bytes()
        if about.get("chunks") != hashlib.sha256(data).hexdigest():
            raise ValueError(f"{folder / CHUNKS} is not what its vectors say.")
        check_embedder(embed, about, folder)
        store = cls(embed, index.metric)
        store.index = index
        store.chunks = [Chunk(**facts) for facts in json.loads(data)]
        return store


def kept(chunks: Sequence[Chunk], where: Where | None) -> np.ndarray | None:
    """Which chunks a filter keeps: (N,) of True and False; None without a filter.

    A chunk without the fact that is asked for is not kept. A fact that no chunk has
    is refused: it is a slip of the pen.

    >>> papers = [Chunk("a", metadata={"year": year}) for year in (1900, 1920)]
    >>> kept(papers, {"year": 1920}).tolist()
    [False, True]
    """
    if not where or not chunks:
        return None
    known = {name for chunk in chunks for name in chunk.metadata}
    if unknown := sorted(where.keys() - known):
        raise ValueError(
            f"No chunk says anything of {unknown[0]!r}, only of "
            f"{', '.join(sorted(known)) or 'nothing'}."
        )
    return np.array([fits(chunk.metadata, where) for chunk in chunks], dtype=bool)


def fits(metadata: Mapping[str, object], where: Where) -> bool:
    """Whether metadata holds all facts of a filter.

    >>> fits({"year": 1900, "kind": "log"}, {"year": lambda year: year < 1910})
    True
    """
    return all(
        name in metadata
        and (
            wanted(metadata[name])
            if isinstance(wanted, Callable)
            else metadata[name] == wanted
        )
        for name, wanted in where.items()
    )


# ---- files


def as_json(chunks: Sequence[Chunk]) -> str:
    """Chunks as the text of a file; metadata that JSON would change is refused."""
    try:
        text = json.dumps([asdict(chunk) for chunk in chunks], ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"A store's metadata must fit into JSON: {error}.") from None
    return text


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def check_own(folder: Path) -> None:
    """Refuse a folder whose files are not a store's."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the name of a folder.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    ours = {VECTORS, CHUNKS, f"{VECTORS}.partial", f"{CHUNKS}.partial"}
    if foreign := sorted(names - ours):
        raise ValueError(
            f"{folder} holds {foreign[0]}; choose a new or an empty folder."
        )


def check_embedder(embed: Embed, about: Mapping[str, str], folder: Path) -> None:
    """Refuse an embedder that sees a known sentence otherwise than at saving."""
    then, now = np.array(json.loads(about["probe"])), np.asarray(embed([PROBE]))[0]
    if then.shape != now.shape or not np.allclose(then, now, atol=1e-3):
        raise ValueError(
            f"{folder} was made with another embedder: its vectors and those of new "
            "questions could not be compared."
        )
