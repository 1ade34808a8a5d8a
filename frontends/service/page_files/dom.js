// Elements from plain values. Text is always a text node: nothing that comes from elsewhere is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const h = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

export function table(caption, heads, rows) {
  const cells = (row) => row.map((cell, column) => (column ? h("td", {}, cell) : h("th", { scope: "row" }, cell)));
  return h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, cells(row))))));
}

export const bar = (share) => {
  const node = h("span", { class: "bar", "aria-hidden": "true" }, h("i"));
  node.firstChild.style.width = `${(100 * Math.max(0, Math.min(1, share))).toFixed(2)}%`;
  return node;
};

// What a screen reader says, in its own time; the same again is not said.
export function say(text) {
  const node = byId("news");
  if (node.textContent !== text) node.textContent = text;
}
