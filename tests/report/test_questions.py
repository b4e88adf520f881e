"""The questions as a page carries them."""

import base64
import gzip
import json

import numpy as np

from tests.report.conftest import RIVER, TOWN
from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.report.questions import pack
from tinybert_jax.report.systems import of_predictions


def unpacked(packed):
    return json.loads(gzip.decompress(base64.b64decode(packed.content)))


def test_contexts_are_there_once_and_starts_count_as_scripts_do(examples, ours, theirs):
    packed = pack(examples, [ours, theirs])
    content = unpacked(packed)
    assert packed.questions == 5
    assert content["contexts"] == [RIVER, TOWN]
    start = RIVER.index("Ada") + 1  # the wave is one character, and two UTF-16 units
    first, second, *_ = content["questions"]
    assert first == [
        *("q1", 0, "Who swam in it?", "who", [["Ada", start]]),
        [["Ada", start, 1, 100, 95], ["", -1, 0, 0, None]],
    ]
    units = RIVER.encode("utf-16-le")
    for text, at in second[4]:
        assert units[2 * at : 2 * (at + len(text))].decode("utf-16-le") == text


def test_a_wrong_offset_is_looked_for(examples, ours):
    assert examples[1].context[examples[1].answers[0].start :][:7] != "in 1901"
    golds = unpacked(pack(examples, [ours]))["questions"][1][4]
    assert golds[0] == ["in 1901", RIVER.index("in 1901") + 1]


def test_what_is_not_in_the_context_has_no_place(examples):
    system = of_predictions("x", examples, {example.id: "made up" for example in examples})
    assert unpacked(pack(examples, [system]))["questions"][0][5] == [["made up", -1, 0, 0, None]]


def test_half_a_surrogate_pair_is_carried_over():
    example = Example("x", "?", "a \ud83c b", (GoldAnswer("b", 4),))
    content = unpacked(pack([example], [of_predictions("x", [example], {"x": "b"})]))
    assert content["questions"][0][4] == [["b", 4]]


def test_too_much_is_sampled_by_contexts():
    rng = np.random.default_rng(0)
    contexts = [" ".join(rng.choice(list("abcdefgh"), 200)) for _ in range(50)]
    data = [Example(f"{i}-{q}", "?", context, ()) for i, context in enumerate(contexts) for q in "xy"]
    system = of_predictions("x", data, {example.id: "" for example in data})
    whole = pack(data, [system])
    most = len(whole.content) // 2
    packed = pack(data, [system], most_bytes=most)
    content = unpacked(packed)
    assert 0.7 * most < len(packed.content) <= most
    assert packed.questions == len(content["questions"]) == 2 * len(content["contexts"])
    assert packed == pack(data, [system], most_bytes=most)
    order = [question[0] for question in content["questions"]]
    assert order == [example.id for example in data if example.id in set(order)]
    assert pack(data, [system], most_bytes=60).questions == 0
