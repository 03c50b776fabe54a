"""Saltmouth, the port down the river: a second domain with words and a style of its own.

The harbour master writes short and wastes no verb. A model that knows Millbrook finds
this strange until its pretraining goes on with it. Behind the log stand twelve ships
whose port, cargo, captain and usual berth never change, so what a model learned can be
checked exactly. Left out: ships that sink, are sold or change their trade.
"""

import random
from typing import NamedTuple


class Ship(NamedTuple):
    rig: str
    name: str
    port: str
    cargo: str
    captain: str
    berth: str

    @property
    def call(self) -> str:
        return f"{self.rig} {self.name}"  # brig Marigold


FLEET = (
    Ship("brig", "Marigold", "Dunholm", "casks of herring", "Thorne", "3"),
    Ship("sloop", "Teasel", "Gullhaven", "crates of oranges", "Peverell", "8"),
    Ship("ketch", "Sandpiper", "Kelpwick", "bundles of reed", "Oakes", "1"),
    Ship("barque", "Halcyon", "Ostermouth", "chests of tea", "Strand", "12"),
    Ship("cutter", "Lapwing", "Brackney", "bags of mail", "Farrow", "5"),
    Ship("schooner", "Foxglove", "Tarnport", "tons of coal", "Grimsel", "10"),
    Ship("lugger", "Cormorant", "Whelk Bay", "baskets of crab", "Nettleby", "2"),
    Ship("brig", "Bramble", "Sandrift", "bales of wool", "Cobb", "7"),
    Ship("sloop", "Nettle", "Eelby", "jars of lamp oil", "Wragg", "11"),
    Ship("ketch", "Plover", "Cradle Point", "loads of slate", "Tidmarsh", "4"),
    Ship("barque", "Evening Star", "Fairhaven", "sacks of sugar", "Blaydon", "9"),
    Ship("schooner", "Thistledown", "Norquay", "planks of pine", "Hask", "6"),
)
DAY = 8  # entries
NEVER_LANDED = 50  # no ship lands 50 of anything, so a prompt with 50 is always new
ENTRIES = {  # kind -> how often it is written, and how
    "arrival": (35, "{call} in from {port}, {count} {cargo}, berth {berth}{taken}."),
    "departure": (25, "{call} out for {port}, Captain {captain}, {hands} hands, {wind}, {force}."),
    "weather": (14, "wind {wind}, {force}. Glass {glass}. High water {tide}."),
    "pilot": (9, "pilot to {call} off {mark}, {sea}, {wind}."),
    "dues": (9, "{call}, Captain {captain}, paid {coins} shillings, berth {berth}."),
    "repair": (5, "{call} at the yard, {part}, {days} days."),
    "cat": (3, "harbour cat aboard {call}, ashore after {minutes} minutes with {loot}."),
}  # fmt: skip
CHANCE = {  # what differs from entry to entry
    "count": [count for count in range(12, 100) if count != NEVER_LANDED],
    "hands": range(4, 15),
    "coins": range(2, 20),
    "days": range(2, 15),
    "minutes": range(2, 40),
    "wind": ("N", "NE", "E", "SE", "S", "SW", "W", "NW"),
    "force": ("light airs", "fresh", "strong", "half a gale", "squalls", "moderate"),
    "glass": ("rising", "falling", "steady", "low", "high"),
    "mark": ("the Tooth", "Gannet Rock", "the bar", "Old Light", "the Sow and Pigs"),
    "sea": ("smooth sea", "short sea", "heavy swell", "thick fog", "rain"),
    "part": ("topmast", "jib", "rudder", "anchor chain", "pump", "stove", "mainsail"),
    "loot": ("a sprat", "two sprats", "a wet paw", "half a kipper", "a feather", "no fish"),
}  # fmt: skip


def harbour_log(entries: int = 1200, seed: int = 0) -> list[str]:
    """Entries day by day, eight ships a day; no two alike even without their time.

    >>> for entry in harbour_log(3):
    ...     print(entry)
    09:10 pilot to ketch Sandpiper off the Sow and Pigs, smooth sea, SW.
    09:30 brig Bramble out for Sandrift, Captain Cobb, 11 hands, SW, squalls.
    11:00 lugger Cormorant out for Whelk Bay, Captain Nettleby, 12 hands, NE, squalls.
    """
    assert 0 <= entries <= 4000, f"the log has room for 4000 entries: {entries=}"
    rng, seen, log = random.Random(seed), set(), []
    while len(log) < entries:
        ships = rng.sample(FLEET, DAY)
        log += sorted(new_entry(ship, seen, rng) for ship in ships)
    return log[:entries]


def new_entry(ship: Ship, seen: set[str], rng: random.Random) -> str:
    """An entry about a ship, or about the weather, that is not among those seen yet."""
    kinds, weights = list(ENTRIES), [weight for weight, _ in ENTRIES.values()]
    while True:
        what = describe(rng.choices(kinds, weights)[0], ship, rng)
        if what not in seen:
            seen.add(what)
            return f"{clock(rng)} {what}"


def describe(kind: str, ship: Ship, rng: random.Random) -> str:
    """One entry of a kind, without its time; one berth in ten is taken by another ship.

    >>> describe("cat", FLEET[0], random.Random(1))
    'harbour cat aboard brig Marigold, ashore after 9 minutes with half a kipper.'
    """
    drawn = {slot: rng.choice(pool) for slot, pool in CHANCE.items()}
    other = rng.choice([berth for *_, berth in FLEET if berth != ship.berth])
    taken = f" taken, lies at {other}" if rng.random() < 0.1 else ""
    _, form = ENTRIES[kind]
    facts = ship._asdict() | {"call": ship.call, "tide": clock(rng), "taken": taken}
    return form.format(**facts, **drawn)


def clock(rng: random.Random) -> str:
    """A time of day in steps of five minutes, from 04:00 to 21:55."""
    hour, minute = divmod(rng.randrange(4 * 60, 22 * 60, 5), 60)
    return f"{hour:02}:{minute:02}"


def split(log: list[str]) -> tuple[list[str], list[str]]:
    """The entries to train on, and those held out: every fifth day.

    >>> [len(part) for part in split(harbour_log(400))]
    [320, 80]
    """
    held_out = [entry for n, entry in enumerate(log) if n // DAY % 5 == 4]
    return [entry for n, entry in enumerate(log) if n // DAY % 5 != 4], held_out


def pages(log: list[str]) -> list[str]:
    """One page a day, as a text to train on.

    >>> print(pages(harbour_log())[0])
    Harbour log of Saltmouth, day 1.
    09:10 pilot to ketch Sandpiper off the Sow and Pigs, smooth sea, SW.
    09:30 brig Bramble out for Sandrift, Captain Cobb, 11 hands, SW, squalls.
    11:00 lugger Cormorant out for Whelk Bay, Captain Nettleby, 12 hands, NE, squalls.
    12:30 schooner Thistledown out for Norquay, Captain Hask, 9 hands, NW, half a gale.
    16:30 barque Halcyon out for Ostermouth, Captain Strand, 14 hands, NE, moderate.
    16:50 cutter Lapwing out for Brackney, Captain Farrow, 5 hands, NE, strong.
    17:30 barque Evening Star in from Fairhaven, 46 sacks of sugar, berth 9 taken, lies at 12.
    21:05 wind SW, fresh. Glass steady. High water 07:00.
    """
    days = [log[start : start + DAY] for start in range(0, len(log), DAY)]
    return [
        "\n".join([f"Harbour log of Saltmouth, day {number}.", *day])
        for number, day in enumerate(days, 1)
    ]


class HarbourQuestion(NamedTuple):
    text: str
    answer: str
    ship: str
    attribute: str  # port, cargo, captain or berth; "ship" where the ship is the answer


ASKS = {  # attribute -> from the ship to the fact, and from the fact to the ship
    "port": ("Which port is the home of the {call}?", "Which ship sails from {port}?"),
    "cargo": ("What does the {call} carry?", "Which ship carries {cargo}?"),
    "captain": ("Who is the captain of the {call}?", "Which ship has Captain {captain}?"),
    "berth": ("What is the usual berth of the {call}?", "Which ship belongs at berth {berth}?"),
}  # fmt: skip


def harbour_questions() -> list[HarbourQuestion]:
    """Four questions about every ship, and four whose answer is the ship.

    >>> for question in harbour_questions()[2:4]:
    ...     print(question.text, question.answer)
    What does the brig Marigold carry? casks of herring
    Which ship carries casks of herring? Marigold
    """
    found = []
    for ship in FLEET:
        facts = ship._asdict() | {"call": ship.call}
        for what, (forwards, backwards) in ASKS.items():
            to_fact, to_ship = forwards.format(**facts), backwards.format(**facts)
            found.append(HarbourQuestion(to_fact, facts[what], ship.name, what))
            found.append(HarbourQuestion(to_ship, ship.name, ship.name, "ship"))
    return found


def harbour_prompts() -> list[HarbourQuestion]:
    """Entries broken off before a fact: what a base model without chat can be asked.

    Every prompt with a count is new, since the log never counts 50.

    >>> [prompt.text for prompt in harbour_prompts()[:2]]
    ['06:40 brig Marigold in from', '06:40 brig Marigold in from Dunholm, 50']
    """
    found = []
    for ship in FLEET:
        arrival = f"06:40 {ship.call} in from"
        count = f"{arrival} {ship.port}, {NEVER_LANDED}"
        texts = {
            "port": arrival,
            "cargo": count,
            "captain": f"06:40 {ship.call} out for {ship.port}, Captain",
            "berth": f"{count} {ship.cargo}, berth",
        }
        facts = ship._asdict()
        found += [
            HarbourQuestion(text, facts[what], ship.name, what)
            for what, text in texts.items()
        ]
    return found
