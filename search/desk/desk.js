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
function coloured(layout) {
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

const figures = () => [...document.querySelectorAll(".figure")].filter((each) => each.data);
let desk = {};

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

function choose(trial, moves) {
  document.querySelectorAll("tr[data-trial]").forEach((row) => {
    row.setAttribute("aria-selected", String(Number(row.dataset.trial) === trial));
  });
  for (const figure of figures()) {
    const index = figure.data.findIndex((trace) => trace.name === "chosen");
    if (index < 0) continue;
    const found = place(figure, trial);
    const update = { x: [found ? [found.x] : []], y: [found ? [found.y] : []] };
    if (figure.data[index].type === "scatter3d") update.z = [found ? [found.z] : []];
    Plotly.restyle(figure, update, [index]);
  }
  const card = document.getElementById("card");
  if (card && desk.cards && desk.cards[trial]) {
    card.innerHTML = desk.cards[trial];
    if (moves) card.scrollIntoView({ block: "nearest", behavior: "smooth" });
    history.replaceState(null, "", `#trial-${trial}`);
  }
}

function listen() {
  for (const figure of figures()) {
    figure.on("plotly_click", (event) => {
      const point = event.points[0];
      if (point.customdata !== undefined) choose(point.customdata, false);
    });
    if (figure.data[0] && figure.data[0].type === "parcoords") {
      figure.on("plotly_restyle", () => brush(figure));
    }
  }
  document.querySelectorAll("tr[data-trial]").forEach((row) => {
    const chosen = () => choose(Number(row.dataset.trial), true);
    row.addEventListener("click", chosen);
    row.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      chosen();
    });
  });
  document.querySelectorAll("input[data-group]").forEach((box) => {
    box.addEventListener("change", () => show(box.dataset.group, box.checked));
    show(box.dataset.group, box.checked);
  });
}

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

async function follow() {
  const before = document.documentElement.dataset.state;
  if (!before) return;
  try {
    const answer = await fetch("state", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== before) location.reload();
  } catch {
    document.getElementById("live").textContent = "the server of this page has ended";
    return;
  }
  setTimeout(follow, 3000);
}

// Figures that need a graphics card, or its imitation, are drawn last.
function slow(name) {
  return desk.figures[name].data.some((trace) => /3d|parcoords/.test(trace.type));
}

async function draw(name) {
  const { data, layout } = desk.figures[name];
  const element = document.getElementById(`figure-${name}`);
  await Plotly.newPlot(element, data, layout, { displayModeBar: false, responsive: true });
  await Plotly.relayout(element, coloured(layout));
  document.documentElement.dataset.drawn = name;
}

async function main() {
  if (!window.DecompressionStream) {
    document.querySelector("main").insertAdjacentHTML(
      "afterbegin", "<p>The figures of this page need a browser of 2023 or newer.</p>");
    return;
  }
  const library = document.createElement("script");
  library.textContent = await unpacked("plotly");
  document.head.append(library);
  desk = JSON.parse(await unpacked("desk"));
  for (const name of Object.keys(desk.figures).sort((a, b) => slow(a) - slow(b))) {
    await draw(name);
    await new Promise(requestAnimationFrame);  // the page can be read and scrolled meanwhile
  }
  listen();
  const asked = Number((location.hash.match(/^#trial-(\d+)$/) || [])[1] ?? desk.chosen);
  if (desk.cards) choose(desk.cards[asked] ? asked : desk.chosen, false);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const figure of figures()) Plotly.relayout(figure, coloured(figure.layout));
  });
  document.documentElement.dataset.ready = "yes";
  follow();
}

main();
