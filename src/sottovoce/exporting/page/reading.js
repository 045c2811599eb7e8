// What outputs say: text for CTC, stretches of one class for classes of frames.
"use strict";

// Stretches of frames with the same label, in seconds from `start`.
function stretches(best, labels, start, seconds) {
  const found = [];
  const frame = seconds / Math.max(1, best.length);
  best.forEach((label, index) => {
    const before = found.at(-1);
    if (before?.label === labels[label]) before.end = start + (index + 1) * frame;
    else found.push({ label: labels[label], start: start + index * frame, end: start + (index + 1) * frame });
  });
  return found;
}

function spelled(best, { labels, blank, delimiter, joiner }) {
  const tokens = [];
  let before = -1;
  for (const label of best) {
    if (label !== before && label !== blank && labels[label] !== "") tokens.push(labels[label]);
    before = label;
  }
  return tokens.map((token) => (token === delimiter ? " " : token)).join(joiner);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : NaN;
}

function readable(count) {
  if (count < 1e6) return `${(count / 1e3).toFixed(0)} kB`;
  return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
}

// Two or three digits that count: 0.0213, 0.34, 12.
function rounded(value) {
  return value >= 10 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
