// Runs the uses that the command line names, one after the other, against the sidecar that it names, and prints what they
// came to as one line of JSON.
//
//     node SCRIPT BASE_URL KEY USE...

export const ask = [{ role: 'user', content: 'how is the weather in Rome?' }]
export const schema = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'integer' } },
  required: ['city', 'days'],
  additionalProperties: false,
}

export async function run(uses) {
  const [url, key, ...names] = process.argv.slice(2)
  const came = {}
  for (const name of names) came[name] = await uses[name](url, key)
  process.stdout.write(JSON.stringify(came) + '\n')
  // It stays until its caller has seen enough: a process that ends closes every connection, whatever its SDK does.
  for await (const _ of process.stdin);
  process.exit()
}

export async function collect(chunks, read) {
  const pieces = []
  for await (const chunk of chunks) pieces.push(read(chunk) ?? '')
  return pieces.join('')
}

// What an SDK throws.
export async function thrown(call) {
  try {
    await call()
  } catch (error) {
    return error
  }
  throw new Error('it threw nothing')
}
