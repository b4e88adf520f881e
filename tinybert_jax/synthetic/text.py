"""The words and sentences of the generated data set: closed lists, and templates to put them in.

In a sentence or question, `{s}` stands for the subject and `{v}` for the value, which is the answer. Square
brackets mark a longer text that is right as well: "in 1932" beside "1932". In a list of values, a bar stands
before a shorter one: "River |Harl".
"""

import re
from typing import NamedTuple


class Relation(NamedTuple):
    """One fact that a paragraph may state about a subject: the values it takes, and its wordings."""

    values: str  # a key of VALUES
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


class Kind(NamedTuple):
    """One kind of subject: what an article lists."""

    title: str  # of an article; "{r}" is a region
    noun: str  # what a sentence may say instead of the name
    names: tuple[tuple[str, ...], ...]  # a name is one word of each
    relations: tuple[Relation, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _list(text: str) -> tuple[str, ...]:
    return tuple(" ".join(item.split()) for item in text.split(","))


def _relations(text: str) -> tuple[Relation, ...]:
    """Reads relations: a blank line before each, its values' key and a colon, sentences, questions."""
    relations = []
    for block in text.strip().split("\n\n"):
        values, text = " ".join(block.split()).split(": ", 1)
        wordings = re.findall(r"\S[^.?]*[.?]", text)
        sentences, questions = (tuple(w for w in wordings if w.endswith(end)) for end in ".?")
        relations.append(Relation(values, sentences, questions))
    return tuple(relations)


FIRST_NAMES = _words("""
    Ada Agnes Alma Anton Bruno Carl Clara Conrad Cora Daniel Edith Edmund Elena Emil Erik Felix Flora Frida
    Georg Greta Hanna Hedwig Hugo Ines Irene Jakob Johan Julia Karin Konrad Laura Leon Lotte Lukas Magda Maria
    Martin Nora Oskar Paula Peter Rosa Samuel Sofia Theo Viktor Wanda Walter""")
LAST_NAMES = _words("""
    Abbot Ashdown Barlow Becker Birch Bramley Calder Carver Cole Dalton Denholm Dorn Eckhart Elwood Fenn Fisk
    Garland Gerber Hale Harker Hobart Holm Ibsen Jarvis Kade Keller Kemp Lambert Larkin Linden Lorne Marsh
    Mercer Moss Nolan Norden Oakes Orwin Parry Pell Quill Ramsey Reuter Rowe Sander Selby Stroud Tanner Thorne
    Tobin Ulmer Vance Voss Wagner Weller Winter Wolfe Yates Zeller Zorn""")
PLACES = _words("""
    Aldern Ambry Arden Balmore Brask Brenta Carrow Celin Corvan Dunmere Elmsted Eskar Farley Fordun Galen
    Garth Halden Harrow Ilmen Jorvik Kelso Kirren Lanser Lorran Marlow Merrin Morven Nessa Norwick Ostrow
    Pelham Penrith Quarry Ravel Rennick Selwyn Sorrel Stanmore Tarrant Thurle Torven Ullen Varda Velmar Wexley
    Windale Yarrow Zevin""")
SIDES = _words("Upper Lower Great Little New Old North South East West Port Fort")
REGIONS = _words("Highlands Lowlands Coast Valley Islands Plain Forest Shore Hills Marches Lakes Border")

VALUES: dict[str, tuple[str, ...]] = {
    "year": tuple(str(year) for year in range(1850, 1950)),
    "dozens": tuple(str(number) for number in range(12, 72)),
    "hundreds": tuple(str(number) for number in range(100, 4100, 100)),
    "person": tuple(f"{first} |{last}" for first in FIRST_NAMES for last in LAST_NAMES),
    "town": tuple(f"{side} {place}" for side in SIDES for place in PLACES),
    "river": tuple(f"River |{place}" for place in PLACES),
    "mountain": tuple(f"Mount |{place}" for place in PLACES),
    "month": _words("""
        January February March April May June July August September October November December"""),
    "goods": _list("""
        wool, salt, copper, timber, linen, barley, honey, leather, paper, silk, smoked herring, blue glass,
        dried apples, white marble, fishing nets, oak barrels, church bells, lamp oil, tin plates, winter
        coats, clay pipes, green tea, brass buttons, pocket knives"""),
    "country": _list("""
        Norway, Portugal, Canada, Chile, Japan, Egypt, Finland, Brazil, Iceland, Greece, Turkey, Ireland,
        Mexico, Denmark, Morocco, Poland, Peru, Sweden, India, Spain"""),
    "plant": _list("""
        yellow lily, mountain fern, water mint, red orchid, dwarf willow, marsh thistle, snow rose, wild fig,
        sand grass, climbing ivy, blue poppy, stone moss, giant reed, night violet, bitter clover, sea holly"""),
    "find": _list("""
        a frozen lake, an old fortress, a hot spring, a coal seam, a colony of seals, a hidden valley, a
        ruined temple, a chain of islands, a salt desert, a vast glacier, a forest of cedars, a silver mine, a
        mountain pass, a field of bones, an active volcano, a deep cave"""),
    "illness": _list("""
        a fever, a fall from a ladder, old age, a weak heart, a snake bite, an infected wound, pneumonia,
        cholera, a stroke, tuberculosis, malaria, blood poisoning"""),
    "wreck": _list("""
        a hurricane, an iceberg, a fire in the hold, a hidden reef, thick fog, a collision with a ferry, a
        sandbank, a broken rudder, a naval mine, a boiler explosion, a leak in the bow, a freak wave"""),
}

TOWN = Kind(
    "Towns of the {r}",
    "the town",
    (SIDES, PLACES),
    _relations("""
        year: {s} was founded [in {v}] by settlers from the coast. The first houses of {s} were built [in
        {v}]. {s} was established [in {v}] on what was then empty land.
        When was {s} founded? When were the first houses of {s} built? In what year was {s} established?

        person: The mayor of {s} is {v}. {s} has elected {v} as its mayor. The council of {s} is led by {v}.
        Who is the mayor of {s}? Who was elected mayor of {s}? Who leads the council of {s}?

        hundreds: About [{v} families] live in {s} today. At the last count {s} was home to [{v} families].
        The population of {s} has shrunk to [{v} families].
        How many families live in {s}? How many families is {s} home to? What is the population of {s}?

        goods: {s} is known far and wide for its {v}. Most people in {s} earn their living by making {v}. The
        workshops of {s} produce {v} for the whole region.
        What is {s} known for? What do most people in {s} make? What do the workshops of {s} produce?

        river: [The {v}] runs through the middle of {s}. {s} stands on the left bank of [the {v}]. Several
        bridges cross [the {v}] at {s}.
        Which river runs through {s}? On which river does {s} stand? Which river do the bridges at {s} cross?

        month: A fair is held in {s} every year [in {v}]. Every {v} the people of {s} gather for a fair.
        Visitors come to the fair of {s} [in {v}].
        In which month is a fair held in {s}? In which month do the people of {s} gather for a fair? When do
        visitors come to the fair of {s}?"""),
)

BOTANIST = Kind(
    "Botanists of the {r}",
    "the botanist",
    (FIRST_NAMES, LAST_NAMES),
    _relations("""
        year: {s} was born [in {v}] as the youngest of five children. Church records show that {s} was born
        [in {v}]. The birth of {s} is dated to [the year {v}].
        When was {s} born? In what year was {s} born? To which year is the birth of {s} dated?

        person: At the university {s} was taught by {v}. The teacher of {s} was {v}. {s} learned everything
        about plants from {v}.
        Who taught {s} at the university? Who was the teacher of {s}? From whom did {s} learn about plants?

        town: {s} grew up in {v}. The family of {s} lived in {v}. {s} spent a happy childhood in {v}.
        Where did {s} grow up? Where did the family of {s} live? Where did {s} spend a happy childhood?

        plant: {s} was the first to describe [the {v}]. [The {v}] was discovered by {s}. {s} became famous for
        the discovery of [the {v}].
        Which plant was {s} the first to describe? Which plant was discovered by {s}? For the discovery of
        which plant did {s} become famous?

        country: {s} travelled through {v} to collect seeds. A long journey took {s} to {v}. {s} collected
        seeds and roots in {v}.
        Through which country did {s} travel? To which country did a long journey take {s}? In which country
        did {s} collect seeds?

        illness: {s} died of {v}. The cause of the death of {s} was {v}. In the end {s} fell victim to {v}.
        What did {s} die of? What was the cause of the death of {s}? To what did {s} fall victim?"""),
)

EXPEDITION = Kind(
    "Expeditions from the {r}",
    "the expedition",
    (("the",), PLACES, _words("Expedition Survey Crossing Mission Venture Journey Trek Patrol Voyage Traverse")),
    _relations("""
        person: {s} was led by {v}. The leader of {s} was {v}, a former officer. {s} was under the command of
        {v}.
        Who led {s}? Who was the leader of {s}? Under whose command was {s}?

        person: {s} was paid for by {v}. The money for {s} came from {v}, a rich banker. {s} was financed by
        {v}.
        Who paid for {s}? From whom did the money for {s} come? Who financed {s}?

        year: {s} set out [in {v}] after long preparations. The members of {s} left home [in {v}]. [In {v}]
        large crowds watched the departure of {s}.
        When did {s} set out? In what year did the members of {s} leave home? When did crowds watch the
        departure of {s}?

        dozens: {s} consisted of [{v} men]. As many as [{v} men] took part in {s}. The members of {s} numbered
        [{v} men].
        How many men did {s} consist of? How many men took part in {s}? How many members did {s} have?

        mountain: The aim of {s} was to climb {v}. {s} reached the summit of {v} in bad weather. {s} hoped to
        find a way around {v}.
        Which mountain was {s} to climb? Which summit did {s} reach? Around which mountain did {s} hope to
        find a way?

        find: On its way {s} discovered {v}. The greatest discovery of {s} was {v}. To its surprise {s} came
        upon {v}.
        What did {s} discover? What was the greatest discovery of {s}? What did {s} come upon?

        country: {s} spent the winter in {v}. The winter camp of {s} was in {v}. Ice and snow held {s} in {v}
        all winter.
        Where did {s} spend the winter? In which country was the winter camp of {s}? Where did ice and snow
        hold {s}?"""),
)

SHIP = Kind(
    "Ships of the {r}",
    "the ship",
    (
        ("the",),
        _words("""
            Silver Golden Black White Red Green Proud Brave Swift Quiet Bold Merry Lonely Royal Iron Amber Crimson
            Northern Southern Eastern Western Morning Evening Winter"""),
        _words("""
            Heron Falcon Swan Gull Raven Otter Dolphin Star Rose Lady Prince Queen Arrow Lantern Anchor Crown Wind
            Wave Pearl Fox Wolf Lion Stag Sparrow"""),
    ),
    _relations("""
        year: {s} was built [in {v}]. {s} was launched [in {v}] before a large crowd. {s} was finished [in
        {v}].
        When was {s} built? In what year was {s} launched? When was {s} finished?

        person: The captain of {s} was {v}. {s} sailed under captain {v}. {s} was commanded by {v} for many
        years.
        Who was the captain of {s}? Under which captain did {s} sail? Who commanded {s}?

        town: The home port of {s} was {v}. {s} was registered at {v}. Between voyages {s} lay at anchor in
        {v}.
        What was the home port of {s}? Where was {s} registered? Where did {s} lie at anchor?

        dozens: {s} had a crew of [{v} sailors]. On board {s} there were [{v} sailors]. It took [{v} sailors]
        to handle {s}.
        How large was the crew of {s}? How many sailors were on board {s}? How many sailors did it take to
        handle {s}?

        goods: {s} carried {v} from port to port. The usual cargo of {s} was {v}. {s} was loaded with {v}.
        What did {s} carry? What was the usual cargo of {s}? With what was {s} loaded?

        wreck: The last voyage of {s} was ended by {v}. The sinking of {s} was due to {v}. {s} met its end
        through {v}.
        What ended the last voyage of {s}? What was the sinking of {s} due to? Through what did {s} meet its
        end?"""),
)

COMPANY = Kind(
    "Companies of the {r}",
    "the company",
    (LAST_NAMES, ("and",), _words("Sons Partners Company Brothers Daughters Associates Cousins Nephews")),
    _relations("""
        person: {s} is managed by {v}. The director of {s} is {v}. {s} has appointed {v} as its director.
        Who manages {s}? Who is the director of {s}? Who was appointed director of {s}?

        year: {s} was founded [in {v}]. The first workshop of {s} opened [in {v}]. The history of {s} goes
        back to [the year {v}].
        When was {s} founded? In what year did the first workshop of {s} open? To which year does the history
        of {s} go back?

        town: The main office of {s} is in {v}. {s} has its headquarters in {v}. {s} is based in {v}.
        Where is the main office of {s}? Where does {s} have its headquarters? Where is {s} based?

        goods: {s} makes {v} of the best quality. The main product of {s} is {v}. {s} grew rich by selling
        {v}.
        What does {s} make? What is the main product of {s}? What did {s} sell to grow rich?

        hundreds: {s} employs [{v} workers]. The factory of {s} gives work to [{v} workers]. At present [{v}
        workers] are employed by {s}.
        How many workers does {s} employ? How many workers are there in the factory of {s}? How many workers
        are employed by {s}?

        country: {s} sends most of its goods to {v}. The best customers of {s} are in {v}. Most of what {s}
        makes is exported to {v}.
        To which country does {s} send its goods? In which country are the best customers of {s}? To which
        country does {s} export?"""),
)

KINDS = (TOWN, BOTANIST, EXPEDITION, SHIP, COMPANY)
