"""Answers to lesson 09: losses of pairs against a reference; right ones of different shapes, and people's mistakes."""

import math

import numpy as np
import torch
from torch.nn import functional
from torch.nn.functional import logsigmoid, relu, softplus

from course_lib.dpo.losses import check_same, implicit_rewards, log_ratio_gaps
from course_lib.reward.audit import pairwise_accuracy
from course_lib.reward.losses import bradley_terry_loss
from tools.graders import Battery

battery = Battery()


# --- dpo_loss: right --------------------------------------------------------------------------


@battery.right("dpo_loss")
def with_logsigmoid(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    check_same(chosen=chosen_logprobs, ref_chosen=ref_chosen_logprobs)
    lead = chosen_logprobs - ref_chosen_logprobs
    lead = beta * (lead - (rejected_logprobs - ref_rejected_logprobs))
    return -(1 - smoothing) * logsigmoid(lead) - smoothing * logsigmoid(-lead)


@battery.right("dpo_loss")
def as_published(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    """Policy's ratio less the reference's."""
    logits = (chosen_logprobs - rejected_logprobs) - (
        ref_chosen_logprobs - ref_rejected_logprobs
    )
    return (
        -functional.logsigmoid(beta * logits) * (1 - smoothing)
        - functional.logsigmoid(-beta * logits) * smoothing
    )


@battery.right("dpo_loss")
def by_the_loss_of_lesson_06(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    chosen = implicit_rewards(chosen_logprobs, ref_chosen_logprobs, beta)
    rejected = implicit_rewards(rejected_logprobs, ref_rejected_logprobs, beta)
    return bradley_terry_loss(chosen, rejected, smoothing=smoothing)


@battery.right("dpo_loss")
def with_softplus(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    gap = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    return softplus(-beta * gap) + smoothing * beta * gap


@battery.right("dpo_loss")
def as_binary_cross_entropy(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    logits = beta * (chosen_logprobs - ref_chosen_logprobs)
    logits = logits - beta * (rejected_logprobs - ref_rejected_logprobs)
    return functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, 1 - smoothing), reduction="none"
    )


@battery.right("dpo_loss")
def as_cross_entropy_of_two(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    policy = torch.stack([chosen_logprobs, rejected_logprobs], dim=1)
    known = torch.stack([ref_chosen_logprobs, ref_rejected_logprobs], dim=1)
    shares = (beta * (policy - known)).log_softmax(dim=1)
    return -(1 - smoothing) * shares[:, 0] - smoothing * shares[:, 1]


@battery.right("dpo_loss")
def pair_by_pair(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    losses = []
    for c, r, rc, rr in zip(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, strict=True):  # fmt: skip
        lead = beta * ((c - rc) - (r - rr))
        zero = torch.zeros_like(lead)
        right, wrong = torch.logaddexp(zero, -lead), torch.logaddexp(zero, lead)
        losses.append((1 - smoothing) * right + smoothing * wrong)
    return torch.stack(losses)


@battery.right("dpo_loss")
def by_logsumexp(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    gains = chosen_logprobs - ref_chosen_logprobs.detach(), rejected_logprobs - ref_rejected_logprobs.detach()  # fmt: skip
    rewards = beta * torch.stack(gains)  # (2, B)
    kept = (1 - smoothing) * rewards[0] + smoothing * rewards[1]
    return rewards.logsumexp(0) - kept


@battery.right("dpo_loss")
def only_smoothed_if_asked(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    def surprise(up, down):
        return -logsigmoid(beta * (up - down))

    chosen = chosen_logprobs - ref_chosen_logprobs
    rejected = rejected_logprobs - ref_rejected_logprobs
    loss = surprise(chosen, rejected)
    if smoothing:
        loss = torch.lerp(loss, surprise(rejected, chosen), smoothing)
    return loss


# --- dpo_loss: wrong --------------------------------------------------------------------------


def _dpo(name, says, loss, exercise="dpo_loss"):
    """loss(c, r, rc, rr, b, s, x): four rows, beta, smoothing, and the lead."""

    def answer(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
        c, r, rc, rr = chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs  # fmt: skip
        lead = beta * ((c - rc) - (r - rr))
        return loss(c, r, rc, rr, beta, smoothing, lead)

    answer.__name__ = name
    battery.wrong(exercise, says=says)(answer)


def _full(lead, s=0.0):
    return -(1 - s) * logsigmoid(lead) - s * logsigmoid(-lead)


# fmt: off
# the three classic ones
_dpo("sign_of_the_gap", "wrong way round", lambda c, r, rc, rr, b, s, x: _full(-x, s))
_dpo("gap_of_the_others", "wrong way round", lambda c, r, rc, rr, b, s, x: -logsigmoid(b * ((r - rr) - (c - rc))))
_dpo("reference_exchanged_with_policy", "wrong way round", lambda c, r, rc, rr, b, s, x: _full(b * ((rc - c) - (rr - r)), s))
_dpo("without_a_reference", "reference is left out", lambda c, r, rc, rr, b, s, x: _full(b * (c - r), s))
_dpo("without_reference_and_beta", "reference is left out", lambda c, r, rc, rr, b, s, x: _full(c - r, s))
_dpo("reference_added", "wrong sign", lambda c, r, rc, rr, b, s, x: _full(b * ((c - r) + (rc - rr)), s))
_dpo("references_crossed", "wrong sign", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rr) - (r - rc)), s))
_dpo("without_brackets", "bracket", lambda c, r, rc, rr, b, s, x: _full(b * (c - rc - r - rr), s))
_dpo("without_brackets_and_beta", "bracket", lambda c, r, rc, rr, b, s, x: -logsigmoid(c - rc - r - rr))
_dpo("plus_in_the_second", "wrong sign", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rc) - (r + rr)), s))
_dpo("reference_of_the_chosen_only", "one of the two", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rc) - r), s))
_dpo("one_reference_for_both", "reference is left out|one of the two", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rc) - (r - rc)), s))
_dpo("beta_outside", "stands outside", lambda c, r, rc, rr, b, s, x: b * _full(x / b, s))
_dpo("beta_forgotten", "another number is built in", lambda c, r, rc, rr, b, s, x: _full(x / b, s))
_dpo("beta_built_in", "another number is built in", lambda c, r, rc, rr, b, s, x: _full(0.1 * x / b, s))
# beta
_dpo("divided_by_beta", "Beta divides", lambda c, r, rc, rr, b, s, x: _full(x / b / b, s))
_dpo("beta_twice", "there twice", lambda c, r, rc, rr, b, s, x: _full(b * x, s))
_dpo("beta_inside_and_outside", "stands outside", lambda c, r, rc, rr, b, s, x: b * _full(x, s))
_dpo("loss_over_beta", "stands outside", lambda c, r, rc, rr, b, s, x: _full(x, s) / b)
_dpo("beta_at_the_chosen", "one part of the gap", lambda c, r, rc, rr, b, s, x: _full(b * (c - rc) - (r - rr), s))
_dpo("beta_at_the_policy", "one part of the gap", lambda c, r, rc, rr, b, s, x: _full(b * (c - r) - (rc - rr), s))
_dpo("beta_at_the_reference", "one part of the gap", lambda c, r, rc, rr, b, s, x: _full((c - r) - b * (rc - rr), s))
_dpo("beta_without_brackets", "one part of the gap", lambda c, r, rc, rr, b, s, x: _full(b * c - rc - (b * r - rr), s))
# the wrong quantity
_dpo("policy_left_out", "policy is left out", lambda c, r, rc, rr, b, s, x: _full(b * (rc - rr), s))
_dpo("chosen_alone", "One answer only", lambda c, r, rc, rr, b, s, x: _full(b * (c - rc), s))
_dpo("each_alone", "judged alone", lambda c, r, rc, rr, b, s, x: -logsigmoid(b * (c - rc)) - logsigmoid(-b * (r - rr)))
_dpo("difference_of_logsigmoids", "judged alone", lambda c, r, rc, rr, b, s, x: logsigmoid(b * (r - rr)) - logsigmoid(b * (c - rc)))
_dpo("absolute_gap", "lost its sign", lambda c, r, rc, rr, b, s, x: _full(x.abs(), s))
_dpo("absolute_gains", "lost its sign", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rc).abs() - (r - rr).abs()), s))
_dpo("not_negated", "sign is missing", lambda c, r, rc, rr, b, s, x: logsigmoid(x))
_dpo("minus_turned", "sign is missing|wrong way", lambda c, r, rc, rr, b, s, x: logsigmoid(-x))
_dpo("sigmoid_without_log", "is a probability", lambda c, r, rc, rr, b, s, x: x.sigmoid())
_dpo("minus_sigmoid", "is a probability", lambda c, r, rc, rr, b, s, x: -x.sigmoid())
_dpo("one_minus_sigmoid", "is a probability", lambda c, r, rc, rr, b, s, x: 1 - x.sigmoid())
_dpo("base_two", "in bits", lambda c, r, rc, rr, b, s, x: _full(x, s) / math.log(2))
_dpo("log2_of_sigmoid", "in bits", lambda c, r, rc, rr, b, s, x: -x.sigmoid().log2())
_dpo("plain_gap", "gap itself", lambda c, r, rc, rr, b, s, x: -x)
_dpo("hinge", "hinge", lambda c, r, rc, rr, b, s, x: relu(1 - x))
_dpo("ipo", "squared error", lambda c, r, rc, rr, b, s, x: (x / b - 1 / (2 * b)) ** 2)
_dpo("quotients_of_logs", "ratios of log-prob", lambda c, r, rc, rr, b, s, x: _full(b * (c / rc - r / rr), s))
_dpo("ratios_of_probabilities", "power of e", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rc).exp() - (r - rr).exp()), s))
_dpo("logs_of_logs", "it should be", lambda c, r, rc, rr, b, s, x: _full(b * (c.log() - rc.log() - r.log() + rr.log()), s))
_dpo("sigmoid_twice", "through one already", lambda c, r, rc, rr, b, s, x: _full(x.sigmoid(), s))
_dpo("softmax_over_the_batch", "compete with one another", lambda c, r, rc, rr, b, s, x: -x.log_softmax(0))
_dpo("centred_over_the_batch", "compete with one another", lambda c, r, rc, rr, b, s, x: _full(x - x.mean(), s))
_dpo("exp_of_minus_lead", "or odds", lambda c, r, rc, rr, b, s, x: torch.exp(-x))
_dpo("both_terms", "nobody asked", lambda c, r, rc, rr, b, s, x: _full(x, 0.5))
# shapes and means
_dpo("mean", "no mean", lambda c, r, rc, rr, b, s, x: _full(x, s).mean())
_dpo("sum", "no mean", lambda c, r, rc, rr, b, s, x: _full(x, s).sum())
_dpo("mean_kept", "no mean", lambda c, r, rc, rr, b, s, x: _full(x, s).mean(0, keepdim=True))
_dpo("one_column", "dimension was added", lambda c, r, rc, rr, b, s, x: _full(x, s)[:, None])
_dpo("squeezed", "batch of one", lambda c, r, rc, rr, b, s, x: _full(x, s).squeeze())
_dpo("mean_for_all", "the same loss", lambda c, r, rc, rr, b, s, x: _full(x, s).mean().expand_as(x))
_dpo("averaged_twice", "divided by the number", lambda c, r, rc, rr, b, s, x: _full(x, s) / len(x))
_dpo("all_with_all", "compared with every rejected", lambda c, r, rc, rr, b, s, x: _full(b * ((c - rc)[:, None] - (r - rr)), s))
_dpo("for_each_answer", "for each answer", lambda c, r, rc, rr, b, s, x: -(b * torch.stack([c - rc, r - rr], 1)).log_softmax(1))
_dpo("with_rewards", "returned a tuple", lambda c, r, rc, rr, b, s, x: (_full(x, s), b * (c - rc), b * (r - rr)))
_dpo("as_a_number", "returned a float", lambda c, r, rc, rr, b, s, x: _full(x, s).mean().item())
# smoothing
_dpo("smoothing_ignored", "smoothing makes no", lambda c, r, rc, rr, b, s, x: -logsigmoid(x))
_dpo("smoothing_always_a_tenth", "nobody asked", lambda c, r, rc, rr, b, s, x: _full(x, 0.1))
_dpo("smoothing_built_in", "smoothing makes no", lambda c, r, rc, rr, b, s, x: _full(x, 0.1) if s else _full(x))
_dpo("smoothed_the_wrong_way", "wrong side", lambda c, r, rc, rr, b, s, x: _full(x, 1 - s) if s else _full(x))
_dpo("smoothed_the_wrong_way_always", "wrong way round", lambda c, r, rc, rr, b, s, x: _full(x, 1 - s))
_dpo("halved", "halved or doubled", lambda c, r, rc, rr, b, s, x: _full(x, s / 2))
_dpo("scaled", "by a factor or a constant", lambda c, r, rc, rr, b, s, x: -(1 - s) * logsigmoid(x))
_dpo("a_constant_on_top", "by a factor or a constant", lambda c, r, rc, rr, b, s, x: s - logsigmoid(x))
_dpo("taken_away", "taken away", lambda c, r, rc, rr, b, s, x: -(1 - s) * logsigmoid(x) + s * logsigmoid(-x))
_dpo("robust", "taken away", lambda c, r, rc, rr, b, s, x: (-(1 - s) * logsigmoid(x) + s * logsigmoid(-x)) / (1 - 2 * s))
_dpo("full_weight", "do not add up", lambda c, r, rc, rr, b, s, x: -logsigmoid(x) - s * logsigmoid(-x))
_dpo("probabilities_mixed", "Probabilities were mixed", lambda c, r, rc, rr, b, s, x: -((1 - s) * x.sigmoid() + s * (-x).sigmoid()).log() if s else _full(x))
_dpo("gap_shrunk", "changes the gap", lambda c, r, rc, rr, b, s, x: -logsigmoid((1 - s) * x))
_dpo("turned_is_one_minus_log", "not the loss of such a label", lambda c, r, rc, rr, b, s, x: -(1 - s) * logsigmoid(x) - s * (1 - logsigmoid(x)))
# numbers that leave the numbers
_dpo("log_of_sigmoid", "0 or infinite", lambda c, r, rc, rr, b, s, x: -(1 - s) * x.sigmoid().log() - s * (-x).sigmoid().log())
_dpo("log_of_sigmoid_alone", "0 or infinite", lambda c, r, rc, rr, b, s, x: -x.sigmoid().log())
_dpo("log_of_one_plus", "0 or infinite", lambda c, r, rc, rr, b, s, x: (1 - s) * torch.log(1 + torch.exp(-x)) + s * torch.log(1 + torch.exp(x)))
_dpo("ratio_of_powers", "0 or infinite", lambda c, r, rc, rr, b, s, x: -(torch.exp(b * (c - rc)) / (torch.exp(b * (c - rc)) + torch.exp(b * (r - rr)))).log())
_dpo("probabilities_first", "it should be|0 or infinite", lambda c, r, rc, rr, b, s, x: _full(b * (c.exp() / rc.exp() / (r.exp() / rr.exp())).log(), s))
_dpo("a_small_constant", "hold it back", lambda c, r, rc, rr, b, s, x: -(x.sigmoid() + 1e-8).log())
_dpo("clamped", "hold it back", lambda c, r, rc, rr, b, s, x: -(1 - s) * x.sigmoid().clamp(min=1e-12).log() - s * (-x).sigmoid().clamp(min=1e-12).log())
_dpo("lead_clamped", "hold it back", lambda c, r, rc, rr, b, s, x: _full(x.clamp(-50, 50), s))
_dpo("nan_to_num", "hold it back|should be", lambda c, r, rc, rr, b, s, x: (-x.sigmoid().log()).nan_to_num(posinf=100.0))
_dpo("torchs_own_clamp", "hold it back", lambda c, r, rc, rr, b, s, x: functional.binary_cross_entropy(x.sigmoid(), torch.full_like(x, 1 - s), reduction="none"))
_dpo("where_with_nan_behind", "branch that is not chosen", lambda c, r, rc, rr, b, s, x: (1 - s) * _branches(x) + s * _branches(-x))
_dpo("in_half", "first digits|type|it should be", lambda c, r, rc, rr, b, s, x: _full(x.bfloat16(), s).to(x.dtype))
_dpo("in_single", "type", lambda c, r, rc, rr, b, s, x: _full(x.float(), s))
_dpo("in_double", "type", lambda c, r, rc, rr, b, s, x: _full(x.double(), s))
_dpo("in_single_and_back", "first digits|it should be", lambda c, r, rc, rr, b, s, x: _full(b * (c.float() - rc.float() - r.float() + rr.float()), s).to(c.dtype))
_dpo("rounded", "first digits|it should be", lambda c, r, rc, rr, b, s, x: _full(x, s).round(decimals=3))
# gradients
_dpo("detached", "No gradient reaches", lambda c, r, rc, rr, b, s, x: _full(x, s).detach())
_dpo("rejected_detached", "reaches the rejected", lambda c, r, rc, rr, b, s, x: _full(b * (c - rc - r.detach() + rr), s))
_dpo("chosen_detached", "reaches the chosen", lambda c, r, rc, rr, b, s, x: _full(b * (c.detach() - rc - r + rr), s))
_dpo("a_new_tensor", "[Nn]o gradient", lambda c, r, rc, rr, b, s, x: torch.tensor(_full(x, s).tolist(), dtype=x.dtype))
_dpo("as_a_list", "returned a list", lambda c, r, rc, rr, b, s, x: _full(x, s).tolist())
_dpo("turned_label_detached", "gradient for the chosen", lambda c, r, rc, rr, b, s, x: -(1 - s) * logsigmoid(x) - s * logsigmoid(-x).detach())
# by heart, and half done
_dpo("worked_values", "it should be", lambda c, r, rc, rr, b, s, x: torch.full_like(x, 0.5269 if s else 0.1269))
_dpo("always_ln_2", "it should be", lambda c, r, rc, rr, b, s, x: torch.full_like(x, math.log(2)) + 0 * x)
_dpo("first_pair_only", "it should be", lambda c, r, rc, rr, b, s, x: _full(x[:1], s).expand_as(x))
# fmt: on


def _branches(x):
    return torch.where(x > 0, (1 + (-x).exp()).log(), (1 + x.exp()).log() - x)


@battery.wrong("dpo_loss", says="changed its own input")
def in_place(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    chosen_logprobs -= ref_chosen_logprobs
    rejected_logprobs -= ref_rejected_logprobs
    return _full(beta * (chosen_logprobs - rejected_logprobs), smoothing)


@battery.wrong("dpo_loss", says="unexpected keyword")
def without_settings(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    return _full(0.1 * (chosen_logprobs - ref_chosen_logprobs - rejected_logprobs + ref_rejected_logprobs))  # fmt: skip


@battery.wrong("dpo_loss", says="Training begins there")
def in_two_pieces_with_a_kink(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    lead = beta * (chosen_logprobs - ref_chosen_logprobs.detach())
    lead = lead - beta * (rejected_logprobs - ref_rejected_logprobs.detach())
    far = torch.log1p(torch.exp(-lead.abs()))
    return (1 - smoothing) * (far + relu(-lead)) + smoothing * (far + relu(lead))


# --- implicit_accuracy: right -----------------------------------------------------------------


@battery.right("implicit_accuracy")
def by_the_sign(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    gaps = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    return ((gaps.sign() + 1) / 2).mean()


@battery.right("implicit_accuracy")
def wins_and_half_the_ties(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    chosen = chosen_logprobs - ref_chosen_logprobs
    rejected = rejected_logprobs - ref_rejected_logprobs
    wins, ties = (chosen > rejected).float(), (chosen == rejected).float()
    return (wins + 0.5 * ties).mean()


@battery.right("implicit_accuracy")
def counted(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    points, pairs = 0.0, 0
    for c, r, rc, rr in zip(chosen_logprobs.tolist(), rejected_logprobs.tolist(), ref_chosen_logprobs.tolist(), ref_rejected_logprobs.tolist(), strict=True):  # fmt: skip
        points += 1 if c - rc > r - rr else 0.5 if c - rc == r - rr else 0
        pairs += 1
    return torch.tensor(points / pairs)


@battery.right("implicit_accuracy")
def with_heaviside(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    gaps = (chosen_logprobs - rejected_logprobs) - (ref_chosen_logprobs - ref_rejected_logprobs)  # fmt: skip
    return torch.heaviside(gaps, torch.tensor(0.5, dtype=gaps.dtype)).mean()


@battery.right("implicit_accuracy")
def from_both_comparisons(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    gaps = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    return ((gaps > 0).double().mean() + (gaps >= 0).double().mean()) / 2


@battery.right("implicit_accuracy")
def as_lesson_06_counts(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    chosen = implicit_rewards(chosen_logprobs, ref_chosen_logprobs)
    return pairwise_accuracy(chosen, implicit_rewards(rejected_logprobs, ref_rejected_logprobs))  # fmt: skip


@battery.right("implicit_accuracy")
def with_where_and_numpy(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    c, r, rc, rr = (row.numpy() for row in (chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs))  # fmt: skip
    gaps = (c - rc) - (r - rr)
    return torch.tensor(np.where(gaps > 0, 1, np.where(gaps < 0, 0, 0.5)).mean())


# --- implicit_accuracy: wrong -----------------------------------------------------------------


def _agree(name, says, share):
    """share(c, r, rc, rr, gap)."""

    def answer(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
        c, r, rc, rr = chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs  # fmt: skip
        return share(c, r, rc, rr, (c - rc) - (r - rr))

    answer.__name__ = name
    battery.wrong("implicit_accuracy", says=says)(answer)


def _half(gap):
    return ((gap.sign() + 1) / 2).mean()


# fmt: off
_agree("reference_forgotten", "reference is left out", lambda c, r, rc, rr, g: _half(c - r))
_agree("reference_forgotten_strictly", "reference is left out", lambda c, r, rc, rr, g: (c > r).float().mean())
_agree("reference_forgotten_laxly", "reference is left out", lambda c, r, rc, rr, g: (c >= r).float().mean())
_agree("at_least", "tie counts as right", lambda c, r, rc, rr, g: (g >= 0).float().mean())
_agree("more_only", "tie counts as wrong", lambda c, r, rc, rr, g: (g > 0).float().mean())
_agree("loss_below_ln_2", "Near counts as a tie|tie counts as wrong", lambda c, r, rc, rr, g: (-logsigmoid(0.1 * g) < math.log(2)).float().mean())
_agree("loss_at_most_ln_2", "Near counts as a tie|tie counts as right", lambda c, r, rc, rr, g: (-logsigmoid(0.1 * g) <= math.log(2)).float().mean())
_agree("rewards_compared_strictly", "tie counts as wrong", lambda c, r, rc, rr, g: (0.1 * (c - rc) > 0.1 * (r - rr)).float().mean())
_agree("ties_left_out", "Ties stay among", lambda c, r, rc, rr, g: (g[g != 0] > 0).float().mean())
_agree("ties_left_out_of_the_count", "Ties are left out", lambda c, r, rc, rr, g: (g > 0).sum() / (g != 0).sum().clamp(min=1))
_agree("wrong_way_round", "wrong way round", lambda c, r, rc, rr, g: _half(-g))
_agree("less_than", "wrong way round", lambda c, r, rc, rr, g: (g < 0).float().mean())
_agree("reference_added", "wrong sign", lambda c, r, rc, rr, g: _half(c + rc - r - rr))
_agree("references_crossed", "wrong sign", lambda c, r, rc, rr, g: _half((c - rr) - (r - rc)))
_agree("without_brackets", "wrong sign", lambda c, r, rc, rr, g: _half(c - rc - r - rr))
_agree("one_reference", "one of the two answers only", lambda c, r, rc, rr, g: _half(c - rc - r))
_agree("reference_asked", "Only the reference", lambda c, r, rc, rr, g: _half(rc - rr))
_agree("chosen_gained", "Only the chosen", lambda c, r, rc, rr, g: _half(c - rc))
_agree("rejected_fell", "Only the chosen", lambda c, r, rc, rr, g: (r < rr).float().mean())
_agree("one_up_one_down", "Only the chosen", lambda c, r, rc, rr, g: ((c > rc) & (r < rr)).float().mean())
_agree("same_ranking", "rank a pair alike", lambda c, r, rc, rr, g: ((c > r) == (rc > rr)).float().mean())
_agree("likelier_and_gained", "rank a pair alike", lambda c, r, rc, rr, g: ((c > r) & (g > 0)).float().mean())
_agree("mended_pairs", "rank a pair alike", lambda c, r, rc, rr, g: ((c > r) & (rc <= rr)).float().mean())
_agree("better_than_the_reference", "rank a pair alike|should be|it is", lambda c, r, rc, rr, g: _half(c - r) - _half(rc - rr))
_agree("isclose", "Near counts as a tie", lambda c, r, rc, rr, g: torch.where(g.abs() < 1e-3, 0.5, (g > 0).double()).mean())
_agree("small_tolerance", "Near counts as a tie", lambda c, r, rc, rr, g: torch.where(g.abs() < 1e-6, 0.5, (g > 0).double()).mean())
_agree("in_single", "Near counts as a tie", lambda c, r, rc, rr, g: _half((c.float() - rc.float()) - (r.float() - rr.float())))
_agree("rounded_gaps", "Near counts as a tie", lambda c, r, rc, rr, g: _half(g.round(decimals=3)))
_agree("percent", "in percent", lambda c, r, rc, rr, g: 100 * _half(g))
_agree("count", "number of pairs", lambda c, r, rc, rr, g: ((g.sign() + 1) / 2).sum())
_agree("count_of_wins", "number of pairs", lambda c, r, rc, rr, g: (g > 0).sum())
_agree("signs", "These are signs", lambda c, r, rc, rr, g: g.sign().mean())
_agree("up_to_two", "These are signs", lambda c, r, rc, rr, g: (g.sign() + 1).mean())
_agree("pair_by_pair_not_mean", "one by one", lambda c, r, rc, rr, g: (g.sign() + 1) / 2)
_agree("mean_kept", "without any dimension", lambda c, r, rc, rr, g: ((g.sign() + 1) / 2).mean(0, keepdim=True))
_agree("a_float", "returned a float", lambda c, r, rc, rr, g: _half(g).item())
_agree("soft", "how sure", lambda c, r, rc, rr, g: g.sigmoid().mean())
_agree("soft_with_beta", "how sure", lambda c, r, rc, rr, g: (0.1 * g).sigmoid().mean())
_agree("mean_gap", "gap itself", lambda c, r, rc, rr, g: g.mean())
_agree("means_compared", "means of all gains", lambda c, r, rc, rr, g: _half(g.mean()[None]))
_agree("all_with_all", "every rejected one", lambda c, r, rc, rr, g: _half((c - rc)[:, None] - (r - rr)))
_agree("all_with_all_kept", "every rejected one", lambda c, r, rc, rr, g: ((c - rc)[:, None] > (r - rr)).float())
_agree("absolute_gains", "lost their signs", lambda c, r, rc, rr, g: _half((c - rc).abs() - (r - rr).abs()))
_agree("quotients", "Ratios of log-prob", lambda c, r, rc, rr, g: _half(c / rc - r / rr))
_agree("probabilities", "Ratios of log-prob|it gives", lambda c, r, rc, rr, g: _half((c.exp() - rc.exp()) - (r.exp() - rr.exp())))
_agree("powers", "Ratios of log-prob|it gives", lambda c, r, rc, rr, g: _half((c - rc).exp() - (r - rr).exp()))
_agree("quotient_of_powers", "it gives|Ratios", lambda c, r, rc, rr, g: _half(c.exp() / rc.exp() - r.exp() / rr.exp()))
_agree("whole_number", "whole number", lambda c, r, rc, rr, g: ((g.sign() + 1) / 2).mean().floor())
_agree("cut_halves", "tie counts as wrong|whole number", lambda c, r, rc, rr, g: ((g.sign() + 1) // 2).mean())
_agree("all_of_them", "whole number|tie", lambda c, r, rc, rr, g: (g > 0).all().float())
_agree("booleans_averaged", "no mean of whole numbers", lambda c, r, rc, rr, g: (g > 0).mean())
_agree("first_pair", "first pair", lambda c, r, rc, rr, g: _half(g[:1]))
_agree("always_half", "always gives the same", lambda c, r, rc, rr, g: torch.tensor(0.5))
_agree("a_tie_only_if_all_tie", "tie counts as wrong", lambda c, r, rc, rr, g: (g > 0).double().mean() if g.any() else torch.tensor(0.5))
_agree("halves_for_everyone", "These are signs", lambda c, r, rc, rr, g: (g > 0).double().mean() + 0.5)
# fmt: on


@battery.wrong("implicit_accuracy", says="changed its own input")
def accuracy_in_place(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    chosen_logprobs -= ref_chosen_logprobs
    return _half(chosen_logprobs - (rejected_logprobs - ref_rejected_logprobs))


@battery.wrong("implicit_accuracy", says="a single yes or no")
def a_tensor_in_an_if(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs):  # fmt: skip
    gaps = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    if gaps == 0:
        return torch.tensor(0.5)
    return (gaps > 0).float().mean()


# --- gradient_weights: right ------------------------------------------------------------------


@battery.right("gradient_weights")
def sigmoid_of_the_other_side(chosen_rewards, rejected_rewards, beta=0.1):
    return beta * (rejected_rewards - chosen_rewards).sigmoid()


@battery.right("gradient_weights")
def one_minus_the_probability(chosen_rewards, rejected_rewards, beta=0.1):
    return beta * (1 - torch.sigmoid(chosen_rewards - rejected_rewards))


@battery.right("gradient_weights")
def share_of_two(chosen_rewards, rejected_rewards, beta=0.1):
    both = torch.stack([chosen_rewards, rejected_rewards], dim=-1)
    return beta * both.softmax(dim=-1)[..., 1]


@battery.right("gradient_weights")
def by_autograd(chosen_rewards, rejected_rewards, beta=0.1):
    lead = (chosen_rewards - rejected_rewards).detach().requires_grad_()
    (slope,) = torch.autograd.grad(-logsigmoid(lead).sum(), lead)
    return -beta * slope


@battery.right("gradient_weights")
def over_one_plus(chosen_rewards, rejected_rewards, beta=0.1):
    return beta / (1 + torch.exp(chosen_rewards - rejected_rewards))


@battery.right("gradient_weights")
def exponential_of_logsigmoid(chosen_rewards, rejected_rewards, beta=0.1):
    return beta * logsigmoid(rejected_rewards - chosen_rewards).exp()


@battery.right("gradient_weights")
def by_tanh(chosen_rewards, rejected_rewards, beta=0.1):
    return beta / 2 * (1 - torch.tanh((chosen_rewards - rejected_rewards) / 2))


@battery.right("gradient_weights")
def weights_pair_by_pair(chosen_rewards, rejected_rewards, beta=0.1):
    pairs = zip(chosen_rewards, rejected_rewards, strict=True)
    return torch.stack([beta * torch.sigmoid(r - c) for c, r in pairs])


@battery.right("gradient_weights")
def by_numpy(chosen_rewards, rejected_rewards, beta=0.1):
    gap = (chosen_rewards - rejected_rewards).numpy().astype(np.float64)
    weights = beta * np.exp(-np.logaddexp(0.0, gap))
    return torch.from_numpy(weights).to(chosen_rewards.dtype)


# --- gradient_weights: wrong ------------------------------------------------------------------


def _pull(name, says, weigh):
    """weigh(c, r, b, g): rewards, beta, and chosen minus rejected."""

    def answer(chosen_rewards, rejected_rewards, beta=0.1):
        c, r = chosen_rewards, rejected_rewards
        return weigh(c, r, beta, c - r)

    answer.__name__ = name
    battery.wrong("gradient_weights", says=says)(answer)


# fmt: off
_pull("other_way_round", "wrong way round", lambda c, r, b, g: b * g.sigmoid())
_pull("one_minus_twice", "wrong way round", lambda c, r, b, g: b * (1 - (-g).sigmoid()))
_pull("beta_forgotten", "Beta is missing", lambda c, r, b, g: (-g).sigmoid())
_pull("beta_built_in", "another number stands", lambda c, r, b, g: 0.1 * (-g).sigmoid())
_pull("beta_inside_too", "Beta goes into the gap", lambda c, r, b, g: b * (-b * g).sigmoid())
_pull("beta_inside_only", "Beta goes into the gap", lambda c, r, b, g: (-b * g).sigmoid())
_pull("gap_over_beta", "Beta goes into the gap", lambda c, r, b, g: b * (-g / b).sigmoid())
_pull("beta_squared", "there twice", lambda c, r, b, g: b * b * (-g).sigmoid())
_pull("over_beta", "divides", lambda c, r, b, g: (-g).sigmoid() / b)
_pull("negative", "sign is turned", lambda c, r, b, g: -b * (-g).sigmoid())
_pull("negative_and_turned", "sign is turned", lambda c, r, b, g: -b * g.sigmoid())
_pull("slope_of_the_sigmoid", "slope of a sigmoid", lambda c, r, b, g: b * g.sigmoid() * (1 - g.sigmoid()))
_pull("slope_of_the_sigmoid_without_beta", "slope of a sigmoid", lambda c, r, b, g: g.sigmoid() * (1 - g.sigmoid()))
_pull("the_loss", "the loss, or a part", lambda c, r, b, g: -logsigmoid(g))
_pull("beta_times_the_loss", "the loss, or a part", lambda c, r, b, g: -b * logsigmoid(g))
_pull("log_of_it", "the loss, or a part", lambda c, r, b, g: b * logsigmoid(-g))
_pull("the_gap", "That is the gap", lambda c, r, b, g: -b * g)
_pull("absolute_gap", "not its sign", lambda c, r, b, g: b * (-g.abs()).sigmoid())
_pull("wrong_ones_only", "all its force", lambda c, r, b, g: b * (g < 0).to(g.dtype))
_pull("hinge", "all its force", lambda c, r, b, g: b * (g < 1).to(g.dtype))
_pull("chosen_only", "One of the two", lambda c, r, b, g: b * (-c).sigmoid())
_pull("rejected_only", "One of the two", lambda c, r, b, g: b * r.sigmoid())
_pull("difference_of_sigmoids", "One of the two", lambda c, r, b, g: b * (r.sigmoid() - c.sigmoid()))
_pull("sum_of_rewards", "One of the two", lambda c, r, b, g: b * (-c - r).sigmoid())
_pull("softmax_over_pairs", "compete with one another", lambda c, r, b, g: b * (-g).softmax(0))
_pull("relative", "compete with one another|should be", lambda c, r, b, g: (-g).sigmoid() / (-g).sigmoid().sum())
_pull("mean", "no mean", lambda c, r, b, g: (b * (-g).sigmoid()).mean())
_pull("sum", "no mean", lambda c, r, b, g: (b * (-g).sigmoid()).sum())
_pull("mean_for_all", "the same weight", lambda c, r, b, g: (b * (-g).sigmoid()).mean().expand_as(g))
_pull("over_the_batch", "divided by the number", lambda c, r, b, g: b * (-g).sigmoid() / len(g))
_pull("both_answers", "for each answer", lambda c, r, b, g: torch.stack([b * (-g).sigmoid(), -b * (-g).sigmoid()]))
_pull("both_answers_as_a_pair", "returned a tuple", lambda c, r, b, g: (b * (-g).sigmoid(), -b * (-g).sigmoid()))
_pull("all_with_all", "every rejected one", lambda c, r, b, g: b * (r - c[:, None]).sigmoid())
_pull("one_column", "dimension was added", lambda c, r, b, g: b * (-g).sigmoid()[:, None])
_pull("squeezed", "batch of one", lambda c, r, b, g: b * (-g).sigmoid().squeeze())
_pull("tanh", "another curve", lambda c, r, b, g: b * (-g).tanh())
_pull("power_of_e", "another curve", lambda c, r, b, g: b * (-g).exp())
_pull("power_of_e_clamped", "another curve", lambda c, r, b, g: b * (-g).exp().clamp(max=1))
_pull("quotient_of_powers", "inf or nan", lambda c, r, b, g: b * r.exp() / (c.exp() + r.exp()))
_pull("power_over_one_plus", "inf or nan", lambda c, r, b, g: b * (-g).exp() / (1 + (-g).exp()))
_pull("clamped_rewards", "should be", lambda c, r, b, g: b * (r.clamp(-50, 50) - c.clamp(-50, 50)).sigmoid())
_pull("at_most_beta_half", "should be|wrong way", lambda c, r, b, g: (b * (-g).sigmoid()).clamp(max=b / 2))
_pull("in_single", "type", lambda c, r, b, g: b * (-g).float().sigmoid())
_pull("in_single_and_back", "first digits|should be", lambda c, r, b, g: (b * (r.float() - c.float()).sigmoid()).to(c.dtype))
_pull("rounded", "first digits|should be", lambda c, r, b, g: (b * (-g).sigmoid()).round(decimals=3))
_pull("as_a_list", "returned a list", lambda c, r, b, g: (b * (-g).sigmoid()).tolist())
_pull("worked_value", "should be", lambda c, r, b, g: torch.full_like(g, 0.4404))
_pull("always_half_beta", "should be", lambda c, r, b, g: torch.full_like(g, b / 2))
_pull("by_autograd_of_the_rewards", "another number stands|Beta is missing", lambda c, r, b, g: -torch.autograd.grad(-logsigmoid(x := g.clone().requires_grad_()).sum(), x)[0])
# fmt: on


@battery.wrong("gradient_weights", says="changed its own input")
def weights_in_place(chosen_rewards, rejected_rewards, beta=0.1):
    return beta * rejected_rewards.sub_(chosen_rewards).sigmoid()


# --- ipo_loss: right --------------------------------------------------------------------------


@battery.right("ipo_loss")
def with_the_helper(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    gaps = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    return (gaps - 1 / (2 * beta)) ** 2


@battery.right("ipo_loss")
def scaled_and_back(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    gaps = (chosen_logprobs - rejected_logprobs) - (ref_chosen_logprobs - ref_rejected_logprobs)  # fmt: skip
    return ((beta * gaps - 0.5) / beta).square()


@battery.right("ipo_loss")
def as_torchs_squared_error(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    chosen = chosen_logprobs - ref_chosen_logprobs.detach()
    rejected = rejected_logprobs - ref_rejected_logprobs.detach()
    goal = torch.full_like(chosen, 0.5 / beta)
    return functional.mse_loss(chosen - rejected, goal, reduction="none")


@battery.right("ipo_loss")
def ipo_pair_by_pair(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    losses = []
    for b in range(len(chosen_logprobs)):
        gap = chosen_logprobs[b] - ref_chosen_logprobs[b]
        gap = gap - rejected_logprobs[b] + ref_rejected_logprobs[b]
        losses.append((1 / beta / 2 - gap).pow(2))
    return torch.stack(losses)


@battery.right("ipo_loss")
def multiplied_out(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    gaps = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    gaps = gaps.double()
    loss = gaps * gaps - gaps / beta + 1 / (4 * beta**2)
    return loss.to(chosen_logprobs.dtype)


@battery.right("ipo_loss")
def multiplied_out_in_single(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    gaps = log_ratio_gaps(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)  # fmt: skip
    return gaps**2 - gaps / beta + (0.5 / beta) ** 2


@battery.right("ipo_loss")
def size_times_itself(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    chosen = implicit_rewards(chosen_logprobs, ref_chosen_logprobs, 1.0)
    rejected = implicit_rewards(rejected_logprobs, ref_rejected_logprobs, 1.0)
    away = torch.abs(chosen - rejected - (2 * beta) ** -1)
    return away * away


# --- ipo_loss: wrong --------------------------------------------------------------------------


def _ipo(name, says, loss):
    """loss(c, r, rc, rr, b, g): four rows, beta, and the gap."""
    _dpo(name, says, lambda c, r, rc, rr, b, s, x: loss(c, r, rc, rr, b, c - rc - (r - rr)), "ipo_loss")  # fmt: skip


# fmt: off
_ipo("half_times_beta", "division comes first", lambda c, r, rc, rr, b, g: (g - 1 / 2 * b) ** 2)
_ipo("one_over_beta", "gap to reach is another", lambda c, r, rc, rr, b, g: (g - 1 / b) ** 2)
_ipo("two_over_beta", "gap to reach is another", lambda c, r, rc, rr, b, g: (g - 2 / b) ** 2)
_ipo("to_one", "gap to reach is another", lambda c, r, rc, rr, b, g: (g - 1) ** 2)
_ipo("to_beta", "gap to reach is another", lambda c, r, rc, rr, b, g: (g - b) ** 2)
_ipo("to_zero", "gap to reach is another", lambda c, r, rc, rr, b, g: g**2)
_ipo("to_five", "Another beta is built in", lambda c, r, rc, rr, b, g: (g - 5) ** 2)
_ipo("beta_at_the_gap", "gap is multiplied by beta", lambda c, r, rc, rr, b, g: (b * g - 0.5) ** 2)
_ipo("beta_at_both", "gap is multiplied by beta", lambda c, r, rc, rr, b, g: (b * g - 1 / (2 * b)) ** 2)
_ipo("beta_at_the_gap_to_one", "gap is multiplied by beta", lambda c, r, rc, rr, b, g: (b * g - 1) ** 2)
_ipo("times_beta", "another size", lambda c, r, rc, rr, b, g: b * (g - 1 / (2 * b)) ** 2)
_ipo("half_the_square", "another size", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)) ** 2 / 2)
_ipo("reference_forgotten", "reference is left out", lambda c, r, rc, rr, b, g: (c - r - 1 / (2 * b)) ** 2)
_ipo("wrong_way_round", "wrong way round", lambda c, r, rc, rr, b, g: (-g - 1 / (2 * b)) ** 2)
_ipo("plus_the_goal", "wrong way round", lambda c, r, rc, rr, b, g: (g + 1 / (2 * b)) ** 2)
_ipo("reference_added", "wrong sign", lambda c, r, rc, rr, b, g: (c + rc - r - rr - 1 / (2 * b)) ** 2)
_ipo("without_brackets", "wrong sign", lambda c, r, rc, rr, b, g: (c - rc - r - rr - 1 / (2 * b)) ** 2)
_ipo("references_crossed", "wrong sign", lambda c, r, rc, rr, b, g: (c - rr - r + rc - 1 / (2 * b)) ** 2)
_ipo("one_reference", "wrong sign, or for one", lambda c, r, rc, rr, b, g: (c - rc - r - 1 / (2 * b)) ** 2)
_ipo("absolute", "square is missing", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)).abs())
_ipo("no_square", "square is missing", lambda c, r, rc, rr, b, g: g - 1 / (2 * b))
_ipo("times_two", "a 2 stands", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)) * 2)
_ipo("cubed", "another power", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)) ** 3)
_ipo("bits_exclusive_or", "a power is", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)) ^ 2)
_ipo("hinge", "hinge", lambda c, r, rc, rr, b, g: relu(1 - b * g))
_ipo("squared_hinge", "hinge", lambda c, r, rc, rr, b, g: relu(1 / (2 * b) - g) ** 2)
_ipo("only_beyond", "hinge", lambda c, r, rc, rr, b, g: relu(g - 1 / (2 * b)) ** 2)
_ipo("absolute_gap", "lost its sign", lambda c, r, rc, rr, b, g: (g.abs() - 1 / (2 * b)) ** 2)
_ipo("squares_subtracted", "of the parts", lambda c, r, rc, rr, b, g: g**2 - (1 / (2 * b)) ** 2)
_ipo("square_first", "of the parts", lambda c, r, rc, rr, b, g: g**2 - 1 / (2 * b))
_ipo("square_of_the_goal_alone", "of the parts", lambda c, r, rc, rr, b, g: g - (1 / (2 * b)) ** 2)
_ipo("each_answer_its_goal", "goal of its own", lambda c, r, rc, rr, b, g: (c - rc - 1 / (2 * b)) ** 2 + (r - rr + 1 / (2 * b)) ** 2)
_ipo("chosen_alone", "goal of its own", lambda c, r, rc, rr, b, g: (c - rc - 1 / (2 * b)) ** 2)
_ipo("negative", "sign is turned", lambda c, r, rc, rr, b, g: -((g - 1 / (2 * b)) ** 2))
_ipo("minus_without_brackets", "sign is turned", lambda c, r, rc, rr, b, g: -(1 / (2 * b) - g) ** 2)
_ipo("dpo", "DPO's loss", lambda c, r, rc, rr, b, g: -logsigmoid(b * g))
_ipo("dpo_with_a_goal", "DPO's loss", lambda c, r, rc, rr, b, g: -logsigmoid(g - 1 / (2 * b)))
_ipo("quotients", "ratios of log-prob", lambda c, r, rc, rr, b, g: (c / rc - r / rr - 1 / (2 * b)) ** 2)
_ipo("powers", "ratios of log-prob", lambda c, r, rc, rr, b, g: ((c - rc).exp() - (r - rr).exp() - 1 / (2 * b)) ** 2)
_ipo("mean", "no mean", lambda c, r, rc, rr, b, g: ((g - 1 / (2 * b)) ** 2).mean())
_ipo("torchs_mean", "no mean", lambda c, r, rc, rr, b, g: functional.mse_loss(g, torch.full_like(g, 1 / (2 * b))))
_ipo("squeezed", "batch of one", lambda c, r, rc, rr, b, g: ((g - 1 / (2 * b)) ** 2).squeeze())
_ipo("square_of_the_mean", "the same loss", lambda c, r, rc, rr, b, g: ((g.mean() - 1 / (2 * b)) ** 2).expand_as(g))
_ipo("over_the_batch", "divided by the number", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)) ** 2 / len(g))
_ipo("huber", "should be", lambda c, r, rc, rr, b, g: 2 * functional.huber_loss(g, torch.full_like(g, 1 / (2 * b)), reduction="none"))
_ipo("clamped", "should be", lambda c, r, rc, rr, b, g: (g.clamp(-50, 50) - 1 / (2 * b)) ** 2)
_ipo("whole_division", "stopped with|should be|gap to reach", lambda c, r, rc, rr, b, g: (g - 1 // (2 * b)) ** 2)
_ipo("in_single", "type", lambda c, r, rc, rr, b, g: (g.float() - 1 / (2 * b)) ** 2)
_ipo("in_single_and_back", "first digits|should be", lambda c, r, rc, rr, b, g: ((c.float() - rc.float() - r.float() + rr.float() - 1 / (2 * b)) ** 2).to(c.dtype))
_ipo("detached", "No gradient reaches", lambda c, r, rc, rr, b, g: ((g - 1 / (2 * b)) ** 2).detach())
_ipo("rejected_detached", "reaches the rejected", lambda c, r, rc, rr, b, g: (c - rc - r.detach() + rr - 1 / (2 * b)) ** 2)
_ipo("one_factor_detached", "gradient for the chosen", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)).detach() * (g - 1 / (2 * b)))
_ipo("by_a_root", "branch that is not chosen|is nan", lambda c, r, rc, rr, b, g: (g - 1 / (2 * b)).square().sqrt() ** 2)
_ipo("worked_value", "should be", lambda c, r, rc, rr, b, g: torch.full_like(g, 9.0))
_ipo("as_a_list", "returned a list", lambda c, r, rc, rr, b, g: ((g - 1 / (2 * b)) ** 2).tolist())
# fmt: on


@battery.wrong("ipo_loss", says="changed its own input")
def ipo_in_place(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1):  # fmt: skip
    rejected_logprobs -= ref_rejected_logprobs
    return (chosen_logprobs - ref_chosen_logprobs - rejected_logprobs - 1 / (2 * beta)) ** 2  # fmt: skip


# --- found by attacking the check -------------------------------------------------------------


@battery.right("dpo_loss")
def beta_as_a_tensor(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1, smoothing=0.0):  # fmt: skip
    gap = chosen_logprobs - ref_chosen_logprobs - rejected_logprobs + ref_rejected_logprobs  # fmt: skip
    return _full(torch.tensor(beta) * gap, torch.tensor(smoothing))


# fmt: off
_dpo("gap_in_double_loss_in_single", "first seven digits", lambda c, r, rc, rr, b, s, x: _full(x.float(), s).to(c.dtype))
_dpo("gains_added_up", "gains are added up", lambda c, r, rc, rr, b, s, x: _full(b * (c - rc + r - rr), s))
_pull("gap_in_double_weight_in_single", "first seven digits", lambda c, r, b, g: b * (-g.float()).sigmoid().to(c.dtype))
_pull("signs_moved_and_halved", "hinge", lambda c, r, b, g: b * (1 - g.sign()) / 2)
_agree("always_one", "always gives the same", lambda c, r, rc, rr, g: torch.ones((), dtype=c.dtype))
_agree("always_three", "always gives the same", lambda c, r, rc, rr, g: torch.full((), 3.0, dtype=c.dtype))
_agree("signs_halved", "These are signs", lambda c, r, rc, rr, g: g.sign().mean() / 2)
_ipo("gap_by_2_beta", "multiplied by beta", lambda c, r, rc, rr, b, g: (2 * b * g - 1 / (2 * b)) ** 2)
# fmt: on
