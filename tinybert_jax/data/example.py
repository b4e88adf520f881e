"""A question, its context and its gold answers."""

from dataclasses import dataclass
from typing import NamedTuple


class Answer(NamedTuple):
    """A gold answer: its text, and the character offset at which it stands in the context."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Example:
    """A question about a context; without answers it is unanswerable."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    title: str = ""

    @property
    def is_impossible(self) -> bool:
        """Whether the context does not answer the question."""
        return not self.answers
