"""Prints how far the project is from the golden files, as Markdown: `python -m tests.reference.table`.

What a difference is, `comparison.difference` and `comparison.loss_difference` say.
"""

from tests.reference.cases import INTERMEDIATE, PREDICTION, PRESETS, RELATIONS, RULES, load_golden
from tests.reference.comparison import (
    Ours,
    difference,
    loss_difference,
    our_preset_objective,
    ours_on_golden,
    update_ten_times,
    with_effect,
)


def loss_rows(ours: Ours, file: str, cases: dict) -> None:
    print(f"\n| {file} | loss | gradients |\n| --- | --- | --- |")
    records = load_golden(file)
    for name, (pair, mode) in cases.items():
        losses, gradients = ours.losses_and_gradients(pair, mode)
        tensors = {key: tensor for key, tensor in records[name].items() if tensor.ndim}
        print(f"| {name} | {loss_difference(losses, records[name]):.1e} | {difference(gradients, tensors):.1e} |")


def training_rows(ours: Ours) -> None:
    print("\n| parameters after three steps | stage 1 | stage 2 |\n| --- | --- | --- |")
    records = load_golden("training")
    for preset in PRESETS:
        cells = []
        for stage in ("intermediate", "prediction"):
            objective = our_preset_objective(preset, stage)
            pair = (ours.train(preset, stage), records[f"{preset} {stage}"])
            cells.append(f"{difference(*(with_effect(tensors, objective, layers=1) for tensors in pair)):.1e}")
        print(f"| {preset} | {' | '.join(cells)} |")


def rule_rows() -> None:
    print("\n| update rule | parameters after ten updates |\n| --- | --- |")
    records = load_golden("optimizer")
    for rule in RULES:
        expected = {name: tensor for name, tensor in records[rule].items() if name != "rates"}
        print(f"| {rule} | {difference(update_ten_times(records, rule), expected):.1e} |")


if __name__ == "__main__":
    project = ours_on_golden()
    loss_rows(project, "intermediate", INTERMEDIATE)
    loss_rows(project, "prediction", PREDICTION)
    loss_rows(project, "relations", RELATIONS)
    training_rows(project)
    rule_rows()
