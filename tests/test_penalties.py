"""Penalties and stops: what the text so far changes, and what of it may be shown."""

import math
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad as widen
from transformers import (
    AutoModelForCausalLM,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from course_lib.pretrained.folders import to_hf
from course_lib.sampling.filters import greedy, sampler
from course_lib.sampling.generate import generate
from course_lib.sampling.penalties import (
    Stream,
    counting,
    find_stop,
    frequency_penalty,
    held_back,
    no_end_before,
    no_repeat_ngrams,
    presence_penalty,
    read_until_stop,
    repetition_penalty,
    token_counts,
)
from course_lib.transformer import Config, Transformer

LOGITS = torch.tensor([[3.0, -3.0, 0.0, 1.0, -2.0]])
COUNTS = torch.tensor([[1, 2, 3, 0, 0]])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(seed=0, B=50, T=30, V=20):
    draws = seeded(seed)
    logits = torch.randn(B, V, generator=draws) * 4
    logits[:, :3] = torch.tensor([0.0, -0.0, -math.inf])  # the edges of the sign rule
    return logits, torch.randint(V, (B, T), generator=draws)


# ---- worked on paper


def test_the_penalties_are_those_worked_on_paper():
    expected = [[2.0, -4.5, 0.0, 1.0, -2.0]]
    assert repetition_penalty(LOGITS, COUNTS, 1.5).tolist() == expected
    expected = [[2.5, -3.5, -0.5, 1.0, -2.0]]
    assert presence_penalty(LOGITS, COUNTS, 0.5).tolist() == expected
    expected = [[2.5, -4.0, -1.5, 1.0, -2.0]]
    assert frequency_penalty(LOGITS, COUNTS, 0.5).tolist() == expected


def test_openais_formula_is_both_subtractions_together():
    """mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence, term by term."""
    logits, ids = drawn()
    logits, counts = logits.double(), token_counts(ids, 20)
    ours = presence_penalty(frequency_penalty(logits, counts, 0.3), counts, 0.7)
    for row, j in product(range(50), range(20)):
        c = ids[row].tolist().count(j)
        mu = logits[row, j].item() - c * 0.3 - float(c > 0) * 0.7
        assert ours[row, j].item() == pytest.approx(mu, rel=1e-12)


def test_tokens_are_counted_where_the_mask_says_so():
    ids = torch.tensor([[0, 0, 2, 2, 2], [1, 1, 1, 0, 3]])
    mask = torch.tensor(
        [[False, True, True, True, True], [False, False, True, True, True]]
    )
    assert token_counts(ids, 4, mask).tolist() == [[1, 0, 3, 0], [1, 1, 0, 1]]
    assert token_counts(ids, 4).tolist() == [[2, 0, 3, 0], [1, 3, 0, 1]]
    assert token_counts(ids[:, :0], 4).tolist() == [[0] * 4] * 2
    assert token_counts(ids.int(), 4).sum() == 10


def test_repeated_pairs_are_forbidden_on_paper():
    ids = torch.tensor([[1, 2, 0, 1, 3, 1], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 2]])
    banned = no_repeat_ngrams(torch.zeros(3, 4), ids, n=2) == -math.inf
    assert [row.nonzero().flatten().tolist() for row in banned] == [[2, 3], [0], [3]]
    banned = no_repeat_ngrams(torch.zeros(3, 4), ids, n=1) == -math.inf
    assert [row.nonzero().flatten().tolist() for row in banned] == [
        [0, 1, 2, 3],
        [0],
        [0, 1, 2, 3],
    ]
    same = no_repeat_ngrams(torch.zeros(3, 4), ids, n=7)
    assert same.equal(torch.zeros(3, 4))


# ---- invariants

RULES = {
    "repetition": (repetition_penalty, 1.3, 1.0),
    "presence": (presence_penalty, 0.4, 0.0),
    "frequency": (frequency_penalty, 0.4, 0.0),
}
every_rule = pytest.mark.parametrize("rule", RULES)


@every_rule
def test_a_penalty_never_raises_a_score_and_leaves_unsaid_tokens_alone(rule):
    penalise, strength, nothing = RULES[rule]
    logits, ids = drawn()
    counts = token_counts(ids, 20)
    after = penalise(logits, counts, strength)
    said = counts > 0
    assert (after <= logits).all()
    assert after[~said].equal(logits[~said])
    strict = said & logits.isfinite() & (logits != 0)
    assert (after[strict] < logits[strict]).all()
    assert penalise(logits, counts, nothing).equal(logits)
    assert penalise(logits, torch.zeros_like(counts), strength).equal(logits)
    assert (logits.dtype, logits.shape) == (after.dtype, after.shape)
    assert penalise(logits.double(), counts, strength).dtype == torch.float64


@every_rule
def test_a_penalty_below_its_neutral_value_encourages(rule):
    penalise, strength, nothing = RULES[rule]
    after = penalise(LOGITS, COUNTS, 0.5 if nothing else -strength)
    assert (after >= LOGITS).all()
    assert (after[0, :2] > LOGITS[0, :2]).all()


def test_additive_penalties_change_the_odds_alike_at_every_score_and_the_factor_does_not():
    """A shift of all scores means nothing to a softmax; only the subtraction respects it."""
    logits, ids = drawn()
    logits = logits[:, 3:].double()
    counts = token_counts(ids, 20)[:, 3:]
    for penalise, strength in ((presence_penalty, 0.4), (frequency_penalty, 0.4)):
        one = penalise(logits, counts, strength).softmax(-1)
        other = penalise(logits + 9, counts, strength).softmax(-1)
        torch.testing.assert_close(one, other)
    one = repetition_penalty(logits, counts, 1.3).softmax(-1)
    other = repetition_penalty(logits + 9, counts, 1.3).softmax(-1)
    assert (one - other).abs().max() > 0.01


def test_a_penalty_discourages_and_does_not_forbid():
    counts = torch.tensor([[5, 0]])
    for penalise, strength in ((presence_penalty, 2.0), (frequency_penalty, 2.0)):
        assert penalise(torch.tensor([[20.0, 0.0]]), counts, strength).argmax() == 0


# ---- a slow loop and transformers


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.2, 5.0])
def test_the_repetition_penalty_equals_transformers_bit_by_bit(penalty):
    for seed in range(3):
        logits, ids = drawn(seed)
        theirs = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
        ours = repetition_penalty(logits, token_counts(ids, 20), penalty)
        assert ours.equal(theirs)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12, 13])
def test_forbidden_ngrams_equal_transformers_and_a_loop(n):
    for seed, V in product(range(3), (2, 4, 20)):
        logits, ids = drawn(seed, T=12, V=max(V, 4))
        ids = ids % V
        ours = no_repeat_ngrams(logits, ids, n)
        assert ours.equal(NoRepeatNGramLogitsProcessor(n)(ids, logits))
        for row, text in enumerate(ids.tolist()):
            known = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
            for token in range(logits.shape[1]):
                banned = (*text[len(text) - n + 1 :], token) in known
                expected = -math.inf if banned else logits[row, token].item()
                assert ours[row, token].item() == expected


# ---- at work in generate

CONFIG = Config(vocabulary=13, context=60, width=24, layers=1, heads=2, tied=False)
MODEL = Transformer(CONFIG, generator=seeded())
with torch.no_grad():
    for weight in MODEL.parameters():
        if weight.dim() > 1:
            weight.normal_(std=0.4, generator=seeded(1))  # large, so that texts vary
IDS = torch.randint(13, (5, 4), generator=seeded(2))


def repeated_pairs(text):
    """How many pairs of neighbours stood in the text before."""
    pairs = [
        tuple(row[i : i + 2]) for row in text.tolist() for i in range(len(row) - 1)
    ]
    per_row = len(pairs) // len(text)
    return sum(
        per_row - len(set(pairs[i * per_row : (i + 1) * per_row]))
        for i in range(len(text))
    )


def pairs_once(logits, ids, mask):
    return no_repeat_ngrams(logits, ids, n=2)


@pytest.mark.parametrize("cache", [True, False])
def test_a_rule_sees_the_text_that_is_being_written(cache):
    plain = generate(MODEL, IDS, 30, temperature=0)
    text = generate(MODEL, IDS, 30, rules=[pairs_once], temperature=0, cache=cache)
    assert repeated_pairs(text) == repeated_pairs(IDS) < repeated_pairs(plain)
    text = generate(MODEL, IDS, 30, rules=[pairs_once], choose=sampler(greedy))
    assert repeated_pairs(text) == repeated_pairs(IDS)


def test_what_counts_is_the_callers_choice():
    """From the answer on, a huge penalty permutes the vocabulary, whatever the prompt."""
    once = counting(presence_penalty, 1e4, start=4)
    text = generate(MODEL, IDS, 13, rules=[once], generator=seeded())[:, 4:]
    assert text.sort(dim=1).values.equal(torch.arange(13).expand(5, 13))
    with_prompt = counting(presence_penalty, 1e4)
    text = generate(MODEL, IDS, 13, rules=[with_prompt], generator=seeded())
    for row in text.tolist():
        unsaid = 13 - len(set(row[:4]))
        assert len(set(row[: 4 + unsaid])) == 13


def test_padding_counts_as_nothing_said():
    mask = torch.arange(4) >= torch.tensor([[0], [3], [1], [2], [3]])
    rule = counting(repetition_penalty, 3.0)
    settings = {"rules": [rule], "temperature": 0}
    for pad in range(13):
        text = generate(MODEL, IDS.where(mask, pad), 20, mask=mask, **settings)
        for row, keep in enumerate(mask):
            alone = generate(MODEL, IDS[row : row + 1, keep], 20, **settings)
            assert text[row, 4:].equal(alone[0, -20:])


def test_rules_come_in_the_order_given_and_before_the_draw():
    forced = [lambda scores, ids, mask: scores + 100 * (torch.arange(13) == 7)]
    ten_times = [lambda scores, ids, mask: scores * 0]
    assert (generate(MODEL, IDS, 5, rules=forced, temperature=0)[:, 4:] == 7).all()
    assert (generate(MODEL, IDS, 5, rules=ten_times + forced)[:, 4:] == 7).all()
    assert (generate(MODEL, IDS, 5, rules=forced + ten_times)[:, 4:] != 7).any()


# ---- at work with ends, beside transformers


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """MODEL as transformers builds it."""
    folder = tmp_path_factory.mktemp("twin")
    to_hf(MODEL, folder)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def theirs(model, ids, n, end, **settings):
    """Their greedy text, filled up with the pad to the length of ours."""
    settings |= {"attention_mask": torch.ones_like(ids), "pad_token_id": 12}
    text = model.generate(
        ids, max_new_tokens=n, eos_token_id=end, do_sample=False, **settings
    )
    return widen(text, (0, ids.shape[1] + n - text.shape[1]), value=12)


MANY = torch.randint(13, (24, 4), generator=seeded(3))


def lengths(text, end):
    """New tokens before the end, of each row."""
    return [[*row, end].index(end) for row in text[:, 4:].tolist()]


@pytest.mark.parametrize("penalty", [1.0, 1.2, 3.0])
@pytest.mark.parametrize("end", [2, 5, 6])
def test_a_batch_with_penalty_and_ends_equals_transformers(twin, penalty, end):
    expected = theirs(twin, MANY, 30, end, repetition_penalty=penalty)
    rule = counting(repetition_penalty, penalty)
    ours = generate(MODEL, MANY, 30, rules=[rule], temperature=0, end=end, pad=12)
    assert ours.equal(expected)
    assert len(set(lengths(ours, end))) > 1  # rows left one by one


@pytest.mark.parametrize("least", [0, 1, 7, 30])
@pytest.mark.parametrize("end", [2, 5, 6])
def test_a_least_number_of_new_tokens_equals_transformers(twin, least, end):
    more = {"repetition_penalty": 1.2, "min_new_tokens": least}
    expected = theirs(twin, MANY, 30, end, **more)
    rules = [counting(repetition_penalty, 1.2), no_end_before(end, 4 + least)]
    ours = generate(MODEL, MANY, 30, rules=rules, temperature=0, end=end, pad=12)
    assert ours.equal(expected)
    assert min(lengths(ours, end)) >= least
    processor = MinNewTokensLengthLogitsProcessor(4, least, end)
    for T in range(4, 40):
        ids, scores = torch.zeros(2, T).long(), torch.randn(2, 13, generator=seeded())
        ours = no_end_before(end, 4 + least)(scores, ids, ids == 0)
        assert ours.equal(processor(ids, scores))


def test_a_rule_serves_samples_padding_and_ends_together():
    """Every row equals the same row written alone, with nobody else to end."""
    mask = torch.arange(4) >= torch.tensor([[0], [3], [1], [2], [3]])
    rules = [counting(frequency_penalty, 2.0), no_end_before(5, 6), pairs_once]
    together = {"mask": mask, "samples": 6, "generator": seeded(), "rules": rules}
    ended = generate(MODEL, IDS, 30, end=5, pad=12, **together)
    endless = generate(MODEL, IDS, 30, **together | {"generator": seeded()})
    stops = lengths(endless, 5)
    for free, row, stop in zip(endless, ended, stops, strict=True):
        assert row[: 4 + stop + 1].equal(free[: 4 + stop + 1])
        assert (row[4 + stop + 1 :] == 12).all()
    assert min(stops) >= 2
    assert len(set(stops)) > 3


# ---- stop strings


def test_the_cut_is_where_the_first_complete_stop_begins():
    assert find_stop("so. User: hi", ["User:", "."]) == 2
    assert find_stop("so User: hi", ["User:", "."]) == 3
    assert find_stop("so", ["User:", "."]) is None
    assert find_stop("abcd", ["abcd", "bc"]) == 1  # bc is complete first
    assert find_stop("abcd", ["cd", "bcd"]) == 1  # together: the longest
    assert find_stop("aaaa", ["aa"]) == 0
    assert find_stop("text", []) is None


def test_what_may_be_a_beginning_waits():
    stops = ["\n\nUser", "END"]
    for text, waits in [("so", 0), ("so\n", 1), ("so\n\n", 2), ("so\n\n\n", 2)]:
        assert held_back(text, stops) == waits
    for text, waits in [("E", 1), ("so\n\nUse", 5), ("THE", 1), ("EE", 1), ("", 0)]:
        assert held_back(text, stops) == waits
    assert held_back("ababa", ["abac", "babab"]) == 4
    assert held_back("anything", []) == 0


def test_a_stop_across_token_borders_is_never_shown_in_part():
    stream = Stream(["\nUser:"])
    shown = [
        stream.read(b) for b in (b"Hello", b"\n", b"Use", b"less.", b"\nUs", b"er: x")
    ]
    assert shown == ["Hello", "", "", "\nUseless.", "", ""]
    assert stream.stopped
    assert stream.read(b"more") == ""


def test_what_waited_is_shown_when_nothing_more_comes():
    stream = Stream(["END"])
    assert stream.read(b"THE EN") == "THE "
    assert stream.read(b"", last=True) == "EN"
    assert read_until_stop([b"THE ", b"EN"], ["END"]) == ("THE EN", 2)


def test_half_a_character_waits_for_its_other_half():
    stream, letters = Stream(), "é€😀".encode()
    shown = [stream.read(letters[i : i + 1]) for i in range(len(letters))]
    assert shown == ["", "é", "", "", "€", "", "", "", "😀"]
    assert Stream().read(letters[:1], last=True) == "�"
    assert read_until_stop([b"a", "é".encode()[:1]]) == ("a�", 2)
    euro = "€".encode()
    assert read_until_stop([b"5", euro[:2], euro[2:], b"!"], ["€"]) == ("5", 3)


words = st.text(alphabet="abé", max_size=25)
some_stops = st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=3)
cuts = st.lists(st.integers(0, 40), max_size=12)


@settings(max_examples=300, deadline=None)
@given(words, some_stops, cuts)
def test_borders_of_tokens_change_nothing_that_is_shown(text, stops, borders):
    data = text.encode()
    edges = [0, *sorted(min(b, len(data)) for b in borders), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    expected = text  # the slow way: letter by letter, over the whole text
    for end in range(1, len(text) + 1):
        ended = [s for s in stops if text[:end].endswith(s)]
        if ended:
            expected = text[: end - max(map(len, ended))]
            break
    stream, shown = Stream(stops), ""
    for piece in pieces:
        shown += stream.read(piece)
        assert expected.startswith(shown)  # nothing is ever taken back
    shown += stream.read(b"", last=True)
    assert shown == expected
    assert read_until_stop(pieces, stops)[0] == expected


@settings(max_examples=200, deadline=None)
@given(words, some_stops)
def test_no_more_waits_than_must(text, stops):
    """Some stop string could still begin exactly where the held-back part begins."""
    n = held_back(text, stops)
    if n:
        held = text[len(text) - n :]
        assert any(s.startswith(held) and len(s) > n for s in stops)
    for longer in range(n + 1, len(text) + 1):
        tail = text[len(text) - longer :]
        assert not any(s.startswith(tail) and len(s) > longer for s in stops)


# ---- guards


@pytest.mark.parametrize("stops", ["END", [""], ["a", ""]])
def test_stops_are_a_list_of_strings_with_something_in_them(stops):
    with pytest.raises(ValueError, match="none of them ''"):
        Stream(stops)


def test_wrong_shapes_and_settings_are_named():
    for penalise in (repetition_penalty, presence_penalty, frequency_penalty):
        with pytest.raises(AssertionError, match=r"counts\.shape"):
            penalise(LOGITS, COUNTS[:, :3], 1.0)
    with pytest.raises(AssertionError, match="penalty=0"):
        repetition_penalty(LOGITS, COUNTS, 0)
    with pytest.raises(AssertionError, match="n=0"):
        no_repeat_ngrams(LOGITS, COUNTS, 0)
