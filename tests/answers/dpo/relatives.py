"""Answers to lesson 09: the loss by the odds; right ones of different shapes, and people's mistakes."""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

from course_lib.dpo.losses import check_same
from course_lib.dpo.relatives import ALMOST_SURE, log_odds, simpo_loss
from tools.graders import Battery

battery = Battery()


# --- orpo_loss: right -------------------------------------------------------------------------


@battery.right("orpo_loss")
def with_both_helpers(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    check_same(chosen=chosen_logprobs, rejected=rejected_logprobs)
    lead = log_odds(chosen_logprobs) - log_odds(rejected_logprobs)
    return -chosen_logprobs - weight * logsigmoid(lead)


@battery.right("orpo_loss")
def with_softplus(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    behind = log_odds(rejected_logprobs) - log_odds(chosen_logprobs)
    return weight * softplus(behind) - chosen_logprobs


@battery.right("orpo_loss")
def odds_of_ones_own(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    def odds(logprobs):
        held = logprobs.clamp(max=ALMOST_SURE)
        return held - torch.log(-torch.expm1(held))

    return -chosen_logprobs - weight * logsigmoid(
        odds(chosen_logprobs) - odds(rejected_logprobs)
    )


@battery.right("orpo_loss")
def pair_by_pair(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    losses = []
    for c, r in zip(chosen_logprobs, rejected_logprobs, strict=True):
        lead = log_odds(c) - log_odds(r)
        push = torch.logaddexp(torch.zeros_like(lead), -lead)
        losses.append(-c + weight * push)
    return torch.stack(losses)


@battery.right("orpo_loss")
def as_a_choice_of_two(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    both = torch.stack([chosen_logprobs, rejected_logprobs], dim=1)
    push = -log_odds(both).log_softmax(dim=1)[:, 0]
    return both[:, 0].neg() + weight * push


@battery.right("orpo_loss")
def as_binary_cross_entropy(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    lead = log_odds(chosen_logprobs) - log_odds(rejected_logprobs)
    ones = torch.ones_like(lead)
    push = binary_cross_entropy_with_logits(lead, ones, reduction="none")
    return torch.add(-chosen_logprobs, push, alpha=weight)


@battery.right("orpo_loss")
def held_a_little_closer(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    def rest(logprobs):
        """log(1 - p)"""
        return torch.log(-torch.expm1(torch.minimum(logprobs, torch.tensor(-1e-7))))

    lead = chosen_logprobs - rejected_logprobs
    lead = lead - (rest(chosen_logprobs) - rest(rejected_logprobs))
    return -chosen_logprobs - weight * logsigmoid(lead)


@battery.right("orpo_loss")
def in_double_and_back(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    def odds(logprobs):
        p = logprobs.double().exp()
        return logprobs.double() - (1 - p).clamp(min=1e-12).log()

    push = logsigmoid(odds(chosen_logprobs) - odds(rejected_logprobs))
    return -chosen_logprobs - weight * push.to(chosen_logprobs.dtype)


@battery.right("orpo_loss")
def by_the_cousins_margin(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    odds = log_odds(chosen_logprobs), log_odds(rejected_logprobs)
    return -chosen_logprobs + weight * simpo_loss(*odds, beta=1.0, margin=0.0)


# --- orpo_loss: wrong -------------------------------------------------------------------------


def _orpo(name, says, loss):
    """loss(c, r, w, x): both means, the weight, and the lead of log-odds."""

    def answer(chosen_logprobs, rejected_logprobs, *, weight=0.1):
        c, r = chosen_logprobs, rejected_logprobs
        return loss(c, r, weight, log_odds(c) - log_odds(r))

    answer.__name__ = name
    battery.wrong("orpo_loss", says=says)(answer)


def _naive(c):
    """Odds by probabilities."""
    return (c.exp() / (1 - c.exp())).log()


# fmt: off
# odds
_orpo("odds_forgotten", "not the logarithms of odds", lambda c, r, w, x: -c - w * logsigmoid(c - r))
_orpo("logarithm_forgotten", "without their logarithm|impossible|0 has no log", lambda c, r, w, x: -c - w * logsigmoid(c.exp() / (1 - c.exp()) - r.exp() / (1 - r.exp())))
_orpo("probabilities_compared", "without their logarithm", lambda c, r, w, x: -c - w * logsigmoid(c.exp() - r.exp()))
_orpo("odds_of_the_chosen_only", "one of the two", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c)))
_orpo("odds_of_the_chosen_against_rejected", "one of the two", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c) - r))
_orpo("odds_added", "one of the two", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c) + log_odds(r)))
_orpo("rest_added", "Odds are a quotient", lambda c, r, w, x: -c - w * logsigmoid(c + (1 - c.exp()).log() - r - (1 - r.exp()).log()))
_orpo("one_plus", "Odds are a quotient", lambda c, r, w, x: -c - w * logsigmoid(c - torch.log1p(c.exp()) - r + torch.log1p(r.exp())))
_orpo("rest_only", "Odds are a quotient", lambda c, r, w, x: -c - w * logsigmoid((1 - r.exp()).log() - (1 - c.exp()).log()))
_orpo("exp_twice", "taken for probabilities|should be", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c.exp()) - log_odds(r.exp())))
_orpo("logs_as_probabilities", "taken for probabilities|should be", lambda c, r, w, x: -c - w * logsigmoid(c / (1 - c) - r / (1 - r)))
_orpo("log1p_of_minus_logs", "should be|no log", lambda c, r, w, x: -c - w * logsigmoid(c - torch.log1p(-c) - r + torch.log1p(-r)))
_orpo("expm1_without_minus", "should be", lambda c, r, w, x: -c - w * logsigmoid(c - torch.expm1(c).log() - r + torch.expm1(r).log()))
# the two terms
_orpo("first_term_forgotten", "first term is forgotten", lambda c, r, w, x: -w * logsigmoid(x))
_orpo("first_term_forgotten_no_weight", "first term is forgotten", lambda c, r, w, x: -logsigmoid(x))
_orpo("learns_the_rejected", "learns the rejected", lambda c, r, w, x: -r - w * logsigmoid(x))
_orpo("learns_both", "Both answers are learned", lambda c, r, w, x: -c - r - w * logsigmoid(x))
_orpo("learns_their_mean", "Both answers are learned", lambda c, r, w, x: -(c + r) / 2 - w * logsigmoid(x))
_orpo("unlearns_the_rejected", "Both answers are learned", lambda c, r, w, x: -c + r - w * logsigmoid(x))
_orpo("weight_on_the_first", "multiplies the first", lambda c, r, w, x: -w * c - logsigmoid(x))
_orpo("weight_on_both", "multiplies the first", lambda c, r, w, x: w * (-c - logsigmoid(x)))
_orpo("mixed", "multiplies the first", lambda c, r, w, x: -(1 - w) * c - w * logsigmoid(x))
_orpo("weight_forgotten", "weight makes no difference", lambda c, r, w, x: -c - logsigmoid(x))
_orpo("weight_built_in", "weight makes no difference", lambda c, r, w, x: -c - 0.1 * logsigmoid(x))
_orpo("second_term_forgotten", "second term is missing", lambda c, r, w, x: -c + 0 * x)
_orpo("weight_inside", "goes into the sigmoid", lambda c, r, w, x: -c - logsigmoid(w * x))
_orpo("weight_inside_too", "goes into the sigmoid", lambda c, r, w, x: -c - w * logsigmoid(w * x))
_orpo("second_turned", "wrong way round", lambda c, r, w, x: -c - w * logsigmoid(-x))
_orpo("rejected_less_chosen", "wrong way round", lambda c, r, w, x: -c - w * logsigmoid(log_odds(r) - log_odds(c)))
_orpo("second_added", "second term has the wrong sign", lambda c, r, w, x: -c + w * logsigmoid(x))
_orpo("first_positive", "first term has the wrong sign", lambda c, r, w, x: c - w * logsigmoid(x))
_orpo("all_turned", "sign of all", lambda c, r, w, x: c + w * logsigmoid(x))
_orpo("sigmoid_without_log", "without its logarithm", lambda c, r, w, x: -c - w * x.sigmoid())
_orpo("improbability", "without its logarithm", lambda c, r, w, x: -c + w * (-x).sigmoid())
_orpo("sigmoid_missing", "sigmoid is missing", lambda c, r, w, x: -c - w * x)
_orpo("first_term_a_probability", "first term is a probability", lambda c, r, w, x: -c.exp() - w * logsigmoid(x))
_orpo("one_minus_probability", "first term is a probability", lambda c, r, w, x: 1 - c.exp() - w * logsigmoid(x))
_orpo("bits", "in bits", lambda c, r, w, x: (-c - w * logsigmoid(x)) / math.log(2))
_orpo("hinge", "hinge", lambda c, r, w, x: -c + w * (1 - x).relu())
_orpo("softmax_over_pairs", "compete with one another", lambda c, r, w, x: -c - w * x.log_softmax(0))
_orpo("mean_push", "compete with one another", lambda c, r, w, x: -c - w * logsigmoid(x).mean())
# shapes
_orpo("mean", "no mean", lambda c, r, w, x: (-c - w * logsigmoid(x)).mean())
_orpo("sum", "no mean", lambda c, r, w, x: (-c - w * logsigmoid(x)).sum())
_orpo("squeezed", "batch of one", lambda c, r, w, x: (-c - w * logsigmoid(x)).squeeze())
_orpo("one_column", "dimension was added", lambda c, r, w, x: (-c - w * logsigmoid(x))[:, None])
_orpo("all_with_all", "every rejected one", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c)[:, None] - log_odds(r)))
_orpo("mean_for_all", "the same loss", lambda c, r, w, x: (-c - w * logsigmoid(x)).mean().expand_as(c))
_orpo("over_the_batch", "divided by the number", lambda c, r, w, x: (-c - w * logsigmoid(x)) / len(c))
_orpo("halved", "halved", lambda c, r, w, x: (-c - w * logsigmoid(x)) / 2)
_orpo("two_terms", "returned a tuple", lambda c, r, w, x: (-c, -w * logsigmoid(x)))
_orpo("as_a_list", "returned a list", lambda c, r, w, x: (-c - w * logsigmoid(x)).tolist())
# numbers that leave the numbers
_orpo("naive_odds", "0 has no log", lambda c, r, w, x: -c - w * logsigmoid(_naive(c) - _naive(r)))
_orpo("quotient_of_odds", "0 has no log", lambda c, r, w, x: -c - w * logsigmoid((c.exp() / (1 - c.exp()) / (r.exp() / (1 - r.exp()))).log()))
_orpo("log_of_sigmoid", "0 has no log", lambda c, r, w, x: -c - w * x.sigmoid().log())
_orpo("one_minus_rounded", "known by heart", lambda c, r, w, x: -c - w * logsigmoid(c - (1 - c.exp()).log() - r + (1 - r.exp()).log()))
_orpo("log1p_rounded", "known by heart", lambda c, r, w, x: -c - w * logsigmoid(c - torch.log1p(-c.exp()) - r + torch.log1p(-r.exp())))
_orpo("one_minus_clamped", "known by heart", lambda c, r, w, x: -c - w * logsigmoid(c - (1 - c.exp()).clamp(min=1e-6).log() - r + (1 - r.exp()).clamp(min=1e-6).log()))
_orpo("unheld", "Where an answer is certain", lambda c, r, w, x: -c - w * logsigmoid(c - (-torch.expm1(c)).log() - r + (-torch.expm1(r)).log()))
_orpo("unheld_and_hidden", "Where an answer is certain", lambda c, r, w, x: (-c - w * logsigmoid(c - (-torch.expm1(c)).log() - r + (-torch.expm1(r)).log())).nan_to_num())
_orpo("small_constant_in_the_rest", "first digits|known by heart", lambda c, r, w, x: -c - w * logsigmoid(c - (1 - c.exp() + 1e-5).log() - r + (1 - r.exp() + 1e-5).log()))
_orpo("small_constant_in_the_sigmoid", "hold it back", lambda c, r, w, x: -c - w * (x.sigmoid() + 1e-10).log())
_orpo("lead_clamped", "hold it back", lambda c, r, w, x: -c - w * logsigmoid(x.clamp(-50, 50)))
_orpo("odds_held_below", "hold it back|should be", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c.clamp(min=-100)) - log_odds(r.clamp(min=-100))))
_orpo("in_single", "type", lambda c, r, w, x: (-c - w * logsigmoid(x)).float())
_orpo("in_single_and_back", "first seven digits", lambda c, r, w, x: (-c.float() - w * logsigmoid(log_odds(c.float()) - log_odds(r.float()))).to(c.dtype))
_orpo("in_double", "type", lambda c, r, w, x: -c.double() - w * logsigmoid(x.double()))
# gradients
_orpo("detached", "No gradient reaches", lambda c, r, w, x: (-c - w * logsigmoid(x)).detach())
_orpo("rejected_detached", "reaches the rejected", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c) - log_odds(r.detach())))
_orpo("push_detached", "gradient for the chosen|reaches the rejected", lambda c, r, w, x: -c - w * logsigmoid(x).detach())
_orpo("chosen_odds_detached", "gradient for the chosen", lambda c, r, w, x: -c - w * logsigmoid(log_odds(c.detach()) - log_odds(r)))
_orpo("first_term_detached", "gradient for the chosen", lambda c, r, w, x: -c.detach() - w * logsigmoid(x))
_orpo("rest_detached", "gradient for the chosen", lambda c, r, w, x: -c - w * logsigmoid(c - r + (x - c + r).detach()))
# by heart
_orpo("worked_values", "should be|weight", lambda c, r, w, x: torch.full_like(c, 0.7155 if w == 0.1 else 0.9163))
_orpo("simpo", "should be|first term|odds", lambda c, r, w, x: simpo_loss(c, r))
# fmt: on


@battery.wrong("orpo_loss", says="changed its own input")
def in_place(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    held = chosen_logprobs.clamp_(max=-0.7), rejected_logprobs.clamp_(max=-0.7)
    lead = log_odds(held[0]) - log_odds(held[1])
    return -chosen_logprobs - weight * logsigmoid(lead)


@battery.wrong("orpo_loss", says="unexpected keyword")
def without_a_weight(chosen_logprobs, rejected_logprobs):
    lead = log_odds(chosen_logprobs) - log_odds(rejected_logprobs)
    return -chosen_logprobs - 0.1 * logsigmoid(lead)


# --- found by attacking the check -------------------------------------------------------------


@battery.right("orpo_loss")
def weight_as_a_tensor(chosen_logprobs, rejected_logprobs, *, weight=0.1):
    lead = log_odds(chosen_logprobs) - log_odds(rejected_logprobs)
    return -chosen_logprobs - torch.tensor(weight) * logsigmoid(lead)


_orpo("log_odds_learned", "first term is made of odds", lambda c, r, w, x: -log_odds(c) - w * logsigmoid(x))  # fmt: skip
_orpo("a_weight_of_2_at_most", "should be|makes no difference", lambda c, r, w, x: -c - min(w, 2.0) * logsigmoid(x))  # fmt: skip
