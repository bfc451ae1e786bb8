// Colours and how numbers are written. A function has the same hue everywhere: it comes from its name, not from the order of arrival.

export const theme = { name: "dark", css: {}, colours: [], cssColours: [] };
const NAMES = ["bg", "panel", "raised", "line", "text", "muted", "faint", "accent", "fail", "warn", "lane-a", "lane-b"];

export function oklch(L, C, degrees) {
  const h = (degrees * Math.PI) / 180,
    a = C * Math.cos(h),
    b = C * Math.sin(h);
  const l = (L + 0.3963 * a + 0.2158 * b) ** 3,
    m = (L - 0.1056 * a - 0.0639 * b) ** 3,
    s = (L - 0.0895 * a - 1.2915 * b) ** 3;
  return [4.0767 * l - 3.3077 * m + 0.231 * s, -1.2685 * l + 2.6098 * m - 0.3413 * s, -0.0042 * l - 0.7034 * m + 1.7076 * s].map(
    (v) => Math.round(255 * Math.min(1, Math.max(0, v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055))),
  );
}

// Hues lie between 60° and 345°: red is for failures alone.
function hash(text) {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return h >>> 0;
}
const slotsOf = new Map();
function hueOf(name) {
  const group = name.startsWith("report ") ? "report" : "function";
  let slots = slotsOf.get(group);
  if (!slots) slotsOf.set(group, (slots = new Map()));
  let slot = slots.get(name);
  if (slot === undefined) {
    // 19 hues, each in three lightnesses. The name chooses one; when another function has it or one beside it, the one farthest from all in use.
    const taken = [...slots.values()],
      far = (s) => {
        let least = 99;
        for (const t of taken) {
          const d = Math.abs((s % 19) - (t % 19)),
            apart = Math.min(d, 19 - d) * 3 + (((s / 19) | 0) === ((t / 19) | 0) ? 0 : 2);
          if (apart < least) least = apart;
        }
        return least;
      };
    slot = hash(name) % 57;
    if (far(slot) < 6) {
      let best = slot,
        most = far(slot);
      for (let i = 0; i < 57; i++) {
        const s = (slot + i * 22) % 57,
          d = far(s);
        if (d > most) {
          most = d;
          best = s;
        }
      }
      slot = best;
    }
    slots.set(name, slot);
  }
  return slot;
}
export function rgbOf(name) {
  const slot = hueOf(name),
    hue = 62 + (slot % 19) * 15,
    tier = (slot / 19) | 0;
  const L = theme.name === "light" ? [0.62, 0.54, 0.69][tier] : [0.73, 0.65, 0.8][tier];
  return oklch(L, theme.name === "light" ? [0.115, 0.09, 0.1][tier] : [0.105, 0.085, 0.09][tier], hue);
}
export const cssRgb = (c) => `rgb(${c[0]},${c[1]},${c[2]})`;

export function setTheme(name) {
  theme.name = name;
  document.documentElement.dataset.theme = name;
  const style = getComputedStyle(document.documentElement);
  for (const key of NAMES) theme.css[key] = style.getPropertyValue("--" + key).trim();
  theme.failRgb = name === "light" ? [205, 43, 49] : [242, 85, 90];
  theme.colours = [];
  theme.cssColours = [];
}
export function colourOf(model, index) {
  const fn = model.functions[index];
  return (theme.colours[index] ??= fn ? rgbOf(fn.name) : [128, 128, 128]);
}

// The same as a CSS colour: made once, for a thousand bars a frame.
export function cssOf(model, index) {
  return (theme.cssColours[index] ??= cssRgb(colourOf(model, index)));
}

export function duration(s) {
  if (!Number.isFinite(s)) return "–";
  if (s < 0) return "-" + duration(-s);
  if (s < 9.995e-4) return (s * 1e6).toFixed(s < 1e-5 ? 1 : 0) + " µs";
  if (s < 0.9995) return (s * 1e3).toFixed(s < 0.00995 ? 2 : s < 0.0995 ? 1 : 0) + " ms";
  if (s < 99.95) return s.toFixed(s < 9.995 ? 2 : 1) + " s";
  if (s < 5970) return (s / 60).toFixed(1) + " min";
  return (s / 3600).toFixed(1) + " h";
}
export function clock(t, step = 1) {
  if (t < 0) return "-" + clock(-t, step);
  const digits = step >= 1 ? 0 : Math.min(6, Math.ceil(-Math.log10(step) - 1e-9));
  const minutes = Math.floor(t / 60 + 1e-9),
    seconds = (t - minutes * 60).toFixed(digits);
  if (!minutes) return seconds + " s";
  const padded = seconds.padStart(digits ? 3 + digits : 2, "0");
  return minutes < 60 ? `${minutes}:${padded}` : `${(minutes / 60) | 0}:${String(minutes % 60).padStart(2, "0")}:${padded}`;
}
export function bytes(n) {
  if (!Number.isFinite(n)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (Math.abs(n) >= 999.5 && i < 4) {
    n /= 1000;
    i++;
  }
  return (i && n < 99.95 ? n.toFixed(1) : n.toFixed(0)) + " " + units[i];
}
export const count = (n) => (Number.isFinite(n) ? Math.round(n).toLocaleString("en-US") : "–");
export const percent = (x) => (Number.isFinite(x) ? (x * 100).toFixed(x < 0.0995 ? 1 : 0) + " %" : "–");
export function number(v) {
  if (!Number.isFinite(v)) return "–";
  const a = Math.abs(v);
  return Number.isInteger(v) && a < 1e12
    ? v.toLocaleString("en-US")
    : a !== 0 && (a >= 1e6 || a < 1e-4)
      ? v.toExponential(3)
      : Number(v.toPrecision(5)).toLocaleString("en-US", { maximumFractionDigits: 6 });
}
