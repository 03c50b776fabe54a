"""Make the course's checkpoints, in order: `make weights`.

    tokenizer -> base -> draft, sft -> reward, cold_start

Each stage is a recipe below. A stage whose file carries today's recipe, tokenizer and
world is left alone, and a stage that was interrupted goes on from its last checkpoint.
When a stage is done, its card is measured on the half-precision file that ships.
"""

import argparse
import hashlib
import json
import random
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from course_lib.batches import Batches, rows_of, shuffled
from course_lib.descent import learning_rate
from course_lib.desk import write_whole
from course_lib.pretrained import checkpoints
from course_lib.reward.annotator import compare, sample_replies
from course_lib.reward.files import KEY
from course_lib.reward.losses import pair_loss
from course_lib.reward.model import RewardModel
from course_lib.reward.pairs import encode_preference, pair_batches
from course_lib.tokenizer import Tokenizer, train_bpe
from course_lib.training import History, LossFunction, reply_loss, train
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus
from course_lib.world.preferences import score_of, variants
from tools import cards

ROOT = Path(__file__).resolve().parents[1]
WORKSHOP = ROOT / "build" / "weights"  # half-done work; git-ignored
VOCABULARY = 768
SAVE_EVERY = 100  # steps
COURSE_MODEL = Config()


@dataclass(frozen=True)
class Recipe:
    """Everything that a stage's weights follow from, and how it goes about it."""

    key: ClassVar[str] = checkpoints.MODEL  # what its file says that it is
    loss: ClassVar[LossFunction] = staticmethod(reply_loss)
    counted: ClassVar[str] = "tokens"  # of which the loss is a mean

    stage: str
    mix: str  # which of corpus.MIXES it reads
    steps: int
    batch: int
    lr: float
    texts: int  # documents, or examples, drawn
    parent: str = ""  # the stage it starts from; "" = from nothing
    config: Config = COURSE_MODEL
    seed: int = 0
    warm_up: int = 100
    decay: float = 0.5  # the share of steps in which the learning rate falls

    def schedule(self, step: int, total: int, peak: float) -> float:
        return learning_rate(step, total, peak, self.warm_up, self.decay)

    def digest(self, spoken: Tokenizer, parent: str) -> str:
        content = json.dumps([asdict(self), spoken.digest, self.source, parent])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def source(self) -> str:
        """A fingerprint of what is read."""
        return corpus.digest(self.mix)

    def beginning(self, spoken: Tokenizer, folder: Path) -> nn.Module:
        """The parent's weights, or random ones."""
        if self.parent:
            return checkpoints.read(folder / f"{self.parent}.safetensors", spoken)
        config = replace(self.config, vocabulary=len(spoken))
        return Transformer(config, generator=torch.Generator().manual_seed(self.seed))

    def batches(self, model: nn.Module, spoken: Tokenizer) -> Batches:
        """Windows of one long text for a model that starts from nothing, else examples."""
        texts = islice(corpus.stream(corpus.MIXES[self.mix], self.seed), self.texts)
        marked = [corpus.marked(text, spoken) for text in texts]
        if self.parent:
            return shuffled(marked, self.batch, spoken.pad, self.seed)
        ids = [token for ids, _ in marked for token in ids]
        kept = torch.tensor([keep for _, mask in marked for keep in mask])
        ids = torch.tensor(ids, dtype=torch.int32)
        return rows_of(ids, self.batch, self.config.context, self.seed, kept)


@dataclass(frozen=True)
class JudgeRecipe(Recipe):
    """Lesson 06's: the parent answers the questions `texts` times each; rules compare.

    The answers are drawn when the stage begins, so `mix` is no mix of texts.
    """

    key: ClassVar[str] = KEY
    loss: ClassVar[LossFunction] = staticmethod(pair_loss)
    counted: ClassVar[str] = "pairs"

    @property
    def source(self) -> str:
        """The questions, and the rules' opinion of each fact in every manner."""
        draw, told = random.Random(0), []
        for asked in cards.fact_questions_of(held_out=False):
            told += [
                (asked, t, score_of(asked, t)) for t in variants(asked, draw).values()
            ]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def beginning(self, spoken: Tokenizer, folder: Path) -> nn.Module:
        body = super().beginning(spoken, folder)
        return RewardModel(body, torch.Generator().manual_seed(self.seed))

    def batches(self, model: nn.Module, spoken: Tokenizer) -> Batches:
        """Pairs of what the body says before it is trained."""
        asked = cards.fact_questions_of(held_out=False)
        said = sample_replies(model.body, spoken, asked, self.texts, seed=self.seed + 1)
        pairs = [
            encode_preference(p, spoken, model.config.context)
            for p in compare(asked, said)
        ]
        return pair_batches(pairs, self.batch, spoken.end, spoken.pad, self.seed)


RECIPES = (
    Recipe("base", "base", steps=7000, batch=8, lr=5e-3, texts=200_000),
    Recipe(
        "draft",
        "base",
        steps=2000,
        batch=8,
        lr=5e-3,
        texts=100_000,
        config=replace(COURSE_MODEL, layers=1),
    ),
    Recipe("sft", "sft", steps=1000, batch=24, lr=1.5e-3, parent="base", texts=24_000),
    JudgeRecipe(
        "reward",
        "comparisons",
        steps=110,
        batch=32,
        lr=6e-4,
        parent="sft",
        texts=4,
        warm_up=10,
    ),
    Recipe(
        "cold_start",
        "cold_start",
        steps=800,
        batch=32,
        lr=1e-3,
        parent="base",
        texts=20_000,
    ),
)


# ---- the tokenizer


def make_tokenizer(folder: Path) -> Tokenizer:
    """Byte pairs of a sample of what the base model reads."""
    path = folder / "tokenizer.json"
    folder.mkdir(parents=True, exist_ok=True)
    sample = islice(corpus.stream(corpus.BASE, seed=99), 12_000)
    texts = [part for text in sample for part in parts(text)]
    spoken = train_bpe(texts, VOCABULARY)
    spoken.save(path)
    return spoken


def parts(text: str | corpus.Chat) -> list[str]:
    return [text] if isinstance(text, str) else [message["content"] for message in text]


# ---- one stage


def make(recipe: Recipe, spoken: Tokenizer, folder: Path, workshop: Path) -> None:
    """Train one stage unless its file is up to date; go on where an earlier call was stopped."""
    path = folder / f"{recipe.stage}.safetensors"
    digest = recipe.digest(spoken, made_with(recipe.parent, folder))
    if made_with(recipe.stage, folder) == digest:
        print(f"{recipe.stage}: up to date", flush=True)
        return
    model = recipe.beginning(spoken, folder)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{recipe.stage}: {parameters:,} parameters", flush=True)
    history = learn(recipe, model, spoken, workshop / f"{recipe.stage}-{digest}.pt")
    checkpoints.write(path, model, spoken, recipe.key)
    figures = cards.measure(recipe.stage, folder)
    about = {
        "stage": recipe.stage,
        "what": cards.STAGES[recipe.stage],
        "parameters": parameters,
        "recipe": {**asdict(recipe), "digest": digest},
        "training": {
            f"{recipe.counted} that counted": sum(history.tokens),
            "seconds": round(sum(history.seconds)),
            "loss at the end": round(history.mean(100), 3),
        },
        "figures": figures,
    }
    write_whole(cards.path(recipe.stage, folder), json.dumps(about, indent=1) + "\n")
    print(cards.as_text(about), flush=True)


def learn(
    recipe: Recipe, model: nn.Module, spoken: Tokenizer, checkpoint: Path | None = None
) -> History:
    """Train a model in place as the recipe says."""
    return train(
        model, recipe.batches(model, spoken), recipe.loss, recipe.steps, recipe.lr,
        schedule=recipe.schedule, checkpoint=checkpoint, save_every=SAVE_EVERY,
    )  # fmt: skip


def made_with(stage: str, folder: Path) -> str:
    """The digest of the recipe that a stage's file was made with; "" without one."""
    complete = (folder / f"{stage}.safetensors").exists() and cards.path(
        stage, folder
    ).exists()
    return checkpoints.card(stage, folder)["recipe"]["digest"] if complete else ""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument(
        "--into", type=Path, default=checkpoints.HERE, help="folder of the weights"
    )
    ask.add_argument(
        "--workshop", type=Path, default=WORKSHOP, help="folder of half-done work"
    )
    ask.add_argument(
        "--anew", action="store_true", help="forget every file and begin again"
    )
    ask.add_argument(
        "--seed", type=int, default=0, help="for trials; the course ships seed 0"
    )
    asked = ask.parse_args()
    if asked.anew:
        for path in [*asked.into.glob("*.safetensors"), *asked.workshop.glob("*.pt")]:
            path.unlink()
    began = time.time()
    spoken = make_tokenizer(asked.into)
    for recipe in RECIPES:
        make(replace(recipe, seed=asked.seed), spoken, asked.into, asked.workshop)
    if asked.into == checkpoints.HERE:
        write_whole(cards.PAGE, cards.page())
    print(
        f"all stages: {(time.time() - began) / 60:.1f} minutes, {size_of(asked.into) / 1e6:.1f} MB"
    )


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    main()
