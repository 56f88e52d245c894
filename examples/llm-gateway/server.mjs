// A server with the interface of OpenAI's chat completions, and a parrot instead of a model.
//
//   node server.mjs [PORT]
//
// It streams one token an event when asked to ("stream": true), ends streams with [DONE], and counts tokens in `usage`.
import { createServer } from 'node:http'

const MODEL = 'parrot-1'
const BODY_BYTES_MAX = 1 << 20

async function readJson(request) {
  const pieces = []
  let bytes = 0
  for await (const piece of request) {
    bytes += piece.length
    if (bytes > BODY_BYTES_MAX) throw new Error('the body is too long')
    pieces.push(piece)
  }
  return JSON.parse(Buffer.concat(pieces).toString() || '{}')
}

const answer = (response, status, body) => {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

function tokensOf(messages) {
  const asked = messages.filter(({ role }) => role === 'user').at(-1)?.content ?? ''
  return `You said: ${asked} That is all that a parrot can say about it.`.split(/(?<= )/)
}

async function complete(request, response) {
  const { messages = [], stream = false, stream_options: options } = await readJson(request)
  if (!Array.isArray(messages) || messages.length === 0) {
    return answer(response, 400, { error: { message: 'messages is missing', type: 'invalid_request_error' } })
  }
  const tokens = tokensOf(messages)
  const usage = { prompt_tokens: messages.length, completion_tokens: tokens.length, total_tokens: messages.length + tokens.length }
  const frame = { id: `chatcmpl-${Date.now()}`, created: Math.floor(Date.now() / 1000), model: MODEL }
  if (!stream) {
    const message = { role: 'assistant', content: tokens.join('') }
    return answer(response, 200, { ...frame, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: 'stop' }], usage })
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  const chunk = (choices, more) => response.write(`data: ${JSON.stringify({ ...frame, object: 'chat.completion.chunk', choices, ...more })}\n\n`)
  for (const token of tokens) {
    if (response.destroyed) return
    chunk([{ index: 0, delta: { content: token }, finish_reason: null }])
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  chunk([{ index: 0, delta: {}, finish_reason: 'stop' }])
  if (options?.include_usage) chunk([], { usage })
  response.end('data: [DONE]\n\n')
}

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://server')
  if (request.method === 'GET' && pathname === '/v1/models') {
    return answer(response, 200, { object: 'list', data: [{ id: MODEL, object: 'model', owned_by: 'example' }] })
  }
  if (request.method === 'POST' && pathname === '/v1/chat/completions') {
    return complete(request, response).catch((error) => answer(response, 400, { error: { message: String(error.message), type: 'invalid_request_error' } }))
  }
  answer(response, 404, { error: { message: 'not found', type: 'invalid_request_error' } })
})
server.listen(Number(process.argv[2] ?? 9000), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
