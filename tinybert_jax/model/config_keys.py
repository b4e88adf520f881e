"""Keys of transformers' `config.json` beyond those of `BertConfig`: which matter, and which do not."""

from typing import Any

# These would make another network of it; each with the one value that leaves it as it is.
PLAIN: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "auto_map": {},  # code of the checkpoint's own
    "quantization_config": {},
}

_OF_THE_FILE = """
_attn_implementation _name_or_path architectures attn_implementation chunk_size_feed_forward dtype
gradient_checkpointing language model_max_length name tokenizer_class torch_dtype torchscript transformers_version
use_bfloat16 use_cache
"""
_OF_TOKENS = """
bos_token_id cls_token_id decoder_start_token_id eos_token_id mask_token_id sep_token_id unk_token_id
"""
# `tie_word_embeddings` matters only to the masked-LM head, whose tensors are checked when it is loaded.
_OF_HEADS_AND_OUTPUTS = """
classifier_dropout cross_attention_hidden_size directionality finetuning_task id2label label2id num_labels
output_attentions output_hidden_states output_past pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
pooler_size_per_head pooler_type problem_type qa_dropout return_dict seq_classif_dropout summary_activation
summary_last_dropout summary_type summary_use_proj task_specific_params tf_legacy_loss tie_encoder_decoder
tie_word_embeddings tie_weights_ use_return_dict
"""
_OF_GENERATION = """
bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size
exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length min_length
no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores prefix remove_invalid_values
repetition_penalty return_dict_in_generate suppress_tokens temperature top_k top_p typical_p
"""
_OF_A_FRESH_MODEL = "sinusoidal_pos_embds"  # how DistilBERT's positions begin; they are stored all the same
_OF_HUAWEIS_RELEASES = "cell emb_size pre_trained structure training"

WITHOUT_EFFECT = frozenset(
    " ".join(
        (_OF_THE_FILE, _OF_TOKENS, _OF_HEADS_AND_OUTPUTS, _OF_GENERATION, _OF_A_FRESH_MODEL, _OF_HUAWEIS_RELEASES)
    ).split()
)
