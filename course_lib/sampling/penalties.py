"""Rules that read the text so far: what should not come again, and where to stop.

Three penalties change scores by what was said: repetition (Keskar et al. 2019,
section 4.1, with the rule for negative scores that every library adds),
presence and frequency (OpenAI's API). All three discourage and none forbids;
`no_repeat_ngrams` forbids. A stop string may begin in one token and end in
another, so a growing text holds back what could be its beginning. Left out:
windows that forget old tokens.
"""

import codecs
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from course_lib.sampling.generate import Rule

# ---- penalties


def token_counts(ids: Tensor, vocabulary: int, mask: Tensor | None = None) -> Tensor:
    """How often each token of the vocabulary stands in each row.

    ids (B, T), also with T = 0; mask (B, T): True = this token counts, None =
    all do. Returns (B, V) whole numbers. Whoever calls decides what counts:
    the repetition penalty usually reads prompt and answer, OpenAI's two the
    answer only.

    >>> token_counts(torch.tensor([[2, 0, 2]]), vocabulary=4)
    tensor([[1, 0, 2, 0]])
    """
    assert mask is None or mask.shape == ids.shape, f"{mask.shape=} {ids.shape=}"
    ones = torch.ones_like(ids) if mask is None else mask.to(ids.dtype)
    return ids.new_zeros(len(ids), vocabulary).scatter_add(1, ids, ones)


def repetition_penalty(logits: Tensor, counts: Tensor, penalty: float) -> Tensor:
    """Make every token that was said less likely, once, by a factor on its score.

    logits and counts (B, V); counts: how often each token was said. penalty
    above 0: 1 does nothing, more than 1 discourages, less than 1 encourages.
    Returns (B, V) of the logits' type, new. What is at minus infinity stays there.

    How: a positive score is divided, a negative one multiplied: dividing it
    would bring it closer to 0, which is a reward.

    >>> logits, counts = torch.tensor([[3.0, -3.0, 3.0]]), torch.tensor([[1, 2, 0]])
    >>> repetition_penalty(logits, counts, 1.5)
    tensor([[ 2.0000, -4.5000,  3.0000]])
    """
    assert logits.shape == counts.shape, f"{logits.shape=} {counts.shape=}"
    assert penalty > 0, f"a factor above 0, where 1 does nothing: {penalty=}"
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(counts > 0, lowered, logits)


def presence_penalty(logits: Tensor, counts: Tensor, penalty: float) -> Tensor:
    r"""Subtract the penalty once from what was said: $z_i - \alpha [c_i > 0]$.

    logits and counts (B, V). The odds against such a token are multiplied by
    $e^\alpha$, whatever the sign of its score. Below 0 it encourages.

    >>> logits, counts = torch.tensor([[3.0, -3.0, 3.0]]), torch.tensor([[1, 2, 0]])
    >>> presence_penalty(logits, counts, 0.5)
    tensor([[ 2.5000, -3.5000,  3.0000]])
    """
    assert logits.shape == counts.shape, f"{logits.shape=} {counts.shape=}"
    return logits - penalty * (counts > 0).to(logits.dtype)


def frequency_penalty(logits: Tensor, counts: Tensor, penalty: float) -> Tensor:
    r"""Subtract the penalty for each time a token was said: $z_i - \alpha c_i$.

    logits and counts (B, V).

    >>> logits, counts = torch.tensor([[3.0, -3.0, 3.0]]), torch.tensor([[1, 2, 0]])
    >>> frequency_penalty(logits, counts, 0.5)
    tensor([[ 2.5000, -4.0000,  3.0000]])
    """
    assert logits.shape == counts.shape, f"{logits.shape=} {counts.shape=}"
    return logits - penalty * counts.to(logits.dtype)


def no_repeat_ngrams(logits: Tensor, ids: Tensor, n: int) -> Tensor:
    """Forbid every token that would complete n tokens which the text already has.

    logits (B, V), ids (B, T): the text so far. n = 1 forbids every token that
    was said.

    How: wherever the last n - 1 tokens stood before, what followed is forbidden.

    >>> no_repeat_ngrams(torch.zeros(1, 3), torch.tensor([[1, 2, 0, 1]]), n=2)
    tensor([[0., 0., -inf]])
    """
    assert n >= 1, f"at least one token: {n=}"
    if ids.shape[1] < n:
        return logits
    windows = ids.unfold(1, n, 1)  # (B, T - n + 1, n)
    last = ids[:, None, ids.shape[1] - n + 1 :]  # (B, 1, n - 1)
    known = (windows[..., :-1] == last).all(dim=-1)
    banned = token_counts(windows[..., -1], logits.shape[1], known) > 0
    return logits.masked_fill(banned, -math.inf)


def counting(
    penalise: Callable[[Tensor, Tensor, float], Tensor],
    penalty: float,
    start: int = 0,
) -> Rule:
    """A penalty as `generate` takes it among its rules, without any state.

    penalise: one of the three above. Real tokens from position start on count:
    0 counts prompt and answer, the width of the prompts the answer only.

    >>> rule = counting(presence_penalty, 0.5, start=1)
    >>> ids = torch.tensor([[1, 2]])
    >>> rule(torch.zeros(1, 3), ids, torch.ones_like(ids, dtype=torch.bool))
    tensor([[ 0.0000,  0.0000, -0.5000]])
    """

    def rule(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        late = torch.arange(ids.shape[1], device=ids.device) >= start
        counts = token_counts(ids, logits.shape[1], mask & late)
        return penalise(logits, counts, penalty)

    return rule


def no_end_before(end: int, length: int) -> Rule:
    """A rule for `generate`: no text may end before it has so many tokens.

    length counts the prompt with its padding, so that n new tokens before the
    end are length = T + n.

    >>> ids = torch.tensor([[1, 2]])
    >>> no_end_before(0, length=3)(torch.zeros(1, 3), ids, ids > 0)
    tensor([[-inf, 0., 0.]])
    """

    def rule(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        if ids.shape[1] >= length:
            return logits
        tokens = torch.arange(logits.shape[1], device=logits.device)
        return logits.masked_fill(tokens == end, -math.inf)

    return rule


# ---- stop strings


def find_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where to cut: the place at which the first complete stop string begins.

    First is what ends first, as when one reads letter by letter; of several
    that end together, the longest. None if there is none.

    >>> find_stop("yes. No. Ada: hm", stops=["Ada:", ". "])
    3
    """
    places = [(text.find(stop), stop) for stop in stops]
    found = [(start + len(stop), start) for start, stop in places if start >= 0]
    return min(found)[1] if found else None


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many last characters could begin a stop string, and so may not be shown yet.

    text holds no complete stop string; stops: a list or tuple of strings, none
    of them empty. 0 if none has begun, or if there are no stop strings.

    How: the longest end of the text with which some stop string begins.

    >>> held_back("It is so.\\n", stops=["\\n\\nUser", "."])
    1
    """
    begun = (n for s in stops for n in range(1, len(s)) if text.endswith(s[:n]))
    return max(begun, default=0)


class Stream:
    """A growing text: hand in each token's bytes, get what may be shown now.

    What was shown is never taken back, and all that was shown is the text up
    to its first stop string, wherever the borders of tokens are. A character
    whose bytes come in two tokens appears with the second.
    """

    def __init__(
        self,
        stops: Sequence[str] = (),
        waits: Callable[[str, Sequence[str]], int] = held_back,
    ) -> None:
        """waits: how many last characters of a text may not be shown yet."""
        if isinstance(stops, str) or not all(stops):
            raise ValueError(f"stops is a list of strings, none of them '': {stops!r}.")
        self.stops, self.waits = tuple(stops), waits
        self.waiting, self.stopped = "", False
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, data: bytes, last: bool = False) -> str:
        """The next token's bytes; last=True: no more will come, so nothing waits."""
        if self.stopped:
            return ""
        text = self.waiting + self.decoder.decode(data, last)
        cut = find_stop(text, self.stops)
        self.stopped = cut is not None
        if cut is None:
            cut = len(text) if last else len(text) - self.waits(text, self.stops)
        self.waiting = "" if self.stopped or last else text[cut:]
        return text[:cut]


def read_until_stop(
    pieces: Iterable[bytes], stops: Sequence[str] = ()
) -> tuple[str, int]:
    """The text that may be shown, and how many tokens had to be read for it.

    pieces: the bytes of each token, in order.

    >>> read_until_stop([b"Yes", b".\\n", b"\\nUs", b"er"], stops=["\\n\\n"])
    ('Yes.', 3)
    """
    stream, shown, n = Stream(stops), "", 0
    for piece in pieces:
        shown += stream.read(piece)
        n += 1
        if stream.stopped:
            break
    return shown + stream.read(b"", last=True), n
