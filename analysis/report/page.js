"use strict";
(() => {
  const root = document.documentElement;
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const once = (work) => {
    const done = new Map();
    return (key) => {
      if (!done.has(key)) done.set(key, work(key));
      return done.get(key);
    };
  };

  // Parts: what is folded away is unpacked when it is opened, its plots are drawn when they come into view.

  const contents = once(async (number) => JSON.parse(await unpack(`pack${number}`)));
  const fill = once(async (part) => {
    const { html } = await contents(part.dataset.part);
    if (html) part.querySelector(".body").innerHTML = html; // escaped where the page was made
    part.querySelectorAll(".chart").forEach((box) => inView.observe(box));
  });
  const library = once(async () => {
    const script = document.createElement("script");
    script.textContent = await unpack("library"); // the page's policy knows its hash
    document.head.append(script);
  });

  const queue = [];
  let drawing = false;
  const inView = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) draw(target);
  }, { rootMargin: "400px 0px" });

  async function draw(box) {
    inView.unobserve(box);
    queue.push(box);
    if (drawing) return;
    drawing = true;
    await library();
    while (queue.length) {
      await plot(queue.shift());
      await new Promise((done) => setTimeout(done)); // lets the page scroll while its plots are drawn
    }
    drawing = false;
  }

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
  const named = (part, found = new Set()) => {
    if (Array.isArray(part)) part.forEach((entry) => named(entry, found));
    else if (part && typeof part === "object") {
      if (part.data && typeof part.data.name === "string") found.add(part.data.name);
      Object.values(part).forEach((entry) => named(entry, found));
    }
    return found;
  };

  async function plot(box) {
    const { charts, sets } = await contents(box.closest(".part").dataset.part);
    const spec = structuredClone(charts[Number(box.dataset.chart)]);
    spec.datasets = Object.fromEntries([...named(spec)].map((name) => [name, structuredClone(sets[name])]));
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
    root.dataset.drawn = String(views.size);
  }

  // What the reader does.

  document.addEventListener("toggle", ({ target }) => {
    if (target.matches("details.part") && target.open) fill(target);
  }, true);

  const reveal = async () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target?.matches("details.part")) {
      target.open = true;
      await fill(target);
      target.scrollIntoView();
    }
  };
  window.addEventListener("hashchange", reveal);

  const everything = document.getElementById("everything");
  everything.addEventListener("click", async () => {
    const open = everything.getAttribute("aria-expanded") !== "true";
    everything.setAttribute("aria-expanded", String(open));
    everything.textContent = open ? "Close all" : "Open all";
    const parts = [...document.querySelectorAll("details.part")];
    if (open) await Promise.all(parts.map(fill));
    for (const fold of document.querySelectorAll("details.part, details.section")) fold.open = open;
  });

  document.addEventListener("click", (event) => {
    const entry = event.target.closest(".legend button");
    if (entry) return choose(entry);
    const header = event.target.closest("thead th button");
    if (header) return sort(header.closest("th"));
    return undefined;
  });

  const figureOf = (element) => element.closest("figure");

  function choose(button) {
    const figure = figureOf(button);
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const other of figure.querySelectorAll(".legend button")) {
      if (other.dataset.entry === button.dataset.entry) other.setAttribute("aria-pressed", String(on));
    }
    const pressed = [...figure.querySelectorAll('.legend button[aria-pressed="true"]')];
    const chosen = [...new Set(pressed.map((other) => other.dataset.entry))];
    for (const box of figure.querySelectorAll(".chart")) views.get(box)?.signal("chosen", chosen).runAsync();
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
    const numeric = header.classList.contains("number");
    // The first press shows a number column's largest first, a text column from A.
    const last = header.getAttribute("aria-sort");
    const order = !last ? (numeric ? "descending" : "ascending") : last === "ascending" ? "descending" : "ascending";
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = ({ children }) => {
      const cell = children[column];
      const text = cell.dataset.value ?? (cell.querySelector("b") ?? cell.firstChild)?.textContent.trim() ?? "";
      return numeric ? Number.parseFloat(text.replace("−", "-")) : text;
    };
    const missing = (value) => value === "" || value === "–" || Number.isNaN(value);
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b); // what is missing stays last
      return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  const button = document.getElementById("theme");
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
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
  document.querySelectorAll("article.part, details.part[open]").forEach(fill);
  reveal();
})();
