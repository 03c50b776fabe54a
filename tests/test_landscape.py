"""Timeline, families, species, tasks and sizes: what is claimed is computed again in another way."""

import subprocess
import sys

import pytest
import torch

from course_lib import landscape, timeline
from course_lib.landscape import (
    FAMILIES,
    PUBLISHED,
    SPECIES,
    TASKS,
    activation,
    build,
    build_llava,
    build_task,
    card,
    image_inputs,
    pipeline_exists,
    published,
    real_sizes,
    task_shapes,
)
from course_lib.timeline import (
    CIRCULATING_TIMELINE,
    TIMELINE,
    arxiv_month,
    audit,
    verdict,
)

IDS = torch.arange(12).view(2, 6) + 3  # B = 2 texts of T = 6 tokens


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- dates


def test_the_month_of_every_milestone_with_a_paper_is_the_papers():
    assert audit([(m.name, m.month, m.arxiv) for m in TIMELINE if m.arxiv]) == []


def test_the_timeline_is_in_order_without_repetitions_and_every_line_is_complete():
    assert [m.month for m in TIMELINE] == sorted(m.month for m in TIMELINE)
    assert len({m.name for m in TIMELINE}) == len(TIMELINE)
    assert {m.name for m in TIMELINE if not m.arxiv} == {"GPT", "GPT-2", "ChatGPT"}
    assert all(m.what.endswith(".") and len(m.what.split()) <= 12 for m in TIMELINE)


def test_a_release_is_noted_only_where_it_came_before_the_paper():
    assert all(m.released < m.month for m in TIMELINE if m.released)


def test_gpt2_is_called_zero_shot_and_gpt3_few_shot():
    says = {m.name: m.what.lower() for m in TIMELINE}
    assert "zero-shot" in says["GPT-2"]
    assert "few-shot" in says["GPT-3"]
    assert "zero-shot" not in says["GPT-3"]


@pytest.mark.parametrize(
    ("arxiv", "month"),
    [
        ("1706.03762", "2017-06"),
        ("0704.0001", "2007-04"),
        ("2501.12948v2", "2025-01"),
        ("1412.6980", "2014-12"),
    ],
)
def test_an_arxiv_id_gives_its_month(arxiv, month):
    assert arxiv_month(arxiv) == month


@pytest.mark.parametrize(
    "arxiv",
    [
        "hep-th/9901001",
        "2313.00001",
        "2300.12345",
        "2302.139",
        "230213971",
        "",
        "arXiv:2302.13971",
        "٢٣02.13971",
    ],
)
def test_a_malformed_id_is_refused_in_one_sentence_that_shows_it(arxiv):
    with pytest.raises(ValueError, match="is not an arXiv id") as caught:
        arxiv_month(arxiv)
    message = str(caught.value)
    assert repr(arxiv) in message
    assert "\n" not in message
    assert message.endswith(".")


def test_the_audit_of_the_circulating_timeline_finds_five_months_and_three_have_no_excuse():
    found = {name: right for name, _, right in audit(CIRCULATING_TIMELINE)}
    assert found == {
        "InstructGPT": "2022-03",
        "Llama": "2023-02",
        "Mistral": "2023-10",
        "Gemma 2": "2024-08",
        "SmolLM2": "2025-02",
    }
    neither = [
        claim[0] for claim in CIRCULATING_TIMELINE if verdict(claim) == "neither"
    ]
    assert neither == ["Llama", "Mistral", "Gemma 2"]
    assert {c[2] for c in CIRCULATING_TIMELINE} <= {m.arxiv for m in TIMELINE}


# ---- families


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_maps_ids_to_logits_and_a_future_token_changes_no_earlier_logit(
    name,
):
    model, changed = build(name), IDS.clone()
    changed[:, -1] += 100
    with torch.no_grad():
        before, after = model(IDS).logits, model(changed).logits
    assert before.shape == (*IDS.shape, model.config.vocab_size)
    assert before.isfinite().all()
    # 1e-5: float32, and a mixture of experts sums its tokens in another order
    torch.testing.assert_close(before[:, :-1], after[:, :-1], rtol=0, atol=1e-5)
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_small_model_has_the_parts_of_the_published_one(name):
    sizes = {
        "parameters",
        "active",
        "layers",
        "heads",
        "kv_heads",
        "experts",
        "positions",
    }
    small, large = card(build(name)), card(published(FAMILIES[name]))
    assert {k: v for k, v in small.items() if k not in sizes} == {
        k: v for k, v in large.items() if k not in sizes
    }
    assert small["heads"] / small["kv_heads"] == large["heads"] / large["kv_heads"]
    assert (small["experts"] is None) == (large["experts"] is None)
    assert small["positions"].split()[0] == large["positions"].split()[0]
    assert small["parameters"] < 1e6 < large["parameters"]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_norm_on_the_card_behaves_as_its_name_says(name):
    model = build(name)
    norm = next(
        m
        for m in model.modules()
        if type(m).__name__.endswith("Norm") and m.weight.shape == (64,)
    )
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    ignores_a_shift = torch.allclose(
        norm(x), norm(x + 3), atol=1e-4
    )  # only LayerNorm subtracts the mean
    assert ignores_a_shift == (card(model)["norm"] == "LayerNorm")


def test_the_cards_say_what_the_papers_say():
    cards = {name: card(build(name)) for name in FAMILIES}
    gpt2 = cards.pop("GPT-2")
    assert (gpt2["norm"], gpt2["positions"], gpt2["gated"]) == (
        "LayerNorm",
        "learned table",
        False,
    )
    assert all(c["norm"] == "RMSNorm" and c["gated"] for c in cards.values())
    assert all(c["positions"].startswith("rotary") for c in cards.values())
    assert cards["SmolLM3"]["positions"] == "rotary in 3 of 4 layers"
    assert card(published("SmolLM3-3B"))["positions"] == "rotary in 27 of 36 layers"
    assert {n for n, c in cards.items() if c["tied"]} == {"Gemma 2", "SmolLM3"}
    assert {n for n, c in cards.items() if c["activation"] != "SiLU"} == {"Gemma 2"}
    assert {n for n, c in cards.items() if c["kv_heads"] == c["heads"]} == {
        "Phi-3",
        "DeepSeek-V3",
    }
    assert {n for n, c in cards.items() if c["norms_per_layer"] == 4} == {
        "Gemma 2",
        "Qwen3",
        "DeepSeek-V3",
    }
    assert {n: c["experts"] for n, c in cards.items() if c["experts"]} == {
        "Mixtral": (8, 2),
        "DeepSeek-V3": (32, 8),
    }
    assert card(published("DeepSeek-V3"))["experts"] == (256, 8)
    assert cards["DeepSeek-V3"]["shared_experts"] == 1


def test_the_two_forms_of_gelu_are_told_apart():
    assert activation(build("GPT-2")) == "GELU (tanh)"
    assert activation(build_task("each word")) == "GELU"


def test_building_is_reproducible_and_leaves_the_callers_random_state_alone():
    state = torch.random.get_rng_state()
    first, same, other = build("Llama"), build("Llama"), build("Llama", seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AssertionError, match=r"Gemma 2.*Mixtral"):
        build("Lama")
    with pytest.raises(AssertionError, match="Llama-2-7B"):
        published("Llama")


# ---- sizes


def test_real_sizes_are_the_well_known_totals():
    known = {  # billions
        "GPT-2": 0.1244,
        "SmolLM2-135M": 0.1345,
        "GPT-2 XL": 1.558,
        "Gemma-2-2B": 2.614,
        "SmolLM3-3B": 3.075,
        "Phi-3-mini": 3.821,
        "Llama-2-7B": 6.738,
        "Mistral-7B": 7.242,
        "Llama-3-8B": 8.030,
        "Qwen3-8B": 8.19,
        "Mixtral-8x7B": 46.70,
        "Llama-3-70B": 70.55,
        "GPT-3": 175,
        "DeepSeek-V3": 671.03,
    }
    sizes = real_sizes()
    assert {name: total / 1e9 for name, (total, _) in sizes.items()} == pytest.approx(
        known, rel=0.01
    )
    assert list(sizes.values()) == sorted(sizes.values())
    assert sizes["Mixtral-8x7B"][1] / 1e9 == pytest.approx(
        12.88, abs=0.01
    )  # not 7, and 8 × 7 = 56 is not 46.70
    assert sizes["DeepSeek-V3"][1] / 1e9 == pytest.approx(
        37.55, abs=0.01
    )  # with embedding and head
    assert {n for n, (total, active) in sizes.items() if active < total} == {
        "Mixtral-8x7B",
        "DeepSeek-V3",
    }


def test_mistral_counted_by_hand_gives_the_same_number():
    V, D, L, M, kv_width = 32000, 4096, 32, 14336, 8 * 128
    attention, mlp, norms = 2 * D * D + 2 * D * kv_width, 3 * D * M, 2 * D
    by_hand = 2 * V * D + L * (attention + mlp + norms) + D
    assert real_sizes()["Mistral-7B"] == (by_hand, by_hand)
    # Mixtral is this model with eight such MLPs, of which two are active, and a router per layer
    total, active = (by_hand + L * ((n - 1) * mlp + 8 * D) for n in (8, 2))
    assert real_sizes()["Mixtral-8x7B"] == (total, active)


def test_published_models_take_no_memory():
    assert {p.device.type for p in published("DeepSeek-V3").parameters()} == {"meta"}


# ---- species


@pytest.mark.parametrize("name", SPECIES)
def test_every_species_runs_a_forward_pass(name):
    model = SPECIES[name].build()
    with torch.no_grad():
        logits = model(**SPECIES[name].inputs(model)).logits
    assert logits.shape == (1, 8, 256)


def test_a_reasoning_model_has_the_parts_of_its_base_model():
    assert card(SPECIES["reasoning model"].build()) == card(build("DeepSeek-V3"))


def routes(model, ids):
    """The experts that a Mixtral picks for ids (1, T): (layers, T, k), for each token and layer."""
    with torch.no_grad():
        scores = model(ids, output_router_logits=True).router_logits  # per layer (T, E)
    return torch.stack(
        [layer.topk(model.config.num_experts_per_tok).indices for layer in scores]
    )


def test_the_router_decides_anew_for_every_token_and_every_layer():
    model = build("Mixtral")
    chosen = routes(model, IDS[:1])
    layers, tokens, k = chosen.shape
    assert (layers, tokens, k) == (4, 6, 2)
    assert (
        len({tuple(sorted(pair)) for pair in chosen[0].tolist()}) > 1
    )  # tokens differ in one layer
    assert (
        len({tuple(sorted(pair)) for pair in chosen[:, 0].tolist()}) > 1
    )  # layers differ for one token


def test_experts_that_no_token_visits_do_not_touch_the_answer():
    model, ids = build("Mixtral"), IDS[:1, :1]
    with torch.no_grad():
        before, chosen = model(ids).logits, routes(model, ids)
        for layer, visited in zip(model.model.layers, chosen, strict=True):
            idle = [e for e in range(8) if e not in visited.flatten().tolist()]
            for weight in layer.mlp.experts.parameters():
                weight[idle] *= -7
        torch.testing.assert_close(
            model(ids).logits, before, rtol=0, atol=1e-6
        )  # float32
        model.model.layers[0].mlp.experts.down_proj[chosen[0, 0, 0]] *= -7
        assert not torch.allclose(model(ids).logits, before, atol=1e-4)


def test_the_image_reaches_the_text_after_it_and_not_the_token_before_it():
    model = build_llava()
    first, second = image_inputs(model, seed=0), image_inputs(model, seed=1)
    with torch.no_grad():
        a, b = model(**first).logits, model(**second).logits
    assert (
        first["input_ids"] == model.config.image_token_id
    ).sum() == 4  # 16 × 16 pixels, patches of 8 × 8
    torch.testing.assert_close(a[:, 0], b[:, 0])
    assert not torch.allclose(a[:, -1], b[:, -1], atol=1e-5)


# ---- tasks


def test_the_five_tasks_give_the_shapes_of_their_outputs():
    assert {name: task_shapes(name, IDS) for name in TASKS} == {
        "whole sentences": {"logits": (2, 2)},
        "each word": {"logits": (2, 6, 9)},
        "generating text": {"sequences": (2, 10)},  # the text itself and 4 new tokens
        "extracting an answer": {"start_logits": (2, 6), "end_logits": (2, 6)},
        "a new text from a text": {
            "sequences": (2, 5)
        },  # a start token and 4 new ones: the input is not in it
    }


def test_the_examples_fit_their_tasks():
    examples = {name: task.example for name, task in TASKS.items()}
    text, labels = examples["each word"]
    assert len(text.split()) == len(labels.split(", "))
    start, whole = examples["generating text"]
    assert whole.startswith(start)
    passage, answer = examples["extracting an answer"]
    assert answer in passage


def test_transformers_still_has_three_of_the_five_pipelines():
    assert [name for name in TASKS if not pipeline_exists(name)] == [
        "extracting an answer",
        "a new text from a text",
    ]


# ---- the modules


EVERYTHING = """
import sys, torch, course_lib.timeline, course_lib.landscape as landscape
print("transformers" in sys.modules)
ids = torch.arange(6)[None] + 3
landscape.real_sizes()
[landscape.card(landscape.build(name)) for name in landscape.FAMILIES]
[landscape.build(name)(ids) for name in landscape.FAMILIES]
[species.build() for species in landscape.SPECIES.values()]
[landscape.task_shapes(name, ids) for name in landscape.TASKS]
[landscape.pipeline_exists(name) for name in landscape.TASKS]
"""


def test_transformers_is_imported_late_and_nothing_writes_to_the_log():
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
    assert done.stderr == ""


@pytest.mark.parametrize("module", [landscape, timeline])
def test_the_examples_in_the_docstrings_run(module):
    import doctest

    failed, tried = doctest.testmod(module)
    assert failed == 0
    assert tried > 1


def test_every_family_names_a_published_model():
    assert set(FAMILIES.values()) <= set(PUBLISHED)
