"""Five questions about two contexts, and two systems that answered them."""

import numpy as np
import pytest

from tinybert_jax.data import Example, GoldAnswer
from tinybert_jax.report.systems import of_predictions

RIVER = "The river Tarn 🌊 is long. </script><b>Old</b> Ada swam in it in 1901."
TOWN = "The town has $100 & a <i>mill</i>."
EXAMPLES = [
    Example("q1", "Who swam in it?", RIVER, (GoldAnswer("Ada", RIVER.index("Ada")),)),
    Example(
        "q2", "In what year did Ada swim?", RIVER, (GoldAnswer("in 1901", 59), GoldAnswer("1901", RIVER.index("1901")))
    ),
    Example("q3", "Which river is short?", RIVER, ()),
    Example("q4", "What has the town?", TOWN, (GoldAnswer("$100", TOWN.index("$100")),)),
    Example("q5", "How much <i>milk</i> has it?", TOWN, ()),
]
# Right answers: q1, q3 as long as the threshold is below 1, q4 half right, q5 below 3.
SPANS = {"q1": "Ada", "q2": "Tarn", "q3": "river Tarn", "q4": "has $100", "q5": "mill"}
ODDS = {"q1": -4.0, "q2": -1.0, "q3": 1.0, "q4": 2.0, "q5": 3.0}
THEIRS = {"q1": "", "q2": "1901", "q3": "", "q4": "$100", "q5": "mill"}


@pytest.fixture(scope="session")
def examples():
    return EXAMPLES


@pytest.fixture(scope="session")
def ours():
    """A system with odds and probabilities; at its threshold, 0, it answers q1 and q2 alone."""
    system = of_predictions("runs/<b>x</b>/export", EXAMPLES, SPANS, ODDS, threshold=0.0)
    return system._replace(probability=np.array([0.95, 0.42, 0.97, 0.45, 1.0]))


@pytest.fixture(scope="session")
def theirs():
    """Answers alone."""
    return of_predictions("theirs.json", EXAMPLES, THEIRS)
