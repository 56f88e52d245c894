// A peer of the benchmark: the session server of mppx on Node, with its store in memory. It takes the price of a request
// in base units and the line that `farebox devnet` printed, prints where it listens, and ends with its standard input.
//
// It reads a channel from the chain when it did not for five seconds.
import { createServer } from 'node:http'
import { Mppx, tempo } from 'mppx/server'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { localChain } from '../../demo/chain.mjs'

const DECIMALS = 6

const [price, line] = process.argv.slice(2)
const net = JSON.parse(line)
const account = privateKeyToAccount(net.accounts[2].privateKey)
const client = createClient({ account, chain: localChain(net), pollingInterval: 50, transport: http(net.rpcUrl) })

const mppx = Mppx.create({
  realm: 'bench.example',
  secretKey: 'a secret of at least thirty-two bytes',
  methods: [tempo.session({ account, currency: net.token, chainId: net.chainId, escrowContract: net.escrowV2, getClient: () => client })],
})
const amount = (Number(price) / 10 ** DECIMALS).toFixed(DECIMALS)
const paid = Mppx.toNodeListener(mppx.session({ amount, unitType: 'request' }))

const server = createServer(async (request, response) => {
  try {
    const result = await paid(request, response)
    if (result.status !== 402) response.end('hello')
  } catch (error) {
    console.error(error)
    response.writeHead(500).end()
  }
})
// The load pauses while it signs.
server.keepAliveTimeout = 120_000
server.listen({ port: 0, host: '127.0.0.1', backlog: 2_048 }, () => console.log(`127.0.0.1:${server.address().port}`))
process.stdin.resume().on('end', () => process.exit(0))
