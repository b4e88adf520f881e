import json
import pickle
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from tinybert_jax.errors import UserError
from tinybert_jax.model import BertForMaskedLM, BertForQuestionAnswering, forward, init_params
from tinybert_jax.model.pretrained import MissingHeadWarning, load_config, load_pretrained, save_pretrained
from tinybert_jax.store.files import write_json

HEADS = {"question-answering": BertForQuestionAnswering, "masked-lm": BertForMaskedLM}


def as_theirs(params):
    """Parameters under PyTorch's names and in its layout."""
    last = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
    return {
        ".".join((*path[:-1], last[path[-1]])): np.ascontiguousarray(leaf.T if path[-1] == "kernel" else leaf)
        for path, leaf in flatten_dict(params).items()
    }


def write_model(folder, config, tensors, **extra):
    folder.mkdir()
    write_json(folder / "config.json", config.to_transformers() | extra)
    save_file(tensors, folder / "model.safetensors")
    return folder


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def mlm_params(config, random_params):
    return random_params(BertForMaskedLM(config), seed=2)


# --- the table of names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_the_table_is_a_bijection(tmp_path, config, params, mlm_params, head):
    tree = params if head == "question-answering" else mlm_params
    theirs = as_theirs(tree)
    assert len(theirs) == len(jax.tree.leaves(tree))
    _, read = load_pretrained(write_model(tmp_path / "theirs", config, theirs), head=head)
    assert_same(read, tree)
    assert {leaf.dtype for leaf in jax.tree.leaves(read)} == {np.dtype(np.float32)}
    save_pretrained(tmp_path / "ours", config, read)
    from safetensors.numpy import load_file

    written = load_file(tmp_path / "ours" / "model.safetensors")
    assert written.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(written[name], tensor, name)


@pytest.mark.parametrize("head", HEADS)
def test_the_names_are_those_of_transformers(config, head):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    with torch.device("meta"):
        model = getattr(transformers, HEADS[head].__name__)(transformers.BertConfig(**config.to_transformers()))
    tied_or_derived = ("cls.predictions.decoder.", "bert.embeddings.position_ids", "bert.pooler.")
    theirs = {n: tuple(t.shape) for n, t in model.state_dict().items() if not n.startswith(tied_or_derived)}
    shapes = jax.eval_shape(lambda key: init_params(HEADS[head](config), key), jax.random.key(0))
    ours = as_theirs(jax.tree.map(lambda leaf: np.empty(leaf.shape), shapes))
    assert {name: tensor.shape for name, tensor in ours.items()} == theirs


# --- every layout ----------------------------------------------------------------------------------------------------


def write_safetensors(folder, params):
    save_file(as_theirs(params), folder / "model.safetensors")


def write_shards(folder, params):
    tensors = as_theirs(params)
    where = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(where.values()):
        save_file({name: tensors[name] for name in tensors if where[name] == shard}, folder / shard)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})


def write_msgpack(folder, params):
    (folder / "flax_model.msgpack").write_bytes(msgpack_serialize(params))


def write_torch(folder, params):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(tensor) for name, tensor in as_theirs(params).items()}
    torch.save(tensors, folder / "pytorch_model.bin")


def write_torch_shards(folder, params):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(tensor) for name, tensor in as_theirs(params).items()}
    where = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(tensors)}
    for shard in set(where.values()):
        torch.save({name: tensors[name] for name in tensors if where[name] == shard}, folder / shard)
    write_json(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": where})


def write_parameters_of_a_trainer(folder, params):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.nn.Parameter(torch.tensor(tensor)) for name, tensor in as_theirs(params).items()}
    torch.save({"epoch": 3, "state_dict": tensors}, folder / "pytorch_model.bin")


def write_orbax(folder, params):
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "params.orbax", params)


LAYOUTS = [
    write_safetensors,
    write_shards,
    write_msgpack,
    write_torch,
    write_torch_shards,
    write_parameters_of_a_trainer,
    write_orbax,
]


@pytest.mark.parametrize("write", LAYOUTS)
def test_every_layout_is_read(tmp_path, config, params, write):
    write_json(tmp_path / "config.json", config.to_transformers())
    write(tmp_path, params)
    read_config, read = load_pretrained(tmp_path)
    assert read_config == config
    assert_same(read, params)


def test_a_flax_encoder_saved_alone_is_read(tmp_path, config, params):
    write_json(tmp_path / "config.json", config.to_transformers())
    pooler = {"dense": {"kernel": np.ones((16, 16), np.float32), "bias": np.ones(16, np.float32)}}
    write_msgpack(tmp_path, {**params["bert"], "pooler": pooler})
    with pytest.warns(MissingHeadWarning):
        assert_same(load_pretrained(tmp_path)[1]["bert"], params["bert"])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("layout", ["safetensors", "msgpack", "torch"])
def test_half_precision_is_widened(tmp_path, config, params, dtype, layout):
    half = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    write_json(tmp_path / "config.json", config.to_transformers() | {"dtype": np.dtype(dtype).name})
    if layout == "torch":
        torch = pytest.importorskip("torch")
        kind = getattr(torch, np.dtype(dtype).name)
        tensors = {name: torch.tensor(tensor).to(kind) for name, tensor in as_theirs(params).items()}
        torch.save(tensors, tmp_path / "pytorch_model.bin")
    else:
        {"safetensors": write_safetensors, "msgpack": write_msgpack}[layout](tmp_path, half)
    read_config, read = load_pretrained(tmp_path)
    assert read_config.dtype == "float32"
    assert_same(read, jax.tree.map(lambda leaf: leaf.astype(np.float32), half))


# --- quirks of released checkpoints ----------------------------------------------------------------------------------


def huawei(params):
    """The tensors of a TinyBERT release: old LayerNorm names, other heads, distillation's projections, a buffer."""

    def old(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    width = params["bert"]["embeddings"]["LayerNorm"]["bias"].shape[0]
    square, vector = np.ones((width, width), np.float32), np.ones(width, np.float32)
    tensors = {old(name): tensor for name, tensor in as_theirs({"bert": params["bert"]}).items()}
    for module in ("bert.pooler.dense", "fit_denses.0", "fit_denses.1", "fit_denses.2", "fit_dense"):
        tensors |= {f"{module}.weight": square, f"{module}.bias": vector}
    return tensors | {
        "cls.predictions.bias": vector,
        "cls.predictions.transform.dense.weight": square,
        "cls.predictions.transform.LayerNorm.gamma": vector,
        "cls.predictions.decoder.weight": square,
        "cls.seq_relationship.weight": square,
        "cls.seq_relationship.bias": vector,
        "bert.embeddings.position_ids": np.arange(16)[None],
    }


def test_a_huawei_release_is_read(tmp_path, config, params):
    write_model(tmp_path / "m", config, huawei(params), cell={}, emb_size=16, pre_trained="", training="")
    content = json.loads((tmp_path / "m" / "config.json").read_text())
    del content["model_type"], content["architectures"]
    write_json(tmp_path / "m" / "config.json", content)
    with pytest.warns(MissingHeadWarning, match=r"qa_outputs\.bias, qa_outputs\.kernel start at random"):
        read_config, read = load_pretrained(tmp_path / "m")
    assert read_config == config
    assert_same(read["bert"], params["bert"])


def test_an_encoder_without_prefix_is_read(tmp_path, config, params):
    tensors = as_theirs(params["bert"]) | {"embeddings.position_ids": np.arange(16)[None]}
    tensors |= {"pooler.dense.weight": np.ones((16, 16), np.float32), "pooler.dense.bias": np.ones(16, np.float32)}
    with pytest.warns(MissingHeadWarning):
        _, read = load_pretrained(write_model(tmp_path / "m", config, tensors))
    assert_same(read["bert"], params["bert"])


def test_each_head_is_read_from_a_file_that_holds_both(tmp_path, config, params, mlm_params):
    tensors = as_theirs(mlm_params | {"qa_outputs": params["qa_outputs"]})
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].copy()
    folder = write_model(tmp_path / "m", config, tensors)
    assert_same(load_pretrained(folder, head="masked-lm")[1], mlm_params)
    assert_same(load_pretrained(folder)[1]["qa_outputs"], params["qa_outputs"])


@pytest.mark.parametrize("head", HEADS)
def test_a_missing_head_is_drawn_from_the_seed(tmp_path, config, params, head):
    folder = write_model(tmp_path / "m", config, as_theirs({"bert": params["bert"]}))

    def fresh(seed):
        with pytest.warns(MissingHeadWarning, match=f"has no {head} head.*seed {seed}"):
            return load_pretrained(folder, head=head, seed=seed)[1]

    first, other = fresh(0), fresh(1)
    assert_same(first, fresh(0))
    kernel = {"question-answering": "qa_outputs.kernel", "masked-lm": "cls.predictions.transform.dense.kernel"}[head]
    first, other = (flatten_dict(tree, sep=".") for tree in (first, other))
    assert np.abs(first[kernel] - other[kernel]).max() > 0.01
    assert 0 < np.std(first[kernel]) < 0.05  # normal(0.02)


def test_a_fresh_head_is_made_only_for_an_encoder_that_fits(tmp_path, config, params):
    tensors = as_theirs({"bert": params["bert"]})
    folder = write_model(tmp_path / "m", config, tensors, hidden_size=2**30, num_attention_heads=1)
    with pytest.raises(UserError, match=r"LayerNorm\.bias: config\.json says \(1073741824,\), the tensor is"):
        load_pretrained(folder)


def test_names_of_data_parallel_are_read_and_said(tmp_path, config, params):
    tensors = {f"module.{name}": tensor for name, tensor in as_theirs(params).items()}
    with pytest.warns(UserWarning, match="names begin with 'module.': read without it"):
        assert_same(load_pretrained(write_model(tmp_path / "m", config, tensors))[1], params)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_stored_segments_and_positions_are_no_parameters(tmp_path, config, params, prefix):
    tensors = {name.replace("bert.", prefix): tensor for name, tensor in as_theirs(params).items()}
    tensors |= {f"{prefix}embeddings.{name}": np.arange(16)[None] for name in ("token_type_ids", "position_ids")}
    assert_same(load_pretrained(write_model(tmp_path / "m", config, tensors))[1], params)


def test_an_output_layer_that_is_a_copy_is_read(tmp_path, config, mlm_params):
    tensors = as_theirs(mlm_params)
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
    folder = write_model(tmp_path / "m", config, tensors, tie_word_embeddings=False)
    assert_same(load_pretrained(folder, head="masked-lm")[1], mlm_params)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_every_difference_is_reported_at_once(tmp_path, config, params):
    tensors = as_theirs(params)
    del tensors["bert.encoder.layer.1.attention.self.key.bias"]
    del tensors["qa_outputs.bias"]
    tensors["bert.embeddings.word_embeddings.weight"] = np.ones((41, 16), np.float32)
    tensors["bert.encoder.layer.2.output.dense.bias"] = np.ones(16, np.float32)
    tensors["classification_head"] = np.ones(3, np.float32)
    with pytest.raises(UserError) as error:
        load_pretrained(write_model(tmp_path / "m", config, tensors))
    head, *lines = str(error.value).splitlines()
    assert str(tmp_path / "m") in head
    assert lines == [
        "  unexpected  bert.encoder.layer.2.output.dense.bias, shape (16,)",
        "  unexpected  classification_head, shape (3,)",
        "  missing     bert.encoder.layer.1.attention.self.key.bias, shape (16,)",
        "  missing     qa_outputs.bias, shape (2,)",
        "  misshapen   bert.embeddings.word_embeddings.embedding: config.json says (40, 16), the tensor is (41, 16)",
    ]


def test_a_tensor_under_two_names_is_refused(tmp_path, config, params):
    tensors = as_theirs(params)
    tensors["bert.embeddings.LayerNorm.gamma"] = tensors["bert.embeddings.LayerNorm.weight"].copy()
    with pytest.raises(UserError, match=r"bert\.embeddings\.LayerNorm\.scale twice"):
        load_pretrained(write_model(tmp_path / "m", config, tensors))


@pytest.mark.parametrize("leaf", ["weight", "bias", "kernel"])
def test_a_masked_lm_with_an_output_layer_of_its_own_is_refused(tmp_path, config, params, mlm_params, leaf):
    tensors = as_theirs(mlm_params | {"qa_outputs": params["qa_outputs"]})
    words = tensors["bert.embeddings.word_embeddings.weight"]
    own = {
        "weight": words + 1,
        "bias": tensors["cls.predictions.bias"] + 1,
        "kernel": np.ascontiguousarray(words.T) + 1,
    }
    tensors[f"cls.predictions.decoder.{leaf}"] = own[leaf]
    folder = write_model(tmp_path / "m", config, tensors, tie_word_embeddings=False)
    with pytest.raises(UserError, match=rf"cls\.predictions\.decoder\.{leaf} must equal .*, got other numbers"):
        load_pretrained(folder, head="masked-lm")
    assert_same(load_pretrained(folder)[1], params | {"bert": mlm_params["bert"]})  # which has no such layer


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, config, params, bad):
    """An attention kernel may make plain numbers of them, so that neither scores nor losses would tell."""
    name = "bert.encoder.layer.1.attention.self.query.weight"
    tensors = as_theirs(params)
    tensors[name] = tensors[name].copy()
    tensors[name][3, 2] = bad
    folder = write_model(tmp_path / "m", config, tensors)
    with pytest.raises(UserError, match=rf"{name} must hold finite numbers, got {bad} among its 256"):
        load_pretrained(folder)
    with pytest.warns(UserWarning, match=rf"^{name} holds 1 numbers that are not finite among its 256$") as said:
        _, read = load_pretrained(folder, allow_non_finite=True)
    assert len(said) == 1
    places = [(*path, *np.argwhere(~np.isfinite(leaf)).tolist()) for path, leaf in flatten_dict(read).items()]
    assert [place for place in places if isinstance(place[-1], list)] == [
        ("bert", "encoder", "layer", "1", "attention", "self", "query", "kernel", [2, 3])  # transposed
    ]


def test_a_tied_head_that_is_not_finite_is_allowed_as_well(tmp_path, config, mlm_params):
    tensors = as_theirs(mlm_params)
    words = tensors["bert.embeddings.word_embeddings.weight"].copy()
    words[5, 0] = np.nan
    tensors |= {"bert.embeddings.word_embeddings.weight": words, "cls.predictions.decoder.weight": words.copy()}
    with pytest.warns(UserWarning, match=r"word_embeddings\.weight holds 1 numbers"):
        _, read = load_pretrained(write_model(tmp_path / "m", config, tensors), head="masked-lm", allow_non_finite=True)
    np.testing.assert_array_equal(read["bert"]["embeddings"]["word_embeddings"]["embedding"], words)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_, ml_dtypes.float8_e4m3fn])
def test_quantised_weights_are_refused_by_name(tmp_path, config, params, dtype):
    leaves = flatten_dict(params)
    path = ("bert", "encoder", "layer", "1", "output", "dense", "kernel")
    leaves[path] = leaves[path].astype(dtype)
    write_json(tmp_path / "config.json", config.to_transformers())
    if np.dtype(dtype) == ml_dtypes.float8_e4m3fn:
        write_orbax(tmp_path, unflatten_dict(leaves))
    else:
        write_safetensors(tmp_path, unflatten_dict(leaves))
    with pytest.raises(
        UserError, match=rf"layer\.1\.output\.dense\.\w+ must hold .*, got {np.dtype(dtype).name}: quant"
    ):
        load_pretrained(tmp_path)


def test_what_torch_quantised_is_refused_by_name(tmp_path, config, params):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.tensor(tensor) for name, tensor in as_theirs(params).items()}
    tensors["qa_outputs.weight"] = torch.tensor(as_theirs(params)["qa_outputs.weight"]).to(torch.int8)
    write_json(tmp_path / "config.json", config.to_transformers())
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"qa_outputs\.weight must hold .*, got int8"):
        load_pretrained(tmp_path)


def test_what_is_no_tensor_is_named(tmp_path, config, params):
    torch = pytest.importorskip("torch")
    write_json(tmp_path / "config.json", config.to_transformers())
    torch.save({"epoch": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin must hold only tensors, got 'epoch', a int"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/model.safetensors", "..", "sub\\model.safetensors"])
@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_a_shard_elsewhere_is_refused(tmp_path, config, params, shard, index):
    (tmp_path / "m").mkdir()
    write_safetensors(tmp_path, params)
    write_json(tmp_path / "m" / "config.json", config.to_transformers())
    write_json(tmp_path / "m" / index, {"weight_map": {"qa_outputs.bias": shard}})
    with pytest.raises(UserError, match="must name its shards as files beside it, got "):
        load_pretrained(tmp_path / "m")


def test_a_shard_that_the_hubs_cache_links_to_is_read(tmp_path, config, params):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0f"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    write_shards(blobs, params)
    write_json(snapshot / "config.json", config.to_transformers())
    for path in blobs.glob("model*"):
        (snapshot / path.name).symlink_to(path)
    assert_same(load_pretrained(snapshot)[1], params)


def test_a_shard_that_links_out_of_the_folder_is_refused(tmp_path, config, params):
    (tmp_path / "m").mkdir()
    write_json(tmp_path / "m" / "config.json", config.to_transformers())
    write_shards(tmp_path / "m", params)
    shard = sorted((tmp_path / "m").glob("model-*"))[0]
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"{shard} must be a file of its folder, got a link to .*/elsewhere"):
        load_pretrained(tmp_path / "m")


@pytest.mark.parametrize("name", ["model.safetensors", "model-00002-of-00002.safetensors"])
def test_a_git_lfs_pointer_is_named(tmp_path, config, params, name):
    write_json(tmp_path / "config.json", config.to_transformers())
    write_shards(tmp_path, params)
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(UserError, match=rf"{name} is a Git LFS pointer, not the file: run `git lfs pull`"):
        load_pretrained(tmp_path)


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_malicious_pickle_is_not_executed(tmp_path, config):
    pytest.importorskip("torch")
    write_json(tmp_path / "config.json", config.to_transformers())
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"bert.x": Malicious(tmp_path / "executed")}))
    with pytest.raises(UserError, match=r"cannot read the weights in .*pytorch_model\.bin"):
        load_pretrained(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_a_truncated_file_is_named(tmp_path, config, params):
    folder = write_model(tmp_path / "m", config, as_theirs(params))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cannot read the weights in .*m/model\.safetensors"):
        load_pretrained(folder)


def test_a_truncated_shard_is_named(tmp_path, config, params):
    write_json(tmp_path / "config.json", config.to_transformers())
    write_shards(tmp_path, params)
    path = tmp_path / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cannot read the weights in .*model-00002-of-00002\.safetensors"):
        load_pretrained(tmp_path)


def test_a_missing_shard_is_named(tmp_path, config, params):
    write_json(tmp_path / "config.json", config.to_transformers())
    write_shards(tmp_path, params)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"not there: .*model-00002-of-00002\.safetensors"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("flax_model.msgpack", b"\x81\xa4bert"),
        ("flax_model.msgpack", b"\x01"),
        ("model.safetensors.index.json", b'{"weights": {}}'),
        ("model.safetensors.index.json", b"[]"),
        ("pytorch_model.bin", b"not a pickle"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, config, name, content):
    if name == "pytorch_model.bin":
        pytest.importorskip("torch")
    write_json(tmp_path / "config.json", config.to_transformers())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"cannot read the weights in .*{name}"):
        load_pretrained(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path, config):
    write_json(tmp_path / "config.json", config.to_transformers())
    with pytest.raises(UserError, match=r"holds no weights: one of model\.safetensors, .* is needed$"):
        load_pretrained(tmp_path)
    (tmp_path / "tf_model.h5").touch()
    with pytest.raises(UserError, match=r"is needed; tf_model\.h5 is TensorFlow's: save it in PyTorch first"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*config.json: No such file"),
        ("{", "config.json is not valid JSON"),
        ("[]", "config.json must hold a JSON object, got list"),
        ('{"model_type": "gpt2"}', "config.json: model_type must be one of bert, roberta, "),
        ('{"hidden_size": "wide"}', "config.json: hidden_size must be a whole number, got 'wide'"),
        ('{"num_hidden_layers": 2.0}', "config.json: num_hidden_layers must be a whole number, got 2.0"),
        ('{"layer_norm_eps": "1e-12"}', "config.json: layer_norm_eps must be a finite number, got '1e-12'"),
        ('{"layer_norm_eps": NaN}', "config.json: layer_norm_eps must be a finite number, got nan"),
        ('{"num_hidden_layers": 1000000000}', "config.json: num_hidden_layers must be at most 1000, got 1000000000"),
        ('{"vocab_size": 1000000000000}', "config.json: vocab_size must be at most 2147483647, got 1000000000000"),
        ('{"is_decoder": true}', "config.json: is_decoder must be false, got True"),
    ],
)
def test_a_bad_config_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load_config(tmp_path)


def test_a_key_that_nobody_knows_is_named(tmp_path, config):
    write_json(tmp_path / "config.json", config.to_transformers() | {"alibi": True})
    with pytest.warns(UserWarning, match=r"config\.json has keys that are unknown here, and passed over: alibi$"):
        assert load_config(tmp_path) == config


# --- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_round_trip_is_bit_exact(tmp_path, config, params, mlm_params, head):
    tree = params if head == "question-answering" else mlm_params
    save_pretrained(tmp_path / "m", config, jax.tree.map(jax.numpy.asarray, tree))
    read_config, read = load_pretrained(tmp_path / "m", head=head)
    assert read_config == config
    assert_same(read, tree)


@pytest.mark.parametrize("head", HEADS)
def test_transformers_loads_what_was_saved(tmp_path, config, params, mlm_params, batch, head):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tree = params if head == "question-answering" else mlm_params
    save_pretrained(tmp_path / "m", config, tree)
    auto = {"question-answering": "AutoModelForQuestionAnswering", "masked-lm": "AutoModelForMaskedLM"}[head]
    model, info = getattr(transformers, auto).from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        outputs = model(
            input_ids=torch.tensor(batch.input_ids),
            token_type_ids=torch.tensor(batch.token_type_ids),
            attention_mask=torch.tensor(batch.attention_mask).long(),
        )
    theirs = (
        np.stack([outputs.start_logits, outputs.end_logits], -1) if head == "question-answering" else outputs.logits
    )
    ours = jax.jit(lambda tree: forward(HEADS[head](config), tree, batch).logits)(tree)
    real = batch.attention_mask
    np.testing.assert_allclose(np.asarray(ours)[real], np.asarray(theirs)[real], rtol=0, atol=2e-5)


class Files:
    """A tokenizer of a few files."""

    def __init__(self, **contents):
        self.contents = contents

    def save_pretrained(self, folder):
        for name, content in self.contents.items():
            (Path(folder) / f"{name}.json").write_text(content)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('{"b": "ü",  "a": 1}', {"b": "ü", "a": 1, "model_max_length": 16}),
        ('{"model_max_length": 512, "a": 1e30}', {"model_max_length": 16, "a": 1e30}),
        ('{"model_max_length": 1000000000000000019884624838656}', {"model_max_length": 16}),
        ('{"model_max_length": null}', {"model_max_length": 16}),
        ('{"model_max_length":   16}', None),
        ('{"model_max_length":   8, "a": 1}', None),
    ],
)
def test_a_tokenizer_s_length_is_at_most_the_position_table_s_and_all_else_stays(
    tmp_path, config, params, options, expected
):
    files = {"tokenizer_config": options, "tokenizer": '{"truncation":   null}'}
    save_pretrained(tmp_path / "m", config, params, Files(**files))
    stored = {name: (tmp_path / "m" / f"{name}.json").read_text(encoding="utf-8") for name in files}
    assert stored["tokenizer"] == files["tokenizer"]
    if expected is None:
        assert stored["tokenizer_config"] == options
    else:
        assert list(json.loads(stored["tokenizer_config"]).items()) == list(expected.items())


def test_a_tokenizer_without_options_gets_its_length(tmp_path, config, params):
    save_pretrained(tmp_path / "m", config, params, Files(tokenizer="{}"))
    assert json.loads((tmp_path / "m" / "tokenizer_config.json").read_text()) == {"model_max_length": 16}


def test_a_failed_save_leaves_the_old_folder_whole(tmp_path, config, params, monkeypatch):
    save_pretrained(tmp_path / "m", config, params)
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}

    def full_disk(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_pretrained(tmp_path / "m", config, jax.tree.map(np.zeros_like, params))
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_saving_replaces_the_whole_folder(tmp_path, config, params):
    save_pretrained(tmp_path / "m", config, params)
    (tmp_path / "m" / "vocab.txt").write_text("of another model")
    save_pretrained(tmp_path / "m", config, jax.tree.map(np.zeros_like, params))
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"config.json", "model.safetensors"}
    assert not any(leaf.any() for leaf in jax.tree.leaves(load_pretrained(tmp_path / "m")[1]))


def test_parameters_of_another_shape_are_not_saved(tmp_path, config, params):
    leaves = flatten_dict(params)
    leaves["qa_outputs", "kernel"] = np.zeros((16, 3), np.float32)
    del leaves["qa_outputs", "bias"]
    with pytest.raises(UserError, match=r"the given parameters(.|\n)*missing +qa_outputs\.bias(.|\n)*misshapen"):
        save_pretrained(tmp_path / "m", config, unflatten_dict(leaves))
    assert not (tmp_path / "m").exists()
