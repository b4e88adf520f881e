// Tokens of a text, each with the characters that it was made of, which the tokenizers library does not tell.

// Characters are normalised one by one to know where each went; that is how BERT's normaliser works, too.
function normalised(normalizer, text) {
  let made = "", at = 0, last = -1; // `last`: the last that is no space
  const begins = [], ends = [];
  for (const character of text) {
    const next = at + character.length;
    const units = normalizer ? normalizer(character) : character;
    for (const unit of units.split("")) {
      if (unit !== " ") last = made.length;
      made += unit;
      begins.push(at);
      ends.push(next);
    }
    // What is removed, an accent say, belongs to the letter before it.
    if (!units && last >= 0 && ends[last] === at) ends[last] = next;
    at = next;
  }
  return { made, begins, ends };
}

/**
 * Tokenises a text with a WordPiece tokenizer.
 * @param {Tokenizer} tokenizer of @huggingface/tokenizers
 * @param {string} text
 * @returns {{id: number, begin: number, end: number}[]} text.slice(begin, end) is what a token stands for
 */
export function tokenise({ normalizer, pre_tokenizer, model }, text) {
  const { made, begins, ends } = normalised(normalizer, text);
  const tokens = [];
  let at = 0;
  for (const word of pre_tokenizer(made)) {
    at = made.indexOf(word, at);
    const pieces = model([word]);
    const isUnknown = pieces.length === 1 && pieces[0] === model.unk_token;
    pieces.forEach((piece, i) => {
      const length = isUnknown ? word.length : piece.length - (i && model.config.continuing_subword_prefix.length);
      tokens.push({ id: model.tokens_to_ids.get(piece), begin: begins[at], end: ends[at + length - 1] });
      at += length;
    });
  }
  return tokens;
}
