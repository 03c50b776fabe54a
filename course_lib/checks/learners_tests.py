"""Checks of tests that learners write: every right version passes, every faulty one is exposed."""

import functools
import inspect
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from course_lib.checks.asking import close, expect, unchanged
from course_lib.checks.exercises import RIGHT_VERSIONS, CheckFailed, first_line
from course_lib.checks.harness import check

# why(version, arguments of a test's calls of it): a sentence, or None
Why = Callable[[Callable, list[tuple]], str | None]

OF_NOTHING = (  # what Python, torch and NumPy say to the minimum or maximum of nothing
    "argument is empty",
    "arg is an empty sequence",
    "input.numel() == 0",
    "zero-size array",
    "non-zero size",
)


def _no_idea(version: Callable, calls: list[tuple]) -> None:
    return None


def _not_compared(version: Callable, calls: list[tuple]) -> str:
    return (
        "Is the result compared with a number, on both sides and closely? Is the assert one that can fail, outside "
        "any except?"
    )


def check_test(
    about: object | None,
    right: dict[str, Callable],
    faulty: dict[str, Callable],
    proved: str,
    why_blind: Why = _no_idea,
    why_unfair: Why = _no_idea,
    why_missed: Why = _not_compared,
    why_stopped: Why = _no_idea,
    may_hide: Collection[Callable] = (),
    called: str = "",
) -> Callable:
    """Make a check of a test that a learner wrote: it must pass every right version and fail every faulty one.

    about is the library function that the test is about; right and faulty map a
    description to a version. why_blind(version, calls) may say why a test's inputs
    cannot show a version's fault, why_unfair why a right version was rejected,
    why_missed what to assert if a fault shows on the inputs and nothing objects,
    why_stopped why it stopped with an error. may_hide: faulty versions that a test
    may accept as long as nothing shows on its inputs, such as small inaccuracies.

    The versions come in a drawn order, a faulty one first, so that a test which
    remembers or counts earlier versions gains nothing.

    about=None is for a test of something that the library does not have, known to
    learners as called: a model, say, of which only some properties are asked.
    Nothing is out of reach then. Two right versions may give different results, so
    that none shows what is wrong with a faulty one; that is left to why_blind.

    A version that remembers earlier calls is a class, made anew for every trial.
    """
    called = called or about.__name__
    if about is None:
        standard = None
    else:
        standard = next(iter(right.values()))
        RIGHT_VERSIONS.extend(right.values())

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def body(test: Callable, draw: torch.Generator) -> None:
            trials = _in_drawn_order(test, right, faulty, called, draw, may_hide)
            _must_accept({name: trials[name] for name in right}, why_unfair)
            for description in faulty:  # the first one wrong ends it
                trial = trials[description]
                hidden_is_fine = trial.version in may_hide
                _must_reject(
                    trial,
                    description,
                    standard,
                    why_blind,
                    why_missed,
                    why_stopped,
                    hidden_is_fine,
                )

        return check(None, proved, about=about)(body)

    return decorate


class _Trial:
    """One version on its way through a learner's test, under the tested function's own name."""

    def __init__(self, version: Callable, called: str):
        version = version() if inspect.isclass(version) else version
        self.version = version
        self.calls: list[tuple] = []  # arguments, result
        self.returned: object = None
        self.objection = ""
        self.passed = False
        self.error: BaseException | None = None

        signature = inspect.signature(version)

        def renamed(*arguments, **options):
            try:
                arguments = signature.bind(*arguments, **options).args
            except TypeError as error:
                raise TypeError(
                    f"{called} is called with other arguments: {error}"
                ) from None
            # copies: a test may change its inputs in place between two calls
            before = _copied(arguments)
            result = version(*arguments)
            self.calls.append((before, _copied(result)))
            return result

        renamed.__name__ = renamed.__qualname__ = called
        self.renamed = renamed

    @property
    def arguments(self) -> list[tuple]:
        """What the version was called with, call by call."""
        return [arguments for arguments, _ in self.calls]

    def run(self, test: Callable) -> None:
        try:
            self.returned = test(self.renamed)
            self.passed = True
        except BaseException as error:
            if isinstance(error, AssertionError) or type(error).__name__ == "Failed":
                self.objection = first_line(error)  # Failed: pytest.fail
            elif isinstance(error, Exception | SystemExit):
                self.error = error
            else:
                raise

    def shows(self, standard: Callable) -> tuple[object, object] | None:
        """The first result on the test's inputs that is not the standard's, and that one."""
        for arguments, got in self.calls:
            want = standard(*arguments)
            if not _alike(got, want):
                return got, want
        return None


def _in_drawn_order(
    test: Callable,
    right: dict[str, Callable],
    faulty: dict[str, Callable],
    called: str,
    draw: torch.Generator,
    may_hide: Collection[Callable],
) -> dict[str, _Trial]:
    """Every version through the test; none that could not change the message any more."""
    versions, trials = right | faulty, {}
    names, listed = list(versions), list(faulty)
    order = [names[i] for i in torch.randperm(len(names), generator=draw).tolist()]
    first = next(name for name in order if name in faulty)
    order.remove(first)
    latest, accepted = len(faulty), True
    for name in [first, *order]:
        place = -1 if name in right else listed.index(name)
        if place > latest or not (accepted or name in right):
            continue
        trial = trials[name] = _Trial(versions[name], called)
        trial.run(test)
        if name in right:
            if trial.error is not None:
                _stopped_on_a_right_version(trial.error, name)
            accepted &= trial.passed
        elif trial.error is not None or (
            trial.passed and trial.version not in may_hide
        ):
            latest = place
    return trials


def _stopped_on_a_right_version(error: BaseException, description: str) -> None:
    if not _of_nothing(error):
        raise error
    raise CheckFailed(
        f"Given a right version ({description}) your test stops with {type(error).__name__}: "
        f"{_said(error)}. It takes the minimum or maximum of nothing. Ask first whether "
        "anything is there."
    ) from error


def _of_nothing(error: BaseException) -> bool:
    return any(words in str(error) for words in OF_NOTHING)


def _said(error: BaseException) -> str:
    """The first sentence of an error, without its full stop."""
    return first_line(error).partition(". ")[0].rstrip(".")


def _must_accept(trials: dict[str, _Trial], why_unfair: Why) -> None:
    rejected = [
        description for description, trial in trials.items() if not trial.passed
    ]
    if not rejected:
        return
    likely = (
        "It rejects the others too: is the expected number wrong, is something asserted that was never asked for, "
        "or does it keep something of an earlier run?"
        if len(rejected) == len(trials)
        else "It accepts another one: is the tolerance too tight for float rounding, or does it keep something of an "
        "earlier run?"
    )
    first = trials[rejected[0]]
    likely = why_unfair(first.version, first.arguments) or likely
    objection = first.objection
    words = "" if objection == "no message" else f" Its message was {objection!r}."
    raise CheckFailed(
        f"Your test rejects a right version: {rejected[0]}.{words} {likely}"
    )


def _must_reject(
    trial: _Trial,
    description: str,
    standard: Callable | None,
    why_blind: Why,
    why_missed: Why,
    why_stopped: Why,
    hidden_is_fine: bool,
) -> None:
    if trial.error is not None:
        error = trial.error
        why = why_stopped(trial.version, trial.arguments) or (
            "The minimum or maximum of nothing is an error and no objection: assert first that "
            "something is there."
            if _of_nothing(error)
            else "A test objects with an assert; any other error looks like an accident."
        )
        raise CheckFailed(
            f"Given a faulty version ({description}) your test stops with {type(error).__name__}: "
            f"{_said(error)}. {why}"
        ) from error
    if not trial.passed:
        return
    start = f"Your test accepts a faulty version: {description}."
    expect(
        bool(trial.calls),
        f"{start} It never calls the function that it is given, so it cannot tell them apart.",
    )
    expect(
        trial.returned is None,
        f"{start} It returned {trial.returned!r}, and nobody reads what a test returns. Only an assert can object.",
    )
    if standard and (shown := trial.shows(standard)):
        raise CheckFailed(
            f"{start} On your inputs it gives {_instead(*shown)}, and no assert objects. "
            f"{why_missed(trial.version, trial.arguments)}"
        )
    if hidden_is_fine:
        return
    why = why_blind(trial.version, trial.arguments)
    raise CheckFailed(
        f"{start} {why or 'On your inputs that mistake changes nothing. Find some on which it does.'}"
    )


def _copied(thing: object) -> object:
    """The same numbers elsewhere; deepcopy would refuse a tensor in the middle of a graph."""
    if isinstance(thing, Tensor):
        return thing.detach().clone()
    if type(thing) in (list, tuple):
        return type(thing)(_copied(item) for item in thing)
    return thing


def _alike(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and close(a.detach(), b.detach())
    return unchanged(a, b)


def _instead(got: object, want: object) -> str:
    """What came and what was wanted; of many numbers the first that differs."""
    tensors = isinstance(got, Tensor) and isinstance(want, Tensor)
    if tensors and got.shape == want.shape and got.numel() > 4:
        off = ~torch.isclose(got.double(), want.double(), rtol=1e-5, atol=1e-6)
        place = tuple(off.nonzero()[0].tolist())
        return f"{got[place].item():.4g} instead of {want[place].item():.4g} at {list(place)}"
    if isinstance(got, float) and isinstance(want, float):
        digits = 4 if f"{got:.4g}" != f"{want:.4g}" else 12
        return f"{got:.{digits}g} instead of {want:.{digits}g}"
    return f"{_short(got)} instead of {_short(want)}"


def _short(result: object) -> str:
    if isinstance(result, Tensor):
        return f"{result.item():.4g}" if result.numel() == 1 else str(result.tolist())
    return repr(result)
