import gc
import shutil

import jax
import numpy as np
import pytest

from tinybert_jax.distill import OptimizerConfig, create_state, make_optimizer
from tinybert_jax.errors import NotFinite, UserError
from tinybert_jax.run.checkpoints import Checkpoints
from tinybert_jax.sharding import data_mesh


def state_of(value, width=3):
    params = {"layer": {"kernel": np.full((width, 2), value, np.float32), "bias": np.full(2, value, np.float32)}}
    return create_state(params, {}, make_optimizer(OptimizerConfig(), 10), data_mesh())


def steps_in(folder):
    return {path.name for path in folder.iterdir() if path.is_dir()}


def noise(width):
    """What no compression makes smaller."""
    state, rng = state_of(0.0, width), np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), state)


def test_nothing_saved_gives_the_fresh_state(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        fresh = state_of(1.0)
        assert checkpoints.restore(fresh) == (0, fresh)


def test_the_latest_is_restored_to_the_bit_and_old_ones_go(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, state_of(step / 7))
    assert steps_in(tmp_path / "checkpoints") == {"20", "30"}
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
    assert steps_in(tmp_path / "checkpoints") == {"20", "40", "50"}
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


def flip_a_bit(path):
    """Of the file's largest part: the middle of its content."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def damage_data(folder):
    for path in (folder / "9" / "default").rglob("d/*"):
        flip_a_bit(path)


def damage_digest(folder):
    (folder / "9.json").write_text('"{')


def remove_data(folder):
    for path in (folder / "9" / "default").rglob("*"):
        if path.is_file():
            path.unlink()


def rename(folder):
    """An older one passes for a newer."""
    shutil.rmtree(folder / "9")
    shutil.copytree(folder / "5", folder / "9")


def replace_by_another_shape(folder):
    with Checkpoints(folder.parent / "other") as checkpoints:
        checkpoints.save(9, state_of(0.4, width=5001))
    shutil.rmtree(folder / "9")
    (folder.parent / "other" / "9").rename(folder / "9")


def add_an_empty_folder(folder):
    (folder / "18").mkdir()


DAMAGES = [damage_data, damage_digest, remove_data, replace_by_another_shape, rename, add_an_empty_folder]


# orbax abandons the reads that were under way when one of them failed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "damage", [damage_data, damage_digest, remove_data, replace_by_another_shape, rename, add_an_empty_folder]
)
def test_a_damaged_checkpoint_is_told_and_set_aside_and_the_one_before_is_read(tmp_path, damage):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(5, state_of(0.3, width=5000))
        checkpoints.save(9, state_of(0.4, width=5000))
    damage(folder)
    with Checkpoints(folder) as checkpoints:
        with pytest.warns(UserWarning, match=r"checkpoints/(9|18) is damaged \(.*\): it is set aside"):
            step, state = checkpoints.restore(state_of(0.0, width=5000))
        kept = 5 if damage is not add_an_empty_folder else 9
        assert step == kept
        assert jax.tree.all(jax.tree.map(np.array_equal, state, state_of({5: 0.3, 9: 0.4}[kept], width=5000)))
        checkpoints.save(9, state_of(0.4, width=5000))  # as the run comes by once more
        checkpoints.save(18, state)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(state_of(0.0, width=5000))[0] == 18
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_sound_checkpoint_the_stage_begins_once_more(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(9, state_of(0.4, width=5000))
    damage_data(tmp_path / "checkpoints")
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        with pytest.raises(UserError, match=r"checkpoints/9 is damaged .*: remove .* once more"):
            checkpoints.at(9, state_of(0.0, width=5000))
        with pytest.warns(UserWarning, match="is damaged"):
            assert checkpoints.restore(fresh := state_of(0.0, width=5000)) == (0, fresh)
    gc.collect()


def test_a_state_that_is_not_finite_is_not_kept(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(5, state_of(1.0))
        with pytest.raises(NotFinite, match="must be finite, got other parameters at step 6"):
            checkpoints.save(6, state_of(np.nan))
        assert checkpoints.last.endswith("checkpoints/5")


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(FileExistsError):
        Checkpoints(tmp_path / "checkpoints")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path, small_disk):
    folder = small_disk / "checkpoints"
    refused = pytest.raises(UserError, match=r"cannot write checkpoints to .*, with [0-9.]+ MB free")
    with refused, Checkpoints(folder) as checkpoints:
        checkpoints.save(5, state_of(0.3, width=5000))
        checkpoints.save(9, noise(100_000))
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(state_of(0.0, width=5000))[0] == 5
    gc.collect()
