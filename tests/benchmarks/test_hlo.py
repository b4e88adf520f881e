import pytest

from benchmarks.hlo import find_collectives, find_kernels, sort_traffic

HLO = """
HloModule jit_step, is_scheduled=true

%scaled (p.0: f32[4,8], p.1: f32[100,8], p.2: s32[]) -> f32[4,8] {
  %p.0 = f32[4,8]{1,0} parameter(0)
  %p.1 = f32[100,8]{1,0} parameter(1)
  %p.2 = s32[] parameter(2)
  %slice.1 = f32[4,8]{1,0} dynamic-slice(%p.1, %p.2, %p.2), dynamic_slice_sizes={4,8}
  ROOT %add.1 = f32[4,8]{1,0} add(%p.0, %slice.1)
}

%product (p.3: bf16[4,8], p.4: bf16[6,8]) -> f32[4,6] {
  %p.3 = bf16[4,8]{1,0} parameter(0)
  %p.4 = bf16[6,8]{1,0} parameter(1)
  ROOT %dot.1 = f32[4,6]{1,0} dot(%p.3, %p.4), lhs_contracting_dims={1}, rhs_contracting_dims={1}
}

%body (t.0: (f32[4,8], s32[])) -> (f32[4,8], s32[]) {
  %t.0 = (f32[4,8]{1,0}, s32[]) parameter(0)
  %x.0 = f32[4,8]{1,0} get-tuple-element(%t.0), index=0
  %copy.1 = f32[4,8]{0,1} copy(%x.0), metadata={op_name="jit(step)/attention/self/copy"}
  ROOT %tuple.1 = (f32[4,8]{1,0}, /*index=1*/s32[]) tuple(%copy.1, %t.0)
}

ENTRY %main (a: f32[4,8], b: f32[100,8]) -> f32[4,6] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[100,8]{1,0} parameter(1)
  %i = s32[] constant(0)
  %q = bf16[2,4,3,8]{3,2,1,0} constant({...})
  %fusion.1 = f32[4,8]{1,0} fusion(%a, %b, %i), kind=kLoop, calls=%scaled, metadata={op_name="jit(step)/drop/add"}
  %fusion.2 = f32[4,6]{1,0} fusion(%q, %q), kind=kCustom, calls=%product, backend_config={"kind":"__triton_gemm"}
  %while.1 = (f32[4,8]{1,0}, s32[]) while(%a), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %flash.1 = (bf16[2,3,4,8]{3,2,1,0}, u8[0]{0}) custom-call(%q, %q, %q), custom_call_target="__cudnn$fmhaSoftmax"
}
"""


COLLECTIVES = """
ENTRY %main (a: f32[4]) -> f32[4] {
  %g = (f32[2,4]{1,0}, f32[4,4]{1,0}) all-gather-start(%x), channel_id=1
  %h = f32[4,4]{1,0} all-gather-done(%g)
  %r = (f32[8]{0}, bf16[3,2]{1,0:T(8,128)}, /*index=5*/pred[]) all-reduce-start(%a, %b, %c), to_apply=%add
  %p = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%q), metadata={op_name="jit(f)/x"}
}
"""


@pytest.fixture
def kernels():
    return find_kernels(HLO)


def test_each_kernel_counts_what_it_moves_and_multiplies(kernels):
    fused, product, looped, flash = kernels
    assert (fused.kind, fused.source, fused.flops) == ("kLoop", "jit(step)/drop/add", 0)
    assert fused.bytes == 128 + 128 + 4 + 128  # of the table its slice alone
    assert (product.kind, product.bytes, product.flops) == ("__triton_gemm", 64 + 96 + 96, 2 * 4 * 6 * 8)
    assert (looped.kind, looped.launches, looped.bytes) == ("copy", 3, 256)
    assert (flash.kind, flash.bytes) == ("__cudnn$fmhaSoftmax", 4 * 384)
    assert flash.flops == 2 * 2 * (2 * 3 * 4 * 8 * 4)


def test_least_time_is_the_longer_of_products_and_bytes(kernels):
    _, product, looped, _ = kernels
    assert product.seconds(peak=384, bandwidth=1e9) == 1
    assert product.seconds(peak=1e9, bandwidth=128) == 2
    assert looped.seconds(peak=1, bandwidth=256) == 3


def test_a_collective_is_read_off_in_either_form():
    found = find_collectives(COLLECTIVES)
    assert [(one.kind, one.bytes) for one in found] == [
        ("all-gather", 64),
        ("all-reduce", 32 + 12 + 1),
        ("collective-permute", 16),
    ]
    traffic = sort_traffic(found, [32, 32, 16])
    assert [traffic[name] for name in ("gradient_bytes", "gradient_collectives", "scalars", "largest")] == [
        32,
        1,
        1,
        64,
    ]
    assert traffic["kinds"] == {"all-gather": 1, "all-reduce": 1, "collective-permute": 1}
    assert [other["type"] for other in traffic["others"]] == ["f32[4,4]", "bf16[3,2]", "f32[4]"]
    assert traffic["others"][-1]["source"] == "jit(f)/x"
