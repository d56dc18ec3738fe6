"use strict";
// What a page can do with scripts on: tables that sort, pictures that open large, thresholds to try. Without them
// everything is there to read all the same.

const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// Tables with the class "sortable": each heading becomes a button.
const valueOf = (cell) => {
  const text = (cell.dataset.value ?? cell.textContent).trim().replace("\u2212", "-");
  if (text === "" || text === "\u2013") return null;
  const number = Number(text.replaceAll(",", "").replace(/\s*%$/, "").replace(/\s*±.*$/, ""));
  return Number.isNaN(number) ? text : number;
};
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
const sortBy = (table, place, direction) => {
  const lines = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[place]), row]);
  lines.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : direction * compare(a, b)));
  table.tBodies[0].append(...lines.map(([, row]) => row));
};
for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length < 3) continue;
  const headings = [...table.tHead.rows[0].cells];
  for (const [place, heading] of headings.entries()) {
    const button = made("button", { type: "button", className: "sort" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      sortBy(table, place, up ? 1 : -1);
    });
  }
}

// Pictures of cards: each opens in a dialog, which the arrow keys lead through.
const frames = [...document.querySelectorAll(".card .frame")].filter((frame) => frame.querySelector("img"));
if (frames.length) {
  const shown = made("div", { className: "shown" });
  const words = made("div", { className: "words" });
  const close = made("button", { type: "button", textContent: "Close", autofocus: true });
  const before = made("button", { type: "button", textContent: "\u2190 Previous" });
  const after = made("button", { type: "button", textContent: "Next \u2192" });
  const bar = made("div", { className: "bar" }, before, after, close);
  const dialog = made("dialog", { className: "large-picture" }, shown, words, bar);
  dialog.setAttribute("aria-label", "Picture");
  document.body.append(dialog);
  let at = 0;
  const show = (place) => {
    at = (place + frames.length) % frames.length;
    const pictures = [...frames[at].querySelectorAll("img")].map((image) => image.cloneNode());
    const [plain, heat] = [pictures.find((it) => !it.matches(".heat")), pictures.find((it) => it.matches(".heat"))];
    shown.replaceChildren(made("div", { className: "pane" }, plain));
    if (heat) shown.append(made("div", { className: "pane heated" }, plain.cloneNode(), heat));
    words.replaceChildren(...[...frames[at].closest(".card").children].slice(1).map((it) => it.cloneNode(true)));
  };
  const step = (by) => show(at + by);
  for (const [place, frame] of frames.entries()) {
    const name = frame.querySelector("img").alt;
    const button = made("button", { type: "button", className: "enlarge" }, ...frame.childNodes);
    button.setAttribute("aria-label", `${name}: enlarge`);
    frame.append(button);
    button.addEventListener("click", () => {
      show(place);
      dialog.showModal();
    });
  }
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => frames[at].querySelector("button").focus());
}

// Thresholds: the class, what is best, and the threshold are the reader's choice; the counts stand in the options.
const digits = (value) => (Number.isFinite(value) ? value.toFixed(3) : "\u2013");
const whole = (value) => value.toLocaleString("en-US");
for (const box of document.querySelectorAll(".thresholds")) {
  const one = (selector) => box.querySelector(selector);
  const field = (name) => one(`[name="${name}"]`);
  const svg = one("svg");
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const [left, below] = [Number(svg.dataset.left), Number(svg.dataset.below)];
  const lineOf = ({ positive }, [threshold, hits, alarms]) => {
    const missed = positive - hits;
    const [beta, miss, alarm] = ["beta", "miss", "alarm"].map((name) => Number(field(name).value) || 0);
    const squared = beta * beta;
    const fbeta = ((1 + squared) * hits) / ((1 + squared) * hits + squared * missed + alarms);
    const cost = missed * miss + alarms * alarm;
    const byCost = field("by").value === "cost";
    const precision = hits / (hits + alarms);
    const judged = byCost ? cost : fbeta;
    const better = byCost ? -cost : Number.isFinite(fbeta) ? fbeta : -1;
    return { threshold, hits, alarms, missed, precision, recall: hits / positive, judged, better, byCost };
  };
  const judgedText = (line) => (line.byCost ? whole(Math.round(line.judged * 100) / 100) : digits(line.judged));
  const place = (line) => [
    left + (width - left - 8) * line.recall,
    8 + (height - below - 8) * (1 - line.precision),
  ];
  const draw = () => {
    const option = field("of").selectedOptions[0];
    const { points, positive, rows, area } = option.dataset;
    const of = { positive: Number(positive), rows: Number(rows) };
    const lines = points.split(" ").map((point) => lineOf(of, point.split(":").map(Number)));
    const best = lines.reduce((top, line) => (line.better > top.better ? line : top));
    const at = Number(field("at").value);
    const chosen = lines.find((line) => line.threshold <= at + 1e-9) ?? lines.at(-1);
    const byCost = field("by").value === "cost";
    for (const label of box.querySelectorAll(".by-f")) label.hidden = byCost;
    for (const label of box.querySelectorAll(".by-cost")) label.hidden = !byCost;
    one(".judged").textContent = byCost ? "Cost" : `F${field("beta").value}`;
    one(".of").textContent = option.textContent;
    one(".area").textContent = area;
    one(".chance").textContent = digits(of.positive / of.rows);
    svg.setAttribute("aria-label", `Precision over recall of “${option.textContent}”: average precision ${area}.`);
    const drawn = lines.filter((line) => Number.isFinite(line.precision));
    one(".curve").setAttribute("d", `M${drawn.map((line) => place(line).map((it) => it.toFixed(1)).join(" ")).join("L")}`);
    const dot = one(".dot");
    dot.toggleAttribute("hidden", !Number.isFinite(chosen.precision));
    if (Number.isFinite(chosen.precision)) {
      const [x, y] = place(chosen);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
    }
    one(".chosen").textContent =
      `From ${chosen.threshold.toFixed(2)} on: ${whole(chosen.hits)} of ${whole(of.positive)} found, ` +
      `${whole(chosen.missed)} missed, ${whole(chosen.alarms)} false alarms; precision ${digits(chosen.precision)}, ` +
      `recall ${digits(chosen.recall)}, ${byCost ? "cost" : "F"} ${judgedText(chosen)}.`;
    const grid = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9].map((step) =>
      lines.find((line) => Math.abs(line.threshold - step) < 1e-9),
    );
    const row = (line, first) => {
      const name = first ? `best: ${line.threshold.toFixed(3)}` : line.threshold.toFixed(2);
      const cells = [digits(line.precision), digits(line.recall), whole(line.hits + line.alarms), whole(line.alarms),
        whole(line.missed), judgedText(line)];
      const heading = made("th", { scope: "row", textContent: name });
      return made("tr", { className: first ? "own" : "" }, heading, ...cells.map((text) => made("td", { textContent: text })));
    };
    one("tbody").replaceChildren(row(best, true), ...grid.map((line) => row(line, false)));
  };
  one(".controls").hidden = false;
  box.addEventListener("input", draw);
  draw();
}
