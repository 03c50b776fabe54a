# %% [markdown]
# # Build a transformer from scratch
#
# You will build a language model piece by piece from your own functions, with the architecture of Llama, and train
# it in a minute. Then you pour finished weights into it: first those of this course's own model, then those of
# SmolLM2, 135 million numbers that were trained elsewhere.
#
# **Afterwards you can** write every part of a modern transformer and say what it is for, test that a model does not
# read the future, and find the part of a model that copies.
#
# **You need** lesson 00: softmax, masks, the loss of a token.
#
# About 180 minutes, in two sittings. The first builds the parts and ends when your model has learned; the second
# looks inside finished models.

# %%
import math
from collections import Counter, defaultdict
from functools import partial
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from course_lib import checks, pretrained, probes, runtime
from course_lib.plotting import transformer as plots
from course_lib.plotting.tables import Table
from course_lib.widgets import controls

device = runtime.start(seed=0)
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## A model with a memory of one word
#
# All texts of this course tell of Millbrook, a town of forty people who each have a home, a job, a pet, a favourite
# food, a hobby and a favourite colour. Half of the texts are portraits of one person, half are small stories. A
# model is to continue such texts.

# %%
from course_lib.world import corpus

TOWN = {corpus.a_story: 0.5, corpus.a_portrait: 0.5}
texts = [*islice(corpus.stream(TOWN, seed=0), 20_000)]
print(*texts[3:6], sep="\n")

# %% [markdown]
# The oldest language model counts: how often did each word follow each other word? To write, it draws the next
# word, each in proportion to its count. **Guess** before you run: what will the text be like, and how far do you
# have to read to notice?

# %%
import random

followers = defaultdict(Counter)
for text in texts:
    for word, following in pairwise(text.split()):
        followers[word][following] += 1

draw = random.Random(3)
written = ["Ada"]
for _ in range(24):
    counts = followers[written[-1]] or {"The": 1}  # a text may end here
    written.append(draw.choices(list(counts), list(counts.values()))[0])
print(*written)

# %% [markdown]
# Every two neighbours fit together, and soon a sentence does not: the model does not know how it began. After "a"
# the model has forgotten whose pet, house or job it was about. So let it remember more words. How often is a
# stretch of a new text one that the table has never seen?

# %%
known = set(texts)
unseen = [t for t in islice(corpus.stream(TOWN, seed=1), 300) if t not in known]


def stretches(texts, length):
    found = []
    for text in texts:
        words = text.split()
        for start in range(len(words) - length + 1):
            found.append(tuple(words[start : start + length]))
    return found


def never_seen(count, length):
    table = set(stretches(texts[:count], length))
    wanted = stretches(unseen, length)
    return sum(stretch not in table for stretch in wanted) / len(wanted)


lengths = range(1, 11)
missing = {n: [never_seen(n, length) for length in lengths] for n in (2000, 20_000)}
plots.never_seen(lengths, missing)

# %% [markdown]
# Ten times as many texts buy two to four more words of memory, even in a town where everybody says the same things.
# And more words are needed: in "Nora has a hamster. She bought some soup. The hamster belongs to" the name stands
# eleven words back, in the next text two. The model has to *look* for it. That is **attention**.

# %% [markdown]
# ## Text becomes numbers
#
# A model reads numbers. One number for each word is the obvious way, and it fails on the first visitor:

# %%
vocabulary = {word for text in texts for word in text.split()}
visitors = "Loemar from Brighton keeps 2 ferrets. Ada likes Loemar!"
print(len(vocabulary), "words are known")
print([word if word in vocabulary else "[unknown]" for word in visitors.split()])

# %% [markdown]
# Single bytes know every text and make it long. **Byte pair encoding** stands between: begin with bytes, find the
# most frequent pair of neighbours, make it a new token, and repeat. By hand, with three words and how often each
# occurs (in Python `b"mill"` is the row of its bytes, four numbers):

# %%
from course_lib.bpe import count_pairs, most_frequent

words = {tuple(b"mill"): 6, tuple(b"miller"): 5, tuple(b"till"): 4}
for pair, count in count_pairs(words).most_common(4):
    print(bytes(pair).decode(), count)

# %% [markdown]
# "il" and "ll" stand in all three words, 15 times. In a tie the pair with the smaller numbers wins: "il", since i
# comes before l. So the first new token is "il", and its number is 256, the first one that is no byte.

# %% [markdown]
# ### Exercise 1 · Merge a pair
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** a new list in which `new_id` stands wherever the pair stood, from left to right.
# - **In:** `ids`, a list or tuple of whole numbers; `pair`, a tuple of two; `new_id`. **Out:** a list.
# - **Worked value:** `[5, 1, 2, 1, 2, 1]`, pair `(1, 2)`, new number 9: `[5, 9, 9, 1]`.
# - **Pitfall:** a number takes part in one merge only: `[1, 1, 1]` with the pair `(1, 1)` becomes `[9, 1]`.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Build the new list from the left. Each number of the old one either completes a pair or is appended.
# </details>
# <details><summary>Hint 2</summary>
# Compare the last number of the new list and the number you hold with the pair. A merged number can never be part of
# the same pair, because it is new.
# </details>

# %% exercise="merge_pair"
from course_lib.bpe import merge_pair

# %%
merge_pair(list(b"miller"), tuple(b"il"), 256), merge_pair([1, 1, 1], (1, 1), 9)

# %% check="merge_pair" points=3
checks.transformer.merge_pair(merge_pair)

# %% [markdown]
# With it, training a tokenizer is a loop. Here are the first twenty tokens that it learns from a few hundred texts:

# %%
from course_lib.bpe import split_words

spelled = Counter(tuple(w.encode()) for t in texts[:300] for w in split_words(t))
token_bytes = {byte: bytes([byte]) for byte in range(256)}
for new_id in range(256, 276):
    pair = most_frequent(count_pairs(spelled))
    token_bytes[new_id] = token_bytes[pair[0]] + token_bytes[pair[1]]
    spelled = {tuple(merge_pair(w, pair, new_id)): n for w, n in spelled.items()}
print([token_bytes[new_id].decode() for new_id in range(256, 276)])

# %% [markdown]
# Pairs of letters come first, then endings and small words. The course's tokenizer went on to 768 tokens. A
# frequent word is one token; a stranger's name falls into pieces, and nothing is unknown:

# %%
tokenizer = pretrained.tokenizer()
plots.pieces([tokenizer.pieces(text) for text in (texts[0], visitors)])

# %% [markdown]
# The boxes are what the model reads: each is one number. (FastText, an older way, adds up vectors of a word's
# letter groups. That lets a model *read* a new name, but not write one.) What do the pieces save?

# %%
sample = " ".join(texts[:100])
print(f"{len(sample.encode())} bytes, {len(tokenizer.encode(sample))} tokens")

# %% [markdown]
# Against bytes, about two thirds.
#
# ## The plan
#
# A token's number is looked up in a table and becomes a vector of D numbers. Then every **block** of the model adds
# something to that vector, twice: first what *attention* found in other tokens, then what a small network, the
# *MLP*, makes of it. At the end each vector is turned into a score for every possible next token. The numbers below
# the boxes are those of the exercises.

# %%
plots.plan()

# %% [markdown]
# ## Attention by hand
#
# To decide where to look, a token has a **query** (what am I looking for?), and every token has a **key** (what am
# I?) and a **value** (what do I pass on?). All three are made from the token's vector by three matrices, which
# training finds. Here they are given: three tokens, two dimensions.

# %%
q = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])  # (T, K)
k = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
v = torch.tensor([[10.0, 0.0], [0.0, 10.0], [4.0, 8.0]])

score = (2.0 * 1.0 + 1.0 * 0.0) / math.sqrt(2)  # the third query, the first key
round(score, 3)

# %% [markdown]
# A score is a sum of products, divided by the root of the width. All scores of the third token, its weights, and
# what it takes along, in a loop:

# %%
scores = [sum(q[2, i] * k[s, i] for i in range(2)) / math.sqrt(2) for s in range(3)]
weights = torch.softmax(torch.stack(scores), dim=0)
weights, sum(weights[s] * v[s] for s in range(3))

# %% [markdown]
# The third token gives half of its weight to the third and takes along a weighted mean of all values. Every token
# does this at once, so the loop is a product of matrices:
#
# $$\text{attend}(q, k, v) = \text{softmax}\!\left(\frac{q k^\top}{\sqrt K}\right) v$$
#
# | symbol | in code | shape | meaning |
# |---|---|---|---|
# | $q$ | `q` | (B, H, T, K) | what each token looks for |
# | $k$ | `k` | (B, H, S, K) | what each token offers to be found by |
# | $v$ | `v` | (B, H, S, K) | what it passes on |
# | $\sqrt K$ | `math.sqrt(K)` | | keeps scores from growing with the width |
#
# B texts in a batch; H *heads*, several attentions side by side (soon); T queries look at S keys.

# %%
weights = torch.softmax(q @ k.T / math.sqrt(2), dim=-1)  # (T, T)
(weights @ v)[2]

# %% [markdown]
# The last row is the one from the loop. Why the root? **Guess** how large the largest of ten weights gets if the
# vectors have 4, 64 or 1,024 random numbers, with the root and without it.

# %%
rows = []
for width in (4, 64, 1024):
    products = torch.randn(500, 1, width) @ torch.randn(500, width, 10)
    largest = [s.softmax(-1).amax(-1).mean() for s in (products, products / width**0.5)]
    rows.append((width, *(f"{x:.2f}" for x in largest)))
Table(("K", "largest weight without the root", "with it"), rows)

# %% [markdown]
# Without the root, wide vectors choose one token and ignore all others before anything was learned.
#
# ## Nobody may look ahead
#
# The model is trained to say the next token at *every* position at once. If a position could see the one after it,
# there would be nothing to learn. So a **causal mask** says who may look at whom. True means: may look.

# %%
from course_lib.masks import causal_mask

print(causal_mask(4, 4).int())
print(causal_mask(2, 4).int())  # the last two of four tokens

# %% [markdown]
# ### Exercise 2 · Write attention
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** attention under a mask, for all texts and heads at once.
# - **In:** `q` (B, H, T, K), `k` and `v` (B, H, S, K), `mask` (T, S) or (B, 1, T, S), True = may look. **Out:** (B,
#   H, T, K).
# - **Worked value:** all scores equal, values 2 and 4, causal mask: 2, then 3.
# - **Pitfall:** a forbidden key has weight exactly 0 *and* the others sum to 1, so the mask acts before the
#   softmax. Use `-math.inf`: a large negative number fails where scores are large, or in 16 bits. `softmax` is
#   yours from lesson 00, along the last dimension.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Three lines: scores; scores with the forbidden ones replaced, then softmax; weights times values. Which score has an
# exponential of 0?
# </details>
# <details><summary>Hint 2</summary>
# <code>k.transpose(-2, -1)</code> turns the last two dimensions of k round, whatever stands before them.
# <code>masked_fill</code> writes where its mask is True, so hand it the opposite of ours.
# </details>

# %% exercise="attend"
from course_lib.attention import attend

# %%
batch_of_one = q[None, None], k[None, None], v[None, None]  # (1, 1, T, K)
attend(*batch_of_one, causal_mask(3, 3))[0, 0]

# %% check="attend" points=4
checks.transformer.attend(attend)

# %% [markdown]
# The first token sees itself alone, so it returns its own value; the third is the row that we did by hand. A mask
# can hide padding too: one of shape (B, 1, T, S) may differ from text to text.

# %% [markdown]
# ## Where does a token stand?
#
# Attention has a surprising blind spot. We shuffle the first seven of eight tokens and look at what the last one
# takes along. **Guess:** does it change?

# %%
eight = torch.randn(1, 1, 8, 4)
shuffled = eight[:, :, [3, 0, 6, 2, 5, 1, 4, 7]]
mask = causal_mask(8, 8)
before, after = (
    attend(eight, eight, eight, mask),
    attend(shuffled, shuffled, shuffled, mask),
)
print(f"the last token's result moves by {(before - after)[0, 0, -1].abs().max():.0e}")

# %% [markdown]
# Not at all, up to rounding. To attention, what it may look at is a bag of words, as in lesson 00. GPT-2 adds a
# learned vector for each position. Newer models turn instead: they take the numbers of queries and keys in pairs,
# as points in a plane, and turn each point by an angle that grows with the position. The dot product of two points,
# once turned, depends on where they stood only through the *difference* of their angles. These are **rotary
# positions**:
#
# $$(a, b) \;\mapsto\; (a\cos\theta - b\sin\theta,\;\; b\cos\theta + a\sin\theta)$$
#
# Number $i$ is the $a$ of a pair and number $i + K/2$ its $b$; position $t$ turns it by $\theta = t \cdot
# 10000^{-2i/K}$. The first pair turns fast, the last one hardly.

# %%
from course_lib.attention import rotary

cos, sin = rotary(torch.arange(3), width=4)  # positions 0, 1, 2
print(cos)
print(sin)

# %% [markdown]
# Each row is a position. A pair $(a, b)$ needs $a \cos\theta + b\,(-\sin\theta)$ and $b \cos\theta + a \sin\theta$.
# So every number is multiplied by a cosine, and its *partner* by a sine, with a minus in the first half. That is
# how the tables are laid out.

# %% [markdown]
# ### Exercise 3 · Turn queries and keys
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** `x` with each pair of numbers turned by its angle.
# - **In:** `x` (..., T, K); `cos` and `sin` as `rotary` gives them, of shape (T, K) or with further dimensions of x
#   or of size 1. **Out:** like `x`.
# - **Worked value:** the point (1, 0), turned by a quarter, is (0, 1).
# - **Pitfall:** the partner of number i is number i + K/2, not its neighbour. Published code has both kinds, and
#   weights trained with one speak nonsense with the other.

# %% [markdown]
# <details><summary>Hint 1</summary>
# You need x with its two halves exchanged. The signs are in <code>sin</code> already.
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.roll</code> by half the width exchanges the halves; so do <code>chunk</code> and <code>cat</code>.
# </details>

# %% exercise="rotate"
from course_lib.attention import rotate

# %%
quarter = rotary(torch.tensor([math.pi / 2]), width=2)
rotate(torch.tensor([[1.0, 0.0]]), *quarter)

# %% check="rotate" points=3
checks.transformer.rotate(rotate)

# %% [markdown]
# Why turn? Take one query and one key and place them anywhere in a text. Move the slider: both positions move
# together. **Guess** which curve you will see at 500.

# %%
one_query, one_key = torch.randn(2, 1, 32)
distances = torch.arange(0, 60)


def scores_by_distance(start):
    at = rotary(start + distances, 32)
    last = rotary(start + distances[-1:], 32)
    keys, query = rotate(one_key.expand(60, -1), *at), rotate(one_query, *last)
    return plots.by_distance((query @ keys.T)[0].flip(0).tolist(), int(start))


start = controls.slider(0, 0, 500, 50, "position of the first key")
controls.explore(scores_by_distance, start=start)

# %% [markdown]
# The curve stands still: a score depends on the *distance* of query and key, not on where they stand. (Its shape
# belongs to these two random vectors.) What a model learns about "the word before" holds everywhere in a text. We
# test it as well as see it:

# %%
near, far = [
    rotate(one_query, *rotary(torch.tensor([t + 7]), 32))
    @ rotate(one_key, *rotary(torch.tensor([t]), 32)).T
    for t in (3, 300)
]
torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
print(f"seven apart, at 3: {near.item():.4f}, at 300: {far.item():.4f}")

# %% [markdown]
# ## Several heads
#
# One softmax makes one mixture. So a token's vector is turned into several short queries, keys and values, the
# **heads**, which look independently. Several heads of queries may share one head of keys and values. That saves
# memory: while a text is written, all its keys and values are kept in a **cache** (lesson 02), and queries are not.
# The sizes of a model stand in its `Config`:

# %%
from course_lib.transformer import Config

config = Config()
meanings = {
    "width": "D, numbers in a token's vector",
    "layers": "blocks",
    "heads": "heads of queries",
    "kv_heads": "heads of keys and values",
    "K": "width of a head, here width / heads",
    "hidden": "width inside the MLP",
    "bias": "do linear layers add a constant?",
    "norm_eps": "the ε of the norms",
}
Table(
    ("field", "value", "meaning"),
    [(f, getattr(config, f), m) for f, m in meanings.items()],
)

# %%
kept = 2 * config.layers * config.kv_heads * config.K
print(f"{kept} numbers kept per token; {kept * 2} if every head had its own keys")

# %% [markdown]
# Two helpers are given. `split_heads(x, self.K)` makes (B, heads, T, K) of (B, T, heads · K). `mix_heads(self.attend, q,
# k, v, mask)` repeats shared keys, makes the causal mask if `mask` is None, and calls your `attend`. The two lines for the
# cache stay in the cell.

# %% [markdown]
# ### Exercise 4 · Assemble the layer
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** `forward`: project to queries, keys and values and split them into heads, rotate, mix, join the heads,
#   project back.
# - **In:** `x` (B, T, D); `rotation` a pair of cosines and sines, or None for none. **Out:** (B, T, D).
# - **Worked value:** with one token, each head returns that token's own value, so the result is `output(value(x))`
#   if every head has its own keys.
# - **Pitfall:** heads are joined *per token*. A reshape without the transpose mixes tokens, and no shape complains.
#   Heads times K need not be D.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Queries and keys are rotated, values are not: what is passed on does not depend on where it stood.
# </details>
# <details><summary>Hint 2</summary>
# After mixing you have (B, H, T, K). Bring T and H into the order that the result needs, then <code>flatten</code> the last two
# dimensions.
# </details>

# %% exercise="CausalSelfAttention" methods="forward" keep="if remember"
from course_lib.attention import CausalSelfAttention

# %%
layer = CausalSelfAttention(config, attend=attend)
x = torch.randn(2, 5, config.width)
layer(x, rotation=rotary(torch.arange(5), config.K)).shape

# %% check="CausalSelfAttention" points=3
checks.transformer.CausalSelfAttention(CausalSelfAttention)

# %% [markdown]
# ## Keep the numbers in bounds
#
# Each part of the model will add to the vectors, and sums grow. So each part first brings what it reads to one
# size. **LayerNorm** subtracts the mean and divides by the standard deviation. **RMSNorm** leaves the mean alone
# and divides by the root of the mean square:
#
# $$\text{RMSNorm}(x) = w \odot \frac{x}{\sqrt{\text{mean}(x^2) + \epsilon}}$$
#
# By hand, for (3, 4): the mean square is (9 + 16) / 2.

# %%
root = math.sqrt((3**2 + 4**2) / 2)
x = torch.tensor([3.0, 4.0])
print(f"by hand   {3 / root:.3f} {4 / root:.3f}")
print("RMSNorm  ", nn.functional.rms_norm(x, (2,)))
print("LayerNorm", nn.functional.layer_norm(x, (2,)))

# %% [markdown]
# LayerNorm forgets how large 3 is compared with 4: of two numbers only their order is left. RMSNorm keeps the
# direction.

# %% [markdown]
# ### Exercise 5 · Normalise
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** `forward`: the formula above, along the last dimension, with `self.eps` and `self.weight`.
# - **In:** `x` (..., D) of any float type. **Out:** the same shape and type.
# - **Worked value:** (3, 4) becomes about (0.849, 1.131) while the weights are 1.
# - **Pitfall:** in `float16` the square of 300 is already infinite. Compute in 32 bits at least, and return the
#   type that came in. Small vectors show where ε stands.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The mean needs <code>keepdim=True</code>, or it does not line up with x. <code>torch.rsqrt</code> is one over the root.
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.promote_types(x.dtype, torch.float32)</code> is the wider of two types. <code>x.to(...)</code> goes there, and back to
# <code>x.dtype</code> before the weight is multiplied.
# </details>

# %% exercise="RMSNorm" methods="forward"
from course_lib.transformer import RMSNorm

# %%
norm = RMSNorm(Config(width=2, heads=1, kv_heads=1))
norm(torch.tensor([[3.0, 4.0], [300.0, 400.0]]))

# %% check="RMSNorm" points=2
checks.transformer.RMSNorm(RMSNorm)

# %% [markdown]
# A published RMSNorm adds ε *outside* the root and stays in 16 bits. We give it the same ε. Does that matter? Here
# are vectors of several sizes; the number shown is what the first entry becomes.


# %%
def published_norm(x):
    return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + norm.eps)


rows = []
for size in (1.0, 1e-3, 1e-4):
    x = size * torch.tensor([1.0, -1.0])
    rows.append((size, *(f"{f(x)[0].item():.3f}" for f in (published_norm, norm))))
x = torch.full((2,), 2000.0).half()
rows.append(
    ("2000 in 16 bits", *(f"{f(x)[0].item():.3f}" for f in (published_norm, norm)))
)
Table(("each entry", "published", "yours"), rows)

# %% [markdown]
# For ordinary vectors both agree, so no test with random numbers notices. Small vectors become smaller in Llama's
# version and nearly 1 in the other; in 16 bits a large one vanishes. Weights trained with one do not fit the other.
#
# ## A network for each token
#
# Attention moves information between tokens. What is *done* with it happens in each token alone, in an MLP. GPT-2
# widens the vector, applies a smooth threshold (GELU) and narrows it again. Llama has another threshold (SiLU) and
# a third matrix, the **gate**, that decides how much of each number passes. Both thresholds beside the simplest
# one, ReLU:

# %%
plots.activations()

# %% [markdown]
# SiLU is x times its own sigmoid: x for large numbers, nothing for very negative ones, and a small dip between.
# With it the MLP is called **SwiGLU**:
#
# $$W_\text{down}\,(\text{silu}(W_\text{gate}\,x) \odot W_\text{up}\,x)$$
#
# Three matrices cost more than two, so the width inside is chosen as 8/3 D instead of 4 D:

# %%
D = 96
print(f"GPT-2: two matrices, 4 D inside:     {2 * D * 4 * D:,} numbers")
print(f"Llama: three matrices, 8/3 D inside: {3 * D * (8 * D // 3):,} numbers")

# %% [markdown]
# ### Exercise 6 · Build the gated MLP
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** `__init__` with three linear layers, `self.gate`, `self.up` and `self.down`, and `forward` with the
#   formula; no other weights.
# - **In:** `config` with `width`, `hidden` and `bias`; then `x` (..., D). **Out:** (..., D).
# - **Worked value:** with all weights 1 and no bias, width 1 and hidden 1, x = 1 gives silu(1) · 1 ≈ 0.731.
# - **Pitfall:** a published SwiGLU goes from D to 2 D, lets one half gate the other, and stops there, with D
#   numbers again: a quarter of the weights of the MLP that it replaces, and no room inside. The names matter:
#   finished weights are loaded by name.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>nn.Linear(inputs, outputs, bias=...)</code>. Two of them go from width to hidden, one goes back.
# </details>
# <details><summary>Hint 2</summary>
# Only one of the two widened vectors goes through <code>silu</code>, which is imported. The symbol ⊙ is a product number by number.
# </details>

# %% exercise="SwiGLU" methods="__init__, forward" keep="super()"
from course_lib.transformer import SwiGLU

# %%
sum(weights.numel() for weights in SwiGLU(config).parameters())

# %% check="SwiGLU" points=3
checks.transformer.SwiGLU(SwiGLU)

# %% [markdown]
# ## The stream
#
# A **block** is one attention layer and one MLP. Neither replaces the token's vector: each *adds* to it. So each
# token has one **stream**, from the embedding to the last layer, that everybody reads and writes. The norm stands
# on the way into a layer, never on the stream itself:
#
# $$x \leftarrow x + \text{attention}(\text{norm}(x)), \qquad x \leftarrow x + \text{mlp}(\text{norm}'(x))$$

# %% [markdown]
# ### Exercise 7 · Read and add
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** `forward` of a block: two lines, one for each half of the equation.
# - **In:** `x` (B, T, D), and `rotation`, `mask`, `remember`, which go to attention as they came. **Out:** (B, T,
#   D).
# - **Worked value:** if attention and MLP return zeros, x comes out as it went in.
# - **Pitfall:** the MLP reads the stream after attention has added to it, through a norm of its own. Write `x = x +
#   ...`: a change in place (`x += ...`) spoils the gradient.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The pieces are <code>self.attention_norm</code>, <code>self.attention</code>, <code>self.mlp_norm</code> and <code>self.mlp</code>.
# </details>
# <details><summary>Hint 2</summary>
# What you add to is the stream as it came, not its normed copy.
# </details>

# %% exercise="Block" methods="forward"
from course_lib.transformer import Block

# %%
make_attention = partial(CausalSelfAttention, attend=attend)
block = Block(config, RMSNorm, make_attention, SwiGLU)
block(torch.randn(2, 5, config.width)).shape

# %% check="Block" points=2
checks.transformer.Block(Block)

# %% [markdown]
# ### Break it: what are adding and norms for?
#
# Four kinds of block: yours; the one of 2017, with its norm *on* the stream; one that replaces the stream instead
# of adding to it; and one that does so without any norm. We stack 2, 8 or 16 of them, with random weights, and send
# a gradient from the top to the bottom. **Guess** how much arrives in each case.


# %%
class NormAfter(Block):
    def forward(self, x, *others):
        x = self.attention_norm(x + self.attention(x, *others))
        return self.mlp_norm(x + self.mlp(x))


class Replacing(Block):
    def forward(self, x, *others):
        x = self.attention(self.attention_norm(x), *others)
        return self.mlp(self.mlp_norm(x))


class Bare(Block):
    def forward(self, x, *others):
        return self.mlp(self.attention(x, *others))


# %%
def gradients_from_the_top(kind, depth):
    torch.manual_seed(0)
    stack = [kind(config, RMSNorm, make_attention, SwiGLU) for _ in range(depth)]
    for layer in nn.ModuleList(stack).modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    stream = [torch.randn(4, 16, config.width, requires_grad=True)]
    for block in stack:
        stream.append(block(stream[-1]))
    at_the_top = torch.randn_like(stream[-1])  # any gradient will do
    down = torch.autograd.grad(stream[-1], stream, at_the_top)
    return [(g.norm() / down[-1].norm()).item() for g in down]


kinds = {"yours": Block, "norm after": NormAfter, "replacing": Replacing, "bare": Bare}
arriving = {
    name: {depth: gradients_from_the_top(kind, depth) for depth in (2, 8, 16)}
    for name, kind in kinds.items()
}
plots.gradients(arriving)

# %% [markdown]
# Where layers add, the gradient also has a way past each of them, and after sixteen blocks it is within a factor of
# ten of what it was. Where they replace, it goes through every layer: with norms it is blown up hundreds of times,
# and without them nothing arrives. Whether the norm stands before or after makes no difference here, with random
# weights.
#
# ## The whole model
#
# Before the blocks a table turns each token's number into a vector, the **embedding**. After them the last norm,
# and a product with the *same* table gives a score for every token: the two matrices are **tied**. Here is all of
# it, made of your parts:

# %%
from course_lib.transformer import Transformer


def from_my_parts(config, device=device):
    attention = partial(CausalSelfAttention, attend=attend)
    return Transformer(config, RMSNorm, attention, SwiGLU, Block).to(device)


model = from_my_parts(config)
parts = Counter()
for name, weights in model.named_parameters():
    part = next(p for p in ("embed", "attention.", "mlp.", "norm") if p in name)
    parts[part.strip(".")] += weights.numel()
plots.parts(dict(parts))

# %% [markdown]
# Most numbers sit in the MLPs.
#
# What should an untrained model say? It knows nothing, so every one of the V tokens is equally likely, whichever is
# asked for: we ask for random ones. **Guess** the loss in nats before you run: V is 768.

# %%
ids = torch.tensor([tokenizer.encode(texts[0])], device=device)
anything = torch.randint(config.vocabulary, ids[0].shape, device=device)


def loss_of_nothing(model):
    return nn.functional.cross_entropy(model(ids)[0], anything).item()


untrained = loss_of_nothing(model)
print(f"loss {untrained:.2f}, ln V {math.log(config.vocabulary):.2f}")
assert abs(untrained - math.log(config.vocabulary)) < 0.3

# %% [markdown]
# It is near ln V because the first weights are small: normal with a spread of 0.02. What if they are drawn with a
# spread of 1?

# %%
loud = from_my_parts(config)
for weights in loud.parameters():
    if weights.dim() > 1:
        nn.init.normal_(weights, std=1.0)
print(f"loss {loss_of_nothing(loud):.1f}")

# %% [markdown]
# Far above ln V is worse than knowing nothing: such a model is sure of itself and wrong.
#
# ### Does it read the future?
#
# We replace one token after the other and note how far each prediction moves. Entry (t, s): what token s does to
# the prediction at t.

# %%
swapped = (ids[0] + 1) % config.vocabulary
moved = probes.influence(model, ids[0, :10], swapped[:10])
plots.influence(moved.cpu(), tokenizer.pieces(texts[0])[:10])

# %% [markdown]
# Nothing above the diagonal. Look at this picture whenever a loss seems too good.
#
# ## What the model is asked
#
# Training wants one loss for each token: minus the log-probability that the model gave it *from the tokens before*.
# So predictions and tokens have to be lined up by a shift of one. Somebody has to do that shift, exactly once.

# %% [markdown]
# ### Exercise 8 · Line up predictions and tokens
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** the losses of all tokens but the first, and which of them count.
# - **In:** `model` (ids (B, T) to logits, the scores, (B, T, V)); `ids` (B, T+1); `mask` (B, T+1), True where the
#   prediction *of* that token counts, or None if all do. **Out:** losses and mask, both (B, T), as they are:
#   nothing averaged or multiplied.
# - **Given:** `cross_entropy(logits, ids)` gives the loss of each token of two rectangles that are lined up
#   already.
# - **Worked value:** a model that knows nothing of 4 tokens has the loss ln 4 everywhere.
# - **Pitfall:** if the data already shift the labels and the loss shifts them again, nothing fails, and the model
#   learns the next token but one.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Of T+1 tokens the model reads the first T, in one call, and is asked for the last T. It never sees the last one.
# </details>
# <details><summary>Hint 2</summary>
# The mask belongs to the token that is predicted, so it is cut like the tokens that are asked for. If it is None, make one of True.
# </details>

# %% exercise="next_token_loss"
from course_lib.training import next_token_loss

# %%
losses, counts = next_token_loss(model, ids)
losses.shape, counts.sum().item(), round(losses.mean().item(), 2)

# %% check="next_token_loss" points=3
checks.transformer.next_token_loss(next_token_loss)

# %% [markdown]
# ### Bug clinic: shifted twice
#
# In a tutorial the data already shift the labels by one, and the loss shifts them again. The shapes fit, and
# training looks normal. We get the same effect by letting the model see a text that lags one token behind, and
# teach both versions to count. **Guess** what each says after 3, 4, 5.


# %%
from course_lib.batches import pad_right, rows_of
from course_lib.sampling.generate import generate
from course_lib.training import mean_loss, train


def shifted_twice(model, ids):
    return next_token_loss(lambda seen: model(seen.roll(1, dims=1)), ids)


tiny = Config(vocabulary=16, context=32, width=32, layers=2, heads=2, hidden=64)
counting = rows_of(torch.arange(4000) % 16, batch=16, length=16)
for loss_fn in (next_token_loss, shifted_twice):
    torch.manual_seed(0)
    counter = from_my_parts(tiny)
    ended = train(counter, counting, loss_fn, 60, lr=5e-3, progress=False).last
    said = generate(counter, torch.tensor([[3, 4, 5]], device=device), 4, temperature=0)
    print(f"{loss_fn.__name__:16} loss {ended:.2f}, it says {said[0].tolist()}")

# %% [markdown]
# Both learned their task, and one of them learned the wrong one: the next but one. Its loss is as small. Only what
# it *says* gives it away, which is one more reason to read samples while a model learns.

# %% [markdown]
# ## Watch it learn
#
# Everything is yours now: the parts, the model, the loss. All texts become one long text, of which the model sees
# random windows. Texts that it never saw tell how well it does. First the mark to beat: a counting model as in the
# beginning, with a memory of one token instead of one word.


# %%
def as_one_text(texts):
    marked = (corpus.marked(text, tokenizer)[0] for text in texts)  # with an end token
    return torch.tensor([token for ids in marked for token in ids])


length = 128
long_text = as_one_text(texts)
batches = rows_of(long_text, batch=16, length=length)
unseen_rows = as_one_text(unseen)[: 48 * (length + 1)].view(48, length + 1)
print(f"{len(long_text):,} tokens to learn from")

# %%
V = config.vocabulary
pairs = long_text[:-1] * V + long_text[1:]  # one number for every two neighbours
table = torch.bincount(pairs, minlength=V * V).view(V, V) + 0.01  # never quite 0
table /= table.sum(dim=1, keepdim=True)
counted = -table[unseen_rows[:, :-1], unseen_rows[:, 1:]].log().mean().item()
print(f"the counting model: {counted:.2f} nats per token on unseen texts")

# %% [markdown]
# While it learns, we look at three things: its loss on unseen texts; how many of the forty people it sends to the
# right home when it continues "Ada lives in" and so on; and what it makes of "Ada" alone. **Guess:** after how many
# of the 300 steps does it beat the counting model? Which comes first, grammar or homes?

# %%
from course_lib import exam
from course_lib.world import people

town = people.town()
starts = [tokenizer.encode(f"{person.name} lives in") for person in town]
starts, real = (x.to(device) for x in exam.pad_left(starts, tokenizer.pad))


def homes_right(model):
    said = generate(model, starts, 6, temperature=0, mask=real).tolist()
    return sum(p.home in tokenizer.decode(s) for p, s in zip(town, said, strict=True))


def continued(model, start="Ada"):
    ids = torch.tensor([tokenizer.encode(start)], device=device)
    luck = torch.Generator().manual_seed(0)
    said = generate(model, ids, 24, temperature=0.5, end=tokenizer.end, generator=luck)
    return tokenizer.decode(said[0].tolist(), specials=False)


# %%
steps = runtime.steps(full=300, quick=12)
every, looks = max(6, steps // 10), []


def look(model):
    loss = mean_loss(model, lambda step: unseen_rows, next_token_loss, 1)
    looks.append((len(looks) * every, loss, homes_right(model)))
    print("step {:3}: {:.2f} nats, {:2} homes |".format(*looks[-1]), continued(model))
    return {"unseen": loss}


look(model)
history = train(
    model, batches, next_token_loss, steps, lr=3e-3,
    evaluate=look, evaluate_every=every, progress=False,
)  # fmt: skip

# %%
marks = {"knowing nothing": math.log(config.vocabulary), "counting": counted}
plots.learning(history.losses, runtime.recorded("01_transformer")["loss"], marks)

# %%
beaten = next((step for step, loss, _ in looks if loss < counted), None)
reached = history.evaluations[-1]["unseen"]
commonest = Counter(person.home for person in town).most_common(1)[0][1]
print(f"the counting model was beaten by step {beaten}; at the end {reached:.2f} nats")
print(
    f"homes: {looks[-1][2]} of 40; always the commonest street would give {commonest}"
)
runtime.learned(reached < 1.6, "Unseen texts cost less than 1.6 nats a token")

# %% [markdown]
# The counting model is beaten within a hundred steps. Letters come first, then words, then whole sentences; the homes
# come later, and many of them are missing still: each fact stands in few of the texts, grammar in all. This is a good
# place for a pause: everything is built, and it works.
#
# ## The course's own model
#
# It has the same architecture and was trained for longer (`docs/MODELS.md` has its figures). Its weights are a
# dictionary of tensors with names, and the names are those of your parts:

# %%
shipped, tokenizer = pretrained.load("base")
mine = from_my_parts(shipped.config)
mine.load_state_dict(shipped.state_dict())
tokens_read = pretrained.card("base")["training"]["tokens that counted"]
print(f"{tokens_read:,} tokens counted in its loss")
print(*[*shipped.state_dict()][:6], sep="\n")

# %% [markdown]
# It was trained on questions as well. A chat is one text with special tokens for who speaks. We ask three
# questions: a fact, a sum, and something about strangers that only the question itself tells.

# %%
from course_lib.chat_format import render_chat

questions = [
    "Where does Ada live?",
    "What is 4 × 5?",
    "Loemar: cat. Treiro: dog. Poebo: fish. Treiro?",
]
print(render_chat([{"role": "user", "content": questions[0]}], reply_next=True))
answers = [exam.replies(m, tokenizer, questions) for m in (mine, model)]
Table(
    ("question", "finished model", "yours, after a minute"),
    zip(questions, *answers, strict=True),
)

# %% [markdown]
# Your parts, and it speaks. (The model of one minute has never seen a chat.) But does it compute exactly what a
# Llama computes? We write the weights as a Hugging Face folder and let `transformers` read it:

# %%
import tempfile

from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()

with tempfile.TemporaryDirectory() as folder:
    pretrained.to_hf(shipped, folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval().to(device)
ids = unseen_rows[:2, :64].to(device)
with torch.no_grad():
    difference = (mine(ids) - theirs(ids).logits).abs().max().item()
print(f"{type(theirs).__name__}: largest difference of all logits {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## What do heads look at?
#
# A list of strangers, and one of them is asked for. Each row of the picture is a token, each column one it looks
# back at. The last row is the colon after which the answer comes. **Look for** heads that find the dog, and ask
# yourself how they can know whose dog it is.

# %%
prompt = tokenizer.encode_chat([{"role": "user", "content": questions[-1]}], True)
prompt += tokenizer.encode("Treiro:")
names = [tokenizer.piece(id) for id in prompt]
looking = probes.attention_weights(mine, torch.tensor([prompt], device=device)).cpu()


def look_at(layer, head):
    return plots.attention(looking[int(layer), int(head)], names, int(layer), int(head))


layer = controls.slider(3, 0, 3, 1, "layer")
head = controls.slider(0, 0, 3, 1, "head")
controls.explore(look_at, layer=layer, head=head)

# %% [markdown]
# In layer 3 the heads look from the last colon at " do", the beginning of the right animal, more than at anything
# else. How do they know that it is Treiro's? Move to layer 1, head 0: there each animal, and each colon, looks at
# the *end of its own name*. So the work is divided. One head writes onto each animal whose it is, and onto the last
# colon who is asked for; two layers later, others look for the animal with the same name on it.

# %%
dog, end_of_name = names.index(" do"), names.index(" do") - 2
to_the_dog = [f"{weight:.2f}" for weight in looking[3, :, -1, dog]]
print(f"the last colon to the dog, heads of layer 3: {' '.join(to_the_dog)}")
print(
    f"the dog to its owner's name, layer 1, head 0: {looking[1, 0, dog, end_of_name]:.2f}"
)

# %% [markdown]
# ### What is each head for?
#
# We silence one head after the other and measure the log-probability of right answers: of looked-up strangers,
# which have to be *copied*, and of facts about the town, which have to be *remembered*. **Guess:** will the same
# heads matter for both?

# %%
draw = random.Random(5)
copied = [corpus.a_register(draw)[:2] for _ in range(64)]
remembered = [corpus.a_fact_question(draw) for _ in range(64)]


def right_answers(chats):
    marked = [corpus.marked(chat, tokenizer) for chat in chats]
    ids, kept = (pad_right(rows, 0).to(device) for rows in zip(*marked, strict=True))
    return probes.answer_logprobs(mine, ids, kept.bool()).mean().item()


def lost_without_each_head(chats):
    whole, lost = right_answers(chats), torch.zeros(4, 4)
    for layer in range(4):
        for head in range(4):
            with probes.without_head(mine, layer, head):
                lost[layer, head] = whole - right_answers(chats)
    return lost


lost = {
    "copying": lost_without_each_head(copied),
    "remembering": lost_without_each_head(remembered),
}
plots.head_map(lost)

# %%
for task, nats in lost.items():
    layer, head = divmod(nats.argmax().item(), 4)
    print(f"{task}: most without layer {layer}, head {head}, {nats.max():.1f} nats")
assert lost["copying"].argmax() != lost["remembering"].argmax()

# %% [markdown]
# The head that writes names onto values is the one that copying needs most, and facts hardly notice its loss. The
# head that facts need most is one that copying can do without. One head of layer 3 serves both. And the one that
# looks hardest at the right animal, head 0 there, is hardly missed: weights tell where a head looks, not what comes
# of it. Nobody planned this division of labour; it grew.

# %% [markdown]
# ## Bug clinic: the model that learned noise
#
# A tutorial on "a tiny LLM" builds its model of `nn.TransformerEncoder`, gives it a mask for the padding and none
# for the future. Its loss falls beautifully. We re-create it with an `attend` that ignores the causal mask, and
# train both versions on *random numbers*, where nobody can do better than guessing: ln 16. **Guess** the two losses
# after 150 steps.


# %%
def sees_everything(q, k, v, mask):
    return attend(q, k, v, torch.ones_like(mask))


def noise(step):
    return torch.randint(16, (16, 17), generator=torch.Generator().manual_seed(step))


curves = {}
for name, mixing in (("causal", attend), ("sees everything", sees_everything)):
    torch.manual_seed(0)
    attention = partial(CausalSelfAttention, attend=mixing)
    tried = Transformer(tiny, RMSNorm, attention, SwiGLU, Block)
    steps = runtime.steps(full=150, quick=20)
    history = train(tried, noise, next_token_loss, steps, lr=5e-3, progress=False)
    curves[name] = history.losses
plots.noise(curves, math.log(16))

# %% [markdown]
# A loss that stays below the line is impossible without cheating: each position but the last reads its own answer
# off the next one. When such a model is to write, there is no next token to read.
#
# Here is a mistake that no curve shows. `nn.MultiheadAttention` expects (T, B, D) unless told otherwise, and a
# published block hands it (B, T, D):

# %%
published = nn.MultiheadAttention(8, 2)  # batch_first=True is missing
batch = torch.randn(3, 5, 8)  # three texts of five tokens
other = batch.clone()
other[2] = 0.0  # change the third text
first, second = (published(x, x, x)[0][0] for x in (batch, other))
print(f"the first text's result moves by {(first - second).abs().max():.2f}")

# %% [markdown]
# It attends across the *batch*: texts read each other, and no token sees another one of its own text.
#
# Three claims must hold for every language model:
#
# 1. Changing a later token changes no earlier prediction.
# 2. Changing another text of the batch, before or after this one, changes nothing in this text.
# 3. Changing an earlier token does change later predictions; in a right model each one does.

# %% [markdown]
# ### Exercise 9 · Write the test that every language model must pass
#
# *15 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the three claims.
# - **In:** `model`, a plain function of ids (B, T), numbers from 0 to 15 and T at most 12, that returns logits (B,
#   T, 16). **Out:** nothing.
# - **Worked value:** a model without a mask must not get through, nor one that sees its own token only.
# - **Pitfall:** a right model may differ by rounding, about 1e-6, from one call to the next. A model may leak only
#   one step ahead, only far ahead, or only from a text that stands before it in the batch, or after it.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Call the model twice with ids that differ in one place, and compare the logits of the places that must not notice. Go
# through all places of both texts in a loop; long texts show what short ones hide.
# </details>
# <details><summary>Hint 2</summary>
# <code>(a - b).abs().max() &lt; 1e-4</code> for what must stay. Change the second text and look at the first, then the other
# way round. For the third claim, assert that something is larger.
# </details>


# %% test="model"
def test_model(model):
    """Fails with an AssertionError unless the model reads the past of its own text only."""
    ### BEGIN SOLUTION
    ids = torch.randint(16, (2, 12), generator=torch.Generator().manual_seed(1))
    before = model(ids)
    for text in (0, 1):
        for place in range(12):
            changed = ids.clone()
            changed[text, place] = (ids[text, place] + 1) % 16
            moved = (model(changed) - before).abs().amax(dim=-1)  # (2, 12)
            assert moved[1 - text].max() < 1e-4, "another text was read"
            assert (moved[text, :place] < 1e-4).all(), f"token {place} seen too early"
            assert place == 11 or moved[text, place + 1 :].max() > 1e-3, "not seen"
    ### END SOLUTION


# %% check="test_model" points=4
checks.transformer.test_model(test_model)

# %%
with torch.no_grad():  # + 300: past the special tokens; 16 scores are enough
    test_model(lambda ids: mine(ids.to(device) + 300)[..., :16])
print("The finished model, on your parts, passes your test.")

# %% [markdown]
# ## The same code, 135 million numbers
#
# SmolLM2-135M-Instruct is a Llama as well: 30 layers of width 576, nine heads of queries on three of keys. Your
# parts take its weights as they are. Tensors on the device `meta` have a shape and no memory, so nothing is in
# memory twice.

# %%
from course_lib.pretrained.smollm2 import answer

big, its_tokenizer = pretrained.smollm2()
with torch.device("meta"):
    giant = from_my_parts(big.config, device="meta")
giant.load_state_dict(big.state_dict(), assign=True)
giant = giant.to(device)
print(f"{giant.parameter_count:,} numbers")
print(answer(giant, its_tokenizer, "What is the capital of France?"))

# %% [markdown]
# What do its 270 heads look at while the answer is due? Most rest on the first token: a head that has nothing to
# say needs a place to look at. The slider starts at one that has something to say.

# %%
sentence = its_tokenizer.encode("The capital of France is")
five = [its_tokenizer.piece(id) for id in sentence]
attended = probes.attention_weights(
    giant, torch.tensor([sentence], device=device)
).cpu()
resting = (attended[:, :, -1].argmax(dim=-1) == 0).float().mean()
print(f"{resting:.0%} of all heads look most at the first token")


def look_at_france(layer, head):
    layer, head = int(layer), int(head)
    return plots.attention(attended[layer, head], five, layer, head)


layer = controls.slider(23, 0, 29, 1, "layer")
head = controls.slider(4, 0, 8, 1, "head")
controls.explore(look_at_france, layer=layer, head=head)

# %% [markdown]
# A large model can do what ours cannot: learn *any* new thing within a text. We show it 24 random tokens, and then
# the same 24 again. Nobody can foresee the first showing. **Guess** how the loss goes over the second one.

# %%
luck = torch.Generator().manual_seed(0)
nonsense = torch.randint(1000, 20_000, (24,), generator=luck).to(device)
twice = torch.cat([nonsense, nonsense]).unsqueeze(0)
with torch.no_grad():
    losses, _ = next_token_loss(giant, twice)
plots.in_context(losses[0].tolist(), period=24)

# %% [markdown]
# At first it is worse than knowing nothing (ln V is 10.8 here), since it expects sense. In the second showing it
# knows more and more of what comes. This is **in-context learning** at its smallest: no weight has changed. The
# heads behind it find an earlier occurrence of the present token and look at what *followed* it. They are called
# **induction heads**, and nonsense finds them, since there is nothing else to look for:

# %%
found = probes.induction_scores(giant, nonsense).cpu()
strongest = found.flatten().topk(4)
for weight, place in zip(*strongest, strict=True):
    print(
        f"layer {place // 9}, head {place % 9}: weight {weight:.2f} on the right token"
    )
small_nonsense = 300 + torch.randperm(400, device=device)[:24]
ours = probes.induction_scores(mine, small_nonsense).max()
print(
    f"the best of our small model: {ours:.2f}; spread evenly it would be {1 / 36:.2f}"
)

# %% [markdown]
# Ours copies from lists of names, since it was trained to, and not from nonsense.
#
# ## The same in the libraries
#
# Your functions under other names. Beware of the masks: in `scaled_dot_product_attention` True means *may look*, as
# here; in `nn.MultiheadAttention` True means *blocked*. **Guess** what a causal mask of the one kind does in the
# other.

# %%
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import LlamaRMSNorm

q, k, v = torch.randn(3, 2, 4, 6, 8)  # three of (B, H, T, K)
x, allowed = torch.randn(2, 6, config.width), causal_mask(6, 6)
pairs = {
    "attend": (
        attend(q, k, v, allowed),
        scaled_dot_product_attention(q, k, v, allowed),
    ),
    "RMSNorm": (RMSNorm(config)(x), LlamaRMSNorm(config.width, eps=config.norm_eps)(x)),
}
for name, (one, other) in pairs.items():
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    print(f"{name:8} largest difference {(one - other).abs().max():.1e}")

theirs = nn.MultiheadAttention(config.width, config.heads, batch_first=True)
wrong = theirs(x, x, x, attn_mask=allowed)[0]
print("our mask in theirs, nan in each row:", wrong.isnan().any(-1)[0].tolist())

# %% [markdown]
# With the mask turned round, every token sees the future only, and the last one has nobody left to look at.
#
# What production adds: kernels that never write the (T, T) scores to memory, 16-bit numbers, and texts packed
# without padding. The arithmetic is yours.
#
# ## Reflect

# %% [markdown] reflect="why_low_loss" points=1
# **1.** A colleague trains the model of this lesson for an hour on ten years of newspapers and reaches 0.1 nats per
# token on articles of last week. What do you suspect, and which two experiments of a minute would tell?
#
# A good answer: It reads the token that it should predict: no causal mask, a shifted label, or texts that it was
# trained on. Replace a later token and see whether an earlier prediction moves; or train on random tokens and see
# whether the loss falls below ln V.

# %% [markdown] reflect="why_heads" points=1
# **2.** In the picture of the silenced heads, what would you expect to see if facts about the town were *copied*
# from the question instead of remembered? Why is the question not enough for them?
#
# A good answer: The same heads would matter for both. The question names the person and the kind of fact, but not
# the value; that has to come from the weights, mostly of the MLPs, so silencing a copying head costs little.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("01_transformer")

# %% [markdown]
# ## You can now
#
# - write a Llama, part by part, and load anybody's weights of that kind into it;
# - test that a model reads only the past of its own text, whatever the mistake: no mask, a mask turned round,
#   another text of the batch;
# - ask a model which of its heads copies.
#
# **Read on:** *A Mathematical Framework for Transformer Circuits* (Elhage et al. 2021) reads models as streams and
# heads. *RoFormer* ([arXiv 2104.09864](https://arxiv.org/abs/2104.09864)), section 3, derives the rotation.
#
# **Next:** lesson 02 asks how to choose a token from the scores.

# %% [markdown]
# ## Going further: where is the answer made?
#
# Two questions, alike but for the person. We run the model on the first, with *one vector* of the stream taken from
# the second, and see which answer comes out. The model may answer with the street alone, so right after the
# question we compare the first tokens of the two streets. Each number is the chance of the second against the
# first; where the swap has no effect it is small, and not quite 0. **Guess:** at which token, and up to which
# block, is it decided who is meant?

# %%
two = ("Ada", "Quinn")
asked = [f"Where does {name} live?" for name in two]
print(exam.replies(mine, tokenizer, asked))
ids, source = (torch.tensor([exam.prompt_ids(q, tokenizer)]).to(device) for q in asked)

# %%
first_tokens = [tokenizer.encode(home)[0] for home in ("Garden Row", "Bridge Street")]
chances = torch.zeros(5, ids.shape[1])
for layer in range(5):
    for place in range(ids.shape[1]):
        logits = probes.patched(mine, ids, source, layer, place)
        chances[layer, place] = logits[first_tokens].softmax(0)[1]
plots.patch_map(chances, [tokenizer.piece(id) for id in ids[0].tolist()], *two)

# %% [markdown]
# Look at the dark squares. Before blocks 0, 1 and 2 the first piece of the name decides: swap it, and Ada lives
# where Quinn does. At the end of the stream only the place matters where the answer begins. In between attention
# carried it over.
