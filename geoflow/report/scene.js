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
  const place = (x, y, z, most) => upright([x, y, z].map((v, c) => data.low[c] + (v / most) * data.size));
  const unpack = (points) => {
    const steps = shorts(points.xyz), out = [];
    for (let k = 0; k < points.count; k++) out.push(place(steps[3 * k], steps[3 * k + 1], steps[3 * k + 2], 65535));
    return out;
  };
  // Points for the canvas: places one after the other, and a pixel's four bytes for each; red comes first in memory.
  const opaque = (r, g, b) => (255 << 24) | (b << 16) | (g << 8) | r;
  const dots = (places, rgb) => ({
    xyz: Float32Array.from(places.flat()),
    ink: Int32Array.from(places, (_, k) => opaque(rgb[3 * k], rgb[3 * k + 1], rgb[3 * k + 2])),
  });
  let cloud = dots([], []);
  const tracks = unpack(data.tracks), meshes = dots(unpack(data.meshes), bytes(data.meshes.rgb));
  // The cloud: columns of x, y, z (low bytes, then high bytes) and r, g, b, each the difference from the point before.
  const unpackCloud = async ({ count, steps, packed }) => {
    const stream = new Blob([bytes(packed)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const raw = new Uint8Array(await new Response(stream).arrayBuffer());
    const xyz = new Float32Array(3 * count), ink = new Int32Array(count), now = [0, 0, 0, 0, 0, 0];
    for (let k = 0; k < count; k++) {
      for (let c = 0; c < 3; c++) {
        const folded = raw[2 * c * count + k] | (raw[(2 * c + 1) * count + k] << 8);
        now[c] += (folded >> 1) ^ -(folded & 1);
        now[3 + c] = (now[3 + c] + raw[(6 + c) * count + k]) & 255;
      }
      xyz.set(place(now[0], now[1], now[2], steps), 3 * k);
      ink[k] = opaque(now[3], now[4], now[5]);
    }
    return { xyz, ink };
  };
  const some = ({ xyz, ink }) => { // a few thousand of them, evenly chosen
    const step = Math.ceil(ink.length / 4000) || 1, out = [];
    for (let k = 0; k < ink.length; k += step) out.push([...xyz.subarray(3 * k, 3 * k + 3)]);
    return out;
  };
  const path = data.path.map((p) => p && upright(p));
  const frusta = data.frusta.map((f) => ({ i: f.i, at: upright(f.at), rays: f.rays.map(turn) }));
  let floor = 0;
  const findFloor = () => {
    const lows = [...some(cloud), ...path.filter(Boolean)].map((p) => p[1]).sort((a, b) => a - b);
    floor = lows[Math.floor(0.98 * (lows.length - 1))];
  };
  findFloor();

  const home = { yaw: -0.5, pitch: 0.4 };
  const view = { ...home, zoom: 1, x: 0, y: 0 };
  const layers = { points: true, objects: true, tracks: false, cameras: true };
  let current = Number(document.querySelector(".frame.shown")?.dataset.i ?? -1); // of the viewer, which comes first
  let width = 0, height = 0, ratio = 1, asked = false, touched = false;

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

  // The nearest of the points that fall on a pixel is what it shows.
  const sheet = document.createElement("canvas"), paper = sheet.getContext("2d");
  let image = null, inks = null, nearest = null;
  const drawDots = () => {
    const [w, h] = [canvas.width, canvas.height];
    if (!image || image.width !== w || image.height !== h) {
      [sheet.width, sheet.height] = [w, h];
      image = paper.createImageData(w, h);
      inks = new Int32Array(image.data.buffer);
      nearest = new Float32Array(w * h);
    }
    inks.fill(0);
    nearest.fill(Infinity);
    if (layers.points) plot(cloud, Math.sqrt((0.9 * width * height) / (cloud.ink.length || 1)));
    if (layers.objects) plot(meshes, height / 190);
    paper.putImageData(image, 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(sheet, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
  };
  const plot = ({ xyz, ink }, spacing) => {
    const [w, h] = [canvas.width, canvas.height];
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const scale = 1.5 * Math.min(width, 1.4 * height) * view.zoom * ratio;
    const side = Math.max(1.5, Math.min(spacing, height / 190)) * view.zoom ** 0.75 * ratio;
    const [left, top] = [(width / 2 + view.x) * ratio - side / 2, (height / 2 + view.y) * ratio - side / 2];
    for (let k = 0, n = 0; n < ink.length; k += 3, n++) {
      const z0 = sy * xyz[k] + cy * xyz[k + 2], z = sp * xyz[k + 1] + cp * z0;
      if (2.2 + z <= 0.05) continue;
      const x = left + (scale / (2.2 + z)) * (cy * xyz[k] - sy * xyz[k + 2]);
      const y = top + (scale / (2.2 + z)) * (cp * xyz[k + 1] - sp * z0);
      const [x0, x1] = [Math.max(0, Math.round(x)), Math.min(w, Math.round(x + side))];
      const [y0, y1] = [Math.max(0, Math.round(y)), Math.min(h, Math.round(y + side))];
      for (let v = y0; v < y1; v++) {
        for (let at = v * w + x0; at < v * w + x1; at++) {
          if (z < nearest[at]) { nearest[at] = z; inks[at] = ink[n]; }
        }
      }
    }
  };

  const draw = () => {
    asked = false;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    if (!canvas.width || !canvas.height) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.lineJoin = context.lineCap = "round";
    const step = data.grid / data.size, half = 6;
    for (let k = -half; k <= half; k++) {
      line([[k * step, floor, -half * step], [k * step, floor, half * step]], colour("--line"), 1);
      line([[-half * step, floor, k * step], [half * step, floor, k * step]], colour("--line"), 1);
    }
    drawDots();
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
    const seen = [...some(cloud), ...path.filter(Boolean), ...frusta.map((f) => f.at)].map(project).filter(Boolean);
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
  const zoomBy = (factor) => { touched = true; view.zoom = Math.max(0.2, Math.min(20, view.zoom * factor)); redraw(); };
  const turnBy = (yaw, pitch) => {
    touched = true;
    view.yaw += yaw;
    view.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, view.pitch + pitch));
    redraw();
  };
  const look = {
    in: () => zoomBy(1.25),
    out: () => zoomBy(0.8),
    top: () => { touched = true; fit({ yaw: 0, pitch: Math.PI / 2 }); },
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
  unpackCloud(data.cloud).then((found) => {
    cloud = found;
    findFloor();
    if (width && !touched) fit(home);
    redraw();
    canvas.dataset.points = found.ink.length;
  }).catch(() => {
    document.getElementById("scene-keys").append(" This browser is too old to unpack the points of the scene.");
  });
})();
