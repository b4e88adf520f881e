import numpy as np
import pytest

from benchmarks import inference


def test_all_systems_compute_the_same(tmp_path):
    pytest.importorskip("torch")
    batch = inference.full_batch(2, 12)
    systems = inference.make_systems("tiny", tmp_path)
    expected = systems.pop(inference.PEER)(batch)
    for name, system in systems.items():
        tolerance = 0.05 if "int8" in name else 1e-5
        np.testing.assert_allclose(np.asarray(system(batch)), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_a_line_holds_medians_and_how_they_compare():
    taken = {inference.PEER: [0.03, 0.02, 0.1], "ours": [0.02, 0.01, 0.015]}
    assert inference.row_of("x", taken) == {"": "x", inference.PEER: "30.0 (1.00×)", "ours": "15.0 (2.00×)"}
