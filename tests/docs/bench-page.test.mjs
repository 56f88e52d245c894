// The page of the benchmarks, made from figures that were never measured: what is ahead, what is behind and why, what is missing.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

const HERE = dirname(fileURLToPath(import.meta.url))
const REPOSITORY = resolve(HERE, '../..')

async function made(from) {
  const to = await mkdtemp(join(tmpdir(), 'farebox-bench-'))
  const env = { ...process.env, BENCH_COMMIT: 'abc1234', BENCH_MACHINE: 'a machine, 2 cores' }
  execFileSync('node', ['scripts/bench-page.mjs', '--from', from, '--to', to, '--program', '/nowhere/farebox'], { cwd: REPOSITORY, env })
  return { to, page: await readFile(join(to, 'README.md'), 'utf8') }
}

test('each row says ahead, or behind and why', async () => {
  const { to, page } = await made(join(HERE, 'bench'))
  try {
    assert.match(page, /a machine, 2 cores\. Page made at commit abc1234/)
    assert.match(page, /\| a voucher, batches of 1,024, AVX-512 \| 2\.00 µs|\| a voucher, batches of 1,024, AVX-512 \| 2 µs/)
    assert.match(page, /AVX-512 \| [\d.]+ µs \| 40[.\d]* µs \(libsecp256k1, recovery\) \| ahead, 20[.\d]* × \|/)
    assert.match(page, /durable vouchers, many callers \| 500,000\/s \| 5,000\/s \(RocksDB, a sync each\) \| ahead, 100 × \|/)
    assert.match(page, /one caller who waits for each answer \| 2,500\/s \| 5,000\/s \(RocksDB, a sync each\) \| \*\*behind\*\*, 2[.0]* × \| \S/)
    assert.match(page, /Farebox, layer, 32 at once: processor time of each \| 100 µs \| 400 µs \(mppx, memory\) \| ahead, 4[.0]* ×/)
    assert.match(page, /Farebox is ahead or has no peer in \d+, and behind in 2:\n\n- a signer's first voucher/)
    assert.match(page, /Not measured here: books-slow \(`make bench-books SYNC_US=4000`\)/)
    assert.match(page, /\| settle \| 7[\d,]+ gas \|/)
    assert.match(page, /100,000 channels after a kill: memory \| 150 MiB/)
    const pictures = (await readdir(to)).filter((name) => name.endsWith('.svg'))
    assert.equal(pictures.length, 3)
    for (const name of pictures) {
      assert.ok(page.includes(`](${name})`), name)
      const picture = await readFile(join(to, name), 'utf8')
      assert.match(picture, /^<svg [^>]*role="img" aria-label="[^"]+/)
      assert.doesNotMatch(picture, /NaN|undefined|Infinity|"-\d/)
      assert.ok((picture.match(/class="o"/g) ?? []).length >= 1, 'ours is in it')
    }
  } finally {
    await rm(to, { recursive: true, force: true })
  }
})

test('nothing is made up: without measurements there are no rows', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'farebox-bench-empty-'))
  const { to, page } = await made(empty)
  try {
    assert.doesNotMatch(page, /ahead,|behind\*\*/)
    assert.match(page, /Not measured here: verify .*books .*books-slow .*http/)
  } finally {
    await rm(to, { recursive: true, force: true })
    await rm(empty, { recursive: true, force: true })
  }
})

test('every page of the benchmarks that the manual names is there', async () => {
  const page = await readFile(join(REPOSITORY, 'docs/benchmarks/README.md'), 'utf8')
  for (const [, target] of page.matchAll(/\]\(([^)#]+)\)/g)) await readFile(join(REPOSITORY, 'docs/benchmarks', target))
})
