// The page: loads a model and shows what it answers. ?model=FOLDER&file=NAME.onnx in its address choose which.

import { answer, load } from "./answerer.js";

const element = (id) => document.getElementById(id);
const say = (text) => { element("status").textContent = text; };
const { model: folder = "model", file } = Object.fromEntries(new URLSearchParams(location.search));

function show(passage, { text, start, end, probability }, milliseconds) {
  element("answer").textContent = text || "(no answer)";
  say(`probability ${probability.toFixed(2)}, ${Math.round(milliseconds)} ms`);
  const mark = document.createElement("mark");
  mark.textContent = text;
  element("place").replaceChildren(passage.slice(0, start), ...(text ? [mark] : []), passage.slice(end));
}

try {
  const model = await load(folder, file);
  say("Ready.");
  element("ask").disabled = false;
  element("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const [question, passage] = [element("question").value, element("passage").value];
    element("ask").disabled = true; // one at a time
    try {
      const began = performance.now();
      show(passage, await answer(model, question, passage), performance.now() - began);
    } catch (error) {
      say(`This cannot be answered: ${error.message}`);
    }
    element("ask").disabled = false;
  });
} catch (error) {
  say(`The model cannot be loaded: ${error.message}`);
}
