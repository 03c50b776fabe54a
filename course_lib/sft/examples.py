"""Examples: which tokens the model reads, and which of them it is marked on.

Fine-tuning is next-token prediction on questions and answers, with a loss on the
answers alone (Ouyang et al. 2022). What goes wrong are the borders: the prompt
counts and so does padding; the end token is left out and the model never stops; a
long prompt pushes the answer out of the row and the loss becomes nan. So an example
is made of ids, never by searching a text for a marker, and it is refused where no
answer is left. Masks are True where the prediction *of* that token counts. Left
out: weights between answers, images.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from course_lib.batches import pad_right
from course_lib.sft.records import Message, chat_pieces, encode_pieces
from course_lib.tokenizer import Tokenizer

IGNORED = -100  # the label that torch's cross_entropy and transformers leave out


class Example(NamedTuple):
    """One row for training; `batches.shuffled` takes a list of them."""

    ids: list[int]
    mask: list[bool]  # True where the token counts in the loss


# ---- one example


def build_example(
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    end: int,
    context: int | None = None,
    cut: bool = False,
) -> Example:
    """Prompt, response, end token; the loss is on the response and its end.

    prompt_ids: all that is given, the marker that opens the reply included. context:
    tokens that a row may hold, None = any number. What is too long is refused, or
    with `cut` loses the beginning of its prompt; never a token of its answer.

    How: the mask is False for each token of the prompt, True for the rest.

    >>> build_example([2, 7, 3], [5], end=1)
    Example(ids=[2, 7, 3, 5, 1], mask=[False, False, False, True, True])
    """
    check_parts(prompt_ids, response_ids)
    answer = [*response_ids, end]
    prompt = shorten(prompt_ids, len(answer), context, cut)
    mask = [False] * len(prompt) + [True] * len(answer)
    return Example([*prompt, *answer], mask)


def check_parts(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> None:
    """Refuse an example without a question or without an answer."""
    if not len(response_ids):
        raise ValueError("The response is empty: there is nothing to learn from it.")
    if not len(prompt_ids):
        raise ValueError(
            "The prompt is empty, and nothing predicts the first token of a row."
        )


def shorten(
    prompt_ids: Sequence[int], answer: int, context: int | None, cut: bool = False
) -> list[int]:
    """The prompt, or its latest tokens if it leaves too little room for the answer.

    answer: how many tokens the answer and its end have. At least one token of the
    prompt stays; an answer that does not fit behind it is refused.

    >>> shorten([1, 2, 3, 4], answer=3, context=5, cut=True)
    [3, 4]
    """
    total = len(prompt_ids) + answer
    if context is None or total <= context:
        return list(prompt_ids)
    if not cut:
        raise ValueError(
            f"The example has {total} tokens, a row has room for {context}."
        )
    if answer >= context:
        raise ValueError(
            f"The answer alone has {answer} tokens with its end; "
            f"a row has room for {context} and needs one of the prompt."
        )
    return list(prompt_ids[answer - context :])  # the latest context - answer


def chat_example(
    messages: Sequence[Message], tokenizer: Tokenizer, context: int | None = None
) -> Example:
    """A whole chat as one example: every answer counts, each with its end token.

    >>> from course_lib.tokenizer import train_bpe
    >>> from course_lib.world.corpus import turn
    >>> chat_example(turn("?", "!"), train_bpe(["a"], 260)).mask
    [False, False, False, True, True]
    """
    example = Example(*encode_pieces(chat_pieces(messages), tokenizer))
    if context is not None and len(example.ids) > context:
        raise ValueError(
            f"The chat has {len(example.ids)} tokens, a row has room for {context}: "
            "latest_turns drops its oldest exchanges."
        )
    check_counts([example])
    return example


def latest_turns(
    messages: Sequence[Message], tokenizer: Tokenizer, context: int
) -> list[Message]:
    """The chat without as many of its oldest exchanges as do not fit into a row.

    An exchange is a question and its answer. A ValueError if not even the last fits.

    >>> from course_lib.tokenizer import train_bpe
    >>> from course_lib.world.corpus import turn
    >>> len(latest_turns(turn("?", "!") * 3, train_bpe(["a"], 260), context=14))
    4
    """
    for first in range(0, len(messages), 2):
        kept = list(messages[first:])
        length = len(tokenizer.encode_chat(kept))
        if length <= context:
            return kept
    raise ValueError(
        f"The last exchange alone has {length} tokens, a row has room for {context}."
    )


def reply_mask(ids: Tensor, bot: int, end: int) -> Tensor:
    """Which tokens of finished chats are replies: after `bot`, up to and with `end`.

    ids (B, T) of chats whose user texts hold no special tokens. Returns (B, T);
    where the end is missing, a reply goes on to the end of its row.

    How: a token is inside if more replies were opened before it than were closed
    before it; both counts leave out the token itself.

    >>> reply_mask(torch.tensor([[2, 9, 3, 8, 1, 2, 9, 3, 1]]), bot=3, end=1).int()
    tensor([[0, 0, 0, 1, 1, 0, 0, 0, 1]], dtype=torch.int32)
    """
    change = (ids == bot).int() - (ids == end).int()  # (B, T)
    return change.cumsum(dim=1) - change > 0


# ---- a batch


def check_counts(examples: Sequence[Example]) -> None:
    """Refuse an example in which no token counts: its mean loss would be nan.

    The first token of a row is never predicted, so it does not count either.
    """
    for number, (ids, mask) in enumerate(examples):
        assert len(ids) == len(mask), f"one mask each: {len(ids)=} {len(mask)=}"
        if not any(mask[1:]):
            raise ValueError(
                f"Example {number} has no token that counts in the loss: "
                f"nothing is left of its answer ({len(ids)} tokens)."
            )


def collate(examples: Sequence[Example], pad: int) -> tuple[Tensor, Tensor]:
    """Examples of different lengths as one rectangle: ids and mask, both (B, T).

    Padding stands on the right and never counts, whatever number it is: `pad` may be
    the end token itself, as with GPT-2, and the ends of the answers still count. No
    attention mask is needed, since a causal model's real tokens do not see what
    follows.

    How: pad ids with `pad`, masks with False; never `ids != pad`.

    >>> long = Example([5, 6, 1], [False, True, True])
    >>> short = Example([7, 1], [False, True])
    >>> ids, mask = collate([long, short], pad=1)
    >>> ids.tolist(), mask.int().tolist()
    ([[5, 6, 1], [7, 1, 1]], [[0, 1, 1], [0, 1, 0]])
    """
    check_counts(examples)
    ids = pad_right([ids for ids, _ in examples], pad)
    return ids, pad_right([mask for _, mask in examples], False)


def to_labels(ids: Tensor, mask: Tensor, ignored: int = IGNORED) -> Tensor:
    """The same in the form of transformers: the ids that count, -100 elsewhere.

    ids and mask (B, T). Nothing is shifted: transformers does that inside.

    >>> to_labels(torch.tensor([[5, 6, 1]]), torch.tensor([[False, True, True]]))
    tensor([[-100,    6,    1]])
    """
    assert ids.shape == mask.shape, f"one shape: {ids.shape=} {mask.shape=}"
    return ids.masked_fill(~mask, ignored)
