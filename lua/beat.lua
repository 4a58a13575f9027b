-- beat: this replica is alive, or leaves; how many are alive?
--
-- KEYS  1        replicas   ZSET  a replica's id -> when it was last heard of
-- ARGV  now      "" or, in tests, microseconds
--       id       of the replica; "" only counts
--       silence  microseconds after which a replica that was not heard of is gone
--       leaves   1: it ends now, and is gone at once
-- returns        how many are alive
-- cost           4 commands
--@ use args
local now = args.text()
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
end
local id, silence, leaves = args.text(), args.number(), args.text() == '1'
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', tonumber(now) - silence))
if leaves then
  redis.call('ZREM', KEYS[1], id)
elseif id ~= '' then
  redis.call('ZADD', KEYS[1], now, id)
end
return redis.call('ZCARD', KEYS[1])
