"""Check of lesson 11: a block of a file, bit for bit.

What should stand in the bytes is worked out number by number. Where the last bit of a
float32 decides, rows are searched that tell the orders of working apart. Rows are
NumPy's. The answers that prove it are in `tests/answers/`.
"""

import traceback
from collections.abc import Callable

import numpy as np
import torch

from course_lib.checks.asking import expect
from course_lib.checks.exercises import CheckFailed
from course_lib.checks.harness import check
from course_lib.pretrained.gguf_blocks import Q4_0
from course_lib.quantization import blocks

F32 = np.float32


@check(
    blocks.encode_q4_0,
    proved="Paper numbers, either sign, zeros, half steps, the largest on the far side, and the last "
    "bit of float32, tiny and large numbers: byte for byte.",
)
def encode_q4_0(answer, draw):
    _compare(
        answer, _quarters(draw)
    )  # first: on one plain row many mistakes look alike
    _compare(answer, _worked())
    zeros = np.zeros((1, 32), dtype=F32)
    _compare(answer, np.concatenate([_quarters(draw, 2), zeros]), "Rows of zeros: ")
    _compare(answer, zeros, "One row of zeros: ")
    _compare(answer, _bell(draw))
    _compare(answer, _borders(draw))
    _compare(answer, _decided_by_a_bit(draw))
    _tiny_and_large(answer, draw)


# --- rows -------------------------------------------------------------------------------


def _worked() -> np.ndarray:
    rows = np.zeros((1, 32), dtype=F32)
    rows[0, [0, 1, 16]] = 4.0, -1.0, 3.5
    return rows


def _quarters(draw: torch.Generator, N: int = 6) -> np.ndarray:
    """Quarters of steps, so that many lie half way; steps are powers of two, of either sign."""
    numbers = torch.randint(-31, 32, (N, 32), generator=draw).numpy() / F32(4)
    numbers[np.arange(N), torch.randint(32, (N,), generator=draw).numpy()] = -8
    steps = F32(2) ** torch.randint(-6, 3, (N,), generator=draw).numpy().astype(F32)
    steps[1::2] *= -1
    return numbers * steps[:, None]


def _bell(draw: torch.Generator) -> np.ndarray:
    """As weights are: rows of different sizes; every second row of a matrix."""
    rows = torch.randn(14, 32, generator=draw).numpy()
    rows *= F32(10) ** np.linspace(-3, 2, 14, dtype=F32)[:, None]
    return rows[::2]


def _borders(draw: torch.Generator) -> np.ndarray:
    """The largest size on one side, nearly as large ones on the other; columns of a matrix."""
    rows = torch.rand(4, 32, generator=draw).numpy() - F32(0.5)
    rows[:, 9], rows[:, 20], rows[:, 21] = 3.0, -2.9, -2.82
    rows[1::2] *= -1
    return np.asfortranarray(rows)


def _decided_by_a_bit(draw: torch.Generator) -> np.ndarray:
    """Rows in which numbers half way land elsewhere if the work is done otherwise."""
    largest = (1 + torch.rand(96, generator=draw)).numpy() * F32(0.7)
    largest[1::2] *= -1
    middles = np.arange(-7.5, 7.5, dtype=F32) * (largest / F32(-8))[:, None]  # (96, 15)
    above = np.nextafter(middles, F32(np.inf), dtype=F32)
    below = np.nextafter(middles[:, :1], F32(-np.inf), dtype=F32)
    rows = np.concatenate([above, largest[:, None], middles, below], axis=1)
    right, found = _made(rows)["codes"], [0, 1]
    for way in (
        {"divide": True},
        {"wide": True},
        {"half_later": True},
        {"whole": _in_double},
    ):
        other = _made(rows, **way)["codes"]
        found += (other != right).any(axis=1).nonzero()[0][:3].tolist()
    return rows[sorted(set(found))]


# --- what should come, and what comes of mistakes ------------------------------------------


def _slowly(rows: np.ndarray) -> np.ndarray:
    """Number by number."""
    found = np.zeros(len(rows), dtype=Q4_0)
    for block, row in zip(found, rows, strict=True):
        largest = max(row, key=abs)
        step = largest / F32(-8)
        times = F32(1) / step if step else F32(0)
        codes = [min(int(x * times + F32(8.5)), 15) for x in row]
        block["scale"] = step
        block["codes"] = [codes[i] + 16 * codes[i + 16] for i in range(16)]
    return found


def _made(
    rows: np.ndarray,
    step: Callable = lambda low, high, far: far / F32(-8),
    whole: Callable = lambda steps: np.trunc(steps + F32(8.5)),
    pack: Callable = lambda low, high: low + 16 * high,
    halved: bool = False,
    divide: bool = False,
    wide: bool = False,
    half_later: bool = False,
    over: bool = False,
    highest: int = 15,
    stored: float = 1.0,
) -> np.ndarray:
    """All rows at once, with something done otherwise."""
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    far = np.where(high >= -low, high, low)
    scale = step(low, high, far)
    used = scale.astype(np.float16).astype(F32) if halved else scale
    rows, used = (rows.astype(float), used.astype(float)) if wide else (rows, used)
    with np.errstate(all="ignore"):
        steps = rows / used if divide else rows * (used.dtype.type(1) / used)
        steps = np.where(np.isfinite(steps), steps, 0)
    if half_later:
        codes = np.floor(steps + F32(0.5)) + 8
    else:
        codes = whole(steps)
    codes = codes.clip(0, highest) if not over else codes
    codes = codes.astype(np.int64).astype(np.uint8)
    found = np.zeros(len(rows), dtype=Q4_0)
    found["scale"] = scale[:, 0] * F32(stored)
    found["codes"] = pack(codes[:, :16], codes[:, 16:])
    return found


def _neighbours(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    codes = np.concatenate([low, high], axis=1)
    return codes[:, ::2] | codes[:, 1::2] << 4


def _neighbours_turned(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    codes = np.concatenate([low, high], axis=1)
    return codes[:, 1::2] | codes[:, ::2] << 4


def _in_double(steps: np.ndarray) -> np.ndarray:
    return np.trunc(steps.astype(float) + 8.5)


def _mistakes(rows: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    def made(**ways) -> np.ndarray:
        return _made(rows, **ways)

    def steps(find: Callable, **ways) -> np.ndarray:
        return _made(rows, step=find, **ways)

    def rounded(find: Callable, **ways) -> np.ndarray:
        return _made(rows, whole=find, **ways)

    def size(low, high, far):
        return np.abs(far)

    away = blocks.round_away
    # fmt: off
    return {
        "The scale lost the sign of the largest number: it carries the sign.":
            (steps(lambda *a: size(*a) / F32(-8)), steps(lambda *a: size(*a) / F32(8)), steps(lambda *a: size(*a) / F32(7)),
             steps(lambda *a: size(*a) / F32(7.5)), steps(lambda *a: size(*a) / F32(7), whole=lambda s: np.rint(s) + 8)),
        "The largest number itself decides, and not the one of the largest size: a negative one may be larger.":
            (steps(lambda low, high, far: high / F32(-8)), steps(lambda low, high, far: low / F32(-8))),
        "The scale has the wrong sign: the number of the largest size gets the code 0, below all others.":
            (steps(lambda low, high, far: far / F32(8)),),
        "The side of the largest number has eight codes: through −8, not 7 or 15.":
            (steps(lambda low, high, far: far / F32(-7)), steps(lambda low, high, far: far / F32(7)), steps(lambda low, high, far: far / F32(-15)),
             steps(lambda low, high, far: far / F32(-7.5)), steps(lambda low, high, far: far / F32(-16))),
        "One scale was found for all rows; each row is a block with its own.":
            (steps(lambda low, high, far: np.full_like(far, far[np.abs(far).argmax()][0] / -8)),
             steps(lambda low, high, far: np.full_like(far, far[0, 0] / -8))),
        "The codes are right, and the scale was multiplied or divided by 2: `fill` only writes it in half precision, which takes no half of it.":
            (made(stored=0.5), made(stored=2.0)),
        "The scale is that of Q4_1, from the smallest to the largest number. Q4_0 has no offset.":
            (steps(lambda low, high, far: (high - low) / F32(15)),),
        "Two codes of a byte are 16 apart: code i and code i + 16. Here neighbours share one.": (made(pack=_neighbours),),
        "The two halves of each byte have changed places: code i is the low one.": (made(pack=lambda low, high: high + 16 * low),),
        "The codes are all there, but not in their places in the bytes.":
            (made(pack=lambda low, high: (low + 16 * high)[:, ::-1]), made(pack=lambda low, high: low + 16 * high[:, ::-1]), made(pack=_neighbours_turned)),
        "Only half of the codes are in the bytes.": (made(pack=lambda low, high: low), made(pack=lambda low, high: high)),
        "Numbers half way go to even ones: `round` and `rint` do that. Add 8.5 and cut off.":
            (rounded(lambda s: np.rint(s) + 8), rounded(lambda s: np.rint(s + F32(8))), rounded(lambda s: np.rint(s) + 8, divide=True)),
        "It rounds twice: adding ½ and cutting off is the rounding already.": (rounded(lambda s: np.rint(s + F32(8.5))),),
        "Numbers half way go away from zero; here they go up: add 8.5 and cut off.": (rounded(lambda s: away(s) + 8),),
        "Cut off without ½, every number goes down: add 8.5, not 8.": (rounded(lambda s: np.trunc(s + F32(8))), rounded(lambda s: np.floor(s) + 8)),
        "Cut off before 8 is added, every number goes towards zero.": (rounded(lambda s: np.trunc(s) + 8), rounded(lambda s: np.trunc(s + F32(0.5)) + 8)),
        "Codes go up, to the next whole number; they go to the nearest.": (rounded(lambda s: np.ceil(s) + 8), rounded(lambda s: np.ceil(s + F32(8.5)))),
        "8 and ½ are missing: codes count from 0, and 8 stands for nothing.": (rounded(lambda s: np.trunc(s + F32(0.5))), rounded(np.rint), rounded(np.trunc)),
        "Codes have a sign there; in Q4_0 they count from 0, and 8 stands for nothing.":
            (rounded(lambda s: np.rint(s).clip(-8, 7), over=True, pack=lambda low, high: (low & 15) + 16 * (high & 15)),),
        "7 and ½ were added: around 8, not 7.5.": (rounded(lambda s: np.trunc(s + F32(7.5))), rounded(lambda s: np.trunc(s + F32(7)))),
        "A code is 16, and four bits end at 15: clip.":
            (made(over=True), made(over=True, pack=lambda low, high: low | high << 4), made(over=True, pack=lambda low, high: (low & 15) | high << 4)),
        "Clipped too early: 15 is the highest code.": (made(highest=14),),
        "The codes were found with the scale in half precision. It is halved only in the file; codes are found in float32.": (made(halved=True), made(halved=True, divide=True)),
        "Half way, the last bit decides, and a quotient has another one: multiply by the inverse.": (made(divide=True), made(divide=True, half_later=True)),
        "Half way, the last bit decides, and float64 has another one: stay in float32 (a plain NumPy number may be wider).": (made(wide=True), made(wide=True, divide=True), rounded(_in_double)),
        "Half way, the last bit decides: add 8.5 in one go, not ½ first.": (made(half_later=True),),
    }
    # fmt: on


# --- asking -----------------------------------------------------------------------------


def _compare(answer: Callable, rows: np.ndarray, where: str = "") -> None:
    got, want = _blocks(answer, rows), _slowly(rows)
    if _same(got, want):
        return
    for mistake, results in _mistakes(rows).items():
        if any(_same(got, one) and not _same(one, want) for one in results):
            raise CheckFailed(where + mistake)
    off = ~(got["scale"] == want["scale"])  # nan is off
    if off.any():
        i = int(off.argmax())
        far = max(rows[i], key=abs)
        wide = np.isclose(got["scale"][i], want["scale"][i], rtol=1e-2)
        raise CheckFailed(
            f"{where}A row whose number of the largest size is {far:.6g} has the scale {want['scale'][i] + 0:.6g}; yours has "
            f"{got['scale'][i] + 0:.6g}.{' Was it rounded on the way?' if wide else ''}"
        )
    i, b = np.argwhere(got["codes"] != want["codes"])[0].tolist()
    j = b if (got["codes"][i, b] ^ want["codes"][i, b]) & 15 else b + 16
    has, should = (int(x["codes"][i, b] >> 4 if j > b else x["codes"][i, b] & 15) for x in (got, want))  # fmt: skip
    raise CheckFailed(
        f"{where}In a row with the scale {want['scale'][i] + 0:.6g} number {j} is {rows[i, j]:.6g} and has the code {should}; in byte "
        f"{b}, {'high' if j > b else 'low'} half, yours has {has}."
    )


def _tiny_and_large(answer: Callable, draw: torch.Generator) -> None:
    """Scales that are 0 in half precision, and nearly the largest that it has."""
    sizes = F32([1e-12, 1e-9, 1e-7, 4e4])[:, None]
    rows = np.clip(torch.randn(4, 32, generator=draw).numpy(), -4, 4) * sizes
    got, want = _blocks(answer, rows), _slowly(rows)
    if _same(got, want):
        return
    i = int((got != want).argmax())
    say = "tiny" if i < 3 else "large"
    raise CheckFailed(
        f"A row of {say} numbers, the largest size being {np.abs(rows[i]).max():.3g}, has other codes or another scale. Numbers and "
        "scale stay in float32 until `fill` writes them, nothing is added, and only a block of zeros has no inverse."
    )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """A scale of 0 may have either sign."""
    return all((one[name] == other[name]).all() for name in ("scale", "codes"))


def _blocks(answer: Callable, rows: np.ndarray) -> np.ndarray:
    before = rows.copy()
    got = _answered(answer, rows)
    expect(
        got is not None,
        "It returned None. Is there a `return` line, and does every path reach one?",
    )
    expect(
        np.array_equal(before, rows),
        "It changed its own input. The rows are still needed: work on new arrays.",
    )
    expect(
        isinstance(got, np.ndarray),
        f"It returned a {type(got).__name__}; the blocks of `fill(Q4_0, …)` are wanted, a NumPy array.",
    )
    expect(
        got.dtype == Q4_0,
        f"It returned an array of {_layout(got.dtype)}; blocks of the layout Q4_0 are wanted: `fill(Q4_0, scale=…, codes=…)`.",
    )
    expect(
        got.shape == (len(rows),),
        f"For rows {rows.shape} it returned blocks of the shape {got.shape}; one block a row is wanted, ({len(rows)},).",
    )
    return got


def _answered(answer: Callable, rows: np.ndarray) -> object:
    try:
        return answer(rows)
    except IndexError as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        expect(
            last.name != blocks.fill.__name__,
            "`fill` stops: it takes the scale as a column, (N, 1), as `largest_signed` gives it, and the codes as (N, 16).",
        )
        raise


def _layout(dtype: np.dtype) -> str:
    return f"the fields {', '.join(dtype.names)}" if dtype.names else str(dtype)
