"""Answers to lesson 10: marks that are right, wrong, missing; right ones of different shapes, and people's mistakes."""

import re

from course_lib.rag.citations import (
    ENOUGH,
    Claim,
    Verdict,
    cite,
    claims,
    exact,
    holds,
    support,
)
from course_lib.rag.meaning import sentences
from tools.graders import Battery

battery = Battery()
right = battery.right("check_citations")


def _wrong(says):
    return battery.wrong("check_citations", says=says)


def _held(sentence, passages, enough):
    return [n for n, text in enumerate(passages, 1) if holds(text, sentence, enough)]


def _verdict(sentence, cited, held):
    fine = tuple(n for n in cited if n in held)
    wrong = tuple(n for n in cited if n not in held)
    return Verdict(sentence, fine, wrong, () if fine else tuple(held))


# --- right --------------------------------------------------------------------------------------


@right
def mark_by_mark(answer, passages, enough=ENOUGH):
    verdicts = []
    for claim in claims(answer):
        fine, wrong = [], []
        for n in claim.cited:
            there = 1 <= n <= len(passages)
            if there and holds(passages[n - 1], claim.sentence, enough):
                fine.append(n)
            else:
                wrong.append(n)
        missing = []
        if not fine:
            for n in range(1, len(passages) + 1):
                if holds(passages[n - 1], claim.sentence, enough):
                    missing.append(n)
        verdicts.append(Verdict(claim.sentence, tuple(fine), tuple(wrong), tuple(missing)))  # fmt: skip
    return verdicts


@right
def with_cite(answer, passages, enough=ENOUGH):
    """What every sentence should cite is known to another function."""
    should = cite(answer, passages, enough)
    return [
        _verdict(said.sentence, said.cited, held.cited)
        for said, held in zip(claims(answer), should, strict=True)
    ]


@right
def each_mark_once(answer, passages, enough=ENOUGH):
    found = []
    for sentence, cited in claims(answer):
        held = _held(sentence, passages, enough)
        found.append(_verdict(sentence, tuple(dict.fromkeys(cited)), held))
    return found


@right
def with_a_dictionary(answer, passages, enough=ENOUGH):
    numbered = dict(enumerate(passages, start=1))
    out = []
    for sentence, cited in claims(answer):
        fine = tuple(filter(lambda n: n in numbered and holds(numbered[n], sentence, enough), cited))  # fmt: skip
        out.append(
            Verdict(
                sentence=sentence,
                right=fine,
                wrong=tuple(n for n in cited if n not in fine),
                missing=tuple(n for n, text in numbered.items() if not fine and holds(text, sentence, enough)),
            )
        )  # fmt: skip
    return out


@right
def with_a_table(answer, passages, enough=ENOUGH):
    told = claims(answer)
    table = [[holds(text, claim.sentence, enough) for text in passages] for claim in told]  # fmt: skip

    def verdict(row, claim):
        held = {place + 1 for place, yes in enumerate(row) if yes}
        fine = tuple(n for n in claim.cited if n in held)
        bad = tuple(n for n in claim.cited if not n in held)  # noqa: E713
        return Verdict(claim.sentence, fine, bad, tuple(sorted(held)) * (not fine))

    return list(map(verdict, table, told))


@right
def written_out(answer, passages, enough=ENOUGH):
    """Without `holds`."""
    found = []
    for sentence, cited in claims(answer):
        held = []
        for n, text in enumerate(passages, 1):
            told = {*re.findall(r"\d[\d.,]*\d|\w+", text.lower())}
            if exact(sentence) <= told and not support(sentence, text) < enough:
                held.append(n)
        found.append(_verdict(sentence, cited, held))
    return found


# --- wrong --------------------------------------------------------------------------------------


@_wrong("numbered from 0. They are numbered from 1")
def numbers_from_0(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, c, [n - 1 for n in _held(s, passages, enough)])
        for s, c in claims(answer)
    ]


@_wrong("stopped with IndexError.*not there")
def places_for_numbers(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        fine = tuple(n for n in c if holds(passages[n], s, enough))
        found.append(Verdict(s, fine, tuple(n for n in c if n not in fine)))
    return found


@_wrong("What is missing is numbered from 0")
def missing_from_0(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v._replace(missing=tuple(n - 1 for n in v.missing)) for v in found]


@_wrong("stopped with IndexError.*not there")
def no_look_at_the_end(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        fine = tuple(n for n in c if holds(passages[n - 1], s, enough))
        missing = () if fine else tuple(_held(s, passages, enough))
        found.append(Verdict(s, fine, tuple(n for n in c if n not in fine), missing))
    return found


@_wrong("taken for the last passage")
def number_0_is_the_last(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        fine = tuple(n for n in c if n <= len(passages) and holds(passages[n - 1], s, enough))  # fmt: skip
        missing = () if fine else tuple(_held(s, passages, enough))
        found.append(Verdict(s, fine, tuple(n for n in c if n not in fine), missing))
    return found


@_wrong("counts for nothing")
def marks_beyond_are_dropped(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, [n for n in c if 1 <= n <= len(passages)], _held(s, passages, enough))
        for s, c in claims(answer)
    ]  # fmt: skip


@_wrong("counts for nothing")
def marks_above_are_dropped(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, [n for n in c if n <= len(passages)], _held(s, passages, enough))
        for s, c in claims(answer)
    ]


@_wrong("although the sentence has a right mark")
def all_that_are_not_cited(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        held = _held(s, passages, enough)
        missing = tuple(n for n in held if n not in c)
        found.append(_verdict(s, c, held)._replace(missing=missing))
    return found


@_wrong("only where nothing is cited")
def missing_without_marks_alone(answer, passages, enough=ENOUGH):
    told = zip(mark_by_mark(answer, passages, enough), claims(answer), strict=True)
    return [v if not claim.cited else v._replace(missing=()) for v, claim in told]


@_wrong("only where a wrong mark stands")
def missing_with_wrong_ones_alone(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v if v.wrong else v._replace(missing=()) for v in found]


@_wrong("Only one passage is missing")
def the_first_missing(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v._replace(missing=v.missing[:1]) for v in found]


@_wrong("Nothing is ever missing")
def never_missing(answer, passages, enough=ENOUGH):
    return [v._replace(missing=()) for v in mark_by_mark(answer, passages, enough)]


@_wrong("Every passage that is not cited is missing")
def everything_missing(answer, passages, enough=ENOUGH):
    found = []
    for v, (_, c) in zip(mark_by_mark(answer, passages, enough), claims(answer), strict=True):  # fmt: skip
        rest = tuple(n for n in range(1, len(passages) + 1) if n not in c)
        found.append(v._replace(missing=() if v.right else rest))
    return found


@_wrong("`enough` makes no difference")
def enough_not_handed_on(answer, passages, enough=ENOUGH):
    return mark_by_mark(answer, passages)


@_wrong("`enough` makes no difference")
def enough_built_in(answer, passages, enough=ENOUGH):
    return mark_by_mark(answer, passages, 0.5)


@_wrong("wrong way round")
def holds_turned_round(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, c, [n for n, text in enumerate(passages, 1) if holds(s, text, enough)])
        for s, c in claims(answer)
    ]  # fmt: skip


@_wrong("judged by the whole answer")
def the_whole_answer(answer, passages, enough=ENOUGH):
    return [_verdict(s, c, _held(answer, passages, enough)) for s, c in claims(answer)]


@_wrong("Words alone")
def words_alone(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, c, [n for n, text in enumerate(passages, 1) if support(s, text) >= enough])
        for s, c in claims(answer)
    ]  # fmt: skip


@_wrong("Names and numbers alone|`enough` makes no difference")
def names_alone(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, c, [n for n, text in enumerate(passages, 1) if exact(s) <= {*re.findall(r"\w+", text.lower())}])
        for s, c in claims(answer)
    ]  # fmt: skip


@_wrong("word for word")
def word_for_word(answer, passages, enough=ENOUGH):
    return [
        _verdict(s, c, [n for n, text in enumerate(passages, 1) if s in text])
        for s, c in claims(answer)
    ]


@_wrong("judged together")
def one_verdict_for_all_marks(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        held = _held(s, passages, enough)
        fine = any(n in held for n in c)
        found.append(Verdict(s, c, (), ()) if fine else Verdict(s, (), c, tuple(held)))
    return found


@_wrong("judged together")
def the_cited_as_one_text(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        text = " ".join(passages[n - 1] for n in c if 1 <= n <= len(passages))
        fine = bool(text) and holds(text, s, enough)
        held = tuple(_held(s, passages, enough))
        found.append(Verdict(s, c, (), ()) if fine else Verdict(s, (), c, held))
    return found


@_wrong("Only one mark")
def the_first_mark_alone(answer, passages, enough=ENOUGH):
    return [_verdict(s, c[:1], _held(s, passages, enough)) for s, c in claims(answer)]


@_wrong("right whether they are cited or not")
def all_that_hold_are_right(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        held = _held(s, passages, enough)
        found.append(Verdict(s, tuple(held), tuple(n for n in c if n not in held), ()))
    return found


@_wrong("wrong whether they are cited or not")
def all_others_are_wrong(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        held = _held(s, passages, enough)
        rest = tuple(n for n in range(1, len(passages) + 1) if n not in held)
        found.append(_verdict(s, c, held)._replace(wrong=rest))
    return found


@_wrong("wrong whether they are cited or not")
def not_cited_is_wrong(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        rest = tuple(n for n in range(1, len(passages) + 1) if n not in c)
        found.append(_verdict(s, c, _held(s, passages, enough))._replace(wrong=rest))
    return found


@_wrong("Right and wrong changed places")
def right_and_wrong_exchanged(answer, passages, enough=ENOUGH):
    return [Verdict(v.sentence, v.wrong, v.right, v.missing) for v in mark_by_mark(answer, passages, enough)]  # fmt: skip


@_wrong("Wrong and missing changed places")
def wrong_and_missing_exchanged(answer, passages, enough=ENOUGH):
    return [Verdict(v.sentence, v.right, v.missing, v.wrong) for v in mark_by_mark(answer, passages, enough)]  # fmt: skip


@_wrong("as long as its passage is there")
def there_is_right(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        there = tuple(n for n in c if 1 <= n <= len(passages))
        missing = () if there else tuple(_held(s, passages, enough))
        found.append(Verdict(s, there, tuple(n for n in c if n not in there), missing))
    return found


@_wrong("called wrong as well")
def all_cited_are_wrong(answer, passages, enough=ENOUGH):
    told = zip(mark_by_mark(answer, passages, enough), claims(answer), strict=True)
    return [v._replace(wrong=claim.cited) for v, claim in told]


@_wrong("Marks are sorted")
def sorted_marks(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [Verdict(v.sentence, *(tuple(sorted(part)) for part in v[1:])) for v in found]  # fmt: skip


@_wrong("Marks are sorted")
def through_sets(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        held = {*_held(s, passages, enough)}
        fine = tuple(sorted({*c} & held))
        found.append(Verdict(s, fine, tuple(sorted({*c} - held)), () if fine else tuple(sorted(held))))  # fmt: skip
    return found


@_wrong("order of marks is turned round")
def marks_turned_round(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [Verdict(v.sentence, v.right[::-1], v.wrong[::-1], v.missing) for v in found]


@_wrong("without marks have no verdict")
def unmarked_skipped(answer, passages, enough=ENOUGH):
    told = zip(mark_by_mark(answer, passages, enough), claims(answer), strict=True)
    return [v for v, claim in told if claim.cited]


@_wrong("nothing is to be said have no verdict")
def nothing_to_say_skipped(answer, passages, enough=ENOUGH):
    return [v for v in mark_by_mark(answer, passages, enough) if v.right or v.wrong or v.missing]  # fmt: skip


@_wrong("marks are all right have no verdict")
def fine_ones_skipped(answer, passages, enough=ENOUGH):
    return [v for v in mark_by_mark(answer, passages, enough) if v.wrong or v.missing]


@_wrong("that no passage holds have no verdict")
def held_ones_alone(answer, passages, enough=ENOUGH):
    return [v for v in mark_by_mark(answer, passages, enough) if v.right or v.missing]


@_wrong("still have their marks|`claims` calls it|`claims` finds")
def sentences_with_their_marks(answer, passages, enough=ENOUGH):
    found = []
    for text in sentences(answer):
        cited = tuple(map(int, re.findall(r"\[(\d+)\]", text)))
        plain = re.sub(r"\s*\[\d+\]", "", text).strip()
        verdict = _verdict(text.strip(), cited, _held(plain, passages, enough))
        found.append(verdict)
    return found


@_wrong("The sentence of a Verdict is a Claim")
def claims_as_sentences(answer, passages, enough=ENOUGH):
    return [_verdict(claim, claim.cited, _held(claim.sentence, passages, enough)) for claim in claims(answer)]  # fmt: skip


@_wrong("right of a Verdict is a list")
def lists(answer, passages, enough=ENOUGH):
    return [Verdict(v.sentence, *map(list, v[1:])) for v in mark_by_mark(answer, passages, enough)]  # fmt: skip


@_wrong("right of a Verdict is a set")
def sets(answer, passages, enough=ENOUGH):
    return [Verdict(v.sentence, *map(set, v[1:])) for v in mark_by_mark(answer, passages, enough)]  # fmt: skip


@_wrong("numbers of passages")
def texts_of_passages(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v._replace(missing=tuple(passages[n - 1] for n in v.missing)) for v in found]  # fmt: skip


@_wrong("numbers of passages")
def truth_values(answer, passages, enough=ENOUGH):
    return [
        Verdict(s, tuple(n in _held(s, passages, enough) for n in c))
        for s, c in claims(answer)
    ]


@_wrong("holds a tuple")
def plain_tuples(answer, passages, enough=ENOUGH):
    return [tuple(v) for v in mark_by_mark(answer, passages, enough)]


@_wrong("holds a Claim")
def claims_come_back(answer, passages, enough=ENOUGH):
    return [Claim(s, c) for s, c in claims(answer)]


@_wrong("returned a dict")
def a_dictionary(answer, passages, enough=ENOUGH):
    return {v.sentence: v for v in mark_by_mark(answer, passages, enough)}


@_wrong("returned a Verdict")
def one_verdict(answer, passages, enough=ENOUGH):
    return (mark_by_mark(answer, passages, enough) or [Verdict("")])[0]


@_wrong("returned a generator")
def a_generator(answer, passages, enough=ENOUGH):
    return (verdict for verdict in mark_by_mark(answer, passages, enough))


@_wrong("Only one sentence|stopped with IndexError")
def the_first_sentence(answer, passages, enough=ENOUGH):
    return mark_by_mark(answer, passages, enough)[:1]


@_wrong("Only one sentence|should be")
def returned_in_the_loop(answer, passages, enough=ENOUGH):
    found = []
    for s, c in claims(answer):
        found.append(_verdict(s, c, _held(s, passages, enough)))
        return found
    return found


@_wrong("another order")
def last_sentence_first(answer, passages, enough=ENOUGH):
    return mark_by_mark(answer, passages, enough)[::-1]


@_wrong("where there are no passages")
def no_passages(answer, passages, enough=ENOUGH):
    assert passages[-1] is not None
    return mark_by_mark(answer, passages, enough)


@_wrong("changed its own input")
def passages_numbered_in_place(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    if isinstance(passages, list):
        passages.insert(0, None)
    return found


@_wrong("No verdict comes back")
def nothing(answer, passages, enough=ENOUGH):
    return []


@_wrong("Nothing is right, wrong or missing")
def empty_verdicts(answer, passages, enough=ENOUGH):
    return [Verdict(s) for s, _ in claims(answer)]


@_wrong("should be|`claims`")
def built_in(answer, passages, enough=ENOUGH):
    return [Verdict("Ben is a cook.", wrong=(1,), missing=(2,))]


# --- found by attacking the check -------------------------------------------------------------


@_wrong("said twice has one verdict")
def a_dictionary_of_sentences(answer, passages, enough=ENOUGH):
    told = dict(claims(answer))
    return [_verdict(s, c, _held(s, passages, enough)) for s, c in told.items()]


@_wrong("Without enough it takes another number")
def another_default(answer, passages, enough=0.5):
    return mark_by_mark(answer, passages, enough)


@_wrong("should be|are not cited|right mark")
def wrong_if_any_is_wrong(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v._replace(missing=v.missing or tuple(n for n in _held(v.sentence, passages, enough) if v.wrong and n not in v.right)) for v in found]  # fmt: skip


@_wrong("should be")
def the_nearest_source_alone(answer, passages, enough=ENOUGH):
    """Only the passage that shares most words may hold a sentence."""
    found = []
    for s, c in claims(answer):
        held = _held(s, passages, enough)
        most = max((support(s, passages[n - 1]) for n in held), default=0)
        held = [n for n in held if support(s, passages[n - 1]) == most]
        found.append(_verdict(s, c, held[:1] if len(held) > 2 else held))
    return found


@_wrong("should be|more than once")
def a_mark_used_once(answer, passages, enough=ENOUGH):
    """A passage that was cited before is not looked at again."""
    seen, found = set(), []
    for s, c in claims(answer):
        held = [n for n in _held(s, passages, enough) if n not in seen]
        found.append(_verdict(s, c, held))
        seen |= {*c}
    return found


@right
def missing_from_the_end(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [verdict._replace(missing=verdict.missing[::-1]) for verdict in found]


@_wrong("said twice has one verdict")
def equal_verdicts_once(answer, passages, enough=ENOUGH):
    return list(dict.fromkeys(mark_by_mark(answer, passages, enough)))


@_wrong("has the number of the first one")
def numbers_by_looking(answer, passages, enough=ENOUGH):
    passages = list(passages)
    return [
        _verdict(s, c, [passages.index(p) + 1 for p in passages if holds(p, s, enough)])
        for s, c in claims(answer)
    ]


@_wrong(r"cites \[2\].* wrong is \(1,\)")
def marks_carried_on(answer, passages, enough=ENOUGH):
    """The lists are made before the loop."""
    fine, wrong, found = [], [], []
    for verdict in mark_by_mark(answer, passages, enough):
        fine += verdict.right
        wrong += verdict.wrong
        found.append(verdict._replace(right=tuple(fine), wrong=tuple(wrong)))
    return found


@_wrong("should be")
def one_digit_alone(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v._replace(wrong=tuple(n for n in v.wrong if n < 10)) for v in found]


@_wrong("should be")
def one_digit_is_right_alone(answer, passages, enough=ENOUGH):
    found = mark_by_mark(answer, passages, enough)
    return [v._replace(right=tuple(n for n in v.right if n < 10)) for v in found]


@_wrong("should be")
def nine_passages_at_most(answer, passages, enough=ENOUGH):
    return mark_by_mark(answer, passages[:9], enough)
