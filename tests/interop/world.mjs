// One small world per test file: a local chain, an upstream, and a Farebox server in front of it.
import { createServer } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sessionLegacyManager } from 'mppx/client'
import { changes, reader, walletFor } from '../../demo/chain.mjs'
import { writeConfig } from '../../demo/config.mjs'
import { startJsonProgram } from '../../demo/process.mjs'
import { startUpstream } from '../../demo/upstream.mjs'

export const FAREBOX = process.env.FAREBOX_BIN ?? 'target/debug/farebox'
export const REQUEST_PRICE = 1_000n
export const TOKEN_PRICE = 25n
export const SUGGESTED_DEPOSIT = 10_000n

export const ROUTES = [
  { path: '/v1/chat', amount: TOKEN_PRICE, unit: 'llm_token', meter: 'sse_event', suggestedDeposit: SUGGESTED_DEPOSIT },
  { path: '/v1/*', amount: REQUEST_PRICE, unit: 'request', meter: 'request', suggestedDeposit: SUGGESTED_DEPOSIT },
]

/** A port that was free a moment ago: for servers that must come back on the same address. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Starts everything. `world.stop()` ends everything, also after a failed test. */
export async function startWorld(options = {}) {
  const cleanUps = []
  const stop = async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  }
  try {
    const folder = await mkdtemp(join(tmpdir(), 'farebox-interop-'))
    cleanUps.push(() => rm(folder, { recursive: true, force: true }))
    const net = await startJsonProgram(FAREBOX, ['devnet', '--port', '0', ...(options.devnet ?? [])])
    cleanUps.push(() => net.stop())
    const upstream = await startUpstream()
    cleanUps.push(() => upstream.stop())
    const [payer, payee, stranger, sponsor] = net.accounts.slice(1)
    const listen = `127.0.0.1:${await freePort()}`
    const config = await writeConfig(folder, {
      net,
      upstreamUrl: options.upstreamUrl ?? upstream.url,
      payee,
      routes: ROUTES,
      listen,
      ...(options.sponsored && { sponsor: { ...sponsor, keys: options.sponsored.keys } }),
      ...(typeof options.config === 'function' ? options.config({ listen }) : options.config),
    })
    const world = { folder, net, upstream, payer, payee, stranger, sponsor, config, url: `http://${listen}`, chain: reader(net), stop }
    world.startServer = async () => {
      world.server = await startJsonProgram(FAREBOX, ['serve', '-c', config])
      return world.server
    }
    cleanUps.push(() => world.server?.stop())
    await world.startServer()
    world.channel = async (id) => {
      const response = await fetch(`http://${world.server.adminListen}/v1/channels/${id}`)
      return response.ok ? response.json() : undefined
    }
    world.channels = async () => (await fetch(`http://${world.server.adminListen}/v1/channels`)).json()
    world.balances = (escrow = net.escrowV2) =>
      world.chain.accounts({ payer: payer.address, payee: payee.address, sponsor: sponsor.address, escrow })
    return world
  } catch (error) {
    await stop()
    throw error
  }
}

/** mppx's client of the first protocol version, for the world's payer. */
export function legacySession(world) {
  const { net, payer } = world
  return sessionLegacyManager({
    client: walletFor(net, payer.privateKey),
    maxDeposit: '1',
    escrowContract: net.escrowV1,
  })
}

/** Waits until `condition()` is truthy, at most `waitMsMax`. */
export async function until(what, condition, waitMsMax = 20_000) {
  const end = Date.now() + waitMsMax
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`waited ${waitMsMax} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** What a closed channel must look like when the client received `owed` worth of service; network fees are apart. */
export function assertBooksAgree(assert, { before, after, channel, owed }) {
  const moved = changes(before, after)
  assert.equal(channel.phase, 'closed')
  assert.equal(BigInt(channel.spent), owed, 'spent is what was delivered')
  assert.equal(moved.payee.paid, owed, 'payee delta == spent')
  assert.equal(moved.payer.paid, -owed, 'payer delta == -spent')
  assert.equal(moved.escrow.change, 0n, 'nothing is left in the escrow')
  assert.equal(BigInt(channel.captured), owed)
  assert.equal(BigInt(channel.refunded), BigInt(channel.deposit) - owed)
}
