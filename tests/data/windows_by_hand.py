"""What the tests of windows share."""

from dataclasses import fields

import numpy as np

from tinybert_jax.data import Example, GoldAnswer, Windows


def example(context, question="q", answers=(), id_="id"):
    return Example(id_, question, context, tuple(GoldAnswer(*answer) for answer in answers))


def columns(windows):
    return {field.name: getattr(windows, field.name) for field in fields(Windows)}


def assert_same(a, b):
    for name, column in columns(a).items():
        np.testing.assert_array_equal(column, columns(b)[name], err_msg=name)
        assert column.dtype == columns(b)[name].dtype
