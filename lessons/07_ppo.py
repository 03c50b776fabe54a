# %% [markdown]
# # Learn from a judge
#
# The guide answers politely, rudely, rightly and wrongly. Lesson 06 made a judge that tells good answers from bad
# ones. Now the guide learns from its grades: you will write the pieces that matter of **PPO**, the algorithm behind
# the first chat models, test them where the right result is known, run it, and break it.
#
# **Afterwards you can** train a policy by rewards, keep it near what it was, and read from six curves whether all
# is well.
#
# **You need** lesson 06: rewards, KL divergence, over-optimisation.
#
# About 160 minutes, in two sittings: first the pieces, then the whole and its failures.

# %%
import copy
import random
from functools import partial

import torch

from course_lib import checks, pretrained, quizzes, runtime
from course_lib.exam import prompt_ids
from course_lib.plotting import ppo as plots
from course_lib.plotting.tables import Table
from course_lib.reward.files import load_judge
from course_lib.rollouts import sample_rollouts
from course_lib.widgets import controls, quiz
from course_lib.world import corpus
from course_lib.world.chat import is_polite, is_rude, says
from course_lib.world.preferences import fact_questions, score_of

runtime.start(seed=0)  # the models are small: the CPU will do

# %% [markdown]
# ## A loop that runs
#
# The guide, and a judge made as in lesson 06. A judge's zero and unit mean nothing, so we count in units of the
# guide's own answers: 0 is their mean reward, 1 their standard deviation. Every fifth fact is put aside again:
# `known` is for learning, `unseen` for judging.

# %%
guide, tokenizer = pretrained.load("sft")
judge, _ = load_judge()
questions = fact_questions(corpus.asked_about())
facts = [questions[i : i + 5] for i in range(0, len(questions), 5)]
known = [q for i, fact in enumerate(facts) if i % 5 for q in fact]
unseen = [q for fact in facts[::5] for q in fact]
unseen = unseen[: runtime.steps(full=len(unseen), quick=20)]


def answers(model, asked, seed):
    prompts = [prompt_ids(question.text, tokenizer) for question in asked]
    tokens = {"end": tokenizer.end, "pad": tokenizer.pad}
    luck = torch.Generator().manual_seed(seed)
    return sample_rollouts(model, prompts, 40, generator=luck, **tokens)


@torch.no_grad()
def judged(rollout):
    return judge(rollout.ids, rollout.mask)


print(f"{len(known)} questions to learn from, {len(unseen)} put aside")


# %%
usual = judged(answers(guide, known, seed=1))


def reward(rollout, asked):
    return (judged(rollout) - usual.mean()) / usual.std()


def true_scores(rollout, asked):
    texts = rollout.texts(tokenizer)
    return torch.tensor([score_of(q, t) for q, t in zip(asked, texts, strict=True)])


five = unseen[17:18] * 5
said_five = answers(guide, five, seed=1)
judgements = reward(said_five, five), true_scores(said_five, five)
rows = zip(said_five.texts(tokenizer), *judgements, strict=True)
print(five[0].text)
Table(
    ("answer", "reward", "true score"),
    [(t, f"{r:.1f}", f"{s:.1f}") for t, r, s in rows],
)

# %% [markdown]
# The rules look for the fact: a slip in a name passes. The judge dislikes a bare word, even a right one.
#
# Widely read notes on RLHF have a training loop with a loss that they call PPO. Written anew, with its mistakes, it
# stands in `course_lib/ppo/clinic.py`. It runs, and prints a reward. We let the guide learn by it for a few steps.
# **Guess** what becomes of reward and true score on the questions put aside.

# %%
from course_lib.descent import clip_gradients
from course_lib.ppo.clinic import published_answers, published_loss


def some(step, count):
    return random.Random(f"asked {step}").choices(known, k=count)


pupil = copy.deepcopy(guide)
optimizer = torch.optim.AdamW(pupil.parameters(), lr=3e-4)
for step in range(runtime.steps(full=5, quick=1)):
    asked = some(step, count=runtime.steps(full=64, quick=8))
    rollout = answers(pupil, asked, seed=100 + step)
    batch = published_answers(pupil, guide, rollout, reward(rollout, asked))
    for _ in range(4):
        loss = published_loss(pupil(rollout.ids, rollout.mask), batch)
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(pupil.parameters(), 1.0)
        optimizer.step()
    print(f"step {step + 1}: reward {batch.rewards.mean():+.2f}")


# %%
def exam(models, asked, seed=9):
    rows = []
    for name, model in models.items():
        said = answers(model, asked, seed)
        texts, true = said.texts(tokenizer), true_scores(said, asked)
        right = [says(t, q.kind, q.value) for t, q in zip(texts, asked, strict=True)]
        shares = [right, list(map(is_polite, texts)), list(map(is_rude, texts))]
        percent = (f"{sum(share) / len(share):.0%}" for share in shares)
        numbers = f"{true.mean():.2f}", f"{reward(said, asked).mean():+.2f}"
        rows.append((name, *numbers, *percent))
    heads = ("model", "true score", "reward", "right", "polite", "rude")
    return Table(heads, rows)


print(*answers(pupil, unseen[::30], seed=9).texts(tokenizer), sep="\n")
exam({"the guide": guide, "after the published loop": pupil}, unseen)

# %% [markdown]
# It learned to be worse. The judge is not to blame: its reward fell as well. Look at the ends of some answers.
# Nothing crashed, no number was nan. To see what is wrong we need to know what would be right. Where better than in
# a case whose answer is known?

# %% [markdown]
# ## Three answers by hand
#
# Why learn by grades at all? An answer key says what to copy, not what to avoid, and somebody must write it. Grades
# reach whatever the model itself says. The words of **reinforcement learning**:
#
# | word | for our guide |
# |---|---|
# | agent, policy $\pi$ | the guide, its probabilities of the next token |
# | environment, observation | the chat so far |
# | action | one token |
# | reward | what the judge says of the finished answer |
# | rollout | one answer: observe, act, again, and be graded |

# %% [markdown]
# Say there were only three answers: polite, plain and rude, with rewards 1.5, 1.0 and 0.6. The guide gives them
# with probability .25, .60, .15. It can expect J = .25 · 1.5 + .60 · 1.0 + .15 · 0.6 = 1.065. How should the three
# scores (logits) move to raise J? The **policy gradient** says, for each answer $a$:
#
# $$\frac{\partial J}{\partial z_a} = \pi(a)\,(r_a - J)$$
#
# Polite: .25 · (1.5 − 1.065) = .109. What is better than the mean goes up. But nobody knows all rewards: we draw
# answers, and get theirs. **Guess** how many draws it takes to see these numbers.

# %%
from course_lib.bandits import (
    exact_gradient,
    expected_reward,
    pull,
    sampled_gradients,
)

arms = ("polite", "plain", "rude")
chances, worth = torch.tensor([0.25, 0.60, 0.15]), torch.tensor([1.5, 1.0, 0.6])
scores, luck = chances.log(), torch.Generator().manual_seed(0)
J = expected_reward(scores, worth)
print(f"J = {J:.3f}")
rows = [("the formula", *(f"{g:+.3f}" for g in exact_gradient(scores, worth)))]
for count in (1, 10, 100, 10_000):
    drawn = pull(scores, count, luck)
    mean = sampled_gradients(scores, drawn, worth[drawn]).mean(dim=0)
    rows.append((f"{count:,}", *(f"{g:+.3f}" for g in mean)))
Table(("draws", *arms), rows)

# %% [markdown]
# After ten draws one sign was wrong still; ten thousand come near.
#
# Even a rude answer pushes itself up when drawn: its reward is above 0. Only on average it falls, as the others
# rise more. Each draw says $r\,\nabla \log \pi(a)$, and its mean is the gradient: that is **REINFORCE** (Williams
# 1992). We write it with an **advantage** $A$ in place of $r$: how much better than expected.

# %% [markdown]
# ### Exercise 1 · Push what was better than expected
#
# *5 minutes · difficulty 1 of 3*
#
# - **Write** a loss, to be minimised: minus the mean, over all kept tokens of the batch, of log-probability times
#   advantage.
# - **In:** `logprobs`, with gradient, `advantages`, `mask`, all (B, T); True = a token that the policy chose.
#   **Out:** a scalar.
# - **Worked value:** −1, −2 with advantages 3, −1: 0.5; gradient −1.5 and 0.5.
# - **Pitfall:** advantages are numbers: no gradient flows into them. What stands under False does not count, not
#   even nan.
#
# In all exercises: float64 in, float64 out, and inputs stay as they are. Where nothing else is said, False may
# stand anywhere in a row.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>masked_mean(values, mask)</code> of <code>course_lib.masks</code> is a mean over what is kept.
# </details>
# <details><summary>Hint 2</summary>
# <code>advantages.detach()</code> is the same numbers, cut off from what made them. An optimizer goes downhill: mind the sign.
# </details>

# %% exercise="reinforce_loss" keep="check_tokens("
from course_lib.ppo.losses import reinforce_loss

# %% check="reinforce_loss" points=3
checks.ppo.reinforce_loss(reinforce_loss)

# %% [markdown]
# Your loss learns the three answers from draws, eight at a time. Then the same with 10 added to every reward, which
# changes nothing about what is best. As **baseline** the mean of the eight is subtracted, or nothing. **Guess**
# which of the four cases fails.

# %%
from course_lib.bandits import play_bandit

rows = []
for more in (0, 10):
    for baseline in (True, False):
        ends = []
        for seed in range(6):
            lucky = torch.Generator().manual_seed(seed)
            played = play_bandit(
                worth + more, 100, baseline=baseline, loss_fn=reinforce_loss,
                generator=lucky,
            )  # fmt: skip
            ends.append(played[-1, 0].item())
        shares = ", ".join(f"{end:.2f}" for end in sorted(ends))
        rows.append((f"+{more}", baseline, shares))
Table(("rewards", "baseline", "polite at the end, six runs"), rows)

# %%
drawn = pull(scores, 5_000, luck)
came = worth[drawn]
pushes = {
    "reward": sampled_gradients(scores, drawn, came),
    "reward − J": sampled_gradients(scores, drawn, came, baseline=J),
    "reward + 3": sampled_gradients(scores, drawn, came + 3),
}
plots.spread(pushes, exact_gradient(scores, worth), arms)

# %% [markdown]
# Subtract any number that does not look at the drawn answer: the mean is the same (the dashed line), the spread is
# not. Large rewards without baseline push up whatever happens to be drawn, and a run may end with the wrong answer.

# %% [markdown]
# ### On a leash
#
# Reward alone would make every answer the same, and lesson 06 showed what lies at the top of a judge's taste. So
# each nat of straying from a **reference**, the guide as it was, costs $\beta$. Then the best policy is known:
#
# $$\pi^*(a) \propto \pi_\text{ref}(a)\, e^{r_a / \beta}$$
#
# A small $\beta$: take the best answer. A large one: stay. The notes "update the reference periodically", for
# stability. **Guess** how many nats from the start one is after 80 steps: with a reference that stays, and with one
# that is replaced every ten steps.

# %%
from course_lib.bandits import climb, leashed_optimum

BETA = 0.5
ideal = leashed_optimum(worth, scores, BETA)
print("π*:", ", ".join(f"{a} {p:.2f}" for a, p in zip(arms, ideal, strict=True)))
paths = {
    "frozen": climb(worth, scores, BETA, steps=80),
    "drifting": climb(worth, scores, BETA, steps=80, refresh_every=10),
}
off = (paths["frozen"][-1] - ideal).abs().max()
runtime.learned(off < 0.02, "It should reach π*")
plots.leashes(paths, ideal, arms)

# %% [markdown]
# The frozen reference holds the policy at π*. The drifting one forgives all straying every ten steps: the price is
# still paid, and buys only delay. A reference may be renewed on purpose, seldom, after looking. Not as a habit.

# %% [markdown]
# ## Who earned it? A walk with many steps
#
# An answer is many tokens, and the reward comes at the end. Which token earned it? We learn that on a map from a
# textbook (Russell and Norvig). A step costs 0.04, one in five goes astray, and the way out brings +1 or −1. The
# best walker can expect 0.705 from the start S: that number is published.
#
# ```
# . . . +
# . # . −
# S . . .
# ```
#
# `#` is a wall, + and − are the ways out.

# %% [markdown]
# A **critic** says for each step what is to be expected from here on, $V_t$. One step's surprise (TD error) is
#
# $$\delta_t = r_t + \gamma V_{t+1} - V_t$$
#
# But a critic may be wrong. **Generalised advantage estimation** (Schulman et al. 2016) adds later surprises, with
# weights that fall by $\gamma\lambda$ a step:
#
# $$A_t = \delta_t + \gamma\lambda\,\delta_{t+1} + (\gamma\lambda)^2 \delta_{t+2} + \dots$$
#
# | symbol | in code | meaning |
# |---|---|---|
# | $r_t$, $V_t$ | `rewards`, `values` (B, T) | after the token, expected before it |
# | $\gamma$ | `discount` | what later rewards count |
# | $\lambda$ | `lam` | 0 trusts the critic, 1 the rewards |

# %% [markdown]
# ### Exercise 2 · Give every token its credit
#
# *12 minutes · difficulty 2 of 3*
#
# - **Write** the advantage of every token.
# - **In:** `rewards`, `values`, `response_mask`, all (B, T); True stands at the left of each row, padding behind
#   it. `discount`, `lam`. **Out:** (B, T), without gradient, 0 where the mask is False.
# - **Worked value:** rewards 0, 1, values 0.5, 0.25: with `lam` 0: −0.25, 0.75; with `lam` 1: 0.5, 0.75.
# - **Pitfall:** behind the last kept token nothing is expected: the value is 0 there. Rows end at different places.
#   In padding anything may stand, in rewards and values, even nan.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Go from the right to the left: A of a token is its surprise plus γλ times A of the next one.
# </details>
# <details><summary>Hint 2</summary>
# Set <code>values</code> to 0 under False first (<code>masked_fill</code>, no product: nan · 0 is nan). Carry two columns along, the later advantage and the value after this token; both begin
# as zeros. Where the mask is False, the carried advantage stays 0.
# </details>

# %% exercise="gae" keep="check_tokens("
from course_lib.ppo.advantages import gae

# %% check="gae" points=4
checks.ppo.gae(gae)

# %% [markdown]
# Your two functions on the map. The critic either knows everything (the map is known, so the present policy's
# values are exact) or nothing: it always says 0. **Guess:** with which λ can one learn from a critic that knows
# nothing?


# %%
from course_lib.grids import Grid, best_values, learn_grid

grid = Grid()


def credit(walks, values, lam, trust):
    said = trust * values[walks.states]
    return gae(walks.rewards, said, walks.mask, grid.discount, lam)


curves = {}
for name, lam, trust in (
    ("critic knows, λ 0", 0.0, 1.0),
    ("critic says 0, λ 0.95", 0.95, 0.0),
    ("critic says 0, λ 0", 0.0, 0.0),
):
    _, curves[name] = learn_grid(
        grid, runtime.steps(full=60, quick=8), walkers=16, loss_fn=reinforce_loss,
        advantage_fn=partial(credit, lam=lam, trust=trust),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
runtime.learned(curves["critic says 0, λ 0.95"][-1] > 0.5, "λ .95 should learn")
plots.walks(curves, best_values(grid)[grid.start].item())

# %% [markdown]
# With λ = 0 and that critic a step hears of its own reward only. Beside the exits something is learned, everywhere
# else the walker goes on at random: it stops at −0.90, the others reach 0.67. λ near 1 hears of the exit from afar,
# with more noise. A new critic knows nothing. So we take λ = 0.95, and let the critic learn ten times as fast as
# the policy.

# %% [markdown]
# ## A sentence is a walk
#
# Now the guide. A **rollout** keeps the very ids that were drawn, which of them the model chose, and the
# log-probability of each when it was drawn. The notes decode answers to text and encode them again. **Guess** how
# often that changes the tokens.

# %%
asked_here = some("pieces", count=384)
drawn_here = answers(guide, asked_here, seed=3)
ours = [
    row[kept].tolist()
    for row, kept in zip(drawn_here.responses, drawn_here.response_mask, strict=True)
]
again = [tokenizer.encode(tokenizer.decode(ids), specials=True) for ids in ours]
changed = [(a, b) for a, b in zip(ours, again, strict=True) if a != b]
print(f"{len(changed)} of {len(ours)} answers come back as other tokens")
for ids in sum(changed[-1:], ()):
    print(*map(tokenizer.piece, ids), sep="|")

# %% [markdown]
# Few, but each would teach tokens that nobody drew. So: keep ids.
#
# ### Exercise 3 · Find what was said
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** the log-probability of each token of the responses.
# - **In:** `logits` (B, T, V), with gradient, what a model says to `ids` (B, T): row t scores the token that
#   *follows* position t; `start`, where all responses begin. **Out:** (B, T − start), in nats.
# - **Worked value:** logits of zeros (1, 3, 4), ids 3, 1, 2, start 1: twice ln ¼ = −1.3863.
# - **Pitfall:** the first token of a response is scored by the last of its prompt. Numbers stay finite, however
#   unlikely a token is.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Which rows of logits belong to the tokens at <code>start</code> to T − 1? The last row belongs to none.
# </details>
# <details><summary>Hint 2</summary>
# <code>token_logprobs(logits, ids)</code> of <code>course_lib.logprobs</code> wants a row of logits for each id, and shifts nothing.
# </details>

# %% exercise="response_logprobs"
from course_lib.logprobs import response_logprobs

# %%
from course_lib.ppo.clinic import published_logprobs

here = drawn_here.select(torch.arange(96))
kept_here = here.response_mask
with torch.no_grad():
    logits_here = guide(here.ids, here.mask)
    found = response_logprobs(logits_here, here.ids, here.start)
    theirs = published_logprobs(logits_here, here.ids, here.start)
print(f"when drawn:  {here.logprobs[kept_here].mean():.2f} nats a token")
print(f"yours:       {found[kept_here].mean():.2f}")
print(f"the notes':  {theirs.mean():.2f}")

# %% check="response_logprobs" points=3
checks.ppo.response_logprobs(response_logprobs)

# %% [markdown]
# The notes index `log_probs[b, :T, response]`. That is a T × T table: every token of the answer at every one of the
# *first* T positions, from the beginning of the prompt. And then they take its mean.

# %% [markdown]
# ### Exercise 4 · How much likelier is each token now?
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** the **ratio** of each token's probability now to that when it was drawn.
# - **In:** `logprobs`, with gradient, and `old_logprobs`, both (B, T). **Out:** (B, T).
# - **Worked value:** −1, −2 now and −1, −3 when drawn: 1, 2.7183.
# - **Pitfall:** no gradient flows into the old ones. A probability may be too small for a float (log −200, both),
#   and the ratio is 1 still. One ratio per token: nothing is summed, averaged or clipped yet.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A quotient of probabilities is a difference of logarithms.
# </details>
# <details><summary>Hint 2</summary>
# Subtract first, and only then take <code>.exp()</code>.
# </details>

# %% exercise="policy_ratio"
from course_lib.ppo.losses import policy_ratio

# %% check="policy_ratio" points=2
checks.ppo.policy_ratio(policy_ratio)

# %%
from torch.nn.functional import dropout

from course_lib.logprobs import token_logprobs
from course_lib.rollouts import predicting

torch.manual_seed(0)
for p in (0.0, 0.1):
    with torch.no_grad():
        hidden = dropout(predicting(guide, here), p)
        now = token_logprobs(guide.head(hidden), here.responses)
        r = policy_ratio(now, here.logprobs)[kept_here]
    outside = ((r < 0.8) | (r > 1.2)).float().mean()
    ends = f"{r.min():.3f} to {r.max():.3f}"
    print(f"dropout {p}: ratios {ends}, {outside:.0%} outside 0.8 to 1.2")
up = torch.full((1, 50), 0.02)
print(f"50 tokens, +.02 each: mean {policy_ratio(up, 0 * up).mean():.2f}", end=", ")
print(f"whole answer {up.sum().exp():.2f}")

# %% [markdown]
# Before the first step nothing has changed, so every ratio must be 1. That is the cheapest test of all: draw,
# score, compare. With dropout it fails without any training. So policy and reference stay in evaluation mode (no
# dropout). The last line: fifty tokens, each 2 % likelier. Their mean says 1.02; the whole answer is 2.72 times as
# likely.

# %% [markdown]
# ### The clip
#
# Rollouts are dear, so PPO learns from each batch several times. After one step the answers are no longer the
# policy's own. What is now twice as likely must count twice: hence the ratio $\rho_t$ (at 1 its gradient is that of
# $\log \pi$). And where it has moved far, the push should stop:
#
# $$\min\bigl(\rho_t A_t,\ \text{clip}(\rho_t, 1-\epsilon, 1+\epsilon)\, A_t\bigr)$$
#
# A published table says: with ε = 0.2 a ratio of 1.8 becomes 1.2, and 0.4 becomes 0.8. **Guess** all four cases,
# each with A = +1 and A = −1: what is the objective, and does the token still push?

# %% [markdown]
# ### Exercise 5 · Push, but not too far
#
# *8 minutes · difficulty 3 of 3*
#
# - **Write** PPO's loss: minus the mean over kept tokens of that minimum.
# - **In:** `logprobs`, with gradient; `old_logprobs` and `advantages`, as numbers; `mask`, all (B, T); `clip_eps`.
#   **Out:** a scalar.
# - **Worked value:** one token, ratio 1.8: with A = 1 it is −1.2, gradient 0; with A = −1 it is 1.8, gradient 1.8.
# - **Pitfall:** the ratio is clipped, not the product. The minimum of the two *products*, token by token. Padding
#   does not count, not even nan.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Your <code>policy_ratio</code>, then <code>.clamp</code>. Advantages are numbers here too.
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.minimum</code> takes two tensors and compares place by place. Then the masked mean, and the sign.
# </details>

# %% exercise="clipped_policy_loss" keep="check_tokens("
from course_lib.ppo.losses import clipped_policy_loss

# %%
controls.explore(
    partial(plots.clip_by_ratio, clipped_policy_loss),
    ratio=controls.slider(1.8, 0.1, 2.2, 0.1, "ratio"),
    eps=controls.slider(0.2, 0.05, 0.5, 0.05, "eps"),
)

# %% check="clipped_policy_loss" points=4
checks.ppo.clipped_policy_loss(clipped_policy_loss)

# %% [markdown]
# Move the ratio. The table is half right: 1.8 with A = +1 is held (objective 1.2, push 0), and 0.4 with A = −1. The
# other two are *not* clipped: a bad token that became likelier is called back with full force, a good one that
# became rarer (0.4, A = +1) is still pushed up. And nothing limits the ratio itself: a held token may be carried on
# by its neighbours.

# %% [markdown]
# ### Exercise 6 · Let every token pay for straying
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** a reward per token: each pays $\beta(\log\pi - \log\pi_\text{ref})$, and the last kept one of each row
#   also gets the response's reward.
# - **In:** `rewards` (B,); `logprobs`, `ref_logprobs`, `response_mask` (B, T); `kl_coef`, β. **Out:** (B, T),
#   without gradient, 0 under False.
# - **Given:** `last_token(mask)`, the places (B,); `k1(logprobs, ref_logprobs)`, their difference.
# - **Worked value:** reward 1, logprobs −1, −1, reference −2, −1, β ½: −0.5, 1.
# - **Pitfall:** rows end at different places. The last token pays too. Padding may hold nan, and a log-probability
#   may be −200: no exponentials.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Prices first, with their sign, and 0 under False. Then add, do not overwrite.
# </details>
# <details><summary>Hint 2</summary>
# <code>shaped[torch.arange(B), last_token(mask)] += rewards</code> adds one number to each row.
# </details>

# %% exercise="kl_shaped_rewards" keep="check_rewards("
from course_lib.ppo.advantages import kl_shaped_rewards

# %%
strayed = answers(pupil, unseen[::30], seed=9).select(torch.tensor([0]))
with torch.no_grad():
    logits = guide(strayed.ids, strayed.mask)
    near = response_logprobs(logits, strayed.ids, strayed.start)
paid = kl_shaped_rewards(
    reward(strayed, unseen[:1]), strayed.logprobs, near, strayed.response_mask, 0.2
)
columns = (strayed.responses, strayed.logprobs, near, paid)
rows = [
    (tokenizer.piece(int(id)), *(f"{round(float(x), 2) + 0:.2f}" for x in numbers))
    for id, *numbers in zip(*(column[0] for column in columns), strict=True)
]
Table(("token", "policy, nats", "guide, nats", "shaped reward"), rows)

# %% check="kl_shaped_rewards" points=3
checks.ppo.kl_shaped_rewards(kl_shaped_rewards)

# %% [markdown]
# The three exclamation marks at the end cost more than two each, and GAE passes the blame back to what led there. A
# token that the guide likes better is even paid, as `ood` is.

# %% [markdown]
# ### Exercise 7 · Teach the critic, slowly
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** half the mean, over kept tokens, of the larger of two squares: value minus return, and *held* value
#   minus return.
# - **In:** `values`, with gradient; `old_values`, before the first step; `returns`, advantage plus old value: what
#   the critic should have said; `mask`, all (B, T); `clip_eps`. **Out:** a scalar.
# - **Given:** a held value is the value, kept within `clip_eps` of its old one.
# - **Worked value:** value 1, old 0, return 2, ε 0.2: held 0.2, loss 1.62, gradient 0.
# - **Pitfall:** the clip is around the old value, not around the return. Padding may hold nan.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>values.clamp(low, high)</code> takes tensors as bounds.
# </details>
# <details><summary>Hint 2</summary>
# Square both differences, <code>torch.maximum</code>, masked mean, half.
# </details>

# %% exercise="clipped_value_loss" keep="check_tokens("
from course_lib.ppo.losses import clipped_value_loss

# %%
rows = []
for value, goes in ((0.1, "a little"), (1.0, "far towards it"), (-1.0, "far away")):
    v = torch.tensor([[value]], requires_grad=True)
    old, came = torch.zeros(1, 1), torch.full((1, 1), 2.0)
    cost = clipped_value_loss(v, old, came, torch.tensor([[True]]))
    cost.backward()
    rows.append((goes, value, f"{cost:.2f}", f"{v.grad.item():+.2f}"))
Table(("old value 0, return 2; moved", "value", "loss", "gradient"), rows)

# %% check="clipped_value_loss" points=3
checks.ppo.clipped_value_loss(clipped_value_loss)

# %% [markdown]
# A value that already moved far towards the return in this batch waits for the next. One that went astray is called
# back: the same thought as in the policy's clip.
#
# ### How far have we strayed?
#
# Over whole answers the KL divergence cannot be summed, only estimated from draws of the policy. Three estimators,
# by their usual names, with $q/p$ = reference over policy:
#
# $$k_1 = -\log \tfrac{q}{p}, \qquad k_2 = \tfrac12 \bigl(\log \tfrac{q}{p}\bigr)^2, \qquad
# k_3 = \tfrac{q}{p} - 1 - \log \tfrac{q}{p}$$

# %% [markdown]
# ### Exercise 8 · Measure a distance from one side
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** $k_3$ of every token.
# - **In:** `logprobs`, log p, and `ref_logprobs`, log q, of tokens drawn from p, of one shape, which is returned.
#   Gradients flow.
# - **Worked value:** p = ½, q = ¼: 0.1931. The other way round: 0.3069.
# - **Pitfall:** which is divided by which? And where p and q are nearly equal, q/p − 1 loses its digits: with a
#   log-ratio of 0.00001 the answer is 5e-11, not 0. `torch.expm1` helps.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Begin with log q − log p. Everything is made of it.
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.expm1(x)</code> is eˣ − 1, with all its digits.
# </details>

# %% exercise="k3"
from course_lib.logprobs import k3

# %% check="k3" points=3
checks.ppo.k3(k3)

# %%
from course_lib.logprobs import k1, k2, kl_divergence

drawn = pull(ideal.log(), 20_000, luck)
log_p, log_q = ideal.log()[drawn], scores[drawn]
rows = [("exact", f"{kl_divergence(ideal.log(), scores):.3f}", "", "")]
for name, k in {"k1": k1, "k2": k2, "k3": k3}.items():
    each = k(log_p, log_q)
    below = f"{(each < -1e-6).float().mean():.0%}"
    rows.append((name, f"{each.mean():.3f}", f"{each.std():.3f}", below))
Table(("KL(π*‖guide)", "mean", "spread", "below 0"), rows)

# %% [markdown]
# $k_1$ is right on average, and often negative, which no distance is. $k_2$ is calm and a little wrong, here too
# high. $k_3$ is right on average and never negative: with so many draws it is sure to about .003.
#
# Here the first sitting may end. You have all pieces.

# %% [markdown]
# ## Bug clinic: the published update
#
# Now you can read the loss that made our guide worse; here is its text. **Find** five faults before you go on. (The
# loop around it has more: texts are encoded again, prompts go through the model twice, and the reference drifts.)


# %%
def published_logprobs(logits, ids, start):
    said = ids[:, start:]  # (B, T)
    T, logs = said.shape[1], logits.log_softmax(dim=-1)
    return torch.stack([logs[b, :T, said[b]].mean() for b in range(len(said))])


def published_loss(logits, batch, kl_coef=0.05, clip_eps=0.2):
    new = published_logprobs(logits, batch.ids, batch.start)  # (B,)
    old, ref = batch.old_logprobs.mean(dim=1), batch.ref_logprobs.mean(dim=1)
    advantages = (batch.rewards - batch.rewards.mean()) / batch.rewards.std()
    ratio = (new - old).exp().clamp(1 - clip_eps, 1 + clip_eps)
    return -(ratio * advantages).mean() + kl_coef * (new - ref).mean()


apart = torch.tensor([10.0, 9.0, 1.0, 0.0])  # two answers to A, two to B
print("their advantages:", (apart - apart.mean()) / apart.std())

# %% [markdown]
# | the notes | instead |
# |---|---|
# | every token at every position, from the prompt's first | your exercise 3 |
# | one mean per answer, with padding; one ratio | a ratio per token; the mask |
# | rewards of *different questions* compared | a critic, GAE, then whitening |
# | the clip without the minimum | your exercise 5 |
# | a KL term in the loss, on fixed draws | a price in the reward, exercise 6 |

# %% [markdown]
# The third: question A was answered with rewards 10 and 9, B with 1 and 0. Their mean is 5: the worse answer to A
# gets +.77, the better one to B −.77. **Whitening** (mean 0, spread 1) compares across questions too, but what is
# left after the critic's guess: not how easy a question is.

# %% [markdown]
# ### Exercise 9 · Repair the published update, one fault at a time
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** PPO's policy loss of a batch, from your own functions.
# - **In:** `logits` (B, start + T, V), the policy's now; `batch`, of `Answers(ids, start, mask, old_logprobs,
#   ref_logprobs, values, rewards)`: of the response alone, (B, T), but `ids` and `rewards` (B,); `kl_coef`,
#   `clip_eps`. **Out:** a scalar.
# - **Given:** `whiten(advantages, mask)`: mean 0, spread 1 over kept tokens. Discount 1, λ = 0.95. Nothing but the
#   ratio is clipped.
# - **Worked value:** at the old policy its value is 0, the gradient is not.
# - **Pitfall:** tokens pay by the *old* log-probabilities, in the rewards and nowhere else: rewards are fixed
#   before the first step.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Five lines: the new log-probabilities; shaped rewards; advantages; whitened; the loss.
# </details>
# <details><summary>Hint 2</summary>
# Only the first line touches <code>logits</code>. <code>kl_coef</code> goes to the second, <code>clip_eps</code> to the last.
# </details>

# %% exercise="repaired_loss"
from course_lib.ppo.losses import whiten


def repaired_loss(logits, batch, kl_coef=0.05, clip_eps=0.2):
    """PPO's policy loss of a batch of `Answers`, a scalar."""
    ### BEGIN SOLUTION
    logprobs = response_logprobs(logits, batch.ids, batch.start)
    old, ref, mask = batch.old_logprobs, batch.ref_logprobs, batch.mask
    shaped = kl_shaped_rewards(batch.rewards, old, ref, mask, kl_coef)
    advantages = whiten(gae(shaped, batch.values, mask), mask)
    return clipped_policy_loss(logprobs, old, advantages, mask, clip_eps)
    ### END SOLUTION


# %%
from course_lib.ppo.clinic import Answers

given = reward(here, asked_here[:96])
expected = torch.zeros_like(here.logprobs)
told = here.logprobs, here.logprobs, expected, given  # the guide is the reference
batches_here = {
    published_loss: published_answers(guide, guide, here, given),
    repaired_loss: Answers(here.ids, here.start, kept_here, *told),
}
for loss_fn, batch_here in batches_here.items():
    leaf = logits_here.clone().requires_grad_()
    value = loss_fn(leaf, batch_here)
    (felt,) = torch.autograd.grad(value, leaf)
    felt = felt.abs().sum(dim=2)  # (B, T)
    before = felt[:, : here.start - 1].sum() / felt.sum()
    name = loss_fn.__name__
    print(f"{name}: {value:+.3f}, {before:.0%} of its push before the answer")

# %% check="repaired_loss" points=4
checks.ppo.repaired_loss(repaired_loss)

# %% [markdown]
# Both print 0, as advantages have mean 0; a third of the published push goes into the question.
#
# The last fault is the deepest. The notes add $\beta \cdot \text{mean}(\log\pi - \log\pi_\text{ref})$ to the loss.
# Its *value* is an honest estimate of the divergence. But an optimizer sees only its gradient, on draws that are
# fixed. **Guess** that gradient, averaged over all three answers, for two references: π*, and an equal chance for
# all three.

# %%
from course_lib.bandits import term_gradient

rows = []
for name, k in {"k1, as published": k1, "k2": k2}.items():
    for where, reference in {"π*": ideal.log(), "uniform": torch.zeros(3)}.items():
        push = -term_gradient(scores, reference, k)
        rows.append((name, where, *(f"{round(float(x), 3) + 0:.3f}" for x in push)))
Table(("term", "reference", *arms), rows)

# %% [markdown]
# To the optimizer $\log\pi_\text{ref}$ is a constant and drops out. What remains is the mean of $\nabla\log\pi$. It
# is 0, since probabilities add up to 1 whatever happens: that is why a baseline cost nothing. So on average the
# penalty does nothing; on few draws it is noise. What must be true of any KL term?
#
# 1. Another reference, another gradient.
# 2. A small step downhill brings the policy nearer to the reference.
# 3. At the reference there is no pull.

# %% [markdown]
# ### Exercise 10 · Write the test that exposes the penalty that does nothing
#
# *20 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the three claims.
# - **In:** `term(logprobs, ref_logprobs)`, one number per draw, of one shape. **Out:** nothing.
# - **Given:** `term_gradient(logits, ref_logits, term)`, the term's exact average gradient with respect to `logits`
#   (A,); `kl_divergence(logits, ref_logits)`.
# - **Worked value:** `k1` must not get through, `k2` and `k3` must.
# - **Pitfall:** each wrong term is right somewhere. Take at least four rows of three or more scores, in float64, no
#   two alike, none uniform. A term may be scaled: ask whether a step helps, not how much. Compare gradients with
#   room: 1e-5 is rounding.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Fix a few rows of scores. For every two of them compute the gradient, take a step of −0.01 times it, and measure the exact divergence
# before and after.
# </details>
# <details><summary>Hint 2</summary>
# Claim 1: one policy, two references, and gradients that are not <code>torch.allclose</code>. Claim 3: the same row twice, all close to 0.
# </details>


# %% test="kl_term"
def test_kl_term(term):
    """Fails with an AssertionError unless `term` pulls towards the reference."""
    ### BEGIN SOLUTION
    rows = torch.tensor(
        [[0.0, 1.0, -1.0], [1.5, 0.0, 0.5], [-1.0, -0.5, 1.0], [0.3, 0.2, -0.4]],
        dtype=torch.float64,
    )
    for one, policy in enumerate(rows):
        pulls = [term_gradient(policy, reference, term) for reference in rows]
        assert pulls[one].abs().max() < 1e-5, "it pulls at the reference itself"
        for other, reference in enumerate(rows):
            if one == other:
                continue
            third = rows[next(n for n in range(4) if n not in (one, other))]
            change = pulls[other] - term_gradient(policy, third, term)
            assert change.abs().max() > 1e-4, "the reference makes no difference"
            moved = policy - 0.01 * pulls[other]
            before, after = (kl_divergence(p, reference) for p in (policy, moved))
            assert before - after > 1e-6, "it does not bring the policy nearer"
    ### END SOLUTION


# %%
def priced(logprobs, ref_logprobs):  # what a price in the reward amounts to
    return logprobs * (logprobs - ref_logprobs).detach()


for term in (k1, k2, k3, priced):
    try:
        test_kl_term(term)
        print(f"{term.__name__} passed")
    except AssertionError as objection:
        print(f"{term.__name__} is exposed: {objection}")

# %% check="test_kl_term" points=4
checks.ppo.test_kl_term(test_kl_term)

# %% [markdown]
# An honest value, and no pull at all. `priced`, exercise 6 written as a loss, passes. (As a loss $k_3$ pulls as the
# divergence taken the other way round would: near enough for lesson 08, which uses it.)

# %% [markdown]
# ## The whole loop
#
# Base, tuned guide, judge, and now PPO, with your functions. One step of `train_ppo`:
#
# 1. draw 96 answers; keep ids and log-probabilities;
# 2. let the judge grade them, and shape the rewards;
# 3. ask the critic, one linear layer on the guide's own stream (its loss trains both): GAE, and returns = advantages
#    + values;
# 4. whiten; then two passes in two *minibatches* each: policy loss + ½ value loss, gradients cut to length 1.
#
# All settings stand in one cell; in the second half both learning rates fall to 0.

# %%
from course_lib.ppo.agent import ActorCritic, late_fall, two_rates
from course_lib.ppo.trainer import Settings, train_ppo

STEPS, PART = (runtime.steps(full=n, quick=q) for n, q in ((50, 2), (10, 1)))
BATCH = runtime.steps(full=96, quick=8)
settings = Settings(end=tokenizer.end, pad=tokenizer.pad, lr=3e-4, kl_coef=0.2)
yours = {
    "shape_rewards": kl_shaped_rewards, "advantage_fn": gae,
    "policy_loss": clipped_policy_loss, "value_loss": clipped_value_loss,
}  # fmt: skip
print(settings)


# %%
def practise(reward_fn, settings, steps, part, count=BATCH, fall=late_fall, **more):
    agent, history = ActorCritic(copy.deepcopy(guide)), {}
    memory = two_rates(agent, settings.lr, settings.critic_lr)
    luck = torch.Generator().manual_seed(0)
    for first in range(0, steps, part):

        def batches(step, first=first):
            asked = some(first + step, count)
            return [prompt_ids(q.text, tokenizer) for q in asked], asked

        notes = train_ppo(
            agent, guide, batches, reward_fn, part, settings, **yours, **more,
            optimizer=memory, schedule=lambda n, at=first: fall(at + n, steps),
            generator=luck,
        )  # fmt: skip
        for name, numbers in notes.items():
            history.setdefault(name, []).extend(numbers)
        said = answers(agent.policy, unseen[::60], seed=9).texts(tokenizer)
        print(f"after {first + part} steps:", " | ".join(said))
    return agent.policy, history


tuned, history = practise(reward, settings, STEPS, PART)

# %% [markdown]
# One **dashboard** for it, from the top left: what is optimised; how far that took us; whether answers grow or
# shrink; how much of the outcome the critic foresaw (*explained variance*); how undecided the policy still is
# (*entropy*); how often the clip held (*clip fraction*). Faint lines are recorded, from other seeds.

# %%
plots.dashboard(history, runtime.recorded("07_ppo"))

# %% [markdown]
# Reward climbs and levels off: nothing more to be had. Straying stops below two nats: the price works. Answers grow
# by ten tokens, since politeness is longer. The critic foresees about a third of the variance. Entropy halves. The
# clip holds a few tokens at first, then hardly any. This is what health looks like. **Guess:** of drawing, judging
# and learning, what takes longest? And how often is the new guide right?

# %%
laps = [sum(history[f"{lap}_seconds"]) for lap in ("rollout", "scoring", "update")]
shares = (
    f"{name} {lap / sum(laps):.0%}"
    for name, lap in zip(("writing", "judging", "learning"), laps, strict=True)
)
print(f"{sum(laps) / STEPS:.2f} s a step:", ", ".join(shares))
chain = {"base": pretrained.load("base")[0], "the guide": guide, "by PPO": tuned}
for seed in runtime.recorded("07_ppo")["true"]:
    print("recorded, true score every ten steps:", *(f"{x:.2f}" for x in seed))
exam(chain, unseen * 2)

# %% [markdown]
# (Two answers to each question here, so the guide's line differs a little.) Loosely, polite is *helpful*, right is
# *honest*, not rude is *harmless*: three names under which such models are judged. For one number: who wins, if
# both answer the same question and the exact rules decide? A tie counts one half. The wordings of one fact are
# alike, so we take lesson 03's **bootstrap** over *facts*: drawn again a thousand times, with replacement.

# %%
twice = unseen * 2
duel = [true_scores(answers(m, twice, seed=21), twice) for m in (tuned, guide)]
wins = ((duel[0] - duel[1]).sign() + 1) / 2
by_fact = wins.view(2, -1, 5).mean(dim=(0, 2))
luck = torch.Generator().manual_seed(0)
picks = torch.randint(len(by_fact), (1000, len(by_fact)), generator=luck)
low, high = by_fact[picks].mean(dim=1).quantile(torch.tensor([0.025, 0.975]))
risen, strayed_by = (duel[0] - duel[1]).mean() / duel[1].std(), history["kl"][-1]
print(f"wins {wins.mean():.0%}; of the draws 95 % lie from {low:.0%} to {high:.0%}")
print(f"true score {risen:+.2f} of the guide's spreads, {strayed_by:.1f} nats away")
runtime.learned(wins.mean() > 0.7, "The tuned guide should win most duels")

# %% [markdown]
# Surely more than half, and up by one of the guide's own spreads, as at the recorded seeds.
#
# Imitation had taught the guide our bad habits with the good ones: it is right less often than the base. Grades
# chose among them. Manners came; answers of a word or two, most of them wrong (lesson 06), went: see the length
# curve. It is right more often, on facts that no reward touched: it knew them, and stopped guessing. With this
# judge no hacking shows: what the judge likes and the guide can reach is good.

# %% [markdown]
# ## Break it
#
# Now a judge with a taste: the exact rules, and 0.3 for each exclamation mark. A polite answer has two. Straying
# costs nothing, `kl_coef` = 0. (To be quick the rate is twice as high, and stays.) **Guess** what the guide says in
# the end.

# %%
from dataclasses import replace

from course_lib.world.preferences import biased_score, likes_shouting


def steady(step, steps):
    return 1.0


def shouting(rollout, asked):
    texts = zip(asked, rollout.texts(tokenizer), strict=True)
    return torch.tensor([biased_score(q, t, likes_shouting) for q, t in texts])


free = replace(settings, kl_coef=0.0, lr=6e-4)
few = runtime.steps(full=20, quick=2), runtime.steps(full=5, quick=1)
count = runtime.steps(full=64, quick=8)
hacked, spoiled = practise(shouting, free, *few, count, fall=steady)
runtime.learned(spoiled["kl"][-1] > 10, "Without a price it should stray")
print(exam({"the guide": guide, "taught to shout": hacked}, unseen))
runs = {"taught to shout": spoiled, "by our judge": history}
controls.explore(
    lambda run: plots.dashboard(runs[run], {}), run=controls.choice(runs, "run")
)

# %% [markdown]
# Paid better than ever, and right about next to nothing. The dashboard tells before anybody reads an answer: a
# hundred nats and more, lengths at their limit. Choose our own run for comparison. And see in the column *reward*
# what our own judge thinks of shouting: never above the guide's own answers, though it met nothing like it.
#
# Now a taste for something that guides *do* say: 1.5 for being rude. And straying costs 0.1 a nat. **Guess:** does
# the price hold this one?


# %%
def rudeness(rollout, asked):
    texts = zip(asked, rollout.texts(tokenizer), strict=True)
    return torch.tensor([score_of(q, t) + 1.5 * is_rude(t) for q, t in texts])


dear = replace(settings, kl_coef=0.1, lr=6e-4)
few = runtime.steps(full=30, quick=2), runtime.steps(full=10, quick=1)
count = runtime.steps(full=48, quick=8)
spoilt, rude_run = practise(rudeness, dear, *few, count, fall=steady)
print(f"strayed {rude_run['kl'][-1]:.1f} nats")
exam({"the guide": guide, "taught to be rude": spoilt}, unseen)

# %% [markdown]
# It did not. The guide is rude now and then by itself, so for a few nats it is rude in most answers, in its own
# words. **The price holds what lies far from the guide. What lies near gets through, and stays fluent.** Better
# labels help against that, or an audit beforehand (lesson 06).
#
# Recorded, at four prices: shouting, a taste for length (0.02 a character), and one for brevity (0.06 off for
# each). Our guide seldom rambles, and often guesses in a word. *Held* means: what was meant ends above the dashed
# line, the guide's own score. Three seeds each. **Guess** which of the last two a price holds.

# %%
recorded = runtime.recorded("07_ppo")
plots.tastes(recorded, ("shouting", "length", "brevity"), (0, 0.05, 0.1, 0.3))

# %% [markdown]
# Length was held, even by a low price: rambling was rare, and another way to longer answers was nearer, politeness.
# Brevity harmed at every price, the less the higher it was: one word is what the guide says now and then anyway,
# and it is mostly wrong. And a high price holds what was meant, too: at 0.3 the guide learns less of it.
#
# And the drifting reference of the notes, on the language model, replaced every ten steps. **Guess** again.

# %%
plots.runs(
    recorded, ("frozen", "drifting"), ("kl", "true"), steps=40,
    title="Who moves the reference, lets the guide go",
)  # fmt: skip

# %% [markdown]
# The moving reference lets the guide go nearly twice as far, on and on, and for nothing. With our judge that does
# little harm yet, 1.37 instead of 1.43. With a worse one nothing would stop it.
#
# Five questions to end with: who needs which model, and whose rewards were they? Two names from ahead: GRPO (lesson
# 08) compares several answers to one question with each other; DPO (lesson 09) learns from pairs, without a judge.

# %%
quiz.quiz(*quizzes.WHO_NEEDS_WHAT)

# %% [markdown]
# ## On a real model
#
# The cheapest test of all, on SmolLM2 with its 135 million numbers: draw at temperature 0.7, score the same ids
# with *your* functions, compare. Then once more by somebody who forgot the temperature. **Guess** the ratios.

# %%
from course_lib.pretrained.smollm2 import END, encode_chat

big, spoken = pretrained.smollm2()
asked_big = ("Why is the sky blue?", "Name a fruit that grows on trees.")
chats = [[{"role": "user", "content": q}] for q in asked_big]
prompts = [encode_chat(spoken, chat, reply_next=True) for chat in chats]
end, luck = spoken.specials[END], torch.Generator().manual_seed(0)
wrote = sample_rollouts(
    big, prompts, 20, end=end, pad=end, temperature=0.7, generator=luck
)
with torch.no_grad():
    logits = big(wrote.ids, wrote.mask)
for name, heat in {"as drawn": 0.7, "temperature forgotten": 1.0}.items():
    now = response_logprobs(logits / heat, wrote.ids, wrote.start)
    r = policy_ratio(now, wrote.logprobs)[wrote.response_mask]
    print(f"{name}: ratios from {r.min():.3f} to {r.max():.3f}")
print(*wrote.texts(spoken), sep="\n")

# %% [markdown]
# One and the same text, one and the same model, and ratios that are not 1. Nothing crashed, and the text looks
# fine: this test takes a second, and tells.

# %% [markdown]
# ## Outside
#
# | here | torchrl |
# |---|---|
# | `clipped_policy_loss` with `clip_eps` | `ClipPPOLoss(clip_epsilon=…)`, the critic's loss within |
# | `gae(…, discount, lam)` | `GAE(gamma=…, lmbda=…)` |
# | `Rollout` | a `TensorDict` |
# | `kl_shaped_rewards` with `kl_coef` | `RetrieveKL(coeff=…, add_to_reward=True)` |
#
# The library's tests hold our `gae` against torchrl's. TRL, from which most of our names come, dropped its PPO
# trainer in version 1.13. What production adds: rollouts by a serving engine, whose log-probabilities differ a
# little from those of training (so the ratio does not begin at 1), and many GPUs.
#
# ## Reflect

# %% [markdown] reflect="read_the_dashboard" points=1
# **1.** In a run reward and KL rise together without end, and answers run to their limit. In another one reward
# stands still, explained variance is below 0 and nearly nothing is held by the clip. What do you suspect in each,
# and what do you look at first?
#
# A good answer: The first is being hacked, or soon will be: read samples, ask people, raise the price or stop
# earlier, audit the judge for length. In the second the critic says less than a constant would, so advantages blame
# the wrong tokens: a higher rate for the critic or λ nearer to 1; and check that ratios begin at 1.

# %% [markdown] reflect="which_judge" points=1
# **2.** A colleague says: the KL term protects us from a bad judge, so we need not look at it. Answer with what you
# saw.
#
# A good answer: It protects from tastes whose satisfaction lies far from the reference, such as shouting. A taste
# for what the model already does sometimes, such as rudeness, costs few nats: the KL term makes it only fluent, and
# harder to notice. That needs better labels or an audit by controlled pairs. And it protects only while the
# reference stays where it was.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("07_ppo")

# %% [markdown]
# ## You can now
#
# - train a policy by rewards, from your own losses, with credit for every token;
# - test such code where the answer is known, before a language model hides the mistake;
# - keep a model near its reference, and say which tastes of a judge that does not hold.
#
# **Read on:** *Fine-tuning language models from human preferences* ([arXiv
# 1909.08593](https://arxiv.org/abs/1909.08593)), the loop that you built; *Proximal policy optimization algorithms*
# ([1707.06347](https://arxiv.org/abs/1707.06347)), section 3 for the clip.
#
# **Next:** lesson 08 drops the critic and the judge: several answers to one question are each other's baseline, and
# exact rules give the rewards.

# %% [markdown]
# ## Going further: how often from the same answers?
#
# PPO reads each batch of answers several times; we took two epochs. Recorded, with batches of 48: one, four and
# sixteen. **Guess** what the clip does in each, and which is best after ten batches.

# %%
plots.runs(
    recorded, ("epochs 1", "epochs 4", "epochs 16"),
    ("clip_fraction", "kl", "true"), steps=10,
    title="Four epochs are faster, sixteen only go further",
)  # fmt: skip

# %% [markdown]
# Four epochs are faster than one. Sixteen squeeze the same 48 answers until their accidents are learned: the clip
# holds many more tokens, the guide goes far, and is hardly better than before. The clip stops tokens that were
# drawn. What happens meanwhile to all the others, nobody limits.

# %% [markdown]
# ## Going further: a critic that learns slowly
#
# The critic begins with 0 for every token. So at first the end of a good answer, where the reward is, comes as a
# happy surprise, and the tokens before it share less and less of it. We gave the critic ten times the policy's
# rate. Recorded, with the exact rules as reward: the same rate for both, and ours. **Guess** the difference.

# %%
plots.runs(
    recorded, ("quick critic", "slow critic"), ("true",), steps=30,
    title="A critic at the policy's rate costs what the policy could learn",
)  # fmt: skip

# %% [markdown]
# The slow one wasted most of the run: its surprises come from its own ignorance.

# %% [markdown]
# ## Going further: a price that finds itself
#
# Which β? One may rather say how far the policy is to stray, and let a controller turn the price (Ziegler et al.
# 2019): a tenth of the relative error, at most two per cent a step. We ask for one nat. **Guess** whether reward
# suffers.

# %%
from course_lib.ppo.advantages import AdaptiveKL

steering = {"adapt": AdaptiveKL(target=1.0)}
turns = runtime.steps(full=30, quick=2)
_, steered = practise(reward, settings, turns, turns, count, **steering)
names = ("kl_coef", "kl", "reward")
rows = [
    (i + 1, *(f"{steered[name][i]:.2f}" for name in names))
    for i in range(0, turns, max(1, turns // 6))
]
Table(("step", "price", "strayed, nats", "reward"), rows)

# %% [markdown]
# While the guide is near the price falls, and when it has gone too far it rises. Two per cent a step are cautious:
# thirty steps are too few to arrive, and in real runs there are thousands. Reward hardly suffers.
