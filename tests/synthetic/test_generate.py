import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from tinybert_jax.data import load_tokenizer, read_squad
from tinybert_jax.errors import UserError
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer
from tinybert_jax.synthetic.text import KINDS, VALUES

SMALL = SyntheticConfig(train_articles=5, dev_articles=5, paragraphs_per_article=8, pair_fraction=0.5)
DIGEST = """
import hashlib, json
from tinybert_jax.synthetic.generate import SyntheticConfig, make_squad, train_tokenizer
train, dev = make_squad(SyntheticConfig(train_articles=5, dev_articles=5, paragraphs_per_article=8, pair_fraction=0.5))
vocab = train_tokenizer(train, 700).get_vocab()
print(hashlib.sha256(json.dumps([train, dev, sorted(vocab.items())]).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def squad():
    """The data set as the quickstart has it."""
    return make_squad(SyntheticConfig())


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(make_squad(SMALL)[0], 700)


def paragraphs(data):
    return [paragraph for article in data["data"] for paragraph in article["paragraphs"]]


def questions(data):
    return [qa for paragraph in paragraphs(data) for qa in paragraph["qas"]]


def words(data):
    texts = [text for p in paragraphs(data) for text in (p["context"], *(qa["question"] for qa in p["qas"]))]
    return {word for text in texts for word in re.findall(r"\w+", text.lower())}


def subjects(data):
    """(context, question, kind, relation, name asked for) of every question, read back off the templates."""
    for article in data["data"]:
        kind = next(kind for kind in KINDS if article["title"].startswith(kind.title.split()[0]))
        patterns = [(as_pattern(q, s="(.+)"), relation) for relation in kind.relations for q in relation.questions]
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                matches = ((relation, re.fullmatch(pattern, qa["question"])) for pattern, relation in patterns)
                relation, match = next(found for found in matches if found[1])
                yield paragraph["context"], qa, kind, relation, match[1]


def as_pattern(template, s, v=""):
    return re.escape(re.sub(r"[\[\]]", "", template)).replace(r"\{s\}", s).replace(r"\{v\}", v)


def test_is_valid_squad(squad, tmp_path):
    for name, data in zip(("train", "dev"), squad, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
        examples = read_squad(tmp_path / f"{name}.json")  # checks ids, offsets and is_impossible
        assert len(examples) == len(questions(data))
        assert {example.title for example in examples} == {article["title"] for article in data["data"]}


def test_sizes_and_shares(squad):
    train, dev = squad
    config = SyntheticConfig()
    assert len(train["data"]) == config.train_articles
    assert len(dev["data"]) == config.dev_articles
    assert len(paragraphs(dev)) == config.dev_articles * config.paragraphs_per_article
    assert len({qa["id"] for qa in questions(train) + questions(dev)}) == len(questions(train) + questions(dev))
    for data in squad:
        impossible = sum(qa["is_impossible"] for qa in questions(data)) / len(questions(data))
        assert impossible == pytest.approx(1 / 3, abs=0.05)
        assert max(len(paragraph["qas"]) for paragraph in paragraphs(data)) == config.questions_per_paragraph


def test_nothing_is_asked_or_told_twice(squad):
    train, dev = squad
    contexts = Counter(paragraph["context"] for paragraph in paragraphs(train) + paragraphs(dev))
    assert max(contexts.values()) == 1
    for paragraph in paragraphs(train) + paragraphs(dev):
        asked = Counter(qa["question"] for qa in paragraph["qas"])
        assert max(asked.values()) == 1


def test_held_out_articles_share_words_but_neither_titles_nor_subjects(squad):
    train, dev = squad
    titles = [article["title"] for data in squad for article in data["data"]]
    assert len(set(titles)) == len(titles)
    names_train, names_dev = ({name for *_, name in subjects(data)} for data in squad)
    assert not names_train & names_dev
    assert words(dev) <= words(train)


@pytest.mark.parametrize("config", [SMALL, SyntheticConfig(seed=3, train_articles=0, pair_fraction=0)])
def test_impossible_questions_have_no_answer_and_the_others_exactly_one(config):
    seen = set()
    for data in make_squad(config):
        for context, qa, kind, relation, name in subjects(data):
            told = {name, kind.noun} if name.lower() in context.lower() else {name}
            stated = [
                match[1]
                for sentence in relation.sentences
                for match in re.finditer(
                    as_pattern(sentence, f"(?:{'|'.join(told)})", "([^.]+?)"), context, re.IGNORECASE
                )
            ]
            assert qa["is_impossible"] == (not qa["answers"])
            assert stated == [answer["text"] for answer in qa["answers"][:1]]
            seen.add((qa["is_impossible"], name.lower() in context.lower()))
    assert seen == {(False, True), (True, True), (True, False)}


def test_training_questions_have_one_answer_and_held_out_questions_all(squad):
    train, dev = squad
    assert {len(qa["answers"]) for qa in questions(train)} == {0, 1}
    golds = [[answer["text"] for answer in qa["answers"]] for qa in questions(dev) if qa["answers"]]
    for texts in golds:
        assert len(set(texts)) == len(texts)
        if re.fullmatch(r"\w+ \w+", texts[0]) and any(value.replace("|", "") == texts[0] for value in VALUES["person"]):
            assert texts[1:] == [texts[0].split()[1]]  # "Maria Keller", "Keller"
    assert any(re.fullmatch(r"\d{4}", texts[0]) and texts[1:] == [f"in {texts[0]}"] for texts in golds)
    assert any(texts[0].startswith("River") and texts[1:] == [f"the {texts[0]}", texts[0][6:]] for texts in golds)


def test_another_seed_gives_other_data():
    assert make_squad(SMALL) == make_squad(SMALL)
    assert make_squad(SMALL) != make_squad(SyntheticConfig(**{**vars(SMALL), "seed": 1}))


def test_same_bytes_in_another_process(tokenizer):
    train, dev = make_squad(SMALL)
    here = json.dumps([train, dev, sorted(tokenizer.get_vocab().items())])
    there = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_more_subjects_than_names_is_refused():
    with pytest.raises(UserError, match="too few names"):
        make_squad(SyntheticConfig(train_articles=500))


def test_tokenizer_is_lower_casing_wordpiece(tokenizer):
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(tokenizer) <= 700
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.tokenize("The FAMILY of Ada") == tokenizer.tokenize("the family of ada")
    assert any(piece.startswith("##") for piece in tokenizer.tokenize("unheardof"))
    pair = tokenizer("Who?", "Ada.")
    assert tokenizer.decode(pair["input_ids"]) == "[CLS] who? [SEP] ada. [SEP]"
    assert pair["token_type_ids"] == [0] * 4 + [1] * (len(pair["input_ids"]) - 4)


def test_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    text = "Lower Aldern was founded in 1932 by Émile O'Brien."
    for loaded in (type(tokenizer).from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        assert loaded.get_vocab() == tokenizer.get_vocab()
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_held_out_text_has_no_unknown_token(squad):
    train, dev = squad
    tokenizer = train_tokenizer(train, 1600)
    ids = tokenizer([paragraph["context"] for paragraph in paragraphs(dev)])["input_ids"]
    assert tokenizer.unk_token_id not in {token for row in ids for token in row}
