from benchmarks.hlo import find_collectives, sort_traffic

COLLECTIVES = """
ENTRY %main (a: f32[4]) -> f32[4] {
  %g = f32[4,4]{1,0} all-gather(%x), channel_id=1
  %h = f32[4,4]{1,0} copy(%g)
  %r = (f32[8]{0}, bf16[3,2]{1,0:T(8,128)}, /*index=5*/pred[]) all-reduce(%a, %b, %c), to_apply=%add
  ROOT %p = f32[4]{0} collective-permute(%q), source_target_pairs={{0,1}}, metadata={op_name="jit(f)/x"}
}
"""


def test_collectives_are_read_off_and_sorted():
    found = find_collectives(COLLECTIVES)
    assert [(one.kind, [array.bytes for array in one.arrays]) for one in found] == [
        ("all-gather", [64]),
        ("all-reduce", [32, 12, 1]),
        ("collective-permute", [16]),
    ]
    traffic = sort_traffic(found, [32, 32, 16])
    assert [traffic[name] for name in ("gradient_bytes", "gradient_collectives", "scalars")] == [32, 1, 1]
    assert traffic["kinds"] == {"all-gather": 1, "all-reduce": 1, "collective-permute": 1}
    assert [other["type"] for other in traffic["others"]] == ["f32[4,4]", "bf16[3,2]", "f32[4]"]
    assert traffic["others"][-1]["source"] == "jit(f)/x"
