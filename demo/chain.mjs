// What the demo and the end-to-end tests need of viem: a client for the local chain, and token balances.
import { createClient, createPublicClient, defineChain, http, parseAbi } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoLocalnet } from 'viem/chains'

const tip20 = parseAbi(['function balanceOf(address) view returns (uint256)'])

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
  }
}
