// `make demo`: a real client pays per request and per token through Farebox, and the money arrives.
//
// Starts a local chain, an upstream that streams tokens, and Farebox between it and the client; the
// client is the mppx package from npm. At the end the books, the chain and what the client received
// are compared to the last base unit. Exit code 0 only if they agree.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tempo } from 'mppx/client'
import { changes, reader, walletFor } from './chain.mjs'
import { writeConfig } from './config.mjs'
import { startJsonProgram } from './process.mjs'
import { line, liveTable } from './table.mjs'
import { startUpstream } from './upstream.mjs'

const FAREBOX = process.env.FAREBOX_BIN ?? 'target/debug/farebox'
const REQUESTS = 4
const REQUEST_PRICE = 1_000n
const TOKENS = 500
const TOKEN_PRICE = 25n
// About the speed of a fast model; slow enough to watch the books.
const TOKEN_DELAY_MS = 10
// Small on purpose: the stream has to top up the channel in the middle.
const SUGGESTED_DEPOSIT = 10_000n

const routes = [
  { path: '/v1/chat', amount: TOKEN_PRICE, unit: 'llm_token', meter: 'sse_event', suggestedDeposit: SUGGESTED_DEPOSIT },
  { path: '/v1/quote', amount: REQUEST_PRICE, unit: 'request', meter: 'request', suggestedDeposit: SUGGESTED_DEPOSIT },
]

const cleanUps = []
const say = (text) => console.log(text)

async function main() {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-demo-'))
  cleanUps.push(() => rm(folder, { recursive: true, force: true }))

  say('starting a local Tempo chain, an upstream and farebox …')
  const net = await startJsonProgram(FAREBOX, ['devnet', '--port', '0'])
  cleanUps.push(() => net.stop())
  const upstream = await startUpstream()
  cleanUps.push(() => upstream.stop())
  const [payer, payee] = net.accounts.slice(1)
  const config = await writeConfig(folder, { net, upstreamUrl: upstream.url, payee, routes })
  const server = await startJsonProgram(FAREBOX, ['serve', '-c', config])
  cleanUps.push(() => server.stop())
  const url = `http://${server.listen}`
  say(`  chain     ${net.rpcUrl} (id ${net.chainId})`)
  say(`  upstream  ${upstream.url}`)
  say(`  farebox   ${url}   admin http://${server.adminListen}\n`)

  const chain = reader(net)
  const balances = () => chain.accounts({ payer: payer.address, payee: payee.address, escrow: net.escrowV2 })
  const before = await balances()

  const delivered = { requests: 0, tokens: 0 }
  const owed = () => BigInt(delivered.requests) * REQUEST_PRICE + BigInt(delivered.tokens) * TOKEN_PRICE
  const session = tempo.session.manager({ client: walletFor(net, payer.privateKey), maxDeposit: '1' })
  const books = async () => {
    if (!session.channelId) return undefined
    const response = await fetch(`http://${server.adminListen}/v1/channels/${session.channelId}`)
    return response.ok ? response.json() : undefined
  }

  const table = liveTable('mppx pays through farebox (base units; 1,000,000 are one pathUSD)')
  const draw = async (final = false) => {
    const channel = await books()
    table.update(
      [
        ['delivered', owed(), `${delivered.requests} requests, ${delivered.tokens} tokens`],
        ['accepted', channel?.accepted, 'the highest voucher'],
        ['spent', channel?.spent, 'charged, durable before delivery'],
        ['deposit', channel?.deposit, 'locked on chain'],
        ['settled', channel?.settled, channel ? `channel ${channel.phase}` : 'no channel yet'],
      ],
      final,
    )
    return channel
  }
  let drawing = Promise.resolve()
  const timer = setInterval(() => (drawing = drawing.then(() => draw()).catch(() => {})), 150)
  cleanUps.push(() => clearInterval(timer))

  for (let n = 0; n < REQUESTS; n += 1) {
    const response = await session.fetch(`${url}/v1/quote?n=${n}`)
    if (response.status !== 200) throw new Error(`request ${n}: ${response.status} ${await response.text()}`)
    await response.json()
    delivered.requests += 1
  }
  for await (const _token of await session.sse(`${url}/v1/chat?tokens=${TOKENS}&delay_ms=${TOKEN_DELAY_MS}`)) delivered.tokens += 1
  const open = await books()
  const receipt = await session.close()
  clearInterval(timer)
  await drawing
  const closed = await draw(true)
  const after = await balances()

  report({ before, after, open, closed, receipt, delivered, owed: owed() })
}

/** Prints what happened and throws unless the books, the chain and the client's count agree. */
function report({ before, after, open, closed, receipt, delivered, owed }) {
  const moved = changes(before, after)
  const captured = BigInt(closed.captured)
  const refunded = BigInt(closed.refunded)
  say('\nwhat happened')
  say(line('delivered', owed, `${delivered.requests} requests at ${REQUEST_PRICE}, ${delivered.tokens} tokens at ${TOKEN_PRICE}`))
  say(line('accepted', closed.accepted))
  say(line('spent', closed.spent))
  say(line('deposit', closed.deposit, `opened with ${SUGGESTED_DEPOSIT}, topped up in the middle of the stream`))
  say(line('settled', captured, `on chain, ${receipt?.txHash ?? 'no transaction'}`))
  say(line('refunded', refunded, 'to the payer'))
  say(`\n  balances on chain${['before', 'after', 'network fees', 'paid or received'].map((head) => head.padStart(22)).join('')}`)
  for (const who of ['payer', 'payee', 'escrow']) {
    const cells = [before[who].balance, after[who].balance, -moved[who].fees, moved[who].paid]
    say(`  ${who.padEnd(17)}${cells.map((value) => String(value).padStart(22)).join('')}`)
  }
  const checks = {
    'every request and token was delivered': delivered.requests === REQUESTS && delivered.tokens === TOKENS,
    'spent is what was delivered': BigInt(closed.spent) === owed,
    'the channel was topped up in the middle': BigInt(closed.deposit) > SUGGESTED_DEPOSIT && open.phase === 'open',
    'the payee was paid exactly what was spent': moved.payee.paid === owed && captured === owed,
    'the payer paid exactly what was spent': moved.payer.paid === -owed,
    'the rest was refunded': refunded === BigInt(closed.deposit) - captured,
    'nothing is left in the escrow': moved.escrow.change === 0n,
    'the channel is closed in the books': closed.phase === 'closed',
  }
  say('')
  for (const [check, holds] of Object.entries(checks)) say(`  ${holds ? 'ok ' : 'NO '} ${check}`)
  if (!Object.values(checks).every(Boolean)) throw new Error('the books do not agree')
  say('\nbooks agree')
}

let failed = false
try {
  await main()
} catch (error) {
  failed = true
  console.error(`\ndemo failed: ${error.stack ?? error}`)
} finally {
  for (const cleanUp of cleanUps.reverse()) await Promise.resolve(cleanUp()).catch(() => {})
}
process.exit(failed ? 1 : 0)
