"""The panel of the loss mask: what it counts, what it says of faults, what it draws."""

import html
import io
import math
import time
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib import pretrained
from course_lib.chat_format import render_chat
from course_lib.logprobs import token_logprobs
from course_lib.plotting import loss_mask as plots
from course_lib.sft.examples import Example, build_example, collate
from course_lib.sft.records import chat_pieces
from course_lib.transformer import Transformer
from course_lib.widgets import controls, mask_panel
from course_lib.widgets.mask_panel import RULES, Panel, as_published, published
from course_lib.world.corpus import turn

REPLIES, LAST, NO_END, ALL, PUBLISHED = RULES
FUNCTIONS = {
    "chat_pieces": chat_pieces,
    "build_example": build_example,
    "collate": collate,
}
MARKER = "What does ### Response: mean?"
CHATS = {
    "short": turn("Where does Ada live?", "In Mill Lane."),
    "marker": turn(MARKER, "It opens the reply."),
    "two turns": turn("Has Ada a cat?", "Yes.") + turn("And Nora?", "No, a dog."),
    "long": turn("Tell me about Ada. " * 8, "Ada has a cat."),
}


@pytest.fixture(scope="module")
def shipped():
    return pretrained.load("base")


@pytest.fixture(scope="module")
def tokenizer(shipped):
    return shipped[1]


@pytest.fixture
def panel(tokenizer):
    return Panel(tokenizer, CHATS, FUNCTIONS)


@pytest.fixture
def drawn(monkeypatch):
    """What was last handed to the picture."""
    seen = {}

    def spy(tokens, counts, real, costs, blind):
        seen.update(tokens=tokens, counts=counts, real=real, costs=costs, blind=blind)
        return plots.loss_mask(tokens, counts, real, costs, blind)

    monkeypatch.setattr(mask_panel, "loss_mask", spy)
    return seen


def counted(panel, drawn, chat, rule):
    """The text that counts under a rule, padding left out."""
    panel.chat.value, panel.rule.value = chat, rule
    panel.redraw()
    real = drawn["real"]
    pairs = zip(drawn["tokens"][:real], drawn["counts"][:real], strict=True)
    return "".join(token for token, counts in pairs if counts)


# ---- what counts


def test_each_rule_counts_the_text_that_its_name_says(panel, drawn):
    said = {rule: counted(panel, drawn, "two turns", rule) for rule in RULES}
    assert said[REPLIES] == "Yes.<end>No, a dog.<end>"
    assert said[LAST] == "No, a dog.<end>"
    assert said[NO_END] == "Yes.No, a dog."
    everything = render_chat(CHATS["two turns"]).removeprefix("<user>")
    assert said[ALL] == everything  # nothing predicts the first token
    text = as_published(CHATS["two turns"])
    assert said[PUBLISHED] == text[text.index("### Response:") :]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("rule", RULES)
def test_the_tokens_in_order_are_the_whole_text(panel, drawn, chat, rule):
    counted(panel, drawn, chat, rule)
    shown = "".join(drawn["tokens"][: drawn["real"]])
    whole = as_published(CHATS[chat]) if rule == PUBLISHED else render_chat(CHATS[chat])
    assert shown == whole
    assert not drawn["counts"][0]


def test_the_published_rule_takes_the_marker_that_the_question_mentions(panel, drawn):
    said = counted(panel, drawn, "marker", PUBLISHED)
    assert said.startswith("### Response: mean?")
    assert counted(panel, drawn, "marker", REPLIES) == "It opens the reply.<end>"


def test_the_published_rule_counts_all_padding_and_no_end(panel, drawn, tokenizer):
    row = published(CHATS["short"], tokenizer, room=100)
    assert len(row.ids) == len(row.counts) == 100
    assert all(row.counts[row.real :])
    assert row.real < 100
    assert tokenizer.end not in row.ids
    counted(panel, drawn, "short", PUBLISHED)
    assert "padding count" in panel.drawing().alt


def test_the_published_rule_pushes_a_long_questions_answer_out(panel, drawn):
    panel.room.value = 40
    assert counted(panel, drawn, "long", PUBLISHED) == ""
    assert "0 of 40 tokens (0 %) count: their mean loss is nan" in panel.picture.value


def test_a_batchs_padding_never_counts_and_is_as_long_as_the_longest(
    panel, drawn, tokenizer
):
    for rule in (REPLIES, LAST, NO_END, ALL):
        counted(panel, drawn, "short", rule)
        longest = max(len(tokenizer.encode_chat(chat)) for chat in CHATS.values())
        assert len(drawn["tokens"]) == longest
        assert drawn["real"] == len(tokenizer.encode_chat(CHATS["short"]))
        assert not any(drawn["counts"][drawn["real"] :])


def test_a_shorter_row_leaves_out_longer_neighbours_but_says_so_of_the_chosen_one(
    panel, drawn, tokenizer
):
    lengths = {name: len(tokenizer.encode_chat(chat)) for name, chat in CHATS.items()}
    panel.room.value = lengths["long"] - 1
    counted(panel, drawn, "short", REPLIES)
    assert len(drawn["tokens"]) == sorted(lengths.values())[-2]
    for rule in (REPLIES, LAST, NO_END, ALL):
        panel.chat.value, panel.rule.value = "long", rule
        sentence = f"The example has {lengths['long']} tokens, a row has room for"
        assert sentence in panel.picture.value
        assert 'role="alert"' in panel.picture.value
    panel.room.value = lengths["long"]
    assert panel.picture.value.startswith("<img alt=")


def test_a_function_that_cuts_prompts_keeps_the_answer(tokenizer, drawn):
    cutting = partial(build_example, cut=True)
    panel = Panel(tokenizer, CHATS, {**FUNCTIONS, "build_example": cutting})
    panel.room.value = 20
    assert counted(panel, drawn, "long", LAST) == "Ada has a cat.<end>"
    assert drawn["real"] == 20


# ---- what tokens cost


def test_costs_are_the_models_own_log_probabilities(shipped, drawn):
    model, tokenizer = shipped
    panel = Panel(tokenizer, CHATS, FUNCTIONS, model)
    counted(panel, drawn, "short", REPLIES)
    ids = torch.tensor([tokenizer.encode_chat(CHATS["short"])])
    with torch.no_grad():
        expected = -token_logprobs(model(ids)[:, :-1], ids[:, 1:])[0]
    costs = torch.tensor(drawn["costs"][1 : drawn["real"]])
    torch.testing.assert_close(costs, expected, rtol=1e-4, atol=1e-4)  # padded row
    assert drawn["blind"] == math.log(len(tokenizer))
    mean = sum(expected[torch.tensor(drawn["counts"][1 : drawn["real"]])])
    mean = float(mean) / sum(drawn["counts"])
    assert f"mean {mean:.2f} nats" in panel.drawing().alt


def test_the_model_reads_a_conversation_once_for_all_that_is_moved(
    shipped, drawn, monkeypatch
):
    model, tokenizer = shipped
    panel, read = Panel(tokenizer, CHATS, FUNCTIONS, model), []
    own = Transformer.hidden
    monkeypatch.setattr(
        Transformer, "hidden", lambda *args: read.append(1) or own(*args)
    )
    counted(panel, drawn, "two turns", REPLIES)
    first = drawn["costs"]
    for rule in (LAST, NO_END, ALL, REPLIES):
        counted(panel, drawn, "two turns", rule)
    assert drawn["costs"] == first
    panel.room.value -= 10  # a neighbour less, so less padding
    assert drawn["costs"] == first[: len(drawn["costs"])]
    assert len(read) == 1
    counted(panel, drawn, "two turns", PUBLISHED)  # another text
    panel.room.value -= 10
    assert len(read) == 2


def test_a_row_is_never_longer_than_the_model_reads(shipped):
    panel = Panel(shipped[1], CHATS, FUNCTIONS, shipped[0], context=10_000)
    panel.rule.value = PUBLISHED
    assert panel.room.value == shipped[0].config.context
    assert panel.drawing().alt


# ---- what goes wrong


def not_written(*_):
    raise NotImplementedError


def counts_padding(rows, pad):
    ids, _ = collate(rows, pad)
    return ids, torch.ones_like(ids, dtype=torch.bool)


def pads_left(rows, pad):
    ids, mask = collate(rows, pad)
    return ids.flip(1), mask.flip(1)


FAULTS = {
    "chat_pieces is not written yet.": ("chat_pieces", not_written),
    "chat_pieces stopped with TypeError": ("chat_pieces", lambda messages: []),
    "chat_pieces gave no list of pieces": ("chat_pieces", lambda *_: "<user>"),
    "chat_pieces gave no list": ("chat_pieces", lambda *_: [("<bot>", True)]),
    "chat_pieces gave no": ("chat_pieces", lambda *_: [5]),
    "build_example is not written yet.": ("build_example", not_written),
    "build_example gave no list of ids": ("build_example", lambda *_: None),
    "build_example gave no list": ("build_example", lambda *_: ([1, 2], [True])),
    "build_example gave no": ("build_example", lambda *_: ([], [])),
    "build_example stopped with AttributeError": (
        "build_example",
        lambda ids, *_: ids.none,
    ),
    "The row stopped with TypeError": (
        "build_example",
        lambda *_: Example([1.5, 2.5], [False, True]),
    ),
    "The row: Id 999999 is not": (
        "build_example",
        lambda *_: Example([1, 999_999], [False, True]),
    ),
    "collate is not written yet.": ("collate", not_written),
    "collate gave no ids and mask": ("collate", lambda rows, pad: rows),
    "collate gave no ids": ("collate", lambda r, p: (collate(r, p)[0],) * 3),
    "collate gave no": ("collate", lambda r, p: tuple(t[0] for t in collate(r, p))),
    "collate moved or changed the tokens of row 0.": ("collate", pads_left),
    "collate: Example 0 has no token that counts": (
        "build_example",
        lambda ids, *_: Example([*ids], [False] * len(ids)),
    ),
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_learners_fault_is_one_sentence_and_the_panel_goes_on(tokenizer, words):
    name, function = FAULTS[words]
    panel = Panel(tokenizer, CHATS, {**FUNCTIONS, name: function})
    panel.rule.value = LAST
    panel.redraw()
    assert words in html.unescape(panel.picture.value)
    assert 'role="alert"' in panel.picture.value
    assert "Traceback" not in panel.picture.value
    panel.rule.value = PUBLISHED
    assert panel.picture.value.startswith("<img alt=")


def test_a_batch_that_counts_its_padding_is_shown_as_it_is(tokenizer, drawn):
    panel = Panel(tokenizer, CHATS, {**FUNCTIONS, "collate": counts_padding})
    counted(panel, drawn, "short", REPLIES)
    padding = len(drawn["tokens"]) - drawn["real"]
    assert f"and {padding} of padding count" in panel.picture.value


def test_a_template_that_lets_the_question_count_is_shown_as_it_is(tokenizer, drawn):
    def eager(messages, reply_next=False):
        pieces = chat_pieces(messages, reply_next)
        return [piece._replace(counts=True) for piece in pieces]

    panel = Panel(tokenizer, CHATS, {**FUNCTIONS, "chat_pieces": eager})
    assert counted(panel, drawn, "short", REPLIES).startswith("Where does Ada live?")


def test_functions_that_change_their_arguments_do_not_spoil_the_conversations(
    tokenizer, drawn
):
    def greedy(messages, reply_next=False):
        pieces = chat_pieces(messages, reply_next)
        messages.clear()
        return pieces

    def sorting(rows, pad):
        both = collate(rows, pad)
        rows.clear()
        return both

    changing = {**FUNCTIONS, "chat_pieces": greedy, "collate": sorting}
    panel = Panel(tokenizer, CHATS, changing)
    for _ in range(2):
        assert counted(panel, drawn, "short", REPLIES) == "In Mill Lane.<end>"


def test_no_conversation_and_a_broken_one_are_refused_in_a_sentence(tokenizer):
    with pytest.raises(ValueError, match="at least one conversation"):
        mask_panel.mask_panel(tokenizer, {})
    with pytest.raises(ValueError, match="ends with a question"):
        mask_panel.mask_panel(tokenizer, {"broken": turn("Hi", "Yes.")[:1]})


# ---- pictures


def test_numbers_and_brackets_are_told_to_those_who_cannot_see(panel):
    panel.redraw()
    alt = panel.drawing().alt
    tokenizer = panel.tokenizer
    all_of_it = len(tokenizer.encode_chat(CHATS["short"]))
    kept = len(tokenizer.encode("In Mill Lane.")) + 1
    share = f"{100 * kept / all_of_it:.0f} %"
    assert alt.startswith(f"{kept} of {all_of_it} tokens ({share}) count. ")
    assert alt.endswith("<user>Where does Ada live?<bot> [In Mill Lane.<end>]")
    assert 'alt="' in panel.picture.value


def test_what_counts_is_dark_and_the_rest_is_light_in_grey_too():
    def darkness(counts):
        tokens = ["aaaa"] * 3
        picture = plots.loss_mask(tokens, counts, real=3)
        grey = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))
        row = grey[int(0.45 * 150) : int(0.6 * 150), :]  # the line of the tokens
        starts = [int((0.1 + 6 * n * plots.LETTER) * 150) for n in range(3)]
        width = int(5 * plots.LETTER * 150)
        return [np.median(row[:, start : start + width]) for start in starts]

    first, second, third = darkness([False, True, False])
    assert second < 120 < 200 < first
    assert third == first


def test_each_token_stands_on_its_own_ground():
    """The letters of a line are one text: they must not drift from their bars."""
    tokens = ["<user>", *["lllll"] * 12, "|"]
    cells = plots.wrapped(tokens, ["does not count"] * len(tokens))
    last = cells[-1]
    assert last.line == 0
    picture = plots.loss_mask(tokens, [False] * len(tokens), real=len(tokens))
    grey = np.asarray(Image.open(io.BytesIO(picture.png)).convert("L"))
    row = grey[int(0.42 * 150) : int(0.62 * 150), :]
    inks = np.flatnonzero((row < 110).any(axis=0))
    middle = (0.1 + (last.at + 0.8 + 0.5) * plots.LETTER) * 150
    assert inks.max() == pytest.approx(middle, abs=2)  # pixels


def test_lines_are_wrapped_and_no_token_leaves_the_picture():
    tokens = ["word"] * 200 + ["very" * 20]
    cells = plots.wrapped([plots.visible(t, 20) for t in tokens], ["counts"] * 201)
    assert cells[-1].line > 5
    assert max(cell.at + cell.room for cell in cells) <= plots.LETTERS
    places = [(cell.line, cell.at) for cell in cells]
    assert places == sorted(places)
    assert len(set(places)) == 201


def test_strange_letters_and_dollars_are_drawn_without_a_warning():
    tokens = ["$x^", "_$", "猫", "\x00", "🙂", "\n", " ", "<e2>", "a" * 40]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = plots.loss_mask(
            tokens, [False, *[True] * 8], 9, [math.nan, *[1.0] * 8]
        )
    assert "[_$猫" in picture.alt


def test_a_row_of_which_nothing_counts_and_extreme_costs_are_drawn():
    assert "nan" in plots.loss_mask(["a", "b"], [False, False], 2, [math.nan, 1.0]).alt
    picture = plots.loss_mask(["a", "b"], [False, True], 2, [math.nan, math.inf], 6.6)
    assert "mean inf nats" in picture.alt


def test_a_redraw_takes_little_time(shipped):
    model, tokenizer = shipped
    panel = Panel(tokenizer, CHATS, FUNCTIONS, model, context=96)
    panel.redraw()

    def spent():
        began = time.process_time()
        panel.redraw()
        return time.process_time() - began

    assert sorted(spent() for _ in range(5))[1] < 0.3  # about 0.06 on a quiet core


# ---- what is displayed


@pytest.fixture
def displayed(monkeypatch):
    seen = []
    monkeypatch.setattr(controls, "display", lambda data, **_: seen.append(data))
    return seen


def test_a_saved_notebook_keeps_the_first_picture_with_its_words(tokenizer, displayed):
    mask_panel.mask_panel(tokenizer, CHATS)
    (data,) = displayed
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "image/png" in data
    assert 'alt="' in data["text/html"]
    assert "[In Mill Lane.<end>]" in data["text/plain"]


def test_a_panel_that_cannot_draw_at_first_still_shows_and_says_why(
    tokenizer, displayed
):
    mask_panel.mask_panel(tokenizer, CHATS, template=not_written)
    assert displayed[0]["text/plain"] == "chat_pieces is not written yet."


def test_names_and_texts_are_no_html(tokenizer):
    panel = Panel(tokenizer, {"<b>": turn("<script>", "<i>no</i>")}, FUNCTIONS)
    panel.redraw()
    assert "<script>" not in panel.picture.value
    assert "<i>" not in panel.picture.value
