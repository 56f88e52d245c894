// The live table of the demo: redrawn in place on a terminal, one line now and then elsewhere.
const BASE_UNITS = (value) => String(value ?? 0).replace(/\B(?=(\d{3})+$)/g, ',')

/** Draws rows of [label, value, note] every time `update` is called. */
export function liveTable(title, stream = process.stdout) {
  let drawn = 0
  let last = 0
  return {
    update(rows, final = false) {
      if (stream.isTTY) {
        if (drawn > 0) stream.write(`\x1b[${drawn}A\x1b[0J`)
        const lines = [title, ...rows.map(([label, value, note = '']) => line(label, value, note))]
        stream.write(`${lines.join('\n')}\n`)
        drawn = lines.length
        return
      }
      const now = Date.now()
      if (!final && now - last < 1_000) return
      last = now
      stream.write(`${rows.map(([label, value]) => `${label} ${BASE_UNITS(value)}`).join(' · ')}\n`)
    },
  }
}

/** One row of a table. */
export const line = (label, value, note = '') =>
  `  ${label.padEnd(22)}${BASE_UNITS(value).padStart(16)}  ${note}`.trimEnd()
