"""The course's own models: they load beside the right world only, and their cards are true."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from course_lib import pretrained
from course_lib.pretrained import checkpoints
from course_lib.reward import files
from course_lib.reward.model import RewardModel
from course_lib.tokenizer import train_bpe
from course_lib.transformer import Config, Transformer
from course_lib.world import corpus, preferences
from tools import cards, pretrain

TINY = Config(vocabulary=300, width=16, layers=1, heads=2, kv_heads=1, hidden=16)


@pytest.fixture
def spoken():
    return train_bpe(["a tokenizer of another town"], 270)


@pytest.fixture
def folder(tmp_path, spoken):
    """A folder with a tiny base model and its tokenizer."""
    spoken.save(tmp_path / "tokenizer.json")
    checkpoints.write(tmp_path / "base.safetensors", Transformer(TINY), spoken)
    return tmp_path


def test_a_saved_model_comes_back_rounded_to_half_precision(tmp_path, spoken):
    model = Transformer(replace(TINY, tied=False))
    checkpoints.write(tmp_path / "base.safetensors", model, spoken)
    back = checkpoints.read(tmp_path / "base.safetensors", spoken)
    assert back.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor.half().float()), name


def test_a_loaded_model_is_ready_to_run_and_can_be_trained(folder):
    model, spoken = pretrained.load("base", folder=folder)
    assert not model.training
    assert spoken.decode(spoken.encode("another town")) == "another town"
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_stage_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ValueError, match="no model 'bass'; there are base, draft, sft"):
        pretrained.load("bass")


def test_a_missing_file_is_answered_with_the_command_that_makes_it(folder):
    with pytest.raises(
        FileNotFoundError, match=r"sft.safetensors is not there.*make weights"
    ):
        pretrained.load("sft", folder=folder)


@pytest.mark.parametrize("keep", [0, 7, 100, 2000])
def test_a_damaged_file_is_named_with_its_cure(folder, keep):
    path = folder / "base.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"base.safetensors is damaged.*make weights"):
        pretrained.load("base", folder=folder)


def test_somebody_elses_safetensors_file_is_refused(folder):
    save_file({"weight": torch.ones(2)}, folder / "base.safetensors")
    with pytest.raises(ValueError, match="not a model of this course"):
        pretrained.load("base", folder=folder)


def test_another_tokenizer_is_refused(folder):
    train_bpe(["quite other words"], 265).save(folder / "tokenizer.json")
    with pytest.raises(ValueError, match="made with another tokenizer"):
        pretrained.load("base", folder=folder)


def test_another_world_is_refused(folder, monkeypatch):
    monkeypatch.setattr(corpus, "digest", lambda: "0123456789abcdef")
    with pytest.raises(ValueError, match="made with another world"):
        pretrained.load("base", folder=folder)


def test_weights_that_do_not_fit_the_config_are_refused(folder, spoken):
    path = folder / "base.safetensors"
    model = Transformer(TINY)
    model.config = replace(TINY, layers=2)
    checkpoints.write(path, model, spoken)
    with pytest.raises(ValueError, match=r"base.safetensors is damaged.*make weights"):
        checkpoints.read(path, spoken)


# ---- the judge


def test_a_judge_comes_back_with_its_head_and_is_no_language_model(folder, spoken):
    judge = RewardModel(Transformer(TINY))
    checkpoints.write(folder / "reward.safetensors", judge, spoken, files.KEY)
    back, same = files.load_judge(folder=folder)
    assert (back.config, same.digest, back.training) == (TINY, spoken.digest, False)
    for name, tensor in judge.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor.half().float()), name
    with pytest.raises(ValueError, match="not a model of this course"):
        checkpoints.read(folder / "reward.safetensors", spoken)
    with pytest.raises(ValueError, match="not a reward model of this course"):
        files.load_reward(folder / "base.safetensors", spoken)


def test_a_missing_judge_is_answered_with_the_command_that_makes_it(folder):
    with pytest.raises(
        FileNotFoundError, match=r"reward model reward.*not there.*make weights"
    ):
        files.load_judge(folder=folder)


def test_a_refusal_of_somebodys_own_reward_model_advises_nothing(tmp_path, spoken):
    with pytest.raises(FileNotFoundError, match=r"mine.safetensors is not there\.$"):
        files.load_reward(tmp_path / "mine.safetensors", spoken)


def test_no_fact_of_a_training_pair_is_held_out_and_every_fact_is_on_one_side():
    known, unseen = (
        {(q.name, q.kind) for q in cards.fact_questions_of(held_out)}
        for held_out in (False, True)
    )
    assert not known & unseen
    assert (len(known), len(unseen)) == (144, 36)


def test_the_judges_recipe_changes_with_what_people_like(monkeypatch):
    recipe = next(r for r in pretrain.RECIPES if r.stage == files.JUDGE)
    before = recipe.source
    monkeypatch.setattr(preferences, "POLITE", 0.6)
    assert recipe.source != before


# ---- the files that ship


def test_the_shipped_weights_fit_into_eight_megabytes():
    assert pretrain.size_of(checkpoints.HERE) < 8e6


@pytest.mark.parametrize("stage", cards.STAGES)
def test_every_figure_on_a_card_is_measured_again(stage):
    card = pretrained.card(stage)
    now = cards.measure(stage)
    assert list(now) == list(card["figures"]), (
        "the card has other figures: run make weights"
    )
    for name, figure in now.items():
        written = card["figures"][name]
        assert figure["definition"] == written["definition"], name
        assert figure["value"] == pytest.approx(
            written["value"], abs=cards.TOLERANCE
        ), name


@pytest.mark.parametrize("stage", cards.STAGES)
def test_every_target_of_a_card_is_met(stage):
    figures = pretrained.card(stage)["figures"]
    assert not [name for name, figure in figures.items() if not figure.get("met", True)]


@pytest.mark.parametrize("stage", cards.STAGES)
def test_the_card_states_every_target(stage):
    figures = pretrained.card(stage)["figures"]
    stated = {name: tuple(f["target"]) for name, f in figures.items() if "target" in f}
    assert stated == cards.TARGETS.get(stage, {})


@pytest.mark.parametrize("recipe", pretrain.RECIPES, ids=lambda r: r.stage)
def test_the_shipped_files_were_made_with_todays_recipes(recipe):
    spoken = checkpoints.tokenizer()
    parent = (
        pretrain.made_with(recipe.parent, checkpoints.HERE) if recipe.parent else ""
    )
    assert pretrain.made_with(recipe.stage, checkpoints.HERE) == recipe.digest(
        spoken, parent
    )


def test_the_tokenizer_that_ships_is_the_one_the_recipe_makes(tmp_path):
    assert pretrain.make_tokenizer(tmp_path).digest == checkpoints.tokenizer().digest


def test_the_page_of_models_is_made_from_the_cards():
    assert cards.PAGE.read_text() == cards.page()


# ---- making them


@pytest.fixture
def small_recipes(monkeypatch):
    tiny = replace(TINY, context=256)
    recipes = (
        pretrain.Recipe(
            "base", "base", steps=6, batch=2, lr=1e-3, config=tiny, texts=60
        ),
        pretrain.Recipe(
            "sft", "sft", steps=4, batch=2, lr=1e-3, parent="base", texts=60
        ),
    )
    monkeypatch.setattr(pretrain, "RECIPES", recipes)
    monkeypatch.setattr(cards, "FIGURES", ())
    return recipes


def run(monkeypatch, folder):
    monkeypatch.setattr(
        "sys.argv",
        ["pretrain", "--into", str(folder), "--workshop", str(folder / "shop")],
    )
    pretrain.main()


def test_an_interrupted_run_goes_on_and_ends_in_the_same_weights(
    tmp_path, monkeypatch, small_recipes
):
    run(monkeypatch, tmp_path / "whole")
    step = pretrain.Recipe.loss
    calls = []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(pretrain.Recipe, "loss", staticmethod(stops))
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path / "halves")
    assert not (tmp_path / "halves/base.safetensors").exists()
    run(monkeypatch, tmp_path / "halves")
    for name in ("base.safetensors", "sft.safetensors"):
        whole, halves = (tmp_path / kind / name for kind in ("whole", "halves"))
        assert whole.read_bytes() == halves.read_bytes()


def test_a_stage_is_made_again_when_its_recipe_or_its_parent_changes(
    tmp_path, monkeypatch, capsys, small_recipes
):
    run(monkeypatch, tmp_path)
    capsys.readouterr()
    run(monkeypatch, tmp_path)
    assert capsys.readouterr().out.count("up to date") == 2
    base, sft = small_recipes
    monkeypatch.setattr(pretrain, "RECIPES", (replace(base, steps=7), sft))
    before = json.loads((tmp_path / "sft.json").read_text())["recipe"]["digest"]
    run(monkeypatch, tmp_path)
    assert "up to date" not in capsys.readouterr().out
    assert json.loads((tmp_path / "sft.json").read_text())["recipe"]["digest"] != before
