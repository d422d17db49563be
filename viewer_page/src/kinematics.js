// Joint positions, angles and speeds of a person over time, from the rotations of the joints.

import { Euler, MathUtils, Quaternion, Vector3 } from "three";

const HALF_WINDOW = 0.1; // seconds to each side over which a speed is taken
const DEGREES = MathUtils.RAD2DEG;

/** (T * 24 * 3) metres: every joint of every row, in the world. */
export function jointPositions(person) {
  const count = person.bones.length;
  const positions = new Float32Array(person.frames.length * count * 3);
  const rotations = person.bones.map(() => new Quaternion());
  const places = person.bones.map(() => new Vector3());
  for (let row = 0; row < person.frames.length; row++) {
    for (let joint = 0; joint < count; joint++) {
      const parent = person.parents[joint];
      rotations[joint].fromArray(person.rotations[joint], 4 * row);
      if (parent < 0) {
        places[joint].fromArray(person.pelvis, 3 * row);
      } else {
        places[joint].copy(person.rest[joint]).applyQuaternion(rotations[parent]).add(places[parent]);
        rotations[joint].premultiply(rotations[parent]);
      }
      places[joint].toArray(positions, 3 * (row * count + joint));
    }
  }
  return positions;
}

/** The curves that can be plotted: groups of {key, name, unit, lines(person) -> [{name, values}]}, a value a row. */
export function curveGroups(data) {
  const index = (name) => data.joints.indexOf(name);
  const sides = (make) => (person) =>
    ["left", "right"].map((side) => ({ name: side, values: make(person, (name) => index(`${side}_${name}`)) }));
  const [pelvis, neck] = [index("pelvis"), index("neck")];
  const trunkDown = [neck, pelvis];
  const speedOf = (joint) => (person) => speed(person, joint, data);
  return [
    {
      name: "Speed",
      curves: [
        { key: "speed", name: "Body (pelvis)", unit: "m/s", lines: (p) => [{ name: "speed", values: speedOf(pelvis)(p) }] },
        { key: "speed-hands", name: "Hands (wrists)", unit: "m/s", lines: sides((p, at) => speedOf(at("wrist"))(p)) },
        { key: "speed-feet", name: "Feet (ankles)", unit: "m/s", lines: sides((p, at) => speedOf(at("ankle"))(p)) },
      ],
    },
    {
      name: "Angle",
      curves: [
        { key: "knees", name: "Knees, flexion", lines: sides((p, at) => between(p, [at("hip"), at("knee")], [at("knee"), at("ankle")])) },
        { key: "elbows", name: "Elbows, flexion", lines: sides((p, at) => between(p, [at("shoulder"), at("elbow")], [at("elbow"), at("wrist")])) },
        { key: "hips", name: "Hips, thigh to trunk", lines: sides((p, at) => between(p, trunkDown, [at("hip"), at("knee")])) },
        { key: "shoulders", name: "Shoulders, upper arm to trunk", lines: sides((p, at) => between(p, trunkDown, [at("shoulder"), at("elbow")])) },
        { key: "trunk", name: "Trunk, from the vertical", lines: (p) => [{ name: "lean", values: between(p, [pelvis, neck], null) }] },
      ].map((curve) => ({ unit: "°", ...curve })),
    },
    {
      name: "Rotation about x, y, z",
      curves: data.joints.map((joint, number) => ({
        key: `rotation-${joint}`,
        name: sentence(joint),
        unit: "°",
        lines: (person) => eulerAngles(person, number),
      })),
    },
  ];
}

function sentence(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

function positionsOf(person) {
  return (person.positions ??= jointPositions(person));
}

/** Metres a second. Speeds are taken over 0.2 s, within stretches without a gap or a cut. */
function speed(person, joint, data) {
  const positions = positionsOf(person);
  const count = person.bones.length;
  const half = Math.max(Math.round(HALF_WINDOW * data.frame_rate), 1);
  const values = new Float32Array(person.frames.length).fill(NaN);
  const stretch = stretches(person, data.cuts);
  for (const [first, last] of stretch) {
    for (let row = first; row <= last; row++) {
      const [before, after] = [Math.max(row - half, first), Math.min(row + half, last)];
      const seconds = data.times[person.frames[after]] - data.times[person.frames[before]];
      const at = (place) => 3 * (place * count + joint);
      const move = [0, 1, 2].map((axis) => positions[at(after) + axis] - positions[at(before) + axis]);
      if (seconds > 0) values[row] = Math.hypot(...move) / seconds;
    }
  }
  return values;
}

/** First and last row of each stretch of frames that follow one another within a shot. */
export function stretches(person, cuts) {
  const isCut = new Set(cuts);
  const found = [];
  let first = 0;
  person.frames.forEach((frame, row) => {
    const next = person.frames[row + 1];
    if (next !== frame + 1 || isCut.has(next)) {
      found.push([first, row]);
      first = row + 1;
    }
  });
  return found;
}

/** Degrees between two segments, each from one joint to another; without the second, from the vertical. */
function between(person, one, other) {
  const positions = positionsOf(person);
  const count = person.bones.length;
  const [a, b] = [new Vector3(), new Vector3(0, 1, 0)];
  const start = new Vector3();
  const segment = (target, row, [from, to]) =>
    target.fromArray(positions, 3 * (row * count + to)).sub(start.fromArray(positions, 3 * (row * count + from)));
  return Float32Array.from(person.frames, (_, row) => {
    segment(a, row, one);
    if (other) segment(b, row, other);
    return a.angleTo(b) * DEGREES;
  });
}

/** Degrees of a joint relative to its parent about the moving z, then x, then y axis, as in the exported tables. */
function eulerAngles(person, joint) {
  const lines = ["x", "y", "z"].map((name) => ({ name, values: new Float32Array(person.frames.length) }));
  const [rotation, euler] = [new Quaternion(), new Euler()];
  for (let row = 0; row < person.frames.length; row++) {
    euler.setFromQuaternion(rotation.fromArray(person.rotations[joint], 4 * row), "ZXY");
    for (const line of lines) line.values[row] = euler[line.name] * DEGREES;
  }
  return lines;
}
