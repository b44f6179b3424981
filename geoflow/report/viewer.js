// Shows one frame of the video at a time in all panels, and tells the drawings over the frames and the scene which.
"use strict";
(() => {
  document.documentElement.classList.add("js");
  const box = document.querySelector(".frames");
  if (!box) return;
  const frames = [...box.querySelectorAll(".frame")];
  const slider = document.querySelector(".slider");
  const where = document.querySelector(".where");
  const play = document.querySelector(".play");
  const curves = [...document.querySelectorAll("svg.follows")];
  const numbers = frames.map((frame) => Number(frame.dataset.number));
  let shown = -1;

  const show = (k) => {
    k = Math.max(0, Math.min(frames.length - 1, k));
    if (k === shown) return;
    if (shown >= 0) frames[shown].classList.remove("shown");
    frames[k].classList.add("shown");
    shown = k;
    slider.value = k;
    where.textContent = frames[k].dataset.label;
    slider.setAttribute("aria-valuetext", frames[k].dataset.label);
    for (const curve of curves) {
      const { first, last, left, right } = Object.fromEntries(Object.entries(curve.dataset).map(([n, v]) => [n, +v]));
      const x = left + ((numbers[k] - first) / (last - first)) * (right - left);
      const cursor = curve.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
    document.dispatchEvent(new CustomEvent("frame", { detail: { i: Number(frames[k].dataset.i) } }));
  };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });

  // Dragging over the panels, with a mouse or a finger, goes through the frames; so do the arrow keys.
  const follow = (event) => {
    const { left, width } = box.getBoundingClientRect();
    stop();
    show(Math.floor(((event.clientX - left) / width) * frames.length));
  };
  box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); follow(event); });
  box.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });

  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    stop();
    show(shown + step);
  });

  // Pointing at a curve shows the frame nearest to that place.
  for (const curve of curves) {
    const { first, last, left, right } = curve.dataset;
    curve.addEventListener("pointermove", (event) => {
      const area = curve.getBoundingClientRect();
      const x = ((event.clientX - area.left) / area.width) * curve.viewBox.baseVal.width;
      const number = +first + ((x - left) / (right - left)) * (last - first);
      let nearest = 0;
      numbers.forEach((n, k) => { if (Math.abs(n - number) < Math.abs(numbers[nearest] - number)) nearest = k; });
      stop();
      show(nearest);
    });
  }

  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    timer = setInterval(() => show((shown + 1) % frames.length), 200);
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
  });
  for (const layer of document.querySelectorAll("[data-layer]")) {
    layer.addEventListener("change", () => box.classList.toggle(`hide-${layer.dataset.layer}`, !layer.checked));
  }
  show(Number(slider.value) || 0); // a browser that goes back to the page keeps where the slider stood
})();
