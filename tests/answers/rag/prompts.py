"""Answers to lesson 10: a prompt of whole passages that fits; right ones of different shapes, and people's mistakes."""

import itertools
from collections import namedtuple

from course_lib.rag.prompts import COURSE, PLAIN, Form, Prompt, refuses, stuff
from tools.graders import Battery

battery = Battery()
right = battery.right("build_prompt")


def _wrong(says):
    return battery.wrong("build_prompt", says=says)


def _guard(question, budget, length, form):
    if (least := length(form.write(question, []))) > budget:
        raise ValueError(f"Without any passage the prompt measures {least} > {budget}.")


def _fitting(question, texts, budget, length, form, order=None):
    places = []
    for place in order if order is not None else range(len(texts)):
        if length(form.write(question, [texts[i] for i in [*places, place]])) <= budget:
            places.append(place)
    return places


def _prompt(question, texts, places, form):
    return Prompt(form.write(question, [texts[i] for i in places]), list(places))


# --- right --------------------------------------------------------------------------------------


@right
def kept_texts_side_by_side(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    kept, places = [], []
    for place, text in enumerate(texts):
        if length(form.write(question, kept + [text])) <= budget:  # noqa: RUF005
            kept.append(text)
            places.append(place)
    return Prompt(form.write(question, kept), places)


@right
def tried_and_taken_back(question, texts, budget, length=len, form=PLAIN):
    shown, places = [], []
    prompt = form.write(question, shown)
    if length(prompt) > budget:
        raise ValueError("The question alone is too long.")
    for place in range(len(texts)):
        shown.append(texts[place])
        longer = form.write(question, shown)
        if length(longer) > budget:
            shown.pop()
            continue
        prompt = longer
        places.append(place)
    return Prompt(places=tuple(places), text=prompt)


@right
def recursively(question, texts, budget, length=len, form=PLAIN):
    def further(places, rest):
        if not rest:
            return places
        more = [*places, rest[0]]
        fits = length(form.write(question, [texts[i] for i in more])) <= budget
        return further(more if fits else places, rest[1:])

    _guard(question, budget, length, form)
    found = further([], list(range(len(texts))))
    return Prompt(form.write(question, [texts[i] for i in found]), found)


@right
def with_flags(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    flags = [False] * len(texts)
    for place in range(len(texts)):
        flags[place] = True
        shown = list(itertools.compress(texts, flags))
        flags[place] = not length(form.write(question, shown)) > budget
    places = [place for place, flag in enumerate(flags) if flag]
    return Prompt(form.write(question, list(itertools.compress(texts, flags))), places)


@right
def written_by_hand(question, texts, budget, length=len, form=PLAIN):
    def write(places):
        parts = [form.passage.replace("{n}", str(n)).replace("{text}", texts[p]) for n, p in enumerate(places, 1)]  # fmt: skip
        end = form.end.replace("{question}", question)
        return (form.begin + form.between.join(parts) + end).strip()

    if length(write([])) > budget:
        raise ValueError("Not even the question fits.")
    places = []
    for place in range(len(texts)):
        if length(write([*places, place])) <= budget:
            places = [*places, place]
    return Prompt(write(places), places)


@right
def with_a_tuple_of_its_own(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places = _fitting(question, texts, budget, length, form)
    text = form.write(question, [texts[i] for i in places])
    return namedtuple("Prompt", "text places")(text, places)


# --- wrong --------------------------------------------------------------------------------------


@_wrong("shorter one behind it")
def stops_at_the_first(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places = []
    for place in range(len(texts)):
        if length(form.write(question, [texts[i] for i in [*places, place]])) > budget:
            break
        places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("shorter one behind it")
def drops_from_the_end(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    count = len(texts)
    while length(form.write(question, texts[:count])) > budget:
        count -= 1
    return _prompt(question, texts, range(count), form)


@_wrong("exactly the budget")
def below_the_budget(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts, budget - 1, length, form), form)  # fmt: skip


@_wrong("Characters are counted")
def characters(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts, budget, len, form), form)


@_wrong("without gaps")
def old_numbers(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places = _fitting(question, texts, budget, length, form)
    parts = [form.passage.replace("{n}", str(p + 1)).replace("{text}", texts[p]) for p in places]  # fmt: skip
    end = form.end.replace("{question}", question)
    return Prompt((form.begin + form.between.join(parts) + end).strip(), places)


@_wrong("numbered from 0")
def numbers_from_0(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places = _fitting(question, texts, budget, length, form)
    parts = [form.passage.replace("{n}", str(n)).replace("{text}", texts[p]) for n, p in enumerate(places)]  # fmt: skip
    end = form.end.replace("{question}", question)
    return Prompt((form.begin + form.between.join(parts) + end).strip(), places)


@_wrong("The places are those in the prompt")
def places_renumbered(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(prompt.text, list(range(len(prompt.places))))


@_wrong("The places are those in the prompt")
def numbers_as_places(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(prompt.text, list(range(1, len(prompt.places) + 1)))


@_wrong("counted from 1")
def places_from_1(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(prompt.text, [place + 1 for place in prompt.places])


@_wrong("passages left out")
def places_left_out(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(prompt.text, [p for p in range(len(texts)) if p not in prompt.places])


@_wrong("places are those of all passages")
def all_places(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(prompt.text, list(range(len(texts))))


@_wrong("the place of the first one twice")
def places_by_index(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(prompt.text, [texts.index(texts[place]) for place in prompt.places])


@_wrong("shown already is left out")
def equal_ones_once(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    order = [i for i, text in enumerate(texts) if text not in texts[:i]]
    places = _fitting(question, texts, budget, length, form, order)
    return _prompt(question, texts, places, form)


@_wrong("Only the passages are measured")
def passages_alone(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places, used = [], 0
    for place, text in enumerate(texts):
        if used + length(text) <= budget:
            used += length(text)
            places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("Only the passages are measured")
def without_the_question(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting("", texts, budget, length, form), form)


@_wrong("Only the passages are measured")
def question_and_passages(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places, used = [], length(question)
    for place, text in enumerate(texts):
        if used + length(text) <= budget:
            used += length(text)
            places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("lengths of parts are added up")
def frame_and_passages(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places, used = [], length(form.write(question, []))
    for place, text in enumerate(texts):
        if used + length(text) <= budget:
            used += length(text)
            places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("lengths of parts are added up")
def frame_and_numbered_passages(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places, used = [], length(form.write(question, []))
    for place, text in enumerate(texts):
        part = form.passage.replace("{n}", str(len(places) + 1)).replace("{text}", text)
        more = length(part) + (length(form.between) if places else 0)
        if used + more <= budget:
            used += more
            places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("measured alone with the question")
def each_alone(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places = [i for i, text in enumerate(texts) if length(form.write(question, [text])) <= budget]  # fmt: skip
    return _prompt(question, texts, places, form)


@_wrong("Every passage is shown")
def everything(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, range(len(texts)), form)


@_wrong("Half a passage")
def the_last_one_cut(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    shown, places = [], []
    for place, text in enumerate(texts):
        while text and length(form.write(question, [*shown, text])) > budget:
            text = text[:-1]
        if text:
            shown.append(text)
            places.append(place)
        if text != texts[place]:
            break
    return Prompt(form.write(question, shown), places)


@_wrong("Half a passage")
def the_prompt_cut(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return Prompt(form.write(question, texts)[:budget], list(range(len(texts))))


@_wrong("worst passages are tried first")
def worst_first(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    order = range(len(texts) - 1, -1, -1)
    return _prompt(question, texts, _fitting(question, texts, budget, length, form, order), form)  # fmt: skip


@_wrong("worst passages are tried first, or shown first")
def best_one_last(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts, budget, length, form)[::-1], form)  # fmt: skip


@_wrong("shortest passages")
def shortest_first(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    return _prompt(question, texts, _fitting(question, texts, budget, length, form, order), form)  # fmt: skip


@_wrong("shortest passages")
def shortest_first_then_sorted(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    return _prompt(question, texts, sorted(_fitting(question, texts, budget, length, form, order)), form)  # fmt: skip


@_wrong("A better passage is left out")
def as_many_as_possible(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    for count in range(min(len(texts), 7 if len(texts) > 12 else 12), -1, -1):
        for places in itertools.combinations(range(len(texts)), count):
            if length(form.write(question, [texts[i] for i in places])) <= budget:
                return _prompt(question, texts, places, form)


@_wrong("`form` makes no difference")
def plain_built_in(question, texts, budget, length=len, form=PLAIN):
    if (least := length(PLAIN.write(question, []))) > budget:
        budget = least
    return _prompt(question, texts, _fitting(question, texts, budget, length, PLAIN), PLAIN)  # fmt: skip


@_wrong("too long|`form` makes no difference|fits")
def plain_built_in_with_its_guard(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, PLAIN)
    return _prompt(question, texts, _fitting(question, texts, budget, length, PLAIN), PLAIN)  # fmt: skip


@_wrong("`form` makes no difference")
def course_built_in(question, texts, budget, length=len, form=PLAIN):
    return _prompt(question, texts, _fitting(question, texts, budget, length, COURSE), COURSE)  # fmt: skip


@_wrong("another form than it is written in")
def measured_in_another(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts, budget, length, PLAIN), form)  # fmt: skip


@_wrong("No passage is ever shown")
def none_shown(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return Prompt(form.write(question, []), [])


@_wrong("Only one passage")
def the_best_alone(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts, budget, length, form)[:1], form)  # fmt: skip


@_wrong("something came back")
def without_the_guard(question, texts, budget, length=len, form=PLAIN):
    places = _fitting(question, texts, budget, length, form)
    return _prompt(question, texts, places, form)


@_wrong("a ValueError says so")
def an_assert_for_the_guard(question, texts, budget, length=len, form=PLAIN):
    assert length(form.write(question, [])) <= budget
    places = _fitting(question, texts, budget, length, form)
    return _prompt(question, texts, places, form)


@_wrong("it fits|which is not more than")
def a_guard_too_strict(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget - 1, length, form)
    places = _fitting(question, texts, budget, length, form)
    return _prompt(question, texts, places, form)


@_wrong("it fits|which is not more than")
def nothing_fits_is_refused(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    if not prompt.places:
        raise ValueError("Nothing fits.")
    return prompt


@_wrong("the text alone")
def the_text(question, texts, budget, length=len, form=PLAIN):
    return kept_texts_side_by_side(question, texts, budget, length, form).text


@_wrong("returned a tuple; a Prompt")
def a_plain_tuple(question, texts, budget, length=len, form=PLAIN):
    return tuple(kept_texts_side_by_side(question, texts, budget, length, form))


@_wrong("returned a list; a Prompt")
def the_places(question, texts, budget, length=len, form=PLAIN):
    return kept_texts_side_by_side(question, texts, budget, length, form).places


@_wrong("First the text")
def the_wrong_way_round(question, texts, budget, length=len, form=PLAIN):
    text, places = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(places, text)


@_wrong("A list of whole numbers")
def passages_as_places(question, texts, budget, length=len, form=PLAIN):
    text, places = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(text, [texts[i] for i in places])


@_wrong("A list of whole numbers")
def one_number(question, texts, budget, length=len, form=PLAIN):
    text, places = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(text, len(places))


@_wrong("question is missing")
def question_missing(question, texts, budget, length=len, form=PLAIN):
    _, places = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(form.write("", [texts[i] for i in places]), places)


@_wrong("written without their numbers")
def all_written(question, texts, budget, length=len, form=PLAIN):
    _, places = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(form.write(question, texts), places)


@_wrong("written without their numbers")
def joined(question, texts, budget, length=len, form=PLAIN):
    places = kept_texts_side_by_side(question, texts, budget, length, form).places
    end = form.end.replace("{question}", question)
    return Prompt((form.begin + form.between.join(texts[i] for i in places) + end).strip(), places)  # fmt: skip


@_wrong("changed its own input")
def texts_taken_out(question, texts, budget, length=len, form=PLAIN):
    prompt = kept_texts_side_by_side(question, texts, budget, length, form)
    if isinstance(texts, list):
        for place in reversed(prompt.places):
            texts.pop(place)
    return prompt


@_wrong("would fit")
def a_margin(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    places = _fitting(question, texts, budget - 5, length, form)
    return _prompt(question, texts, places, form)


@_wrong("is more than|are shown")
def one_too_many(question, texts, budget, length=len, form=PLAIN):
    """Measured before the passage is there."""
    _guard(question, budget, length, form)
    places = []
    for place in range(len(texts)):
        if length(form.write(question, [texts[i] for i in places])) <= budget:
            places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("course_lib's own")
def through_stuff(question, texts, budget, length=len, form=PLAIN):
    seen = []
    stuff(question, texts, lambda prompt: seen.append(prompt) or "", budget, length, form)  # fmt: skip
    assert not refuses(seen[0])
    return Prompt(seen[0], [i for i, text in enumerate(texts) if text in seen[0]])


@_wrong("text is right, and the places are|first one twice")
def places_by_looking(question, texts, budget, length=len, form=PLAIN):
    text = kept_texts_side_by_side(question, texts, budget, length, form).text
    return Prompt(text, [i for i, each in enumerate(texts) if each in text])


@_wrong("writes something else")
def a_form_without_its_end(question, texts, budget, length=len, form=PLAIN):
    _, places = kept_texts_side_by_side(question, texts, budget, length, form)
    bare = Form(form.begin, form.passage, form.between, "\n{question}")
    return Prompt(bare.write(question, [texts[i] for i in places]), places)


# --- found by attacking the check -------------------------------------------------------------


def _skipping(misses, question, texts, budget, length, form):
    """Gives up after so many that did not fit."""
    _guard(question, budget, length, form)
    places, missed = [], 0
    for place in range(len(texts)):
        if length(form.write(question, [texts[i] for i in [*places, place]])) <= budget:
            places.append(place)
        else:
            missed += 1
            if missed == misses:
                break
    return _prompt(question, texts, places, form)


@_wrong("are shown; .* would be|would fit")
def gives_up_after_two(question, texts, budget, length=len, form=PLAIN):
    return _skipping(2, question, texts, budget, length, form)


@_wrong("are shown; .* would be|would fit")
def gives_up_after_three(question, texts, budget, length=len, form=PLAIN):
    return _skipping(3, question, texts, budget, length, form)


@_wrong("are shown; .* would be|would fit")
def gives_up_after_six(question, texts, budget, length=len, form=PLAIN):
    return _skipping(6, question, texts, budget, length, form)


@_wrong("are shown; .* would be|would fit")
def fifteen_passages_at_most(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts[:15], budget, length, form), form)  # fmt: skip


@_wrong("are shown; .* would be|would fit")
def five_passages_at_most(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts[:5], budget, length, form), form)  # fmt: skip


@_wrong("are shown; .* would be|would fit|is more than")
def words_for_every_length_but_len(question, texts, budget, length=len, form=PLAIN):
    def measured(text):
        return len(text) if length is len else len(text.split())

    _guard(question, budget, length, form)
    return _prompt(question, texts, _fitting(question, texts, budget, measured, form), form)  # fmt: skip


@_wrong("the text is|writes something else")
def not_stripped(question, texts, budget, length=len, form=PLAIN):
    text, places = kept_texts_side_by_side(question, texts, budget, length, form)
    return Prompt(text + " ", places)


@_wrong("lengths of parts are added up")
def what_each_adds(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, length, form)
    total = least = length(form.write(question, []))
    places = []
    for place, text in enumerate(texts):
        more = length(form.write(question, [text])) - least
        if total + more <= budget:
            total += more
            places.append(place)
    return _prompt(question, texts, places, form)


@_wrong("are stripped")
def white_space_taken_off(question, texts, budget, length=len, form=PLAIN):
    texts = [text.strip() for text in texts]
    return kept_texts_side_by_side(question, texts, budget, length, form)


@_wrong("`length` measures it")
def guarded_by_characters(question, texts, budget, length=len, form=PLAIN):
    _guard(question, budget, len, form)
    return kept_texts_side_by_side(question, texts, budget, length, form)
