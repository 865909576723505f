// WebGL rendering of the points with three.js: one draw call, and cameras with controls for two and three dimensions.
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

/** Target duration of a frame while the map moves, and the time without movement after which all points are drawn, ms. */
const FRAME_MS = 33;
const REST_MS = 150;
/** Minimum number of points drawn while the map moves. */
const MIN_POINTS = 8_000;

/** Half of the initially visible height; the layout's 99th percentile is at 1. */
const HALF_HEIGHT = 1.25;
const FIELD_OF_VIEW = 40;

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
  /** Number of points drawn while the map moves, and the times of the last movement and of the last frame. */
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
    [this.camera, this.controls] = this.createCamera();
  }

  private createCamera(): [OrthographicCamera | PerspectiveCamera, OrbitControls] {
    const flat = this.dimensions === 2;
    const camera = flat
      ? new OrthographicCamera(-HALF_HEIGHT, HALF_HEIGHT, HALF_HEIGHT, -HALF_HEIGHT, 0.1, 100)
      : new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 100);
    camera.position.set(0, 0, flat ? 10 : HALF_HEIGHT / Math.tan((FIELD_OF_VIEW / 360) * Math.PI));
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

  /** Resets the camera to show everything, in 2 or 3 dimensions. */
  reset(dimensions: 2 | 3): void {
    this.controls.dispose();
    this.dimensions = dimensions;
    [this.camera, this.controls] = this.createCamera();
    this.resize(this.width, this.height);
  }

  /** Sets whether the pointer moves the camera. */
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

  /** Centres a position, with a zoom factor of at least `minZoom`. */
  fly([x, y, z]: [number, number, number], minZoom: number): void {
    const from = this.camera.position.clone().sub(this.controls.target);
    this.controls.target.set(x, y, z);
    if (this.camera instanceof OrthographicCamera) {
      this.camera.zoom = Math.max(this.camera.zoom, minZoom);
      this.camera.updateProjectionMatrix();
    } else if (from.length() > 3 / minZoom) {
      from.setLength(3 / minZoom);
    }
    this.camera.position.copy(this.controls.target).add(from);
    this.controls.update();
    this.changed();
  }

  /** The zoom factor; 1 shows everything. */
  get zoomFactor(): number {
    if (this.camera instanceof OrthographicCamera) return this.camera.zoom;
    return HALF_HEIGHT / Math.tan((FIELD_OF_VIEW / 360) * Math.PI) / this.camera.position.distanceTo(this.controls.target);
  }

  resize(width: number, height: number): void {
    [this.width, this.height] = [Math.max(1, width), Math.max(1, height)];
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    this.renderer.setSize(this.width, this.height);
    // On a narrow screen everything must fit into the width.
    const aspect = this.width / this.height;
    const fit = Math.max(1, 1 / aspect);
    if (this.camera instanceof OrthographicCamera) {
      this.camera.left = -HALF_HEIGHT * aspect * fit;
      this.camera.right = HALF_HEIGHT * aspect * fit;
      this.camera.top = HALF_HEIGHT * fit;
      this.camera.bottom = -HALF_HEIGHT * fit;
    } else {
      this.camera.aspect = aspect;
      this.camera.fov = (Math.atan(Math.tan((FIELD_OF_VIEW / 360) * Math.PI) * fit) * 360) / Math.PI;
    }
    this.camera.updateProjectionMatrix();
    this.changed();
  }

  /** Sets the positions of `count` points, three numbers each. The array is not copied. */
  setPositions(xyz: Float32Array, count: number): void {
    const attribute = this.geometry.getAttribute("position") as BufferAttribute | undefined;
    if (attribute?.array === xyz) {
      attribute.needsUpdate = true;
    } else {
      this.geometry.setAttribute("position", new BufferAttribute(xyz, 3).setUsage(DynamicDrawUsage));
    }
    if (this.geometry.index?.count !== count) this.shuffle(count);
  }

  /** Shuffles the drawing order, so that any prefix is an even sample. */
  private shuffle(count: number): void {
    const order = Uint32Array.from({ length: count }, (_, at) => at);
    for (let at = count - 1; at > 0; at -= 1) {
      const other = Math.floor(Math.random() * (at + 1));
      [order[at], order[other]] = [order[other]!, order[at]!];
    }
    this.geometry.setIndex(new BufferAttribute(order, 1));
  }

  /** Returns the number of points to draw: all at rest; while the map moves, as many as reach about 30 frames per second. */
  private pointsToDraw(count: number): number {
    const now = performance.now();
    const elapsed = now - this.drawn;
    this.drawn = now;
    window.clearTimeout(this.rest);
    if (now - this.moved > REST_MS) return count;
    this.rest = window.setTimeout(this.redraw, REST_MS + 10);
    const previous = Math.min(this.budget, count);
    // The first frame after a rest is not representative.
    if (elapsed < 10 * FRAME_MS) this.budget = elapsed > 1.2 * FRAME_MS ? Math.max(MIN_POINTS, previous * 0.8) : elapsed < 0.8 * FRAME_MS ? previous * 1.1 : previous;
    return Math.min(count, Math.round(this.budget));
  }

  /** Sets the colours, three bytes per point. */
  setColours(rgb: Uint8Array): void {
    this.geometry.setAttribute("tint", new BufferAttribute(rgb, 3, true));
  }

  /** Draws the points; `faint` makes other marks stand out. */
  draw(count: number, faint: boolean): void {
    const ratio = this.renderer.getPixelRatio();
    const base = count > 30_000 ? 2.2 : count > 5_000 ? 3.2 : 5.5;
    const flat = this.camera instanceof OrthographicCamera;
    const uniforms = this.material.uniforms as Record<"size" | "depth" | "opacity", { value: number }>;
    uniforms.size.value = Math.min(11, base * Math.max(1, Math.sqrt(flat ? this.zoomFactor : 1))) * ratio;
    uniforms.depth.value = flat ? 0 : this.camera.position.distanceTo(this.controls.target);
    uniforms.opacity.value = faint ? 0.28 : 0.9;
    this.material.depthWrite = !flat && !faint;
    this.geometry.setDrawRange(0, this.pointsToDraw(count));
    this.renderer.render(this.world, this.camera);
  }

  /** Computes the pixels of `count` points, two numbers each; NaN for points behind the camera. */
  project(xyz: Float32Array, count: number, pixels: Float32Array): void {
    this.camera.updateMatrixWorld();
    const m = this.matrix.multiplyMatrices(this.camera.projectionMatrix, this.camera.matrixWorldInverse).elements;
    const [halfWidth, halfHeight] = [this.width / 2, this.height / 2];
    for (let at = 0; at < count; at += 1) {
      const x = xyz[at * 3]!;
      const y = xyz[at * 3 + 1]!;
      const z = xyz[at * 3 + 2]!;
      const w = m[3]! * x + m[7]! * y + m[11]! * z + m[15]!;
      const inFront = w > 0;
      pixels[at * 2] = inFront ? ((m[0]! * x + m[4]! * y + m[8]! * z + m[12]!) / w + 1) * halfWidth : Number.NaN;
      pixels[at * 2 + 1] = inFront ? (1 - (m[1]! * x + m[5]! * y + m[9]! * z + m[13]!) / w) * halfHeight : Number.NaN;
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
