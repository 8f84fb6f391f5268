// Elements from plain values. Texts become text nodes and nothing else: a name that holds HTML shows as it is written.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Attributes whose name begins with "on" are listeners; `null`, `undefined` and `false` are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  // A select knows its options only now.
  if (attributes.value !== undefined && attributes.value !== null && element.localName === "select") element.value = attributes.value;
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Replaces what is in an element. */
export function put(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A setting of this browser, not of the reviewer; a browser without storage forgets it. */
export const setting = {
  get(name, fallback) {
    try {
      const text = localStorage.getItem(`alfred.${name}`);
      return text === null ? fallback : JSON.parse(text);
    } catch {
      return fallback;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`alfred.${name}`, JSON.stringify(value));
    } catch {
      // Nothing depends on it.
    }
  },
};
