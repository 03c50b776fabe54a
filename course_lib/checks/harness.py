"""What every check shares: calling an answer safely, naming the mistake, keeping the library out of reach.

A check proves an answer against paper numbers, properties, slow loops or another
library, never against course_lib's own version, which is the text of the solution.
Left out: protection against a program that attacks the grader; that is the sandbox's
work (docs/GRADING.md).
"""

import contextlib
import copy
import functools
import importlib
import inspect
import os
import pkgutil
import secrets
import sys
import textwrap
import traceback as traceback_module
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

VISIBLE_SEED = 0
EXERCISES: dict[str, "Exercise"] = {}
SKIPPED: set[str] = set()
NO_GRADIENT = (
    "The values are right, but no gradient flows back, so nothing could be trained through it. Stay with "
    "tensors: no .item(), .tolist(), .detach(), no_grad, NumPy or torch.tensor(...) of a result."
)
HINTS = {  # what torch says: what it may mean to somebody who meets it for the first time
    "The size of tensor a": "Shapes are lined up on the right. Was a dimension dropped that should have stayed (keepdim)?",
    "torch.return_types": "A maximum along a dimension comes as two things, values and places.",
    "same number of dimensions as input": "What is looked up and where it is looked up need equally many dimensions.",
    "out of bounds for dimension": "Was it looked up along the wrong dimension?",
    "Dimension out of range": "There are fewer dimensions than this line expects: a selection with a mask is flat, and "
    "squeeze() removes every dimension of size 1.",
    "Boolean value of Tensor": "Python's if, and, or, max and min ask a whole tensor for a single yes or no.",
    "index out of range": "A place was too large. argmax() without a dimension counts through the whole tensor, over all "
    "its rows.",
    "The expanded size of the tensor": "Something longer is written into a shorter place.",
    "expected sequence of length": "A tensor is a rectangle, and lists of different lengths are not one yet.",
    "stack expects each tensor": "The pieces differ in size, so they cannot be stacked.",
    "Sizes of tensors must match": "The pieces differ in size along another dimension than the one they are joined on.",
    "modified by an inplace operation": "Something was changed in place (+=, /=, a name ending in _) that the gradient "
    "still needs. Make a new tensor instead.",
}
_last_trace: list[str] = []
_library_calls: list[int] = []


class CheckFailed(AssertionError):
    """An answer that is not right yet. Jupyter shows the message, not the trace."""

    def _render_traceback_(self) -> list[str]:
        return ["\x1b[31mNot yet.\x1b[0m " + str(self)]


@dataclass(frozen=True)
class Exercise:
    """One exercise: its name, the library object that answers it, and the methods that a learner writes."""

    name: str
    lesson: str
    library: object | None  # None for an exercise that lives only in a lesson
    methods: tuple[str, ...] = ()
    about: object | None = (
        None  # what a learner's test is about: out of its reach as well
    )
    also: tuple[Callable, ...] = ()  # other library functions that hold the answer
    body: Callable = field(default=None, repr=False)


# --- the decorators that make a check ---------------------------------------------------------------


def check(
    library: object | None,
    proved: str,
    methods: tuple[str, ...] = (),
    about: object | None = None,
    also: tuple[Callable, ...] = (),
) -> Callable:
    """Make a check of the decorated body(answer, draw), which raises CheckFailed or returns."""

    def decorate(body: Callable) -> Callable:
        lesson = body.__module__.rpartition(".")[2]
        exercise = Exercise(body.__name__, lesson, library, methods, about, also, body)
        assert exercise.name not in EXERCISES, (
            f"two exercises are called {exercise.name!r}"
        )
        EXERCISES[exercise.name] = exercise

        @functools.wraps(body)
        def run(answer: object, seed: int = VISIBLE_SEED) -> None:
            if exercise.name in SKIPPED and answer is library and not grading():
                print(
                    f"{exercise.name} was skipped: the library's version stands in, for no points."
                )
                return
            _run(exercise, answer, seed)
            if seed == VISIBLE_SEED:
                print(_wrap(f"{exercise.name} is right. {proved}"))

        return run

    return decorate


def check_test(
    about: object,
    right: dict[str, Callable],
    faulty: dict[str, Callable],
    proved: str,
    why_blind: Callable[[Callable, list[tuple]], str | None] = lambda version, calls: (
        None
    ),
) -> Callable:
    """Make a check of a test that a learner wrote: it must pass every right version and fail every faulty one.

    about is the library function that the test is about; right and faulty map a
    description to a version. why_blind(version, calls) may say why a test's inputs
    cannot show a version's fault.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def body(test: Callable, draw: torch.Generator) -> None:
            _must_accept(test, right, about)
            for description, version in faulty.items():
                _must_reject(
                    test,
                    _Trial(version, about),
                    description,
                    next(iter(right.values())),
                    why_blind,
                )

        return check(None, proved, about=about)(body)

    return decorate


class _Trial:
    """One version on its way through a learner's test, under the tested function's own name."""

    def __init__(self, version: Callable, about: object):
        self.version = version
        self.calls: list[tuple] = []  # arguments, result
        self.returned: object = None
        self.objection = ""

        @functools.wraps(about)
        def renamed(*arguments, **options):
            try:
                arguments = inspect.signature(version).bind(*arguments, **options).args
            except TypeError as error:
                raise TypeError(
                    f"{about.__name__} is called with other arguments: {error}"
                ) from None
            result = version(*arguments)
            self.calls.append((arguments, result))
            return result

        del renamed.__wrapped__
        self.renamed = renamed

    def passes(self, test: Callable) -> bool:
        try:
            self.returned = test(self.renamed)
        except BaseException as error:
            if (
                not isinstance(error, AssertionError)
                and type(error).__name__ != "Failed"
            ):  # pytest.fail
                raise
            self.objection = _first_line(error)
            return False
        return True


def _must_accept(test: Callable, right: dict[str, Callable], about: object) -> None:
    trials = {
        description: _Trial(version, about) for description, version in right.items()
    }
    rejected = [
        description for description, trial in trials.items() if not trial.passes(test)
    ]
    if not rejected:
        return
    likely = (
        "It rejects the others too: is the expected number wrong, or is something asserted that was never asked for?"
        if len(rejected) == len(right)
        else "It accepts another one: is the tolerance too tight for float rounding?"
    )
    objection = trials[rejected[0]].objection
    words = "" if objection == "no message" else f" Its message was {objection!r}."
    raise CheckFailed(
        f"Your test rejects a right version: {rejected[0]}.{words} {likely}"
    )


def _must_reject(
    test: Callable,
    trial: _Trial,
    description: str,
    right: Callable,
    why_blind: Callable,
) -> None:
    try:
        if not trial.passes(test):
            return
    except (Exception, SystemExit) as error:
        raise CheckFailed(
            f"Given a faulty version ({description}) your test stops with {type(error).__name__}: "
            f"{_first_line(error)}. A test objects with an assert; any other error looks like an accident."
        ) from error
    start = f"Your test accepts a faulty version: {description}."
    expect(
        bool(trial.calls),
        f"{start} It never calls the function that it is given, so it cannot tell them apart.",
    )
    expect(
        trial.returned is None,
        f"{start} It returned {trial.returned!r}, and nobody reads what a test returns. Only an assert can object.",
    )
    for arguments, got in trial.calls:
        want = right(*arguments)
        expect(
            _alike(got, want),
            f"{start} On your inputs it gives {_short(got)} instead of {_short(want)}, and no assert objects. Is the "
            "result compared with a number, on both sides and closely? Is the assert one that can fail, outside "
            "any except?",
        )
    why = why_blind(trial.version, [arguments for arguments, _ in trial.calls])
    raise CheckFailed(
        f"{start} {why or 'On your inputs that mistake changes nothing. Find some on which it does.'}"
    )


def _alike(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and close(a.detach(), b.detach())
    return _same(a, b)


def _short(result: object) -> str:
    if isinstance(result, Tensor):
        return f"{result.item():.4g}" if result.numel() == 1 else str(result.tolist())
    return repr(result)


# --- running an answer ------------------------------------------------------------------------------


def grading() -> bool:
    """True while nbgrader (or check-mine) gives marks."""
    return bool(os.environ.get("NBGRADER_EXECUTION") or os.environ.get("COURSE_MARKS"))


def grading_seed() -> int:
    """The seed of the hidden inputs: the class's own (COURSE_GRADING_SEED) or a fresh one."""
    return int(os.environ.get("COURSE_GRADING_SEED") or 1 + secrets.randbelow(2**31))


def _run(exercise: Exercise, answer: object, seed: int) -> None:
    _last_trace.clear()
    _refuse_what_is_no_answer(exercise, answer)
    draw = torch.Generator().manual_seed(seed)
    try:
        with _library_out_of_reach(exercise), _stand_ins(exercise, answer), _quiet():
            exercise.body(answer, draw)
    except CheckFailed as failure:
        _last_trace.append(traceback_module.format_exc())
        raise CheckFailed(_wrap(str(failure))) from None
    except (Exception, SystemExit) as error:
        _last_trace.append(traceback_module.format_exc())
        raise CheckFailed(_wrap(_explain(exercise, answer, error))) from None


def _refuse_what_is_no_answer(exercise: Exercise, answer: object) -> None:
    name = exercise.name
    if answer is None or not callable(answer):
        raise CheckFailed(
            f"{name} is {answer!r}, not a function. Was the name used again for something else?"
        )
    if exercise.library is not None and _comes_from_the_library(
        answer, exercise.library, exercise.methods
    ):
        raise CheckFailed(
            f"This {name} is course_lib's own, so it earns no points. Write yours in the exercise cell and run it."
        )
    if (
        inspect.isclass(exercise.library) != inspect.isclass(answer)
        and exercise.library is not None
    ):
        kind = "a class" if inspect.isclass(exercise.library) else "a function"
        raise CheckFailed(
            f"{name} should be {kind}; this is a {type(answer).__name__}."
        )


def _comes_from_the_library(
    answer: object, library: object, methods: tuple[str, ...]
) -> bool:
    inner = inspect.unwrap(answer)
    while isinstance(inner, functools.partial):
        inner = inner.func
    if inspect.isclass(library):
        return inner is library or any(
            getattr(inner, method, None) is getattr(library, method)
            for method in methods
        )
    return inner is library or getattr(inner, "__code__", 0) is library.__code__


def _functions_to_block(exercise: Exercise) -> list[types.FunctionType]:
    library = exercise.library or exercise.about
    there = getattr(sys.modules.get(library.__module__), library.__name__, library)
    if inspect.isclass(library):
        found = [
            getattr(kind, method)
            for kind in (library, there)
            for method in exercise.methods
        ]
    else:
        found = [library, there, *exercise.also]
    return list(dict.fromkeys(f for f in found if isinstance(f, types.FunctionType)))


@contextlib.contextmanager
def _library_out_of_reach(exercise: Exercise) -> Iterator[None]:
    """While a check runs, calling the library's version raises, under whatever name it was kept."""
    library = exercise.library or exercise.about
    instead = (
        f'Write the steps yourself; checks.skip("{exercise.name}") lets you go on without them.'
        if exercise.library
        else "Compare with a number that you worked out by hand."
    )

    def out_of_reach(*args, **kwargs):
        from course_lib.checks.harness import (
            LibraryCalled,
            _library_calls,
        )  # the globals are the library's

        _library_calls.append(1)
        raise LibraryCalled

    module = sys.modules[library.__module__]
    before = dict(vars(module))
    blocked = [
        (function, function.__code__) for function in _functions_to_block(exercise)
    ]
    _library_calls.clear()
    try:
        for function, _ in blocked:
            function.__code__ = out_of_reach.__code__
        yield
    finally:
        for function, code in blocked:
            function.__code__ = code
        again = (  # loaded anew, to get at an unguarded copy
            sys.modules.get(module.__name__) is not module
            or vars(module).get(library.__name__) is not before[library.__name__]
        )
        sys.modules[module.__name__] = module
        vars(module).update(before)
        if _library_calls or again:  # even if the answer swallowed the exception
            raise CheckFailed(
                f"Your {exercise.name} calls course_lib's own version, which earns nothing. {instead}"
            ) from None


class LibraryCalled(BaseException):
    """Not an Exception, so that an answer's own `except Exception` does not swallow it."""


@contextlib.contextmanager
def _stand_ins(exercise: Exercise, answer: object) -> Iterator[None]:
    """When marks are given, the library answers every *other* exercise of the lesson.

    One blank or wrong answer then costs its own points and no others. While learning
    nothing is replaced: the learner's functions work together, or the message says
    which one is missing.
    """
    namespace = _namespace_of(answer)
    if not grading() or namespace is None:
        yield
        return
    others = {
        name: _rebound(other.library, exercise.name, answer)
        for name, other in EXERCISES.items()
        if other.lesson == exercise.lesson
        and name != exercise.name
        and other.library is not None
        and other.library
        is not exercise.about  # a test may compare with the learner's own version
    }
    saved = {name: namespace[name] for name in others if name in namespace}
    try:
        namespace.update(others)
        yield
    finally:
        for name in others:
            namespace.pop(name, None)
        namespace.update(saved)


def _rebound(library: object, name: str, answer: object) -> object:
    """The library's function, except that it calls the learner's version of the one under test."""
    if isinstance(library, types.FunctionType) and name in library.__code__.co_names:
        scope = {**library.__globals__, name: answer}
        return types.FunctionType(
            library.__code__, scope, library.__name__, library.__defaults__
        )
    return library


def _namespace_of(answer: object) -> dict | None:
    inner = inspect.unwrap(answer)
    if inspect.isclass(inner):
        inner = next(
            (m for m in vars(inner).values() if isinstance(m, types.FunctionType)), None
        )
    return getattr(inner, "__globals__", None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A check draws no random number that the lesson would notice, and prints no warning."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


def _explain(exercise: Exercise, answer: object, error: BaseException) -> str:
    """One or two sentences about an exception inside an answer: what, where, and the likely cause."""
    frames = traceback_module.extract_tb(error.__traceback__)
    here = os.path.dirname(__file__)
    theirs = [
        f
        for f in frames
        if not f.filename.startswith((here, os.path.dirname(torch.__file__)))
    ]
    inside = theirs[-1] if theirs else frames[-1]
    name = exercise.name
    if isinstance(error, NotImplementedError):
        other = inside.name
        if other != name and other in EXERCISES:
            return (
                f"Your {name} calls {other}, which is not written yet. Finish {other} first, or run "
                f'checks.skip("{other}") to let the library stand in.'
            )
        return f"{name} is not written yet: replace the line `raise NotImplementedError` by your own lines."
    where = f" in `{inside.line}`" if theirs and inside.line else ""
    said = f"{name} stopped with {type(error).__name__}{where}: {_first_line(error)}"
    hint = next((hint for words, hint in HINTS.items() if words in str(error)), None)
    return f"{said.rstrip('.')}. {hint}" if hint else said


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or ["no message"])[0]
    return line if len(line) <= 200 else line[:200].rpartition(" ")[0] + " …"


def _wrap(text: str) -> str:
    return "\n".join(
        textwrap.fill(line, 84, break_long_words=False) for line in text.splitlines()
    )


# --- what check bodies use --------------------------------------------------------------------------


def expect(condition: bool, mistake: str) -> None:
    """Fail with the mistake's name unless the condition holds."""
    if not condition:
        raise CheckFailed(mistake)


def ask(answer: Callable, *arguments: object, **options: object) -> object:
    """Call an answer; fail if it returns nothing or changes what it was given."""
    before = copy.deepcopy(arguments)
    result = answer(*arguments, **options)
    expect(
        result is not None,
        "It returned None. Is there a `return` line, and does every path reach one?",
    )
    expect(
        _same(before, arguments),
        "It changed its own input. Later lines still need that: work on a new tensor.",
    )
    return result


def ask_tensor(
    answer: Callable,
    *arguments: object,
    shape: tuple[int, ...],
    shapes: dict[tuple[int, ...], str] | None = None,
    **options: object,
) -> Tensor:
    """Call an answer and insist on a tensor of this shape; shapes names the mistakes behind other ones."""
    result = ask(answer, *arguments, **options)
    expect(
        isinstance(result, Tensor),
        f"It returned a {type(result).__name__}; a tensor is wanted.",
    )
    likely = (shapes or {}).get(
        tuple(result.shape), "Which dimension was summed away, or kept by mistake?"
    )
    expect(
        tuple(result.shape) == shape,
        f"It returned shape {tuple(result.shape)}; for this input {shape} is wanted. {likely}",
    )
    return result


def ask_gradient(
    answer: Callable, start: Tensor, weights: Tensor | float = 1.0
) -> Tensor:
    """The gradient of the (weighted, summed) answer at start; fail if the way back is cut."""
    leaf = start.clone().requires_grad_()
    try:
        result = answer(leaf)
    except RuntimeError as error:
        expect("that requires grad" not in str(error), NO_GRADIENT)  # NumPy's refusal
        raise
    expect(isinstance(result, Tensor) and result.requires_grad, NO_GRADIENT)
    (gradient,) = torch.autograd.grad((result * weights).sum(), leaf, allow_unused=True)
    expect(gradient is not None, NO_GRADIENT)
    return gradient


def close(got: Tensor, want: Tensor, rtol: float = 1e-5, atol: float = 1e-6) -> bool:
    """Equal up to float32 rounding; nan equals nothing."""
    return torch.allclose(got.double(), want.double(), rtol=rtol, atol=atol)


def diagnose(
    got: Tensor,
    want: Tensor,
    mistakes: dict[str, Tensor | tuple[Tensor, ...]],
    otherwise: str,
    rtol: float = 1e-5,
) -> None:
    """Fail unless got equals want; name the mistake whose result it equals, if it is a known one."""
    if close(got, want, rtol):
        return
    for mistake, results in mistakes.items():
        for result in results if isinstance(results, tuple) else (results,):
            if (
                result.shape == got.shape
                and close(got, result, rtol)
                and not close(result, want, rtol)
            ):
                raise CheckFailed(mistake)
    if close(got, want, rtol=1e-2, atol=1e-3):
        raise CheckFailed(
            "The first digits are right and the later ones are not. Is something rounded on the way (round, half "
            "precision), or a small constant added?"
        )
    raise CheckFailed(otherwise)


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        same = a.shape == b.shape and a.dtype == b.dtype
        return same and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a is b or a == b if isinstance(a, str | int | float) else True


# --- what learners call -----------------------------------------------------------------------------


def skip(name: str) -> None:
    """Let the library stand in for an exercise: no points for it, and the lesson goes on."""
    if name not in EXERCISES:
        _load_all_lessons()
    if name not in EXERCISES or EXERCISES[name].library is None:
        known = ", ".join(
            n for n, exercise in EXERCISES.items() if exercise.library is not None
        )
        raise CheckFailed(
            f"There is no exercise {name!r} to skip here. The names are: {known}."
        )
    from IPython import get_ipython

    SKIPPED.add(name)
    get_ipython().user_ns[name] = EXERCISES[name].library
    print(
        f"{name} skipped: course_lib's version stands in, for no points. Write your own at any time."
    )


def _load_all_lessons() -> None:
    """A lesson's checks are imported when it first runs one, and an exercise may be skipped before that."""
    for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module(f"{__package__}.{module.name}")


def traceback() -> None:
    """Print the whole trace behind the last message of a check."""
    print(
        _last_trace[-1]
        if _last_trace
        else "No check has failed since the last one that passed."
    )


def shorten_errors() -> None:
    """In a notebook: a name that was never run, or a stub that is not written, is told in one sentence."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and _show_shortly not in vars(shell).values():
        shell.set_custom_exc((NameError, NotImplementedError), _show_shortly)


def _show_shortly(
    shell, kind: type, error: Exception, trace, tb_offset: int | None = None
) -> list[str]:
    name = (
        error.name if kind is NameError else traceback_module.extract_tb(trace)[-1].name
    )
    if name in EXERCISES:
        said = (
            f"There is no {name} yet. Run the cell in which you write it; if that cell shows an error, mend it first."
            if kind is NameError
            else f"{name} is not written yet. Write it in its cell above and run that cell first."
        )
        error._render_traceback_ = CheckFailed(
            _wrap(said)
        )._render_traceback_  # what IPython shows instead
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    return []
