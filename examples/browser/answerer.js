// Answers questions as `tinybert ask` does, with the files that `tinybert export --to onnx --int8` writes.

import { Tokenizer } from "@huggingface/tokenizers";
import { env, InferenceSession, Tensor } from "onnxruntime-web";
import { tokenise } from "./tokens.js";

env.wasm.numThreads = 1; // several need headers that a plain static server does not send

const N_BEST = 20; // spans that probabilities are shared among
const DEFAULTS = {
  windows: { max_seq_len: 384, doc_stride: 128, stride_means: "overlap", max_question_len: 64 },
  max_answer_len: 30, null_threshold: 0, temperature: 1, trained_on_unanswerable: null, tuned_on: null,
};

/**
 * Loads a model.
 * @param {string} folder the export's address
 * @param {string} file the network in it
 */
export async function load(folder, file = "onnx/model_int8.onnx") {
  const read = async (name) => {
    const response = await fetch(`${folder}/${name}`);
    if (!response.ok) throw new Error(`${folder}/${name}: ${response.status} ${response.statusText}`);
    return response.json();
  };
  const [pipeline, options, config, own] = await Promise.all([
    read("tokenizer.json"), read("tokenizer_config.json"), read("config.json"),
    read("question_answering.json").catch(() => ({})), // a model need not have settings of its own
  ]);
  if (pipeline.model.type !== "WordPiece") {
    throw new Error(`this page reads BERT's tokenizers, WordPiece, and the model's is ${pipeline.model.type}`);
  }
  const session = await InferenceSession.create(`${folder}/${file}`, { executionProviders: ["wasm"] });
  const tokenizer = new Tokenizer(pipeline, options);
  const special = (name) => tokenizer.token_to_id(options[name].content ?? options[name]);
  const ids = { cls: special("cls_token"), sep: special("sep_token"), pad: special("pad_token") };
  return { session, tokenizer, ids, settings: { ...DEFAULTS, ...own, windows: fitted(own.windows, config) } };
}

// Windows no longer than the model's position table.
function fitted(own, { max_position_embeddings: positions }) {
  const windows = { ...DEFAULTS.windows, ...own };
  if (windows.max_seq_len <= positions) return windows;
  const stride = Math.floor((windows.doc_stride * positions) / windows.max_seq_len);
  return { ...windows, max_seq_len: positions, doc_stride: stride };
}

/**
 * Answers a question about a passage.
 * @returns {Promise<{text: string, start: number, end: number, probability: number}>} passage.slice(start, end) is the
 *   text, which is empty where there is no answer
 */
export async function answer({ session, tokenizer, ids, settings }, question, passage) {
  const asked = tokenise(tokenizer, question).slice(0, settings.windows.max_question_len);
  const windows = cut(tokenise(tokenizer, passage), asked, settings.windows);
  const logits = await run(session, ids, asked, windows, settings.windows.max_seq_len);
  const nulls = logits.map(({ start, end }) => Math.fround(start[0] + end[0]));
  const spans = bestSpans(windows, logits, asked.length + 2, settings.max_answer_len);
  return choose(spans, Math.min(...nulls), passage, settings);
}

// The passage's tokens in windows that overlap.
function cut(tokens, asked, { max_seq_len, doc_stride, stride_means }) {
  const room = max_seq_len - asked.length - 3;
  const step = stride_means === "overlap" ? room - doc_stride : doc_stride;
  if (tokens.length <= room) return [tokens];
  if (step < 1 || step > room) throw new Error("the question is too long for the passage's windows");
  const count = 1 + Math.ceil((tokens.length - room) / step);
  return Array.from({ length: count }, (_, i) => tokens.slice(i * step, i * step + room));
}

// Start and end logits of each window's tokens.
async function run(session, { cls, sep, pad }, asked, windows, longest) {
  const rows = windows.map((window) => [cls, ...asked.map(({ id }) => id), sep, ...window.map(({ id }) => id), sep]);
  // Padded as `tinybert ask` pads: in eight bits, padding has a part in how all else is rounded.
  const length = Math.min(longest, 8 * Math.ceil(Math.max(...rows.map((row) => row.length)) / 8));
  const tensor = (value) => {
    const numbers = rows.flatMap((row) => Array.from({ length }, (_, i) => BigInt(value(row, i))));
    return new Tensor("int64", BigInt64Array.from(numbers), [rows.length, length]);
  };
  const given = {
    input_ids: tensor((row, i) => row[i] ?? pad),
    attention_mask: tensor((row, i) => i < row.length),
    token_type_ids: tensor((row, i) => i < row.length && i >= asked.length + 2),
  };
  const { start_logits, end_logits } = await session.run(given);
  const part = ({ data }, i) => data.subarray(i * length, (i + 1) * length);
  return rows.map((_, i) => ({ start: part(start_logits, i), end: part(end_logits, i) }));
}

// The best spans, best first, each place once: windows overlap.
function bestSpans(windows, logits, first, longest) {
  const found = new Map();
  windows.forEach((tokens, w) => tokens.forEach(({ begin }, i) => {
    tokens.slice(i, i + longest).forEach(({ end }, j) => {
      const score = Math.fround(logits[w].start[first + i] + logits[w].end[first + i + j]);
      const place = `${begin} ${end}`;
      if (begin < end && !(found.get(place)?.score >= score)) found.set(place, { begin, end, score });
    });
  }));
  const order = (a, b) => b.score - a.score || a.begin - b.begin || a.end - b.end;
  return [...found.values()].sort(order).slice(0, N_BEST);
}

// The best span or "no answer", and its part in a softmax over them all.
function choose(spans, nullScore, passage, settings) {
  const { null_threshold, temperature, trained_on_unanswerable, tuned_on } = settings;
  const mayBeNone = trained_on_unanswerable !== false || tuned_on !== null || !spans.length;
  const options = [...spans.map(({ score }) => score), ...(mayBeNone ? [nullScore] : [])];
  const highest = Math.max(...options);
  const weight = (score) => Math.exp((score - highest) / temperature);
  const probability = (score) => weight(score) / options.reduce((sum, option) => sum + weight(option), 0);
  if (mayBeNone && (!spans.length || nullScore - spans[0].score > null_threshold)) {
    return { text: "", start: 0, end: 0, probability: probability(nullScore) };
  }
  const [{ begin, end, score }] = spans;
  return { text: passage.slice(begin, end), start: begin, end, probability: probability(score) };
}
