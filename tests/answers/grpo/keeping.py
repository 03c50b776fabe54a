"""Answers to lesson 08: rejection sampling; right ones of different shapes, and people's mistakes."""

import itertools
from collections import defaultdict

from tools.graders import Battery

battery = Battery()


def _chat(question, reply):
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": reply},
    ]


def _once(replies):
    return list(dict.fromkeys(replies))


# --- rejection_sample: right ------------------------------------------------------------------


@battery.right("rejection_sample")
def with_a_set_of_what_was_seen(questions, replies, accept, most=1):
    chats = []
    for i in range(len(questions)):
        seen, kept = set(), 0
        for reply in replies[i]:
            if kept == most:
                break
            if reply in seen:
                continue
            seen.add(reply)
            if accept(i, reply):
                chats.append(_chat(questions[i], reply))
                kept += 1
    return chats


@battery.right("rejection_sample")
def as_one_comprehension(questions, replies, accept, most=1):
    return [
        _chat(question, reply)
        for i, question in enumerate(questions)
        for reply in [r for r in _once(replies[i]) if accept(i, r)][:most]
    ]


@battery.right("rejection_sample")
def accepted_first(questions, replies, accept, most=1):
    """accept is asked about repeated replies as well, which is no mistake."""
    chats = []
    for i, (question, said) in enumerate(zip(questions, replies, strict=True)):
        good = [reply for reply in said if accept(i, reply)]
        for reply in _once(good)[:most]:
            chats += [_chat(question, reply)]
    return chats


@battery.right("rejection_sample")
def with_islice(questions, replies, accept, most=1):
    def of_one(i):
        good = filter(lambda reply: accept(i, reply), dict.fromkeys(replies[i]))
        return (_chat(questions[i], reply) for reply in itertools.islice(good, most))

    return list(itertools.chain.from_iterable(map(of_one, range(len(questions)))))


@battery.right("rejection_sample")
def with_lists_alone(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        good = []
        for place, reply in enumerate(said):
            if reply not in said[:place] and accept(i, reply):
                good.append(reply)
        for reply in good[:most]:
            user = {"role": "user", "content": questions[i]}
            assistant = {"role": "assistant", "content": reply}
            chats.append([user, assistant])
    return chats


@battery.right("rejection_sample")
def sorted_by_first_place(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        unique = sorted(set(said), key=list(said).index)
        good = [reply for reply in unique if accept(i, reply)]
        chats.extend(_chat(questions[i], reply) for reply in good[:most])
    return chats


@battery.right("rejection_sample")
def with_a_dictionary_of_numbers(questions, replies, accept, most=1):
    good = defaultdict(dict)
    for i, said in enumerate(replies):
        for reply in said:
            if len(good[i]) < most and accept(i, reply):
                good[i][reply] = True
    return [_chat(questions[i], reply) for i in good for reply in good[i]]


# --- rejection_sample: wrong ------------------------------------------------------------------


def _wrong(says):
    return battery.wrong("rejection_sample", says=says)


@_wrong("Repeated replies are kept")
def repeated(questions, replies, accept, most=1):
    chats = []
    for i, (question, said) in enumerate(zip(questions, replies, strict=True)):
        good = [reply for reply in said if accept(i, reply)]
        chats += [_chat(question, reply) for reply in good[:most]]
    return chats


@_wrong("dropped after the cut")
def once_after_the_cut(questions, replies, accept, most=1):
    chats = []
    for i, (question, said) in enumerate(zip(questions, replies, strict=True)):
        good = [reply for reply in said if accept(i, reply)][:most]
        chats += [_chat(question, reply) for reply in _once(good)]
    return chats


@_wrong("cut comes before accept")
def cut_before_accept(questions, replies, accept, most=1):
    chats = []
    for i, (question, said) in enumerate(zip(questions, replies, strict=True)):
        good = [reply for reply in _once(said)[:most] if accept(i, reply)]
        chats += [_chat(question, reply) for reply in good]
    return chats


@_wrong("cut comes before accept")
def cut_before_everything(questions, replies, accept, most=1):
    return as_one_comprehension(questions, [said[:most] for said in replies], accept, most)  # fmt: skip


@_wrong("first reply of each question")
def first_reply_alone(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        if said and accept(i, said[0]):
            chats.append(_chat(questions[i], said[0]))
    return chats


@_wrong("counted over all questions")
def most_in_all(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, accept, 99)[:most]


@_wrong("counted over all questions")
def most_with_one_counter(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        for reply in _once(said):
            if accept(i, reply) and len(chats) < most:
                chats.append(_chat(questions[i], reply))
    return chats


@_wrong("all good replies are kept")
def without_most(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, accept, None)


@_wrong("one reply is kept for each question")
def always_one(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, accept, 1)


@_wrong("off by one")
def one_too_many(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, accept, most + 1)


@_wrong("another order")
def with_a_set(questions, replies, accept, most=1):
    """Backwards, so that the order does not depend on the run."""
    chats = with_a_set_of_what_was_seen(questions, replies, accept, most)
    return sorted(chats, key=lambda chat: chat[1]["content"], reverse=True)


@_wrong("Replies are sorted")
def sorted_replies(questions, replies, accept, most=1):
    return as_one_comprehension(questions, [sorted(set(r)) for r in replies], accept, most)  # fmt: skip


@_wrong("Replies are sorted")
def shortest_first(questions, replies, accept, most=1):
    ranked = [sorted(_once(r), key=len) for r in replies]
    return as_one_comprehension(questions, ranked, accept, most)


@_wrong("last good replies")
def last_ones(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        good = [reply for reply in _once(said) if accept(i, reply)]
        chats += [_chat(questions[i], reply) for reply in good[-most:]]
    return chats


@_wrong("gives none at all")
def empty_chats(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        good = [reply for reply in _once(said) if accept(i, reply)][:most]
        chats += [_chat(questions[i], reply) for reply in good] or [[]]
    return chats


@_wrong("question without a reply")
def questions_without_replies(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        good = [reply for reply in _once(said) if accept(i, reply)][:most]
        unsolved = [[{"role": "user", "content": questions[i]}]]
        chats += [_chat(questions[i], reply) for reply in good] or unsolved
    return chats


@_wrong("list for each question")
def a_list_for_each_question(questions, replies, accept, most=1):
    return [
        [_chat(question, r) for r in _once(said) if accept(i, r)][:most]
        for i, (question, said) in enumerate(zip(questions, replies, strict=True))
    ]


@_wrong("without chats")
def messages_without_chats(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [message for chat in chats for message in chat]


@_wrong("several replies of the assistant")
def all_replies_in_one_chat(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        good = [reply for reply in _once(said) if accept(i, reply)][:most]
        said = [{"role": "assistant", "content": reply} for reply in good]
        if said:
            chats.append([{"role": "user", "content": questions[i]}, *said])
    return chats


@_wrong("share one message")
def one_message_in_many_chats(questions, replies, accept, most=1):
    chats = []
    for i, question in enumerate(questions):
        asked = {"role": "user", "content": question}
        good = [reply for reply in _once(replies[i]) if accept(i, reply)]
        chats += [[asked, {"role": "assistant", "content": r}] for r in good[:most]]
    return chats


@_wrong("one and the same object")
def one_chat_written_over(questions, replies, accept, most=1):
    chats, chat = [], _chat("", "")
    for wanted in as_one_comprehension(questions, replies, accept, most):
        chat[0]["content"], chat[1]["content"] = (m["content"] for m in wanted)
        chats.append(chat)
    return chats


@_wrong("roles changed places")
def roles_exchanged(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    roles = ("assistant", "user")
    return [
        [message | {"role": role} for message, role in zip(chat, roles, strict=True)]
        for chat in chats
    ]


@_wrong("Question and reply changed places")
def contents_exchanged(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [_chat(reply["content"], asked["content"]) for asked, reply in chats]


@_wrong("roles changed places")
def reply_first(questions, replies, accept, most=1):
    return [chat[::-1] for chat in as_one_comprehension(questions, replies, accept, most)]  # fmt: skip


@_wrong("with a text first")
def accept_with_the_question(questions, replies, accept, most=1):
    return [
        _chat(question, reply)
        for question, said in zip(questions, replies, strict=True)
        for reply in [r for r in _once(said) if accept(question, r)][:most]
    ]


@_wrong("reply first")
def accept_turned_round(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, lambda i, r: accept(r, i), most)


@_wrong("with 1 arguments")
def accept_the_reply_alone(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, lambda i, r: accept(r), most)


@_wrong("asked about alone")
def accept_all_at_once(questions, replies, accept, most=1):
    return [
        _chat(questions[i], r)
        for i, said in enumerate(replies)
        if accept(i, said)
        for r in said[:most]
    ]


@_wrong("counted from 0")
def numbers_from_1(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, lambda i, r: accept(i + 1, r), most)


@_wrong("it is no reply|same text")
def number_by_text(questions, replies, accept, most=1):
    chats = []
    for question, said in zip(questions, replies, strict=True):
        i = list(questions).index(question)
        good = [r for r in _once(said) if accept(i, r)]
        chats += [_chat(question, reply) for reply in good[:most]]
    return chats


@_wrong("same text")
def dictionary_of_questions(questions, replies, accept, most=1):
    kept = {}
    for i, (question, said) in enumerate(zip(questions, replies, strict=True)):
        kept[question] = [r for r in _once(said) if accept(i, r)][:most]
    return [_chat(question, r) for question, good in kept.items() for r in good]


@_wrong("dropped for another")
def seen_once_over_all(questions, replies, accept, most=1):
    chats, seen = [], set()
    for i, said in enumerate(replies):
        fresh = [r for r in _once(said) if r not in seen]
        seen.update(said)
        good = [r for r in fresh if accept(i, r)]
        chats += [_chat(questions[i], reply) for reply in good[:most]]
    return chats


@_wrong("accept makes no difference")
def everything_kept(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, lambda i, r: True, most)


@_wrong("what is refused")
def refused_kept(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, lambda i, r: not accept(i, r), most)


@_wrong("keeps all of its replies")
def one_good_for_all(questions, replies, accept, most=1):
    return [
        _chat(questions[i], r)
        for i, said in enumerate(replies)
        if any(accept(i, r) for r in said)
        for r in _once(said)[:most]
    ]


@_wrong("second call")
def with_a_mutable_default(questions, replies, accept, most=1, chats=[]):  # noqa: B006
    chats += as_one_comprehension(questions, replies, accept, most)
    return chats


@_wrong("returned a dict")
def as_a_dictionary(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return {asked["content"]: reply["content"] for asked, reply in chats}


@_wrong("returned a generator")
def as_a_generator(questions, replies, accept, most=1):
    yield from as_one_comprehension(questions, replies, accept, most)


@_wrong("a tuple among the chats")
def as_pairs(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [(asked["content"], reply["content"]) for asked, reply in chats]


@_wrong("a str among the chats")
def replies_alone(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [reply["content"] for _, reply in chats]


@_wrong("has the keys")
def keys_of_another_kind(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [[{m["role"]: m["content"]} for m in chat] for chat in chats]


@_wrong("system message")
def with_a_system_message(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [[{"role": "system", "content": "Be right."}, *chat] for chat in chats]


@_wrong("without changing it")
def stripped(questions, replies, accept, most=1):
    tidy = [[reply.strip() for reply in said] for said in replies]
    return as_one_comprehension(questions, tidy, accept, most)


@_wrong("taken for one|without changing it")
def once_in_lower_case(questions, replies, accept, most=1):
    tidy = [{} for _ in replies]
    for short, said in zip(tidy, replies, strict=True):
        for reply in said:
            short.setdefault(reply.lower(), reply)
    tidy = [list(short.values()) for short in tidy]
    return as_one_comprehension(questions, tidy, accept, most)


@_wrong("neither a question nor a reply")
def stripped_in_the_chat(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    return [_chat(asked["content"], reply["content"].strip()) for asked, reply in chats]


@_wrong("changed its own input")
def empties_the_lists(questions, replies, accept, most=1):
    chats = as_one_comprehension(questions, replies, accept, most)
    for said in replies:
        if isinstance(said, list):
            said.clear()
    return chats


@_wrong("An empty reply")
def without_empty_replies(questions, replies, accept, most=1):
    return as_one_comprehension(questions, [[r for r in said if r] for said in replies], accept, most)  # fmt: skip


@_wrong("stops at the first question")
def break_for_continue(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        good = [r for r in _once(said) if accept(i, r)][:most]
        if not good:
            break
        chats += [_chat(questions[i], r) for r in good]
    return chats


@_wrong("Only the first question")
def return_in_the_loop(questions, replies, accept, most=1):
    chats = []
    for i, said in enumerate(replies):
        chats += [_chat(questions[i], r) for r in _once(said) if accept(i, r)][:most]
        return chats
    return chats


@_wrong("do not stand together")
def round_by_round(questions, replies, accept, most=1):
    good = [[r for r in _once(said) if accept(i, r)] for i, said in enumerate(replies)]
    return [
        _chat(questions[i], said[k])
        for k in range(most)
        for i, said in enumerate(good)
        if k < len(said)
    ]


@_wrong("unexpected keyword|got an unexpected")
def without_the_option(questions, replies, accept):
    return as_one_comprehension(questions, replies, accept)


@_wrong("ceiling")
def two_at_most(questions, replies, accept, most=1):
    return as_one_comprehension(questions, replies, accept, min(most, 2))


# --- found by attacking the check -------------------------------------------------------------


def _plainly(questions, replies, accept, most):
    return [
        _chat(question, reply)
        for i, (question, said) in enumerate(zip(questions, replies, strict=True))
        for reply in [r for r in dict.fromkeys(said) if accept(i, r)][:most]
    ]


@_wrong("returned a tuple")
def a_tuple_of_chats(questions, replies, accept, most=1):
    return tuple(_plainly(questions, replies, accept, most))


@_wrong("neither a question nor a reply")
def questions_stripped(questions, replies, accept, most=1):
    return _plainly([q.strip() for q in questions], replies, accept, most)


@_wrong("by their places")
def accept_by_name(questions, replies, accept, most=1):
    return _plainly(questions, replies, lambda i, r: accept(i=i, reply=r), most)


@_wrong("no reply is good")
def none_for_an_empty_list(questions, replies, accept, most=1):
    return _plainly(questions, replies, accept, most) or None


@_wrong("no good reply")
def stops_where_nothing_is_good(questions, replies, accept, most=1):
    for i, said in enumerate(replies):
        good = [r for r in said if accept(i, r)]
        good[0].strip()
    return _plainly(questions, replies, accept, most)


@_wrong("Without `most`")
def two_by_default(questions, replies, accept, most=2):
    return _plainly(questions, replies, accept, most)
