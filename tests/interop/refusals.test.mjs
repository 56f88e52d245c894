// Every kind of broken credential gets its problem type and a fresh challenge, never a 500, and changes nothing.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { request } from 'node:http'
import { tempo } from 'mppx/client'
import { walletFor } from '../../demo/chain.mjs'
import { startWorld } from './world.mjs'

let world
let good // a real credential that was accepted once, taken apart
let books

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** One request with raw headers, so that repeated and huge headers go out as they are. */
function send(path, authorization, method = 'GET') {
  return new Promise((resolve, reject) => {
    const url = new URL(path, world.url)
    const headers = authorization === undefined ? {} : { authorization }
    const call = request(url, { method, headers, agent: false }, (response) => {
      let body = ''
      response.on('data', (chunk) => (body += chunk)).on('end', () => {
        let problem
        try {
          problem = JSON.parse(body)
        } catch {}
        resolve({ status: response.statusCode, headers: response.headers, body, problem })
      })
    })
    call.on('error', reject)
    call.end()
  })
}

before(async () => {
  world = await startWorld()
  const seen = []
  const session = tempo.session.manager({
    client: walletFor(world.net, world.payer.privateKey),
    maxDeposit: '1',
    fetch: (input, init) => {
      const header = new Headers(init?.headers).get('authorization')
      if (header) seen.push(header)
      return fetch(input, init)
    },
  })
  for (let n = 0; n < 2; n += 1) assert.equal((await session.fetch(`${world.url}/v1/quote`)).status, 200)
  good = JSON.parse(Buffer.from(seen.at(-1).replace(/^Payment /, ''), 'base64url').toString())
  assert.equal(good.payload.action, 'voucher')
  books = await world.channels()
})
after(() => world?.stop())

const with_ = (change) => {
  const copy = structuredClone(good)
  change(copy)
  return `Payment ${encode(copy)}`
}
const MALFORMED = 'malformed-credential'
const CASES = {
  'bad base64': ['Payment !!!not-base64!!!', MALFORMED],
  'empty credential': ['Payment ', MALFORMED],
  'bad JSON': [`Payment ${encode('{"challenge":')}`, MALFORMED],
  'JSON that is no object': [`Payment ${encode('[1,2,3]')}`, MALFORMED],
  'no challenge': [() => with_((c) => delete c.challenge), MALFORMED],
  'no payload': [() => with_((c) => delete c.payload), MALFORMED],
  'no action': [() => with_((c) => delete c.payload.action), MALFORMED],
  'unknown action': [() => with_((c) => (c.payload.action = 'withdraw')), MALFORMED],
  'no channel id': [() => with_((c) => delete c.payload.channelId), MALFORMED],
  'channel id too short': [() => with_((c) => (c.payload.channelId = '0x1234')), MALFORMED],
  'no signature': [() => with_((c) => delete c.payload.signature), MALFORMED],
  'amount is a number': [() => with_((c) => (c.payload.cumulativeAmount = 2000)), MALFORMED],
  'amount is negative': [() => with_((c) => (c.payload.cumulativeAmount = '-1')), MALFORMED],
  'amount is hex': [() => with_((c) => (c.payload.cumulativeAmount = '0x10')), MALFORMED],
  'descriptor is missing': [() => with_((c) => delete c.payload.descriptor), MALFORMED],
  'descriptor is a string': [() => with_((c) => (c.payload.descriptor = 'x')), MALFORMED],
  'forged challenge id': [() => with_((c) => (c.challenge.id = encode('x'.repeat(32)))), 'invalid-challenge'],
  'another price': [
    () =>
      with_((c) => {
        const price = JSON.parse(Buffer.from(c.challenge.request, 'base64url').toString())
        c.challenge.request = encode({ ...price, amount: '1' })
      }),
    'invalid-challenge',
  ],
  'expiry moved': [() => with_((c) => (c.challenge.expires = '2099-01-01T00:00:00Z')), 'invalid-challenge'],
  'flipped signature': [
    () => with_((c) => (c.payload.signature = c.payload.signature.replace(/^0x../, (x) => (x === '0x11' ? '0x22' : '0x11')))),
    /signature|signer/,
  ],
  'amount that was not signed': [() => with_((c) => (c.payload.cumulativeAmount = '9999')), /signature|signer/],
}

for (const [name, [credential, type]] of Object.entries(CASES)) {
  test(name, async () => {
    const answer = await send('/v1/quote', typeof credential === 'function' ? credential() : credential)
    assert.equal(answer.status, 402, answer.body)
    assert.match(answer.headers['content-type'], /application\/problem\+json/)
    assert.match(answer.problem.type, type instanceof RegExp ? type : new RegExp(`/${type}$`))
    assert.match(answer.headers['www-authenticate'], /^Payment .*id="[\w-]+"/, 'a fresh challenge')
    assert.ok(!answer.headers['www-authenticate'].includes(good.challenge.id))
    assert.equal(answer.headers['payment-receipt'], undefined)
    assert.deepEqual(await world.channels(), books, 'no state changed')
  })
}

test("another route's challenge", async () => {
  const answer = await send('/v1/chat', with_(() => {}))
  assert.equal(answer.status, 402)
  assert.match(answer.problem.type, /invalid-challenge$/)
  assert.deepEqual(await world.channels(), books)
})

test('a megabyte of garbage', async () => {
  const answer = await send('/v1/quote', `Payment ${'A'.repeat(1 << 20)}`).catch((error) => ({ error }))
  // A server may answer 431 or cut the connection instead of reading it all; it may never fail or charge.
  if (answer.error === undefined) assert.ok([402, 413, 431].includes(answer.status), String(answer.status))
  assert.equal((await send('/v1/quote')).status, 402, 'the server is alive')
  assert.deepEqual(await world.channels(), books)
})

test('several credentials in one request', async () => {
  const credential = with_(() => {})
  const answer = await send('/v1/quote', [credential, credential])
  assert.equal(answer.status, 400)
  assert.deepEqual(await world.channels(), books)
})

test('a used credential pays once, whoever sends it again', async () => {
  const answers = await Promise.all(Array.from({ length: 36 }, () => send('/v1/quote', with_(() => {}))))
  for (const answer of answers) assert.ok(![200, 500].includes(answer.status), String(answer.status))
  assert.deepEqual(await world.channels(), books)
})

test('a channel that nobody opened', async () => {
  const answer = await send(
    '/v1/quote',
    with_((c) => {
      c.payload.descriptor.salt = `0x${'77'.repeat(32)}`
      c.payload.channelId = `0x${'12'.repeat(32)}`
    }),
  )
  assert.ok([402, 410].includes(answer.status))
  assert.match(answer.headers['www-authenticate'], /^Payment /)
  assert.deepEqual(await world.channels(), books)
})
