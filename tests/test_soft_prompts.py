"""Soft prompts: vectors before the text, the text's own scores after it; equal to PEFT's prompt tuning."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PromptTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM

from course_lib.attention import KVCache
from course_lib.descent import adamw
from course_lib.exam import pad_left
from course_lib.lora.adapters import fingerprint
from course_lib.lora.costs import measured_parts, trainable_share, tuning_parts
from course_lib.masks import masked_mean
from course_lib.pretrained.folders import to_hf
from course_lib.sampling.generate import generate
from course_lib.soft_prompts import SoftPrompted, first_vectors, make_room, put_before
from course_lib.training import next_token_loss, reply_loss, train
from course_lib.transformer import Config, Transformer

CONFIG = Config(  # every width different, so that no two can be swapped unseen
    vocabulary=61, context=32, width=48, layers=3, heads=4, kv_heads=2, hidden=40
)
GPT2 = Config(
    vocabulary=61, context=32, width=48, layers=2, heads=4, kv_heads=4, hidden=40,
    positions="learned", norm="layer", mlp="gelu", bias=True,
)  # fmt: skip
IDS = torch.randint(61, (3, 20), generator=torch.Generator().manual_seed(5))
K = 5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def base(config=CONFIG, seed=0):
    model, draw = Transformer(config, generator=seeded(seed)), seeded(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=draw) * 0.2)
    return model.eval()


def prompted(config=CONFIG, seed=0, start=None):
    start = (
        torch.randn(K, config.width, generator=seeded(3)) if start is None else start
    )
    return SoftPrompted(base(config, seed), start).eval()


def close(left, right, tolerance=1e-5):  # float32, three layers
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)


# ---- the vectors


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_every_text_gets_the_same_vectors_first_and_keeps_its_own(k, B, T, D):
    prompt, x = torch.randn(k, D), torch.randn(B, T, D)
    joined = put_before(prompt, x)
    assert joined.shape == (B, k + T, D)
    for b in range(B):
        assert joined[b].tolist() == prompt.tolist() + x[b].tolist()


def test_one_prompt_collects_the_gradients_of_all_texts():
    prompt = torch.zeros(2, 3, requires_grad=True)
    put_before(prompt, torch.zeros(5, 4, 3)).sum().backward()
    assert prompt.grad.tolist() == [[5.0] * 3] * 2


@pytest.mark.parametrize("config", [CONFIG, GPT2])
def test_a_prompt_of_real_words_is_those_words_before_the_text(config):
    words = torch.tensor([7, 3, 60, 3, 11])
    model = base(config)
    soft = prompted(config, start=model.embed(words))
    longer = torch.cat([words.expand(3, -1), IDS], dim=1)
    assert torch.equal(soft(IDS), model(longer)[:, K:])


def test_first_vectors_are_rows_of_the_vocabulary_and_a_copy():
    model = base()
    start = first_vectors(model, 7, seeded())
    rows = {tuple(row) for row in model.embed.weight.tolist()}
    assert all(tuple(row) in rows for row in start.tolist())
    assert torch.equal(start, first_vectors(model, 7, seeded()))
    before = fingerprint(model)
    start.zero_()
    assert fingerprint(model) == before


# ---- what learns


def test_only_the_prompt_learns_and_every_vector_of_it():
    soft = prompted()
    next_token_loss(soft, IDS)[0].mean().backward()
    total = base().parameter_count
    extra = K * CONFIG.width
    assert trainable_share(soft) == (extra, total + extra, extra / (total + extra))
    assert (soft.prompt.grad.abs().sum(dim=1) > 0).all()
    assert all(p.grad is None for p in soft.model.parameters())


def test_the_gradient_of_the_prompt_is_that_of_finite_differences():
    soft = prompted().double()

    def run(prompt):
        given = {"prompt": prompt}
        return torch.func.functional_call(soft, given, (IDS[:1, :4],)).logsumexp(-1)

    start = soft.prompt.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(run, start)


def counting(by, step, sign=False):
    """Texts of three numbers that count by one or by two, perhaps with a sign before."""
    first = torch.randint(7, (16, 1), generator=seeded(step))
    texts = (first + by * torch.arange(3)) % 7
    return torch.cat([torch.full_like(first, 6 + by), texts], dim=1) if sign else texts


def test_a_prompt_learns_what_a_sign_said_and_the_base_stays_bit_for_bit():
    sizes = Config(
        vocabulary=9, context=8, width=16, layers=2, heads=2, kv_heads=1, hidden=24
    )
    model = Transformer(sizes, generator=seeded())
    train(
        model, lambda step: torch.cat([counting(by, step, True) for by in (1, 2)]),
        next_token_loss, steps=120, lr=2e-2,
    )  # fmt: skip
    costs = [next_token_loss(model, counting(by, 999))[0].mean() for by in (1, 2)]
    worse = 1 if costs[0] > costs[1] else 2  # what it does not do without a sign
    told = next_token_loss(model, counting(worse, 999, True))[0][:, 1:].mean()
    before = fingerprint(model)
    soft = SoftPrompted(model, first_vectors(model, 1, seeded()))
    train(soft, lambda step: counting(worse, step), next_token_loss, 80, lr=5e-2)
    learned = next_token_loss(soft, counting(worse, 999))[0].mean()
    assert told < 0.1  # the base obeys the sign
    assert max(costs) > 1
    assert learned < 0.2
    assert fingerprint(model) == before


def test_bytes_that_are_there_are_those_of_the_account():
    soft = prompted()
    optimizer = adamw(soft)
    next_token_loss(soft, IDS)[0].mean().backward()
    optimizer.step()
    frozen = base().parameter_count
    expected = tuning_parts(frozen, K * CONFIG.width)
    assert measured_parts(soft, optimizer) == expected


# ---- losses and masks


def test_losses_belong_to_the_text_as_if_it_stood_after_k_masked_tokens():
    words = torch.tensor([7, 3, 60, 3, 11])
    model = base()
    soft = prompted(start=model.embed(words))
    mask = torch.rand(IDS.shape, generator=seeded()) < 0.5
    longer = torch.cat([words.expand(3, -1), IDS], dim=1)
    kept = torch.cat([torch.zeros(3, K, dtype=torch.bool), mask], dim=1)
    kept[:, K] = False  # the first word of a text is not predicted without a prompt
    losses, own = next_token_loss(soft, IDS, mask)
    all_losses, all_kept = next_token_loss(model, longer, kept)
    assert torch.equal(own, mask[:, 1:])
    close(masked_mean(losses, own), masked_mean(all_losses, all_kept))
    few, _ = reply_loss(soft, IDS, mask)
    close(few, losses[own])


@pytest.mark.parametrize("config", [CONFIG, GPT2])
def test_padding_on_either_side_changes_nothing(config):
    soft = prompted(config)
    ids, mask = pad_left([[1, 2, 3, 4, 5, 6], [7, 8, 9]], pad=0)
    said = soft(ids, mask)
    close(said[1, 3:], soft(torch.tensor([[7, 8, 9]]))[0])
    close(said[0], soft(ids[:1])[0])
    right = torch.tensor([[7, 8, 9, 0, 0]])
    close(soft(right)[0, :3], said[1, 3:])


# ---- writing text


@pytest.mark.parametrize("config", [CONFIG, GPT2])
def test_generate_writes_the_same_with_a_cache_and_without(config):
    soft = prompted(config)
    ids, mask = pad_left([[1, 2, 3, 4, 5, 6], [7, 8, 9]], pad=0)
    written = [
        generate(soft, ids, 10, mask=mask, temperature=0, cache=cache, samples=2)
        for cache in (True, False)
    ]
    assert torch.equal(*written)
    plain = generate(soft.model, ids, 10, mask=mask, temperature=0, samples=2)
    assert not torch.equal(written[0], plain)


def test_a_text_read_in_pieces_through_the_cache_is_the_text_read_at_once():
    soft = prompted()
    cache = KVCache(soft.config, 3, 20, like=soft.embed.weight)
    pieces = [soft(part, cache=cache) for part in IDS.split([7, 1, 12], dim=1)]
    close(torch.cat(pieces, dim=1), soft(IDS))
    assert cache.length == K + 20


def test_make_room_adds_places_and_keeps_the_rest():
    cache = KVCache(CONFIG, 3, 20)
    make_room(cache, 5)
    assert (cache.capacity, cache.batch, cache.length) == (25, 3, 0)
    assert cache.keys[0].shape == cache.values[-1].shape == (3, 2, 25, 12)


def test_the_room_that_is_left_is_the_context_less_the_prompt():
    soft = prompted()
    assert soft.config.context == 27
    soft(torch.zeros(1, 27, dtype=torch.long))
    with pytest.raises(ValueError, match="28 tokens, but there is room for 27"):
        soft(torch.zeros(1, 28, dtype=torch.long))
    with pytest.raises(ValueError, match="no token to read"):
        soft(torch.zeros(1, 0, dtype=torch.long))


def test_a_prompt_that_does_not_fit_the_model_is_refused():
    for shape in ((0, 48), (32, 48), (5, 47)):
        with pytest.raises(ValueError, match="at least one vector of width 48"):
            SoftPrompted(base(), torch.zeros(shape))


def test_afterwards_the_model_reads_without_the_prompt_as_before():
    model = base()
    before = model(IDS)
    SoftPrompted(model, torch.ones(K, 48))(IDS)
    assert torch.equal(model(IDS), before)


# ---- PEFT


def test_logits_loss_and_gradient_are_those_of_peft_s_prompt_tuning(tmp_path):
    soft = prompted()
    to_hf(soft.model, tmp_path)
    settings = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=K)
    twin = AutoModelForCausalLM.from_pretrained(tmp_path)
    theirs = get_peft_model(twin, settings).eval()
    vectors = theirs.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        vectors.copy_(soft.prompt)
    mask = torch.rand(IDS.shape, generator=seeded()) < 0.5
    mask[:, 0] = False  # PEFT predicts the first word from the prompt, we do not
    labels = IDS.masked_fill(~mask, -100)
    said = theirs(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=labels)
    close(soft(IDS), said.logits[:, K:])
    loss = masked_mean(*next_token_loss(soft, IDS, mask))
    close(loss, said.loss)
    loss.backward()
    said.loss.backward()
    close(soft.prompt.grad, vectors.grad)
    assert trainable_share(soft)[0] == theirs.get_nb_trainable_parameters()[0]
