"""Answers to lesson 07: the published update repaired, in different ways, and with faults left in."""

import math

import torch
from torch.nn.functional import cross_entropy

from course_lib.logprobs import k3, response_logprobs
from course_lib.masks import masked_mean
from course_lib.ppo.advantages import gae, kl_shaped_rewards
from course_lib.ppo.clinic import published_logprobs, published_loss
from course_lib.ppo.losses import clipped_policy_loss, whiten
from tools.graders import Battery

battery = Battery()


# --- repaired_loss: right ---------------------------------------------------------------------


@battery.right("repaired_loss")
def from_ones_own_pieces(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new = response_logprobs(logits, batch.ids, batch.start)
    old, ref, mask = batch.old_logprobs, batch.ref_logprobs, batch.mask
    shaped = kl_shaped_rewards(batch.rewards, old, ref, mask, kl_coef)
    advantages = whiten(gae(shaped, batch.values, mask), mask)
    return clipped_policy_loss(new, old, advantages, mask, clip_eps)


@battery.right("repaired_loss")
def in_plain_torch(logits, batch, kl_coef=0.05, clip_eps=0.2):
    ids, start, mask, old, ref, values, rewards = batch
    logs = logits[:, start - 1 : -1].log_softmax(dim=-1)
    new = logs.gather(2, ids[:, start:, None])[..., 0]
    shaped = torch.where(mask, kl_coef * (ref - old), 0.0)
    last = mask.sum(dim=1) - 1
    shaped[range(len(ids)), last] += rewards
    values = torch.where(mask, values, 0.0)
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    surprise, later, found = shaped + after - values, 0.0, []
    for t in reversed(range(mask.shape[1])):
        later = (surprise[:, t] + 0.95 * later) * mask[:, t]
        found.insert(0, later)
    advantages = torch.stack(found, dim=1)
    kept = advantages[mask]
    advantages = (advantages - kept.mean()) / (kept.std() + 1e-8)
    ratio = (new - old).exp()
    held = ratio.clip(1 - clip_eps, 1 + clip_eps)
    return -torch.min(ratio * advantages, held * advantages)[mask].mean()


@battery.right("repaired_loss")
def token_by_token(logits, batch, kl_coef=0.05, clip_eps=0.2):
    mask, news, olds, worths = batch.mask.tolist(), [], [], []
    for b, kept in enumerate(mask):
        n = sum(kept)
        later = expected = 0.0
        worth = []
        for t in reversed(range(n)):
            old, ref = float(batch.old_logprobs[b, t]), float(batch.ref_logprobs[b, t])
            came = -kl_coef * (old - ref)
            came += float(batch.rewards[b]) if t == n - 1 else 0.0
            value = float(batch.values[b, t])
            later = came + expected - value + 0.95 * later
            expected = value
            worth.append(later)
        worths += reversed(worth)
        for t in range(n):
            row = logits[b, batch.start - 1 + t]
            news.append(row[batch.ids[b, batch.start + t]] - row.logsumexp(0))
            olds.append(float(batch.old_logprobs[b, t]))
    mean = sum(worths) / len(worths)
    spread = math.sqrt(sum((w - mean) ** 2 for w in worths) / (len(worths) - 1))
    total = 0.0
    for new, old, worth in zip(news, olds, worths, strict=True):
        ratio, a = (new - old).exp(), (worth - mean) / (spread + 1e-8)
        held = ratio.clamp(1 - clip_eps, 1 + clip_eps)
        total = total - torch.minimum(ratio * a, held * a)
    return total / len(news)


@battery.right("repaired_loss")
def as_two_losses(logits, batch, kl_coef=0.05, clip_eps=0.2):
    """As in OpenAI's baselines: the larger of two losses; log-probabilities by cross entropy."""
    b, start = batch, batch.start
    scores = logits[:, start - 1 : -1].transpose(1, 2)
    new = -cross_entropy(scores, b.ids[:, start:], reduction="none")
    prices = (kl_coef * (b.old_logprobs - b.ref_logprobs)) * b.mask
    ends = torch.nn.functional.one_hot(b.mask.sum(1) - 1, b.mask.shape[1])
    shaped = ends * b.rewards[:, None] - prices
    advantages = whiten(gae(shaped, b.values, b.mask), b.mask)
    ratio = torch.exp(new - b.old_logprobs)
    free, held = -advantages * ratio, -advantages * ratio.clamp(1 - clip_eps, 1 + clip_eps)  # fmt: skip
    return masked_mean(torch.max(free, held), b.mask)


@battery.right("repaired_loss")
def with_a_gate(logits, batch, kl_coef=0.05, clip_eps=0.2):
    """A ratio that has gone far enough is held by hand."""
    new = response_logprobs(logits, batch.ids, batch.start)
    with torch.no_grad():
        shaped = kl_shaped_rewards(
            batch.rewards, batch.old_logprobs, batch.ref_logprobs, batch.mask, kl_coef
        )
        a = whiten(gae(shaped, batch.values, batch.mask), batch.mask)
    r = (new - batch.old_logprobs).exp()
    high, low = 1 + clip_eps, 1 - clip_eps
    r = torch.where((r > high) & (a > 0), torch.full_like(r, high), r)
    r = torch.where((r < low) & (a < 0), torch.full_like(r, low), r)
    return -(r * a)[batch.mask].sum() / batch.mask.sum()


# --- repaired_loss: wrong ---------------------------------------------------------------------


def _wrong(says):
    return battery.wrong("repaired_loss", says=says)


def _whitened(rewards):
    return (rewards - rewards.mean()) / (rewards.std() + 1e-8)


def _advantages(batch, kl_coef, **options):
    b = batch
    shaped = kl_shaped_rewards(b.rewards, b.old_logprobs, b.ref_logprobs, b.mask, kl_coef)  # fmt: skip
    return gae(shaped, b.values, b.mask, **options)


def _loss(logits, batch, advantages, clip_eps=0.2):
    new = response_logprobs(logits, batch.ids, batch.start)
    return clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip


def _pieces(logits, batch, kl_coef):
    new = response_logprobs(logits, batch.ids, batch.start)
    return new, whiten(_advantages(batch, kl_coef), batch.mask)


@_wrong("published loss, with all")
def nothing_repaired(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return published_loss(logits, batch, kl_coef, clip_eps)


@_wrong("every token at every place")
def the_square_left(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new = published_logprobs(logits, batch.ids, batch.start)
    advantages = whiten(_advantages(batch, kl_coef), batch.mask)
    new = new.unsqueeze(1).expand_as(advantages)
    return clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip


@_wrong("one ratio for a whole answer")
def ratio_of_means_left(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    change = new.mean(dim=1) - batch.old_logprobs.mean(dim=1)
    r = change.exp().unsqueeze(1)
    held = r.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(torch.minimum(r * advantages, held * advantages), batch.mask)


@_wrong("one ratio for a whole answer")
def ratio_of_masked_means(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    change = masked_mean(new - batch.old_logprobs, batch.mask, dim=1)
    r = change.exp().unsqueeze(1)
    held = r.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(torch.minimum(r * advantages, held * advantages), batch.mask)


@_wrong("one ratio for a whole answer")
def ratio_of_sums(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    change = (new - batch.old_logprobs).masked_fill(~batch.mask, 0).sum(dim=1)
    r = change.exp().unsqueeze(1)
    held = r.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(torch.minimum(r * advantages, held * advantages), batch.mask)


@_wrong("whitened over different prompts")
def whitened_rewards_left(logits, batch, kl_coef=0.05, clip_eps=0.2):
    advantages = _whitened(batch.rewards).unsqueeze(1).expand_as(batch.values)
    return _loss(logits, batch, advantages, clip_eps)


@_wrong("without the smaller of the two")
def clip_without_min_left(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    ratio = (new - batch.old_logprobs).exp().clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(ratio * advantages, batch.mask)


@_wrong("still a term of the loss")
def price_in_the_loss_left(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, 0.0)
    loss = clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip
    return loss + kl_coef * masked_mean(new - batch.ref_logprobs, batch.mask)


@_wrong("still a term of the loss")
def price_in_the_loss_over_everything(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, 0.0)
    loss = clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip
    return loss + kl_coef * (new - batch.ref_logprobs).mean()


@_wrong("Two faults at least")
def two_left_in(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new = response_logprobs(logits, batch.ids, batch.start)
    advantages = _whitened(batch.rewards).unsqueeze(1).expand_as(batch.values)
    ratio = (new - batch.old_logprobs).exp().clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(ratio * advantages, batch.mask)


@_wrong("Two faults at least")
def two_others_left_in(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, 0.0)
    ratio = (new - batch.old_logprobs).exp().clamp(1 - clip_eps, 1 + clip_eps)
    loss = -masked_mean(ratio * advantages, batch.mask)
    return loss + kl_coef * masked_mean(new - batch.ref_logprobs, batch.mask)


@_wrong("paid twice")
def price_twice(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    loss = clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip
    return loss + kl_coef * masked_mean(new - batch.ref_logprobs, batch.mask)


@_wrong("there does pull")
def k3_in_the_loss(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, 0.0)
    loss = clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip
    return loss + kl_coef * masked_mean(k3(new, batch.ref_logprobs), batch.mask)


@_wrong("No price is paid")
def without_a_price(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return _loss(logits, batch, whiten(_advantages(batch, 0.0), batch.mask), clip_eps)


@_wrong("policy now")
def price_of_the_new_policy(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new = response_logprobs(logits, batch.ids, batch.start)
    moved = batch._replace(old_logprobs=new.detach())
    return _loss(
        logits, batch, whiten(_advantages(moved, kl_coef), batch.mask), clip_eps
    )


@_wrong("exchanged")
def price_turned_round(logits, batch, kl_coef=0.05, clip_eps=0.2):
    other = batch._replace(
        old_logprobs=batch.ref_logprobs, ref_logprobs=batch.old_logprobs
    )
    return _loss(
        logits, batch, whiten(_advantages(other, kl_coef), batch.mask), clip_eps
    )


@_wrong("ratio is that to the reference")
def ratio_to_the_reference(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    return clipped_policy_loss(new, batch.ref_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip


@_wrong("not whitened")
def not_whitened(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return _loss(logits, batch, _advantages(batch, kl_coef), clip_eps)


@_wrong("over padding as well")
def whitened_with_padding(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return _loss(logits, batch, _whitened(_advantages(batch, kl_coef)), clip_eps)


@_wrong("row by row")
def whitened_by_rows(logits, batch, kl_coef=0.05, clip_eps=0.2):
    advantages = _advantages(batch, kl_coef)
    rows = [whiten(a[None], m[None]) for a, m in zip(advantages, batch.mask, strict=True)]  # fmt: skip
    return _loss(logits, batch, torch.cat(rows), clip_eps)


@_wrong("These are returns")
def returns_for_advantages(logits, batch, kl_coef=0.05, clip_eps=0.2):
    returns = _advantages(batch, kl_coef) + batch.values
    return _loss(logits, batch, whiten(returns, batch.mask), clip_eps)


@_wrong("taken away twice")
def values_twice(logits, batch, kl_coef=0.05, clip_eps=0.2):
    advantages = _advantages(batch, kl_coef) - batch.values
    return _loss(logits, batch, whiten(advantages, batch.mask), clip_eps)


@_wrong("no critic")
def without_values(logits, batch, kl_coef=0.05, clip_eps=0.2):
    nothing = batch._replace(values=torch.zeros_like(batch.values))
    return _loss(
        logits, batch, whiten(_advantages(nothing, kl_coef), batch.mask), clip_eps
    )


@_wrong("shaped rewards are the advantages")
def without_gae(logits, batch, kl_coef=0.05, clip_eps=0.2):
    b = batch
    shaped = kl_shaped_rewards(b.rewards, b.old_logprobs, b.ref_logprobs, b.mask, kl_coef)  # fmt: skip
    return _loss(logits, batch, whiten(shaped, b.mask), clip_eps)


@_wrong("Another lambda")
def lambda_one(logits, batch, kl_coef=0.05, clip_eps=0.2):
    advantages = _advantages(batch, kl_coef, lam=1.0)
    return _loss(logits, batch, whiten(advantages, batch.mask), clip_eps)


@_wrong("Another discount")
def kl_coef_as_discount(logits, batch, kl_coef=0.05, clip_eps=0.2):
    advantages = _advantages(batch, kl_coef, discount=0.99)
    return _loss(logits, batch, whiten(advantages, batch.mask), clip_eps)


@_wrong("kl_coef makes no difference")
def kl_coef_built_in(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits, batch, 0.05, clip_eps)


@_wrong("clip_eps makes no difference")
def clip_eps_built_in(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits, batch, kl_coef)


@_wrong("There is no clip")
def without_a_clip(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    ratio = (new - batch.old_logprobs).exp()
    return -masked_mean(ratio * advantages, batch.mask)


@_wrong("larger of the two products")
def max_for_min(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    ratio = (new - batch.old_logprobs).exp()
    held = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    return -masked_mean(torch.max(ratio * advantages, held * advantages), batch.mask)


@_wrong("padding included")
def mean_over_everything(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    everything = torch.ones_like(batch.mask)
    return clipped_policy_loss(new, batch.old_logprobs, advantages, everything, clip_eps)  # fmt: skip


@_wrong("going downhill on it")
def sign_turned(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return -from_ones_own_pieces(logits, batch, kl_coef, clip_eps)


@_wrong("No gradient reaches the logits")
def detached(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits.detach(), batch, kl_coef, clip_eps)


@_wrong("one place too late")
def without_the_shift(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits.roll(-1, dims=1), batch, kl_coef, clip_eps)


@_wrong("beginning of the prompt")
def from_position_0(logits, batch, kl_coef=0.05, clip_eps=0.2):
    T = batch.mask.shape[1]
    logs = logits[:, :T].log_softmax(-1)
    new = logs.gather(-1, batch.ids[:, batch.start :].unsqueeze(-1)).squeeze(-1)
    advantages = whiten(_advantages(batch, kl_coef), batch.mask)
    return clipped_policy_loss(new, batch.old_logprobs, advantages, batch.mask, clip_eps)  # fmt: skip


@_wrong("compares the policy with itself")
def old_from_now(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    return clipped_policy_loss(new, new.detach(), advantages, batch.mask, clip_eps)


@_wrong("row by row, so that")
def mean_of_row_means(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new, advantages = _pieces(logits, batch, kl_coef)
    ratio = (new - batch.old_logprobs).exp()
    held = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    objective = torch.minimum(ratio * advantages, held * advantages)
    return -masked_mean(objective, batch.mask, dim=1).mean()


@_wrong("first row's tokens|gives|should be|is still|token by token")
def first_row_alone(logits, batch, kl_coef=0.05, clip_eps=0.2):
    b = batch
    one = b._replace(ids=b.ids[:1], mask=b.mask[:1], old_logprobs=b.old_logprobs[:1], ref_logprobs=b.ref_logprobs[:1],
                     values=b.values[:1], rewards=b.rewards[:1])  # fmt: skip
    return from_ones_own_pieces(logits[:1], one, kl_coef, clip_eps)


@_wrong("returned a tuple")
def with_a_note(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits, batch, kl_coef, clip_eps), {"kl": 0.0}


@_wrong("returned a float")
def a_number(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits, batch, kl_coef, clip_eps).item()


@_wrong("unexpected keyword|got an unexpected|stopped with TypeError")
def without_the_options(logits, batch):
    return from_ones_own_pieces(logits, batch)


@_wrong("before they are shaped")
def rewards_whitened_first(logits, batch, kl_coef=0.05, clip_eps=0.2):
    rewards = batch.rewards
    if len(rewards) > 1:
        rewards = _whitened(rewards)
    return from_ones_own_pieces(logits, batch._replace(rewards=rewards), kl_coef, clip_eps)  # fmt: skip


@_wrong("clip_eps are exchanged")
def options_exchanged(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return from_ones_own_pieces(logits, batch, clip_eps, kl_coef)


@_wrong("treated as part of the answer")
def without_a_mask(logits, batch, kl_coef=0.05, clip_eps=0.2):
    everything = batch._replace(mask=torch.ones_like(batch.mask))
    return from_ones_own_pieces(logits, everything, kl_coef, clip_eps)


@_wrong("the loss of|is right and its gradient")
def clipped_twice(logits, batch, kl_coef=0.05, clip_eps=0.2):
    """A second clip at 3, as some libraries have it."""
    new, advantages = _pieces(logits, batch, kl_coef)
    ratio = (new - batch.old_logprobs).exp()
    held = ratio.clamp(1 - clip_eps, 1 + clip_eps)
    objective = torch.minimum(ratio * advantages, held * advantages)
    objective = torch.where(advantages < 0, objective.clamp(min=3 * advantages), objective)  # fmt: skip
    return -masked_mean(objective, batch.mask)


@_wrong("its gradient is not")
def half_of_it_detached(logits, batch, kl_coef=0.05, clip_eps=0.2):
    half = (logits + logits.detach()) / 2
    return from_ones_own_pieces(half, batch, kl_coef, clip_eps)


# --- what an attack from the card alone found -----------------------------------------------


def _held(logits, batch, kl_coef, clip_eps, rewards=math.inf, advantages=math.inf):
    """Right, but for what is held within limits."""
    new = response_logprobs(logits, batch.ids, batch.start)
    old, ref, mask = batch.old_logprobs, batch.ref_logprobs, batch.mask
    came = batch.rewards.clamp(-rewards, rewards)
    credit = gae(kl_shaped_rewards(came, old, ref, mask, kl_coef), batch.values, mask)
    credit = whiten(credit, mask).clamp(-advantages, advantages)
    return clipped_policy_loss(new, old, credit, mask, clip_eps)


@battery.wrong("repaired_loss", says="held within limits")
def rewards_within_ten(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return _held(logits, batch, kl_coef, clip_eps, rewards=10)


@battery.wrong("repaired_loss", says="held within limits")
def advantages_within_three(logits, batch, kl_coef=0.05, clip_eps=0.2):
    return _held(logits, batch, kl_coef, clip_eps, advantages=3)


@battery.wrong("repaired_loss", says="type torch.float32")
def in_single_precision(logits, batch, kl_coef=0.05, clip_eps=0.2):
    given = (x.float() for x in batch[3:])
    batch = type(batch)(*batch[:3], *given)
    return _held(logits.float(), batch, kl_coef, clip_eps)
