"""A text pipeline: text to numbers, numbers to scores, scores to an answer.

Every use of a language model has these three steps, whatever library hides
them. The model here is the smallest that learns anything: it averages word
vectors and never sees the order of the words. Left out: subword tokens
(lesson 01) and any architecture that deserves the name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.logprobs import softmax
from course_lib.masks import masked_mean


class WordVocabulary:
    """Words to numbers and back; 0 is padding, 1 is every word never seen in training.

    >>> vocabulary = WordVocabulary(["the soup was good"])
    >>> vocabulary.encode("the tea was good"), len(vocabulary)
    ([4, 1, 5, 2], 6)
    """

    def __init__(self, texts: Sequence[str]):
        self.words = [
            "<pad>",
            "<unknown>",
            *sorted({word for text in texts for word in text.split()}),
        ]
        self.ids = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(word, 1) for word in text.split()]

    def for_transformers(self):
        """The same vocabulary as a tokenizer of the transformers library."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.WordLevel(self.ids, unk_token="<unknown>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unknown>"
        )


def pad_batch(sequences: list[list[int]], pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Put sequences of different lengths into one rectangle, filled up on the right.

    sequences: B lists of token ids. Returns ids (B, T), T the longest length,
    and mask (B, T), True where a real token stands. A real token may have the
    value of `pad_id`: only lengths decide.

    >>> pad_batch([[7, 8, 9], [5]])[0]
    tensor([[7, 8, 9],
            [5, 0, 0]])
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    ids = torch.full((len(sequences), int(lengths.max())), pad_id)  # (B, T)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    mask = torch.arange(ids.shape[1]) < lengths.unsqueeze(1)  # (1, T) against (B, 1)
    return ids, mask


class BagOfWords(nn.Module):
    """Average the vectors of a text's words, score each label. Order cannot matter.

    ids, mask (B, T); returns logits (B, labels). `mean` is the average that
    is used, so that another one can be tried.
    """

    def __init__(
        self, vocabulary_size: int, labels: int, width: int = 16, mean=masked_mean
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.scores = nn.Linear(width, labels)
        self.mean = mean

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        vectors = self.embedding(ids)  # (B, T, D)
        text = self.mean(
            vectors, mask.unsqueeze(-1).expand_as(vectors), dim=1
        )  # (B, D)
        return self.scores(text)


def best_labels(logits: Tensor, labels: Sequence[str]) -> list[tuple[str, float]]:
    """For each text the likeliest label and its probability.

    logits (B, number of labels). Returns B pairs (label, probability as a
    Python float).

    >>> best_labels(torch.tensor([[0.0, 0.0, 9.0]]), ["sad", "calm", "glad"])[0][0]
    'glad'
    """
    assert logits.shape[-1] == len(labels), (
        f"one label per column: {logits.shape=} {len(labels)=}"
    )
    probabilities, winners = softmax(logits).max(dim=-1)  # (B,), (B,)
    return [
        (labels[i], p)
        for p, i in zip(probabilities.tolist(), winners.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class TextPipeline:
    """Preprocess, model, postprocess: three functions in a row."""

    preprocess: Callable[[list[str]], tuple[Tensor, Tensor]]  # texts -> ids, mask
    model: Callable[[Tensor, Tensor], Tensor]  # ids, mask -> logits
    postprocess: Callable[[Tensor], list[tuple[str, float]]]  # logits -> answers

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> list[tuple[str, float]]:
        return self.postprocess(self.model(*self.preprocess(texts)))


def train_classifier(
    model: nn.Module,
    ids: Tensor,
    mask: Tensor,
    targets: Tensor,
    steps: int,
    learning_rate: float = 0.02,
) -> list[float]:
    """Fit a classifier by full-batch AdamW steps; returns the loss before each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(ids, mask), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
