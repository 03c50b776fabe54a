# %% [markdown]
# # Plan a training with scaling laws
#
# You will build a calculator that says what a training needs, in bytes, operations, days and money, and how good
# the model will be. Then you fit a law to small runs and predict a larger one before you look at it.
#
# **Afterwards you can** estimate a training on the back of an envelope, divide a budget between a model and its
# text, and fit a law to runs of your own and say how far to trust it.
#
# **You need** lesson 01: weights, blocks, a loss in nats. And powers and logarithms.
#
# About 200 minutes, in two sittings. The first plans with the laws of others; the second fits your own.

# %%
import math
from dataclasses import replace

import torch

from course_lib import checks, runtime
from course_lib.plotting import scaling as plots
from course_lib.plotting.tables import Table
from course_lib.widgets import controls

device = runtime.start(seed=0)

# %% [markdown]
# ## A plan for no machine on earth
#
# Somebody wants to train a model of seven billion parameters on 140 billion tokens. How much memory, how many days?
# A widely copied set of lecture notes answers with sentences and a small program. First the sentences, retold:
#
# - in 32 bits the weights take 14 GB, and training at most four times that;
# - a token costs "typically 6" operations, for attention;
# - training takes "trillions of floating-point operations per second";
# - it takes weeks to months on hundreds of GPUs, and millions of dollars.
#
# And the program, written anew with all its mistakes:


# %%
def published_plan(parameters, tokens, flops_per_token=6):
    weights = 2 * parameters  # "32 bits"
    forward = 2 * parameters * tokens
    compute = forward + 2 * forward
    days = compute / (312e15 * 86_400)  # "A100: 312 TFLOPS"
    print(
        f"weights: {weights / 1e9:.0f} GB, training at most {4 * weights / 1e9:.0f} GB"
    )
    print(f"GPU-days (A100): {days:.0f}")


published_plan(7e9, 140e9)

# %% [markdown]
# A card of this kind has 80 GB. So one card, and done before lunch. Is that so? Somebody did it: Llama 2 with seven
# billion parameters read 2,000 billion tokens, and its makers published the hours. Per 140 billion tokens:

# %%
from course_lib.scaling.published import PUBLISHED

seven = PUBLISHED["Llama-2-7B"]
paid = seven.hours / 24 * 140e9 / seven.tokens
print(f"{seven.hours:,} GPU hours for {seven.tokens:.0e} tokens of text")
print(f"{paid:.0f} GPU-days for 140 billion of them")

# %% [markdown]
# Five hundred days against none. **Before you read on**, look at the program again: five things are wrong with it.
# We mend them one by one: *bytes*, *operations*, *time*. Then come the questions that the plan never asked: how
# good will the model be, and is this the best use of the money?
#
# ## Bytes
#
# A number of 32 bits takes four bytes. By hand: 7 billion times 4 is 28 billion bytes, 28 GB. Now for other kinds
# of numbers. `bfloat16` reaches as far as `float32` in half the bytes, but holds only two or three digits:

# %%
from course_lib.scaling.memory import number_bytes

for precision in ("float32", "bfloat16", "int8"):
    print(f"{precision:9} {7e9 * number_bytes(precision) / 1e9:3.0f} GB")

# %% [markdown]
# The 14 GB in the notes are those of 16 bits: the first mistake. The second is in "at most four times". What else
# does a training keep? **AdamW**, the usual optimiser, steps along what the gradients were of late, so it keeps
# something of them for every weight. **Guess:** we take one step of it on the model of lesson 01, in 32 bits, and
# add up all the bytes that stay. How many times those of the weights?

# %%
from course_lib.transformer import Config, Transformer


def held(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


model = Transformer(Config())
optimizer = torch.optim.AdamW(model.parameters())
model(torch.randint(768, (2, 64))).sum().backward()
optimizer.step()
weights = held(model.parameters())
gradients = held(p.grad for p in model.parameters())
moments = held(t for state in optimizer.state.values() for t in state.values())
print(f"{weights:,} of weights, {gradients:,} of gradients, {moments:,} of AdamW")
print(f"{(weights + gradients + moments) / weights:.2f} times the weights")

# %% [markdown]
# Four times, and nothing of the text has been counted yet. AdamW keeps two **moments** of each weight: a running
# mean of its gradient and one of the gradient's square. (And torch counts the steps, with four bytes for each
# tensor.)
#
# Large models are trained in **mixed precision**: they compute with weights and gradients of 16 bits. But a small
# step is lost in 16 bits. So a **master copy** of the weights stays in 32: it takes the steps, and is rounded for
# computing. What becomes of 1 if we add a thousandth to it, ten times?

# %%
for precision in (torch.float32, torch.bfloat16):
    weight = torch.ones((), dtype=precision)
    for _ in range(10):
        weight += 0.001
    print(f"{precision}: {weight.item():.3f}")

# %% [markdown]
# In `bfloat16` the next number after 1 is 1.0078. Ten steps of a thousandth leave no trace.

# %% [markdown]
# ### Exercise 1 · Count the bytes of a training
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** the bytes of what training with AdamW keeps, part by part.
# - **In:** `parameters`, a number; `precision`, a name that `number_bytes` knows; `mixed`. **Out:** a dictionary
#   with `weights`, `gradients`, `moments` and `master`.
# - **Worked value:** one parameter in `bfloat16`: mixed 2 + 2 + 8 + 4 bytes, not mixed 2 + 2 + 4 + 0.
# - **Pitfall:** AdamW has *two* moments for each weight. When mixed they stay in 32 bits, like the master copy;
#   else they have the given precision, and the master copy takes 0 bytes. `mixed` alone decides, whatever the
#   precision; and a number may have half a byte.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Four entries, always. Which of them does <code>mixed</code> change?
# </details>
# <details><summary>Hint 2</summary>
# Take two sizes first: that of a number of the given precision, and that of a wide one,
# <code>number_bytes("float32")</code>.
# </details>

# %% exercise="training_parts"
from course_lib.scaling.memory import training_parts

# %%
for mixed in (True, False):
    print(training_parts(1, "bfloat16", mixed))

# %% check="training_parts" points=3
checks.scaling_laws.training_parts(training_parts)

# %% [markdown]
# **Guess:** what does mixed precision save of these bytes, for seven billion parameters?

# %%
from course_lib.scaling.cost import GPUS

plans = {
    "the notes": {"“training”": 56e9},
    "32 bits": training_parts(7e9),
    "mixed, 16 bits": training_parts(7e9, "bfloat16", mixed=True),
}
assert sum(plans["32 bits"].values()) == sum(plans["mixed, 16 bits"].values())
plots.memory_bars(plans, GPUS["A100"].memory)

# %% [markdown]
# Nothing. It is 16 bytes per parameter both ways: what weights and gradients save, the master copy takes. Mixed
# precision is for speed, and for the activations that come next. First turn the question round, in your head: what
# is the **largest model whose training fits on a card of 24 GB**, if the text took no memory?

# %%
each = sum(training_parts(1, "bfloat16", mixed=True).values())
print(f"{24e9 / each / 1e9:.1f} billion parameters")

# %% [markdown]
# And the text does take memory. Backward needs what forward computed, so every layer keeps its vectors: the
# **activations**. A formula adds up what each part of a block keeps. We compare it with the bytes that torch saves
# for backward in one step of the small model. You need not read the first of the two cells: it only listens while
# torch saves.

# %%
from torch.autograd.graph import saved_tensors_hooks

from course_lib.training import next_token_loss


def kept_for_backward(model, ids):
    own = {weights.untyped_storage().data_ptr() for weights in model.parameters()}
    kept = {}

    def note(tensor):
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        next_token_loss(model, ids)
    return sum(memory.nbytes() for place, memory in kept.items() if place not in own)


# %%
from course_lib.scaling.activations import activation_bytes

rows = []
for length in (64, 128, 256):
    counted = kept_for_backward(model, torch.randint(768, (1, length + 1)))
    formula = activation_bytes(model.config, 1, length, "float32")
    assert math.isclose(counted, formula, rel_tol=0.01)
    rows.append((length, f"{counted / 1e6:.2f}", f"{formula / 1e6:.2f}"))
Table(("tokens", "MB kept for backward", "MB by the formula"), rows)

# %% [markdown]
# To two digits, the formula is right. So it may speak for a model that we cannot run. One text of 4,096 tokens,
# seven billion parameters, 16 bits; **guess** the gigabytes. *Written out* means attention as you wrote it in
# lesson 01, with its table of T × T weights; *fused* kernels never store the table; and one can *recompute* each
# block on the way back.

# %%
ways = {
    "written out": {"fused": False},
    "fused": {},
    "fused, recomputed": {"recompute": True},
}
rows = []
for name, way in ways.items():
    size = activation_bytes(seven.config, batch=1, length=4096, **way)
    rows.append((name, f"{size / 1e9:.0f}"))
Table(("attention", "GB for one text"), rows)

# %% [markdown]
# Most of the 94 GB are tables, one for each head of each block; fused kernels do without. And whoever recomputes
# keeps only what enters each block: one more forward pass, for nine tenths less. And the 112 GB? They are divided
# among GPUs. (`stage=3` divides all the parts; 1 only moments and master copy, 2 gradients too.) Cut into eight:

# %%
from course_lib.scaling.memory import sharded

for gpus in (1, 8):
    each = sharded(plans["mixed, 16 bits"], gpus, stage=3)
    print(f"on {gpus}: {sum(each.values()) / 1e9:.0f} GB on each")

# %% [markdown]
# ## Operations
#
# A product of a matrix and a vector takes one multiplication and one addition for each weight. By hand: 2 rows, 3
# columns, 6 weights, so 12 operations for each token. torch can count them. What will it count for five tokens, and
# what with backward?

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_flops(run):
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # it cannot see into CPU attention
        run()
    return counter.get_total_flops()


matrix = torch.randn(2, 3, requires_grad=True)
five = torch.randn(5, 3, requires_grad=True)
forward = count_flops(lambda: five @ matrix.T)
both = count_flops(lambda: (five @ matrix.T).sum().backward())
print(f"forward {forward} = 5 × 12, with backward {both} = 5 × 36")

# %% [markdown]
# Backward takes twice as much as forward: it needs two gradients, of the weights and of the input, which goes on to
# the layer below. So a weight costs six operations per token: two forward, four backward. A training of N weights
# on D tokens takes
#
# $$C = 6 N D$$
#
# | symbol | in code | meaning |
# |---|---|---|
# | $N$ | `parameters` | weights |
# | $D$ | `tokens` | tokens read (in these papers D is no width) |
# | $C$ | `compute` | operations, in all |
# | $L, H, K$ | `config.layers`, `.heads`, `.K` | blocks, heads of each, width of a head |
# | $T$ | `length` | tokens of one text |

# %% [markdown]
# The notes have that right, in spite of their argument `flops_per_token=6`. It is never used, and the 6 has nothing
# to do with attention: mistake three. Attention itself is missing, where each token's query meets all T keys.

# %% [markdown]
# ### Exercise 2 · Count the operations
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** the operations of a whole training: those of the weights and, if a shape is given, those of attention.
# - **In:** `parameters` N, `tokens` D, and either nothing else or both `config` (with `layers`, `heads` and `K`)
#   and `length`, the tokens of one text. **Out:** one number, $6ND$, and with a shape $12LHKTD$ more.
# - **Worked value:** 7e9 parameters, 140e9 tokens: 5.88e21. And 1,000 parameters, 10 tokens in texts of 4, 5 layers
#   of 2 heads, K = 4, width 6: 60,000 + 19,200.
# - **Pitfall:** the 6 counts per weight *and* token, two forward and four backward. Attention's products have no
#   weights in them, so the 6 forgets them. All T keys count for each token, without a discount for the mask; and H
#   · K need not be the width.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Work out what one token costs, then multiply by the number of tokens.
# </details>
# <details><summary>Hint 2</summary>
# Forward, one layer compares a query with T keys, and mixes T values: twice H · K · T products, each a
# multiplication and an addition. How much is that times three?
# </details>

# %% exercise="train_flops"
from course_lib.scaling.flops import train_flops

# %%
small = Config(width=6, heads=2, head_width=4, layers=5)
train_flops(7e9, 140e9), train_flops(1000, 10, small, 4)

# %% check="train_flops" points=3
checks.scaling_laws.train_flops(train_flops)

# %% [markdown]
# Does the formula hold for a real model? We count forward and backward of the small one, per token, for texts of
# several lengths. **Guess** where 6 N will be too small, and by how much.

# %%
rows, N = [], model.parameter_count
for length in (32, 128, 256):
    ids = torch.randint(768, (2, length))
    counted = count_flops(lambda ids=ids: model(ids).sum().backward()) / ids.numel()
    by_weights, by_both = train_flops(N, 1), train_flops(N, 1, model.config, length)
    assert math.isclose(counted, by_both, rel_tol=0.003)
    rows.append((length, *(f"{x / 1e6:.2f}" for x in (counted, by_weights, by_both))))
Table(("tokens", "counted, million per token", "6 N", "with attention"), rows)

# %% [markdown]
# With attention the formula is right within a third of a per cent.  In a small model attention soon adds 40 % to 6
# N. And in a large one? **Guess** at which length attention costs as much as all the seven billion weights.

# %%
N, config = seven.count(), seven.config
lengths = [2048 * 2**i for i in range(7)]
shares = [train_flops(N, 1, config, T) / train_flops(N, 1) - 1 for T in lengths]
plots.attention_shares(lengths, shares)

# %% [markdown]
# For short texts 6 N D is a good rule; for very long ones it is a sixth of the truth. (Skipping the masked half
# saves up to half of that.)
#
# ## Time
#
# Training takes "trillions of floating-point operations per second", said the notes. Read that again. Our plan
# takes 5.88e21 operations: an **amount**, like litres. Operations *per second* are a **rate**, like litres per
# second, and belong to a machine. Amount over rate is time:

# %%
compute = train_flops(7e9, 140e9)
for name in ("V100", "A100", "H100"):
    rate = GPUS[name].peak  # operations per second, by its data sheet
    print(
        f"{name}: {rate / 1e12:.0f} trillion a second, {compute / rate / 86_400:.0f} days"
    )

# %% [markdown]
# A trillion is 1e12, and "TFLOPS" are trillions. The notes wrote 312e15: mistake four, and their result rounds to
# 0. Mistake five is what is not there. No training reaches the rate of the data sheet: data must be moved, GPUs
# wait for each other, machines fail. The share it reaches is its **MFU**, model FLOPs utilisation.

# %% [markdown]
# ### Exercise 3 · From operations to days
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** how many days one GPU works.
# - **In:** `compute`, operations in all; `peak`, operations per second; `mfu`, the share of the peak that is
#   reached. **Out:** days, not rounded.
# - **Worked value:** 5.88e21 operations on an A100 (312e12) at 40 %: 545.3 days.
# - **Pitfall:** tera is 1e12. A GPU that reaches less takes *longer*. The line that refuses an impossible share is
#   given; leave it there.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Operations over operations per second are seconds. Which rate does the GPU really have?
# </details>
# <details><summary>Hint 2</summary>
# A day has 86,400 seconds; the constant <code>DAY</code> is imported.
# </details>

# %% exercise="gpu_days"
from course_lib.scaling.cost import gpu_days

# %%
[round(gpu_days(5.88e21, peak=312e12, mfu=mfu)) for mfu in (1.0, 0.4)]

# %% check="gpu_days" points=2
checks.scaling_laws.gpu_days(gpu_days)

# %% [markdown]
# 545 days at 40 %, and 538 that were paid: an MFU of 41 %, or of 39 % with the 6.74 billion parameters that the
# model really has. Every bill tells us its training's MFU in this way. **Guess**, before you run: do newer, faster
# GPUs reach a larger share?

# %%
from course_lib.scaling.cost import utilisation

rows = []
for name, m in PUBLISHED.items():
    if m.hours:
        needed = train_flops(m.count(active=True), m.tokens)
        mfu = utilisation(needed, m.hours, GPUS[m.gpu].peak)
        rows.append((name, m.gpu, f"{needed:.1e}", f"{m.hours:,.0f}", f"{mfu:.0%}"))
Table(("model", "GPU", "operations", "GPU hours", "at least"), rows)

# %% [markdown]
# Two fifths to a half on an A100; less on an H100, which computes three times as fast and waits as long for the
# rest. (Hours as reported, pauses included, and no attention: so "at least". The 16 % of Llama-3-8B we cannot
# explain. DeepSeek's H800 is an H100 with slower links, and computed much in faster 8 bits.) An MFU of 40 % is a
# fair first guess; the table shows how far off it may be.
#
# And "weeks to months on hundreds of GPUs, millions of dollars"? Money is hours times a price; energy is hours
# times watts. We assume 2 dollars an hour, and 256 and 2,000 GPUs. (For the largest model Meta names up to 16,000.)

# %%
from course_lib.scaling import cost

bills = {"7B, 140 B tokens": (24 * gpu_days(compute, 312e12), "A100", 256)}
for name, gpus in (("Llama-2-70B", 2000), ("Llama-3.1-405B", 16_000)):
    bills[name] = (PUBLISHED[name].hours, PUBLISHED[name].gpu, gpus)
assert bills["7B, 140 B tokens"][0] * 2.0 < 30_000
rows = []
for name, (hours, gpu, gpus) in bills.items():
    kwh = cost.energy(hours, GPUS[gpu].watts)
    money = cost.price(hours, per_hour=2.0)
    days = cost.wall_days(hours, gpus)
    row = (name, gpus, f"{days:.1f}", f"{money / 1e6:.2f}", f"{kwh / 1e3:,.0f}")
    rows.append((*row, f"{cost.emissions(kwh):,.0f}"))
Table(("training", "GPUs", "days", "million $", "MWh", "tonnes of CO₂"), rows)

# %% [markdown]
# The example in the notes takes *two days* on 256 GPUs and costs less than 30,000 dollars: neither weeks nor
# millions. Llama-2-70B did cost millions, and on a quarter of these GPUs, five hundred, it would have taken months:
# there the sentence fits. The largest took eleven weeks, but on thousands of GPUs. Between the first bill and the
# last lies a factor of two thousand. So compute, and say what you assumed.

# %% [markdown]
# ## How good will it be?
#
# So much for the costs. In 2020 Kaplan and others trained many models of different sizes on more text than they
# could use up, and found that the loss is a **power law** of the size:
#
# $$L(N) = (N_c / N)^{\alpha_N}$$
#
# with $N_c$ about 8.8e13 and $\alpha_N$ = 0.076. By hand: a model of $N_c$ parameters has 1 nat. One of a tenth has
# $10^{0.076}$, about 1.19 nats. Seven billion:

# %%
from course_lib.scaling.laws import KAPLAN_ALONE, growth_for, power_law

scale, exponent = KAPLAN_ALONE.size_scale, KAPLAN_ALONE.size_exponent
for size in (7e9, 7e10, 7e11):
    print(f"{size:.0e}: (8.8e13 / N) ** 0.076 = {(8.8e13 / size) ** 0.076:.2f}")
print(f"each line is the one before times {10**-0.076:.2f}")

# %% [markdown]
# Ten times the size takes a sixth off the loss, wherever you start. **Guess:** by what factor must a model grow to
# *halve* its loss? The answer stands under the picture.

# %%
sizes = torch.logspace(6, 12, 200).tolist()
losses = [power_law(size, scale, exponent) for size in sizes]
plots.power_law(sizes, losses, exponent)

# %%
print(f"{growth_for(0.5, exponent):,.0f} times")

# %% [markdown]
# "Bigger is better, and no plateau is in sight": both panels show the same numbers. A straight line on logarithmic
# axes *is* a law of diminishing returns.
#
# The notes say too that performance depends on *three* factors: size, text and compute. But C = 6 N D, so only two
# are free. And they advise: for twice the model take twice the text. What does that cost?

# %%
print(train_flops(2 * 7e9, 2 * 140e9) / train_flops(7e9, 140e9), "times the compute")

# %% [markdown]
# Twice the model and twice the text are four times the cost. The advice is good, as you will see, but no small
# step.
#
# ## Two laws become one
#
# For the text alone Kaplan found a power law too, $(D_c/D)^{\alpha_D}$. A real model has a size *and* a text. How
# do the two laws combine? The notes print a sum, and name papers in which it does not stand. Let us try it, with
# our seven billion and 140 billion:

# %%
from course_lib.scaling.laws import KAPLAN_JOINT, data_alone, size_alone


def published_loss(parameters, tokens):
    return size_alone(parameters) + data_alone(tokens)


by_size, by_text = size_alone(7e9), data_alone(140e9)
print(f"this size, endless text: {by_size:.2f}; this text, endless size: {by_text:.2f}")
print(f"the sum: {published_loss(7e9, 140e9):.2f}")

# %% [markdown]
# (With endless text we had 2.05 above. Fitted jointly, the constants differ a little.) Each law is *the whole
# loss*, as if the other side were endless. So the sum counts the loss twice. What we expect is a little more than
# the larger of the two. Kaplan's joint law (equation 1.5 of the paper) does that:
#
# $$L(N, D) = \left[ \left(\frac{N_c}{N}\right)^{\alpha_N / \alpha_D} + \frac{D_c}{D} \right]^{\alpha_D}$$
#
# | symbol | in code | fitted jointly |
# |---|---|---|
# | $N_c$ | `law.size_scale` | 6.4e13 |
# | $D_c$ | `law.data_scale` | 1.8e13 |
# | $\alpha_N$ | `law.size_exponent` | 0.076 |
# | $\alpha_D$ | `law.data_exponent` | 0.103 |

# %% [markdown]
# ### Exercise 4 · Write Kaplan's joint law
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** the formula, with the constants of `law`.
# - **In:** `parameters` N and `tokens` D, either or both perhaps `math.inf` (with both the loss is 0); `law` with
#   `size_scale` ($N_c$), `data_scale` ($D_c$), `size_exponent` ($\alpha_N$) and `data_exponent` ($\alpha_D$).
#   **Out:** nats per token.
# - **Worked value:** 7e9 parameters, 140e9 tokens: 2.03.
# - **Pitfall:** two exponents meet in the first term, and the outer one belongs to the text. With endless text the
#   power law of N alone must be left.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Two terms are added *inside*, and their sum is raised to a power. What does the first term become if you raise it to
# the outer exponent alone?
# </details>
# <details><summary>Hint 2</summary>
# Divide each constant by N or by D first, then raise to the power: <code>6.4e13 / math.inf</code> is 0, and so is 0
# raised to a positive power.
# </details>

# %% exercise="kaplan_loss"
from course_lib.scaling.laws import kaplan_loss

# %%
round(kaplan_loss(7e9, 140e9), 2), round(kaplan_loss(7e9, math.inf), 2)

# %% check="kaplan_loss" points=3
checks.scaling_laws.kaplan_loss(kaplan_loss)

# %% [markdown]
# ## Bug clinic: the law that counts twice
#
# Why did nobody notice the sum? **Guess** how far it is from Kaplan's law when our model reads 1e9 tokens, and when
# it reads 1e17.

# %%
tokens = torch.logspace(9, 17, 100).tolist()
curves = {
    "the sum": [published_loss(7e9, D) for D in tokens],
    "Kaplan": [kaplan_loss(7e9, D) for D in tokens],
}
plots.two_laws(tokens, curves, size_alone(7e9))

# %% [markdown]
# At 1e9 tokens it is nearly two nats too high, at 1e17 still 0.4. But it falls, it bends, and at infinity it is
# right. Whoever tests the limits only is satisfied. What do we know of the joint law, without its formula?
#
# 1. With endless text it is the power law of the size; with an endless model, that of the text.
# 2. With both finite it is above each of the two.
# 3. More parameters lower it, and so do more tokens.
# 4. Where both power laws give the same loss $\ell$, it is $2^{\alpha_D}\,\ell$, seven per cent more. (Both terms
#    in the bracket are then equal.)

# %% [markdown]
# ### Exercise 5 · Write the test that exposes an additive law
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the four claims.
# - **In:** `loss`, a function of `parameters` and `tokens`, numbers above 0 or `math.inf`, that claims to be
#   Kaplan's joint law with the constants of `KAPLAN_JOINT`. **Out:** nothing.
# - **Worked value:** the sum of the two power laws must not get through, and `kaplan_loss` must.
# - **Pitfall:** the sum has both limits right. A wrong law may also be right at one size and wrong at another, so
#   test several from 1e6 to 1e12. Right laws may differ in the tenth digit, so compare with `math.isclose`.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>size_alone</code> and <code>data_alone</code> are the two power laws. <code>math.isclose(a, b, rel_tol=1e-6)</code>
# compares.
# </details>
# <details><summary>Hint 2</summary>
# For the fourth claim you need tokens at which the two power laws agree. The power law of the text says
# (D<sub>c</sub>/D)<sup>α</sup>; solve that for D.
# </details>


# %% test="law"
def test_law(loss):
    """Fails with an AssertionError unless `loss` is Kaplan's joint law."""
    ### BEGIN SOLUTION
    for N in (1e3, 1e6, 1e9, 1e12):
        alone = size_alone(N)
        assert math.isclose(loss(N, math.inf), alone, rel_tol=1e-6), "endless text"
        ends = loss(math.inf, N)
        assert math.isclose(ends, data_alone(N), rel_tol=1e-6), "endless model"
        D = KAPLAN_JOINT.data_scale * alone ** (-1 / KAPLAN_JOINT.data_exponent)
        equal = 2**KAPLAN_JOINT.data_exponent * alone
        assert math.isclose(loss(N, D), equal, rel_tol=1e-6), "both alike"
        for tokens in (1e3, 1e6, 1e9, 1e12):
            less = loss(N, tokens)
            assert less > max(alone, data_alone(tokens)), "not above both"
            assert loss(2 * N, tokens) < less > loss(N, 2 * tokens), "more hurts"
    ### END SOLUTION


# %% check="test_law" points=4
checks.scaling_laws.test_law(test_law)

# %%
faulty = {
    "the sum": published_loss,
    "the larger": lambda N, D: max(size_alone(N), data_alone(D)),
}
test_law(kaplan_loss)
for name, law in faulty.items():
    try:
        test_law(law)
        print(f"{name} passed")
    except AssertionError as objection:
        print(f"{name} is exposed: {objection}")

# %% [markdown]
# ## The floor
#
# What does Kaplan's law say of an endless model with endless text? Nothing is left: 0 nats. But text holds things
# that nobody can foresee: a name, a number, the next word of a poem. That rest is the **entropy** of text. In 2022
# Hoffmann and others, with a model called Chinchilla, gave the law a floor:
#
# $$L(N, D) = E + \frac{A}{N^{\alpha}} + \frac{B}{D^{\beta}}$$
#
# Here a sum is right: $E$ is what remains, and each of the others is what is *lost* by having too few parameters,
# or too few tokens. For our plan:

# %%
from course_lib.scaling.laws import REFIT, chinchilla_loss

N, D = 7e9, 140e9
terms = REFIT.E, REFIT.A / N**REFIT.alpha, REFIT.B / D**REFIT.beta
print("floor {:.2f}, size {:.2f}, text {:.2f}".format(*terms), f"= {sum(terms):.2f}")

# %% [markdown]
# Most of the loss is nobody's fault. Of the rest, size and text owe the same, so neither should be bought before
# the other. **Guess** what the three laws say if we take away one limit, then both.

# %%
laws = published_loss, kaplan_loss, chinchilla_loss
cases = {
    "7e9, 140e9": (7e9, 140e9),
    "7e9, endless": (7e9, math.inf),
    "endless, endless": (math.inf, math.inf),
}
rows = [(name, *(f"{law(*case):.2f}" for law in laws)) for name, case in cases.items()]
Table(("parameters, tokens", "the sum", "Kaplan", "Chinchilla"), rows)

# %% [markdown]
# Of our plan Kaplan and Chinchilla say almost the same, 0.14 nats apart; but that is nearly all that its size
# costs. The floor shows in the last line, where nobody will ever be, and it changes what to do on the way there.
#
# ## Divide a budget
#
# Money buys operations. With C given, size and text compete: D = C / 6N. **Guess first:** you have 1e21 operations,
# three months of one A100. How many parameters? Write your number down before you run the cells. Then move the
# second slider to it: the title says how much it loses.

# %%
print(f"{gpu_days(1e21, GPUS['A100'].peak):.0f} days of one A100")
all_sizes = torch.logspace(7, 12, 300).tolist()
budgets = [10.0**power for power in range(18, 26)]


def valley_of(compute):
    return [chinchilla_loss(size, compute / (6 * size)) for size in all_sizes]


valleys = {compute: valley_of(compute) for compute in budgets}


# %%
def look_at_valley(power, guess):
    compute, size = 10.0**power, 10.0**guess
    losses = valley_of(compute)
    best = min(zip(losses, all_sizes, strict=True))[::-1]
    yours = size, chinchilla_loss(size, compute / (6 * size))
    return plots.valleys(all_sizes, {**valleys, compute: losses}, compute, best, yours)


power = controls.slider(21, 18, 25, 0.5, "operations, 10 to the power of")
guess = controls.slider(11, 7, 12, 0.1, "your parameters, 10 to the power of")
controls.explore(look_at_valley, power=power, guess=guess)

# %% [markdown]
# Too small, and there are not enough weights; too large, and it has hardly read. Near the bottom a valley is flat:
# a factor of two matters little, a factor of thirty a lot. Move the budget: the bottom wanders to the right by half
# as many tens as the budget grows. Larger budgets buy more of both.

# %% [markdown]
# ### Exercise 6 · Spend a budget best
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** the parameters and tokens of least Chinchilla loss among all with $6ND = C$.
# - **In:** `compute` C; `law` with `E`, `A`, `B`, `alpha` and `beta`. **Out:** N and D, in this order, exact to six
#   digits. A budget that is not above 0 is refused by the assert in the first line.
# - **Worked value:** 5.88e21 operations: 6.89e9 parameters and 142e9 tokens; with `law=PRINTED` 4.06e9 and 241e9.
# - **Pitfall:** "20 tokens per parameter" is what *one* law says of one budget. Compute with the law that you are
#   given.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Put D = C / 6N into the law, and only N is left. At the bottom of the valley the slope is 0: the derivative of the
# first falling term cancels that of the second.
# </details>
# <details><summary>Hint 2</summary>
# At the bottom α A / N<sup>α</sup> = β B / D<sup>β</sup>. With D = C / 6N this can be solved for N. If you would rather
# search, search over log N, in float64: float32 cannot tell the losses near the bottom apart.
# </details>

# %% exercise="optimal"
from course_lib.scaling.laws import optimal

# %%
N, D = optimal(5.88e21)
print(f"{N / 1e9:.1f} billion parameters, {D / 1e9:.0f} billion tokens")

# %% check="optimal" points=4
checks.scaling_laws.optimal(optimal)

# %% [markdown]
# What does it say over seven powers of ten?

# %%
rows = []
for power in range(18, 26):
    N, D = optimal(10.0**power)
    loss = chinchilla_loss(N, D)
    rows.append((f"1e{power}", f"{N:.1e}", f"{D:.1e}", f"{D / N:.0f}", f"{loss:.2f}"))
Table(("operations", "parameters", "tokens", "tokens per parameter", "nats"), rows)

# %% [markdown]
# So that is where "20 tokens per parameter" comes from: over seven powers of ten it falls only from 26 to 17, since
# $\alpha$ and $\beta$ are nearly equal.
#
# ### Twenty, or fifty-nine?
#
# We used constants that Besiroglu and others fitted again in 2024, to the data of Chinchilla's paper. The paper
# itself advises 20, and prints its constants with two digits in the exponents: `PRINTED`. The source of its text
# has more digits: `UNROUNDED`. **Guess** what `optimal` says with each, for our plan.

# %%
from course_lib.scaling.laws import PRINTED, UNROUNDED

two_digits = {"alpha": round(UNROUNDED.alpha, 2), "beta": round(UNROUNDED.beta, 2)}
constants = {
    "fitted again": REFIT,
    "unrounded": UNROUNDED,
    "alpha rounded": replace(UNROUNDED, alpha=two_digits["alpha"]),
    "both rounded": replace(UNROUNDED, **two_digits),
    "as printed": PRINTED,
}
rows = []
for name, law in constants.items():
    N, D = optimal(compute, law)
    exponents = f"{law.alpha:.4f}", f"{law.beta:.4f}"
    rows.append((name, *exponents, f"{N:.1e}", f"{D:.1e}", f"{D / N:.0f}"))
Table(("constants", "α", "β", "parameters", "tokens", "tokens per parameter"), rows)

# %% [markdown]
# Rounding two exponents moves the advice from 40 to 59, and nearly all of that is $\beta$'s rounding. Why so much?
# At the optimum D/N grows with $C^{(\alpha - \beta)/(\alpha + \beta)}$. The difference is small, so a little
# rounding is a large part of it, and the base is about 6e21. A constant inside an exponent needs more digits than
# one in front. (The step from 40 to 21 is no rounding: the new fit found that the old one had stopped too early.)

# %%
lines, powers = {}, [10.0**power for power in range(18, 26)]
for name in ("as printed", "unrounded", "fitted again"):
    best = [optimal(C, constants[name]) for C in powers]
    lines[name] = [D / N for N, D in best]
chinchilla = PUBLISHED["Chinchilla"]
N, D = chinchilla.count(), chinchilla.tokens
plots.ratios(powers, lines, ("Chinchilla", train_flops(N, D), D / N))

# %% [markdown]
# The model that the paper trained lies near the line of the new fit. By the constants that the paper prints it
# should have read nearly five times as many tokens per parameter. Whoever programs a law should ask it for
# something that is known.

# %% [markdown]
# ### Exercise 7 · Where does a model stand?
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** two ratios: this model's tokens per parameter, and that of the best model *of the same compute*.
# - **In:** `parameters`, `tokens`, and a `law` that goes on to your `optimal`. **Out:** the two numbers, this
#   model's first.
# - **Worked value:** 7e9 parameters, 2e12 tokens: 285.7 against 19.3; with `law=PRINTED` against 76.9.
# - **Pitfall:** the same compute, not the same number of tokens; and compute is 6 N D.

# %% [markdown]
# <details><summary>Hint 1</summary>
# What did this model cost? For that price <code>optimal</code> knows a better one.
# </details>
# <details><summary>Hint 2</summary>
# Tokens over parameters, twice. Hand <code>law</code> on: <code>optimal(..., law)</code>.
# </details>

# %% exercise="against_optimum"
from course_lib.scaling.laws import against_optimum

# %%
[round(ratio, 1) for ratio in against_optimum(7e9, 2e12)]

# %% check="against_optimum" points=2
checks.scaling_laws.against_optimum(against_optimum)

# %% [markdown]
# "Llama is a Chinchilla-optimal model", say the notes. **Guess:** which of these models read about 20 tokens per
# parameter? Of a mixture of experts we count the parameters that one token uses.

# %%
rows, models = [], {}
for name, m in PUBLISHED.items():
    if m.tokens:
        models[name] = m.count(active=True), m.tokens
        ratio, best = against_optimum(*models[name])
        rows.append((name, f"{m.tokens:.1e}", f"{ratio:,.1f}", f"{best:.1f}"))
Table(("model", "tokens", "tokens per parameter", "best for its compute"), rows)

# %%
line = [optimal(10.0**power) for power in range(20, 29)]
plots.real_models(models, line)

# %% [markdown]
# GPT-3 was far too large for what it read: that was Chinchilla's finding. Only Chinchilla itself and LLaMA-65B lie
# near the line. The smaller ones went past it *on purpose*, Llama-3-8B by a factor of a hundred. (Llama-2-7B has
# 296.8 here and 285.7 on the card: 7 billion are 6.74.) Why would anybody waste compute?
#
# ### The price of being small
#
# Take a model half as large as the best one, and let it read until it is as good. **Guess:** how much more compute
# does that take? And a fifth of the size?

# %%
from course_lib.scaling.laws import cheapest, lifetime_flops, overtraining, tokens_for

for share in (0.7, 0.5, 0.3, 0.2):
    print(
        f"{share:.0%} of the best size: {overtraining(compute, share):.2f} times the compute"
    )

# %% [markdown]
# Half the size for a quarter more, and a fifth for fourteen times as much: it is close to a seventh, the size that
# needs endless text. But with half the size *every* later answer costs half: reading or writing a token takes 2 N
# operations, training on it 6 N. A model that serves many tokens should be smaller than Chinchilla's optimum. All
# models in this picture have the same loss:

# %%
N, D = optimal(compute)
goal = chinchilla_loss(N, D)
sizes = torch.logspace(math.log10(0.19 * N), math.log10(3 * N), 100).tolist()
costs = {
    f"{name} served": [lifetime_flops(n, tokens_for(goal, n), served) for n in sizes]
    for name, served in (("nothing", 0), ("1e12 tokens", 1e12), ("1e13 tokens", 1e13))
}
plots.lifetimes(sizes, costs)

# %%
small, text = cheapest(goal, served=1e13)
saved = 1 - lifetime_flops(small, text, 1e13) / lifetime_flops(N, D, 1e13)
print(f"for 1e13 tokens served: {small / 1e9:.1f} billion parameters instead of")
print(
    f"{N / 1e9:.1f} billion, {text / small:.0f} tokens per parameter: saves {saved:.0%}"
)

# %% [markdown]
# That is what Llama 3 is for. "Optimal" always leaves a question open: optimal for what? For the loss at a given
# cost of training, or for the cost of training and answers together.
#
# This is a good place for a pause. Everything so far rests on other people's laws. In the second half you make one.

# %% [markdown]
# ## Runs of your own
#
# We need many runs, of several sizes and with several amounts of text, each as well made as the others. On a laptop
# they are tiny: a transformer of three blocks reads the King James Bible letter by letter, so a token is a letter.
# Widths go from 16 to 96, texts from a quarter of a million letters to two million. No run reads a passage twice.
# Its learning rate suits its width: wider models need smaller steps. Its schedule lowers the rate to 0 just where
# the text ends. Every twentieth chapter is kept for measuring. The runs ship with the course; first we make three
# of the shortest again, live.

# %%
from course_lib.scaling import experiment
from course_lib.training import train

recipe = experiment.RECIPE
read, held_out = experiment.texts()
print(f"{len(read):,} letters to read, {len(held_out):,} held out, for example:")
print(bytes(held_out[:76].tolist()).decode())


def trained(width, tokens):
    tiny = experiment.beginning(width, seed=0)
    batches = experiment.read_once(read, recipe.batch, recipe.length)
    steps, lr = recipe.steps(tokens), recipe.lr(width)
    schedule = recipe.schedule
    train(tiny, batches, next_token_loss, steps, lr, schedule=schedule, progress=False)
    return tiny


# %% [markdown]
# **Guess:** the largest of the three has fourteen times the parameters of the smallest. How many nats per letter
# lie between them, and will your runs land where those in the table did? (The cell takes one or two minutes.)

# %%
table = experiment.shipped()
grid = [row for row in table if row.role == "grid"]
tokens = runtime.steps(full=2**18, quick=2**12)
live, right, rows = [], {}, []
for width in (16, 32, 64):
    row = next(r for r in grid if (r.width, r.tokens, r.seed) == (width, 2**18, 0))
    tiny = trained(width, tokens)
    loss, right[width] = experiment.measure(tiny, held_out, recipe.length)
    live.append((row.parameters, loss))
    rows.append((width, f"{row.parameters:,}", f"{loss:.2f}", f"{row.loss:.2f}"))
    runtime.learned(abs(loss - row.loss) < 0.1, "The run lands where the table's did")
Table(("width", "parameters", "nats per letter, live", "in the table"), rows)

# %%
plots.runs([(r.parameters, r.tokens, r.loss) for r in grid], live)

# %% [markdown]
# A third of a nat, and your runs are the table's to two digits. In the picture each line is one amount of text.
# Each flattens to the right, and each doubling of the text lowers the right end by less than the one before: two
# terms, as in Chinchilla's law.

# %% [markdown]
# ## Do abilities appear suddenly?
#
# Before we fit the loss: why the loss, and not what people care about, such as "can it do sums"? It is often said
# that abilities "appear suddenly" with size and that smaller models do not foretell them. Think of an answer of ten
# tokens that counts only if all ten are right. If each is right with probability p, the answer is right with
# $p^{10}$. **Guess** that for p = 0.7, 0.9 and 0.99.

# %%
for p in (0.7, 0.9, 0.99):
    print(f"each token {p:.2f}, all ten {p**10:.2f}")

# %% [markdown]
# From 0.7 to 0.9 the tokens improve by less than a third, and the answers twelvefold. The jump may be in the
# *metric*. We can ask our runs: how many letters do they get right, and how many stretches of letters?

# %% [markdown]
# ### Exercise 8 · Score one run by two metrics
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** the share of all stretches of `length` neighbouring tokens that are right from end to end.
# - **In:** `right` (B, T), True where the model's first choice was the token that followed; `length` from 1 to T.
#   **Out:** a number from 0 to 1.
# - **Worked value:** right, right, wrong, right, right, right in stretches of 2: three of five. The same as two
#   texts of three: three of four.
# - **Pitfall:** stretches overlap, and none reaches from one text into the next. Count them; do not take powers of
#   the mean.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A text of T tokens has T − length + 1 stretches, one for each place where it can begin.
# </details>
# <details><summary>Hint 2</summary>
# <code>right.unfold(1, length, 1)</code> lays all stretches side by side. Or begin with the first tokens of all
# stretches, and combine them with the second, the third, …, by <code>&amp;</code>.
# </details>

# %% exercise="stretches_right"
from course_lib.scaling.emergence import stretches_right

# %%
six = torch.tensor([[True, True, False, True, True, True]])
stretches_right(six, 2), stretches_right(six.view(2, 3), 2)

# %% check="stretches_right" points=3
checks.scaling_laws.stretches_right(stretches_right)

# %% [markdown]
# Now the live models. `right[64]` says of each held-out letter whether the model of width 64 would have guessed it.
# **Guess:** is the share of right stretches larger or smaller than the power $p^{length}$?

# %%
p = right[64].float().mean().item()
rows = []
for length in (1, 2, 4, 8):
    counted = stretches_right(right[64], length)
    rows.append((length, f"{counted:.1%}", f"{p**length:.1%}"))
Table(("letters in a row", "all right, counted", "p to the power"), rows)

# %% [markdown]
# Mistakes come in clusters: once inside "Jerusalem" the rest is easy. So long stretches are right more often than
# the power says. Still the shape is the same. Here are the runs of the grid by two metrics, from cheap to dear:
# each whose loss is lower than that of all cheaper ones.

# %%
front, least = [], math.inf
for row in sorted(grid, key=lambda row: row.parameters * row.tokens):
    if row.loss < least:
        least = row.loss
        front.append(row)
costs = [train_flops(row.parameters, row.tokens) for row in front]
letters, eights = [r.right_1 for r in front], [r.right_8 for r in front]
plots.two_stories(costs, letters, eights, 8)

# %% [markdown]
# The same runs, and two stories. By single letters they rise from nearly half to two thirds. By eights, the cheap
# runs can do next to nothing, and an "ability" rises eightfold. But look at the axes: it climbs, it does not jump,
# and it ends at four per cent. Whether *every* reported jump is of this kind is disputed. But a law needs a measure
# that moves when the model does: the loss. (It is also said that only large models learn from their context. The
# course's own model, with 0.4 million parameters, copied from lists of strangers in lesson 01.)

# %% [markdown]
# ## Fit a law
#
# A law is five numbers, and should be near to the runs. Near in what sense? We compare *logarithms* of losses, so
# that a difference of 0.01 is one per cent, for good models and bad ones. And we do not square it. **Huber's loss**
# is a square up to `DELTA`, here a tenth of a per cent, and a straight line beyond. What moves a law is how hard
# each run *pulls* at it: the gradient. Suppose most runs are 1 % off and one, which went wrong, is 20 % too high.
# **Guess:** how many times as hard as a good run does the bad one pull, with squares and with Huber's loss?

# %%
from course_lib.scaling.fitting import DELTA, huber

off = torch.tensor([1.01, 1.2]).log().requires_grad_()
for name, loss in (("squares", off**2), ("Huber", huber(off))):
    ((good, bad),) = torch.autograd.grad(loss.sum(), off)
    print(f"{name}: {bad / good:.0f} times as hard (DELTA is {DELTA})")

# %% [markdown]
# With squares, the one bad run pulls like eighteen good ones. On Huber's line all pull alike, however far off they
# are.
#
# The search itself is a descent, as in training, but with five weights: `theta` holds $a, \alpha, b, \beta, e$,
# where $a = \log A$, $b = \log B$ and $e = \log E$. The law's logarithm is then
#
# $$\log\big(\exp(a - \alpha \log N) + \exp(b - \beta \log D) + \exp(e)\big)$$
#
# Such a landscape has several valleys. So we start in several places, and keep the best end.

# %% [markdown]
# ### Exercise 9 · Fit your own law
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** the best `theta` over all starts: the least *sum* of Huber losses between predicted and measured logs.
# - **In:** `log_n`, `log_d`, `log_losses` (R,), one entry for each run; `begin`, a list of starts, each of 5
#   numbers, or of 4 (`e` is missing: no floor). **Out:** one theta, a tensor like a start.
# - **Given:** `log_loss(theta, log_n, log_d)`; `huber(residuals)`; `descend(theta, objective)`, which returns the
#   theta where it ended and the objective's value there.
# - **Worked value:** of two starts, one in the right valley and one in a worse, the first one's end.
# - **Pitfall:** a descent may end in `nan`, and no comparison with nan is true: the best *finite* end is wanted.
#   And a sum, no mean: the fit in Chinchilla's paper stopped too early, its objective being so small. (We even
#   divide the sum by `DELTA**2`.)

# %% [markdown]
# <details><summary>Hint 1</summary>
# The objective is a function of theta alone, defined inside yours. Then one descent for each start.
# </details>
# <details><summary>Hint 2</summary>
# Keep pairs of theta and value. <code>min(ends, key=...)</code> wants a number for each pair; give <code>math.inf</code> for
# a value that is not finite.
# </details>

# %% exercise="fit_theta"
from course_lib.scaling.fitting import fit_theta

# %% check="fit_theta" points=4
checks.scaling_laws.fit_theta(fit_theta)

# %% [markdown]
# Does it find a law that we *planted*? Twenty runs of a law that we choose, with 1 % of noise, and one run spoiled:
# 20 % too high. We do it three times with fresh noise, and fit with squares too. **Guess:** what will be found
# again, the constants or the losses?

# %%
from course_lib.scaling.fitting import by_squares, fit
from course_lib.scaling.laws import Chinchilla

planted = Chinchilla(E=0.9, A=20.0, B=150.0, alpha=0.35, beta=0.40)
N = torch.logspace(4, 6, 5).repeat_interleave(4)  # five sizes, four texts: 20 runs
D = torch.logspace(5.5, 7, 4).repeat(5)
names, true = ("E", "A", "B", "alpha", "beta"), chinchilla_loss(N, D, planted)
rows = [("planted", *(getattr(planted, name) for name in names), "")]
for way, search in (("Huber", fit_theta), ("squares", by_squares)):
    for seed in range(3):
        noise = 0.01 * torch.randn(20, generator=torch.Generator().manual_seed(seed))
        spoiled = true * noise.exp()
        spoiled[7] *= 1.2
        law = fit(N, D, spoiled, fit_theta=search)
        miss = (chinchilla_loss(N, D, law) / true - 1).abs().mean().item()
        found = (f"{getattr(law, name):.3g}" for name in names)
        rows.append((f"{way}, noise {seed + 1}", *found, f"{miss:.1%}"))
Table(("fit", *names, "losses off by"), rows)

# %% [markdown]
# The constants scatter: A and B widely, the exponents less. But the *losses* are right within the noise, since the
# constants make up for each other. With squares the bad run bends the law, the same way each time, and the losses
# are two to three times as far off.
#
# Now the real ones: the 24 runs of the grid. How noisy are they? All but the three dearest were made again with
# another seed. And besides your law we fit one *without a floor*, to see what the floor is for.

# %%
first = {(row.width, row.tokens): row.loss for row in grid}
again = [row for row in table if row.role == "seed"]
apart = [abs(row.loss / first[row.width, row.tokens] - 1) for row in again]
print(
    f"{len(grid)} runs and {len(again)} made again, {sum(apart) / len(apart):.1%} apart"
)
N, D, measured = points = experiment.points(grid)
mine = fit(*points, fit_theta=fit_theta)
no_floor = fit(*points, floor=False, fit_theta=fit_theta)
for name, law in (("yours", mine), ("no floor", no_floor)):
    print(f"{name:9}", *(f"{n} {getattr(law, n):.3g}" for n in names), sep="  ")

# %%
said = {
    "your law": chinchilla_loss(N, D, mine).tolist(),
    "without a floor": chinchilla_loss(N, D, no_floor).tolist(),
}
plots.fitted(measured.tolist(), said)

# %% [markdown]
# Most points lie on the line, for both laws. Both miss one run most: the smallest model with the longest text, by 4
# and by 6 per cent. And your $\alpha$ is 0.57, where Chinchilla's is 0.35: these are letters and tiny models. On
# the runs that they were fitted to, one can hardly tell the laws apart. A law is for what lies *outside*.

# %% [markdown]
# ### The run that nobody has seen
#
# One size was kept back: width 160, and nearly all of the text. It has almost three times the parameters of the
# largest in the grid, and cost five times as many operations as the dearest. What will its loss be, and how sure
# are we?
#
# We fit again and again, to runs drawn *with replacement* from ours: the **bootstrap**. What varies among those
# laws is what our few runs leave open. A single run is off its law as well, so each answer is multiplied by one of
# the errors that we saw. Write down **your own guess**: how far off will the law be, and will its interval hold the
# run?

# %%
from course_lib.scaling.fitting import bootstrap, interval

larger, *_ = kept_back = [row for row in table if row.role == "held_out"]
draws = runtime.steps(full=60, quick=6)


def predicted(runs, floor=True):
    N, D, measured = points = experiment.points(runs)
    law = fit(*points, floor=floor, fit_theta=fit_theta)
    luck = torch.Generator().manual_seed(0)
    laws = bootstrap(*points, draws, luck, floor, fit_theta)
    errors = measured / chinchilla_loss(N, D, law)
    drawn = errors[torch.randint(len(errors), (draws,), generator=luck)].tolist()
    size = larger.parameters, larger.tokens
    answers = [chinchilla_loss(*size, each) for each in laws]
    low, high = interval([a * e for a, e in zip(answers, drawn, strict=True)])
    return low, chinchilla_loss(*size, law), high


# %%
ranges = {"your law": predicted(grid), "no floor": predicted(grid, floor=False)}
print(f"{larger.parameters:,} parameters, {larger.tokens:,} letters")
for name, (low, best, high) in ranges.items():
    print(f"{name}: {best:.3f} nats, nine of ten between {low:.3f} and {high:.3f}")

# %% [markdown]
# Your law has one answer more to give. The 21 runs that were made again are runs too: with all 45, **guess**, will
# the interval be narrower, and will it be better?

# %%
ranges["your law, all 45 runs"] = predicted([*grid, *again])
truth = sum(row.loss for row in kept_back) / len(kept_back)
misses = {name: best / truth - 1 for name, (_, best, _) in ranges.items()}
print(*(f"{name}: {miss:+.1%}" for name, miss in misses.items()), sep="\n")
assert abs(misses["your law"]) < 0.03 < 0.05 < abs(misses["no floor"])
plots.prediction(ranges, [row.loss for row in kept_back])

# %% [markdown]
# The larger model was trained with two seeds; both lines are drawn. Your law is off by about one per cent at five
# times the compute, and its interval holds both, one of them only just. (Whether it would hold nine of ten such
# runs, two cannot tell.) Without a floor the law believes that the loss falls on towards 0, and is off by six.

# %% [markdown]
# With all runs the interval is narrower, and it misses one of the two. Nothing is wrong with the arithmetic. An
# interval knows the *noise* of the runs, and nothing of whether the law has the right form, or whether a learning
# rate that was tuned at widths 16, 48 and 96 suits 160. All three answers lie below the mean of the two, so
# something of this kind may be at work. Whoever fits several times and shows the one interval that held has shown
# nothing: we had planned on the 24, and show both.
#
# And how would your law spend a budget? We ask all the laws of the bootstrap.

# %%
luck = torch.Generator().manual_seed(0)
laws = bootstrap(*experiment.points(grid), draws, luck, fit_theta=fit_theta)
print("floor: {:.2f} to {:.2f} nats".format(*interval([law.E for law in laws])))
rows = []
for power in (11, 12, 13):
    N, D = optimal(10.0**power, mine)
    spent = [optimal(10.0**power, law) for law in laws]
    low, high = interval([tokens / size for size, tokens in spent])
    rows.append((f"1e{power}", f"{N:,.0f}", f"{D / N:.0f}", f"{low:.0f} to {high:.0f}"))
Table(("operations", "parameters", "letters per parameter", "nine of ten"), rows)

# %% [markdown]
# Not twenty, and the constants are loose. Twenty belongs to certain texts, tokens and models. The *method* carries
# over, the number does not.

# %% [markdown]
# ## The calculator
#
# Everything together, on one page. Choose a published model, and each computed figure stands beside the printed
# one. Then change something: its text, its GPU, its shape. Four questions to try, each with a **guess** first:
#
# 1. LLaMA-7B: halve its tokens. What becomes of the loss, the days and the money?
# 2. What would GPT-3's budget have bought, spent best?
# 3. How many GPUs must share Llama-3.1-405B at least, only to hold it while it trains?
# 4. The plan of the first cell: seven billion, 140 billion tokens. What does it really take?

# %%
from course_lib.widgets.calculator import calculator

calculator("LLaMA-7B")

# %% [markdown]
# <details><summary>What it says to the four questions</summary>
# 1. Days and money halve; the loss rises by 0.025 nats only. 2. A model of 53 billion parameters that reads a
# trillion tokens, for 0.016 nats less than GPT-3: valleys are flat, but every answer would cost less than a third.
# 3. 82, each with 80 GB; the activations come on top. 4. With LLaMA-7B's shape, at 40 % and on 256 cards: two
# days, 25,000 dollars, and at least two cards for 108 GB.
# </details>

# %% [markdown]
# ## The same in the libraries
#
# On the device `meta` tensors have shapes and no numbers. So `transformers` can build a model of seven billion
# parameters here, and torch can count what it *would* compute: forward and backward over a text of 4,096 tokens.
# **Guess** whether it comes to the digits of yours.

# %%
from transformers import LlamaConfig, LlamaForCausalLM

with torch.device("meta"):
    theirs = LlamaForCausalLM(LlamaConfig())  # its defaults are the first Llama's 7B
    ids = torch.zeros(1, 4096, dtype=torch.long)
counted = count_flops(lambda: theirs(ids).logits.sum().backward())
N = theirs.num_parameters()
ours = train_flops(N, 4096, seven.config, 4096)
print(f"{N:,} parameters; by our count from the shape {seven.count():,}")
print(f"torch counts {counted:.3e} operations, 6 N D with attention {ours:.3e}")
looked_up = seven.config.vocabulary * seven.config.width
exact = train_flops(N - looked_up, 4096, seven.config, 4096)
print(f"without the table of embeddings, which is looked up: {exact:.3e}")
assert seven.count() == N
assert math.isclose(counted, exact, rel_tol=1e-3)

# %% [markdown]
# The parameters agree to the last one. The operations differ by two per cent, and we know which: 6 N D multiplies
# the embedding, and nobody does.
#
# What production adds: GPUs that wait for each other, batches that grow, failures every few hours, and learning
# rates that must be found anew for each size. A law fitted to badly tuned runs predicts badly tuned runs.
#
# ## Reflect

# %% [markdown] reflect="why_not_the_largest" points=1
# **1.** Your team can afford 1e22 operations and wants to answer 1e13 tokens a year with the model. A colleague
# says: "Chinchilla tells us 9 billion parameters, so we train 9 billion." What do you answer, and which two numbers
# do you ask for before you decide: one about the service, one about quality?
#
# A good answer: 9 billion is the least loss for the training compute; in the years of service the model's answers
# cost 2 N per token and soon outweigh the training. A smaller model that reads more reaches nearly the same loss.
# Ask how many tokens will be served in all, and how much loss (quality) may be given up; also whether there is
# enough text.

# %% [markdown] reflect="why_trust_a_law" points=1
# **2.** Somebody shows a law that was fitted to twelve runs between one and a hundred million parameters, and what
# it predicts for a hundred billion, to three digits. Name three things to ask for.
#
# A good answer: An interval, for example by bootstrap, since digits are no precision. A larger run that was held
# out and predicted in advance. Whether each run was tuned and had a schedule of its own length, whether E was
# fitted, and what the constants' exponents were rounded to; the distance of a factor of a thousand is itself a
# reason for doubt.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("03_scaling_laws")


# %% [markdown]
# ## You can now
#
# - say on the back of an envelope what a training needs: 16 bytes a parameter, 6 operations a parameter and token,
#   two fifths of the data sheet;
# - divide a budget between size and text, and say what "optimal" leaves out;
# - fit a law to runs of your own, predict a larger run, and show how far the prediction can be trusted.
#
# **Read on:** *Scaling Laws for Neural Language Models* ([arXiv 2001.08361](https://arxiv.org/abs/2001.08361)) is
# Kaplan's; *Training Compute-Optimal Large Language Models* ([2203.15556](https://arxiv.org/abs/2203.15556)) is
# Chinchilla's; [2404.10102](https://arxiv.org/abs/2404.10102) fits it again;
# [2401.00448](https://arxiv.org/abs/2401.00448) counts the answers too. *Are Emergent Abilities a Mirage?*
# ([2304.15004](https://arxiv.org/abs/2304.15004)) is Exercise 8.
#
# **Next:** lesson 04 lets a model grow without paying for all of it at every token: mixtures of experts.
