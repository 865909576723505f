// The points in WebGL, by three.js: one draw call for all of them, cameras and their controls for two and three dimensions.
import {
  BufferAttribute,
  BufferGeometry,
  DynamicDrawUsage,
  Matrix4,
  MOUSE,
  OrthographicCamera,
  PerspectiveCamera,
  Points,
  Scene as World,
  ShaderMaterial,
  TOUCH,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";

/** Milliseconds a frame may take while the map moves, and how long it has not moved when it rests. */
const FRAME = 33;
const REST = 150;
/** Points that are drawn at least. */
const LEAST = 8_000;

/** Half of the height that is seen at first: the layout's 99th percentile is at 1. */
const HALF = 1.25;
const FIELD = 40;

const VERTEX = `
  attribute vec3 tint;
  uniform float size;
  uniform float depth;
  varying vec3 colour;
  varying float near;
  void main() {
    vec4 seen = modelViewMatrix * vec4(position, 1.0);
    gl_Position = projectionMatrix * seen;
    near = depth > 0.0 ? clamp(depth / -seen.z, 0.35, 2.5) : 1.0;
    gl_PointSize = size * near;
    colour = tint;
  }`;
const FRAGMENT = `
  uniform float opacity;
  varying vec3 colour;
  varying float near;
  void main() {
    vec2 off = gl_PointCoord - 0.5;
    if (dot(off, off) > 0.25) discard;
    gl_FragColor = vec4(colour, opacity * clamp(near, 0.55, 1.0));
  }`;

export class Scene {
  readonly canvas: HTMLCanvasElement;
  private readonly renderer: WebGLRenderer;
  private readonly world = new World();
  private readonly geometry = new BufferGeometry();
  private readonly material: ShaderMaterial;
  private camera: OrthographicCamera | PerspectiveCamera;
  private controls: OrbitControls;
  private readonly matrix = new Matrix4();
  private width = 1;
  private height = 1;
  /** Points that are drawn while the map moves; when it moved, and when it was drawn. */
  private budget = Number.POSITIVE_INFINITY;
  private moved = Number.NEGATIVE_INFINITY;
  private drawn = Number.NEGATIVE_INFINITY;
  private rest = 0;
  private readonly changed = (): void => {
    this.moved = performance.now();
    this.redraw();
  };

  constructor(
    private dimensions: 2 | 3,
    private readonly redraw: () => void,
    private readonly keys: HTMLElement,
  ) {
    this.renderer = new WebGLRenderer({ antialias: false, alpha: true, powerPreference: "high-performance" });
    this.canvas = this.renderer.domElement;
    this.material = new ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: { size: { value: 4 }, depth: { value: 0 }, opacity: { value: 1 } },
      transparent: true,
      depthTest: true,
    });
    const cloud = new Points(this.geometry, this.material);
    cloud.frustumCulled = false;
    this.world.add(cloud);
    [this.camera, this.controls] = this.look();
  }

  private look(): [OrthographicCamera | PerspectiveCamera, OrbitControls] {
    const flat = this.dimensions === 2;
    const camera = flat
      ? new OrthographicCamera(-HALF, HALF, HALF, -HALF, 0.1, 100)
      : new PerspectiveCamera(FIELD, 1, 0.01, 100);
    camera.position.set(0, 0, flat ? 10 : HALF / Math.tan((FIELD / 360) * Math.PI));
    if (!flat) camera.position.applyAxisAngle(camera.up, 0.5).setY(0.9);
    const controls = new OrbitControls(camera, this.canvas);
    controls.enableRotate = !flat;
    controls.screenSpacePanning = true;
    controls.zoomToCursor = true;
    controls.zoomSpeed = 1.5;
    controls.minZoom = 0.3;
    controls.maxZoom = 400;
    controls.minDistance = 0.02;
    controls.maxDistance = 20;
    if (flat) {
      controls.mouseButtons = { LEFT: MOUSE.PAN, MIDDLE: MOUSE.DOLLY, RIGHT: MOUSE.PAN };
      controls.touches = { ONE: TOUCH.PAN, TWO: TOUCH.DOLLY_PAN };
    }
    controls.listenToKeyEvents(this.keys);
    controls.addEventListener("change", this.changed);
    controls.update();
    return [camera, controls];
  }

  /** Goes back to seeing everything, in so many dimensions. */
  reset(dimensions: 2 | 3): void {
    this.controls.dispose();
    this.dimensions = dimensions;
    [this.camera, this.controls] = this.look();
    this.resize(this.width, this.height);
  }

  /** Whether the pointer moves the camera. */
  set movable(movable: boolean) {
    this.controls.enabled = movable;
  }

  zoom(factor: number): void {
    if (this.camera instanceof OrthographicCamera) {
      this.camera.zoom = Math.min(400, Math.max(0.3, this.camera.zoom * factor));
      this.camera.updateProjectionMatrix();
    } else {
      this.camera.position.sub(this.controls.target).divideScalar(factor).add(this.controls.target);
    }
    this.controls.update();
    this.changed();
  }

  /** Looks at a place, and near enough to see what is around it. */
  fly([x, y, z]: [number, number, number], closer: number): void {
    const from = this.camera.position.clone().sub(this.controls.target);
    this.controls.target.set(x, y, z);
    if (this.camera instanceof OrthographicCamera) {
      this.camera.zoom = Math.max(this.camera.zoom, closer);
      this.camera.updateProjectionMatrix();
    } else if (from.length() > 3 / closer) {
      from.setLength(3 / closer);
    }
    this.camera.position.copy(this.controls.target).add(from);
    this.controls.update();
    this.changed();
  }

  /** How near one is: 1 when everything is seen. */
  get nearness(): number {
    if (this.camera instanceof OrthographicCamera) return this.camera.zoom;
    return HALF / Math.tan((FIELD / 360) * Math.PI) / this.camera.position.distanceTo(this.controls.target);
  }

  resize(width: number, height: number): void {
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    this.renderer.setSize(this.width, this.height);
    // On a narrow screen the width must hold everything.
    const aspect = this.width / this.height;
    const fit = Math.max(1, 1 / aspect);
    if (this.camera instanceof OrthographicCamera) {
      this.camera.left = -HALF * aspect * fit;
      this.camera.right = HALF * aspect * fit;
      this.camera.top = HALF * fit;
      this.camera.bottom = -HALF * fit;
    } else {
      this.camera.aspect = aspect;
      this.camera.fov = (Math.atan(Math.tan((FIELD / 360) * Math.PI) * fit) * 360) / Math.PI;
    }
    this.camera.updateProjectionMatrix();
    this.changed();
  }

  /** Three numbers a point, of `many` points; kept, not copied. */
  setPlaces(xyz: Float32Array, many: number): void {
    const known = this.geometry.getAttribute("position") as BufferAttribute | undefined;
    if (known?.array === xyz) {
      known.needsUpdate = true;
    } else {
      this.geometry.setAttribute("position", new BufferAttribute(xyz, 3).setUsage(DynamicDrawUsage));
    }
    if (this.geometry.index?.count !== many) this.shuffle(many);
  }

  /** Puts the points into a random order, so that the first of them show what all of them would. */
  private shuffle(many: number): void {
    const order = Uint32Array.from({ length: many }, (_, at) => at);
    for (let at = many - 1; at > 0; at -= 1) {
      const other = Math.floor(Math.random() * (at + 1));
      [order[at], order[other]] = [order[other]!, order[at]!];
    }
    this.geometry.setIndex(new BufferAttribute(order, 1));
  }

  /** How many points are drawn now: all when the map rests, and while it moves as many as are drawn 30 times a second. */
  private share(many: number): number {
    const now = performance.now();
    const took = now - this.drawn;
    this.drawn = now;
    window.clearTimeout(this.rest);
    if (now - this.moved > REST) return many;
    this.rest = window.setTimeout(this.redraw, REST + 10);
    const before = Math.min(this.budget, many);
    // The first frame after a rest says nothing.
    if (took < 10 * FRAME) this.budget = took > 1.2 * FRAME ? Math.max(LEAST, before * 0.8) : took < 0.8 * FRAME ? before * 1.1 : before;
    return Math.min(many, Math.round(this.budget));
  }

  /** Three bytes a point. */
  setColours(rgb: Uint8Array): void {
    this.geometry.setAttribute("tint", new BufferAttribute(rgb, 3, true));
  }

  /** Draws. `faint` when something else is to be seen. */
  draw(many: number, faint: boolean): void {
    const ratio = this.renderer.getPixelRatio();
    const base = many > 30_000 ? 2.2 : many > 5_000 ? 3.2 : 5.5;
    const flat = this.camera instanceof OrthographicCamera;
    const uniforms = this.material.uniforms as Record<"size" | "depth" | "opacity", { value: number }>;
    uniforms.size.value = Math.min(11, base * Math.max(1, Math.sqrt(flat ? this.nearness : 1))) * ratio;
    uniforms.depth.value = flat ? 0 : this.camera.position.distanceTo(this.controls.target);
    uniforms.opacity.value = faint ? 0.28 : 0.9;
    this.material.depthWrite = !flat && !faint;
    this.geometry.setDrawRange(0, this.share(many));
    this.renderer.render(this.world, this.camera);
  }

  /** Pixels of every point: two numbers each, NaN for what is not before the camera. */
  project(xyz: Float32Array, many: number, pixels: Float32Array): void {
    this.camera.updateMatrixWorld();
    const m = this.matrix.multiplyMatrices(this.camera.projectionMatrix, this.camera.matrixWorldInverse).elements;
    const [halfWidth, halfHeight] = [this.width / 2, this.height / 2];
    for (let at = 0; at < many; at += 1) {
      const x = xyz[at * 3]!;
      const y = xyz[at * 3 + 1]!;
      const z = xyz[at * 3 + 2]!;
      const w = m[3]! * x + m[7]! * y + m[11]! * z + m[15]!;
      const before = w > 0;
      pixels[at * 2] = before ? ((m[0]! * x + m[4]! * y + m[8]! * z + m[12]!) / w + 1) * halfWidth : Number.NaN;
      pixels[at * 2 + 1] = before ? (1 - (m[1]! * x + m[5]! * y + m[9]! * z + m[13]!) / w) * halfHeight : Number.NaN;
    }
  }

  dispose(): void {
    window.clearTimeout(this.rest);
    this.controls.dispose();
    this.geometry.dispose();
    this.material.dispose();
    this.renderer.dispose();
  }
}
