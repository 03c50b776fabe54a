"""Writing text: greedy equals recomputation and transformers, draws follow the probabilities, rows are independent."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from course_lib.pretrained.folders import from_hf
from course_lib.sampling.generate import blank_after, draw, generate, inverse_cdf
from course_lib.transformer import Config, Transformer

CONFIG = Config(vocabulary=29, context=40, width=24, layers=2, heads=6, hidden=40)
IDS = torch.randint(29, (4, 7), generator=torch.Generator().manual_seed(5))
LEFT = torch.arange(7) >= torch.tensor([[0], [2], [6], [3]])  # 7, 5, 1 and 4 tokens


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(config=CONFIG, seed=0):
    """A model with large weights, so that its texts vary."""
    draws = seeded(seed)
    model = Transformer(config, generator=draws)
    with torch.no_grad():
        for p in model.parameters():
            size = 0.3 if p.dim() > 1 else 0.05  # large biases always say the same
            p.add_(torch.randn(p.shape, generator=draws) * size)
    return model.double()


MODEL = built()
KINDS = {
    "grouped": MODEL,
    "gpt2": built(
        replace(
            CONFIG,
            kv_heads=6,
            positions="learned",
            norm="layer",
            mlp="gelu",
            bias=True,
            tied=False,
        )
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def greedy_by_hand(model, ids, n):
    """Each text alone, everything read anew for every token."""
    for _ in range(n):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    return ids


# ---- greedy


@every_kind
@pytest.mark.parametrize("cache", [True, False])
def test_greedy_text_equals_full_recomputation(kind, cache):
    text = generate(KINDS[kind], IDS, 20, temperature=0, cache=cache)
    assert text.shape == (4, 27)
    assert text.equal(greedy_by_hand(KINDS[kind], IDS, 20))
    assert len(set(text[:, 7:].flatten().tolist())) > 8  # a text worth comparing


@every_kind
@pytest.mark.parametrize("cache", [True, False])
def test_a_padded_prompt_is_continued_as_if_it_stood_alone(kind, cache):
    model = KINDS[kind]
    text = generate(model, IDS, 20, temperature=0, mask=LEFT, cache=cache)
    for row, keep in enumerate(LEFT):
        alone = greedy_by_hand(model, IDS[row : row + 1, keep], 20)
        assert text[row, 7:].equal(alone[0, -20:])
        assert text[row, :7].equal(IDS[row])


def hugging(seed):
    sizes = {"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 24}
    more = {"num_hidden_layers": 2, "intermediate_size": 40, "vocab_size": 29}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    torch.manual_seed(seed)
    config = LlamaConfig(**sizes, **more, **ends, initializer_range=0.4)
    return LlamaForCausalLM(config).eval()


def hugging_gpt2(seed):
    sizes = {"n_embd": 24, "n_head": 6, "n_layer": 2, "vocab_size": 29}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    torch.manual_seed(seed)
    config = GPT2Config(**sizes, **ends, n_positions=40, initializer_range=0.4)
    return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("make", [hugging, hugging_gpt2])
def test_greedy_text_equals_that_of_transformers(make, seed, tmp_path):
    theirs = make(seed)
    theirs.save_pretrained(tmp_path)
    ours = from_hf(tmp_path)
    for mask in (torch.ones_like(LEFT), LEFT):
        settings = {"attention_mask": mask.long(), "max_new_tokens": 15}
        expected = theirs.generate(IDS, **settings, do_sample=False)
        assert generate(ours, IDS, 15, temperature=0, mask=mask).equal(expected)
        end = expected[0, 10].item()
        settings["eos_token_id"] = end
        expected = theirs.generate(IDS, **settings, do_sample=False)
        text = generate(ours, IDS, 15, temperature=0, mask=mask, end=end)
        assert text[:, : expected.shape[1]].equal(expected)
        assert (text[:, expected.shape[1] :] == 0).all()


def test_greedy_text_uses_no_randomness():
    state = torch.get_rng_state()
    generate(MODEL, IDS, 3, temperature=0)
    generate(MODEL, IDS, 3, generator=seeded())
    assert torch.get_rng_state().equal(state)


# ---- drawing one token


def test_a_uniform_number_falls_into_the_interval_on_paper():
    chances = torch.tensor([0.25, 0.0, 0.5, 0.25]).expand(7, 4)
    uniforms = torch.tensor([0.0, 0.2499, 0.25, 0.5, 0.7499, 0.75, 0.9999])
    assert inverse_cdf(chances, uniforms).tolist() == [0, 0, 2, 2, 2, 3, 3]
    halved = torch.tensor([[0.3, 0.2]])  # a sum that is not 1 is shared out as it is
    assert inverse_cdf(halved, torch.tensor([0.55])).item() == 0


def test_tokens_are_drawn_as_often_as_their_probabilities_say():
    chances = torch.tensor([0.5, 0.2, 0.0, 0.15, 0.1, 0.05])
    n = 100_000
    counts = draw(chances.expand(n, 6), seeded()).bincount(minlength=6)
    assert counts[2] == 0
    expected = n * chances[chances > 0]
    chi_square = ((counts[chances > 0] - expected) ** 2 / expected).sum()
    assert (
        chi_square < 23.5
    )  # 4 degrees of freedom: passed by chance 999 in 1000 at 18.5
    assert chi_square > 0.02  # nor too good to be drawn


LAST = 1 - 2**-24  # the largest number below 1 that torch.rand gives


@pytest.mark.parametrize("scale", [1.0, 0.9999999, 1.0000001, 0.99, 1e-3])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_a_token_of_probability_zero_is_never_drawn(kind, scale):
    draws = seeded(1)
    chances = torch.rand(500, 40, generator=draws)
    chances[torch.rand(500, 40, generator=draws) < 0.7] = 0
    chances[:, [0, 39]] = 0  # the first and the last, where rounding strikes
    chances[:, 20] += 0.01
    chances = (chances / chances.sum(-1, keepdim=True) * scale).to(kind)
    edges = [0.0, 2**-24, 0.5, 0.999999, LAST]
    for uniform in (*(torch.full((500,), u) for u in edges), torch.rand(500)):
        tokens = inverse_cdf(chances, uniform)
        assert (chances.gather(1, tokens[:, None]) > 0).all()


def test_numbers_at_the_very_end_draw_the_last_possible_token():
    chances = torch.tensor([[0.1] * 10 + [0.0] * 5])  # 0.1 ten times over is not 1
    assert inverse_cdf(chances, torch.tensor([LAST])).item() == 9
    tiny = torch.tensor([[1.0, 1e-30, 0.0]])
    assert inverse_cdf(tiny, torch.tensor([LAST])).item() == 0
    assert inverse_cdf(torch.tensor([[1.0]]), torch.tensor([LAST])).item() == 0


def test_sums_that_miss_a_zero_by_rounding_do_not_matter(monkeypatch):
    """A GPU adds in another order; its sums may rise a little at a zero."""
    chances = torch.tensor([[0.5, 0.0, 0.5]])
    wrong = torch.tensor([[0.5, 0.5000001, 1.0]])
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda *_, **__: wrong)
    assert inverse_cdf(chances, torch.tensor([0.5])).item() in (0, 2)


def test_one_number_per_row_is_asked_for():
    with pytest.raises(AssertionError, match="one number per row"):
        inverse_cdf(torch.ones(2, 3), torch.rand(3))


# ---- drawing texts


def test_sampled_tokens_follow_the_model():
    """The first two tokens of many texts, against their exact joint probability."""
    model = built(replace(CONFIG, vocabulary=5), seed=3)
    prompt, n = torch.tensor([[1, 4, 2]]), 20_000
    text = generate(
        model, prompt, 2, samples=n, temperature=1.5, generator=seeded(), cache=True
    )
    counts = (text[:, 3] * 5 + text[:, 4]).bincount(minlength=25).view(5, 5)
    with torch.no_grad():
        longer = torch.cat([prompt.expand(5, 3), torch.arange(5)[:, None]], dim=1)
        logits = model(longer) / 1.5
    expected = n * logits[0, 2].softmax(-1)[:, None] * logits[:, 3].softmax(-1)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert expected.min() > 5
    assert chi_square < 56  # 24 degrees of freedom: right draws fail twice in 10,000


def test_a_low_temperature_becomes_greedy_and_a_high_one_uniform():
    greedy = generate(MODEL, IDS, 10, temperature=0)
    assert generate(MODEL, IDS, 10, temperature=1e-4, generator=seeded()).equal(greedy)
    wild = generate(MODEL, IDS, 30, temperature=1e6, samples=50, generator=seeded())
    shares = wild[:, 7:].flatten().bincount(minlength=29) / 6000
    assert (shares - 1 / 29).abs().max() < 0.012  # five standard deviations


def test_one_seed_gives_one_text_and_another_another():
    one = generate(MODEL, IDS, 20, generator=seeded(1))
    assert generate(MODEL, IDS, 20, generator=seeded(1)).equal(one)
    assert not generate(MODEL, IDS, 20, generator=seeded(2)).equal(one)
    assert generate(MODEL, IDS, 20, generator=seeded(1), cache=False).equal(one)


def test_samples_are_side_by_side_and_equal_repeated_prompts():
    many = generate(MODEL, IDS, 12, mask=LEFT, samples=3, generator=seeded())
    assert many.shape == (12, 19)
    repeated = generate(
        MODEL,
        IDS.repeat_interleave(3, 0),
        12,
        mask=LEFT.repeat_interleave(3, 0),
        generator=seeded(),
    )
    assert many.equal(repeated)
    assert not many[0].equal(many[1])


def test_a_row_does_not_depend_on_its_neighbours():
    text = generate(MODEL, IDS, 15, mask=LEFT, generator=seeded())
    others = IDS.clone()
    others[[0, 2, 3]] = (others[[0, 2, 3]] + 1) % 29
    again = generate(MODEL, others, 15, mask=LEFT, generator=seeded())
    assert again[1].equal(text[1])
    assert not again[0, 7:].equal(text[0, 7:])


# ---- the end


@pytest.mark.parametrize("mask", [None, LEFT])
@pytest.mark.parametrize("cache", [True, False])
def test_after_its_end_a_row_is_padded_and_the_others_go_on_unchanged(mask, cache):
    settings = {"mask": mask, "samples": 8, "cache": cache}
    endless = generate(MODEL, IDS, 30, generator=seeded(), **settings)
    ended = generate(MODEL, IDS, 30, generator=seeded(), end=3, pad=28, **settings)
    lengths = set()
    for free, row in zip(endless[:, 7:].tolist(), ended[:, 7:].tolist(), strict=True):
        stop = free.index(3) + 1 if 3 in free else 30
        assert row == free[:stop] + [28] * (30 - stop)
        lengths.add(stop)
    assert len(lengths) > 5  # rows were dropped at many different times
    assert 30 in lengths


def test_finished_rows_are_dropped_from_the_batch():
    widths = []

    def choose(logits):
        widths.append(len(logits))
        n = len(widths)
        return torch.tensor([9 if row < 2 * n - 2 else 5 for row in range(len(logits))])

    text = generate(MODEL, IDS, 20, choose=choose, end=9, pad=0)
    assert widths == [4, 4, 2]  # then nobody is left
    assert text[:, 7:10].tolist() == [[5, 9, 0], [5, 9, 0], [5, 5, 9], [5, 5, 9]]
    assert (text[:, 10:] == 0).all()


def test_an_end_inside_the_prompt_ends_nothing():
    ids = torch.full((2, 3), 9)
    text = generate(
        MODEL, ids, 3, choose=lambda logits: logits[:, 0].long() * 0 + 4, end=9
    )
    assert text.tolist() == [[9, 9, 9, 4, 4, 4]] * 2


def test_blanks_follow_the_first_end_only():
    text = torch.tensor([[1, 2, 1, 3, 1], [3, 3, 3, 3, 3], [1, 1, 2, 2, 2]])
    expected = [[1, 2, 1, 0, 0], [3, 3, 3, 3, 3], [1, 1, 0, 0, 0]]
    assert blank_after(text, start=1, end=1, pad=0).tolist() == expected


# ---- the rest


def test_choose_sees_the_models_scores():
    seen = []

    def choose(logits):
        seen.append(logits)
        return logits.argmin(dim=-1)

    text = generate(MODEL, IDS, 3, choose=choose)
    for i, scores in enumerate(seen):
        torch.testing.assert_close(scores, MODEL(text[:, : 7 + i])[:, -1])
        assert text[:, 7 + i].equal(scores.argmin(-1))


@pytest.mark.parametrize("mask", [None, LEFT])
@pytest.mark.parametrize("cache", [True, False])
def test_rules_see_the_scores_and_the_texts_that_are_still_written(mask, cache):
    seen = []

    def note(scores, ids, real):
        seen.append((scores.clone(), ids.clone(), real.clone()))
        return scores

    settings = {"mask": mask, "samples": 2, "cache": cache, "temperature": 1.3}
    free = generate(MODEL, IDS, 20, generator=seeded(), end=3, **settings)
    text = generate(MODEL, IDS, 20, generator=seeded(), end=3, rules=[note], **settings)
    assert text.equal(free)
    keep = torch.ones(8, 7).bool() if mask is None else mask.repeat_interleave(2, dim=0)
    for i, (scores, ids, real) in enumerate(seen):
        assert ids.shape == real.shape == (len(scores), 7 + i)
        with torch.no_grad():
            torch.testing.assert_close(scores, MODEL(ids, real)[:, -1])
        assert real[:, 7:].all()
        unended = (text[:, 7 : 7 + i] != 3).all(dim=1)
        shown = {(*row, *k) for row, k in zip(ids.tolist(), real.tolist(), strict=True)}
        rows = zip(text[unended, : 7 + i].tolist(), keep[unended].tolist(), strict=True)
        assert {(*row, *k, *[True] * i) for row, k in rows} <= shown
    widths = [len(scores) for scores, _, _ in seen]
    assert widths[0] == 8 > widths[-1]  # rows that ended are taken away


def test_rules_and_choose_work_together():
    def forbid(scores, ids, mask):
        return scores.masked_fill(torch.arange(29) == ids[:, -1:], -torch.inf)

    best = partial(torch.argmax, dim=-1)
    text = generate(MODEL, IDS, 20, rules=[forbid], choose=best)
    assert text.equal(generate(MODEL, IDS, 20, rules=[forbid], temperature=0))
    assert (text[:, 7:] != text[:, 6:-1]).all()  # no token twice in a row
    plain = generate(MODEL, IDS, 20, choose=best)
    assert (plain[:, 7:] == plain[:, 6:-1]).any()


def test_a_generated_text_can_be_trained_on():
    text = generate(MODEL, IDS, 5)
    assert not text.is_inference()
    MODEL(text).sum().backward()
    MODEL.zero_grad()


def test_the_prompt_is_not_written_into():
    ids = IDS.clone()
    generate(MODEL, ids, 5, end=3)
    assert ids.equal(IDS)
    assert generate(MODEL, IDS.int(), 2, temperature=0).dtype == torch.int64


@pytest.mark.parametrize(
    ("ids", "settings", "words"),
    [
        (IDS[:, :0], {}, r"at least one token, not \(4, 0\)"),
        (IDS[:0], {}, r"at least one token, not \(0, 7\)"),
        (IDS[0], {}, r"at least one token, not \(7,\)"),
        (IDS, {"new_tokens": 34}, "room for 1 to 33 new ones .* not for 34"),
        (IDS, {"new_tokens": 0}, "not for 0"),
        (IDS, {"temperature": -1.0}, "temperature must be 0 or more"),
        (IDS, {"temperature": float("nan")}, "temperature must be 0 or more"),
        (IDS, {"samples": 0}, "samples must be at least 1"),
        (IDS, {"mask": LEFT.flip(1)}, "on the left"),
        (IDS, {"mask": LEFT[:, :3]}, r"prompts' shape \(4, 7\)"),
        (IDS + 29, {}, "vocabulary ends at 28"),
    ],
)
def test_a_request_that_cannot_be_met_is_answered_in_a_sentence(ids, settings, words):
    with pytest.raises(ValueError, match=words):
        generate(MODEL, ids, **{"new_tokens": 3} | settings)


def test_the_context_can_be_filled_to_the_last_token():
    assert generate(MODEL, IDS, 33).shape == (4, 40)
