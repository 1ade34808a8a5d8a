// The page: the form, the list of jobs, the job that is shown, and what leads from one to another.

import { comparisonView } from "/page/comparison.js";
import { byId, h, say, table } from "/page/dom.js";
import { begun, ended, follow, method, standing, title } from "/page/job.js";
import { RequestForm } from "/page/request.js";
import { call, hasToken, pause, read, setToken } from "/page/service.js";
import { ticketView } from "/page/ticket.js";

const SAID_SECONDS = 5;
const REFRESH = 4000;
const form = new RequestForm();
const state = { choices: null, jobs: [], shown: null, watched: null, refreshing: false, asked: {} };

async function trying(place, action) {
  byId(place).textContent = "";
  try {
    return await action();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    byId(place).textContent = error.message;
    if (error.status === 401) {
      byId("access").hidden = false;
      byId("token").focus();
    }
    return undefined;
  }
}

async function start() {
  await trying("page-error", async () => {
    const [choices, tasks] = await Promise.all([read("/choices"), read("/tasks")]);
    byId("access").hidden = !choices.tokens;
    state.choices = choices;
    form.offer(choices, tasks);
    await showJobs();
    route();
  });
}

// ---- the list

async function showJobs() {
  state.jobs = await read("/jobs");
  const focused = document.activeElement?.dataset?.focus;
  byId("jobs").replaceChildren(state.jobs.length
    ? table("Jobs, the newest first", ["Job", "Density", "State", "End it"], state.jobs.map(row))
    : h("p", { class: "soft" }, "There are no jobs yet."));
  if (focused) document.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  keepFresh();
}

function row(job) {
  const name = `${title(job)}, ${method(job)}, ${begun(job)}`;
  const what = ended(job) ? "Remove" : "Cancel";
  const current = location.hash === `#${job.id}`;
  return [
    [h("a", { href: `#${job.id}`, "data-focus": `open ${job.id}`, "aria-current": current ? "true" : null }, title(job)),
      h("small", {}, `${method(job)}; ${begun(job)}`)],
    job.densities.join(", "), h("span", { class: `state ${job.state}`, "data-state": job.id }, standing(job)),
    h("button", { type: "button", "data-focus": `end ${job.id}`, "aria-label": `${what}: ${name}`, onclick: () => end(job) }, what),
  ];
}

async function keepFresh() {
  if (state.refreshing || state.jobs.every(ended)) return;
  state.refreshing = true;
  await pause(REFRESH);
  state.refreshing = false;
  await trying("page-error", showJobs);
}

async function end(job) {
  await trying("page-error", async () => {
    // What ended since it was listed is kept: DELETE would remove its ticket.
    if (!ended(job) && ended(await read(`/jobs/${job.id}`))) return showJobs();
    await call("DELETE", `/jobs/${job.id}`);
    say(ended(job) ? "The job is removed" : "The job is cancelled");
    if (ended(job) && state.shown === job.id) location.hash = "";
    byId("work").focus({ preventScroll: true });
    return showJobs();
  });
}

// ---- the job that is shown

function route() {
  const id = location.hash.slice(1);
  if (id === state.shown || !state.choices) return;
  state.watched?.abort();
  state.shown = null;
  byId("job").hidden = true;
  if (/^[0-9a-f]{24}$/.test(id)) show(id);
}

function show(id) {
  state.shown = id;
  state.watched = new AbortController();
  const { signal } = state.watched;
  let said = 0, view = null;
  trying("page-error", () => follow(id, (job) => {
    if (signal.aborted) return;
    view ??= openJob(job);
    for (const node of [view.standing, document.querySelector(`[data-state="${job.id}"]`)]) {
      if (node) Object.assign(node, { textContent: standing(job), className: `state ${job.state}` });
    }
    view.bar.hidden = view.cancel.hidden = ended(job);
    if (job.progress) view.bar.value = job.progress.done / job.progress.total;
    else view.bar.removeAttribute("value");
    view.error.textContent = job.error ?? "";
    if (ended(job) || Date.now() - said > 1000 * SAID_SECONDS) {
      said = Date.now();
      say(`${title(job)}: ${standing(job)}`);
    }
    if (ended(job)) finish(job, view, signal);
  }, signal));
}

function openJob(job) {
  const view = {
    standing: h("span"), bar: h("progress", { max: 1, "aria-label": "Progress of the job" }), error: h("p", { class: "error" }),
    cancel: h("button", { type: "button", onclick: () => end(job) }, "Cancel"), body: h("div"),
  };
  byId("job").replaceChildren(
    h("h2", { id: "job-title", tabindex: "-1" }, title(job)),
    h("p", { class: "line" }, h("span", {}, method(job)), view.standing, view.bar, view.cancel), view.error, view.body);
  byId("job").hidden = false;
  byId("job-title").focus({ preventScroll: true });
  byId("job").scrollIntoView({ block: "nearest" });
  for (const link of document.querySelectorAll("#jobs a")) {
    if (link.hash === `#${job.id}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  return view;
}

async function finish(job, view, signal) {
  await trying("page-error", showJobs);
  if (job.state !== "done" || signal.aborted) return;
  const report = await trying("page-error", () => read(`/jobs/${job.id}/report`, signal));
  if (!report) return;
  const ticket = h("div"), comparison = h("div");
  const draw = (density) => {
    ticket.replaceChildren(ticketView(job, density, report, state.choices));
    comparison.replaceChildren(comparisonView(job, Number(density), state.jobs));
  };
  const densities = Object.keys(report.densities).sort((one, other) => other - one);
  const chosen = h("select", { id: "density", onchange: () => draw(chosen.value) }, densities.map((each) => h("option", {}, each)));
  view.body.replaceChildren(
    ...(densities.length > 1 ? [h("p", { class: "line" }, h("label", { for: "density" }, "Density"), chosen)] : []),
    ticket, h("section", { class: "part" }, h("h3", {}, "Comparison"), comparison));
  draw(densities[0]);
}

// ---- asking

byId("job-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = byId("prune");
  button.disabled = true;
  trying("form-error", async () => {
    const json = form.read(), text = JSON.stringify(json);
    // The same key where the same is asked again after no answer came.
    const key = state.asked.text === text ? state.asked.key : crypto.getRandomValues(new Uint32Array(4)).join("-");
    state.asked = { text, key };
    const answer = await call("POST", "/jobs", { json, headers: { "Idempotency-Key": key } });
    state.asked = {};
    location.hash = (await answer.json()).id;
    await showJobs();
  }).finally(() => { button.disabled = false; });
});

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value);
  byId("token").value = "";
  byId("token-about").textContent = hasToken() ? "(in use)" : "(kept in memory)";
  state.watched?.abort();
  state.shown = null;
  start();
});

addEventListener("hashchange", route);
start();
