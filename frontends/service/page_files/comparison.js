// A comparison of two tickets, layer by layer: the Jaccard index of their masks, and what chance would give.

import { bar, h, table } from "/page/dom.js";
import { share, whole } from "/page/numbers.js";
import { method, title } from "/page/job.js";
import { header, ofAddress, tensor } from "/page/tensors.js";
import { partAddress } from "/page/ticket.js";

const network = (job) => job.request.network ?? "lenet_300_100";
const key = (job, density) => `${job.id} ${density}`;

export function comparisonView(job, density, jobs) {
  const others = jobs.filter((each) => each.state === "done" && network(each) === network(job))
    .flatMap((each) => each.densities.map((at) => ({ job: each, density: at })))
    .filter((each) => key(each.job, each.density) !== key(job, density));
  const found = h("div", {}), error = h("p", { class: "error", role: "alert" });
  if (!others.length) return h("p", { class: "soft" }, "There is no other ticket of this network to compare this one with.");
  const select = h("select", { id: "other" }, others.map((each, k) =>
    h("option", { value: k }, `${title(each.job)}, ${method(each.job)}, seed ${each.job.request.seed ?? 0}, density ${each.density}`)));
  const button = h("button", {
    type: "button",
    onclick: async () => {
      const other = others[Number(select.value)];
      error.textContent = "";
      button.disabled = true;
      try {
        const rows = await compared(partAddress(job.id, "mask", density), partAddress(other.job.id, "mask", other.density));
        found.replaceChildren(...shown(rows));
      } catch (failed) {
        found.replaceChildren();
        error.textContent = failed.message;
      }
      button.disabled = false;
    },
  }, "Compare");
  return h("div", {}, h("div", { class: "line" }, h("label", { for: "other" }, "With"), select, button), error, found);
}

// Of each layer how many weights one ticket keeps, the other, both, and both by chance; the last row is of all.
async function compared(one, other) {
  const pieces = [one, other].map(ofAddress);
  const [first, second] = await Promise.all(pieces.map(header));
  const same = (name) => String(first.tensors[name].shape) === String(second.tensors[name]?.shape);
  const names = Object.keys(first.tensors);
  if (names.length !== Object.keys(second.tensors).length || !names.every(same)) {
    throw new Error("These tickets are of different networks: their layers differ in names or shapes.");
  }
  const rows = [];
  for (const name of names) {
    const [{ values: a }, { values: b }] = await Promise.all([tensor(pieces[0], first, name), tensor(pieces[1], second, name)]);
    const row = { name, one: 0, other: 0, both: 0 };
    for (let k = 0; k < a.length; k += 1) {
      row.one += a[k];
      row.other += b[k];
      row.both += a[k] & b[k];
    }
    rows.push({ ...row, chance: (row.one * row.other) / a.length });
  }
  const all = (part) => rows.reduce((sum, row) => sum + row[part], 0);
  return [...rows, { name: "all layers", one: all("one"), other: all("other"), both: all("both"), chance: all("chance") }];
}

function shown(rows) {
  const jaccard = ({ one, other, both }) => (one + other - both ? both / (one + other - both) : NaN);
  const chance = (row) => jaccard({ ...row, both: row.chance });
  const text = (number) => (Number.isNaN(number) ? "–" : number.toFixed(3));
  const last = rows.at(-1);
  return [
    h("p", { role: "status" }, `Jaccard index ${text(jaccard(last))} over all layers; ${text(chance(last))} by chance in layers of these densities. Both keep ${whole(last.both)} weights.`),
    table("Two tickets, layer by layer", ["Weight", "This keeps", "The other", "Both", "Jaccard", "Of 1", "By chance"], rows.map((row) => [
      row.name, whole(row.one), whole(row.other), whole(row.both), text(jaccard(row)), bar(jaccard(row) || 0), text(chance(row)),
    ])),
  ];
}
