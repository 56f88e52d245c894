// A route that takes a charge beside the session: the mppx charge client pays one request with one transfer. And a session
// client that lost its channel asks with HEAD, proves its account, and is told of the channel that it has.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Mppx, tempo } from 'mppx/client'
import { changes, walletFor } from '../../demo/chain.mjs'
import { REQUEST_PRICE, ROUTES, startWorld } from './world.mjs'

const CHARGE = 2_000n

let world
before(async () => {
  const routes = ROUTES.map((route) => ({ ...route, keys: `charge = "${CHARGE}"` }))
  world = await startWorld({ sponsored: {}, config: { routes } })
})
after(() => world?.stop())

const payer = (account) => {
  const seen = []
  const client = walletFor(world.net, account.privateKey)
  const mppx = Mppx.create({
    polyfill: false,
    methods: [tempo.charge({ account: client.account, getClient: () => client })],
    fetch: (input, init) => {
      const header = new Headers(init?.headers).get('authorization')
      if (header) seen.push(header)
      return fetch(input, init)
    },
  })
  return { mppx, seen }
}

test('one transfer pays for one request, and its fees are paid', async () => {
  const start = await world.balances()
  const { mppx, seen } = payer(world.payer)
  for (let n = 1; n <= 2; n += 1) {
    const response = await mppx.fetch(`${world.url}/v1/quote?n=${n}`)
    assert.equal(response.status, 200)
    assert.equal((await response.json()).n, String(n))
    const receipt = JSON.parse(Buffer.from(response.headers.get('payment-receipt'), 'base64url'))
    assert.equal(receipt.status, 'success')
    assert.match(receipt.reference, /^0x[0-9a-f]{64}$/)
  }
  const moved = changes(start, await world.balances())
  assert.equal(moved.payee.paid, 2n * CHARGE)
  assert.equal(moved.payer.change, -2n * CHARGE, 'the payer paid no fees')
  assert.ok(moved.sponsor.change < 0n)
  assert.deepEqual((await world.channels()).channels ?? [], [], 'no channel was opened')

  const again = await fetch(`${world.url}/v1/quote`, { headers: { authorization: seen.at(-1) } })
  assert.equal(again.status, 402, 'a credential is delivered once')
  const late = await world.balances()
  assert.equal(changes(start, late).payee.paid, 2n * CHARGE)
})

test('a delivered charge stays delivered after a restart', async () => {
  const { mppx, seen } = payer(world.stranger)
  assert.equal((await mppx.fetch(`${world.url}/v1/quote`)).status, 200)
  await world.server.stop()
  await world.startServer()
  const again = await fetch(`${world.url}/v1/quote`, { headers: { authorization: seen.at(-1) } })
  assert.equal(again.status, 402)
})

test('a client that lost its channel proves its account and is told of the channel that it has', async () => {
  const manager = (options) =>
    tempo.session.manager({ client: walletFor(world.net, world.payer.privateKey), maxDeposit: '1', ...options })
  const first = manager()
  assert.equal((await first.fetch(`${world.url}/v1/quote`)).status, 200)
  const told = []
  const real = globalThis.fetch
  globalThis.fetch = async (input, init) => {
    const response = await real(input, init)
    if (init?.method === 'HEAD' && response.status === 204) told.push(response.headers)
    return response
  }
  try {
    assert.equal((await manager({ bootstrap: true }).fetch(`${world.url}/v1/quote`)).status, 200)
  } finally {
    globalThis.fetch = real
  }
  assert.equal(told.length, 1, 'the client proved its account once')
  assert.equal(told[0].get('payment-session'), first.channelId)
  const snapshot = JSON.parse(Buffer.from(told[0].get('payment-session-snapshot'), 'base64url'))
  assert.equal(snapshot.channelId, first.channelId)
  assert.equal(BigInt(snapshot.acceptedCumulative), REQUEST_PRICE)
  await first.close()
})
