// The `@google/genai` package, with nothing but its base URL changed.
import { ApiError, GoogleGenAI } from '@google/genai'
import { collect, run, schema, thrown } from './use.mjs'

const MODEL = 'gemini-2.0-flash'

const client = (url, key) => new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: url } })
const given = { model: MODEL, contents: 'hi' }

async function generate(url, key) {
  const answer = await client(url, key).models.generateContent(given)
  return [answer.text, answer.usageMetadata.totalTokenCount]
}

async function generateStream(url, key) {
  let total = 0
  const text = await collect(await client(url, key).models.generateContentStream(given), (chunk) => {
    total = chunk.usageMetadata.totalTokenCount
    return chunk.text
  })
  return [text, total]
}

async function tools(url, key) {
  const functionDeclarations = [{ name: 'weather', parametersJsonSchema: schema }]
  const chat = client(url, key).chats.create({ model: MODEL, config: { tools: [{ functionDeclarations }] } })
  const [call] = (await chat.sendMessage({ message: 'hi' })).functionCalls
  const result = { functionResponse: { name: call.name, response: { result: 'fine' } } }
  return [call.args, (await chat.sendMessage({ message: [result] })).text]
}

// A resumable upload: the URL of its chunks comes from the sidecar.
async function files(url, key) {
  const sdk = client(url, key)
  const made = await sdk.files.upload({ file: new Blob(['x'.repeat(9 << 20)]), config: { mimeType: 'text/plain' } })
  const sizes = []
  for (let time = 0; time < 4; time++) sizes.push((await sdk.files.get({ name: made.name })).sizeBytes)
  return sizes
}

async function caches(url, key) {
  const sdk = client(url, key)
  const cache = await sdk.caches.create({ model: MODEL, config: { contents: 'a long text', ttl: '600s' } })
  const texts = []
  for (let time = 0; time < 4; time++) {
    const answer = await sdk.models.generateContent({ ...given, config: { cachedContent: cache.name } })
    texts.push(answer.text)
  }
  return texts
}

async function embed(url, key) {
  const answer = await client(url, key).models.embedContent({ model: 'gemini-embedding-001', contents: ['a', 'b'] })
  return answer.embeddings.length
}

async function refused(url, key) {
  const error = await thrown(() => generate(url, key))
  return [error instanceof ApiError, error.status]
}

await run({ generate, generateStream, tools, files, caches, embed, refused })
