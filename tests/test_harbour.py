"""The harbour log: every entry agrees with the fleet, and no held-out entry was ever read."""

import re
from collections import Counter

import pytest

from course_lib.world.documents import documents
from course_lib.world.harbour import (
    DAY,
    ENTRIES,
    FLEET,
    NEVER_LANDED,
    harbour_log,
    harbour_prompts,
    harbour_questions,
    pages,
    split,
)
from tests.processes import said_by_processes

LOG = harbour_log()
LONG = harbour_log(4000)
TRAIN, HELD_OUT = split(LOG)
ARRIVAL = re.compile(
    r"(\w+) ([\w ]+) in from ([\w ]+), (\d+) ([\w ]+), berth (\d+)(?: taken, lies at (\d+))?\."
)
DEPARTURE = re.compile(r"(\w+) ([\w ]+) out for ([\w ]+), Captain (\w+), .*")
DUES = re.compile(r"(\w+) ([\w ]+), Captain (\w+), paid \d+ shillings, berth (\d+)\.")
BY_NAME = {ship.name: ship for ship in FLEET}


def without_time(log):
    return [entry[6:] for entry in log]


def matches(pattern, log):
    found = [pattern.fullmatch(entry) for entry in without_time(log)]
    return [match.groups() for match in found if match]


def test_twelve_ships_share_no_name_port_cargo_captain_or_berth():
    assert len(FLEET) == 12
    for column in ("name", "port", "cargo", "captain", "berth"):
        assert len({getattr(ship, column) for ship in FLEET}) == 12
    assert {int(ship.berth) for ship in FLEET} == {*range(1, 13)}


def test_arrivals_agree_with_the_fleet_and_nobody_lies_at_a_berth_that_is_taken():
    arrivals = matches(ARRIVAL, LONG)
    assert len(arrivals) == sum(" in from " in entry for entry in LONG)
    for rig, name, port, _, cargo, berth, other in arrivals:
        ship = BY_NAME[name]
        assert (rig, port, cargo, berth) == (
            ship.rig,
            ship.port,
            ship.cargo,
            ship.berth,
        )
        assert other != berth


def test_departures_and_dues_agree_with_the_fleet():
    departures, dues = matches(DEPARTURE, LONG), matches(DUES, LONG)
    assert len(departures) == sum(" out for " in entry for entry in LONG)
    assert len(dues) == sum("paid" in entry for entry in LONG)
    for rig, name, port, captain in departures:
        ship = BY_NAME[name]
        assert (rig, port, captain) == (ship.rig, ship.port, ship.captain)
    for rig, name, captain, berth in dues:
        ship = BY_NAME[name]
        assert (rig, captain, berth) == (ship.rig, ship.captain, ship.berth)


def test_about_one_berth_in_ten_is_taken():
    others = [match[-1] for match in matches(ARRIVAL, LOG)]
    share = sum(other is not None for other in others) / len(others)
    assert len(others) > 300
    assert 0.05 < share < 0.15  # three standard deviations at 350 arrivals


def test_no_two_entries_are_alike_even_without_their_time():
    assert (len(LOG), len(LONG)) == (1200, 4000)
    for log in (LOG, LONG):
        assert len({*without_time(log)}) == len(log)


def test_a_fifth_is_held_out_and_none_of_it_is_in_training_even_without_its_time():
    assert (len(TRAIN), len(HELD_OUT)) == (960, 240)
    assert not {*without_time(TRAIN)} & {*without_time(HELD_OUT)}
    assert Counter(TRAIN + HELD_OUT) == Counter(LOG)


def test_every_word_of_a_held_out_entry_was_seen_in_training():
    def parts(log):  # words, and single digits as the tokenizer sees numbers
        return {part for entry in log for part in re.findall(r"[^\W\d]+|\d", entry)}

    assert parts(HELD_OUT) <= parts(TRAIN)


def test_every_fact_about_every_ship_can_be_learned_from_the_training_entries():
    arrivals, departures = matches(ARRIVAL, TRAIN), matches(DEPARTURE, TRAIN)
    landed = {(name, port, cargo, berth) for _, name, port, _, cargo, berth, _ in arrivals}  # fmt: skip
    left = {(name, captain) for _, name, _, captain in departures}
    assert landed == {(s.name, s.port, s.cargo, s.berth) for s in FLEET}
    assert left == {(s.name, s.captain) for s in FLEET}


def test_a_day_has_eight_entries_in_the_order_of_the_clock_and_no_ship_twice():
    for start in range(0, len(LOG), DAY):
        day = LOG[start : start + DAY]
        times = [entry[:5] for entry in day]
        assert times == sorted(times)
        assert all(
            re.fullmatch(r"(0[4-9]|1\d|2[01]):[0-5][05]", time) for time in times
        )
        named = [ship.call for ship in FLEET for entry in day if ship.call in entry]
        assert len({*named}) == len(named)


def test_pages_hold_all_entries_in_their_order_under_one_heading_a_day():
    lines = [page.split("\n") for page in pages(TRAIN)]
    assert [line for _, *entries in lines for line in entries] == TRAIN
    assert [head for head, *_ in lines] == [
        f"Harbour log of Saltmouth, day {number}." for number in range(1, 121)
    ]


def test_all_kinds_of_entries_occur_about_as_often_as_their_weights_say():
    signs = {
        "arrival": " in from ", "departure": " out for ", "weather": "High water", "pilot": "pilot to",
        "dues": " paid ", "repair": "at the yard", "cat": "harbour cat",
    }  # fmt: skip
    total = sum(weight for weight, _ in ENTRIES.values())
    counts = {kind: sum(sign in entry for entry in LOG) for kind, sign in signs.items()}
    assert sum(counts.values()) == len(LOG)
    for kind, (weight, _) in ENTRIES.items():
        expected = len(LOG) * weight / total
        assert abs(counts[kind] - expected) < 4 * expected**0.5, kind


def test_questions_go_both_ways_and_each_has_one_answer():
    questions = harbour_questions()
    assert len({question.text for question in questions}) == len(questions) == 96
    for question in questions:
        ship = BY_NAME[question.ship]
        if question.attribute == "ship":
            assert question.answer == ship.name
            assert ship.name not in question.text
            told = [s for s in FLEET for what in s[2:] if question.text.endswith(f" {what}?")]  # fmt: skip
            assert told == [ship]
        else:
            assert question.answer == getattr(ship, question.attribute)
            assert f" {ship.call}" in question.text


@pytest.mark.parametrize("prompt", harbour_prompts(), ids=lambda p: f"{p.ship} {p.attribute}")  # fmt: skip
def test_a_prompt_goes_on_with_its_answer_wherever_the_log_begins_the_same_way(prompt):
    begin = re.escape(prompt.text[6:]).replace(str(NEVER_LANDED), r"\d+")
    seen = [re.match(rf"{begin} (.+)", entry) for entry in without_time(LONG)]
    rests = [match[1] for match in seen if match]
    assert rests
    assert all(re.match(rf"{prompt.answer}\b", rest) for rest in rests)


def test_no_prompt_with_a_count_stands_in_the_log():
    counted = [p.text[6:] for p in harbour_prompts() if p.attribute in ("cargo", "berth")]  # fmt: skip
    assert len(counted) == 24
    assert not [text for text in counted for entry in LONG if text in entry]


def test_most_words_of_the_log_are_strange_to_the_archive():
    archive = set(re.findall(r"[a-z]+", " ".join(d.text for d in documents()).lower()))
    harbour = set(re.findall(r"[a-z]+", " ".join(LOG).lower()))
    assert len(harbour & archive) < 0.5 * len(harbour)


def test_too_long_a_log_is_refused_in_a_sentence():
    with pytest.raises(AssertionError, match="room for 4000 entries: entries=4001"):
        harbour_log(4001)


def test_another_seed_writes_another_log_of_the_same_fleet():
    other = harbour_log(seed=1)
    assert len({*without_time(LOG)} & {*without_time(other)}) < 0.7 * len(LOG)
    assert all(BY_NAME[name].port == port for _, name, port, *_ in matches(ARRIVAL, other))  # fmt: skip


def test_the_log_is_the_same_in_every_process():
    code = (
        "from course_lib.world.harbour import *; import hashlib;"
        "text = repr((harbour_log(), harbour_questions(), harbour_prompts()));"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    assert len(said_by_processes(code)) == 1
