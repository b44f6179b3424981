// The cameras and the points of the scene on a canvas, turned by mouse, fingers or keys.
"use strict";
(() => {
  const source = document.getElementById("scene-data");
  const canvas = document.querySelector(".scene canvas");
  if (!source || !canvas) return;
  const data = JSON.parse(source.textContent);
  const context = canvas.getContext("2d");
  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const shorts = (text) => { const raw = bytes(text); return new Uint16Array(raw.buffer, 0, raw.length / 2); };

  // Everything is turned upright and shrunk to about one unit around the middle once; y points down.
  const up = data.up, middle = data.middle;
  const upright = (p) => {
    const q = p.map((v, k) => (v - middle[k]) / data.size);
    return up.map((row) => row[0] * q[0] + row[1] * q[1] + row[2] * q[2]);
  };
  const turn = (ray) => up.map((row) => row[0] * ray[0] + row[1] * ray[1] + row[2] * ray[2]);
  const unpack = (points) => {
    const steps = shorts(points.xyz), out = [];
    for (let k = 0; k < points.count; k++) {
      out.push(upright([0, 1, 2].map((c) => data.low[c] + (steps[3 * k + c] / 65535) * data.size)));
    }
    return out;
  };
  const cloud = unpack(data.cloud), colours = bytes(data.cloud.rgb), tracks = unpack(data.tracks);
  const meshes = unpack(data.meshes), meshColours = bytes(data.meshes.rgb);
  const path = data.path.map((p) => p && upright(p));
  const frusta = data.frusta.map((f) => ({ i: f.i, at: upright(f.at), rays: f.rays.map(turn) }));
  const lows = [...cloud, ...path.filter(Boolean)].map((p) => p[1]).sort((a, b) => a - b);
  const floor = lows[Math.floor(0.98 * (lows.length - 1))];

  const home = { yaw: -0.5, pitch: 0.4 };
  const view = { ...home, zoom: 1, x: 0, y: 0 };
  const layers = { points: true, objects: true, tracks: false, cameras: true };
  let current = Number(document.querySelector(".frame.shown")?.dataset.i ?? -1); // of the viewer, which comes first
  let width = 0, height = 0, ratio = 1, asked = false;

  const project = (p) => {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const x = cy * p[0] - sy * p[2], z0 = sy * p[0] + cy * p[2];
    const y = cp * p[1] - sp * z0, z = sp * p[1] + cp * z0;
    const scale = (1.5 * Math.min(width, 1.4 * height) * view.zoom) / (2.2 + z);
    return 2.2 + z > 0.05 ? [width / 2 + view.x + scale * x, height / 2 + view.y + scale * y, z] : null;
  };
  const line = (points, colour, thickness, closed) => {
    context.beginPath();
    let pen = false;
    for (const p of points) {
      const q = p && project(p);
      if (q) { if (pen) context.lineTo(q[0], q[1]); else context.moveTo(q[0], q[1]); }
      pen = Boolean(q);
    }
    if (closed) context.closePath();
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.stroke();
  };

  const draw = () => {
    asked = false;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.lineJoin = context.lineCap = "round";
    const step = data.grid / data.size, half = 6;
    for (let k = -half; k <= half; k++) {
      line([[k * step, floor, -half * step], [k * step, floor, half * step]], colour("--line"), 1);
      line([[-half * step, floor, k * step], [half * step, floor, k * step]], colour("--line"), 1);
    }
    const dots = [];
    if (layers.points) cloud.forEach((p, k) => dots.push([project(p), colours, k]));
    if (layers.objects) meshes.forEach((p, k) => dots.push([project(p), meshColours, k]));
    const size = Math.max(1.6, (height / 190) * Math.sqrt(view.zoom));
    for (const [q, rgb, k] of dots.filter(([q]) => q).sort((a, b) => b[0][2] - a[0][2])) {
      context.fillStyle = `rgb(${rgb[3 * k]} ${rgb[3 * k + 1]} ${rgb[3 * k + 2]})`;
      context.fillRect(q[0] - size / 2, q[1] - size / 2, size, size);
    }
    if (layers.tracks) {
      context.fillStyle = colour("--line-6");
      for (const q of tracks.map(project)) if (q) context.fillRect(q[0] - 1.2, q[1] - 1.2, 2.4, 2.4);
    }
    if (layers.cameras) drawCameras(colour);
  };
  const drawCameras = (colour) => {
    line(path, colour("--card"), 4.5);
    line(path, colour("--accent"), 2.2);
    const reach = 0.045;
    for (const frustum of frusta) {
      const now = frustum.i === current;
      const far = frustum.rays.map((ray) => ray.map((v, k) => frustum.at[k] + (now ? 1.7 : 1) * reach * v));
      const ink = colour(now ? "--line-1" : "--soft"), thickness = now ? 2.4 : 0.9;
      line(far, ink, thickness, true);
      far.forEach((corner) => line([frustum.at, corner], ink, thickness));
    }
    const posed = path.filter(Boolean);
    for (const [p, name] of [[posed[0], "--good"], [posed[posed.length - 1], "--bad"]]) {
      const q = project(p);
      if (!q) continue;
      context.beginPath();
      context.arc(q[0], q[1], 5, 0, 2 * Math.PI);
      context.fillStyle = colour(name);
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = colour("--card");
      context.stroke();
    }
  };
  const redraw = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };
  // What is at first seen, and after a reset, fills the canvas; a few points lie far off and do not count.
  const fit = (angles) => {
    Object.assign(view, angles, { zoom: 1, x: 0, y: 0 });
    const seen = [...cloud, ...path.filter(Boolean), ...frusta.map((f) => f.at)].map(project).filter(Boolean);
    const ends = [0, 1].map((axis) => {
      const sorted = seen.map((q) => q[axis]).sort((a, b) => a - b);
      return [sorted[Math.floor(0.01 * sorted.length)], sorted[Math.ceil(0.99 * sorted.length) - 1]];
    });
    const [[left, right], [top, bottom]] = ends;
    view.zoom = Math.min(6, 0.86 * Math.min(width / (right - left + 1), height / (bottom - top + 1)));
    view.x = view.zoom * (width / 2 - (left + right) / 2);
    view.y = view.zoom * (height / 2 - (top + bottom) / 2);
    redraw();
  };
  const resize = () => {
    ratio = window.devicePixelRatio || 1;
    const first = !width;
    ({ width, height } = canvas.getBoundingClientRect());
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    if (first) fit(home);
    redraw();
  };
  const zoomBy = (factor) => { view.zoom = Math.max(0.2, Math.min(20, view.zoom * factor)); redraw(); };
  const turnBy = (yaw, pitch) => {
    view.yaw += yaw;
    view.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.pitch + pitch));
    redraw();
  };
  const look = {
    in: () => zoomBy(1.25),
    out: () => zoomBy(0.8),
    top: () => fit({ yaw: 0, pitch: Math.PI / 2 }),
    reset: () => fit(home),
  };

  const fingers = new Map();
  const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const apart = fingers.size === 2 ? spread() : 0;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 2) {
      zoomBy(spread() / Math.max(apart, 1));
      view.x += dx / 2;
      view.y += dy / 2;
    } else if (event.shiftKey || event.buttons === 2) {
      view.x += dx;
      view.y += dy;
      redraw();
    } else turnBy(dx * 0.008, dy * 0.008);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  // The wheel belongs to the page until the canvas was clicked.
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => turnBy(-0.12, 0), ArrowRight: () => turnBy(0.12, 0), ArrowUp: () => turnBy(0, -0.12),
      ArrowDown: () => turnBy(0, 0.12), "+": look.in, "=": look.in, "-": look.out, 0: look.reset,
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", look[button.dataset.view]);
  for (const layer of document.querySelectorAll("[data-scene]")) {
    layer.addEventListener("change", () => { layers[layer.dataset.scene] = layer.checked; redraw(); });
  }
  document.addEventListener("frame", (event) => { current = event.detail.i; redraw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(resize).observe(canvas);
})();
