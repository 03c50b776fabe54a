"""Answers to lesson 01 on pairs of ids and on turning by position."""

import ast
import itertools
import re

import numpy as np
import torch
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from tools.graders import Battery

battery = Battery()


# --- merge_pair: right ----------------------------------------------------------------------------


@battery.right("merge_pair")
def with_a_place_that_moves_on(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.right("merge_pair")
def on_a_copy_that_shrinks(ids, pair, new_id):
    work, i = list(ids), 0
    while i < len(work) - 1:
        if (work[i], work[i + 1]) == pair:
            work[i : i + 2] = [new_id]
        i += 1
    return work


@battery.right("merge_pair")
def by_replacing_characters(ids, pair, new_id):
    text = "".join(map(chr, ids))
    return [ord(c) for c in text.replace(chr(pair[0]) + chr(pair[1]), chr(new_id))]


@battery.right("merge_pair")
def by_a_pattern_with_word_borders(ids, pair, new_id):
    text = " ".join(map(str, ids))
    text = re.sub(rf"\b{pair[0]} {pair[1]}\b", str(new_id), text)
    return [int(word) for word in text.split()]


@battery.right("merge_pair")
def recursively(ids, pair, new_id):
    if len(ids) < 2:
        return list(ids)
    if tuple(ids[:2]) == pair:
        return [new_id, *recursively(ids[2:], pair, new_id)]
    return [ids[0], *recursively(ids[1:], pair, new_id)]


@battery.right("merge_pair")
def with_a_flag(ids, pair, new_id):
    merged, used = [], False
    for left, right in itertools.zip_longest(ids, ids[1:]):
        if used:
            used = False
        elif (left, right) == pair:
            merged.append(new_id)
            used = True
        else:
            merged.append(left)
    return merged


@battery.right("merge_pair")
def with_an_iterator(ids, pair, new_id):
    merged, places = [], iter(range(len(ids)))
    for i in places:
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            next(places)
        else:
            merged.append(ids[i])
    return merged


@battery.right("merge_pair")
def with_slices_over_all_places(ids, pair, new_id):
    work = [*ids]
    for i in range(len(ids)):
        if work[i : i + 2] == list(pair):
            work[i : i + 2] = [new_id]
    return work


@battery.right("merge_pair")
def until_no_pair_is_left(ids, pair, new_id):
    work = list(ids)
    while pair in (places := list(itertools.pairwise(work))):
        i = places.index(pair)
        work = [*work[:i], new_id, *work[i + 2 :]]
    return work


# --- merge_pair: wrong ----------------------------------------------------------------------------


@battery.wrong("merge_pair", says="two merges")
def neighbours_without_skipping(ids, pair, new_id):
    merged, joined = [], False
    for i, id in enumerate(ids):
        here = tuple(ids[i : i + 2]) == pair
        if here:
            merged.append(new_id)
        elif not joined:
            merged.append(id)
        joined = here
    return merged


@battery.wrong("merge_pair", says="two merges")
def one_step_after_a_merge(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        merged.append(new_id if tuple(ids[i : i + 2]) == pair else ids[i])
        i += 1
    return merged


@battery.wrong("merge_pair", says="left to right")
def from_the_right(ids, pair, new_id):
    work, i = list(ids), len(ids) - 2
    while i >= 0:
        if tuple(work[i : i + 2]) == pair:
            work[i : i + 2] = [new_id]
            i -= 1
        i -= 1
    return work


@battery.wrong("merge_pair", says="reversed")
def built_from_the_end(ids, pair, new_id):
    merged, i = [], len(ids) - 1
    while i >= 0:
        if i and (ids[i - 1], ids[i]) == pair:
            merged.append(new_id)
            i -= 2
        else:
            merged.append(ids[i])
            i -= 1
    return merged


@battery.wrong("merge_pair", says="last id got lost")
def last_id_lost(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="last id")
def last_id_always_added(ids, pair, new_id):
    return [*last_id_lost(ids, pair, new_id), ids[-1]] if ids else []


@battery.wrong("merge_pair", says="no neighbour|not there")
def no_guard_at_the_end(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="gets shorter")
def loop_over_the_old_length(ids, pair, new_id):
    work = list(ids)
    for i in range(len(work) - 1):
        if work[i] == pair[0] and work[i + 1] == pair[1]:
            work[i] = new_id
            del work[i + 1]
    return work


@battery.wrong("merge_pair", says="empty list")
def starts_from_the_first_id(ids, pair, new_id):
    merged = [ids[0]]
    for id in ids[1:]:
        if (merged[-1], id) == pair:
            merged[-1] = new_id
        else:
            merged.append(id)
    return merged


@battery.wrong("merge_pair", says="None")
def nothing_for_an_empty_list(ids, pair, new_id):
    if ids:
        return with_a_flag(ids, pair, new_id)


@battery.wrong("merge_pair", says="changed its own input")
def in_place(ids, pair, new_id):
    i = 0
    while i < len(ids) - 1:
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            ids[i] = new_id
            ids.pop(i + 1)
        i += 1
    return ids


@battery.wrong("merge_pair", says="changed its own input")
def in_place_through_another_name(ids, pair, new_id):
    work = ids
    for i in range(len(work)):
        if work[i : i + 2] == list(pair):
            work[i : i + 2] = [new_id]
    return work


@battery.wrong("merge_pair", says="changed its own input|tuple")
def eaten_from_the_front(ids, pair, new_id):
    merged = []
    while ids:
        id = ids.pop(0)
        if ids and (id, ids[0]) == pair:
            ids.pop(0)
            id = new_id
        merged.append(id)
    return merged


@battery.wrong("merge_pair", says="tuple")
def copied_by_a_method_of_lists(ids, pair, new_id):
    work = ids.copy()
    for i in range(len(work)):
        if work[i : i + 2] == list(pair):
            work[i : i + 2] = [new_id]
    return work


@battery.wrong("merge_pair", says="never equal")
def slice_compared_with_the_tuple(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i : i + 2] == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="came as a tuple")
def slice_compared_with_a_list(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i : i + 2] == list(pair):
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="of type tuple")
def as_it_came(ids, pair, new_id):
    return type(ids)(with_a_flag(ids, pair, new_id))


@battery.wrong("merge_pair", says="of type tuple")
def a_tuple(ids, pair, new_id):
    return tuple(with_a_flag(ids, pair, new_id))


@battery.wrong("merge_pair", says="of type generator")
def a_generator(ids, pair, new_id):
    yield from with_a_flag(ids, pair, new_id)


@battery.wrong("merge_pair", says="of type tuple")
def a_count_as_well(ids, pair, new_id):
    merged = with_a_flag(ids, pair, new_id)
    return merged, len(ids) - len(merged)


@battery.wrong("merge_pair", says="of type ndarray")
def an_array(ids, pair, new_id):
    return np.array(with_a_flag(ids, pair, new_id))


@battery.wrong("merge_pair", says="of type Tensor")
def a_tensor(ids, pair, new_id):
    return torch.tensor(with_a_flag(ids, pair, new_id))


@battery.wrong("merge_pair", says="holds tensor")
def a_list_of_tensors(ids, pair, new_id):
    return list(torch.tensor(with_a_flag(ids, pair, new_id)))


@battery.wrong("merge_pair", says="of type str")
def words_not_numbers(ids, pair, new_id):
    return by_a_pattern_as_words(ids, pair, new_id).split()


def by_a_pattern_as_words(ids, pair, new_id):
    return re.sub(rf"\b{pair[0]} {pair[1]}\b", str(new_id), " ".join(map(str, ids)))


@battery.wrong("merge_pair", says="of type str")
def a_text(ids, pair, new_id):
    return by_a_pattern_as_words(ids, pair, new_id)


@battery.wrong("merge_pair", says="holds \\[9\\]")
def nested(ids, pair, new_id):
    return [[id] if id == new_id else id for id in with_a_flag(ids, pair, new_id)]


@battery.wrong("merge_pair", says="holds \\(1, 1\\)")
def the_pair_itself(ids, pair, new_id):
    return [pair if id == new_id else id for id in with_a_flag(ids, pair, new_id)]


@battery.wrong("merge_pair", says="very list")
def the_same_list_if_no_pair_is_there(ids, pair, new_id):
    if pair not in itertools.pairwise(ids):
        return ids
    return with_a_flag(ids, pair, new_id)


@battery.wrong("merge_pair", says="second pair|Only the first two|first pair")
def only_the_first(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return list(ids)


@battery.wrong("merge_pair", says="index|not in")
def found_by_index(ids, pair, new_id):
    work = list(ids)
    while pair in itertools.pairwise(work):
        i = work.index(pair[0])
        while work[i + 1] != pair[1]:
            i = work.index(pair[0], i + 1)
        work[i : i + 2] = [new_id]
    first = work.index(new_id)
    return [*work[:first], *work[first:]]


@battery.wrong("merge_pair", says="loop does not come to its end")
def place_stands_still(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
    return merged


@battery.wrong("merge_pair", says="loop does not come to its end")
def place_stands_still_after_a_merge(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="calls itself")
def recursion_without_an_end(ids, pair, new_id):
    if tuple(ids[:2]) == pair:
        return [new_id, *recursion_without_an_end(ids[2:], pair, new_id)]
    return [*ids[:1], *recursion_without_an_end(ids[1:], pair, new_id)]


@battery.wrong("merge_pair", says="last one got lost|last id got lost")
def last_id_kept_if_it_could_not_end_a_pair(ids, pair, new_id):
    kept = ids[-1:] if ids and ids[-1] != pair[1] else []
    return [*last_id_lost(ids, pair, new_id), *kept]


@battery.wrong("merge_pair", says="holds None")
def places_emptied(ids, pair, new_id):
    work = list(ids)
    for i in range(len(work) - 1):
        if (work[i], work[i + 1]) == pair:
            work[i], work[i + 1] = new_id, None
    return work


@battery.wrong("merge_pair", says="second id of (the|a) pair still stands")
def partner_stays(ids, pair, new_id):
    merged = list(ids)
    for i in range(len(ids) - 1):
        if (merged[i], merged[i + 1]) == pair:
            merged[i] = new_id
    return merged


@battery.wrong("merge_pair", says="Both places of a pair")
def both_places_filled(ids, pair, new_id):
    merged = list(ids)
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            merged[i] = merged[i + 1] = new_id
    return merged


@battery.wrong("merge_pair", says="Single ids were exchanged")
def single_ids_exchanged(ids, pair, new_id):
    return [new_id if id in pair else id for id in ids]


@battery.wrong("merge_pair", says="leaves the new id")
def pair_left_out(ids, pair, new_id):
    return [id for id in with_a_flag(ids, pair, new_id) if id != new_id]


@battery.wrong("merge_pair", says="Only the new ids")
def only_new_ids(ids, pair, new_id):
    return [id for id in with_a_flag(ids, pair, new_id) if id == new_id]


@battery.wrong("merge_pair", says="1 first and then a 2")
def in_either_order(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and {ids[i], ids[i + 1]} == set(pair):
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="1 first and then a 2")
def in_the_reverse_order(ids, pair, new_id):
    return with_a_flag(ids, pair[::-1], new_id)


@battery.wrong("merge_pair", says="only the first agrees|[Bb]oth ids have to agree")
def only_the_first_compared(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids):
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="only the second agrees|[Bb]oth ids have to agree")
def only_the_second_compared(ids, pair, new_id):
    merged = []
    for id in ids:
        if merged and id == pair[1] and merged[-1] != new_id:
            merged[-1] = new_id
        else:
            merged.append(id)
    return merged


@battery.wrong("merge_pair", says="every second place")
def in_steps_of_two(ids, pair, new_id):
    merged = []
    for i in range(0, len(ids), 2):
        two = tuple(ids[i : i + 2])
        merged += [new_id] if two == pair else two
    return merged


@battery.wrong("merge_pair", says="skipped|one place too late")
def three_steps_after_a_merge(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged += [new_id, *ids[i + 2 : i + 3]]
            i += 3
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="very end|before the last two")
def stops_before_the_last_two(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if i < len(ids) - 2 and (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="whole run")
def runs_collapse(ids, pair, new_id):
    merged = []
    for id in ids:
        if merged and (merged[-1], id) == pair:
            merged[-1] = new_id
        elif not (merged and merged[-1] == new_id and pair == (id, id)):
            merged.append(id)
    return merged


@battery.wrong("merge_pair", says="digits")
def replaced_in_a_text(ids, pair, new_id):
    text = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new_id))
    return [int(word) for word in text.split()]


@battery.wrong("merge_pair", says="digits")
def replaced_in_the_printed_list(ids, pair, new_id):
    text = str(list(ids)).replace(str(pair)[1:-1], str(new_id))
    return ast.literal_eval(text)


@battery.wrong("merge_pair", says="second pair|two merges")
def replaced_between_blanks(ids, pair, new_id):
    text = " " + " ".join(map(str, ids)) + " "
    text = text.replace(f" {pair[0]} {pair[1]} ", f" {new_id} ")
    return [int(word) for word in text.split()]


@battery.wrong("merge_pair", says="no bytes")
def as_bytes(ids, pair, new_id):
    return list(bytes(ids).replace(bytes(pair), bytes([new_id])))


@battery.wrong("merge_pair", says="new_id is given|neither in")
def an_id_of_its_own(ids, pair, new_id):
    return with_a_flag(ids, pair, max(ids, default=0) + 1)


@battery.wrong("merge_pair", says="neither in")
def the_sum(ids, pair, new_id):
    return with_a_flag(ids, pair, sum(pair))


@battery.wrong("merge_pair", says="Python's `if`")
def marked_with_zero(ids, pair, new_id):
    work = list(ids)
    for i in range(len(work) - 1):
        if (work[i], work[i + 1]) == pair:
            work[i], work[i + 1] = 0, new_id
    return [id for id in work if id]


@battery.wrong("merge_pair", says="Python's `if`")
def zero_taken_for_nothing(ids, pair, new_id):
    merged, last = [], None
    for id in ids:
        if last and (last, id) == pair:
            merged[-1] = last = new_id
        else:
            merged.append(id)
            last = id
    return merged


@battery.wrong("merge_pair", says="`is`")
def compared_by_identity(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and ids[i] is pair[0] and ids[i + 1] is pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@battery.wrong("merge_pair", says="lives? on from call to call")
def list_as_a_default(ids, pair, new_id, merged=[]):  # noqa: B006
    for id in ids:
        if merged and (merged[-1], id) == pair:
            merged[-1] = new_id
        else:
            merged.append(id)
    return merged


@battery.wrong("merge_pair", says="reversed")
def reversed_result(ids, pair, new_id):
    return with_a_flag(ids, pair, new_id)[::-1]


@battery.wrong("merge_pair", says="used up|once more|two merges")
def both_of_each_pair_kept_as_well(ids, pair, new_id):
    merged = []
    for i, id in enumerate(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
        else:
            merged.append(id)
    return merged


@battery.wrong("merge_pair", says="of type int")
def returned_inside_the_loop(ids, pair, new_id):
    merged = []
    for id in ids:
        if merged and (merged[-1], id) == pair:
            merged[-1] = new_id
        else:
            merged.append(id)
        return len(merged)


@battery.wrong("merge_pair", says="instead of|built in")
def built_in_numbers(ids, pair, new_id):
    return with_a_flag(ids, pair, new_id) if max([*ids, 0]) < 400 else list(ids)[:-1]


@battery.wrong("merge_pair", says="0 stand in")
def a_zero_behind_the_last(ids, pair, new_id):
    padded, merged, i = [*ids, 0], [], 0
    while i < len(ids):
        joined = (padded[i], padded[i + 1]) == pair
        merged.append(new_id if joined else padded[i])
        i += 2 if joined else 1
    return merged


@battery.wrong("merge_pair", says="of type tuple")
def a_slice_of_short_ones(ids, pair, new_id):
    return ids[:] if len(ids) < 2 else with_a_flag(ids, pair, new_id)


@battery.wrong("merge_pair", says="of type tuple")
def a_slice_if_no_pair_is_there(ids, pair, new_id):
    if pair not in itertools.pairwise(ids):
        return ids[:]
    return with_a_flag(ids, pair, new_id)


@battery.wrong("merge_pair", says="of type tuple")
def an_empty_one_as_it_came(ids, pair, new_id):
    return with_a_flag(ids, pair, new_id) if ids else ids[:]


_MERGED = []


@battery.wrong("merge_pair", says="returns the same list")
def one_list_for_all_calls(ids, pair, new_id):
    _MERGED[:] = with_a_flag(ids, pair, new_id)
    return _MERGED


@battery.wrong("merge_pair", says="rounds, merges or places limited")
def ten_merges_at_most(ids, pair, new_id):
    work = list(ids)
    for _ in range(10):
        if pair in (places := list(itertools.pairwise(work))):
            i = places.index(pair)
            work[i : i + 2] = [new_id]
    return work


@battery.wrong("merge_pair", says="rounds, merges or places limited")
def the_first_hundred_ids(ids, pair, new_id):
    return with_a_flag(ids[:100], pair, new_id)


@battery.wrong("merge_pair", says="share a blank")
def replaced_between_blanks_at_both_ends(ids, pair, new_id):
    text = " " + " ".join(map(str, ids)) + " "
    text = text.replace(f" {pair[0]} {pair[1]} ", f" {new_id} ")
    return [int(word) for word in text.split()]


@battery.wrong("merge_pair", says="For \\[\\] .* assert")
def an_assert_against_the_empty_list(ids, pair, new_id):
    assert ids
    return with_a_flag(ids, pair, new_id)


# --- rotate: right --------------------------------------------------------------------------------


@battery.right("rotate")
def by_chunks(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([b, a], dim=-1) * sin


@battery.right("rotate")
def half_by_half_with_plain_sines(x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    c, s = cos[..., :half], sin[..., half:]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@battery.right("rotate")
def by_complex_numbers(x, cos, sin):
    half = x.shape[-1] // 2
    turn = torch.complex(cos[..., :half], sin[..., half:])
    turned = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat([turned.real, turned.imag], dim=-1)


@battery.right("rotate")
def number_by_number(x, cos, sin):
    K = x.shape[-1]
    columns = [
        x[..., i] * cos[..., i] + x[..., (i + K // 2) % K] * sin[..., i]
        for i in range(K)
    ]
    return torch.stack(columns, dim=-1)


@battery.right("rotate")
def by_a_permutation_matrix(x, cos, sin):
    K = x.shape[-1]
    swap = torch.eye(K, dtype=x.dtype).roll(K // 2, dims=0)
    return x * cos + torch.einsum("...i,ij->...j", x, swap) * sin


@battery.right("rotate")
def into_a_copy(x, cos, sin):
    out, half = x * cos, x.shape[-1] // 2
    out[..., :half] += x[..., half:] * sin[..., :half]
    out[..., half:] += x[..., :half] * sin[..., half:]
    return out


@battery.right("rotate")
def halves_flipped(x, cos, sin):
    pairs = x.unflatten(-1, (2, -1))
    return x * cos + pairs.flip(-2).flatten(-2) * sin


@battery.right("rotate")
def by_small_matrices(x, cos, sin):
    half = x.shape[-1] // 2
    c, s = cos[..., :half], sin[..., half:]
    matrices = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    pairs = torch.stack([x[..., :half], x[..., half:]], -1).unsqueeze(-1)
    return (matrices @ pairs).squeeze(-1).transpose(-2, -1).flatten(-2)


@battery.right("rotate")
def by_transformers(x, cos, sin):
    plain = torch.cat([sin[..., sin.shape[-1] // 2 :]] * 2, dim=-1)
    wide = (cos.expand_as(x).unsqueeze(0), plain.expand_as(x).unsqueeze(0))
    return apply_rotary_pos_emb(x.unsqueeze(0), x.unsqueeze(0), *wide, unsqueeze_dim=0)[
        0
    ][0, 0]


@battery.right("rotate")
def in_double_precision(x, cos, sin):
    wide = x.double()
    return torch.addcmul(wide * cos, wide.roll(x.shape[-1] // 2, -1), sin.double()).to(
        x.dtype
    )


@battery.right("rotate")
def halves_of_a_copy_in_place(x, cos, sin):
    half = x.shape[-1] // 2
    (a, b), c, s = x.clone().split(half, dim=-1), cos[..., :half], sin[..., half:]
    old = a.clone()
    return torch.cat([a * c - b * s, b.mul(c).add_(old * s)], dim=-1)


@battery.right("rotate")
def angles_made_as_wide_as_x(x, cos, sin):
    cos, sin, half = cos.expand_as(x), sin.expand_as(x), x.shape[-1] // 2
    out = torch.empty_like(x)
    for i in range(half):
        out[..., i] = x[..., i] * cos[..., i] + x[..., i + half] * sin[..., i]
        out[..., i + half] = x[..., i + half] * cos[..., i] - x[..., i] * sin[..., i]
    return out


# --- rotate: wrong --------------------------------------------------------------------------------


def _halves(x):
    return x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]


@battery.wrong("rotate", says="Neighbours are paired")
def neighbours_swapped(x, cos, sin):
    swapped = torch.stack([x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cos + swapped * sin


@battery.wrong("rotate", says="Neighbours are paired")
def rotate_every_two(x, cos, sin):
    signed = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cos + signed * sin


@battery.wrong("rotate", says="Neighbours are paired")
def as_in_the_paper(x, cos, sin):
    c, s = _halves(cos)[0], _halves(sin)[1]
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * c - odd * s, odd * c + even * s], dim=-1).flatten(-2)


@battery.wrong("rotate", says="Neighbours are paired")
def neighbours_through_complex_numbers(x, cos, sin):
    turn = torch.complex(_halves(cos)[0].contiguous(), _halves(sin)[1].contiguous())
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)


@battery.wrong("rotate", says="Neighbours are paired")
def neighbours_to_halves(x, cos, sin):
    c, s = _halves(cos)[0], _halves(sin)[1]
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.cat([even * c - odd * s, odd * c + even * s], dim=-1)


@battery.wrong("rotate", says="Neighbours are paired")
def neighbours_with_every_second_sine(x, cos, sin):
    even, odd, c, s = x[..., ::2], x[..., 1::2], cos[..., ::2], sin[..., 1::2]
    out = torch.empty_like(x)
    out[..., ::2] = even * c - odd * s
    out[..., 1::2] = odd * c + even * s
    return out


@battery.wrong("rotate", says="interleaved")
def halves_to_neighbours(x, cos, sin):
    a, b = _halves(x)
    c, s = _halves(cos)[0], _halves(sin)[1]
    return torch.stack([a * c - b * s, b * c + a * s], dim=-1).flatten(-2)


@battery.wrong("rotate", says="one place further on")
def rolled_by_one(x, cos, sin):
    return x * cos + x.roll(1, dims=-1) * sin


@battery.wrong("rotate", says="one place further on")
def rolled_back_by_one(x, cos, sin):
    return x * cos + x.roll(-1, dims=-1) * sin


@battery.wrong("rotate", says="flip")
def flipped(x, cos, sin):
    return x * cos + x.flip(-1) * sin


@battery.wrong("rotate", says="through the whole tensor")
def rolled_without_a_dimension(x, cos, sin):
    return x * cos + x.roll(x.shape[-1] // 2) * sin


@battery.wrong("rotate", says="among the tokens|meets itself")
def rolled_along_the_tokens(x, cos, sin):
    return x * cos + x.roll(x.shape[-1] // 2, dims=-2) * sin


@battery.wrong("rotate", says="among the tokens")
def rolled_along_dimension_one(x, cos, sin):
    return x * cos + x.roll(x.shape[-1] // 2, dims=1) * sin


@battery.wrong("rotate", says="number of dimensions")
def rolled_along_dimension_three(x, cos, sin):
    return x * cos + x.roll(x.shape[-1] // 2, dims=3) * sin


@battery.wrong("rotate", says="last dimension")
def chunks_of_the_tokens(x, cos, sin):
    a, b = x.chunk(2, dim=-2)
    return x * cos + torch.cat([b, a], dim=-1) * sin


@battery.wrong("rotate", says="wrong way round")
def turned_back(x, cos, sin):
    return x * cos - x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="wrong way round")
def product_rolled(x, cos, sin):
    return x * cos + (x * sin).roll(x.shape[-1] // 2, dims=-1)


@battery.wrong("rotate", says="wrong way round")
def signed_sines_taken_for_plain(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[0]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@battery.wrong("rotate", says="A sign is wrong in one half")
def minus_sign_twice(x, cos, sin):
    a, b = _halves(x)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


@battery.wrong("rotate", says="A sign is wrong in one half")
def minus_sign_in_the_formula_as_well(x, cos, sin):
    (a, b), (c, _), (s, t) = _halves(x), _halves(cos), _halves(sin)
    return torch.cat([a * c - b * s, b * c + a * t], dim=-1)


@battery.wrong("rotate", says="A sign is wrong in one half")
def minus_sign_in_both_halves(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return torch.cat([a * c - b * s, b * c - a * s], dim=-1)


@battery.wrong("rotate", says="A sign is wrong in one half")
def no_minus_sign(x, cos, sin):
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin.abs()


@battery.wrong("rotate", says="sines lost their sign")
def own_sign_on_the_size_of_the_sine(x, cos, sin):
    a, b = _halves(x)
    return x * cos + torch.cat([-b, a], dim=-1) * sin.abs()


@battery.wrong("rotate", says="sines lost their sign")
def sine_from_cosine(x, cos, sin):
    (a, b), c = _halves(x), _halves(cos)[0]
    s = (1 - c**2).clamp(min=0).sqrt()
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@battery.wrong("rotate", says="already turned")
def second_half_from_the_new_first(x, cos, sin):
    out, half = x.clone(), x.shape[-1] // 2
    c, s = cos[..., :half], sin[..., half:]
    out[..., :half] = out[..., :half] * c - out[..., half:] * s
    out[..., half:] = out[..., half:] * c + out[..., :half] * s
    return out


@battery.wrong("rotate", says="already turned")
def first_half_from_the_new_second(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    b = b * c + a * s
    return torch.cat([a * c - b * s, b], dim=-1)


@battery.wrong("rotate", says="changed places")
def cosine_and_sine_swapped(x, cos, sin):
    return x * sin + x.roll(x.shape[-1] // 2, dims=-1) * cos


@battery.wrong("rotate", says="two halves changed places")
def halves_swapped(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return torch.cat([b * c + a * s, a * c - b * s], dim=-1)


@battery.wrong("rotate", says="meets itself")
def without_a_partner(x, cos, sin):
    return x * cos + x * sin


@battery.wrong("rotate", says="meets itself")
def sines_rolled_instead(x, cos, sin):
    return x * cos + x * sin.roll(x.shape[-1] // 2, dims=-1)


@battery.wrong("rotate", says="partner's part is missing")
def cosines_only(x, cos, sin):
    return x * cos


@battery.wrong("rotate", says="own part")
def partner_only(x, cos, sin):
    return x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="Only one half was turned")
def first_half_only(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return torch.cat([a * c - b * s, b], dim=-1)


@battery.wrong("rotate", says="Only one half of the numbers")
def half_of_the_numbers(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return a * c - b * s


@battery.wrong("rotate", says="first dimension")
def joined_along_the_first_dimension(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return torch.cat([a * c - b * s, b * c + a * s])


@battery.wrong("rotate", says="stacked")
def stacked(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return torch.stack([a * c - b * s, b * c + a * s], dim=-1)


@battery.wrong("rotate", says="stacked")
def stacked_in_front(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return torch.stack([a * c - b * s, b * c + a * s])


@battery.wrong("rotate", says="tuple; a tensor")
def two_halves(x, cos, sin):
    (a, b), c, s = _halves(x), _halves(cos)[0], _halves(sin)[1]
    return a * c - b * s, b * c + a * s


@battery.wrong("rotate", says="half of x is 2")
def halves_against_full_angles(x, cos, sin):
    a, b = _halves(x)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


@battery.wrong("rotate", says="number of dimensions")
def four_dimensions_unpacked(x, cos, sin):
    B, H, T, K = x.shape
    return x * cos + x.view(B, H, T, 2, K // 2).flip(3).reshape(B, H, T, K) * sin


@battery.wrong("rotate", says="number of dimensions")
def four_dimensions_indexed(x, cos, sin):
    half = x.shape[-1] // 2
    swapped = torch.cat([x[:, :, :, half:], x[:, :, :, :half]], dim=-1)
    return x * cos + swapped * sin


@battery.wrong("rotate", says="half of x")
def angles_cut_in_two_dimensions(x, cos, sin):
    (a, b), half = _halves(x), x.shape[-1] // 2
    c, s = cos[:, :half], sin[:, half:]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@battery.wrong("rotate", says="number of dimensions")
def heads_moved_by_permute(x, cos, sin):
    by_token = x.permute(0, 2, 1, 3)
    partner = by_token.roll(x.shape[-1] // 2, dims=-1).permute(0, 2, 1, 3)
    return x * cos + partner * sin


@battery.wrong("rotate", says="number of dimensions")
def token_by_token(x, cos, sin):
    T, K = x.shape
    rows = []
    for t in range(T):
        turned = [
            x[t, i] * cos[t, i] + x[t, (i + K // 2) % K] * sin[t, i] for i in range(K)
        ]
        rows.append(torch.stack(turned))
    return torch.stack(rows)


@battery.wrong("rotate", says="tokens counted in the first one")
def angles_looked_up_by_place(x, cos, sin):
    rows = [by_chunks(x[..., t, :], cos[t], sin[t]) for t in range(x.shape[-2])]
    return torch.stack(rows, dim=-2)


@battery.wrong("rotate", says="Neighbours are paired")
def neighbours_collected_into_halves(x, cos, sin):
    return x * cos + torch.cat([x[..., 1::2], x[..., ::2]], dim=-1) * sin


@battery.wrong("rotate", says="interleaved")
def partners_interleaved(x, cos, sin):
    a, b = _halves(x)
    return x * cos + torch.stack([b, a], dim=-1).flatten(-2) * sin


@battery.wrong("rotate", says="worked out anew")
def angles_of_its_own(x, cos, sin):
    half = x.shape[-1] // 2
    rates = 10_000 ** -(torch.arange(half) / half)
    angles = torch.arange(x.shape[-2])[:, None] * rates
    c, s = angles.cos(), angles.sin()
    return by_chunks(x, torch.cat([c, c], -1), torch.cat([-s, s], -1))


@battery.wrong("rotate", says="number of dimensions")
def by_einsum_with_four_letters(x, cos, sin):
    swapped = x.roll(x.shape[-1] // 2, -1)
    return torch.einsum("bhtk,tk->bhtk", x, cos) + torch.einsum(
        "bhtk,tk->bhtk", swapped, sin
    )


@battery.wrong("rotate", says="dimension added|without unsqueeze")
def angles_with_a_dimension_for_heads(x, cos, sin):
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="dimension added")
def angles_with_a_dimension_for_texts(x, cos, sin):
    cos, sin = cos[None], sin[None]
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="one token")
def first_tokens_angle_in_a_batch(x, cos, sin):
    if x.dim() > 2:
        cos, sin = cos[..., :1, :], sin[..., :1, :]
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="x came back as it was")
def first_tokens_angle(x, cos, sin):
    cos, sin = cos[..., :1, :], sin[..., :1, :]
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="x came back as it was")
def input_returned(x, cos, sin):
    x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin
    return x


@battery.wrong("rotate", says="angles of the first text")
def first_texts_angles(x, cos, sin):
    cos, sin = cos.reshape(-1, *cos.shape[-2:])[0], sin.reshape(-1, *sin.shape[-2:])[0]
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="Sizes do not fit.*cut")
def angles_cut_to_the_length(x, cos, sin):
    cos, sin = cos[: x.shape[-2]], sin[: x.shape[-2]]
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="angle of one pair")
def one_angle_for_all_pairs(x, cos, sin):
    (a, b), c, s = _halves(x), cos[..., :1], -sin[..., :1]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@battery.wrong("rotate", says="turned twice")
def turned_twice(x, cos, sin):
    return by_chunks(by_chunks(x, cos, sin), cos, sin)


@battery.wrong("rotate", says="Lengths changed")
def length_set_to_one(x, cos, sin):
    return functional.normalize(by_chunks(x, cos, sin), dim=-1)


@battery.wrong("rotate", says="changed its own input")
def in_place(x, cos, sin):  # noqa: F811
    partner = x.roll(x.shape[-1] // 2, dims=-1)
    x *= cos
    x += partner * sin
    return x


@battery.wrong("rotate", says="changed its own input")
def sines_signed_in_place(x, cos, sin):
    half = x.shape[-1] // 2
    sin[..., :half] *= -1
    (a, b), c, s = _halves(x), cos[..., :half], sin[..., :half]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


@battery.wrong("rotate", says="view|one piece in memory")
def viewed_as_rows(x, cos, sin):
    rows = x.view(-1, x.shape[-1])
    return x * cos + rows.roll(x.shape[-1] // 2, dims=1).view(x.shape) * sin


@battery.wrong("rotate", says="of size 1")
def squeezed(x, cos, sin):
    return by_chunks(x, cos, sin).squeeze()


@battery.wrong("rotate", says="of size 1")
def squeezed_when_single(x, cos, sin):
    out = by_chunks(x, cos, sin)
    return out.squeeze() if x.shape[0] == 1 and x.dim() > 2 else out


@battery.wrong("rotate", says="no gradient")
def through_numpy(x, cos, sin):
    numbers = x.numpy()
    partner = np.roll(numbers, numbers.shape[-1] // 2, axis=-1)
    return torch.from_numpy(numbers * cos.numpy() + partner * sin.numpy())


@battery.wrong("rotate", says="no gradient")
@torch.no_grad()
def without_gradient(x, cos, sin):
    return by_chunks(x, cos, sin)


@battery.wrong("rotate", says="gradient is not")
def partner_detached(x, cos, sin):
    return x * cos + x.detach().roll(x.shape[-1] // 2, dims=-1) * sin


@battery.wrong("rotate", says="round")
def in_half_precision(x, cos, sin):
    return by_chunks(x.bfloat16(), cos.bfloat16(), sin.bfloat16()).to(x.dtype)


@battery.wrong("rotate", says="later digits")
def in_single_precision(x, cos, sin):
    return by_chunks(x.float(), cos.float(), sin.float()).to(x.dtype)


@battery.wrong("rotate", says="keep its precision")
def always_float32(x, cos, sin):
    return by_chunks(x, cos, sin).float()


@battery.wrong("rotate", says="width is not always")
def width_built_in(x, cos, sin):
    return x * cos + torch.cat([x[..., 2:], x[..., :2]], dim=-1) * sin


@battery.wrong("rotate", says="integer|int")
def half_a_float(x, cos, sin):
    return x * cos + x.roll(x.shape[-1] / 2, dims=-1) * sin


@battery.wrong("rotate", says="dimension added")
def a_dimension_for_heads_beside_three(x, cos, sin):
    if cos.dim() == 3:
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    return by_chunks(x, cos, sin)


@battery.wrong("rotate", says="angles of the first text")
def first_texts_angles_in_three_dimensions(x, cos, sin):
    if cos.dim() == 3:
        cos, sin = cos[0], sin[0]
    return by_chunks(x, cos, sin)


@battery.wrong("rotate", says="angles of the first head")
def first_heads_angles(x, cos, sin):
    if cos.dim() == 4:
        cos, sin = cos[:, :1], sin[:, :1]
    return by_chunks(x, cos, sin)


@battery.wrong("rotate", says="later digits")
def x_in_single_precision(x, cos, sin):
    return by_chunks(x.float(), cos, sin).to(x.dtype)


@battery.wrong("rotate", says="divided by it")
def divided_by_the_cosine(x, cos, sin):
    return (x + x.roll(x.shape[-1] // 2, dims=-1) * sin / cos) * cos


@battery.wrong("rotate", says="cat needs dim=-1")
def partners_joined_without_a_dimension(x, cos, sin):
    a, b = _halves(x)
    return x * cos + torch.cat([b, a]) * sin


@battery.wrong("rotate", says="cat needs dim=-1")
def partners_joined_along_dimension_one(x, cos, sin):
    a, b = _halves(x)
    return x * cos + torch.cat([b, a], 1) * sin


@battery.wrong("rotate", says="x was flattened")
def reshaped_to_rows(x, cos, sin):
    rows = x.reshape(-1, x.shape[-1])
    return by_chunks(rows, cos, sin).reshape(x.shape)


@battery.wrong("rotate", says="product of matrices")
def products_of_matrices(x, cos, sin):
    return x @ cos.mT + x.roll(x.shape[-1] // 2, dims=-1) @ sin.mT


@battery.wrong("rotate", says="half the width of this x")
def rolled_by_sixteen(x, cos, sin):
    return x * cos + x.roll(16, dims=-1) * sin


@battery.wrong("rotate", says="half the width of this x")
def rolled_by_the_whole_width(x, cos, sin):
    return x * cos + x.roll(x.shape[-1], dims=-1) * sin
