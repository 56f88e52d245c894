// The mppx client pays one request with a Shared Payment Token. Stripe is a double that keeps to its rules about idempotency
// keys. The program is one that was built with the feature charge.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Mppx, stripe } from 'mppx/client'
import { ROUTES, startWorld } from '../interop/world.mjs'

const SECRET_KEY = 'sk_test_hunter2'

async function startStripe() {
  const state = { answers: new Map(), paid: [], isAway: false, losesAnswer: false }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    assert.equal(request.url, '/v1/payment_intents')
    assert.equal(request.headers.authorization, `Basic ${Buffer.from(`${SECRET_KEY}:`).toString('base64')}`)
    const form = new URLSearchParams(body)
    const key = request.headers['idempotency-key']
    const answer = (status, value, headers = {}) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
    if (state.isAway) return answer(500, {})
    const isReplayed = state.answers.has(key)
    if (!isReplayed) {
      const token = form.get('shared_payment_granted_token')
      const isDeclined = token.includes('declined')
      if (!isDeclined) state.paid.push({ amount: form.get('amount'), currency: form.get('currency'), token })
      state.answers.set(key, isDeclined
        ? [402, { error: { message: `Your card was declined (${token}).` } }]
        : [200, { id: `pi_${state.paid.length}`, status: 'succeeded' }])
    }
    if (state.losesAnswer) {
      state.losesAnswer = false
      return request.socket.destroy()
    }
    const [status, value] = state.answers.get(key)
    return answer(status, value, isReplayed ? { 'idempotent-replayed': 'true' } : {})
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    state,
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve) }),
  }
}

let folder
let api
let world
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'farebox-stripe-'))
  const keyFile = join(folder, 'stripe.key')
  await writeFile(keyFile, SECRET_KEY, { mode: 0o600 })
  api = await startStripe()
  const routes = ROUTES.map((route) => ({ ...route, keys: 'stripe = "50"' }))
  const tables = `
[stripe]
secret_key_file = "${keyFile}"
network_id = "profile_123"
api_url = "${api.url}"
`
  world = await startWorld({ config: { routes, tables } })
})
after(async () => {
  await world?.stop()
  await api?.stop()
  if (folder) await rm(folder, { recursive: true, force: true })
})

function payer(token) {
  const sent = []
  const mppx = Mppx.create({
    polyfill: false,
    methods: [stripe.charge({
      paymentMethod: 'pm_card',
      createToken: async ({ amount, currency, networkId }) => {
        assert.deepEqual([amount, currency, networkId], ['50', 'usd', 'profile_123'])
        return token
      },
    })],
    fetch: (input, init) => {
      const header = new Headers(input instanceof Request ? input.headers : init?.headers).get('authorization')
      if (header) sent.push(header)
      return fetch(input, init)
    },
  })
  return { mppx, sent }
}

const receiptOf = (response) => JSON.parse(Buffer.from(response.headers.get('payment-receipt'), 'base64url'))
const again = (header) => fetch(`${world.url}/v1/quote?n=1`, { headers: { authorization: header } })

test('a token pays for one request', async () => {
  const { mppx, sent } = payer('spt_one')
  const response = await mppx.fetch(`${world.url}/v1/quote?n=1`)
  assert.equal(response.status, 200)
  assert.equal((await response.json()).n, '1')
  assert.equal(receiptOf(response).method, 'stripe')
  assert.equal(receiptOf(response).reference, 'pi_1')
  assert.deepEqual(api.state.paid, [{ amount: '50', currency: 'usd', token: 'spt_one' }])
  await world.server.stop()
  await world.startServer()
  assert.equal((await again(sent[0])).status, 402, 'delivered once, also after a restart')
  assert.equal(api.state.paid.length, 1)
})

test('a card that is declined buys nothing', async () => {
  const { mppx } = payer('spt_declined')
  const response = await mppx.fetch(`${world.url}/v1/quote?n=1`)
  assert.equal(response.status, 402)
  assert.ok(!(await response.text()).includes('spt_declined'))
  assert.equal(api.state.paid.length, 1)
})

test('a payment whose answer was lost is found after a restart', async () => {
  const { mppx, sent } = payer('spt_two')
  api.state.losesAnswer = true
  const response = await mppx.fetch(`${world.url}/v1/quote?n=1`)
  assert.equal(response.status, 503)
  assert.equal(response.headers.get('www-authenticate'), null, 'nobody is asked to pay again')
  await world.server.stop()
  await world.startServer()
  assert.equal((await again(sent[0])).status, 200)
  assert.equal((await again(sent[0])).status, 402)
  assert.equal(api.state.paid.length, 2)
})

test('nothing is delivered while Stripe is away, and the key is in no answer', async () => {
  api.state.isAway = true
  try {
    const { mppx } = payer('spt_three')
    const response = await mppx.fetch(`${world.url}/v1/quote?n=1`)
    assert.equal(response.status, 503)
    assert.ok(!(await response.text()).includes('sk_test'))
    assert.equal(api.state.paid.length, 2)
  } finally {
    api.state.isAway = false
  }
})
