// Asks a question and pays for every token that streams back. The client opens a payment channel by itself, signs a higher
// voucher as tokens come, tops up when the deposit runs out, and closes the channel at the end.
//
//   node pay.mjs devnet.json http://127.0.0.1:8402 "a question"
import { readFile } from 'node:fs/promises'
import { tempo } from 'mppx/client'
import { createClient, defineChain, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoLocalnet } from 'viem/chains'

const [file = 'devnet.json', url = 'http://127.0.0.1:8402', question = 'What is a fare?'] = process.argv.slice(2)
const net = JSON.parse(await readFile(file, 'utf8'))
const chain = defineChain({ ...tempoLocalnet, id: net.chainId, hardfork: 't4', feeToken: net.token, rpcUrls: { default: { http: [net.rpcUrl] } } })
const client = createClient({ account: privateKeyToAccount(net.accounts[1].privateKey), chain, pollingInterval: 50, transport: http(net.rpcUrl) })

const session = tempo.session.manager({ client, maxDeposit: '1' })
const events = await session.sse(`${url}/v1/chat/completions`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'parrot-1', stream: true, messages: [{ role: 'user', content: question }] }),
})
let paidEvents = 0
for await (const event of events) {
  if (event === '[DONE]') break
  paidEvents += 1
  process.stdout.write(JSON.parse(event).choices[0]?.delta.content ?? '')
}
const receipt = await session.close()
console.log(`\n\n${paidEvents} events, ${receipt.spent} base units; closed on chain in ${receipt.txHash}`)
