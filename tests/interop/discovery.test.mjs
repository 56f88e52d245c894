// `mppx validate` looks at a server from outside: what it says of itself, its challenges, and what it answers to bad payments.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { ROUTES, SUGGESTED_DEPOSIT, startWorld } from './world.mjs'

/** On any other chain it wants money from a public faucet; here it looks and does not pay. The other files pay. */
const MAINNET = '4217'

let world
before(async () => {
  const tools = { path: '/mcp', amount: 10n, unit: 'call', meter: 'request', transport: 'mcp', suggestedDeposit: SUGGESTED_DEPOSIT }
  const config = { routes: [tools, ...ROUTES], realm: '127.0.0.1', discovery: { title: 'Quotes' } }
  world = await startWorld({ config, devnet: ['--chain-id', MAINNET] })
})
after(() => world?.stop())

test('mppx validate finds nothing wrong', async () => {
  // Whoever runs this may have accounts of his own: they are none of its business.
  const env = { PATH: process.env.PATH, HOME: world.folder, XDG_CONFIG_HOME: world.folder, XDG_STATE_HOME: world.folder }
  const command = ['validate', world.url, '--output-json']
  const run = promisify(execFile)('node_modules/.bin/mppx', command, { timeout: 60_000, env })
  const { stdout } = await run.catch((error) => error)
  const result = JSON.parse(stdout)
  assert.ok(result.discovery.found && result.discovery.valid, stdout)
  assert.equal(result.endpoints.length, 5, stdout)
  assert.equal(result.summary.failed, 0, stdout)
  assert.equal(result.summary.warnings, 0, stdout)
  for (const { errorHandling } of result.endpoints) assert.ok(errorHandling.length >= 2, stdout)
})
