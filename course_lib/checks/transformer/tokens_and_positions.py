"""Checks of lesson 01: joining a pair of ids, turning by position.

Each begins with numbers worked out on paper and the results that known mistakes give there,
then goes on to random inputs and to the edges. The answers that prove them are in `tests/answers/`.
"""

import contextlib
import inspect
import math
import re
import sys
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course_lib import attention, bpe
from course_lib.checks.asking import (
    ask,
    ask_gradient,
    ask_tensor,
    close,
    diagnose,
    expect,
)
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check

# --- merge_pair -----------------------------------------------------------------------------------


@check(
    bpe.merge_pair,
    proved="Each id takes part in one merge only, the input stays as it was, and on random ids it "
    "agrees with Python's own replacing in texts.",
)
def merge_pair(answer, draw):
    _merge_pair_on_paper(answer)
    _merge_pair_at_the_edges(answer)
    _merge_pair_keeps_apart(answer)
    _merge_pair_at_length(answer, draw)
    for size, kinds, kind in ((9, 2, tuple), (12, 3, list), (30, 2, list)):
        # beyond 256 Python makes a new object for each number: equal, but not identical
        steps = torch.arange(kinds) * 1000 + 300
        vocabulary = steps + torch.randint(1000, (kinds,), generator=draw)
        places = torch.randint(kinds, (size,), generator=draw)
        at = torch.randint(size - 1, (), generator=draw)
        ids = kind(vocabulary[places].tolist())
        pair = tuple(vocabulary[places[at : at + 2]].tolist())
        new_id = 5000 + torch.randint(1000, (), generator=draw).item()
        got = _merge_pair_ask(answer, ids, pair, new_id)
        want = _merge_pair_in_a_text(ids, pair, new_id)
        expect(
            got != list(ids),
            f"With larger ids nothing is joined: the pair {pair} stands in {ids}. Are numbers "
            "compared with `is`? Beyond 256 two equal numbers need not be one object.",
        )
        expect(
            got == want,
            f"For {ids} with pair {pair} and new_id {new_id} it gives {got} instead of {want}. Is "
            "a number from the worked value built in, or are some places never looked at?",
        )


# What is given (ids, pair, new_id), what is wanted, and what known mistakes make of it.
# fmt: off
_MERGE_PAIR_PAPER = (
    ([1, 1, 1], (1, 1), 9, [9, 1], {
        (9, 9): "In [1, 1, 1] the middle 1 takes part in two merges. Once an id is joined it is "
            "used up: where does the search go on after a merge?",
        (9, 9, 1): "In [1, 1, 1] the middle 1 takes part in two merges, and the second id of a "
            "pair still stands behind its new id. Once an id is joined it is used up: where does "
            "the search go on?",
        (9, 1, 1): "The new id was written, and the second id of the pair still stands behind it. "
            "Two ids become one.",
    }),
    ([5, 1, 2, 1, 2, 1], (1, 2), 9, [5, 9, 9, 1], {
        (5, 9, 9): "The last id got lost: it begins no pair, but it stays in the list.",
        (5, 9, 9, 1, 1): "The last id stands there twice. Is it added after the loop although the "
            "loop has added it already?",
        (5, 9, 1, 2, 1): "The second pair, right behind the first, was left alone. Does the search "
            "stop after one merge, or go on one place too late? (In a text with blanks around the "
            "ids, two neighbouring matches share a blank.)",
        (5, 1, 2, 9, 1): "Only the pair furthest to the right was joined. Wherever the pair stands "
            "it is to be joined.",
        (5, 9, 9, 9, 9, 9): "Single ids were exchanged: every 1 and every 2. Only a 1 with a 2 "
            "right behind it is the pair.",
        (5, 9, 2, 9, 2, 1): "The new id was written, and the second id of the pair still stands "
            "behind it. Two ids become one.",
        (5, 1, 9, 1, 9, 1): "The new id was written, and the first id of the pair still stands "
            "before it. Two ids become one.",
        (5, 9, 9, 9, 9, 1): "Both places of a pair hold the new id now. Two ids become one.",
        (9, 9): "Only the new ids came back. Ids that are no part of a pair stay where they were.",
        (5, 1): "Only what was not joined came back. Each pair leaves the new id behind.",
        (1, 9, 9, 5): "The ids are joined, and their order is reversed. Was something built from "
            "the end?",
        (5, 9, 9, 2, 1): "An id that was joined came back once more: the 2 of the last pair. Both "
            "ids of a pair are used up by their merge.",
        (5, 9, 2, 1, 9, 2, 1): "Joined ids came back once more: the next step added them again.",
        (5, 1, 2, 1, 2, 1): "Nothing was joined. Are a slice of a list and the tuple compared as "
            "they are (those are never equal), or only every second place looked at?",
    }),
    ([1, 2, 3, 1, 2], (1, 2), 9, [9, 3, 9], {
        (9, 3, 1, 2): "The first pair was joined, and the pair at the very end was not. Does the "
            "search stop after one merge, or before the last two ids?",
        (9, 3, 9, 2): "The last id came back once more, although the merge before had used it up.",
        (9, 1, 2): "The id behind a merge was skipped. After a merge the search goes on with the "
            "very next id.",
        (9, 9): "The id behind a merge got lost: ids that are no part of a pair stay.",
    }),
    ([1, 1, 1, 1, 1], (1, 1), 9, [9, 9, 1], {
        (9, 9): "Of five equal ids the last one got lost. It has no partner left, but it stays.",
        (9,): "A whole run of equal ids became one new id. A merge joins two ids, not more.",
        (9, 1): "A whole run of equal ids was joined into one. A merge joins two ids, and the "
            "search goes on behind them.",
        (9, 1, 1, 1): "Only the first two of five equal ids were joined. The search goes on there.",
        (9, 1, 9): "The id behind a merge was skipped. After a merge the search goes on with the "
            "very next id.",
        (1, 9, 9): "Of five equal ids the last four were joined. The search goes from left to "
            "right, so the first four come together.",
        (9, 9, 9, 9): "Some of five equal ids take part in two merges. Joined ids are used up.",
    }),
    ([2, 1, 2], (1, 2), 9, [2, 9], {
        (9, 2): "The 2 and the 1 were joined, in this order. The pair is a 1 first and then a 2.",
        (9, 9): "The 2 and the 1 were joined too. The pair (1, 2) is a 1 first and then a 2.",
        (9,): "All three were joined into one. The pair (1, 2) is a 1 with a 2 right behind it.",
    }),
    ([1, 3, 2], (1, 2), 9, [1, 3, 2], {
        (9, 3): "A 1 and a 2 with an id between them were joined. Only neighbours are a pair.",
        (1, 3): "The last id got lost: it ends no pair here, so it stays in the list.",
        (9, 2): "A 1 and a 3 were joined. Both ids have to agree with the pair.",
        (1, 9): "A 3 and a 2 were joined. Both ids have to agree with the pair.",
    }),
    ([1, 1, 3, 2, 1, 2], (1, 2), 9, [1, 1, 3, 2, 9], {
        (9, 3, 2, 9): "Two ids were joined of which only the first agrees with the pair.",
        (1, 1, 9, 9): "Two ids were joined of which only the second agrees with the pair.",
        (9, 3, 9): "An id is joined as soon as it occurs in the pair, in whichever place.",
    }),
    ([0, 3, 4, 0], (3, 4), 9, [0, 9, 0], {
        (9,): "The ids 0 disappeared. 0 is an id like any other, although Python's `if` takes it "
            "for False.",
    }),
    ([0, 0, 5], (0, 0), 9, [9, 5], {
        (0, 0, 5): "The pair (0, 0) was not joined. 0 is an id like any other, although Python's "
            "`if` takes it for False.",
        (5,): "The ids 0 disappeared. 0 is an id like any other, although Python's `if` takes it "
            "for False.",
    }),
    ([4, 1, 2], (1, 2), 0, [4, 0], {
        (4,): "The new id 0 disappeared. 0 is an id like any other, although Python's `if` takes "
            "it for False.",
        (4, 1, 2): "With new_id 0 nothing was joined. 0 is an id like any other, although Python's "
            "`if` takes it for False.",
    }),
)
# fmt: on


def _merge_pair_on_paper(answer) -> None:
    """All cases, before anything unnamed is complained about: a later one may know its name."""
    ids, pair, new_id, *_ = _MERGE_PAIR_PAPER[0]
    once, again = (list(_merge_pair_ask(answer, ids, pair, new_id)) for _ in range(2))
    expect(
        once == again,
        f"The same call, made twice, gives two results (for {ids} with pair {pair}). Does a list "
        "live on from call to call, as a default argument or outside the function?",
    )
    unnamed = None
    for ids, pair, new_id, want, mistakes in _MERGE_PAIR_PAPER:
        got = _merge_pair_ask(answer, ids, pair, new_id)
        if got == want:
            continue
        if tuple(got) in mistakes:
            raise CheckFailed(mistakes[tuple(got)])
        _merge_pair_has_known_ids(got, ids, new_id)
        unnamed = unnamed or (
            f"For {ids} with pair {pair} and new_id {new_id} it gives {got}; wanted is {want}."
        )
    expect(unnamed is None, unnamed)


def _merge_pair_has_known_ids(got: list, ids: list, new_id: int) -> None:
    strange = next((id for id in got if id not in (*ids, new_id)), None)
    expect(
        strange is None,
        f"An id came back that is neither in {ids} nor the new_id {new_id}: {strange}. The new id "
        "is given, so it needs no computing or inventing.",
    )


def _merge_pair_at_the_edges(answer) -> None:
    ids = [11, 2, 1, 23, 1, 2]
    got = _merge_pair_ask(answer, ids, (1, 2), 9)
    expect(
        got == [11, 2, 1, 23, 9],
        f"For {ids} with pair (1, 2) and new_id 9 it gives {got}. Are the ids written into a text? "
        "There the digits of 11 or 23 look like a 1 or a 2.",
    )
    got = _merge_pair_ask(answer, [300, 7, 300, 7], (300, 7), 301)
    expect(
        got == [301, 301],
        f"For [300, 7, 300, 7] with pair (300, 7) and new_id 301 it gives {got}; wanted is "
        "[301, 301]. Does it cope with ids beyond 255?",
    )
    for given in ([4, 5], []):
        got = _merge_pair_ask(answer, given, (1, 2), 9)
        expect(
            got == given,
            f"In {given} there is no pair (1, 2), so the same ids are wanted; it gives {got}.",
        )
    for pair in ((5, 0), (0, 4)):
        got = _merge_pair_ask(answer, [4, 5], pair, 9)
        expect(
            got == [4, 5],
            f"In [4, 5] there is no pair {pair}, and it gives {got}. Does a 0 stand in for what is "
            "not there, before the first id or behind the last? 0 is an id like any other.",
        )
    for given in ((3, 4), (4,), ()):  # a list is wanted here too
        got = _merge_pair_ask(answer, given, (1, 2), 9)
        expect(
            got == list(given),
            f"In {given} there is no pair (1, 2), so the same ids are wanted; it gives {got}.",
        )
    got = _merge_pair_ask(answer, [4], (4, 4), 9)
    expect(
        got == [4],
        f"A single id has no neighbour and stays; [4] with pair (4, 4) gives {got}.",
    )
    given = (5, 1, 2, 1, 2, 1)
    got = _merge_pair_ask(answer, given, (1, 2), 9)
    expect(
        got == [5, 9, 9, 1],
        f"The ids {given} came as a tuple this time, and it gives {got}. Is a piece of them "
        "compared with a list? A tuple and a list are never equal.",
    )


def _merge_pair_keeps_apart(answer) -> None:
    first = _merge_pair_ask(answer, [7, 1, 2], (1, 2), 9)
    second = _merge_pair_ask(answer, [5, 6], (1, 2), 9)
    expect(
        first is not second and first == [7, 9],
        "Every call returns the same list, so the first result changed with the second call. Make "
        "a new list inside the function, neither outside it nor as a default argument.",
    )


def _merge_pair_at_length(answer, draw) -> None:
    """Some hundred ids with dozens of places to join."""
    ids = (1 + torch.randint(2, (300,), generator=draw)).tolist()
    got, want = (
        _merge_pair_ask(answer, ids, (1, 2), 9),
        _merge_pair_in_a_text(ids, (1, 2), 9),
    )
    expect(
        got == want,
        f"Short lists come out right, and one of 300 ids does not: the pair stands there "
        f"{want.count(9)} times, and the new id came back {got.count(9)} times among {len(got)} "
        "ids. Is the number of rounds, merges or places limited?",
    )


def _merge_pair_ask(
    answer: Callable, ids: list | tuple, pair: tuple[int, int], new_id: int
) -> list:
    """The answer's new list, once it is a list, a new one, and of whole numbers."""
    shown = ids if len(ids) < 40 else f"{len(ids)} ids"
    given = f"For {shown} with pair {pair}"
    ids = ids[:]  # what an answer does to its input stays here
    try:
        got = ask(_merge_pair_watched(answer, given), ids, pair, new_id)
    except IndexError as error:
        why = (
            "An empty list has no id at all, not even a first or a last one."
            if not ids
            else "The last id has no neighbour behind it, and a list that gets shorter ends "
            "earlier than its old length says."
        )
        raise CheckFailed(
            f"{given} it looks at a place that is not there ({error}). {why}"
        ) from error
    except RecursionError as error:
        raise CheckFailed(
            f"{given} it calls itself again and again without an end. When is nothing left to do?"
        ) from error
    except AssertionError as error:
        if isinstance(error, CheckFailed):
            raise
        raise CheckFailed(
            f"{given} an assert inside it fails ({first_line(error)}). That input is allowed: any "
            "list or tuple of ids, an empty one too."
        ) from error
    except ValueError as error:
        if "range(0, 256)" in str(error):
            raise CheckFailed(
                f"{given} it stops: {error}. Ids are no bytes; merges lead beyond 255."
            ) from error
        if "not in" in str(error):
            raise CheckFailed(
                f"{given} it stops: {error}. A search with index() or remove() ends in an error "
                "when nothing is found, and a pair may be missing or be the last one."
            ) from error
        raise
    expect(
        isinstance(got, list),
        f"{given} it returned something of type {type(got).__name__}; a list of ids is wanted, "
        "whether a list or a tuple came in.",
    )
    expect(
        got is not ids,
        f"{given} it returned the very list that came in. Whoever changes the result would change "
        "the input with it: a new list is wanted.",
    )
    odd = [id for id in got if not isinstance(id, Integral)]
    if odd:
        raise CheckFailed(
            f"{given} the list holds {odd[0]!r}, of type {type(odd[0]).__name__}. It should hold "
            "plain whole numbers, one id beside the other."
        )
    return got


def _merge_pair_watched(answer: Callable, given: str, most: int = 20_000) -> Callable:
    """The answer, stopped in a loop that does not end: a while loop easily stands still."""
    code, lines = getattr(inspect.unwrap(answer), "__code__", None), 0

    def count(frame, event, _):
        nonlocal lines
        lines += event == "line"
        if lines > most:
            raise CheckFailed(
                f"{given} a loop does not come to its end. Does the place move on in every branch, "
                "and does nothing grow while it is gone through?"
            )
        return count

    def watch(frame, event, _):  # other people's code is not counted
        return count if code and frame.f_code.co_filename == code.co_filename else None

    def watched(*arguments):
        before = sys.gettrace()
        try:
            sys.settrace(watch)
            return answer(*arguments)
        finally:
            sys.settrace(before)

    return watched


def _merge_pair_in_a_text(ids, pair: tuple[int, int], new_id: int) -> list[int]:
    """One character for each id: then Python's replace does the same, from left to right."""
    text = "".join(map(chr, ids)).replace("".join(map(chr, pair)), chr(new_id))
    return [ord(letter) for letter in text]


# --- rotate ---------------------------------------------------------------------------------------


@check(
    attention.rotate,
    proved="It turns the pairs on paper, agrees with multiplying complex numbers of length one for "
    "every number of dimensions, and lets gradients through.",
)
def rotate(answer, draw):
    _rotate_on_paper(answer)
    # fmt: off
    forms = (  # shape of x, shape of the angles: as for one text, for a batch, and with padding
        ((2, 3, 5, 8), (5, 4), "cos and sin of shape (T, K) serve all texts and all heads"),
        ((2, 3, 5, 8), (1, 5, 4), "cos and sin of shape (1, T, K) serve all texts and all heads"),
        ((4, 3, 2, 6), (4, 1, 2, 3), "cos and sin of shape (B, 1, T, K) give each text its own"),
        ((3, 4, 10), (4, 5), "x has three dimensions and cos and sin two"),
        ((3, 4, 10), (3, 4, 5), "x, cos and sin have the same three dimensions"),
        ((2, 3, 4, 6), (2, 3, 4, 3), "cos and sin of shape (B, H, T, K) give each head its own"),
        ((2, 4, 3, 5, 6), (5, 3), "x has five dimensions and cos and sin two"),
        ((1, 4, 1, 2), (1, 1), "there is one token and one pair"),
        ((1, 1, 1, 2), (1, 1), "there is a single text, head, token and pair"),
    )
    # fmt: on
    for shape, places, what in forms:
        x, angles = _rotate_drawn(shape, places, draw)
        cos, sin = _rotate_waves(angles)
        got = _rotate_ask(answer, x, cos, sin, what)
        _rotate_compare(
            got,
            x,
            angles,
            f"Where {what}, it differs from multiplying complex numbers.",
        )
        expect(
            got.dtype == x.dtype,
            f"x of {x.dtype} comes back as {got.dtype}. It should keep its precision.",
        )
    quarter = torch.tensor([[0.0, 0.0]]), torch.tensor([[-1.0, 1.0]])
    got = _rotate_ask(answer, torch.tensor([[1.0, 0.0]]), *quarter, "K is 2")
    expect(
        close(got, torch.tensor([[0.0, 1.0]])),
        f"(1, 0) turned by a quarter should become (0, 1), and becomes {got[0].tolist()}. The "
        "cosine is 0 there, so nothing may be divided by it.",
    )
    x, angles = _rotate_drawn((2, 3, 5, 8), (5, 4), draw)
    weights = torch.randn(x.shape, generator=draw)
    cos, sin = _rotate_waves(angles)
    gradient = ask_gradient(lambda leaf: answer(leaf, cos, sin), x, weights)
    expect(
        close(gradient, _rotate_complex(weights, -angles)),
        "The values are right, but the gradient is not: was a part of x detached or rounded?",
    )
    x, angles = (
        torch.rand(y.shape, generator=draw, dtype=torch.float64) for y in (x, angles)
    )
    got = _rotate_ask(
        answer, x, *_rotate_waves(angles), "everything is in double precision"
    )
    expect(
        got.dtype == torch.float64,
        f"x of torch.float64 comes back as {got.dtype}. It should keep its precision.",
    )
    expect(
        close(got, _rotate_complex(x, angles), rtol=1e-12, atol=1e-12),
        "In double precision the later digits are off. Is something rounded to float32, or a small "
        "constant added?",
    )


def _rotate_on_paper(answer) -> None:
    """One row is not turned; in the others 3-4-5 and 5-12-13 triangles give whole numbers."""
    x = torch.tensor([[7.0, 1, 2, 3], [5, 13, 10, 26], [10, 26, 15, 13]])
    angles = torch.tensor(
        [
            [0.0, 0.0],
            [math.atan2(4, 3), math.atan2(12, 5)],
            [math.atan2(3, 4), math.atan2(5, 12)],
        ]
    )
    want = torch.tensor([[7.0, 1, 2, 3], [-5, -19, 10, 22], [-1, 19, 18, 22]])
    got = _rotate_ask(
        answer, x, *_rotate_waves(angles), "x has the two dimensions (T, K)"
    )
    row = [round(number, 2) for number in got[1].tolist()]
    _rotate_compare(
        got,
        x,
        angles,
        "On paper the pair (5, 10), turned by the angle with cosine 0.6 and sine 0.8, becomes (-5, "
        "10), and (13, 26) becomes (-19, 22), so 5, 13, 10, 26 becomes -5, -19, 10, 22; yours is "
        f"{row}.",
        want,
    )


def _rotate_ask(
    answer: Callable, x: Tensor, cos: Tensor, sin: Tensor, what: str
) -> Tensor:
    """The answer's tensor, of the shape of x; where shapes clash, the likely reason."""
    shape, half = tuple(x.shape), x.shape[-1] // 2
    sizes = f"x has shape {shape}, cos and sin have {tuple(cos.shape)}"

    def seen(*arguments):
        got = answer(*arguments)
        if isinstance(got, Tensor) and got.dim() > x.dim():
            expect(
                got.shape[-1] != shape[-1],
                f"It returned shape {tuple(got.shape)}; {sizes}. Was a dimension added to cos and "
                "sin? Shapes line up on the right, and there these fit as they come.",
            )
            raise CheckFailed(
                f"It returned shape {tuple(got.shape)}; for this input {shape} is wanted. The "
                "parts were stacked along a new dimension; both halves belong in the last one."
            )
        return got

    # fmt: off
    elsewhere = {
        (*shape[:d], 2 * shape[d], *shape[d + 1:-1], half):
            "The halves were joined along another dimension than the last. torch.cat needs dim=-1."
        for d in range(len(shape) - 1)
    }
    shapes = elsewhere | {
        (*shape[:-1], shape[-2]):
            "That is what a product of matrices (@) gives; here numbers are multiplied one by one "
            "(*).",
        (*shape[:-1], half):
            "Only one half of the numbers came back, or both were added up. The last dimension "
            "holds both halves side by side.",
        (2 * shape[0], *shape[1:-1], half):
            "The halves were joined along the first dimension; they belong side by side in the "
            "last one.",
        tuple(size for size in shape if size > 1):
            "squeeze() removes every dimension of size 1.",
    }
    # fmt: on
    shapes.pop(shape, None)
    try:
        return ask_tensor(seen, x, cos, sin, shape=shape, shapes=shapes)
    except (RuntimeError, IndexError, ValueError) as error:
        if likely := _rotate_joined_elsewhere(answer, x, cos, sin) or _rotate_clash(
            first_line(error), x, what
        ):
            raise CheckFailed(
                f"{likely} (x: {shape}, cos and sin: {tuple(cos.shape)}.)"
            ) from error
        raise


class _Joins(TorchFunctionMode):
    """Notes the shapes that torch.cat makes."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        if function.__name__ in ("cat", "concat", "concatenate"):
            self.shapes.append(tuple(result.shape))
        return result


def _rotate_joined_elsewhere(answer, x: Tensor, cos: Tensor, sin: Tensor) -> str | None:
    """Shapes clashed: did halves of x become longer instead of wide again?"""
    with _Joins() as joins, contextlib.suppress(Exception):
        answer(x, cos, sin)
    half = x.shape[-1] // 2
    taller = [
        shape
        for shape in joins.shapes
        if shape[-1] == half and math.prod(shape) == x.numel() and len(shape) == x.dim()
    ]
    if not taller:
        return None
    return (
        f"The halves were joined along another dimension than the last, into shape {taller[0]}. "
        "torch.cat needs dim=-1."
    )


def _rotate_clash(said: str, x: Tensor, what: str) -> str | None:
    """What shapes that do not fit probably mean; None if the error is about something else."""
    K, half = x.shape[-1], x.shape[-1] // 2
    if "must match except" in said:
        return (
            "The pieces that are joined differ in size. Were the halves made of the last dimension "
            "(-1), and joined along it?"
        )
    if "must match" in said or "expanded size" in said:
        if {str(half), str(K)} <= set(re.findall(r"\d+", said)):
            return (
                f"A half of x is {half} numbers wide while cos and sin are {K} wide, since they "
                "hold every cosine and sine twice. Only what is equally wide can be multiplied."
            )
        if str(math.prod(x.shape[:-1])) in re.findall(r"\d+", said) and x.dim() > 2:
            return (
                f"x was flattened to rows (reshape or flatten), and where {what} its tokens no "
                "longer line up with cos and sin."
            )
        return (
            f"Sizes do not fit in a product where {what}. Shapes line up on the right, and there "
            "cos and sin fit as they come: was a dimension added to them or cut, or are the tokens "
            "counted in the first one?"
        )
    dimensions = (
        "to unpack",
        "too many indices",
        "Dimension out of range",
        "einsum",
        "permute",
    )
    if any(word in said for word in dimensions):
        return (
            f"It counts on another number of dimensions, and {what}. Any number of them may stand "
            "before the last one, so count from the end (-1)."
        )
    return None


def _rotate_compare(
    got: Tensor, x: Tensor, angles: Tensor, otherwise: str, want: Tensor | None = None
) -> None:
    """Compare with paper or complex numbers; mistakes are worked out only where they are needed."""
    want = _rotate_complex(x, angles) if want is None else want
    if not close(got, want):
        if got.numel() > 12 and close(got, want, rtol=2e-2, atol=5e-2):
            otherwise = (
                "The first digits are right and the later ones are not. Is something rounded on "
                "the way (round, half precision)?"
            )
        diagnose(got, want, _rotate_mistakes(x, angles), otherwise)


def _rotate_complex(x: Tensor, angles: Tensor) -> Tensor:
    """Each pair as one complex number, times the number of length 1 at its angle."""
    real, imaginary = x.chunk(2, dim=-1)
    turned = torch.complex(real, imaginary) * torch.polar(
        torch.ones_like(angles), angles
    )
    return torch.cat([turned.real, turned.imag], dim=-1)


def _rotate_waves(angles: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin in the form in which `rotary` gives them."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def _rotate_drawn(shape, places, draw) -> tuple[Tensor, Tensor]:
    """Random x, not in one piece in memory (as split heads give it), and angles of all signs."""
    if len(shape) == 4:
        x = torch.randn(
            shape[0], shape[2], shape[1], shape[3], generator=draw
        ).transpose(1, 2)
    else:
        x = torch.randn(*shape[:-2], shape[-1], shape[-2], generator=draw).mT
    return x, 6.25 * torch.rand(places, generator=draw)


def _rotate_mistakes(x: Tensor, angles: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """What known mistakes make of x."""
    angles = angles.expand(*x.shape[:-1], -1)
    cos, sin = _rotate_waves(angles)
    half, c, s = x.shape[-1] // 2, angles.cos(), angles.sin()
    (a, b), (even, odd) = x.chunk(2, dim=-1), (x[..., ::2], x[..., 1::2])
    partner = x.roll(half, dims=-1)
    first, second = a * c - b * s, b * c + a * s
    neighbour = torch.stack([odd, even], dim=-1).flatten(-2)
    signed = torch.stack([-odd, even], dim=-1).flatten(-2)
    twice = s.repeat_interleave(2, dim=-1), c.repeat_interleave(2, dim=-1)
    # as somebody may cut them out for neighbours
    cosines = (c, cos[..., ::2], cos[..., 1::2])
    sines = (s, sin[..., ::2], sin[..., 1::2])
    others = [(c, s) for c in cosines for s in sines]
    side_by_side = [(even * c - odd * s, odd * c + even * s) for c, s in others]

    rates = 1e4 ** -(torch.arange(half, dtype=x.dtype) / half)
    places = torch.arange(x.shape[-2], dtype=x.dtype).unsqueeze(-1) * rates

    def both(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=-1)

    def mixed(first: Tensor, second: Tensor) -> Tensor:
        return torch.stack([first, second], dim=-1).flatten(-2)

    def by(other: Tensor) -> Tensor:
        return x * cos + other * sin

    def with_angles(other: Tensor) -> Tensor:
        return _rotate_complex(x, other.expand_as(angles))

    # fmt: off
    return {
        "Neighbours are paired: number i with number i + 1. That is how the original paper does "
        "it; here the partner of number i stands half the width further on.":
            (by(neighbour), by(signed), *(by(both(sign * odd, even)) for sign in (1, -1)),
             x * cos + both(-odd, even) * both(s, s), x * cos + signed * both(s, s),
             x * twice[1] + signed * twice[0],
             *(mixed(*pair) for pair in side_by_side), *(both(*pair) for pair in side_by_side)),
        "The pairs are turned correctly, but their numbers come back one beside the other "
        "(interleaved). Each belongs in the place where it came from: first numbers in one half, "
        "second ones in the other.":
            (mixed(first, second), by(mixed(b, a)), by(mixed(-b, a))),
        "The partner is the number one place further on. It stands half the width further on.":
            (by(x.roll(1, dims=-1)), by(x.roll(-1, dims=-1))),
        "The partner stands two places further on, as where K is 4. It stands half the width "
        "further on, and the width is not always the same.":
            (by(x.roll(2, dims=-1)), by(x.roll(-2, dims=-1))),
        "The order of the numbers was reversed (flip), so the first is paired with the last. The "
        "partner stands half the width further on.":
            (by(x.flip(-1)), x * cos + x.flip(-1) * both(s, s)),
        "Each number meets itself, not its partner. Was x multiplied by both cos and sin as it is, "
        "or rolled by its whole width? Is the step half the width of this x?":
            (by(x), x * cos + x * sin.roll(half, dims=-1), x * cos - x * sin),
        "Each number was shifted through the whole tensor, over the ends of its row. Tell roll "
        "which dimension: the last (-1).":
            (by(x.roll(half)), by(x.roll(-half))),
        "Partners were sought among the tokens (or heads, or texts), not among the numbers of one "
        "head. Halves are made of the last dimension (-1).":
            tuple(by(x.roll(step, dims=d)) for d in range(x.dim() - 1)
                  for step in (half, -half, 1, -1, x.shape[d] // 2)),
        "Every pair is turned the wrong way round, by minus its angle. `sin` has its signs "
        "already: which number of a pair does its minus sign belong to?":
            (both(a * c + b * s, b * c - a * s),),
        "A sign is wrong in one half, so lengths change. `sin` brings its minus sign along (in its "
        "first half); is there a second one, or was it lost?":
            (both(a * c + b * s, second), both(first, b * c - a * s), both(b * s - a * c, second)),
        "One half was worked out from the other one when that was already turned. Both need the "
        "numbers as they were before.":
            (both(first, b * c + first * s), both(a * c - second * s, second),
             both(first, b * c - first * s), both(a * c + b * s, b * c + (a * c + b * s) * s)),
        "cos and sin have changed places.":
            (x * sin + partner * cos, both(a * s - b * c, b * s + a * c),
             both(a * s + b * c, b * s - a * c)),
        "x came back as it was. Is the turned one returned, or the first token's angle used "
        "for all?":
            (x,),
        "Only the part with the cosine is there; the partner's part is missing.":
            (x * cos,),
        "Only the partner's part is there; the number's own part, with the cosine, is missing.":
            (partner * sin, signed * sin),
        "The two halves changed places in the result.":
            (both(second, first),),
        "Only one half was turned; the other came back as it was.":
            (both(first, b), both(a, second)),
        "The two parts were multiplied; they are to be added.":
            (x * cos * partner * sin,),
        "The sines lost their sign. Beyond half a turn a sine is negative: use `sin` as it comes.":
            (with_angles(torch.atan2(s.abs(), c)), both(a * c + b * s.abs(), b * c + a * s.abs()),
             both(a * c - b * s.abs(), b * c + a * s.abs())),
        "Each pair was turned twice.":
            (with_angles(2 * angles),),
        "Every token is turned by the angles of one token (the first or the last). Each has its "
        "own row in cos and sin.":
            (with_angles(angles[..., :1, :]), with_angles(angles[..., -1:, :])),
        "All pairs are turned by the angle of one pair. Each pair has its own.":
            (with_angles(angles[..., :1]), with_angles(angles[..., -1:])),
        "The tokens got each other's angles: cos and sin run in the reverse order.":
            (with_angles(angles.flip(-2)),),
        "All texts are turned by the angles of the first text. In this form each text has its own.":
            (with_angles(angles[:1]),) if x.dim() > 2 else (),
        "All heads are turned by the angles of the first head. In this form each has its own.":
            (with_angles(angles[:, :1]),) if x.dim() == 4 else (),
        "The angles were worked out anew from the places 0, 1, 2. `cos` and `sin` say how far each "
        "token is turned; it may stand elsewhere.":
            (with_angles(places), with_angles(1 + places)),
        "Lengths changed: a factor came in (a scale, a norm, a mean). Turning keeps every length.":
            (both(first, second) / 2, both(first, second) / math.sqrt(2), 2 * both(first, second),
             torch.nn.functional.normalize(both(first, second), dim=-1),
             both(first, second) / math.sqrt(x.shape[-1])),
    }
    # fmt: on
