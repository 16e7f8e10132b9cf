// A drawing pad for anywidget: pointer or keys paint; `value` has the pixels, row by row.
function render({ model, el }) {
  const [height, width, channels] = model.get("shape");
  const side = 224 / Math.max(height, width); // of a pixel
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * side); canvas.height = Math.round(height * side); canvas.tabIndex = 0;
  canvas.setAttribute("data-lm-suppress-shortcuts", "true"); // else JupyterLab takes the keys
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Drawing pad. Arrow keys move, the space bar paints, Delete clears.");
  canvas.style.cssText = "border:1px solid #555;touch-action:none;cursor:crosshair;max-width:100%;height:auto";
  const colour = document.createElement("input");
  colour.type = "color"; colour.value = "#ffffff"; colour.setAttribute("aria-label", "Colour of the brush");
  let pixels = [...model.get("value")], at = [height >> 1, width >> 1], focused = false;
  function draw() {
    const ink = canvas.getContext("2d");
    for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) {
      const from = channels * (i * width + j);
      const rgb = channels === 1 ? [0, 0, 0].fill(pixels[from]) : pixels.slice(from, from + 3);
      ink.fillStyle = `rgb(${rgb})`;
      ink.fillRect(j * side, i * side, side + 1, side + 1);
    }
    if (!focused) return;
    ink.strokeStyle = "#E69F00";
    ink.lineWidth = 2;
    ink.strokeRect(at[1] * side, at[0] * side, side, side);
  }
  function paint(i, j) {
    if (i < 0 || j < 0 || i >= height || j >= width) return;
    const rgb = [1, 3, 5].map(k => parseInt(colour.value.slice(k, k + 2), 16)); // white if there is one channel
    const from = channels * (i * width + j);
    for (let c = 0; c < channels; c++) pixels[from + c] = rgb[c];
  }
  function send() { model.set("value", [...pixels]); model.save_changes(); draw(); }
  function under(event) {
    const box = canvas.getBoundingClientRect();
    return [Math.floor((event.clientY - box.top - canvas.clientTop) / canvas.clientHeight * height),
            Math.floor((event.clientX - box.left - canvas.clientLeft) / canvas.clientWidth * width)];
  }
  let last = null; // the pixel that a stroke has reached, null between strokes
  function stroke(to) { // paints the pixels on the line from `last`, which a quick pointer skips
    const steps = Math.max(Math.abs(to[0] - last[0]), Math.abs(to[1] - last[1]), 1);
    for (let k = 1; k <= steps; k++) paint(...to.map((x, axis) => Math.round(last[axis] + (x - last[axis]) * k / steps)));
    last = to;
    draw();
  }
  function end() { if (last) { last = null; send(); } }
  canvas.addEventListener("pointerdown", e => {
    if (e.button !== 0 || last) return;
    canvas.setPointerCapture(e.pointerId);
    last = under(e);
    stroke(last);
  });
  canvas.addEventListener("pointermove", e => { if (last) stroke(under(e)); });
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("focus", () => { focused = true; draw(); });
  canvas.addEventListener("blur", () => { focused = false; draw(); });
  canvas.addEventListener("keydown", e => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (e.key in moves) {
      at = [(at[0] + moves[e.key][0] + height) % height, (at[1] + moves[e.key][1] + width) % width]; draw();
    } else if (e.key === " ") { paint(...at); send(); }
    else if (e.key === "Delete") { pixels.fill(0); send(); }
    else return;
    e.preventDefault(); e.stopPropagation();
  });
  model.on("change:value", () => { pixels = [...model.get("value")]; draw(); });
  el.append(canvas); if (channels === 3) el.append(colour);
  draw();
}
export default { render };
