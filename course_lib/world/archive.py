"""The forms of the town archive: thirteen kinds of paper with slots for their facts.

A form is a text with slots, the things it is written about, what may stand in each
slot, and the questions that ask for it. `documents` fills the forms and says what
they are for.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    kind: str
    office: str
    title: str
    subjects: str  # lines of: name | the same thing in other words | a remark
    body: str  # with slots for the name, the remark and every value
    values: dict[str, list[str]]  # what may stand in each slot
    asks: tuple[tuple[str, str, str], ...]  # attribute, its own words, other words
    never: tuple[str, str]  # asks for what no paper tells
    ghost: str  # a name that no paper mentions
    editions: int = 1

    def rows(self) -> list[list[str]]:
        lines = self.subjects.strip().split("\n")
        return [[part.strip() for part in line.split("|")] for line in lines]


def counted(numbers: range, unit: str) -> list[str]:
    """Numbers with their unit.

    >>> counted(range(4, 7), "pence")
    ['4 pence', '5 pence', '6 pence']
    """
    return [f"{number} {unit}" for number in numbers]


NOTICE = Form(
    kind="notice",
    office="Clerk's Office",
    title="Opening hours of the {name}",
    subjects="""
Heron Bath      | the swimming pool            | Whoever sings under water must not splash.
Lantern Library | the place that lends books   | Wet dogs may look at the newspaper, but not on the carpet.
Copper Museum   | the collection of old things | Please do not wind up the tin soldier. He marches all night.
Plum Garden     | the park with water birds    | The geese were here first, and they know it.
Owl Theatre     | the playhouse                | Clapping with gloves on is not clapping.
Cheese Cellar   | the shop for milk and butter | Whoever tastes six kinds must buy one.
""",
    body="""\
The {name} is open to every person of good manners, and to most others. The door opens \
at {opens} in the morning and shuts at {shuts} in the afternoon. On {closed} nobody \
comes in, because that is when the floor is washed. A ticket costs {price}. {remark} \
Bags, boots and umbrellas stay in the hall. If you find the door shut at the wrong hour, \
knock hard: the keeper reads a lot and is a little deaf. This notice takes the place of \
every notice before it.""",
    values={
        "opens": ["7 o'clock", "8 o'clock", "9 o'clock", "10 o'clock", "half past 8"],
        "shuts": ["4 o'clock", "5 o'clock", "6 o'clock", "half past 4", "half past 5"],
        "closed": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
        "price": counted(range(2, 15), "pence"),
    },
    asks=(
        ("opens", "At what hour does the door of the {name} open?", "When may I first get into {alias}?"),
        ("shuts", "At what hour does the door of the {name} shut?", "How late can a visitor stay in {alias}?"),
        ("closed", "On which day does nobody come in to the {name}?", "When in the week is {alias} closed?"),
        ("price", "What does a ticket for the {name} cost?", "How much must a grown-up pay to visit {alias}?"),
    ),
    never=("What is the telephone number of the {name}?", "Which architect drew {alias}?"),
    ghost="Velvet Palace",
    editions=2,
)  # fmt: skip

TIMETABLE = Form(
    kind="timetable",
    office="Bus Company",
    title="Timetable of the {name}",
    subjects="""
Snail Line  | the bus to the farms in the hills | It climbs up to the sheep and rests twice.
Magpie Line | the bus to the seaside            | It goes down to the salt water and smells of fish on the way back.
Pepper Line | the bus for pupils and teachers   | It stops in front of every school and is loud before breakfast.
""",
    body="""\
The {name} waits for nobody, except for the baker, who brings buns.

First bus from the market square: {first}
Last bus from the market square: {last}
Stops on the way: {stops}
Fare for the whole way: {fare}

{remark} Hens travel free if they sit on a lap. Standing on the step is not allowed, and \
neither is pushing from behind, however well it is meant. Lost gloves hang on a string \
over the driver until somebody knows them. In snow the bus goes as far as it can, and \
then there is soup.""",
    values={
        "first": ["5:40", "6:05", "6:20", "6:35", "6:50", "7:15"],
        "last": ["20:10", "20:25", "20:55", "21:30", "21:45", "22:05"],
        "stops": ["8", "9", "11", "12", "14", "17"],
        "fare": counted(range(2, 8), "pence"),
    },
    asks=(
        ("first", "When does the first bus of the {name} leave from the market square?", "How early can I set out with {alias}?"),
        ("last", "When does the last bus of the {name} leave from the market square?", "What is my final chance to ride {alias} at night?"),
        ("stops", "How many stops are on the way of the {name}?", "At how many places does {alias} halt?"),
        ("fare", "What is the fare for the whole way on the {name}?", "How much money does a complete ride in {alias} take?"),
    ),
    never=("May I take a bicycle on the {name}?", "Who repairs the engine of {alias}?"),
    ghost="Tulip Line",
    editions=2,
)  # fmt: skip

MINUTES = Form(
    kind="minutes",
    office="Town Council",
    title="Minutes of the council on the {name}",
    subjects="""
Crooked Bridge  | the old river crossing    | Carts fall off it on the left side only.
Singing Pump    | the water supply          | It gives a high note in summer and no drop at all.
Golden Cockerel | the weather vane          | It has pointed east since it was hit by a ball.
Fish Steps      | the stairs to the boats   | Two of the seven have floated away.
Goat Gate       | the door in the town wall | It shuts well, but only when nobody wants it to.
Patience Bench  | the seat for tired people | It has three legs and a brick.
""",
    body="""\
# Present

The mayor, the clerk, the members for both banks, and the cat of the council.

# What was said

{remark} The clerk read two letters aloud. One was for the plan and one was against it, and \
both were in the same hand. The member for the mill spoke for a long time about rope. The \
member for the market asked who would pay, and the room became quiet.

# What was decided

- The council gives {grant} for the {name}.
- The vote was {vote}.
- The work must be done before the end of {month}.
- Nobody is to paint it green again.

# Other matters

The window of the council room still does not open. The mayor has asked for a longer stick.

# Next meeting

The council meets again in {place}, after supper. Members are asked to bring their own chairs.""",
    values={
        "grant": counted(range(120, 900, 35), "pounds"),
        "vote": ["9 to 4", "8 to 5", "7 to 6", "10 to 3", "11 to 2", "12 to 1"],
        "month": ["March", "April", "June", "July", "August", "September"],
        "place": ["the wash house", "the bakery", "the rope yard", "the fire station", "the post office", "the malt barn"],
    },
    asks=(
        ("grant", "What does the council give for the {name}?", "How much public money went to {alias}?"),
        ("vote", "What was the vote of the council on the {name}?", "With how many in favour did they settle the question of {alias}?"),
        ("month", "Before the end of which month must the work on the {name} be done?", "What is the deadline for repairing {alias}?"),
        ("place", "Where does the council meet again after its minutes on the {name}?", "In which building will they gather once {alias} has been dealt with?"),
    ),
    never=("Which treasurer signed for the {name}?", "What did the journalist write about {alias}?"),
    ghost="Ivory Fountain",
)  # fmt: skip

LOG = Form(
    kind="log",
    office="River Office",
    title="Log of the barge {name}",
    subjects="""
Patient Otter | the boat with the terrible food          | The cook made soup from river weed and sat alone at supper.
Old Teapot    | the boat in bad weather                  | Thunder all night. Two hats were lost.
Brown Button  | the boat with a musician                 | One hand played the fiddle so badly that the fish left.
Slow Thistle  | the boat with the wedding guests         | A bride and a groom came on board and paid in cake.
Second Cousin | the boat where food was taken by a thief | Somebody stole the cheese. The mice say that it was not them.
""",
    body="""\
Day 1. Left the mill at dawn with {cargo}, three hands and a hen that belongs to nobody. \
Soft wind, slow river. Day 2. Ran on the mud at {mud}. The hen laid an egg, which was the \
best news of the day. Waited for rain. Day 3. Rain. At noon the barge came free by itself, \
while all hands were asleep. {remark} Day 4. Found {depth} of water under the second \
bridge. Sold the load to {buyer} and bought tea. Day 5. Home against the stream, with the \
mule in front and the hen on the mule.""",
    values={
        "cargo": ["60 sacks of salt", "14 church chairs", "90 red bricks", "8 grindstones", "25 barrels of tar", "40 rolls of felt"],
        "mud": ["Otter Bend", "Widow Point", "Kettle Pool", "the Long Reeds", "Cow Island", "the Old Weir"],
        "depth": counted(range(110, 290, 15), "centimetres"),
        "buyer": ["the rope maker", "the glass blower", "the button seller", "the brewer", "the organ builder", "the candle maker"],
    },
    asks=(
        ("cargo", "With what did the barge {name} leave the mill at dawn?", "Which goods were on {alias}?"),
        ("mud", "Where was it that the barge {name} ran on the mud?", "At which spot did {alias} get stuck?"),
        ("depth", "How much water under the second bridge was found by the barge {name}?", "What did {alias} measure with the sounding line?"),
        ("buyer", "To whom was the load of the barge {name} sold?", "Who paid for the goods on {alias}?"),
    ),
    never=("How heavy is the anchor of the barge {name}?", "What was the captain of {alias} called?"),
    ghost="Laughing Pelican",
)  # fmt: skip

LABEL = Form(
    kind="label",
    office="Town Museum",
    title="Museum label: the {name}",
    subjects="""
Ferry Trumpet | the old musical instrument   | It has one note, and dogs do not like it.
Giant Thimble | the oversized sewing tool    | It is too wide for any thumb in town and too small for a hat.
King's Comb   | the royal hair tool          | It has eleven teeth. The king had fewer.
Wedding Spoon | the cutlery for man and wife | Two people can eat from it at once, if they agree on the soup.
Beetle Box    | the tiny house for insects   | It has six beds, a stove and a door that locks from the inside.
""",
    body="""\
{remark} The {name} is made of {material} and is {length} long. It was found in {found}, \
under a great deal of straw, by a man who was looking for his other shoe. For years it \
held up a shelf, and nobody thought about it. Then a child asked what it was, and the town \
had no answer. So it was washed, weighed and put behind glass. Please do not tap on the \
glass. We do not know what it was for, but we believe that it was loved.""",
    values={
        "material": ["walrus bone", "cherry wood", "green copper", "burnt clay", "grey pewter", "ox horn"],
        "length": counted(range(11, 60), "centimetres"),
        "found": ["a dry well", "the organ loft", "an ice cellar", "the eel trap", "a bread oven", "the hangman's barn"],
    },
    asks=(
        ("material", "Of what is the {name} made?", "Which stuff did the craftsman choose for {alias}?"),
        ("length", "How long is the {name}?", "What does a ruler say about {alias}?"),
        ("found", "Where was the {name} found?", "From which hiding place did {alias} come to light?"),
    ),
    never=("For what sum is the {name} insured?", "Which thief carried off {alias}?"),
    ghost="Emperor's Sandal",
)  # fmt: skip

RECIPE = Form(
    kind="recipe",
    office="Guild of Cooks",
    title="Recipe card: {name}",
    subjects="""
Ferryman Pie       | the pastry of the tired boatman | It was first baked for a man who rowed all day and came home late.
Thunder Cake       | the sweet for a storm           | It rises best when the sky is black and loud.
Bellringer Pudding | the dessert of the church tower | It is eaten standing, between one stroke and the next.
Fog Bread          | the loaf for a misty morning    | On a grey day it is sold by its smell, since nobody can see the shop.
Judge's Roll       | the snack of the law court      | It is heavy but fair: both halves have the same number of raisins.
""",
    body="""\
For {name} you need a deep bowl, a calm mind and {eggs}. Warm the butter until it talks. \
Stir in the flour, a little salt and, when nobody is looking, {secret}. Beat it until your \
arm asks you to stop, and then a little more. Leave it in the oven for {bake} and do not \
open the door, however good it smells. {remark} Let it rest under a clean cloth and serve \
it with {side}. If it falls flat, give it another name and smile.""",
    values={
        "eggs": counted(range(2, 10), "eggs"),
        "secret": ["a spoon of mustard", "a cup of cold tea", "one crushed bay leaf", "a pinch of soot", "the peel of a lime", "a drop of vinegar"],
        "bake": counted(range(22, 90, 3), "minutes"),
        "side": ["pickled plums", "smoked cream", "warm cider", "nettle sauce", "honeyed carrots", "sour cherries"],
    },
    asks=(
        ("eggs", "How many eggs do you need for {name}?", "What must the hen give for {alias}?"),
        ("secret", "What do you stir in to {name} when nobody is looking?", "Which hidden extra goes into {alias}?"),
        ("bake", "For how many minutes do you leave {name} in the oven?", "What is the right baking time of {alias}?"),
        ("side", "With what do you serve {name}?", "What belongs on the plate next to {alias}?"),
    ),
    never=("How many guests can eat from one {name}?", "In which century was {alias} invented?"),
    ghost="Sultan Omelette",
)  # fmt: skip

STATUTE = Form(
    kind="statute",
    office="Town Court",
    title="The {name}",
    subjects="""
Statute of Geese   | letting birds run loose          | No goose may cross the square unless it is led on a ribbon.
Statute of Ladders | leaving rungs against a house    | A ladder may not lean on a wall at night, for it gives the cats ideas.
Statute of Humming | making music with a closed mouth | Nobody may hum in the council room while a sum is being done.
Statute of Puddles | jumping into rain water          | A puddle belongs to the person before whose door it lies, and so does its mud.
Statute of Hats    | wearing tall things on the head  | Whatever is higher than a loaf must be carried in a narrow lane.
""",
    body="""\
{remark} This is the law on both banks, on the bridge and in the middle of the river. \
Whoever breaks it pays {fine} to the court and says sorry in a clear voice. Whoever breaks \
it again must also sweep the steps. The law sleeps on {free}, when all may do as they \
please until the bells ring. Only {exempt} stands above the {name}, by old custom, and \
nobody now remembers why. The court keeps this page on a nail beside the door, so that no \
one can say that they did not know.""",
    values={
        "fine": counted(range(3, 25), "pence"),
        "free": ["midsummer day", "the day of first snow", "the mayor's birthday", "the day after the fair", "the last of April", "the day of the eel feast"],
        "exempt": ["the chimney sweep", "the midwife", "the ferry dog", "the oldest twin", "the snail keeper", "the night watchman"],
    },
    asks=(
        ("fine", "What does whoever breaks the {name} pay to the court?", "How much is the punishment for {alias}?"),
        ("free", "On which day does the law of the {name} sleep?", "When is nobody blamed for {alias}?"),
        ("exempt", "Who stands above the {name} by old custom?", "Which lucky one has the right to go on {alias}?"),
    ),
    never=("Which lawyer wrote the {name}?", "How many sat in prison for {alias}?"),
    ghost="Statute of Balloons",
)  # fmt: skip

FINDING = Form(
    kind="lost property",
    office="Lost Property Office",
    title="Found: the {name}",
    subjects="""
Patchwork Umbrella | the torn shelter against wet weather | It has more holes than cloth, and a good heart.
Wooden Tooth       | the thing for chewing                | It is brown, smooth and quite polite to the touch.
Squeaking Doll     | the toy with a voice                 | It says one word when it is pressed, and the word is no.
Endless Scarf      | the wool for a cold neck             | It is as long as three men, and one end is burnt.
Brass Spyglass     | the tool for looking far             | Through it one sees the moon, and on clear nights the baker's cat.
""",
    body="""\
{remark} It was handed in by {finder}, who wants no reward but would not say no to a bun. \
It was lying {place}. It is now kept between a bag of odd gloves and a clock that runs \
backwards. The owner must come to the window and say what it looks like with both eyes \
shut. If nobody asks for the {name} within {days}, it will be sold at the fair, and the \
money goes to the ducks. The window is beside the stairs. Ring once. To ring twice does \
not help.""",
    values={
        "finder": ["the lamp lighter", "the piano tuner", "the bee keeper", "the milk girl", "the grave digger", "the tax man"],
        "place": ["behind the tannery", "in a wheelbarrow", "under the stage", "on the tower stairs", "inside a drum", "beside the horse trough"],
        "days": counted(range(15, 90, 5), "days"),
    },
    asks=(
        ("finder", "By whom was the {name} handed in?", "Which honest soul brought {alias} to the desk?"),
        ("place", "Where was the {name} lying?", "At which spot had {alias} been dropped?"),
        ("days", "Within how many days must somebody ask for the {name}?", "How much time is left to fetch {alias}?"),
    ),
    never=("Which number is on the receipt for the {name}?", "What would a jeweller pay for {alias}?"),
    ghost="Diamond Garter",
)  # fmt: skip

BELL = Form(
    kind="tower book",
    office="Bell Tower",
    title="Tower book: the {name}",
    subjects="""
Grandmother Bell | the most ancient chime                        | It is older than the stones around it.
Butter Bell      | the chime that calls the herd                 | When it sounds, the cows walk home by themselves.
Drowned Bell     | the chime saved from the stream               | It lay ninety years in the river and came up shining.
Whisper Bell     | the most quiet chime                          | It is so soft that only dogs and aunts can hear it.
Quarrel Bell     | the chime that caused an argument about money | Two neighbours paid for it, and each says that the other paid less.
""",
    body="""\
The {name} hangs on the {beam} beam and weighs {weight}. {remark} It is rung on {day}, with \
{strokes}, and at no other time, unless there is fire, flood or a very good cheese. The \
rope was new in spring. The ringer must wear soft shoes and keep away from the pigeons, who \
have the better view. Grease stands in the blue tin. The rule of the tower is short: pull, \
wait, listen, and let go before the rope does.""",
    values={
        "beam": ["north", "south", "east", "west", "middle"],
        "weight": counted(range(140, 900, 17), "kilos"),
        "day": ["market day", "the eve of the fair", "the first of March", "the shortest day", "the mayor's wedding day", "the night of the full moon"],
        "strokes": counted(range(5, 40), "strokes"),
    },
    asks=(
        ("weight", "What is it that the {name} weighs?", "How heavy is {alias}?"),
        ("day", "On which day is the {name} rung?", "When do we get to hear {alias}?"),
        ("strokes", "With how many strokes is the {name} rung?", "How often does the hammer hit in {alias}?"),
    ),
    never=("In which foundry was the {name} cast?", "Who mended the crack in {alias}?"),
    ghost="Sapphire Bell",
)  # fmt: skip

DIARY = Form(
    kind="weather diary",
    office="Mill",
    title="Weather diary of the mill: the {name}",
    subjects="""
Feather Frost | the freezing winter         | Ice grew on the inside of the windows, and milk was sold by the slice.
Yellow Storm  | the hurricane               | Roofs were seen in the company of kites.
Woolly Fog    | the thick mist              | Two men shook hands with a horse and wished it well.
Frog Rain     | the shower of small animals | Green jumpers came down with the drops and sat on every hat.
Onion Drought | the dry summer              | A stone thrown into the well made a sound like a plate.
""",
    body="""\
The {name} lasted {days}, and the river stood at {height} on the post of the mill. {remark} \
The wheel was stopped and tied. Those who had bread shared it, and those who had cards \
shared those. On the last evening {sign} was seen over the mill, and the old people said \
that it was the end. They were right, for once. In this book it stands between a broken \
sieve and a birth, and the page still has a ring on it from a wet cup.""",
    values={
        "days": counted(range(4, 40), "days"),
        "height": counted(range(35, 290, 12), "centimetres"),
        "sign": ["a red heron", "a green cloud", "a double moon", "a ring of bees", "a flying shirt", "a white crow"],
    },
    asks=(
        ("days", "How many days was it that the {name} lasted?", "What was the duration of {alias}?"),
        ("height", "Where on the post of the mill stood the river in the {name}?", "How deep was the stream during {alias}?"),
        ("sign", "What was seen over the mill on the last evening of the {name}?", "Which omen told people that {alias} was over?"),
    ),
    never=("What was the lowest temperature in the {name}?", "Which damage did {alias} do to the harvest?"),
    ghost="Locust Summer",
)  # fmt: skip

TREE = Form(
    kind="tree register",
    office="Gardener's Office",
    title="Tree register: the {name}",
    subjects="""
Tollgate Oak   | the tree that holds money   | Travellers push pennies into its bark for luck.
Widow Willow   | the tree for weeping        | It bends so low that one can sit inside it and be sad alone.
Schoolboy Pear | the tree that pupils rob    | Its fruit is gone a week before it is ripe, and every teacher knows why.
Listening Elm  | the tree that hears secrets | People tell it what they tell nobody. So far it has kept quiet.
Hollow Ash     | the tree with lodgers       | An owl, a bat and an old postman have lived in it.
""",
    body="""\
The {name} stands {where}. It was planted by {planter} and is {height} high, measured with \
a kite and a string. {remark} In a wet year it drinks like a horse. In a dry year it drinks \
like two. Nobody may cut, climb or carve it without a letter from this office, and the \
letter takes three weeks. Leaves that fall on the path belong to the town. Leaves that fall \
on a person are lucky and may be kept.""",
    values={
        "where": ["behind the slaughterhouse", "at the upper lock", "beside the poor house", "on the duelling green", "by the lime kiln", "at the wool gate"],
        "planter": ["the first ferryman", "a runaway nun", "three drunk masons", "the blind gardener", "a lost army", "the duke's nurse"],
        "height": counted(range(9, 45), "metres"),
    },
    asks=(
        ("where", "Where is it that the {name} stands?", "In which corner of town grows {alias}?"),
        ("planter", "By whom was the {name} planted?", "Who put {alias} into the earth?"),
        ("height", "How high is the {name}?", "Up to what size has {alias} grown?"),
    ),
    never=("How many squirrels live in the {name}?", "From which disease did {alias} suffer?"),
    ghost="Pirate Pine",
)  # fmt: skip

PROGRAMME = Form(
    kind="programme",
    office="Fair Committee",
    title="Programme of the fair: the {name}",
    subjects="""
Cheese Gallop | the chase after a dairy product | A round one is let go at the top of the hill, and the town runs after it.
Duck Regatta  | the race of water birds         | Each one swims for its owner, or for bread.
Pillow Joust  | the fight with bedding          | Two people sit on a beam over the river and hit each other with feathers.
Whisker Show  | the match of bearded men        | Each moustache is measured, and its owner is asked to be brave.
Pea Push      | the race with a vegetable       | It must cross the whole meadow, and only noses may touch it.
""",
    body="""\
# The contest

The {name} begins at {start} on the meadow behind the mill. {remark}

# The rules

1. All who can walk may take part.
2. All who cannot walk may be carried.
3. Tricks are allowed, but only with a smile.
4. The word of the judge is final, even when it is silly.

# Prizes

- First prize: {prize}
- Second prize: a song from the band
- Third prize: a handshake from the mayor

# Last time

The {winner} family won, and has not stopped talking about it. There were {entrants} in the \
contest and one dog, who came fourth.

# If it rains

The fair is held in the rain. Bring a hat. Tea is ready in the boat house, and the band will \
play louder.""",
    values={
        "start": ["1 o'clock", "2 o'clock", "3 o'clock", "half past 1", "half past 2", "half past 3"],
        "prize": ["a live piglet", "a year of candles", "the silver ladle", "a barrel of herring", "a feather bed", "the right to be late"],
        "winner": ["Ockley", "Bramwick", "Tuffin", "Dabney", "Mossop", "Quigg"],
        "entrants": counted(range(21, 80), "people"),
    },
    asks=(
        ("start", "When is it that the {name} begins on the meadow?", "What is the starting time of {alias}?"),
        ("prize", "What is the first prize in the {name}?", "Which reward does the champion of {alias} take home?"),
        ("winner", "Which family won the {name} last time?", "Who are the former champions of {alias}?"),
        ("entrants", "How many people were in the contest of the {name}?", "How large was the crowd of rivals in {alias}?"),
    ),
    never=("Who is the sponsor of the {name}?", "Where does the ambulance wait during {alias}?"),
    ghost="Sausage Derby",
)  # fmt: skip

DEED = Form(
    kind="land register",
    office="Land Office",
    title="Land register: Plot {name}",
    subjects="""
QX-417 | the field where no crop will grow     | It bears stones, and every spring it bears more of them.
QX-471 | the land with a cemetery              | The dead lie along the wall and make no trouble.
XQ-417 | the field that is often flooded       | In April it can be reached by boat only.
XQ-741 | the land where treasure may be buried | Somebody digs here by night, and the owner would like a share of the gold.
QX-714 | the field with the angry bull         | Whoever crosses it runs. He has never been caught in a good mood.
XQ-174 | the land that two brothers fight over | One sold it while the other was at the barber's.
""",
    body="""\
Plot {name} lies on the hill side of the river. It measures {size} and was last sold for \
{sum}. The buyer must also give {rent} to the town every year, and must carry it to this \
office in person. {remark} The border runs from the white stone to the crooked fence, and \
from there to wherever the white stone stood before. Plot {name} may not be split, lent or \
lost at cards. Letters that confuse one plot with another are answered once, and briefly.""",
    values={
        "size": counted(range(3, 40), "acres"),
        "sum": counted(range(40, 400, 7), "shillings"),
        "rent": ["one fat goose", "a jar of honey", "two new brooms", "a basket of eels", "seven candles", "a sack of oats"],
    },
    asks=(
        ("size", "How many acres is it that Plot {name} measures?", "What is the area of {alias}?"),
        ("sum", "For how many shillings was Plot {name} last sold?", "What was the price of {alias}?"),
        ("rent", "What must the buyer of Plot {name} give to the town every year?", "Which yearly gift does one owe for {alias}?"),
    ),
    never=("Which surveyor drew the map of Plot {name}?", "How many tractors work on {alias}?"),
    ghost="XQ-147",
)  # fmt: skip

FORMS = (
    NOTICE, TIMETABLE, MINUTES, LOG, LABEL, RECIPE, STATUTE,
    FINDING, BELL, DIARY, TREE, PROGRAMME, DEED,
)  # fmt: skip
