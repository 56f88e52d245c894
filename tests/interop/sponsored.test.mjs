// The server pays the fees of opens and top-ups: the mppx client signs for a fee payer and needs no money for fees.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { tempo } from 'mppx/client'
import { changes, walletFor } from '../../demo/chain.mjs'
import { REQUEST_PRICE, ROUTES, SUGGESTED_DEPOSIT, TOKEN_PRICE, assertBooksAgree, legacySession, startWorld } from './world.mjs'

let world
before(async () => {
  const routes = [{ ...ROUTES[1], path: '/v1/unsponsored', keys: 'sponsored = false' }, ...ROUTES]
  world = await startWorld({ sponsored: {}, config: { routes } })
})
after(() => world?.stop())

const metrics = async () => (await fetch(`http://${world.server.adminListen}/metrics`)).text()

test('v2: an open and a top-up cost the payer nothing but what was spent', async () => {
  const start = await world.balances()
  const session = tempo.session.manager({ client: walletFor(world.net, world.payer.privateKey), maxDeposit: '1' })
  assert.equal((await session.fetch(`${world.url}/v1/quote`)).status, 200)
  let tokens = 0
  for await (const _event of await session.sse(`${world.url}/v1/chat?tokens=500`)) tokens += 1
  assert.equal(tokens, 500)
  const owed = REQUEST_PRICE + 500n * TOKEN_PRICE
  const open = await world.channel(session.channelId)
  assert.ok(BigInt(open.deposit) > SUGGESTED_DEPOSIT, 'the stream topped up the channel')
  await session.close()
  const end = await world.balances()
  assertBooksAgree(assert, { before: start, after: end, channel: await world.channel(session.channelId), owed })
  const moved = changes(start, end)
  assert.equal(moved.payer.fees, 0n, 'the payer paid no fees')
  assert.equal(moved.payer.change, -owed)
  assert.ok(moved.sponsor.change < 0n && moved.sponsor.change >= -200_000n, `the sponsor paid ${-moved.sponsor.change}`)
  const text = await metrics()
  assert.match(text, /farebox_sponsored_total\{action="open",result="paid"\} 1/)
  assert.match(text, /farebox_sponsored_total\{action="topUp",result="paid"\} [1-9]/)
  assert.match(text, /farebox_sponsor_fees_total [1-9]/)
})

test('v1: the same for an approval and an open', async () => {
  const start = await world.balances(world.net.escrowV1)
  const session = legacySession(world)
  assert.equal((await session.fetch(`${world.url}/v1/quote`)).status, 200)
  await session.close()
  const moved = changes(start, await world.balances(world.net.escrowV1))
  assert.equal(moved.payer.fees, 0n)
  assert.equal(moved.payer.change, -REQUEST_PRICE)
  assert.ok(moved.sponsor.change < 0n)
})

test('a route that does not sponsor says so, and its client pays', async () => {
  const start = await world.balances()
  const session = tempo.session.manager({ client: walletFor(world.net, world.stranger.privateKey), maxDeposit: '1' })
  const refused = await fetch(`${world.url}/v1/unsponsored`)
  const request = /request="([^"]+)"/.exec(refused.headers.get('www-authenticate'))[1]
  assert.equal(JSON.parse(Buffer.from(request, 'base64url')).methodDetails.feePayer, undefined)
  assert.equal((await session.fetch(`${world.url}/v1/unsponsored`)).status, 200)
  await session.close()
  assert.equal(changes(start, await world.balances()).sponsor.change, 0n)
})
