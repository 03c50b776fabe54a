"""Check of lesson 07: the published update, repaired.

The loss and its gradient are worked out token by token from Python's own numbers. What
an update with faults left in it gives is computed by one function with a switch for
each piece. The answers that prove the check are in `tests/answers/`.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.checks.asking import ask_tensor, close, diagnose, expect
from course_lib.checks.harness import check
from course_lib.checks.ppo.kinds import keeps_type
from course_lib.ppo.clinic import Answers


class Case(NamedTuple):
    """What the answer is asked about; None: its default."""

    logits: Tensor
    batch: Answers
    kl_coef: float | None = None
    clip_eps: float | None = None

    @property
    def prices(self) -> tuple[float, float]:
        kl_coef = 0.05 if self.kl_coef is None else self.kl_coef
        return kl_coef, 0.2 if self.clip_eps is None else self.clip_eps


@check(
    None,
    proved="Loss and gradient, token by token: the right log-probabilities, a ratio for each token, a price in the "
    "reward, credit from a critic, and a clip that holds only what has gone far enough.",
)
def repaired_loss(answer, draw):
    _compare(
        answer,
        _drawn(draw, (4, 2, 3), start=2, T=5),
        _drawn(draw, (2, 3), start=3, T=3, kl_coef=0.4, clip_eps=0.1),
        _drawn(draw, (1, 4, 3, 2), start=1, T=4, kl_coef=0.2),
        _drawn(draw, (3, 4), start=2, T=6, clip_eps=0.5),
    )
    _compare(answer, _drawn(draw, (3,), start=2, T=4, kl_coef=0.3))
    _compare(answer, _drawn(draw, (2, 2), start=4, T=2, kl_coef=0.0, clip_eps=0.3))
    for dtype in (torch.float32, torch.float64):
        _compare(answer, _at_the_first_step(draw, dtype))
    _far_apart(answer, _drawn(draw, (1, 6, 5, 6), start=2, T=6))


def _drawn(
    draw: torch.Generator,
    lengths: tuple[int, ...],
    start: int,
    T: int,
    kl_coef: float | None = None,
    clip_eps: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Case:
    """A policy some steps after it drew: ratios on both sides of the clip; anything under padding."""
    B, V = len(lengths), 7
    ids = torch.randint(V, (B, start + T), generator=draw)
    mask = torch.arange(T).expand(B, T) < torch.tensor(lengths).unsqueeze(1)
    logits = 1.5 * torch.randn(B, start + T, V, generator=draw, dtype=dtype)
    moved, strayed, values = torch.randn(3, B, T, generator=draw, dtype=dtype)
    moved[:, 0] -= (
        3.0  # at these the ratio is far above 1, whatever the token was worth
    )
    old = _said(logits.double(), ids, start).to(dtype) + 0.5 * moved
    rewards = 2 * torch.randn(B, generator=draw, dtype=dtype) + 1
    batch = Answers(ids, start, mask, old, old - 0.3 + strayed, values + 0.5, rewards)
    return Case(logits, batch, kl_coef, clip_eps)


def _at_the_first_step(draw: torch.Generator, dtype: torch.dtype) -> Case:
    case = _drawn(draw, (3, 2, 4), start=2, T=4, dtype=dtype)
    now = _said(case.logits, case.batch.ids, case.batch.start)
    return case._replace(batch=case.batch._replace(old_logprobs=now))


# --- token by token ---------------------------------------------------------------------------


class _Token(NamedTuple):
    """A kept token: where it stands, what it is, how likely it was and is, what it was worth."""

    row: int
    place: int
    token: int
    ratio: float
    worth: float


def _tokens(case: Case) -> list[_Token]:
    b, (kl_coef, _) = case.batch, case.prices
    found = []
    for row, kept in enumerate(b.mask.tolist()):
        n, worth, later, expected = sum(kept), [0.0] * sum(kept), 0.0, 0.0
        old, ref = b.old_logprobs[row].tolist(), b.ref_logprobs[row].tolist()
        values = b.values[row].tolist()
        for t in reversed(range(n)):
            came = -kl_coef * (old[t] - ref[t])
            came += float(b.rewards[row]) if t == n - 1 else 0.0
            later = came + expected - values[t] + 0.95 * later
            worth[t], expected = later, values[t]
        for t in range(n):
            place, token = b.start - 1 + t, int(b.ids[row, b.start + t])
            scores = case.logits[row, place].tolist()
            log_sum = math.log(math.fsum(math.exp(score) for score in scores))
            ratio = math.exp(scores[token] - log_sum - old[t])
            found.append(_Token(row, place, token, ratio, worth[t]))
    return found


def _slowly(case: Case) -> Tensor:
    """The loss, and behind it its gradient, place by place."""
    tokens, (_, eps) = _tokens(case), case.prices
    mean = math.fsum(x.worth for x in tokens) / len(tokens)
    squares = math.fsum((x.worth - mean) ** 2 for x in tokens)
    spread = math.sqrt(squares / max(1, len(tokens) - 1))
    loss, gradient = 0.0, torch.zeros_like(case.logits, dtype=torch.float64)
    for x in tokens:
        worth = (x.worth - mean) / (spread + 1e-8)
        held = min(max(x.ratio, 1 - eps), 1 + eps)
        loss -= min(x.ratio * worth, held * worth) / len(tokens)
        if x.ratio * worth <= held * worth:
            push = -x.ratio * worth / len(tokens)
            chances = case.logits[x.row, x.place].double().softmax(-1)
            gradient[x.row, x.place] -= push * chances
            gradient[x.row, x.place, x.token] += push
    return torch.cat([torch.tensor([loss], dtype=torch.float64), gradient.flatten()])


# --- what came ----------------------------------------------------------------------------------


def _asked(answer: Callable, case: Case) -> Tensor:
    """The loss and its gradient in one row."""
    (B, T), leaf = case.batch.mask.shape, case.logits.clone().requires_grad_()
    options = {"kl_coef": case.kl_coef, "clip_eps": case.clip_eps}
    options = {name: x for name, x in options.items() if x is not None}
    one = "One number is wanted, the mean over all kept tokens."
    shapes = dict.fromkeys(
        [(1,), (B,), (T,), (B, T), (int(case.batch.mask.sum()),)], one
    )
    loss = ask_tensor(answer, leaf, case.batch, shape=(), shapes=shapes, **options)
    keeps_type(loss, leaf, "the loss has")
    cut = "No gradient reaches the logits, so nothing would be learned. Stay with tensors, and detach no new log-probability."
    expect(loss.requires_grad, cut)
    (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    expect(gradient is not None, cut)
    return torch.cat([loss.detach().view(1), gradient.flatten()]).double()


def _far_apart(answer: Callable, case: Case) -> None:
    """One answer of one token is worth far more than all others."""
    case.batch.rewards[0] = 50.0
    expect(
        close(_asked(answer, case), _slowly(case), rtol=1e-4),
        "Where one reward is 50 and the others are near 1, the loss or its gradient is another. Is something held within "
        "limits (rewards, advantages) that is not to be held?",
    )


def _compare(answer: Callable, *cases: Case) -> None:
    """All are asked first: a mistake is named if it explains every loss and every gradient."""
    found = [(_asked(answer, case), _slowly(case)) for case in cases]
    got, want = (torch.cat(column) for column in zip(*found, strict=True))
    if close(got, want, rtol=1e-4):
        return
    expect(
        bool(got.isfinite().all()),
        "The loss or its gradient is no finite number. Is something divided by a spread of 0, or a logarithm of 0 taken?",
    )
    case, mine, right = next(
        (case, *pair)
        for case, pair in zip(cases, found, strict=True)
        if not close(*pair, rtol=1e-4)
    )
    if close(mine[0], right[0], rtol=1e-4):
        ratio = (
            ", where every ratio is 1,"
            if case.batch.mask.any() and abs(float(right[0])) < 1e-5
            else ""
        )
        seen = f"The loss is right{ratio} and its gradient is not."
    else:
        kl_coef, eps = case.prices
        seen = (
            f"With kl_coef {kl_coef:g} and clip_eps {eps:g} the loss of {len(case.batch.mask)} answers is "
            f"{mine[0]:.4g}; token by token it is {right[0]:.4g}."
        )
    otherwise = f"{seen} Do the pieces pass their own checks, and does each get what it asks for, in its order?"
    _name(cases, [mine for mine, _ in found])
    diagnose(got, want, {}, otherwise, rtol=1e-4)


def _name(cases: tuple[Case, ...], found: list[Tensor]) -> None:
    """Fail with the fault behind what was found, if it is a known one."""
    for name, faults in _mistakes().items():
        for fault in faults:
            given = (_update(case, **fault) for case in cases)
            same = (close(*pair, rtol=1e-4) for pair in zip(found, given, strict=True))
            expect(not all(same), name)


# --- with faults left in ------------------------------------------------------------------------


def _said(logits: Tensor, ids: Tensor, start: int, how: str = "right") -> Tensor:
    """The log-probabilities of the responses, (B, T)."""
    said, logs = ids[:, start:], logits.log_softmax(dim=-1)
    T = said.shape[1]
    rows = {
        "unshifted": logs[:, start:],
        "from the beginning": logs[:, :T],
        "scores": logits[:, start - 1 : -1],
    }
    if how == "two early":
        rows[how] = logs[:, max(0, start - 2) :][:, :T]
    if how == "square":
        square = torch.stack([logs[b, :T, said[b]].mean() for b in range(len(said))])
        return square.unsqueeze(1).expand(-1, T)
    if how == "prompt":
        return logs[:, :T].gather(-1, ids[:, 1 : T + 1].unsqueeze(-1)).squeeze(-1)
    if how == "one row":
        said = said[:1].expand_as(said)
    found = rows.get(how, logs[:, start - 1 : -1]).gather(-1, said.unsqueeze(-1))
    return found.squeeze(-1).exp() if how == "probabilities" else found.squeeze(-1)


def _mean(x: Tensor, mask: Tensor, how: str = "tokens") -> Tensor:
    kept, n = x.masked_fill(~mask, 0.0), mask.sum(dim=1)
    ways = {
        "tokens": lambda: kept.sum() / n.sum(),
        "everywhere": x.mean,
        "zeros too": kept.mean,
        "rows": lambda: (kept.sum(dim=1) / n).mean(),
        "sum": kept.sum,
        "per answer": lambda: kept.sum() / len(x),
    }
    return ways[how]()


def _worth(batch: Answers, shaped: Tensor, lam: float, discount: float) -> Tensor:
    """Advantages (B, T), 0 under padding."""
    values = batch.values.double().masked_fill(~batch.mask, 0.0)
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    surprise = (shaped + discount * after - values).masked_fill(~batch.mask, 0.0)
    T = values.shape[1]
    steps = torch.arange(T).unsqueeze(0) - torch.arange(T).unsqueeze(1)  # (from, to)
    weights = (discount * lam) ** steps.clamp(min=0).double() * (steps >= 0)
    return (surprise @ weights.T).masked_fill(~batch.mask, 0.0)


def _white(x: Tensor, mask: Tensor, how: str) -> Tensor:
    kept, n = x[mask], mask.sum()
    mean, spread = kept.mean(), kept.std(correction=1) if n > 1 else torch.zeros(())
    rows = [
        (r - r[m].mean()) / (r[m].std() + 1e-8) for r, m in zip(x, mask, strict=True)
    ]
    ways = {
        "kept": (x - mean) / (spread + 1e-8),
        "none": x,
        "everywhere": (x - x.mean()) / (x.std() + 1e-8),
        "rows": torch.stack(rows).nan_to_num(0.0),  # a single token is its own mean
        "centred": x - mean,
        "scaled": x / (spread + 1e-8),
        "population": (x - mean) / (kept.std(correction=0) + 1e-8),
        "columns": (x - x.mean(dim=0)) / (x.std(dim=0) + 1e-8),
    }
    return ways[how].masked_fill(~mask, 0.0)


def _update(
    case: Case, said="right", ratio="tokens", price="reward", credit="critic", lam=0.95, discount=1.0,
    white="kept", clip="both", mean="tokens", sign=-1.0, kl_coef=None, eps=None, unclean=False,
    exchanged=False, unmasked=False, came="as it is",
) -> Tensor:  # fmt: skip
    """Loss and gradient in one row, with a fault for every switch that is turned."""
    b, (asked_kl, asked_eps) = case.batch, case.prices
    kl_coef, eps = (
        (asked_kl if kl_coef is None else kl_coef),
        (asked_eps if eps is None else eps),
    )
    kl_coef, eps = (eps, kl_coef) if exchanged else (kl_coef, eps)
    m, leaf = (
        torch.ones_like(b.mask) if unmasked else b.mask,
        case.logits.double().requires_grad_(),
    )
    b = b._replace(mask=m)
    old, ref, rewards = (
        b.old_logprobs.double(),
        b.ref_logprobs.double(),
        b.rewards.double(),
    )
    new = _said(leaf, b.ids, b.start, said)
    n, T = m.sum(dim=1, keepdim=True), m.shape[1]
    middle, spread = (
        rewards.mean(),
        rewards.std() if len(rewards) > 1 else torch.ones(()),
    )
    rewards = {
        "centred": rewards - middle,
        "whitened": (rewards - middle) / spread,
    }.get(came, rewards)
    strayed = {
        "new": new.detach() - ref,
        "new, with gradient": new - ref,
        "turned": ref - old,
        "to new": new.detach() - old,
    }
    kind, _, where = price.partition(" in ")
    paid = 0.0 if price == "none" or where.startswith("loss") else kl_coef
    pays = {"last": torch.where(torch.arange(T) == n - 1, ((old - ref) * m).sum(1, True), 0.0),
            "k3": torch.expm1(ref - old) - (ref - old)} | strayed  # fmt: skip
    shaped = torch.where(torch.arange(T) == n - 1, rewards.unsqueeze(1), 0.0)
    shaped = shaped - paid * pays.get(price, old - ref).masked_fill(~m, 0.0)
    shaped = _white(shaped, m, "kept") if came == "whitened when shaped" else shaped
    if credit in ("whitened rewards", "rewards"):
        each = (rewards - middle) / spread if credit == "whitened rewards" else rewards
        worth = each.unsqueeze(1).expand_as(old)
        worth = worth if unclean else worth.masked_fill(~m, 0.0)
        white = "as it is"
    else:
        known = b._replace(values=0 * b.values) if credit == "no critic" else b
        worth = _worth(known, shaped, lam, discount)
        worth = worth + b.values.double() if credit == "returns" else worth
        worth = worth - b.values.double() * m if credit == "values twice" else worth
        worth = shaped if credit == "shaped rewards" else worth
    worth = worth if white == "as it is" else _white(worth, m, white)
    worth = worth if price == "new, with gradient" else worth.detach()
    change = new - old
    if ratio in ("row means", "row sums"):
        summed = change.masked_fill(~m, 0.0).sum(dim=1, keepdim=True)
        change = (summed / n if ratio == "row means" else summed).expand(-1, T)
    elif ratio == "means, padding too":
        change = (new.mean(1, True) - old.mean(1, True)).expand(-1, T)
    r = {"no exp": change, "turned": (-change).exp(), "no old": new, "against reference": (new - ref).exp(),
         "itself": (new - new.detach()).exp(), "probability": new.exp()}.get(ratio, change.exp())  # fmt: skip
    held = r.clamp(1 - eps, 1 + eps)
    plain, clipped = r * worth, held * worth
    objective = {"clipped alone": clipped, "none": plain, "larger": torch.maximum(plain, clipped),
                 "from above": torch.minimum(plain, r.clamp(max=1 + eps) * worth)}.get(clip, torch.minimum(plain, clipped))  # fmt: skip
    loss = sign * _mean(objective, m, mean)
    if where:  # it is a term of the loss: alone, or as well
        terms = {"k1": new - ref, "minus k1": ref - new, "k2": (new - ref) ** 2 / 2, "k3": torch.expm1(ref - new) - (ref - new)}  # fmt: skip
        loss = loss + kl_coef * _mean(
            terms[kind], m, "everywhere" if "everywhere" in where else "tokens"
        )
    (gradient,) = torch.autograd.grad(loss, leaf)
    return torch.cat([loss.detach().view(1), gradient.flatten()])


_INDEX = (
    "The log-probabilities are still the published ones: every token at every place, from the beginning, in one mean. "
    "One number for each token, read where it was predicted."
)
_MEANS = "There is still one ratio for a whole answer. Every token has its own."
_WHITENED = "The advantages are still the rewards, whitened over different prompts. They come from the critic, token by token."
_CLIP_ALONE = "Only the clipped product counts, without the smaller of the two: what has gone the wrong way is no longer called back."
_IN_THE_LOSS = "The price of straying is still a term of the loss. There it pulls nowhere; it belongs into the rewards."
_PUBLISHED = {  # the published faults, one by one
    _INDEX: {"said": "square"},
    _MEANS: {"ratio": "means, padding too"},
    _WHITENED: {"credit": "whitened rewards"},
    _CLIP_ALONE: {"clip": "clipped alone"},
    _IN_THE_LOSS: {"price": "k1 in loss"},
}
# fmt: off
_LEFT_IN: dict[str, list[dict]] = {
    **{name: [fault] for name, fault in _PUBLISHED.items()},
    _MEANS: [{"ratio": "means, padding too"}, {"ratio": "row means"}, {"ratio": "row sums"}],
    _WHITENED: [{"credit": "whitened rewards"}, {"credit": "whitened rewards", "mean": "everywhere", "unclean": True}],
    _IN_THE_LOSS: [{"price": "k1 in loss"}, {"price": "k1 in loss, everywhere"}, {"price": "minus k1 in loss"}],
    "The price is paid twice: in the rewards, and again as a term of the loss.":
        [{"price": f"{kind} in both{where}"} for kind in ("k1", "k2", "k3", "minus k1") for where in ("", ", everywhere")],
    "The price is a term of the loss. A k2 or k3 there does pull; here the price is in the rewards, paid by the tokens as they were drawn.":
        [{"price": f"{kind} in loss{where}"} for kind in ("k2", "k3") for where in ("", ", everywhere")],
    "The log-probabilities are read one place too late: row t of the logits scores the token that follows.": [{"said": "unshifted"}],
    "The log-probabilities are read at the beginning of the prompt. Where do the responses begin?": [{"said": "from the beginning"}],
    "The log-probabilities are read one place too early.": [{"said": "two early"}],
    "These are the tokens of the prompt. Where do the responses begin?": [{"said": "prompt"}],
    "All rows have the first row's tokens.": [{"said": "one row"}],
    "Probabilities stand where their logarithms should.": [{"said": "probabilities"}],
    "Scores stand where log-probabilities should: they have not been through a softmax.": [{"said": "scores"}],
    "The ratio is the wrong way round: now against then.": [{"ratio": "turned"}],
    "The ratio has lost its exponential.": [{"ratio": "no exp"}],
    "The ratio is missing: that is REINFORCE.": [{"ratio": "no old"}, {"ratio": "no old", "clip": "none"}],
    "The ratio is 1 always: it compares the policy with itself, not with the one that drew.": [{"ratio": "itself"}],
    "The ratio is that to the reference. It compares with the policy that drew the tokens.": [{"ratio": "against reference"}],
    "A probability stands where the ratio should. What was it when the token was drawn?": [{"ratio": "probability"}],
    "No price is paid for straying.": [{"price": "none"}],
    "The price is that of the policy now. What it drew then is what it pays for: old_logprobs.": [{"price": "new"}],
    "The price is that of the policy now, and a gradient flows through it. Old log-probabilities are numbers.":
        [{"price": "new, with gradient"}],
    "The price compares the policy with its older self. It compares with the reference.": [{"price": "to new"}],
    "Straying is rewarded: policy and reference are exchanged, or the sign is.": [{"price": "turned"}],
    "The whole price stands at the last token.": [{"price": "last"}],
    "The price is a k3. In the rewards it is the log-ratio itself.": [{"price": "k3"}],
    "kl_coef makes no difference: 0.05 is built in.": [{"kl_coef": 0.05}],
    "kl_coef makes no difference: the price is the whole log-ratio.": [{"kl_coef": 1.0}],
    "clip_eps makes no difference: 0.2 is built in.": [{"eps": 0.2}],
    "kl_coef and clip_eps make no difference: the defaults are built in.": [{"kl_coef": 0.05, "eps": 0.2}],
    "kl_coef and clip_eps are exchanged.": [{"exchanged": True}],
    "The mask makes no difference: padding is treated as part of the answer.": [{"unmasked": True}],
    "The rewards are whitened or centred over different prompts, before they are shaped. They stay as they are; the "
    "advantages are whitened.": [{"came": "whitened"}, {"came": "centred"}, {"came": "whitened", "white": "none"}],
    "The shaped rewards are whitened. The advantages are, and only they.":
        [{"came": "whitened when shaped"}, {"came": "whitened when shaped", "white": "none"}],
    "The rewards are the advantages as they are. They come from the critic, token by token.":
        [{"credit": "rewards"}, {"credit": "rewards", "mean": "everywhere", "unclean": True}],
    "The shaped rewards are the advantages. What was expected, and what came later?":
        [{"credit": "shaped rewards"}, {"credit": "shaped rewards", "white": "none"}],
    "The values make no difference: there is no critic.":
        [{"credit": "no critic"}, {"credit": "no critic", "lam": 1.0}, {"credit": "no critic", "white": "none"}],
    "These are returns, with the values added again. How much better than expected is asked.":
        [{"credit": "returns"}, {"credit": "returns", "white": "none"}],
    "The values are taken away twice. `gae` has done that already.": [{"credit": "values twice"}],
    "Another lambda is used than gae's own default, 0.95.": [{"lam": lam} for lam in (1.0, 0.0, 0.9, 0.99)],
    "Another discount is used than gae's own default, 1.": [{"discount": d} for d in (0.99, 0.95, 0.9, 0.2, 0.05)],
    "The advantages are not whitened.": [{"white": "none"}],
    "The advantages are whitened over padding as well. Only kept tokens count.": [{"white": "everywhere"}],
    "The advantages are whitened row by row. All kept tokens of the batch are taken together.": [{"white": "rows"}],
    "The advantages are whitened place by place. All kept tokens of the batch are taken together.": [{"white": "columns"}],
    "The advantages lose their mean, and keep their spread. `whiten` does both.": [{"white": "centred"}],
    "The advantages get spread 1, and keep their mean. `whiten` does both.": [{"white": "scaled"}],
    "The advantages have another spread than `whiten` gives them (the sample's, ddof 1).": [{"white": "population"}],
    "There is no clip.": [{"clip": "none"}],
    "The larger of the two products counts. It is the smaller one.": [{"clip": "larger"}],
    "The ratio is held from above only.": [{"clip": "from above"}],
    "The mean is over all places, padding included.":
        [{"mean": "everywhere"}, {"mean": "zeros too"}, {"white": "everywhere", "mean": "everywhere"}],
    "The mean is taken row by row, so that a token of a short answer counts more.": [{"mean": "rows"}],
    "It is a sum. A mean over kept tokens is wanted.": [{"mean": "sum"}, {"mean": "per answer"}],
    "The sign is turned round: going downhill on it makes good answers rarer.": [{"sign": 1.0}],
}
# fmt: on


def _mistakes() -> dict[str, list[dict]]:
    """The faults behind each name: one, or two of the published ones, or all."""
    known = dict(_LEFT_IN)
    for one, two in itertools.combinations(_PUBLISHED, 2):
        known[f"Two faults at least are left. {one}\n{two}"] = [
            a | b
            for a, b in itertools.product(_LEFT_IN[one], _LEFT_IN[two])
            if not a.keys() & b.keys()
        ]
    every = {key: how for fault in _PUBLISHED.values() for key, how in fault.items()}
    every |= {"mean": "everywhere", "unclean": True, "price": "k1 in loss, everywhere"}
    return known | {
        "That is still the published loss, with all of its faults.": [every]
    }
