"""Check of lesson 08: the model's own good replies become examples.

Replies are gone through one by one. All questions are asked first: a mistake is named
if it explains all results, or all wrong ones. The answers that prove the check are in
`tests/answers/`.
"""

import copy
import itertools
import random
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import NamedTuple

import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.grpo import rejection

Pairs = list[tuple[str, str]]  # question, reply: what a chat says


class Case(NamedTuple):
    """What the answer is asked about; most None = the default is left to the answer."""

    questions: Sequence[str]
    replies: Sequence[Sequence[str]]
    good: set[tuple[int, str]]
    most: int | None = None

    @property
    def cap(self) -> int:
        return 1 if self.most is None else self.most

    def accepts(self, i: int, reply: str) -> bool:
        return (i, reply) in self.good


@check(
    rejection.rejection_sample,
    proved="Of each question's replies the accepted ones are kept, each once, the first ones first, and no more than "
    "`most`; every chat is one question and one answer.",
)
def rejection_sample(answer, draw):
    first, others = _cases(draw)
    found = []
    for case in [first, *others]:
        got = _ask(answer, case)
        found.append((_said(got, case), case))
        if case.most is not None and case.most > 1:
            _own_messages(got)
    _name(found)


def _cases(draw: torch.Generator) -> tuple[Case, list[Case]]:
    """Repeated replies in front of others, equal questions, equal replies to different questions."""
    luck = random.Random(int(torch.randint(2**31, (1,), generator=draw)))
    a, b, c, d = (str(n) for n in luck.sample(range(20, 99), 4))
    worked = Case(["2 + 2 = ?", "?"], [["Answer: 4.", "Answer: 4.", "4"], ["?"]], {(0, "Answer: 4."), (0, "4")})  # fmt: skip
    late = [b, b, a, a, c, a, d]  # two bad ones first, then good ones repeated
    good = {(0, a), (0, c), (0, d)}
    near = [f"Answer: {a} ", f"answer: {a} ", f" Answer: {a}", f"Answer: {a}\n"]
    every = {(0, reply) for reply in near}
    shared = Case(
        ("one?", "two?", "three?"),
        ([a, b, c], (b, a, c, b), [c, c]),
        {(0, a), (0, c), (1, a), (1, b), (1, c), (2, b)},
    )
    twice = Case(["same?", "same?", "other?"], [[a, b, c], [c, b, a], [d, d]], {(0, c), (1, b), (1, a), (2, d)})  # fmt: skip
    holes = Case(["none?", "some?", "nothing?", "again?"], [[], [a, b, b], [c, d], [d, c]], {(1, b), (3, d), (3, c)})  # fmt: skip
    equal = Case(["same?", "same?", "one?"], [[b, a], [a, b, a], [d]], {(0, a), (1, a), (2, d)})  # fmt: skip
    often = [a, c, c, c, b, b, b, b, d, d, d, d, d, a, "last"]
    lengths = [d * 3, a, c * 5, b * 2, a * 4, d]
    return worked, [
        Case(["late?"], [late], good),
        Case(["late?"], [late], good, most=2),
        Case(["late?"], [late], good, most=3),
        Case(["late?"], [late], good, most=50),
        Case(["near?", "far?"], [near, near[::-1]], every, most=9),
        *(shared._replace(most=most) for most in (None, 2, 3)),
        *(twice._replace(most=most) for most in (None, 2)),
        *(holes._replace(most=most) for most in (None, 2)),
        equal,
        equal._replace(most=2),
        Case(["often?"], [often], {(0, reply) for reply in often}, most=2),
        Case(["often?"], [often], {(0, d), (0, "last")}, most=2),
        Case(["long?"], [lengths], {(0, reply) for reply in lengths[:5]}, most=3),
        Case([], [], set()),
        Case(["none?"], [[]], set()),
        Case(["empty?"], [["", a]], {(0, "")}),
        Case([" spaces? "], [[a]], {(0, a)}),
        Case(["never?", "never?"], [[a, b], [a]], set(), most=4),
        *(_drawn(luck, most) for most in (None, 2, 3, 5)),
    ]


def _drawn(luck: random.Random, most: int | None) -> Case:
    """Six questions, with none to nine replies of five kinds."""
    names = [f"{luck.randint(2, 9)} times {luck.randint(2, 9)}?" for _ in range(6)]
    kinds = [f"Answer: {n}." for n in luck.sample(range(99), 5)]
    replies = [luck.choices(kinds, k=luck.randint(0, 9)) for _ in names]
    good = {(i, kind) for i in range(6) for kind in kinds if luck.random() < 0.6}
    return Case(names, replies, good, most)


# --- asking -----------------------------------------------------------------------------------


def _ask(answer: Callable, case: Case) -> list:
    def accept(*given, **named) -> bool:
        expect(
            not named,
            "accept was called with names for what it gets. Whoever writes it chooses them: give the number and the reply by "
            "their places.",
        )
        _expect_number_and_reply(given, case)
        return case.accepts(*given)

    before = copy.deepcopy((case.questions, case.replies))
    options = {} if case.most is None else {"most": case.most}
    try:
        got = answer(case.questions, case.replies, accept, **options)
    except (IndexError, ValueError, KeyError) as error:
        solved = {i for i, _ in case.good}
        expect(
            len(solved) == len(case.questions) > 0,
            f"It stopped with {type(error).__name__} ({error}) where a question has no good reply, or none at all, or where "
            "there is no question. That gives no chat, and is no error.",
        )
        raise
    expect(
        got is not None or bool(case.good),
        "It returned None where no reply is good. The list of chats is empty then.",
    )
    expect(
        got is not None,
        "It returned None. Is there a `return` line, and does every path reach one?",
    )
    expect(
        before == (case.questions, case.replies),
        "It changed its own input. Later lines still need that: work on a new list.",
    )
    expect(
        isinstance(got, list),
        f"It returned a {type(got).__name__}; a list of chats is wanted.",
    )
    return got


def _expect_number_and_reply(given: tuple, case: Case) -> None:
    """How accept is called."""
    wanted = "accept wants two things: the number of the question (0 for the first) and one reply."
    expect(
        len(given) == 2,
        f"accept was called with {len(given)} arguments. {wanted}",
    )
    i, reply = given
    expect(
        not (isinstance(i, str) and isinstance(reply, int)),
        f"accept was called with the reply first. {wanted}",
    )
    expect(
        not isinstance(i, str),
        f"accept was called with a text first, {i!r}. {wanted}",
    )
    expect(
        isinstance(i, Integral) and not isinstance(i, bool),
        f"accept was called with a {type(i).__name__} first. {wanted}",
    )
    expect(
        isinstance(reply, str),
        f"accept was called with a {type(reply).__name__} as its reply: every reply is asked about alone. {wanted}",
    )
    expect(
        0 <= i < len(case.questions),
        f"accept was called with the number {i}, of {len(case.questions)} questions. They are counted from 0.",
    )
    changed = reply not in case.replies[i] and any(reply in r for r in case.replies)
    expect(
        not (changed and i and reply in case.replies[i - 1]),
        f"accept was called with the number {i} for a reply to question {i - 1}. Questions are counted from 0.",
    )
    expect(
        not changed,
        f"accept was asked whether {reply!r} answers question {i}, to which it is no reply. Which number has a "
        "question in `questions`? (Two may have the same text.)",
    )
    expect(
        reply in case.replies[i],
        f"accept was asked about {reply!r}, which nobody said: a reply is judged as it is, without changing it.",
    )


def _said(got: list, case: Case) -> Pairs:
    """Every chat as (question, reply); what is no chat is named."""
    roles = (
        "A chat is a list of two messages, and a message a dict with role and content."
    )
    for chat in got:
        expect(
            not isinstance(chat, dict),
            f"The messages stand in one list, without chats. {roles}",
        )
        expect(
            isinstance(chat, list),
            f"There is a {type(chat).__name__} among the chats: {str(chat)[:60]!r}. {roles}",
        )
        expect(
            bool(chat),
            "There is an empty chat. A question without a good reply gives none at all.",
        )
        expect(
            not any(isinstance(message, list) for message in chat),
            "The chats stand in a list for each question. One list of all chats is wanted.",
        )
        for message in chat:
            expect(
                isinstance(message, dict),
                f"There is a {type(message).__name__} among the messages: {message!r:.60}. {roles}",
            )
            expect(
                set(message) == {"role", "content"},
                f"A message has the keys {', '.join(map(str, message)) or '(none)'}; role and content are wanted.",
            )
            expect(
                isinstance(message["content"], str),
                f"A content is a {type(message['content']).__name__}; it is one text.",
            )
        said = [message["role"] for message in chat]
        _expect_roles(said, chat, case)
    return [(chat[0]["content"], chat[1]["content"]) for chat in got]


def _expect_roles(said: list, chat: list[dict], case: Case) -> None:
    if said == ["user", "assistant"]:
        exchanged = (
            chat[1]["content"] in case.questions
            and chat[0]["content"] not in case.questions
        )
        expect(not exchanged, "Question and reply changed places: the user asks.")
        return
    expect(
        said != ["assistant", "user"],
        "The roles changed places: the user asks, then the assistant answers.",
    )
    expect(
        said.count("assistant") < 2,
        "A chat has several replies of the assistant. Each good reply gives a chat of its own, with its question.",
    )
    expect(
        said != ["user"],
        "There is a question without a reply. A question without a good reply gives no chat.",
    )
    expect(
        "system" not in said,
        "There is a system message. A chat here has the question and the reply, and nothing else.",
    )
    raise CheckFailed(f"The roles of a chat are {said}; user and assistant are wanted.")


def _own_messages(got: list) -> None:
    """No dict and no list stands in two chats."""
    expect(
        len({id(chat) for chat in got}) == len(got),
        "The same chat stands in the list twice, as one and the same object.",
    )
    dicts = [id(message) for chat in got for message in chat]
    expect(
        len(set(dicts)) == len(dicts),
        "Two chats share one message, as one and the same dict: who changes it in one chat changes it in both. Make "
        "it anew for each.",
    )


# --- comparing --------------------------------------------------------------------------------


def _kept(
    case: Case, once="before", cut="after", fits=lambda i, reply, case: case.accepts(i, reply),
    order=lambda replies: replies, cap=None, place=lambda i, case: i,
) -> Pairs:  # fmt: skip
    """Reply by reply; with a mistake for every switch that is turned."""
    found, seen = [], set()
    cap = case.cap if cap is None else cap
    for i, (question, replies) in enumerate(
        zip(case.questions, case.replies, strict=True)
    ):
        seen = seen if once == "over all" else set()
        mine, asked = [], 0
        for reply in order(list(replies)):
            if reply in seen and once in ("before", "over all"):
                continue
            seen.add(reply)
            asked += 1
            within = asked <= cap if cut == "before" else True
            if within and fits(place(i, case), reply, case):
                mine.append((question, reply))
        mine = mine[-cap:] if cut == "last" else mine[:cap]
        found += list(dict.fromkeys(mine)) if once == "after" else mine
    return found[:cap] if cut == "in all" else found


def _name(found: list[tuple[Pairs, Case]]) -> None:
    wrong = [(got, case) for got, case in found if got != _kept(case)]
    if not wrong:
        return
    earlier: Pairs = []  # kept from call to call
    for got, case in found:
        earlier += _kept(case)
        before = got[: len(got) - len(_kept(case))]
        lives_on = got == before + _kept(case) and any(
            question not in case.questions for question, _ in before
        )  # also from calls that were made before this check
        if got != _kept(case) and (got == earlier or lives_on):
            raise CheckFailed(
                "A second call returns the chats of the first one as well. Make a new list in every call: a list among "
                "the defaults, or outside the function, is never emptied."
            )
    for most in (0, len(wrong)):
        for name, ways in _MISTAKES.items():
            if any(_explains(way, found) <= most for way in ways):
                raise CheckFailed(name)
    expect(
        not all(sorted(got) == sorted(_kept(case)) for got, case in wrong),
        "The right chats, in another order. They stay in the order asked, and those of one question in the order in "
        "which its replies came: a set keeps none.",
    )
    _otherwise(*min(wrong, key=lambda row: len(str(row[1]))))


def _explains(way: Callable, found: list[tuple[Pairs, Case]]) -> float:
    """How many results a mistake gets wrong, none of the wrong ones among them."""
    missed = [(got, case) for got, case in found if got != way(case)]
    return len(missed) if all(g == _kept(c) for g, c in missed) else float("inf")


def _otherwise(got: Pairs, case: Case) -> None:
    want = _kept(case)
    texts = [text for pair in got for text in pair]
    known = {*case.questions, *(reply for replies in case.replies for reply in replies)}
    strange = next((text for text in texts if text not in known), None)
    expect(
        strange is None,
        f"A chat says {strange!r}, which is neither a question nor a reply as it came in.",
    )
    for (question, reply), (asked, right) in zip(got, want, strict=False):
        expect(
            reply != right or question == asked,
            f"{reply!r} stands with the question {question!r}. It was given to {asked!r}.",
        )
    most = "" if case.most is None else f" and most={case.most}"
    asked = f"For the replies {[list(r) for r in case.replies]}{most}"
    good = [
        [r for r in dict.fromkeys(replies) if case.accepts(i, r)]
        for i, replies in enumerate(case.replies)
    ]
    raise CheckFailed(
        f"{asked}, of which {good} are accepted, it keeps {[reply for _, reply in got]}; wanted are "
        f"{[reply for _, reply in want]}, each with its question."
    )


def _anything(i: int, reply: str, case: Case) -> bool:
    return True


def _refused(i: int, reply: str, case: Case) -> bool:
    return not case.accepts(i, reply)


def _number_in_text(i: int, case: Case) -> int:
    return list(case.questions).index(case.questions[i])


def _of_first_reply(case: Case) -> Pairs:
    return [
        (question, replies[0])
        for i, (question, replies) in enumerate(
            zip(case.questions, case.replies, strict=True)
        )
        if replies and case.accepts(i, replies[0])
    ]


def _unless_any_is_bad(case: Case, every: bool) -> Pairs:
    kept = []
    for i, replies in enumerate(case.replies):
        fits = [case.accepts(i, reply) for reply in replies]
        if (all if every else any)(fits):
            pairs = [(case.questions[i], r) for r in dict.fromkeys(replies)]
            kept += pairs[: case.cap]
    return kept


def _by_text(case: Case) -> Pairs:
    """What a dictionary of question texts keeps: the last question of each text."""
    last = {question: i for i, question in enumerate(case.questions)}
    kept = [_of_one(case, i) for i in last.values()]
    return [pair for pairs in kept for pair in pairs]


def _of_one(case: Case, i: int) -> Pairs:
    alone = {(0, reply) for n, reply in case.good if n == i}
    return _kept(Case([case.questions[i]], [case.replies[i]], alone, case.most))


def _round_by_round(case: Case) -> Pairs:
    """The first of every question, then the second of every question."""
    each = [_of_one(case, i) for i in range(len(case.questions))]
    return [pairs[k] for k in range(case.cap) for pairs in each if k < len(pairs)]


def _first_questions(case: Case) -> Pairs:
    solved = [_of_one(case, i) for i in range(len(case.questions))]
    return [pair for pairs in [p for p in solved if p][: case.cap] for pair in pairs]


# fmt: off
_MISTAKES: dict[str, tuple[Callable, ...]] = {
    "Repeated replies are kept. A question that is easy would fill the set with one and the same chat: each reply "
    "counts once.":
        (lambda c: _kept(c, once="never"),),
    "Only replies that follow each other at once are compared. The same one may come again later.":
        (lambda c: _kept(c, once="never", order=_without_neighbours),),
    "It stops at the first bad reply, or drops the bad ones at the beginning alone. Each reply is judged by itself.":
        (lambda c: _one_end(c, itertools.takewhile), lambda c: _one_end(c, itertools.dropwhile)),
    "Repeated replies are dropped after the cut, so that fewer than `most` different ones are left. First each once, "
    "then the cut.":
        (lambda c: _kept(c, once="after"), lambda c: list(dict.fromkeys(_kept(c, once="never")))),
    "The cut comes before accept: of the first `most` replies those that are good. Wanted are the first `most` good "
    "ones.":
        (lambda c: _kept(c, cut="before"), lambda c: _kept(c, once="never", cut="before"),
         lambda c: list(dict.fromkeys(_kept(c, once="never", cut="before")))),
    "Only the first few replies of each question are looked at. A later one may be good.":
        (*(lambda c, n=n: _kept(c, order=lambda r: r[:n]) for n in (2, 3, 4, 5, 8, 10)),),
    "Only the first reply of each question is looked at. A later one may be good.":
        (_of_first_reply,),
    "`most` is counted over all questions. It is for each of them.":
        (lambda c: _kept(c, cut="in all"), lambda c: _kept(c, cap=99)[: c.cap],
         lambda c: _kept(c, once="over all", cap=99)[: c.cap], _first_questions),
    "`most` makes no difference: all good replies are kept.":
        (lambda c: _kept(c, cap=99), lambda c: _kept(c, cap=99, once="never")),
    "`most` makes no difference: one reply is kept for each question, however many are wanted.":
        (lambda c: _kept(c, cap=1), lambda c: _kept(c, cap=1, once="never")),
    "Without `most` another number of chats is kept than the first line of the function says.":
        (*(lambda c, n=n: _kept(c, cap=n if c.most is None else c.cap) for n in (2, 3, 10**9)),),
    "`most` is off by one.":
        (lambda c: _kept(c, cap=c.cap + 1), lambda c: _kept(c, cap=c.cap - 1)),
    "`most` has a ceiling in yours. Whoever asks for more gets more, if there are as many good replies.":
        (*(lambda c, n=n: _kept(c, cap=min(c.cap, n)) for n in (2, 3, 4)),),
    "A reply that was seen to one question is dropped for another. Replies are compared within their own question.":
        (lambda c: _kept(c, once="over all"),),
    "accept makes no difference: bad replies are kept as well.":
        (lambda c: _kept(c, fits=_anything), lambda c: _kept(c, fits=_anything, once="never"),
         lambda c: _kept(c, fits=_anything, cap=99)),
    "It keeps what is refused, and drops what is accepted.":
        (lambda c: _kept(c, fits=_refused), lambda c: _kept(c, fits=_refused, once="never")),
    "Two questions with the same text are taken for one. Each has a number and replies of its own.":
        (lambda c: _kept(c, place=_number_in_text), _by_text, lambda c: list(dict.fromkeys(_kept(c)))),
    "The last good replies are kept. Of more than `most` the first ones stay.":
        (lambda c: _kept(c, cut="last"), lambda c: _kept(c, order=lambda r: r[::-1]),
         lambda c: _kept(c, cut="last", once="never")),
    "Replies are sorted, by the alphabet or by length. They stay in the order in which they came.":
        (*(lambda c, k=k, b=b: _kept(c, order=lambda r: sorted(r, key=k, reverse=b))
           for k in (None, len) for b in (False, True)),
         *(lambda c, k=k, b=b: _kept(c, order=lambda r: sorted(dict.fromkeys(r), key=k, reverse=b))
           for k in (None, len) for b in (False, True))),
    "Replies that were given often come first. They stay in the order in which they came.":
        (*(lambda c, b=b: _kept(c, order=lambda r: sorted(r, key=r.count, reverse=b)) for b in (False, True)),),
    "A question of which one reply is good keeps all of its replies. Each reply is judged by itself.":
        (lambda c: _unless_any_is_bad(c, every=False),),
    "A question of which one reply is bad loses the good ones too. Each reply is judged by itself.":
        (lambda c: _unless_any_is_bad(c, every=True),),
    "The chats of one question do not stand together. They come question by question.":
        (_round_by_round,),
    "The questions come from the last to the first. They stay in the order asked.":
        (lambda c: _kept(c)[::-1],),
    "Only the first question is answered, or the last. All are gone through.":
        (lambda c: _of_one(c, 0) if c.questions else [], lambda c: _of_one(c, -1) if c.questions else [],
         lambda c: [p for i in range(len(c.questions) - 1) for p in _of_one(c, i)],
         lambda c: [p for i in range(1, len(c.questions)) for p in _of_one(c, i)]),
    "It stops at the first question without a good reply. The others may have one.":
        (lambda c: _until_unsolved(c),),
    "It returned no chats.": (lambda c: [],),
    "The question stands where the reply should, or the reply where the question should.":
        (lambda c: [(q, q) for q, _ in _kept(c)], lambda c: [(r, r) for _, r in _kept(c)]),
    "An empty reply is dropped. accept says what is good, and nobody else.":
        (lambda c: _kept(c, fits=lambda i, r, c: r != "" and c.accepts(i, r)),),
    "Replies that differ only in spaces or capitals are taken for one. Here every different text counts.":
        (*(lambda c, m=m: _same_in_short(c, m) for m in (
            str.strip, str.lower, str.rstrip, str.lstrip, lambda t: t.strip().lower(), lambda t: " ".join(t.split()))),),
}
# fmt: on


def _without_neighbours(replies: list[str]) -> list[str]:
    return [reply for reply, _ in itertools.groupby(replies)]


def _one_end(case: Case, way: Callable) -> Pairs:
    """What takewhile keeps; dropwhile is told the bad ones."""
    kept: Pairs = []
    for i, replies in enumerate(case.replies):
        starts = way is itertools.takewhile

        def told(reply, i=i, starts=starts):
            return case.accepts(i, reply) == starts

        mine = list(way(told, dict.fromkeys(replies)))[: case.cap]
        kept += [(case.questions[i], reply) for reply in mine]
    return kept


def _until_unsolved(case: Case) -> Pairs:
    kept: Pairs = []
    for i in range(len(case.questions)):
        mine = _of_one(case, i)
        if not mine:
            break
        kept += mine
    return kept


def _same_in_short(case: Case, short: Callable) -> Pairs:
    kept: Pairs = []
    for i, replies in enumerate(case.replies):
        seen: dict[str, str] = {}
        for reply in replies:
            seen.setdefault(short(reply), reply)
        good = [reply for reply in seen.values() if case.accepts(i, reply)]
        kept += [(case.questions[i], reply) for reply in good[: case.cap]]
    return kept
