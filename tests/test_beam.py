"""Beam search: against trying everything, against paper, and against transformers."""

import math
from itertools import pairwise, product

import pytest
import torch
from transformers import AutoModelForCausalLM

from course_lib.pretrained.folders import to_hf
from course_lib.sampling.beam import (
    Beam,
    CachedScores,
    beam_search,
    best_possible,
    grow,
    last_scores,
    length_score,
    parents_of,
)
from course_lib.sampling.generate import generate
from course_lib.transformer import Config, Transformer

CONFIG = Config(
    vocabulary=29, context=40, width=24, layers=2, heads=6, hidden=40, tied=False
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(seed=0, size=0.3):
    """A model with large weights, so that its texts vary."""
    model, draws = Transformer(CONFIG, generator=seeded(seed)), seeded(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=size, generator=draws)
    return model


def table(seed=0, V=3, sharpness=1.5):
    """Scores that depend on the whole text: a row of random numbers for each text."""
    remembered = {}

    def scores(ids):
        rows = []
        for row in ids.tolist():
            if tuple(row) not in remembered:
                draws = seeded(hash((seed, *row)) % 2**31)
                remembered[tuple(row)] = (
                    torch.randn(V, generator=draws, dtype=torch.float64) * sharpness
                )
            rows.append(remembered[tuple(row)])
        return torch.stack(rows)

    return scores


def chances(tree):
    """A function to scores from probabilities on paper: text -> those of the next token."""

    def scores(ids):
        return torch.tensor([tree[tuple(row)] for row in ids.tolist()]).double().log()

    return scores


def everything(scores, prompt, longest, penalty, end=None, V=3):
    """Every possible answer with its score, best first: the slow loop."""
    answers = {}
    for text in product(range(V), repeat=longest):
        if end in text:
            text = text[: text.index(end) + 1]
        if text not in answers:
            logprob = 0.0
            for i, token in enumerate(text):
                ids = torch.tensor([[*prompt, *text[:i]]])
                logprob += scores(ids).log_softmax(-1)[0, token].item()
            answers[text] = logprob
    ranked = [(lp / len(text) ** penalty, text) for text, lp in answers.items()]
    return sorted(ranked, reverse=True)


PROMPT = torch.tensor([[2, 1]])

# ---- worked on paper

TREE = {  # the best first token leads to weak second ones
    (9,): [0.6, 0.4, 0.0],
    (9, 0): [0.3, 0.35, 0.35],
    (9, 1): [0.9, 0.05, 0.05],
    (9, 2): [1.0, 0.0, 0.0],
}


def test_two_beams_find_what_greedy_walks_past():
    prompt = torch.tensor([[9]])
    greedy = beam_search(chances(TREE), prompt, 2, beams=1)
    assert greedy[0].tokens == (0, 1)
    assert math.exp(greedy[0].logprob) == pytest.approx(0.6 * 0.35)  # .21
    two = beam_search(chances(TREE), prompt, 2, beams=2)
    assert two[0].tokens == (1, 0)
    assert math.exp(two[0].logprob) == pytest.approx(0.4 * 0.9)  # .36


def test_without_a_length_penalty_the_short_answer_wins():
    """.5 squared is .25; .7 to the fifth is .168, and yet each of its tokens is likelier."""
    short, long = 2 * math.log(0.5), 5 * math.log(0.7)
    assert length_score(short, 2, 0.0) > length_score(long, 5, 0.0)
    assert length_score(short, 2, 1.0) < length_score(long, 5, 1.0)
    end, go = 0, 1
    first = {(9,): [0.5, 0.5, 0.0]}
    later = {(9, *[go] * n): [0.2, 0.8, 0.0] for n in range(1, 5)}
    scores, prompt = chances(first | later), torch.tensor([[9]])
    by_penalty = {
        penalty: beam_search(scores, prompt, 5, 2, end=end, length_penalty=penalty)
        for penalty in (0.0, 1.0)
    }
    assert by_penalty[0.0][0].tokens == (end,)  # .5 against .5 * .8 ** 4 = .2048
    assert by_penalty[1.0][0].tokens == (go,) * 5  # -.693 against -1.586 / 5 = -.317


def test_beams_compete_with_one_another():
    logprobs = torch.tensor([-1.0, -5.0])
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).log()
    best, beams, tokens = grow(logprobs, logits, n=4)
    assert (beams.tolist(), tokens.tolist()) == ([0, 0, 0, 1], [0, 1, 2, 2])
    expected = [-1 + math.log(0.5), *[-1 + math.log(0.25)] * 2, -5 + math.log(0.8)]
    assert best.tolist() == pytest.approx(expected)


def test_impossible_tokens_never_fill_a_beam():
    logits = torch.tensor([[0.0, -math.inf, 0.0]])
    best, _, tokens = grow(torch.zeros(1), logits, n=5)
    assert tokens.tolist() == [0, 2]
    assert best.isfinite().all()
    only = chances({(9,): [0.0, 1.0, 0.0], (9, 1): [0.0, 0.0, 1.0]})
    found = beam_search(only, torch.tensor([[9]]), 2, beams=4)
    assert [b.tokens for b in found] == [(1, 2)]


def test_the_bound_looks_at_the_longest_answer_only_where_length_helps():
    assert best_possible(-6.0, 2, 6, 1.0) == -1.0
    assert best_possible(-6.0, 2, 6, 1.0, guess=True) == -3.0
    assert best_possible(-6.0, 2, 6, 0.0) == -6.0
    assert best_possible(-6.0, 2, 6, -1.0) == -12.0


# ---- against trying everything


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("end", [None, 0])
def test_a_beam_that_is_wide_enough_finds_the_best_of_all_answers(penalty, end):
    for seed in range(6):
        scores = table(seed)
        expected = everything(scores, (2, 1), 4, penalty, end)
        found = beam_search(scores, PROMPT, 4, 81, end=end, length_penalty=penalty)
        assert [b.tokens for b in found] == [text for _, text in expected]
        for beam, (score, _) in zip(found, expected, strict=True):
            ours = length_score(beam.logprob, len(beam.tokens), penalty)
            assert ours == pytest.approx(score, rel=1e-12)


def test_a_narrow_beam_finds_real_answers_and_often_the_best():
    hits = dict.fromkeys((1, 2, 3), 0)
    for seed in range(40):
        scores = table(seed, sharpness=0.5)
        ranked = everything(scores, (2, 1), 4, 1.0, end=0)
        value = {text: score for score, text in ranked}
        for beams in hits:
            found = beam_search(scores, PROMPT, 4, beams, end=0)
            assert len(found) == beams
            assert len({b.tokens for b in found}) == beams
            ours = [b.logprob / len(b.tokens) for b in found]
            assert ours == pytest.approx([value[b.tokens] for b in found], rel=1e-12)
            assert ours == sorted(ours, reverse=True)
            hits[beams] += found[0].tokens == ranked[0][1]
    assert hits[1] < hits[2] < hits[3]


def test_stopping_early_by_the_exact_bound_changes_no_best_answer():
    """Against a search that never stops before the last token."""
    saved = 0
    for seed in range(40):
        for penalty in (0.0, 1.0):
            calls = []
            scores = table(seed, sharpness=3.0)

            def counted(ids, scores=scores, calls=calls):
                calls.append(len(ids))
                return scores(ids)

            found = beam_search(counted, PROMPT, 8, 2, end=0, length_penalty=penalty)
            slow = patient(scores, (2, 1), 8, 2, 0, penalty)
            assert [b.tokens for b in found] == slow
            saved += 8 - len(calls)
    assert saved > 0


def patient(scores, prompt, longest, beams, end, penalty):
    """The same search in lists, to the very last token."""
    running, done = [((), 0.0)], []
    for length in range(1, longest + 1):
        grown = []
        for tokens, logprob in running:
            row = scores(torch.tensor([[*prompt, *tokens]])).log_softmax(-1)[0].tolist()
            grown += [((*tokens, t), logprob + lp) for t, lp in enumerate(row)]
        grown.sort(key=lambda pair: -pair[1])
        ends = length == longest
        done += [
            (lp / len(t) ** penalty, t)
            for t, lp in grown[:beams]
            if ends or t[-1] == end
        ]
        running = [(t, lp) for t, lp in grown if t[-1] != end][:beams]
    return [t for _, t in sorted(done, reverse=True)[:beams]]


# ---- invariants


def test_one_beam_without_an_end_is_greedy():
    model = built().double()
    ids = torch.randint(29, (5, 6), generator=seeded(1))
    text = generate(model, ids, 12, temperature=0)
    for row in range(5):
        found = beam_search(last_scores(model), ids[row : row + 1], 12, beams=1)
        assert list(found[0].tokens) == text[row, 6:].tolist()


def test_answers_end_with_the_end_or_at_the_limit():
    for seed in range(10):
        for early in (True, False, "never"):
            found = beam_search(table(seed), PROMPT, 6, 3, end=0, early_stopping=early)
            for beam in found:
                assert 0 not in beam.tokens[:-1]
                assert beam.tokens[-1] == 0 or len(beam.tokens) == 6


def test_the_three_ways_to_stop_differ_so_that_comparing_each_says_something():
    found = {
        early: [
            beam_search(table(seed), PROMPT, 8, 2, end=0, early_stopping=early)
            for seed in range(30)
        ]
        for early in (True, False, "never")
    }
    assert found[True] != found[False] != found["never"] != found[True]


def test_a_vocabulary_of_nothing_but_the_end_is_survived():
    found = beam_search(lambda ids: torch.zeros(len(ids), 1), PROMPT, 5, 3, end=0)
    assert found == [Beam((0,), 0.0)]


# ---- a cache


def test_remembered_texts_give_the_same_answers():
    model = built().double()
    ids = torch.randint(29, (1, 6), generator=seeded(1))
    for end in (None, 7):
        slow = beam_search(last_scores(model), ids, 20, beams=4, end=end)
        cached = CachedScores(model)
        for _ in range(2):  # a second search begins anew
            found = beam_search(cached, ids, 20, beams=4, end=end)
            assert [b.tokens for b in found] == [b.tokens for b in slow]
            assert found[0].logprob == pytest.approx(slow[0].logprob, abs=1e-9)


def test_beams_do_change_places():
    """Otherwise the test above would say nothing about the order of the memory."""
    seen = []
    scores = last_scores(built().double())

    def watched(ids):
        seen.append(ids)
        return scores(ids)

    beam_search(watched, torch.randint(29, (1, 6), generator=seeded(1)), 20, beams=4)
    moves = [parents_of(b, a).tolist() for a, b in pairwise(seen[1:])]
    assert sum(m != [0, 1, 2, 3] for m in moves) > 5


def test_only_new_tokens_are_read():
    model = built()
    widths = []
    model.norm.register_forward_hook(lambda _, x, __: widths.append(x[0].shape[1]))
    beam_search(CachedScores(model), torch.ones(1, 6, dtype=torch.long), 5, beams=3)
    assert widths == [6, 1, 1, 1, 1]


def test_a_text_that_continues_none_has_no_parent():
    before = torch.tensor([[1, 2], [3, 4]])
    assert parents_of(torch.tensor([[3, 4, 0], [1, 2, 0]]), before).tolist() == [1, 0]
    assert parents_of(torch.tensor([[3, 4, 0], [1, 4, 0]]), before) is None
    assert parents_of(before, before) is None


# ---- transformers


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    pairs = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp(f"llama{seed}")
        ours = built(seed, size=0.25)
        to_hf(ours, folder)
        pairs.append((ours, AutoModelForCausalLM.from_pretrained(folder).eval()))
    return pairs


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [-0.5, 0.0, 1.0, 2.0])
def test_answers_and_scores_equal_those_of_transformers(both, early, penalty):
    lengths = set()
    for ours, theirs in both:
        for seed, beams, often in product(range(2), (2, 4), (None, 2, 6)):
            ids = torch.randint(29, (1, 5), generator=seeded(seed))
            likely = beam_search(last_scores(ours), ids, 10, beams)[0].tokens
            end = None if often is None else likely[often]  # one that does come
            expected = theirs.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=beams,
                num_return_sequences=beams,
                max_new_tokens=10,
                length_penalty=penalty,
                early_stopping=early,
                eos_token_id=end,
                pad_token_id=28,
                return_dict_in_generate=True,
                output_scores=True,
            )
            found = beam_search(
                last_scores(ours),
                ids,
                10,
                beams,
                end=end,
                length_penalty=penalty,
                early_stopping=early,
            )
            for beam, text, score in zip(
                found, expected.sequences, expected.sequences_scores, strict=True
            ):
                n = len(beam.tokens)
                assert list(beam.tokens) == text[5 : 5 + n].tolist()
                assert (text[5 + n :] == 28).all()
                value = length_score(beam.logprob, n, penalty)
                assert value == pytest.approx(score.item(), rel=1e-4)  # float32
                lengths.add(n)
    assert len(lengths) > 1 or penalty > 1  # 2.0 wants the longest


# ---- guards


@pytest.mark.parametrize(
    ("ids", "wrong", "words"),
    [
        (torch.ones(2, 3).long(), {}, r"one prompt, ids \(1, T\), not \(2, 3\)"),
        (torch.ones(3).long(), {}, r"not \(3,\)"),
        (torch.ones(1, 0).long(), {}, r"not \(1, 0\)"),
        (PROMPT, {"beams": 0}, "at least 1, not 4 and 0"),
        (PROMPT, {"new_tokens": 0}, "at least 1, not 0 and 2"),
        (PROMPT, {"early_stopping": "soon"}, "not 'soon'"),
    ],
)
def test_a_search_that_cannot_be_made_is_answered_in_a_sentence(ids, wrong, words):
    with pytest.raises(ValueError, match=words):
        beam_search(table(), ids, **{"new_tokens": 4, "beams": 2} | wrong)
