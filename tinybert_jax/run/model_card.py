"""The model card of an exported model: what it is, where it comes from, what it scores."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert_jax.data.hub_rows import HUB_SOURCE
from tinybert_jax.hub import hub_id
from tinybert_jax.model.config import ModelType
from tinybert_jax.model.families import FAMILIES
from tinybert_jax.run.card_page import ENCODER_PAGE, PAGE
from tinybert_jax.store.files import atomic_path

_METRICS = (("exact", "exact_match", "Exact Match"), ("f1", "f1", "F1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model card tells.

    A model or a data set is a hub id ("owner/name", a data set with its split), a local path, or words for it. Of a
    path the card shows the last part alone; only hub ids go into the front matter, which machines read.

    Attributes:
        name: the model's name.
        student: the checkpoint that training started from.
        teachers: the models it learned from; none if it was fine-tuned without.
        layer_map: which of the teacher's layers each student layer learned from; None without a teacher.
        hyperparameters: of each stage, by the stage's name and theirs.
        facts: more about the run, by what they are called.
        metrics: "exact", "f1", and their intervals, in percent, as `evaluate` gives them; or as `agreement` does. Of a
            model that was trained on a corpus, as `unseen_losses` does.
        measured_on: the data set they were measured on; "" of a model that was trained on a corpus.
        sampled: on how many of its questions, drawn at random; None for all.
        datasets: the data sets of the training.
        licences: what the models it was made from are under, by name; None where that is unknown.
        languages: codes as ISO 639 has them; none if unknown.
        model_type: the family, as in config.json.
    """

    name: str
    student: str
    teachers: tuple[str, ...]
    layer_map: str | None
    hyperparameters: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, str]
    metrics: Mapping[str, Any]
    measured_on: str
    datasets: tuple[str, ...]
    licences: Mapping[str, str | None]
    languages: tuple[str, ...] = ()
    model_type: ModelType = "bert"
    sampled: int | None = None

    @property
    def answers(self) -> bool:
        """Whether it was trained to answer questions."""
        return bool(self.measured_on)

    @property
    def is_agreement(self) -> bool:
        """Whether the metrics were measured against the teacher's answers, as the data has none."""
        return "same_answer" in self.metrics

    @property
    def licence(self) -> str:
        """The one licence of all that the model was made from; "other" where there is no such one."""
        first, *others = set(self.licences.values())
        return "other" if others or first is None else first


def write_model_card(folder: Path, card: ModelCard) -> None:
    """Writes README.md into `folder`: the hub's YAML front matter, then a page for people."""
    with atomic_path(Path(folder) / "README.md") as temporary:
        temporary.write_text(f"---\n{_front_matter(card)}\n---\n\n{_page(card)}", encoding="utf-8")


def shown(name: str) -> str:
    """A name for people; of a path its last part: the reader has none of the folders around it."""
    path = Path(name)
    return path.resolve().name if path.is_absolute() or path.exists() else name


def _front_matter(card: ModelCard) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    hub_set = _data_set(card.measured_on)
    dataset = {
        # The hub wants an identifier here: words become a slug.
        "dataset_type": hub_set.get("name") or re.sub(r"\W+", "-", shown(card.measured_on).lower()).strip("-"),
        "dataset_name": hub_set.get("name") or shown(card.measured_on),
        **{f"dataset_{part}": hub_set.get(part) for part in ("config", "revision", "split")},
    }
    results = [
        EvalResult(
            task_type="question-answering",
            task_name="Question Answering",
            metric_type=kind,
            metric_name=f"{label} ({_sample(card, '; ')}95% interval: {_interval(card, key)})",
            metric_value=round(float(card.metrics[key]), 2),
            **dataset,
        )
        for key, kind, label in _METRICS
        if card.answers and not card.is_agreement  # which is no score on that data set
    ]
    return ModelCardData(
        language=list(card.languages) or None,
        license=card.licence,
        library_name="transformers",
        pipeline_tag="question-answering" if card.answers else "feature-extraction",
        tags=[card.model_type, "tinybert"] + ["knowledge-distillation"] * bool(card.teachers),
        # Two entries here would declare a merge of both: the teacher is named in the text.
        base_model=hub_id(card.student),
        datasets=list(dict.fromkeys(filter(None, (_data_set(name).get("name") for name in card.datasets)))) or None,
        metrics=["exact_match", "f1"] if card.answers else None,
        model_name=card.name if results else None,
        eval_results=results or None,
    ).to_yaml()


def _data_set(name: str) -> dict[str, str]:
    """The parts of a hub data set's name; none of anything else, as a local path."""
    match = None if Path(name).exists() else HUB_SOURCE.fullmatch(name)
    return {part: value for part, value in match.groupdict().items() if value} if match else {}


def _interval(card: ModelCard, metric: str) -> str:
    return "{:.2f} to {:.2f}".format(*card.metrics[f"{metric}_interval"])


def _sample(card: ModelCard, end: str) -> str:
    """How much of the data set was measured on, in words; nothing where that is all of it."""
    return f"{card.sampled:,} questions drawn at random{end}" if card.sampled else ""


def _page(card: ModelCard) -> str:
    teachers = ", ".join(f"`{shown(name)}`" for name in card.teachers)
    rows = {
        "Teacher": teachers,
        "Started from": f"`{shown(card.student)}`",
        "Layer map": card.layer_map,
        "Training data": ", ".join(f"`{shown(name)}`" for name in card.datasets),
        **card.facts,
    }
    page, scores = (PAGE, _scores(card)) if card.answers else (ENCODER_PAGE, _losses(card))
    return page.format(
        name=card.name,
        made=f"distilled from {teachers}" if teachers else "fine-tuned",
        family=FAMILIES[card.model_type].title,
        facts="\n".join(f"- {label}: {value}" for label, value in rows.items() if value),
        hyperparameters=_table(card.hyperparameters),
        measured_on=_sample(card, " of ")
        + shown(card.measured_on)
        + ", which has no labels, against the teacher's answers," * card.is_agreement,
        scores=scores,
        licence=_licence(card),
    )


def _scores(card: ModelCard) -> str:
    return "\n".join(f"| {label} | {card.metrics[key]:.2f} | {_interval(card, key)} |" for key, _, label in _METRICS)


def _losses(card: ModelCard) -> str:
    return "\n".join(
        f"| {stage} | {term} | {before:.4g} | {found['after'][term]:.4g} |"
        for stage, found in card.metrics.items()
        for term, before in found["before"].items()
    )


def _table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table: a column a stage, a row a hyperparameter that any of them has."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    rows += [[f"`{name}`", *(_cell(column.get(name)) for column in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _licence(card: ModelCard) -> str:
    stated = [
        f"`{shown(name)}` is under `{licence}`" if licence else f"the card of `{shown(name)}` states none"
        for name, licence in card.licences.items()
    ]
    sources = "; ".join(stated)
    if card.licence != "other":
        return f"`{card.licence}`, that of what it was made from: {sources}."
    return (
        f"`other`, since what it was made from states no one licence: {sources}. The terms of this model follow from "
        "theirs; find out which before you use it."
    )
