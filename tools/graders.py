"""Proof that the graders work: `python -m tools.graders` runs every known answer through its check.

tests/answers/NN_slug.py keeps, for each exercise, different right answers and plausible wrong ones with the
words that the check's message must contain. To these the engine adds what is wrong everywhere: nothing
written, the library's own function under several disguises, results learned by heart. Everything runs in
process; the table goes to docs/GRADERS.md.
"""

import ast
import functools
import importlib
import importlib.util
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from course_lib.checks import exercises
from tools.inline import ROOT
from tools.lessons import Lesson, lessons, read

SEEDS = (exercises.VISIBLE_SEED, 1, 2)  # the visible inputs and two redraws
FEWEST_RIGHT, FEWEST_WRONG = 2, 6
BUDGET_MS = 50
TABLE = ROOT / "docs" / "GRADERS.md"


@dataclass(frozen=True)
class Case:
    """One answer to one exercise, and what its check should make of it."""

    exercise: str
    name: str
    answer: object
    right: bool
    says: str = ""  # a pattern that the visible check's message must contain
    general: bool = False  # wrong for any exercise; not counted as plausible
    hidden_only: bool = (
        False  # may pass on the visible inputs, must fail on redrawn ones
    )


class Battery:
    """Collects the answers of one lesson; an instance called `battery` stands in each answers file."""

    def __init__(self):
        self.cases: list[Case] = []

    def right(self, exercise: str) -> Callable:
        return self._add(exercise, right=True)

    def wrong(self, exercise: str, says: str) -> Callable:
        return self._add(exercise, right=False, says=says)

    def _add(self, exercise: str, **options) -> Callable:
        def decorate(answer: Callable) -> Callable:
            self.cases.append(Case(exercise, answer.__name__, answer, **options))
            return answer

        return decorate


def message(case: Case, seed: int) -> str | None:
    """What the check says against an answer; None if it accepts."""
    check = getattr(checks_of(case.exercise), case.exercise)
    try:
        with _silence():
            check(case.answer, seed=seed)
    except exercises.CheckFailed as failure:
        return " ".join(str(failure).split())
    return None


def checks_of(exercise: str):
    return importlib.import_module(
        f"course_lib.checks.{exercises.EXERCISES[exercise].lesson}"
    )


def _silence():
    import contextlib
    import io

    return contextlib.redirect_stdout(io.StringIO())


def fault(case: Case) -> str | None:
    """One sentence if a check treats an answer otherwise than it should."""
    for seed in SEEDS:
        if case.hidden_only and seed == exercises.VISIBLE_SEED:
            continue
        said = message(case, seed)
        where = f"{case.exercise}: {'right' if case.right else 'wrong'} answer {case.name!r}"
        if case.right and said is not None:
            return f"{where} is rejected at seed {seed}: {said}"
        if not case.right and said is None:
            return f"{where} is accepted at seed {seed}"
        if (
            not case.right
            and seed == exercises.VISIBLE_SEED
            and not re.search(case.says, said)
        ):
            return f"{where} is rejected without naming the mistake ({case.says!r}): {said}"
    return None


def answers(lesson: Lesson) -> list[Case]:
    """The lesson's own battery, its solution's text, and what is wrong everywhere."""
    path = ROOT / "tests" / "answers" / f"{lesson.name}.py"
    if not path.exists():
        return []
    spec = importlib.util.spec_from_file_location(f"answers_{lesson.slug}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    importlib.import_module(f"course_lib.checks.{lesson.slug}")
    own = module.battery.cases
    texts = solution_answers(lesson)
    cases = [
        *own,
        *(
            Case(name, "the solution's text", answer, right=True, general=True)
            for name, answer in texts.items()
        ),
    ]
    for name, answer in texts.items():
        cases += general_wrong_answers(name, answer)
    return cases


def solution_answers(lesson: Lesson) -> dict[str, object]:
    """Run the instructor's exercise cells and every import in one namespace, as a notebook would; name -> answer."""
    namespace: dict = {"__name__": f"notebook_{lesson.slug}"}
    found = {}
    for cell in read(lesson).cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and meta.get("solution"):
            exec(compile(cell.source, f"<{meta.grade_id}>", "exec"), namespace)
            found[meta.grade_id] = namespace[
                re.search(r"^(?:def|class) (\w+)", cell.source, re.M)[1]
            ]
        elif cell.cell_type == "code":
            exec(_imports_alone(cell.source), namespace)
    return found


def _imports_alone(source: str):
    lines = ast.parse(source).body
    lines = [line for line in lines if isinstance(line, ast.Import | ast.ImportFrom)]
    return compile(ast.Module(lines, []), "<imports>", "exec")


def general_wrong_answers(name: str, answer: object) -> list[Case]:
    """What no exercise may reward."""
    exercise = exercises.EXERCISES[name]
    library = exercise.library or exercise.about

    def wrong(label: str, function: object, says: str, **options) -> Case:
        return Case(
            name, label, function, right=False, says=says, general=True, **options
        )

    def nothing(*arguments, **options):
        pass

    def not_written(*arguments, **options):
        raise NotImplementedError

    def reloaded(*arguments, **options):
        return getattr(importlib.reload(sys.modules[module]), attribute)(
            *arguments, **options
        )

    cases = [
        wrong("not written", not_written, "not written yet"),
        wrong("not a function", None, "not a function"),
    ]
    if exercise.library is None and name.startswith("test_"):
        return [
            *cases,
            wrong("a test without an assert", nothing, "accepts a faulty version"),
        ]
    if isinstance(library, type):
        return [cases[1], *_wrong_classes(wrong, library, answer)]
    empty = wrong("an empty body", nothing, "returned None|returned a NoneType")
    by_heart = wrong("learned by heart", _by_heart(name, answer), "", hidden_only=True)
    if exercise.library is None:  # it lives only in a lesson
        return [*cases, empty, by_heart]
    module, attribute = library.__module__, library.__name__
    return [
        *cases,
        empty,
        wrong("the library's own", library, "course_lib's own"),
        wrong(
            "the library's, kept under a name",
            lambda *a, **o: library(*a, **o),
            "calls course_lib's own",
        ),
        wrong(
            "the library's, looked up late",
            _late(module, attribute),
            "calls course_lib's own",
        ),
        wrong(
            "the library's, as a partial",
            functools.partial(library),
            "course_lib's own",
        ),
        wrong("the library's, loaded anew", reloaded, "calls course_lib's own"),
        wrong(
            "the library's, errors swallowed",
            _swallowing(library),
            "calls course_lib's own",
        ),
        by_heart,
    ]


def _wrong_classes(wrong: Callable, library: type, answer: type) -> list[Case]:
    """The same for an exercise that is a class: what stands in its forward."""
    module, attribute, book = library.__module__, library.__name__, {}

    def forward(body: Callable) -> type:
        return type(attribute, (answer,), {"forward": body})

    def not_written(self, *arguments, **options):
        raise NotImplementedError

    def nothing(self, *arguments, **options):
        pass

    def borrowed(self, *arguments, **options):
        return library.forward(self, *arguments, **options)

    def reloaded(self, *arguments, **options):
        anew = getattr(importlib.reload(sys.modules[module]), attribute)
        return anew.forward(self, *arguments, **options)

    def record(self, *arguments, **options):
        result = answer.forward(self, *arguments, **options)
        book[_key(arguments, options)] = result.detach()
        return result

    def recite(self, *arguments, **options):
        return book.get(_key(arguments, options), next(iter(book.values())))

    taught = Case(library.__name__, "recording", forward(record), right=True)
    message(taught, exercises.VISIBLE_SEED)
    theirs, calls = "course_lib's own", "calls course_lib's own"
    return [
        wrong("a function", lambda *a, **o: None, "should be a class"),
        wrong("a blank forward", forward(not_written), "not written yet"),
        wrong("an empty forward", forward(nothing), "returned None|returned a None"),
        wrong("the library's own", library, theirs),
        wrong("the library's, as a partial", functools.partial(library), theirs),
        wrong("the library's forward", forward(borrowed), calls),
        wrong("the library's, loaded anew", forward(reloaded), calls),
        wrong("learned by heart", forward(recite), "", hidden_only=True),
    ]


def _late(module: str, attribute: str) -> Callable:
    return lambda *a, **o: getattr(importlib.import_module(module), attribute)(*a, **o)


def _swallowing(library: Callable) -> Callable:
    def swallowing(*arguments, **options):
        try:
            return library(*arguments, **options)
        except Exception:
            return library(*arguments, **options)

    return swallowing


def _by_heart(name: str, answer: Callable) -> Callable:
    """Every result of a right answer on the visible inputs, and nothing else."""
    book: dict[str, object] = {}

    def record(*arguments, **options):
        result = answer(*arguments, **options)
        book[_key(arguments, options)] = result
        return result

    message(Case(name, "recording", record, right=True), exercises.VISIBLE_SEED)

    def recite(*arguments, **options):
        return book.get(_key(arguments, options), next(iter(book.values()), None))

    return recite


def _key(*things: object) -> str:
    plain = [_plain(thing) for thing in things]
    return repr(plain)


def _plain(thing: object) -> object:
    if isinstance(thing, torch.Tensor):
        return (tuple(thing.shape), thing.tolist())
    if isinstance(thing, list | tuple):
        return [_plain(item) for item in thing]
    if isinstance(thing, dict):
        return {key: _plain(item) for key, item in thing.items()}
    return thing


def too_few(cases: list[Case]) -> list[str]:
    """Exercises whose battery is smaller than promised."""
    found = []
    for name in sorted({case.exercise for case in cases}):
        own = [case for case in cases if case.exercise == name and not case.general]
        right, wrong = (
            sum(case.right for case in own),
            sum(not case.right for case in own),
        )
        if right < FEWEST_RIGHT or wrong < FEWEST_WRONG:
            found.append(
                f"{name}: {right} right and {wrong} wrong answers; {FEWEST_RIGHT} and {FEWEST_WRONG} are wanted"
            )
    return found


def milliseconds(exercise: str, answer: object) -> float:
    """Median time of one visible check of a right answer."""
    case, times = Case(exercise, "timed", answer, right=True), []
    for _ in range(5):
        started = time.perf_counter()
        message(case, exercises.VISIBLE_SEED)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def rows(lesson: Lesson, cases: list[Case]) -> list[str]:
    lines = []
    for name in dict.fromkeys(case.exercise for case in cases if case.general):
        mine = [case for case in cases if case.exercise == name]
        right = [case for case in mine if case.right]
        wrong = [case for case in mine if not case.right]
        accepted = sum(fault(case) is None for case in right)
        rejected = sum(fault(case) is None for case in wrong)
        lines.append(
            f"| {lesson.number} | {name} | {len(right)} | {accepted} | {len(wrong)} | {rejected} |"
        )
    return lines


def table(found: list[str]) -> str:
    head = (
        "# Do the graders work?\n\n"
        "Made by `make graders`, checked by the tests. Each answer ran through its check on the visible inputs and on two\n"
        "redraws. *Rejected* means: at every seed, and on the visible inputs with a message that names the mistake. Wrong\n"
        "answers include those that are wrong everywhere: nothing written, the library's own function in several disguises,\n"
        "results learned by heart. The answers are in `tests/answers/`.\n\n"
        "| lesson | exercise | right answers tried | accepted | wrong answers tried | rejected by name |\n"
        "|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(found) + "\n"


def main() -> int:
    started, lines, faults = time.perf_counter(), [], []
    for lesson in lessons():
        cases = answers(lesson)
        lines += rows(lesson, cases)
        faults += [said for case in cases if (said := fault(case))] + too_few(cases)
    TABLE.write_text(table(lines))
    print("\n".join([*lines, *faults]))
    print(
        f"{len(lines)} exercises, {len(faults)} faults, {time.perf_counter() - started:.0f} s"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
