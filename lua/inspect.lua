-- inspect: read, and change nothing.
--
-- KEYS  1        state      HASH
--       2..      hash       HASH  of the rotations in question
-- ARGV  now      "" or, in tests, microseconds
--       fields   count, then fields of the state
-- returns        {now, value of each field or false, seq of each rotation or false}
-- cost           3 commands and 1 a rotation
--@ use clock args
local state = KEYS[1]
local now = clock.read(state, args.text())
local answer, fields = { clock.text(now) }, args.texts()
if #fields > 0 then
  for _, value in ipairs(redis.call('HMGET', state, unpack(fields))) do
    answer[#answer + 1] = value
  end
end
for i = 2, #KEYS do
  answer[#answer + 1] = redis.call('HGET', KEYS[i], 'seq')
end
return answer
