"""Answers to lesson 06 on accuracy, its ceiling, and the distance of the best of n: right ones, and mistakes."""

import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import kl_div, logsigmoid, relu

from course_lib.reward.annotator import check_probabilities, preference_probability
from course_lib.reward.audit import calibration, check_pairs
from course_lib.reward.best_of_n import (
    best_of_n_kl_bound,
    best_of_n_probabilities,
    check_draws,
)
from tools.graders import Battery

battery = Battery()


# --- pairwise_accuracy: right -----------------------------------------------------------------


@battery.right("pairwise_accuracy")
def wins_and_half_the_ties(chosen_rewards, rejected_rewards):
    check_pairs(chosen_rewards, rejected_rewards)
    won = (chosen_rewards > rejected_rewards).float()
    tied = (chosen_rewards == rejected_rewards).float()
    return (won + 0.5 * tied).mean()


@battery.right("pairwise_accuracy")
def pair_by_pair(chosen_rewards, rejected_rewards):
    points = 0.0
    for c, r in zip(chosen_rewards.tolist(), rejected_rewards.tolist(), strict=True):
        if c > r:
            points += 1
        elif c == r:
            points += 0.5
    return torch.tensor(points / len(chosen_rewards))


@battery.right("pairwise_accuracy")
def by_a_step_function(chosen_rewards, rejected_rewards):
    half = chosen_rewards.new_tensor(0.5)
    return torch.heaviside(chosen_rewards - rejected_rewards, half).mean()


@battery.right("pairwise_accuracy")
def by_two_wheres(chosen_rewards, rejected_rewards):
    lost = torch.where(chosen_rewards < rejected_rewards, 0.0, 0.5)
    return torch.where(chosen_rewards > rejected_rewards, 1.0, lost).mean()


@battery.right("pairwise_accuracy")
def by_an_annotator_without_noise(chosen_rewards, rejected_rewards):
    return preference_probability(chosen_rewards - rejected_rewards).mean()


@battery.right("pairwise_accuracy")
def in_numpy(chosen_rewards, rejected_rewards):
    signs = np.sign(chosen_rewards.numpy() - rejected_rewards.numpy())
    return torch.tensor(np.mean((signs + 1) / 2))


@battery.right("pairwise_accuracy")
def by_ranks(chosen_rewards, rejected_rewards):
    both = torch.stack([chosen_rewards, rejected_rewards], dim=1).numpy()
    return torch.from_numpy(stats.rankdata(both, axis=1)[:, 0] - 1).mean()


@battery.right("pairwise_accuracy")
def one_minus_the_mistakes(chosen_rewards, rejected_rewards):
    N = chosen_rewards.numel()
    lost = (chosen_rewards < rejected_rewards).sum()
    return 1 - (lost + (chosen_rewards == rejected_rewards).sum() / 2) / N


@battery.right("pairwise_accuracy")
def the_mean_of_strict_and_lenient(chosen_rewards, rejected_rewards):
    strict = chosen_rewards.gt(rejected_rewards).double().mean()
    lenient = chosen_rewards.ge(rejected_rewards).double().mean()
    return (strict + lenient) / 2


# --- pairwise_accuracy: wrong -----------------------------------------------------------------


def _accuracy(says):
    return battery.wrong("pairwise_accuracy", says=says)


@_accuracy("tie counts as right")
def ties_are_right(chosen_rewards, rejected_rewards):
    return (chosen_rewards >= rejected_rewards).float().mean()


@_accuracy("tie counts as wrong")
def ties_are_wrong(chosen_rewards, rejected_rewards):
    return (chosen_rewards > rejected_rewards).float().mean()


@_accuracy("tie counts as wrong.*ln 2")
def loss_below_ln_2(chosen_rewards, rejected_rewards):
    losses = -logsigmoid(chosen_rewards.double() - rejected_rewards.double())
    return (losses < math.log(2) - 1e-15).float().mean()


@_accuracy("Ties are left out")
def ties_are_dropped(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards - rejected_rewards
    return (gaps[gaps != 0] > 0).float().mean()


@_accuracy("Ties are left out")
def ties_are_dropped_unless_all_tie(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards - rejected_rewards
    if not gaps.any():
        return torch.tensor(0.5)
    return (gaps[gaps != 0] > 0).float().mean()


@_accuracy("sign of a reward")
def positive_rewards(chosen_rewards, rejected_rewards):
    return (chosen_rewards > 0).float().mean()


@_accuracy("sign of a reward")
def positive_against_negative(chosen_rewards, rejected_rewards):
    return ((chosen_rewards > 0) & (rejected_rewards < 0)).float().mean()


@_accuracy("sign of a reward")
def rewards_rounded_to_labels(chosen_rewards, rejected_rewards):
    labels = (torch.cat([chosen_rewards, -rejected_rewards]) > 0).float()
    return labels.mean()


@_accuracy("wrong way round")
def the_rejected_one_wins(chosen_rewards, rejected_rewards):
    return (((rejected_rewards - chosen_rewards).sign() + 1) / 2).mean()


@_accuracy("percent")
def in_percent(chosen_rewards, rejected_rewards):
    return 100 * (((chosen_rewards - rejected_rewards).sign() + 1) / 2).mean()


@_accuracy("number of pairs")
def a_sum(chosen_rewards, rejected_rewards):
    return (((chosen_rewards - rejected_rewards).sign() + 1) / 2).sum()


@_accuracy("number of pairs")
def how_many_wins(chosen_rewards, rejected_rewards):
    return (chosen_rewards > rejected_rewards).sum()


@_accuracy("signs, from -1 to 1")
def mean_of_signs(chosen_rewards, rejected_rewards):
    return (chosen_rewards - rejected_rewards).sign().mean()


@_accuracy("from 0 to 2")
def signs_and_one(chosen_rewards, rejected_rewards):
    return ((chosen_rewards - rejected_rewards).sign() + 1).mean()


@_accuracy("tie counts as wrong")
def whole_division(chosen_rewards, rejected_rewards):
    return (((chosen_rewards - rejected_rewards).sign() + 1) // 2).mean()


@_accuracy("all pairs are right")
def division_of_whole_numbers(chosen_rewards, rejected_rewards):
    return (chosen_rewards > rejected_rewards).sum() // len(chosen_rewards)


@_accuracy("whole number")
def rounded(chosen_rewards, rejected_rewards):
    return (((chosen_rewards - rejected_rewards).sign() + 1) / 2).mean().round()


@_accuracy("how sure")
def mean_of_sigmoids(chosen_rewards, rejected_rewards):
    return (chosen_rewards - rejected_rewards).sigmoid().mean()


@_accuracy("how sure")
def gaps_up_to_one(chosen_rewards, rejected_rewards):
    return (((chosen_rewards - rejected_rewards).clamp(-1, 1) + 1) / 2).mean()


@_accuracy("1e-12|1.000000000001")
def a_very_steep_sigmoid(chosen_rewards, rejected_rewards):
    return ((chosen_rewards - rejected_rewards) * 1e12).sigmoid().mean()


@_accuracy("all pairs are right")
def all_at_once(chosen_rewards, rejected_rewards):
    return (chosen_rewards > rejected_rewards).all().float()


@_accuracy("compares the means")
def means_compared(chosen_rewards, rejected_rewards):
    return (chosen_rewards.double().mean() > rejected_rewards.double().mean()).float()


@_accuracy("gap itself")
def mean_gap(chosen_rewards, rejected_rewards):
    return (chosen_rewards.double() - rejected_rewards).mean()


@_accuracy("gap itself")
def mean_lead(chosen_rewards, rejected_rewards):
    return relu(chosen_rewards.double() - rejected_rewards).mean()


@_accuracy("every rejected one")
def everybody_against_everybody(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards.unsqueeze(1) - rejected_rewards
    return ((gaps.sign() + 1) / 2).mean()


@_accuracy("mean of the others")
def against_the_mean(chosen_rewards, rejected_rewards):
    return (chosen_rewards > rejected_rewards.mean()).float().mean()


@_accuracy("sorts")
def sorted_first(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards.sort().values - rejected_rewards.sort().values
    return ((gaps.sign() + 1) / 2).mean()


@_accuracy("lead of 1")
def a_lead_of_one(chosen_rewards, rejected_rewards):
    return (((chosen_rewards - rejected_rewards - 1).sign() + 1) / 2).mean()


@_accuracy("close together")
def nearly_equal(chosen_rewards, rejected_rewards):
    tied = torch.isclose(chosen_rewards, rejected_rewards)
    return torch.where(tied, 0.5, (chosen_rewards > rejected_rewards).float()).mean()


@_accuracy("close together")
def with_a_tolerance(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards - rejected_rewards
    return torch.where(gaps.abs() < 1e-6, 0.5, (gaps > 0).float()).mean()


@_accuracy("close together")
def in_single_precision(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards.float() - rejected_rewards.float()
    return ((gaps.sign() + 1) / 2).mean()


@_accuracy("close together")
def with_digits_cut(chosen_rewards, rejected_rewards):
    gaps = chosen_rewards.round(decimals=4) - rejected_rewards.round(decimals=4)
    return ((gaps.sign() + 1) / 2).mean()


@_accuracy("close together")
def by_probabilities(chosen_rewards, rejected_rewards):
    p = (chosen_rewards - rejected_rewards).float().sigmoid()
    return (((p - 0.5).sign() + 1) / 2).mean()


@_accuracy("one by one.*mean")
def without_a_mean(chosen_rewards, rejected_rewards):
    return ((chosen_rewards - rejected_rewards).sign() + 1) / 2


@_accuracy("Each chosen answer belongs to one|one by one")
def a_square_of_pairs(chosen_rewards, rejected_rewards):
    return (chosen_rewards.unsqueeze(1) > rejected_rewards).float()


@_accuracy("returned a float; a tensor")
def a_plain_number(chosen_rewards, rejected_rewards):
    return (((chosen_rewards - rejected_rewards).sign() + 1) / 2).mean().item()


@_accuracy("no mean.*decimal")
def mean_of_booleans(chosen_rewards, rejected_rewards):
    return (chosen_rewards > rejected_rewards).mean()


@_accuracy("same number")
def by_heart(chosen_rewards, rejected_rewards):
    return torch.tensor(0.75)


@_accuracy("fixed number of pairs")
def divided_by_two(chosen_rewards, rejected_rewards):
    return ((chosen_rewards - rejected_rewards).sign() + 1).sum() / 4


@_accuracy("first pair")
def the_first_pair(chosen_rewards, rejected_rewards):
    return ((chosen_rewards - rejected_rewards).sign()[0] + 1) / 2


@_accuracy("changed its own input")
def in_place(chosen_rewards, rejected_rewards):
    chosen_rewards -= rejected_rewards
    return ((chosen_rewards.sign() + 1) / 2).mean()


@_accuracy("calls course_lib's own")
def from_the_calibration(chosen_rewards, rejected_rewards):
    table = calibration(chosen_rewards, rejected_rewards)
    return (table.observed * table.counts).sum() / table.counts.sum()


@_accuracy("wrong pair gets something")
def never_below_a_guess(chosen_rewards, rejected_rewards):
    right = ((chosen_rewards - rejected_rewards).sign() + 1) / 2
    return right.mean().clamp(min=0.5)


@_accuracy("with|counted pair by pair")
def equal_rewards_count_in_the_mean_only(chosen_rewards, rejected_rewards):
    if (chosen_rewards == rejected_rewards).any():
        return torch.tensor(0.5)
    return (chosen_rewards > rejected_rewards).float().mean()


# --- noise_ceiling: right ---------------------------------------------------------------------


@battery.right("noise_ceiling")
def better_guess_each(probabilities):
    check_probabilities(probabilities)
    return torch.max(probabilities, 1 - probabilities).mean()


@battery.right("noise_ceiling")
def distance_from_a_coin(probabilities):
    return (0.5 + (probabilities - 0.5).abs()).mean()


@battery.right("noise_ceiling")
def one_minus_the_worse_guess(probabilities):
    return 1 - torch.minimum(probabilities, 1 - probabilities).mean()


@battery.right("noise_ceiling")
def table_of_two_columns(probabilities):
    both = torch.stack([probabilities, 1 - probabilities], dim=1)
    return both.max(dim=1).values.mean()


@battery.right("noise_ceiling")
def one_at_a_time(probabilities):
    found = 0.0
    for p in probabilities.tolist():
        found += max(p, 1 - p)
    return torch.tensor(found / len(probabilities))


@battery.right("noise_ceiling")
def a_choice_in_numpy(probabilities):
    p = probabilities.numpy()
    return torch.as_tensor(np.where(p > 0.5, p, 1 - p).mean())


@battery.right("noise_ceiling")
def with_the_guess_spelled_out(probabilities):
    says_first = probabilities.round()
    right = says_first * probabilities + (1 - says_first) * (1 - probabilities)
    return right.sum() / right.numel()


@battery.right("noise_ceiling")
def in_two_groups(probabilities):
    high = probabilities[probabilities >= 0.5]
    low = probabilities[probabilities < 0.5]
    return (high.sum() + (1 - low).sum()) / len(probabilities)


# --- noise_ceiling: wrong ---------------------------------------------------------------------


def _ceiling(says):
    return battery.wrong("noise_ceiling", says=says)


@_ceiling('always says "the first"')
def mean_of_p(probabilities):
    return probabilities.mean()


@_ceiling('always says "the second"')
def mean_of_the_rest(probabilities):
    return (1 - probabilities).mean()


@_ceiling("mean is taken first")
def mean_then_the_better_guess(probabilities):
    mean = probabilities.mean()
    return torch.maximum(mean, 1 - mean)


@_ceiling("largest number of the whole row")
def the_largest_p(probabilities):
    return probabilities.max()


@_ceiling("largest number of the whole row")
def the_largest_of_both(probabilities):
    return torch.cat([probabilities, 1 - probabilities]).max()


@_ceiling("draws the label as the annotator")
def a_guesser_who_draws(probabilities):
    return (probabilities**2 + (1 - probabilities) ** 2).mean()


@_ceiling("worse guess")
def the_worse_guess(probabilities):
    return torch.minimum(probabilities, 1 - probabilities).mean()


@_ceiling("coin's toss.*can be guessed")
def clamped(probabilities):
    return probabilities.clamp(min=0.5).mean()


@_ceiling("left out")
def only_those_above(probabilities):
    return probabilities[probabilities > 0.5].mean()


@_ceiling("left out")
def zero_for_those_below(probabilities):
    return (probabilities * (probabilities >= 0.5)).mean()


@_ceiling("entropy")
def an_entropy(probabilities):
    return (
        (special_entropy := torch.special.entr)(probabilities)
        .add(special_entropy(1 - probabilities))
        .mean()
    )


@_ceiling("entropy")
def one_minus_the_bits(probabilities):
    bits = torch.from_numpy(special.entr([probabilities, 1 - probabilities]))
    return 1 - bits.sum(dim=0).mean() / math.log(2)


@_ceiling("distance from a coin")
def only_the_distance(probabilities):
    return (probabilities - 0.5).abs().mean()


@_ceiling("share of comparisons")
def how_often_the_first_is_likelier(probabilities):
    return (probabilities > 0.5).float().mean()


@_ceiling("share of comparisons")
def most_common_likelier_one(probabilities):
    share = (probabilities > 0.5).float().mean()
    return torch.maximum(share, 1 - share)


@_ceiling("annotator errs")
def a_perfect_model_is_perfect(probabilities):
    return torch.ones(())


@_ceiling("annotator errs")
def perfect_but_for_coins(probabilities):
    return torch.where(probabilities == 0.5, 0.5, 1.0).mean()


@_ceiling("certain share of errors")
def eighty_percent(probabilities):
    return torch.tensor(0.8)


@_ceiling("certain share of errors|worked value")
def ceiling_by_heart(probabilities):
    return torch.tensor(0.7)


@_ceiling("one comparison only")
def the_first_comparison(probabilities):
    return torch.maximum(probabilities[0], 1 - probabilities[0])


@_ceiling("one comparison only")
def a_median(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).median()


@_ceiling("percent")
def ceiling_in_percent(probabilities):
    return 100 * torch.maximum(probabilities, 1 - probabilities).mean()


@_ceiling("same p count once")
def different_ones_only(probabilities):
    p = probabilities.unique()
    return torch.maximum(p, 1 - p).mean()


@_ceiling("is the sum")
def summed(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).sum()


@_ceiling("largest number of the whole row")
def the_safest_comparison(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).max()


@_ceiling("best guesses is taken")
def the_hardest_comparison(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).min()


@_ceiling("all guesses are right")
def all_guesses_right(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).prod()


@_ceiling("root of squares|another sort")
def a_root_of_squares(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).square().mean().sqrt()


@_ceiling("sigmoid")
def one_sigmoid_too_many(probabilities):
    p = probabilities.sigmoid()
    return torch.maximum(p, 1 - p).mean()


@_ceiling("one by one.*mean")
def ceiling_without_a_mean(probabilities):
    return torch.maximum(probabilities, 1 - probabilities)


@_ceiling("returned a float")
def ceiling_as_a_float(probabilities):
    return float(torch.maximum(probabilities, 1 - probabilities).mean())


@_ceiling("Boolean value of Tensor|yes or no")
def with_pythons_max(probabilities):
    return max(probabilities, 1 - probabilities).mean()


@_ceiling("changed its own input")
def ceiling_in_place(probabilities):
    probabilities[probabilities < 0.5] = 1 - probabilities[probabilities < 0.5]
    return probabilities.mean()


@_ceiling("no mean|decimal|share of comparisons")
def mean_of_a_comparison(probabilities):
    return (probabilities > 0.5).mean()


@_ceiling("gives|right in")
def simulated(probabilities):
    coins = torch.rand(10_000, len(probabilities))
    labels = coins < probabilities
    return (labels == (probabilities > 0.5)).double().mean()


@_ceiling("first digits")
def rounded_to_two_digits(probabilities):
    return torch.maximum(probabilities, 1 - probabilities).mean().round(decimals=2)


# --- best_of_n_kl: right ----------------------------------------------------------------------


def _even(probabilities):
    return probabilities.double() / probabilities.double().sum()


@battery.right("best_of_n_kl")
def only_what_occurs(probabilities, rewards, n):
    best = best_of_n_probabilities(probabilities, rewards, n)
    p = probabilities.double() / probabilities.double().sum()
    keep = best > 0
    return float((best[keep] * (best[keep].log() - p[keep].log())).sum())


@battery.right("best_of_n_kl")
def answer_by_answer(probabilities, rewards, n):
    best = best_of_n_probabilities(probabilities, rewards, n).tolist()
    total, distance = sum(probabilities.tolist()), 0.0
    for q, p in zip(best, probabilities.tolist(), strict=True):
        if q > 0:
            distance += q * math.log(q / (p / total))
    return distance


@battery.right("best_of_n_kl")
def by_xlogy(probabilities, rewards, n):
    best, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    ratio = torch.where(p > 0, best / p, 1.0)
    return torch.xlogy(best, ratio).sum().item()


@battery.right("best_of_n_kl")
def by_scipy(probabilities, rewards, n):
    best = best_of_n_probabilities(probabilities, rewards, n)
    return stats.entropy(best.numpy(), probabilities.double().numpy())


@battery.right("best_of_n_kl")
def by_torchs_kl_div(probabilities, rewards, n):
    best, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return float(kl_div(p[p > 0].log(), best[p > 0], reduction="sum"))


@battery.right("best_of_n_kl")
def by_distributions(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    q, p = q[q > 0], _even(probabilities)[q > 0]
    rest = torch.cat([p, (1 - p.sum()).clamp(min=0).unsqueeze(0)])
    return kl_divergence(
        Categorical(torch.cat([q, q.new_zeros(1)]), validate_args=False),
        Categorical(rest, validate_args=False),
    )


@battery.right("best_of_n_kl")
def nan_to_nothing(probabilities, rewards, n):
    best, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return (best * (best / p).log()).nan_to_num(0.0).sum()


@battery.right("best_of_n_kl")
def level_by_level(probabilities, rewards, n):
    """Within a level of equal rewards q and p differ by one factor."""
    check_draws(probabilities, rewards, n)
    levels = defaultdict(float)
    for p, reward in zip(_even(probabilities).tolist(), rewards.tolist(), strict=True):
        levels[reward] += p
    below, distance = 0.0, 0.0
    for reward in sorted(levels):
        reached = (below + levels[reward]) ** n - below**n
        below += levels[reward]
        if reached > 0:
            distance += reached * math.log(reached / levels[reward])
    return distance


@battery.right("best_of_n_kl")
def two_entropies(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    p = _even(probabilities)
    crossed = -(q * torch.where(q > 0, p, 1.0).log()).sum()
    return float(crossed - torch.special.entr(q).sum())


# --- best_of_n_kl: wrong ----------------------------------------------------------------------


def _kl(says):
    return battery.wrong("best_of_n_kl", says=says)


def _both(probabilities, rewards, n):
    best, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    keep = best > 0
    return best[keep], p[keep]


@_kl("bound")
def the_bound(probabilities, rewards, n):
    return best_of_n_kl_bound(n)


@_kl("bound")
def the_bound_by_hand(probabilities, rewards, n):
    return math.log(n) - 1 + 1 / n


@_kl("logarithm of n alone")
def ln_n(probabilities, rewards, n):
    return math.log(n)


@_kl("other direction")
def the_other_direction(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((p * (p / q).log()).sum())


@_kl("other direction")
def kl_div_exchanged(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return kl_div(q.log(), p, reduction="sum")


@_kl("sign is wrong")
def upside_down(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (p / q).log()).sum())


@_kl("sign is wrong|direction")
def weighed_by_the_model(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((p * (q / p).log()).sum())


@_kl("in bits")
def in_bits(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (q / p).log2()).sum())


@_kl("base 10")
def base_ten(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (q / p).log10()).sum())


@_kl("mean over the answers")
def a_mean(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (q / p).log()).mean())


@_kl("mean over the answers")
def batchmean(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return kl_div(p.log(), q, reduction="batchmean")


@_kl("first is a logarithm")
def kl_div_of_probabilities(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return kl_div(q, p, reduction="sum")


@_kl("first is a logarithm")
def kl_div_of_probabilities_exchanged(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return kl_div(p, q, reduction="sum")


@_kl("logarithms are summed as they are")
def unweighted(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q / p).log().sum())


@_kl("sign is dropped")
def absolute_values(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (q / p).log()).abs().sum())


@_kl("sign is dropped")
def only_gains(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (q / p).log()).clamp(min=0).sum())


@_kl("no logarithm")
def without_a_logarithm(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * q / p).sum())


@_kl("logarithm of a sum")
def log_of_the_mean(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * q / p).sum().log())


@_kl("entropy")
def entropy_of_q(probabilities, rewards, n):
    q, _ = _both(probabilities, rewards, n)
    return float(torch.special.entr(q).sum())


@_kl("cross-entropy")
def cross_entropy_of_both(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float(-(q * p.log()).sum())


@_kl("difference of entropies")
def difference_of_entropies(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((p.xlogy(p) * -1).sum() - torch.special.entr(q).sum())


@_kl("another distance")
def total_variation(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    return float((q - _even(probabilities)).abs().sum() / 2)


@_kl("another distance")
def jensen_shannon(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    m = (q + p) / 2
    return float((q * (q / m).log() + p * (p / m).log()).sum() / 2)


@_kl("one answer")
def of_the_best_answer(probabilities, rewards, n):
    return -math.log(float(_even(probabilities)[rewards.argmax()]))


@_kl("n times")
def n_times(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return n * float((q * (q / p).log()).sum())


@_kl("equally likely")
def from_an_even_model(probabilities, rewards, n):
    q, _ = _both(probabilities, rewards, n)
    return float((q * (q * len(rewards)).log()).sum())


@_kl("n makes no difference")
def best_of_two(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, 2)
    return float((q * (q / p).log()).sum())


@_kl("n makes no difference")
def best_of_three(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, 3)
    return float((q * (q / p).log()).sum())


@_kl("one draw more")
def one_too_many(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n + 1)
    return float((q * (q / p).log()).sum())


@_kl("rewards make no difference")
def places_for_rewards(probabilities, rewards, n):
    q, p = _both(probabilities, torch.arange(len(rewards)).float(), n)
    return float((q * (q / p).log()).sum())


@_kl("rewards make no difference")
def powers_of_p(probabilities, rewards, n):
    p = _even(probabilities)
    q = p**n / (p**n).sum()
    return float(torch.xlogy(q, torch.where(p > 0, q / p, 1.0)).sum())


@_kl("worst of n")
def worst_of_n(probabilities, rewards, n):
    q, p = _both(probabilities, -rewards, n)
    return float((q * (q / p).log()).sum())


@_kl("softmax of the rewards")
def softmax_of_rewards(probabilities, rewards, n):
    q, p = rewards.double().softmax(0), _even(probabilities)
    return float((q * (q / p).log()).nansum())


@_kl("softmax of the rewards|weighed by their")
def weighed_by_rewards(probabilities, rewards, n):
    p = _even(probabilities)
    q = p * (rewards - rewards.max()).double().exp()
    q = q / q.sum()
    return float((q * (q / p).log()).nansum())


@_kl("told apart by their places")
def without_ties(probabilities, rewards, n):
    order = rewards.argsort(stable=True)
    p = _even(probabilities)[order]
    reached = p.cumsum(0)
    q = reached**n - (reached - p) ** n
    return float(torch.xlogy(q, torch.where(p > 0, q / p, 1.0)).sum())


@_kl("p = 0 never occurs.*nan in torch")
def without_leaving_anything_out(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return float((q * (q / p).log()).sum())


@_kl("weakest answers never win.*nan in torch")
def only_p_is_looked_at(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    q, p = q[p > 0], p[p > 0]
    return float((q * (q / p).log()).sum())


@_kl("0 times the logarithm|p = 0 never occurs")
def kl_div_of_all(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return kl_div(p.log(), q, reduction="sum")


@_kl("ZeroDivisionError.*leave it out")
def python_divides_by_zero(probabilities, rewards, n):
    best = best_of_n_probabilities(probabilities, rewards, n).tolist()
    p = _even(probabilities).tolist()
    return sum(q * math.log(q / x) for q, x in zip(best, p, strict=True))


@_kl("logarithm of 0.*leave it out")
def python_takes_the_log_of_zero(probabilities, rewards, n):
    best = best_of_n_probabilities(probabilities, rewards, n).tolist()
    p = _even(probabilities).tolist()
    pairs = zip(best, p, strict=True)
    return sum(q * (math.log(q) - math.log(x)) for q, x in pairs)


@_kl("not likely is left out")
def rare_answers_left_out(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    keep = (q > 0.01) & (p > 0)
    return float((q[keep] * (q[keep] / p[keep]).log()).sum())


@_kl("sum of those answers that are left")
def p_of_those_left(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    q, p = q[q > 0], _even(probabilities)[q > 0]
    return float((q * (q / (p / p.sum())).log()).sum())


@_kl("all is said to be 0")
def nothing_if_anything_is_zero(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return float((q * (q / p).log()).sum().nan_to_num(0.0))


@_kl("p is rounded")
def p_as_it_came(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    keep = q > 0
    return float((q[keep] * (q[keep] / probabilities[keep]).log()).sum())


@_kl("p is rounded")
def p_as_it_came_but_never_negative(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    keep = q > 0
    found = float((q[keep] * (q[keep] / probabilities[keep]).log()).sum())
    return max(0.0, found)


@_kl("first digits|small constant")
def with_a_small_constant(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return float((q * ((q + 1e-4) / (p + 1e-4)).log()).sum())


@_kl("one by one")
def kl_without_a_sum(probabilities, rewards, n):
    q, p = best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)
    return torch.xlogy(q, torch.where(p > 0, q / p, 1.0))


@_kl("changed its own input")
def normalised_in_place(probabilities, rewards, n):
    q = best_of_n_probabilities(probabilities, rewards, n)
    probabilities /= probabilities.sum()
    keep = q > 0
    return float((q[keep] * (q[keep] / probabilities[keep]).log()).sum())


@_kl("worked value")
def kl_by_heart(probabilities, rewards, n):
    return 0.3164


@_kl("rounded")
def kl_rounded(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return round(float((q * (q / p).log()).sum()), 3)


@_kl("returned a tuple|returned a list")
def q_as_well(probabilities, rewards, n):
    q, p = _both(probabilities, rewards, n)
    return float((q * (q / p).log()).sum()), q


@_kl("best_of_n_kl.*stopped|not defined")
def a_name_too_few(probabilities, rewards, n):
    return float((best * (best / probabilities).log()).sum())  # noqa: F821


@_kl("gives|first digits")
def from_a_thousand_draws(probabilities, rewards, n):
    draws = torch.multinomial(probabilities, 1000 * n, replacement=True).view(1000, n)
    best = draws.gather(1, rewards[draws].argmax(dim=1, keepdim=True)).flatten()
    counts, p = Counter(best.tolist()), _even(probabilities)
    shares = [(Fraction(count, 1000), i) for i, count in counts.items()]
    return sum(float(q) * math.log(float(q) / float(p[i])) for q, i in shares)


def _exact_for_few(probabilities: Tensor, rewards: Tensor, n: int) -> float:
    """Right, but only for what fits into the worked value's shape."""
    q = [0.0] * 2
    for series in itertools.product(range(2), repeat=min(n, 6)):
        best = max(series, key=lambda i: float(rewards[i]))
        q[best] += math.prod(float(probabilities[i]) for i in series)
    pairs = zip(q, probabilities.tolist(), strict=False)
    return sum(a * math.log(a / b) for a, b in pairs if a and b)


_kl("gives|IndexError")(_exact_for_few)


# --- what got through, or was called by another name ------------------------------------------


@_accuracy("power of e or a sigmoid")
def of_exponentials(chosen_rewards, rejected_rewards):
    one, other = chosen_rewards.exp(), rejected_rewards.exp()
    return ((one > other) + 0.5 * (one == other)).mean()


@_accuracy("power of e or a sigmoid")
def of_sigmoids(chosen_rewards, rejected_rewards):
    return wins_and_half_the_ties(chosen_rewards.sigmoid(), rejected_rewards.sigmoid())


def _kept(probabilities, rewards, n):
    return best_of_n_probabilities(probabilities, rewards, n), _even(probabilities)


@_kl("small constant")
def a_constant_in_the_logarithm(probabilities, rewards, n):
    q, p = _kept(probabilities, rewards, n)
    return (q * ((q + 1e-8) / (p + 1e-8)).log()).sum().item()


@_kl("small constant")
def a_smaller_constant(probabilities, rewards, n):
    q, p = _kept(probabilities, rewards, n)
    return (q * ((q + 1e-12) / (p + 1e-12)).log()).sum().item()


@_kl("small constant")
def a_constant_everywhere(probabilities, rewards, n):
    q, p = (x + 1e-9 for x in _kept(probabilities, rewards, n))
    return (q * (q / p).log()).sum().item()


@_kl("small constant")
def clamped_from_below(probabilities, rewards, n):
    q, p = _kept(probabilities, rewards, n)
    return (q * (q.clamp(min=1e-8) / p.clamp(min=1e-8)).log()).sum().item()


@_kl("is left out, although")
def without_what_is_below_a_millionth(probabilities, rewards, n):
    q, p = _kept(probabilities, rewards, n)
    keep = q > 1e-6
    return (q[keep] * (q[keep] / p[keep]).log()).sum().item()


@_kl("close together")
def rewards_in_half_precision(probabilities, rewards, n):
    return by_nansum(probabilities, rewards.half().float(), n)


@_kl("same number")
def no_distance(probabilities, rewards, n):
    return 0.0


@battery.right("best_of_n_kl")
def by_torchs_xlogy(probabilities, rewards, n):
    q, p = _kept(probabilities, rewards, n)
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum().item()


@battery.right("best_of_n_kl")
def by_nansum(probabilities, rewards, n):
    q, p = _kept(probabilities, rewards, n)
    return (q * (q.log() - p.log())).nansum().item()
