import jax
import jax.numpy as jnp


def test_what_the_process_has_compiled_before_is_compiled_again(request):
    """Else a run computes other bits after other tests, and not those of the same run in a process of its own."""
    heard = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, _, **__: heard.append(event))

    def compiles():
        heard.clear()
        jax.random.normal(jax.random.key(0), (3,)) + jnp.ones(3)
        return "/jax/core/compile/backend_compile_duration" in heard

    compiles()
    assert not compiles()
    request.getfixturevalue("compiled_quickly")
    assert compiles()
    assert not compiles()
