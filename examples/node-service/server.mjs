// A service that sells quotes and keeps no books: the daemon (`farebox settle`) checks vouchers and charges through its local
// API, on a Unix socket. Plain Node, no packages.
//
//   node server.mjs farebox.sock devnet.json PAYEE [PORT]
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, request as send } from 'node:http'

const [socketPath, devnet, payee, port = '0'] = process.argv.slice(2)
const net = JSON.parse(await readFile(devnet, 'utf8'))
const REALM = 'quotes.example'
const PRICE = '1000'
const CHALLENGE_MS = 300_000
const BODY_BYTES_MAX = 64 * 1024
// Challenges are this process's own: one that it did not make buys nothing.
const secret = randomBytes(32)

// ---- challenges: what the service asks for ----
const REQUEST = Buffer.from(JSON.stringify({
  amount: PRICE, currency: net.token,
  methodDetails: { chainId: net.chainId, escrowContract: net.escrowV2, sessionProtocol: 'v2' },
  recipient: payee, suggestedDeposit: '100000', unitType: 'request',
})).toString('base64url')
const sign = (expires) => createHmac('sha256', secret).update([REALM, 'tempo', 'session', REQUEST, expires].join('|')).digest('base64url')
function challenge() {
  const expires = new Date(Date.now() + CHALLENGE_MS).toISOString()
  return { id: sign(expires), text: `Payment id="${sign(expires)}", realm="${REALM}", method="tempo", intent="session", request="${REQUEST}", expires="${expires}"` }
}
/** Whether a credential answers a challenge of ours, for this price, that is still good. */
function isOurs({ id, realm, method, intent, request, expires }) {
  if (realm !== REALM || method !== 'tempo' || intent !== 'session' || request !== REQUEST || !(Date.parse(expires) > Date.now())) return false
  const [found, expected] = [Buffer.from(String(id)), Buffer.from(sign(expires))]
  return found.length === expected.length && timingSafeEqual(found, expected)
}
function credential(header) {
  try {
    return JSON.parse(Buffer.from(header.replace(/^Payment /, ''), 'base64url').toString())
  } catch {
    return undefined
  }
}

// ---- the daemon ----
/** Asks the local API. Its refusals are written for payers: they are handed on as they are. */
function farebox(path, body) {
  return new Promise((done, reject) => {
    const asked = send({ socketPath, path, method: 'POST', headers: { 'content-type': 'application/json' } }, (answer) => {
      const parts = []
      answer.on('data', (part) => parts.push(part)).on('error', reject)
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, body: parts.length ? JSON.parse(Buffer.concat(parts)) : {} }))
    })
    asked.on('error', reject)
    asked.end(JSON.stringify(body))
  })
}

/** Does what a credential asks for. `isPaid`: the request is paid and may be answered. */
async function pay({ challenge: { id }, payload }, wantsService) {
  const charge = { amount: PRICE, units: 1, idempotencyKey: id }
  if (payload.action === 'voucher') {
    const { channelId, cumulativeAmount, signature } = payload
    return farebox('/v1/vouchers', { channelId, cumulativeAmount, signature, ...(wantsService ? { charge } : {}) })
  }
  if (payload.action === 'open') {
    const opened = await farebox('/v1/channels', payload)
    if (opened.status >= 300 || !wantsService) return opened
    return farebox('/v1/charges', { channelId: payload.channelId, amount: charge.amount, units: charge.units, idempotencyKey: id })
  }
  const paths = { topUp: 'top-up', close: 'close' }
  if (!Object.hasOwn(paths, payload.action)) return { status: 400, headers: {}, body: { title: 'Bad Request', status: 400, detail: `found the action ${payload.action}` } }
  return farebox(`/v1/channels/${encodeURIComponent(payload.channelId)}/${paths[payload.action]}`, payload)
}

function receipt({ challenge: { id }, payload }, { channel, transactionHash: txHash }) {
  const paid = { method: 'tempo', intent: 'session', status: 'success', timestamp: new Date().toISOString(), reference: payload.channelId, challengeId: id, channelId: payload.channelId }
  return Buffer.from(JSON.stringify({ ...paid, acceptedCumulative: channel.accepted, spent: channel.spent, units: channel.units, ...(txHash ? { txHash } : {}) })).toString('base64url')
}

// ---- the service ----
function refuse(response, { status, body, headers = {} }) {
  const wait = headers['retry-after'] ? { 'retry-after': headers['retry-after'] } : {}
  const ask = status === 402 || status === 410 ? { 'www-authenticate': challenge().text } : {}
  response.writeHead(status, { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...wait, ...ask })
  response.end(JSON.stringify(body))
}

async function answer(request, response) {
  let bytes = 0
  for await (const part of request) {
    bytes += part.length
    if (bytes > BODY_BYTES_MAX) return refuse(response, { status: 413, body: { title: 'Content Too Large', status: 413 } })
  }
  const shown = credential(request.headers.authorization ?? '')
  if (!shown?.payload || !shown.challenge || !isOurs(shown.challenge)) {
    return refuse(response, { status: 402, body: { type: 'https://paymentauth.org/problems/payment-required', title: 'Payment Required', status: 402, detail: `a quote costs ${PRICE} base units` } })
  }
  // A POST manages the channel, a GET buys a quote.
  const wantsService = request.method === 'GET' && ['voucher', 'open'].includes(shown.payload.action)
  const paid = await pay(shown, wantsService)
  if (paid.status >= 300) return refuse(response, paid)
  const headers = { 'payment-receipt': receipt(shown, paid.body), 'cache-control': 'private' }
  if (!wantsService) return response.writeHead(204, headers).end()
  response.writeHead(200, { ...headers, 'content-type': 'application/json' })
  return response.end(JSON.stringify({ quote: 'The fare is paid, the ride begins.' }))
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => refuse(response, { status: 503, body: { title: 'Service Unavailable', status: 503, detail: error.message } }))
})
server.listen(Number(port), '127.0.0.1', () => console.log(JSON.stringify({ listen: `127.0.0.1:${server.address().port}` })))
