// The scene in 3D: people, floor, filming camera; views, following, labels, and choosing people by a click.
// It draws only when something has changed.

import { Box3, MathUtils, PerspectiveCamera, Scene, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { simplifiedIndex } from "./detail.js";
import { Grid, makeFrustum, makePath, makeRing, makeShadow } from "./ground.js";
import { stretches } from "./kinematics.js";
import { bodyMaterial } from "./material.js";

const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render|software/i;
const FIELD_OF_VIEW = 35; // degrees, of the shorter side of the picture
const [HEAD, PELVIS] = [15, 0]; // joints
const NEAREST_CLICK = 40; // pixels from a joint within which a click chooses the person
const FILLED = 0.82; // share of the picture in which people stand
const NEAREST_VIEW = 3; // metres
const FOLLOWING_DISTANCE = 7; // metres from a person who is followed, at the start
const POSITIONS = 200; // of each person in each shot, at which a view is fitted
const FULL_DETAIL_AFTER = 250; // milliseconds without a change, where drawing is slow
const UP = new Vector3(0, 1, 0);

export class Stage {
  /** container: holds the canvas and the labels. changed: called when the user leaves or chooses something here. */
  constructor(container, { scene, people, camera: filmCamera }, data, actions) {
    Object.assign(this, { container, people, filmCamera, data, actions });
    const canvas = container.querySelector("canvas.scene");
    this.isSoftware = drawsInSoftware();
    this.renderer = new WebGLRenderer({ canvas, antialias: !this.isSoftware, alpha: true });
    this.scene = new Scene().add(scene);
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.05, 2000);
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.addEventListener("start", () => this.view === "camera" && this.actions.leaveCamera());
    this.controls.addEventListener("change", () => this.draw());
    this.backdrop = container.querySelector("canvas.backdrop");
    this.labels = container.querySelector(".labels");
    this.view = "overview";
    this.#fill();
    this.#listen(canvas);
    new ResizeObserver(() => this.#resize()).observe(container);
    this.#resize();
  }

  #fill() {
    const floor = this.data.floor;
    this.floor = floor;
    this.areas = this.#areas();
    const all = this.areas.reduce((box, area) => box.union(area.box), new Box3());
    const extent = all.getSize(new Vector3());
    this.grid = new Grid(all.getCenter(new Vector3()), Math.max(extent.x, extent.z) / 2 + 6, floor);
    this.frustum = makeFrustum(this.filmCamera, 0.8);
    this.filmCamera.node.add(this.frustum.object);
    this.ring = makeRing();
    this.scene.add(this.grid.object, this.ring);
    for (const person of this.people) {
      person.mesh.material = bodyMaterial(person.colour, person.mesh.skeleton);
      person.shadow = makeShadow();
      person.path = makePath(person, stretches(person, this.data.cuts), floor + 0.004);
      person.label = document.createElement("button");
      person.label.className = "label";
      person.label.style.setProperty("--colour", person.colour);
      person.label.style.setProperty("--text", person.text);
      person.label.addEventListener("click", () => this.actions.choose(person.id));
      this.labels.append(person.label);
      this.scene.add(person.shadow, person.path);
    }
  }

  /** Of each shot, where its people are: a box, and points around them, without the outermost positions. */
  #areas() {
    const starts = [0, ...this.data.cuts];
    return starts.map((start, shot) => {
      const end = starts[shot + 1] ?? this.data.times.length;
      const pelvises = this.people.flatMap((person) => {
        const frames = person.frames.filter((frame) => frame >= start && frame < end);
        const step = Math.max(Math.floor(frames.length / POSITIONS), 1);
        return frames.filter((_, i) => i % step === 0).map((frame) => person.pelvisAt(frame));
      });
      if (!pelvises.length) pelvises.push(new Vector3(0, 1, -4));
      const ranges = ["x", "y", "z"].map((axis) => {
        const sorted = pelvises.map((point) => point[axis]).sort((a, b) => a - b);
        return [0.01, 0.99].map((share) => sorted[Math.round(share * (sorted.length - 1))]);
      });
      const inside = pelvises.filter((point) =>
        ["x", "y", "z"].every((axis, i) => point[axis] >= ranges[i][0] && point[axis] <= ranges[i][1]),
      );
      const around = [[0.5, 0, 0], [-0.5, 0, 0], [0, 0, 0.5], [0, 0, -0.5], [0, 1.1, 0], [0, -1, 0]]; // prettier-ignore
      const points = (inside.length ? inside : pelvises).flatMap((point) =>
        around.map((offset) => new Vector3(...offset).add(point)),
      );
      return { box: new Box3().setFromPoints(points), points };
    });
  }

  #area(frame) {
    return this.areas[this.data.cuts.filter((cut) => cut <= frame).length];
  }

  /** Look at the people of the frame's shot. view: overview, front, side, top, or camera: through the filming camera. */
  setView(view, frame) {
    this.view = view;
    this.controls.enabled = true;
    this.camera.clearViewOffset();
    if (view === "camera") {
      this.update(this.state);
      return;
    }
    const directions = {
      overview: new Vector3(-0.62, 0.42, 1),
      front: new Vector3(0, 0.06, 1),
      side: new Vector3(1, 0.06, 0),
      top: new Vector3(0, 1, 0.001),
    };
    this.camera.fov = this.#fieldOfView();
    this.#frameAll(this.#area(frame), directions[view].normalize());
    this.controls.update();
    this.#resize();
  }

  /** Look along a direction, from so far away that all points of an area are in the picture. */
  #frameAll({ points }, direction) {
    const right = new Vector3().crossVectors(UP, direction).normalize();
    const up = new Vector3().crossVectors(direction, right);
    const spread = [right, up, direction].map((axis) => {
      const values = points.map((point) => point.dot(axis));
      return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    });
    const target = this.controls.target.set(0, 0, 0);
    [right, up, direction].forEach((axis, i) => target.addScaledVector(axis, (spread[i][0] + spread[i][1]) / 2));
    const vertical = Math.tan(MathUtils.degToRad(this.camera.fov) / 2) * FILLED;
    let distance = NEAREST_VIEW;
    const point = new Vector3();
    for (const each of points) {
      point.copy(each).sub(target);
      const sideways = Math.abs(point.dot(right)) / (vertical * this.camera.aspect);
      distance = Math.max(distance, point.dot(direction) + Math.max(sideways, Math.abs(point.dot(up)) / vertical));
    }
    this.camera.position.copy(target).addScaledVector(direction, distance);
  }

  #fieldOfView() {
    const { aspect } = this.camera;
    return aspect >= 1 ? FIELD_OF_VIEW : MathUtils.radToDeg(2 * Math.atan(Math.tan(MathUtils.degToRad(FIELD_OF_VIEW) / 2) / Math.sqrt(aspect)));
  }

  /** Show a state: its frame, who is chosen and hidden, what is shown beside people. */
  update(state) {
    const before = this.state;
    this.state = { ...state };
    const { frame, selected, show } = state;
    for (const person of this.people) {
      const visible = person.isThere(frame) && !state.hidden.has(person.id);
      person.mesh.visible = person.shadow.visible = visible;
      person.path.visible = show.path && person.id === selected && !state.hidden.has(person.id);
      if (!visible) continue;
      person.pose(frame);
      const { uniforms } = person.mesh.material;
      uniforms.hidden.value = !person.isSeen[frame];
      uniforms.chosen.value = person.id === selected && this.people.length > 1;
      person.shadow.position.set(person.bones[0].position.x, this.floor + 0.002, person.bones[0].position.z);
    }
    const chosen = this.people.find((person) => person.id === selected);
    this.ring.visible = Boolean(chosen?.mesh.visible) && this.people.length > 1;
    if (this.ring.visible) {
      this.ring.position.copy(chosen.shadow.position).setY(this.floor + 0.006);
      this.ring.material.color.set(chosen.colour);
    }
    this.grid.object.visible = show.grid;
    this.frustum.object.visible = show.frustum && this.view !== "camera";
    this.filmCamera.pose(this.data.times[frame]);
    this.#move(before, state, chosen);
    this.draw();
  }

  /** Keep the view on the person who is followed, and on the people of the shot where a cut has been passed. */
  #move(before, state, chosen) {
    if (this.view === "camera" || !before || before.frame === state.frame) {
      const begins = state.follow && (!before?.follow || before.selected !== state.selected);
      if (begins && chosen?.isThere(state.frame)) this.#goTo(chosen.pelvisAt(state.frame));
      return;
    }
    if (state.follow && chosen?.isThere(state.frame)) {
      const to = chosen.pelvisAt(state.frame);
      if (before.selected === state.selected && chosen.isThere(before.frame) && before.follow) {
        this.#shift(to.sub(chosen.pelvisAt(before.frame)));
      } else {
        this.#goTo(to);
      }
      return;
    }
    const [from, to] = [this.#area(before.frame), this.#area(state.frame)];
    if (from !== to) this.#shift(to.box.getCenter(new Vector3()).sub(from.box.getCenter(new Vector3())));
  }

  /** Look at a point from the same direction, and from nearby. */
  #goTo(point) {
    this.#shift(point.sub(this.controls.target));
    const offset = this.camera.position.sub(this.controls.target).clampLength(0, FOLLOWING_DISTANCE);
    this.camera.position.copy(this.controls.target).add(offset);
    this.controls.update();
  }

  #shift(move) {
    this.controls.target.add(move);
    this.camera.position.add(move);
    this.controls.update();
  }

  setTheme(colours) {
    this.grid.setColour(colours.grid);
    this.frustum.setColour(colours.frustum);
    for (const person of this.people) person.shadow.material.uniforms.strength.value = colours.shadow;
    this.draw();
  }

  /** Draw fewer triangles while things move, where there is no GPU. */
  async simplify() {
    const index = await simplifiedIndex(this.people[0].mesh.geometry); // all have the same topology
    this.details = { full: this.people[0].mesh.geometry.index, simplified: index };
  }

  #setDetail(name) {
    if (!this.details) return;
    for (const person of this.people) person.mesh.geometry.index = this.details[name];
    clearTimeout(this.timer);
    if (name === "simplified") this.timer = setTimeout(() => this.drawNow("full"), FULL_DETAIL_AFTER);
  }

  draw() {
    this.request ??= requestAnimationFrame(() => {
      this.request = null;
      this.drawNow();
    });
  }

  drawNow(detail = "simplified") {
    if (!this.state) return;
    this.#setDetail(detail);
    if (this.view === "camera") this.#filmView();
    this.#drawBackdrop();
    this.renderer.render(this.scene, this.camera);
    this.#placeLabels();
    this.drawn = (this.drawn ?? 0) + 1;
  }

  /** Put the camera where the filming one is, with the whole of its picture in the middle of the canvas. */
  #filmView() {
    const { width, height, focalLength, principalPoint, node } = this.filmCamera;
    const scale = this.#pictureScale();
    const [w, h] = [this.width / scale, this.height / scale];
    this.camera.fov = 2 * MathUtils.RAD2DEG * Math.atan(height / 2 / focalLength);
    this.camera.setViewOffset(
      width, height,
      width / 2 - principalPoint[0] + (width - w) / 2,
      height / 2 - principalPoint[1] + (height - h) / 2,
      w, h,
    );
    this.camera.aspect = width / height;
    node.getWorldPosition(this.camera.position);
    node.getWorldQuaternion(this.camera.quaternion);
    this.camera.updateProjectionMatrix();
    this.camera.updateMatrixWorld(true);
  }

  #pictureScale() {
    return Math.min(this.width / this.filmCamera.width, this.height / this.filmCamera.height);
  }

  /** From the view through the filming camera, go on from the same place. */
  leaveCamera() {
    const middle = this.#area(this.state.frame).box.getCenter(new Vector3());
    const forward = new Vector3(0, 0, -1).applyQuaternion(this.camera.quaternion);
    const away = Math.max(middle.sub(this.camera.position).dot(forward), 1);
    this.controls.target.copy(this.camera.position).addScaledVector(forward, away);
    this.view = "free";
    this.camera.clearViewOffset();
    this.#resize();
    this.controls.update();
  }

  /** The video's picture behind people who are looked at through the camera that filmed it. */
  #drawBackdrop() {
    const video = this.video;
    const shown = this.view === "camera" && video && video.readyState >= 2;
    this.backdrop.hidden = !shown;
    if (!shown) return;
    const ratio = this.renderer.getPixelRatio();
    const [width, height] = [this.width, this.height].map((length) => Math.round(length * ratio));
    if (this.backdrop.width !== width) this.backdrop.width = width;
    if (this.backdrop.height !== height) this.backdrop.height = height;
    const scale = this.#pictureScale() * ratio;
    const [w, h] = [this.filmCamera.width * scale, this.filmCamera.height * scale];
    const context = this.backdrop.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.drawImage(video, (width - w) / 2, (height - h) / 2, w, h);
  }

  #placeLabels() {
    const { frame, show, selected } = this.state;
    const point = new Vector3();
    for (const person of this.people) {
      const label = person.label;
      label.hidden = !show.labels || !person.mesh.visible;
      if (label.hidden) continue;
      person.joint(HEAD, point).y += 0.3;
      point.project(this.camera);
      label.hidden = point.z > 1 || Math.abs(point.x) > 1.05 || Math.abs(point.y) > 1.05;
      if (label.hidden) continue;
      const action = person.labelAt(frame);
      const text = action ? `${person.id} · ${action}` : String(person.id);
      if (label.textContent !== text) label.textContent = text;
      label.title = person.isSeen[frame] ? person.name : `${person.name}, hidden in the video`;
      label.classList.toggle("hidden-person", !person.isSeen[frame]);
      label.classList.toggle("chosen", person.id === selected);
      const [x, y] = this.#pixels(point);
      label.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) translate(-50%, -100%)`;
    }
  }

  #pixels(point) {
    return [(0.5 + 0.5 * point.x) * this.width, (0.5 - 0.5 * point.y) * this.height];
  }

  /** Pixels of the canvas, in CSS's unit, at which a joint is in the picture. */
  project(person, joint) {
    return this.#pixels(person.joint(joint).project(this.camera));
  }

  #listen(canvas) {
    let pressed = null;
    canvas.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]));
    canvas.addEventListener("pointerup", (event) => {
      if (!pressed || Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4) return;
      const box = canvas.getBoundingClientRect();
      const nearest = this.#nearest(event.clientX - box.left, event.clientY - box.top);
      if (nearest) this.actions.choose(nearest.id);
    });
    canvas.addEventListener("webglcontextrestored", () => this.draw());
  }

  #nearest(x, y) {
    let [best, least] = [null, NEAREST_CLICK];
    for (const person of this.people.filter((each) => each.mesh.visible)) {
      for (let joint = PELVIS; joint < person.bones.length; joint++) {
        const [px, py] = this.project(person, joint);
        const distance = Math.hypot(px - x, py - y);
        if (distance < least) [best, least] = [person, distance];
      }
    }
    return best;
  }

  #resize() {
    this.width = Math.max(this.container.clientWidth, 1);
    this.height = Math.max(this.container.clientHeight, 1);
    this.renderer.setPixelRatio(this.isSoftware ? 1 : Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(this.width, this.height, false);
    this.camera.aspect = this.width / this.height;
    if (this.view !== "camera") this.camera.fov = this.#fieldOfView();
    this.camera.updateProjectionMatrix();
    this.request = null;
    this.drawNow(); // at once: setting the size has emptied the canvas
  }
}

function drawsInSoftware() {
  const context = document.createElement("canvas").getContext("webgl2");
  if (!context) return true;
  const names = context.getExtension("WEBGL_debug_renderer_info");
  const name = context.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : context.RENDERER);
  context.getExtension("WEBGL_lose_context")?.loseContext();
  return SOFTWARE.test(String(name));
}
