// A route that takes authorizations for a token on another chain. The mppx client pays it by the challenge of the method evm,
// and, where it sees no such challenge, as a client of x402. The facilitator is a double that checks every signature.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { Mppx, evm } from 'mppx/client'
import { verifyTypedData } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { ROUTES, startWorld } from './world.mjs'

const COST = 2_000n
const CHAIN_ID = 84_532
const TOKEN = '0x036CbD53842c5426634e7929541eC2318f3dCF7e'
const TYPES = {
  TransferWithAuthorization: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'value', type: 'uint256' },
    { name: 'validAfter', type: 'uint256' },
    { name: 'validBefore', type: 'uint256' },
    { name: 'nonce', type: 'bytes32' },
  ],
}

/** Moves no money, and takes every nonce once. */
async function startFacilitator() {
  const state = { settled: [], isAway: false }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { paymentPayload, paymentRequirements } = JSON.parse(body)
    assert.deepEqual(paymentPayload.accepted, paymentRequirements)
    const { authorization, signature } = paymentPayload.payload
    const isSigned = await verifyTypedData({
      address: authorization.from,
      domain: { chainId: CHAIN_ID, name: 'USDC', verifyingContract: TOKEN, version: '2' },
      message: {
        ...authorization,
        value: BigInt(authorization.value),
        validAfter: BigInt(authorization.validAfter),
        validBefore: BigInt(authorization.validBefore),
      },
      primaryType: 'TransferWithAuthorization',
      signature,
      types: TYPES,
    })
    const isNew = !state.settled.some((known) => known.nonce === authorization.nonce)
    const answer = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    if (state.isAway) return answer(500, {})
    if (request.url === '/base/verify') {
      return answer(200, { isValid: isSigned && isNew, invalidReason: isSigned && isNew ? undefined : 'invalid_transaction_state' })
    }
    assert.equal(request.url, '/base/settle')
    if (!isSigned || !isNew) return answer(200, { success: false, errorReason: 'invalid_transaction_state', network: `eip155:${CHAIN_ID}`, transaction: '' })
    state.settled.push(authorization)
    const transaction = `0x${state.settled.length.toString(16).padStart(64, '0')}`
    return answer(200, { success: true, network: `eip155:${CHAIN_ID}`, payer: authorization.from, transaction })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    state,
    url: `http://127.0.0.1:${server.address().port}/base`,
    stop: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve) }),
  }
}

let facilitator
let world
before(async () => {
  facilitator = await startFacilitator()
  const routes = ROUTES.map((route) => ({ ...route, keys: `x402 = "${COST}"` }))
  const tables = ({ listen }) => `
[x402]
facilitator_url = "${facilitator.url}"
origin = "http://${listen}"
chain_id = ${CHAIN_ID}
token = "${TOKEN}"
token_name = "USDC"
token_version = "2"
`
  world = await startWorld({ config: ({ listen }) => ({ routes, tables: tables({ listen }) }) })
})
after(async () => {
  await world?.stop()
  await facilitator?.stop()
})

/** A client with a key of its own. `speaksOnlyX402` keeps the challenges of the Payment scheme from it. */
function payer(privateKey, speaksOnlyX402) {
  const sent = []
  const mppx = Mppx.create({
    polyfill: false,
    methods: [evm.charge({ account: privateKeyToAccount(privateKey), currencies: [evm.assets.baseSepolia.USDC] })],
    fetch: async (input, init) => {
      const headers = new Headers(input instanceof Request ? input.headers : init?.headers)
      for (const name of ['authorization', 'payment-signature']) {
        if (headers.has(name)) sent.push([name, headers.get(name)])
      }
      const response = await fetch(input, init)
      if (!speaksOnlyX402) return response
      const seen = new Headers(response.headers)
      seen.delete('www-authenticate')
      const plain = new Response(response.body, { headers: seen, status: response.status })
      Object.defineProperty(plain, 'url', { value: response.url })
      return plain
    },
  })
  return { mppx, sent }
}

const receiptOf = (response) => JSON.parse(Buffer.from(response.headers.get('payment-receipt'), 'base64url'))

test('an authorization answers the challenge of the method evm', async () => {
  const { mppx, sent } = payer(`0x${'11'.repeat(32)}`, false)
  const before = facilitator.state.settled.length
  const response = await mppx.fetch(`${world.url}/v1/quote?n=1`)
  assert.equal(response.status, 200)
  assert.equal((await response.json()).n, '1')
  assert.equal(sent.length, 1)
  assert.equal(sent[0][0], 'authorization')
  const receipt = receiptOf(response)
  assert.equal(receipt.method, 'evm')
  assert.equal(receipt.chainId, CHAIN_ID)
  assert.equal(facilitator.state.settled.length, before + 1)
  const paid = facilitator.state.settled.at(-1)
  assert.equal(BigInt(paid.value), COST)
  assert.equal(paid.to.toLowerCase(), world.payee.address.toLowerCase())
  const again = await fetch(`${world.url}/v1/quote?n=1`, { headers: { authorization: sent[0][1] } })
  assert.equal(again.status, 402, 'a credential is delivered once')
})

test('a client of x402 pays for one request, and for no other', async () => {
  const { mppx, sent } = payer(`0x${'12'.repeat(32)}`, true)
  const before = facilitator.state.settled.length
  const response = await mppx.fetch(`${world.url}/v1/quote?n=2`)
  assert.equal(response.status, 200)
  assert.equal((await response.json()).n, '2')
  assert.equal(sent[0][0], 'payment-signature')
  const settlement = JSON.parse(Buffer.from(response.headers.get('payment-response'), 'base64'))
  assert.equal(settlement.success, true)
  assert.equal(settlement.transaction, receiptOf(response).reference)
  assert.equal(facilitator.state.settled.length, before + 1)
  const headers = { 'payment-signature': sent[0][1] }
  for (const path of ['/v1/quote?n=2', '/v1/quote?n=3', '/v1/chat']) {
    const again = await fetch(`${world.url}${path}`, { headers })
    assert.equal(again.status, 402, path)
  }
  assert.equal(facilitator.state.settled.length, before + 1)
})

test('a payment survives an upstream that fails, and is delivered once after a restart', async () => {
  const { mppx, sent } = payer(`0x${'13'.repeat(32)}`, true)
  const before = facilitator.state.settled.length
  assert.equal((await mppx.fetch(`${world.url}/v1/fail`)).status, 500)
  await world.server.stop()
  await world.startServer()
  const headers = { 'payment-signature': sent[0][1] }
  assert.equal((await fetch(`${world.url}/v1/fail`, { headers })).status, 500)
  assert.equal(facilitator.state.settled.length, before + 1, 'nobody paid twice')
})

test('without a facilitator nothing is sold and nothing is taken', async () => {
  facilitator.state.isAway = true
  try {
    const { mppx } = payer(`0x${'14'.repeat(32)}`, true)
    const response = await mppx.fetch(`${world.url}/v1/quote`)
    assert.equal(response.status, 503)
    assert.equal(response.headers.get('payment-receipt'), null)
  } finally {
    facilitator.state.isAway = false
  }
})
