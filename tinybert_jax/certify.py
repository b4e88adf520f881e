"""What a model's files score, and whether they are still those files.

    tinybert certify FOLDER --data FILE [--teacher M] [--student M] [--undistilled M]
    tinybert certify FOLDER --verify [--data FILE]

The first measures what FOLDER holds, a transformers checkpoint, an ONNX export or both, and writes certificate.json
there, and a table of it into the folder's README.md. `--verify` compares the folder with its certificate: it exits with
0 where all agrees, and with 1 where a file or a figure differs, a line each.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tinybert_jax.errors import UserError, run_script


@dataclass(frozen=True)
class Arguments:
    """Measure what a model's files score and certify it; or verify such a certificate.

    Attributes:
        folder: it holds a checkpoint, an ONNX export, or both.
        data: questions and gold answers: SQuAD JSON, plain or gzipped, an .arrow file, or a hub data set
            "owner/name[/configuration][@revision]:split". With questions without labels, agreement with the teacher is
            measured. With --verify, where the certificate's data is now, if no longer where it was.
        teacher: the model that the student learned from, to compare with; a folder or a hub id.
        student: of an ONNX export, the model that it was made from, to compare with.
        undistilled: the same student without distillation, to compare with.
        verify: compare the folder with the certificate that it holds.
    """

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    data: str | None = None
    teacher: str | None = None
    student: str | None = None
    undistilled: str | None = None
    verify: bool = False


def certify(arguments: Arguments) -> int:
    """Runs the command: the exit status.

    Raises:
        UserError: as `deploy.certificate.certify` or `deploy.verify.verify`, or there is no --data to measure on.
    """
    from tinybert_jax.deploy import certificate
    from tinybert_jax.deploy.certificate_page import table

    others = certificate.others(arguments.teacher, arguments.student, arguments.undistilled)
    if arguments.verify:
        return _verify(arguments, others)
    if arguments.data is None:
        raise UserError("give --data FILE to measure on, or --verify to compare the folder with its certificate")
    certificate.models_of(arguments.folder, others)
    questions = certificate.read_questions(arguments.data, others)
    print(table(certificate.certify(arguments.folder, questions, others)))
    return 0


def _verify(arguments: Arguments, others: dict[str, str]) -> int:
    from tinybert_jax.deploy.verify import verify

    verdict = verify(arguments.folder, arguments.data, others)
    for note in verdict.notes:
        print(f"note: {note}", file=sys.stderr)
    print("\n".join(verdict.differences) or verdict.summary)
    return 1 if verdict.differences else 0


def main() -> int:
    """The command line."""
    from tinybert_jax.run.runtime import configure

    arguments = tyro.cli(Arguments, prog="tinybert certify")
    configure()
    return certify(arguments)


if __name__ == "__main__":
    run_script(main)
