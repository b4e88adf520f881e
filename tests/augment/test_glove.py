import gzip
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from tinybert_jax.augment import glove as glove_module
from tinybert_jax.augment.glove import Glove, load_glove, nearest_words
from tinybert_jax.errors import UserError

TEXT = "the 3 4 0\ncat 0 0.5 0\ndog 0 -2e0 0\nnil 0 0 0\n"
WORDS = ["the", "cat", "dog", "nil"]
VECTORS = np.array([[0.6, 0.8, 0], [0, 1, 0], [0, -1, 0], [0, 0, 0]], np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several chunks, and several blocks each way, of few vectors."""
    monkeypatch.setattr(glove_module, "_LINES", 4)
    monkeypatch.setattr(glove_module, "_QUERIES", 4)
    monkeypatch.setattr(glove_module, "_ROWS", 16)


@pytest.fixture
def load(tmp_path):
    """`load(text)`: what is read from a file of that content."""

    def load(content, name="vectors.txt", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_glove(path, tmp_path / "cache", **options)

    return load


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def assert_read(glove, words=WORDS, vectors=VECTORS):
    assert glove.words == words
    assert isinstance(glove.vectors, np.memmap)
    assert glove.vectors.dtype == np.float32
    np.testing.assert_allclose(glove.vectors, vectors, rtol=1e-7)


def error_of(load, *args, **options):
    with pytest.raises(UserError) as caught:
        load(*args, **options)
    return str(caught.value)


# Reading


def test_plain_gzip_and_zip_are_read_alike(load, tmp_path):
    assert_read(load(TEXT))
    assert_read(load(gzip.compress(TEXT.encode()), "vectors.txt.gz"))
    assert_read(load(gzip.compress(TEXT.encode()), "misnamed.txt"))
    members = {"small.txt": "a 1\n", "folder/large.txt": TEXT, "larger.csv": TEXT * 2}
    content = zipped(tmp_path / "made.zip", members)
    assert_read(load(content, "vectors.zip"))
    assert_read(load(content, "misnamed.txt"))


@pytest.mark.parametrize(
    "text",
    [
        "4 3\n" + TEXT,
        TEXT.removesuffix("\n"),
        TEXT.replace("\n", "\r\n"),
        "4 3 \n" + TEXT.replace("\n", " \n"),  # as word2vec and fastText end their lines
    ],
    ids=["header", "no last line feed", "carriage returns", "trailing spaces"],
)
def test_other_layouts(load, text):
    assert_read(load(text))


def test_a_header_before_a_single_word(load):
    assert_read(load("1 3\ncat 0 1 0\n"), ["cat"], VECTORS[1:2])


def test_numbers_are_words_too(load):
    assert_read(load("1 0 1 0\n2 0 -1 0\n"), ["1", "2"], VECTORS[1:3])


def test_words_hold_spaces_and_other_separators(load):
    words = [". . .", "a", "at name@domain.com", "1\xa01/2", "x\u2028y", "x\x85\x0b\ry", "", "é", "\U0001f600"]
    glove = load("".join(f"{word} 0 1 0\n" for word in words))
    assert_read(glove, words, VECTORS[[1] * len(words)])
    assert list(nearest_words(glove, [". . .", "1\xa01/2", ". ."], 2, anything)) == [". . .", "1\xa01/2"]


def test_lengths_of_any_magnitude(load):
    glove = load("a 3e38 3e38\nb 3e-38 -3e-38\nc 0 -1e-44\n")
    np.testing.assert_allclose(glove.vectors, [[0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)], [0, -1]], rtol=1e-6)


@pytest.mark.parametrize("header", ["", "4 3\n"])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_limit(load, header, limit):
    assert_read(load(header + TEXT, limit=limit), WORDS[:limit], VECTORS[:limit])


def test_lines_behind_the_limit_are_not_read(load):
    assert_read(load(TEXT + "broken\n", limit=4))


# The cache


def damage(content):
    return [content[:-1], content[:-5], content[: len(content) // 2], content[:3], b"", b"\xff" * len(content)]


@pytest.fixture
def forbid_reading(monkeypatch):
    def read(path):
        raise AssertionError("the text was read again")

    return lambda: monkeypatch.setattr(glove_module, "_chunks", read)


def test_the_second_time_the_cache_is_read(load, tmp_path, forbid_reading):
    load(TEXT)
    load_glove(tmp_path / "vectors.txt", tmp_path / "cache", limit=2)
    forbid_reading()
    assert_read(load_glove(str(tmp_path / "vectors.txt"), tmp_path / "cache"))
    assert_read(load_glove(tmp_path / "vectors.txt", tmp_path / "cache", limit=2), WORDS[:2], VECTORS[:2])


def test_a_file_is_known_by_its_resolved_path(load, tmp_path, forbid_reading):
    load(TEXT)
    (tmp_path / "link").symlink_to(tmp_path / "vectors.txt")
    forbid_reading()
    assert_read(load_glove(tmp_path / "link", tmp_path / "cache"))


@pytest.mark.parametrize("name", ["vectors.npy", "words.txt"])
def test_a_damaged_cache_is_written_again(load, tmp_path, name):
    load(TEXT)
    (file,) = (tmp_path / "cache" / "glove").glob(f"*/{name}")
    whole = file.read_bytes()
    for content in damage(whole):
        file.write_bytes(content)
        with pytest.warns(UserWarning, match=rf"damaged \({name}\): it is made again"):
            assert_read(load_glove(tmp_path / "vectors.txt", tmp_path / "cache"))
        assert file.read_bytes() == whole
    file.unlink()
    with pytest.warns(UserWarning, match=rf"damaged \({name}\): it is made again"):
        assert_read(load_glove(tmp_path / "vectors.txt", tmp_path / "cache"))


@pytest.mark.parametrize("vectors", [VECTORS[:3], VECTORS.astype(np.float64), VECTORS[0], np.float32(1)], ids=np.shape)
def test_a_cache_of_another_shape_is_written_again(load, tmp_path, vectors):
    load(TEXT)
    (file,) = (tmp_path / "cache" / "glove").glob("*/vectors.npy")
    np.save(file, vectors)
    with pytest.warns(UserWarning, match=r"damaged \(vectors\.npy\): it is made again"):
        assert_read(load_glove(tmp_path / "vectors.txt", tmp_path / "cache"))


def test_a_changed_file_is_read(load, tmp_path):
    load(TEXT)
    changed = TEXT.replace("cat", "cow")  # of the same size
    path = tmp_path / "vectors.txt"
    before = path.stat()
    path.write_text(changed)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert load_glove(path, tmp_path / "cache").words == ["the", "cow", "dog", "nil"]


def test_a_failure_leaves_nothing_behind(load, tmp_path):
    error_of(load, TEXT + "broken\n")
    assert list((tmp_path / "cache" / "glove").iterdir()) == []


# Errors


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("b 1 2", "got b'b 1 2' (2 numbers)"),
        ("b", "got b'b' (0 numbers)"),
        ("", "got b'' (0 numbers)"),
        ("b 1 2 3 4", "got b'b 1 2 3 4' (4 numbers)"),
        ("b 1.5e-3 2 3 4", "got b'b 1.5e-3 2 3 4' (4 numbers)"),
        ("b 1 two 3", "got b'b 1 two 3' (could not convert string to float: b'two')"),
        ("b 1  3", "got b'b 1  3' (could not convert string to float: b'')"),
        ("b 1 nan 3", "got b'b 1 nan 3' (not all are finite)"),
        ("b 1 2 -inf", "got b'b 1 2 -inf' (not all are finite)"),
        ("b 1e39 2 3", "got b'b 1e39 2 3' (not all are finite)"),
        (
            b"b\xff 1 2 3",
            "got b'b\\xff 1 2 3' ('utf-8' codec can't decode byte 0xff in position 1: invalid start byte)",
        ),
    ],
)
@pytest.mark.parametrize("before", [1, 2, 6])
@pytest.mark.parametrize("header", [b"", b"9 3\n"])
def test_a_wrong_line_is_named(load, tmp_path, header, before, line, got):
    line = line if isinstance(line, bytes) else line.encode()
    content = header + b"a 1 2 3\n" * before + line + b"\n" + b"c 1 2 3\n" * 2
    rule = "must hold a word in UTF-8 and, like most lines, 3 finite numbers"
    number = before + 1 + bool(header)
    expected = f"{tmp_path / 'vectors.txt'}, line {number} {rule}, {got}: correct or remove it"
    assert error_of(load, content) == expected


def test_a_first_line_that_is_short_is_the_wrong_one(load):
    assert "line 1 must" in error_of(load, "a 1 2\nb 1 2 3\nc 1 2 3\n")


def test_long_lines_are_not_printed_whole(load):
    assert len(error_of(load, "a 1 2 3\nb 1 2 3\n" + "x" * 10_000 + " 1 2 " + "y" * 10_000)) < 500


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.zip"])
def test_a_missing_file(tmp_path, name):
    message = error_of(load_glove, tmp_path / name, tmp_path)
    expected = f"{tmp_path / name}: No such file or directory: give their whole text, plain, .gz or .zip"
    assert message == f"cannot read the GloVe vectors {expected}"


def test_a_folder(tmp_path):
    assert "Is a directory: give their" in error_of(load_glove, tmp_path, tmp_path / "cache")


def test_not_a_zip(load, tmp_path):
    rule = "is named .zip but is not a zip file: download it again, or rename it"
    assert error_of(load, TEXT, "vectors.zip") == f"{tmp_path / 'vectors.zip'} {rule}"


@pytest.mark.parametrize(("members", "got"), [({"a.csv": TEXT, "b": ""}, "['a.csv', 'b']"), ({}, "[]")])
def test_a_zip_without_text(load, tmp_path, members, got):
    content = zipped(tmp_path / "made.zip", members)
    rule = f"must hold vectors as a .txt file, got {got}: give another"
    assert error_of(load, content, "vectors.zip") == f"{tmp_path / 'vectors.zip'} {rule}"


@pytest.mark.parametrize("kind", ["gz", "zip", "corrupt gz", "corrupt zip"])
def test_a_damaged_file(load, tmp_path, kind):
    text = "".join(f"word{i} {i} {i * i} {i % 7}\n" for i in range(2000))
    whole = zipped(tmp_path / "made.zip", {"a.txt": text}) if "zip" in kind else gzip.compress(text.encode())
    middle = len(whole) // 2
    content = whole[:middle]
    if kind.startswith("corrupt"):
        content += bytes(50) + whole[middle + 50 :]
    message = error_of(load, content, f"vectors.{kind.split()[-1]}")
    assert message.endswith("give their whole text, plain, .gz or .zip") or ", line " in message


def test_an_encrypted_zip(load, tmp_path):
    content = bytearray(zipped(tmp_path / "made.zip", {"a.txt": TEXT}))
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    assert "encrypted" in error_of(load, bytes(content), "vectors.zip")


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_an_empty_file(load, tmp_path, packed):
    expected = "must hold a word and its vector a line, got an empty file: download it again"
    assert error_of(load, packed(b"")) == f"{tmp_path / 'vectors.txt'} {expected}"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one(load, limit):
    assert error_of(load, TEXT, limit=limit) == f"limit must be at least 1 word, got {limit}"


# Neighbours


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def random_glove():
    """70 words: four blocks and a bit."""
    return Glove([f"w{i}" for i in range(70)], unit(np.random.default_rng(0).normal(size=(70, 5))))


def brute_force(glove, words, count, allowed):
    cosines = glove.vectors.astype(np.float64) @ glove.vectors.T
    np.fill_diagonal(cosines, -np.inf)
    cosines[:, [not allowed(word) for word in glove.words]] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")
    return {
        word: [glove.words[i] for i in order[row, :count] if cosines[row, i] > -np.inf]
        for word, row in ((word, glove.words.index(word)) for word in words)
    }


def anything(word):
    return True


def odd(word):
    return int(word[1:]) % 2 == 1


@pytest.mark.parametrize("allowed", [anything, odd])
@pytest.mark.parametrize("count", [7, 60])
def test_the_same_as_brute_force(random_glove, count, allowed):
    found = nearest_words(random_glove, random_glove.words, count, allowed)
    assert found == brute_force(random_glove, random_glove.words, count, allowed)
    assert list(found) == random_glove.words
    assert all(word not in found[word] for word in found)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 32, 33])
def test_any_number_of_rows(random_glove, size):
    glove = Glove(random_glove.words[:size], random_glove.vectors[:size])
    assert nearest_words(glove, glove.words, 7, anything) == brute_force(glove, glove.words, 7, anything)


def test_neighbours_do_not_depend_on_what_else_is_asked(random_glove):
    together = nearest_words(random_glove, random_glove.words, 7, anything)
    for word in ("w0", "w33", "w69"):
        assert nearest_words(random_glove, [word], 7, anything) == {word: together[word]}
    shuffled = nearest_words(random_glove, [*random_glove.words[::-1], "w3"], 7, anything)
    assert shuffled == together


def test_neighbours_by_hand(load):
    glove = load("king 4 3\nqueen 8 6.5\nman 3 4\nanti -4 -3\nside -3 4\n")
    found = nearest_words(glove, ["king", "side"], 4, anything)
    assert found == {"king": ["queen", "man", "side", "anti"], "side": ["man", "queen", "king", "anti"]}


def test_of_equal_cosines_the_lower_row_is_first():
    vectors = np.eye(3, dtype=np.float32)[np.arange(40) % 3]  # the same three over and over, in several blocks
    glove = Glove([str(i) for i in range(40)], vectors)
    found = nearest_words(glove, ["0", "21"], 15, anything)
    assert found["0"] == [*(str(i) for i in range(3, 40, 3)), "1", "2"]
    assert found["21"] == [*(str(i) for i in range(0, 40, 3) if i != 21), "1", "2"]


def test_unknown_and_zero_words_have_no_neighbours(load):
    glove = load(TEXT)
    assert nearest_words(glove, ["unheard", "nil", "cat", "Cat"], 5, anything) == {"cat": ["the", "dog"]}
    assert nearest_words(glove, ["unheard"], 5, anything) == {}
    assert nearest_words(glove, [], 5, anything) == {}


def test_fewer_than_count(random_glove):
    few = {"w1", "w20", "w69"}.__contains__
    found = nearest_words(random_glove, ["w5", "w20"], 7, few)
    assert sorted(found["w5"]) == ["w1", "w20", "w69"]
    assert sorted(found["w20"]) == ["w1", "w69"]
    assert nearest_words(random_glove, ["w5"], 7, "w5".__eq__) == {"w5": []}


def test_of_a_word_that_repeats_the_first_row_counts(load):
    glove = load("a 1 0\nb 0 1\na 0 1\nb 1 0\nc 1 0.1\n")
    assert nearest_words(glove, ["a", "b"], 5, anything) == {"a": ["c", "b"], "b": ["c", "a"]}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_line_without_an_end_is_never_held(load, tmp_path, pack):
    (tmp_path / "vectors.txt").write_bytes(pack(b"0" * 20_000_000))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"line 1 must hold a word .* got b'0+' \(0 numbers\)"):
        load_glove(tmp_path / "vectors.txt", tmp_path / "cache")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10_000_000
