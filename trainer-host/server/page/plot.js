// Small plots as SVG. Each has a text for those who cannot see it.

import { s } from "./dom.js";

const SIZE = { width: 640, height: 230, left: 44, right: 16, top: 14, bottom: 28 };

function frame(label, height = SIZE.height) {
  return s("svg", { class: "plot", viewBox: `0 0 ${SIZE.width} ${height}`, role: "img", "aria-label": label });
}

/** Round numbers between two values, about four of them. */
export function ticks(low, high) {
  const rough = (high - low) / 4;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Math.abs(at) < step * 1e-6 ? 0 : at);
  return found;
}

function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function drawAxis(plot, y, [low, high], show) {
  for (const value of ticks(low, high)) {
    plot.append(
      s("line", { class: "grid", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: y(value), y2: y(value) }),
      s("text", { x: SIZE.left - 7, y: y(value) + 4, "text-anchor": "end" }, show(value)),
    );
  }
}

/**
 * Figures with their intervals, one place for each label. `series`: [{name, style, values: [{value, low, high} or null]}].
 * `range` is what the axis shows at least.
 */
export function intervalPlot({ label, labels, series, range: [atLeast, atMost], show }) {
  const plot = frame(label);
  const all = series.flatMap(({ values }) => values).filter(Boolean).flatMap(({ value, low, high }) => [value, low, high]).filter(Number.isFinite);
  const range = [Math.min(atLeast, ...all), Math.max(atMost, ...all)];
  const y = scale(range[0], range[1], SIZE.height - SIZE.bottom, SIZE.top);
  const x = (at) => SIZE.left + ((at + 0.5) * (SIZE.width - SIZE.left - SIZE.right)) / labels.length;
  drawAxis(plot, y, range, show);
  const every = Math.ceil(labels.length / 12);
  labels.forEach((text, at) => {
    if (at % every === 0) plot.append(s("text", { x: x(at), y: SIZE.height - 8, "text-anchor": "middle" }, text));
  });
  series.forEach(({ name, style, values }, which) => {
    const shift = (which - (series.length - 1) / 2) * 9;
    const points = values.map((one, at) => one && { ...one, x: x(at) + shift }).filter(Boolean);
    if (points.length > 1) {
      plot.append(s("polyline", { class: style, fill: "none", "stroke-width": 1.5, opacity: 0.55, points: points.map((one) => `${one.x},${y(one.value)}`).join(" ") }));
    }
    for (const { value, low, high, x: place } of points) {
      if (Number.isFinite(low) && Number.isFinite(high)) {
        plot.append(s("line", { class: style, "stroke-width": 2, "stroke-linecap": "round", x1: place, x2: place, y1: y(low), y2: y(high) }));
      }
      plot.append(s("circle", { class: `${style}-fill`, cx: place, cy: y(value), r: 4 }, s("title", {}, `${name} ${show(value)}`)));
    }
  });
  return plot;
}

/** Lines over a number, with bands around them and a mark. `series`: [{style, points: [{x, value, low, high}]}]. */
export function linePlot({ label, series, range: [atLeast, atMost], show, showX, mark = null, height = SIZE.height }) {
  const plot = frame(label, height);
  const points = series.flatMap((one) => one.points);
  const xs = points.map((point) => point.x);
  const all = points.flatMap(({ value, low, high }) => [value, low, high]).filter(Number.isFinite);
  const range = [Math.min(atLeast, ...all), Math.max(atMost, ...all)];
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const x = scale(left, right, SIZE.left, SIZE.width - SIZE.right);
  const y = scale(range[0], range[1], height - SIZE.bottom, SIZE.top);
  drawAxis(plot, y, range, show);
  for (const value of ticks(left, right)) plot.append(s("text", { x: x(value), y: height - 8, "text-anchor": "middle" }, showX(value)));
  for (const { style, points: own } of series) {
    const banded = own.filter(({ low, high }) => Number.isFinite(low) && Number.isFinite(high));
    if (banded.length > 1) {
      const edge = [...banded.map((one) => `${x(one.x)},${y(one.high)}`), ...banded.toReversed().map((one) => `${x(one.x)},${y(one.low)}`)];
      plot.append(s("polygon", { class: `${style}-band`, points: edge.join(" ") }));
    }
    const drawn = own.filter(({ value }) => Number.isFinite(value));
    plot.append(s("polyline", { class: style, fill: "none", "stroke-width": 2, points: drawn.map((one) => `${x(one.x)},${y(one.value)}`).join(" ") }));
  }
  const line = s("line", { class: "mark", y1: SIZE.top, y2: height - SIZE.bottom });
  plot.append(line);
  const setMark = (value) => {
    const isShown = value !== null && value >= left && value <= right;
    line.setAttribute("visibility", isShown ? "visible" : "hidden");
    if (isShown) {
      line.setAttribute("x1", x(value));
      line.setAttribute("x2", x(value));
    }
  };
  setMark(mark);
  return { plot, setMark };
}
