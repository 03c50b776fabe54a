"""Answers to lesson 05: examples as a rectangle, who may look at whom; right ones, and people's mistakes."""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from course_lib.batches import pad_right
from course_lib.masks import causal_mask
from course_lib.sft.examples import check_counts
from tools.graders import Battery

battery = Battery()


# --- collate: right ---------------------------------------------------------------------------


@battery.right("collate")
def with_pad_right(examples, pad):
    check_counts(examples)
    return (
        pad_right([example.ids for example in examples], pad),
        pad_right([example.mask for example in examples], False),
    )


@battery.right("collate")
def with_lists(examples, pad):
    check_counts(examples)
    width = max(len(ids) for ids, _ in examples)
    ids = [list(ids) + [pad] * (width - len(ids)) for ids, _ in examples]
    mask = [list(mask) + [False] * (width - len(mask)) for _, mask in examples]
    return torch.tensor(ids), torch.tensor(mask)


@battery.right("collate")
def written_into_full_tensors(examples, pad):
    check_counts(examples)
    B, T = len(examples), max(len(example.ids) for example in examples)
    ids = torch.full((B, T), pad)
    mask = torch.zeros(B, T, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.mask)] = torch.tensor(example.mask)
    return ids, mask


@battery.right("collate")
def with_torchs_own(examples, pad):
    check_counts(examples)
    ids = [torch.tensor(e.ids) for e in examples]
    mask = [torch.tensor(e.mask) for e in examples]
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad),
        pad_sequence(mask, batch_first=True, padding_value=False),
    )


@battery.right("collate")
def by_the_places(examples, pad):
    check_counts(examples)
    lengths = torch.tensor([len(e.ids) for e in examples])
    real = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(real.shape, pad)
    ids[real] = torch.tensor([i for e in examples for i in e.ids])
    mask = torch.zeros_like(real)
    mask[real] = torch.tensor([c for e in examples for c in e.mask])
    return ids, mask


@battery.right("collate")
def in_numpy(examples, pad):
    for example in examples:
        if not any(example.mask[1:]):
            raise ValueError("nothing counts")
    T = max(len(e.ids) for e in examples)
    ids = np.full((len(examples), T), pad, dtype=np.int64)
    mask = np.zeros((len(examples), T), dtype=bool)
    for row, (tokens, counts) in enumerate(examples):
        ids[row, : len(tokens)], mask[row, : len(counts)] = tokens, counts
    return torch.from_numpy(ids), torch.from_numpy(mask)


# --- collate: wrong ---------------------------------------------------------------------------


def _collate(says):
    return battery.wrong("collate", says=says)


def _changed(name, says, change):
    """The right rectangle, then changed by change(ids, mask, examples, pad)."""

    def answer(examples, pad):
        ids, mask = with_pad_right(examples, pad)
        return change(ids, mask, examples, pad)

    answer.__name__ = name
    _collate(says)(answer)


def _lengths(examples):
    return torch.tensor([len(e.ids) for e in examples])[:, None]


def _real(ids, examples):
    return torch.arange(ids.shape[1]) < _lengths(examples)


_changed("mask_by_looking_for_pad", "made from the ids", lambda i, m, e, p: (i, i != p))
_changed("end_eaten_by_the_padding", "equal pad", lambda i, m, e, p: (i, m & (i != p)))
_changed("padding_counts", "padding counts", lambda i, m, e, p: (i, m | ~_real(i, e)))
_changed(
    "all_but_padding", "prompt counts as well", lambda i, m, e, p: (i, _real(i, e))
)
_changed(
    "everything_counts", "Everything counts", lambda i, m, e, p: (i, torch.ones_like(m))
)
_changed(
    "nothing_counts", "Nothing counts", lambda i, m, e, p: (i, torch.zeros_like(m))
)
_changed("mask_of_the_padding", "wrong way round", lambda i, m, e, p: (i, ~m))
_changed(
    "end_outside_the_loss",
    "last token of each example",
    lambda i, m, e, p: (i, m & (torch.arange(i.shape[1]) < _lengths(e) - 1)),
)
_changed("mask_shifted", "mask is shifted", lambda i, m, e, p: (i, m.roll(-1, 1)))
_changed(
    "mask_shifted_to_the_right", "mask is shifted", lambda i, m, e, p: (i, m.roll(1, 1))
)
_changed("first_mask_for_all", "same mask", lambda i, m, e, p: (i, m[:1].expand_as(m)))
_changed("labels_as_ids", "hold -100", lambda i, m, e, p: (i.masked_fill(~m, -100), m))
_changed(
    "filled_with_ignored",
    "hold -100",
    lambda i, m, e, p: (i.masked_fill(~_real(i, e), -100), m),
)
_changed(
    "filled_with_zeros",
    "another number",
    lambda i, m, e, p: (i.masked_fill(~_real(i, e), 0), m),
)
_changed(
    "filled_with_ones",
    "another number",
    lambda i, m, e, p: (i.masked_fill(~_real(i, e), 1), m),
)
_changed("turned_round", "turned round", lambda i, m, e, p: (i.flip(0), m.flip(0)))
_changed("mask_as_numbers", "True or False", lambda i, m, e, p: (i, m.long()))
_changed("mask_as_floats", "True or False", lambda i, m, e, p: (i, m.float()))
_changed("ids_as_floats", "whole numbers", lambda i, m, e, p: (i.float(), m))
_changed("ids_as_small_numbers", "whole numbers", lambda i, m, e, p: (i.int(), m))
_changed("exchanged", "mask came first", lambda i, m, e, p: (m, i))
_changed("ids_alone", "returned a Tensor", lambda i, m, e, p: i)
_changed("as_a_table", "returned a dict", lambda i, m, e, p: {"ids": i, "mask": m})
_changed("with_an_attention_mask", "two tensors", lambda i, m, e, p: (i, m, i != p))
_changed("as_lists", "a tensor is wanted", lambda i, m, e, p: (i.tolist(), m.tolist()))
_changed("transposed", "exchanged", lambda i, m, e, p: (i.T, m.T))
_changed(
    "cut_to_the_shortest",
    "shortest",
    lambda i, m, e, p: (i[:, : _lengths(e).min()], m[:, : _lengths(e).min()]),
)
_changed(
    "as_wide_as_the_first",
    "first example",
    lambda i, m, e, p: (i[:, : len(e[0].ids)], m[:, : len(e[0].ids)]),
)
_changed(
    "shifted_for_the_model",
    "last column is missing",
    lambda i, m, e, p: (i[:, :-1], m[:, 1:]),
)
_changed(
    "mask_for_what_is_predicted",
    "last column is missing",
    lambda i, m, e, p: (i, m[:, 1:]),
)
_changed(
    "one_too_wide",
    "no wider",
    lambda i, m, e, p: (
        pad_right([[*x.ids, p] for x in e], p),
        pad_right([[*x.mask, False] for x in e], False),
    ),
)
_changed(
    "a_dimension_too_many", "dimension was added", lambda i, m, e, p: (i[None], m[None])
)
_changed("flat", "All rows stand in one", lambda i, m, e, p: (i.flatten(), m.flatten()))
_changed(
    "own_last_token",
    "own last token",
    lambda i, m, e, p: (torch.where(_real(i, e), i, i.gather(1, _lengths(e) - 1)), m),
)


def _trailing(ids, mask, pad, kept):
    """The mask without what stands behind the last token that is not pad."""
    last = ((ids != pad) * torch.arange(1, 1 + ids.shape[1])).amax(1, keepdim=True)
    return ids, mask & (torch.arange(ids.shape[1]) < last + kept)


_changed(
    "trailing_pads_out",
    "last token of each|equal pad|In the mask",
    lambda i, m, e, p: _trailing(i, m, p, 0),
)
_changed(
    "trailing_pads_out_but_one",
    "In the mask|equal pad",
    lambda i, m, e, p: _trailing(i, m, p, 1),
)
_changed(
    "prompt_wiped_out",
    "Row 0 has the ids",
    lambda i, m, e, p: (i.masked_fill(~m, p), m),
)


@_collate("on the left")
def padded_on_the_left(examples, pad):
    check_counts(examples)
    width = max(len(ids) for ids, _ in examples)
    ids = [[pad] * (width - len(ids)) + list(ids) for ids, _ in examples]
    mask = [[False] * (width - len(mask)) + list(mask) for _, mask in examples]
    return torch.tensor(ids), torch.tensor(mask)


@_collate("filled up on the left, and the ids")
def mask_padded_on_the_left(examples, pad):
    return with_pad_right(examples, pad)[0], padded_on_the_left(examples, pad)[1]


@_collate("longest example sets the width")
def of_a_fixed_width(examples, pad):
    check_counts(examples)
    width = 8
    ids = [(list(ids) + [pad] * width)[:width] for ids, _ in examples]
    mask = [(list(mask) + [False] * width)[:width] for _, mask in examples]
    return torch.tensor(ids), torch.tensor(mask)


@_collate("longest example sets the width")
def never_wider_than_ten(examples, pad):
    ids, mask = with_pad_right(examples, pad)
    return ids[:, :10], mask[:, :10]


@_collate("sorted by length")
def sorted_by_length(examples, pad):
    check_counts(examples)
    return with_pad_right(sorted(examples, key=lambda e: -len(e.ids)), pad)


@_collate("sorted by length")
def sorted_with_the_shortest_first(examples, pad):
    return with_pad_right(sorted(examples, key=lambda e: len(e.ids)), pad)


@_collate("padding counts")
def mask_filled_with_true(examples, pad):
    check_counts(examples)
    ids = pad_right([ids for ids, _ in examples], pad)
    return ids, pad_right([mask for _, mask in examples], True)


@_collate("padding counts")
def mask_filled_with_pad(examples, pad):
    check_counts(examples)
    ids = pad_right([ids for ids, _ in examples], pad)
    return ids, pad_right([[int(c) for c in mask] for _, mask in examples], pad).bool()


@_collate("rectangle|not one yet")
def not_padded(examples, pad):
    check_counts(examples)
    return torch.tensor([e.ids for e in examples]), torch.tensor(
        [e.mask for e in examples]
    )


@_collate("as all examples together")
def all_in_one_row(examples, pad):
    check_counts(examples)
    ids = [i for e in examples for i in e.ids]
    mask = [c for e in examples for c in e.mask]
    return torch.tensor([ids] * len(examples)), torch.tensor([mask] * len(examples))


@_collate("whole numbers")
def through_torch_Tensor(examples, pad):
    check_counts(examples)
    ids = [torch.Tensor(e.ids) for e in examples]
    mask = pad_right([e.mask for e in examples], False)
    return pad_sequence(ids, batch_first=True, padding_value=pad), mask


@_collate("changed its own input")
def padded_in_place(examples, pad):
    check_counts(examples)
    width = max(len(ids) for ids, _ in examples)
    for ids, mask in examples:
        mask += [False] * (width - len(mask))
        ids += [pad] * (width - len(ids))
    return torch.tensor([e.ids for e in examples]), torch.tensor(
        [e.mask for e in examples]
    )


@_collate("changed its own input")
def sorted_in_place(examples, pad):
    examples.sort(key=lambda e: -len(e.ids))
    return with_pad_right(examples, pad)


@_collate("no token counts")
def without_a_check(examples, pad):
    ids = pad_right([ids for ids, _ in examples], pad)
    return ids, pad_right([mask for _, mask in examples], False)


@_collate("only the very first token counts")
def with_a_check_of_its_own(examples, pad):
    if not all(any(e.mask) for e in examples):
        raise ValueError("nothing counts")
    return without_a_check(examples, pad)


@_collate("no token counts")
def without_those_of_which_nothing_counts(examples, pad):
    return without_a_check([e for e in examples if any(e.mask[1:])], pad)


@_collate("do not add up")
def lists_only(examples, pad):
    check_counts(examples)
    width = max(len(ids) for ids, _ in examples)
    ids = [ids + [pad] * (width - len(ids)) for ids, _ in examples]
    mask = [mask + [False] * (width - len(mask)) for _, mask in examples]
    return torch.tensor(ids), torch.tensor(mask)


@_collate("Rows and masks are taken as they come")
def without_the_first_token(examples, pad):
    ids, mask = with_pad_right(examples, pad)
    mask[:, 0] = False
    return ids, mask


@_collate("shape")
def the_worked_rectangle(examples, pad):
    return torch.tensor([[5, 6, 1], [7, 1, pad]]), torch.tensor(
        [[0, 1, 1], [0, 1, 0]]
    ).bool()


_BUFFER = torch.zeros(8, 400, dtype=torch.long)


@_collate("second call")
def one_buffer_for_all_calls(examples, pad):
    ids, mask = with_pad_right(examples, pad)
    B, T = ids.shape
    _BUFFER[:B, :T] = ids
    return _BUFFER[:B, :T], mask


# --- block_diagonal_mask: right ---------------------------------------------------------------


@battery.right("block_diagonal_mask")
def by_comparing(documents):
    T = documents.shape[1]
    same = documents.unsqueeze(1) == documents.unsqueeze(2)  # (B, T, T)
    return (same & causal_mask(T, T)).unsqueeze(1)


@battery.right("block_diagonal_mask")
def in_four_loops(documents):
    B, T = documents.shape
    numbers = documents.tolist()
    mask = torch.zeros(B, 1, T, T, dtype=torch.bool)
    for b in range(B):
        for q in range(T):
            for k in range(q + 1):
                if numbers[b][q] == numbers[b][k]:
                    mask[b, 0, q, k] = True
    return mask


@battery.right("block_diagonal_mask")
def by_blocks(documents):
    masks = []
    for row in documents:
        _, sizes = row.unique_consecutive(return_counts=True)
        blocks = [torch.ones(int(n), int(n)).tril() for n in sizes]
        masks.append(torch.block_diag(*blocks).bool())
    return torch.stack(masks)[:, None]


@battery.right("block_diagonal_mask")
def by_one_hot_vectors(documents):
    here = torch.nn.functional.one_hot(documents).float()  # (B, T, documents)
    return ((here @ here.mT) > 0.5).tril()[:, None]


@battery.right("block_diagonal_mask")
def by_the_beginning_of_the_document(documents):
    places = torch.arange(documents.shape[1])
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    first = (places * begins).cummax(dim=1).values  # (B, T)
    after_first = places[None, None, :] >= first[:, :, None]
    return (after_first & (places[None, :] <= places[:, None]))[:, None]


@battery.right("block_diagonal_mask")
def by_numbered_changes(documents):
    changes = torch.nn.functional.pad(documents.diff(dim=1) != 0, (1, 0)).cumsum(1)
    apart = changes[:, None, :, None] - changes[:, None, None, :]
    T = documents.shape[1]
    return torch.where(causal_mask(T, T), apart == 0, False)


@battery.right("block_diagonal_mask")
def by_a_triangle_of_numpy(documents):
    d = documents.numpy()
    same = d[:, :, None] == d[:, None, :]
    return torch.from_numpy(np.tril(same))[:, None]


@battery.right("block_diagonal_mask")
def row_by_row(documents):
    T = documents.shape[1]
    rows = [causal_mask(T, T) * (row == row[:, None]) for row in documents]
    return torch.stack(rows).view(-1, 1, T, T)


# --- block_diagonal_mask: wrong ---------------------------------------------------------------


def _mask(says):
    return battery.wrong("block_diagonal_mask", says=says)


def _masked(name, says, change):
    """change(d, q, k, same, causal): documents as (B, T), as queries and keys, and two masks."""

    def answer(documents):
        T = documents.shape[1]
        q, k = documents[:, None, :, None], documents[:, None, None, :]
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        return change(documents, q, k, q == k, causal)

    answer.__name__ = name
    _mask(says)(answer)


_masked("only_causal", "causal and nothing else", lambda d, q, k, s, c: c.expand_as(s))
_masked(
    "causal_but_for_padding",
    "smaller numbers",
    lambda d, q, k, s, c: c & ((k > 0) == (q > 0)),
)
_masked(
    "only_the_same_document",
    "sees what comes after it in its own",
    lambda d, q, k, s, c: s,
)
_masked("inverted", "wrong way round", lambda d, q, k, s, c: ~(s & c))
_masked("without_heads", "dimension of the heads", lambda d, q, k, s, c: (s & c)[:, 0])
_masked("padding_sees_nothing", "nan", lambda d, q, k, s, c: s & c & (q != 0))
_masked("padding_is_not_seen", "nan", lambda d, q, k, s, c: s & c & (k != 0))
_masked(
    "padding_out_on_both_sides", "nan", lambda d, q, k, s, c: s & c & (k > 0) & (q > 0)
)
_masked(
    "padding_sees_all_before_it",
    "Padding looks at other",
    lambda d, q, k, s, c: (s | (q == 0)) & c,
)
_masked(
    "padding_sees_everything",
    "Padding looks at other",
    lambda d, q, k, s, c: (s & c) | (q == 0),
)
_masked(
    "padding_is_open", "may look at padding", lambda d, q, k, s, c: (s & c) | (k == 0)
)
_masked("smaller_documents_too", "smaller numbers", lambda d, q, k, s, c: (k <= q) & c)
_masked(
    "larger_documents_too", "Padding looks at other", lambda d, q, k, s, c: (k >= q) & c
)
_masked("smaller_documents_whole", "smaller numbers", lambda d, q, k, s, c: k <= q)
_masked(
    "first_row_for_all",
    "like one of them",
    lambda d, q, k, s, c: (s & c)[:1].expand_as(s),
)
_masked(
    "last_row_for_all",
    "like one of them",
    lambda d, q, k, s, c: (s & c)[-1:].expand_as(s),
)
_masked(
    "first_row_alone", "one mask for the whole batch", lambda d, q, k, s, c: (s & c)[:1]
)
_masked(
    "strictly_before", "may not look at itself", lambda d, q, k, s, c: s & c.tril(-1)
)
_masked(
    "all_but_itself",
    "may not look at itself",
    lambda d, q, k, s, c: s & ~torch.eye(len(c), dtype=torch.bool),
)
_masked("neighbours", "Only neighbours", lambda d, q, k, s, c: s & c & ~c.tril(-2))
_masked(
    "itself_only",
    "itself and nothing else",
    lambda d, q, k, s, c: torch.eye(len(c), dtype=torch.bool).expand_as(s),
)
_masked(
    "turned_round", "Rows of the mask are queries", lambda d, q, k, s, c: (s & c).mT
)
_masked(
    "causal_turned_round", "Rows of the mask are queries", lambda d, q, k, s, c: s & c.T
)
_masked("either_of_them", "Both have to be met", lambda d, q, k, s, c: s | c)
_masked(
    "everything", "Everything is permitted", lambda d, q, k, s, c: torch.ones_like(s)
)
_masked("nothing", "Nothing is permitted", lambda d, q, k, s, c: torch.zeros_like(s))
_masked("as_numbers", "True or False", lambda d, q, k, s, c: (s & c).int())
_masked("as_floats", "True or False", lambda d, q, k, s, c: (s & c).float())
_masked("multiplied", "True or False", lambda d, q, k, s, c: s.long() * c)
_masked(
    "added_to_scores",
    "minus infinity",
    lambda d, q, k, s, c: torch.zeros(s.shape).masked_fill(~(s & c), -torch.inf),
)
_masked(
    "heads_at_the_end",
    "new dimension is the second",
    lambda d, q, k, s, c: (s & c)[:, 0, ..., None],
)
_masked(
    "heads_first",
    "texts stand where the heads",
    lambda d, q, k, s, c: (s & c).transpose(0, 1),
)
_masked(
    "same_as_the_token_before",
    "one value for each key",
    lambda d, q, k, s, c: (d == d.roll(1, 1))[:, None, None],
)
_masked(
    "one_value_for_each_token", "one value for each token", lambda d, q, k, s, c: d != 0
)
_masked(
    "differences", "leaves one place fewer", lambda d, q, k, s, c: (s & c)[..., 1:, 1:]
)
_masked(
    "same_or_the_one_before",
    "documents",
    lambda d, q, k, s, c: ((q - k).abs() <= 1) & c,
)
_masked(
    "first_document_open_to_all",
    "documents|document",
    lambda d, q, k, s, c: (s | (k == 1)) & c,
)
_masked("window_of_three", "document", lambda d, q, k, s, c: s & c & ~c.tril(-3))
_masked(
    "of_at_most_ten_tokens",
    "document",
    lambda d, q, k, s, c: s & c & (torch.arange(len(c)) < 10),
)
_masked(
    "products_that_are_squares",
    "Padding looks",
    lambda d, q, k, s, c: (q * k == q**2) & c,
)
_masked(
    "texts_compared", "shape", lambda d, q, k, s, c: (d[:, None] == d[None])[:, None]
)
_masked("as_a_list", "returned a list", lambda d, q, k, s, c: (s & c).tolist())
_masked(
    "first_token_of_the_row_open",
    "document",
    lambda d, q, k, s, c: (s | (torch.arange(len(c)) == 0)) & c,
)
_masked(
    "two_documents_only", "document", lambda d, q, k, s, c: ((q > 1) == (k > 1)) & c
)


@_mask("True or False")
def booleans_of_the_wrong_kind(documents):
    return by_comparing(documents).to(torch.uint8)


@_mask("changed its own input")
def padding_renumbered_in_place(documents):
    documents[documents == 0] = documents.max() + 1
    return by_comparing(documents)


@_mask("shape")
def the_worked_mask(documents):
    return torch.tensor([[[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]]).bool()


@_mask("dimension of the heads")
def squeezed(documents):
    return by_comparing(documents).squeeze()


@_mask("4, 8, 8")
def with_four_heads(documents):
    return by_comparing(documents).expand(-1, 4, -1, -1)


@_mask("stopped with RuntimeError")
def blocks_of_a_flat_batch(documents):
    _, sizes = documents.flatten().unique_consecutive(return_counts=True)
    blocks = [torch.ones(int(n), int(n)).tril() for n in sizes]
    B, T = documents.shape
    return torch.block_diag(*blocks).bool().view(B, 1, T, T)


@_mask("document")
def documents_of_the_first_row(documents):
    _, sizes = documents[0].unique_consecutive(return_counts=True)
    blocks = [torch.ones(int(n), int(n)).tril() for n in sizes]
    mask = torch.block_diag(*blocks).bool()
    return mask.expand(len(documents), 1, *mask.shape)


_masked(
    "padding_before_it_is_seen",
    "may look at padding",
    lambda d, q, k, s, c: (s | (k == 0)) & c,
)
_masked(
    "a_window_of_five",
    "may not look at place",
    lambda d, q, k, s, c: s & c & ~c.tril(-5),
)
_masked(
    "a_window_of_twelve",
    "may not look at place",
    lambda d, q, k, s, c: s & c & ~c.tril(-12),
)
_masked(
    "comparison_turned_round",
    "comparison is the wrong way round",
    lambda d, q, k, s, c: (q != k) & c,
)


@_mask("document")
def blocks_in_rising_order(documents):
    """Counts how often each number comes, as if they stood in order."""
    blocks = [[torch.ones(n, n) for n in row.bincount().tolist()] for row in documents]
    masks = [torch.block_diag(*row).bool().tril() for row in blocks]
    return torch.stack(masks)[:, None]


@_mask("document")
def three_documents_at_most(documents):
    here = [documents == number for number in range(4)]
    pairs = [h[:, None, :, None] & h[:, None, None, :] for h in here]
    return torch.stack(pairs).any(dim=0).tril()
