from tinybert_jax.hub import WEIGHTS
from tinybert_jax.model.checkpoint_files import READERS


def test_every_format_that_the_hub_gives_has_its_reader():
    assert READERS.keys() == set(WEIGHTS)
