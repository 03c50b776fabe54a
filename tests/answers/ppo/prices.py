"""Answers to lesson 07: rewards per token; right ones of different shapes, and people's mistakes."""

import numpy as np
import torch

from course_lib.ppo.advantages import last_token
from tools.graders import Battery

battery = Battery()


# --- kl_shaped_rewards: right -----------------------------------------------------------------


@battery.right("kl_shaped_rewards")
def with_scatter(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = kl_coef * (logprobs - ref_logprobs).detach()
    shaped = -prices.masked_fill(~response_mask, 0.0)
    last = last_token(response_mask).unsqueeze(1)
    return shaped.scatter_add(1, last, rewards.unsqueeze(1))


@battery.right("kl_shaped_rewards")
def place_by_place(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = torch.zeros_like(logprobs).detach()
    for b, row in enumerate(response_mask.tolist()):
        for t, kept in enumerate(row):
            if kept:
                strayed = logprobs[b, t].item() - ref_logprobs[b, t].item()
                shaped[b, t] = -kl_coef * strayed
        shaped[b, sum(row) - 1] += rewards[b]
    return shaped


@battery.right("kl_shaped_rewards")
def with_where_and_places(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    places = torch.arange(response_mask.shape[1])
    is_last = places == response_mask.sum(dim=1, keepdim=True) - 1
    price = torch.where(response_mask, kl_coef * (logprobs - ref_logprobs), 0.0)
    return (is_last * rewards.unsqueeze(1) - price).detach()


@battery.right("kl_shaped_rewards")
def in_numpy(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    mask = response_mask.numpy()
    strayed = logprobs.detach().numpy() - ref_logprobs.detach().numpy()
    shaped = np.where(mask, -kl_coef * strayed, 0.0).astype(strayed.dtype)
    shaped[np.arange(len(mask)), mask.sum(1) - 1] += rewards.numpy()
    return torch.from_numpy(shaped)


@battery.right("kl_shaped_rewards")
def without_gradients(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    """Only what is kept is touched, by indexing with the mask."""
    with torch.no_grad():
        shaped = torch.zeros_like(logprobs)
        kept = response_mask
        shaped[kept] = kl_coef * (ref_logprobs[kept] - logprobs[kept])
        shaped[range(len(rewards)), last_token(kept)] += rewards
    return shaped


@battery.right("kl_shaped_rewards")
def in_lists(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    rows = []
    for r, p, q, m in zip(
        rewards.tolist(), logprobs.tolist(), ref_logprobs.tolist(),
        response_mask.tolist(), strict=True,
    ):  # fmt: skip
        said = [-kl_coef * (a - b) for a, b, kept in zip(p, q, m, strict=True) if kept]
        said[-1] += r
        rows.append(said + [0.0] * (len(m) - len(said)))
    return torch.tensor(rows, dtype=logprobs.dtype)


@battery.right("kl_shaped_rewards")
def cleaned_first(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    p = logprobs.detach().where(response_mask, 0)
    q = ref_logprobs.detach().where(response_mask, 0)
    ends = torch.nn.functional.one_hot(last_token(response_mask), p.shape[1])
    return torch.addcmul(kl_coef * (q - p), ends.to(p.dtype), rewards[:, None])


# --- kl_shaped_rewards: wrong -----------------------------------------------------------------


def _wrong(says):
    return battery.wrong("kl_shaped_rewards", says=says)


def _prices(logprobs, ref_logprobs, mask, kl_coef):
    return (kl_coef * (logprobs - ref_logprobs).detach()).masked_fill(~mask, 0.0)


def _at(place, rewards, shaped):
    return shaped.scatter_add(1, place.unsqueeze(1), rewards.unsqueeze(1))


@_wrong("sign of the price|exchanged")
def price_with_a_plus(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return _at(last_token(response_mask), rewards, prices)


@_wrong("exchanged")
def reference_first(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    return with_scatter(rewards, ref_logprobs, logprobs, response_mask, kl_coef)


@_wrong("All of the price stands at the last token")
def sum_at_the_end(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = _prices(logprobs, ref_logprobs, response_mask, kl_coef).sum(dim=1)
    return _at(last_token(response_mask), rewards - prices, torch.zeros_like(logprobs))


@_wrong("All of the price stands at the last token")
def mean_at_the_end(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = _prices(logprobs, ref_logprobs, response_mask, kl_coef).sum(dim=1)
    less = rewards - prices / response_mask.sum(dim=1)
    return _at(last_token(response_mask), less, torch.zeros_like(logprobs))


@_wrong("All of the price stands at the last token")
def last_tokens_price_alone(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    rows, last = range(len(rewards)), last_token(response_mask)
    shaped = torch.zeros_like(logprobs)
    shaped[rows, last] = rewards - kl_coef * (logprobs - ref_logprobs)[rows, last]
    return shaped


@_wrong("pays the mean price")
def mean_at_every_token(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    mean = prices.sum(dim=1, keepdim=True) / response_mask.sum(dim=1, keepdim=True)
    shaped = torch.where(response_mask, -mean, 0.0)
    return _at(last_token(response_mask), rewards, shaped)


@_wrong("pays the mean price")
def mean_of_the_batch(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    mean = kl_coef * (logprobs - ref_logprobs)[response_mask].mean()
    shaped = torch.where(response_mask, -mean, 0.0)
    return _at(last_token(response_mask), rewards, shaped)


@_wrong("end of the row, under padding")
def reward_at_minus_one(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    shaped[:, -1] += rewards
    return shaped


@_wrong("one place behind")
def reward_behind_the_end(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    place = response_mask.sum(dim=1).clamp(max=shaped.shape[1] - 1)
    return _at(place, rewards, shaped)


@_wrong("one place before|one place too early")
def reward_too_early(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return _at((last_token(response_mask) - 1).clamp(min=0), rewards, shaped)


@_wrong("where the first row ends")
def one_place_for_all(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    shaped[:, int(response_mask[0].sum()) - 1] += rewards
    return shaped


@_wrong("where the longest row ends")
def longest_for_all(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    shaped[:, int(response_mask.sum(dim=1).max()) - 1] += rewards
    return shaped


@_wrong("Every token gets the whole reward")
def reward_everywhere(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return rewards.unsqueeze(1) * response_mask - prices


@_wrong("spread over the tokens")
def reward_spread(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    prices = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    share = (rewards / response_mask.sum(dim=1)).unsqueeze(1)
    return share * response_mask - prices


@_wrong("takes the place of the last token's price")
def reward_written_over(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return shaped.scatter(
        1, last_token(response_mask).unsqueeze(1), rewards.unsqueeze(1)
    )


@_wrong("takes the place of the last token's price")
def assigned_not_added(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    shaped[range(len(rewards)), last_token(response_mask)] = rewards
    return shaped


@_wrong("Under padding stands something other than 0")
def padding_pays_too(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -kl_coef * (logprobs - ref_logprobs).detach()
    return _at(last_token(response_mask), rewards, shaped)


@_wrong("nan times 0")
def times_the_mask(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -kl_coef * (logprobs - ref_logprobs).detach() * response_mask
    return _at(last_token(response_mask), rewards, shaped)


@_wrong("gradient would flow")
def gradient_flows(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = (-kl_coef * (logprobs - ref_logprobs)).masked_fill(~response_mask, 0.0)
    return _at(last_token(response_mask), rewards, shaped)


@_wrong("the reference's log-probabilities still hang")
def gradient_to_the_reference(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = kl_coef * (logprobs.detach() - ref_logprobs)
    return _at(
        last_token(response_mask), rewards, -price.masked_fill(~response_mask, 0)
    )


@_wrong("the log-ratio itself")
def k3_as_price(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    k = (logprobs - ref_logprobs).detach()
    price = kl_coef * (torch.expm1(-k) + k).masked_fill(~response_mask, 0.0)
    return _at(last_token(response_mask), rewards, -price)


@_wrong("the log-ratio itself")
def size_as_price(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, kl_coef).abs()
    return _at(last_token(response_mask), rewards, -price)


@_wrong("the log-ratio itself")
def price_never_below_0(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, kl_coef).clamp(min=0)
    return _at(last_token(response_mask), rewards, -price)


@_wrong("does not change the reward")
def kl_coef_on_everything(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return _at(last_token(response_mask), kl_coef * rewards, -price)


@_wrong("does not change the reward")
def kl_coef_on_the_reward(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, 1.0)
    return _at(last_token(response_mask), kl_coef * rewards, -price)


@_wrong("kl_coef makes no difference")
def without_kl_coef(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, 1.0)
    return _at(last_token(response_mask), rewards, -price)


@_wrong("goes by probabilities")
def difference_of_probabilities(
    rewards, logprobs, ref_logprobs, response_mask, kl_coef
):
    price = _prices(logprobs.exp(), ref_logprobs.exp(), response_mask, kl_coef)
    return _at(last_token(response_mask), rewards, -price)


@_wrong("price is missing")
def reward_alone(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    return _at(last_token(response_mask), rewards, torch.zeros_like(logprobs))


@_wrong("The reward is missing")
def prices_alone(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    return -_prices(logprobs, ref_logprobs, response_mask, kl_coef)


@_wrong("sums from each token on")
def what_is_still_to_come(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = with_scatter(rewards, logprobs, ref_logprobs, response_mask, kl_coef)
    return shaped.flip(1).cumsum(1).flip(1)


@_wrong("upside down")
def mask_upside_down(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, ~response_mask, kl_coef)
    return _at(last_token(response_mask), rewards, -price)


@_wrong("one number for each response")
def one_per_response(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    return rewards - _prices(logprobs, ref_logprobs, response_mask, kl_coef).sum(dim=1)


@_wrong("changed its own input")
def in_place(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    logprobs -= ref_logprobs
    logprobs *= -kl_coef
    logprobs[~response_mask] = 0.0
    return _at(last_token(response_mask), rewards, logprobs)


@_wrong("by their mean or spread")
def whitened_rewards(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    whitened = (rewards - rewards.mean()) / (rewards.std() + 1e-8)
    return _at(last_token(response_mask), whitened, -price)


@_wrong("reward of the first one")
def first_reward_for_all(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return _at(last_token(response_mask), rewards[:1].expand_as(rewards), -price)


@_wrong("first digits|it gives")
def the_papers_numbers(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    return (
        torch.tensor([[-0.5, 1.0]])
        .expand(len(rewards), 2)
        .repeat(1, 2)[:, : logprobs.shape[1]]
    )


@_wrong("it gives")
def price_held_within_five(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    strayed = (logprobs - ref_logprobs).detach().clamp(-5, 5)
    price = (kl_coef * strayed).masked_fill(~response_mask, 0.0)
    return _at(last_token(response_mask), rewards, -price)


@_wrong("it gives")
def reward_held_within_five(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    price = _prices(logprobs, ref_logprobs, response_mask, kl_coef)
    return _at(last_token(response_mask), rewards.clamp(-5, 5), -price)


@_wrong("it gives")
def two_rows_at_most(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    shaped = -_prices(logprobs, ref_logprobs, response_mask, kl_coef)
    for b in range(min(2, len(rewards))):
        shaped[b, int(response_mask[b].sum()) - 1] += rewards[b]
    return shaped


# --- what an attack from the card alone found -----------------------------------------------


@battery.wrong("kl_shaped_rewards", says="type torch.float32")
def in_single_precision(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    p, q = (
        x.detach().float().masked_fill(~response_mask, 0)
        for x in (logprobs, ref_logprobs)
    )
    shaped = kl_coef * (q - p)
    shaped[torch.arange(len(p)), response_mask.sum(1) - 1] += rewards.float()
    return shaped


@battery.wrong("kl_shaped_rewards", says="0 in a float")
def log_of_a_quotient(rewards, logprobs, ref_logprobs, response_mask, kl_coef):
    strayed = (logprobs.detach().exp() / ref_logprobs.detach().exp()).log()
    shaped = (-kl_coef * strayed).masked_fill(~response_mask, 0)
    shaped[torch.arange(len(shaped)), response_mask.sum(1) - 1] += rewards
    return shaped


@battery.right("kl_shaped_rewards")
def the_end_is_where_the_mask_falls(
    rewards, logprobs, ref_logprobs, response_mask, kl_coef
):
    follows = torch.nn.functional.pad(response_mask[:, 1:], (0, 1))
    ends = (response_mask & ~follows).to(logprobs.dtype)
    price = (
        (kl_coef * (logprobs - ref_logprobs)).detach().masked_fill(~response_mask, 0)
    )
    return ends * rewards[:, None] - price
