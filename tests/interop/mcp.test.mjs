// The mppx client calls paid tools: it answers the JSON-RPC error with a credential in `_meta`, and reads the receipt there.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import { tempo } from 'mppx/client'
import { McpClient } from 'mppx/mcp/client'
import { walletFor } from '../../demo/chain.mjs'
import { SUGGESTED_DEPOSIT, startWorld } from './world.mjs'

const PRICE = 40n

let world
let upstream

/** A server of one tool, as streamable HTTP has it. */
function startTools() {
  const seen = { calls: 0, credentials: 0 }
  const server = createServer(async (request, response) => {
    const body = await text(request)
    if (body.includes('paymentauth')) seen.credentials += 1
    const { id, params } = JSON.parse(body)
    seen.calls += 1
    const result = { content: [{ type: 'text', text: `${params.arguments.a + params.arguments.b}` }] }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`)
  })
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () =>
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        seen,
        stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
      }),
    ),
  )
}

before(async () => {
  upstream = await startTools()
  const routes = [{ path: '/mcp', amount: PRICE, unit: 'call', meter: 'request', transport: 'mcp', suggestedDeposit: SUGGESTED_DEPOSIT }]
  world = await startWorld({ upstreamUrl: upstream.url, config: { routes } })
})
after(async () => {
  await world?.stop()
  await upstream?.stop()
})

/** A client of the protocol with the one method that the wrapper needs; errors are thrown as its SDK throws them. */
function connect() {
  let id = 0
  return {
    async callTool(params) {
      id += 1
      const response = await fetch(`${world.url}/mcp`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
        body: JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params }),
      })
      const body = await response.text()
      const message = JSON.parse(body.startsWith('{') ? body : body.split('data: ').at(-1))
      assert.equal(message.id, id)
      if (message.error) throw Object.assign(new Error(message.error.message), message.error)
      return message.result
    },
  }
}

test('tools are paid by the call', async () => {
  const plain = connect()
  await assert.rejects(plain.callTool({ name: 'add', arguments: { a: 1, b: 2 } }), (error) => {
    assert.equal(error.code, -32042)
    assert.equal(error.data.challenges[0].request.amount, String(PRICE))
    return true
  })
  assert.equal(upstream.seen.calls, 0, 'unpaid calls do not reach the service')
  const method = tempo.session({ getClient: () => walletFor(world.net, world.payer.privateKey), maxDeposit: '1' })
  const client = McpClient.wrap(connect(), { methods: [method] })
  for (let n = 1; n <= 3; n += 1) {
    const result = await client.callTool({ name: 'add', arguments: { a: n, b: 2 } })
    assert.equal(result.content[0].text, `${n + 2}`)
    assert.equal(BigInt(result.receipt.spent), BigInt(n) * PRICE)
    assert.equal(result.receipt.status, 'success')
  }
  assert.deepEqual(upstream.seen, { calls: 3, credentials: 0 })
  const [channel] = (await world.channels()).channels
  assert.equal(BigInt(channel.spent), 3n * PRICE)
})
