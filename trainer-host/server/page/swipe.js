// Swipes on the stage, for screens without keys.

/** How far a finger must go, CSS pixels. */
const DISTANCE_MIN = 70;

/** `meanings` by direction; the hint shows what letting go would say; `done(meaning)` when it is said. */
export function swipes(element, hint, meanings, done) {
  let start = null;
  const meaning = (event) => {
    const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
    if (Math.max(Math.abs(dx), Math.abs(dy)) < DISTANCE_MIN) return null;
    if (Math.abs(dx) > Math.abs(dy)) return dx < 0 ? meanings.left : meanings.right;
    return dy < 0 ? meanings.up : meanings.down;
  };
  const end = () => {
    start = null;
    hint.textContent = "";
    delete hint.dataset.meaning;
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" || !event.isPrimary || event.target.closest("button")) return;
    start = { x: event.clientX, y: event.clientY, id: event.pointerId };
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (!start || event.pointerId !== start.id) return;
    const found = meaning(event);
    hint.textContent = found ?? "";
    if (found) hint.dataset.meaning = found;
    else delete hint.dataset.meaning;
  });
  element.addEventListener("pointerup", (event) => {
    if (!start || event.pointerId !== start.id) return;
    const found = meaning(event);
    end();
    if (found) done(found);
  });
  element.addEventListener("pointercancel", end);
}
