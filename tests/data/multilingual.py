"""Sentences in many scripts, and little SentencePiece-like tokenizers of them."""

import json

import numpy as np

from tinybert_jax.data import load_tokenizer

SENTENCES = [
    "The old bridge was built in 1523 – by nobody's order, they say…",
    "Der Fluß fließt über Görlitz, süß und müde; „ach“, rief er.",
    "L'été dernier, à Besançon, le café coûtait 3,50\u00a0€ — déjà trop cher !",
    "En Ávila nació la niña que soñaba con pingüinos. ¿Verdad?",
    "Ngày xưa, ở Việt Nam, có một người đàn ông rất nghèo.",
    "Zażółć gęślą jaźń, powiedział Łukasz do Świętosława.",
    "İstanbul'da ılık bir akşamdı; çocuklar şarkı söylüyordu.",
    "Старый мост через реку Иртыш построили в 1888 году. Ё-моё!",
    "Ο παλιός μύλος στην Κέρκυρα χτίστηκε το 1821, λένε οι γέροι.",
    "בשנת 1948 נבנה הגשר הישן, שָׁלוֹם לכולם.",
    "بُنِيَ الجسرُ القديمُ في عام ١٩٢٣، وشكرًا جزيلًا لكم.",
    "پل قدیمی در سال ۱۳۰۲ ساخته شد و می\u200cگویند زیباست.",
    "पुराना पुल १९२३ में बना था, ऐसा लोग कहते हैं।",
    "পুরনো সেতুটি ১৯২৩ সালে তৈরি হয়েছিল।",
    "பழைய பாலம் 1923 இல் கட்டப்பட்டது.",
    "สะพานเก่าสร้างขึ้นในปี พ.ศ. ๒๔๖๖ โดยช่างฝีมือท้องถิ่น",
    "古い橋は一九二三年に建てられました。ガラスの靴、﹁終わり﹂。",
    "这座古桥建于1923年,由当地工匠修建。「真的吗?」",
    "옛 다리는 1923년에 지어졌다고 한다. 정말요?",
    "ძველი ხიდი 1923 წელს აშენდა.",
    "Հին կամուրջը կառուցվել է 1923 թվականին։",
    "የድሮው ድልድይ በ1923 ተሠራ።",
    "👍🏽 ok ❤\ufe0f family 👨\u200d👩\u200d👧 flag 🇫🇷 done 🎉",
    "ﬁne eﬀort ² ½ ㌔ ① ﷺ Ｆｕｌｌ　ｗｉｄｔｈ ǆ",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m e\u0301\u0323te\u0301 x\u0304",
    "tab\there  two  spaces\nnew line\u3000wide\u2003em \u200eleft\u200f \u00adsoft",
]


def texts(count, seed=0):
    """`count` texts of one to four sentences, joined by various spaces, some of them decomposed."""
    import unicodedata

    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        chosen = rng.choice(SENTENCES, rng.integers(1, 5)).tolist()
        text = str(rng.choice([" ", "  ", "\n", "\u3000", " \u200b"])).join(chosen)
        made.append(unicodedata.normalize(str(rng.choice(["NFC", "NFD"])), text) if rng.random() < 0.4 else text)
    return made


def write_unigram(folder, layout="xlm-roberta", cls=("<s>", "<pad>", "</s>", "<unk>"), vocabulary=600):
    """A tokenizer.json such as XLM-RoBERTa's, with NFKC and a rule for spaces in place of SentencePiece's own tables.

    Args:
        folder: created.
        layout: "xlm-roberta", which splits at spaces first, or "metaspace", whose pieces hold them, as in older files.
        cls: the first tokens of the vocabulary.
        vocabulary: how many pieces.
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from tokenizers.trainers import UnigramTrainer

    backend = Tokenizer(Unigram())
    replaced = [(r"[\s\u200b]", " "), (" {2,}", " "), ("[\u200e\u200f\u00ad]", "")]
    steps = [normalizers.Replace(Regex(pattern), by) for pattern, by in replaced]
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), *steps])
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    backend.pre_tokenizer = split if layout == "xlm-roberta" else metaspace
    trainer = UnigramTrainer(
        vocab_size=vocabulary, special_tokens=[*cls, "<mask>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(SENTENCES * 3, trainer)
    pair = "<s> $A </s> </s> $B </s>"
    special = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair=pair, special_tokens=special)
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    names = {"cls": "<s>", "bos": "<s>", "sep": "</s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    options = {"tokenizer_class": "PreTrainedTokenizerFast"} | {f"{name}_token": token for name, token in names.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return load_tokenizer(folder)
