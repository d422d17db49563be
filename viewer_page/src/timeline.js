// A row for each person: where they are seen, where hidden, what they do; and the playhead across all rows.

export class Timeline {
  constructor(element, people, data, actions) {
    Object.assign(this, { element, people, data, actions });
    this.rows = element.querySelector(".rows");
    this.playhead = element.querySelector(".playhead");
    this.slider = element.querySelector(".tracks");
    this.count = data.times.length;
    this.#makeRuler();
    people.forEach((person) => this.#makeRow(person));
    this.#listen();
  }

  /** Share of the width at which a frame begins. */
  #share(frame) {
    return frame / this.count;
  }

  #part(className, first, last, parent) {
    const part = document.createElement("div");
    part.className = className;
    part.style.left = `${100 * this.#share(first)}%`;
    part.style.width = `${100 * this.#share(last - first + 1)}%`;
    parent.append(part);
    return part;
  }

  #makeRuler() {
    this.ruler = this.element.querySelector(".ruler");
    this.ruler.setAttribute("aria-valuemax", this.count - 1);
    const count = Math.max(Math.floor(this.ruler.clientWidth / 100), 2);
    for (const time of ticks(this.data.start, this.data.start + this.data.times.at(-1), count)) {
      const frame = this.data.times.findIndex((each) => each + this.data.start >= time - 1e-6);
      if (this.#share(frame) > 1 - 52 / this.ruler.clientWidth) continue; // its text would be cut off
      const mark = document.createElement("span");
      mark.style.left = `${100 * this.#share(frame)}%`;
      mark.textContent = clock(time, false);
      this.ruler.append(mark);
    }
  }

  #makeRow(person) {
    const row = document.createElement("div");
    row.className = "row";
    row.style.setProperty("--colour", person.colour);
    row.style.setProperty("--text", person.text);
    const head = document.createElement("div");
    head.className = "head";
    const toggle = document.createElement("button");
    toggle.className = "toggle";
    toggle.setAttribute("role", "switch");
    toggle.setAttribute("aria-label", `Show ${person.name}`);
    toggle.addEventListener("click", () => this.actions.toggle(person.id));
    const name = document.createElement("button");
    name.className = "name";
    name.textContent = person.name;
    name.addEventListener("click", () => this.actions.choose(person.id));
    head.append(toggle, name);
    const track = document.createElement("div");
    track.className = "track";
    for (const [first, last] of person.spans) {
      for (const [from, to, seen] of runs(person, first, last)) {
        this.#part(seen ? "bar" : "bar hidden-stretch", from, to, track).title = seen
          ? `${person.name}: seen`
          : `${person.name}: hidden, motion predicted`;
      }
    }
    for (const [first, last, text] of person.labels) {
      const label = this.#part("action", first, last, track);
      label.textContent = label.title = text;
    }
    for (const cut of this.data.cuts) this.#part("cut", cut, cut - 1, track).title = "Cut";
    row.append(head, track);
    this.rows.append(row);
    person.row = { row, toggle, name };
  }

  #listen() {
    const seek = (event) => {
      const box = this.playhead.parentElement.getBoundingClientRect();
      this.actions.seek(Math.floor(((event.clientX - box.left) / box.width) * this.count));
    };
    this.slider.addEventListener("pointerdown", (event) => {
      if (event.button || event.target.closest(".head")) return;
      this.slider.setPointerCapture(event.pointerId);
      this.dragging = true;
      seek(event);
    });
    this.slider.addEventListener("pointermove", (event) => this.dragging && seek(event));
    for (const end of ["pointerup", "pointercancel"]) this.slider.addEventListener(end, () => (this.dragging = false));
  }

  update({ frame, selected, hidden }) {
    this.playhead.style.transform = `translateX(${100 * this.#share(frame + 0.5)}%)`;
    this.ruler.setAttribute("aria-valuenow", frame);
    this.ruler.setAttribute("aria-valuetext", `Frame ${this.data.frames[frame]}`);
    if (selected === this.selected && hidden === this.hidden) return;
    Object.assign(this, { selected, hidden });
    for (const { id, row } of this.people) {
      row.row.classList.toggle("chosen", id === selected);
      row.row.classList.toggle("off", hidden.has(id));
      row.toggle.setAttribute("aria-checked", !hidden.has(id));
      row.name.setAttribute("aria-pressed", id === selected);
    }
  }
}

/** [first, last, seen] of each run of frames in which a person is seen, or hidden. */
export function* runs(person, first, last) {
  for (let from = first; from <= last; ) {
    let to = from;
    while (to < last && person.isSeen[to + 1] === person.isSeen[from]) to++;
    yield [from, to, Boolean(person.isSeen[from])];
    from = to + 1;
  }
}

/** At most about `count` round values from `low` to `high`; large steps are round in minutes and in degrees. */
export function ticks(low, high, count) {
  const least = Math.max(high - low, 1e-9) / count;
  const power = 10 ** Math.floor(Math.log10(least));
  const steps = least > 5 ? [10, 15, 30, 60, 120, 300, 600, 1800, 3600] : [1, 2, 5, 10].map((factor) => factor * power);
  const step = steps.find((each) => each >= 0.999 * least) ?? 10 * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + 1e-9; i++) found.push(Number((i * step).toFixed(6)));
  return found;
}

/** Seconds as 1:04.20; without hundredths where there are none. */
export function clock(seconds, exact = true) {
  const total = Math.round(seconds * 100);
  const [minutes, rest] = [Math.floor(total / 6000), total % 6000];
  const [whole, part] = [Math.floor(rest / 100), rest % 100];
  const hundredths = exact || part ? `.${String(part).padStart(2, "0")}` : "";
  return `${minutes}:${String(whole).padStart(2, "0")}${hundredths}`;
}
