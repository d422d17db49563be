import { fromBase64, gunzip, readBytes, readData } from "./data.js";
import { listenToKeys } from "./keyboard.js";
import { loadPeople } from "./people.js";
import { Player } from "./player.js";
import { Plot } from "./plot.js";
import { Stage } from "./stage.js";
import { Timeline, clock } from "./timeline.js";
import { VideoPane } from "./video.js";

const RATES = [0.1, 0.25, 0.5, 1, 2];
const THEMES = {
  light: {
    grid: "#aeb6c2", frustum: "#6b7685", shadow: 0.34, muted: "#5d6672", rule: "#e3e7ec", hidden: "#eceff3",
    lines: ["#1f6feb", "#d1480f", "#1a8a4a"],
  },
  dark: {
    grid: "#3c4451", frustum: "#8b96a5", shadow: 0.55, muted: "#98a2af", rule: "#2a303a", hidden: "#262c36",
    lines: ["#6cabff", "#ff9a5c", "#5fd394"],
  },
}; // prettier-ignore
const at = (selector) => document.querySelector(selector);

async function start() {
  const data = readData();
  const model = await loadPeople(await gunzip(readBytes("glb")), data);
  for (const person of model.people) addLookups(person);
  const { people } = model;

  const state = {
    frame: 0,
    selected: people.reduce((best, each) => (each.frames.length > best.frames.length ? each : best)).id,
    hidden: new Set(),
    follow: false,
    view: "overview",
    show: { labels: true, grid: true, frustum: true, path: true, boxes: true },
  };
  const parts = [];
  const changed = () => {
    state.frame = player.frame;
    for (const part of parts) part.update(state);
  };
  const change = (changes) => {
    Object.assign(state, changes);
    changed();
  };

  const video = data.video ? openVideo(data.video) : null;
  document.body.classList.toggle("no-video", !video);
  const media = video && {
    video,
    start: data.video.offset + data.start,
    frameDuration: 1 / data.video.frame_rate,
  };
  const player = new Player(data.times, 1 / data.frame_rate, media, changed);
  const actions = {
    seek: (frame) => player.seek(frame),
    step: (count) => player.seek(player.frame + count),
    jump: (seconds) => player.seek(player.frameAt(player.time + seconds + 1e-6)),
    playOrPause: () => player.toggle(),
    faster: (steps) => {
      const next = RATES[Math.min(Math.max(RATES.indexOf(player.rate) + steps, 0), RATES.length - 1)];
      player.setRate(next);
    },
    setRate: (rate) => player.setRate(rate),
    choose: (id) => change({ selected: id }),
    chooseNext: (step) => {
      const index = people.findIndex((person) => person.id === state.selected);
      change({ selected: people[(index + step + people.length) % people.length].id });
    },
    toggle: (id = state.selected) => {
      const hidden = new Set(state.hidden);
      if (!hidden.delete(id)) hidden.add(id);
      change({ hidden });
    },
    showAll: () => change({ hidden: new Set() }),
    showOnlyChosen: () => change({ hidden: new Set(people.map((each) => each.id).filter((id) => id !== state.selected)) }),
    follow: () => {
      if (!state.follow && state.view === "camera") actions.leaveCamera();
      change({ follow: !state.follow });
    },
    setView: (view) => {
      change({ view, follow: false });
      stage.setView(view, state.frame);
      changed();
    },
    leaveCamera: () => {
      stage.leaveCamera();
      change({ view: "free" });
    },
    show: (what) => change({ show: { ...state.show, [what]: !state.show[what] } }),
    theme: () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
    help: () => (at("#help").open ? at("#help").close() : at("#help").showModal()),
  };

  const stage = new Stage(at("#scene"), model, data, actions);
  const plot = new Plot(at("#plot"), people, data, actions);
  parts.push(stage, plot, new Timeline(at("#timeline"), people, data, actions));
  if (video) {
    stage.video = video;
    parts.push(new VideoPane(at("#video"), people, model.camera, data));
    for (const event of ["seeked", "loadeddata"]) video.addEventListener(event, () => state.view === "camera" && stage.draw());
  }
  parts.push({ update: () => showControls(state, player, data, stage) });

  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
    stage.setTheme(THEMES[theme]);
    plot.setTheme(THEMES[theme]);
  };
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(prefersDark.matches ? "dark" : "light");
  prefersDark.addEventListener("change", ({ matches }) => setTheme(matches ? "dark" : "light"));

  describe(data, people, stage);
  listenToButtons(actions);
  listenToKeys(actions);
  player.seek(Math.min(...people.map((person) => person.frames[0])));
  changed();
  stage.setView("overview", player.frame); // draws
  window.viewer = { data, people, player, stage, plot, state, actions };
  performance.mark("ready");
  document.documentElement.dataset.state = "ready";
  if (stage.isSoftware) await stage.simplify();
}

/** A person's box and action at a frame. */
function addLookups(person) {
  const boxes = new Int16Array(fromBase64(person.boxes).buffer);
  person.boxAt = (frame) => boxes.subarray(4 * person.rowOf[frame], 4 * person.rowOf[frame] + 4);
  person.labelAt = (frame) => person.labels.find(([first, last]) => first <= frame && frame <= last)?.[2];
}

function openVideo({ source, type, embedded }) {
  const video = at("#video video");
  video.addEventListener("loadedmetadata", () => {
    video.style.setProperty("--aspect", `${video.videoWidth} / ${video.videoHeight}`);
  });
  video.src = embedded ? URL.createObjectURL(new Blob([readBytes("video-file")], { type })) : source;
  return video;
}

function describe(data, people, stage) {
  const count = data.times.length;
  const rate = Number(data.frame_rate.toFixed(2));
  const persons = people.length === 1 ? "1 person" : `${people.length} people`;
  at("#title").textContent = data.title;
  at("#summary").textContent = `${persons} · ${count} ${count === 1 ? "frame" : "frames"} · ${rate} fps`;
  at("#spacing").textContent = `Grid: ${stage.grid.spacing} m`;
  at("#notes").replaceChildren(
    ...data.notes.map((note) => {
      const line = document.createElement("p");
      line.textContent = `${note[0].toUpperCase()}${note.slice(1)}`;
      return line;
    }),
  );
  at("#made-with").textContent = `Made with ${data.generator}. ${data.notice}`;
}

function showControls(state, player, data, stage) {
  at("#play").classList.toggle("playing", player.playing);
  at("#play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  at("#time").textContent = clock(data.start + player.time);
  at("#frame").textContent = `frame ${data.frames[state.frame]}`;
  at("#rate").value = String(player.rate);
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === state.view);
  }
  at("[data-action=follow]").setAttribute("aria-pressed", state.follow);
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", state.show[button.dataset.show]);
  }
  at("#spacing").hidden = !state.show.grid;
}

function listenToButtons(actions) {
  const on = (selector, run) =>
    document.querySelectorAll(selector).forEach((button) => button.addEventListener("click", () => run(button)));
  on("[data-view]", (button) => actions.setView(button.dataset.view));
  on("[data-show]", (button) => actions.show(button.dataset.show));
  on("[data-action]", (button) => actions[button.dataset.action]());
  on("[data-step]", (button) => actions.step(Number(button.dataset.step)));
  at("#rate").append(...RATES.map((rate) => new Option(`${rate}×`, rate)));
  at("#rate").addEventListener("change", (event) => actions.setRate(Number(event.target.value)));
  at("#help").addEventListener("click", (event) => event.target === at("#help") && at("#help").close());
}

start().catch((error) => {
  console.error(error);
  at("#failure").hidden = false;
  at("#failure p").textContent = String(error?.message ?? error);
  document.documentElement.dataset.state = "failed";
});
