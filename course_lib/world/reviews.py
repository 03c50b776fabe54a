"""Guests of the town's café say what they think: short reviews whose verdict is known exactly.

Verdicts follow from the words, so every claim about a classifier can be checked.
Held-out reviews pair things with adjectives that never met in training, although both
words were seen.
"""

GOOD = ("good", "lovely", "fresh", "warm", "tasty", "perfect")
BAD = ("bad", "awful", "stale", "cold", "bland", "burnt")
THINGS = ("soup", "tea", "bread", "cake", "pie", "coffee", "salad", "rice")
FORMS = (
    "the {thing} was {word}",
    "i found the {thing} {word}",
    "what a {word} {thing}",
    "we came for the {thing} and it was {word}",
    "my {thing} was {word} again this week",
)
VERDICTS = ("negative", "positive")


def reviews(held_out: bool = False) -> list[tuple[str, int]]:
    """(text, verdict) pairs, verdict 1 for positive; a quarter of the thing-adjective pairs is held out.

    >>> reviews()[0]
    ('the soup was lovely', 1)
    """
    chosen = []
    for i, thing in enumerate(THINGS):
        for verdict, words in ((1, GOOD), (0, BAD)):
            for j, word in enumerate(words):
                if ((i + j) % 4 == 0) == held_out:
                    chosen += [
                        (form.format(thing=thing, word=word), verdict) for form in FORMS
                    ]
    return chosen


def twisted_reviews() -> list[tuple[str, int]]:
    """Pairs of reviews made of the same words in another order, with opposite verdicts.

    >>> twisted_reviews()[:2]
    [('the soup was good , not bad', 1), ('the soup was bad , not good', 0)]
    """
    pairs = []
    for thing in THINGS:
        for good, bad in zip(GOOD, BAD, strict=True):
            pairs.append((f"the {thing} was {good} , not {bad}", 1))
            pairs.append((f"the {thing} was {bad} , not {good}", 0))
    return pairs
