"""Balance: see to it that every expert gets work.

Three answers to routers that send everything to a few experts. A loss that lowers
the shares of those with the most work (Switch, Fedus et al. 2021, eq. 4-6);
Mixtral's is the same on another scale, over all layers at once. A loss on the size
of the scores (ST-MoE, Zoph et al. 2022, eq. 5). And a bias that is moved by hand
after each step (Wang et al. 2024, algorithm 1; DeepSeek-V3). In all: scores (...,
N, E) and chosen (..., N, k), with L layers or B texts in front if there are any;
mask (N,) or (..., N) is True where a token is no padding. Left out: losses over
machines.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from course_lib.logprobs import softmax
from course_lib.masks import masked_mean
from course_lib.moe.layer import routers, routings, stacked
from course_lib.moe.routing import Routing

# ---- how even is it?


def load(chosen: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
    """Each expert's share of all visits, (..., E); the sum is 1, even is 1 / E.

    chosen (..., N, k) numbers of experts, of which there are `count`.

    How: count the visits, divide by all of them: N·k, not N.

    >>> load(torch.tensor([[0, 1], [0, 2], [0, 1]]), count=4)
    tensor([0.5000, 0.3333, 0.1667, 0.0000])
    """
    visits = one_hot(chosen, count).sum(dim=-2).float()  # (..., N, E)
    if mask is not None:
        visits = visits * mask.unsqueeze(-1)
    visits = visits.sum(dim=-2)
    return visits / visits.sum(dim=-1, keepdim=True).clamp(min=1)


def mean_share(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of each expert's share among *all* experts, (..., E), with gradient.

    >>> mean_share(torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log())
    tensor([0.6250, 0.3750])
    """
    shares = softmax(scores)  # (..., N, E)
    if mask is None:
        return shares.mean(dim=-2)
    return masked_mean(shares, mask.unsqueeze(-1).expand_as(shares), dim=-2)


def load_entropy(load: Tensor) -> Tensor:
    r"""How even a load is: $-\sum_e \ell_e \ln \ell_e / \ln E$.

    load (..., E). Returns (...): 1 = even, 0 = one does all. An expert without work
    contributes 0.

    >>> load_entropy(torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0]]))
    tensor([1.0000, 0.5000])
    """
    return torch.special.entr(load).sum(dim=-1) / math.log(load.shape[-1])


def load_by_kind(chosen: Tensor, kinds: Tensor, count: int) -> Tensor:
    """Where tokens of each kind go: (kinds, E), each row a load.

    chosen (N, k); kinds (N,) numbers from 0: token ids, parts of speech, topics. The
    row of a kind that does not occur is 0.

    >>> load_by_kind(torch.tensor([[0], [1], [1]]), torch.tensor([0, 2, 0]), count=2)
    tensor([[0.5000, 0.5000],
            [0.0000, 0.0000],
            [0.0000, 1.0000]])
    """
    assert chosen.shape[:1] == kinds.shape, f"{chosen.shape=} {kinds.shape=}"
    visits = one_hot(chosen, count).sum(dim=-2).float()  # (N, E)
    rows = int(kinds.max()) + 1
    table = visits.new_zeros(rows, count).index_add(0, kinds, visits)
    return table / table.sum(dim=-1, keepdim=True).clamp(min=1)


# ---- losses


def switch_loss(
    scores: Tensor,
    chosen: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    r"""1 at balance, E if one expert has it all: $E \sum_e \ell_e P_e$.

    scores (..., N, E), chosen (..., N, k), mask (N,) or (..., N), True where a token
    counts. $\ell$ is the load, $P$ the mean share among all experts; the mean over all
    that stands in front, layers or texts. Minimised. The load is counted and has no
    gradient; the share carries it. With (B, T, E) and (B, T, k) it is DeepSeek-V3's
    loss within each text, of softmaxes in place of sigmoids.

    How: `load` and `mean_share`, product, sum over experts, times E, mean.

    >>> scores = torch.tensor([[3.0, 1.0], [1.0, 3.0], [3.0, 1.0], [3.0, 1.0]]).log()
    >>> switch_loss(scores, scores.topk(1).indices)  # 2 (3/4 * 5/8 + 1/4 * 3/8)
    tensor(1.1250)
    """
    assert scores.shape[:-1] == chosen.shape[:-1], f"{scores.shape=} {chosen.shape=}"
    E = scores.shape[-1]
    agreement = load(chosen, E, mask) * mean_share(scores, mask)  # (..., E)
    return E * agreement.sum(dim=-1).mean()


def mixtral_loss(
    scores: Tensor,
    chosen: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """k at balance: visits are divided by tokens, and all layers are one heap.

    scores (L, N, E), chosen (L, N, k), mask (N,) the same for all layers. Equal to
    `load_balancing_loss_func` of transformers. One heap: a layer that overloads
    expert 3 and one that never uses it look balanced together.

    How: `switch_loss` of layers laid end to end, times k.

    >>> scores = torch.zeros(3, 5, 4)  # no preference at all
    >>> mixtral_loss(scores, scores.topk(2).indices)
    tensor(2.)
    """
    if mask is not None:
        mask = mask.expand(scores.shape[:-1]).flatten()
    heap = scores.flatten(0, -2), chosen.flatten(0, -2)
    return chosen.shape[-1] * switch_loss(*heap, mask)


def z_loss(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Keeps scores small: the mean of $(\ln \sum_e e^{z_e})^2$. Minimised.

    scores (..., N, E). A softmax forgets the size of its scores; rounding does not.

    How: logsumexp over the experts, squared, mean over the tokens that count.

    >>> z_loss(torch.zeros(5, 8))  # (ln 8)^2
    tensor(4.3241)
    """
    squares = scores.logsumexp(dim=-1).square()
    if mask is None:
        return squares.mean()
    return masked_mean(squares, mask.expand_as(squares))


# ---- balance without a loss


def update_bias(bias: Tensor, load: Tensor, rate: float) -> Tensor:
    r"""A step towards balance: $b_e + \text{rate} \cdot \text{sign}(1/E - \ell_e)$.

    bias and load (E,). Returns a new (E,). Who did more than its fair share is
    favoured less at the next step, by the same amount however far off it is.

    How: compare with the mean load, take the sign, times the rate.

    >>> update_bias(torch.zeros(3), torch.tensor([0.5, 0.3, 0.2]), rate=0.1)
    tensor([-0.1000,  0.1000,  0.1000])
    """
    assert bias.shape == load.shape, f"one load each: {bias.shape=} {load.shape=}"
    return bias + rate * (load.mean() - load).sign()


# ---- at work in a training loop


def balanced(
    loss_fn: Callable,
    coef: float,
    balance: Callable[[Tensor, Tensor], Tensor] = switch_loss,
) -> Callable:
    """A loss function for `train`: that of the text, plus coef times the balance.

    loss_fn(model, *tensors) gives losses and mask; balance(scores, chosen) gets all
    layers, (L, N, E) and (L, N, k). Each loss grows by the same amount, so the mean
    does too. Evaluate with loss_fn itself: the balance says nothing about the text.
    """

    def with_balance(model: nn.Module, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        with routings(model) as seen:
            losses, mask = loss_fn(model, *tensors)
        scores, _, chosen = stacked(seen)
        return losses + coef * balance(scores, chosen), mask

    return with_balance


def steered(loss_fn: Callable, rate: float) -> Callable:
    """A loss function for `train` that leaves the loss alone and moves the biases.

    For mixtures made with biased=True. All tokens count, padding too. The new biases
    hold from the next batch on (with `accumulate`, from the next piece on); a model
    in evaluation mode keeps its own.
    """

    def with_steering(model: nn.Module, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        with routings(model) as seen:
            losses, mask = loss_fn(model, *tensors)
        if model.training:
            steer(model, seen, rate)
        return losses, mask

    return with_steering


@torch.no_grad()
def steer(model: nn.Module, seen: list[Routing], rate: float) -> None:
    """Move the biases of all routers, each by what it has just decided."""
    for router, routing in zip(routers(model), seen, strict=True):
        if router.selection_bias is None:
            raise ValueError("This router has no bias to move: make it biased=True.")
        done = load(routing.chosen, router.out_features)
        new = update_bias(router.selection_bias, done, rate)
        router.selection_bias.copy_(new)
