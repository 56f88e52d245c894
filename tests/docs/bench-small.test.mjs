// The history of the small benchmarks: what criterion leaves is read, changes are told from noise, and other processors'
// figures are never compared.
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { change, changes, collect, lastOf, readHistory, section, time, withSection } from '../../scripts/bench-history.mjs'

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const HISTORY = join(REPOSITORY, 'benches/history/criterion.jsonl')

const record = (commit, cpu, cases) => ({ date: '2026-11-22', commit, cpu, rustc: 'rustc 1.95.0', cases })
const ns = (medianNs, lowNs, highNs) => ({ medianNs, lowNs, highNs })

test('criterion\'s folder is read: this run\'s figures, not those of the one before', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-criterion-'))
  try {
    for (const [run, median] of [['new', 1_234.56], ['base', 9_999]]) {
      const place = join(folder, 'header_to voucher', run)
      await mkdir(place, { recursive: true })
      await writeFile(join(place, 'benchmark.json'), JSON.stringify({ group_id: 'header/to voucher', full_id: 'header/to voucher' }))
      const estimate = (value) => ({ confidence_interval: { confidence_level: 0.95, lower_bound: value - 1, upper_bound: value + 1 }, point_estimate: value, standard_error: 0.5 })
      await writeFile(join(place, 'estimates.json'), JSON.stringify({ mean: estimate(7), median: estimate(median) }))
    }
    assert.deepEqual(collect(folder), { 'header/to voucher': ns(1_235, 1_234, 1_236) })
    assert.deepEqual(collect(join(folder, 'nowhere')), {})
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('a change is sure where the intervals do not overlap', () => {
  const before = record('a', 'one', { slower: ns(100, 98, 102), noisy: ns(100, 90, 110), faster: ns(100, 99, 101) })
  const found = changes(before, { slower: ns(110, 108, 112), noisy: ns(105, 95, 115), faster: ns(50, 49, 51), added: ns(1, 1, 1) })
  assert.equal(change(found.slower), '+10.0 %')
  assert.equal(change(found.noisy), '+5.0 % (unsure)')
  assert.equal(change(found.faster), '-50.0 %')
  assert.equal(change(found.added), 'new')
})

test('only the same processor is compared with', () => {
  const records = [record('a', 'one', { part: ns(100, 99, 101) }), record('b', 'another', { part: ns(10, 9, 11) }), record('c', 'one', { part: ns(200, 199, 201) })]
  assert.equal(lastOf(records, 'another').commit, 'b')
  assert.equal(lastOf(records, 'a third'), undefined)
  const text = section(records)
  assert.match(text, /commit c, one\.\n/)
  assert.match(text, /since commit a /)
  assert.match(text, /\n\| part \| 200 ns \| 199 ns to 201 ns \| \+100\.0 % \|$/)
  assert.match(section(records.slice(0, 2)), /no earlier record of this processor/)
  assert.equal(section([]), undefined)
})

test('the page gets the section of now, and keeps everything else', () => {
  const [first, second] = [[record('a', 'one', { part: ns(100, 99, 101) })], [record('b', 'one', { part: ns(9, 8, 10) })]]
  const page = '# Benchmarks\n\ntext\n\n## Memory\n\nmore\n'
  const once = withSection(page, first)
  assert.equal(once, `${page}\n${section(first)}\n`)
  assert.equal(withSection(once, second), `${page}\n${section(second)}\n`)
  assert.equal(withSection(`${once}\n## After\n\nrest\n`, second), `${page}\n${section(second)}\n\n## After\n\nrest\n`)
})

test('times have three digits and a unit', () => {
  assert.deepEqual([7.891, 123.4, 1_234, 45_678, 345_678, 2_345_678].map(time), ['7.89 ns', '123 ns', '1.23 µs', '45.7 µs', '346 µs', '2.35 ms'])
})

test('a damaged line is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-history-'))
  try {
    const file = join(folder, 'criterion.jsonl')
    await writeFile(file, `${JSON.stringify(record('a', 'one', {}))}\n{"date":\n`)
    assert.throws(() => readHistory(file), /criterion\.jsonl, line 2: found "\{\\"date\\":"/)
    assert.deepEqual(readHistory(join(folder, 'none')), [])
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('the kept records are whole, and the page shows the newest', async () => {
  const records = readHistory(HISTORY)
  assert.ok(records.length >= 1, 'a record is kept')
  for (const { date, commit, cpu, rustc, cases } of records) {
    assert.match(date, /^\d{4}-\d\d-\d\d$/)
    assert.match(commit, /^[0-9a-f]{7,}\+?$/)
    assert.ok(cpu && rustc.startsWith('rustc '), commit)
    for (const [name, { medianNs, lowNs, highNs }] of Object.entries(cases)) assert.ok(0 < lowNs && lowNs <= medianNs && medianNs <= highNs, `${commit}: ${name}`)
  }
  const page = await readFile(join(REPOSITORY, 'docs/benchmarks/README.md'), 'utf8')
  assert.ok(page.includes(section(records)), 'the page shows the newest record')
})
