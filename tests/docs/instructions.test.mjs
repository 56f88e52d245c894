// The guard on instruction counts: it reads callgrind's files, and names what grew.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { compare, parse } from '../../scripts/instructions.mjs'

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '../..')

const FILE = `version: 1
events: Ir

fl=(1) a.rs
fn=(1) field::multiply::h0123456789abcdef
10 700
12 50

fn=(2) table::sum
20 200
cfn=(1)
calls=3 10
21 750
22 50
cfn=(3) memcpy
calls=1 0
23 9

fn=(3)
0 9

totals: 1009
`

test('costs are counted once, where they are spent', () => {
  assert.deepEqual(parse(FILE), { total: 1_009, functions: { 'field::multiply': 750, 'table::sum': 250, memcpy: 9 } })
})

test('three percent pass, more does not, and the function is named', () => {
  const before = { verify: { total: 1_000, functions: { multiply: 700, sum: 300 } } }
  const at = (multiply, sum) => ({ verify: { total: multiply + sum, functions: { multiply, sum } } })
  assert.deepEqual(compare(before, at(730, 300)), [])
  assert.deepEqual(compare(before, at(500, 300)), [], 'less is fine')
  const [what, where, ...rest] = compare(before, at(740, 300))
  assert.match(what, /^verify: found 1040 instructions, expected at most 3 % above 1000 \(\+4\.0 %\)$/)
  assert.match(where, /multiply: 700 -> 740/)
  assert.deepEqual(rest, [], 'what did not grow is not named')
  assert.match(compare({}, at(1, 1))[0], /found no count/)
})

test('every case has a count to be held to', async () => {
  const { cases, history } = JSON.parse(await readFile(join(REPOSITORY, 'benches/history/instructions.json'), 'utf8'))
  for (const name of ['verify_known', 'verify_second', 'verify_alone', 'digest']) assert.ok(cases[name].total > 1_000 && Object.keys(cases[name].functions).length > 0, name)
  assert.ok(history.length >= 1)
})
