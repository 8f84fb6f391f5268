// The skeletons of one item in flat arrays: quick to draw, small in memory, nothing left for the garbage collector per frame.

/** Key-points of a person, in COCO's order. */
export const KEYPOINTS = 17;
/** x, y, confidence. */
const VALUES = 3;
/** Samples carry no times: they play at this rate, frames per second. */
const SAMPLE_FPS = 25;
/** A frame shows until the next one, but no longer than this: then nobody was there. Milliseconds. */
const GAP_MS_MAX = 200;
/** Key-points below this confidence were guessed and are not drawn. */
export const CONFIDENCE_MIN = 0.05;

/** A clip of a playback that the API gave. */
export function clipOf(playback) {
  const { item, frames } = playback;
  const persons = frames.reduce((sum, frame) => sum + frame.persons.length, 0);
  const clip = {
    item,
    event: playback.event ?? null,
    curve: curveOf(playback),
    isIncomplete: playback.is_incomplete,
    length: frames.length,
    frames: new Float64Array(frames.length),
    times: new Float64Array(frames.length),
    starts: new Uint32Array(frames.length + 1),
    persons: new Uint32Array(persons),
    points: new Float32Array(persons * KEYPOINTS * VALUES),
    people: 0,
    bounds: null,
    flagged: null,
    durationMs: 0,
  };
  fillFrames(clip, frames);
  clip.people = new Set(clip.persons).size;
  clip.bounds = boundsOf(clip);
  clip.flagged = flaggedOf(clip);
  const period = clip.length > 1 ? (clip.times[clip.length - 1] - clip.times[0]) / (clip.length - 1) : 1000 / SAMPLE_FPS;
  clip.durationMs = clip.length === 0 ? 0 : clip.times[clip.length - 1] + Math.min(period, GAP_MS_MAX);
  return clip;
}

function fillFrames(clip, frames) {
  const first = frames[0]?.frame ?? 0;
  // Only the first time of a sample is known.
  const hasTimes = clip.item.kind !== "sample" && frames.some((frame) => frame.at_ms > 0);
  let person = 0;
  for (const [at, frame] of frames.entries()) {
    clip.frames[at] = frame.frame;
    clip.times[at] = hasTimes ? frame.at_ms : ((frame.frame - first) * 1000) / SAMPLE_FPS;
    for (const found of frame.persons) {
      clip.persons[person] = found.person;
      for (let point = 0; point < KEYPOINTS; point += 1) {
        clip.points.set(found.keypoints[point], (person * KEYPOINTS + point) * VALUES);
      }
      person += 1;
    }
    clip.starts[at + 1] = person;
  }
}

function curveOf(playback) {
  const curve = playback.curve ?? {};
  const scores = curve.scores ?? [];
  return {
    threshold: curve.threshold ?? playback.item.threshold ?? null,
    band: curve.band ?? null,
    frames: Float64Array.from(scores, (one) => one.frame),
    scores: Float64Array.from(scores, (one) => one.score),
    reason: curve.reason ?? null,
  };
}

/** What everybody's key-points span, without the outermost hundredth: one stray point must not shrink all others. */
function boundsOf(clip) {
  const [xs, ys] = [[], []];
  for (let at = 0; at < clip.points.length; at += VALUES) {
    if (clip.points[at + 2] < CONFIDENCE_MIN) continue;
    xs.push(clip.points[at]);
    ys.push(clip.points[at + 1]);
  }
  if (xs.length === 0) return null;
  const edges = (values) => {
    const sorted = Float32Array.from(values).sort();
    const cut = Math.floor(sorted.length * 0.01);
    return [sorted[cut], sorted[sorted.length - 1 - cut]];
  };
  const [[left, right], [top, bottom]] = [edges(xs), edges(ys)];
  return { left, right, top, bottom };
}

/** What the flagged person's way spans, and how tall that person is as a rule; null when never seen. */
function flaggedOf(clip) {
  let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
  const heights = [];
  for (let frame = 0; frame < clip.length; frame += 1) {
    const place = placeOf(clip, frame, clip.item.person);
    if (place < 0) continue;
    let [high, low] = [Infinity, -Infinity];
    for (let at = place * KEYPOINTS * VALUES; at < (place + 1) * KEYPOINTS * VALUES; at += VALUES) {
      if (clip.points[at + 2] < CONFIDENCE_MIN) continue;
      [left, right] = [Math.min(left, clip.points[at]), Math.max(right, clip.points[at])];
      [high, low] = [Math.min(high, clip.points[at + 1]), Math.max(low, clip.points[at + 1])];
    }
    if (high > low) heights.push(low - high);
    [top, bottom] = [Math.min(top, high), Math.max(bottom, low)];
  }
  if (heights.length === 0) return null;
  heights.sort((one, other) => one - other);
  return { left, right, top, bottom, height: heights[heights.length >> 1] };
}

/** Index of the frame that shows at a time; -1 where nobody is in the picture. */
export function frameAt(clip, timeMs) {
  let [low, high] = [0, clip.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (clip.times[middle] <= timeMs) low = middle + 1;
    else high = middle - 1;
  }
  return high >= 0 && timeMs - clip.times[high] <= GAP_MS_MAX ? high : -1;
}

/** The time of a frame number, between its neighbours where the frame itself is missing. */
export function timeOf(clip, frame) {
  const { frames, times, length } = clip;
  if (length === 0) return 0;
  if (frame <= frames[0]) return times[0];
  for (let at = 1; at < length; at += 1) {
    if (frames[at] >= frame) {
      const share = (frame - frames[at - 1]) / (frames[at] - frames[at - 1]);
      return times[at - 1] + share * (times[at] - times[at - 1]);
    }
  }
  return times[length - 1];
}

/** Where the person stands in a frame's persons; -1: not in it. */
export function placeOf(clip, frame, person) {
  for (let at = clip.starts[frame]; at < clip.starts[frame + 1]; at += 1) {
    if (clip.persons[at] === person) return at;
  }
  return -1;
}

/** "pre-roll", "flagged", "post-roll" or "sample": what a frame is to its item. */
export function partOf(clip, frame) {
  if (clip.item.kind === "sample") return "sample";
  if (frame < clip.item.first_frame) return "pre-roll";
  return frame > clip.item.last_frame ? "post-roll" : "flagged";
}
