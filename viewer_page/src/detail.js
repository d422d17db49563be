// Fewer triangles for browsers that draw without a GPU.

import { BufferAttribute } from "three";
import { MeshoptSimplifier } from "meshoptimizer/simplifier";

const SHARE = 0.25; // of the triangles
const LARGEST_ERROR = 0.02; // of the mesh's extent

/** An index with about a quarter of the triangles, over the same vertices. */
export async function simplifiedIndex(geometry) {
  await MeshoptSimplifier.ready;
  const indices = new Uint32Array(geometry.index.array);
  const target = Math.floor((SHARE * indices.length) / 3) * 3;
  const [kept] = MeshoptSimplifier.simplify(indices, geometry.attributes.position.array, 3, target, LARGEST_ERROR);
  return new BufferAttribute(new Uint16Array(kept), 1);
}
