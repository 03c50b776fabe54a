"""Exams: every mark follows from what was said, and a batch says what each question alone would."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from course_lib import exam
from course_lib.tokenizer import train_bpe
from course_lib.transformer import Config, Transformer
from course_lib.world import arithmetic, passages, people
from course_lib.world.arithmetic import DOUBLE

SPOKEN = train_bpe([], 260)  # bytes and special tokens, no more
TOWN = people.town()
PROBLEMS = arithmetic.problems(DOUBLE)[::21]
ANSWERS = {
    people.question(person.name, kind, wording): people.statement(person, kind)
    for person in TOWN
    for kind in people.KINDS
    for wording in range(6)
}


class Asked(nn.Module):
    """A model that only lends its device; what it says is scripted."""

    def __init__(self, script):
        super().__init__()
        self.here = nn.Parameter(torch.zeros(1))
        self.script = script
        self.questions, self.options, self.batches = [], [], []


def scripted_generate(model, ids, new_tokens, *, mask, end, pad, **options):
    """Stands in for generate: reads each question off the ids and says what the script says."""
    text = torch.full((len(ids), ids.shape[1] + new_tokens), pad)
    text[:, : ids.shape[1]] = ids
    model.options.append({**options, "new_tokens": new_tokens})
    model.batches.append(ids)
    for row, real in enumerate(mask):
        prompt = SPOKEN.decode(ids[row][real].tolist())
        assert prompt.startswith("<user>")
        question, begun = prompt.removeprefix("<user>").split("<bot>")
        model.questions.append(question)
        said = SPOKEN.encode(model.script(question).removeprefix(begun))[
            : new_tokens - 1
        ]
        told = torch.tensor([*said, end])
        text[row, ids.shape[1] : ids.shape[1] + len(told)] = told
    return text


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(exam, "generate", scripted_generate)
    return Asked


def tiny():
    """A random model that says something else after every prompt."""
    config = Config(
        vocabulary=len(SPOKEN), context=64, width=16, layers=1, heads=2, kv_heads=1,
        hidden=16, tied=False,
    )  # fmt: skip
    return Transformer(config, generator=torch.Generator().manual_seed(0)).double()


def greedy(model, question, new_tokens, forbidden=()):
    """The slow way: the whole text is read again for every token."""
    prompt = SPOKEN.encode_chat(
        [{"role": "user", "content": question}], reply_next=True
    )
    text = list(prompt)
    with torch.inference_mode():
        for _ in range(new_tokens):
            scores = model(torch.tensor([text]))[0, -1].clone()
            scores[list(forbidden) if len(text) == len(prompt) else []] = -torch.inf
            text.append(int(scores.argmax()))
            if text[-1] == SPOKEN.end:
                break
    return text[len(prompt) :]


# ---- asking


def test_replies_come_in_the_order_asked_whatever_the_batches_are(script, monkeypatch):
    questions = [f"Say {'x' * (i * 7 % 11)} {i}." for i in range(20)]
    for at_once in (1, 3, 128):
        monkeypatch.setattr(exam, "AT_ONCE", at_once)
        model = script(lambda question: f"You said: {question}")
        said = exam.replies(model, SPOKEN, questions)
        assert said == [f"You said: {question}" for question in questions]
        assert max(len(batch) for batch in model.batches) == min(at_once, 20)


def test_questions_of_one_length_share_a_batch(script, monkeypatch):
    monkeypatch.setattr(exam, "AT_ONCE", 5)
    model = script(lambda question: "yes")
    exam.replies(model, SPOKEN, ["a" * (1 + i % 4) for i in range(20)])
    assert all((batch != SPOKEN.pad).all() for batch in model.batches)


def test_the_words_put_into_its_mouth_stand_in_the_reply(script):
    model = script(lambda question: "Answer: 14.")
    assert exam.replies(model, SPOKEN, ["What?"], start="Answer:") == ["Answer: 14."]
    (ids,) = model.batches
    assert SPOKEN.decode(ids[0].tolist()) == "<user>What?<bot>Answer:"


def test_special_tokens_in_a_question_stay_text():
    plain, typed = exam.prompt_ids("Hi", SPOKEN), exam.prompt_ids("Hi<bot>", SPOKEN)
    assert len(typed) == len(plain) + len("<bot>")
    assert typed.count(SPOKEN.bot) == 1


QUESTIONS = ["Where?", "Where does Ada live?", "Why?", "What is 2 + 2 × 6?"]


def test_a_real_model_says_in_a_batch_what_it_says_alone_and_slowly():
    model = tiny()
    alone = [SPOKEN.decode(greedy(model, q, 8), specials=False) for q in QUESTIONS]
    assert exam.replies(model, SPOKEN, QUESTIONS, new_tokens=8) == alone
    assert len(set(alone)) > 2  # of four


def test_a_temperature_draws_and_one_seed_draws_one_reply():
    model = tiny()

    def say(seed):
        generator = torch.Generator().manual_seed(seed)
        return exam.replies(model, SPOKEN, ["Why?"] * 3, 8, temperature=1.0, generator=generator)  # fmt: skip

    assert say(0) == say(0) != say(1)
    assert len(set(say(0))) == 3


def test_a_forbidden_token_comes_first_in_no_reply_of_any_batch(monkeypatch):
    model = tiny()
    first = greedy(model, QUESTIONS[0], 1)[0]
    wanted = [greedy(model, q, 8, forbidden=[first]) for q in QUESTIONS]
    assert wanted[0][0] != first
    for at_once in (1, 128):
        monkeypatch.setattr(exam, "AT_ONCE", at_once)
        said = exam.replies(model, SPOKEN, QUESTIONS, 8, choose=exam.not_first(first))
        assert said == [SPOKEN.decode(ids, specials=False) for ids in wanted]


def test_padding_stands_on_the_left_and_is_masked():
    ids, mask = exam.pad_left([[5, 6, 7], [8]], pad=0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[True, True, True], [False, False, True]]


def test_a_share_of_nothing_is_refused(script):
    assert exam.share([True, False, False, False]) == 0.25
    with pytest.raises(AssertionError, match="nothing was asked"):
        exam.facts(script(str), SPOKEN, [])


# ---- the exams


def test_who_knows_the_town_gets_full_marks_and_who_knows_three_quarters_gets_those(
    script,
):
    trained = {person.name for person in TOWN if not people.is_held_out(person)}

    def remembers(question):
        known = any(name in question for name in trained)
        return ANSWERS[question] if known else "I do not know."

    assert exam.facts(script(ANSWERS.get), SPOKEN, TOWN) == 1.0
    assert exam.facts(script(remembers), SPOKEN, TOWN) == 0.75
    assert exam.facts(script(lambda q: "I do not know."), SPOKEN, TOWN) == 0.0


def test_who_names_every_value_knows_nothing(script):
    everything = " ".join(value for values in people.KINDS.values() for value in values)
    model = script(lambda question: everything[:300])
    assert exam.facts(model, SPOKEN, TOWN[:5]) == 0.0


def test_facts_are_asked_in_the_wordings_of_training_or_in_the_one_that_was_ordered(
    script,
):
    def wordings(order):
        model = script(ANSWERS.get)
        exam.facts(model, SPOKEN, TOWN, order)
        assert len(set(model.questions)) == 240
        forms = {f.format(name=p.name): i for fs in people.QUESTIONS.values() for i, f in enumerate(fs) for p in TOWN}  # fmt: skip
        return {forms[question] for question in model.questions}

    assert wordings(None) == {0, 1, 2, 3, 4}
    assert wordings(5) == {5}
    assert wordings(0) == {0}


def reckon(question):
    return arithmetic.worked(arithmetic.parse(question[8:-1]))


def guess(question):
    return arithmetic.direct(arithmetic.parse(question[8:-1]))


def test_sums_are_right_when_the_final_answer_is(script):
    for how in ("free", "steps"):
        assert exam.sums(script(reckon), SPOKEN, PROBLEMS, how) == 1.0
    assert exam.sums(script(guess), SPOKEN, PROBLEMS, "direct") == 1.0
    assert exam.sums(script(lambda q: "Answer: -1."), SPOKEN, PROBLEMS) == 0.0
    assert exam.sums(script(lambda q: guess(q) + " Or 7."), SPOKEN, PROBLEMS) == 0.0
    one, values = PROBLEMS[7].value, [p.value for p in PROBLEMS]
    expected = values.count(one) / len(values)
    assert exam.sums(script(lambda q: f"Answer: {one}."), SPOKEN, PROBLEMS) == expected


def test_a_direct_answer_is_begun_for_the_model_and_steps_may_not_begin_like_it(script):
    model = script(guess)
    exam.sums(model, SPOKEN, PROBLEMS[:2], "direct")
    assert SPOKEN.decode(model.batches[0][0].tolist()).endswith("<bot>Answer:")
    model = script(reckon)
    exam.sums(model, SPOKEN, PROBLEMS[:2], "steps")
    choose, logits = model.options[0]["choose"], torch.zeros(2, len(SPOKEN))
    (first, *_) = SPOKEN.encode("Answer:")
    logits[:, first] = 9.0
    assert first not in choose(logits).tolist()
    assert choose(logits).tolist() == [first, first]


def test_an_unknown_way_of_asking_is_refused(script):
    with pytest.raises(AssertionError, match="not 'quickly'"):
        exam.sums(script(guess), SPOKEN, PROBLEMS, "quickly")


@pytest.fixture
def sheet(monkeypatch):
    """The questions that `copying` draws, by their prompts."""
    drawn, draw_one = {}, passages.context_question

    def remember(*order):
        asked = draw_one(*order)
        drawn[asked.prompt] = asked
        return asked

    monkeypatch.setattr(passages, "context_question", remember)
    return drawn


def test_who_copies_from_the_passage_gets_full_marks(script, sheet):
    model = script(lambda prompt: sheet[prompt].answer)
    assert exam.copying(model, SPOKEN, 3, count=30) == 1.0
    assert {len(asked.passages) for asked in sheet.values()} == {3}
    kept = {*passages.strangers(held_out=True), *passages.places(held_out=True)}
    assert {asked.name for asked in sheet.values()} <= kept


def test_who_never_knows_is_right_only_where_nobody_can(script, sheet):
    model = script(lambda prompt: passages.UNKNOWN)
    assert exam.copying(model, SPOKEN, 1, count=30) == 0.0
    assert exam.copying(model, SPOKEN, 3, count=30, answerable=False) == 1.0


def test_who_copies_all_passages_copies_nothing(script, sheet):
    model = script(lambda prompt: "")
    assert exam.copying(model, SPOKEN, 1, count=30) == 0.0
    model = script(lambda prompt: " ".join(sheet[prompt].choices))
    assert exam.copying(model, SPOKEN, 1, count=30) == 0.0


def test_copying_asks_the_same_questions_for_the_same_seed(script):
    first, again, other = (script(lambda prompt: "?") for _ in range(3))
    exam.copying(first, SPOKEN, 1, count=10, seed=4)
    exam.copying(again, SPOKEN, 1, count=10, seed=4)
    exam.copying(other, SPOKEN, 1, count=10, seed=5)
    assert first.questions == again.questions != other.questions


def test_manner_is_measured_at_temperature_one_on_every_fact(script):
    model = script(lambda question: "Of course!" if "home" in question else "No.")
    polite = exam.manner(model, SPOKEN, TOWN, lambda reply: reply == "Of course!")
    assert len(model.questions) == 240
    assert polite == sum("home" in question for question in model.questions) / 240
    assert {options["temperature"] for options in model.options} == {1.0}


# ---- without questions


class Fixed(nn.Module):
    """The same probabilities at every position."""

    def __init__(self, *probabilities, context=4):
        super().__init__()
        self.config = SimpleNamespace(context=context)
        self.logits = torch.tensor(probabilities).log()

    def forward(self, ids):
        return self.logits.expand(*ids.shape, -1)


def test_the_loss_of_a_fixed_guess_as_on_paper():
    model = Fixed(0.5, 0.25, 0.25)
    tokens = torch.tensor(
        [0, 0, 1, 2, 0, 1, 0, 0, 2]
    )  # two rows of four, one left over
    everything = torch.ones(9, dtype=torch.bool)
    two = torch.tensor(2.0).log()  # ln 2 for a 0, 2 ln 2 for the others
    losses = [1, 2, 2, 2, 1, 1]  # rows 0|0 1 2 and 0|1 0 0
    assert exam.loss_on(model, tokens, everything) == pytest.approx(
        float(two) * sum(losses) / 6
    )
    kept = everything.clone()
    kept[[2, 3, 5]] = False
    assert exam.loss_on(model, tokens, kept) == pytest.approx(float(two))


def test_acceptance_as_on_paper():
    model, draft = Fixed(0.5, 0.5, context=2), Fixed(0.9, 0.1, context=2)
    tokens, kept = torch.zeros(6).long(), torch.ones(6, dtype=torch.bool)
    assert exam.acceptance(draft, model, tokens, kept) == pytest.approx(0.5 + 0.1)
    assert exam.acceptance(model, draft, tokens, kept) == pytest.approx(0.5 + 0.1)
    assert exam.acceptance(model, model, tokens, kept) == pytest.approx(1.0)


def test_acceptance_counts_only_positions_whose_next_token_is_kept():
    class Agrees(Fixed):  # with the model after a 1, and with nobody else after a 0
        def forward(self, ids):
            one_sided = torch.tensor([1.0, 0.0]).log()
            return torch.where(ids.unsqueeze(-1) == 1, self.logits, one_sided)

    model, draft = Fixed(0.5, 0.5), Agrees(0.5, 0.5)
    tokens = torch.tensor([1, 0, 1, 0])
    for kept, share in (([0, 1, 0, 1], 1.0), ([0, 0, 1, 0], 0.5), ([1, 1, 1, 0], 0.75)):
        marks = torch.tensor(kept).bool()
        assert exam.acceptance(draft, model, tokens, marks) == pytest.approx(share)


def test_a_text_shorter_than_one_row_is_refused():
    with pytest.raises(AssertionError, match="3 tokens fills no row of 4"):
        exam.loss_on(Fixed(0.5, 0.5), torch.tensor([0, 1, 0]), torch.ones(3).bool())


def test_rows_are_cut_in_order_and_the_rest_is_left():
    assert exam.in_rows(Fixed(0.5, 0.5), torch.arange(11)).tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]
