// The drift page: what is chosen, what the server says of it, and news of it while the page is seen.
// Always: the address bar holds what is chosen; an answer that was overtaken by another choice is dropped; a page that
// nobody sees listens to nothing.

import { drawFeature } from "./feature.js";
import { HeatMap } from "./heat_map.js";
import { byLogarithm, counted, make, short, spanOf, whole } from "./words.js";

const AGAIN_MS = 30_000;
const WIDE = matchMedia("(min-width: 44rem)");
const [COLUMNS_WIDE, COLUMNS_NARROW] = [30, 10];
const TITLES = { drift: "have drifted", quiet: "are quiet", not_enough: "say too little" };

const at = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const chosen = {
  model: asked.get("model"),
  signal: oneOf("signal", ["inputs", "predictions"]),
  length: oneOf("length", ["minute", "hour", "day", "week"]),
  feature: asked.get("feature"),
  window: null,
  follows: !asked.get("feature"), // whatever is of most concern
  measure: oneOf("measure", ["debiased", "psi"]),
};

function oneOf(name, words) {
  return words.includes(asked.get(name)) ? asked.get(name) : words[0];
}

const parts = { grid: at("grid"), readout: at("readout"), legend: at("legend"), hint: at("heat-map-hint"), note: at("heat-map-note") };
const heatMap = new HeatMap(parts, open);

let known = null; // the document that is shown
let [turn, featureTurn] = [0, 0]; // grow with each question, so that late answers are known as such
let stream = null;
let again = 0;

// --- Asking ----------------------------------------------------------------------------------------------------------
async function ask(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  const answer = await fetch(`drift/${path}${text && "?"}${text}`, { cache: "no-store" });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `The server answered with status ${answer.status}.`);
  return body;
}

function columns() {
  return WIDE.matches ? COLUMNS_WIDE : COLUMNS_NARROW;
}

/** Models first, then the chosen one's heat map, then the feature that is open. */
async function load() {
  const mine = ++turn;
  try {
    const { models } = await ask("models");
    if (mine !== turn) return;
    showModels(models);
    if (!chosen.model) return showNothing("No model is served.");
    const { model, signal, length } = chosen;
    const found = await ask("heat-map", { model, signal, length, windows: columns() });
    if (mine !== turn) return;
    known = found;
    showProblem("");
    showVerdict();
    await showHeatMap();
  } catch (error) {
    if (mine === turn) showProblem(`${error instanceof TypeError ? "The server does not answer." : error.message} What is shown may be old.`);
  }
}

async function showHeatMap() {
  if (!known.features.length) return showNothing(known.reason);
  at("sheet").hidden = false;
  heatMap.draw(known, chosen.measure, at("numbers").checked);
  if (chosen.follows || !known.features.some((one) => one.name === chosen.feature)) {
    [chosen.feature, chosen.window] = [known.features[0].name, null];
  }
  if (!known.columns.some((column) => column.window === chosen.window)) chosen.window = null;
  await showFeature();
}

async function showFeature() {
  const mine = ++featureTurn;
  const { model, signal, length, feature, window } = chosen;
  const found = await ask("feature", { model, signal, length, feature, ...(window === null ? {} : { window }) });
  if (mine !== featureTurn) return;
  const had = at("feature").contains(document.activeElement);
  drawFeature(at("feature"), found, known.judged, () => heatMap.takeFocus());
  if (had) at("feature-title").focus({ preventScroll: true });
  heatMap.choose(feature, window);
  keepAddress();
}

/** From the heat map. window: null for the last one. */
async function open(feature, window, byKey) {
  const last = known.judged?.window ?? known.columns.at(-1).window;
  Object.assign(chosen, { feature, window: window === last ? null : window, follows: false });
  try {
    await showFeature();
    const beside = at("feature").offsetTop < at("heat-map").offsetTop + at("heat-map").offsetHeight / 2;
    if (byKey || !beside) at("feature-title").focus({ preventScroll: beside });
  } catch (error) {
    showProblem(error.message);
  }
}

// --- Showing ---------------------------------------------------------------------------------------------------------
function showModels(models) {
  if (!models.some((one) => one.name === chosen.model)) chosen.model = models[0]?.name ?? null;
  const options = models.map(({ name, verdict }) => make("option", { value: name, text: verdict === "drift" ? `${name} (drift)` : name }));
  const select = at("model");
  const [before, now] = [select.options, options].map((all) => [...all].map((one) => one.text).join("\n"));
  if (before !== now) select.replaceChildren(...options);
  select.value = chosen.model ?? "";
}

function showVerdict() {
  const { judged, signal, length } = known;
  const name = signal[0].toUpperCase() + signal.slice(1);
  at("verdict").dataset.verdict = judged?.verdict ?? "none";
  at("verdict-title").textContent = judged ? `${name} ${TITLES[judged.verdict]}` : notJudged(name);
  at("why").replaceChildren(...withCommands(judged?.why ?? (known.reason || known.not_judged)));
  at("facts").replaceChildren(...facts(judged, length));
  at("alerts").replaceChildren(...alerts());
  document.title = `${judged?.verdict === "drift" ? "Drift: " : ""}${known.model} · Roost`;
}

function notJudged(name) {
  if (!known.signals.length) return "Drift is not seen";
  return known.reason ? "Nothing to see yet" : `${name} are not judged`;
}

function facts(judged, length) {
  const version = known.version ? [fact("Version", `${known.version}, ${known.digest.slice(0, 8)}`)] : [];
  if (!judged) return version;
  const detector = judged.log_detector === null ? "0" : byLogarithm(judged.log_detector);
  return [
    fact(`Last ${length}`, spanOf(judged.start_utc, judged.end_utc)),
    fact("Rows", whole(judged.rows)),
    ...(judged.measured ? [fact("Weighted PSI", short(judged.weighted_psi))] : []),
    fact("Detector", `${detector} of ${whole(judged.threshold)}`),
    ...(judged.measured ? [fact("Held against", judged.against)] : []),
    ...version,
  ];
}

function fact(name, text) {
  return make("div", {}, make("dt", { text: name }), make("dd", { text }));
}

function alerts() {
  if (!known.alerts.length) return [make("p", { class: "none", text: "No alert of drift stands." })];
  const lines = known.alerts.map(({ key, text }) => make("li", {}, make("strong", { text: key }), ": ", ...withCommands(text)));
  return [make("h3", { text: known.alerts.length === 1 ? "An alert stands" : `${known.alerts.length} alerts stand` }), make("ul", {}, ...lines)];
}

/** What stands between backquotes is a command. */
function withCommands(text) {
  return text.split("`").map((part, place) => (place % 2 ? make("code", { text: part }) : part));
}

/** A sentence in the place of the heat map. */
function showNothing(reason) {
  at("sheet").hidden = true;
  heatMap.clear();
  const others = (known?.lengths ?? []).filter((one) => one.windows > 0).map((one) => one.word);
  const hint = others.length ? ` Choose ${others.join(" or ")}: of these there are.` : "";
  at("why").textContent = `${reason}${hint}`;
  if (!chosen.model) at("verdict-title").textContent = "Nothing to see yet";
  keepAddress();
}

function showProblem(text) {
  at("problem").hidden = !text;
  at("problem").textContent = text;
}

function keepAddress() {
  const { model, signal, length, measure } = chosen;
  const feature = chosen.follows ? null : chosen.feature;
  const kept = Object.entries({ model, signal, length, feature }).filter(([, value]) => value);
  if (measure === "psi") kept.push(["measure", measure]);
  history.replaceState(null, "", `?${new URLSearchParams(kept)}`);
}

// --- News ------------------------------------------------------------------------------------------------------------
function listen() {
  stream?.close();
  clearTimeout(again);
  stream = null;
  if (!chosen.model || document.hidden) return;
  showLive("waiting", "Connecting");
  stream = new EventSource(`drift/events?${new URLSearchParams({ model: chosen.model })}`);
  stream.onopen = () => showLive("live", "Live");
  stream.onmessage = (event) => heard(JSON.parse(event.data));
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) {
      showLive("ended", "Not live: asked every 30 s");
      again = setTimeout(() => load().then(listen), AGAIN_MS);
    } else {
      showLive("waiting", "Connecting again");
    }
  };
}

function showLive(state, text) {
  at("live").dataset.state = state;
  at("live-text").textContent = text;
}

async function heard(news) {
  if (!isNew(news) && at("problem").hidden) return;
  const before = known?.judged?.end_utc;
  await load();
  const { judged, length } = known ?? {};
  if (judged && judged.end_utc !== before) {
    const name = `${known.signal} ${TITLES[judged.verdict]}`;
    at("news").textContent = `Another ${length}: ${name}, ${counted(judged.rows, "row")}.`;
  }
}

/** Whether the news is of what is shown, and not in it yet. */
function isNew(news) {
  if (!known || known.model !== news.model) return false;
  if (!known.judged || news.digest !== known.digest) return true;
  const mine = news.windows.find((one) => one.signal === known.signal && one.length === known.length);
  const keys = known.alerts.map((alert) => alert.key);
  return mine?.end_utc !== known.judged.end_utc || keys.join("\n") !== news.alerts.join("\n");
}

// --- Choosing --------------------------------------------------------------------------------------------------------
function begin() {
  at("model").addEventListener("change", (event) => {
    Object.assign(chosen, { model: event.target.value, window: null, follows: true });
    load().then(listen);
  });
  for (const name of ["signal", "length", "measure"]) {
    for (const radio of document.querySelectorAll(`input[name="${name}"]`)) {
      radio.checked = radio.value === chosen[name];
      radio.addEventListener("change", () => choose(name, radio.value));
    }
  }
  at("numbers").addEventListener("change", () => known?.features.length && heatMap.draw(known, chosen.measure, at("numbers").checked));
  at("feature").addEventListener("keydown", (event) => event.key === "Escape" && heatMap.takeFocus());
  WIDE.addEventListener("change", load);
  document.addEventListener("visibilitychange", () => (document.hidden ? listen() : load().then(listen)));
  load().then(listen);
}

function choose(name, value) {
  chosen[name] = value;
  if (name === "measure") {
    if (known?.features.length) heatMap.draw(known, value, at("numbers").checked);
    keepAddress();
    return;
  }
  Object.assign(chosen, { window: null, follows: chosen.follows || name === "signal" });
  load();
}

begin();
