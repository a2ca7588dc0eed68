"use strict";
// Texts and labels are written as text only (textContent): they are somebody else's.
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const CONTEXT = 60;
  const STEP = 60;

  // look.js, which stands before this, has changed the language by then.
  byId("language").addEventListener("click", () => fillSelects());
  const word = (key) => (data.words[key] || [key, key])[root.lang === "ja" ? 0 : 1];

  function element(tag, cls, ...content) {
    const made = document.createElement(tag);
    if (cls) made.className = cls;
    made.append(...content);
    return made;
  }
  /** A word in both languages, of which the style sheet shows one. */
  function both(key) {
    const [ja, en] = data.words[key] || [key, key];
    const parts = [element("span", "ja", ja), element("span", "en", en)];
    parts[0].lang = "ja";
    parts[1].lang = "en";
    return element("span", "", ...parts);
  }

  // --- mistakes
  const mistakes = data.mistakes.map(([record, kind, gold, found, sure, task, whose, suspect]) => ({
    record: data.records[record], number: record, kind, gold, found, sure, task, whose, suspect,
  }));
  let shown = mistakes;
  let written = 0;
  let pair = null;
  const list = byId("list");

  function fillSelects() {
    const kinds = count(mistakes.map((mistake) => mistake.kind));
    const labels = count(mistakes.flatMap((mistake) => labelsOf(mistake)));
    fill(byId("kind"), kinds, word);
    fill(byId("label"), labels, (label) => label);
    if (byId("whose")) {
      const names = { A: "only_a", B: "only_b", AB: "both" };
      fill(byId("whose"), count(Object.values(data.wrong)), (whose) => word(names[whose]));
    }
  }
  function labelsOf(mistake) {
    return [...new Set([mistake.gold, mistake.found].filter(Boolean).map((side) => side[0]))];
  }
  function count(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1]);
  }
  function fill(select, counts, name) {
    const chosen = select.value;
    const all = element("option", "", word("all"));
    all.value = "";
    select.replaceChildren(all, ...counts.map(([value, many]) => {
      const option = element("option", "", `${name(value)} (${many})`);
      option.value = value;
      return option;
    }));
    select.value = chosen;
  }

  function filter() {
    const wanted = byId("search").value.normalize("NFKC").toLowerCase();
    const kind = byId("kind").value;
    const label = byId("label").value;
    const whose = byId("whose") ? byId("whose").value : "";
    const suspects = byId("suspects").checked;
    shown = mistakes.filter((mistake) =>
      (!kind || mistake.kind === kind)
      && (!label || labelsOf(mistake).includes(label))
      && (!whose || data.wrong[mistake.number] === whose)
      && (!suspects || mistake.suspect)
      && (!pair || isOf(mistake, pair))
      && (!wanted || searched(mistake).includes(wanted)));
    byId("count").textContent = shown.length.toLocaleString();
    byId("pair").hidden = !pair;
    if (pair) {
      const name = `${pair.gold || "–"} → ${pair.found || "–"} ×`;
      byId("pair").textContent = pair.whose ? `${pair.whose}: ${name}` : name;
    }
    list.replaceChildren();
    written = 0;
    write();
  }
  const side = (of) => (of ? of[0] : "");
  /** What is under its threshold was found, and isn't said. */
  const answered = (mistake) => (mistake.kind === "uncertain" ? "" : side(mistake.found));
  /** Whether a number of a matrix counts a mistake: of that pipeline (A, B) and component. */
  const isOf = (mistake, { gold, found, task, whose }) =>
    side(mistake.gold) === gold && answered(mistake) === found
    && mistake.task === task && mistake.whose.includes(whose);
  function searched(mistake) {
    mistake.searched ??= [mistake.record.id, mistake.record.text, ...labelsOf(mistake)]
      .join("\n").normalize("NFKC").toLowerCase();
    return mistake.searched;
  }

  /** Write the next ones: ten thousand at once would keep a telephone busy for seconds. */
  function write() {
    list.append(...shown.slice(written, written + STEP).map(item));
    written = Math.min(written + STEP, shown.length);
    byId("more").hidden = written >= shown.length;
  }

  function item(mistake) {
    const head = element("div", "head", element("span", "id", both("record"), ` ${mistake.record.id}`));
    if (data.wrong[mistake.number]) head.append(element("span", "letter", mistake.whose));
    head.append(element("span", "kind", both(mistake.kind)));
    head.append(sideOf("annotated", mistake.gold), sideOf("found", mistake.found));
    if (mistake.sure !== null) {
      head.append(element("span", "", both("sure"), ` ${mistake.sure.toFixed(2)}`));
    }
    if (mistake.suspect) head.append(element("span", "suspect", both("suspect")));
    const text = element("p", "text");
    text.lang = "ja";
    const cut = coloured(text, mistake, CONTEXT);
    const made = element("li", "", head, text);
    if (cut) {
      const more = element("button", "", both("whole"));
      more.type = "button";
      more.addEventListener("click", () => {
        text.replaceChildren();
        coloured(text, mistake, Infinity);
        more.remove();
      });
      made.append(more);
    }
    return made;
  }
  function sideOf(name, of) {
    const label = of ? of[0] : null;
    return element("span", "", both(name), ": ", label === null ? both("nothing") : label);
  }

  /** Offsets count code points, as Python's do, not UTF-16 units as JavaScript's. */
  function coloured(into, mistake, context) {
    const text = Array.from(mistake.record.text);
    const sides = [[mistake.gold, "gold"], [mistake.found, "found"]].filter(([of]) => of);
    const whole = sides.every(([of]) => of[1] === 0 && of[2] === text.length);
    const first = whole ? 0 : Math.min(...sides.map(([of]) => of[1]));
    const last = whole ? 0 : Math.max(...sides.map(([of]) => of[2]));
    const from = Math.max(0, first - context);
    const to = Math.min(text.length, whole ? 4 * context : last + context);
    const cuts = new Set([from, to]);
    if (!whole) for (const [of] of sides) { cuts.add(of[1]); cuts.add(of[2]); }
    const borders = [...cuts].sort((a, b) => a - b);
    if (from > 0) into.append("…");
    for (let i = 0; i + 1 < borders.length; i++) {
      const piece = text.slice(borders[i], borders[i + 1]).join("");
      const cls = whole ? "" : sides
        .filter(([of]) => of[1] <= borders[i] && borders[i + 1] <= of[2])
        .map(([, name]) => name).join(" ");
      into.append(cls ? element("mark", cls, piece) : piece);
    }
    if (to < text.length) into.append("…");
    return from > 0 || to < text.length;
  }

  // --- files
  /** A cell that no spreadsheet takes for a formula. */
  function cell(value) {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = /^\s*[=+\-@＝＋－＠]|^[\t\r\n]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }
  function asCsv() {
    const rows = [["record", "kind", "annotated", "annotated_text", "found", "found_text",
      "confidence", "model", "suspect", "text"]];
    for (const mistake of shown) {
      const text = Array.from(mistake.record.text);
      const of = (part) => (part ? [part[0], text.slice(part[1], part[2]).join("")] : ["", ""]);
      rows.push([mistake.record.id, mistake.kind, ...of(mistake.gold), ...of(mistake.found),
        mistake.sure, mistake.whose, mistake.suspect ? 1 : 0, mistake.record.text]);
    }
    // The mark tells Excel that it is UTF-8.
    return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
  }
  function asJsonl() {
    const records = new Map(shown.map((mistake) => [mistake.number, mistake.record]));
    return [...records.values()].map((record) => `${JSON.stringify(record)}\n`).join("");
  }
  function save(name, type, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // --- wiring
  let waiting = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  for (const id of ["kind", "label", "whose", "suspects"]) {
    if (byId(id)) byId(id).addEventListener("change", filter);
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => { pair = null; setTimeout(filter); });
  byId("pair").addEventListener("click", () => { pair = null; filter(); byId("clear").focus(); });
  byId("csv").addEventListener("click", () => save("mistakes.csv", "text/csv", asCsv()));
  byId("jsonl").addEventListener("click", () => save("mistakes.jsonl", "application/jsonl", asJsonl()));
  byId("more").addEventListener("click", write);
  for (const button of document.querySelectorAll(".matrix button")) {
    button.addEventListener("click", () => {
      // The number counts all of them, whatever was searched for.
      byId("search").value = byId("kind").value = byId("label").value = "";
      if (byId("whose")) byId("whose").value = "";
      byId("suspects").checked = false;
      pair = { ...button.dataset };
      filter();
      byId("mistakes").scrollIntoView();
      byId("pair").focus();
    });
  }
  if ("IntersectionObserver" in window) {
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && written < shown.length) write();
    }, { rootMargin: "800px" }).observe(byId("more"));
  }
  fillSelects();
  filter();
})();
