"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const sets = read("data");
  const specs = read("charts");
  const rowsOf = new Map();
  const rows = (name) => {
    if (!rowsOf.has(name)) {
      const { columns, words, rows: values } = sets[name];
      const entry = (row) => columns.map((column, k) => [column, words[column] ? words[column][row[k]] : row[k]]);
      rowsOf.set(name, values.map((row) => Object.fromEntries(entry(row))));
    }
    return rowsOf.get(name);
  };
  const named = (part, found = new Set()) => {
    if (Array.isArray(part)) part.forEach((entry) => named(entry, found));
    else if (part && typeof part === "object") {
      if (part.data && typeof part.data.name === "string") found.add(part.data.name);
      Object.values(part).forEach((entry) => named(entry, found));
    }
    return found;
  };
  // Colours are variables of the style sheet: a theme, or printing, changes them without drawing again.
  const config = {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: "var(--line)" },
    axis: {
      labelColor: "var(--soft)", titleColor: "var(--ink)", gridColor: "var(--grid)", domainColor: "var(--line)",
      tickColor: "var(--line)", labelFontSize: 11, titleFontSize: 11.5, titleFontWeight: 500,
    },
    text: { color: "var(--ink)" },
  };
  const views = new Map();

  async function draw(box) {
    const number = Number(box.dataset.chart);
    const spec = structuredClone(specs[number]);
    spec.datasets = Object.fromEntries([...named(spec)].map((name) => [name, structuredClone(rows(name))]));
    spec.autosize = { type: "fit-x", contains: "padding" };
    try {
      const { view } = await vegaEmbed(box, spec, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, config,
        tooltip: { theme: "custom", disableDefaultStyle: true },
      });
      views.set(box, view);
    } catch (error) {
      box.classList.add("failed");
      box.textContent = `This plot could not be drawn: ${error.message}`;
      console.error(error);
    }
  }

  async function drawAll() {
    for (const box of document.querySelectorAll(".chart")) {
      await draw(box);
      await new Promise((done) => setTimeout(done)); // lets the page scroll while its plots are drawn
    }
    document.documentElement.dataset.drawn = String(views.size);
  }

  const figureOf = (element) => element.closest("figure");
  const viewsOf = (figure) => [...figure.querySelectorAll(".chart")].map((box) => views.get(box)).filter(Boolean);

  document.addEventListener("click", (event) => {
    const entry = event.target.closest(".legend button");
    if (entry) return choose(entry);
    const header = event.target.closest("thead th button");
    if (header) return sort(header.closest("th"));
    return undefined;
  });

  function choose(button) {
    const figure = figureOf(button);
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const other of figure.querySelectorAll(".legend button")) {
      if (other.dataset.entry === button.dataset.entry) other.setAttribute("aria-pressed", String(on));
    }
    const pressed = [...figure.querySelectorAll('.legend button[aria-pressed="true"]')];
    const chosen = [...new Set(pressed.map((other) => other.dataset.entry))];
    for (const view of viewsOf(figure)) view.signal("chosen", chosen).runAsync();
  }

  document.addEventListener("change", (event) => {
    const box = event.target.closest(".range input");
    if (!box) return;
    for (const chart of figureOf(box).querySelectorAll(".chart[data-cut]")) {
      const floor = Number(box.checked ? chart.dataset.all : chart.dataset.cut);
      views.get(chart)?.signal("floor", floor).runAsync();
    }
  });

  function sort(header) {
    const table = header.closest("table");
    const column = [...header.parentElement.children].indexOf(header);
    // The first press shows a number column's largest first, a text column from A.
    const first = header.classList.contains("number") ? "descending" : "ascending";
    const last = header.getAttribute("aria-sort");
    const order = !last ? first : last === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.children[column].dataset.value;
    const body = table.tBodies[0];
    const all = [...body.rows].map((row) => [key(row), row]);
    const numeric = all.every(([value]) => value === "" || Number.isFinite(Number(value)));
    all.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // what is missing stays last
      return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
    });
    body.append(...all.map(([, row]) => row));
  }

  const button = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme === "auto" ? prefersDark.matches : root.dataset.theme === "dark");
  const label = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    button.setAttribute("aria-pressed", String(isDark()));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  prefersDark.addEventListener("change", label);
  label();
  drawAll();
})();
