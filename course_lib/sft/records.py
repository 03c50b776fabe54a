"""Records: other people's data in one form, and a chat as the pieces it is made of.

Two schemas circulate. Alpaca's (Taori et al. 2023) has one instruction, perhaps an
input, and one output; ShareGPT's has turns, under `conversations` with `from` and
`value`, or under `messages` with `role` and `content`. Both become what the rest of
the course reads: a list of {"role": "user" or "assistant", "content": text} in which
the two take turns and the assistant has the last word. What is broken is refused in
one sentence and never mended in silence. Left out: system messages, tools, pictures.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from course_lib.chat_format import check_chat
from course_lib.tokenizer import Tokenizer

Message = dict[str, str]
ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
ANSWERS = ("output", "response")  # what Alpaca's and Dolly's kind call the answer
TURNS = ("messages", "conversations")


# ---- from a record to messages


def normalise(record: Mapping) -> list[Message]:
    """One record of either schema as messages; a ValueError says what is wrong.

    How: a record with turns goes to `from_turns`, any other to `from_instruction`;
    then `check_messages`.

    >>> normalise({"conversations": [{"from": "human", "value": "Hi"},
    ...                              {"from": "gpt", "value": "Hello."}]})[1]
    {'role': 'assistant', 'content': 'Hello.'}
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"A record is a table of names and values, not {record!r}.")
    turns = [name for name in TURNS if name in record]
    read = from_turns if turns else from_instruction
    messages = read(record[turns[0]] if turns else record)
    check_messages(messages)
    return messages


def from_instruction(record: Mapping[str, str]) -> list[Message]:
    r"""Alpaca's schema: the input, if there is any, stands below the instruction.

    record: "instruction", "output" (or "response") and perhaps "input", which many
    records carry as "". Returns one question and its answer.

    How: instruction + "\n\n" + input; without input the instruction alone.

    >>> record = {"instruction": "Add.", "input": "2 and 2", "output": "4"}
    >>> from_instruction(record)[0]["content"]
    'Add.\n\n2 and 2'
    """
    answer = next((name for name in ANSWERS if name in record), ANSWERS[0])
    asked, said = (text_in(record, name) for name in ("instruction", answer))
    given = text_in(record, "input") if record.get("input") else ""
    if given.strip():
        asked = f"{asked}\n\n{given}"
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": said},
    ]


def from_turns(turns: Sequence[Mapping[str, str]]) -> list[Message]:
    """ShareGPT's schema, or transformers': turns with a role and a text.

    Their names are `from` and `value`, or `role` and `content`; human and gpt become
    user and assistant.

    >>> from_turns([{"from": "human", "value": "Hello"}])
    [{'role': 'user', 'content': 'Hello'}]
    """
    if isinstance(turns, str) or not isinstance(turns, Sequence):
        raise ValueError(f"A conversation is a list of turns, not {turns!r}.")
    messages = []
    for number, turn in enumerate(turns):
        if not isinstance(turn, Mapping):
            raise ValueError(
                f"Turn {number} is no table of names and values: {turn!r}."
            )
        who, what = ("from", "value") if "from" in turn else ("role", "content")
        role = text_in(turn, who, f"Turn {number}")
        if role not in ROLES:
            known = ", ".join(ROLES)
            raise ValueError(
                f"Turn {number} has the unknown role {role!r}, not {known}."
            )
        said = text_in(turn, what, f"Turn {number}")
        messages.append({"role": ROLES[role], "content": said})
    return messages


def text_in(table: Mapping, name: str, what: str = "The record") -> str:
    """The text under a name, or a sentence about what stands there instead.

    >>> text_in({"instruction": "Add."}, "output")
    Traceback (most recent call last):
    ValueError: The record has no 'output'; it has instruction.
    """
    if name not in table:
        names = ", ".join(map(str, table)) or "nothing at all"
        raise ValueError(f"{what} has no {name!r}; it has {names}.")
    if not isinstance(table[name], str):
        found = table[name]
        raise ValueError(f"{what} needs a text as its {name!r}, not {found!r}.")
    return table[name]


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse what nobody should learn from: each fault has a sentence of its own.

    >>> check_messages([{"role": "assistant", "content": "Hello."}])
    Traceback (most recent call last):
    ValueError: The conversation begins with the assistant: nobody has asked yet.
    """
    if not messages:
        raise ValueError("The conversation is empty.")
    roles = [message["role"] for message in messages]
    if roles[0] == "assistant":
        raise ValueError(
            "The conversation begins with the assistant: nobody has asked yet."
        )
    for turn, (before, role) in enumerate(pairwise(roles), start=1):
        if before == role:
            raise ValueError(
                f"The {role} speaks twice in a row: turns {turn - 1}, {turn}."
            )
    for turn, message in enumerate(messages):
        if not message["content"].strip():
            what = "response" if message["role"] == "assistant" else "question"
            raise ValueError(f"Turn {turn} is an empty {what}.")
    if roles[-1] == "user":
        raise ValueError(f"The conversation ends with a question: turn {turn}.")


def sort_out(records: Iterable[Mapping]) -> tuple[list[list[Message]], list[str]]:
    """All records that can be read, and for each of the others its number and fault.

    Nothing is lost without a word: the two lists together are as long as `records`.

    >>> chats, faults = sort_out([{"instruction": "Hi", "output": ""}])
    >>> chats, faults
    ([], ['record 0: Turn 1 is an empty response.'])
    """
    chats, faults = [], []
    for number, record in enumerate(records):
        try:
            chats.append(normalise(record))
        except ValueError as fault:
            faults.append(f"record {number}: {fault}")
    return chats, faults


# ---- the template


class Piece(NamedTuple):
    """A stretch of a chat, with who wrote it and whether it is learned."""

    text: str
    marker: bool  # a special token that we wrote; anything else is plain text
    counts: bool  # in the loss: what the assistant says, and the end of it


def chat_pieces(
    messages: Sequence[Message],
    reply_next: bool = False,
) -> list[Piece]:
    """The chat template: `<user>` question `<bot>` answer `<end>`, and so on.

    messages: the two take turns, the user begins. `reply_next` adds the `<bot>`
    that asks for a reply. The texts together are `render_chat`; who wrote a piece
    is kept, since afterwards nobody could tell our `<end>` from one that a user
    typed.

    How: the marker of the role and what is said; after an answer, `<end>` as well.
    The answer and its end count.

    >>> hello = [{"role": "user", "content": "Hi <end>"}]
    >>> [piece.text for piece in chat_pieces(hello, reply_next=True)]
    ['<user>', 'Hi <end>', '<bot>']
    """
    check_chat(messages, reply_next)
    pieces = []
    for message in messages:
        replying = message["role"] == "assistant"
        pieces.append(Piece("<bot>" if replying else "<user>", True, False))
        pieces.append(Piece(message["content"], False, replying))
        if replying:
            pieces.append(Piece("<end>", True, True))
    return pieces + [Piece("<bot>", True, False)] * reply_next


def encode_pieces(
    pieces: Sequence[Piece], tokenizer: Tokenizer
) -> tuple[list[int], list[bool]]:
    """The ids of a chat, and which of them count in the loss.

    Markers become special tokens, all other text is plain, whatever it says.

    How: encode each piece by itself, with `specials` for markers only; its `counts`
    holds for every id of it.

    >>> from course_lib.tokenizer import train_bpe
    >>> pieces = [Piece("<bot>", True, False), Piece('"!', False, True)]
    >>> encode_pieces(pieces, train_bpe(["a"], 260))
    ([3, 5, 4], [False, True, True])
    """
    ids: list[int] = []
    mask: list[bool] = []
    for text, marker, counts in pieces:
        said = tokenizer.encode(text, specials=marker)
        ids += said
        mask += [counts] * len(said)
    return ids, mask
