"""Check of lesson 08: the number that a reply gives as its answer, or none.

Replies are put together around drawn numbers, so what each of them says is known
beforehand. The answers that prove the check are in `tests/answers/`.
"""

import contextlib
import time
from collections.abc import Callable

import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import rewards

Replies = list[tuple[str, int | None]]  # each with what it answers
LONGEST = 1000
SLOW = 0.04  # seconds for one reply; a right reader needs less than a thousandth


@check(
    rewards.read_answer,
    proved="Numbers, signs, capitals and line breaks are read as they should be; guesses, decimals, second answers and "
    "words behind the number are not; and no reply keeps the reader busy.",
)
def read_answer(answer, draw):
    a, b, c = torch.randperm(70, generator=draw)[:3].tolist()
    a, b, c = a + 12, b + 12, c + 12  # two digits each, all different
    said = _said(a, b, c)
    first = next(iter(said))
    _read(answer, first, said[first][:1])
    _quick(answer)
    for why, replies in said.items():
        _read(answer, why, replies)
    _nonsense(answer)
    for why, replies in _refused(a, b, c).items():
        _read(answer, why, replies)
    _long(answer, a)
    _drawn(answer, draw)


# --- one reply


def _shown(reply: str) -> str:
    said = repr(reply)
    return _cut(said)


def _cut(said: str) -> str:
    return said if len(said) < 61 else f"{said[:28]} … {said[-24:]}"


def _read(answer: Callable, why: str, replies: Replies) -> None:
    for reply, want in replies:
        got = _asked(answer, reply)
        kind = "" if got is None or type(got) is int else f", a {type(got).__name__}"
        got_said = "None" if got is None else f"{_cut(repr(got))}{kind}"
        expect(
            got is None or type(got) is int or want is None,
            f"For {_shown(reply)} it returned {got_said}. A whole number (int) is wanted, or None.",
        )
        if got == want:
            continue
        raise CheckFailed(
            f"For {_shown(reply)} it returned {got_said}; {want} is wanted. {why}"
        )


def _asked(answer: Callable, reply: str) -> int | None:
    """What the answer reads; None is an answer here."""
    try:
        return answer(reply)
    except (ValueError, IndexError, AttributeError, TypeError, KeyError) as error:
        raise CheckFailed(
            f"For {_shown(reply)} it stopped with {type(error).__name__}: {error}. Whatever a model writes, the reader gives "
            "a number or None."
        ) from error


def _in_time(answer: Callable, reply: str) -> None:
    """Whatever it reads, it reads it at once."""
    seconds = []
    for _ in range(2):  # of this thread alone; once more, to be sure
        started = time.thread_time()
        with contextlib.suppress(Exception):  # named elsewhere, by a shorter reply
            answer(reply)
        seconds.append(time.thread_time() - started)
        if seconds[-1] <= SLOW:
            return
    raise CheckFailed(
        f"A reply of {len(reply):,} characters, {_shown(reply)}, took {min(seconds):.2f} seconds. Somewhere a pattern tries out "
        "every way to divide the text: a repetition inside a repetition, or several of the same kind side by side."
    )


# --- what is read


def _said(a: int, b: int, c: int) -> dict[str, Replies]:
    steps = f"{b} × {c} = {b * c}. {b * c} + {a} = {b * c + a}. "
    # fmt: off
    return {
        "Such a reply gives its answer.": [(f"Answer: {a}.", a), (f"{steps}Answer: {b}.", b)],
        "Without a full stop it is an answer as well.": [(f"Answer: {a}", a), (f"{steps}Answer: {b}", b)],
        "Only what stands behind \"Answer:\" counts.":
            [(f"{steps}Answer: {c}.", c), (f"{a} or {b}, who knows? Answer: {c}.", c), (f"-{a}. Answer: {c}", c)],
        "0 is a number like any other.": [("Answer: 0.", 0), ("1 - 1 = 0. Answer: 0", 0)],
        "A number may have one digit, or several.": [(f"Answer: {a % 9 + 1}.", a % 9 + 1), (f"Answer: {a}{b}{c}.", int(f"{a}{b}{c}")),
             (f"{steps}Answer: {b * c + a}.", b * c + a)],
        "A minus before the number belongs to it.": [(f"Answer: -{a}.", -a), (f"{b} - {c} = {b - c}. Answer: -{a}", -a), ("Answer: -0.", 0)],
        "The world's own minus, −, is a minus, and so is the dash –.":
            [(f"Answer: −{a}.", -a), (f"Answer: –{a}.", -a), (f"{b} − {c} = −{a}. Answer: −{a}.", -a), (f"Answer: –{a}", -a)],
        "A plus before the number is a sign as well.": [(f"Answer: +{a}.", a)],
        "The word counts in any case.": [(f"answer: {a}.", a), (f"ANSWER: {a}", a), (f"aNsWeR: −{a}.", -a), (f"{steps}answer: {a}.", a)],
        "Spaces and line breaks around do not matter.":
            [(f"  Answer: {a}.  ", a), (f"Answer:{a}.", a), (f"Answer:   {a}.", a), (f"Answer:\n{a}.\n", a), (f"\n\nAnswer: {a}.\n\n", a),
             (f"Answer: \n −{a}", -a)],
        "Steps may stand on lines of their own before it.":
            [(f"{b} × {c} = {b * c}.\n{b * c} + {a} = {b * c + a}.\nAnswer: {b * c + a}.", b * c + a), (f"{b}\n{c}\n\nAnswer:\n{a}", a)],
        "Noughts in front change nothing.": [(f"Answer: 00{a}.", a), (f"Answer: −0{a}", -a)],
    }
    # fmt: on


def _refused(a: int, b: int, c: int) -> dict[str, Replies]:
    def none(*replies: str) -> Replies:
        return [(reply, None) for reply in replies]

    # fmt: off
    return {
        "The last number is no answer unless it is called one.":
            none(f"{a} + {b} = {a + b}.", f"{a}", f"{a}.", f"I think {a}.", f"= {a}", f"−{a}", f": {a}."),
        "The word is \"Answer:\", with its colon, and the number stands behind it.":
            none(f"Answer {a}.", f"{a} Answer:", f"{a}. Answer:", f"Answer is {a}.", f"{a} is the answer.", f"Result: {a}.", f"A: {a}", f"Ans: {a}"),
        "It guesses twice. One number may stand there.":
            none(f"Answer: {a} or {b}.", f"Answer: {a}, {b}", f"Answer: {a} {b}.", f"Answer: {a}/{b}", f"Answer: {a}\n{b}", f"Answer: {a}. {b}.",
                 f"Answer: {a}-{b}", f"Answer: {a} −{b}", f"Answer: {a}.\n\n{b}."),
        "There are two answers. Which one it means, nobody knows.":
            none(f"Answer: {a}. Answer: {b}.", f"Answer: {a}. No. Answer: {b}.", f"Answer: {a}.\nAnswer: {b}.", f"answer: {a}. ANSWER: {b}.",
                 f"Answer: {a}. Answer:", f"Answer: Answer: {a}."),
        "It says \"Answer:\" twice, if with the same number. It is said once.": none(f"Answer: {a}. Answer: {a}.", f"Answer: {a}\nanswer: {a}"),
        "Behind the number, and perhaps one full stop, nothing else may stand.":
            none(f"Answer: {a} apples.", f"Answer: {a}. I hope that helps!", f"Answer: {a} because {b} + {c} = {b + c}.", f"Answer: {a}. Done", f"Answer: {a}%",
                 f"Answer: {a}x", f"Answer: {a}.\nThat was easy.", f"Answer: {a}.\n\n\nx", f"Answer: {a})", f"Answer: {a},", f"Answer: {a}:", f"Answer: {a}, I think.", f"Answer: {a}?"),
        "A decimal is no whole number; nothing is cut off or rounded.":
            none(f"Answer: {a}.5", f"Answer: {a}.5.", f"Answer: {a}.0", f"Answer: {a},5.", f"Answer: 0.{a}", f"Answer: {a}.{b}", f"Answer: .{a}"),
        "Between \"Answer:\" and the number only spaces, line breaks and a sign may stand.":
            none(f"Answer: about {a}.", f"Answer: x = {a}.", f"Answer: not {a}.", f"Answer: {b} + {c} = {b + c}.", f"Answer: ={a}", f"Answer: ({a}",
                 f"Answer: **{a}", f"Answer: ${a}.", f"Answer: #{a}", f"Answer: no\n{a}."),
        "That is not a number written in digits from 0 to 9 alone.":
            none(f"Answer: {a},000.", f"Answer: {a} 000.", f"Answer: {a}_000.", f"Answer: {a}e1.", f"Answer: 0x{a}", f"Answer: 1e{a}", f"Answer: {a}'000"),
        "Only the digits 0 to 9 are read: Python counts those of every script as digits.": none("Answer: १४.", "Answer: ١٤", "Answer: 1४.", "Answer: ４２.", "Answer: −१४"),
        "That is a calculation, or two signs. One sign may stand before the number.":
            none(f"Answer: {a} + {b}.", f"Answer: --{a}.", f"Answer: −-{a}", f"Answer: +-{a}.", f"Answer: {b} × {c}", f"Answer: {a}-", f"Answer: {a}+.", f"Answer: ++{a}", f"Answer: –−{a}"),
        "The sign stands directly before the digits, without a space.": none(f"Answer: - {a}.", f"Answer: − {a}", f"Answer: +\n{a}"),
        "The full stop stands directly behind the digits, without a space.": none(f"Answer: {a} .", f"Answer: {a}\n."),
        "One full stop may stand behind the number, and no more.": none(f"Answer: {a}..", f"Answer: {a}...", f"Answer: {a}.,"),
    }
    # fmt: on


def _nonsense(answer: Callable) -> None:
    """Nothing, or no number at all."""
    for why, replies in {
        "There is no number at all.": ("", " ", "\n", "Answer:", "Answer: ", "Answer: .", "Answer:\n", "answer", ":", "."),
        "A number in words is none that can be compared.": ("Answer: fourteen.", "Answer: ten", "fourteen"),
        "A sign alone is no number.": ("Answer: -", "Answer: −.", "Answer: +", "Answer: –"),
        "There is no number behind \"Answer:\".": ("Answer: none.", "Answer: ?", "Answer: ½", "Answer: ²", "Answer: None", "Answer: True", "Answer: nan", "Answer: inf"),
    }.items():  # fmt: skip
        _read(answer, why, [(reply, None) for reply in replies])


# --- long ones


def _quick(answer: Callable) -> None:
    """Ever longer, so that what is slow is found out before it takes minutes."""
    pieces = ("7", " ", "-", ".", "1 ", "7.", "a", "a ", "2 × 6 = 12. 2 + 12 = 14.\n")
    for n in (*range(6, 30), 40, 60, 80, 120, 200, 320, 600, 900):
        for piece in pieces:
            text = (piece * n)[:n]
            for reply in (f"{text}x", f"Answer: {text}x", f"{text}Answer: 7{text}?"):
                _in_time(answer, reply)
    for n in (1500, 3000, 6000, 12_000, 50_000):
        for piece in (*pieces, "Answer: ", "answer:7", "Answer: 7. "):
            _in_time(answer, (piece * n)[:n] + "Answer: 7x")


def _long(answer: Callable, a: int) -> None:
    said = f"Answer: {a}."
    fits = [said.rjust(LONGEST), said.ljust(LONGEST), said.rjust(LONGEST, "x")]
    fits += [said.rjust(LONGEST - 1), said.rjust(600), said.rjust(300, "\n")]
    why = f"Replies of up to {LONGEST:,} characters are read."
    _read(answer, why, [(reply, a) for reply in fits])
    why = f"{LONGEST:,} *characters* are read; × and − are one each, however many bytes they take."
    _read(answer, why, [(said.rjust(LONGEST, "×"), a), (said.rjust(600, "−"), a)])
    over = [" " + said.rjust(LONGEST), said.ljust(LONGEST + 1), "x" * LONGEST + said]
    over += ["\n" * LONGEST + said, said + " " * LONGEST, "1 + 1 = 2. " * 400 + said]
    why = f"More than {LONGEST:,} characters are not read, spaces and line breaks included."
    _read(answer, why, [(reply, None) for reply in over])


def _drawn(answer: Callable, draw: torch.Generator) -> None:
    """Numbers and forms at random."""
    for _ in range(24):
        size = int(10 ** (6 * torch.rand(1, generator=draw).item()))
        word, gap, sign, end, before = (
            forms[int(torch.randint(len(forms), (1,), generator=draw))]
            for forms in (
                ("Answer:", "answer:", "ANSWER:"), (" ", "", "\n", "  "), ("", "-", "−", "–", "+"), ("", ".", "\n", ".\n", ". "),
                ("", f"{size} + 1 = {size + 1}. ", "Well.\n", "  "),
            )
        )  # fmt: skip
        value = size if sign in ("", "+") else -size
        reply = f"{before}{word}{gap}{sign}{size}{end}"
        _read(answer, "It gives one answer, in the form asked for.", [(reply, value)])
