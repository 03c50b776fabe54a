"""Check of lesson 10: which marks of an answer are right, which are wrong, which are missing.

Passages and sentences are put together from facts, so it is known beforehand which
passage holds what. The answers that prove the check are in `tests/answers/`.
"""

import random
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import NamedTuple

import torch

from course_lib.checks.asking import expect
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, brief, judge
from course_lib.rag import citations
from course_lib.rag.citations import ENOUGH, MARK, claims, exact, holds, support

FIELDS = ("right", "wrong", "missing")
NAMES = ["Widra", "Lauwen", "Brosan", "Klemund", "Teovin", "Stamar", "Prolo", "Thaizo"]
PLACES = ["Ostrel", "Nimbar", "Grafton", "Velduin"]
JOBS = ["cook", "baker", "sailor", "teacher", "clerk", "smith", "miller", "nurse"]
COLOURS = ["black", "white", "grey", "brown", "red", "spotted"]
PETS = ["cat", "dog", "goat", "goose", "pony", "parrot"]


class Said(NamedTuple):
    """A sentence, and which share of its words each passage has that has its names and numbers."""

    sentence: str
    shares: dict[int, float]  # by the number of the passage, from 1


@check(
    citations.check_citations,
    proved="Marks before and behind the stop, out of order, twice, on passages that are not there; sentences without any; "
    "passages that say nearly the same; and any `enough`.",
)
def check_citations(answer, draw):
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    rows = []
    for case, want in [*_worked(), *(_drawn(luck, n) for n in range(16))]:
        got = _verdicts(asked(answer, case, _stopped), case)
        rows.append(Row(got, want, case))
    judge(rows, _MISTAKES, _same, _otherwise, slack=0.5)


def _worked() -> list[tuple[Case, list[tuple]]]:
    ben = "Ben is a cook."
    two = ["Ada has a cat.", "Ben is a cook."]
    three = ["The bath opens at 10 o'clock. A ticket costs 11 pence.", "Widra works as a cook. Widra has a black cat.", "The cellar costs 3 pence."]  # fmt: skip
    again = [two[1], two[0], f"{ben} He sings.", f"In Ostrel {ben}"]
    # fmt: off
    return [
        (Case(("Ben is a cook [1].", two)), [(ben, (), (1,), (2,))]),
        (Case(("Ben is a cook [2].", two)), [(ben, (2,), (), ())]),
        (Case(("Ben is a cook.", two)), [(ben, (), (), (2,))]),
        (Case(("Ben is a cook [3].", two)), [(ben, (), (3,), (2,))]),  # there is no third passage
        (Case(("Ben is a cook [0].", two)), [(ben, (), (0,), (2,))]),  # and none with the number 0
        (Case(("Ben is a cook [1].", again)), [(ben, (1,), (), ())]),  # one good source is enough
        (Case(("Ben is a cook.", again)), [(ben, (), (), (1, 3, 4))]),
        (Case(("Ben is a cook [4][2][1].", again)), [(ben, (4, 1), (2,), ())]),
        (Case(("Ben is a cook [1]. Ben is a cook [2].", two)), [(ben, (), (1,), (2,)), (ben, (2,), (), ())]),  # said twice
        (Case(("Ben is a cook [2]. Ben is a cook [2].", two)), 2 * [(ben, (2,), (), ())]),  # with the same mark
        (Case(("Ben is a cook [3]. Ben is a cook.", [*two, two[1]])), [(ben, (3,), (), ()), (ben, (), (), (2, 3))]),  # a passage twice
        (Case(("Ben is a cook [2][2].", two)), [(ben, (2,), (), ())]),
        (Case(("Ben is a cook [12][3]. Ben is a cook.", [*[two[0]] * 10, ben, f"{ben} He sings."])),
         [(ben, (12,), (3,), ()), (ben, (), (), (11, 12))]),  # more than nine
        (Case(("", two)), []),
        (Case(("Ben is a cook [1]. Who knows?", [])), [(ben, (), (1,), ()), ("Who knows?", (), (), ())]),
        (Case(("A ticket costs 11 pence [1]. Widra has a cat [3]. Widra works as a cook.", three)),
         [("A ticket costs 11 pence.", (1,), (), ()), ("Widra has a cat.", (), (3,), (2,)), ("Widra works as a cook.", (), (), (2,))]),
        (Case(("A ticket costs 12 pence. [1]", three)), [("A ticket costs 12 pence.", (), (1,), ())]),  # a number beside
    ]
    # fmt: on


def _drawn(luck: random.Random, n: int) -> tuple[Case, list[tuple]]:
    """Some sentences on some passages; marks behind or before the stop, many of them wrong."""
    passages, known = _facts(luck)
    enough = (None, 0.9, 0.4, 0.7, None)[n % 5]
    told, want = [], []
    for said in luck.sample(known, luck.randint(1, 6)):
        held = {i for i, share in said.shares.items() if share >= (enough or ENOUGH)}
        marks = _marks(luck, len(passages), held)
        told.append(_marked(said.sentence, marks, behind=luck.random() < 0.4))
        right = tuple(i for i in marks if i in held)
        wrong = tuple(i for i in marks if i not in held)
        want.append((said.sentence, right, wrong, () if right else tuple(sorted(held))))
    given = (" ".join(told), tuple(passages) if n % 4 == 3 else passages)
    return Case(given, {} if enough is None else {"enough": enough}), want


def _marks(luck: random.Random, count: int, held: set[int]) -> list[int]:
    """None, a right one, several, one that is not there; each once."""
    kind = luck.randrange(6)
    if kind == 0:
        return []
    if kind == 1 and held:
        return luck.sample(sorted(held), luck.randint(1, len(held)))
    if kind == 2:
        return [luck.choice([0, count + 1, count + 30])]
    return luck.sample(range(1, count + 3), luck.randint(1, 4))


def _marked(sentence: str, marks: Sequence[int], behind: bool) -> str:
    written = "".join(f"[{i}]" for i in marks)
    if not marks:
        return sentence
    return f"{sentence} {written}" if behind else f"{sentence[:-1]} {written}."


def _facts(luck: random.Random) -> tuple[list[str], list[Said]]:
    """Passages in a drawn order, and what can be said of them."""
    (a, b, c), (here, there) = luck.sample(NAMES, 3), luck.sample(PLACES, 2)
    (cook, baker), (colour, other) = luck.sample(JOBS, 2), luck.sample(COLOURS, 2)
    pet, (first, second, third) = luck.choice(PETS), luck.sample(range(12, 90), 3)
    texts = {
        "a": f"{a} has a {colour} {pet}. {a} works as a {cook}.",
        "a again": f"{a} works as a {cook} in {here}. The rent is {first} pence.",
        "b": f"{b} has a {colour} {pet}. {b} works as a {baker}.",
        "price": f"A ticket to {there} costs {second} pence.",
        "prices": f"A ticket to {there} costs {second} pence. A ticket to {here} costs {third} pence.",
        "empty": "The weather was fine, as so often.",
    }
    kept = luck.sample([*texts], luck.randint(4, 6))
    number = {name: i for i, name in enumerate(kept, 1)}
    said = {  # of each sentence the shares of its words
        f"{a} has a {colour} {pet}.": {"a": 1},
        f"{a} works as a {cook}.": {"a": 1, "a again": 1},
        f"{b} has a {other} {pet}.": {"b": 2 / 3},
        f"{a} has a {colour} {pet} with a small bell.": {"a": 3 / 5, "a again": 1 / 5},
        f"{b} is known as a good {baker}.": {"b": 2 / 4},
        f"{c} has a {colour} {pet}.": {},
        f"A ticket to {there} costs {second} pence.": {"price": 1, "prices": 1},
        f"A ticket to {there} costs {first} pence.": {},
        f"The rent of {a} is {first} pence.": {"a again": 1},
        f"A ticket to {here} costs {third} pence today.": {"prices": 5 / 6},
    }
    known = [
        Said(text, {number[name]: share for name, share in shares.items() if name in number})
        for text, shares in said.items()
    ]  # fmt: skip
    return [texts[name] for name in kept], known


# --- what comes back --------------------------------------------------------------------------


def _stopped(error: Exception, case: Case) -> str | None:
    kind, answer = type(error).__name__, case.given[0]
    if not answer or not case.given[1]:
        what = "is no sentence" if not answer else "are no passages"
        return f"It stopped with {kind} where there {what}: {error}."
    if isinstance(error, IndexError | KeyError):
        return (
            f"It stopped with {kind}: {error} for the answer {answer!r} and {len(case.given[1])} passages. A model may write a mark for a "
            "passage that is not there: such a mark is wrong."
        )
    return None


def _verdicts(got: object, case: Case) -> list[tuple]:
    """What a list of Verdicts says, or a sentence on what else it is."""
    expect(
        isinstance(got, list | tuple) and not hasattr(got, "sentence"),
        f"It returned a {type(got).__name__}; a list is wanted, a Verdict for each sentence.",
    )
    found = []
    for each in got:
        expect(
            all(hasattr(each, field) for field in ("sentence", *FIELDS)),
            f"The list holds a {type(each).__name__}, {brief(each)}; a Verdict for each sentence is wanted.",
        )
        expect(
            isinstance(each.sentence, str),
            f"The sentence of a Verdict is a {type(each.sentence).__name__}; the text of the sentence is wanted.",
        )
        parts = []
        for field in FIELDS:
            value = getattr(each, field)
            expect(
                isinstance(value, tuple),
                f"{field} of a Verdict is a {type(value).__name__}, {value!r}. A Verdict holds tuples of numbers.",
            )
            expect(
                all(isinstance(x, Integral) and not isinstance(x, bool) for x in value),
                f"{field} of a Verdict is {value!r}. Wanted are numbers of passages, from 1.",
            )
            parts.append(tuple(int(x) for x in value))
        found.append((each.sentence, *parts))
    return found


def _once(row: tuple) -> tuple:
    """A mark that is written twice may count twice, or once; the missing have no order."""
    sentence, right, wrong, missing = row
    return (
        sentence,
        tuple(dict.fromkeys(right)),
        tuple(dict.fromkeys(wrong)),
        {*missing},
    )


def _same(got: Sequence[tuple], want: Sequence[tuple]) -> bool:
    return list(map(_once, got)) == list(map(_once, want))


def _otherwise(row: Row) -> str:
    answer, passages = row.case.given
    enough = row.case.options.get("enough")
    told = f"For the answer {answer!r}" if len(answer) < 90 else "For an answer"
    if len(row.got) != len(row.want):
        return f"{told} the number of verdicts is {len(row.got)}; `claims` finds {len(row.want)} in it, and each has one."
    place = next(i for i, want in enumerate(row.want) if _once(row.got[i]) != _once(want))  # fmt: skip
    got, want = row.got[place], row.want[place]
    if got[0] != want[0]:
        return f"{told} the sentence of a verdict is {got[0]!r}; `claims` calls it {want[0]!r}."
    field = next(i for i in (1, 2, 3) if _once(got)[i] != _once(want)[i])
    held = [i for i, text in enumerate(passages, 1) if holds(text, want[0], enough or ENOUGH)]  # fmt: skip
    cited = claims(answer)[place].cited
    asked_for = "" if enough is None else f" with enough={enough}"
    return (
        f"The sentence {want[0]!r} cites {list(cited)}; of {len(passages)} passages {held} hold it{asked_for}. {FIELDS[field - 1]} is "
        f"{got[field]} in yours; it should be {want[field]}."
    )


# --- mistakes ---------------------------------------------------------------------------------


def _way(judged: Callable, sentences: Callable = claims) -> Callable:
    """judged(cited, holding, count, sentence): right, wrong and missing of one sentence."""

    def way(answer, passages, enough=ENOUGH) -> list[tuple]:
        found = []
        for sentence, cited in sentences(answer):
            held = {n for n, text in enumerate(passages, 1) if holds(text, sentence, enough)}  # fmt: skip
            found.append((sentence, *map(tuple, judged(cited, held, len(passages), sentence))))  # fmt: skip
        return found

    return way


def _held_by(held: Callable, first: int = 1) -> Callable:
    """held(text, sentence, enough, answer): another idea of holding; first: of the numbers."""

    def way(answer, passages, enough=ENOUGH) -> list[tuple]:
        found = []
        for sentence, cited in claims(answer):
            numbers = [n for n, text in enumerate(passages, first) if held(text, sentence, enough, answer)]  # fmt: skip
            found.append((sentence, *_judged(cited, {*numbers})))
        return found

    return way


def _judged(cited: Sequence[int], held: set[int]) -> tuple[tuple, tuple, tuple]:
    right = tuple(n for n in cited if n in held)
    wrong = tuple(n for n in cited if n not in held)
    return right, wrong, () if right else tuple(sorted(held))


def _changed(change: Callable) -> Callable:
    """change(right, wrong, missing, cited, held, count)"""
    return _way(lambda c, h, count, s: change(*_judged(c, h), c, h, count))


def _from_the_end(cited, held, count, sentence) -> tuple:
    """Number 0 is taken for the last passage, as passages[-1] is."""
    meant = {0} if count in held else set()
    right, wrong, _ = _judged(cited, held | meant)
    return right, wrong, () if right else tuple(sorted(held))


def _kept(keep: Callable) -> Callable:
    """keep(sentence, cited, right, wrong, missing)"""

    def way(answer, passages, enough=ENOUGH) -> list[tuple]:
        rows = _way(lambda c, h, *_: _judged(c, h))(answer, passages, enough)
        pairs = zip(rows, claims(answer), strict=True)
        return [row for row, claim in pairs if keep(row[0], claim.cited, *row[1:])]

    return way


def _part(part: slice) -> Callable:
    """Only some of the verdicts, or in another order."""
    return lambda answer, passages, enough=ENOUGH: _way(lambda c, h, *_: _judged(c, h))(answer, passages, enough)[part]  # fmt: skip


def _said_once(answer, passages, enough=ENOUGH) -> list[tuple]:
    return [*{row[0]: row for row in _part(slice(None))(answer, passages, enough)}.values()]  # fmt: skip


def _said_once_with_the_first(answer, passages, enough=ENOUGH) -> list[tuple]:
    found: dict[str, tuple] = {}
    for row in _part(slice(None))(answer, passages, enough):
        found.setdefault(row[0], row)
    return [*found.values()]


def _each_verdict_once(answer, passages, enough=ENOUGH) -> list[tuple]:
    return [*dict.fromkeys(_part(slice(None))(answer, passages, enough))]


def _by_looking(answer, passages, enough=ENOUGH) -> list[tuple]:
    found = []
    for sentence, cited in claims(answer):
        held = {list(passages).index(text) + 1 for text in passages if holds(text, sentence, enough)}  # fmt: skip
        found.append((sentence, *_judged(cited, held)))
    return found


def _together(answer, passages, enough=ENOUGH) -> list[tuple]:
    """The cited passages as one text."""
    found = []
    for sentence, cited in claims(answer):
        held = {n for n, text in enumerate(passages, 1) if holds(text, sentence, enough)}  # fmt: skip
        text = " ".join(passages[n - 1] for n in cited if 1 <= n <= len(passages))
        fine = bool(text) and holds(text, sentence, enough)
        found.append((sentence, cited, (), ()) if fine else (sentence, (), cited, tuple(sorted(held))))  # fmt: skip
    return found


def _as_it_was(answer: str) -> list[tuple]:
    """Sentences with their marks."""
    return [(s[:-1] + "".join(f" [{n}]" for n in c) + s[-1:], c) for s, c in claims(answer)]  # fmt: skip


def _plain(text: str) -> set[str]:
    return {*MARK.sub("", text).lower().replace(".", "").split()}


# fmt: off
_MISTAKES = {
    "Passages are numbered from 0. They are numbered from 1, as in the prompt.": (_held_by(lambda t, s, e, a: holds(t, s, e), first=0),),
    "What is missing is numbered from 0. Passages are numbered from 1, as in the prompt.": (_changed(lambda r, w, m, *_: (r, w, [n - 1 for n in m])),),
    "A mark [0] is taken for the last passage, since places below 0 count from the end. There is no passage 0: such a mark is wrong.": (_way(_from_the_end),),
    "A mark for a passage that is not there counts for nothing. It is wrong.":
        (_changed(lambda r, w, m, c, h, count: (r, [n for n in w if 1 <= n <= count], m)), _changed(lambda r, w, m, c, h, count: (r, [n for n in w if n <= count], m)),
         _changed(lambda r, w, m, c, h, count: (r, [n for n in w if n >= 1], m))),
    "Passages are missing in yours although the sentence has a right mark. One good source is enough.":
        (_changed(lambda r, w, m, c, h, count: (r, w, sorted(h - {*c}))), _changed(lambda r, w, m, c, h, count: (r, w, sorted(h)))),
    "A passage is missing only where nothing is cited in yours. A wrong mark is no source either.": (_changed(lambda r, w, m, c, *_: (r, w, () if c else m)),),
    "A passage is missing only where a wrong mark stands in yours. A sentence without any mark has no source either.": (_changed(lambda r, w, m, c, *_: (r, w, m if w else ())),),
    "Only one passage is missing in yours. All that hold the sentence are.": (_changed(lambda r, w, m, *_: (r, w, m[:1])), _changed(lambda r, w, m, *_: (r, w, m[-1:]))),
    "Nothing is ever missing in yours. A passage is where the sentence has no right mark, though the passage holds it.": (_changed(lambda r, w, m, *_: (r, w, ())),),
    "Every passage that is not cited is missing in yours, whether it holds the sentence or not.":
        (_changed(lambda r, w, m, c, h, count: (r, w, [n for n in range(1, count + 1) if n not in c])),
         _changed(lambda r, w, m, c, h, count: (r, w, [] if r else [n for n in range(1, count + 1) if n not in c]))),
    "`enough` makes no difference. `holds` asks for it.":
        (_held_by(lambda t, s, e, a: holds(t, s)), _held_by(lambda t, s, e, a: holds(t, s, 0.5)), _held_by(lambda t, s, e, a: holds(t, s, 1.0)), _held_by(lambda t, s, e, a: holds(t, s, 0.0))),
    "Without enough it takes another number than the one in the function's first line.": tuple(
        lambda answer, passages, enough=x: _part(slice(None))(answer, passages, enough) for x in (0.5, 0.7, 0.8, 1.0, 0.0)),
    "A sentence that is said twice has one verdict. Each time it is said it has its own marks.": (_said_once, _said_once_with_the_first, _each_verdict_once),
    "A passage that stands there twice has the number of the first one. Count passages; do not look for them.": (_by_looking,),
    "`holds` is asked the wrong way round: first the passage, then the sentence.": (_held_by(lambda t, s, e, a: holds(s, t, e)),),
    "Every sentence is judged by the whole answer. Each stands for itself.":
        (_held_by(lambda t, s, e, a: holds(t, a, e)), _held_by(lambda t, s, e, a: any(holds(t, x, e) for x, _ in claims(a)))),
    "Words alone are compared, so a wrong name or number passes. `holds` looks at those.":
        (_held_by(lambda t, s, e, a: support(s, t) >= e), _held_by(lambda t, s, e, a: support(s, t) > e), _held_by(lambda t, s, e, a: support(s, t) > 0)),
    "Names and numbers alone are compared. `holds` asks for enough of the other words as well.": (_held_by(lambda t, s, e, a: exact(s) <= _plain(t)),),
    "A sentence must stand in the passage word for word. `holds` asks for less.": (_held_by(lambda t, s, e, a: s in t), _held_by(lambda t, s, e, a: s.rstrip(".") in t)),
    "All marks of a sentence are judged together. Each is right or wrong by itself.":
        (_together, _changed(lambda r, w, m, c, *_: (c, (), ()) if r else ((), c, m)), _changed(lambda r, w, m, c, h, count: (c, (), ()) if r and not w else ((), c, sorted(h)))),
    "Only one mark of a sentence is judged. Each is.":
        (_way(lambda c, h, *_: _judged(c[:1], h)), _way(lambda c, h, *_: _judged(c[-1:], h))),
    "Passages that hold a sentence are right whether they are cited or not. Right is what is cited and holds.":
        (_changed(lambda r, w, m, c, h, count: (sorted(h), w, m)), _changed(lambda r, w, m, c, h, count: (sorted(h), w, ())), _changed(lambda r, w, m, c, h, count: (sorted(h), w, sorted(h - {*c})))),
    "Passages that do not hold a sentence are wrong whether they are cited or not. Wrong is what is cited and does not hold.":
        (_changed(lambda r, w, m, c, h, count: (r, [n for n in range(1, count + 1) if n not in h], m)), _changed(lambda r, w, m, c, h, count: (r, [n for n in range(1, count + 1) if n not in c], m)),
         _changed(lambda r, w, m, c, h, count: (r, [n for n in range(1, count + 1) if n not in r], m))),
    "Right and wrong changed places.": (_changed(lambda r, w, m, *_: (w, r, m)),),
    "Wrong and missing changed places.": (_changed(lambda r, w, m, *_: (r, m, w)),),
    "Every mark is right as long as its passage is there. The passage must hold the sentence.":
        (_changed(lambda r, w, m, c, h, count: (x := [n for n in c if 1 <= n <= count], [n for n in c if n not in x], () if x else m)),
         _changed(lambda r, w, m, c, h, count: (x := [n for n in c if 1 <= n <= count], [n for n in c if n not in x], m)), _changed(lambda r, w, m, c, *_: (c, (), () if c else m))),
    "Right marks are called wrong as well. Wrong is only what does not hold.": (_changed(lambda r, w, m, c, *_: (r, c, m)),),
    "Marks are sorted. They stand in the order in which they are cited.": (_changed(lambda r, w, m, *_: (sorted(r), sorted(w), m)), _changed(lambda r, w, m, *_: (sorted(r), w, m)), _changed(lambda r, w, m, *_: (r, sorted(w), m))),
    "The order of marks is turned round.": (_changed(lambda r, w, m, *_: (r[::-1], w[::-1], m)),),
    "Sentences without marks have no verdict. Every sentence has one.": (_kept(lambda s, c, *_: bool(c)),),
    "Sentences about which nothing is to be said have no verdict. Every sentence has one.": (_kept(lambda s, c, r, w, m: bool(r or w or m)), _kept(lambda s, c, r, w, m: bool(c or m))),
    "Sentences whose marks are all right have no verdict. Every sentence has one.": (_kept(lambda s, c, r, w, m: bool(w or m)), _kept(lambda s, c, r, w, m: bool(w or m or not r))),
    "Sentences that no passage holds have no verdict. Every sentence has one.": (_kept(lambda s, c, r, w, m: bool(r or m)), _kept(lambda s, c, r, w, m: bool(r)), _kept(lambda s, c, r, w, m: bool(c and r))),
    "The sentences still have their marks. `claims` gives them without.": (_way(lambda c, h, *_: _judged(c, h), _as_it_was),),
    "The sentences come in another order. They stand as in the answer.": (_part(slice(None, None, -1)),),
    "Only one sentence has a verdict. Every sentence has one.": (_part(slice(1)), _part(slice(-1, None))),
    "Nothing is right, wrong or missing in yours.": (_way(lambda *_: ((), (), ())),),
    "No verdict comes back. Is the list filled?": (_part(slice(0)),),
}
# fmt: on
