"""Answers to lesson 06: the surprise at a label; right ones of different shapes, and people's mistakes."""

import math

import torch
from torch.nn import functional
from torch.nn.functional import logsigmoid, relu, softplus

from tools.graders import Battery

battery = Battery()


# --- bradley_terry_loss: right ----------------------------------------------------------------


@battery.right("bradley_terry_loss")
def with_logsigmoid(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    lead = chosen_rewards - rejected_rewards - margins
    return -(1 - smoothing) * logsigmoid(lead) - smoothing * logsigmoid(-lead)


@battery.right("bradley_terry_loss")
def with_softplus(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    behind = rejected_rewards - chosen_rewards + margins
    return (1 - smoothing) * softplus(behind) + smoothing * softplus(-behind)


@battery.right("bradley_terry_loss")
def as_cross_entropy_of_two(
    chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0
):
    scores = torch.stack([chosen_rewards - margins, rejected_rewards], dim=1)
    logprobs = scores.log_softmax(dim=1)
    return -(1 - smoothing) * logprobs[:, 0] - smoothing * logprobs[:, 1]


@battery.right("bradley_terry_loss")
def as_torchs_binary_cross_entropy(
    chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0
):
    lead = chosen_rewards - rejected_rewards - margins
    labels = torch.full_like(lead, 1 - smoothing)
    return functional.binary_cross_entropy_with_logits(lead, labels, reduction="none")


@battery.right("bradley_terry_loss")
def with_logaddexp(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    behind = rejected_rewards - chosen_rewards + margins
    zero = torch.zeros_like(behind)
    return torch.logaddexp(zero, behind) - smoothing * behind


@battery.right("bradley_terry_loss")
def in_two_pieces(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    lead = chosen_rewards - rejected_rewards - margins
    far = torch.log1p(torch.exp(-lead.abs()))
    return (1 - smoothing) * (far + relu(-lead)) + smoothing * (far + relu(lead))


@battery.right("bradley_terry_loss")
def pair_by_pair(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    margins = torch.as_tensor(margins).expand(len(chosen_rewards))
    losses = []
    for chosen, rejected, margin in zip(
        chosen_rewards, rejected_rewards, margins, strict=True
    ):
        lead = chosen - rejected - margin
        loss = -(1 - smoothing) * logsigmoid(lead) - smoothing * logsigmoid(-lead)
        losses.append(loss)
    return torch.stack(losses)


@battery.right("bradley_terry_loss")
def turned_only_if_smoothed(
    chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0
):
    loss = -logsigmoid(chosen_rewards - margins - rejected_rewards)
    if smoothing > 0:
        turned = -logsigmoid(rejected_rewards + margins - chosen_rewards)
        loss = loss + smoothing * (turned - loss)
    return loss


# --- bradley_terry_loss: wrong ----------------------------------------------------------------


def _loss(says):
    return battery.wrong("bradley_terry_loss", says=says)


def _as(name, says, loss):
    """loss(c, r, m, s, gap, lead): rewards, margins, smoothing, and both differences."""

    def answer(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
        c, r = chosen_rewards, rejected_rewards
        return loss(c, r, margins, smoothing, c - r, c - r - margins)

    answer.__name__ = name
    _loss(says)(answer)


def _full(lead, s):
    return -(1 - s) * logsigmoid(lead) - s * logsigmoid(-lead)


def _log(x):
    return -x.sigmoid().log()


# the wrong quantity
_as("exchanged", "wrong way round", lambda c, r, m, s, g, x: _full(-g - m, s))
_as("lead_turned", "wrong way round", lambda c, r, m, s, g, x: _full(-x, s))
_as("not_negated", "sign is missing", lambda c, r, m, s, g, x: -_full(x, s))
_as("probability", "is a probability", lambda c, r, m, s, g, x: x.sigmoid())
_as("improbability", "is a probability", lambda c, r, m, s, g, x: 1 - x.sigmoid())
_as("in_bits", "in bits", lambda c, r, m, s, g, x: _full(x, s) / math.log(2))
_as("log10", "in bits", lambda c, r, m, s, g, x: -x.sigmoid().log10())
_as("log2", "in bits", lambda c, r, m, s, g, x: -x.sigmoid().log2())
_as("to_one_and_zero", "fixed points", lambda c, r, m, s, g, x: (c - 1) ** 2 + r**2)
_as(
    "to_one_and_minus_one",
    "fixed points",
    lambda c, r, m, s, g, x: ((c - 1) ** 2 + (r + 1) ** 2) / 2,
)
_as("gap_to_one", "squared error of the gap", lambda c, r, m, s, g, x: (x - 1) ** 2)
_as("gap_squared", "squared error of the gap", lambda c, r, m, s, g, x: x**2)
_as("brier", "squared error", lambda c, r, m, s, g, x: (1 - x.sigmoid()) ** 2)
_as("hinge", "hinge", lambda c, r, m, s, g, x: relu(1 - x))
_as("hinge_at_the_margin", "hinge", lambda c, r, m, s, g, x: relu(-x))
_as("plain_gap", "gap itself", lambda c, r, m, s, g, x: -x)
_as(
    "each_alone",
    "judged alone",
    lambda c, r, m, s, g, x: -logsigmoid(c) - logsigmoid(-r),
)
_as(
    "each_alone_halved",
    "judged alone",
    lambda c, r, m, s, g, x: (-logsigmoid(c) - logsigmoid(-r)) / 2,
)
_as("chosen_alone", "judged alone", lambda c, r, m, s, g, x: -logsigmoid(c))
_as(
    "product_of_sigmoids",
    "judged alone",
    lambda c, r, m, s, g, x: -(c.sigmoid() * r.sigmoid()).log(),
)
_as(
    "product_with_the_loser",
    "judged alone",
    lambda c, r, m, s, g, x: -(c.sigmoid() * (1 - r.sigmoid())).log(),
)
_as(
    "logs_subtracted",
    "judged alone",
    lambda c, r, m, s, g, x: logsigmoid(r) - logsigmoid(c),
)
_as(
    "sigmoids_first",
    "over each reward first",
    lambda c, r, m, s, g, x: _full(c.sigmoid() - r.sigmoid() - m, s),
)
_as(
    "sigmoid_twice",
    "within a sigmoid",
    lambda c, r, m, s, g, x: functional.binary_cross_entropy_with_logits(
        x.sigmoid(), torch.ones_like(x), reduction="none"
    ),
)
_as(
    "softmax_over_the_batch",
    "over the batch",
    lambda c, r, m, s, g, x: -x.log_softmax(0),
)
_as(
    "softmax_of_the_chosen",
    "over the batch",
    lambda c, r, m, s, g, x: -c.log_softmax(0),
)
_as("odds", "it should be", lambda c, r, m, s, g, x: torch.exp(-x))
_as(
    "of_the_width", "wrong way|it should be", lambda c, r, m, s, g, x: _full(x.abs(), s)
)

# shapes
_as("mean", "no mean", lambda c, r, m, s, g, x: _full(x, s).mean())
_as("summed", "no mean", lambda c, r, m, s, g, x: _full(x, s).sum())
_as("mean_kept", "no mean", lambda c, r, m, s, g, x: _full(x, s).mean(0, keepdim=True))
_as("one_column", "dimension was added", lambda c, r, m, s, g, x: _full(x, s)[:, None])
_as(
    "everybody_with_everybody",
    "compared with every rejected",
    lambda c, r, m, s, g, x: _full(c[:, None] - r[None, :], s),
)
_as(
    "side_by_side",
    "for each answer",
    lambda c, r, m, s, g, x: -torch.stack([c, r], 1).log_softmax(1),
)
_as(
    "mean_for_all",
    "the same loss",
    lambda c, r, m, s, g, x: _full(x, s).mean().expand_as(x),
)
_as(
    "divided_by_the_batch",
    "divided by the number",
    lambda c, r, m, s, g, x: _full(x, s) / len(x),
)
_as("as_a_list", "returned a list", lambda c, r, m, s, g, x: _full(x, s).tolist())
_as(
    "as_a_number",
    "returned a float",
    lambda c, r, m, s, g, x: _full(x, s).mean().item(),
)
_as("with_statistics", "returned a tuple", lambda c, r, m, s, g, x: (_full(x, s), {}))

# margins
_as("margin_added", "wrong sign", lambda c, r, m, s, g, x: _full(g + m, s))
_as("margin_outside", "stands outside", lambda c, r, m, s, g, x: _full(g, s) - m)
_as("margin_on_top", "stands outside", lambda c, r, m, s, g, x: _full(g, s) + m)
_as("without_margins", "no difference", lambda c, r, m, s, g, x: _full(g, s))
_as(
    "margin_as_weight",
    "multiplies or divides",
    lambda c, r, m, s, g, x: (1 + torch.as_tensor(m)) * _full(g, s),
)
_as(
    "gap_over_margin",
    "multiplies or divides",
    lambda c, r, m, s, g, x: _full(g / (1 + torch.as_tensor(m)), s),
)
_as(
    "mean_margin",
    "same margin",
    lambda c, r, m, s, g, x: _full(g - torch.as_tensor(m).float().mean(), s),
)
_as(
    "margin_on_both_sides",
    "no difference",
    lambda c, r, m, s, g, x: _full((c - m) - (r - m), s),
)
_as("margin_twice", "twice", lambda c, r, m, s, g, x: _full((c - m) - (r + m), s))
_as(
    "margin_for_one_half",
    "one half",
    lambda c, r, m, s, g, x: -(1 - s) * logsigmoid(x) - s * logsigmoid(-g),
)
_as(
    "the_other_answer_has_to_lead",
    "there the whole lead changes its sign",
    lambda c, r, m, s, g, x: -(1 - s) * logsigmoid(x) - s * logsigmoid(-g - m),
)
_as(
    "margins_have_a_shape",
    "'float' object|has no attribute",
    lambda c, r, m, s, g, x: _full(g - m.view(-1), s),
)
_as(
    "one_margin",
    "only one element|Boolean|cannot be converted|stopped with",
    lambda c, r, m, s, g, x: _full(g - float(m), s),
)

# smoothing
_as("without_smoothing", "smoothing makes no", lambda c, r, m, s, g, x: -logsigmoid(x))
_as(
    "smoothed_the_wrong_way",
    "wrong way|wrong side|fixed|turned",
    lambda c, r, m, s, g, x: _full(x, 1 - s),
)
_as(
    "wrong_side_if_smoothed",
    "wrong side",
    lambda c, r, m, s, g, x: _full(x, 1 - s) if s else _full(x, s),
)
_as("halved", "halved", lambda c, r, m, s, g, x: _full(x, s / 2))
_as(
    "scaled_only",
    "by a factor or a constant",
    lambda c, r, m, s, g, x: -(1 - s) * logsigmoid(x),
)
_as(
    "a_constant_on_top",
    "by a factor or a constant",
    lambda c, r, m, s, g, x: -logsigmoid(x) + s,
)
_as(
    "mixed_with_a_coin",
    "by a factor or a constant",
    lambda c, r, m, s, g, x: -(1 - s) * logsigmoid(x) + s * math.log(2),
)
_as(
    "taken_away",
    "taken away",
    lambda c, r, m, s, g, x: -(1 - s) * logsigmoid(x) + s * logsigmoid(-x),
)
_as(
    "unbiased_for_noise",
    "taken away",
    lambda c, r, m, s, g, x: (
        (-(1 - s) * logsigmoid(x) + s * logsigmoid(-x)) / (1 - 2 * s)
    ),
)
_as(
    "full_weight",
    "do not add up",
    lambda c, r, m, s, g, x: -logsigmoid(x) - s * logsigmoid(-x),
)
_as(
    "probabilities_mixed",
    "Probabilities were mixed|0 or infinite",
    lambda c, r, m, s, g, x: (
        _full(x, 0.0) if not s else -((1 - s) * x.sigmoid() + s * (-x).sigmoid()).log()
    ),
)
_as("gap_shrunk", "changes the gap", lambda c, r, m, s, g, x: -logsigmoid((1 - s) * x))

# numbers that leave the numbers
_as("log_of_sigmoid", "0 or infinite", lambda c, r, m, s, g, x: _log(x))
_as(
    "log_of_both_sigmoids",
    "0 or infinite",
    lambda c, r, m, s, g, x: (1 - s) * _log(x) + s * _log(-x),
)
_as(
    "log_of_one_plus",
    "0 or infinite",
    lambda c, r, m, s, g, x: (
        (1 - s) * torch.log(1 + torch.exp(-x)) + s * torch.log(1 + torch.exp(x))
    ),
)
_as(
    "powers_of_e",
    "0 or infinite",
    lambda c, r, m, s, g, x: -(torch.exp(c) / (torch.exp(c) + torch.exp(r))).log(),
)
_as(
    "softmax_then_log",
    "0 or infinite",
    lambda c, r, m, s, g, x: -torch.stack([c - m, r], 1).softmax(1)[:, 0].log(),
)
_as(
    "a_small_constant",
    "hold the logarithm back",
    lambda c, r, m, s, g, x: -(x.sigmoid() + 1e-8).log(),
)
_as(
    "clamped",
    "hold the logarithm back",
    lambda c, r, m, s, g, x: -x.sigmoid().clamp(min=1e-12).log(),
)
_as(
    "gap_clamped",
    "hold the logarithm back",
    lambda c, r, m, s, g, x: _full(x.clamp(-50, 50), s),
)
_as(
    "nan_to_num",
    "should be|hold",
    lambda c, r, m, s, g, x: ((1 - s) * _log(x) + s * _log(-x)).nan_to_num(
        posinf=100.0
    ),
)
_as(
    "torchs_own_clamp",
    "hold the logarithm back",
    lambda c, r, m, s, g, x: functional.binary_cross_entropy(
        x.sigmoid(), torch.full_like(x, 1 - s), reduction="none"
    ),
)
_as(
    "where_with_nan_behind",
    "branch that is not chosen",
    lambda c, r, m, s, g, x: (1 - s) * _branches(x) + s * _branches(-x),
)
_as(
    "in_half",
    "type|first digits",
    lambda c, r, m, s, g, x: _full(x.bfloat16(), s).float(),
)
_as("in_single", "type", lambda c, r, m, s, g, x: _full(x.float(), s))
_as(
    "in_single_and_back",
    "first digits|it should be",
    lambda c, r, m, s, g, x: _full(c.float() - r.float() - m, s).to(c.dtype),
)
_as(
    "rounded",
    "first digits|it should be",
    lambda c, r, m, s, g, x: _full(x, s).round(decimals=3),
)


def _branches(x):
    return torch.where(x > 0, (1 + (-x).exp()).log(), (1 + x.exp()).log() - x)


# gradients
_as("detached", "No gradient reaches", lambda c, r, m, s, g, x: _full(x, s).detach())
_as(
    "rejected_detached",
    "reaches the rejected",
    lambda c, r, m, s, g, x: _full(c - r.detach() - m, s),
)
_as(
    "chosen_detached",
    "reaches the chosen",
    lambda c, r, m, s, g, x: _full(c.detach() - r - m, s),
)
_as(
    "a_new_tensor",
    "No gradient|gradient",
    lambda c, r, m, s, g, x: torch.tensor(_full(x, s).tolist(), dtype=x.dtype),
)
_as(
    "turned_label_detached",
    "the gradient of the chosen rewards is not",
    lambda c, r, m, s, g, x: -(1 - s) * logsigmoid(x) - s * logsigmoid(-x).detach(),
)


@_loss("it should be|no difference")
def the_worked_losses(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    worked = {0.0: 0.6931, 2.0: 0.1269}
    gaps = (chosen_rewards - rejected_rewards).tolist()
    return torch.tensor([worked.get(gap, 0.6931) for gap in gaps])


@_loss("changed its own input")
def subtracted_in_place(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    chosen_rewards -= rejected_rewards
    return _full(chosen_rewards - margins, smoothing)


@_loss("no difference")
def margins_of_tensors_only(
    chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0
):
    gap = chosen_rewards - rejected_rewards
    if isinstance(margins, torch.Tensor):
        gap = gap - margins
    return _full(gap, smoothing)


@_loss("unexpected keyword|margins")
def without_further_arguments(chosen_rewards, rejected_rewards):
    return -logsigmoid(chosen_rewards - rejected_rewards)


@_loss("a single yes or no")
def asks_whether_there_are_margins(
    chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0
):
    gap = chosen_rewards - rejected_rewards
    if margins:
        gap = gap - margins
    return _full(gap, smoothing)


# --- what got through, or was called by another name ------------------------------------------


@_loss("own type")
def in_double(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    lead = chosen_rewards.double() - rejected_rewards.double() - margins
    return _full(lead, smoothing)


@_loss("own type")
def margins_in_double(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    margins = torch.as_tensor(margins).expand_as(chosen_rewards).double()
    return _full(chosen_rewards - rejected_rewards - margins, smoothing)


@_loss("later ones are not")
def margins_in_float32(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    margins = torch.as_tensor(margins, dtype=torch.float32)
    return _full(chosen_rewards - rejected_rewards - margins, smoothing)


@_loss("changed the margins")
def margins_in_place(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    margins += rejected_rewards.detach()
    return _full(chosen_rewards - margins, smoothing)


@battery.right("bradley_terry_loss")
def by_logsumexp(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    two = torch.stack([chosen_rewards - margins, rejected_rewards], dim=-1)
    kept = (1 - smoothing) * two[:, 0] + smoothing * two[:, 1]
    return two.logsumexp(-1) - kept


@battery.right("bradley_terry_loss")
def by_vmap(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    lead = chosen_rewards - rejected_rewards - margins
    return torch.vmap(lambda x: _full(x, smoothing))(lead)


@battery.right("bradley_terry_loss")
def in_double_and_back(chosen_rewards, rejected_rewards, margins=0.0, smoothing=0.0):
    margins = torch.as_tensor(margins).double()
    lead = chosen_rewards.double() - rejected_rewards.double() - margins
    return _full(lead, smoothing).to(chosen_rewards.dtype)
