// The legacy client of mppx pays through the same server with the v1 escrow contract.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { REQUEST_PRICE, TOKEN_PRICE, assertBooksAgree, legacySession, startWorld } from './world.mjs'

let world
before(async () => void (world = await startWorld()))
after(() => world?.stop())

test('requests, a stream, close', async () => {
  const start = await world.balances(world.net.escrowV1)
  const session = legacySession(world)
  let owed = 0n
  for (let n = 1; n <= 3; n += 1) {
    const response = await session.fetch(`${world.url}/v1/quote?n=${n}`)
    assert.equal(response.status, 200)
    owed += REQUEST_PRICE
    assert.equal(BigInt(response.receipt.spent), owed)
  }
  let tokens = 0
  for await (const _event of await session.sse(`${world.url}/v1/chat?tokens=120`)) tokens += 1
  assert.equal(tokens, 120)
  owed += 120n * TOKEN_PRICE
  const channel = await world.channel(session.channelId)
  assert.equal(channel.protocol, 'v1')
  const receipt = await session.close()
  assert.match(receipt.txHash, /^0x[0-9a-f]{64}$/)
  const end = await world.balances(world.net.escrowV1)
  assertBooksAgree(assert, { before: start, after: end, channel: await world.channel(session.channelId), owed })
})
