// Audio as models take it: one channel at 16 kHz, from files and from the microphone.
"use strict";

const RATE = 16000;

async function decoded(content) {
  // It decodes to its own rate.
  const buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(content);
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let index = 0; index < mono.length; index++) mono[index] += samples[index] / buffer.numberOfChannels;
  }
  return mono;
}

async function resampled(samples, rate) {
  if (rate === RATE || samples.length === 0) return samples;
  const context = new OfflineAudioContext(1, Math.max(1, Math.round((samples.length * RATE) / rate)), RATE);
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

// What the microphone heard: samples by their number since the beginning, of which old ones are forgotten.
async function openMicrophone(heard) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("browsers give no microphone to this address; use https, localhost or the single file");
  }
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const context = new AudioContext();
  await context.audioWorklet.addModule(await address("recorder.js"));
  await context.resume();
  const node = new AudioWorkletNode(context, "recorder");
  let kept = new Float32Array(0);
  let first = 0;
  node.port.onmessage = ({ data }) => {
    const longer = new Float32Array(kept.length + data.length);
    longer.set(kept);
    longer.set(data, kept.length);
    kept = longer;
    heard(data);
  };
  context.createMediaStreamSource(stream).connect(node);
  node.connect(context.destination); // it says nothing there, but what leads nowhere may not be run
  return {
    get seconds() {
      return (first + kept.length) / context.sampleRate;
    },
    from(second) {
      const start = Math.max(0, Math.round(second * context.sampleRate) - first);
      return resampled(kept.slice(start), context.sampleRate);
    },
    forget(second) {
      const start = Math.min(kept.length, Math.max(0, Math.round(second * context.sampleRate) - first));
      kept = kept.slice(start);
      first += start;
    },
    async stop() {
      for (const track of stream.getTracks()) track.stop();
      await context.close();
    },
  };
}

// Where to cut a piece that is too long: at the quietest 50 ms of the last third of what may be heard at once.
function quietest(samples, most) {
  const step = RATE / 20;
  let best = most;
  let least = Infinity;
  for (let start = Math.floor((2 * most) / 3); start + step <= most; start += step) {
    let energy = 0;
    for (let index = start; index < start + step; index++) energy += samples[index] ** 2;
    if (energy < least) {
      least = energy;
      best = start + step / 2;
    }
  }
  return best;
}

function loudness(samples) {
  let energy = 0;
  for (const sample of samples) energy += sample ** 2;
  return Math.sqrt(energy / Math.max(1, samples.length));
}
