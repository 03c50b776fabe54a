# %% [markdown]
# # Choose the next token
#
# You will build what stands between a model's scores and the text that people read: filters, penalties, beam
# search, and the rule by which a small model may guess for a large one. Then you will find out what a token costs,
# and why.
#
# **Afterwards you can** draw text from any model and say what each setting does to it, compute how much memory and
# time a token needs, and make a model faster without changing what it says.
#
# **You need** lesson 00 (softmax) and lesson 01 (attention, and what keys and values are).
#
# About 180 minutes, in two sittings. The first is about choosing tokens, the second about their price.

# %%
import math
import random
from functools import partial

import torch
from torch import Tensor

from course_lib import checks, exam, pretrained, probes, runtime
from course_lib.plotting import sampling as plots
from course_lib.plotting import serving as price_plots
from course_lib.plotting.tables import Table
from course_lib.sampling.generate import draw, generate
from course_lib.widgets import controls

device = runtime.start(seed=0)
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## The likeliest text
#
# A language model scores every token that could come next. Why not always take the one with the best score? That is
# **greedy** decoding. We let SmolLM2, a real model of 135 million parameters, write 60 tokens. **Guess:** how many
# of them until it says something that it has said already?

# %%
speaker, its_tokenizer = pretrained.smollm2()
speaker = speaker.to(device)
start = "I woke up this morning and decided to"
prompt = torch.tensor([its_tokenizer.encode(start)], device=device)
long = runtime.steps(full=60, quick=12)
likeliest = generate(speaker, prompt, long, temperature=0)
print(its_tokenizer.decode(likeliest[0].tolist()))

# %% [markdown]
# After about half of them it goes round in a circle that it never leaves. The other way is to **draw** each token
# in proportion to its probability:

# %%
luck = torch.Generator().manual_seed(0)
drawn = generate(speaker, prompt, long, generator=luck)
print(its_tokenizer.decode(drawn[0].tolist()))

# %% [markdown]
# It does not repeat itself, and it wanders off. Each word is possible where it stands. But of 49,152 tokens tens of
# thousands are nearly impossible, and together they are drawn again and again.
#
# How does a text by a person compare? Here is one of ours. For each token we ask what it costs the model: minus its
# log-probability, in nats. **Guess** the order of the three curves.

# %%
from course_lib.training import next_token_loss

ours = (
    start + " paint the kitchen yellow. By noon the cat had yellow paws, the phone had "
    "yellow buttons, and my sister, who had come to help, was asleep in the only chair "
    "without paint on it. I let her sleep and painted round her."
)
written = torch.tensor([its_tokenizer.encode(ours)], device=device)


def costs(ids):
    with torch.no_grad():
        losses, _ = next_token_loss(speaker, ids)
    return losses[0, prompt.shape[1] - 1 :].tolist()


texts = {"likeliest": likeliest, "drawn": drawn, "a person's": written}
plots.costs({name: costs(ids) for name, ids in texts.items()})

# %% [markdown]
# The likeliest text costs less and less: once a sentence has come twice, a third time is nearly certain. Drawn text
# costs more, and a person's costs most of all. People do not write what is likeliest; they say what is worth
# saying, and the model could not foresee it. But its own unlikely tokens are no such thoughts: they come from where
# it knows least.
#
# So we want to draw, and not from everything. *From what* is the first half of this lesson.

# %% [markdown]
# ## Scores are not probabilities
#
# What a model returns is called **logits**. They are scores of any sign and do not sum to anything. By hand, with
# three tokens:

# %%
scores = torch.tensor([2.0, 1.0, -1.0])
exponentials = [math.exp(2), math.exp(1), math.exp(-1)]
print([round(e / sum(exponentials), 3) for e in exponentials])
print(scores.softmax(0), (scores + 100).softmax(0))

# %% [markdown]
# Adding 100 to all of them changes nothing: only differences count. A difference of 1 means that one token is e ≈
# 2.7 times as likely as the other. These are its **odds**.
#
# A **temperature** τ divides all scores, and with them all differences. At τ = 0.5 differences double, and odds are
# squared:

# %%
odds = math.exp(2 - 1)
print(f"odds {odds:.2f}, at 0.5: {math.exp((2 - 1) / 0.5):.2f}, squared: {odds**2:.2f}")

# %% [markdown]
# $$p_i = \frac{e^{z_i/\tau}}{\sum_j e^{z_j/\tau}} \qquad\qquad \frac{p_i}{p_j} = \left(e^{z_i - z_j}\right)^{1/\tau}$$
#
# | symbol | in code | shape | meaning |
# |---|---|---|---|
# | $z$ | `logits` | (..., V) | a score for each token of the vocabulary |
# | $\tau$ | `value` | | the temperature: below 1 sharpens, above 1 flattens |
# | $p$ | `logits.softmax(-1)` | (..., V) | what is drawn from |
#
# The dots stand for anything: one text, a batch, all positions of a batch.

# %% [markdown]
# ### Exercise 1 · Heat and cool the scores
#
# *2 minutes · difficulty 1 of 3*
#
# - **Write** the scores at a temperature. What comes after you is a softmax.
# - **In:** `logits` (..., V); `value`, above 0. **Out:** the same shape and number type.
# - **Worked value:** (2, −1) at 0.5 becomes (4, −2).
# - **Pitfall:** it acts on scores. Probabilities that are divided by something no longer sum to 1. Nothing is
#   added: a score of 0 stays 0, and minus infinity, a forbidden token, stays that. The input is not changed in
#   place.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Which operation turns a difference of 1 into a difference of 2 when the value is 0.5?
# </details>
# <details><summary>Hint 2</summary>
# No softmax is needed, and no loop. It is one short expression.
# </details>

# %% exercise="temperature"
from course_lib.sampling.filters import temperature

# %%
for value in (0.1, 1.0, 10.0):
    print(value, temperature(scores, value).softmax(0))

# %% check="temperature" points=2
checks.sampling.temperature(temperature)

# %% [markdown]
# Near 0 it becomes greedy. The greater the heat, the more equal the tokens.
#
# ### What does heat buy, and what does it cost?
#
# Two tasks for the course's own models. The one that answers questions (`model`) is asked where people live; there
# is one right answer. The one that continues texts (`base`) is given "Ada"; there is none. We draw at seven
# temperatures, count right answers, and *different* continuations among 64. **Guess:** is there a temperature that
# is good for both?

# %%
from course_lib.sampling.filters import sampler
from course_lib.world import corpus, people

model, tokenizer = pretrained.load("sft")
base, _ = pretrained.load("base")
model, base = model.to(device), base.to(device)
known = corpus.asked_about()
questions = [people.question(person.name, "home") for person in known]
ada = torch.tensor([tokenizer.encode("Ada")], device=device)


def right_and_different(heat):
    hot = partial(temperature, value=heat)
    luck = torch.Generator().manual_seed(0)
    said = exam.replies(
        model, tokenizer, questions, choose=lambda: sampler(hot, generator=luck)
    )
    right = sum(p.home in reply for p, reply in zip(known, said, strict=True))
    stories = generate(base, ada, 20, choose=sampler(hot, generator=luck), samples=64)
    return right / len(known), len({*map(tuple, stories.tolist())}) / 64


# %%
heats = (0.1, 0.4, 0.7, 1.0, 1.3, 1.6, 2.0)
right, different = zip(*(right_and_different(heat) for heat in heats), strict=True)
assert right[-1] < right[0] - 0.3
assert different[0] < different[-1] - 0.3
plots.heat(heats, right, different)

# %% [markdown]
# From 0.7 to 1 both are served. Facts lose nothing by less heat. And what is different at 2, is it still language?

# %%
hot = sampler(
    partial(temperature, value=2.0), generator=torch.Generator().manual_seed(0)
)
for ids in generate(base, ada, 20, choose=hot, samples=3).tolist():
    print("–", tokenizer.decode(ids, specials=False))

# %% [markdown]
# It is not. A temperature belongs to a task, not to a model.
#
# ## Where does the tail begin?
#
# Heat makes the good tokens *and* the bad ones likelier. The simplest filter keeps the k best tokens, **top-k**. We
# look at two prompts. **Guess:** which k suits both?

# %%
sure, open_ended = "The capital of France is", "My favourite animal is the"


@torch.no_grad()
def scores_after(text):
    ids = torch.tensor([its_tokenizer.encode(text)], device=device)
    return speaker(ids)[0, -1].float().cpu()


after = {text: scores_after(text) for text in (sure, open_ended)}
for text, logits in after.items():
    best = logits.softmax(0).topk(6)
    words = [its_tokenizer.piece(i).strip() for i in best.indices.tolist()]
    chances = [f"{p:.2f}" for p in best.values]
    print(text, *map(" ".join, zip(words, chances, strict=True)), sep="  ")

# %% [markdown]
# After "The capital of France is" one token has most of the probability, and the third is wrong. After "My
# favourite animal is the" no token has much, and many will do. (A token may be the beginning of a word.) No k fits
# both. So let us not count tokens, but the probability that they hold.
#
# The **nucleus** (or **top-p**) is the smallest set of likeliest tokens whose probability reaches p. By hand, for
# four tokens and p = 0.9:

# %%
chances, reached = [0.5, 0.3, 0.15, 0.05], 0.0
for chance in chances:
    print(f"so far {reached:.2f}: {'keep' if reached < 0.9 else 'drop'} {chance}")
    reached += chance

# %% [markdown]
# Three tokens, which hold 0.95. The course notes from which this lesson takes its bugs, and which we will call *the
# notes*, say "the most likely tokens *summing to* 90 %". Nothing sums to 0.9 here: 0.8 is too little, so the token
# that crosses the line has to be in.

# %% [markdown]
# ### Exercise 2 · Cut the tail
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** the scores with everything outside the nucleus at minus infinity: outside the smallest set of
#   likeliest tokens whose probability reaches p.
# - **In:** `logits` (..., V), scores and not probabilities; `p` from 0 to 1. **Out:** the same shape and number
#   type, new. What stays keeps its score; of equal ones at the border only as many stay as are needed.
# - **Worked value:** chances 0.15, 0.5, 0.05, 0.3 at p = 0.9: only the third is out.
# - **Pitfall:** the token that crosses p is in, and one token always stays, even at p = 0. At p = 1 all stay that
#   have any probability, although a sum of many floats may reach 1 too early. Each row has its own nucleus, and the
#   result is in the order of the vocabulary.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Sort, softmax, <code>cumsum</code>. A token is out if the likelier ones have reached p already: its own probability must
# not count. Sums that begin with the <em>least</em> likely tokens are exact where it matters at p = 1: who may go then?
# </details>
# <details><summary>Hint 2</summary>
# <code>sort</code> returns the order as well. If <code>out</code> is True for sorted tokens to drop,
# <code>out.scatter(-1, order, out)</code> has the same truth in the vocabulary's order.
# </details>

# %% exercise="top_p"
from course_lib.sampling.filters import top_p

# %%
four = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()
top_p(four, p=0.9).exp()

# %% check="top_p" points=4
checks.sampling.top_p(top_p)

# %% [markdown]
# A third filter asks each token how it compares with the best one: **min-p** keeps what has at least p times the
# probability of the likeliest. It is two lines, and given. Where do the three cut, for both prompts?

# %%
from course_lib.sampling.filters import min_p, top_k

cuts = {"top-k, 50": partial(top_k, k=50)}
cuts |= {"top-p, 0.9": partial(top_p, p=0.9), "min-p, 0.1": partial(min_p, p=0.1)}
left = {
    text: {name: (cut(logits) > -math.inf).sum().item() for name, cut in cuts.items()}
    for text, logits in after.items()
}
plots.tails({text: logits.softmax(0) for text, logits in after.items()}, left)

# %% [markdown]
# Fifty tokens are far too many for France. The nucleus keeps few there, and many hundreds on the open prompt: a
# flat tail has to be long to hold its share. Min-p is stricter. None of them is right everywhere; they fail in
# different places.
#
# ### Does the order matter?
#
# Four tokens, a nucleus of 0.9, and a temperature. **Guess** how many tokens stay at temperature 0.5, 1 and 2: if
# the temperature comes first, and if it comes after.

# %%
rows = []
for heat in (0.5, 1.0, 2.0):
    first = top_p(temperature(four, heat), 0.9)
    last = temperature(top_p(four, 0.9), heat)
    rows.append((heat, *((x > -math.inf).sum().item() for x in (first, last))))
assert [row[1] for row in rows] == [2, 3, 4]
Table(("temperature", "kept, temperature first", "kept, nucleus first"), rows)

# %% [markdown]
# Heat changes the nucleus. In `transformers` the temperature comes first; programs exist that do it last, and the
# same settings mean something else there.

# %% [markdown]
# ## Bug clinic: the filter that forbids everything
#
# Here is a nucleus filter as it stands in many tutorials. We try it on both prompts:


# %%
def published_top_p(logits, p):
    best_first, order = logits.sort(descending=True)
    reached = best_first.softmax(-1).cumsum(-1)
    best_first = best_first.masked_fill(reached > p, -math.inf)
    return torch.empty_like(logits).scatter(-1, order, best_first)


for text, logits in after.items():
    tried = published_top_p(logits, 0.7)
    kept = (tried > -math.inf).sum().item()
    print(f"{text}: {kept} kept, {tried.softmax(0).isnan().sum()} are nan")

# %% [markdown]
# On the open prompt nobody would notice one token too few. Where the model is sure, "Paris" alone exceeds 0.7 and
# goes, and so does everything after it. The softmax of nothing is nan. The mistake hides for as long as one tests
# with flat distributions.
#
# So what must hold for *every* nucleus filter, whatever its code?
#
# 1. What is kept holds at least p of the probability.
# 2. Without its least likely token it would hold less.
# 3. Nothing that was dropped is likelier than something that was kept.
# 4. Kept scores are as they came, in their places; dropped ones are minus infinity.

# %% [markdown]
# ### Exercise 3 · Write the test that every nucleus filter must pass
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the four claims.
# - **In:** `top_p`, a function that takes logits (B, V) and p. **Out:** nothing.
# - **Worked value:** the published filter above must not get through, yours must.
# - **Pitfall:** one row of flat scores shows little. Use several unsorted rows, a sure one among them, and more
#   than one p: one below the chance of a likeliest token, none of them 0, 1 or exactly a sum of chances. Sums of
#   floats may miss by 1e-6. Ask claim 1 first: the minimum of nothing is an error and no objection.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Write the rows as logarithms of probabilities that you chose, such as 0.05, 0.85, 0.1: then you know what must stay.
# Add a number to each row, so that its scores are not log-probabilities already.
# </details>
# <details><summary>Hint 2</summary>
# <code>kept = result &gt; -math.inf</code> is a mask. For each row: <code>chances[kept].sum()</code>, its minimum, and the
# maximum of <code>chances[~kept]</code> if anything was dropped.
# </details>


# %% test="top_p"
def test_top_p(top_p):
    """Fails with an AssertionError unless top_p keeps exactly the nucleus of each row."""
    ### BEGIN SOLUTION
    draws = torch.Generator().manual_seed(1)
    flat = torch.randn(4, 12, generator=draws)
    logits = torch.cat([flat, 4 * flat, 12 * flat])  # from open to sure
    for p in (0.2, 0.5, 0.7, 0.93):
        results = top_p(logits.clone(), p)
        assert results.shape == logits.shape
        for row, result in zip(logits, results, strict=True):
            chances, kept = row.softmax(-1), result > -math.inf
            mass = chances[kept].sum()
            assert mass >= p - 1e-5, "too little is kept"
            assert mass - chances[kept].min() < p + 1e-5, "too much is kept"
            if not kept.all():
                assert chances[~kept].max() <= chances[kept].min(), "the wrong ones"
            assert torch.allclose(result[kept], row[kept]), "a score was changed"
            assert (result[~kept] == -math.inf).all(), "a dropped one can be drawn"
    ### END SOLUTION


# %% check="test_top_p" points=4
checks.sampling.test_top_p(test_top_p)

# %% [markdown]
# ## A panel of all settings
#
# Your filters are at work in this panel. The scores are computed once for each prompt, so the bars follow at once,
# and the button lets the model write. The title has the **entropy** of the draw: 0 if only one token may come, ln n
# if n tokens are equally likely. Try temperature 1.5 with p at 1; then add min-p 0.1. **Guess** which of the two
# can still be read.

# %%
from course_lib.widgets.sampling_panel import Speaker, sampling_panel

speakers = {
    "SmolLM2": Speaker(speaker, its_tokenizer),
    "the course's model": Speaker(base, tokenizer),
}
sampling_panel(
    speakers, [start, sure, open_ended, "Ada"], temperature=temperature, top_p=top_p
)

# %% [markdown]
# Heat alone spreads over the whole vocabulary; with min-p it is spread over what the model thinks possible. And the
# sentence of the beginning, 60 tokens as before?

# %%
luck = torch.Generator().manual_seed(0)
cool = sampler(partial(temperature, value=0.8), partial(top_p, p=0.9), generator=luck)
for ids in generate(speaker, prompt, long, choose=cool, samples=3).tolist():
    print("–", its_tokenizer.decode(ids))

# %% [markdown]
# No text stays in one circle, and none gets lost as before. It is still a small model: choosing well does not make
# it know more.
#
# ## What was said already
#
# Greedy text repeats itself, so one can punish tokens that were said. Three rules are in use. The **presence
# penalty** subtracts a number once, the **frequency penalty** subtracts it for each time a token was said. The
# **repetition penalty** is older and works with a factor. By hand, for three tokens that were said once, twice and
# not at all:

# %%
from course_lib.sampling.penalties import frequency_penalty, presence_penalty

logits, counts = torch.tensor([[3.0, -3.0, 3.0]]), torch.tensor([[1, 2, 0]])
print("presence, 0.5: ", presence_penalty(logits, counts, 0.5)[0])
print("frequency, 0.5:", frequency_penalty(logits, counts, 0.5)[0])

# %% [markdown]
# The paper that introduced the factor divides the scores of what was said by it. **Guess** what that does to the
# second token, with a factor of 1.5.

# %%
divided = torch.where(counts > 0, logits / 1.5, logits)
print(divided[0], (divided - logits)[0])

# %% [markdown]
# A score of −3 became −2: the token was said twice, and now it is *likelier*. No error, no warning. The repair that
# all libraries use looks at the sign.

# %% [markdown]
# ### Exercise 4 · Make repetition costly
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** the scores after a repetition penalty: each token that was said becomes less likely, by a factor on
#   its score.
# - **In:** `logits` and `counts` (B, V), how often each token was said; `penalty` above 0, where 1 does nothing and
#   less than 1 encourages, by the same rule. **Out:** (B, V), new, of the logits' type; what was not said keeps its
#   score.
# - **Worked value:** scores 3, −3, 3, of which the first two were said, with 1.5: 2, −4.5, 3.
# - **Pitfall:** a positive score and a negative one need opposite operations. The factor acts once, however often a
#   token was said.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Less likely means a smaller number. What makes −3 smaller?
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.where(condition, a, b)</code>, twice: once for the sign and once for whether the token was said.
# </details>

# %% exercise="repetition_penalty"
from course_lib.sampling.penalties import repetition_penalty

# %%
repetition_penalty(logits, counts, 1.5)

# %% check="repetition_penalty" points=3
checks.sampling.repetition_penalty(repetition_penalty)

# %% [markdown]
# `generate` takes such a rule and hands it the text so far, prompt included, at every step. Does it break the
# circle?

# %%
from course_lib.sampling.penalties import counting

gentle = counting(repetition_penalty, 1.2)
freed = generate(speaker, prompt, long, temperature=0, rules=[gentle])
print(its_tokenizer.decode(freed[0].tolist()))

# %% [markdown]
# It does. The notes say that a penalty "prevents immediate repetition". It neither prevents nor looks at distance:
# a token said two hundred words ago costs as much as the last one. What if the *answer* is a repetition? We give
# the model lists such as "Loemar: cat. Treiro: dog. Treiro?" and ask what belongs to one name; the answer stands in
# the list. And we ask for facts that it knows by heart. **Guess** what a rising penalty does to each.

# %%
penalties = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
luck = random.Random(5)
lists = [corpus.a_register(luck)[:2] for _ in range(64)]
tasks = {
    "copying from a list": [(a["content"], b["content"]) for a, b in lists],
    "facts by heart": [(q, p.home) for q, p in zip(questions, known, strict=True)],
}


def right_under(penalty, task):
    asked, wanted = zip(*task, strict=True)
    prompts = [exam.prompt_ids(question, tokenizer) for question in asked]
    ids, real = (x.to(device) for x in exam.pad_left(prompts, tokenizer.pad))
    how = {"temperature": 0, "mask": real, "end": tokenizer.end, "pad": tokenizer.pad}
    rules = [counting(repetition_penalty, penalty)]
    texts = generate(model, ids, 16, rules=rules, **how)[:, ids.shape[1] :].tolist()
    said = [tokenizer.decode(text, specials=False) for text in texts]
    return sum(w in s for w, s in zip(wanted, said, strict=True)) / len(said)


# %%
shares = {n: [right_under(x, t) for x in penalties] for n, t in tasks.items()}
assert all(curve[-1] < curve[0] - 0.2 for curve in shares.values())
plots.under_penalty(penalties, shares)

# %% [markdown]
# Up to 1.2 nothing is lost. Then copying collapses, since every word of the answer was said before. Facts suffer
# too: an answer about Ada names Ada. A model that must copy names, numbers or variables wants a penalty near 1. (In
# lesson 10 a whole system will live on copying.)
#
# There is a second oddity. Adding the same number to all scores changes no probability. Does it change what the
# penalty does? We look at the end of the greedy text: how likely is the *next* token one that was said before?

# %%
with torch.no_grad():
    logits = speaker(likeliest)[:, -1].float().cpu()
said = torch.bincount(likeliest[0].cpu(), minlength=logits.shape[1])[None]
again = []
for shift in (0, 10, 20):
    before = (logits + shift).softmax(-1)
    later = repetition_penalty(logits + shift, said, 1.2).softmax(-1)
    again.append([chances[said > 0].sum().item() for chances in (before, later)])
    print(
        "scores + {}: said again {:.2f}, with penalty {:.2f}".format(shift, *again[-1])
    )
runtime.learned(again[2][1] < again[0][1] - 0.2, "A shift changes the penalty")

# %% [markdown]
# It does: the factor's strength depends on where a model's scores happen to lie, which nobody chose. Differences
# have no such trouble: presence and frequency penalties subtract.

# %% [markdown]
# ## When to stop
#
# A text ends when the model draws its end token, or when a limit is reached. Beware of the limit's name: in
# `transformers` `max_length` counts the prompt, `max_new_tokens` does not. And a model that was not taught to end
# does this:

# %%
scene = (
    "Guest: Is breakfast included?\nWaiter: Yes, until ten.\n"
    "Guest: May I have some tea?\nWaiter:"
)
ids = torch.tensor([its_tokenizer.encode(scene)], device=device)
reply = generate(speaker, ids, 20, temperature=0)[0, ids.shape[1] :].tolist()
print([its_tokenizer.piece(id) for id in reply])

# %% [markdown]
# After the waiter's line it goes on with the guest's. We want it to stop at the **stop string** "\nGuest:". No
# token is equal to it: it comes in four pieces. So we have to look at the text, and there is a second difficulty. A
# chat shows words as they come. When "\n" arrives, may it be shown? If "Guest:" follows, it should not have been.
#
# So a growing text holds back its last characters for as long as they could be the beginning of a stop string.

# %% [markdown]
# ### Exercise 5 · Hold back what may become a stop string
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** how many last characters of a text may not be shown yet.
# - **In:** `text`, which contains no complete stop string and may be empty; `stops`, a list of strings, none of
#   them empty. **Out:** one whole number for all stop strings together, 0 if none has begun.
# - **Worked value:** after "THE EN" with the stop string "END": 2.
# - **Pitfall:** several may have begun, and the longest beginning counts. A letter that stands somewhere in a stop
#   string has not begun it.

# %% [markdown]
# <details><summary>Hint 1</summary>
# For one stop string: is its first letter the end of the text? Are its first two? <code>text.endswith(...)</code> tells.
# </details>
# <details><summary>Hint 2</summary>
# A whole stop string never stands there, so beginnings have 1 to len(stop) − 1 letters. <code>max(..., default=0)</code>
# answers if there is none.
# </details>

# %% exercise="held_back"
from course_lib.sampling.penalties import held_back

# %%
held_back("THE EN", ["END"]), held_back("aaa", ["aab"]), held_back("done", ["END"])

# %% check="held_back" points=3
checks.sampling.held_back(held_back)

# %% [markdown]
# With it a stream shows what is certain. Each line below is one token; the quotes show what a reader sees at that
# moment.

# %%
from course_lib.sampling.penalties import Stream

stream = Stream(stops=["\nGuest:"], waits=held_back)
for id in reply:
    shown = stream.read(its_tokenizer.decode_bytes([id]))
    print(f"{its_tokenizer.piece(id)!r:10} shows {shown!r}")
    if stream.stopped:
        break

# %% [markdown]
# The line break was held back and never shown. (The opposite rule, a minimum length, forbids the end token for a
# while.)

# %% [markdown]
# ## Searching for the best text
#
# Greedy takes the best token at each step. Is the result the best *text*? Two steps, with two and three choices:

# %%
tree = {"the": (0.6, {"dog": 0.35, "cat": 0.33, "hen": 0.32})}
tree |= {"a": (0.4, {"dog": 0.95, "cat": 0.03, "hen": 0.02})}
for first, (chance, then) in tree.items():
    for second, next_chance in then.items():
        print(
            f"{first} {second}: {chance} × {next_chance} = {chance * next_chance:.3f}"
        )

# %% [markdown]
# Greedy says "the dog", 0.21. But "a dog" has 0.38: the better text begins with the worse word. **Beam search**
# keeps the n best beginnings instead of one. At each step all of them grow by every token, and the n best of *all*
# these stay. Its probabilities are products, so we add logarithms.

# %% [markdown]
# ### Exercise 6 · Grow the beams
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** one step: the n best of all beams made longer by any token, best first.
# - **In:** `logprobs` (B,), each beam's log-probability so far; `logits` (B, V), the scores of its next token; `n`.
#   **Out:** three of (n,): log-probabilities of the longer beams, the number of the beam that each comes from, and
#   its new token. Impossible ones (minus infinity) are left out, so there may be fewer than n. Equals may come in
#   any order.
# - **Worked value:** beams at −2 and 0 with the scores (6, 0, 0) and (1, 3, 2), n = 2: both come from beam 1, its
#   tokens 1 and 2, at −0.41 and −1.41.
# - **Pitfall:** beams compete with one another. Logits of different beams can be compared only after a log-softmax.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Make the table (B, V) of all longer log-probabilities, flatten it, and sort. A place in the flat row tells beam and
# token: which arithmetic takes it apart?
# </details>
# <details><summary>Hint 2</summary>
# Row by row, place = beam · V + token, so <code>//</code> and <code>%</code> undo it. <code>logprobs.unsqueeze(1)</code>
# adds a beam's own number to its row.
# </details>

# %% exercise="grow"
from course_lib.sampling.beam import grow

# %%
two = torch.tensor([[6.0, 0.0, 0.0], [1.0, 3.0, 2.0]])
grow(torch.tensor([-2.0, 0.0]), two, n=2)

# %% check="grow" points=4
checks.sampling.grow(grow)

# %% [markdown]
# Is it right? For a vocabulary of three tokens and texts of four we can try all 81 texts. We draw 300 random
# models, and ask how often the search finds the very best text. **Guess** for 1, 2, 4 and 27 beams.

# %%
from itertools import product

from course_lib.sampling.beam import CachedScores, beam_search


def random_model(seed):
    draws = torch.Generator().manual_seed(seed)
    table = 1.5 * torch.randn(3, 3, 3, generator=draws)  # by the last two tokens
    return lambda ids: table[ids[:, -2], ids[:, -1]]


def best_of_all(scores, begin):
    texts = torch.tensor([[*begin, *text] for text in product(range(3), repeat=4)])
    sums = torch.zeros(81)
    for t in range(2, 6):
        logprobs = scores(texts[:, :t]).log_softmax(-1)
        sums += logprobs.gather(1, texts[:, t : t + 1])[:, 0]
    return tuple(texts[sums.argmax(), 2:].tolist())


# %%
found = {1: 0, 2: 0, 4: 0, 27: 0}
for seed in range(300):
    scores, best = random_model(seed), best_of_all(random_model(seed), (0, 1))
    for beams in found:
        answers = beam_search(scores, torch.tensor([[0, 1]]), 4, beams, grow=grow)
        found[beams] += answers[0].tokens == best
assert found[27] == 300
Table(
    ("beams", "found the best text"), [(b, f"{n / 300:.0%}") for b, n in found.items()]
)

# %% [markdown]
# After three tokens there are 27 beginnings, so 27 beams throw nothing away, and the search is exhaustive. A few
# beams find almost all.
#
# So is the most probable text the best one? Two short sentences: five tokens of probability 0.7 each, and two of
# 0.5. **Guess** which of the two is more probable as a whole.

# %%
print(f"five at 0.7: {0.7**5:.3f}, two at 0.5: {0.5**2:.3f}")
for alpha in (0, 1):
    scores = [math.log(0.7**5) / 5**alpha, math.log(0.5**2) / 2**alpha]
    print(
        f"divided by length to the power {alpha}: {scores[0]:.2f} and {scores[1]:.2f}"
    )

# %% [markdown]
# The short one, although each of its tokens is less likely. Every token makes a product smaller, so the search ends
# sentences early. A **length penalty** (it penalises shortness) divides the log-probability by a power of the
# length; many a beam search in a tutorial has none. What does that do on the course's model? **Guess:** with more
# beams, do texts get longer or shorter?

# %%
beginnings = ("In the morning", "On the bridge", "After work", "At the mill")


def mean_length(beams, alpha):
    lengths = []
    for beginning in beginnings:
        ids = torch.tensor([tokenizer.encode(beginning)], device=device)
        how = {"end": tokenizer.end, "length_penalty": alpha, "grow": grow}
        best = beam_search(CachedScores(base, 100), ids, 60, beams, **how)[0]
        lengths.append(len(best.tokens))
    return sum(lengths) / len(lengths)


widths = (1, 2, 4, 8)
lengths = {alpha: [mean_length(b, alpha) for b in widths] for alpha in (0.0, 1.0)}
assert lengths[0.0][-1] < lengths[0.0][0] < lengths[1.0][-1]
plots.beam_lengths(widths, lengths)

# %% [markdown]
# The better it searches for the most probable text, the less it says. (The curves differ with one beam already: the
# search goes on after an answer is complete, and compares at the end.) And SmolLM2, with 60 tokens for everybody,
# so that length does not matter?

# %%
found = beam_search(CachedScores(speaker, 100), prompt, long, 4, grow=grow)[0]
print(start + its_tokenizer.decode(list(found.tokens)))
for name, cost in (("greedy", sum(costs(likeliest))), ("4 beams", -found.logprob)):
    print(f"{name}: {cost / long:.2f} nats per token")

# %% [markdown]
# More probable than the greedy text, and in circles again. A better search finds more of what is wrong with its
# goal. Beams are good where one answer is right: translation, transcription. For open text, draw.
#
# This is a good place for a pause. So far we asked *which* token. Now: what does it cost?

# %% [markdown]
# ## What is read again and again
#
# To choose the next token, the model reads the text. To choose the one after that, it reads the text again, one
# token longer. But a token's keys and values depend only on itself and on what stands before it, so they do not
# change. Kept in a **cache**, they need not be computed again, and each step reads one token.
#
# So the work has two phases. **Prefill** reads the whole prompt at once; it leaves the cache and the scores of the
# *first* new token. **Decode** then goes token by token. Does the cache change the scores?

# %%
from course_lib.attention import KVCache

ids = written[:, :40]
cache = KVCache(speaker.config, 1, 64, like=speaker.embed.weight)
with torch.no_grad():
    at_once = speaker(ids)[0, -1]
    speaker(ids[:, :-1], cache=cache)  # prefill
    step_by_step = speaker(ids[:, -1:], cache=cache)[0, -1]  # one step of decoding
moved = (at_once - step_by_step).abs().max().item()
print(f"largest difference of {len(at_once):,} scores: {moved:.1e}")
assert moved < 1e-3

# %% [markdown]
# Rounding only. And the time of one step, when more and more tokens stand before it? **Guess** both curves.

# %%
from course_lib.serving import measuring

before = (16, 64, 128, 256)
once = partial(measuring.decode_seconds, speaker, repeats=1)
seconds = {
    "reads everything again": [once(n, cache=False) for n in before],
    "with a cache": [once(n) for n in before],
}
price_plots.step_times(before, seconds)

# %% [markdown]
# Without a cache a step costs more with every token of the text. With one it hardly notices. What does the memory
# cost?
#
# In each layer, every token leaves one key and one value for each key head, of K numbers each. Nothing else is
# kept. For SmolLM2, by hand:

# %%
config = speaker.config
per_token = 2 * config.layers * config.kv_heads * config.K
print(
    f"2 × {config.layers} layers × {config.kv_heads} heads × {config.K}: {per_token:,}"
)
print(f"in 16 bits: {per_token * 2:,} bytes per token")

# %% [markdown]
# ### Exercise 7 · Count the cache
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** the bytes of all keys and values of a batch of texts.
# - **In:** `config`; `batch` texts of `length` tokens each; `precision`, the name of a number's format, and
#   `number_bytes(precision)` is given; `window`: None, or the number of last tokens that are kept of each text.
#   **Out:** one number, the bytes.
# - **Worked value:** width 8, 4 heads of width 6, 1 key head, 3 layers: 10 tokens in 16 bits take 720 bytes.
# - **Pitfall:** the notes say that memory "grows quadratically with context length". Each token adds the same
#   again. A window that is longer than the text keeps the text.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Which heads leave something behind: those of queries, or those of keys? The config has both, and <code>config.K</code>.
# </details>
# <details><summary>Hint 2</summary>
# A product of six factors and a <code>min</code>.
# </details>

# %% exercise="cache_bytes"
from course_lib.scaling.memory import cache_bytes

# %%
print(cache_bytes(config, batch=1, length=1))
print(f"{cache_bytes(config, batch=64, length=config.context) / 2**30:.1f} GiB")

# %% check="cache_bytes" points=3
checks.sampling.cache_bytes(cache_bytes)

# %% [markdown]
# Is it what a real cache holds? We fill one and count its bytes. Beside it stands what a written-out attention
# would need for the scores of *one* layer, T × T numbers for each head. **Guess** which column doubles and which is
# multiplied by four.

# %%
rows = []
for T in (128, 256, 512, 1024):
    held = measuring.held_bytes(measuring.filled_cache(speaker, 1, T))
    assert held == cache_bytes(config, 1, T, "float32")
    rows.append((T, f"{held / 2**20:.1f}", f"{config.heads * T * T * 4 / 2**20:.1f}"))
Table(("tokens", "cache, MiB", "scores of one layer, MiB"), rows)

# %% [markdown]
# The cache is linear. Quadratic is the table of scores. Fused attention, as in lesson 01, never writes it to
# memory; its *computation* stays quadratic. Now large models, with the contexts that are usual today. **Guess:**
# how much memory do the keys and values of *one* text of 128k tokens (131,072) take?

# %%
from dataclasses import replace

from course_lib.scaling.published import PUBLISHED

rows = []
for name in ("Llama-2-7B", "Llama-3-8B", "Llama-3-70B", "Llama-3.1-405B"):
    shape = PUBLISHED[name].config
    own = replace(shape, kv_heads=shape.heads)  # if every query head had its own keys
    sizes = [cache_bytes(c, 1, 128 * 1024) / 2**30 for c in (shape, own)]
    per_token = cache_bytes(shape, 1, 1) / 2**10
    rows.append((name, f"{shape.heads} / {shape.kv_heads}", f"{per_token:.0f} KiB"))
    rows[-1] += tuple(f"{size:.0f} GiB" for size in sizes)
heads = ("model", "heads / key heads", "per token")
Table((*heads, "128k tokens", "with as many key heads"), rows)

# %% [markdown]
# Llama 2 with its 7 billion parameters keeps four times as much per token as Llama 3 with 8 billion. Sharing keys
# among heads, **grouped-query attention**, is what makes long contexts affordable. Llama 2 had a context of 4,096;
# the notes, which call 4,000 to 8,000 "standard", describe the year 2023.
#
# ### Or forget
#
# A **sliding window** goes further: each token sees only the last W. Then the cache stops growing. Information can
# still travel further than W, since each layer moves it by up to W − 1. Dots show who may look at whom:


# %%
def windowed(window):
    """attend, but nobody looks back further than window tokens, itself included."""

    def mix(q, k, v, mask=None):
        T, S = q.shape[-2], k.shape[-2]
        seen = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
        near = seen & ~seen.tril(S - T - window)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, near)

    return mix


def reach(window, tokens=24):
    """Which tokens move which predictions, through all four layers."""
    ids = torch.arange(tokens, device=device) + 300
    with probes.attending(base, lambda layer: windowed(window)):
        return probes.influence(base, ids, ids + 100) > 1e-5


ones = torch.ones(24, 24, dtype=torch.bool)
price_plots.windows(ones.tril() & ~ones.tril(-4), reach(4).cpu(), window=4)

# %% [markdown]
# On the left one layer, on the right the whole model: 13 tokens, three more for each layer and itself. What does a
# model lose that was trained without a window? Two tasks, as before: copying from a list, and facts. **Guess**
# which one breaks first when the window shrinks.

# %%
from course_lib.batches import pad_right

luck = random.Random(5)
chats = {
    "copying from a list": [corpus.a_register(luck)[:2] for _ in range(64)],
    "facts by heart": [corpus.a_fact_question(luck) for _ in range(64)],
}


def cost_of_answers(chats, window):
    marked = [corpus.marked(chat, tokenizer) for chat in chats]
    ids, kept = (pad_right(rows, 0).to(device) for rows in zip(*marked, strict=True))
    with probes.attending(base, lambda layer: windowed(window)):
        return -probes.answer_logprobs(base, ids, kept.bool()).mean().item()


windows = (4, 8, 12, 16, 24, 32, 48, 64, 128)
lost = {n: [cost_of_answers(c, w) for w in windows] for n, c in chats.items()}
price_plots.window_costs(windows, lost)

# %% [markdown]
# A question about Ada is short, and twelve tokens hold it. (With everything in sight facts cost more than copying,
# because an answer can be worded in several ways.) A list is long, and what lies outside cannot be copied. Models
# are therefore trained with their window, and often keep some layers without one.

# %% [markdown]
# ## How long does a token take?
#
# People who wait notice two things: the **time to the first token** (TTFT), which is mostly prefill, and the **time
# per output token** after it (TPOT). The notes say of both: "processing speed: linear decrease with longer
# contexts". We measure the phases one by one, on a model of the course's size with room for 8,192 tokens. Random
# weights will do: time does not depend on sense. **Guess** the shapes of the two curves.

# %%
from course_lib.transformer import Config, Transformer

roomy = Transformer(replace(base.config, context=8192)).to(device)
lengths = (256, 512, 1024, 2048, 4096)
read = partial(measuring.prefill_seconds, roomy, repeats=1)
write = partial(measuring.decode_seconds, roomy, repeats=5)
with measuring.one_thread():
    prefill, decode = measuring.curve(read, lengths), measuring.curve(write, lengths)
fits = [
    (measuring.fit_powers(lengths, prefill, powers=(1, 2)), (1, 2)),
    (measuring.fit_powers(lengths, decode, powers=(0, 1)), (0, 1)),
]
price_plots.phases(lengths, prefill, decode, fits)

# %%
grown = [times[-1] / times[0] for times in (prefill, decode)]
print(f"16 times the text: prefill takes {grown[0]:.0f} times as long", end=", ")
print(f"a step of decoding {grown[1]:.1f} times")

# %% [markdown]
# So the sentence is wrong twice. The time to read a prompt grows faster than the prompt, since every pair of tokens
# meets: $cn + dn^2$. The time of a step grows slowly and in a line, $a + bn$, so its speed falls as $1/(a + bn)$.
# What rises is attention's part, which the notes praise for "lower costs".

# %% [markdown]
# ### Why is decoding slow?
#
# Multiplying a matrix by one vector uses each weight once. So for one token all weights travel from memory to the
# processor, and each is used for one multiplication and one addition. Is it the arithmetic that takes the time, or
# the way?
#
# A data sheet names two rates: the **bandwidth**, bytes per second, and the **peak**, operations per second
# (FLOP/s). By hand for 7 billion parameters in 16 bits on an A100, a graphics card for servers:

# %%
from course_lib.scaling.cost import GPUS

a100 = GPUS["A100"]
reading, computing = 7e9 * 2 / a100.bandwidth, 2 * 7e9 / a100.peak
print(
    f"to read all weights: {1e3 * reading:.2f} ms; to compute: {1e3 * computing:.3f} ms"
)

# %% [markdown]
# Reading takes about 150 times as long. The processor waits. Both go on at the same time, so a step takes at least
# as long as the slower one.

# %% [markdown]
# ### Exercise 8 · Bound a decoding step
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** the least time, in seconds, of a step that writes one token in each of `batch` texts.
# - **In:** `parameters`, of `bytes_each` bytes; `batch`; `cached_bytes`, the keys and values of *all* texts
#   together; `bandwidth` in bytes per second; `peak` in operations per second. **Out:** seconds.
# - **Worked value:** the A100 above, nothing cached: one text takes 6.9 ms, 200 texts take 9.0.
# - **Pitfall:** weights are read once for the whole batch, and computed with once for each text, two operations
#   each. The notes call decoding "memory intensive" because of all the tokens to remember; with one short text
#   nearly all bytes are weights.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Two times, and the longer one counts. Which of them knows about the batch?
# </details>
# <details><summary>Hint 2</summary>
# Bytes to read: the weights and the cache. Operations: two per parameter and text.
# </details>

# %% exercise="step_seconds"
from course_lib.serving.limits import step_seconds

# %%
one = step_seconds(7e9, 1, 0, a100.bandwidth, a100.peak)
print(f"at most {1 / one:.0f} tokens per second, whatever the program")
step_seconds(7e9, 200, 0, a100.bandwidth, a100.peak)

# %% check="step_seconds" points=3
checks.sampling.step_seconds(step_seconds)

# %% [markdown]
# If the weights are on their way anyway, why not use them for several texts? Each text shall have 1,000 tokens in
# its cache. **Guess:** how many texts can be written in twice the time of one? Then move the slider.

# %%
llama = PUBLISHED["Llama-2-7B"].config
sizes = [2**i for i in range(11)]


def step_of(batch, key_heads=32):
    kept = cache_bytes(replace(llama, kv_heads=int(key_heads)), batch, 1000)
    fits = 7e9 * 2 + kept <= a100.memory
    return step_seconds(7e9, batch, kept, a100.bandwidth, a100.peak), fits


def tokens_per_second(key_heads):
    steps, fits = zip(*(step_of(batch, key_heads) for batch in sizes), strict=True)
    return price_plots.batching(sizes, steps, fits, int(key_heads))


most = max(batch for batch in range(1, 100) if step_of(batch)[0] <= 2 * step_of(1)[0])
print(f"{most} texts in at most twice the time of one")
controls.explore(
    tokens_per_second, key_heads=controls.slider(32, 1, 32, 1, "key heads")
)

# %% [markdown]
# First texts are nearly free. Then their caches take over: they are read once per text, and they fill the memory.
# With fewer key heads both limits move, until arithmetic is the limit. Weights of 4 bits would help where reading
# is the limit, in decoding. Prefill uses each weight for all tokens of the prompt, so there the limit is
# arithmetic.
#
# Does this hold on the machine before you? We measure its two rates, bound SmolLM2's steps, and time them.

# %%
numbers = torch.ones(2**26, device=device)  # 256 MiB
square = torch.randn(1024, 1024, device=device)
batches = (1, 2, 4, 8, 16, 32, 64)
with measuring.one_thread():
    summing = measuring.least_seconds(lambda: numbers.sum(), 3, device)
    multiplying = measuring.least_seconds(lambda: square @ square, 3, device)
    measured = [measuring.decode_seconds(speaker, 64, b, repeats=2) for b in batches]
bandwidth, peak = numbers.nbytes / summing, 2 * 1024**3 / multiplying
print(f"{bandwidth / 1e9:.0f} GB/s, {peak / 1e9:,.0f} GFLOP/s")

# %%
N, caches = (
    speaker.parameter_count,
    [cache_bytes(config, b, 64, "float32") for b in batches],
)
bound = [
    step_seconds(N, b, kept, bandwidth, peak, bytes_each=4)
    for b, kept in zip(batches, caches, strict=True)
]
assert batches[-1] / measured[-1] > 3 / measured[0]
price_plots.against_the_bound(batches, measured, bound)

# %% [markdown]
# The bound is not reached, since starting hundreds of small products takes time too. But it tells the shape: nearly
# level while the weights are the bottleneck, rising once arithmetic is. 64 texts at a time write many times as many
# tokens per second as one.
#
# ### Who may sit in the batch?
#
# People do not come all at once, and their answers differ in length. A **static** batch runs until its longest
# answer is done. **Continuous** batching gives a free row to the next request at every step. Eight requests, three
# rows; each colour is one request:

# %%
from course_lib.serving import metrics
from course_lib.serving.batching import continuous_batches, static_batches

asked = [metrics.Request(0.0, 32, new) for new in (9, 2, 3, 8, 2, 4, 3, 5)]
policies = {"static": static_batches, "continuous": continuous_batches}
runs = {name: run(asked, 3, lambda *_: 1.0) for name, run in policies.items()}
price_plots.occupancy({name: run.occupancy for name, run in runs.items()})

# %% [markdown]
# Now with 200 requests at chance times, each with a prompt of 512 tokens, on the A100 of before, with 32 rows. The
# notes call throughput "the number of simultaneous requests handled". That is **concurrency**; those who wait for a
# row count as well. **Throughput** is a rate: tokens or requests per second. **Latency** is the time from the
# request to the last token. All times are in seconds. **Guess** which of the columns differ most.

# %%
from course_lib.serving.batching import random_requests

each = cache_bytes(llama, 1, 1)  # bytes of one remembered token


def on_the_a100(rows, remembered):
    return step_seconds(7e9, rows, remembered * each, a100.bandwidth, a100.peak)


def prefill_there(tokens):
    return 2 * 7e9 * tokens / a100.peak


luck = torch.Generator().manual_seed(0)
asked = random_requests(200, per_second=8, longest=400, generator=luck, prompt=512)
rows = []
for name, policy in policies.items():
    served = policy(asked, 32, on_the_a100, prefill_there).served
    summed = metrics.summary(served)
    rows.append((name, *(f"{number:.3g}" for number in summed.values())))
Table(("batching", *summed), rows)

# %% [markdown]
# The same machine, the same requests. The first token comes much sooner, since nobody waits for a stranger's long
# answer. And three columns are tied together: concurrency is requests per second times latency. That is **Little's
# law**, and it holds for every queue.

# %% [markdown]
# ## Guess, and check all guesses at once
#
# Decoding waits for weights. Reading five tokens costs hardly more than reading one. If somebody could *guess* the
# next four tokens, the large model could check all of them in one call. A small model, the **draft**, is to guess.
# But it draws from other probabilities. Can the result still be distributed exactly as if the large model had drawn
# alone?
#
# The large model (the **target**) says p = (0.5, 0.3, 0.2), the draft q = (0.2, 0.7, 0.1). The draft proposes the
# second token much too often. So keep that guess only sometimes: with probability 0.3 / 0.7. The others it proposes
# too rarely; they are always kept.

# %%
p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.1])
keep = torch.tensor([1.0, 0.3 / 0.7, 1.0])
print("guessed and kept:", q * keep)
print("missing to p:    ", p - q * keep)
print(f"rejected:         {1 - (q * keep).sum():.2f}")

# %% [markdown]
# What is missing is 0.4 in all, and that is exactly how often a guess is rejected. So a rejected guess is replaced
# by a draw from what is missing, $(p - q)_+$, made to sum to 1:
#
# $$\text{keep}(x) = \min\left(1, \frac{p(x)}{q(x)}\right), \qquad \text{replace}(x) = \frac{\max(0,\, p(x) - q(x))}{\sum_y \max(0,\, p(y) - q(y))}$$
#
# This is **speculative decoding**.

# %% [markdown]
# ### Exercise 9 · Keep a guess or replace it
#
# *8 minutes · difficulty 3 of 3*
#
# - **Write** both rows: how likely each token is kept if it is guessed, and what a rejected guess is replaced from.
# - **In:** `p` and `q` (..., V), the target's and the draft's probabilities. **Out:** two of (..., V).
# - **Worked value:** the p and q above: keep 1, 0.429, 1; replace 0.75, 0, 0.25.
# - **Pitfall:** where q is 0 a token is never guessed, and keep is 1 there; where p = q nothing is ever rejected,
#   and replace is p. Nothing may become nan. And a rejected guess must not be drawn from p again.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>torch.where(condition, a, b)</code> chooses number by number. Divide where it is safe, and where it is not,
# choose the other.
# </details>
# <details><summary>Hint 2</summary>
# <code>(p - q).clamp(min=0)</code> is what is missing. Its sum along the last dimension, with <code>keepdim=True</code>,
# is 0 only if the rows are equal.
# </details>

# %% exercise="keep_or_replace"
from course_lib.sampling.speculative import keep_or_replace

# %%
keep, replace_from = keep_or_replace(p, q)
q * keep + (1 - (q * keep).sum()) * replace_from

# %% check="keep_or_replace" points=4
checks.sampling.keep_or_replace(keep_or_replace)

# %% [markdown]
# What comes out is p. And if a rejected guess is drawn from p itself, which looks as reasonable? We draw 20,000
# tokens each way. **Guess** which token comes out too often.

# %%
luck = torch.Generator().manual_seed(0)


def draws_by(rule, n=20_000):
    keep, instead = rule(p, q)
    guesses = draw(q.expand(n, -1), luck)
    kept = torch.rand(n, generator=luck) < keep[guesses]
    tokens = torch.where(kept, guesses, draw(instead.expand(n, -1), luck))
    return torch.bincount(tokens, minlength=3) / n


def from_p_again(p, q):
    return keep_or_replace(p, q)[0], p


drawn = {"your rule": draws_by(keep_or_replace), "from p again": draws_by(from_p_again)}
assert (drawn["your rule"] - p).abs().max() < 0.02
plots.compared(p, q, drawn)

# %% [markdown]
# Your rule lands on p. The other one says the second token too often, the draft's own favourite. The probability
# that a guess is kept is the overlap of the two, $\sum_x \min(p, q)$, here 0.6.
#
# ### How many calls does it save?
#
# The course has a draft of one layer that was trained on the same texts. We count tokens per call of the large
# model, for texts about Ada. If each guess is kept with probability a, n guesses should give $1 + a + \dots + a^n$
# tokens per call. **Guess:** how many tokens will a call give with eight guesses?

# %%
from course_lib.sampling.speculative import (
    CachedReader,
    overlap,
    speculative_generate,
    tokens_per_call,
)

draft, _ = pretrained.load("draft")
draft = draft.to(device)


def speculate(guesses, seed, rule=keep_or_replace):
    readers = CachedReader(base, 128), CachedReader(draft, 128)
    luck = torch.Generator().manual_seed(seed)
    how = {"guesses": guesses, "generator": luck, "rule": rule}
    return speculative_generate(*readers, ada, 100, **how)


with torch.no_grad():
    texts = generate(base, ada, 100, generator=luck, samples=16)
    agree = overlap(base(texts).softmax(-1), draft(texts).softmax(-1)).mean().item()
many = (1, 2, 4, 8)
calls = {n: [100 / speculate(n, seed)[1]["calls"] for seed in range(4)] for n in many}
expected = [tokens_per_call(agree, n) for n in many]
assert sum(calls[4]) / 4 > 2
price_plots.tokens_per_call(calls, expected, agree)

# %% [markdown]
# More guesses always give more tokens per call, and ever fewer of them are kept. The distribution of the text is
# the same. But do we get it sooner?

# %%
plain = measuring.least_seconds(lambda: generate(base, ada, 100), 3, device)
size = draft.parameter_count / base.parameter_count
a_call = measuring.decode_seconds(draft, 64) / measuring.decode_seconds(base, 64)
print(f"draft: {size:.0%} of the parameters, a call takes {a_call:.0%} of the time")
for n in many:
    seconds = measuring.least_seconds(partial(speculate, n, 0), 3, device)
    print(f"guesses {n}: {seconds / plain:.1f} times the time of plain decoding")

# %% [markdown]
# Hardly, if at all. Our draft is not small enough beside its target, and a target of two megabytes does not wait
# for its weights. Speculation pays where the target does: 70 billion parameters with a draft of one, on a GPU, with
# few texts at a time. What it saves is calls.
#
# ## The same in the libraries
#
# Your functions under other names, on random scores:

# %%
from transformers import generation

scores = 4 * torch.randn(5, 50)
said = torch.randint(50, (5, 12))
counted = torch.stack([torch.bincount(row, minlength=50) for row in said])
pairs = {
    "TemperatureLogitsWarper(0.7)": temperature(scores, 0.7),
    "TopPLogitsWarper(0.83)": top_p(scores, 0.83),
    "RepetitionPenaltyLogitsProcessor(1.3)": repetition_penalty(scores, counted, 1.3),
}
for name, mine in pairs.items():
    kind, setting = name.rstrip(")").split("(")
    theirs = getattr(generation, kind)(float(setting))(said, scores.clone())
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    print(f"{name:38} equal")

# %% [markdown]
# A server such as vLLM or llama.cpp adds memory for caches in pages, prompts that share a beginning, and prefill in
# slices. The choice of the token is what you wrote.
#
# ## Reflect

# %% [markdown] reflect="which_settings" points=1
# **1.** A colleague sets temperature 1.3, top-p 0.95 and a repetition penalty of 1.5 for a model that fills in
# forms from letters. What will go wrong, and what would you set?
#
# A good answer: Filling in means copying, and the penalty forbids what already stands in the letter; heat makes
# wrong values likely where one is right. Temperature near 0 or greedy, no penalty, a stop string, perhaps a filter
# on allowed characters.

# %% [markdown] reflect="which_speedup" points=1
# **2.** Your model answers one person at a time on a GPU and writes 40 tokens per second. Name two changes of this
# lesson that should help and one that should not, each with its reason.
#
# A good answer: One text at a time waits for the weights, so smaller weights (quantization) and speculative
# decoding help; a faster processor with the same memory does not, nor does grouped-query attention while the text
# is short. Batching raises throughput but not this one person's speed.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("02_sampling")

# %% [markdown]
# ## You can now
#
# - turn scores into a choice, and say for a task which filters and penalties it wants;
# - search for the most probable text, and say when not to;
# - compute what a token costs in bytes and in seconds, and speed it up without changing what is said.
#
# **Read on:** *The Curious Case of Neural Text Degeneration* ([arXiv 1904.09751](https://arxiv.org/abs/1904.09751))
# introduces the nucleus with a picture like our first. *Fast Inference from Transformers via Speculative Decoding*
# ([arXiv 2211.17192](https://arxiv.org/abs/2211.17192)) proves the rule of Exercise 9 on half a page.
#
# **Next:** lesson 03 asks how large a model should be, and for how long it should read.

# %% [markdown]
# ## Going further: one forbidden token
#
# A filter can also enforce a *form*: only tokens that keep the answer valid may be drawn. We force the course's
# model to begin each reply to a sum with "Answer:", so that a program can read it. Then we do the reverse:
# "Answer:" is the one thing that a reply may *not* begin with. And we leave the model free. **Guess** the order of
# the three.

# %%
from course_lib.world import arithmetic

worker, _ = pretrained.load("cold_start")
worker = worker.to(device)
problems = random.Random(0).sample([*corpus.training_problems(arithmetic.TRIPLE)], 100)
ways = {"must begin with “Answer:”": "direct", "free": "free", "must not": "steps"}
rows = []
for name, how in ways.items():
    rows.append((name, f"{exam.sums(worker, tokenizer, problems, how):.0%}"))
Table(("reply", "right"), rows)

# %% [markdown]
# Left free, it answers at once, as the form would make it, and is wrong as often. One forbidden token makes it
# write down its steps, and then it is right. Nothing was trained in between: what may come *first* decided what the
# model could do. Whoever enforces a form should leave room in it for the work. (In lesson 08 reinforcement will
# teach the model to take that room by itself.)
