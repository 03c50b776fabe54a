# %% [markdown]
# # Let it find out by itself
#
# A program tells the model which of its own sums are right, and nothing else. What does the model make of that? You
# will build **GRPO**, the algorithm behind DeepSeek-R1, and see on your own laptop, in about a minute.
#
# **Afterwards you can** turn rewards of a group into advantages, write a loss whose weights you understand, and say
# what such training adds to a model and what was there before.
#
# **You need** lesson 07: ratio, clip, the direction of a push.
#
# About 200 minutes, in two sittings: first the pieces, then the run.

# %%
import copy
import random
import re
from dataclasses import replace
from functools import partial
from itertools import islice

import torch

from course_lib import checks, exam, pretrained, runtime
from course_lib.exam import prompt_ids
from course_lib.grpo.rejection import sample_replies
from course_lib.plotting import grpo as plots
from course_lib.plotting.tables import Table
from course_lib.widgets import controls
from course_lib.world import arithmetic, corpus
from course_lib.world.arithmetic import DOUBLE, TRIPLE

runtime.start(seed=0)  # the models are small: the CPU will do

# %% [markdown]
# ## A pupil of hasty teachers
#
# This model learned sums from teachers in a hurry. A fifth of their solutions are worked out, and right. The others
# give a number at once, and half of those are wrong: where × comes late they read from left to right, elsewhere
# they miss by one to three.

# %%
pupil, tokenizer = pretrained.load("cold_start")
hasty = partial(corpus.a_problem, forms=TRIPLE, working=0.2, hasty=0.5)
draw = random.Random(19)
Table(
    ("asked", "the teachers' answer"),
    [[part["content"] for part in hasty(draw)] for _ in range(6)],
)

# %% [markdown]
# Nearly a third of all expressions was put aside, each with its turned forms: 2 + 3 × 4 takes 3 × 4 + 2 with it. No
# model here has met one. On those we examine the pupil three ways: free to answer as it likes; made to begin with
# "Answer:"; forbidden to begin so. In exams it takes the most probable token each time. **Guess** the three shares
# of right answers.

# %%
easy = corpus.training_problems(DOUBLE)  # two signs: 2 + 2 × 6
hard = corpus.training_problems(TRIPLE)  # three
held = [p for p in arithmetic.problems(DOUBLE + TRIPLE) if arithmetic.is_held_out(p)]
some_held = random.Random(7).sample(held, runtime.steps(full=300, quick=30))
print(f"{len(held)} expressions put aside, {len(some_held)} asked here")
for how in ("free", "direct", "steps"):
    print(f"{how}: {exam.sums(pupil, tokenizer, some_held, how):.0%} right")
asked_here = [f"What is {p}?" for p in some_held[:4]]
Table(
    ("asked", "free"),
    [*zip(asked_here, exam.replies(pupil, tokenizer, asked_here), strict=True)],
)

# %% [markdown]
# It can do sums, in steps. It does not choose to: most of what it copied gave a number at once. Perhaps it has not
# copied enough? Here it reads two thousand more of the teachers' solutions. **Guess** again.

# %%
from course_lib.sft.examples import chat_example, collate
from course_lib.training import reply_loss, train


def imitate(model, chats, steps):
    examples = [chat_example(chat, tokenizer) for chat in chats]
    choose, student = random.Random(0).choices, copy.deepcopy(model)

    def batches(step):
        return collate(choose(examples, k=32), tokenizer.pad)

    train(student, batches, reply_loss, steps, lr=1e-3)
    return student.eval()


# %%
more = list(islice(corpus.stream({hasty: 1.0}, seed=5), 2000))
copied = imitate(pupil, more, runtime.steps(full=60, quick=1))
after_copying = exam.sums(copied, tokenizer, some_held)
runtime.learned(after_copying < 0.4, "Copying the hasty should not help")
print(f"after more copying: {after_copying:.0%} right")

# %% [markdown]
# No better, within what 300 questions can tell (some two points and a half). It copies the form, a number at once.
# The numbers it cannot copy: the teachers had computed them in their heads, and nobody tells it *which* answers to
# copy. But a program could, by computing the result. Such rewards are called **verifiable**. They need no judge
# (lesson 06), and nobody who knows how steps should look.
#
# ## Eight answers by hand
#
# GRPO begins by asking one question several times. **A group** is several answers to the *same* question. Here are
# eight.

# %%
luck = torch.Generator().manual_seed(4)
asked = ["What is 2 + 2 × 6?"]
(eight,) = sample_replies(pupil, tokenizer, asked, samples=8, generator=luck)
print(*eight, sep="\n")

# %% [markdown]
# Three are right, and they have steps. How often is that so? We draw eight answers to sixty other questions.
# **Guess** how many have steps, and how right they are.

# %%
others = random.Random(4).sample(hard, runtime.steps(full=60, quick=4))
said = sample_replies(
    pupil, tokenizer, [f"What is {p}?" for p in others], 8, generator=luck
)
marked = [
    ("=" in text, text.endswith(f"Answer: {p.value}."))
    for p, texts in zip(others, said, strict=True)
    for text in texts
]
for kind, words in ((True, "with steps"), (False, "a number at once")):
    hits = [good for stepped, good in marked if stepped is kind] or [False]
    of_all = len(hits) / len(marked)
    print(f"{words}: {of_all:.0%} of the answers, right {sum(hits) / len(hits):.0%}")

# %% [markdown]
# Steps are rare, and mostly right. If something praised what is right, it would praise them.
#
# Many published notes on R1 count an example with four right answers of eight: those get 1, the others 0. How much
# better than its group is each? Subtract the mean, 0.5, and divide by the spread. One text says "std = 0.53, so A =
# ±0.94", another has ±1. **Guess** who is right.

# %%
rewards = torch.tensor([1.0, 0, 1, 1, 0, 0, 1, 0])
spreads = {
    "of a sample: over G − 1": rewards.std(correction=1).item(),
    "the same, rounded first": 0.53,
    "of all there are: over G": rewards.std(correction=0).item(),
}
Table(
    ("spread", "", "advantage of a right one"),
    [(name, f"{std:.4f}", f"{0.5 / std:+.4f}") for name, std in spreads.items()],
)

# %% [markdown]
# Both, by different conventions; only ±0.94 comes from rounding too early. We take the first, as TRL does, and say
# so: `ddof=1`. The formula (Shao et al. 2024, in DeepSeekMath, a year before R1):
#
# $$A_i = \frac{r_i - \bar r}{\sigma + \epsilon}$$
#
# | symbol | in code | |
# |---|---|---|
# | $r_i$ | `rewards` (P, G) | P questions, G answers to each |
# | $\bar r$, $\sigma$ | | mean and spread of *one row* |
# | $\epsilon$ | `eps` | 0.0001, against division by 0 |
#
# In lesson 07 a critic said what to expect. Here the answer's own group says it.

# %% [markdown]
# ### Exercise 1 · Compare each answer with its group
#
# *12 minutes · difficulty 2 of 3*
#
# - **Write** the advantage of each answer.
# - **In:** `rewards` (P, G), of any size; `eps`, added to the spread; `scale`: False = no division; `ddof`: squares
#   over G − `ddof`. **Out:** (P, G).
# - **Given:** `differs(rewards)` (P,): True for a row with a difference.
# - **Worked value:** 1, 0 with `eps=0`: 0.7071, −0.7071.
# - **Pitfall:** equal rewards give exactly 0, with any `eps`, also with `scale=False`; so does a group of one. The
#   mean of eight 0.1 is not exactly 0.1.
#
# In all exercises: float64 in, float64 out; inputs are not changed.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>rewards.mean(dim=1, keepdim=True)</code> has the shape (P, 1). Set rows without a difference to 0 before you divide.
# </details>
# <details><summary>Hint 2</summary>
# The spread is the root of the sum of squares over G − ddof. What if that is 0? And what if the spread is?
# </details>

# %% exercise="group_advantages" keep="check_groups("
from course_lib.grpo.advantages import group_advantages

# %%
apart = torch.tensor([[10.0, 9], [1, 0]])  # two answers to each of two questions
print("yours:", group_advantages(apart))
print("over the whole batch:", (apart - apart.mean()) / apart.std())
alike = torch.full((1, 8), 0.1)
print("eight equal ones, naively:", (alike - alike.mean()) / alike.std(correction=0))
print("yours:", group_advantages(alike))

# %% check="group_advantages" points=4
checks.grpo.group_advantages(group_advantages)

# %% [markdown]
# Over the whole batch the better answer to the second question is blamed, for its question was hard. And a naive
# spread makes advantages out of rounding errors, or 0/0.
#
# Groups in which all answers are right, or all wrong, say nothing. **Guess** how many of the groups of eight do, if
# each answer is right with probability 0.9. And what advantage has the only right answer of 64?

# %%
from course_lib.grpo.advantages import chance_of_equals

for p in (0.05, 0.2, 0.5, 0.9, 0.95):
    print(f"right with {p}: {chance_of_equals(p, G=8):.0%} of groups say nothing")
for G in (8, 64):
    lone = torch.zeros(1, G)
    lone[0, 0] = 1
    found = group_advantages(lone)[0]
    print(f"alone right of {G}: {found[0]:+.2f}, the others {found[1]:+.2f}")

# %% [markdown]
# Too hard or too easy, both waste rollouts: a model learns from questions that it sometimes gets right. DAPO (Yu et
# al. 2025), a later variant, draws new questions in place of silent ones. And whoever divides by the spread listens
# most to what is rare: a lone success among 64 counts nearly eight. That may be luck. Dr. GRPO (Liu et al. 2025)
# leaves the division out.
#
# ## A reader who cannot be fooled
#
# Who reads the answers? A policy tries everything, and finds each reply that is counted as right and should not be.
# **Guess** what a rule such as "the last number in the reply" makes of "Answer: 24 or 14."

# %% [markdown]
# ### Exercise 2 · Read the answer, strictly
#
# *12 minutes · difficulty 2 of 3*
#
# - **Write** the whole number that a reply gives, as an int, or None; never an error.
# - **Given:** `SAID`, a pattern: spaces, perhaps a sign (any of +−–-), one to nine digits, perhaps . or !, spaces.
#   `MINUS`, for `.translate`: makes − and – a -. `LONGEST`: longer replies give None.
# - **Rule:** "answer:" in any case, once; only `SAID` behind it; steps may stand before.
# - **Worked value:** "2 × 6 = 12. Answer:−012": −12. "Answer: 14 or 15.", "14", "": None.
# - **Pitfall:** a decimal, a unit, two answers: None. 0 is an answer. A pattern such as `(\d+)+` may hang.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>text.rpartition("answer:")</code> gives what stands before, the word, and what stands behind. Without the word, the word is empty.
# </details>
# <details><summary>Hint 2</summary>
# <code>SAID.fullmatch(behind)</code> is None if anything else stands there; its group 1 is sign and digits, for <code>.translate(MINUS)</code>.
# </details>

# %% exercise="read_answer"
from course_lib.grpo.rewards import read_answer

# %%
tricks = ("answer: −3", "Answer: 24 or 14.", "Answer: 14.5", "I say 14.")
replies_here = (*tricks, *dict.fromkeys(eight))
rows = [
    (text, (re.findall(r"\d+", text) or ["–"])[-1], read_answer(text))
    for text in replies_here
]
Table(("reply", "last number", "read strictly"), rows)

# %% check="read_answer" points=4
checks.grpo.read_answer(read_answer)

# %% [markdown]
# Right is what is read and equals the value. Other rules could pay as well. *Proved* (`verified`): all steps true,
# allowed and needed, and the result right. *Form*: steps that end in "= number.", then "Answer: number.". *Words*:
# a twentieth for each. **Guess** the cheapest reply that gets full marks by each rule.

# %%
from course_lib.grpo.rewards import verified, well_formed, wordiness


def right(problem, reply):
    return float(read_answer(reply) == problem.value)


sum_of_14 = arithmetic.parse("2 + 2 × 6")
lucky = "2 + 2 = 4. 4 × 6 = 14. Answer: 14."
rules = {"right": right, "proved": verified, "form": well_formed, "words": wordiness}
rows = [
    (text, *(f"{rule(sum_of_14, text):g}" for rule in rules.values()))
    for text in (lucky, "I = 5. Answer: 3.", "so " * 20, *dict.fromkeys(eight))
]
Table(("reply", *rules), rows)

# %% [markdown]
# Form and words can be had for nothing, and a right result by luck. We reward what is right, and only watch what is
# proved.
#
# ## What a ratio of 1.4 does
#
# The notes go on: an answer has A = +0.94, its probability rose from 0.5 to 0.7, so the ratio is 1.4, clipped to
# 1.2. "So the model reinforces the right answer." Lesson 07 had the objective:
#
# $$\min\bigl(\rho_t A,\ \text{clip}(\rho_t, 0.8, 1.2)\,A\bigr)$$
#
# **Guess** the push on the log-probability at ratios 1, 1.19 and 1.4, for A = +0.94 and for −0.94.

# %%
from course_lib.grpo.losses import clipped_objective

rows = []
for ratio in (1.0, 1.19, 1.4):
    for A in (0.94, -0.94):
        logprob = torch.tensor(ratio).log().requires_grad_()
        value = clipped_objective(logprob.exp(), torch.tensor(A))
        (push,) = torch.autograd.grad(value, logprob)
        rows.append((ratio, f"{A:+.2f}", f"{value:+.2f}", f"{push + 0:+.2f}"))
Table(("ratio", "A", "objective", "push"), rows)

# %% [markdown]
# At 1.4 and A > 0 the push is 0: nothing is reinforced any more. A *bad* answer at 1.4 is pushed back in full. And
# at ratio 1, where every batch begins, the advantages' mean is 0 and so is the loss; its gradient is not.
#
# Whose ratio? The notes write one for the whole answer. **Guess:** each token becomes one per cent likelier. After
# how many tokens is the answer beyond 1.2?

# %%
for tokens in (1, 18, 19, 50, 200):
    print(f"{tokens} tokens: ratio of the whole answer {1.01**tokens:.3f}")

# %% [markdown]
# So every token has its own ratio, and they are added up. With which weights? DeepSeekMath divides by the length of
# each answer, $|o_i|$, then by their number B:
#
# $$\mathcal{L} = -\sum_{i,t} w_{it} \min\bigl(\rho_{it} A_i,\ \text{clip}(\rho_{it}) A_i\bigr), \qquad w_{it} =
# \frac{1}{B\,|o_i|}$$

# %% [markdown]
# ### Exercise 3 · How much does a token count?
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** the weights: every answer counts alike, and so does each of its tokens.
# - **In:** `mask` (B, T), booleans, True = a token of the answer. **Out:** (B, T), a number for each token.
# - **Worked value:** rows True True and True False: 0.25 0.25 and 0.5 0.
# - **Pitfall:** each row sums to 1/B. Neither the width T nor the number of all tokens plays a part. A row may have
#   gaps, and be wider than any answer.

# %% [markdown]
# <details><summary>Hint 1</summary>
# How many True has each row? Keep the dimension, so that shapes fit.
# </details>
# <details><summary>Hint 2</summary>
# A boolean tensor divided by a number is a tensor of numbers, 0 where it was False.
# </details>

# %% exercise="grpo_weights" keep="check_tokens("
from course_lib.grpo.losses import grpo_weights

# %% check="grpo_weights" points=2
checks.grpo.grpo_weights(grpo_weights)

# %% [markdown]
# There are other choices. DAPO: every *token* of the batch counts alike. Dr. GRPO divides by B times a constant L:
# tokens count alike, in every batch. Two answers, of 5 and of 20 tokens, have the same advantage. **Guess** which
# loss pushes a token of the long one less, and what that means if both are *wrong*.

# %%
from course_lib.grpo.losses import dapo_weights, dr_grpo_weights


def pushed(tokens):
    lengths = (5, int(tokens))
    two = torch.arange(lengths[1]) < torch.tensor(lengths).unsqueeze(1)  # (2, T)
    ways = {"GRPO, yours": grpo_weights(two), "DAPO": dapo_weights(two)}
    ways["Dr. GRPO, L = 20"] = dr_grpo_weights(two, 20)
    return plots.pulls(ways, lengths)


second = controls.slider(20, 5, 40, 1, "tokens of the second answer")
controls.explore(pushed, tokens=second)

# %% [markdown]
# GRPO gives a long answer the same push as a short one, spread over more tokens. If both are wrong, each token of
# the long one is blamed a quarter as much: rambling makes errors cheap. If both are right, brevity is praised. DAPO
# and Dr. GRPO treat tokens alike. That is a computed push, no proof that answers grow.

# %% [markdown]
# The notes' last number is a KL: a sum over all texts, which nobody can list. Lesson 07 had an estimate from the
# one token that was drawn, of probability p by the policy and q by the reference: $k_3 = \frac{q}{p} - 1 - \log
# \frac{q}{p}$. **Guess** it for q = 0.5 and p = 0.7, and where its slope pushes.

# %%
from course_lib.grpo.losses import kl_penalty

reference = torch.tensor([[0.5]]).log()
for now in (0.5, 0.6, 0.7, 0.3):
    logprob = torch.tensor([[now]]).log().requires_grad_()
    price = kl_penalty(logprob, reference)
    (slope,) = torch.autograd.grad(price, logprob)
    print(f"p = {now}: price {price.item():.3f}, slope {slope.item() + 0:+.2f}")

# %% [markdown]
# Whichever way a token strays, the price rises, and its slope leads back.

# %% [markdown]
# ### Exercise 4 · Put the loss together
#
# *18 minutes · difficulty 3 of 3*
#
# - **Write** GRPO's loss, to be minimised.
# - **In:** `logprobs`, `old_logprobs`, `mask` (B, T); `advantages` (B,); `weights`, None = yours; clip by
#   `clip_eps` below 1 and `clip_high` above (None = the same; 0 is a number). Unless `kl_coef` is 0, subtract it
#   times `kl_penalty` from the objective. **Out:** a scalar.
# - **Given:** `policy_ratio(logprobs, old_logprobs)`, `clipped_objective(ratio, advantages, clip_eps, clip_high)`,
#   `masked_sum(x, mask)`, `kl_penalty(logprobs, ref_logprobs, old_logprobs)`, the last None unless `kl_correction`.
# - **Worked value:** ratio 1, A = 1, −1 on 2 and 1 tokens: gradients −¼, −¼, ½. A = 0 still counts among the B.
# - **Pitfall:** only `logprobs` gets a gradient: detach the rest. B may equal T; padding may hold nan.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Advantages of shape (B, 1) meet ratios of shape (B, T) row by row.
# </details>
# <details><summary>Hint 2</summary>
# Objective per token, less the price; times weights; <code>masked_sum</code>, for padding may hold anything; the
# sign.
# </details>

# %% exercise="grpo_loss" keep="check_answers("
from course_lib.grpo.losses import grpo_loss

# %%
start = torch.tensor([[-1.0, -1.0], [-1.0, 0.0]])
short = torch.tensor([[True, True], [True, False]])
for moved in (0.0, 0.3):
    leaf = (start + moved).requires_grad_()
    loss = grpo_loss(leaf, start, torch.tensor([1.0, -1.0]), short)
    (felt,) = torch.autograd.grad(loss, leaf)
    slopes = ", ".join(f"{x + 0:+.2f}" for x in felt[short])
    print(f"ratio {2.71828**moved:.2f}: loss {loss + 0:+.2f}, gradient {slopes}")

# %% check="grpo_loss" points=5
checks.grpo.grpo_loss(grpo_loss)

# %% [markdown]
# At ratio 1.35 the good answer is held, the bad one is pushed back. The price, $\beta k_3$, stands in the loss, not
# in the reward as with PPO. (What `kl_correction` corrects is computed in "Going further".) Rules cannot be talked
# into anything, so with exact rewards many leave the price out, β = 0. So do we.
#
# ## Bug clinic: losses from the web
#
# Two losses, both published, written anew. The first is from the notes, the second clips and then averages over all
# tokens. **Find** the faults.


# %%
def notes_loss(logprobs, old_logprobs, advantages, mask):
    change = ((logprobs - old_logprobs) * mask).sum(dim=1)  # (B,)
    ratio = change.exp()
    held = ratio.clamp(0.8, 1.2)
    return -torch.minimum(ratio * advantages, held * advantages).mean()


def averaged_loss(logprobs, old_logprobs, advantages, mask):
    ratio = (logprobs - old_logprobs).exp()
    pushes = ratio.clamp(0.8, 1.2) * advantages.unsqueeze(1)
    return -(pushes * mask).sum() / mask.sum()


two = torch.arange(20) < torch.tensor([[5], [20]])
for loss_fn in (notes_loss, averaged_loss, grpo_loss):
    leaf = torch.zeros(2, 20, requires_grad=True)
    loss = loss_fn(leaf, torch.zeros(2, 20), torch.ones(2), two)
    (felt,) = torch.autograd.grad(loss, leaf)
    shares = ", ".join(f"{x:.3f}" for x in -felt.sum(dim=1))
    print(f"{loss_fn.__name__}: push on 5 and on 20 tokens {shares}")

# %% [markdown]
# What must be true of GRPO's loss?
#
# 1. The ratio belongs to the token: change one log-probability, a little or far beyond the clip, and the other tokens'
#    gradients stay.
# 2. Beyond the clip on the side of its advantage: no gradient. On the other side: one.
# 3. What stands under the mask changes nothing and has gradient 0.
# 4. Before the first step every answer counts alike, long or short: gradients with the same sum, and within an answer each token has the same share.
# 5. Advantage 0: no gradient, and nothing is nan, even if all are 0.
# 6. Downhill, tokens of good answers get likelier and of bad ones rarer, in every row.

# %% [markdown]
# ### Exercise 5 · Write the test that exposes a published loss
#
# *25 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the six claims.
# - **In:** `loss(logprobs, old_logprobs, advantages, mask)`: (B, T), (B, T), (B,), (B, T), with clip 0.2, GRPO's
#   weights, no price; a scalar to be minimised. **Out:** nothing.
# - **Worked value:** `grpo_loss` must get through, both losses above must not. They fall to claim 4 alone; the
#   check has more.
# - **Pitfall:** values say little, ask for gradients. At ratio 1 an answer's ratio looks like a token's. Stay clear
#   of 0.8 and 1.2, and compare with room: 1e-5. Every row of the mask needs a True; padding holds finite numbers;
#   advantages are floats.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A small function inside gives the gradient: a leaf with <code>requires_grad_()</code>, then
# <code>torch.autograd.grad(loss(leaf, …), leaf)</code>.
# </details>
# <details><summary>Hint 2</summary>
# Before the first step the gradient is known: minus advantage over B and length. Then move single tokens by 0.1 and
# ±0.5 and compare all others.
# </details>


# %% test="group_loss"
def test_group_loss(loss):
    """Fails with an AssertionError unless `loss` is GRPO's."""
    ### BEGIN SOLUTION
    old = -torch.rand(4, 6, generator=torch.Generator().manual_seed(1)) - 0.5
    lengths = torch.tensor([2, 6, 3, 5])
    mask = torch.arange(6) < lengths.unsqueeze(1)
    good = torch.tensor([1.0, -0.5, 0.0, 2.0])

    def pushes(logprobs, advantages=good):
        leaf = logprobs.clone().requires_grad_()
        return -torch.autograd.grad(loss(leaf, old, advantages, mask), leaf)[0]

    def expect(got, wanted, words):
        assert torch.allclose(got, wanted, atol=1e-5), words

    first = mask * (good / lengths / 4).unsqueeze(1)
    expect(pushes(old), first, "at ratio 1 each answer counts alike, by its sign")
    expect(pushes(old, 0 * good), 0 * old, "advantages of 0 push nothing")
    expect(pushes(old + 3.0 * ~mask), first, "padding plays a part")
    for row, column in ((0, 1), (1, 4), (3, 0)):
        for change in (0.1, 0.5, -0.5):
            moved, wanted = old.clone(), first.clone()
            moved[row, column] += change
            beyond = abs(change) > 0.2 and change * good[row] > 0
            wanted[row, column] *= 0.0 if beyond else 2.718281828**change
            expect(pushes(moved), wanted, "a ratio does not belong to its token")
    ### END SOLUTION


# %%
for loss_fn in (grpo_loss, notes_loss, averaged_loss):
    try:
        test_group_loss(loss_fn)
        print(f"{loss_fn.__name__} passed")
    except AssertionError as objection:
        print(f"{loss_fn.__name__} is exposed: {objection}")

# %% check="test_group_loss" points=4
checks.grpo.test_group_loss(test_group_loss)

# %% [markdown]
# The first has one ratio for all tokens of an answer: long answers are pushed harder, and one token beyond the clip
# silences the others. (GSPO has such a ratio on purpose, a mean, and clips at about 1 ± 0.0003.) The second has no
# minimum; its mean over tokens is DAPO's, not wrong, but not the loss it is named after.

# %% [markdown]
# ## Who is needed?
#
# Before the run: who must sit in memory? "No separate reward model", say published notes of GRPO, "eliminating the
# need". **Guess** whom it really does without.

# %% [markdown]
# ### Exercise 6 · Who sits in memory?
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** a dict from the name of each model held in training to True (trained) or False (frozen). Names:
#   policy, critic, reference, reward model.
# - **In:** `method`, "sft", "ppo", "grpo" or "dpo"; `rules`: a program gives the rewards; `reference`: is there
#   one?
# - **Worked value:** "dpo": policy True, reference False (no order asked).
# - **Pitfall:** who is not in memory has no entry. Rules replace the reward model of PPO and GRPO, nobody else.
#   `reference=False` removes the reference, from DPO too. SFT has none. Another method: a ValueError.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The critic belongs to PPO alone. Whether there is a reward model depends on who gives the reward.
# </details>
# <details><summary>Hint 2</summary>
# Begin with <code>{"policy": True}</code> and add one model after the other, each on its own condition.
# </details>


# %% exercise="models_in_memory"
def models_in_memory(method, rules=False, reference=True):
    """The models that a method holds: name to True (trained) or False (frozen)."""
    ### BEGIN SOLUTION
    if method not in ("sft", "ppo", "grpo", "dpo"):
        raise ValueError(f"{method!r} is none of sft, ppo, grpo, dpo.")
    held = {"policy": True}
    if method == "ppo":
        held["critic"] = True
    if method != "sft" and reference:
        held["reference"] = False
    if method in ("ppo", "grpo") and not rules:
        held["reward model"] = False
    return held
    ### END SOLUTION


# %%
from course_lib.grpo.memory import held_bytes

rows = []
for name, options in {
    "PPO, a judge": ("ppo",), "GRPO, a judge": ("grpo",),
    "GRPO, rules": ("grpo", True), "GRPO, rules, β = 0": ("grpo", True, False),
    "DPO": ("dpo",),
}.items():  # fmt: skip
    inside = models_in_memory(*options)
    size = sum(held_bytes(inside, 7e9).values()) / 1e9
    rows.append((name, ", ".join(inside), f"{size:.0f}"))
print("16 bytes for a trained number, 2 for a frozen one, without activations")
Table(("training a model of 7 billion", "in memory", "GB"), rows)

# %% check="models_in_memory" points=3
checks.grpo.models_in_memory(models_in_memory)

# %% [markdown]
# The critic is what GRPO saves, and it is nearly half. DeepSeekMath, where GRPO comes from, had a learned reward
# model. R1 used rules, and a reward model only in its last phase.
#
# Here the first sitting may end. You have all the pieces.

# %% [markdown]
# ## The whole loop
#
# Here is one step of it, made of your pieces: four questions, eight answers to each.

# %%
from course_lib.grpo.rewards import rewarding
from course_lib.logprobs import token_logprobs
from course_lib.rollouts import predicting, sample_rollouts

STEPS = runtime.steps(full=40, quick=2)
QUESTIONS = runtime.steps(full=16, quick=4)


def questions(seed, step):
    draw = random.Random(f"{seed} {step}")
    forms = draw.choices((easy, hard), (0.15, 0.85), k=QUESTIONS)
    asked = [draw.choice(form) for form in forms]
    said = [draw.choice(corpus.ARITHMETIC_WORDINGS).format(p) for p in asked]
    return [prompt_ids(text, tokenizer) for text in said], asked


prompts, asked = (each[:4] for each in questions(seed=0, step=0))
print(*asked, sep="\n")

# %%
policy = copy.deepcopy(pupil)
luck = torch.Generator().manual_seed(0)
ends = {"end": tokenizer.end, "pad": tokenizer.pad}
rollout = sample_rollouts(policy, prompts, 40, samples=8, generator=luck, **ends)
paid = rewarding(right, tokenizer)(rollout, asked).view(4, 8)
advantages = group_advantages(paid).flatten()
logprobs = token_logprobs(policy.head(predicting(policy, rollout)), rollout.responses)
loss = grpo_loss(logprobs, rollout.logprobs, advantages, rollout.response_mask)
loss.backward()
torch.optim.AdamW(policy.parameters(), lr=7e-4).step()
ratio = (logprobs - rollout.logprobs).exp()[rollout.response_mask]
print("right of eight:", paid.sum(dim=1).int().tolist())
print(f"loss {abs(loss):.4f}, ratios from {ratio.min():.3f} to {ratio.max():.3f}")

# %% [markdown]
# No critic, no judge, no reference. The ratios are 1, for who draws is who learns: with one step on each batch the
# clip sleeps. It wakes if the same answers serve for a second step (`epochs=4`: try it afterwards).
#
# `train_grpo` does this forty times, with sixteen questions each. Beside the reward we watch how many answers are
# *proved* by their steps, which nobody rewards, and how many are right with a step too many. **Draw** your guess
# for four curves: right, proved, length, groups all alike.

# %%
from course_lib.grpo.trainer import Settings, train_grpo

settings = Settings(end=tokenizer.end, pad=tokenizer.pad)
yours = {  # the parts that you wrote
    "advantage_fn": group_advantages,
    "weight_fn": grpo_weights,
    "loss_fn": grpo_loss,
}
for name in ("samples", "temperature", "lr", "new_tokens", "epochs"):
    print(name, getattr(settings, name))


# %%
def padded(problem, reply):
    needed = arithmetic.operations(problem)
    return right(problem, reply) * (reply.count("=") > needed)


def watch(rollout, asked):
    scores = {"verified": verified, "right": right, "padded": padded}
    return {
        name: rewarding(score, tokenizer)(rollout, asked).mean().item()
        for name, score in scores.items()
    }


print(padded(sum_of_14, "2 × 6 = 12. 2 + 12 = 14. 14 + 0 = 14. Answer: 14."))


# %%
def practise(model, score, steps=STEPS, settings=settings, parts=yours, seed=0):
    policy, luck = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    notes = train_grpo(
        policy, partial(questions, seed), rewarding(score, tokenizer), steps,
        settings, **parts, watch=watch, generator=luck,
    )  # fmt: skip
    return policy, notes


tuned, history = practise(pupil, right)
first, last = history["entropy"][0], history["entropy"][-1]
print(f"surprise at what it draws: {first:.2f} to {last:.2f} nats a token")
plots.learning(history, runtime.recorded("08_grpo"))

# %% [markdown]
# For some steps little happens. Then answers get longer, and the reward comes with the length. Faint lines are
# recorded, from other seeds. In the end about half of the groups are all alike, and nothing that is drawn surprises
# any more: the lesson runs dry.
#
# Now the expressions that were put aside. The teachers were right in three of five answers. **Guess** whether a
# pupil can beat teachers whom it copied.

# %%
everything = held[:: runtime.steps(full=3, quick=60)]


def marks(model):
    said = exam.replies(model, tokenizer, [f"What is {p}?" for p in everything])
    pairs = [*zip(everything, said, strict=True)]
    steps = sum("=" in text for text in said)
    found = [sum(rule(*pair) for pair in pairs) for rule in (right, verified)]
    return [f"{n / len(pairs):.0%}" for n in (found[0], steps, found[1])]


base = pretrained.load("base")[0]
chain = {"base": base, "the pupil": pupil, "by GRPO": tuned}
after = exam.sums(tuned, tokenizer, some_held)
runtime.learned(after > 0.8, "GRPO should find out that steps help")
townsfolk = corpus.asked_about()[:: runtime.steps(1, 6)]
known = [exam.facts(model, tokenizer, townsfolk) for model in (pupil, tuned)]
print(f"facts about the town: {known[0]:.0%} before, {known[1]:.0%} after")
rows = [(name, *marks(model)) for name, model in chain.items()]
Table(("model", "right", "with steps", "proved"), rows)

# %%
Table(
    ("asked", "before", "after"),
    [
        *zip(
            asked_here,
            exam.replies(pupil, tokenizer, asked_here),
            exam.replies(tuned, tokenizer, asked_here),
            strict=True,
        )
    ],
)

# %% [markdown]
# The pupil beats its teachers: it may try, and is told. It writes steps, and true ones, though nobody paid for
# either: they are the way to a right result. The town is not forgotten.
#
# But look at the first row. The **base**, from which the hasty teachers made the pupil, could do sums in steps all
# the time. They had covered it up; GRPO dug it out. Whether training *teaches* or *uncovers* is the first question
# to ask of any such result. How could one see it?

# %% [markdown]
# ## More answers instead of more training
#
# Ask several times: is *any* of k answers right? That is **pass@k** (Chen et al. 2021). From n answers of which c
# are right one can estimate it for every k up to n, without drawing again: how many of all ways to choose k contain
# no right one?
#
# $$\text{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k}$$

# %% [markdown]
# ### Exercise 7 · Any of k
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** the chance that k of the n answers, none of them taken twice, hold a right one.
# - **In:** `n`, `right` (c of the formula), `k`, whole numbers. **Out:** a float from 0 to 1.
# - **Worked value:** `n=4, right=1, k=2`: 0.5. `n=4, right=3, k=2`: 1.0.
# - **Pitfall:** 1 − (1 − c/n)ᵏ takes answers twice, and comes out too low. n may be 2,000: binomials have hundreds
#   of digits then, which Python's whole numbers bear and floats do not. And it must be quick.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>math.comb(a, b)</code> counts the ways to choose b of a. It is 0 where b is larger than a.
# </details>
# <details><summary>Hint 2</summary>
# Divide the one whole number by the other directly: Python does that exactly enough.
# </details>

# %% exercise="pass_at_k" keep="if not (0 <="
from course_lib.grpo.passes import pass_at_k

# %%
for k in (1, 2, 4):
    print(f"2 of 4 right, pass@{k}: {pass_at_k(4, 2, k):.3f}")

# %% check="pass_at_k" points=3
checks.grpo.pass_at_k(pass_at_k)

# %% [markdown]
# Somebody must pick the right one. Where nobody can check, let the answers vote.

# %% [markdown]
# ### Exercise 8 · The vote of many
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** the answer given most often.
# - **In:** `answers`, a list or tuple of numbers or texts, and None. **Out:** one of them, as it was given, or
#   None.
# - **Worked value:** 24, 14, None, 14: 14. All different: the first.
# - **Pitfall:** None is no answer and has no vote, however often it comes; 0 is an answer and has one. On a tie the
#   one seen first wins. More than half is not needed. If nobody answers, or the list is empty: None, no error.
#   Capitals and spaces make another text.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>collections.Counter</code> counts, and keeps the order in which things first came.
# </details>
# <details><summary>Hint 2</summary>
# <code>max(counts, key=…)</code> returns the first of several largest ones; it has a <code>default</code>.
# </details>

# %% exercise="majority_vote"
from course_lib.grpo.passes import majority_vote

# %%
print(majority_vote([24, 14, None, 14]), majority_vote([3, 0, 0]), majority_vote([]))

# %% check="majority_vote" points=2
checks.grpo.majority_vote(majority_vote)

# %% [markdown]
# Sixteen answers each to some expressions put aside, by the pupil (before), the tuned model (after) and the base.
# **Guess** the curves over k, of pass@k and of the vote. How many answers does the pupil need to be as good as the
# tuned model with one?

# %%
models = {"before": pupil, "after": tuned, "base": base}
few = random.Random(3).sample(held, runtime.steps(full=80, quick=4))
ks, drawn = (1, 2, 4, 8, 16), {}
for name, model in models.items():
    luck = torch.Generator().manual_seed(0)
    asked = [f"What is {p}?" for p in few]
    drawn[name] = sample_replies(model, tokenizer, asked, 16, generator=luck)


def vote_of(k, said, problem, draws=20):
    choose, read = random.Random(k).sample, [read_answer(t) for t in said]
    return sum(majority_vote(choose(read, k)) == problem.value for _ in range(draws))


print(f"{len(few)} expressions, 16 answers each by three models")

# %%
found = {}
for name, said in drawn.items():
    pairs = [*zip(few, said, strict=True)]
    counts = [sum(right(p, t) for t in texts) for p, texts in pairs]
    passes = [sum(pass_at_k(16, int(c), k) for c in counts) / len(few) for k in ks]
    votes = [sum(vote_of(k, t, p) for p, t in pairs) / len(few) / 20 for k in ks]
    found[name] = {"any": passes, "vote": votes}
plots.more_samples(found, ks)

# %% [markdown]
# Before training, nineteen of twenty expressions were solved by at least one answer of sixteen. The tuned model
# needs one or two: GRPO made *likely* what was possible. And the base, whom nobody taught haste, has nearly the
# same curves. The vote helps the pupil a little: right answers agree with each other, but so do hasty ones. It
# helps most who is mostly right already.
#
# R1's paper reports the same two measures on a contest (AIME 2024): R1-Zero 71.0 % at one answer, 86.7 % by the
# vote of 64; R1 79.8 % at one.
#
# And its "aha moment", where a model stops and corrects itself? We count answers that compute something wrong, then
# right. **Guess.**

# %%
from course_lib.grpo.rewards import corrects_itself

for name, said in drawn.items():
    texts = [text for replies in said for text in replies]
    aha = sum(map(corrects_itself, texts))
    print(f"{name}: {aha} of {len(texts)} answers correct themselves")

# %% [markdown]
# None. Our teachers never did it, so it is never drawn, and what is never drawn is never reinforced. Nor does an
# anecdote of one answer show that training *made* it: one would have to count before and after, in a base that may
# have read such texts.

# %% [markdown]
# ## Keep what is right
#
# R1 was trained in four phases; R1-Zero by the second alone, from the base.
#
# | R1's phase | here |
# |---|---|
# | 1 cold start: SFT on a few thousand long solutions | the pupil |
# | 2 GRPO with rules: accuracy, form, one language | the whole loop |
# | 3 rejection sampling, with other tasks mixed in: SFT of the *base* | exercise 8 |
# | 4 GRPO again: rules, and a reward model for taste | lessons 06 and 07 |
#
# The third is simpler than all this: draw answers, keep the good ones, imitate them. **Rejection sampling.**

# %% [markdown]
# ### Exercise 9 · Keep what is right
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** chats to learn from.
# - **In:** `questions`, texts; `replies`, a list for each; `accept(i, reply)`, i the question's number from 0;
#   `most`: at most so many chats from one question. **Out:** a list of chats, `[{"role": "user", "content": …},
#   {"role": "assistant", …}]`.
# - **Worked value:** 4, 4, 5 to one question, all accepted, `most=2`: two chats, 4 and 5.
# - **Pitfall:** first drop repeated replies *of a question*, then `accept`, then cut. One space more is another
#   reply. The first good ones stay, in order. No good reply, no chat. Each chat has dicts of its own.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>dict.fromkeys(said)</code> drops repetitions and keeps the order. <code>enumerate</code> counts from 0.
# </details>
# <details><summary>Hint 2</summary>
# One list of good replies for each question; a slice cuts it; make both messages inside the innermost loop.
# </details>

# %% exercise="rejection_sample" keep="assert len("
from course_lib.grpo.rejection import rejection_sample

# %%
said_twice = rejection_sample(["2 + 2 = ?"], [["4", "4", "5"]], lambda i, r: True, 2)
print(*said_twice, sep="\n")

# %% check="rejection_sample" points=3
checks.grpo.rejection_sample(rejection_sample)

# %% [markdown]
# The pupil's own answers, no GRPO at all: eight to each of two hundred training questions. Once we keep what is
# *right*, once what is *proved*. It imitates each for forty steps. **Guess** both results.

# %%
own = random.Random(11).sample(hard, runtime.steps(full=200, quick=30))
asked_own = [f"What is {p}?" for p in own]
luck = torch.Generator().manual_seed(0)
own_replies = sample_replies(pupil, tokenizer, asked_own, 8, generator=luck)
rows = []
for name, rule in {"right": right, "proved": verified}.items():

    def accept(i, reply, rule=rule):
        return rule(own[i], reply) == 1

    kept = rejection_sample(asked_own, own_replies, accept, most=2)
    with_steps = sum("=" in chat[1]["content"] for chat in kept)
    student = imitate(pupil, kept, runtime.steps(full=40, quick=1))
    result = exam.sums(student, tokenizer, some_held)
    rows.append((name, 8 * len(own), len(kept), with_steps, f"{result:.0%}"))
runtime.learned(result > 0.7, "Its own proofs should teach it steps")
rows.append(("(GRPO)", STEPS * QUESTIONS * 8, "", "", f"{after:.0%}"))
Table(("kept if", "drawn", "chats", "with steps", "right afterwards"), rows)

# %% [markdown]
# Ninety proofs of its own, and it is nearly where GRPO came, with a third of the drawn answers. But somebody had to
# know what a proof is. Of right *results* more than half are lucky guesses without steps, and imitating those helps
# little in one round. GRPO got there from results alone: it compares within each question, and steps win there.

# %% [markdown]
# ## Break it: pay for thinking
#
# Long answers were the good ones. So why not pay for the length of thought: an eighth for each "=", up to eight? It
# need not even be right. **Guess** how the share of right answers moves in forty steps.


# %%
def thinks(problem, reply):
    return min(reply.count("=") / 8, 1.0)


longer = replace(settings, decay=0.25)  # the rate stays high until the last quarter
thinker, spoiled = practise(pupil, thinks, settings=longer)
runtime.learned(sum(spoiled["right"][-5:]) < 1, "Pay for '=' should be hacked")
print(*exam.replies(thinker, tokenizer, asked_here), sep="\n")
plots.together(
    {
        "reward": spoiled["reward"], "right": spoiled["right"],
        "right, if paid for it": history["right"],
    },
    "Paid for thinking, it thinks without end", "share",
)  # fmt: skip

# %% [markdown]
# At first it works, and as quickly as pay for what is right: on the way to more "=" lie worked steps. Who stops
# after fifteen steps publishes it. Then only more steps pay, true or not, until the forty tokens are full and no
# answer is ever given. A proxy is most convincing while it agrees with the goal.
#
# Most published rewards are sums: a part for the result, a part for the form. Now thinking pays *and* a right
# result does, both the same. **Guess** whether that is hacked, too.

# %%
from course_lib.grpo.rewards import combined

both = combined({right: 1.0, thinks: 1.0})
paid_twice, sums_up = practise(pupil, both)
runtime.learned(sum(sums_up["right"][-5:]) > 3, "A right result should hold")
print(*exam.replies(paid_twice, tokenizer, asked_here), sep="\n")
print(f"right in the end: {sums_up['right'][-1]:.0%}")
print(f"right with a step too many, at most: {max(sums_up['padded']):.1%} of a batch")

# %% [markdown]
# Not in forty steps. It hardly ever draws a step too many that still ends right, such as 14 + 0 = 14, so nothing
# can praise one. That says little about four thousand steps. Whoever adds rewards up looks at each part alone.

# %% [markdown]
# ## Break it: other beginnings
#
# Two more pupils, tuned for a moment by other teachers. The first ones never show steps. The second ones show as
# many as before, but hasty ones: "2 + 2 = 4. 4 × 6 = 24." **Guess** what thirty steps of GRPO make of each.


# %%
def hasty_steps(problem):
    value, *rest = str(problem).replace("(", "").replace(")", "").split()
    value, said = int(value), []
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        result = arithmetic.APPLY[sign](value, int(number))
        said.append(f"{value} {sign} {number} = {result}.")
        value = result
    return " ".join([*said, f"Answer: {value}."])


def taught(share, draw):
    problem = draw.choice(hard)
    asked = draw.choice(corpus.ARITHMETIC_WORDINGS).format(problem)
    guess = arithmetic.hasty_value(problem, draw)
    at_once = arithmetic.direct(problem, draw.choice((guess, problem.value)))
    said = hasty_steps(problem) if draw.random() < share else at_once
    return corpus.turn(asked, said)


lucky_ones = [hasty_steps(p).endswith(f"Answer: {p.value}.") for p in hard]
print(hasty_steps(sum_of_14))
print(f"of hasty steps right: {sum(lucky_ones) / len(lucky_ones):.0%}")

# %%
runs, rows = {"as before": history["right"]}, []
some_hard = random.Random(5).sample(hard, runtime.steps(full=200, quick=10))
for name, share in {"steps never shown": 0.0, "hasty steps": 0.2}.items():
    draw = random.Random(5)
    chats = [taught(share, draw) for _ in range(2000)]
    beginner = imitate(pupil, chats, runtime.steps(full=60, quick=1))
    ways = ("direct", "steps", "free")
    can = [exam.sums(beginner, tokenizer, some_hard, how) for how in ways]
    _, notes = practise(beginner, right, runtime.steps(full=30, quick=1))
    proved = (f"{notes['verified'][i]:.0%}" for i in (0, -1))
    rows.append((name, *(f"{c:.0%}" for c in can), *proved))
    runs[name] = notes["right"]
worse = sum(runs["steps never shown"][-5:]) < 2
runtime.learned(worse, "What is never drawn should not be learned")
heads = ("beginner", "direct", "if in steps", "free", "proved at first", "at last")
print(Table(heads, rows))
plots.together(runs, "What is never drawn is never reinforced", "share right")

# %% [markdown]
# The first pupil *could* do most of the sums in steps, if made to. But it never tries, so no group ever contains an
# example, and nothing happens at all. The second does try. Hasty steps lead over guessing, so GRPO adopts them,
# haste included, and climbs towards what they can reach. Good steps are hardly ever drawn, so it hardly finds them.
# **GRPO raises the best of what is drawn. What is drawn, and how far it leads, is decided before the first step.**
# R1 began with a few thousand long solutions, for a steadier beginning and for readable answers.

# %% [markdown]
# ## On a real model
#
# SmolLM2 with its 135 million numbers gets three questions, eight times each. A rule looks for one word. One step
# follows, of the last four blocks alone. **Guess** which group says nothing, and what the loss is before the step.

# %%
from course_lib.logprobs import token_logprobs
from course_lib.pretrained.smollm2 import END, encode_chat
from course_lib.rollouts import predicting, sample_rollouts

big, spoken = pretrained.smollm2()
TIMES = runtime.steps(full=8, quick=2)
known_words = {"What is the capital of France?": "Paris"}
known_words |= {"Which planet is red?": "Mars", "What is 2 + 2 × 6?": "14"}
chats = [[{"role": "user", "content": asked}] for asked in known_words]
prompts = [encode_chat(spoken, chat, reply_next=True) for chat in chats]
wrote = sample_rollouts(
    big, prompts, runtime.steps(full=12, quick=2), samples=TIMES, temperature=0.7,
    end=spoken.specials[END], pad=spoken.specials[END],
    generator=torch.Generator().manual_seed(0),
)  # fmt: skip
print(*wrote.texts(spoken)[::TIMES], sep="\n")  # the first of each group

# %%
wanted = [word for word in known_words.values() for _ in range(TIMES)]
hits = [w in text for w, text in zip(wanted, wrote.texts(spoken), strict=True)]
paid = torch.tensor(hits).float().view(3, TIMES)
big.requires_grad_(False)
trained = list(big.blocks[-4:].requires_grad_(True).parameters())


def as_drawn():
    scores = big.head(predicting(big, wrote)) / 0.7  # the same temperature
    return token_logprobs(scores, wrote.responses)


advantages = group_advantages(paid).flatten()
loss = grpo_loss(as_drawn(), wrote.logprobs, advantages, wrote.response_mask)
loss.backward()
norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
torch.optim.SGD(trained, lr=0.03).step()
print(f"loss {abs(loss):.4f}, length of the gradient {norm:.1f}")

# %%
with torch.no_grad():
    gained = ((as_drawn() - wrote.logprobs) * wrote.response_mask).sum(dim=1)
up = gained[advantages > 0].mean() > gained[advantages < 0].mean()
runtime.learned(up, "One step should tell right answers from wrong ones")
rows = []
for asked, hit, moved in zip(known_words, paid, gained.view(3, -1), strict=True):
    groups = (moved[hit == 1], moved[hit == 0])
    means = [f"{group.mean():+.2f}" if len(group) else "–" for group in groups]
    rows.append((asked, int(hit.sum()), *means))
Table(("asked", f"right of {TIMES}", "right ones gained", "wrong ones"), rows)

# %% [markdown]
# A loss of 0, and yet a step: right answers gained a nat or more, the wrong ones about Paris fell as far. The sum,
# not right in eight, says nothing; its answers only drift with the rest. This is one step, measured on the answers
# that it was made from. A training takes thousands, on new ones.

# %% [markdown]
# ## Outside
#
# | here | TRL's `GRPOConfig` |
# |---|---|
# | `samples`, G | `num_generations` |
# | `scale=False` | `scale_rewards="none"` |
# | `grpo_weights`, `dapo_weights`, `dr_grpo_weights` | `loss_type="grpo"`, `"dapo"`, `"dr_grpo"` |
# | `clip_eps`, `clip_high` | `epsilon`, `epsilon_high` |
# | `kl_coef`, `kl_correction` | `beta`, `use_bias_correction_kl` |
#
# Its default today is DAPO's loss, and β = 0. Our library's tests hold advantages and losses against TRL's. What
# production adds: rollouts by a serving engine, a sandbox where rewards run the model's code, new questions for
# groups that say nothing.
#
# ## Reflect

# %% [markdown] reflect="taught_or_uncovered" points=1
# **1.** A report says: "After GRPO our model solves 80 % instead of 30 %; reinforcement taught it to reason." Which
# two measurements would you ask for before you believe the second half?
#
# A good answer: pass@k of the model before, at large k, on the same questions: if it already reaches 80 % there,
# training made likely what was possible. And the share of *checked* steps before and after, with an exam of the
# base under a prompt that makes it write steps. Several seeds, and questions that were put aside by form.

# %% [markdown] reflect="groups_that_say_nothing" points=1
# **2.** In a run reward stands at 0.05, and 70 % of the groups say nothing. In another it is 0.95, and again 70 %
# say nothing. What do you change in each?
#
# A good answer: In the first nearly all answers are wrong: easier questions first, larger groups, or a better cold
# start, so that right answers are drawn at all. In the second nearly all are right: harder questions, or stop. In
# both new questions can take the place of silent groups; dividing by the spread would only make rare events loud.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("08_grpo")

# %% [markdown]
# ## You can now
#
# - turn rewards of a group into advantages, also where they say nothing;
# - write GRPO's loss, name its relatives by their weights, and test a published one;
# - say whether training taught a skill or uncovered it, and what must be there before it begins.
#
# **Read on:** *DeepSeekMath* ([arXiv 2402.03300](https://arxiv.org/abs/2402.03300)), section 4; *DeepSeek-R1*
# ([2501.12948](https://arxiv.org/abs/2501.12948)); *Understanding R1-Zero-like training*
# ([2503.20783](https://arxiv.org/abs/2503.20783)), which is Dr. GRPO.
#
# **Next:** lesson 09 learns from pairs of answers directly: no rollouts, no rewards, one loss.

# %% [markdown]
# ## Going further: without hasty teachers
#
# R1-Zero in miniature: the same loop, from the base. It gets nine of ten expressions right. **Guess** where it goes
# in forty steps, and how many groups say something.

# %%
zero, from_base = practise(base, right)
silent = sum(from_base["equal_share"]) / STEPS
print(f"of the groups {silent:.0%} said nothing")
both = {"base": base, "the base by GRPO": zero}
said = exam.replies(zero, tokenizer, [f"What is {p}?" for p in some_held])
missed = [text for p, text in zip(some_held, said, strict=True) if not right(p, text)]
print(*missed[:4], sep="\n")
rows = [(name, *marks(model)) for name, model in both.items()]
Table(("model", "right", "with steps", "proved"), rows)

# %% [markdown]
# A little further, no more: most groups are all right, and say nothing. What is left are mostly wrong lines of the
# tables. Two beginnings, nearly one end.

# %% [markdown]
# ## Going further: the four phases
#
# Recorded at three seeds, from the base: the hasty teachers' cold start; GRPO with rules; its proved answers, with
# other tasks mixed in, taught to the *base*; GRPO on sums by rules and on questions about the town by lesson 06's
# judge. **Guess** in which phase the length of answers changes.

# %%
recorded = runtime.recorded("08_grpo")
plots.phases(recorded)

# %% [markdown]
# Our cold start is what R1's was not: a bad example. It covers the steps of the base within a moment, and rules
# bring them back. Imitating those proofs lifts the base as far as GRPO came. In the last phase, where the town has
# a share in every batch, the sums stand still.

# %% [markdown]
# ## Going further: learn it, or be shown?
#
# R1's authors had two ways to a small reasoner: let it imitate the large one's solutions, or let it practise by
# itself. Recorded, with two of the base's four layers, trained for a moment: both ways, for the same time.
# **Guess** the curves.

# %%
plots.recorded_runs(
    recorded, ("shown", "by itself"),
    "Who is shown, is there sooner", "share right",
)  # fmt: skip

# %% [markdown]
# The student that was shown its teacher's proofs ends where the teacher is, at about nine of ten. The one that
# practised alone hardly moved in this time. R1's authors report the same order. Yet the first could not exist
# without a teacher that had found out by itself. That small models learn from a large one's answers says that the
# *answers* can be learned, not that GRPO works on small models.

# %% [markdown]
# ## Going further: compared with oneself
#
# In GRPO's mean an answer is itself one of G. RLOO (Ahmadian et al. 2024) compares with the *others*. A coin shows
# heads with p = 0.3, and heads pay 1; the slope of the expected reward, by the logit of p, is p(1 − p). **Guess**
# both pushes, averaged over all groups of four, as parts of that slope.

# %%
from itertools import product

from course_lib.grpo.advantages import leave_one_out

p, G = 0.3, 4
mean_pushes = {"the group's mean": 0.0, "the others": 0.0, "divided by spread": 0.0}
for group in product((0.0, 1.0), repeat=G):
    r = torch.tensor([group], dtype=torch.float64)
    chance = (p**r * (1 - p) ** (1 - r)).prod().item()
    slopes = r - p  # of the log-probability of each answer
    pushes = (
        group_advantages(r, scale=False), leave_one_out(r), group_advantages(r),
    )  # fmt: skip
    for name, push in zip(mean_pushes, pushes, strict=True):
        mean_pushes[name] += chance * (push * slopes).mean().item()
for name, push in mean_pushes.items():
    print(f"{name}: {push:.4f}, {push / (p * (1 - p)):.2f} of the true slope")

# %% [markdown]
# Three quarters with G = 4, and (G − 1)/G in general: whoever is in the mean praises himself too little. The factor
# is the same for all questions, so a learning rate makes up for it. Dividing by the spread is another matter: there
# each question has a factor of its own, largest where p is near 0 or 1.

# %% [markdown]
# ## Going further: which way does the price pull?
#
# $k_3$ *estimates* KL(π‖ref). Does its slope pull towards that, too? Three tokens, all probabilities known, so
# averages are exact. **Guess** which slope of the loss agrees with which divergence.

# %%
z = torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
policy = z.log_softmax(dim=0)
ref = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
drawn_with = policy.detach().exp()  # the tokens are drawn, then held fixed
what = {
    "k3 as it stands": (drawn_with * kl_penalty(policy, ref)).sum(),
    "KL(ref‖π)": (ref.exp() * (ref - policy)).sum(),
    "k3 times ratio": (drawn_with * kl_penalty(policy, ref, policy.detach())).sum(),
    "KL(π‖ref)": (policy.exp() * (policy - ref)).sum(),
}
for name, value in what.items():
    (slope,) = torch.autograd.grad(value, z, retain_graph=True)
    slopes = ", ".join(f"{x:+.4f}" for x in slope.tolist())
    print(f"{name}: {value:.4f}, slopes {slopes}")

# %% [markdown]
# As it stands, $k_3$ has the value of one divergence and the slope of the other. Times the ratio, which is 1 and
# has a slope, value and slope belong to the same divergence. TRL does so by default (`use_bias_correction_kl`), our
# `kl_correction`.

# %% [markdown]
# ## Going further: how large a group, how warm?
#
# Recorded, each with 128 answers a step: groups of 4, 8, 16, drawn at three temperatures, and with a price on
# straying. **Guess** which of these choices costs most.

# %%
plots.recorded_runs(
    recorded, ("group 4", "group 8", "group 16", "kl_coef 0.05"),
    "The size of a group hardly matters here", "share right",
)  # fmt: skip

# %%
plots.recorded_runs(
    recorded, ("temperature 0.5", "temperature 1", "temperature 1.5"),
    "Drawn cold, steps are found late", "share right",
)  # fmt: skip

# %% [markdown]
# At equal numbers of answers four in a group do as well as sixteen, and a price of 0.05 changes nothing that one
# could see: with 0/1 rewards and no critic there is little to tune. At temperature 0.5 the same end is reached
# later: what is rarely drawn is found late.
