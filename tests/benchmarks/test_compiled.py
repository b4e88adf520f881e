import importlib.util

import pytest

from benchmarks import compiled
from benchmarks.common import Shape
from benchmarks.hlo import Kernel
from tinybert_jax.errors import UserError

PLUGIN = any(map(importlib.util.find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin")))
ARGS = compiled.Args(Shape(2, 1, hidden=128, heads=2, intermediate=128, batch=2, length=128))


@pytest.mark.skipif(not PLUGIN, reason="jax's CUDA plugin is not installed: it takes gigabytes")
def test_the_step_compiles_for_a_gpu_that_is_not_there(capsys):
    compiled.main(ARGS)
    printed = capsys.readouterr().out
    assert "| __cudnn$fmha" in printed  # the teacher's attention
    assert "| Gram loss |" in printed


@pytest.mark.skipif(PLUGIN, reason="jax's CUDA plugin is installed")
def test_without_the_plugin_it_says_so():
    with pytest.raises(UserError, match=r"has no CUDA plugin: pip install 'jax\[cuda12\]'"):
        compiled.main(ARGS)


def test_groups_add_up_and_the_slowest_comes_first():
    products, copies = compiled.PEAK * 1e-3, int(compiled.BANDWIDTH * 1e-3)  # a millisecond each
    kernels = [
        Kernel("copy", "jit(step)/drop/copy", launches=2, bytes=copies, flops=0),
        Kernel("gemm", "jit(step)/layer/0/intermediate/dense", launches=5, bytes=8, flops=products),
        Kernel("copy", "jit(step)/optimizer", launches=1, bytes=copies, flops=0),
    ]
    lines = compiled.grouped(kernels, "kind", lambda one: one.kind).splitlines()[2:]
    assert lines == [
        "| gemm | 5.00 | 5 | 0.00 | 3.99 |",
        "| copy | 3.00 | 3 | 9.00 | 0.00 |",
        "| all | 8.00 | 8 | 9.00 | 3.99 |",
    ]
    assert [compiled.part_of(one) for one in kernels] == ["LayerNorm, dropout, residuals", "feed-forward", "other"]
