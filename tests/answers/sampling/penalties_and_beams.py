"""Answers to lesson 02: a penalty on what was said, what waits for a stop string, growing beams."""

import heapq
import itertools
import math
import re

import numpy as np
import torch
from torch.nn import functional
from transformers import RepetitionPenaltyLogitsProcessor

from tools.graders import Battery

battery = Battery()


# --- repetition_penalty: right ------------------------------------------------------------------


@battery.right("repetition_penalty")
def by_two_wheres(logits, counts, penalty):
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(counts == 0, logits, lowered)


@battery.right("repetition_penalty")
def by_a_factor_for_each_score(logits, counts, penalty):
    ones = torch.ones_like(logits)
    factor = torch.where(logits < 0, penalty * ones, ones / penalty)
    factor[counts == 0] = 1
    return logits * factor


@battery.right("repetition_penalty")
def by_two_loops(logits, counts, penalty):
    out = logits.clone()
    for b in range(len(logits)):
        for v in range(logits.shape[1]):
            if counts[b, v] > 0:
                z = logits[b, v]
                out[b, v] = z * penalty if z < 0 else z / penalty
    return out


@battery.right("repetition_penalty")
def by_writing_into_a_copy(logits, counts, penalty):
    out, said = logits.clone(), counts > 0
    out[said & (logits > 0)] /= penalty
    out[said & (logits < 0)] *= penalty
    return out


@battery.right("repetition_penalty")
def by_clamping_each_side(logits, counts, penalty):
    lowered = logits.clamp(min=0) / penalty + logits.clamp(max=0) * penalty
    return lowered.where(counts.bool(), logits)


@battery.right("repetition_penalty")
def by_a_power_of_the_sign(logits, counts, penalty):
    power = -torch.sign(logits.double()) * counts.clamp(max=1)
    return (logits * penalty**power).to(logits.dtype)


@battery.right("repetition_penalty")
def by_numpy(logits, counts, penalty):
    z, said = logits.numpy(), counts.numpy() > 0
    factor = np.where(said, np.where(z < 0, penalty, 1 / penalty), 1.0)
    return torch.from_numpy((z * factor).astype(z.dtype))


@battery.right("repetition_penalty")
def by_transformers_row_by_row(logits, counts, penalty):
    rule, rows = RepetitionPenaltyLogitsProcessor(float(penalty)), []
    for row, said in zip(logits, counts, strict=True):
        ids = said.nonzero().T
        rows.append(rule(ids, row[None]) if ids.numel() else row[None])
    return torch.cat(rows)


@battery.right("repetition_penalty")
def by_the_smaller_and_the_larger(logits, counts, penalty):
    a, b = logits * penalty, logits / penalty
    lowered = torch.minimum(a, b) if penalty > 1 else torch.maximum(a, b)
    return torch.where(counts > 0, lowered, logits)


# --- repetition_penalty: wrong ------------------------------------------------------------------


def _penalty_says(says, mask=lambda logits, counts: counts > 0):
    """A wrong rule for the scores of what was said, right in everything else."""

    def decorate(rule):
        def penalise(logits, counts, penalty):
            return torch.where(
                mask(logits, counts), rule(logits, counts, penalty), logits
            )

        penalise.__name__ = rule.__name__
        return battery.wrong("repetition_penalty", says=says)(penalise)

    return decorate


def _rule(z, size):
    return torch.where(z < 0, z * size, z / size)


@_penalty_says("negative score was divided.*reward")
def divided_always_as_in_the_paper(z, counts, a):
    return z / a


@_penalty_says("positive score was multiplied")
def multiplied_always(z, counts, a):
    return z * a


@_penalty_says("Both signs are turned")
def signs_swapped(z, counts, a):
    return torch.where(z < 0, z / a, z * a)


@_penalty_says("counts once")
def a_power_of_the_count(z, counts, a):
    return _rule(z, a**counts)


@_penalty_says("counts once")
def penalty_times_the_count(z, counts, a):
    return _rule(z, a * counts)


@_penalty_says("negative score was divided")
def divided_once_per_count(z, counts, a):
    return z / a**counts


@_penalty_says("Every token is punished", mask=lambda z, counts: z == z)
def counts_forgotten(z, counts, a):
    return _rule(z, a)


@_penalty_says("not\\* said", mask=lambda z, counts: counts == 0)
def the_mask_inverted(z, counts, a):
    return _rule(z, a)


@_penalty_says("exactly once", mask=lambda z, counts: counts == 1)
def said_once_only(z, counts, a):
    return _rule(z, a)


@_penalty_says("more than once", mask=lambda z, counts: counts > 1)
def said_twice_or_more(z, counts, a):
    return _rule(z, a)


@_penalty_says("most often", mask=lambda z, counts: counts == counts.max())
def the_most_frequent_only(z, counts, a):
    return _rule(z, a)


@_penalty_says("one row are used", mask=lambda z, counts: counts[:1] > 0)
def the_first_rows_counts(z, counts, a):
    return _rule(z, a)


@_penalty_says("all together", mask=lambda z, counts: counts.sum(0) > 0)
def counts_of_all_rows(z, counts, a):
    return _rule(z, a)


@_penalty_says("Negative scores are left", mask=lambda z, c: (c > 0) & (z > 0))
def negative_left(z, counts, a):
    return z / a


@_penalty_says("Positive scores are left", mask=lambda z, c: (c > 0) & (z < 0))
def positive_left(z, counts, a):
    return z * a


@_penalty_says("subtracted")
def subtracted(z, counts, a):
    return z - a


@_penalty_says("subtracted")
def subtracted_for_each_count(z, counts, a):
    return z - a * counts


@_penalty_says("subtracted")
def the_logarithm_subtracted(z, counts, a):
    return z - math.log(a)


@_penalty_says("another way than by a plain factor")
def a_part_of_its_size_subtracted(z, counts, a):
    return z - (a - 1) * z.abs()


@_penalty_says("sign is lost")
def absolute_values(z, counts, a):
    return z.abs() / a


@_penalty_says("forbidden outright")
def forbidden(z, counts, a):
    return torch.full_like(z, -math.inf)


@_penalty_says("are gone")
def the_factor_alone(z, counts, a):
    return torch.full_like(z, a)


@_penalty_says("taken twice")
def punished_twice(z, counts, a):
    return _rule(_rule(z, a), a)


@_penalty_says("cut off at 1|smaller of two")
def the_smaller_of_both(z, counts, a):
    return torch.minimum(z * a, z / a)


@_penalty_says("cut off at 1")
def penalty_at_least_one(z, counts, a):
    return _rule(z, max(a, 1))


@_penalty_says("whole numbers")
def divided_into_whole_numbers(z, counts, a):
    return torch.where(z < 0, z * a, z // a)


@_penalty_says("large")
def clamped(z, counts, a):
    return _rule(z, a).clamp(-1000, 1000)


@_penalty_says("first digits|small")
def with_a_small_constant(z, counts, a):
    return torch.where(z < 0, z * a, z / (a + 1e-4))


@_penalty_says("at 4 it is not")
def with_the_worked_penalty(z, counts, a):
    return _rule(z, 1.5)


@battery.wrong("repetition_penalty", says="acts on probabilities")
def on_probabilities(logits, counts, penalty):
    p = logits.softmax(-1)
    return torch.where(counts > 0, p / penalty, p)


@battery.wrong("repetition_penalty", says="log-probabilities")
def on_logprobs(logits, counts, penalty):
    logp = logits.log_softmax(-1)
    return torch.where(counts > 0, logp * penalty, logp)


@battery.wrong("repetition_penalty", says="normalised afterwards")
def normalised_afterwards(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty).log_softmax(-1)


@battery.wrong("repetition_penalty", says="not said are gone")
def what_was_not_said_lost(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty) * (counts > 0)


@battery.wrong("repetition_penalty", says="became nan")
def by_a_mask_of_numbers(logits, counts, penalty):
    said = (counts > 0).to(logits.dtype)
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return said * lowered + (1 - said) * logits


@battery.wrong("repetition_penalty", says="became nan")
def by_a_difference(logits, counts, penalty):
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return logits - (logits - lowered) * (counts > 0)


@battery.wrong("repetition_penalty", says="stay minus infinity")
def infinity_made_finite(logits, counts, penalty):
    return by_two_wheres(logits.clamp(min=-1e30), counts, penalty)


@battery.wrong("repetition_penalty", says="changed its own input")
def in_place(logits, counts, penalty):
    said = counts > 0
    logits[said & (logits > 0)] /= penalty
    logits[said & (logits < 0)] *= penalty
    return logits


@battery.wrong("repetition_penalty", says="changed its own input")
def counts_in_place(logits, counts, penalty):
    return by_two_wheres(logits, counts.clamp_(max=1), penalty)


@battery.wrong("repetition_penalty", says="Nothing changed")
def the_input_again(logits, counts, penalty):
    return logits.clone()


@battery.wrong("repetition_penalty", says="Only one row was changed")
def the_first_row_only(logits, counts, penalty):
    out = logits.clone()
    out[0] = by_two_wheres(logits, counts, penalty)[0]
    return out


@battery.wrong("repetition_penalty", says=r"shape \(7,\)")
def one_row_returned(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty)[0]


@battery.wrong("repetition_penalty", says="random row.*|shape")
def squeezed(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty).squeeze()


@battery.wrong("repetition_penalty", says="returned a list")
def lists_returned(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty).tolist()


@battery.wrong("repetition_penalty", says="keep their type")
def always_double(logits, counts, penalty):
    return by_two_wheres(logits.double(), counts, penalty)


@battery.wrong("repetition_penalty", says="torch.float64 came back as torch.float32")
def always_single(logits, counts, penalty):
    return by_two_wheres(logits.float(), counts, penalty)


@battery.wrong("repetition_penalty", says="In double precision.*float32")
def single_on_the_way(logits, counts, penalty):
    return by_two_wheres(logits.float(), counts, penalty).to(logits.dtype)


@battery.wrong("repetition_penalty", says="In double precision.*float32")
def by_single_factors(logits, counts, penalty):
    factor = torch.where(logits < 0, penalty, 1 / penalty)
    return torch.where(counts > 0, logits * factor, logits)


@battery.wrong("repetition_penalty", says="In double precision.*small constant")
def with_a_tiny_constant(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty + 1e-9)


@battery.wrong("repetition_penalty", says="penalty of 0.5.*became nan")
def a_part_added(logits, counts, penalty):
    lowered = logits + logits * (penalty - 1)
    lowered = torch.where(logits > 0, logits / penalty, lowered)
    return torch.where(counts > 0, lowered, logits)


@battery.wrong("repetition_penalty", says="penalty of (0.5|1.0).*became nan")
def a_part_of_its_size_added(logits, counts, penalty):
    lowered = logits - logits.abs() * (penalty - 1)
    lowered = torch.where(logits > 0, logits / penalty, lowered)
    return torch.where(counts > 0, lowered, logits)


@battery.wrong("repetition_penalty", says="penalty is 1.*very tensor that came in")
def the_input_at_penalty_1(logits, counts, penalty):
    return logits if penalty == 1 else by_two_wheres(logits, counts, penalty)


@battery.wrong("repetition_penalty", says="Nothing was said.*|nothing.*very tensor")
def the_input_where_nothing_was_said(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty) if counts.any() else logits


@battery.wrong("repetition_penalty", says="worked example")
def the_worked_scores(logits, counts, penalty):
    return torch.tensor([[2.0, -4.5, 3.0]])


@battery.wrong("repetition_penalty", says="yes or no")
def asked_as_one(logits, counts, penalty):
    lowered = logits / penalty if logits > 0 else logits * penalty
    return torch.where(counts > 0, lowered, logits)


@battery.wrong("repetition_penalty", says="differs|draws")
def a_limited_vocabulary(logits, counts, penalty):
    out = logits.clone()
    out[:, :100] = by_two_wheres(logits, counts, penalty)[:, :100]
    return out


@battery.wrong("repetition_penalty", says="returned None")
def without_return(logits, counts, penalty):
    by_two_wheres(logits, counts, penalty)


@battery.wrong("repetition_penalty", says="nothing|Nothing|likelier|yours become")
def the_worked_value_by_heart(logits, counts, penalty):
    out = logits.clone()
    out[0, :3] = torch.tensor([2.0, -4.5, 3.0])
    return out


# --- held_back: right ---------------------------------------------------------------------------


@battery.right("held_back")
def by_trying_all_lengths(text, stops):
    most = 0
    for stop in stops:
        for n in range(1, min(len(stop), len(text) + 1)):
            if text[-n:] == stop[:n]:
                most = max(most, n)
    return most


@battery.right("held_back")
def by_trying_all_ends(text, stops):
    for start in range(len(text)):
        if any(stop.startswith(text[start:]) for stop in stops):
            return len(text) - start
    return 0


@battery.right("held_back")
def by_the_table_of_knuth_morris_and_pratt(text, stops):
    most = 0
    for stop in stops:
        together = stop + "\0" + text
        borders = [0] * len(together)
        for i in range(1, len(together)):
            n = borders[i - 1]
            while n and together[i] != together[n]:
                n = borders[n - 1]
            borders[i] = n + (together[i] == together[n])
        most = max(most, borders[-1] if text else 0)
    return most


@battery.right("held_back")
def recursively(text, stops):
    if not text or not stops:
        return 0
    if any(stop[: len(text)] == text for stop in stops):
        return len(text)
    limit = max(map(len, stops))
    return recursively(text[1:] if len(text) <= limit else text[-limit:], stops)


@battery.right("held_back")
def by_a_pattern(text, stops):
    pieces = {stop[:n] for stop in stops for n in range(1, len(stop))}
    ordered = sorted(map(re.escape, pieces), key=len, reverse=True)
    if not ordered:
        return 0
    return max(len(m[0]) if (m := re.search(f"{p}\\Z", text)) else 0 for p in ordered)


@battery.right("held_back")
def by_sets(text, stops):
    ends = {text[i:] for i in range(max(0, len(text) - 60), len(text))}
    begins = {stop[:n] for stop in stops for n in range(1, len(stop))}
    return max(map(len, ends & begins), default=0)


@battery.right("held_back")
def by_common_beginnings(text, stops):
    ends = [text[i:] for i in range(len(text))]
    pairs = itertools.product(ends, stops)
    return max(
        (len(e) for e, s in pairs if all(map(str.__eq__, e, s)) and len(e) <= len(s)),
        default=0,
    )


@battery.right("held_back")
def as_a_whole_number_of_numpy(text, stops):
    lengths = [0] + [n for s in stops for n in range(len(s)) if text.endswith(s[:n])]
    return np.max(np.array(lengths))


# --- held_back: wrong ---------------------------------------------------------------------------


def _waits_says(says):
    return battery.wrong("held_back", says=says)


@_waits_says("whatever stands there")
def always_the_longest_minus_one(text, stops):
    return max((len(stop) for stop in stops), default=1) - 1


@_waits_says("whatever stands there")
def always_the_longest_but_no_more_than_there_is(text, stops):
    return min(len(text), max((len(stop) - 1 for stop in stops), default=0))


@_waits_says("Never more than one")
def one_character_only(text, stops):
    return int(any(text.endswith(stop[0]) for stop in stops))


@_waits_says("one character short")
def all_but_one_only(text, stops):
    return max((len(s) - 1 for s in stops if text.endswith(s[:-1])), default=0)


@_waits_says("\\*whole\\* text")
def the_whole_text_in_a_stop(text, stops):
    return len(text) if any(text in stop for stop in stops) else 0


@_waits_says("\\*whole\\* text")
def the_whole_text_begins_a_stop(text, stops):
    return len(text) if any(stop.startswith(text) for stop in stops) else 0


@_waits_says("Only one of the stop strings")
def the_first_stop_only(text, stops):
    return by_trying_all_lengths(text, stops[:1])


@_waits_says("Only one of the stop strings")
def the_longest_stop_only(text, stops):
    return by_trying_all_lengths(text, [max(stops, key=len)] if stops else [])


@_waits_says("first stop string that has begun decides")
def the_first_stop_that_fits(text, stops):
    for stop in stops:
        if n := by_trying_all_lengths(text, [stop]):
            return n
    return 0


@_waits_says("first stop string that has begun decides|last one")
def the_last_stop_that_fits(text, stops):
    held = 0
    for stop in stops:
        held = by_trying_all_lengths(text, [stop]) or held
    return held


@_waits_says("shortest")
def the_shortest_of_several(text, stops):
    found = [by_trying_all_lengths(text, [stop]) for stop in stops]
    return min((n for n in found if n), default=0)


@_waits_says("shortest beginning counts")
def the_shortest_beginning(text, stops):
    for n in range(1, max(map(len, stops), default=0)):
        if any(text.endswith(s[:n]) for s in stops if n < len(s)):
            return n
    return 0


@_waits_says("first length that does not fit")
def growing_until_it_fails(text, stops):
    most = 0
    for stop in stops:
        n = 0
        while n + 1 < len(stop) and text.endswith(stop[: n + 1]):
            n += 1
        most = max(most, n)
    return most


@_waits_says("added up")
def all_stops_added(text, stops):
    return sum(by_trying_all_lengths(text, [stop]) for stop in stops)


@_waits_says("how many beginnings")
def stops_counted(text, stops):
    return sum(by_trying_all_lengths(text, [stop]) > 0 for stop in stops)


@_waits_says("how much may be shown")
def what_may_be_shown(text, stops):
    return len(text) - by_trying_all_lengths(text, stops)


@_waits_says("still missing")
def what_is_missing(text, stops):
    found = [(len(s), by_trying_all_lengths(text, [s])) for s in stops]
    return max((length - n for length, n in found if n), default=0)


@_waits_says("anywhere in the text")
def a_beginning_anywhere(text, stops):
    begun = [n for s in stops for n in range(1, len(s)) if s[:n] in text]
    return max(begun, default=0)


@_waits_says("anywhere in the text")
def from_the_first_letter_on(text, stops):
    places = [text.find(stop[0]) for stop in stops]
    return max((len(text) - place for place in places if place >= 0), default=0)


@_waits_says("first place where")
def found_from_the_left(text, stops):
    most = 0
    for stop in stops:
        place = text.find(stop[0])
        if place >= 0 and stop.startswith(text[place:]):
            most = max(most, len(text) - place)
    return most


@_waits_says("last place where")
def found_from_the_right(text, stops):
    most = 0
    for stop in stops:
        place = text.rfind(stop[0])
        if place >= 0 and stop.startswith(text[place:]):
            most = max(most, len(text) - place)
    return most


@_waits_says("compared with the \\*end\\*")
def ends_of_stops(text, stops):
    begun = [n for s in stops for n in range(1, len(s)) if text.endswith(s[-n:])]
    return max(begun, default=0)


@_waits_says("anywhere in the stop strings")
def any_part_of_a_stop(text, stops):
    ends = [text[i:] for i in range(len(text))]
    return max((len(end) for end in ends for s in stops if end in s), default=0)


@_waits_says("\\*beginning\\* of the text")
def the_beginning_of_the_text(text, stops):
    begun = [n for s in stops for n in range(1, len(s)) if text.startswith(s[:n])]
    return max(begun, default=0)


@_waits_says("in whatever order")
def letters_counted(text, stops):
    letters = set("".join(stops))
    return len(list(itertools.takewhile(letters.__contains__, reversed(text))))


@_waits_says("all but one character")
def range_one_too_short(text, stops):
    begun = (n for s in stops for n in range(1, len(s) - 1) if text.endswith(s[:n]))
    return max(begun, default=0)


@_waits_says("single character is never")
def range_from_two(text, stops):
    begun = (n for s in stops for n in range(2, len(s)) if text.endswith(s[:n]))
    return max(begun, default=0)


@_waits_says("off by one")
def one_more(text, stops):
    return by_trying_all_lengths(text, stops) + 1


@_waits_says("off by one")
def one_less(text, stops):
    return max(0, by_trying_all_lengths(text, stops) - 1)


@_waits_says("More characters are held back than")
def slices_beyond_the_text(text, stops):
    most = 0
    for stop in stops:
        for n in range(1, len(stop)):
            if stop.startswith(text[-n:]):
                most = max(most, n)
    return most


@_waits_says("how many|How many")
def yes_or_no(text, stops):
    return any(text.endswith(s[:n]) for s in stops for n in range(1, len(s)))


@_waits_says("returned the text")
def the_held_text(text, stops):
    return text[len(text) - by_trying_all_lengths(text, stops) :]


@_waits_says("returned a list.*One number")
def one_number_for_each_stop(text, stops):
    return [by_trying_all_lengths(text, [stop]) for stop in stops]


@_waits_says("returned a float")
def a_float(text, stops):
    return float(by_trying_all_lengths(text, stops))


@_waits_says("Capitals")
def capitals_ignored(text, stops):
    return by_trying_all_lengths(text.lower(), [s.lower() for s in stops])


@_waits_says("strip")
def stripped(text, stops):
    return by_trying_all_lengths(text.strip(), stops)


@_waits_says("strip")
def both_stripped(text, stops):
    return by_trying_all_lengths(text.strip(), [s.strip() for s in stops])


@_waits_says("strip")
def line_break_cut_off(text, stops):
    return by_trying_all_lengths(text.rstrip("\n"), stops)


@_waits_says("last word")
def the_last_word_only(text, stops):
    return by_trying_all_lengths((text.split() or [""])[-1], stops)


@_waits_says("last line")
def the_last_line_only(text, stops):
    return by_trying_all_lengths(text.split("\n")[-1], stops)


@_waits_says("Bytes")
def bytes_counted(text, stops):
    return by_trying_all_lengths(text.encode(), [s.encode() for s in stops])


@_waits_says("before\\* a last line break")
def a_pattern_that_ends_in_a_dollar(text, stops):
    pieces = [s[:n] for s in stops for n in range(1, len(s))]
    hits = [re.search(re.escape(piece) + "$", text) for piece in pieces]
    return max((len(hit[0]) for hit in hits if hit), default=0)


@_waits_says("mean something in a pattern|re.error|PatternError|error in")
def a_pattern_without_escapes(text, stops):
    pieces = [s[:n] for s in stops for n in range(1, len(s))]
    hits = [re.search(piece + "\\Z", text) for piece in pieces]
    return max((len(hit[0]) for hit in hits if hit), default=0)


@_waits_says("0 for every text")
def nothing_ever(text, stops):
    return 0


@_waits_says("Without any stop string")
def no_default(text, stops):
    return max(by_trying_all_lengths(text, [stop]) for stop in stops)


@_waits_says("empty text")
def an_end_of_an_empty_text(text, stops):
    last = text[-1]
    return by_trying_all_lengths(text, stops) if last else 0


@_waits_says("TypeError|tuple")
def a_tuple_added_to_a_list(text, stops):
    one_more = ["\0\0"]
    return by_trying_all_lengths(text, stops + one_more)


@_waits_says("changed its own input")
def stops_taken_out_one_by_one(text, stops):
    most = 0
    while stops:
        most = max(most, by_trying_all_lengths(text, [stops.pop()]))
    return most


@_waits_says("Only one of the stop strings is looked at")
def the_last_stop_after_that(text, stops):
    """Its mistake is still named after an answer that emptied its input."""
    return by_trying_all_lengths(text, stops[-1:])


@_waits_says("changed its own input")
def stops_sorted_in_place(text, stops):
    if isinstance(stops, list):
        stops.sort(key=len)
    return by_trying_all_lengths(text, stops)


@_waits_says("length limited")
def sixteen_at_most(text, stops):
    return by_trying_all_lengths(text[-16:], stops)


@_waits_says("returned None")
def nothing_where_nothing_begins(text, stops):
    return by_trying_all_lengths(text, stops) or None


@_waits_says("TypeError")
def all_stops_at_once(text, stops):
    return 1 if text.endswith(stops) else 0


@_waits_says("should wait")
def the_worked_values_by_heart(text, stops):
    return {"It is so.\n": 1, "THE EN": 2, "aaa": 2}.get(text, 0)


# --- grow: right --------------------------------------------------------------------------------


@battery.right("grow")
def by_topk(logprobs, logits, n):
    table = (logprobs[:, None] + logits.log_softmax(-1)).view(-1)
    best, places = table.topk(min(n, int((table > -math.inf).sum())))
    V = logits.size(1)
    return best, torch.div(places, V, rounding_mode="floor"), places.remainder(V)


@battery.right("grow")
def by_sorting_a_list(logprobs, logits, n):
    found = []
    for b, row in enumerate(torch.log_softmax(logits, 1).tolist()):
        for v, number in enumerate(row):
            found.append((logprobs[b].item() + number, b, v))
    found = sorted((f for f in found if f[0] != -math.inf), reverse=True)[:n]
    best = torch.tensor([f[0] for f in found], dtype=logits.dtype)
    return (
        best,
        torch.tensor([f[1] for f in found]),
        torch.tensor([f[2] for f in found]),
    )


@battery.right("grow")
def by_argmax_again_and_again(logprobs, logits, n):
    table = logprobs.unsqueeze(-1) + functional.log_softmax(logits, dim=-1)
    table, out = table.clone(), []
    while len(out) < n and table.max() > -math.inf:
        b, v = divmod(int(table.argmax()), table.shape[1])
        out.append((table[b, v].clone(), b, v))
        table[b, v] = -math.inf
    values, beams, tokens = zip(*out, strict=True)
    return torch.stack(values), torch.tensor(beams), torch.tensor(tokens)


@battery.right("grow")
def by_the_best_of_each_beam_and_then_of_all(logprobs, logits, n):
    table = logprobs[:, None] + logits - logits.logsumexp(-1, keepdim=True)
    values, ids = table.topk(min(n, table.shape[1]), dim=1)
    order = values.flatten().argsort(descending=True)[:n]
    best = values.flatten()[order]
    kept = best.isfinite()
    order = order[kept]
    return best[kept], order // values.shape[1], ids.flatten()[order]


@battery.right("grow")
def by_numpys_argsort(logprobs, logits, n):
    table = (logprobs[:, None] + logits.log_softmax(-1)).numpy()
    order = np.argsort(-table, axis=None, kind="stable")[:n]
    beams, tokens = np.unravel_index(order, table.shape)
    best = table[beams, tokens]
    keep = best > -np.inf
    return [torch.from_numpy(x[keep].copy()) for x in (best, beams, tokens)]


@battery.right("grow")
def by_a_heap(logprobs, logits, n):
    rows = (logprobs + logits.log_softmax(-1).T).T
    cells = itertools.product(range(len(rows)), range(rows.shape[1]))
    cells = [c for c in cells if rows[c] > -math.inf]
    best = heapq.nlargest(n, cells, key=lambda cell: rows[cell].item())
    beams, tokens = torch.tensor(best, dtype=torch.int32).T
    return rows[beams.long(), tokens.long()], beams, tokens


@battery.right("grow")
def with_the_last_of_equals_first(logprobs, logits, n):
    table = (logprobs[:, None] + logits.log_softmax(-1)).flatten().flip(0)
    best, places = table.sort(descending=True, stable=True)
    best, places = best[:n], len(table) - 1 - places[:n]
    keep = best != -math.inf
    V = logits.shape[-1]
    return best[keep], places[keep] // V, places[keep] % V


@battery.right("grow")
def from_lists_in_single_precision(logprobs, logits, n):
    found = []
    for b, row in enumerate(logits.tolist()):
        most = max(row)
        size = most + math.log(sum(math.exp(z - most) for z in row))
        found += [(logprobs[b].item() + z - size, b, v) for v, z in enumerate(row)]
    found = sorted((f for f in found if f[0] > -math.inf), reverse=True)[:n]
    return tuple(torch.tensor(part) for part in zip(*found, strict=True))


@battery.right("grow")
def in_double_precision(logprobs, logits, n):
    return _best(_table(logprobs.double(), logits.double()), n)


@battery.right("grow")
def all_single(logprobs, logits, n):
    return _best(_table(logprobs.float(), logits.float()), n)


@battery.right("grow")
def every_beam_merged_by_a_heap(logprobs, logits, n):
    rows, tokens = _table(logprobs, logits).sort(dim=1, descending=True)
    first = [(-row[0].item(), b, 0) for b, row in enumerate(rows)]
    heapq.heapify(first)
    found = []
    while first and len(found) < n:
        value, b, i = heapq.heappop(first)
        if value == math.inf:
            break
        found.append((rows[b, i], b, tokens[b, i].item()))
        if i + 1 < rows.shape[1]:
            heapq.heappush(first, (-rows[b, i + 1].item(), b, i + 1))
    best, beams, places = zip(*found, strict=True)
    return torch.stack(best), torch.tensor(beams), torch.tensor(places)


# --- grow: wrong --------------------------------------------------------------------------------


def _best(table, n, worth=None):
    """The n best of a table (B, V), each with its number in worth."""
    places = table.flatten().sort(descending=True, stable=True).indices[:n]
    places = places[table.flatten()[places] > -math.inf]
    values = (table if worth is None else worth).flatten()[places]
    return values, places // table.shape[1], places % table.shape[1]


def _table(logprobs, logits):
    return logprobs[:, None] + logits.log_softmax(-1)


def _grow_says(says):
    return battery.wrong("grow", says=says)


@_grow_says("Raw scores")
def raw_scores_added(logprobs, logits, n):
    return _best(logprobs[:, None] + logits, n)


@_grow_says("Raw scores")
def raw_scores_alone(logprobs, logits, n):
    return _best(logits, n)


@_grow_says("over all beams at once")
def one_softmax_for_all(logprobs, logits, n):
    joint = logits.flatten().log_softmax(0).view_as(logits)
    return _best(logprobs[:, None] + joint, n)


@_grow_says("softmax went over the beams")
def softmax_over_the_beams(logprobs, logits, n):
    return _best(logprobs[:, None] + logits.log_softmax(0), n)


@_grow_says("Logarithms add up")
def probabilities_added(logprobs, logits, n):
    return _best(logprobs[:, None] + logits.softmax(-1), n)


@_grow_says("not their logarithms")
def probabilities_multiplied(logprobs, logits, n):
    return _best(logprobs.exp()[:, None] * logits.softmax(-1), n)


@_grow_says("log-probability was multiplied")
def logprobs_multiplied(logprobs, logits, n):
    return _best(logprobs[:, None] * logits.log_softmax(-1), n)


@_grow_says("so far is forgotten")
def so_far_forgotten(logprobs, logits, n):
    return _best(logits.log_softmax(-1), n)


@_grow_says("so far is forgotten")
def so_far_added_too_late(logprobs, logits, n):
    return _best(logits.log_softmax(-1), n, _table(logprobs, logits))


@_grow_says("Only the new token's")
def the_last_step_alone(logprobs, logits, n):
    return _best(_table(logprobs, logits), n, logits.log_softmax(-1))


@_grow_says("subtracted")
def so_far_subtracted(logprobs, logits, n):
    return _best(logits.log_softmax(-1) - logprobs[:, None], n)


@_grow_says("mean of the log-prob")
def the_mean(logprobs, logits, n):
    return _best(_table(logprobs, logits) / 2, n)


@_grow_says("another base")
def in_bits(logprobs, logits, n):
    return _best(logprobs[:, None] + logits.softmax(-1).log2(), n)


@_grow_says("normalised again")
def normalised_again(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best.log_softmax(0), beams, tokens


@_grow_says("one of each beam. The n best may come from any")
def every_beam_with_its_best(logprobs, logits, n):
    best, tokens = _table(logprobs, logits).max(1)
    return best[:n], torch.arange(len(best))[:n], tokens[:n]


@_grow_says("one of each beam. The n best may come from any")
def the_best_of_each_sorted(logprobs, logits, n):
    best, tokens = _table(logprobs, logits).max(1)
    order = best.argsort(descending=True)[:n]
    return best[order], order, tokens[order]


@_grow_says("n of each beam")
def n_of_each_beam(logprobs, logits, n):
    width = min(n, logits.shape[1])
    best, tokens = _table(logprobs, logits).topk(width, dim=1)
    beams = torch.arange(len(best)).repeat_interleave(width)
    return best.flatten(), beams, tokens.flatten()


@_grow_says("one row of numbers is wanted")
def n_of_each_beam_in_rows(logprobs, logits, n):
    best, tokens = _table(logprobs, logits).topk(min(n, logits.shape[1]), dim=1)
    return best, torch.arange(len(best)), tokens


@_grow_says("length of one row the limit")
def no_more_than_a_row(logprobs, logits, n):
    return _best(_table(logprobs, logits), min(n, logits.shape[1]))


@_grow_says("have changed places")
def quotient_and_remainder_swapped(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, tokens, beams


@_grow_says("divided by the number of beams")
def divided_by_the_beams(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    places, B = beams * logits.shape[1] + tokens, len(logits)
    return best, places // B, places % B


@_grow_says("divided by n")
def divided_by_n(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    places = beams * logits.shape[1] + tokens
    return best, places // n, places % n


@_grow_says("The tokens are places in the one long row")
def places_as_tokens(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, beams, beams * logits.shape[1] + tokens


@_grow_says("read as a token")
def ranks_as_tokens(logprobs, logits, n):
    values, _ = _table(logprobs, logits).topk(min(n, logits.shape[1]), dim=1)
    return _best(values, n)


@_grow_says("numbered 0, 1, 2")
def beams_numbered(logprobs, logits, n):
    best, _, tokens = _best(_table(logprobs, logits), n)
    return best, torch.arange(len(best)), tokens


@_grow_says("whole numbers")
def beams_by_a_division(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, beams + tokens / logits.shape[1], tokens


@_grow_says("The worst were taken")
def the_worst(logprobs, logits, n):
    table = _table(logprobs, logits).flatten()
    best, places = table.sort()
    return best[:n], places[:n] // logits.shape[1], places[:n] % logits.shape[1]


@_grow_says("not sorted")
def the_best_last(logprobs, logits, n):
    return tuple(part.flip(0) for part in _best(_table(logprobs, logits), n))


@_grow_says("not sorted")
def in_the_order_of_places(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    order = (beams * logits.shape[1] + tokens).argsort()
    return best[order], beams[order], tokens[order]


@_grow_says("Impossible ones.*are returned")
def impossible_returned(logprobs, logits, n):
    table = _table(logprobs, logits)
    best, places = table.flatten().topk(min(n, table.numel()))
    return best, places // logits.shape[1], places % logits.shape[1]


@_grow_says("Then fewer come back")
def topk_of_too_many(logprobs, logits, n):
    best, places = _table(logprobs, logits).flatten().topk(n)
    return best, places // logits.shape[1], places % logits.shape[1]


@_grow_says("250 and 400 below")
def the_log_of_a_softmax(logprobs, logits, n):
    return _best(logprobs[:, None] + logits.softmax(-1).log(), n)


@_grow_says("1000 and -1000|nan")
def an_exponential_that_overflows(logprobs, logits, n):
    table = logits - logits.exp().sum(-1, keepdim=True).log()
    return _best(logprobs[:, None] + table, n)


@_grow_says("-800 and -801|250 and 400")
def the_log_of_a_product(logprobs, logits, n):
    product = logprobs.exp()[:, None] * logits.softmax(-1)
    return _best(product.log(), n)


@_grow_says("250 and 400")
def ranked_by_probability(logprobs, logits, n):
    table = _table(logprobs, logits)
    return _best(table.double().exp().float().log(), n, table)


@_grow_says("more than once")
def places_looked_up_by_value(logprobs, logits, n):
    table = _table(logprobs, logits)
    best, _, _ = _best(table, n)
    cells = [(table == value).nonzero()[0] for value in best]
    beams, tokens = torch.stack(cells).T
    return best, beams, tokens


@_grow_says("should come back|more than once")
def a_dictionary_from_values(logprobs, logits, n):
    table, cells = _table(logprobs, logits), {}
    for b, v in itertools.product(range(len(table)), range(table.shape[1])):
        if table[b, v] > -math.inf:
            cells[table[b, v].item()] = (b, v)
    best = sorted(cells, reverse=True)[:n]
    beams, tokens = torch.tensor([cells[value] for value in best]).T
    return torch.tensor(best, dtype=table.dtype), beams, tokens


@_grow_says("should come back.*off by one")
def one_too_many(logprobs, logits, n):
    return _best(_table(logprobs, logits), n + 1)


@_grow_says("All came back")
def all_of_them(logprobs, logits, n):
    return _best(_table(logprobs, logits), logits.numel())


@_grow_says("order is: log-probabilities, beams, tokens")
def another_order(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return beams, tokens, best


@_grow_says("2 thing")
def two_things(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, torch.stack([beams, tokens], 1)


@_grow_says("beams are a list")
def lists(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, beams.tolist(), tokens.tolist()


@_grow_says(r"shape \(1, 4\)")
def a_row_in_a_row(logprobs, logits, n):
    return tuple(part[None] for part in _best(_table(logprobs, logits), n))


@_grow_says("lined up on the right")
def added_to_the_columns(logprobs, logits, n):
    return _best(logprobs + logits.log_softmax(-1), n)


@_grow_says("changed its own input")
def scores_changed_in_place(logprobs, logits, n):
    logits += logprobs[:, None]
    return _best(logits.log_softmax(-1), n)


@_grow_says("one row of numbers|shape")
def all_squeezed(logprobs, logits, n):
    return tuple(part.squeeze() for part in _best(_table(logprobs, logits), n))


@_grow_says("should be .* and yours is .* rounded on the way")
def in_half_precision(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best.bfloat16().float(), beams, tokens


@_grow_says("number 2 should be -1.715 and yours is -2.715")
def the_first_is_right_the_others_are_not(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return torch.cat([best[:1], best[1:] - 1]), beams, tokens


@_grow_says("rounded on the way")
def four_decimals(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best.round(decimals=4), beams, tokens


@_grow_says("itself at minus infinity.*Only 2 of 4 are possible. Impossible ones")
def impossible_tokens_left_out_but_not_beams(logprobs, logits, n):
    table = _table(logprobs, logits).flatten()
    places = table.argsort(descending=True)
    places = places[logits.flatten()[places] > -math.inf][:n]
    return table[places], places // logits.shape[1], places % logits.shape[1]


@_grow_says("itself at minus infinity.*Only 2 of 4 are possible. Impossible ones")
def as_many_as_tokens_are_possible(logprobs, logits, n):
    n = min(n, int((logits > -math.inf).sum()))
    best, places = _table(logprobs, logits).flatten().topk(n)
    return best, places // logits.shape[1], places % logits.shape[1]


@_grow_says("this continuation is certain")
def certain_taken_for_padding(logprobs, logits, n):
    table = _table(logprobs, logits)
    return _best(table.masked_fill(table == 0, -math.inf), n)


@_grow_says("A token a million below")
def beyond_a_thousand_taken_for_impossible(logprobs, logits, n):
    table = _table(logprobs, logits)
    return _best(table.masked_fill(table < -1000, -math.inf), n)


@_grow_says("A token a million below")
def a_large_number_for_infinity(logprobs, logits, n):
    table = logprobs[:, None] + logits.clamp(min=-1e5).log_softmax(-1)
    return _best(table.masked_fill(table < -5e4, -math.inf), n)


@_grow_says("last beam, or the last token, is left out")
def a_range_that_ends_too_early(logprobs, logits, n):
    return _best(_table(logprobs, logits)[: max(len(logits) - 1, 1)], n)


@_grow_says("last beam, or the last token, is left out")
def the_last_token_left_out(logprobs, logits, n):
    return _best(_table(logprobs, logits)[:, :-1], n)


@_grow_says("4 should come back; yours are 3. It is off by one")
def one_too_few(logprobs, logits, n):
    return _best(_table(logprobs, logits), n - 1)


@_grow_says("another number than the length of a row, which is 5 here")
def divided_by_three(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    places = beams * logits.shape[1] + tokens
    return best, places // 3, places % 3


@_grow_says("5 should come back|could be had")
def four_beams_at_most(logprobs, logits, n):
    return _best(_table(logprobs, logits)[:4], n)


@_grow_says("could be had")
def ten_beams_at_most(logprobs, logits, n):
    return _best(_table(logprobs, logits)[:10], n)


@_grow_says("type chosen that is too small")
def places_of_one_byte(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, beams.to(torch.uint8), tokens.to(torch.uint8)


@_grow_says("type chosen that is too small")
def places_of_one_byte_with_a_sign(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    return best, beams.to(torch.int8), tokens.to(torch.int8)


# --- found by attacking the checks --------------------------------------------------------------


@_penalty_says("nan came out")
def divided_by_its_own_size(z, counts, a):
    return z * a ** (-z / z.abs())


@_penalty_says("small")
def a_threshold_of_one(z, counts, a):
    return torch.where(z > 1, z / a, z * a)


@_penalty_says("subtracted")
def a_factor_on_the_odds(z, counts, a):
    return (z.exp() / a).log()


@battery.wrong("repetition_penalty", says="counts were read as numbers of tokens")
def counts_as_ids(logits, counts, penalty):
    said = logits.gather(1, counts)
    said = torch.where(said < 0, said * penalty, said / penalty)
    return logits.scatter(1, counts, said)


@battery.wrong("repetition_penalty", says="shifted first")
def the_largest_subtracted(logits, counts, penalty):
    z = logits - logits.amax(-1, keepdim=True)
    return torch.where(counts > 0, z * penalty, z)


@battery.wrong("repetition_penalty", says="stay minus infinity")
def every_number_made_finite(logits, counts, penalty):
    return by_two_wheres(logits, counts, penalty).nan_to_num()


@_waits_says("One count goes through")
def a_count_that_starts_again(text, stops):
    most = 0
    for stop in stops:
        n = 0
        for letter in text:
            n = n + 1 if n < len(stop) and letter == stop[n] else int(letter == stop[0])
        most = max(most, n)
    return most


@_waits_says("One count goes through")
def a_count_that_starts_at_nothing(text, stops):
    most = 0
    for stop in stops:
        n = 0
        for letter in text:
            n = n + 1 if n < len(stop) and letter == stop[n] else 0
        most = max(most, n)
    return most


@_waits_says("5 character.*should wait; yours holds back 0")
def four_at_most(text, stops):
    begun = (n for s in stops for n in range(1, min(len(s), 5)) if text.endswith(s[:n]))
    return max(begun, default=0)


@_grow_says("lay on its side")
def the_table_on_its_side(logprobs, logits, n):
    best, tokens, beams = _best(_table(logprobs, logits).T, n)
    places = tokens * len(logits) + beams
    return best, places // logits.shape[1], places % logits.shape[1]


@_grow_says("Each token comes back only once")
def no_token_twice(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), logits.numel())
    first = [i for i, v in enumerate(tokens.tolist()) if v not in tokens[:i].tolist()]
    return best[first[:n]], beams[first[:n]], tokens[first[:n]]


@_grow_says("only one beam goes on")
def only_the_best_beam(logprobs, logits, n):
    b = int(logprobs.argmax())
    best, _, tokens = _best(_table(logprobs, logits)[b : b + 1], n)
    return best, torch.full_like(tokens, b), tokens


@_grow_says("could be had")
def two_of_each_beam(logprobs, logits, n):
    width = min(2, logits.shape[1])
    values, ids = _table(logprobs, logits).topk(width)
    best, beams, places = _best(values, n)
    return best, beams, ids[beams, places]


@_grow_says("added to the columns")
def added_to_the_columns_where_it_fits(logprobs, logits, n):
    fits = len(logprobs) == logits.shape[1]
    return _best((logprobs if fits else logprobs[:, None]) + logits.log_softmax(-1), n)


@_grow_says("counted in another order")
def numbered_after_sorting(logprobs, logits, n):
    order = logprobs.argsort(descending=True)
    return _best(_table(logprobs, logits)[order], n)


@_grow_says("nothing is filled up")
def filled_up(logprobs, logits, n):
    best, beams, tokens = _best(_table(logprobs, logits), n)
    more = n - len(best)
    return (
        functional.pad(best, (0, more), value=-math.inf),
        functional.pad(beams, (0, more)),
        functional.pad(tokens, (0, more)),
    )


@_grow_says("not sorted|could be had|not the best")
def drawn_at_random(logprobs, logits, n):
    row = _table(logprobs, logits).flatten()
    possible = int((row > -math.inf).sum())
    places = row.softmax(0).multinomial(min(n, possible))
    return row[places], places // logits.shape[1], places % logits.shape[1]


@_grow_says("yours are 2. As many came back as there are beams")
def as_many_as_there_are_beams(logprobs, logits, n):
    return _best(_table(logprobs, logits), len(logprobs))
