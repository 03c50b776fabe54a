"""The reward model: a transformer that ends in one number, read at the last token.

The body is a language model that has already learned to read. Its scores of the next
token are replaced by one row of weights, and since only the last token has seen the
whole answer, the number is read there (Stiennon et al. 2020, section 3.4; Ouyang et
al. 2022). Notable: the last token is found from the mask, so padding may stand on
either side and a text's reward does not depend on its neighbours. Left out: rewards
for single steps of an answer, and several heads.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_lib.batches import pad_right
from course_lib.reward.losses import check_numbers
from course_lib.sft.examples import build_example
from course_lib.tokenizer import Tokenizer
from course_lib.transformer import Config, Transformer

AT_ONCE = 64  # texts in a batch that is only scored


def last_index(mask: Tensor) -> Tensor:
    """Where the last real token of each row stands, wherever the padding is.

    mask (B, T): True = a real token. Returns (B,). A row without any real token is
    refused: it would be scored by its padding.

    How: the places of real tokens counted from 1, padding 0; the largest is the
    last.

    >>> last_index(torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]]).bool())
    tensor([1, 3])
    """
    check_rows(mask)
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (places * mask).argmax(dim=1)


def check_rows(mask: Tensor) -> None:
    """Refuse a mask that is none, and a row in which nothing is kept."""
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(
            f"mask is boolean of shape (B, T), not {mask.dtype} {tuple(mask.shape)}."
        )
    empty = (~mask.any(dim=1)).nonzero()
    if len(empty):
        raise ValueError(
            f"Row {int(empty[0])} is all padding: it has no last token to be read at."
        )


class RewardModel(nn.Module):
    """Token numbers in, one number for each text out."""

    def __init__(self, body: Transformer, generator: torch.Generator | None = None):
        """body: trained along and not copied; `copy.deepcopy` keeps yours as it is.

        The head starts with small random weights, so that rewards start near 0, and
        has no bias: the loss would never move it. It is drawn where the generator
        is, so one on the CPU gives the same head to every device.
        """
        super().__init__()
        self.body, like = body, body.embed.weight
        source = generator.device if generator else like.device
        width = body.config.width
        self.head = nn.Linear(width, 1, bias=False, device=source, dtype=like.dtype)
        std = 1 / math.sqrt(width + 1)  # as in Stiennon et al. 2020
        with torch.no_grad():
            self.head.weight.normal_(0.0, std, generator=generator)
        self.head.to(like.device)

    @property
    def config(self) -> Config:
        """The shape of the body."""
        return self.body.config

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids (B, T) to rewards (B,).

        mask (B, T): True = a real token; None: all are.
        """
        if mask is None:
            mask = torch.ones_like(ids, dtype=torch.bool)
        hidden = self.body.hidden(ids, mask)  # (B, T, D)
        last = hidden[torch.arange(len(ids), device=ids.device), last_index(mask)]
        return self.head(last).squeeze(-1)


def chat_ids(prompt: str, reply: str, tokenizer: Tokenizer) -> list[int]:
    """A question and an answer as the reward model reads them, with the end token.

    >>> from course_lib.tokenizer import train_bpe
    >>> chat_ids("?", "!", train_bpe(["a"], 260))
    [2, 34, 3, 4, 1]
    """
    if not reply.strip():
        raise ValueError(f"The response to {prompt!r} is empty.")
    asked = [{"role": "user", "content": prompt}]
    opened = tokenizer.encode_chat(asked, reply_next=True)
    return build_example(opened, tokenizer.encode(reply), tokenizer.end).ids


@torch.no_grad()
def rewards_of(
    model: nn.Module,
    tokenizer: Tokenizer,
    chats: Sequence[tuple[str, str]],
) -> Tensor:
    """The reward of each (prompt, reply) in the order given, (N,), without gradients.

    Texts of similar length share a batch; the model is switched to evaluation and
    back.
    """
    rows = [chat_ids(prompt, reply, tokenizer) for prompt, reply in chats]
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    weights = next(model.parameters())
    found, was_training = torch.zeros(len(rows), dtype=weights.dtype), model.training
    model.eval()
    for first in range(0, len(rows), AT_ONCE):
        batch = by_length[first : first + AT_ONCE]
        ids = pad_right([rows[i] for i in batch], tokenizer.pad)
        mask = pad_right([[True] * len(rows[i]) for i in batch], False)
        found[batch] = model(ids.to(weights.device), mask.to(weights.device)).cpu()
    model.train(was_training)
    check_numbers(found, "reward")
    return found


def pair_scores(
    model: nn.Module, tokenizer: Tokenizer, preferences: Sequence[tuple]
) -> tuple[Tensor, Tensor]:
    """The rewards of the chosen and of the rejected answers, (N,) each.

    preferences: tuples that begin with prompt, chosen, rejected.
    """
    chosen = [(prompt, better) for prompt, better, *_ in preferences]
    rejected = [(prompt, worse) for prompt, _, worse, *_ in preferences]
    return rewards_of(model, tokenizer, chosen + rejected).chunk(2)
