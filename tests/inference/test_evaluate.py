from tinybert_jax.data import Answer, Dataset, Example
from tinybert_jax.inference import evaluate, write_evaluation


def test_evaluation_scores_and_writes_what_it_found(model, windows_of, tmp_path):
    windows = windows_of([9, 7])
    examples = [Example("q1", "?", "abcde", (Answer("b", 1),)), Example("q2", "?", "xyz", ())]
    evaluation = evaluate(*model, Dataset(examples, windows), batch_size=2, buckets=(16,))
    assert evaluation.metrics["total"] == 2
    assert set(evaluation.answers.predictions) == {"q1", "q2"}
    write_evaluation(tmp_path, evaluation)
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "predictions.json", "null_odds.json"}
