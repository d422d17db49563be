// Curves of the chosen person over time.

import { curveGroups, stretches } from "./kinematics.js";
import { clock, runs, ticks } from "./timeline.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [38, 10, 8, 20]; // margins in pixels

export class Plot {
  constructor(element, people, data, actions) {
    Object.assign(this, { element, people, data, actions });
    this.canvas = element.querySelector("canvas");
    this.playhead = element.querySelector(".playhead");
    this.legend = element.querySelector(".legend");
    this.select = element.querySelector("select");
    this.groups = curveGroups(data);
    this.curves = new Map(this.groups.flatMap((group) => group.curves).map((curve) => [curve.key, curve]));
    for (const group of this.groups) {
      const options = document.createElement("optgroup");
      options.label = group.name;
      options.append(...group.curves.map((curve) => new Option(curve.name, curve.key)));
      this.select.append(options);
    }
    this.select.value = "knees";
    this.select.addEventListener("change", () => this.#draw());
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  #listen() {
    const seek = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      this.actions.seek(this.#frameAt(share));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      this.dragging = true;
      seek(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.dragging && seek(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.dragging = false));
  }

  #frameAt(share) {
    return Math.floor(Math.min(Math.max(share, 0), 0.999999) * this.data.times.length);
  }

  get person() {
    return this.people.find((person) => person.id === this.state?.selected);
  }

  /** Lines of the curve and person that are chosen: {name, values}, a value for each row of the person. */
  lines() {
    const { person } = this;
    const curve = this.curves.get(this.select.value);
    person.curves ??= new Map();
    if (!person.curves.has(curve.key)) person.curves.set(curve.key, curve.lines(person));
    return person.curves.get(curve.key);
  }

  update(state) {
    const again = state.selected !== this.state?.selected;
    this.state = state;
    if (again) this.#draw();
    else this.#mark();
  }

  setTheme(colours) {
    this.colours = colours;
    this.#draw();
  }

  /** The playhead, and the values at it. */
  #mark() {
    const { person } = this;
    if (!person) return;
    const { frame } = this.state;
    const share = (frame + 0.5) / this.data.times.length;
    this.playhead.style.transform = `translateX(${100 * share}%)`;
    const row = person.rowOf[frame];
    const { unit } = this.curves.get(this.select.value);
    this.lines().forEach(({ values }, i) => {
      const value = row < 0 ? NaN : values[row];
      const digits = unit === "°" ? 0 : 2;
      const text = Number.isFinite(value) ? `${value.toFixed(digits)}${unit === "°" ? "" : " "}${unit}` : "–";
      this.legend.children[i].lastChild.textContent = text;
    });
  }

  #draw() {
    const { person, canvas, data, colours } = this;
    if (!person || !colours) return;
    const lines = this.lines();
    const { unit, name } = this.curves.get(this.select.value);
    this.legend.replaceChildren(
      ...lines.map((line, i) => {
        const item = document.createElement("span");
        const key = document.createElement("i");
        key.style.background = colours.lines[i];
        const value = document.createElement("b");
        item.append(key, `${line.name} `, value);
        return item;
      }),
    );
    canvas.setAttribute("aria-label", `${name} of ${person.name} over time`);
    const ratio = window.devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "11px system-ui, sans-serif";
    const [low, high] = range(lines, unit);
    const x = (frame) => LEFT + (frame / data.times.length) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (value - low) / (high - low)) * (height - TOP - BOTTOM);

    context.fillStyle = colours.hidden;
    for (const [first, last] of person.spans) {
      for (const [from, to, seen] of runs(person, first, last)) {
        if (!seen) context.fillRect(x(from), TOP, x(to + 1) - x(from), height - TOP - BOTTOM);
      }
    }
    context.strokeStyle = colours.rule;
    context.fillStyle = colours.muted;
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const value of ticks(low, high, 4)) {
      const at = Math.round(y(value)) + 0.5;
      context.beginPath();
      context.moveTo(LEFT, at);
      context.lineTo(width - RIGHT, at);
      context.stroke();
      context.fillText(unit === "°" ? `${value}°` : String(value), LEFT - 6, at);
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (const time of ticks(data.start, data.start + data.times.at(-1), width > 300 ? 6 : 4)) {
      const frame = data.times.findIndex((each) => each + data.start >= time - 1e-6);
      context.fillText(clock(time, false), Math.max(x(frame), LEFT + 8), height - 5);
    }
    context.lineWidth = 1.6;
    context.lineJoin = "round";
    const breaks = stretches(person, data.cuts);
    lines.forEach(({ values }, i) => {
      context.strokeStyle = colours.lines[i];
      context.beginPath();
      for (const [first, last] of breaks) {
        for (let row = first; row <= last; row++) {
          const [px, py] = [x(person.frames[row] + 0.5), y(values[row])];
          const broken = row === first || Math.abs(values[row] - values[row - 1]) > 180;
          if (broken) context.moveTo(px, py);
          else context.lineTo(px, py);
        }
      }
      context.stroke();
    });
    this.#mark();
  }
}

/** Lowest and highest value of the axis. */
function range(lines, unit) {
  let [low, high] = [Infinity, -Infinity];
  for (const { values } of lines) {
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (!(low <= high)) return [0, 1];
  if (unit !== "°" || low >= 0) low = 0;
  const least = unit === "°" ? 30 : 1;
  const margin = 0.06 * (high - low);
  return [low < 0 ? low - margin : 0, Math.max(high + margin, low + least)];
}
