// Killed in mid-stream and started again, the server goes on with the same books.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { tempo } from 'mppx/client'
import { changes, walletFor } from '../../demo/chain.mjs'
import { REQUEST_PRICE, TOKEN_PRICE, startWorld, until } from './world.mjs'

let world
before(async () => void (world = await startWorld()))
after(() => world?.stop())

test('SIGKILL in mid-stream: no acknowledged voucher is lost, the next voucher is taken, the close is exact', async () => {
  const start = await world.balances()
  const session = tempo.session.manager({ client: walletFor(world.net, world.payer.privateKey), maxDeposit: '1' })
  assert.equal((await session.fetch(`${world.url}/v1/quote`)).status, 200)

  let tokens = 0
  let killed
  await assert.rejects(async () => {
    for await (const _event of await session.sse(`${world.url}/v1/chat?tokens=2000&delay_ms=2`)) {
      tokens += 1
      if (tokens === 80) killed = world.server.kill()
    }
  }, 'the stream breaks when the server dies')
  await killed
  const received = REQUEST_PRICE + BigInt(tokens) * TOKEN_PRICE

  await world.startServer()
  const again = await until('the books are back', () => world.channel(session.channelId))
  assert.ok(BigInt(again.spent) >= received, `spent ${again.spent} covers the ${received} that the client received`)
  assert.ok(BigInt(again.accepted) >= BigInt(again.spent))
  assert.equal(again.reserved, '0', 'nobody is left to deliver to, so nothing stays reserved')

  const response = await session.fetch(`${world.url}/v1/quote`)
  assert.equal(response.status, 200, 'the next voucher is accepted')
  const spent = BigInt(again.spent) + REQUEST_PRICE
  assert.equal(BigInt((await world.channel(session.channelId)).spent), spent)
  await session.close()
  const moved = changes(start, await world.balances())
  assert.equal(moved.payee.paid, spent)
  assert.equal(moved.payer.paid, -spent)
  assert.equal(moved.escrow.change, 0n)
})

test('SIGTERM drains: a running stream ends in order, and the store opens again', async () => {
  const before = await world.channels()
  const { code } = await world.server.stop()
  assert.equal(code, 0)
  await world.startServer()
  assert.deepEqual(await world.channels(), before)
})
