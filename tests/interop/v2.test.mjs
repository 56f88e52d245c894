// The mppx client pays through Farebox with the v2 channel reserve: open, vouchers, stream, top-up, close.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { tempo } from 'mppx/client'
import { changes, walletFor } from '../../demo/chain.mjs'
import { REQUEST_PRICE, SUGGESTED_DEPOSIT, TOKEN_PRICE, assertBooksAgree, startWorld } from './world.mjs'

let world
before(async () => void (world = await startWorld()))
after(() => world?.stop())

const manager = (account) => tempo.session.manager({ client: walletFor(world.net, account.privateKey), maxDeposit: '1' })

test('requests, a stream with a top-up in the middle, close', async () => {
  const start = await world.balances()
  const session = manager(world.payer)
  let owed = 0n
  for (let n = 1; n <= 3; n += 1) {
    const response = await session.fetch(`${world.url}/v1/quote?n=${n}`)
    assert.equal(response.status, 200)
    assert.equal((await response.json()).n, String(n))
    owed += REQUEST_PRICE
    assert.match(response.headers.get('cache-control'), /private/)
    assert.equal(BigInt(response.receipt.spent), owed)
    assert.equal(BigInt(response.receipt.acceptedCumulative), owed)
    assert.equal(response.receipt.units, 1)
    assert.equal(response.receipt.reference, session.channelId.toLowerCase())
  }
  const receipts = []
  let tokens = 0
  const stream = await session.sse(`${world.url}/v1/chat?tokens=500`, { onReceipt: (receipt) => receipts.push(receipt) })
  for await (const event of stream) {
    assert.equal(JSON.parse(event).index, tokens)
    tokens += 1
  }
  assert.equal(tokens, 500)
  owed += 500n * TOKEN_PRICE
  assert.equal(BigInt(receipts.at(-1).spent), owed, 'the last receipt tells the whole amount')
  assert.equal(receipts.at(-1).units, 500)

  const open = await world.channel(session.channelId)
  assert.equal(open.phase, 'open')
  assert.ok(BigInt(open.deposit) > SUGGESTED_DEPOSIT, 'the stream topped up the channel')
  const receipt = await session.close()
  assert.match(receipt.txHash, /^0x[0-9a-f]{64}$/)
  assertBooksAgree(assert, { before: start, after: await world.balances(), channel: await world.channel(session.channelId), owed })
  assert.equal(world.upstream.seen.authorizations, 0, 'payment credentials do not reach the upstream')
})

test('a failing upstream is free', async () => {
  const session = manager(world.payer)
  assert.equal((await session.fetch(`${world.url}/v1/quote`)).status, 200)
  const before = await world.channel(session.channelId)
  const response = await session.fetch(`${world.url}/v1/fail`)
  assert.equal(response.status, 500)
  assert.equal(response.headers.get('payment-receipt'), null)
  const channel = await world.channel(session.channelId)
  assert.equal(channel.spent, before.spent)
  assert.equal(channel.reserved, '0')
  // What was authorized for the failed request pays for the next one; close captures only what was spent.
  const start = await world.balances()
  await session.close()
  const end = await world.balances()
  assert.equal(changes(start, end).payee.paid, REQUEST_PRICE)
})

test('two payers at once, each with their own channel', async () => {
  const start = await world.balances()
  const sessions = [manager(world.payer), manager(world.stranger)]
  const counts = await Promise.all(
    sessions.map(async (session) => {
      let tokens = 0
      for await (const _event of await session.sse(`${world.url}/v1/chat?tokens=60`)) tokens += 1
      return tokens
    }),
  )
  assert.deepEqual(counts, [60, 60])
  await Promise.all(sessions.map((session) => session.close()))
  const end = await world.balances()
  const moved = changes(start, end)
  assert.equal(moved.payee.paid, 120n * TOKEN_PRICE)
  assert.equal(moved.escrow.change, 0n)
})
