// The page: a card a model, fed by the microphone or by a file.
"use strict";

const PAUSE = 100; // milliseconds between the beginnings of two passes, at least
const LIVE = 8; // seconds of speech that are written anew with each pass
const PIECE = 20; // seconds of a file that are written at once
const LONGEST = 30; // seconds of a file that are classified
const ALL = 16; // so many classes are all shown; of more, the likeliest
const LIKELIEST = 8;
const RECENT = 20; // passes of which the median is shown

const part = (id) => document.getElementById(id);
const page = { about: null, engine: null, cards: [], microphone: null, turn: 0 };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function say(text) {
  part("status").textContent = text;
}

const OVER = new Error("something else is heard by now");

function complain(error) {
  if (error === OVER) return;
  part("status").classList.add("fault");
  say(`That did not work: ${error?.message ?? error}.`);
}

function change(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function makeCard(about, index, pair) {
  const title = make("h2", { id: `model-${index}` }, about.name);
  // Two voices at once are none: what the first model says is read aloud.
  const best = make("p", { class: "best", ...(index === 0 ? { "aria-live": "polite" } : {}) });
  const unsure = make("span", { class: "unsure" });
  const sure = make("span", index === 0 ? { "aria-live": "polite" } : {});
  const text = make("p", { class: "text" }, sure, unsure);
  const bars = make("ol", { class: "bars" });
  const facts = ["size", "time", "factor"].map((name) => make("dd", { class: name }, "–"));
  facts[0].textContent = readable(about.bytes);
  const names = ["Size", "Time", "Real-time factor"];
  const list = make("dl", {}, ...names.flatMap((name, row) => [make("dt", {}, name), facts[row]]));
  const kind = page.about.gives === "classes" ? [best, bars] : [text];
  const role = pair ? [make("p", { class: "note" }, index === 0 ? "The exported model" : "The original")] : [];
  const whole = make("article", { "aria-labelledby": `model-${index}` }, title, ...role, ...kind, list);
  part("models").append(whole);
  return { about, index, best, bars, sure, unsure, time: facts[1], factor: facts[2], passes: [], said: [] };
}

function showClasses(card, probabilities) {
  const { labels } = card.about;
  const order = labels.map((_, label) => label).sort((a, b) => probabilities[b] - probabilities[a]);
  change(card.best, labels[order[0]]);
  const shown = labels.length <= ALL ? labels.map((_, label) => label) : order.slice(0, LIKELIEST);
  while (card.bars.children.length < shown.length) {
    const fill = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
    card.bars.append(make("li", {}, make("span", { class: "label" }), fill, make("span", { class: "share" })));
  }
  shown.forEach((label, row) => {
    const item = card.bars.children[row];
    item.dataset.label = labels[label];
    item.dataset.value = probabilities[label];
    item.classList.toggle("first", label === order[0]);
    change(item.children[0], labels[label]);
    item.children[1].firstChild.style.width = `${100 * probabilities[label]}%`;
    change(item.children[2], `${(100 * probabilities[label]).toFixed(1)} %`);
  });
}

function readPiece(card, found, start) {
  if (page.about.gives === "tokens") return spelled(found.best, card.about);
  return stretches(found.best, card.about.labels, start, found.seconds);
}

// What was said for good, and behind it what the next pass may change.
function showSaid(card, unsure) {
  if (page.about.gives === "tokens") {
    change(card.sure, card.said.filter(Boolean).join(" "));
    change(card.unsure, unsure ? ` ${unsure}` : "");
    return;
  }
  const chip = ({ label, start, end }) =>
    make("span", { class: "stretch", title: `${start.toFixed(2)}–${end.toFixed(2)} s` }, label, make("small", {}, start.toFixed(2)));
  card.sure.replaceChildren(...card.said.flat().map(chip));
  card.unsure.replaceChildren(...(unsure || []).map(chip));
}

function showTime(card, found) {
  card.passes.push(found);
  if (card.passes.length > RECENT) card.passes.shift();
  const factor = median(card.passes.map(({ milliseconds, seconds }) => milliseconds / 1000 / seconds));
  card.factor.dataset.value = factor;
  change(card.time, `${rounded(found.milliseconds)} ms for ${found.seconds.toFixed(2)} s`);
  const rate = factor < 1 ? `${rounded(1 / factor)} times faster than real time` : "slower than real time";
  change(card.factor, `${rounded(factor)} (${rate})`);
  const [ours, original] = page.cards;
  if (!original?.passes.length) return;
  const size = ours.about.bytes / original.about.bytes;
  const speed = original.factor.dataset.value / ours.factor.dataset.value;
  const text = `${(100 * size).toFixed(0)} % of the original's size, and ${rounded(speed)} times as fast in this browser.`;
  change(part("comparison"), text);
}

async function pass(card, audio, turn) {
  const found = await page.engine.run(card.index, audio);
  if (turn !== page.turn) throw OVER;
  showTime(card, found);
  return found;
}

function begin() {
  part("status").classList.remove("fault");
  for (const card of page.cards) {
    card.passes = [];
    card.said = [];
    if (page.about.gives !== "classes") showSaid(card);
  }
  return ++page.turn;
}

async function writePieces(audio, most, turn) {
  for (let start = 0; start < audio.length; ) {
    const rest = audio.subarray(start);
    const end = rest.length <= most * RATE ? rest.length : quietest(rest, most * RATE);
    for (const card of page.cards) {
      card.said.push(readPiece(card, await pass(card, rest.slice(0, end), turn), start / RATE));
      showSaid(card);
    }
    start += end;
  }
}

async function hearFile(file) {
  await stopMicrophone();
  const turn = begin();
  say(`Decoding ${file.name} …`);
  const audio = await decoded(await file.arrayBuffer());
  const player = part("player");
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
  if (turn !== page.turn) return;
  const most = page.about.seconds ?? (page.about.gives === "classes" ? LONGEST : PIECE);
  say(`Hearing ${file.name} …`);
  const seconds = audio.length / RATE;
  let cut = "";
  if (page.about.gives !== "classes") {
    await writePieces(audio, most, turn);
  } else {
    if (seconds > most) cut = `, of which the first ${most} s`;
    const first = audio.slice(0, most * RATE);
    for (const card of page.cards) showClasses(card, (await pass(card, first, turn)).probabilities);
  }
  say(`Heard ${file.name}: ${seconds.toFixed(2)} s${cut}.`);
}

async function listen(turn) {
  const microphone = page.microphone;
  let from = 0;
  while (page.turn === turn) {
    const begun = performance.now();
    const step = page.about.gives === "classes" ? classifyLive : writeLive;
    from = await step(microphone, turn, from);
    microphone.forget(from);
    await new Promise((done) => setTimeout(done, Math.max(10, PAUSE - (performance.now() - begun))));
  }
}

async function classifyLive(microphone, turn) {
  const length = page.about.seconds ?? Number(part("window").value);
  const from = Math.max(0, microphone.seconds - length);
  if (microphone.seconds >= length) {
    const audio = await microphone.from(from);
    for (const card of page.cards) showClasses(card, (await pass(card, audio, turn)).probabilities);
  }
  return Math.max(0, from - 8);
}

async function writeLive(microphone, turn, from) {
  const audio = await microphone.from(from);
  const most = Math.min(LIVE, page.about.seconds ?? LIVE) * RATE;
  if (audio.length < RATE / 4) return from;
  const end = audio.length > most ? quietest(audio, most) : audio.length;
  for (const card of page.cards) {
    const text = readPiece(card, await pass(card, audio.slice(0, end), turn), from);
    if (end < audio.length) card.said.push(text);
    showSaid(card, end < audio.length ? undefined : text);
  }
  return end < audio.length ? from + end / RATE : from;
}

async function startMicrophone() {
  say("Asking for the microphone …");
  const microphone = await openMicrophone((samples) => {
    part("level").firstChild.style.width = `${Math.min(100, 300 * loudness(samples))}%`;
  });
  page.microphone = microphone;
  part("microphone").setAttribute("aria-pressed", "true");
  part("microphone").textContent = "Stop the microphone";
  part("player").hidden = true;
  part("level").hidden = false;
  say("Listening.");
  listen(begin()).catch((error) => error === OVER || stopMicrophone().then(() => complain(error)));
}

async function stopMicrophone() {
  const microphone = page.microphone;
  if (!microphone) return;
  page.microphone = null;
  page.turn++;
  part("microphone").setAttribute("aria-pressed", "false");
  part("microphone").textContent = "Start the microphone";
  part("level").hidden = true;
  for (const card of page.cards) card.sure.append(...card.unsure.childNodes);
  await microphone.stop();
  say("The microphone is off.");
}

function readyControls() {
  const [microphone, file] = [part("microphone"), part("file")];
  microphone.disabled = file.disabled = false;
  part("window-field").hidden = page.about.gives !== "classes" || page.about.seconds !== null;
  microphone.onclick = () => (page.microphone ? stopMicrophone() : startMicrophone()).catch(complain);
  const open = (chosen) => chosen && hearFile(chosen).catch(complain);
  file.onchange = () => {
    open(file.files[0]);
    file.value = ""; // the same file can be chosen again
  };
  document.ondragover = (event) => event.preventDefault();
  document.ondrop = (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  };
}

async function start() {
  say("Loading …");
  if (location.protocol === "file:" && !inside("page.json")) {
    throw new Error("browsers open this page from a server only (python3 -m http.server); without one, open single.html");
  }
  page.about = await json("page.json");
  const { title, describes, models, runtime } = page.about;
  document.title = part("title").textContent = title;
  part("about").textContent = `${describes} It runs in this browser: what is heard stays on this device.`;
  part("footer").textContent = `Made by sottovoce; ${runtime}, one thread.`;
  page.cards = models.map((about, index) => makeCard(about, index, models.length > 1));
  page.engine = await startEngine();
  for (const about of models) {
    say(`Loading ${about.name} (${readable(about.bytes)}) …`);
    await page.engine.load(about);
  }
  readyControls();
  say("Ready: start the microphone, or open a file.");
}

start().catch(complain);
