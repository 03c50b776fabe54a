# %% [markdown]
# # Let experts share the work
#
# You will build the layer that Mixtral and DeepSeek-V3 are made of: many small MLPs side by side, and a router that
# sends each token to a few of them. Then you will watch a router ruin itself, and save it.
#
# **Afterwards you can** write a mixture of experts that computes what its formula says, keep its experts busy, and
# say what such a model costs in memory, in operations and in serving.
#
# **You need** lesson 01: blocks, MLPs, a softmax, a training loop. From lesson 03 we borrow the counting of
# parameters.
#
# About 160 minutes, in two sittings. The first builds the layer; the second trains it.

# %%
from functools import partial

import torch

from course_lib import checks, runtime
from course_lib.plotting import mixture_of_experts as plots
from course_lib.plotting.tables import Table
from course_lib.widgets import controls

device = runtime.start(seed=0)

# %% [markdown]
# ## More weights, more work
#
# A model that knows more needs more weights. Lesson 01's MLP is where most of them are. Let us make one sixteen
# times as wide, and let torch count the operations for each token. What do you expect?

# %%
from torch.utils.flop_counter import FlopCounterMode

from course_lib.transformer import Config, SwiGLU


def operations(layer, tokens=10):
    x = torch.randn(1, tokens, 64).to(next(layer.parameters()))
    with FlopCounterMode(display=False) as counter:
        layer(x)
    return counter.get_total_flops() / tokens


rows = []
for hidden in (96, 16 * 96):
    mlp = SwiGLU(Config(width=64, hidden=hidden))
    size = sum(weights.numel() for weights in mlp.parameters())
    rows.append((hidden, f"{size:,}", f"{operations(mlp):,.0f}"))
Table(("width inside", "parameters", "operations for each token"), rows)

# %% [markdown]
# Sixteen times the weights, sixteen times the work, and for *every* token. The full stop at the end of this
# sentence pays for all that the model knows about chemistry.
#
# What if we had sixteen narrow MLPs in place of one wide one, and each token visited only one or two of them? The
# weights would be there, and the work would stay small. Two questions follow: who decides where a token goes, and
# how do its answers come together?

# %% [markdown]
# ## By hand: three tokens, four experts
#
# A **router** decides. It is one matrix with a row for each **expert** (as such an MLP is called). A token's score
# for an expert is the product of its vector and that row. Three tokens, two numbers each:

# %%
tokens = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
router = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.5, 0.5]])
scores = tokens @ router.T  # (3, 4)
scores

# %% [markdown]
# Each token visits its two best experts. **Before you run this**, name them for each row. Does every expert get
# work?

# %%
chosen = scores.topk(2).indices  # (3, 2)
plots.plane(tokens, router, chosen)

# %% [markdown]
# The colours show who would be the first choice of a token at each place. (Expert 3 is a second choice only: its
# row is the mean of the first two.) Tokens 1 and 2 both visit 1, then 3; nobody visits expert 2. Remember the idle
# expert: it will come back.
#
# How much does each of the two count? We take a softmax of their two scores. For token 0, with scores 2 and 1:

# %%
of_token_0 = torch.softmax(torch.tensor([2.0, 1.0]), dim=0)
of_token_0

# %% [markdown]
# Let the experts be as plain as can be. Token 0, (2, 0), visits "ten times" with weight 0.73 and "plus one" with
# weight 0.27:

# %%
experts = [lambda x: 10 * x, lambda x: -x, lambda x: x * x, lambda x: x + 1]
ten_times, plus_one = experts[0](tokens[0]), experts[3](tokens[0])
by_hand = of_token_0[0] * ten_times + of_token_0[1] * plus_one
print(f"0.73 × {ten_times.tolist()} + 0.27 × {plus_one.tolist()}")
by_hand

# %% [markdown]
# ## The name: a mixture of experts
#
# That was a **mixture of experts** layer (Shazeer and others, 2017): N tokens of width D, E experts, k of them for
# each token, and weights w that come from the scores z. For token n with the vector $x_n$:
#
# $$y_n = \sum_{j=1}^{k} w_{nj}\, f_{c_{nj}}(x_n)$$

# %% [markdown]
# | symbol | in code | shape |
# |---|---|---|
# | $x_n$ | `x` | (N, D), the tokens of all texts in one row, N = B · T |
# | $z_n$ | `scores` | (N, E), one for each expert |
# | $c_{nj}$ | `chosen` | (N, k), numbers of experts |
# | $w_{nj}$ | `weights` | (N, k) |
# | $f_e$ | `experts[e]` | a function of vectors of width D |

# %% [markdown]
# The choice is made for every *token*, and anew in every *layer*. You will read that a router sends "a query" to
# "the maths expert": no such thing is in the formula, and later we look whether it comes about.

# %% [markdown]
# There are two ways to weigh. Mixtral takes the softmax over the *chosen* scores, so that the weights sum to 1. The
# Switch Transformer of 2021, Switch for short, takes it over *all* experts and keeps the chosen shares, so that an
# expert chosen with a share of 0.3 counts 0.3. Your function knows both.

# %% [markdown]
# ### Exercise 1 · Weigh the chosen experts
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** how much each chosen expert counts for each token.
# - **In:** `scores` (N, E); `chosen` (N, k), experts' numbers; `renormalise`. **Out:** weights (N, k), in the order
#   of `chosen`: a softmax over the chosen scores alone or, not renormalised, their shares among all E.
# - **Worked value:** scores log 0.1, log 0.4, log 0.2, log 0.3, chosen 1 and 3: 4/7 and 3/7. With
#   `renormalise=False`: 0.4 and 0.3.
# - **Pitfall:** `chosen` need not hold the best experts, nor the best first: do not choose again. Its scores may
#   lie 200 below others. Stay with tensors: gradients reach the scores through these weights.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>scores.gather(-1, chosen)</code> takes from each row the entries whose numbers stand in the same row of <code>chosen</code>.
# </details>
# <details><summary>Hint 2</summary>
# Two steps, gather and softmax. One order of the two is renormalised, the other is not.
# </details>

# %% exercise="weigh"
from course_lib.moe.routing import weigh

# %%
logs = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
pair = torch.tensor([[1, 3]])
weigh(logs, pair), weigh(logs, pair, renormalise=False)

# %% check="weigh" points=3
checks.mixture_of_experts.weigh(weigh)

# %% [markdown]
# A router that wanted expert 1 with 40 % and expert 3 with 30 % now hears 4/7 and 3/7, or 0.4 and 0.3. Why not let
# you divide shares by their sum? If a chosen expert's share is tiny, that is 0 / 0. The softmax of the chosen
# scores is the same number without the accident.
#
# Choice and weights together are what a layer calls `route`. `choose` is `topk`, with room for a bias that we need
# later.

# %%
from course_lib.moe.routing import choose


def route(scores, k, bias=None, renormalise=True):
    chosen = choose(scores, k, bias)
    return weigh(scores, chosen, renormalise), chosen


weights, chosen = route(scores, k=2)
weights, chosen

# %% [markdown]
# ## There and back
#
# Now the sum. The definition goes token by token: look up its experts, ask them, add what they say. This is how the
# library writes it:

# %%
from course_lib.moe.dispatch import mix_token_by_token

right = mix_token_by_token(tokens, weights, chosen, experts)
assert torch.allclose(right[0], by_hand)
right

# %% [markdown]
# The first row is our answer by hand. This way is right, and hopelessly slow: a matrix product wants many rows at
# once. So we turn the loop round. Go from expert to expert, collect all tokens that chose it, ask it once, and send
# the answers back to where the tokens came from. Sending there is called **dispatch**, and sending back
# **combine**. (A token's k experts always differ. An expert without tokens need not be asked.)

# %% [markdown]
# ### Exercise 2 · Send tokens to experts and back
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** the same sum with a loop over experts, each called on its own tokens only, not one by one.
# - **In:** `x` (N, D); `weights`, `chosen` (N, k); `experts`, functions of (any number, D). **Out:** (N, D), in the
#   order of `x`, which stays as it is. Gradients reach `x`, `weights`, experts.
# - **Worked value:** tokens (1) and (2), experts "times 10" and "minus", weights (0.75, 0.25), (1, 0), chosen
#   (0, 1), (1, 0): 7.25 and −2.
# - **Pitfall:** an expert may be one token's first choice and another's second: its weights do not stand in one
#   column. Weights are any numbers, k may be 1, answers *add*.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>here = chosen == e</code> is a table (N, k) of True and False. Which tokens go to expert e? And what is <code>weights * here</code>?
# </details>
# <details><summary>Hint 2</summary>
# A token has expert e among its choices once at most, so the sum of a row of <code>weights * here</code> is its weight. Begin with zeros, and add to the rows of the expert's tokens.
# </details>

# %% exercise="mix_by_masks"
from course_lib.moe.dispatch import mix_by_masks

# %%
x, two = torch.tensor([[1.0], [2.0]]), [lambda x: 10 * x, lambda x: -x]
weights = torch.tensor([[0.75, 0.25], [1.0, 0.0]])
chosen = torch.tensor([[0, 1], [1, 0]])
mix_by_masks(x, weights, chosen, two)

# %% check="mix_by_masks" points=4
checks.mixture_of_experts.mix_by_masks(mix_by_masks)

# %% [markdown]
# Is it worth the trouble? We time a layer of eight experts on 512 tokens. `mix_sorted` is the library's third way:
# it sorts all visits by expert once, so that each expert's tokens lie in one piece. **Guess** how much faster than
# the definition yours will be. (We ask torch for one thread from here on: our experts are small.)

# %%
from timeit import repeat

from course_lib.moe.dispatch import mix_sorted

torch.set_num_threads(1)  # experts are small: threads would mostly wait for others
eight = [SwiGLU(Config(width=64, hidden=96)).requires_grad_(False) for _ in range(8)]
x = torch.randn(512, 64)
weights, chosen = route(torch.randn(512, 8), k=2)
ways = {
    "token by token": mix_token_by_token,
    "yours": mix_by_masks,
    "sorted": mix_sorted,
}
rows = []
for name, mix in ways.items():
    seconds = repeat(lambda mix=mix: mix(x, weights, chosen, eight), number=1, repeat=3)
    rows.append((name, f"{1000 * min(seconds):.1f}"))
Table(("way", "milliseconds"), rows)

# %% [markdown]
# All three compute the same sum; the definition takes many times as long. (Between the other two the gap grows with
# the number of experts: masks look at all visits once for each expert, sorting once for all.)
#
# ## Bug clinic: the layer that crashes, and the one that does not
#
# This is the heart of a mixture layer from a published tutorial, written anew with its mistake. Read the line that
# makes `weight`. What is its shape, if expert e has n tokens?


# %%
def published_mix(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        tokens = (chosen == e).any(dim=-1)
        if tokens.any():
            column = (chosen[tokens] == e).nonzero(as_tuple=True)[1]  # (n,)
            weight = weights[tokens][:, column]
            out[tokens] += expert(x[tokens]) * weight.unsqueeze(-1)
    return out


try:
    published_mix(tokens, *route(scores, k=2), experts)
except RuntimeError as error:
    print("RuntimeError:", error)

# %% [markdown]
# The index takes *all* those columns from *each* row: a matrix (n, n) where n weights were wanted. So it crashes
# for every input, even for one token. As printed it cannot have been run.
#
# A crash is a kind bug. Somebody repairs it in a hurry, the shapes fit, and nothing crashes any more:


# %%
def silent_mix(x, weights, chosen, experts):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        tokens = (chosen == e).any(dim=-1)
        weight = weights[tokens][:, 0]  # the shapes fit
        out[tokens] += expert(x[tokens]) * weight.unsqueeze(-1)
    return out


routed = route(scores, k=2)
silent_mix(tokens, *routed, experts), mix_by_masks(tokens, *routed, experts)

# %% [markdown]
# Both choices now count as much as the first. Nothing stops a model with this layer from training. No message will
# ever tell you. So we say what must be true of *any* right way to mix:
#
# 1. It equals the definition, token by token, for any k and any weights.
# 2. A token's answer does not depend on the other tokens.
# 3. An expert that nobody chose has no influence, and does no harm.
# 4. Weights belong to choices: exchange a token's choices together with their weights, and nothing changes.

# %% [markdown]
# ### Exercise 3 · Write the test that exposes the silent one
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the four claims.
# - **In:** `mix`, a function of x (N, D), weights and chosen (N, k) and experts, that claims to be the weighted sum.
#   **Out:** nothing. A token's experts always differ; each treats each row alone.
# - **Worked value:** the silent layer must fail; `mix_by_masks` and `mix_token_by_token` must pass.
# - **Pitfall:** with equal weights, k = 1, experts that are alike, or tokens that choose in the same order, wrong
#   layers look right. Some work for k = 2 or D = 1 only: take 3 as well. Weights need not sum to 1. Right layers add
#   in another order: compare with `torch.allclose(…, atol=1e-5)`.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>mix_token_by_token</code> is given: it is the definition. Draw tokens, weights and choices at random, for k = 1, 2 and 3, and let experts differ, as in <code>lambda x: 3 * x</code> and <code>lambda x: x * x</code>.
# </details>
# <details><summary>Hint 2</summary>
# <code>torch.rand(N, E).topk(k).indices</code> draws different experts for each token. For the second claim change all tokens but one and look at that one; for the third, give the list an expert that returns <code>x * nan</code> and let nobody choose it; for the fourth, flip weights and choices along the last dimension.
# </details>


# %% test="mix"
def test_mix(mix):
    """Fails with an AssertionError unless `mix` is the weighted sum of answers."""
    ### BEGIN SOLUTION
    experts = [lambda x, e=e: (e - 2) * x + x.square() / (e + 1) for e in range(5)]
    for k in (1, 2, 3):
        x, weights = torch.randn(12, 3), torch.rand(12, k)
        chosen = torch.rand(12, 5).topk(k).indices
        right = mix_token_by_token(x, weights, chosen, experts)

        def same(other, rows=slice(None), right=right):
            return torch.allclose(other[rows], right[rows], atol=1e-5)

        assert same(mix(x, weights, chosen, experts)), "not the weighted sum"
        others = torch.randn(12, 3)
        others[7] = x[7]
        assert same(mix(others, weights, chosen, experts), 7), "neighbours matter"
        silent = [*experts, lambda x: x * torch.nan]
        assert same(mix(x, weights, chosen, silent)), "an idle expert matters"
        turned = mix(x, weights.flip(-1), chosen.flip(-1), experts)
        assert same(turned), "the order of choices matters"
    ### END SOLUTION


# %% check="test_mix" points=4
checks.mixture_of_experts.test_mix(test_mix)


# %%
def first_choice_only(x, weights, chosen, experts):
    return mix_by_masks(x, weights[:, :1], chosen[:, :1], experts)


def without_weights(x, weights, chosen, experts):
    return mix_by_masks(x, torch.ones_like(weights), chosen, experts)


test_mix(mix_by_masks)
test_mix(mix_sorted)
for mix in (silent_mix, first_choice_only, without_weights):
    try:
        test_mix(mix)
        print(f"{mix.__name__} passed")
    except AssertionError as objection:
        print(f"{mix.__name__} is exposed: {objection}")

# %% [markdown]
# Which claims expose the silent layer? The first and the fourth; the second and third cannot, since it treats each
# token by itself. The comparison with a slow definition does most of the work here, as so often.
#
# ## In the Transformer
#
# The layer takes the place of a block's MLP. It has a router (a linear layer without bias) and a list of MLPs, and
# it takes your functions as arguments. We build a small model around it, and ask lesson 01's leak detector: does
# any prediction move if a *later* token is replaced?

# %%
from course_lib.moe.layer import MixtureOfExperts
from course_lib.probes import influence
from course_lib.scaling.parameters import Experts
from course_lib.transformer import Transformer

shape = Config(width=64, layers=2, heads=4, kv_heads=2, hidden=96)
mixture = partial(
    MixtureOfExperts, experts=Experts(count=8, chosen=2, hidden=48), route=route
)
model = Transformer(shape, mlp=partial(mixture, mix=mix_by_masks))
ids = torch.randint(768, (16,))
moved = influence(model, ids, (ids + 1) % 768)
later, earlier = moved.triu(1).max(), moved.tril(-1).max()
print(f"moved by later tokens {later:.0e}, by earlier ones {earlier:.2f}")

# %% [markdown]
# Nothing but rounding. A token's way through the experts depends on its own vector alone, so the layer adds no
# leak. The tutorial's own block leaks elsewhere: it calls torch's attention without a mask, and without telling it
# that the batch comes first. **Guess** what happens to the first text if we change the second.

# %%
torch_attention = torch.nn.MultiheadAttention(64, num_heads=8)
two_texts = torch.randn(2, 5, 64)
second_changed = two_texts + torch.tensor([0.0, 1.0]).view(2, 1, 1)
before, after = (torch_attention(x, x, x)[0] for x in (two_texts, second_changed))
print(f"the first text's vectors move by {(after - before)[0].abs().max():.2f}")

# %% [markdown]
# It takes texts for tokens, and lets the first text read the second.
#
# Is our layer the one that others use? We give `transformers`' Mixtral layer our weights. It keeps all experts in
# two large tensors.

# %%
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

our_layer = model.blocks[0].mlp
mixtral_layer = MixtralSparseMoeBlock(
    MixtralConfig(
        hidden_size=64,
        intermediate_size=48,
        num_local_experts=8,
        num_experts_per_tok=2,
        experts_implementation="eager",
    )
)

# %%
with torch.no_grad():
    mixtral_layer.gate.weight.copy_(our_layer.router.weight)
    for e, expert in enumerate(our_layer.experts):
        mixtral_layer.experts.gate_up_proj[e] = torch.cat(
            [expert.gate.weight, expert.up.weight]
        )
        mixtral_layer.experts.down_proj[e] = expert.down.weight
    x = torch.randn(3, 10, 64)
    apart = (our_layer(x) - mixtral_layer(x)).abs().max()
assert apart < 1e-5
print(f"largest difference {apart:.0e}")

# %% [markdown]
# The same layer. Here the first sitting may end.

# %% [markdown]
# ## The router ruins itself
#
# Now we train, on what the course's own model has read: stories, questions, sums and lists. Two layers, and in each
# of them 16 experts of which a token visits *one*, weighed by its share among all (that is Switch's way). The start
# is ordinary, and the learning rate is that of lesson 01. Many experts and one choice were picked because they show
# the effect clearly.
#
# Every ten steps we look at held-out text and note the **load** of each expert, its share of all visits. One number
# says how even it is: the entropy of the loads, divided by the largest possible. 1 means that all do alike, 0 that
# one does all.

# %%
from itertools import islice

from course_lib import pretrained
from course_lib.batches import rows_of
from course_lib.moe.balancing import load, load_entropy
from course_lib.world import corpus

tokenizer = pretrained.tokenizer()


def read(texts, seed, mix=corpus.BASE):
    drawn = islice(corpus.stream(mix, seed), texts)
    marked = (corpus.marked(text, tokenizer)[0] for text in drawn)  # ids with an end
    return torch.tensor([token for text in marked for token in text])


long_text, unseen = read(4000, seed=0), read(300, seed=1)
held_out = rows_of(unseen, batch=64, length=64)(0)
even, alone = torch.full((16,), 1 / 16), torch.eye(16)[0]
print(f"{len(long_text):,} tokens to read")
print(f"evenness: {load_entropy(even):.2f} and {load_entropy(alone):.2f}")

# %% [markdown]
# One function watches, and one trains. `routings` fills a list with what each router decides while the model runs.

# %%
from course_lib.moe.layer import routings, stacked
from course_lib.training import evaluated, next_token_loss, train


@torch.no_grad()
def watch(model):
    with routings(model) as seen:
        losses, _ = next_token_loss(model, held_out.to(device))
    notes = {"loss": losses.mean()}
    if seen:
        routing = stacked(seen)  # of all layers
        loads = load(routing.chosen, routing.scores.shape[-1])  # (layers, E)
        notes["evenness"] = load_entropy(loads).mean()
    return notes


# %%
def trained(seed, steps, loss_fn=next_token_loss, mlp=None):
    draw = torch.Generator().manual_seed(seed)
    model = Transformer(shape, mlp=mlp, generator=draw).to(device)
    rows = rows_of(long_text, batch=16, length=64, seed=seed)
    before = {"step": 0, **evaluated(model, watch)}
    history = train(
        model, rows, loss_fn, steps, lr=3e-3, evaluate=watch, evaluate_every=10
    )
    return model.eval(), [before, *history.evaluations]


# %% [markdown]
# **Guess** before you run: 16 experts start alike, with small random routers. After a hundred steps, will they
# share the work? Three seeds, about fifteen seconds.

# %%
steps = runtime.steps(full=100, quick=20)
switch = partial(
    MixtureOfExperts,
    experts=Experts(16, 1, 96),
    route=partial(route, renormalise=False),
)
left_alone = [trained(seed, steps, mlp=switch) for seed in (0, 1, 2)]


def evenness(runs):
    return [[note["evenness"] for note in notes] for _, notes in runs]


marks = [note["step"] for note in left_alone[0][1]]
plots.entropies(marks, {"left alone": evenness(left_alone)})

# %% [markdown]
# They begin almost even, and within ten steps nearly everything goes to very few of them. Why? The usual
# explanation: an expert that is chosen a little more often learns a little more; so it becomes more useful; so the
# router sends it more. Whoever was not chosen gets no gradient and stays as it was. This is **collapse**. It cannot
# be the whole story, since the work spreads again later, to part of the experts: an idle expert's MLP learns
# nothing, but its row of the router does, as it stands in the softmax over all. Here is each expert's load in the
# second layer, at the end:


# %%
def loads_of(model):
    with torch.no_grad(), routings(model) as seen:
        model(held_out[:, :-1].to(device))
    return load(stacked(seen).chosen, seen[0].scores.shape[-1]).cpu()  # (layers, E)


plots.load_bars(
    {f"seed {seed}": loads_of(left_alone[seed][0])[1] for seed in (0, 1, 2)}
)

# %% [markdown]
# An idle expert is memory that is paid for and not used. And where experts sit on different machines, all wait for
# the busiest one.
#
# How bad it is depends on the conditions. With two choices for each token, or with eight experts, we saw much less
# of it in the same model. So do not expect collapse in every experiment, and do look.

# %% [markdown]
# ## A balance loss that changes nothing
#
# The same tutorial has a cure. It counts which share of the tokens visits each expert, and takes the squared
# distance from 1/E:


# %%
def published_balance(scores, chosen):
    E = scores.shape[-1]
    usage = [(chosen == e).any(dim=-1).float().mean() for e in range(E)]
    fair = torch.full((E,), 1 / E, device=scores.device)
    return (torch.stack(usage) - fair).square().mean()


z = torch.randn(24, 8, requires_grad=True)
everything_to_0 = torch.zeros(24, 1, dtype=torch.long)
print(f"collapsed router: {published_balance(z, everything_to_0):.3f}")

# %% [markdown]
# With one choice for each token that is the most it can be. So far, so good. **Guess:** we add a hundredth of it to
# the loss, as the tutorial does, and train with the same seed as before for the same first steps. How will the
# model differ from the one that was left alone?

# %%
from course_lib.moe.balancing import balanced

first_steps = 20
published = balanced(next_token_loss, 0.01, published_balance)
with_it, _ = trained(0, first_steps, published, switch)
without, _ = trained(0, first_steps, mlp=switch)
pairs = zip(with_it.parameters(), without.parameters(), strict=True)
same = [torch.equal(a, b) for a, b in pairs]
print(f"{sum(same)} of {len(same)} matrices and vectors are equal to the last bit")
loss = published_balance(z, z.topk(2).indices)
print("does the balance loss require a gradient?", loss.requires_grad)

# %% [markdown]
# Every weight is the same. (On a GPU, where sums are added in varying order, rounding may differ.) Counting has no
# gradient: a choice does not change when a score moves by a hair. Even when the loss on the screen is larger, the
# training does not notice.
#
# One more thing is wrong with it. What is its value when each of 8 experts gets exactly its share, two choices for
# each token? It should be 0.

# %%
perfect = (torch.arange(24).unsqueeze(1) + torch.arange(2)) % 8
print(published_balance(z, perfect).item(), "=", (2 / 8 - 1 / 8) ** 2)

# %% [markdown]
# With k choices for each token the shares of *tokens* sum to k, so fair is k/E, not 1/E. It is safer to count
# shares of *visits*, which sum to 1; that is what `load` does.

# %% [markdown]
# How can a count get a gradient? Switch's answer (2021): do not try. Multiply the load by something that has one:
#
# $$\mathcal{L} = E \sum_e \ell_e P_e$$
#
# $\ell_e$ is the load, a constant. (Switch calls it $f_e$; here f is an expert.) $P_e$ is the mean share that the
# router's softmax over *all* experts gives to e. Where ℓ is large, the loss pushes P down: the busy expert's scores
# fall, and the idle ones' rise. At balance it is
# $E \cdot E \cdot \frac1E \cdot \frac1E = 1$; if one expert has it all, E.

# %% [markdown]
# ### Exercise 4 · Make balance a loss with a gradient
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** $E \sum_e \ell_e P_e$, and the mean over layers or texts in front.
# - **In:** `scores` (..., N, E), `chosen` (..., N, k), `mask` (N,) or (..., N), True where a token counts, or None.
#   **Out:** a tensor with one number; gradients reach the scores.
# - **Given:** `load(chosen, E, mask)` is $\ell$, `mean_share(scores, mask)` is $P$; both (..., E).
# - **Worked value:** three tokens choose expert 0, with share 3/4, one expert 1, with 3/4. ℓ = (3/4, 1/4),
#   P = (5/8, 3/8), loss 9/8.
# - **Pitfall:** E is the width of `scores`; the mean is only over what stands in front. Do not choose again, nor
#   detach the share: it carries the gradient.

# %% [markdown]
# <details><summary>Hint 1</summary>
# E is the last size of <code>scores</code>. Both vectors have one entry for each expert, in the last dimension.
# </details>
# <details><summary>Hint 2</summary>
# Multiply the two, sum over the last dimension, take the mean of what is left, times E.
# </details>

# %% exercise="switch_loss"
from course_lib.moe.balancing import switch_loss

# %%
four = torch.tensor([[3.0, 1.0], [1.0, 3.0], [3.0, 1.0], [3.0, 1.0]]).log()
switch_loss(four, four.topk(1).indices)

# %% check="switch_loss" points=4
checks.mixture_of_experts.switch_loss(switch_loss)

# %% [markdown]
# Now with a gradient. The same three seeds, with a tenth of *your* loss added. Larger shares of it balance sooner,
# and disturb the text more; Switch's paper uses 0.01, and trains far longer.

# %%
helped_by = balanced(next_token_loss, 0.1, switch_loss)
helped = [trained(seed, steps, helped_by, switch) for seed in (0, 1, 2)]
runs = {"left alone": evenness(left_alone), "balance loss": evenness(helped)}
for alone, cured in zip(*runs.values(), strict=True):
    runtime.learned(cured[-1] > 0.85 > alone[-1], "The loss should balance")
plots.entropies(marks, runs)

# %% [markdown]
# All three recover, although they too fall at first: the pull toward a few experts is strong in the first steps.
# The loads of seed 0, before and after:

# %%
before, after = (loads_of(runs[0][0])[1] for runs in (left_alone, helped))
plots.load_bars({"left alone": before, "with the balance loss": after})

# %% [markdown]
# Did balance make the model better? **Guess,** then look at the held-out loss of the same six models.

# %%
rows = []
for name, runs_of in (("left alone", left_alone), ("balance loss", helped)):
    rows.append((name, *(f"{notes[-1]['loss']:.2f}" for _, notes in runs_of)))
Table(("held-out loss, nats", "seed 0", "seed 1", "seed 2"), rows)

# %% [markdown]
# Not after a hundred steps: it is a little worse at every seed. Perhaps because each of 16 experts now sees a
# sixteenth of the text, or because the balance loss pulls against the text. Balance does not make a model better by
# itself: it keeps alive what is to become better later, and keeps machines busy.
#
# ### One name, two losses, and a third
#
# Mixtral's balance loss, in `transformers`, has the same name and another scale: it is k at balance, and it lumps
# all layers together. What does each say of two layers that err in opposite ways, one with everything at expert 0,
# the other at expert 1?

# %%
from course_lib.moe.balancing import mixtral_loss, z_loss

left = torch.tensor([[9.0, 0.0]]).expand(10, 2)
layers = torch.stack([left, left.flip(-1)])  # (2, 10, 2)
opposite = layers.topk(1).indices
print(f"each layer by itself: {switch_loss(layers, opposite):.2f}")
print(f"all on one heap: {mixtral_loss(layers, opposite):.2f}")

# %% [markdown]
# On the heap the two errors cancel, and the loss says 1, "balanced". And since its scale is k and not 1, a
# coefficient from one paper does not carry over to another. The third loss, the **z-loss**, is the mean square of
# $\log \sum_e e^{z_e}$. It keeps the router's scores small, since a softmax of large scores is sensitive to
# rounding.

# %%
for scale in (1, 10, 100):
    print(f"scores times {scale}: z-loss {z_loss(scale * four):.1f}")

# %% [markdown]
# ### Balance without a loss
#
# A balance loss pulls the router away from what is best for the text. DeepSeek-V3 leaves the main loss alone. Each
# expert has a **bias** that is added to its score for the *choice* only, never for the weight. After each step it
# moves by a fixed amount: down if the expert did more than its share, up if less. No gradient is involved.
# (DeepSeek-V3 keeps a very small balance loss within each text besides.)

# %% [markdown]
# ### Exercise 5 · Move the bias
#
# *4 minutes · difficulty 1 of 3*
#
# - **Write** one step: an expert with more than the mean load is favoured less, one with less is favoured more.
# - **In:** `bias` (E,); `load` (E,), shares of all visits, whose mean is what is fair; `rate`. **Out:** a new bias
#   (E,), even where nothing moves; the old one stays as it is.
# - **Worked value:** bias 0, loads 0.5, 0.3, 0.2, rate 0.1: −0.1, +0.1, +0.1.
# - **Pitfall:** every step has the same size, however far off the load is; only its sign counts. An expert with
#   exactly the mean load keeps its bias.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Fair is the mean of the loads, 1/E. Which sign has fair minus load for an expert that does too much?
# </details>
# <details><summary>Hint 2</summary>
# A tensor's method <code>sign()</code> gives −1, 0 or 1 for each entry.
# </details>

# %% exercise="update_bias"
from course_lib.moe.balancing import update_bias

# %%
update_bias(torch.zeros(3), torch.tensor([0.5, 0.3, 0.2]), rate=0.1)

# %% check="update_bias" points=2
checks.mixture_of_experts.update_bias(update_bias)

# %% [markdown]
# We write it into a loss function: run the model, then move the biases. It returns the loss of the text untouched.
# **Guess:** will it wake all experts faster than the balance loss, or more slowly?

# %%
from course_lib.moe.layer import routers


def steered(model, ids):
    with routings(model) as seen:
        losses, mask = next_token_loss(model, ids)
    if model.training:
        for router, routing in zip(routers(model), seen, strict=True):
            done = load(routing.chosen, router.out_features)
            new = update_bias(router.selection_bias, done, rate=0.05)
            router.selection_bias.copy_(new)
    return losses, mask


biased = trained(0, steps, steered, partial(switch, biased=True))
runs = {"left alone": evenness(left_alone[:1]), "balance loss": evenness(helped[:1])}
runs["bias"] = evenness([biased])
runtime.learned(runs["bias"][0][-1] > 0.9, "The bias should balance the load")
plots.entropies(marks, runs)

# %% [markdown]
# Seed 0, three ways. Both cures work, and the bias does it without a word in the loss. Here it falls deeper at
# first and is quicker afterwards. Both speeds depend on numbers that we chose, the rate 0.05 and the factor 0.1.

# %% [markdown]
# ### Break it: one choice, renormalised
#
# Switch's weight is the share among *all* experts. What if we renormalise, as Mixtral does, but with k = 1?
# **Guess** what happens to the router's gradient.

# %%
for renormalise in (True, False):
    layer = MixtureOfExperts(
        shape, Experts(16, 1, 96), route=partial(route, renormalise=renormalise)
    )
    layer(torch.randn(1, 50, 64)).square().sum().backward()
    largest = layer.router.weight.grad.abs().max().item()
    print(f"renormalise={renormalise}: largest gradient of the router {largest:.1e}")
    assert (largest == 0) == renormalise

# %% [markdown]
# Exactly 0. The softmax of a single number is 1, whatever the number. So the text teaches the router nothing, for
# ever, and no error is raised.

# %% [markdown]
# ## At equal work, is it better?
#
# That was the promise: more weights for the same work. We compare a dense model with a mixture of 16 experts, half
# as wide each, of which a token visits two. For each token both do the same multiplications, but for the router's.
# **Guess:** which has the lower loss after the same text, and how much more must it store? (The picture shows the
# loss of the text alone. The progress line of the mixture also contains a tenth of its balance loss.)

# %%
longer = runtime.steps(full=300, quick=20)
two_of_16 = partial(MixtureOfExperts, experts=Experts(16, 2, 48), route=route)
dense, dense_notes = trained(0, longer)
mixed, mixed_notes = trained(0, longer, helped_by, two_of_16)
print(f"stored: {dense.parameter_count:,} and {mixed.parameter_count:,} parameters")
for name, block in (("dense", dense.blocks[0].mlp), ("mixture", mixed.blocks[0].mlp)):
    print(f"{name}: {operations(block, tokens=64):,.0f} operations for each token")
curves = {
    "dense": [note["loss"] for note in dense_notes],
    "2 of 16 experts": [note["loss"] for note in mixed_notes],
}
lower = curves["2 of 16 experts"][-1] < curves["dense"][-1]
runtime.learned(lower, "The mixture should have the lower loss")
others = runtime.recorded("04_mixture_of_experts")
plots.equal_compute([note["step"] for note in dense_notes], curves, others)

# %% [markdown]
# The mixture is ahead, with more than three times the weights to store and, but for the router's few per cent, the
# same operations for each token. The gap is small, about as large as the difference between seeds. So look at the
# faint lines, three more seeds that were recorded: the mixture is ahead in each. Equal operations are not equal
# seconds: compare the times in the two progress lines. How large the gap is with real text and large models, papers
# measure. That it is paid in memory, you have seen.

# %% [markdown]
# ## What do the experts divide among themselves?
#
# "A maths expert, a coding expert": that is how mixtures are often explained. Let us look. We take sentences of
# three sorts, stories, questions about people, and sums, and sort their tokens in two ways: by *kind of token*, and
# by *sort of text*. Each row of the picture shows where the tokens of that row go.


# %%
KINDS = ("marks", "numbers", "capitals", "other words", "insides of words")
SORTS = {
    "stories": corpus.a_story,
    "questions": corpus.a_fact_question,
    "sums": corpus.a_quiz,
}


def kind_of(token):
    piece = tokenizer.decode([token])
    bare = piece.strip()
    if bare.isdigit():
        return KINDS.index("numbers")
    if not any(letter.isalpha() for letter in bare):
        return KINDS.index("marks")
    if bare[0].isupper():
        return KINDS.index("capitals")
    return KINDS.index("other words" if piece.startswith(" ") else "insides of words")


# %% [markdown]
# **Guess** which half of the picture has the darker spots, the kinds of tokens or the sorts of texts.

# %%
from course_lib.moe.balancing import load_by_kind

samples = [rows_of(read(200, 2, {sort: 1.0}), 32, 64)(0) for sort in SORTS.values()]
ids = torch.cat(samples)[:, :-1]
kinds = torch.tensor([kind_of(token) for token in ids.flatten().tolist()])
sorts = torch.arange(len(SORTS)).repeat_interleave(32 * 64)
with torch.no_grad(), routings(mixed) as seen:
    mixed(ids.to(device))
visited = [routing.chosen.cpu() for routing in seen]
by_kind = [load_by_kind(layer, kinds, 16) for layer in visited]
by_sort = [load_by_kind(layer, sorts, 16) for layer in visited]
plots.who_goes_where(by_kind, KINDS, by_sort, SORTS)

# %% [markdown]
# The darkest spot is among the kinds: numbers have their favourite expert. And sums? Their row looks like numbers
# and marks mixed, since that is what sums consist of. But stories have favourites too. So which does the router
# know, the sort of text or the token? We ask by how many nats each thing narrows down the expert, as in lesson 03's
# entropy. 16 even experts leave ln 16 = 2.77 nats open. **Guess** the order of the four rows. In the last one the
# tokens are shuffled, so it shows what chance alone would give.


# %%
def narrowed(groups, chosen):
    table = load_by_kind(chosen, groups, 16)  # (groups, E)
    often = torch.bincount(groups) / len(groups)
    left = torch.special.entr(table).sum(dim=-1)
    return (torch.special.entr(often @ table).sum() - often @ left).item()


single = ids.flatten()
known = {"sort of text": sorts, "kind of token": kinds, "token": single}
known["token, shuffled"] = single[torch.randperm(len(single))]
rows = []
for name, groups in known.items():
    rows.append((name, *(f"{narrowed(groups, layer):.2f}" for layer in visited)))
Table(("what is known", "nats, layer 0", "nats, layer 1"), rows)

# %% [markdown]
# The token itself says by far the most. Part of this must be so: a token determines its kind, so it cannot say
# less; and among hundreds of groups chance alone gives what the last row shows. (With three or five groups chance
# gives almost nothing.) Still, five kinds say more than three sorts. A "maths expert" is, as far as we can see
# here, an expert for digits. Mixtral's paper looked for experts by subject in its large model and found little, but
# clear patterns of syntax. And there is a choice for each token and each layer, not one for a question.

# %% [markdown]
# ## Full buffers
#
# Hardware likes rectangles. When every expert sits on a machine of its own, each is given the same number of
# places, its **capacity**: the fair number of visits times a *capacity factor*. Whoever comes when the places are
# taken is **dropped**: that expert adds nothing to the token, and the stream carries it on as it was. So we need to
# know who came when.

# %% [markdown]
# ### Exercise 6 · Find each choice's place in the queue
#
# *8 minutes · difficulty 3 of 3*
#
# - **Write** for each choice how many came to the same expert before it. A capacity of c serves places below c.
# - **In:** `chosen` (N, k), experts' numbers from 0. A token's experts differ, and some may be in no choice. **Out:**
#   (N, k), whole numbers from 0.
# - **Worked value:** tokens choose (0, 1), (1, 0), (0, 2): their places are (0, 0), (1, 1), (2, 0).
# - **Pitfall:** each expert has one queue, for first and second choices alike. They arrive in reading order: all
#   choices of the first token, then of the second. The first in a queue has place 0.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Lay all choices in one row with <code>flatten()</code>; at the end <code>view(chosen.shape)</code> brings them back.
# </details>
# <details><summary>Hint 2</summary>
# <code>one_hot</code> makes a table with one column for each expert. A running sum down each column, <code>cumsum(dim=0)</code>, counts who has come so far, the choice itself included.
# </details>

# %% exercise="queue_places"
from course_lib.moe.dispatch import queue_places

# %%
queue_places(torch.tensor([[0, 1], [1, 0], [0, 2]]))

# %% check="queue_places" points=3
checks.mixture_of_experts.queue_places(queue_places)

# %% [markdown]
# **Guess:** with 1.25 times the fair number of places, what share of the choices is dropped by the router that was
# left alone, and by the balanced one? And with four times?

# %%
from course_lib.moe.dispatch import capacity_of


def dropped(model, factor):
    with torch.no_grad(), routings(model) as seen:
        model(held_out[:, :-1].to(device))
    chosen = stacked(seen).chosen  # (layers, N, k)
    capacity = capacity_of(chosen.shape[1], chosen.shape[2], 16, factor)
    late = torch.stack([queue_places(layer) >= capacity for layer in chosen])
    return late.float().mean().item()


factors = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
curves = {
    name: [dropped(runs[0][0], factor) for factor in factors]
    for name, runs in (("left alone", left_alone), ("balance loss", helped))
}
few_dropped = curves["balance loss"][1] < 0.1 < 0.4 < curves["left alone"][1]
runtime.learned(few_dropped, "The balanced router should drop less")
plots.dropped(factors, curves)

# %% [markdown]
# Here balance pays at once. With 1.25 times the places the balanced router drops about one choice in twenty, the
# other more than half; and even with four times as many it still drops some.
#
# Dropping has another price, which is easy to overlook. Somebody's place in the queue depends on who came before,
# and that may be a *stranger's* text in the same batch. Another popular way to keep loads even is worse: in
# **expert choice** each expert takes the tokens that like it best, from all texts and all positions. **Guess** what
# lesson 01's leak detector says of each.

# %%
import copy

from course_lib.moe.dispatch import mix_in_buffers
from course_lib.moe.routing import expert_choice


def changed(model, route=None, mix=None):
    model = copy.deepcopy(model)
    for block in model.blocks:
        block.mlp.router.route = route or block.mlp.router.route
        block.mlp.mix = mix or block.mlp.mix
    return model


# %%
ways = {
    "Top 2, no limit": changed(mixed),
    "Capacity factor 1.0": changed(mixed, mix=partial(mix_in_buffers, factor=1.0)),
    "Expert choice": changed(mixed, route=expert_choice),
}
text = held_out[0, :16].to(device)
other = (text + 1) % 768
plots.leaks({name: influence(way, text, other).cpu() for name, way in ways.items()})

# %% [markdown]
# Only the first leaves everything above the diagonal white. Expert choice looks into the future: whether an expert
# takes a token depends on tokens that are not written yet. Such a model cannot write a text the way it was trained.
#
# Careful with the middle picture: the detector asks sixteen altered texts in *one batch*. Places go in reading
# order, so within one text nobody yields to a later token. What moves here comes from the neighbours, with whom a
# text shares the queues. We change all texts but the last:

# %%
texts = held_out[:8, :16].to(device)
strangers = torch.cat([(texts[:7] + 1) % 768, texts[7:]])
for name, way in ways.items():
    with torch.no_grad():
        moved = (way(texts)[7] - way(strangers)[7]).abs().max()
    print(f"{name}: the last text's logits move by {moved:.2f}")

# %% [markdown]
# So the answer to your question may depend on what others asked at the same moment. This is one reason why a served
# model may give two answers to one prompt at temperature 0. Newer models (DeepSeek-V3 among them) drop nothing.

# %% [markdown]
# ## What is stored, and what is used
#
# "Mixtral 8x7B": eight experts, seven billion. **Guess** how many parameters it has in all. 56 billion?

# %% [markdown]
# ### Exercise 7 · Count all and active parameters
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** the numbers in one mixture layer's matrices: its experts and its router, nothing else.
# - **In:** `config`, the model's shape; `experts` with `count`, `chosen`, `shared` and `hidden` (the width inside
#   one expert); `active`. **Out:** a whole number; with `active` only what one token uses.
# - **Given:** `mlp_matrices(config)` counts one MLP of `config.hidden` inside, in two matrices or three;
#   `replace(config, hidden=10)` has another width there.
# - **Worked value:** width 8, experts of 10, 2 of 8 chosen: 1,984 in all, 544 active.
# - **Pitfall:** shared experts come on top of `count`, and every token uses them. The router, width × `count`,
#   scores *all* experts for every token.

# %% [markdown]
# <details><summary>Hint 1</summary>
# How many experts are counted, once for storing and once for one token?
# </details>
# <details><summary>Hint 2</summary>
# For storing count all, for one token those that it visits; the shared ones come on top, and then the router, once.
# </details>

# %% exercise="expert_matrices"
from course_lib.scaling.parameters import expert_matrices

# %%
small, ten = Config(width=8), Experts(count=8, chosen=2, hidden=10)
expert_matrices(small, ten), expert_matrices(small, ten, active=True)

# %% check="expert_matrices" points=3
checks.mixture_of_experts.expert_matrices(expert_matrices)

# %% [markdown]
# Now published models, by their shapes. Attention, embedding and norms are counted by lesson 03's functions, the
# mixtures by yours. DeepSeek-V3 keeps ordinary MLPs in its first three layers.

# %%
from course_lib.scaling import parameters
from course_lib.scaling.published import PUBLISHED


def count(model, active=False):
    config, experts, latent = model.config, model.experts, model.latent
    one_layer = expert_matrices(config, experts, active)
    mixtures = (config.layers - experts.dense) * one_layer
    attention = config.layers * parameters.attention_matrices(config, latent)
    ordinary = experts.dense * parameters.mlp_matrices(config)
    both_ends = 2 * parameters.embeddings(config)  # embedding, and a head of its own
    vectors = parameters.vectors(config, latent)
    return mixtures + attention + ordinary + vectors + both_ends


# %%
for name in ("Mixtral-8x7B", "DeepSeek-V3"):
    model = PUBLISHED[name]
    stored, active = count(model) / 1e9, count(model, active=True) / 1e9
    print(f"{name}: {stored:.2f} billion, {active:.2f} active")
    print(f"  printed: {model.printed}, {model.printed_active} active")
    print(f"  {model.experts}")

# %% [markdown]
# Not 56: the eight experts are MLPs, and everything else is there once. The active parameters of DeepSeek-V3 are a
# matter of convention: do the embedding and the head count? **Guess** which count rounds to the printed 37.

# %%
deepseek = PUBLISHED["DeepSeek-V3"]
one_end = parameters.embeddings(deepseek.config)
for name, left_out in (("both", 0), ("the head only", 1), ("neither", 2)):
    active = count(deepseek, active=True) - left_out * one_end
    print(f"{name}: {active / 1e9:.2f} billion active")

# %% [markdown]
# The head only: every token is multiplied with it, while of the embedding one row is looked up. (But convention it
# is.)
#
# It is often said that such a model is "cheap to run". Cheap in what? **Guess** for Mixtral: the compute of which
# dense model, and the memory of which?

# %%
rows = []
for name in ("LLaMA-13B", "Mixtral-8x7B", "Llama-2-70B", "DeepSeek-V3"):
    model = PUBLISHED[name]
    memory, work = 2 * model.count() / 1e9, 2 * model.count(active=True) / 1e9
    rows.append((name, f"{memory:,.0f}", f"{work:,.0f}"))
Table(("model", "GB in 16 bits", "billion operations a token"), rows)

# %% [markdown]
# Mixtral computes like a model of 13 billion and needs the memory of one of 47. All experts must be there, since
# the next token may want any of them. DeepSeek-V3 does about half the work of Llama-2-70B for a token, with almost
# ten times its memory.

# %% [markdown]
# And when it serves? When a model writes, a step takes as long as the *reading* of the weights that it needs. One
# token reads k experts in each layer; sixteen tokens of sixteen users read up to 16 k. If tokens choose evenly and
# independently, an expert is left out by all N with chance $(1 - k/E)^N$. **Guess** before you move the control:
# from how many users on does a step read nearly all of Mixtral's eight experts? Of 256?

# %%
from course_lib.moe.dispatch import experts_read


def reading(power):
    return plots.experts_read(int(2**power), min(8, max(2, int(2**power) // 32)))


for users in (1, 4, 16, 64):
    of_8, of_256 = experts_read(users, 2, 8), experts_read(users, 8, 256)
    who = "1 user reads" if users == 1 else f"{users} users read"
    print(f"{who} {of_8:.1f} of 8 experts, {of_256:.0f} of 256")
power = controls.slider(3, 3, 8, 1, "experts: 2 to the power of")
controls.explore(reading, power=power)

# %% [markdown]
# (With 128 experts a token visits four in this picture, with 256 eight, as in DeepSeek-V3.) Nine experts in ten are
# read by 9 users of Mixtral, and by about 73 with eight of 256. A single user gains what was promised. A middling
# batch reads nearly everything, and each expert that is read serves very few tokens. Only very large batches, over
# many machines, make it worth its memory again.

# %% [markdown]
# ## Begin with a finished model
#
# A mixture need not start from nothing. **Upcycling** takes a dense model, makes every expert a copy of its MLP,
# and adds a new router. **Guess:** how far are the new model's logits from the old one's, with a router that was
# drawn at random?

# %%
from course_lib.moe.upcycling import upcycle

dense_base, _ = pretrained.load("base", device)
four_times = Experts(count=4, chosen=2, hidden=dense_base.config.hidden)
grown = upcycle(dense_base, four_times, route=route, mix=mix_by_masks)
with torch.no_grad():
    apart = (grown(texts) - dense_base(texts)).abs().max()
assert apart < 1e-4
print(f"{dense_base.parameter_count:,} parameters became {grown.parameter_count:,}")
print(f"the logits differ by {apart:.0e}")

# %% [markdown]
# By rounding only. All experts say the same, and weights that sum to 1 leave it as it is. For the same reason the
# router learns nothing in its first step, while every expert already has a gradient, from its own tokens.

# %%
grown.zero_grad()
next_token_loss(grown, texts)[0].mean().backward()
mlp = grown.blocks[0].mlp
print(f"router: largest gradient {mlp.router.weight.grad.abs().max():.0e}")
for e, expert in enumerate(mlp.experts):
    print(f"expert {e}: length of its gradient {expert.up.weight.grad.norm():.2f}")

# %% [markdown]
# ## The same in the libraries
#
# You have compared one layer. `transformers` can build the whole of Mixtral on the device `meta`, where tensors
# have shapes and no numbers; and its balance loss should be your switch loss of one heap, times k.

# %%
from transformers import MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

with torch.device("meta"):
    whole = MixtralForCausalLM(MixtralConfig())
counted = count(PUBLISHED["Mixtral-8x7B"])
print(f"{whole.num_parameters():,} parameters; by your count {counted:,}")
assert whole.num_parameters() == counted

# %%
layers = torch.randn(3, 40, 8)  # (layers, N, E)
heap = layers.flatten(0, 1)
yours = 2 * switch_loss(heap, heap.topk(2).indices)
published_loss = load_balancing_loss_func(tuple(layers), num_experts=8, top_k=2)
print(f"yours {yours:.6f}, Mixtral's {published_loss:.6f}")
assert torch.isclose(yours, published_loss, rtol=1e-5)

# %% [markdown]
# Both agree to the last digit that can be asked for. `MixtralConfig` calls our k `num_experts_per_tok`, our E
# `num_local_experts`, and has the balance loss switched off (`output_router_logits=False`): whoever fine-tunes such
# a model must know.
#
# What production adds: experts on many machines, with messages between them that must not hold anyone up; kernels
# for pieces of unequal length; limits on how many machines one token may visit; **shared experts**, which every
# token visits besides its own, as in DeepSeek-V3.
#
# ## Reflect

# %% [markdown] reflect="why_not_always" points=1
# **1.** A friend has one GPU of 40 GB and wants to chat with a model alone. He can choose between a dense model of
# 13 billion parameters and Mixtral, with 47 billion and 13 active. "Same speed, better answers: Mixtral." What do
# you answer, and for whom would his reasoning hold?
#
# A good answer: Compute per token is about the same, memory is not: all 47 billion must be stored, about 93 GB in
# 16 bits, since the next token may choose any expert; the dense model takes 26. Fetching experts from elsewhere is
# slow. It holds where memory is plentiful and compute scarce: a large service with big batches.

# %% [markdown] reflect="is_it_balanced" points=1
# **2.** A colleague adds a balance loss to her training. The total loss is 0.01 higher than before, the load of the
# experts is unchanged. Name two reasons that this lesson has shown, and one test for each.
#
# A good answer: The loss may be made of counts and have no gradient: ask for `requires_grad`, or train some steps
# with and without and compare weights. The coefficient may be too small, or on another scale (Mixtral's k, Switch's
# 1): print the gradient of the router from both parts. Layers may be thrown on one heap, so that opposite errors
# cancel: look at each layer's load. One renormalised choice leaves the router no gradient.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("04_mixture_of_experts")

# %% [markdown]
# ## You can now
#
# - write a mixture of experts that equals its definition, and a test that a silent mistake does not survive;
# - tell a collapsed router and balance it with a loss that has a gradient or with a bias that needs none;
# - count what a mixture stores and what it uses, and say when it is cheap.
#
# **Read on:** *Outrageously Large Neural Networks* ([arXiv 1701.06538](https://arxiv.org/abs/1701.06538)) is where
# the layer comes from; *Switch Transformers* ([2101.03961](https://arxiv.org/abs/2101.03961)) has the balance loss
# and capacity; *Mixtral of Experts* ([2401.04088](https://arxiv.org/abs/2401.04088)) looks at where its tokens
# go; *DeepSeek-V3* ([2412.19437](https://arxiv.org/abs/2412.19437)) balances with a bias; *Sparse Upcycling*
# ([2212.05055](https://arxiv.org/abs/2212.05055)) begins with a finished model.
#
# **Next:** lesson 05 teaches the course's model to answer: supervised fine-tuning, and cheap adapters.
