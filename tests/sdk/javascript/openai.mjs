// The `openai` package, with nothing but its base URL changed.
import OpenAI, { APIError, AuthenticationError, NotFoundError, RateLimitError, toFile } from 'openai'
import { ask, collect, run, schema, thrown } from './use.mjs'

const TIMES = 4 // more than there are keys: a call that goes to any key would meet another account's
const MODEL = 'gpt-4o'

const client = (url, key, options = {}) => new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0, ...options })

// All of them alike, however often and of whichever key.
async function each(call) {
  const answers = []
  for (let time = 0; time < TIMES; time++) answers.push(await call())
  return answers
}

async function chat(url, key) {
  const answer = await client(url, key).chat.completions.create({ model: MODEL, messages: ask })
  return [answer.choices[0].message.content, answer.usage.total_tokens]
}

async function chatStream(url, key) {
  const options = { model: MODEL, messages: ask, stream: true, stream_options: { include_usage: true } }
  let total = 0
  const text = await collect(await client(url, key).chat.completions.create(options), (chunk) => {
    total += chunk.usage?.total_tokens ?? 0
    return chunk.choices[0]?.delta.content
  })
  return [text, total]
}

// The SDK calls the function by itself, and comes again with what it came to.
async function tools(url, key, stream = false) {
  const called = []
  const weather = (given) => (called.push(given), 'fine')
  const options = {
    model: MODEL,
    messages: ask,
    stream,
    tools: [{ type: 'function', function: { name: 'weather', parameters: schema, parse: JSON.parse, function: weather } }],
  }
  return [called, await client(url, key).chat.completions.runTools(options).finalContent()]
}

const toolsStream = (url, key) => tools(url, key, true)

async function parsed(url, key) {
  const format = { type: 'json_schema', json_schema: { name: 'weather', schema, strict: true } }
  const answer = await client(url, key).chat.completions.parse({ model: MODEL, messages: ask, response_format: format })
  return JSON.parse(answer.choices[0].message.content)
}

async function responses(url, key) {
  const sdk = client(url, key)
  const first = await sdk.responses.create({ model: MODEL, input: 'hi' })
  const more = await each(() => sdk.responses.create({ model: MODEL, input: 'and?', previous_response_id: first.id }))
  return [first, ...more].map((answer) => answer.output_text)
}

async function responsesStream(url, key) {
  const stream = client(url, key).responses.stream({ model: MODEL, input: 'hi' })
  const text = await collect(stream, (event) => (event.type === 'response.output_text.delta' ? event.delta : ''))
  return [text, (await stream.finalResponse()).usage.total_tokens]
}

// What a function came to, answered at once and with nothing but a reference to the call.
async function references(url, key) {
  const sdk = client(url, key)
  const tools = [{ type: 'function', name: 'weather', parameters: schema, strict: true }]
  return each(async () => {
    const stream = sdk.responses.stream({ model: MODEL, input: 'hi', tools })
    const [call] = (await stream.finalResponse()).output
    const reference = { type: 'item_reference', id: call.id }
    const result = { type: 'function_call_output', call_id: call.call_id, output: 'fine' }
    return (await sdk.responses.create({ model: MODEL, input: [reference, result], tools })).output_text
  })
}

// It asks for base64 and makes numbers of it.
async function embeddings(url, key) {
  const answer = await client(url, key).embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] })
  return answer.data.map((row) => row.embedding.slice(0, 3))
}

async function files(url, key) {
  const sdk = client(url, key)
  const made = await sdk.files.create({ file: await toFile(Buffer.from('hello'), 'a.txt'), purpose: 'user_data' })
  const content = [{ type: 'file', file: { file_id: made.id } }]
  const kept = await each(async () => {
    await sdk.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content }] })
    return (await sdk.files.content(made.id)).text()
  })
  const listed = (await each(async () => (await sdk.files.retrieve(made.id)).filename)).concat(kept)
  return [listed, (await sdk.files.delete(made.id)).deleted]
}

async function images(url, key) {
  const sdk = client(url, key)
  const made = await sdk.images.generate({ model: 'gpt-image-1', prompt: 'a cat' })
  const image = await toFile(Buffer.from(made.data[0].b64_json, 'base64'), 'cat.png', { type: 'image/png' })
  const edited = await sdk.images.edit({ model: 'gpt-image-1', image, prompt: 'a hat' })
  const seen = [{ type: 'image_url', image_url: { url: `data:image/png;base64,${edited.data[0].b64_json}` } }]
  const answer = await sdk.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content: seen }] })
  return [edited.data[0].b64_json, answer.usage.prompt_tokens]
}

// A binary download, and its upload as a form.
async function audio(url, key) {
  const sdk = client(url, key)
  const speech = await sdk.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'hi' })
  const sound = Buffer.from(await speech.arrayBuffer())
  const file = await toFile(sound, 'a.mp3', { type: 'audio/mpeg' })
  return [sound.toString('base64'), (await sdk.audio.transcriptions.create({ model: 'whisper-1', file })).text]
}

async function batches(url, key) {
  const sdk = client(url, key)
  const line = JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/embeddings', body: {} })
  const given = await sdk.files.create({ file: await toFile(Buffer.from(line), 'in.jsonl'), purpose: 'batch' })
  const options = { input_file_id: given.id, endpoint: '/v1/embeddings', completion_window: '24h' }
  const batch = await sdk.batches.create(options)
  return each(async () => {
    const done = await sdk.batches.retrieve(batch.id)
    return JSON.parse(await (await sdk.files.content(done.output_file_id)).text()).custom_id
  })
}

// --- what goes wrong ---

const told = (error, kind) => [error instanceof kind, error.status, error.code, error.headers?.get('retry-after') ?? null]

async function refused(url, key) {
  return told(await thrown(() => chat(url, key)), AuthenticationError)
}

async function unknown(url, key) {
  return told(await thrown(() => client(url, key).chat.completions.create({ model: 'anthropic/m', messages: ask })), NotFoundError)
}

async function spent(url, key) {
  return told(await thrown(() => chat(url, key)), RateLimitError)
}

// As it comes: it repeats what it is told to repeat, after what it is told to wait.
async function patient(url, key) {
  const answer = client(url, key, { maxRetries: 2 }).chat.completions.create({ model: MODEL, messages: ask })
  return (await answer).choices[0].message.content
}

async function impatient(url, key) {
  const sdk = client(url, key, { maxRetries: 2 })
  return told(await thrown(() => sdk.chat.completions.create({ model: MODEL, messages: ask })), RateLimitError)
}

async function broken(url, key) {
  const error = await thrown(() => chatStream(url, key))
  return [error instanceof APIError, error.message]
}

async function aborted(url, key) {
  const stop = new AbortController()
  const options = { model: MODEL, messages: ask, stream: true }
  const chunks = await client(url, key).chat.completions.create(options, { signal: stop.signal })
  return collect(chunks, (chunk) => {
    stop.abort()
    return chunk.choices[0].delta.role
  })
}

await run({
  chat, chatStream, tools, toolsStream, parsed, responses, responsesStream, references, embeddings, files, images, audio,
  batches, refused, unknown, spent, patient, impatient, broken, aborted,
})
