# %% [markdown]
# # Start here: turn scores into choices
#
# You will build the last step of every language model, the one that turns scores into a choice, and a
# small text pipeline around it that learns in seconds.
#
# **Afterwards you can** write a softmax that survives any finite score, average over texts of different lengths
# without counting the padding, and write a test that catches a mistake which large libraries made.
#
# **You need** some Python and a first look at PyTorch tensors. The quiz below tells you whether that is enough.
#
# About 60 minutes. After 25 of them, with Exercise 2, you know how a lesson works. The tour of the field at the end is
# optional: 15 more.

# %% [markdown]
# Run a cell with Shift+Enter, from top to bottom. This notebook is your own copy in `work/`: write into it, break it,
# keep it. Updates of the course never touch it.

# %%
import textwrap

import torch
from torch import Tensor

from course_lib import checks, landscape, quizzes, runtime
from course_lib.plotting import start_here as plots
from course_lib.plotting.tables import Table
from course_lib.widgets import controls, quiz

device = runtime.start(seed=0)

# %% [markdown]
# ## Are you ready?
#
# Six questions. Two wrong answers are fine: the lesson repeats what it needs.

# %%
quiz.quiz(*quizzes.PREREQUISITES)

# %% [markdown]
# Three or more wrong? Spend an hour with PyTorch's "Learn the Basics" and with the first chapters of a book on
# probability, and come back. Nothing here assumes more.
#
# ## A formula that works until it does not
#
# A language model ends in one number for every word it knows. These numbers are called **logits**, or scores:
# the larger, the likelier the word comes next. Here are three, for the word after "the soup was".

# %%
words = ["good", "cold", "blue"]
scores = torch.tensor([2.0, 1.0, 0.0])


def naive_softmax(scores):
    exponentials = scores.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


naive_softmax(scores)

# %% [markdown]
# The formula makes every score positive with an exponential, then divides by the sum. Positive numbers that sum
# to 1: probabilities.
#
# Now add 100 to all three scores. Every quotient of two exponentials stays the same, so the probabilities
# should too. **Before you run this:** what will it print?

# %%
naive_softmax(scores + 100)

# %% [markdown]
# `nan`: "not a number". Let us see when it happens.

# %%
shifts = torch.arange(0.0, 121.0)
naive = [naive_softmax(scores + shift)[0].item() for shift in shifts]
meant = torch.softmax(scores, dim=0)[0].item()

plots.overflow(shifts.tolist(), naive, [meant] * len(shifts))

# %% [markdown]
# The curve is right up to a wall and then gone. The wall stands at 87, where the largest score is 87 + 2 = 89. Nothing
# about the *choice* changed there. Something about the *numbers* did.
#
# ## By hand
#
# First with the three scores 2, 1, 0. We need $e^2$, $e^1$ and $e^0$, about 7.39, 2.72 and 1.

# %%
exponentials = [2.718281828**score for score in (2, 1, 0)]
[round(x, 2) for x in exponentials], round(sum(exponentials), 2)

# %% [markdown]
# The sum is 11.11, so the first probability is 7.39 / 11.11, about two thirds.

# %%
[round(x / sum(exponentials), 3) for x in exponentials]

# %% [markdown]
# Now the wall. The largest number that a 32-bit float can hold is about 3.4 × 10³⁸. Which exponential is the
# first one beyond?

# %%
for kind in (torch.float32, torch.float16):
    largest = torch.tensor(torch.finfo(kind).max)
    print(
        f"{kind}: the largest number is {largest:.3g}, its logarithm {largest.log():.2f}"
    )
print(torch.tensor([88.0, 89.0]).exp())

# %% [markdown]
# From 89 on an exponential is `inf`, and `inf / inf` is `nan`. With 16-bit floats of this kind the wall stands at 12. Few
# models are built to keep their scores below that.

# %% [markdown]
# ## The name
#
# The formula is called **softmax**:
#
# $$p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}$$
#
# | symbol | in code | shape | meaning |
# |---|---|---|---|
# | $z$ | `scores` | (..., V) | one score for each of V words |
# | $p$ | result | (..., V) | one probability for each; rows sum to 1 |
#
# The three dots stand for any dimensions in front: one text, a **batch** (several texts at once), a batch of texts with
# many positions each. The formula works along the last one.

# %% [markdown]
# ## How exercises work
#
# Each exercise has a card, a cell to write in, and a check. Replace `raise NotImplementedError`, run your cell, then
# the check. A check either says what it has proven or names the likely mistake. Two hints are folded under each
# card. Stay with tensors unless a card asks for plain numbers: training follows gradients, and they flow through tensors
# only.
#
# If you are stuck, type `checks.skip("softmax")` in any cell: the library's version stands in for no points, and the
# lesson goes on. To begin again, save and run `make reset LESSON=00 EXERCISE=softmax` in a terminal.

# %% [markdown]
# ### Exercise 1 · Make softmax safe
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** a softmax along the last dimension that no finite score can break.
# - **In:** `scores` (..., V). **Out:** (..., V), every row sums to 1.
# - **Worked value:** scores log 1, log 2, log 5 give 1/8, 2/8, 5/8.
# - **Pitfall:** one row of a batch may hold scores near 1000 and its neighbour scores near −1000.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Adding one number to all scores of a row changes nothing. Which number would make overflow impossible?
# </details>
# <details><summary>Hint 2</summary>
# If the largest score of a row is 0, no exponential in it exceeds 1, and at least one equals 1. Look up
# <code>amax</code> and its <code>keepdim</code>.
# </details>

# %% exercise="softmax"
from course_lib.logprobs import softmax

# %%
softmax(torch.tensor([[1002.0, 1001.0, 1000.0], [-1000.0, -1001.0, -1002.0]]))

# %% check="softmax" points=3
checks.start_here.softmax(softmax)

# %% [markdown]
# Both rows of the cell above are the three probabilities from before: only differences between scores matter.
#
# ## Divide by a temperature
#
# Adding a number to all scores changes nothing; dividing them changes their differences, and so the probabilities. The
# best word stays the best. Dividing by a **temperature** before the softmax is a knob on every language model.
# **Guess first:** where do the probabilities go at temperature 0.1, and where at 5?

# %%
menu = ["good", "cold", "salty", "gone", "blue"]
menu_scores = torch.tensor([3.0, 2.5, 1.5, 0.5, -2.0])


def at_temperature(temperature):
    probabilities = softmax(menu_scores / temperature)
    return plots.next_word(menu, probabilities.tolist(), temperature)


slider = controls.slider(1.0, 0.1, 5.0, 0.1, "temperature")
controls.explore(at_temperature, temperature=slider)

# %% [markdown]
# At low temperature the favourite takes all; at high temperature all words become almost equally likely. Lesson 02 is
# about everything between.

# %% [markdown]
# ## Look up what was said
#
# Models read and write **tokens**: words or pieces of words, each with a number. In this lesson every token is a word.
#
# Training asks one question over and over: which probability did the model give to the token that really came? The
# scores of a batch are a block of shape (B, T, V): texts, positions, tokens to choose from. The tokens that came are
# `ids` of shape (B, T). We need to pick one number out of each row of the block. That is what `gather` does.

# %%
block = torch.tensor([[[10, 11, 12], [20, 21, 22]]])  # (B, T, V) = (1, 2, 3)
ids = torch.tensor([[2, 0]])  # (B, T): third of the first row, first of the second
block.gather(-1, ids.unsqueeze(-1)).squeeze(-1)

# %% [markdown]
# `gather` wants an index with as many dimensions as the block, so `unsqueeze` adds one at the end and `squeeze`
# takes it away again.
#
# Probabilities of whole sentences are products of many small numbers, and products of small numbers vanish.
# So we keep **log-probabilities** and add them. The logarithm is the natural one, whose unit is called the **nat**.
# **Guess:** after how many tokens of probability 1/1000 does the product become exactly 0?

# %%
said_so_far = torch.arange(1, 21)
products = torch.full((20,), 1e-3).cumprod(0)
sums = torch.full((20,), 1e-3).log().cumsum(0)
first = (products == 0).nonzero()[0].item()
print(f"after {said_so_far[first]} tokens the product is {products[first].item()}")
print(f"and the sum of logarithms {sums[first]:.1f}")

# %% [markdown]
# ### Exercise 2 · Find the log-probability of each token that was said
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** the log of the softmax probability of each given token.
# - **In:** `logits` (B, T, V) and `ids` (B, T), already lined up: row t scored the token `ids[:, t]`. **Out:** (B, T), in
#   nats.
# - **Worked value:** scores log 1, log 2, log 5 and the third token: log(5/8) ≈ −0.470.
# - **Pitfall:** a token 200 below the best one has probability 0 in float32, but log-probability −200.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Take the logarithm of the softmax formula on paper before you code: a quotient becomes a difference.
# </details>
# <details><summary>Hint 2</summary>
# One half of the difference is the token's own score. The other half depends on the row alone, and PyTorch has a
# safe function for it whose name is the three operations in a row: log, sum, exp.
# </details>

# %% exercise="token_logprobs"
from course_lib.logprobs import token_logprobs

# %%
scores = torch.tensor([[[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]]).log()
token_logprobs(scores, torch.tensor([[2, 0]]))

# %% check="token_logprobs" points=3
checks.start_here.token_logprobs(token_logprobs)

# %% [markdown]
# Minus this number is called the **cross entropy**. Its average is the **loss**, the number that training makes small. From
# lesson 07 on, the same function says how far a model has moved away from where it started.
#
# ## Texts have different lengths
#
# Numbers on a computer come in rectangles; texts do not. So short texts are filled up with **padding**, and a
# **mask** remembers which positions are real. We name a mask after what True keeps.

# %% [markdown]
# ### Exercise 3 · Pad a batch of texts
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** the rectangle and its mask for a list of lists of token ids.
# - **In:** B lists. **Out:** `ids` (B, T) of type long and `mask` (B, T) of True and False, padding on the right.
# - **Worked value:** `[[7, 8, 9], [5]]` gives ids `[[7, 8, 9], [5, 0, 0]]`.
# - **Pitfall:** a real token may have the same number as the padding, and a text may be empty.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Begin with a rectangle full of <code>pad_id</code>; the longest text gives its width. Then write each text over the
# beginning of its row. Mind that <code>torch.tensor([])</code> is a tensor of floats.
# </details>
# <details><summary>Hint 2</summary>
# A position is real if its number is smaller than the length of its text. Compare a row of positions with a column
# of lengths, and broadcasting makes the rectangle.
# </details>

# %% exercise="pad_batch"
from course_lib.pipeline import pad_batch

# %%
texts = ["the soup was stale", "my tea was lovely again this week", "what a warm cake"]
numbers = [[len(word) for word in text.split()] for text in texts]  # any will do
_, mask = pad_batch(numbers)

plots.batch([text.split() for text in texts], mask.numpy())

# %% check="pad_batch" points=2
checks.start_here.pad_batch(pad_batch)

# %% [markdown]
# ### Exercise 4 · Average without the padding
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** the mean of the values that the mask keeps, over everything or along one dimension.
# - **In:** `values` and `mask` of one shape; `dim` a number or None. **Out:** the mean, without dimension `dim`.
# - **Worked value:** 4, 2, 9 with the last masked out: 3.
# - **Pitfall:** padding may hold anything, even nan, and nan × 0 is still nan. The mean of nothing is 0 here.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A mean is a sum and a count. Both go along the same dimension; True counts as 1.
# </details>
# <details><summary>Hint 2</summary>
# <code>masked_sum(values, mask, dim)</code> is imported for you: it replaces what is masked out by 0 before it adds. What
# remains is the count. Make sure that you never divide by a count of 0.
# </details>

# %% exercise="masked_mean"
from course_lib.masks import masked_mean

# %%
masked_mean(torch.tensor([[4.0, 2.0, 9.0]]), torch.tensor([[True, True, False]]), dim=1)

# %% check="masked_mean" points=3
checks.start_here.masked_mean(masked_mean)

# %% [markdown]
# ## Three steps from text to answer
#
# Every use of a language model is a **pipeline** of three functions, whatever library hides them: text becomes
# numbers, numbers become scores, scores become an answer. You have the first and most of the last.

# %% [markdown]
# ### Exercise 5 · Read the answer off the scores
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** the likeliest label of each text and its probability, with your softmax.
# - **In:** `logits` (B, number of labels), `labels`. **Out:** B pairs such as `("glad", 0.98)`.
# - **Worked value:** scores log 1, log 2, log 5 for sad, calm, glad: `("glad", 0.625)`.
# - **Pitfall:** a tensor with one number in it is not yet a number that a user can read.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A maximum along a dimension comes with the place where it was found.
# </details>
# <details><summary>Hint 2</summary>
# <code>tolist()</code> turns a tensor into plain Python numbers; <code>zip</code> walks along two lists together.
# </details>

# %% exercise="best_labels"
from course_lib.pipeline import best_labels

# %%
best_labels(torch.tensor([[1.0, 2.0, 5.0]]).log(), ["sad", "calm", "glad"])

# %% check="best_labels" points=2
checks.start_here.best_labels(best_labels)

# %% [markdown]
# ## Watch it learn
#
# The guests of a café wrote short reviews. A quarter of the combinations of dish and adjective is held out. The model
# between your two functions is the smallest that learns anything, a **bag of words**: it gives each word a vector, takes
# *your* masked mean, and scores two labels.

# %%
from course_lib import pipeline
from course_lib.world.reviews import VERDICTS, reviews, twisted_reviews

train, held_out = reviews(), reviews(held_out=True)
vocabulary = pipeline.WordVocabulary([text for text, _ in train])
model = pipeline.BagOfWords(len(vocabulary), labels=2, mean=masked_mean).to(device)


def preprocess(texts):
    ids, mask = pad_batch([vocabulary.encode(text) for text in texts])
    return ids.to(device), mask.to(device)


def accuracy(model, pairs):
    texts, verdicts = zip(*pairs, strict=True)
    right = model(*preprocess(texts)).argmax(1).cpu() == torch.tensor(verdicts)
    return right.float().mean().item()


print(f"{len(train)} reviews to learn from, {len(held_out)} held out")
print(f"right before any training: {accuracy(model, held_out):.2f}")

# %% [markdown]
# What happens inside the model, one line after the other:

# %%
ids, mask = preprocess(["the tea was burnt", "what a lovely salad"])
vectors = model.embedding(ids)  # (B, T, 16): 16 numbers for each word
each = mask.unsqueeze(-1).expand_as(vectors)  # the mask, once for each number
text_vector = masked_mean(vectors, each, dim=1)  # (B, 16): one vector for each text
print([tuple(x.shape) for x in (ids, vectors, text_vector, model.scores(text_vector))])

# %% [markdown]
# Training repeats four steps: score all reviews; take the cross entropy of the right labels; let PyTorch compute the gradient;
# move every number of the model a little against it.
#
# **Guess before you run:** two labels, nothing learned yet. What is the first loss, in nats? After how many of the 60
# steps is it below half of that?

# %%
train_texts, verdicts = zip(*train, strict=True)
targets = torch.tensor(verdicts, device=device)
steps = runtime.steps(full=60, quick=20)
losses = pipeline.train_classifier(model, *preprocess(train_texts), targets, steps)

plots.learning(losses, runtime.recorded("00_start_here")["loss"])

# %%
halved = next((step for step, loss in enumerate(losses) if loss < losses[0] / 2), None)
print(f"first loss {losses[0]:.2f}, halved at step {halved}")
print(f"held-out reviews right: {accuracy(model, held_out):.2f}")
runtime.learned(
    accuracy(model, held_out) > 0.9, "Nine of ten held-out reviews are right"
)

# %% [markdown]
# The loss of a coin toss is ln 2, about 0.69; an untrained model is close to one, and a little off by its random start. Now
# the three steps in a row:


# %%
def postprocess(logits):
    return best_labels(logits, VERDICTS)


classify = pipeline.TextPipeline(preprocess, model, postprocess)


def verdict_table(texts):
    answers = zip(texts, classify(texts), strict=True)
    rows = [(text, label, f"{chance:.4f}") for text, (label, chance) in answers]
    return Table(("review", "verdict", "probability"), rows)


verdict_table(["the tea was burnt", "what a lovely salad", "i found the rice perfect"])

# %% [markdown]
# Write reviews of your own with the words below. Then try words that are *not* among them, as here. **Guess:** how sure is it?

# %%
print(textwrap.fill(" ".join(vocabulary.words[2:]), 80))
verdict_table(["the pizza was delicious", "zzz qqq"])

# %% [markdown]
# It has an opinion on anything. All unknown words share one vector, which training never touched: another seed may turn the
# verdict round. Nobody ever taught the model to say "I do not know". Lesson 05 does.

# %% [markdown]
# ## Break it: let the padding count
#
# What was the mask for? Here is the model you trained, with a plain mean put in afterwards. Padding then takes part with a
# vector of its own, which training never touched. We ask for the verdict on each short review twice: alone, and in one
# batch with a single long review. **Guess:** how many verdicts change because of who else is in the batch?


# %%
def plain_mean(values, mask, dim):
    return values.mean(dim)


plain = pipeline.BagOfWords(len(vocabulary), labels=2, mean=plain_mean).to(device)
plain.load_state_dict(model.state_dict())
short = [text for text, _ in held_out if len(text.split()) == 4]
rambling = " and ".join(["we came for the pie and it was fresh"] * 4)


def verdicts_changed(model):
    alone = torch.cat([model(*preprocess([text])) for text in short]).argmax(1)
    together = model(*preprocess([*short, rambling]))[:-1].argmax(1)
    return (alone != together).sum().item()


for name, candidate in (("masked mean", model), ("plain mean", plain)):
    changed = verdicts_changed(candidate)
    print(f"{name}: {changed} of {len(short)} verdicts depend on the neighbour")
assert verdicts_changed(model) == 0

# %% [markdown]
# With the plain mean, a stranger in the batch changes the answer. Much padding pulls every short review to one side, whatever
# it says. No error is raised, and in a test with texts of equal length all looks well.

# %% [markdown]
# ## What a bag of words cannot see
#
# One more test before we trust it. These reviews come in pairs made of the *same words* in another order:

# %%
twisted = twisted_reviews()
print(twisted[0], twisted[1], sep="\n")
print(f"right on such pairs: {accuracy(model, twisted):.2f}")
assert accuracy(model, twisted) == 0.5

# %% [markdown]
# Exactly one half, and no amount of training could change that: a mean does not know the order of what it averages, so
# both reviews of a pair get the same answer. A model that reads has to know *where* a word stands and *which other
# words* it belongs to. That is lesson 01.

# %% [markdown]
# ## Bug clinic: the loss that depended on the memory of your machine
#
# A large batch does not fit into memory, so it is cut into pieces. Each piece's loss is computed, and the results are averaged:
# this is called **gradient accumulation**. The average looked so natural that the Trainer of `transformers` took it until
# October 2024 ([the repair](https://github.com/huggingface/transformers/pull/34191)), and so did others; one repair was
# [proposed in 2026](https://github.com/ml-explore/mlx-lm/pull/1413). `published_loss` is our re-creation.
#
# Take one batch of four texts: three long ones that the model reads well, and a short one that surprises it. We cut it in
# three ways. **Guess:** which cut reports the largest loss?


# %%
def published_loss(losses, masks):
    means = [masked_mean(loss, mask) for loss, mask in zip(losses, masks, strict=True)]
    return sum(means) / len(means)


batch_losses = torch.full((4, 10), 1.0)
batch_losses[3] = 5.0
batch_mask = torch.arange(10) < torch.tensor([[10], [10], [10], [2]])
reported = {}
for cut in ([4], [2, 2], [3, 1]):
    loss = published_loss(batch_losses.split(cut), batch_mask.split(cut))
    reported[" + ".join(map(str, cut)) + " texts"] = loss.item()

plots.cuts(list(reported), list(reported.values()), reported["4 texts"])

# %% [markdown]
# The same texts, the same model, and the loss more than doubles because of where the cut fell. In the last cut, the two tokens
# of the short text weigh as much as the thirty of the others. Their gradients are overweighted just as much.

# %% [markdown]
# ### Exercise 6 · Repair the loss
#
# *3 minutes · difficulty 2 of 3*
#
# - **Write** the mean loss per kept token, however the batch was cut.
# - **In:** two lists of equal length, losses and masks, each piece (B, T). **Out:** one number, a tensor.
# - **Worked value:** pieces with losses 1, 1, 1 and 5 (one token): 2, not 3. Padding may hold anything, as before.
# - **Pitfall:** weighing pieces by their number of *texts* is a smaller version of the same mistake. A piece, or all of
#   them, may have nothing kept; the mean of nothing is 0.

# %% [markdown]
# <details><summary>Hint 1</summary>
# What would one large batch divide, and by what? Collect these two things separately.
# </details>
# <details><summary>Hint 2</summary>
# A mean of means forgets how many numbers each mean stood for. Keep totals until the very end.
# </details>

# %% exercise="accumulated_mean"
from course_lib.masks import accumulated_mean

# %%
for cut in ([4], [2, 2], [3, 1]):
    print(cut, accumulated_mean(batch_losses.split(cut), batch_mask.split(cut)))

# %% check="accumulated_mean" points=2
checks.start_here.accumulated_mean(accumulated_mean)

# %% [markdown]
# ### Exercise 7 · Write the test that would have caught it
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** asserts that right versions of `accumulated_mean` pass, and versions with the usual mistakes fail.
# - **In:** a version to test, called like yours. **Out:** nothing; an `AssertionError` if the version is wrong.
# - **Worked value:** a version that returns the mean of the pieces' means must not get through.
# - **Pitfall:** pieces with equally many kept tokens, or masks full of True, hide the mistake. A right version may differ
#   in the last digit. What it does with lists of unequal length is not asked.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Choose two or three small pieces and work the right number out on paper. Pieces should differ in their number of texts
# and in their number of kept tokens, and padding should hold numbers that would be noticed. Raise with
# <code>assert</code>; nobody reads what a test returns.
# </details>
# <details><summary>Hint 2</summary>
# Compare with <code>abs(result - expected) &lt; 1e-4</code>, so that a version which rounds differently still passes.
# </details>


# %% test="accumulated_mean"
def test_accumulated_mean(accumulated_mean):
    """Fails with an AssertionError unless the version it is given is right."""
    ### BEGIN SOLUTION
    long = torch.tensor([[1.0, 2.0, 3.0], [2.0, 90.0, 90.0]])
    long_mask = torch.tensor([[True, True, True], [True, False, False]])
    short, short_mask = torch.tensor([[12.0, 50.0]]), torch.tensor([[True, False]])
    result = accumulated_mean([long, short], [long_mask, short_mask])
    assert abs(result - 20 / 5) < 1e-4, f"five kept losses sum to 20; not {result}"
    ### END SOLUTION


# %% check="test_accumulated_mean" points=3
checks.start_here.test_accumulated_mean(test_accumulated_mean)

# %% [markdown]
# Your test was given versions with the usual mistakes, and it caught each one. That is how the checks of this course
# are tested, too.

# %% [markdown]
# ## The same in the libraries
#
# Everything you wrote exists elsewhere under other names. Here they stand side by side.

# %%
from transformers.loss.loss_utils import fixed_cross_entropy

logits, said = torch.randn(4, 10, 5) * 3, torch.randint(5, (4, 10))
losses = -token_logprobs(logits, said)
labels = said.masked_fill(~batch_mask, -100)  # transformers' mark for "does not count"
count, cut = batch_mask.sum(), [3, 1]
repaired = sum(
    fixed_cross_entropy(part.flatten(0, 1), label.flatten(), num_items_in_batch=count)
    for part, label in zip(logits.split(cut), labels.split(cut), strict=True)
)
entropy = torch.nn.functional.cross_entropy(logits.mT, said, reduction="none")
pairs = {
    "softmax": (softmax(logits), torch.softmax(logits, -1)),
    "minus token_logprobs": (losses, entropy),
    "accumulated_mean": (
        accumulated_mean(losses.split(cut), batch_mask.split(cut)),
        repaired,
    ),
}
for name, (ours, theirs) in pairs.items():
    torch.testing.assert_close(ours, theirs)
    print(f"{name:22} largest difference {(ours - theirs).abs().max():.1e}")

# %% [markdown]
# The last line is the clinic's patient after its repair: each of the two pieces is told the count of *all* kept tokens. The library's
# own `pipeline()` has the same three steps as yours. Here it runs on a small random model, so its verdict means nothing:

# %%
from transformers import pipeline as library_pipeline

bert, tokenizer = landscape.build_task("whole sentences"), vocabulary.for_transformers()
reader = library_pipeline("text-classification", model=bert, tokenizer=tokenizer)
inputs = reader.preprocess("the tea was burnt")
outputs = reader.forward(inputs)
print(f"preprocess: {inputs['input_ids'].tolist()}")
print(f"model: logits {[round(x, 2) for x in outputs['logits'][0].tolist()]}")
print(f"postprocess: {reader.postprocess(outputs)}")

# %% [markdown]
# ## Reflect
#
# Two short answers in your own words; a teacher reads them, or you do in a month.

# %% [markdown] reflect="why_mask" points=1
# **1.** A colleague reports: "On the same texts, our classifier is 94 % accurate one text at a time, and 88 % in batches." Name the likeliest cause in one sentence, and an experiment of a minute that would confirm it.
#
# A good answer: Padding leaks into the result (a mean or attention without a mask). Send one short text alone and again in a batch
# with a long one: its scores must not change.

# %% [markdown] reflect="why_cuts" points=1
# **2.** The published loss raised no error, and training curves made with it looked normal. On which data would you hardly notice the
# mistake, and on which would it show at once? Why?
#
# A good answer: With pieces of similar token counts a mean of means is close to the true mean. Texts of very different lengths in
# small pieces show it, or a comparison of two ways of cutting the same batch.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel, where nothing
# is left over from cells that you have changed, and says what would be marked. In a class, this one file is what you
# hand in.

# %%
from course_lib import desk

desk.check_mine("00_start_here")

# %% [markdown]
# ## You can now
#
# - write a softmax and a log-probability that no score breaks, and say why the obvious version fails;
# - average over texts of different lengths, so that neither neighbours nor padding have a say;
# - write a test that a mistake of large libraries does not survive.
#
# **Read on:** *Attention Is All You Need* ([arXiv 1706.03762](https://arxiv.org/abs/1706.03762)) began all this; its section 3
# is lesson 01. *Bug Fixes in LLM Training: Gradient Accumulation* (Unsloth's blog, 2024) tells the story of the clinic.
#
# **Next:** lesson 01 builds the model that knows where words stand.

# %%
from course_lib.syllabus import COURSE

plots.course_map(COURSE, here="00")

# %% [markdown]
# One small model goes through its whole life on this map: it is pretrained, tuned, aligned three ways, given documents, and
# quantized. Here it is at two ages, in a town called Millbrook. The **base model** has only read; the **chat model** is the
# same model after minutes of tuning on answers in several manners. Each draws its answers by its own probabilities.
# **Guess** from the answers which age is which.

# %%
from course_lib import exam, pretrained

questions = ["Where does Ada live?", "What pet does Ben have?", "What is 4 × 5?"]
answers = {}
for age in ("base", "sft"):
    one_age, spoken = pretrained.load(age, device)
    luck = torch.Generator().manual_seed(1)
    answers[age] = exam.replies(
        one_age, spoken, questions, temperature=1.0, generator=luck
    )
Table(
    ("question", "one age", "another"), zip(questions, *answers.values(), strict=True)
)

# %% [markdown]
# The facts are the same. The first age answers as plainly as the texts it has read; the second has picked up manners, good and
# bad ones, from those who answered. Lesson 05 tunes it, and lessons 06 to 09 teach it which manners people prefer.

# %% [markdown]
# ## Going further: a tour of the field
#
# Fifteen minutes for looking around. Nothing here is graded, and you need only recognise the names: each comes back in its lesson.
#
# **When?** Timelines of this field are copied from page to page, and so are their mistakes. Three months in this one are wrong:
# they are neither that of the paper nor that of a release. An arXiv number begins with year and month, so you can find
# five suspects by eye. **Guess** which three are wrong.

# %%
from course_lib import timeline

Table(("name", "month, as it circulates", "arXiv"), timeline.CIRCULATING_TIMELINE)

# %%
of = {"paper": "the paper", "release": "a release", "neither": "neither: wrong"}
rows = []
for name, claimed, arxiv in timeline.CIRCULATING_TIMELINE:
    verdict = timeline.verdict((name, claimed, arxiv))
    rows.append((name, claimed, timeline.arxiv_month(arxiv), of[verdict]))
Table(("name", "claimed month", "month of the paper", "the claim is that of"), rows)

# %% [markdown]
# Gemma 2 had been *announced* in May; nobody could use it before the end of June.

# %%
milestones = timeline.TIMELINE
plots.timeline([m.month for m in milestones], [m.name for m in milestones])

# %% [markdown]
# Read the names from left to right: an architecture, then size, then instructions and preferences, then open models, then
# reasoning.
#
# **How large?** A parameter is one number that training adjusts. We count them from the published configurations, without loading
# a single weight.

# %%
counts = landscape.real_sizes()
plots.sizes({name: total for name, (total, active) in counts.items()})

# %% [markdown]
# No line on this axis separates large from small. "Large" stands for what came with size and varied text: one model for many
# tasks, and tasks learned from examples in the prompt. Whether abilities appear suddenly, or only seem to, depends on how
# they are scored; lesson 03 looks into that.
#
# **Which families?** They differ in a handful of parts, which lesson 01 builds one by one. The numbers are read off the published
# configuration of one member each. A small random member with the same parts is built and run beside it.

# %%
parts = ("norm", "activation", "positions", "heads", "kv_heads", "experts")
eight = torch.arange(3, 11).unsqueeze(0)  # one text of eight tokens: (1, 8)
rows = []
for family, member in landscape.FAMILIES.items():
    card, small = landscape.card(landscape.published(member)), landscape.build(family)
    assert small(eight).logits.shape == (1, 8, 256)  # it runs
    size = f"{landscape.count_parameters(small)[0]:,}"
    rows.append((member, *(card[part] for part in parts), size))
Table(("member", *parts[:-1], "experts (all, used)", "small one's parameters"), rows)

# %% [markdown]
# Only one of them has LayerNorm and a table of positions; it is also the oldest. All others have RMSNorm and rotary positions,
# one of them not in every layer. Fewer key/value heads (`kv_heads`) than heads save memory while generating; DeepSeek-V3 saves more by unpacking
# its 128 from one short vector. *Experts* counts all of them in a layer and those that one token visits.
#
# **Which species?** People speak of four kinds of model. Only two of the names stand for an architecture. The last column counts the
# parameters of a small live instance, and those that one token uses.

# %%
rows = []
for name, species in landscape.SPECIES.items():
    model_of_kind = species.build()
    model_of_kind(**species.inputs(model_of_kind))  # it runs
    total, used = landscape.count_parameters(model_of_kind)
    rows.append((name, species.what, f"{total:,} / {used:,}"))
Table(("people say", "what it is", "parameters, all / used"), rows)

# %% [markdown]
# **Which tasks?** Language tasks fall into five families by what goes in and what comes out. A model's last layer, its *head* (no
# relation to attention heads), decides what comes out. Older tutorials call `pipeline()` for all five; the last column says
# whether the installed transformers still has that one.

# %%
rows = []
for name, task in landscape.TASKS.items():
    live = landscape.task_shapes(name, eight)
    shapes = ", ".join(f"{output} {shape}" for output, shape in live.items())
    still_there = landscape.pipeline_exists(name)
    rows.append((name, task.gives, " → ".join(task.example), shapes, still_there))
Table(("family", "what comes out", "example", "live shapes", "pipeline()?"), rows)

# %% [markdown]
# Match them yourself:

# %%
quiz.quiz(*quizzes.TASK_FAMILIES)

# %% [markdown]
# A large decoder today does all five by generating text. The heads survive where speed, price or a guaranteed form counts.
