// The Python client before a real server; a part of `make test-long`, because its package comes from PyPI.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { REQUEST_PRICE, assertBooksAgree, startWorld } from '../interop/world.mjs'

const run = promisify(execFile)
const EXAMPLE = 'examples/python-client'
const TIMES = 4

test('a client in plain Python opens, pays and closes', { timeout: 240_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-python-'))
  const world = await startWorld()
  try {
    let python = process.env.FAREBOX_PYTHON
    if (!python) {
      await run('python3', ['-m', 'venv', join(folder, 'venv')])
      python = join(folder, 'venv/bin/python')
      await run(python, ['-m', 'pip', 'install', '--quiet', '--requirement', join(EXAMPLE, 'requirements.txt')])
    }
    const { rpcUrl, chainId, token, accounts } = world.net
    const net = join(folder, 'devnet.json')
    await writeFile(net, JSON.stringify({ rpcUrl, chainId, token, accounts }))
    const before = await world.balances()
    const { stdout } = await run(python, [join(EXAMPLE, 'pay.py'), net, `${world.url}/v1/quote`, String(TIMES)])
    const [, id] = stdout.match(/channel (0x[0-9a-f]{64}) closed on chain in 0x[0-9a-f]{64}/) ?? assert.fail(stdout)
    assert.equal(stdout.match(/base units so far/g).length, TIMES)
    const owed = BigInt(TIMES) * REQUEST_PRICE
    assertBooksAgree(assert, { before, after: await world.balances(), channel: await world.channel(id), owed })
  } finally {
    await world.stop()
    await rm(folder, { recursive: true, force: true })
  }
})
