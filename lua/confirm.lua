-- confirm: may this grant be sent now? Asked at the moment of a reservation, and before a send that is late.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, model, moment    the grant's, as acquire returned it
--       limits   the member's set (parts/args.lua)
-- returns        {"confirmed", moment, age}: it counts at `moment`, `age` microseconds ago
--                {"not yet", wait}: its moment is `wait` microseconds ahead
--                {"withdrawn"}: the key rests, or has no room for so late a send; the grant was given back
-- cost           on time 3 commands, late 4, withdrawn 4 and 3 a pool
--
-- Within the least guard of its windows a grant keeps its moment: moved by the milliseconds of every send, the
-- reservations behind it would no longer fit. A later one is taken out and entered now; its number stays.
--@ use clock window_log cooldown order_round_robin rotation room args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())
local member, model, moment, limits = rotation.read_member(args.text()), args.text(), args.number(), args.limits()
if now < moment then
  return { 'not yet', string.format('%.0f', moment - now) }
end

local guard = math.huge
for _, limit in ipairs(limits) do
  guard = math.min(guard, limit.guard)
end
local of = room.read(state, member, model, limits)
if of.rests <= now and now - moment <= guard then
  return { 'confirmed', clock.text(moment), string.format('%.0f', now - moment) }
end

room.leave(of, moment, now)
local confirmed = room.free_at(of) <= now
if confirmed then
  room.enter(of, now, now)
else
  rotation.wake({ unpack(KEYS, 2) }, member.account, now)
end
room.write(state, of, clock_text)
return confirmed and { 'confirmed', clock.text(now), '0' } or { 'withdrawn' }
