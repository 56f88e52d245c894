// Runs the small benchmarks with criterion, and says how each changed since the last record of the same processor in
// benches/history/criterion.jsonl.
//
//   node scripts/bench-small.mjs [FILTER]     run and compare
//   node scripts/bench-small.mjs --record     the same, add a record to the history, and show it in docs/benchmarks/README.md
//
// It never fails for a slow figure: a time depends on what else the machine does. What CI holds are instructions
// (scripts/instructions.mjs).
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { change, changes, collect, lastOf, readHistory, time, withSection } from './bench-history.mjs'

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const HISTORY = join(REPOSITORY, 'benches/history/criterion.jsonl')
const PAGE = join(REPOSITORY, 'docs/benchmarks/README.md')
/** What goes into the figures: changes in it that are not committed mark the commit. */
const SOURCES = ['Cargo.lock', 'Cargo.toml', 'benches', 'engine', 'settlement/plan']

const { values: options, positionals: filter } = parseArgs({ allowPositionals: true, options: { record: { type: 'boolean', default: false } } })
if (options.record && filter.length) {
  console.error(`bench-small: found --record with the filter ${filter.join(' ')}, expected no filter: a record has all cases`)
  process.exit(2)
}

const run = (program, args) => execFileSync(program, args, { cwd: REPOSITORY, encoding: 'utf8' }).trim()

/** Every case, as criterion measured it now. A folder of its own: no figure of an earlier run is among them. */
function measure() {
  const folder = mkdtempSync(join(tmpdir(), 'farebox-bench-small-'))
  try {
    const args = ['bench', '--locked', '-p', 'farebox-benches', '--no-default-features', '--features', 'small', '--bench', 'small', '--', '--noplot', ...filter]
    execFileSync('cargo', args, { cwd: REPOSITORY, env: { ...process.env, CRITERION_HOME: folder }, stdio: 'inherit' })
    return collect(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function commit() {
  const isChanged = run('git', ['status', '--porcelain', '--untracked-files=no', '--', ...SOURCES]) !== ''
  return `${run('git', ['rev-parse', '--short', 'HEAD'])}${isChanged ? '+' : ''}`
}

const cpu = `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`
const before = lastOf(readHistory(HISTORY), cpu)
const cases = measure()
if (!Object.keys(cases).length) {
  console.error(`bench-small: found no case named ${filter.join(' ')}, expected at least one`)
  process.exit(1)
}

const changed = changes(before, cases)
console.log(before ? `bench-small: compared with commit ${before.commit} of ${before.date}, on the same processor` : `bench-small: no record of this processor (${cpu}) to compare with`)
const width = Math.max(...Object.keys(cases).map((name) => name.length))
for (const [name, { medianNs, lowNs, highNs }] of Object.entries(cases)) {
  console.log(`  ${name.padEnd(width)}  ${time(medianNs).padStart(8)}  [${time(lowNs)}, ${time(highNs)}]  ${before ? change(changed[name]) : ''}`)
}
for (const name of Object.keys(before?.cases ?? {})) if (!filter.length && !cases[name]) console.log(`  ${name.padEnd(width)}  is gone`)

if (options.record) {
  const record = { date: new Date().toISOString().slice(0, 10), commit: commit(), cpu, rustc: run('rustc', ['--version']), cases }
  appendFileSync(HISTORY, `${JSON.stringify(record)}\n`)
  writeFileSync(PAGE, withSection(readFileSync(PAGE, 'utf8'), readHistory(HISTORY)))
  console.log(`bench-small: a record is added to ${HISTORY}, and ${PAGE} shows it`)
}
