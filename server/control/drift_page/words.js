// Words: figures and times as people read them, and elements to put them in. Used by all of this page's scripts.
// Always: what came from the server becomes text, never markup.

export const STEPS = [0.02, 0.05, 0.1, 0.2, 0.5];

/** An element. `class` and `text` are what they say, all else is an attribute; false and null leave one out. */
export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) element.textContent = text;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** 0 to STEPS.length: which colour a figure has. */
export function stepOf(value) {
  return STEPS.filter((from) => value >= from).length;
}

/** What each colour means. */
export function stepWords() {
  return [`below ${STEPS[0]}`, ...STEPS.map((from) => `from ${from}`)];
}

export function psi(value) {
  return (Math.abs(value) < 0.0005 ? 0 : value).toFixed(3).replace("-", "\u2212");
}

export function short(value) {
  return (Math.abs(value) < 0.005 ? 0 : value).toFixed(2).replace("-", "\u2212");
}

export function whole(value) {
  return Math.round(value).toLocaleString("en-GB");
}

export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** A change of a share, in points of a hundred, with its sign. */
export function points(change) {
  const text = (100 * Math.abs(change)).toFixed(1);
  if (text === "0.0") return "0.0";
  return `${change < 0 ? "\u2212" : "+"}${text}`;
}

/** A large or small number by its logarithm: 0.31, 5,200, 3.1 × 10^12. */
export function byLogarithm(logarithm) {
  const tens = logarithm / Math.LN10;
  if (tens > -3 && tens < 5) {
    const value = Math.exp(logarithm);
    return value >= 100 ? whole(value) : String(Number(value.toPrecision(2)));
  }
  let exponent = Math.floor(tens);
  let mantissa = (10 ** (tens - exponent)).toFixed(1);
  if (mantissa === "10.0") [mantissa, exponent] = ["1.0", exponent + 1];
  return `${mantissa} \u00d7 10${superscript(exponent)}`;
}

function superscript(number) {
  const digits = { "-": "\u207b", 0: "\u2070", 1: "\u00b9", 2: "\u00b2", 3: "\u00b3" };
  return [...String(number)].map((one) => digits[one] ?? String.fromCharCode(0x2070 + Number(one))).join("");
}

const CLOCK = { hour: "2-digit", minute: "2-digit", hour12: false, timeZone: "UTC" };
const DATE = { day: "numeric", month: "short", timeZone: "UTC" };
const LONG_DATE = { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
const DAY_MS = 86_400_000;

const clock = new Intl.DateTimeFormat("en-GB", CLOCK);
const date = new Intl.DateTimeFormat("en-GB", DATE);
const longDate = new Intl.DateTimeFormat("en-GB", LONG_DATE);

/** For the top of a column: when the unit of a window begins. */
export function columnLabel(seconds, length) {
  const at = new Date(seconds * 1000);
  if (length === "day" || length === "week") return date.format(at);
  return at.getTime() % DAY_MS === 0 ? date.format(at) : clock.format(at);
}

/** From when to when a window is: "28 September 2026, 09:41 to 09:42", without what both have in common. */
export function spanOf(start, end) {
  const [from, to] = [new Date(start), new Date(end)];
  const [first, last] = [longDate.format(from), longDate.format(to)];
  if (first === last) return `${first}, ${clock.format(from)} to ${clock.format(to)}`;
  return `${first}, ${clock.format(from)} to ${last}, ${clock.format(to)}`;
}

/** As `spanOf`, where there is little room. */
export function shortSpan(start, end) {
  const [from, to] = [new Date(start), new Date(end)];
  const times = `${clock.format(from)} to ${clock.format(to)}`;
  return to - from < DAY_MS / 2 ? `${date.format(from)}, ${times}` : `${date.format(from)} to ${date.format(to)}`;
}

/** "x" or "xs". */
export function counted(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}
