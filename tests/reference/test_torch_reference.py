"""The reference itself: that it still computes what the golden files hold, and what PyTorch's own functions do."""

import numpy as np
import pytest

from tests.reference.cases import INTERMEDIATE, PRESETS, Prediction, load_golden

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.reference import make_golden, torch_reference  # noqa: E402


@pytest.fixture(scope="module")
def recomputed():
    return make_golden.all_records(make_golden.SEED)


@pytest.mark.parametrize("file", ["models", "intermediate", "prediction", "relations", "training", "optimizer"])
def test_the_golden_files_are_what_the_reference_computes(recomputed, file):
    golden = load_golden(file)
    assert list(golden) == list(recomputed[file])
    for record, tensors in recomputed[file].items():
        assert list(golden[record]) == list(tensors)
        for name, tensor in tensors.items():
            stored, largest = golden[record][name], np.abs(tensor).max()
            # one rounding to float32, and what another version of torch may sum in another order
            np.testing.assert_allclose(stored, tensor, rtol=1e-7, atol=1e-7 * largest + 1e-12, err_msg=name)


@pytest.fixture(scope="module")
def models():
    return make_golden.random_models(seed=7)


def test_counted_probabilities_are_torchs_own_mean_squared_errors(models):
    pair, mode = INTERMEDIATE["probabilities counted"]
    setting = make_golden.Setting(models, pair, mode)
    batch = {name: setting.batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    student, teacher = (
        model(**batch, output_hidden_states=True, output_attentions=True)
        for model in (setting.student, setting.teacher)
    )
    mse = torch.nn.functional.mse_loss
    hidden = sum(mse(student.hidden_states[m], teacher.hidden_states[2 * m]) for m in range(3))
    attention = sum(mse(student.attentions[m], teacher.attentions[2 * m + 1]) for m in range(2))
    torch.testing.assert_close(setting.losses()["loss"], hidden + attention)


def test_masked_scores_are_what_rows_without_padding_give(models):
    """Each row alone, cut to its tokens, has no padding to mask: its terms add up by their numbers of entries."""
    pair, mode = INTERMEDIATE["scores masked"]
    setting = make_golden.Setting(models, pair, mode)
    together, rows = setting.losses(), []
    for row, length in enumerate((8, 5, 3)):
        alone = {name: x[row : row + 1] for name, x in setting.batch.items()}
        alone = {name: x[:, :length] if x.ndim == 2 else x for name, x in alone.items()}
        rows.append(
            torch_reference.intermediate_loss(setting.student, setting.teacher, alone, setting.projections, mode)
        )
    hidden = (8 * rows[0]["hidden"] + 5 * rows[1]["hidden"] + 3 * rows[2]["hidden"]) / 16
    attention = (64 * rows[0]["attention"] + 25 * rows[1]["attention"] + 9 * rows[2]["attention"]) / 98
    torch.testing.assert_close(together["hidden"], hidden)
    torch.testing.assert_close(together["attention"], attention)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_prediction_loss_is_torchs_divergence_and_cross_entropy(models, temperature):
    setting = make_golden.Setting(models, "equal", Prediction(temperature, 0.25, "counted"))
    student, teacher = (torch_reference.observe(model, setting.batch) for model in (setting.student, setting.teacher))
    functions, kl, hard = torch.nn.functional, 0.0, 0.0
    for name in ("start", "end"):
        z_s, z_t = getattr(student, f"{name}_logits"), getattr(teacher, f"{name}_logits")
        log_s, p_t = functions.log_softmax(z_s / temperature, -1), functions.softmax(z_t / temperature, -1)
        kl = kl + functions.kl_div(log_s, p_t, reduction="batchmean")
        hard = hard + functions.cross_entropy(z_s, setting.batch[name]) / 2
    losses = setting.losses()
    torch.testing.assert_close(losses["kl"], kl)
    torch.testing.assert_close(losses["hard"], hard)
    torch.testing.assert_close(losses["loss"], 0.25 * temperature**2 * losses["soft"] + 0.75 * hard)


@pytest.mark.parametrize("stage", ["intermediate", "prediction"])
def test_training_is_torchs_own_where_torch_has_it(stage):
    """By `backward` and `AdamW`, which skips the span head in stage 1: `grad` is None there, and nothing decays."""
    preset, rule = PRESETS["haystack"], PRESETS["haystack"].rule
    setting = make_golden.Setting(load_golden("models"), preset.pair, getattr(preset, stage))
    before = make_golden.as_numpy({name: p.clone() for name, p in setting.parameters.items()})
    adam = torch.optim.AdamW(setting.parameters.values(), eps=rule.eps, weight_decay=rule.weight_decay)
    for factor in (0, 1 / 3, 2 / 3):
        adam.param_groups[0]["lr"] = rule.peak * factor
        adam.zero_grad()
        setting.losses()["loss"].backward()
        torch.nn.utils.clip_grad_norm_(setting.parameters.values(), rule.clip_norm)
        adam.step()
    golden = load_golden("training")[f"haystack {stage}"]
    for name, parameter in setting.parameters.items():
        # torch divides by the norm + 1e-6
        np.testing.assert_allclose(parameter.detach(), golden[name], rtol=1e-6, atol=1e-6, err_msg=name)
        still = stage == "intermediate" and name.startswith("qa_outputs.")
        assert (golden[name] == before[name].astype(np.float32)).all() == still, name


def test_adam_is_torchs_own_where_torch_has_it():
    rule, golden = PRESETS["haystack"].rule, load_golden("optimizer")
    parameters = {name: torch.tensor(x).double().requires_grad_() for name, x in golden["initial"].items()}
    adam = torch.optim.AdamW(parameters.values(), lr=rule.peak, eps=rule.eps, weight_decay=rule.weight_decay)
    factors = [0, 1 / 3, 2 / 3, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7]
    for step, factor in enumerate(factors):
        for name, gradient in golden[f"gradients {step}"].items():
            parameters[name].grad = torch.tensor(gradient).double()
        torch.nn.utils.clip_grad_norm_(parameters.values(), rule.clip_norm)
        adam.param_groups[0]["lr"] = rule.peak * factor
        adam.step()
    for name, parameter in parameters.items():
        # torch divides by the norm + 1e-6
        np.testing.assert_allclose(parameter.detach(), golden["haystack"][name], rtol=1e-6, atol=1e-6)
