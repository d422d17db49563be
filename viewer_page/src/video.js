// The video beside the scene, with a box around each person who is shown.

export class VideoPane {
  constructor(element, people, filmCamera, data) {
    Object.assign(this, { element, people, filmCamera, data });
    this.video = element.querySelector("video");
    this.canvas = element.querySelector("canvas");
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
    this.video.addEventListener("loadedmetadata", () => this.#draw());
    this.video.addEventListener("error", () => {
      this.video.hidden = true;
      this.canvas.hidden = true;
      const message = element.querySelector(".message");
      const { name, source, embedded } = data.video;
      message.textContent = embedded
        ? `This browser cannot play the video ${name}.`
        : `The video cannot be shown. This page looks for it at ${decodeURI(source)}, as seen from where it lies itself.`;
      message.hidden = false;
    });
  }

  update(state) {
    this.state = state;
    this.#draw();
  }

  #draw() {
    if (!this.state) return;
    const { frame, hidden, selected, show } = this.state;
    const ratio = window.devicePixelRatio;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (!show.boxes) return;
    const context = this.canvas.getContext("2d");
    const scale = Math.min(width / this.filmCamera.width, height / this.filmCamera.height) * ratio;
    const left = (width * ratio - this.filmCamera.width * scale) / 2;
    const top = (height * ratio - this.filmCamera.height * scale) / 2;
    for (const person of this.people) {
      if (!person.isThere(frame) || hidden.has(person.id)) continue;
      const [x1, y1, x2, y2] = person.boxAt(frame).map((value) => value * scale);
      context.strokeStyle = person.colour;
      context.lineWidth = (person.id === selected ? 2.5 : 1.5) * ratio;
      context.setLineDash(person.isSeen[frame] ? [] : [4 * ratio, 3 * ratio]);
      context.strokeRect(left + x1, top + y1, x2 - x1, y2 - y1);
    }
  }
}
