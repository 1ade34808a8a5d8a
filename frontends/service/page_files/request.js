// The request: the form of a new job, what it offers, and the body of POST /jobs that it becomes.

import { byId, h, say } from "/page/dom.js";
import { megabytes, percent } from "/page/numbers.js";
import { Settings, number } from "/page/settings.js";
import { upload } from "/page/upload.js";

const NO_TASK = "";
const value = (id) => byId(id).value.trim();
const option = (name, text = name) => h("option", { value: name }, text);

export class RequestForm {
  #choices = null;
  #weights = null;
  #upload = null;
  #settings = Object.fromEntries(["scorer", "regime", "recipe"].map((name) => [name, new Settings(byId(`${name}-settings`))]));

  constructor() {
    byId("network").addEventListener("input", () => this.#tellNetwork());
    byId("task").addEventListener("change", () => { byId("shape-part").hidden = value("task") !== NO_TASK; });
    byId("passes").addEventListener("input", () => this.#tellKind());
    for (const id of ["scorer", "regime"]) byId(id).addEventListener("change", () => this.#tellMethod());
    for (const radio of document.getElementsByName("kind")) radio.addEventListener("change", () => this.#tellKind());
    byId("file").addEventListener("change", () => this.#take(byId("file").files[0]));
    byId("file-forget").addEventListener("click", () => this.#take(null));
    const drop = byId("drop");
    const over = (yes) => (event) => { event.preventDefault(); drop.classList.toggle("over", yes); };
    drop.addEventListener("dragover", over(true));
    drop.addEventListener("dragleave", over(false));
    drop.addEventListener("drop", (event) => { over(false)(event); this.#take(event.dataTransfer.files[0]); });
  }

  offer(choices, tasks) {
    const before = Object.fromEntries(["task", "on", "predictor", "recipe"].map((id) => [id, byId(id).value]));
    const again = this.#choices !== null;
    this.#choices = choices;
    byId("networks").replaceChildren(...[...Object.keys(choices.networks), ...choices.allowed].map((name) => option(name)));
    byId("task").replaceChildren(
      ...Object.keys(choices.tasks).map((name) => option(name)),
      ...tasks.map((each) => option(each.name, `${each.name} (uploaded)`)),
      ...choices.allowed.map((name) => option(name)),
      option(NO_TASK, "no data"));
    byId("on").replaceChildren(option("", "none: on the weights"), ...this.#scorers().map((name) => option(name)));
    byId("predictor").replaceChildren(...choices.predictors.map((name) => option(name)));
    byId("recipe").replaceChildren(option("", "the task’s default"), ...Object.keys(choices.recipes).map((name) => option(name)));
    byId("regime").replaceChildren(option("", "what the method wants"), ...Object.keys(choices.regimes).map((name) => option(name)));
    if (again) for (const [id, was] of Object.entries(before)) byId(id).value = was;
    this.#settings.recipe.show(choices.recipe);
    this.#tellNetwork();
    this.#tellKind();
  }

  get kind() {
    return document.querySelector('[name="kind"]:checked').value;
  }

  // Those that need no predictor.
  #scorers() {
    return Object.keys(this.#choices.scorers).filter((name) => !/^(predicted|transplanted)/.test(name));
  }

  #tellNetwork() {
    byId("network-about").textContent = this.#choices?.networks[value("network")]?.about.replaceAll("`", "")
      ?? "torchvision:NAME, or code that the service allows.";
  }

  #tellKind() {
    const kind = this.kind;
    for (const part of document.querySelectorAll("[data-kind]")) part.hidden = !part.dataset.kind.split(" ").includes(kind);
    byId("recipe-part").hidden = kind === "passes" && Number(value("passes")) === 0;
    if (!this.#choices) return;
    const before = value("scorer");
    byId("scorer-label").textContent = kind === "predictor" ? "Scorer on its scores" : "Scorer";
    byId("scorer").replaceChildren(...(kind === "predictor" ? [option("", "none: its scores decide")] : []),
      ...this.#scorers().map((name) => option(name)));
    byId("scorer").value = kind === "predictor" ? "" : (before || "snip");
    this.#tellMethod();
  }

  #tellMethod() {
    if (!this.#choices) return;
    const scorer = this.#choices.scorers[value("scorer")];
    const regime = this.#choices.regimes[value("regime")];
    byId("scorer-about").textContent = scorer?.about.replaceAll("`", "") ?? "";
    byId("regime-about").textContent = regime?.about ?? "";
    this.#settings.scorer.show(scorer?.settings ?? {});
    this.#settings.regime.show(regime?.settings ?? {});
    byId("settings-part").hidden = this.#settings.scorer.empty && this.#settings.regime.empty;
  }

  async #take(file) {
    this.#upload?.abort();
    this.#upload = new AbortController();
    this.#weights = null;
    const { signal } = this.#upload;
    const bar = byId("file-progress"), about = byId("file-about"), error = byId("form-error");
    error.textContent = "";
    byId("file-forget").hidden = bar.hidden = !file;
    if (!file) {
      byId("file").value = "";
      about.textContent = "or drop a .safetensors file here";
      return;
    }
    about.textContent = `${file.name}: reading`;
    try {
      const most = this.#choices?.upload_megabytes ?? Infinity;
      if (file.size > 1e6 * most) throw new Error(`The file has ${megabytes(file.size)}, at most ${most} MB are taken.`);
      const told = (share, what) => { bar.value = share; about.textContent = `${file.name}: ${what.toLowerCase()}, ${percent(share)}`; };
      const found = await upload(file, told, signal);
      this.#weights = { ...found, name: file.name };
      about.textContent = `${file.name}: ${found.about}, sha256 ${found.digest.slice(0, 12)}…`;
      say(`${file.name} is uploaded`);
    } catch (failed) {
      if (signal.aborted) return;
      about.textContent = `${file.name}: not uploaded`;
      error.textContent = failed.message;
    } finally {
      if (!signal.aborted) bar.hidden = true;
    }
  }

  // The body of POST /jobs; throws a sentence.
  read() {
    if (!byId("file-progress").hidden) throw new Error("The weights are still being uploaded.");
    if (!byId("file-forget").hidden && !this.#weights) throw new Error("The weights were not uploaded: choose the file again, or leave it out.");
    const asked = { network: value("network"), seed: number(value("seed"), "seed") };
    const numbers = (id, name) => value(id).split(",").map((text) => number(text, name));
    if (this.#weights) asked.weights = this.#weights.digest;
    if (value("task") !== NO_TASK) asked.task = value("task");
    else Object.assign(asked, { input_shape: numbers("shape", "input shape"), outputs: number(value("outputs"), "number of outputs") });
    const densities = numbers("densities", "density");
    asked.density = densities.length > 1 ? densities : densities[0];
    if (this.kind === "passes") asked.passes = number(value("passes"), "budget");
    else Object.assign(asked, this.#method());
    const recipe = byId("recipe-part").hidden ? {} : this.#settings.recipe.values();
    if (!byId("recipe-part").hidden && value("recipe")) asked.recipe = value("recipe");
    if (Object.keys(recipe).length) asked.recipe_settings = recipe;
    return asked;
  }

  #method() {
    const found = {};
    if (value("scorer")) found.scorer = value("scorer");
    if (this.kind === "predictor") {
      found.predictor = value("predictor");
      if (found.scorer) found.on = "predicted";
    } else if (value("on")) {
      found.on = value("on");
    }
    if (value("regime")) found.regime = value("regime");
    for (const name of ["scorer", "regime"]) {
      const settings = this.#settings[name].values();
      if (Object.keys(settings).length) found[`${name}_settings`] = settings;
    }
    return found;
  }
}
