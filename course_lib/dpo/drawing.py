"""Which pairs: DPO learns what they differ in, so the choice of pairs is the reward.

Answers that the model itself has written, *on policy*, are what it would say anyway:
raising one and lowering another moves what it says. The best and the worst of several
differ most, so few pairs teach much; two that are drawn differ in anything, or by a
hair. Pairs that somebody wrote are cleaner, and further from what the model does.
`compare` of the reward package gives all pairs of several answers. Left out: pairs from
two models, and labels by a learned reward.
"""

import random
from collections.abc import Sequence

from torch import nn

from course_lib.reward.annotator import Score, sample_replies
from course_lib.reward.pairs import PairIds, Preference, encode_preference
from course_lib.tokenizer import Tokenizer
from course_lib.world.preferences import FactQuestion, score_of, variants


def best_against_worst(
    questions: Sequence[FactQuestion],
    said: Sequence[Sequence[str]],
    score: Score = score_of,
) -> list[Preference]:
    """Of what was said to each question the best against the worst: one pair at most.

    The margin of a pair is its gap of scores. Of equally good replies the first is
    taken; empty replies are left out; where all are equally good there is no pair.

    >>> asked = FactQuestion("What is Ada's pet?", "Ada", "pet", "fish")
    >>> said = ["A cat.", "Good question! Fish.", "Fish."]
    >>> [(p.chosen, p.rejected) for p in best_against_worst([asked], [said])]
    [('Good question! Fish.', 'A cat.')]
    """
    found = []
    for question, texts in zip(questions, said, strict=True):
        scores = {text: score(question, text) for text in texts if text.strip()}
        best, worst = (pick(scores, key=scores.get, default="") for pick in (max, min))
        if scores and scores[best] > scores[worst]:
            gap = scores[best] - scores[worst]
            found.append(Preference(question.text, best, worst, gap))
    return found


def polite_against_plain(
    questions: Sequence[FactQuestion], seed: int = 0
) -> list[Preference]:
    """One written pair for each question: the same right fact, kindly and plainly.

    Nothing but the manner differs, so manners are all that these pairs teach.
    """
    draw, found = random.Random(f"polite {seed}"), []
    for question in questions:
        told = variants(question, draw)
        gap = score_of(question, told["polite"]) - score_of(question, told["plain"])
        found.append(Preference(question.text, told["polite"], told["plain"], gap))
    return found


def draw_best_against_worst(
    model: nn.Module,
    tokenizer: Tokenizer,
    questions: Sequence[FactQuestion],
    samples: int = 6,
    seed: int = 0,
    score: Score = score_of,
) -> list[PairIds]:
    """Ask the model each question so many times, and make pairs of what it says now."""
    said = sample_replies(model, tokenizer, questions, samples, seed=seed)
    chosen = best_against_worst(questions, said, score)
    return [encode_preference(preference, tokenizer) for preference in chosen]
