// The viewer: planes lie side by side in one picture per view, of which the cuts through the cursor are drawn.
// Nothing is read back from a canvas, which some browsers forbid or falsify.
const AXES = { xy: { across: 2, down: 1, through: 0 }, xz: { across: 2, down: 0, through: 1 }, yz: { across: 0, down: 1, through: 2 } };
const FOUND = [0x56, 0xb4, 0xe9, 255];
const EXTRA = [0xcc, 0x79, 0xa7, 255];
const COMPOSITE = "#ff2ee6";
const SHARP = 2; // canvas pixels per pixel of the page, for outlines

const color = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).concat(255);

const loadImage = async (uri) => {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
};

const unpack = async ({ bytes, data }) => {
  const packed = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  return new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[bytes](buffer);
};

// One cut of a volume onto a canvas of one pixel per voxel.
const drawCut = (context, image, sheet, shape, cut, at) => {
  const [depth, height, width] = shape;
  for (let z = 0; z < depth; z += 1) {
    if (cut === "xy" && z !== at[0]) continue;
    const left = (z % sheet.columns) * sheet.tile[1];
    const top = Math.floor(z / sheet.columns) * sheet.tile[0];
    if (cut === "xy") context.drawImage(image, left, top, width, height, 0, 0, width, height);
    if (cut === "xz") context.drawImage(image, left, top + at[1], width, 1, 0, z, width, 1);
    if (cut === "yz") context.drawImage(image, left + at[2], top, 1, height, z, 0, 1, height);
  }
};

// One half plus half of stain minus target, as a grey that a filter of the page colours.
const drawError = (context, draw, stain, target) => {
  draw(target);
  context.globalCompositeOperation = "difference";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.globalCompositeOperation = "source-over";
  context.globalAlpha = 0.5;
  draw(stain);
  context.globalAlpha = 1;
};

// The input in grey, and over it the fluorescence or a stain in one colour.
const drawComposite = (context, draw, stain, input) => {
  const { canvas } = context;
  draw(stain);
  context.globalCompositeOperation = "multiply";
  context.fillStyle = COMPOSITE;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "screen";
  context.globalAlpha = 0.7;
  draw(input);
  context.globalAlpha = 1;
  context.globalCompositeOperation = "source-over";
};

// The labels of a cut, as many pixels as the canvas has.
const sample = (labels, shape, cut, at, width, height) => {
  const { across, down, through } = AXES[cut];
  const stride = [shape[1] * shape[2], shape[2], 1];
  const start = at[through] * stride[through];
  const columns = Array.from({ length: width }, (_, i) => Math.floor((i * shape[across]) / width) * stride[across]);
  const taken = new Uint32Array(width * height);
  for (let j = 0; j < height; j += 1) {
    const row = start + Math.floor((j * shape[down]) / height) * stride[down];
    for (let i = 0; i < width; i += 1) taken[j * width + i] = labels[row + columns[i]];
  }
  return taken;
};

const onEdge = (taken, width, height, i, j) => {
  const k = j * width + i;
  const own = taken[k];
  return (i >= SHARP && taken[k - SHARP] !== own) || (i + SHARP < width && taken[k + SHARP] !== own)
    || (j >= SHARP && taken[k - SHARP * width] !== own) || (j + SHARP < height && taken[k + SHARP * width] !== own);
};

// What a pixel shows where found and true nuclei are compared. Patterns say the same as colours.
const matchColor = (found, truth, k, i, j, foundEdge, trueEdge, pairs, truthColor) => {
  const matched = pairs.found.has(found[k]);
  if (foundEdge) return matched ? FOUND : EXTRA;
  const missed = truth[k] && !pairs.truth.has(truth[k]);
  if (trueEdge && (missed || ((i + j) >> 2) % 2)) return truthColor;
  if (found[k] && !matched && i % 6 < 2 && j % 6 < 2) return EXTRA;
  return missed && (i + j) % 10 < 2 ? truthColor : null;
};

const percent = (error) => `${error < 0 ? "−" : "+"}${Math.abs(100 * error).toFixed(0)}\u00a0%`;

const describeNucleus = (view, found, truth) => {
  const row = found ? view.pairs.found.get(found) : view.pairs.truth.get(truth);
  if (row) {
    const errors = view.matches.features.map((name, n) => [name, row[n + 2]]).filter(([, error]) => error !== null);
    return `found nucleus ${row[1]} matches true nucleus ${row[0]}: ${errors.map(([name, e]) => `${name} ${percent(e)}`).join(", ")}`;
  }
  if (found) return `found nucleus ${found} matches no true nucleus`;
  return truth ? `true nucleus ${truth} was not found` : "";
};

const openStack = async (section, stack) => {
  const { shape, scale, indices } = stack;
  const labels = {};
  await Promise.all([
    ...stack.views.map(async (view) => { view.image = await loadImage(view.sheet.image); }),
    ...Object.entries(stack.labels).map(async ([name, packed]) => { labels[name] = await unpack(packed); }),
  ]);
  const [input, target] = ["input", "target"].map((name) => stack.views.find((view) => view.name === name));
  const truthColor = color(stack.truth);
  const slider = section.querySelector("input[type=range]");
  const at = [...stack.cursor];
  let asked = false;

  const figures = [...section.querySelectorAll("figure")].map((figure, n) => {
    const view = stack.views[n];
    if (view.matches) {
      const { pairs } = view.matches;
      view.pairs = { truth: new Map(pairs.map((p) => [p[0], p])), found: new Map(pairs.map((p) => [p[1], p])) };
    }
    const panels = [...figure.querySelectorAll(".panel")].map((panel) => {
      const gray = Object.assign(document.createElement("canvas"), { className: "gray" });
      const overlay = Object.assign(document.createElement("canvas"), { className: "overlay" });
      const { across, down } = AXES[panel.dataset.cut];
      [gray.width, gray.height] = [shape[across], shape[down]];
      const lines = ["down", "across"].map((way) => Object.assign(document.createElement("i"), { className: `line ${way}` }));
      panel.append(gray, overlay, ...lines);
      panel.classList.add("covered");
      return { panel, cut: panel.dataset.cut, gray, overlay };
    });
    return { figure, view, panels, said: figure.querySelector(".at") };
  });

  const drawOverlay = (canvas, cut, view, mode) => {
    const context = canvas.getContext("2d");
    const matching = mode === "matches" && view.pairs && labels.truth;
    const name = matching ? view.labels : view.outlines;
    [canvas.width, canvas.height] = [SHARP * canvas.clientWidth, SHARP * canvas.clientHeight];
    if (["nothing", "error", "composite"].includes(mode) || !name || !canvas.width || !canvas.height) return;
    const { width, height } = canvas;
    const found = sample(labels[name], shape, cut, at, width, height);
    const truth = matching ? sample(labels.truth, shape, cut, at, width, height) : null;
    const own = view.color ? color(view.color) : null;
    const picture = context.createImageData(width, height);
    for (let j = 0; j < height; j += 1) {
      for (let i = 0; i < width; i += 1) {
        const k = j * width + i;
        if (!found[k] && !(truth && truth[k])) continue;
        const edge = found[k] > 0 && onEdge(found, width, height, i, j);
        const shade = !matching ? edge && own
          : matchColor(found, truth, k, i, j, edge, truth[k] > 0 && onEdge(truth, width, height, i, j), view.pairs, truthColor);
        if (shade) picture.data.set(shade, 4 * k);
      }
    }
    context.putImageData(picture, 0, 0);
  };

  const draw = () => {
    asked = false;
    const { mode } = section.dataset;
    const place = (at[0] * shape[1] + at[1]) * shape[2] + at[2];
    for (const { view, panels, said } of figures) {
      for (const { cut, gray, overlay } of panels) {
        const context = gray.getContext("2d");
        context.imageSmoothingEnabled = false;
        const error = mode === "error" && view.stain;
        gray.classList.toggle("error", error);
        const cutOf = (one) => drawCut(context, one.image, one.sheet, shape, cut, at);
        if (error) drawError(context, cutOf, view, target);
        else if (mode === "composite" && view !== input) drawComposite(context, cutOf, view, input);
        else cutOf(view);
        drawOverlay(overlay, cut, view, mode);
      }
      said.textContent = view.pairs && labels.truth ? describeNucleus(view, labels[view.labels][place], labels.truth[place]) : "";
    }
    ["z", "y", "x"].forEach((axis, n) => section.style.setProperty(`--${axis}`, (at[n] + 0.5) / shape[n]));
    section.querySelector(".where").textContent = (slider ? [2, 1, 0] : [2, 1]).map((axis) => {
      const place = scale ? `${((at[axis] + 0.5) * scale[axis]).toFixed(1)} µm` : `${indices[axis][at[axis]]} px`;
      return `${"zyx"[axis]} ${place}`;
    }).join(", ");
    if (slider) {
      slider.value = at[0];
      section.querySelector("output.plane").textContent = indices[0][at[0]] + 1;
    }
    section.dataset.at = at.join(",");
  };

  const redraw = () => {
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  };
  const move = (axis, to) => {
    at[axis] = Math.max(0, Math.min(shape[axis] - 1, to));
    redraw();
  };

  const STEPS = { ArrowLeft: [2, -1], ArrowRight: [2, 1], ArrowUp: [1, -1], ArrowDown: [1, 1], PageUp: [0, -1], PageDown: [0, 1] };
  for (const { figure, view, panels } of figures) {
    const ortho = figure.querySelector(".ortho");
    ortho.tabIndex = 0;
    ortho.setAttribute("role", "group");
    ortho.setAttribute("aria-label", `${view.name} of ${stack.name}: arrow keys move the cursor, Page Up and Page Down the plane`);
    ortho.addEventListener("keydown", (event) => {
      if (!(event.key in STEPS) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const [axis, step] = STEPS[event.key];
      move(axis, at[axis] + step * (event.shiftKey ? 10 : 1));
    });
    for (const { panel, cut } of panels) {
      const point = (event) => {
        const box = panel.getBoundingClientRect();
        const { across, down } = AXES[cut];
        move(across, Math.floor(((event.clientX - box.left) / box.width) * shape[across]));
        move(down, Math.floor(((event.clientY - box.top) / box.height) * shape[down]));
      };
      panel.addEventListener("pointerdown", (event) => { panel.setPointerCapture(event.pointerId); point(event); });
      panel.addEventListener("pointermove", (event) => { if (event.buttons) point(event); });
    }
  }
  if (slider) slider.addEventListener("input", () => move(0, Number(slider.value)));
  section.addEventListener("show", (event) => event.detail.forEach((voxel, axis) => move(axis, voxel)));
  section.querySelector("input[name=cursor]").addEventListener("change", (event) => {
    section.classList.toggle("hide-cursor", !event.target.checked);
  });
  section.querySelector("input[name=large]").addEventListener("change", (event) => {
    section.classList.toggle("large", event.target.checked); // the observer draws anew
  });
  section.querySelector("fieldset").addEventListener("change", (event) => {
    section.dataset.mode = event.target.value;
    for (const legend of section.querySelectorAll(".legend")) legend.hidden = legend.dataset.for !== section.dataset.mode;
    redraw();
  });
  new ResizeObserver(redraw).observe(section);
  draw();
  section.dataset.ready = "true";
};

const { stacks } = JSON.parse(document.getElementById("data").textContent);
document.querySelectorAll("section.stack").forEach((section, n) => openStack(section, stacks[n]).catch((error) => {
  section.classList.add("still"); // the static pictures stay
  console.error(error);
}));
