// Numbers as people read them.

export const whole = (number) => number.toLocaleString("en");

export const share = (number) => (number === null || number === undefined ? "unknown" : String(Number(number.toPrecision(3))));

export const percent = (number) => `${(100 * number).toFixed(number < 0.1 ? 2 : 1)} %`;

export function duration(seconds) {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function megabytes(bytes) {
  return bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
