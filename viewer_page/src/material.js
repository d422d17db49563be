// The look of a body: skinned with uniforms, which is several times faster without a GPU than three.js's texture of
// bones, and lit by a sky and one lamp. People who are hidden are drawn as a fine pattern of dots.

import { Color, ShaderMaterial } from "three";

const BONES = 24;

const vertexShader = /* glsl */ `
  uniform mat4 bones[${BONES}];
  varying vec3 vNormal;
  varying vec3 vView;

  void main() {
    mat4 bone = skinWeight.x * bones[int(skinIndex.x)];
    if (skinWeight.y > 0.0) bone += skinWeight.y * bones[int(skinIndex.y)];
    if (skinWeight.z > 0.0) bone += skinWeight.z * bones[int(skinIndex.z)];
    if (skinWeight.w > 0.0) bone += skinWeight.w * bones[int(skinIndex.w)];
    vec4 world = bone * vec4(position, 1.0);
    vNormal = mat3(bone) * normal;
    vView = cameraPosition - world.xyz;
    gl_Position = projectionMatrix * viewMatrix * world;
  }
`;

const fragmentShader = /* glsl */ `
  uniform vec3 colour;
  uniform bool hidden;
  uniform bool chosen;
  varying vec3 vNormal;
  varying vec3 vView;

  void main() {
    if (hidden && mod(floor(gl_FragCoord.x) + floor(gl_FragCoord.y), 2.0) > 0.5) discard;
    vec3 normal = normalize(vNormal);
    vec3 view = normalize(vView);
    float lamp = max(dot(normal, vec3(0.424, 0.742, 0.530)), 0.0);
    float facing = max(dot(normal, view), 0.0);
    float rim = pow(1.0 - facing, 3.0);
    vec3 light = mix(vec3(0.20, 0.19, 0.20), vec3(0.55, 0.57, 0.60), 0.5 + 0.5 * normal.y) + 0.62 * lamp;
    gl_FragColor = vec4(colour * light + rim * (chosen ? 0.28 : 0.10), 1.0);
    #include <colorspace_fragment>
  }
`;

/** colour: THREE.Color. skeleton: of the mesh that will have the material. */
export function bodyMaterial(colour, skeleton) {
  skeleton.computeBoneTexture(); // pads the array of matrices; the texture itself is never uploaded
  return new ShaderMaterial({
    uniforms: {
      bones: { value: skeleton.boneMatrices.subarray(0, 16 * BONES) },
      colour: { value: new Color(colour) },
      hidden: { value: false },
      chosen: { value: false },
    },
    vertexShader,
    fragmentShader,
  });
}
