"""`tests/run/test_cluster.py` has processes that share a cache; here they come one by one."""

import pytest

from tests.store.one_by_one import contents, made_by
from tinybert_jax.store.cache import Entry, entries
from tinybert_jax.store.shares import fill_together, split

BLOCKS = 7
KEY = "ab" * 32


class Filling:
    """An entry of seven blocks, each a file of its own and a part of one that grows.

    Attributes:
        made: the blocks that were made, in any process.
        stop: the block at which a process ends.
    """

    def __init__(self, cache):
        self.entry, self.made, self.stop = Entry(cache, "logits", KEY), [], None

    def __call__(self):
        return fill_together(self.entry, BLOCKS, self.make)

    def make(self, entry, blocks):
        for block in blocks:
            if f"{block}.arrow" in entry.parts:
                continue
            if block == self.stop:
                raise KeyboardInterrupt
            entry.append("-grows", b"%d" % block * (block + 1))
            with entry.adding() as scratch:
                (scratch / f"{block}.arrow").write_bytes(b"block %d" % block)
            self.made.append(block)

    def share(self, number, count):
        return split(self.entry, BLOCKS, count)[number][0]


@pytest.fixture
def fill(tmp_path):
    return Filling(tmp_path / "cache")


@pytest.fixture
def alone(tmp_path):
    """What one process makes."""
    fill = Filling(tmp_path / "alone")
    folder = fill()
    assert fill.made == [*range(BLOCKS)]
    return contents(folder)


def test_every_process_has_a_share_of_the_blocks(fill):
    def shares(blocks, processes):
        return [share for _, share in split(fill.entry, blocks, processes)]

    assert shares(7, 3) == [range(2), range(2, 4), range(4, 7)]
    assert shares(2, 5) == [range(1), range(1, 2)]
    assert shares(0, 5) == [range(0)]
    assert len({fill.share(number, count).key for count in (2, 3) for number in range(count)} | {KEY}) == 6


@pytest.mark.parametrize("count", [2, 3, 9])
def test_joined_they_are_what_one_process_makes(fill, alone, tmp_path, count):
    folder = made_by(count, fill)
    assert contents(folder) == alone
    assert sorted(fill.made) == [*range(BLOCKS)]  # each block once, in one process
    assert [entry.path for entry in entries(tmp_path / "cache")] == [folder]
    assert made_by(count, fill) == fill() == folder  # whatever number of processes asks
    assert len(fill.made) == BLOCKS


@pytest.mark.parametrize(("damage", "again"), [("a byte", [5]), ("gone", [4, 5, 6])])
def test_a_damaged_share_is_made_again_by_the_first_process(fill, alone, damage, again, recwarn):
    def spoil():
        fill.made.clear()
        if damage == "gone":
            fill.share(2, 3).remove()
        else:
            (fill.share(2, 3).path / "5.arrow").write_bytes(b"block 6")

    joined = contents(made_by(3, fill, spoil))
    assert fill.made == again
    assert [str(said.message).partition(" in the ")[2] for said in recwarn] == (
        [] if damage == "gone" else ["cache is damaged (5.arrow): it is made again"]
    )
    assert {name: joined[name] for name in joined if name.endswith(".arrow")} == {
        name: alone[name] for name in alone if name.endswith(".arrow")
    }


def test_a_killed_process_continues_its_share(fill, alone):
    fill.stop = 5
    with pytest.raises(KeyboardInterrupt):
        made_by(2, fill)
    fill.stop = None
    assert contents(made_by(2, fill)) == alone
    assert fill.made == [3, 4, 5, 6, 0, 1, 2]


def test_what_an_only_process_has_begun_the_first_one_ends(fill, alone):
    fill.stop = 5
    with pytest.raises(KeyboardInterrupt):
        fill()
    fill.stop = None
    assert contents(made_by(3, fill)) == alone
    assert sorted(fill.made) == [*range(BLOCKS)]


def test_what_is_made_inside_is_not_shared(tmp_path):
    inner = Filling(tmp_path / "inner")
    made = []

    def make(entry, blocks):
        inner()
        made.extend(blocks)
        entry.append("whole", b"of one block")

    made_by(3, lambda: fill_together(Entry(tmp_path / "outer", "augmented", KEY), 1, make))
    assert (made, inner.made) == ([0], [*range(BLOCKS)])
