"""Panels: what they compute, what they say when something is wrong, and what stays in a saved notebook."""

import html
import io
import math
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import pretrained
from course_lib.plotting import sampling as plots
from course_lib.plotting import scaling as scaling_plots
from course_lib.plotting.live import LivePicture, live_canvas
from course_lib.plotting.style import Picture
from course_lib.sampling import filters
from course_lib.scaling.published import PUBLISHED
from course_lib.tokenizer import train_bpe
from course_lib.transformer import Config, Transformer
from course_lib.widgets import calculator as calculator_module
from course_lib.widgets import controls, sampling_panel
from course_lib.widgets.calculator import Calculator
from course_lib.widgets.sampling_panel import Panel, Speaker, chain

STEPS = {
    "temperature": filters.temperature,
    "top_k": filters.top_k,
    "top_p": filters.top_p,
    "min_p": filters.min_p,
}
PROMPTS = ("Nora lives in", "Ada has a")
NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0}


@pytest.fixture(scope="module")
def speaker():
    return Speaker(*pretrained.load("base"))


@pytest.fixture
def panel(speaker):
    return Panel({"ours": speaker}, PROMPTS, STEPS)


@pytest.fixture
def drawn(monkeypatch):
    """What was last handed to the picture."""
    seen = {}

    def spy(tokens, plain, now, **others):
        seen.update(tokens=tokens, plain=plain, now=now, **others)
        return plots.next_tokens(tokens, plain, now, **others)

    monkeypatch.setattr(sampling_panel, "next_tokens", spy)
    return seen


def move(panel, **settings):
    for name, value in settings.items():
        panel.sliders[name].value = value


def numpy_softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


# ---- what the picture is given


def test_the_bars_are_those_of_a_computation_in_numpy(panel, drawn):
    panel.prompt.value = "Ada has a"
    move(panel, temperature=1.5, top_k=5, top_p=1, min_p=0)
    scores = panel.scores().double().numpy()
    order = np.argsort(-scores)[:12]
    cut = np.where(scores >= np.sort(scores)[-5], scores / 1.5, -np.inf)
    now = numpy_softmax(cut)
    tokenizer = panel.speakers["ours"].tokenizer
    assert drawn["tokens"] == [tokenizer.piece(int(i)) for i in order]
    np.testing.assert_allclose(drawn["plain"], numpy_softmax(scores)[order], rtol=1e-6)
    np.testing.assert_allclose(drawn["now"], now[order], rtol=1e-5)  # float32 inside
    assert drawn["left"] == 5
    entropy = -sum(p * math.log(p) for p in now if p > 0)
    assert drawn["entropy"] == pytest.approx(entropy, rel=1e-5)


def test_the_scores_are_those_of_the_models_own_forward_pass(speaker):
    ids = torch.tensor([speaker.tokenizer.encode("Nora lives in")])
    with torch.no_grad():
        expected = speaker.model(ids)[0, -1]
    torch.testing.assert_close(speaker.scores("Nora lives in"), expected)


def test_temperature_comes_before_the_nucleus():
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    for heat, kept in ((1.0, 2), (3.0, 4)):  # three hold 0.86 when hot
        out = scores
        for each in chain({**NEUTRAL, "temperature": heat, "top_p": 0.87}, STEPS):
            out = each(out)
        assert int((out > -math.inf).sum()) == kept


def test_temperature_0_leaves_one_token_and_asks_no_other_filter(panel, drawn):
    panel.steps["top_p"] = None
    move(panel, temperature=0)
    assert drawn["left"] == 1
    assert drawn["entropy"] == 0
    assert drawn["now"][0] == 1
    assert not drawn["now"][1:].count(1)


def test_a_cold_token_is_not_shown_as_out(panel, drawn):
    move(panel, temperature=0.05, top_p=1)
    assert drawn["left"] == len(panel.scores())


def test_an_idle_filter_is_not_asked():
    assert len(chain(NEUTRAL, {"temperature": filters.temperature})) == 1


def test_a_moved_control_asks_the_model_nothing(panel, monkeypatch):
    panel.prompt.value = "Ada has a"
    before = panel.picture.value
    monkeypatch.setattr(Transformer, "hidden", None)
    move(panel, temperature=0.5, top_k=3, top_p=0.5, min_p=0.1)
    assert panel.picture.value != before
    assert panel.picture.value.startswith("<img alt=")


def test_a_ready_prompt_is_taken_over_and_drawn(panel):
    panel.redraw()
    panel.ready.value = "Ada has a"
    assert panel.prompt.value == "Ada has a"
    assert "what follows “Ada has a”" in panel.picture.value


# ---- what goes wrong


def not_written(logits, k):
    raise NotImplementedError


def of_no_use(logits, k):
    return logits.nothing


FAULTS = {
    "top_k is not written yet.": not_written,
    "top_k stopped with AttributeError": of_no_use,
    "top_k gave NoneType, not a tensor.": lambda logits, k: None,
    "top_k gave scores of shape": lambda z, k: z[:, :3],
    "top_k gave scores that are nan": lambda logits, k: logits * math.nan,
    "top_k left no token": lambda logits, k: logits - math.inf,
    "top_k stopped with TypeError": lambda logits: logits,
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_learners_fault_is_told_in_one_sentence_and_the_panel_goes_on(speaker, words):
    panel = Panel({"ours": speaker}, PROMPTS, {**STEPS, "top_k": FAULTS[words]})
    panel.redraw()
    move(panel, top_k=4)
    assert words in panel.picture.value
    assert 'role="alert"' in panel.picture.value
    assert "Traceback" not in panel.picture.value
    panel.write()
    assert words in panel.texts.value
    assert not panel.button.disabled
    move(panel, top_k=0)
    assert panel.picture.value.startswith("<img")


def test_a_filter_that_works_in_place_does_not_damage_the_remembered_scores(speaker):
    def in_place(logits, value):
        return logits.zero_()

    panel = Panel({"ours": speaker}, PROMPTS, {**STEPS, "temperature": in_place})
    before = panel.scores().clone()
    move(panel, temperature=0.5, top_p=1)
    assert "768 tokens may be drawn: entropy 6.64 nats" in panel.picture.value  # ln 768
    assert torch.equal(panel.scores(), before)


BAD_PROMPTS = {
    "": "The prompt is empty",
    "Ada " * 300: "this model reads at most 256",
    "\ud800": "",
}


@pytest.mark.parametrize("prompt", BAD_PROMPTS, ids=["empty", "long", "no text"])
def test_a_prompt_that_cannot_be_read_is_told_in_one_sentence(panel, prompt):
    panel.redraw()
    panel.prompt.value = prompt
    assert 'role="alert"' in panel.picture.value
    assert BAD_PROMPTS[prompt] in panel.picture.value
    panel.write()
    assert BAD_PROMPTS[prompt] in panel.texts.value
    panel.prompt.value = "Ada"
    assert panel.picture.value.startswith("<img")


def test_a_prompt_that_fills_the_context_is_drawn_but_not_continued(speaker):
    exact = " a" * (speaker.model.config.context - 1)
    assert len(speaker.tokenizer.encode(exact)) == speaker.model.config.context - 1
    assert len(speaker.write(exact, [filters.greedy], 50, seed=0)) == 1  # room for one
    full = exact + " a"
    assert speaker.scores(full).shape == (768,)
    with pytest.raises(ValueError, match="fills the model's context"):
        speaker.write(full, [filters.greedy], 50, seed=0)


def test_a_panel_without_speakers_or_prompts_says_so(speaker):
    for speakers, prompts in (({}, ["a"]), ({"ours": speaker}, [])):
        with pytest.raises(ValueError, match="at least one speaker"):
            sampling_panel.sampling_panel(speakers, prompts)


# ---- texts


def test_each_press_draws_three_texts_with_a_seed_of_its_own(panel):
    move(panel, temperature=2, top_p=1)
    panel.write()
    first = panel.texts.value
    panel.write()
    assert "seed 1" in first
    assert "seed 2" in panel.texts.value
    assert first.count("<li") == panel.texts.value.count("<li") == 3
    assert first.split("</i>", 1)[1] != panel.texts.value.split("</i>", 1)[1]


def test_one_seed_gives_one_text_and_greedy_the_likeliest(speaker):
    hot = chain({**NEUTRAL, "temperature": 1.5}, STEPS)
    one, two = (speaker.write("Ada has a", hot, 8, seed=3, texts=2) for _ in range(2))
    assert one == two
    ids = speaker.tokenizer.encode("Ada has a")
    with torch.no_grad():
        for _ in range(8):
            ids.append(int(speaker.model(torch.tensor([ids]))[0, -1].argmax()))
    start = len(speaker.tokenizer.encode("Ada has a"))
    new = ids[start:]
    cut = new.index(speaker.end) if speaker.end in new else None
    expected = speaker.tokenizer.decode(new[:cut]) + ("…" if cut is None else "")
    assert speaker.write("Ada has a", [filters.greedy], 8, seed=0) == [expected]


def test_at_temperature_0_one_text_is_written(panel):
    move(panel, temperature=0)
    panel.write()
    assert panel.texts.value.count("<li") == 1


def test_what_the_model_writes_is_no_html(speaker, monkeypatch):
    monkeypatch.setattr(Speaker, "write", lambda *_: ["<script>"])
    panel = Panel({"<ours>": speaker}, ["<b>"], STEPS)
    panel.write()
    assert "<script>" not in panel.texts.value
    assert "&lt;script&gt;" in panel.texts.value
    assert "<ours>" not in panel.texts.value
    panel.redraw()
    assert "<b>" not in panel.picture.value


def test_a_tokenizer_without_our_specials_ends_where_its_chats_end():
    foreign = train_bpe(["low lower"], 270, specials=["<|im_start|>", "<|im_end|>"])
    config = Config(vocabulary=len(foreign), context=16, layers=1)
    speaker = Speaker(Transformer(config), foreign)
    end = foreign.specials["<|im_end|>"]
    assert speaker.end == end

    def only_end(logits):
        return torch.full_like(logits, -math.inf).index_fill(-1, torch.tensor([end]), 0)

    assert speaker.write("low", [only_end], 5, seed=0, texts=2) == ["", ""]


# ---- pictures


def test_the_words_of_the_picture_tell_what_is_left_and_what_is_out():
    picture = plots.next_tokens(
        [" a", " b", " c"], [0.5, 0.3, 0.1], [0.625, 0.375, 0], 2, 0.66, "so"
    )
    assert "2 tokens may be drawn: entropy 0.66 nats" in picture.alt
    assert "·a 50.0% → 62.5%" in picture.alt
    assert "all others 10.0% → out" in picture.alt
    assert "Of the 3 likeliest tokens 1 are out." in picture.alt


def test_dollars_and_letters_the_font_does_not_have_are_drawn_without_a_warning():
    tokens = ["$x^", "_$", "猫", "\x00", "🙂", "a" * 40]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = plots.next_tokens(tokens, [0.1] * 6, [0.1] * 6, 9, 2.0, "$\\frac{ 猫")
    assert "\\u732b" in picture.alt
    assert plots.visible("a" * 40) == "a" * 13 + "…"


def test_what_is_drawn_differs_from_the_model_alone_in_grey_too():
    picture = plots.next_tokens([" a"], [0.9], [1.0], 1, 0.0, "so")
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))
    levels = np.bincount(pixels.ravel(), minlength=256)
    blue, pale = levels[80:110].sum(), levels[190:210].sum()
    assert blue > 2000
    assert pale > 2000


def test_a_live_picture_has_a_pictures_size_and_takes_less_time():
    def drawn(kind):
        figure, axes = live_canvas(6.6, 3.7, margins=(1, 0.5, 0.1, 0.4))
        axes.plot([1, 2, 3])
        axes.set_title("a title")
        start = time.process_time()
        picture = kind(figure, "words")
        return time.process_time() - start, picture

    drawn(Picture)
    quick = sorted(drawn(LivePicture)[0] for _ in range(5))[2]
    slow = sorted(drawn(Picture)[0] for _ in range(5))[2]
    assert quick < slow
    one, two = drawn(LivePicture)[1], drawn(Picture)[1]
    assert (one.width, one.height) == (two.width, two.height) == (660, 370)
    sizes = {Image.open(io.BytesIO(p.png)).size for p in (one, two)}
    assert sizes == {(990, 555)}


# ---- what is displayed


@pytest.fixture
def displayed(monkeypatch):
    seen = []
    monkeypatch.setattr(controls, "display", lambda data, **_: seen.append(data))
    return seen


def test_a_saved_notebook_keeps_the_first_picture_with_its_words(speaker, displayed):
    sampling_panel.sampling_panel({"ours": speaker}, PROMPTS)
    (data,) = displayed
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "image/png" in data
    assert data["text/plain"].startswith("Bar chart of what follows “Nora lives in”")
    assert 'alt="Bar chart' in data["text/html"]


def test_a_panel_that_cannot_draw_at_first_still_shows_and_says_why(speaker, displayed):
    sampling_panel.sampling_panel({"ours": speaker}, PROMPTS, top_p=not_written)
    assert displayed[0]["text/plain"] == "top_p is not written yet."


def test_explore_says_in_place_what_a_moved_control_cannot_draw(displayed):
    def draw(x):
        if x > 1:
            raise ValueError("x < 2 is needed.")
        figure, _ = live_canvas(2, 2, margins=(0.1, 0.1, 0.1, 0.1))
        return LivePicture(figure, f"x is {x:g}")

    boxes = []
    original = controls.show_live
    x = controls.slider(1, 0, 3, 1, "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            controls,
            "show_live",
            lambda box, *a: (boxes.append(box), original(box, *a)),
        )
        controls.explore(draw, x=x)
    x.value = 2
    assert "x &lt; 2 is needed." in boxes[0].children[-1].value
    x.value = 0
    assert 'alt="x is 0"' in boxes[0].children[-1].value


# ---- the calculator


@pytest.fixture(scope="module")
def llama():
    return Calculator("LLaMA-7B")


@pytest.fixture
def page(llama):
    """The calculator as it begins."""
    llama.load()
    return llama


def told(calculator):
    """The table's words, by their names."""
    return {what: computed for what, computed, _ in calculator.sheet().table.rows}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_is_told_with_its_figures_and_sources(name):
    sheet = Calculator(name).sheet()
    model = PUBLISHED[name]
    printed = {what: said for what, _, said in sheet.table.rows}
    assert model.printed in printed["parameters"]
    assert bool(model.hours) == ("MFU at least" in printed["time"])
    assert model.source in sheet.notes[0]
    assert bool(model.hours_source) == (len(sheet.notes) == 2)
    shown = html.unescape(sheet.html())
    assert all(note in shown for note in sheet.notes)
    assert f"{name} as published" in shown


def test_what_is_told_of_llama_7b_is_what_paper_and_pencil_say(page):
    said = told(page)
    assert said["parameters"] == "6.74 billion"
    assert said["operations, 6 N D"].startswith("4.0 × 10²²")  # 6 · 6.74e9 · 1e12
    days = 6 * 6.738e9 * 1e12 / (312e12 * 0.4) / 86_400
    assert said["time"].startswith(f"{round(days, -1):,.0f} GPU-days; ")
    assert "14.6 GB with 2,048 tokens" in said["memory for serving"]  # 2 N + 1.07 GB
    assert said["tokens per parameter"].startswith("148;")


def test_a_shape_equal_to_the_preset_is_the_preset_and_another_keeps_its_experts():
    calculator = Calculator("Mixtral-8x7B")
    whole = calculator.plan()
    assert whole.active < whole.parameters
    calculator.shape["layers"].value = 16
    half = calculator.plan()
    assert half.active < half.parameters < 0.51 * whole.parameters
    assert calculator.sheet().table.columns[-1] == "Mixtral-8x7B as published"


def test_every_control_moves_the_page(page):
    changes = {
        "tokens": 2e12, "gpu": "H100", "mfu": 0.5, "length": 4096, "gpus": 8,
        "per_hour": 3.0,
    }  # fmt: skip
    for name, value in changes.items():
        before = page.page.value
        getattr(page, name).value = value
        assert page.page.value != before, name
    for name, control in page.shape.items():
        before = page.page.value
        control.value = {"heads": 16, "kv_heads": 8}.get(name, control.value // 2)
        assert page.page.value != before, name


def test_a_preset_sets_all_controls_and_draws_once(page, monkeypatch):
    drawn = []
    original = calculator_module.sheet
    monkeypatch.setattr(
        calculator_module, "sheet", lambda *a: drawn.append(1) or original(*a)
    )
    page.preset.value = "DeepSeek-V3"
    assert len(drawn) == 1
    config = PUBLISHED["DeepSeek-V3"].config
    assert {name: control.value for name, control in page.shape.items()} == {
        name: getattr(config, name) for name in page.shape
    }
    assert page.tokens.value == 14.8e12
    assert page.gpu.value == "H800"
    page.preset.value = "LLaMA-7B"


def test_a_budget_moves_the_best_and_a_larger_model_stands_on_its_other_side(page):
    assert "smaller than the best" in page.page.value
    page.tokens.value = 1e10
    assert "larger than the best" in page.page.value


BAD_PLANS = {
    "layers is at least 1, not 0.": ("layers", 0),
    "heads must divide width": ("heads", 7),
    "kv_heads must divide heads: 32 / 5.": ("kv_heads", 5),
    "length is at least 1": ("length", 0),
    "gpus is at least 1": ("gpus", 0),
    "per_hour is at least 0": ("per_hour", -2.0),
}


@pytest.mark.parametrize("words", BAD_PLANS)
def test_a_plan_that_cannot_be_is_told_in_one_sentence_and_can_be_repaired(page, words):
    name, value = BAD_PLANS[words]
    control = page.shape.get(name) or getattr(page, name)
    good = control.value
    control.value = value
    assert words in page.page.value
    assert 'role="alert"' in page.page.value
    control.value = good
    assert "<table>" in page.page.value


def test_the_curves_lowest_point_is_where_the_best_is_marked(monkeypatch):
    seen = {}

    def spy(model, best, budget, loss):
        seen.update(best=best, model=model, loss=loss, budget=budget)
        return scaling_plots.calculator(model, best, budget, loss)

    calculator = Calculator("Llama-3-8B")
    plots_seen = type("plots", (), {"calculator": staticmethod(spy)})
    monkeypatch.setattr(calculator_module, "plots", plots_seen)
    calculator.sheet()
    sizes = np.geomspace(1e9, 1e12, 20_001)
    losses = [seen["loss"](size) for size in sizes]
    assert sizes[np.argmin(losses)] == pytest.approx(seen["best"][0], rel=1e-2)
    assert min(losses) == pytest.approx(seen["best"][1], abs=1e-6)
    assert seen["loss"](seen["model"][0]) == pytest.approx(seen["model"][1], abs=1e-9)


def test_extreme_plans_are_drawn_without_a_warning(page):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tokens in (1e8, 1e14):
            page.tokens.value = tokens
            for width, layers in ((128, 1), (65_536, 400)):
                page.shape["width"].value = page.shape["hidden"].value = width
                page.shape["layers"].value = layers
                assert "<table>" in page.page.value


def test_a_saved_notebook_keeps_the_calculators_first_page(displayed):
    calculator_module.calculator("GPT-3")
    (data,) = displayed
    assert "Brown et al. 2020" in data["text/plain"]
    assert 'alt="Predicted loss by parameters' in data["text/html"]
    assert "<table>" in data["text/html"]
    assert "image/png" in data
    with pytest.raises(ValueError, match="No published model is called GPT-9 here"):
        calculator_module.calculator("GPT-9")
