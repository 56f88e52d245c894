// Writes docs/benchmarks/README.md and its plots from what the benchmarks left in a folder (target/bench): one look at
// everything, ahead or behind. It measures nothing itself but the program's own start, when there is a program. The small parts
// come from the history that is kept with the sources.
//
//   node scripts/bench-page.mjs [--from target/bench] [--to docs/benchmarks] [--program target/release/farebox]
//       [--history benches/history/criterion.jsonl]
//
// A figure that was not measured is left out, and the page says which command measures it.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { markdown, readHistory, section } from './bench-history.mjs'

const STARTS = 21
const ROW_H = 26

const { values: options } = parseArgs({
  options: {
    from: { type: 'string', default: 'target/bench' },
    to: { type: 'string', default: 'docs/benchmarks' },
    program: { type: 'string', default: 'target/release/farebox' },
    gas: { type: 'string', default: 'contracts/gas.snapshot' },
    history: { type: 'string', default: 'benches/history/criterion.jsonl' },
  },
})

// ---- what is there ----
const read = (name) => {
  const file = join(options.from, `${name}.json`)
  if (!existsSync(file)) return undefined
  return { data: JSON.parse(readFileSync(file, 'utf8')), date: statSync(file).mtime.toISOString().slice(0, 10) }
}
const measured = Object.fromEntries(['verify', 'books', 'books-slow', 'http'].map((name) => [name, read(name)]))
const COMMANDS = { verify: 'make bench-verify', books: 'make bench-books', 'books-slow': 'make bench-books SYNC_US=4000', http: 'make bench-http' }

const git = (...args) => {
  try {
    return execFileSync('git', args, { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}
const commit = process.env.BENCH_COMMIT ?? git('rev-parse', '--short', 'HEAD')
const machine = process.env.BENCH_MACHINE ?? `${cpus()[0]?.model.trim() ?? 'unknown'}, ${cpus().length} cores`

// ---- words ----
const number = (value) => (value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en-US') : value >= 10 ? value.toFixed(1) : value.toFixed(2))
const micros = (value) => `${number(value)} µs`
const rate = (value) => `${number(value)}/s`
const mib = (bytes) => `${number(bytes / 2 ** 20)} MiB`

/** One row: ours, the best peer's, and how they compare. `more` is true when a larger figure is better. */
function row({ what, ours, peer, by, show, more, why }) {
  if (ours === undefined) return undefined
  if (peer === undefined) return { cells: [what, show(ours), '–', '–', why ?? 'no peer does this'], isBehind: false }
  const factor = more ? ours / peer : peer / ours
  const isBehind = factor < 1
  const verdict = isBehind ? `**behind**, ${number(1 / factor)} ×` : `ahead, ${number(factor)} ×`
  return { cells: [what, show(ours), `${show(peer)} (${by})`, verdict, (isBehind ? why : '') || ''], isBehind }
}

/** Horizontal bars on a logarithmic scale; ours are coloured. */
function bars(title, unit, entries, show) {
  const [left, right, width] = [230, 110, 760]
  const height = 44 + entries.length * ROW_H + 14
  const values = entries.map(({ value }) => value)
  const low = Math.log10(Math.min(...values)) - 0.3
  const high = Math.log10(Math.max(...values))
  const length = (value) => ((Math.log10(value) - low) / Math.max(high - low, 0.1)) * (width - left - right)
  const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  const lines = entries.map(({ name, value, isOurs }, index) => {
    const y = 44 + index * ROW_H
    return `<text class="n" x="${left - 8}" y="${y + 14}">${escape(name)}</text><rect class="${isOurs ? 'o' : 'p'}" x="${left}" y="${y}" width="${length(value).toFixed(1)}" height="18" rx="3"/><text class="v" x="${(left + length(value) + 6).toFixed(1)}" y="${y + 14}">${escape(show(value))}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(`${title}: ${entries.map(({ name, value }) => `${name} ${show(value)}`).join(', ')}`)}">
<style>text{font:13px system-ui,sans-serif;fill:#333}.t{font-weight:600;font-size:15px}.u{fill:#777}.n{text-anchor:end}.v{fill:#555}.o{fill:#1f8a5b}.p{fill:#b8bec6}@media(prefers-color-scheme:dark){text{fill:#ddd}.u,.v{fill:#aaa}.p{fill:#5a616b}.o{fill:#3cbf86}}</style>
<text class="t" x="8" y="20">${escape(title)}</text><text class="u" x="${width - 8}" y="20" text-anchor="end">${escape(unit)}, logarithmic</text>
${lines.join('\n')}
</svg>
`
}

// ---- verification ----
function verification() {
  if (!measured.verify) return undefined
  const { data, date } = measured.verify
  const us = (found) => found && found.ns_per_voucher / 1_000
  const ours = (backend, batch, signers = 64) => us(data.find((one) => one.case === 'verify' && one.backend === backend && one.batch === batch && one.signers === signers))
  const isPeer = ({ backend }) => !['avx512', 'portable'].includes(backend)
  const peers = data.filter((one) => isPeer(one) && ['recover', 'verify_voucher'].includes(one.case))
  const best = peers.toSorted((one, other) => one.ns_per_voucher - other.ns_per_voucher)[0]
  const by = best && `${best.backend}, ${best.case === 'recover' ? 'recovery' : 'verify_voucher'}`
  const cold = us(data.find((one) => one.case === 'cold' && one.backend === 'avx512' && one.batch === 256))
  const unknown = us(data.find((one) => one.case === 'unknown' && one.batch === 256))
  const compare = (what, value, why) => row({ what, ours: value, peer: us(best), by, show: micros, more: false, why })
  const rows = [
    compare('a voucher, batches of 1,024, AVX-512', ours('avx512', 1_024)),
    compare('a voucher, batches of 1,024, portable code', ours('portable', 1_024)),
    compare('a voucher alone', Math.min(...['avx512', 'portable'].map((backend) => ours(backend, 1) ?? Infinity))),
    compare('a signer\'s second voucher, batches of 256', cold),
    compare('a signer\'s first voucher, batches of 256', unknown, 'its key is recovered by libsecp256k1 and hashed, which the peer\'s figure leaves out; a signer has one first voucher'),
  ].filter(Boolean)
  const entries = [
    ['Farebox, AVX-512, 1,024 at once', ours('avx512', 1_024), true], ['Farebox, portable, 1,024 at once', ours('portable', 1_024), true], ['Farebox, AVX-512, one alone', ours('avx512', 1), true],
    ...peers.map((one) => [`${one.backend}, ${one.case}`, us(one), false]),
  ].filter(([, value]) => value !== undefined).map(([name, value, isOurs]) => ({ name, value, isOurs }))
  return { title: 'Verification', date, command: COMMANDS.verify, more: 'verify.md', rows, plot: ['summary-verify.svg', bars('CPU time of one voucher', 'µs', entries, micros)] }
}

// ---- books ----
function books(name, title) {
  if (!measured[name]) return undefined
  const { data, date } = measured[name]
  const of = (which, channels = 10_000) => data.find((one) => one.case === which && one.channels === channels)
  const durable = ['peer_rocksdb_sync_each', 'peer_sqlite_wal_full'].map((which) => of(which)).filter(Boolean)
  const best = durable.toSorted((one, other) => other.vouchers_per_s - one.vouchers_per_s)[0]
  const by = best && (best.case.includes('sqlite') ? 'SQLite, a transaction each' : 'RocksDB, a sync each')
  const compare = (what, which, key, show, more, why) => row({ what, ours: of(which)?.[key], peer: best?.[key], by, show, more, why })
  const rows = [
    compare('durable vouchers, many callers', 'batch', 'vouchers_per_s', rate, true),
    compare('processor time of each', 'batch', 'cpu_us_per_voucher', micros, false),
    compare('bytes written for each', 'batch', 'bytes_written_per_voucher', (bytes) => `${number(bytes)} B`, false),
    compare('one caller who waits for each answer', 'alone', 'vouchers_per_s', rate, true, 'the same one sync; Farebox also verifies the signature and hands the work to two threads and back. It is made for many callers who share a sync'),
  ].filter(Boolean)
  const memory = of('peer_mpp_memory_store')
  if (memory && of('batch')) rows.push(row({ what: 'against a store in memory, which loses everything', ours: of('batch').vouchers_per_s, peer: memory.vouchers_per_s, by: 'mpp, memory, no sync', show: rate, more: true }))
  const names = { batch: 'Farebox, many callers', alone: 'Farebox, one caller', peer_rocksdb_sync_each: 'RocksDB, a sync each', peer_sqlite_wal_full: 'SQLite, a transaction each', peer_mpp_file_store: 'mpp, files, never synced', peer_mpp_memory_store: 'mpp, memory' }
  const entries = Object.entries(names).map(([which, label]) => ({ name: label, value: of(which)?.vouchers_per_s, isOurs: !which.startsWith('peer') })).filter(({ value }) => value)
  return { title, date, command: COMMANDS[name], more: 'books.md', rows, plot: [`summary-${name}.svg`, bars(`${title}: vouchers a second, 10,000 channels`, 'vouchers/s', entries, rate)] }
}

// ---- HTTP ----
const SERVERS = {
  bare: ['no payment at all', 'a bare axum handler'],
  layer: ['Farebox, layer', 'the same handler behind Farebox\'s layer: every voucher is on the disk, synced, before its answer'],
  gateway: ['Farebox, gateway', 'the program `farebox` in front of the same handler, which is a process of its own: every voucher is on the disk, synced, before its answer'],
  mpp: ['mpp, memory', 'crate `mpp` 0.18: its session server in axum, with the store that it ships. Vouchers stay in memory: nothing is durable, and a restart forgets what was spent. It reads the channel from the chain for every voucher'],
  mppx: ['mppx, memory', 'mppx 0.11: its session server on Node, with the store that it ships. Vouchers stay in memory: nothing is durable, and a restart forgets what was spent. It reads a channel from the chain when it did not for five seconds'],
}
const IDLE_STREAM_BYTES_GOAL = 16 * 1024

function http() {
  if (!measured.http) return undefined
  const { data, date } = measured.http
  const measuredRows = data.rows ?? []
  const of = (server, inFlight) => measuredRows.find((one) => one.server === server && one.inFlight === inFlight)
  const levels = [...new Set(measuredRows.map(({ inFlight }) => inFlight))].sort((one, other) => one - other)
  const rows = []
  for (const inFlight of levels) for (const server of ['layer', 'gateway']) {
    const ours = of(server, inFlight)
    if (!ours) continue
    const peers = ['mpp', 'mppx'].map((peer) => of(peer, inFlight)).filter(Boolean)
    if (!peers.length) {
      const bare = of('bare', inFlight)
      rows.push(row({ what: `${SERVERS[server][0]}, ${number(inFlight)} at once: processor time of a paid request`, ours: ours.serverCpuMicroseconds, show: micros, why: `no peer was measured${bare ? `; the same request without payment takes ${micros(bare.serverCpuMicroseconds)}` : ''}` }))
    }
    for (const peer of peers) {
      const compare = (what, key, show, more) => row({ what: `${SERVERS[server][0]}, ${number(inFlight)} at once: ${what}`, ours: ours[key], peer: peer[key], by: SERVERS[peer.server][0], show, more })
      rows.push(compare('paid requests', 'requestsPerSecond', rate, true), compare('processor time of each', 'serverCpuMicroseconds', micros, false))
    }
  }
  if (data.words) rows.push(row({ what: 'reading the words of a paid request', ours: data.words.farebox, peer: data.words.mppParsing, by: 'mpp', show: micros, more: false }))
  const times = (value) => (value ? `${number(value)} ×` : '–')
  const table = measuredRows.map((one) => [
    SERVERS[one.server]?.[0] ?? one.server, number(one.inFlight), rate(one.requestsPerSecond), micros(one.serverCpuMicroseconds),
    times(one.serverCpuMicroseconds / of('bare', one.inFlight)?.serverCpuMicroseconds), times(one.requestsPerSecond / of('bare', one.inFlight)?.requestsPerSecond),
    ...[one.p50Microseconds, one.p99Microseconds, one.p999Microseconds].map((us) => (us ? micros(us) : '–')),
  ])
  const notes = [
    Object.keys(SERVERS).filter((server) => levels.some((level) => of(server, level))).map((server) => `- **${SERVERS[server][0]}**: ${SERVERS[server][1]}.`).join('\n'),
    'Processor time is the server\'s own: the load is another process, and so are the chain and the service behind the gateway. All of them share the cores, so requests a second count them too.',
    markdown(['server', 'in flight', 'requests', 'processor time of each', 'to bare', 'requests to bare', 'p50', 'p99', 'p99.9'], table),
  ]
  const streams = data.streams
  if (streams) {
    const ours = Math.max(0, streams.idleBytes - streams.idleBareBytes)
    const isMissed = streams.idleBytes > IDLE_STREAM_BYTES_GOAL
    notes.push(
      `${number(streams.streams)} metered streams at once, each paying as it goes, for ${number(streams.seconds)} s (\`make bench-streams\`): ${number(streams.events)} events, in order and each once, ${number(streams.vouchers)} vouchers; no event came unpaid, and the books hold what was delivered. The longest silence of a stream that speaks every second was ${number(streams.longestGapMilliseconds)} ms. An event cost the server ${micros(streams.serverCpuMicroseconds)}.`,
      `A stream that waits takes ${number(Math.round(streams.idleBytes))} B of the server. Without payment it takes ${number(Math.round(streams.idleBareBytes))} B: its connection and its task in hyper and axum${ours ? `; the layer adds ${number(Math.round(ours))} B` : ''}. The goal is ${number(IDLE_STREAM_BYTES_GOAL)} B for all of it${isMissed ? `; it is **missed**${ours < IDLE_STREAM_BYTES_GOAL ? ', by what a connection of HTTP/1.1 takes with no layer at all: hyper alone keeps two buffers of 8,192 B for each' : ''}` : ''}.${streams.idleHttp2Bytes === undefined ? '' : ` Where a hundred streams share a connection of HTTP/2, one takes ${number(Math.round(streams.idleHttp2Bytes))} B, and ${number(Math.round(streams.idleHttp2BareBytes))} B without the layer.`}`,
    )
  }
  const entries = measuredRows.map((one) => ({ name: `${SERVERS[one.server]?.[0] ?? one.server}, ${number(one.inFlight)} at once`, value: one.serverCpuMicroseconds, isOurs: ['layer', 'gateway'].includes(one.server) }))
  return { title: 'HTTP', date, command: COMMANDS.http, rows: rows.filter(Boolean), notes, plot: ['summary-http.svg', bars('Processor time of a request', 'µs', entries, micros)] }
}

// ---- settlement: gas is exact, so it is no measurement ----
function settlement() {
  if (!existsSync(options.gas)) return undefined
  const gas = Object.fromEntries([...readFileSync(options.gas, 'utf8').matchAll(/test_gas(\w+)\(\) \(gas: (\d+)\)/g)].map(([, name, value]) => [name, Number(value)]))
  const rows = Object.entries(gas).map(([name, value]) => [`${name.replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase()}`, `${number(value)} gas`])
  return { title: 'Settlement', rows, note: 'Gas of one call of the escrow, of any server. Farebox sends up to 32 claims in a transaction and leaves alone what brings less than ten times its fee; `scripts/contracts.sh gas` holds the contract to these figures.' }
}

// ---- memory and start ----
function start() {
  const rows = []
  const reopened = (measured.books?.data ?? []).filter((one) => one.case === 'reopen')
  for (const one of reopened) rows.push([`${number(one.channels)} channels after a kill: requests are taken after`, `${number(one.start_s)} s`], [`${number(one.channels)} channels after a kill: memory`, mib(one.rss_bytes)])
  const full = (measured.books?.data ?? []).find((one) => one.case === 'batch' && one.channels === 1_000_000) ?? (measured.books?.data ?? []).find((one) => one.case === 'batch')
  if (full) rows.push([`memory a channel, ${number(full.channels)} in memory, ${number(full.signers)} signers with tables`, `${number(full.rss_bytes_per_channel)} B`])
  if (existsSync(options.program)) {
    const times = Array.from({ length: STARTS }, () => {
      const begin = process.hrtime.bigint()
      execFileSync(options.program, ['--version'])
      return Number(process.hrtime.bigint() - begin) / 1e6
    }).sort((one, other) => one - other)
    rows.push(['the program itself: start to end of `--version`, median', `${number(times[STARTS >> 1])} ms`], ['the program itself: size', mib(statSync(options.program).size)])
  }
  return rows.length ? { title: 'Memory and start', rows } : undefined
}

// ---- the page ----
mkdirSync(options.to, { recursive: true })
const compared = [verification(), books('books', 'Books'), books('books-slow', 'Books, every sync 4 ms slower'), http()].filter(Boolean)
const HEAD = ['what', 'Farebox', 'best peer', 'result', 'why']
const all = compared.flatMap(({ rows }) => rows)
const behind = all.filter(({ isBehind }) => isBehind)
const missing = Object.entries(COMMANDS).filter(([name]) => !measured[name])
const parts = [
  '# Benchmarks, on one page',
  '<!-- Written by `make bench-docs`. -->',
  `${machine}. Page made at commit ${commit}; each part says when it was measured and by which command. Farebox and its peers run in the same run, on the same machine; the pages behind say how.`,
  behind.length
    ? `Of ${all.length} rows, Farebox is ahead or has no peer in ${all.length - behind.length}, and behind in ${behind.length}:\n\n${behind.map(({ cells }) => `- ${cells[0]}: ${cells[1]} against ${cells[2]}. ${cells[4] ? `Why: ${cells[4]}.` : ''}`.trim()).join('\n')}`
    : all.length ? `Farebox is ahead or has no peer in all of the ${all.length} rows.` : 'Nothing was measured yet: `make bench`.',
]
if (missing.length) parts.push(`Not measured here: ${missing.map(([name, command]) => `${name} (\`${command}\`)`).join(', ')}.`)
for (const { title, date, command, more, rows, notes = [], plot } of compared) {
  const [file, picture] = plot
  writeFileSync(join(options.to, file), picture)
  parts.push(`## ${title}`, `\`${command}\`, ${date}.${more ? ` [How, and all figures](${more})` : ''}`, `![${title}](${file})`, markdown(HEAD, rows.map(({ cells }) => cells)), ...notes)
}
for (const part of [settlement(), start()].filter(Boolean)) parts.push(`## ${part.title}`, ...(part.note ? [part.note] : []), markdown(['what', 'figure'], part.rows))
const small = section(readHistory(options.history))
if (small) parts.push(small)
writeFileSync(join(options.to, 'README.md'), `${parts.join('\n\n')}\n`)
console.log(`${join(options.to, 'README.md')}: ${all.length} rows, ${behind.length} behind`)
