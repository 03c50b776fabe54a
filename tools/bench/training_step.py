"""A whole step of training, as `train` takes it, against the usual loop around transformers.

Same weights, same rows, same AdamW, and gradients clipped at the same length; neither is compiled. Theirs
has the attention it comes with (torch's fused one) and no cache, and gets its labels shifted already, so that
both read T tokens and predict T. A first step is taken before anything is compared: what agrees afterwards
(loss, length of the gradient, every clipped gradient) rests on a first update that agreed.
"""

import torch
from torch import Tensor, nn

from course_lib.descent import adamw, clip_gradients
from course_lib.training import accumulate_gradients, next_token_loss, reply_loss
from tools.bench.harness import Claim, Side
from tools.bench.twins import COURSE, LARGE, SHAPES, in_our_order, shape, twins

CLIP = 0.1  # shorter than these gradients, so that clipping is compared too


def step_flops(model: str, V: int, B: int, T: int, counted: float = 1.0) -> int:
    r"""Floating-point operations that the matrices of one step ask for.

    A weight of a matrix is multiplied and added once per token: 2 operations, and
    twice as many backward (for the gradient of its input and for its own), so 6 per
    token. A position looks at (T + 1) / 2 tokens on average, at itself and at those
    before; one such pair takes 2 K operations in each head for the score and 2 K for
    the value, 12 K with the way back. With N weights per token:
    $B T (6 N + 6 L H K (T + 1))$.

    Counted is what the definition asks for: the causal half of attention only, no
    score that is computed again on the way back, and none of the rest (norms, rotary,
    softmax, SiLU, optimiser), which takes time all the same. Looking up an
    embedding multiplies nothing; scoring the vocabulary does, tied or not, and
    here for the tokens that count alone.

    >>> step_flops(LARGE, V=2048, B=32, T=128)
    67065348096
    """
    c = shape(model, V)
    attention = 2 * c.width * c.K * (c.heads + c.kv_heads)  # query, output; key, value
    N = c.layers * (attention + 3 * c.width * c.hidden)
    N += round(counted * c.width * c.vocabulary)
    return B * T * (6 * N + 6 * c.layers * c.heads * c.K * (T + 1))


def prepare(
    seed: int, model: str, V: int, B: int, T: int, counted: float = 1.0
) -> tuple[Side, Side]:
    """counted: the share of tokens in the loss; ours scores no others, theirs has -100 there."""
    draw = torch.Generator().manual_seed(seed)
    ours, theirs = twins(shape(model, V), draw)
    ids = torch.randint(V, (B, T + 1), generator=draw)
    kept = torch.rand(B, T + 1, generator=draw) < counted
    read, said = ids[:, :-1].contiguous(), ids[:, 1:].masked_fill(~kept[:, 1:], -100)
    loss_fn = next_token_loss if counted == 1 else reply_loss
    our_adamw, their_adamw = adamw(ours), adamw(theirs)
    twin_of = in_our_order(ours, theirs)

    def our_step() -> tuple[Tensor, ...]:
        loss, _ = accumulate_gradients(ours, (ids, kept), loss_fn)
        length = clip_gradients(ours.parameters(), CLIP)
        our_adamw.step()
        return loss, length, *(weights.grad for weights in ours.parameters())

    def their_step() -> tuple[Tensor, ...]:
        their_adamw.zero_grad()
        loss = theirs(read, labels=said, shift_labels=said, use_cache=False).loss
        loss.backward()
        length = nn.utils.clip_grad_norm_(theirs.parameters(), CLIP)
        their_adamw.step()
        return loss.detach(), length, *(weights.grad for weights in twin_of)

    our_step()
    their_step()
    return our_step, their_step


CLAIM = Claim(
    name="training_step",
    sentence="A training step of ours takes at most 1/1.1 of the time of LlamaForCausalLM at the course's size, with all tokens in the loss or with the 40 % that count in the course's own texts, and no more time at 3 million parameters.",
    faster=True,
    sizes=(
        {"model": COURSE, "V": SHAPES[COURSE].vocabulary, "B": 8, "T": 256},
        {
            "model": COURSE,
            "V": SHAPES[COURSE].vocabulary,
            "B": 8,
            "T": 256,
            "counted": 0.4,
        },
        {"model": LARGE, "V": 2048, "B": 32, "T": 128},
    ),
    prepare=prepare,
    limits=(1 / 1.1, 1 / 1.1, 1.0),
    work=step_flops,
    pairs=4,  # a step of 3 million parameters takes about a second
)
