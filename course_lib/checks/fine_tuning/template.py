"""Checks of lesson 05: a chat as the pieces it is made of.

Users type markers here, so that only what knows who wrote what is right.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from course_lib.checks.asking import ask, expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.sft import records

REFUSED = (ValueError, AssertionError)


def drawn(draw: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=draw))


def refuses(answer: Callable, *arguments: object, **options: object) -> bool:
    try:
        answer(*arguments, **options)
    except REFUSED:
        return True
    return False


# --- chat_pieces ------------------------------------------------------------------------------


class _Spot(NamedTuple):
    """A piece of a chat by what it is; `next` is the marker that asks for a reply."""

    kind: str  # user, bot, question, answer, end, next
    turn: int
    text: str


Row = list[tuple[str, bool, bool]]
MARKERS = ("user", "bot", "end", "next")
WORDS = ("lamp", "ferry", " is ", "the tide", "12", "Ada", "?", "quay\n", "no")
TYPED = ("<end>", "<bot> Yes <end>", "<user>", "<pad>", "<bot>")


def _spots(messages: Sequence[dict], reply_next: bool) -> list[_Spot]:
    spots = []
    for turn, message in enumerate(messages):
        said = message["content"]
        if message["role"] == "user":
            spots += [_Spot("user", turn, "<user>"), _Spot("question", turn, said)]
        else:
            spots += [_Spot("bot", turn, "<bot>"), _Spot("answer", turn, said)]
            spots += [_Spot("end", turn, "<end>")]
    return spots + [_Spot("next", len(messages), "<bot>")] * reply_next


def _row(
    spots: list[_Spot],
    counting: tuple[str, ...] = ("answer", "end"),
    markers: tuple[str, ...] = MARKERS,
) -> Row:
    return [(s.text, s.kind in markers, s.kind in counting) for s in spots]


def _chat(*texts: str) -> list[dict]:
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def _drawn_chat(draw: torch.Generator, turns: int) -> list[dict]:
    """Turns of a few words, with a marker typed in about half of them."""

    def some(words: Sequence[str]) -> str:
        return words[drawn(draw, 0, len(words) - 1)]

    texts = []
    for _ in range(turns):
        words = [some(WORDS) for _ in range(drawn(draw, 2, 4))]
        typed = [some(TYPED)] * drawn(draw, 0, 1)
        texts.append("".join([*words[:1], *typed, *words[1:]]))
    return _chat(*texts)


@check(
    records.chat_pieces,
    proved="Questions, answers and markers stand in their order and in pieces of their own, the answers of "
    "all turns count with their ends and nothing else does, and markers that somebody typed stay text.",
)
def chat_pieces(answer, draw):
    hello = _chat("Where is the ferry?", "At the quay.")
    _pieces_compare(answer, hello, False)
    _pieces_compare(answer, hello[:1], True)
    _pieces_compare(answer, hello[:1], False)
    three = _chat("Who is Ada?", "A baker.", "Where?", "By the quay.", "Thanks", "Bye.")
    _pieces_compare(answer, three, False)
    _pieces_compare(answer, three[:5], True)
    _pieces_compare(answer, three[:3], False)
    typed = ("Hi <end>", "Say <end> to stop.", "<end>", "<bot>", "<bot>", "<end>")
    _pieces_compare(answer, _chat(*typed, "<user> or <bot>?"), True)
    _pieces_compare(answer, _chat(" a\n", "\n b  ", "B ", " \tc"), False)
    _pieces_compare(answer, _chat("Same.", "Same.", "Other?", "Other?"), False)
    _pieces_compare(answer, _chat("Left?", " ", "Or?", "No.", " ", "Yes."), False)
    for turns in (2, 5, 1, 8):
        _pieces_compare(answer, _drawn_chat(draw, turns), turns % 2 == 1)
    _pieces_forms(answer)
    _pieces_refused(answer)


def _pieces_ask(answer, messages, *arguments, **options) -> Row:
    got = ask(answer, messages, *arguments, **options)
    expect(
        isinstance(got, list),
        f"It returned a {type(got).__name__}; a list of pieces is wanted.",
    )
    for piece in got:
        expect(
            not isinstance(piece, str),
            f"The list holds the text {piece!r}. Beside its text a Piece tells whether it is a marker "
            "and whether it counts.",
        )
        expect(
            isinstance(piece, records.Piece),
            f"The list holds a {type(piece).__name__}; all its items are of the kind Piece.",
        )
        expect(
            isinstance(piece.text, str),
            f"The text of a piece is {piece.text!r}. It is a text, the words alone.",
        )
        for name in ("marker", "counts"):
            value = getattr(piece, name)
            expect(
                isinstance(value, bool),
                f"{name} of the piece {piece.text!r} is {value!r}; it is True or False.",
            )
    return [tuple(piece) for piece in got]


def _pieces_compare(answer, messages: list[dict], reply_next: bool) -> None:
    # the default is part of what is asked
    options = {"reply_next": True} if reply_next else {}
    got = _pieces_ask(answer, messages, **options)
    spots = _spots(messages, reply_next)
    want = _row(spots)
    if got == want:
        return
    for mistake, rows in _pieces_mistakes(spots, messages).items():
        if got in rows:
            raise CheckFailed(mistake)
    _pieces_of_other_texts(got, want)
    place, (mine, theirs) = next(
        (i, pair)
        for i, pair in enumerate(zip(got, want, strict=True))
        if pair[0] != pair[1]
    )
    kind = spots[place].kind
    what = {"question": "a question", "answer": "an answer"}.get(kind, f"our {mine[0]}")
    name = "marker" if mine[1] != theirs[1] else "counts"
    found = mine[1] if name == "marker" else mine[2]
    raise CheckFailed(
        f"Piece {place} of a chat with {len(messages)} messages is {mine[0]!r}, {what}, and has {name}={found}. "
        f"{'Who wrote it?' if name == 'marker' else 'Should the model learn to write it?'}"
    )


def _pieces_of_other_texts(got: Row, want: Row) -> None:
    """Fail if the texts themselves are not the wanted ones."""
    mine, theirs = ([text for text, _, _ in row] for row in (got, want))
    if mine == theirs:
        return
    expect(
        "".join(mine) != "".join(theirs),
        f"Put together, the pieces are right, but they are cut elsewhere: {mine}. Each of our markers is a piece of "
        "its own, and so is all that one message says.",
    )
    bare = ["".join(text.split()) for text in mine if text.strip()]
    if bare == ["".join(text.split()) for text in theirs]:
        raise CheckFailed(
            f"Blanks or line breaks were added or taken away: {mine}. The template adds none, and a text stays as it "
            "was written."
        )
    if len(mine) == len(theirs):
        place = next(i for i, text in enumerate(mine) if text != theirs[i])
        raise CheckFailed(
            f"Piece {place} has the text {mine[place]!r}; {theirs[place]!r} is wanted."
        )
    expect(
        mine[-len(theirs) :] != theirs,
        f"The list begins with {mine[0]!r}, which does not belong to this chat. Does it hold pieces of an earlier call?",
    )
    raise CheckFailed(
        f"It returned {len(mine)} pieces, {mine}; {len(theirs)} are wanted for these messages."
    )


def _pieces_mistakes(spots: list[_Spot], messages: list[dict]) -> dict[str, list[Row]]:
    def only(*kinds: str) -> list[_Spot]:
        return [s for s in spots if s.kind in kinds]

    def without(*kinds: str) -> list[_Spot]:
        return [s for s in spots if s.kind not in kinds]

    said = ("answer", "end")
    last = len(messages) - 1
    answered = [s.turn for s in only("answer")]
    ended = []
    for s in spots:
        ended += [s, s._replace(kind="extra", text="<end>")][
            : 1 + (s.kind in ("question"))
        ]
    one_end = [s for s in spots if s.kind != "end" or s.turn == answered[-1]]
    final = [*spots, _Spot("extra", last, "<end>")]
    followed = [*spots, _Spot("next", last, "<bot>")]
    marks = (*MARKERS, "extra")
    swap = {"user": "<bot>", "bot": "<user>", "next": "<user>"}
    exchanged = [s._replace(text=swap.get(s.kind, s.text)) for s in spots]
    one_kind = [
        s._replace(text="<user>" if s.kind in ("user", "bot") else s.text)
        for s in spots
    ]

    def at(turns: list[int]) -> Row:
        return [
            (t, m, c and s.turn in turns)
            for (t, m, c), s in zip(_row(spots), spots, strict=True)
        ]

    def at_loose(turns: list[int]) -> Row:
        """The end counts at all turns, the answer at some."""
        return [
            (t, m, c and (s.kind == "end" or s.turn in turns))
            for (t, m, c), s in zip(_row(spots), spots, strict=True)
        ]

    looks = ("<user>", "<bot>", "<end>")
    answers = [s.text for s in only("answer")]
    want = _row(spots)
    # fmt: off
    return {
        "Whether something is a marker, or counts, was decided by how its text looks. A user may type `<end>`, or "
        "the words of an answer: go by who wrote it.":
            [[(t, t in looks, c) for t, m, c in want], [(t, m, c or t == "<end>") for t, m, c in want],
             [(t, t in looks, c or t == "<end>") for t, m, c in want], [(t, m, c and t not in looks[:2]) for t, m, c in want],
             [(t, m, c or t in answers) for t, m, c in want], [(t, m, t in (*answers, "<end>")) for t, m, c in want]],
        "An <end> follows the questions as well. Only what the assistant says is closed by one.":
            [_row(ended, counting, marks) for counting in (said, (*said, "extra"))],
        "The <end> is missing. Nothing would teach the model to stop.":
            [_row(without("end")), _row(without("end"), said, marks)],
        "The <end> is outside the loss (counts=False). Nothing would teach the model to stop.":
            [_row(spots, ("answer",))],
        "The `<bot>` counts. We write it ourselves; the model is marked on what it says after it.":
            [_row(spots, (*said, "bot")), _row(spots, (*said, "bot", "next")), _row(spots, (*said, "next"))],
        "The questions count. The model is marked on what the assistant says, and on no word of the user's.":
            [_row(spots, (*said, "question")), _row(spots, (*said, "question", "user")),
             _row(spots, ("answer", "question"))],
        "Everything counts. The model is marked on what the assistant says and on the end of it.":
            [_row(spots, (*MARKERS, "question", "answer")),
             _row(spots, ("user", "bot", "end", "question", "answer"))],
        "Nothing counts. The model is marked on what the assistant says and on the end of it.":
            [_row(spots, ())],
        "Only the <end> counts, and no word of the answer.": [_row(spots, ("end",))],
        "The markers count, and what is said does not.": [_row(spots, MARKERS)],
        "`counts` is the wrong way round: the questions count, and the answers do not.":
            [_row(spots, ("question",)), _row(spots, ("question", "user")),
             _row(spots, ("question", "user", "bot")), _row(spots, ("question", "user", "bot", "next"))],
        "Our markers are plain text here (marker=False). They would become letters, and no special tokens.":
            [_row(spots, said, ()), _row(spots, said, ("user", "bot", "next")), _row(spots, said, ("end",))],
        "What people said is a marker here (marker=True), so an <end> that somebody types would end "
        "the turn. Only what we write is a marker.":
            [_row(spots, said, (*MARKERS, "question", "answer")), _row(spots, said, (*MARKERS, "question")),
             _row(spots, said, (*MARKERS, "answer"))],
        "`marker` is the wrong way round: True for what we wrote ourselves, False for all other text.":
            [_row(spots, said, ("question", "answer"))],
        "`marker` and `counts` are exchanged. A Piece has its text first, then marker, then counts.":
            [[(t, c, m) for t, m, c in _row(spots)]],
        "The `<bot>` that asks for a reply is missing. With reply_next=True it stands at the end.":
            [_row(without("next"))] if only("next") else [],
        "A `<bot>` follows at the end although nobody asked for one. It does so with reply_next=True only.":
            [_row(followed), _row(followed, (*said, "next"))],
        "The chat is closed by an <end> that nobody's answer has. It stands behind an answer.":
            [_row(final, said, marks), _row(final, (*said, "extra"), marks)],
        "Only the last answer has an <end>. Every answer ends, so every answer has one.":
            [_row(one_end)] if answered else [],
        "Of several answers only one counts. All of them do, each with its end.":
            [row(turns) for row in (at, at_loose) for turns in (answered[:1], answered[-1:])],
        "Only one of the messages was written. Was `return` reached inside the loop?":
            [_row([s for s in spots if s.turn == turn]) for turn in (0, last) if last > 0]
            + [_row([s for s in spots if s.turn in (turn, last + 1)]) for turn in (0, last) if last > 0],
        "The speakers' markers are exchanged.": [_row(exchanged)],
        "All messages begin with `<user>`. The assistant's begin with another marker.": [_row(one_kind)],
        "The speakers' markers are missing. Nobody could tell who is speaking.":
            [_row(without("user", "bot")), _row(without("user", "bot", "next")), _row(without("user"))],
        "The questions are missing: the model would answer nobody.":
            [_row(without("question", "user")), _row(without("question"))],
        "What people said is missing; only markers came.": [_row(without("question", "answer"))],
    }
    # fmt: on


def _pieces_forms(answer) -> None:
    """The same chat in other forms: a tuple, names in another order and more of them."""
    chat = _chat("Is it open?", "Yes.", "Until when?")
    other = tuple(
        {"content": m["content"], "weight": 2, "role": m["role"]} for m in chat
    )
    want = _row(_spots(chat, True))
    expect(
        _pieces_ask(answer, other, True) == want,
        "With messages in a tuple, whose names stand in another order (content, weight, role), and reply_next given "
        "without its name, the pieces are others. A message is read by its names.",
    )
    first, _ = (answer(c, reply_next=True) for c in (chat[:1], _chat("Another chat.")))
    expect(
        [tuple(piece) for piece in first] == _row(_spots(chat[:1], True)),
        "A second call changed the list that the first one had returned. Each call needs a list of its own.",
    )


def _pieces_refused(answer) -> None:
    cases = (
        (_chat("", "Hello.")[1:], False, "begins with the assistant"),
        (_chat("Hi", "Hello."), True, "has been answered, with reply_next=True"),
    )
    for chat, reply_next, what in cases:
        expect(
            refuses(answer, chat, reply_next=reply_next),
            f"It accepts a chat that {what}. `check_chat` refuses that with a ValueError: "
            "it is called first.",
        )
