// Stacks that turn: half a turn lies in one picture, for from behind a maximum projection is its own mirror image.
const STEP_MS = 120;
const reduced = matchMedia("(prefers-reduced-motion: reduce)");

document.querySelectorAll(".turning").forEach((part) => {
  const [slider, button, said, pictures] = ["input", "button", "output", ".turns"].map((which) => part.querySelector(which));
  const count = Number(slider.max) + 1;
  let timer = 0;

  const show = (view) => {
    const at = ((Math.round(view) % count) + count) % count;
    slider.value = at;
    part.style.setProperty("--view", at % (count / 2));
    part.classList.toggle("behind", at >= count / 2);
    said.textContent = `${(at * 360) / count}°`;
    slider.setAttribute("aria-valuetext", said.textContent);
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "turn";
  };
  const toggle = () => {
    if (timer) return stop();
    if (reduced.matches) return undefined;
    timer = setInterval(() => show(Number(slider.value) + 1), STEP_MS);
    button.textContent = "stop";
    return undefined;
  };

  let held = null;
  pictures.addEventListener("pointerdown", (event) => {
    pictures.setPointerCapture(event.pointerId);
    held = { x: event.clientX, view: Number(slider.value), moved: false };
  });
  pictures.addEventListener("pointermove", (event) => {
    if (!held || !event.buttons) return;
    const way = event.clientX - held.x;
    held.moved ||= Math.abs(way) > 3;
    if (!held.moved) return;
    stop();
    show(held.view + (way / pictures.querySelector(".turn").clientWidth) * (count / 2)); // its width is half a turn
  });
  pictures.addEventListener("pointerup", () => {
    if (held && !held.moved) toggle();
    held = null;
  });
  pictures.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if ((!step && event.key !== " ") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (!step) return void toggle();
    stop();
    show(Number(slider.value) + step * (event.shiftKey ? 9 : 1));
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", toggle);
  reduced.addEventListener("change", stop);
});
