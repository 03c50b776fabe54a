"""Check of lesson 10: a prompt of whole passages that fits.

Prompts are written out and measured here, passage by passage. The answers that prove
the check are in `tests/answers/`.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from numbers import Integral

import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.checks.rag.told import Case, Row, asked, judge
from course_lib.rag import prompts
from course_lib.rag.prompts import COURSE, PLAIN, Form, Length

Texts = Sequence[str]
Shown = tuple[str, list[int]]
FACTS = Form("Facts.\n", "({n}) {text};", "\n", "\nNow say: {question} ")


def words(text: str) -> int:
    return len(text.split())


def words_in_a_frame(text: str) -> int:
    """What a chat adds to every prompt counts once."""
    return 9 + len(text.split())


def different_words(text: str) -> int:
    return len({*text.split()})


@check(
    prompts.build_prompt,
    proved="Budgets that are met exactly, or missed by one; long passages before short ones, equal ones, none; any form, and "
    "any way to measure.",
    also=(prompts.stuff,),
)
def build_prompt(answer, draw):
    cases = list(_cases(draw))
    rows = []
    for case in cases:
        got = _prompt(asked(answer, case, _stopped), case)
        rows.append(Row(got, _slowly(*case.given, **case.options), case))
    judge(rows, _MISTAKES, lambda a, b: a == b, _otherwise, slack=0.5)
    _too_long(answer, cases)


def _cases(draw: torch.Generator) -> Iterator[Case]:
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    course = {"form": COURSE}
    yield Case(("Who?", ["A long passage.", "Ada."], 14), course)
    yield Case(("Who?", ["Ada.", "Ben."], 23), course)  # both, exactly
    yield Case(("Who?", ["Ada.", "Ben."], 22), course)
    yield Case(("Q?", ["ab", "abcd", "c"], 15), course)  # the middle one is too long
    yield Case(("Who?", [], 200))
    yield Case(("Who?", ["Ada has a cat."], len(PLAIN.write("Who?", []))))
    yield Case(("Who?", ("Ada.", "Ada.", "Ben."), 30), course)  # equal ones
    yield Case(("Who?", [" Ada. ", "Ben.\n"], 25), course)  # white space counts
    two = ["one two three", "four", "five six"]
    yield Case(("Who?", two, 7), course | {"length": words})
    yield Case(("Who?", two, 18), {"length": words_in_a_frame, "form": FACTS})
    yield _far_behind(luck, len)
    yield _far_behind(luck, words)
    for n in range(18):
        yield _drawn(luck, n)


def _far_behind(luck: random.Random, length: Length) -> Case:
    """Short passages, and between them many that are too long."""
    lengths = [2, 30, 31, 30, 32, 33, 30, 1, 30, 30, 35, 3, 2, 30, 1, 1, 30, 2]
    texts = [_sentence(luck, count) for count in lengths]
    short = [place for place, count in enumerate(lengths) if count < 9]
    budget = length(_written("Who has a cat?", texts, short, COURSE))
    options = {"form": COURSE} | ({} if length is len else {"length": length})
    return Case(("Who has a cat?", texts, budget), options)


def _drawn(luck: random.Random, n: int) -> Case:
    """A budget that some of the passages meet exactly, or miss by one."""
    form = (PLAIN, COURSE, FACTS)[n % 3]
    length = (len, words, different_words, words_in_a_frame)[n % 4]
    question = luck.choice(["Who has a cat?", "Where does Widra live now?", "Why?"])
    texts = [_sentence(luck, luck.choice([1, 2, 3, 5, 9, 14])) for _ in range(luck.randint(3, 7))]  # fmt: skip
    if n % 5 == 4:
        texts = texts[:4] + texts[:1] + [_sentence(luck, 1) for _ in range(7)]
    some = sorted(luck.sample(range(len(texts)), luck.randint(1, len(texts) - 1)))
    meant = length(_written(question, texts, some, form)) - (n % 3 == 1)
    budget = max(meant, length(_written(question, texts, [], form)))
    options = {} if form is PLAIN else {"form": form}
    if length is not len:
        options["length"] = length
    return Case((question, tuple(texts) if n % 4 == 1 else texts, budget), options)


def _sentence(luck: random.Random, count: int) -> str:
    said = luck.choices(["ox", "the", "lamp", "garden", "of", "Widra", "seventeen", "it"], k=count)  # fmt: skip
    return " ".join(said).capitalize() + "."


def _written(question: str, texts: Texts, places: Sequence[int], form: Form) -> str:
    """Word for word, with the form's own pieces."""
    shown = []
    for place in places:
        numbered = form.passage.replace("{n}", str(len(shown) + 1))
        shown.append(numbered.replace("{text}", texts[place]))
    end = form.end.replace("{question}", question)
    return (form.begin + form.between.join(shown) + end).strip()


def _slowly(
    question: str, texts: Texts, budget: int, length: Length = len, form: Form = PLAIN
) -> Shown:
    places = _chosen(question, texts, budget, length, form, range(len(texts)))
    return _written(question, texts, places, form), places


def _chosen(question, texts, budget, length, form, order) -> list[int]:
    """Those that fit, tried in this order."""
    places: list[int] = []
    for place in order:
        if length(_written(question, texts, [*places, place], form)) <= budget:
            places.append(place)
    return places


# --- what comes back --------------------------------------------------------------------------


def _stopped(error: Exception, case: Case) -> str | None:
    question, texts, budget = case.given
    length, form = case.options.get("length", len), case.options.get("form", PLAIN)
    least = length(_written(question, texts, [], form))
    kind = type(error).__name__
    if isinstance(error, ValueError) and least <= budget:
        return (
            f"It stopped with ValueError: {error} Without any passage this prompt measures {least}, which is not more than {budget}: "
            "it fits. `length` measures it, and `form` writes it."
        )
    if not texts:
        return f"It stopped with {kind} where there are no passages. The prompt asks all the same."
    if isinstance(error, AttributeError) and "'tuple'" in str(error):
        return (
            "It stopped where texts is a tuple. A tuple may come in as well as a list."
        )
    return None


def _prompt(got: object, case: Case) -> Shown:
    """Its text and its places, or a sentence on what else it is."""
    expect(
        not isinstance(got, str),
        "It returned the text alone. A Prompt is wanted: the text, and the places of the passages that it shows.",
    )
    expect(
        hasattr(got, "text") and hasattr(got, "places"),
        f"It returned a {type(got).__name__}; a Prompt(text, places) is wanted.",
    )
    text, places = got.text, got.places
    expect(
        isinstance(text, str),
        f"The text of its Prompt is a {type(text).__name__}. First the text, a str, then the places.",
    )
    if hasattr(places, "tolist"):
        places = places.tolist()
    expect(
        isinstance(places, list | tuple)
        and all(isinstance(x, Integral) and not isinstance(x, bool) for x in places),
        f"For {_told(case)} the places are {places!r}. A list of whole numbers is wanted.",
    )
    return text, [int(place) for place in places]


def _told(case: Case) -> str:
    """The case without its passages' text, if that is long."""
    question, texts, budget = case.given
    length, form = case.options.get("length", len), case.options.get("form", PLAIN)
    names = {COURSE: "COURSE", PLAIN: "PLAIN", FACTS: "one of its own"}
    measured = "len" if length is len else f"a length that counts {length.__name__.replace('_', ' ')}"  # fmt: skip
    said = f"the passages {list(texts)}" if len(str(texts)) < 120 else f"{len(texts)} passages"  # fmt: skip
    return f"{question!r}, {said}, budget={budget}, {measured} and the form {names[form]}"  # fmt: skip


def _otherwise(row: Row) -> str:
    (text, places), (want, right) = row.got, row.want
    question, texts, budget = row.case.given
    length, form = row.case.options.get("length", len), row.case.options.get("form", PLAIN)  # fmt: skip
    told = f"For {_told(row.case)}"
    if any(not 0 <= place < len(texts) for place in places):
        return (
            f"{told} the places are {places}. They lie between 0 and {len(texts) - 1}."
        )
    measured = length(text)
    if measured > budget:
        return f"{told} the prompt measures {measured}, which is more than {budget}."
    if text != _written(question, texts, places, form):
        if text == want:
            return f"{told} the text is right, and the places are {places}. Which of `texts` are shown? {right} are."
        return f"{told} the text is {_short(text)}, and the places are {places}: `form.write` with these passages writes something else."
    if right and not places:
        return f"{told} no passage is shown, and {right} would fit."
    return f"{told} passages {places} are shown; {right} would be, if each that fits is taken, the best first."


def _short(text: str) -> str:
    said = repr(text)
    return said if len(said) < 100 else f"{said[:60]} … {said[-30:]}"


def _too_long(answer: Callable, cases: Sequence[Case]) -> None:
    """A question that does not fit by itself is refused."""
    for case in (cases[0], cases[4], cases[7], cases[-1]):
        question, texts, _ = case.given
        length, form = case.options.get("length", len), case.options.get("form", PLAIN)
        least = length(_written(question, texts, [], form))
        tight = Case((question, texts, least - 1), case.options)
        try:
            tight.put_to(answer)
        except ValueError:
            continue
        except Exception as error:
            raise CheckFailed(
                f"Where the prompt without any passage measures more than the budget, it stopped with {type(error).__name__}; a ValueError "
                "says so."
            ) from error
        raise CheckFailed(
            f"For {_told(tight)} the prompt without any passage measures {least}, and something came back. That is refused with a "
            "ValueError, as the exercise's first lines did."
        )


# --- mistakes ---------------------------------------------------------------------------------


def _way(
    choose: Callable, written: Callable = _written, places: Callable | None = None
) -> Callable:
    """choose(question, texts, budget, length, form): places; then how they are written, and named."""

    def way(question, texts, budget, length=len, form=PLAIN) -> Shown:
        found = choose(question, texts, budget, length, form)
        text = written(question, texts, found, form)
        return text, list(places(found, texts)) if places else found

    return way


def _in_order(order: Callable) -> Callable:
    return lambda q, t, b, length, form: _chosen(q, t, b, length, form, order(t))


_right = _in_order(lambda texts: range(len(texts)))


def _until_one_is_too_long(q, texts, budget, length, form) -> list[int]:
    fitting = 0
    while fitting < len(texts):
        if length(_written(q, texts, range(fitting + 1), form)) > budget:
            break
        fitting += 1
    return [*range(fitting)]


def _taken_if(fits: Callable) -> Callable:
    """fits(question, texts, places, budget, length, form)"""

    def choose(q, texts, budget, length, form) -> list[int]:
        places: list[int] = []
        for place in range(len(texts)):
            if fits(q, texts, [*places, place], budget, length, form):
                places.append(place)
        return places

    return choose


def _measured(measure: Callable) -> Callable:
    """measure(question, texts, places, length, form)"""
    return _taken_if(lambda q, t, p, b, length, form: measure(q, t, p, length, form) <= b)  # fmt: skip


def _pieces(q: str, texts: Texts, places: Sequence[int], length: Length, form: Form) -> int:  # fmt: skip
    """The lengths of the parts, added up."""
    parts = [
        form.passage.replace("{n}", str(n)).replace("{text}", texts[place])
        for n, place in enumerate(places, 1)
    ]
    return length(_written(q, texts, [], form)) + sum(map(length, parts))


def _between(q, texts, places, length, form) -> int:
    return _pieces(q, texts, places, length, form) + length(form.between) * (len(places) - 1)  # fmt: skip


def _more_by_each(q, texts, places, length, form) -> int:
    """What each makes the empty prompt longer, added up."""
    least = length(_written(q, texts, [], form))
    return least + sum(length(_written(q, texts, [p], form)) - least for p in places)


def _bare(q, texts, places, length, form) -> int:
    return sum(length(texts[place]) for place in places)


def _most_passages(q, texts, budget, length, form) -> list[int]:
    if len(texts) > 12:  # too many to try; the short ones are the most there
        return _right(q, texts, budget, length, form)
    for count in range(len(texts), 0, -1):
        for places in combinations(range(len(texts)), count):
            if length(_written(q, texts, places, form)) <= budget:
                return [*places]
    return []


def _halved(question, texts, budget, length=len, form=PLAIN) -> Shown:
    """The passage that does not fit is cut off where the budget ends."""
    shown, places = [], []
    for place, text in enumerate(texts):
        while text and length(_written(question, [*shown, text], range(len(shown) + 1), form)) > budget:  # fmt: skip
            text = text[:-1]
        if text:
            shown.append(text)
            places.append(place)
        if text != texts[place]:
            break
    return _written(question, shown, range(len(shown)), form), places


def _cut_off(question, texts, budget, length=len, form=PLAIN) -> Shown:
    return _written(question, texts, range(len(texts)), form)[:budget], [*range(len(texts))]  # fmt: skip


def _old_numbers(question, texts, places, form) -> str:
    shown = [form.passage.replace("{n}", str(p + 1)).replace("{text}", texts[p]) for p in places]  # fmt: skip
    end = form.end.replace("{question}", question)
    return (form.begin + form.between.join(shown) + end).strip()


def _numbers_from_0(question, texts, places, form) -> str:
    shown = [form.passage.replace("{n}", str(n)).replace("{text}", texts[p]) for n, p in enumerate(places)]  # fmt: skip
    return (form.begin + form.between.join(shown) + form.end.replace("{question}", question)).strip()  # fmt: skip


def _by_length(texts: Texts) -> list[int]:
    return sorted(range(len(texts)), key=lambda place: len(texts[place]))


def _without_copies(texts: Texts) -> list[int]:
    return [place for place, text in enumerate(texts) if text not in texts[:place]]


# fmt: off
_MISTAKES = {
    "The first passage that does not fit ends it in yours. A shorter one behind it may still fit.":
        (_way(_until_one_is_too_long), _way(_taken_if(lambda q, t, p, b, length, form: length(_written(q, t, range(p[-1] + 1), form)) <= b))),
    "A prompt that measures exactly the budget is thought too long. The budget is the most that it may measure.":
        (_way(_taken_if(lambda q, t, p, b, length, form: length(_written(q, t, p, form)) < b)),
         _way(_taken_if(lambda q, t, p, b, length, form: length(_written(q, t, p, form)) + 1 < b))),
    "Characters are counted whatever `length` says. Measure with `length`.":
        (_way(_taken_if(lambda q, t, p, b, length, form: len(_written(q, t, p, form)) <= b)),
         _way(_measured(lambda q, t, p, length, form: _pieces(q, t, p, len, form))), _way(_measured(lambda q, t, p, length, form: _bare(q, t, p, len, form)))),
    "The numbers of places in `texts` are written before the passages. Those that are shown are numbered from 1 on, without gaps.": (_way(_right, _old_numbers),),
    "The passages are numbered from 0. `form.write` numbers them from 1.": (_way(_right, _numbers_from_0),),
    "The places are those in the prompt. Wanted are their places in `texts`, by which a passage is found again.":
        (_way(_right, places=lambda p, t: range(len(p))), _way(_right, places=lambda p, t: range(1, len(p) + 1))),
    "The places are counted from 1. The first of `texts` has place 0.": (_way(_right, places=lambda p, t: [x + 1 for x in p]),),
    "The places are those of the passages left out.": (_way(_right, places=lambda p, t: [x for x in range(len(t)) if x not in p]),),
    "The places are those of all passages. Wanted are those that are shown.": (_way(_right, places=lambda p, t: range(len(t))),),
    "A passage that stands there twice has the place of the first one twice. Count places; do not look for texts.":
        (_way(_right, places=lambda p, t: [t.index(t[x]) for x in p]),),
    "A passage that was shown already is left out. It counts as any other.": (_way(_in_order(_without_copies)),),
    "Only the passages are measured. The budget is for the whole prompt: numbers, question and frame count as well.":
        (_way(_measured(_bare)), _way(_measured(lambda q, t, p, length, form: length(" ".join(t[x] for x in p)))),
         _way(_measured(lambda q, t, p, length, form: length("".join(t[x] for x in p)))),
         _way(_measured(lambda q, t, p, length, form: length("\n".join(t[x] for x in p)))),
         _way(_measured(lambda q, t, p, length, form: _pieces(q, t, p, length, form) - length(_written(q, t, [], form)))),
         _way(_measured(lambda q, t, p, length, form: length(_written("", t, p, form)))),
         _way(_measured(lambda q, t, p, length, form: length(_written("", t, p, Form(end=""))))),
         _way(_measured(lambda q, t, p, length, form: length(q) + _bare(q, t, p, length, form)))),
    "The lengths of parts are added up. Parts need not add up to the whole: measure the prompt that would be shown.":
        (_way(_measured(_pieces)), _way(_measured(_between)),
         _way(_measured(lambda q, t, p, length, form: length(_written(q, t, [], form)) + _bare(q, t, p, length, form))),
         _way(_measured(lambda q, t, p, length, form: length(_written(q, t, p[:1], form)) + _bare(q, t, p[1:], length, form))),
         _way(_measured(_more_by_each))),
    "The passages are stripped. Each is shown whole, as it stands in texts.":
        (lambda q, t, b, length=len, form=PLAIN: _slowly(q, [x.strip() for x in t], b, length, form),
         _way(_right, lambda q, t, p, form: _written(q, [x.strip() for x in t], p, form))),
    "Every passage is measured alone with the question. Together they must fit.":
        (_way(_taken_if(lambda q, t, p, b, length, form: length(_written(q, t, p[-1:], form)) <= b)),),
    "Every passage is shown, whatever it measures. The budget is the most that the whole prompt may measure.": (_way(_taken_if(lambda *_: True)),),
    "Half a passage is shown. Each is shown whole or left out.": (_halved, _cut_off),
    "The worst passages are tried first, or shown first. texts has the best first, and so has the prompt.":
        (_way(_in_order(lambda t: range(len(t))[::-1])), _way(lambda *a: sorted(_in_order(lambda t: range(len(t))[::-1])(*a))), _way(lambda *a: _right(*a)[::-1])),
    "The shortest passages are tried first. texts has the best first: take what fits in that order.":
        (_way(_in_order(_by_length)), _way(lambda *a: sorted(_in_order(_by_length)(*a)))),
    "The longest passages are tried first. texts has the best first: take what fits in that order.":
        (_way(_in_order(lambda t: _by_length(t)[::-1])), _way(lambda *a: sorted(_in_order(lambda t: _by_length(t)[::-1])(*a)))),
    "A better passage is left out, so that more of the others fit. Take what fits in the order of texts.": (_way(_most_passages),),
    "`form` makes no difference: another one is built in.":
        (lambda q, t, b, length=len, form=PLAIN: _slowly(q, t, b, length, PLAIN), lambda q, t, b, length=len, form=PLAIN: _slowly(q, t, b, length, COURSE),
         _way(_right, lambda q, t, p, form: _written(q, t, p, PLAIN))),
    "The prompt is measured in another form than it is written in.":
        (_way(lambda q, t, b, length, form: _right(q, t, b, length, PLAIN)), _way(lambda q, t, b, length, form: _right(q, t, b, length, COURSE))),
    "No passage is ever shown.": (_way(lambda *_: []),),
    "Only one passage is shown. As many as fit should be.": (_way(lambda *a: _right(*a)[:1]),),
    "The question is missing in the prompt.": (_way(_right, lambda q, t, p, form: _written("", t, p, form)),),
    "The passages that are shown are not those that fit: all are measured and written, or written without their numbers.":
        (_way(_right, lambda q, t, p, form: _written(q, t, range(len(t)), form)),
         _way(_right, lambda q, t, p, form: (form.begin + form.between.join(t[x] for x in p) + form.end.replace("{question}", q)).strip())),
}
# fmt: on
