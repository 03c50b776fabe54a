"""The control for labelling: who ranked, which pairs follow, what stands in."""

import pytest
import torch

from course_lib.reward.annotator import preference_probability
from course_lib.reward.pairs import Preference, check_preference, pairs_from_ranking
from course_lib.widgets import controls, ranking
from course_lib.widgets.ranking import Case, Labels, case, noisy_ranking, rank_answers

THREE = {"A": "Fish.", "B": "Of course! Ada has a fish.", "C": "Go <b>away</b>."}
TWO = {"A": "Yes.", "B": "No."}
CASES = [
    Case("What is Ada's pet?", THREE, [["B"], ["A"], ["C"]]),
    Case("Has Ben a cat?", TWO, [["A"], ["B"]]),
]


@pytest.fixture
def labels():
    made = Labels(CASES, pairs_from_ranking)
    made.load()
    return made


def rank(labels, **places):
    for name, place in places.items():
        labels.place[name].value = place


# ---- the simulated annotator


def test_gumbel_noise_prefers_as_often_as_the_formula_says():
    scores, luck = torch.tensor([1.0, 0.5]), torch.Generator().manual_seed(0)
    rankings = [noisy_ranking(scores, 0.5, luck) for _ in range(4000)]
    share = sum(found == [["A"], ["B"]] for found in rankings) / len(rankings)
    said = preference_probability(torch.tensor([0.5]), temperature=0.5)
    assert abs(share - said.item()) < 0.03  # four standard errors


def test_a_generator_repeats_a_ranking():
    scores = torch.zeros(3)
    twice = [noisy_ranking(scores, 1, torch.Generator().manual_seed(1)) for _ in "ab"]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("texts", [["alone"], ["same", "same"], list("abcdefghi")])
def test_answers_that_cannot_be_ranked_are_refused(texts):
    with pytest.raises(ValueError, match="Two to eight different answers"):
        case("Hi?", texts, [0.0] * len(texts))


def test_nan_scores_and_a_cold_annotator_are_refused():
    with pytest.raises(ValueError, match="The score at place 0 is nan"):
        noisy_ranking(torch.tensor([float("nan"), 0.0]), 1)
    with pytest.raises(ValueError, match="temperature above 0"):
        noisy_ranking(torch.zeros(2), 0)


# ---- what it holds


def test_without_a_person_the_annotators_rankings_stand_in(labels):
    assert labels.yours == [False, False]
    assert labels.rankings() == [[["B"], ["A"], ["C"]], [["A"], ["B"]]]
    assert labels.agreement() == (0, 0)


def test_places_become_a_ranking_with_equals(labels):
    rank(labels, A="2", B="1", C="2")
    assert labels.yours == [True, False]
    assert labels.rankings()[0] == [["B"], ["A", "C"]]


def test_half_a_ranking_does_not_count_yet(labels):
    rank(labels, A="1", B="2")
    assert not labels.yours[0]
    assert labels.rankings()[0] == [["B"], ["A"], ["C"]]


def test_a_ranking_can_be_taken_back(labels):
    rank(labels, A="1", B="2", C="3")
    rank(labels, C=ranking.OPEN)
    assert not labels.yours[0]


def test_each_question_keeps_its_own_places(labels):
    rank(labels, A="3", B="1", C="2")
    labels.question.value = CASES[1].prompt
    assert labels.place["A"].value == ranking.OPEN
    assert labels.place["C"].disabled
    rank(labels, A="2", B="1")
    labels.question.value = CASES[0].prompt
    assert [labels.place[name].value for name in "ABC"] == ["3", "1", "2"]
    assert labels.rankings() == [[["B"], ["C"], ["A"]], [["B"], ["A"]]]


def test_preferences_carry_prompt_and_texts_and_can_be_trained_on(labels):
    rank(labels, A="2", B="1", C="2")
    found = labels.preferences()
    assert found == [
        Preference(CASES[0].prompt, THREE["B"], THREE["A"]),
        Preference(CASES[0].prompt, THREE["B"], THREE["C"]),
        Preference(CASES[1].prompt, "Yes.", "No."),
    ]
    for preference in found:
        check_preference(preference)


def test_agreement_counts_pairs_that_both_decide(labels):
    rank(labels, A="1", B="1", C="2")  # A = B > C against B > A > C
    assert labels.agreement() == (2, 2)
    rank(labels, C="1", A="2", B="3")  # all turned round but B over A
    assert labels.agreement() == (0, 3)


# ---- what it shows


def test_the_annotator_is_compared_with_only_after_you_ranked(labels):
    assert "disagree" not in labels.page.value
    assert ranking.STANDS_IN in labels.page.value
    assert "over" not in labels.page.value
    rank(labels, A="1", B="2", C="3")
    assert "You: A &gt; B &gt; C" in labels.page.value
    assert "A over B (they disagree)" in labels.page.value
    assert "Of 3 pairs that both decide, 2 are alike" in labels.page.value


def test_answers_are_shown_as_text_not_as_html(labels):
    assert "<b>away</b>" not in labels.page.value
    assert "&lt;b&gt;away" in labels.page.value


def not_written(ranking):
    raise NotImplementedError


def test_an_unwritten_function_is_a_sentence_in_the_control_and_an_error_in_a_cell():
    labels = Labels(CASES, not_written)
    labels.load()
    assert "pairs_from_ranking is not written yet." in labels.page.value
    with pytest.raises(NotImplementedError):
        labels.preferences()


@pytest.mark.parametrize("given", [None, [("A", "D")], {("A", "B")}, [["A", "B"]]])
def test_a_function_that_gives_no_pairs_is_told_so(given):
    labels = Labels(CASES, lambda ranking: given)
    labels.load()
    assert "pairs_from_ranking: it gave no list of pairs" in labels.page.value


def test_a_function_that_empties_its_ranking_does_not_empty_the_labels():
    def greedy(ranking):
        found = pairs_from_ranking(ranking)
        ranking.clear()
        return found

    labels = Labels(CASES, greedy)
    labels.load()
    assert len(labels.preferences()) == len(labels.preferences()) == 4


def test_a_saved_notebook_shows_the_first_question_without_a_kernel(monkeypatch):
    shown = []
    monkeypatch.setattr(controls, "display", lambda data, **_: shown.append(data))
    labels = rank_answers(CASES)
    assert isinstance(labels, Labels)
    assert THREE["B"] in shown[0]["text/html"]
    assert "The simulated annotator: B &gt; A &gt; C: B over A" in shown[0]["text/html"]
    assert CASES[0].prompt in shown[0]["text/plain"]


def test_no_question_is_refused():
    with pytest.raises(ValueError, match="no question"):
        rank_answers([])
