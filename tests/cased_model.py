"""A model folder with a cased tokenizer, as the hub has them."""

from tinybert_jax.model import save_pretrained

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Hello", "world", "##s"]


def write_cased_model(folder, config, params):
    save_pretrained(folder, config, params)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    return folder
