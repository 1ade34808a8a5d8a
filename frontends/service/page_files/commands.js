// The same by other means: the lines of the command line and of Python for a job's request.

const SETTINGS = ["scorer_settings", "regime_settings", "recipe_settings"];
const OWN = ["network", "task", "density", "seed", "weights", ...SETTINGS];
const WEIGHTS = "weights.safetensors";
const option = (name) => `--${name.replaceAll("_", "-")}`;
const listed = (density) => (Array.isArray(density) ? density : [density ?? 0.02]);

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function settingWords(settings) {
  return Object.entries(settings).flatMap(([name, value]) => {
    if (value === true) return [option(name)];
    if (value === false) return [`--no-${option(name).slice(2)}`];
    return [option(name), Array.isArray(value) ? `[${value}]` : String(value)];
  });
}

// Null where the command line has no words for it: it always has a task.
export function commandLine(request, origin, known) {
  if (!request.task) return null;
  const task = request.task in known.tasks || request.task.includes(":") ? request.task : `tensors:${request.task}.safetensors`;
  const words = ["scratchcard", "prune", "--network", request.network ?? "lenet_300_100", "--task", task,
    "--density", listed(request.density).join(","), "--seed", String(request.seed ?? 0)];
  if (request.weights) words.push("--weights", WEIGHTS);
  const method = Object.entries(request).filter(([name, value]) => !OWN.includes(name) && value !== null);
  words.push(...settingWords(Object.fromEntries(method)));
  for (const [name, value] of Object.entries(request.scorer_settings ?? {})) words.push("--set", `${name}=${value}`);
  words.push(...settingWords(request.regime_settings ?? {}), ...settingWords(request.recipe_settings ?? {}));
  const isShipped = !request.predictor || request.predictor in known.shipped;
  return [...words, ...(isShipped ? [] : ["--server", origin])].map(quoted).join(" ");
}

function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, each]) => `${literal(name)}: ${literal(each)}`).join(", ")}}`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

export function pythonLines(request, origin, known) {
  const { network = "lenet_300_100", task, density, ...rest } = request;
  const isUploaded = task && !(task in known.tasks) && !task.includes(":");
  const named = { seed: rest.seed ?? 0, ...rest };
  for (const name of SETTINGS) delete named[name];
  if (rest.weights) named.weights = WEIGHTS;
  if (rest.scorer_settings) named.scorer = { name: rest.scorer, ...rest.scorer_settings };
  Object.assign(named, rest.regime_settings ?? {});
  if (rest.recipe_settings) named.recipe_settings = rest.recipe_settings;
  const several = Array.isArray(density) && density.length > 1;
  const words = [literal(network), isUploaded ? literal(`tensors:${task}.safetensors`) : literal(task),
    `density=${literal(several ? density : listed(density)[0])}`,
    ...Object.entries(named).map(([name, value]) => `${name}=${literal(value)}`)];
  return ["import scratchcard as sc", "",
    `with sc.Client(${literal(origin)}) as client:`,
    `    ${several ? "tickets" : "ticket"} = client.prune(${words.join(", ")})`,
  ].join("\n");
}
