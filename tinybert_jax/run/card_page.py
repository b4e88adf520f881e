"""The texts of model cards."""

PAGE = """\
# {name}

A model of the {family} family for extractive question answering: given a question and a passage, it marks the span of
the passage that answers the question, or the first token if none does. It was {made} with tinybert_jax.

## Training

{facts}

{hyperparameters}

## Scores

Measured on {measured_on} with the rules of the official SQuAD evaluation, in percent. The intervals are bootstrap
intervals over the questions: how far the figures may be off because the questions are a sample.

| | Score | 95% interval |
|---|---|---|
{scores}

## Licence

{licence}

## Use

Replace `"path/to/model"` by this folder, or by the model's hub id. With transformers, whose own classes stop at the
logits of tokens; `scores[0, 0]` is the score of there being no answer:

```python
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/model")
model = AutoModelForQuestionAnswering.from_pretrained("path/to/model").eval()
question, context = "Who wrote it?", "It was written by Ada."
inputs = tokenizer(question, context, truncation="only_second", return_offsets_mapping=True, return_tensors="pt")
offsets = inputs.pop("offset_mapping")[0]
in_context = torch.tensor([part == 1 for part in inputs.sequence_ids(0)])
with torch.no_grad():
    outputs = model(**inputs)
# Spans of up to 30 tokens of the context, from a start (row) to an end that is not before it (column).
scores = outputs.start_logits[0][:, None] + outputs.end_logits[0][None, :]
spans = (in_context[:, None] & in_context[None, :]).triu().tril(29)
first, last = divmod(int(scores.masked_fill(~spans, -torch.inf).argmax()), len(offsets))
start, end = int(offsets[first, 0]), int(offsets[last, 1])
print(context[start:end])
```

With tinybert_jax, which also reads contexts that are longer than the model's position table:

```python
from tinybert_jax.inference import Answerer

print(Answerer.load("path/to/model")("Who wrote it?", "It was written by Ada."))
```
"""

ENCODER_PAGE = """\
# {name}

An encoder of the {family} family, {made} on plain text with tinybert_jax: general distillation, before any task. It was
not trained to answer questions; what it holds of a head for that, if anything, is as it was before.

## Training

{facts}

{hyperparameters}

## Losses

On rows of the text that were held out of training:

| stage | loss or term | before | after |
|---|---|---|---|
{scores}

## Licence

{licence}

## Use

It is what a question-answering student starts from:

```bash
python train.py RECIPE --student path/to/model --teacher TEACHER --output runs/student
```
"""
