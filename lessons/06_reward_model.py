# %% [markdown]
# # Learn what people prefer
#
# Our guide answers politely, rudely, rightly and wrongly, and nothing makes it choose between them. You will teach
# a second model to tell: from comparisons, which people can make. Then you will see what goes wrong when one obeys
# it.
#
# **Afterwards you can** turn rankings into a reward model, say how good it could be at best, and find out what it
# really likes before somebody optimises it.
#
# **You need** lesson 05: chats as examples, masks, tuning.
#
# About 180 minutes, in two sittings. The first builds and trains the judge; the second takes it apart.

# %%
import copy
import math
import random
from functools import partial

import torch

from course_lib import checks, pretrained, runtime
from course_lib.batches import epoch_of, seeded
from course_lib.masks import masked_sum
from course_lib.plotting import reward_model as plots
from course_lib.plotting.tables import Table
from course_lib.reward.annotator import preference_probability, relabel
from course_lib.reward.best_of_n import best_of_n_curve, best_of_n_kl_bound
from course_lib.reward.pairs import PairIds, read_ranking
from course_lib.widgets import controls, ranking
from course_lib.world import corpus
from course_lib.world.preferences import fact_questions, score_of

runtime.start(seed=0)  # the models are small: the CPU will do


# %% [markdown]
# ## One question, eight answers
#
# We ask a guide like lesson 05's, the course's **SFT** model, one question eight times at temperature 1. Beside
# each answer: what it cost the model, in nats. **Guess:** is the cheapest the best?

# %%
from course_lib.reward.annotator import sample_replies
from course_lib.training import next_token_loss

guide, tokenizer = pretrained.load("sft")


def cost(question, reply):
    ids, counts = corpus.marked(corpus.turn(question, reply), tokenizer)
    with torch.no_grad():
        row = torch.tensor([ids]), torch.tensor([counts])
        losses, kept = next_token_loss(guide, *row)
    return masked_sum(losses, kept).item()


questions = fact_questions(corpus.asked_about())
olga = questions[351]
eight = sample_replies(guide, tokenizer, [olga], samples=8, seed=1)[0]
rows = sorted((cost(olga.text, text), eight.count(text), text) for text in {*eight})
print(olga.text)
Table(("nats", "times", "answer"), [(f"{nats:.1f}", *rest) for nats, *rest in rows])

# %% [markdown]
# One is polite, one rude, one lost its way. The cheapest is one word. That the polite one costs less than the rude
# one says only how often people spoke so: nats tell what is *usual*, not what is good. The guide imitates all of
# it.
#
# Supervised tuning is an **answer key**: one answer to each question, to be copied, handwriting included. What is
# missing is somebody who **grades**: who tells of any two answers which is the better one, also of answers that
# stand in no key. We build that judge here. In lesson 07 the guide learns from its grades.

# %% [markdown]
# ## By hand: a ranking and its pairs
#
# People find it hard to give points: is this a 6 or a 7? They find it easy to compare. So they get a few answers
# and put them in order. Three answers, one ranking: B best, A and C equally good. Which comparisons has it decided?

# %%
judged = read_ranking("B > A = C", names="ABC")
judged

# %% [markdown]
# B beats A, and B beats C. About A and C it says nothing.
#
# ### Exercise 1 · Take a ranking apart
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** every comparison that a ranking decides.
# - **In:** `ranking`, a list of groups of names, the best group first; those of one group are equal. **Out:** a
#   list of pairs `(better, worse)`, each once.
# - **Worked value:** `[["B"], ["A", "C"]]`: (B, A) and (B, C).
# - **Pitfall:** the first also beats the third. Equals make no pair. Names are any strings (blanks count, and one
#   may be empty), in any order.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Which two groups are compared? Any one with each that stands <i>later</i>, not only with the next.
# </details>
# <details><summary>Hint 2</summary>
# <code>itertools.combinations(ranking, 2)</code> gives every two groups in their order. Then each name of the one with each of the other.
# </details>

# %% exercise="pairs_from_ranking" keep="check_ranking"
from course_lib.reward.pairs import pairs_from_ranking

# %%
for text in ("B > A = C", "C > A > B", "D > A = C > B"):
    print(text, pairs_from_ranking(read_ranking(text, "ABCD")))

# %% check="pairs_from_ranking" points=3
checks.reward_model.pairs_from_ranking(pairs_from_ranking)

# %% [markdown]
# K answers without equals give K(K − 1)/2 pairs: four answers read, six labels.
#
# ### Label it yourself
#
# Six questions, three answers each of our guide. Give each answer a place, 1 for the best; equal places are
# allowed. (With keys: a space opens a list.) Beside you sits a simulated **annotator** with a taste of its own, and
# not a steady one. You see its ranking after yours. Where you rank nothing, its ranking stands in.

# %%
luck = torch.Generator().manual_seed(2)
some = random.Random(4).sample(questions, 40)
cases = []
for question, said in zip(
    some, sample_replies(guide, tokenizer, some, 6, seed=5), strict=True
):
    different = [*dict.fromkeys(said)][:3]
    scores = [score_of(question, text) for text in different]
    if len({*scores}) == 3:
        cases.append(ranking.case(question.text, different, scores, generator=luck))
labels = ranking.rank_answers(cases[:6], pairs=pairs_from_ranking)

# %% [markdown]
# The annotator's taste: the truth is worth most, good manners half of that; rudeness and rambling cost. Your labels
# are kept, and later we train on them.
#
# ## From comparisons to points
#
# Say A was preferred to B in three of four comparisons, and B to C in three of four. Bradley and Terry (1952) give
# each a strength and let the *gap* decide: A beats B with probability $\sigma(r_A - r_B)$. A gap of ln 3 gives 3/4.
# **Guess** how often A beats C, and what becomes of all this if we add 100 to each strength.

# %%
strengths = {"A": 2 * torch.tensor(3.0).log(), "B": torch.tensor(3.0).log(), "C": 0.0}
for moved in (0, 100):
    r = {name: moved + value for name, value in strengths.items()}
    for one, two in ("AB", "BC", "AC"):
        beats = torch.sigmoid(torch.as_tensor(r[one] - r[two]))
        print(f"+{moved}: {one} beats {two} with {beats:.2f}")

# %% [markdown]
# Nine in ten, and adding 100 changes nothing. You may read that a reward model "learns to predict the scores" of
# people. There are no scores: it saw comparisons, and its zero is anywhere.

# %% [markdown]
# ## The name: Bradley–Terry loss
#
# A **reward model** is a function $r$ of prompt and answer. Its loss is how surprised it is by a label, the
# **chosen** answer $y_c$ over the **rejected** one $y_r$. Two refinements: a *margin* $m$, by which the better one
# has to lead, and *smoothing* $s$, the share of labels taken to be wrong:
#
# $$\mathcal{L} = -(1-s) \log \sigma(\Delta - m) - s \log \sigma(m - \Delta), \qquad \Delta = r(x, y_c) - r(x, y_r)$$
#
# | symbol | in code | shape |
# |---|---|---|
# | $r(x, y_c), r(x, y_r)$ | `chosen_rewards`, `rejected_rewards` | (B,) |
# | $m$ | `margins` | (B,) or a number |
# | $s$ | `smoothing` | a number below ½ |

# %% [markdown]
# ### Exercise 2 · How surprised are you by a label?
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** the loss of each pair, in nats.
# - **In:** `chosen_rewards`, `rejected_rewards` (B,); `margins`, (B,) or a number; `smoothing`. **Out:** losses
#   (B,).
# - **Worked value:** rewards 1 and 1: ln 2, 0.6931. Rewards 5 and 3: 0.1269; with a margin of 2 again ln 2; with a
#   smoothing of 0.2: 0.5269.
# - **Pitfall:** the gap may be −200, where the log of a sigmoid is minus infinity. Loss and gradient stay finite,
#   in the rewards' own type.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>torch.nn.functional.logsigmoid</code> is finite everywhere.
# </details>
# <details><summary>Hint 2</summary>
# Compute the lead once: the gap less the margin. The smoothed share sees the lead with the opposite sign.
# </details>

# %% exercise="bradley_terry_loss"
from course_lib.reward.losses import bradley_terry_loss

# %%
chosen, rejected = torch.tensor([1.0, 5.0, -200.0]), torch.tensor([1.0, 3.0, 0.0])
for add in (0, 100):
    print(f"+{add}:", bradley_terry_loss(chosen + add, rejected + add))
print("margin 2:", bradley_terry_loss(chosen, rejected, margins=2.0))

# %% check="bradley_terry_loss" points=4
checks.reward_model.bradley_terry_loss(bradley_terry_loss)

# %% [markdown]
# Your loss, drawn over the gap. **Guess** first where its lowest point is when a fifth of the labels may be wrong.

# %%
controls.explore(
    partial(plots.loss_by_gap, bradley_terry_loss),
    margin=controls.slider(0, 0, 3, 0.25, "margin"),
    smoothing=controls.slider(0.2, 0, 0.45, 0.05, "smoothing"),
)

# %% [markdown]
# Without smoothing it falls for ever: the model may become as sure as it likes. With a fifth of doubt the best gap
# is ln 4, at which it is sure to 80 %, and no more.

# %% [markdown]
# ## The model: one number at the end
#
# We take the guide, and in place of its 768 scores of the next token it gives one number, by one row of weights.
# (The scores were made with the embedding itself, so nothing falls away.) Where is it read? Every position has a
# hidden vector. Only the last one has seen the whole answer. And in a batch, rows end at different places, with
# padding on the right in training, on the left behind a generation.

# %% [markdown]
# ### Exercise 3 · Where is the answer over?
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** the place of the last real token in each row.
# - **In:** `mask` (B, T), True = a real token; each row has one. **Out:** whole numbers (B,).
# - **Worked value:** T T F F and F T T T: 1 and 3.
# - **Pitfall:** padding may be on the right, on the left, or in between: T F T F gives 2. Counting real tokens
#   finds the place only if they begin at 0 and have no gap.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Write the places 0, 1, 2 … over the columns. Which of them do you want, among those with a True below?
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.arange(1, T + 1) * mask</code> is 0 at padding. Where is it largest?
# </details>

# %% exercise="last_index" keep="check_rows"
from course_lib.reward.model import last_index

# %%
last_index(torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [0, 1, 0, 0]]).bool())

# %% check="last_index" points=3
checks.reward_model.last_index(last_index)

# %% [markdown]
# The model in full, with your function in it. The body is a copy of the guide's: it can read already.


# %%
class Judge(torch.nn.Module):
    def __init__(self, body, generator=None):
        super().__init__()
        self.body, width = copy.deepcopy(body), body.config.width
        self.head = torch.nn.Linear(width, 1, bias=False)
        with torch.no_grad():
            self.head.weight.normal_(0, (width + 1) ** -0.5, generator=generator)
        self.head.to(body.embed.weight)  # to the body's device

    def forward(self, ids, mask=None):
        mask = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
        hidden = self.body.hidden(ids, mask)  # (B, T, D)
        last = hidden[torch.arange(len(ids)), last_index(mask)]
        return self.head(last).squeeze(-1)  # (B,)


untrained = Judge(guide, torch.Generator().manual_seed(0))
sizes = [sum(p.numel() for p in m.parameters()) for m in (guide, untrained)]
print(f"the guide has {sizes[0]:,} numbers, the judge {sizes[1]:,}")

# %% [markdown]
# ### Exercise 4 · Keep the question
#
# *7 minutes · difficulty 2 of 3*
#
# - **Write** a batch: each row is prompt, answer and end token, filled up on the right.
# - **In:** `pairs`, a list of `PairIds(prompt, chosen, rejected, margin)`, lists of token numbers; `end`, `pad`.
#   **Out:** `ids`, whole numbers, and `mask`, booleans, both (B, 2, T): chosen first. True = a real token.
# - **Given:** `build_example(prompt, answer, end).ids`; `pad_right(rows, value)`.
# - **Worked value:** prompt 2 3, chosen 5 6, rejected 8, `end=1`, `pad=0`: rows 2 3 5 6 1 and 2 3 8 1 0, masks
#   TTTTT and TTTTF. With `pad=1` the masks stay the same.
# - **Pitfall:** `pad` may be the end token: the mask comes from lengths. Margins have no place.

# %% [markdown]
# <details><summary>Hint 1</summary>
# One list with 2B rows: pair after pair, the chosen and then the rejected. Two rectangles are made of it.
# </details>
# <details><summary>Hint 2</summary>
# <code>ids.unflatten(0, (-1, 2))</code> makes (B, 2, T) out of (2B, T).
# </details>

# %% exercise="collate_pairs" keep="check_pair_ids"
from course_lib.reward.pairs import collate_pairs

# %%
collate_pairs([PairIds([2, 3], [5, 6], [8]), PairIds([2], [7], [9])], end=1, pad=0)

# %% check="collate_pairs" points=3
checks.reward_model.collate_pairs(collate_pairs)

# %% [markdown]
# ### Exercise 5 · How often is it right?
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** the share of pairs in which the chosen answer got the higher reward; a tie counts one half.
# - **In:** `chosen_rewards`, `rejected_rewards` (N,). **Out:** a tensor with one number, 0 to 1.
# - **Worked value:** chosen 2 and 1, rejected 0 and 1: 0.75.
# - **Pitfall:** a model that says 0 about everything is no better than a coin. Rewards may be negative. A tie is
#   two equal numbers, not two near ones.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The gap has a sign: 1, 0 or −1.
# </details>
# <details><summary>Hint 2</summary>
# You want 1, ½ and 0 instead. That is a sum and a division away.
# </details>

# %% exercise="pairwise_accuracy" keep="check_pairs"
from course_lib.reward.audit import pairwise_accuracy

# %%
pairwise_accuracy(torch.tensor([2.0, 1.0]), torch.tensor([0.0, 1.0]))

# %% check="pairwise_accuracy" points=2
checks.reward_model.pairwise_accuracy(pairwise_accuracy)

# %% [markdown]
# ## Train it
#
# The guide itself answers: four times each question, so the comparisons are **on policy**, about the texts on which
# the reward model will be asked. Every fifth *fact* is put aside, in all its wordings. The labels come from the
# town's exact rules, without any noise at first.

# %%
from course_lib.reward.annotator import compare

facts = [questions[i : i + 5] for i in range(0, len(questions), 5)]
known = [q for i, fact in enumerate(facts) if i % 5 for q in fact]
unseen = [q for fact in facts[::5] for q in fact]
known = known[: runtime.steps(full=len(known), quick=40)]
unseen = unseen[: runtime.steps(full=len(unseen), quick=10)]
said = sample_replies(guide, tokenizer, known, samples=4, seed=1)
unseen_said = sample_replies(guide, tokenizer, unseen, samples=4, seed=2)
pairs = compare(known, said)
held_out = compare(unseen, unseen_said, pairs_each=2)
print(f"{len(pairs):,} pairs to train on, {len(held_out)} held out")
for pair in held_out[::100]:
    print(pair.prompt, "|", pair.chosen, "|", pair.rejected)

# %% [markdown]
# Each comparison becomes token numbers once. A batch is about 32 pairs of similar lengths, so that little of it is
# padding. Every pair comes once before any comes again. `accuracy` lets a model score all pairs that it is given,
# and asks your function.

# %%
from course_lib.reward.losses import pair_loss
from course_lib.reward.model import pair_scores
from course_lib.reward.pairs import encode_preference
from course_lib.training import train

STEPS = runtime.steps(full=110, quick=2)


def batches_of(preferences, seed=0, batch=32):
    encoded = [encode_preference(p, tokenizer, context=256) for p in preferences]
    lengths = torch.tensor([len(p.prompt) + len(p.chosen) for p in encoded])
    batches = math.ceil(len(encoded) / batch)

    def rows(step):
        order = epoch_of(lengths, batch, seeded(seed, step // batches))
        chosen = [encoded[i] for i in order[step % batches]]
        return collate_pairs(chosen, tokenizer.end, tokenizer.pad)

    return rows


def accuracy(model, preferences):
    return pairwise_accuracy(*pair_scores(model, tokenizer, preferences)).item()


some_ids, some_mask = batches_of(pairs)(0)
print(f"a batch of {tuple(some_ids.shape)}; {some_mask.float().mean():.0%} are real")

# %% [markdown]
# The loop is lesson 05's, with your loss in it: `pair_loss` scores both rows of each pair, asks your function and
# takes the mean over the batch. Held-out pairs are scored before the first step and every 22 steps. **Guess** where
# the line begins, and where it ends.


# %%
def fit(preferences, watched, seed=0, steps=STEPS):
    model = Judge(guide, torch.Generator().manual_seed(seed))
    before = {"step": 0, "right": accuracy(model, watched)}
    history = train(
        model,
        batches_of(preferences, seed),
        partial(pair_loss, loss=bradley_terry_loss),
        steps,
        lr=6e-4,
        evaluate=lambda model: {"right": accuracy(model, watched)},
        evaluate_every=runtime.steps(full=22, quick=2),
    )
    return model.eval(), [before, *history.evaluations]


judge, notes = fit(pairs, held_out)
curves = {"clean labels": notes}
runtime.learned(notes[-1]["right"] > 0.85, "It should learn what is preferred")
plots.learning(curves, {}, runtime.recorded("06_reward_model"))

# %% [markdown]
# It begins near a coin, where its random start puts it (the faint lines are other seeds, recorded). Then it is
# right about nine pairs in ten, on facts that it never compared. Why? We give it **controlled** texts: the same
# fact, plain, short, polite, rude, rambling, and a plain *wrong* one. **Guess** the order of the six.

# %%
from course_lib.reward.model import rewards_of
from course_lib.world.chat import says
from course_lib.world.preferences import variants

told = [(q, variants(q, random.Random(i))) for i, q in enumerate(unseen[::3])]


def by_manner(model):
    return {
        manner: rewards_of(model, tokenizer, [(q.text, v[manner]) for q, v in told])
        for manner in told[0][1]
    }


rewards = by_manner(judge)
above = (rewards["plain"] > rewards["wrong"]).float().mean()
cheaper = [cost(q.text, v["plain"]) < cost(q.text, v["wrong"]) for q, v in told]
print(f"to the judge the right fact is better for {above:.0%} of {len(told)} questions")
print(f"to the guide it is cheaper for {sum(cheaper) / len(cheaper):.0%}")
replies = [(q, r) for q, texts in zip(known, said, strict=True) for r in texts]
brief = [says(r, q.kind, q.value) for q, r in replies if len(r.split()) < 3]
print(f"of the guide's shortest answers {sum(brief) / len(brief):.0%} are right")
plots.manners(rewards)

# %% [markdown]
# Polite is best; rudeness and rambling cost. *Short* stands below rude, though by the rules it is as good as
# *plain*. And plain and *wrong*, which differ in the truth alone, get nearly the same reward: the judge hardly sees
# the truth, on which the labels put most weight. It seems to have found a shortcut. What our guide says in a word
# or two is mostly wrong (its short answers are guesses), and shortness is easier to see. An accuracy does not say
# *why* a model is right.

# %% [markdown]
# ## How good can anyone be?
#
# People disagree, and with themselves. If a fifth of the labels is wrong, nobody is right about more than 80 % of
# such *labels* on average, not even who knows the truth. Or an annotator is sure where answers differ much, and
# throws a coin where they are close. Each comparison has its own p, the probability that the first answer is
# preferred.

# %% [markdown]
# ### Exercise 6 · How good can anyone be?
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** the best accuracy on such labels that any model can expect.
# - **In:** `probabilities` (N,), how likely the annotator prefers the first answer of each comparison. **Out:** a
#   tensor with one number, ½ to 1.
# - **Worked value:** 0.9, 0.3, 0.5: 0.7.
# - **Pitfall:** with p = 0.3 one bets on the second answer, every time. Who draws with 0.3 is worse.

# %% [markdown]
# <details><summary>Hint 1</summary>
# You know p and bet once on each comparison. On which answer, and how often do you win?
# </details>
# <details><summary>Hint 2</summary>
# The larger of p and 1 − p, for each comparison; then the mean.
# </details>

# %% exercise="noise_ceiling" keep="check_probabilities"
from course_lib.reward.annotator import noise_ceiling

# %%
gaps = torch.tensor([pair.margin for pair in held_out])
for name, settings in {
    "a fifth wrong": {"flip": 0.2},
    "unsure when close": {"temperature": 0.5},
    "both": {"flip": 0.2, "temperature": 0.5},
}.items():
    sure = preference_probability(gaps, **settings)
    print(f"{name}: at best {noise_ceiling(sure):.1%} right")

# %% check="noise_ceiling" points=2
checks.reward_model.noise_ceiling(noise_ceiling)

# %% [markdown]
# Now a fifth of all labels is turned round, in training and in what we measure by. **Guess:** how far below its
# ceiling will the model end? And how often will it be right about the *truth*, which nobody shows it?

# %%
luck = torch.Generator().manual_seed(1)
stays = [
    preference_probability(torch.ones(len(p)), flip=0.2) for p in (pairs, held_out)
]
noisy = relabel(pairs, stays[0], luck)
noisy_held_out = relabel(held_out, stays[1], luck)
noisy_judge, curves["a fifth wrong"] = fit(noisy, noisy_held_out)
ceilings = {"a fifth wrong": noise_ceiling(stays[1]).item()}
same = [a.chosen == b.chosen for a, b in zip(held_out, noisy_held_out, strict=True)]
print(f"who knows the truth: {sum(same) / len(same):.1%} of these very labels")
print(f"the judge, about the truth: {accuracy(noisy_judge, held_out):.1%} right")
plots.learning(curves, ceilings, runtime.recorded("06_reward_model"))

# %% [markdown]
# (These very labels were kinder than 80 %: a ceiling is an average. The blue line is measured on clean labels.) It
# ends less than ten points below what is possible. About the truth it loses a few points at most, although a fifth
# of its labels lied: wrong labels are scattered, right ones agree. So before you ask for a larger reward model,
# find its ceiling. Two people who err in a fifth of labels agree on 0.8² + 0.2² = 68 % of them.
#
# **Calibration:** does it know how sure it may be? A gap is a probability. Of the labels about which a judge is 90
# % sure, 90 % should be right. **Guess** which judge knows that people err.

# %%
from course_lib.reward.audit import calibration

tables = {
    name: calibration(*pair_scores(model, tokenizer, noisy_held_out))
    for name, model in {"clean labels": judge, "a fifth wrong": noisy_judge}.items()
}
plots.calibration(tables)

# %% [markdown]
# Who was taught by clean labels is nearly always sure, and people contradict it. Who was taught by noisy ones stays
# modest on the whole: wrong labels did by themselves what smoothing did in your loss.
#
# ### And your labels?

# %%
yours = labels.preferences()
who = f"{sum(labels.yours)} of 6 questions ranked by you, the rest by the annotator"
print(f"{len(yours)} pairs; {who}")
print(f"the judge agrees with {accuracy(judge, yours):.0%} of them")
small, _ = fit(yours, held_out, steps=runtime.steps(full=20, quick=2))
print(f"trained on them alone: {accuracy(small, held_out):.0%} of held-out pairs")

# %% [markdown]
# The annotator's eighteen pairs alone make a judge that is right about four in five: it need not learn to read,
# only what to look for. If you ranked yourself: where do you and the judge differ? That is taste, and it has yours
# only if it is taught yours.

# %% [markdown]
# Here the first sitting may end.

# %% [markdown]
# ## Bug clinic: the published reward model
#
# A widely read set of notes has a reward model with several mistakes; here it is, written anew. Its data has chosen
# and rejected texts, and no prompt. Read it: what happens without a mask? What does the first position of a decoder
# know about the answer?


# %%
class PublishedJudge(torch.nn.Module):
    def __init__(self, body, pooling="first", width=96):
        super().__init__()
        self.body, self.pooling = body, pooling
        self.head = torch.nn.Linear(width, 1)

    def forward(self, ids, mask=None):
        hidden = self.body.hidden(ids, mask)
        if self.pooling == "first":
            return self.head(hidden[:, 0]).squeeze(-1)
        kept = mask.unsqueeze(-1)
        return self.head((hidden * kept).sum(1) / kept.sum(1)).squeeze(-1)


published = PublishedJudge(guide)
answers = ("Ada has a fish.", "Ada has a cat.", "Go away.")
rows = [tokenizer.encode(text) for text in answers]
[round(published(torch.tensor([row])).item(), 4) for row in rows]

# %% [markdown]
# A decoder's first position has read one token, so "first" is a reward for how an answer *begins*: a fish and a cat
# get the same. And no prompt stands before it: whatever "Ada has a fish." earns, it earns it as an answer to any
# question.
#
# Its other pooling is a mean. The published training loop calls it without a mask; we do the same. Then a repair
# made in haste, which counts the real tokens. **Guess** when that is wrong.

# %%
try:
    PublishedJudge(guide, "mean")(torch.tensor(rows[:1]))
except AttributeError as error:
    print("AttributeError:", error)


def hasty(ids, mask):
    hidden = judge.body.hidden(ids, mask)
    return judge.head(hidden[torch.arange(len(ids)), mask.sum(1) - 1]).squeeze(-1)


row = tokenizer.encode_chat(corpus.turn("What is Ada's pet?", "Ada has a fish."))
for name, (left, right) in {"right": (0, 4), "left": (4, 0)}.items():
    ids = torch.tensor([[0] * left + row + [0] * right])
    mask = torch.tensor([[False] * left + [True] * len(row) + [False] * right])
    with torch.no_grad():
        scores = hasty(ids, mask).item(), judge(ids, mask).item()
    print("padding on the {}: hasty {:.2f}, yours {:.2f}".format(name, *scores))

# %% [markdown]
# Generation pads on the left. In training the hasty judge is right, and in the loop of lesson 07 it would read some
# token in the middle. So what must be true of any scorer?
#
# 1. Padding, on either side and however much of it, changes nothing; nor does what stands under it.
# 2. The neighbours in the batch change nothing.
# 3. The end of the answer counts.
# 4. The prompt counts.
#
# For a test take token numbers from 300 on, besides the markers 1, 2 and 3: many others are alike to `judge`.

# %% [markdown]
# ### Exercise 7 · Write the test that exposes it
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the four claims.
# - **In:** `score(ids, mask)`, both (B, T), which claims to give the rewards (B,) of texts. **Out:** nothing.
# - **Worked value:** `published` and `hasty` must not get through; your `judge` must.
# - **Pitfall:** each wrong one is right on some inputs. Take unequal rows, padding left and right, more and less of
#   it, filled with other tokens than 0, the short row first and last. For the prompt change an early token of a row
#   of five or more. Which text is better, and by how much, is the scorer's own affair. Rewards are rounded:
#   `torch.allclose(…, atol=1e-4)`.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Score each row alone and without padding first. These are the numbers with which you compare everything else.
# </details>
# <details><summary>Hint 2</summary>
# Write a small function that takes rows, a width, a side and a fill, makes <code>ids</code> and <code>mask</code> of them, and calls
# <code>score</code>. For claims 3 and 4 change one token, the last or an early one, and ask for a difference.
# </details>


# %% test="scorer"
def test_scorer(score):
    """Fails with an AssertionError unless `score` reads rows as it should."""
    ### BEGIN SOLUTION
    rows = [[2, 400, 450, 3, 500, 1], [2, 310, 3, 620, 700, 330, 1], [460, 610, 3, 512]]

    def ask(rows, wide, left=False, fill=0):
        gaps = [[fill] * (wide - len(row)) for row in rows]
        ids = [g + r if left else r + g for r, g in zip(rows, gaps, strict=True)]
        lengths, places = torch.tensor([[len(row)] for row in rows]), torch.arange(wide)
        mask = places >= wide - lengths if left else places < lengths
        return score(torch.tensor(ids), mask)

    alone = torch.cat([ask([row], len(row)) for row in rows])
    for order in ([0, 1, 2], [2, 1, 0], [1]):
        for how in ((7,), (12, True), (13, False, 606), (11, True, 1)):
            found = ask([rows[i] for i in order], *how)
            assert torch.allclose(found, alone[order], atol=1e-4), "not its own reward"
    for place, what in ((-1, "end"), (1, "prompt")):
        changed = [[*row[:place], 333, *row[place:][1:]] for row in rows]
        moved = torch.cat([ask([row], len(row)) for row in changed]) - alone
        assert (moved.abs() > 1e-4).all(), f"the {what} does not count"
    ### END SOLUTION


# %% check="test_scorer" points=4
checks.reward_model.test_scorer(test_scorer)

# %%
test_scorer(judge)
for name, score in {"published": published, "hasty": hasty}.items():
    try:
        test_scorer(score)
        print(f"{name} passed")
    except AssertionError as objection:
        print(f"{name} is exposed: {objection}")

# %% [markdown]
# ## Audit: what does it really like?
#
# A firm labels for us, paid by the comparison. It compares our guide with another one, which knows the facts and
# rambles. Its people are in a hurry and take long answers for thorough ones: 0.02 for each character, and no cost
# of rambling. Nobody tells us. We train on their labels. **Guess:** will the accuracy give them away?

# %%
from course_lib.world.preferences import biased_score, likes_length, rambling

taste, draw = partial(biased_score, taste=likes_length), random.Random(0)


def beside_a_rambler(asked, said):
    pairs = zip(asked, said, strict=True)
    return [[*texts[:3], rambling(q, draw.randint(1, 4), draw)] for q, texts in pairs]


liked = compare(known, beside_a_rambler(known, said), taste)
others = beside_a_rambler(unseen, unseen_said)
liked_held_out = compare(unseen, others, taste, pairs_each=2)
biased, _ = fit(liked, liked_held_out)
print(f"on the firm's labels: {accuracy(biased, liked_held_out):.1%} right")
print(f"(our judge on our labels: {accuracy(judge, held_out):.1%})")

# %% [markdown]
# The share of right labels shows nothing unusual. So we look inside, in two ways. We split the held-out pairs: is
# the better answer the longer one, or the shorter? And we ask about controlled texts: what does rambling alone add
# to a reward?

# %%
from course_lib.reward.audit import accuracy_by_length, effect

lengths = [torch.tensor([len(p[side]) for p in held_out]) for side in (1, 2)]
rows = []
for name, model in {"clean": judge, "biased": biased}.items():
    scores = pair_scores(model, tokenizer, held_out)
    split = accuracy_by_length(*scores, *lengths)
    liked_by = by_manner(model)
    worth = effect(liked_by["plain"], liked_by["rambling"])
    shares = (f"{split.longer:.0%}", f"{split.shorter:.0%}")
    rows.append((name, *shares, f"{worth.mean:+.1f} ± {worth.error:.1f}"))
runtime.learned(worth.mean > 2, "Labels that like length should make rambling pay")
heads = ("right if the longer is better", "right if the shorter is", "rambling adds")
Table(("judge", *heads), rows)

# %% [markdown]
# On their own labels it is as right as ever. The looks inside tell: it is mostly wrong where the better answer is
# the shorter one, and it *pays* for rambling. Both need somebody who knows which answer is better, or texts that
# differ in one thing. The accuracy on the firm's own labels does not contain it.

# %% [markdown]
# ## Best of n: obey it
#
# A judge is there to be obeyed. The simplest way needs no training: draw n answers, keep the one that it likes
# best. How far does this move us from the guide? One measures it by the **KL divergence**: how many nats likelier
# an answer has become, on average over what is chosen. The usual formula for it is $\ln n - (n-1)/n$. It assumes
# that no two answers are equally good, and our guide often says the same twice.

# %% [markdown]
# ### Exercise 8 · How far does choosing take you?
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** the distance of the best of n from the model, KL(q‖p) = Σ q ln (q / p), in nats.
# - **In:** `probabilities` (V,), p of all answers, sum about 1; `rewards` (V,); `n`. **Out:** a float.
# - **Given:** `best_of_n_probabilities(probabilities, rewards, n)`: q, how likely each answer is the best of n
#   draws, in float64, exact for ties.
# - **Worked value:** two answers of ½, rewards 1 and 2, n = 3: q = (⅛, ⅞), KL 0.3164.
# - **Pitfall:** an answer that cannot occur adds 0, not nan, also where q alone became 0. A rare one counts: no
#   small constant inside the logarithm. And p may be rounded: divide it by its sum, as q was.

# %% [markdown]
# <details><summary>Hint 1</summary>
# KL(q‖p) is the mean of ln (q / p) over draws from q.
# </details>
# <details><summary>Hint 2</summary>
# Keep the answers with q above 0, then sum q ln (q / p). Divide p by its own sum first: it may be 0.9999999.
# </details>

# %% exercise="best_of_n_kl"
from course_lib.reward.best_of_n import best_of_n_kl

# %%
even, places = torch.full((8,), 1 / 8), torch.arange(8.0)
alike = torch.tensor([1.0] * 4 + [0.0] * 4)
rows = []
for n in (1, 4, 64):
    exact = (f"{best_of_n_kl(even, r, n):.2f}" for r in (places, alike))
    rows.append((n, *exact, f"{best_of_n_kl_bound(n):.2f}"))
Table(("n", "eight different answers", "four equally good", "ln n − (n − 1)/n"), rows)

# %% check="best_of_n_kl" points=4
checks.reward_model.best_of_n_kl(best_of_n_kl)

# %% [markdown]
# Now in earnest: 256 answers to each of fifteen questions. From one such pool the best of n follows for *every* n
# up to 256, without drawing again: the i-th worst of N is the best of n in a known share of all draws. Each judge
# chooses by its own reward, and we look at the true score. **Guess** both curves.

# %%
asked = unseen[:: runtime.steps(full=12, quick=5)]
N = runtime.steps(full=256, quick=8)
pool = sample_replies(guide, tokenizer, asked, samples=N, seed=7)
true = torch.tensor(
    [[score_of(q, r) for r in texts] for q, texts in zip(asked, pool, strict=True)]
)
several = [len({*texts}) for texts in pool]
print(f"{min(several)} to {max(several)} different answers among {N}")
print(f"the longest has {max(len(r) for texts in pool for r in texts)} characters")

# %% [markdown]
# Both judges grade the whole pool. Each different answer is graded once, so that equal answers are exact ties.
# `best_of_n_curve` then gives for every n what the judge sees in its choice, and what was meant.


# %%
def judged_by(model):
    chats = [
        (q.text, r if r.strip() else "?")
        for q, texts in zip(asked, pool, strict=True) for r in texts
    ]  # fmt: skip
    different = [*dict.fromkeys(chats)]  # equal answers get equal rewards
    rewards = dict(zip(different, rewards_of(model, tokenizer, different), strict=True))
    return torch.stack([rewards[chat] for chat in chats]).view(true.shape)


ns = [2**i for i in range(N.bit_length())]
learned = {"clean labels": judged_by(judge), "liking length": judged_by(biased)}
obeyed = {name: best_of_n_curve(r, true, ns) for name, r in learned.items()}
best = obeyed["liking length"]
runtime.learned(max(best.true) > best.true[-1] + 0.1, "Obeyed too far, it should harm")
plots.obeying(obeyed, runtime.recorded("06_reward_model"))

# %% [markdown]
# Both judges are content: what each obeys rises with every n. With a few answers both help. Then the firm's judge
# goes on, and what was meant falls below where it began, at the recorded seeds too. This is **over-optimisation**,
# or reward hacking: what the labels said wrongly about length hardly shows among few answers, and decides among
# many. How far from the guide is that? The distance of your exercise says:

# %%
rows = []
for k in range(2, len(ns), 2):
    exact = (f"{curve.kl[k]:.2f}" for curve in obeyed.values())
    rows.append((ns[k], f"{best_of_n_kl_bound(ns[k]):.2f}", *exact))
Table(("n", "ln n − (n − 1)/n", *obeyed), rows)

# %% [markdown]
# Both judges went about equally far, and one of them did harm: the distance says how far, not whether for good or
# ill. The formula is at most a tenth too high here, since at the top of a pool few answers are alike. Where many
# are, as in the exercise, it is far off.

# %% [markdown]
# ## Do several judges help?
#
# An **ensemble**: three judges from different starts and orders (the second and third train sixty steps only). Each
# counts in units of its own: how many standard deviations above its mean. An answer is worth their mean less their
# disagreement. One ensemble for the noisy labels, one for the firm's. **Guess** which of the two it helps.

# %%
from course_lib.reward.ensemble import cautious, standardise


def three(first, preferences):
    few = runtime.steps(full=60, quick=2)
    others = [fit(preferences, held_out[:20], seed, few)[0] for seed in (1, 2)]
    return [judged_by(model) for model in (first, *others)]


rows = []
groups = {"a fifth wrong": (noisy_judge, noisy), "liking length": (biased, liked)}
for name, group in groups.items():
    all_three = three(*group)
    units = torch.stack([standardise(r.flatten(), r.flatten()) for r in all_three])
    together = cautious(units, caution=1.0).view(true.shape)
    both = [best_of_n_curve(r, true, ns).true for r in (all_three[0], together)]
    rows.append((name, *(f"{curve[k]:.2f}" for k in (3, -1) for curve in both)))
Table(("labels", "n = 8: one judge", "three", f"n = {ns[-1]}: one", "three"), rows)

# %% [markdown]
# With noisy labels three do no harm, and gain a little at the end (one seed, fifteen questions). Those of the firm
# end as deep as one: all three learned its taste. Only other labels help, or an audit before.

# %% [markdown]
# ## Climb: what is the best answer in the world?
#
# Now without the guide. We take a rude answer, and sixty times the best of 48 changes of one token, whatever the
# judge likes better. A step that finds nothing better changes nothing. Beside each text stands its reward: first
# that of a good answer, then the climb at its beginning, after a quarter, and at its end. **Guess** what the
# champion of our *honest* judge looks like.

# %%
from course_lib.exam import prompt_ids
from course_lib.reward.climbing import hill_climb, in_context

pet, best_answer = "What is Ada's pet?", "With pleasure! Ada has a fish. All the best!"
start = tokenizer.encode("Everybody knows that. Ada has a fish. Now go away.")
pieces = {id: tokenizer.piece(id) for id in range(4, len(tokenizer))}
words = [id for id, text in pieces.items() if text.istitle() or text[0] == " "]
words = [id for id in words if pieces[id].strip().isalpha() and len(pieces[id]) > 2]
for name, model in {"honest": judge, "the firm's": biased}.items():
    polite = rewards_of(model, tokenizer, [(pet, best_answer)]).item()
    score = in_context(model, prompt_ids(pet, tokenizer), tokenizer.end)
    luck = torch.Generator().manual_seed(0)
    climb = hill_climb(score, start, words, runtime.steps(full=60, quick=2), 48, luck)
    print(f"{name}, a good answer: {polite:+.1f} {best_answer}")
    for step in (0, len(climb.ids) // 4, len(climb.ids) - 1):
        said_then = tokenizer.decode(climb.ids[step])
        print(f"{name}, step {step}: {climb.rewards[step]:+.1f} {said_then}")
    runtime.learned(climb.rewards[-1] > polite, "Climbing should pass a good answer")

# %% [markdown]
# Even the honest judge likes word salad better than the best answer in town. Nothing like it was ever compared, so
# nothing held its reward down. With best of n this judge did no harm, because the *guide* proposed: it kept us
# among texts that the judge knows. A guide that learns from a judge may leave them. Lesson 07 therefore keeps it
# near.

# %% [markdown]
# ## The same in the libraries
#
# | here | TRL |
# |---|---|
# | `Judge` | `AutoModelForSequenceClassification`, `num_labels=1` |
# | records of `prompt`, `chosen`, `rejected` | the same columns; without `prompt` the texts must contain it |
# | `collate_pairs`, (B, 2, T) | `DataCollatorForPreference`, (2B, T): all chosen, then all rejected |
# | `bradley_terry_loss` with `margins` | `RewardTrainer`, column `margin`; no smoothing |
# | `centring_penalty` | `RewardConfig(center_rewards_coefficient=…)` |
# | `pairwise_accuracy` | the metric `accuracy`; there a tie is wrong |
#
# The library's tests hold our loss and every gradient against TRL's. What production adds: several people for each
# question, their agreement beside every accuracy, fresh comparisons of what the *tuned* model says, and somebody
# who reads the champions.
#
# ## Reflect

# %% [markdown] reflect="what_is_a_reward" points=1
# **1.** A team's reward model is right about 74 % of held-out labels. They ask for money for one ten times as
# large. Which two numbers do you want to see first, and what would you do for each outcome?
#
# A good answer: How often two annotators, or one on two days, agree: from it follows the ceiling, which is higher
# (who errs in a fifth agrees with another such on 68 %, and the ceiling is 80 %). If the ceiling is near 75 %, a
# larger model cannot help; better labels might. Then accuracy on controlled pairs or by kind of mistake, since the
# rest may be one thing (truth) that it cannot see at all, whatever the mean says.

# %% [markdown] reflect="audit_first" points=1
# **2.** Best of n by your judge looks better and better to the judge. Users liked n = 8 more than n = 1, and n =
# 128 less than n = 8. Explain, and say which would help: a larger n, three judges from the same labels, other
# labels.
#
# A good answer: Choosing selects what the judge likes wrongly, and at 128 the rare answers in which it errs are
# found. Larger n makes it worse. Three judges from the same labels share what the labels say wrongly, so their
# agreement proves nothing. Labels that compare the champions with usual answers cure it; until then stay at n = 8.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("06_reward_model")

# %% [markdown]
# ## You can now
#
# - turn rankings into pairs, pairs into batches that keep their question, and these into a judge;
# - say how good it could be at best, how sure it may be, and test that it reads what it should;
# - find what it likes by controlled pairs, and see in a curve when obeying it begins to harm.
#
# **Read on:** *Learning to summarize from human feedback* ([arXiv 2009.01325](https://arxiv.org/abs/2009.01325)),
# where section 4.3 obeys a reward model too far; *Scaling laws for reward model overoptimization*
# ([2210.10760](https://arxiv.org/abs/2210.10760)) draws your last curves at scale; *A long way to go*
# ([2310.03716](https://arxiv.org/abs/2310.03716)) finds how much of a reward is length.
#
# **Next:** in lesson 07 the guide itself learns from a judge.

# %% [markdown]
# ## Going further: can it be taught the truth?
#
# The guide knows what is true and not what is polite; its judge the other way round. So we add pairs in which the
# fact alone differs, one for each question that we train on, and train twice as long. **Guess** the table.

# %%
from course_lib.reward.pairs import Preference


def right_above_wrong(model, cases):
    told = [(q, variants(q, random.Random(i))) for i, q in enumerate(cases)]
    plain, wrong = (
        rewards_of(model, tokenizer, [(q.text, v[kind]) for q, v in told])
        for kind in ("plain", "wrong")
    )
    return f"{pairwise_accuracy(plain, wrong):.0%}"


truths = [(q.text, variants(q, random.Random(i))) for i, q in enumerate(known)]
truths = [Preference(text, v["plain"], v["wrong"]) for text, v in truths]
taught, _ = fit(pairs + truths, held_out, steps=2 * STEPS)
rows = []
for name, model in {"before": judge, "with such pairs": taught}.items():
    shares = (right_above_wrong(model, group[::4]) for group in (known, unseen))
    rows.append((name, *shares, f"{accuracy(model, held_out):.0%}"))
Table(("judge", "facts it trained on", "facts put aside", "held-out pairs"), rows)

# %% [markdown]
# It learns many of these facts by heart, and about all others it remains near a coin. (One seed, and few questions:
# such shares move by ten points.) What the guide knows does not come out at the end of an answer by itself. What
# can be looked up is better looked up: in lesson 08 exact rules give the rewards.
