"""A question, its context and its gold answers."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class GoldAnswer(NamedTuple):
    """A gold answer: its text, and the character offset at which it stands in the context."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Example:
    """A question about a context; without answers it is unanswerable, unless nobody has labelled it.

    Attributes:
        id: its own, within a data set.
        question: what is asked.
        context: the text that is asked about.
        answers: the gold answers.
        title: the article's; "" where none is known.
        is_labelled: False where nobody has said what the answer is, or whether there is one.
    """

    id: str
    question: str
    context: str
    answers: tuple[GoldAnswer, ...]
    title: str = ""
    is_labelled: bool = True

    @property
    def is_impossible(self) -> bool:
        """Whether the context is known not to answer the question."""
        return self.is_labelled and not self.answers


def questions_digest(examples: Iterable[Example]) -> str:
    """A SHA-256 of questions, their contexts, ids and titles, with all of their answers: not only those trained on."""
    sha256, context = hashlib.sha256(), None
    for example in examples:
        if example.context != context:  # a paragraph's questions follow each other
            context = example.context
            sha256.update(repr(context).encode())
        sha256.update(repr((example.id, example.question, example.answers, example.title)).encode())
    return sha256.hexdigest()
