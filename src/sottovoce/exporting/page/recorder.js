// Hands what the microphone hears to the page, in pieces of a fiftieth of a second or so.
const SAMPLES = 1024;

registerProcessor("recorder", class extends AudioWorkletProcessor {
  piece = new Float32Array(SAMPLES);
  filled = 0;

  process([channels]) {
    const [first] = channels;
    if (!first) return true;
    for (let sample = 0; sample < first.length; sample++) {
      let sum = 0;
      for (const channel of channels) sum += channel[sample];
      this.piece[this.filled++] = sum / channels.length;
      if (this.filled === SAMPLES) {
        this.port.postMessage(this.piece);
        this.filled = 0;
      }
    }
    return true;
  }
});
