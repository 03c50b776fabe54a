"""A panel for the loss mask: choose a chat and what counts, see which tokens learn.

The learner's template, example and batch are arguments; what goes wrong in them is said
in one sentence. The published rule is that of a widely copied data set, which looks for
the answer in the text. Left out: several rows, weights between answers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import ipywidgets as widgets
import torch
from torch import Tensor, nn

from course_lib.plotting.loss_mask import loss_mask
from course_lib.plotting.style import Picture
from course_lib.sft import examples, records
from course_lib.sft.examples import Example
from course_lib.sft.records import Message, Piece
from course_lib.tokenizer import Tokenizer
from course_lib.training import next_token_loss
from course_lib.widgets import controls

_, LAST, NO_END, ALL, PUBLISHED = RULES = (
    "each reply with its end",
    "the last reply with its end",
    "replies without their end",
    "everything",
    "the published rule",
)
MARKER = "### Response:"


class Row(NamedTuple):
    """What is drawn: one row of a batch."""

    ids: list[int]
    counts: list[bool]
    real: int  # tokens; what follows them is padding


# ---- what the learner's functions give


def asked(name: str, function: Callable, *args: object) -> object:
    """function(...), or a ValueError that says in one sentence what it did.

    >>> asked("collate", lambda rows: 1 / len(rows), [])
    Traceback (most recent call last):
    ValueError: collate stopped with ZeroDivisionError: division by zero
    """
    try:
        return function(*args)
    except NotImplementedError:
        raise ValueError(f"{name} is not written yet.") from None
    except Exception as error:
        is_said = isinstance(error, ValueError)
        kind = ":" if is_said else f" stopped with {type(error).__name__}:"
        raise ValueError(f"{name}{kind} {error}".splitlines()[0]) from error


def checked_pieces(given: object) -> Sequence[Piece]:
    """The template's pieces, if it gave any."""
    pieces = given if isinstance(given, list) else [None]
    kinds = [[*map(type, p)] if isinstance(p, tuple) else None for p in pieces]
    if any(kind != [str, bool, bool] for kind in kinds):
        raise ValueError("chat_pieces gave no list of pieces (text, marker, counts).")
    return pieces


def checked_example(given: object) -> Example:
    """Ids and as many marks, if build_example gave these."""
    is_pair = isinstance(given, tuple) and [*map(type, given)] == [list, list]
    if not is_pair or not 0 < len(given[0]) == len(given[1]):
        raise ValueError("build_example gave no list of ids with a mark for each.")
    return Example(*given)


def first_row(given: object, example: Example) -> Row:
    """Row 0 of what collate gave, if it begins with the example's tokens."""
    is_pair = isinstance(given, tuple) and [*map(type, given)] == [Tensor, Tensor]
    if not is_pair or given[0].dim() != 2 or given[0].shape != given[1].shape:
        raise ValueError("collate gave no ids and mask, two tensors of one shape.")
    (row, *_), (mask, *_) = (part.tolist() for part in given)
    if row[: len(example.ids)] != example.ids:
        raise ValueError("collate moved or changed the tokens of row 0.")
    return Row(row, [bool(kept) for kept in mask], len(example.ids))


# ---- the published rule


def as_published(messages: Sequence[Message]) -> str:
    r"""A chat in the form of the published data set: headings, no end.

    >>> as_published(records.from_instruction({"instruction": "Hi", "output": "Yes"}))
    '### Instruction:\nHi\n\n### Response:\nYes'
    """
    said = [message["content"] for message in messages]
    pairs = zip(said[::2], said[1::2], strict=True)
    turns = (f"### Instruction:\n{q}\n\n{MARKER}\n{a}" for q, a in pairs)
    return "\n\n".join(turns)


def published(messages: Sequence[Message], tokenizer: Tokenizer, room: int) -> Row:
    """All counts from the first marker on, wherever it stands, up to the row's last.

    So the marker itself counts and padding does, there is no end, and what is too
    long loses its answer.
    """
    text = as_published(messages)
    ids = tokenizer.encode(text)[:room]
    before = len(tokenizer.encode(text[: text.find(MARKER)]))
    filled = ids + [tokenizer.pad] * (room - len(ids))
    return Row(filled, [place >= before for place in range(room)], len(ids))


# ---- the panel


class Panel:
    """The controls, and the picture that follows them."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        conversations: Mapping[str, Sequence[Message]],
        functions: Mapping[str, Callable],
        model: nn.Module | None = None,
        context: int | None = None,
    ):
        for chat in conversations.values():
            records.check_messages(chat)
        self.tokenizer, self.conversations = tokenizer, dict(conversations)
        self.functions, self.model = dict(functions), model
        self.known: dict[tuple[int, ...], list[float]] = {}  # nats of rows
        texts = map(as_published, conversations.values())
        most = context or max(len(tokenizer.encode(text)) for text in texts)
        most = most if model is None else min(most, model.config.context)
        self.chat = controls.choice([*conversations], "conversation")
        self.rule = controls.choice(RULES, "what counts")
        self.room = controls.slider(most, 4, most, 1, "tokens in a row")
        self.picture = widgets.HTML()
        for control in (self.chat, self.rule, self.room):
            control.observe(lambda _: self.redraw(), names="value")

    def ask(self, name: str, *args: object) -> object:
        return asked(name, self.functions[name], *args)

    def encoded(self, messages: Sequence[Message], reply_next: bool = False) -> Example:
        """A chat by the learner's template, with the template's own mask."""
        own = [dict(message) for message in messages]  # the function may change it
        pieces = checked_pieces(self.ask("chat_pieces", own, reply_next))
        return Example(*records.encode_pieces(pieces, self.tokenizer))

    def example(self, name: str) -> Example:
        """A conversation as the rule has it; ValueError if it finds no room."""
        chat, end, room = self.conversations[name], self.tokenizer.end, self.room.value
        if self.rule.value == LAST:
            prompt = self.encoded(chat[:-1], reply_next=True).ids
            parts = prompt, self.tokenizer.encode(chat[-1]["content"]), end, int(room)
            ids, mask = checked_example(self.ask("build_example", *parts))
        else:
            ids, mask = self.encoded(chat)
        if len(ids) > room:
            said = f"The example has {len(ids)} tokens, a row has room for {room:.0f}."
            raise ValueError(said)
        if self.rule.value == NO_END:
            mask = [kept and id != end for id, kept in zip(ids, mask, strict=True)]
        return Example(ids, [True] * len(ids) if self.rule.value == ALL else mask)

    def row(self) -> Row:
        """The chosen conversation in a batch with all others that find room."""
        name = self.chat.value
        if self.rule.value == PUBLISHED:
            room = int(self.room.value)
            return published(self.conversations[name], self.tokenizer, room)
        batch = [self.example(name)]
        for other in self.conversations:
            with suppress(ValueError):
                batch += [self.example(other)] * (other != name)
        return first_row(self.ask("collate", [*batch], self.tokenizer.pad), batch[0])

    @torch.inference_mode()
    def costs(self, ids: list[int]) -> list[float] | None:
        """Nats of every token, computed once for all rows that begin alike."""
        if self.model is None:
            return None
        for row, costs in self.known.items():
            if row[: len(ids)] == tuple(ids):  # what follows changes no token's cost
                return costs[: len(ids)]
        was_training, device = self.model.training, self.model.embed.weight.device
        row = torch.tensor([ids], device=device)
        losses, _ = asked("the model", next_token_loss, self.model.eval(), row)
        self.model.train(was_training)
        self.known[tuple(ids)] = [math.nan, *losses[0].tolist()]
        return self.known[tuple(ids)]

    def drawing(self) -> Picture:
        """The picture of this moment; ValueError if there is none."""
        ids, counts, real = self.row()
        tokens = asked("The row", lambda: [self.tokenizer.piece(id) for id in ids])
        counts = [False, *counts[1:]]  # the first token of a row is never predicted
        blind = math.log(len(self.tokenizer))
        return loss_mask(tokens, counts, real, self.costs(ids), blind)

    def redraw(self) -> Picture | controls.Sentence:
        drawn = controls.attempt(self.drawing)
        self.picture.value = drawn.html()
        return drawn

    def show(self) -> None:
        """Display the panel; where no kernel runs, its first picture."""
        first = self.redraw()
        above = controls.columns(self.chat, self.rule, self.room, names="9em")
        box = widgets.VBox([above, self.picture])
        controls.show_live(box, *first._repr_mimebundle_())


def mask_panel(
    tokenizer: Tokenizer,
    conversations: Mapping[str, Sequence[Message]],
    *,
    template: Callable[..., list[Piece]] = records.chat_pieces,
    build: Callable[..., Example] = examples.build_example,
    collate: Callable[..., tuple[Tensor, Tensor]] = examples.collate,
    model: nn.Module | None = None,
    context: int | None = None,
) -> None:
    """Show conversation, rule and length of a row above the tokens, coloured.

    conversations: messages by name. template, build, collate: as `chat_pieces`,
    `build_example` and `collate`. model: adds what each token costs, in nats; call
    again after training. context: the longest row, None = as the longest needs.
    """
    if not conversations:
        raise ValueError("The panel needs at least one conversation.")
    functions = {"chat_pieces": template, "build_example": build, "collate": collate}
    Panel(tokenizer, conversations, functions, model, context).show()
