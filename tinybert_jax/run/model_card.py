"""The model card of an exported model: what it is, where it comes from, what it scores."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinybert_jax.model.config import BertConfig, ModelType
from tinybert_jax.run.recipe import Recipe
from tinybert_jax.store.files import atomic_path


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model card tells.

    A model or a data set is a hub id ("owner/name", data sets with or without ":split") or a local path.
    Of a path the card shows the last part alone; only hub ids go into the front matter, which machines read.

    Attributes:
        name: the model's name.
        student: the checkpoint that training started from.
        teachers: the models it learned from; none if it was fine-tuned without.
        recipe: the recipe's name.
        layer_map: which of the teacher's layers each student layer learned from; None without a teacher.
        training: a summary of the training, Markdown.
        metrics: "exact" and "f1", in percent, as `squad_metrics` gives them.
        measured_on: the data set they were measured on, or words for it.
        datasets: the data sets of the training.
        model_type: the family, as in config.json.
        language: a code as ISO 639 has them.
        license: an identifier as the hub has them.
    """

    name: str
    student: str
    teachers: tuple[str, ...]
    recipe: str
    layer_map: str | None
    training: str
    metrics: Mapping[str, float]
    measured_on: str
    datasets: tuple[str, ...] = ()
    model_type: ModelType = "bert"
    language: str = "en"
    license: str = "apache-2.0"


def describe(
    recipe: Recipe, student: BertConfig, teacher: BertConfig | None, scores: Mapping[str, float], name: str
) -> ModelCard:
    """The card of a recipe's student.

    Args:
        recipe: what was run.
        student: the student's shape.
        teacher: its teacher's; None where it had none.
        scores: "exact" and "f1" on the recipe's dev data, in percent.
        name: the model's name.
    """
    layer_map = None
    for stage in recipe.stages:
        if teacher is not None:
            layer_map = stage.objective.describe(student, teacher) or layer_map
    stages = [
        f"{number}. {stage.objective.tag}: at most {stage.epochs} epochs, batch {stage.batch_size}, "
        f"learning rate {stage.learning_rate:g}, warm-up {stage.warmup:g}"
        for number, stage in enumerate(recipe.stages, start=1)
    ]
    return ModelCard(
        name=name,
        model_type=student.model_type,
        student=recipe.student,
        teachers=(recipe.teacher, *recipe.more_teachers) if recipe.teacher else (),
        recipe=recipe.name,
        layer_map=layer_map,
        training="\n".join(stages),
        metrics=scores,
        measured_on=recipe.dev,
        datasets=(recipe.train,),
    )


def write_model_card(folder: Path, card: ModelCard) -> None:
    """Writes README.md into `folder`: the hub's YAML front matter, then a page for people."""
    with atomic_path(Path(folder) / "README.md") as temporary:
        temporary.write_text(f"---\n{_front_matter(card)}\n---\n\n{_body(card)}", encoding="utf-8")


def _front_matter(card: ModelCard) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    measured_on, _, split = card.measured_on.partition(":")
    hub_set = _hub_id(card.measured_on)
    results = [
        EvalResult(
            task_type="question-answering",
            task_name="Question Answering",
            # The hub wants an identifier here: words become a slug.
            dataset_type=hub_set or re.sub(r"\W+", "-", _shown(card.measured_on).lower()).strip("-"),
            dataset_name=measured_on if hub_set else _shown(card.measured_on),
            dataset_split=split if hub_set and split else None,
            metric_type=kind,
            metric_name=label,
            metric_value=round(float(card.metrics[key]), 2),
        )
        for key, kind, label in (("exact", "exact_match", "Exact Match"), ("f1", "f1", "F1"))
    ]
    return ModelCardData(
        language=card.language,
        license=card.license,
        library_name="transformers",
        pipeline_tag="question-answering",
        tags=[card.model_type, "tinybert"] + ["knowledge-distillation"] * bool(card.teachers),
        # Two entries here would declare a merge of both: the teacher is named in the text.
        base_model=_hub_id(card.student),
        datasets=list(dict.fromkeys(filter(None, map(_hub_id, card.datasets)))) or None,
        metrics=["exact_match", "f1"],
        model_name=card.name,
        eval_results=results,
    ).to_yaml()


def _body(card: ModelCard) -> str:
    teachers = ", ".join(f"`{_shown(name)}`" for name in card.teachers)
    made = f"distilled from {teachers}" if teachers else "fine-tuned"
    rows = [
        ("Teacher", teachers),
        ("Started from", f"`{_shown(card.student)}`"),
        ("Layer map", card.layer_map),
        ("Training data", ", ".join(f"`{_shown(name)}`" for name in card.datasets)),
        ("Recipe", f"`{card.recipe}`"),
    ]
    return _BODY.format(
        name=card.name,
        made=made,
        family={"bert": "BERT", "roberta": "RoBERTa"}[card.model_type],
        facts="\n".join(f"- {label}: {value}" for label, value in rows if value),
        training=card.training.strip(),
        measured_on=_shown(card.measured_on),
        exact=card.metrics["exact"],
        f1=card.metrics["f1"],
    )


_BODY = """\
# {name}

A {family} model for extractive question answering: given a question and a passage, it marks the span of the
passage that answers the question, or the first token if none does. It was {made} with tinybert_jax.

## Training

{facts}

{training}

## Scores

Measured on {measured_on} with the rules of the official SQuAD evaluation, in percent.

| Exact match | F1 |
|---|---|
| {exact:.2f} | {f1:.2f} |

## Use

Replace `"path/to/model"` by this folder. With transformers:

```python
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/model")
model = AutoModelForQuestionAnswering.from_pretrained("path/to/model")
inputs = tokenizer("Who wrote it?", "It was written by Ada.", return_tensors="pt")
outputs = model(**inputs)
start, end = outputs.start_logits.argmax(), outputs.end_logits.argmax()
print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]))
```

With tinybert_jax, as a JAX function of the parameters:

```python
import tinybert_jax

config, params = tinybert_jax.load_pretrained("path/to/model")
```
"""


def _hub_id(name: str) -> str | None:
    """The "owner/name" of a hub id, with or without ":split"; None for anything else, as a local path."""
    hub_id = name.partition(":")[0]
    is_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", hub_id, re.ASCII) and not Path(name).exists()
    return hub_id if is_hub_id else None


def _shown(name: str) -> str:
    """A name for people; of a path its last part: the reader has none of the folders around it."""
    path = Path(name)
    return path.resolve().name if path.is_absolute() or path.exists() else name
