"""Rollouts: the texts of `generate`, log-probabilities of a fresh pass, masks up to the end."""

from dataclasses import replace

import pytest
import torch

from course_lib import rollouts
from course_lib.exam import pad_left
from course_lib.logprobs import entropy, response_logprobs, token_logprobs
from course_lib.rollouts import (
    Rollout,
    draw_with_chance,
    predicting,
    sample_rollouts,
    until_end,
)
from course_lib.sampling.generate import generate
from course_lib.tokenizer import train_bpe
from course_lib.transformer import Config, Transformer

CONFIG = Config(vocabulary=29, context=40, width=24, layers=2, heads=6, hidden=40)
END, PAD = 3, 28
EVEN = [[5, 6, 7], [8, 9, 4], [7, 7, 7]]
UNEVEN = [[5, 6, 7, 8, 9], [8], [7, 7, 7]]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(config=CONFIG, seed=0):
    """A model with large weights, so that its texts vary."""
    model = Transformer(config, generator=seeded(seed))
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.add_(torch.randn(p.shape, generator=seeded(seed + 1)) * 0.15)
    return model


MODEL = built()
LEARNED = built(replace(CONFIG, positions="learned", norm="layer", tied=False))
every_prompt = pytest.mark.parametrize("prompts", [EVEN, UNEVEN])
every_model = pytest.mark.parametrize("model", [MODEL, LEARNED])


def rolled(model=MODEL, prompts=UNEVEN, new_tokens=20, seed=0, **more):
    settings = {"end": END, "pad": PAD, "samples": 8} | more
    return sample_rollouts(
        model, prompts, new_tokens, generator=seeded(seed), **settings
    )


# ---- equal to what is known


@every_model
@every_prompt
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_texts_are_those_of_generate(model, prompts, temperature):
    ids, mask = pad_left(prompts, PAD)
    expected = generate(
        model, ids, 20, mask=mask, end=END, pad=PAD, samples=8,
        temperature=temperature, generator=seeded(),
    )  # fmt: skip
    got = rolled(model, prompts, temperature=temperature)
    assert got.ids.equal(expected[:, : got.ids.shape[1]])
    assert (expected[:, got.ids.shape[1] :] == PAD).all()
    assert len(set(got.lengths.tolist())) > 3  # some were dropped early, some late


@every_model
@every_prompt
@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_log_probabilities_equal_those_of_a_fresh_forward_pass(
    model, prompts, temperature
):
    got = rolled(model, prompts, temperature=temperature)
    with torch.no_grad():
        logits = model(got.ids, got.mask) / temperature
    fresh = response_logprobs(logits, got.ids, got.start)
    kept = got.response_mask
    torch.testing.assert_close(got.logprobs[kept], fresh[kept], rtol=0, atol=1e-5)
    assert (got.logprobs[~kept] == 0).all()


@every_prompt
def test_log_probabilities_equal_those_of_each_text_read_alone(prompts):
    got = rolled(prompts=prompts, samples=3)
    for row in range(len(got)):
        prompt, T = prompts[row // 3], got.lengths[row]
        text = torch.tensor([prompt + got.responses[row, :T].tolist()])
        with torch.no_grad():
            alone = response_logprobs(MODEL(text), text, len(prompt))[0]
        torch.testing.assert_close(got.logprobs[row, :T], alone, rtol=0, atol=1e-5)


@every_model
@every_prompt
def test_what_predicts_the_responses_gives_their_log_probabilities(model, prompts):
    got = rolled(model, prompts)
    hidden = predicting(model, got)
    logprobs = token_logprobs(model.head(hidden), got.responses)
    kept = got.response_mask
    torch.testing.assert_close(got.logprobs[kept], logprobs[kept], rtol=0, atol=1e-5)
    logprobs[kept].sum().backward()  # and gradients flow
    assert model.embed.weight.grad.abs().sum() > 0
    model.zero_grad()


def test_tokens_are_drawn_as_often_as_their_log_probabilities_say():
    """The mean of minus the log-probability is the entropy, within its own error."""
    got = rolled(prompts=[[5, 6, 7]], samples=4000, new_tokens=1)
    with torch.no_grad():
        exact = entropy(MODEL(torch.tensor([[5, 6, 7]]))[0, -1])
    surprise = -got.logprobs[:, 0]
    error = surprise.std() / 4000**0.5
    assert (surprise.mean() - exact).abs() < 4 * error
    assert error < 0.05


def test_a_token_and_its_chance_on_paper():
    logits = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 2.0]]).log()
    drawn, chance = draw_with_chance(logits, torch.tensor([0.3, 0.3]))
    assert drawn.tolist() == [1, 1]
    torch.testing.assert_close(chance, torch.tensor([0.5, 0.25]))
    _, colder = draw_with_chance(logits, torch.tensor([0.3, 0.3]), temperature=0.5)
    torch.testing.assert_close(colder[0], torch.tensor(4 / 6))


# ---- what is kept


@every_prompt
def test_a_response_ends_with_its_end_token_or_is_as_long_as_allowed(prompts):
    got = rolled(prompts=prompts, new_tokens=9)
    for row, kept in zip(
        got.responses.tolist(), got.response_mask.tolist(), strict=True
    ):
        length = sum(kept)
        assert kept == [True] * length + [False] * (len(row) - length)
        assert END not in row[: length - 1]
        assert row[length - 1] == END or length == 9
        assert row[length:] == [PAD] * (len(row) - length)
    assert got.responses.shape[1] == got.lengths.max()


@every_prompt
def test_the_mask_is_true_for_prompt_and_response_and_nothing_else(prompts):
    got = rolled(prompts=prompts, samples=2)
    assert got.start == max(len(prompt) for prompt in prompts)
    for row in range(len(got)):
        prompt = prompts[row // 2]
        real = got.ids[row, got.mask[row]].tolist()
        assert real[: len(prompt)] == prompt
        assert len(real) == len(prompt) + got.lengths[row]
        assert got.mask[row, got.start - len(prompt) :][: len(real)].all()


def test_an_end_token_in_the_prompt_ends_nothing():
    got = rolled(prompts=[[5, END, 6]], samples=4)
    assert got.lengths.min() >= 1
    assert until_end(torch.tensor([[END, END, 5]]), END).tolist() == [
        [True, False, False]
    ]


def test_samples_stand_side_by_side_and_differ():
    got = rolled(prompts=EVEN, samples=4)
    starts = got.ids[:, :3].tolist()
    assert starts == [prompt for prompt in EVEN for _ in range(4)]
    assert len({tuple(row) for row in got.responses[:4].tolist()}) > 1


def test_one_seed_gives_one_rollout_and_another_another():
    assert rolled(seed=1).ids.equal(rolled(seed=1).ids)
    one, other = rolled(seed=1), rolled(seed=2)
    T = min(one.ids.shape[1], other.ids.shape[1])
    assert not one.ids[:, :T].equal(other.ids[:, :T])


def test_selected_rows_are_the_same_rows_cut_to_their_longest_response():
    got = rolled()
    rows = got.lengths.argsort()[:5]
    part = got.select(rows)
    T = part.responses.shape[1]
    assert len(part) == 5
    assert T == got.lengths[rows].max() < got.lengths.max()
    assert part.ids.equal(got.ids[rows, : got.start + T])
    assert part.mask.equal(got.mask[rows, : got.start + T])
    assert part.logprobs.equal(got.logprobs[rows, :T])
    assert part.response_mask.equal(got.response_mask[rows, :T])


def test_texts_are_read_without_special_tokens_and_without_what_follows():
    tokenizer = train_bpe(["to be or not to be"], 270)
    said = tokenizer.encode("to be")
    response = torch.tensor([[*said, tokenizer.end, tokenizer.pad]])
    kept = until_end(response, tokenizer.end)
    ids = torch.cat([torch.tensor([[tokenizer.bot]]), response], dim=1)
    mask = torch.cat([torch.tensor([[True]]), kept], dim=1)
    one = Rollout(ids, mask, kept, torch.zeros(kept.shape), start=1)
    assert one.texts(tokenizer) == ["to be"]
    assert one.lengths.tolist() == [len(said) + 1]


# ---- little work


def test_each_prompt_is_read_once_and_ended_rows_are_read_no_more(monkeypatch):
    read = []
    hidden = Transformer.hidden

    def counting(self, ids, mask=None, cache=None):
        read.append(tuple(ids.shape))
        return hidden(self, ids, mask, cache)

    monkeypatch.setattr(Transformer, "hidden", counting)
    got = rolled(prompts=EVEN, samples=20, new_tokens=30)
    assert read[0] == (3, 3)  # the prompts, not their copies
    widths = [rows for rows, _ in read[1:]]
    assert all(tokens == 1 for _, tokens in read[1:])
    assert widths == sorted(widths, reverse=True)
    for t, width in enumerate(widths, start=1):
        going = (got.lengths > t).sum().item()
        assert going <= width <= going / 0.9 + 1  # at most a tenth is read in vain


def test_it_stops_when_all_have_ended(monkeypatch):
    calls = []

    def always_end(logits, uniforms, temperature):
        calls.append(len(logits))
        return torch.full((len(logits),), END), torch.ones(len(logits))

    monkeypatch.setattr(rollouts, "draw_with_chance", always_end)
    got = rolled(samples=1)
    assert calls == [3]
    assert got.responses.tolist() == [[END]] * 3
    assert got.logprobs.tolist() == [[0.0]] * 3


def test_without_padding_no_mask_is_made(monkeypatch):
    seen = []
    hidden = Transformer.hidden

    def looking(self, ids, mask=None, cache=None):
        seen.append(mask)
        return hidden(self, ids, mask, cache)

    monkeypatch.setattr(Transformer, "hidden", looking)
    predicting(MODEL, rolled(prompts=EVEN))
    assert all(mask is None for mask in seen)
    seen.clear()
    predicting(MODEL, rolled(prompts=UNEVEN))
    assert all(mask is not None for mask in seen)


def test_neither_the_model_nor_torchs_own_randomness_is_touched():
    MODEL.train()
    state, weights = torch.get_rng_state(), MODEL.embed.weight.clone()
    got = rolled()
    assert torch.get_rng_state().equal(state)
    assert MODEL.embed.weight.equal(weights)
    assert MODEL.training
    assert not got.logprobs.is_inference()
    MODEL.eval()


# ---- what cannot be


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": []}, "no prompts to answer"),
        ({"prompts": [[5], []]}, "Prompt 1 is empty"),
        ({"temperature": 0.0}, "temperature is above 0, not 0.0"),
        ({"temperature": float("nan")}, "above 0, not nan"),
        ({"new_tokens": 0}, "not for 0"),
        ({"new_tokens": 36}, "room for 1 to 35 new ones"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"prompts": [[5, 29]]}, "vocabulary ends at 28"),
    ],
)
def test_a_request_that_cannot_be_met_is_answered_in_a_sentence(change, words):
    with pytest.raises(ValueError, match=words):
        rolled(**change)


def test_an_empty_response_is_refused():
    got = rolled(samples=1)
    mask = got.response_mask.clone()
    mask[1] = False
    with pytest.raises(ValueError, match="Response 1 is empty"):
        replace(got, response_mask=mask)
    with pytest.raises(AssertionError, match="one text"):
        replace(got, start=got.start + 1)
    with pytest.raises(ValueError, match="There is no response"):
        Rollout(*[torch.zeros(0, 2).bool()] * 3, torch.zeros(0, 2), 0)
