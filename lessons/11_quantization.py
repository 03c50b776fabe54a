# %% [markdown]
# # Make it small
#
# Every model you download is stored in few bits, and every leaflet says "4× smaller, 4× faster, no loss". You will
# round our guide's weights yourself, break it, mend it in several ways, and send it out as a file that others open.
#
# **Afterwards you can** round numbers to a grid and say how far off they are, choose between GPTQ, AWQ, NF4 and
# training through the rounding, and read such a leaflet.
#
# **You need** lesson 05 (the guide, LoRA). Lesson 02 says why weights cost time.
#
# About 190 minutes, in two sittings: there is a good break after "What dies first?".

# %%
import copy
import math
import random
import tempfile
import warnings
from functools import partial
from pathlib import Path

import torch
from torch import nn

from course_lib import checks, exam, pretrained, runtime
from course_lib.plotting import quantization as plots
from course_lib.plotting.tables import Table
from course_lib.widgets import controls
from course_lib.world import arithmetic, corpus, people

recorded = runtime.recorded("11_quantization")  # three more runs, other texts
runtime.start(seed=0)  # the models are small: the CPU will do

# %% [markdown]
# ## Fewer bits
#
# The guide's matrices hold 32-bit floats. The crudest way to spend fewer: take the size of a matrix's largest
# weight, lay an even grid from minus to plus that size, and move every weight to the nearest value. **Guess** at
# how many bits it breaks: eight allow 255 values, three allow 7.

# %%
guide, tokenizer = pretrained.load("sft")


@torch.no_grad()
def crushed(model, bits):
    model, most = copy.deepcopy(model), 2 ** (bits - 1) - 1  # 127, 7, 3
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            step = layer.weight.abs().max() / most
            layer.weight.copy_((layer.weight / step).round() * step)
    return model


asked = [people.question("Ada", "pet"), "What is 2 + 3 × 4?"]
said = {"float": guide} | {f"{b} bits": crushed(guide, b) for b in (8, 6, 4, 3)}
rows = [(name, *exam.replies(m, tokenizer, asked)) for name, m in said.items()]
Table(("weights", *asked), rows)

# %% [markdown]
# Down to six bits nothing is to be seen, at four the wording changes, three make word salad. Two questions are no
# measure, so we take the **perplexity** on new texts of the town, the exponential of the mean loss of a token: 1
# would be certainty. `CALIBRATION` is other new text, for later.


# %%
def new_text(seed, tokens):
    ids, kept, texts = [], [], corpus.stream(corpus.BASE, seed)
    while len(ids) < tokens:
        one, counts = corpus.marked(next(texts), tokenizer)
        ids, kept = ids + one, kept + counts
    return torch.tensor(ids[:tokens]), torch.tensor(kept[:tokens])


def perplexity(model):
    return math.exp(exam.loss_on(model, *TEST))


ROWS, MORE = (runtime.steps(full=f, quick=q) for f, q in ((24, 2), (16, 1)))
TEST = new_text(990_001, 256 * ROWS)
CALIBRATION = new_text(990_002, 256 * MORE)[0].view(-1, 256)
ruins = {bits: perplexity(crushed(guide, bits)) for bits in (8, 6, 5, 4, 3)}
rows = [("float", f"{perplexity(guide):.3f}")]
Table(("bits", "perplexity"), [*rows, *((b, f"{p:.3f}") for b, p in ruins.items())])

# %% [markdown]
# Why so suddenly? Look at one matrix and its grid. **Guess** how many of the weights become exactly 0 at three
# bits. Then move the bits, and the share of the weights that the grid must reach.

# %%
runtime.learned(ruins[3] > 4, "As the text says")
matrix = guide.blocks[1].mlp.down.weight.detach()
controls.explore(
    partial(plots.grid, matrix),
    bits=controls.slider(3, 2, 8, 1, "bits"),
    share=controls.slider(1.0, 0.9, 1.0, 0.005, "share inside"),
)

# %% [markdown]
# A few large weights stretch the grid, and the crowd near 0 falls on one line. Cut some large ones off (the second
# slider), and the others get finer steps, at the price of the clipped. On the right the error for each number of
# bits (the dot is where you stand): at two to four bits clipping a few pays, at three it brings the error from
# about .7 to .3; at eight it harms.
#
# ## By hand
#
# Four numbers, two bits: codes 0, 1, 2, 3. A code q stands for s (q − z): the **scale** s is the step, the **zero
# point** z is the code of 0.

# %%
numbers = [-1.0, 0.0, 0.7, 2.0]
s = (max(numbers) - min(numbers)) / 3  # four codes, three steps
z = round(-min(numbers) / s)
rows = []
for x in numbers:
    q = min(max(round(x / s) + z, 0), 3)
    rows.append((x, q, s * (q - z), f"{x - s * (q - z):+.1f}"))
print(f"scale {s}, zero point {z}")
Table(("number", "code", "stands for", "error"), rows)

# %% [markdown]
# ## The name: affine quantization
#
# $$q = \text{clip}\bigl(\lfloor x / s \rceil + z\bigr), \qquad \hat x = s\,(q - z)$$
#
# | symbol | in code | |
# |---|---|---|
# | $s$ | `scale` | the step, a float |
# | $z$ | `zero` | the code of 0, whole |
# | $q$ | `quantize(values, scale, zero, limits)` | codes |
# | $\hat x$ | `dequantize(codes, scale, zero)` | what they stand for |
#
# **Symmetric** codes have a sign and no zero point: −127 to 127, as in the first experiment. Weights crowd evenly
# around 0, though one end may reach further: they take these. What flows between layers often takes zero points
# (here later none).

# %% [markdown]
# ### Exercise 1 · Choose the grid
#
# *6 minutes · difficulty 1 of 3*
#
# - **Write** scale and zero point of the codes 0 to 2^b − 1 that reach from `low` to `high`.
# - **In:** `low`, `high`, floats of one shape; `bits`. **Out:** `(scale, zero)`, floats of that shape; `zero`
#   whole.
# - **Given:** `positive(scale)` replaces a scale of 0, which you would divide by; do not clamp the scale yourself.
# - **Worked value:** two bits, −1 to 2: 1 and 1; 3 to 6: 2 and 0.
# - **Pitfall:** 0 must have a code, since padding and relu say 0: widen a range on one side of it. 2^b codes have
#   one step fewer.

# %% [markdown]
# <details><summary>Hint 1</summary>
# First move low down to 0, or high up to 0, where it is needed. Then the width through the number of steps.
# </details>
# <details><summary>Hint 2</summary>
# <code>low.clamp(max=0)</code> and its mirror image. The zero point: how many steps lie between low and 0, rounded?
# </details>

# %% exercise="scale_and_zero" keep="check_finite("
from course_lib.quantization.integers import scale_and_zero

# %% check="scale_and_zero" points=3
checks.quantization.scale_and_zero(scale_and_zero)

# %%
from course_lib.quantization.scaling import read_inputs

run = torch.no_grad()(lambda model: model(CALIBRATION))
names = ("blocks.1.attention.query", "blocks.1.mlp.down")
flows = read_inputs(guide, run, names)
flows = {"query reads": flows[names[0]], "down reads": flows[names[1]]}
flows["after a relu"] = flows["down reads"].relu()  # begins at 0
rows = []
for name, x in flows.items():
    step, nought = scale_and_zero(x.min(), x.max(), bits=8)
    span = f"{x.min():.2f} to {x.max():.2f}"
    rows.append((name, span, f"{step:.4f}", f"{nought:.0f}"))
Table(("what flows", "range", "scale", "zero point: codes for negatives"), rows)

# %% [markdown]
# ### Exercise 2 · How far off can it be?
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** how far each number can be from what its code stands for, without rounding it.
# - **In:** `values`; `scale`, `zero` that broadcast; `limits`, the lowest and the highest code. **Out:** the shape
#   of values.
# - **Worked value:** .3 and 9 with step ½ and codes −7 to 7: .25 and 5.5.
# - **Pitfall:** half a step inside. Beyond an end, the way back to it; but a number just beyond the end may be up
#   to half a step from it: there the bound is still half a step, never less.

# %% [markdown]
# <details><summary>Hint 1</summary>
# What numbers do the lowest and the highest code stand for? How far is a value beyond each?
# </details>
# <details><summary>Hint 2</summary>
# Below and above cannot both happen, so one maximum serves for both ways back. Where does half a step come in?
# </details>

# %% exercise="error_bound"
from course_lib.quantization.integers import error_bound

# %% check="error_bound" points=2
checks.quantization.error_bound(error_bound)

# %%
from course_lib.quantization.integers import dequantize, percentile_range, quantize

rows = []
for share in (1.0, 0.97):
    low, high = percentile_range(matrix, share)
    grid = scale_and_zero(low, high, bits=3)
    bound = error_bound(matrix, *grid, limits=(0, 7))
    moved = (dequantize(quantize(matrix, *grid, (0, 7)), *grid) - matrix).abs()
    assert (moved <= bound + 1e-6).all(), "no weight moves further than promised"
    sizes = (grid[0] / 2, moved.mean(), moved.max())
    rows.append((f"{share:.0%}", *(f"{size:.3f}" for size in sizes)))
Table(("share inside", "half a step", "moved, on average", "largest move"), rows)

# %% [markdown]
# ## A scale for fewer weights
#
# (After a relu the zero point was 0: no code is wasted on negatives.) Cutting off 3 % of the weights more than
# halved the average error, from .039 to .016, but some of them moved by .65. Half a step is the price of
# *everybody*, and one weight sets the step. So let fewer share it: each row of a matrix (**channel**), or every 32
# neighbours of a row (**group**). **Work out:** how many bits a weight are four bits in groups of 32, if a scale
# takes 16 bits? The table below will tell.

# %% [markdown]
# ### Exercise 3 · One scale for each group
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** symmetric codes and scales, one for every `group` neighbours of a row.
# - **In:** `weights` (out, in); `bits`; `group`, which divides in. **Out:** `codes` (out, in), int8; `scales` (out,
#   in / group).
# - **Given:** `in_groups(weights, group)` (out, in / group, group); `symmetric_scale(values, bits, dim=…)`, which
#   keeps that dimension with size 1; `quantize(values, scale, limits=…)`; `code_range(bits)`.
# - **Worked value:** 1, 7, 0, −.7, four bits, groups of two: codes 1, 7, 0, −7, scales 1 and .1.
# - **Pitfall:** `symmetric_scale` thinks of 8 bits unless told otherwise. Neighbours share a *row*. Inputs stay.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Add a third dimension, find scales along it, quantize in three dimensions, go back to two.
# </details>
# <details><summary>Hint 2</summary>
# <code>dim=2</code>; at the end <code>.flatten(1)</code> for the codes, <code>.squeeze(2)</code> for the scales.
# </details>

# %% exercise="group_quantize"
from course_lib.quantization.groups import group_quantize

# %% check="group_quantize" points=4
checks.quantization.group_quantize(group_quantize)

# %%
from course_lib.quantization.groups import IntegerWeight
from course_lib.quantization.integers import code_range

print(group_quantize(torch.tensor([[1.0, 7.0, 0.0, -0.7]]), bits=4, group=2))


def nearest(weights, bits, group):
    """A store made of your codes: one scale for a matrix, a row, or a group."""
    rows = weights.reshape(1, -1) if group == "tensor" else weights
    size = rows.shape[1] if isinstance(group, str) else group
    codes, scales = group_quantize(rows, bits, size)
    codes, lowest = codes.view_as(weights), code_range(bits)[0]
    return IntegerWeight(codes, scales.half(), None, bits, lowest)


# %% [markdown]
# Now the guide with your codes, packed without gaps, scales in half precision. `quantized` makes a copy whose
# linear layers keep them. You know the perplexity at three bits with one scale for a matrix. **Guess** the other
# two: one for a row, one for 32 weights.

# %%
from course_lib.quantization.linear import linear_share, quantized, stored_bytes

(linear, elsewhere), measured, listed = linear_share(guide), {}, []


def measure(name, small):
    size, found = stored_bytes(small), perplexity(small)
    measured[name] = (size / 1e6, found)
    bits = 8 * (size - 4 * elsewhere) / linear
    listed.append((name, f"{size / 1e6:.3f}", f"{bits:.2f}", f"{found:.3f}"))


measure("float", guide)
for bits in (8, 4, 3):
    for group in ("tensor", "channel", 32):
        make = partial(nearest, bits=bits, group=group)
        measure(f"int{bits} {group}", quantized(guide, make))
Table(("stored as", "MB", "bits a weight", "perplexity"), listed)

# %% [markdown]
# At three bits a scale for each row rescues the model, and groups help a little more. At four all but the crudest
# are close, and their order may be chance. At eight there is no difference to see: "better than float", as some
# tables have it, is noise.
#
# ## What dies first?
#
# Groups of 32, from eight bits down to two. (At two bits plain symmetric codes are −1, 0, 1; we use all four, and
# clip.) Four exams: facts that training often asked about, rare facts that stood in stories only, copying from a
# passage, sums in steps. **Guess the order.**

# %%
from course_lib.quantization.groups import round_to_nearest
from course_lib.quantization.linear import unpacked

held = filter(arithmetic.is_held_out, arithmetic.problems(arithmetic.DOUBLE))
MANY, FEW = (runtime.steps(full=f, quick=q) for f, q in ((60, 4), (25, 1)))
sums, often = random.Random(0).sample([*held], MANY), corpus.asked_about()[:FEW]
rare = [p for p in people.town() if people.is_held_out(p)][:FEW]
rights = {
    "copying a passage": lambda model: exam.copying(model, tokenizer, 1, MANY),
    "facts often asked": lambda model: exam.facts(model, tokenizer, often),
    "rare facts": lambda model: exam.facts(model, tokenizer, rare),
    "sums in steps": lambda model: exam.sums(model, tokenizer, sums, "steps"),
}
bits = (8, 5, 4, 3, 2)
makes = [partial(round_to_nearest, bits=b, full=b == 2, clip=b == 2) for b in bits]
models = [guide, *(unpacked(quantized(guide, make)) for make in makes)]
shares = {kind: [right(model) for model in models] for kind, right in rights.items()}
plots.dying(shares, ("float", *map(str, bits)))

# %% [markdown]
# Sums die first, probably because a worked answer is a chain: one wrong digit spoils it. At three bits rare facts
# follow; at two, copying falls even faster. What was drilled in lasts longest. So examine chains and rare things.
# (A good place for a break.)
#
# ## Where should the values lie?
#
# In the picture of the grid, the outermost values had hardly any customers. **NF4** ("normal float") assumes a bell
# curve and takes its quantiles, so that all codes are used about equally often. "Information-theoretically
# optimal", says the leaflet. **Guess:** does it beat your int4 in groups of 32? (Its scales are for 64 weights;
# *double* quantization stores those in 8 bits too.)

# %% [markdown]
# ### Exercise 4 · Sixteen values for a bell curve
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** the table of 2^b values, rising from −1 to 1; n = 2^(b−1). First: the quantiles of n + 1
#   probabilities, evenly spaced from ½ to `edge`, are zero and above. Second: the same with n, without zero,
#   mirrored: below. Third: join, divide by the largest.
# - **In:** `bits`; `edge`, the probability whose quantile is the outermost value (1: infinity). **Out:** (2^b,),
#   float32.
# - **Given:** `torch.special.ndtri(p)`, the normal distribution's quantile.
# - **Worked value:** three bits: −1, −.4786, −.2171, 0, .1609, .3379, .5626, 1.
# - **Pitfall:** −.48 has no mirror image; one zero. Compute in float64.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Two calls of <code>torch.linspace(0.5, edge, …)</code>, of different lengths, go through the quantile.
# </details>
# <details><summary>Hint 2</summary>
# Below: leave out the first, minus sign, <code>.flip(0)</code>. Join with the ones above, then divide.
# </details>

# %% exercise="normal_code_book"
from course_lib.quantization.codebooks import normal_code_book

# %% check="normal_code_book" points=3
checks.quantization.normal_code_book(normal_code_book)

# %%
from course_lib.quantization.codebooks import NF4, nf4

runtime.learned(shares["sums in steps"][4] < 0.8, "As the text says")
sixteen = normal_code_book()
away = (sixteen - torch.tensor(NF4)).abs().max()
print(f"largest difference to bitsandbytes' table: {away:.0e}")
measure("NF4", quantized(guide, nf4))
measure("NF4 double", quantized(guide, partial(nf4, double=True)))
for name in ("int4 32", "NF4", "NF4 double"):
    print(f"{name}: {measured[name][0]:.3f} MB, perplexity {measured[name][1]:.3f}")
flat, shown = guide.blocks[0].mlp.up.weight.detach().flatten(), {}
for name, size, table in (("int4", 32, torch.arange(-7, 8) / 7), ("NF4", 64, sixteen)):
    blocks = flat.view(-1, size)  # each block's largest becomes 1 or -1
    values = (blocks / blocks.abs().amax(dim=1, keepdim=True)).flatten()
    shown[f"{name}, blocks of {size}"] = values, table
plots.books(shown)

# %% [markdown]
# Here they cannot be told apart: equal use of all codes is not the smallest error. (On a real encoder, at the end,
# you will measure again.) The bytes are equal too: a 32-bit scale for 64 weights is 16 bits for 32.
#
# ## A block, bit for bit
#
# Files for llama.cpp are made of **blocks**: Q4_0 is 32 weights and a scale d. Codes q, 0 to 15, stand for d·(q−8).
# Give the number m farthest from 0 code 0, which stands for −8 d, and choose d to make this true: d = m/−8. So d
# may be negative: if m = 4, d is −.5; −1 gets code 10.

# %% [markdown]
# ### Exercise 5 · Pack a block, bit for bit
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** rows as Q4_0: scale d = m/−8, m the number of the largest size *with its sign*; codes ⌊x/d + 8.5⌋, at
#   most 15.
# - **In:** `rows` (N, 32), float32. **Out:** `fill(Q4_0, scale=…, codes=…)`, which writes the scale, a column (N,
#   1), in half precision.
# - **Given:** `largest_signed(rows)`; `one_over(scale)`, 0 for zeros; `pack_nibbles(codes)`: uint8 (N, 32) to (N,
#   16), code i low, i + 16 high.
# - **Worked value:** 4, −1, 3.5 at places 0, 1, 16, else 0: scale −.5; bytes 16, 138, 136.
# - **Pitfall:** multiply by the inverse, in float32. Not `round`: `trunc`.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Scale, codes, nibbles, block: a line each. Rounding is adding ½ and cutting off; adding 8 and adding ½ is one addition, of 8.5.
# </details>
# <details><summary>Hint 2</summary>
# <code>np.float32(-8)</code> keeps the precision. <code>np.trunc(…).clip(0, 15).astype(np.uint8)</code>.
# </details>

# %% exercise="encode_q4_0"
from course_lib.quantization.blocks import encode_q4_0

# %% check="encode_q4_0" points=4
checks.quantization.encode_q4_0(encode_q4_0)

# %%
from course_lib.pretrained.gguf_blocks import decode_q4_0
from course_lib.quantization.blocks import encode_q4_0

rows = matrix[0, :32].numpy()[None]
block = encode_q4_0(rows)
held = block.tobytes()
print(f"{len(held)} bytes for 32 weights, {len(held) / 4} bits each")
print("scale:", held[:2].hex(" "), "codes:", held[2:].hex(" "))
print("weights:   ", *(f"{x:+.3f}" for x in rows[0, :6]))
print("stands for:", *(f"{x:+.3f}" for x in decode_q4_0(block)[0, :6]))

# %% [markdown]
# ## Let the others make up for it
#
# Alone, weights .4 and .4 both become 0. If their inputs are always equal, the second had better become 1: what
# counts is what the layer *says*.
#
# **GPTQ** (Frantar et al. 2023) rounds column after column and each time changes those left. For N rows of inputs
# X, $H=\frac{2}{N}X^\top X$ says which inputs move together, and the upper triangle U with $U^\top U=H^{-1}$ says
# in row j how each later column k answers for the error of column j, rounded from $w_j$ to $\hat w_j$:
#
# $$e=\frac{w_j-\hat w_j}{U_{jj}}, \qquad w_k \leftarrow w_k-e\,U_{jk} \quad (k>j)$$
#
# For twins H says *always together*: the second takes nearly the whole error.

# %% [markdown]
# ### Exercise 6 · Let the others make up for it
#
# *7 minutes · difficulty 2 of 3*
#
# - **Write** the columns that are left, corrected after the first one was rounded.
# - **In:** `rest` (out, k), all columns not yet rounded; `rounded` (out,), what the first becomes; `row` (k,), U's
#   row from its diagonal on. **Out:** (out, k − 1), after the last column (out, 0).
# - **Worked value:** .4, 1, 1; rounded 0; row 2, −1, 0: 1.2, 1.
# - **Pitfall:** every row of the matrix has its own error, all share one row of U. The first column is not
#   returned; inputs stay.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The error through the diagonal first: a vector (out,). Each later column loses a multiple of it.
# </details>
# <details><summary>Hint 2</summary>
# <code>error[:, None] * row[1:]</code> has the shape (out, k − 1).
# </details>

# %% exercise="column_step"
from course_lib.quantization.gptq import column_step

# %% check="column_step" points=4
checks.quantization.column_step(column_step)

# %%
from course_lib.quantization.gptq import (
    gptq,
    gptq_quantized,
    input_products,
    inverse_factor,
)
from course_lib.quantization.integers import symmetric_scale

twins = torch.tensor([[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]])  # always equal
H = input_products(twins)  # has no inverse, so damp adds a little to its diagonal
U = inverse_factor(H, damp=0.01).float()
print(f"U: {U[0, 0]:.2f}, {U[0, 1]:.2f} and {U[1, 1]:.2f}")
weights = torch.tensor([[0.4, 0.4]])
left = column_step(weights, weights[:, 0].round(), U[0])
mended = torch.cat([weights[:, :1].round(), left.round()], dim=1)
kinds = {"float": weights, "alone": weights.round(), "mended": mended}
for name, w in kinds.items():
    says = ", ".join(f"{x:.1f}" for x in twins @ w[0])
    print(f"{name}: weights {w[0, 0]:.1f} and {w[0, 1]:.1f} say {says}")

# %% [markdown]
# Not exact, whole numbers cannot be, but nearer than silence. Now every matrix of the guide with your step, a scale
# for each row; inputs come from the calibration text. Codes and scales take the same room as before. **Guess** what
# it gains at four bits, and at three.


# %%
def column_by_column(weights, products, bits):
    limits, scale = code_range(bits), symmetric_scale(weights, bits, dim=1).half()
    U, rest, codes = inverse_factor(products).float(), weights, []
    for j in range(weights.shape[1]):
        codes.append(quantize(rest[:, :1], scale.float(), 0, limits))
        rest = column_step(rest, dequantize(codes[j], scale)[:, 0], U[j, j:])
    return IntegerWeight(torch.cat(codes, 1), scale, None, bits, limits[0])


for bits in (4, 3):  # in_turn=False: inputs as the float model has them
    make = partial(column_by_column, bits=bits)
    measure(f"GPTQ{bits} channel", gptq_quantized(guide, run, make, in_turn=False))
grouped = partial(gptq, bits=3, group=32)  # the library's
measure("GPTQ3 32", gptq_quantized(guide, run, grouped, in_turn=False))
names = [
    how + end for end in ("4 channel", "3 channel", "3 32") for how in ("int", "GPTQ")
]
rows = sorted((r for r in listed if r[0] in names), key=lambda r: names.index(r[0]))
Table(("stored as", "MB", "bits a weight", "perplexity"), rows)

# %% [markdown]
# Not a byte more, and less harm at three bits, in rows and in groups. At four bits it was even a little worse:
# there was next to nothing to mend.
#
# ## Protect what is loud
#
# **AWQ** (Lin et al. 2024) asks which inputs are *loud*: their weights matter most. Multiply such a column by s
# before rounding and divide the input by s, and nothing changes but this: that column's rounding error shrinks by
# about s. How large an s? Search it. **Guess** whether GPTQ or AWQ wins, at three bits and at four. Three recorded
# runs, with other texts to calibrate by and to measure on, will stand beside yours.

# %% [markdown]
# ### Exercise 7 · Protect what is loud
#
# *10 minutes · difficulty 3 of 3*
#
# - **Write** the search. For α = 0, 1/steps, 2/steps … below 1: scales (mean size of each input)^α, then divided by
#   √(largest · smallest); columns times scales, rounded, divided again. The least mean squared change of outputs
#   wins.
# - **In:** `weights` (out, in); `inputs` (N, in); `quantize_weight`: `quantize_weight(matrix)()` is the rounded
#   matrix; `steps`. **Out:** the best `(scales, α)`, scales (in,) in the type of weights.
# - **Given:** mean sizes, above a floor; outputs wanted.
# - **Worked value:** inputs all alike: scales 1, α 0.
# - **Pitfall:** the largest and smallest *scale*, after the power. Of equal losses the first.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A loop that remembers the smallest loss and what made it; begin with infinity.
# </details>
# <details><summary>Hint 2</summary>
# <code>quantize_weight(weights * scales)() / scales</code>, then <code>inputs @ ….T − wanted</code>.
# </details>

# %% exercise="awq_scale_search" keep="check_finite( | size = | size, wanted"
from course_lib.quantization.scaling import awq_scale_search

# %% check="awq_scale_search" points=3
checks.quantization.awq_scale_search(awq_scale_search)

# %%
from course_lib.quantization.scaling import traded

few, found = partial(round_to_nearest, bits=3), []


def search(inputs, weights):
    scales, strength = awq_scale_search(weights, inputs, few)
    size = inputs.abs().mean(dim=0)
    found.append(f"{strength} ({size.max() / size.median():.0f})")
    return scales


measure("AWQ3 32", quantized(traded(guide, run, search), few))
print("layers that read the same: strength (loudest channel / middle one)")
print(*found, sep=", ")
rows = []
ways = "int{0} channel, GPTQ{0} channel, int{0} 32, GPTQ{0} 32, AWQ{0} 32"
for name in ["float", *(n for b in (3, 4) for n in ways.format(b).split(", "))]:
    others = (f"{p:.3f}" for (p,) in recorded[f"guide {name}"])
    own = f"{measured[name][1]:.3f}" if name in measured else None
    rows.append((name, own, *others))
Table(("stored as", "yours", *(f"recorded {i}" for i in (1, 2, 3))), rows)

# %% [markdown]
# At three bits GPTQ in groups wins all four runs; AWQ beats plain groups in three, by little. Its search never
# chose strength 0, for the guide has loud channels too, one 19 times the middle. At four bits the ways change
# places from run to run.
#
# Large models have channels a hundred times as loud as others. So we *plant* one: behind every norm a channel 300
# times as large, its weights as much smaller. The model says the same. But now the *inputs* of each layer become
# integers as well, each token by its largest number. **Guess** the perplexity.

# %%
from course_lib.quantization.activations import int8_model
from course_lib.quantization.scaling import planted, smoothed

hurt = planted(guide, channel=7, factor=300)
make = partial(round_to_nearest, bits=8, group="channel")
soft = smoothed(hurt, run)
models = {"the guide": guide, "planted": hurt, "planted, SmoothQuant": soft}
mine = traded(hurt, run, lambda x, w: awq_scale_search(w, x, make)[0])
models["planted, your AWQ"] = mine
broken = {n: (perplexity(m), perplexity(int8_model(m))) for n, m in models.items()}
rows = [(name, *(f"{p:.3f}" for p in pair)) for name, pair in broken.items()]
Table(("model", "in floats", "int8 × int8"), rows)

# %%
runtime.learned(broken["planted"][1] > 5, "As the table says")
runtime.learned(broken["planted, SmoothQuant"][1] < 1.4, "As the table says")
name, sizes_of = "blocks.0.attention.query", {}
for title, model in {"planted": hurt, "SmoothQuant": soft}.items():
    x = read_inputs(model, run, [name])[name]
    w = model.get_submodule(name).weight.detach()
    sizes_of[title] = [numbers.abs().amax(dim=0) for numbers in (x, w)]
plots.channels(sizes_of)

# %% [markdown]
# One loud channel sets the step of a whole token, and hardly a step is left for the others. **SmoothQuant** (Xiao
# et al. 2023) divides its inputs by the square root of how much louder they are than its weights, and multiplies
# the weights by it: half-way on the logarithmic axis. AWQ's search rescues as well. LLM.int8() instead keeps such
# channels in floats.
#
# ## Train through the rounding
#
# All this came after training. If there is time, the model can learn to live with few values. But rounding has
# slope 0 nearly everywhere: no gradient gets through. The **straight-through** trick: round on the way forward,
# pretend on the way back that nothing was rounded.

# %% [markdown]
# ### Exercise 8 · Train through the rounding
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** what codes stand for, with the gradient of not rounding.
# - **In:** `values`; `scale`, `zero` that broadcast; `limits`. **Out:** floats; forward as
#   `dequantize(quantize(…))`.
# - **Worked value:** .3 and 9, step ½, codes −2 to 1: .5 and .5; gradients 1 and 0.
# - **Pitfall:** gradient 0 where a code was *clipped*: a small step there changes nothing. A number a bit beyond
#   the last value but rounded to it is not clipped. bfloat16 and float64 stay what they are.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Compare the codes before and after clipping: where they are equal nothing was clipped.
# </details>
# <details><summary>Hint 2</summary>
# <code>values − values.detach()</code> is 0 with the gradient 1. Times the comparison, added to the rounded numbers.
# </details>

# %% exercise="fake_quantize"
from course_lib.quantization.qat import fake_quantize

# %% check="fake_quantize" points=3
checks.quantization.fake_quantize(fake_quantize)


# %%
class Rounded(nn.Module):
    def forward(self, weights):
        step = symmetric_scale(weights.detach(), bits=3)
        return fake_quantize(weights, step, limits=code_range(3))


controls.explore(
    partial(plots.stairs, fake_quantize), bits=controls.slider(3, 2, 6, 1, "bits")
)

# %% [markdown]
# Back to the ruin of the beginning: three bits, one scale for a matrix. Every linear layer now reads through your
# function and learns as usual, sixty steps on the town's texts. **Guess** the perplexity.

# %%
from torch.nn.utils.parametrize import register_parametrization

from course_lib.batches import rows_of
from course_lib.training import next_token_loss, train

few, pupil = runtime.steps(full=60, quick=1), copy.deepcopy(guide)
text, kept = new_text(17, 1000 * few + 1000)
batches = rows_of(text, 8, 128, kept=kept)
for layer in [m for m in pupil.modules() if isinstance(m, nn.Linear)]:
    register_parametrization(layer, "weight", Rounded())
ruined = perplexity(pupil)
train(pupil, batches, next_token_loss, few, lr=1e-3)
learned = perplexity(pupil)
print(f"3 bits, one scale: perplexity {ruined:.2f}, after training {learned:.2f}")
print(*exam.replies(pupil, tokenizer, asked), sep="\n")
rows = [("floats", "loud float"), ("floats, the same training", "floats: trained")]
for name in ("3 bits, one scale", "2 bits, groups"):
    rows += [(f"{name}: {how}",) * 2 for how in ("rounded", "GPTQ", "trained")]
rows = [(name, *(f"{p:.2f}" for (p,) in recorded[key])) for name, key in rows]
Table(("sixty steps where trained", *(f"recorded {i}" for i in (1, 2, 3))), rows)

# %% [markdown]
# From word salad to sentences (sums may still be wrong): the same seven values in each matrix. At two bits it
# rescues far more than GPTQ. (The same steps help floats as well, but by far less.) It costs a training, though,
# and texts to train on. Where four bits in groups suffice, it is not worth it.
#
# ## "4× smaller, 4× faster"
#
# Two claims of every leaflet. First the size. `predicted_bytes` counts: matrices of linear layers shrink to 8 bits,
# all else stays. **Guess** how many times smaller the guide becomes; BERT; and GPT-2.

# %%
from transformers import GPT2Config, GPT2LMHeadModel

from course_lib.quantization.linear import linears, predicted_bytes

bert = (85_500_000, 24_000_000)  # in linear layers, elsewhere
for name, counts in {"the guide": linear_share(guide), "BERT-base": bert}.items():
    ratio = predicted_bytes(*counts, bits=32) / predicted_bytes(*counts)
    share = counts[0] / sum(counts)
    print(f"{name}: {share:.0%} in linear layers, so {ratio:.2f}× smaller")
small = quantized(guide, partial(round_to_nearest, bits=8, group="channel"))
print(f"the guide, measured: {stored_bytes(guide) / stored_bytes(small):.2f}×")
with torch.device("meta"):  # shapes without numbers
    gpt2 = GPT2LMHeadModel(GPT2Config())
inside = [type(m).__name__ for m in gpt2.modules()].count("Conv1D")
total, head = gpt2.num_parameters(), gpt2.lm_head.weight.numel()
print(f"GPT-2: linear layers {list(linears(gpt2))}, Conv1D: {inside}")
print(f"its file: {predicted_bytes(head, total) / (4 * total):.2f} of the float one")

# %% [markdown]
# Less than three times, not four: embeddings stay floats. And the published line for GPT-2,
# `quantize_dynamic(model, {nn.Linear})`, finds one layer, the output matrix, for the others are of the class
# Conv1D. The model shares that matrix with the embedding, must then keep both, and its file becomes *larger*.
#
# Now the time. A layer pair of BERT's size; each round runs all, and we compare *within* rounds. "Floats made"
# keeps one byte a weight and makes floats at each call; "our store" packs codes of any width without gaps.
# **Guess** all four.

# %%
from timeit import timeit

wide = nn.Sequential(nn.Linear(768, 3072), nn.Linear(3072, 768)).eval()
stored = quantized(wide, partial(round_to_nearest, bits=8, group="channel"))
with warnings.catch_warnings(action="ignore"):  # torch: use torchao from now on
    kernel = torch.ao.quantization.quantize_dynamic(wide, {nn.Linear})
halves, x = copy.deepcopy(wide).bfloat16(), torch.randn(32, 768)
scales = [symmetric_scale(m.weight, dim=1) for m in wide]
codes = [quantize(m.weight, scale) for m, scale in zip(wide, scales, strict=True)]


def floats_made(x):
    for layer, q, scale in zip(wide, codes, scales, strict=True):
        x = nn.functional.linear(x, q.float() * scale, layer.bias)
    return x


does = {"floats": partial(wide, x), "int8, floats made": partial(floats_made, x)}
does |= {"int8, our store": partial(stored, x)}
does |= {"int8, torch's kernel": partial(kernel, x)}
does |= {"bfloat16": partial(halves, x.bfloat16())}
says = {name: (go() - wide(x)).abs().max() for name, go in does.items()}
print("largest difference:", *(f"{name} {d:.0e}" for name, d in says.items()), sep="\n")

# %%
with torch.no_grad():
    often_enough = range(runtime.steps(full=11, quick=2))
    rounds = [[timeit(go, number=1) for go in does.values()] for _ in often_enough]
ratios = [sorted(t[i] / t[0] for t in rounds) for i in range(len(does))]
spans = [(f"{r[len(r) // 2]:.2f}", f"{r[0]:.2f} to {r[-1]:.2f}") for r in ratios]
rows = [(name, *span) for name, span in zip(does, spans, strict=True)]
Table(("layers", "time / floats, middle", "over the rounds"), rows)

# %% [markdown]
# Making floats at each call costs time and saves none. Our store costs far more, since it takes codes apart bit by
# bit. The last two rows are facts about *your processor*: with instructions for int8 or bfloat16 they lie below 1,
# without them, above; other work on it moves them too. Time is saved where waiting for weights takes it (lesson
# 02): large models, one text at a time, and a kernel that reads codes.
#
# ## Bug clinic: the published pruning script
#
# Another way to be small: throw away the smallest weights. A widely copied script, rewritten, and another one.
# `learn` trains a model on. **Find** the faults, and **guess** how many zeros remain.

# %%
from torch.nn.utils import prune

from course_lib.quantization.pruning import zero_share


def published_script(model, share, learn):
    model = copy.deepcopy(model)
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
        prune.l1_unstructured(layer, "weight", amount=share)
        prune.remove(layer, "weight")
    learn(model)
    return model


def second_script(model, share, learn):
    model = copy.deepcopy(model)
    learn(model)
    sizes = torch.cat([p.detach().abs().flatten() for p in model.parameters()])
    edge = sizes.quantile(share)
    for p in model.parameters():
        p.data[p.abs() < edge] = 0
    return model


for script in (published_script, second_script):
    untrained = script(guide, 0.3, learn=lambda model: None)
    print(f"{script.__name__}, nothing trained: {zero_share(untrained):.0%} zeros")


# %%
def learn(model):
    few = runtime.steps(full=10, quick=1)
    train(model, batches, next_token_loss, few, lr=3e-4, progress=False)


def after_learning(*scripts):
    rows = []
    for script in scripts:
        model = script(guide, 0.3, learn)
        inside = torch.cat([m.weight.flatten() for m in linears(model).values()])
        zeros = (f"{(w == 0).float().mean():.0%}" for w in (inside, model.embed.weight))
        rows.append((script.__name__, *zeros, f"{stored_bytes(model) / 1e6:.2f}"))
    return Table(
        ("0.3 asked", "zeros in linear layers", "in the embedding", "MB"), rows
    )


after_learning(published_script, second_script)

# %% [markdown]
# The published one ends without zeros: training fills them again. The second prunes *after* training, with one
# threshold for all matrices, and embedding and norms too. And no file became smaller: a zero is stored, and
# multiplied, like any number. What must be true of pruning?
#
# 1. After `learn` each linear layer's matrix has its share of zeros, rounded down.
# 2. Those that went were the smallest *in size*, in *their own* matrix, before training.
# 3. Biases, norms and all else are not pruned.
# 4. What stays has learned.
# 5. The model that was given is as it was.
#
# Masks do it: they stay with the layers while the model learns.

# %%
from course_lib.quantization.pruning import magnitude_mask, pruned, written_out


def with_masks(model, share, learn):
    model = pruned(model, partial(magnitude_mask, share=share))
    learn(model)
    return written_out(model)


after_learning(with_masks)

# %% [markdown]
# ### Exercise 9 · Write the test that exposes a published pruning script
#
# *14 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the claims.
# - **In:** `prune_fn(model, share, learn)`: a model, a share from 0 to 1, a function that trains in place. It
#   returns a new model, same layers. **Out:** nothing.
# - **Worked value:** `with_masks` gets through, both scripts do not.
# - **Pitfall:** each fault hides somewhere: in one layer, without biases, with positive weights, without training.
#   Take two linear layers, one of larger weights, a norm between, a few Adam steps as `learn`. Read `layer.weight`:
#   torch's prune reorders `parameters()`. Of equal weights any may go; the rest may learn otherwise.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Keep a deep copy of the model from before. Which weights should be 0 afterwards? Sort their sizes.
# </details>
# <details><summary>Hint 2</summary>
# <code>old.abs().flatten().argsort()[:count]</code> are the places. Make the second layer's weights ten times as large.
# </details>


# %% test="pruning"
def test_pruning(prune_fn):
    """Fails with an AssertionError unless `prune_fn` prunes and keeps it so."""
    ### BEGIN SOLUTION
    luck = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 5))
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=luck)
    model[2].weight.data *= 10
    before, share = copy.deepcopy(model), 0.3
    x, y = torch.randn(16, 6, generator=luck), torch.randn(16, 5, generator=luck)

    def steps(pupil):
        adam = torch.optim.Adam(pupil.parameters(), lr=0.05)
        for _ in range(4):
            adam.zero_grad()
            (pupil(x) - y).square().mean().backward()
            adam.step()

    small = prune_fn(model, share, steps)
    for old, kept in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(old, kept), "the model that was given has changed"
    for part in (small[0].bias, small[1].weight, small[1].bias, small[2].bias):
        assert (part != 0).all(), "biases or norms were pruned too"
    for i in (0, 2):
        old, new = (net[i].weight.detach().flatten() for net in (before, small))
        gone, count = new == 0, int(share * len(old) + 1e-6)
        assert gone.sum() == count, f"layer {i} has {gone.sum()} zeros, not {count}"
        assert gone[old.abs().argsort()[:count]].all(), "not the smallest have gone"
        assert (new[~gone] != old[~gone]).any(), "what stays has not learned"
    ### END SOLUTION


# %%
for script in (published_script, second_script, with_masks):
    try:
        test_pruning(script)
        print(f"{script.__name__}: passed")
    except AssertionError as objection:
        print(f"{script.__name__}: exposed, {objection}")

# %% check="test_pruning" points=4
checks.quantization.test_pruning(test_pruning)

# %% [markdown]
# ## The end of its life
#
# A model is finished when others can use it without our code. **GGUF** is one file with weights, settings,
# tokenizer and chat template, in formats like your Q4_0. We write them all, read them back and examine. Below, the
# main ways of this lesson in one picture. **Guess** where the price begins to rise.

# %%
from course_lib.pretrained.gguf import read_gguf
from course_lib.pretrained.smollm2 import read_model
from course_lib.quantization.blocks import format_bits
from course_lib.quantization.gguf_file import to_gguf

folder, files, rows = Path(tempfile.mkdtemp()), {}, []
for form in ("F32", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"):
    path = folder / f"{form}.gguf"
    to_gguf(guide, tokenizer, path, form)
    again, size = read_model(read_gguf(path)), path.stat().st_size / 1e6
    files[form] = (size, perplexity(again))
    bits = format_bits(form) if form[0] == "Q" else form[1:]
    right = rights["rare facts"](again)
    rows.append((form, f"{size:.2f}", bits, f"{files[form][1]:.3f}", f"{right:.0%}"))
print(Table(("format", "MB", "bits a weight", "perplexity", "rare facts"), rows))
names = ["float", "int4 tensor", "int3 channel"]
names += [f"{how} 32" for how in ("int4", "int3", "GPTQ3", "AWQ3")]
ours = {name: measured[name] for name in names if name in measured}
order = ("int3 tensor", "int3 channel", "int3 32", "GPTQ3 32")
falling = [measured[name][1] for name in order if name in measured]
runtime.learned(falling == sorted(falling, reverse=True), "As the text says")
plots.costs(ours, files, perplexity(guide))

# %% [markdown]
# (GGUF rounds the embedding too; ours keep it in floats and are larger at equal bits.) The honest reading: 16 and 8
# bits are free. At 4.5 to 6 the perplexity hardly moves; of the rare facts three to six in a hundred go, with so
# few questions partly chance. Below, you had better know why.
#
# Do strangers understand the file? transformers opens it without a line of ours. **ONNX** is the other way out: a
# graph of operations for other runtimes. A size that is not declared *dynamic* is frozen there to the example's;
# `to_onnx` leaves both sizes free. **Guess** whether the greedy text is equal, letter by letter.

# %%
from importlib.util import find_spec

from IPython.utils.capture import capture_output

ids = torch.tensor([exam.prompt_ids(asked[0], tokenizer)])
mine = exam.replies(guide, tokenizer, asked[:1])[0]
print("ours:  ", mine)
if find_spec("gguf"):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kind = {"attention_mask": torch.ones_like(ids), "pad_token_id": tokenizer.pad}
    for name in ("F32.gguf", "Q4_0.gguf"):
        with capture_output():  # progress bars
            theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)
            cutter = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        said = theirs.generate(ids, max_new_tokens=30, do_sample=False, **kind)
        spoken = cutter.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
        print(f"transformers, {name}:", spoken)
        own = exam.replies(read_model(read_gguf(folder / name)), tokenizer, asked[:1])
        assert spoken == own[0], "transformers should write the same text"
else:
    print("To open it elsewhere: pip install gguf")

# %%
import logging
from importlib import import_module

from course_lib.quantization.onnx_file import to_onnx

needed = ("onnx", "onnxscript", "onnxruntime")
if runtime.profile() == "full" and all(map(find_spec, needed)):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        to_onnx(guide, folder / "guide.onnx")
    onnxruntime = import_module("onnxruntime")  # whoever has it
    session, row = onnxruntime.InferenceSession(folder / "guide.onnx"), ids
    while row[0, -1] != tokenizer.end and row.shape[1] < 60:
        (logits,) = session.run(None, {"ids": row.numpy()})
        row = torch.cat([row, torch.tensor([[logits[0, -1].argmax()]])], dim=1)
    spoken = tokenizer.decode(row[0, ids.shape[1] :].tolist(), specials=False)
    print("onnxruntime:", spoken)
    assert spoken == mine, "onnxruntime should write the same text"
else:
    print("With time, and after pip install", *needed, "it is exported here.")

# %% [markdown]
# ## Outside
#
# | where | how | |
# |---|---|---|
# | llama.cpp, Ollama | `convert_hf_to_gguf.py`, then `llama-quantize … Q4_K_M` | GGUF; k-quants have scales of scales |
# | transformers | `BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")` | NF4 |
# | torchao | `quantize_(model, Int8WeightOnlyConfig())` | replaces torch.quantization |
# | gptqmodel | `QuantizeConfig(bits=4, group_size=128)` | GPTQ |
# | TensorRT | NVIDIA only | the vendor's page says 4× smaller, but its example code is for 16 bits |
# | Core ML, LiteRT | phones | Apple's and Google's formats, not measured here |
#
# We compared our blocks byte for byte with the `gguf` package, and NF4 with bitsandbytes.

# %% [markdown]
# ## All ways beside one another
#
# | way | needs | saves | when |
# |---|---|---|---|
# | 8 bits, a scale a row | nothing | bytes | always |
# | 4 bits in groups, NF4, Q4_0 | nothing | more bytes | memory is short |
# | GPTQ, AWQ | texts | as many | 3 bits; compare at 4 |
# | int8 × int8, SmoothQuant | texts | time, with a kernel | loud channels |
# | through the rounding | training | most bytes | 2 or 3 bits |
# | zeros | training on | nothing alone | rarely |
#
# Not covered: small KV caches, activations in fp8.
#
# ## Reflect

# %% [markdown] reflect="leaflet" points=1
# **1.** A leaflet: "INT4: 8× smaller, 4× faster, accuracy unchanged (perplexity within 1 %)". Which three questions
# do you ask, and why?
#
# A good answer: Smaller than what, with scales and embeddings counted? Faster on which hardware, with which kernel,
# at which batch: stored codes alone are slower. Accuracy on what: perplexity hardly moves while sums in steps and
# rare facts fall, so examine chains and rare things.

# %% [markdown] reflect="which_method" points=1
# **2.** You have a float model, four bits to spend, 500 texts and no time to train. What do you do, and what would
# make you change it?
#
# A good answer: Groups of 32 or GPTQ or AWQ, with the texts as calibration; compare all on your own exams, since at
# four bits the order is not certain. If inputs become integers too, look for loud channels first (SmoothQuant). At
# three bits or fewer training through the rounding pays.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("11_quantization")

# %% [markdown]
# ## You can now
#
# - round numbers to a grid, with scales for a matrix, a row or a group, and say how far off they are;
# - mend what rounding breaks: GPTQ, AWQ, SmoothQuant, training through it;
# - tell size from speed, expose a pruning script, and hand a model on as one file.
#
# **Read on:** *GPTQ* ([arXiv 2210.17323](https://arxiv.org/abs/2210.17323)); *AWQ*
# ([2306.00978](https://arxiv.org/abs/2306.00978)); *QLoRA* ([2305.14314](https://arxiv.org/abs/2305.14314)),
# section 3, on NF4; *LLM.int8()* ([2208.07339](https://arxiv.org/abs/2208.07339)) on loud channels.
#
# **Next:** there is no next lesson; what follows is for those who want more. The whole road from one token to a
# finished file is behind you.

# %% [markdown]
# ## Going further: real models in few bits
#
# SmolLM2's package holds it in Q4_1 already. So we cannot ask what four bits cost *it*: that harm was done before,
# and nobody here has its floats. Q4_1 is blocks of 32 with a scale and a smallest number; the other ways of this
# lesson are other grids. Below: perplexity on three pieces of the Python reference, recorded (2 GB of memory; the
# embedding stays in floats). **Guess** which rows mean something.

# %%
from course_lib.pretrained.smollm2 import smollm2_file
from course_lib.quantization.blocks import BlockWeight

packed = read_gguf(smollm2_file())
found_in_file = torch.from_numpy(packed.tensor("blk.0.ffn_up.weight").copy())
twice = BlockWeight(found_in_file, "Q4_1")()
moved = (twice - found_in_file).abs().max()
print(f"one matrix, to Q4_1 again: changed by at most {moved:.1e}")
rows = []
names = "float, int8 channel, Q4_1, Q4_0, NF4, int4 32, int4 channel, int4 tensor, "
names += "GPTQ3 32, int3 32, int3 channel, int3 tensor"
for name in names.split(", "):
    pieces = recorded[f"SmolLM2 {name}"]
    said = "as unpacked from Q4_1" if name == "float" else name
    rows.append((said, f"{pieces[0][1]:.0f}", *(f"{p:.3g}" for p, _ in pieces)))
words = len(packed.metadata["tokenizer.ggml.tokens"])
print(f"perplexity of blind guessing: {words:,}")
Table(("stored as", "MB", "piece 1", "piece 2", "piece 3"), rows)

# %% [markdown]
# Q4_1's blocks give back exactly what they made, so the same model, and eight bits by rows do no harm. The other
# rows of four bits look bad, and say little: a second grid laid across the first. Three bits are coarser than what
# was there, so that order can be read: matrix (worse than blind guessing), row, group, GPTQ, as in the guide, each
# a large step.
#
# For four bits take MiniLM, a real encoder whose weights are float32: how near are its vectors to the float ones
# (cosine, 1 = equal), and how many of the five nearest texts of a text stay among them? **Guess** the order.

# %%
from course_lib.rag.loading import python_reference

reader, draw = pretrained.minilm(), random.Random(5)
floats = reader.encoder
texts = [t for document in python_reference() for t in document.text.split("\n\n")]
texts = [text[:400] for text in texts if len(text.split()) >= 20]
texts = draw.sample(texts, runtime.steps(full=48, quick=8))
wanted = reader.embed(texts)


def nearest_five(vectors):
    return (vectors @ vectors.T).fill_diagonal_(-2).topk(5).indices


def compared(vectors):
    now, before = nearest_five(vectors), nearest_five(wanted)
    stays = (now[:, :, None] == before[:, None]).any(dim=2)
    return (vectors * wanted).sum(dim=1).mean(), stays.float().mean()


# %%
yours = {f"int4 {g}": partial(nearest, bits=4, group=g) for g in ("channel", 32)}
makes, rows = yours | {"NF4": nf4}, []
names = "float, int8 tensor, int8 channel, int4 tensor, int4 channel, int4 32, NF4, "
names += "Q4_0, GPTQ4 32, int3 32, GPTQ3 32"
for name in names.split(", "):
    near, stays, size = torch.tensor(recorded[f"MiniLM {name}"]).mean(dim=0)
    rows.append((name, f"{size:.0f}", f"{near:.3f}", f"{stays:.0%}"))
print(Table(("stored as", "MB", "recorded cosine", "recorded neighbours"), rows))
for name, make in makes.items():
    reader.encoder = unpacked(quantized(floats, make))
    near, stays = compared(reader.embed(texts))
    print(f"yours, {name}: cosine {near:.3f}, neighbours {stays:.0%}")
reader.encoder = floats

# %% [markdown]
# (Recorded: means of three times 150 texts.) The crude ways fail a step earlier than in the guide: one scale for a
# matrix shows at eight bits and ruins four. NF4 beats plain groups here, and GPTQ beats both in the same room. And
# a cosine of .96 sounds like hardly a loss, while about a sixth of the neighbours have changed. So measure what you
# will use. Few bytes are saved, since the embedding of all words stays in floats.

# %% [markdown]
# ## Going further: QLoRA
#
# A frozen base in NF4 and a LoRA adapter in floats on top: that is how large models are tuned on one GPU. Tuning
# the base on the guide's tasks, sixty steps each. **Guess** what the rounding costs.

# %%
from itertools import chain

from course_lib.lora.layers import ALL, add_lora

tasks = corpus.stream(corpus.TUNING, seed=5)
texts = [next(tasks) for _ in range(runtime.steps(full=900, quick=60))]
lines = [corpus.marked(text, tokenizer) for text in texts]
columns = zip(*lines, strict=True)
text, counts = (torch.tensor([*chain(*column)]) for column in columns)
cut = len(text) * 9 // 10
print(f"{cut:,} tokens to learn from, {len(text) - cut:,} to judge by")


# %%
def tuned(base):
    before = exam.loss_on(base, text[cut:], counts[cut:])
    on = rows_of(text[:cut], 8, 128, kept=counts[:cut])
    few = runtime.steps(full=60, quick=1)
    train(base, on, next_token_loss, few, lr=5e-3, progress=False)
    return before, exam.loss_on(base, text[cut:], counts[cut:])


base = pretrained.load("base")[0]
add_lora(base, ALL, 8, generator=torch.Generator().manual_seed(0))
both = {"LoRA": base, "QLoRA": quantized(base, partial(nf4, double=True))}
rows = []
for name, model in both.items():
    losses = (f"{loss:.3f}" for loss in tuned(model))
    rows.append((name, f"{stored_bytes(model) / 1e6:.2f}", *losses))
Table(("tuned", "MB, adapter included", "loss before", "after"), rows)

# %% [markdown]
# The adapter learns around the rounding: the two end close together, at a fraction of the bytes.

# %% [markdown]
# ## Going further: ranges found beforehand
#
# To find each token's largest number takes time. **Static** quantization fixes one range for all tokens by
# calibration. **Guess** what each makes of a planted channel of factor 100.

# %%
from course_lib.quantization.activations import observed

louder, rows = planted(guide, 7, 100), []
for name, model in {"the guide": guide, "planted ×100": louder}.items():
    kinds = (int8_model(model), int8_model(model, observed(model, run)))
    rows.append((name, *(f"{perplexity(kind):.3f}" for kind in kinds)))
Table(("model", "dynamic: each token's own range", "static: calibrated"), rows)

# %% [markdown]
# On a quiet model both are fine. With a loud channel the fixed range is as wide as the loudest token asks, and so
# coarse is the grid of all others too.

# %% [markdown]
# ## Going further: zeros that pay
#
# A sparse file lists the kept numbers, each with its column. Half of every four neighbours (2:4) is what some
# hardware skips. **Guess** how many bytes a list needs when a fifth is zero.

# %%
from course_lib.quantization.pruning import sparse_bytes, two_of_four_bytes

dense = 1_000_000 * 4
for share in (0.2, 0.5, 0.9):
    found = sparse_bytes(1_000_000, round(1_000_000 * (1 - share)), rows=1_000)
    print(f"{share:.0%} zeros, as a list: {found / dense:.2f} of the dense bytes")
print(f"2:4 in 16 bits: {two_of_four_bytes(1_000_000) / 2_000_000:.2f}")

# %% [markdown]
# A list pays only when more than half is zero. How much does the guide bear? Means of three recorded runs; the last
# column after sixty steps of training with the zeros held. **Guess:** is 2:4 as good as the smallest half of the
# matrix?

# %%
before, after = (
    torch.tensor(recorded[n]).mean() for n in ("loud float", "floats: trained")
)
rows = [("none", f"{before:.2f}", None, None, f"{after:.2f}")]
for name in ("30%", "50%", "70%", "2:4"):
    means = torch.tensor(recorded[f"zeros {name}"]).mean(dim=0)
    rows.append((name, *(f"{mean:.2f}" for mean in means)))
Table(("zeros", "perplexity", "facts", "copying", "perplexity, trained on"), rows)

# %% [markdown]
# Two of four is far worse than the smallest half, for it must throw away large weights wherever several stand side
# by side; training on mends most of it, and helps without zeros too (first row). And whole neurons, the hidden
# units of the MLPs? What is gone is gone: smaller matrices, fewer products, on any machine. **Guess** what a fifth
# of all neurons costs, before and after thirty steps of training.

# %%
from course_lib.quantization.structured import without_neurons

rows = []
for share in (0.0, 0.1, 0.2):
    small = without_neurons(guide, share)
    before = perplexity(small)
    few = runtime.steps(full=30, quick=1)
    train(small, batches, next_token_loss, few, lr=1e-3, progress=False)
    size, after = stored_bytes(small) / 1e6, perplexity(small)
    rows.append((f"{share:.0%}", f"{size:.2f}", f"{before:.3f}", f"{after:.3f}"))
Table(("neurons gone", "MB", "perplexity", "after training on"), rows)

# %% [markdown]
# Training on brings most of it back (it helps the whole guide too: see the first row). Rounding saves far more
# bytes for less harm; parts are taken away to save time.
#
# This is the end of the course: the whole road from one token to a finished file is behind you.
