import jax
import pytest

from tinybert_jax.errors import UserError
from tinybert_jax.inference import memory
from tinybert_jax.model import BertConfig


@pytest.fixture(autouse=True)
def devices_of_a_megabyte(monkeypatch):
    monkeypatch.setattr(memory, "device_memory", lambda: 1_000_000 // jax.device_count())


def test_a_scored_row_takes_what_the_network_is_given():
    memory.check_scored_batch("batch_size", 8333, 10)
    with pytest.raises(UserError, match=r"batch_size must be at most 8333: a row takes 120 bytes .* 0.0 GB, got 8334"):
        memory.check_scored_batch("batch_size", 8334, 10)


def test_a_trained_row_takes_every_layer_s_output():
    config = BertConfig(num_hidden_layers=2, hidden_size=24, num_attention_heads=2)
    memory.check_trained_batch("stages.0.batch_size", 925, 10, config)
    with pytest.raises(UserError, match=r"stages\.0\.batch_size must be at most 925: a row takes 1,080 bytes"):
        memory.check_trained_batch("stages.0.batch_size", 926, 10, config)


def test_a_device_has_some():
    assert memory.device_memory() > 0
