// Pictures of masks: canvases in the page's own colours, drawn again where these change.

import { h, svg } from "/page/dom.js";
import { share } from "/page/numbers.js";

const drawn = new Set();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const each of drawn) (each.canvas.isConnected ? each.draw() : drawn.delete(each));
});

function colour(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

// A grid of numbers from 0 to 1, row by row; NaN stays empty.
function picture(columns, rows, values, label) {
  const canvas = h("canvas", { role: "img", "aria-label": label, width: columns, height: rows });
  const draw = () => {
    const low = colour("--empty"), high = colour("--kept");
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    values.forEach((value, k) => {
      if (Number.isNaN(value)) return;
      for (let part = 0; part < 3; part += 1) image.data[4 * k + part] = low[part] + value * (high[part] - low[part]);
      image.data[4 * k + 3] = 255;
    });
    context.putImageData(image, 0, 0);
  };
  drawn.add({ canvas, draw });
  draw();
  return canvas;
}

const scaled = (canvas, width) => {
  canvas.style.width = `${width}px`;
  return canvas;
};

// A layer's mask: a row for each unit, a column for each of its weights; large ones as shares of blocks.
export function maskPicture({ shape, values }, label, most = 192) {
  const units = shape[0], inputs = values.length / units;
  const high = Math.ceil(units / most), wide = Math.ceil(inputs / most);
  const rows = Math.ceil(units / high), columns = Math.ceil(inputs / wide);
  const sums = new Float32Array(rows * columns), counts = new Float32Array(rows * columns);
  for (let unit = 0, k = 0; unit < units; unit += 1) {
    const row = Math.floor(unit / high) * columns;
    for (let input = 0; input < inputs; input += 1, k += 1) {
      const cell = row + Math.floor(input / wide);
      sums[cell] += values[k];
      counts[cell] += 1;
    }
  }
  const shares = sums.map((sum, k) => sum / counts[k]);
  const largest = shares.reduce((one, other) => Math.max(one, other), 0) || 1;
  const size = Math.max(1, Math.min(3, Math.floor(most / Math.max(rows, columns))));
  return scaled(picture(columns, rows, shares.map((each) => Math.sqrt(each / largest)), label), columns * size);
}

// Channels, height and width of what a first-layer unit looks at: a kernel, or the image that its inputs may be.
export function imageOf([, ...rest]) {
  if (rest.length > 1) return { channels: rest[0], height: rest.length > 2 ? rest[1] : 1, width: rest.at(-1) };
  for (const channels of [1, 3]) {
    const side = Math.sqrt(rest[0] / channels);
    if (Number.isInteger(side) && side > 1) return { channels, height: side, width: side };
  }
  return { channels: 1, height: 1, width: rest[0] };
}

// How many units still look at each input pixel, all channels together.
export function pixelCounts({ shape, values }) {
  const { height, width } = imageOf(shape);
  const counts = new Uint32Array(height * width);
  for (let k = 0; k < values.length; k += 1) counts[(k % shape[1]) % (height * width)] += values[k];
  return { counts, height, width };
}

export function pixelPicture({ counts, height, width }, label) {
  const largest = Math.max(...counts, 1);
  return scaled(picture(width, height, Float32Array.from(counts, (count) => count / largest), label),
    width * Math.max(1, Math.floor(224 / width)));
}

// The masks of the units that keep most, side by side, each as the image that it looks at.
export function unitPictures({ shape, values }, most = 40) {
  const units = shape[0], size = values.length / units;
  const kept = Array.from({ length: units }, (_, unit) => {
    let sum = 0;
    for (let k = unit * size; k < (unit + 1) * size; k += 1) sum += values[k];
    return { unit, sum };
  }).sort((one, other) => other.sum - one.sum || one.unit - other.unit).slice(0, most);
  const across = Math.min(10, kept.length), down = Math.ceil(kept.length / across);
  const { channels, height, width } = imageOf(shape), plane = height * width;
  const columns = across * (width + 1) - 1, rows = down * (height + 1) - 1;
  const cells = new Float32Array(columns * rows).fill(NaN);
  kept.forEach(({ unit }, place) => {
    const left = (place % across) * (width + 1), top = Math.floor(place / across) * (height + 1);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let channel = 0; channel < channels; channel += 1) sum += values[unit * size + channel * plane + y * width + x];
        cells[(top + y) * columns + left + x] = sum / channels;
      }
    }
  });
  const label = `Masks of the ${kept.length} first-layer units that keep most`;
  return { canvas: scaled(picture(columns, rows, cells, label), columns * Math.max(1, Math.floor(440 / columns))), kept };
}

// A line through points (density, accuracy), the densities by powers of ten.
export function curve(points, label) {
  const wide = 420, high = 190, left = 46, low = 26;
  const xs = points.map((point) => Math.log10(point[0])), ys = points.map((point) => point[1]);
  const spread = (values, from, to) => {
    const least = Math.min(...values), range = Math.max(...values) - least || 1;
    return (value) => from + ((value - least) / range) * (to - from);
  };
  const x = spread(xs.map((each) => -each), left + 10, wide - 30), y = spread(ys, high - low - 12, 14);
  const places = points.map((point, k) => [x(-xs[k]), y(point[1])]);
  const text = (at, top, words, anchor) => svg("text", { x: at, y: top, "text-anchor": anchor }, words);
  return svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": label, class: "curve" },
    svg("path", { class: "axis", d: `M${left} 6V${high - low}H${wide - 6}` }),
    svg("path", { class: "line", d: `M${places.map((place) => place.join(" ")).join("L")}` }),
    places.map(([at, top]) => svg("circle", { cx: at, cy: top, r: 3.5 })),
    places.map(([at], k) => (k % Math.ceil(points.length / 6) && k < points.length - 1 ? null : text(at, high - 9, share(points[k][0]), "middle"))),
    [Math.min(...ys), Math.max(...ys)].filter((each, k, all) => !k || each !== all[0])
      .map((each) => text(left - 6, y(each) + 4, (100 * each).toFixed(1), "end")));
}
