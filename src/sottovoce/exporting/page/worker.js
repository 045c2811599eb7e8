// Runs models one after another, away from the page, which stays at ease meanwhile.
"use strict";

const RATE = 16000;
const sessions = [];
let ort;

async function load({ script, wasm, model, about }) {
  if (!ort) {
    ort = await import(script);
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = 1; // more need headers that plain servers do not send
    ort.env.logLevel = "error";
  }
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  sessions.push({ session, about });
  await run({ model: sessions.length - 1, audio: new Float32Array(RATE) }); // the first pass is slower
}

async function run({ model, audio }) {
  const { session, about } = sessions[model];
  const whole = about.seconds === null ? Math.max(audio.length, about.shortest) : Math.round(about.seconds * RATE);
  const samples = new Float32Array(whole);
  samples.set(audio.subarray(0, whole));
  const length = BigInt64Array.from([BigInt(Math.min(audio.length, whole))]);
  const begun = performance.now();
  const said = await session.run({
    waveform: new ort.Tensor("float32", samples, [1, whole]),
    lengths: new ort.Tensor("int64", length, [1]),
  });
  const milliseconds = performance.now() - begun;
  const found = { milliseconds, seconds: audio.length / RATE };
  if (said.probabilities) found.probabilities = Float32Array.from(said.probabilities.data);
  else found.best = likeliest(said.log_probs, Number(said.frames.data[0]));
  for (const output of Object.values(said)) output.dispose();
  return found;
}

function likeliest({ data, dims }, frames) {
  const width = dims[2];
  return Int32Array.from({ length: Math.min(frames, dims[1]) }, (_, frame) => {
    let best = 0;
    for (let label = 1; label < width; label++) {
      if (data[frame * width + label] > data[frame * width + best]) best = label;
    }
    return best;
  });
}

let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id: data.id, found: await (data.model instanceof ArrayBuffer ? load(data) : run(data)) });
    } catch (error) {
      self.postMessage({ id: data.id, fault: String(error?.message ?? error) });
    }
  });
};
