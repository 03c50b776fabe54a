"""People who compare, simulated: how sure they are, and what one can learn.

An annotator is given by one number for each comparison: the probability with which
the first answer is preferred. Two sorts are usual. One errs in a fixed share of all
labels, whatever the answers are. The other decides as Bradley and Terry (1952) say:
the closer two answers, the nearer to a coin. From the probabilities follow the best
accuracy and the least loss that any model can have on such labels. Left out:
annotators who tire, who disagree with each other, or who see only one answer.
"""

import random
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from course_lib.exam import replies
from course_lib.reward.losses import check_numbers
from course_lib.reward.pairs import Preference
from course_lib.tokenizer import Tokenizer
from course_lib.world.preferences import FactQuestion, score_of

Score = Callable[[FactQuestion, str], float]


# ---- how sure they are


def preference_probability(
    gaps: Tensor, temperature: float = 0.0, flip: float = 0.0
) -> Tensor:
    r"""How likely the first answer is preferred: $\sigma(\Delta/\tau)$, with flips.

    gaps (N,): score of the first answer minus that of the second. temperature $\tau$
    0: always the better one, and a coin between equals. flip: the share of labels
    that say the opposite of what was meant. Returns (N,).

    >>> preference_probability(torch.tensor([2.0, 0.0, -1.0]), flip=0.2)
    tensor([0.8000, 0.5000, 0.2000])
    """
    if not (temperature >= 0 and 0 <= flip <= 1):
        raise ValueError(
            f"temperature is at least 0 and flip a share, not {temperature} and {flip}."
        )
    check_numbers(gaps, "gap")
    meant = (gaps / temperature).sigmoid() if temperature else (gaps.sign() + 1) / 2
    return meant * (1 - flip) + (1 - meant) * flip


def noise_ceiling(probabilities: Tensor) -> Tensor:
    r"""The best accuracy on these labels that any model can reach, on average.

    probabilities (N,): how likely the annotator prefers the first answer of each
    comparison. Returns a scalar from 0.5 to 1: a model that knows the annotator
    perfectly guesses the likelier label, and the annotator's noise does the rest.

    How: $\frac{1}{N} \sum_i \max(p_i, 1 - p_i)$.

    >>> noise_ceiling(torch.tensor([0.9, 0.3, 0.5]))
    tensor(0.7000)
    """
    check_probabilities(probabilities)
    return torch.maximum(probabilities, 1 - probabilities).mean()


def loss_floor(probabilities: Tensor) -> Tensor:
    r"""The least Bradley–Terry loss on these labels: the entropy of the annotator.

    Reached where the gap of rewards is $\ln p/(1-p)$: with 20 % of flipped labels
    $\ln 4$, and no more. Returns a scalar in nats.

    How: $-\frac{1}{N} \sum_i p_i \ln p_i + (1 - p_i) \ln (1 - p_i)$, with 0 ln 0 =
    0.

    >>> loss_floor(torch.tensor([0.5, 1.0]))
    tensor(0.3466)
    """
    check_probabilities(probabilities)
    other = 1 - probabilities
    entropies = torch.special.entr(probabilities) + torch.special.entr(other)
    return entropies.mean()


def check_probabilities(probabilities: Tensor) -> None:
    """Refuse what is no probability."""
    check_numbers(probabilities, "probability")
    low, high = (float(end) for end in probabilities.aminmax())
    if low < 0 or high > 1:
        raise ValueError(
            f"Probabilities are from 0 to 1, not from {low:g} to {high:g}."
        )


def prefers_first(
    probabilities: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Ask the annotator once about each comparison: True = the first answer.

    >>> prefers_first(torch.tensor([1.0, 0.0]))
    tensor([ True, False])
    """
    check_probabilities(probabilities)
    coins = torch.rand(probabilities.shape, generator=generator)
    return coins.to(probabilities.device) < probabilities


def relabel(
    preferences: Sequence[Preference],
    probabilities: Tensor,
    generator: torch.Generator | None = None,
) -> list[Preference]:
    """The same comparisons as a noisy annotator would label them; no margins.

    probabilities (N,): how likely each label stays as it is.

    >>> relabel([Preference("?", "a", "b", 0.5)], torch.tensor([0.0]))
    [Preference(prompt='?', chosen='b', rejected='a', margin=0.0)]
    """
    assert probabilities.shape == (len(preferences),), (
        f"one each: {probabilities.shape=} {len(preferences)=}"
    )
    kept = prefers_first(probabilities, generator).tolist()
    return [
        Preference(prompt, chosen, rejected)
        if stays
        else Preference(prompt, rejected, chosen)
        for (prompt, chosen, rejected, _), stays in zip(preferences, kept, strict=True)
    ]


# ---- what they compare


def sample_replies(
    model: nn.Module,
    tokenizer: Tokenizer,
    questions: Sequence[FactQuestion],
    samples: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
    new_tokens: int = 60,
) -> list[list[str]]:
    """What the model itself says to each question, so many times: *on policy*.

    A reward model is right about texts of the sort that it was trained on, so it is
    trained on what the policy says.
    """
    texts = [question.text for question in questions for _ in range(samples)]
    said = replies(
        model, tokenizer, texts, new_tokens, temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    return [said[i : i + samples] for i in range(0, len(said), samples)]


def compare(
    questions: Sequence[FactQuestion],
    said: Sequence[Sequence[str]],
    score: Score = score_of,
    pairs_each: int | None = None,
    seed: int = 0,
) -> list[Preference]:
    """Comparisons of what was said to each question, labelled without noise.

    The margin of a pair is its gap of scores. Of a question's pairs, `pairs_each`
    are drawn (None: all); empty and equal replies, and equal scores, make none.
    """
    draw, found = random.Random(f"compare {seed}"), []
    for question, texts in zip(questions, said, strict=True):
        scores = {text: score(question, text) for text in texts if text.strip()}
        pairs = [
            Preference(question.text, better, worse, scores[better] - scores[worse])
            for better, worse in both_ways(list(scores))
            if scores[better] > scores[worse]
        ]
        if pairs_each is not None and pairs_each < len(pairs):
            pairs = draw.sample(pairs, pairs_each)
        found += pairs
    return found


def both_ways(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Every two of the texts, in both orders.

    >>> both_ways("ab")
    [('a', 'b'), ('b', 'a')]
    """
    return [pair for a, b in combinations(texts, 2) for pair in ((a, b), (b, a))]
