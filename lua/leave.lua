-- leave: somebody who stood in line for a place in flight waits no more.
--
-- KEYS  1        state      HASH
-- ARGV  now      "" or, in tests, microseconds
--       ticket   theirs
--       lines    count, then the state's field of each line
-- returns        how many lines
-- cost           1 command, and 2 a line
--
-- Who is granted a key, or asks for the last time, leaves with that acquire; this is for clients that go away.
--@ use clock numbers line args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())
local ticket, fields = args.number(), args.texts()
for _, field in ipairs(fields) do
  local text = redis.call('HGET', state, field) or ''
  redis.call('HSET', state, 'clock', clock_text, field, line.with(text, ticket, false, now))
end
return #fields
