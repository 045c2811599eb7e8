// Files, from beside the page or from inside of it, and the worker that runs models.
"use strict";

function inside(name) {
  return document.querySelector(`script[data-file="${name}"]`);
}

// The bytes of a file: those in the page are in Base64, compressed.
async function bytes(name) {
  const element = inside(name);
  if (!element) {
    const answer = await fetch(name);
    if (!answer.ok) throw new Error(`${name} is not there (${answer.status})`);
    return answer.arrayBuffer();
  }
  const text = atob(element.textContent);
  const packed = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) packed[index] = text.charCodeAt(index);
  element.textContent = "";
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function json(name) {
  return JSON.parse(new TextDecoder().decode(await bytes(name)));
}

// Where a script lies. Of what is inside of the page, pages from files may start a Blob as a worker, and nothing else.
const addresses = new Map();
async function address(name, { blob = false } = {}) {
  if (!inside(name)) return new URL(name, location.href).href;
  if (!addresses.has(name)) {
    const content = await bytes(name);
    const type = "text/javascript";
    const text = () => `data:${type},${encodeURIComponent(new TextDecoder().decode(content))}`;
    addresses.set(name, blob ? URL.createObjectURL(new Blob([content], { type })) : text());
  }
  return addresses.get(name);
}

async function startEngine() {
  const worker = new Worker(await address("worker.js", { blob: true }));
  const waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.fault === undefined) resolve(data.found);
    else reject(new Error(data.fault));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "the worker does not start"));
    waiting.clear();
  };
  function ask(message, moved = []) {
    return new Promise((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      worker.postMessage({ ...message, id: count }, moved);
    });
  }
  let wasm = await bytes("ort.wasm");
  const script = await address("ort.js");
  return {
    async load(about) {
      const model = await bytes(about.file);
      const moved = wasm ? [model, wasm] : [model];
      const done = ask({ script, wasm, model, about }, moved);
      wasm = undefined;
      await done;
    },
    run: (model, audio) => ask({ model, audio }),
  };
}
