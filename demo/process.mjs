// Child processes for the demo and the end-to-end tests: started, read, and always stopped.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

const STOP_MS_MAX = 15_000
const READY_MS_MAX = 60_000

/**
 * Starts a program whose first line on stdout is one JSON object, and waits for that line.
 * `stop()` asks it to end (SIGTERM) and insists (SIGKILL) when it does not; `kill()` is SIGKILL at once.
 */
export async function startJsonProgram(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const log = []
  const keep = (line) => log.push(line) > 2_000 && log.shift()
  createInterface({ input: child.stderr }).on('line', keep)
  const exited = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  const ready = await new Promise((resolve, reject) => {
    const name = [command, ...args].join(' ')
    const fail = (why) => reject(new Error(`${name}: ${why}\n${log.slice(-30).join('\n')}`))
    const timer = setTimeout(() => fail(`not ready after ${READY_MS_MAX} ms`), READY_MS_MAX)
    child.once('error', (error) => (clearTimeout(timer), fail(error.message)))
    exited.then(({ code, signal }) => (clearTimeout(timer), fail(`ended early (${code ?? signal})`)))
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.startsWith('{')) return keep(line)
      clearTimeout(timer)
      resolve(JSON.parse(line))
    })
  }).catch((error) => (child.kill('SIGKILL'), Promise.reject(error)))
  return {
    ...ready,
    pid: child.pid,
    log,
    exited,
    kill: () => (child.kill('SIGKILL'), exited),
    async stop() {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
      const result = await exited
      clearTimeout(timer)
      return result
    },
  }
}
