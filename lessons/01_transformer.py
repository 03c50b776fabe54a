# %% [markdown]
# # Build a transformer from scratch
#
# You will build a language model piece by piece from your own functions, with the architecture of Llama, and train
# it in a minute. Then you pour finished weights into it: first those of this course's own model, then those of
# SmolLM2, 135 million numbers that were trained elsewhere.
#
# **Afterwards you can** write every part of a modern transformer and say what it is for, prove that a model does
# not read the future, and find the part of a model that copies.
#
# **You need** lesson 00: softmax, masks, the loss of a token.
#
# About 90 minutes. A good place for a pause is after Exercise 4.

# %%
import math
from collections import Counter
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
# food, a hobby and a favourite colour. A model is to continue such texts.

# %%
from course_lib.world import corpus

TOWN = {corpus.a_story: 0.5, corpus.a_portrait: 0.5}
texts = [*islice(corpus.stream(TOWN, seed=0), 20_000)]
print(*texts[:3], sep="\n")

# %% [markdown]
# The oldest language model counts: how often did each word follow each other word? To write, it draws the next word
# in proportion. **Guess** before you run: what will the text be like, and how far do you have to read to notice?

# %%
import random

followers = {}
for text in texts:
    for word, following in pairwise(text.split()):
        followers.setdefault(word, Counter())[following] += 1

draw, written = random.Random(3), ["Ada"]
while len(written) < 25 and (counts := followers.get(written[-1])):
    written += draw.choices([*counts], counts.values())
print(*written)

# %% [markdown]
# Every two neighbours fit together, and the whole means nothing. After "a" the model has forgotten whose pet, house
# or job it was about. So let it remember more words. We look up stretches of new texts among 2,000 known ones:

# %%
known = set(texts)
unseen = [t for t in islice(corpus.stream(TOWN, seed=1), 300) if t not in known]


def stretches(texts, length):
    split = (text.split() for text in texts)
    return [tuple(w[i : i + length]) for w in split for i in range(len(w) - length + 1)]


lengths = range(1, 9)
missing = []
for length in lengths:
    seen_before = set(stretches(texts[:2000], length))
    wanted = stretches(unseen, length)
    missing.append(sum(s not in seen_before for s in wanted) / len(wanted))

plots.never_seen(lengths, missing)

# %% [markdown]
# Seven words in a row are mostly new, even in a town where everybody repeats himself. A table of what came before
# cannot work: what we need is *somewhere* before, at another place each time. The model has to look for it. That is
# **attention**.

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
# occurs:

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
# The boxes are what the model reads: each is one number. A space belongs to the word that follows it. There were
# other ways round the unknown word: FastText adds up vectors of a word's letter groups. That helps to *read* a new
# name; but who wants to *write* one needs pieces that can be put together again.

# %%
sample = " ".join(texts[:100])
print(f"{len(sample.encode())} bytes, {len(tokenizer.encode(sample))} tokens")

# %% [markdown]
# ## Attention by hand
#
# Each token becomes a vector. To decide where to look, a token has a **query** (what am I looking for?), and every
# token has a **key** (what am I?) and a **value** (what do I pass on?). Three tokens in two dimensions:

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
# The third token looks mostly at the third and takes a mean of all values. Every token does this at once, so the
# loop is a product of matrices:
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
# B is the batch, H counts heads (soon), T queries look at S keys.

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
# Without the root, wide vectors choose one token and ignore all others before anything was learned, and a weight
# near 1 has hardly any gradient.
#
# ## Nobody may look ahead
#
# The model is trained to say the next token at *every* position at once. If a position could see the one after it,
# there would be nothing to learn. So a **causal mask** says who may look at whom. True means: may look.

# %%
from course_lib.masks import causal_mask

print(causal_mask(4, 4).int())
print(causal_mask(2, 4).int())  # two new tokens after two that are remembered

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
#   softmax.

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
# The first token sees itself alone, so it returns its own value; the third is the row that we did by hand. The same
# mask hides padding: a (B, 1, T, S) mask may differ from text to text.

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
# Not at all, up to rounding. To attention a text is a bag of words, as in lesson 00. GPT-2 adds a learned vector
# for each position. Newer models turn instead: they take the numbers of queries and keys in pairs, as points in a
# plane, and turn each point by an angle that grows with the position. These are **rotary positions**:
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
# Each row is a position. The cosines stand there twice, once for each half; the sines too, the first time with a
# minus. So both halves can be computed in one go: a number times its cosine plus its *partner* times the signed
# sine.

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
# The curve stands still: a score depends on the *distance* of query and key, not on where they stand. What a model
# learns about "the word before" holds everywhere in a text. We test it as well as see it:

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
# One softmax can look at one thing. So the vector of a token is projected to several short queries, keys and
# values, the **heads**, which look independently. Several heads of queries may share one head of keys and values.
# That saves memory: while a text is written, all its keys and values wait in a **cache**, and queries do not.

# %%
from course_lib.transformer import Config

config = Config()
held = 2 * config.layers * config.kv_heads * config.K
print(
    f"{config.heads} heads of queries, {config.kv_heads} of keys, each {config.K} wide"
)
print(f"{held} remembered numbers per token; {held * 2} if every head had its own")

# %% [markdown]
# ### Exercise 4 · Assemble the layer
#
# *6 minutes · difficulty 3 of 3*
#
# - **Write** `forward`: project to queries, keys and values and split them into heads, rotate, mix, join the heads,
#   project back.
# - **In:** `x` (B, T, D); `rotation` a pair of cosines and sines, or None for none. **Out:** (B, T, D).
# - **Given:** `split_heads(x, K)` makes (B, heads, T, K). `mix_heads(self.attend, q, k, v, mask)` repeats shared
#   keys and calls your `attend`. The lines for the cache stay: `remember` gets the rotated keys.
# - **Worked value:** with one token, each head returns that token's own value, so the result is `output(value(x))`
#   if every head has its own keys.
# - **Pitfall:** heads are joined *per token*. A reshape without the transpose mixes tokens, and no shape complains.

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
# Vectors that are added up layer by layer grow, so each layer first brings its input to one size. **LayerNorm**
# subtracts the mean and divides by the standard deviation. **RMSNorm** leaves the mean alone and divides by the
# root of the mean square:
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
# - **Pitfall:** in 16-bit floats the square of 300 is already infinite. Compute in 32 bits at least, and return
#   what came in. Small vectors show where ε stands.

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
# A published RMSNorm adds ε *outside* the root and stays in 16 bits. Does that matter? Here are vectors of several
# sizes; the number shown is what the first entry becomes.


# %%
def published_norm(x):
    return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-8)


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
# For ordinary vectors both agree, so no test with random numbers notices. Small vectors stay small in Llama's
# version and are blown up to 1 in the other; a large one vanishes. Weights trained with one do not fit the other.
#
# ## A network for each token
#
# Attention moves information between tokens. What is *done* with it happens in each token alone, in an MLP. GPT-2
# widens the vector, applies a smooth threshold, and narrows it again. Llama lets a third matrix, the **gate**,
# decide how much of each number passes. Both thresholds beside the oldest one:

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
# - **Pitfall:** a published SwiGLU has one matrix to 2 D, a gate, and no way back down; it holds a quarter of the
#   numbers of the MLP that it replaces. The names matter: finished weights are loaded by name.

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
# A **block** is one attention layer and one MLP. Neither replaces the token's vector: each *adds* to it. So from
# the first token to the last layer runs one **stream** that everybody reads and writes. The norm stands on the way
# into a layer, never on the stream itself:
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
    down = torch.autograd.grad(stream[-1], stream, torch.randn_like(stream[-1]))
    return [(g.norm() / down[-1].norm()).item() for g in down]


kinds = {"yours": Block, "norm after": NormAfter, "replacing": Replacing, "bare": Bare}
arriving = {
    name: {depth: gradients_from_the_top(kind, depth) for depth in (2, 8, 16)}
    for name, kind in kinds.items()
}
plots.gradients(arriving)

# %% [markdown]
# Where nothing is added, each layer multiplies the gradient, and sixteen multiplications leave hundreds of times
# too much or nothing at all. Where layers add, a copy of the gradient passes through untouched. The two places of
# the norm look alike here. They part in training: with the norm on the stream there is no untouched copy, and deep
# models need a long warm-up.
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
# Most numbers sit in the MLPs, as in every large model, where the share of the embedding is smaller still.
#
# What should an untrained model say? It knows nothing, so every one of the V tokens is equally likely. **Guess**
# the loss in nats before you run: V is 768.

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
# Such a model is sure of itself and wrong, and spends its first steps on unlearning.
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
# Nothing above the diagonal. This picture is worth a thousand unit tests: come back to it whenever a loss looks too
# good.
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
# - **In:** `model` (ids (B, T) to logits (B, T, V)); `ids` (B, T+1); `mask` (B, T+1), True where the prediction
#   *of* that token counts, or None if all do. **Out:** losses and mask, both (B, T), as they are: nothing averaged
#   or multiplied.
# - **Given:** `cross_entropy(logits, ids)` gives the loss of each token of two rectangles that are lined up
#   already.
# - **Worked value:** a model that knows nothing of 4 tokens has the loss ln 4 everywhere.
# - **Pitfall:** labels that somebody shifted before and the loss shifts again: no error, and the model learns the
#   next but one.

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
# A tutorial shifts its labels in the data and once more in the loss. The shapes fit again after one more slice, and
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
# Both learned their task, and one of them learned the wrong one: the next but one. Its loss is no larger. Only what
# it *says* gives it away, which is one more reason to read samples while a model learns.

# %% [markdown]
# ## Watch it learn
#
# Everything is yours now: the parts, the model, the loss. All texts become one long text, of which the model sees
# random windows. Texts that it never saw tell how well it does. First the mark to beat: the counting model of the
# beginning, with a memory of one token.

# %%
marked = [corpus.marked(text, tokenizer)[0] for text in texts]
long_text = torch.tensor([token for ids in marked for token in ids])
batches = rows_of(long_text, batch=16, length=128)
unseen_ids = torch.tensor(
    [t for text in unseen for t in corpus.marked(text, tokenizer)[0]]
)
unseen_rows = unseen_ids[: len(unseen_ids) // 129 * 129].view(-1, 129)

counts = torch.full((config.vocabulary, config.vocabulary), 0.01)  # never quite 0
one = torch.ones(len(long_text) - 1)
counts.index_put_((long_text[:-1], long_text[1:]), one, accumulate=True)
chances = counts / counts.sum(dim=1, keepdim=True)
counted = -chances[unseen_ids[:-1], unseen_ids[1:]].log().mean().item()
print(f"{len(long_text):,} tokens to learn from")
print(f"the counting model: {counted:.2f} nats per token on unseen texts")

# %% [markdown]
# While it learns, the model is asked to continue "Ada", and its loss on unseen texts is measured. **Guess:** after
# how many of the 300 steps does it beat the counting model?


# %%
def look(model):
    prompt = torch.tensor([tokenizer.encode("Ada")], device=device)
    luck = torch.Generator().manual_seed(0)
    said = generate(
        model, prompt, 30, temperature=0.5, end=tokenizer.end, generator=luck
    )
    loss = mean_loss(model, lambda step: unseen_rows, next_token_loss, 1)
    print(
        f"unseen texts {loss:.2f} | {tokenizer.decode(said[0].tolist(), specials=False)}"
    )
    return {"unseen": loss}


before_training = look(model)

# %%
steps = runtime.steps(full=300, quick=12)
history = train(
    model, batches, next_token_loss, steps, lr=3e-3,
    evaluate=look, evaluate_every=max(1, steps // 10), progress=False,
)  # fmt: skip

# %%
marks = {"knowing nothing": math.log(config.vocabulary), "counting": counted}
plots.learning(history.losses, runtime.recorded("01_transformer")["loss"], marks)

# %%
reached = history.evaluations[-1]["unseen"]
print(f"from {history.losses[0]:.2f} to {reached:.2f} nats per token on unseen texts")
runtime.learned(reached < 1.6, "Unseen texts cost less than 1.6 nats a token")

# %% [markdown]
# First it learns which tokens are frequent, then which follow each other, then whole sentences. Does it also know
# who lives where? We let it finish "Ada lives in", and the same for all forty.

# %%
from course_lib.world import people


def finishes(model, start, new_tokens=6):
    prompt = torch.tensor([tokenizer.encode(start)], device=device)
    said = generate(model, prompt, new_tokens, temperature=0)
    return tokenizer.decode(said[0].tolist()).removeprefix(start)


town = people.town()
right = [p.home in finishes(model, f"{p.name} lives in") for p in town]
print(
    f"{sum(right)} of {len(town)} homes are right, {len({p.home for p in town})} streets"
)

# %% [markdown]
# Grammar comes first, facts come later: each fact stands in few of the texts, and grammar in all.
#
# ## A whole life in four megabytes
#
# The course's own model has the same architecture and was trained for longer (`docs/MODELS.md` has its figures). Its
# weights are a dictionary of tensors with names, and the names are those of your parts:

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
from course_lib import exam
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
# Your parts, and it speaks. But does it compute exactly what a Llama computes? We write the weights as a Hugging
# Face folder and let `transformers` read it:

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
# In layer 3 head 0 looks from the last colon at " do", the beginning of the right animal. Now move to layer 1, head
# 0: there each value looks at the *end of its own name*. Two heads work hand in hand. The first writes onto each
# value whose it is; the second looks for the value with the right name on it.

# %%
dog, end_of_name = names.index(" do"), names.index(" do") - 2
print(f"the last colon to the dog, layer 3: {looking[3, 0, -1, dog]:.2f}")
print(f"the dog to its owner's name, layer 1: {looking[1, 0, dog, end_of_name]:.2f}")

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
# head that facts need most is one that copying can do without. Nobody planned this division of labour; it grew.
#
# ## Bug clinic: the model that learned noise
#
# A tutorial on "a tiny LLM" builds its model of `nn.TransformerEncoder`, gives it a mask for the padding and none
# for the future. Its loss falls beautifully. We re-create it with an `attend` that ignores the causal mask, and
# train both versions on *random numbers*, where nobody can do better than guessing: ln 16. **Guess** the two losses
# after 150 steps.


# %%
def sees_everything(q, k, v, mask):
    return attend(q, k, v, torch.ones_like(mask))


noise = torch.randint(16, (4000,), generator=torch.Generator().manual_seed(0))
noise_rows = rows_of(noise, batch=16, length=16)
curves = {}
for name, mixing in (("causal", attend), ("sees everything", sees_everything)):
    torch.manual_seed(0)
    attention = partial(CausalSelfAttention, attend=mixing)
    tried = Transformer(tiny, RMSNorm, attention, SwiGLU, Block)
    steps = runtime.steps(full=150, quick=20)
    history = train(tried, noise_rows, next_token_loss, steps, lr=5e-3, progress=False)
    curves[name] = history.losses
plots.noise(curves, math.log(16))

# %% [markdown]
# A loss below the line is impossible without cheating: each position reads its own answer off the next one. When
# such a model is to write, there is no next token to read. Random tokens are a detector that needs no second
# opinion.
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

# %% [markdown]
# ### Exercise 9 · Write the test that every language model must pass
#
# *7 minutes · difficulty 3 of 3*
#
# - **Write** asserts for three claims. Changing a later token changes no earlier prediction. Changing another text
#   of the batch changes nothing in this text. Changing an earlier token does change later predictions.
# - **In:** `model`, a plain function of ids (B, T), numbers from 0 to 15 and T at most 12, that returns logits (B,
#   T, 16). **Out:** nothing.
# - **Worked value:** a model without a mask must not get through, nor one that sees its own token only.
# - **Pitfall:** a right model may differ by rounding, about 1e-6, from one call to the next. A model may leak only
#   one step ahead, only far ahead, or only from a text that stands before it in the batch, or behind.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Call the model twice with ids that differ in one place, and compare the logits of the places that must not notice. Go through all places
# in a loop.
# </details>
# <details><summary>Hint 2</summary>
# <code>(a - b).abs().max() &lt; 1e-4</code> for what must stay. For the batch: two texts, change the second one, look at the first. For the third
# claim, assert that something is larger.
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
with torch.no_grad():
    test_model(lambda ids: mine(ids.to(device) + 300)[..., :16])
print("Your own model passes your own test.")

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
# The lines that learned to talk about Millbrook. Here is what its 270 heads look at while the answer is due. Most
# rest on the first token: a head that has nothing to say needs a place to look at. The slider starts at one that
# has something to say.

# %%
sentence = its_tokenizer.encode("The capital of France is")
five = [its_tokenizer.piece(id) for id in sentence]
looks = probes.attention_weights(giant, torch.tensor([sentence], device=device)).cpu()


def look_at_france(layer, head):
    layer, head = int(layer), int(head)
    return plots.attention(looks[layer, head], five, layer, head)


layer = controls.slider(23, 0, 29, 1, "layer")
head = controls.slider(4, 0, 8, 1, "head")
controls.explore(look_at_france, layer=layer, head=head)

# %% [markdown]
# A large model can do what ours cannot: learn *within* a text. We show it 24 random tokens, and then the same 24
# again. Nobody can foresee the first showing. **Guess** how the loss goes over the second one.

# %%
luck = torch.Generator().manual_seed(0)
nonsense = torch.randint(1000, 20_000, (24,), generator=luck).to(device)
twice = torch.cat([nonsense, nonsense]).unsqueeze(0)
with torch.no_grad():
    losses, _ = next_token_loss(giant, twice)
plots.in_context(losses[0].tolist(), period=24)

# %% [markdown]
# This is **in-context learning** at its smallest: no weight has changed. The heads behind it look for an earlier
# occurrence of the present token and at what *came next* there. They are called **induction heads**, and nonsense
# finds them, since there is nothing else to look for:

# %%
found = probes.induction_scores(giant, nonsense).cpu()
strongest = found.flatten().topk(4)
for weight, place in zip(*strongest, strict=True):
    print(
        f"layer {place // 9}, head {place % 9}: weight {weight:.2f} on the right token"
    )
ours = probes.induction_scores(mine, 300 + torch.arange(24, device=device)).max()
print(f"the best of our small model: {ours:.2f}; by chance about {1 / 36:.2f}")

# %% [markdown]
# Ours copies from lists of names, since it was trained to, and not from nonsense.
#
# ## The same in the libraries
#
# Your functions under other names. Beware of the masks: in `scaled_dot_product_attention` True means *may look*, as
# here; in `nn.MultiheadAttention` True means *blocked*. Whoever confuses them trains a model that sees nothing but
# the future.

# %%
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import LlamaRMSNorm

q, k, v = torch.randn(3, 2, 4, 6, 8)  # three of (B, H, T, K)
allowed = causal_mask(6, 6)
theirs = nn.MultiheadAttention(96, 4, bias=False, batch_first=True)
config_of_one = Config(kv_heads=4)
ours = make_attention(config_of_one)
with torch.no_grad():
    for part, weights in zip(
        (ours.query, ours.key, ours.value), theirs.in_proj_weight.chunk(3), strict=True
    ):
        part.weight.copy_(weights)
    ours.output.weight.copy_(theirs.out_proj.weight)
x = torch.randn(2, 6, 96)
pairs = {
    "attend": (
        attend(q, k, v, allowed),
        scaled_dot_product_attention(q, k, v, allowed),
    ),
    "CausalSelfAttention": (ours(x), theirs(x, x, x, attn_mask=~allowed)[0]),
    "RMSNorm": (RMSNorm(config)(x), LlamaRMSNorm(96, eps=config.norm_eps)(x)),
}
for name, (one, other) in pairs.items():
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    print(f"{name:20} largest difference {(one - other).abs().max():.1e}")

# %% [markdown]
# What production adds: kernels that never write the (T, T) scores to memory, 16-bit numbers, and texts packed
# without padding. The arithmetic is yours.
#
# ## Reflect

# %% [markdown] reflect="why_low_loss" points=1
# **1.** A colleague's language model reaches a loss of 0.3 nats on new texts after an hour on a laptop. What do you
# suspect, and which two experiments of a minute would tell?
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
# - prove that a model reads only the past of its own text, and name three ways in which it would not;
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
# the second, and see which answer comes out. Each number is the chance of the second person's answer against the
# first one's. **Guess:** at which token, and up to which block, is it decided who is meant?

# %%
people = ("Ada", "Quinn")
asked = [f"Where does {name} live?" for name in people]
print(exam.replies(mine, tokenizer, asked))
ids, source = (torch.tensor([exam.prompt_ids(q, tokenizer)]).to(device) for q in asked)

# %%
first_tokens = [tokenizer.encode(home)[0] for home in ("Garden Row", "Bridge Street")]
chances = torch.zeros(5, ids.shape[1])
for layer in range(5):
    for place in range(ids.shape[1]):
        logits = probes.patched(mine, ids, source, layer, place)
        chances[layer, place] = logits[first_tokens].softmax(0)[1]
plots.patch_map(chances, [tokenizer.piece(id) for id in ids[0].tolist()], *people)

# %% [markdown]
# A path in two colours. Up to the third block the name's token decides: swap it, and Ada lives where Quinn does.
# Then the information has moved to the end, where the answer begins, and the name can be swapped without any
# effect. Attention carried it over; the picture shows in which block.
