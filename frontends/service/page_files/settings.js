// Settings as they are declared, each a labelled field; a field that is left empty keeps the default.

import { h } from "/page/dom.js";

const FIELDS = ["number", "whole number", "text", "true or false"];

function field(id, declared) {
  const usual = `default: ${declared.default ?? "its own"}`;
  const words = declared.choices ?? (declared.type === "true or false" ? ["true", "false"] : null);
  if (!words) return h("input", { id, placeholder: usual, inputmode: declared.type === "text" ? null : "decimal" });
  return h("select", { id }, h("option", { value: "" }, usual), words.map((word) => h("option", {}, word)));
}

export class Settings {
  #box;
  #known = {};

  constructor(box) {
    this.#box = box;
  }

  show(known) {
    this.#known = Object.fromEntries(Object.entries(known).filter(([, each]) => FIELDS.includes(each.type)));
    const name = this.#box.id;
    this.#box.replaceChildren(...Object.entries(this.#known).map(([key, declared]) => {
      const node = field(`${name}-${key}`, declared);
      node.setAttribute("aria-describedby", `${name}-${key}-about`);
      return h("div", { class: "setting" }, h("label", { for: node.id }, key.replaceAll("_", " ")), node,
        h("small", { id: `${name}-${key}-about` }, declared.help));
    }));
  }

  get empty() {
    return !Object.keys(this.#known).length;
  }

  values() {
    const found = {};
    for (const [key, declared] of Object.entries(this.#known)) {
      const text = this.#box.querySelector(`[id="${this.#box.id}-${key}"]`).value.trim();
      if (!text) continue;
      if (declared.type === "true or false") found[key] = text === "true";
      else if (declared.type === "text") found[key] = text;
      else found[key] = number(text, key.replaceAll("_", " "));
    }
    return found;
  }
}

export function number(text, name) {
  const value = Number(text);
  if (!text.trim() || !Number.isFinite(value)) throw new Error(`The ${name} is “${text}”, expected a number.`);
  return value;
}
