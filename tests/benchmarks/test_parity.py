import pytest

from benchmarks import parity


def test_a_small_network_is_as_near_as_the_tests_hold(monkeypatch):
    pytest.importorskip("torch")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    monkeypatch.setitem(parity.MODELS, "electra-small", parity.MODELS["electra-small"] | shape | {"vocab_size": 40})
    row = parity.differences("electra-small")
    assert row["model"] == "electra-small"
    assert 0 < float(row["logits"]) < 2e-5
    assert 0 < float(row["hidden states"]) < 2e-5
    assert float(row["largest logit"]) > 0.01
