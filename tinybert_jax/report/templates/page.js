"use strict";
const PAGE = 20;
const KINDS = ["first", "second"];
const element = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

// Text from the data enters the page through here alone, as text.
function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

async function unpack() {
  const bytes = Uint8Array.from(atob(element("packed").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { questions, contexts } = await new Response(stream).json();
  return questions.map(([id, context, question, word, golds, answers]) => ({
    id, question, word,
    context: contexts[context],
    golds: golds.map(([text, start]) => ({ text, start })),
    answers: answers.map(([text, start, exact, f1, probability]) => ({ text, start, right: exact === 1, f1, probability })),
  }));
}

const outcomes = (two) => [
  ["All", () => true],
  ["Wrong", ({ answers: [own] }) => !own.right],
  ["Answered, though it has no answer", ({ answers: [own], golds }) => own.text && !golds.length],
  ["“No answer”, though it has one", ({ answers: [own], golds }) => !own.text && golds.length],
  ...(two ? [
    ["Lost it: only the other is right", ({ answers: [own, other] }) => !own.right && other.right],
    ["Gained it: only this model is right", ({ answers: [own, other] }) => own.right && !other.right],
    ["Both wrong", ({ answers: [own, other] }) => !own.right && !other.right],
    ["Different answers", ({ answers: [own, other] }) => own.text !== other.text],
  ] : []),
];

// A context cut where an answer begins or ends; each piece is marked with all that it is part of.
function marked(context, spans) {
  const ends = new Set([0, context.length, ...spans.flatMap(({ start, end }) => [start, end])]);
  const cuts = [...ends].sort((a, b) => a - b);
  return cuts.slice(1).map((end, i) => {
    const kinds = spans.filter((span) => span.start <= cuts[i] && end <= span.end).map(({ kind }) => kind);
    const text = context.slice(cuts[i], end);
    return kinds.length ? make("mark", [...new Set(kinds)].join(" "), text) : text;
  });
}

function shownAnswer({ text, right, f1, probability }) {
  const sure = probability === null ? "" : `, probability ${probability}%`;
  const verdict = right ? make("span", "right", "✓ right") : make("span", "wrong", `✗ F1 ${f1}`);
  return make("dd", "", text || make("span", "none", "no answer"), " ", verdict, make("small", "", sure));
}

function card({ id, question, context, golds, answers }, names) {
  const list = make("dl", "", make("dt", "", "gold"));
  const texts = [...new Set(golds.map(({ text }) => text))];
  list.append(make("dd", "", texts.length ? texts.join(" | ") : make("span", "none", "no answer")));
  answers.forEach((answer, i) => list.append(make("dt", "", names[i]), shownAnswer(answer)));
  const spans = [...golds.map((gold) => ["gold", gold]), ...answers.map((answer, i) => [KINDS[i], answer])]
    .filter(([, { start }]) => start >= 0)
    .map(([kind, { text, start }]) => ({ kind, start, end: start + text.length }));
  const passage = make("p", "context", ...marked(context, spans));
  passage.tabIndex = 0; // so that keys can scroll a long one
  passage.setAttribute("role", "group");
  passage.setAttribute("aria-label", "Context");
  return make("li", "", make("h3", "", question), list, passage, make("p", "id", id));
}

function sorted(questions, order) {
  const sureness = ({ answers: [{ probability }] }) => (order === "sure" ? -probability : probability);
  return order ? [...questions].sort((a, b) => sureness(a) - sureness(b)) : questions;
}

async function main() {
  const names = JSON.parse(element("packed").dataset.labels);
  const questions = await unpack();
  const filters = outcomes(names.length === 2);
  for (const one of questions) {
    const texts = [one.id, one.question, one.context, ...one.answers.map(({ text }) => text), ...one.golds.map(({ text }) => text)];
    one.searched = texts.join("\n").toLowerCase();
  }
  let page = 0, found = questions;

  filters.forEach(([label, matches], i) => {
    const radio = make("input");
    Object.assign(radio, { type: "radio", name: "outcome", value: i, checked: i === 0 });
    const count = number(questions.filter(matches).length);
    element("outcomes").append(make("label", "", radio, make("span", "", `${label} (${count})`)));
  });
  for (const word of [...new Set(questions.map(({ word }) => word))].sort()) {
    element("word").append(new Option(word, word));
  }
  if (!questions.some(({ answers: [{ probability }] }) => probability !== null)) element("order").parentElement.hidden = true;

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    element("list").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((one) => card(one, names)));
    element("count").textContent = `${number(found.length)} of ${number(questions.length)} questions`;
    element("page").textContent = `page ${number(page + 1)} of ${number(pages)}`;
    element("previous").disabled = page === 0;
    element("next").disabled = page + 1 === pages;
    element("pages").hidden = pages === 1;
  }
  function filter() {
    const [, matches] = filters[element("filters").elements.outcome.value];
    const text = element("search").value.trim().toLowerCase(), word = element("word").value;
    const kept = questions.filter((one) => matches(one) && (!word || one.word === word) && one.searched.includes(text));
    found = sorted(kept, element("order").value);
    page = 0;
    show();
  }
  function turn(step) {
    page += step;
    show();
    element("count").scrollIntoView();
  }
  element("filters").addEventListener("input", filter);
  element("filters").addEventListener("submit", (event) => event.preventDefault());
  element("previous").addEventListener("click", () => turn(-1));
  element("next").addEventListener("click", () => turn(1));
  for (const id of ["filters", "marks"]) element(id).hidden = false;
  filter();
}

main().catch((error) => { element("count").textContent = `The questions cannot be shown by this browser: ${error}`; });
