// Writes farebox.toml, payee.key and admin.key into this folder of yours, for the local chain that `farebox devnet` described.
//
//   node configure.mjs devnet.json UPSTREAM_URL LISTEN ADMIN_LISTEN
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'

const [file = 'devnet.json', upstream = 'http://127.0.0.1:9000', listen = '127.0.0.1:8402', admin = '127.0.0.1:8403'] = process.argv.slice(2)
const net = JSON.parse(await readFile(file, 'utf8'))
const payee = net.accounts[2]
await writeFile('payee.key', `${payee.privateKey}\n`, { mode: 0o600 })
await writeFile('admin.key', `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
await writeFile(
  'farebox.toml',
  `[server]
listen = "${listen}"
admin_listen = "${admin}"
admin_key_file = "admin.key"
realm = "llm.example"

[upstream]
url = "${upstream}"

[chain]
rpc = ["${net.rpcUrl}"]
id = ${net.chainId}

[payee]
address = "${payee.address}"
token = "${net.token}"
key_file = "payee.key"

[escrow]
v2 = "${net.escrowV2}"

[[route]]                     # a list of models costs nothing
path = "/v1/models"
free = true

[[route]]                     # 25 base units for each event of a stream: 0.000025 tokens of money
path = "/v1/chat/completions"
methods = ["POST"]
amount = "25"
unit = "llm_token"
meter = "sse_event"
suggested_deposit = "10000"

[ledger]
kind = "rocksdb"
path = "books"
`,
)
console.log('wrote farebox.toml, payee.key and admin.key')
