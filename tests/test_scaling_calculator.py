"""The calculator: printed figures of published models, hand-worked ones, sentences."""

import doctest
import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from course_lib.scaling import calculator
from course_lib.scaling.calculator import Plan, plan
from course_lib.scaling.cost import GPUS, utilisation
from course_lib.scaling.flops import train_flops
from course_lib.scaling.laws import PF_DAY, chinchilla_loss, kaplan_loss, optimal
from course_lib.scaling.parameters import Experts, Latent
from course_lib.scaling.published import PUBLISHED
from course_lib.transformer import Config, Transformer

SMALL = Config(vocabulary=50, context=64, width=24, layers=3, heads=4, hidden=40)


def test_the_examples_in_the_docstrings_run():
    assert doctest.testmod(calculator).failed == 0


# ---- published models


def test_llama_65b_took_21_days_on_2048_gpus_at_380_tokens_a_second():
    """Touvron et al. 2023a, section 2.4; its table 15: 1,022,362 hours, 449 MWh, 173 t."""
    rate = 380.0  # tokens per second and GPU
    mfu = train_flops(PUBLISHED["LLaMA-65B"].count(), rate) / GPUS["A100"].peak
    found = plan("LLaMA-65B", mfu=mfu, gpus=2048)
    assert found.days == pytest.approx(21, abs=0.3)
    assert found.gpu_days * 24 == pytest.approx(1_022_362, rel=2e-3)
    assert found.kwh / 1000 == pytest.approx(449, abs=2)
    assert found.tonnes == pytest.approx(173, abs=1)


@pytest.mark.parametrize(
    ("name", "megawatt_hours", "tonnes"),
    [("LLaMA-7B", 36, 14), ("LLaMA-13B", 59, 23), ("LLaMA-33B", 233, 90)],
)
def test_energy_of_the_other_llamas_follows_from_their_hours(
    name, megawatt_hours, tonnes
):
    """Touvron et al. 2023a, table 15."""
    found = at_reported_hours(name)
    assert found.kwh / 1000 == pytest.approx(megawatt_hours, abs=1)
    assert found.tonnes == pytest.approx(tonnes, abs=0.6)


def at_reported_hours(name, **more) -> Plan:
    """The plan at the utilisation that hours and operations give together."""
    model = PUBLISHED[name]
    compute = train_flops(model.count(active=True), model.tokens)
    mfu = utilisation(compute, model.hours, GPUS[model.gpu].peak)
    found = plan(name, mfu=mfu, **more)
    assert found.gpu_days * 24 == pytest.approx(model.hours)
    return found


@pytest.mark.parametrize(
    ("name", "tonnes", "unit"),
    [
        ("Llama-2-7B", 31.22, 0.01),
        ("Llama-2-70B", 291.42, 0.01),
        ("Llama-3-8B", 390, 10),
        ("Llama-3-70B", 1900, 10),
    ],
)
def test_emissions_of_llama_2_and_3_are_those_of_their_cards(name, tonnes, unit):
    """Model cards of Meta: as in the first paper, 1.1 times the watts, .385 kg/kWh."""
    assert at_reported_hours(name).tonnes == pytest.approx(tonnes, abs=unit)


def test_llama_2_7b_used_39_percent_of_its_machines():
    """6 * 6.74e9 * 2e12 / (184,320 * 3600 * 312e12) on paper."""
    mfu = 6 * 6.738e9 * 2e12 / (184_320 * 3600 * 312e12)
    assert mfu == pytest.approx(0.39, abs=0.005)
    assert plan("Llama-2-7B", mfu=mfu).gpu_days == pytest.approx(184_320 / 24, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "compute"), [("GPT-3", 3.14e23), ("Llama-3.1-405B", 3.8e25)]
)
def test_operations_are_those_that_the_papers_print(name, compute):
    """Brown et al. 2020, table D.1; Grattafiori et al. 2024, section 3.2."""
    assert plan(name).compute == pytest.approx(compute, rel=2e-3)


def test_gpt3_took_3640_petaflop_days():
    """Brown et al. 2020, table D.1."""
    assert plan("GPT-3").compute / PF_DAY == pytest.approx(3640, abs=5)


def test_deepseek_v3_took_under_two_months_and_five_million_dollars():
    """DeepSeek-AI 2024, table 1 and section 1: 2,664,000 hours, 2 dollars each; 180,000
    hours, or 3.7 days on 2048 GPUs, for a trillion tokens."""
    whole = at_reported_hours("DeepSeek-V3", gpus=2048, per_hour=2.0)
    assert whole.cost == pytest.approx(5.328e6)
    assert 50 < whole.days < 61
    mfu = train_flops(whole.active, 1e12) / (180e3 * 3600 * GPUS["H800"].peak)
    part = plan("DeepSeek-V3", tokens=1e12, mfu=mfu, gpus=2048)
    assert part.days == pytest.approx(3.7, abs=0.05)
    assert part.gpu_days * 24 * 14.8 == pytest.approx(2.664e6, rel=1e-3)


def test_mixtral_stores_46_billion_parameters_and_uses_12():
    """Mistral AI, 11 December 2023: 46.7B and 12.9B."""
    found = plan("Mixtral-8x7B", tokens=1e12)
    assert found.parameters / 1e9 == pytest.approx(46.7, abs=0.05)
    assert found.active / 1e9 == pytest.approx(12.9, abs=0.05)
    assert found.compute == 6.0 * found.active * 1e12
    assert found.training_bytes == 16 * found.parameters
    assert found.loss == chinchilla_loss(found.active, 1e12)
    with pytest.raises(ValueError, match=r"Nothing was published about Mixtral-8x7B"):
        plan("Mixtral-8x7B")


def test_chinchilla_stands_where_the_refit_puts_the_optimum():
    found = plan("Chinchilla")
    assert found.ratio == pytest.approx(20, abs=0.1)
    assert found.best_parameters == pytest.approx(found.parameters, rel=0.05)
    assert found.best_loss == pytest.approx(found.loss, abs=1e-3)
    assert found.best_loss < found.loss


def test_latent_attention_serves_a_token_with_70_kilobytes():
    """Zhao et al. 2025 (arXiv 2505.09343), table 1; for Llama-3.1-405B 516.096."""
    for name, size in (("DeepSeek-V3", 70_272), ("Llama-3.1-405B", 516_096)):
        none, one = (plan(name, context=context) for context in (0, 1))
        assert none.inference_bytes == 2 * none.parameters
        assert one.inference_bytes - none.inference_bytes == size


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_preset_gives_finite_positive_figures(name):
    tokens = PUBLISHED[name].tokens or 1e12
    found = plan(name, tokens=tokens)
    for field in fields(Plan):
        assert 0 < getattr(found, field.name) < math.inf, field.name
    assert found.active <= found.parameters
    assert found.best_loss <= found.loss


# ---- any shape


def test_the_figures_of_a_small_shape_are_those_worked_by_hand():
    found = plan(SMALL, 1e9, length=64, gpu="V100", mfu=0.5, gpus=2, batch=3)
    N = Transformer(SMALL).parameter_count
    assert found.parameters == found.active == N
    assert found.compute == 6e9 * N
    days = 6e9 * N / 62.5e12 / 86400
    assert found.gpu_days == pytest.approx(days)
    assert found.days == pytest.approx(days / 2)
    assert found.cost == pytest.approx(days * 24 * 2)
    assert found.kwh == pytest.approx(days * 24 * 0.3 * 1.1)
    assert found.tonnes == pytest.approx(found.kwh * 0.385 / 1000)
    assert found.training_bytes == 16 * N
    assert found.gpus_at_least == 1
    cache = 3 * 64 * 2 * 3 * SMALL.kv_heads * SMALL.K * 2
    assert found.inference_bytes == 2 * N + cache
    scores = 12 * 3 * 24 * 64 * 1e9
    vectors = 7 * 24  # the norms do not multiply; the tied head does, once
    assert found.full_compute == pytest.approx(6e9 * (N - vectors) + scores)
    assert found.kaplan_loss == kaplan_loss(N - 50 * 24, 1e9)
    assert (found.best_parameters, found.best_tokens) == optimal(found.compute)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("tied", [True, False])
def test_kaplans_law_is_given_the_blocks_alone(positions, tied):
    config = replace(SMALL, positions=positions, tied=tied)
    model = Transformer(config)
    parts = [model.blocks, model.norm]
    blocks = sum(p.numel() for part in parts for p in part.parameters())
    assert plan(config, 1e9).kaplan_loss == kaplan_loss(blocks, 1e9)


def test_more_gpus_save_days_and_a_better_use_saves_money_too():
    one, many = plan("LLaMA-7B"), plan("LLaMA-7B", gpus=1000)
    assert many.days == pytest.approx(one.days / 1000)
    assert (many.cost, many.kwh) == (one.cost, one.kwh)
    better = plan("LLaMA-7B", mfu=0.8)
    for name in ("gpu_days", "days", "cost", "kwh", "tonnes"):
        assert getattr(better, name) == pytest.approx(getattr(one, name) / 2)
    assert better.loss == one.loss


def test_a_longer_text_costs_operations_that_six_n_d_forgets():
    short, long = (plan("Llama-2-7B", length=length) for length in (4096, 32768))
    assert short.compute == long.compute
    assert long.full_compute > 1.9 * short.full_compute
    assert plan("Llama-3.1-405B").full_compute < 1.2 * plan("Llama-3.1-405B").compute


def test_experts_and_latent_attention_of_ones_own_are_counted():
    experts, latent = Experts(8, 2, hidden=16), Latent(12, 10, 4, 6, 6)
    dense, mixed = plan(SMALL, 1e9), plan(SMALL, 1e9, experts=experts)
    assert mixed.active < mixed.parameters
    assert mixed.parameters > dense.parameters
    short = plan(SMALL, 1e9, latent=latent, context=1)
    assert short.inference_bytes == 2 * short.parameters + 3 * 14 * 2


def test_a_plan_cannot_be_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        plan("GPT-3").cost = 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shape": "GPT-5"}, r"No published model is called GPT-5 here, only GPT-3, "),
        ({"gpu": "A1000"}, r"No GPU is called A1000 here, only V100, A100"),
        ({"experts": Experts(8, 2, 10)}, r"GPT-3 has its own experts"),
        ({"tokens": -1e9}, r"tokens is at least 1 and finite, not -1"),
        ({"tokens": math.nan}, r"tokens is at least 1 and finite, not nan"),
        ({"tokens": math.inf}, r"tokens is at least 1 and finite, not inf"),
        ({"length": 0}, r"length is at least 1"),
        ({"gpus": 0}, r"gpus is at least 1"),
        ({"per_hour": -2}, r"per_hour is at least 0"),
        ({"per_kwh": -0.1}, r"per_kwh is at least 0"),
        ({"batch": -1}, r"batch is at least 0"),
        ({"context": -1}, r"context is at least 0"),
        ({"overhead": 0.9}, r"overhead is at least 1"),
        ({"mfu": 0}, r"mfu is a share, above 0 and at most 1, not 0\."),
        ({"mfu": 40}, r"mfu is a share, above 0 and at most 1, not 40\."),
        ({"mfu": math.nan}, r"mfu is a share"),
    ],
)
def test_what_cannot_be_is_answered_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(**{"shape": "GPT-3"} | wrong)


def test_a_shape_of_ones_own_needs_a_number_of_tokens():
    with pytest.raises(ValueError, match=r"How many tokens\?"):
        plan(SMALL)
