// One feature: its figures, and how its rows fall into bins, reference against live. Used by drift.js.
// Always: what is not known of a window is said not to be; a rule of thumb is called one.

import { byLogarithm, make, percent, points, psi, spanOf, whole } from "./words.js";

/** root: emptied and filled. known: the server's document. limits: of the last report, or null. back: on the way out. */
export function drawFeature(root, known, limits, back) {
  const { window } = known;
  const title = make("h2", { id: "feature-title", tabindex: "-1", text: known.name });
  const close = make("button", { type: "button", class: "back", text: "Back to the heat map" });
  close.addEventListener("click", back);
  const when = `${window.is_last ? "Last" : "An older"} ${known.length}: ${spanOf(window.start_utc, window.end_utc)}`;
  const what = `A ${known.kind}, ${percent(known.weight)} of the bet`;
  const parts = [
    make("div", { class: "feature-top" }, title, close),
    make("p", { class: "when", text: when }),
    known.judged ? make("p", { class: "said", "data-moved": known.judged.moved, text: said(known, limits) }) : null,
    make("dl", { class: "figures" }, ...figures(known, limits)),
    known.judged ? null : make("p", { class: "note unknown", text: known.unknown }),
    make("p", { class: "note", text: `${what}. Its figures are against ${known.against}${known.against === "the training reference" ? "" : "; the bins below show the training reference"}.` }),
    make("p", { class: "keys", "aria-hidden": "true" }, key("reference", "reference"), key("live", window.is_last ? `last ${known.length}` : `this ${known.length}`)),
    histogram(known),
    ...rare(known),
  ];
  root.replaceChildren(...parts.filter((part) => part));
  root.hidden = false;
  root.style.setProperty("--height", `${root.offsetHeight}px`);
}

/** In one sentence. */
function said(known, limits) {
  const { judged } = known;
  if (judged.moved) return "It moved: by more than chance would, and by enough to matter.";
  if (judged.named) return `It moved by more than chance would, but not surely by more than ${limits.tau}, which is what matters.`;
  if (judged.practical) return "It is far off, but chance may have done that.";
  return "Nothing that chance would not do.";
}

function figures(known, limits) {
  const { judged, counted, window } = known;
  if (!judged) return counted ? countedFigures(counted, window) : [figure("Rows", data(0, "none"), "")];
  return [
    figure("PSI", data(judged.psi, psi(judged.psi), "psi"), bandWords(judged.rule_of_thumb)),
    figure(
      "Debiased PSI",
      [data(judged.psi_debiased, psi(judged.psi_debiased), "psi_debiased"), " \u00b1 ", data(judged.standard_error, psi(judged.standard_error), "standard_error")],
      "less what chance gives, with its standard error",
    ),
    figure(
      "Effective sample",
      data(judged.effective_rows, whole(judged.effective_rows), "effective_rows"),
      [`of ${whole(judged.rows)} rows: phi is `, data(judged.phi, judged.phi.toFixed(2), "phi")],
    ),
    figure("e-value", data(judged.log_e, byLogarithm(judged.log_e), "log_e"), "what a bet on a shift has won; 1 without one"),
    figure("Named", yesNo(judged.named, "named"), `no accident: e-BH at ${100 * limits.false_discoveries} %`),
    figure("Practical", yesNo(judged.practical, "practical"), `${limits.z} standard errors above ${limits.tau}`),
  ];
}

function countedFigures(counted, window) {
  return [
    figure("PSI", data(counted.psi, psi(counted.psi), "psi"), bandWords(counted.band)),
    figure("Debiased PSI", data(counted.debiased, psi(counted.debiased), "psi_debiased"), "as in the heat map"),
    figure("Rows", data(window.rows, whole(window.rows), "rows"), "of this window"),
  ];
}

function bandWords(word) {
  return `${word}, by a rule of thumb that decides nothing`;
}

function figure(name, value, words) {
  const [values, notes] = [[value].flat(), [words].flat()];
  return make(
    "div",
    {},
    make("dt", { text: name }),
    make("dd", {}, make("span", { class: "value" }, ...values), make("span", { class: "of" }, ...notes)),
  );
}

/** The number itself stays readable by programs, however it is shown. */
function data(value, text, name) {
  return make("data", { value: String(value), "data-name": name, text });
}

function yesNo(is, name) {
  return data(is, is ? "yes" : "no", name);
}

// --- Bins ------------------------------------------------------------------------------------------------------------
function histogram(known) {
  const reference = sum(known.bins, "reference");
  const live = sum(known.bins, "live");
  const rows = known.bins.map((bin) => ({
    label: bin.label,
    reference: bin.reference / Math.max(reference, 1),
    live: bin.live / Math.max(live, 1),
    counts: bin,
  }));
  const most = Math.max(...rows.map((row) => Math.max(row.reference, row.live)), Number.MIN_VALUE);
  const head = make(
    "tr",
    {},
    make("th", { scope: "col", text: "Bin" }),
    make("td", { "aria-hidden": "true" }),
    make("th", { scope: "col", class: "number", text: "Reference" }),
    make("th", { scope: "col", class: "number", text: "Live" }),
    make("th", { scope: "col", class: "number", text: "Change" }),
  );
  const caption = `Shares of the rows of ${known.name} by bin: ${whole(reference)} rows of the reference, ${whole(live)} live ones. Changes are in points of a hundred.`;
  return make(
    "table",
    { class: "bins" },
    make("caption", { class: "hidden", text: caption }),
    make("thead", {}, head),
    make("tbody", {}, ...rows.map((row) => binRow(row, most))),
  );
}

function binRow({ label, reference, live, counts }, most) {
  const isEmpty = counts.reference === 0 && counts.live === 0;
  return make(
    "tr",
    { class: isEmpty ? "empty-bin" : null },
    make("th", { scope: "row", text: label }),
    make("td", { class: "bars", "aria-hidden": "true" }, bar("reference", reference / most), bar("live", live / most)),
    make("td", { class: "number", text: percent(reference), "data-count": counts.reference }),
    make("td", { class: "number", text: percent(live), "data-count": counts.live }),
    make("td", { class: "number", text: points(live - reference) }),
  );
}

function bar(kind, share) {
  const element = make("span", { class: `bar-${kind}` });
  element.style.setProperty("--share", share.toFixed(4));
  return element;
}

function key(kind, text) {
  return make("span", { class: "key" }, make("span", { class: `bar-${kind} swatch-bar` }), text);
}

function rare(known) {
  if (known.rare_bins < 2) return [];
  const text = `${known.rare_bins} bins that the reference hardly has are judged as one: what is new stands out there.`;
  return [make("p", { class: "note", text })];
}

function sum(bins, name) {
  return bins.reduce((total, bin) => total + bin[name], 0);
}
