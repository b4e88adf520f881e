"""A generated data set in the shape of SQuAD 2.0, for the quickstart: small, offline, and learnt in minutes.

Each article tells of invented towns, ships or the like. A paragraph states some facts about one of them, or, where
names have to be told apart, about two. A question asks for a stated fact, or for one that is not there: a relation
the paragraph does not state, or a subject it does not mention. Held-out articles have titles, subjects and facts of
their own, but no word that is new: names are combined from closed lists.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, NamedTuple

from tinybert_jax.errors import UserError, check, check_least, check_numbers
from tinybert_jax.synthetic.text import KINDS, PLACES, REGIONS, VALUES, Kind

UNKNOWN_SUBJECT_SHARE = 0.05  # of the questions without an answer; the others ask for an unstated relation


@dataclass(frozen=True)
class SyntheticConfig:
    """How much to generate, and how hard.

    Attributes:
        seed: Another seed gives other names, facts and wordings.
        train_articles: Articles to train on; their kinds (towns, ships, …) take turns.
        dev_articles: Held-out articles.
        paragraphs_per_article: Paragraphs in each article.
        questions_per_paragraph: Questions asked about each paragraph; fewer where it gives no more to ask.
        pair_fraction: Share of the paragraphs that tell of two subjects.
        impossible_fraction: Share of the questions without an answer, about.
    """

    seed: int = 0
    train_articles: int = 60
    dev_articles: int = 10
    paragraphs_per_article: int = 30
    questions_per_paragraph: int = 5
    pair_fraction: float = 0.05
    impossible_fraction: float = 0.33

    def __post_init__(self) -> None:
        check_numbers(self)
        check_least(self, train_articles=0, dev_articles=0, paragraphs_per_article=1, questions_per_paragraph=1)
        for field in ("pair_fraction", "impossible_fraction"):
            share = getattr(self, field)
            check(field, share, 0 <= share <= 1, "in [0, 1]")


@dataclass(frozen=True, eq=False)
class _Subject:
    kind: Kind
    name: str
    values: tuple[str, ...]  # of each of its kind's relations, stated or not


class _Fact(NamedTuple):
    subject: _Subject
    relation: int  # index into the kind's relations


def make_squad(config: SyntheticConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Generates the training and the held-out data set; the same config always gives the same two.

    Training questions have one right answer, held-out questions all of them ("Maria Keller", "Keller").

    Returns:
        (train, dev), each a SQuAD 2.0 JSON object.

    Raises:
        UserError: the config asks for more subjects than there are names.
    """
    rng = random.Random(config.seed)
    names = {kind: _shuffled(rng, (" ".join(words) for words in product(*kind.names))) for kind in KINDS}
    regions = _shuffled(rng, (" ".join(words) for words in product(PLACES, REGIONS)))
    data: dict[str, list[dict[str, Any]]] = {"train": [], "dev": []}
    for split, articles in (("train", config.train_articles), ("dev", config.dev_articles)):
        for article in range(articles):
            kind = KINDS[article % len(KINDS)]
            title = kind.title.format(r=_take(regions, 1)[0])
            paragraphs = _article(rng, kind, names[kind], config, f"{split}-{article}", split == "dev")
            data[split].append({"title": title, "paragraphs": paragraphs})
    return {"version": "v2.0", "data": data["train"]}, {"version": "v2.0", "data": data["dev"]}


def train_tokenizer(squad: dict[str, Any], vocab_size: int) -> Any:
    """Trains a lower-casing WordPiece tokenizer on the contexts and questions of a SQuAD JSON object.

    Args:
        squad: What to learn the vocabulary from.
        vocab_size: Most pieces the vocabulary may hold, [PAD] = 0, [UNK], [CLS], [SEP] and [MASK] included.

    Returns:
        A fast BERT tokenizer; the same text always gives the same one.
    """
    from tokenizers import Tokenizer, models, trainers
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import BertTokenizer

    texts = [text for article in squad["data"] for text in _texts(article)]
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    # The trainer meets words in the order of a randomised hash map: naming the "##x" pieces first fixes their ids.
    characters = sorted({char for text in texts for char in learner.normalizer.normalize_str(text)} - {" "})
    reserved = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##{char}" for char in characters)]
    learner.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=reserved, show_progress=False)
    )
    return BertTokenizer(vocab=learner.get_vocab(), do_lower_case=True)


def _texts(article: dict[str, Any]) -> Iterator[str]:
    for paragraph in article["paragraphs"]:
        yield paragraph["context"]
        yield from (qa["question"] for qa in paragraph["qas"])


def _article(
    rng: random.Random,
    kind: Kind,
    names: Iterator[str],
    config: SyntheticConfig,
    prefix: str,
    all_golds: bool,
) -> list[dict[str, Any]]:
    """The paragraphs of one article, each about new subjects of one kind."""
    sizes = [1 + (rng.random() < config.pair_fraction) for _ in range(config.paragraphs_per_article)]
    groups = [[_subject(rng, kind, name) for name in _take(names, size)] for size in sizes]
    paragraphs = []
    for index, group in enumerate(groups):
        strangers = [subject for other in groups if other is not group for subject in other]
        facts = _choose_facts(rng, group)
        context, answers = _write(rng, facts)
        qas = []
        for number, fact in enumerate(_choose_questions(rng, facts, strangers, config)):
            golds = answers.get(fact, [])
            question = rng.choice(kind.relations[fact.relation].questions).format(s=fact.subject.name)
            qas.append(
                {
                    "id": f"{prefix}-{index}-{number}",
                    "question": question,
                    "answers": golds if all_golds else golds[:1],
                    "is_impossible": not golds,
                }
            )
        paragraphs.append({"context": context, "qas": qas})
    return paragraphs


def _subject(rng: random.Random, kind: Kind, name: str) -> _Subject:
    """Draws a subject's facts, no two of the same value."""
    pools = [relation.values for relation in kind.relations]
    drawn = {pool: rng.sample(VALUES[pool], pools.count(pool)) for pool in dict.fromkeys(pools)}
    return _Subject(kind, name, tuple(drawn[pool].pop() for pool in pools))


def _choose_facts(rng: random.Random, group: list[_Subject]) -> list[_Fact]:
    """What a paragraph states: most facts of one subject, or about the same few facts of each of two."""
    relations = range(len(group[0].kind.relations))
    if len(group) == 1:
        return [_Fact(group[0], relation) for relation in rng.sample(relations, 4)]
    shared = rng.sample(relations, 3)
    return [_Fact(subject, relation) for subject in group for relation in rng.sample(shared, 2)]


def _choose_questions(
    rng: random.Random, facts: list[_Fact], strangers: list[_Subject], config: SyntheticConfig
) -> list[_Fact]:
    """The facts to ask for, in random order; those that `facts` lacks have no answer in the paragraph."""
    count = config.questions_per_paragraph
    impossible = sum(rng.random() < config.impossible_fraction for _ in range(count))
    unknown = sum(rng.random() < UNKNOWN_SUBJECT_SHARE for _ in range(impossible))
    subjects = list(dict.fromkeys(fact.subject for fact in facts))
    relations = range(len(subjects[0].kind.relations))
    unstated = [fact for fact in (_Fact(s, r) for s in subjects for r in relations) if fact not in facts]
    unmentioned = [_Fact(stranger, rng.choice(facts).relation) for stranger in strangers]
    asked = [
        *_sample(rng, unmentioned, unknown),
        *_sample(rng, unstated, impossible - unknown),
        *_sample(rng, facts, count - impossible),
    ]
    return _sample(rng, asked, count)


def _write(rng: random.Random, facts: list[_Fact]) -> tuple[str, dict[_Fact, list[dict[str, Any]]]]:
    """The facts as a paragraph, and for each fact its right answers, the preferred one first."""
    lone = len({fact.subject for fact in facts}) == 1
    context, answers = "", {}
    for fact in facts:
        kind = fact.subject.kind
        reference = kind.noun if lone and context and rng.random() < 0.5 else fact.subject.name
        template = rng.choice(kind.relations[fact.relation].sentences)
        sentence, spans = _fill(template, reference, fact.subject.values[fact.relation])
        begin = len(context) + bool(context)
        context += " " * bool(context) + sentence
        answers[fact] = [
            {"text": context[begin + start : begin + end], "answer_start": begin + start} for start, end in spans
        ]
    return context, answers


def _fill(template: str, reference: str, value: str) -> tuple[str, list[tuple[int, int]]]:
    """Fills a sentence's template.

    Returns:
        The sentence, and the characters of its right answers: the value, then what stands in square brackets, then
        the value from its bar on.
    """
    marked = template.format(s=reference, v=f"<{value}>")

    def unmarked(part: str) -> str:
        return re.sub(r"[<>|\[\]]", "", part)

    def place(mark: str) -> int:
        return len(unmarked(marked[: marked.index(mark)]))

    text = unmarked(marked)
    return text[0].upper() + text[1:], [(place(a), place(b)) for a, b in ("<>", "[]", "|>") if a in marked]


def _shuffled(rng: random.Random, items: Iterable[str]) -> Iterator[str]:
    items = list(items)
    rng.shuffle(items)
    return iter(items)


def _take(names: Iterator[str], count: int) -> list[str]:
    taken = list(islice(names, count))
    if len(taken) < count:
        raise UserError(
            "the generated data set has too few names for this many subjects: ask for fewer articles or paragraphs"
        )
    return taken


def _sample(rng: random.Random, items: Sequence[_Fact], count: int) -> list[_Fact]:
    """At most `count` of the items, in random order."""
    return rng.sample(items, min(count, len(items)))
