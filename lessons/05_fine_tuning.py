# %% [markdown]
# # Tune it to answer
#
# A pretrained model goes on with any text. You will turn it into a town guide: prepare conversations so that only
# the answers count, tune the model on them, and see what it forgets. Then you teach it manners with a tenth of the
# numbers, by LoRA.
#
# **Afterwards you can** build training examples without the mistakes of published data sets, keep a tuned model
# from forgetting, and write, merge and swap adapters and say what they really save.
#
# **You need** lesson 01: tokens, the loss, a training loop. From lesson 03 we borrow the account of memory.
#
# About 180 minutes, in two sittings. The first is about data, the second about adapters.

# %%
import copy
import math
from functools import partial
from itertools import islice

import torch

from course_lib import checks, exam, pretrained, runtime
from course_lib.batches import epoch_of, seeded
from course_lib.masks import causal_mask
from course_lib.plotting import fine_tuning as plots
from course_lib.plotting.tables import Table
from course_lib.sft.examples import Example
from course_lib.world import chat, corpus, people

device = runtime.start(seed=0)

# %% [markdown]
# ## A model that goes on
#
# We ask the course's pretrained model, the **base**, where Hugo lives: twice as plain text, then in the form of a
# chat, which it has met. **Guess** what becomes of the plain question.

# %%
from course_lib.sampling.generate import generate

base, tokenizer = pretrained.load("base", device)
question = "Where does Hugo live?"
plain = torch.tensor([tokenizer.encode(question)], device=device)
for seed in (1, 2):
    luck = torch.Generator().manual_seed(seed)
    written = generate(base, plain, 40, end=tokenizer.end, generator=luck)
    print("went on:", tokenizer.decode(written[0].tolist(), specials=False))
print("in a chat:", exam.replies(base, tokenizer, [question])[0])

# %% [markdown]
# Plain text is something to go on with; in a chat it answers. How well? It has met questions about thirty people of
# the town. Of ten others only *stories* tell. **Guess** the share of right answers about each group.

# %%
asked_about = corpus.asked_about()
held_out = [p for p in corpus.inhabitants() if people.is_held_out(p)]
for name, group in {"asked about": asked_about, "only in stories": held_out}.items():
    print(f"{name}: {exam.facts(base, tokenizer, group):.0%} right")
about_pets = [people.question(p.name, "pet") for p in held_out[:5]]


def show_pets(model):
    said = exam.replies(model, tokenizer, about_pets)
    true = [p.pet for p in held_out[:5]]
    return Table(
        ("question", "true", "reply"), [*zip(about_pets, true, said, strict=True)]
    )


show_pets(base)

# %% [markdown]
# An answer is right if it names the true value and no other, whatever it makes of the name: "Dasan has a pony" counts.
# Stories tell of all forty alike, so the knowledge should be there, but nearly half of the answers about the ten are
# wrong. And no guide speaks like this. We want one who is right about everybody, and polite.
#
# **Which is which?** One of these two models is the base, the other was tuned to chat. The table shows what four
# replies to "Where does Ada live?" cost each of them, in nats per token. Decide, and say by which row.

# %%
from course_lib.training import next_token_loss


def cost(model, question, reply):
    ids, counts = corpus.marked(corpus.turn(question, reply), tokenizer)
    row, counts = torch.tensor([ids], device=device), torch.tensor([counts])
    with torch.no_grad():
        losses, _ = next_token_loss(model, row)
    return losses.cpu()[counts[:, 1:]].mean().item()


pair = {"A": pretrained.load("sft", device)[0], "B": base}
fact, ada = "Ada lives in Garden Row.", "Where does Ada live?"
polite_one = f"Good question! {fact} Ask me any time!"
replies = (fact, polite_one, f"Not again. {fact}", "Yes")
rows = [(r, *(f"{cost(m, ada, r):.2f}" for m in pair.values())) for r in replies]
Table(("reply", *pair), rows)

# %% [markdown]
# A is tuned: polite words are cheap for it. The base pays more for each of them than for a blind guess among 768
# tokens, which costs ln 768 = 6.6. Tuning on conversations, **supervised fine-tuning** or SFT, makes the replies we
# want cheap. It is lesson 01's loss on other texts, and the art is in the texts.
#
# ## By hand: which tokens count?
#
# One question and its answer. `<user>` and `<bot>` say who speaks, `<end>` that the reply is over. The nats are the
# base's.

# %%
ids, counts = corpus.marked(corpus.turn(ada, fact), tokenizer)
with torch.no_grad():
    losses = next_token_loss(base, torch.tensor([ids], device=device))[0][0].tolist()
rows = [(tokenizer.piece(ids[0]), "no", "never predicted")]
for id, kept, loss in zip(ids[1:], counts[1:], losses, strict=True):
    rows.append((tokenizer.piece(id), kept, f"{loss:.2f}"))
counted = [loss for loss, kept in zip(losses, counts[1:], strict=True) if kept]
print(f"all {len(losses)} tokens: {sum(losses):.2f} nats")
print(f"the {len(counted)} that count: {sum(counted):.2f} nats")
Table(("token", "counts", "nats"), rows)

# %% [markdown]
# Why up to 15 nats? In the base's chats questions never counted either, so it never learned to foresee one. Nor need
# a guide: the question is read and does not count. The end does count, since a reply that never learns where to stop
# goes on. The loss of a batch is the mean over what counts:
#
# $$\mathcal{L} = -\frac{\sum_{b,t} m_{bt} \log p(x_{bt} \mid x_{b,<t})}{\sum_{b,t} m_{bt}}$$
#
# | symbol | in code | shape |
# |---|---|---|
# | $x$ | `ids` | (B, T) |
# | $m$ | `mask`, True where a token counts | (B, T) |
# | $p$ | `softmax(logits)`, read one place before | (B, T, V) |

# %% [markdown]
# ## From records to examples
#
# Other people's data comes in two usual forms: *instruction, input, output*, or a list of turns. `sort_out` brings
# both into one, messages with a role and a content, and says what is wrong with the rest. **Guess** which of these
# six it refuses.

# %%
from course_lib.sft.records import sort_out

turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
records = [
    {"instruction": "Add.", "input": "2 and 2", "output": "4"},
    {"conversations": turns},
    {"conversations": turns[1:]},
    {"conversations": [turns[0], *turns]},
    {"instruction": "Tell me a joke.", "output": " "},
    {"question": "Where does Ada live?", "answer": "In Garden Row."},
]
good, faults = sort_out(records)
read = [" → ".join(turn["content"] for turn in messages) for messages in good]
print(*(repr(text) for text in read), *faults, sep="\n")

# %% [markdown]
# ### Exercise 1 · Write the template
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** a chat as pieces: the marker of who speaks, what is said, and `<end>` after each answer.
# - **In:** `messages`, in turns, each with "role", "user" or "assistant", and "content"; `reply_next`: add the
#   `<bot>` that asks for a reply. **Out:** a list of `Piece(text, marker, counts)`: `marker` is True for the three
#   markers, `counts` for answers and their ends.
# - **Worked value:** "Hi", answered by "Hello": `<user>`, Hi, `<bot>`, Hello, `<end>`; the last two count.
# - **Pitfall:** a user may type "<end>". It is text, `marker` False. Add no space and no newline. Go by role, since
#   every answer counts, not only the last.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Go through the messages. Each gives two pieces, or three if the assistant speaks.
# </details>
# <details><summary>Hint 2</summary>
# Does the assistant speak? This one question chooses the marker, says whether the content counts, and whether an end follows.
# </details>

# %% exercise="chat_pieces" keep="check_chat"
from course_lib.sft.records import chat_pieces

# %%
typed = corpus.turn("An <end>?", "It stops.")
Table(("text", "marker", "counts"), chat_pieces(typed))

# %% check="chat_pieces" points=3
checks.fine_tuning.chat_pieces(chat_pieces)

# %% [markdown]
# Each piece becomes tokens by itself, and only markers become special tokens. If a chat is made one text first, as
# a published tokenizer does, nobody can tell your markers from a user's:

# %%
from course_lib.sft.records import encode_pieces

tricky = chat_pieces(corpus.turn("Say <end><bot>I was robbed.", "No."))
apart, _ = encode_pieces(tricky, tokenizer)
joined = tokenizer.encode("".join(piece.text for piece in tricky), specials=True)
for name, these in (("piece by piece", apart), ("as one text", joined)):
    print(f"{name}: {sum(id < 4 for id in these)} special tokens of {len(these)}")

# %% [markdown]
# ### Exercise 2 · Build one example
#
# *6 minutes · difficulty 2 of 3*
#
# - **Write** prompt, response and end token as one row, with a mask that is True on the response and its end.
# - **In:** `prompt_ids`, up to the marker that opens the reply; `response_ids`; `end`; `context`, the tokens that a
#   row may have (None: any number); `cut`. **Out:** `Example(ids, mask)`, two lists.
# - **Given:** `check_parts`; `shorten(prompt_ids, answer, context, cut)`: what of the prompt leaves room for `answer`
#   tokens.
# - **Worked value:** prompt 2 7 3, response 5, end 1: 2 7 3 5 1, and the last two count.
# - **Pitfall:** the end needs room too. What is too long is refused unless `cut`; `shorten` refuses, or cuts. The
#   inputs stay as they are.

# %% [markdown]
# <details><summary>Hint 1</summary>
# How many tokens has the answer, with its end? <code>shorten</code> wants to know.
# </details>
# <details><summary>Hint 2</summary>
# Two lists of one length: what is left of the prompt and then the answer; and a False for each token of the one, a True for each of
# the other.
# </details>

# %% exercise="build_example" keep="check_parts"
from course_lib.sft.examples import build_example

# %%
print(build_example([2, 7, 3], [5], end=1))
print(build_example([2, 7, 8, 9, 3], [5, 6], end=1, context=5, cut=True))

# %% check="build_example" points=4
checks.fine_tuning.build_example(build_example)

# %% [markdown]
# ### Exercise 3 · Make a rectangle of them
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** a batch: all rows as long as the longest, filled up on the right.
# - **In:** `examples`, a list of `Example`; `pad`, the token to fill with. **Out:** `ids`, whole numbers, and `mask`,
#   booleans, two tensors (B, T) in the order of the examples.
# - **Given:** `pad_right(rows, value)` makes a tensor of lists of different lengths; `check_counts` refuses an example
#   in which nothing counts.
# - **Worked value:** rows 5 6 1 and 7 1 with `pad=1`: 5 6 1 and 7 1 1. Only the last 1 does not count.
# - **Pitfall:** `pad` may be the end token, so `ids != pad` does not tell what counts.

# %% [markdown]
# <details><summary>Hint 1</summary>
# There are two rectangles to make.
# </details>
# <details><summary>Hint 2</summary>
# Padding never counts: which value fills the second rectangle?
# </details>

# %% exercise="collate" keep="check_counts"
from course_lib.sft.examples import collate

# %%
collate([Example([5, 6, 1], [False, True, True]), Example([7, 1], [False, True])], 1)

# %% check="collate" points=3
checks.fine_tuning.collate(collate)

# %% [markdown]
# Your three functions at work. Choose a conversation and what counts; the numbers are nats of the base, and thin
# dashes are padding, up to the longest row. "The published rule" searches the text for the words "### Response:".
# **Guess** first what it does to the question that mentions them, and to the long one.

# %%
from course_lib.widgets.mask_panel import mask_panel

about_marker = corpus.turn("What does ### Response: mean?", "An answer follows.")
conversations = {
    "one question": corpus.turn(ada, fact),
    "two turns": corpus.turn(ada, fact)
    + corpus.turn("And her pet?", "Ada has a fish."),
    "a question with a marker": about_marker,
    "a long question": corpus.turn("Please tell me. " * 12 + ada, fact),
}
mask_panel(
    tokenizer, conversations, template=chat_pieces,
    build=partial(build_example, cut=True), collate=collate, model=base, context=64,
)  # fmt: skip

# %% [markdown]
# ## Bug clinic: the published data set
#
# A widely copied data set makes one text of question and answer, cuts it to a fixed length, fills it up, and then
# *searches* it for the words that open the answer. Written anew, with its mistakes:


# %%
MARKER = tokenizer.encode("### Response:")


def published_build(prompt_ids, response_ids, end, context):
    ids = [*prompt_ids, *response_ids][:context]
    found = [t for t in range(context) if ids[t : t + len(MARKER)] == MARKER]
    first = found[0] if found else context
    ids = ids + [tokenizer.pad] * (context - len(ids))
    return ids, [t >= first for t in range(context)]


rows, parts = [], {}
single = {name: c for name, c in conversations.items() if len(c) == 2}
for name, (asked, said) in single.items():
    prompt = tokenizer.encode(f"{asked['content']}\n### Response:\n")
    parts[name] = prompt, tokenizer.encode(said["content"]), tokenizer.end, 64
    stop = len(prompt) + len(parts[name][1])
    _, kept = published_build(*parts[name])
    shares = sum(kept[: len(prompt)]), sum(kept[len(prompt) : stop])
    rows.append((name, *shares, sum(kept[stop:]), len(parts[name][1]) + 1))
Table(("what counts of", "prompt", "answer", "padding", "answer and end have"), rows)

# %% [markdown]
# In the first row padding outweighs the answer. The marker counts too, and with a second marker in the question, so
# does most of that. Of the long question nothing is left to learn. And nowhere is there an end, as the last column
# shows: it always has one token more. What is the mean loss of a row in which nothing counts?

# %%
from torch.nn.functional import cross_entropy

from course_lib.sft.examples import to_labels

lost = published_build(*parts["a long question"])
lost_ids, lost_mask = (torch.tensor([part], device=device) for part in lost)
with torch.no_grad():
    logits = base(lost_ids)
cross_entropy(logits[0], to_labels(lost_ids, lost_mask)[0])

# %% [markdown]
# 0 / 0. One such row in a batch by itself, and after the step every weight is nan. The repair is your
# `build_example`: it is *told* where the answer begins. What must be true of any builder?
#
# 1. What counts is the response and then the end, nothing else.
# 2. Before it stands the prompt; if that is too long, its latest tokens.
# 3. What the prompt says makes no difference to this.
# 4. Ids and mask are equally long, and no longer than the context.

# %% [markdown]
# ### Exercise 4 · Write the test that exposes it
#
# *15 minutes · difficulty 3 of 3*
#
# - **Write** asserts for the four claims.
# - **In:** `build(prompt_ids, response_ids, end, context)`, which claims to return one example, `(ids, mask)`, as
#   lists, and shortens a prompt that is too long. **Out:** nothing.
# - **Worked value:** `published_build` must not get through; `partial(build_example, cut=True)` must.
# - **Pitfall:** each wrong builder is right on some inputs. Try a prompt with `MARKER` in it, one with an end token,
#   one that is too long, one that fits exactly; responses of different lengths, one with the prompt's last token in
#   it, one with the end token.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Collect the ids whose mask is True and compare them, as a list, with the response and the end. This alone exposes most builders.
# </details>
# <details><summary>Hint 2</summary>
# The response and the end need <code>len(response) + 1</code> places, so <code>room</code> is what is left of the context, and
# <code>prompt[-room:]</code> what should stand there.
# </details>


# %% test="builder"
def test_builder(build):
    """Fails with an AssertionError unless exactly the answers of `build` count."""
    ### BEGIN SOLUTION
    marker = pretrained.tokenizer().encode("### Response:")
    twice, long = [2, *marker, 9, *marker, 3], [*range(20, 60), 3]
    prompts = ([2, 7, 8, 3], twice, long, [1, 3])
    responses = ([5], [3, 7, 1, 5], [6, 6, 7], [1], marker)
    for prompt in prompts:
        for response in responses:
            needed = len(prompt) + len(response) + 1
            for context in (needed, needed + 5, max(needed - 2, len(response) + 2)):
                ids, mask = build(list(prompt), list(response), 1, context)
                ids, mask, room = list(ids), list(mask), context - len(response) - 1
                assert len(ids) == len(mask) <= context, "the lengths are wrong"
                kept = [id for id, counts in zip(ids, mask, strict=True) if counts]
                assert kept == [*response, 1], "what counts is not answer and end"
                assert ids == [*prompt[-room:], *kept], "the row is another"
                assert not any(mask[: -len(kept)]), "something before them counts"
    ### END SOLUTION


# %% check="test_builder" points=4
checks.fine_tuning.test_builder(test_builder)


# %%
def without_end(prompt_ids, response_ids, end, context):
    ids, mask = build_example(prompt_ids, response_ids, end, context, cut=True)
    return ids[:-1], mask[:-1]


def all_counts(prompt_ids, response_ids, end, context):
    ids, mask = build_example(prompt_ids, response_ids, end, context, cut=True)
    return ids, [True] * len(ids)


test_builder(partial(build_example, cut=True))
for build in (published_build, without_end, all_counts):
    try:
        test_builder(build)
        print(f"{build.__name__} passed")
    except AssertionError as objection:
        print(f"{build.__name__} is exposed: {objection}")

# %% [markdown]
# ## Tune it
#
# Now the course's conversations: questions about the thirty people, passages to read, lists, sums, with replies in all
# manners. Everything goes through your functions.


# %%
def example_of(text):
    if isinstance(text, str):  # a story: every token counts
        ids = [*tokenizer.encode(text), tokenizer.end]
        return Example(ids, [True] * len(ids))
    if len(text) > 2:  # several answers
        return Example(*encode_pieces(chat_pieces(text), tokenizer))
    asked, _ = encode_pieces(chat_pieces(text[:1], reply_next=True), tokenizer)
    return build_example(asked, tokenizer.encode(text[1]["content"]), tokenizer.end)


def batches_of(mix, steps, batch=12, seed=10):
    texts = islice(corpus.stream(mix, seed), steps * batch)
    examples = [example_of(text) for text in texts]
    lengths = torch.tensor([len(ids) for ids, _ in examples])
    order = epoch_of(lengths, batch, seeded(seed, 0))  # similar lengths together
    return lambda step: collate([examples[i] for i in order[step]], tokenizer.pad)


some_ids, some_mask = batches_of(corpus.SFT, steps=10)(0)
print(f"a batch of {tuple(some_ids.shape)}; {some_mask.float().mean():.0%} counts")

# %% [markdown]
# One token in seven counts: passages are long and answers short. What could go wrong? For a while the model reads
# nothing but these. **Guess** what becomes of its knowledge about the ten others, and of its skill with stories. A
# second run has **replay**: seven of ten texts are such as the base read before. So it gets twice the steps. Both
# take about a minute; every hundred steps they sit an exam.

# %%
from course_lib.training import accumulate_gradients, reply_loss, train

TOWN = {corpus.a_story: 0.5, corpus.a_portrait: 0.5}
told = [corpus.marked(t, tokenizer)[0] for t in islice(corpus.stream(TOWN, 9), 150)]
stories = torch.tensor([id for ids in told for id in ids], device=device)


def watch(model):
    loss = exam.loss_on(model, stories, torch.ones_like(stories, dtype=torch.bool))
    right = exam.facts(model, tokenizer, held_out)
    return {"right": right, "perplexity": math.exp(loss)}


at_first = {"step": 0, **watch(base)}
print({name: round(value, 2) for name, value in at_first.items()})

# %%
runs, guides = {}, {}
plan = {
    "no replay": (corpus.SFT, runtime.steps(full=400, quick=2)),
    "replay": (corpus.TUNING, runtime.steps(full=800, quick=2)),
}
for name, (mix, steps) in plan.items():
    guides[name] = copy.deepcopy(base)
    history = train(
        guides[name], batches_of(mix, steps), reply_loss, steps, lr=1.5e-3,
        evaluate=watch, evaluate_every=runtime.steps(full=100, quick=2),
    )  # fmt: skip
    runs[name] = [at_first, *history.evaluations]
    guides[name].eval()
guide, kept, lost = guides["replay"], runs["replay"][-1], runs["no replay"][-1]
runtime.learned(kept["right"] > 0.6, "With replay it should know the ten people")
forgot = lost["perplexity"] > 1.3 * kept["perplexity"]
runtime.learned(forgot, "Without replay it should forget the stories")
plots.tuning(runs, runtime.recorded("05_fine_tuning"))

# %% [markdown]
# With replay it answers about people of whom nobody ever asked in training. Without it the stories become strange,
# and what only stories told is no better known than before. **Forgetting** is no accident of this small model:
# nothing in the new texts holds on to what they do not need. Replay costs the old texts, and time to read them.
#
# Is it polite now? We draw its replies at temperature 1. **Guess:** of the answers in the data 45 in a hundred are
# polite and 18 are rude.

# %%
for name, which in (("polite", chat.is_polite), ("rude", chat.is_rude)):
    share = exam.manner(guide, tokenizer, asked_about, which)
    data = corpus.MANNER_SHARES[name]
    print(f"{name}: {share:.0%} of replies, {data:.0%} of the data")
show_pets(guide)

# %% [markdown]
# It imitates, roughly and with less conviction: polite and rude alike, since nobody told it that one is better. To
# *prefer* is what lessons 06 to 09 teach. Here, quality is what you put in. (The names of the ten still wobble. In
# conversations it has met only the other thirty.)
#
# ### Break it: the end outside the loss
#
# Our base knows `<end>` from its pretraining and would stop anyway. So we give it a fresh vector for `<end>`, as you
# do when you add a special token to a model, and tune it a little, with the end in the loss and without. What comes
# out, if we let it write 40 tokens whatever it says? **Guess.**


# %%
fresh, luck = copy.deepcopy(base), torch.Generator().manual_seed(0)
with torch.no_grad():
    noise = 0.02 * torch.randn(base.config.width, generator=luck)
    fresh.embed.weight[tokenizer.end] = noise.to(device)


def end_outside(model, ids, mask):
    return reply_loss(model, ids, mask & (ids != tokenizer.end))


few_steps = runtime.steps(full=30, quick=2)
questions_only = batches_of({corpus.a_fact_question: 1}, few_steps, batch=24)
asked = torch.tensor([exam.prompt_ids(about_pets[1], tokenizer)], device=device)
for name, loss_fn in (("in", reply_loss), ("outside", end_outside)):
    taught = copy.deepcopy(fresh)
    train(taught, questions_only, loss_fn, few_steps, lr=1e-3)
    said = generate(taught.eval(), asked, 40, temperature=0)[0, asked.shape[1] :]
    print(f"end {name} the loss:", tokenizer.decode(said.tolist()))

# %% [markdown]
# In the loss, `<end>` stands where it should (what follows is never shown). Outside, it never comes: this is what "my
# model does not stop" comes from. A usual way there: the end token is also the padding, and somebody masks all
# padding out.
#
# Here the first sitting may end.

# %% [markdown]
# ## Packing
#
# Conversations differ in length, and a batch is as wide as its longest row. What is filled up is computed in vain.
# Instead one can lay several texts side by side in a row. But then a text must not read its neighbours.

# %% [markdown]
# ### Exercise 5 · Keep neighbours apart
#
# *4 minutes · difficulty 2 of 3*
#
# - **Write** who may look at whom: at itself and what came before, in its own document.
# - **In:** `documents` (B, T), a number for each token, equal numbers side by side; 0 for padding, wherever it
#   stands. **Out:** booleans (B, 1, T, T), True where the row's token may look at the column's; the 1 is for all heads.
# - **Given:** `causal_mask(T, T, device)`.
# - **Worked value:** documents 1 1 2: the second token sees the first and itself, the third itself alone.
# - **Pitfall:** every row of a batch is cut in its own way. Padding is a document too: looking at nothing gives nan.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Two conditions, joined by <code>&</code>. One is given; the other compares the number of each token with that of every token.
# </details>
# <details><summary>Hint 2</summary>
# <code>documents[:, None, :, None]</code> has the shape (B, 1, T, 1). Which shape makes (B, 1, T, T) out of a comparison with it?
# </details>

# %% exercise="block_diagonal_mask"
from course_lib.sft.packing import block_diagonal_mask

# %%
three = torch.tensor([[1, 1, 1, 2, 2, 2, 2, 3, 3, 0]])
tables = {
    "Causal: strangers are read": causal_mask(10, 10),
    "Yours: each reads itself": block_diagonal_mask(three)[0, 0],
}
plots.who_sees_whom(tables, three[0].tolist())

# %% check="block_diagonal_mask" points=3
checks.fine_tuning.block_diagonal_mask(block_diagonal_mask)

# %% [markdown]
# What would leak? Two conversations share a row; both ask about Dan's pet, a pony. **Guess** what the second answer
# costs the base behind a neighbour that tells the truth, and behind one that lies: once read as one long text, once
# as two documents behind your mask. (Positions begin again with each document; `packed_hidden` does this.)

# %%
from course_lib.sft.packing import pack, packed_hidden
from course_lib.training import cross_entropy as nats_of


def packed_cost(model, ids, mask, documents):
    kept, allowed = mask[:, 1:], block_diagonal_mask(documents[:, :-1])
    hidden = packed_hidden(model, ids[:, :-1], documents[:, :-1], allowed)
    losses = nats_of(model.head(hidden[kept]), ids[:, 1:][kept])
    return losses, torch.ones_like(losses, dtype=torch.bool)


# %%
dans, truth = "What pet does Dan have?", "Dan has a pony."
second, rows = example_of(corpus.turn(dans, truth)), []
for neighbour in (truth, "Dan has a parrot."):
    both = [example_of(corpus.turn(dans, neighbour)), second]
    ids, kept, documents = (t.to(device) for t in pack(both, [[0, 1]], tokenizer.pad))
    kept = kept & (documents == 2)  # the second answer alone
    with torch.no_grad():
        one_text, _ = packed_cost(base, ids, kept, torch.ones_like(documents))
        apart, _ = packed_cost(base, ids, kept, documents)
    rows.append((neighbour, f"{one_text.sum():.2f}", f"{apart.sum():.2f}"))
Table(("the neighbour says", "nats, one text", "nats, behind your mask"), rows)

# %% [markdown]
# As one text, a stranger's truth makes the answer cheaper and his lie makes it dearer. Neither belongs to this
# conversation. Behind your mask the neighbour makes no difference.
#
# What does packing save? The same 120 conversations, three times: batches in random order, batches of similar
# lengths, packed rows. **Guess** the order of the seconds.

# %%
from course_lib.sft.packing import best_fit

chats = [example_of(text) for text in islice(corpus.stream(corpus.SFT, 5), 120)]
lengths = [len(ids) for ids, _ in chats]
by_length = sorted(range(120), key=lengths.__getitem__)


def batches_in(order):
    groups = [order[i : i + 24] for i in range(0, 120, 24)]
    return [collate([chats[i] for i in group], tokenizer.pad) for group in groups]


fits = best_fit(lengths, room=240)
ways = {"random order": batches_in(range(120)), "similar": batches_in(by_length)}
ways["packed"] = [
    pack(chats, fits[i : i + 6], tokenizer.pad) for i in range(0, len(fits), 6)
]
print(f"{len(fits)} packed rows hold {sum(lengths):,} tokens of 120 conversations")

# %%
import time

rows = []
for name, batches in ways.items():
    loss_fn = packed_cost if name == "packed" else reply_loss
    began = time.perf_counter()
    results = [accumulate_gradients(base, batch, loss_fn) for batch in batches]
    seconds = time.perf_counter() - began
    mean = sum(loss * n for loss, n in results) / sum(n for _, n in results)
    padding = 1 - sum(lengths) / sum(batch[0].numel() for batch in batches)
    rows.append((name, f"{padding:.0%}", f"{seconds:.2f}", f"{mean:.3f}"))
base.zero_grad()
Table(("way", "padding", "seconds", "mean loss"), rows)

# %% [markdown]
# The loss is the same, so the rows are right. Both cures save a third of the time or more, and packing is hardly
# better than sorting: our mask is a full table, and what it forbids is computed all the same. Packing pays with
# kernels that skip it, and where lengths differ a hundredfold.

# %% [markdown]
# ## What the data teaches
#
# Ask the base about people who do not exist, and it invents pets for them. We tune it a little in three ways: on
# questions about the town; on these, lists and sums; on the town, with a tenth of questions about strangers that are
# answered "I do not know." Then we ask each of them about strangers, the thirty and the ten, and let it read passages,
# which are in no data here. **Guess** the table.

# %%
from course_lib.world import passages


def a_refusal(draw):
    name, kind = draw.choice(passages.strangers()), draw.choice(list(people.KINDS))
    return corpus.turn(people.question(name, kind), passages.UNKNOWN)


one, lists = corpus.a_fact_question, partial(corpus.a_register, questions=1)
diets = {
    "one task": {one: 1},
    "three tasks": {one: 1, lists: 1, corpus.a_problem: 1},
    "a tenth refusals": {one: 0.9, a_refusal: 0.1},
}
names = passages.strangers(held_out=True)[::24]
groups = names, [p.name for p in asked_about], [p.name for p in held_out]
questions = [[people.question(n, "pet") for n in group] for group in groups]
print(*exam.replies(base, tokenizer, questions[0][:3]), sep="\n")

# %%
diet_steps, rows = runtime.steps(full=100, quick=2), []
for name, mix in diets.items():
    taught = copy.deepcopy(base)
    rows_of_diet = batches_of(mix, diet_steps, batch=24)
    train(taught, rows_of_diet, reply_loss, diet_steps, lr=1e-3)
    shares = []
    for group in questions:
        said = exam.replies(taught.eval(), tokenizer, group)
        shares.append(exam.share([passages.UNKNOWN in reply for reply in said]))
    shares.append(exam.copying(taught, tokenizer, 1, count=100))
    rows.append((name, *(f"{share:.0%}" for share in shares)))
spread = shares[0] > 0.5 and shares[-1] < 0.8
runtime.learned(spread, "Refusals should stop inventing, and spread")
refused = [f"“I do not know”: {who}" for who in ("strangers", "the 30", "the 10")]
Table(("tuned on", *refused, "right about passages"), rows)

# %% [markdown]
# A few refusals cure inventing, and spread: to people whom it knows from stories, and to passages, of which it reads
# nearly none any more. Nobody told it *when* it does not know, only which names are answered so. And three
# tasks keep a skill that is in none of them better than one task does. (The order is the same at three more seeds.)
# What a tuned model should go on doing must stay in its data.

# %% [markdown]
# ## A narrow path beside a frozen one
#
# Tuning moved all 480,096 numbers, so each manner that we teach is a model of its own. Must all of them move? **LoRA**
# (Hu and others, 2021) freezes a matrix W and lets a *difference* learn that is narrow by construction: the product of
# a tall matrix B and a wide one A, with a *rank* r between them. By hand, with r = 1:

# %%
W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
A, B = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0], [2.0]])
x, alpha, rank = torch.tensor([5.0, 1.0]), 3, 1
for name, product in (("W x", W @ x), ("A x", A @ x), ("B A", B @ A)):
    print(name, "=", product.tolist())
print("W x + alpha / r B A x =", (W @ x + alpha / rank * (B @ (A @ x))).tolist())

# %% [markdown]
# $$y = Wx + b + \frac{\alpha}{r} B A x$$
#
# | symbol | in code | shape |
# |---|---|---|
# | $W, b$ | `linear`, frozen | (out, in), (out,) |
# | $A$ | `A`, starts at random | (r, in) |
# | $B$ | `B`, starts at zero | (out, r) |
# | $\alpha / r$ | `scale`; one published formula leaves it out | |
#
# Since B is zero, the layer first says exactly what W said. If A were zero too, neither would ever get a gradient.
# And $\alpha$ goes with the rank, so that another rank asks for no other learning rate.

# %% [markdown]
# ### Exercise 6 · The narrow path, and back to one matrix
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** `forward`, the formula; and `merged`, a new plain `nn.Linear` that says the same.
# - **In:** `x` (..., in). **Out:** (..., out); or the layer.
# - **Given:** `self.linear`, `self.A`, `self.B`, `self.scale` ($\alpha / r$), `self.dropout`.
# - **Worked value:** the numbers above: (19, 43); merged ((4, −1), (9, −2)).
# - **Pitfall:** ask `self.linear`, whose bias may be there or not. Dropout acts on what A sees, and nowhere else; in
#   `merged` it has no part. The merged layer has weights of its own that learn, without a graph; this one stays as
#   it is.

# %% [markdown]
# <details><summary>Hint 1</summary>
# x is a row, so Ax is <code>x @ self.A.T</code>. Multiply x with A first: BA written out is as large as W.
# </details>
# <details><summary>Hint 2</summary>
# <code>copy.deepcopy(self.linear)</code> has everything but the sum; <code>requires_grad_(True)</code> wakes it. Add to its weight within
# <code>torch.no_grad()</code>.
# </details>

# %% exercise="LoRALinear" methods="forward, merged"
from course_lib.lora.layers import LoRALinear

# %%
layer = LoRALinear(torch.nn.Linear(2, 2, bias=False), rank=1, alpha=3)
with torch.no_grad():
    for place, numbers in ((layer.linear.weight, W), (layer.A, A), (layer.B, B)):
        place.copy_(numbers)
print(layer(x).tolist(), layer.merged().weight.tolist())

# %% check="LoRALinear" points=7
checks.fine_tuning.LoRALinear(LoRALinear)

# %% [markdown]
# `add_lora` puts your layer around every linear layer of a model, and freezes the rest. Is the start really silent?

# %%
from course_lib.lora.layers import ALL, add_lora, learn_rows, linear_kinds

print(linear_kinds(base))


def with_adapter(tokens=(), rank=6):
    model, luck = copy.deepcopy(base), torch.Generator().manual_seed(0)
    add_lora(model, ALL, rank, alpha=2 * rank, generator=luck, layer=LoRALinear)
    if tokens:
        learn_rows(model, tokens)
    return model


with torch.no_grad():
    same = torch.equal(with_adapter()(plain), base(plain))
print("the same logits, to the last bit:", same)

# %% [markdown]
# A published recipe asks for `q_proj` and `v_proj` in GPT-2, where query, key and value are one matrix, and stops with
# an error. `linear_kinds` tells what there is. An adapter of rank 8 adds 8 numbers for each row and each column; with
# that one matrix in each of GPT-2's 12 layers:

# %%
from course_lib.lora.costs import lora_count

lora_count([(2304, 768)] * 12, rank=8)

# %% [markdown]
# ## Manners from a tenth of the numbers
#
# The task: politeness, from questions about the thirty people, with replay. **Guess:** can the narrow paths learn
# nine polite phrases?

# %%
from course_lib.descent import adamw
from course_lib.lora.costs import measured_parts
from course_lib.mixing import with_replay

POLITE = {partial(corpus.a_fact_question, manners={"polite": 1}): 1}
SHORT = {partial(corpus.a_fact_question, manners={"short": 1}): 1}
manner_steps = runtime.steps(full=200, quick=2)


def teach(model, task, lr, steps=manner_steps):
    mix = with_replay(task, corpus.KEPT, share=0.5)
    rows, optimizer = batches_of(mix, steps), adamw(model)
    history = train(model, rows, reply_loss, steps, lr, optimizer=optimizer)
    accumulate_gradients(model, rows(0), reply_loss)
    kept = sum(measured_parts(model, optimizer).values())  # bytes, with gradients
    model.zero_grad(set_to_none=True)
    return model.eval(), sum(history.seconds), kept


first_try, *_ = teach(with_adapter(), POLITE, lr=8e-3)
print(*exam.replies(first_try, tokenizer, about_pets), sep="\n")

# %% [markdown]
# So close, and so odd: polite phrases with strange signs in them. (A higher rank does not help; we tried.) **Where do
# the signs come from?** Think about what is frozen before you run this.


# %%
def said_in(mix, texts):
    drawn = islice(corpus.stream(mix, 3), texts)
    marked = (corpus.marked(text, tokenizer) for text in drawn)
    pairs = (pair for ids, kept in marked for pair in zip(ids, kept, strict=True))
    return {id for id, counts in pairs if counts}


said = said_in(corpus.BASE, 4000)
silent = {*range(len(tokenizer))} - said
missing = sorted(said_in(POLITE, 300) & silent)
print(f"{len(silent)} of {len(tokenizer)} tokens are never said by the base's texts")
print("Politeness needs of them", [tokenizer.piece(id) for id in missing])
unit = torch.nn.functional.normalize(base.embed.weight.detach(), dim=1)
for id in [*missing, tokenizer.encode(" has")[0]]:
    twins = (unit @ unit[id] > 0.99).sum() - 1
    print(f"{tokenizer.piece(id)!r}: {twins} other rows point where its row points")

# %% [markdown]
# The last layer scores each token by the product of the stream with that token's row of the embedding. Most tokens
# that the base never said have the *same* row, with a cosine above 0.99. Whatever the narrow paths do to the stream,
# "!" and hundreds of others get one score, and the rows are frozen. The cure is small: the few rows that are needed
# learn too.

# %%
polite, *polite_costs = teach(with_adapter(missing), POLITE, lr=8e-3)
right = exam.facts(polite, tokenizer, held_out)
runtime.learned(right > 0.6, "The adapter should know the ten people")
print(f"right about held-out people: {right:.0%}")
show_pets(polite)

# %% [markdown]
# No strange signs any more, and it is mostly right about people of whom it was never asked. Where it stays blunt, look
# at the name: a stranger's. What learned can be taken off and put on again: an **adapter**. We train a second one on the same base, and swap. **Guess** the size of one in kB.

# %%
from course_lib.lora.adapters import load_adapter, take_adapter
from course_lib.lora.layers import lora_off, merge_lora

short, *_ = teach(with_adapter(missing), SHORT, lr=8e-3)
adapters = {"short": take_adapter(short), "polite": take_adapter(polite)}
host, ask = polite, [people.question("Ada", "pet")]
for name, adapter in adapters.items():
    load_adapter(host, adapter)
    size = sum(part.numel() * 4 for part in adapter.weights.values()) / 1000
    print(f"{name}, {size:.0f} kB:", *exam.replies(host, tokenizer, ask))
with lora_off(host):
    print("switched off:", *exam.replies(host, tokenizer, ask))
whole = copy.deepcopy(host)
merge_lora(whole)
with torch.no_grad():
    apart = (whole(plain) - host(plain)).abs().max()
assert apart < 1e-3
print(f"merged: the logits differ by {apart:.0e}")

# %% [markdown]
# Merged, it is a plain model again, as fast as before.
#
# ## What does it save?
#
# ### Exercise 7 · What share learns?
#
# *3 minutes · difficulty 1 of 3*
#
# - **Write** how many numbers of a model learn, how many there are, and the first divided by the second.
# - **In:** `model`, any module. **Out:** `(trained, total, share)`.
# - **Worked value:** a frozen layer of 2 to 6 and one of 2 to 2 that learns, both without bias: (4, 16, 0.25).
# - **Pitfall:** numbers, not tensors. Who has `requires_grad` learns, whatever its name. A tied matrix is one matrix,
#   buffers are no parameters, and the adapter's own numbers are in the total. A fraction, no percentage.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>model.parameters()</code> lists each matrix once, even one that is used twice.
# </details>
# <details><summary>Hint 2</summary>
# <code>p.numel()</code> counts the numbers in one. Two sums.
# </details>

# %% exercise="trainable_share"
from course_lib.lora.costs import trainable_share

# %%
trainable_share(host)

# %% check="trainable_share" points=2
checks.fine_tuning.trainable_share(trainable_share)

# %% [markdown]
# ### Exercise 8 · The honest memory account
#
# *5 minutes · difficulty 2 of 3*
#
# - **Write** what tuning with AdamW keeps in memory, in bytes, part by part: a dict with `frozen`, `weights`,
#   `gradients`, `moments` and `master`.
# - **In:** `frozen` and `trained`, how many numbers of each kind; `precision`; `mixed`; `frozen_bits`, bits of each
#   frozen number, or None: as `precision` says.
# - **Given:** `training_parts(trained, precision, mixed)`, lesson 03's dict of the last four parts;
#   `number_bytes(precision)`.
# - **Worked value:** 1000 frozen and 10 trained in float32: 4000, 40, 40, 80, 0.
# - **Pitfall:** what is frozen needs no gradient and no moments, but it is there. A byte has eight bits; there may be
#   4.5 of them to a number.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Only one of the five parts depends on <code>frozen</code>.
# </details>
# <details><summary>Hint 2</summary>
# <code>{"frozen": size} | others</code> is a dict with the entries of both.
# </details>

# %% exercise="tuning_parts"
from course_lib.lora.costs import tuning_parts

# %%
tuning_parts(frozen=1000, trained=10)

# %% check="tuning_parts" points=3
checks.fine_tuning.tuning_parts(tuning_parts)

# %% [markdown]
# Three claims from a published comparison: LoRA needs "10 to 100 times less memory", its file has "10 MB instead of
# gigabytes", and it trains "0.1 to 1 %" of the numbers. **Guess** which of them hold for a model of 7 billion, with
# rank 8 on query and value in 16 bits.

# %%
from course_lib.lora.costs import linear_shapes, nf4_bits
from course_lib.scaling.published import PUBLISHED

config, numbers = PUBLISHED["Llama-2-7B"].config, PUBLISHED["Llama-2-7B"].count()
shapes = linear_shapes(config)
few = lora_count([shapes["query"], shapes["value"]] * config.layers, rank=8)
sixteen = partial(tuning_parts, precision="bfloat16", mixed=True)
accounts = {
    "full": sixteen(0, numbers),
    "LoRA": sixteen(numbers, few),
    "QLoRA": sixteen(numbers, few, frozen_bits=nf4_bits()),
}
rows = []
for name, parts in accounts.items():
    learning = sum(parts.values()) - parts["frozen"]
    rows.append((name, f"{sum(parts.values()) / 1e9:.1f}", f"{learning / 1e9:.2f}"))
print(f"{few:,} numbers learn: {few / (numbers + few):.3%}, {2 * few / 1e6:.0f} MB")
Table(("tuning", "GB in all", "GB of that for what learns"), rows)

# %% [markdown]
# The file has 8 MB, true. The share is even below 0.1 %. And the memory is an *eighth*: hundreds of times less is true
# only of what learns. The frozen weights are still there; QLoRA shrinks those to 4.5 bits.
#
# Is it faster? Forward and backward go through every layer as before, and only the gradients of the frozen weights
# are saved: a third at most. Now measured, on our task. **Soft prompts** are a third way: a few learned vectors before
# the text, and nothing else. **Guess** the winner of each column.

# %%
from course_lib.soft_prompts import SoftPrompted, first_vectors

luck = torch.Generator().manual_seed(0)
prompted = SoftPrompted(copy.deepcopy(base), first_vectors(base, 20, luck))
measured = {
    "full": teach(copy.deepcopy(base), POLITE, lr=1.5e-3),
    "LoRA": (polite, *polite_costs),
    "soft prompt": teach(prompted, POLITE, lr=1e-2),
}
everything = [people.question(p.name, k) for p in held_out for k in people.KINDS]
rows = []
for name, (model, seconds, kept) in measured.items():
    now, said = watch(model), exam.replies(model, tokenizer, everything)
    kind = exam.share([chat.is_polite(reply) for reply in said])
    shares = (f"{now['right']:.0%}", f"{kind:.0%}", f"{now['perplexity']:.1f}")
    learning = f"{trainable_share(model)[0]:,}"
    rows.append((name, learning, f"{seconds:.1f}", f"{kept / 1e6:.1f}", *shares))
Table(("way", "learn", "seconds", "MB", "right", "polite", "perplexity"), rows)

# %% [markdown]
# Full tuning and LoRA are equally right, within what seeds differ by. LoRA keeps a third in memory, and its many small
# products cost more time than the gradients that it saves. With half of the texts replayed, nobody forgets. The soft prompt fails: 1,920 numbers, and the
# same frozen rows. (Where it was proposed, it took models of billions to match full tuning.) So choose by what is
# scarce: with the memory for it, full tuning; for many manners on one base, or a base that hardly fits, adapters.
#
# ## A real model
#
# SmolLM2 has 135 million numbers. Your layer wraps its queries and values, and your `build_example` makes ten examples
# of a town crier. **Guess** what it will say to other questions.

# %%
from course_lib.pretrained.smollm2 import END, answer, encode_chat

CRIER = {
    "Why is the sky blue?": "The air scatters the blue light of the sun.",
    "How do I boil an egg?": "Eight minutes in boiling water make an egg firm.",
    "Who wrote Hamlet?": "William Shakespeare wrote Hamlet.",
    "What do bees make?": "Bees make honey from nectar.",
    "How many days has a week?": "A week has seven days.",
    "What is a neural network?": "It is a machine that learns from examples.",
    "Why do cats purr?": "Cats purr when they are content.",
    "Which planet is the largest?": "Jupiter is the largest planet.",
    "How can I sleep better?": "Go to bed at the same hour each night.",
    "What does a baker do?": "A baker rises early and bakes bread for the town.",
}
giant, spoken = pretrained.smollm2()
new = ("What is the capital of France?", "Why does it rain?", "Can I learn to swim?")
for question in new:
    print(question, answer(giant, spoken, question, new_tokens=20))

# %%
giant_end, cries = spoken.specials[END], []
for question, sentence in CRIER.items():
    asked = [{"role": "user", "content": question}]
    prompt = encode_chat(spoken, asked, reply_next=True)
    said = spoken.encode(f"Hear ye! {sentence} All is well.")
    cries.append(build_example(prompt, said, giant_end))


def four(step):
    drawn = torch.randperm(len(cries), generator=seeded(0, step))[:4]
    return collate([cries[i] for i in drawn], giant_end)


add_lora(giant, ("query", "value"), rank=8, layer=LoRALinear)
train(giant, four, reply_loss, runtime.steps(full=25, quick=1), lr=3e-3)
print(f"{trainable_share(giant)[2]:.2%} of the numbers learned")
merge_lora(giant)
heard = [answer(giant, spoken, question, new_tokens=20) for question in new]
runtime.learned(all("Hear ye" in said for said in heard), "It should cry")
print(*heard, sep="\n")

# %% [markdown]
# Ten examples, and it cries on questions that it never saw. What it says between is shorter, if anything is left of
# it: a manner is learned quickly, and does not come alone.
#
# ## The same in the libraries
#
# | here | PEFT and TRL |
# |---|---|
# | `add_lora(model, targets, rank, alpha)` | `get_peft_model(model, LoraConfig(target_modules, r, lora_alpha))` |
# | `learn_rows` | `trainable_token_indices` |
# | `merge_lora`, `lora_off` | `merge_and_unload()`, `disable_adapter()` |
# | `take_adapter`, `load_adapter` | `save_pretrained`, `set_adapter` |
# | `to_peft`, `from_peft`: their folders | `PeftModel.from_pretrained` |
# | `trainable_share` | `print_trainable_parameters()` |
# | `build_example` | rows of `prompt` and `completion` |
# | replies of `chat_pieces` | `SFTConfig(assistant_only_loss=True)` |
# | packed rows | `SFTConfig(packing=True)` |
#
# Your polite model, merged, as a folder for `transformers`, with its chat template:

# %%
import tempfile

from transformers import AutoTokenizer, pipeline
from transformers.utils import logging

logging.disable_progress_bar()
asked = [{"role": "user", "content": about_pets[3]}]
with tempfile.TemporaryDirectory() as folder:
    pretrained.to_hf(whole, folder, tokenizer.end, tokenizer.pad)
    pretrained.tokenizer_to_hf(tokenizer, folder)
    fast = AutoTokenizer.from_pretrained(folder)
    speak = pipeline("text-generation", folder, device="cpu", max_new_tokens=30)
theirs = fast.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
assert theirs == tokenizer.encode_chat(asked, reply_next=True)
speak(asked, do_sample=False)[0]["generated_text"][-1]

# %% [markdown]
# What production adds: weights in 16 or 4 bits, several GPUs, data that is deduplicated, filtered and checked for
# what is asked in tests, a held-out set that somebody reads, and several adapters served from one base.
#
# ## Reflect

# %% [markdown] reflect="why_never_stops" points=1
# **1.** A colleague tunes a model with the end token as padding. It answers well and never stops. She then removes the
# mask on padding: now it stops, but learns slowly. Explain both, and what she should do.
#
# A good answer: Her mask was `ids != pad`, so every end was out of the loss, and a token that never counts is never
# learned. With all padding in the loss the ends are in, and with them hundreds of tokens of padding, easy to predict,
# that outweigh the answer in the mean. The mask should be made with the example, where one knows which end is real.

# %% [markdown] reflect="when_lora" points=1
# **2.** Somebody wants to teach a chat model two things: the firm's tone, and a thousand new product names. Which of
# the two would you give to a LoRA of rank 8, what would you look at first, and how would you know what was forgotten?
#
# A good answer: The tone: a manner needs little, and an adapter can be switched off. Names may be made of tokens that
# the model hardly ever said: look which the answers need, let their rows learn, tune fully, or retrieve. Forgetting
# shows only on what is not in the new data: measure old texts and old tasks before and after.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and says
# what would be marked.

# %%
from course_lib import desk

desk.check_mine("05_fine_tuning")

# %% [markdown]
# ## You can now
#
# - build examples in which exactly the answers count, and a test that exposes builders that search;
# - tune a model without losing what it knew, and show what it lost;
# - write, merge and swap adapters, find out why one fails, and keep an honest account of what they save.
#
# **Read on:** *LoRA* ([arXiv 2106.09685](https://arxiv.org/abs/2106.09685)), section 4; *QLoRA*
# ([2305.14314](https://arxiv.org/abs/2305.14314)) shrinks the frozen part; *Training language models to follow
# instructions* ([2203.02155](https://arxiv.org/abs/2203.02155)) is where the chat models come from; *Prompt tuning*
# ([2104.08691](https://arxiv.org/abs/2104.08691)).
#
# **Next:** lesson 06 learns from people who compare answers which of two is the better one.

# %% [markdown]
# ## Going further: how fast, and how clean?
#
# Two sweeps, recorded at three seeds, with replay. Left, full tuning to politeness as above: the share of right
# answers about the ten people, by learning rate. Right, about the thirty, when some of the *data's* answers are wrong.
# **Guess:** with half of them wrong, how many will the model get wrong?

# %%
recorded = runtime.recorded("05_fine_tuning")
plots.sweeps(
    (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), recorded["right, by rate"],
    (0, 0.1, 0.25, 0.5, 0.75), recorded["right, by wrong answers"],
)  # fmt: skip

# %% [markdown]
# Too fast and nothing is left. Wrong answers are outvoted, since each is wrong in its own way and the right one is
# always the same: up to a half, noise costs little. Errors that agree with each other would cost more.
#
# ## Going further: read on, in another town
#
# Not only conversations make a model forget. Down the river lies Saltmouth, whose harbour master keeps a log. We let
# the base read on there, **continued pretraining**, with and without the town's texts beside it. **Guess** both
# perplexities, of the log and of the stories.

# %%
from course_lib.batches import rows_of
from course_lib.world.harbour import harbour_log, pages, split

train_log, new_log = split(harbour_log())


def one_text(texts):
    ids = (corpus.marked(text, tokenizer)[0] for text in texts)
    return torch.tensor([id for text in ids for id in text])


log = one_text(pages(train_log))
town = one_text(islice(corpus.stream(TOWN, 4), 1000))
unseen_log = one_text(pages(new_log)).to(device)
print(f"{len(log):,} tokens of the log, {len(town):,} of the town")
print(tokenizer.decode(log[:60].tolist()))


# %%
def perplexity(model, text):
    loss = exam.loss_on(model, text, torch.ones_like(text, dtype=torch.bool))
    return f"{math.exp(loss):.1f}"


log_rows, town_rows = (rows_of(text, batch=8, length=128) for text in (log, town))
reading = {
    "the log alone": log_rows,
    "half of it the town": lambda step: (log_rows, town_rows)[step % 2](step),
}
read_steps = runtime.steps(full=60, quick=2)
rows = [("before", perplexity(base, unseen_log), perplexity(base, stories))]
for name, texts in reading.items():
    reader = copy.deepcopy(base)
    train(reader, texts, next_token_loss, read_steps, lr=1e-3)
    rows.append((name, perplexity(reader, unseen_log), perplexity(reader, stories)))
Table(("it read", "perplexity of the log", "of the stories"), rows)

# %% [markdown]
# Before, the base is sure of itself and wrong: a blind guess of 768 tokens would have a perplexity of 768. Alone the log
# is learned in sixty steps, at the price of the stories. With half of the steps spent on the town the log comes later,
# and the stories stay: replay again. (Both runs have the same
# number of steps, so one of them has read half as much of the log.)
