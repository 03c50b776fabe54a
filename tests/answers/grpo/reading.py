"""Answers to lesson 08: the answer that a reply gives; right ones of different shapes, and people's mistakes."""

import ast
import re
import string

from course_lib.grpo.rewards import LONGEST, MINUS, SAID
from tools.graders import Battery

battery = Battery()
SIGNS = {"-": -1, "−": -1, "–": -1, "+": 1}


# --- read_answer: right -----------------------------------------------------------------------


@battery.right("read_answer")
def with_a_partition(reply):
    if len(reply) > LONGEST:
        return None
    before, word, behind = reply.lower().rpartition("answer:")
    said = SAID.fullmatch(behind)
    if not word or "answer" in before or not said:
        return None
    return int(said[1].translate(MINUS))


@battery.right("read_answer")
def with_one_pattern(reply):
    if len(reply) > 1000 or reply.lower().count("answer:") != 1:
        return None
    found = re.search(r"answer:\s*([-+−–]?)([0-9]+)\.?\s*\Z", reply, re.IGNORECASE)
    if found is None:
        return None
    return -int(found[2]) if found[1] in ("-", "−", "–") else int(found[2])


@battery.right("read_answer")
def without_patterns(reply):
    pieces = reply.lower().split("answer:")
    if len(reply) > 1000 or len(pieces) != 2:
        return None
    said = pieces[1].strip().removesuffix(".")
    sign, digits = 1, said
    if said[:1] in SIGNS:
        sign, digits = SIGNS[said[0]], said[1:]
    if not digits or any(sign not in string.digits for sign in digits):
        return None
    return sign * int(digits)


@battery.right("read_answer")
def letter_by_letter(reply):
    if len(reply) > 1000:
        return None
    text = reply.lower()
    at = text.find("answer:")
    if at < 0 or text.find("answer:", at + 1) >= 0:
        return None
    rest = list(text[at + 7 :].strip())
    negative = bool(rest) and rest[0] in "-−–"
    if rest and rest[0] in "+-−–":
        rest.pop(0)
    if rest and rest[-1] == ".":
        rest.pop()
    value = 0
    for letter in rest:
        if letter not in "0123456789":
            return None
        value = 10 * value + ord(letter) - ord("0")
    return None if not rest else -value if negative else value


@battery.right("read_answer")
def with_isascii(reply):
    if len(reply) > 1000:
        return None
    _, colon, tail = reply.casefold().partition("answer:")
    if not colon or "answer:" in tail:
        return None
    tail = tail.strip().replace("−", "-").replace("–", "-")
    if tail.endswith("."):
        tail = tail[:-1]
    digits = tail[1:] if tail.startswith(("-", "+")) else tail
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(tail)


@battery.right("read_answer")
def by_full_match_of_all(reply):
    if len(reply) > 1000:
        return None
    pattern = r"(?:(?!answer:).)*answer:\s*(?P<sign>[+\-−–]?)(?P<digits>\d+)[.]?\s*"
    found = re.fullmatch(pattern, reply, re.I | re.S | re.A)
    if not found:
        return None
    value = int(found["digits"])
    return value * (-1 if found["sign"] in {"-", "−", "–"} else 1)


@battery.right("read_answer")
def by_all_matches(reply):
    marks = [m.end() for m in re.finditer("answer:", reply[:1001], re.I)]
    if len(reply) > 1000 or len(marks) != 1:
        return None
    rest = re.sub("[−–]", "-", reply[marks[0] :])
    if re.fullmatch(r"\s*[+-]?[0-9]+\.?\s*", rest):
        return int(rest.strip().rstrip("."))
    return None


# --- read_answer: wrong -----------------------------------------------------------------------


def _wrong(says):
    return battery.wrong("read_answer", says=says)


def _number(text):
    return int(text.translate(MINUS))


@_wrong("last number is no answer|called one|behind")
def last_number_anywhere(reply):
    found = re.findall(r"[-−–+]?[0-9]+", reply)
    return _number(found[-1]) if found else None


@_wrong("Only what stands behind|gives its answer")
def first_number_anywhere(reply):
    found = re.search(r"[-−–+]?[0-9]+", reply)
    return _number(found[0]) if found else None


@_wrong("guesses twice|behind the number")
def first_number_behind(reply):
    found = re.search(r"answer:\s*([-−–+]?[0-9]+)", reply, re.I)
    return _number(found[1]) if found else None


@_wrong("guesses twice|stand there")
def last_number_behind(reply):
    _, word, behind = reply.lower().rpartition("answer:")
    found = re.findall(r"[-−–+]?[0-9]+", behind)
    return _number(found[-1]) if word and found else None


@_wrong("two answers|said once")
def last_answer_counts(reply):
    _, word, behind = reply.lower().rpartition("answer:")
    said = SAID.fullmatch(behind)
    return _number(said[1]) if word and said and len(reply) <= LONGEST else None


@_wrong("twice, if with the same")
def same_answer_twice(reply):
    found = re.findall(r"answer:\s*([+−–-]?[0-9]+)\.?\s*", reply, re.I)
    rest = re.sub(r"answer:\s*[+−–-]?[0-9]+\.?\s*", "|", reply, flags=re.I)
    if len(set(found)) != 1 or not rest.endswith("|") or "answer:" in rest.lower():
        return None
    return None if len(reply) > LONGEST else _number(found[0])


@_wrong("a float")
def as_a_float(reply):
    value = with_a_partition(reply)
    return None if value is None else float(value)


@_wrong("a str")
def as_a_string(reply):
    value = with_a_partition(reply)
    return None if value is None else str(value)


@_wrong("decimal|cut off")
def decimals_are_cut(reply):
    before, word, behind = reply.lower().rpartition("answer:")
    said = re.fullmatch(r"\s*([+−–-]?[0-9]+)(?:\.[0-9]*)*\s*", behind)
    if len(reply) > LONGEST or not word or "answer:" in before or not said:
        return None
    return _number(said[1])


@_wrong("decimal|cut off|digits from 0")
def by_float(reply):
    pieces = reply.lower().split("answer:")
    try:
        return int(float(pieces[1].translate(MINUS).strip(" \n."))) if len(pieces) == 2 else None  # fmt: skip
    except (ValueError, OverflowError):
        return None


@_wrong("digits from 0 to 9")
def thousands_commas(reply):
    return with_a_partition(re.sub(r"(?<=\d),(?=\d{3})", "", reply))


@_wrong("every script|digits 0 to 9")
def any_digit_of_unicode(reply):
    if len(reply) > LONGEST or reply.lower().count("answer:") != 1:
        return None
    found = re.fullmatch(r"\s*([-+−–]?\d+)\.?\s*", reply.lower().split("answer:")[1])
    return _number(found[1]) if found else None


@_wrong("digits from 0 to 9|no number")
def whatever_int_takes(reply):
    pieces = reply.lower().split("answer:")
    try:
        return int(pieces[1].translate(MINUS).strip().removesuffix(".")) if len(pieces) == 2 else None  # fmt: skip
    except ValueError:
        return None


@_wrong("stopped with ValueError")
def isdigit_then_int(reply):
    pieces = reply.lower().split("answer:")
    if len(reply) > LONGEST or len(pieces) != 2:
        return None
    said = pieces[1].translate(MINUS).strip().removesuffix(".")
    return int(said) if said.lstrip("+-").isdigit() else None


@_wrong("minus, −|stopped with")
def hyphen_alone(reply):
    found = re.fullmatch(r".*answer:\s*([-+]?[0-9]+)\.?\s*", reply, re.I | re.S)
    return int(found[1]) if found and reply.lower().count("answer:") == 1 else None


@_wrong("minus before the number|minus")
def signs_are_lost(reply):
    value = with_a_partition(reply)
    return None if value is None else abs(value)


@_wrong("minus before the number")
def no_sign_at_all(reply):
    found = re.fullmatch(r".*answer:\s*([0-9]+)\.?\s*", reply, re.I | re.S)
    return int(found[1]) if found else None


@_wrong("and so is the dash|minus")
def a_dash_is_none(reply):
    return None if "–" in reply else with_a_partition(reply)


@_wrong("plus")
def no_plus(reply):
    return None if "+" in reply.lower().rpartition("answer:")[2] else with_a_partition(reply)  # fmt: skip


@_wrong("any case")
def capital_a_alone(reply):
    return with_a_partition(reply) if "Answer:" in reply else None


@_wrong("any case")
def upper_and_lower_alone(reply):
    said = any(word in reply for word in ("Answer:", "answer:", "ANSWER:"))
    return with_a_partition(reply) if said else None


@_wrong("0 is a number")
def zero_is_none(reply):
    return with_a_partition(reply) or None


@_wrong("returned 0|no number|called one")
def none_is_zero(reply):
    return with_a_partition(reply) or 0


@_wrong("returned -1|no number")
def minus_one_for_none(reply):
    value = with_a_partition(reply)
    return -1 if value is None else value


@_wrong("returned ''|a str|no number")
def an_empty_string_for_none(reply):
    value = with_a_partition(reply)
    return "" if value is None else value


@_wrong("Without a full stop")
def full_stop_demanded(reply):
    return with_a_partition(reply) if reply.rstrip().endswith(".") else None


@_wrong("returned None")
def full_stop_refused(reply):
    return None if reply.rstrip().endswith(".") else with_a_partition(reply)


@_wrong("full stop")
def full_stops_stripped(reply):
    pieces = reply.lower().split("answer:")
    if len(reply) > LONGEST or len(pieces) != 2:
        return None
    said = pieces[1].strip().rstrip(".")
    return _number(said) if re.fullmatch(r"[-+−–]?[0-9]+", said) else None


@_wrong("Spaces and line breaks")
def one_space_exactly(reply):
    return with_a_partition(reply) if "answer: " in reply.lower() else None


@_wrong("Spaces and line breaks")
def a_space_at_the_end(reply):
    return with_a_partition(reply) if reply == reply.strip() else None


@_wrong("guesses twice|from 0 to 9")
def all_spaces_removed(reply):
    return with_a_partition("".join(reply.split()))


@_wrong("lines of their own")
def one_line_of_steps(reply):
    found = re.match(r".*answer:\s*([-+−–]?[0-9]+)\.?\s*$", reply.strip(), re.I)
    return _number(found[1]) if found and reply.lower().count("answer:") == 1 else None


@_wrong("lines of their own|Spaces and line|nothing else may stand|guesses")
def last_line_alone(reply):
    return with_a_partition((reply.strip().splitlines() or [""])[-1])


@_wrong("guesses twice|nothing else")
def first_line_alone(reply):
    """`$` in a pattern of several lines is the end of a line."""
    found = re.findall(r"answer:\s*([-+−–]?[0-9]+)\.?\s*$", reply, re.I | re.M)
    return _number(found[0]) if len(found) == 1 and reply.lower().count("answer:") == 1 else None  # fmt: skip


@_wrong("with its colon")
def colon_not_demanded(reply):
    found = re.fullmatch(
        r"(?:.*\s)?answer:?\s*([-+−–]?[0-9]+)\.?\s*", reply, re.I | re.S
    )
    return _number(found[1]) if found and reply.lower().count("answer") == 1 else None


@_wrong("nothing else may stand|guesses twice")
def match_instead_of_full_match(reply):
    before, word, behind = reply.lower().rpartition("answer:")
    said = SAID.match(behind)
    return _number(said[1]) if word and "answer:" not in before and said else None


@_wrong("is wanted|guesses twice")
def first_word_behind(reply):
    pieces = reply.lower().split("answer:")
    words = pieces[1].split() if len(pieces) == 2 else []
    found = words and re.fullmatch(r"([-+−–]?[0-9]+)\.?", words[0])
    return _number(found[1]) if found else None


@_wrong("stopped with IndexError")
def split_without_looking(reply):
    said = SAID.fullmatch(reply.lower().split("answer:")[1])
    return _number(said[1]) if said else None


@_wrong("stopped with TypeError|stopped with AttributeError")
def match_without_looking(reply):
    behind = reply.lower().rpartition("answer:")[2]
    return _number(SAID.fullmatch(behind)[1])


@_wrong("stopped with ValueError")
def int_without_looking(reply):
    return int(reply.lower().rpartition("answer:")[2].translate(MINUS).rstrip(". \n"))


@_wrong("seconds")
def nested_repetition(reply):
    if len(reply) > LONGEST or reply.lower().count("answer:") != 1:
        return None
    found = re.fullmatch(r".*answer:\s*([-+−–]?([0-9]+)+)\.?\s*", reply, re.I | re.S)
    return _number(found[1]) if found else None


@_wrong("seconds")
def nested_spaces(reply):
    if len(reply) > LONGEST or reply.lower().count("answer:") != 1:
        return None
    behind = reply.lower().split("answer:")[1]
    found = re.fullmatch(r"(\s*\s*)*([-+−–]?[0-9]+)\.?(\s+)*", behind)
    return _number(found[2]) if found else None


@_wrong("seconds")
def steps_that_may_be_anything(reply):
    found = re.fullmatch(r"(?:(?:[^.]*[.\n]?\s*)*)answer:\s*([-+−–]?[0-9]+)\.?\s*", reply, re.I)  # fmt: skip
    if not found or len(reply) > LONGEST or reply.lower().count("answer:") > 1:
        return None
    return _number(found[1])


@_wrong("More than 1,000|not read|seconds")
def of_any_length(reply):
    return with_one_pattern(" ".join(reply.split()))


@_wrong("up to 1,000")
def too_short_a_limit(reply):
    return with_a_partition(reply) if len(reply) <= 500 else None


@_wrong("up to 1,000")
def less_than_a_thousand(reply):
    return with_a_partition(reply) if len(reply) < 1000 else None


@_wrong("More than 1,000|not read")
def stripped_before_it_is_measured(reply):
    return with_a_partition(reply.strip())


@_wrong("More than 1,000|not read")
def cut_at_a_thousand(reply):
    return with_a_partition(reply[:1000])


@_wrong("More than 1,000|not read")
def the_last_thousand(reply):
    return with_a_partition(reply[-1000:])


@_wrong("returned True|bool")
def whether_there_is_one(reply):
    return with_a_partition(reply) is not None


@_wrong("a list")
def all_of_them(reply):
    return [_number(x) for x in re.findall(r"[-+−–]?[0-9]+", reply)]


@_wrong("Spaces and line|case|returned None")
def in_exactly_this_form(reply):
    found = re.fullmatch(r"(?:.*\s)?Answer: ([-−]?[0-9]+)\.", reply, re.S)
    return _number(found[1]) if found else None


@_wrong("two signs|calculation")
def signs_stripped(reply):
    pieces = reply.lower().split("answer:")
    if len(reply) > LONGEST or len(pieces) != 2:
        return None
    said = pieces[1].translate(MINUS).strip().removesuffix(".")
    digits = said.lstrip("+-")
    if not (digits.isascii() and digits.isdigit()):
        return None
    return -int(digits) if "-" in said else int(digits)


@_wrong("Noughts|calculation|decimal|digits from|only spaces")
def evaluated(reply):
    pieces = reply.lower().split("answer:")
    try:
        return int(eval(pieces[1].translate(MINUS).replace("×", "*").strip().lstrip("0").removesuffix(".") or "0")) if len(pieces) == 2 and pieces[1].strip(" .\n") else None  # fmt: skip
    except Exception:
        return None


@_wrong("Noughts|digits from")
def as_a_literal(reply):
    pieces = reply.lower().split("answer:")
    try:
        value = ast.literal_eval(pieces[1].translate(MINUS).strip().removesuffix(".")) if len(pieces) == 2 else None  # fmt: skip
    except (ValueError, SyntaxError):
        return None
    return value if type(value) is int else None


@_wrong("Behind|words|only spaces|called one|with its colon|wanted")
def answer_is(reply):
    found = re.search(r"answer(?:\s+is|:)?\s*([-+−–]?[0-9]+)\.?\s*$", reply, re.I)
    return _number(found[1]) if found else None


@_wrong("several|one digit")
def two_digits_at_most(reply):
    value = with_a_partition(reply)
    return value if value is None or abs(value) < 100 else None


@_wrong("gives its answer")
def the_worked_values(reply):
    return {"answer: 12.": 12, "answer:  −3 ": -3}.get(reply.lower(), 12)


@_wrong("two answers")
def two_answers_second_empty(reply):
    """Counts the answers that have a number, not the word."""
    found = re.findall(r"answer:\s*[-+−–]?[0-9]+", reply, re.I)
    said = re.search(r"answer:\s*([-+−–]?[0-9]+)\.?\s*(?:answer:\s*)?\Z", reply, re.I)
    return _number(said[1]) if len(found) == 1 and said else None


@_wrong("seconds")
def letters_in_letters(reply):
    return None if re.search(r"(a+)+$", reply) else with_a_partition(reply)


@_wrong("Behind the number")
def a_comma_may_follow(reply):
    return with_a_partition(re.sub(r"(?<=[0-9]),\Z", "", reply))


@_wrong("stopped with ValueError")
def refuses_loudly(reply):
    value = with_a_partition(reply)
    if value is None:
        raise ValueError("no answer")
    return value


@_wrong("case|two answers|said once")
def counts_one_spelling(reply):
    _, word, behind = reply.lower().rpartition("answer:")
    said = SAID.fullmatch(behind)
    if reply.count("Answer:") > 1 or not word or not said or len(reply) > LONGEST:
        return None
    return _number(said[1])


# --- found by attacking the check -------------------------------------------------------------


def _apart(reply, pattern):
    found = re.split("answer:", reply, flags=re.I)
    if len(reply) > 1000 or len(found) != 2:
        return None
    said = re.fullmatch(pattern, found[1])
    return said and int(re.sub(r"\s", "", said[1]).translate(str.maketrans("−–", "--")))


@_wrong("sign stands directly")
def a_space_behind_the_sign(reply):
    return _apart(reply, r"\s*([+−–-]?\s*[0-9]{1,9})[.!]?\s*")


@_wrong("full stop stands directly")
def a_space_before_the_stop(reply):
    return _apart(reply, r"\s*([+−–-]?[0-9]{1,9})\s*[.!]?\s*")


@_wrong("characters")
def bytes_are_counted(reply):
    if len(reply.encode()) > 1000:
        return None
    return _apart(reply, r"\s*([+−–-]?[0-9]{1,9})[.!]?\s*")


@_wrong("a list")
def a_very_long_list(reply):
    return [0] * 10_000
