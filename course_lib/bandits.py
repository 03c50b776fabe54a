r"""A bandit: one choice, one reward, and every answer known exactly.

An arm is pulled, a reward comes. A softmax policy over A arms has an exact value, an
exact gradient, and with a price on straying from a reference an exact optimum,
$\pi^* \propto \pi_\text{ref}\, e^{r / \beta}$. A token is such a choice, so what
goes right here with the losses of `ppo` is right before a language model is in play.
Left out: arms whose rewards are drawn, and regret.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from course_lib.logprobs import kl_divergence
from course_lib.ppo.losses import reinforce_loss
from course_lib.sampling.generate import draw

# ---- value and gradient


def expected_reward(logits: Tensor, rewards: Tensor) -> Tensor:
    r"""The exact value of a softmax policy: $J = \sum_a \pi(a)\, r_a$.

    logits and rewards (A,). Returns a scalar.

    >>> expected_reward(torch.zeros(3), torch.tensor([0.0, 3.0, 9.0]))
    tensor(4.)
    """
    assert logits.shape == rewards.shape, f"{logits.shape=} {rewards.shape=}"
    return logits.softmax(dim=-1) @ rewards


def exact_gradient(logits: Tensor, rewards: Tensor) -> Tensor:
    r"""The exact policy gradient: $\partial J / \partial z_a = \pi(a)\,(r_a - J)$.

    logits $z$ and rewards (A,). Returns (A,), of sum 0: an arm gains if it is better
    than the mean of what the policy gets.

    >>> exact_gradient(torch.zeros(3), torch.tensor([0.0, 3.0, 9.0]))
    tensor([-1.3333, -0.3333,  1.6667])
    """
    return logits.softmax(dim=-1) * (rewards - expected_reward(logits, rewards))


def sampled_gradients(
    logits: Tensor, arms: Tensor, rewards: Tensor, baseline: float | Tensor = 0.0
) -> Tensor:
    r"""What single pulls say of that gradient: $(r - b)\,\nabla \log \pi(a)$ each.

    arms (N,) drawn from the policy; rewards (N,) that came. baseline: subtracted
    from every reward. Returns (N, A): on average the exact gradient, whatever the
    baseline.

    How: the gradient of log-softmax is one at the arm that was pulled, minus the
    probabilities.

    >>> logits, arm = torch.zeros(2), torch.tensor([1])
    >>> sampled_gradients(logits, arm, torch.tensor([4.0]), baseline=3.0)
    tensor([[-0.5000,  0.5000]])
    """
    assert arms.shape == rewards.shape, (
        f"one reward per pull: {arms.shape=} {rewards.shape=}"
    )
    scores = one_hot(arms, len(logits)) - logits.softmax(dim=-1)  # (N, A)
    return (rewards - baseline).unsqueeze(-1) * scores


def pull(
    logits: Tensor, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw `count` arms (N,) from the policy.

    >>> pull(torch.tensor([0.0, 99.0]), count=3)
    tensor([1, 1, 1])
    """
    return draw(logits.softmax(dim=-1).expand(count, -1), generator)


def play_bandit(
    rewards: Tensor,
    steps: int,
    lr: float = 0.3,
    pulls: int = 8,
    *,
    baseline: bool = True,
    loss_fn: Callable[[Tensor, Tensor, Tensor], Tensor] = reinforce_loss,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Learn a bandit from its pulls; returns the policies on the way, (steps + 1, A).

    rewards (A,). Each step pulls `pulls` arms and follows loss_fn(logprobs,
    advantages, mask), whose tensors are (pulls, 1): a response of one token each.
    With baseline an advantage is the reward less the mean of the step's.
    """
    check_finite(rewards)
    logits = torch.zeros_like(rewards, requires_grad=True)
    policies = [logits.detach().softmax(dim=-1)]
    mask = torch.ones(pulls, 1, dtype=torch.bool)
    for _ in range(steps):
        arms = pull(logits.detach(), pulls, generator)
        came = rewards[arms]
        advantages = came - came.mean() if baseline else came
        logprobs = logits.log_softmax(dim=-1)[arms]
        loss = loss_fn(logprobs.unsqueeze(1), advantages.unsqueeze(1), mask)
        (gradient,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            logits -= lr * gradient
        policies.append(logits.detach().softmax(dim=-1))
    return torch.stack(policies)


# ---- on a leash


def leashed_value(
    logits: Tensor, rewards: Tensor, ref_logits: Tensor, kl_coef: float
) -> Tensor:
    r"""Reward less the price of straying: $J - \beta\,\text{KL}(\pi, \pi_\text{ref})$.

    All (A,); kl_coef is $\beta$. Returns a scalar.

    >>> logits, rewards = torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> leashed_value(logits, rewards, logits, kl_coef=9.0)
    tensor(0.5000)
    """
    straying = kl_divergence(logits, ref_logits)
    return expected_reward(logits, rewards) - kl_coef * straying


def leashed_optimum(rewards: Tensor, ref_logits: Tensor, kl_coef: float) -> Tensor:
    r"""Of all policies the best: $\pi^*_a \propto \pi_\text{ref}(a)\,e^{r_a/\beta}$.

    rewards and ref_logits (A,); kl_coef above 0. Returns probabilities (A,).

    How: in logits a product of exponentials is a sum.

    >>> leashed_optimum(torch.tensor([0.0, 1.0]), torch.zeros(2), kl_coef=1.0)
    tensor([0.2689, 0.7311])
    """
    assert kl_coef > 0, f"without a price the best arm takes all: {kl_coef=}"
    return (ref_logits + rewards / kl_coef).softmax(dim=-1)


def climb(
    rewards: Tensor,
    ref_logits: Tensor,
    kl_coef: float,
    steps: int,
    lr: float = 0.5,
    refresh_every: int = 0,
) -> Tensor:
    """Exact ascent of the leashed value, begun at the reference: (steps + 1, A).

    refresh_every: after so many steps the policy becomes its own reference, as a
    published tutorial does; 0 = never, the reference stays where it was.
    """
    reference, logits = ref_logits.clone(), ref_logits.clone().requires_grad_()
    policies = [logits.detach().softmax(dim=-1)]
    for step in range(1, steps + 1):
        value = leashed_value(logits, rewards, reference, kl_coef)
        (gradient,) = torch.autograd.grad(value, logits)
        with torch.no_grad():
            logits += lr * gradient
        policies.append(logits.detach().softmax(dim=-1))
        if refresh_every and step % refresh_every == 0:
            reference = logits.detach().clone()
    return torch.stack(policies)


def term_gradient(
    logits: Tensor, ref_logits: Tensor, term: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    r"""What a KL term in the loss does on average: $\sum_a \pi(a)\,\nabla_z\, k(a)$.

    logits and ref_logits (A,). term: `k1`, `k2`, `k3` or one's own; it is given
    log-probabilities of all arms under both, (A,) each, and differentiated on fixed
    samples, as losses are: the drawing itself has no gradient. Returns (A,).

    >>> from course_lib.logprobs import k1
    >>> logits, far = torch.tensor([0.0, 1.0]), torch.tensor([5.0, -5.0])
    >>> bool((term_gradient(logits, far, k1).abs() < 1e-6).all())
    True
    """
    leaf = logits.detach().clone().requires_grad_()
    terms = term(leaf.log_softmax(dim=-1), ref_logits.log_softmax(dim=-1))
    drawn = logits.detach().softmax(dim=-1)
    return torch.autograd.grad((drawn * terms).sum(), leaf)[0]


def check_finite(rewards: Tensor) -> None:
    """Refuse rewards that are no numbers."""
    if not rewards.isfinite().all():
        raise ValueError(f"Every reward must be a number: {rewards.tolist()}.")
