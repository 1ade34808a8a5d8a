// A ticket: what its report tells, its mask as pictures, downloads, the same by other means.

import { commandLine, pythonLines } from "/page/commands.js";
import { bar, h, say, table } from "/page/dom.js";
import { download } from "/page/download.js";
import { duration, share, whole } from "/page/numbers.js";
import { curve, imageOf, maskPicture, pixelCounts, pixelPicture, unitPictures } from "/page/pictures.js";
import { header, ofAddress, tensor } from "/page/tensors.js";

const LARGEST = 32_000_000;
const MOST_LAYERS = 24;
const MOST_ROWS = 64;
const MOST_PIXELS = 256;

export const partAddress = (id, part, density) => `/jobs/${id}/${part}?density=${density}`;

const part = (title, ...content) => h("section", { class: "part" }, h("h3", {}, title), ...content);
const asTable = (caption, ...given) => h("details", {}, h("summary", {}, `${caption}, as a table`), table(caption, ...given));

export function ticketView(job, density, report, choices) {
  const told = report.densities[density];
  const pictures = h("div", { class: "pictures" });
  const error = h("p", { class: "error", role: "alert" });
  drawMask(pictures, job, density, told).catch((failed) => { error.textContent = failed.message; });
  return h("div", { class: "ticket" }, facts(told), checks(told, report.warnings), downloads(job, density, error), error,
    part("Layers", layerTable(told)), pictures, trained(job, density), sameElsewhere(job.request, choices));
}

function facts(told) {
  const known = told.layers.filter((layer) => layer.live_units !== null);
  const sum = (name) => known.reduce((all, layer) => all + layer[name], 0);
  const rows = {
    Method: told.method,
    Kept: `${whole(told.kept)} of ${whole(told.prunable)} weights`,
    Density: share(told.density),
    "Effective density": share(told.effective_density),
    "Live units": known.length ? `${whole(sum("live_units"))} of ${whole(sum("units"))}` : "unknown",
    Cost: `${share(told.passes)} passes over the data, ${duration(told.seconds)}`,
  };
  return h("dl", { class: "facts" }, Object.entries(rows).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

function checks(told, warnings) {
  const found = [...new Set([...Object.values(told.checks), ...warnings])];
  if (!found.length) return h("p", { class: "good" }, "Checks: nothing is odd about this ticket.");
  return h("div", { class: "odd" }, h("p", {}, "Checks found:"), h("ul", {}, found.map((text) => h("li", {}, text))));
}

function downloads(job, density, error) {
  const button = (name, label) => h("button", {
    type: "button",
    onclick: async () => {
      error.textContent = "";
      try {
        await download(partAddress(job.id, name, density), `${name}-${density}.safetensors`);
        say(`${label} is downloaded`);
      } catch (failed) {
        error.textContent = failed.message;
      }
    },
  }, label);
  return h("p", { class: "buttons" }, button("ticket", "Download ticket"), button("mask", "Mask"), button("scores", "Scores"));
}

function layerTable(told) {
  const largest = Math.max(...told.layers.map((layer) => layer.density)) || 1;
  return table("Kept weights a layer", ["Weight", "Shape", "Kept", "Density", "Of the densest", "Live units"], told.layers.map((layer) => [
    layer.weight + (layer.excluded ? " (not counted)" : ""), layer.shape.join(" × "), `${whole(layer.kept)} of ${whole(layer.prunable)}`,
    share(layer.density), bar(layer.density / largest),
    layer.live_units === null ? "unknown" : `${whole(layer.live_units)} of ${whole(layer.units)}`,
  ]));
}

async function drawMask(box, job, density, told) {
  const piece = ofAddress(partAddress(job.id, "mask", density));
  const known = await header(piece);
  const strip = h("div", { class: "strip" });
  let left = LARGEST, first = true;
  for (const layer of told.layers.slice(0, MOST_LAYERS)) {
    left -= layer.prunable;
    if (left < 0) break;
    const mask = await tensor(piece, known, layer.weight);
    if (mask.shape.length < 2) continue;
    if (first) {
      box.append(part("Kept weights", h("p", { class: "soft" }, "Of each layer a row for each unit, a column for each of its weights."), strip));
      box.append(part("First layer", ...firstLayer(mask)));
      first = false;
    }
    const label = `Mask of ${layer.weight}: ${whole(layer.kept)} of ${whole(layer.prunable)} weights are kept`;
    strip.append(h("figure", {}, maskPicture(mask, label), h("figcaption", {}, layer.weight)));
  }
  const drawn = strip.childElementCount;
  if (drawn < told.layers.length) box.append(h("p", { class: "soft" }, `${drawn} of ${told.layers.length} layers are drawn; the table has all.`));
}

function firstLayer(mask) {
  const image = imageOf(mask.shape);
  if (image.width > MOST_PIXELS) return [h("p", { class: "soft" }, `Its units have ${whole(image.width)} inputs in a row: no image to draw.`)];
  const { canvas, kept } = unitPictures(mask);
  const units = h("figure", {}, canvas, h("figcaption", {}, `The ${kept.length} units that keep most`));
  const ofUnits = asTable("Kept weights of first-layer units", ["Unit", "Kept"], kept.map(({ unit, sum }) => [whole(unit), whole(sum)]));
  if (mask.shape.length !== 2 || image.height < 2) return [units, ofUnits];
  const pixels = pixelCounts(mask);
  const used = pixels.counts.filter((count) => count).length;
  const words = `${whole(used)} of ${whole(pixels.counts.length)} pixels still count`;
  const columns = Array.from({ length: pixels.width }, (_, x) => String(x));
  const rows = Array.from({ length: pixels.height }, (_, y) => [String(y), ...columns.map((_, x) => whole(pixels.counts[y * pixels.width + x]))]);
  return [
    h("div", { class: "strip" }, h("figure", {}, pixelPicture(pixels, `${words}: how many units look at each`), h("figcaption", {}, words)), units),
    pixels.width > MOST_ROWS ? null : asTable("Units that look at each pixel", ["Row", ...columns], rows), ofUnits,
  ].filter(Boolean);
}

// Methods that train note an accuracy before every cut, that is, at the density that the cut before it left.
function trained(job, density) {
  const box = h("div", {});
  const piece = ofAddress(partAddress(job.id, "ticket", density));
  header(piece).then(({ about }) => {
    const rounds = (JSON.parse(about.provenance).rounds ?? []).filter((each) => typeof each.validation_accuracy === "number");
    const points = rounds.map((each, k) => [k ? rounds[k - 1].density : 1, each.validation_accuracy]);
    if (points.length < 2) return;
    const title = "Accuracy against density";
    const rows = points.map(([at, accuracy]) => [share(at), `${(100 * accuracy).toFixed(2)} %`]);
    box.append(part(title, h("p", { class: "soft" }, "Of the validation split, as the method trained on its way down."),
      curve(points, `${title}: from ${rows[0][1]} at ${rows[0][0]} to ${rows.at(-1)[1]} at ${rows.at(-1)[0]}`),
      asTable(title, ["Density", "Validation accuracy"], rows)));
  }).catch(() => {});
  return box;
}

function sameElsewhere(request, choices) {
  const copied = (title, text) => h("div", { class: "code" },
    h("div", {}, h("h4", {}, title), navigator.clipboard && h("button", {
      type: "button",
      "aria-label": `Copy: ${title}`,
      onclick: () => navigator.clipboard.writeText(text).then(() => say("Copied"), () => {}),
    }, "Copy")),
    h("pre", { tabindex: "0", "aria-label": title, role: "region" }, h("code", {}, text)));
  const line = commandLine(request, location.origin, choices);
  const notes = [
    line && !line.includes("--server") ? `It is found where the command runs; with --server ${location.origin} it is found here.` : null,
    line ? null : "The command line has no words for pruning without a task.",
    request.weights ? `weights.safetensors is the file with the sha256 ${request.weights}.` : null,
  ];
  return part("The same elsewhere", line ? copied("Command line", line) : null, copied("Python", pythonLines(request, location.origin, choices)),
    ...notes.map((note) => (note ? h("p", { class: "soft" }, note) : null)));
}
