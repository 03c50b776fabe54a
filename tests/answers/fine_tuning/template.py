"""Answers to lesson 05: a chat in pieces; right ones of different shapes, and people's mistakes."""

import itertools
import re

from course_lib.chat_format import check_chat, render_chat
from course_lib.sft.records import Piece
from tools.graders import Battery

battery = Battery()


# --- chat_pieces: right -----------------------------------------------------------------------


@battery.right("chat_pieces")
def in_a_loop(messages, reply_next=False):
    check_chat(messages, reply_next)
    pieces = []
    for message in messages:
        if message["role"] == "user":
            pieces.append(Piece("<user>", True, False))
            pieces.append(Piece(message["content"], False, False))
        else:
            pieces.append(Piece("<bot>", True, False))
            pieces.append(Piece(message["content"], False, True))
            pieces.append(Piece("<end>", True, True))
    if reply_next:
        pieces.append(Piece("<bot>", marker=True, counts=False))
    return pieces


@battery.right("chat_pieces")
def by_a_table_of_roles(messages, reply_next=False):
    check_chat(messages, reply_next)
    forms = {
        "user": lambda text: [Piece("<user>", True, False), Piece(text, False, False)],
        "assistant": lambda text: [
            Piece("<bot>", True, False),
            Piece(text, False, True),
            Piece("<end>", True, True),
        ],
    }
    found = [forms[m["role"]](m["content"]) for m in messages]
    asked = [[Piece("<bot>", True, False)]] if reply_next else []
    return list(itertools.chain.from_iterable(found + asked))


@battery.right("chat_pieces")
def recursively(messages, reply_next=False):
    check_chat(messages, reply_next)
    if not messages:
        return []
    *before, last = messages
    pieces = recursively(before)
    if last["role"] == "assistant":
        pieces += [
            Piece("<bot>", True, False),
            Piece(last["content"], False, True),
            Piece("<end>", True, True),
        ]
    else:
        pieces += [Piece("<user>", True, False), Piece(last["content"], False, False)]
    return [*pieces, Piece("<bot>", True, False)] if reply_next else pieces


@battery.right("chat_pieces")
def by_places_since_the_two_take_turns(messages, reply_next=False):
    check_chat(messages, reply_next)
    pieces = []
    for turn, message in enumerate(messages):
        said = message["content"]
        if turn % 2 == 0:
            pieces.extend([Piece("<user>", True, False), Piece(said, False, False)])
        else:
            pieces.extend([Piece("<bot>", True, False), Piece(said, False, True)])
            pieces.append(Piece("<end>", True, True))
    if reply_next:
        pieces += [Piece("<bot>", True, False)]
    return pieces


@battery.right("chat_pieces")
def by_exchanges(messages, reply_next=False):
    if reply_next and len(messages) % 2 == 0:
        raise ValueError("the user has not spoken")
    for turn, message in enumerate(messages):
        if message["role"] != ["user", "assistant"][turn % 2]:
            raise ValueError("they take turns")
    pieces = []
    for first in range(0, len(messages), 2):
        asked, *said = messages[first : first + 2]
        pieces += [Piece("<user>", True, False), Piece(asked["content"], False, False)]
        for one in said:
            row = [("<bot>", True, False), (one["content"], False, True)]
            pieces += [Piece(*parts) for parts in [*row, ("<end>", True, True)]]
    pieces += [Piece("<bot>", True, False) for _ in range(int(reply_next))]
    return pieces


@battery.right("chat_pieces")
def by_three_columns(messages, reply_next=False):
    check_chat(messages, reply_next)
    texts, markers, counts = [], [], []
    for message in messages:
        mine = message["role"] == "assistant"
        texts += ["<bot>" if mine else "<user>", message["content"]] + ["<end>"] * mine
        markers += [True, False] + [True] * mine
        counts += [False, mine] + [True] * mine
    if reply_next:
        texts.append("<bot>")
        markers.append(True)
        counts.append(False)
    return list(map(Piece, texts, markers, counts))


# --- chat_pieces: wrong -----------------------------------------------------------------------


def _pieces(says):
    return battery.wrong("chat_pieces", says=says)


def _written(
    messages,
    reply_next=False,
    user=("<user>", True, False),
    asked=(False, False),
    bot=("<bot>", True, False),
    said=(False, True),
    end=("<end>", True, True),
    after_questions=(),
    text=lambda words: words,
    asks=True,
):
    """The template with one thing or another in it that differs."""
    check_chat(messages, reply_next)
    pieces = []
    for message in messages:
        if message["role"] == "user":
            pieces += [Piece(*user), Piece(text(message["content"]), *asked)]
            pieces += [Piece(*piece) for piece in after_questions]
        else:
            pieces += [Piece(*bot), Piece(text(message["content"]), *said)]
            pieces += [Piece(*end)] if end else []
    return pieces + [Piece(*bot)] * bool(reply_next and asks)


def _slip(name, says, **slip):
    def answer(messages, reply_next=False):
        return _written(messages, reply_next, **slip)

    answer.__name__ = name
    _pieces(says)(answer)


_slip(
    "end_after_questions",
    "follows the questions",
    after_questions=[("<end>", True, False)],
)
_slip(
    "end_that_counts_after_questions",
    "follows the questions",
    after_questions=[("<end>", True, True)],
)
_slip("end_forgotten", "<end> is missing", end=None)
_slip("end_outside_the_loss", "<end> is outside the loss", end=("<end>", True, False))
_slip("bot_counts", "`<bot>` counts", bot=("<bot>", True, True))
_slip("questions_count", "questions count. The model", asked=(False, True))
_slip(
    "questions_count_with_their_marker",
    "questions count. The model",
    user=("<user>", True, True),
    asked=(False, True),
)
_slip(
    "everything_counts",
    "Everything counts",
    user=("<user>", True, True),
    asked=(False, True),
    bot=("<bot>", True, True),
)
_slip(
    "nothing_counts", "Nothing counts", said=(False, False), end=("<end>", True, False)
)
_slip("only_the_end_counts", "Only the <end> counts", said=(False, False))
_slip(
    "the_wrong_way_round",
    "`counts` is the wrong way round",
    asked=(False, True),
    said=(False, False),
    end=("<end>", True, False),
)
_slip(
    "markers_as_text",
    "markers are plain text",
    user=("<user>", False, False),
    bot=("<bot>", False, False),
    end=("<end>", False, True),
)
_slip("end_as_text", "markers are plain text", end=("<end>", False, True))
_slip(
    "all_as_markers",
    "What people said is a marker",
    asked=(True, False),
    said=(True, True),
)
_slip("questions_as_markers", "What people said is a marker", asked=(True, False))
_slip("answers_as_markers", "What people said is a marker", said=(True, True))
_slip(
    "markers_the_wrong_way_round",
    "`marker` is the wrong way round",
    user=("<user>", False, False),
    asked=(True, False),
    bot=("<bot>", False, False),
    said=(True, True),
    end=("<end>", False, True),
)
_slip(
    "line_breaks_after_markers",
    "Blanks or line breaks",
    user=("<user>\n", True, False),
    bot=("<bot>\n", True, False),
)
_slip("a_blank_before_the_end", "Blanks or line breaks", end=(" <end>", True, True))
_slip("texts_stripped", "Blanks or line breaks", text=str.strip)
_slip("a_blank_before_texts", "Blanks or line breaks", text=lambda words: " " + words)
_slip("a_blank_after_texts", "Blanks or line breaks", text=lambda words: words + "\n")
_slip("texts_in_small_letters", "has the text", text=str.lower)
_slip(
    "typed_markers_taken_out",
    "has the text",
    text=lambda words: re.sub("<[a-z]+>", "", words),
)
_slip("reply_next_ignored", "asks for a reply is missing", asks=False)
_slip(
    "speakers_exchanged",
    "speakers' markers are exchanged",
    user=("<bot>", True, False),
    bot=("<user>", True, False),
)
_slip("all_are_users", "All messages begin", bot=("<user>", True, False))
_slip(
    "markers_of_transformers",
    "has the text",
    user=("<|user|>", True, False),
    bot=("<|assistant|>", True, False),
)
_slip("roles_as_markers", "has the text", bot=("<assistant>", True, False))
_slip("eos_of_others", "has the text", end=("</s>", True, True))


@_pieces("although nobody asked for one")
def bot_always_added(messages, reply_next=False):
    check_chat(messages, reply_next)
    return [*in_a_loop(messages), Piece("<bot>", True, False)]


@_pieces("although nobody asked for one")
def reply_next_by_default(messages, reply_next=True):
    pieces = in_a_loop(messages)
    return [*pieces, Piece("<bot>", True, False)] if reply_next else pieces


@_pieces("although nobody asked for one")
def bot_after_every_last_question(messages, reply_next=False):
    pieces = in_a_loop(messages)
    if messages and messages[-1]["role"] == "user":
        pieces.append(Piece("<bot>", True, False))
    return pieces


@_pieces("`<bot>` counts")
def the_next_bot_counts(messages, reply_next=False):
    pieces = in_a_loop(messages)
    return [*pieces, Piece("<bot>", True, True)] if reply_next else pieces


@_pieces("11 pieces|are wanted")
def bot_after_each_question(messages, reply_next=False):
    check_chat(messages, reply_next)
    pieces = []
    for message in messages:
        pieces += in_a_loop([{"role": "user", "content": message["content"]}], True)
    return pieces


@_pieces("only one counts")
def only_the_last_answer_counts(messages, reply_next=False):
    pieces = in_a_loop(messages, reply_next)
    last = max((i for i, p in enumerate(pieces) if p.counts), default=-1) - 1
    return [p._replace(counts=p.counts and i >= last) for i, p in enumerate(pieces)]


@_pieces("only one counts")
def only_the_first_answer_counts(messages, reply_next=False):
    pieces = in_a_loop(messages, reply_next)
    first = next((i for i, p in enumerate(pieces) if p.counts), 0)
    return [
        p._replace(counts=p.counts and i <= first + 1) for i, p in enumerate(pieces)
    ]


@_pieces("Only the last answer has an <end>")
def one_end_for_the_chat(messages, reply_next=False):
    pieces = in_a_loop(messages, reply_next)
    ends = [i for i, p in enumerate(pieces) if p.marker and p.text == "<end>"]
    return [p for i, p in enumerate(pieces) if i not in ends[:-1]]


@_pieces("closed by an <end> that nobody's answer has|follows the questions")
def end_after_all(messages, reply_next=False):
    check_chat(messages, reply_next)
    return [*_written(messages, reply_next, end=None), Piece("<end>", True, True)]


@_pieces("closed by an <end> that nobody's answer has|follows the questions")
def another_end_after_all(messages, reply_next=False):
    return [*in_a_loop(messages, reply_next), Piece("<end>", True, True)]


@_pieces("Only one of the messages")
def return_inside_the_loop(messages, reply_next=False):
    check_chat(messages, reply_next)
    for message in messages:
        return in_a_loop([message]) + [Piece("<bot>", True, False)] * reply_next
    return []


@_pieces("Only one of the messages")
def list_made_anew_in_the_loop(messages, reply_next=False):
    check_chat(messages, reply_next)
    pieces = []
    for message in messages:
        pieces = in_a_loop([{**message, "role": "user"}])
        if message["role"] == "assistant":
            said = Piece(message["content"], False, True)
            pieces = [Piece("<bot>", True, False), said, Piece("<end>", True, True)]
    return pieces + [Piece("<bot>", True, False)] * reply_next


@_pieces("cut elsewhere")
def marker_and_text_joined(messages, reply_next=False):
    check_chat(messages, reply_next)
    pieces = []
    for message in messages:
        if message["role"] == "user":
            pieces.append(Piece(f"<user>{message['content']}", True, False))
        else:
            pieces.append(Piece("<bot>", True, False))
            pieces.append(Piece(f"{message['content']}<end>", True, True))
    return pieces + [Piece("<bot>", True, False)] * reply_next


@_pieces("cut elsewhere")
def answer_and_end_joined(messages, reply_next=False):
    pieces = []
    for piece in in_a_loop(messages, reply_next):
        if piece == Piece("<end>", True, True):
            before = pieces.pop()
            pieces.append(Piece(before.text + "<end>", True, True))
        else:
            pieces.append(piece)
    return pieces


@_pieces("cut elsewhere")
def one_piece(messages, reply_next=False):
    return [Piece(render_chat(messages, reply_next), True, True)]


@_pieces("cut elsewhere|marker=True|has marker")
def the_rendered_text_cut_at_markers(messages, reply_next=False):
    parts = re.split("(<user>|<bot>|<end>)", render_chat(messages, reply_next))
    pieces, replying = [], False
    for part in filter(None, parts):
        marker = part in ("<user>", "<bot>", "<end>")
        pieces.append(Piece(part, marker, replying and part not in ("<user>", "<bot>")))
        replying = part == "<bot>" if part in ("<user>", "<bot>") else replying
    return pieces


@_pieces("how its text looks")
def a_marker_by_its_looks(messages, reply_next=False):
    known = ("<user>", "<bot>", "<end>")
    return [p._replace(marker=p.text in known) for p in in_a_loop(messages, reply_next)]


@_pieces("how its text looks")
def a_text_that_counts_by_its_looks(messages, reply_next=False):
    said = [m["content"] for m in messages if m["role"] == "assistant"]
    pieces = in_a_loop(messages, reply_next)
    return [p._replace(counts=p.counts or p.text in said) for p in pieces]


@_pieces("how its text looks")
def an_end_that_counts_by_its_looks(messages, reply_next=False):
    pieces = in_a_loop(messages, reply_next)
    return [p._replace(counts=p.counts or p.text == "<end>") for p in pieces]


@_pieces("exchanged")
def marker_and_counts_exchanged(messages, reply_next=False):
    return [Piece(t, c, m) for t, m, c in in_a_loop(messages, reply_next)]


@_pieces("holds the text")
def texts_alone(messages, reply_next=False):
    return [piece.text for piece in in_a_loop(messages, reply_next)]


@_pieces("holds a tuple")
def plain_tuples(messages, reply_next=False):
    return [tuple(piece) for piece in in_a_loop(messages, reply_next)]


@_pieces("holds a list")
def lists_of_lists(messages, reply_next=False):
    return [in_a_loop([m]) if i == 0 else [] for i, m in enumerate(messages)]


@_pieces("returned a generator")
def in_a_generator(messages, reply_next=False):
    yield from in_a_loop(messages, reply_next)


@_pieces("returned a str")
def as_a_text(messages, reply_next=False):
    return render_chat(messages, reply_next)


@_pieces("it is True or False")
def counts_as_numbers(messages, reply_next=False):
    return [p._replace(counts=int(p.counts)) for p in in_a_loop(messages, reply_next)]


@_pieces("The text of a piece")
def messages_as_texts(messages, reply_next=False):
    check_chat(messages, reply_next)
    return [Piece(m, False, m["role"] == "assistant") for m in messages]


@_pieces("questions are missing|Only one of the messages")
def answers_alone(messages, reply_next=False):
    pieces = in_a_loop(messages, reply_next)
    place = next((i for i, p in enumerate(pieces) if p.text == "<bot>"), len(pieces))
    return pieces[place:]


@_pieces("speakers' markers are missing")
def without_speakers(messages, reply_next=False):
    pieces = in_a_loop(messages, reply_next)
    return [p for p in pieces if not p.marker or p.text == "<end>"]


@_pieces("read by its names")
def values_by_their_order(messages, reply_next=False):
    check_chat(messages, reply_next)
    pairs = [dict(zip(("role", "content"), m.values(), strict=False)) for m in messages]
    if any(pair["role"] not in ("user", "assistant") for pair in pairs):
        pairs = [{"role": "user", "content": ""}]
    return in_a_loop(pairs, reply_next)


@_pieces("changed its own input")
def that_empties_the_chat(messages, reply_next=False):
    check_chat(messages, reply_next)
    pieces, kept = [], list(messages)
    while kept:
        pieces += in_a_loop([kept[0]]) if kept[0]["role"] == "user" else _bot(kept[0])
        kept.pop(0)
    if isinstance(messages, list):
        messages.clear()
    return pieces + [Piece("<bot>", True, False)] * reply_next


def _bot(message):
    said = Piece(message["content"], False, True)
    return [Piece("<bot>", True, False), said, Piece("<end>", True, True)]


@_pieces("begins with the assistant")
def without_a_check(messages, reply_next=False):
    pieces = []
    for message in messages:
        asked = [Piece("<user>", True, False), Piece(message["content"], False, False)]
        pieces += asked if message["role"] == "user" else _bot(message)
    return pieces + [Piece("<bot>", True, False)] * reply_next


@_pieces("has been answered")
def checked_without_reply_next(messages, reply_next=False):
    check_chat(messages, False)
    return without_a_check(messages, reply_next)


_EVERYTHING: list = []


@_pieces("does not belong to this chat")
def that_keeps_what_was_before(messages, reply_next=False):
    _EVERYTHING.extend(in_a_loop(messages, reply_next))
    return _EVERYTHING


_ONE_LIST: list = []


@_pieces("second call")
def one_list_for_all_chats(messages, reply_next=False):
    _ONE_LIST[:] = in_a_loop(messages, reply_next)
    return _ONE_LIST


@_pieces("an answer, and has counts=False")
def blank_answers_outside(messages, reply_next=False):
    return [
        piece._replace(counts=piece.counts and bool(piece.text.strip()))
        for piece in in_a_loop(messages, reply_next)
    ]


@_pieces("15 are wanted")
def end_of_the_first_answer_alone(messages, reply_next=False):
    pieces, ended = [], False
    for piece in in_a_loop(messages, reply_next):
        our_end = piece.marker and piece.text == "<end>"
        if not (our_end and ended):
            pieces.append(piece)
        ended = ended or our_end
    return pieces


@_pieces("13 are wanted")
def asking_after_each_question(messages, reply_next=False):
    pieces = []
    for turn, message in enumerate(messages):
        one = in_a_loop(_user_first(message), False)
        pieces += one[-2:] if turn % 2 == 0 else one[-3:]
        pieces += [Piece("<bot>", True, False)] * reply_next
    return pieces


def _user_first(message):
    asked = {"role": "user", "content": "?"}
    return [message] if message["role"] == "user" else [asked, message]
