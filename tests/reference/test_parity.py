"""The project computes what the published systems do: losses, gradients and updates agree with PyTorch.

Against the golden files everywhere, and against the reference itself, on other random numbers, where torch is.
"""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest

from tests.reference.cases import INTERMEDIATE, PREDICTION, PRESETS, RELATIONS, RULES, load_golden
from tests.reference.comparison import (
    Ours,
    difference,
    loss_difference,
    our_optimizer_config,
    our_preset_objective,
    ours_on_golden,
    update_ten_times,
    with_effect,
)
from tinybert_jax.distill import rate_schedule

TOLERANCE = 1e-5  # of a float32 computation against one in float64
FILES = ("models", "intermediate", "prediction", "relations", "training", "optimizer")


@pytest.fixture(scope="module", params=["golden", "live"])
def theirs(request):
    """What the reference computes, by file and record, and the project on the same numbers."""
    if request.param == "golden":
        return SimpleNamespace(ours=ours_on_golden(), **{file: load_golden(file) for file in FILES})
    pytest.importorskip("torch", reason="the reference runs in torch")
    from tests.reference import make_golden

    records = make_golden.all_records(make_golden.SEED + 1)
    return SimpleNamespace(ours=Ours(records["models"]), **records)


def check(ours, pair, mode, record):
    losses, gradients = ours.losses_and_gradients(pair, mode)
    assert loss_difference(losses, record) < TOLERANCE
    expected = {name: tensor for name, tensor in record.items() if tensor.ndim}
    assert difference(gradients, expected) < TOLERANCE


@pytest.mark.parametrize("case", INTERMEDIATE)
def test_intermediate_loss_and_gradients(theirs, case):
    check(theirs.ours, *INTERMEDIATE[case], theirs.intermediate[case])


@pytest.mark.parametrize("case", PREDICTION)
def test_prediction_loss_and_gradients(theirs, case):
    check(theirs.ours, *PREDICTION[case], theirs.prediction[case])


@pytest.mark.parametrize("case", RELATIONS)
def test_relations_loss_and_gradients(theirs, case):
    check(theirs.ours, *RELATIONS[case], theirs.relations[case])


@pytest.mark.parametrize("stage", ["intermediate", "prediction"])
@pytest.mark.parametrize("preset", PRESETS)
def test_three_steps_of_a_preset(theirs, preset, stage):
    objective = our_preset_objective(preset, stage)
    ours, expected = theirs.ours.train(preset, stage), theirs.training[f"{preset} {stage}"]
    ours, expected = (with_effect(tensors, objective, layers=1) for tensors in (ours, expected))
    assert difference(ours, expected) < TOLERANCE


@pytest.mark.parametrize("rule", RULES)
def test_ten_updates_of_a_rule(theirs, rule):
    expected = dict(theirs.optimizer[rule])
    schedule = rate_schedule(our_optimizer_config(rule), RULES[rule].updates)
    np.testing.assert_allclose([schedule(i) for i in range(10)], expected.pop("rates"), rtol=TOLERANCE)
    assert difference(update_ten_times(theirs.optimizer, rule), expected) < TOLERANCE


def test_the_table_prints(capsys):
    """`python -m tests.reference.table`, as the docs have it, in the process that has computed what it shows."""
    runpy.run_module("tests.reference.table", run_name="__main__", alter_sys=True)
    names = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert {*INTERMEDIATE, *PREDICTION, *RELATIONS, *PRESETS, *RULES} <= {*names}
