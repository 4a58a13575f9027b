-- confirm: may this grant be sent now? Asked at the moment of a reservation, and before a send that is late.
--
-- KEYS  1        state      HASH
--       2..      wake       ZSET  the wake set of each pool that has a key of the account
-- ARGV  now      "" or, in tests, microseconds
--       member, model, moment    the grant's, as acquire returned it
--       limits   the member's set (parts/args.lua)
-- returns        {"confirmed", moment, age}: it counts at `moment`, `age` microseconds ago
--                {"not yet", wait, moment}: it counts at `moment`, which is `wait` microseconds ahead
--                {"withdrawn"}: the key rests; the grant was given back
-- cost           on time 3 commands, late or put off 4, withdrawn 4 and 3 a pool
--
-- Within the least guard of its windows a grant keeps its moment; a later one is taken out and entered now; its number
-- stays. Only what counts before it is asked, not the reservations behind it: each of those asks for itself when its
-- moment has come, and is put off by as much as what is before it came late. Were they asked, every late grant in front
-- of a queue would be lost, and its room with it.
--@ use clock window_log cooldown order_round_robin rotation room args
local state = KEYS[1]
local now, clock_text = clock.read(state, args.text())
local member, model, moment, limits = rotation.read_member(args.text()), args.text(), args.number(), args.limits()
if now < moment then
  return { 'not yet', string.format('%.0f', moment - now), clock.text(moment) }
end

local guard = math.huge
for _, limit in ipairs(limits) do
  guard = math.min(guard, limit.guard)
end
local of = room.read(state, member, model, limits)
room.leave(of, moment, now)
if of.rests > now then
  room.write(state, of, clock_text)
  rotation.wake({ unpack(KEYS, 2) }, member.account, now)
  return { 'withdrawn' }
end
if now - moment <= guard and room.free_before(of, moment) <= moment then
  return { 'confirmed', clock.text(moment), string.format('%.0f', now - moment) }
end

local free = math.max(now, room.free_before(of, now))
room.enter(of, free, now)
room.write(state, of, clock_text)
if free > now then
  return { 'not yet', string.format('%.0f', free - now), clock.text(free) }
end
return { 'confirmed', clock.text(now), '0' }
