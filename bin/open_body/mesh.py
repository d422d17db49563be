"""The mesh: closed where MakeHuman's has pockets, symmetric, and simplified to SMPL's number of vertices.

Every vertex that is kept is one of MakeHuman's, so shape targets, skin weights and texture coordinates carry over
exactly. Work is done on the left half (x at least 0) and mirrored.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from open_body.assets import Array, BaseMesh

ON_MIDLINE = 1e-6
POCKET_FACES = 500  # the mouth's inside and the eye sockets are texture islands with fewer faces
EYELID_VERTICES = np.r_[1778:1794, 8450:8466]  # the rims inside the lids, after Anny's list

SPREAD_COST = 2e-3  # per area and squared length of the collapsed edge: keeps triangles even
SKINNING_COST = 2e-4  # per area and squared difference of skin weights: keeps joints well covered


@dataclass(frozen=True)
class Triangles:
    """corners: (F, 3) vertices. texture: (F, 3) texture coordinates of those corners."""

    corners: Array
    texture: Array


def mirror_map(mesh: BaseMesh) -> Array:
    """(n,) the vertex on the other side, −1 for vertices that are not of the body."""
    used = np.unique(mesh.quads)
    _, nearest = KDTree(mesh.vertices[used]).query(mesh.vertices[used] * [-1, 1, 1])
    other = np.full(len(mesh.vertices), -1)
    other[used] = used[nearest]
    return other


def with_mirror_image(half: Triangles, mesh: BaseMesh, mirror: Array) -> Triangles:
    """The left half and, after it, the right one."""
    texture_of = {
        frozenset(quad): dict(zip(quad, texture, strict=True))
        for quad, texture in zip(mesh.quads.tolist(), mesh.quad_texture.tolist(), strict=True)
    }
    other = np.full(len(mesh.texture), -1)
    for quad, texture in zip(mesh.quads.tolist(), mesh.quad_texture.tolist(), strict=True):
        opposite = texture_of[frozenset(int(mirror[v]) for v in quad)]
        for vertex, t in zip(quad, texture, strict=True):
            other[t] = opposite[int(mirror[vertex])]
    flipped = [0, 2, 1]
    return Triangles(
        np.concatenate([half.corners, mirror[half.corners][:, flipped]]),
        np.concatenate([half.texture, other[half.texture][:, flipped]]),
    )


def closed_half(mesh: BaseMesh) -> Triangles:
    """The left half without pockets, in triangles, mouth and eyes closed by the smallest surface over their rims."""
    vertices, x = mesh.vertices, mesh.vertices[:, 0]
    keep = ~(_is_in_pocket(mesh) | np.isin(mesh.quads, EYELID_VERTICES).any(1)) & (x[mesh.quads] > -ON_MIDLINE).all(1)
    corners: list[list[int]] = []
    texture: list[list[int]] = []
    for quad, t in zip(mesh.quads[keep].tolist(), mesh.quad_texture[keep].tolist(), strict=True):
        a, b, c, d = vertices[quad]
        along_ac = np.linalg.norm(a - c) <= np.linalg.norm(b - d)
        for places in ((0, 1, 2), (0, 2, 3)) if along_ac else ((0, 1, 3), (1, 2, 3)):
            corners.append([quad[i] for i in places])
            texture.append([t[i] for i in places])
    texture_of: dict[int, Counter[int]] = defaultdict(Counter)
    for triangle, t in zip(corners, texture, strict=True):
        for vertex, u in zip(triangle, t, strict=True):
            texture_of[vertex][u] += 1
    midline = {v for triangle in corners for v in triangle if abs(x[v]) < ON_MIDLINE}
    for rim in _rims(corners, midline):
        for places in _smallest_surface(vertices[rim]):
            corners.append([rim[i] for i in places])
            texture.append([texture_of[rim[i]].most_common(1)[0][0] for i in places])
    return Triangles(np.array(corners), np.array(texture))


def _is_in_pocket(mesh: BaseMesh) -> Array:
    """(q,) whether a quad belongs to a small texture island."""
    t = mesh.quad_texture
    edges = np.stack([np.repeat(t[:, 0], 3), t[:, 1:].ravel()])
    count = len(mesh.texture)
    _, island = connected_components(
        coo_matrix((np.ones(edges.shape[1]), tuple(edges)), (count, count)), directed=False
    )
    of_quad = island[t[:, 0]]
    return np.bincount(of_quad, minlength=count)[of_quad] < POCKET_FACES


def _rims(triangles: list[list[int]], midline: set[int]) -> list[list[int]]:
    """Chains of boundary vertices around holes: from midline to midline (half a mouth), or closed (an eye)."""
    edges = {(a, b) for f in triangles for a, b in zip(f, f[1:] + f[:1], strict=True)}
    following = {b: a for a, b in edges if (b, a) not in edges}
    rims, seen = [], set()
    for start in following:
        if start in midline and following[start] not in midline:
            rim = [start, following[start]]
            while rim[-1] not in midline:
                rim.append(following[rim[-1]])
            rims.append(rim)
            seen.update(rim)
    for start in following:
        if start not in seen and start not in midline:
            rim = [start]
            while following[rim[-1]] != start:
                rim.append(following[rim[-1]])
            rims.append(rim)
            seen.update(rim)
    return rims


def _smallest_surface(polygon: Array) -> list[tuple[int, int, int]]:
    """The triangulation of a closed polygon (n, 3) with the least area, by dynamic programming."""
    n = len(polygon)
    area, middle = np.zeros((n, n)), np.zeros((n, n), int)
    for span in range(2, n):
        for i in range(n - span):
            j = i + span
            between = np.arange(i + 1, j)
            own = 0.5 * np.linalg.norm(np.cross(polygon[between] - polygon[i], polygon[j] - polygon[i]), axis=1)
            total = own + area[i, between] + area[between, j]
            area[i, j], middle[i, j] = total.min(), between[total.argmin()]
    triangles, open_spans = [], [(0, n - 1)]
    while open_spans:
        i, j = open_spans.pop()
        if j - i >= 2:
            k = int(middle[i, j])
            triangles.append((i, k, j))
            open_spans += [(i, k), (k, j)]
    return triangles


class Simplification:
    """Collapses edges, cheapest first, of a half mesh given in several shapes at once.

    The cost is Garland and Heckbert's quadric error, averaged over the shapes (1997), at the vertex that stays. Texture
    seams and the midline keep their course, triangles neither flip nor become needles, on the body and on the texture.

    mesh: MakeHuman's. half: its closed left half. shapes: (S, n, 3). skinning: (n, J). importance: (n,) factor on the
    error.
    """

    def __init__(self, mesh: BaseMesh, half: Triangles, shapes: Array, skinning: Array, importance: Array) -> None:
        self.mean = shapes.mean(0)
        self.homogeneous = np.concatenate([shapes, np.ones((*shapes.shape[:2], 1))], axis=-1)
        self.texture_coordinates = mesh.texture
        self.skinning = skinning
        self.faces = dict(enumerate(half.corners.tolist()))
        self.textures = dict(enumerate(half.texture.tolist()))
        self.midline = {v for v in np.unique(half.corners).tolist() if abs(mesh.vertices[v, 0]) < ON_MIDLINE}
        self.faces_at: dict[int, set[int]] = defaultdict(set)
        self.quadrics: dict[int, Array] = defaultdict(lambda: np.zeros((len(shapes), 4, 4)))
        self.areas: dict[int, float] = defaultdict(float)
        quadrics, areas = _plane_quadrics(shapes, half.corners)
        factor = importance[half.corners].mean(1)
        quadrics, areas = quadrics * factor[None, :, None, None], areas.mean(0) * factor
        for i, face in self.faces.items():
            for v in face:
                self.faces_at[v].add(i)
                self.quadrics[v] += quadrics[:, i]
                self.areas[v] += areas[i] / 3

    def run(self, num_vertices: int) -> Triangles:
        """Simplify until the whole, mirrored mesh has `num_vertices`."""
        version: dict[int, int] = defaultdict(int)  # tells which entries of the heap are out of date
        heap = [(self._cost(u, v), u, v, 0, 0) for u in self.faces_at for v in self._neighbours(u)]
        heapq.heapify(heap)
        total = sum(1 if v in self.midline else 2 for v in self.faces_at)
        while heap and total > num_vertices:
            _, u, v, version_u, version_v = heapq.heappop(heap)
            if u not in self.faces_at or v not in self.faces_at or (version[u], version[v]) != (version_u, version_v):
                continue
            removed = 1 if u in self.midline else 2
            if total - removed < num_vertices:
                continue  # one too many: only a collapse on the midline will do
            renamed = self._texture_after(u, v)
            if renamed is None or self._spoils_triangles(u, v, renamed):
                continue
            self._collapse(u, v, renamed)
            total -= removed
            version[v] += 1
            for w in self._neighbours(v):
                heapq.heappush(heap, (self._cost(v, w), v, w, version[v], version[w]))
                heapq.heappush(heap, (self._cost(w, v), w, v, version[w], version[v]))
        order = sorted(self.faces)
        return Triangles(np.array([self.faces[i] for i in order]), np.array([self.textures[i] for i in order]))

    def _neighbours(self, v: int) -> set[int]:
        return {w for i in self.faces_at[v] for w in self.faces[i]} - {v}

    def _texture_at(self, face: int, v: int) -> int:
        return self.textures[face][self.faces[face].index(v)]

    def _is_seam(self, u: int, v: int) -> bool:
        sides = self.faces_at[u] & self.faces_at[v]
        return len(sides) == 2 and any(len({self._texture_at(i, w) for i in sides}) == 2 for w in (u, v))

    def _cost(self, u: int, v: int) -> float:
        """Of moving u to v."""
        at = self.homogeneous[:, v]
        error = np.einsum("si,sij,sj->s", at, self.quadrics[u] + self.quadrics[v], at).mean()
        spread = SPREAD_COST * ((self.mean[u] - self.mean[v]) ** 2).sum()
        skinning = SKINNING_COST * ((self.skinning[u] - self.skinning[v]) ** 2).sum()
        return error + self.areas[u] * (spread + skinning)

    def _texture_after(self, u: int, v: int) -> dict[int, int] | None:
        """What u's texture coordinates become when it moves to v; None where the surface or its seams would tear."""
        shared = self.faces_at[u] & self.faces_at[v]
        on_midline = u in self.midline
        if (on_midline and v not in self.midline) or len(shared) != (1 if on_midline else 2):
            return None
        if len(self._neighbours(u) & self._neighbours(v)) != len(shared):
            return None
        renamed: dict[int, int] = {}
        for i in shared:
            before, after = self._texture_at(i, u), self._texture_at(i, v)
            if renamed.setdefault(before, after) != after:
                return None
        coordinates = {self._texture_at(i, u) for i in self.faces_at[u]}
        if set(renamed) != coordinates:
            return None
        if len(coordinates) > 1:  # on a seam, along which alone it may slide
            seam = [w for w in self._neighbours(u) if self._is_seam(u, w)]
            if on_midline or len(seam) != 2 or v not in seam:
                return None
        return renamed

    def _spoils_triangles(self, u: int, v: int, renamed: dict[int, int]) -> bool:
        for i in self.faces_at[u] - self.faces_at[v]:
            k = self.faces[i].index(u)
            face, texture = list(self.faces[i]), list(self.textures[i])
            before, texture_before = self.mean[face], self.texture_coordinates[texture]
            face[k], texture[k] = v, renamed[texture[k]]
            after, texture_after = self.mean[face], self.texture_coordinates[texture]
            normal_before, normal_after = _normal(before), _normal(after)
            squares = normal_before @ normal_before, normal_after @ normal_after
            if squares[1] < 1e-16 or normal_before @ normal_after < 0.25 * (squares[0] * squares[1]) ** 0.5:
                return True
            longest = max(((after[a] - after[b]) ** 2).sum() for a, b in ((0, 1), (1, 2), (2, 0)))
            if squares[1] ** 0.5 / longest < 0.12:
                return True
            areas = _signed_area(texture_before), _signed_area(texture_after)
            if areas[0] * areas[1] <= 0 and abs(areas[0]) > 1e-9:
                return True
        return False

    def _collapse(self, u: int, v: int, renamed: dict[int, int]) -> None:
        for i in self.faces_at[u] & self.faces_at[v]:
            for w in self.faces[i]:
                self.faces_at[w].discard(i)
            del self.faces[i], self.textures[i]
        for i in self.faces_at.pop(u):
            k = self.faces[i].index(u)
            self.faces[i][k], self.textures[i][k] = v, renamed[self.textures[i][k]]
            self.faces_at[v].add(i)
        self.quadrics[v] = self.quadrics[v] + self.quadrics[u]
        self.areas[v] += self.areas[u]


def _plane_quadrics(shapes: Array, triangles: Array) -> tuple[Array, Array]:
    """(S, n, 3) -> area-weighted squared distance to each triangle's plane (S, F, 4, 4), and the areas (S, F)."""
    a, b, c = (shapes[:, triangles[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    double_area = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / np.maximum(double_area, 1e-15)
    plane = np.concatenate([normal, -(normal * a).sum(-1, keepdims=True)], axis=-1)
    return 0.5 * double_area[..., None] * plane[..., :, None] * plane[..., None, :], 0.5 * double_area[..., 0]


def _normal(triangle: Array) -> Array:
    return np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])


def _signed_area(triangle: Array) -> float:
    (ax, ay), (bx, by) = triangle[1] - triangle[0], triangle[2] - triangle[0]
    return ax * by - bx * ay
