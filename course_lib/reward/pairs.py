"""Preferences: which of two answers is better, from people to tensors.

People find it hard to give points and easy to compare, so they rank a few answers,
and a ranking is taken apart into pairs (Ouyang et al. 2022, section 3.5). A pair
keeps its question: whether "Chess." is a good answer depends on what was asked. A
batch holds both answers of a pair side by side, (B, 2, T), so that whoever cuts it
along its rows never parts them. Left out: chats of several turns, pictures, and the
bookkeeping by which all pairs of one ranking share a batch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.batches import Batches, epoch_of, pad_right, seeded
from course_lib.sft.examples import build_example, shorten
from course_lib.sft.records import text_in
from course_lib.tokenizer import Tokenizer

Ranking = Sequence[Sequence[str]]  # groups of names, the best first


class Preference(NamedTuple):
    """One comparison, as people read it."""

    prompt: str
    chosen: str
    rejected: str
    margin: float = 0.0  # how much better the chosen answer is, 0 = nobody said


class PairIds(NamedTuple):
    """One comparison, as a model reads it."""

    prompt: list[int]  # the marker that opens the reply included
    chosen: list[int]
    rejected: list[int]
    margin: float = 0.0


# ---- from rankings to pairs


def read_ranking(text: str, names: Iterable[str]) -> list[list[str]]:
    """A ranking in signs, "B > A = C": the best first, equals joined by "=".

    names: who may stand in it. Some may be missing: nobody looked at them.

    >>> read_ranking("B > A = C", "ABC")
    [['B'], ['A', 'C']]
    >>> read_ranking("A > D", "ABC")
    Traceback (most recent call last):
    ValueError: The ranking names 'D', but the answers are A, B, C.
    """
    known = list(names)
    groups = [[name.strip() for name in group.split("=")] for group in text.split(">")]
    for name in (name for group in groups for name in group):
        if name not in known:
            raise ValueError(
                f"The ranking names {name!r}, but the answers are {', '.join(known)}."
            )
    check_ranking(groups)
    return groups


def check_ranking(ranking: Ranking) -> None:
    """Refuse a ranking in which somebody stands twice, or nobody stands.

    >>> check_ranking([["A"], ["B", "A"]])
    Traceback (most recent call last):
    ValueError: The ranking names 'A' twice.
    """
    names = [name for group in ranking for name in group]
    if isinstance(ranking, str) or not names:
        raise ValueError(f"A ranking is a list of groups of names, not {ranking!r}.")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"The ranking names {name!r} twice.")


def pairs_from_ranking(ranking: Ranking) -> list[tuple[str, str]]:
    """Every comparison that a ranking decides, as (better, worse).

    ranking: groups of names, the best group first; those of one group are equal, and
    equals make no pair. K names without equals give K (K - 1) / 2 pairs.

    How: each name of a group with each name of every later group.

    >>> pairs_from_ranking([["B"], ["A", "C"]])
    [('B', 'A'), ('B', 'C')]
    """
    check_ranking(ranking)
    return [
        (better, worse)
        for upper, lower in combinations(ranking, 2)
        for better in upper
        for worse in lower
    ]


def preferences(
    prompt: str, answers: Mapping[str, str], ranking: Ranking
) -> list[Preference]:
    """The pairs of a ranking with their texts; answers: name to text.

    >>> preferences("Hi?", {"A": "Go away.", "B": "Hello."}, [["B"], ["A"]])
    [Preference(prompt='Hi?', chosen='Hello.', rejected='Go away.', margin=0.0)]
    """
    for name in (name for group in ranking for name in group):
        if name not in answers:
            raise ValueError(
                f"The ranking names {name!r}, but the answers are {', '.join(answers)}."
            )
    pairs = pairs_from_ranking(ranking)
    found = [Preference(prompt, answers[one], answers[two]) for one, two in pairs]
    for preference in found:
        check_preference(preference)
    return found


# ---- records


def check_preference(preference: Preference) -> None:
    """Refuse a comparison from which nothing can be learned, in one sentence.

    >>> check_preference(Preference("Hi?", "Hello.", "Hello."))
    Traceback (most recent call last):
    ValueError: Both answers to 'Hi?' are 'Hello.': equal answers have no better one.
    """
    prompt, chosen, rejected, margin = preference
    if not prompt.strip():
        raise ValueError("The prompt is empty: no answer can fit it.")
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer.strip():
            raise ValueError(f"The {name} answer to {prompt!r} is empty.")
    if chosen == rejected:
        raise ValueError(
            f"Both answers to {prompt!r} are {chosen!r}: "
            "equal answers have no better one."
        )
    if not 0 <= margin < math.inf:
        raise ValueError(f"A margin is a number from 0 on, not {margin}.")


def from_record(record: Mapping) -> Preference:
    """One line of a data set of preferences: "prompt", "chosen" and "rejected".

    A "margin" may be there as well. A record without its prompt is refused.

    >>> from_record({"chosen": "Hello.", "rejected": "Go away."})
    Traceback (most recent call last):
    ValueError: The record has no 'prompt'; it has chosen, rejected.
    """
    texts = [text_in(record, name) for name in ("prompt", "chosen", "rejected")]
    preference = Preference(*texts, float(record.get("margin", 0.0)))
    check_preference(preference)
    return preference


# ---- tokens and batches


def encode_preference(
    preference: Preference, tokenizer: Tokenizer, context: int | None = None
) -> PairIds:
    """A comparison as ids: the question as a chat, and what both answers say.

    Two texts that differ become ids that differ. context: tokens that a row may
    hold. Where the question leaves too little room for the longer answer, it loses
    its beginning; an answer loses nothing.
    """
    check_preference(preference)
    asked = [{"role": "user", "content": preference.prompt}]
    prompt = tokenizer.encode_chat(asked, reply_next=True)
    answers = [tokenizer.encode(text) for text in preference[1:3]]
    longest = max(len(answer) for answer in answers) + 1  # and the end token
    prompt = shorten(prompt, longest, context, cut=True)
    return PairIds(prompt, *answers, preference.margin)


def collate_pairs(
    pairs: Sequence[PairIds], end: int, pad: int
) -> tuple[Tensor, Tensor]:
    """Comparisons as one block: ids and mask, both (B, 2, T), the chosen first.

    Each row is the prompt, one answer and the end token, padded on the right with
    `pad`. The mask is True where a real token stands, even if `pad` is the end
    token.

    How: one row for each answer by `build_example`, the two of a pair in succession;
    the masks from the rows' lengths, never from `ids != pad`.

    >>> ids, mask = collate_pairs([PairIds([2, 3], [5, 6], [8])], end=1, pad=0)
    >>> ids.tolist(), mask.int().tolist()
    ([[[2, 3, 5, 6, 1], [2, 3, 8, 1, 0]]], [[[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]])
    """
    check_pair_ids(pairs)
    rows = [
        build_example(pair.prompt, answer, end).ids
        for pair in pairs
        for answer in (pair.chosen, pair.rejected)
    ]
    real = [[True] * len(row) for row in rows]
    ids, mask = pad_right(rows, pad), pad_right(real, False)  # (2B, T)
    return ids.unflatten(0, (-1, 2)), mask.unflatten(0, (-1, 2))


def check_pair_ids(pairs: Sequence[PairIds]) -> None:
    """Refuse a batch of nothing, and a pair whose answers have become equal."""
    if not len(pairs):
        raise ValueError("There are no pairs to put into a batch.")
    for number, pair in enumerate(pairs):
        if list(pair.chosen) == list(pair.rejected):
            raise ValueError(
                f"Pair {number} has the same tokens twice: were its answers cut off?"
            )


def pair_batches(
    pairs: Sequence[PairIds],
    batch: int,
    end: int,
    pad: int,
    seed: int = 0,
    margins: bool = False,
) -> Batches:
    """Epochs over comparisons: a function from the step to ids and mask (B, 2, T).

    Every epoch shows each pair once, in a new order; similar lengths share a batch.
    With `margins`, a batch has them as its third tensor, (B,).

    >>> step = pair_batches([PairIds([2, 3], [5], [8], 0.5)], 1, 1, 0, margins=True)
    >>> step(7)[2]
    tensor([0.5000])
    """
    check_pair_ids(pairs)
    longest = [len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in pairs]
    lengths, per_epoch = torch.tensor(longest), math.ceil(len(pairs) / batch)

    @lru_cache(maxsize=2)
    def batches_of(epoch: int) -> list[Tensor]:
        return epoch_of(lengths, batch, seeded(seed, epoch))

    def rows(step: int) -> tuple[Tensor, ...]:
        chosen = [pairs[i] for i in batches_of(step // per_epoch)[step % per_epoch]]
        tensors = collate_pairs(chosen, end, pad)
        if not margins:
            return tensors
        return (*tensors, torch.tensor([pair.margin for pair in chosen]))

    return rows
