// The mppx client pays for messages on a WebSocket: open, vouchers on the socket, a top-up, close on the socket.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { tempo } from 'mppx/client'
import { WebSocket, WebSocketServer } from 'ws'
import { walletFor } from '../../demo/chain.mjs'
import { SUGGESTED_DEPOSIT, assertBooksAgree, startWorld, until } from './world.mjs'

const MESSAGE_PRICE = 25n
const MESSAGES = 500

let world
let upstream

/** Sends as many messages as the path says, each with what was heard so far, and ends. `endless` ends when it is told to. */
function startSockets() {
  const server = createServer((_request, response) => response.writeHead(426).end())
  const sockets = new WebSocketServer({ server })
  const seen = { authorizations: 0, heard: [] }
  sockets.on('connection', (socket, request) => {
    if (request.headers.authorization) seen.authorizations += 1
    socket.on('message', (data) => seen.heard.push(String(data)))
    const count = Number(new URL(request.url, 'http://x').searchParams.get('messages'))
    for (let index = 0; index < count; index += 1) socket.send(JSON.stringify({ index }))
    if (!request.url.includes('endless')) socket.close(1000)
  })
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () =>
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        seen,
        stop: () => {
          for (const socket of sockets.clients) socket.terminate()
          return new Promise((done) => (server.closeAllConnections(), server.close(done)))
        },
      }),
    ),
  )
}

before(async () => {
  upstream = await startSockets()
  const routes = [
    { path: '/v1/live', amount: MESSAGE_PRICE, unit: 'message', meter: 'websocket_message', transport: 'websocket', suggestedDeposit: SUGGESTED_DEPOSIT },
  ]
  world = await startWorld({ upstreamUrl: upstream.url, config: { routes } })
})
after(async () => {
  await world?.stop()
  await upstream?.stop()
})

const manager = () =>
  tempo.session.manager({ client: walletFor(world.net, world.payer.privateKey), maxDeposit: '1', webSocket: WebSocket })

/** Reads a socket until it has so many messages. */
function read(socket, count) {
  return new Promise((resolve, reject) => {
    const messages = []
    socket.addEventListener('close', (event) => reject(new Error(`closed after ${messages.length}: ${event.code}`)))
    socket.addEventListener('message', (event) => {
      messages.push(JSON.parse(event.data).index)
      if (messages.length === count) resolve(messages)
    })
  })
}

test('a stream with a top-up in the middle, and a close on the socket', async () => {
  const start = await world.balances()
  const session = manager()
  const receipts = []
  const socket = await session.ws(`${world.url.replace('http', 'ws')}/v1/live?messages=${MESSAGES}`, {
    onReceipt: (receipt) => receipts.push(receipt),
  })
  const messages = await read(socket, MESSAGES)
  assert.deepEqual(messages, Array.from({ length: MESSAGES }, (_, index) => index))
  const owed = BigInt(MESSAGES) * MESSAGE_PRICE
  const open = await world.channel(session.channelId)
  assert.equal(BigInt(open.spent), owed)
  assert.ok(BigInt(open.deposit) > SUGGESTED_DEPOSIT, 'the stream topped up the channel')
  const last = await until('the receipt that a close is for', () => receipts.find((receipt) => BigInt(receipt.spent) === owed))
  assert.equal(last.units, MESSAGES)
  const receipt = await session.close()
  assert.match(receipt.txHash, /^0x[0-9a-f]{64}$/)
  assertBooksAgree(assert, { before: start, after: await world.balances(), channel: await world.channel(session.channelId), owed })
  assert.equal(upstream.seen.authorizations, 0, 'payment credentials do not reach the upstream')
})

test('what the client says reaches the service, and a close ends a stream that does not', async () => {
  const start = await world.balances()
  const session = manager()
  const socket = await session.ws(`${world.url.replace('http', 'ws')}/v1/live?endless&messages=3`)
  assert.deepEqual(await read(socket, 3), [0, 1, 2])
  socket.send('a question')
  await until('the question', () => upstream.seen.heard.includes('a question'))
  assert.deepEqual(upstream.seen.heard, ['a question'], 'words of payment stay at the gateway')
  await session.close()
  const channel = await world.channel(session.channelId)
  assertBooksAgree(assert, { before: start, after: await world.balances(), channel, owed: 3n * MESSAGE_PRICE })
})
