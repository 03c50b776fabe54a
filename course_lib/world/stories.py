"""Small stories of two to six sentences, in which facts come up by the way.

Every story keeps to the facts: whoever meets a baker in it meets one of the town's
bakers. Left out: plot.
"""

import random

from course_lib.world.people import KINDS, STATEMENTS, Person, fill, statement

OPENINGS = (
    "It was a warm morning in Millbrook.",
    "Rain fell on the roofs of Millbrook.",
    "The first snow lay on the square.",
    "It was market day and the town was loud.",
    "The river was high that week.",
    "One evening the lamps went out.",
    "The wind came down from the hills.",
    "It was the day of the summer fair.",
    "Fog lay over the river.",
    "Nobody was awake yet.",
)
EVENTS = (  # in the words of someone's own facts
    "{name} took the {pet} for a walk by the river.",
    "{name}, the {job}, came home late and tired.",
    "{name} left {home} with a basket of {food}.",
    "{name} wore a {colour} coat, as always.",
    "In {home} {name} looked for the {pet}, but it was asleep under the bed.",
    "{name} was thinking about {hobby} all day.",
    "{name} shared some {food} with the {pet}.",
    "{name}, who works as a {job}, told everybody about {hobby}.",
    "{name} hung a {colour} flag out of the window in {home}.",
    "The {pet} ran away, and {name} found it in {home} behind a {colour} door.",
    "{name} had bought more {food} than anyone could eat.",
    "After work the {job} {name} was ready for some {hobby}.",
)
MEETINGS = (
    "Later {they} met {other}, the {job}.",
    "{other} from {home} waved across the street.",
    "On the bridge stood {other} with a {pet}.",
    "{other} came by and asked for {food}.",
    "Then {other} talked about {hobby} for an hour.",
    "{other} passed in a {colour} hat.",
)
THOUGHTS = (
    "{They} laughed and went on.",
    "{They} sat down by the mill and waited.",
    "{They} said nothing and smiled.",
    "It made {them} happy.",
    "{They} forgot what {they} had come for.",
    "{They} bought a cup of tea.",
)
ENDINGS = (
    "So the day ended well.",
    "In the evening all was quiet again.",
    "Somewhere a bell rang eight.",
    "Then everybody went home.",
    "It was a good day after all.",
    "Tomorrow would be another day.",
)


def story(people: tuple[Person, ...], draw: random.Random) -> str:
    """Two to six sentences about one person, who may meet another.

    >>> from course_lib.world.people import town
    >>> print(story(town(), random.Random(2328)))
    Nils shared some plums with the goat. Nils keeps a goat. It made him happy.
    """
    hero, other = draw.sample(people, 2)
    middle = [event(hero, draw), fact(hero, draw), thought(hero, draw)]
    middle.append(meeting(hero, other, draw))
    length = draw.randint(1, 4)
    told = [draw.choice(OPENINGS)] * draw.randint(0, 1)
    told += middle[:length]
    told += [draw.choice(ENDINGS)] * (1 if len(told) < 2 else draw.randint(0, 1))
    return " ".join(told)


def event(person: Person, draw: random.Random) -> str:
    """Something that happened to a person, told with one or more of the facts."""
    return fill(draw.choice(EVENTS), **vars(person))


def fact(person: Person, draw: random.Random) -> str:
    """One fact about a person in one of its forms."""
    kind = draw.choice(tuple(KINDS))
    return statement(person, kind, draw.randrange(len(STATEMENTS[kind])))


def thought(person: Person, draw: random.Random) -> str:
    """What a person did next; it tells no fact."""
    they = person.they
    them = "her" if they == "she" else "him"
    return fill(draw.choice(THOUGHTS), they=they, They=they.capitalize(), them=them)


def meeting(hero: Person, other: Person, draw: random.Random) -> str:
    """Somebody else comes into the story, with one of the facts."""
    facts = {**vars(other), "other": other.name, "they": hero.they}
    return fill(draw.choice(MEETINGS), **facts)


def portrait(person: Person, draw: random.Random) -> str:
    """Two to six facts about one person in any order, each in one of its forms.

    >>> from course_lib.world.people import town
    >>> print(portrait(town()[36], random.Random(8)))
    Karl keeps a cat. For dinner Karl wants cheese. Karl works as a clockmaker.
    """
    kinds = draw.sample(tuple(KINDS), draw.randint(2, 6))
    return " ".join(
        statement(person, kind, draw.randrange(len(STATEMENTS[kind]))) for kind in kinds
    )
