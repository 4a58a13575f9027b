// The Vercel AI SDK with each of its three providers, with nothing but their base URL changed.
import { createAnthropic } from '@ai-sdk/anthropic'
import { createGoogleGenerativeAI } from '@ai-sdk/google'
import { createOpenAI } from '@ai-sdk/openai'
import {
  APICallError, embedMany, experimental_generateSpeech as generateSpeech, experimental_transcribe as transcribe,
  generateImage, generateText, Output, stepCountIs, streamText, tool,
} from 'ai'
import { z } from 'zod'
import { collect, run, thrown } from './use.mjs'

const weather = z.object({ city: z.string(), days: z.number().int() })

const openai = (url, key) => createOpenAI({ apiKey: key, baseURL: `${url}/v1` })
const anthropic = (url, key) => createAnthropic({ apiKey: key, baseURL: `${url}/v1` })
const google = (url, key) => createGoogleGenerativeAI({ apiKey: key, baseURL: `${url}/v1beta` })

const models = {
  chat: (url, key) => openai(url, key).chat('gpt-4o'),
  responses: (url, key) => openai(url, key)('gpt-4o'),
  anthropic: (url, key) => anthropic(url, key)('claude-sonnet-4-5'),
  google: (url, key) => google(url, key)('gemini-2.0-flash'),
}

const given = (model) => ({ model, prompt: 'how is the weather in Rome?', maxRetries: 0 })

async function text(model) {
  const answer = await generateText(given(model))
  return [answer.text, answer.usage.totalTokens]
}

async function textStream(model) {
  const answer = streamText(given(model))
  return [await collect(answer.textStream, (piece) => piece), (await answer.usage).totalTokens]
}

function twoSteps(called) {
  const execute = (input) => (called.push(input), 'fine')
  return { tools: { weather: tool({ inputSchema: weather, execute }) }, stopWhen: stepCountIs(2) }
}

// The SDK calls the function by itself, and comes again with what it came to.
async function toolCall(model) {
  const called = []
  const answer = await generateText({ ...given(model), ...twoSteps(called) })
  return [called, answer.text]
}

async function toolCallStream(model) {
  const called = []
  const text = await collect(streamText({ ...given(model), ...twoSteps(called) }).textStream, (piece) => piece)
  return [called, text]
}

async function object(model) {
  return (await generateText({ ...given(model), output: Output.object({ schema: weather }) })).output
}

async function refused(model) {
  const error = await thrown(() => generateText(given(model)))
  return [APICallError.isInstance(error), error.statusCode, error.isRetryable]
}

// As it comes: it repeats what is worth it, after what it is told to wait.
async function patient(model) {
  return (await generateText({ ...given(model), maxRetries: 2 })).text
}

const abilities = { text, textStream, toolCall, toolCallStream, object, refused, patient }

const uses = {}
for (const [kind, model] of Object.entries(models)) {
  for (const [name, use] of Object.entries(abilities)) uses[`${kind}-${name}`] = (url, key) => use(model(url, key))
}

const embedded = async (model) => (await embedMany({ model, values: ['a', 'b'], maxRetries: 0 })).embeddings.length

uses['openai-embed'] = (url, key) => embedded(openai(url, key).embedding('text-embedding-3-small'))
uses['google-embed'] = (url, key) => embedded(google(url, key).embedding('gemini-embedding-001'))

uses['openai-image'] = async (url, key) => {
  const { image } = await generateImage({ model: openai(url, key).image('gpt-image-1'), prompt: 'a cat' })
  return image.base64
}

uses['openai-audio'] = async (url, key) => {
  const sdk = openai(url, key)
  const { audio } = await generateSpeech({ model: sdk.speech('tts-1'), text: 'hi' })
  const { text } = await transcribe({ model: sdk.transcription('whisper-1'), audio: audio.uint8Array })
  return [audio.base64, text]
}

uses['chat-aborted'] = async (url, key) => {
  const stop = new AbortController()
  const answer = streamText({ ...given(models.chat(url, key)), abortSignal: stop.signal })
  for await (const piece of answer.textStream) {
    stop.abort()
    return piece
  }
}

await run(uses)
