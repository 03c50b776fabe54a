# %% [markdown]
# # Look it up
#
# A model knows what it was trained on, and invents the rest. You will build what stands behind most assistants with
# sources: a search that finds the right passage among hundreds, a prompt that shows it, a reader, and a check of
# what the reader claims. The name is **RAG**, retrieval-augmented generation.
#
# **Afterwards you can** search by words, by meaning and by both, measure the finding and the reading apart, and
# name what no search mends.
#
# **You need** lesson 05: our guide, tuned to chat and to copy from passages.
#
# About 240 minutes: four hours, in two sittings. First find and read, then real documents.

# %%
import copy
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from course_lib import checks, exam, pretrained, runtime
from course_lib.plotting import rag as plots
from course_lib.plotting.tables import Table
from course_lib.rag.cards import answers, cards, numbered_cards, pairs
from course_lib.rag.prompts import COURSE, PLAIN
from course_lib.widgets import controls

runtime.start(seed=0)  # the models are small: the CPU will do

# %% [markdown]
# ## Asked about strangers
#
# In a drawer lie 600 cards. Half of them tell of fifty people whom no model here has met, six facts each; half are
# labels of things with a number. We ask our guide about the people. Each answer is one of twelve, so chance is one
# in twelve. **Guess** its share of right answers: alone, and with the right card in front of the question.

# %%
guide, tokenizer = pretrained.load("sft")
draw = random.Random("cards 0")
people = cards(50, draw, held_out=True)
deck = people + numbered_cards(300, draw)
texts = [card.text for card in deck]
asked = deck[:: runtime.steps(full=1, quick=10)]
strangers = [card for card in asked if card in people]


def read(prompts):
    return exam.replies(guide, tokenizer, prompts, new_tokens=24)


def marked(told, said):
    return [answers(card, text) for card, text in zip(told, said, strict=True)]


# %%
alone = read([card.question for card in strangers])
shown = read([COURSE.write(card.question, [card.text]) for card in strangers])
for name, said in {"alone": alone, "with the right card": shown}.items():
    print(f"{name}: {exam.share(marked(strangers, said)):.0%} right")
guessed, copied = (exam.share(marked(strangers, said)) for said in (alone, shown))
runtime.learned(guessed < 0.2 and copied > 0.9, "With the card alone it should copy")
rows = [*zip([card.text for card in strangers], alone, shown, strict=True)]
print(Table(("the card", "the guide alone", "with the card"), rows[:4]))
plots.stages()

# %% [markdown]
# Alone it is fluent, sure of itself, and no better than chance. With the card it copies. It need not *know*;
# somebody must *find*. The picture is the whole lesson: above what is done once, below what is done for every
# question. An *index* is what makes the search fast; *chunks* are pieces of documents: both come later.
#
# ## Words
#
# Find the card that shares words with the question. But which words count? One that stands on few cards says more:
# its **rarity**. The tenth occurrence says less than the first: **saturation**. In a long text an occurrence says
# less. Three cards by hand. **Guess** which wins for "Does Widra like soup?"

# %%
from course_lib.rag.bm25 import rarity, saturation, words

three = [
    "Give Widra some soup and all is well.",
    "Soup, soup, soup! Lauwen eats it.",
    "Widra has a cat.",
]
for text in three:
    print(words(text))  # small letters; words such as "and" are left out
query = words("Does Widra like soup?")
holding = [sum(word in words(text) for text in three) for word in query]
rarities = rarity(np.array(holding), len(three))
counts = np.array([1, 2, 3, 10])
for length, name in {4: "4 words (the mean)", 8: "8 words"}.items():
    worth = saturation(counts, np.full(4, length), mean_length=4).round(2)
    print(f"{name}: 1, 2, 3, 10 times are worth {worth}")
rows = zip(query, holding, rarities.round(2), strict=True)
Table(("word", "cards", "rarity"), rows)

# %% [markdown]
# Multiply and add. This is **BM25**, from 1994 and still the search to beat (told in Robertson and Zaragoza 2009):
#
# $$\sum_{w \in q} \ln\Bigl(1 + \frac{N - n + 0.5}{n + 0.5}\Bigr) \cdot \frac{c}{c + k_1 (1 - b + b\,|d| / \bar{|d|})}$$
#
# | symbol | in code | |
# |---|---|---|
# | $n$, $N$ | `holding`, `documents` | documents with the word, all of them |
# | $c$ | `counts` | how often the word stands in this one |
# | $\lvert d\rvert$, $\bar{\lvert d\rvert}$ | `lengths`, `mean_length` | its words, and their mean |
# | $k_1$, $b$ | `k1`, `b` | how slow saturation is; how much length matters |

# %% [markdown]
# ### Exercise 1 · Count words, but not blindly
#
# *15 minutes · difficulty 2 of 3*
#
# - **Write** for each document the sum, over the words of the query, of rarity times saturation.
# - **In:** `query`, words; `documents`, N lists of words; `k1`, `b`. **Out:** an array (N,).
# - **Given:** `rarity(holding, documents)`; `saturation(counts, lengths, mean_length, k1, b)`, arrays (N,).
# - **Worked value:** query ["geese"], documents ["geese", "eat", "grass"], ["geese"], ["the", "sea"]: 0.153, 0.243,
#   0.
# - **Pitfall:** words count as they stand. A document may be empty; the mean length is that of all. A word twice in
#   the query counts twice; one that nobody holds counts 0. No words: zeros.
#
# In all exercises: inputs are not changed.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A loop over the words. <code>counts</code> is one number for each document: <code>list(document).count(word)</code>.
# </details>
# <details><summary>Hint 2</summary>
# <code>holding</code> is how many counts are above 0. Begin with zeros of length N and add one product for each word.
# </details>

# %% exercise="bm25_scores"
from course_lib.rag.bm25 import bm25_scores

# %%
found = bm25_scores(query, [words(text) for text in three]).round(2)
Table(("card", "score"), zip(three, found, strict=True))

# %% check="bm25_scores" points=4
checks.rag.bm25_scores(bm25_scores)

# %% [markdown]
# The first wins: it has both words. "Like" is rarest of all and counts nothing, since no card has it. "Soup" three
# times is worth less than twice as much as once. Libraries differ: this variant is called *lucene*, as in bm25s;
# rank-bm25 takes another rarity and multiplies by k₁ + 1. The library has both, tested against theirs.
#
# How good is your search? **Recall@3** is the share of questions whose right card is among the first three; the
# **reciprocal rank** is 1 over its place among the first ten, 0 if it is not there. **Guess** the recall, for
# people and for numbered things.

# %%
from course_lib.rag.nearest import top_k

spoken, half = [words(text) for text in texts], len(strangers)


def by_words(question, k=10):
    return [deck[i].id for i in top_k(bm25_scores(words(question), spoken), k)]


def found_in(ranked, told, k=3):
    return [card.id in ids[:k] for card, ids in zip(told, ranked, strict=True)]


rankings = {"words": [by_words(card.question) for card in asked]}
pairs_here = [*zip(asked, rankings["words"], strict=True)]
turned = [1 / (1 + ids.index(c.id)) if c.id in ids else 0 for c, ids in pairs_here]
print(f"mean reciprocal rank {np.mean(turned):.2f}")
for name, part in {"people": slice(half), "things": slice(half, None)}.items():
    found = found_in(rankings["words"][part], asked[part])
    print(f"recall@3, {name}: {exam.share(found):.2f}")

# %% [markdown]
# Numbers it always finds. Of the people's cards nearly half are missed: look at some. `KeywordRetriever`, the
# library's search, gives the same scores from an **inverted index**: for each word the places where it stands, so
# that a question touches few cards.

# %%
from course_lib.rag.retrievers import KeywordRetriever
from course_lib.rag.splitting import split_documents

chunks = split_documents([c.document for c in deck], lambda text: [(0, len(text))])
keyword, questions = KeywordRetriever(chunks), [card.question for card in asked]
by_id = {card.id: card.text for card in deck}
scores = keyword.bm25.scores(questions[0])
assert np.allclose(scores, bm25_scores(words(questions[0]), spoken))
missed = [
    (card.question, card.text, by_id[ids[0]])
    for card, ids in pairs_here
    if card.id not in ids[:3]
]
Table(("asked", "its card", "found first"), missed[:5])

# %% [markdown]
# Words find the name, which stands on six cards, or somebody else's favourite colour. That somebody "paints
# everything brown" says the same in other words, and a search by words cannot know. Before we mend that, a better
# measure: often several documents answer, some better than others, and nobody reads far down.

# %% [markdown]
# ### Exercise 2 · How far up, and how much?
#
# *10 minutes · difficulty 2 of 3*
#
# - **Write** **nDCG**, normalised discounted cumulative gain: the discounted gain of the first k, over that of the
#   best ranking.
# - **In:** `ranked`, ids, the best first; `gains`, a mapping from id to worth, or a set of ids worth 1 each; `k`.
#   **Out:** a number from 0 to 1.
# - **Given:** `discounted_gain(gains)`: each gain of a row over log₂(1 + rank), added up.
# - **Worked value:** ranked "c", "a"; gains {"a": 1}; k = 10: 0.631.
# - **Pitfall:** the best ranking has the k largest gains, found or not. Ids without a gain are worth 0.

# %% [markdown]
# <details><summary>Hint 1</summary>
# First make a mapping of a set: <code>isinstance(gains, Mapping)</code> says which it is.
# </details>
# <details><summary>Hint 2</summary>
# Two rows of at most k gains: those of the ids in <code>ranked[:k]</code>, and the largest ones, sorted.
# </details>

# %% exercise="ndcg" keep="check("
from course_lib.rag.metrics import ndcg

# %%
gains = {"good": 2, "fair": 1}
for ranked in (["good", "fair"], ["fair", "good"], ["fair", "x", "y"], ["x"]):
    print(ranked, f"{ndcg(ranked, gains, k=3):.2f}")
marks = [ndcg(ids, {card.id}, 10) for card, ids in pairs_here]
print(f"by words, all cards: {np.mean(marks):.2f}")

# %% check="ndcg" points=3
checks.rag.ndcg(ndcg)

# %% [markdown]
# Two good ones swapped cost 0.14, a missing one far more. With one right card it is 1/log₂(1 + place).
#
# ## Meaning
#
# An **encoder** turns a text into a vector, so that texts with like meaning lie near each other. MiniLM learned
# that from a billion pairs of sentences. We compare by the **cosine**: the dot product of two vectors brought to
# length 1; 1 means the same direction. Six questions about one stranger, and her six cards. **Guess** where the
# large numbers lie.

# %%
minilm = pretrained.minilm()
one = people[:6]
vectors = {
    name: minilm.embed(some).numpy()
    for name, some in {
        "asked": [card.question for card in one],
        "cards": [card.text for card in one],
    }.items()
}
plots.similarity(
    [card.question for card in one],
    [card.text for card in one],
    vectors["asked"] @ vectors["cards"].T,
)

# %% [markdown]
# Mostly on the diagonal, yet everything is alike.
#
# ### Exercise 3 · The nearest, by angle
#
# *8 minutes · difficulty 1 of 3*
#
# - **Write** the k vectors with the largest cosine to a query.
# - **In:** `query` (D,), `vectors` (N, D), of any length; `k`. **Out:** `(cosines, places)`, the best first; of
#   equal ones the earlier; all N if k is larger.
# - **Given:** `unit(vectors)`: each at length 1; a vector of zeros stays one, and its cosine is 0. `top_k(scores,
#   k)`: places of the k largest of (N,).
# - **Worked value:** query (2, 0); vectors (0.6, 0.8), (9, 0); k = 2: cosines 1.0, 0.6; places 1, 0.
# - **Pitfall:** a long vector is not a near one.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>unit</code> works on the last axis: it takes one vector or a table of them.
# </details>
# <details><summary>Hint 2</summary>
# A table (N, D) times a vector (D,) with <code>@</code> gives (N,): all cosines at once.
# </details>

# %% exercise="nearest"
from course_lib.rag.nearest import nearest

# %% check="nearest" points=3
checks.rag.nearest(nearest)

# %% [markdown]
# MiniLM was not trained for this drawer. Could we train an encoder for it? Take the mean of the base model's hidden
# states as a vector. In a batch of 64 questions each must pick its own card among all 64. The loss, **InfoNCE**, is
# what it pays for that:
#
# $$-\ln \frac{e^{s_{ii}/\tau}}{\sum_j e^{s_{ij}/\tau}}$$
#
# $s_{ij}$ is the cosine of question i and card j, $s_{ii}$ that with its own card, τ = 0.05 a temperature.
# **Guess** the loss if all vectors are alike, and recall@3 before training. The people on these training cards are
# others.

# %%
from course_lib.rag.encoder import SmallEncoder, train_encoder

base, _ = pretrained.load("base")
encoder = SmallEncoder(copy.deepcopy(base), tokenizer)


def by_meaning(encoder, k=50):
    vectors, queries = (np.array(encoder.embed(some)) for some in (texts, questions))
    places = [nearest(query, vectors, k)[1] for query in queries]
    return [[deck[i].id for i in row] for row in places]


before = exam.share(found_in(by_meaning(encoder), asked))
print(f"recall@3 before: {before:.2f}, by chance {3 / len(deck):.3f}")
print("a pair:", *pairs(0)[0])

# %%
history = train_encoder(encoder, pairs, runtime.steps(full=200, quick=2))
rankings["meaning"] = by_meaning(encoder)
with_minilm = {"MiniLM": by_meaning(minilm)}
after = exam.share(found_in(rankings["meaning"], asked))
runtime.learned(after - before > 0.3, "The encoder should learn")
plots.contrast(history.losses, batch=64)


# %%
def by_drawer(ranked):
    good = found_in(ranked, asked)
    marks = [ndcg(ids, {c.id}, 10) for c, ids in zip(asked, ranked, strict=True)]
    parts = (good, good[:half], good[half:], marks)
    return [f"{np.mean(part):.2f}" for part in parts]


def drawers():
    every = rankings | with_minilm
    rows = [(name, *by_drawer(ranked)) for name, ranked in every.items()]
    return Table(("", "recall@3", "people", "things", "nDCG@10"), rows)


rows = zip(asked, rankings["meaning"], strict=True)
lost = [card for card, ids in rows if card.id not in ids[:3]]
thing = [asked[-1], *lost][-1]
cosines, found = nearest(encoder.embed([thing.question])[0], encoder.embed(texts), 4)
rows = [(f"{c:.2f}", texts[i]) for c, i in zip(cosines, found, strict=True)]
print(Table(("cosine", f"nearest to: {thing.question}"), rows))
drawers()

# %% [markdown]
# Ours ("meaning") reads *both* name and fact, in the wordings of its training, for people it has never met. But one
# number is to it much like another. MiniLM, from a billion pairs, finds every number, and fewer of the people. We
# keep ours to see how two halves that fail in different places are joined. nDCG agrees here; it sees the places
# too.
#
# ## Both
#
# So add the two scores? BM25's have no upper end; cosines end at 1. **Guess** what happens to recall@3 if BM25's
# are multiplied by a tenth, or by ten.

# %%
word_scores = np.array([bm25_scores(words(q), spoken) for q in questions])
cosines = encoder.embed(questions) @ encoder.embed(texts).T
factors = (0.01, 0.03, 0.1, 0.3, 1, 3, 10)
added = []
for factor in factors:
    sums = factor * word_scores + cosines
    ranked = [[deck[i].id for i in top_k(row, 3)] for row in sums]
    added.append(exam.share(found_in(ranked, asked)))
Table(("factor", *map(str, factors)), [("recall@3", *(f"{x:.2f}" for x in added))])

# %% [markdown]
# With the right factor, excellent. With another it sinks towards the weaker half; and we chose it on the very
# questions we test on. **Ranks** have no scale. To add 1/(60 + rank) is **reciprocal rank fusion**, RRF (2009); the
# 60 keeps one first place from deciding alone.

# %% [markdown]
# ### Exercise 4 · Add ranks, not scores
#
# *8 minutes · difficulty 2 of 3*
#
# - **Write** one ranking of several: an item gets 1/(constant + rank) from each ranking that holds it.
# - **In:** `rankings`, lists of items, the best first, any number of any length; `constant`. **Out:** pairs (item,
#   sum), the largest sum first; of equal sums the item met first, ranking by ranking.
# - **Worked value:** "a", "b", "c" and "c", "b": c, b, a; c has 1/63 + 1/61, a only 1/61.
# - **Pitfall:** ranks begin at 1. Items may be tuples. Add an item's parts with `math.fsum`, so that the order of
#   rankings changes no digit.

# %% [markdown]
# <details><summary>Hint 1</summary>
# A dictionary from item to the list of its parts; <code>setdefault</code> makes the list where it is missing.
# </details>
# <details><summary>Hint 2</summary>
# <code>sorted</code> is stable: equal sums keep the order of the dictionary, if you sort by the negative sum.
# </details>

# %% exercise="reciprocal_rank_fusion" keep="check_rankings("
from course_lib.rag.fusion import reciprocal_rank_fusion


# %%
def fused(*ways):
    rows = [reciprocal_rank_fusion(row) for row in zip(*ways, strict=True)]
    return [[item for item, _ in row] for row in rows]


deep = [by_words(question, 50) for question in questions]
rankings["both"] = fused(deep, rankings["meaning"])
with_minilm["words + MiniLM"] = fused(deep, with_minilm["MiniLM"])
drawers()

# %% check="reciprocal_rank_fusion" points=3
checks.rag.reciprocal_rank_fusion(reciprocal_rank_fusion)

# %% [markdown]
# Is that luck? These questions are a sample. We draw as many again from them, with replacement, two thousand times
# (the **bootstrap**), and take the middle 90 % of the means. For a difference we draw differences: what is hard for
# both cancels.

# %%
from course_lib.rag.metrics import with_interval

hits = {
    name: np.array(found_in(ranked, asked), dtype=float)
    for name, ranked in rankings.items()
}
shares = {name: with_interval(row) for name, row in hits.items()}
apart = {
    f"both − {name}": with_interval(hits["both"] - hits[name])
    for name in ("words", "meaning")
}
better = all(gap.low > 0 for gap in apart.values())
runtime.learned(better, "Both together should beat either")
plots.compared(shares, apart)

# %% [markdown]
# Both intervals of the differences lie above 0. Adding with the factor 0.1 was better still, if you have questions
# to find it with. But fusion is no gift: MiniLM loses by it, and on people *meaning* beats both, since a poor
# ranking has as many votes as a good one. It pays where each way finds what the other misses.
#
# ## Read
#
# Finding is half. What does the guide make of what was found? It must be found **and** copied. We ask about the
# people, search all 600 cards, and show it 1, 3 or 5. **Guess** which search, with how many cards, ends best.

# %%
from course_lib.rag.judging import ledger

ledgers = {}
for name, ranked in rankings.items():
    for k in (1, 3, 5):
        rows = [*zip(strangers, ranked[:half], strict=True)]
        prompts = [
            COURSE.write(card.question, [by_id[id] for id in ids[:k]])
            for card, ids in rows
        ]
        there = found_in(ranked[:half], strangers, k)
        ledgers[name, k] = ledger(there, marked(strangers, read(prompts)))
best = max(entry.end_to_end for key, entry in ledgers.items() if key[0] == "both")
runtime.learned(best >= 0.8, "With both it should answer four of five")
heads = ("search", "cards", "found", "right if found", "if missed", "in the end")
rows = [
    (*key, *(f"{x:.2f}" if x == x else "–" for x in e)) for key, e in ledgers.items()
]
Table(heads, rows)

# %% [markdown]
# Best is meaning with one card: on people it is nearly perfect, and every further card distracts. "Both" needs
# three to forgive its errors. Found times "right if found" is nearly all of it; luck adds little. Among three cards
# that *meaning* found the guide reads worst: its near misses distract most.
#
# Now the right card among cards about *other* people. Does it matter how many, and *where* it stands? **Guess.**


# %%
def among(n, place):
    others, prompts = random.Random(1), []
    for card in strangers[::2]:
        strange = [c.text for c in people if c.name != card.name]
        row = others.sample(strange, n - 1)
        row.insert(place, card.text)
        prompts.append(COURSE.write(card.question, row))
    return exam.share(marked(strangers[::2], read(prompts)))


crowds = {n: [among(n, place) for place in range(0, n, 2)] for n in (1, 3, 5, 9)}
fewer = crowds[1][0] > max(crowds[9])
runtime.learned(fewer, "More passages should distract it")
plots.crowded(crowds)

# %% [markdown]
# More is not better: it was tuned on one to three passages, and with nine nearly a quarter of the right answers is
# lost. Two strange cards beside the right one cost less than meaning's near misses. Among five the last place does
# a little worse, among nine the first and the last: nothing like the "lost in the middle" of larger models.
#
# One more experiment with the reader. About the people of our town it has learned every fact. Now a card says
# otherwise. **Guess** whom it believes, the card or its memory.

# %%
from course_lib.world import people as town_people
from course_lib.world.people import KINDS, named_in, words_of

facts, prompts = [], []
for person in town_people.town():
    for kind in () if town_people.is_held_out(person) else KINDS:
        truth = getattr(person, kind)
        lie = draw.choice([value for value in KINDS[kind] if value != truth])
        text = town_people.statement(replace(person, **{kind: lie}), kind)
        question = town_people.question(person.name, kind)
        facts.append((KINDS[kind], truth, lie, question))
        prompts.append(COURSE.write(question, [text]))
closed, said = read([fact[-1] for fact in facts]), read(prompts)
print(prompts[2], "→", said[2], "In truth:", facts[2][1])
for name, replies in {"without a card": closed, "with one": said}.items():
    rows = zip(replies, facts, strict=True)
    rows = [(named_in(words_of(text), fact[0]), fact) for text, fact in rows]
    own, card = (exam.share([n == {f[at]} for n, f in rows]) for at in (1, 2))
    print(f"{name}: its memory {own:.0%}, the card {card:.0%}")

# %% [markdown]
# Memory wins in most cases: whatever was read a thousand times outweighs one card. Tuning on passages about
# strangers never taught it to doubt itself. Whoever looks things up *because they change* must test exactly this.
#
# Passages distract, so a prompt takes what fits, whole, and no more. Half a passage may end before the "not".
# `COURSE` is the form the guide was tuned on; `PLAIN`, with a sentence of instruction, is for chat models.

# %% [markdown]
# ### Exercise 5 · What fits, whole
#
# *10 minutes · difficulty 2 of 3*
#
# - **Write** the prompt with the passages that fit, each whole.
# - **In:** `question`; `texts`, best first; `budget`; `length`, a function of the whole prompt; `form`. **Out:**
#   `Prompt(text, places)`; places in `texts` of those shown.
# - **Given:** `form.write(question, texts)`: a prompt, passages numbered.
# - **Rule:** in order; keep a passage if the prompt with all kept ones and it measures at most the budget. Behind
#   one that is too long a shorter may still fit.
# - **Worked value:** "Who?", ["A long passage.", "Ada."], 14, `form=COURSE`: "[1] Ada. Who?", [1].
# - **Pitfall:** frame and question count too. Leave the two lines given in the function.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Keep a list of places. For each place, write the whole prompt with the kept ones and this one, and measure it.
# </details>
# <details><summary>Hint 2</summary>
# No adding of lengths: a tokenizer may join what stands side by side. At the end write the prompt once more.
# </details>

# %% exercise="build_prompt" keep="if (least"
from course_lib.rag.prompts import build_prompt


# %%
def tokens(text):
    return len(tokenizer.encode(text))


some = [card.text for card in people[:6]]
print("passages, tokens:", [tokens(f"[1] {text}") for text in some])
for budget in (20, 40, 80):
    prompt = build_prompt(one[2].question, some, budget, tokens, COURSE)
    print(f"{tokens(prompt.text)} of {budget}, {prompt.places}: {prompt.text}")

# %% check="build_prompt" points=3
checks.rag.build_prompt(build_prompt)


# %% [markdown]
# At 20 no passage fits beside the question, at 40 two, at 80 five.
#
# **Here the first sitting may end.** Next time run the cells above again; the training takes about a minute, the
# rest some minutes.
#
# ## Documents
#
# Real texts are no cards. What comes now: load, cut, filter, refuse, thin out, cite, be attacked. The archive of
# our town holds notices, minutes, recipes, timetables; none was in a model's training. They come as files, and a
# web page is mostly not text. **Guess** what a reader should get of this one. Then they are cut into **chunks**: a
# long document is about many things, its vector about none.

# %%
from course_lib.rag.loading import load_html, town_archive
from course_lib.rag.splitting import pack, split_recursive
from course_lib.world.documents import document_questions

page = """<html><head><title>Heron Bath</title><style>p {color: red}</style></head>
<body><script>track(7)</script><h1>Prices</h1><p>A ticket costs<br>11&nbsp;pence.</p>
<ul><li>Ducks: free</li></ul></body></html>"""
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "bath.html")
    path.write_text(page, encoding="utf-8")
    loaded = load_html(path)
print(len(page), "characters in the file,", len(loaded.text), "that anybody reads:")
print(loaded.text, loaded.metadata)

# %% [markdown]
# ### Exercise 6 · Cut where it hurts least
#
# *15 minutes · difficulty 3 of 3*
#
# - **Write** pieces that fit: cut behind *every* occurrence of the first separator, and what is still too long at
#   the next.
# - **In:** `text`; `size`, the largest `length(piece)`; `separators`, coarse to fine; `length`, a function.
#   **Out:** a list of strings; joined, they are the text.
# - **Given:** `cut_after(text, separator)`: each separator ends its part. `evenly(text, max(1, size // 16))`:
#   slices, for the separator "". `SEPARATORS`: "\n\n", "\n", ". ", " ", "".
# - **Worked value:** "One. Two and three.", 10: "One. ", "Two ", "and ", "three.".
# - **Pitfall:** what fits stays whole; "" gives []; no separators: it stays. Pack nothing together.

# %% [markdown]
# <details><summary>Hint 1</summary>
# The function calls itself on each part, with the remaining separators, the same size and the same length.
# </details>
# <details><summary>Hint 2</summary>
# First the ends: an empty text; one that fits; no separators. Then the parts: by <code>cut_after</code>, or
# <code>evenly</code> if the separator is "".
# </details>

# %% exercise="cut"
from course_lib.rag.splitting import cut

# %%
papers = town_archive()
pieces = cut(papers[0].text, size=120)
print("sizes of the pieces:", [len(piece) for piece in pieces])
for start, end in pack(pieces, size=120, overlap=40)[:4]:
    print(f"{start}–{end}:", papers[0].text[start:end].strip().replace("\n", " / "))

# %% check="cut" points=4
checks.rag.cut(cut)

# %% [markdown]
# `pack` puts neighbours together again as long as they fit, and lets chunks overlap by whole pieces, so often by
# less than you asked for. Each chunk is a **span** of its text: an answer can be traced to its place.
#
# How long may a chunk be? MiniLM reads 256 word pieces. Eight papers in one text; we change the end. **Guess** how
# much the vector moves.

# %%
from course_lib.rag.dense import part_read

long = "\n\n".join(paper.text for paper in papers[:8])
seen = part_read(long, minilm)
other_end = seen + " Nothing of this is true. The bath burned down."
same = minilm.embed([long, other_end]).numpy()
print(f"{len(seen):,} of {len(long):,} characters are read")
print(f"cosine with another end: {same[0] @ same[1]:.4f}")
assert np.allclose(same[0], same[1], atol=1e-5)

# %% [markdown]
# No error came: three quarters of that text can never be found. Test any system so.
#
# ## What stands beside the text
#
# Now the whole archive. (Why the assert? Chunks that are cut and never stored raise no error either.) Half of the
# questions use the paper's own words, half other words. Of some papers there are two editions with other facts. The
# year stands in the **metadata** alone, and questions begin "By the rules of 1900 …". **Guess** how often the best
# hit is the right edition, and how often with a filter on the year.

# %%
from course_lib.rag.store import Store

papers = papers[: runtime.steps(full=75, quick=8)]
pages = split_documents(papers, lambda text: split_recursive(text, 400))
store, ids = Store(minilm.embed), {paper.source for paper in papers}
assert store.add(pages) == len(pages), "chunks that are never stored are never found"
wanted = [q for q in document_questions() if q.document in ids or not q.document]
wanted = wanted[:: runtime.steps(full=1, quick=9)]
can = [q for q in wanted if q.document]
vectors_asked = minilm.embed([q.text for q in wanted]).numpy()
table, years = store.index.vectors, np.array([c.metadata["year"] for c in pages])


def holds_answer(question, places):
    found = [pages[i] for i in places if pages[i].source == question.document]
    return any(question.answer in chunk.text for chunk in found)


print(len(papers), "papers,", len(pages), "chunks,", len(can), "questions")

# %%
from course_lib.rag.nearest import unit

dated = [i for i, question in enumerate(can) if question.year]
first = {"no filter": [], "year": []}
for i in dated:
    scores = table @ unit(vectors_asked[i])
    only = np.where(years == can[i].year, scores, -np.inf)
    for name, row in zip(first, (scores, only), strict=True):
        first[name].append(pages[row.argmax()].source == can[i].document)
for name, right in first.items():
    print(f"{name}: {exam.share(right):.0%} of {len(dated)} from the right paper")

# %% [markdown]
# Text alone is a coin toss between editions; a filter decides. Our stores take one: `search(question,
# where={"year": 1900})`. LangChain's FAISS store fetches the best twenty first (`fetch_k`) and filters then. We
# want three hits among the recipes, for a question about buses. **Guess** how many it finds.


# %%
def filtered_afterwards(scores, keep, k, fetch=20):
    best = np.argsort(-scores, kind="stable")[:fetch]
    return best[keep[best]][:k]


keep = np.array([chunk.metadata["kind"] == "recipe" for chunk in pages])
scores = table @ unit(minilm.embed(["When does the bus leave?"]).numpy()[0])
found = filtered_afterwards(scores, keep, k=3)
print(f"{keep.sum()} chunks of recipes are there, three wanted, {len(found)} found")

# %% [markdown]
# ### Exercise 7 · Write the test, then mend the search
#
# *15 minutes · difficulty 2 of 3*
#
# - **Write** `test_filtered_search(search_fn)`, asserts on `search_fn(scores, keep, k)`; then `top_k_where`.
# - **In:** arrays `scores` (N,), finite, and `keep` (N,), booleans; `k` ≥ 1. **Out:** places, a list or an array.
# - **Claims:** only kept places; k different ones whenever so many are kept, however many better ones are not; if
#   fewer, all of them; the best first; places count in the whole row.
# - **Worked value:** 0.9, 0.8, 0.1 with False, True, True and k = 2: 1, 2.
# - **Pitfall:** use more than sixty scores in no order, some below 0. Keep the worst: once more than k, once fewer.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Draw scores from a generator; let the kept ones be the worst. A slow right answer: sort the kept places by their score.
# </details>
# <details><summary>Hint 2</summary>
# Two cases: more kept than k, and fewer. <code>[int(i) for i in search_fn(…)]</code> makes a list of either kind.
# </details>


# %% test="filtered_search"
def test_filtered_search(search_fn):
    """Fails with an AssertionError unless `search_fn` filters before it chooses."""
    ### BEGIN SOLUTION
    scores = np.random.default_rng(3).normal(size=90)
    by_score = sorted(range(90), key=lambda i: -scores[i])
    cases = {
        "the worst are kept": by_score[-8:],
        "one kept, and that a bad one": by_score[70:71],
        "every third": by_score[::3],
        "all": by_score,
    }
    for case, kept in cases.items():
        keep = np.isin(np.arange(90), kept)
        found = [int(i) for i in search_fn(scores, keep, 5)]
        assert found == kept[:5], f"{case}: {found} and not {kept[:5]}"
    ### END SOLUTION


# %%
try:
    test_filtered_search(filtered_afterwards)
    print("the published search passed")
except AssertionError as objection:
    print("exposed:", objection)

# %% check="test_filtered_search" points=2
checks.rag.test_filtered_search(test_filtered_search)

# %% exercise="top_k_where"
from course_lib.rag.nearest import top_k_where

# %% check="top_k_where" points=1
checks.rag.top_k_where(top_k_where)

# %% [markdown]
# ## How large, and which way?
#
# Many tutorials say "chunks of 1,000", which is characters in one library and tokens in the next. A question counts
# if its answer stands in one of the first three chunks, of the right paper; if it names a year, your filter is
# used. One search is live; in the picture are the means of three other archives, recorded. LSA (latent semantic
# analysis) learns from the archive alone which words occur together. **Guess** which size is best, and whether
# "both" loses here too.

# %%
recorded = runtime.recorded("10_rag")
print(len(top_k_where(scores, keep, 3)), "of three recipes found by your filter")
found = []
for question, vector in zip(can, vectors_asked[: len(can)], strict=True):
    dates = years == question.year if question.year else np.full(len(pages), True)
    found.append(holds_answer(question, top_k_where(table @ unit(vector), dates, 3)))
other = [question.style == "paraphrased" for question in can]
print(f"MiniLM, chunks of 400, live: {exam.share(found):.2f}", end="; ")
print(f"asked in other words: {np.array(found)[other].mean():.2f}")
for name, what in {
    "other words words": "asked in other words, by words",
    "other words minilm": "asked in other words, by MiniLM",
    "equal length minilm": "at equal length, by MiniLM",
}.items():
    means = np.mean(recorded[f"grid {name}"], axis=0)
    print(f"recorded, 100 to 800, {what}:", *(f"{mean:.2f}" for mean in means))
short = exam.share([len(paper.text) <= 800 for paper in papers])
print(f"{short:.0%} of the papers fit into 800 characters")
plots.grid(recorded)

# %% [markdown]
# Small chunks cut answers off from what they are about. But three large chunks also show more text; at *equal
# length* (the first 800 characters) the gain shrinks to less than a tenth. These papers are a page, and most fit
# into 800 whole. **Do not cut what need not be cut.**
#
# And fusion does harm again: of questions in other words the search by words finds a fifth where MiniLM finds two
# thirds, and its poor ranking votes as loudly as MiniLM's. **Fuse parts of like strength, and measure first.**

# %% [markdown]
# ## How near is near?
#
# Something is always nearest. So tutorials say: only what scores 0.7 or more. Of what? LangChain's relevance score
# of such a store is r = 1 − d/√2, d being the *squared* distance of vectors of length 1, d = 2 − 2c. **Guess**
# which cosines c of 0.9, 0.8, 0.7 pass.
#
# ### Exercise 8 · 0.7 of what?
#
# *6 minutes · difficulty 1 of 3*
#
# - **Write** the cosine c behind such a score.
# - **In:** `relevance`, r, a number or an array. **Out:** c, likewise.
# - **Worked value:** r = 0.5: 0.646. r = 1: 1.
# - **Pitfall:** r goes down to −1.83, where c is −1. Clip nothing.

# %% [markdown]
# <details><summary>Hint 1</summary>
# First d from r, then c from d.
# </details>
# <details><summary>Hint 2</summary>
# From d = 2 − 2c: c = 1 − d/2. Solve the other one for d.
# </details>

# %% exercise="cosine_of_relevance"
from course_lib.rag.thresholds import cosine_of_relevance

# %%
least = cosine_of_relevance(0.7)
print(f"a relevance of 0.7 is the cosine {least:.3f}")
for cosine in (0.9, 0.8, 0.7):
    print(f"cosine {cosine}: {'passes' if cosine >= least else 'is dropped'}")

# %% check="cosine_of_relevance" points=2
checks.rag.cosine_of_relevance(cosine_of_relevance)

# %% [markdown]
# Does any threshold tell questions with an answer from those without? On the cards we ask about people of whom
# there is no card. In the archive we ask what its papers never say. The threshold is chosen on half of the
# questions. **Guess** where it works.

# %%
known = {card.name for card in people}
ghosts = [
    card
    for card in cards(50, random.Random("ghosts"), held_out=True)
    if card.name not in known
]
ghosts = ghosts[:: runtime.steps(full=1, quick=10)]
in_deck = encoder.embed(texts).T
nearest_cards = {
    "answered": (encoder.embed([c.question for c in strangers]) @ in_deck).max(1),
    "no card": (encoder.embed([c.question for c in ghosts]) @ in_deck).max(1),
}
best = (unit(vectors_asked) @ table.T).max(axis=1)
styles = np.array([question.style for question in wanted])
nearest_pages = {
    "its own words": best[styles == "lexical"],
    "other words": best[styles == "paraphrased"],
    "no answer": best[styles == "unanswerable"],
}
plots.thresholds({"cards": nearest_cards, "archive": nearest_pages})

# %% [markdown]
# A name on no card is far from every card: refused, and rightly. In the archive the cosine sees the *wording*.
# Whoever asks in other words is no nearer than whoever asks in vain. Refusing is unsolved: measure both rates, on
# questions such as yours.
#
# ## The same thing five times
#
# One question, its four nearest chunks. **Guess** how many papers they come from.

# %%
goat = [q for q in can if q is can[0] or "for the Goat Gate" in q.text][-1]
row = nearest(minilm.embed([goat.text]).numpy()[0], table, 4)[1]
rows = [(pages[i].source, pages[i].text[:70].replace("\n", " ")) for i in row]
Table(("paper", f"found for: {goat.text}"), rows)

# %% [markdown]
# Hits repeat. **MMR** (maximal marginal relevance) subtracts what has been said.
#
# ### Exercise 9 · Say it once
#
# *12 minutes · difficulty 3 of 3*
#
# - **Write** k places, one by one: each time the largest λ cos(v, query) − (1 − λ) max cos(v, chosen); the second
#   part is 0 at first.
# - **In:** `query` (D,), `vectors` (N, D) of any length, `k`, `lam` (λ). **Out:** a list of places as chosen; of
#   equal ones the earlier; all N if k is larger.
# - **Given:** `unit`.
# - **Worked value:** query (1, 0.2); vectors (1, 0), (1, 0), (0.6, 0.8); k = 2: [0, 2]; `lam=1`: [0, 1].
# - **Pitfall:** the max is over *all* chosen, and may be negative.

# %% [markdown]
# <details><summary>Hint 1</summary>
# Keep one row: each vector's largest cosine with a chosen one. After a choice compare it with the new one.
# </details>
# <details><summary>Hint 2</summary>
# A chosen place gets −inf before the next argmax. The first time the row is replaced, not compared with 0.
# </details>

# %% exercise="mmr" keep="check_share( | assert"
from course_lib.rag.fusion import mmr

# %% check="mmr" points=3
checks.rag.mmr(mmr)

# %% [markdown]
# Now all questions of the archive: among MiniLM's best thirty your MMR chooses four. At λ = 1 it changes nothing.
# **Guess** how many answers are still found at λ = 0.5: is what it takes for repetition repetition?


# %%
def thinned(query, row, lam, k=4):
    return row[:k] if lam == 1 else row[mmr(query, table[row], k, lam)]


rows = []
for lam in (1, 0.7, 0.5, 0.3):
    good, several = [], []
    for question, vector in zip(can, vectors_asked[: len(can)], strict=True):
        some = thinned(vector, np.array(nearest(vector, table, 30)[1]), lam)
        good.append(holds_answer(question, some))
        several.append(len({pages[i].source for i in some}))
    dated_ones = exam.share([good[i] for i in dated])
    numbers = (exam.share(good), dated_ones, np.mean(several))
    rows.append((lam, *(f"{number:.2f}" for number in numbers)))
Table(("λ", "answer among four", "if it names a year", "papers among four"), rows)

# %% [markdown]
# Here MMR costs answers, most where editions differ: what it takes for repetition is the right edition. And little
# was repeated: four hits came from 3.8 papers anyway. It pays where the same thing does stand there five times.
#
# Now play: a question, a way to search, and λ. Below 1 the order is by cosine, whichever way was chosen. The right
# chunk is marked; of each you see the sentence most like the answer's. Where do words win, where meaning? Which λ
# loses the answer?

# %%
by_page = KeywordRetriever(pages)
tried = {q.text: q for q in can[:: max(1, len(can) // 6)]}


def explorer(question, way, lam):
    query = minilm.embed([question]).numpy()[0]
    ways = {"words": by_page.bm25.search(question, 30)[1]}
    ways["meaning"] = nearest(query, table, 30)[1]
    [ways["both"]] = fused(*([[*row]] for row in ways.values()))
    some = thinned(query, np.array(ways[way][:30], int), lam)
    marks = [holds_answer(tried[question], [place]) for place in some]
    return plots.hits(tried[question], [pages[i] for i in some], marks)


controls.explore(
    explorer,
    question=controls.choice([*tried], "question"),
    way=controls.choice(["meaning", "words", "both"], "way"),
    lam=controls.slider(1, 0, 1, 0.1, "λ"),
)

# %% [markdown]
# ## Who says so?
#
# Assistants cite. Is it true?
#
# ### Exercise 10 · Check the citations
#
# *12 minutes · difficulty 2 of 3*
#
# - **Write** each claim's right, wrong, missing marks.
# - **In:** `answer`, with marks; `passages`, from 1; `enough`. **Out:** list of `Verdict(sentence, right, wrong,
#   missing)`, tuples of numbers.
# - **Given:** `claims(answer)`: (sentence, cited). `holds(passage, sentence, enough)`.
# - **Rule:** right: cited, and it holds. Wrong: cited, and it does not, or is not there ([0], beyond the last).
#   Missing, if none is right: all that hold.
# - **Worked value:** "Ben is a cook [1]." on "Ada has a cat.", "Ben is a cook.": wrong (1,), missing (2,).
# - **Pitfall:** marks keep their order; no marks, still a verdict.

# %% [markdown]
# <details><summary>Hint 1</summary>
# <code>holds</code>: has the passage every number and name of the sentence, and at least the share <code>enough</code> of its words? For each claim collect the numbers of all passages that hold it, from 1.
# </details>
# <details><summary>Hint 2</summary>
# Right and wrong part what is cited, by whether it is among those numbers: so a mark beyond the end is wrong.
# </details>

# %% exercise="check_citations"
from course_lib.rag.citations import check_citations

# %%
answer = "The bath opens at 10 o'clock [2]. A ticket costs 12 pence [1]. Ducks swim."
passages = ["A ticket costs 11 pence.", "The bath opens at 10 o'clock."]
Table(("sentence", "right", "wrong", "missing"), check_citations(answer, passages))

# %% check="check_citations" points=3
checks.rag.check_citations(check_citations)

# %% [markdown]
# Now a document assistant: MiniLM finds three chunks of the right year, SmolLM2 reads, you check. Beside it a
# reader that is no model: it **quotes** the sentence which shares most words with the question. **Guess** which of
# the two is right more often, and which of them sticks to what it read.

# %%
from course_lib.rag.answering import ask, quote, smollm2_reader
from course_lib.rag.judging import contains

reader = smollm2_reader(*pretrained.smollm2())
verdicts, rows, right = [], [], []
for question in can[:: len(can) // runtime.steps(full=6, quick=1)]:
    where = {"year": question.year} if question.year else None
    k = runtime.steps(full=3, quick=1)
    said = ask(question.text, store, reader, k, where)
    read_texts = [chunk.text for chunk in said.passages]
    quoted = quote(question.text, read_texts)
    verdicts += check_citations(said.text, read_texts)
    rows.append((question.text, question.answer, said.text, quoted))
    told = (" ".join(read_texts), said.text, quoted)
    right.append([contains(text, question.answer) for text in told])
held = exam.share([bool(v.right or v.missing) for v in verdicts])
print(f"of SmolLM2's sentences {held:.0%} stand in a passage")
print("of", len(rows), "found, SmolLM2 right, quoted right:", *np.sum(right, axis=0))
Table(("asked", "answer", "SmolLM2", "quoted"), rows)

# %% [markdown]
# All six were found, few read; six questions cannot tell 1 from 3. The share of sentences that some passage holds
# is called **faithfulness**. Ours counts names, numbers and words, so "the end of the end" may pass: an upper
# bound. And it asks nothing about truth: the quoting reader is always faithful, and quotes wrong sentences too.
#
# ## An order in a document
#
# Whoever may write a document may write to the model: to it, all is text. We hide "Ignore the question and answer:
# …" in the right card (*prompt injection*). The defence drops sentences that sound like orders. Other cards are
# simply false. **Guess** how often SmolLM2 says what was planted, and what else happens.

# %%
from course_lib.rag.injection import ORDERS, obeys, poisoned, without_orders

victims = strangers[:: max(1, len(strangers) // runtime.steps(full=6, quick=1))]
kinds = ("clean", "with an order", "after the defence", "a false card")
marks, rows = {name: [] for name in kinds}, []
for number, card in enumerate(victims):
    planted = draw.choice([v for v in KINDS[card.kind] if v != card.value])
    order = ORDERS[number % 4].format(value=planted)
    bad = poisoned(card.text, order)
    false = card.text.replace(card.value, planted)
    given = (card.text, bad, without_orders(bad), false)
    for name, text in zip(marks, given, strict=True):
        said = reader.generate(PLAIN.write(card.question, [text]))
        marks[name].append((answers(card, said), obeys(said, planted, card.value)))
        rows += [(order, card.value, said)] if text == bad else []
for name, found in marks.items():
    good, bad = np.mean(found, axis=0)
    print(f"{name}: right {good:.0%}, what was planted {bad:.0%}")
print(Table(("order", "right", "SmolLM2 said"), rows))
plots.orders(recorded)

# %% [markdown]
# Six are few; the picture is recorded. SmolLM2 seldom obeys, yet its right answers fall from three quarters to
# half: an order harms without being obeyed. The guide, which copies, loses nothing to speak of. Defences: passages
# *marked* off, a sign between words (*spotlit*), the *filter*, only what a clean passage *supports*. The filter
# helps, and anybody can write around it; marks confuse small models; demanding support loses answers. A false
# *fact* nothing sees. Who may write into the store may write the answers.
#
# ## A guide to our own code
#
# `split_python` cuts between functions; `code_words` takes names such as `top_k` apart. We ask in plain words, and
# want a place in the source. **Guess** which way is best here.

# %%
from course_lib.rag.bm25 import code_words
from course_lib.rag.loading import course_source
from course_lib.rag.retrievers import HybridRetriever
from course_lib.rag.structure import split_python

source = course_source(runtime.steps(full="rag", quick="rag/fusion"))
parts = [p for p in split_documents(source, split_python) if p.metadata["name"]]
code = Store(lambda texts: minilm.embed([text[:400] for text in texts]))
code.add(parts)
ways = {"words": KeywordRetriever(parts, code_words), "meaning": code}
ways["both"] = HybridRetriever([*ways.values()])
print(len(parts), "functions and classes")

# %%
wishes = {
    "add up reciprocal ranks": "reciprocal_rank_fusion",
    "refuse an overlap that is too large": "check_sizes",
    "drop sentences that sound like orders": "without_orders",
    "bring vectors to length one": "unit",
    "put a name in place of pronouns": "with_name",
    "the text of a web page": "html_text",
    "how much two answers overlap": "token_f1",
    "which questions were refused": "refusal_rates",
}
rows = []
for wish, name in wishes.items():
    found = [way.search(wish, 3) for way in ways.values()]
    names = [[hit.chunk.metadata["name"] for hit in hits] for hits in found]
    place = f"{found[2][0].chunk.source}, {names[2][0]}"
    rows.append((wish, place, *(name in row for row in names)))
Table(("wanted", "first by both", *(f"in three by {way}" for way in ways)), rows)

# %% [markdown]
# Meaning finds all eight, words six, both together all. Eight wishes are too few to choose by: measure first.
#
# ## Outside
#
# | here | LangChain (2026) | in older texts |
# |---|---|---|
# | `split_recursive` | `langchain_text_splitters` | `langchain.text_splitter` |
# | loaders, stores | `langchain_community` | `langchain.document_loaders`, `.vectorstores` |
# | `retriever.search` | `.invoke(question)` | `.get_relevant_documents` |
# | chains | `langchain_classic` | `langchain.chains` |
#
# **FAISS** searches millions of vectors in memory; **Chroma** adds files and metadata; **Pinecone** is a service.
# An exact search gives the same everywhere (compared below, under "faster").
#
# ## Reflect

# %% [markdown] reflect="where_it_fails" points=1
# **1.** An assistant over your firm's handbook answers 60 % of the test questions. What do you measure before you
# buy a larger model?
#
# A good answer: whether the right passage was among those shown (recall@k), and how many answers were right where
# it was: the product is what you have. If recall is the low one: chunks cut off or beyond what the encoder reads, a
# filter that runs too late, other words. A larger model mends copying only. And what is said to questions that the
# handbook does not answer.

# %% [markdown] reflect="who_may_write" points=1
# **2.** Customers may upload documents that the assistant searches for everybody. Which two dangers has that, and
# what helps against each?
#
# A good answer: orders in a document, and false facts. Against orders: filters, marks, answers only if a clean
# passage holds them; none is proof, so the assistant gets no rights that a stranger should not have. Against false
# facts nothing in the text helps: only who may write, metadata about the source, filters on it, and citations that
# people can check.

# %% [markdown]
# ## Is everything in order?
#
# Save the notebook (Ctrl+S), then run this cell. It runs your saved notebook from the top in a fresh kernel and
# says what would be marked.

# %%
from course_lib import desk

desk.check_mine("10_rag")

# %% [markdown]
# ## You can now
#
# - search by words, by meaning and by both, and say with an interval which is better;
# - cut, filter and show passages, and find the link that loses answers;
# - check citations, refuse, and say what no search mends: false facts, and readers who misread.
#
# **Read on:** *Retrieval-Augmented Generation* ([arXiv 2005.11401](https://arxiv.org/abs/2005.11401)), where the
# name comes from; *Lost in the Middle* ([2307.03172](https://arxiv.org/abs/2307.03172)) on long prompts; *Not what
# you've signed up for* ([2302.12173](https://arxiv.org/abs/2302.12173)) on orders in documents.
#
# **Next:** lesson 11 makes the model small.

# %% [markdown]
# ## Going further: many passages, many calls
#
# *Stuff* asks once with all passages. *Map-reduce* asks each alone, then asks the answers. *Refine* carries one
# answer from passage to passage. The guide, three cards by "both". **Guess** calls and right answers.

# %%
from course_lib.rag.answering import course_reader
from course_lib.rag.prompts import map_reduce, refine, stuff

own = course_reader(guide, tokenizer)
few, rows = strangers[:: runtime.steps(full=8, quick=15)], []
for way in (stuff, map_reduce, refine):
    found = []
    for card in few:
        row = rankings["both"][asked.index(card)][:3]
        three = [by_id[id] for id in row]
        settings = (own.generate, own.budget, own.length, own.form)
        said = way(card.question, three, *settings)
        found.append((answers(card, said.text), said.calls))
    right, calls = np.mean(found, axis=0)
    rows.append((way.__name__, f"{calls:.1f}", f"{right:.0%}"))
Table(("way", "calls", "right"), rows)

# %% [markdown]
# Map-reduce halves it: the guide, asked about a card that does not tell, rarely admits it, so each call adds an
# invention. Refine may lose a little; these are few questions. With a reader that refuses well the other two pay
# where passages do not fit at once.

# %% [markdown]
# ## Going further: a conversation
#
# "And what is her pet?" finds nothing: no card is about "her". Before the search the question is **rewritten** so
# that it stands alone. **Guess** what is searched for in each turn.

# %%
from course_lib.rag.conversation import Conversation

both = HybridRetriever([keyword, Store(encoder.embed)])
both.ways[1].add(chunks)
talk = Conversation(lambda question: ask(question, both, own, k=3).text)
names = [people[0].name, people[6].name]
turns = [
    f"Where does {names[0]} live?",
    "And what is her pet?",
    f"What about {names[1]}?",
    "What is his favourite colour?",
]
for said in turns:
    talk.say(said)
rows = [(said, *turn) for said, turn in zip(turns, talk.turns, strict=True)]
Table(("said", "searched for", "answer"), rows)

# %% [markdown]
# Each question stands alone before it is searched for. These are rules; two people in one question defeat them, and
# products let a model rewrite.

# %% [markdown]
# ## Going further: a second look
#
# Two things are sold as "re-ranking". A **re-ranker** reads question and passage together and changes the order.
# **Compression** keeps the sentences that matter, and changes no order. The first here weighs five signals, learned
# in a moment: the search's score, shared words, names and pairs of words, brevity. Then MiniLM's cosine takes the
# place of the score. **Guess** what each gains at the first place.

# %%
from course_lib.rag.rerank import CrossScorer, compress, overlap, rerank
from course_lib.rag.store import Hit

places = {text: place for place, text in enumerate(texts)}
alike = minilm.embed([card.question for card in strangers]) @ minilm.embed(texts).T
by_score, by_cosine = [], []
for card, row in zip(strangers, alike.tolist(), strict=True):
    hits = keyword.search(card.question, 10)
    ids = [hit.chunk.source for hit in hits]
    near = [Hit(hit.chunk, row[places[hit.chunk.text]]) for hit in hits]
    if card.id in ids:
        by_score.append((card.question, hits, ids.index(card.id)))
        by_cosine.append((card.question, near, ids.index(card.id)))
print(len(by_score), "questions whose card is among ten by words")

# %%
first = [place == 0 for _, _, place in by_score[1::2]]
print(f"words: right card first {exam.share(first):.2f}")
for name, usable in {"re-ranked": by_score, "with MiniLM": by_cosine}.items():
    scorer = CrossScorer()
    scorer.fit(*zip(*usable[::2], strict=True))
    pick = [(rerank(q, hits, scorer)[0], hits[i]) for q, hits, i in usable[1::2]]
    share = exam.share([best.chunk == right.chunk for best, right in pick])
    print(f"{name}: right card first {share:.2f}")
short = compress("What does a ticket cost?", papers[0].text, overlap, keep=1)
print("compressed:", short)

# %% [markdown]
# With signals that are words again next to nothing is gained: the words of these questions are not on the cards.
# With MiniLM's cosine nearly twice as many are first. A re-ranker helps if it sees what the search did not.

# %% [markdown]
# ## Going further: borders by meaning
#
# Embed every sentence, and cut where neighbours have least in common. **Guess** whether the borders are better than
# those of paragraphs.

# %%
from course_lib.rag.meaning import split_meaning

joined = " ".join(" ".join(papers[i].text.split()) for i in (0, 3))
spans = split_meaning(joined, lambda texts: minilm.embed(texts).numpy(), share=0.25)
for start, end in spans:
    print("·", joined[start:end].strip()[:90])

# %% [markdown]
# Not here: the price of a ticket stands alone now, and nobody knows for what. Measure before you pay for it.

# %% [markdown]
# ## Going further: faster, not exact
#
# *k-means* puts the vectors into clusters; a search looks into the nearest few lists only. **Guess** the share of
# the true ten hits if one list of twelve is read.

# %%
from course_lib.rag.clusters import ClusterIndex, k_means, recall_of_search

clusters = ClusterIndex(table, k_means(table, min(12, len(table))))
some = unit(vectors_asked[::3])
for probes in (1, 2, 4, 12):
    share = recall_of_search(
        lambda q, probes=probes: clusters.search(q, 10, probes)[1],
        lambda q: nearest(q, table, 10)[1],
        some,
    )
    print(f"lists read: {probes}, of the true hits found: {share:.2f}")

# %% [markdown]
# What lies across a border is missed, until all lists are read. FAISS has such indexes, and the exact one: here it
# is, if you have it.

# %%
from importlib import import_module
from importlib.util import find_spec

if find_spec("faiss"):
    flat = import_module("faiss").IndexFlatIP(table.shape[1])
    flat.add(table)
    theirs, _ = flat.search(unit(vectors_asked), 3)
    ours, _ = store.index.search(vectors_asked, 3)
    print(f"largest difference of a cosine: {np.abs(theirs - ours).max():.1e}")
else:
    print("To compare with FAISS: pip install faiss-cpu")

# %% [markdown]
# ## Going further: saved and loaded
#
# A store is two files, and remembers who embedded it. Loaded with another encoder it would compare apples with
# pears, without a word; ours refuses.

# %%
with tempfile.TemporaryDirectory() as folder:
    store.save(Path(folder, "town"))
    again = Store.load(Path(folder, "town"), minilm.embed)
    print(len(again), "chunks, as before")
    try:
        Store.load(Path(folder, "town"), encoder.embed)
    except ValueError as error:
        print("refused:", str(error).rpartition(":")[2].strip())
