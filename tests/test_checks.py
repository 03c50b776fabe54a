"""What all checks share: short messages, the library out of reach, skip, and stand-ins when marks are given."""

import ast
import importlib
import inspect
import math
import re
import time
from types import SimpleNamespace

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from course_lib import checks, logprobs
from course_lib.checks import exercises, start_here
from course_lib.checks.learners_tests import check_test
from tools import graders
from tools.lessons import lessons, read

for _lesson in lessons():  # their exercises are known from here on
    importlib.import_module(f"course_lib.checks.{_lesson.slug}")


def said(check, answer, **options) -> str:
    with pytest.raises(exercises.CheckFailed) as failure:
        check(answer, **options)
    return str(failure.value)


def right_softmax(scores):
    return torch.softmax(scores, -1)


def test_a_right_answer_prints_two_or_three_sentences_and_returns_nothing(capsys):
    assert start_here.softmax(right_softmax) is None
    out = capsys.readouterr()
    assert out.out.startswith("softmax is right.")
    assert 1 <= out.out.count(". ") + 1 <= 3
    assert out.err == ""


def test_jupyter_shows_the_message_and_no_trace():
    with pytest.raises(exercises.CheckFailed) as failure:
        start_here.softmax(torch.sigmoid)
    lines = failure.value._render_traceback_()
    assert "Not yet." in lines[0]
    assert len("\n".join(lines).splitlines()) <= 5
    assert "Traceback" not in "".join(lines)


def test_the_whole_trace_is_there_on_request(capsys):
    def broken(scores):
        return scores + torch.ones(3, 4, 5)

    said(start_here.softmax, broken)
    checks.traceback()
    assert "in broken" in capsys.readouterr().out
    start_here.softmax(right_softmax)
    capsys.readouterr()
    checks.traceback()
    assert "No check has failed" in capsys.readouterr().out


def test_an_exception_inside_an_answer_is_told_with_its_line():
    def typo(scores):
        return scores.expp()

    message = said(start_here.softmax, typo)
    assert "AttributeError" in message
    assert "scores.expp()" in message


def test_an_exercise_that_is_not_written_says_so_and_one_that_needs_it_names_it():
    def softmax(scores):
        raise NotImplementedError

    def best_labels(logits, labels):
        return softmax(logits)

    assert "softmax is not written yet" in said(start_here.softmax, softmax)
    assert "calls softmax, which is not written yet" in said(
        start_here.best_labels, best_labels
    )


def test_changing_the_input_is_refused():
    def in_place(scores):
        scores -= scores.max(-1, keepdim=True).values
        return torch.softmax(scores, -1)

    assert "changed its own input" in said(start_here.softmax, in_place)


def test_a_check_leaves_no_trace_in_the_lessons_random_numbers():
    def noisy(scores):
        torch.rand(3)
        return torch.softmax(scores, -1)

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    start_here.softmax(noisy)
    assert torch.equal(torch.rand(1), expected)


def test_the_library_works_again_after_a_check():
    said(start_here.softmax, lambda scores: logprobs.softmax(scores))
    assert torch.allclose(logprobs.softmax(torch.zeros(2)), torch.tensor([0.5, 0.5]))


@pytest.fixture
def marks(monkeypatch):
    monkeypatch.setenv("COURSE_MARKS", "1")


def notebook(*names: str) -> dict:
    """A namespace in which the named exercises hold the solution's text and the others are blank."""
    namespace: dict = {"torch": torch, "Tensor": torch.Tensor}
    for cell in read(lessons("00")[0]).cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and meta.get("solution"):
            source = cell.source
            if meta.grade_id not in names:
                source = re.sub(
                    r"( *)### BEGIN SOLUTION.*?### END SOLUTION",
                    r"\1raise NotImplementedError",
                    source,
                    flags=re.S,
                )
            exec(source, namespace)
    return namespace


def test_when_marks_are_given_a_blank_answer_costs_only_itself(marks):
    namespace = notebook("best_labels")
    start_here.best_labels(namespace["best_labels"])
    assert "not written yet" in said(start_here.softmax, namespace["softmax"])
    with pytest.raises(NotImplementedError):  # the learner's own is back in its place
        namespace["softmax"](torch.zeros(2))


def test_while_learning_the_blank_answer_is_named_instead():
    namespace = notebook("best_labels")
    assert "calls softmax, which is not written yet" in said(
        start_here.best_labels, namespace["best_labels"]
    )


def test_a_stand_in_does_not_bring_the_library_back_to_the_exercise_under_test(marks):
    namespace = notebook("best_labels")
    exec(
        "def softmax(scores): return torch.tensor([p for _, p in best_labels(scores, 'abc')])",
        namespace,
    )
    assert "RecursionError" in said(start_here.softmax, namespace["softmax"])


def test_skip_puts_the_library_in_the_notebook_and_earns_nothing(
    monkeypatch, capsys, request
):
    Shell = SimpleNamespace(user_ns={})
    monkeypatch.setattr("IPython.get_ipython", lambda: Shell)
    request.addfinalizer(exercises.SKIPPED.clear)
    assert start_here.softmax  # the lesson's checks are known
    checks.skip("softmax")
    assert Shell.user_ns["softmax"] is logprobs.softmax
    start_here.softmax(Shell.user_ns["softmax"])
    assert "no points" in capsys.readouterr().out
    monkeypatch.setenv("COURSE_MARKS", "1")
    assert "earns no points" in said(start_here.softmax, Shell.user_ns["softmax"])
    with pytest.raises(exercises.CheckFailed, match="no exercise 'sofmax'"):
        checks.skip("sofmax")


def test_the_hidden_seed_is_the_classes_own_or_fresh(monkeypatch):
    monkeypatch.setenv("COURSE_GRADING_SEED", "41")
    assert checks.grading_seed() == 41
    monkeypatch.delenv("COURSE_GRADING_SEED")
    assert checks.grading_seed() != checks.grading_seed()


def test_a_lesson_without_checks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no checks for a lesson called 'nowhere'"):
        _ = checks.nowhere


# --- a test of something that the library does not have ---------------------------------------------


def rising(ids):
    return ids.cumsum(-1) / 2


def rising_by_less(ids):
    return ids.cumsum(-1) / 3


def flat(ids):
    return 0.0 * ids


@pytest.fixture
def of_a_model():
    """The check of a learner's test of a made-up model: its results rise, by how much is not asked."""
    names = []

    def make(**options):
        @check_test(
            None,
            called="model",
            right={"one": rising, "another": rising_by_less},
            faulty={"one that stays flat": flat},
            proved="It tells rising from flat.",
            **options,
        )
        def test_rises(test, draw):
            """Pass what rises, fail what does not."""

        names.append("test_rises")
        return test_rises

    yield make
    for name in names:
        exercises.EXERCISES.pop(name)


def its_test(model):
    assert (model(torch.ones(4)).diff() > 0).all(), "it does not rise"


def test_a_test_without_a_library_function_passes_versions_with_different_results(
    of_a_model, capsys
):
    before = list(exercises.RIGHT_VERSIONS)
    of_a_model()(its_test)
    assert "test_rises is right. It tells rising" in capsys.readouterr().out
    assert before == exercises.RIGHT_VERSIONS  # they answer no exercise


def test_the_versions_are_called_by_the_name_that_learners_know(of_a_model):
    def of_the_name(model):
        assert model.__name__ == "elsewhere"

    def with_more(model):
        model(torch.ones(4), 3)

    def that_misses_it(model):
        model(torch.ones(4))
        raise AssertionError(model.__name__)

    check = of_a_model()
    assert "rejects a right version: one" in said(check, of_the_name)
    message = " ".join(said(check, with_more).split())
    assert "model is called with other arguments" in message
    assert "Its message was 'model'" in said(check, that_misses_it)


def test_results_are_not_compared_with_one_right_version_if_several_are_right(
    of_a_model,
):
    def of_the_size(model):
        assert model(torch.ones(4)).shape == (4,)

    message = " ".join(said(of_a_model(), of_the_size).split())
    assert "accepts a faulty version: one that stays flat." in message
    assert "On your inputs that mistake changes nothing" in message
    assert "instead of" not in message


def test_both_explanations_get_the_inputs_as_they_were_at_each_call(of_a_model):
    seen = []

    def why(version, calls):
        seen.append((version, [ids.tolist() for (ids,) in calls]))
        return "The moon is full."

    def that_changes_in_place(model):
        ids = torch.ones(2)
        model(ids)
        ids[1] = 5
        model(ids)

    def that_rejects(model):
        that_changes_in_place(model)
        raise AssertionError

    check = of_a_model(why_blind=why, why_unfair=why)
    for test in (that_changes_in_place, that_rejects):
        assert "The moon is full." in said(check, test)
    calls = [[1.0, 1.0], [1.0, 5.0]]
    assert seen == [(flat, calls), (rising, calls)]


def test_a_test_without_a_library_function_leaves_the_library_in_reach(of_a_model):
    def with_softmax(model):
        assert logprobs.softmax(torch.zeros(2)).tolist() == [0.5, 0.5]
        its_test(model)

    of_a_model()(with_softmax)


def test_when_marks_are_given_a_test_without_a_library_function_is_checked_too(
    of_a_model, marks
):
    check = of_a_model()
    check(its_test)
    assert "never calls the function" in said(check, lambda model: None)


def test_a_test_may_change_its_losses_in_place_between_two_calls():
    def of_two_calls(accumulated_mean):
        losses, mask = torch.tensor([[1.0, 3.0]]), torch.tensor([[True, True]])
        accumulated_mean([losses], [mask])
        losses[0, 1] = 5.0
        accumulated_mean([losses.clone().requires_grad_() * 1], [mask])

    message = " ".join(said(start_here.test_accumulated_mean, of_two_calls).split())
    assert "it gives 1002 instead of 2" in message


# --- in a real kernel -------------------------------------------------------------------------------


def shown(*sources: str) -> list[str]:
    """What each cell shows when run one after another in a fresh kernel, colours removed."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=60, allow_errors=True).execute()
    texts = []
    for cell in cells:
        parts = [
            "\n".join(o.traceback) if o.output_type == "error" else o.get("text", "")
            for o in cell.outputs
        ]
        texts.append(re.sub(r"\x1b\[\d+m", "", "\n".join(parts)))
    return texts


def test_out_of_order_and_unwritten_cells_are_told_in_a_sentence_and_other_errors_as_always():
    check = "checks.start_here.softmax(softmax)"
    _, missing, stub, plain, _, right = shown(
        "from course_lib import checks",
        check,
        "def softmax(scores):\n    raise NotImplementedError\n\nchecks.start_here\nsoftmax(1)",
        "something_else",
        "import torch\n\ndef softmax(scores):\n    return torch.softmax(scores, -1)",
        check,
    )
    assert missing.startswith("Not yet. There is no softmax yet. Run the cell")
    assert len(missing.splitlines()) <= 3
    assert stub.startswith("Not yet. softmax is not written yet.")
    assert "NameError" in plain
    assert "Traceback" in plain
    assert right.startswith("softmax is right.")


def test_a_call_of_the_library_counts_even_if_its_exception_is_swallowed():
    def careful(scores):
        try:
            return logprobs.softmax(scores)
        except BaseException:
            return torch.softmax(scores, -1)

    assert "calls course_lib's own" in said(start_here.softmax, careful)


def test_a_library_loaded_anew_before_the_check_is_blocked_and_accuses_nobody(capsys):
    kept = dict(vars(logprobs))
    importlib.reload(logprobs)
    try:
        start_here.softmax(right_softmax)
        assert "calls course_lib's own" in said(start_here.softmax, logprobs.softmax)
        assert "calls course_lib's own" in said(
            start_here.softmax, lambda scores: kept["softmax"](scores)
        )
    finally:
        vars(logprobs).update(kept)


def test_when_marks_are_given_a_test_may_still_compare_with_the_learners_own_version(
    marks,
):
    namespace = notebook("accumulated_mean")
    exec(
        "def test_accumulated_mean(version):\n"
        "    losses = torch.tensor([[1.0, 2.0, 3.0], [2.0, 90.0, 90.0], [12.0, 50.0, 50.0]])\n"
        "    masks = torch.arange(3) < torch.tensor([[3], [1], [1]])\n"
        "    pieces = losses.split([2, 1]), masks.split([2, 1])\n"
        "    assert torch.isclose(version(*pieces), accumulated_mean(*pieces))\n",
        namespace,
    )
    start_here.test_accumulated_mean(namespace["test_accumulated_mean"])


def test_leaving_the_program_inside_a_check_is_a_failed_check():
    def leave(scores):
        raise SystemExit

    assert "stopped with SystemExit" in said(start_here.softmax, leave)


# --- every lesson -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.name)
def test_every_exercise_has_a_check_and_every_check_an_exercise(lesson):
    cells = [
        c.metadata.nbgrader
        for c in read(lesson).cells
        if c.cell_type == "code" and "nbgrader" in c.metadata
    ]
    answers = {meta.grade_id for meta in cells if meta.solution}
    checked = {meta.grade_id.removeprefix("check_") for meta in cells if meta.grade}
    __import__(f"course_lib.checks.{lesson.slug}")
    declared = {
        name
        for name, exercise in exercises.EXERCISES.items()
        if exercise.lesson == lesson.slug
    }
    assert answers == checked == declared


@pytest.mark.parametrize("name", sorted(exercises.EXERCISES))
def test_a_check_takes_at_most_fifty_milliseconds(name):
    lesson = next(
        item for item in lessons() if item.slug == exercises.EXERCISES[name].lesson
    )
    answer = graders.solution_answers(lesson)[name]
    spent = math.inf  # the quickest of some: other programs make a run slower
    for _ in range(10):
        if spent < graders.BUDGET_MS:
            break
        started = time.process_time()
        graders.message(
            graders.Case(name, "timed", answer, right=True), exercises.VISIBLE_SEED
        )
        spent = min(spent, (time.process_time() - started) * 1000)
    assert spent < 3 * graders.BUDGET_MS, (
        f"{spent:.0f} ms; the budget is {graders.BUDGET_MS} and three times that is too slow"
    )


@pytest.mark.parametrize(
    "name", sorted(n for n, exercise in exercises.EXERCISES.items() if exercise.library)
)
def test_no_message_of_a_check_contains_the_solutions_lines(name):
    exercise = exercises.EXERCISES[name]
    text = inspect.getsource(inspect.getmodule(exercise.body))
    messages = " ".join(
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    library = exercise.library
    written = [getattr(library, method) for method in exercise.methods] or [library]
    for function in written:
        body = inspect.getsource(function).rpartition('"""')[2]
        for line in body.strip().splitlines():
            code = line.partition("#")[0].strip()
            assert (
                len(code) < 20 or code.startswith("assert") or code not in messages
            ), code
