// The heat map: features in rows, windows in columns, one tab stop. Arrow keys move, Enter or a click opens a feature.
// Used by drift.js. Always: a cell's figure is its text, whatever its colour; drawing anew keeps the focus where it was.

import { columnLabel, counted, make, psi, short, shortSpan, spanOf, stepOf, stepWords, whole } from "./words.js";

const ROWS_FIRST = 25;
const PAGE_ROWS = 10;
const NAMES = { debiased: "debiased PSI", psi: "PSI" };

export class HeatMap {
  /** parts: elements by name: grid, readout, legend, hint, note. open: called with a feature's name and a window or null. */
  constructor(parts, open) {
    this.parts = parts;
    this.open = open;
    this.showsAll = false;
    this.focus = null; // what has the tab stop: a feature's name, and a window or null for its row's head
    this.chosen = { feature: null, window: null };
    parts.grid.addEventListener("keydown", (event) => this.#pressed(event));
    parts.grid.addEventListener("click", (event) => this.#clicked(event));
    parts.grid.addEventListener("focusin", (event) => this.#focused(event.target.closest("[data-row]")));
    parts.grid.addEventListener("pointerover", (event) => this.#readOut(event.target.closest("[data-row]")));
    parts.grid.addEventListener("pointerleave", () => this.#readOut(this.table?.querySelector("[tabindex='0']")));
  }

  /** known: the server's document, with features. measure: "debiased" or "psi". */
  draw(known, measure, withNumbers) {
    [this.known, this.measure, this.withNumbers] = [known, measure, withNumbers];
    const { grid, readout, legend, hint, note } = this.parts;
    const had = grid.contains(document.activeElement);
    this.table = this.#table();
    const more = known.features.length - this.#rows().length;
    grid.replaceChildren(this.table);
    if (more > 0) grid.append(this.#moreButton(more));
    grid.classList.toggle("with-numbers", withNumbers);
    this.table.style.setProperty("--columns", known.columns.length);
    grid.scrollLeft = grid.scrollWidth;
    legend.replaceChildren(...this.#legend());
    hint.textContent = this.#hint();
    note.textContent = this.#note();
    if (!readout.textContent) readout.textContent = "Point at a cell, or move with the arrow keys, to read it.";
    const kept = this.focus ?? {};
    const head = this.table.querySelector("tbody th");
    const place = this.#placed(kept) ?? this.#placed({ ...kept, window: null }) ?? head;
    place?.setAttribute("tabindex", "0");
    if (had && place) place.focus({ preventScroll: true });
    this.choose(this.chosen.feature, this.chosen.window);
  }

  /** Nothing to draw: known.reason says why. */
  clear() {
    this.known = this.table = null;
    for (const part of Object.values(this.parts)) part.replaceChildren();
  }

  /** Marks what is open. */
  choose(feature, window) {
    this.chosen = { feature, window };
    for (const one of this.table?.querySelectorAll("[aria-selected]") ?? []) one.removeAttribute("aria-selected");
    for (const one of this.table?.querySelectorAll("tr.chosen") ?? []) one.classList.remove("chosen");
    const place = this.#placed({ feature, window }) ?? this.#placed({ feature, window: null });
    place?.setAttribute("aria-selected", "true");
    place?.closest("tr").classList.add("chosen");
  }

  /** Back to where somebody came from. */
  takeFocus() {
    this.table?.querySelector("[tabindex='0']")?.focus();
  }

  #rows() {
    return this.showsAll ? this.known.features : this.known.features.slice(0, ROWS_FIRST);
  }

  #table() {
    const { columns, length } = this.known;
    const words = `${NAMES[this.measure]} of ${counted(this.known.features.length, "feature")} over ${counted(columns.length, length)}, the newest on the right. Arrow keys move, Enter opens a feature.`;
    const every = columns.length > 14 ? 5 : 3;
    const heads = columns.map((column, at) =>
      make(
        "th",
        { scope: "col" },
        make("span", { class: "hidden", text: spanOf(column.start_utc, column.end_utc) }),
        (columns.length - 1 - at) % every === 0 && at >= Math.min(2, columns.length - 1)
          ? make("span", { class: "time", "aria-hidden": "true", text: columnLabel(column.window, length) })
          : null,
      ),
    );
    const corner = make("th", { scope: "col", class: "corner" }, make("span", { text: "Feature" }), this.#cornerFigure());
    return make(
      "table",
      { role: "grid", "aria-labelledby": "heat-map-title" },
      make("caption", { class: "hidden", text: words }),
      make("thead", {}, make("tr", {}, corner, ...heads)),
      make("tbody", {}, ...this.#rows().map((feature, row) => this.#row(feature, row))),
    );
  }

  #cornerFigure() {
    const judged = this.known.judged?.measured;
    return judged ? make("span", { class: "figure", text: "judged, \u00b1 error" }) : null;
  }

  #row(feature, row) {
    const judged = feature.judged;
    const head = make(
      "th",
      { scope: "row", tabindex: "-1", "data-row": row, "data-feature": feature.name },
      make(
        "span",
        { class: "head" },
        make("span", { class: "mark" }, ...(judged?.moved ? movedMark() : [])),
        make("span", { class: "name", title: feature.name, text: feature.name }),
        judged ? make("span", { class: "figure", text: `${psi(judged.psi_debiased)} \u00b1 ${psi(judged.standard_error)}` }) : null,
      ),
    );
    return make("tr", {}, head, ...this.known.columns.map((column, at) => this.#cell(feature, row, column, at)));
  }

  #cell(feature, row, column, at) {
    const value = feature[this.measure][at];
    const few = column.rows < this.known.rows_min;
    const kind = value === null ? "none" : few ? "few" : String(stepOf(value));
    const text = value === null ? "no rows" : few ? `${short(value)}, too few rows` : short(value);
    const shown = { "data-row": row, "data-feature": feature.name, "data-window": column.window, "data-column": at };
    return make(
      "td",
      { ...shown, tabindex: "-1", "data-step": kind },
      make("span", { class: "value", text: kind === "few" || kind === "none" ? "" : text }),
      kind === "few" || kind === "none" ? make("span", { class: "hidden", text }) : null,
    );
  }

  #moreButton(more) {
    const button = make("button", { type: "button", class: "more", text: `Show ${counted(more, "more feature")}` });
    button.addEventListener("click", () => {
      this.showsAll = true;
      this.draw(this.known, this.measure, this.withNumbers);
      const first = this.table.querySelector(`th[data-row="${ROWS_FIRST}"]`);
      if (first) this.#moveTo(first);
    });
    return button;
  }

  #legend() {
    const steps = stepWords().map((text, step) => this.#swatch(String(step), text));
    const some = this.known.columns.some((column) => column.rows < this.known.rows_min);
    const few = some ? [this.#swatch("few", `fewer than ${whole(this.known.rows_min)} rows: says nothing`)] : [];
    const title = make("span", { class: "legend-title", text: NAMES[this.measure] });
    const someMoved = this.known.features.some((one) => one.judged?.moved);
    const mark = someMoved ? [make("li", {}, ...movedMark(), make("span", { text: "moved, as an alarm would name it" }))] : [];
    return [title, make("ul", {}, ...steps, ...few, ...mark)];
  }

  #swatch(step, text) {
    return make("li", {}, make("span", { class: "swatch", "data-step": step, "aria-hidden": "true" }), make("span", { text }));
  }

  #hint() {
    const { columns, length, order, features } = this.known;
    const first = columns[0];
    const span = spanOf(first.start_utc, columns.at(-1).end_utc);
    const by = order === "concern" ? "those of most concern first" : "the farthest from the reference first";
    return `${counted(columns.length, length)}, ${span}. ${counted(features.length, "feature")}, ${by}.`;
  }

  #note() {
    const { left_out: leftOut, judged, rows_between: between, length } = this.known;
    const notes = ["Every window is held against the training reference here."];
    if (this.measure === "debiased") {
      notes.push(
        judged?.measured
          ? "How many of its rows are independent is known for the last window only, and is used for the older ones, too."
          : "How many rows are independent is not known yet: all are taken to be.",
      );
    }
    if (judged?.measured && judged.against !== "the training reference") {
      notes.push(`What is judged is the last window against ${judged.against}: see the figures beside the names.`);
    }
    if (between > 1) notes.push(`One row of ${whole(between)} is counted: the model has many features.`);
    if (leftOut.features) notes.push(`${counted(leftOut.features, "feature")} of least concern left out.`);
    if (leftOut.windows) notes.push(`${counted(leftOut.windows, `older ${length}`)} in memory, not shown.`);
    return notes.join(" ");
  }

  // --- Moving --------------------------------------------------------------------------------------------------------
  #placed({ feature, window }) {
    if (!feature || !this.table) return null;
    const name = CSS.escape(feature);
    const cell = window === null ? "th" : `td[data-window="${window}"]`;
    return this.table.querySelector(`${cell}[data-feature="${name}"]`);
  }

  #at(row, column) {
    const rows = this.table.tBodies[0].rows;
    return rows[Math.min(Math.max(row, 0), rows.length - 1)]?.cells[column] ?? null;
  }

  #pressed(event) {
    const cell = event.target.closest("[data-row]");
    if (!cell || event.altKey || event.metaKey) return;
    const [row, column, last] = [Number(cell.dataset.row), cell.cellIndex, this.known.columns.length];
    const bottom = this.table.tBodies[0].rows.length - 1;
    const moves = {
      ArrowRight: [row, Math.min(column + 1, last)],
      ArrowLeft: [row, Math.max(column - 1, 0)],
      ArrowDown: [row + 1, column],
      ArrowUp: [row - 1, column],
      PageDown: [row + PAGE_ROWS, column],
      PageUp: [row - PAGE_ROWS, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? bottom : row, last],
    };
    if (event.key in moves) {
      event.preventDefault();
      this.#moveTo(this.#at(...moves[event.key]));
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#opened(cell, true);
    }
  }

  #clicked(event) {
    const cell = event.target.closest("[data-row]");
    if (!cell) return;
    this.#moveTo(cell);
    this.#opened(cell, false);
  }

  #opened(cell, byKey) {
    const window = cell.dataset.window;
    this.open(cell.dataset.feature, window === undefined ? null : Number(window), byKey);
  }

  #moveTo(cell) {
    for (const one of this.table.querySelectorAll("tbody [tabindex='0']")) one.setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
    cell.focus();
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #focused(cell) {
    if (!cell) return;
    const window = cell.dataset.window;
    this.focus = { feature: cell.dataset.feature, window: window === undefined ? null : Number(window) };
    this.#readOut(cell);
  }

  #readOut(cell) {
    const { readout } = this.parts;
    if (!cell || !this.known) return;
    const feature = this.known.features[Number(cell.dataset.row)];
    const at = cell.dataset.column;
    if (at === undefined) {
      readout.textContent = `${feature.name}: weighs ${(100 * feature.weight).toFixed(1)} % of the bet`;
      return;
    }
    const column = this.known.columns[Number(at)];
    const [debiased, plain] = [feature.debiased[at], feature.psi[at]];
    const figures = plain === null ? "no rows" : `debiased PSI ${psi(debiased)}, PSI ${psi(plain)}`;
    readout.textContent = `${feature.name}: ${figures}, ${counted(column.rows, "row")}, ${shortSpan(column.start_utc, column.end_utc)}`;
  }
}

function movedMark() {
  return [make("span", { class: "moved", "aria-hidden": "true", text: "\u25cf" }), make("span", { class: "hidden", text: "moved: " })];
}
