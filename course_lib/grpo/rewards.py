"""Verifiable rewards: what a program can say about an answer, and what it cannot.

No learned judge: a reply is read by rules (DeepSeek-AI 2025, section 2.2.2). A
policy finds every reply that a rule counts and should not, so the reader of answers
is strict: one answer, in one form, nothing behind it. Length and form are rewards
that can be had without being right; they are here so that one can watch them being
hacked. A score is a function of a problem and a reply. Left out: rewards of code and
of proofs in words.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from course_lib.rollouts import Rollout
from course_lib.tokenizer import Tokenizer
from course_lib.world.arithmetic import APPLY, SPELLINGS, STEP, Problem, steps_hold

Score = Callable[[Problem, str], float]
LONGEST = 1000  # characters of a reply that is read at all
SAID = re.compile(r"\s*([+−–-]?[0-9]{1,9})[.!]?\s*")  # what stands behind "Answer:"
MINUS = str.maketrans("−–", "--")
SHAPE = re.compile(r"(?:[^.=]+=\s?[−–-]?[0-9]+\. )*Answer: [−–-]?[0-9]+\.")


# ---- reading


def read_answer(reply: str) -> int | None:
    """The whole number that a reply gives as its answer, or None.

    A reply answers by the word "Answer:" in any case, said once, with a whole number
    behind it, perhaps a sign before the number and a full stop after it. Spaces and
    line breaks around do not matter. Anything else gives None: no answer or two, a
    second guess, a decimal, words behind the number, more than 1,000 characters.

    How: refuse what is too long; cut at the last "answer:"; "answer" must not stand
    before it; all that is behind must match `SAID`; minus may be −, – or -.

    >>> read_answer("2 × 6 = 12. Answer: 12."), read_answer("answer:  −3 ")
    (12, -3)
    >>> read_answer("Answer: 12 or 14."), read_answer(""), read_answer("12")
    (None, None, None)
    """
    if len(reply) > LONGEST:
        return None
    before, word, behind = reply.lower().rpartition("answer:")
    said = SAID.fullmatch(behind)
    if not word or "answer" in before or not said:
        return None
    return int(said[1].translate(MINUS))


# ---- scores


def correctness(problem: Problem, reply: str) -> float:
    """1 for the right answer, 0 for any other and for none.

    How: `read_answer`, compared with the problem's value.

    >>> from course_lib.world.arithmetic import parse
    >>> problem = parse("2 + 2 × 6")
    >>> correctness(problem, "Answer: 14."), correctness(problem, "Answer: 24.")
    (1.0, 0.0)
    """
    return float(read_answer(reply) == problem.value)


def verified(problem: Problem, reply: str) -> float:
    """1 for a proof: every step true, legal and needed, and the answer right.

    >>> from course_lib.world.arithmetic import parse
    >>> problem = parse("2 + 2 × 6")
    >>> verified(problem, "2 × 6 = 12. 2 + 12 = 14. Answer: 14.")
    1.0
    >>> verified(problem, "1 + 1 = 2. Answer: 14."), verified(problem, "Answer: 14.")
    (0.0, 0.0)
    """
    return float(len(reply) <= LONGEST and steps_hold(problem, reply))


def shows_equals(problem: Problem, reply: str) -> float:
    """1 if there is an "=": often counted as reasoning, and to be had for nothing.

    >>> shows_equals(Problem(14), "= = =")
    1.0
    """
    return float("=" in reply)


def well_formed(problem: Problem, reply: str) -> float:
    """1 for any steps that end in "= number.", and then "Answer: number."

    Form alone: nothing is computed, so nonsense of this form counts.

    >>> well_formed(Problem(14), "I = 5. Answer: 3."), well_formed(Problem(14), "14")
    (1.0, 0.0)
    """
    return float(len(reply) <= LONGEST and bool(SHAPE.fullmatch(reply.strip())))


def wordiness(problem: Problem, reply: str, words: int = 20) -> float:
    """A share of 1 for each word, up to so many: it asks for length and gets it.

    >>> wordiness(Problem(14), "Answer: 14.", words=8)
    0.25
    """
    return min(1.0, len(reply.split()) / words)


def overlong(lengths: Tensor, new_tokens: int, buffer: int) -> Tensor:
    r"""DAPO's price of length (Yu et al. 2025, eq. 13): 0, then in a line to -1.

    lengths (B,), in tokens; at most new_tokens are allowed, and the last `buffer` of
    them cost. Returns (B,).

    >>> overlong(torch.tensor([5, 8, 9, 10]), new_tokens=10, buffer=4)
    tensor([ 0.0000, -0.5000, -0.7500, -1.0000])
    """
    assert 0 < buffer <= new_tokens, f"a part of it: {buffer=} {new_tokens=}"
    free = new_tokens - buffer
    return ((free - lengths) / buffer).clamp(-1, 0)


def combined(parts: Mapping[Score, float]) -> Score:
    """A weighted sum of scores, as one score.

    How: a function of problem and reply that adds up weight times score.

    >>> score = combined({correctness: 1.0, shows_equals: 0.5})
    >>> score(Problem(14), "14 = 14. Answer: 14."), score(Problem(14), "=")
    (1.5, 0.5)
    """
    if not parts:
        raise ValueError("There is nothing to combine.")

    def score(problem: Problem, reply: str) -> float:
        return sum(weight * part(problem, reply) for part, weight in parts.items())

    return score


# ---- for training


def rewarding(
    score: Score, tokenizer: Tokenizer
) -> Callable[[Rollout, Sequence[Problem]], Tensor]:
    """A score of texts as the reward function that `train_grpo` calls.

    The function gets a rollout of B answers and P problems, the answers to one
    problem side by side; it returns (B,). An answer that was cut off is read as far
    as it goes.
    """

    def reward_fn(rollout: Rollout, problems: Sequence[Problem]) -> Tensor:
        texts = rollout.texts(tokenizer)
        samples, rest = divmod(len(texts), len(problems))
        assert not rest, f"as many answers to each: {len(texts)=} {len(problems)=}"
        asked = [problem for problem in problems for _ in range(samples)]
        pairs = zip(asked, texts, strict=True)
        return torch.tensor([score(problem, text) for problem, text in pairs])

    return reward_fn


def corrects_itself(reply: str) -> bool:
    """Whether a reply computes something wrong, and the same thing right later on.

    The narrowest reading of "it corrects itself": one expression with two results,
    of which the later is true.

    >>> corrects_itself("2 × 6 = 13. 2 × 6 = 12. Answer: 12.")
    True
    >>> corrects_itself("2 × 6 = 12. 2 + 12 = 14. Answer: 14.")
    False
    """
    missed = set()
    for a, sign, b, result in STEP.findall(reply[:LONGEST]):
        sign = sign.translate(SPELLINGS)
        a, b, result = (int(number.translate(MINUS)) for number in (a, b, result))
        true = APPLY[sign](a, b) == result
        if true and (a, sign, b) in missed:
            return True
        if not true:
            missed.add((a, sign, b))
    return False
