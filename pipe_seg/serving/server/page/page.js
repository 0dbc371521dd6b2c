// Shows frames with predicted contours. Only the prediction comes from the server.
import * as clip from "./clip.js";
import * as picture from "./picture.js";
import { turn, word, write } from "./words.js";

const $ = (id) => document.getElementById(id);
const TRIES = 30;
const frames = [];
let current = -1, token = "";

class Refused extends Error {}

async function ask(address, options = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  for (let attempt = 0; ; attempt++) {
    let answer;
    try { answer = await fetch(address, { ...options, headers }); } catch { throw new Refused(word("silent")); }
    if (answer.ok) return answer;
    if (answer.status === 401) $("entry").hidden = false;
    const busy = answer.status === 429 || answer.status === 503;
    if (!busy || attempt >= TRIES) {
      const told = await answer.json().catch(() => ({ error: answer.statusText }));
      throw new Refused(word("refused") + told.error);
    }
    tell(word("waiting"));
    await new Promise((resolve) => setTimeout(resolve, 1000 * (Number(answer.headers.get("retry-after")) || 1)));
  }
}

async function list() {
  const { versions, labels } = await (await ask("/versions")).json();
  const named = (number) => Object.keys(labels).filter((label) => labels[label] === number).join(", ");
  for (const [id, empty] of [["first", "newest"], ["second", "nobody"]]) {
    const chosen = $(id).value;
    $(id).replaceChildren(new Option(word(empty), ""), ...versions.map((n) => new Option(named(n) ? `${n} (${named(n)})` : n, n)));
    if ([...$(id).options].some((option) => option.value === chosen)) $(id).value = chosen;
  }
  $("entry").hidden = true;
  if (!versions.length) tell(word("none"), true);
}

function tell(text, wrong = false) {
  $("told").textContent = text;
  $("told").classList.toggle("wrong", wrong);
}

async function add(files) {
  for (const file of files) {
    try {
      if (file.type.startsWith("video/")) await addClip(file);
      else await addFrame(file, file.name);
    } catch (error) {
      const known = error instanceof Refused ? error.message : word(file.type.startsWith("video/") ? "unplayable" : "unreadable");
      tell(`${file.name}: ${known}`, true);
      return;
    } finally {
      $("progress").hidden = true;
    }
  }
}

async function addClip(file) {
  let done = 0;
  for await (const { blob, name, of, cut } of clip.frames(file)) {
    $("progress").hidden = false;
    $("progress").value = ++done / of;
    await addFrame(blob, name);
    if (cut && done === of) tell(word("cut") + of);
  }
}

async function addFrame(blob, name) {
  const frame = { name, blob, image: await picture.pixels(blob), answers: new Map() };
  await answered(frame);
  frames.push(frame);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = button.title = name;
  button.addEventListener("click", () => show(frames.indexOf(frame)));
  const item = document.createElement("li");
  item.append(button);
  $("frames").append(item);
  await show(frames.length - 1);
}

async function answered(frame) {
  for (const id of ["first", "second"]) {
    const version = $(id).value;
    if ((id === "second" && !version) || frame.answers.has(version)) continue;
    tell(word("asking") + frame.name);
    const answer = await ask(version ? `/frames?version=${version}` : "/frames", { method: "POST", body: frame.blob });
    const told = { number: answer.headers.get("x-model-version"), threshold: Number(answer.headers.get("x-model-threshold")) };
    frame.answers.set(version, { ...told, levels: await picture.levels(await answer.blob()) });
  }
}

async function show(index) {
  current = index;
  $("work").hidden = false;
  [...$("frames").querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-current", String(i === index)));
  await answered(frames[index]);
  tell(word("done") + frames.length);
  draw();
}

const level = () => Number($("level").value);

function view(frame, version) {
  const answer = frame.answers.get(version);
  return { ...answer, ...picture.claimed(answer.levels, level()) };
}

function draw() {
  if (current < 0) return;
  const frame = frames[current];
  $("beside").hidden = !$("second").value;
  for (const id of ["first", "second"]) {
    if (!frame.answers.has($(id).value) || (id === "second" && !$(id).value)) continue;
    const found = view(frame, $(id).value);
    const canvas = $(`view-${id}`);
    canvas.width = frame.image.width;
    canvas.height = frame.image.height;
    canvas.getContext("2d").putImageData(picture.overlaid(frame.image, found.mask), 0, 0);
    const from = picture.probability(level(), found.threshold).toFixed(3);
    const area = `${(100 * found.share).toFixed(1)} %`;
    $(`told-${id}`).textContent = `${word("model")}${found.number} · ${word("area")} ${area} · p ≥ ${from}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${frame.name}: ${word("area")} ${area}`);
    if (id === "first") $("chosen").textContent = from;
  }
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const stem = (name) => name.replace(/\.[^.]*$/, "");

async function saveMask() {
  const frame = frames[current], { width, height } = frame.image;
  save(await picture.png(picture.black(view(frame, $("first").value).mask, width, height)), `${stem(frame.name)}_mask.png`);
}

async function saveOverlay() {
  const frame = frames[current];
  save(await picture.png(picture.overlaid(frame.image, view(frame, $("first").value).mask)), `${stem(frame.name)}_overlay.png`);
}

async function saveCoco() {
  const all = [];
  for (const frame of frames) {
    await answered(frame);
    all.push({ name: frame.name, mask: view(frame, $("first").value).mask, width: frame.image.width, height: frame.image.height });
  }
  save(new Blob([JSON.stringify(picture.coco(all))], { type: "application/json" }), "defects.coco.json");
}

function move(steps) {
  if (frames.length) guarded(show((current + steps + frames.length) % frames.length));
}

function set(value) {
  $("level").value = value;
  draw();
}

const guarded = (work) => work.catch((error) => tell(error.message, true));

const KEYS = {
  ArrowLeft: () => move(-1), ArrowRight: () => move(1), "+": () => set(level() + 4), "=": () => set(level() + 4),
  "-": () => set(level() - 4), 0: () => set(picture.CLAIMED), c: compare, C: compare, с: compare, С: compare,
};

function compare() {
  const places = $("second").options.length;
  if (places > 1) {
    $("second").selectedIndex = ($("second").selectedIndex + 1) % places;
    chosen();
  }
}

function chosen() {
  if (current >= 0) guarded(show(current));
}

document.addEventListener("keydown", (event) => {
  const writes = event.target.matches("input:not([type=file]), select");
  if (writes || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") guarded(add([...event.dataTransfer.files]));
  });
}
$("files").addEventListener("change", () => guarded(add([...$("files").files]).finally(() => { $("files").value = ""; })));
$("level").addEventListener("input", draw);
$("reset").addEventListener("click", () => set(picture.CLAIMED));
$("first").addEventListener("change", chosen);
$("second").addEventListener("change", chosen);
$("save-mask").addEventListener("click", saveMask);
$("save-overlay").addEventListener("click", saveOverlay);
$("save-coco").addEventListener("click", () => guarded(saveCoco()));
$("language").addEventListener("click", () => { turn(); write(); guarded(list()); draw(); });
$("entry").addEventListener("submit", (event) => { event.preventDefault(); token = $("token").value; guarded(list()); });
write();
guarded(list());
