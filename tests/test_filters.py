"""Filters of scores: what may still be drawn, against paper, loops and transformers' own."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from course_lib.pretrained.folders import from_hf
from course_lib.sampling.filters import (
    greedy,
    min_p,
    probabilities,
    sampler,
    temperature,
    top_k,
    top_p,
)
from course_lib.sampling.generate import generate
from course_lib.transformer import Config, Transformer

PAPER = torch.tensor([[0.15, 0.5, 0.05, 0.3]], dtype=torch.float64).log()
ALL = {
    "temperature": partial(temperature, value=0.7),
    "top_k": partial(top_k, k=5),
    "top_p": partial(top_p, p=0.8),
    "min_p": partial(min_p, p=0.1),
    "greedy": greedy,
}
every_filter = pytest.mark.parametrize("name", ALL)
CUTS = ("top_k", "top_p", "min_p", "greedy")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(shape=(200, 50), seed=0, size=3.0):
    return torch.randn(shape, generator=seeded(seed)) * size


def tied(shape=(200, 50), seed=0):
    """Whole numbers, so that most scores occur several times."""
    return torch.randint(-4, 5, shape, generator=seeded(seed)).float()


def kept(logits):
    return [row.nonzero().flatten().tolist() for row in logits > -math.inf]


# ---- worked on paper


@pytest.mark.parametrize(
    ("p", "tokens"),
    [
        (0.0, [1]),
        (1e-9, [1]),
        (0.4, [1]),
        (0.6, [1, 3]),
        (0.79, [1, 3]),
        (0.9, [0, 1, 3]),
        (0.96, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_the_nucleus_holds_the_token_that_crosses_p(p, tokens):
    assert kept(top_p(PAPER, p)) == [tokens]


def test_heat_changes_the_nucleus_so_the_order_of_filters_matters():
    sizes = []
    for heat in (0.5, 1.0, 2.0):  # .25/.365 = .68; .95; .32 + .24 + .17 + .10 of .83
        sizes.append(len(kept(top_p(temperature(PAPER, heat), 0.9))[0]))
    assert sizes == [2, 3, 4]
    cut_first = temperature(top_p(PAPER, 0.9), 2.0)
    assert kept(cut_first) == [[0, 1, 3]]


def test_temperature_squares_the_odds_at_one_half():
    odds = probabilities(PAPER, [partial(temperature, value=0.5)])[0]
    torch.testing.assert_close(
        odds[1] / odds[0], torch.tensor((0.5 / 0.15) ** 2).double()
    )


@pytest.mark.parametrize(
    ("p", "tokens"),
    [
        (0.0, [0, 1, 2, 3]),
        (0.05, [0, 1, 2, 3]),
        (0.2, [0, 1, 3]),
        (0.5, [1, 3]),
        (0.7, [1]),
        (1.0, [1]),
    ],
)
def test_min_p_compares_with_the_likeliest(p, tokens):
    assert kept(min_p(PAPER, p)) == [tokens]


def test_top_k_keeps_all_that_tie_with_the_last():
    logits = torch.tensor([[2.0, 5.0, 2.0, 1.0, 2.0]])
    sizes = [len(kept(top_k(logits, k))[0]) for k in (1, 2, 3, 4, 5, 6, 1000)]
    assert sizes == [1, 4, 4, 4, 5, 5, 5]
    flat = torch.zeros(1, 4)
    assert kept(top_k(flat, 1)) == [[0, 1, 2, 3]]
    assert kept(greedy(flat)) == [[0]]


def test_a_nucleus_of_equals_has_as_many_as_p_asks_for():
    flat = torch.zeros(1, 10)
    sizes = [len(kept(top_p(flat, p))[0]) for p in (0.0, 0.05, 0.15, 0.35, 0.95, 1.0)]
    assert sizes == [1, 1, 2, 4, 10, 10]
    assert kept(top_p(flat, 0.15)) == [[8, 9]]  # the higher ids, as the contract says


# ---- invariants


@every_filter
def test_a_filter_leaves_its_input_shape_and_type_alone(name):
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        logits = drawn((3, 2, 9)).to(kind)
        before = logits.clone()
        after = ALL[name](logits)
        assert logits.equal(before)
        assert (after.shape, after.dtype) == (logits.shape, kind)
        alone = ALL[name](logits[1, 1])  # rows are independent
        assert after[1, 1].equal(alone)


@pytest.mark.parametrize("name", CUTS)
def test_what_stays_keeps_its_score_and_the_likeliest_always_stays(name):
    for logits in (drawn(), tied(), drawn(size=40.0)):
        after = ALL[name](logits)
        stays = after > -math.inf
        assert after[stays].equal(logits[stays])
        assert stays.any(dim=1).all()
        top = logits.amax(dim=1, keepdim=True)
        assert (stays & (logits == top)).any(dim=1).all()
        worst = logits.masked_fill(~stays, math.inf).amin(dim=1)
        best_gone = logits.masked_fill(stays, -math.inf).amax(dim=1)
        assert (best_gone <= worst).all()  # nothing unlikelier stays


@every_filter
def test_a_shift_of_all_scores_changes_no_probability(name):
    logits = torch.randint(-512, 512, (100, 20), generator=seeded()) / 64.0
    one = probabilities(logits, [ALL[name]])
    other = probabilities(logits + 64.0, [ALL[name]])  # exact in float32
    torch.testing.assert_close(
        one, other, rtol=1e-5, atol=1e-7
    )  # rounding of the division


@pytest.mark.parametrize("name", CUTS)
def test_what_is_forbidden_stays_forbidden(name):
    logits = drawn((50, 12))
    gone = torch.rand(50, 12, generator=seeded(1)) < 0.8
    gone[torch.arange(50), torch.arange(50) % 12] = False  # one possible token at least
    after = ALL[name](logits.masked_fill(gone, -math.inf))
    assert (after[gone] == -math.inf).all()
    assert (after > -math.inf).any(dim=1).all()
    assert probabilities(after).isfinite().all()


def test_larger_settings_keep_all_that_smaller_ones_keep():
    logits = drawn()
    for one, values in (
        (top_k, (1, 2, 7, 49, 50, 60)),
        (top_p, (0.0, 1e-6, 0.3, 0.9, 0.999, 1.0)),
        (min_p, (1.0, 0.5, 0.1, 1e-6, 0.0)),
    ):
        for less, more in pairwise(one(logits, value) > -math.inf for value in values):
            assert (more | ~less).all()


@pytest.mark.parametrize("size", [0.01, 3.0])
def test_settings_that_ask_for_nothing_do_nothing_even_on_a_large_vocabulary(size):
    """Sums of 50,000 floats miss 1; a filter that trusts them loses the tail at p = 1."""
    logits = drawn((8, 50_000), size=size)
    assert top_p(logits, 1.0).equal(logits)
    assert min_p(logits, 0.0).equal(logits)
    assert top_k(logits, 50_000).equal(logits)
    assert temperature(logits, 1.0).equal(logits)


def test_the_limits_of_every_setting_are_greedy():
    logits = drawn()
    best = greedy(logits)
    for one in (top_k(logits, 1), top_p(logits, 0.0), min_p(logits, 1.0)):
        assert one.equal(best)
    cold = probabilities(logits, [partial(temperature, value=1e-6)])
    assert cold.argmax(-1).equal(logits.argmax(-1))


# ---- a slow loop


def test_the_nucleus_is_the_one_that_a_loop_collects():
    for p in (0.1, 0.5, 0.77, 0.95):
        logits = drawn((60, 30), seed=3).double()
        expected = []
        for row in logits.softmax(-1).tolist():
            mass, chosen = 0.0, []
            for token in sorted(range(30), key=lambda i: -row[i]):
                if mass >= p:
                    break
                chosen.append(token)
                mass += row[token]
            expected.append(sorted(chosen))
        assert kept(top_p(logits, p)) == expected


# ---- transformers


@pytest.mark.parametrize("scores", [drawn(), tied(), drawn(size=30.0), drawn((3, 1))])
def test_temperature_top_k_and_min_p_equal_transformers_bit_by_bit(scores):
    for t in (0.1, 0.7, 1.0, 1.3, 10.0):
        assert temperature(scores, t).equal(TemperatureLogitsWarper(t)(None, scores))
    for k in (1, 2, 10, 50, 51, 999):
        assert top_k(scores, k).equal(TopKLogitsWarper(k)(None, scores))
    for p in (0.0, 1e-9, 0.05, 0.3, 0.9, 1.0):
        assert min_p(scores, p).equal(MinPLogitsWarper(p)(None, scores))


NUCLEI = (0.0, 1e-9, 0.1, 0.5, 0.8, 0.9, 0.99, 0.999999, 1.0)


@pytest.mark.parametrize("size", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_top_p_equals_transformers_bit_by_bit(kind, size):
    scores = drawn((200, 300), seed=7, size=size).to(kind)
    for p in NUCLEI:
        assert top_p(scores, p).equal(TopPLogitsWarper(p)(None, scores))


def test_of_equal_scores_top_p_keeps_as_many_as_transformers():
    """Which of them is up to the sort there, and not defined."""
    scores = tied()
    for p in NUCLEI:
        ours, theirs = top_p(scores, p), TopPLogitsWarper(p)(None, scores)
        assert ours.sort(dim=-1).values.equal(theirs.sort(dim=-1).values)


def test_a_chain_of_filters_draws_from_what_transformers_draws_from(tmp_path):
    """All settings at once, in the order in which its generate applies them."""
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 16}
    more = {"num_hidden_layers": 1, "intermediate_size": 24, "vocab_size": 29}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    theirs = LlamaForCausalLM(
        LlamaConfig(**sizes, **more, **ends, initializer_range=0.4)
    ).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.randint(29, (4, 5), generator=seeded())
    settings = {"temperature": 0.7, "top_k": 10, "top_p": 0.9, "min_p": 0.05}
    scores = theirs.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        max_new_tokens=1,
        output_scores=True,
        return_dict_in_generate=True,
        **settings,
    ).scores[0]
    filters = [
        partial(temperature, value=0.7),
        partial(top_k, k=10),
        partial(top_p, p=0.9),
        partial(min_p, p=0.05),
    ]
    logits = from_hf(tmp_path)(ids)[:, -1]
    torch.testing.assert_close(
        probabilities(logits, filters), scores.softmax(-1), rtol=1e-4, atol=1e-6
    )  # two float32 implementations of a model
    assert len({len(row) for row in kept(scores)}) > 1


# ---- at work in generate

CONFIG = Config(vocabulary=29, context=40, width=24, layers=1, heads=2, tied=False)
MODEL = Transformer(CONFIG, generator=seeded())
with torch.no_grad():
    for weight in MODEL.parameters():
        if weight.dim() > 1:
            weight.normal_(std=0.4, generator=seeded(1))  # large, so that texts vary
IDS = torch.randint(29, (6, 4), generator=seeded(2))


def test_filters_drop_into_generate():
    choose, allowed = sampler(partial(top_k, k=3), generator=seeded(3)), []

    def watched(logits):
        allowed.append(top_k(logits, 3) > -math.inf)
        return choose(logits)

    text = generate(MODEL, IDS, 12, choose=watched)
    assert len(allowed) == 12
    for t, may in enumerate(allowed):
        assert may.gather(1, text[:, 4 + t, None]).all()
        assert (may.sum(dim=1) == 3).all()
    assert text.equal(
        generate(
            MODEL, IDS, 12, choose=sampler(partial(top_k, k=3), generator=seeded(3))
        )
    )
    assert not text.equal(generate(MODEL, IDS, 12, temperature=0))


def test_greedy_in_generate_is_temperature_zero():
    expected = generate(MODEL, IDS, 12, temperature=0)
    assert len(set(expected[:, 4:].flatten().tolist())) > 5  # a text worth comparing
    for last in (greedy, partial(top_k, k=1), partial(top_p, p=0.0)):
        assert generate(MODEL, IDS, 12, choose=sampler(last)).equal(expected)


def test_a_sampler_without_filters_draws_what_generate_draws():
    warm = partial(temperature, value=1.7)
    text = generate(MODEL, IDS, 12, choose=sampler(warm, generator=seeded(5)))
    assert text.equal(generate(MODEL, IDS, 12, temperature=1.7, generator=seeded(5)))


def test_draws_follow_the_filtered_probabilities():
    choose = sampler(partial(top_p, p=0.9), generator=seeded(6))
    n = 40_000
    counts = choose(PAPER.expand(n, 4)).bincount(minlength=4)
    expected = n * torch.tensor([0.15, 0.5, 0.0, 0.3]) / 0.95
    assert counts[2] == 0
    shares = ((counts - expected) ** 2 / expected)[[0, 1, 3]]
    assert shares.sum() < 18.4  # 2 degrees of freedom: right draws fail once in 10,000


# ---- guards


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (partial(temperature, value=0), "above 0, .* value=0"),
        (partial(temperature, value=-1.0), "value=-1.0"),
        (partial(temperature, value=math.nan), "value=nan"),
        (partial(top_k, k=0), "at least one token .* k=0"),
        (partial(top_p, p=1.01), "p=1.01"),
        (partial(top_p, p=-0.1), "p=-0.1"),
        (partial(min_p, p=90), "p=90"),
    ],
)
def test_an_impossible_setting_is_named(wrong, words):
    with pytest.raises(AssertionError, match=words):
        wrong(PAPER)
