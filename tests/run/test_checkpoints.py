import gc

import jax
import numpy as np
import pytest

from tinybert_jax.distill import OptimizerConfig, create_state, make_optimizer
from tinybert_jax.errors import UserError
from tinybert_jax.run.checkpoints import Checkpoints
from tinybert_jax.sharding import data_mesh


def state_of(value, width=3):
    params = {"layer": {"kernel": np.full((width, 2), value, np.float32), "bias": np.full(2, value, np.float32)}}
    return create_state(params, {}, make_optimizer(OptimizerConfig(), 10), data_mesh())


def test_nothing_saved_gives_the_fresh_state(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        fresh = state_of(1.0)
        assert checkpoints.restore(fresh) == (0, fresh)


def test_the_latest_is_restored_to_the_bit_and_old_ones_go(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, state_of(step / 7))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"20", "30"}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        step, state = checkpoints.restore(state_of(0.0))
    assert step == 30
    assert jax.tree.all(jax.tree.map(np.array_equal, state, state_of(30 / 7)))


def test_the_best_is_kept_beside_the_latest(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        for step in (10, 20, 30, 40, 50):
            checkpoints.best = 10 if step < 20 else 20
            checkpoints.save(step, state_of(step / 7))
        best = checkpoints.at(20, state_of(0.0))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"20", "40", "50"}
    assert jax.tree.all(jax.tree.map(np.array_equal, best, state_of(20 / 7)))


def test_a_step_saved_twice_is_left_alone(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(5, state_of(1.0))
        checkpoints.save(5, state_of(2.0))
        _, state = checkpoints.restore(state_of(0.0))
    assert state.params["model"]["layer"]["bias"][0] == 1.0


def test_donated_buffers_do_not_reach_a_checkpoint_being_written(tmp_path):
    update = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    with Checkpoints(tmp_path / "checkpoints", keep=5) as checkpoints:
        state = state_of(0.0, width=50_000)
        for step in (1, 2, 3):
            state = update(state)
            checkpoints.save(step, state)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        _, restored = checkpoints.restore(state_of(0.0, width=50_000))
    assert np.unique(restored.params["model"]["layer"]["kernel"]).tolist() == [3.0]


# orbax abandons the reads that were under way when one of them failed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["other shapes", "files gone"])
def test_an_unreadable_checkpoint_is_named_with_what_to_do(tmp_path, damage):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(5, state_of(1.0))
    if damage == "files gone":
        for path in (folder / "5" / "default").iterdir():
            if path.is_file():
                path.unlink()
    with Checkpoints(folder) as checkpoints, pytest.raises(UserError, match=r"checkpoints/5: .*remove that folder"):
        checkpoints.restore(state_of(0.0, width=4))
    gc.collect()
