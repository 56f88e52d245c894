// A small server that knows nothing of payments: what Farebox is put in front of.
//
//   GET /v1/quote?n=3          one JSON answer
//   GET /v1/chat?tokens=500    a token stream (server-sent events), one token an event
//   GET /v1/fail               an error, so that one can see that failures are free
//
// Started alone it prints one JSON line {"url": "..."} and runs until it is told to stop.
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const WORDS = 'a fare is paid at the door and the cash box goes to the bank when it is full'.split(' ')
const TOKENS_MAX = 10_000

async function chat(response, url) {
  const tokens = Math.min(Number(url.searchParams.get('tokens') ?? 20), TOKENS_MAX)
  const delayMs = Number(url.searchParams.get('delay_ms') ?? 1)
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  for (let index = 0; index < tokens && !response.destroyed; index += 1) {
    response.write(`data: ${JSON.stringify({ index, token: WORDS[index % WORDS.length] })}\n\n`)
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
  }
  response.end()
}

/** Starts the server on a free port of the loopback interface. */
export function startUpstream(port = 0) {
  const seen = { requests: 0, authorizations: 0 }
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://upstream')
    seen.requests += 1
    if (request.headers.authorization?.includes('Payment')) seen.authorizations += 1
    if (url.pathname === '/v1/chat') return void chat(response, url)
    if (url.pathname === '/v1/fail') {
      response.writeHead(500, { 'content-type': 'application/json' })
      return void response.end('{"error":"the upstream failed"}')
    }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ quote: WORDS.join(' '), n: url.searchParams.get('n') }))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () =>
      resolve({
        url: `http://127.0.0.1:${server.address().port}`,
        seen,
        stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
      }),
    )
  })
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const upstream = await startUpstream(Number(process.argv[2] ?? 0))
  console.log(JSON.stringify({ url: upstream.url }))
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => upstream.stop().then(() => process.exit(0)))
}
