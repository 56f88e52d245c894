// The Node service before a real client: quotes are paid through the daemon's local API, a retry is not charged again, a foreign
// challenge buys nothing, and the channel closes for what was sold.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request as send } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { tempo } from 'mppx/client'
import { walletFor } from '../../demo/chain.mjs'
import { writeConfig } from '../../demo/config.mjs'
import { startJsonProgram } from '../../demo/process.mjs'
import { FAREBOX, until } from '../interop/world.mjs'

const PRICE = 1_000n

test('a service in Node sells through the daemon', { timeout: 120_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-node-'))
  const ends = [() => rm(folder, { recursive: true, force: true })]
  try {
    const net = await startJsonProgram(FAREBOX, ['devnet', '--port', '0'])
    ends.push(() => net.stop())
    const [payer, payee] = net.accounts.slice(1)
    const config = await writeConfig(folder, { net, upstreamUrl: 'http://127.0.0.1:9', payee, routes: [] })
    await writeFile(config, `${await readFile(config, 'utf8')}\n[local]\nsocket = "farebox.sock"\n`)
    const { token, chainId, escrowV2 } = net
    await writeFile(join(folder, 'devnet.json'), JSON.stringify({ token, chainId, escrowV2 }))
    const daemon = await startJsonProgram(FAREBOX, ['settle', '-c', config])
    ends.push(() => daemon.stop())
    const socket = join(folder, 'farebox.sock')
    const service = await startJsonProgram('node', ['examples/node-service/server.mjs', socket, join(folder, 'devnet.json'), payee.address])
    ends.push(() => service.stop())
    const url = `http://${service.listen}/quote`

    const session = tempo.session.manager({ client: walletFor(net, payer.privateKey), maxDeposit: '1' })
    for (let n = 0; n < 3; n += 1) {
      const response = await session.fetch(url)
      assert.equal(response.status, 200, await response.clone().text())
      assert.match((await response.json()).quote, /fare is paid/)
    }
    const channel = () => ask(socket, `/v1/channels/${session.channelId}`)
    assert.equal(BigInt((await channel()).spent), 3n * PRICE)

    const unpaid = await fetch(url)
    assert.equal(unpaid.status, 402)
    const forged = { challenge: { id: 'x', realm: 'quotes.example', method: 'tempo', intent: 'session', request: 'e30', expires: '2099-01-01T00:00:00Z' }, payload: { action: 'voucher' } }
    const refused = await fetch(url, { headers: { authorization: `Payment ${Buffer.from(JSON.stringify(forged)).toString('base64url')}` } })
    assert.equal(refused.status, 402)
    assert.match(refused.headers.get('www-authenticate'), /^Payment id="/)
    assert.equal(BigInt((await channel()).spent), 3n * PRICE, 'nothing was charged')

    await session.close()
    const closed = await until('the channel is closed', async () => {
      const found = await channel()
      return found.phase === 'closed' && found
    })
    assert.equal(BigInt(closed.captured), 3n * PRICE)
    assert.equal(BigInt(closed.refunded), BigInt(closed.deposit) - 3n * PRICE)
  } finally {
    for (const end of ends.reverse()) await end()
  }
})

function ask(socketPath, path) {
  return new Promise((done, reject) => {
    send({ socketPath, path }, (answer) => {
      let text = ''
      answer.on('data', (part) => { text += part }).on('end', () => done(JSON.parse(text)))
    }).on('error', reject).end()
  })
}
