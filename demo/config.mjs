// Writes the configuration and the keys of one Farebox server into a folder, as an operator would.
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** One `[[route]]`. */
const route = ({ path, amount, unit, meter, transport, suggestedDeposit, keys = '' }) => `
[[route]]
path = "${path}"
amount = "${amount}"
unit = "${unit}"
meter = "${meter}"
${transport ? `transport = "${transport}"` : ''}
suggested_deposit = "${suggestedDeposit}"
${keys}
`

/** Returns the path of the configuration file. Ports are 0: the server prints the ones that it got. */
export async function writeConfig(folder, { net, upstreamUrl, payee, routes, v1 = true, operator, adminKey, explorer, sponsor, discovery, tables = '', realm = 'demo.farebox.local', listen = '127.0.0.1:0' }) {
  await mkdir(folder, { recursive: true })
  const keyFile = join(folder, 'payee.key')
  await writeFile(keyFile, payee.privateKey, { mode: 0o600 })
  await chmod(keyFile, 0o600)
  const adminKeyFile = join(folder, 'admin.key')
  if (adminKey) await writeFile(adminKeyFile, adminKey, { mode: 0o600 })
  const sponsorKeyFile = join(folder, 'sponsor.key')
  if (sponsor) await writeFile(sponsorKeyFile, sponsor.privateKey, { mode: 0o600 })
  const config = `
[server]
listen = "${listen}"
admin_listen = "127.0.0.1:0"
realm = "${realm}"
challenge_key_file = "${join(folder, 'challenge.key')}"
${adminKey ? `admin_key_file = "${adminKeyFile}"` : ''}
[upstream]
url = "${upstreamUrl}"
[chain]
rpc = ["${net.rpcUrl}"]
id = ${net.chainId}
${explorer ? `explorer_url = "${explorer}"` : ''}
[payee]
address = "${payee.address}"
token = "${net.token}"
key_file = "${keyFile}"
${operator ? `operator = "${operator}"` : ''}
[escrow]
v2 = "${net.escrowV2}"
${v1 ? `v1 = "${net.escrowV1}"` : ''}
${discovery ? `[discovery]\ntitle = "${discovery.title}"` : ''}
${sponsor ? `[sponsor]\nkey_file = "${sponsorKeyFile}"\n${sponsor.keys ?? ''}` : ''}
${tables}
${routes.map(route).join('')}
[ledger]
kind = "rocksdb"
path = "${join(folder, 'farebox-data')}"
`
  const file = join(folder, 'farebox.toml')
  await writeFile(file, config)
  return file
}
