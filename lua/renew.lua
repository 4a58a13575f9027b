-- renew: the requests of these grants are still in flight.
--
-- KEYS  1        state      HASH
-- ARGV  now      "" or, in tests, microseconds
--       leases   count, then for each: account, limit's name, length of a lease (microseconds), moment of the grant
-- returns        how many
-- cost           2 commands, and 2 a lease
--@ use clock numbers window_leases accounts args
local state = KEYS[1]
local now, clock_text, moved = clock.read(state, args.text())
local count, leases = args.number(), make_leases()
for _ = 1, count do
  local field = 'w|' .. accounts.called(state, args.text(), moved) .. '|' .. args.text()
  local length, moment = args.number(), args.number()
  local text = redis.call('HGET', state, field) or ''
  redis.call('HSET', state, 'clock', clock_text, field, leases.renew({ window = length }, text, moment, now))
end
return count
