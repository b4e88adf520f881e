from tinybert_jax.data import Dataset, Example, GoldAnswer
from tinybert_jax.inference import JaxNetwork, evaluate, write_evaluation
from tinybert_jax.scoring import AnswerConfig


def test_evaluation_scores_and_writes_what_it_found(model, windows_of, tmp_path):
    windows = windows_of([9, 7])
    examples = [Example("q1", "?", "abcde", (GoldAnswer("b", 1),)), Example("q2", "?", "xyz", ())]
    evaluation = evaluate(JaxNetwork(model), Dataset(examples, windows), batch_size=2, buckets=(16,))
    assert evaluation.metrics["total"] == 2
    assert set(evaluation.answers.predictions) == {"q1", "q2"}
    write_evaluation(tmp_path, evaluation)
    names = ["best_spans.json", "metrics.json", "null_odds.json", "predictions.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_best_thresholds_do_not_depend_on_the_one_in_use(model, windows_of):
    context = "abcdefghij"
    lengths = [9, 12, 7, 11]
    blank = [Example(str(i), "?", context, ()) for i in range(4)]
    found = evaluate(JaxNetwork(model), Dataset(blank, windows_of(lengths)), buckets=(16,)).answers
    surest = sorted(found.null_odds, key=lambda key: found.null_odds[key])
    # The question that favours an answer most and the one after it have theirs; the others have none.
    golds = {key: (GoldAnswer(found.best_spans[key], 0),) for key in surest[:2]}
    data = Dataset([Example(str(i), "?", context, golds.get(str(i), ())) for i in range(4)], windows_of(lengths))

    def metrics(threshold):
        return evaluate(JaxNetwork(model), data, AnswerConfig(null_threshold=threshold), buckets=(16,)).metrics

    best_at = found.null_odds[surest[1]]
    expected = {"best_exact": 100, "best_exact_thresh": best_at, "best_f1": 100, "best_f1_thresh": best_at}
    scored = {threshold: metrics(threshold) for threshold in (-1e9, best_at, 1e9)}
    for threshold, exact in ((-1e9, 50), (best_at, 100), (1e9, 50)):
        assert {name: scored[threshold][name] for name in expected} == expected
        assert scored[threshold]["exact"] == exact
