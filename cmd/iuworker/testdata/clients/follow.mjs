// Follows the events as a client of the name and prints a line for each thing that it is told: follow.mjs NAME URL TOKEN
const [name, url, token] = process.argv.slice(2)
const headers = { Authorization: `Bearer ${token}` }

// What undici needs and Node 18, which is Debian 12's, lacks.
globalThis.File ??= (await import('node:buffer')).File
String.prototype.toWellFormed ??= String.prototype.toString

const fetching = { fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }) }
const make = {
  'eventsource-3': async () => new (await import('eventsource-3')).EventSource(url, fetching),
  'eventsource-4': async () => new (await import('eventsource-4')).EventSource(url, fetching),
  'launchdarkly-eventsource': async () => new (await import('launchdarkly-eventsource')).default.EventSource(url, { headers }),
  undici: async () => {
    const { Agent, EventSource } = await import('undici')
    // It has no option for headers.
    const authorize = (dispatch) => (options, handler) => dispatch({ ...options, headers: { ...options.headers, ...headers } }, handler)
    return new EventSource(url, { dispatcher: new Agent().compose(authorize) })
  },
}

const source = await make[name](url)
source.onopen = () => console.log('open')
source.onmessage = ({ data, lastEventId }) => console.log('event', lastEventId, JSON.parse(data).subject)
for (const type of ['cursor', 'problem']) source.addEventListener(type, ({ data }) => console.log(type, data))
source.addEventListener('end', () => console.log('end')) // launchdarkly's own, for a stream that ends in order
// It may be closed only after the event.
source.onerror = () => setTimeout(() => console.log(source.readyState === 2 ? 'closed' : 'error'))
setInterval(() => {}, 1 << 30) // undici's wait does not keep the process
