"use strict";
// Everything that comes from a text or a model goes through textContent: it is never HTML.

const WORDS = {
  ja: {
    docs: "API", language: "English", text: "テキスト", model: "パイプライン", pieces: "単語片を表示",
    key: "API キー", analyze: "解析", entities: "固有表現", categories: "カテゴリー", pieces_title: "単語片",
    hint: "Ctrl+Enter でも解析できます。テキストはこのサービスにだけ送られ、記録されません。",
    working: "解析しています…", none: "固有表現は見つかりませんでした。", empty: "テキストを入力してください。",
    done: (n, ms) => `固有表現 ${n} 件（${ms} ミリ秒）`, took: (ms) => `${ms} ミリ秒`, needs_key: "API キーを入力してください。",
    unreachable: "サービスに接続できません。", no_pieces: "このパイプラインでは単語片を表示できません。",
    confidence: "信頼度", chosen: "該当", characters: "文字",
    questions: "質問（1 行に 1 つ）", answers: "回答", no_answer: "このテキストに答えはありません",
    sample: "田中さんは来月3日、長野県松本市の信州ホールで開かれる音楽祭に出かけます。駅から近くて、静かな部屋はありますか。",
  },
  en: {
    docs: "API", language: "日本語", text: "Japanese text", model: "Pipeline", pieces: "Show wordpieces",
    key: "API key", analyze: "Analyse", entities: "Entities", categories: "Categories", pieces_title: "Wordpieces",
    hint: "Ctrl+Enter works too. The text goes to this service alone, and isn't logged.",
    working: "Analysing…", none: "No entities were found.", empty: "Type a text first.",
    done: (n, ms) => `${n} ${n === 1 ? "entity" : "entities"}, ${ms} ms`, took: (ms) => `${ms} ms`, needs_key: "Type the API key.",
    unreachable: "The service can't be reached.", no_pieces: "This pipeline can't show wordpieces.",
    confidence: "confidence", chosen: "chosen", characters: "characters",
    questions: "Questions (one a line)", answers: "Answers", no_answer: "The text doesn't answer this",
    sample: null,
  },
};

const $ = (id) => document.getElementById(id);
let language = (navigator.language || "ja").startsWith("ja") ? "ja" : "en";
let shown = null;
let latest = 0;
// The names of the pipelines that answer questions.
let answering = new Set();

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// The same label has the same colour, on every page and at every time.
function hue(label) {
  let sum = 0;
  for (const char of label) sum = (sum * 31 + char.codePointAt(0)) >>> 0;
  return (sum * 137.508) % 360;
}

function percent(value) {
  return value === null ? "" : `${(100 * value).toFixed(1)}%`;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function translate() {
  const words = WORDS[language];
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-say]")) {
    element.textContent = words[element.dataset.say];
  }
  $("language").textContent = words.language;
  $("language").lang = language === "ja" ? "en" : "ja";
  if (shown) show(shown);
}

async function ask(address, body) {
  const headers = { "Content-Type": "application/json" };
  if ($("key").value) headers["Authorization"] = `Bearer ${$("key").value}`;
  const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error(WORDS[language].unreachable);
  }
  if (answer.status === 401) {
    $("key-label").hidden = false;
    throw new Error(WORDS[language].needs_key);
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(`${found.error.code}: ${found.error.message} (${found.error.request_id})`);
  return found;
}

async function loadModels() {
  const { models } = await ask("models");
  $("model").replaceChildren(...models.map((model) => {
    const option = make("option", model.name);
    option.value = model.name;
    return option;
  }));
  answering = new Set(models.filter((model) => model.answers_questions).map((model) => model.name));
  showQuestions();
}

function showQuestions() {
  $("questions-row").hidden = !answering.has($("model").value);
}

// One a line; none where the pipeline answers none.
function questions() {
  if ($("questions-row").hidden) return [];
  return $("questions").value.split("\n").map((line) => line.trim()).filter(Boolean);
}

function show({ text, found, ms }) {
  const words = WORDS[language];
  // Offsets count code points, JavaScript's strings half of some of them.
  const chars = Array.from(text);
  $("answer").hidden = false;
  showAnswers(chars, found.answers, words);
  showEntities(chars, found.entities, words);
  showCategories(found.categories, words);
  showPieces(chars, found, words);
  const onlyAnswers = Boolean(found.answers) && found.entities.length === 0;
  $("entities-section").hidden = onlyAnswers;
  say(onlyAnswers ? words.took(ms) : words.done(found.entities.length, ms));
}

function showAnswers(chars, answers, words) {
  $("answers-section").hidden = !answers;
  $("answers").replaceChildren(...(answers || []).flatMap(({ question, answers: found, no_answer }) => {
    const list = make("ol");
    for (const answer of found) {
      const item = make("li");
      // What stands around it, for whoever wants to see whether it fits.
      const before = chars.slice(Math.max(0, answer.start - 20), answer.start).join("");
      const after = chars.slice(answer.end, answer.end + 20).join("");
      const context = make("span");
      context.append(before, make("mark", answer.text), after);
      item.append(context, make("span", percent(answer.score), "number"));
      list.append(item);
    }
    if (!found.length) {
      const item = make("li");
      item.append(make("span", words.no_answer), make("span", percent(no_answer), "number"));
      list.append(item);
    }
    return [make("h3", question), list];
  }));
}

function showEntities(chars, entities, words) {
  const parts = [];
  let at = 0;
  for (const entity of entities) {
    parts.push(chars.slice(at, entity.start).join(""));
    const mark = make("mark", chars.slice(entity.start, entity.end).join(""));
    mark.style.setProperty("--hue", hue(entity.label));
    mark.append(make("small", [entity.label, percent(entity.confidence)].join(" ").trim()));
    parts.push(mark);
    at = entity.end;
  }
  parts.push(chars.slice(at).join(""));
  $("marked").replaceChildren(...parts);
  $("entities").replaceChildren(...entities.map((entity) => {
    const item = make("li");
    const label = make("span", entity.label, "label");
    label.style.setProperty("--hue", hue(entity.label));
    const place = make("small", `${words.characters} ${entity.start}–${entity.end}`);
    const sure = make("span", percent(entity.confidence), "number");
    if (entity.confidence !== null) sure.setAttribute("aria-label", `${words.confidence} ${percent(entity.confidence)}`);
    item.append(label, make("span", entity.text), place, sure);
    return item;
  }));
  if (!entities.length) $("entities").replaceChildren(make("li", words.none));
}

function showCategories(categories, words) {
  $("categories-section").hidden = categories.length === 0;
  $("categories").replaceChildren(...categories.map((category) => {
    const item = make("li");
    const name = make("span", category.label + (category.chosen ? ` (${words.chosen})` : ""), "name");
    name.classList.toggle("chosen", category.chosen);
    const bar = make("span", undefined, "bar");
    bar.setAttribute("aria-hidden", "true");
    const filled = make("i");
    filled.style.setProperty("--share", category.score);
    bar.append(filled);
    item.append(name, bar, make("span", percent(category.score), "number"));
    return item;
  }));
}

function showPieces(chars, found, words) {
  $("pieces-section").hidden = found.pieces === undefined;
  if (found.pieces === null) {
    $("pieces-list").replaceChildren(make("li", words.no_pieces));
  } else if (found.pieces) {
    $("pieces-list").replaceChildren(...found.pieces.map((piece) => {
      const item = make("li", piece.piece);
      item.title = chars.slice(piece.start, piece.end).join("");
      item.append(make("small", `${piece.start}–${piece.end}`));
      return item;
    }));
  }
}

async function analyze() {
  const text = $("text").value;
  if (!text.trim()) return say(WORDS[language].empty);
  // Of two answers on their way, the later question's counts.
  const number = ++latest;
  say(WORDS[language].working);
  $("analyze").disabled = true;
  const began = performance.now();
  try {
    if (!$("model").value) await loadModels();
    const address = `v1/${encodeURIComponent($("model").value)}/analyze`;
    const body = { text, pieces: $("pieces").checked };
    if (questions().length) body.questions = questions();
    const found = await ask(address, body);
    if (number !== latest) return;
    shown = { text, found, ms: Math.round(performance.now() - began) };
    show(shown);
  } catch (error) {
    if (number !== latest) return;
    shown = null;
    $("answer").hidden = true;
    say(error.message, true);
  } finally {
    if (number === latest) $("analyze").disabled = false;
  }
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); analyze(); });
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
    event.preventDefault();
    analyze();
  }
});
$("model").addEventListener("change", showQuestions);
$("pieces").addEventListener("change", () => { if (shown) analyze(); });
$("language").addEventListener("click", () => { language = language === "ja" ? "en" : "ja"; translate(); });
if (!$("text").value) $("text").value = WORDS.ja.sample;
translate();
loadModels().catch((error) => say(error.message, true));
