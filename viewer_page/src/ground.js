// What stands around the people: the floor's grid, shadows, the path of a person, and the camera that filmed.

import {
  BufferAttribute,
  BufferGeometry,
  CircleGeometry,
  Color,
  Group,
  LineBasicMaterial,
  LineSegments,
  Mesh,
  MeshBasicMaterial,
  PlaneGeometry,
  RingGeometry,
  ShaderMaterial,
} from "three";

const LINES = 40; // of the grid in each direction at most
const SPACINGS = [1, 2, 5, 10, 20, 50, 100];

/** Lines on the floor that fade with the distance from `centre`. spacing: metres between them. */
export class Grid {
  constructor(centre, radius, height) {
    this.spacing = SPACINGS.find((spacing) => (2 * radius) / spacing <= LINES) ?? SPACINGS.at(-1);
    const reach = Math.ceil(radius / this.spacing) * this.spacing;
    const points = [];
    const [x0, z0] = [centre.x, centre.z].map((value) => Math.round(value / this.spacing) * this.spacing);
    for (let offset = -reach; offset <= reach; offset += this.spacing) {
      points.push(x0 + offset, 0, z0 - reach, x0 + offset, 0, z0 + reach);
      points.push(x0 - reach, 0, z0 + offset, x0 + reach, 0, z0 + offset);
    }
    this.material = new ShaderMaterial({
      uniforms: { colour: { value: new Color() }, middle: { value: [x0, z0] }, reach: { value: reach } },
      vertexShader: /* glsl */ `
        varying vec2 vPlace;
        void main() {
          vPlace = position.xz;
          gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
        }`,
      fragmentShader: /* glsl */ `
        uniform vec3 colour;
        uniform vec2 middle;
        uniform float reach;
        varying vec2 vPlace;
        void main() {
          float alpha = 1.0 - smoothstep(0.35, 1.0, distance(vPlace, middle) / reach);
          gl_FragColor = vec4(colour, alpha);
          #include <colorspace_fragment>
        }`,
      transparent: true,
      depthWrite: false,
    });
    const geometry = new BufferGeometry().setAttribute("position", new BufferAttribute(new Float32Array(points), 3));
    this.object = new LineSegments(geometry, this.material);
    this.object.position.y = height;
    this.object.renderOrder = -2;
  }

  setColour(colour) {
    this.material.uniforms.colour.value.set(colour);
  }
}

/** A soft shadow on the floor below a person. */
export function makeShadow() {
  const material = new ShaderMaterial({
    uniforms: { strength: { value: 0.3 } },
    vertexShader: /* glsl */ `
      varying vec2 vPlace;
      void main() {
        vPlace = 2.0 * uv - 1.0;
        gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
      }`,
    fragmentShader: /* glsl */ `
      uniform float strength;
      varying vec2 vPlace;
      void main() {
        float fade = max(1.0 - length(vPlace), 0.0);
        gl_FragColor = vec4(0.0, 0.0, 0.0, strength * fade * fade * (3.0 - 2.0 * fade));
      }`,
    transparent: true,
    depthWrite: false,
  });
  const shadow = new Mesh(new PlaneGeometry(1.3, 1.3).rotateX(-Math.PI / 2), material);
  shadow.renderOrder = -1;
  return shadow;
}

/** A ring on the floor that marks the chosen person. */
export function makeRing() {
  const material = new MeshBasicMaterial({ transparent: true, opacity: 0.9, depthWrite: false });
  const ring = new Mesh(new RingGeometry(0.42, 0.46, 48).rotateX(-Math.PI / 2), material);
  ring.renderOrder = -1;
  return ring;
}

/** Where a person's pelvis goes, on the floor; broken where the person is away and at cuts. */
export function makePath(person, stretches, height) {
  const points = [];
  for (const [first, last] of stretches) {
    for (let row = first; row < last; row++) {
      for (const place of [row, row + 1]) points.push(person.pelvis[3 * place], height, person.pelvis[3 * place + 2]);
    }
  }
  const geometry = new BufferGeometry().setAttribute("position", new BufferAttribute(new Float32Array(points), 3));
  const material = new LineBasicMaterial({ color: person.colour, transparent: true, opacity: 0.8, depthWrite: false });
  const path = new LineSegments(geometry, material);
  path.frustumCulled = false;
  path.renderOrder = -1;
  return path;
}

/** The filming camera as a pyramid to its picture, `depth` metres away. The group is moved with the camera. */
export function makeFrustum(camera, depth) {
  const [cx, cy] = camera.principalPoint;
  const corner = (x, y) => [
    ((x - cx) / camera.focalLength) * depth,
    (-(y - cy) / camera.focalLength) * depth,
    -depth,
  ];
  const { width, height } = camera;
  const corners = [corner(0, 0), corner(width, 0), corner(width, height), corner(0, height)];
  const points = corners.flatMap((each, i) => [0, 0, 0, ...each, ...each, ...corners[(i + 1) % 4]]);
  const above = corner(width / 2, -0.14 * height); // a triangle shows which side is up
  const [left, right] = [corner(0.4 * width, -0.02 * height), corner(0.6 * width, -0.02 * height)];
  points.push(...left, ...above, ...above, ...right, ...right, ...left);
  const geometry = new BufferGeometry().setAttribute("position", new BufferAttribute(new Float32Array(points), 3));
  const material = new LineBasicMaterial();
  const group = new Group();
  group.add(new LineSegments(geometry, material));
  const lens = new Mesh(new CircleGeometry(0.04, 16), material);
  group.add(lens);
  return { object: group, setColour: (colour) => material.color.set(colour) };
}
