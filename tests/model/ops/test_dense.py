import re

import jax
import jax.numpy as jnp
import numpy as np

from tinybert_jax.model.ops.dense import Dense


def test_no_product_of_a_bfloat16_layer_is_computed_in_float32():
    layer = Dense(48, "bfloat16", jax.nn.initializers.normal(0.02))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 32)), jnp.bfloat16)
    params = layer.init(jax.random.key(0), x)
    gradient = jax.grad(lambda params, x: layer.apply(params, x).sum().astype(jnp.float32), argnums=(0, 1))
    lowered = jax.jit(gradient).lower(params, x).as_text()
    types = re.findall(r"stablehlo\.dot_general .* : (\(.*\) -> .*)", lowered)
    assert len(types) == 2  # of x and of the kernel; the sum's own gradient needs no product
    assert all(re.fullmatch(r"\(tensor<\S+xbf16>, tensor<\S+xbf16>\) -> tensor<\S+xf32>", type_) for type_ in types)
