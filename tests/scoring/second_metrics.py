"""A second implementation of the official SQuAD 2.0 rules, for the tests to compare the project's with.

Written from the rules and not from the project's code: it walks the JSON instead of examples, takes texts apart
character by character instead of by patterns, and looks thresholds up in a table of running sums. Only the order of
floating-point operations is the official one, so that figures can be compared to the last bit.
"""

import itertools
import string


def words(text):
    """The words that count: lower case, no ASCII punctuation, then no articles."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    # An article is a whole run of letters and digits; whatever is no letter or digit ends a run.
    runs = ["".join(run) for _, run in itertools.groupby(kept, key=str.isalnum)]
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def f1(gold, predicted):
    if gold == [] or predicted == []:
        return 1 if gold == predicted else 0
    left, common = list(gold), 0
    for word in predicted:
        if word in left:
            left.remove(word)
            common += 1
    if common == 0:
        return 0
    precision, recall = common / len(predicted), common / len(gold)
    return (2 * precision * recall) / (precision + recall)


def scores_of(qa, prediction):
    """(exact, F1) of one question's prediction."""
    golds = [gold for gold in (words(answer["text"]) for answer in qa["answers"]) if gold]
    predicted = words(prediction)
    pairs = [(int(gold == predicted), f1(gold, predicted)) for gold in golds or [[]]]
    return max(exact for exact, _ in pairs), max(f1 for _, f1 in pairs)


def best_threshold(table, unanswerable, total):
    """`table` holds (odds, what admitting the prediction gains), in the order in which odds are listed."""
    table = sorted(table, key=lambda row: row[0])
    sums = list(itertools.accumulate((gain for _, gain in table), initial=unanswerable))
    at = sums.index(max(sums))
    return 100.0 * max(sums) / total, table[at - 1][0] if at else 0.0


def metrics(squad, predictions, odds=None, threshold=1.0):
    """All figures of the official script, for `squad` as JSON holds it."""
    questions = {qa["id"]: qa for article in squad["data"] for p in article["paragraphs"] for qa in p["qas"]}
    raw = {key: scores_of(qa, predictions[key]) for key, qa in questions.items()}
    final = {}
    for key, qa in questions.items():
        silent = (odds[key] if odds is not None else 0.0) > threshold
        final[key] = raw[key] if not silent else (1.0, 1.0) if not qa["answers"] else (0.0, 0.0)

    figures = {}
    for prefix, belongs in (
        ("", lambda qa: True),
        ("HasAns_", lambda qa: len(qa["answers"]) > 0),
        ("NoAns_", lambda qa: len(qa["answers"]) == 0),
    ):
        chosen = [final[key] for key, qa in questions.items() if belongs(qa)]
        if chosen:
            for name, column in zip(("exact", "f1"), zip(*chosen, strict=True), strict=True):
                figures[prefix + name] = 100.0 * sum(column) / len(chosen)
            figures[prefix + "total"] = len(chosen)
    if odds is not None:
        unanswerable = sum(not qa["answers"] for qa in questions.values())
        for column, name in enumerate(("exact", "f1")):
            table = []
            for key, value in odds.items():
                if key in questions:
                    spoiled = -1 if predictions[key] else 0
                    table.append((value, raw[key][column] if questions[key]["answers"] else spoiled))
            best, at = best_threshold(table, unanswerable, len(questions))
            figures[f"best_{name}"], figures[f"best_{name}_thresh"] = best, at
    return figures
