"""What depends on the kind of device, in one value: chosen once, from the mesh, and handed to all that is traced."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jax.sharding import Mesh


@dataclass(frozen=True)
class Platform:
    """How to compute on one kind of device. Results differ only by rounding.

    The defaults are right on every device: see `PORTABLE`.

    Attributes:
        cudnn_attention: cuDNN's fused attention kernel may be used.
        longest_formed: in tokens; in longer rows, attention goes by blocks of rows. In shorter ones, forming its matrix
            takes less time and hardly more memory.
        cpu_layouts: operands are laid out as XLA's CPU compiler needs them, see `cpu_layout`. On other devices that
            only costs time.
        exact_in_parts: exact products of bfloat16 arrays are computed as one or two products in bfloat16, which such
            a device multiplies several times as fast, not as one in float32.
        tokens_at_once: where no gradient is taken, so many tokens go through a network at a time, and attention goes
            text by text: what is computed stays in the processor's cache. 0: all at once. Only where a batch is not
            split over devices, of which all but one would wait.
        split_over: the mesh over whose devices the parameters are split; None where each device has them all.
        compiler_options: of the training step.
    """

    cudnn_attention: bool = False
    longest_formed: int = 256
    cpu_layouts: bool = True
    exact_in_parts: bool = False
    tokens_at_once: int = 0
    split_over: Mesh | None = None
    compiler_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, mesh: Mesh) -> "Platform":
        """What suits a mesh's devices, which are all of one kind; they need not be attached."""
        return _BY_KIND.get(mesh.devices.flat[0].platform, PORTABLE)

    @classmethod
    def for_inference(cls, mesh: Mesh) -> "Platform":
        """What suits them where no gradient is taken. Training, and what it learns from, stays with `of`."""
        platform = cls.of(mesh)
        if platform != CPU or mesh.size > 1:
            return platform
        # On two cores of an AMD EPYC of the third generation, of 256 to 1,024 tokens at once these are the fastest.
        return replace(platform, tokens_at_once=512, cpu_layouts=False)


PORTABLE = Platform()  # for a network that was not told where it runs
CPU = Platform(
    # The compiler otherwise orders operations for parallelism, and computes much of the backward pass, as that of the
    # Gram loss, long before it is needed: on two cores a quarter more memory, to save 2% of the time.
    compiler_options={"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
)
GPU = Platform(
    cudnn_attention=True,
    longest_formed=512,
    cpu_layouts=False,
    exact_in_parts=True,
    # The compiler otherwise makes one product of those for queries, keys and values, whose result is written in float32
    # for other kernels to add the biases to; three products of their own add them and round at once.
    compiler_options={"xla_gpu_dot_merger_threshold_mb": 0},
)
TPU = Platform(cpu_layouts=False, exact_in_parts=True)

_BY_KIND = {"cpu": CPU, "gpu": GPU, "cuda": GPU, "tpu": TPU}
