"""Rejection sampling: the model's own good answers become the next examples.

Draw several answers to each question, keep those that a verifier accepts, each once,
and fine-tune on them (R1's third phase: DeepSeek-AI 2025, section 2.3.3; STaR,
Zelikman et al. 2022). Questions that the model never solves fall out, so the set
leans towards easy ones; a cap on the answers per question keeps it from leaning
further. Left out: a judge that is a language model.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from course_lib.exam import AT_ONCE, prompt_ids
from course_lib.rollouts import sample_rollouts
from course_lib.sft.records import Message
from course_lib.tokenizer import Tokenizer


def sample_replies(
    model: nn.Module, tokenizer: Tokenizer, questions: Sequence[str], samples: int,
    new_tokens: int = 40, temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[list[str]]:  # fmt: skip
    """Several replies to each question: pass@k, votes and rejection begin so.

    Returns one list per question, in the order asked.
    """
    prompts = [prompt_ids(question, tokenizer) for question in questions]
    at_once, said = max(1, AT_ONCE // samples), []
    for first in range(0, len(prompts), at_once):
        rollout = sample_rollouts(
            model, prompts[first : first + at_once], new_tokens, end=tokenizer.end,
            pad=tokenizer.pad, samples=samples, temperature=temperature,
            generator=generator,
        )  # fmt: skip
        said += rollout.texts(tokenizer)
    return [said[i : i + samples] for i in range(0, len(said), samples)]


def rejection_sample(
    questions: Sequence[str], replies: Sequence[Sequence[str]],
    accept: Callable[[int, str], bool], most: int = 1,
) -> list[list[Message]]:  # fmt: skip
    """Chats for fine-tuning: of each question's replies the good ones, each once.

    replies: a list for each question. accept(number of the question, reply) says
    whether a reply is good. most: chats that one question may give. Returns chats as
    `[{"role": "user", ...}, {"role": "assistant", ...}]`, in the order asked.

    How: for each question drop repeated replies (`dict.fromkeys` keeps the order),
    keep what is accepted, cut to `most`; a chat for each.

    >>> said = [["Answer: 4.", "Answer: 4.", "4"], ["?"]]
    >>> says_four = lambda i, reply: "4" in reply
    >>> chats = rejection_sample(["2 + 2 = ?", "?"], said, says_four)
    >>> [message["content"] for chat in chats for message in chat]
    ['2 + 2 = ?', 'Answer: 4.']
    """
    assert len(questions) == len(replies), f"{len(questions)=} {len(replies)=}"
    chats = []
    for i, (question, said) in enumerate(zip(questions, replies, strict=True)):
        good = [reply for reply in dict.fromkeys(said) if accept(i, reply)]
        for reply in good[:most]:
            asked = {"role": "user", "content": question}
            chats.append([asked, {"role": "assistant", "content": reply}])
    return chats
