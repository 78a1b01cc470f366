// The page's own script: unpacks, draws, and lets figures, tables and cards show the same trial.
"use strict";

async function unpacked(name) {
  const text = document.getElementById(`packed-${name}`).textContent;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Axes and letters in the page's colours, light or dark.
function colours(layout) {
  const axis = { gridcolor: shade("--line"), linecolor: shade("--line"), zeroline: false };
  const changes = { "font.color": shade("--ink") };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) {
      for (const [name, value] of Object.entries(axis)) changes[`${key}.${name}`] = value;
    }
    if (/^scene\d*$/.test(key)) {
      for (const side of "xyz") changes[`${key}.${side}axis.gridcolor`] = shade("--line");
    }
  }
  return changes;
}

function coloured(layout) {
  for (const [path, value] of Object.entries(colours(layout))) {
    const names = path.split("."), last = names.pop();
    names.reduce((part, name) => (part[name] ??= {}), layout)[last] = value;
  }
  return layout;
}

const figures = () => [...document.querySelectorAll(".figure")].filter((each) => each.data);
let desk = {};
let chosen = null;

// --- one trial, everywhere ---

// Where a trial lies in a figure: a trace over all others shows it.
function place(figure, trial) {
  for (const trace of figure.data) {
    if (trace.name === "chosen" || !trace.customdata) continue;
    const at = trace.customdata.indexOf(trial);
    if (at >= 0) return { x: trace.x[at], y: trace.y[at], z: trace.z && trace.z[at] };
  }
  return null;
}

// The ring around the chosen trial in one figure.
function ring(figure) {
  const index = figure.data.findIndex((trace) => trace.name === "chosen");
  if (index < 0) return;
  const found = place(figure, chosen);
  const update = { x: [found ? [found.x] : []], y: [found ? [found.y] : []] };
  if (figure.data[index].type === "scatter3d") update.z = [found ? [found.z] : []];
  Plotly.restyle(figure, update, [index]);
}

function choose(trial, moves) {
  chosen = trial;
  document.querySelectorAll("tr[data-trial]").forEach((row) => {
    row.setAttribute("aria-selected", String(Number(row.dataset.trial) === trial));
  });
  figures().forEach(ring);
  const card = document.getElementById("card");
  if (card && desk.cards && desk.cards[trial]) {
    card.querySelectorAll(".figure").forEach((figure) => Plotly.purge(figure));
    card.innerHTML = desk.cards[trial];
    card.querySelectorAll(".figure").forEach(draw);
    if (moves) card.scrollIntoView({ block: "nearest", behavior: "smooth" });
    history.replaceState(null, "", `#trial-${trial}`);
  }
}

// What is asked of one figure: points that can be chosen, ranges that fade rows.
function follow(figure) {
  figure.on("plotly_click", (event) => {
    const point = event.points[0];
    if (point.customdata !== undefined) choose(point.customdata, false);
  });
  if (figure.data[0] && figure.data[0].type === "parcoords") {
    figure.on("plotly_restyle", () => brush(figure));
  }
}

function listen() {
  document.querySelectorAll("tr[data-trial]").forEach((row) => {
    const pick = () => choose(Number(row.dataset.trial), true);
    row.addEventListener("click", pick);
    row.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      pick();
    });
  });
  groups().forEach((box) => {
    box.addEventListener("change", () => show(box.dataset.group, box.checked));
  });
}

const groups = () => document.querySelectorAll("input[data-group]");

// Candidates that are not on the front, on request.
function show(group, visible) {
  for (const figure of figures()) {
    const traces = figure.data.flatMap((trace, at) => (trace.name === group ? [at] : []));
    if (traces.length) Plotly.restyle(figure, { visible }, traces);
  }
}

// Ranges drawn on the parallel axes: rows of the table outside of them fade.
function brush(figure) {
  const { dimensions } = figure.data[0];
  const trials = figure.layout.meta.trials;
  const kept = new Set(trials.filter((_, at) => dimensions.every((dimension) => {
    const ranges = dimension.constraintrange;
    if (!ranges) return true;
    const value = dimension.values[at];
    return (Array.isArray(ranges[0]) ? ranges : [ranges]).some(([a, b]) => a <= value && value <= b);
  })));
  document.querySelectorAll("tr[data-trial]").forEach((row) => {
    row.classList.toggle("faded", !kept.has(Number(row.dataset.trial)));
  });
}

// --- a study that is running ---

// Loaded anew when something is new, but the page stands ten times as long as it takes to open.
function watch() {
  const { state, open } = document.documentElement.dataset;
  const pause = Math.max(3000, 10 * open);
  if (state) setTimeout(() => look(state, pause), pause);
}

async function look(before, pause) {
  try {
    const answer = await fetch("state", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== before) location.reload();
  } catch {
    document.getElementById("live").textContent = "the server of this page has ended";
    return;
  }
  setTimeout(() => look(before, pause), pause);
}

// --- drawing: what is looked at first ---

async function draw(element) {
  const figure = desk.figures[element.id.slice("figure-".length)];
  if (!figure || element.data) return;
  const hidden = [...groups()].filter((box) => !box.checked).map((box) => box.dataset.group);
  for (const trace of figure.data) {
    if (hidden.includes(trace.name)) trace.visible = false;
  }
  const options = { displayModeBar: false, responsive: true };
  await Plotly.newPlot(element, figure.data, coloured(figure.layout), options);
  follow(element);
  ring(element);
}

const breath = () => new Promise((done) => setTimeout(done));

const near = (element) => element.getBoundingClientRect().top < 1.5 * innerHeight;

// Needs a graphics card, or its imitation, which takes seconds: drawn when it is scrolled to.
function heavy(element) {
  const figure = desk.figures[element.id.slice("figure-".length)];
  return figure.data.some((trace) => /3d|parcoords/.test(trace.type));
}

async function drawAll() {
  const waiting = [...document.querySelectorAll(".figure")];
  for (const element of waiting.filter((each) => near(each) && !heavy(each))) await draw(element);
  document.documentElement.dataset.open = Math.round(performance.now());  // ms
  const watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) if (isIntersecting) draw(target);
  }, { rootMargin: "50%" });
  waiting.forEach((element) => watcher.observe(element));
  for (const element of waiting.filter((each) => !heavy(each))) {
    await breath();  // the page can be read and scrolled meanwhile
    await draw(element);
  }
  for (const element of waiting.filter(near)) await draw(element);
  addEventListener("beforeprint", () => waiting.forEach(draw));
}

async function main() {
  if (!window.DecompressionStream) {
    document.querySelector("main").insertAdjacentHTML(
      "afterbegin", "<p>The figures of this page need a browser of 2023 or newer.</p>");
    return;
  }
  const [library, data] = await Promise.all(["plotly", "desk"].map(unpacked));
  const script = document.createElement("script");
  script.textContent = library;
  document.head.append(script);
  desk = JSON.parse(data);
  listen();
  const asked = Number((location.hash.match(/^#trial-(\d+)$/) || [])[1] ?? desk.chosen);
  if (desk.cards) choose(desk.cards[asked] ? asked : desk.chosen, false);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const figure of figures()) Plotly.relayout(figure, colours(figure.layout));
  });
  await drawAll();
  document.documentElement.dataset.ready = "yes";
  watch();
}

main();
