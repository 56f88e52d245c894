// What the demo and the end-to-end tests need of viem: a client for the local chain, and token balances.
import { createClient, createPublicClient, defineChain, http, parseAbi } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoLocalnet } from 'viem/chains'

const tip20 = parseAbi([
  'function balanceOf(address) view returns (uint256)',
  'event Transfer(address indexed from, address indexed to, uint256 amount)',
])
// Where the chain collects network fees, which are paid in the token itself.
const FEE_MANAGER = '0xfeec000000000000000000000000000000000000'

/** The local chain as viem describes chains. `net` is the JSON line that `farebox devnet` printed. */
export function localChain(net) {
  return defineChain({
    ...tempoLocalnet,
    id: net.chainId,
    hardfork: 't4',
    feeToken: net.token,
    rpcUrls: { default: { http: [net.rpcUrl] } },
  })
}

/** A viem client that signs with `privateKey`. */
export function walletFor(net, privateKey) {
  return createClient({
    account: privateKeyToAccount(privateKey),
    chain: localChain(net),
    pollingInterval: 50,
    transport: http(net.rpcUrl),
  })
}

/** A reader of the local chain. */
export function reader(net) {
  const client = createPublicClient({ chain: localChain(net), transport: http(net.rpcUrl) })
  return {
    client,
    balance: (address) =>
      client.readContract({ address: net.token, abi: tip20, functionName: 'balanceOf', args: [address] }),
    /** All network fees that `address` ever paid in the token. */
    async fees(address) {
      const logs = await client.getLogs({
        address: net.token,
        event: tip20[1],
        args: { from: address, to: FEE_MANAGER },
        fromBlock: 0n,
      })
      return logs.reduce((sum, { args }) => sum + args.amount, 0n)
    },
    /** Balances and fees of several parties at one moment: `{ payer: { balance, fees }, … }`. */
    async accounts(parties) {
      const entries = Object.entries(parties).map(async ([name, address]) => {
        const [balance, fees] = await Promise.all([this.balance(address), this.fees(address)])
        return [name, { balance, fees }]
      })
      return Object.fromEntries(await Promise.all(entries))
    },
  }
}

/** What changed for each party between two `accounts`: `{ payer: { change, fees, paid }, … }`. `paid` leaves fees out. */
export function changes(before, after) {
  const entries = Object.keys(before).map((name) => {
    const change = after[name].balance - before[name].balance
    const fees = after[name].fees - before[name].fees
    return [name, { change, fees, paid: change + fees }]
  })
  return Object.fromEntries(entries)
}
