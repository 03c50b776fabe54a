"""Dates that check themselves: an arXiv id begins with the year and the month in which it was given.

Notable: where a milestone has a paper, its month is the paper's, and a test holds it
to that. A month that contradicts its id may still be right: some models were released
before their paper, and we note when. Left out: everything before the Transformer, and
most of what came after it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Claim = tuple[str, str, str]  # name, claimed month "YYYY-MM", arXiv id


@dataclass(frozen=True)
class Milestone:
    """One event in the history of language models."""

    month: str  # "YYYY-MM", the paper's where there is one
    name: str
    arxiv: str  # "" where there is no paper on arXiv
    what: str
    released: str = ""  # month of the public release, where that came before the paper


TIMELINE = (
    Milestone(
        "2017-06",
        "Transformer",
        "1706.03762",
        "A translator made of attention, without recurrence.",
    ),
    Milestone(
        "2018-06",
        "GPT",
        "",
        "A decoder is pretrained on books, then fine-tuned for each task.",
    ),
    Milestone(
        "2018-10",
        "BERT",
        "1810.04805",
        "An encoder reads both sides of a gap and fills it.",
    ),
    Milestone(
        "2019-02",
        "GPT-2",
        "",
        "A larger GPT tries tasks zero-shot: without any example.",
    ),
    Milestone("2019-10", "T5", "1910.10683", "Every task becomes text in, text out."),
    Milestone(
        "2020-01",
        "Scaling laws",
        "2001.08361",
        "Loss falls as a power of size, data or compute.",
    ),
    Milestone(
        "2020-05",
        "GPT-3",
        "2005.14165",
        "Few-shot: a few examples in the prompt set the task.",
    ),
    Milestone(
        "2021-06",
        "LoRA",
        "2106.09685",
        "Two thin matrices are trained beside each frozen one.",
    ),
    Milestone(
        "2022-03",
        "InstructGPT",
        "2203.02155",
        "Human rankings teach it to follow orders.",
        "2022-01",
    ),
    Milestone(
        "2022-03",
        "Chinchilla",
        "2203.15556",
        "At equal compute, a smaller model on more text wins.",
    ),
    Milestone(
        "2022-11", "ChatGPT", "", "A chat page brings such a model to everybody."
    ),
    Milestone(
        "2023-02",
        "LLaMA",
        "2302.13971",
        "Small open models, most of them trained past the optimum.",
    ),
    Milestone(
        "2023-05",
        "DPO",
        "2305.18290",
        "Preferences are learned with one loss and no reward model.",
    ),
    Milestone(
        "2023-10",
        "Mistral 7B",
        "2310.06825",
        "Shared key/value heads, a sliding window.",
        "2023-09",
    ),
    Milestone(
        "2024-01",
        "Mixtral",
        "2401.04088",
        "Each layer sends a token to 2 of 8 experts.",
        "2023-12",
    ),
    Milestone(
        "2024-02",
        "GRPO",
        "2402.03300",
        "DeepSeekMath scores each answer against its own group.",
    ),
    Milestone(
        "2024-07",
        "Llama 3",
        "2407.21783",
        "Open models of up to 405 billion parameters.",
        "2024-04",
    ),
    Milestone(
        "2024-08",
        "Gemma 2",
        "2408.00118",
        "Local and global attention take turns.",
        "2024-06",
    ),
    Milestone(
        "2024-12",
        "DeepSeek-V3",
        "2412.19437",
        "256 small experts and compressed keys and values.",
    ),
    Milestone(
        "2025-01",
        "DeepSeek-R1",
        "2501.12948",
        "Rewards for right answers teach it to reason.",
    ),
    Milestone(
        "2025-02",
        "SmolLM2",
        "2502.02737",
        "135 million parameters can be useful.",
        "2024-11",
    ),
    Milestone(
        "2025-05",
        "Qwen3",
        "2505.09388",
        "One model answers with or without reasoning.",
        "2025-04",
    ),
)

CIRCULATING_TIMELINE: tuple[
    Claim, ...
] = (  # months that published notes give beside these very ids
    ("Transformer", "2017-06", "1706.03762"),
    ("BERT", "2018-10", "1810.04805"),
    ("T5", "2019-10", "1910.10683"),
    ("GPT-3", "2020-05", "2005.14165"),
    ("InstructGPT", "2022-01", "2203.02155"),
    ("Llama", "2023-01", "2302.13971"),
    ("Mistral", "2023-03", "2310.06825"),
    ("Gemma 2", "2024-05", "2408.00118"),
    ("SmolLM2", "2024-11", "2502.02737"),
)


def arxiv_month(arxiv: str) -> str:
    """The month in which a paper got its arXiv id, read off the id: YYMM.number, perhaps with a version.

    >>> arxiv_month("2302.13971"), arxiv_month("1706.03762v7")
    ('2023-02', '2017-06')
    """
    match = re.fullmatch(r"([0-9]{2})(0[1-9]|1[0-2])\.[0-9]{4,5}(v[0-9]+)?", arxiv)
    if match is None:
        raise ValueError(
            f"{arxiv!r} is not an arXiv id of the form YYMM.number (in use since April 2007)."
        )
    return f"20{match[1]}-{match[2]}"


def audit(claims: Sequence[Claim]) -> list[Claim]:
    """The claims (name, claimed month, arXiv id) that contradict their own id, as (name, claimed, right).

    >>> audit([("BERT", "2018-10", "1810.04805"), ("Llama", "2023-01", "2302.13971")])
    [('Llama', '2023-01', '2023-02')]
    """
    dated = [(name, claimed, arxiv_month(arxiv)) for name, claimed, arxiv in claims]
    return [
        (name, claimed, right) for name, claimed, right in dated if claimed != right
    ]


def verdict(claim: Claim) -> str:
    """What the claimed month is: the "paper"'s, that of a "release" before the paper, or "neither".

    >>> verdict(("SmolLM2", "2024-11", "2502.02737")), verdict(("Gemma 2", "2024-05", "2408.00118"))
    ('release', 'neither')
    """
    _, claimed, arxiv = claim
    if claimed == arxiv_month(arxiv):
        return "paper"
    releases = {milestone.arxiv: milestone.released for milestone in TIMELINE}
    return "release" if claimed == releases.get(arxiv) else "neither"
