// Counts the instructions of the portable backend with callgrind and holds them to benches/history/instructions.json. Unlike a
// time, the count is the same on a busy machine: more than 3 % up fails, and the functions that grew are named.
//
//   node scripts/instructions.mjs            compare
//   node scripts/instructions.mjs --write    make the counts of now the ones to be compared with, and keep the old ones
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const HISTORY = join(REPOSITORY, 'benches/history/instructions.json')
const CASES = ['verify_known', 'verify_second', 'verify_alone', 'digest']
/** So much more is let pass, in percent. */
const GROWTH_PERCENT_MAX = 3
/** Functions of a case that are kept: the largest. */
const FUNCTIONS_KEPT = 12
/** Counts before the last ones that are kept. */
const HISTORY_KEPT = 100

/** The instructions of a callgrind file: all of them, and those of each function itself. */
export function parse(text) {
  const names = new Map()
  const functions = new Map()
  let current
  let isCall = false
  for (const line of text.split('\n')) {
    const named = line.match(/^fn=\((\d+)\)(?: (.*))?$/)
    if (named) {
      if (named[2] !== undefined) names.set(named[1], named[2])
      current = names.get(named[1]) ?? `function ${named[1]}`
    } else if (/^cfn=\((\d+)\) /.test(line)) {
      const [, id, name] = line.match(/^cfn=\((\d+)\) (.*)$/)
      names.set(id, name)
    } else if (line.startsWith('calls=')) {
      // The next line is what the callee took, which is counted where it is.
      isCall = true
    } else if (/^[+\-*\d]/.test(line)) {
      const cost = Number(line.trim().split(/\s+/)[1] ?? 0)
      if (!isCall && current !== undefined) functions.set(current, (functions.get(current) ?? 0) + cost)
      isCall = false
    }
  }
  const total = [...functions.values()].reduce((sum, cost) => sum + cost, 0)
  const largest = [...functions].filter(([, cost]) => cost > 0).sort(([, one], [, other]) => other - one).slice(0, FUNCTIONS_KEPT)
  return { total, functions: Object.fromEntries(largest.map(([name, cost]) => [tidy(name), cost])) }
}

/** Without the hash that changes with every compiler. */
const tidy = (name) => name.replace(/::h[0-9a-f]{16}$/, '').replace(/'\d+$/, '')

/** What grew too much, as lines of text; none when all is well. */
export function compare(before, now) {
  const troubles = []
  for (const [name, { total, functions }] of Object.entries(now)) {
    const old = before[name]
    if (!old) {
      troubles.push(`${name}: found no count to compare with, expected one: node scripts/instructions.mjs --write`)
      continue
    }
    if (total * 100 <= old.total * (100 + GROWTH_PERCENT_MAX)) continue
    const growth = (total / old.total - 1) * 100
    const grown = Object.entries(functions).map(([fn, cost]) => ({ fn, more: cost - (old.functions[fn] ?? 0), was: old.functions[fn] ?? 0, is: cost })).filter(({ more }) => more > 0).sort((one, other) => other.more - one.more)
    troubles.push(`${name}: found ${total} instructions, expected at most ${GROWTH_PERCENT_MAX} % above ${old.total} (+${growth.toFixed(1)} %)`)
    for (const { fn, was, is } of grown.slice(0, 3)) troubles.push(`    ${fn}: ${was} -> ${is}`)
  }
  return troubles
}

function count() {
  const target = process.env.CARGO_TARGET_DIR ? resolve(process.env.CARGO_TARGET_DIR) : join(REPOSITORY, 'target')
  const env = { ...process.env, CARGO_TARGET_DIR: join(target, 'instructions') }
  execFileSync('cargo', ['build', '--locked', '--quiet', '--release'], { cwd: join(REPOSITORY, 'tests/instructions'), env, stdio: 'inherit' })
  const folder = mkdtempSync(join(tmpdir(), 'farebox-instructions-'))
  try {
    return Object.fromEntries(CASES.map((name) => {
      const out = join(folder, name)
      const tool = ['--tool=callgrind', '--quiet', '--toggle-collect=*measured_*', '--compress-pos=no', '--compress-strings=yes', `--callgrind-out-file=${out}`]
      execFileSync('valgrind', [...tool, join(target, 'instructions/release/farebox-instructions'), name], { stdio: ['ignore', 'inherit', 'inherit'] })
      return [name, parse(readFileSync(out, 'utf8'))]
    }))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function main() {
  if (process.arch !== 'x64') return console.log('instructions: the counts are those of x86_64: nothing to check here')
  try {
    execFileSync('valgrind', ['--version'], { stdio: 'ignore' })
  } catch {
    console.error('instructions: valgrind is missing: apt-get install valgrind')
    process.exit(1)
  }
  const kept = existsSync(HISTORY) ? JSON.parse(readFileSync(HISTORY, 'utf8')) : { cases: {}, history: [] }
  const rustc = execFileSync('rustc', ['--version'], { encoding: 'utf8' }).trim()
  const now = count()
  if (process.argv.includes('--write')) {
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: REPOSITORY, encoding: 'utf8' }).trim()
    const totals = Object.fromEntries(Object.entries(now).map(([name, { total }]) => [name, total]))
    const history = [...kept.history, { commit, date: new Date().toISOString().slice(0, 10), rustc, totals }].slice(-HISTORY_KEPT)
    writeFileSync(HISTORY, `${JSON.stringify({ rustc, cases: now, history }, undefined, 1)}\n`)
    return console.log(`instructions: ${HISTORY} is written`)
  }
  for (const [name, { total }] of Object.entries(now)) console.log(`instructions: ${name}: ${total.toLocaleString('en-US')} (${kept.cases[name] ? `${((total / kept.cases[name].total - 1) * 100).toFixed(2)} %` : 'new'})`)
  const troubles = compare(kept.cases, now)
  if (!troubles.length) return undefined
  for (const trouble of troubles) console.error(`instructions: ${trouble}`)
  if (kept.rustc !== rustc) console.error(`instructions: found ${rustc}, the counts are of ${kept.rustc}`)
  console.error('instructions: look why; when it is wanted: node scripts/instructions.mjs --write')
  process.exit(1)
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) main()
