"""Teacher and student of different families, as their tokenizers may well be the same."""

from dataclasses import replace

import jax
import numpy as np

from tinybert_jax.distill import Intermediate, OptimizerConfig, create_state, make_optimizer, make_train_step
from tinybert_jax.model import BertForQuestionAnswering
from tinybert_jax.sharding import data_mesh, replicate, shard_batch


def test_a_bert_teaches_an_electra(config, params, batch, random_params):
    """Every part of the student's encoder learns, its embeddings' own projection included."""
    shape = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}
    student_config = replace(config, model_type="electra", embedding_size=12, **shape)
    student, teacher = BertForQuestionAnswering(student_config), BertForQuestionAnswering(config)
    objective = Intermediate()
    objective.check(student_config, config)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup=0.1), 20)
    step = make_train_step(student, teacher, objective, optimizer)
    before = random_params(student, seed=3)
    projection = objective.init_projection(jax.random.key(1), student_config, config)
    state = create_state(before, projection, optimizer, data_mesh())
    teacher_params, placed = replicate(params, data_mesh()), shard_batch(batch, data_mesh())
    losses = []
    for _ in range(20):
        state, metrics = step(state, teacher_params, placed, jax.random.key(7))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    changed = jax.tree.map(lambda one, other: not np.array_equal(one, other), before, state.params["model"])
    assert not any(jax.tree.leaves(changed["qa_outputs"]))
    untrained = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree.leaves_with_path(changed["bert"])
        if not leaf
    }
    assert untrained == set()
