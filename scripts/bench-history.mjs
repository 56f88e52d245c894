// The figures of the small benchmarks over time: benches/history/criterion.jsonl, one record a line, the oldest first.
//
//   { date, commit, cpu, rustc, cases: { NAME: { medianNs, lowNs, highNs } } }
//
// `lowNs` and `highNs` bound the median with 95 % confidence. A commit with `+` had changes of its own on top. Figures of
// different processors are never compared.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The records of a history file; none when there is no file. */
export function readHistory(file) {
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n').filter((line) => line !== '')
  return lines.map((line, index) => {
    try {
      return JSON.parse(line)
    } catch (error) {
      throw new Error(`${file}, line ${index + 1}: found ${JSON.stringify(line.slice(0, 40))}, expected a record: ${error.message}`)
    }
  })
}

/** What criterion left in its folder: the median of every case, and its confidence interval, in nanoseconds. */
export function collect(folder) {
  const cases = {}
  if (!existsSync(folder)) return cases
  for (const { name, parentPath } of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (name !== 'benchmark.json' || !parentPath.endsWith('new')) continue
    const { full_id: id } = JSON.parse(readFileSync(join(parentPath, name), 'utf8'))
    const { point_estimate: median, confidence_interval: { lower_bound: low, upper_bound: high } } = JSON.parse(readFileSync(join(parentPath, 'estimates.json'), 'utf8')).median
    cases[id] = { medianNs: round(median), lowNs: round(low), highNs: round(high) }
  }
  return Object.fromEntries(Object.entries(cases).sort(([one], [other]) => (one < other ? -1 : 1)))
}

/** Four digits: more of them are noise. */
const round = (ns) => Number(ns.toPrecision(4))

/** The newest record of the same processor among `records`. */
export const lastOf = (records, cpu) => records.findLast((one) => one.cpu === cpu)

/** How each case changed: in percent, and whether the two intervals leave any doubt. `undefined` where there was none. */
export function changes(before, cases) {
  return Object.fromEntries(Object.entries(cases).map(([name, now]) => {
    const old = before?.cases[name]
    if (!old) return [name, undefined]
    const isSure = now.lowNs > old.highNs || now.highNs < old.lowNs
    return [name, { percent: (now.medianNs / old.medianNs - 1) * 100, isSure }]
  }))
}

/** A time in words. */
export function time(ns) {
  const [value, unit] = ns >= 1e6 ? [ns / 1e6, 'ms'] : ns >= 1e3 ? [ns / 1e3, 'µs'] : [ns, 'ns']
  return `${value >= 100 ? Math.round(value) : value.toPrecision(3)} ${unit}`
}

/** A change in words. */
export function change(found) {
  if (!found) return 'new'
  const percent = `${found.percent > 0 ? '+' : ''}${found.percent.toFixed(1)} %`
  return found.isSure ? percent : `${percent} (unsure)`
}

/** Rows as a table of Markdown. */
export const markdown = (head, rows) => [`| ${head.join(' | ')} |`, `|${head.map(() => '---').join('|')}|`, ...rows.map((cells) => `| ${cells.join(' | ')} |`)].join('\n')

const TITLE = '## Small parts'

/** The section of the page: the newest record, and what changed since the one before it. `undefined` without any. */
export function section(records) {
  const now = records.at(-1)
  if (!now) return undefined
  const before = lastOf(records.slice(0, -1), now.cpu)
  const changed = changes(before, now.cases)
  const rows = Object.entries(now.cases).map(([name, { medianNs, lowNs, highNs }]) => [
    name, time(medianNs), `${time(lowNs)} to ${time(highNs)}`, before ? change(changed[name]) : '–',
  ])
  return [
    TITLE,
    `\`make bench-small\`, ${now.date}, commit ${now.commit}, ${now.cpu}.`,
    `Each part of a paid request alone, with criterion: processor time of one thread, the median and its 95 % interval. ${before ? `The change is that since commit ${before.commit} (${before.date}); it is unsure where the two intervals overlap.` : 'There is no earlier record of this processor to compare with.'} The records are in \`benches/history/criterion.jsonl\` (${records.length}); \`make bench-small-record\` adds one.`,
    markdown(['part', 'median', '95 % interval', 'change'], rows),
  ].join('\n\n')
}

/** The page with the section of now; everything else of it stays. */
export function withSection(page, records) {
  const [before, rest] = page.split(`\n${TITLE}\n`)
  const after = rest?.match(/\n## [^]*/)?.[0] ?? ''
  return `${before.trimEnd()}\n\n${section(records)}\n${after}`
}
