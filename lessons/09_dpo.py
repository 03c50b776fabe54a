# %% [markdown]
# # Learn from comparisons
#
# Four models in memory, and fresh answers at every step: so much did lesson 07 need to learn from comparisons. You
# will do it with one loss, on the pairs themselves. Then you will see what it can do to a model while loss and
# accuracy look splendid.
#
# **Afterwards you can** derive that loss, train a model with it, and read from two curves what became of good and
# bad answers.
#
# **You need** lesson 06 (pairs, Bradley–Terry) and lesson 07 (reference, the price of straying).
#
# About 140 minutes, in two sittings.

# %%
import copy
import math
import random
from functools import partial

import torch

from course_lib import checks, pretrained, runtime
from course_lib.dpo.sequences import (
    answer_batches,
    collate_answers,
    reference_logprobs,
)
from course_lib.logprobs import token_logprobs
from course_lib.plotting import dpo as plots
from course_lib.plotting.tables import Table
from course_lib.reward.pairs import Preference, encode_preference
from course_lib.world import corpus
from course_lib.world.preferences import fact_questions, variants

runtime.start(seed=0)  # the models are small: the CPU will do

# %% [markdown]
# ## Copy the better answer
#
# Our guide again, the tuned model of lesson 05, and its town. Every fifth fact is put aside: `known` is for
# learning, `unseen` for judging. The simplest comparisons there are: the same sentence with the right fact
# (**chosen**) and with a wrong one (**rejected**).

# %%
guide, tokenizer = pretrained.load("sft")
questions = fact_questions(corpus.asked_about())
facts = [questions[i : i + 5] for i in range(0, len(questions), 5)]
known = [q for i, fact in enumerate(facts) if i % 5 for q in fact]
unseen = [q for fact in facts[::5] for q in fact]
unseen = unseen[: runtime.steps(full=len(unseen), quick=10)]


def written(better, worse, asked):
    told = [(q.text, variants(q, random.Random(i))) for i, q in enumerate(asked)]
    return [Preference(text, says[better], says[worse]) for text, says in told]


some = random.Random(0).sample(known, runtime.steps(full=200, quick=16))
about_facts = written("plain", "wrong", some)
Table(("question", "chosen", "rejected"), [pair[:3] for pair in about_facts[:4]])

# %% [markdown]
# What if the guide imitates the chosen answers, as in lesson 05? **Guess:** how does the log-probability of the
# *rejected* answers move, which it never sees?

# %%
from course_lib.sft.examples import build_example, collate
from course_lib.training import reply_loss, train


def encoded(preferences):
    return [encode_preference(preference, tokenizer) for preference in preferences]


def imitate(pairs, steps, lr):
    rows = [build_example(p.prompt, p.chosen, tokenizer.end) for p in pairs]
    draw, pupil = random.Random(0).choices, copy.deepcopy(guide)

    def batches(step):
        return collate(draw(rows, k=16), tokenizer.pad)

    train(pupil, batches, reply_loss, steps, lr=lr)
    return pupil.eval()


first = encoded(about_facts[:1])[0]
print("chosen:  ", first.chosen)
print("rejected:", first.rejected)


# %%
SHORT = runtime.steps(full=40, quick=1)
ends = {"end": tokenizer.end, "pad": tokenizer.pad}
pairs = encoded(about_facts)
ref_logprobs = reference_logprobs(guide, pairs, **ends)  # (N, 2)
copied = imitate(pairs, SHORT, lr=2e-4)


def gains(model):
    return reference_logprobs(model, pairs, **ends) - ref_logprobs


rose = gains(copied)
runtime.learned(rose[:, 1].mean() > 0.2, "Too few steps to see it")
means = zip(("chosen", "rejected"), ref_logprobs.mean(0), rose.mean(0), strict=True)
rows = [(name, f"{now:.1f}", f"{gain:+.2f}") for name, now, gain in means]
print(f"rejected answers that got likelier: {(rose[:, 1] > 0).float().mean():.0%}")
Table(("answers", "log-probability before", "gained"), rows)

# %% [markdown]
# Both rose. The wrong answers are still rare, but four of five got likelier: their ids begin like those of the
# right ones, and imitation cannot say *not this*. A pair says it. Lesson 06 made a judge of pairs, and lesson 07
# needed PPO to obey the judge. Can a model learn from the pairs themselves?
#
# ## One number for an answer
#
# Everything here is made of one number: the log-probability of an answer, the **sum** over its tokens, the end
# token included. (In all exercises: float64 in, float64 out; inputs are not changed.)

# %% [markdown]
# ### Exercise 1 · How likely is a whole answer?
#
# *7 minutes · difficulty 2 of 3*
#
# - **Write** each answer's log-probability: the sum over its tokens, or, by `average`, their mean.
# - **In:** `logits` (B, T, V), said to `ids` (B, T); `response_mask` (B, T), True = a token of the answer or its
#   end. **Out:** (B,).
# - **Given:** `token_logprobs(logits, ids)`, without any shift; `masked_sum`, `masked_mean` with `dim=`.
# - **Worked value:** four tokens all alike, an answer of two: −2 ln 4; `average=True`: −ln 4.
# - **Pitfall:** row t of the logits scores the token that *follows*; nobody scored the first. Padding may hold nan:
#   do not multiply by the mask, which may have holes. Scores may be 1000. Gradients flow back.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Which logits have no token to score, and which token has no logits? Leave both out, of the mask too.
# </details>
# <details><summary>Hint 2</summary>
# <code>logits[:, :-1]</code> belong to <code>ids[:, 1:]</code>. Then choose between the two reductions.
# </details>

# %% exercise="sequence_logprobs"
from course_lib.dpo.sequences import sequence_logprobs

# %%
ids, mask = collate_answers(pairs[:4], **ends)  # (4, 2, T), chosen first


def answers(model, ids, response_mask):
    return sequence_logprobs(model(ids), ids, response_mask)


with torch.no_grad():
    found = answers(guide, ids.flatten(0, 1), mask.flatten(0, 1)).view(4, 2)
print("yours:\n", found)
print("as measured above:\n", ref_logprobs[:4])

# %% check="sequence_logprobs" points=4
checks.dpo.sequence_logprobs(sequence_logprobs)

# %% [markdown]
# ## By hand: the best policy, turned round
#
# Four answers to one question, with how often the reference says each, and what each is worth. A nat of straying
# costs β = 1. Lesson 07 found the best policy of all: $\pi^* \propto \pi_\text{ref}\, e^{r/\beta}$. On paper:

# %%
four = ("Go away.", "No idea.", "Fish.", "Ada has a fish!")
ref, worth = (0.4, 0.3, 0.2, 0.1), (0.0, 1.0, 2.0, 3.0)
pushed = [p * math.exp(r / 1.0) for p, r in zip(ref, worth, strict=True)]
Z = sum(pushed)  # the partition function: what makes it sum to 1
rows = zip(four, ref, worth, pushed, strict=True)
table = [(a, p, r, f"{w:.3f}", f"{w / Z:.4f}") for a, p, r, w in rows]
print(f"Z = {Z:.3f}")
Table(("answer", "reference", "worth r", "ref · e^(r/β)", "π*"), table)

# %% [markdown]
# ### Exercise 2 · The best policy on a leash
#
# *5 minutes · difficulty 1 of 3*
#
# - **Write** the policy that earns most, if each nat of straying from `ref` costs `beta`.
# - **In:** `ref`, probabilities of all answers, and `rewards`, both (A,), (P, A) or more; `beta` above 0. **Out:**
#   probabilities of the same shape; each row sums to 1.
# - **Worked value:** ref ¾ and ¼, rewards 0 and 1: .5246, .4754 at β = 1; .2888, .7112 at β = ½.
# - **Pitfall:** rewards may be 1000, β 0.01: nothing overflows. What the reference never says (0) stays 0, whatever
#   it would earn. Do not call lesson 07's `leashed_optimum`.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Do not multiply by a large exponential: add logarithms. The log of 0 is minus infinity, and that is welcome here.
# </details>
# <details><summary>Hint 2</summary>
# Which function turns scores into probabilities, whatever their size? Its denominator is Z.
# </details>

# %% exercise="optimal_policy"
from course_lib.dpo.tables import optimal_policy

# %% check="optimal_policy" points=3
checks.dpo.optimal_policy(optimal_policy)

# %% [markdown]
# Now the other way round. Somebody shows us only π* and the reference: how much was each answer worth? Take the
# formula's logarithm: $r = \beta \log \frac{\pi^*}{\pi_\text{ref}} + \beta \log Z$. **Guess:** by how much do worth
# and β log(π*/ref) differ, for each of the four? And is lesson 06's loss of "Ada has a fish!" over "Fish." the same
# by both?

# %%
from course_lib.reward.losses import bradley_terry_loss

ref, worth = torch.tensor(ref).double(), torch.tensor(worth).double()
for beta in (0.1, 0.5, 1.0, 10.0):
    best = optimal_policy(ref, worth, beta)
    print(f"beta {beta:4}:", ", ".join(f"{p:.4f}" for p in best))
best = optimal_policy(ref, worth, 0.5)
implied = 0.5 * (best / ref).log()
rows = zip(four, worth, implied, worth - implied, strict=True)
table = [(a, f"{r:.0f}", f"{i:+.3f}", f"{d:.3f}") for a, r, i, d in rows]
for name, r in {"worth": worth, "implied": implied}.items():
    loss = bradley_terry_loss(r[3:], r[2:3])
    print(f"{four[3]} over {four[2]} by {name}: {loss.item():.4f}")
Table(("answer", "worth", "β log(π*/ref)", "difference"), table)

# %% [markdown]
# A short leash (β = 10) stays with the reference, a long one takes the best answer. And one number, β log Z, for
# all four! So a policy *is* a reward: $\hat r = \beta \log \pi/\pi_\text{ref}$, its **implicit reward**. Z has a
# term for every possible answer; nobody can compute it for a language model. Nobody needs to: in a *difference* of
# rewards it cancels. The loss is the same, so we may skip the judge and train the policy by the judge's loss.

# %% [markdown]
# ## The name: DPO
# The judge's loss is $-\log \sigma(r_c - r_r)$, for the chosen and the rejected answer. Put $r = \beta \log
# \frac{\pi}{\pi_\text{ref}} + \beta \log Z$ in: both answers share a prompt, so $\beta \log Z$ goes, and
# $\beta\Delta$ stays (Rafailov et al. 2023, equation 7):
#
# $$\mathcal{L} = -\log \sigma(\beta \Delta), \qquad \Delta = \log \frac{\pi(y_c)}{\pi_\text{ref}(y_c)} - \log
# \frac{\pi(y_r)}{\pi_\text{ref}(y_r)}$$
#
# | symbol | in code | |
# |---|---|---|
# | $\log \pi(y_c)$, $\log \pi(y_r)$ | `chosen_logprobs`, `rejected_logprobs` | (B,), sums |
# | $\log \pi_\text{ref}(y_c)$ … | `ref_chosen_logprobs`, `ref_rejected_logprobs` | (B,), never change |
# | β | `beta` | in RLHF the price of a nat; here it multiplies the gap |

# %% [markdown]
# ### Exercise 3 · Rank with the policy itself
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** the loss of each pair, in nats, to be minimised.
# - **In:** `chosen_logprobs`, `rejected_logprobs`, `ref_chosen_logprobs`, `ref_rejected_logprobs` (B,), in this
#   order; `beta`; `smoothing`, the share of labels taken to be wrong, as in lesson 06. **Out:** (B,), no mean.
# - **Worked value:** −4, −9 by the policy, −5, −6 by the reference, β = ½: 0.1269; with smoothing 0.2: 0.5269.
# - **Pitfall:** at the reference the loss is ln 2 for any β, and its slope is not 0. A gap of −10,000 gives a
#   finite loss and gradient; the log of a sigmoid does not.

# %% [markdown]
# <details><summary>Hint 1</summary>
# How much has each answer gained on the reference? The chosen one's gain less the rejected one's is the gap.
# </details>
# <details><summary>Hint 2</summary>
# <code>logsigmoid</code> of the lead β·Δ, with weight 1 − s; of minus the lead, with weight s; and the sign.
# </details>

# %% exercise="dpo_loss" keep="check_same("
from course_lib.dpo.losses import dpo_loss

# %%
same, far = torch.zeros(1), torch.tensor([-1e4])
print("at the reference:", dpo_loss(same - 4, same - 9, same - 4, same - 9))
print("gap 2, beta 1:", dpo_loss(same - 3, same - 6, same - 4, same - 5, beta=1.0))
print("gap −10,000:", dpo_loss(far, same, same, same, beta=1.0))

# %% check="dpo_loss" points=5
checks.dpo.dpo_loss(dpo_loss)

# %% [markdown]
# ### Exercise 4 · How often does it agree?
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** the share of pairs in which the chosen answer gained more *on the reference* than the rejected one.
# - **In:** the four rows (B,) of exercise 3. **Out:** a scalar tensor from 0 to 1.
# - **Given:** `log_ratio_gaps(chosen, rejected, ref_chosen, ref_rejected)` (B,), the gap Δ.
# - **Worked value:** gaps 2, −1, 0, 0: (1 + 0 + ½ + ½) / 4 = 0.5.
# - **Pitfall:** a tie is two equal gains and counts one half, so the reference itself has 0.5. Which answer is
#   likelier plays no part.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Which method of a tensor keeps only the sign?
# </details>
# <details><summary>Hint 2</summary>
# <code>.sign()</code> gives −1, 0, 1. Move and halve, then take the mean.
# </details>

# %% exercise="implicit_accuracy"
from course_lib.dpo.losses import implicit_accuracy

# %% check="implicit_accuracy" points=2
checks.dpo.implicit_accuracy(implicit_accuracy)

# %% [markdown]
# ### Exercise 5 · How hard does a pair pull?
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** how hard a pair pushes its chosen answer up and its rejected one down: minus the loss's slope in
#   `chosen_logprobs`, without smoothing.
# - **In:** `chosen_rewards`, `rejected_rewards` (B,), implicit ones: β is in them already; `beta`. **Out:** (B,),
#   from 0 to β.
# - **Worked value:** rewards 0 and 2, β = ½: 0.4404. Equal ones: β / 2.
# - **Pitfall:** the pairs that are ranked wrong pull most. Rewards of ±1000 are no reason for inf or nan.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The slope of −log σ(x) is −σ(−x). And x is β times something.
# </details>
# <details><summary>Hint 2</summary>
# <code>.sigmoid()</code> of a difference of rewards; which one comes first, if a wrong ranking pulls most?
# </details>

# %% exercise="gradient_weights" keep="check_same("
from course_lib.dpo.losses import gradient_weights

# %%
gaps, zero = torch.tensor([-20.0, 0.0, 5.0, 40.0]), torch.zeros(4)
leaf = gaps.clone().requires_grad_()
(slope,) = torch.autograd.grad(dpo_loss(leaf, zero, zero, zero).sum(), leaf)
print("yours:   ", gradient_weights(0.1 * gaps, zero))
print("autograd:", -slope)

# %% check="gradient_weights" points=2
checks.dpo.gradient_weights(gradient_weights)

# %% [markdown]
# Back to the pairs about facts. Same guide, same pairs, same number of steps as the imitation; your loss, and your
# log-probabilities. **Guess** how far the chosen and the rejected answers move, in nats.

# %%
from course_lib.dpo.trainer import train_dpo

yours = {"loss": partial(dpo_loss, beta=0.1), "logprobs_fn": answers}


def learn(pairs, steps, lr=2e-4, **changes):
    pieces = yours | changes
    asked_with = {"logprobs_fn": pieces["logprobs_fn"]}
    before = reference_logprobs(guide, pairs, **ends, **asked_with)
    rows = answer_batches(pairs, 16, **ends, ref_logprobs=before)
    pupil = copy.deepcopy(guide)
    return pupil, train_dpo(pupil, rows, steps, lr=lr, **pieces)


compared, notes = learn(pairs, SHORT)
moved = gains(compared)
runtime.learned(moved[:, 1].mean() < -1, "Too few steps to see it")
agrees = implicit_accuracy(*(moved + ref_logprobs).T, *ref_logprobs.T)
print(f"loss {notes['loss'][0]:.3f} to {notes['loss'][-1]:.3f}; agrees {agrees:.1%}")
rows = {"imitation": rose, "DPO": moved}
rows = [(name, *(f"{g:+.2f}" for g in each.mean(0))) for name, each in rows.items()]
Table(("trained by", "chosen gained", "rejected gained"), rows)

# %% [markdown]
# The gap is four nats wide, without a judge, and nothing was drawn: a comparison has become a step. But look at the
# first column: imitation raised the chosen answers more. The loss asks for a gap, and got one.
#
# ## "Equivalent to RLHF"
#
# One often reads that DPO is *mathematically equivalent* to reward model plus PPO. Where everything can be computed
# we can look. The four answers; every pair compared; DPO to the end. Once the label of a pair varies as Bradley and
# Terry say (the better one wins with σ(r − r')). Once each pair has *one* label, as in real data sets. **Guess**
# where each goes, for β = ½ and 1.

# %%
from course_lib.dpo.tables import bradley_terry_table, learn_table, one_way_table

EXACT = runtime.steps(full=1200, quick=50)
labels = {"varying": bradley_terry_table(worth), "one way": one_way_table(worth)}
rows = []
for beta in (0.5, 1.0):
    leash = optimal_policy(ref, worth, beta)
    rows.append((beta, "RLHF's optimum", *(f"{p:.4f}" for p in leash)))
    for name, wins_table in labels.items():
        loss = partial(dpo_loss, beta=beta)
        end = learn_table(ref.log(), wins_table, EXACT, 4 / beta**2, loss)[-1]
        rows.append((beta, f"DPO, labels {name}", *(f"{p:.4f}" for p in end)))
        if name == "varying":
            runtime.learned(torch.allclose(end, leash, atol=1e-4), "It should agree")
Table(("β", "", *four), rows)

# %% [markdown]
# With labels that vary it is RLHF's optimum, to four digits. With labels that never vary the best answer takes
# everything, at both β: a pair that is always won is won best by an infinite gap. So equivalence needs
# Bradley–Terry labels; and, in theory, every pair and endless data. (A judge fitted to such labels would grow
# without end too; but one stops it early, and its rewards stay finite.)
#
# Azar et al. 2023 give the gap a goal instead, and call it **IPO**:
#
# $$\mathcal{L} = \Bigl(\Delta - \frac{1}{2\beta}\Bigr)^2$$
#
# **Guess** how likely it makes the best of the four on one-way labels.

# %% [markdown]
# ### Exercise 6 · Stop at a gap
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** IPO's loss of each pair.
# - **In:** the four rows (B,), `beta` above 0. **Out:** (B,). **Given:** `log_ratio_gaps`.
# - **Worked value:** gap 4, β = ½: (4 − 1)² = 9. A gap of 1 / (2β): 0.
# - **Pitfall:** `1 / 2 * beta` is not 1 / (2β). The gap is not multiplied by β. Too wide a gap costs as much as too
#   narrow a one.

# %% [markdown]
# <details><summary>Hint 1</summary>
# How far is the gap from its goal?
# </details>
# <details><summary>Hint 2</summary>
# Brackets around 2β; a square at the end; no mean.
# </details>

# %% exercise="ipo_loss"
from course_lib.dpo.losses import ipo_loss

# %% check="ipo_loss" points=3
checks.dpo.ipo_loss(ipo_loss)

# %%
rates = {"DPO": (dpo_loss, 16.0), "IPO": (ipo_loss, 0.2)}
paths = {
    name: learn_table(ref.log(), labels["one way"], EXACT, lr, partial(fn, beta=0.5))
    for name, (fn, lr) in rates.items()
}
plots.paths(paths, optimal_policy(ref, worth, 0.5), four)

# %% [markdown]
# IPO comes to rest, and the best answer is not even the likeliest: it was told who won, never by how much, and
# every pair has the same goal. That is not RLHF's optimum (dashed) either. Both losses are functions of the gap
# alone; here they are, with a third, the hinge max(0, 1 − βΔ), which is content once βΔ is 1. (The two runs have
# rates of their own: compare ends, not speeds.)

# %%
from course_lib.dpo.losses import hinge_loss
from course_lib.widgets import controls

three = {"DPO": dpo_loss, "IPO": ipo_loss, "hinge": hinge_loss}
controls.explore(
    partial(plots.by_gap, three),
    beta=controls.slider(0.1, 0.05, 0.5, 0.05, "beta"),
    gap=controls.slider(12, -20, 40, 1, "gap in nats"),
)

# %% [markdown]
# Move the gap. DPO never stops pulling, it only pulls less. IPO pulls back beyond its goal. β sets the scale: IPO's
# goal, the hinge's edge, and where DPO's pull fades. And none of the three says a word about where the two answers
# *are*: only their gap counts. Keep that in mind.
#
# ## Bug clinic: helpers from the web
#
# Two helpers for the log-probability of an answer, with faults that circulate in published training code, written
# anew. **Find** them, and **guess** what training with each does.


# %%
def first_helper(logits, ids, response_mask):
    return (token_logprobs(logits, ids) * response_mask).sum(dim=1)


def second_helper(logits, ids, response_mask):
    said = token_logprobs(logits[:, :-1], ids[:, 1:])
    return (said * response_mask[:, :-1]).mean(dim=1)


helpers = {"first": first_helper, "second": second_helper}
helpers["yours"] = sequence_logprobs
rows = []
for name, helper in helpers.items():

    def so(model, ids, response_mask, helper=helper):
        return helper(model(ids), ids, response_mask)

    pupil, seen = learn(pairs, SHORT, logprobs_fn=so)
    true = (f"{gain:+.2f}" for gain in gains(pupil).mean(dim=0))
    rows.append((name, f"{seen['loss'][-1]:.2f}", *true))
Table(("helper", "its loss", "chosen gained, in truth", "rejected gained"), rows)

# %% [markdown]
# Nothing complains. The first has the lowest loss of all, and hardly moved the truth. The second did nearly as well
# as yours: Adam forgives a wrong scale, so such faults live for years. But its β means something else, and the end
# token is lost. What must be true of a helper?
#
# 1. The scores at a position belong to the token that *follows*.
# 2. Tokens of the prompt and of the padding do not count.
# 3. The end token, where the mask is True, does.
# 4. It is the sum, not a mean.
# 5. A number added to all scores of a position changes nothing.
# 6. Rows do not touch each other.

# %% [markdown]
# ### Exercise 7 · Write the test that exposes a published helper
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the six claims.
# - **In:** `logprobs_fn(logits, ids, response_mask)`: (B, T, V), (B, T), booleans (B, T); it returns sums (B,).
#   **Out:** nothing.
# - **Worked value:** `sequence_logprobs` must get through, both helpers above must not.
# - **Pitfall:** each fault is invisible somewhere: with logits all alike, in a single row, in answers of one token.
#   Take several rows with prompts, answers and padding of different lengths. The mask's first column is False, each
#   row has a True, logits are finite. Compare with room: 1e-4.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Draw logits from a generator, write a mask by hand, and compute each row in a slow double loop: what should come out?
# </details>
# <details><summary>Hint 2</summary>
# One comparison with the loop covers most claims. Then add a number to all scores of one position, and change one row only.
# </details>


# %% test="answer_logprobs"
def test_answer_logprobs(logprobs_fn):
    """Fails with an AssertionError unless `logprobs_fn` sums up the answers."""
    ### BEGIN SOLUTION
    luck = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(3, 7, 5, generator=luck)
    ids = torch.randint(5, (3, 7), generator=luck)
    spans = ((2, 4), (1, 6), (3, 7))  # where each answer begins and is over
    mask = torch.tensor([[a <= t < b for t in range(7)] for a, b in spans])
    slow = []
    for row, (a, b) in enumerate(spans):
        chances = logits[row].double().softmax(dim=-1)
        logs = [chances[t - 1, ids[row, t]].log().item() for t in range(a, b)]
        slow.append(sum(logs))

    def expect(got, words):
        assert got.shape == (3,), "one number per answer"
        close = torch.allclose(got.double(), torch.tensor(slow).double(), atol=1e-4)
        assert close, words

    expect(logprobs_fn(logits, ids, mask), "that is not the sum over the answer")
    raised = logits + torch.arange(7.0).unsqueeze(-1)
    expect(logprobs_fn(raised, ids, mask), "scores are no log-probabilities")
    for row in range(3):
        alone = logprobs_fn(logits[[row]], ids[[row]], mask[[row]])
        assert abs(alone.item() - slow[row]) < 1e-4, "rows touch each other"
    ### END SOLUTION


# %%
for name, helper in helpers.items():
    try:
        test_answer_logprobs(helper)
        print(f"{name}: passed")
    except AssertionError as objection:
        print(f"{name}: exposed, {objection}")

# %% check="test_answer_logprobs" points=3
checks.dpo.test_answer_logprobs(test_answer_logprobs)

# %% [markdown]
# The first scores each token by the row that has read it already: its low loss is a copying exercise. The second
# loses the end token, takes one of the prompt, and divides by the batch's width. (Means over the answer's own
# tokens are another matter: SimPO and ORPO want them.) Here the first sitting may end.

# %% [markdown]
# ## The whole loop
#
# Now the guide writes its own pairs: eight answers to a question, and by the town's exact rules the best against
# the worst. DPO for forty steps; then new pairs of what it says *now*, against the same reference. β is 0.3.
# **Guess** the true score over six rounds. And do the chosen answers get likelier?

# %%
from course_lib.dpo.drawing import draw_best_against_worst
from course_lib.dpo.outcomes import outcome, wins

ROUNDS, ASKED = (runtime.steps(full=n, quick=q) for n, q in ((6, 1), (240, 6)))
judged = unseen * runtime.steps(full=2, quick=1)
drawn, scores = [], []


def judge(model, seed=9):
    return outcome(model, guide, tokenizer, judged, seed=seed)


def draw_pairs(model, number):
    scores.append(judge(model).scores.mean().item())
    asked = random.Random(f"round {number}").sample(known, ASKED)
    drawn.append(draw_best_against_worst(model, tokenizer, asked, 8, seed=number))
    return drawn[-1]


print(f"{ROUNDS} rounds of {ASKED} questions, judged on {len(judged)} answers")

# %%
from course_lib.dpo.trainer import train_in_rounds

tuned = copy.deepcopy(guide)
shorter = yours | {"loss": partial(dpo_loss, beta=0.3)}
histories = train_in_rounds(
    tuned, guide, draw_pairs, ROUNDS, SHORT, batch=16, **ends, lr=1.5e-4, **shorter
)
scores.append(judge(tuned).scores.mean().item())
print("pairs in each round:", [len(pairs_then) for pairs_then in drawn])
recorded = runtime.recorded("09_dpo")
plots.rounds(histories, scores, recorded)

# %% [markdown]
# In every round the rejected answers fall by nats; the chosen ones rise a little, and stay. At each dotted line the
# pairs are new, and what the model now does worst may be likelier than it was for the guide: so rejected ones can
# start above 0. The better it gets, the fewer questions have a best and a worst. (Faint: recorded, other seeds.)
#
# Beside it a cheap rival: the guide, having *imitated* the winners of the first round. **Guess** its place.
# (*Garbled*: besides stock phrases the answer is not exactly one sentence about a fact, which the rules overlook.)

# %%
from course_lib.world.chat import says

winners = imitate(drawn[0], SHORT, lr=1e-3)
judgements = {}


def exam(models):
    rows = []
    for name, model in models.items():
        found = judgements[name] = judge(model, seed=21)
        texts = zip(found.replies, judged, strict=True)
        right = sum(says(t, q.kind, q.value) for t, q in texts) / len(judged)
        shares = right, found.polite, found.rude, found.garbled
        percent = (f"{share:.0%}" for share in shares)
        score, kl = f"{found.scores.mean():.2f}", f"{found.kl:.1f}"
        rows.append((name, score, *percent, kl))
    heads = ("model", "true score", "right", "polite", "rude", "garbled", "KL")
    return Table(heads, rows)


exam({"the guide": guide, "imitates the winners": winners, "by DPO": tuned})

# %%
picks = torch.Generator().manual_seed(0)
facts_here = len(judged) // 5
picks = torch.randint(facts_here, (1000, facts_here), generator=picks)
one = judgements["by DPO"].scores
for name in ("the guide", "imitates the winners"):
    other = judgements[name].scores
    won = wins(one.unsqueeze(1), other.unsqueeze(1))  # a share for each answer
    by_fact = won.view(-1, 5).mean(dim=1)
    low, high = by_fact[picks].mean(dim=1).quantile(torch.tensor([0.025, 0.975]))
    print(f"DPO against {name}: wins {won.mean():.0%} ({low:.0%} to {high:.0%}),")
    print(f"    true score {(one - other).mean() / other.std():+.2f} of its spreads")
    runtime.learned(won.mean() > (0.75 if name == "the guide" else 0.4), "Too few wins")

# %%
replies = (judgements[name].replies for name in ("the guide", "by DPO"))
changed = [(q.text, a, b) for q, a, b in zip(judged, *replies, strict=True) if a != b]
Table(("asked", "before", "after"), changed[:40:10])

# %% [markdown]
# No judge in memory, no critic, and answers are drawn between the rounds only. But look at the rival: choosing the
# best of eight did nearly all of the work, as in lessons 06 and 08, with a sixth of the drawn answers. Imitation of
# *winners* is strong. Where pairs are given it can at best copy the better of two; and where both are nearly the
# same words, as at the start, it lifts the other with it.

# %% [markdown]
# ## Break it: only the gap counts
#
# A colleague is in a hurry: the pairs about facts once more, β = 0.1, five times the rate, sixty steps. Loss and
# accuracy look splendid. **Guess** where the *chosen* answers go, and what the model says.

# %%
hurried, hurry = learn(pairs, runtime.steps(full=60, quick=2), lr=1e-3)
lost = gains(hurried).mean(dim=0)
runtime.learned(lost[0] < -1, "Too few steps to see it")
print(f"loss {hurry['loss'][-1]:.2f}, accuracy {hurry['accuracy'][-1]:.0%}")
said = outcome(hurried, guide, tokenizer, unseen[::60], seed=5).replies
print(*said, sep="\n")
plots.gains(hurry)

# %% [markdown]
# Where did the chosen answers lose? Each has three parts: what both answers begin with; the fact with its full
# stop, where they part; and the end token. **Guess** which part lost most.

# %%
ids, mask = collate_answers(pairs, **ends)  # (N, 2, T)
chosen, kept = ids[:, 0], mask[:, 0]
alike = (ids[:, 0] == ids[:, 1]).cumprod(dim=1).bool()  # before they part
last = kept & (chosen == tokenizer.end)
parts = {
    "the beginning": kept & alike,
    "the fact": kept & ~alike & ~last,
    "the end": last,
}


def by_token(model):
    with torch.no_grad():
        return token_logprobs(model(chosen)[:, :-1], chosen[:, 1:])  # (N, T-1)


moved = by_token(hurried) - by_token(guide)
for name, part in parts.items():
    print(f"{name}: {(moved * part[:, 1:]).sum(dim=1).mean():+.2f} nats")

# %% [markdown]
# At the beginning both answers are the same text, so the push up and the push down cancel. The end token stands in
# both answers too, but *behind* the difference: there they do not cancel, and it lost most. What is said in its
# place? **Guess** before you look.

# %%
from course_lib.dpo.outcomes import probability_gains

risen_by = probability_gains(hurried, guide, chosen, last)
plots.who_gained(risen_by, tokenizer)

# %% [markdown]
# So it rambles: the mass went to answers that nobody compared. This is **displacement**: the gap opens while the
# chosen answer falls. "Stable and simple, like classification", one reads, and loss and accuracy do look like it.
# Two curves tell, and the loss is not one of them.

# %% [markdown]
# ### Exercise 8 · Say what became of the two answers
#
# *5 minutes · difficulty 1 of 3*
#
# - **Write** one of four texts: "nothing learned" (the gap has not opened), "backwards" (the rejected one gained on
#   the chosen), "displacement" (the gap opened, and yet the chosen one fell), "as meant" (it opened, and the chosen
#   one did not fall).
# - **In:** `chosen_gain`, `rejected_gain`, in nats; `tolerance`: as much, up or down, is nothing. **Out:** the
#   text. **Given:** the gap, a guard against nan.
# - **Worked value:** 1 and −4: as meant. −6 and −30: displacement. −3 and −1: backwards.
# - **Pitfall:** the gap comes first. Both may rise. Exactly the tolerance counts as nothing.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Three questions, in this order: is there a gap at all? Has it the right sign? Has the chosen one fallen?
# </details>
# <details><summary>Hint 2</summary>
# <code>abs(gap) &lt;= tolerance</code> comes first. The other two ask for a sign, with or without the tolerance.
# </details>

# %% exercise="diagnose" keep="gap = | if not"
from course_lib.dpo.outcomes import diagnose

# %% check="diagnose" points=2
checks.dpo.diagnose(diagnose)

# %% [markdown]
# Your word for each run so far, from its last ten steps. And for recorded ones: a hundred and twenty steps on *one*
# set of the guide's own pairs, β = 0.1, no new rounds; and for the hurried run with four remedies. **Guess** how
# long the first goes well, and which remedy helps.

# %%
recorded_runs = zip(
    recorded["one batch: chosen_gain"],
    recorded["one batch: rejected_gain"],
    strict=True,
)
runs = {f"round {i}": notes for i, notes in enumerate(histories, start=1)}
runs["in a hurry"] = hurry
sixty = runtime.steps(full=60, quick=1)
runs["a fifth of the rate"] = learn(pairs, sixty)[1]
for name, change in {
    "β = 1": {"loss": partial(dpo_loss, beta=1.0)},
    "IPO, β = 0.1": {"loss": partial(ipo_loss, beta=0.1)},
    "learns the chosen, too": {"sft_weight": 1.0},
}.items():
    runs[name] = learn(pairs, sixty, lr=1e-3, **change)[1]
for seed, (chosen, rejected) in enumerate(recorded_runs, start=1):
    recorded_run = {"chosen_gain": chosen, "rejected_gain": rejected}
    runs[f"one set, recorded, seed {seed}"] = recorded_run
rows = []
for name, notes in runs.items():
    ends_at = [sum(notes[n][-10:]) / 10 for n in ("chosen_gain", "rejected_gain")]
    rows.append((name, *(f"{end:+.1f}" for end in ends_at), diagnose(*ends_at)))
print(Table(("run", "chosen gained", "rejected gained", "verdict"), rows))
plots.one_batch(recorded)

# %% [markdown]
# The recorded runs stood best after thirty steps. Once a pair is won, all further pull goes into winning it by
# more. A lower rate, a higher β, a goal for the gap, or a term that learns the chosen answers (`sft_weight`): each
# remedy kept them up, and the rounds did. Only the term made them much likelier.
#
# ## Without a reference
#
# **ORPO** (Hong et al. 2024) needs no reference: it learns the chosen answer as fine-tuning does, and adds a push
# on the *odds*, p / (1 − p), of chosen against rejected. Its p is the exponential of the *mean* log-probability.
#
# $$\mathcal{L} = -\log p_c - \lambda \log \sigma\Bigl(\log \frac{p_c}{1 - p_c} - \log \frac{p_r}{1 - p_r}\Bigr)$$

# %% [markdown]
# ### Exercise 9 · Prefer without a reference
#
# *7 minutes · difficulty 2 of 3*
#
# - **Write** ORPO's loss of each pair.
# - **In:** `chosen_logprobs`, `rejected_logprobs` (B,), *means* over an answer's tokens, already taken; `weight`,
#   λ. **Out:** (B,).
# - **Given:** `log_odds(logprobs)`, exact for p near 0 and near 1; `logsigmoid`.
# - **Worked value:** p = ½ and ⅕: 0.9163 with λ = 1, 0.7155 with λ = 0.1.
# - **Pitfall:** the first term learns the *chosen* answer, and has no λ. A difference of log-probabilities is not
#   one of log-odds.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Two terms. The first is the loss of fine-tuning: minus a log-probability.
# </details>
# <details><summary>Hint 2</summary>
# The lead is the difference of the two log-odds; λ times its log-sigmoid is subtracted.
# </details>

# %% exercise="orpo_loss" keep="check_same("
from course_lib.dpo.relatives import orpo_loss

# %% check="orpo_loss" points=4
checks.dpo.orpo_loss(orpo_loss)

# %% [markdown]
# Six relatives of one loss:
#
# | | compares | needs | why |
# |---|---|---|---|
# | DPO | sums, with a reference | pairs | the judge's loss, without a judge |
# | IPO | the same | pairs | a gap to reach, for labels that never vary |
# | hinge | the same | pairs | content once the lead is 1 |
# | KTO | each answer with its reference | thumbs up *or* down, no pairs | such data are cheap |
# | SimPO | means, no reference | pairs | length counts for nothing |
# | ORPO | means, no reference | pairs | tuning and preferring in one |

# %% [markdown]
# ## All methods in one picture
#
# Everything since lesson 05 on one task, by the same rules on the same unseen questions, recorded: best of n,
# imitation of its winners, PPO, GRPO, DPO, at several settings. To the right: nats from the guide. **Draw** your
# guess.

# %%
plots.frontier(recorded)

# %% [markdown]
# Best of n gets most for a nat, and pays later: n answers and a judge, each time it speaks. The highest DPO point
# is the lesson's loop; the others are one set of pairs at four values of β, three of them the lowest of all. What
# did each method cost? **Guess** who drew most answers.

# %%
from course_lib.grpo.memory import held_bytes, models_in_memory

rows = []
for method in ("PPO", "GRPO", "DPO"):  # DPO asks its reference beforehand
    held = models_in_memory(method.lower(), reference=method != "DPO")
    size = sum(held_bytes(held, 7e9).values()) / 1e9
    spent = [recorded[f"cost {method}: {what}"] for what in ("seconds", "samples")]
    means = (sum(map(sum, seeds)) / len(seeds) for seeds in spent)
    cost = (f"{mean:,.0f}" for mean in means)
    rows.append((method, ", ".join(held), f"{size:.0f}", *cost))
heads = ("method", "in memory, training", "GB at 7 billion", "seconds here", "drawn")
Table(heads, rows)

# %% [markdown]
# (Exact rules stood in for the judge, for all alike.) No league table: our DPO drew almost ten times as many
# answers as PPO and GRPO, and was the slowest. What it saves is memory and machinery; and pairs that exist already
# need no drawing.
#
# One reads that PPO, DPO, GRPO and ORPO are "reinforcement learning" that "needs reward models at inference" and
# "human labels". Once trained, each answers with its policy alone; only best of n needs a judge then. DPO and ORPO
# reward nothing, and GRPO with a checking program needs no label.

# %% [markdown]
# ## Outside
#
# | here | TRL |
# |---|---|
# | `beta`, `smoothing` | `DPOConfig(beta=…, label_smoothing=…)` |
# | `dpo_loss`, `ipo_loss`, `hinge_loss` | `loss_type="sigmoid"`, `"ipo"` (on means), `"hinge"` |
# | `sft_weight` | `loss_type=["sigmoid", "sft"]`, `loss_weights` |
# | `reference_logprobs` before training | `precompute_ref_log_probs=True` |
# | `chosen_gain` times β | `rewards/chosen` |
# | `kto_loss`, `orpo_loss`, `simpo_loss` | `KTOTrainer`, `ORPOTrainer`, `CPOTrainer(loss_type="simpo")` |
#
# The library's tests hold all of them against TRL's. Production adds chats of several turns, and many GPUs.
#
# ## Reflect

# %% [markdown] reflect="equivalent" points=1
# **1.** A report says: "DPO is mathematically equivalent to RLHF, so we chose the cheaper one." On which conditions
# is that true, and which of them do your data break?
#
# A good answer: Labels must vary as Bradley and Terry say, every pair of answers must be compared, data must have
# no end. Real sets label each pair once, so the best gap is infinite, and only stopping or IPO's goal holds it. And
# they compare few answers: about all others the loss says nothing, while RLHF draws them and asks its judge.

# %% [markdown] reflect="read_two_curves" points=1
# **2.** In a run the loss falls smoothly and accuracy is 99 %, but the log-probability of the chosen answers has
# fallen by 20 nats. Is that bad? What do you look at, and what would you change?
#
# A good answer: Only the gap is trained; if both fall, the mass goes to answers nobody compared. Look at samples,
# judged quality, KL and length. Change: fewer steps, a lower rate or a higher β, new pairs of what the model says
# now, a term that learns the chosen answer (sft_weight, ORPO).

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("09_dpo")

# %% [markdown]
# ## You can now
#
# - derive DPO's loss from the best policy on a leash, and say when the two part;
# - train a model on comparisons with your own functions, in rounds of its own answers;
# - see displacement in two curves, name its relatives, and say what each method costs.
#
# **Read on:** *Direct preference optimization* ([arXiv 2305.18290](https://arxiv.org/abs/2305.18290)), sections 4
# and 5; *A general theoretical paradigm* ([2310.12036](https://arxiv.org/abs/2310.12036)), which is IPO;
# *Unintentional unalignment* ([2410.08847](https://arxiv.org/abs/2410.08847)) on displacement. The relatives: ORPO
# ([2403.07691](https://arxiv.org/abs/2403.07691)), KTO ([2402.01306](https://arxiv.org/abs/2402.01306)), SimPO
# ([2405.14734](https://arxiv.org/abs/2405.14734)).
#
# **Next:** lesson 10 gives the guide documents to read, for what no weights can know.

# %% [markdown]
# ## Going further: on a real model
#
# SmolLM2, 135 million numbers, and eight questions with a kind and an unkind answer. Four are for learning, in its
# last two blocks only. The reference is asked once, beforehand; then no second model is needed. **Guess** how far
# four steps take the gap on the *other* four questions, and whether it greets differently.

# %%
from course_lib.pretrained.smollm2 import END, answer, encode_chat
from course_lib.reward.pairs import PairIds

big, spoken = pretrained.smollm2()
end = spoken.specials[END]
told = {
    "What do bees make?": "Bees make honey.", "Who wrote Hamlet?": "Shakespeare.",
    "How many legs has a spider?": "Eight legs.", "Is snow cold?": "It is cold.",
    "What is the capital of France?": "It is Paris.", "Do fish swim?": "They do.",
    "What do cows drink?": "Cows drink water.", "What colour is grass?": "Green.",
}  # fmt: skip


def kind_or_not(question, fact):
    prompt = [{"role": "user", "content": question}]
    both = (f"{fact} I hope that helps!", f"{fact} Now leave me alone.")
    ids = map(spoken.encode, both)
    return PairIds(encode_chat(spoken, prompt, reply_next=True), *ids)


manners = [kind_or_not(*pair) for pair in told.items()]
before = reference_logprobs(big, manners, end, end, logprobs_fn=answers)
print("kind, unkind:", *(f"{a:.0f}, {b:.0f};" for a, b in before))

# %%
cow = list(told)[6]
replies = [answer(big, spoken, cow, new_tokens=16)]
big.requires_grad_(False)
big.blocks[-2:].requires_grad_(True)
rows = answer_batches(manners[:4], 4, end, end, before[:4])
few = runtime.steps(full=4, quick=1)
train_dpo(big, rows, few, lr=3e-4, **yours)
after = reference_logprobs(big, manners[4:], end, end, logprobs_fn=answers)
kind, unkind = (after - before[4:]).mean(dim=0)
print(f"on the other four: kind {kind:+.1f} nats, unkind {unkind:+.1f}")
runtime.learned(kind - unkind > 3, "Manners should spread to other questions")
replies.append(answer(big, spoken, cow, new_tokens=16))
print(*replies, sep="\n")

# %% [markdown]
# Four steps, and the gap is nats wide on questions it never compared. What it *says* changed, but not in manners:
# neither answer of a pair is one that it would give. Such pairs are **off policy**, and a gap between two unlikely
# answers is cheap. That is why our loop let the guide write its own.

# %% [markdown]
# ## Going further: the pairs decide
#
# Same loss, same steps, other pairs: about facts, about manners (the same fact, polite against plain), and both.
# **Guess** how right and how polite the guide is afterwards, on facts that stand in no pair.

# %%
about_manners = encoded(written("polite", "plain", some))
sets = {"facts": pairs, "manners": about_manners, "both": pairs + about_manners}
taught = {f"pairs about {name}": learn(of, SHORT)[0] for name, of in sets.items()}
table = exam(taught)
polite = [judgements[name].polite for name in taught]
runtime.learned(polite[1] > polite[0] + 0.2, "Too few steps to see it")
table

# %% [markdown]
# Pairs about manners make it polite, and no less rude: nobody compared with a rude answer. Pairs about facts do not
# help with other facts, they cost a few (lesson 06's judge had the same trouble). At a gentle rate DPO learns what
# the two answers of a pair differ in. **The pairs are the reward.**

# %% [markdown]
# ## Going further: other prices, other losses
#
# Recorded, three seeds, means at the end: *one* set of the guide's own pairs, sixty steps in which the rate falls
# to nothing (it fell later in the long runs above), and four values of β. **Guess** which strays farthest, and
# which garbles.


# %%
def ended(names, whats=("score", "garbled", "kl")):
    rows = []
    for name in names:
        ends = [[seed[-1] for seed in recorded[f"{name}: {w}"]] for w in whats]
        rows.append((name, *(f"{sum(each) / len(each):.2f}" for each in ends)))
    return Table(("at the end", *whats), rows)


ended([f"beta {beta:g}" for beta in (0.03, 0.1, 0.3, 1)])

# %% [markdown]
# The highest β strays least, garbles least and earns most here; below 0.3 nothing changes that one could see. Most
# harm comes after the pairs are won.
#
# And the relatives on the same pairs. *DPO* had two rounds of the lesson's loop; *with polite pairs*: written ones,
# polite against plain, are mixed in. **Guess** who is best, and who garbles.

# %%
kin = ("DPO", "DPO without rounds", "DPO with polite pairs", "IPO", "hinge", "KTO")
kin += ("SimPO", "ORPO", "imitation")
ended(kin, ("score", "win", "garbled", "kl"))

# %% [markdown]
# On one set of pairs plain DPO comes last and garbles most. Losses that lift the chosen answers (ORPO, imitation)
# or set the gap a goal (IPO) keep clear of that. New pairs help plain DPO as much, here with two rounds; all six of
# the lesson's loop brought it further. On one set of pairs the loss matters a lot; looking early matters as much.
