// Drawing on a canvas: axes with ticks, lines, dots and arrows.

const MARGIN = { left: 58, right: 14, top: 20, bottom: 36 };

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Size a canvas to its place on the page, and clear it. Returns its context and its width.
function clearCanvas(canvas, height) {
  const width = canvas.clientWidth;
  const ratio = window.devicePixelRatio;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "11.5px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";
  return { context, width };
}

class Axes {
  // The frame is the rectangle of the data: left, top, width, height.
  constructor(context, frame, xRange, yRange) {
    Object.assign(this, { context, frame, xRange, yRange });
  }

  x(value) {
    const [low, high] = this.xRange;
    return this.frame.left + (this.frame.width * (value - low)) / (high - low);
  }

  y(value) {
    const [low, high] = this.yRange;
    const fraction = Math.max(-9, Math.min(9, (value - low) / (high - low)));
    return this.frame.top + this.frame.height * (1 - fraction);
  }

  // Grid, ticks and labels.
  drawFrame({ title = "", note = "", xLabel = "", xTicks = true }) {
    const { context, frame } = this;
    const { left, top, width, height } = frame;
    context.lineWidth = 1;
    context.fillStyle = color("soft");
    context.textAlign = "right";
    for (const tick of ticksOf(this.yRange, Math.max(3, height / 34))) {
      this.segment([left, this.y(tick)], [left + width, this.y(tick)], color("grid"));
      context.fillText(formatNumber(tick), left - 7, this.y(tick) + 4);
    }
    context.textAlign = "center";
    for (const tick of ticksOf(this.xRange, width / 80)) {
      this.segment([this.x(tick), top], [this.x(tick), top + height], color("grid"));
      if (xTicks) context.fillText(formatNumber(tick), this.x(tick), top + height + 16);
    }
    this.segment([left, top + height], [left + width, top + height], color("edge"));
    this.segment([left, top], [left, top + height], color("edge"));
    context.textAlign = "right";
    context.fillText(xLabel, left + width, top + height + 32);
    context.textAlign = "left";
    context.fillStyle = color("ink");
    context.fillText(title, left, top - 7);
    context.fillStyle = color("soft");
    context.fillText(note, left + context.measureText(title).width + 10, top - 7);
  }

  // Draw without leaving the frame.
  clip(draw) {
    const { left, top, width, height } = this.frame;
    this.context.save();
    this.context.beginPath();
    this.context.rect(left, top, width, height);
    this.context.clip();
    draw();
    this.context.restore();
  }

  segment([x0, y0], [x1, y1], stroke) {
    this.context.strokeStyle = stroke;
    this.context.beginPath();
    this.context.moveTo(x0, y0);
    this.context.lineTo(x1, y1);
    this.context.stroke();
  }

  // Lines through points in data coordinates; each path is a list of [x, y].
  lines(paths, stroke, { width = 1.6, dash = [], opacity = 1 } = {}) {
    const { context } = this;
    context.save();
    Object.assign(context, { strokeStyle: stroke, lineWidth: width, lineJoin: "round", globalAlpha: opacity });
    context.setLineDash(dash);
    context.beginPath();
    for (const path of paths) {
      path.forEach(([x, y], k) => (k ? context.lineTo(this.x(x), this.y(y)) : context.moveTo(this.x(x), this.y(y))));
    }
    context.stroke();
    context.restore();
  }

  dot(x, y, fill) {
    const { context } = this;
    context.fillStyle = fill;
    context.strokeStyle = color("card");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(this.x(x), this.y(y), 5, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }

  // An arrow of a fixed length in pixels, in the direction of a change in data coordinates.
  arrow(x, y, dx, dy, length, stroke) {
    const { context, frame, xRange, yRange } = this;
    const horizontal = (dx / (xRange[1] - xRange[0])) * frame.width;
    const vertical = (-dy / (yRange[1] - yRange[0])) * frame.height;
    const size = Math.hypot(horizontal, vertical);
    if (!(size > 0 && size < Infinity)) return;
    const [x0, y0] = [this.x(x), this.y(y)];
    const [x1, y1] = [x0 + (horizontal / size) * length, y0 + (vertical / size) * length];
    const angle = Math.atan2(vertical, horizontal);
    this.segment([x0, y0], [x1, y1], stroke);
    for (const turn of [0.5, -0.5]) {
      this.segment([x1, y1], [x1 - 4 * Math.cos(angle + turn), y1 - 4 * Math.sin(angle + turn)], stroke);
    }
  }
}
