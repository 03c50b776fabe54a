"""Speculative decoding: whatever the draft guesses, the target's distribution comes out."""

from collections import Counter
from functools import partial
from itertools import product

import pytest
import torch

from course_lib.sampling import speculative
from course_lib.sampling.filters import (
    greedy,
    min_p,
    probabilities,
    temperature,
    top_k,
    top_p,
)
from course_lib.sampling.generate import generate
from course_lib.sampling.speculative import (
    CachedReader,
    count_kept,
    keep_or_replace,
    overlap,
    shared_beginning,
    speculative_generate,
    tokens_per_call,
)
from course_lib.transformer import Config, Transformer


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n, V, seed=0):
    return torch.randn(n, V, generator=seeded(seed), dtype=torch.float64).softmax(-1)


def table(seed, V=3):
    """A model in float64 whose scores depend on the last two tokens."""
    scores = torch.randn(V, V, V, generator=seeded(seed), dtype=torch.float64)

    def model(ids):
        before = torch.nn.functional.pad(ids, (1, 0))[:, :-1]
        return scores[before, ids]  # (1, T, V)

    return model


TARGET, DRAFT = table(1, V=4), table(2, V=4)
PROMPT = torch.tensor([[2, 0]])
SETTINGS = {
    "plain": (),
    "filtered": (partial(temperature, value=0.6), partial(top_k, k=3)),
    "warm": (partial(temperature, value=1.5), partial(top_p, p=0.8)),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS)


def joint(model, filters, n=3, V=4):
    """The exact probability of every n tokens after the prompt."""
    law = {}
    for text in product(range(V), repeat=n):
        ids = torch.tensor([[*PROMPT[0].tolist(), *text]])
        p = probabilities(model(ids), filters)[0, 1:-1]
        law[text] = p.gather(1, torch.tensor(text)[:, None]).prod().item()
    return law


# ---- worked on paper

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)


def test_the_rule_is_the_one_worked_on_paper():
    keep, replace = keep_or_replace(P, Q)
    assert keep.tolist() == pytest.approx([1.0, 3 / 7, 1.0])
    assert replace.tolist() == pytest.approx([0.75, 0.0, 0.25])
    assert overlap(P, Q).item() == pytest.approx(0.6)


def test_guesses_after_the_first_rejected_one_are_lost():
    for coins, kept in [([1, 1, 1], 3), ([0, 1, 1], 0), ([1, 0, 1], 1), ([], 0)]:
        assert count_kept(torch.tensor(coins, dtype=torch.long)) == kept


def test_a_call_yields_one_token_without_luck_and_all_with_it():
    assert tokens_per_call(0.0, 4) == 1
    assert tokens_per_call(1.0, 4) == 5
    assert tokens_per_call(0.8, 4) == pytest.approx((1 - 0.8**5) / (1 - 0.8))


# ---- exactly


def test_kept_and_replaced_guesses_together_are_the_target():
    p, q = rows(200, 9), rows(200, 9, seed=1)
    q[:100, :4] = 0  # a draft that thinks some tokens impossible
    p[50:150, 3:6] = 0
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    keep, replace = keep_or_replace(p, q)
    torch.testing.assert_close((q * keep).sum(-1), overlap(p, q))
    law = q * keep + (1 - overlap(p, q))[:, None] * replace
    torch.testing.assert_close(law, p)


def test_equal_models_reject_nothing_and_have_a_replacement_all_the_same():
    p = rows(5, 4)
    keep, replace = keep_or_replace(p, p)
    assert keep.equal(torch.ones_like(p))
    assert replace.equal(p)
    assert overlap(p, p).tolist() == pytest.approx([1.0] * 5)


def test_what_is_never_guessed_has_a_chance_all_the_same():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    keep, replace = keep_or_replace(p, q)
    assert keep.tolist() == [1, 1, 0]
    assert replace.tolist() == [1, 0, 0]


def outcomes(monkeypatch, run):
    """The exact law of run(): every way that its draws can fall, with its probability.

    `draw` answers from a script; where the script ends it takes the first
    possible outcome and notes how likely it was, and the next script takes
    the next outcome at the last place that has one.
    """
    law, script = Counter(), []
    while True:
        places = []  # for each draw: its possible outcomes, and which was taken

        def scripted(chances, generator=None, places=places, script=script):
            choices = [
                (tokens, chance)
                for tokens in product(range(chances.shape[1]), repeat=len(chances))
                if (chance := chances[range(len(tokens)), list(tokens)].prod().item())
                > 0
            ]
            at = script[len(places)] if len(places) < len(script) else 0
            places.append((at, choices))
            return torch.tensor(choices[at][0])

        monkeypatch.setattr(speculative, "draw", scripted)
        result, chance = run(), 1.0
        for at, choices in places:
            chance *= choices[at][1]
        law[result] += chance
        while places and places[-1][0] + 1 == len(places[-1][1]):
            places.pop()
        if not places:
            return law
        script = [at for at, _ in places]
        script[-1] += 1


@every_setting
@pytest.mark.parametrize("guesses", [0, 1, 2, 3])
def test_three_tokens_together_follow_the_target_exactly(setting, guesses, monkeypatch):
    """Not a sample: the whole loop, with every way that its draws can fall."""
    filters = SETTINGS[setting]

    def run():
        ids, _ = speculative_generate(
            TARGET, DRAFT, PROMPT, 3, guesses=guesses, filters=filters
        )
        return tuple(ids[0, 2:].tolist())

    found, expected = outcomes(monkeypatch, run), joint(TARGET, filters)
    assert sum(found.values()) == pytest.approx(1)
    for text, chance in expected.items():
        assert found[text] == pytest.approx(chance, abs=1e-12)
    far = joint(DRAFT, filters)
    assert max(abs(far[text] - expected[text]) for text in far) > 0.05  # worth a test


def test_the_enumeration_notices_a_replacement_from_p_itself(monkeypatch):
    """The mistake that most looks right."""

    def rule(p, q):
        return keep_or_replace(p, q)[0], p

    def run():
        ids, _ = speculative_generate(TARGET, DRAFT, PROMPT, 2, guesses=1, rule=rule)
        return tuple(ids[0, 2:].tolist())

    found, expected = outcomes(monkeypatch, run), joint(TARGET, (), n=2)
    assert max(abs(found[text] - expected[text]) for text in expected) > 0.02


# ---- drawn


@every_setting
def test_drawn_texts_follow_the_target(setting):
    filters, n, draws = SETTINGS[setting], 3000, seeded(4)
    counts = Counter()
    for _ in range(n):
        ids, _ = speculative_generate(
            TARGET, DRAFT, PROMPT, 3, guesses=2, filters=filters, generator=draws
        )
        counts[tuple(ids[0, 2:].tolist())] += 1
    expected = {text: n * c for text, c in joint(TARGET, filters).items() if c > 0}
    assert set(counts) <= set(expected)
    large = {text: e for text, e in expected.items() if e >= 5}
    seen = [(counts[text], e) for text, e in large.items()]
    rest = (n - sum(c for c, _ in seen), n - sum(e for _, e in seen))
    if rest[1] >= 5:
        seen.append(rest)
    chi_square = sum((c - e) ** 2 / e for c, e in seen)
    freedom = len(seen) - 1
    assert freedom >= 10
    limit = torch.tensor(freedom + 4 * (2 * freedom) ** 0.5)  # mean + 4 deviations
    assert 0.02 < chi_square < limit


def test_the_share_kept_and_the_tokens_per_call_are_as_predicted():
    """Models that do not look at the text, so that the share is the same everywhere."""
    p, q = rows(1, 6, seed=1)[0], rows(1, 6, seed=2)[0]
    share, guesses, N = overlap(p, q).item(), 3, 3000

    def fixed(logits):
        return lambda ids: logits.expand(1, ids.shape[1], 6)

    _, stats = speculative_generate(
        fixed(p.log()), fixed(q.log()), PROMPT, N, guesses=guesses, generator=seeded()
    )
    predicted = tokens_per_call(share, guesses)
    deviation = guesses / 2 / (N / predicted) ** 0.5  # a call yields 1 to guesses + 1
    assert N / stats["calls"] == pytest.approx(predicted, abs=4 * deviation)
    assert 0.2 < share < 0.95
    assert stats["kept"] + stats["calls"] == N  # every call adds one of its own


# ---- our models

CONFIG = Config(
    vocabulary=29, context=80, width=24, layers=2, heads=6, hidden=40, tied=False
)


def built(seed, like=None, noise=0.0):
    """A model with large weights; or another's weights with noise, a draft that often agrees."""
    model, draws = Transformer(CONFIG, generator=seeded(seed)), seeded(seed)
    with torch.no_grad():
        for i, weight in enumerate(model.parameters()):
            if like is not None:
                weight.copy_(list(like.parameters())[i])
            if weight.dim() > 1:
                fresh = torch.randn(weight.shape, generator=draws)
                weight.copy_(fresh * 0.3 if like is None else weight + fresh * noise)
    return model.double()


BIG = built(0)
SMALL = {"good": built(1, BIG, 0.02), "bad": built(2), "equal": BIG}
IDS = torch.randint(29, (3, 5), generator=seeded(5))


@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("guesses", [0, 1, 4])
def test_greedy_text_is_the_targets_own_whatever_the_draft(small, cached, guesses):
    text = generate(BIG, IDS, 40, temperature=0)
    assert len(set(text[:, 5:].flatten().tolist())) > 8  # a text worth comparing
    wrap = CachedReader if cached else lambda model: model
    target, draft = wrap(BIG), wrap(SMALL[small])
    for row in range(3):
        ids, stats = speculative_generate(
            target, draft, IDS[row : row + 1], 40, guesses=guesses, filters=[greedy]
        )
        assert ids.equal(text[row : row + 1])
        assert stats["kept"] + stats["calls"] == 40
        if small == "equal":
            assert stats["kept"] == stats["guessed"]


def test_the_target_is_called_less_often_the_better_the_draft():
    calls = {}
    for name, small in SMALL.items():
        count = []

        def target(ids, count=count):
            count.append(1)
            return BIG(ids)

        _, stats = speculative_generate(target, small, IDS[:1], 40, filters=[greedy])
        assert stats["calls"] == len(count)
        calls[name] = len(count)
    assert calls["equal"] == 8  # 40 tokens, 4 guesses and a bonus each time
    assert calls["equal"] < calls["good"] < calls["bad"] <= 40


def test_the_text_is_as_long_as_asked_for_and_is_no_inference_tensor():
    for n in range(1, 8):
        ids, _ = speculative_generate(
            BIG, SMALL["good"], IDS[:1], n, generator=seeded()
        )
        assert ids.shape == (1, 5 + n)
        assert ids[:, :5].equal(IDS[:1])
    BIG(ids).sum().backward()
    BIG.zero_grad()


def test_the_text_stops_with_the_end_wherever_it_comes():
    free = generate(BIG, IDS[:1], 40, temperature=0)[0, 5:].tolist()
    for end in set(free):
        ids, stats = speculative_generate(
            BIG, SMALL["equal"], IDS[:1], 40, filters=[greedy], end=end
        )
        assert ids[0, 5:].tolist() == free[: free.index(end) + 1]
        assert stats["calls"] == free.index(end) // 5 + 1


def test_filters_count_for_both_models():
    """With top-k 1 on both sides the draws are greedy, so an equal draft is always kept."""
    for filters in ([partial(top_k, k=1)], [partial(min_p, p=1.0)]):
        ids, stats = speculative_generate(BIG, BIG, IDS[:1], 20, filters=filters)
        assert ids.equal(generate(BIG, IDS[:1], 20, temperature=0))
        assert stats["kept"] == stats["guessed"]


# ---- a reader that remembers


def test_a_reader_that_remembers_gives_the_models_logits_after_any_change_of_text():
    reader, draws = CachedReader(BIG), seeded(3)
    text = torch.randint(29, (1, 30), generator=draws)
    for keep, more in [(0, 8), (8, 3), (5, 4), (9, 0), (4, 0), (0, 6), (2, 20)]:
        new = torch.randint(29, (1, more), generator=draws)
        text = torch.cat([text[:, :keep], new], dim=1)
        with torch.no_grad():
            torch.testing.assert_close(reader(text), BIG(text))


def test_only_what_is_new_is_read():
    widths, model = [], built(0)
    model.norm.register_forward_hook(lambda _, x, __: widths.append(x[0].shape[1]))
    reader = CachedReader(model)
    for ids in ([1, 2, 3], [1, 2, 3, 4], [1, 2, 5, 6], [1, 2, 5, 6], [1, 2]):
        reader(torch.tensor([ids]))
    assert widths == [3, 1, 2]


def test_a_text_that_does_not_fit_spoils_nothing():
    reader = CachedReader(BIG, capacity=6)
    reader(IDS[:1])
    with pytest.raises(ValueError, match="room for 6"):
        reader(torch.cat([IDS[:1, :3], IDS[1:2]], dim=1))
    with torch.no_grad():
        torch.testing.assert_close(reader(IDS[:1]), BIG(IDS[:1]))


def test_shared_beginnings_end_at_the_first_difference():
    one = torch.tensor([1, 2, 3, 4])
    for other, n in [
        ([1, 2, 3, 4], 4),
        ([1, 2], 2),
        ([0, 2, 3], 0),
        ([1, 0, 3, 4, 5], 1),
    ]:
        assert shared_beginning(one, torch.tensor(other)) == n
    assert shared_beginning(one[:0], one) == 0


# ---- guards


@pytest.mark.parametrize(
    ("ids", "wrong", "words"),
    [
        (IDS, {}, r"one prompt, ids \(1, T\), not \(3, 5\)"),
        (IDS[0], {}, r"not \(5,\)"),
        (IDS[:1, :0], {}, r"not \(1, 0\)"),
        (IDS[:1], {"new_tokens": 0}, "not 0 and 4"),
        (IDS[:1], {"guesses": -1}, "not 3 and -1"),
    ],
)
def test_a_request_that_cannot_be_met_is_answered_in_a_sentence(ids, wrong, words):
    with pytest.raises(ValueError, match=words):
        speculative_generate(BIG, BIG, ids, **{"new_tokens": 3, "guesses": 4} | wrong)


def test_wrong_shapes_are_named():
    with pytest.raises(AssertionError, match=r"p\.shape"):
        keep_or_replace(P, Q[:2])
