// A job: what it is called, where it stands, and following it to its end.

import { duration } from "/page/numbers.js";
import { Refused, events, pause, read } from "/page/service.js";

const ENDED = ["done", "failed", "cancelled"];
const POLL = 1500;

export const ended = (job) => ENDED.includes(job.state);

export function title(job) {
  const { network = "lenet_300_100", task, weights } = job.request;
  return `${network}${weights ? " with own weights" : ""} on ${task ?? "no data"}`;
}

export function method(job) {
  const { scorer, on, predictor, regime, passes } = job.request;
  if (!scorer && !predictor && !regime) return `${passes ?? 4} passes`;
  const scores = predictor && (!scorer || scorer === "predicted") ? predictor : (scorer ?? "synflow_l2_data");
  return `${scores}${on ? ` on ${on === "predicted" ? predictor : on}` : ""}${regime ? `, ${regime}` : ""}`;
}

// What tells jobs of the same network and method apart.
export function begun(job) {
  const when = new Date(1000 * job.created).toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
  return `seed ${job.request.seed ?? 0}, asked for ${when}`;
}

export function standing(job) {
  if (job.state === "queued") return job.waiting_before ? `waiting, ${job.waiting_before} before it` : "waiting";
  if (job.state === "failed") return "failed";
  if (job.state !== "running" || !job.progress) return job.state;
  const { done, total, seconds_left: left } = job.progress;
  return `${Math.floor((100 * done) / total)} %${left === null ? "" : `, about ${duration(left)} left`}`;
}

// Tells of a job whenever something changes: by events, and by asking where these break off.
export async function follow(id, tell, signal) {
  let job = null;
  try {
    for await (const found of events(`/jobs/${id}/events`, signal)) tell(job = found);
  } catch (error) {
    if (signal.aborted || error.status >= 400) throw error;
  }
  while (!job || !ended(job)) {
    try {
      tell(job = await read(`/jobs/${id}`, signal));
    } catch (error) {
      if (!(error instanceof Refused) || error.status >= 400) throw error;
    }
    if (!job || !ended(job)) await pause(POLL);
    if (signal.aborted) return;
  }
}
