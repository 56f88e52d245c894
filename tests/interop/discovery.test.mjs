// `mppx validate` looks at a server from outside: what it says of itself, its challenges, and what it answers to bad payments.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { ROUTES, SUGGESTED_DEPOSIT, startWorld } from './world.mjs'

let world
before(async () => {
  const tools = { path: '/mcp', amount: 10n, unit: 'call', meter: 'request', transport: 'mcp', suggestedDeposit: SUGGESTED_DEPOSIT }
  const config = { routes: [tools, ...ROUTES], realm: '127.0.0.1', discovery: { title: 'Quotes' } }
  world = await startWorld({ config })
})
after(() => world?.stop())

test('mppx validate passes every check', async () => {
  const run = promisify(execFile)('node_modules/.bin/mppx', ['validate', world.url, '--output-json'], { timeout: 60_000 })
  const { stdout } = await run.catch((error) => error)
  const result = JSON.parse(stdout)
  assert.ok(result.discovery.found, stdout)
  assert.equal(result.summary.failed, 0, stdout)
  assert.ok(result.endpoints.length >= 3, stdout)
  assert.ok(result.summary.passed >= 20, stdout)
})
