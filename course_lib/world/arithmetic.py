"""Sums with brackets and precedence: problems, worked steps, and a strict verifier.

A problem is a small tree, so its value, its worked steps and its canonical form are
exact. `2 + 2 × 6` and `6 × 2 + 2` are one problem written in two ways: splitting by the
text would put one into training and its twin into the test. The verifier is made for
reinforcement learning, where a policy finds every reply that is counted as right and is
not. So it reads what a reply claims, and what it cannot read does not count. Left out:
division, results below zero.
"""

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

APPLY = {
    "+": lambda a, b: a + b,
    "−": lambda a, b: a - b,
    "×": lambda a, b: a * b,
}
RANK = {"+": 1, "−": 1, "×": 2}
SPELLINGS = str.maketrans({"-": "−", "–": "−", "*": "×", "·": "×", "x": "×"})
LONGEST = 100  # characters of an expression: deep brackets must not crash the reader


@dataclass(frozen=True)
class Problem:
    """A number, or an operation on two smaller problems.

    `str` writes it with no more brackets than it needs.
    """

    value: int  # the exact result
    sign: str = ""  # "+", "−", "×", or nothing for a bare number
    left: "Problem | None" = None
    right: "Problem | None" = None

    def __str__(self) -> str:
        if not self.sign:
            return str(self.value)
        return f"{self._side(self.left, 0)} {self.sign} {self._side(self.right, 1)}"

    def _side(self, side: "Problem", on_the_right: int) -> str:
        loose = side.sign and RANK[side.sign] < RANK[self.sign] + on_the_right
        return f"({side})" if loose else str(side)


def combine(sign: str, left: Problem, right: Problem) -> Problem:
    """The problem `left sign right`.

    >>> str(combine("×", combine("+", Problem(2), Problem(2)), Problem(6)))
    '(2 + 2) × 6'
    """
    return Problem(APPLY[sign](left.value, right.value), sign, left, right)


def parse(text: str) -> Problem:
    """Read an expression as people write it: × or *, − or -, brackets, × before + and −.

    Signs of one rank are taken from left to right. A ValueError says what is wrong.

    >>> parse("2 + 2*6").value, parse("(2+2) × 6").value, parse("9 - 3 - 2").value
    (14, 24, 4)
    """
    spaced = text.translate(SPELLINGS)
    tokens = re.findall(r"[0-9]+|[+−×()]", spaced)
    if not tokens or "".join(spaced.split()) != "".join(tokens):
        raise ValueError(
            f"Not an expression of whole numbers, +, −, × and brackets: {text[:LONGEST]!r}"
        )
    if len(text) > LONGEST:
        raise ValueError(
            f"An expression has at most {LONGEST} characters, not {len(text)}"
        )
    problem, rest = _parse_from(tokens, 1)
    if rest:
        raise ValueError(f"Cannot read {text!r}: {rest[0]} was not expected there")
    return problem


def _parse_from(tokens: list[str], rank: int) -> tuple[Problem, list[str]]:
    """Read the longest expression whose signs bind at least as tightly as rank."""
    if rank == 3:
        return _parse_number_or_bracket(tokens)
    left, tokens = _parse_from(tokens, rank + 1)
    while tokens and RANK.get(tokens[0]) == rank:
        right, rest = _parse_from(tokens[1:], rank + 1)
        left, tokens = combine(tokens[0], left, right), rest
    return left, tokens


def _parse_number_or_bracket(tokens: list[str]) -> tuple[Problem, list[str]]:
    if tokens and tokens[0] == "(":
        inside, rest = _parse_from(tokens[1:], 1)
        if rest[:1] == [")"]:
            return inside, rest[1:]
        raise ValueError("A bracket is opened and never closed")
    if tokens and tokens[0].isdigit():
        return Problem(int(tokens[0])), tokens[1:]
    raise ValueError(f"A number is missing before {tokens[0] if tokens else 'the end'}")


def canonical(problem: Problem) -> str:
    """One text for a problem and all its commuted twins.

    >>> canonical(parse("6 × 2 + 2")) == canonical(parse("2 + 2 × 6"))
    True
    """
    if not problem.sign:
        return str(problem.value)
    sides = [canonical(problem.left), canonical(problem.right)]
    if problem.sign != "−":
        sides.sort()
    return f"({sides[0]} {problem.sign} {sides[1]})"


def operations(problem: Problem) -> int:
    """How many signs a problem has."""
    if not problem.sign:
        return 0
    return 1 + operations(problem.left) + operations(problem.right)


def is_held_out(problem: Problem) -> bool:
    """A fifth of the problems with two or more signs, by a hash of the canonical form.

    Whatever contains a held-out problem is held out too: its working would give the
    smaller one away. Single sums and products never are: they are the tables one learns
    by heart.
    """
    if operations(problem) < 2:
        return False
    digest = hashlib.sha256(canonical(problem).encode()).digest()
    return digest[0] < 51 or is_held_out(problem.left) or is_held_out(problem.right)


def steps(problem: Problem) -> Iterator[str]:
    """The working, one operation a step, left before right and inner before outer.

    >>> list(steps(parse("2 + 2 × 6")))
    ['2 × 6 = 12', '2 + 12 = 14']
    """
    if problem.sign:
        yield from steps(problem.left)
        yield from steps(problem.right)
        a, b = problem.left.value, problem.right.value
        yield f"{a} {problem.sign} {b} = {problem.value}"


def left_to_right(problem: Problem) -> int:
    """What a hasty reader gets, who sees neither brackets nor that × comes first.

    >>> left_to_right(parse("2 + 2 × 6"))
    24
    """
    hasty = str(problem).replace("(", "").replace(")", "").split()
    value = int(hasty[0])
    for sign, number in zip(hasty[1::2], hasty[2::2], strict=True):
        value = APPLY[sign](value, int(number))
    return value


# ---- the problems of the course

SINGLE = ("{a} + {b}", "{a} − {b}", "{a} × {b}")
DOUBLE = ("{a} + {b} × {c}", "{a} × {b} + {c}", "({a} + {b}) × {c}", "{a} × {b} − {c}")
TRIPLE = (
    "{a} + {b} × {c} − {d}",
    "{a} × {b} + {c} − {d}",
    "({a} + {b}) × {c} − {d}",
    "{a} × {b} + {c} × {d}",
)
LARGEST = 6  # operands run from 1 to here


def never_below_zero(problem: Problem) -> bool:
    """Whether neither the result nor any step on the way is negative."""
    if not problem.sign:
        return True
    sides = (problem.left, problem.right)
    return problem.value >= 0 and all(never_below_zero(side) for side in sides)


def problems(forms: tuple[str, ...]) -> list[Problem]:
    """Every problem of these forms with operands 1 to 6 that stays at or above zero.

    >>> len(problems(DOUBLE)), len(problems(TRIPLE))
    (837, 5100)
    """
    found = []
    for form in forms:
        letters = [letter for letter in "abcd" if "{" + letter + "}" in form]
        for numbers in product(range(1, LARGEST + 1), repeat=len(letters)):
            operands = dict(zip(letters, numbers, strict=True))
            found.append(parse(form.format(**operands)))
    return [problem for problem in found if never_below_zero(problem)]


def tables() -> list[Problem]:
    """The single operations that a worked step can need: what one learns by heart."""
    lines = {
        line.split(" = ")[0]
        for problem in problems(DOUBLE) + problems(TRIPLE)
        for line in steps(problem)
    }
    return [parse(line) for line in sorted(lines)]


# ---- answers and their verifier


def direct(problem: Problem, value: int | None = None) -> str:
    """Only the result, or another value in its place.

    >>> direct(parse("2 + 2 × 6"))
    'Answer: 14.'
    """
    return f"Answer: {problem.value if value is None else value}."


def worked(problem: Problem) -> str:
    """The steps, then the result.

    >>> worked(parse("2 + 2 × 6"))
    '2 × 6 = 12. 2 + 12 = 14. Answer: 14.'
    """
    return " ".join(f"{step}." for step in steps(problem)) + " " + direct(problem)


def hasty_value(problem: Problem, draw: random.Random) -> int:
    """A plausible wrong result: left to right where that differs, else a near miss.

    A near miss is off by one to three. Never right; never negative where the problem
    is not.

    >>> hasty_value(parse("2 + 2 × 6"), random.Random(0))
    24
    """
    hasty = left_to_right(problem)
    if hasty != problem.value and hasty >= 0:
        return hasty
    too_much = draw.random() < 0.5 or problem.value < 3
    miss = draw.choice((1, 2, 3))
    return problem.value + miss if too_much else problem.value - miss


NUMBER, SIGN = "([-−–]?[0-9]{1,9})", "([-+−–×*·x])"
STEP = re.compile(rf"{NUMBER} ?{SIGN} ?{NUMBER} ?= ?{NUMBER}")
ANSWER = re.compile("answer", re.IGNORECASE)
NAMED = re.compile(rf"(?: is)?:?\s?{NUMBER}[.!]?")  # what follows the word "answer"
LAST = re.compile(rf"(?:^|{SIGN} ?{NUMBER}\)* ?= ?){NUMBER}[.!]?$")  # without that word


def final_answer(reply: str) -> int | None:
    """The one number in which a reply ends, or None.

    A reply answers in one of three ways: its last words are "Answer: 14." (or "The
    answer is 14"), or, where it never says "answer", a last equation "2 + 12 = 14.", or
    it is nothing but a number. None if there are two answers, if anything stands behind
    the number (a second guess, a decimal, a unit), or if it is not written in digits.

    >>> final_answer("2 × 6 = 12. 2 + 12 = 14. Answer: 14.")
    14
    >>> final_answer("Answer: 14. Answer: 24."), final_answer("Answer: 14 or 15.")
    (None, None)
    """
    *before, end = ANSWER.split(reply.strip())
    said = NAMED.fullmatch(end) if before else LAST.search(end)
    return _number(said[said.lastindex]) if said and len(before) < 2 else None


def _number(digits: str) -> int:
    """An int from digits with any of the three minus signs before them."""
    return int(digits.translate({ord("−"): "-", ord("–"): "-"}))


def is_right(problem: Problem, reply: str) -> bool:
    """Whether a reply's final answer is the problem's value.

    >>> is_right(parse("2 + 2 × 6"), "Answer: 14."), is_right(parse("2 + 2"), "four")
    (True, False)
    """
    return final_answer(reply) == problem.value


def steps_hold(problem: Problem, reply: str) -> bool:
    """Whether a reply is a proof: every step true, legal and needed, the answer right.

    A step is legal when it takes one sign of what is left of the problem, with a bare
    number on either side; + and × may swap theirs. The steps may come in any legal
    order and must use up all signs. Before the answer, each sentence that holds a
    number or "=" must be a step as a whole; other words may stand between.

    >>> steps_hold(parse("2 + 2 × 6"), "6 × 2 = 12. 2 + 12 = 14. Answer: 14.")
    True
    >>> steps_hold(parse("2 + 2 × 6"), "2 + 2 = 4. 4 × 6 = 24. Answer: 24.")
    False
    """
    working, left = ANSWER.split(reply)[0], problem
    for sentence in re.split(r"[.;!?\n]", working):
        if any(letter.isnumeric() or letter == "=" for letter in sentence):
            left = after_step(left, sentence.strip())
            if left is None:
                return False
    return not left.sign and is_right(problem, reply)


def after_step(problem: Problem, step: str) -> Problem | None:
    """What is left of a problem after one step; None if the step is false or illegal.

    >>> str(after_step(parse("2 + 2 × 6"), "2 × 6 = 12"))
    '2 + 12'
    """
    read = STEP.fullmatch(step)
    if not read:
        return None
    a, b, result = _number(read[1]), _number(read[3]), _number(read[4])
    sign = read[2].translate(SPELLINGS)
    return _reduce(problem, sign, a, b) if APPLY[sign](a, b) == result else None


def _reduce(problem: Problem, sign: str, a: int, b: int) -> Problem | None:
    """The problem with its first `a sign b` replaced by the value; None without one."""
    if not problem.sign:
        return None
    left, right = problem.left, problem.right
    if not left.sign and not right.sign:
        sides = (left.value, right.value)
        met = sides == (a, b) or (sign != "−" and sides == (b, a))
        return Problem(problem.value) if met and sign == problem.sign else None
    if (done := _reduce(left, sign, a, b)) is not None:
        return Problem(problem.value, problem.sign, done, right)
    if (done := _reduce(right, sign, a, b)) is not None:
        return Problem(problem.value, problem.sign, left, done)
    return None
