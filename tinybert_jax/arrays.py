"""What signatures call an array.

Shapes are jaxtyping's, `Float[AnyArray, "B T D"]`, checked when the tests run and not otherwise. Letters: B batch,
T query or token, S key, N heads, H head width, D hidden, V vocabulary.
"""

import numpy as np
from jax import Array

AnyArray = Array | np.ndarray  # of JAX or of numpy: parameters are numpy's when they have been loaded
