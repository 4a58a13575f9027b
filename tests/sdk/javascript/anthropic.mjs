// The `@anthropic-ai/sdk` package, with nothing but its base URL changed.
import Anthropic, { AuthenticationError, RateLimitError, toFile } from '@anthropic-ai/sdk'
import { ask, collect, run, schema, thrown } from './use.mjs'

const MODEL = 'claude-sonnet-4-5'

const client = (url, key) => new Anthropic({ apiKey: key, baseURL: url, maxRetries: 0 })
const given = { model: MODEL, max_tokens: 99, messages: ask }

async function message(url, key) {
  const answer = await client(url, key).messages.create(given)
  return [answer.content[0].text, answer.usage.output_tokens]
}

async function messageStream(url, key) {
  const answer = await client(url, key).messages.stream(given).finalMessage()
  return [answer.content[0].text, answer.usage.output_tokens]
}

async function tools(url, key) {
  const sdk = client(url, key)
  const offered = { ...given, tools: [{ name: 'weather', input_schema: schema }] }
  const first = await sdk.messages.stream(offered).finalMessage()
  const result = { type: 'tool_result', tool_use_id: first.content[0].id, content: 'fine' }
  const said = [{ role: 'assistant', content: first.content }, { role: 'user', content: [result] }]
  const last = await sdk.messages.create({ ...offered, messages: [...ask, ...said] })
  return [first.content[0].input, last.content[0].text]
}

async function files(url, key) {
  const sdk = client(url, key)
  const made = await sdk.beta.files.upload({ file: await toFile(Buffer.from('hello'), 'a.txt', { type: 'text/plain' }) })
  const names = []
  for (let time = 0; time < 4; time++) names.push((await sdk.beta.files.retrieveMetadata(made.id)).filename)
  return names
}

async function batches(url, key) {
  const sdk = client(url, key)
  const batch = await sdk.messages.batches.create({ requests: [{ custom_id: 'a', params: given }] })
  await sdk.messages.batches.retrieve(batch.id)
  return collect(await sdk.messages.batches.results(batch.id), (line) => line.custom_id)
}

async function count(url, key) {
  return (await client(url, key).messages.countTokens({ model: MODEL, messages: ask })).input_tokens
}

async function refused(url, key) {
  return (await thrown(() => message(url, key))) instanceof AuthenticationError
}

async function spent(url, key) {
  const error = await thrown(() => message(url, key))
  return [error instanceof RateLimitError, error.headers.get('retry-after')]
}

await run({ message, messageStream, tools, files, batches, count, refused, spent })
