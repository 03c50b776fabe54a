"""Questions with exact answers, put to a model: what does it know, can it reckon and read?

Every exam returns a share of right answers, greedy unless a temperature is given. What
"right" means is said in each docstring, for a figure without its definition says
nothing. Left out: error bars; for n questions and a share p they are about
sqrt(p (1 - p) / n).
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.masks import masked_mean
from course_lib.sampling.generate import generate
from course_lib.tokenizer import Tokenizer
from course_lib.training import next_token_loss
from course_lib.world import arithmetic, chat, passages, people
from course_lib.world.arithmetic import Problem
from course_lib.world.people import KINDS, Person

AT_ONCE = 128  # questions in a batch
HOW = ("free", "direct", "steps")  # ways to ask for the result of a problem


# ---- asking


def replies(
    model: nn.Module, tokenizer: Tokenizer, questions: Sequence[str], new_tokens: int = 40,
    start: str = "", temperature: float = 0.0, choose: Callable | None = None,
    generator: torch.Generator | None = None,
) -> list[str]:  # fmt: skip
    """Put each question as a chat of its own; the replies come in the order asked.

    start: words put into the model's mouth; the reply goes on from them and contains
    them. choose: makes, without arguments, a `choose` for `generate`; called anew for
    every batch. Questions of about equal length share a batch.
    """
    device = next(model.parameters()).device
    prompts = [prompt_ids(question, tokenizer, start) for question in questions]
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    said = [""] * len(prompts)
    for first in range(0, len(by_length), AT_ONCE):
        batch = by_length[first : first + AT_ONCE]
        ids, mask = pad_left([prompts[i] for i in batch], tokenizer.pad)
        texts = generate(
            model, ids.to(device), new_tokens, mask=mask.to(device), end=tokenizer.end,
            pad=tokenizer.pad, temperature=temperature, generator=generator,
            choose=choose and choose(),
        )  # fmt: skip
        for i, text in zip(batch, texts[:, ids.shape[1] :].tolist(), strict=True):
            said[i] = start + tokenizer.decode(text, specials=False)
    return said


def prompt_ids(question: str, tokenizer: Tokenizer, start: str = "") -> list[int]:
    """A question as the model reads it, up to where its reply begins or has begun."""
    asked = [{"role": "user", "content": question}]
    return tokenizer.encode_chat(asked, reply_next=True) + tokenizer.encode(start)


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Prompts of several lengths as one rectangle that ends in real tokens.

    Returns ids and mask, both (B, T); True = a real token.

    >>> ids, mask = pad_left([[5, 6], [7]], pad=0)
    >>> ids
    tensor([[5, 6],
            [0, 7]])
    """
    T = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (T - len(row)) + list(row) for row in rows])  # (B, T)
    starts = torch.tensor([[T - len(row)] for row in rows])  # (B, 1)
    return ids, torch.arange(T) >= starts


def not_first(token: int) -> Callable[[], Callable[[Tensor], Tensor]]:
    """Greedy, but no reply may begin with this token.

    >>> choose = not_first(2)()
    >>> scores = torch.tensor([[0.0, 1.0, 2.0]])
    >>> choose(scores), choose(scores)
    (tensor([1]), tensor([2]))
    """

    def begin() -> Callable[[Tensor], Tensor]:
        forbidden = [token]  # empty after the first step

        def choose(logits: Tensor) -> Tensor:
            if forbidden:
                logits = logits.clone()
                logits[:, forbidden.pop()] = -torch.inf
            return logits.argmax(dim=-1)

        return choose

    return begin


def share(marks: Sequence[bool]) -> float:
    """How many of the marks are True, as a share.

    >>> share([True, False, True, True])
    0.75
    """
    assert len(marks) > 0, "nothing was asked, so there is no share of right answers"
    return sum(marks) / len(marks)


# ---- four exams


def facts(
    model: nn.Module, tokenizer: Tokenizer, asked: Sequence[Person],
    wording: int | None = None,
) -> float:  # fmt: skip
    """Closed book: every fact about these people, asked once.

    Right: the reply names the value and no other of its kind. wording: which of the six
    questions; None goes through the five that training texts use.
    """
    pairs = [(person, kind) for person in asked for kind in KINDS]
    questions = []
    for i, (person, kind) in enumerate(pairs):
        form = i % people.WORDINGS if wording is None else wording
        questions.append(people.question(person.name, kind, form))
    said = zip(replies(model, tokenizer, questions), pairs, strict=True)
    return share([chat.says(reply, k, getattr(p, k)) for reply, (p, k) in said])


def sums(
    model: nn.Module, tokenizer: Tokenizer, problems: Sequence[Problem], how: str = "free"
) -> float:  # fmt: skip
    """Problems asked as "What is ...?". Right: the final answer is the exact value.

    how: "direct" puts "Answer:" into the model's mouth, "steps" forbids the reply to
    begin with it, "free" leaves the choice to the model.
    """
    assert how in HOW, f"ask in one of the ways {HOW}, not {how!r}"
    questions = [f"What is {problem}?" for problem in problems]
    if how == "direct":
        said = replies(model, tokenizer, questions, new_tokens=8, start="Answer:")
    elif how == "steps":
        choose = not_first(tokenizer.encode("Answer:")[0])
        said = replies(model, tokenizer, questions, choose=choose)
    else:
        said = replies(model, tokenizer, questions)
    pairs = zip(problems, said, strict=True)
    return share([arithmetic.is_right(problem, reply) for problem, reply in pairs])


def copying(
    model: nn.Module, tokenizer: Tokenizer, passages_each: int, count: int = 300,
    seed: int = 0, answerable: bool = True,
) -> float:  # fmt: skip
    """Questions on passages about people and places that stand in no training text.

    Right: the reply names the value of the passage and no other of its kind; where no
    passage tells, it says "I do not know." and names none.
    """
    draw = random.Random(f"copying {seed}")
    asked = [
        passages.context_question(passages_each, draw, True, answerable)
        for _ in range(count)
    ]
    said = replies(model, tokenizer, [question.prompt for question in asked])
    pairs = zip(asked, said, strict=True)
    return share([passages.is_right(question, reply) for question, reply in pairs])


def manner(
    model: nn.Module, tokenizer: Tokenizer, asked: Sequence[Person],
    which: Callable[[str], bool], seed: int = 0,
) -> float:  # fmt: skip
    """The share of replies for which `which` holds, to every fact, at temperature 1."""
    questions = [people.question(p.name, kind) for p in asked for kind in KINDS]
    generator = torch.Generator().manual_seed(seed)
    said = replies(model, tokenizer, questions, temperature=1.0, generator=generator)
    return share([which(reply) for reply in said])


# ---- without questions


@torch.no_grad()
def loss_on(model: nn.Module, tokens: Tensor, kept: Tensor) -> float:
    """The mean loss per kept token, in nats, of a long text cut into rows.

    tokens (N,); kept (N,): True where the prediction of that token counts. The first
    token of a row is never predicted.
    """
    losses, mask = next_token_loss(model, in_rows(model, tokens), in_rows(model, kept))
    return float(masked_mean(losses, mask))


@torch.no_grad()
def acceptance(
    draft: nn.Module, model: nn.Module, tokens: Tensor, kept: Tensor
) -> float:
    r"""How often speculative decoding keeps the draft's guess, at temperature 1.

    The mean of $\sum_v \min(p_v, q_v)$ over the positions whose next token is kept, p
    the model's and q the draft's probabilities (Leviathan et al. 2023, corollary 3.6).
    """
    rows, counts = in_rows(model, tokens), in_rows(model, kept)[:, 1:]  # (B, T-1)
    p, q = model(rows).softmax(dim=-1), draft(rows).softmax(dim=-1)  # (B, T, V)
    return float(masked_mean(torch.minimum(p, q).sum(dim=-1)[:, :-1], counts))


def in_rows(model: nn.Module, values: Tensor) -> Tensor:
    """As many whole rows of the context's length as there are: (N,) to (rows, context)."""
    length = model.config.context
    rows = len(values) // length
    assert rows > 0, f"a text of {len(values)} tokens fills no row of {length}"
    return values[: rows * length].view(rows, length)
