"""Checks of lesson 06: where the last real token of each row stands.

Masks have their padding on the left, on the right, on both sides and inside, in one
batch; the places are found by a loop. The answers that prove the check are in
`tests/answers/`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, expect
from course_lib.checks.exercises import CheckFailed, first_line
from course_lib.checks.harness import check
from course_lib.ppo.advantages import last_token
from course_lib.reward import model


@check(
    model.last_index,
    also=(last_token,),
    proved="Every row's last real token is found, with padding on either side, on both, and in "
    "the middle; and a row of nothing but padding is refused.",
)
def last_index(answer, draw):
    _last_compare(  # a mistake is named that explains both
        answer,
        _mask("0011100", "1110000", "1011000"),
        _mask("11100000", "00011111", "11111111", "00110100", "01000000", "11010000"),
    )
    for B, T in ((4, 7), (5, 5), (7, 3), (1, 6), (3, 4)):
        for kind in ("right", "left", "both", "holes"):
            _last_compare(answer, _drawn_mask(draw, B, T, kind))
    _last_compare(answer, _mask("1", "1"))
    _last_compare(answer, _drawn_mask(draw, 2, 300, "holes"))  # 300 > 255
    _last_compare(answer, _drawn_mask(draw, 2, 300, "both"))
    _last_compare(
        answer, torch.arange(2060).expand(2, -1) < torch.tensor([[2049], [259]])
    )
    _last_compare(answer, _drawn_mask(draw, 6, 5, "both").T.contiguous().T)
    _last_compare(answer, _mask("01100").expand(3, 5))
    _last_refuses(answer, _mask("1100", "0000", "0111"))
    _last_refuses(answer, _mask("000"))


def _mask(*rows: str) -> Tensor:
    return torch.tensor([[sign == "1" for sign in row] for row in rows])


def _drawn_mask(draw: torch.Generator, B: int, T: int, kind: str) -> Tensor:
    """Rows with a real token at least, padded on one side or both, or anywhere."""
    rows = torch.zeros(B, T, dtype=torch.bool)
    for row in rows:
        if kind == "holes":
            row[torch.rand(T, generator=draw) < 0.4] = True
            row[int(torch.randint(T, (), generator=draw))] = True
        else:
            one, two = torch.randint(T, (2,), generator=draw).sort().values.tolist()
            row[0 if kind == "right" else one : T if kind == "left" else two + 1] = True
    return rows


def _last_slowly(rows: Sequence[Sequence[bool]]) -> list[int]:
    return [max(t for t, real in enumerate(row) if real) for row in rows]


def _last_compare(answer, *masks: Tensor) -> None:
    """All masks are asked about first: a mistake is named if it explains all answers."""
    wants = [torch.tensor(_last_slowly(mask.tolist())) for mask in masks]
    gots = [_last_ask(answer, mask).long().clone() for mask in masks]
    rows = list(zip(masks, gots, wants, strict=True))
    if all(got.equal(want) for _, got, want in rows):
        return
    tables = [_last_mistakes(mask, want) for mask, _, want in rows]
    for mistake, ways in tables[0].items():
        for way in range(len(ways)):
            if all(g.equal(t[mistake][way]) for g, t in zip(gots, tables, strict=True)):
                raise CheckFailed(mistake)
    mask, got, want = next(row for row in rows if not row[1].equal(row[2]))
    row = int((got != want).nonzero()[0])
    signs = "".join(str(int(real)) for real in mask[row, :40])
    raise CheckFailed(
        f"In the row {signs}{' …' if mask.shape[1] > 40 else ''} (1 = real) it finds place "
        f"{int(got[row])}. The last real token stands at {int(want[row])}, counted from 0."
    )


def _last_ask(answer, mask: Tensor) -> Tensor:
    B, T = mask.shape
    # fmt: off
    shapes = {
        (): "That is one place for the whole batch. Each row has its own." if B > 1 else
            "A batch of one row is a batch as well: (1,), no bare number.",
        (1,): "That is one place for the whole batch. Each row has its own.",
        (B, 1): "The dimension of the tokens stayed, with size 1.",
        (1, B): "A dimension was added.",
        (B, T): "There is something for each place. One place for each row is wanted.",
        (T,): "There is one number for each column. One for each row is wanted.",
        (B, 2): "Are these rows and columns? The place in the row alone is wanted.",
        (int(mask.sum()),): "There is one number for each real token. Only the last of each row is wanted.",
        (int(mask.sum()), 2): "There is an entry for each real token. Only the last of each row is wanted.",
    }
    # fmt: on
    shapes.pop((B,), None)
    got = ask_tensor(answer, mask, shape=(B,), shapes=shapes)
    expect(
        not (got.is_floating_point() or got.dtype == torch.bool),
        f"It has the type {got.dtype}. Places are whole numbers: something will be looked up there.",
    )
    return got


def _last_mistakes(mask: Tensor, want: Tensor) -> dict[str, list[Tensor]]:
    B, T = mask.shape
    real, ends = mask.long(), torch.full((B,), T - 1)
    count, places = real.sum(1), torch.arange(T)
    first, first_pad = real.argmax(1), (1 - real).argmax(1)
    last_pad = torch.where(mask, -1, places).amax(1)
    first_run = (real.cumsum(1) == places + 1 - first[:, None]).long() * real
    # fmt: off
    return {
        "That is how many real tokens a row has, less one. It is the last one's place only where the padding stands "
        "on the right: with padding on the left, or in the middle, it is another.": [count - 1],
        "It reads the last column always (-1). That is the last token only where the padding stands on the left; "
        "elsewhere it reads padding.": [ends, ends * 0 - 1],
        "That is the first real token of each row. The first has not seen the answer.": [first, first * 0],
        "It looks for the first padding and steps back by one. Padding on the left comes first, a row may have none "
        "at all, and it may stand in the middle.":
            [first_pad - 1, (first_pad - 1) % T, torch.where(mask.all(1), T, first_pad) - 1,
             torch.where(mask.all(1), T - 1, first_pad - 1), (first_pad - 1).clamp(min=0)],
        "That is where padding stands, not a real token.": [first_pad, last_pad, real.argmin(1)],
        "One place was found for the whole batch. Each row has its own.":
            [want[[i]].expand(B) for i in (0, -1)] + [want.amax().expand(B), want.amin().expand(B)],
        "It is one too many: places are counted from 0.": [want + 1],
        "That is how many real tokens a row has. A place is wanted, counted from 0.": [count],
        "It is one too few: that is the place before the last real token.": [want - 1],
        "The places are counted from the end of the row. They are counted from its beginning, 0 is the first.":
            [want - T, T - 1 - want, T - want],
        "The padding of the left side was not counted, or was counted twice.": [want - first, want + first],
        "The places are counted through the whole batch. Each row begins at 0 again.": [want + T * torch.arange(B)],
        "It asks on which side the padding stands, by the first or last column. A row may be padded on both sides, "
        "and in the middle.":
            [torch.where(cond, one, two) for cond in (mask[:, 0], mask[0, 0], mask[:, 0].all())
             for one, two in ((count - 1, ends),)]
            + [torch.where(cond, ends, count - 1) for cond in (mask[:, -1], mask[0, -1], mask[:, -1].all(), mask[:, -1].any())],
        "It stops at the first gap. Real tokens may follow behind padding in the middle of a row.":
            [(first_run * (places + 1)).amax(1) - 1, first + first_run.sum(1) - 1],
    }
    # fmt: on


def _last_refuses(answer, mask: Tensor) -> None:
    row = int((~mask.any(1)).nonzero()[0])
    why = (
        f"Row {row} of this batch is all padding, and has no last token. `check_rows` refuses "
        "that with a ValueError: it is called first. "
    )
    try:
        got = answer(mask)
    except (ValueError, AssertionError):
        return
    except (RuntimeError, IndexError) as error:
        raise CheckFailed(why + f"Yours stops with: {first_line(error)}") from None
    raise CheckFailed(
        why + f"Yours gives {got.tolist() if isinstance(got, Tensor) else got!r}."
    )
