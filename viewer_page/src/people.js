// The people and the filming camera of the GLB, posed at a frame of the video.
//
// Animations are read at whole frames, straight from their tracks: every frame has a key, and video and scene show the
// same frame. A row is a frame in which the person is there.

import { Sphere, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const BODY_RADIUS = 1.3; // metres around the pelvis, for culling

export class Person {
  constructor(mesh, tracks, data) {
    this.mesh = mesh;
    this.bones = mesh.skeleton.bones;
    const { person, spans, seen } = this.bones[0].parent.userData;
    this.id = person;
    this.name = `Person ${person}`;
    Object.assign(this, data.people.find((each) => each.id === person)); // colour, text colour, boxes, labels
    this.spans = spans;
    this.rotations = this.bones.map((bone) => tracks.get(`${bone.name}.quaternion`).values);
    this.pelvis = tracks.get(`${this.bones[0].name}.position`).values;
    this.rest = this.bones.map((bone) => bone.position.clone()); // offsets from the parent; the pelvis's is not used
    this.parents = this.bones.map((bone) => this.bones.indexOf(bone.parent));
    this.frames = spans.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
    this.rowOf = new Int32Array(data.times.length).fill(-1);
    this.frames.forEach((frame, row) => (this.rowOf[frame] = row));
    this.isSeen = new Uint8Array(data.times.length);
    for (const [first, last] of seen) this.isSeen.fill(1, first, last + 1);
    mesh.boundingSphere = new Sphere(new Vector3(), BODY_RADIUS);
    this.bones[0].parent.scale.setScalar(1); // whether people are there is told by `rowOf`
  }

  isThere(frame) {
    return this.rowOf[frame] >= 0;
  }

  /** Put the bones where they are in a frame that the person is in. */
  pose(frame) {
    const row = this.rowOf[frame];
    this.bones.forEach((bone, joint) => bone.quaternion.fromArray(this.rotations[joint], 4 * row));
    this.bones[0].position.fromArray(this.pelvis, 3 * row);
    this.bones[0].parent.updateMatrixWorld(true);
    this.mesh.boundingSphere.center.copy(this.bones[0].position);
  }

  pelvisAt(frame, target = new Vector3()) {
    return target.fromArray(this.pelvis, 3 * this.rowOf[frame]);
  }

  /** World position of a joint in the frame that was posed last. */
  joint(joint, target = new Vector3()) {
    return target.setFromMatrixPosition(this.bones[joint].matrixWorld);
  }
}

/** The camera that filmed: a node whose keys are there only where it moves. */
export class FilmCamera {
  constructor(node, tracks, extras) {
    this.node = node;
    this.tracks = ["quaternion", "position"].map((name) => [name, tracks.get(`${node.name}.${name}`)]);
    [this.height, this.width] = extras.frame_size;
    this.focalLength = extras.focal_length;
    this.principalPoint = extras.principal_point;
  }

  pose(time) {
    const key = time + 1e-3; // keys are single precision, times rounded
    for (const [name, track] of this.tracks) {
      if (!track) continue;
      let low = 0;
      for (let high = track.times.length; high - low > 1; ) {
        const middle = (low + high) >> 1;
        if (track.times[middle] <= key) low = middle;
        else high = middle;
      }
      this.node[name].fromArray(track.values, low * track.getValueSize());
    }
    this.node.updateMatrixWorld(true);
  }
}

/** glb: ArrayBuffer. Returns the loaded scene, its people in the order of their ids, and the filming camera. */
export async function loadPeople(glb, data) {
  const gltf = await new GLTFLoader().parseAsync(glb, "");
  const tracks = new Map(gltf.animations.flatMap((clip) => clip.tracks).map((track) => [track.name, track]));
  const meshes = [];
  gltf.scene.traverse((node) => node.isSkinnedMesh && meshes.push(node));
  const people = meshes.map((mesh) => new Person(mesh, tracks, data)).sort((a, b) => a.id - b.id);
  const node = gltf.scene.getObjectByName("camera");
  return { scene: gltf.scene, people, camera: new FilmCamera(node, tracks, gltf.scene.userData) };
}
